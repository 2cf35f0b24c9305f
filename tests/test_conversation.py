"""Conversations without a notebook: where a question goes, what is told of the turns before, and what becomes of turns."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

import composemagic
from composemagic.conversation import Conversation, Turn
from composemagic.engine.run import Run
from composemagic.errors import InputError, RunError, UsageError
from composemagic.notebook.chat import Chat
from composemagic.workflow.way import Way, way_of
from tests.conftest import ROOT
from tests.servers.chat import ChatServer
from tests.waiting import until

if TYPE_CHECKING:
    from composemagic.notebook.chatbox import ChatBox

SECONDS = 30


def workflow(value: Any, **more: Any) -> composemagic.Workflow:
    """A workflow that gives back what it is asked with."""
    action = {"value": value, **more}
    return composemagic.load(json.dumps({"workflow": {"title": "Talk", "job": {"component": {"type": "echo", "action": action}}}}))  # fmt: skip


def asked(chat: Conversation) -> Any:
    """What the last run was given."""
    run = chat.turns[-1].run
    assert run is not None
    return run.input


# -- which inputs take the question and what was said before

WAYS = {
    "messages": ("${input.messages}", [], Way(None, "messages")),
    "messages beside settings": ("${input.messages} ${input.temperature as number | 1}", [], Way(None, "messages")),
    "messages beside a text that is no question": (
        "${input.messages} ${input.model as text}",
        [],
        Way(None, "messages"),
    ),
    "messages and a prompt": ("${input.messages} ${input.prompt as text}", [], Way("prompt", "messages")),
    "messages as text": ("${input.messages as text}", [], Way(None, "messages", as_text=True)),
    "a history to spread": (["...${input.history}", "${input.prompt}"], [], Way("prompt", "history")),
    "a history and the only text": ("${input.history as json} ${input.topic}", [], Way("topic", "history")),
    "a history as text": ("${input.history as text} ${input.q}", [], Way("q", "history", as_text=True)),
    "chat_history": ("${input.chat_history} ${input.question}", [], Way("question", "chat_history")),
    "conversation": ("${input.conversation} ${input.text}", [], Way("text", "conversation")),
    "a path": ("${input.chat.messages}", [], Way(None, "chat.messages")),
    "only a prompt": ("${input.prompt}", [], Way("prompt", None)),
    "a prompt among texts": ("${input.topic} ${input.prompt}", [], Way("prompt", None)),
    "prompt before text": ("${input.text} ${input.prompt}", [], Way("prompt", None)),
    "a question": ("${input.Question as text}", [], Way("Question", None)),
    "the only text that must be given": ("${input.topic} ${input.style | plain}", [], Way("topic", None)),
    "the only text": ("${input.topic | dogs} ${input.count as integer}", [], Way("topic", None)),
    "the only one that was not given": ("${input.topic} ${input.reader}", ["reader"], Way("topic", None)),
    "the whole input": ("${input}", [], Way("", None)),
    "a list is no question": ("${input.prompt as text[]} ${input.topic}", [], Way("topic", None)),
}


@pytest.mark.parametrize("name", WAYS)
def test_where_a_question_goes(name: str) -> None:
    value, given, expected = WAYS[name]
    assert way_of(workflow(value).inputs, given) == expected


NO_WAYS = {
    "nothing is asked": ("x", "this workflow asks for no text, so there is nothing to say to it"),
    "no text is asked": ("${input.count as integer}", "this workflow asks for no text, so there is nothing to say to it"),
    "two texts": (
        "${input.topic} ${input.reader}",
        "any of `topic`, `reader` could be the question; give the others a value, as in `chat(reader=...)`, "
        "or call it `prompt`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_WAYS)
def test_what_no_question_can_be_said_to(name: str) -> None:
    value, sentence = NO_WAYS[name]
    with pytest.raises(UsageError, match=re.escape(sentence)):
        Conversation(workflow(value))


# -- what is told

TOLD = {
    "messages": (
        "${input.messages}",
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "SAID"}, {"role": "user", "content": "And?"}]},
    ),
    "history": (
        "${input.history as json} ${input.prompt}",
        {"history": [], "prompt": "Hi"},
        {"history": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "SAID"}], "prompt": "And?"},
    ),
    "history as text": (
        "${input.history as text} ${input.prompt}",
        {"history": "", "prompt": "Hi"},
        {"history": "User: Hi\n\nAssistant: SAID", "prompt": "And?"},
    ),
    "none": (
        "${input.prompt}",
        {"prompt": "Hi"},
        {"prompt": "User: Hi\n\nAssistant: SAID\n\nUser: And?"},
    ),
    "messages as text": (
        "${input.messages as text}",
        {"messages": "User: Hi"},
        {"messages": "User: Hi\n\nAssistant: SAID\n\nUser: And?"},
    ),
    "a path": ("${input.a.prompt}", {"a": {"prompt": "Hi"}}, {"a": {"prompt": "User: Hi\n\nAssistant: SAID\n\nUser: And?"}}),
    "the whole input": ("${input}", "Hi", "User: Hi\n\nAssistant: SAID\n\nUser: And?"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_what_a_model_is_told(name: str) -> None:
    value, first, second = TOLD[name]
    chat = Conversation(workflow(value))
    chat.say("Hi")
    assert asked(chat) == first
    chat.turns = [Turn("Hi", said="SAID")]
    chat.say("And?")
    assert asked(chat) == second


def test_what_it_begins_with_is_told_each_time() -> None:
    system = {"role": "system", "content": "Be short."}
    chat = Conversation(workflow("${input.messages}"), {"messages": [system]})
    chat.say("Hi")
    assert asked(chat) == {"messages": [system, {"role": "user", "content": "Hi"}]}
    chat.clear()
    chat.say("Ho")
    assert asked(chat)["messages"][0] == system
    with pytest.raises(UsageError, match="what a conversation begins with is a list such as"):
        Conversation(workflow("${input.messages}"), {"messages": "Be short."})


def test_that_it_remembers_in_the_prompt_is_said() -> None:
    sentence = "this workflow has no input for what was said before: it is written into `prompt`, as text"
    assert Conversation(workflow("${input.prompt}")).note == sentence
    assert "`" not in Conversation(workflow("${input}")).note
    assert Conversation(workflow("${input.messages}")).note == ""


def test_a_question_given_before_is_a_draft() -> None:
    chat = Conversation(workflow("${input.prompt} ${input.x | 1}"), {"prompt": "Hello", "x": 2})
    assert (chat.draft, chat.values) == ("Hello", {"x": 2})


ANSWERS = {
    "a text": ("${input.prompt}", "Hi"),
    "a message": ({"role": "assistant", "content": "Ho", "x": "${input.prompt}"}, "Ho"),
    "messages, as of an agent": (
        [
            {"role": "user", "content": "${input.prompt}"},
            {"role": "assistant", "content": [{"type": "text", "text": "Let me "}, {"type": "text", "text": "see."}]},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": [{"type": "text", "text": "It is 42."}]},
        ],
        "It is 42.",
    ),
    "messages that end in a call": (
        [
            {"role": "user", "content": "${input.prompt}"},
            {"role": "assistant", "content": "I look."},
            {"role": "assistant", "content": [{"type": "tool_call", "name": "look"}]},
        ],
        "I look.",
    ),
    "messages without the assistant": ([{"role": "user", "content": "${input.prompt}"}], ""),
    "an object": ({"answer": "${input.prompt}"}, '{"answer":"Hi"}'),
    "a list": (["${input.prompt}"], '["Hi"]'),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_what_was_said(name: str) -> None:
    value, expected = ANSWERS[name]
    chat = Conversation(workflow(value))
    chat.say("Hi")
    assert re.sub(r"\s", "", chat.turns[0].answer) == re.sub(r"\s", "", expected)


# -- turns

MODEL = """
workflow:
  title: A model
  job:
    component:
      type: http-client
      base_url: BASE
      action:
        path: /v1/chat/completions
        method: POST
        body: {model: any, temperature: "${input.temperature as number | 1}", messages: "${input.messages}", stream: true}
        stream_format: json
        output: ${response[].choices[0].delta.content}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer() as found:
        yield found


