"""What Python has allowed documents to do, for all runs of this process: nothing that is dangerous is on by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from composemagic.errors import UsageError, suggest
from composemagic.words import say

__all__ = [
    "DANGEROUS",
    "PLACES",
    "allow",
    "destination",
    "granted",
    "is_allowed",
    "is_granted",
    "parsed",
    "place_of",
    "refusal",
    "take_back",
]

DANGEROUS = ("shell", "hook", "http-server", "mcp-client")
PLACES = ("header", "body", "query", "path")
_PORTS = {"http": 80, "https": 443}

_allowed: set[str] = set()
_granted: dict[tuple[str, str, str], int] = {}


def allow(*what: str, place: str = "header") -> Callable[[], None]:
    """Let the documents of this process do what none may do by itself; returns what takes it back.

    `allow("shell")`: run programs (`shell`, `hook`, `http-server`, the processes of `mcp-client`), with your rights.
    `allow("SHOP_API_KEY", "https://shop.example")`: send a secret variable to a host, in a header, or in the `place` you
    name: "body", "query" or "path". `allow("HF_TOKEN", "shell")`: give it to components of a type.
    Raises UsageError for words it does not know.
    """
    if len(what) < 2 or what[0] in DANGEROUS or suggest(what[0], DANGEROUS):
        return _allow_types(what)
    name, *wheres = what
    grants = [(name, destination(where), place_of(place)) for where in wheres]
    for grant in grants:
        _granted[grant] = _granted.get(grant, 0) + 1
    undone = False

    def undo() -> None:
        nonlocal undone
        for grant in () if undone else grants:
            _granted[grant] = max(0, _granted.get(grant, 0) - 1)
        undone = True

    return undo


def _allow_types(what: tuple[str, ...]) -> Callable[[], None]:
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


def parsed(item: str) -> tuple[tuple[str, ...], str]:
    """What `--allow` and `%config` write, as `allow` takes it: `shell`, or `NAME=https://host`, or `NAME=https://host=body`."""
    name, _, where = item.partition("=")
    where, _, place = where.partition("=")
    return ((name, where) if where else (name,)), place or "header"


def is_allowed(what: str) -> bool:
    """Whether Python has allowed this for the whole process."""
    return what in _allowed


def is_granted(name: str, where: str, place: str) -> bool:
    """Whether Python has allowed a variable to go to an origin, or a component type, in this place."""
    return _granted.get((name, where, place), 0) > 0


def granted() -> list[tuple[str, str, str]]:
    """What Python has allowed single variables: name, destination, place."""
    return [grant for grant, count in _granted.items() if count > 0]


def take_back(name: str, where: str | None = None) -> None:
    """Take back what was allowed a variable, everywhere or to one destination."""
    for grant in [known for known in _granted if known[0] == name and where in (None, known[1])]:
        del _granted[grant]


def destination(where: str) -> str:
    """An origin (`https://host:port`, the port only where it is not the scheme's own), or a component's type.

    A host without a scheme is meant by https. Raises UsageError for what is neither.
    """
    text = str(where).strip()
    if re.fullmatch(r"[a-z][a-z-]*", text) and text != "localhost":
        return text
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        parts, port = urlsplit(""), None
    if not parts.hostname or parts.username is not None or port is None:
        raise UsageError(
            say("`{where}` is no host that a secret can go to; write it as in `https://api.example.org`", where=text)
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else _ascii(parts.hostname)
    return f"{parts.scheme}://{host}" + ("" if port == _PORTS[parts.scheme] else f":{port}")


def _ascii(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return host


def place_of(place: str) -> str:
    """The place in a request. Raises UsageError for one that there is not."""
    if place not in PLACES:
        known = ", ".join(f"`{each}`" for each in PLACES)
        raise UsageError(say("a secret's place is {known}, not `{place}`", known=known, place=place))
    return place


def refusal(what: str) -> str:
    """The sentence for a document that may not: with the line to write."""
    return say(
        '`{what}` runs programs on this computer, which a document may not do by itself. If you trust this one, write in Python: composemagic.allow("{what}"), or in a terminal: --allow {what}',
        what=what,
    )
