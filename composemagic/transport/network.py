"""The way to the network: pools of connections, of which each serves a few requests at once, and proxies."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from typing import Any, cast
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from composemagic.transport import address
from composemagic.transport.chunked import Chunked
from composemagic.transport.connection import Backend, Stream, opened

__all__ = ["Network"]

_WIDTH = 8  # requests on one pool: httpcore looks at all of them for each
_POOL = httpx.Limits(max_connections=None, max_keepalive_connections=_WIDTH, keepalive_expiry=30.0)


class Network(httpx.AsyncBaseTransport):
    """All requests of one loop: pools of at most 8 requests in flight, on one TLS context, through a proxy where one is set.

    Connections are kept for a next request only where nobody else can put an answer into them: to https and loopback.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, list[_Lane]] = {}
        self._proxies = getproxies()
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its response's `aclose` ends it. Raises httpcore's and httpx's errors, and RunError."""
        lane = self._lane(request.url)
        lane.busy += 1
        try:
            answer = await lane.way.handle_async_request(request)
        except BaseException:
            await self._leave(lane)
            raise
        answer.stream = _Held(cast("httpx.AsyncByteStream", answer.stream), lambda: self._leave(lane))
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        for lane in [lane for lanes in self._lanes.values() for lane in lanes]:
            with contextlib.suppress(Exception):
                await lane.way.aclose()
        self._lanes.clear()

    def _lane(self, url: httpx.URL) -> _Lane:
        kind = self._kind(url)
        lanes = self._lanes.setdefault(kind, [])
        found = next((lane for lane in lanes if lane.busy < _WIDTH), None)
        if found is None:
            found = _Lane(kind, self._way(kind))
            lanes.append(found)
        return found

    def _kind(self, url: httpx.URL) -> str:
        """Which pools serve an address: those of a proxy, by its address, else of `https`, `loopback` or `http`."""
        if address.is_loopback(url.host):
            return "https" if url.scheme == "https" else "loopback"
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        if proxy and not proxy_bypass(url.host):
            return proxy if "://" in proxy else f"http://{proxy}"
        return url.scheme

    def _way(self, kind: str) -> httpx.AsyncBaseTransport:
        if "://" in kind:
            return httpx.AsyncHTTPTransport(verify=self._context(), limits=_POOL, proxy=httpx.Proxy(kind))
        keeps = kind != "http"
        # without https there is no need of the certificates, which take longer to read than all the rest
        return _Direct(self._context() if kind == "https" else None, _WIDTH if keeps else 0)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls

    async def _leave(self, lane: _Lane) -> None:
        """A request is over; a pool that was opened for a crowd is closed with its last one."""
        lane.busy -= 1
        lanes = self._lanes.get(lane.kind, [])
        if lane.busy == 0 and lane in lanes[1:]:
            lanes.remove(lane)
            await lane.way.aclose()


class _Lane:
    """One pool and how many requests it has in flight."""

    __slots__ = ("busy", "kind", "way")

    def __init__(self, kind: str, way: httpx.AsyncBaseTransport) -> None:
        self.kind = kind
        self.way = way
        self.busy = 0


class _Held(httpx.AsyncByteStream):
    """A body that says when it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, leave: Callable[[], Any]) -> None:
        self._stream = stream
        self._leave: Callable[[], Any] | None = leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            await _to_its_end(self._close(leave))

    async def _close(self, leave: Callable[[], Any]) -> None:
        try:
            await self._stream.aclose()
        finally:
            await leave()


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that goes to its end also where this task is cancelled meanwhile.

    httpcore gives up in the middle of closing then, and the connection would stay open for good.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen: what fails in closing spoils nothing
        raise


class _Direct(httpx.AsyncBaseTransport):
    """httpcore's pool on our own connections."""

    def __init__(self, context: ssl.SSLContext | None, kept: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=kept,
            keepalive_expiry=_POOL.keepalive_expiry,
            network_backend=Backend(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        asked = httpcore.Request(
            request.method,
            url,
            content=cast("AsyncIterator[bytes]", request.stream),
            extensions=request.extensions,
        )
        asked.headers = request.headers.raw  # bytes: the constructor would look at each once more
        streams: list[httpcore.AsyncNetworkStream] = []
        token = opened.set(streams)
        try:
            answer = await self._pool.handle_async_request(asked)
        except BaseException:
            await _to_its_end(self._give_up(streams))
            raise
        finally:
            opened.reset(token)
        body = _Body(answer.stream, _chunks(request.method, answer))
        return httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=answer.extensions)

    async def _give_up(self, streams: list[httpcore.AsyncNetworkStream]) -> None:
        """Close what was opened for a request that failed.

        One that is cancelled when its connection stands and nothing was sent yet leaves it in httpcore's pool, open and never
        used again.
        """
        for connection in self._pool.connections if streams else ():
            inner = getattr(connection, "_connection", None)
            if getattr(inner, "_network_stream", None) in streams:
                await connection.aclose()
        for stream in streams:
            await stream.aclose()

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """A body under httpx's name: as httpcore gives it, or in another way that does the same sooner."""

    def __init__(self, stream: Any, pieces: AsyncIterator[bytes] | None) -> None:
        self._stream = stream
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream) if self._pieces is None else self._pieces

    async def aclose(self) -> None:
        await self._stream.aclose()


def _chunks(method: str, answer: httpcore.Response) -> Chunked | None:
    """The body of an answer over HTTP/1.1 that comes in chunks, from the connection itself; None for any other."""
    connection = answer.extensions.get("network_stream")
    if not isinstance(connection, Stream) or not connection.is_at_body or method in ("HEAD", "CONNECT"):
        return None
    coding = [value.lower() for name, value in answer.headers if name.lower() == b"transfer-encoding"]
    if coding != [b"chunked"] or answer.status in (204, 304) or answer.extensions.get("http_version") != b"HTTP/1.1":
        return None
    return Chunked(connection, cast("AsyncIterable[bytes]", answer.stream))
