"""The sources there are, and what to say of a name that is none, or of one that lacks its `${}`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from composemagic.errors import suggest
from composemagic.language.nodes import Reference
from composemagic.words import say

__all__ = ["BARE", "LOOKALIKE", "SOURCES", "unknown_source"]

LOOKALIKE = re.compile(
    r"(?<!\$)\$(?:input|env|response|result|output|jobs)\b[.\w]*|\{\{\s*(?:input|env|jobs)\.[^}]*\}\}"
    r"|(?<![\w$])\$(?P<variable>[A-Z][A-Z0-9_]{2,})(?!\w)"  # as a shell would fill it in
)
# a reference that lacks its `${}`, if `source` is one
BARE = re.compile(r"(?P<source>[a-z]+)(?P<path>(?:\[\])?(?:\.[\w-]+|\[(?:-?\d+|\*|-?\d*:-?\d*)\])*)")

# every source there is somewhere
SOURCES = frozenset((
    "input", "env", "context", "jobs", "job", "output", "response", "result", "item", "index", "accumulator", "iteration",
    "step", "error", "messages", "tools",
))  # fmt: skip

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{2,}")


def unknown_source(reference: Reference, allowed: Iterable[str]) -> str | None:
    """The sentence for a reference whose source is not visible where it stands, or None."""
    names = list(allowed)
    key = reference.key
    if key in names:
        return None
    if reference.per_chunk and reference.source in names:
        return say("`{key}` has no chunks here; write `{source}`", key=key, source=reference.source)
    known = ", ".join(f"`{name}`" for name in names)
    if reference.source in SOURCES:
        return say("`{key}` cannot be used here, only {known}", key=key, known=known)
    if near := suggest(reference.source, [name for name in names if not name.endswith("[]")]):
        return say("unknown source `{key}`{near}", key=key, near=near)
    if field := _field(reference, names):
        return say("unknown source `{key}`; did you mean `{field}`?", key=key, field=field)
    return say("unknown source `{key}`; here you can use {known}", key=key, known=known)


def _field(reference: Reference, names: list[str]) -> str | None:
    """The variable or the input that a single name may be meant for."""
    if reference.path or reference.per_chunk:
        return None
    if "env" in names and _VARIABLE.fullmatch(reference.source):
        return f"env.{reference.source}"  # an input would ask for a key in a field that shows it
    return f"input.{reference.source}" if "input" in names else None
