"""Where there is no JupyterLab: a terminal, papermill and nbconvert's pages, front ends without widgets, Notebook 7."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pexpect
import pytest

from tests.conftest import ROOT, Executed, Kernel, await_reading, started_kernel

WIDGET = "application/vnd.jupyter.widget-view+json"
FOX = "the quick brown fox"
ASK = """
workflow: {title: Ask}
component:
  type: http-client
  base_url: %s/%s/v1
  action:
    path: /chat/completions
    body:
      model: m
      stream: true
      temperature: ${input.temperature as number | 0.7}
      messages: [{role: user, content: '${input.prompt as text}'}]
    stream_format: json
    output: ${response[].choices[0].delta.content}
"""
MARKS = """
component:
  type: echo
  action:
    text: |
      # Heading

      Some **bold** and `code` for ${input.who as text}.

      ```python
      print(${input.count as integer | 3})
      ```
"""


# -- a notebook that nobody watches: nbclient, papermill, nbconvert


CELLS: dict[str, tuple[str, str]] = {
    "a run": ("%%compose talk --vars -o answer\n{ask}", FOX),
    "markdown": ("%%compose marks -i who=you\n{marks}", "**bold**"),
    "form": ("%%compose --form\n{ask}", "prompt               text       required"),
    "chat": ("%%compose --chat\n{ask}", "Say something with `.say(...)`."),
    "said": ("c = talk.chat()\nc.say('hello')\nc", "You: hello"),
    "sweep": ("%%compose --sweep temperature=0,1 -i prompt=x\n{ask}", "2 combinations: 2 done"),
    "race": ("%%compose --race -i prompt=x\n{ask}", "not streaming: "),
    "trace": ("%%compose --trace -i prompt=x\n{ask}", "POST http://127.0.0.1"),
    "explain": ("%%compose --explain -i prompt=x\n{ask}", '"content": "x"'),
    "diagram": ("%%compose --diagram\n{ask}", "job-1 · http-client"),
    "runs": ("%compose runs", "prompt=from outside"),
    "replay": ("import composemagic\ncomposemagic.runs[0].replay(None)", FOX),
    "compare": ("composemagic.compare(composemagic.runs[0], composemagic.runs[1])", "from outside"),
    "a value": ("answer", FOX),
}
FAILING: dict[str, tuple[str, str]] = {
    "a typo": ("%%compose\ncomponent: {{type: ecko}}", "did you mean `echo`?"),
    "a missing input": ("%%compose\n{ask}", "`prompt` is missing. Give it with `-i NAME=value`"),
}


@pytest.fixture(scope="module")
def book(replay: str) -> nbformat.NotebookNode:
    """A notebook with every face, run as papermill does: a cell of parameters, and behind it one that sets them anew."""
    ask = ASK % (replay, "n=20,delay=2")
    cells = [source.format(ask=ask, marks=MARKS) for source, _ in (CELLS | FAILING).values()]
    parameters = ["prompt = 'the default'\ntemperature = 0.5", "# Parameters\nprompt = 'from outside'"]
    first = "%load_ext composemagic\n%config ComposeMagics.language = 'en'"
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in [first, *parameters, *cells]])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbclient.NotebookClient(made, allow_errors=True, timeout=60).execute()
    return made


def outputs(book: nbformat.NotebookNode, name: str) -> list[Any]:
    return list(book.cells[3 + [*CELLS, *FAILING].index(name)].outputs)


@pytest.mark.parametrize("name", CELLS)
def test_a_face_leaves_text_and_no_widget(book: nbformat.NotebookNode, name: str) -> None:
    found = outputs(book, name)
    assert {output.output_type for output in found} <= {"display_data", "execute_result"}
    assert not any(WIDGET in output.data for output in found)
    assert CELLS[name][1] in "\n".join(output.data["text/plain"] for output in found)
    assert all(set(output.data) - {"text/plain"} for output in found)


@pytest.mark.parametrize("name", FAILING)
def test_a_mistake_is_told_without_frames(book: nbformat.NotebookNode, name: str) -> None:
    [output] = outputs(book, name)
    assert output.output_type == "error" and FAILING[name][1] in "\n".join(output.traceback)
    assert not any("Traceback" in line for line in output.traceback)


def test_papermills_parameters_are_the_inputs(book: nbformat.NotebookNode) -> None:
    [runs] = outputs(book, "runs")
    first = next(line for line in runs.data["text/plain"].splitlines() if line.startswith("1 "))
    assert "prompt=from outside" in first and "temperature=0.5" in first


# every text below a cell: what it is drawn in, and how far from what is behind it (WCAG 2.2, 1.4.3)
READ = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const parsed = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, under) => top.slice(0, 3).map((one, i) => one * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (node) => node ? over(parsed(getComputedStyle(node).backgroundColor), behind(node.parentElement))
    : [255, 255, 255, 1];
  const light = (rgb) => rgb.slice(0, 3).map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, i) => sum + one * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  for (const node of document.querySelectorAll('.jp-OutputArea-output *:not(style)')) {
    const text = [...node.childNodes].filter((one) => one.nodeType === 3).map((one) => one.data.trim()).join('');
    if (!text || !node.getClientRects().length || node.closest('svg')) continue;
    const under = behind(node), ink = light(over(parsed(getComputedStyle(node).color), under)), back = light(under);
    const ratio = (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05);
    found.push([text, ratio, getComputedStyle(node).fontFamily, !!node.closest('pre')]);
  }
  return found;
}"""


