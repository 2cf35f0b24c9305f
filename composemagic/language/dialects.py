"""Every older spelling of the language -> today's, each with a note to the user.

`modernise` rewrites the tree of a document before anything is checked; it keeps for every moved path where it came from, so
that mistakes are still drawn at the line the user wrote. `modern_cast` does the same for what stands after `as`. A spelling
is one entry of the table `RULES` at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

from composemagic.language.expression import Cast
from composemagic.language.rewriting import PUT_IN, Keys, Modern, Rule, Spot
from composemagic.words import say

__all__ = ["RULES", "Keys", "Modern", "Rule", "modern_cast", "modernise"]

Path = tuple[str | int, ...]


TypeKeys = Callable[[Any], Keys]

# 2025-08 `as text;sse-text` · 2026-05 `as sse-text` · 2026-06 `as event-stream/text` · today `as stream/text`
_STREAM_FORMATS = {"sse-text": "text", "sse-json": "json"}

_STREAM_CAST = re.compile(r"\bas\s+(?:stream|event-stream|sse-)|;sse-")
_ADAPTER_KEYS = ("type", "host", "port", "base_path", "origins", "max_concurrent_count")
_CONTROLLER_KEYS = ("name", "webui", "runtime", "queue", "threaded", "shutdown_timeout", "shutdown_pending_period")
_OUR_ADAPTERS = (None, "http-server")  # of the others only the peer knows the settings
# what tells the fields of one from several by id: the value would be no mapping
_MARKS = {
    "workflow": ("title", "description", "job", "jobs", "output"),
    "component": ("type",),
    "job": ("component", "action", "input", "output", "type"),
    "action": ("path", "endpoint", "method", "output", "text"),
}
_JOB_KEYS = ("component", "action", "input", "output")
_ONLY_A_JOBS = frozenset(_JOB_KEYS) - {"output"}  # a workflow has an `output` of its own
_OLD_ACTION_KEYS = ("response_type", "system_prompt", "user_prompt", "stream")
_OLD_OUTPUT = re.compile(r"(?<!\$)\$\{\s*(output)(?=[\s.\[}])")  # in an interrupt
_OLD_INPUT = re.compile(r"(?<!\$)\$\{\s*(input)\.([\w-]+)")


def modern_cast(cast: Cast) -> tuple[Cast, str | None]:
    """A cast in today's spelling, and the note on what was read where it was older."""
    kind = None
    modern = cast
    if cast.format in _STREAM_FORMATS and cast.subtype and cast.format == "sse-json":
        # 2025-08-01: the subtype is a path into the JSON of each raw chunk
        encoding = "json" if cast.type == "json" else "text"
        modern = replace(cast, type="stream", subtype=encoding, format=None, attrs=(("path", cast.subtype),))
        kind = say("each chunk's `{path}`, as `stream/{encoding}`", path=cast.subtype, encoding=encoding)
    elif cast.format in _STREAM_FORMATS:
        modern = replace(cast, type="stream", subtype=_STREAM_FORMATS[cast.format], format=None)
    elif cast.type in _STREAM_FORMATS:
        modern = replace(cast, type="stream", subtype=_STREAM_FORMATS[cast.type])
    elif cast.type == "event-stream":
        modern = replace(cast, type="stream")
    return modern, None if modern is cast else f"`as {cast}` -> {kind or f'`as {modern}`'}"


def modernise(data: dict[str, Any], keys: TypeKeys) -> Modern:
    """Rewrite a document's tree into today's spelling; `data` itself is left as it is.

    `keys` gives what the YAML of a component type may say: an action's keys on a component are its one action's.
    """
    modern = Modern(dict(data), streams=_streams(data))
    document = Spot(modern, modern.data)
    _rewrite("document", document)
    for component in document.inner("components"):
        _component(component, keys)
    for workflow in document.inner("workflows"):
        _rewrite("workflow", workflow)
        for job in workflow.inner("jobs"):
            _job(job, keys)
    return modern


def _rewrite(where: str, spot: Spot) -> None:
    for rule in RULES:
        if rule.where == where:
            rule.rewrite(spot)


def _component(spot: Spot, keys: TypeKeys) -> None:
    spot = replace(spot, keys=keys(spot.data.get("type")))
    _rewrite("component", spot)
    for action in spot.inner("actions"):
        _rewrite("action", action)
    for call in spot.one("model"):  # an agent's; that of a model names a file
        for component in call.one("component"):
            _component(component, keys)


def _job(spot: Spot, keys: TypeKeys) -> None:
    _rewrite("job", spot)
    for component in spot.one("component"):
        _component(component, keys)
    for inner in (*spot.one("do"), *spot.inner("steps")):
        _job(inner, keys)


# -- the shape of the file ---------------------------------------------------------------------------------------------


