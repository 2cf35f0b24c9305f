"""The runs of a server by task id: so many at once, some that wait for their turn, some that wait for people, some that ended.

Everything here belongs to the private loop, where the runs live and the server serves: nothing is locked.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from composemagic.api import Workflow
from composemagic.engine.events import Delta, Event, Interrupted, Point, Resumed
from composemagic.engine.interrupts import by_point
from composemagic.engine.record import is_last
from composemagic.engine.run import Run
from composemagic.engine.stream import size
from composemagic.errors import ComposeError, RunError
from composemagic.server.log import Log
from composemagic.server.refusals import Refusal
from composemagic.words import say

__all__ = ["STATUSES", "Task", "Tasks"]

# the peer's words for what has become of a run
_STATUS = {"running": "processing", "done": "completed", "stopped": "cancelled", "truncated": "failed"}
STATUSES = ("pending", "processing", "interrupted", "completed", "failed", "cancelled")
_EVENT = 100  # what an event weighs beside its text, in bytes
_MOST_SECONDS = 60  # that a client is told to wait before it comes again


class Task:
    """One run of a server, also before it begins: `run` is None while it waits for its turn, `error` why it never began.

    `log` holds what it has said. `status` is one of STATUSES. `streams`: there is a first piece of an output that is a stream.
    """

    def __init__(self, workflow: Workflow, value: Any, session_id: str | None, metadata: Any) -> None:
        self.id = secrets.token_hex(16)
        self.workflow = workflow
        self.run: Run | None = None
        self.error: RunError | None = None
        self.ended = False
        self.weight = 0
        self.streams = False
        self.began_at = time.monotonic()
        self.log = Log(self._is_one_text)
        context = copy_context()  # with the language of who asked
        self._given: tuple[Context, Any, str | None, Any] | None = (context, value, session_id, metadata)
        self._bells: list[asyncio.Event] = []
        self._begun = asyncio.Event()
        self._hears: Callable[[Task, Event], None] = lambda task, event: None

    @property
    def workflow_id(self) -> str:
        """The id of its workflow."""
        return self.workflow.id

    @property
    def status(self) -> str:
        """What has become of it, one of STATUSES."""
        if self.run is None:
            return "pending" if not self.ended else "cancelled" if self.error is None else "failed"
        return _STATUS.get(self.run.status, self.run.status)

    @property
    def points(self) -> tuple[Point, ...]:
        """Where it waits for answers."""
        return () if self.run is None else self.run.points

    @property
    def failure(self) -> RunError | None:
        """What it failed with."""
        return self.error if self.run is None else self.run.error

    async def begun(self) -> Run | None:
        """Wait until the run has begun and give it, or None where it never will."""
        await self._begun.wait()
        return self.run

    @contextmanager
    def bell(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever the log has grown, and when the task has ended."""
        bell = asyncio.Event()
        self._bells.append(bell)
        try:
            yield bell
        finally:
            self._bells.remove(bell)

    def cancel(self) -> None:
        """Stop it; what it gave so far is kept. To be called through Tasks where it may still wait for its turn."""
        if self.run is not None:
            self.run.cancel()

    def begin(self, hears: Callable[[Task, Event], None]) -> None:
        """Start the run. `hears` is called with what is no delta."""
        assert self._given is not None
        (context, value, session_id, metadata), self._given = self._given, None
        self._hears = hears
        self.weight = size([value, metadata])
        try:
            start = partial(self.workflow.start, session_id=session_id, metadata=metadata, task_id=self.id)
            self.run = context.run(start, value)
        except Exception as error:  # a variable's file that cannot be read
            self.end(_as_run_error(error))
            return
        self._begun.set()
        self.run.subscribe(self._listen)

    def end(self, error: RunError | None = None) -> None:
        """It will never begin."""
        self.error, self.ended, self._given = error, True, None
        self._begun.set()
        self._ring()

    def _is_one_text(self, path: tuple[str | int, ...]) -> bool:
        return self.run is not None and self.run.is_one_text(path)

    def _listen(self, batch: list[Event]) -> None:
        self.log.add(batch)
        self.weight += _EVENT * len(batch)
        for event in batch:
            if type(event) is Delta:
                self.streams = self.streams or (self.run is not None and self.run.is_stream)
            else:
                self.ended = self.ended or is_last(event)
                self._hears(self, event)
        self._ring()

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()