@pytest.mark.browser
def test_its_page_can_be_read_in_light_and_dark(book: nbformat.NotebookNode, tmp_path: Path, lab: Any) -> None:
    from nbconvert import HTMLExporter

    for theme in ("light", "dark"):
        html, _ = HTMLExporter(theme=theme).from_notebook_node(book)
        (tmp_path / "page.html").write_text(html, "utf-8")
        page = lab._context.new_page()
        try:
            page.route(re.compile("^https?:"), lambda route: route.abort())  # nbconvert's own: ours fetch nothing
            page.goto((tmp_path / "page.html").as_uri())
            found = page.evaluate(READ)
        finally:
            page.close()
        words = "\n".join(text for text, *_ in found)
        for text in (
            "✓ done",
            "Heading",
            "2 combinations: 2 done",
            "Say something with",
            "did you mean",
            "not streaming",
        ):
            assert text in words
        assert not [(text, ratio) for text, ratio, *_ in found if ratio < 3]
        assert not [text for text, _, font, is_code in found if is_code and "mono" not in font.lower()]


# -- a front end without widgets, a kernel without subshells: VS Code, Colab


DEAF = """
%load_ext composemagic
%config ComposeMagics.language = 'en'
type(get_ipython().kernel)._supports_kernel_subshells = False
import comm
class Deaf(comm.base_comm.BaseComm):
    def publish_msg(self, *arguments, **more): pass
comm.create_comm = Deaf
"""


@pytest.fixture(scope="module")
def deaf() -> Iterator[Kernel]:
    with started_kernel() as kernel:
        assert kernel.execute(DEAF).error is None
        yield kernel


def texts(done: Executed) -> str:
    return "\n".join(output.get("data", {}).get("text/plain", "") for output in done.outputs)


def shown(done: Executed) -> list[str]:
    """What a page without widgets shows: HTML where there is some."""
    bundles = [output.get("data", {}) for output in done.outputs]
    return [data.get("text/html", data.get("text/plain", "")) for data in bundles]


def test_a_cell_ends_and_leaves_its_copy(deaf: Kernel, replay: str) -> None:
    done = deaf.execute(f"%%compose talk -i prompt=x -o answer\n{ASK % (replay, 'n=20')}")
    assert (done.status, done.outputs[-1]["output_type"]) == ("ok", "update_display_data")
    assert FOX in done.outputs[-1]["data"]["text/html"] and WIDGET not in done.outputs[-1]["data"]


def test_a_face_says_what_can_be_done_without_it(deaf: Kernel, replay: str) -> None:
    yaml = ASK % (replay, "n=20")
    for face, words in (("form", "workflow(prompt=...)"), ("chat", "Say something with `.say(...)`.")):
        done = deaf.execute(f"%%compose --{face}\n{yaml}")
        assert done.error is None and any(words in data for data in shown(done))
    deaf.execute(f"%%compose talk --check\n{yaml}\n")
    assert deaf.execute("talk.chat().say('x').text").text.startswith(f"'{FOX}")
    assert deaf.execute("talk.sweep(prompt=['a', 'b']).to_rows()[1]['status']").text == "'done'"


