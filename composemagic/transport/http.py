"""HTTP for components: one request out, one response in, every failure a RunError with a sentence.

Time limits: connect 5 s, first byte and between bytes 60 s, total 600 s on the loop's monotonic clock; a read limit alone would
never end a drip of bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import httpx

from composemagic.errors import RunError
from composemagic.transport import address, reach
from composemagic.transport.failures import NETWORK_ERRORS, failure, redirect, status_error
from composemagic.transport.inflow import Inflow, inflated
from composemagic.transport.network import Network
from composemagic.transport.quiet import quiet
from composemagic.words import say

__all__ = ["BODY_LIMIT", "Content", "Request", "Response", "Timeouts", "ask", "new_client", "send"]

BODY_LIMIT = 32 * 2**20
_ERROR_BODY_LIMIT = 64 * 2**10
_MOST_REDIRECTS = 5
_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",  # what inflow.py can undo
    "connection": "keep-alive",
    "user-agent": "composemagic",
}

Content = bytes | Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until the connection stands, until the answer's first byte and each next one, and until all of it is there.

    `first` None is as long as `read`. Each attempt and each redirect begins anew, but for `total` in one attempt.
    """

    connect: float = 5.0
    read: float = 60.0
    total: float = 600.0
    first: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What goes out. `key_variables` are the environment variables its headers were made from, for a 401's sentence.

    `listed`: the address is the document's own, not what a server's client fills in: see reach.py.
    `offers_tools`: a model may ask for one instead of answering. `content` is the body, or a function that gives it as pieces, from the start each time it is called.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)  # keys
    content: Content | None = field(default=None, repr=False)
    model: str | None = None
    key_variables: tuple[str, ...] = ()
    offers_tools: bool = False
    listed: bool = False

    @property
    def host(self) -> str:
        """The host, with the port where the URL names one."""
        return re.sub(r"^\w+://(?:[^/@]*@)?([^/?#]*).*$", r"\1", self.url, flags=re.DOTALL)

    @property
    def size(self) -> int | None:
        """Bytes of the body; None where it is a stream."""
        return len(self.content or b"") if isinstance(self.content, bytes | None) else None

    def redacted(self, text: str) -> str:
        """Text from outside without the keys that the headers carry, which servers like to repeat."""
        keys = {
            word for name, value in self.headers.items() if _is_key(name) for word in value.split() if len(word) > 7
        }
        return re.sub("|".join(map(re.escape, sorted(keys, key=len, reverse=True))), "***", text) if keys else text


def _is_key(header: str) -> bool:
    return re.search("auth|key|token|secret|cookie|password|credential", header, re.IGNORECASE) is not None


def new_client() -> Network:
    """The way to the network, to be shared by all runs of one loop: connections are kept, the TLS context is made once."""
    return Network()


@asynccontextmanager
async def send(way: httpx.AsyncBaseTransport, request: Request, timeouts: Timeouts) -> AsyncIterator[Response]:
    """What `ask` gives, for the length of a block."""
    response = await ask(way, request, timeouts)
    try:
        yield response
    finally:
        await response.aclose()


async def ask(way: httpx.AsyncBaseTransport, request: Request, timeouts: Timeouts) -> Response:
    """Send a request and give its response, whose status is below 300 and which the caller closes.

    The way is our own network, or a transport of the user's, which stays theirs to close. Redirects are followed where they
    keep method and body (307, 308) and lead to the same origin: elsewhere they could carry a key to another host. No cookie
    is kept from one run to the next, and httpx's log of addresses is not written.
    Raises RequestError for what the network or the server did, RunError for what cannot be sent.
    """
    deadline = asyncio.get_running_loop().time() + timeouts.total
    seen = {request.url}
    while True:
        response = await _asked(way, request, timeouts, deadline)
        if response.status < 300:
            return response
        try:
            if response.status >= 400:
                failed = await status_error(response, request)
                await response.hang_up()
                raise failed
            request = _redirected(request, response)
            if request.url in seen or len(seen) > _MOST_REDIRECTS:
                raise redirect(response.status, request, again_and_again=True)
            seen.add(request.url)
        finally:
            await response.aclose()


async def _asked(way: httpx.AsyncBaseTransport, request: Request, timeouts: Timeouts, deadline: float) -> Response:
    patience = timeouts.read if timeouts.first is None else timeouts.first
    limits: dict[str, float | None] = {
        "connect": timeouts.connect,
        "read": patience,
        "write": timeouts.read,
        "pool": None,
    }
    outgoing = _outgoing(request, limits)
    try:
        async with asyncio.timeout_at(deadline):
            with quiet(), reach.free(request.listed):
                reach.check(outgoing.url.host)  # a connection that stands is not opened anew
                raw = await way.handle_async_request(outgoing)
    except NETWORK_ERRORS as error:
        raise _told(outgoing.extensions, failure(error, request, timeouts, begun=False)) from None
    limits["read"] = None  # from here on the inflow holds the watch
    return Response(raw, request, timeouts, deadline)


def _told(extensions: Mapping[str, Any], error: RunError) -> RunError:
    """The error; who watches the wire is told of it in the words that the user reads."""
    if (tell := extensions.get("failed")) is not None:
        tell(error)
    return error


def _redirected(request: Request, response: Response) -> Request:
    """The request at the address a redirect names. Raises RequestError for a redirect that is not followed."""
    place = response.header("location")
    if response.status not in (307, 308) or not place:
        raise redirect(response.status, request)
    try:
        here, there = httpx.URL(request.url), httpx.URL(request.url).join(place)
    except (httpx.InvalidURL, ValueError):
        raise redirect(response.status, request) from None
    if _origin(here) != _origin(there) or there.userinfo:
        raise redirect(response.status, request)
    return replace(request, url=str(there))


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


