"""The runs of a real kernel: `%compose runs`, `composemagic.runs`, replays and comparisons as cells show them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from composemagic.terminal import columns
from tests.conftest import Executed, Kernel, started_kernel

ECHO = "component: {type: echo, text: 'Hello ${input.who as text}, <b>how</b> are you?'}"
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    with started_kernel() as kernel:
        kernel.execute("%load_ext composemagic\n%config ComposeMagics.language = 'en'\nimport composemagic")
        kernel.execute(f"%%compose hello -i who=Ada\n{ECHO}")
        kernel.execute("for who in ('Bob', 'Eve'): hello(who=who)")
        yield kernel


def text(done: Executed) -> str:
    assert done.error is None, done.error
    return str(done.outputs[-1]["data"]["text/plain"])


def html(done: Executed) -> str:
    assert done.error is None, done.error
    return str(done.outputs[-1]["data"]["text/html"])


def test_a_table_of_all_runs_however_they_were_started(shared: Kernel) -> None:
    head, *rows, how = text(shared.execute("%compose runs")).splitlines()
    assert how == "no. 3 is `composemagic.runs[2]`" and how in html(shared.execute("%compose runs"))
    assert head.split() == ["no.", "time", "workflow", "inputs", "status", "seconds", "text"]
    assert [row.split()[4] for row in rows] == ["who=Ada", "who=Bob", "who=Eve"]
    assert text(shared.execute("composemagic.runs")).splitlines()[0] == head
    assert "&lt;b&gt;how" in html(shared.execute("%compose runs"))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("1", "Eve"),
        ("number=2", "Bob"),
        ("text=Ada status=done", "Ada"),
        ("workflow=nobody", "no run fits"),
        ("text=5", "no run fits"),
    ],
)
def test_some_of_them(shared: Kernel, line: str, shown: str) -> None:
    *_, last, how = ["", *text(shared.execute(f"%compose runs {line}")).splitlines()]
    assert shown in (last if how.startswith("no. ") else how)


def test_the_table_says_what_to_write_for_a_row(shared: Kernel) -> None:
    assert text(shared.execute("%compose runs number=2")).splitlines()[-1] == "no. 2 is `composemagic.runs[1]`"
    assert shared.execute("composemagic.runs[1].number").text == "2"
    shared.execute("from composemagic.history import Runs")
    assert "composemagic.runs[" not in text(
        shared.execute("Runs([composemagic.runs[0].__class__(1, composemagic.runs[0].at, 'w', '', None)])")
    )


def test_each_input_is_clipped_by_itself() -> None:
    with started_kernel() as other:
        other.execute("%load_ext composemagic\n%config ComposeMagics.language = 'en'\nimport composemagic")
        other.execute("echo = composemagic.load('component: {type: echo, text: hi}')")
        for given in (
            "prompt='Tell me about the moon in two sentences.', temperature=0.5, max_tokens=40",
            "prompt='请用两句话介绍一下月亮和它的历史，谢谢', temperature=0.7",
            "**{f'name{at}': 'a long value of it' for at in range(4)}",
            "**{f'name{at}': 'a long value of it' for at in range(20)}",
        ):
            assert other.execute(f"echo.run({given}); None").error is None
        _, first, chinese, four, many, _ = text(other.execute("%compose runs")).splitlines()
        assert "prompt=Tell me about the moon …, temperature=0.5, max_tokens=40  " in first
        assert "prompt=请用两句话介绍一下月亮…, temperature=0.7  " in chinese
        assert "name0=a long …, name1=a long …, name2=a long …, name3=a long …  " in four
        assert "name0=a long …, " in many and "name19" not in many
        assert len({columns(row[: row.index("✓")]) for row in (first, chinese, four, many)}) == 1
        assert "temperature=0.7<" in html(other.execute("%compose runs"))


@pytest.mark.parametrize("line", ["many", "0", "²", "stats=done", "=1"])
def test_a_line_that_is_wrong(shared: Kernel, line: str) -> None:
    assert (shared.execute(f"%compose runs {line}").error or ("",))[0] == "UsageError"


def test_columns_stand_below_each_other_in_chinese(shared: Kernel) -> None:
    shared.execute("for who in ('中文', 'abc'): hello(who=who)")
    rows = text(shared.execute("%compose runs 2")).splitlines()[2:-1]
    assert len({columns(row[: row.index("✓")]) for row in rows}) == 1


def test_no_input_is_too_odd_for_the_table() -> None:
    with started_kernel() as other:
        other.execute("%load_ext composemagic\nimport composemagic\n%config ComposeMagics.language = 'en'")
        assert text(other.execute("%compose runs")) == "there are no runs yet"
        same = "same = []; same.append(same)"
        other.execute(f"{same}\nodd = composemagic.load('component: {{type: echo, value: ok}}')\n")
        for value in ("{(1, 2): 3}", "same", "{1, 2}"):
            assert other.execute(f"odd.stream(x={value}).wait(); None").error is None
        shown = text(other.execute("%compose runs"))
        assert len(shown.splitlines()) == 5 and "(1, 2)" in shown


def test_one_run_stands_there_as_below_its_cell(shared: Kernel) -> None:
    shown = text(shared.execute("composemagic.runs[0]"))
    assert "hello(who=Ada)" in shown and "Hello Ada, <b>how</b> are you?" in shown and "✓ done" in shown
    assert "<b>how</b>" not in html(shared.execute("composemagic.runs[0]"))


def test_a_replay_plays_below_its_cell(shared: Kernel) -> None:
    done = shared.execute("composemagic.runs[0].replay(speed=None)")
    assert WIDGET in done.outputs[0]["data"]
    assert "Hello Ada" in text(done) and "✓ done" in text(done)


def test_a_comparison_marks_what_differs(shared: Kernel) -> None:
    shown = html(shared.execute("composemagic.compare(composemagic.runs[0], composemagic.runs[1])"))
    assert "<del" in shown and ">Ada</del>" in shown and ">Bob</ins>" in shown
    assert shown.count("margin-left:.3em") == 1  # of the word that stands right after the one it came for
    assert "hello · no. 1 · " in shown and " · who=Ada</th>" in shown and " · who=Bob</th>" in shown
    traced = shared.execute("shown = hello.start({'who': 'Ada'}, trace=True); shown.wait(); shown.trace.title")
    assert traced.text == "'hello'"
    heads = text(shared.execute("composemagic.compare(shown, shown)")).splitlines()[0]
    assert heads.startswith("hello · no. ")
    assert "&lt;" in shown and "<b>how" not in shown


def test_a_file_keeps_them_for_the_next_kernel(shared: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    shared.execute(f"%config ComposeMagics.history = {str(path)!r}\nhello(who='Zoe'); None")
    shared.execute("composemagic.runs.flush()")
    with started_kernel() as other:
        other.execute(f"%load_ext composemagic\n%config ComposeMagics.history = {str(path)!r}")
        assert "who=Zoe" in text(other.execute("%compose runs"))
        done = other.execute("import composemagic\ncomposemagic.runs[-1].replay(None)")
        assert "Hello Zoe" in text(done)
    shared.execute("%config ComposeMagics.history = None")


def test_unloading_lets_go_of_the_file(tmp_path: Path) -> None:
    held = "import composemagic\ncomposemagic.runs._store is not None"
    with started_kernel() as kernel:
        kernel.execute(f"%load_ext composemagic\n%config ComposeMagics.history = {str(tmp_path / 'runs.db')!r}")
        assert kernel.execute(held).text == "True"
        kernel.execute("%unload_ext composemagic")
        assert kernel.execute(held).text == "False"


def test_prices_that_are_none_are_told(shared: Kernel) -> None:
    done = shared.execute("%config ComposeMagics.prices = {'m': 3}")
    assert "the price of `m` is written as" in str(done.error) + str(done.streams)
    assert shared.execute("%config ComposeMagics.prices = {'m': (1, 2)}").error is None


def test_a_file_that_failed_can_be_named_again(shared: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.mkdir()
    line = f"%config ComposeMagics.history = {str(path)!r}"
    for _ in range(2):
        assert "cannot be kept in" in str(shared.execute(line).streams)
    path.rmdir()
    assert shared.execute(line).error is None
    assert path.is_file()
    assert shared.execute("%config ComposeMagics.history = None").error is None
