"""What no request gets past: names, origins, sizes, time and the token, as one layer around any ASGI application.

A server on 127.0.0.1 is reached by every web page that its user opens. So a request must name a host that is ours (DNS
rebinding brings a stranger's name), may not come from another origin (the Fetch standard's `Origin` and `Sec-Fetch-Site`),
and has one of the content types that we read. What is refused is answered as JSON, `{"error": {"kind", "message"}, "detail"}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import logging
import re
import secrets
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from composemagic.server.limits import HEADERS, Limits, as_json, too_large, too_long, too_slow
from composemagic.server.refusals import Refusal
from composemagic.text import plain
from composemagic.words import say

__all__ = ["Guard", "name_of"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_ALWAYS_OURS = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?")
_BODY_TYPES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
# a second one would be read by one program and not by the next
_ONCE = (b"host", b"origin", b"authorization", b"content-type", b"content-length", b"transfer-encoding")
_PORTS = {"http": 80, "https": 443}
_SHOWN = 80  # characters of a header that a sentence repeats

_log = logging.getLogger("composemagic.server")


class Guard:
    """An ASGI application around another, which sees only requests that are ours, with their whole body.

    `hosts` are further names by which the server is reached; an address that the connection came to is one. With a `token`,
    requests have it as `Authorization: Bearer`; a browser brings it once, as `/?token=...` of the page (`is_page`), and has a
    cookie from then on.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: Iterable[str] = (),
        token: str | None = None,
        is_page: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self._app = app
        self._hosts = frozenset((*_ALWAYS_OURS, *(host.strip("[]").lower() for host in hosts)))
        self._token = token
        self._is_page = is_page
        self._limits = limits or Limits()
        self._session = secrets.token_urlsafe(32)  # other programs on this host see the cookie: it is not the token

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One connection's event, as ASGI has it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._answer(_Asked(scope), receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, asked: _Asked, receive: Receive, send: Send) -> None:
        answer = _Answer(send, closes=b"transfer-encoding" in asked.several)
        body = _Body(asked, receive, self._limits)
        try:
            self._check(asked)
            if await body.read():
                await self._app(asked.scope, body.replayed(), answer.send)
        except _Entered as entered:
            await answer.end(200, entered.headers, entered.text, body)
        except Refusal as refusal:
            await answer.refuse(refusal, body)
        except Exception as error:
            _log.error(_told(error))
            if answer.ended:
                return
            if answer.started:
                raise  # half an answer: who reads it must see that it breaks off
            await answer.refuse(Refusal(500, "internal", say("the server failed; its own output says where")), body)

    # -- what is asked ---------------------------------------------------------------------------------------------------
    def _check(self, asked: _Asked) -> None:
        """Raise Refusal for what the head of a request says."""
        size = sum(len(name) + len(value) + 4 for name, value in asked.scope["headers"])
        if size + len(asked.scope.get("raw_path") or b"") + len(asked.scope["query_string"]) > self._limits.header:
            raise too_long(self._limits.header)
        for name, values in asked.several.items():
            if name in _ONCE and len(values) > 1:
                raise Refusal(400, "request", say("the header `{name}` is given twice", name=name.decode()))
        if not asked.scope["path"].startswith("/"):
            raise Refusal(400, "request", say("this server is no proxy: ask for a path, such as /"))
        self._check_host(asked)
        self._check_origin(asked)
        self._check_token(asked)
        _check_type(asked)

    def _check_host(self, asked: _Asked) -> None:
        given = asked.header(b"host")
        if given is None:
            raise Refusal(400, "host", say("the request names no host"))
        name = name_of(given)
        server = (asked.scope.get("server") or ("",))[0]
        if name is None or (name not in self._hosts and not _is_address(name, server)):
            sentence = say(
                "`{host}` is no name of this server; where it is, start the server with --allow-host {host}",
                host=plain(given)[:_SHOWN],
            )
            raise Refusal(403, "host", sentence)

    def _check_origin(self, asked: _Asked) -> None:
        origin = asked.header(b"origin")
        if origin is not None and not _is_same(origin, asked.header(b"host") or ""):
            raise Refusal(
                403,
                "origin",
                say("a page of {origin} may not use this server", origin=plain(origin)[:_SHOWN] or "-"),
            )
        site = asked.header(b"sec-fetch-site")
        if site not in (None, "same-origin", "none") and not (self._is_page and asked.is_opened):
            raise Refusal(403, "origin", say("a page of another site may not use this server"))

    # -- the token -------------------------------------------------------------------------------------------------------
    def _check_token(self, asked: _Asked) -> None:
        if self._token is None:
            return
        given = asked.header(b"authorization")
        if given is not None:
            scheme, _, word = given.partition(" ")
            if scheme.lower() == "bearer" and _equal(word.strip(), self._token):
                return
        elif self._is_page:
            self._check_page(asked)
            return
        raise _no_token(say("this server wants its token: send the header `Authorization: Bearer TOKEN`"))

    def _check_page(self, asked: _Asked) -> None:
        query = parse_qsl(asked.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        brought = next((value for name, value in query if name == "token"), None)
        if brought is not None and asked.is_for_page:
            if not _equal(brought, self._token or ""):
                raise _no_token(say("this is not the server's token; open the address that it showed when it started"))
            raise _Entered(self._cookie(asked), [pair for pair in query if pair[0] != "token"])
        mine = asked.cookie(self._cookie_name(asked))
        if mine is None or not _equal(mine, self._session):
            raise _no_token(say("this server wants its token; open the address that it showed when it started"))

    def _cookie(self, asked: _Asked) -> str:
        return f"{self._cookie_name(asked)}={self._session}; Path=/; HttpOnly; SameSite=Strict"

    def _cookie_name(self, asked: _Asked) -> str:
        """A browser's cookies are a host's, not a port's: two servers must not share one."""
        return f"composemagic-{(asked.scope.get('server') or ('', 0))[1]}"


class _Asked:
    """A request's head."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.scope = scope
        self.several: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            self.several.setdefault(name.lower(), []).append(value)

    def header(self, name: bytes) -> str | None:
        """A header's value, as characters of Latin-1."""
        found = self.several.get(name)
        return None if found is None else found[0].decode("latin-1")

    @property
    def length(self) -> int | None:
        text = self.header(b"content-length") or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    @property
    def has_body(self) -> bool:
        return self.length != 0 and (b"content-length" in self.several or b"transfer-encoding" in self.several)

    @property
    def is_for_page(self) -> bool:
        return bool(self.scope["method"] == "GET" and self.scope["path"] == "/")

    @property
    def is_opened(self) -> bool:
        """Whether a person opens the page from a link: nothing is run by that, and nobody else sees the answer."""
        how = (self.header(b"sec-fetch-mode"), self.header(b"sec-fetch-dest"))
        return self.is_for_page and how == ("navigate", "document")

    def cookie(self, name: str) -> str | None:
        for line in self.several.get(b"cookie", ()):
            for pair in line.decode("latin-1").split(";"):
                key, _, value = pair.strip().partition("=")
                if key == name:
                    return value
        return None


class _Body:
    """A request's body."""

    def __init__(self, asked: _Asked, receive: Receive, limits: Limits) -> None:
        self._asked = asked
        self._receive = receive
        self._limits = limits
        self._data = bytearray()
        self._is_whole = not asked.has_body

    async def read(self) -> bool:
        """Read all of it; False where the client has gone. Raises Refusal for one that is too long or comes too slowly."""
        limit = self._limits.body
        if (self._asked.length or 0) > limit:
            raise too_large(limit)
        try:
            async with asyncio.timeout(self._limits.send):
                while not self._is_whole:
                    if not await self._next():
                        return False
                    if len(self._data) > limit:
                        raise too_large(limit)
        except TimeoutError:
            raise too_slow(self._limits.send) from None
        return True

    async def drain(self) -> None:
        """Read what a refused client still sends: one that is cut off in its sending would not read the answer."""
        if self._asked.header(b"expect") is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger):
                while not self._is_whole and await self._next():
                    self._data.clear()

    async def _next(self) -> bool:
        message = await self._receive()
        if message["type"] != "http.request":
            return False
        self._data += message.get("body", b"")
        self._is_whole = not message.get("more_body", False)
        return True

    def replayed(self) -> Receive:
        """What the application receives: the body as one, and then what comes after it."""
        first: list[Message] = [{"type": "http.request", "body": bytes(self._data), "more_body": False}]

        async def again() -> Message:
            return first.pop() if first else await self._later()

        return again

    async def _later(self) -> Message:
        while (message := await self._receive())["type"] == "http.request":
            pass  # the empty body of a request that has none
        return message


