"""`listener: {type: http-callback}`: a port where services report that a job is done, which completes the runs that wait for it.

    listener:
      type: http-callback
      port: 8090
      base_path: /callbacks
      path: /chat-ready
      identify_by: ${body.task_id}
      status: ${body.status}
      success_when: [completed]
      fail_when: failed
      result: ${body.choices}

An http-client's action waits for it with `completion: {type: callback, wait_for: ${response.task_id}}`. `callbacks` holds
several paths. With `bulk: true` a callback is a list of results, the body itself or what `item` takes from it; `body` is then
the one result. What the templates read is `body`, `query`, `item` and `env`. `host` is not taken from a document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from composemagic.engine.loop import private_loop
from composemagic.errors import DocumentError, Mistake, RunError
from composemagic.language.casts import to_text
from composemagic.language.findings import Findings, Flaw, RenderError
from composemagic.language.template import Template, compile_template, unknown_source
from composemagic.server import answers
from composemagic.server.refusals import Refusal
from composemagic.server.requests import body_of, media_type
from composemagic.transport.callbacks import Callbacks
from composemagic.words import listing, say
from composemagic.workflow import schema
from composemagic.workflow.component import Settings
from composemagic.workflow.plan import Plan

__all__ = ["Listener", "listeners_of"]

Path = tuple[str | int, ...]

_TYPE = "http-callback"
_LATER = ("http-trigger",)  # the peer's, which composemagic does not run
_PORT = 8090
_ANYBODY = "__callback__"  # the id of a callback that names none
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
_SOURCES = ("body", "query", "item", "env")
_TEMPLATES = ("item", "identify_by", "status", "success_when", "fail_when", "result")


class CallbackSettings(Settings):
    """One path where callbacks come."""

    path: str
    method: str | None = None
    bulk: bool = False
    item: Any = None
    identify_by: Any = None
    status: Any = None
    success_when: Any = None
    fail_when: Any = None
    result: Any = None


class ListenerSettings(Settings):
    """A port for callbacks. `runtime` and `max_concurrent_count` are read and not used."""

    id: str | None = None
    name: str | None = None
    type: str
    runtime: Any = None
    max_concurrent_count: Any = None
    host: Any = None
    port: schema.Port | None = None
    base_path: str | None = None
    callbacks: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """A path where callbacks come, and what they say."""

    path: str
    method: str
    bulk: bool
    parts: Mapping[str, Template]

    def said(self, name: str, scope: Mapping[str, Any]) -> Any:
        """What a template gives; null where there is none."""
        part = self.parts.get(name)
        return None if part is None else part.render(dict(scope))


@dataclass(frozen=True, slots=True)
class Listener:
    """A port and what is heard there. `env` are the variables its templates may name."""

    port: int
    base_path: str
    callbacks: tuple[Callback, ...]
    env: Mapping[str, str]

    def routes(self) -> list[BaseRoute]:
        """The paths, to be served on the private loop, where the runs wait."""
        several: list[BaseRoute] = [
            Route(one.path, _Heard(one, self.env), methods=[one.method]) for one in self.callbacks
        ]
        return [Mount(self.base_path, routes=several)] if self.base_path else several


def listeners_of(plan: Plan, env: Mapping[str, str]) -> list[Listener]:
    """The listeners of the document that a plan is of. Raises DocumentError with every mistake in them."""
    return _Reading(plan, env).all()


# -- what the document says ------------------------------------------------------------------------------------------------


class _Reading:
    def __init__(self, plan: Plan, env: Mapping[str, str]) -> None:
        self.plan = plan
        self.env = env
        self.faults: list[schema.Fault] = []
        self.findings = Findings()

    def all(self) -> list[Listener]:
        """Every one that is ours."""
        found = [one for data, path in self._written() if (one := self._listener(data, path)) is not None]
        flaws = [*self.findings.flaws, *(Flaw(one.sentence, one.path, in_key=one.in_key) for one in self.faults)]
        if flaws:
            raise DocumentError([Mistake(flaw.sentence, self.plan.place(flaw)) for flaw in flaws])
        return found

    def _written(self) -> Iterator[tuple[Any, Path]]:
        single, several = self.plan.written(("listener",)), self.plan.written(("listeners",))
        if single is not None:
            yield single, ("listener",)
        if isinstance(several, list):
            yield from ((one, ("listeners", at)) for at, one in enumerate(several))

    def _listener(self, data: Any, path: Path) -> Listener | None:
        if isinstance(data, dict) and data.get("type") in _LATER:
            return None
        if isinstance(data, dict) and data.get("type") != _TYPE:
            sentence = say(
                "a listener is of `type: {type}`, not {value}", type=_TYPE, value=schema.kind(data.get("type"))
            )
            self.faults.append(schema.Fault(sentence, (*path, "type") if "type" in data else path))
            return None
        own = (*CallbackSettings.model_fields, "callbacks")
        if not isinstance(data, dict):
            self.faults += schema.check(ListenerSettings, data, path, say("a listener"))
            return None
        is_flat = "callbacks" not in data
        plain = {key: self._filled(value, (*path, key)) for key, value in data.items() if key not in own}
        listener = plain if is_flat else {**plain, **{key: data[key] for key in data if key in own}}
        faults = list(schema.check(ListenerSettings, listener, path, say("a listener"), also=own if is_flat else ()))
        self.faults += faults
        if faults:
            return None
        several = [({key: value for key, value in data.items() if key in own}, path)]
        if not is_flat:
            several = [(one, (*path, "callbacks", at)) for at, one in enumerate(data["callbacks"] or ())]
        callbacks = [one for each, place in several if (one := self._callback(each, place)) is not None]
        base = str(plain.get("base_path") or "").strip("/")
        return Listener(int(plain.get("port") or _PORT), f"/{base}" if base else "", tuple(callbacks), self.env)

    def _callback(self, data: Any, path: Path) -> Callback | None:
        faults = list(schema.check(CallbackSettings, data, path, say("a callback")))
        self.faults += faults
        if faults:
            return None
        method = str(data.get("method") or "POST").upper()
        if method not in _METHODS:
            sentence = say("unknown method `{method}`; it is one of {known}", method=method, known=listing(_METHODS))
            self.faults.append(schema.Fault(sentence, (*path, "method")))
        if data.get("status") is not None and data.get("success_when") is None:
            sentence = say("`status` needs `success_when`: the values that end the waiting")
            self.faults.append(schema.Fault(sentence, (*path, "status")))
        parts = {key: self._template(data[key], (*path, key)) for key in _TEMPLATES if data.get(key) is not None}
        return Callback(f"/{data['path'].lstrip('/')}", method, data.get("bulk") is True, parts)

    def _template(self, value: Any, path: Path, sources: Sequence[str] = _SOURCES) -> Template:
        template = compile_template(value, path, findings=self.findings)
        for hole in template.holes:
            one = hole.reference
            if sentence := unknown_source(one, (*sources, *hole.bound)):
                self.findings.flaws.append(Flaw(sentence, hole.path, one.source_start, len(one.key)))
        return template

    def _filled(self, value: Any, path: Path) -> Any:
        """A setting that is needed now."""
        flaws = len(self.findings.flaws)
        template = self._template(value, path, ("env",))
        if len(self.findings.flaws) > flaws:
            return None
        try:
            return template.render({"env": self.env})
        except RenderError as error:
            self.findings.flaws.append(Flaw(error.sentence, error.path, error.reference.start, error.reference.length))
            return None


# -- what comes --------------------------------------------------------------------------------------------------------------


class _Heard:
    """The ASGI application of one path."""

    def __init__(self, callback: Callback, env: Mapping[str, str]) -> None:
        self._callback = callback
        self._env = env

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            self._hear(await _body(request), dict(request.query_params))
            response: Response = Response(status_code=200)
        except Refusal as refusal:
            response = answers.refused(refusal)
        except RenderError as error:
            response = answers.refused(Refusal(400, "callback", error.sentence))
        await response(scope, receive, send)

    def _hear(self, body: Any, query: Mapping[str, str]) -> None:
        callback = self._callback
        whole = {"body": body, "item": body, "query": query, "env": self._env}
        status = callback.said("status", whole)
        results: dict[str, Any] = {}
        for item in self._items(whole):
            scope = {**whole, "body": item, "item": item}
            own = callback.said("status", scope) if status is None and callback.bulk else status
            name = callback.said("identify_by", scope) if "identify_by" in callback.parts else _ANYBODY
            if name is None or to_text(name) == "":
                raise Refusal(400, "callback", say("the callback names no id where `identify_by` looks for it"))
            result = self._result(own, to_text(name), scope)
            if result is not None:
                results[to_text(name)] = result[0]
        callbacks: Callbacks = private_loop().shared(Callbacks, Callbacks)
        for each, found in results.items():
            callbacks.complete(each, found)

    def _items(self, scope: Mapping[str, Any]) -> list[Any]:
        callback = self._callback
        found = callback.said("item", scope) if "item" in callback.parts else scope["body"]
        if not callback.bulk:
            return [found]
        if not isinstance(found, list):
            raise Refusal(400, "callback", say("`bulk` wants a list of results"))
        return found

    def _result(self, status: Any, name: str, scope: Mapping[str, Any]) -> tuple[Any] | None:
        """What the run is given, a RunError where the service failed; None for a status that ends nothing."""
        if "status" in self._callback.parts:
            if self._is_one(status, "fail_when", scope):
                sentence = say("the callback for `{id}` says that it failed: the status is `{status}`", id=name, status=to_text(status))  # fmt: skip
                return (RunError("completion", sentence),)
            if not self._is_one(status, "success_when", scope):
                return None
        return (self._callback.said("result", scope) if "result" in self._callback.parts else scope["body"],)

    def _is_one(self, status: Any, key: str, scope: Mapping[str, Any]) -> bool:
        values = self._callback.said(key, scope)
        several = values if isinstance(values, list) else [] if values is None else [values]
        return status is not None and to_text(status) in {to_text(value) for value in several}


async def _body(request: Request) -> Any:
    """JSON of any kind, the fields of a form, or null. Raises Refusal (400)."""
    data = await request.body()
    if not data:
        return None
    if media_type(request) != "application/json":
        return await body_of(request)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal(400, "body", say("the body is no JSON")) from None
