"""A client that reads an answer as it comes: whether it is still there, whether it reads, and what it is sent meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import Receive, Send

from composemagic.engine.events import Delta
from composemagic.engine.stream import size
from composemagic.server.events import QUEUE, Messages
from composemagic.server.log import ForgottenError, Numbered
from composemagic.server.tasks import Task

__all__ = ["Client", "Patience", "connected"]

_MOST_EVENTS = 1024  # that are written at a time


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds: how long a stream may be silent before a heartbeat, and how long a client may not read."""

    heartbeat: float = 15.0
    unread: float = 30.0


class Client:
    """One connection. `gone`: it has left, or has not read for too long; `bell` is set then, too."""

    def __init__(self, send: Send, bell: asyncio.Event, patience: Patience) -> None:
        self.gone = False
        self._send = send
        self._bell = bell
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._said_at = self._loop.time()
        self._sending = False
        self._stuck = False
        self._due = False
        self._timer = self._loop.call_later(self._step, self._look)

    @property
    def _step(self) -> float:
        return min(self._patience.heartbeat, self._patience.unread) / 4

    def leave(self) -> None:
        """It has disconnected."""
        self.gone = True
        self._bell.set()

    def close(self) -> None:
        """Nothing is sent any more."""
        self._timer.cancel()

    async def begin(self, media_type: str, headers: Mapping[str, str]) -> None:
        """Send the head of a stream."""
        every = {"content-type": media_type, "cache-control": "no-cache", "x-accel-buffering": "no", **headers}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in every.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def stream(self, task: Task, messages: Messages, after: int) -> None:
        """Send a task's events after a number, as they come, until its end or until the client is gone."""
        with task.log.reader(after) as place:
            while not self.gone:
                self._bell.clear()
                ended = task.ended  # before the look at the log: what comes between the two is not lost
                try:
                    events = _portion(task.log.after(place[0], _MOST_EVENTS))
                except ForgottenError:
                    await self.write(messages.forgotten())
                    break
                if events:
                    place[0] = events[-1][0]
                    await self.write(messages.written(events))
                elif ended:
                    if task.run is None:
                        await self.write(messages.unbegun())
                    break
                else:
                    await self.next(messages.heartbeat)
        if not self.gone and not messages.broken:
            await self.finish()

    async def write(self, data: bytes) -> None:
        """Send bytes, in pieces of at most 256 KiB; a client that takes none for too long is gone."""
        for start in range(0, len(data), QUEUE):
            if self.gone:
                return
            await self._write(data if len(data) <= QUEUE else data[start : start + QUEUE])

    async def finish(self) -> None:
        """End the answer."""
        await self._write(b"", more=False)

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        self._said_at, self._sending = self._loop.time(), True
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except asyncio.CancelledError:
            if not self._stuck or self._task is None or self._task.uncancel():
                raise
        except OSError:
            self.gone = True
        finally:
            self._sending = False

    async def next(self, heartbeat: bytes) -> None:
        """Wait for the bell; a silence that has lasted is broken with a heartbeat."""
        await self._bell.wait()
        if self._due:
            self._due = False
            await self.write(heartbeat)

    def _look(self) -> None:
        """Now and then: whether a heartbeat is due, or the client has not read for too long."""
        self._timer = self._loop.call_later(self._step, self._look)
        silent = self._loop.time() - self._said_at
        if self._sending:
            if silent >= self._patience.unread and not self._stuck and self._task is not None:
                self._stuck = self.gone = True
                self._task.cancel()
        elif silent >= self._patience.heartbeat:
            self._due = True
            self._bell.set()


def _portion(events: list[Numbered]) -> list[Numbered]:
    """The first of some events, as many as 256 KiB hold, or one: what a client that does not read costs is bounded."""
    room = QUEUE // 4  # a character has up to four bytes
    for count, (_, event) in enumerate(events):
        if type(event) is Delta:
            room -= len(event.value) if type(event.value) is str else size([event.value])
            if room < 0:
                return events[: count or 1]
    return events


@asynccontextmanager
async def connected(
    task: Task, receive: Receive, send: Send, patience: Patience
) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """A client of a task and the bell of both, for the length of an answer."""
    with task.bell() as bell:
        client = Client(send, bell, patience)
        watch = asyncio.ensure_future(_watch(receive, client))
        try:
            yield client, bell
        finally:
            client.close()
            watch.cancel()


async def _watch(receive: Receive, client: Client) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            client.leave()
            return