def model(server: ChatServer, *texts: str) -> composemagic.Workflow:
    server.requests.clear()
    return composemagic.load(MODEL.replace("BASE", server.plays("talk", *({"text": text} for text in texts))))


def sent(server: ChatServer) -> list[list[tuple[str, str]]]:
    return [[(one["role"], one["content"]) for one in request["messages"]] for request in server.requests]


def test_a_conversation_with_a_model(server: ChatServer) -> None:
    kept: list[Run] = []
    chat = Conversation(model(server, "Hello.", "I am a server.", "No."), keep=kept.append)
    assert chat.say("Hi").text == "Hello."
    assert chat.say("Who are you?", temperature=0).text == "I am a server."
    assert asyncio.run(chat.asay("Sure?")).text == "No."
    first, second = ("user", "Hi"), ("assistant", "Hello.")
    assert sent(server)[1] == [first, second, ("user", "Who are you?")]
    assert sent(server)[2][:3] == [first, second, ("user", "Who are you?")]
    assert [request["temperature"] for request in server.requests] == [1, 0, 1]
    assert [turn.question for turn in chat.turns] == ["Hi", "Who are you?", "Sure?"]
    assert [turn.status for turn in chat.turns] == ["done"] * 3
    assert kept == [turn.run for turn in chat.turns]
    assert repr(chat) == "<Conversation with 'A model': 3 turns>"
    assert repr(chat.turns[0]) == "<Turn 'Hi': done, 6 characters>"


