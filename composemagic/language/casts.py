"""What `as ...` means: a visible table, name -> conversion.

A conversion takes the value (never null) and the Cast and gives the converted value; it raises CastError with a sentence
that says what the value is not. Streams convert chunk by chunk.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from composemagic.errors import suggest
from composemagic.language.expression import ExpressionError, parse_path
from composemagic.language.formats import ENCODED, FORMATS, Loaded, Media, content_type, decoded
from composemagic.language.json_words import why_no_json
from composemagic.language.nodes import Cast
from composemagic.language.path import Find, finder
from composemagic.language.secret import Secret, closed, encoded
from composemagic.language.streams import Chunks, Uncollected, Whole, settled
from composemagic.language.values import CastError, decode, joined_bytes, json_text, shown, to_text
from composemagic.words import listing, say

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


def convert(value: Any, cast: Cast, *, loaded: Loaded | None = None, skip_decode: bool = False) -> Any:
    """Apply a cast; null stays null.

    `loaded` holds what `;url` and `;path` have loaded; without it they are refused. With `skip_decode` text in a format that
    carries its own content is passed on as it is, neither decoded nor cast. Raises CastError, Uncollected and Unloaded, and
    KeyError for a type that is not in CASTS.
    """
    if value is None:
        return None
    conversion = CASTS[cast.type]

    def one(item: Any) -> Any:
        if item is None:
            return None
        if isinstance(item, Secret):
            return _carried(item, cast)
        if cast.format is None:
            return conversion(item, cast)
        return _formatted(item, cast, conversion, loaded, skip_decode=skip_decode)

    if cast.is_list:
        return _each(value, one)
    return one(value if cast.type in _KEEP_STREAMS else joined_bytes(value))


def _carried(secret: Secret, cast: Cast) -> Secret:
    """A secret stays closed as what it is, a text; `as base64` is worked out when it is opened."""
    if cast.type == "base64" and cast.format is None:
        return encoded(secret)
    if cast.type in _TEXTS and cast.format is None:
        return secret
    raise CastError(closed(secret.names))


_TEXTS = frozenset({"text", "string", "str", "markdown", "any"})


def _formatted(value: Any, cast: Cast, conversion: Conversion, loaded: Loaded | None, *, skip_decode: bool) -> Any:
    form = cast.format or ""
    if skip_decode and form in ENCODED:
        if not isinstance(value, str):
            sentence = say("`;{format}` is said of encoded text, this is {value}", format=form, value=shown(value))
            raise CastError(sentence)
        return value
    if not isinstance(value, str) or cast.type in FORMATLESS:
        return conversion(value, cast)
    found = conversion(decoded(value, form, loaded), cast)
    if isinstance(found, Media):
        found.content_type = content_type(cast.type, cast.subtype, form, value)
    return found


def _each(value: Any, one: Callable[[Any], Any]) -> Any:
    def all_of(items: Iterable[Any]) -> list[Any]:
        return [one(item) for item in items]

    if isinstance(value, Chunks):
        return value.map(all_of)
    if isinstance(value, list | tuple):
        return all_of(value)
    raise CastError(say("{value} is no list", value=shown(value)))


def register_cast(name: str, conversion: Conversion) -> Callable[[], None]:
    """Add a type for `as name`; returns a function that takes it away again.

    Raises ValueError when the name is taken.
    """
    if name in CASTS:
        raise ValueError(say("the cast `{name}` exists already", name=name))
    CASTS[name] = conversion
    return lambda: CASTS.pop(name, None) and None


# what other languages call it
_OTHER_NAMES = {
    "array": "list", "char": "text", "dict": "object", "double": "number", "enum": "select", "map": "object",
    "range": "slider", "varchar": "text",
}  # fmt: skip


def cast_problem(cast: Cast) -> str | None:
    """What is wrong with a cast as written, whatever the value: an unknown type, subtype or format."""
    if cast.type not in CASTS:
        if other := _OTHER_NAMES.get(cast.type.lower()):
            return say("unknown type `{type}`; did you mean `{name}`?", type=cast.type, name=other)
        return say("unknown type `{type}`{near}", type=cast.type, near=suggest(cast.type, CASTS))
    if cast.type == "stream" and cast.subtype not in (None, "text", "json"):
        return say("a stream is `stream/text` or `stream/json`, not `stream/{subtype}`", subtype=cast.subtype)
    if cast.type == "stream" and cast.is_list:
        return say("a stream is one: write `stream`, without `[]`")
    if path := dict(cast.attrs).get("path") if cast.type == "stream" else None:
        return _path_problem(path)
    for path in cast.options if cast.type == "object" else ():
        if _path_problem(path):
            return say("`{path}` is no path to a field, such as `user.name`", path=path)
    if cast.type == "slider" and _bounds(cast) is None:
        return say("a slider is written `slider/min,max` or `slider/min,max,step`")
    if cast.format is not None and cast.format not in FORMATS:
        return say("unknown format `;{format}`{near}", format=cast.format, near=suggest(cast.format, FORMATS))
    return None


def _path_problem(path: str) -> str | None:
    try:
        parse_path(path)
    except ExpressionError:
        return say("`{path}` is no path into a chunk, such as `choices[0].delta.content`", path=path)
    return None


def _text(value: Any, cast: Cast) -> str:
    return to_text(value)


def _integer(value: Any, cast: Cast) -> int:
    try:
        if isinstance(value, str | bytes | int | float):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise CastError(say("{value} is no integer", value=shown(value)))


def _number(value: Any, cast: Cast) -> float:
    try:
        if isinstance(value, str | bytes | int | float):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise CastError(say("{value} is no number", value=shown(value)))


_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "1.0": True}
_BOOLEANS |= {"false": False, "no": False, "off": False, "0": False, "0.0": False}


def _boolean(value: Any, cast: Cast) -> bool:
    if isinstance(value, bytes):
        value = decode(value)
    found = None
    if isinstance(value, str):
        found = _BOOLEANS.get(value.strip().lower())
    elif isinstance(value, int | float):
        found = {1.0: True, 0.0: False}.get(value)
    if found is not None:
        return found
    raise CastError(say("{value} is no boolean", value=shown(value)))


def _json(value: Any, cast: Cast) -> Any:
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        reason = why_no_json(error)
        raise CastError(say("{value} is no JSON ({reason})", value=shown(value), reason=reason)) from None


def _list(value: Any, cast: Cast) -> list[Any]:
    found = _json(value, cast)
    if isinstance(found, list | tuple):
        return list(found)
    raise CastError(say("{value} is no list", value=shown(value)))


def _object(value: Any, cast: Cast) -> dict[str, Any]:
    found = _json(value, cast)
    if not isinstance(found, dict):
        raise CastError(say("{value} is no object", value=shown(value)))
    if not cast.subtype:
        return found
    return {path.rpartition(".")[2]: _projection(path)(found) for path in cast.options}


def _select(value: Any, cast: Cast) -> Any:
    if cast.options and to_text(value) not in cast.options:
        offered = listing(cast.options)
        raise CastError(say("`{value}` is not offered ({options})", value=to_text(value), options=offered))
    return value


def _slider(value: Any, cast: Cast) -> float:
    found = _number(value, cast)
    low, high = (_bounds(cast) or (-math.inf, math.inf))[:2]
    if not low <= found <= high:
        bounds = {"low": f"{low:g}", "high": f"{high:g}"}
        raise CastError(say("{value} is not between {low} and {high}", value=shown(value), **bounds))
    return found


def _base64(value: Any, cast: Cast) -> str:
    value = joined_bytes(value) if isinstance(value, Chunks) else value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise CastError(say("{value} is neither text nor bytes", value=shown(value)))


def _media(value: Any, cast: Cast) -> Any:
    """Bytes with their type; a stream of them passes on as it is."""
    if isinstance(value, Chunks):
        return value
    if not isinstance(value, bytes):
        what = {"type": cast.type, "value": shown(value)}
        raise CastError(say("`{type}` needs bytes, or text with a format such as `;base64`; this is {value}", **what))
    found = Media(value)
    found.type, found.attrs = cast.type, cast.attrs
    found.content_type = content_type(cast.type, cast.subtype, None, None)
    return found


def _any(value: Any, cast: Cast) -> Any:
    return value


def _stream(value: Any, cast: Cast) -> Chunks:
    encoding = cast.subtype or "text"
    encode: Encode = _text_chunks if encoding == "text" else _json_chunks
    if path := dict(cast.attrs).get("path"):
        encode = _at_path(path, encode)
    if isinstance(value, Chunks):
        is_so_already = value.encoding == encoding and not path
        return value if is_so_already else value.map(encode, encoding=encoding)
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
    "file": _media,
    "image": _media,
    "audio": _media,
    "video": _media,
    "model-3d": _media,
}

_KEEP_STREAMS = frozenset({"stream", "base64", "file", "image", "audio", "video", "model-3d"})

# types of which a format says nothing; the value of the others may be encoded or stand elsewhere
FORMATLESS = frozenset({"select", "slider", "stream", "any"})

# types for which "" means that nothing was given, so that a default takes its place
EMPTY_IS_MISSING = frozenset({"integer", "int", "number", "float", "slider", "boolean", "bool", "select"})


def _text_chunks(chunks: list[Any]) -> list[Any]:
    return [chunk if type(chunk) is str else to_text(chunk) for chunk in chunks if chunk is not None and chunk != ""]


def _json_chunks(chunks: list[Any]) -> list[Any]:
    return [json_text(chunk) for chunk in chunks if chunk is not None and chunk != ""]


@cache
def _projection(path: str) -> Find:
    return finder(parse_path(path))


def _bounds(cast: Cast) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(part) for part in cast.options)
    except ValueError:
        return None
    good = len(numbers) in (2, 3) and all(map(math.isfinite, numbers)) and numbers[0] < numbers[1]
    return numbers if good and all(step > 0 for step in numbers[2:]) else None
