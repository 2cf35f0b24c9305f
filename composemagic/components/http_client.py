"""`type: http-client`: one HTTP request an action; an event stream becomes a stream of chunks, anything else one value."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

from composemagic.errors import RunError
from composemagic.language.template import Spell
from composemagic.transport.address import spell_in_address, spell_in_path
from composemagic.transport.http import Request, Response, Timeouts, new_client, send
from composemagic.transport.providers import ProviderError, Watch, dialect_of
from composemagic.transport.reading import FORMATS, LINES, UNNAMED, Reading, is_stream
from composemagic.transport.whole import read_chunk, read_value
from composemagic.workflow.component import Action, Batch, Context, LocalAddress, Settings, SettingsModel, Value

__all__ = ["HttpClient"]

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_STREAMING_PATHS = ("/chat/completions", "/completions", "/responses", "/messages")


class HttpSettings(Settings):
    """`base_url` and `headers` serve every action; `timeout` is in seconds, a mapping has connect, read and total."""

    base_url: str | None = None
    headers: dict[str, Any] | None = None
    timeout: Any = None


class HttpAction(Settings):
    """`endpoint` is a whole URL, `path` is added to the component's `base_url`."""

    path: str | None = None
    endpoint: str | None = None
    method: str | None = None
    headers: dict[str, Any] | None = None
    params: Any = None
    body: Any = None
    stream_format: Literal["json", "text", "server-sent-events", "json-lines"] | None = None
    stream_fragmented: Any = None
    timeout: Any = None


class HttpClient:
    """Sends requests. Sources for `output`: `response`, and `response[]` for each chunk of a stream."""

    type: ClassVar[str] = "http-client"
    sources: ClassVar[tuple[str, ...]] = ("response",)
    text_fields: ClassVar[frozenset[str]] = frozenset({"headers", "base_url", "path", "endpoint", "method"})
    spellings: ClassVar[Mapping[str, Spell]] = {
        "path": spell_in_path,
        "endpoint": spell_in_address,
        "base_url": spell_in_address,
    }
    settings: ClassVar[SettingsModel] = HttpSettings
    action: ClassVar[SettingsModel] = HttpAction

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[str, str | None]]:
        path, endpoint = action.get("path"), action.get("endpoint")
        if path and endpoint:
            yield "an action has `path` or `endpoint`, not both", "endpoint"
        elif path and not settings.get("base_url"):
            yield "`path` needs the component's `base_url`", "path"
        elif not path and not endpoint and not settings.get("base_url"):
            yield "an http-client action needs `endpoint`, or `path` and the component's `base_url`", None
        method = action.get("method")
        if isinstance(method, str) and "${" not in method and method.upper() not in _METHODS:
            yield f"unknown method `{method}`; it is one of {', '.join(_METHODS)}", "method"
        if "stream_format" in action and _never_streams(action):
            yield "`stream_format` without a streaming request: add `stream: true` to the body", "stream_format"
        elif action.get("stream_format") == "text" and re.search(r"response\[\][.\[]", str(action.get("output"))):
            yield "the chunks are text, which has no paths: write `stream_format: json`", "stream_format"

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Send the action's request and yield what comes back."""
        request = await _request(action, context)
        timeouts = _timeouts(
            await context.render(action.settings.get("timeout")), await context.render(action.fields.get("timeout"))
        )
        way = context.transport if context.transport is not None else context.shared("http", new_client)
        watch = Watch(dialect_of(request.url))
        try:
            async with (
                send(way, request, timeouts) as response,
                aclosing(_answer(response, request, watch, action, context)) as answers,
            ):
                async for answer in answers:
                    yield answer
        except RunError as error:
            _report(watch, context)
            raise _told(error, request) from None


def _told(error: RunError, request: Request) -> RunError:
    if not isinstance(error, ProviderError):
        return error
    return RunError(error.kind, f"{request.host} sent an error: {request.redacted(error.message)}")


def _never_streams(action: Mapping[str, Any]) -> bool:
    """Whether it is certain that the request asks for no stream: a literal body that says so or says nothing."""
    body, output = action.get("body"), action.get("output")
    if not isinstance(body, dict) or "response[]" not in str(output) or "..." in body:
        return False
    if "stream" in body:
        return body["stream"] is False
    address = str(action.get("path") or action.get("endpoint") or "")
    return address.partition("?")[0].endswith(_STREAMING_PATHS)


