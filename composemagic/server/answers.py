"""What a request is answered where the answer is no stream: JSON, the bytes of a file, a refusal."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from composemagic.api import Workflow
from composemagic.engine.events import Point
from composemagic.errors import InputError, RunError
from composemagic.language.formats import Media
from composemagic.language.secret import SHOWN, Secret
from composemagic.server.refusals import Refusal, status_of
from composemagic.server.tasks import Task
from composemagic.text import clean
from composemagic.words import say
from composemagic.workflow.inputs import Input
from composemagic.workflow.outputs import Output
from composemagic.workflow.variable import Variable

__all__ = [
    "answer",
    "described",
    "failure",
    "json_answer",
    "json_text",
    "point",
    "refused",
    "schema",
    "state",
    "summary",
]


# what a browser shows and does not run: an SVG may hold scripts
_SHOWABLE = re.compile(r"(?!image/svg)(?:image|audio|video|model)/[a-z0-9.+-]+")


def json_text(value: Any, task: Task | None = None) -> str:
    """A value as JSON, without the secrets of a task's run. Bytes are base64. Raises ValueError for NaN and Infinity."""
    text = clean(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_other))
    run = None if task is None else task.run
    return run.redact(text) if run is not None and run.redact.finds(text) else text


def _other(value: Any) -> Any:
    """What stands in JSON for what JSON has no word for."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return SHOWN if isinstance(value, Secret) else str(value)


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, task: Task | None = None
) -> Response:
    """A JSON answer; an output that JSON cannot write is a 500 with a sentence."""
    try:
        body = json_text(value, task).encode()
    except (ValueError, RecursionError):
        return refused(Refusal(500, "output", say("The output cannot be written as JSON.")))
    return Response(body, status, headers, "application/json")


def refused(refusal: Refusal) -> Response:
    """What a refused request is answered."""
    problems = {"problems": dict(refusal.problems)} if refusal.problems else {}
    return json_answer({"detail": refusal.message, "kind": refusal.kind, **problems}, refusal.status, refusal.headers)


# -- tasks -----------------------------------------------------------------------------------------------------------------


def answer(task: Task, *, output_only: bool) -> Response:
    """What has become of a task, for who waited for it: its state, or its output alone; 200 only where it did not fail."""
    headers = {"X-Task-Id": task.id}
    if task.status == "completed":
        assert task.run is not None
        output = task.run.output
        if isinstance(output, bytes):
            return file_answer(output, headers)
        return json_answer(output if output_only else state(task), 200, headers, task)
    if task.ended:
        return json_answer(_failed(task, output_only=output_only), _status(task), headers, task)
    return json_answer(state(task), 202 if output_only else 200, headers, task)


def file_answer(data: bytes, headers: Mapping[str, str]) -> Response:
    """Bytes as they are."""
    kind = data.content_type.lower() if isinstance(data, Media) else ""
    shown = kind if _SHOWABLE.fullmatch(kind) else "application/octet-stream"
    return Response(bytes(data), 200, {**headers, "Cache-Control": "no-cache"}, shown)


def state(task: Task) -> dict[str, Any]:
    """A task: what has become of it, its output or its error."""
    found: dict[str, Any] = {"task_id": task.id, "status": task.status, "workflow_id": task.workflow_id}
    error = failure(task)
    if error is not None:
        found |= {"error": error.sentence, "kind": error.kind}
    if task.ended and task.run is not None and (task.status == "completed" or task.run.output is not None):
        found["output"] = task.run.output
    if task.status == "interrupted":
        found["interrupt"] = [point(one) for one in task.points]
    return found


def failure(task: Task) -> RunError | None:
    """Why a task that has ended has no whole output."""
    if task.status == "cancelled":
        return RunError("stopped", say("The run was stopped."))
    return task.failure


def point(one: Point) -> dict[str, Any]:
    """Where a task waits for a person."""
    found = {"id": one.id, "job_id": one.job_id, "run_id": one.run_id, "phase": one.phase}
    more = {"message": one.message, "metadata": one.metadata}
    return {**found, **{key: value for key, value in more.items() if value is not None}}


def _failed(task: Task, *, output_only: bool) -> dict[str, Any]:
    error = failure(task)
    assert error is not None
    problems = {"problems": error.problems} if isinstance(error, InputError) else {}
    told = {"task_id": task.id} if output_only else state(task)
    return {**told, "detail": error.sentence, "kind": error.kind, **problems}


def _status(task: Task) -> int:
    error = failure(task)
    return 200 if error is None else status_of(error)


# -- workflows ---------------------------------------------------------------------------------------------------------------


def summary(workflow: Workflow) -> dict[str, Any]:
    """A workflow in a list."""
    return {"workflow_id": workflow.id, **_words(workflow, "title"), **_marked_default(workflow)}


def schema(workflow: Workflow) -> dict[str, Any]:
    """What a workflow asks for and gives."""
    return {
        "workflow_id": workflow.id,
        **_words(workflow, "title", "description"),
        "input": [described(one) for one in workflow.inputs],
        "output": [described(one) for one in workflow.outputs],
        **_marked_default(workflow),
    }


def _words(workflow: Workflow, *names: str) -> dict[str, str]:
    """What the YAML itself says."""
    plan = workflow.plan
    return {name: str(text) for name in names if (text := plan.written((*plan.path, name)))}


def _marked_default(workflow: Workflow) -> dict[str, bool]:
    plan = workflow.plan
    return {"default": True} if plan.written((*plan.path, "default")) is True else {}


def described(one: Variable) -> dict[str, Any]:
    """An input or output: its name and type, and what else is known of it."""
    if isinstance(one, Output) and one.repeat_count is not None:
        inner = [described(each) for each in one.variables]
        return {**_named(one), "variables": inner, "repeat_count": one.repeat_count}
    found: dict[str, Any] = {**_named(one), "type": one.type, "is_list": one.is_list, **_of_cast(one)}
    if one.options:
        found["options"] = list(one.options)
    if one.bounds:
        found["bounds"] = dict(zip(("min", "max", "step"), one.bounds, strict=False))
    if one.has_default and one.default is not None:
        found["default"] = one.default
    words = {"label": one.label, "description": one.description}
    found |= {key: text for key, text in words.items() if text}
    return {**found, "required": one.required} if isinstance(one, Input) else found


def _named(one: Variable) -> dict[str, str]:
    return {"name": one.name} if one.name else {}


def _of_cast(one: Variable) -> dict[str, Any]:
    cast = one.cast
    if cast is None:
        return {}
    said = {"subtype": cast.subtype, "format": cast.format, "attributes": dict(cast.attrs)}
    return {key: value for key, value in said.items() if value}
