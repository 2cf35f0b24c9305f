"""Rows of the tables, what a check of one says, and the values they write."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import math
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composemagic import Workflow, load
from composemagic.engine.stream import Stream
from composemagic.errors import DocumentError, UsageError
from composemagic.language.casts import Chunks
from tests.conformance.responses import merged
from tests.servers.echo import Echo as EchoServer

Row = dict[str, Any]

INPUT_KEYS = ("name", "type", "subtype", "is_list", "options", "min", "max", "step", "default")


@dataclass(frozen=True)
class Failure:
    """What one check of a row wanted and what it got; `where` is the chunking and the name of the check."""

    where: str
    expected: object
    got: object

    def __str__(self) -> str:
        return f"  {self.where}\n    expected {short(self.expected)}\n    got      {short(self.got)}"


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


def short(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"


class LeftError(Exception):
    """The row needs what the loader itself says is not in this version."""


class RefusedError(Exception):
    """The row ended in an error, at one of `STAGES`: an error at an earlier stage than the row's is as good."""

    def __init__(self, stage: str, sentence: str) -> None:
        self.stage = stage
        super().__init__(f"{stage}: {sentence}")


STAGES = {"load": 0, "schema": 0, "start": 0, "run": 1, "stream": 2}
NOT_YET = "is not in this version of composemagic"


def with_decision(row: Row, decisions: dict[str, Row]) -> Row:
    """The row with what composemagic gives on purpose in place of what the peer gives."""
    decision = {**DEVIATIONS, **decisions}.get(row["id"])
    if decision is None:
        return row
    ours = decision["ours"]
    rest = {key: value for key, value in row.items() if key not in ("expected", "error")}
    if "http" in row:
        return {**rest, "expected": merged(row["expected"], decision)}
    if not (isinstance(ours, str) and ours.startswith("error")):
        return {**rest, "expected": ours}
    found = re.match(r"error at (load|schema|start|run|stream)\b", ours)
    stage = found[1] if found else (row.get("error") or {}).get("stage", "stream")
    return {**rest, "error": {"message": ours, "stage": stage}}


def refuse(stage: str, sentences: list[str]) -> Exception:
    """What to raise for mistakes: the row is left where one of them is for want of a later version."""
    later = [sentence for sentence in sentences if NOT_YET in sentence]
    return LeftError(later[0]) if later else RefusedError(stage, "; ".join(sentences))


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
            fragmented = value.get("fragmented", True)
            return Stream(_one_by_one(chunks, drop_null=fragmented), fragmented=fragmented)
        case {"$bytes": text}:
            return base64.b64decode(text)
        case {"$float": text}:
            return float(text)
        case dict():
            return {key: revived(inner) for key, inner in value.items()}
        case list():
            return [revived(inner) for inner in value]
    return value


async def _one_by_one(chunks: list[object], *, drop_null: bool) -> AsyncIterator[list[object]]:
    for chunk in chunks:
        if chunk is not None or not drop_null:  # null fragments end where a stream begins, in the engine
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
