"""What a run said, and when; and the same as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from composemagic.engine import events
from composemagic.engine.events import Delta, Event, Point, RunStarted
from composemagic.errors import RunError
from composemagic.text import clean

__all__ = ["Tape", "as_json", "of_json", "read", "written"]

_SLOT_SECONDS = 0.02  # pieces of one text that come within this are played as one
_MOST = 2**20  # characters of deltas that are kept apart; what comes later is played at once
_KINDS = {kind.__name__: kind for kind in Event.__args__}
_BYTES = "bytes;base64"  # no one's own key
_DEEPEST = 60
# the line of a document that may have changed since; what the run was given stands beside
_DROPPED = frozenset({"mark", "input"})


class Tape:
    """The events of one run with their times, in seconds since it started. To be called on one thread."""

    def __init__(self) -> None:
        self.said: list[tuple[float, Event]] = []
        self._slot: list[str] = []
        self._slot_of: Delta | None = None
        self._slot_at = 0.0
        self._characters = 0

    def hear(self, at: float, batch: Iterable[Event]) -> None:
        """Add events that came at a time."""
        for event in batch:
            if type(event) is Delta and isinstance(event.value, str):
                self._add(at, event)
            else:
                self._close()
                self.said.append((at, event))

    def told_input(self, value: Any) -> None:
        """Say of the run's input what may be kept."""
        self.said = [(at, replace(one, input=value) if type(one) is RunStarted else one) for at, one in self.said]

    def _add(self, at: float, delta: Delta) -> None:
        slot = self._slot_of
        is_late = at - self._slot_at >= _SLOT_SECONDS and self._characters < _MOST
        if slot is None or is_late or (slot.job, slot.path) != (delta.job, delta.path):
            self._close()
            self._slot_of, self._slot_at = delta, at
        self._slot.append(delta.value)
        self._characters += len(delta.value)

    def _close(self) -> None:
        if self._slot_of is not None:
            whole = Delta("".join(self._slot), self._slot_of.job, self._slot_of.path)
            self.said.append((self._slot_at, whole))
            self._slot, self._slot_of = [], None


def written(said: Iterable[tuple[float, Event]]) -> str:
    """Events as JSON: a list of `[seconds, kind, fields]`."""
    return as_json([[round(at, 4), type(event).__name__, _fields(event)] for at, event in said])


def as_json(value: Any) -> str:
    """Any value as JSON that a file can hold: what JSON has no word for as its `repr`, bytes so that `of_json` finds them."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys that are no texts, a value that holds itself
        text = json.dumps(_spelt(value), ensure_ascii=False)
    return clean(text)


def _spelt(value: Any, depth: int = 0) -> Any:
    match value:
        case str() | int() | float() | None:
            return value
        case Mapping() if depth < _DEEPEST:
            return {str(key): _spelt(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple() if depth < _DEEPEST:
            return [_spelt(inner, depth + 1) for inner in value]
    return repr(value) if depth >= _DEEPEST else _spelt(_plain(value), depth + 1)


def of_json(text: str) -> Any:
    """The value of such JSON."""
    return json.loads(text, object_hook=_bytes)


def _fields(event: Any) -> Any:
    if isinstance(event, Delta):
        return [event.value, event.job, list(event.path)]
    return {one.name: getattr(event, one.name) for one in fields(event) if one.name not in _DROPPED}


def _plain(value: object) -> Any:
    if isinstance(value, RunError):
        return {"kind": value.kind, "sentence": value.sentence, "job": value.job}
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    return repr(value)


def read(text: str) -> list[tuple[float, Event]]:
    """The events of such JSON; those of a kind that this version does not know are left out."""
    return [(float(at), _event(kind, values)) for at, kind, values in of_json(text) if kind in _KINDS]


def _event(kind: str, values: Any) -> Event:
    if kind == "Delta":
        value, job, path = values
        return Delta(value, job, tuple(path))
    known = {one.name for one in fields(_KINDS[kind])}
    given = {name: value for name, value in values.items() if name in known}
    if kind == "RunStarted":
        given["input"] = None
    if "error" in given:
        told = given["error"]
        given["error"] = RunError(told["kind"], told["sentence"], job=told.get("job"))
    if kind == "Interrupted":
        given["points"] = tuple(Point(**point) for point in given["points"])
    made: Event = getattr(events, kind)(**given)
    return made


def _bytes(value: dict[str, Any]) -> Any:
    if value.keys() == {_BYTES}:
        return base64.b64decode(value[_BYTES])
    return value
