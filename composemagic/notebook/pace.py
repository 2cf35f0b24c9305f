"""How often a face may push to its page: one budget for all that it shows, however many runs those are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["Pace"]

_SECONDS = 1 / 10
_BEAT = 1 / 4
_MESSAGES_PER_SECOND = 24  # of 30
_FIRST_MESSAGES = 20
_BYTES_PER_SECOND = 160_000  # of 200,000: messages have heads, and HTML in JSON has escapes


class Pace:
    """Calls `push` when something has changed and the page can take it, and four times a second to show that it goes on.

    `push` gives how many messages and bytes it has sent. `spent` are the messages that making the face takes and taking it
    away will. Everything happens on the private loop's thread.
    """

    def __init__(self, push: Callable[[], tuple[int, int]], spent: int = 0) -> None:
        self._push = push
        self._sent = spent
        self._began = time.monotonic()
        self._due = self._began
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self.failure: Exception | None = None

    def soon(self) -> None:
        """Something has changed."""
        if not self._is_over:
            self._come_back(self._due)

    def stop(self) -> None:
        """Push no more."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _come_back(self, at: float) -> None:
        loop = asyncio.get_running_loop()
        seconds = max(0.0, at - time.monotonic())
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
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
        self._due = max(begun + max(_SECONDS, size / _BYTES_PER_SECOND, 5 * (now - begun)), affordable)
        self._come_back(max(now + _BEAT, self._due))
