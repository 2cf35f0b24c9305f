"""One execution of a job: its input, what stands before and after it, its output, and what becomes of its failures.

The order is the language's: input, interrupt and hooks before, the job itself, interrupt and hooks after, output.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from composemagic.engine.events import Notice, Waiting
from composemagic.engine.failure import as_run_error, unless_stopped
from composemagic.engine.fill import fill, getter, together
from composemagic.engine.hooks import run_hook
from composemagic.engine.host import Host, demand
from composemagic.engine.interrupts import nobody
from composemagic.engine.route import Route
from composemagic.engine.stream import Stream, settle
from composemagic.engine.unmatched import nothing_in_value, value_of_output
from composemagic.errors import RunError, suggest
from composemagic.language.casts import CastError, convert
from composemagic.language.conditions import Condition
from composemagic.language.expression import Cast
from composemagic.language.formats import LOADED
from composemagic.language.streams import holds_chunks
from composemagic.language.template import Template
from composemagic.words import say
from composemagic.workflow.items import DEFAULT
from composemagic.workflow.job import ComponentJob, Hook, Interrupt, Job
from composemagic.workflow.plan import Plan

__all__ = ["Frame", "Kinds", "Step", "mapped"]

DEEPEST = 16  # workflows that call each other
_NOT_AGAIN = frozenset({"not_allowed", "unattended"})
_LEAVES = frozenset({"component", "delay", "filter", "fan-out", "if", "switch", "random-router"})


@dataclass(slots=True)
class Frame:
    """One workflow being run: the run itself, or one that a component calls in it. `jobs` is the source of that name."""

    host: Host
    plan: Plan
    input: Any
    env: Mapping[str, str]
    facts: Mapping[str, Any]
    depth: int = 0
    jobs: dict[str, Any] = field(default_factory=dict)
    loaded: dict[tuple[str, str], bytes] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def scope(self) -> dict[str, Any]:
        """The sources that every template of the workflow sees."""
        return {
            "input": self.input,
            "env": self.env,
            "context": self.facts,
            "jobs": self.jobs,
            LOADED: self.loaded,
        }

    def jobs_with(self, name: str, output: Any) -> dict[str, Any]:
        """The source `jobs` once this job has given its output."""
        found = {"output": output}
        return {**self.jobs, name: found, **({"__job__": found} if len(self.plan.jobs) == 1 else {})}

    def sibling(self, name: str) -> Plan:
        """Another workflow of the document. Raises RunError."""
        family = self.plan.family
        found = family.get(self.plan.default_id or "" if name == DEFAULT else name)
        if found is None:
            raise RunError(
                "workflow", say("there is no workflow `{name}`{near}", name=name, near=suggest(name, family))
            )
        return found


Kind = Callable[[Any, "Step", Any], Any]
Kinds = Mapping[str, Kind]


class Step:
    """One execution of a job, and of the jobs inside it.

    `more` are the sources it sees beside the workflow's, `default` its input where it says none; `settles`: whoever runs it
    wants a value. `top` is the id of the workflow's own job that it belongs to, `streams` what that has opened.
    """

    def __init__(
        self,
        frame: Frame,
        job: Job,
        kinds: Kinds,
        run_workflow: Callable[[Step, str, Any], Any],
        *,
        more: Mapping[str, Any] | None = None,
        default: Any = None,
        settles: bool = False,
        outer: Step | None = None,
    ) -> None:
        self.frame = frame
        self.job = job
        self.kinds = kinds
        self._run_workflow = run_workflow
        self.id = f"{frame.host.id}-{job.id}-{next(frame.numbers)}"
        self.default = default
        self.settles = settles
        self.top: str = job.id if outer is None else outer.top
        self.streams: list[Stream] = [] if outer is None else outer.streams
        self.is_inner = outer is not None
        self._more = dict(more or {})

    # -- for the kinds of job -------------------------------------------------------------------------------------------
    async def fill(self, template: Template, more: Mapping[str, Any] | None = None) -> Any:
        """Fill one of the job's templates; a stream that nothing wants as a value stays one."""
        return await fill(template.render, self.scope(more), self.frame.host.load)

    async def value(self, template: Template | None, default: Any = None) -> Any:
        """What a setting gives, streams collected."""
        found = None if template is None else await settle(await self.fill(template))
        return default if found is None else found

    async def count(self, template: Template | None, key: str, default: int) -> int:
        """A setting that is a whole number; below 1 counts as 1. Raises RunError."""
        found = await self.value(template, default)
        try:
            return max(1, int(convert(found, Cast("integer"))))
        except CastError as error:
            raise RunError("input", f"`{key}`: {error}") from None

    async def flag(self, template: Template | None, key: str) -> bool:
        """A setting that is true or false. Raises RunError."""
        try:
            return convert(await self.value(template, False), Cast("boolean")) is True
        except CastError as error:
            raise RunError("input", f"`{key}`: {error}") from None

    async def holds(self, condition: Condition, more: Mapping[str, Any] | None = None) -> bool:
        """Whether a condition holds."""
        return await fill(condition.test, self.scope(more), self.frame.host.load)

    def scope(self, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The sources the job sees."""
        return {**self.frame.scope(), **self._more, **(more or {})}

    async def inner(self, job: Job, default: Any, more: Mapping[str, Any], *, settles: bool = False) -> Any:
        """Run a job that stands inside this one."""
        sources = {**self._more, **more}
        step = Step(
            self.frame,
            job,
            self.kinds,
            self._run_workflow,
            more=sources,
            default=default,
            settles=settles,
            outer=self,
        )
        return await step.perform()

    async def run_workflow(self, name: str, value: Any) -> Any:
        """Run another workflow of the document and give its output. Raises RunError."""
        if self.frame.depth + 1 >= DEEPEST:
            raise RunError(
                "too_deep",
                say("workflows call each other more than {limit} deep: `{name}` is the last", limit=DEEPEST, name=name),
            )
        return await self._run_workflow(self, name, value)

    def stream(
        self, source: AsyncIterator[list[Any]], *, fragmented: bool, wrap: Any = None, behind: Any = None
    ) -> Stream:
        """A stream of this job's, closed with the run, and `behind` with it, which the source reads."""
        host = self.frame.host
        wrap = wrap or self.wrapped
        found = Stream(source, fragmented=fragmented, origin=self.top, wrap=wrap, get=getter(host.load), behind=behind)
        self.streams.append(found)
        host.opened(found)
        found.when_ended(lambda _: host.closed(found))
        return found

    def wrapped(self, error: BaseException) -> RunError:
        """A failure of the job, as a RunError."""
        return as_run_error(error, self.top, self.frame.plan.place)

    @property
    def is_shown_raw(self) -> bool:
        """Whether nothing maps what the job's action gives before it is shown."""
        plan = self.frame.plan
        is_shown = self.job.id in plan.graph.terminals and not self.is_inner
        return self.job.output is None and plan.output is None and is_shown and self.frame.depth == 0

    # -- an execution ---------------------------------------------------------------------------------------------------
    async def perform(self) -> Any:
        """Run the job, again where it fails and `retry` says so. Gives its output or a Route; raises RunError."""
        retry = self.job.retry
        attempts = 1 if retry is None else retry.attempts
        attempt = 1
        while True:
            try:
                return await self._repeated()
            except BaseException as error:
                failure = unless_stopped(error, self.wrapped)
            is_final = getattr(failure, "is_final", False)  # the action has its own `max_retries`: they do not multiply
            if attempt >= attempts or failure.kind in _NOT_AGAIN or is_final or retry is None:
                return await self._instead(failure)
            seconds = retry.wait(attempt)
            reason = self.frame.host.redact(failure.sentence)
            self.frame.host.say(Waiting(seconds, reason, attempt, attempts - 1, self.top))
            await asyncio.sleep(seconds)
            attempt += 1

    async def _instead(self, failure: RunError) -> Any:
        """What takes the place of the output of a job that failed. Raises the failure where nothing does."""
        on_error = self.job.on_error
        if on_error is None or failure.kind in _NOT_AGAIN:
            raise failure
        if on_error.output is None:
            if on_error.to is not None:
                return Route(on_error.to)
            self._ignore(failure)
            return None
        error = {"message": getattr(failure, "message", None) or failure.sentence}
        error |= {"kind": failure.kind, "sentence": failure.sentence}
        found = await self.fill(on_error.output, {"error": error})
        if on_error.to is not None:
            return Route(on_error.to, await settle(found))
        return await settle(found) if self.settles else found

    def _ignore(self, failure: RunError) -> None:
        reason = self.frame.host.redact(failure.sentence)
        self.frame.host.say(
            Notice(say("the job `{job}` failed, which is ignored: {reason}", job=self.top, reason=reason))
        )

    async def _repeated(self) -> Any:
        job = self.job
        if not isinstance(job, ComponentJob) or job.repeat_count is None:
            return await self._once()
        count = await self.count(job.repeat_count, "repeat_count", 1)
        if count == 1:
            return await self._once()
        return await together(*(self._copy(number)._once() for number in range(1, count + 1)))

    def _copy(self, number: int) -> Step:
        """One of several executions at once."""
        found = copy(self)
        found.id = f"{self.id}-{number}"
        return found

    async def _once(self) -> Any:
        job = self.job
        alive = self.frame.host.interrupts.alive(self.id) if job.kind in _LEAVES else nullcontext()
        with alive:
            given = self.default if job.input is None else await self.fill(job.input)
            if job.before is not None:
                given = await self._asked(job.before, "before", given, {"input": given})
            for hook in job.hooks_before:
                given = await self._hooked(hook, "before", await settle(given))
            output = await self.kinds[job.kind](job, self, given)
            if isinstance(output, Route):
                await self._after(None, given)
                return output
            return await self._mapped(await self._after(output, given))

    async def _after(self, output: Any, given: Any) -> Any:
        """What stands between the job and its output. Whoever looks at an answer looks at the whole of it."""
        job = self.job
        if job.after is not None:
            whole = await settle(output)
            output = await self._asked(job.after, "after", whole, {"input": given, "output": whole})
        for hook in job.hooks_after:
            output = await self._hooked(hook, "after", await settle(given), await settle(output))
        return output

    async def _mapped(self, output: Any) -> Any:
        """What a job gives through its `output`, as a value where one is wanted."""
        template = self.job.output
        if template is not None:
            jobs = self.frame.jobs if self.is_inner else self.frame.jobs_with(self.job.id, output)
            output = await mapped(template, self.scope({"output": output, "jobs": jobs}), self.frame)
        on_error = self.job.on_error
        is_replaced = on_error is not None and (on_error.to is not None or on_error.output is not None)
        if self.settles or is_replaced:
            return await settle(output)  # only a whole answer can be replaced when it fails
        return self._forgiving(output) if on_error is not None and holds_chunks(output) else output

    def _forgiving(self, value: Any) -> Any:
        """The same with streams that end where they fail."""
        match value:
            case Stream():
                stream = value.derived(self._until_failure(value), fragmented=value.fragmented)
                stream.encoding = value.encoding
                return stream
            case dict():
                return {key: self._forgiving(inner) for key, inner in value.items()}
            case list():
                return [self._forgiving(inner) for inner in value]
        return value

    async def _until_failure(self, stream: Stream) -> AsyncIterator[list[Any]]:
        try:
            async for batch in stream.batches():
                yield batch
        except Exception as error:
            self._ignore(self.wrapped(error))

    # -- people and hooks -------------------------------------------------------------------------------------------------
    async def _asked(self, interrupt: Interrupt, phase: str, value: Any, known: Mapping[str, Any]) -> Any:
        """The value after a person has seen it: an answer takes its place, null leaves it."""
        sources = {"job": known}
        if interrupt.condition is not None and not await self.holds(interrupt.condition, sources):
            return value
        parts = (interrupt.message, interrupt.metadata)
        message, metadata = [None if part is None else await settle(await self.fill(part, sources)) for part in parts]
        found = await self.ask(phase, message, metadata, value)
        return value if found is None else found

    async def ask(self, phase: str, message: Any, metadata: Any, value: Any) -> Any:
        """Wait for a person's answer. Raises RunError where nobody can give one."""
        host = self.frame.host
        if host.auto_resume:
            return None
        if not host.attended:
            raise nobody(self.job.id)
        text = None if message is None else host.redact(str(message))
        facts, value = host.redact.value(metadata), host.redact.closed(await settle(value))
        return await host.interrupts.ask(self.id, self.job.id, phase, message=text, metadata=facts, value=value)

    async def _hooked(self, hook: Hook, phase: str, *values: Any) -> Any:
        host = self.frame.host
        if host.surroundings.held is not None:
            await host.surroundings.held(self.job.id, "hook")
        about = {"task_id": host.id, "job_id": self.job.id, "run_id": self.id, "phase": phase}
        demand(host, "hook", hook.path)
        return await run_hook(hook, *values, **about)


async def mapped(template: Template, scope: Mapping[str, Any], frame: Frame) -> Any:
    """An output through a template that reads it as `output`, or as `jobs.ID.output`.

    Raises RunError for a path into a stream; says so where nothing is matched.
    """
    if flaw := value_of_output(template, scope):
        raise RunError("output", flaw.sentence, mark=frame.plan.place(flaw))
    if flaw := nothing_in_value(template, scope, ("output", "jobs"), lambda: say("the output")):
        frame.host.say(Notice(flaw.sentence, frame.plan.place(flaw)))
    return await fill(template.render, scope, frame.host.load)
