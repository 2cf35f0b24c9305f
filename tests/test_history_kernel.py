"""The runs of a real kernel: `%compose runs`, `composemagic.runs`, replays and comparisons as cells show them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
    head, *rows = text(shared.execute("%compose runs")).splitlines()
    assert head.split() == ["no.", "time", "workflow", "inputs", "status", "seconds", "text"]
    assert [row.split()[4] for row in rows] == ["who=Ada", "who=Bob", "who=Eve"]
    assert text(shared.execute("composemagic.runs")).splitlines()[0] == head
    assert "&lt;b&gt;how" in html(shared.execute("%compose runs"))


@pytest.mark.parametrize(
    ("line", "shown"),
    [("1", "Eve"), ("number=2", "Bob"), ("text=Ada status=done", "Ada"), ("workflow=nobody", "there are no runs yet")],
)
def test_some_of_them(shared: Kernel, line: str, shown: str) -> None:
    assert shown in text(shared.execute(f"%compose runs {line}")).splitlines()[-1]


@pytest.mark.parametrize("line", ["many", "0", "stats=done", "=1"])
def test_a_line_that_is_wrong(shared: Kernel, line: str) -> None:
    assert (shared.execute(f"%compose runs {line}").error or ("",))[0] == "UsageError"


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
