"""The harness itself: what browser tests rely on is there, in a real JupyterLab."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT, EchoServer, Kernel
from tests.lab import Lab
from tests.processes import lives
from tests.servers.faults import FaultServer
from tests.test_notebook_kernel import await_output

pytestmark = pytest.mark.browser

BUTTON = """
import ipywidgets as w
field, button, said = w.Text(description="Name"), w.Button(description="Greet"), w.Output()
def greet(_):
    with said:
        print("hello", field.value)
button.on_click(greet)
w.VBox([field, button, said])
"""


def test_a_cell_prints_and_its_result_shows(lab: Lab) -> None:
    lab.open(["print('hello'); 6 * 7"])
    lab.run(0)
    assert lab.dom_text(0).split() == ["hello", "42"]
    assert [output["output_type"] for output in lab.outputs(0)] == ["stream", "execute_result"]
    lab.wait_status("idle")


def test_a_second_run_is_waited_for(lab: Lab) -> None:
    lab.open(["n = globals().get('n', 0) + 1\nimport time; time.sleep(0.2); print(n)"])
    for expected in ("1", "2", "3"):
        lab.run(0)
        assert lab.dom_text(0) == expected


def test_run_all_runs_the_code_cells_in_order(lab: Lab) -> None:
    lab.open(["a = 1", {"cell_type": "markdown", "source": "# words"}, "print(a + 1)"])
    lab.run_all()
    assert lab.dom_text(2) == "2"


def test_a_field_and_a_button_reach_the_kernel(lab: Lab) -> None:
    lab.open([BUTTON])
    lab.run(0)
    lab.fill(0, "Name", "Ada")
    lab.click(0, "Greet")
    lab.wait_text(0, "hello Ada")


@pytest.mark.parametrize("how", ["command", "button"])
def test_an_interrupt_reaches_a_sleeping_cell(lab: Lab, how: str) -> None:
    lab.open(["import time; print('asleep', flush=True); time.sleep(600)"])
    lab.run(0, wait=False)
    lab.wait_text(0, "asleep")
    lab.interrupt(how)
    lab.wait_done(0)
    assert lab.outputs(0)[-1]["ename"] == "KeyboardInterrupt"


def test_what_is_saved_has_the_output(lab: Lab) -> None:
    lab.open(["print('kept')"], "kept.ipynb")
    lab.run(0)
    assert lab.save()["cells"][0]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["kept\n"]}]


def test_the_kernel_has_this_checkout_and_nothing_of_the_users(lab: Lab) -> None:
    lab.open(["import composemagic, os; print(composemagic.__path__[0]); print(os.environ['IPYTHONDIR'])"])
    lab.run(0)
    package, settings = lab.dom_text(0).split()
    assert package == str(ROOT / "composemagic")
    assert settings.startswith(str(lab.folder))


def test_the_page_can_be_seen_and_asked(lab: Lab, tmp_path: Path) -> None:
    lab.open(["from IPython.display import HTML; HTML('<b id=\"bold\">seen</b>')"])
    lab.run(0)
    assert "<b" in lab.dom_html(0)
    assert lab.eval("() => document.title") != ""
    with lab.page.expect_console_message(lambda message: message.text == "said in the page"):
        lab.eval("() => console.warn('said in the page')")
    assert ("warning", "said in the page") in lab.console
    picture = lab.screenshot(tmp_path / "lab.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_a_wait_that_fails_says_for_what(lab: Lab) -> None:
    lab.open(["1"])
    with pytest.raises(AssertionError, match=r"waited 0\.2 s for the moon"):
        lab.wait_for("() => false", "the moon", 0.2)


def test_nothing_is_left_when_a_lab_closes() -> None:
    """In a process of its own: this thread's Playwright may be in use."""
    code = (
        "from tests.lab import Lab\n"
        "with Lab({'GREETING': 'hello'}) as lab:\n"
        "    lab.open(['import os; print(os.environ[\"GREETING\"], os.getpid())'])\n"
        "    lab.run(0)\n"
        "    print(lab._server.pid, lab.folder, lab.dom_text(0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240, check=True
    )
    server, folder, greeting, kernel = done.stdout.split()
    assert greeting == "hello"
    assert not Path(folder).exists()
    end = time.monotonic() + 60
    while alive := [process for process in (server, kernel) if lives(int(process))]:
        assert time.monotonic() < end, alive
        time.sleep(0.05)  # between two looks at the condition


@pytest.mark.usefixtures("_lab_session")
def test_asyncio_can_be_used_while_a_browser_is_open() -> None:
    async def answer() -> int:
        return 42

    assert asyncio.run(answer()) == 42


def test_and_the_browser_after_it(lab: Lab) -> None:
    lab.open(["print('still here')"])
    lab.run(0)
    assert lab.dom_text(0) == "still here"


def test_the_servers_answer(replay: str, faults: FaultServer, echo_server: EchoServer) -> None:
    with urllib.request.urlopen(f"{replay}/stats", timeout=10) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(faults.url("json", tag="harness"), timeout=10) as answer:
        assert answer.status == 200
    assert [hit["fault"] for hit in faults.hits(tag="harness")] == ["json"]
    for _ in range(2):
        with urllib.request.urlopen(f"{echo_server.url}/count/a", timeout=10) as answer:
            body = answer.read()
    assert body.replace(b" ", b"") == b'{"n":2}'
    echo_server.reset()


def test_kernel_results_streams_and_errors(kernel: Kernel) -> None:
    done = kernel.execute("import sys; print('out'); print('err', file=sys.stderr); 1 + 1")
    assert (done.status, done.text, done.streams) == ("ok", "2", {"stdout": "out\n", "stderr": "err\n"})
    failed = kernel.execute("1 / 0")
    assert failed.status == "error"
    assert failed.error
    assert failed.error[:2] == ("ZeroDivisionError", "division by zero")
    ours = kernel.execute("import sys, composemagic; print(sys.executable)").streams["stdout"]
    assert ours.strip() == sys.executable


def test_kernel_interrupt_and_time_limit(kernel: Kernel) -> None:
    sent = kernel.submit("import time; print('asleep', flush=True); time.sleep(600)")
    await_output(kernel, sent, "asleep")
    with pytest.raises(TimeoutError, match=r"not done within 0\.5 s"):
        kernel.collect(sent, 0.5)
    kernel.interrupt()
    done = kernel.collect(sent)
    assert done.error
    assert done.error[0] == "KeyboardInterrupt"
