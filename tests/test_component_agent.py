"""`type: agent`: the loop against a model that plays from a script, over the wire: what is sent, what runs, what comes out."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

import composemagic
from composemagic import Run, RunError
from composemagic.components import agent
from composemagic.components.agent import shapes
from composemagic.engine.asking import choices, question
from composemagic.engine.events import Delta, Interrupted, Point, RunFinished
from tests.component_examples import documented, example, mistakes, notes
from tests.conftest import ROOT, EchoServer
from tests.servers.chat import ChatServer

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
WHOLE = {
    "openai": "${response.choices[0].message}",
    "anthropic": "${response.content}",
    "ollama": "${response.message}",
}
STREAMED = {"openai": "${response[].choices[0].delta}", "anthropic": "${response[]}", "ollama": "${response[]}"}

WORKFLOWS = """
  - id: add-up
    private: true
    name: add
    description: Add two numbers.
    job:
      component: {type: echo, value: {sum: "${input.a as integer @(description the first)}", and: "${input.b as integer | 5}"}}
"""


@pytest.fixture
def model() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


def document(
    base: str,
    *,
    tools: str = "[add-up]",
    more: str = "",
    action: str = "",
    of: str = "openai",
    stream: bool = False,
    others: str = WORKFLOWS,
    given: str = "{messages: '${messages}', tools: '${tools}'}",
    output: str | None = None,
) -> str:
    how = (
        "stream: true, messages: '${input.messages}', tools: '${input.tools}'"
        if stream
        else "messages: '${input.messages}', tools: '${input.tools}'"
    )
    formatted = "stream_format: json" if stream else "x-not: streamed"
    return f"""
workflows:
  - id: main
    default: true
    job: {{component: helper}}
{others}
components:
  - id: helper
    type: agent
    instructions: be brief
    tools: {tools}
    {more}
    model: {{component: chat, input: {given}}}
    action:
      prompt: ${{input.q}}
      {action}
  - id: chat
    type: http-client
    base_url: {base}
    action:
      path: {PATHS[of]}
      body: {{{how}}}
      {formatted}
      output: {output or (STREAMED if stream else WHOLE)[of]}
"""


def ran(yaml: str, value: Any = None, **options: Any) -> Run:
    run = composemagic.load(yaml, **options).start({"q": "hi"} if value is None else value)
    assert run.wait(60)
    return run


def said(yaml: str, **options: Any) -> Any:
    run = ran(yaml, **options)
    assert run.error is None, run.error
    return run.output


def blocks(messages: list[Any], kind: str) -> list[Any]:
    return [
        block
        for one in messages
        if isinstance(one["content"], list)
        for block in one["content"]
        if block["type"] == kind
    ]


def results(messages: list[Any]) -> list[Any]:
    return [(block["content"], block.get("is_error", False)) for block in blocks(messages, "tool_result")]


SUM = ({"text": "I add.", "calls": [("add", {"a": 1, "b": 2})]}, {"text": "It is 3."})


# -- every provider, whole and streamed


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("of", PATHS)
def test_a_tool_is_called_and_its_result_told(model: ChatServer, of: str, stream: bool) -> None:
    """The server refuses what its provider would: see tests/servers/chat.py."""
    messages = said(document(model.plays("m", *SUM), of=of, stream=stream))
    call = {"type": "tool_call", "id": messages[2]["content"][1]["id"], "name": "add", "arguments": {"a": 1, "b": 2}}
    assert messages == [
        {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I add."}, call], **_kept(messages[2])},
        {"role": "tool", "content": [{"type": "tool_result", "id": call["id"], "content": '{"sum": 1, "and": 2}'}]},
        {"role": "assistant", "content": "It is 3.", **_kept(messages[4])},
    ]
    assert call["id"] and len(model.requests) == 2


def _kept(message: Any) -> dict[str, Any]:
    """What a provider says besides stays in its message."""
    return {key: value for key, value in message.items() if key not in ("role", "content")}


@pytest.mark.parametrize("of", PATHS)
def test_calls_of_one_answer_belong_to_their_results(model: ChatServer, of: str) -> None:
    calls = [("add", {"a": number, "b": 0}) for number in (1, 2, 3)]
    for stream in (False, True):
        messages = said(document(model.plays("m", {"calls": calls}, {"text": "done"}), of=of, stream=stream))
        assert [one["arguments"]["a"] for one in blocks(messages, "tool_call")] == [1, 2, 3]
        assert results(messages) == [(f'{{"sum": {number}, "and": 0}}', False) for number in (1, 2, 3)]
        assert len({one["id"] for one in blocks(messages, "tool_call")}) == 3


MAPPED = """
        messages:
          "*": ${messages}
          "...": ${item}
          tool_calls:
            "*": ${item.tool_calls}
            id: ${item.id}
            type: function
            function: {name: "${item.name}", arguments: "${item.arguments}"}
        tools: {"*": "${tools}", type: function, function: "${item}"}
      output:
        role: ${output.role}
        content: ${output.content}
        tool_calls:
          "*": ${output.tool_calls}
          id: ${item.id}
          name: ${item.function.name}
          arguments: ${item.function.arguments}
