"""What went over the wire, without secrets: headers, addresses, bodies and the pieces of an answer.

Three things are taken out: what the run knows as a secret, what a header for keys carries (which servers like to repeat), and
what looks like a provider's key or stands under the name of one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from composemagic.errors import masked
from composemagic.language.secret import SHOWN, is_secret
from composemagic.transport.secrets import Redactor

__all__ = ["Mask", "Row"]

Row = tuple[float, bytes]  # seconds since the run started, and what came then

_KEY_HEADER = re.compile("auth|key|token(?!s)|secret|cookie|password|credential", re.IGNORECASE)
_LEAST = 8  # characters: what is shorter stands in every text by chance
_QUERY = re.compile(r"(?<=[?&])([^=&#]+)=([^&#]+)")
_DATA = re.compile(r"(?:\A|(?<=[\r\n]))data: ?(?P<data>[^\r\n]*)")
_DEEPEST = 64
_PRINTABLE = re.compile(r"[!-~]+")


class Mask:
    """Takes the secrets of one exchange out of what is kept of it; `headers` are those of its request."""

    def __init__(self, redact: Redactor, headers: Iterable[tuple[str, str]]) -> None:
        own = Redactor()
        for name, value in headers:
            if _KEY_HEADER.search(name):
                for word in value.split():
                    own.learn("KEY", word)
        self._both = (redact, own)

    def __call__(self, text: str) -> str:
        """A text without secrets."""
        for redact in self._both:
            text = redact(text)
        return masked(text)

    def header(self, name: str, value: str) -> str:
        """A header's value; of one that carries keys only its scheme stays."""
        if not _KEY_HEADER.search(name):
            return self(value)
        scheme, _, rest = value.partition(" ")
        return f"{scheme} {SHOWN}" if rest and scheme.isalpha() else SHOWN

    def url(self, url: str) -> str:
        """An address; what stands under the name of a key in its query goes."""
        return self(_QUERY.sub(_query, url))

    def value(self, value: Any, name: str = "") -> Any:
        """The value of a JSON body."""
        match value:
            case str():
                return SHOWN if _is_key(name, value) else self(value)
            case dict():
                return {self(str(key)): self.value(inner, str(key)) for key, inner in value.items()}
            case list():
                return [self.value(inner) for inner in value]
        return value

    def data(self, data: bytes) -> bytes:
        """Bytes; secrets are ASCII, and Latin-1 gives every byte a character and takes it back."""
        return self(data.decode("latin-1")).encode("latin-1", "replace")

    def rows(self, rows: list[Row]) -> list[Row]:
        """The pieces of an answer, also without the secrets that are cut over several of them."""
        if not any(redact.knows for redact in self._both):
            return [(at, self._row(data)) for at, data in rows]
        texts = [data.decode("utf-8", "surrogateescape") for _, data in rows]
        for redact in self._both:
            if redact.knows:
                texts = _joined_and_masked([redact(text) for text in texts], redact)
        found = [masked(text).encode("utf-8", "surrogateescape") for text in texts]
        return [(at, data) for (at, _), data in zip(rows, found, strict=True)]

    def _row(self, data: bytes) -> bytes:
        return masked(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _query(found: re.Match[str]) -> str:
    return f"{found[1]}={SHOWN}" if _is_key(found[1], found[2]) else found[0]


def _is_key(name: str, value: str) -> bool:
    return bool(name) and len(value) >= _LEAST and _PRINTABLE.fullmatch(value) is not None and is_secret(name, "")


# -- secrets that several pieces share -----------------------------------------------------------------------------------

Path = tuple[Any, ...]


def _joined_and_masked(texts: list[str], redact: Redactor) -> list[str]:
    """The pieces where the texts in their messages, joined, tell a secret without it; else as they are."""
    if redact.finds("".join(texts)):
        texts = _in_pieces(texts, redact)  # the bytes themselves tell it
    found = list(map(_message, texts))
    values = [_loaded(one.text) for one in found]
    leaves: dict[Path, list[str]] = {}
    for value in values:
        for path, leaf in _leaves(value):
            leaves.setdefault(path, []).append(leaf)
    telling = {path for path, parts in leaves.items() if redact.finds("".join(parts))}
    if not telling:
        return texts
    pieces = {path: iter(_in_pieces(leaves[path], redact)) for path in telling}
    return [_rewritten(text, one, value, pieces) for text, one, value in zip(texts, found, values, strict=True)]


def _in_pieces(texts: list[str], redact: Redactor) -> list[str]:
    pieces = redact.pieces()
    found = [pieces.add(text) for text in texts]
    found[-1] += pieces.end()
    return found


def _loaded(text: str) -> Any:
    """The object, list or text that JSON spells; of anything else the text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict | list | str) else text


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The texts in a value, with their places; not deeper than any answer has them."""
    match value:
        case str():
            yield path, value
        case dict() if len(path) < _DEEPEST:
            for key, inner in value.items():
                yield from _leaves(inner, (*path, key))
        case list() if len(path) < _DEEPEST:
            for at, inner in enumerate(value):
                yield from _leaves(inner, (*path, at))


class _Message(NamedTuple):
    """What a piece of an answer says, and where that stands in it."""

    start: int
    end: int
    text: str


def _message(piece: str) -> _Message:
    """The lines of data of an event; of a line or of a whole answer all of it."""
    found = list(_DATA.finditer(piece))
    if not found:
        return _Message(0, len(piece.rstrip("\r\n")), piece.rstrip("\r\n"))
    return _Message(found[0].start("data"), found[-1].end(), "\n".join(one["data"] for one in found))


def _rewritten(text: str, found: _Message, value: Any, pieces: dict[Path, Iterator[str]]) -> str:
    """A message with other texts at the places of `pieces`."""
    new = _replaced(value, (), pieces)
    if new == value:
        return text
    try:
        data = new if value == found.text else json.dumps(new)
    except RecursionError:
        data = SHOWN
    return f"{text[: found.start]}{data}{text[found.end :]}"


def _replaced(value: Any, path: Path, pieces: dict[Path, Iterator[str]]) -> Any:
    match value:
        case str() if path in pieces:
            return next(pieces[path])
        case dict() if len(path) < _DEEPEST:
            return {key: _replaced(inner, (*path, key), pieces) for key, inner in value.items()}
        case list() if len(path) < _DEEPEST:
            return [_replaced(inner, (*path, at), pieces) for at, inner in enumerate(value)]
    return value