def test_retry_and_edit_cut_and_keep_the_branch_in_the_log(server: ChatServer) -> None:
    chat = Conversation(model(server, "one", "two", "three"))
    for question in ("a", "b", "c"):
        chat.say(question, temperature=0)
    finished(chat.retry())
    assert sent(server)[-1] == sent(server)[-2]
    assert server.requests[-1]["temperature"] == 0
    assert [turn.question for turn in chat.turns] == ["a", "b", "c"]
    finished(chat.edit(1, "B"))
    assert [turn.question for turn in chat.turns] == ["a", "B"]
    assert sent(server)[-1] == [("user", "a"), ("assistant", "one"), ("user", "B")]
    assert [turn.question for turn in chat.log] == ["a", "b", "c", "c", "B"]
    chat.clear()
    assert (chat.turns, len(chat.log)) == ([], 5)
    chat.say("again")
    assert sent(server)[-1] == [("user", "again")]


def finished(turn: Turn) -> Run:
    assert turn.run is not None
    assert turn.run.wait(SECONDS)
    return turn.run


def stopped_in_the_middle(server: ChatServer, chat: Conversation) -> Turn:
    """A turn that is stopped once a part of its answer has come."""
    return stopped_by(server, chat, chat.stop)


def stopped_by(server: ChatServer, chat: Conversation, stop: Callable[[], object]) -> Turn:
    server.hold = threading.Event()
    turn = chat.ask("Tell me")
    assert turn.run is not None
    for _ in turn.run:
        if turn.run.text:
            break
    stop()
    finished(turn)
    server.hold.set()
    server.hold = None
    return turn


def test_a_stopped_answer_is_told_only_to_who_goes_on(server: ChatServer) -> None:
    chat = Conversation(model(server, "a long, long answer"))
    turn = stopped_in_the_middle(server, chat)
    part = turn.answer
    assert turn.status == "stopped"
    assert "a long, long answer".startswith(part) and part
    finished(chat.retry())
    assert sent(server)[-1] == [("user", "Tell me")]
    stopped_in_the_middle(server, chat)
    part = chat.turns[-1].answer
    finished(chat.ask("Go on"))
    assert sent(server)[-1][-3:] == [("user", "Tell me"), ("assistant", part), ("user", "Go on")]


def test_a_failed_turn_without_an_answer_is_left_out(server: ChatServer) -> None:
    chat = Conversation(model(server, "yes"))
    broken = Conversation(composemagic.load(MODEL.replace("BASE", "http://127.0.0.1:1")))
    with pytest.raises(RunError, match="Nothing listens"):
        broken.say("lost")
    assert [turn.status for turn in broken.turns] == ["failed"]
    chat.turns = broken.turns
    chat.say("Still there?")
    assert sent(server)[-1] == [("user", "Still there?")]


def test_only_one_answer_comes_at_a_time(server: ChatServer) -> None:
    chat = Conversation(model(server, "a long, long answer"))
    server.hold = threading.Event()
    turn = chat.ask("Tell me")
    acts: list[Callable[[], object]] = [lambda: chat.say("Hm?"), chat.retry, lambda: chat.restore([])]
    for act in acts:
        with pytest.raises(UsageError, match="the last answer is still on its way"):
            act()
    chat.clear()
    server.hold.set()
    server.hold = None
    assert finished(turn).status == "stopped"
    assert chat.turns == []


