"""The API as an OpenAPI 3.1 document, made of the workflows' inputs and outputs.

A request with `strict: true` is checked against the schema that stands here; without it, as with the peer, anything is taken,
and what the run cannot use makes it fail with 422. https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from composemagic.api import Workflow
from composemagic.server.inputs import checked_schema
from composemagic.server.tasks import STATUSES, Tasks

__all__ = ["document"]

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_OBJECT: Json = {"type": "object"}
_WORDS = {
    202: "Not at its end: its state.",
    400: "The request cannot be read, or contradicts itself.",
    404: "There is no such workflow or task.",
    409: "It was stopped, has ended already, asks nothing, or has no such message yet.",
    422: "An input is missing or does not fit.",
    429: "Too many runs wait for their turn.",
    500: "The run failed, and nobody else is to blame.",
    502: "Who was asked (a model's provider) failed.",
    503: "The server is shutting down.",
    504: "Who was asked took too long.",
}


def document(tasks: Tasks, base_path: str) -> Json:
    """The document; `base_path` stands before every path."""
    workflows = list(tasks.workflows.values())
    return {
        "openapi": "3.1.0",
        "info": {"title": _title(workflows), "version": "1", "description": _DESCRIPTION},
        "paths": {f"{base_path}{path}": item for path, item in _paths(workflows, tasks.default).items()},
        "components": {"schemas": _schemas(workflows, tasks.default), "responses": _responses()},
    }


_DESCRIPTION = (
    "Runs workflows. `POST /workflows/runs` with `{\"input\": {...}}` waits for the output; one that streams comes as "
    "server-sent events: default messages are its pieces, then `event: end` or `event: error`. Forms "
    "(`application/x-www-form-urlencoded`, `multipart/form-data` with files) are taken as well, with names such as `input[prompt]`."
)  # fmt: skip


def _title(workflows: Sequence[Workflow]) -> str:
    return ", ".join(one.title for one in workflows) or "composemagic"


# -- paths -------------------------------------------------------------------------------------------------------------------


def _paths(workflows: Sequence[Workflow], default: Workflow | None) -> dict[str, Json]:
    return {
        "/workflows/runs": {"post": _run(workflows, default)},
        "/workflows": {"get": _list()},
        "/workflows/{workflow_id}/schema": {"get": _schema(workflows)},
        "/tasks/{task_id}": {"get": _task()},
        "/tasks/{task_id}/stream": {"get": _stream("stream", "The output as it comes")},
        "/tasks/{task_id}/events": {"get": _stream("events", "Everything a run says, as it says it")},
        "/tasks/{task_id}/resume": {"post": _resume()},
        "/tasks/{task_id}/cancel": {"post": _cancel()},
        "/health": {"get": _operation("health", "Whether the server answers", {200: _json(_ref("Health"))})},
        "/openapi.json": {"get": _operation("openapi", "This document", {200: _json(_OBJECT)})},
    }


def _run(workflows: Sequence[Workflow], default: Workflow | None) -> Json:
    names = [_of(one) for one in workflows] or ["NoRun"]
    body = {"anyOf": [_ref(name) for name in names]} if len(names) > 1 else _ref(names[0])
    answers = {200: _any_output("The run is done: its state, or its output alone.")} | {202: _json(_ref("Task"))}
    found = _operation("run", "Run a workflow", answers, failing=(400, 404, 409, 422, 429, 500, 502, 503, 504))
    return {**found, "requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}


def _list() -> Json:
    asks = [_query("include_schema", "With inputs and outputs.")]
    several = {"type": "array", "items": _ref("Workflow")}
    return _operation("workflows", "The workflows", {200: _json(several)}, asks, failing=(400,))


def _schema(workflows: Sequence[Workflow]) -> Json:
    asks = [{**_in_path("workflow_id"), "examples": {one.id: {"value": one.id} for one in workflows}}]
    return _operation(
        "schema", "What a workflow asks for and gives", {200: _json(_ref("Workflow"))}, asks, failing=(404,)
    )


def _task() -> Json:
    asks = [_in_path("task_id"), _query("output_only", "The output alone.")]
    answers = {200: _any_output("Its state, or its output alone."), 202: _json(_ref("Task"))}
    return _operation("task", "What has become of a task", answers, asks, failing=(400, 404, 409, 422, 500, 502, 504))


def _stream(name: str, summary: str) -> Json:
    number = {"type": "string", "pattern": "^[0-9]{1,15}$"}
    asks = [
        _in_path("task_id"),
        {"name": "last_event_id", "in": "query", "schema": number, "description": "Go on after this message."},
    ]
    answers = {200: {"description": "Messages.", "content": {"text/event-stream": {"schema": _ref("Message")}}}}
    answers[204] = {"description": "There are no more messages."}
    return _operation(name, summary, answers, asks, failing=(400, 404, 409))


def _resume() -> Json:
    answers = {200: _json(_ref("Task"))}
    found = _operation(
        "resume", "Answer what a task asks", answers, [_in_path("task_id")], failing=(400, 404, 409, 429)
    )
    return {**found, "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Answers")}}}}


def _cancel() -> Json:
    return _operation("cancel", "Stop a task", {200: _json(_ref("Task"))}, [_in_path("task_id")], failing=(404, 409))


def _operation(
    name: str, summary: str, answers: dict[int, Json], asks: Iterable[Json] = (), *, failing: Iterable[int] = ()
) -> Json:
    every = {str(status): answer for status, answer in answers.items()}
    every |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in failing}
    every["default"] = {"$ref": "#/components/responses/refused"}
    found: Json = {"operationId": name, "summary": summary, "responses": every}
    return {**found, "parameters": list(asks)} if asks else found


def _query(name: str, description: str) -> Json:
    schema = {"type": "string", "enum": ["true", "false", "1", "0"], "default": "false"}
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _json(schema: Json, description: str = "Done.") -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _any_output(description: str) -> Json:
    kinds: dict[str, Json] = {"application/json": {}, "text/event-stream": {"schema": _ref("Message")}, "*/*": {}}
    return {"description": description, "content": kinds}


def _responses() -> dict[str, Json]:
    told = {"application/json": {"schema": _ref("Refused")}}
    found = {str(status): {"description": words, "content": told} for status, words in _WORDS.items() if status >= 400}
    return {**found, "refused": {"description": "The request is refused.", "content": told}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


# -- schemas -------------------------------------------------------------------------------------------------------------------


def _of(workflow: Workflow) -> str:
    """The name of the schema of a workflow's runs: letters, digits and `.-_` only."""
    safe = "".join(
        char if char.isascii() and (char.isalnum() or char in "-_") else f".{ord(char):x}" for char in workflow.id
    )
    return f"Run.{safe}"


