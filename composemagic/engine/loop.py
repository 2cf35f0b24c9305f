"""The private event loop on a daemon thread, where every run lives, and the synchronous doors to it.

A notebook's own loop belongs to its kernel: a run on it would stop when a cell blocks, and block the Stop button when it
computes. One loop of our own serves every cell and every synchronous caller of the process.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["PrivateLoop", "pause", "private_loop", "while_waiting"]

T = TypeVar("T")

_CLOSE_SECONDS = 2.0


class PrivateLoop:
    """An event loop that runs on a daemon thread until `close`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pid = os.getpid()
        self._shared: dict[object, Any] = {}
        self.thread = threading.Thread(target=self._run, name="composemagic-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    @property
    def alive(self) -> bool:
        """Whether the loop can be used: its thread runs, in this process (a fork does not take threads along)."""
        return self.pid == os.getpid() and self.thread.is_alive() and not self.loop.is_closed()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop; callable from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def shared(self, key: object, make: Callable[[], Any]) -> Any:
        """What all work on the loop shares under a key, made on first use; its `aclose()` is awaited before the loop ends.

        To be called on the loop.
        """
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def close(self) -> None:
        """Cancel what still runs, close what was opened, end the thread. At most about 2 seconds."""
        if not self.alive:
            return
        done = self.submit(self._wind_up())
        with contextlib.suppress(Exception):
            done.result(_CLOSE_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(_CLOSE_SECONDS)
        if not self.thread.is_alive():
            self.loop.close()

    async def _wind_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for thing in self._shared.values():
            with contextlib.suppress(Exception):
                await thing.aclose()
        await self.loop.shutdown_asyncgens()


_between: Callable[[], None] | None = None


def while_waiting(call: Callable[[], None] | None) -> None:
    """Call this between the short waits of a thread that waits for a run, on that thread; None for nothing.

    For the notebook, whose own loop is blocked meanwhile.
    """
    global _between  # noqa: PLW0603 - a process has one kernel
    _between = call


def pause() -> None:
    """To be called between two short waits."""
    if _between is not None:
        _between()


_lock = threading.Lock()
_current: PrivateLoop | None = None


def private_loop() -> PrivateLoop:
    """The process's private loop, started on first use and again after a fork."""
    global _current  # noqa: PLW0603 - one loop a process is the point
    with _lock:
        if _current is None or not _current.alive:
            _current = PrivateLoop()
            atexit.register(_current.close)
        return _current


def _forget() -> None:
    """In the child of a fork: the parent's loop stays the parent's, and a lock that was held there is held by no one."""
    global _current, _lock
    _current, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
