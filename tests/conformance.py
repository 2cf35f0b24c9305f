"""Runs a conformance table: `python -m tests.conformance KIND FILE.jsonl`.

Prints every failing row (id, chunking, expected, got) and `N passed, M failed` as the last line. Exit status: 0 all
passed, 1 some failed, 2 misuse. Rows of the language that need what is not in this version are counted on the line before.
A kind is one function from a row to its failures, in the table `KINDS` at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import functools
import hashlib
import itertools
import json
import math
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composemagic import Workflow, load
from composemagic.engine.events import Delta, Event, RunFailed, RunFinished, RunStopped
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from composemagic.engine.stream import Stream
from composemagic.errors import DocumentError, RunError, UsageError
from composemagic.language.casts import CastError, Chunks, Uncollected
from composemagic.language.template import Findings, RenderError, compile_template, unknown_source
from composemagic.text import clean
from composemagic.transport.http import Request
from composemagic.transport.providers import DIALECTS, ProviderError, Watch, text_of
from composemagic.transport.reading import Reading as StreamReading
from composemagic.transport.reading import is_stream
from composemagic.transport.sse import EventTooLarge, LineReader, Message, SSEParser
from composemagic.transport.whole import read_chunk
from composemagic.workflow.inputs import Input
from tests.servers.echo import Echo as EchoServer
from tests.tool_calls import ToolCalls

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
    """The failures of one row; an exception in it is one.

    Raises:
        LeftError: the row is for a later version.
    """
    try:
        return list(KINDS[kind](row))
    except LeftError:
        raise
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


# ── language ────────────────────────────────────────────────────────────────────────────────────────────────────────


class LeftError(Exception):
    """The row needs what the loader itself says is not in this version."""


class RefusedError(Exception):
    """The row ended in an error, at one of `STAGES`: an error at an earlier stage than the row's is as good."""

    def __init__(self, stage: str, sentence: str) -> None:
        self.stage = stage
        super().__init__(f"{stage}: {sentence}")


STAGES = {"load": 0, "schema": 0, "start": 0, "run": 1, "stream": 2}
NOT_YET = "is not in this version of composemagic"
OTHER_FACES = {"http", "answers", "events", "start_components"}  # rows that drive more than one run to its end
INPUT_KEYS = ("name", "type", "subtype", "is_list", "options", "min", "max", "step", "default")


def check_language(row: Row) -> Iterator[Failure]:
    """One row of any kind against its `expected`, its `error`, or what `with_decision` has put there."""
    wanted = row.get("error")
    try:
        got = RENDERERS[row["kind"]](row)
    except RefusedError as refused:
        if wanted is None:
            yield Failure(row["kind"], row["expected"], f"error at {refused}")
        elif STAGES[refused.stage] > STAGES[wanted.get("stage", "stream")]:
            yield Failure("stage", wanted["stage"], f"error at {refused}")
        return
    if wanted is not None:
        yield Failure(row["kind"], f"error: {wanted.get('message')}", got)
    elif not alike(row["expected"], got):
        yield Failure(row["kind"], row["expected"], got)


def with_decision(row: Row, decisions: dict[str, Row]) -> Row:
    """The row with what composemagic gives on purpose in place of what the peer gives."""
    decision = {**DEVIATIONS, **decisions}.get(row["id"])
    if decision is None:
        return row
    ours = decision["ours"]
    rest = {key: value for key, value in row.items() if key not in ("expected", "error")}
    if not (isinstance(ours, str) and ours.startswith("error")):
        return {**rest, "expected": ours}
    found = re.match(r"error at (load|schema|start|run|stream)\b", ours)
    stage = found[1] if found else (row.get("error") or {}).get("stage", "stream")
    return {**rest, "error": {"message": ours, "stage": stage}}


def refuse(stage: str, sentences: list[str]) -> Exception:
    """What to raise for mistakes: the row is left where one of them is for want of a later version."""
    later = [sentence for sentence in sentences if NOT_YET in sentence]
    return LeftError(later[0]) if later else RefusedError(stage, "; ".join(sentences))


