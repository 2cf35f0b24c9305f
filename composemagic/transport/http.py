"""HTTP for components: one request out, one response in, every failure a RunError with a sentence.

The one place that imports httpx. Time limits: connect 5 s, first byte and between bytes 60 s, total 600 s on the loop's
monotonic clock; a read limit alone would never end a drip of bytes.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import httpx

from composemagic.errors import RunError
from composemagic.transport.providers import error_message

__all__ = ["BODY_LIMIT", "Request", "Response", "Timeouts", "new_client", "send"]

BODY_LIMIT = 32 * 2**20
_ERROR_BODY_LIMIT = 64 * 2**10
_READ_AHEAD = 2**20
_ONE_BY_ONE = 4
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
    headers: Mapping[str, str]
    content: bytes | None = None
    model: str | None = None
    key_variables: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The host, with the port where the URL names one."""
        return re.sub(r"^\w+://(?:[^/@]*@)?([^/?#]*).*$", r"\1", self.url, flags=re.DOTALL)

    @property
    def shown_url(self) -> str:
        """The URL without query and user, as a message may show it."""
        return f"{self.url.partition('://')[0]}://{self.host}{httpx.URL(self.url).path}"


def new_client(transport: Any = None) -> httpx.AsyncClient:
    """A client to be shared by all runs of one loop: making one costs about 18 ms of TLS set-up.

    Redirects are not followed: they could carry a key to another host. No cookie is kept from one run to the next.
    """
    return httpx.AsyncClient(
        transport=transport, limits=_POOL, follow_redirects=False, headers={"user-agent": "composemagic"}
    )


@asynccontextmanager
async def send(client: httpx.AsyncClient, request: Request, timeouts: Timeouts) -> AsyncIterator[Response]:
    """Send a request and give its response, whose status is below 400. Raises RunError; the connection ends with the block."""
    deadline = asyncio.get_running_loop().time() + timeouts.total
    limits = httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=None)
    try:
        outgoing = client.build_request(
            request.method, request.url, headers=request.headers, content=request.content, timeout=limits
        )
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise RunError("url", f"`{request.url[:200]}` is no URL: {error}") from None
    client.cookies.clear()
    try:
        async with asyncio.timeout_at(deadline):
            raw = await client.send(outgoing, stream=True)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as error:
        raise _failure(error, request, timeouts, begun=False) from None
    response = Response(raw, request, timeouts, deadline)
    try:
        if raw.status_code >= 300:
            raise await _status_error(response)
        yield response
    finally:
        await response.aclose()


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
        self._inflow = inflow = self._inflow or _Inflow(self._raw.aiter_bytes(), self._deadline)
        try:
            while data := await inflow.take():
                yield data
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, OSError) as error:
            raise _failure(error, self._request, self._timeouts, begun=True) from None

    async def drain(self, seconds: float) -> None:
        """Read what little is left, so that the connection can be used again; after `seconds` it is given up instead."""
        try:
            async with asyncio.timeout(seconds):
                async for _ in self.reads():
                    pass
        except (RunError, TimeoutError):
            pass

    async def body(self, limit: int = BODY_LIMIT) -> bytes:
        """The whole body. Raises RunError, of kind `too_large` beyond `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for data in self.reads():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise RunError("too_large", f"{self._request.host} sent more than {limit // 2**20} MiB; the run was ended")
        return b"".join(parts)

    async def start_of_body(self) -> bytes:
        """The first 64 KiB, for an error's words; what cannot be read is left out."""
        found = b""
        try:
            async for data in self.reads():
                found += data
                if len(found) >= _ERROR_BODY_LIMIT:
                    break
        except RunError:
            pass
        return found[:_ERROR_BODY_LIMIT]

    async def aclose(self) -> None:
        """End the connection, or give it back where the body was read to its end."""
        if self._inflow is not None:
            await self._inflow.aclose()
        await self._raw.aclose()


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
            return RunError("url", f"`{request.url[:200]}` is no http:// or https:// address")
        case httpx.ConnectError():
            return _no_connection(str(error), request)
        case httpx.DecodingError():
            return RunError("decode", f"{host} sent a body that cannot be decompressed")
        case httpx.LocalProtocolError():
            # its text repeats the header's value, which may be a key
            return RunError("request", "a header has characters that cannot be sent, such as a line break in a key")
        case httpx.RemoteProtocolError() if "illegal" in str(error) or "Receive buffer" in str(error):
            return RunError("protocol", f"{host} does not speak HTTP")
    if begun:
        return RunError("connection_lost", f"The connection to {host} was lost before the answer was complete")
    return RunError("connection_lost", f"{host} closed the connection without an answer")


def _no_connection(reason: str, request: Request) -> RunError:
    host = request.host
    low = reason.lower()
    if "ssl" in low or "certificate" in low or "tls" in low:
        return _no_tls(reason, request)
    if "name" in low or "nodename" in low or "getaddrinfo" in low or "address associated" in low:
        return RunError("dns", f"Cannot find the host {host.partition(':')[0]}; is the name right, is the network up?")
    hint = "is the server started, is the port right?" if _is_loopback(host) else "is the address right?"
    return RunError("connect", f"Nothing listens at {host}; {hint}")


def _no_tls(reason: str, request: Request) -> RunError:
    if "wrong_version_number" in reason.lower() or "wrong version number" in reason.lower():
        return RunError("tls", f"{request.host} does not speak TLS; did you mean http://{request.host} ?")
    found = re.search(r"certificate verify failed: ([^(]*)", reason)
    why = found[1].strip() if found else reason.rpartition("] ")[2].partition(" (")[0]
    return RunError("tls", f"{request.host} cannot be trusted: {why or 'the TLS handshake failed'}")


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


_KINDS = {401: "auth", 403: "auth", 404: "not_found", 408: "timeout", 409: "conflict", 413: "too_large", 429: "rate_limit"}
_KINDS |= {503: "overloaded", 529: "overloaded"}


async def _status_error(response: Response) -> RunError:
    """The sentence for an answer that is no success, with the provider's own words."""
    status, request = response.status, response._request
    if status < 400:
        return RunError("redirect", f"{request.host} wants to redirect ({status}); write the final address into the YAML")
    words = _words(await response.start_of_body(), response.media_type)
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
            return f"{request.shown_url}{model} was not found (404)"
        case 413:
            return f"The request of {len(request.content or b'')} bytes is too large for {host} (413)"
        case 429:
            again = response.header("retry-after")
            return f"Rate limited by {host} (429)" + (f"; it says: again in {again} s" if again else "")
        case 503 | 529:
            return f"{host} is overloaded ({status})"
    return f"{host} answered with status {status}"


def _words(body: bytes, media_type: str) -> str:
    """The provider's words in an error body, in one line of at most 300 characters."""
    text = body.decode("utf-8", "replace")
    if "html" in media_type:
        found = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
        words: str | None = html.unescape(found[1]) if found else ""
    else:
        words = error_message(_json(text)) or ""
    return " ".join((words or "").split())[:300]


def _json(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text[:300]
