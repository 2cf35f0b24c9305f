"""How often a face may push to its page: one budget for all that it shows, however many runs those are."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

__all__ = ["Alarm", "Pace"]

_SECONDS = 1 / 10
_BEAT = 1 / 4
_MESSAGES_PER_SECOND = 24  # of 30
_FIRST_MESSAGES = 20
_BYTES_PER_SECOND = 160_000  # of 200,000: messages have heads, and HTML in JSON has escapes


class Alarm:
    """One timer on the private loop's thread. `due`: the time of `time.monotonic` when it rings; infinite where it does not."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self.due = math.inf
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    def at(self, due: float) -> None:
        """Ring at this time, and not at the one that was asked for before."""
        self.stop()
        self.due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - time.monotonic()), self._rings)

    def stop(self) -> None:
        """Ring no more."""
        self.due = math.inf
        if self._timer is not None:
            self._timer.cancel()

    def _rings(self) -> None:
        self.due = math.inf
        self._ring()


class Pace:
    """Calls `push` when something has changed and the page can take it, and four times a second to show that it goes on.

    `push` gives how many messages and bytes it has sent. `spent` are the messages that making the face takes and taking it
    away will. `seconds` is the least time between two pushes; it may be set at any time. Everything happens on the private
    loop's thread.
    """

    def __init__(self, push: Callable[[], tuple[int, int]], spent: int = 0) -> None:
        self.seconds = _SECONDS
        self._push = push
        self._sent = spent
        self._began = time.monotonic()
        self._due = self._began
        self._alarm = Alarm(self._tick)
        self._is_over = False
        self.failure: Exception | None = None

    def soon(self) -> None:
        """Something has changed."""
        if not self._is_over and self._due < self._alarm.due:
            self._alarm.at(self._due)

    def has_room(self, messages: int) -> bool:
        """Whether so many messages more are within the budget by now."""
        return self._sent + messages <= _FIRST_MESSAGES + _MESSAGES_PER_SECOND * (time.monotonic() - self._began)

    def stop(self) -> None:
        """Push no more."""
        self._is_over = True
        self._alarm.stop()

    def _tick(self) -> None:
        begun = time.monotonic()
        try:
            messages, size = self._push()
        except Exception as error:  # what is shown must not hurt what runs
            self.failure = error
            self._is_over = True
            return
        self._sent += messages
        now = time.monotonic()
        # rendering costs CPU as well: at most a fifth of the time; another push takes about as many messages as this one
        affordable = self._began + (self._sent + messages - _FIRST_MESSAGES) / _MESSAGES_PER_SECOND
        self._due = max(begun + max(self.seconds, size / _BYTES_PER_SECOND, 5 * (now - begun)), affordable)
        has_more = self._alarm.due < math.inf  # something has changed while it was pushed
        self._alarm.at(self._due if has_more else max(now + _BEAT, self._due))
