"""The door for OpenAI's clients: `POST /v1/chat/completions`, `GET /v1/models`. Each public workflow that can be asked by a chat is a model.

What a request gives to which input stands in request.py, how the answer is written in answer.py. An answer is never to be
asked for again by the client itself (`X-Should-Retry`): what makes sense to be tried again, the run has tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from composemagic.api import Workflow
from composemagic.server.openai.errors import Misasked, refused
from composemagic.server.openai.reply import Streamed, Whole
from composemagic.server.openai.request import is_chat, values_of
from composemagic.server.refusals import Refusal
from composemagic.server.requests import body_of
from composemagic.server.tasks import Tasks
from composemagic.words import listing, say

__all__ = ["routes"]

Json = dict[str, Any]


def routes(tasks: Tasks) -> list[Route]:
    """The routes below a server's root, or below its base path."""
    door = _Door(tasks)
    return [
        Route("/v1/chat/completions", _answered(door.complete), methods=["POST"]),
        Route("/v1/models", _answered(door.models), methods=["GET"]),
        Route("/v1/models/{name:path}", _answered(door.model), methods=["GET"]),
    ]


def _answered(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint with its refusals in OpenAI's words."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as error:
            return JSONResponse(refused(error), error.status, headers=error.headers)

    return answer


class _Door:
    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    @property
    def _models(self) -> Mapping[str, Workflow]:
        return {name: one for name, one in self._tasks.workflows.items() if is_chat(one.inputs)}

    async def models(self, request: Request) -> Response:
        """All of them."""
        return JSONResponse({"object": "list", "data": [_model(name) for name in self._models]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["name"]
        self._named(name)
        return JSONResponse(_model(name))

    async def complete(self, request: Request) -> Response:
        """An answer, whole or as a stream."""
        body = await body_of(request)
        name = body.get("model")
        if not isinstance(name, str):
            raise Misasked(say("`model` is missing: the id of a workflow; there is {known}", known=self._known()), param="model")  # fmt: skip
        workflow = self._named(name)
        is_stream, counts = _wants_stream(body)
        facts = body.get("metadata")
        task = self._tasks.start(workflow, values_of(body, workflow.inputs), metadata=facts)
        return Streamed(self._tasks, task, name, counts=counts) if is_stream else Whole(self._tasks, task, name)

    def _named(self, name: str) -> Workflow:
        """The workflow of an id. Raises Misasked (404) that names those there are."""
        found = self._models.get(name)
        if found is None:
            sentence = say("there is no model `{name}`; there is {known}", name=name, known=self._known())
            if name in self._tasks.workflows:
                sentence = say(
                    "the workflow `{name}` asks for no prompt; there is {known}", name=name, known=self._known()
                )
            raise Misasked(sentence, param="model", code="model_not_found", status=404)
        return found

    def _known(self) -> str:
        return listing(f"`{name}`" for name in self._models) or say("none that a chat can ask")


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "composemagic"}


def _wants_stream(body: Json) -> tuple[bool, bool]:
    """Whether the answer is a stream, and whether the stream ends with the tokens."""
    stream, options = body.get("stream"), body.get("stream_options")
    if not isinstance(stream, bool | None):
        raise Misasked(say("`stream` is true or false"), param="stream")
    if not isinstance(options, dict | None):
        raise Misasked(say("`stream_options` is an object"), param="stream_options")
    return stream is True, bool((options or {}).get("include_usage"))
