"""Connections: HTTP/1.1 as RFC 9112 has it and no more, and none that is held open by who does not send or does not read.

h11 reads leniently what other programs in front of a server read in another way: bare line feeds, folded lines, several
lengths. Where the two disagree on the end of a request, a second one is smuggled in behind it. So the head is looked at
before h11 sees it, and what follows a chunked body is never read (guard.py ends such a connection).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from composemagic.server.limits import HEADERS, Limits, as_json, too_long, too_slow
from composemagic.server.refusals import Refusal
from composemagic.words import say

__all__ = ["flaw", "wire"]

_END = re.compile(rb"\n\r?\n")
_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ /[\x21-\x7e]* HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_IN_CHUNKS = b"\r\ntransfer-encoding: chunked\r\n"
_FRAMING = (b"host", b"content-length", b"transfer-encoding")

_quiet = logging.getLogger("composemagic.server.wire")
_quiet.disabled = True  # what clients send wrongly is answered, not logged


def flaw(head: bytes) -> str | None:
    """What is wrong with the head of a request, its empty line included, by RFC 9112; None where nothing is."""
    if not head.endswith(b"\r\n\r\n") or re.search(rb"(?<!\r)\n|\r(?!\n)", head):
        return say("the lines of a request end with CR and LF")
    first, *lines = head[:-4].split(b"\r\n")
    if not _LINE.fullmatch(first):
        return say("the first line is no request of HTTP/1.1 for a path of this server")
    framing: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return say("a line of the head is no header")
        name = field[1].lower()
        if name in framing:
            return say("the header `{name}` is given twice", name=name.decode())
        if name in _FRAMING:
            framing[name] = field[2].strip()
    return _framing_flaw(framing, first.endswith(b"1.0"))


def _framing_flaw(framing: dict[bytes, bytes], is_old: bool) -> str | None:
    length, coding = framing.get(b"content-length"), framing.get(b"transfer-encoding")
    if coding is not None and (length is not None or is_old):
        return say("Transfer-Encoding stands beside a Content-Length, or in HTTP/1.0")
    if coding is not None and coding.lower() != b"chunked":
        return say("the Transfer-Encoding is `chunked`, nothing else")
    if length is not None and not re.fullmatch(rb"[0-9]{1,18}", length):
        return say("Content-Length is a whole number")
    return None


class _Strict(h11.Connection):
    """h11's own reading of a request, after ours."""

    def __init__(self, limit: int) -> None:
        super().__init__(h11.SERVER, limit)
        self._limit = limit
        self._in_chunks = False
        self.refusal: Refusal | None = None

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE:
            self.refusal = self._refused(bytes(self.trailing_data[0]))
            if self.refusal is not None:
                raise h11.RemoteProtocolError(str(self.refusal))
        return super().next_event()

    def send(self, event: Any) -> Any:
        """The bytes of an event. Those of a piece of a stream are made here: h11 takes ten calls for it."""
        if type(event) is h11.Data and self._in_chunks and self.our_state is h11.SEND_BODY:
            return b"%x\r\n%b\r\n" % (len(event.data), event.data) if event.data else b""
        found = super().send(event)
        self._in_chunks = type(event) is h11.Response and found is not None and _IN_CHUNKS in found.lower()
        return found

    def _refused(self, data: bytes) -> Refusal | None:
        end = _END.search(data)
        if (len(data) if end is None else end.end()) > self._limit:
            return too_long(self._limit)
        problem = flaw(data[: end.end()]) if end else None
        return Refusal(400, "request", problem) if problem else None


class _Wire(H11Protocol):
    """uvicorn's connection, with a watch on its time."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn: _Strict = _Strict(limits.header)
        self.logger, self.access_log = _quiet, False
        self._limits = limits
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._is_deaf = False

    # -- what asyncio calls --------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self._limits.connections:
            self.transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        if not self._is_deaf:
            super().data_received(data)
            self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._in("unread", self._limits.unread, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._off("unread")

    def connection_lost(self, exc: Exception | None) -> None:
        for name in [*self._timers]:
            self._off(name)
        super().connection_lost(exc)

    # -- what uvicorn calls --------------------------------------------------------------------------------------------
    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """The answer to what is no request."""
        refusal = self.conn.refusal or Refusal(400, "request", say("this is no request of HTTP/1.1"))
        self._refuse(refusal)

    # -- time ----------------------------------------------------------------------------------------------------------
    def _watch(self) -> None:
        """Give a request that has begun, and a connection that has said nothing yet, its time to send."""
        if self.transport.is_closing():
            self._in("unread", self._limits.unread, self.transport.abort)  # what is left may never be read
        is_between = self.timeout_keep_alive_task is not None
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not is_between:
            if "send" not in self._timers:
                self._in("send", self._limits.send, self._late)
        else:
            self._off("send")

    def _late(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # a browser that connects in advance asks for nothing
        else:
            self._refuse(too_slow(self._limits.send))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, end the sending side, and read on for a moment: a client that still sends would not see the answer."""
        if self._is_deaf or self.transport.is_closing():
            return
        self._is_deaf = True
        self._off("send")
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_as_http(refusal))
        self.flow.resume_reading()
        self.transport.write_eof()
        self._in("linger", self._limits.linger, self.transport.abort)

    def _in(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        self._off(name)
        self._timers[name] = self.loop.call_later(seconds, call)

    def _off(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def wire(limits: Limits) -> Callable[..., asyncio.Protocol]:
    """What uvicorn makes for each connection."""
    return partial(_Wire, limits=limits)


def _as_http(refusal: Refusal) -> bytes:
    body = as_json(refusal)
    lines = {b"content-type": b"application/json", b"connection": b"close", **HEADERS}
    head = b"".join(b"%s: %s\r\n" % line for line in lines.items())
    first = b"HTTP/1.1 %d %s" % (refusal.status, STATUS_PHRASES[refusal.status])
    return b"%s\r\n%scontent-length: %d\r\n\r\n%s" % (first, head, len(body), body)