class _Answer:
    """What goes back. `closes`: the connection ends with it."""

    def __init__(self, send: Send, *, closes: bool) -> None:
        self._send = send
        self._closes = closes
        self.started = self.ended = False

    async def send(self, message: Message) -> None:
        """The application's answer, with what every answer says."""
        if message["type"] == "http.response.start":
            self.started = True
            own = [(name.lower(), value) for name, value in message.get("headers", ())]
            message = {**message, "headers": [*self._headers(own)]}
        await self._send(message)
        self.ended = message["type"] == "http.response.body" and not message.get("more_body", False)

    def _headers(self, own: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        yield from (pair for pair in own if not pair[0].startswith(b"access-control-"))
        names = {name for name, _ in own}
        yield from (pair for pair in HEADERS.items() if pair[0] not in names)
        if self._closes and b"connection" not in names:
            # what stands behind a chunked body is never taken for a next request
            yield b"connection", b"close"

    async def refuse(self, refusal: Refusal, body: _Body) -> None:
        """The guard's own answer."""
        headers = {"content-type": "application/json", **refusal.headers}
        await self.end(refusal.status, headers, as_json(refusal), body)

    async def end(self, status: int, headers: Mapping[str, str], text: bytes, body: _Body) -> None:
        """An answer with which the connection ends, when what is still sent has been read."""
        self._closes = True
        told = {**headers, "content-length": str(len(text))}
        pairs = [(name.encode(), value.encode()) for name, value in told.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": text, "more_body": True})
        await body.drain()
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})


