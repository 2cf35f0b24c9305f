"""`%%compose` in a real kernel, as a notebook's front end drives it, without the front end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pexpect
import pytest

from tests.benchmarks.show import measured
from tests.conftest import ROOT, EchoServer, Executed, Kernel, started_kernel
from tests.servers.faults import FaultServer
from tests.waiting import until

SEED = (ROOT / "tests/data/seed.yml").read_text(encoding="utf-8")
WIDGET = "application/vnd.jupyter.widget-view+json"
TEXT = "the quick brown fox jumps over a lazy dog while it rains "
MAGICS = "get_ipython().magics_manager.registry['ComposeMagics']"

ECHO = """\
workflow:
  title: Echo
  job:
    component:
      type: echo
      action:
        text: ${input.text as text}
        delay: ${input.delay as number | 0}
"""
TYPOS = """\
workflow:
  title: Chat
  output: ${output as txet}
component:
  type: http-client
  base_url: http://127.0.0.1:1/v1
  path: /chat/completions
  body:
    messages:
      - role: user
        content: ${inptu.prompt as text}
  stream_fromat: json
"""


@pytest.fixture(scope="module")
def _notebook() -> Iterator[Kernel]:
    with started_kernel() as kernel:
        yield kernel


@pytest.fixture
def notebook(_notebook: Kernel) -> Kernel:
    """One kernel for the file; each test finds the extension freshly loaded and none of the others' variables."""
    done = _notebook.execute(
        "%reset -f\n%reload_ext composemagic\n"
        "import os; os.environ['OPENAI_API_KEY'] = 'sk-test-0123456789'\n"
        "%config ComposeMagics.display = 'auto'\n%config ComposeMagics.awaited = True"
    )
    assert (done.status, done.streams["stderr"]) == ("ok", "")
    return _notebook


def seed(replay: str, knobs: str) -> str:
    return SEED.replace("https://api.openai.com/v1", f"{replay}/{knobs}/v1")


def letters(replay_text: str, count: int) -> str:
    """The answer of replay.py: pieces of the same text, over and over."""
    source = replay_text * 2
    return "".join(source[(i * 6) % (len(source) - 6) :][:6] for i in range(count))


def shown(done: Executed) -> list[dict[str, str]]:
    """What stands below the cell in the end: displays, updated in place."""
    found: dict[str, dict[str, str]] = {}
    for number, output in enumerate(done.outputs):
        if "data" in output:
            found[output.get("transient", {}).get("display_id", str(number))] = output["data"]
    return list(found.values())


def stats(replay: str, reset: bool = False) -> dict[str, Any]:
    request = urllib.request.Request(f"{replay}/stats{'/reset' if reset else ''}", method="POST" if reset else "GET")
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def value(kernel: Kernel, expression: str) -> Any:
    """An expression's value in the kernel, through JSON."""
    done = kernel.execute(f"import json; print(json.dumps({expression}))")
    assert done.error is None, done.error
    return json.loads(done.streams["stdout"])


def await_output(kernel: Kernel, sent: str, text: str, timeout: float = 60) -> None:
    """Wait until a cell that runs has sent a text, in whatever message; printed text may come in several."""
    end, printed = time.monotonic() + timeout, ""
    while time.monotonic() < end:
        message = kernel.client.get_iopub_msg(timeout=timeout)
        if message["msg_type"] == "stream":
            printed += message["content"]["text"]
        if message["msg_type"] == "execute_input":
            continue  # the cell itself, which may hold the text
        if text in json.dumps(message["content"]) or text in printed:
            return
    raise AssertionError(f"waited {timeout} s for {text!r}")


# -- a cell that streams


def test_a_cell_streams_and_leaves_a_static_copy(notebook: Kernel, replay: str) -> None:
    done = notebook.execute(f"%%compose chat -i prompt='Hi there' -o answer\n{seed(replay, 'n=50')}")
    assert (done.status, done.streams) == ("ok", {"stdout": "", "stderr": ""})
    [data] = shown(done)
    assert set(data) == {"text/html", "text/plain"}
    text = letters(TEXT, 50)
    for kind in data:
        assert data[kind].count(text) == 1
        assert "✓ done" in data[kind]
        assert "answered by gpt-4o" in data[kind]
        assert data[kind].index(text) < data[kind].index("✓ done") < data[kind].index("read as")
    assert WIDGET in done.outputs[0]["data"]
    assert value(notebook, "[type(chat).__name__, chat.name, answer.status, answer.text]") == [
        "Workflow", "chat", "done", text,
    ]  # fmt: skip


