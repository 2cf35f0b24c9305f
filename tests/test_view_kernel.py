"""Runs with several jobs and with questions in a real kernel, without a front end, and in a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbclient
import nbformat
import pexpect
import pytest

from tests.benchmarks.show import MANY, measured
from tests.conftest import ROOT, Kernel, started_kernel
from tests.test_notebook_kernel import await_output, shown, value
from tests.test_view import ASKING, FAILING, PARTS

WIDGET = "application/vnd.jupyter.widget-view+json"
UNATTENDED = "waits for a person's answer, and nobody can give one here"


@pytest.fixture(scope="module")
def _notebook() -> Iterator[Kernel]:
    with started_kernel() as kernel:
        yield kernel


@pytest.fixture
def notebook(_notebook: Kernel) -> Kernel:
    """One kernel for the file; each test finds the extension freshly loaded."""
    assert (
        _notebook.execute("%reset -f\n%reload_ext composemagic\n%config ComposeMagics.display = 'auto'").status == "ok"
    )
    return _notebook


def test_jobs_and_streams_are_told_while_they_run_and_after(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose -o parts\n{PARTS}")
    [data] = shown(done)
    assert "2 jobs: 2 done" in data["text/plain"]
    assert "some <em>words</em> here" in data["text/html"]
    assert WIDGET in done.outputs[0]["data"]
    assert value(notebook, "parts.output['first']") == "some *words* here"


def test_sixty_four_streams_at_once_are_within_the_budget(notebook: Kernel) -> None:
    cost = measured(notebook, f"%%compose -o many\n{MANY}\n")
    assert cost.messages <= 20 + 30 * cost.seconds
    assert cost.size <= 200_000 * cost.seconds
    assert value(notebook, "[len(many.output), many.output['job63']]") == [64, "words " * 50]


def test_many_waits_are_within_the_budget(notebook: Kernel) -> None:
    gone = {"type": "http-client", "base_url": "http://127.0.0.1:1", "action": {"path": "/"}}
    job = {"component": gone, "retry": {"max_attempt_count": 100, "delay": "0.005s"}, "on_error": "ignore"}
    cost = measured(notebook, "%%compose\n" + json.dumps({"workflow": {"job": job}}) + "\n")
    assert cost.messages <= 20 + 30 * cost.seconds


def test_a_failed_job_keeps_what_the_others_gave(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose\n{FAILING}")
    assert done.error
    assert "Nothing listens" in done.error[2]
    [data] = shown(done)
    assert "✗ bad: failed" in data["text/plain"]
    assert "– late: skipped" in data["text/plain"]


# -- questions


def test_an_answer_from_python_ends_the_question(notebook: Kernel) -> None:
    notebook.execute(
        "import asyncio\n"
        "async def answer_soon():\n"
        "    while 'asked' not in globals() or len(asked.points) < 2: await asyncio.sleep(0.01)\n"
        "    asked.answer({'draft': 'Dear Bob', 'price': None})\n"
        "answering = asyncio.ensure_future(answer_soon())"
    )
    done = notebook.execute(f"%%compose -o asked\n{ASKING}")
    assert done.error is None, done.error
    data = shown(done)[-1]
    assert data["text/plain"].startswith("Sent: Dear Bob, 12\n✓ done")
    assert "→ answered: Dear Bob" in data["text/plain"]
    assert "→ went on as it was" in data["text/html"]


def test_an_interrupt_ends_a_run_that_asks(notebook: Kernel) -> None:
    sent = notebook.submit(f"%%compose -o asked\n{ASKING}")
    await_output(notebook, sent, "Go on everywhere")
    notebook.interrupt()
    done = notebook.collect(sent)
    assert done.error
    assert done.error[2].startswith("compose: interrupted")
    data = shown(done)[-1]["text/plain"]
    assert "■ stopped" in data
    assert "? draft: May it be sent? → not answered" in data
    assert value(notebook, "asked.status") == "stopped"


def test_where_nobody_can_click_the_run_says_how_to_answer(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose -o asked\n{ASKING}", allow_stdin=False)
    assert done.error
    assert UNATTENDED in done.error[2]
    assert "run.answer(" in done.error[2]
    assert re.search(r"✗ (draft|price): failed", shown(done)[-1]["text/plain"])


def test_an_older_kernel_hears_no_click_while_a_cell_runs(notebook: Kernel) -> None:
    notebook.execute(
        "kind = type(get_ipython().kernel); kept = kind._supports_kernel_subshells\nkind._supports_kernel_subshells = False"
    )
    done = notebook.execute(f"%%compose\n{ASKING}")
    notebook.execute("kind._supports_kernel_subshells = kept")
    assert done.error
    assert UNATTENDED in done.error[2]


def test_plain_mode_in_a_kernel_asks_on_stdin(notebook: Kernel) -> None:
    notebook.execute("%config ComposeMagics.display = 'plain'")
    sent = notebook.submit(f"%%compose -o asked\n{ASKING}")
    for _ in range(2):
        assert notebook.client.get_stdin_msg(timeout=60)["content"]["prompt"] == "> "
        notebook.client.input("")
    done = notebook.collect(sent)
    assert done.streams["stdout"] == "Sent: Dear Ada, 12\n"
    assert "? draft: May it be sent?" in done.streams["stderr"]
    assert "✓ price: done" in done.streams["stderr"]


def test_nbclient_stores_jobs_values_and_the_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = ["%load_ext composemagic", f"%%compose\n{PARTS}", f"%%compose\n{ASKING}"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbclient.NotebookClient(book, allow_errors=True, timeout=60).execute()
    parts, asked = (cell.outputs for cell in book.cells[1:])
    assert [sorted(output.data) for output in parts] == [["text/html", "text/plain"]]
    assert "<td>Ada</td>" in parts[0].data["text/html"]
    assert "2 jobs: 2 done" in parts[0].data["text/plain"]
    assert [output.output_type for output in asked] == ["display_data", "error"]
    assert UNATTENDED in asked[1].traceback[0]
    assert "widgets" not in book.metadata


# -- in a terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[pexpect.spawn]:
    """IPython in a terminal that runs a workflow with two questions."""
    script = tmp_path / "script.ipy"
    script.write_text(
        f"%load_ext composemagic\nget_ipython().run_cell_magic('compose', '-o answer', {ASKING!r})\nprint('the end')\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path)}
    command = ["-m", "IPython", "--no-banner", "--simple-prompt", "--colors=NoColor", "-i", str(script)]
    child = pexpect.spawn(sys.executable, command, env=environ, cwd=tmp_path, encoding="utf-8", timeout=60)
    yield child
    child.close(force=True)


def test_a_terminal_asks_by_a_prompt(terminal: pexpect.spawn) -> None:
    answers = {"draft": "Dear Bob", "price": json.dumps({"amount": 5})}
    for _ in answers:
        terminal.expect(r"\? (draft|price)")
        job = terminal.match.group(1)
        terminal.expect_exact("takes the place of its output")
        terminal.expect_exact("> ")
        terminal.sendline(answers[job])
    terminal.expect_exact("Sent: Dear Bob, 5")
    terminal.expect_exact("✓ done")
    terminal.expect_exact("the end")


def test_an_interrupt_at_the_prompt_stops_the_run(terminal: pexpect.spawn) -> None:
    terminal.expect_exact("> ")
    terminal.sendintr()
    terminal.expect_exact("compose: interrupted")
    terminal.expect_exact("In [")
    assert "Traceback" not in terminal.before
    terminal.sendline("answer.status")
    terminal.expect_exact("'stopped'")
