"""Event streams and JSON lines: bytes in, messages or lines out; incremental, linear in the input, without I/O.

`SSEParser` follows the WHATWG standard to the letter (html.spec.whatwg.org, 9.2.5 "Parsing an event stream" and 9.2.6
"Interpreting an event stream"): what comes out does not depend on how the bytes were cut into reads. A decoder of whole
lines such as `str.splitlines` would also split at U+2028 and U+0085, which are ordinary text in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, cast

from composemagic.errors import RunError
from composemagic.words import say

__all__ = ["EventTooLarge", "LineReader", "Message", "SSEParser"]

LIMIT = 16 * 2**20
BOM = b"\xef\xbb\xbf"
LF, CR = b"\n\r"  # as numbers: `10 in data` is seven times as fast as `b"\n" in data`
RETRY_DIGITS = 15  # longer ones are no time to wait, and int() refuses more than 4300 digits


class Message(NamedTuple):
    """One dispatched event. `retry` is in milliseconds and set only where this event's own block said so."""

    event: str
    data: str
    id: str
    retry: int | None


# A NamedTuple's own constructor costs twice as much, a frozen dataclass five times.
_message = cast("Callable[[Iterable[object]], Message]", partial(tuple.__new__, Message))


class EventTooLarge(RunError):  # noqa: N818 - named for what happened, as its kind is
    """A line or an event is longer than the limit. What the same read held before it is in `messages` or `lines`."""

    def __init__(self, limit: int, *, messages: Iterable[Message] = (), lines: Iterable[str] = ()) -> None:
        self.limit = limit
        self.messages = list(messages)
        self.lines = list(lines)
        what = f"{limit / 2**20:g} MiB" if limit >= 2**20 else say("{count} bytes", count=limit)
        super().__init__(
            "too_large", say("The server sent an event longer than {limit}; the stream was stopped there", limit=what)
        )


