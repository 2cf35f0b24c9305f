"""The API of a server as an ASGI application: runs, tasks, workflows, health, and the document that describes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from composemagic.api import Workflow
from composemagic.engine.events import Delta
from composemagic.errors import UsageError
from composemagic.server import answers, openai
from composemagic.server.clients import Client, Patience, connected
from composemagic.server.events import EventMessages, Messages, OutputMessages, Raw
from composemagic.server.inputs import check, with_files
from composemagic.server.refusals import Refusal
from composemagic.server.requests import body_of, flag, run_request
from composemagic.server.tasks import Task, Tasks
from composemagic.words import say

__all__ = ["application", "refusing", "routes"]

_CANCEL_SECONDS = 2.0


def application(
    workflows: Sequence[Workflow] = (),
    *,
    base_path: str = "/api",
    tasks: Tasks | None = None,
    patience: Patience | None = None,
    more: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """The API below `base_path` as an ASGI application, to be served on the private loop.

    `tasks` are the runs, made of `workflows` where they are not given. `more` are routes of others, beside these.
    """
    tasks = Tasks(workflows) if tasks is None else tasks
    return refusing(Starlette(routes=[*more, *routes(tasks, base_path=base_path, patience=patience)]))


def routes(tasks: Tasks, *, base_path: str = "/api", patience: Patience | None = None) -> list[BaseRoute]:
    """The API's routes below `base_path`, and the OpenAI-compatible ones there and at the root."""
    below = base_path.rstrip("/")
    api = _Api(tasks, below, patience or Patience())
    doors = openai.routes(tasks)
    if below:
        doors += [Route(below + one.path, one.endpoint, methods=one.methods) for one in doors]
    gets = {
        "/workflows": api.workflows,
        "/workflows/{workflow_id:path}/schema": api.schema,
        "/tasks/{task_id}": api.task,
        "/tasks/{task_id}/stream": api.stream,
        "/tasks/{task_id}/events": api.events,
        "/health": api.health,
        "/openapi.json": api.openapi,
    }
    posts = {"/workflows/runs": api.run, "/tasks/{task_id}/resume": api.resume, "/tasks/{task_id}/cancel": api.cancel}
    found = [Route(below + path, _Answering(endpoint), methods=["GET"]) for path, endpoint in gets.items()]
    found += [Route(below + path, _Answering(endpoint), methods=["POST"]) for path, endpoint in posts.items()]
    return [*doors, *found]


# -- the endpoints -----------------------------------------------------------------------------------------------------------

Endpoint = Callable[[Request, Receive, Send], Awaitable[Response | None]]