def render(row: Row) -> object:
    """A `render` row: the template compiled and filled, as the table writes values."""
    if "skip_decode" in row:
        raise LeftError("media formats")
    scope = {name: revived(value) for name, value in row["sources"].items()}
    findings = Findings()
    template = compile_template(row["template"], findings=findings)
    sentences = [flaw.sentence for flaw in findings.flaws]
    sentences += [words for hole in template.holes if (words := unknown_source(hole.reference, [*scope, "env"]))]
    if sentences:
        raise refuse("load", sentences)

    async def fill() -> object:
        while True:
            try:
                return await written(template.render({"env": {}, **scope}))
            except Uncollected as wanted:
                assert isinstance(wanted.stream, Stream)
                await wanted.stream.collect()

    try:
        return asyncio.run(fill())
    except (RenderError, CastError) as error:
        raise RefusedError("run", str(error)) from None


def infer(row: Row) -> object:
    """A `schema` row: the inputs of each workflow, and of them what the table knows. Outputs come with a later issue."""
    if not (row.get("expected") or "error" in row):
        load_row(row, None)
        return {}
    names = [name for name in row.get("expected") or {} if name != "__workflow__"] or [None]
    found = {name or "__workflow__": load_row(row, name) for name in names}
    return {
        name: {"input": [described(one) for one in workflow.inputs]} for name, workflow in found.items() if workflow
    }


def described(one: Input) -> Row:
    """An input as the table writes it: only what it has."""
    bounds = dict(zip(("min", "max", "step"), one.bounds, strict=False))
    subtype = one.cast.subtype if one.cast else None
    default = {} if one.default is None else {"default": one.default}
    texts = {"name": one.name, "subtype": subtype, "is_list": one.is_list, "options": list(one.options)}
    return {"type": one.type, **{key: value for key, value in texts.items() if value}, **bounds, **default}


def load_row(row: Row, name: str | None) -> Workflow | None:
    """The row's workflow, or None where the document has none. Raises LeftError and RefusedError."""
    try:
        return load(with_echo(row["yaml"]), name, env=row.get("env"))
    except DocumentError as error:
        raise refuse("load", [mistake.sentence for mistake in error.mistakes]) from None
    except UsageError as error:
        if not row.get("expected") and "error" not in row:
            return None
        raise RefusedError("load", str(error)) from None


def run(row: Row) -> object:
    """A `workflow` row: run it against the echo server, and give its status and output."""
    if needs := sorted(OTHER_FACES & row.keys()):
        raise LeftError(f"{needs[0]}: another face, or another kind of job")
    workflow = load_row(row, row.get("workflow"))
    assert workflow is not None
    ended, chunks = run_to_the_end(workflow, row.get("input"))
    if ended.error is not None:
        raise RefusedError("stream" if chunks else "run", ended.error.sentence)
    if chunks is None:
        return {"status": "completed", "output": written_value(ended.output)}
    stream = {"$stream": [written_value(chunk) for chunk in chunks]}
    return {"status": "completed", "output": stream | ({"encoding": ended.encoding} if ended.encoding else {})}


def run_to_the_end(workflow: Workflow, value: object) -> tuple[Run, list[object] | None]:
    """The run, and its chunks where it streamed.

    The loop is held back until somebody listens: a run joins the chunks nobody has heard yet.
    """
    gate, ended, chunks = threading.Event(), threading.Event(), []

    def listen(events: list[Event]) -> None:
        chunks.extend(event.value for event in events if isinstance(event, Delta))
        if isinstance(events[-1], RunFinished | RunFailed | RunStopped):
            ended.set()

    private_loop().loop.call_soon_threadsafe(gate.wait, 10)
    running = workflow.start(value)
    running.subscribe(listen)
    gate.set()
    if not ended.wait(30):
        running.cancel()
        raise TimeoutError("the run did not end within 30 seconds")
    running.wait()
    last = running.events[-1]
    streamed = isinstance(last, RunFinished) and bool(chunks) and not running._has_value  # no public word for it
    return running, chunks if streamed or (running.error is not None and chunks) else None


def with_echo(text: str) -> str:
    """The document with the address of the echo server, which starts for the first row that asks for it."""
    return text.replace("{{ECHO}}", echo_address()) if "{{ECHO}}" in text else text


