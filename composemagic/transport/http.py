"""HTTP for components: one request out, one response in, every failure a RunError with a sentence.

The one place that imports httpx. Time limits: connect 5 s, first byte and between bytes 60 s, total 600 s on the loop's
monotonic clock; a read limit alone would never end a drip of bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httpx

from composemagic.errors import RunError
from composemagic.transport import address
from composemagic.transport.providers import error_message, page_words

__all__ = ["BODY_LIMIT", "Request", "Response", "Timeouts", "new_client", "send"]

BODY_LIMIT = 32 * 2**20
_ERROR_BODY_LIMIT = 64 * 2**10
_READ_AHEAD = 2**17
_ONE_BY_ONE = 4
_HEADERS = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",  # what httpx can always undo
    "connection": "keep-alive",
    "user-agent": "composemagic",
}
_POOL = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds until the connection stands, until the next byte, and until the whole answer is there."""

    connect: float = 5.0
    read: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Request:
    """What goes out. `key_variables` are the environment variables its headers were made from, for a 401's sentence."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)  # keys
    content: bytes | None = None
    model: str | None = None
    key_variables: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The host, with the port where the URL names one."""
        return re.sub(r"^\w+://(?:[^/@]*@)?([^/?#]*).*$", r"\1", self.url, flags=re.DOTALL)

    def redacted(self, text: str) -> str:
        """Text from outside without the keys that the headers carry, which servers like to repeat."""
        keys = {
            word for name, value in self.headers.items() if _is_key(name) for word in value.split() if len(word) > 7
        }
        return re.sub("|".join(map(re.escape, sorted(keys, key=len, reverse=True))), "***", text) if keys else text


def _is_key(header: str) -> bool:
    return re.search("auth|key|token|secret|cookie|password|credential", header, re.IGNORECASE) is not None


def new_client() -> httpx.AsyncClient:
    """A client to be shared by all runs of one loop: making one costs about 18 ms of TLS set-up."""
    return httpx.AsyncClient(limits=_POOL)


Way = httpx.AsyncClient | httpx.AsyncBaseTransport


@asynccontextmanager
async def send(way: Way, request: Request, timeouts: Timeouts) -> AsyncIterator[Response]:
    """Send a request and give its response, whose status is below 300. Raises RunError; the connection ends with the block.

    The way is our own client, or a transport of the user's, which stays theirs to close. No redirect is followed, which
    could carry a key to another host, and no cookie is kept from one run to the next.
    """
    deadline = asyncio.get_running_loop().time() + timeouts.total
    limits = httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=None)
    outgoing = _outgoing(request, limits)
    # the transport itself and not `client.send`: no cookies, no redirects, no log of addresses, and a shorter way to the
    # first byte. httpx tells nowhere else which transport of a client (a proxy) serves an address.
    transport = way._transport_for_url(outgoing.url) if isinstance(way, httpx.AsyncClient) else way
    try:
        async with asyncio.timeout_at(deadline):
            raw = await transport.handle_async_request(outgoing)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, UnicodeError) as error:
        raise _failure(error, request, timeouts, begun=False) from None
    response = Response(raw, request, timeouts, deadline)
    try:
        if raw.status_code >= 300:
            raise await _status_error(response)
        yield response
    finally:
        await response.aclose()


def _outgoing(request: Request, limits: httpx.Timeout) -> httpx.Request:
    own = {name.lower() for name in request.headers}
    headers = [item for item in _HEADERS.items() if item[0] not in own] + [*request.headers.items()]
    try:
        return httpx.Request(
            request.method,
            _url(request.url),
            headers=headers,
            content=request.content,
            extensions={"timeout": limits.as_dict()},
        )
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise RunError("url", f"`{address.shown(request.url)}` is no URL: {error}") from None


@lru_cache(maxsize=64)  # a workflow asks the same few addresses again and again
def _url(text: str) -> httpx.URL:
    """The parsed address. Raises RunError for one that is never asked."""
    url = httpx.URL(text)
    if url.scheme not in ("http", "https") or not url.host:
        raise RunError("url", f"`{address.shown(text)}` is no http:// or https:// address")
    if url.userinfo:
        raise RunError("url", f"the address of {url.host} has a user or a password in it; send them in a header")
    if not 0 < (url.port or 80) < 65536:
        raise RunError("url", f"`{address.shown(text)}` has a port that does not exist")
    address.check_host(url.host)
    return url