@pytest.mark.parametrize("knobs", ["n=20000", "n=20000,burst=65536"])
def test_twenty_thousand_deltas_come_exactly(notebook: Kernel, replay: str, knobs: str) -> None:
    done = notebook.execute(f"%%compose -i prompt=x -o answer\n{seed(replay, knobs)}")
    text = letters(TEXT, 20_000)
    assert value(notebook, "answer.text") == text
    assert shown(done)[0]["text/plain"].startswith(text)


def test_what_a_front_end_gets_is_within_the_budget(notebook: Kernel, replay: str) -> None:
    fast = measured(notebook, f"%%compose -i prompt=x\n{seed(replay, 'n=2000')}")
    assert fast.messages <= 20 + 30 * fast.seconds
    assert fast.size <= max(8 * 12_000, 200_000 * fast.seconds)  # a slow machine shows it more often
    paced = measured(notebook, f"%%compose -i prompt=x\n{seed(replay, 'n=750,delay=2')}")
    assert paced.messages <= 20 + 30 * paced.seconds
    assert paced.size <= 200_000 * paced.seconds


def test_while_nothing_comes_only_the_header_moves(notebook: Kernel, replay: str) -> None:
    cost = measured(notebook, f"%%compose -i prompt=x\n{seed(replay, 'first=1500,n=2')}")
    assert 20 <= cost.messages <= 20 + 5 * cost.seconds


def test_an_answer_that_is_no_text(notebook: Kernel) -> None:
    done = notebook.execute(
        "%%compose -o answer\nworkflow:\n  job:\n    component:\n      type: echo\n      action:\n"
        "        value: {a: ['<b>', 1]}\n"
    )
    [data] = shown(done)
    assert "&lt;b&gt;" in data["text/html"]
    assert "<b>" not in data["text/html"]
    assert value(notebook, "answer.output") == {"a": ["<b>", 1]}


# -- how a cell is run


@pytest.mark.parametrize(
    ("before", "is_awaited"),
    [
        ("", True),
        ("%autoawait False", False),
        ("%config ComposeMagics.awaited = False", False),
        ("%config ComposeMagics.display = 'plain'", False),
        ("%unload_ext composemagic", False),
    ],
)
def test_when_a_cell_is_awaited(notebook: Kernel, before: str, is_awaited: bool) -> None:
    notebook.execute(before or "1")
    notebook.execute("from concurrent.futures import ThreadPoolExecutor")
    # on a thread: this very cell is no awaited one
    code = "ThreadPoolExecutor().submit(get_ipython().transform_cell, '%%compose chat\\na: 1\\n').result()"
    assert value(notebook, code).startswith("await ") is is_awaited
    notebook.execute("%autoawait True")


@pytest.mark.parametrize(
    "prefix", ["", "%%time\n", "%%capture --no-display said\n", "%config ComposeMagics.awaited = False\n"]
)
def test_other_magics_around_it(notebook: Kernel, replay: str, prefix: str) -> None:
    if prefix.startswith("%config"):
        notebook.execute(prefix)
        prefix = ""
    done = notebook.execute(f"{prefix}%%compose -i prompt=x -o answer\n{seed(replay, 'n=5')}")
    assert (done.status, value(notebook, "answer.status")) == ("ok", "done")
    if "capture" not in prefix:
        assert shown(done)[0]["text/plain"].startswith(letters(TEXT, 5))
    assert ("Wall time" in done.streams["stdout"]) == ("time" in prefix)


def test_capture_keeps_what_a_cell_shows(notebook: Kernel) -> None:
    done = notebook.execute(f"%%capture said\n%%compose -i text=hello -o answer\n{ECHO}")
    assert (done.status, done.outputs) == ("ok", [])
    assert value(notebook, "[len(said.outputs) > 0, answer.text]") == [True, "hello"]


def test_run_cell_from_a_cell(notebook: Kernel) -> None:
    done = notebook.execute(f"result = get_ipython().run_cell({f'%%compose -i text=hello -o answer{chr(10)}{ECHO}'!r})")
    assert (done.status, value(notebook, "[result.success, answer.text]")) == ("ok", [True, "hello"])


