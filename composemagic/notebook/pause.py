"""Something that is done when nothing has happened for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from composemagic.engine.loop import private_loop

__all__ = ["Pause"]


class Pause:
    """Calls a function on the private loop's thread `seconds` after the last `begin()`, from whatever thread that came."""

    def __init__(self, seconds: float, ended: Callable[[], None]) -> None:
        self._seconds = seconds
        self._ended = ended
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begin to wait, or begin again."""
        private_loop().loop.call_soon_threadsafe(self._begin)

    def drop(self) -> None:
        """Wait no more."""
        private_loop().loop.call_soon_threadsafe(self._drop)

    def _begin(self) -> None:
        self._drop()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._ended)

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
