"""Values as text: inside a template, as JSON, and short in a message."""

from __future__ import annotations

import json
from typing import Any

from composemagic.language.secret import Secret, closed, names_in
from composemagic.language.streams import Chunks, settled
from composemagic.words import say

__all__ = ["CastError", "decode", "joined_bytes", "json_text", "shown", "to_text"]


class CastError(Exception):
    """A value does not fit a cast; the text is a sentence for the user."""


def to_text(value: Any) -> str:
    """How a value reads inside text: null is empty, true/false, lists and objects are JSON, the rest is `str`.

    Raises CastError for bytes that are not UTF-8, and Uncollected for a stream.
    """
    if isinstance(value, str):
        return value
    value = joined_bytes(value) if isinstance(value, Chunks) else value
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | list | dict | tuple):
        return json_text(value)
    if isinstance(value, bytes):
        return decode(value)
    if isinstance(value, Secret):
        raise CastError(closed(value.names))
    try:
        return str(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        raise CastError(say("{value} cannot be written as text", value=shown(value))) from None


def joined_bytes(value: Any) -> Any:
    """The value of a stream, where fragments of bytes are one, as those of text are, and none are nothing. Raises Uncollected."""
    found = settled(value)
    is_pieces = isinstance(value, Chunks) and value.fragmented and isinstance(found, list)
    return b"".join(found) if is_pieces and all(isinstance(chunk, bytes) for chunk in found) else found


def json_text(value: Any) -> str:
    """The value as JSON, non-ASCII characters as they are. Raises CastError, and Uncollected for a stream in it."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_whole)
    except (ValueError, TypeError, RecursionError) as error:
        if str(error).startswith("Out of range float"):
            raise CastError(say("NaN and Infinity cannot be written as JSON")) from None
        if names := names_in(value):
            raise CastError(closed(names)) from None
        raise CastError(say("{value} cannot be written as JSON", value=shown(value))) from None


def _whole(value: Any) -> Any:
    """What stands in JSON in place of what JSON has no word for: the value of a stream."""
    if isinstance(value, Chunks):
        return settled(value)
    raise TypeError


def decode(value: bytes) -> str:
    """Bytes as UTF-8 text. Raises CastError."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CastError(say("the bytes are not UTF-8 text")) from None


def shown(value: Any) -> str:
    """A value in a message: short, and an object's or list's kind rather than its content."""
    match value:
        case str():
            return f'"{value[:40]}{"..." if len(value) > 40 else ""}"'
        case None | bool():
            return json.dumps(value)
        case dict():
            return say("an object")
        case list() | tuple():
            return say("a list")
        case bytes():
            return say("bytes")
        case Chunks():
            return say("a stream")
        case Secret():
            return say("a secret")
        case int() if abs(value) >= 10**40:
            return say("so large an integer")
    return str(value)
