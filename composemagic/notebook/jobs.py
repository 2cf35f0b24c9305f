"""What has become of a run's jobs: a line for each, and one for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from composemagic.engine.run import Run
from composemagic.notebook.look import RED, clipped, escaped, line
from composemagic.picture.graph import Light
from composemagic.text import plain
from composemagic.words import language, say

__all__ = ["are_several", "counted", "html_lines", "lights", "overview", "text_line", "text_lines", "went_well"]

_MARKS = {
    "waiting": "○", "running": "▶", "streaming": "▶", "asking": "?", "done": "✓", "routed": "→", "skipped": "–",
    "failed": "✗", "stopped": "■",
}  # fmt: skip
_WELL = frozenset({"done", "routed", "skipped"})


def are_several(run: Run) -> bool:
    """Whether there is more to tell than the run's own line does."""
    return len(run.jobs) > 1


def went_well(run: Run) -> bool:
    """Whether each job is done, or was not to run."""
    return all(state.status in _WELL for state in run.jobs.values())


def html_lines(run: Run, beneath: Callable[[str], str] = lambda _: "") -> str:
    """A line for each job, in the order written; `beneath` gives the HTML that stands below one."""
    asking = {point.job_id for point in run.points}
    return "".join(_html_line(run, state, asking) + beneath(state.id) for state in run.jobs.values())


def text_lines(run: Run) -> list[str]:
    """The same as text."""
    return [text_line(run, job) for job in run.jobs]


def text_line(run: Run, job: str) -> str:
    """One job: its mark, its name, its status, its seconds."""
    state = run.jobs[job]
    status = _status(state, {point.job_id for point in run.points})
    words = _words(status, state.to or "", _seconds(run, state, status), state.runs)
    return f"{_MARKS[status]} {plain(clipped(job))}: {' · '.join(words)}"


def lights(run: Run) -> dict[str, Light]:
    """How far each job is, without its seconds: what changes only when a job's status does."""
    asking = {point.job_id for point in run.points}
    found = {}
    for state in run.jobs.values():
        # one that streams runs
        status = _status(state, asking).replace("streaming", "running")
        found[state.id] = Light(status, _MARKS[status], _told(status, state.to or ""))
    return found


def overview(run: Run) -> str:
    """How many jobs there are, and in which status."""
    asking = {point.job_id for point in run.points}
    # one that streams runs: it is not counted beside those
    counts = Counter(_status(state, asking).replace("streaming", "running") for state in run.jobs.values())
    told = ", ".join(counted(status, counts[status]) for status in _MARKS if counts[status])
    return say("{count} jobs: {told}", count=len(run.jobs), told=told)


def _html_line(run: Run, state: Any, asking: set[str]) -> str:
    status = _status(state, asking)
    return _drawn(language(), state.id, status, state.to or "", _seconds(run, state, status), state.runs)


@lru_cache(maxsize=512)  # of many jobs most lines are the same at the next look
def _drawn(_: str, name: str, status: str, to: str, seconds: str, runs: int) -> str:
    words = escaped(" · ".join(_words(status, to, seconds, runs)))
    look = (
        f' style="{RED}"' if status == "failed" else ' class="compose-dim"' if status in ("waiting", "skipped") else ""
    )
    return f'<div class="compose-job"><span{look}>{_MARKS[status]} <b>{line(name)}</b></span> <span class="compose-dim">{words}</span></div>'


def _status(state: Any, asking: set[str]) -> str:
    return "asking" if state.id in asking and state.status == "running" else state.status


def _told(status: str, to: str) -> str:
    return say("chose {job}", job=clipped(to)) if status == "routed" else _status_word(status)


def _words(status: str, to: str, seconds: str, runs: int) -> list[str]:
    words = [_told(status, to)]
    if seconds:
        words.append(say("{seconds} s", seconds=seconds))
    if runs > 1:
        words.append(say("run {count} times", count=runs))
    return words


def _seconds(run: Run, state: Any, status: str) -> str:
    """How long a job has run so far, in whole seconds, or had run at its end; empty where it has not begun."""
    if state.started_at is None or status in ("waiting", "skipped"):
        return ""
    end = state.ended_at if state.ended_at is not None else run.timing.total
    seconds = max(0.0, (run.elapsed() if end is None else end) - state.started_at)
    return f"{seconds:.0f}" if end is None else f"{seconds:.2f}"


def _status_word(status: str) -> str:
    match status:
        case "waiting":
            return say("waiting")
        case "running" | "streaming":
            return say("running")
        case "asking":
            return say("waits for an answer")
        case "done":
            return say("done")
        case "skipped":
            return say("skipped")
        case "failed":
            return say("failed")
    return say("stopped")


def counted(status: str, count: int) -> str:
    """How many have a status."""
    match status:
        case "waiting":
            return say("{count} waiting", count=count)
        case "running" | "streaming":
            return say("{count} running", count=count)
        case "asking":
            return say("{count} waiting for an answer", count=count)
        case "done":
            return say("{count} done", count=count)
        case "routed":
            return say("{count} chose the next", count=count)
        case "skipped":
            return say("{count} skipped", count=count)
        case "failed":
            return say("{count} failed", count=count)
    return say("{count} stopped", count=count)