class _Entered(Exception):  # noqa: N818 - it is none
    """The page's token was brought: a cookie is given for it, and the address loses it.

    Not by a redirect: a browser that came from another site would not send the new cookie along.
    """

    def __init__(self, cookie: str, query: list[tuple[str, str]]) -> None:
        super().__init__()
        self.headers = {"content-type": "text/html; charset=utf-8", "set-cookie": cookie}
        self._place = html.escape("/" + (f"?{urlencode(query)}" if query else ""))

    @property
    def text(self) -> bytes:
        """A page that leads to the page."""
        title = html.escape(say("Open the page"))
        return (
            f'<!doctype html><meta charset="utf-8"><title>composemagic</title>'
            f'<meta http-equiv="refresh" content="0;url={self._place}"><a href="{self._place}">{title}</a>'
        ).encode()


def name_of(host: str) -> str | None:
    """The name in a `Host` header, in lower case, without port and brackets; None for what is none."""
    found = _HOST.fullmatch(host.lower())
    return found[1].strip("[]") if found else None


def _is_address(name: str, server: str) -> bool:
    """Whether a name is the very address that the connection came to, which no foreign name server can say."""
    try:
        return ip_address(name) == ip_address(server.partition("%")[0])
    except ValueError:
        return False


def _is_same(origin: str, host: str) -> bool:
    """Whether a page's origin is the server that it asks."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return False
    if parts.scheme not in _PORTS or f"{parts.scheme}://{parts.netloc}" != origin.lower():
        return False
    asked = _HOST.fullmatch(host.lower())
    found = _HOST.fullmatch(parts.netloc)
    if asked is None or found is None:
        return False
    return found[1] == asked[1] and port == int(asked[2] or _PORTS[parts.scheme])


def _check_type(asked: _Asked) -> None:
    """A page of another site can send text without asking: only the types that it cannot, and forms, are read."""
    kind = (asked.header(b"content-type") or "").partition(";")[0].strip().lower()
    is_wanted = asked.has_body or (kind and asked.scope["method"] not in ("GET", "HEAD"))
    if is_wanted and kind not in _BODY_TYPES:
        known = ", ".join(_BODY_TYPES)
        sentence = say("the body's Content-Type is {known}, not `{type}`", known=known, type=plain(kind)[:_SHOWN])
        raise Refusal(400, "content_type", sentence)


def _equal(given: str, wanted: str) -> bool:
    return compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _no_token(sentence: str) -> Refusal:
    return Refusal(401, "token", sentence, headers={"www-authenticate": "Bearer"})


def _told(error: Exception) -> str:
    """Where the application failed, without the error's text: it may hold what a user sent, or a key."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__} in the server:\n{frames}"
