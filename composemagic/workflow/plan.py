"""What loading gives: the checked meaning of a document, ready to be run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from composemagic.errors import Mark, UsageError, suggest
from composemagic.language.template import Flaw, Hole, Template
from composemagic.words import listing, say
from composemagic.workflow.component import Action
from composemagic.workflow.graph import Graph
from composemagic.workflow.inputs import Input, infer
from composemagic.workflow.items import DEFAULT
from composemagic.workflow.job import ComponentJob, Job, LoopJob, PipelineJob, passes_input
from composemagic.workflow.outputs import Output
from composemagic.workflow.outputs import infer as infer_outputs

__all__ = ["Job", "Loaded", "Plan", "no_workflow"]


@dataclass(frozen=True)
class Plan:
    """The checked meaning of one workflow. `notes` are what the user should know of the document it stands in.

    `family` are all workflows of that document, by id; `path` is where it stands, in today's spelling, and `written` gives
    what stands at such a path.
    """

    id: str
    title: str
    description: str
    jobs: tuple[Job, ...]
    output: Template | None
    notes: tuple[str, ...]
    place: Callable[[Flaw], Mark] = field(repr=False)
    family: Mapping[str, Plan] = field(default_factory=dict, repr=False, compare=False)
    default_id: str | None = field(default=None, repr=False, compare=False)
    path: tuple[str | int, ...] = ()
    written: Callable[[tuple[str | int, ...]], Any] = field(default=lambda _: None, repr=False, compare=False)
    is_private: bool = False  # only other workflows, and who names it, run it

    @property
    def name(self) -> str:
        """What its `name` says: how it is called as a tool; empty where it has none."""
        return str(self.written((*self.path, "name")) or "")

    @cached_property
    def graph(self) -> Graph:
        """How the jobs depend on each other."""
        return Graph(self.jobs)

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """What the workflow asks for, in the order written."""
        return infer(cast("Iterator[Template]", self.asking(0)))

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """What the workflow gives, as far as its templates say."""
        return infer_outputs(self)

    @property
    def last(self) -> Iterator[Job]:
        """The jobs that nothing waits for, in the order written."""
        terminals = self.graph.terminals
        return (job for job in self.jobs if job.id in terminals)

    def asking(self, depth: int) -> Iterator[Any]:
        """What of it reads the workflow's input, what the workflows read that are given it whole included."""
        several = [job for job in _all(self.jobs) if isinstance(job, _PASSING)]
        passed_on = {id(job.input) for job in several if _passes(job.input)}
        calls = (
            job.action.fields.get("input") for job in several if isinstance(job, ComponentJob) and self.called(job)
        )
        passed_on |= {id(given) for given in calls if _passes(given)}
        for job in self.jobs:
            yield from (part for part in job.asking() if id(part) not in passed_on)
            if isinstance(job, ComponentJob) and _passes(job.input) and _passes(job.action.fields.get("input")):
                called = self.called(job)
                yield from called.asking(depth + 1) if called is not None and depth < _MOST_INSIDE else ()
        yield from self._own()

    def called(self, job: ComponentJob) -> Plan | None:
        """The workflow of the document that a job's action runs."""
        if job.action.component.type != "workflow":
            return None
        name = self.written((*job.action.path, "workflow"))
        default = next(iter(self.family.values())) if len(self.family) == 1 else None
        if name == DEFAULT:
            return self.family.get(self.default_id or "")
        return self.family.get(name) if isinstance(name, str) else default

    @cached_property
    def variables(self) -> tuple[Hole, ...]:
        """The `${env.X}` without a default that a run needs."""
        return tuple(hole for hole in self._of_environment if hole.reference.default is None)

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The names of all variables that the document's workflows may read, those with a default included."""
        plans = (self, *self.family.values())
        return tuple(dict.fromkeys(hole.reference.path_text for plan in plans for hole in plan._of_environment))

    @cached_property
    def _of_environment(self) -> tuple[Hole, ...]:
        of_jobs = (hole for job in self.jobs for hole in job.holes())
        own = (hole for one in self._own() for hole in one.holes)
        return tuple(hole for hole in (*of_jobs, *own) if hole.reference.source == "env")

    @cached_property
    def actions(self) -> tuple[Action, ...]:
        """Every action that a job of it may run, those inside of others included."""
        return tuple(job.action for job in self.component_jobs)

    @property
    def component_jobs(self) -> tuple[ComponentJob, ...]:
        """The jobs that run an action, those inside of others included."""
        return tuple(job for job in _all(self.jobs) if isinstance(job, ComponentJob))

    def _own(self) -> tuple[Template, ...]:
        return () if self.output is None else (self.output,)


_MOST_INSIDE = 16
_PASSING = (ComponentJob, LoopJob, PipelineJob)  # what is inside of them reads the input they are given


def _passes(template: Template | None) -> bool:
    return template is None or passes_input(template)


def _all(jobs: tuple[Job, ...]) -> Iterator[Job]:
    for job in jobs:
        yield job
        yield from _all(job.inner())


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked document: its plans by id, which of them is the default, and what the user should know.

    `places` are those of the notes that are about one place.
    """

    document: Any = field(repr=False)
    plans: Mapping[str, Plan]
    default: str | None
    notes: tuple[str, ...]
    controller: Mapping[str, Any]
    places: Mapping[str, Mark] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        family: dict[str, Plan] = {}
        family.update(
            {name: replace(plan, family=family, default_id=self.default) for name, plan in self.plans.items()}
        )
        object.__setattr__(self, "plans", family)

    def plan(self, name: str | None = None) -> Plan:
        """The plan of a workflow id, or the default one. Raises UsageError."""
        name = self.default if name is None else name
        if not self.plans:
            raise UsageError(say("there is no workflow in this document"))
        known = listing(f"`{each}`" for each in self.plans)
        if name is None:
            one = next(iter(self.plans))
            raise UsageError(
                say(
                    'which workflow? There are {known}. Name one: `composemagic run {one}`, in a cell `-w {one}`, in Python `load(..., "{one}")`',
                    known=known,
                    one=one,
                )
            )
        if name not in self.plans:
            raise no_workflow(name, self.plans)
        return self.plans[name]


def no_workflow(name: str, known: Iterable[str]) -> UsageError:
    """What is wrong with an id that no workflow has."""
    names = list(known)
    if near := suggest(name, names):
        return UsageError(say("no workflow `{name}`{near}", name=name, near=near))
    there = listing(f"`{each}`" for each in names)
    return UsageError(say("no workflow `{name}`; there is {known}", name=name, known=there))
