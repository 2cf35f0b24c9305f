"""Callbacks that a run waits for: who hears one (a listener, a server) completes it here, by the id both sides know.

One of these for each event loop, as `context.shared(Callbacks, Callbacks)`; to be used on that loop only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from composemagic.errors import RunError

__all__ = ["Callbacks"]

_EARLY = 256  # callbacks that are kept until somebody waits for them


class Callbacks:
    """Results by id. One that comes before anybody waits is kept; of those, the oldest give way to new ones."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[Any]]] = {}
        self._early: OrderedDict[str, Any] = OrderedDict()

    async def wait(self, name: str) -> Any:
        """The result that a callback brings under this id. Raises the RunError it was failed with."""
        if name in self._early:
            return _given(self._early.pop(name))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(future)
        try:
            return _given(await future)
        finally:
            left = [other for other in self._waiting.pop(name, []) if other is not future]
            if left:
                self._waiting[name] = left

    def complete(self, name: str, result: Any) -> bool:
        """Give all who wait for an id their result, or, as a RunError, their failure; whether somebody was waiting."""
        waiting = [future for future in self._waiting.get(name, []) if not future.done()]
        for future in waiting:
            future.set_result(result)
        if not waiting:
            self._early[name] = result
            self._early.move_to_end(name)
            if len(self._early) > _EARLY:
                self._early.popitem(last=False)
        return bool(waiting)

    async def aclose(self) -> None:
        """Nothing is left to do when the loop ends: who waits is cancelled."""


def _given(result: Any) -> Any:
    if isinstance(result, RunError):
        raise result
    return result