def _schemas(workflows: Sequence[Workflow], default: Workflow | None) -> dict[str, Json]:
    runs = {_of(one): _run_of(one, is_default=one is default) for one in workflows} or {"NoRun": {"not": {}}}
    return {**runs, "Waiting": _WAITING, "Background": _BACKGROUND, **_FIXED}


def _run_of(workflow: Workflow, *, is_default: bool) -> Json:
    """The body of a request for a run of one workflow."""
    name: Json = {"const": workflow.id}
    own = {"anyOf": [name, {"enum": ["", "__default__", None]}]} if is_default else name
    found: Json = {
        "type": "object",
        "title": workflow.title,
        "properties": {"workflow_id": own, **_FIELDS},
        "required": [] if is_default else ["workflow_id"],
        "additionalProperties": False,
        "allOf": [
            {"anyOf": [_ref("Waiting"), _ref("Background")]},
            {"anyOf": [_strict(workflow), _UNCHECKED]},
        ],
    }
    return {**found, **({"description": workflow.description} if workflow.description else {})}


_FIELDS: Json = {
    "input": {"description": "The inputs by name."},
    "session_id": {"type": ["string", "null"], "description": "What the YAML reads as `context.session_id`."},
    "metadata": {"description": "What the YAML reads as `context.metadata`."},
    "wait_for_completion": {"type": "boolean", "default": True},
    "output_only": {"type": "boolean", "default": False, "description": "The output alone is answered."},
    "subscribe_task": {"type": "boolean", "default": False},
    "strict": {"type": "boolean", "default": False, "description": "Check the inputs before the run."},
}
_WAITING: Json = {
    "type": "object",
    "properties": {"wait_for_completion": {"const": True}, "subscribe_task": {"const": False}},
}
_BACKGROUND: Json = {
    "type": "object",
    "properties": {"wait_for_completion": {"const": False}, "output_only": {"const": False}},
    "required": ["wait_for_completion"],
}
_UNCHECKED: Json = {"type": "object", "title": "Unchecked", "properties": {"strict": {"const": False}, "input": {}}}


