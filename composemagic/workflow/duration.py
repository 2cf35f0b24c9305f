"""Durations and times as YAML writers spell them: `5`, `0.5`, "500ms", "5s", "2m", "1h", "1d", "mm:ss" and "hh:mm:ss"."""

from __future__ import annotations

import math
import re
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

from composemagic.language.values import shown
from composemagic.words import say

__all__ = ["DurationError", "check_zone", "moment", "seconds"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_PLAIN = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d|)", re.ASCII)
_OF_DAY = re.compile(r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", re.ASCII)


class DurationError(ValueError):
    """A value is no duration; the text is a sentence for the user."""


def seconds(value: Any) -> float:
    """The seconds of a duration. Raises DurationError for what is none, is negative, or is endless."""
    found = _of_text(value.strip()) if isinstance(value, str) else _of_number(value)
    if found is None or not math.isfinite(found) or found < 0:
        raise DurationError(
            say('a duration is seconds, or a text such as "500ms", "5s" or "2m", not {value}', value=shown(value))
        )
    return found


def _of_number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _of_text(text: str) -> float | None:
    if found := _PLAIN.fullmatch(text):
        return float(found[1]) * _UNITS[found[2]]
    if found := _CLOCK.fullmatch(text):
        return int(found[1] or 0) * 3600 + int(found[2]) * 60 + float(found[3])
    return None


def check_zone(name: Any) -> tzinfo | None:
    """The time zone of a name such as `Europe/Berlin`, None for none. Raises DurationError."""
    if name is None:
        return None
    from zoneinfo import ZoneInfo  # only who names a zone pays for it

    try:
        return ZoneInfo(str(name))
    except (ValueError, OSError, LookupError):
        raise DurationError(
            say(
                "unknown time zone `{name}`; they are called like `Europe/Berlin`",
                name=name if isinstance(name, str) else shown(name),
            )
        ) from None


def moment(value: Any, zone: tzinfo | None) -> datetime:
    """When it is: a date and time (ISO 8601, its own zone first, else `zone`, else the machine's), or the next such time of day.

    Raises DurationError.
    """
    text = str(value).strip()
    if _OF_DAY.fullmatch(text):
        return _next(time.fromisoformat(text.zfill(5) if text.count(":") == 1 else text.zfill(8)), zone)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise DurationError(
            say(
                'a time is written "2030-01-31T09:00:00", or "09:00" for the next one, not {value}',
                value=shown(value),
            )
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=zone) if zone else found.astimezone()


def _next(clock: time, zone: tzinfo | None) -> datetime:
    now = datetime.now(zone) if zone else datetime.now().astimezone()
    today = now.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
    return today if today > now else today + timedelta(days=1)