class Tasks:
    """The runs of a server. `at_once` of them run, `waiting` more wait for their turn; who comes then is refused.

    A run that waits for people gives its place to the next one, at most `parked_seconds`, and at most `waiting` of them.
    Of the ended ones `kept` are remembered, of `kept_bytes` together, and the last one in any case. Private workflows are not known here.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow],
        *,
        at_once: int = 8,
        waiting: int = 32,
        parked_seconds: float = 3600.0,
        kept: int = 64,
        kept_bytes: int = 64 * 2**20,
    ) -> None:
        self.workflows: Mapping[str, Workflow] = {one.id: one for one in workflows if not one.is_private}
        self.at_once = at_once
        self.waiting = waiting
        self._parked_seconds = parked_seconds
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._live: dict[str, Task] = {}
        self._queue: deque[Task] = deque()
        self._running: set[Task] = set()
        self._parked: dict[Task, asyncio.TimerHandle] = {}
        self._ended: OrderedDict[str, Task] = OrderedDict()
        self._weight = 0
        self._lasted = 1.0  # seconds, of the runs so far
        self._closing = False
        self._idle = asyncio.Event()

    # -- what there is --------------------------------------------------------------------------------------------------
    @property
    def default(self) -> Workflow | None:
        """The workflow that runs where none is named."""
        found = [one for one in self.workflows.values() if one.is_default]
        return found[0] if found else next(iter(self.workflows.values())) if len(self.workflows) == 1 else None

    @property
    def running(self) -> int:
        """How many run now."""
        return len(self._running)

    def workflow(self, name: str | None = None) -> Workflow:
        """The workflow of an id, or the default one. Raises Refusal (404)."""
        found = self.default if name in (None, "", "__default__") else self.workflows.get(str(name))
        if found is None:
            raise Refusal(404, "not_found", say("Workflow '{name}' not found.", name=name or "__default__"))
        return found

    def find(self, task_id: str) -> Task:
        """The task of an id. Raises Refusal (404)."""
        found = self._live.get(task_id) or self._ended.get(task_id)
        if found is None:
            raise Refusal(404, "not_found", say("Task '{name}' not found.", name=task_id))
        return found

    # -- what can be done ---------------------------------------------------------------------------------------------------
    def start(self, workflow: Workflow, value: Any, *, session_id: str | None = None, metadata: Any = None) -> Task:
        """Start a run, or let it wait for its turn. Raises Refusal: 429 where too many wait, 503 while the server stops."""
        if self._closing:
            raise Refusal(503, "closing", say("The server is shutting down."))
        if len(self._running) >= self.at_once and len(self._queue) >= self.waiting:
            raise self._busy()
        task = Task(workflow, value, session_id, metadata)
        self._live[task.id] = task
        self._queue.append(task)
        self._next()
        return task

    def cancel(self, task: Task) -> None:
        """Stop a task, whether it runs, waits for its turn or waits for people. Raises Refusal (409) for one that has ended."""
        if task.ended:
            raise Refusal(409, "ended", say("Task '{name}' has ended already.", name=task.id))
        self.drop(task)

    def drop(self, task: Task) -> None:
        """Stop a task if it has not ended."""
        if task in self._queue:
            self._queue.remove(task)
            task.end()
            self._end(task)
        elif not task.ended:
            task.cancel()

    def resume(self, task: Task, answers: Any) -> bool:
        """Answer what a task asks, and let it go on; whether something was answered that it asks.

        Raises Refusal, 409 for one that asks nothing and 429 where no place is free; and UsageError for unknown points.
        """
        if task.run is None or not task.points:
            raise Refusal(409, "not_interrupted", say("Task '{name}' waits for no answer.", name=task.id))
        if not by_point(answers, task.points):
            return False
        if task not in self._running and len(self._running) >= self.at_once:
            raise self._busy()
        task.run.answer(answers)
        self._unpark(task)
        self._running.add(task)
        return True

    async def close(self, seconds: float = 5.0) -> None:
        """Start nothing more, let what runs end, and stop after so many seconds what has not."""
        self._closing = True
        for task in [*self._queue, *self._parked]:
            self.drop(task)
        await self._wait_until_idle(seconds)
        for task in list(self._live.values()):
            self.drop(task)
        await self._wait_until_idle(2.0)

    async def _wait_until_idle(self, seconds: float) -> None:
        self._idle.clear()
        if self._live and seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)

    # -- their turns --------------------------------------------------------------------------------------------------------
    def _next(self) -> None:
        while self._queue and len(self._running) < self.at_once:
            task = self._queue.popleft()
            self._running.add(task)
            task.began_at = time.monotonic()
            task.begin(self._hear)
            if task.ended:
                self._end(task)

    def _hear(self, task: Task, event: Event) -> None:
        match event:
            case Interrupted():
                self._park(task)
            case Resumed():
                self._unpark(task)
                self._running.add(task)
            case _ if is_last(event):
                self._lasted += (time.monotonic() - task.began_at - self._lasted) / 8
                self._end(task)

    def _park(self, task: Task) -> None:
        self._running.discard(task)
        self._unpark(task)
        loop = asyncio.get_running_loop()
        self._parked[task] = loop.call_later(self._parked_seconds, task.cancel)
        if len(self._parked) > self.waiting:
            next(iter(self._parked)).cancel()  # the one that waits longest
        self._next()

    def _unpark(self, task: Task) -> None:
        timer = self._parked.pop(task, None)
        if timer is not None:
            timer.cancel()

    def _end(self, task: Task) -> None:
        """Keep a task that has ended, and forget the oldest of these."""
        self._running.discard(task)
        self._unpark(task)
        if self._live.pop(task.id, None) is not None:
            task.weight += size([task.run.output]) * 2 if task.run is not None else 0
            self._ended[task.id] = task
            self._weight += task.weight
        while len(self._ended) > self._kept or (len(self._ended) > 1 and self._weight > self._kept_bytes):
            self._weight -= self._ended.popitem(last=False)[1].weight
        if not self._live:
            self._idle.set()
        self._next()

    def _busy(self) -> Refusal:
        seconds = min(_MOST_SECONDS, max(1, math.ceil(self._lasted)))
        sentence = say(
            "{running} runs are under way and {waiting} wait for their turn; come again in {seconds} s.",
            running=len(self._running),
            waiting=len(self._queue),
            seconds=seconds,
        )
        return Refusal(429, "busy", sentence, headers={"Retry-After": str(seconds)})


def _as_run_error(error: Exception) -> RunError:
    if isinstance(error, RunError):
        return error
    sentence = str(error.args[0]) if isinstance(error, ComposeError) and error.args else say("the run did not begin")
    return RunError("internal", sentence)
