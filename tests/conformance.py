"""Runs a conformance table: `python -m tests.conformance KIND FILE.jsonl`.

Prints every failing row (id, chunking, expected, got) and `N passed, M failed` as the last line. Exit status: 0 all
passed, 1 some failed, 2 misuse. A kind is one function from a row to its failures, in the table `KINDS` at the end.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composemagic.errors import RunError
from composemagic.transport.providers import DIALECTS, ProviderError, ToolCalls, Watch, clean, read_answer, text_of
from composemagic.transport.sse import EventTooLarge, LineReader, Message, SSEParser

Row = dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """What one check of a row wanted and what it got; `where` is the chunking and the name of the check."""

    where: str
    expected: object
    got: object

    def __str__(self) -> str:
        return f"  {self.where}\n    expected {_short(self.expected)}\n    got      {_short(self.got)}"


def read_rows(path: Path) -> list[Row]:
    """The rows of a table.

    Raises:
        ValueError: a line is not a JSON object with an id.
    """
    rows = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict) or "id" not in row:
            raise ValueError(f"line {number} is no row")
        rows.append(row)
    return rows


def check(kind: str, row: Row) -> list[Failure]:
    """The failures of one row; an exception in it is one."""
    try:
        return list(KINDS[kind](row))
    except Exception as error:  # one broken row must not hide the others
        return [Failure("exception", "none", f"{type(error).__name__}: {error}")]


# ── sse ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


def read_provider(row: Row, reads: Sequence[bytes]) -> Reading:
    """The provider layer: what a run would make of these bytes."""
    dialect = DIALECTS[row["expect"]["dialect"]]
    reading, watch, calls = Reading(), Watch(dialect), ToolCalls()
    try:
        content_type = row.get("content_type") or "text/event-stream"
        if row.get("format") != "ndjson" and not content_type.startswith("text/event-stream"):
            value, watch = read_answer(dialect, content_type, b"".join(reads))
            reading.items.append(value)
        else:
            for values in read_values(row, reads, watch):
                see(watch, values, reading)
        reading.outcome = "done" if watch.finished else "truncated"
    except (RunError, ValueError) as error:
        reading.outcome = "error"
        reading.error_message = getattr(error, "message", str(error))
    for item in reading.items:
        calls.see(item)
    reading.text = clean("".join(text_of(dialect, item) for item in reading.items))
    reading.finish_reason, reading.usage, reading.tool_calls = watch.finish_reason, watch.usage, calls.calls
    return reading


def see(watch: Watch, values: list[object], reading: Reading) -> None:
    """One read: the chunks before an error are kept."""
    try:
        watch.see(values)
    except ProviderError as error:
        reading.items += values[: error.index]
        raise
    reading.items += values


def read_values(row: Row, reads: Sequence[bytes], watch: Watch) -> Iterator[list[object]]:
    """The parsed JSON of each read; nothing after `[DONE]`."""
    if row.get("format") == "ndjson":
        yield from ([json.loads(line)] for line in read_lines(reads))
        return
    parser = SSEParser()
    for data in reads:
        values: list[object] = []
        for message in parser.feed(data):
            if message.data == "[DONE]":
                watch.done()
                yield values
                return
            values.append(json.loads(message.data))
        yield values
        if parser.error_field is not None:
            watch.fail(parser.error_field)


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


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a table and print what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Run a conformance table.")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.file)
    except (OSError, ValueError) as error:
        parser.error(f"cannot read {options.file}: {error}")  # exits with 2
    failed = 0
    for row in rows:
        failures = check(options.kind, row)
        failed += bool(failures)
        if failures:
            print(f"FAILED {row['id']}", *failures, sep="\n")
    print(f"{len(rows) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _short(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"


KINDS: dict[str, Callable[[Row], Iterator[Failure]]] = {"sse": check_sse}

if __name__ == "__main__":
    sys.exit(main())