# the kernel interrupts itself once text has come: what a cell that nobody watches shows is no sign of that
INTERRUPT = """
import composemagic, os, signal, threading, time
before = len(composemagic.runs)
def interrupt():
    while len(composemagic.runs) == before or "brown fox" not in composemagic.runs[before].text:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
"""


@pytest.mark.parametrize(
    ("face", "allow_stdin"), [("", True), ("", False), ("--sweep prompt=a,b", False), ("--race -i prompt=x", False)]
)
def test_an_interrupt_ends_it_and_keeps_what_there_is(deaf: Kernel, replay: str, face: str, allow_stdin: bool) -> None:
    """A face that blocks an awaited cell does not hear the cancellation that ipykernel makes of an interrupt."""
    deaf.execute(INTERRUPT)
    line = face or "-i prompt=x"
    done = deaf.execute(f"%%compose {line}\n{ASK % (replay, 'n=50000,delay=5')}", allow_stdin=allow_stdin, timeout=90)
    assert done.error is not None and done.error[0] == "KeyboardInterrupt"
    assert done.error[2] == "compose: interrupted; the text so far is kept"
    assert FOX in texts(done) or "first word after" in texts(done)
    assert deaf.execute("set(one.status for one in composemagic.runs[before:])").text == "{'stopped'}"


# -- Notebook 7


@pytest.mark.browser
@pytest.mark.soak
@pytest.mark.skipif(os.environ.get("COMPOSEMAGIC_SOAK") != "1", reason="another server and another browser")
def test_notebook_7(replay: str) -> None:
    pytest.importorskip("notebook")
    from tests.lab import Notebook7

    ask, endless = ASK % (replay, "n=20,delay=2"), ASK % (replay, "n=50000,delay=5")
    faces = ["--form", "--chat", "--sweep temperature=0,1 -i prompt=x", "--race -i prompt=x", "--trace -i prompt=x"]
    cells = [
        "%load_ext composemagic",
        *(f"%%compose {face}\n{ask}" for face in faces),
        f"%%compose -i prompt=x\n{endless}",
    ]
    with Notebook7() as page:
        page.open(cells)
        page.run_all(wait=False)
        page.wait_text(6, "the quick")
        page.click(6, "Stop")
        page.wait_text(6, "■ stopped")
        page.fill(1, "prompt *", "hello")
        page.click(1, "Run")
        page.wait_text(1, "✓ done")
        line = page.page.get_by_placeholder("Your question; Enter sends it")
        line.fill("hello")
        line.press("Enter")
        page.wait_text(2, "✓ done")
        for number, words in ((3, "2 combinations: 2 done"), (4, "With streaming the first word"), (5, "POST http://")):
            page.wait_text(number, words)
        page.run(6, wait=False)
        page.wait_text(6, "the quick")
        page.interrupt()
        page.wait_text(6, "compose: interrupted; the text so far is kept")


# -- a terminal


Terminal = Callable[..., pexpect.spawn]


