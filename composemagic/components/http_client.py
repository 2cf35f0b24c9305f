"""`type: http-client`: one HTTP request an action; an event stream becomes a stream of chunks, anything else one value.

    component:
      type: http-client
      base_url: https://api.openai.com/v1
      headers: {Authorization: "Bearer ${env.OPENAI_API_KEY}"}
      timeout: 60s
      action:
        path: /chat/completions
        body: {model: gpt-4o, messages: [{role: user, content: "${input.prompt as text}"}], stream: true}
        stream_format: json
        output: ${response[].choices[0].delta.content}

An action names its address with `path`, below the component's `base_url`, or whole with `endpoint`. `output` reads `response`,
or `response[]` for each chunk of a stream. `headers`, `timeout`, `max_retries` and `retry_delay` may stand on both; the others
are listed in the README's table at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from composemagic.components.http import settings as written
from composemagic.components.http.answer import answered, report
from composemagic.components.http.completion import completed
from composemagic.components.http.limits import Limits, Turns
from composemagic.components.http.request import local_request, request_of
from composemagic.components.http.settings import HttpAction, HttpSettings
from composemagic.errors import RunError
from composemagic.language.template import Spell
from composemagic.transport.address import spell_in_address, spell_in_path
from composemagic.transport.http import Request, Response, ask, new_client
from composemagic.transport.providers import ProviderError, Watch, dialect_of
from composemagic.transport.retry import again
from composemagic.words import say
from composemagic.workflow.component import Action, Context, SettingsModel

__all__ = ["HttpClient"]


class HttpClient:
    """Sends HTTP requests: one component for a server, one action for each of its addresses.

    ```yaml
    component:
      id: shop
      type: http-client
      base_url: https://shop.example/api
      headers: {Authorization: "Bearer ${env.SHOP_API_KEY}"}
      timeout: {first: 30s, total: 5m}
      rate_limit: 50/s
      max_concurrent_count: 4
      actions:
        - id: find
          method: GET
          path: /items
          params: {q: "${input.words}", tags: [new, used], max: 10}
          output: ${response.items[*].name}
        - id: ask
          path: /chat/completions
          body: {model: m, messages: "${input.messages}", stream: true}
          output: ${response[].choices[0].delta.content}
        - id: send
          path: /pictures
          headers: {Content-Type: multipart/form-data}
          body: {title: "${input.title}", picture: {file: pictures/cat.png}}
        - id: paint
          path: /paintings
          body: {prompt: "${input.prompt}"}
          completion:
            type: polling
            path: /paintings/${response.id}
            status: ${result.state}
            success_when: done
            fail_when: [failed, cancelled]
            interval: 2s
          output: ${result.url}
    ```

    **Address.** `endpoint` is a whole URL; `path` is added to `base_url`. Values in them are percent-encoded, so that only a
    `?` that is written begins a query. `params` are added to it: lists repeat, null is left out, true is `true`.
    **Method.** `method`, in any case, one of GET, POST (where none is written), PUT, DELETE, PATCH, HEAD and OPTIONS.
    **Headers.** Those of the component and of the action, without regard to case; null removes one, numbers are fine.
    **Body.** By its Content-Type: JSON, form fields, parts (`multipart/form-data`) or as it is. Without one, an object or a
    list is JSON, an object with bytes in it (a picture) is multipart, text is `text/plain`, bytes are octets. A part that is
    `{file: path}` is a file under the document's folder; `filename` and `content_type` may stand beside it. A stream that is
    the whole body is sent as it comes, unless it is JSON.
    **Answer.** `response` is JSON, text or bytes by the media type, null where there is none. An event stream, or lines of
    JSON, give chunks: `response[]`, as `stream_format` says (`json`, `text`, `server-sent-events`, `json-lines`).
    **Time.** `timeout` is a duration for all of it, or a mapping of `connect` (5 s), `first` byte and `read`, which is between
    two bytes (60 s), and `total` (600 s).
    **Trying again.** `max_retries` (2) times after `retry_delay` (0.5 s, doubled each time, 8 s at most) on 408, 409, 429, 5xx
    and where no connection came about; a server's Retry-After is honoured up to 120 s. Never once an answer has begun.
    **Holding back.** `rate_limit`: "50/s", "100/min", or a mapping of `requests`, `period`, `burst` and `interval`;
    `max_concurrent_count`: requests at once. Both hold for all actions of the component together.
    **Completion.** `type: polling` asks for the result every `interval` (5 s) for `timeout` (300 s) at most, by GET where no
    `method` is written, until `status` (without it, the HTTP status: 200, or `2xx`) is in `success_when` or `fail_when`.
    `type: callback` waits for `timeout` until a callback names the id `wait_for`. Then `output` reads `result`, and `response`
    for the first answer.

    Redirects are followed to the same origin only, and only 307 and 308.
    """

    type: ClassVar[str] = "http-client"
    sources: ClassVar[tuple[str, ...]] = ("response", "result")
    call_sources: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    nested: ClassVar[Mapping[str, tuple[str, ...]]] = {"completion": ("response", "result", "result[]")}
    text_fields: ClassVar[frozenset[str]] = frozenset(
        {"headers", "base_url"} | {f"{of}{key}" for of in ("", "completion.") for key in ("path", "endpoint", "method")}
    )
    spellings: ClassVar[Mapping[str, Spell]] = {
        "path": spell_in_path,
        "endpoint": spell_in_address,
        "base_url": spell_in_address,
        "completion.path": spell_in_path,
        "completion.endpoint": spell_in_address,
    }
    settings: ClassVar[SettingsModel] = HttpSettings
    action: ClassVar[SettingsModel] = HttpAction

    def __init__(self) -> None:
        self._turns: Turns | None = None

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        return written.faults(settings, action)

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Send the action's request and yield what comes back."""
        limits, turns = await Limits.of(action, context), self._turns_here()
        asked = partial(_asked, context, limits, turns)
        request = await local_request(action, context) or await request_of(action, context)
        if limits.most:
            request = await _complete(request)
        async with turns.place(limits.most):
            if "completion.type" in action.fields:
                yield await completed(action, context, request, asked)
                return
            watch = Watch(dialect_of(request.url), offers_tools=request.offers_tools)
            try:
                async with (
                    aclosing(await asked(request)) as response,
                    aclosing(answered(response, request, watch, action, context)) as answers,
                ):
                    async for answer in answers:
                        yield answer
            except RunError as error:
                report(watch, context)
                raise _told(error, request) from None

    def _turns_here(self) -> Turns:
        """The turns of this component on this loop; another process (a fork) has its own loop."""
        if self._turns is None or self._turns.loop is not asyncio.get_running_loop():
            self._turns = Turns()
        return self._turns


async def _complete(request: Request) -> Request:
    """The request with its body read to the end: what streams into it may itself need one of the places."""
    content = request.content
    if not callable(content):
        return request
    return replace(request, content=b"".join([piece async for piece in content()]))


async def _asked(context: Context, limits: Limits, turns: Turns, request: Request, *, once: bool = False) -> Response:
    """The response to a request, which is tried again as the settings say, or `once`; the caller closes it."""
    way = context.transport if context.transport is not None else context.shared("http", new_client)

    async def attempt() -> Response:
        await turns.pace(limits.rate, context.note)
        return await ask(way, request, limits.timeouts)

    return await attempt() if once else await again(attempt, limits.retries, context.waiting)


def _told(error: RunError, request: Request) -> RunError:
    if not isinstance(error, ProviderError):
        return error
    return RunError(
        error.kind, say("{host} sent an error: {words}", host=request.host, words=request.redacted(error.message))
    )