BAD_QUESTIONS: dict[str, tuple[Callable[[Conversation], object], type[Exception], str]] = {
    "empty": (lambda chat: chat.say(""), InputError, "there is no question"),
    "blank": (lambda chat: chat.say(" \n"), InputError, "there is no question"),
    "no text": (lambda chat: chat.say(5), InputError, "there is no question"),  # type: ignore[arg-type]
    "a value that does not fit": (lambda chat: chat.say("x", temperature="hot"), InputError, '"hot" is no number'),
    "a value given before that does not fit": (
        lambda chat: Conversation(chat.workflow, {"temperature": "hot"}),
        InputError,
        '"hot" is no number',
    ),
    "a typo": (
        lambda chat: Conversation(chat.workflow, {"temprature": 1}),
        InputError,
        "does not ask for `temprature`",
    ),
    "nothing to try again": (lambda chat: chat.retry(), UsageError, "there is no such turn; there are 0"),
    "nothing to edit": (lambda chat: chat.edit(3, "x"), UsageError, "there is no such turn"),
    "no turns to restore": (lambda chat: chat.restore([5]), UsageError, "a turn is a mapping"),  # type: ignore[list-item]
    "no question to restore": (lambda chat: chat.restore([{"answer": "x"}]), UsageError, "a turn is a mapping"),
}


@pytest.mark.parametrize("name", BAD_QUESTIONS)
def test_what_cannot_be_asked(name: str, server: ChatServer) -> None:
    act, kind, sentence = BAD_QUESTIONS[name]
    chat = Conversation(model(server, "yes"))
    with pytest.raises(kind, match=re.escape(sentence)):
        act(chat)
    assert (chat.turns, chat.log, server.requests) == ([], [], [])


# -- taking it along


def test_a_conversation_goes_to_json_and_back(server: ChatServer) -> None:
    chat = Conversation(
        model(server, "Hello.", "é 中 </script>"), {"temperature": 0.5, "api_key": "sk-0123456789abcdefghij"}
    )
    chat.say("Hi")
    chat.say('"quotes"\nand lines', temperature=0)
    told = json.loads(chat.to_json())
    assert "sk-0123" not in chat.to_json()
    assert (told["workflow"], told["values"], told["before"]) == ("A model", {"temperature": 0.5}, [])
    first, second = told["turns"]
    assert first["seconds"] > 0
    assert (first["question"], first["answer"], first["status"]) == ("Hi", "Hello.", "done")
    assert second["values"] == {"temperature": 0}
    other = Conversation(model(server, "Hello.", "x", "third"))
    other.restore(told["turns"])
    assert [(turn.question, turn.answer, turn.status, turn.is_over) for turn in other.turns] == [
        (turn.question, turn.answer, "done", True) for turn in chat.turns
    ]
    assert other.say("More").text == "third"
    assert sent(server)[-1][3] == ("assistant", "é 中 </script>")
    assert json.loads(other.to_json())["turns"][0] == {"question": "Hi", "answer": "Hello.", "status": "done"}


def test_a_conversation_goes_into_cells_that_go_on(server: ChatServer, tmp_path: Any) -> None:
    chat = Conversation(
        model(server, 'It\'s """quoted""" \\n {x}', "and on"), {"temperature": 0.5, "messages": [{"role": "system", "content": "S"}]}
    )  # fmt: skip
    chat.say("Hi\nthere")
    first, second = chat.to_cells()
    line, _, yaml = first.partition("\n")
    assert line == "%%compose chat --check"
    (tmp_path / "cell.yml").write_text(yaml, encoding="utf-8")
    load = composemagic.load(yaml)
    load.chat = lambda **values: Conversation(load, values)  # type: ignore[attr-defined]
    scope: dict[str, Any] = {"chat": load}
    exec(second, scope)
    again = scope["conversation"]
    assert [(turn.question, turn.answer) for turn in again.turns] == [
        (turn.question, turn.answer) for turn in chat.turns
    ]
    assert (again.values, again.before) == (chat.values, chat.before)
    again.say("more")
    assert sent(server)[-1][0] == ("system", "S")


