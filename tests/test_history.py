"""The runs there were: the list, the file, replays, comparisons."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import composemagic
from composemagic import Workflow
from composemagic.comparing import Row, compare, differences
from composemagic.engine.events import Delta, Interrupted, JobFinished, Notice, Point, RunFailed, RunFinished, Waiting
from composemagic.engine.kept import hear_of
from composemagic.engine.summary import summary
from composemagic.errors import RunError, UsageError
from composemagic.history import Runs
from composemagic.history.tape import Tape, read, written
from composemagic.prices import cost_text, set_prices

ECHO = "component: {type: echo, text: 'Hello ${input.who as text}, how are you?'}"
SLOW = "component: {type: echo, action: {text: 'one two three', delay: 0.02}}"
FAILS = "workflow: {title: Bad}\ncomponent: {type: shell, action: {command: [echo, hi]}}"
JOBS = """
workflow:
  title: Steps
  jobs:
    - {id: first, component: say, input: {text: a}}
    - {id: choose, type: if, input: '${jobs.first.output}', operator: eq, value: a, if_true: second, if_false: third}
    - {id: second, component: say, input: {text: b}}
    - {id: third, component: say, input: {text: c}}
components: [{id: say, type: echo, action: {text: '${input.text}'}}]
"""


@pytest.fixture
def runs() -> Iterator[Runs]:
    found = Runs()
    end = hear_of(found.keep)
    yield found
    end()
    found.flush()


def load(text: str, name: str = "") -> Workflow:
    workflow = composemagic.load(text)
    workflow.name = name
    return workflow


def made(runs: Runs, yaml: str, name: str = "", **values: Any) -> composemagic.Run:
    run = load(yaml, name).stream(**values)
    run.wait()
    return run


# -- the list ------------------------------------------------------------------------------------------------------------


def test_each_run_is_kept(runs: Runs) -> None:
    run = made(runs, ECHO, "hello", who="Ada")
    past = runs[-1]
    assert (past.number, past.workflow, past.name, past.inputs) == (1, "hello", "hello", {"who": "Ada"})
    assert (past.status, past.text, past.output, past.run) == ("done", run.text, run.output, run)
    assert past.seconds == run.timing.total and past.at.tzinfo is not None
    assert str(past) == "Hello Ada, how are you?"


def test_a_run_that_fails_is_kept_with_its_sentence(runs: Runs) -> None:
    made(runs, FAILS)
    assert runs[-1].status == "failed" and "shell" in (runs[-1].error or "")
    assert runs[-1].kind == "not_allowed"


def test_a_run_under_way_is_there(runs: Runs) -> None:
    run = load("workflow: {job: {type: delay, duration: 60s}}\ncomponent: {type: echo}").stream()
    assert runs[-1].status == "running"
    run.cancel()
    run.wait()
    assert runs[-1].status == "stopped"


def test_looking_for_some(runs: Runs) -> None:
    made(runs, ECHO, "hello", who="Ada")
    made(runs, ECHO, "hello", who="Bob")
    made(runs, FAILS, "bad")
    assert [past.number for past in runs.filter(status="done")] == [1, 2]
    assert [past.number for past in runs.filter(workflow="bad")] == [3]  # by its name
    assert [past.number for past in runs.filter(workflow="Bad")] == [3]  # by its title
    assert [past.number for past in runs.filter(text="Bob")] == [2]
    assert [past.number for past in runs.filter(text=5)] == []
    assert [past.number for past in runs.filter(lambda past: past.number > 1, status="done")] == [2]
    assert [past.number for past in runs[:2]] == [1, 2]
    runs[0].model, runs[1].model = "big, small", "small"
    assert [past.number for past in runs.filter(model="small")] == [1, 2]
    assert [past.number for past in runs.filter(model="big, small")] == [1]
    with pytest.raises(UsageError, match="no column `stats`; did you mean `status`"):
        runs.filter(stats="done")
    with pytest.raises(UsageError, match="they have `number`"):
        runs.filter(xyzzy=1)


def test_there_are_none(runs: Runs) -> None:
    with pytest.raises(IndexError, match="there are no runs yet"):
        runs[-1]
    made(runs, ECHO, who="x")
    with pytest.raises(IndexError, match="there are only 1 runs"):
        runs[1]


def test_a_table_for_pandas(runs: Runs) -> None:
    made(runs, ECHO, "hello", who="Ada")
    table = runs.to_pandas()
    assert list(table.index) == [1] and table.loc[1, "workflow"] == "hello"
    assert runs.rows()[0]["inputs"] == {"who": "Ada"}


def test_the_cost_follows_the_table_of_prices(runs: Runs) -> None:
    made(runs, ECHO, who="x")
    past = runs[-1]
    past.model, past.usage = "tiny-001", {"prompt_tokens": 100, "completion_tokens": 10}
    assert (past.tokens_in, past.tokens_out, past.cost) == (100, 10, None)
    set_prices({"tiny": (1, 2)})
    assert past.cost == pytest.approx(0.00012)
    set_prices({})


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (0.000066, "0.000066"),
        (0.0123456, "0.01235"),
        (12.5, "12.5"),
        (3e-9, "0.000000003"),
        (1234567, "1235000"),
    ],
)
def test_a_cost_has_no_exponent(amount: float, text: str) -> None:
    assert cost_text(amount) == text


def test_long_ones_give_way(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.history.sequence._MOST_RUNS", 3)
    for who in "abcde":
        made(runs, ECHO, who=who)
    assert [past.number for past in runs] == [3, 4, 5]
    monkeypatch.setattr("composemagic.history.sequence._MOST_BYTES", 30)
    made(runs, ECHO, who="f")
    assert [past.number for past in runs] == [6]


def test_nothing_is_kept_unless_asked() -> None:
    found = Runs()
    hear_of(found.keep)()
    made(found, ECHO, who="x")
    assert len(found) == 0


def test_secrets_are_not_kept(runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "canary-9f8e7d6c5b4a")
    runs.file(tmp_path / "runs.db")
    run = load("component: {type: echo, value: '${env.SHOP_API_KEY}'}").start({"note": "canary-9f8e7d6c5b4a"})
    run.wait()
    runs.flush()
    assert "canary" not in repr(runs[-1].row())
    assert b"canary" not in (tmp_path / "runs.db").read_bytes()


def test_an_input_that_is_called_a_secret_is_not_kept(runs: Runs) -> None:
    made(
        runs,
        "component: {type: echo, text: '${input.shop_token as text} ${input.who as text}'}",
        shop_token="abc",
        who="Ada",
    )
    assert runs[-1].inputs == {"shop_token": "***", "who": "Ada"}


def test_what_is_called_a_secret_is_nowhere(runs: Runs, tmp_path: Path) -> None:
    runs.file(tmp_path / "runs.db")
    key = "canary-9f8e7d6c5b4a"
    inputs = {"shop_token": key, "deep": [{"api_key": key, "key": "a key"}], "who": "Ada"}
    both = [load("component: {type: echo, text: '${input.who}'}").start(inputs) for _ in range(2)]
    for run in both:
        run.wait()
    runs.flush()
    assert runs[-1].inputs == {"shop_token": "***", "deep": [{"api_key": "***", "key": "a key"}], "who": "Ada"}
    assert key.encode() not in (tmp_path / "runs.db").read_bytes()
    assert key not in repr((runs.rows(), runs[-1].said(), runs[-1].replay(None).input))
    assert key not in repr(compare(*both)) and key not in repr(compare(runs[0], runs[1]))


def test_large_inputs_count(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.history.sequence._MOST_BYTES", 100_000)
    for _ in range(4):
        load(ECHO).start({"who": "x", "picture": [b"p" * 40_000]}).wait()
    assert [past.number for past in runs] == [3, 4]


def test_old_ones_may_go_while_others_are_looked_at(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.history.sequence._MOST_RUNS", 2)
    made(runs, ECHO, who="a")
    made(runs, ECHO, who="b")
    seen = []
    for past in runs:
        made(runs, ECHO, who="new")
        seen.append(past.inputs["who"])
    assert seen == ["a", "b"]


# -- the file ------------------------------------------------------------------------------------------------------------


def test_a_file_has_the_runs_of_other_sessions(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "runs.db"
    runs.file(path)
    made(runs, ECHO, "hello", who="Ada")
    made(runs, JOBS)
    made(runs, FAILS)
    runs.flush()
    other = Runs()
    other.file(path)
    assert [past.number for past in other] == [1, 2, 3]
    for mine, theirs in zip(runs, other, strict=True):
        assert mine.row() == theirs.row()
        assert (mine.error, mine.kind, mine.output, mine.jobs) == (
            theirs.error,
            theirs.kind,
            theirs.output,
            theirs.jobs,
        )
    assert other[0].run is None
    assert list(map(type, (event for _, event in other[1].said()))) == list(
        map(type, (event for _, event in runs[1].said()))
    )


def test_the_runs_before_a_file_stay_in_the_list(runs: Runs, tmp_path: Path) -> None:
    made(runs, ECHO, who="before")
    runs.file(tmp_path / "runs.db")
    made(runs, ECHO, who="after")
    assert [past.inputs["who"] for past in runs] == ["before", "after"]
    assert [past.number for past in runs] == [1, 2]
    runs.file(None)
    made(runs, ECHO, who="no file")
    other = Runs()
    other.file(tmp_path / "runs.db")
    assert [past.inputs["who"] for past in other] == ["after"]


def test_two_notebooks_share_a_file(tmp_path: Path) -> None:
    both = [Runs(), Runs()]
    for one in both:
        one.file(tmp_path / "runs.db")
    for at in range(20):
        run = load(ECHO).run(who=str(at))
        both[at % 2].keep(run)
    for one in both:
        one.flush()
    third = Runs()
    third.file(tmp_path / "runs.db")
    assert len(third) == 20


ODD = {
    "half a character": "a\ud83d", "NUL": "a\x00b", "large": 2**70, "infinite": float("inf"), "bytes": b"\x00\xff",
    "deep": [[{"n": None}]], "like bytes": {"base64": "aGk="}, "object": object(),
}  # fmt: skip


def test_no_value_is_too_odd_for_the_file(runs: Runs, tmp_path: Path) -> None:
    runs.file(tmp_path / "runs.db")
    circle: list[Any] = []
    circle.append(circle)
    for value in ODD.values():
        load("component: {type: echo, value: '${input.v}'}").start({"v": value}).wait()
    for value in (circle, {(1, 2): {3: b"\xff"}}):
        load(ECHO).start({"who": "x", "v": value}).wait()
    made(runs, ECHO, who="the last")
    runs.flush()
    other = Runs()
    other.file(tmp_path / "runs.db")
    found = dict(zip(ODD, [past.output for past in other], strict=False))
    assert (
        len(other) == len(ODD) + 3
        and other[-2].inputs["v"] == {"(1, 2)": {"3": b"\xff"}}
        and other[-1].inputs == {"who": "the last"}
    )
    assert {name: found[name] for name in list(ODD)[1:-1]} == {name: ODD[name] for name in list(ODD)[1:-1]}
    assert found["half a character"] == "a\ufffd"
    for past in other:
        assert past.replay(None).wait(0) is False and past.said()


def test_a_picture_is_no_part_of_the_list(runs: Runs, tmp_path: Path) -> None:
    runs.file(tmp_path / "runs.db")
    load(ECHO).start({"who": "x", "picture": "QUJD" * 2_000_000, "more": [b"\xff" * 8_000_000]}).wait()
    runs.flush()
    assert (tmp_path / "runs.db").stat().st_size < 100_000
    other = Runs()
    other.file(tmp_path / "runs.db")
    assert other[0].inputs["who"] == "x" and other[0].inputs["more"] == ["… (8,000,000)"]
    assert other[0].inputs["picture"].endswith("QUJD… (8,000,000)")


def test_a_file_that_is_named_again_has_each_run_once(runs: Runs, tmp_path: Path) -> None:
    for path in (tmp_path / "a.db", None, tmp_path / "a.db", tmp_path / "b.db", tmp_path / "a.db"):
        runs.file(path)
        made(runs, ECHO, who=str(path))
    assert [past.number for past in runs] == [1, 2, 3, 4, 5]
    assert [past.inputs["who"][-4:] for past in runs] == ["a.db", "None", "a.db", "b.db", "a.db"]


def test_the_order_is_that_of_the_clock_and_not_of_the_zone(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    runs.file(path)
    made(runs, ECHO, who="summer")
    made(runs, ECHO, who="winter")
    runs.flush()
    with sqlite3.connect(path) as base:
        for at, who in (("2026-10-25T02:30:00+02:00", "summer"), ("2026-10-25T02:10:00.5+01:00", "winter")):
            base.execute("update runs set at = ? where inputs like ?", (at, f"%{who}%"))
    other = Runs()
    other.file(path)
    assert [past.inputs["who"] for past in other] == ["summer", "winter"]


def test_of_a_long_file_the_last_runs_are_read(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.file(tmp_path / "runs.db")
    for who in "abcd":
        made(runs, ECHO, who=who)
    runs.flush()
    monkeypatch.setattr("composemagic.history.sequence._MOST_RUNS", 2)
    other = Runs()
    other.file(tmp_path / "runs.db")
    assert [past.inputs["who"] for past in other] == ["c", "d"]


def test_a_file_that_goes_away_is_said_in_a_sentence(runs: Runs, tmp_path: Path) -> None:
    runs.file(tmp_path / "runs.db")
    made(runs, ECHO, who="x")
    runs.flush()
    other = Runs()
    other.file(tmp_path / "runs.db")
    (tmp_path / "runs.db").unlink()
    with pytest.raises(UsageError, match=r"the runs cannot be read from .*runs\.db"):
        other[0].replay()


def test_a_file_without_a_byte_is_a_new_one(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "runs.db").touch()
    runs.file(tmp_path / "runs.db")
    made(runs, ECHO, who="x")
    runs.flush()
    assert (tmp_path / "runs.db").stat().st_size


@pytest.mark.parametrize("what", ["text", "other", "folder", "later", "of version 1"])
def test_a_file_that_is_none_of_ours(runs: Runs, tmp_path: Path, what: str) -> None:
    path = tmp_path / "x"
    if what == "text":
        path.write_text("no database at all, and longer than a header" * 10)
    elif what == "folder":
        path.mkdir()
    else:
        with sqlite3.connect(path) as base:
            base.execute(f"pragma user_version = {({'later': 99, 'of version 1': 1}).get(what, 0)}")
            if what != "later":
                base.execute("create table runs (a)")
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(UsageError, match=r"cannot be kept|not of composemagic's runs"):
        runs.file(path)
    assert not path.is_file() or path.read_bytes() == before


def test_a_disk_that_fails_spoils_no_run(runs: Runs, tmp_path: Path) -> None:
    runs.file(tmp_path / "runs.db")
    with sqlite3.connect(tmp_path / "runs.db") as base:
        base.execute("drop table runs")
    with pytest.warns(UserWarning, match="could not be written"):
        made(runs, ECHO, who="x")
        runs.flush()
    assert runs[-1].status == "done"


# -- what it said --------------------------------------------------------------------------------------------------------

EVENTS = [
    (0.0, Notice("read as: x")),
    (0.1, Waiting(2.0, "Rate limited", 1, 2, "a")),
    (0.2, Delta("é\u2028", "a")),
    (0.3, Delta({"n": [1, None]}, "a", ("x", 0))),
    (0.4, Delta(b"\x00\xff", "a", ("b",))),
    (0.5, Interrupted((Point("p", "a", "r", "before", "Go?", {"k": 1}, [1]),), 0.5)),
    (0.6, JobFinished("a", 0.6, 3)),
    (0.7, RunFailed(RunError("timeout", "No data for 60 s", job="a"), "so far", 0.7)),
]


def test_events_survive_the_file() -> None:
    found = read(written(EVENTS))
    assert [at for at, _ in found] == [at for at, _ in EVENTS]
    assert [event for _, event in found[:-1]] == [event for _, event in EVENTS[:-1]]
    last = found[-1][1]
    assert isinstance(last, RunFailed)
    assert (last.error.kind, last.error.sentence, last.error.job, last.output) == (
        "timeout",
        "No data for 60 s",
        "a",
        "so far",
    )


def test_events_of_a_later_version_are_left_out() -> None:
    rows = [
        *json.loads(written([(0.0, Notice("a"))])),
        [0.1, "Unheard", {}],
        [0.2, "Notice", {"sentence": "b", "new": 1}],
    ]
    assert [event for _, event in read(json.dumps(rows))] == [Notice("a"), Notice("b")]


def test_pieces_that_come_together_are_kept_as_one() -> None:
    tape = Tape()
    for at, text in [(0.0, "a"), (0.005, "b"), (0.03, "c"), (0.031, "d")]:
        tape.hear(at, [Delta(text, "j")])
    tape.hear(0.032, [Delta("x", "k"), RunFinished("abcd", 0.04)])
    assert tape.said == [
        (0.0, Delta("ab", "j")), (0.03, Delta("cd", "j")), (0.032, Delta("x", "k")), (0.032, RunFinished("abcd", 0.04)),
    ]  # fmt: skip


# -- replay --------------------------------------------------------------------------------------------------------------


def test_a_replay_says_the_same(runs: Runs) -> None:
    run = made(runs, JOBS)
    replay = runs[-1].replay(speed=None)
    said = list(replay)
    assert [type(event) for event in said] == [type(event) for event in run]
    assert (replay.status, replay.text, replay.output) == (run.status, run.text, run.output)
    states = {job: (state.status, state.to) for job, state in replay.jobs.items()}
    assert states == {job: (state.status, state.to) for job, state in run.jobs.items()}
    assert states["choose"] == ("routed", "second") and states["third"] == ("skipped", None)


def test_a_replay_takes_the_time_of_the_run(runs: Runs) -> None:
    made(runs, ECHO, who="x")
    past = runs[-1]
    past.said = lambda: [(0.0, Delta("a", "j")), (0.3, Delta("b", "j")), (0.4, RunFinished("ab", 0.4))]
    replay = past.replay(speed=2)
    begun = time.monotonic()
    replay.begin()
    assert replay.wait(30)
    assert time.monotonic() - begun > 0.15
    assert replay.timing.total == 0.4  # the run's own
    assert "".join(event.value for event in replay.events if isinstance(event, Delta)) == "ab"


def test_a_replay_can_be_stopped(runs: Runs) -> None:
    made(runs, ECHO, who="x")
    runs[-1].said = lambda: [(0.0, Delta("a", "j")), (600.0, RunFinished("ab", 600.0))]
    replay = runs[-1].replay()
    replay.begin()
    replay.cancel()
    assert replay.wait(10) and replay.status == "stopped"
    never = runs[-1].replay()
    never.cancel()
    assert never.wait(10) and never.status == "stopped"


def test_a_failed_run_fails_again(runs: Runs) -> None:
    made(runs, FAILS)
    replay = runs[-1].replay(None)
    list(replay)
    assert replay.status == "failed"
    with pytest.raises(RunError, match="shell"):
        replay.raise_for_error()


def test_a_replay_out_of_a_file(runs: Runs, tmp_path: Path) -> None:
    runs.file(tmp_path / "runs.db")
    made(runs, JOBS)
    runs.flush()
    other = Runs()
    other.file(tmp_path / "runs.db")
    replay = other[-1].replay(None)
    list(replay)
    assert (replay.status, replay.text) == ("done", "b")


@pytest.mark.parametrize("speed", [0, -1, "fast", float("nan")])
def test_a_speed_that_is_none(runs: Runs, speed: Any) -> None:
    made(runs, ECHO, who="x")
    with pytest.raises(UsageError, match="`speed` is a number above 0"):
        runs[-1].replay(speed)


def test_a_run_under_way_cannot_be_replayed(runs: Runs) -> None:
    run = load("workflow: {job: {type: delay, duration: 60s}}\ncomponent: {type: echo}").stream()
    with pytest.raises(UsageError, match="when it is over"):
        runs[-1].replay()
    with pytest.raises(UsageError, match="when it is over"):
        compare(run, run)
    run.cancel()
    run.wait()


# -- comparing -----------------------------------------------------------------------------------------------------------


def test_two_runs_are_compared(runs: Runs) -> None:
    first, second = made(runs, ECHO, who="Ada"), made(runs, ECHO, who="Bob")
    found = compare(first, second)
    assert [row for row in found.inputs if row.differs] == [("who", "Ada", "Bob")]
    assert [(piece.kind, piece.text) for piece in found.text] == [
        ("same", "Hello "), ("first", "Ada"), ("second", "Bob"), ("same", ", how are you?"),
    ]  # fmt: skip
    assert "  who: Ada → Bob" in str(found) and "Hello [-Ada-] {+Bob+}, how are you?" in str(found)
    assert compare(runs[0], runs[1]).text == found.text
    assert compare(first, first).is_same_text


@pytest.mark.parametrize(
    ("name", "given", "other", "heads"),
    [
        ("", "Ada", "Bob", ("workflow · no. 1 · {} · who=Ada", "workflow · no. 2 · {} · who=Bob")),
        ("hello", "Ada", "Ada", ("hello · no. 1 · {}", "hello · no. 2 · {}")),
        ("hello", "A\nda", "x" * 60, ("hello · no. 1 · {} · who=A da", "hello · no. 2 · {}")),
        ("h" * 80, "Ada", "Ada", ("h" * 59 + "… · no. 1 · {}", "h" * 59 + "… · no. 2 · {}")),
    ],
)
def test_the_heads_tell_two_runs_apart(runs: Runs, name: str, given: str, other: str, heads: tuple[str, str]) -> None:
    for who in (given, other):
        made(runs, ECHO, name, who=who)
    found = compare(runs[0], runs[1])
    times = [f"{past.at:%H:%M:%S}" for past in runs]
    assert found.titles == tuple(head.format(time) for head, time in zip(heads, times, strict=True))
    assert str(found).splitlines()[0] == " ↔ ".join(found.titles)


def test_runs_that_are_in_no_list_are_the_first_and_the_second(runs: Runs) -> None:
    first, second = made(runs, ECHO, who="Ada"), made(runs, ECHO, who="Ada")
    assert compare(first, second).titles == ("workflow, the first", "workflow, the second")
    assert compare(first, made(runs, ECHO, who="Bob")).titles == ("workflow · who=Ada", "workflow · who=Bob")
    assert compare(first, first).titles == ("workflow", "workflow")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("", "", []),
        ("", "a", [("second", "a")]),
        ("a\r\nb", "a\nb", [("same", "a"), ("first", "\r\n"), ("second", "\n"), ("same", "b")]),
        ("a a", "a", [("same", "a"), ("first", " a")]),
        ("我喜欢苹果。", "我喜欢橘子。", [("same", "我喜欢"), ("first", "苹果"), ("second", "橘子"), ("same", "。")]),
        ("用GPT4写", "用GPT5写", [("same", "用"), ("first", "GPT4"), ("second", "GPT5"), ("same", "写")]),
        ("カメラ", "カメリ", [("same", "カメ"), ("first", "ラ"), ("second", "リ")]),
        ("사과를 먹다", "사과를 사다", [("same", "사과를 "), ("first", "먹다"), ("second", "사다")]),
        ("x b c", "y b d", [("first", "x"), ("second", "y"), ("same", " b "), ("first", "c"), ("second", "d")]),
    ],
)
def test_the_pieces_of_two_texts(first: str, second: str, expected: list[tuple[str, str]]) -> None:
    assert list(differences(first, second)) == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("\n" * 200_000, "\n" * 199_000 + "x\n"),
        ("x\n" * 100_000, "y\nx\n" * 60_000),
        ("a " * 4_000_000, "a " * 3_999_999 + "b "),
        ("the same word " * 650, "word the same " * 650),
    ],
)
def test_long_texts_are_compared_in_seconds(first: str, second: str) -> None:
    found = list(differences(first, second))
    assert "".join(text for kind, text in found if kind != "second") == first
    assert "".join(text for kind, text in found if kind != "first") == second


def test_long_values_are_shown_where_they_differ(runs: Runs) -> None:
    both = [made(runs, ECHO, who="x" * 5_000 + end) for end in ("one", "two")]
    line = next(line for line in str(compare(*both)).splitlines() if line.startswith("  who: "))
    assert "xone → …" in line and line.endswith("xtwo") and len(line) < 300
    (row,) = (row for row in compare(*both).inputs if row.differs)
    assert row.shown(20) == ("…xxxxxxxxxxxxxxxxone", "…xxxxxxxxxxxxxxxxtwo")
    assert Row("a", None, "b" * 30).shown(10) == (None, "bbbbbbbbb…")


CHAT = """
component:
  type: http-client
  base_url: {url}/n=3,delay=0/v1
  action:
    path: /chat/completions
    body: {{model: m, stream: true, temperature: '${{input.t as number}}', messages: [{{role: user, content: hi}}]}}
    stream_format: json
    output: ${{response[].choices[0].delta.content}}
