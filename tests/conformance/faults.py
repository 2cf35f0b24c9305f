"""`faults` rows: a server that misbehaves (tests/servers/faults.py), and what the user is told.

A row names the fault, what becomes of the run (`outcome`), the kind of its error and the text that is kept; `attempts` is how
often the server was asked. Rows run beside each other, each with a server to itself, so that its log and its open sockets are
the row's own. `life-...` rows are of a notebook's life: their scenes are in `tests/conformance/scenes.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import time
from collections.abc import Iterator
from typing import Any

import composemagic
from composemagic.engine.events import Delta, JobStarted, Waiting
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from composemagic.errors import RunError
from tests.conformance.rows import Failure, Row
from tests.servers.faults import FaultServer

__all__ = ["KEY", "WIDTH", "Told", "address", "check_faults", "document", "start"]

WIDTH = 8
KEY = "sk-test-0123456789abcdef"
STATUS = {"done": "done", "error": "failed", "truncated": "truncated", "cancelled": "stopped"}
GRACE = 20.0  # seconds: a machine with other work; what nothing ends goes on for 30
LIBRARIES = ("httpx", "httpcore", "anyio", "h11", "asyncio", "Traceback", "Errno")

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
  timeout: {{connect: {wait}, read: {wait}, total: {total}}}
  headers:
    Authorization: Bearer ${{env.FAULTS_API_KEY}}
  body:
    model: fault-1
    prompt: ${{input.prompt}}
    stream: true
  stream_format: {stream_format}
  output: {output}
"""

Told = dict[str, Any]  # what a run came to: status, kind, sentence, text, usage, attempts


def document(row: Row, base: str) -> str:
    """The workflow that asks the server at `base` as the row wants."""
    path, stream_format, output = STYLES[row.get("args", {}).get("style", "openai")]
    by_total = "timeout_total" in one_of(row.get("error_kind"))
    wait, total = 1 if is_ended_by_time(row) and not by_total else 30, 3 if by_total else 120
    return YAML.format(base=base, path=path, wait=wait, total=total, stream_format=stream_format, output=output)


def is_ended_by_time(row: Row) -> bool:
    """Whether a limit of ours has to end it, or one of its attempts; on a slow machine it must not end any other."""
    kinds = [str(kind) for kind in one_of(row.get("error_kind"))]
    return any(kind.startswith("timeout_") for kind in kinds) or (
        row.get("outcome") != "cancelled" and "stall" in f"{row.get('path')} {row.get('args')}"
    )


def address(row: Row, faults: FaultServer) -> str:
    """Where the row's fault is found."""
    if "port" in row:
        return f"{row['scheme']}://127.0.0.1:{faults.ports[row['port']]}"
    return str(row.get("url") or faults.url(row["path"], **row["args"])).rstrip("/")