class _Answering:
    """An endpoint as an ASGI application: it gives a Response, or None where it has sent its answer itself."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._endpoint(Request(scope, receive, send), receive, send)
        except ClientDisconnect:
            return
        except Refusal as refusal:
            response = answers.refused(refusal)
        if response is not None:
            await response(scope, receive, send)


class _Api:
    def __init__(self, tasks: Tasks, base_path: str, patience: Patience) -> None:
        self.tasks = tasks
        self.base_path = base_path
        self.patience = patience

    # -- runs
    async def run(self, request: Request, receive: Receive, send: Send) -> Response | None:
        asked = await run_request(request)
        workflow = self.tasks.workflow(asked.workflow_id)
        value = {} if asked.input is None else asked.input
        if asked.strict:
            check(workflow, value if asked.is_form else asked.input, is_text=asked.is_form)
        task = self.tasks.start(
            workflow, with_files(workflow, value), session_id=asked.session_id, metadata=asked.metadata
        )
        if not asked.wait_for_completion:
            told = {"task_id": task.id, "status": "pending", "workflow_id": task.workflow_id}
            return answers.json_answer(told, headers={"X-Task-Id": task.id})
        ids = "text/event-stream" in request.headers.get("accept", "")
        return await self._wait(task, receive, send, output_only=asked.output_only, ids=ids)

    async def _wait(self, task: Task, receive: Receive, send: Send, *, output_only: bool, ids: bool) -> Response | None:
        """Answer who started a task and waits for it: it is stopped when they leave, or do not read."""
        response: Response | None = None
        async with connected(task, receive, send, self.patience) as (client, bell):
            try:
                await _decided(task, client, bell)
                if client.gone:
                    return None
                if _is_stream(task):
                    await self._stream(client, task, _messages(task, ids=ids), 0)
                else:
                    response = answers.answer(task, output_only=output_only)
            except asyncio.CancelledError:
                client.gone = True
                raise
            finally:
                if client.gone:
                    self.tasks.drop(task)
        return response

    async def _stream(self, client: Client, task: Task, messages: Messages, after: int) -> None:
        await client.begin(messages.media_type, {"x-task-id": task.id})
        await client.stream(task, messages, after)

    # -- tasks
    async def task(self, request: Request, receive: Receive, send: Send) -> Response | None:
        task = self._task(request)
        if not flag(request, "output_only"):
            return answers.json_answer(answers.state(task), headers={"X-Task-Id": task.id}, task=task)
        if task.ended and _is_stream(task) and task.status == "completed":
            return await self._read(request, _messages(task, ids=True), 0, receive, send)
        return answers.answer(task, output_only=True)

    async def stream(self, request: Request, receive: Receive, send: Send) -> Response | None:
        task = self._task(request)
        return await self._read(request, OutputMessages(task), _last_event_id(request, task), receive, send)

    async def events(self, request: Request, receive: Receive, send: Send) -> Response | None:
        task = self._task(request)
        return await self._read(request, EventMessages(task), _last_event_id(request, task), receive, send)

    async def _read(
        self, request: Request, messages: Messages, after: int, receive: Receive, send: Send
    ) -> Response | None:
        """Answer a reader who did not start the task: it runs on when they leave."""
        task = messages.task
        if task.ended and after and after >= task.log.last:
            return Response(status_code=204, headers={"X-Task-Id": task.id})  # an EventSource comes no more
        if request.method == "HEAD":
            return Response(headers={"X-Task-Id": task.id, "Cache-Control": "no-cache"}, media_type=messages.media_type)
        async with connected(task, receive, send, self.patience) as (client, _):
            await self._stream(client, task, messages, after)
        return None

    async def resume(self, request: Request, receive: Receive, send: Send) -> Response | None:
        given = await body_of(request)
        task = self._task(request)
        try:
            goes_on = self.tasks.resume(task, given or None)
        except UsageError as error:
            raise Refusal(400, "answer", str(error.args[0])) from None
        told = {"status": "processing"} if goes_on else {}
        return answers.json_answer({**answers.state(task), **told}, task=task)

    async def cancel(self, request: Request, receive: Receive, send: Send) -> Response | None:
        task = self._task(request)
        self.tasks.cancel(task)
        with contextlib.suppress(TimeoutError), task.bell() as bell:
            async with asyncio.timeout(_CANCEL_SECONDS):
                while not task.ended:
                    await bell.wait()
                    bell.clear()
        return answers.json_answer(answers.state(task), task=task)

    def _task(self, request: Request) -> Task:
        return self.tasks.find(request.path_params["task_id"])

    # -- workflows
    async def workflows(self, request: Request, receive: Receive, send: Send) -> Response | None:
        told = answers.schema if flag(request, "include_schema") else answers.summary
        return answers.json_answer([told(one) for one in self.tasks.workflows.values()])

    async def schema(self, request: Request, receive: Receive, send: Send) -> Response | None:
        found = self.tasks.workflows.get(request.path_params["workflow_id"])
        if found is None:
            raise Refusal(404, "not_found", say("Workflow not found."))
        return answers.json_answer(answers.schema(found))

    async def openapi(self, request: Request, receive: Receive, send: Send) -> Response | None:
        from composemagic.server.openapi import document

        return answers.json_answer(document(self.tasks, self.base_path))

    async def health(self, request: Request, receive: Receive, send: Send) -> Response | None:
        return answers.json_answer({"status": "ok"})


async def _decided(task: Task, client: Client, bell: asyncio.Event) -> None:
    """Wait until it is known how a task is answered: it streams, it has ended, it asks people; or nobody waits any more."""
    while not (client.gone or task.streams or task.ended or task.status == "interrupted"):
        await bell.wait()
        bell.clear()


def _is_stream(task: Task) -> bool:
    return task.streams or (task.run is not None and task.run.is_stream and task.status == "completed")


def _messages(task: Task, *, ids: bool) -> Messages:
    """How an output that is a stream is written: bytes as bytes, all else as events."""
    first = next((event.value for _, event in task.log.after(0) if type(event) is Delta and not event.path), None)
    return Raw(task) if isinstance(first, bytes) else OutputMessages(task, ids=ids)


def _last_event_id(request: Request, task: Task) -> int:
    """The number after which a reader goes on. Raises Refusal: 400, or 409 for one that no message has yet."""
    text = request.headers.get("last-event-id") or request.query_params.get("last_event_id", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Refusal(
            400, "last_event_id", say("Last-Event-ID is the number of a message, not `{text}`", text=text[:40])
        )
    if int(text) > task.log.last and not task.ended:
        raise Refusal(409, "last_event_id", say("this run has no message {number} yet; it has {last}", number=int(text), last=task.log.last))  # fmt: skip
    return int(text)


# -- what is answered where no endpoint answers ----------------------------------------------------------------------------------


def refusing(app: Starlette) -> Starlette:
    """The application with its refusals as JSON with a sentence: an unknown path, another method, what breaks."""
    app.router.redirect_slashes = False  # an address that was made of the request's own words
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _broken)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "not_found", 405: "method"}.get(error.status_code, "request")
    return answers.refused(Refusal(error.status_code, kind, error.detail, headers=error.headers))


async def _broken(request: Request, error: Exception) -> Response:
    return answers.refused(Refusal(500, "internal", say("Something broke while this request was answered.")))