"""


def test_the_mapping_of_model_compose_s_examples(model: ChatServer) -> None:
    """They write OpenAI's shapes by hand; that comes to the same requests."""
    yaml = document(model.plays("m", *SUM))
    begin, end = yaml.index("    model: {component: chat"), yaml.index("    action:\n      prompt")
    by_hand = f"{yaml[:begin]}    model:\n      component: chat\n      input:{MAPPED}{yaml[end:]}"
    assert results(said(yaml)) == results(said(by_hand)) == [('{"sum": 1, "and": 2}', False)]
    first, second, third, fourth = model.requests
    assert (first, second) == (third, fourth)


def test_what_the_model_is_told_of_its_tools(model: ChatServer) -> None:
    others = WORKFLOWS + "  - {id: any, title: Anything, job: {component: {type: echo, value: '${input}'}}}\n"
    tools = "[{workflow: add-up, description: Sum, name: plus}, any, {name: look, description: Look it up, parameters: {type: object}}]"
    said(document(model.plays("m", {"text": "no"}), tools=tools, others=others))
    plus, anything, look = [tool["function"] for tool in model.requests[0]["tools"]]
    assert plus == {
        "name": "plus",
        "description": "Sum",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "description": "the first"},
                "b": {"type": "integer", "default": 5},
            },
            "required": ["a"],
        },
    }
    assert anything == {"name": "any", "description": "Anything", "parameters": {"type": "object", "properties": {}}}
    assert look == {"name": "look", "description": "Look it up", "parameters": {"type": "object"}}


def test_no_tools_are_null(model: ChatServer) -> None:
    assert said(document(model.plays("m", {"text": "hello"}), tools="[]"))[-1]["content"] == "hello"
    assert model.requests[0]["tools"] is None


def test_an_address_that_is_no_providers_gets_the_messages_as_they_are(echo_server: EchoServer) -> None:
    yaml = (
        document(echo_server.url, output="'${response}'")
        .replace("path: /v1/chat/completions", "path: /mirror")
        .replace(
            "messages: '${input.messages}', tools",
            "role: assistant, content: [{type: text, text: x}], seen: '${input.messages}', tools",
        )
    )
    messages = said(yaml)
    assert messages[-1]["seen"] == messages[:2]
    assert messages[-1]["tools"][0].keys() == {"name", "description", "parameters"}


def test_the_model_s_input_may_be_left_out(model: ChatServer) -> None:
    yaml = document(model.plays("m", *SUM)).replace(", input: {messages: '${messages}', tools: '${tools}'}", "")
    assert results(said(yaml)) == [('{"sum": 1, "and": 2}', False)]


def test_a_key_in_the_models_input_reaches_its_header(model: ChatServer) -> None:
    """It goes through the agent closed, as through a job."""
    model.plays("m", *SUM)
    yaml = document(
        "https://api.openai.com", given="{messages: '${messages}', tools: '${tools}', key: '${env.OPENAI_API_KEY}'}"
    )
    yaml = yaml.replace("      body:", "      headers: {Authorization: 'Bearer ${input.key}'}\n      body:")
    way = Instead(f"{model.url}/m")
    messages = said(yaml, env={"OPENAI_API_KEY": "sk-none-at-all"}, transport=way)
    assert results(messages) == [('{"sum": 1, "and": 2}', False)]
    assert way.keys == {"Bearer sk-none-at-all"}