# -- the request ---------------------------------------------------------------------------------------------------------


async def _request(action: Action, context: Context) -> Request:
    """The request as it goes out: to its own address, or to the embedded model."""
    fields, settings = action.fields, action.settings
    path = await context.render(fields.get("path")) or ""
    endpoint = await context.render(fields.get("endpoint"))
    body = await context.render(fields.get("body"))
    method = str(await context.render(fields.get("method")) or "POST").upper()
    if method not in _METHODS:
        raise RunError("request", f"unknown method `{method}`; it is one of {', '.join(_METHODS)}")
    local = await _local(str(endpoint or path), body, context)
    if local is not None:
        # neither the address nor the headers of the document are filled: no key is needed, and none is sent
        kind = "chat/completions" if _path(str(endpoint or path)).endswith("/chat/completions") else "completions"
        url = f"{local.url}/{kind}"
        # llama.cpp closes idle connections without saying so: a kept one may be gone when the next request takes it
        headers = {
            "authorization": f"Bearer {local.key}",
            "content-type": "application/json",
            "connection": "close",
        }
        return Request("POST", url, headers, _json({**body, "model": local.name}), local.name)
    base = str(await context.render(settings.get("base_url")) or "")
    url = str(endpoint) if endpoint else _joined(base, str(path))
    headers = _merged(await context.render(settings.get("headers")), await context.render(fields.get("headers")))
    url = _with_params(url, await context.render(fields.get("params")))
    content = _encoded(body, headers)
    model = body.get("model") if isinstance(body, dict) else None
    names = _variables(action)
    return Request(method, url, headers, content, model if isinstance(model, str) else None, names)


def _path(address: str) -> str:
    """A URL or a path, without query and fragment."""
    return address.partition("?")[0].partition("#")[0].rstrip("/")


async def _local(address: str, body: Any, context: Context) -> LocalAddress | None:
    """The embedded model, where the run asked for it and this is a request it can answer."""
    if not context.wants_local:
        return None
    dialect = dialect_of(_path(address))
    if dialect is None or dialect.name != "openai-chat" or not isinstance(body, dict):
        context.note("`--local` serves OpenAI-style chat requests; this request goes to its own address")
        return None
    local = await context.local_model()
    asked = body.get("model")
    context.answered_by(local.name, instead_of=asked if isinstance(asked, str) else None, local=True)
    return local


def _joined(base: str, path: str) -> str:
    if not path:
        return base
    return f"{base.rstrip('/')}/{path.lstrip('/')}"


def _merged(*layers: Any) -> dict[str, str]:
    """Headers of the component and of the action, merged without regard to case; null removes one."""
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        for name, value in (layer or {}).items():
            if value is None:
                merged.pop(name.lower(), None)
            else:
                merged[name.lower()] = (name, _header(name, value))
    return dict(merged.values())


