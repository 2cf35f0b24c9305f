"""What is typed right before a click counts: the page holds it back while an earlier change is on its way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import pytest

import composemagic
from composemagic.notebook.chat import Chat
from composemagic.notebook.settled import Settled
from tests.conftest import Kernel, started_kernel
from tests.page import Page

LETTER = """
workflow: {title: Letter}
component:
  type: echo
  action: {text: "for ${input.name as string}: ${input.facts as text | none} ${input.count as integer | 1}"}
"""
ASKS = """
workflow:
  title: Asks
  jobs:
    - {id: one, component: {type: echo, action: {text: "${input}"}}, input: first, interrupt: {before: true}}
"""


@pytest.fixture(scope="module")
def notebook() -> Iterator[Kernel]:
    with started_kernel() as kernel:
        kernel.execute("%load_ext composemagic\n%config ComposeMagics.language = 'en'")
        yield kernel


@pytest.fixture
def page(notebook: Kernel) -> Page:
    notebook.execute("from composemagic.notebook.remembered import forget; forget()")
    return Page.of(notebook)


def shows(page: Page, words: str) -> None:
    """Wait until the kernel shows these words."""
    page.until(lambda message: words in json.dumps(message["content"], ensure_ascii=False))


def value(page: Page, expression: str) -> Any:
    done = page.execute(f"import json; print(json.dumps({expression}))")
    assert done.error is None
    return json.loads(done.streams["stdout"])


def typed_and_run(page: Page) -> None:
    """Fill in a number that is none, run, mend it, and run again, faster than the kernel answers."""
    name, count, run = (page.find(description=words) for words in ("name *", "count", "Run"))
    page.type(name, "Ada")
    page.type(count, "many")
    page.click(run)
    page.type(count, "3")  # held back: the kernel has not said that it has taken "many"
    page.click(run)


def test_a_form_runs_with_what_was_typed_last(page: Page) -> None:
    page.execute(f"%%compose letter --form -o answer\n{LETTER}", cell="form")
    typed_and_run(page)
    shows(page, "✓ done")
    assert value(page, "answer.text") == "for Ada: none 3"
    assert not page.models[page.find(description="Run")]["disabled"]


def test_enter_runs_with_what_was_typed_last(page: Page) -> None:
    page.execute(f"%%compose letter --form -o answer\n{LETTER}", cell="form")
    name = page.find(description="name *")
    page.type(name, "A")
    page.type(name, "Ada")
    page.enter(name)
    page.enter(name)  # twice is once
    shows(page, "✓ done")
    assert value(page, "answer.text") == "for Ada: none 1"


def test_reset_takes_away_what_was_held_back(page: Page) -> None:
    page.execute(f"%%compose letter --form -o answer\n{LETTER}", cell="form")
    name = page.find(description="name *")
    page.type(name, "A")
    page.type(name, "Ada")
    page.click(page.find(description="Reset"))
    page.until(lambda message: page.models[name]["value"] == "")
    assert value(page, "get_ipython().magics_manager.registry['ComposeMagics'].faces['form'].values()") == {
        "name": "",
        "facts": "none",
        "count": 1,
    }


def test_each_tab_runs_with_its_own(page: Page) -> None:
    page.execute(f"%%compose letter --check\n{LETTER}")
    page.execute("from composemagic.notebook.forms import Forms\nforms = Forms([letter, letter]); forms")
    typed_and_run(page)
    shows(page, "✓ done")
    assert value(page, "[form.run and form.run.text for form in forms.forms]") == [None, "for Ada: none 3"]


def answered(page: Page, words: str) -> None:
    """Wait until a chat shows these words and takes the next question."""
    shows(page, words)
    stop = page.find(description="Stop")
    page.until(lambda message: page.models[stop]["disabled"])


def test_a_chat_is_asked_what_was_typed_last(page: Page) -> None:
    page.execute(f"%%compose letter --check\n{LETTER}")
    page.execute("chat = letter.chat(name='Ada'); chat")
    line, settings = page.find(_model_name="TextModel", description=""), page.find(description="count")
    page.type(settings, "1")
    page.type(settings, "2")
    for words in ("W", "Wh", "Who?"):
        page.type(line, words)
    page.enter(line)
    answered(page, "for Ada: Who? 2")
    assert value(page, "[chat.turns[0].question, chat.turns[0].answer]") == ["Who?", "for Ada: Who? 2"]
    page.type(line, "a")
    page.type(line, "again")
    page.click(page.find(description="Send"))
    answered(page, "User: again 2")
    page.click(page.find(icon="pencil"))
    page.until(lambda message: page.models[line]["value"] == "again")
    page.type(line, "")
    page.type(line, "better")
    page.click(page.find(description="Send"))
    answered(page, "User: better 2")
    assert value(page, "[turn.question for turn in chat.turns]") == ["Who?", "better"]


def test_a_question_is_answered_with_what_was_typed_last(page: Page) -> None:
    page.execute(f"%%compose --background -o asked\n{ASKS}")
    page.until(lambda message: any(one.get("description") == "Go on" for one in page.models.values()))
    area = page.find(_model_name="TextareaModel", value="first")
    page.type(area, "second")
    page.type(area, "third")
    page.click(page.find(description="Go on"))
    shows(page, "✓ done")
    assert value(page, "asked.text") == "third"


def test_a_page_that_does_not_answer_is_not_waited_for(page: Page) -> None:
    page.answers = False
    page.execute(f"%%compose letter --form -o answer\n{LETTER}", cell="form")
    typed_and_run(page)
    shows(page, "is no whole number")


def test_a_page_that_answers_no_more_is_not_waited_for_for_ever(page: Page) -> None:
    page.execute("from composemagic.notebook import settled\nsettled._PATIENCE = 0.1")
    page.execute(f"%%compose letter --form -o answer\n{LETTER}", cell="form")
    page.execute("")  # its first answer has been heard
    page.answers = False
    page.type(page.find(description="name *"), "Ada")
    page.click(page.find(description="Run"))
    shows(page, "✓ done")
    assert value(page, "answer.text") == "for Ada: none 1"
    assert not page.models[page.find(description="Run")]["disabled"]
    page.execute("settled._PATIENCE = 1000")
    page.click(page.find(description="Run"))  # nobody is waited for any more
    shows(page, "✓ done")


def test_a_click_that_fails_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.notebook.settled._PATIENCE", 1000)
    settled = Settled()
    settled._answer.value = "1"  # a page is there
    first, second, done = widgets.Button(), widgets.Button(), list[str]()

    def fail() -> None:
        raise ValueError("no")

    settled.then(fail, first)
    settled.then(lambda: done.append("second"), second)
    assert (first.disabled, second.disabled, done) == (True, True, [])
    with pytest.raises(ValueError, match="no"):
        settled._answer.value = "3"  # for both at once
    assert (first.disabled, second.disabled, done) == (False, False, ["second"])
    settled.close()


# -- what is typed while a cell runs


@pytest.mark.parametrize("part", ["_line", "_area", "t"])
def test_an_echo_does_not_pin_what_a_chat_hears(part: str) -> None:
    from composemagic.notebook.chatbox import ChatBox

    yaml = "component: {type: echo, action: {text: '${input.prompt as text} ${input.t as text | x}'}}"
    box = ChatBox(Chat(composemagic.load(yaml)))
    stays_unpinned(box._settings.fields["t"].widget if part == "t" else getattr(box, part))


def test_an_echo_does_not_pin_a_field_of_a_form_or_a_question() -> None:
    from composemagic.notebook.ask import _editor
    from composemagic.notebook.form import Form

    stays_unpinned(Form(composemagic.load("component: {type: echo, text: '${input.x as text}'}")).fields["x"].widget)
    stays_unpinned(_editor("{}"))


def stays_unpinned(field: Any) -> None:
    for value in ("one", "two", "two"):  # from the page; a change back and forth may end with what the kernel has
        field.comm._reply_subshell_id = "main"  # as ipykernel does when the change is echoed
        field.comm.handle_msg({"content": {"data": {"method": "update", "state": {"value": value}}}})
        assert field.value == value
        assert not hasattr(field.comm, "_reply_subshell_id")
    field.comm._reply_subshell_id = "main"
    field.value = "three"
    assert not hasattr(field.comm, "_reply_subshell_id")


def test_idle_is_said_for_each_message_beside_an_awaited_cell(notebook: Kernel) -> None:
    """Also for one that changes nothing: the page holds the next one back for it. Otherwise ipykernel says it, once."""
    notebook.execute(
        "import asyncio, ipywidgets\nfrom composemagic.notebook.widget import heard\n"
        "field, over = heard(ipywidgets.Text()), asyncio.Event()\n"
        "field.observe(lambda change: change['new'] == 'over' and over.set(), 'value')"
    )
    client = notebook.client
    model = notebook.execute("print(field.model_id)").streams["stdout"].strip()

    def typed(value: str) -> int:
        """How often the kernel says idle for a change, before it has said something to a message behind it."""
        data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
        message = client.session.msg("comm_msg", {"comm_id": model, "data": data})
        client.shell_channel.send(message)
        found = 0
        behind = client.session.msg("comm_msg", {"comm_id": model, "data": {**data, "state": {"value": "behind"}}})
        client.shell_channel.send(behind)
        while True:
            said = client.get_iopub_msg(timeout=60)
            parent = said["parent_header"].get("msg_id")
            is_idle = said["content"].get("execution_state") == "idle"
            found += is_idle and parent == message["header"]["msg_id"]
            if is_idle and parent == behind["header"]["msg_id"]:
                return found

    assert typed("a") == 1
    cell = notebook.submit("print('awaits'); await over.wait()")
    while client.get_iopub_msg(timeout=60)["content"].get("text") != "awaits\n":
        pass
    assert [typed(value) for value in ("b", "behind", "behind", "over")] == [1, 1, 1, 1]
    reply = notebook._reply(cell, time.monotonic() + 60)["content"]
    assert reply["status"] == "ok", reply
