"""Each kind of job: from its checked mapping to its dataclass. The table is at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from composemagic.errors import suggest
from composemagic.language.conditions import Condition
from composemagic.language.scalars import whole_reference
from composemagic.language.template import Flaw, RenderError, Template
from composemagic.words import say
from composemagic.workflow import schema
from composemagic.workflow.actions import Components
from composemagic.workflow.duration import DurationError, check_zone, moment, seconds
from composemagic.workflow.items import Item
from composemagic.workflow.job import (
    AccumulateJob,
    Branch,
    ComponentJob,
    DelayJob,
    FanOutJob,
    FilterJob,
    ForEachJob,
    IfJob,
    Job,
    LoopJob,
    PipelineJob,
    RandomRouterJob,
    SwitchJob,
)
from composemagic.workflow.job_parts import Parts, Sources
from composemagic.workflow.job_settings import Case, IfCondition, Routing

__all__ = ["BUILDERS", "Making"]

Path = tuple[str | int, ...]
Build = Callable[["Making"], Job | None]


@dataclass(frozen=True, slots=True)
class Making:
    """One job on its way: as written, the sources its templates may read, and what every kind has in common."""

    item: Item
    sources: Sources
    common: Mapping[str, Any]
    parts: Parts
    components: Components
    inline: Callable[[Any, Path, str, Sources], Job | None]

    def written(self, key: str) -> Any:
        """A setting as it stands."""
        return self.item.data.get(key)

    def at(self, key: str) -> Path:
        """Where a setting stands."""
        return (*self.item.path, key)

    def template(self, key: str, *more: str) -> Template | None:
        """A setting as a template that may read these sources besides."""
        return self.parts.template(self.written(key), self.at(key), (*self.sources, *more))

    def output(self) -> Template | None:
        """The job's `output`."""
        return self.template("output", "output")

    def body(self, *more: str) -> Job | None:
        """The job in `do`, which may read these sources besides."""
        return self.inline(self.written("do"), self.at("do"), "do", (*self.sources, *more))


def _component(make: Making) -> Job | None:
    component = make.components.of_job(make.item)
    action = make.components.action_of(make.item, component) if component else None
    count = make.parts.counted(make.written("repeat_count"), make.at("repeat_count"), make.sources)
    given, output = make.template("input"), make.output()
    if action is None:
        return None
    return ComponentJob(**make.common, input=given, output=output, action=action, repeat_count=count)


# -- routers -----------------------------------------------------------------------------------------------------------


def _if(make: Making) -> Job | None:
    branches = []
    for data, path in _one_or_many(make, "conditions", ("operator", "value", "if_true", "if_false")):
        if make.parts.mapping(data, IfCondition, path, say("a condition")) is None:
            continue
        condition = _compared(make, data, path, ("input", "operator", "value"))
        if_true, if_false = (make.parts.job_id(data.get(key), (*path, key)) for key in ("if_true", "if_false"))
        label = f"{data.get('operator', 'eq')} {schema.kind(data.get('value'))}"
        branches.append(Branch(condition, if_true, if_false, label))
    otherwise = make.parts.job_id(make.written("otherwise"), make.at("otherwise"))
    return IfJob(**make.common, input=make.template("input"), branches=tuple(branches), otherwise=otherwise)


def _switch(make: Making) -> Job | None:
    branches = []
    for data, path in _one_or_many(make, "cases", ("value", "then")):
        if make.parts.mapping(data, Case, path, say("a case")) is None:
            continue
        condition = _compared(make, data, path, ("value",))
        chosen = make.parts.job_id(data.get("then"), (*path, "then"))
        branches.append(Branch(condition, chosen, label=schema.kind(data.get("value"))))
    otherwise = make.parts.job_id(make.written("otherwise"), make.at("otherwise"))
    return SwitchJob(**make.common, input=make.template("input"), branches=tuple(branches), otherwise=otherwise)


