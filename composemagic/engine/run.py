"""Workflow + input -> Run: an asynchronous iterator of events, with cancel, replay and result.

A run lives on the private loop. It says events there; `Record` keeps them and hands them to readers, in batches: the
events of one turn of the loop at once. What is said before the first delta waits a few milliseconds for company, so that
waking the readers' threads does not hold up the request; the first delta does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from composemagic.engine.events import (
    Event,
    Interrupted,
    Notice,
    Point,
    Resumed,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
)
from composemagic.engine.failure import as_run_error
from composemagic.engine.host import Surroundings, file_under
from composemagic.engine.interrupts import Interrupts, by_point
from composemagic.engine.jobs import JOBS
from composemagic.engine.loop import PrivateLoop, private_loop
from composemagic.engine.output import Output
from composemagic.engine.readable import Readable
from composemagic.engine.record import Record
from composemagic.engine.schedule import JobState, Schedule
from composemagic.engine.step import Frame, Step
from composemagic.engine.wire import Wire
from composemagic.errors import RunError
from composemagic.language.streams import holds_chunks
from composemagic.threads import call_on, on_daemon, soon_on
from composemagic.transport.reach import confine
from composemagic.transport.secrets import Redactor
from composemagic.words import say
from composemagic.workflow.plan import Plan

if TYPE_CHECKING:
    from composemagic.engine.trace import Trace
    from composemagic.transport.exchange import Exchange
    from composemagic.transport.tap import Tap

__all__ = ["Run", "Surroundings", "Timing"]

_COMPANY_SECONDS = 0.005
_LARGEST_FILE = 32 * 2**20  # bytes
_numbers = itertools.count(1)


@dataclass(slots=True)
class Timing:
    """Seconds since the run started until the first delta and until the end; None where there was none."""

    first_delta: float | None = None
    total: float | None = None
    deltas: int = 0

    @property
    def deltas_per_second(self) -> float | None:
        """Deltas a second from the first one to the end."""
        if self.first_delta is None or self.total is None or self.total <= self.first_delta:
            return None
        return self.deltas / (self.total - self.first_delta)


class Run(Readable):
    """One execution of a workflow.

    `status` is "running", "interrupted" (it waits for answers), "done", "stopped", "truncated" or "failed". `text` is the
    output so far as text, `output` its value, `encoding` "text" or "json" where it was made `as stream/...`, `error` the
    RunError of a run that failed, `jobs` what has become of each job, `events` everything said so far. Iterate over it, with
    `for` or `async for`, for events from the first one on, as often as you like, before or after its end.

    `attended`: somebody may answer where the run asks people (see `answer`); else it fails there. `auto_resume`: it asks
    nobody and goes on. `consents`: somebody is also asked whether a secret may go to a host that is not known as its own.
    Without `begins` it waits for `begin`. `task_id` is its id where the caller has one for it. With `trace` it keeps what
    goes over the wire, in `trace`, which is None without. `first` is called with the run before it begins.
    """

    def __init__(
        self,
        plan: Plan,
        value: Any,
        surroundings: Surroundings,
        *,
        loop: PrivateLoop | None = None,
        session_id: str | None = None,
        metadata: Any = None,
        attended: bool = True,
        auto_resume: bool = False,
        consents: bool = False,
        begins: bool = True,
        task_id: str | None = None,
        trace: bool = False,
        first: Callable[[Run], None] | None = None,
    ) -> None:
        self.id = task_id or f"run-{next(_numbers)}"
        self.plan = plan
        self.input = value
        self.surroundings = surroundings
        self.loop = loop or private_loop()
        self.session_id = session_id
        self.metadata = metadata
        self.attended = attended
        self.auto_resume = auto_resume
        self.consents = consents
        self.status = "running"
        self.error: RunError | None = None
        self.usage: Mapping[str, Any] | None = None
        self.model: str | None = None
        self.models: list[str] = []  # all that answered; `model` is the first
        self.is_local = False
        self.instead_of: str | None = None
        self.timing = Timing()
        self.redact = Redactor()
        self.interrupts = Interrupts(self.id, self._ask_people)
        self._started = time.monotonic()
        self._record = Record()
        self._flush_is_near = False
        self._company: asyncio.TimerHandle | None = None
        self._output = Output(self._record, self.redact, self._count, self._flush)
        self._open: dict[int, Any] = {}
        self._executions = itertools.count(1)
        self._inner: list[Schedule] = []
        self._schedule = Schedule(self._frame(plan, value, 0), JOBS, self._run_workflow)
        self._ended = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self.wire = self._wired(trace=trace)
        self.trace = self._traced()
        if first is not None:
            first(self)
        if begins:
            self.begin()

    # -- what it gave ------------------------------------------------------------------------------------------------
    @property
    def events(self) -> tuple[Event, ...]:
        """What the run has said so far; neighbouring pieces of text may stand joined."""
        return tuple(self._record.events)

    @property
    def output(self) -> Any:
        """The output's value: text or a list joined from the deltas, or the value of a run that did not stream.

        An object with streams in it has what they have given so far; for `stream/json` it is the list of the JSON texts'
        values.
        """
        return self._output.value

    @property
    def text(self) -> str:
        """The output so far as text; JSON deltas and values stand one a line, values as JSON, null is no text."""
        return self._output.text

    @property
    def encoding(self) -> str | None:
        """How the chunks of the output are written: "text" or "json", None where `as stream/...` did not say."""
        return self._output.encoding

    @property
    def is_played(self) -> bool:
        """Whether its answers come from a recording."""
        return self.wire.is_offline

    @property
    def is_stream(self) -> bool:
        """Whether the output as a whole is a stream."""
        return self._output.is_stream

    def is_one_text(self, path: tuple[str | int, ...] = ()) -> bool:
        """Whether the deltas at a place in the output are pieces of one text, of which neighbours may be joined."""
        return self._record.joins and path not in self._record.apart

    @property
    def jobs(self) -> Mapping[str, JobState]:
        """What has become of each job, by id, in the order written: status, times, output."""
        return self._schedule.states

    @property
    def points(self) -> tuple[Point, ...]:
        """Where the run waits for answers."""
        return self.interrupts.points

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Run {self.plan.title or self.plan.id!r}: {self.status}, {len(self.text)} characters>"

    # -- what can be asked of it ----------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Begin; for who made it with `begins=False` to hold it before it does anything: an interrupt can stop it then."""
        self._started = time.monotonic()  # who held it waited for another one
        soon_on(self.loop.loop, self._begin)

    def cancel(self) -> None:
        """Stop the run: its connection closes, what it gave so far is kept. Callable from any thread, any number of times."""
        call_on(self.loop.loop, self._cancel)

    def answer(self, answers: Any = None) -> None:
        """Answer what the run asks (`points`) and let it go on; callable from any thread.

        A mapping of points, by their ids or their jobs', to answers: null goes on as it is, anything else takes the place of
        the job's input or output. Those not named stay open; without a mapping all go on. The two forms of the peer are
        taken as well: `{"answer": {point: value}}` and `{"job_id": ..., "run_id": ..., "answer": value}`. Where one point
        is open, what is no mapping is its answer. Raises UsageError for what names no open point.
        """
        call_on(self.loop.loop, self._answer, by_point(answers, self.points))

    # -- its life, on the private loop -----------------------------------------------------------------------------------
    def say(self, event: Event) -> None:
        """Say something; for what acts in the run."""
        if isinstance(event, Notice) and self.redact.finds(event.sentence):
            event = Notice(self.redact(event.sentence), event.mark)
        self._record.say(event)
        if self._company is None:
            self._company = self.loop.loop.call_later(_COMPANY_SECONDS, self._flush)

    def _begin(self) -> None:
        if self.done:  # cancelled before
            return
        self._task = self.loop.loop.create_task(self._live(), name=self.id)
        self._task.add_done_callback(self._settle)

    def _cancel(self) -> None:
        if self._task is None:
            if not self.done:
                self._end("stopped", None)
        elif not self._task.cancelling():  # once: it must be able to clear up
            self._task.cancel()

    def _settle(self, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its own code: the run ends here."""
        if not self.done:
            self._end("stopped", None)

    async def _live(self) -> None:
        try:
            try:
                await self._work()
            except BaseException as error:  # even SystemExit: it would end the loop of all runs
                # a component may break while it is stopped, or let a cancellation out that nobody asked for
                stopped = cast("asyncio.Task[None]", self._task).cancelling()
                failure = None if stopped else self._failure(error)
                for schedule in (*self._inner, self._schedule):
                    await schedule.abandon(failure or error)
            else:
                stopped, failure = 0, None
            await self._close()
        except BaseException as error:
            stopped, failure = 1, None if isinstance(error, asyncio.CancelledError) else self._failure(error)
        if failure is not None:
            self._end(*self._broken(failure))
        else:
            self._end("stopped" if stopped else "done", None)

    async def _work(self) -> None:
        if self.surroundings.served:
            confine()
        self.say(RunStarted(self.id, self.plan.title, self._told_input()))
        for sentence in self.plan.notes:
            self.say(Notice(sentence))
        answer = await self._schedule.run()
        await self._output.give(answer, self._giver())
        for schedule in (*self._inner, self._schedule):
            await schedule.finish()

    def _told_input(self) -> Any:
        """The input without the secrets that the document names: `redact` knows none of them before templates have read them."""
        redact, env = Redactor(), self.surroundings.env
        known = getattr(
            env, "known", env.get
        )  # Colab and the keyring are asked on the caller's thread, and for a reason
        for name in self.plan.named:
            if isinstance(value := known(name), str):
                redact.learn(name, value)
        return redact.value(self.input)

    def _frame(self, plan: Plan, value: Any, depth: int) -> Frame:
        facts = {"run_id": self.id, "task_id": self.id, "session_id": self.session_id, "metadata": self.metadata}
        return Frame(
            self, plan, value, self.redact.watch(self.surroundings.env), facts, depth, numbers=self._executions
        )

    async def _run_workflow(self, step: Step, name: str, value: Any) -> Any:
        """Another workflow of the document, as a part of this run."""
        plan = step.frame.sibling(name)
        schedule = Schedule(self._frame(plan, value, step.frame.depth + 1), JOBS, self._run_workflow, is_quiet=True)
        try:
            answer = await schedule.run()
            if holds_chunks(answer):
                self._inner.append(schedule)  # its jobs are not at their end yet
            else:
                await schedule.finish()
        except RunError as error:
            error.job = step.top
            raise
        return answer

    def _giver(self) -> str:
        """The job whose deltas those are that no stream of a job gives."""
        terminals = self.plan.graph.terminals
        return terminals[-1] if terminals else ""

    def opened(self, thing: Any) -> None:
        """Close this when the run ends, however it ends: a connection must not wait for the garbage collector."""
        self._open[id(thing)] = thing

    def closed(self, thing: Any) -> None:
        """This has been closed."""
        self._open.pop(id(thing), None)

    async def _close(self) -> None:
        """Close everything that was opened; what fails in closing spoils nothing."""
        while self._open:
            _, thing = self._open.popitem()
            with contextlib.suppress(Exception):
                await thing.aclose()

    async def load(self, form: str, address: str) -> bytes:
        """The bytes of a file below the document's folder, or of an address. Raises RunError."""
        if form == "path":
            if self.surroundings.served:
                raise RunError(
                    "not_allowed", say("`;path` reads a file of this computer, which a server does for no request")
                )
            return await on_daemon(lambda: _read(file_under(self.surroundings.folder, address)))
        from composemagic.transport.http import Request, Timeouts, send  # only who loads pays for it

        way = self.wire.line(self._giver()) or self.wire.network()
        async with send(way, Request("GET", address, {}), Timeouts()) as response:
            return await response.body()

    # -- the wire ------------------------------------------------------------------------------------------------------------
    def _wired(self, *, trace: bool) -> Wire:
        around = self.surroundings
        return Wire(
            self.loop,
            around.transport,
            self.redact,
            self.elapsed,
            trace=trace,
            hear=None if around.record is None else self._recorded,
            offline=around.offline is not None,
        )

    def _traced(self) -> Trace | None:
        if not self.wire.is_traced:
            return None
        from composemagic.engine.trace import Trace  # only who watches pays for it

        found = Trace(self, cast("Tap", self.wire.tap), self.plan.title or self.plan.id)
        self._record.attach(found.hear, self._complain)
        return found

    def _recorded(self, exchange: Exchange) -> None:
        """Hand an exchange to who records; what is wrong with that spoils nothing."""
        try:
            if self.surroundings.record is not None:
                self.surroundings.record(exchange)
        except RunError as error:
            self.say(Notice(error.sentence))

    # -- people ------------------------------------------------------------------------------------------------------------
    def _ask_people(self, points: tuple[Point, ...]) -> None:
        self.status = "interrupted"
        self.say(Interrupted(points, self.elapsed()))

    def _answer(self, answers: Mapping[str, Any]) -> None:
        if known := self.interrupts.answer(answers):
            self.status = "running"
            said = self.redact.value({point: answers[point] for point in known})
            self.say(Resumed(known, self.elapsed(), said))

    # -- what it says -----------------------------------------------------------------------------------------------------
    def _count(self, job: str, count: int, has_text: bool) -> bool:
        """Count deltas of a job; whether they are the first to hold more than ""."""
        is_first = self.timing.first_delta is None and has_text
        if is_first:
            self.timing.first_delta = self.elapsed()
        self.timing.deltas += count
        state = self._schedule.states.get(job)
        if state is not None:
            state.deltas += count
        self._flush_soon()
        return is_first

    def _flush_soon(self) -> None:
        if not self._flush_is_near:
            self._flush_is_near = True
            self.loop.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_near = False
        if self._company is not None:
            self._company.cancel()
            self._company = None
        self._record.flush(self._complain)

    def elapsed(self) -> float:
        """Seconds since the run started."""
        return time.monotonic() - self._started

    # -- its end --------------------------------------------------------------------------------------------------------
    def _end(self, status: str, error: RunError | None) -> None:
        self.status, self.error = status, error
        self.timing.total = at = self.elapsed()
        output = self.output
        last: Event
        if error is not None:
            last = RunFailed(error, output, at)
        elif status == "stopped":
            last = RunStopped(output, at)
        else:
            last = RunFinished(output, at, self.usage)
        self._record.say(last)
        self._flush()
        self._ended.set()

    def _failure(self, error: BaseException) -> RunError:
        """A failure as a RunError with a sentence and, where known, the line of YAML."""
        length = self._output.length
        if isinstance(error, RunError) and error.kind == "connection_lost" and length:
            return RunError(
                error.kind,
                say("{sentence} (after {count} characters)", sentence=error.sentence, count=length),
                job=error.job or self._giver(),
            )
        return as_run_error(error, self._giver(), self.plan.place)

    def _broken(self, error: RunError) -> tuple[str, RunError]:
        """The status and the error of a run that failed.

        The error's cause is kept for developers, without secrets; what it was raised beside and the frames it came through
        are not: it is raised again wherever it is asked for.
        """
        error.__context__ = None
        self.redact.scrub(error)
        return "truncated" if error.kind == "truncated" else "failed", error.with_traceback(None)


def _read(file: Any) -> bytes:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise RunError(
                "file",
                say("the file `{file}` is larger than {limit} MiB", file=file.name, limit=_LARGEST_FILE // 2**20),
            )
        return bytes(file.read_bytes())
    except OSError as error:
        raise RunError(
            "file",
            say(
                "the file `{file}` cannot be read: {reason}",
                file=file.name,
                reason=(error.strerror or str(error)).lower(),
            ),
        ) from None
