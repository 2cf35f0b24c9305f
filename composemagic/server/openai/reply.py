"""The answer to a chat request on its way to the client, whole or as a stream. A client that leaves stops the run."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from composemagic.engine.interrupts import nobody
from composemagic.errors import RunError
from composemagic.server.clients import Client, Patience, connected
from composemagic.server.openai.answer import Chunks, completion, message, stopped
from composemagic.server.openai.errors import body_of, status_of
from composemagic.server.tasks import Task, Tasks

__all__ = ["Streamed", "Whole"]

# Seconds without a word after which a stream begins or says that it is alive. An error that comes before has a status of
# its own, and not the 200 of a stream.
_BEAT = 5.0
_MOST_EVENTS = 1024  # that are written at a time
_EVENT_STREAM = "text/event-stream; charset=utf-8"
_HEARTBEAT = b":\n\n"


class _Reply(Response):
    """What both have: the task, and the client that waits for it."""

    def __init__(self, tasks: Tasks, task: Task, model: str) -> None:
        super().__init__()
        self._tasks = tasks
        self._task = task
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with connected(self._task, receive, send, Patience(heartbeat=_BEAT)) as (client, bell):
                response = await self._reply(client, bell)
            if response is not None:
                await response(scope, receive, send)
        finally:
            self._tasks.drop(self._task)

    @abstractmethod
    async def _reply(self, client: Client, bell: asyncio.Event) -> Response | None:
        """Answer by itself, or give the answer. The bell rings when the task has said something or the client has left."""

    @property
    def _name(self) -> str:
        return f"chatcmpl-{self._task.id}"

    def _failure(self) -> RunError | None:
        """Why there will be no good end: also that a person is asked, whom no chat can bring."""
        if self._task.points:
            return nobody(self._task.points[0].job_id)
        if self._task.ended and (self._task.run is None or self._task.status == "cancelled"):
            return self._task.failure or stopped()
        return self._task.failure

    def _about(self) -> dict[str, str]:
        return {"X-Task-Id": self._task.id, "X-Should-Retry": "false"}

    def _refusal(self, error: RunError) -> Response:
        return JSONResponse(body_of(error), status_of(error), headers=self._about())


class Whole(_Reply):
    """One `chat.completion`."""

    async def _reply(self, client: Client, bell: asyncio.Event) -> Response | None:
        while not (self._task.ended or self._task.points or client.gone):
            bell.clear()
            await bell.wait()
        return None if client.gone else self._answer()

    def _answer(self) -> Response:
        error = self._failure()
        if error is None and self._task.run is not None:
            try:
                return JSONResponse(completion(self._task.run, self._name, self._model), headers=self._about())
            except RunError as found:  # bytes
                error = found
        return self._refusal(error or stopped())


class Streamed(_Reply):
    """`chat.completion.chunk` after the other. `counts`: the last one has the tokens."""

    def __init__(self, tasks: Tasks, task: Task, model: str, *, counts: bool) -> None:
        super().__init__(tasks, task, model)
        self._counts = counts
        self._chunks: Chunks | None = None
        self._place = [0]
        self._said = self._ended = False
        self._error: RunError | None = None

    async def _reply(self, client: Client, bell: asyncio.Event) -> Response | None:
        with self._task.log.reader(0) as self._place:  # a slow reader gets what was said one by one, too
            return await self._read(client, bell)

    async def _read(self, client: Client, bell: asyncio.Event) -> Response | None:
        data = await self._first(client, bell)
        if self._error is not None and not self._said:
            return self._refusal(self._error)
        if not client.gone:
            await client.begin(_EVENT_STREAM, self._about())
        while not client.gone:
            if data:
                await client.write(data)
            if self._ended:
                await client.finish()
                break
            bell.clear()
            data = self._new()
            if not data and not self._ended:
                await client.next(_HEARTBEAT)
        return None

    async def _first(self, client: Client, bell: asyncio.Event) -> bytes:
        """What the task says first; nothing after a while, or where the client has left."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _BEAT
        timer = loop.call_at(until, bell.set)
        try:
            while not (data := self._new()) and not self._ended and not client.gone and loop.time() < until:
                await bell.wait()
                bell.clear()
        finally:
            timer.cancel()
        return data

    def _new(self) -> bytes:
        """What the task has said since the last look, as messages."""
        run, data = self._task.run, b""
        if run is not None:
            chunks = self._chunks = self._chunks or Chunks(run, self._name, self._model, counts=self._counts)
            events = self._task.log.after(self._place[0])[:_MOST_EVENTS]
            self._place[0] = events[-1][0] if events else self._place[0]
            data = chunks.of(event for _, event in events)
            self._said, self._ended, self._error = chunks.said, chunks.ended, chunks.error
        is_all_read = self._place[0] == self._task.log.last
        if not self._ended and is_all_read and (error := self._failure()) is not None:
            self._ended, self._error = True, error
            data += message(body_of(error))
        return data
