"""Workflow -> list of Output: what it gives, as far as its templates say.

What a workflow gives is its `output`, else what its last jobs give: their `output`, else that of their action. Names are the
dotted paths of the references in it; an operator such as `*` is one value, and what says nothing gives anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from composemagic.language.expression import Reference, parse
from composemagic.workflow.inputs import input_of
from composemagic.workflow.job import AccumulateJob, ComponentJob, ForEachJob, Job, LoopJob, PipelineJob
from composemagic.workflow.variable import Variable, object_schema, schema_of

__all__ = ["Output", "infer", "output_schema"]

Path = tuple[str | int, ...]

_OPERATORS = ("*", "?", "+", "&", "|")
_MOST_INSIDE = 16  # workflows inside each other


@dataclass(frozen=True, slots=True)
class Output(Variable):
    """One value that a workflow gives, under its dotted name; the empty name is the whole output.

    A group has `variables`: so many outputs as `repeat_count` says, 0 for as many as there are items, each of these values.
    """

    type: str = "any"
    variables: tuple[Output, ...] = ()
    repeat_count: int | None = None

    def to_json_schema(self) -> dict[str, Any]:
        """The value, as JSON Schema 2020-12."""
        if self.repeat_count is None:
            return schema_of(self)
        many: dict[str, Any] = {"type": "array", "items": output_schema(self.variables)}
        return many | ({"minItems": self.repeat_count, "maxItems": self.repeat_count} if self.repeat_count else {})


class Given(Protocol):
    """A workflow, as far as this page asks."""

    @property
    def path(self) -> Path:
        """Where it stands in today's spelling."""

    @property
    def written(self) -> Callable[[Path], Any]:
        """Gives what stands at a path of the tree in today's spelling."""

    @property
    def last(self) -> Iterable[Job]:
        """The jobs that nothing waits for."""

    def called(self, job: ComponentJob) -> Given | None:
        """The workflow that a job's action runs, if it is one."""


def infer(workflow: Given) -> tuple[Output, ...]:
    """What a workflow gives, in the order written."""
    return _of_workflow(workflow, 0)


def output_schema(outputs: Iterable[Output]) -> dict[str, Any]:
    """What a workflow gives, as JSON Schema 2020-12: an object where all its outputs have names."""
    outputs = tuple(outputs)
    if not outputs:
        return {}
    if len(outputs) == 1 and (not outputs[0].name or outputs[0].repeat_count is not None):
        return outputs[0].to_json_schema()
    if not all(one.name and one.repeat_count is None for one in outputs):
        return {}
    if any(one.name.startswith("[") for one in outputs):
        return {"type": "array"}
    return object_schema((one.name, one.to_json_schema(), False) for one in outputs)


def _of_workflow(workflow: Given, depth: int) -> tuple[Output, ...]:
    written = workflow.written((*workflow.path, "output"))
    if written is not None and not _passes(written):
        return _first_of_a_name(_values(written, ""))
    found = [output for job in workflow.last for output in _of_job(job, workflow, depth)]
    return _first_of_a_name(found)


def _of_job(job: Job, workflow: Given, depth: int) -> tuple[Output, ...]:
    """What a job gives; nothing where it does not say."""
    written = workflow.written((*job.path, "output"))
    is_own = written is not None and not _passes(written)
    found = tuple(_values(written, "")) if is_own else _inside(job, workflow, depth)
    count = workflow.written((*job.path, "repeat_count")) if isinstance(job, ComponentJob) else None
    if isinstance(job, ForEachJob) and not is_own:
        return (_group(job, found or (Output(""),), 0),)
    if isinstance(count, int) and count > 1:
        return (_group(job, found, count),)
    return found


def _inside(job: Job, workflow: Given, depth: int) -> tuple[Output, ...]:
    """What a job without an output of its own gives."""
    match job:
        case ComponentJob():
            return _of_action(job, workflow, depth)
        case ForEachJob() | LoopJob() | AccumulateJob():
            return _of_job(job.do, workflow, depth)
        case PipelineJob():
            return _of_job(job.steps[-1], workflow, depth)
        case _:
            return ()


def _of_action(job: ComponentJob, workflow: Given, depth: int) -> tuple[Output, ...]:
    written = workflow.written((*job.action.path, "output"))
    called = workflow.called(job)
    if called is not None and depth < _MOST_INSIDE and (written is None or _passes(written)):
        return _of_workflow(called, depth + 1)
    return tuple(_values(written, ""))


def _group(job: Job, found: tuple[Output, ...], count: int) -> Output:
    return Output(job.name or job.id, variables=_distinct(found), repeat_count=count)


def _first_of_a_name(found: Iterable[Output]) -> tuple[Output, ...]:
    """What a whole workflow gives: anything where there is nothing."""
    return _distinct(found) or (Output(""),)


def _distinct(found: Iterable[Output]) -> tuple[Output, ...]:
    """Of a name the first; without a name only where it comes first."""
    outputs: list[Output] = []
    for one in found:
        names = [each.name for each in outputs if each.repeat_count is None]
        if one.repeat_count is not None or not outputs or (one.name and one.name not in names):
            outputs.append(one)
    return tuple(outputs)


# -- values ------------------------------------------------------------------------------------------------------------


def _values(value: Any, name: str) -> Iterator[Output]:
    """The outputs of a template under a name."""
    if isinstance(value, str):
        reference = _reference(value)
        if reference is not None:
            yield _output(input_of(reference), name)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _values(item, f"{name}[{at}]")
    elif isinstance(value, dict) and any(key in value for key in _OPERATORS):
        yield _operated(value, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "...":
                yield from _values(inner, f"{name}.{key}" if name else key)


def _operated(value: Mapping[str, Any], name: str) -> Output:
    """The one value that an operator makes."""
    if "?" in value:
        return _chosen(value["?"], name)
    if "&" in value:
        return Output(name, "object", is_list=True)
    if "*" in value:
        source = value["*"]
        found = _first(source.get("input") if isinstance(source, dict) else source, name)
        return _output(found, name, is_list=True) if found else Output(name, "any", is_list=True)
    found = _first(value["+"] if "+" in value else value["|"], name)
    return _output(found, name) if found else Output(name)


def _chosen(conditions: Any, name: str) -> Output:
    """The value of the first branch that says what it gives: a test decides, it is not given."""
    for condition in conditions if isinstance(conditions, list) else [conditions]:
        for key in ("if_true", "if_false"):
            branch = condition.get(key) if isinstance(condition, dict) else None
            if isinstance(branch, dict) and not any(operator in branch for operator in _OPERATORS):
                return Output(name, "object")
            found = next(_values(branch, name), None)
            if found is not None:
                return found
    return Output(name)


def _first(value: Any, name: str) -> Variable | None:
    return next(_values(value, name), None)


def _output(one: Variable, name: str, *, is_list: bool | None = None) -> Output:
    said = {each.name: getattr(one, each.name) for each in fields(Variable)}
    return Output(**{**said, "name": name, "is_list": one.is_list if is_list is None else is_list})


def _reference(text: str) -> Reference | None:
    """The first reference in a text to something that a run gives: a variable of the environment is a constant."""
    parts = (part for part in parse(text.removeprefix("...")) if isinstance(part, Reference))
    return next((part for part in parts if part.source != "env"), None)


def _passes(value: Any) -> bool:
    """Whether an `output` gives on what it gets."""
    if not isinstance(value, str) or value[:2] != "${" or value[-1:] != "}":
        return False
    return value[2:-1].strip() == "output"
