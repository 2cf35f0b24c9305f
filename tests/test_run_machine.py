"""The life of runs as a machine of states: started, stopped, read, answered, edited, forgotten, in any order."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import composemagic
from composemagic.engine.events import RunFailed, RunFinished, RunStopped
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run

SOAK = os.environ.get("COMPOSEMAGIC_SOAK") == "1"
OPEN, OVER = {"running", "interrupted"}, {"done", "stopped", "failed"}

# what a run does, and how it may end where nobody stops it
KINDS: dict[str, tuple[str, str]] = {
    "quick": ("{id: a, component: words, input: a b c}", "done"),
    "endless": ("{id: a, type: delay, duration: 60s}, {id: b, component: words, input: x}", ""),
    "broken": ("{id: a, input: '${input.n as integer}'}", "failed"),
    "asks": ("{id: a, input: 1, interrupt: {before: true}}", ""),
}
PARTS = (
    "components: [{id: give, default: true, type: echo, value: '${input}'}, {id: words, type: echo, text: '${input}'}]"
)
LAST = RunFinished | RunStopped | RunFailed


class Life(RuleBasedStateMachine):
    """Runs of one workflow, which is edited meanwhile. An edit is a new workflow: runs that are under way go on as they were."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[str, Run]] = []
        self.others = _tasks()  # what other tests keep on the loop is not ours
        self.stopped: set[str] = set()
        self.answered: set[str] = set()
        self.edit("quick")

    @rule(kind=st.sampled_from(sorted(KINDS)))
    def edit(self, kind: str) -> None:
        self.kind = kind
        self.workflow = composemagic.load(f"workflow: {{jobs: [{KINDS[kind][0]}]}}\n{PARTS}")

    @precondition(lambda self: len(self.runs) < 6)
    @rule(count=st.integers(1, 2))
    def start(self, count: int) -> None:
        self.runs += [(self.kind, self.workflow.start({"n": "no number"})) for _ in range(count)]

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def stop(self, data: Any) -> None:
        _, run = data.draw(st.sampled_from(self.runs))
        self.stopped.add(run.id)
        run.cancel()

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def answer(self, data: Any) -> None:
        _, run = data.draw(st.sampled_from(self.runs))
        if run.points:
            self.answered.add(run.id)
        run.answer()

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def wait(self, data: Any) -> None:
        kind, run = data.draw(st.sampled_from(self.runs))
        ends = KINDS[kind][1] or run.id in self.stopped | self.answered
        assert run.wait(60 if ends else 0.001) is bool(ends) or run.done

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def read(self, data: Any) -> None:
        """Leave in the middle: the run goes on."""
        _, run = data.draw(st.sampled_from(self.runs))
        for event in run:
            del event
            break

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def forget(self, data: Any) -> None:
        """A run that nobody holds any more; one that would not end is stopped first."""
        kind, run = place = data.draw(st.sampled_from(self.runs))
        if not KINDS[kind][1]:
            run.cancel()
        self.runs.remove(place)
        gc.collect(0)

    @invariant()
    def every_status_is_right(self) -> None:
        for kind, run in self.runs:
            done, status, events = run.done, run.status, run.events
            assert status in OPEN | OVER
            ends = [event for event in events if isinstance(event, LAST)]
            assert len(ends) <= 1 and (not ends or events[-1] is ends[0])
            if not done:
                continue
            assert run.status in OVER and isinstance(run.events[-1], LAST)
            assert run.status != "stopped" or run.id in self.stopped
            assert run.status != "failed" or KINDS[kind][1] == "failed"
            assert (run.error is None) == (run.status != "failed")

    def teardown(self) -> None:
        for _, run in self.runs:
            run.cancel()
        assert all(run.wait(60) for _, run in self.runs)
        self.every_status = [run.status for _, run in self.runs]
        assert not set(self.every_status) & OPEN
        end = time.monotonic() + 60
        while left := _tasks() - self.others:
            assert time.monotonic() < end, left


def _tasks() -> set[asyncio.Task[Any]]:
    async def tasks() -> set[asyncio.Task[Any]]:
        return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    return private_loop().submit(tasks()).result(60)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=1000 if SOAK else 40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