def _one_or_many(make: Making, key: str, inline: tuple[str, ...]) -> list[tuple[Any, Path]]:
    """The conditions or cases, and where each stands; the only one may stand on the job itself."""
    data, path = make.item.data, make.item.path
    own = {name: data[name] for name in inline if name in data}
    many = data.get(key)
    if own and many is not None:
        make.parts.fault(
            say("`{key}` is given, so this belongs into one of them", key=key), (*path, next(iter(own))), in_key=True
        )
    if isinstance(many, dict):
        return [(many, (*path, key))]
    if isinstance(many, list):
        return [(each, (*path, key, at)) for at, each in enumerate(many)]
    if many is not None:
        make.parts.fault(say("`{key}` is a list, this is {value}", key=key, value=schema.kind(many)), (*path, key))
    elif not own:
        make.parts.fault(say("this job needs `{key}`", key=key), path)
    return [(own, path)] if own and many is None else []


def _compared(make: Making, data: Mapping[str, Any], path: Path, keys: tuple[str, ...]) -> Condition:
    """A comparison of the job's input, or of a condition's own, with what a condition or a case says."""
    _look_at_options(make, data, path)
    test = {"input": "${job.input}", **{key: data[key] for key in keys if key in data}}
    return make.parts.condition(test, path, (*make.sources, "job"), loose=True)


def _look_at_options(make: Making, data: Mapping[str, Any], path: Path) -> None:
    """Say of a value that the select which is compared never gives."""
    asked, value = data.get("input", make.written("input")), data.get("value")
    reference = whole_reference(asked) if isinstance(asked, str) else None
    cast = reference.cast if reference else None
    if cast is None or cast.type != "select" or cast.is_list or data.get("operator", "eq") not in ("eq", "neq"):
        return
    if isinstance(value, str) and "${" not in value and value not in cast.options and not cast.attrs:
        near = suggest(value, cast.options)
        words = say("`{value}` is none of the options of `{input}`{near}", value=value, input=asked, near=near)
        make.parts.report.findings.notes.append(Flaw(words, (*path, "value")))


def _random_router(make: Making) -> Job | None:
    weighted = make.written("mode") == "weighted"
    written = make.written("routings")
    if not isinstance(written, list) or not written:
        place = make.at("routings") if written is not None else make.item.path
        make.parts.fault(say("a random-router needs `routings`, a list with at least one `to`"), place)
        return None
    routings = []
    for at, data in enumerate(written):
        path = (*make.at("routings"), at)
        if make.parts.mapping(data, Routing, path, say("a routing")) is None:
            continue
        to = make.parts.job_id(data.get("to"), (*path, "to"))
        if to is not None:
            routings.append((to, _weight(make, data, path, weighted=weighted)))
    return RandomRouterJob(
        **make.common,
        weighted=weighted,
        routings=tuple(routings),
        session=make.template("session"),
        salt=make.template("salt"),
    )


def _weight(make: Making, data: Mapping[str, Any], path: Path, *, weighted: bool) -> Template | None:
    weight = data.get("weight")
    if weighted and weight is None:
        make.parts.fault(say("a routing of a weighted router needs `weight`"), path)
    if isinstance(weight, str) and "${" in weight:
        return make.parts.template(weight, (*path, "weight"), make.sources)
    if weight is not None and (
        not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight < 1e300
    ):
        make.parts.fault(
            say("`weight` is a number from 0 on, not {value}", value=schema.kind(weight)), (*path, "weight")
        )
        return None
    return make.parts.template(weight, (*path, "weight"), make.sources)


# -- values ------------------------------------------------------------------------------------------------------------


def _filter(make: Making) -> Job | None:
    where = make.written("where")
    sources = (*make.sources, "item", "index")
    condition = None if where is None else make.parts.condition(where, make.at("where"), sources)
    streaming = make.parts.switch(make.written("streaming"), make.at("streaming"), make.sources)
    given, output = make.template("input"), make.output()
    return FilterJob(**make.common, input=given, output=output, where=condition, streaming=streaming)


def _delay(make: Making) -> Job | None:
    wanted = "time" if make.written("mode") == "specific-time" else "duration"
    for key in ("time", "duration"):
        if key == wanted and make.written(key) is None:
            make.parts.fault(say("this delay needs `{key}`", key=key), make.item.path)
        elif key != wanted and make.written(key) is not None:
            mode = "specific-time" if key == "time" else "time-interval"
            make.parts.fault(say("`{key}` is for the mode `{mode}`", key=key, mode=mode), make.at(key), in_key=True)
    duration, time, zone = (make.template(key) for key in ("duration", "time", "timezone"))
    parts = {"duration": duration, "time": time, "timezone": zone}
    for key, check in (("duration", seconds), ("time", lambda value: moment(value, None)), ("timezone", check_zone)):
        _check_now(make, key, parts[key], check)
    return DelayJob(**make.common, output=make.output(), duration=duration, time=time, timezone=zone)