def test_cells_name_the_workflow_where_there_are_several() -> None:
    text = """
workflows:
- {id: one, title: One, job: {component: {type: echo, action: {text: "1 ${input.prompt}"}}}}
- {id: two, title: Two, job: {component: {type: echo, action: {text: "2 ${input.prompt}"}}}}
"""
    chat = Conversation(composemagic.load(text, "two"))
    line, _, yaml = chat.to_cells()[0].partition("\n")
    assert line == "%%compose chat -w two --check"
    assert Conversation(composemagic.load(yaml, "two")).say("x").text == "2 x"


# -- in plain Python


def test_the_chat_of_a_terminal_needs_no_notebook() -> None:
    code = (
        "import sys, composemagic\n"
        "from composemagic.notebook.chat import Chat\n"
        "w = composemagic.load('workflow: {title: T, job: {component: {type: echo, action: {text: \"you said ${input.prompt}\"}}}}')\n"
        "chat = Chat(w)\n"
        "print(chat.say('hi').text)\n"
        "print(chat)\n"
        "assert not {'IPython', 'ipywidgets', 'markdown_it'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LANGUAGE": "en"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = "you said hi\nT\n\nUser: hi\n\nAssistant: you said hi\n\nSay something with `.say(...)`."
    assert done.stdout.strip() == said


def test_an_empty_chat_says_so() -> None:
    assert "Nothing has been said yet." in str(Chat(workflow("${input.prompt}")))


def test_who_reads_along_hears_of_turns(server: ChatServer) -> None:
    """What a face overrides is called in the thread that asks, and after the turn is there."""

    class Heard(Conversation):
        heard: list[Any]

        def _began(self, turn: Turn) -> None:
            self.heard.append((turn is self.turns[-1], threading.current_thread()))

        def _changed(self) -> None:
            self.heard.append(len(self.turns))

    chat = Heard(model(server, "yes"))
    chat.heard = []
    chat.say("Hi")
    chat.clear()
    chat.restore([{"question": "q", "answer": "a"}])
    assert chat.heard == [(True, threading.current_thread()), 0, 1]


# -- the widgets, without a kernel


@pytest.fixture
def boxed(server: ChatServer) -> tuple[Chat, ChatBox]:
    chat = Chat(model(server, "one", "two", "three"))
    return chat, shown(chat)


def shown(chat: Chat) -> ChatBox:
    from composemagic.notebook.chatbox import ChatBox

    chat._put_away()
    chat._box = ChatBox(chat)
    return chat._box


def send(box: ChatBox, question: str) -> None:
    box._line.value = question
    box._on_key(None, {"event": "submit"}, None)
    finished(box.chat.turns[-1])


def told_by(box: ChatBox) -> list[tuple[str, str]]:
    """The questions and the answers that the widgets show, without what is around them."""
    return [(text_of(one.asked.value), text_of(one.answer.value).split(" ✓ ")[0]) for one in box._shown]


def text_of(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_what_is_typed_is_asked_and_shown(boxed: tuple[Chat, ChatBox]) -> None:
    chat, box = boxed
    box._line.value = "  "
    box._on_send(None)
    assert chat.turns == []
    send(box, "a <b>")
    assert box._line.value == ""
    assert told_by(box) == [("a &lt;b&gt;", "one")]
    assert (box._send.disabled, box._stop.disabled, box._retry.disabled) == (False, True, False)
    assert box._turns.children == (box._shown[0].box,)


@pytest.mark.parametrize("place", [0, 1])
def test_a_turn_is_edited_where_it_stands(boxed: tuple[Chat, ChatBox], place: int) -> None:
    chat, box = boxed
    send(box, "a")
    send(box, "b")
    box._on_edit(chat.turns[place])
    assert box._line.value == "ab"[place]
    assert "takes the place of this question" in box._status.value
    assert box._acts.children == (box._cancel, box._status)
    send(box, "other")
    assert [turn.question for turn in chat.turns] == [*["a", "b"][:place], "other"]
    assert box._acts.children[0] is box._retry
    box._on_edit(chat.turns[-1])
    box._on_cancel(None)
    assert (box._line.value, box._status.value, box._editing) == ("", "", None)


def test_what_is_edited_and_gone_is_asked_as_a_new_question(boxed: tuple[Chat, ChatBox]) -> None:
    chat, box = boxed
    send(box, "a")
    box._on_edit(chat.turns[0])
    chat.clear()
    send(box, "b")
    assert [question for question, _ in told_by(box)] == ["b"]


def test_an_answer_that_ends_before_its_chat_is_shown_is_in_the_copy(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is displayed by the cell, after the widgets; what the private loop's thread displays belongs to no cell."""
    from composemagic.notebook import chatbox, place

    told: list[tuple[threading.Thread, str, bool]] = []

    def display(data: Any, *, update: bool = False, **_: Any) -> None:
        told.append((threading.current_thread(), data.get("text/plain", ""), update))

    monkeypatch.setattr(place, "display", display)
    monkeypatch.setattr(chatbox, "display", display)
    chat = Chat(model(server, "the answer"))
    server.hold = threading.Event()
    turn = chat.ask("first")
    box = shown(chat)
    server.hold.set()
    server.hold = None
    finished(turn)
    assert told_by(box) == [("first", "the answer")]
    assert told == []
    box.show()
    (here, _, first), (same, copy, second) = told
    assert here is same is threading.current_thread() and not (first or second)
    assert "the answer" in copy


def test_a_chat_that_is_closed_leaves_no_widgets(server: ChatServer) -> None:
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    chat = Chat(model(server, "one", "two"))
    send(shown(chat), "a")
    shown(chat)
    chat.clear()
    send(shown(chat), "b")
    chat.close()
    assert set(_instances) <= before


def test_a_second_question_while_one_is_answered_is_kept_in_its_line(server: ChatServer) -> None:
    chat = Chat(model(server, "a long, long answer"))
    box = shown(chat)
    server.hold = threading.Event()
    turn = chat.ask("first")
    assert (box._send.disabled, box._stop.disabled) == (True, False)
    box._line.value = "second"
    box._on_send(None)
    assert "the last answer is still on its way" in box._status.value
    assert box._line.value == "second"
    again = shown(chat)  # displayed a second time: it follows what goes on
    assert again._stop.disabled is False
    server.hold.set()
    server.hold = None
    finished(turn)
    assert told_by(again)[0][1] == "a long, long answer"
    assert again._stop.disabled is True


def test_an_answer_cleared_away_ends_without_touching_the_next(server: ChatServer) -> None:
    chat = Chat(model(server, "a long, long answer"))
    box = shown(chat)
    server.hold = threading.Event()
    first = chat.ask("first")
    box._on_clear(None)
    finished(first)
    assert (box._shown, box._send.disabled) == ([], False)
    second = chat.ask("second")
    assert box._send.disabled is True
    server.hold.set()
    server.hold = None
    finished(second)
    assert [question for question, _ in told_by(box)] == ["second"]


def test_closing_keeps_what_there_was(server: ChatServer) -> None:
    chat = Chat(model(server, "a long, long answer"))
    box = shown(chat)
    turn = stopped_by(server, chat, chat.close)
    assert turn.status == "stopped"
    copy = box._copy()
    assert "■ stopped" in copy["text/plain"]
    assert turn.answer and turn.answer in copy["text/plain"]


ASKING = """
workflow:
  job:
    component: {type: echo, action: {text: "${input.prompt}"}}
    interrupt: {before: {message: Sure?}}
"""


def test_what_a_run_asks_is_answered_in_its_turn() -> None:
    chat = Chat(composemagic.load(ASKING))
    box = shown(chat)
    turn = chat.ask("Hi")
    assert turn.run is not None
    for event in turn.run:
        if isinstance(event, composemagic.Interrupted):
            until(lambda: len(box._shown[0].box.children) == 3)  # the chat hears of it on a thread of its own
            turn.run.answer()
    until(lambda: len(box._shown[0].box.children) == 2)
    assert turn.answer == "Hi"


def test_an_interrupt_before_the_wait_stops_the_answer() -> None:
    def interrupted(run: Run) -> None:
        if not chat.turns[:-1]:
            raise KeyboardInterrupt

    chat = Conversation(composemagic.load("component: {type: echo, text: '${input.q}'}"), keep=interrupted)
    with pytest.raises(KeyboardInterrupt):
        chat.say("Hi")
    assert chat.turns[0].run is not None and chat.turns[0].run.wait(SECONDS) and chat.turns[0].status == "stopped"
    assert chat.say("And now?").status == "done"