def _outgoing(request: Request, limits: dict[str, float | None]) -> httpx.Request:
    own = {name.lower() for name in request.headers}
    url = _url(request.url)
    headers = [item for item in _HEADERS.items() if item[0] not in own] + [*request.headers.items()]
    if url.scheme == "http" and not address.is_loopback(url.host):
        # who listens in between could put an answer behind an answer, for the next request to find
        headers = [("connection", "close") if name == "connection" else (name, value) for name, value in headers]
    content = request.content
    stream = None
    if isinstance(content, bytes) and content:
        # as httpx writes them itself, which takes it as long as all the rest
        host = [] if "host" in own else [("Host", url.netloc.decode("ascii"))]
        length = [] if "content-length" in own else [("Content-Length", str(len(content)))]
        headers = [*host, *headers, *length]
        stream = httpx.ByteStream(content)
    try:
        outgoing = httpx.Request(
            request.method,
            url,
            headers=headers,
            content=content() if callable(content) else content,
            stream=stream,
            extensions={"timeout": limits},
        )
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise _no_url(request.url, error) from None
    if stream is not None:
        outgoing.read()  # who takes the network's place may look at `content`
    return outgoing


@lru_cache(maxsize=64)  # a workflow asks the same few addresses again and again
def _url(text: str) -> httpx.URL:
    """The parsed address. Raises RunError for one that is never asked."""
    try:
        url = httpx.URL(text)
        host = url.host  # read here first: an `xn--` that is no name breaks it
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise _no_url(text, error) from None
    if url.scheme not in ("http", "https") or not host:
        raise RunError("url", say("`{url}` is no http:// or https:// address", url=address.shown(text)))
    if url.userinfo:
        raise RunError(
            "url", say("the address of {host} has a user or a password in it; send them in a header", host=url.host)
        )
    if not 0 < (url.port or 80) < 65536:
        raise RunError("url", say("`{url}` has a port that does not exist", url=address.shown(text)))
    address.check_host(url.host)
    return url


def _no_url(url: str, error: Exception) -> RunError:
    return RunError("url", say("`{url}` is no URL: {reason}", url=address.shown(url), reason=error))


class Response:
    """An answer whose body has not been read yet."""

    def __init__(self, raw: httpx.Response, request: Request, timeouts: Timeouts, deadline: float) -> None:
        self._raw = raw
        self._request = request
        self._timeouts = timeouts
        self._deadline = deadline
        self._inflow: Inflow | None = None
        self.status = raw.status_code
        self._media_type: str | None = None

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters; empty where the server named none."""
        if self._media_type is None:
            self._media_type = (self.header("content-type") or "").partition(";")[0].strip().lower()
        return self._media_type

    @property
    def encoding(self) -> str:
        """The charset of a text body."""
        return self._raw.charset_encoding or "utf-8"

    def header(self, name: str) -> str | None:
        """A header's value by its name in any case."""
        value: str | None = self._raw.headers.get(name)
        return value

    def headers(self) -> list[tuple[str, str]]:
        """All headers, as often as they came."""
        return list(self._raw.headers.multi_items())

    async def reads(self) -> AsyncIterator[bytes]:
        """The body, decompressed: each time all that has arrived since. Raises RunError."""
        if self._inflow is None:
            patience = self._timeouts.read if self._timeouts.first is None else self._timeouts.first
            self._inflow = Inflow(self._pieces(), self._deadline, patience, self._timeouts.read)
        inflow = self._inflow
        try:
            while data := await inflow.take():
                yield data
        except NETWORK_ERRORS as error:
            failed = failure(error, self._request, self._timeouts, begun=True)
            raise _told(self._raw.extensions, failed) from None

    def _pieces(self) -> AsyncIterator[bytes]:
        """The body's pieces, decompressed."""
        raw = self._raw
        if not isinstance(raw.stream, httpx.AsyncByteStream):
            return raw.aiter_bytes()
        encoding = raw.headers.get("content-encoding")
        return inflated(aiter(raw.stream), encoding, self._request.host) if encoding else aiter(raw.stream)

    async def drain(self, seconds: float) -> None:
        """Read what little is left, so that the connection can be used again; after `seconds` it is given up instead."""
        with contextlib.suppress(RunError, TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in self.reads():
                    pass

    async def body(self, limit: int = BODY_LIMIT) -> bytes:
        """The whole body. Raises RunError, of kind `too_large` beyond `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for data in self.reads():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise RunError(
                    "too_large",
                    say(
                        "{host} sent more than {limit} MiB; the run was ended",
                        host=self._request.host,
                        limit=limit // 2**20,
                    ),
                )
        return b"".join(parts)

    async def start_of_body(self) -> bytes:
        """The first 64 KiB, for an error's words; what cannot be read is left out."""
        found = b""
        with contextlib.suppress(RunError):
            async for data in self.reads():
                found += data
                if len(found) >= _ERROR_BODY_LIMIT:
                    break
        return found[:_ERROR_BODY_LIMIT]

    async def hang_up(self) -> None:
        """End the connection also where it could be used again: a server that has enough to do gets it back."""
        stream = self._raw.extensions.get("network_stream")
        if stream is not None:
            await stream.aclose()

    async def aclose(self) -> None:
        """End the connection, or give it back where the body was read to its end."""
        try:
            if self._inflow is not None:
                await self._inflow.aclose()
        finally:  # also where a second cancellation comes meanwhile
            await self._raw.aclose()