def _flat_controller(document: Spot) -> None:
    controller = document.data.get("controller")
    if not isinstance(controller, dict) or "adapter" in controller or "adapters" in controller:
        return
    flat = {key: controller[key] for key in _ADAPTER_KEYS if key in controller}
    if flat.get("type") not in _OUR_ADAPTERS:
        flat |= {key: value for key, value in controller.items() if key not in _CONTROLLER_KEYS}
    if not flat:
        return
    rest = {key: value for key, value in controller.items() if key not in flat}
    document.data["controller"] = {"adapter": flat, **rest}
    for key in flat:
        document.came(("controller", "adapter", key), "controller", key)
    document.note(say("flat `controller` -> `controller.adapter`"))


def _several(singular: str) -> Callable[[Spot], None]:
    """`job: {...}` -> `jobs: [...]`; `jobs: {id: {...}}` -> `jobs: [{id: ..., ...}]`."""
    plural = f"{singular}s"

    def rewrite(spot: Spot) -> None:
        holder = spot.data
        if singular in holder and plural not in holder:
            value = holder.pop(singular)
            holder[plural] = [{} if value is None else value]
            spot.came((plural, 0), singular)
            spot.came((plural,), singular)
            return
        named = holder.get(plural)
        if isinstance(named, dict):
            _by_id(spot, singular, plural, named)

    return rewrite


def _by_id(spot: Spot, singular: str, plural: str, named: dict[str, Any]) -> None:
    if any(key in named and isinstance(named[key], str | int | list) for key in _MARKS[singular]):
        spot.data[plural] = [named]
        spot.came((plural, 0), plural)
        spot.modern.singles.append((*spot.modern.origin(spot.path), plural))
        return
    spot.data[plural] = [{"id": key, **body} if isinstance(body, dict) else body for key, body in named.items()]
    for at, key in enumerate(named):
        spot.came((plural, at), plural, key)
    spot.note(say("`{key}` as a mapping -> a list with ids", key=plural))


def _flat_action(component: Spot) -> None:
    """An action's fields on the component."""
    if "actions" in component.data:
        return
    old = [key for key in _OLD_ACTION_KEYS if key not in component.keys.settings]
    keys = [key for key in component.data if key in component.keys.action or key in old]
    flat = {key: component.data.pop(key) for key in keys}
    for key in flat:
        component.came(("actions", 0, key), key)
    component.came(("actions", 0))
    component.data["actions"] = [flat]
    if flat:
        component.note(say("an action's fields on the component -> `action`"))


def _flat_job(workflow: Spot) -> None:
    """A job's fields on the workflow."""
    if workflow.data.get("jobs"):
        return
    is_flat = not _ONLY_A_JOBS.isdisjoint(workflow.data)
    flat = {key: workflow.data.pop(key) for key in _JOB_KEYS if is_flat and key in workflow.data}
    workflow.data["jobs"] = [flat]
    workflow.came(("jobs", 0))
    if flat:
        workflow.note(say("a job's fields on the workflow -> `job`"))


# -- jobs --------------------------------------------------------------------------------------------------------------


def _action_job(job: Spot) -> None:
    """The first name of a job that runs a component."""
    if job.data.get("type") == "action":
        job.data["type"] = "component"
        job.note(say("a job's `type: action` -> `type: component`"))


def _filter(job: Spot) -> None:
    """A filter with nothing to filter, only an `output`, shapes values; `when` is its `where`."""
    if job.data.get("type") != "filter":
        return
    if job.rename("when", "where"):
        job.note(say("a filter's `when` -> `where`"))
    if "output" in job.data and job.data.keys().isdisjoint(("input", "where")):
        job.data["input"] = []
        job.note(say("a filter job with only `output` -> one with `input: []`"))


def _interrupt(job: Spot) -> None:
    """An interrupt's `output`, and what the job's own `input` names, were read without `job.`."""
    if not _OLD_OUTPUT.search(str(job.data.get("interrupt"))):
        return
    own = job.data.get("input")
    names = own.keys() if isinstance(own, dict) else ()
    for interrupt in job.one("interrupt"):
        for phase in (*interrupt.one("before"), *interrupt.one("after")):
            for key in ("condition", "message", "metadata"):
                if key in phase.data:
                    phase.data[key] = _of_job(phase.data[key], (*phase.path, key), names, job.modern)
    job.note(say("an interrupt's `output` and `input` -> `job.output` and `job.input`"))


def _of_job(value: Any, path: Path, names: Collection[str], modern: Modern) -> Any:
    """A value of an interrupt with `job.` before the job's `output` and before those names of its `input`."""
    if isinstance(value, dict):
        return {key: _of_job(inner, (*path, key), names, modern) for key, inner in value.items()}
    if isinstance(value, list):
        return [_of_job(inner, (*path, at), names, modern) for at, inner in enumerate(value)]
    if not isinstance(value, str):
        return value
    starts = [found.start(1) for found in _OLD_OUTPUT.finditer(value)]
    starts += [found.start(1) for found in _OLD_INPUT.finditer(value) if found[2] in names]
    if starts:
        modern.longer[path] = sorted(starts)
    for start in sorted(starts, reverse=True):
        value = f"{value[:start]}{PUT_IN}{value[start:]}"
    return value


