"""Chats and sweeps in a real JupyterLab: typed, stopped, asked anew, compared, saved, opened again.

With COMPOSEMAGIC_SHOTS=folder in the environment, pictures of what is tested are put there.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.test_notebook_lab import BAD, FIRE, LINKS
from tests.test_view_lab import QUIET

pytestmark = pytest.mark.browser

ECHO = """\
workflow:
  title: Echo
  description: It says what it hears.
  job:
    component:
      type: echo
      text: "${input.prompt as text} ${input.temperature as number | 0.7}"
      delay: ${input.delay as number | 0.03}
"""
LOAD = "%load_ext composemagic"
MODEL = """\
workflow:
  title: A model
  job:
    component:
      type: http-client
      base_url: REPLAY/n=60,delay=20,usage=1/v1
      action:
        path: /chat/completions
        method: POST
        body: {model: m, messages: "${input.messages}", temperature: "${input.temperature as number | 1}", stream: true}
        stream_format: json
        output: ${response[].choices[0].delta.content}
"""
WORDS = "the quick brown fox"
ASKED = ".compose-chat [aria-label='You']"
CARDS = "[...document.querySelectorAll('.compose-sweep > .compose-card')]"
SEEN = f"() => [...document.querySelectorAll('{ASKED.replace(chr(39), chr(34))}')].map((one) => one.innerText)"
TWICE = "(words) => [...document.querySelectorAll('[aria-label=\"You\"]')].filter((one) => one.checkVisibility() && one.innerText === words).length"
# the brightness, from 0 to 1, of the text and of what it stands on
SHADES = """(selector) => {
    const shade = (colour) => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number); return (0.3 * r + 0.59 * g + 0.11 * b) / 255; };
    const node = [...document.querySelectorAll(selector)].find((one) => one.checkVisibility());
    let behind = node;
    while (behind && /rgba\\(0, 0, 0, 0\\)|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    return [shade(getComputedStyle(node).color), shade(getComputedStyle(behind).backgroundColor)];
}"""


def shot(lab: Lab, name: str) -> None:
    if folder := os.environ.get("COMPOSEMAGIC_SHOTS"):
        Path(folder).mkdir(exist_ok=True)
        lab.screenshot(Path(folder) / f"{name}.png")


def show(lab: Lab, index: int) -> None:
    """Scroll to a cell's output."""
    lab._output(index).evaluate("(node) => node.scrollIntoView()")


def ask(lab: Lab, index: int, question: str) -> None:
    """Type a question and press Enter."""
    field = lab._output(index).locator(".compose-entry input").first
    field.fill(question)
    field.press("Enter")


def wait_turns(lab: Lab, count: int, status: str = "done") -> None:
    """Until so many answers have this footer in the chat that is seen."""
    marks = {"done": "✓ done", "stopped": "■ stopped"}
    lab.wait_for(
        "([count, mark]) => document.querySelector('.compose-chat')?.innerText.split(mark).length - 1 === count",
        f"{count} answers with {marks[status]}",
        argument=[count, marks[status]],
    )


def test_a_chat_is_typed_stopped_asked_anew_and_cleared(lab: Lab, replay: str) -> None:
    state = "print([(turn.question, turn.status) for turn in chat.turns], len(chat.log))"
    load = f"{LOAD}\nget_ipython().run_cell_magic('compose', 'model --check', {MODEL.replace('REPLAY', replay)!r})"
    lab.open([load, "chat = model.chat(); chat", state, "chat.say('from code').status"], "talk.ipynb")
    lab.run(0)
    lab.run(1)
    ask(lab, 1, "first")
    lab.wait_text(1, WORDS)
    assert lab.eval(SEEN) == ["first"]
    shot(lab, "chat-streams")
    lab.click(1, "Stop")
    wait_turns(lab, 1, "stopped")
    assert lab.eval(TWICE, "first") == 1
    lab.click(1, "Retry")
    wait_turns(lab, 1)
    ask(lab, 1, "second")
    wait_turns(lab, 2)
    lab.run(3)  # from code, while it is shown
    assert lab.dom_text(3) == "'done'"
    wait_turns(lab, 3)
    assert lab.eval(SEEN) == ["first", "second", "from code"]
    shot(lab, "chat")
    edit(lab)
    lab.run(2)
    assert lab.dom_text(2) == "[('first', 'done'), ('second,\\nmore precisely', 'done')] 5"
    lab.click(1, "Export")
    areas = lab._output(1).locator("textarea")
    lab.wait_for("() => document.querySelectorAll('.compose-chat textarea').length === 4", "the texts to copy")
    assert areas.nth(1).input_value().startswith("%%compose model --check\n")
    assert "conversation" not in areas.nth(1).input_value()
    assert areas.nth(2).input_value().startswith("conversation = model.chat(")
    assert '"question": "second,\\nmore precisely"' in areas.nth(3).input_value()
    for words in ("The first cell, the workflow:", "The second cell, in Python, what was said:", "The same as JSON:"):
        lab.wait_text(1, words)
    lab.click(1, "Export")
    widget, copy = (output["data"] for output in lab.save()["cells"][1]["outputs"])
    assert "application/vnd.jupyter.widget-view+json" in widget
    said, text = ["You: first", WORDS, "You: second,", WORDS], "".join(copy["text/plain"])
    assert re.search(".*".join(said), text, re.DOTALL)
    lab.click(1, "Clear")
    lab.wait_for("() => !document.querySelector('.compose-chat').innerText.includes('✓ done')", "the turns to go")
    assert lab.eval(SEEN) == []


