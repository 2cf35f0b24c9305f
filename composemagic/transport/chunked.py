"""A body that comes in chunks (RFC 9112, 7.1): its bytes without their framing, at each read all that has come.

h11 gives every chunk by itself, which for a model's stream is every event, and gives it through ten functions. Strict: what
is no chunk is an error, and what stands behind the end is left in the connection, which is then not used again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from typing import Protocol

import httpcore

__all__ = ["Chunked", "Dechunker"]

_END = b"0\r\n\r\n"
_CRLF = b"\r\n"
_LONGEST = 2**14  # bytes of a line before a chunk, and of all lines behind the last one
_READ = 2**15  # what is parsed of as much stays in the processor's cache until it has gone through all floors
# chunk-size [ chunk-ext ] CRLF; some servers pad the size
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_TRAILER = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")


class Dechunker:
    """Chunks -> the bytes in them. `flaw` says what is wrong with what came next, `rest` is what stands behind the end."""

    __slots__ = ("_is_behind", "_is_last", "_left", "_tail", "done", "flaw", "rest")

    def __init__(self) -> None:
        self.done = False
        self.flaw: str | None = None
        self.rest = b""
        self._left = 0  # bytes of the chunk that is under way
        self._is_behind = False  # a chunk is complete, but for the CRLF behind it
        self._is_last = False  # the chunk of size 0 was there
        self._tail = b""

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body that these hold. Nothing may be fed once it is `done` or has a `flaw`."""
        data = self._tail + data if self._tail else data
        found: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self._is_last:
            if self._left:
                piece = data[at : at + self._left]
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._is_behind = not self._left
            elif self._is_behind:
                if not data.startswith(_CRLF, at):
                    self._need(_CRLF.startswith(data[at:]), "illegal end of a chunk")
                    break
                at += 2
                self._is_behind = False
            else:
                line = _SIZE.match(data, at)
                if line is None:
                    self._need(b"\n" not in data[at:] and end - at < _LONGEST, "illegal chunk header")
                    break
                self._left = int(line[1], 16)
                self._is_last = not self._left
                at = line.end()
        self._tail = data[at:]
        if self._is_last:
            self._finish()
        return found[0] if len(found) == 1 else b"".join(found)

    def _finish(self) -> None:
        """What follows the last chunk, which nobody reads, up to an empty line."""
        trailer = _TRAILER.match(self._tail)
        if trailer is not None:
            self.done, self.rest, self._tail = True, self._tail[trailer.end() :], b""
        else:
            is_open = b"\n\r\n" not in self._tail and not self._tail.startswith(_CRLF)
            self._need(is_open and len(self._tail) < _LONGEST, "illegal trailer")

    def _need(self, may_come: bool, flaw: str) -> None:
        """What is not there may come with the next read, or never."""
        if not may_come:
            self.flaw = flaw


class Connection(Protocol):
    """What is needed of a connection: to read from it, to leave it to httpcore at the end of the body, to wait no longer."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes: ...

    def leave(self, last: bytes, rest: bytes) -> None: ...

    def give_up(self, failure: Exception) -> None: ...


class Chunked:
    """Reads a body from its connection, past httpcore, whose own reading of it, `rest`, sees an empty body at the end.

    So httpcore knows that the connection can be used again; where this does not come to its end, that it cannot.
    """

    def __init__(self, connection: Connection, rest: AsyncIterable[bytes]) -> None:
        self._connection = connection
        self._rest = rest
        self._chunks = Dechunker()
        self._ended = False

    def __aiter__(self) -> Chunked:
        return self

    async def __anext__(self) -> bytes:
        """What has come. Raises httpcore.RemoteProtocolError, ReadError."""
        chunks = self._chunks
        while not chunks.done:
            if chunks.flaw is not None:
                raise httpcore.RemoteProtocolError(chunks.flaw)
            data = await self._connection.read(_READ)
            if not data:
                raise httpcore.RemoteProtocolError("peer closed connection without sending complete message body")
            if found := chunks.feed(data):
                return found
        if not self._ended:
            self._ended = True
            self._connection.leave(_END, chunks.rest)
            async for _ in self._rest:
                pass
        raise StopAsyncIteration

    def give_up(self, failure: Exception) -> None:
        """Raise this in who waits for more."""
        self._connection.give_up(failure)
