"""The runs of a server by id: their turns, what is remembered of them and for how long, and how a server stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composemagic.api import load_all
from composemagic.engine.events import Delta, Event, Notice
from composemagic.engine.loop import private_loop
from composemagic.errors import UsageError
from composemagic.server.log import ForgottenError, Log
from composemagic.server.refusals import Refusal
from composemagic.server.tasks import Task, Tasks

DOCUMENT = """
workflows:
  - {id: slow, default: true, job: {component: w, input: {text: "a b", delay: 30}}}
  - {id: quick, job: {component: v}}
  - {id: ask, job: {component: v, interrupt: {before: true}}}
  - {id: pair, jobs: [{id: a, component: v, interrupt: {before: true}}, {id: b, component: v, interrupt: {before: true}}]}
components:
  - {id: v, type: echo}
  - {id: w, type: echo, action: {text: "${input.text}", delay: "${input.delay}"}}
"""


def on_loop(work: Callable[[Tasks], Awaitable[Any]], **limits: Any) -> Any:
    """Do something with Tasks on the private loop, to which they belong; they are closed then."""

    async def all_of_it() -> Any:
        tasks = Tasks(load_all(DOCUMENT), **limits)
        try:
            return await work(tasks)
        finally:
            await tasks.close(0)

    return private_loop().submit(all_of_it()).result(60)


async def until(task: Task, holds: Callable[[], bool]) -> None:
    with task.bell() as bell:
        while not holds():
            await bell.wait()
            bell.clear()


async def ended(task: Task) -> str:
    await until(task, lambda: task.ended)
    return task.status


def start(tasks: Tasks, name: str, value: Any = None) -> Task:
    return tasks.start(tasks.workflow(name), value if value is not None else {})


# -- turns


def test_so_many_at_once_and_the_rest_in_turn() -> None:
    async def work(tasks: Tasks) -> None:
        several = [start(tasks, "slow") for _ in range(5)]
        assert [task.status for task in several] == ["processing"] * 2 + ["pending"] * 3
        with pytest.raises(Refusal) as refused:
            start(tasks, "quick")
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
        tasks.cancel(several[3])
        assert several[3].status == "cancelled" and await several[3].begun() is None
        tasks.drop(several[0])
        assert await ended(several[0]) == "cancelled"
        assert several[2].status == "processing" and several[4].status == "pending"
        assert (await several[2].begun()) is several[2].run

    on_loop(work, at_once=2, waiting=3)


def test_who_waits_for_people_gives_its_place() -> None:
    async def work(tasks: Tasks) -> None:
        asking = [start(tasks, "ask", {"x": at}) for at in range(3)]
        for task in asking:
            await until(task, lambda task=task: task.status == "interrupted")  # type: ignore[misc]
        assert tasks.running == 0
        slow = start(tasks, "slow")
        with pytest.raises(Refusal) as refused:
            tasks.resume(asking[0], {"answer": None})
        assert refused.value.status == 429
        tasks.drop(slow)
        await ended(slow)
        tasks.resume(asking[0], {"answer": None})
        assert tasks.running == 1
        assert await ended(asking[0]) == "completed"

    on_loop(work, at_once=1, waiting=8)


def test_too_many_that_wait_for_people() -> None:
    """The one that waits longest gives way, and so does one that nobody answers in time."""

    async def work(tasks: Tasks) -> None:
        asking = []
        for _ in range(3):
            asking.append(start(tasks, "ask"))
            await until(asking[-1], lambda: asking[-1].status == "interrupted")
        assert await ended(asking[0]) == "cancelled"
        assert [task.status for task in asking[1:]] == ["interrupted"] * 2

    on_loop(work, waiting=2)

    async def patience(tasks: Tasks) -> None:
        assert await ended(start(tasks, "ask")) == "cancelled"

    on_loop(patience, parked_seconds=0.05)


def test_a_part_of_the_answers() -> None:
    async def work(tasks: Tasks) -> None:
        task = start(tasks, "pair")
        await until(task, lambda: len(task.points) == 2)
        with pytest.raises(UsageError):
            tasks.resume(task, {"answer": {"nobody": 1}})
        assert tasks.resume(task, {"answer": {"a": {"x": 1}}}) is True
        assert tasks.resume(task, {"answer": {}}) is False
        await until(task, lambda: [point.job_id for point in task.points] == ["b"])
        await until(task, lambda: task.status == "interrupted" and tasks.running == 0)
        tasks.resume(task, {"job_id": "b", "answer": None})
        assert await ended(task) == "completed"
        with pytest.raises(Refusal) as refused:
            tasks.resume(task, {})
        assert refused.value.status == 409

    on_loop(work)


# -- memory


def test_the_ended_are_remembered_up_to_a_number() -> None:
    async def work(tasks: Tasks) -> None:
        several = [start(tasks, "quick", {"n": at}) for at in range(5)]
        for task in several:
            assert await ended(task) == "completed"
        assert [tasks.find(task.id) for task in several[2:]] == several[2:]
        for task in several[:2]:
            with pytest.raises(Refusal) as refused:
                tasks.find(task.id)
            assert refused.value.status == 404

    on_loop(work, kept=3)


def test_the_ended_are_remembered_up_to_a_size() -> None:
    async def work(tasks: Tasks) -> None:
        large = [start(tasks, "quick", {"x": "y" * 40_000}) for _ in range(4)]
        for task in large:
            await ended(task)
        kept = [task for task in large if task.id in tasks._ended]
        assert 0 < len(kept) < 4
        assert kept == large[-len(kept) :]

    on_loop(work, kept_bytes=300_000)


def test_ids_cannot_be_guessed() -> None:
    async def work(tasks: Tasks) -> None:
        names = {start(tasks, "quick").id for _ in range(8)}
        assert len(names) == 8 and all(len(name) == 32 for name in names)

    on_loop(work)


# -- the end


def test_a_server_that_stops() -> None:
    async def work(tasks: Tasks) -> None:
        running, waiting = start(tasks, "slow"), start(tasks, "slow")
        await running.begun()
        await tasks.close(0.05)
        assert (running.status, waiting.status) == ("cancelled", "cancelled")
        with pytest.raises(Refusal) as refused:
            start(tasks, "quick")
        assert refused.value.status == 503

    on_loop(work, at_once=1)


def test_what_is_nearly_done_may_end() -> None:
    async def work(tasks: Tasks) -> None:
        task = tasks.start(tasks.workflow("slow"), {})
        quick = start(tasks, "quick")
        tasks.drop(task)
        await tasks.close(20)
        assert quick.status == "completed"

    on_loop(work)


def test_a_run_that_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise UsageError("the env file cannot be read")

    async def work(tasks: Tasks) -> None:
        monkeypatch.setattr(tasks.workflow("quick"), "start", broken)
        task = start(tasks, "quick")
        assert (task.status, await task.begun()) == ("failed", None)
        assert task.failure is not None and task.failure.sentence == "the env file cannot be read"
        assert tasks.running == 0

    on_loop(work)


# -- the log


def log_of(batches: list[list[Event]], *, one_text: bool = True) -> Log:
    log = Log(lambda path: one_text)
    for batch in batches:
        log.add(batch)
    return log


def said(events: list[tuple[int, Event]]) -> str:
    return "".join(event.value for _, event in events if isinstance(event, Delta))


def test_a_log_joins_what_is_old() -> None:
    log = log_of([[Delta(f"{at};")] for at in range(1, 5001)])
    everything = log.after(0)
    assert said(everything) == "".join(f"{at};" for at in range(1, 5001))
    assert len(everything) < 1100 and everything[-1] == (5000, Delta("5000;"))
    assert said(log.after(4999)) == "5000;"
    assert log.after(5000) == [] == log.after(6000)
    with pytest.raises(ForgottenError):
        log.after(3)


def test_a_log_joins_nothing_that_is_no_text() -> None:
    log = log_of([[Delta(f"{at};") for at in range(1, 3001)]], one_text=False)
    assert len(log.after(0)) == 3000
    assert said(log.after(7))[:4] == "8;9;"
    mixed = log_of([[Delta("a"), Notice("n"), Delta("b"), Delta({}), Delta("c", "j"), Delta("d", "j", ("x",))] * 500])
    assert [type(event).__name__ for _, event in mixed.after(0)][:5] == ["Delta", "Notice", "Delta", "Delta", "Delta"]
    assert len(mixed.after(0)) == 3000


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=12), st.lists(st.integers(0, 400), min_size=1, max_size=3))
def test_a_reader_loses_nothing(sizes: list[int], lags: list[int]) -> None:
    """However the pieces come, and however far its readers lag behind."""
    log, at = Log(lambda path: True), 0
    with_places = [log.reader(0) for _ in lags]
    held = [one.__enter__() for one in with_places]
    got = ["" for _ in lags]
    for size in sizes:
        log.add([Delta(f"{at + number};") for number in range(size)])
        at += size
        for reader, lag in enumerate(lags):
            events = log.after(held[reader][0])
            taken = events[: max(0, len(events) - lag)]
            got[reader] += said(taken)
            if taken:
                held[reader][0] = taken[-1][0]
    for reader in range(len(lags)):
        got[reader] += said(log.after(held[reader][0]))
        with_places[reader].__exit__(None, None, None)
    assert got == ["".join(f"{number};" for number in range(at))] * len(lags)
