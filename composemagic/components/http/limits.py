"""How long, how often and how many at once: what an http-client's settings say of it, and the turns they give."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from composemagic.components.given import whole_number
from composemagic.errors import RunError
from composemagic.transport.http import Timeouts
from composemagic.transport.retry import Retries
from composemagic.words import say
from composemagic.workflow.component import Action, Context
from composemagic.workflow.duration import DurationError, seconds

__all__ = ["Limits", "Rate", "Turns", "count", "duration", "rate"]

_RATE = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*", re.IGNORECASE | re.ASCII)
_PERIODS = {
    **dict.fromkeys(("ms",), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_REMEMBERED = 100_000  # requests
_WORTH_SAYING = 1.0  # seconds

count = whole_number(0)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `requests` in each `period` seconds, `burst` of them at once (0: all), `interval` seconds between two."""

    requests: int
    period: float = 1.0
    burst: int = 0
    interval: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for the requests of one action in one run."""

    timeouts: Timeouts
    retries: Retries
    rate: Rate | None
    most: int

    @classmethod
    async def of(cls, action: Action, context: Context) -> Limits:
        """The component's settings, changed by the action's. Raises RunError for what cannot be read."""
        timeouts, retries = Timeouts(), Retries()
        if context.retries is not None:
            retries = Retries(most=0)  # the job tries again by itself: they do not multiply
        for fields in (action.settings, action.fields):
            if "timeout" in fields:
                timeouts = _timeouts(timeouts, await context.render(fields["timeout"]))
            if "max_retries" in fields and (most := await context.render(fields["max_retries"])) is not None:
                retries = replace(retries, most=count(most, "max_retries"), is_own=True)
            if "retry_delay" in fields and (delay := await context.render(fields["retry_delay"])) is not None:
                retries = replace(retries, delay=duration(delay, "retry_delay"))
        settings = action.settings
        written = await context.render(settings.get("rate_limit"))
        most = await context.render(settings.get("max_concurrent_count"))
        return cls(
            timeouts,
            retries,
            None if written is None else rate(written, "rate_limit"),
            0 if most is None else count(most, "max_concurrent_count"),
        )


def duration(value: Any, key: str) -> Any:
    """A duration in seconds, more than 0; of a mapping, such as `timeout`, each part. Raises RunError."""
    if isinstance(value, dict):
        return {part: duration(inner, f"{key}.{part}") for part, inner in value.items() if inner is not None}
    try:
        found = seconds(value)
    except DurationError as error:
        raise RunError("request", say("`{key}`: {reason}", key=key, reason=error)) from None
    if not found:
        raise RunError("request", say("`{key}` is more than 0 seconds", key=key))
    return found


def _timeouts(before: Timeouts, value: Any) -> Timeouts:
    if value is None:
        return before
    found = duration(value, "timeout")
    parts = found if isinstance(found, dict) else {"total": found}
    for name in parts:
        if name not in Timeouts.__slots__:
            raise RunError("request", say("`timeout` has connect, first, read and total, not `{key}`", key=name))
    return replace(before, **parts)


def rate(value: Any, key: str) -> Rate:
    """ "50/s", "100/min", "10/2s", or a mapping with `requests` and `period`, `burst`, `interval`. Raises RunError."""
    if isinstance(value, dict):
        found = {name: inner for name, inner in value.items() if inner is not None}
        if found.keys() <= {"requests", "period", "burst", "interval"} and "requests" in found:
            return Rate(
                _at_least_one(found["requests"], f"{key}.requests"),
                duration(found.get("period", 1), f"{key}.period"),
                count(found.get("burst", 0), f"{key}.burst"),
                _interval(found.get("interval", 0), f"{key}.interval"),
            )
    elif isinstance(value, str) and (match := _RATE.fullmatch(value)) and match[3].lower() in _PERIODS:
        return Rate(
            _at_least_one(match[1], key), duration(float(match[2] or 1) * _PERIODS[match[3].lower()], f"{key}.period")
        )
    sentence = say(
        '`{key}` is a text such as "50/s" or "100/min", or a mapping with requests, period, burst and interval', key=key
    )
    raise RunError("request", sentence)


_at_least_one = whole_number(1)


def _interval(value: Any, key: str) -> float:
    """A duration that may be 0."""
    return 0.0 if value in (0, "0") else float(duration(value, key))


# -- turns ---------------------------------------------------------------------------------------------------------------


class Turns:
    """Who may ask now. Belongs to one component of one loaded document and to one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._busy = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._taken: deque[float] = deque(maxlen=_REMEMBERED)
        self._full_again = 0.0

    @asynccontextmanager
    async def place(self, most: int) -> AsyncIterator[None]:
        """One of `most` places (0: there is no end of them), given in the order in which they were asked for."""
        if most and (self._busy >= most or self._queue):
            await self._queued(most)
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._call_next()

    async def _queued(self, most: int) -> None:
        while True:
            turn = self.loop.create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._queue:
                    self._queue.remove(turn)
                else:
                    self._call_next()  # it was ours already
                raise
            if self._busy < most:
                return

    def _call_next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def pace(self, rate: Rate | None, note: Callable[[str], None]) -> None:
        """Wait until the rate allows one more request; `note` hears of a wait of more than a second."""
        if rate is None:
            return
        now = self.loop.time()
        seconds = self._take(rate, now) - now
        if seconds <= 0:
            return
        if seconds > _WORTH_SAYING:
            note(say("`rate_limit` holds the next request back for {seconds} s", seconds=f"{seconds:.1f}"))
        await asyncio.sleep(seconds)

    def _take(self, rate: Rate, now: float) -> float:
        """The moment of the next request, which is taken by this."""
        at = now
        if self._taken:
            at = max(at, self._taken[-1] + rate.interval)
        if len(self._taken) >= rate.requests:
            at = max(at, self._taken[-rate.requests] + rate.period)
        if rate.burst:
            # a bucket of `burst` that fills evenly: `_full_again` is when it will be full
            each = rate.period / rate.requests
            at = max(at, self._full_again - (rate.burst - 1) * each)
            self._full_again = max(self._full_again, at) + each
        self._taken.append(at)
        return at
