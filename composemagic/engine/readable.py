"""The reader's side of a run: waiting for it, its events as they come, from any thread and any loop."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

from composemagic.engine.events import Event
from composemagic.engine.loop import PrivateLoop, pause
from composemagic.engine.record import Inbox, Reader, Record, is_last
from composemagic.errors import RunError
from composemagic.threads import call_on
from composemagic.words import say

__all__ = ["Readable"]

_POLL_SECONDS = 0.05
_STOP_SECONDS = 2.0
_REST_SECONDS = 0.001


class Readable:
    """What can be waited for and read, as often as you like, before or after its end."""

    id: str
    loop: PrivateLoop
    error: RunError | None
    _record: Record
    _ended: threading.Event

    @property
    def done(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self._ended.is_set()

    @property
    @abstractmethod
    def output(self) -> Any:
        """What it gives."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop it."""

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run has ended, at most `timeout` seconds; whether it has.

        An interrupt (Ctrl-C, the notebook's ■) stops the run, waits for it up to 2 seconds and goes on as KeyboardInterrupt.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._ended.wait(_pause_until(deadline)):
                pause()
                if deadline is not None and time.monotonic() >= deadline:
                    return self.done
        except BaseException:
            self.cancel()
            self._ended.wait(_STOP_SECONDS)
            raise
        return True

    async def finished(self) -> Self:
        """Wait for the end on the caller's loop; cancelling the wait stops the run."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def notice(batch: list[Event]) -> None:
            if is_last(batch[-1]):
                call_on(loop, ended.set)

        leave = self.subscribe(notice)
        try:
            await ended.wait()
            await self._told_all()
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            leave()
        return self

    async def _told_all(self) -> None:
        """Wait until every reader has heard of the end: this one may be the first."""
        while not self.done:
            await asyncio.sleep(_REST_SECONDS)

    def result(self, timeout: float | None = None) -> Any:
        """Wait and give the output. Raises the run's RunError, and TimeoutError after `timeout` seconds."""
        if not self.wait(timeout):
            raise TimeoutError(say("the run did not end within {seconds} seconds", seconds=f"{timeout:g}"))
        self.raise_for_error()
        return self.output

    def raise_for_error(self) -> None:
        """Raise the RunError of a run that failed."""
        if self.error is not None:
            # one object, raised as often as it is asked for: what it remembers of the last time would grow and stay alive
            raise self.error.with_traceback(None)

    def subscribe(self, reader: Reader) -> Callable[[], None]:
        """Call `reader` with lists of events, first with all there were; returns what ends it.

        It is called on the private loop's thread, where it must not block; of a run that has ended, at once, on the
        caller's. A batch that is on its way while it leaves may still come. What it raises is logged and goes no further.
        """
        if self.done:
            try:
                reader(self._record.events)
            except Exception as error:
                self._complain(error)
            return lambda: None
        call_on(self.loop.loop, self._record.attach, reader, self._complain)
        return lambda: self._leave(reader)

    def _leave(self, reader: Reader) -> None:
        call_on(self.loop.loop, self._record.detach, reader)

    def __iter__(self) -> Iterator[Event]:
        """Events, for synchronous callers. An interrupt while waiting for one stops the run."""
        inbox = Inbox(self._record)
        arrived = threading.Event()

        def receive(batch: list[Event]) -> None:
            inbox.put(batch)
            arrived.set()

        try:
            self.subscribe(receive)
            while True:
                # in short waits: an interrupt must find a way in on every system
                while not arrived.wait(_POLL_SECONDS):
                    pause()
                arrived.clear()
                for event in inbox.take():
                    yield event
                    if is_last(event):
                        self._ended.wait(_STOP_SECONDS)
                        return
        except KeyboardInterrupt:
            self.cancel()
            self._ended.wait(_STOP_SECONDS)
            raise
        finally:
            self._leave(receive)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Events, on the caller's loop. A caller that lags more than 4,096 events behind gets several deltas as one.

        A caller that is cancelled only leaves: the run goes on, for its other readers. `cancel` stops it, and so does
        cancelling who waits in `finished` or `Workflow.arun`.
        """
        loop = asyncio.get_running_loop()
        inbox = Inbox(self._record)
        arrived = asyncio.Event()
        woken = False

        def wake() -> None:
            nonlocal woken
            woken = False
            arrived.set()

        def receive(batch: list[Event]) -> None:
            nonlocal woken
            inbox.put(batch)
            if not woken:
                woken = True
                call_on(loop, wake)

        try:
            self.subscribe(receive)
            while True:
                await arrived.wait()
                arrived.clear()
                for event in inbox.take():
                    yield event
                    if is_last(event):
                        await self._told_all()
                        return
        finally:
            self._leave(receive)

    def _complain(self, error: Exception) -> None:
        """Tell developers of a reader that raised; the run and its other readers go on."""
        self.loop.loop.call_exception_handler({"message": f"a reader of {self.id} raised", "exception": error})


def _pause_until(deadline: float | None) -> float:
    """How long one wait may be, in seconds: an interrupt must find a way in on every system."""
    return _POLL_SECONDS if deadline is None else max(0.0, min(_POLL_SECONDS, deadline - time.monotonic()))
