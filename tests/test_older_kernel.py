"""ipykernel 6.30, which many installations still have: no subshells, so no click arrives while a cell runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import Executed, Kernel, started_kernel

WIDGET = "application/vnd.jupyter.widget-view+json"
CHAT = """
component:
  type: http-client
  base_url: %s/%s/v1
  action:
    path: /chat/completions
    body: {model: m, stream: true, messages: [{role: user, content: '${input.prompt as text}'}]}
    stream_format: json
    output: ${response[].choices[0].delta.content}
"""
MAGICS = "get_ipython().magics_manager.registry['ComposeMagics']"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("ipykernel")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), "ipykernel==6.30.*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with started_kernel(folder) as kernel:
        assert kernel.execute("import ipykernel; ipykernel.__version__").text.startswith("'6.30.")
        kernel.execute("%load_ext composemagic\n%config ComposeMagics.language = 'en'")
        yield kernel


def last(done: Executed) -> dict[str, str]:
    """What stands there in the end: what replaced the live view."""
    return dict([output["data"] for output in done.outputs if "data" in output][-1])


def test_a_cell_streams_and_leaves_its_text(notebook: Kernel, replay: str) -> None:
    done = notebook.execute(f"%%compose talk -i prompt=x -o answer\n{CHAT % (replay, 'n=50,delay=1')}")
    assert done.error is None
    assert WIDGET in done.outputs[0]["data"]
    assert last(done)["text/plain"].startswith("the quick brown fox") and "✓ done" in last(done)["text/plain"]
    assert notebook.execute("answer.status, answer.timing.deltas").text == "('done', 51)"


def test_there_is_no_button_that_nobody_hears(notebook: Kernel, replay: str) -> None:
    notebook.execute(
        "import ipywidgets\nmade = []\ninit = ipywidgets.Button.__init__\n"
        "def counted(self, *a, **k): made.append(k.get('description')); init(self, *a, **k)\n"
        "ipywidgets.Button.__init__ = counted"
    )
    notebook.execute(f"%%compose -i prompt=x\n{CHAT % (replay, 'n=5,delay=1')}")
    assert notebook.execute("ipywidgets.Button.__init__ = init\nmade").text == "[]"


def test_a_mistake_is_drawn(notebook: Kernel) -> None:
    done = notebook.execute("%%compose\ncomponent: {type: ecko, text: hi}")
    assert done.error is not None and "did you mean `echo`?" in done.error[2]
    assert "^^^^" in done.error[2] and "Traceback" not in done.error[2]


def test_an_interrupt_keeps_the_text(notebook: Kernel, replay: str) -> None:
    sent = notebook.submit(f"%%compose -i prompt=x -o answer\n{CHAT % (replay, 'n=50000,delay=5')}")
    while not any("data" in output and WIDGET in output["data"] for output in _outputs(notebook, sent)):
        pass
    notebook.interrupt()
    done = notebook.collect(sent)
    assert done.error is not None and done.error[0] == "KeyboardInterrupt"
    assert done.error[2].startswith("compose: interrupted;")
    assert notebook.execute("answer.status").text == "'stopped'"
    assert notebook.execute("1 + 1").text == "2"


def _outputs(notebook: Kernel, sent: str) -> list[dict[str, object]]:
    """The next thing that a cell under way sends."""
    message = notebook.client.get_iopub_msg(timeout=60)
    is_mine = message["parent_header"].get("msg_id") == sent
    return [message["content"]] if is_mine and message["msg_type"] == "display_data" else []


def test_a_form_runs(notebook: Kernel, replay: str) -> None:
    done = notebook.execute(f"%%compose talk --form -i prompt=x\n{CHAT % (replay, 'n=5,delay=1')}", cell="F")
    assert WIDGET in done.outputs[0]["data"]
    done = notebook.execute(
        f"form = {MAGICS}.faces['F']\nform._run_button.click()\n"
        "import asyncio\nwhile form.run is None: await asyncio.sleep(0.01)\n"
        "form.run.wait()\nform.answer.closed.result(60)\nform.run.status"
    )
    assert done.text == "'done'"


def test_a_sweep_and_a_chat_run(notebook: Kernel, replay: str) -> None:
    yaml = CHAT % (replay, "n=5,delay=1")
    done = notebook.execute(f"%%compose talk --sweep prompt=a,b\n{yaml}", cell="S")
    assert done.error is None
    assert notebook.execute(f"{MAGICS}.faces['S'].wait(); [t.run.status for t in {MAGICS}.faces['S'].trials]").text == (
        "['done', 'done']"
    )
    assert notebook.execute("talk.chat().say('hello').text").text.startswith("'the quick brown")


def test_where_nobody_clicks(notebook: Kernel, replay: str) -> None:
    yaml = CHAT % (replay, "n=5,delay=1")
    done = notebook.execute(f"%%compose -i prompt=x\n{yaml}", allow_stdin=False)
    assert done.error is None and WIDGET not in done.outputs[0]["data"]
    assert "the quick brown" in last(done)["text/plain"]
