"""What went over the wire for one request: what was sent, what came back and when, and how it ended. Without secrets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from composemagic.errors import RunError
from composemagic.transport.masking import Mask, Row
from composemagic.transport.sse import EventTooLarge, LineReader, SSEParser

__all__ = ["ANSWER_LIMIT", "EMBEDDED", "EVENTS", "LINES", "Exchange", "Heard", "Room", "Sent"]

ANSWER_LIMIT = 32 * 2**20  # bytes of an answer that are kept
_BODY_KEPT = 32 * 2**20
_WRITTEN = 2**20  # characters of a body that is written out
_LONGEST = 4_000  # characters of one text in it: longer ones are pictures and files
_SHOWN = 200
EMBEDDED = "http://embedded.invalid/v1"  # in the place of the embedded model's address, whose port changes
EVENTS = "text/event-stream"
LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
_EVENT_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":", b"\xef\xbb\xbf")
_EVENT_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LINE_END = re.compile(rb"\n")
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')


class Heard(NamedTuple):
    """A message as it came: seconds since the run started, and its text; `event` where a stream gave it a name."""

    at: float
    text: str
    event: str = ""


class Sent:
    """A body on its way out: its bytes as long as they are few, their number and SHA-256."""

    def __init__(self) -> None:
        self.size = 0
        self.data: bytearray | None = bytearray()
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """The next bytes."""
        self.size += len(data)
        self._digest.update(data)
        if self.size > _BODY_KEPT:
            self.data = None
        elif self.data is not None:
            self.data += data

    def hashed(self) -> dict[str, Any]:
        """What is told of a body that is not written out."""
        return {"bytes": self.size, "sha256": self._digest.hexdigest()}

    def written(self, content_type: str, mask: Mask) -> Any:
        """The body as it is compared and shown: JSON as a value, text as text, anything else as its size and hash."""
        if not self.size:
            return None
        if self.data is None:
            return self.hashed()
        data = bytes(self.data)
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return _hashed(_without_boundary(mask.data(data), content_type))
        try:
            written = _shortened(_text_or_value(data, mask))
        except RecursionError:
            written = None
        if written is None or len(json.dumps(written, ensure_ascii=False)) > _WRITTEN:
            return _hashed(mask.data(data))
        return written


def _text_or_value(data: bytes, mask: Mask) -> Any:
    """JSON as its value, text as it is, None for what is neither."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    try:
        value = json.loads(text) if text[:1] in ("{", "[") else text
    except (ValueError, RecursionError):
        value = text
    return mask.value(value)


