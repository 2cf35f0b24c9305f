"""The web page: its files, what its forms ask for, a run as it is shown, and what people answer.

    GET  /                               the page
    GET  /page/{file}                    its style sheet and modules
    GET  {base}/page                     the forms and the page's words, in the language of `?language=`
    GET  {base}/tasks/{id}/page          a run as messages (page_stream.py)
    POST {base}/tasks/{id}/page/answer   answers to what a run asks
    POST {base}/page/rendered            an earlier answer as HTML again: the page keeps text and no HTML

The page starts and stops runs through the API beside it. `spoken` is what makes a request speak the page's language.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from composemagic.errors import UsageError
from composemagic.notebook.markdown import render
from composemagic.notebook.questions import edited, still_open
from composemagic.notebook.tree import tree
from composemagic.server.answers import refused
from composemagic.server.page_forms import form_of, page_words
from composemagic.server.page_stream import NO_JOBS, Shown, message, unbegun, unstyled
from composemagic.server.refusals import Refusal
from composemagic.server.requests import body_of
from composemagic.text import plain
from composemagic.words import LANGUAGES, language, say, speaking

if TYPE_CHECKING:
    from composemagic.engine.run import Run
    from composemagic.server.tasks import Task, Tasks

Endpoint = Callable[[Request], Awaitable[Response]]

__all__ = ["POLICY", "routes", "spoken"]

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types compose"
)
"""The content policy of the page. `data:` and `blob:` are for images, sounds and films of an answer and of a file that is
picked: nothing in these can run. Trusted Types: only dom.js makes HTML of a text."""

_FOLDER = Path(__file__).parent / "page"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".html": "text/html"}
_LANGUAGE_NAMES = {"en": "English", "zh": "中文"}
_MOST_RENDERED = 60_000  # characters: what the page keeps of an earlier answer is less
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def routes(tasks: Tasks, *, base_path: str = "/api", most_bytes: int = 2**20) -> list[Route]:
    """The page's routes, for the workflows of `tasks`; `most_bytes` is what one request may hold."""
    page = _Page(tasks, base_path, most_bytes)
    return [
        Route("/", page.index),
        Route("/page/{name}", _telling(page.file)),
        Route(f"{base_path}/page", page.forms),
        Route(f"{base_path}/page/rendered", _telling(page.rendered), methods=["POST"]),
        Route(f"{base_path}/tasks/{{task_id}}/page", _telling(page.stream)),
        Route(f"{base_path}/tasks/{{task_id}}/page/answer", _telling(page.answer), methods=["POST"]),
    ]


def spoken(app: ASGIApp) -> ASGIApp:
    """The application, speaking the language that a request asks for with `?language=`; runs that it starts speak it too."""

    async def speaks(scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        wanted = query.get("language", [""])[0]
        with speaking(wanted if wanted in LANGUAGES else None):
            await app(scope, receive, send)

    return speaks


class _Page:
    """The answers to the page's requests."""

    def __init__(self, tasks: Tasks, base_path: str, most_bytes: int) -> None:
        self._tasks = tasks
        self._base_path = base_path
        self._most_bytes = most_bytes

    async def index(self, request: Request) -> Response:
        text = _read("index.html").decode().replace("{base_path}", html.escape(self._base_path))
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return _cached(request, text.encode(), "text/html", headers)

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _names():
            raise Refusal(404, "not_found", say("there is no file `{path}`", path=name))
        return _cached(request, _read(name), _TYPES[Path(name).suffix], {})

    async def forms(self, request: Request) -> Response:
        data = {
            "language": language(),
            "languages": {name: _LANGUAGE_NAMES.get(name, name) for name in LANGUAGES},
            "words": page_words(),
            "most_bytes": self._most_bytes,
            "default": "" if self._tasks.default is None else self._tasks.default.id,
            "workflows": [form_of(workflow, name) for name, workflow in self._tasks.workflows.items()],
        }
        return _json(data)

    async def rendered(self, request: Request) -> Response:
        """What an earlier run gave, as HTML: `{"value": ...}`."""
        value = (await body_of(request)).get("value")
        made = render(value[:_MOST_RENDERED]) if isinstance(value, str) else tree(value)
        return _json({"html": unstyled(made)})

    async def stream(self, request: Request) -> Response:
        task = self._tasks.find(request.path_params["task_id"])
        return StreamingResponse(_messages(task), media_type="text/event-stream", headers=_STREAM_HEADERS)

    async def answer(self, request: Request) -> Response:
        """`{"answers": {point id: text, or null to go on as it is}}`; 422 with `problems` by point id, and none is answered."""
        task = self._tasks.find(request.path_params["task_id"])
        texts = (await body_of(request)).get("answers")
        if task.run is None or not isinstance(texts, dict):
            raise Refusal(400, "input", say("this is no JSON object with `answers`"))
        answers, problems = _read_answers(task.run, texts)
        if problems:
            raise Refusal(422, "input", "; ".join(problems.values()), problems=problems)
        try:
            self._tasks.resume(task, still_open(task.run, answers))
        except UsageError as error:
            raise Refusal(409, "usage", str(error.args[0])) from None
        return _json({"answered": list(answers)})


async def _messages(task: Task) -> AsyncIterator[bytes]:
    """What a task says: that it waits for its turn, and then its run."""
    about = {"task": task.id, "workflow": task.workflow_id, "title": plain(task.workflow.title)}
    if task.run is None and not task.ended:
        yield message("begin", {**about, "elapsed": 0})
        yield message("head", {"status": "pending", "words": say("waits for its turn"), "waits": [], **NO_JOBS})
    run = await task.begun()
    if run is None:
        yield message("begin", {**about, "elapsed": 0})
        yield message("end", unbegun(task.error))
        return
    async for one in Shown(run, about).messages():
        yield one


def _read_answers(run: Run, texts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the texts mean for the points that are open, and what is wrong with them."""
    answers: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for point in run.points:
        if point.id not in texts:
            continue
        text = texts[point.id]
        try:
            answers[point.id] = edited(run, point, text) if isinstance(text, str) else None
        except ValueError as error:
            problems[point.id] = str(error)
        except RecursionError:
            problems[point.id] = say("it is nested too deep")
    return answers, problems


# -- answers -------------------------------------------------------------------------------------------------------------


@cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in _FOLDER.iterdir() if path.suffix in (".css", ".js", ".svg"))


@cache
def _read(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


def _cached(request: Request, body: bytes, kind: str, headers: Mapping[str, str]) -> Response:
    """A file that a browser keeps and asks for again, by its ETag (RFC 9110, 8.8.3)."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    told = {**headers, "ETag": etag, "Cache-Control": "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=told)
    return Response(body, media_type=kind, headers=told)


def _telling(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose refusals are answers, wherever its route is mounted."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            return refused(refusal)

    return answer


def _json(data: Mapping[str, Any]) -> Response:
    return JSONResponse(data, headers={"Cache-Control": "no-store"})
