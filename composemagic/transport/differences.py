"""Which parts of two requests differ, and the words for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from composemagic.text import clean, plain
from composemagic.words import say

__all__ = ["Difference", "differences", "nearest", "told"]

_MOST = 3  # that a sentence names
_SHOWN = 60  # characters of a value
_BEFORE = 15  # characters that stand before the first one that differs


class _Nothing:
    """What is not there."""


NOTHING = _Nothing()


class Difference(NamedTuple):
    """A part of a request, as `messages[1].content`, and what it is in the recording and now; NOTHING where it is not there."""

    path: str
    recorded: Any
    actual: Any


def differences(recorded: Mapping[str, Any], actual: Mapping[str, Any]) -> list[Difference]:
    """What differs between two requests of `method`, `url` and `body`, in this order."""
    found = [
        Difference(name, recorded.get(key), actual.get(key))
        for key, name in (("method", say("the method")), ("url", say("the URL")))
        if recorded.get(key) != actual.get(key)
    ]
    return [*found, *_inside("", _body(recorded), _body(actual))]


def _body(request: Mapping[str, Any]) -> Any:
    body = request.get("body")
    return NOTHING if body is None else body


def _inside(path: str, recorded: Any, actual: Any) -> Iterator[Difference]:
    if type(recorded) is type(actual) is dict:
        for key in dict.fromkeys([*actual, *recorded]):
            name = f"{path}.{key}" if path else str(key)
            yield from _inside(name, recorded.get(key, NOTHING), actual.get(key, NOTHING))
    elif type(recorded) is type(actual) is list:
        for at, (one, other) in enumerate(zip_longest(recorded, actual, fillvalue=NOTHING)):
            yield from _inside(f"{path}[{at}]", one, other)
    elif not _are_equal(recorded, actual):
        yield Difference(path or say("the body"), recorded, actual)


def _are_equal(one: Any, other: Any) -> bool:
    """As JSON has it: true is no 1, though 1.0 is."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def nearest(requests: Sequence[Mapping[str, Any]], actual: Mapping[str, Any]) -> list[Difference]:
    """What differs from the request that is most like this one; the later one where several are."""
    address = actual.get("method"), actual.get("url")
    same = [one for one in requests if (one.get("method"), one.get("url")) == address] or requests
    return min((differences(one, actual) for one in reversed(same)), key=_weight)


def _weight(found: list[Difference]) -> int:
    """How much differs: what is missing as a whole counts with all that is in it."""
    return sum(_size(one.recorded) + _size(one.actual) for one in found)


def _size(value: Any) -> int:
    match value:
        case dict():
            return 1 + sum(map(_size, value.values()))
        case list():
            return 1 + sum(map(_size, value))
    return 1


def told(found: Sequence[Difference]) -> str:
    """Differences as words: the first ones, and how many more there are."""
    words = "; ".join(_told(one) for one in found[:_MOST])
    if len(found) > _MOST:
        return say("{differences}; and {count} more", differences=words, count=len(found) - _MOST)
    return words


def _told(one: Difference) -> str:
    recorded, actual = _shown(one.recorded, one.actual)
    is_part = one.path in (say("the method"), say("the URL"), say("the body"))
    path = one.path if is_part else f"`{plain(one.path)}`"
    if one.recorded is NOTHING:
        return say("{part} is {actual}, and the recording has none", part=path, actual=actual)
    if one.actual is NOTHING:
        return say("{part} is missing, and was {recorded} in the recording", part=path, recorded=recorded)
    return say("{part} is {actual}, and was {recorded} in the recording", part=path, actual=actual, recorded=recorded)


def _shown(recorded: Any, actual: Any) -> tuple[str, str]:
    """Two values in a sentence: of long ones what stands around the first character that differs."""
    one, other = _text(recorded), _text(actual)
    start = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    cut = max(0, start - _BEFORE) if max(len(one), len(other)) > _SHOWN else 0
    return _clipped(one, cut), _clipped(other, cut)


def _text(value: Any) -> str:
    if value is NOTHING:
        return ""
    return " ".join(plain(clean(json.dumps(value, ensure_ascii=False))).split())


def _clipped(text: str, cut: int) -> str:
    kept = text[cut : cut + _SHOWN]
    return f"{'…' if cut else ''}{kept}{'…' if cut + _SHOWN < len(text) else ''}"
