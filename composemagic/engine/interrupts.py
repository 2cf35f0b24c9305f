"""Where a run waits for people: points, asked in batches when everything that runs waits, and their answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from composemagic.engine.events import Point
from composemagic.errors import RunError, UsageError, suggest
from composemagic.language.values import shown
from composemagic.words import say

__all__ = ["Interrupts", "by_point", "nobody"]

# turns of the loop in which nothing may begin before a batch is asked: a job that ends lets the next one start within a few
_QUIET_TURNS = 20


class Interrupts:
    """The open points of one run. `ask_people` is called with all of them when everything that runs waits for one.

    An execution is what can wait: it is alive from its beginning to its end, and waits while one of its points is open.
    """

    def __init__(self, run_id: str, ask_people: Callable[[tuple[Point, ...]], None]) -> None:
        self.run_id = run_id
        self.ask_people = ask_people
        self.open: dict[str, Point] = {}
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._alive: dict[str, int] = {}
        self._resting: dict[str, int] = {}
        self._asked: tuple[str, ...] = ()
        self._numbers = itertools.count(1)
        self._changes = 0

    @property
    def points(self) -> tuple[Point, ...]:
        """What is open, in the order it came."""
        return tuple(self.open.values())

    def alive(self, execution: str) -> AbstractContextManager[None]:
        """While this lasts, the execution runs, or waits."""
        return self._counted(self._alive, execution)

    def resting(self, execution: str) -> AbstractContextManager[None]:
        """While this lasts, others act for the execution: it does not run itself."""
        return self._counted(self._resting, execution)

    @contextmanager
    def _counted(self, table: dict[str, int], execution: str) -> Iterator[None]:
        table[execution] = table.get(execution, 0) + 1
        self._changes += 1
        try:
            yield
        finally:
            table[execution] -= 1
            if not table[execution]:
                del table[execution]
            self._look()

    async def ask(self, execution: str, job: str, phase: str, *, message: str | None, metadata: Any, value: Any) -> Any:
        """Wait for the answer to a new point."""
        point = Point(f"{self.run_id}-point-{next(self._numbers)}", job, execution, phase, message, metadata, value)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with self.alive(execution):
            self.open[point.id], self._answers[point.id] = point, answer
            self._look()
            try:
                return await answer
            finally:
                self.open.pop(point.id, None)
                self._answers.pop(point.id, None)

    def answer(self, answers: Mapping[str, Any]) -> tuple[str, ...]:
        """Answer points by their ids; the ids of those that were open."""
        known = [name for name in answers if name in self.open]
        if not set(known) <= set(self._asked):
            # `points` were seen before all waited: who reads the events sees them first, too
            self.ask_people(self.points)
        for name in known:
            del self.open[name]
            future = self._answers.pop(name)
            if not future.done():
                future.set_result(answers[name])
        self._asked = ()
        self._look()
        return tuple(known)

    # -- when to ask ----------------------------------------------------------------------------------------------------
    def _look(self) -> None:
        self._changes += 1
        if self._all_wait():
            asyncio.get_running_loop().call_soon(self._wait_for_quiet, self._changes, _QUIET_TURNS)

    def _all_wait(self) -> bool:
        waiting = {point.run_id for point in self.open.values()}
        return bool(self.open) and all(each in waiting or each in self._resting for each in self._alive)

    def _wait_for_quiet(self, changes: int, turns: int) -> None:
        if changes != self._changes:
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._wait_for_quiet, changes, turns - 1)
        elif self._all_wait() and tuple(self.open) != self._asked:
            self._asked = tuple(self.open)
            self.ask_people(self.points)


def by_point(answers: Any, points: tuple[Point, ...]) -> dict[str, Any]:
    """What was answered, by point.

    `answers` is null for "go on everywhere", a mapping of points' ids or jobs' ids to answers, such a mapping below
    `answer`, one point's `{job_id, run_id, answer}`, or the answer itself where only one point is open. Raises UsageError
    for what names no open point.
    """
    if answers is None:
        return {point.id: None for point in points}
    if not isinstance(answers, Mapping):
        if len(points) == 1:
            return {points[0].id: answers}
        raise UsageError(
            say("answers are a mapping of points to what they are answered, not {value}", value=shown(answers))
        )
    if "job_id" in answers and answers.keys() <= {"job_id", "run_id", "answer"}:
        return _of_job(str(answers["job_id"]), answers.get("run_id"), answers.get("answer"), points)
    names = {point.id for point in points} | {point.job_id for point in points}
    inner = answers.get("answer")
    if answers.keys() == {"answer"} and "answer" not in names and isinstance(inner, Mapping | None):
        return by_point(inner, points)
    found: dict[str, Any] = {}
    for name, answer in answers.items():
        found |= {name: answer} if any(point.id == name for point in points) else _of_job(name, None, answer, points)
    return found


def _of_job(job: str, run_id: Any, answer: Any, points: tuple[Point, ...]) -> dict[str, Any]:
    found = [point for point in points if point.job_id == job and run_id in (None, point.run_id)]
    if not found:
        known = [name for point in points for name in (point.job_id, point.id)]
        listed = ", ".join(f"`{name}`" for name in dict.fromkeys(known)) or say("nothing")
        raise UsageError(
            say(
                "`{name}` waits for no answer{near}; these do: {known}",
                name=job,
                near=suggest(job, known),
                known=listed,
            )
        )
    return {found[0].id: answer}


def nobody(job: str) -> RunError:
    """The error of a run that asks where nobody can answer."""
    return RunError(
        "unattended",
        say(
            "the job `{job}` waits for a person's answer, and nobody can give one here; start the workflow with `start()` and "
            "answer with `run.answer(...)`, or let it go on by itself with `auto_resume=True`",
            job=job,
        ),
        job=job,
    )
