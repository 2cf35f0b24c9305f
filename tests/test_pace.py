"""How often what is shown is sent: timers, one budget for a face, a run's header and text, the cards of a sweep."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import composemagic
from composemagic.engine.events import Delta, Event, JobFinished, JobStarted, RunStarted
from composemagic.engine.run import Run
from composemagic.notebook import pace as pace_module
from composemagic.notebook import view as view_module
from composemagic.notebook.markdown import render
from composemagic.notebook.pace import Alarm, Pace
from composemagic.notebook.sweep import Sweep
from composemagic.notebook.sweepbox import SweepBox
from composemagic.notebook.view import Live
from tests.benchmarks.show import measured
from tests.conftest import Kernel
from tests.test_view import PARTS, echoing, ran, without_tags

SECONDS = 20
WORDS = {"workflow": {"job": {"component": {"type": "echo", "action": {"text": "${input.prompt as text} " + "word " * 200}}}}}  # fmt: skip


class Clock:
    """A time that only tests move, in milliseconds from when it was made."""

    def __init__(self) -> None:
        self.ms = 0.0

    def monotonic(self) -> float:
        return 1000 + self.ms / 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    for module in (pace_module, view_module):
        monkeypatch.setattr(module, "time", found)
    return found


# -- an alarm


def test_an_alarm_rings_once_at_the_last_time_that_was_asked_for() -> None:
    rung: list[float] = []

    async def ask() -> None:
        heard = asyncio.Event()
        alarm = Alarm(lambda: (rung.append(alarm.due), heard.set()))
        assert alarm.due == math.inf
        alarm.at(time.monotonic() + 3600)
        alarm.at(due := time.monotonic() + 0.01)
        assert alarm.due == due
        await heard.wait()
        assert time.monotonic() >= due - 0.001
        alarm.at(0)
        alarm.stop()
        assert alarm.due == math.inf
        heard.clear()
        asyncio.get_running_loop().call_later(0.01, heard.set)
        await heard.wait()

    asyncio.run(ask())
    assert rung == [math.inf]


# -- one budget

ROOM = [(0, 0, 20, True), (0, 0, 21, False), (18, 0, 2, True), (18, 0, 3, False), (18, 1000, 26, True), (18, 1000, 27, False)]  # fmt: skip


@pytest.mark.parametrize(("spent", "ms", "messages", "has"), ROOM)
def test_there_is_room_for_so_many_messages(clock: Clock, spent: int, ms: float, messages: int, has: bool) -> None:
    pace = Pace(lambda: (0, 0), spent=spent)
    clock.ms = ms
    assert pace.has_room(messages) == has


@pytest.mark.parametrize(("is_more", "next_ms"), [(False, 250), (True, 100)])
def test_what_changes_while_it_is_pushed_does_not_wait_for_the_beat(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, is_more: bool, next_ms: float
) -> None:
    pace = Pace(lambda: (pace.soon() if is_more else None, (2, 100))[1])

    def at(due: float) -> None:
        pace._alarm.due = due

    monkeypatch.setattr(pace._alarm, "at", at)
    pace._tick()
    assert round((pace._alarm.due - 1000) * 1000) == next_ms


# -- a run's header and text

ONE, TWO = echoing("x"), PARTS
BEGINS = [(0, "begins")]


def deltas(*times: range) -> list[tuple[int, str]]:
    return [(at, "delta") for some in times for at in some]


# workflow, what is said when, until when it is watched (ms), what is pushed when
PUSHES: dict[str, tuple[str, list[tuple[int, str]], int, list[tuple[int, str]]]] = {
    "the header alone moves four times a second": (ONE, BEGINS, 850, [(270, "head"), (540, "head"), (810, "head")]),
    "the first delta at once, the header with it": (ONE, [*BEGINS, (50, "delta")], 200, [(50, "text"), (50, "head")]),
    "ten texts a second, the header goes with one of them": (
        ONE,
        [*BEGINS, *deltas(range(50, 501, 9))],
        500,
        [(50, "text"), (50, "head"), (158, "text"), (266, "text"), (374, "text"), (374, "head"), (482, "text")],
    ),
    "what came before a silence is not kept back": (
        ONE,
        [*BEGINS, *deltas(range(50, 61, 5))],
        400,
        [(50, "text"), (50, "head"), (170, "text"), (320, "head")],
    ),
    "all that comes at once is one text": (ONE, [*BEGINS, *[(50, "delta")] * 400], 100, [(50, "text"), (50, "head")]),
    "the lines of jobs five times a second": (
        TWO,
        [*BEGINS, *[(at, "job") for at in range(30, 600, 50)]],
        600,
        [(0, "text"), (220, "text"), (270, "head"), (430, "text"), (530, "head")],
    ),
    "a text waits for no lines": (
        TWO,
        [*BEGINS, (30, "job"), (40, "delta"), (109, "delta")],
        150,
        [(0, "text"), (40, "head"), (109, "text")],
    ),
    "the first text of jobs at once, where nothing was pushed just now": (
        TWO,
        [*BEGINS, (150, "delta")],
        200,
        [(0, "text"), (150, "text"), (150, "head")],
    ),
}


def said(run: Run, kind: str) -> Event:
    if kind == "delta":
        return Delta("word ", "a", ("first",) if len(run.jobs) > 1 else ())
    wanted: Any = {"begins": RunStarted, "job": JobStarted | JobFinished}[kind]
    return next(event for event in run.events if isinstance(event, wanted))


@pytest.mark.parametrize("name", PUSHES)
def test_what_is_pushed_when(name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml, script, end, wanted = PUSHES[name]
    run, pushed, alarm = ran(yaml), [], [math.inf]
    live = Live("Title", place=lambda _: None)
    live._run = run
    monkeypatch.setattr(live._alarm, "at", lambda due: alarm.__setitem__(0, due))
    for kind, step in (("text", "_push_text"), ("head", "_headline")):
        monkeypatch.setattr(live, step, noted(pushed, clock, kind, getattr(live, step)))
    coming = [(at, said(run, kind)) for at, kind in script]
    while True:
        rings = round((alarm[0] - 1000) * 1000) if alarm[0] < math.inf else end + 1
        at = min(coming[0][0] if coming else end + 1, rings)
        if at > end:
            break
        clock.ms = at
        if coming and coming[0][0] == at:
            live._receive([coming.pop(0)[1]])
        else:
            live._tick()
    assert (pushed, live._failure) == (wanted, None)
    if any(kind == "delta" for _, kind in script):
        assert "word" in live._output.outputs[0]["data"]["text/html"]
    for widget in live._widgets:
        widget.close()


def noted(pushed: list[tuple[int, str]], clock: Clock, kind: str, step: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> Any:
        pushed.append((round(clock.ms), kind))
        return step()

    return call


def test_all_that_was_said_is_shown_at_the_end() -> None:
    run = composemagic.load(json.dumps(WORDS)).stream(prompt="a")
    left: list[Any] = []
    live = Live("Title", place=left.append)
    live.follow(run)
    live.closed.result(SECONDS)
    assert live._streams.texts() == {(): render("a " + "word " * 200)}  # nothing of what only added up is lost
    assert render("a " + "word " * 200) in left[-1]["text/html"]


# -- the cards of a sweep

VALUES = list("abcdefghijkl")


@pytest.fixture
def box() -> Iterator[SweepBox]:
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    made = SweepBox(Sweep(composemagic.load(json.dumps(WORDS)), {"prompt": VALUES}))
    yield made
    made.close()
    assert set(_instances) <= before


def cards(box: SweepBox) -> list[str]:
    """The text of each card that has a place of its own."""
    return [without_tags(part.value) for part in box.box.children if "compose-card" in part._dom_classes]


def test_a_sweep_that_ends_before_it_is_shown_leaves_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell displays the widgets, and the copy takes their place, whatever ends meanwhile on the private loop's thread."""
    told: list[tuple[str, bool]] = []

    def display(data: Any, *, update: bool = False, **_: Any) -> None:
        told.append((data["text/plain"], update))

    class Late(SweepBox):
        def show(self) -> None:
            assert self.sweep.wait(SECONDS)
            super().show()

    monkeypatch.setattr("composemagic.notebook.sweepbox.SweepBox", Late)
    monkeypatch.setattr("composemagic.notebook.place.display", display)
    monkeypatch.setattr("composemagic.notebook.attended.can_click", lambda _: True)
    monkeypatch.setattr("composemagic.notebook.sweep.running_shell", lambda: SimpleNamespace(kernel=True))
    sweep = Sweep(composemagic.load(json.dumps(WORDS)), {"prompt": VALUES})
    sweep.show()
    (widget, first), (copy, second) = told
    assert (first, second) == (False, True)
    assert "is running" in widget and copy.count("✓") == len(VALUES)


