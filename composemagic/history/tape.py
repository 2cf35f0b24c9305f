"""What a run said, and when; and the same as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from composemagic.engine import events
from composemagic.engine.events import Delta, Event, Point
from composemagic.errors import RunError

__all__ = ["Tape", "read", "written"]

_SLOT_SECONDS = 0.02  # pieces of one text that come within this are played as one
_MOST = 2**20  # characters of deltas that are kept apart; what comes later is played at once
_KINDS = {kind.__name__: kind for kind in Event.__args__}
_DROPPED = frozenset({"mark"})  # the line of a document that may have changed since


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
    rows = [[round(at, 4), type(event).__name__, _fields(event)] for at, event in said]
    return json.dumps(rows, ensure_ascii=False, default=_plain)


def _fields(event: Any) -> Any:
    if isinstance(event, Delta):
        return [event.value, event.job, list(event.path)]
    return {one.name: getattr(event, one.name) for one in fields(event) if one.name not in _DROPPED}


def _plain(value: object) -> Any:
    if isinstance(value, RunError):
        return {"kind": value.kind, "sentence": value.sentence, "job": value.job}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    return repr(value)


def read(text: str) -> list[tuple[float, Event]]:
    """The events of such JSON; those of a kind that this version does not know are left out."""
    return [(float(at), _event(kind, values)) for at, kind, values in json.loads(text) if kind in _KINDS]


def _event(kind: str, values: Any) -> Event:
    if kind == "Delta":
        value, job, path = values
        return Delta(_bytes(value), job, tuple(path))
    known = {one.name for one in fields(_KINDS[kind])}
    given = {name: value for name, value in values.items() if name in known}
    if "error" in given:
        told = given["error"]
        given["error"] = RunError(told["kind"], told["sentence"], job=told.get("job"))
    if kind == "Interrupted":
        given["points"] = tuple(Point(**point) for point in given["points"])
    made: Event = getattr(events, kind)(**given)
    return made


def _bytes(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return base64.b64decode(value["base64"])
    return value
