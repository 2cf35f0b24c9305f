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
_EARLY_SIZE = 8 * 2**20  # bytes of them, about
_OBJECT = 64  # bytes that a value costs beside its text


class Callbacks:
    """Results by id. One that comes before anybody waits is kept; of those, the oldest give way to new ones.

    At most 256 are kept, and at most about 8 MiB of them: one that is larger is not kept at all.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[Any]]] = {}
        self._early: OrderedDict[str, Any] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._size = 0

    async def wait(self, name: str) -> Any:
        """The result that a callback brings under this id. Raises the RunError it was failed with."""
        if name in self._early:
            return _given(self._forget(name))
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
            self._keep(name, result)
        return bool(waiting)

    def _keep(self, name: str, result: Any) -> None:
        if name in self._early:
            self._forget(name)
        self._early[name], self._sizes[name] = result, _size(name) + _size(result)
        self._size += self._sizes[name]
        while len(self._early) > _EARLY or self._size > _EARLY_SIZE:
            self._forget(next(iter(self._early)))

    def _forget(self, name: str) -> Any:
        self._size -= self._sizes.pop(name)
        return self._early.pop(name)

    async def aclose(self) -> None:
        """Nothing is left to do when the loop ends: who waits is cancelled."""


def _given(result: Any) -> Any:
    if isinstance(result, RunError):
        raise result
    return result


def _size(value: Any) -> int:
    """About how many bytes a value of JSON takes. A list instead of calls: it may be nested deeply."""
    size, left = 0, [value]
    while left:
        one = left.pop()
        size += _OBJECT
        if isinstance(one, str):
            size += len(one) * (1 if one.isascii() else 4)
        elif isinstance(one, bytes):
            size += len(one)
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            left += one
    return size