class SSEParser:
    """text/event-stream bytes -> messages.

    `limit` is the size in bytes that one line, or the data lines of one event together, may have. `last_event_id` and
    `retry` (milliseconds, or None) are the state the standard keeps for a reconnection. `error_field` is the value of
    a line `error: ...`, which the standard ignores and old llama.cpp servers send in place of a message.
    An event that no blank line ends is never given, as the standard wants it, so there is nothing to close.
    """

    __slots__ = ("_cr", "_data", "_event", "_fields", "_fresh", "_id", "_limit", "_retry", "_room", "_tail",
                 "error_field", "last_event_id", "retry")  # fmt: skip

    def __init__(self, limit: int = LIMIT) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.error_field: str | None = None
        self._limit = limit
        self._room = limit  # what is left of the limit for the rest of this event
        self._tail = bytearray()  # a line whose end has not come yet
        self._fresh = True  # no line has been complete yet: a BOM may stand at the start
        self._cr = False  # the last byte was a CR: an LF that comes next belongs to it
        self._fields = False  # this block has had an event, id or retry line
        self._data: list[bytes] = []
        self._event = ""
        self._id = ""
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete.

        Raises:
            EventTooLarge: a line or an event grew beyond the limit; the parser is of no use afterwards.
        """
        tail = self._tail
        if tail and LF not in data and CR not in data:  # one long line in many small reads
            tail += data
            return [] if len(tail) <= self._room else self._grown([])
        if self._cr or CR in data:
            data = self._with_lf(data)
        end = data.rfind(b"\n") + 1
        if not end:
            tail += data
            return [] if len(tail) <= self._room else self._grown([])
        lines = data[:end]
        if tail:
            lines = bytes(tail) + lines
            tail.clear()
        if end < len(data):
            tail += data[end:]
        if self._fresh:
            self._fresh = False
            lines = lines.removeprefix(BOM)
        messages = None if self._data or self._fields else self._plain(lines)
        if messages is None:
            messages = self._interpret(lines)
        return messages if len(tail) <= self._room else self._grown(messages)

    def _with_lf(self, data: bytes) -> bytes:
        """CR and CRLF as LF. A CR at the end of a read counts at once: a message must not wait for the next read."""
        if not data:
            return data
        if self._cr and data.startswith(b"\n"):
            data = data[1:]
        self._cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _plain(self, lines: bytes) -> list[Message] | None:
        """The usual read at once: nothing but whole events of one `data: ` line each. None where it is anything else.

        Decoding all lines together gives what decoding each would: malformed UTF-8 never reaches across an ASCII byte.
        """
        if len(lines) > self._limit or not lines.startswith(b"data: ") or not lines.endswith(b"\n\n"):
            return None
        values = lines[6:-2].decode("utf-8", "replace").split("\n\ndata: ")
        if lines.count(b"\n") != 2 * len(values):
            return None
        last_event_id = self.last_event_id
        return [_message(("message", value, last_event_id, None)) for value in values]

    def _interpret(self, lines: bytes) -> list[Message]:
        messages: list[Message] = []
        rows = lines.split(b"\n")
        rows.pop()  # what follows the last LF is nothing
        for line in rows:
            if not line:
                if self._data or self._fields:
                    self._dispatch(messages)
            elif len(line) > self._room:
                self._too_large(messages)
            elif line.startswith(b"data: "):
                self._data.append(line[6:])
                self._room -= len(line)
            else:
                self._field(line)
        return messages

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
                self._room -= len(line)
            case b"event":
                self._event = value.decode("utf-8", "replace")
                self._fields = True
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
                self._fields = True
            case b"retry" if value.isdigit() and len(value.lstrip(b"0")) <= RETRY_DIGITS:
                self.retry = self._retry = int(value.lstrip(b"0") or b"0")
                self._fields = True
            case b"error":
                self.error_field = value.decode("utf-8", "replace")

    def _dispatch(self, messages: list[Message]) -> None:
        """9.2.6 "dispatch the event": a blank line settles the id, and an event without data is none."""
        self.last_event_id = self._id
        if self._data:
            data = b"\n".join(self._data).decode("utf-8", "replace")
            messages.append(_message((self._event or "message", data, self._id, self._retry)))
            self._data.clear()
        self._event = ""
        self._retry = None
        self._fields = False
        self._room = self._limit

    def _grown(self, messages: list[Message]) -> list[Message]:
        """The unfinished line is beyond the limit, unless only a BOM made it so."""
        if self._fresh and self._tail.startswith(BOM) and len(self._tail) - len(BOM) <= self._room:
            return messages
        return self._too_large(messages)

    def _too_large(self, messages: list[Message]) -> list[Message]:
        self._tail.clear()
        self._data.clear()
        raise EventTooLarge(self._limit, messages=messages)


class LineReader:
    """JSON lines (NDJSON) bytes -> the lines, decoded, without their ends.

    A line ends at LF or CRLF and at nothing else; lines of ASCII white space are skipped, a BOM at the start is
    dropped, malformed UTF-8 is replaced. `limit` is the length in bytes that a line may have.
    """

    __slots__ = ("_fresh", "_limit", "_tail")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._fresh = True

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete.

        Raises:
            EventTooLarge: a line grew beyond the limit; the reader is of no use afterwards.
        """
        end = data.rfind(b"\n") + 1
        if not end:
            self._tail += data
            return self._checked([])
        whole = b"".join((self._tail, data[:end])) if self._tail else data[:end]
        self._tail = bytearray(data[end:])
        return self._checked(self._lines(whole))

    def close(self) -> list[str]:
        """The last line, where no end came for it."""
        whole = bytes(self._tail)
        self._tail = bytearray()
        return self._lines(whole)

    def _lines(self, whole: bytes) -> list[str]:
        if self._fresh:
            self._fresh = False
            whole = whole.removeprefix(BOM)
        if len(whole) > self._limit:
            return self._measured(whole)
        rows = whole.decode("utf-8", "replace").split("\n")
        return [row.removesuffix("\r") for row in rows if row.strip(" \t\r\v\f")]

    def _measured(self, whole: bytes) -> list[str]:
        lines: list[str] = []
        for row in whole.split(b"\n"):
            line = row.removesuffix(b"\r")
            if len(line) > self._limit:
                raise EventTooLarge(self._limit, lines=lines)
            if line.strip():
                lines.append(line.decode("utf-8", "replace"))
        return lines

    def _checked(self, lines: list[str]) -> list[str]:
        """The lines, unless what is left over can only become a line beyond the limit."""
        if len(self._tail) <= self._limit:
            return lines
        bom = BOM if self._fresh else b""
        if len(self._tail.removesuffix(b"\r").removeprefix(bom)) <= self._limit:  # the CR may be of the line's end
            return lines
        self._tail = bytearray()
        raise EventTooLarge(self._limit, lines=lines)