def start(row: Row, faults: FaultServer) -> Run:
    """Start the row's run through the public API."""
    base = address(row, faults)  # which is thereby the key's own host
    workflow = composemagic.load(document(row, base), env={"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base})
    return workflow.start({"prompt": prompt(row)})


def prompt(row: Row) -> str:
    return "x" * row.get("body_mb", 0) * 2**20 or "hi"


def check_faults(row: Row) -> Iterator[Failure]:
    """The failures of one row."""
    from tests.conformance import scenes

    with server() as faults:
        if row["id"] in scenes.SCENES:
            yield from scenes.SCENES[row["id"]](row, faults)
        elif row["outcome"] == "cancelled":
            yield from _cancelled(row, faults)
        else:
            for _ in range(row.get("repeat", 1)):
                faults.log.clear()
                told = scenes.in_a_process(row, faults) if "rss_mb" in row else _told(start(row, faults), row, faults)
                yield from compared(row, told)


# -- servers -------------------------------------------------------------------------------------------------------------

_servers: queue.SimpleQueue[FaultServer] = queue.SimpleQueue()


@contextlib.contextmanager
def server() -> Iterator[FaultServer]:
    """A server that nobody else asks, with an empty log. Starting one makes a certificate: they are used again."""
    try:
        found = _servers.get_nowait()
    except queue.Empty:
        found = FaultServer().__enter__()
    found.reset()
    try:
        yield found
    finally:
        _servers.put(found)


# -- runs ----------------------------------------------------------------------------------------------------------------


def _told(run: Run, row: Row, faults: FaultServer) -> Told:
    """Wait for a run and say what it came to."""
    begun = time.monotonic()
    if not run.wait(row["max_seconds"] + GRACE):
        run.cancel()
        return {"status": f"still running after {row['max_seconds']} s"}
    told = summary(run)
    told["seconds"] = time.monotonic() - begun
    return told | asked(row, faults, told)


def summary(run: Run) -> Told:
    """What a run that has ended came to."""
    error: Any = run.error
    return {
        "status": run.status,
        "kind": error.kind if error else None,
        "sentence": error.sentence if error else None,
        "is_ours": error is None or isinstance(error, RunError),
        "text": run.text,
        "usage": run.usage,
        "waits": sum(isinstance(event, Waiting) for event in run.events),
        "shown": [str(event) for event in run.events],
    }


def asked(row: Row, faults: FaultServer, told: Told) -> Told:
    """How often the server was asked for the row's address, and the seconds between; ports count by the waits between."""
    if "path" not in row:
        return {"attempts": told["waits"] + 1, "gaps": [], "cookies": 0}
    target = address(row, faults).partition(str(faults.ports["main"]))[2]
    times = [hit["t"] for hit in faults.hits(row["path"]) if hit["target"].startswith(f"{target}/")]
    return {
        "attempts": len(times),
        "gaps": [later - sooner for sooner, later in itertools.pairwise(times)],
        "cookies": sum("cookie" in hit["headers"] for hit in faults.hits()),
    }


def compared(row: Row, told: Told) -> Iterator[Failure]:
    """Where what a run came to is not what the row wants."""
    wanted = [STATUS[outcome] for outcome in one_of(row["outcome"])]
    if told["status"] not in wanted:
        silent = told["status"] == "done"
        yield Failure("silent" if silent else "outcome", wanted, [told["status"], told.get("sentence")])
        return
    if told["kind"] not in one_of(row["error_kind"]):
        yield Failure("error_kind", row["error_kind"], [told["kind"], told["sentence"]])
    yield from _sentence(told)
    yield from _text(row, told)
    if "usage" in row and told["usage"] != row["usage"]:
        yield Failure("usage", row["usage"], told["usage"])
    if not _is_count(row["attempts"], told["attempts"]):
        yield Failure("attempts", row["attempts"], told["attempts"])
    if any(gap < row.get("min_gap", 0) for gap in told["gaps"]):
        yield Failure("min_gap", row["min_gap"], told["gaps"])
    if told["cookies"]:
        yield Failure("cookies", 0, told["cookies"])
    if "rss_mb" in row and told["rss_mb"] > row["rss_mb"]:
        yield Failure("rss_mb", row["rss_mb"], told["rss_mb"])
    if any(KEY in str(shown) for shown in (told["text"], told["sentence"], *told["shown"])):
        yield Failure("forbidden", "no key", "the key")


def _sentence(told: Told) -> Iterator[Failure]:
    """An error is a typed sentence: words, no library's names."""
    sentence = told["sentence"]
    if not told["is_ours"]:
        yield Failure("bare", "a RunError", sentence)
    elif sentence is not None and (
        len(sentence.split()) < 4
        or any(name in sentence for name in LIBRARIES)
        or "Error" in sentence.partition(":")[0]
    ):
        yield Failure("sentence", "a sentence in the user's words", sentence)


def _text(row: Row, told: Told) -> Iterator[Failure]:
    if row["text"] == "*":
        return
    if "text_len" in row:
        if len(told["text"]) != row["text_len"]:
            yield Failure("text_len", row["text_len"], len(told["text"]))
    elif told["text"] != row["text"] and row["path"] != "cookie":  # whose text is "cookie", whatever the table says
        yield Failure("text", row["text"], told["text"])


def one_of(expected: object) -> list[Any]:
    """What a row allows: a list means one of them."""
    return expected if isinstance(expected, list) else [expected]


def _is_count(wanted: Any, count: int) -> bool:
    return min(wanted) <= count <= max(wanted) if isinstance(wanted, list) else bool(count == wanted)


# -- stopped -------------------------------------------------------------------------------------------------------------


def _cancelled(row: Row, faults: FaultServer) -> Iterator[Failure]:
    open_before = faults.open_now  # connections that are kept for a next request
    run = start(row, faults)
    _reach(row, run, faults)
    begun = time.monotonic()
    run.cancel()
    if not run.wait(row["max_seconds"] + GRACE):
        yield Failure("stop", f"within {row['max_seconds']} s", "still running")
        return
    if run.status != "stopped" or run.error is not None:
        yield Failure("outcome", "stopped", [run.status, run.error])
    end = begun + row["after"]["seconds"] + GRACE
    while (faults.open_now > open_before or left_of(run)) and time.monotonic() < end:
        time.sleep(0.005)  # between two looks at the condition
    if faults.open_now > open_before:
        yield Failure("server_sockets_open", 0, faults.open_now - open_before)
    if left_of(run):
        yield Failure("own_tasks", 0, left_of(run))


def left_of(run: Run) -> list[str]:
    """The run's own tasks that still live."""
    names = [task.get_name() for task in asyncio.all_tasks(private_loop().loop)]
    return [name for name in names if name.startswith(run.id)]


def _reach(row: Row, run: Run, faults: FaultServer) -> None:
    """Read the run until it is where the row stops it: in its text, in a wait between two attempts, before its answer."""
    wanted: Any = JobStarted
    if row.get("path") in ("stall-mid", "endless"):
        wanted = Delta
    elif row.get("path") == "status":
        wanted = Waiting
    for event in run:
        if isinstance(event, wanted) and getattr(event, "value", "text"):
            break
    end = time.monotonic() + 30
    while "path" in row and not faults.hits(row["path"]):
        if time.monotonic() > end:
            raise TimeoutError("the server was not asked")
        time.sleep(0.005)  # between two looks at the condition