def edit(lab: Lab) -> None:
    """An earlier question, in another form and with another temperature: what followed is cut off."""
    lab._output(1).locator(".compose-asked button").nth(1).click()
    lab.wait_text(1, "takes the place of this question; the one after it is cut off.")
    lab._output(1).locator("[title='a question of several lines']").click()
    lab.wait_for("() => document.querySelector('.compose-entry textarea').value === 'second'", "the question to edit")
    lab._output(1).locator(".compose-entry textarea").fill("second,\nmore precisely")
    lab._output(1).get_by_text("Settings").click()
    lab.fill(1, "temperature", "hot")
    lab.click(1, "Send")
    lab.wait_text(1, '"hot" is no number')
    lab.fill(1, "temperature", "0.25")
    shot(lab, "chat-edit")
    lab.click(1, "Send")
    wait_turns(lab, 2)
    lab.wait_for("() => !document.querySelector('.compose-chat').innerText.includes('hot')", "the problem to go")
    assert lab.eval(SEEN) == ["first", "second,\nmore precisely"]


def test_chats_and_sweeps_are_read_in_the_dark_on_a_phone_and_without_their_kernel(lab: Lab) -> None:
    cells = [
        LOAD,
        f"%%compose echo --chat -i delay=0\n{ECHO}",
        "words = ['So *it* is. ' * 40, 'b']\necho.sweep(prompt=words, temperature=[0, 1], delay=0.02)",
        "many = echo.sweep(prompt=[f'p{n} ' * 60 for n in range(30)], delay=0.2, at_once=3); many",
        "len(many.to_rows()), {row['status'] for row in many.to_rows()}",
        f"%%compose --sweep temperature=hot,0 -i prompt=x\n{ECHO}",
        f"%%compose --sweep temperature=1,0 --sweep prompt='\"a, b\",c' -i delay=0\n{ECHO}",
    ]
    lab.open(cells, "kept.ipynb")
    lab.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    lab.run(0)
    lab.run(1)
    ask(lab, 1, "Who?")
    wait_turns(lab, 1)
    lab.run(2)
    assert_side_by_side(lab)
    ask(lab, 1, "Why? " * 40)
    wait_turns(lab, 2)
    lab.wait_text(1, "it is written into `prompt`, as text")
    lab.wait_text(2, "4 combinations: 4 done")
    assert lab.dom_text(2).count("characters") == 4
    assert_readable(lab)
    show(lab, 2)
    shot(lab, "dark")
    lab.run(3)
    lab.wait_text(3, "p1 p1")
    lab.click(3, "Stop all")
    lab.wait_text(3, "stopped")
    lab.run(4)
    assert lab.dom_text(4).startswith("(30, {'")
    assert "'stopped'" in lab.dom_text(4)
    lab.run(5)
    assert '`temperature`: "hot" is no number' in lab.dom_text(5)
    lab.run(6)
    lab.wait_text(6, "4 combinations: 4 done")
    assert "prompt = a, b" in lab.dom_text(6)
    lab.wait_for("() => !document.querySelector('.compose-sweep')", "the widgets to be gone")
    narrow(lab)
    reopened(lab)
    lab.command("apputils:change-theme", {"theme": "JupyterLab Light"})


def assert_side_by_side(lab: Lab) -> None:
    """Four streams at the same time, two in a row."""
    lab.wait_for(
        f"() => {CARDS}.filter((one) => one.innerText.includes('So it is')).length === 2 && {CARDS}.length === 4",
        "the streams",
    )
    tops = lab.eval(f"() => {CARDS}.map((one) => Math.round(one.getBoundingClientRect().top))")
    assert tops[0] == tops[1] < tops[2] == tops[3]
    shot(lab, "sweep-streams")


