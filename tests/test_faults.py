"""Every row of data/faults.jsonl through a workflow: what a server may do wrong, and what the user is told.

A row names the fault of servers/faults.py, what becomes of the run, the kind of its error and the text that is kept. The
checks are those of `python -m tests.conformance faults`.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from composemagic.engine.run import Run
from tests.conformance import checked
from tests.conformance.faults import KEY, check_faults, compared, left_of, start, summary
from tests.conformance.rows import Failure, Row, read_rows
from tests.conformance.scenes import SCENES
from tests.servers.faults import FaultServer

ROWS = read_rows(Path(__file__).parent / "data" / "faults.jsonl")
BY_ID = {row["id"]: row for row in ROWS}


@pytest.fixture(scope="module")
def failures() -> dict[str, list[Failure] | None]:
    """What fails of each row; eight run beside each other, as most of them only wait."""
    return {row["id"]: found for row, found in checked("faults", ROWS)}


@pytest.mark.parametrize("name", BY_ID)
def test_fault(name: str, failures: dict[str, list[Failure] | None]) -> None:
    assert failures[name] == [], "\n".join(map(str, failures[name] or ["it was left"]))


def test_every_life_has_its_scene() -> None:
    """But those that a run in this process is: two cells at once, and a loop that runs already."""
    plain = {"life-two-cells-at-once", "life-running-loop"}
    assert {row["id"] for row in ROWS if row["id"].startswith("life-")} <= {*SCENES, *plain}


# -- the checks themselves -----------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "status": "failed", "kind": "server", "sentence": "h answered with status 500", "is_ours": True, "text": "", "usage": None,
    "waits": 2, "shown": [], "attempts": 3, "gaps": [1.0, 1.0], "cookies": 0, "rss_mb": 2.0,
}  # fmt: skip
ROW: Row = {
    "id": "x",
    "path": "status",
    "outcome": "error",
    "error_kind": "server",
    "text": "",
    "attempts": 3,
    "min_gap": 0.5,
    "rss_mb": 9,
}
FOUND = [
    ({}, []),
    ({"status": "done"}, ["silent"]),
    ({"status": "truncated"}, ["outcome"]),
    ({"kind": "connect"}, ["error_kind"]),
    ({"sentence": ""}, ["sentence"]),
    ({"sentence": "ReadError: [Errno 104] Connection reset by peer"}, ["sentence"]),
    ({"sentence": "httpx could not read this answer"}, ["sentence"]),
    ({"is_ours": False}, ["bare"]),
    ({"text": "w0"}, ["text"]),
    ({"attempts": 2}, ["attempts"]),
    ({"gaps": [0.1, 1.0]}, ["min_gap"]),
    ({"cookies": 1}, ["cookies"]),
    ({"rss_mb": 9.5}, ["rss_mb"]),
    ({"shown": [f"sent {KEY}"]}, ["forbidden"]),
]


@pytest.mark.parametrize(("change", "failures"), FOUND, ids=str)
def test_what_a_check_finds(change: dict[str, Any], failures: list[str]) -> None:
    assert [failure.where for failure in compared(ROW, {**GOOD, **change})] == failures


# -- what the user sees --------------------------------------------------------------------------------------------------

SAYS = {
    "status-400": "Error 400 made on purpose.",
    "status-403": "does not allow this (403): Error 403",
    "status-404": "or the model fault-1 was not found (404): The model `fault-1` does not exist.",
    "status-408": "timed out (408)",
    "status-413": "bytes is too large",
    "status-429": "Rate limited by 127.0.0.1:",
    "status-502-html": "502 Error",
    "status-500-empty": "answered with status 500",
    "status-529": "overloaded (529)",
    "secret-echo": "bad credentials: Bearer ***",
    "close-before": "closed the connection without an answer",
    "head-stall": "in 1 s (timeout.read)",
    "head-slow-total": "Longer than 3 s (timeout.total)",
    "head-garbage": "does not speak HTTP",
    "early-answer": "The request of 16777",
    "reset-mid": "after 9 characters",
    "chunk-cut": "after 9 characters",
    "stall-first": "No data from",
    "error-mid-then-done": "The server had an error while processing your request.",
    "error-first": "The server had an error while processing your request.",
    "giant-over-limit": "16 MiB",
    "gzip-cut": "ended before its end",
    "encoding-unknown": "in the encoding `x-odd`",
    "html": 'sent text/html: "502 Bad Gateway"',
    "huge": "more than 32 MiB",
    "json-error-200": "The server had an error while processing your request.",
    "empty": "empty",
    "redirect-302-post": "redirect (302)",
    "redirect-loop": "again and again",
    "port-refused": "Nothing listens at 127.0.0.1:",
    "tls-plain": "did you mean http://",
    "tls-selfsigned": "self-signed certificate",
    "tls-stall": "within 1 s (timeout.connect)",
    "dns": "Cannot find the host nothing.invalid",
}


@pytest.mark.parametrize(("name", "words"), SAYS.items(), ids=list(SAYS))
def test_what_the_user_sees(name: str, words: str, faults: FaultServer) -> None:
    run = start(BY_ID[name], faults)
    assert run.wait(60)
    assert run.error is not None
    assert words in run.error.sentence


# rows by the same rule as those of the table
MORE: list[tuple[str, dict[str, Any], str, str | None, str, int]] = [
    ("status", {"code": 401}, "error", "auth", "", 1),
    ("status", {"code": 500}, "error", "server", "", 3),
    ("status", {"code": 429, "ra_ms": 100}, "error", "rate_limit", "", 3),
    ("status", {"code": 429, "ra": 600}, "error", "rate_limit", "", 1),
    ("status", {"code": 400, "should_retry": "true"}, "error", "bad_request", "", 3),
    ("seq", {"id": "s1", "steps": "503,503,ok"}, "done", None, "w0 w1 w2 w3 w4 ", 3),
    ("seq", {"id": "s2", "steps": "stall,ok"}, "done", None, "w0 w1 w2 w3 w4 ", 2),
    ("seq", {"id": "s3", "steps": "401,ok"}, "error", "auth", "", 1),
    ("interim", {}, "done", None, "w0 w1 w2 w3 w4 ", 1),
    ("chunk-cut-inside", {}, "error", "connection_lost", "w0 w1 w2 ", 1),
    ("eof-delimited", {}, "done", None, "w0 w1 w2 w3 w4 ", 1),
    ("heartbeats", {}, "error", "timeout_total", "w0 ", 1),
    ("bad-json", {}, "error", "invalid_json", "w0 w1 w2 ", 1),
    ("no-content", {}, "error", "empty", "", 1),
    ("gzip", {}, "done", None, "w0 w1 w2 w3 w4 ", 1),
    ("gzip-bad", {}, "error", "decode", "", 1),
    ("gzip-bomb", {"mb": 64}, "error", "too_large", "", 1),
    ("redirect", {}, "done", None, "w0 w1 w2 w3 w4 ", 1),
    ("redirect", {"to": "other"}, "error", "redirect", "", 1),
    ("redirect", {"to": "file"}, "error", "redirect", "", 1),
]


COLUMNS = ("path", "args", "outcome", "error_kind", "text", "attempts")


@pytest.mark.parametrize("more", MORE, ids=str)
def test_more_faults(more: tuple[Any, ...]) -> None:
    row = dict(zip(COLUMNS, more, strict=True))
    failures = list(check_faults({"id": row["path"], **row, "max_seconds": 8}))
    assert not failures, "\n".join(map(str, failures))


def test_a_key_never_follows_a_redirect(faults: FaultServer) -> None:
    run = start({"path": "redirect", "args": {"to": "other"}}, faults)
    assert run.wait(60)
    assert run.error is not None and run.error.kind == "redirect"
    assert not faults.hits("landing")


def test_a_redirect_to_the_same_origin_takes_method_body_and_key_along(faults: FaultServer) -> None:
    run = start({"path": "redirect", "args": {"code": 308}}, faults)
    assert run.wait(60) and run.status == "done", run.error
    (first,), (landed,) = faults.hits("redirect"), faults.hits("landing")
    assert landed["method"] == "POST" and landed["body"] == first["body"]
    assert landed["headers"]["authorization"] == f"Bearer {KEY}"


# -- stopping ------------------------------------------------------------------------------------------------------------


def test_a_stop_leaves_no_thread(faults: FaultServer) -> None:
    row = {**BY_ID["stall-mid"], "outcome": "cancelled"}
    assert _stopped(start(row, faults)).wait(60)  # what starts with the first run stays
    before = {thread.name for thread in threading.enumerate()}
    run = _stopped(start(row, faults))
    assert run.wait(60) and run.status == "stopped"
    end = time.monotonic() + 60
    while more := {thread.name for thread in threading.enumerate()} - before:
        assert time.monotonic() < end, more
        time.sleep(0.01)  # between two looks at the condition
    assert summary(run)["text"] == "w0 w1 w2 "


def _stopped(run: Run) -> Run:
    for event in run:
        if run.text == "w0 w1 w2 ":
            run.cancel()
        del event
    assert not left_of(run) or run.wait(60)
    return run