def _strict(workflow: Workflow) -> Json:
    schema = checked_schema(workflow.inputs)
    needs_input = bool(schema.get("required"))
    given = schema if needs_input or not schema else {"anyOf": [schema, {"type": "null"}]}
    return {
        "type": "object",
        "title": "Strict",
        "properties": {"strict": {"const": True}, "input": given},
        "required": ["strict", "input"] if needs_input else ["strict"],
    }


_POINT: Json = {
    "type": "object",
    "properties": {"id": _TEXT, "job_id": _TEXT, "run_id": _TEXT, "phase": _TEXT, "message": _TEXT, "metadata": {}},
    "required": ["id", "job_id", "run_id", "phase"],
}
_TASK: Json = {
    "type": "object",
    "properties": {
        "task_id": _TEXT,
        "status": {"enum": list(STATUSES)},
        "workflow_id": _TEXT,
        "output": {},
        "error": _TEXT,
        "kind": _TEXT,
        "interrupt": {"type": "array", "items": _POINT},
    },
    "required": ["task_id", "status", "workflow_id"],
}
_VARIABLE: Json = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "type": _TEXT,
        "is_list": {"type": "boolean"},
        "required": {"type": "boolean"},
        "subtype": _TEXT,
        "format": _TEXT,
        "attributes": _OBJECT,
        "options": {"type": "array", "items": _TEXT},
        "bounds": {"type": "object", "additionalProperties": {"type": "number"}},
        "default": {},
        "label": _TEXT,
        "description": _TEXT,
        "repeat_count": {"type": "integer"},
        "variables": {"type": "array", "items": _OBJECT},
    },
}
_VARIABLES: Json = {"type": "array", "items": _ref("Variable")}
_FIXED: dict[str, Json] = {
    "Task": _TASK,
    "Variable": _VARIABLE,
    "Workflow": {
        "type": "object",
        "properties": {
            "workflow_id": _TEXT,
            "title": _TEXT,
            "description": _TEXT,
            "default": {"type": "boolean"},
            "input": _VARIABLES,
            "output": _VARIABLES,
        },
        "required": ["workflow_id"],
    },
    "Answers": {
        "type": "object",
        "description": 'Answers by point: `{"answer": {point: value}}`, or `{"job_id": ..., "answer": value}`; null goes on as it is.',
    },
    "Refused": {
        "type": "object",
        "properties": {
            "detail": {"type": "string", "description": "One sentence for people."},
            "kind": {"type": "string", "description": "One word for programs."},
            "problems": {"type": "object", "additionalProperties": _TEXT},
            "task_id": _TEXT,
            "status": {"enum": list(STATUSES)},
            "workflow_id": _TEXT,
            "error": _TEXT,
            "output": {},
        },
        "required": ["detail", "kind"],
    },
    "Message": {
        "type": "object",
        "description": "A server-sent event. Without `event` its data is a piece of the output; else JSON.",
        "properties": {"data": _TEXT, "event": _TEXT, "id": _TEXT},
        "required": ["data"],
    },
    "Health": {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]},
}
