"""What `load` needs to record what is answered, and to run from a recording."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from composemagic.engine.host import Surroundings
from composemagic.errors import UsageError
from composemagic.words import say
from composemagic.workflow.plan import Plan

__all__ = ["Wired", "speed_of", "wired"]

Wired = tuple[Plan, Surroundings]


def wired(
    plan: Plan,
    surroundings: Surroundings,
    record: str | Path | None,
    replay: str | Path | None,
    speed: float | None,
) -> Wired:
    """The plan and its surroundings with what was asked for. Raises UsageError."""
    if record is not None and replay is not None:
        raise UsageError(say("`record` or `replay`: what is replayed stands in a recording already"))
    if record is not None:
        from composemagic.transport.recording import Recorder  # only who records pays for it

        return plan, replace(surroundings, record=Recorder(_path(record, "record")))
    return (plan, surroundings) if replay is None else _replayed(plan, surroundings, _path(replay, "replay"), speed)


def _replayed(plan: Plan, surroundings: Surroundings, path: Path, speed: float | None) -> Wired:
    from composemagic.transport.recording import read
    from composemagic.transport.replaying import Embedded, Keyless, Replay

    if surroundings.transport is not None:
        raise UsageError(say("`transport` or `replay`: both stand in the place of the network"))
    if speed is not None and not _is_speed(speed):
        raise UsageError(say("`replay_speed` is a number above 0, or None for at once, not {value}", value=repr(speed)))
    found = read(path)
    around = replace(
        surroundings,
        env=Keyless(surroundings.env),
        transport=Replay(found, speed),
        offline=Embedded.of(found),
    )
    return replace(plan, notes=(*plan.notes, *found.notes)), around


def speed_of(text: str) -> float | None:
    """How fast a replay is, as it is written on a command line: a number, or `max` for None, at once. Raises UsageError."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not _is_speed(speed):
        raise UsageError(say("`--speed` is a number above 0, or `max`, not `{text}`", text=text))
    return speed


def _is_speed(speed: object) -> bool:
    return isinstance(speed, int | float) and not isinstance(speed, bool) and math.isfinite(speed) and speed > 0


def _path(given: object, option: str) -> Path:
    if not isinstance(given, str | Path) or not str(given).strip():
        raise UsageError(say("`{option}` is the path of a file, not {value}", option=option, value=repr(given)))
    return Path(given).expanduser()
