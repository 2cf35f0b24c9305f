"""Every row of data/faults.jsonl through a workflow: what a server may do wrong, and what the user is told.

A row names the fault of servers/faults.py, what becomes of the run, the kind of its error and the text that is kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import composemagic
from composemagic.engine.events import Delta, JobStarted
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from tests.servers.faults import FaultServer

DATA = Path(__file__).parent / "data"
ROWS = [json.loads(line) for line in (DATA / "faults.jsonl").read_text(encoding="utf-8").splitlines()]
KEY = "sk-test-0123456789abcdef"
STATUS = {"done": "done", "error": "failed", "truncated": "truncated", "cancelled": "stopped"}

LATER = {
    "seq-429-then-ok": "retries are a later issue: there is one attempt",
    "seq-reset-500-ok": "retries are a later issue: there is one attempt",
    "early-answer": "asyncio drops what has arrived when a write fails: needs a network backend that reads while it sends",
    "interrupt-retry-sleep": "retries are a later issue: there is no sleep to interrupt",
    "life-kernel-restart": "needs a kernel that is restarted",
    "life-kernel-shutdown": "needs a kernel that is shut down",
    "life-cell-deleted": "needs a notebook whose cell is deleted",
    "life-clock-jump-forward": "needs a clock that jumps",
    "life-laptop-sleep": "needs a machine that sleeps",
}
"""Rows that are not run yet, and why."""

# what a style of answer is asked for by, and where its text stands
STYLES = {
    "openai": ("chat/completions", "json", "${response[].choices[0].delta.content}"),
    "anthropic": ("messages", "json", "${response[].delta.text}"),
    "responses": ("responses", "json", "${response[].delta}"),
    "ndjson": ("api/chat", "json-lines", "${response[].message.content}"),
}
YAML = """
component:
  type: http-client
  base_url: {base}
  path: /v1/{path}
  timeout: {{connect: 1, read: 1, total: 3}}
  headers:
    Authorization: Bearer ${{env.FAULTS_API_KEY}}
  body:
    model: fault-1
    prompt: ${{input.prompt}}
    stream: true
  stream_format: {stream_format}
  output: {output}
"""


def address(row: dict[str, Any], faults: FaultServer) -> str:
    """Where the row's fault is found."""
    if "port" in row:
        return f"{row['scheme']}://127.0.0.1:{faults.ports[row['port']]}"
    return str(row.get("url") or faults.url(row["path"], **row["args"])).rstrip("/")


def start(row: dict[str, Any], faults: FaultServer) -> Run:
    path, stream_format, output = STYLES[row.get("args", {}).get("style", "openai")]
    text = YAML.format(base=address(row, faults), path=path, stream_format=stream_format, output=output)
    workflow = composemagic.load(text, env={"FAULTS_API_KEY": KEY})
    return workflow.start({"prompt": "x" * row.get("body_mb", 0) * 2**20 or "hi"})


def one_of(expected: object) -> list[Any]:
    return expected if isinstance(expected, list) else [expected]


def rows(wanted: Callable[[dict[str, Any]], bool]) -> list[Any]:
    return [pytest.param(row, id=row["id"]) for row in ROWS if wanted(row) and row["id"] not in LATER]


@pytest.mark.parametrize("row", rows(lambda row: row["outcome"] != "cancelled"))
def test_fault(row: dict[str, Any], faults: FaultServer) -> None:
    for _ in range(row.get("repeat", 1)):
        run = start(row, faults)
        assert run.wait(row["max_seconds"]), f"still running after {row['max_seconds']} s"
        assert run.status in [STATUS[outcome] for outcome in one_of(row["outcome"])], run.error
        assert (run.error.kind if run.error else None) in one_of(row["error_kind"]), run.error
    if row["text"] != "*" and row["outcome"] == "done" and "text_len" in row:
        assert len(run.text) == row["text_len"]
    elif row["text"] != "*" and row["id"] != "cookie":
        assert run.text == row["text"]
    if "usage" in row:
        assert run.usage == row["usage"]
    if run.error is not None:
        assert_worth_reading(run.error.sentence)


def assert_worth_reading(sentence: str) -> None:
    """A sentence: words, no library's names, no key."""
    assert len(sentence.split()) >= 4
    assert "Error" not in sentence.partition(":")[0]
    assert "httpx" not in sentence and "httpcore" not in sentence and "anyio" not in sentence
    assert KEY not in sentence