def test_cards_share_one_place_until_there_is_room_for_each(box: SweepBox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    room = [False, True]
    monkeypatch.setattr(box._pace, "has_room", lambda count: (asked.append(count), room.pop(0))[1])
    before = box._all.value
    assert without_tags(before) == " ".join(f"○ prompt = {value} ○ waiting" for value in VALUES)
    assert (cards(box), box._models) == ([], 8)
    assert box._push() == (1, 0)  # the heading only: nothing has changed
    first = next(iter(box._shown.values()))
    first.is_stale = True
    messages, size = box._push()
    assert messages == 2 * 12 + 1 + 1
    assert size == sum(len(part.value.encode()) for part in box.box.children[3:])
    assert cards(box) == [f"○ prompt = {value} ○ waiting" for value in VALUES]
    assert asked == [25, 25]
    first.is_stale = True
    messages, size = box._push()
    assert (messages, size) == (2, len(box.box.children[3].value.encode()))
    assert (box._pace.seconds, asked) == (0.1, [25, 25])


def test_only_cards_that_have_changed_are_made_anew(box: SweepBox, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    card = box._card
    monkeypatch.setattr(
        box, "_card", lambda one, **more: (made.append(one.trial.values["prompt"]), card(one, **more))[1]
    )
    monkeypatch.setattr(box._pace, "has_room", lambda _: False)
    for one in list(box._shown.values())[3:5]:
        one.is_stale = True
    messages, size = box._push()
    assert (messages, size) == (2, len(box._all.value.encode()))
    assert made == ["d", "e"]


def test_a_closed_box_makes_no_places(box: SweepBox) -> None:
    box.close()
    assert box._push() == (0, 0)
    box._pace._sent = -100
    assert box._part() == (0, 0)
    assert cards(box) == []


def test_a_table_of_many_stays_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    box = SweepBox(Sweep(composemagic.load(json.dumps(WORDS)), {"prompt": list(range(30))}))
    monkeypatch.setattr(box._pace, "has_room", lambda _: True)
    assert (box._pace.seconds, box._push()) == (0.1, (1, 0))
    next(iter(box._shown.values())).is_stale = True
    assert box._push() == (2, len(box._all.value.encode()))
    assert "<table>" in box._all.value
    box.close()


def test_a_sweep_that_is_over_at_once_stays_within_the_messages(kernel: Kernel) -> None:
    assert kernel.execute("from composemagic import load").status == "ok"
    sweep = f"sweep = load({json.dumps(WORDS)!r}).sweep(prompt={VALUES}, at_once=12); sweep.show(); sweep.wait()"
    for _ in range(2):
        cost = measured(kernel, sweep)
        assert cost.messages <= 20 + 30 * cost.seconds
    done = kernel.execute("sweep.show()")
    assert "12 combinations: 12 done" in done.text
