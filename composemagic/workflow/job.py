"""Jobs, checked and compiled: one frozen dataclass for each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, ClassVar

from composemagic.language.conditions import Condition
from composemagic.language.template import Hole, Template
from composemagic.workflow.component import Action

__all__ = [
    "AccumulateJob",
    "Branch",
    "ComponentJob",
    "DelayJob",
    "FanOutJob",
    "FilterJob",
    "ForEachJob",
    "Hook",
    "IfJob",
    "Interrupt",
    "Job",
    "LoopJob",
    "OnError",
    "PipelineJob",
    "RandomRouterJob",
    "Retry",
    "Router",
    "SwitchJob",
    "passes_input",
]

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` in all, with so many seconds before each but the first, doubled each time where `doubles`."""

    attempts: int
    delay: float = 0.0
    doubles: bool = False
    max_delay: float | None = None

    def wait(self, attempt: int) -> float:
        """Seconds to wait after the attempt of this number, from 1."""
        # beyond 2**60 every delay is longer than any `max_delay` or life
        wait = self.delay * 2 ** min(attempt - 1, 60) if self.doubles else self.delay
        return wait if self.max_delay is None else min(wait, self.max_delay)


@dataclass(frozen=True, slots=True)
class OnError:
    """What becomes of a job that failed: another job takes over, or an output takes its place, null where neither is given."""

    to: str | None = None
    output: Template | None = None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The run stops here and asks a person, if the condition holds."""

    condition: Condition | None = None
    message: Template | None = None
    metadata: Template | None = None

    def parts(self) -> Iterator[Template | Condition]:
        """What it fills."""
        yield from (part for part in (self.condition, self.message, self.metadata) if part is not None)


@dataclass(frozen=True, slots=True)
class Hook:
    """A Python script that defines `hook`, compiled, and where it stands."""

    code: CodeType = field(repr=False)
    path: Path = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every job has. `depends_on` is an AND of OR groups of ids, those that references imply included."""

    kind: ClassVar[str] = ""

    id: str
    path: Path
    name: str | None = None
    input: Template | None = None
    output: Template | None = None
    depends_on: tuple[tuple[str, ...], ...] = ()
    max_run_count: int = 25
    retry: Retry | None = None
    on_error: OnError | None = None
    before: Interrupt | None = None
    after: Interrupt | None = None
    hooks_before: tuple[Hook, ...] = ()
    hooks_after: tuple[Hook, ...] = ()

    def routes(self) -> tuple[str, ...]:
        """The jobs that this one may start by itself, as written."""
        return (self.on_error.to,) if self.on_error is not None and self.on_error.to is not None else ()

    def parts(self) -> Iterator[Template | Condition]:
        """Everything a run of the job may fill, in the order of the page."""
        yield from self.around()
        yield from self.own()
        if self.output is not None:
            yield self.output

    def around(self) -> Iterator[Template | Condition]:
        """What interrupts and errors fill, and the input."""
        for interrupt in (self.before, self.after):
            if interrupt is not None:
                yield from interrupt.parts()
        if self.on_error is not None and self.on_error.output is not None:
            yield self.on_error.output
        if self.input is not None:
            yield self.input

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        return iter(())

    def asking(self) -> Iterator[Template | Condition]:
        """The parts whose `input` is the workflow's."""
        yield from self.parts()

    def inner(self) -> tuple[Job, ...]:
        """The jobs inside."""
        return ()

    def holes(self) -> Iterator[Hole]:
        """Every reference that a run of the job may fill."""
        for part in self.parts():
            yield from part.holes


@dataclass(frozen=True, kw_only=True)
class ComponentJob(Job):
    """Runs an action, `repeat_count` times at once where that is given."""

    kind: ClassVar[str] = "component"

    action: Action
    repeat_count: Template | None = None

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        if self.repeat_count is not None:
            yield self.repeat_count
        yield from self.action.templates()

    def asking(self) -> Iterator[Template | Condition]:
        """A job's own input hides its action's."""
        yield from self.around()
        if self.repeat_count is not None:
            yield self.repeat_count
        if self.input is None or passes_input(self.input):
            yield from self.action.templates()
        if self.output is not None:
            yield self.output


@dataclass(frozen=True, slots=True)
class Branch:
    """One condition of an `if`, or one case of a `switch`, and the jobs that it chooses. `label`: what it says, for people."""

    condition: Condition
    if_true: str | None = None
    if_false: str | None = None
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Router(Job):
    """A job that has no output and chooses which job comes next."""


@dataclass(frozen=True, kw_only=True)
class IfJob(Router):
    """The first condition that chooses a job decides, else `otherwise`."""

    kind: ClassVar[str] = "if"

    branches: tuple[Branch, ...] = ()
    otherwise: str | None = None

    def routes(self) -> tuple[str, ...]:
        """The jobs that this one may start by itself."""
        chosen = [to for branch in self.branches for to in (branch.if_true, branch.if_false) if to is not None]
        return (*chosen, *([] if self.otherwise is None else [self.otherwise]), *Job.routes(self))

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        yield from (branch.condition for branch in self.branches)


@dataclass(frozen=True, kw_only=True)
class SwitchJob(IfJob):
    """The first case with the input's value decides, else `otherwise`."""

    kind: ClassVar[str] = "switch"


