"""Inputs that are written one by one, as in `-i KEY=VALUE`: what a value means, and names that are paths."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from composemagic.errors import UsageError
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.workflow.inputs import Input

__all__ = ["nested", "scalar"]

_TEXTS = ("string", "text", "markdown", "select")


def scalar(key: str, text: str, inputs: Iterable[Input]) -> Any:
    """What a text means for the input `key`: as it stands where the YAML says that it is text, JSON where it says that it is
    a list of something (`as text[]`), else a YAML scalar.

    Raises UsageError for a number with too many digits.
    """
    from composemagic.language.document import plain_value  # with a YAML parser behind it: `%load_ext` must stay light

    asked = next((one for one in inputs if one.name == key and one.cast is not None), None)
    if asked is not None and asked.is_list and (listed := _listed(text)) is not None:
        return listed
    if asked is not None and asked.type in _TEXTS:
        return text
    try:
        return plain_value(text)
    except ValueError as error:
        raise UsageError(say("`-i {key}={text}`: {why}", key=key, text=text, why=error)) from None


def _listed(text: str) -> list[Any] | None:
    """The list that a JSON text is; None where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def nested(values: Mapping[str, Any]) -> Any:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`: an input's name may be a path. `{"": x}` is x: the input is a whole `${input}`."""
    if list(values) == [""]:
        return values[""]
    found: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        place = found
        for step in parents:
            inner = place.get(step)
            place[step] = inner = dict(inner) if isinstance(inner, Mapping) else {}
            place = inner
        place[last] = value
    return found