def test_plain_mode_in_a_kernel_prints(notebook: Kernel) -> None:
    notebook.execute("%config ComposeMagics.display = 'plain'")
    done = notebook.execute(f"%%compose -i text='hello there'\n{ECHO}")
    assert done.streams["stdout"] == "hello there\n"
    assert "✓ done" in done.streams["stderr"]
    assert shown(done) == []


# -- stopping


@pytest.mark.parametrize("prefix", ["", "%%time\n"])
def test_an_interrupt_ends_the_cell_in_one_line_and_keeps_the_text(notebook: Kernel, replay: str, prefix: str) -> None:
    until(lambda: stats(replay)["active"] == 0)  # what other tests have stopped
    stats(replay, reset=True)
    sent = notebook.submit(f"{prefix}%%compose -i prompt=x -o answer\n{seed(replay, 'n=20000,delay=5')}")
    queued = notebook.submit("print('must not run')")
    await_output(notebook, sent, "the quick")
    notebook.interrupt()
    done = notebook.collect(sent)
    assert done.status == "error"
    assert done.error
    assert (done.error[0], done.error[2]) == ("KeyboardInterrupt", "compose: interrupted; the text so far is kept")
    data = shown(done)[-1]
    assert data["text/plain"].startswith("the quick brown")
    assert "■ stopped" in data["text/html"]
    reply = notebook._reply(queued, time.monotonic() + 60)
    assert reply["content"]["status"] == "aborted"
    again = notebook.execute("print(answer.status, len(answer.text) > 5)")
    assert again.streams["stdout"] == "stopped True\n"
    until(lambda: stats(replay)["active"] == 0)  # the server hears of it in its own time
    assert stats(replay)["aborted"] == 1
    left = "import asyncio, time, composemagic.engine.loop as l\nwhile asyncio.all_tasks(l.private_loop().loop): time.sleep(0.01)"
    assert notebook.execute(left).status == "ok"  # nothing is left there


def test_an_interrupt_before_the_first_delta(notebook: Kernel, replay: str) -> None:
    sent = notebook.submit(f"%%compose -i prompt=x -o answer\n{seed(replay, 'first=60000')}")
    await_output(notebook, sent, "waiting for the first delta")
    notebook.interrupt()
    done = notebook.collect(sent)
    assert done.error
    assert done.error[2] == "compose: interrupted; there was no text yet"
    assert "■ stopped" in shown(done)[-1]["text/plain"]


def test_cancel_from_python_ends_the_cell_well(notebook: Kernel, replay: str) -> None:
    notebook.execute(
        "import asyncio\n"
        "async def stop_soon():\n"
        "    while 'answer' not in globals() or len(answer.text) < 20: await asyncio.sleep(0.01)\n"
        "    answer.cancel()\n"
        "stopping = asyncio.ensure_future(stop_soon())"
    )
    sent = notebook.submit(f"%%compose -i prompt=x -o answer\n{seed(replay, 'n=20000,delay=5')}")
    queued = notebook.submit("print('goes on')")
    done = notebook.collect(sent)
    assert (done.status, done.error) == ("ok", None)
    assert "■ stopped" in shown(done)[-1]["text/plain"]
    assert notebook.collect(queued).streams["stdout"] == "goes on\n"


# -- what goes wrong