def _hashed(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _without_boundary(data: bytes, content_type: str) -> bytes:
    """Parts without the mark between them, which is another one each time."""
    found = _BOUNDARY.search(content_type)
    return data.replace(found[1].encode(), b"boundary") if found else data


def _shortened(value: Any) -> Any:
    """The value with long texts as their beginning and a hash."""
    match value:
        case str() if len(value) > _LONGEST:
            digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
            return f"{value[:_SHOWN]}… ({len(value)}, sha256 {digest[:16]})"
        case dict():
            return {key: _shortened(inner) for key, inner in value.items()}
        case list():
            return [_shortened(inner) for inner in value]
    return value


class Room:
    """How many bytes may still be kept; several exchanges may share one."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> bool:
        """Whether there is room for so many more, which they have then."""
        if size > self._left:
            return False
        self._left -= size
        return True


class Exchange:
    """One request and its answer, of the job `job`. Times are seconds since the run started.

    `method`, `url`, `headers` and `body` are what was sent, `at` when; `status`, `answered_at` and `answer_headers` what came
    first; `messages()` what came then; `received` counts its bytes. `end` is "end" where the answer was read to its end,
    "left" where nobody wanted more of it, "stopped", "fault" (`fault` says which), or "" as long as it is under way.
    `extracted` is what `output` made of each message, `...` where that is not known.
    """

    def __init__(self, number: int, job: str, request: Mapping[str, Any], *, at: float, mask: Mask, room: Room) -> None:
        self.number = number
        self.job = job
        self.method: str = request["method"]
        self.url: str = mask.url(request["url"])
        self.headers = [(name, mask.header(name, value)) for name, value in request["headers"]]
        self.sent = Sent()
        self.at = at
        self.status: int | None = None
        self.answered_at: float | None = None
        self.answer_headers: list[tuple[str, str]] = []
        self.received = 0
        self.is_whole = True  # nothing of the answer was left out for want of room
        self.ended_at: float | None = None
        self.end = ""
        self.fault: tuple[str, str] | None = None
        self.again = False  # whether trying again was worth it after the fault
        self.after: float | None = None
        self.extracted: list[Any] = []
        self.is_local = False
        self._mask = mask
        self._room = room
        self._rows: list[Row] = []
        self._tail = bytearray()
        self._kind = ""
        self._body: Any = None
        self._last = 0.0

    # -- what was sent ---------------------------------------------------------------------------------------------------
    @property
    def body(self) -> Any:
        """The body that was sent: the value of JSON, a text, `{bytes, sha256}` for anything else, None where there was none."""
        return self._body if self.end else self.sent.written(self._content_type, self._mask)

    @property
    def request(self) -> dict[str, Any]:
        """What the request is known by."""
        return {"method": self.method, "url": self.url, "body": self.body}

    @property
    def _content_type(self) -> str:
        return next((value for name, value in self.headers if name.lower() == "content-type"), "")

    # -- what came back --------------------------------------------------------------------------------------------------
    @property
    def media_type(self) -> str:
        """The answer's media type, without parameters."""
        found = next((value for name, value in self.answer_headers if name.lower() == "content-type"), "")
        return found.partition(";")[0].strip().lower()

    @property
    def is_stream(self) -> bool:
        """Whether the answer came as messages."""
        return self._kind in ("events", "lines")

    @property
    def kept(self) -> int:
        """Bytes of the answer that are kept."""
        return sum(len(data) for _, data in self._rows) + len(self._tail)

    def rows(self) -> list[Row]:
        """What came, cut where messages end, with the time of each; joined, it is the body. Without secrets."""
        rows = [*self._rows, *([(self._last, bytes(self._tail))] if self._tail else [])]
        return rows if self.end else self._mask.rows(rows)

    def messages(self) -> list[Heard]:
        """The messages as the parser of streams gives them; of a whole answer one."""
        match self._kind:
            case "events":
                return list(_events(self.rows()))
            case "lines":
                return list(_lines(self.rows()))
        rows = self.rows()
        text = b"".join(data for _, data in rows).decode("utf-8", "replace")
        return [Heard(rows[-1][0], text)] if rows else []

    # -- for who watches ---------------------------------------------------------------------------------------------------
    def answered(self, status: int, headers: list[tuple[str, str]], at: float) -> None:
        """The head of the answer has come."""
        self.status, self.answered_at = status, at
        self.answer_headers = [(name, self._mask.header(name, value)) for name, value in headers]
        self._last = at
        kind = self.media_type
        self._kind = "events" if kind == EVENTS else "lines" if kind in LINES else ""

    def hear(self, data: bytes, at: float) -> None:
        """Bytes of the answer have come."""
        if not self.received:
            self._first_look(data)
        self.received += len(data)
        self.is_whole = self.is_whole and self._room.take(len(data))
        if not self.is_whole:
            return
        start = max(0, len(self._tail) - 3)
        self._tail += data
        self._last = at
        end = _EVENT_END if self._kind == "events" else _LINE_END if self._kind == "lines" else None
        cut = 0
        for found in end.finditer(self._tail, start) if end else ():
            self._rows.append((at, bytes(self._tail[cut : found.end()])))
            cut = found.end()
        if cut:
            del self._tail[:cut]

    def _first_look(self, data: bytes) -> None:
        if self.media_type in ("", "text/plain") and data.startswith(_EVENT_STARTS):
            self._kind = "events"

    def failed(self, error: RunError, at: float) -> None:
        """Sending it or reading the answer failed."""
        self.fault = (error.kind, self._mask(error.sentence))
        self.again, self.after = bool(getattr(error, "again", False)), getattr(error, "after", None)
        self._over("fault", at)

    def forget(self) -> None:
        """Keep only the counts."""
        self._rows, self.extracted, self.is_whole = [], [], False

    def over(self, end: str, at: float) -> None:
        """Nothing more comes."""
        if not self.end:
            self._over(end, at)

    def _over(self, end: str, at: float) -> None:
        if self._tail:
            self._rows.append((self._last, bytes(self._tail)))
            self._tail.clear()
        if not self.end:
            has_room = self._room.take(self.sent.size)  # what was sent counts as well
            self._body = self.sent.written(self._content_type, self._mask) if has_room else self.sent.hashed()
            self._rows = self._mask.rows(self._rows)
            self.sent.data = None
        self.end, self.ended_at = end, at


def _events(rows: list[Row]) -> Iterator[Heard]:
    parser = SSEParser()
    for at, data in rows:
        try:
            messages = parser.feed(data)
        except EventTooLarge as error:
            yield from (Heard(at, one.data, one.event) for one in error.messages)
            return
        yield from (Heard(at, one.data, "" if one.event == "message" else one.event) for one in messages)


def _lines(rows: list[Row]) -> Iterator[Heard]:
    reader = LineReader()
    for at, data in rows:
        try:
            lines = reader.feed(data)
        except EventTooLarge as error:
            yield from (Heard(at, line) for line in error.lines)
            return
        yield from (Heard(at, line) for line in lines)
    yield from (Heard(rows[-1][0], line) for line in (reader.close() if rows else ()))
