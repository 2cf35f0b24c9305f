"""Workflow + input -> Run: an asynchronous iterator of events, with cancel, replay and result."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from composemagic.engine.events import (
    Answered,
    Delta,
    Event,
    JobFinished,
    JobStarted,
    Notice,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
)
from composemagic.engine.jobs import JOBS
from composemagic.engine.loop import PrivateLoop, private_loop
from composemagic.engine.stream import Stream, join, settle
from composemagic.errors import RunError
from composemagic.language.casts import CastError, Chunks, Uncollected
from composemagic.language.template import Flaw, MissingVariable, RenderError, Template
from composemagic.transport.providers import clean
from composemagic.workflow.component import LocalAddress
from composemagic.workflow.load import Job, Plan

__all__ = ["JobContext", "Run", "Surroundings", "Timing"]

_POLL_SECONDS = 0.05
_STOP_SECONDS = 2.0
_OUTPUT_LIMIT = 8 * 2**20
_REPLAY_JOIN = 512
_LAG = 4096
_numbers = itertools.count(1)
# a NamedTuple's own constructor costs twice as much, and this one is called for every chunk
_delta = cast("Callable[[Iterable[object]], Delta]", partial(tuple.__new__, Delta))

Reader = Callable[[list[Event]], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run needs from outside its document.

    `env`: the variables `${env.X}` may name. `transport`: an httpx transport in place of the network. `local`: a function
    that starts the embedded model where it is not running and gives its address; OpenAI-style requests then go there.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    transport: Any = None
    local: Callable[[Callable[[str], None]], LocalAddress] | None = None


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


class Run:
    """One execution of a workflow.

    `status` is "running", "done", "stopped", "truncated" or "failed". `text` is the output so far as text, `output` its
    value, `encoding` "text" or "json" where it was made `as stream/...`, `error` the RunError of a run that failed, `events` everything said so far. Iterate over it, with `for` or
    `async for`, for events from the first one on, as often as you like, before or after its end.
    """

    def __init__(self, plan: Plan, value: Any, surroundings: Surroundings, *, loop: PrivateLoop | None = None) -> None:
        self.id = f"run-{next(_numbers)}"
        self.plan = plan
        self.input = value
        self.status = "running"
        self.error: RunError | None = None
        self.usage: Mapping[str, Any] | None = None
        self.model: str | None = None
        self.is_local = False
        self.instead_of: str | None = None
        self.timing = Timing()
        self._surroundings = surroundings
        self._loop = loop or private_loop()
        self._started = time.monotonic()
        self._said: list[Event] = []
        self._recent: list[Delta] = []
        self._value: Any = None
        self._has_value = False
        self.encoding: str | None = None
        self._length = 0
        self._readers: list[Reader] = []
        self._batch: list[Event] = []
        self._lock = threading.RLock()  # a reader may ask the run for its text
        self._ended = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop.loop.call_soon_threadsafe(self._begin)

    # -- what it gave ------------------------------------------------------------------------------------------------
    @property
    def events(self) -> tuple[Event, ...]:
        """What the run has said so far; neighbouring pieces of text may stand joined."""
        with self._lock:
            return (*self._said, *self._recent)

    @property
    def output(self) -> Any:
        """The output's value: text or a list joined from the deltas, or the value of a run that did not stream.

        For `stream/json` it is the list of the JSON texts' values.
        """
        if self._has_value:
            return self._value
        pieces = [event.value for event in self.events if isinstance(event, Delta)]
        if self.encoding == "json":
            import json

            return [json.loads(piece) for piece in pieces]
        return join(pieces, fragmented=True) if pieces else None

    @property
    def text(self) -> str:
        """The output so far as text; JSON deltas stand one a line, other values as JSON."""
        pieces = [event.value for event in self.events if isinstance(event, Delta)]
        if not pieces:
            return _as_text(self._value) if self._has_value else ""
        return ("\n" if self.encoding == "json" else "").join(_as_text(piece) for piece in pieces)

    @property
    def done(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self._ended.is_set()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Run {self.plan.title or self.plan.id!r}: {self.status}, {len(self.text)} characters>"

    # -- what can be asked of it ----------------------------------------------------------------------------------------
    def cancel(self) -> None:
        """Stop the run: its connection closes, what it gave so far is kept. Callable from any thread, any number of times."""
        _call_on(self._loop.loop, self._cancel)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run has ended, at most `timeout` seconds; whether it has.

        An interrupt (Ctrl-C, the notebook's ■) stops the run, waits for it up to 2 seconds and goes on as KeyboardInterrupt.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._ended.wait(_POLL_SECONDS):
                if deadline is not None and time.monotonic() >= deadline:
                    return False
        except BaseException:
            self.cancel()
            self._ended.wait(_STOP_SECONDS)
            raise
        return True

    async def finished(self) -> Run:
        """Wait for the end on the caller's loop; cancelling the wait stops the run."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def notice(batch: list[Event]) -> None:
            if _is_last(batch[-1]):
                _call_on(loop, ended.set)

        leave = self.subscribe(notice)
        try:
            await ended.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            leave()
        return self

    def result(self, timeout: float | None = None) -> Any:
        """Wait and give the output. Raises the run's RunError, and TimeoutError after `timeout` seconds."""
        if not self.wait(timeout):
            raise TimeoutError(f"the run did not end within {timeout:g} seconds")
        self.raise_for_error()
        return self.output

    def raise_for_error(self) -> None:
        """Raise the RunError of a run that failed."""
        if self.error is not None:
            raise self.error

    def subscribe(self, reader: Reader) -> Callable[[], None]:
        """Call `reader` with lists of events, first with all there were; returns what ends it.

        It is called on the private loop's thread (the first time possibly on the caller's) and must not block.
        """
        with self._lock:
            past: list[Event] = [*self._said, *self._recent]
            if past:
                reader(past)
            self._readers.append(reader)

        def leave() -> None:
            with self._lock:
                if reader in self._readers:
                    self._readers.remove(reader)

        return leave

    def __iter__(self) -> Iterator[Event]:
        """Events, for synchronous callers. An interrupt stops the run."""
        inbox: deque[Event] = deque()
        arrived = threading.Event()

        def receive(batch: list[Event]) -> None:
            inbox.extend(batch)
            _join_lag(inbox)
            arrived.set()

        leave = self.subscribe(receive)
        try:
            while True:
                while inbox:
                    event = inbox.popleft()
                    yield event
                    if _is_last(event):
                        return
                arrived.clear()
                while not inbox and not arrived.wait(_POLL_SECONDS):
                    pass
        except KeyboardInterrupt:
            self.cancel()
            self._ended.wait(_STOP_SECONDS)
            raise
        finally:
            leave()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Events, on the caller's loop. A caller that lags more than 4,096 events behind gets several deltas as one."""
        loop = asyncio.get_running_loop()
        inbox: deque[Event] = deque()
        arrived = asyncio.Event()
        woken = False

        def wake() -> None:
            nonlocal woken
            woken = False
            arrived.set()

        def receive(batch: list[Event]) -> None:
            nonlocal woken
            inbox.extend(batch)
            _join_lag(inbox)
            if not woken:
                woken = True
                _call_on(loop, wake)

        leave = self.subscribe(receive)
        try:
            while True:
                while inbox:
                    event = inbox.popleft()
                    yield event
                    if _is_last(event):
                        return
                await arrived.wait()
                arrived.clear()
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            leave()

    # -- its life, on the private loop -----------------------------------------------------------------------------------
    def _begin(self) -> None:
        self._task = self._loop.loop.create_task(self._live(), name=self.id)
        self._task.add_done_callback(self._settle)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _settle(self, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its own code: the run ends here."""
        if not self._ended.is_set():
            self._end("stopped", None)

    async def _live(self) -> None:
        job = self.plan.jobs[0]
        context = JobContext(self, job)
        try:
            self._say(RunStarted(self.id, self.plan.title, self.input))
            for sentence in self.plan.notes:
                self._say(Notice(sentence))
            await self._give(job, await self._outcome(job, context))
            await context.aclose()
            self._end("done", None)
        except asyncio.CancelledError:
            await context.aclose()
            self._end("stopped", None)
        except Exception as error:
            await context.aclose()
            wrapped = self._wrapped(error)
            self._end("truncated" if wrapped.kind == "truncated" else "failed", wrapped)

    async def _outcome(self, job: Job, context: JobContext) -> Any:
        """The job's answer after `job.output` and the workflow's `output`."""
        self._say(JobStarted(job.id, self._elapsed()))
        answer = await JOBS["component"](job, context)
        if job.output is not None:
            answer = await context.render_outside(job.output, {"output": answer})
        if self.plan.output is not None:
            scope = {"output": answer, "jobs": {job.id: {"output": answer}, "__job__": {"output": answer}}}
            answer = await context.render_outside(self.plan.output, scope)
        return answer

    async def _give(self, job: Job, answer: Any) -> None:
        if isinstance(answer, Chunks):
            self.encoding = answer.encoding
            async for batch in answer.batches():
                self._deltas(batch, job.id)
        else:
            self._value = await settle(answer)
            self._has_value = True
            if isinstance(self._value, str) and self._value:
                self._deltas([self._value], job.id)
        self._say(JobFinished(job.id, self._elapsed(), self.timing.deltas))

    def _deltas(self, batch: list[Any], job: str) -> None:
        is_first = self.timing.first_delta is None
        if is_first:
            self.timing.first_delta = self._elapsed()
        self.timing.deltas += len(batch)
        try:
            text = "".join(batch)
        except TypeError:
            self._length += 64 * len(batch)
        else:
            self._length += len(text)
            if not text.isascii():
                batch = [clean(value) for value in batch]
        if self._length > _OUTPUT_LIMIT:
            raise RunError("too_large", f"the output is longer than {_OUTPUT_LIMIT // 2**20} MiB; the run was ended")
        deltas = [_delta((value, job)) for value in batch]
        with self._lock:
            self._recent += deltas
            if len(self._recent) > _REPLAY_JOIN:
                self._keep_recent()
        self._publish(deltas)
        if is_first:
            self._flush()

    def _say(self, event: Event) -> None:
        with self._lock:
            self._keep_recent()
            self._said.append(event)
        self._publish([event])

    def _keep_recent(self) -> None:
        """Keep the recent deltas for later readers: pieces of text of one job as one."""
        recent, self._recent = self._recent, []
        if recent and self.encoding != "json" and all(type(delta.value) is str for delta in recent):
            recent = [Delta("".join([delta.value for delta in recent]), recent[0].job)]
        self._said += recent

    def _publish(self, events: list[Event] | list[Delta]) -> None:
        """Hand events to the readers, all those of one turn of the loop at once."""
        if not self._batch:
            self._loop.loop.call_soon(self._flush)
        self._batch += events

    def _flush(self) -> None:
        with self._lock:
            batch, self._batch = self._batch, []
            readers = list(self._readers)
            for reader in readers if batch else ():
                reader(batch)

    def _end(self, status: str, error: RunError | None) -> None:
        self.status, self.error = status, error
        self.timing.total = at = self._elapsed()
        output = self.output
        last: Event
        if error is not None:
            last = RunFailed(error, output, at)
        elif status == "stopped":
            last = RunStopped(output, at)
        else:
            last = RunFinished(output, at, self.usage)
        self._say(last)
        self._flush()
        self._ended.set()

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _wrapped(self, error: Exception) -> RunError:
        """Every failure inside a run as a RunError with a sentence and, where known, the line of YAML."""
        job = self.plan.jobs[0].id
        if isinstance(error, RunError):
            error.job = error.job or job
            return error
        if isinstance(error, MissingVariable):
            return RunError("missing_variable", _missing(error.name), job=job, mark=self._mark(error))
        if isinstance(error, RenderError):
            return RunError("input", error.sentence, job=job, mark=self._mark(error))
        if isinstance(error, CastError):
            return RunError("input", str(error), job=job)
        return RunError("internal", f"{type(error).__name__}: {error}", job=job)

    def _mark(self, error: RenderError) -> Any:
        reference = error.reference
        return self.plan.place(Flaw(error.sentence, error.path, reference.start, reference.length))


class JobContext:
    """What a component may ask of its run: see `workflow.component.Context`."""

    def __init__(self, run: Run, job: Job) -> None:
        self._run = run
        self._job = job
        self.run_id = run.id
        self.transport = run._surroundings.transport
        self._outside: dict[str, Any] = {
            "input": run.input,
            "env": run._surroundings.env,
            "context": {"run_id": run.id},
        }
        self._input: Any = None
        self._has_input = False
        self._open: list[AsyncGenerator[Any, None]] = []

    def opened(self, source: AsyncGenerator[Any, None]) -> None:
        """Close this when the run ends, however it ends: a connection must not wait for the garbage collector."""
        self._open.append(source)

    async def aclose(self) -> None:
        """Close everything that was opened."""
        while self._open:
            await self._open.pop().aclose()

    def scope(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """The sources an action sees: its input, env, context, and `more`."""
        return {**self._outside, "input": self._input, **more}

    async def render(self, template: Template | None, more: Mapping[str, Any] | None = None) -> Any:
        """Fill one of the action's templates; streams are collected where a value is wanted."""
        if template is None:
            return None
        if not self._has_input:
            given = self._job.input
            self._input = self._run.input if given is None else await self.render_outside(given, {"jobs": {}})
            self._has_input = True
        return await _render(template, self.scope(more or {}))

    async def render_outside(self, template: Template, more: Mapping[str, Any]) -> Any:
        """Fill a template of the job or the workflow, whose `input` is the workflow's."""
        return await _render(template, {**self._outside, **more})

    def note(self, sentence: str) -> None:
        """Tell the user something that is no error."""
        self._run._say(Notice(sentence))

    def answered_by(self, model: str, *, instead_of: str | None = None, local: bool = False) -> None:
        """Say which model answered; the first word counts."""
        run = self._run
        if run.model is None:
            run.model, run.is_local, run.instead_of = model, local, instead_of
            run._say(Answered(model, local, instead_of))

    def used(self, usage: Mapping[str, Any]) -> None:
        """Keep the provider's token counts."""
        self._run.usage = dict(usage)

    def shared(self, key: object, make: Callable[[], Any]) -> Any:
        """What all runs on this loop share; made on first use."""
        return self._run._loop.shared(key, make)

    @property
    def wants_local(self) -> bool:
        """Whether the run was asked to use the embedded model."""
        return self._run._surroundings.local is not None

    async def local_model(self) -> LocalAddress:
        """Where the embedded model answers, started if need be."""
        start = self._run._surroundings.local
        assert start is not None
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(start, lambda line: _call_on(loop, self.note, line))


async def _render(template: Template, scope: Mapping[str, Any]) -> Any:
    while True:
        try:
            return template.render(scope)
        except Uncollected as wanted:
            stream = wanted.stream
            assert isinstance(stream, Stream)
            await stream.collect()


def _missing(name: str) -> str:
    sentence = f"the environment variable `{name}` is not set. Put `{name}=...` into a `.env` file beside this one"
    if any(word in name.split("_") for word in ("KEY", "TOKEN")):
        return f"{sentence}, or run with `--local` (`local=True` in Python) to use the embedded model, without a key"
    return f"{sentence}, or give it with `-e {name}=...`"


def _call_on(loop: asyncio.AbstractEventLoop, call: Callable[..., Any], *arguments: Any) -> None:
    """Call on another loop's thread; a loop that is closed by now has no one left to tell."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _is_last(event: Event) -> bool:
    return isinstance(event, RunFinished | RunFailed | RunStopped)


def _join_lag(inbox: deque[Event]) -> None:
    """Keep a reader that does not read from costing an object a chunk: join its waiting pieces of text."""
    if len(inbox) <= _LAG:
        return
    waiting = list(inbox)
    inbox.clear()
    for event in waiting:
        last = inbox[-1] if inbox else None
        if isinstance(event, Delta) and isinstance(last, Delta) and _joinable(last, event):
            inbox[-1] = Delta(last.value + event.value, event.job)
        else:
            inbox.append(event)


def _joinable(one: Delta, other: Delta) -> bool:
    return one.job == other.job and type(one.value) is str and type(other.value) is str and len(one.value) < 65536


def _as_text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
