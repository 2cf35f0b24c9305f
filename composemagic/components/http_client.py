"""`type: http-client`: one HTTP request an action; an event stream becomes a stream of chunks, anything else one value."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

from composemagic.errors import RunError
from composemagic.language.template import Spell
from composemagic.transport.address import spell_in_address, spell_in_path
from composemagic.transport.http import Request, Response, Timeouts, new_client, send
from composemagic.transport.providers import Dialect, ProviderError, Watch, dialect_of, error_message, text_of
from composemagic.transport.sse import LineReader, Message, SSEParser
from composemagic.workflow.component import Action, Batch, Context, LocalAddress, Settings, SettingsModel, Value

__all__ = ["HttpClient"]

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_DRAIN_SECONDS = 0.1
_STREAMING_PATHS = ("/chat/completions", "/completions", "/responses", "/messages")
_decode = json.JSONDecoder().raw_decode


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

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Send the action's request and yield what comes back."""
        request = await _request(action, context)
        client = context.shared(("http", context.transport), lambda: new_client(context.transport))
        timeouts = _timeouts(
            await context.render(action.settings.get("timeout")), await context.render(action.fields.get("timeout"))
        )
        stream_format = await context.render(action.fields.get("stream_format"))
        async with send(client, request, timeouts) as response:
            if not await _is_stream(response, stream_format, action, context):
                async for answer in _whole(response, request, action, context):
                    yield answer
                return
            reading = _Reading(response, stream_format, Watch(dialect_of(request.url)), context)
            async with aclosing(reading.batches()) as batches:
                try:
                    async for batch in batches:
                        yield batch
                except ProviderError as error:
                    raise _told(error, request) from None


def _told(error: ProviderError, request: Request) -> RunError:
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
        headers = {"authorization": f"Bearer {local.key}", "content-type": "application/json"}
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
        raise RunError("request", f'`timeout` is seconds, or a text such as "500ms", "5s" or "2m", not {value!r}') from None
    if not seconds > 0:
        raise RunError("request", f"`timeout` is more than 0 seconds, not {value!r}")
    return seconds


# -- the answer ----------------------------------------------------------------------------------------------------------


async def _is_stream(response: Response, stream_format: Any, action: Action, context: Context) -> bool:
    """Whether the body is read as a stream; a server that forgot the content type is believed by what was asked of it."""
    media_type = response.media_type
    if media_type == "text/event-stream" or (stream_format == "json-lines" and "json" in media_type):
        return True
    if stream_format and media_type in ("", "text/plain", "application/x-ndjson", "application/jsonl"):
        if media_type in ("", "text/plain"):
            context.note(f"the server named {media_type or 'no content type'} for its event stream")
        return True
    return False


async def _whole(response: Response, request: Request, action: Action, context: Context) -> AsyncIterator[Any]:
    """An answer that came as one body: a Value, or one chunk where the document reads a stream."""
    dialect = dialect_of(request.url)
    value = _decoded(await response.body(), response, request)
    if dialect is not None and isinstance(value, dict):
        watch = Watch(dialect)
        try:
            watch.see([value])
        except ProviderError as error:
            raise _told(error, request) from None
        _report(watch, context)
        if action.per_chunk and not watch.finished and not text_of(dialect, value):
            raise RunError("empty", f"{request.host} sent an answer without text: {request.redacted(str(value))[:80]}")
    if not action.per_chunk:
        yield Value(value)
        return
    if response.media_type == "text/html" or isinstance(value, str | bytes | None):
        raise _no_stream(value, response, request)
    if isinstance(value, dict) and "error" in value and value["error"] and dialect is None:
        raise RunError("server", f"{request.host} sent an error: {error_message(value)}")
    context.note("the server answered without streaming")
    yield Batch([_as_chunk(value, dialect)])


def _as_chunk(value: Any, dialect: Dialect | None) -> Any:
    """A whole chat answer in the shape of one chunk, so that a path into `delta` finds its text."""
    if dialect is None or dialect.name != "openai-chat" or not isinstance(value, dict):
        return value
    choices = value.get("choices")
    if not isinstance(choices, list):
        return value
    whole = [
        {**choice, "delta": choice.get("message") or {"content": text_of(dialect, value)}}
        for choice in choices
        if isinstance(choice, dict)
    ]
    return {**value, "choices": whole}


def _no_stream(value: Any, response: Response, request: Request) -> RunError:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    if not text.strip():
        return RunError("empty", f"{request.host} sent an empty answer")
    start = text.lower().find("<title>")
    shown = text[start + 7 :].partition("<")[0] if start >= 0 else text
    kind = response.media_type or "no content type"
    return RunError("content_type", f'{request.host} sent {kind}: "{" ".join(request.redacted(shown).split())[:120]}"')


def _decoded(body: bytes, response: Response, request: Request) -> Any:
    kind = response.media_type
    if response.status == 204 or (not body and not kind):
        return None
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RunError("invalid_json", f"{request.host} sent JSON that cannot be read ({error})") from None
    if kind.startswith("text/"):
        try:
            return body.decode(response.encoding, "replace")
        except LookupError:
            return body.decode("utf-8", "replace")
    return body


