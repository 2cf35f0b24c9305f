"""What `as ...` means: a visible table, name -> conversion.

A conversion takes the value (never null) and the Cast and gives the converted value; it raises CastError with a sentence
that says what the value is not. Streams convert chunk by chunk.
"""

from __future__ import annotations

import base64
import json
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from composemagic.errors import suggest
from composemagic.language.expression import Cast, ExpressionError, parse_path
from composemagic.language.path import finder

__all__ = [
    "CASTS",
    "CastError",
    "Chunks",
    "Uncollected",
    "Whole",
    "cast_problem",
    "convert",
    "register_cast",
    "settled",
    "shown",
    "to_text",
]

Conversion = Callable[[Any, Cast], Any]
Encode = Callable[[list[Any]], list[Any]]


class CastError(Exception):
    """A value does not fit a cast; the text is a sentence for the user."""


class Uncollected(Exception):  # noqa: N818 - a request to the engine, not an error
    """Raised while rendering where a value is wanted and a stream that nobody has collected yet is met.

    Rendering has no side effects, so whoever renders collects `stream` and renders again.
    """

    def __init__(self, stream: Chunks) -> None:
        self.stream = stream
        super().__init__("a stream has to be collected first")


class Chunks(ABC):
    """What the language asks of a stream.

    `fragmented`: the chunks are pieces of one value (text joins), not values of their own. `encoding` is "text" or "json"
    once `as stream/...` chose how chunks are written.
    """

    fragmented: bool = True
    encoding: str | None = None

    @property
    @abstractmethod
    def collected(self) -> bool:
        """Whether `value` is there."""

    @property
    @abstractmethod
    def value(self) -> Any:
        """All chunks as one value: text where they are fragments of text, else a list."""

    @abstractmethod
    def batches(self) -> AsyncIterator[list[Any]]:
        """The chunks, as lists of those that arrived together."""

    @abstractmethod
    def map(self, convert: Callable[[list[Any]], list[Any]], *, encoding: str | None = None) -> Chunks:
        """A stream whose batches are the converted batches of this one."""


class Whole(Chunks):
    """A stream of one chunk, made of a value that was there all along."""

    def __init__(self, value: Any, encoding: str | None) -> None:
        self._value = value
        self.encoding = encoding

    @property
    def collected(self) -> bool:
        return True

    @property
    def value(self) -> Any:
        return self._value

    async def batches(self) -> AsyncIterator[list[Any]]:
        yield [self._value]

    def map(self, convert: Callable[[list[Any]], list[Any]], *, encoding: str | None = None) -> Chunks:
        (converted,) = convert([self._value]) or [None]
        return Whole(converted, encoding)


def settled(value: Any) -> Any:
    """The value itself, or what a stream collected; raises Uncollected where that has not happened."""
    if not isinstance(value, Chunks):
        return value
    if not value.collected:
        raise Uncollected(value)
    return value.value


def convert(value: Any, cast: Cast) -> Any:
    """Apply a cast; null stays null. Raises CastError, and KeyError for a type that is not in CASTS."""
    if value is None:
        return None
    conversion = CASTS[cast.type]
    if cast.is_list:
        return _each(value, cast, conversion)
    return conversion(value if cast.type == "stream" else settled(value), cast)


def register_cast(name: str, conversion: Conversion) -> Callable[[], None]:
    """Add a type for `as name`; returns a function that takes it away again.

    Raises ValueError when the name is taken.
    """
    if name in CASTS:
        raise ValueError(f"the cast `{name}` exists already")
    CASTS[name] = conversion
    return lambda: CASTS.pop(name, None) and None


def cast_problem(cast: Cast) -> str | None:
    """What is wrong with a cast as written, whatever the value: an unknown type, subtype or format."""
    if cast.type in _LATER_TYPES:
        return f"the type `{cast.type}` is not in this version of composemagic"
    if cast.type not in CASTS:
        return f"unknown type `{cast.type}`{suggest(cast.type, CASTS)}"
    if cast.type == "stream" and cast.subtype not in (None, "text", "json"):
        return f"a stream is `stream/text` or `stream/json`, not `stream/{cast.subtype}`"
    if path := dict(cast.attrs).get("path") if cast.type == "stream" else None:
        return _path_problem(path)
    if cast.type == "slider" and _bounds(cast) is None:
        return "a slider is written `slider/min,max` or `slider/min,max,step`"
    if cast.format in _LATER_FORMATS:
        return f"the format `;{cast.format}` is not in this version of composemagic"
    if cast.format is not None:
        return f"unknown format `;{cast.format}`"
    return None


def _path_problem(path: str) -> str | None:
    try:
        parse_path(path)
    except ExpressionError:
        return f"`{path}` is no path into a chunk, such as `choices[0].delta.content`"
    return None


def to_text(value: Any) -> str:
    """How a value reads inside text: null is empty, true/false, lists and objects are JSON, the rest is `str`.

    Raises CastError for bytes that are not UTF-8, and Uncollected for a stream.
    """
    if isinstance(value, str):
        return value
    value = settled(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | list | dict | tuple):
        return _json_text(value)
    if isinstance(value, bytes):
        return _decoded(value)
    try:
        return str(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        raise CastError(f"{shown(value)} cannot be written as text") from None


def _text(value: Any, cast: Cast) -> str:
    return to_text(value)


def _integer(value: Any, cast: Cast) -> int:
    try:
        if isinstance(value, str | bytes | int | float):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise CastError(f"{shown(value)} is no integer")


def _number(value: Any, cast: Cast) -> float:
    try:
        if isinstance(value, str | bytes | int | float):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise CastError(f"{shown(value)} is no number")


_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "1.0": True}
_BOOLEANS |= {"false": False, "no": False, "off": False, "0": False, "0.0": False}