def test_the_model_may_stand_in_the_agent(model: ChatServer) -> None:
    base = model.plays("m", {"text": "hello"})
    yaml = f"""
component:
  type: agent
  model:
    component:
      type: http-client
      endpoint: {base}/v1/chat/completions
      body: {{messages: "${{input.messages}}"}}
      output: ${{response.choices[0].message}}
  prompt: ${{input.q}}
"""
    assert said(yaml)[-1]["content"] == "hello"


def test_the_older_spelling(model: ChatServer) -> None:
    yaml = (
        document(model.plays("m", *SUM))
        .replace("    instructions: be brief\n", "")
        .replace("prompt: ${input.q}", "user_prompt: ${input.q}\n      system_prompt: be brief")
    )
    begin, end = yaml.index("    model: {"), yaml.index("    action:\n")
    model_line = yaml[begin:end].strip()
    yaml = f"{yaml[:begin]}{yaml[end:]}".replace("      user_prompt", f"      {model_line}\n      user_prompt", 1)
    messages = said(yaml)
    assert messages[0]["content"][0]["text"] == "be brief" and results(messages) == [('{"sum": 1, "and": 2}', False)]


def test_usage_is_summed(model: ChatServer) -> None:
    run = ran(document(model.plays("m", *SUM)))
    (end,) = [event for event in run.events if isinstance(event, RunFinished)]
    assert end.usage is not None and end.usage["total_tokens"] == 30


# -- tools


def test_two_tools_run_at_the_same_time(model: ChatServer) -> None:
    """Each waits for the other: one after the other they would never end."""
    meeting = threading.Barrier(2, timeout=30)

    def left() -> int:
        """Wait on the left."""
        return meeting.wait()

    async def right() -> int:
        return await asyncio.to_thread(meeting.wait)

    base = model.plays("m", {"calls": [("left", {}), ("right", {})]}, {"text": "met"})
    messages = said(
        document(base, tools="[left, {function: right}]", others=""), functions={"left": left, "right": right}
    )
    assert sorted(content for content, _ in results(messages)) == ["0", "1"]


def fails() -> None:
    raise ValueError("out of paper")


def add(a: int, b: int = 1) -> int:
    return a + b