@pytest.fixture
def ipython(tmp_path: Path) -> Iterator[Terminal]:
    """IPython in a terminal, at its first prompt after some lines."""
    started: list[pexpect.spawn] = []

    def start(*lines: str, options: tuple[str, ...] = (), **environ: str) -> pexpect.spawn:
        script = tmp_path / "script.ipy"
        script.write_text("\n".join(["%load_ext composemagic", *lines, "print('the', 'end')"]), encoding="utf-8")
        command = ["-m", "IPython", "--no-banner", "--simple-prompt", *options, "-i", str(script)]
        around = {
            **os.environ,
            "TERM": "xterm",
            "PYTHONPATH": str(ROOT),
            "IPYTHONDIR": str(tmp_path),
            "LANG": "C.UTF-8",
        }
        around.pop("NO_COLOR", None)
        child = pexpect.spawn(
            sys.executable, command, env={**around, **environ}, cwd=tmp_path, encoding="utf-8", timeout=60
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def cell(line: str, yaml: str) -> str:
    return f"get_ipython().run_cell_magic('compose', {line!r}, {yaml!r})"


def test_a_terminal_with_colours_shows_markdown(ipython: Terminal) -> None:
    child = ipython(cell("-i who=you", MARKS))
    child.expect_exact("the end")
    said = child.before.replace("\r\n", "\n")
    assert "\x1b[1;4mHeading\x1b[0m\n\nSome \x1b[1mbold\x1b[0m and \x1b[36mcode\x1b[0m for you.\n" in re.sub(
        r"\x1b\[0m\x1b\[1;4m", "", said
    )
    assert "```" not in said and "\n    print(3)\n" in said and "✓ done" in said


@pytest.mark.parametrize(
    ("environ", "options"), [({"NO_COLOR": "1"}, ()), ({"TERM": "dumb"}, ()), ({}, ("--colors=nocolor",))]
)
def test_without_colours_the_text_stands_as_it_came(
    ipython: Terminal, environ: dict[str, str], options: tuple[str, ...]
) -> None:
    child = ipython(cell("-i who=you", MARKS), options=options, **environ)
    child.expect_exact("the end")
    text = "# Heading\n\nSome **bold** and `code` for you.\n\n```python\nprint(3)\n```\n"
    assert text in child.before.replace("\r\n", "\n")


def test_a_chat_in_a_terminal(ipython: Terminal, replay: str) -> None:
    child = ipython(
        cell("talk --check", ASK % (replay, "n=20000,delay=5")),
        "talk.chat().show()",
        cell("talk --check", ASK % (replay, "n=5")),
        "c = talk.chat(); c.show(); print([turn.status for turn in c.turns])",
    )
    child.expect_exact("Enter sends, an empty line ends, Ctrl-C stops an answer.")
    child.expect_exact("> ")
    child.sendline("hello")
    child.expect_exact(FOX)
    child.sendintr()
    child.expect_exact("■ stopped")
    child.expect_exact("> ")
    await_reading(child.pid)
    child.sendintr()  # at the prompt it ends the conversation
    child.expect_exact("Enter sends")
    child.expect_exact("> ")
    for question in ("one", "two"):
        child.sendline(question)
        child.expect_exact("✓ done")
        child.expect_exact("> ")
    child.sendline("")
    child.expect_exact("['done', 'done']")
    child.expect_exact("the end")
    assert "Traceback" not in child.before


def test_a_form_in_a_terminal_asks_line_by_line(ipython: Terminal) -> None:
    child = ipython(cell("marks -o answer", MARKS), "marks.form(who='z').show()", "print(answer.status)")
    child.expect_exact("who (text): ")  # asked, because it is missing
    child.sendline("")
    child.expect_exact("`who` is missing")
    child.expect_exact("who (text): ")
    child.sendline("me")
    child.expect_exact("count (integer) [3]: ")
    child.sendline("many")
    child.expect_exact("`count`: ")
    child.expect_exact("count (integer) [3]: ")
    child.sendline("")
    child.expect_exact("for me.")
    child.expect_exact("print(3)")
    child.expect_exact("who (text) [z]: ")
    child.sendeof()
    child.expect_exact("nothing was run")
    child.expect_exact("done")


def test_the_command_has_colours_on_a_terminal_only(tmp_path: Path) -> None:
    (tmp_path / "marks.yml").write_text(MARKS)
    command = ["-m", "composemagic", "run", "-f", "marks.yml", "-i", "who=you", "-o", "kept.md"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "LANG": "C.UTF-8"}
    environ.pop("NO_COLOR", None)
    plain = "# Heading\n\nSome **bold** and `code` for you.\n\n```python\nprint(3)\n```\n"
    for changed, expected in (
        ({}, "\x1b[1mbold\x1b[0m"),
        ({"NO_COLOR": "1"}, "**bold**"),
        ({"TERM": "dumb"}, "`code`"),
    ):
        child = pexpect.spawn(sys.executable, command, env={**environ, **changed}, cwd=tmp_path, encoding="utf-8")
        child.expect(pexpect.EOF, timeout=60)
        assert expected in child.before
        assert (tmp_path / "kept.md").read_text() == plain
    piped = subprocess.run([sys.executable, *command], env=environ, cwd=tmp_path, capture_output=True, check=True)
    assert piped.stdout.decode() == plain