def _routes(job: Spot) -> None:
    """A random-router's `routings` in the docs' words: their weights count."""
    if job.data.get("type") != "random-router" or not job.rename("routes", "routings"):
        return
    routes = list(job.inner("routings"))
    for route in routes:
        route.rename("id", "to")
    if any("weight" in route.data for route in routes):
        job.data.setdefault("mode", "weighted")
    job.note(say("a random-router's `routes` with an `id` -> `routings` with `to`"))


def _targets(job: Spot) -> None:
    """Where a route leads to."""
    renamed = [route.rename("target", "to") for route in (*job.inner("routings"), *job.one("on_error"))]
    if any(renamed):
        job.note(say("a route's `target` -> `to`"))


# -- actions -----------------------------------------------------------------------------------------------------------


def _agent(action: Spot) -> None:
    """The model and the instructions were the action's, and the prompt had another name."""
    component = action.above
    if component is None or component.data.get("type") != "agent":
        return
    if action.rename("user_prompt", "prompt"):
        action.note(say("an agent's `user_prompt` -> `prompt`"))
    _move_up(action, component, "model", "model", say("an agent action's `model` -> the component's `model`"))
    _move_up(action, component, "system_prompt", "instructions", say("an agent's `system_prompt` -> `instructions`"))


def _move_up(action: Spot, component: Spot, old: str, new: str, note: str) -> None:
    """Move an action's setting up to its component, where all actions of a component agree on it."""
    if old not in action.data or old in component.keys.action:
        return
    if new in component.data and component.data[new] != action.data[old]:
        sentence = say(
            "`{key}` is the same for all actions of an agent; write an agent of its own for this one", key=old
        )
        action.modern.mistakes.append((sentence, (*action.path, old)))
        del action.data[old]
        return
    if new not in component.data:
        component.data[new] = action.data[old]
        component.modern.origins[*component.path, new] = (*action.modern.origin(action.path), old)
    del action.data[old]
    action.note(note)


def _model(action: Spot) -> None:
    """2025-08: a model went on from a `text`, and streamed with `stream`."""
    component = action.above
    if component is None or component.data.get("type") != "model":
        return
    if component.data.get("task") == "text-generation" and action.rename("text", "prompt"):
        action.note(say("a text-generation's `text` -> `prompt`"))
    if action.rename("stream", "streaming"):
        action.note(say("a model's `stream` -> `streaming`"))


def _response_type(action: Spot) -> None:
    """The docs' word for what the answer's own Content-Type says."""
    if "response_type" in action.data and "response_type" not in action.keys.action:
        del action.data["response_type"]
        action.note(say("`response_type` -> the type that the answer itself names"))


def _streaming_body(action: Spot) -> None:
    """2025-09 .. 2026-02: `streaming: true` in a body meant the provider's `stream: true`."""
    body = action.data.get("body")
    if not isinstance(body, dict) or body.get("streaming") is not True or "stream" in body:
        return
    if not (action.modern.streams or "stream_format" in action.data or "[]" in str(action.data.get("output", ""))):
        return
    for inner in action.one("body"):
        inner.rename("streaming", "stream")
    action.note(say("`streaming: true` -> `stream: true`"))


def _streams(data: dict[str, Any]) -> bool:
    outputs = [holder["output"] for key in ("workflow", "workflows") for holder in _holders(data.get(key))]
    return any(_STREAM_CAST.search(str(output)) for output in outputs)


def _holders(value: Any) -> Iterator[dict[str, Any]]:
    """The mappings among workflows and their jobs, in any spelling, that have an `output`."""
    if isinstance(value, dict) and "output" in value:
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _holders(each)


# applied from the outside in, and in this order at each place
RULES: tuple[Rule, ...] = (
    Rule("first", "document", _flat_controller),
    Rule("first", "document", _several("workflow")),
    Rule("first", "document", _several("component")),
    Rule("first", "component", _several("action")),
    Rule("first", "component", _flat_action),
    Rule("docs", "action", _agent),
    Rule("2025-08", "action", _model),
    Rule("docs", "action", _response_type),
    Rule("2025-09", "action", _streaming_body),
    Rule("first", "workflow", _several("job")),
    Rule("first", "workflow", _flat_job),
    Rule("2026", "job", _action_job),
    Rule("docs", "job", _filter),
    Rule("2026", "job", _interrupt),
    Rule("docs", "job", _routes),
    Rule("docs", "job", _targets),
)
