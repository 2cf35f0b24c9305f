"""`%%compose` in a real JupyterLab: what a user sees and clicks."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from typing import Any

import pytest

from tests.conftest import ROOT, EchoServer
from tests.lab import Lab
from tests.servers.chat import ChatServer

pytestmark = pytest.mark.browser

SEED = (ROOT / "tests/data/seed.yml").read_text(encoding="utf-8")
WIDGET = "application/vnd.jupyter.widget-view+json"
LOAD = "%load_ext composemagic\nimport os; os.environ['OPENAI_API_KEY'] = 'sk-test-0123456789'"

FORM = """\
%%compose letter -o answer
workflow:
  title: Write a letter
  description: A few facts are enough.
  job:
    component:
      type: echo
      action:
        delay: ${input.delay as number | 0}
        text: "${input.name as string @(title Customer's name)}: ${input.facts as text} ${input.tone as select/warm,formal | warm}"
"""


def cell(replay: str, knobs: str, line: str = "chat -i prompt=x -o answer") -> str:
    return f"%%compose {line}\n{SEED.replace('https://api.openai.com/v1', f'{replay}/{knobs}/v1')}"


def await_idle(replay: str) -> None:
    """Wait until the model's server has heard that nobody listens any more."""
    end = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(f"{replay}/stats", timeout=60) as answer:
            if json.loads(answer.read())["active"] == 0:
                return
        assert time.monotonic() < end
        time.sleep(0.01)  # between two looks


def only_copy(outputs: list[dict[str, Any]]) -> dict[str, str]:
    """The one display of a finished cell, as it would be saved."""
    [display] = [output for output in outputs if output["output_type"] == "display_data"]
    assert sorted(display["data"]) == ["text/html", "text/plain"]
    return {kind: "".join(text) for kind, text in display["data"].items()}


def test_a_stream_is_seen_while_it_runs_and_saved_at_its_end(lab: Lab) -> None:
    text = "Ada flies over a lazy dog while it rains "
    with ChatServer() as server:
        server.hold = threading.Event()  # its first word, and the others when they are asked for
        base = server.plays("ada", {"text": text * 20})
        code = f"%%compose chat -i prompt=x -o answer\n{SEED.replace('https://api.openai.com', base)}"
        lab.open([LOAD, code], "saved.ipynb")
        lab.run(0)
        lab.run(1, wait=False)
        lab.wait_text(1, "Ada")
        during = lab.dom_text(1)
        assert "Stop" in during
        assert "Chat with OpenAI GPT-4o" in during
        assert lab.kernel_status() in ("busy", "idle")  # an awaiting kernel says either
        server.hold.set()
        lab.wait_done(1)
    lab.wait_text(1, "✓ done")
    after = lab.dom_text(1)
    assert "Stop" not in after
    assert len(after) > len(during)
    saved = lab.save()
    data = only_copy(saved["cells"][1]["outputs"])
    assert data["text/plain"].startswith(text)
    assert all(copy.count("✓ done") == 1 for copy in data.values())
    assert "widgets" not in saved["metadata"]


@pytest.mark.parametrize("prefix", ["", "%%time\n"])
def test_stop_ends_the_cell_well_and_queued_cells_go_on(lab: Lab, replay: str, prefix: str) -> None:
    lab.open([LOAD, prefix + cell(replay, "n=20000,delay=5"), "print('goes on', answer.status)"])
    lab.run_all(wait=False)
    lab.wait_text(1, "the quick brown")
    lab.click(1, "Stop")
    lab.wait_text(2, "goes on stopped")
    lab.wait_text(1, "■ stopped")
    assert "the quick brown" in lab.dom_text(1)
    assert [output["output_type"] for output in lab.outputs(1) if output["output_type"] == "error"] == []
    await_idle(replay)


