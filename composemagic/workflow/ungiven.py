"""What a job's action, or the workflow that it runs, reads of its input and no job gives: it is null in every run.

Only what is certain is noted: an `input` that is a plain mapping has these keys and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from composemagic.errors import suggest
from composemagic.language.findings import Flaw, Hole
from composemagic.language.nodes import Name, Reference, references
from composemagic.language.operators import OPERATORS
from composemagic.words import say
from composemagic.workflow.component import Action
from composemagic.workflow.job import ComponentJob, passes_input
from composemagic.workflow.plan import Plan

__all__ = ["ungiven"]

Path = tuple[str | int, ...]
Place = tuple[Path, int]
Given = tuple[ComponentJob, Mapping[str, Any] | None]  # None: nobody knows


def ungiven(plans: Mapping[str, Plan]) -> Iterator[Flaw]:
    """A note for each `${input.x}` that is null for certain, in the order met."""
    jobs = [(plan, job) for plan in plans.values() for job in plan.component_jobs]
    yield from _of_actions((job, _given(plan, job)) for plan, job in jobs)
    for plan, job in jobs:
        yield from _of_workflow(plan, job)


def _of_actions(jobs: Iterable[Given]) -> Iterator[Flaw]:
    """An action that several jobs run may leave to some what others give."""
    found: dict[Place, Flaw] = {}
    settled: set[Place] = set()
    for job, given in jobs:
        for action in _called(job.action):
            settled.update(_place(hole) for hole in _read(action))
        for hole in _read(job.action):
            name = _name(hole)
            if given is None or name in given:
                settled.add(_place(hole))
            elif _place(hole) not in found:
                reference = hole.reference
                length = len(reference.key + reference.dotted)
                found[_place(hole)] = Flaw(_sentence(job, name, given), hole.path, reference.source_start, length)
    return (flaw for place, flaw in found.items() if place not in settled)


def _of_workflow(plan: Plan, job: ComponentJob) -> Iterator[Flaw]:
    """What the workflow that a job runs asks for."""
    called = plan.called(job)
    if called is None:
        return
    own = job.action.fields.get("input")
    is_passed = own is None or passes_input(own)
    path = (*(job.path if is_passed else job.action.path), "input")
    given = _given(plan, job) if is_passed else _literal(plan.written(path))
    for one in called.inputs if given is not None else ():
        root = one.name.partition(".")[0].partition("[")[0]
        if given is not None and one.required and root and root not in given:
            yield Flaw(_sentence(job, root, given), path, in_key=True)


def _sentence(job: ComponentJob, name: str, given: Mapping[str, Any]) -> str:
    return say("the job `{job}` gives no `{name}`{near}", job=job.id, name=name, near=suggest(name, given))


def _given(plan: Plan, job: ComponentJob) -> Mapping[str, Any] | None:
    """The names that a job gives its action; None where a hook or a person may give others."""
    may_change = job.hooks_before or job.before is not None
    return None if may_change else _literal(plan.written((*job.path, "input")))


def _literal(value: Any) -> Mapping[str, Any] | None:
    """A mapping as it is written, if nothing is spread into it and it is no operator."""
    if not isinstance(value, dict) or any(key in OPERATORS or key in ("...", "?") for key in value):
        return None
    return value


def _called(action: Action) -> Iterator[Action]:
    """The actions that an action runs itself, which it gives what it wants."""
    seen: list[Action] = []
    pending = [call.action for call in action.calls.values()]
    while pending:
        one = pending.pop()
        if not any(one is other for other in seen):
            seen.append(one)
            pending += [call.action for call in one.calls.values()]
    return iter(seen)


def _read(action: Action) -> Iterator[Hole]:
    """The references to a name of the input where null can hardly be meant."""
    for template in action.templates():
        fallbacks = {
            id(inner)
            for hole in template.holes
            if hole.reference.default is not None
            for inner in references(hole.reference.default.parts)
        }
        for hole in template.holes:
            is_free = hole.is_spread or id(hole.reference) in fallbacks or any(step in _CHOOSING for step in hole.path)
            if hole.reference.source == "input" and hole.reference.default is None and not is_free and _name(hole):
                yield hole


_CHOOSING = (*OPERATORS, "?", "...")  # which may ask whether there is anything


def _name(hole: Hole) -> str:
    reference: Reference = hole.reference
    first = next(iter(reference.path), None)
    return first.name if isinstance(first, Name) else ""


def _place(hole: Hole) -> Place:
    return hole.path, hole.reference.start
