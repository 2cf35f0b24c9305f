"""What a run would send, without sending it: each request as far as it can be known before there is an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from composemagic.engine.loop import pause
from composemagic.engine.trace import body_text
from composemagic.text import plain
from composemagic.words import listing, say

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.engine.run import Run
    from composemagic.transport.exchange import Exchange
    from composemagic.workflow.inputs import Input

__all__ = ["Explanation", "Would", "explain"]

_PATIENCE_SECONDS = 5.0  # for what is worked out before a request: a delay is not waited for
_POLL_SECONDS = 0.01
_STOP_SECONDS = 2.0
_GOES = ("done", "routed", "skipped")


@dataclass(frozen=True, slots=True)
class Would:
    """What one job would do: send `exchanges`, run a component that acts here (`acts`), wait for `after`, or fail (`error`)."""

    job: str
    exchanges: tuple[Exchange, ...] = ()
    acts: str | None = None
    after: tuple[str, ...] = ()
    error: str | None = None
    status: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What each job would do, in the order written; `str` of it is a text for people. Secrets are masked."""

    title: str
    jobs: tuple[Would, ...]
    assumed: tuple[str, ...]

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every request that is known."""
        return tuple(exchange for job in self.jobs for exchange in job.exchanges)

    def __str__(self) -> str:
        several = len(self.jobs) > 1
        blocks = ["\n".join(_lines(job, named=several)) for job in self.jobs]
        if self.assumed:
            names = listing(f"`{name}`" for name in self.assumed)
            blocks.append(say("not given, so their names or plain values stand in their place: {names}", names=names))
        return plain("\n\n".join(block for block in blocks if block))


def explain(workflow: Workflow, values: Mapping[str, Any] | None = None) -> Explanation:
    """Work out what a run with these values would send. Nothing is sent, and nothing acts. Raises InputError.

    Of inputs that are missing, `<name>` stands in the place of the value, or a plain value of their type.
    """
    given, assumed = _with_names(workflow, values or {})
    acts: dict[str, str] = {}

    async def held(job: str, kind: str) -> None:
        acts[job] = kind
        await asyncio.Event().wait()

    run = workflow.rehearsed(given, held)
    try:
        _await_rest(run, acts)
        return Explanation(workflow.title, tuple(_would(run, job, acts) for job in run.jobs), assumed)
    finally:
        run.cancel()
        run.wait(_STOP_SECONDS)


def _with_names(workflow: Workflow, values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    from composemagic.workflow.inputs import lacking
    from composemagic.workflow.written import nested

    missing = lacking(workflow.inputs, values)
    known = {**values, **{one.name: _stand_in(one) for one in missing if one.name}}
    return nested(known), tuple(one.name for one in missing if one.name)


def _stand_in(one: Input) -> Any:
    """The input's name, or the first plain value that its type takes."""
    name = f"<{one.name}>"
    found = (name, *one.options, *one.bounds[:1], 0, False, [name], {}, [], [{}], [0], b"", [b""])
    return next((value for value in found if one.problem(value) is None), name)


def _await_rest(run: Run, acts: Mapping[str, str]) -> None:
    """Wait until nothing goes on but what waits for an answer that never comes."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    quiet = 0
    while not run.done and time.monotonic() < deadline and quiet < 3:
        pause()
        time.sleep(_POLL_SECONDS)
        busy = {job for job, state in run.jobs.items() if state.status in ("running", "streaming")}
        is_quiet = bool(busy) and busy <= {*acts, *(one.job for one in _sent(run))}
        quiet = quiet + 1 if is_quiet else 0


def _sent(run: Run) -> tuple[Exchange, ...]:
    return run.trace.exchanges if run.trace is not None else ()


def _would(run: Run, job: str, acts: Mapping[str, str]) -> Would:
    state = run.jobs[job]
    exchanges = tuple(one for one in _sent(run) if one.job == job)
    if state.error is not None:
        return Would(job, exchanges, error=run.redact(state.error.sentence))
    if state.status == "waiting":
        before = [name for name, next_ones in run.plan.graph.after.items() if job in next_ones]
        return Would(job, after=tuple(name for name in before if run.jobs[name].status not in _GOES))
    return Would(job, exchanges, acts.get(job), status=state.status)


def _lines(would: Would, *, named: bool) -> list[str]:
    lines = [f"{would.job}:"] if named else []
    indent = "  " if named else ""
    for exchange in would.exchanges:
        lines.append(f"{indent}{exchange.method} {exchange.url}")
        lines += [f"{indent}{name}: {value}" for name, value in exchange.headers]
        if body := body_text(exchange.body):
            lines += ["", *(f"{indent}{line}" for line in body.splitlines())]
    return [*lines, *(f"{indent}{line}" for line in _words(would))]


def _words(would: Would) -> list[str]:
    if would.error is not None:
        return [say("would fail: {reason}", reason=would.error)]
    if would.after:
        return [say("waits for the answer of {jobs}", jobs=listing(f"`{name}`" for name in would.after))]
    if would.acts is not None:
        return [say("would run `{type}`, which is not tried here", type=would.acts)]
    if would.exchanges:
        return []
    match would.status:
        case "skipped":
            return [say("would be skipped")]
        case "running" | "streaming":
            return [say("goes on longer than is waited for here")]
    return [say("sends nothing")]