# the tool, the arguments, what the model is told
TOLD: list[tuple[str, Any, str]] = [
    ("nope", {}, "there is no tool `nope`; there are `add-up`, `fails`, `broken`, `odd`"),
    ("add_up", {}, "there is no tool `add_up`; did you mean `add-up`?"),
    ("fails", {}, "`fails` raised ValueError: out of paper"),
    ("add-up", "{bad", "the arguments of `add-up` are no JSON object: {bad"),
    ("add-up", "[1]", "the arguments of `add-up` are no JSON object: [1]"),
    ("add-up", {"b": 1}, "`a` is missing"),
    ("add-up", {"a": 1, "c": 2}, "the tool takes no `c`; it takes `a`, `b`"),
    ("add-up", {"a": "many"}, "`a`: "),
    ("fails", {"x": 1}, "`fails` takes no `x`"),
    ("broken", {}, "`delay` is a number of seconds"),
    ("odd", {}, "cannot be written as JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "words"), TOLD)
def test_what_fails_is_told_to_the_model(model: ChatServer, tool: str, arguments: Any, words: str) -> None:
    others = (
        WORKFLOWS.replace("    name: add\n", "")
        + "  - {id: broken, job: {component: {type: echo, text: x, delay: soon}}}\n"
    )
    base = model.plays("m", {"calls": [(tool, arguments)]}, {"text": "a pity"})
    run = ran(
        document(base, tools="[add-up, fails, broken, odd]", others=others),
        functions={"fails": fails, "odd": lambda: [object()]},
    )
    assert run.error is None and run.output[-1]["content"] == "a pity"
    ((told, is_error),) = results(run.output)
    assert words in told and is_error
    assert any(f"the tool `{tool}` failed: " in sentence for sentence in notes(run))


RESULTS: list[tuple[Callable[[], Any], str]] = [
    (lambda: "as it is", "as it is"),
    (lambda: {"a": [1, None, "é"]}, '{"a": [1, null, "é"]}'),
    (lambda: None, "null"),
    (lambda: True, "true"),
    (lambda: b"caf\xc3\xa9", "café"),
    (lambda: (word for word in ("a", "b")), "ab"),
]


@pytest.mark.parametrize(("tool", "wanted"), RESULTS)
def test_results_are_text(model: ChatServer, tool: Callable[[], Any], wanted: str) -> None:
    base = model.plays("m", {"calls": [("it", {})]}, {"text": "ok"})
    assert results(said(document(base, tools="[it]", others=""), functions={"it": tool})) == [(wanted, False)]


def test_a_workflow_that_streams_is_a_result_when_it_is_whole(model: ChatServer) -> None:
    others = "  - {id: tell, job: {component: {type: echo, text: 'one two ${input.x}'}}}\n"
    base = model.plays("m", {"calls": [("tell", {"x": "three"})]}, {"text": "ok"})
    assert results(said(document(base, tools="[tell]", others=others))) == [("one two three", False)]


def test_the_end_of_its_patience(model: ChatServer) -> None:
    """A model that always asks again: the messages so far, and one sentence."""
    base = model.plays("m", {"calls": [("nope", {})]})
    for more, action in (("max_iteration_count: 3", ""), ("max_iteration_count: 9", "max_iteration_count: 3")):
        model.requests.clear()
        run = ran(document(base, more=more, action=action))
        assert run.status == "done" and len(model.requests) == 3
        assert [one["role"] for one in run.output] == ["system", "user"] + 3 * ["assistant", "tool"]
        (sentence,) = [sentence for sentence in notes(run) if "max_iteration_count" in sentence]
        assert (
            sentence
            == "the agent ended after 3 answers, as `max_iteration_count` says, while its model still asked for tools"
        )


def test_the_tools_of_an_mcp_server(model: ChatServer) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    server = f"[{{mcp: {{command: ['{sys.executable}', '{ROOT / 'tests/servers/mcp_tools.py'}']}}}}, add-up]"
    base = model.plays(
        "m", {"calls": [("weather", {"city": "Rome"}), ("refuse", {"words": "not today"})]}, {"text": "ok"}
    )
    others = WORKFLOWS.replace("name: add", "name: plus")
    undo = composemagic.allow("mcp-client")
    try:
        messages = said(document(base, tools=server, others=others))
    finally:
        undo()
    (weather, fine), (refused, is_error) = results(messages)
    assert ('"Rome"' in weather, fine) == (True, False)
    assert "not today" in refused and is_error
    assert {"add", "weather", "plus"} <= {tool["function"]["name"] for tool in model.requests[0]["tools"]}


def test_a_process_has_to_be_allowed(model: ChatServer) -> None:
    run = ran(document(model.plays("m", {"text": "x"}), tools="[{mcp: {command: [python]}}]"))
    assert run.error is not None and run.error.kind == "not_allowed" and not model.requests


# -- streaming


def deltas(run: Run) -> list[Any]:
    return [event.value for event in run.events if isinstance(event, Delta)]


@pytest.mark.parametrize("of", PATHS)
def test_text_streams_as_it_comes(model: ChatServer, of: str) -> None:
    run = ran(document(model.plays("m", *SUM), of=of, stream=True, action="streaming: true"))
    assert run.error is None and run.text == "I add.\n\nIt is 3."
    assert run.timing.deltas >= 2


def test_text_is_seen_before_the_answer_is_whole(model: ChatServer) -> None:
    model.hold = threading.Event()
    run = composemagic.load(
        document(model.plays("m", {"text": "It is 3."}), stream=True, action="streaming: true")
    ).start({"q": "hi"})
    for event in run:
        if isinstance(event, Delta):
            model.hold.set()  # only now does the server go on
    assert run.text == "It is 3."


def test_text_of_whole_answers_streams_answer_by_answer(model: ChatServer) -> None:
    run = ran(document(model.plays("m", *SUM), action="streaming: true"))
    assert (run.text, run.timing.deltas) == ("I add.\n\nIt is 3.", 2)


def test_messages_stream_one_by_one(model: ChatServer) -> None:
    whole = said(document(model.plays("m", *SUM)))
    for action in ("streaming: messages", "output: ${result[]}"):
        run = ran(document(model.plays("m", *SUM), action=action))
        assert deltas(run) == whole == run.output


def test_each_message_may_be_mapped(model: ChatServer) -> None:
    run = ran(document(model.plays("m", *SUM), action="output: '${result[].role},'"))
    assert run.text == "system,user,assistant,tool,assistant,"


# -- people


def answered(yaml: str, *answers: Any, **options: Any) -> tuple[Run, list[Any]]:
    run, left, asked = composemagic.load(yaml, **options).start({"q": "hi"}), list(answers), []
    for event in run:
        if isinstance(event, Interrupted):
            asked += [(point.message, point.metadata) for point in event.points]
            answer = left.pop(0)
            run.answer({point.id: answer for point in event.points})
    return run, asked


# what the person answers, what the model is told
APPROVED: list[tuple[Any, tuple[str, bool]]] = [
    (None, ("3", False)),
    (True, ("3", False)),
    ({"a": 10, "b": 20}, ("30", False)),
    (False, ("a person declined the use of `add`", True)),
    ("too expensive", ("a person declined the use of `add`: too expensive", True)),
]


@pytest.mark.parametrize(("answer", "told"), APPROVED)
def test_a_person_sees_a_call_before_it_runs(model: ChatServer, answer: Any, told: tuple[str, bool]) -> None:
    yaml = document(model.plays("m", *SUM), tools="[{function: add, interrupt: true}]", others="")
    run, asked = answered(yaml, answer, functions={"add": add})
    assert results(run.output) == [told] and run.output[-1]["content"] == "It is 3."
    assert asked == [
        ("The agent wants to use the tool `add`.", {"kind": "tool_call", "name": "add", "arguments": {"a": 1, "b": 2}})
    ]


def test_it_is_said_how_to_refuse_a_call() -> None:
    call = {"kind": "tool_call", "name": "add", "arguments": {"a": 1}}
    point = Point("p", "job-1", "r", "ask", "The agent wants to use the tool `add`.", call)
    assert question(point) == "The agent wants to use the tool `add`."
    assert choices(point).startswith("Enter lets the tool run; `false`, or a text that the model is told as the reason")
    other = replace(point, message="Which one?", metadata=None)
    assert question(other) == "job-1: Which one?"
    assert choices(other) == "Enter goes on without an answer; Ctrl-C stops the run"


def test_the_question_may_be_ones_own(model: ChatServer) -> None:
    yaml = document(model.plays("m", *SUM), tools="[{function: add, interrupt: {message: 'May it add?'}}]", others="")
    assert answered(yaml, None, functions={"add": add})[1][0][0] == "May it add?"


def test_an_interrupt_in_a_tools_workflow(model: ChatServer) -> None:
    others = WORKFLOWS.replace(
        "    job:\n",
        "    job:\n      input: {a: '${input.a as integer}', b: '${input.b as integer | 5}'}\n      interrupt: {before: {message: 'add ${job.input.a}?'}}\n",
    )
    run, asked = answered(document(model.plays("m", *SUM), others=others), {"a": 7, "b": 8})
    assert [message for message, _ in asked] == ["add 1?"] and results(run.output) == [('{"sum": 7, "and": 8}', False)]


def test_two_that_ask_at_the_same_time(model: ChatServer) -> None:
    others = WORKFLOWS.replace(
        "    job:\n", "    job:\n      input: {a: '${input.a as integer}', b: 0}\n      interrupt: {before: true}\n"
    )
    base = model.plays(
        "m", {"calls": [("add", {"a": 1}), ("minus", {"a": 3, "b": 2}), ("add", {"a": 2})]}, {"text": "ok"}
    )
    tools = "[add-up, {function: minus, interrupt: true}]"
    functions = {"minus": lambda a, b: a - b}
    run, asked = answered(document(base, tools=tools, others=others), None, None, None, functions=functions)
    assert len(asked) == 3
    assert results(run.output) == [('{"sum": 1, "and": 0}', False), ("1", False), ('{"sum": 2, "and": 0}', False)]


def test_an_agent_that_is_its_own_tool_ends(model: ChatServer) -> None:
    run = ran(document(model.plays("m", {"calls": [("main", {"q": "again"})]}), tools="[main]"))
    assert run.error is not None and run.error.kind == "too_deep" and len(model.requests) <= 17


def test_nobody_there_to_ask_is_no_matter_of_the_models(model: ChatServer) -> None:
    yaml = document(model.plays("m", *SUM), tools="[{function: add, interrupt: true}]", others="")
    with pytest.raises(RunError) as caught:
        composemagic.load(yaml, functions={"add": add})(q="hi")
    assert caught.value.kind == "unattended" and len(model.requests) == 1


OUTSIDE = "[{name: look, parameters: {type: object}}, add-up]"


@pytest.mark.parametrize(
    ("calls", "answer", "told"),
    [
        ([("look", {"x": 1})], {"found": 1}, [('{"found": 1}', False)]),
        ([("look", {"x": 1})], {"call_1_1": "it"}, [("it", False)]),
        ([("look", {"x": 1})], None, [("nobody gave a result for `look`", True)]),
        ([("look", {}), ("add", {"a": 1}), ("look", {})], {"call_1_3": 3}, [("nobody gave a result for `look`", True), ('{"sum": 1, "and": 5}', False), ("3", False)]),
    ],
)  # fmt: skip
def test_tools_that_whoever_runs_it_answers_for(
    model: ChatServer, calls: list[Any], answer: Any, told: list[Any]
) -> None:
    run, ((message, metadata),) = answered(
        document(model.plays("m", {"calls": calls}, {"text": "ok"}), tools=OUTSIDE), answer
    )
    assert (message, metadata["kind"]) == ("The agent waits for the results of its tools.", "tool_calls")
    assert [one["name"] for one in metadata["tool_calls"]] == ["look"] * sum(name == "look" for name, _ in calls)
    assert results(run.output) == told


# -- stop


def test_stop_in_the_middle_of_a_tool(model: ChatServer) -> None:
    began, ended = threading.Event(), threading.Event()

    async def slow() -> None:
        began.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    base = model.plays("m", {"calls": [("slow", {}), ("slow", {})]})
    run = composemagic.load(document(base, tools="[slow]", others=""), functions={"slow": slow}).start({"q": "hi"})
    assert began.wait(30)
    run.cancel()
    assert run.wait(30) and ended.wait(30)
    assert run.status == "stopped" and len(model.requests) == 1


def test_stop_in_the_middle_of_an_answer(model: ChatServer) -> None:
    model.hold = threading.Event()
    run = composemagic.load(document(model.plays("m", *SUM), stream=True)).start({"q": "hi"})
    assert model.began.wait(30)
    run.cancel()
    assert run.wait(30) and run.status == "stopped"


def test_a_model_that_fails_fails_the_run(model: ChatServer) -> None:
    """The provider's own words, such as of a request that it refuses."""
    run = ran(document(model.plays("m", *SUM), given="{messages: [{role: nobody, content: x}]}"))
    assert run.error is not None and "unknown role" in run.error.sentence


# -- models without tools


def test_tools_in_text(model: ChatServer) -> None:
    action = 'Thus.\nAction: {"name": "add", "arguments": {"a": 1, "b": 2}}\nResult of add: 77'
    run = ran(
        document(
            model.plays("m", {"text": action}, {"text": "It is 3."}),
            more="tool_format: text",
            given="{messages: '${messages}'}",
        )
    )
    assert run.error is None and results(run.output) == [('{"sum": 1, "and": 2}', False)]
    assert run.output[2]["content"][0] == {"type": "text", "text": "Thus."}
    first, second = model.requests
    assert "tools" not in first or first["tools"] is None
    assert "- add: Add two numbers." in first["messages"][0]["content"] and first["messages"][0]["content"].endswith(
        "be brief"
    )
    assert [one["role"] for one in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][3]["content"] == 'Result of add: {"sum": 1, "and": 2}'
    assert "77" not in second["messages"][2]["content"]


# -- mistakes


WRONG: list[tuple[str, str, str]] = [
    ("tools: [add-up]", "tools: [1]", "a tool is the id of a workflow, the name of a function, or a mapping, not 1"),
    ("tools: [add-up]", "tools: [{}]", "a tool has one of `workflow`, `function`, `mcp` and `parameters`"),
    (
        "tools: [add-up]",
        "tools: [{workflow: add-up, function: f}]",
        "a tool has one of `workflow`, `function`, `mcp` and `parameters`",
    ),
    ("tools: [add-up]", "tools: [{parameters: {type: object}}]", "a tool with `parameters` needs a `name`"),
    (
        "tools: [add-up]",
        "tools: [{mcp: {}}]",
        "an mcp-client has `url`, where a server answers, or `command`, which starts one",
    ),
    (
        "tools: [add-up]",
        "tools: [{mcp: {url: 'http://x/'}, name: n}]",
        "the tools of an MCP server have names and descriptions of their own",
    ),
    (
        "tools: [add-up]",
        "tools: [{function: f, interrupt: maybe}]",
        "`interrupt` is true, or a mapping with a `message`",
    ),
    (
        "tools: [add-up]",
        "tools: [{function: f, intrrupt: true}]",
        "unknown key `intrrupt` in an agent component; did you mean `interrupt`?",
    ),
    (
        "prompt: ${input.q}",
        "prompt: ${input.q}\n      streaming: soon",
        '`streaming` is true, false or messages, not "soon"',
    ),
    (
        "prompt: ${input.q}",
        "prompt: ${input.q}\n      max_iteration_count: 0",
        "`max_iteration_count` is a whole number from 1 on, not 0",
    ),
    ("instructions: be brief", "max_iteration_count: x", '`max_iteration_count` is a whole number from 1 on, not "x"'),
    ("component: chat,", "component: caht,", "no component `caht`; did you mean `chat`?"),
    ("${messages}", "${message}", "unknown source `message`; did you mean `messages`?"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), WRONG)
def test_mistakes(old: str, new: str, sentence: str) -> None:
    yaml = document("http://127.0.0.1:9")
    assert old in yaml
    assert mistakes(yaml.replace(old, new)) == [sentence]


# what is underlined
MARKED = [
    ("tools: [add-up]", "tools: [add-up, {}]", "{}"),
    ("tools: [add-up]", "tools: [{function: f, interrupt: maybe}]", "maybe"),
    ("tools: [add-up]", "tools: [{mcp: {url: x, comand: [y]}}]", "comand"),
    ("instructions: be brief", "max_iteration_count: many", "many"),
    ("${messages}", "${messags}", "messags"),
]


@pytest.mark.parametrize(("old", "new", "marked"), MARKED)
def test_the_caret(old: str, new: str, marked: str) -> None:
    with pytest.raises(composemagic.DocumentError) as caught:
        composemagic.load(document("http://127.0.0.1:9").replace(old, new))
    _, line, carets = str(caught.value).splitlines()[1:4]
    assert line[carets.index("^") : carets.rindex("^") + 1] == marked


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ("[ad-up]", "there is no workflow `ad-up`; did you mean `add-up`?"),
        ("[zzzzz]", "the agent's tool `zzzzz` is no workflow of this document and no Python function"),
        ("[{function: ad}]", "there is no Python function `ad`; did you mean `add`?"),
        ("[add-up, add]", "two tools of the agent are called `add`"),
    ],
)
def test_tools_that_are_not_there(tools: str, words: str) -> None:
    run = ran(document("http://127.0.0.1:9", tools=tools), functions={"add": add})
    assert run.error is not None and words in run.error.sentence