def test_an_interrupt_keeps_the_text_and_ends_the_queue(lab: Lab, replay: str) -> None:
    lab.open([LOAD, cell(replay, "n=20000,delay=5"), "print('must not run')", "print('the next', answer.status)"])
    lab.run(0)
    lab.run(1, wait=False)
    lab.run(2, wait=False)
    lab.wait_text(1, "the quick brown")
    lab.interrupt("button")
    lab.wait_text(1, "compose: interrupted; the text so far is kept")
    lab.wait_status("idle")
    text = lab.dom_text(1)
    assert text.startswith("the quick brown")
    assert "■ stopped" in text
    error = lab.outputs(1)[-1]
    assert (error["ename"], len(error["traceback"])) == ("KeyboardInterrupt", 1)
    lab.run(3)
    assert lab.dom_text(3) == "the next stopped"
    assert lab.dom_text(2) == ""
    await_idle(replay)


def test_run_all_with_several_streams(lab: Lab, replay: str) -> None:
    cells = [cell(replay, f"n={count},delay=3", f"-i prompt=x -o run{count}") for count in (40, 60)]
    lab.open([LOAD, *cells, "print(len(run40.text), len(run60.text))"])
    lab.run_all()
    assert lab.dom_text(3) == "240 360"
    for index in (1, 2):
        assert "✓ done" in only_copy(lab.outputs(index))["text/plain"]


def test_a_form_is_checked_run_stopped_and_reset(lab: Lab) -> None:
    lab.open([LOAD, FORM, "print(answer.text)"])
    lab.run(0)
    lab.run(1)
    lab.wait_text(1, "A few facts are enough.")
    lab.click(1, "Run")
    lab.wait_text(1, "is missing")
    lab.fill(1, "Customer's name *", "Ada")
    lab.fill(1, "facts *", "a parcel, late")
    lab.fill(1, "delay", "soon")
    lab.click(1, "Run")
    lab.wait_text(1, '"soon" is no number')
    lab.fill(1, "delay", "0")
    lab.click(1, "Run")
    lab.wait_text(1, "Ada: a parcel, late warm")
    lab.wait_text(1, "✓ done")
    assert "is missing" not in lab.dom_text(1)
    lab.run(2)
    assert lab.dom_text(2) == "Ada: a parcel, late warm"
    lab.fill(1, "facts *", "word " * 2000)
    lab.fill(1, "delay", "0.01")
    lab.click(1, "Run")
    lab.wait_text(1, "word word")
    lab.click(1, "Stop")
    lab.wait_text(1, "■ stopped")
    lab.click(1, "Reset")
    lab.wait_for("() => document.querySelector('.jp-OutputArea textarea').value === ''", "the field to be empty")


def test_what_is_typed_right_before_a_click_counts_far_from_the_kernel(lab: Lab) -> None:
    """The page holds back what is typed while an earlier change is on its way, and no click."""
    lab.open([LOAD, FORM])
    lab.run(0)
    lab.run(1)
    lab.wait_text(1, "A few facts are enough.")
    lab.slow(0.5)
    lab.fill(1, "Customer's name *", "Ada")
    for words in ("a parcel", "a parcel, late"):
        lab.fill(1, "facts *", words)
    for seconds in ("soon", "0"):
        lab.fill(1, "delay", seconds)
        lab.click(1, "Run")
    lab.wait_text(1, "✓ done")
    assert "Ada: a parcel, late warm" in lab.dom_text(1)
    assert "is no number" not in lab.dom_text(1)


def test_a_form_runs_while_another_cell_does(lab: Lab, replay: str) -> None:
    """A click must not wait for the cell that runs: it comes through the front end's own subshell."""
    lab.open([LOAD, FORM, cell(replay, "n=20000,delay=5", "-i prompt=x")])
    lab.run(0)
    lab.run(1)
    lab.fill(1, "Customer's name *", "Ada")
    lab.fill(1, "facts *", "meanwhile")
    for _ in range(2):  # the second time, the buttons have changed since
        lab.run(2, wait=False)
        lab.wait_text(2, "the quick brown")
        lab.click(1, "Run")
        lab.wait_text(1, "Ada: meanwhile warm")
        lab.wait_text(1, "✓ done")
        assert "meanwhile" not in lab.dom_text(2)
        lab.click(2, "Stop")
        lab.wait_done(2)


# -- hostile text: nothing of it may run, in no place, neither live nor saved and opened again