class Response:
    """An answer whose body has not been read yet."""

    def __init__(self, raw: httpx.Response, request: Request, timeouts: Timeouts, deadline: float) -> None:
        self._raw = raw
        self._request = request
        self._timeouts = timeouts
        self._deadline = deadline
        self._inflow: _Inflow | None = None
        self.status = raw.status_code

    @property
    def media_type(self) -> str:
        """The media type in lower case, without parameters; empty where the server named none."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        """The charset of a text body."""
        return self._raw.charset_encoding or "utf-8"

    def header(self, name: str) -> str | None:
        """A header's value by its name in any case."""
        value: str | None = self._raw.headers.get(name)
        return value

    async def reads(self) -> AsyncIterator[bytes]:
        """The body, decompressed: each time all that has arrived since. Raises RunError."""
        self._inflow = inflow = self._inflow or _Inflow(_pieces(self._raw), self._deadline)
        try:
            while data := await inflow.take():
                yield data
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, OSError) as error:
            raise _failure(error, self._request, self._timeouts, begun=True) from None

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
                    "too_large", f"{self._request.host} sent more than {limit // 2**20} MiB; the run was ended"
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

    async def aclose(self) -> None:
        """End the connection, or give it back where the body was read to its end."""
        try:
            if self._inflow is not None:
                await self._inflow.aclose()
        finally:  # also where a second cancellation comes meanwhile
            await self._raw.aclose()


def _pieces(raw: httpx.Response) -> AsyncIterator[bytes]:
    """The body's pieces, decompressed; where there is nothing to decompress, without the layers that would do it."""
    if "content-encoding" in raw.headers or not isinstance(raw.stream, httpx.AsyncByteStream):
        return raw.aiter_bytes()
    return aiter(raw.stream)


class _Inflow:
    """Gives a body's bytes: the first pieces one by one, then at each call all that has arrived since.

    httpx gives every HTTP chunk by itself, which for a model's stream is every event, and handing each through all floors
    costs as much as fetching it. So a task of its own reads on while the last read is being worked on. The first pieces do
    without it: they are what the user waits for.
    """

    def __init__(self, source: AsyncIterator[bytes], deadline: float) -> None:
        self._source = source
        self._deadline = deadline
        self._ones = _ONE_BY_ONE
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._failure: Exception | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def take(self) -> bytes:
        """Bytes, waiting for the first one; empty at the end. Raises what reading raised, TimeoutError at the deadline."""
        while self._ones:
            self._ones -= 1
            async with asyncio.timeout_at(self._deadline):
                data = await anext(self._source, None)
            if data is None:
                self._ones, self._ended = 0, True
            elif data:
                return data
        if self._task is None and not self._ended:
            self._start()
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._room.set()
        return data

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._read())
        self._timer = loop.call_at(self._deadline, self._too_late)

    async def aclose(self) -> None:
        """Stop reading."""
        if self._task is not None and self._timer is not None:
            self._timer.cancel()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for data in self._source:
                if data:
                    self._pieces.append(data)
                    self._size += len(data)
                    self._arrived.set()
                if self._size > _READ_AHEAD:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:
            self._failure = error
        finally:
            self._ended = True
            self._arrived.set()

    def _too_late(self) -> None:
        self._failure = TimeoutError()
        if self._task is not None:
            self._task.cancel()


# -- failures ------------------------------------------------------------------------------------------------------------