@dataclass(frozen=True, kw_only=True)
class RandomRouterJob(Router):
    """Chooses by chance. With a `session`, the same session always goes the same way, until the `salt` changes."""

    kind: ClassVar[str] = "random-router"

    weighted: bool = False
    routings: tuple[tuple[str, Template | None], ...] = ()
    session: Template | None = None
    salt: Template | None = None

    def routes(self) -> tuple[str, ...]:
        """The jobs that this one may start by itself."""
        return (*(to for to, _ in self.routings), *Job.routes(self))

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        weights = (weight for _, weight in self.routings)
        yield from (part for part in (*weights, self.session, self.salt) if part is not None)


@dataclass(frozen=True, kw_only=True)
class FilterJob(Job):
    """Keeps the items for which the condition holds; `streaming` gives those of a list as a stream."""

    kind: ClassVar[str] = "filter"

    where: Condition | None = None
    streaming: Template | None = None

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        yield from (part for part in (self.where, self.streaming) if part is not None)


@dataclass(frozen=True, kw_only=True)
class DelayJob(Job):
    """Waits for a `duration`, or until a `time` in a `timezone`."""

    kind: ClassVar[str] = "delay"

    duration: Template | None = None
    time: Template | None = None
    timezone: Template | None = None

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        yield from (part for part in (self.duration, self.time, self.timezone) if part is not None)


@dataclass(frozen=True, kw_only=True)
class ForEachJob(Job):
    """Runs a job for every item, `batch_size` of them at once; `streaming` gives the results as a stream."""

    kind: ClassVar[str] = "for-each"

    do: Job
    batch_size: Template | None = None
    streaming: Template | None = None

    def inner(self) -> tuple[Job, ...]:
        """The jobs inside."""
        return (self.do,)

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        yield from (part for part in (self.batch_size, self.streaming) if part is not None)
        yield from self.do.parts()

    def asking(self) -> Iterator[Template | Condition]:
        """The body sees the workflow's input; where it has none of its own, its action sees the item."""
        yield from self.around()
        yield from (part for part in (self.batch_size, self.streaming) if part is not None)
        yield from _of_body(self.do)
        if self.output is not None:
            yield self.output


@dataclass(frozen=True, kw_only=True)
class AccumulateJob(Job):
    """Folds the items: each run of the body gives the next accumulator."""

    kind: ClassVar[str] = "accumulate"

    do: Job
    accumulator: Template | None = None

    def inner(self) -> tuple[Job, ...]:
        """The jobs inside."""
        return (self.do,)

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        if self.accumulator is not None:
            yield self.accumulator
        yield from self.do.parts()

    def asking(self) -> Iterator[Template | Condition]:
        """The body sees the workflow's input; where it has none of its own, its action sees the item."""
        yield from self.around()
        if self.accumulator is not None:
            yield self.accumulator
        yield from _of_body(self.do)
        if self.output is not None:
            yield self.output


@dataclass(frozen=True, kw_only=True)
class LoopJob(Job):
    """Runs a job again and again, on its own output, until the condition holds (or while it does)."""

    kind: ClassVar[str] = "loop"

    do: Job
    condition: Condition
    until: bool = True
    max_iteration_count: Template | None = None

    def inner(self) -> tuple[Job, ...]:
        """The jobs inside."""
        return (self.do,)

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        yield from self._settings()
        yield from self.do.parts()

    def asking(self) -> Iterator[Template | Condition]:
        """The body's `input` is the loop's, which is the workflow's where the loop has none of its own."""
        yield from self.around()
        yield from self._settings()
        if self.input is None or passes_input(self.input):
            yield from self.do.asking()
        if self.output is not None:
            yield self.output

    def _settings(self) -> Iterator[Template | Condition]:
        if self.max_iteration_count is not None:
            yield self.max_iteration_count
        yield self.condition


@dataclass(frozen=True, kw_only=True)
class PipelineJob(Job):
    """Runs jobs one after the other, each on the output of the one before."""

    kind: ClassVar[str] = "pipeline"

    steps: tuple[Job, ...]

    def inner(self) -> tuple[Job, ...]:
        """The jobs inside."""
        return self.steps

    def own(self) -> Iterator[Template | Condition]:
        """What this kind of job fills besides."""
        for step in self.steps:
            yield from step.parts()

    def asking(self) -> Iterator[Template | Condition]:
        """The steps' `input` is the pipeline's, which is the workflow's where the pipeline has none of its own."""
        yield from self.around()
        if self.input is None or passes_input(self.input):
            for at, step in enumerate(self.steps):
                yield from step.asking() if at == 0 else _of_body(step)
        if self.output is not None:
            yield self.output


@dataclass(frozen=True, kw_only=True)
class FanOutJob(Job):
    """Gives its input several names; each is a stream that is read at its own speed."""

    kind: ClassVar[str] = "fan-out"

    names: tuple[str, ...] = ()


def passes_input(template: Template) -> bool:
    """Whether a job's input is just `${input}`."""
    if len(template.holes) != 1:
        return False
    reference = template.holes[0].reference
    if reference.source != "input" or reference.path or reference.cast:
        return False
    marker = object()
    scope: Mapping[str, Any] = {"input": marker}
    return template.render(scope) is marker


def _of_body(job: Job) -> Iterable[Template | Condition]:
    """What of a body reads the outer input: where it has no input of its own, what lies inside is given something else."""
    if job.input is None and isinstance(job, ComponentJob | LoopJob | PipelineJob):
        return [*job.around(), *([job.output] if job.output is not None else [])]
    return job.asking()