def test_three_typos_are_drawn_without_frames(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose chat -i prompt=hi\n{TYPOS}")
    assert done.error
    name, _, trace = done.error
    assert name == "DocumentError"
    assert trace.startswith("compose: 3 mistakes in this cell\n")
    for words in ("`txet`", "`inptu`", "`stream_fromat`", "12 |         content: ${inptu.prompt as text}"):
        assert words in trace
    assert "Traceback" not in trace
    assert "File" not in trace
    assert value(notebook, "'chat' in globals()") is False


@pytest.mark.parametrize(
    ("knobs", "status", "kept"), [("status=401", "failed", False), ("n=20,drop=10", "failed|truncated", True)]
)
def test_a_run_that_fails_keeps_its_text_and_its_run(
    notebook: Kernel, replay: str, knobs: str, status: str, kept: bool
) -> None:
    done = notebook.execute(f"%%compose chat -i prompt=x -o answer\n{seed(replay, knobs)}")
    assert done.error
    assert "Traceback" not in done.error[2]
    found, text = value(notebook, "[answer.status, answer.text]")
    assert re.fullmatch(status, found)
    assert bool(text) is kept
    data = shown(done)[-1]
    assert text in data["text/plain"]
    assert done.error[2] not in data["text/plain"]  # the cell says it


OPTIONS = {
    "an unknown option": ("--lokal", "--lokal"),
    "a bad name": ("2chat", "`2chat` cannot be the name of a variable"),
    "a Python word": ("class", "`class` cannot be the name of a variable"),
    "a bad output name": ("-o a.b", "`a.b` cannot be the name of a variable"),
    "no such variable": ("-i prompt=$nothing", "there is no variable `nothing`"),
    "no dict": ("-i number", "the variable holds no dict of inputs"),
    "no pair": ("-e KEY", "compose: -e is written `-e KEY=VALUE`"),
    "an open quotation mark": ("-i prompt='hi", "a quote is not closed in `%%compose -i prompt='hi`"),
    "no such workflow": ("-w other", "other"),
    "a bad value": ("-i text=x -i delay=soon", "delay"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_mistake_in_the_first_line_gets_a_sentence(notebook: Kernel, case: str) -> None:
    line, words = OPTIONS[case]
    notebook.execute("number = 1")
    done = notebook.execute(f"%%compose {line}\n{ECHO}")
    assert done.error, done
    assert words in done.error[2]
    assert done.error[2].startswith("compose: ")
    assert "Traceback" not in done.error[2]


def test_missing_inputs_where_nobody_can_click(notebook: Kernel) -> None:
    yaml = ECHO.replace("| 0}", "}")
    done = notebook.execute(f"%%compose echo\n{yaml}", allow_stdin=False)
    assert done.error
    assert "`text` is missing" in done.error[2]
    assert "`delay` is missing" in done.error[2]
    assert "-i" in done.error[2]


def test_a_view_that_fails_does_not_harm_the_run(notebook: Kernel, replay: str) -> None:
    notebook.execute(
        "from composemagic.notebook import markdown\n"
        "def broken(self): raise ZeroDivisionError('broken view')\n"
        "kept, markdown.Growing.html = markdown.Growing.html, broken"
    )
    done = notebook.execute(f"%%compose -i prompt=x -o answer\n{seed(replay, 'n=200,delay=1')}")
    notebook.execute("markdown.Growing.html = kept")
    assert done.error
    assert done.error[0] == "ZeroDivisionError"
    assert value(notebook, "[answer.status, len(answer.text)]") == ["done", 1200]


# -- inputs

GIVEN = {
    "text as it stands": ("-i 'text=1: [x]'", "1: [x]"),
    "a variable": ("-i text=$words", "from a variable"),
    "a dict": ("-i both", "from a dict"),
    "the last one counts": ("-i both -i text=last", "last"),
    "braces and dollars": ("-i 'text={x} $5'", "{x} $5"),
}


@pytest.mark.parametrize("case", GIVEN)
def test_inputs_on_the_first_line(notebook: Kernel, case: str) -> None:
    line, text = GIVEN[case]
    notebook.execute("words = 'from a variable'; both = {'text': 'from a dict', 'delay': 0}; x = 'expanded'")
    notebook.execute(f"%%compose -o answer {line}\n{ECHO}")
    assert value(notebook, "answer.text") == text


def test_an_input_with_a_path(notebook: Kernel) -> None:
    notebook.execute(f"%%compose -o answer -i a.b=deep\n{ECHO.replace('input.text', 'input.a.b')}")
    assert value(notebook, "[answer.text, answer.input]") == ["deep", {"a": {"b": "deep"}}]


def test_check_runs_nothing(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose echo --check\n{ECHO}")
    assert done.streams["stdout"].startswith("no mistakes: Echo\n  text: text, required\n  delay: number = 0")
    assert value(notebook, "echo.title") == "Echo"


def test_environment_on_the_first_line(notebook: Kernel, echo_server: EchoServer) -> None:
    yaml = (
        "component:\n  type: http-client\n  base_url: " + echo_server.url + "\n  path: /echo\n"
        "  headers: {X-Who: '${env.WHO}'}\n"
    )
    done = notebook.execute(f"%%compose -o answer\n{yaml}")
    assert done.error
    assert "`WHO` is not set" in done.error[2]
    done = notebook.execute(f"%%compose -o answer -e WHO=Ada\n{yaml}")
    assert done.error is None
    assert "Ada" in json.dumps(value(notebook, "answer.output"))


# -- forms


def form(cell: str) -> str:
    return f"{MAGICS}.faces[{cell!r}]"


def test_a_form_for_missing_inputs(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose echo -o answer\n{ECHO}", cell="A")
    assert done.status == "ok"
    assert WIDGET in done.outputs[0]["data"]
    assert re.search(r"text +text +required", done.outputs[1]["data"]["text/plain"])
    assert value(notebook, "[echo.title, 'answer' in globals()]") == ["Echo", False]
    done = notebook.execute(
        f"form = {form('A')}\nform.fields['text'].widget.value = 'from the form'\nform._run_button.click()\n"
        "form.run.wait()\nform.answer.closed.result(60)\n"
        "import time\nwhile form._run_button.disabled: time.sleep(0.01)"
    )
    assert done.error is None
    assert [output["output_type"] for output in done.outputs if "stream" in output["output_type"]] == []
    assert shown(done)[-1]["text/plain"].startswith("from the form")
    assert value(notebook, "[answer is form.run, form._run_button.disabled]") == [True, False]


def test_a_misspelt_input_is_told_and_not_answered_with_an_empty_form(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose -i txet=Hi\n{ECHO}")
    assert done.error is not None
    assert "`text` is missing; the workflow does not ask for `txet`; did you mean `text`?" in done.error[1]


def test_a_form_shows_itself_once(notebook: Kernel) -> None:
    notebook.execute(f"%%compose echo --check\n{ECHO}")
    done = notebook.execute("echo.form()")
    assert [WIDGET in output["data"] for output in done.outputs] == [True, False, False]


def test_running_a_cell_again_stops_its_former_run(notebook: Kernel) -> None:
    notebook.execute(f"%%compose echo -o first\n{ECHO}", cell="A")
    notebook.execute(f"%%compose other -o second\n{ECHO}", cell="B")
    for cell in "AB":
        notebook.execute(
            f"form = {form(cell)}\nform.fields['text'].widget.value = 'word ' * 1000\n"
            "form.fields['delay'].widget.value = '1'\nform._run_button.click()"
        )
    notebook.execute(f"old = {form('A')}.box")
    done = notebook.execute(f"%%compose -i text=new -o third\n{ECHO}", cell="A")
    assert shown(done)[-1]["text/plain"].startswith("new")
    assert value(notebook, "[first.status, second.status, old.comm]") == ["stopped", "running", None]
    notebook.execute("second.cancel(); second.wait()")


def test_two_runs_at_once_stay_in_their_own_outputs(notebook: Kernel) -> None:
    ids = {}
    for cell, word in (("A", "apple "), ("B", "berry ")):
        done = notebook.execute(f"%%compose\n{ECHO}", cell=cell)
        ids[word] = done.outputs[2]["transient"]["display_id"]
        notebook.execute(
            f"form = {form(cell)}\nform.fields['text'].widget.value = {word!r} * 40\n"
            "form.fields['delay'].widget.value = '0.01'"
        )
    forms = f"[{form('A')}, {form('B')}]"
    done = notebook.execute(
        f"both = {forms}\nfor form in both: form._run_button.click()\nprint('mine')\n"
        "for form in both: form.answer.closed.result(60)"
    )
    assert done.streams["stdout"] == "mine\n"
    kinds = {output["output_type"] for output in done.outputs}
    assert kinds == {"stream", "update_display_data"}
    last = {output["transient"]["display_id"]: output["data"] for output in done.outputs if "data" in output}
    for word, display_id in ids.items():
        assert last[display_id]["text/plain"].startswith((word * 40).strip())


# -- what it leaves in the notebook's variables


def test_a_workflow_is_called_from_cells(notebook: Kernel, replay: str) -> None:
    notebook.execute(f"%%compose chat --check\n{seed(replay, 'n=5')}")
    text = letters(TEXT, 5)
    assert notebook.execute("chat(prompt='x').text").text == repr(text)
    assert notebook.execute("(await chat.arun(prompt='x')).text").text == repr(text)
    code = "async for event in chat.stream(prompt='x'):\n    print(type(event).__name__)"
    said = notebook.execute(code).streams["stdout"].split()
    assert (said[0], said[-1], said.count("Delta") >= 1) == ("RunStarted", "RunFinished", True)
    missing = notebook.execute("chat()")
    assert missing.error
    assert missing.error[2] == "compose: `prompt` is missing"


def test_runs_and_workflows_show_themselves_until_unloaded(notebook: Kernel, replay: str) -> None:
    yaml = seed(replay, "n=5").replace("title: Chat with", "title: <script>alert(1)</script>")
    notebook.execute(f"%%compose chat -i prompt=x -o answer\n{yaml}")
    [run] = notebook.execute("answer").outputs
    assert run["data"]["text/plain"].startswith(letters(TEXT, 5))
    assert "✓ done" in run["data"]["text/html"]
    [workflow] = notebook.execute("chat").outputs
    assert "&lt;script&gt;" in workflow["data"]["text/html"]
    assert "<script>" not in workflow["data"]["text/html"]
    assert "chat(prompt=...)" in workflow["data"]["text/plain"]
    notebook.execute("%unload_ext composemagic")
    assert notebook.execute("answer").text.startswith("<Run ")
    assert notebook.execute("chat").text.startswith("<Workflow ")


def test_loading_twice_and_unloading_leave_no_doubles(notebook: Kernel) -> None:
    count = (
        "ip = get_ipython()\n"
        "[sum('awaitify' in f.__name__ for f in ip.input_transformers_post), "
        "sum(type(c).__name__ == 'ComposeMagics' for c in ip.configurables), "
        "'compose' in ip.magics_manager.magics['cell'], "
        "sum(key[0].startswith('composemagic') for key in ip.display_formatter.mimebundle_formatter.deferred_printers) + "
        "sum(key.__module__.startswith('composemagic') for key in ip.display_formatter.mimebundle_formatter.type_printers)]"
    )
    notebook.execute("%load_ext composemagic\n%reload_ext composemagic\n%reload_ext composemagic")
    assert notebook.execute(count).text == "[1, 1, True, 7]"
    notebook.execute("%unload_ext composemagic")
    assert notebook.execute(count).text == "[0, 0, False, 0]"
    assert notebook.execute("%%compose\na: 1").status in ("ok", "error")
    notebook.execute("%load_ext composemagic")
    assert notebook.execute(count).text == "[1, 1, True, 7]"


def test_it_documents_itself(notebook: Kernel) -> None:
    assert "ComposeMagics.display" in notebook.execute("%config ComposeMagics").streams["stdout"]
    reply = notebook.client.inspect("%%compose", reply=True, timeout=60)
    words = reply["content"]["data"]["text/plain"]
    for option in ("--input", "--output", "--form", "--local", "--check", "--env-file", "variable that receives"):
        assert option in words


# -- without a front end


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replay: str, faults: FaultServer) -> Path:
    """A notebook on disk: a stream, a failure after some text, three typos, a form."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    cells = [
        "%load_ext composemagic",
        f"%%compose chat -i prompt=x -o answer\n{seed(replay, 'n=300,delay=1')}",
        f"%%compose -i prompt=x\n{seed(replay, 'n=20,drop=10')}",
        f"%%compose\n{TYPOS}",
        f"%%compose\n{ECHO}",
        "answer",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "book.ipynb"
    nbformat.write(book, path)
    return path


def test_nbclient_stores_the_text_once(offline: Path) -> None:
    book = nbformat.read(offline, 4)
    nbclient.NotebookClient(book, allow_errors=True, timeout=60).execute()
    text = letters(TEXT, 300)
    stream, failed, typos, form = (cell.outputs for cell in book.cells[1:5])
    assert [sorted(output.data) for output in stream] == [["text/html", "text/plain"]]
    assert json.dumps(stream).count(text) == 2  # as HTML and as plain text
    assert [output.output_type for output in failed] == ["display_data", "error"]
    assert letters(TEXT, 10) in failed[0].data["text/plain"]
    assert "3 mistakes" in typos[0].traceback[0]
    assert "`text` is missing" in form[0].traceback[0]
    assert "widgets" not in book.metadata


def test_nbconvert_has_texts_and_errors(offline: Path) -> None:
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "--allow-errors", str(offline)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    page = offline.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count(letters(TEXT, 300)) == 2  # below its cell, and as the value of `answer`
    for words in ("✓ done", "3 mistakes in this cell", "is missing"):
        assert words in page


# -- in a terminal


@pytest.fixture
def terminal(tmp_path: Path, replay: str) -> pexpect.spawn:
    """IPython in a terminal that runs a stream of 100 seconds."""
    yaml = seed(replay, "n=20000,delay=5")
    script = tmp_path / "script.ipy"
    script.write_text(
        f"%load_ext composemagic\nget_ipython().run_cell_magic('compose', 'chat -i prompt=x -o answer', {yaml!r})\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-test", "IPYTHONDIR": str(tmp_path)}
    command = ["-m", "IPython", "--no-banner", "--simple-prompt", "--colors=NoColor", "-i", str(script)]
    child = pexpect.spawn(sys.executable, command, env=environ, cwd=tmp_path, encoding="utf-8", timeout=60)
    yield child
    child.close(force=True)


def test_a_terminal_streams_and_an_interrupt_is_one_line(terminal: pexpect.spawn) -> None:
    terminal.expect_exact("the quick brown")
    terminal.sendintr()
    terminal.expect_exact("compose: interrupted; the text so far is kept")
    terminal.expect_exact("In [")
    assert "Traceback" not in terminal.before
    terminal.sendline("answer.status")
    terminal.expect_exact("'stopped'")


GATED = "component: {type: function, function: held}"


@pytest.mark.parametrize(("end", "said"), [("'at last'", "✓ done"), ("1 / 0", "ZeroDivisionError")])
def test_a_terminal_goes_on_while_a_run_is_in_the_background(tmp_path: Path, end: str, said: str) -> None:
    script = tmp_path / "script.ipy"
    script.write_text(
        "import threading, composemagic\ngate = threading.Event()\n"
        f"def held():\n    assert gate.wait(60)\n    return {end}\n"
        f"%load_ext composemagic\nget_ipython().run_cell_magic('compose', 'slow --background -o answer', {GATED!r})\n"
    )
    command = ["-m", "IPython", "--no-banner", "--simple-prompt", "--colors=NoColor", "-i", str(script)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "LANGUAGE": "en", "IPYTHONDIR": str(tmp_path)}
    child = pexpect.spawn(sys.executable, command, env=environ, cwd=tmp_path, encoding="utf-8", timeout=60)
    try:
        child.expect_exact("runs on in the background; `composemagic.runs[-1]` shows it")
        child.expect_exact("In [")
        child.sendline("answer.status, composemagic.runs[-1].run is answer")
        child.expect_exact("('running', True)")
        child.sendline("gate.set()")
        child.expect(f"slow: [^\n]*(?:\n[^\n]*){{0,3}}{said}" if said != "✓ done" else "slow: ✓ done")
    finally:
        child.close(force=True)


def test_a_script_waits_for_what_it_puts_in_the_background(tmp_path: Path) -> None:
    code = "%load_ext composemagic\nget_ipython().run_cell_magic('compose', '--background', 'component: {type: echo, text: so far}')"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "LANGUAGE": "en", "IPYTHONDIR": str(tmp_path)}
    command = ["-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code]
    child = pexpect.spawn(sys.executable, command, env=environ, cwd=tmp_path, encoding="utf-8", timeout=60)
    try:
        child.expect_exact("so far")
        child.expect_exact("✓ done")
    finally:
        child.close(force=True)


def test_a_pipe_gets_the_text_and_nothing_else(tmp_path: Path, replay: str) -> None:
    code = f"%load_ext composemagic\nget_ipython().run_cell_magic('compose', '-i prompt=x', {seed(replay, 'n=50')!r})"
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-test", "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-m", "IPython", "--no-banner", "-c", code]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == letters(TEXT, 50).strip()
    assert "✓ done" in done.stderr


# -- with the embedded model


@pytest.mark.model
def test_the_seed_workflow_streams_from_the_embedded_model(kernel: Kernel) -> None:
    kernel.execute("%load_ext composemagic\nimport os; os.environ.pop('OPENAI_API_KEY', None)")
    # at 0.7 what the model says is its own: one word, or many
    line = 'chat --local -i prompt="Explain what a computer is." -i temperature=0 -o answer'
    sent = kernel.submit(f"%%compose {line}\n{SEED}")
    done = kernel.collect(sent, timeout=280)
    assert done.error is None, done.error
    [data] = shown(done)
    text, deltas, model = value(kernel, "[answer.text, answer.timing.deltas, answer.model]")
    assert deltas > 3
    assert text
    assert f"answered by {model}" in data["text/plain"]
    assert "not by gpt-4o" in data["text/plain"]
    assert "`streaming: true` -> `stream: true`" in data["text/plain"]