def test_it_is_no_model_of_its_own() -> None:
    run = ran(document("http://127.0.0.1:9").replace("component: chat,", "component: helper,"))
    assert run.error is not None and "the agent's `model` is the agent itself" in run.error.sentence


# -- words that are true


class Instead(httpx.AsyncHTTPTransport):
    """Every request goes to this base address, whatever host it names."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.keys: set[str | None] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.keys.add(request.headers.get("authorization"))
        request.url = httpx.URL(f"{self.base}{request.url.path}")
        return await super().handle_async_request(request)


def test_the_example_of_the_page(model: ChatServer) -> None:
    model.plays("m", {"calls": [("add_up", {"a": 1, "b": 2})]}, {"text": "It is 3."})
    way = Instead(f"{model.url}/m")
    run = ran(
        example(agent), {"question": "1 + 2?"}, functions={"add": add}, env={"OPENAI_API_KEY": "sk-none"}, transport=way
    )
    assert run.error is None and run.output == "It is 3."
    assert model.requests[1]["messages"][-1]["content"] == "3.0"


def test_the_page_names_every_setting() -> None:
    assert documented(agent) == {*agent.AgentSettings.model_fields, *agent.AgentAction.model_fields}


def test_the_shapes_of_the_page_are_all_there() -> None:
    assert set(shapes.KNOWN) == {"openai-chat", "anthropic", "ollama"}