def _failure(error: Exception, request: Request, timeouts: Timeouts, *, begun: bool) -> RunError:
    """What the network did, as a sentence: httpx's own texts are often empty."""
    host = request.host
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return RunError("timeout_connect", f"{host} did not accept a connection within {timeouts.connect:g} s")
        case httpx.ReadTimeout() if begun:
            return RunError("timeout_read", f"No data from {host} for {timeouts.read:g} s (timeout.read)")
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            return RunError("timeout_read", f"No answer from {host} in {timeouts.read:g} s (timeout.read)")
        case TimeoutError():
            return RunError("timeout_total", f"Longer than {timeouts.total:g} s (timeout.total)")
        case httpx.UnsupportedProtocol():
            return RunError("url", f"`{address.shown(request.url)}` is no http:// or https:// address")
        case httpx.ConnectError():
            return _no_connection(str(error), request)
        case httpx.ProxyError():
            return RunError("connect", f"The proxy on the way to {host} refused the request; is its address right?")
        case UnicodeError():
            return RunError("dns", f"Cannot find the host {host.partition(':')[0]}; it is no name that could exist")
        case httpx.DecodingError():
            return RunError("decode", f"{host} sent a body that cannot be decompressed")
        case httpx.LocalProtocolError():
            # its text repeats the header's value, which may be a key
            return RunError("request", "a header has characters that cannot be sent, such as a line break in a key")
        case httpx.RemoteProtocolError() if "illegal" in str(error) or "Receive buffer" in str(error):
            return RunError("protocol", f"{host} does not speak HTTP")
    if begun:
        return RunError("connection_lost", f"The connection to {host} was lost before the answer was complete")
    size = len(request.content or b"") / 2**20
    hint = f"; is the request of {size:.0f} MiB too large for it?" if size > 1 else ""
    return RunError("connection_lost", f"{host} closed the connection without an answer{hint}")


def _no_connection(reason: str, request: Request) -> RunError:
    host = request.host
    low = reason.lower()
    if "ssl" in low or "certificate" in low or "tls" in low:
        return _no_tls(reason, request)
    if "name" in low or "nodename" in low or "getaddrinfo" in low or "address associated" in low:
        return RunError("dns", f"Cannot find the host {host.partition(':')[0]}; is the name right, is the network up?")
    hint = "is the server started, is the port right?" if address.is_loopback(host) else "is the address right?"
    return RunError("connect", f"Nothing listens at {host}; {hint}")


def _no_tls(reason: str, request: Request) -> RunError:
    if "wrong_version_number" in reason.lower() or "wrong version number" in reason.lower():
        return RunError("tls", f"{request.host} does not speak TLS; did you mean http://{request.host} ?")
    found = re.search(r"certificate verify failed: ([^(]*)", reason)
    why = found[1].strip() if found else reason.rpartition("] ")[2].partition(" (")[0]
    return RunError("tls", f"{request.host} cannot be trusted: {why or 'the TLS handshake failed'}")


_KINDS = {
    401: "auth",
    403: "auth",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    429: "rate_limit",
}
_KINDS |= {503: "overloaded", 529: "overloaded"}


async def _status_error(response: Response) -> RunError:
    """The sentence for an answer that is no success, with the provider's own words."""
    status, request = response.status, response._request
    if status < 400:
        return RunError(
            "redirect", f"{request.host} wants to redirect ({status}); write the final address into the YAML"
        )
    words = " ".join(request.redacted(_words(await response.start_of_body(), response.media_type)).split())[:300]
    kind = _KINDS.get(status, "server" if status >= 500 else "bad_request")
    return RunError(kind, _status_sentence(status, request, response) + (f": {words}" if words else ""))


def _status_sentence(status: int, request: Request, response: Response) -> str:
    host = request.host
    match status:
        case 401 if request.key_variables:
            names = " and ".join(f"${name}" for name in request.key_variables)
            return f"{host} rejected the key from {names} (401)"
        case 401:
            return f"{host} wants a key (401)"
        case 403:
            return f"{host} does not allow this (403)"
        case 404:
            model = f" or the model {request.model}" if request.model else ""
            return f"{address.shown(request.url)}{model} was not found (404)"
        case 413:
            return f"The request of {len(request.content or b'')} bytes is too large for {host} (413)"
        case 429:
            again = response.header("retry-after")
            return f"Rate limited by {host} (429)" + (f"; it says: again in {again} s" if again else "")
        case 503 | 529:
            return f"{host} is overloaded ({status})"
    return f"{host} answered with status {status}"


def _words(body: bytes, media_type: str) -> str:
    """The provider's words in an error body."""
    text = body.decode("utf-8", "replace")
    if "html" in media_type:
        return page_words(text)
    return error_message(_json(text)) or ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text[:300]
