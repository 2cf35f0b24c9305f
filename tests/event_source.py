"""Clients that read streams: a raw socket, as `curl -N` has it, and a reader that comes again as a browser's EventSource does."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from composemagic.transport.sse import Message, SSEParser

__all__ = ["EventSource", "Raw", "messages", "texts"]


class Raw:
    """One HTTP/1.1 request over a plain socket; `head` is what came before the body. Chunks are given as they come."""

    def __init__(
        self, port: int, path: str, body: Any = None, *, headers: tuple[str, ...] = (), receive_buffer: int = 0
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
        lines += [] if body is None else ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        self.head = b""
        self.rest = b""

    def reads(self) -> Iterator[bytes]:
        """The body's HTTP chunks, each as one."""
        yield from self._chunks()

    def read(self) -> bytes:
        """The whole body. Raises EOFError where the connection ends before it."""
        return b"".join(self._chunks())

    def until(self, wanted: bytes) -> bytes:
        """What comes until these bytes are there."""
        found = b""
        for piece in self._chunks():
            found += piece
            if wanted in found:
                return found
        raise AssertionError(f"{wanted!r} did not come: {found!r}")

    def close(self) -> None:
        self.socket.close()

    def _chunks(self) -> Iterator[bytes]:
        if not self.head:
            self.head = self._upto(b"\r\n\r\n")
        while size := int(self._upto(b"\r\n"), 16):
            while len(self.rest) < size + 2:
                self._more()
            found, self.rest = self.rest[:size], self.rest[size + 2 :]
            yield found

    def _upto(self, end: bytes) -> bytes:
        while end not in self.rest:
            self._more()
        found, _, self.rest = self.rest.partition(end)
        return found

    def _more(self) -> None:
        got = self.socket.recv(2**16)
        if not got:
            raise EOFError
        self.rest += got


class EventSource:
    """Reads a stream of events and comes again with `Last-Event-ID` where it ends, until it is answered 204, as browsers do.

    `breaks` says after which message the connection is to break: it is given how many came on it.
    """

    def __init__(self, url: str, breaks: Callable[[int], bool] = lambda count: False) -> None:
        self.url = url
        self.breaks = breaks
        self.connections = 0
        self.last_event_id = ""

    def __iter__(self) -> Iterator[Message]:
        with httpx.Client(timeout=30) as client:
            while True:
                self.connections += 1
                headers = {"accept": "text/event-stream", "cache-control": "no-store"}
                headers |= {"last-event-id": self.last_event_id} if self.last_event_id else {}
                with client.stream("GET", self.url, headers=headers) as answer:
                    if answer.status_code == 204:
                        return
                    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8", answer.read()
                    yield from self._on(answer)

    def _on(self, answer: httpx.Response) -> Iterator[Message]:
        parser, count = SSEParser(), 0
        for data in answer.iter_raw():
            for message in parser.feed(data):
                count += 1
                self.last_event_id = message.id
                yield message
                if self.breaks(count):
                    return


def messages(data: bytes) -> list[Message]:
    """The messages of a whole stream."""
    return SSEParser().feed(data)


def texts(found: list[Message]) -> list[str]:
    """The data of the default messages."""
    return [message.data for message in found if message.event == "message"]
