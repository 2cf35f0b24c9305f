"""What a document may say, as JSON Schema (draft-07, what yaml-language-server reads best): for editors.

Made from the same models that check a document, so it knows what they know. It describes every spelling that is read, older
ones too, and is never stricter than the loader: what only the whole document can tell (ids, sources, casts) is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from composemagic.language.comparison import COMPARISONS
from composemagic.workflow import schema
from composemagic.workflow.component import Component, Settings
from composemagic.workflow.job_settings import (
    INLINE_TYPES,
    JOB_TYPES,
    Case,
    ComponentSettings,
    IfCondition,
    InterruptSettings,
    OnErrorSettings,
    PhaseSettings,
    RetrySettings,
    Routing,
    ScriptSettings,
)
from composemagic.workflow.json_shapes import (
    NULL,
    TEMPLATE,
    Json,
    Properties,
    about,
    any_of,
    closed,
    count,
    either,
    model,
    properties,
    ref,
    required,
    several,
    where,
)

__all__ = ["json_schema"]

_TEXT: Json = {"type": "string"}
_JOB_ON_WORKFLOW = ("component", "action", "input", "output")
# what dialects.py reads besides: on any action, on an agent's, and in some kinds of job
_OLD_ACTION: Properties = {"response_type": {"description": "Older; the answer itself names its type."}}
_OLD_AGENT: Properties = {
    "model": {"description": "Older; today the component's `model`."},
    "system_prompt": {"description": "Older; today the component's `instructions`."},
    "user_prompt": {"description": "Older; today `prompt`."},
}
_OLD_TARGET: Properties = {"target": {**_TEXT, "description": "Older; today `to`."}}
_OLD_JOB: Mapping[str, Properties] = {"filter": {"when": {"description": "Older; today `where`."}}}


def json_schema(types: Mapping[str, type[Component]]) -> Json:
    """The JSON Schema of a document that may use these component types."""
    definitions: Json = {
        "controller": _controller(),
        "workflow": _workflow(),
        "job": _job(JOB_TYPES),
        "job.inside": _job(INLINE_TYPES),
        "condition": _condition(),
        "component": _component(types),
    }
    definitions |= {f"job.{name}": _job_of(name, kind) for name, kind in JOB_TYPES.items()}
    for name, found in types.items():
        definitions |= _of_type(name, found)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **closed("A composemagic or model-compose document.", _top()),
        "allOf": [{"not": {"required": [key, f"{key}s"]}} for key in ("component", "workflow")],
        "definitions": definitions,
    }


def _top() -> Properties:
    known: Properties = {
        "controller": any_of(ref("controller"), NULL),
        "component": ref("component"),
        "components": several(ref("component")),
        "workflow": any_of(ref("workflow"), NULL),
        "workflows": several(ref("workflow")),
    }
    return known | {key: {"description": "Read, and not used by composemagic."} for key in schema.FOREIGN_TOP_KEYS}


def _controller() -> Json:
    """Today's form, or the adapter's keys on the controller itself; the peer's other adapters are free."""
    theirs: Json = {
        "type": "object",
        "properties": {"type": {"enum": list(schema.FOREIGN_ADAPTERS)}},
        "required": ["type"],
    }
    ours = model(schema.Adapter)
    adapter: Json = {"if": theirs, "else": ours}
    own = properties(schema.Controller) | {
        "adapter": any_of(adapter, NULL),
        "adapters": any_of({"type": "array", "items": adapter}, NULL),
    }
    text = about(schema.Controller)
    flat: Json = {"if": theirs, "else": closed(text, {**ours["properties"], **own})}
    return {"type": "object", **either(("adapter", "adapters"), closed(text, own), flat)}


# -- workflows and jobs --------------------------------------------------------------------------------------------------


def _workflow() -> Json:
    """With its jobs, or with the fields of its only one on itself."""
    job = any_of(ref("job"), NULL)
    own = properties(schema.Workflow, {"job": job, "jobs": several(job)})
    fields = properties(ComponentSettings, _job_parts())
    flat = {key: fields[key] for key in _JOB_ON_WORKFLOW}
    text = about(schema.Workflow)
    return {"type": "object", **either(("job", "jobs"), closed(text, own), closed(text, {**flat, **own}))}


def _job(kinds: Iterable[str]) -> Json:
    """A job of one of these kinds; without a `type` it runs a component."""
    described = {name: about(JOB_TYPES[name]) for name in kinds}
    others = (where("type", [name], ref(f"job.{name}")) for name in described if name != "component")
    return {
        "type": "object",
        "properties": {"type": any_of(*_types(described), {"const": "action"}, TEMPLATE)},
        "allOf": [where("type", ["component", "action"], ref("job.component"), or_absent=True), *others],
    }


def _job_of(name: str, kind: type[Settings]) -> Json:
    keys = properties(kind, _job_parts()) | {"type": {}} | _OLD_JOB.get(name, {})
    return closed(about(kind), keys, required(kind))


