"""What Python has allowed documents to do, for all runs of this process: nothing that is dangerous is on by itself."""

from __future__ import annotations

from collections.abc import Callable

from composemagic.errors import UsageError, suggest
from composemagic.words import say

__all__ = ["DANGEROUS", "allow", "is_allowed", "refusal"]

DANGEROUS = ("shell", "hook", "http-server", "mcp-client")

_allowed: set[str] = set()


def allow(*what: str) -> Callable[[], None]:
    """Let the documents of this process use `shell`, `hook`, `http-server` or the processes of `mcp-client`; returns what takes it back.

    A document that you did not write can then run programs with your rights. Raises UsageError for any other word.
    """
    for name in what:
        if name not in DANGEROUS:
            known = ", ".join(f"`{each}`" for each in DANGEROUS)
            raise UsageError(
                say(
                    "`allow` knows {known}, not `{name}`{near}",
                    known=known,
                    name=name,
                    near=suggest(str(name), DANGEROUS),
                )
            )
    new = set(what) - _allowed
    _allowed.update(new)
    return lambda: _allowed.difference_update(new)


def is_allowed(what: str) -> bool:
    """Whether Python has allowed this for the whole process."""
    return what in _allowed


def refusal(what: str) -> str:
    """The sentence for a document that may not: with the line to write."""
    return say(
        '`{what}` runs programs on this computer, which a document may not do by itself. If you trust this one, write in Python: composemagic.allow("{what}")',
        what=what,
    )