class _Reading:
    """A stream on its way from bytes to chunks, and what the provider says of it."""

    def __init__(self, response: Response, stream_format: Any, watch: Watch, context: Context) -> None:
        self.response = response
        self.stream_format = stream_format
        self.watch = watch
        self.context = context
        self.done = False
        self.empty = True
        self.failure: RunError | None = None

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """The chunks of each network read. Raises RunError: after the chunks before it, when the stream breaks."""
        feed = self.lines() if self.lines_only else self.messages()
        async with aclosing(feed):
            try:
                async for chunks in feed:
                    batch, failure = self.seen(chunks)
                    if batch:
                        self.empty = False
                        yield batch
                    if failure is not None:
                        raise failure
                    if self.done or self.said_all:
                        break
            except RunError as error:
                # what breaks after the finish mark breaks nothing
                if not self.watch.finished or isinstance(error, ProviderError) or self.watch.dialect is None:
                    raise
        if self.done or self.said_all:
            await self.response.drain(_DRAIN_SECONDS)
        _report(self.watch, self.context)
        self.judge()

    @property
    def said_all(self) -> bool:
        """Whether the provider's own last word was heard; OpenAI's finish reason is followed by usage and `[DONE]`."""
        return self.watch.finished and self.watch.dialect is not None and not self.watch.dialect.done_counts

    @property
    def lines_only(self) -> bool:
        dialect = self.watch.dialect
        ollama = dialect is not None and dialect.name == "ollama"
        return self.stream_format == "json-lines" or (ollama and self.response.media_type != "text/event-stream")

    async def messages(self) -> AsyncGenerator[list[Any], None]:
        parser = SSEParser()
        async for data in self.response.reads():
            messages = parser.feed(data)
            if parser.error_field:
                self.watch.fail(parser.error_field)
            yield self.chunks(messages)
            if self.done:
                return

    async def lines(self) -> AsyncGenerator[list[Any], None]:
        reader = LineReader()
        async for data in self.response.reads():
            yield [_loads(line) for line in reader.feed(data)]
        yield [_loads(line) for line in reader.close()]

    def chunks(self, messages: list[Message]) -> list[Any]:
        """Messages as `stream_format` wants them, up to `[DONE]`, which is never a chunk."""
        chunks: list[Any] = []
        as_json = self.stream_format == "json"
        for message in messages:
            data = message.data
            if data == "[DONE]":
                self.done = True
                self.watch.done()
                break
            if message.event == "error":
                self.failure = self.broken(data)
                break
            if as_json:
                try:
                    value, end = _decode(data)
                    chunks.append(value if end == len(data) else json.loads(data))
                except (ValueError, RecursionError):
                    self.failure = _malformed(data)
                    break
            elif self.stream_format == "server-sent-events":
                chunks.append(message._asdict())
            else:
                chunks.append(data)
        return chunks

    def broken(self, data: str) -> RunError:
        """What an `event: error` says, to be raised after the chunks before it."""
        try:
            self.watch.fail(data)
        except ProviderError as error:
            return error

    def seen(self, chunks: list[Any]) -> tuple[Batch, RunError | None]:
        """The good chunks of one read, and what is wrong with the next one."""
        failure = self.failure
        if failure is None and self.stream_format == "json-lines":
            chunks, failure = _up_to_malformed(chunks)
        try:
            self.watch.see(chunks if self.stream_format in ("json", "json-lines") else _parsed(chunks))
        except ProviderError as error:
            return Batch(chunks[: error.index]), error
        if self.watch.model is not None:
            self.context.answered_by(self.watch.model)
        return Batch(chunks), failure

    def judge(self) -> None:
        """A stream succeeds only with a finish mark."""
        if self.watch.dialect is None or self.watch.finished:
            return
        if self.empty:
            raise RunError("empty", "the answer is empty: the stream ended before anything came")
        raise RunError("truncated", "the stream ended without a finish mark; the answer may be incomplete")


class _Malformed:
    """A line that is not the JSON it should be; the chunks before it are still good."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _malformed(text: str) -> RunError:
    return RunError("invalid_json", f"invalid JSON in an event: `{text[:80]}`")


def _up_to_malformed(chunks: list[Any]) -> tuple[list[Any], RunError | None]:
    for at, chunk in enumerate(chunks):
        if type(chunk) is _Malformed:
            return chunks[:at], _malformed(chunk.text)
    return chunks, None


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _Malformed(text)


def _parsed(chunks: list[Any]) -> list[Any]:
    """Text or message chunks as JSON, for the provider's marks only."""
    texts = (chunk["data"] if isinstance(chunk, dict) else chunk for chunk in chunks)
    found = (_loads(text) if isinstance(text, str) else text for text in texts)
    return [None if isinstance(value, _Malformed) else value for value in found]


def _report(watch: Watch, context: Context) -> None:
    if watch.model is not None:
        context.answered_by(watch.model)
    if watch.usage:
        context.used(watch.usage)