def _job_parts() -> Properties:
    """The settings of jobs that hold more than a value."""
    maybe = any_of({"type": "boolean"}, TEMPLATE, NULL)
    ids = {"type": "array", "items": any_of(_TEXT, {"type": "array", "items": _TEXT, "minItems": 1})}
    condition = {**model(IfCondition), "properties": properties(IfCondition, {"operator": _operator()})}
    routing = closed(about(Routing), {**properties(Routing), **_OLD_TARGET})
    return {
        "component": {"description": "The id of a component, or one of its own; else the only one, or the default."}
        | any_of(ref("component"), _TEXT, NULL),
        "depends_on": any_of(_TEXT, ids, NULL),
        "max_run_count": any_of(count(), NULL),
        "retry": any_of(count(), model(RetrySettings), {"const": False}, NULL),
        "on_error": any_of({"enum": ["ignore"]}, {**_TEXT, "pattern": "^[Ii][Gg][Nn][Oo][Rr][Ee]$"}, _on_error(), NULL),
        "interrupt": any_of(_phases(model(InterruptSettings), {"type": "boolean"}), {"const": False}, NULL),
        "hook": any_of(_phases(model(ScriptSettings), {"type": "array", "items": model(ScriptSettings)}), NULL),
        "repeat_count": any_of(count(0), NULL),
        "operator": _operator(),
        "conditions": any_of(condition, {"type": "array", "items": condition}, NULL),
        "cases": any_of(model(Case), {"type": "array", "items": model(Case)}, NULL),
        "routings": {"type": "array", "items": routing, "minItems": 1},
        "where": any_of(ref("condition"), NULL),
        "until": any_of(ref("condition"), NULL),
        "while": any_of(ref("condition"), NULL),
        "streaming": maybe,
        "batch_size": any_of(count(), NULL),
        "max_iteration_count": any_of(count(), NULL),
        "buffer_size": any_of(count(), NULL),
        "do": ref("job.inside"),
        "steps": {"type": "array", "items": ref("job.inside"), "minItems": 1},
    }


def _on_error() -> Json:
    return closed(about(OnErrorSettings), {**properties(OnErrorSettings), **_OLD_TARGET})


def _phases(*options: Json) -> Json:
    """`before` and `after`, each one of these."""
    return model(PhaseSettings, dict.fromkeys(("before", "after"), any_of(*options, NULL)))


def _operator() -> Json:
    return any_of({"enum": list(COMPARISONS)}, TEMPLATE, NULL)


def _condition() -> Json:
    many = {"type": "array", "items": ref("condition")}
    keys: Properties = {
        "input": {"description": "What is compared, such as `${item.price}`."},
        "operator": {"description": "How; `eq` where it is left out."} | _operator(),
        "value": {"description": "What it is compared with."},
        "all": {"description": "Holds where all of these do."} | many,
        "any": {"description": "Holds where one of these does."} | many,
        "not": ref("condition"),
    }
    found = closed("A comparison, or `all`, `any` or `not` of several.", keys)
    del found["patternProperties"]  # here `x-...` would be a key that nobody reads
    return found


# -- components ----------------------------------------------------------------------------------------------------------


def _component(types: Mapping[str, type[Component]]) -> Json:
    described = {name: about(found) for name, found in types.items()}
    others = {"enum": [name for name in schema.LATER_COMPONENT_TYPES if name not in types]}
    return {
        "type": "object",
        "properties": {"type": any_of(*_types(described), others, TEMPLATE)},
        "required": ["type"],
        "allOf": [where("type", [name], ref(f"component.{name}")) for name in types],
    }


def _types(described: Mapping[str, str]) -> list[Json]:
    """The values of a `type`, each with what it is."""
    return [{"const": name, "description": text} for name, text in described.items()]


def _of_type(name: str, found: type[Component]) -> Json:
    """The definitions of one component type: its action, and the component around it in both spellings."""
    is_agent = name == "agent"
    old = _OLD_ACTION | (_OLD_AGENT if is_agent else {})
    action = properties(schema.Action) | properties(found.action, owner=found)
    action |= {key: value for key, value in old.items() if key not in action}
    own = properties(schema.Component) | properties(found.settings, owner=found)
    here = any_of(ref(f"action.{name}"), NULL)
    nested = own | {"action": here, "actions": several(here)}
    # where an agent was written in the older spelling, its settings have other names, and some stand on the action
    of_action = [] if is_agent else required(found.action)
    needed = [] if is_agent else [key for key in required(found.settings) if key != "type"]
    text = about(found.settings) or about(found)
    flat = closed(text, {**action, **own}, [*needed, *of_action])
    return {
        f"action.{name}": closed(about(found.action), action, of_action),
        f"component.{name}": either(("action", "actions"), closed(text, nested, needed), flat),
    }
