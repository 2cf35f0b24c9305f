"""Workflow + input -> Run: an asynchronous iterator of events, with cancel, replay and result.

A run lives on the private loop. It says events there; `Record` keeps them and hands them to readers, in batches: the
events of one turn of the loop at once. What is said before the first delta waits a few milliseconds for company, so that
waking the readers' threads does not hold up the request; the first delta does not wait.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from composemagic.engine.context import JobContext, Surroundings
from composemagic.engine.events import (
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
from composemagic.engine.loop import PrivateLoop, call_on, private_loop
from composemagic.engine.record import Inbox, Reader, Record, is_last
from composemagic.engine.stream import LIMIT, join, settle, size, too_large
from composemagic.engine.unmatched import nothing_in_value, value_of_output
from composemagic.errors import RunError
from composemagic.language.casts import CastError, Chunks
from composemagic.language.template import Flaw, MissingVariable, RenderError, Template
from composemagic.text import clean
from composemagic.transport.secrets import Redactor
from composemagic.workflow.load import Job, Plan

__all__ = ["Run", "Surroundings", "Timing"]

_POLL_SECONDS = 0.05
_STOP_SECONDS = 2.0
_COMPANY_SECONDS = 0.005
_REST_SECONDS = 0.001
_numbers = itertools.count(1)
# a NamedTuple's own constructor costs twice as much, and this one is called for every chunk
_delta = cast("Callable[[Iterable[object]], Delta]", partial(tuple.__new__, Delta))


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
    value, `encoding` "text" or "json" where it was made `as stream/...`, `error` the RunError of a run that failed,
    `events` everything said so far. Iterate over it, with `for` or `async for`, for events from the first one on, as often
    as you like, before or after its end.
    """

    def __init__(self, plan: Plan, value: Any, surroundings: Surroundings, *, loop: PrivateLoop | None = None) -> None:
        self.id = f"run-{next(_numbers)}"
        self.plan = plan
        self.input = value
        self.surroundings = surroundings
        self.loop = loop or private_loop()
        self.status = "running"
        self.error: RunError | None = None
        self.encoding: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.model: str | None = None
        self.is_local = False
        self.instead_of: str | None = None
        self.timing = Timing()
        self._started = time.monotonic()
        self._record = Record()
        self._flush_is_near = False
        self.redact = Redactor()
        self._fragmented = True
        self._value: Any = None
        self._has_value = False
        self._length = 0
        self._half = ""
        self._ended = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self.loop.loop.call_soon_threadsafe(self._begin)

    # -- what it gave ------------------------------------------------------------------------------------------------
    @property
    def events(self) -> tuple[Event, ...]:
        """What the run has said so far; neighbouring pieces of text may stand joined."""
        return tuple(self._record.events)

    @property
    def output(self) -> Any:
        """The output's value: text or a list joined from the deltas, or the value of a run that did not stream.

        For `stream/json` it is the list of the JSON texts' values.
        """
        if self._has_value:
            return self._value
        pieces = self._pieces()
        if self.encoding == "json":
            return [json.loads(piece) for piece in pieces]
        return join(pieces, fragmented=self._fragmented) if pieces else None

    @property
    def text(self) -> str:
        """The output so far as text; JSON deltas and values stand one a line, values as JSON, null is no text."""
        pieces = self._pieces()
        if not pieces:
            return _as_text(self._value)
        return "\n".join(pieces) if self.encoding == "json" else _lines(pieces)

    def _pieces(self) -> list[Any]:
        return [event.value for event in self._record.events if type(event) is Delta]

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
        call_on(self.loop.loop, self._cancel)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the run has ended, at most `timeout` seconds; whether it has.

        An interrupt (Ctrl-C, the notebook's ■) stops the run, waits for it up to 2 seconds and goes on as KeyboardInterrupt.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._ended.wait(_pause_until(deadline)):
                if deadline is not None and time.monotonic() >= deadline:
                    return self.done
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
            raise TimeoutError(f"the run did not end within {timeout:g} seconds")
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
        caller's. A batch that is on its way while it leaves may still come.
        """
        if self.done:
            reader(self._record.events)
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
                    pass
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

    # -- its life, on the private loop -----------------------------------------------------------------------------------
    def say(self, event: Event) -> None:
        """Say something; for what acts in the run."""
        if isinstance(event, Notice) and self.redact.finds(event.sentence):
            event = Notice(self.redact(event.sentence), event.mark)
        self._record.say(event)
        self.loop.loop.call_later(_COMPANY_SECONDS, self._flush)

    def _begin(self) -> None:
        self._task = self.loop.loop.create_task(self._live(), name=self.id)
        self._task.add_done_callback(self._settle)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _settle(self, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs none of its own code: the run ends here."""
        if not self.done:
            self._end("stopped", None)

    async def _live(self) -> None:
        try:
            await self._work()
        except BaseException as error:  # even SystemExit: it would end the loop of all runs
            # a component may break while it is stopped, or let a cancellation out that nobody asked for
            stopped = cast("asyncio.Task[None]", self._task).cancelling()
            self._end(*(("stopped", None) if stopped else self._broken(error)))
        else:
            self._end("done", None)

    async def _work(self) -> None:
        job = self.plan.jobs[0]
        context = JobContext(self, job)
        try:
            self.say(RunStarted(self.id, self.plan.title, self.input))
            for sentence in self.plan.notes:
                self.say(Notice(sentence))
            await self._give(job, await self._outcome(job, context))
        finally:
            await context.aclose()

    async def _outcome(self, job: Job, context: JobContext) -> Any:
        """The job's answer after `job.output` and the workflow's `output`."""
        self.say(JobStarted(job.id, self._elapsed()))
        answer = await JOBS["component"](job, context)
        for template in (job.output, self.plan.output):
            if template is not None:
                answer = await self._mapped(template, answer, job, context)
        return answer

    async def _mapped(self, template: Template, answer: Any, job: Job, context: JobContext) -> Any:
        """An answer through the job's or the workflow's `output`. Raises RunError for a path into a stream."""
        scope = {"output": answer, "jobs": {job.id: {"output": answer}, "__job__": {"output": answer}}}
        if isinstance(answer, Chunks):
            if flaw := value_of_output(template):
                raise RunError("output", flaw.sentence, mark=self.plan.place(flaw))
        elif flaw := nothing_in_value(template, scope, scope, "the output"):
            context.note(flaw.sentence, self.plan.place(flaw))
        return await context.render_outside(template, scope)

    async def _give(self, job: Job, answer: Any) -> None:
        if isinstance(answer, Chunks):
            self.encoding = answer.encoding
            self._fragmented = answer.fragmented
            self._record.joins = answer.fragmented and answer.encoding != "json"
            async for batch in answer.batches():
                if self._deltas(batch, job.id):
                    # the user waits for this one: the loop rests, so that the reader's thread gets the interpreter
                    self._flush()
                    await asyncio.sleep(_REST_SECONDS)
            if self._half:
                self._deltas([""], job.id, is_end=True)
        else:
            self._value = _whole_characters(await settle(answer))
            self._has_value = True
            if isinstance(self._value, str) and self._value:
                self._value = self.redact(self._value)
                self._deltas([self._value], job.id)
        self.say(JobFinished(job.id, self._elapsed(), self.timing.deltas))

    def _deltas(self, batch: list[Any], job: str, *, is_end: bool = False) -> bool:
        """Say a batch of chunks; whether it is the first to hold more than "". Raises RunError beyond the output's limit."""
        # a chat's first chunk is often its role, with an empty text
        is_first = self.timing.first_delta is None and any(value != "" for value in batch)
        if is_first:
            self.timing.first_delta = self._elapsed()
        self.timing.deltas += len(batch)
        try:
            text = "".join(batch)
        except TypeError:
            self._length += size(batch)
        else:
            self._length += len(text)
            if self.redact.finds(text):
                batch = self._redacted(batch, text)
            if self._half or not text.isascii():
                batch = self._with_whole_characters(batch, is_end=is_end)
        if self._length > LIMIT:
            raise too_large()
        self._record.stream([_delta((value, job)) for value in batch])
        self._flush_soon()
        return is_first

    def _redacted(self, batch: list[str], text: str) -> list[str]:
        """A batch of texts that holds a secret; joined, since the secret may be cut, where the pieces are of one text."""
        return [self.redact(text)] if self._record.joins else [self.redact(piece) for piece in batch]

    def _with_whole_characters(self, batch: list[str], *, is_end: bool) -> list[str]:
        """Join halves of surrogate pairs that stand in two chunks: JSON may write a character as two escapes."""
        found = []
        for piece in batch:
            whole = self._half + piece
            self._half = whole[-1] if "\ud800" <= whole[-1:] <= "\udbff" and not is_end else ""
            found.append(clean(whole[:-1] if self._half else whole))
        return found

    def _flush_soon(self) -> None:
        if not self._flush_is_near:
            self._flush_is_near = True
            self.loop.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_near = False
        self._record.flush(self._complain)

    def _complain(self, error: Exception) -> None:
        """Tell developers of a reader that raised; the run and its other readers go on."""
        self.loop.loop.call_exception_handler({"message": f"a reader of {self.id} raised", "exception": error})

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
        self._record.say(last)
        self._flush()
        self._ended.set()

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _broken(self, error: BaseException) -> tuple[str, RunError]:
        """The status and the RunError of a run that an exception ended.

        Its cause is kept for developers, without secrets; what it was raised beside and the frames it came through are not:
        it is raised again wherever it is asked for.
        """
        wrapped = self._wrapped(error)
        if wrapped is not error:
            wrapped.__cause__ = error
        wrapped.__context__ = None
        self.redact.scrub(wrapped)
        return "truncated" if wrapped.kind == "truncated" else "failed", wrapped.with_traceback(None)

    def _wrapped(self, error: BaseException) -> RunError:
        """Every failure inside a run as a RunError with a sentence and, where known, the line of YAML."""
        job = self.plan.jobs[0].id
        match error:
            case RunError(kind="connection_lost") if self._length:
                return RunError(error.kind, f"{error.sentence} (after {self._length} characters)", job=error.job or job)
            case RunError():
                error.job = error.job or job
                return error
            case MissingVariable():
                return RunError("missing_variable", _missing(error.name), job=job, mark=self._mark(error))
            case RenderError():
                return RunError("input", error.sentence, job=job, mark=self._mark(error))
            case CastError():
                return RunError("input", str(error), job=job)
        kind = self.plan.jobs[0].action.component.type
        words = f"{type(error).__name__}: {error}".removesuffix(": ")
        return RunError("internal", f"the component `{kind}` broke: {words}", job=job)

    def _mark(self, error: RenderError) -> Any:
        reference = error.reference
        return self.plan.place(Flaw(error.sentence, error.path, reference.start, reference.length))


def _missing(name: str) -> str:
    sentence = f"the environment variable `{name}` is not set. Put `{name}=...` into a `.env` file beside this one"
    if any(word in name.split("_") for word in ("KEY", "TOKEN")):
        return f"{sentence}, or run with `--local` (`local=True` in Python) to use the embedded model, without a key"
    return f"{sentence}, or give it with `-e {name}=...`"


def _pause_until(deadline: float | None) -> float:
    """How long one wait may be, in seconds: an interrupt must find a way in on every system."""
    return _POLL_SECONDS if deadline is None else max(0.0, min(_POLL_SECONDS, deadline - time.monotonic()))


def _whole_characters(value: Any) -> Any:
    """A value whose texts can all be encoded as UTF-8."""
    match value:
        case str():
            return clean(value)
        case dict():
            return {_whole_characters(key): _whole_characters(inner) for key, inner in value.items()}
        case list():
            return [_whole_characters(inner) for inner in value]
    return value


def _lines(pieces: list[Any]) -> str:
    """Pieces of text as they follow each other, and every other value on a line of its own."""
    lines: list[str] = []
    for is_text, group in itertools.groupby(pieces, lambda piece: isinstance(piece, str)):
        texts = map(_as_text, group)
        lines += ["".join(texts)] if is_text else texts
    return "\n".join(lines)


def _as_text(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bytes():
            return value.decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False, default=str)