@functools.cache
def echo_address() -> str:
    """Start tests/servers/echo.py on a thread of its own; it ends with the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="echo", daemon=True).start()
    return str(asyncio.run_coroutine_threadsafe(EchoServer().start(0), loop).result(10))


def revived(value: Any) -> Any:
    """A value of the table with its markers replaced by what they stand for."""
    match value:
        case {"$stream": chunks}:
            return Stream(_one_by_one(chunks), fragmented=value.get("fragmented", True))
        case {"$bytes": text}:
            return base64.b64decode(text)
        case {"$float": text}:
            return float(text)
        case dict():
            return {key: revived(inner) for key, inner in value.items()}
        case list():
            return [revived(inner) for inner in value]
    return value


async def _one_by_one(chunks: list[object]) -> AsyncIterator[list[object]]:
    for chunk in chunks:
        if chunk is not None:  # null chunks end where a stream begins, in the engine
            yield [revived(chunk)]


async def written(value: Any) -> Any:
    """What a template gave, as the table writes it; streams are read to their end."""
    if isinstance(value, Chunks):
        chunks = [chunk async for batch in value.batches() for chunk in batch]
        encoding = {"encoding": value.encoding} if value.encoding else {"fragmented": value.fragmented}
        return {"$stream": [written_value(chunk) for chunk in chunks], **encoding}
    return written_value(value)


def written_value(value: Any) -> Any:
    """A plain value as the table writes it."""
    match value:
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
        case dict():
            return {key: written_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [written_value(inner) for inner in value]
    return value


def alike(expected: Any, got: Any) -> bool:
    """Whether a value is what the table says, type by type; of a stream and a schema what the table says of them."""
    if isinstance(expected, dict) and "$resource" in expected:
        return bool(got == {"$bytes": expected["$resource"]})
    if isinstance(expected, dict) and isinstance(got, dict):
        if "$stream" in expected:
            return all(alike(expected[key], got.get(key)) for key in expected if key in got or key != "fragmented")
        if "input" in expected and isinstance(expected["input"], list) and got.keys() == {"input"}:
            known = [{key: value for key, value in one.items() if key in INPUT_KEYS} for one in expected["input"]]
            return alike(known, got["input"])
        return expected.keys() == got.keys() and all(alike(expected[key], got[key]) for key in expected)
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(map(alike, expected, got))
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (expected, got))
    # JSON has one kind of number: a table cannot tell 0 from 0.0
    return bool(expected == got and (is_number or type(expected) is type(got)))


# rows without "dubious" that contradict a point of the language page, beside those the decisions know
DEVIATIONS: dict[str, Row] = {
    "w-sse-raw": {
        "ours": {"status": "completed", "output": {"$stream": ["a"]}},
        "why": "without `stream_format` a chunk is text: every later use wants text, bytes would need `as text` everywhere",
    },
    "w-http-headers-merge": {
        "ours": {"status": "completed", "output": {"x-a": "over", "x-b": "b-1", "x-c": "5c"}},
        "why": "HTTP client: no body, no Content-Type (as decided for w-http-headers-case)",
    },
    "w-http-null-header": {
        "ours": {"status": "completed", "output": {"x-b": "y"}},
        "why": "HTTP client: no body, no Content-Type",
    },
}
RENDERERS: dict[str, Callable[[Row], object]] = {"render": render, "schema": infer, "workflow": run}


# ── the command ─────────────────────────────────────────────────────────────────────────────────────────────────────


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a table and print what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Run a conformance table.")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--decisions", type=Path, help="what ours gives on purpose, by row id (language)")
    parser.add_argument("--kinds", default="", help="only rows of these kinds, such as render,schema (language)")
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.file)
        decisions = json.loads(options.decisions.read_text("utf-8")) if options.decisions else {}
    except (OSError, ValueError) as error:
        parser.error(f"cannot read a table: {error}")  # exits with 2
    kinds = set(filter(None, options.kinds.split(",")))
    rows = [row for row in rows if not kinds or row.get("kind") in kinds]
    return report(options.kind, [with_decision(row, decisions) if "kind" in row else row for row in rows])


def report(kind: str, rows: Sequence[Row]) -> int:
    """Check the rows and print what fails, how many are left for later versions, and the sum."""
    failed = left = 0
    for row in rows:
        try:
            failures = check(kind, row)
        except LeftError:
            left += 1
            continue
        failed += bool(failures)
        if failures:
            print(f"FAILED {row['id']}", *failures, sep="\n")
    if left:
        print(f"{left} left: they need what is not in this version")
    print(f"{len(rows) - failed - left} passed, {failed} failed")
    return 1 if failed else 0


def _short(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"


KINDS: dict[str, Callable[[Row], Iterator[Failure]]] = {"sse": check_sse, "language": check_language}

if __name__ == "__main__":
    sys.exit(main())
