"""Blocking work beside an event loop, on threads that a process which ends does not wait for, and word from one to the other."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["DaemonThread", "call_on", "on_daemon", "soon_on"]

T = TypeVar("T")


class DaemonThread:
    """One daemon thread for one call, started when needed: a generator of the user's stays on the thread it began on.

    A process that ends does not wait for it, as it would for those of `asyncio.to_thread`.
    """

    def __init__(self, name: str) -> None:
        self.at_end: Callable[[], Any] | None = None
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] | None = None

    async def do(self, call: Callable[[], T]) -> T:
        """Call there, in this task's context (a notebook finds the cell of a `print` in it). Raises what the call raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()

        def work() -> None:
            outcome: tuple[T | None, BaseException | None]
            try:
                outcome = call(), None
            except BaseException as error:
                outcome = None, error
            call_on(loop, settle, outcome)

        def settle(outcome: tuple[T | None, BaseException | None]) -> None:
            if not done.done():  # cancelled: nobody waits any more
                done.set_result(outcome)

        self._started().put(work)
        result, error = await done
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def end(self) -> None:
        """Let the thread end when it is done with what it does; `at_end` is called on it."""
        if self._calls is not None:
            self._calls.put(None)

    def _started(self) -> queue.SimpleQueue[Callable[[], None] | None]:
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            context = contextvars.copy_context()
            work = (self._work, self._calls)
            threading.Thread(target=context.run, args=work, name=f"composemagic-{self._name}", daemon=True).start()
        return self._calls

    def _work(self, calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
        while (call := calls.get()) is not None:
            call()
            del call
        if self.at_end is not None:
            try:
                self.at_end()
            except BaseException:  # nobody waits for it any more
                return


async def on_daemon(call: Callable[[], T]) -> T:
    """Call on a daemon thread of its own, which nobody can stop. Raises what the call raises."""
    thread = DaemonThread("apart")
    try:
        return await thread.do(call)
    finally:
        thread.end()


def call_on(loop: asyncio.AbstractEventLoop, call: Callable[..., Any], *arguments: Any) -> None:
    """Call on another loop's thread; a loop that is closed by now has no one left to tell."""
    try:
        soon_on(loop, call, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise


def soon_on(loop: asyncio.AbstractEventLoop, call: Callable[..., Any], *arguments: Any) -> None:
    """Call in the loop's next turn, from any thread. Raises RuntimeError for one that is closed.

    On its own thread the loop need not be woken, which goes through a socket.
    """
    if asyncio._get_running_loop() is loop:
        loop.call_soon(call, *arguments)
    else:
        loop.call_soon_threadsafe(call, *arguments)