def _check_now(make: Making, key: str, template: Template | None, check: Callable[[Any], object]) -> None:
    """Look at a value that is known while the document is loaded: a literal, or an environment variable."""
    if template is None or any(hole.reference.source != "env" for hole in template.holes):
        return
    try:
        check(template.render({"env": make.parts.report.env}))
    except DurationError as error:
        make.parts.fault(str(error), make.at(key))
    except RenderError:
        pass  # drawn already


def _fan_out(make: Making) -> Job | None:
    written, path = make.written("output"), make.at("output")
    make.parts.number(make.written("buffer_size"), make.at("buffer_size"))
    if make.written("spool") is not None:
        make.parts.report.not_used("spool")
    if not isinstance(written, list) or not written or not all(isinstance(name, str) and name for name in written):
        if written is not None:
            make.parts.fault(say("the `output` of a fan-out is a list of names"), path)
        return None
    for at, name in enumerate(written):
        if name in written[:at]:
            make.parts.fault(say("two outputs are called `{name}`", name=name), (*path, at))
    return FanOutJob(**make.common, input=make.template("input"), names=tuple(dict.fromkeys(written)))


# -- jobs with jobs inside -----------------------------------------------------------------------------------------------


def _for_each(make: Making) -> Job | None:
    size = make.parts.counted(make.written("batch_size"), make.at("batch_size"), make.sources)
    streaming = make.parts.switch(make.written("streaming"), make.at("streaming"), make.sources)
    if make.written("input") is None:
        words = say(
            "the job `{job}` has no `input`, so it goes over the whole input: one item, unless that is a list",
            job=make.common["id"],
        )
        make.parts.report.findings.notes.append(Flaw(words, make.at("type")))
    given, do, output = make.template("input"), make.body("item"), make.output()
    if do is None:
        return None
    return ForEachJob(**make.common, input=given, output=output, do=do, batch_size=size, streaming=streaming)


def _accumulate(make: Making) -> Job | None:
    given, start = make.template("input"), make.template("accumulator")
    do, output = make.body("item", "accumulator"), make.output()
    return None if do is None else AccumulateJob(**make.common, input=given, output=output, do=do, accumulator=start)


def _loop(make: Making) -> Job | None:
    given, do, output = make.template("input"), make.body("output", "iteration"), make.output()
    most = make.parts.counted(make.written("max_iteration_count"), make.at("max_iteration_count"), make.sources)
    keys = [key for key in ("until", "while") if make.written(key) is not None]
    if len(keys) != 1:
        both = say("a loop has `until` or `while`, not both")
        place = (*make.item.path, keys[-1]) if keys else make.item.path
        make.parts.fault(both if keys else say("a loop needs `until` or `while`"), place, in_key=bool(keys))
        return None
    (key,) = keys
    condition = make.parts.condition(make.written(key), make.at(key), (*make.sources, "output", "iteration"))
    if do is None:
        return None
    return LoopJob(
        **make.common,
        input=given,
        output=output,
        do=do,
        condition=condition,
        until=key == "until",
        max_iteration_count=most,
    )


def _pipeline(make: Making) -> Job | None:
    written, path = make.written("steps"), make.at("steps")
    if not isinstance(written, list) or not written:
        if written is not None:
            make.parts.fault(say("`steps` is a list of jobs, this is {value}", value=schema.kind(written)), path)
        return None
    sources = (*make.sources, "output", "step")
    steps = [make.inline(data, (*path, at), "steps", sources) for at, data in enumerate(written)]
    given, output = make.template("input"), make.output()
    found = tuple(step for step in steps if step is not None)
    return PipelineJob(**make.common, input=given, output=output, steps=found) if len(found) == len(steps) else None


BUILDERS: Mapping[str, Build] = {
    "component": _component,
    "if": _if,
    "switch": _switch,
    "random-router": _random_router,
    "filter": _filter,
    "delay": _delay,
    "for-each": _for_each,
    "loop": _loop,
    "pipeline": _pipeline,
    "accumulate": _accumulate,
    "fan-out": _fan_out,
}
