"""`sse` rows: the parser and the provider layer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from composemagic.errors import RunError
from composemagic.text import clean
from composemagic.transport.http import Request
from composemagic.transport.providers import DIALECTS, ProviderError, Watch, text_of
from composemagic.transport.reading import Reading as StreamReading
from composemagic.transport.reading import is_stream
from composemagic.transport.sse import EventTooLarge, LineReader, Message, SSEParser
from composemagic.transport.whole import read_chunk
from tests.conformance.rows import Failure, Row
from tests.tool_calls import ToolCalls


def row_bytes(row: Row) -> bytes:
    """The bytes of a row: as they are, or pieces with how often each is repeated."""
    if row.get("bytes_gen") is not None:
        return b"".join(base64.b64decode(piece) * times for piece, times in row["bytes_gen"])
    return base64.b64decode(row["bytes_b64"])


def cut(data: bytes, chunking: str | list[int]) -> list[bytes]:
    """The reads in which the bytes arrive."""
    if isinstance(chunking, list):
        edges = [0, *chunking, len(data)]
        return [data[start:end] for start, end in itertools.pairwise(edges)]
    if chunking == "whole":
        return [data]
    size = 1 if chunking == "every-byte" else int(chunking.removeprefix("fixed:"))
    return [data[start : start + size] for start in range(0, len(data), size)]


@dataclass
class Reading:
    """What came out of one stream, whatever its format and its end."""

    messages: list[Message] = field(default_factory=list)
    items: list[object] = field(default_factory=list)
    last_event_id: str = ""
    retry: int | None = None
    too_large_at: int | None = None
    text: str = ""
    outcome: str = "truncated"
    error_message: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    tool_calls: list[dict[str, str]] = field(default_factory=list)


def parse_events(reads: Sequence[bytes]) -> Reading:
    """The SSE layer alone."""
    reading, parser, fed = Reading(), SSEParser(), 0
    try:
        for data in reads:
            fed += len(data)
            reading.messages += parser.feed(data)
    except EventTooLarge as error:
        reading.messages += error.messages
        reading.too_large_at = fed
    reading.last_event_id, reading.retry = parser.last_event_id, parser.retry
    return reading


def check_sse(row: Row) -> Iterator[Failure]:
    """Every chunking of a row through the parser, the line reader and, where it has an `expect`, the provider layer."""
    data = row_bytes(row)
    for chunking in row["chunkings"]:
        reads = cut(data, chunking)
        for failure in check_chunking(row, reads, len(data)):
            yield Failure(f"{chunking if isinstance(chunking, str) else f'at {chunking}'}: {failure.where}",
                          failure.expected, failure.got)  # fmt: skip
    yield from check_prompt(row, data)


def check_chunking(row: Row, reads: Sequence[bytes], size: int) -> Iterator[Failure]:
    """One chunking: events or their sum, state, seconds, limit, JSON lines, and what the provider layer makes of it."""
    started = time.monotonic()
    reading = parse_events(reads)
    seconds = time.monotonic() - started
    most = (row.get("limits") or {}).get("seconds")
    if most is not None and seconds > most:
        yield Failure("limits.seconds", most, seconds)
    yield from check_events(row, reading.messages)
    if not row.get("expect_limit_error") and reading.too_large_at is not None:
        yield Failure("limit error", None, f"after {reading.too_large_at} bytes")
    if row.get("expect_limit_error") and (reading.too_large_at is None or reading.too_large_at >= size):
        yield Failure("expect_limit_error", f"before {size} bytes", reading.too_large_at)
    for name, expected in (row.get("final") or {}).items():
        got = getattr(reading, name)
        if got != expected and not (name == "retry" and _leaves_retry_out(row)):
            yield Failure(f"final.{name}", expected, got)
    if "items" in row:
        items = [json.loads(line) for line in read_lines(reads)]
        if items != row["items"]:
            yield Failure("items", row["items"], items)
    if row.get("expect"):
        yield from check_expect(row["expect"], read_provider(row, reads))


def check_events(row: Row, messages: list[Message]) -> Iterator[Failure]:
    """The messages, one by one or in sum."""
    if row.get("events") is not None:
        names = ("event", "data", "id") if _leaves_retry_out(row) else ("event", "data", "id", "retry")
        got = [{name: getattr(message, name) for name in names} for message in messages]
        expected = [{name: event[name] for name in names} for event in row["events"]]
        if got != expected:
            yield Failure("events", expected, got)
    if row.get("events_summary") is not None:
        text = "".join(message.data for message in messages)
        summary = {
            "count": len(messages),
            "data_len_total": len(text),
            "data_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        if summary != row["events_summary"]:
            yield Failure("events_summary", row["events_summary"], summary)


def check_prompt(row: Row, data: bytes) -> Iterator[Failure]:
    """After so many bytes so many events must be out, whether the bytes came at once or one by one."""
    for count, expected in row.get("prompt_after") or []:
        for chunking in ("whole", "every-byte"):
            got = len(parse_events(cut(data[:count], chunking)).messages)
            if got != expected:
                yield Failure(f"{chunking}: prompt_after {count} bytes", expected, got)


def read_lines(reads: Sequence[bytes]) -> list[str]:
    """The JSON lines."""
    reader = LineReader()
    return [line for data in reads for line in reader.feed(data)] + reader.close()


@dataclass
class Answer:
    """An answer as `transport.http.Response` gives it, from reads that are known."""

    pieces: Sequence[bytes]
    media_type: str = "text/event-stream"
    status: int = 200
    encoding: str = "utf-8"

    async def reads(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    async def drain(self, seconds: float) -> None:
        pass


def read_provider(row: Row, reads: Sequence[bytes]) -> Reading:
    """The provider layer: what a run would make of these bytes, by the code that the http-client runs."""
    dialect = DIALECTS[row["expect"]["dialect"]]
    reading, watch, calls = Reading(), Watch(dialect), ToolCalls()
    media_type = (
        "application/x-ndjson" if row.get("format") == "ndjson" else row.get("content_type") or "text/event-stream"
    )
    try:
        asyncio.run(read_items(Answer(reads, media_type.partition(";")[0]), watch, reading.items))
        reading.outcome = "done"
    except RunError as error:
        reading.outcome = "truncated" if error.kind in ("truncated", "empty") else "error"
        reading.error_message = error.message if isinstance(error, ProviderError) else error.sentence
    for item in reading.items:
        calls.see(item)
    reading.text = clean("".join(text_of(dialect, item) for item in reading.items))
    reading.finish_reason, reading.usage, reading.tool_calls = watch.finish_reason, watch.usage, calls.calls
    return reading


async def read_items(answer: Answer, watch: Watch, items: list[object]) -> None:
    """The chunks of an answer, as an action with `stream_format: json` gets them, added to `items`. Raises RunError."""
    assert watch.dialect is not None
    request = Request("POST", f"http://h{watch.dialect.paths[0]}", {})
    if not is_stream(answer.media_type, watch, "json", wanted=True):
        items.append(read_chunk(b"".join(answer.pieces), answer, request, watch))
        return
    async for chunks in StreamReading(answer, request, watch, "json").chunks():
        items += chunks


def check_expect(expect: Row, reading: Reading) -> Iterator[Failure]:
    """Every value of `expect`, or the other one that is also right."""
    for name, expected in expect.items():
        if name == "dialect" or name.endswith("_also_ok"):
            continue
        if name == "finish_reason" and reading.outcome != expect.get("outcome"):
            continue  # ended in the other way that is also right: before its finish mark
        got = getattr(reading, name)
        if got != expected and (f"{name}_also_ok" not in expect or got != expect[f"{name}_also_ok"]):
            yield Failure(f"expect.{name}", expected, got)


def _leaves_retry_out(row: Row) -> bool:
    return row.get("compare_retry", True) in (False, "ignore")