def _boolean(value: Any, cast: Cast) -> bool:
    if isinstance(value, bytes):
        value = _decoded(value)
    found = None
    if isinstance(value, str):
        found = _BOOLEANS.get(value.strip().lower())
    elif isinstance(value, int | float):
        found = {1.0: True, 0.0: False}.get(value)
    if found is not None:
        return found
    raise CastError(f"{shown(value)} is no boolean")


def _json(value: Any, cast: Cast) -> Any:
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise CastError(f"{shown(value)} is no JSON ({reason})") from None


def _list(value: Any, cast: Cast) -> list[Any]:
    found = _json(value, cast)
    if isinstance(found, list | tuple):
        return list(found)
    raise CastError(f"{shown(value)} is no list")


def _object(value: Any, cast: Cast) -> dict[str, Any]:
    found = _json(value, cast)
    if not isinstance(found, dict):
        raise CastError(f"{shown(value)} is no object")
    if not cast.subtype:
        return found
    return {path.rpartition(".")[2]: _field(found, path.split(".")) for path in cast.options}


def _select(value: Any, cast: Cast) -> Any:
    if cast.options and to_text(value) not in cast.options:
        raise CastError(f"`{to_text(value)}` is not offered ({', '.join(cast.options)})")
    return value


def _slider(value: Any, cast: Cast) -> float:
    found = _number(value, cast)
    low, high = (_bounds(cast) or (-math.inf, math.inf))[:2]
    if not low <= found <= high:
        raise CastError(f"{shown(value)} is not between {low:g} and {high:g}")
    return found


def _base64(value: Any, cast: Cast) -> str:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise CastError(f"{shown(value)} is neither text nor bytes")


def _any(value: Any, cast: Cast) -> Any:
    return value


def _stream(value: Any, cast: Cast) -> Chunks:
    encoding = cast.subtype or "text"
    encode: Encode = _text_chunks if encoding == "text" else _json_chunks
    if path := dict(cast.attrs).get("path"):
        encode = _at_path(path, encode)
    if isinstance(value, Chunks):
        return value.map(encode, encoding=encoding)
    return Whole((encode([value]) or [""])[0], encoding)


def _at_path(path: str, encode: Encode) -> Encode:
    """The same encoding of what stands at a path in each chunk, which may still be JSON text."""
    find, parsed = finder(parse_path(path)), Cast("json")
    return lambda chunks: encode([find(_json(chunk, parsed)) for chunk in chunks if chunk is not None and chunk != ""])


CASTS: dict[str, Conversion] = {
    "text": _text,
    "string": _text,
    "str": _text,
    "markdown": _text,
    "integer": _integer,
    "int": _integer,
    "number": _number,
    "float": _number,
    "boolean": _boolean,
    "bool": _boolean,
    "json": _json,
    "list": _list,
    "object": _object,
    "select": _select,
    "slider": _slider,
    "base64": _base64,
    "stream": _stream,
    "any": _any,
}

_LATER_TYPES = frozenset({"file", "image", "audio", "video", "model-3d"})
_LATER_FORMATS = frozenset({"base64", "url", "path", "data-uri"})

# types for which "" means that nothing was given, so that a default takes its place
EMPTY_IS_MISSING = frozenset({"integer", "int", "number", "float", "slider", "boolean", "bool", "select"})


def _text_chunks(chunks: list[Any]) -> list[Any]:
    return [chunk if type(chunk) is str else to_text(chunk) for chunk in chunks if chunk is not None and chunk != ""]


def _json_chunks(chunks: list[Any]) -> list[Any]:
    return [_json_text(chunk) for chunk in chunks if chunk is not None and chunk != ""]


def _each(value: Any, cast: Cast, conversion: Conversion) -> Any:
    def one(items: Iterable[Any]) -> list[Any]:
        return [None if item is None else conversion(item, cast) for item in items]

    if isinstance(value, Chunks):
        return value.map(one)
    if isinstance(value, list | tuple):
        return one(value)
    raise CastError(f"{shown(value)} is no list")


def _field(value: Any, names: Sequence[str]) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _bounds(cast: Cast) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(part) for part in cast.options)
    except ValueError:
        return None
    good = len(numbers) in (2, 3) and all(map(math.isfinite, numbers)) and numbers[0] < numbers[1]
    return numbers if good and all(step > 0 for step in numbers[2:]) else None


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        what = "NaN and Infinity" if str(error).startswith("Out of range float") else shown(value)
        raise CastError(f"{what} cannot be written as JSON") from None


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CastError("the bytes are not UTF-8 text") from None


def shown(value: Any) -> str:
    """A value in a message: short, and an object's or list's kind rather than its content."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bytes):
        return "bytes"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "so large an integer"
    text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, bool) else str(value)
    return f'"{text[:40]}{"..." if len(text) > 40 else ""}"' if isinstance(value, str) else text