FIRE = "window.__fired=1"
BAD = (
    f'<img src=x onerror="{FIRE}"><script>{FIRE}</script><svg onload="{FIRE}"></svg>'
    f"<iframe srcdoc='<script>parent.{FIRE.replace('window.', '')}</script>'></iframe>"
    f'<details open ontoggle="{FIRE}">x</details>'
)
LINKS = f"[a](javascript:{FIRE}) ![b](javascript:{FIRE}) <javascript:{FIRE}> $\\href{{javascript:{FIRE}}}{{c}}$"


def hostile(title: str, **component: Any) -> str:
    """A document (JSON is YAML) whose title, description and component are hostile."""
    workflow = {"title": title, "description": BAD, "job": {"component": component}}
    return json.dumps({"workflow": workflow})


def test_hostile_text_fires_nowhere(lab: Lab, replay: str, echo_server: EchoServer) -> None:
    image = f"<img src=x onerror={FIRE}>"
    inputs = f"${{input.a as text | '{image}' @(title {image}) @(description <script>{FIRE}</script>)}}"
    inputs += f"${{input.b as select/<img>,x | <img> @(label {image})}} ${{input.c as number @(description {image})}}"
    events = [{"model": BAD, "choices": [{"delta": {"content": f"so far {BAD}"}}]}, {"error": {"message": BAD}}]
    action = {"path": "/sse", "method": "POST", "body": {"events": events}, "stream_format": "json"}
    action["output"] = "${response[].choices[0].delta.content}"
    provider = hostile(BAD, type="http-client", base_url=echo_server.url, action=action)
    cells = [
        LOAD,
        "%%compose bad -o answer\n" + hostile(BAD, type="echo", action={"text": f"{BAD}\n\n{LINKS}\n", "delay": 0.02}),
        "%%compose -o answer\n" + hostile(LINKS, type="echo", action={"value": {BAD: [LINKS]}}),
        "%%compose form --form\n" + hostile(BAD, type="echo", action={"text": inputs}),
        "%%compose\n" + provider,
        "%%compose --form\n" + provider,
        "%%compose\n" + json.dumps({BAD: 1, "workflow": {LINKS: BAD}}),
        "bad",
        "answer",
        "%%compose\n" + hostile(BAD, type="echo", action={"text": "${input.a as " + image + "}"}),
        cell(replay, "n=3").replace("model: gpt-4o", f"model: {json.dumps(BAD)}"),
    ]
    lab.open(cells, "hostile.ipynb")
    lab.eval("() => { window.__fired = 0; }")
    for index in range(len(cells)):
        lab.run(index)
    lab.fill(3, f"{image}", "changed")
    lab.click(3, "Run")
    lab.wait_text(3, "is missing")
    lab.fill(3, "c *", "1")
    lab.click(3, "Run")
    lab.wait_text(3, "✓ done")
    lab.click(5, "Run")
    lab.wait_text(5, "✗")
    for index in (4, 5):
        lab.wait_text(index, "so far <img")
        assert lab.dom_text(index).count("<iframe") >= 2  # in the text and in the provider's words
    lab.wait_text(len(cells) - 1, "answered by <img")
    quiet = """() => {
        const bad = [...document.querySelectorAll('.jp-OutputArea *')].filter((node) =>
            ['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'FORM'].includes(node.tagName)
            || [...node.attributes].some((one) => /^on/i.test(one.name) || /^\\s*javascript:/i.test(one.value))
            || (node.tagName === 'IMG' && node.getAttribute('src') === 'x'));
        return [window.__fired, bad.map((node) => node.outerHTML.slice(0, 200))];
    }"""
    assert lab.eval(quiet) == [0, []]
    assert "<script>" in lab.dom_text(1)
    lab.save()
    lab.page.reload()
    lab.wait_for(
        "() => document.querySelectorAll('.jp-OutputArea-output').length > 10", "the notebook to be open again"
    )
    assert lab.eval("() => window.__fired ?? 0") == 0
    assert lab.eval(quiet)[1] == []
    assert "<script>" in lab.dom_text(1)