"""


def test_traced_runs_show_what_was_sent(replay: str) -> None:
    workflow = load(CHAT.format(url=replay))
    both = [workflow.start({"t": t}, trace=True) for t in (0, 0.7)]
    for run in both:
        run.wait()
    untraced = workflow.run(t=1)
    found = compare(*both)
    assert found.is_traced
    assert [row for row in found.requests if row.differs] == [("temperature", "0.0", "0.7")]
    assert not compare(both[0], untraced).is_traced
    assert "were run with `trace`" in str(compare(both[0], untraced))


@pytest.mark.parametrize("value", [None, "text", 3])
def test_what_cannot_be_compared(runs: Runs, value: Any) -> None:
    run = made(runs, ECHO, who="x")
    with pytest.raises(UsageError, match="`compare` takes two runs"):
        compare(run, value)


def test_long_texts_are_compared_by_lines(runs: Runs) -> None:
    lines = [f"line {at} of a long text" for at in range(2_000)]
    other = [*lines]
    other[1_000] = "line 1000, changed"
    text = "component: {type: echo, text: '${input.text as text}'}"
    found = compare(made(runs, text, text="\n".join(lines)), made(runs, text, text="\n".join(other)))
    assert [piece.text for piece in found.text if piece.kind != "same"] == [
        "line 1000 of a long text\n",
        "line 1000, changed\n",
    ]


def test_what_several_models_answered_has_no_price(runs: Runs) -> None:
    """Their tokens are counted together, and each costs something else."""
    set_prices({"m": (1, 1)})
    run = made(runs, ECHO, who="x")
    run.models[:], run.model, run.usage = ["m", "n"], "m", {"prompt_tokens": 100, "completion_tokens": 10}
    past = runs[-1]
    past.take(run)
    assert (past.model, past.cost) == ("m, n", None) and "cost" not in summary(run)
    run.models[:] = ["m"]
    past.take(run)
    assert past.cost == pytest.approx(0.00011) and "cost 0.00011" in summary(run)
    set_prices({})