def _header(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if not text.isprintable() or not text.isascii():
        # the value itself is not shown: it may be a key
        raise RunError("request", f"the header `{name}` has characters that cannot be sent, such as a line break")
    return text.strip()


def _with_params(url: str, params: Any) -> str:
    if not params:
        return url
    if not isinstance(params, dict):
        raise RunError("request", "`params` is a mapping of names to values")
    pairs = [
        (name, "true" if item is True else "false" if item is False else str(item))
        for name, value in params.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}" if pairs else url


def _encoded(body: Any, headers: dict[str, str]) -> bytes | None:
    """The body as bytes, by the Content-Type; without one, what the body's kind suggests (and the header is added)."""
    if body is None:
        return None
    name = next((name for name in headers if name.lower() == "content-type"), None)
    if name is None:
        kind = "application/json" if isinstance(body, dict | list) else "text/plain; charset=utf-8"
        headers["content-type"] = kind = "application/octet-stream" if isinstance(body, bytes) else kind
    else:
        kind = headers[name]
    kind = kind.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return _json(body)
    if kind == "application/x-www-form-urlencoded" and isinstance(body, dict):
        return urlencode([(key, _form(value)) for key, value in body.items() if value is not None]).encode()
    if isinstance(body, dict | list):
        raise RunError("request", f"{'an object' if isinstance(body, dict) else 'a list'} cannot be sent as {kind}")
    return body if isinstance(body, bytes) else _utf8(str(body))


def _form(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise RunError("request", "NaN and Infinity cannot be written as JSON") from None
    except (TypeError, RecursionError) as error:
        raise RunError("request", f"the body cannot be written as JSON: {error}") from None
    return _utf8(text)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RunError("request", "the body has half a surrogate pair, which is no text") from None


def _variables(action: Action) -> tuple[str, ...]:
    """The environment variables the headers are made from."""
    templates = [fields["headers"] for fields in (action.settings, action.fields) if "headers" in fields]
    holes = (hole for template in templates for hole in template.holes if hole.reference.source == "env")
    return tuple(dict.fromkeys(hole.reference.path_text for hole in holes))


def _timeouts(*settings: Any) -> Timeouts:
    """The defaults, changed by the component's `timeout` and then by the action's."""
    found = Timeouts()
    for setting in settings:
        parts = setting if isinstance(setting, dict) else {} if setting is None else {"total": setting}
        for name, value in parts.items():
            if name not in Timeouts.__slots__:
                raise RunError("request", f"`timeout` has connect, read and total, not `{name}`")
            found = replace(found, **{name: _seconds(value)})
    return found


def _seconds(value: Any) -> float:
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    text = str(value).strip()
    unit = next((unit for unit in units if text.endswith(unit)), "")
    try:
        seconds = float(text.removesuffix(unit)) * units.get(unit, 1.0)
    except ValueError:
        raise RunError(
            "request", f'`timeout` is seconds, or a text such as "500ms", "5s" or "2m", not {value!r}'
        ) from None
    if not seconds > 0:
        raise RunError("request", f"`timeout` is more than 0 seconds, not {value!r}")
    return seconds


# -- the answer ----------------------------------------------------------------------------------------------------------


async def _answer(
    response: Response, request: Request, watch: Watch, action: Action, context: Context
) -> AsyncGenerator[Any, None]:
    """The chunks of a stream, or the one value or chunk of a whole body."""
    stream_format = await _stream_format(action, context)
    wanted = stream_format is not None or action.per_chunk
    if not is_stream(response.media_type, watch, stream_format, wanted=wanted):
        yield await _whole(response, request, watch, action, context)
        return
    if stream_format is None:
        stream_format = _default_format(response, watch, action, context)
    if response.media_type in UNNAMED:
        context.note(f"the server named {response.media_type or 'no content type'} for its event stream")
    async with aclosing(Reading(response, request, watch, stream_format).chunks()) as reads:
        async for chunks in reads:
            if watch.model is not None:
                context.answered_by(watch.model)
            yield Batch(chunks)
    _report(watch, context)


async def _whole(response: Response, request: Request, watch: Watch, action: Action, context: Context) -> Value | Batch:
    body = await response.body()
    if action.per_chunk:
        answer: Value | Batch = Batch([read_chunk(body, response, request, watch)])
        context.note("the server answered without streaming")
    else:
        answer = Value(read_value(body, response, request, watch))
    _report(watch, context)  # now: after a Value nobody asks for more
    return answer


async def _stream_format(action: Action, context: Context) -> str | None:
    name = await context.render(action.fields.get("stream_format"))
    if name is not None and name not in FORMATS:
        raise RunError("request", f"`stream_format` is one of {', '.join(FORMATS)}, not {name!r}")
    return None if name is None else str(name)


def _default_format(response: Response, watch: Watch, action: Action, context: Context) -> str | None:
    """Where no `stream_format` is written: json, if `output` reads a path into the chunks of a provider that is known."""
    holes = action.output.holes if action.output is not None else ()
    if not any(hole.reference.per_chunk and hole.reference.path for hole in holes):
        return None
    if watch.dialect is None and response.media_type not in LINES:
        context.note(
            "the chunks of this stream are text, which has no paths; where they are JSON, add `stream_format: json`"
        )
        return None
    return "json"


def _report(watch: Watch, context: Context) -> None:
    """What the provider said of its own answer."""
    if watch.model is not None:
        context.answered_by(watch.model)
    if watch.usage:
        context.used(watch.usage)
    if watch.note:
        context.note(watch.note)
