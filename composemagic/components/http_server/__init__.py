"""`type: http-server`: a local server, such as vLLM, llama-server or Ollama, that is started when it is first needed.

    component:
      type: http-server
      start: [python, -m, http.server, "8123", --bind, 127.0.0.1]
      port: 8123
      health: {path: /, timeout: 30s}
      action:
        path: /
        method: GET
        output: ${response}

Python has to allow it, since YAML alone must not start a process: `composemagic.allow("http-server")`. The first action
starts the command (a list of words; no shell reads it) and waits until the server answers: any answer at all, or a success
at `health.path`, for at most `health.timeout` (300 s; a model takes its time). Then each action is a request to
`http://127.0.0.1:PORT/BASE_PATH`, in everything like one of an http-client: headers, body, streams, timeouts, errors.

The server is kept for the next run, and workflows that say the same of it share it. It ends, with everything that it started,
when the last of them is gone, when another workflow wants its port, and when Python ends, killed too. `install`, `build` and
`clean` of model-compose are not run. Its working folder is that of the document, or `manage.working_dir` below it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from composemagic.components.given import Given, holds_template, seconds
from composemagic.components.http.settings import HttpSettings
from composemagic.components.http_client import HttpClient
from composemagic.components.http_server.process import Launch, serving
from composemagic.errors import RunError
from composemagic.language.template import compile_template
from composemagic.transport.http import Request, Timeouts, new_client, send
from composemagic.words import say
from composemagic.workflow import schema
from composemagic.workflow.component import Action, Context, Settings, SettingsModel

__all__ = ["HttpServer"]

_PORT = 8000
_START_SECONDS = 300.0
_NOT_RUN = ("install", "build", "clean")
_NOT_YET = frozenset({"connect", "connection_lost", "timeout_connect", "timeout_read", "protocol"})


class Health(Settings):
    """`path`: where a success says that the server is ready; `timeout`: how long it may take to start, 300 s without it."""

    path: str | None = None
    timeout: Any = None


class Scripts(Settings):
    """`start`: the command, a list of words; `install`, `build` and `clean` are read and not run."""

    start: list[Any] | None = None
    install: Any = None
    build: Any = None
    clean: Any = None


class Manage(Scripts):
    """`working_dir`: the folder the command runs in; `env`: variables it is given besides ours; `scripts`: the commands."""

    scripts: Scripts | None = None
    working_dir: str | None = None
    env: dict[str, Any] | None = None


class HttpServerSettings(Scripts, HttpSettings):
    """`port`: where the server listens, 8000 without it; `base_path`: what every path begins with."""

    port: Any = None
    base_path: str | None = None
    manage: Manage | None = None
    health: Health | None = None


# all that an http-client says of its server, but for the address, which is ours
HttpServerSettings.model_fields = {
    key: kind
    for key, kind in {**HttpSettings.model_fields, **HttpServerSettings.model_fields}.items()
    if key != "base_url"
}


class HttpServer(HttpClient):
    """Starts a server and sends it requests. Sources for `output` as for an http-client: `response`, `response[]`."""

    type: ClassVar[str] = "http-server"
    text_fields: ClassVar[frozenset[str]] = HttpClient.text_fields | {"base_path"}
    settings: ClassVar[SettingsModel] = HttpServerSettings

    @classmethod
    def not_run(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
        """A server in a container."""
        runtime = settings.get("runtime")
        kind = runtime.get("type") if isinstance(runtime, Mapping) else runtime
        if kind in (None, "native", "process", "embedded"):
            return None
        return say(
            "`runtime: {kind}` is not run by composemagic; start the server yourself and ask it with an http-client",
            kind=kind,
        )

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        if "endpoint" in action:
            yield say("an http-server action has a `path`, below the server's own address"), "endpoint"
        if not _written_start(settings):
            yield say("an http-server needs `start`, its command as a list, such as [ollama, serve]"), "start"
        port = settings.get("port")
        if (
            port is not None
            and not holds_template(port)
            and (not str(port).isdecimal() or not 0 < int(str(port)) < 65536)
        ):
            yield say("`port` is a number from 1 to 65535, not {port}", port=schema.kind(port)), "port"
        yield from super().faults({**settings, "base_url": "http://127.0.0.1"}, action)

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Have the server run, send it the action's request and yield what comes back. Raises RunError."""
        context.demand("http-server")
        given = Given(replace(action, fields={}), context)
        settings = {key: await given.get(key) for key in _OWN}
        launch = _launch(settings, context)
        health = settings["health"] or {}
        timeout = seconds(health.get("timeout") or _START_SECONDS, "health.timeout")
        address = f"http://127.0.0.1:{launch.port}"
        path = health.get("path")

        async def answers() -> bool:
            return await _answers(f"{address}/{str(path or '').lstrip('/')}", context, must_succeed=bool(path))

        def tell() -> None:
            context.note(say("starting `{command}` at port {port}", command=launch.command[0], port=launch.port))
            for name in (name for name in _NOT_RUN if _script(settings, name)):
                context.note(
                    say("`{name}` of an http-server is not run by composemagic; run it once yourself", name=name)
                )

        base = "/".join([address, str(settings.get("base_path") or "").strip("/")]).rstrip("/").replace("$", "%24")
        request = replace(action, settings={**action.settings, "base_url": compile_template(base)})
        async with (
            serving(launch, self, answers, timeout, tell),
            aclosing(super().run(request, context)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk


_OWN = frozenset({*Scripts.model_fields, "port", "base_path", "manage", "health"})


def _launch(settings: Mapping[str, Any], context: Context) -> Launch:
    manage = settings.get("manage") or {}
    command = _script(settings, "start")
    if not isinstance(command, list) or not command or any(isinstance(word, dict | list | None) for word in command):
        raise RunError("input", say("`start` is a list of words, such as [ollama, serve]"))
    folder = context.file(str(manage.get("working_dir") or "."))
    env = {str(key): _word(value) for key, value in (manage.get("env") or {}).items() if value is not None}
    port = settings.get("port")
    try:
        number = int(str(_PORT if port is None else port))
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise RunError("input", say("`port` is a number from 1 to 65535, not {port}", port=schema.kind(port)))
    return Launch(tuple(map(_word, command)), str(Path(folder)), tuple(sorted(env.items())), number)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _script(settings: Mapping[str, Any], name: str) -> Any:
    """A command in each of the places where the language has it."""
    manage = settings.get("manage") or {}
    places = (settings, manage, manage.get("scripts") or {})
    return next((place[name] for place in places if place.get(name)), None)


def _written_start(settings: Mapping[str, Any]) -> bool:
    manage = settings.get("manage")
    if isinstance(manage, dict) and not isinstance(manage.get("scripts") or {}, dict):
        return True  # that mistake is drawn
    return bool(_script({**settings, "manage": manage if isinstance(manage, dict) else {}}, "start"))


async def _answers(url: str, context: Context, *, must_succeed: bool) -> bool:
    """Whether the server answers a GET: with success, or at all."""
    way = context.transport if context.transport is not None else context.shared("http", new_client)
    try:
        async with send(
            way, Request("GET", url, {"connection": "close"}, listed=True), Timeouts(connect=2.0, read=5.0, total=10.0)
        ):
            return True
    except RunError as error:
        return not must_succeed and error.kind not in _NOT_YET
