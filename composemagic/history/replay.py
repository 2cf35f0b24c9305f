"""A run once more, as it happened: the same events at the same times, and nothing is sent anywhere."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Protocol

from composemagic.engine.events import (
    Answered,
    Delta,
    Event,
    JobFailed,
    JobFinished,
    JobRouted,
    JobSkipped,
    JobStarted,
    JobStopped,
    Point,
    RunFailed,
    RunStopped,
)
from composemagic.engine.loop import private_loop
from composemagic.engine.readable import Readable
from composemagic.engine.record import Record, is_last
from composemagic.engine.run import Timing
from composemagic.engine.schedule import JobState
from composemagic.errors import RunError, UsageError
from composemagic.threads import call_on
from composemagic.transport.secrets import Redactor
from composemagic.words import say

__all__ = ["Replay"]

# by name: Python without a notebook must not load it
_SHOWN = "composemagic.notebook.replay:show"


class Kept(Protocol):
    """What is kept of a run that is over."""

    number: int
    workflow: str
    inputs: Any
    status: str
    model: str | None
    usage: Mapping[str, Any] | None
    first_delta: float | None
    deltas: int
    text: str
    output: Any
    encoding: str | None
    jobs: tuple[str, ...]

    @property
    def said(self) -> Callable[[], list[tuple[float, Event]]]:
        """What it said, and when."""


class Replay(Readable):
    """The events of a run that is over, in their own time.

    It can be waited for, read, stopped and shown like a Run, and has its attributes. It begins with `begin`, which a cell
    that shows it calls.
    """

    points: tuple[Point, ...] = ()
    is_played = False

    def __init__(self, past: Kept, speed: float | None) -> None:
        if speed is not None and not (isinstance(speed, int | float) and speed > 0):
            raise UsageError(say("`speed` is a number above 0, or None for at once, not {value}", value=repr(speed)))
        if past.status in ("running", "interrupted"):
            raise UsageError(say("a run can be replayed when it is over; this one is under way"))
        self.past = past
        self.speed = speed
        self.id = f"replay of run {past.number}"
        # its jobs' connections are not kept, so no picture of them is drawn
        self.plan = SimpleNamespace(title=past.workflow, id=past.workflow, notes=(), description="", jobs=())
        self.input = past.inputs
        self.loop = private_loop()
        self.status = "running"
        self.error: RunError | None = None
        self.model: str | None = None
        self.models = [past.model] if past.model else []
        self.instead_of: str | None = None
        self.is_local = False
        self.usage: Mapping[str, Any] | None = None
        self.encoding = past.encoding
        self.timing = Timing()
        self.redact = Redactor()
        self.jobs = {job: JobState(job) for job in past.jobs}
        self._said = past.said()
        self._at = 0.0
        self._record = Record()
        self._ended = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._begun = False

    @property
    def output(self) -> Any:
        """What the run gave."""
        return self.past.output

    @property
    def text(self) -> str:
        """What the run gave, as text."""
        return self.past.text

    @property
    def is_stream(self) -> bool:
        """Whether the output as a whole came as a stream."""
        return any(type(event) is Delta and not event.path for _, event in self._said)

    @property
    def events(self) -> tuple[Event, ...]:
        """What has been said so far."""
        return tuple(self._record.events)

    def elapsed(self) -> float:
        """Seconds of the run that have been replayed."""
        return self._at

    def begin(self) -> None:
        """Begin, if it has not."""
        call_on(self.loop.loop, self._begin)

    def cancel(self) -> None:
        """Stop it."""
        call_on(self.loop.loop, self._cancel)

    def __iter__(self) -> Any:
        self.begin()
        return super().__iter__()

    def _ipython_display_(self) -> None:
        module, _, attribute = _SHOWN.partition(":")
        getattr(import_module(module), attribute)(self)

    # -- on the private loop ---------------------------------------------------------------------------------------------
    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._task = self.loop.loop.create_task(self._play(), name=self.id)

    def _cancel(self) -> None:
        self._begun = True
        if self._task is not None:
            self._task.cancel()
        if not self.done:
            self._take(self._at, RunStopped(self.past.output, self._at))
            self._record.flush(self._complain)

    async def _play(self) -> None:
        started = time.monotonic()
        for at, event in self._said:
            if self.speed is not None and (wait := at / self.speed - (time.monotonic() - started)) > 0:
                self._record.flush(self._complain)
                await asyncio.sleep(wait)
            self._take(at, event)
        if not self.done:  # its end was not kept
            self._take(self._at, RunStopped(self.past.output, self._at))
        self._record.flush(self._complain)

    def _take(self, at: float, event: Event) -> None:
        self._at = at
        self._follow(event)
        if type(event) is Delta:
            self._record.stream([event])
        else:
            self._record.say(event)
        if is_last(event):
            self._end(event)

    def _end(self, last: Event) -> None:
        self.status = "stopped" if isinstance(last, RunStopped) else self.past.status
        self.error = last.error if isinstance(last, RunFailed) else None
        self.usage, self.timing.total = self.past.usage, self._at
        self.timing.first_delta, self.timing.deltas = self.past.first_delta, self.past.deltas
        self._record.flush(self._complain)
        self._ended.set()

    def _follow(self, event: Event) -> None:
        """What an event says of the jobs and of who answers."""
        match event:
            case Answered(model, local, instead_of):
                self.model, self.is_local, self.instead_of = model, local, instead_of
            case JobStarted(job, at) if job in self.jobs:
                state = self.jobs[job]
                state.status, state.started_at, state.ended_at, state.runs = "running", at, None, state.runs + 1
            case JobFinished(job, at):
                self._over(job, "done", at)
            case JobRouted(job, to, at):
                self._over(job, "routed", at, to)
            case JobSkipped(job, at):
                self._over(job, "skipped", at)
            case JobFailed(job, _, at):
                self._over(job, "failed", at)
            case JobStopped(job, at):
                self._over(job, "stopped", at)

    def _over(self, job: str, status: str, at: float, to: str | None = None) -> None:
        if job in self.jobs:
            state = self.jobs[job]
            state.status, state.ended_at, state.to = status, at, to
