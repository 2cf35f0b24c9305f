"""A workflow of one request as a curl call: the request that a run would send, its keys as variables of the shell."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

from composemagic.components.http.request import request_of
from composemagic.errors import ComposeError, RunError, UsageError
from composemagic.language.findings import Hole, RenderError
from composemagic.language.secret import is_secret
from composemagic.language.template import Template
from composemagic.transport.http import Request
from composemagic.words import say
from composemagic.workflow.component import Action
from composemagic.workflow.job import ComponentJob
from composemagic.workflow.plan import Plan
from composemagic.workflow.streaming import streaming_key

__all__ = ["written"]

# inside double quotes a shell looks at these
_OBEYED = re.compile(r"[$`\"\\!\n]")
_RESERVED = "%:/?#[]@!$&'()*+,;="  # RFC 3986, 2.2: what means something in a URL is written already


def written(plan: Plan, value: Any, env: Mapping[str, str]) -> str:
    """The curl call of the workflow's one request for an input. Raises UsageError for what curl alone cannot do."""
    job = _only_job(plan)
    marks = _Marks(job, env)
    try:
        given = value if job.input is None else job.input.render({"input": value, "env": marks.env, "context": {}})
        request = asyncio.run(request_of(job.action, _Dry(given, marks.env)))  # type: ignore[arg-type]
    except RenderError as error:
        raise UsageError(error.sentence) from None
    except RunError as error:
        raise UsageError(error.sentence) from None
    except ComposeError:
        raise
    except Exception as error:  # what has to be loaded or streamed first
        raise UsageError(say("the request cannot be made without a run: {reason}", reason=error)) from None
    lines = _lines(request, marks.word, streams=_streams(plan, job.action))
    return " \\\n  ".join(lines) + "\n"


def _only_job(plan: Plan) -> ComponentJob:
    if len(plan.jobs) != 1:
        raise UsageError(
            say("a curl call is one request, and this workflow has {count} jobs; try --as python", count=len(plan.jobs))
        )
    job = plan.jobs[0]
    if not isinstance(job, ComponentJob):
        raise UsageError(say("a curl call is one request, and the job `{job}` is of `type: {type}`", job=job.id, type=job.kind))  # fmt: skip
    kind = job.action.component.type
    if kind != "http-client":
        raise UsageError(say("only an http-client sends a request that curl can send, not `type: {type}`", type=kind))
    if any(key.startswith("completion") for key in job.action.fields):
        raise UsageError(say("a curl call is one request, and `completion` waits for the result of another"))
    return job


def _streams(plan: Plan, action: Action) -> bool:
    body = plan.written((*action.path, "body"))
    return action.per_chunk or "stream_format" in action.fields or streaming_key(body) is not None


class _Marks:
    """Stands for the variables that must not be written: a word for each, which becomes `$NAME` in the end.

    Secrets, and what is not set and has no default. Other variables have their value.
    """

    def __init__(self, job: ComponentJob, env: Mapping[str, str]) -> None:
        self._word = f"zz{secrets.token_hex(8)}"
        self.env: dict[str, str] = {}
        for hole in _variables(job):
            name, value = hole.reference.path_text, env.get(hole.reference.path_text)
            is_hidden = is_secret(name, value or "")
            if value is not None and not is_hidden:
                self.env[name] = value
            elif value is not None or hole.reference.default is None:
                _refuse_change(hole)
                self.env[name] = f"{self._word}_{name}_{self._word}"

    def word(self, text: str) -> str:
        """A word of the command, quoted so that the shell fills in these variables and nothing else."""
        parts = re.split(rf"{self._word}_(\w+?)_{self._word}", text)
        if len(parts) == 1:
            return shlex.quote(text)
        literals, names = parts[::2], parts[1::2]
        if not any(_OBEYED.search(literal) for literal in literals):
            named = [
                f"${{{name}}}" if after[:1].isalnum() or after[:1] == "_" else f"${name}"
                for name, after in zip(names, literals[1:], strict=True)
            ]
            return f'"{literals[0]}{"".join(map("".join, zip(named, literals[1:], strict=True)))}"'
        pieces = [shlex.quote(part) if at % 2 == 0 else f'"${part}"' for at, part in enumerate(parts) if part]
        return "".join(pieces)


def _variables(job: ComponentJob) -> Iterator[Hole]:
    templates = (*job.action.settings.values(), *job.action.fields.values(), *([job.input] if job.input else []))
    return (hole for template in templates for hole in template.holes if hole.reference.source == "env")


def _refuse_change(hole: Hole) -> None:
    cast = hole.reference.cast
    if cast is not None and cast.type not in ("text", "string", "str"):
        raise UsageError(say("a variable of the shell cannot be cast: `{reference}`", reference=hole.reference))


class _Dry:
    """What a request asks of a run while it is made, without a run: no secret is closed, nothing is sent."""

    wants_local = False

    def __init__(self, value: Any, env: Mapping[str, str]) -> None:
        self._scope = {"input": value, "env": env, "context": {"run_id": "run"}}

    async def render(self, template: Template | None, more: Mapping[str, Any] | None = None) -> Any:
        """Fill a template."""
        return None if template is None else template.render({**self._scope, **(more or {})})

    sealed = render

    async def open(self, url: Any, headers: Mapping[str, Any], body: Any = None) -> tuple[str, dict[str, Any], Any]:
        """The parts of the request as they are."""
        return url, dict(headers), body

    def file(self, path: str) -> NoReturn:
        """No file is read."""
        raise UsageError(say("the body sends the file `{path}`; write that call by hand, with curl's -F", path=path))


# -- the words of the command ----------------------------------------------------------------------------------------------


def _lines(request: Request, word: Callable[[str], str], *, streams: bool) -> Iterator[str]:
    usual = "GET" if request.content is None else "POST"
    method = ["--head"] if request.method == "HEAD" else ["-X", request.method]
    options = [*(["-N"] if streams else []), *(method if request.method != usual else [])]
    url = quote(request.url, safe=_RESERVED)
    globbing = ["-g"] if "[" in url else []  # or curl counts through what is in brackets
    yield " ".join(["curl", *options, *globbing, word(url)])
    for name, value in request.headers.items():
        yield f"-H {word(f'{name}: {value}' if value else f'{name};')}"
    if request.content is not None:
        yield f"--data-raw {word(_text(request))}"


def _text(request: Request) -> str:
    """The body as a word of the command; JSON over several lines. Raises UsageError for what is no text."""
    content = request.content
    try:
        text = content.decode() if isinstance(content, bytes) else None
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        raise UsageError(say("the body holds bytes, which cannot stand in a command; write that call by hand"))
    if "json" not in _content_type(request.headers.items()):
        return text
    return json.dumps(json.loads(text), ensure_ascii=False, indent=2)


def _content_type(headers: Iterable[tuple[str, str]]) -> str:
    return next((value.lower() for name, value in headers if name.lower() == "content-type"), "")
