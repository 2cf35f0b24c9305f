"""The notebook's own functions in workflows, called where they belong.

An `async` function of a cell belongs to the kernel's loop: the connections, locks and tasks it uses live there. While a cell is
awaited that loop is free. A cell that calls `workflow.run()` blocks it; then, and only then, the thread that waits turns it by
hand, with nest_asyncio2. Not before: its `apply()` slows every task of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from composemagic.components.adopted import Way
from composemagic.components.calling import Function
from composemagic.engine.loop import while_waiting

__all__ = ["calling"]

T = TypeVar("T")

_TURN_SECONDS = 0.05


def calling(shell: Any, loop: asyncio.AbstractEventLoop | None) -> Way:
    """How the functions of a shell are called whose cells run on a loop (None: a terminal's, which run on none that goes on)."""
    if loop is None:
        return lambda function, name: _CellFunction(shell, function, name)
    kernel = _KernelLoop(loop)
    while_waiting(kernel.turn_while_needed)
    return lambda function, name: _KernelFunction(kernel, shell, function, name)


class _CellFunction(Function):
    """A function whose errors are shown with the number of their cell."""

    def __init__(self, shell: Any, function: Callable[..., Any], name: str) -> None:
        super().__init__(function, name)
        self._shell = shell

    def place(self, file: str) -> str:
        """`Cell In[3]`, or what any other file is called."""
        try:
            named = self._shell.compile.format_code_name(file)
        except AttributeError:  # another shell's compiler
            named = None
        return " ".join(named) if named else super().place(file)


class _KernelFunction(_CellFunction):
    """A function whose asynchronous parts run on the kernel's loop."""

    def __init__(self, kernel: _KernelLoop, shell: Any, function: Callable[..., Any], name: str) -> None:
        super().__init__(shell, function, name)
        self._kernel = kernel

    async def on_its_loop(self, work: Callable[[], Awaitable[T]]) -> T:
        return await self._kernel.do(work)


class _KernelLoop:
    """The kernel's loop, and how much of what runs on it runs for workflows."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running = 0
        self._done = 0

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await something there, from another loop. Cancelling the wait cancels it."""
        self._running += 1
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(work), self._loop))
        finally:
            self._running -= 1
            self._done += 1

    def turn_while_needed(self) -> None:
        """Where this thread blocks the kernel's loop and something waits for that loop, turn it until nothing does."""
        if not self._running or asyncio._get_running_loop() is not self._loop:
            return
        import nest_asyncio2

        nest_asyncio2.apply(self._loop)
        before = -1
        # a generator asks again a moment after each thing it gave
        while self._running or before != self._done:
            before = self._done
            self._loop.run_until_complete(asyncio.sleep(_TURN_SECONDS))


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