def test_the_reasons_are_of_this_table() -> None:
    assert set(LATER) <= {row["id"] for row in ROWS}


SAYS = {
    "status-400": "Error 400 made on purpose.",
    "status-403": "does not allow this (403): Error 403",
    "status-404": "or the model fault-1 was not found (404): The model `fault-1` does not exist.",
    "status-413": "bytes is too large",
    "status-429-ra-date": "again in",
    "status-502-html": "502 Error",
    "status-500-empty": "answered with status 500",
    "status-529": "overloaded (529)",
    "secret-echo": "bad credentials: Bearer ***",
    "close-before": "closed the connection without an answer",
    "head-stall": "in 1 s (timeout.read)",
    "head-slow-total": "Longer than 3 s (timeout.total)",
    "head-garbage": "does not speak HTTP",
    "reset-mid": "after 9 characters",
    "chunk-cut": "after 9 characters",
    "stall-first": "No data from",
    "error-mid-then-done": "The server had an error while processing your request.",
    "error-first": "The server had an error while processing your request.",
    "giant-over-limit": "16 MiB",
    "html": 'sent text/html: "502 Bad Gateway"',
    "json-error-200": "The server had an error while processing your request.",
    "empty": "empty",
    "redirect-302-post": "redirect (302)",
    "port-refused": "Nothing listens at 127.0.0.1:",
    "tls-plain": "did you mean http://",
    "tls-selfsigned": "self-signed certificate",
    "dns": "Cannot find the host nothing.invalid",
}


@pytest.mark.parametrize(("name", "words"), SAYS.items(), ids=list(SAYS))
def test_what_the_user_sees(name: str, words: str, faults: FaultServer) -> None:
    run = start(next(row for row in ROWS if row["id"] == name), faults)
    assert run.wait(8)
    assert run.error is not None
    assert words in run.error.sentence


def test_no_cookie_is_sent_back(faults: FaultServer) -> None:
    row = next(row for row in ROWS if row["id"] == "cookie")
    for _ in range(2):
        assert start(row, faults).wait(5)
    assert len(faults.hits("cookie")) == 2
    assert not any("cookie" in hit["headers"] for hit in faults.hits("cookie"))


def test_a_key_never_follows_a_redirect(faults: FaultServer) -> None:
    run = start({"path": "redirect", "args": {"to": "other"}}, faults)
    assert run.wait(5)
    assert run.error is not None and run.error.kind == "redirect"
    assert not faults.hits("landing")


def test_nothing_is_asked_twice(faults: FaultServer) -> None:
    """Retries are to come with the waiting shown; until then a request is sent once, and billed once."""
    assert start({"path": "status", "args": {"code": 500}}, faults).wait(5)
    assert len(faults.hits("status")) == 1


# -- stopping ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", rows(lambda row: row["outcome"] == "cancelled"))
def test_interrupt(row: dict[str, Any], faults: FaultServer) -> None:
    open_before = faults.open_now  # connections that are kept for a next request
    run = start(row, faults)
    reach(row, run, faults)
    begun = time.monotonic()
    run.cancel()
    assert run.wait(row["max_seconds"])
    assert run.status == "stopped" and run.error is None
    while (faults.open_now > open_before or running()) and time.monotonic() < begun + row["after"]["seconds"]:
        time.sleep(0.005)  # between two looks at the condition
    assert faults.open_now <= open_before
    assert not running()
    assert time.monotonic() - begun < row["max_seconds"]


def running() -> list[str]:
    """The tasks of runs; one that has just said its last word needs a moment more to be gone."""
    return [task.get_name() for task in asyncio.all_tasks(private_loop().loop) if task.get_name().startswith("run-")]


def reach(row: dict[str, Any], run: Run, faults: FaultServer) -> None:
    """Read the run until it is where the row stops it."""
    wanted = Delta if row.get("path") in ("stall-mid", "endless") else JobStarted
    for event in run:
        if isinstance(event, wanted) and getattr(event, "value", "text"):
            break
    end = time.monotonic() + 5
    while "path" in row and not faults.hits(row["path"]):
        assert time.monotonic() < end, "the server was not asked"
        time.sleep(0.005)  # between two looks at the condition
