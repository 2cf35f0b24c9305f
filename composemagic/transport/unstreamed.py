"""The same request without streaming, to see what streaming is good for.

Where the provider's whole answer reads like its stream (OpenAI's chat and what speaks like it, Ollama), `stream: true` is turned
off in the body on its way out, and the provider answers once it is done. Any other stream is asked for as it is and held back
until its end: that is when a reader sees it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import httpx

from composemagic.transport.exchange import EVENTS, LINES, Sent
from composemagic.transport.providers import dialect_of

__all__ = ["Unstreamed"]

_LIKE_THEIR_STREAMS = frozenset({"openai-chat", "ollama"})


class Unstreamed(httpx.AsyncBaseTransport):
    """A way to the network on which nothing streams. `network` gives the way itself.

    Without `turns_off` every stream is held back: what stands in a recording cannot be asked for in another way. `turned_off` counts the requests that went out with `stream: false`, `held_back` the streams that were kept to their end.
    """

    def __init__(self, network: Callable[[], httpx.AsyncBaseTransport], *, turns_off: bool = True) -> None:
        self._network = network
        self._turns_off = turns_off
        self.turned_off = 0
        self.held_back = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises what the network raises."""
        answer = await self._network().handle_async_request(
            self._without_stream(request) if self._turns_off else request
        )
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        may_stream = kind == EVENTS or kind in LINES or kind in ("", "text/plain")
        if answer.status_code < 300 and may_stream and isinstance(answer.stream, httpx.AsyncByteStream):
            self.held_back += 1
            answer.stream = _Held(answer.stream)
        return answer

    def _without_stream(self, request: httpx.Request) -> httpx.Request:
        body = _body(request)
        dialect = dialect_of(str(request.url))
        if body is None or dialect is None or dialect.name not in _LIKE_THEIR_STREAMS:
            return request
        if body.get("stream", dialect.name == "ollama") is not True:
            return request
        self.turned_off += 1
        less = {key: value for key, value in body.items() if key != "stream_options"} | {"stream": False}
        headers = [(name, value) for name, value in request.headers.multi_items() if name != "content-length"]
        content = json.dumps(less, ensure_ascii=False).encode("utf-8", "replace")
        if (exchange := request.extensions.get("exchange")) is not None:
            exchange.sent = Sent()  # who watches sees what goes out
            exchange.sent.add(content)
        return httpx.Request(
            request.method, request.url, headers=headers, content=content, extensions=request.extensions
        )


def _body(request: httpx.Request) -> dict[str, Any] | None:
    try:
        found = json.loads(request.content)
    except (httpx.RequestNotRead, ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


class _Held(httpx.AsyncByteStream):
    """A body that is given when all of it is there."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = []
        async for data in self._stream:
            pieces.append(data)
            yield b""  # who waits is told that something came
        yield b"".join(pieces)

    async def aclose(self) -> None:
        await self._stream.aclose()