def assert_readable(lab: Lab) -> None:
    """Text and what it stands on differ enough, in bubbles and cards."""
    lab.wait_for("() => document.body.dataset.jpThemeLight === 'false'", "the dark theme")
    for selector in (ASKED, ".compose-chat [aria-label='Answer'] p", ".jp-OutputArea b"):
        text, behind = lab.eval(SHADES, selector)
        assert abs(text - behind) > 0.4, selector


def narrow(lab: Lab) -> None:
    lab.page.set_viewport_size({"width": 430, "height": 900})
    lab.command("application:toggle-left-area")
    lab.wait_for("() => document.querySelector('.compose-chat').clientWidth < 400", "the narrow page")
    hidden = "() => { const box = document.querySelector('.compose-chat'); return box.scrollWidth - box.clientWidth; }"
    assert lab.eval(hidden) <= 1
    show(lab, 1)
    shot(lab, "narrow")
    lab.page.set_viewport_size({"width": 1280, "height": 900})


def reopened(lab: Lab) -> None:
    """Save, end the kernel, load the page again: everything can be read, once."""
    [copy] = [output["data"] for output in lab.save()["cells"][2]["outputs"]]
    assert sorted(copy) == ["text/html", "text/plain"]
    assert "".join(copy["text/plain"]).splitlines()[1].split()[:2] == ["prompt", "temperature"]
    for session in json.loads(lab._request("/api/sessions")):
        lab._request(f"/api/sessions/{session['id']}", "DELETE")
    lab.page.reload()
    # what can be seen of it: asked, echoed, and both told with the second question, which is echoed as well
    seen = "document.querySelectorAll('.jp-Cell-outputArea')[1]?.innerText ?? ''"
    copy = f"() => ({seen}).split('Who?').length === 5 && !document.querySelector('.compose-chat')"
    lab.wait_for(copy, "the copy", 60)
    text = lab.eval(f"() => {seen}")
    assert "widget" not in text
    assert "what was said stands below" not in text
    assert "4 combinations: 4 done" in lab.dom_text(2)
    assert "So it is." in lab.dom_text(2)
    show(lab, 1)
    shot(lab, "reopened")


def test_hostile_text_fires_nowhere_in_chats_and_sweeps(lab: Lab) -> None:
    words = f"{BAD} {LINKS}"
    cells = [
        f"{LOAD}\nfrom composemagic import load\necho, bad, words = load({ECHO!r}), load({hostile()!r}), {words!r}",
        "chat = echo.chat(delay=0); chat",
        "chat.restore([{'question': words, 'answer': words, 'status': words}])\nchat.say(words).status",
        "echo.sweep(prompt=[words, words * 2], delay=0)",
        "echo.sweep(prompt=[words], temperature=[0], delay=[0])",
        "asks = bad.chat(history=[{'role': words, 'content': words}]); asks",
        "asks.say(words).status",
        "bad.sweep(prompt=[words], history=[{'role': words}])",
    ]
    lab.open(cells, "hostile-chat.ipynb")
    lab.eval("() => { window.__fired = 0; }")
    lab.run_all()
    lab.wait_text(3, "2 combinations: 2 done")
    lab.wait_text(7, "1 combination: 1 done")
    ask(lab, 1, words)
    wait_turns(lab, 2)
    lab.click(1, "Export")
    lab.wait_for("() => document.querySelectorAll('.compose-chat textarea').length > 3", "the texts to copy")
    assert lab.eval(QUIET) == [0, []]
    for index in (1, 3, 4, 5, 7):
        assert "<script>" in lab.dom_text(index)
    lab.save()
    lab.page.reload()  # the kernel is still there, and the widgets with it
    lab.wait_for("() => document.querySelectorAll('.compose-chat').length === 2", "the chats to be back", 60)
    lab.wait_text(3, FIRE)
    assert lab.eval(TWICE, words) == 4  # three in one, one in the other
    assert lab.eval(QUIET) == [0, []]


def hostile() -> str:
    """A workflow whose title, description and labels are hostile as well."""
    words = f"{BAD} {LINKS}"
    label = f"@(title {BAD.split('(')[0]})"
    action = {"text": f"${{input.prompt}} ${{input.history as json}} ${{input.b as text | x {label}}}"}
    return json.dumps(
        {"workflow": {"title": words, "description": words, "job": {"component": {"type": "echo", "action": action}}}}
    )
