"""An agent's messages: what models answer, whole and in pieces, and what providers are sent. Tables, no network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from composemagic.components.agent.messages import ToolCall, answer_of, asked_for, result_of, text_of
from composemagic.components.agent.pieces import Pieces
from composemagic.components.agent.plain import as_text, from_text
from composemagic.components.agent.shapes import for_provider
from tests.tool_calls import ToolCalls

CALL = {"type": "tool_call", "id": "c", "name": "add", "arguments": {"a": 1}}
OPENAI = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOL_USE = {"type": "tool_use", "id": "c", "name": "add", "input": {"a": 1}}
HI = {"type": "text", "text": "hi"}


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


# what the chat component gives, the message
ANSWERS: list[tuple[Any, Any]] = [
    ("hi", said("hi")),
    (None, said("")),
    (7, said("7")),
    ({"answer": 7}, said('{"answer": 7}')),
    ([1, 2], said("[1, 2]")),
    ([], said("[]")),
    # in our own shape: as it is, whatever it says besides
    (said([HI], seen=1), said([HI], seen=1)),
    (said([HI, CALL]), said([HI, CALL])),
    (said("hi", seen=1), said("hi", seen=1)),
    ({"content": "hi"}, said("hi")),
    # OpenAI's: message, whole answer, arguments that are no JSON, the function beside the call
    (said(None, tool_calls=[OPENAI]), said([CALL])),
    (said("hi", tool_calls=[OPENAI]), said([HI, CALL])),
    (said("hi", tool_calls=[]), said("hi")),
    (said("hi", tool_calls=None, refusal=None), said("hi", refusal=None)),
    (said(None), said("")),
    ({"choices": [{"message": said("hi")}], "usage": {}}, said("hi")),
    (said(None, tool_calls=[{"id": "c", "name": "add", "arguments": '{"a": 1}'}]), said([CALL])),
    (said(None, tool_calls=[{"id": "c", "name": "add", "arguments": "{a"}]), said([{**CALL, "arguments": "{a"}])),
    (said(None, tool_calls=[{"id": "c", "name": "add", "arguments": ""}]), said([{**CALL, "arguments": {}}])),
    (said(None, tool_calls=[{"id": "c", "name": "add"}, None, 3]), said([{**CALL, "arguments": {}}])),
    # Ollama's: no ids
    (
        {"message": said("", tool_calls=[{"function": {"name": "add", "arguments": {"a": 1}}}]), "done": True},
        said([{**CALL, "id": "call_4_1"}]),
    ),
    # Anthropic's: content, whole answer
    ([HI, TOOL_USE], said([HI, CALL])),
    ([HI, {"type": "text", "text": "!"}], said("hi!")),
    ({"type": "message", "role": "assistant", "content": [TOOL_USE], "stop_reason": "tool_use"}, said([CALL])),
    ({"type": "message", "role": "assistant", "content": [HI]}, said("hi")),
    ([{"type": "thinking", "thinking": "hm"}, HI], said([{"type": "thinking", "thinking": "hm"}, HI])),
]


@pytest.mark.parametrize(("value", "message"), ANSWERS)
def test_what_a_model_answers(value: Any, message: Any) -> None:
    assert answer_of(value, 4) == message


def test_what_a_message_says() -> None:
    message = said([HI, CALL, {"type": "text", "text": "there"}])
    assert text_of(message) == "hi\nthere" and asked_for(message) == [ToolCall("c", "add", {"a": 1})]
    assert asked_for(said("hi")) == [] == asked_for(said(None))
    assert asked_for(said([{**CALL, "arguments": '{"a": 2}'}]))[0].arguments == {"a": 2}


def delta(**of: Any) -> Any:
    return {"choices": [{"index": 0, "delta": of}]}


def piece(index: int, arguments: str, **more: Any) -> Any:
    return {"index": index, "function": {"arguments": arguments, **more.pop("function", {})}, **more}


# the pieces, their text, the message
STREAMS: list[tuple[list[Any], str, Any]] = [
    (["a", "b"], "ab", said("ab")),
    ([], "", said("")),
    ([None, 3, {}, {"choices": []}], "", said("")),
    ([{"role": "assistant", "content": ""}, {"content": "a"}, {"content": None}], "a", said("a")),
    ([delta(content="a"), {"choices": [{"index": 1, "delta": {"content": "other"}}]}], "a", said("a")),
    (
        [delta(tool_calls=[piece(0, "", id="c", function={"name": "add"})]), delta(tool_calls=[piece(0, '{"a"')]), delta(tool_calls=[piece(0, ": 1}")])],
        "",
        said([CALL]),
    ),
    (
        [
            {"tool_calls": [piece(0, "{", id="c", function={"name": "add"}), piece(1, "{", id="d", function={"name": "sub"})]},
            {"tool_calls": [piece(1, '"b": 2}')]},
            {"tool_calls": [piece(0, '"a": 1}')]},
        ],
        "",
        said([CALL, {**CALL, "id": "d", "name": "sub", "arguments": {"b": 2}}]),
    ),
    # whole calls without an index, each in a chunk of its own
    (
        [{"message": said("", tool_calls=[{"function": {"name": name, "arguments": {"a": 1}}}]), "done": False} for name in ("add", "sub")],
        "",
        said([{**CALL, "id": "call_4_1"}, {**CALL, "id": "call_4_2", "name": "sub"}]),
    ),
    ([{"tool_calls": [{"id": "c", "function": {"name": "add", "arguments": '{"a"'}}]}, {"tool_calls": [{"function": {"arguments": ": 1}"}}]}], "", said([CALL])),
    (
        [
            {"type": "message_start", "message": {}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "h"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "i"}},
            {"type": "content_block_start", "index": 1, "content_block": {**TOOL_USE, "input": {}}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1'}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "}"}},
            {"type": "content_block_stop", "index": 1},
            {"type": "message_stop"},
        ],
        "hi",
        said([HI, CALL]),
    ),
    ([{"type": "text_delta", "text": "hi"}], "hi", said("hi")),
    # a server that does not stream, or another agent
    ([{"choices": [{"message": said(None, tool_calls=[OPENAI])}]}], "", said([CALL])),
    ([said([HI, CALL])], "", said([HI, CALL])),
]  # fmt: skip


@pytest.mark.parametrize(("pieces", "text", "message"), STREAMS)
def test_an_answer_in_pieces(pieces: list[Any], text: str, message: Any) -> None:
    answer = Pieces()
    assert "".join(map(answer.see, pieces)) == text
    assert answer.message(4) == message


def test_the_other_reader_agrees() -> None:
    """tests/tool_calls.py, which the rows of sse.jsonl are checked with, was written apart from this one."""
    for pieces, _, _ in STREAMS[4:7]:
        chunks = [one if "choices" in one else delta(**one) for one in pieces]
        other, ours = ToolCalls(), Pieces()
        for chunk in chunks:
            other.see(chunk)
            ours.see(chunk)
        found = [(call.id, call.name, call.arguments) for call in asked_for(ours.message(1))]
        assert found == [(call["id"], call["name"], json.loads(call["arguments"])) for call in other.calls]


# -- what providers are sent

SYSTEM = {"role": "system", "content": [{"type": "text", "text": "be brief"}]}
USER = {"role": "user", "content": [HI]}
ASKS = said([HI, CALL, {**CALL, "id": "d"}], seen=1)
RESULT, OTHER = (result_of(ToolCall(name, "add", {}), "3") for name in ("c", "d"))
FAILED = result_of(ToolCall("d", "add", {}), "no", is_error=True)
TOOL = {"name": "add", "description": "Add.", "parameters": {"type": "object"}}
ALL = [SYSTEM, USER, ASKS, RESULT, FAILED, said("done", seen=1)]

SENT: dict[str, list[Any]] = {
    "openai-chat": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        said("hi", tool_calls=[OPENAI, {**OPENAI, "id": "d"}]),
        {"role": "tool", "tool_call_id": "c", "content": "3"},
        {"role": "tool", "tool_call_id": "d", "content": "no"},
        said("done"),
    ],
    "ollama": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        said("hi", tool_calls=[{"function": {"name": "add", "arguments": {"a": 1}}}] * 2),
        {"role": "tool", "tool_name": "add", "content": "3"},
        {"role": "tool", "tool_name": "add", "content": "no"},
        said("done"),
    ],
    "anthropic": [
        {"role": "user", "content": [{"type": "text", "text": "be brief"}, HI]},
        said([HI, TOOL_USE, {**TOOL_USE, "id": "d"}]),
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": "3"},
                {"type": "tool_result", "tool_use_id": "d", "content": "no", "is_error": True},
            ],
        },
        said([{"type": "text", "text": "done"}]),
    ],
}
TOLD = {
    "openai-chat": {"type": "function", "function": TOOL},
    "ollama": {"type": "function", "function": TOOL},
    "anthropic": {"name": "add", "description": "Add.", "input_schema": {"type": "object"}},
}


@pytest.mark.parametrize("dialect", SENT)
def test_what_a_provider_is_sent(dialect: str) -> None:
    given = {"messages": ALL, "inner": [{"tools": [TOOL]}], "temperature": 0, "stop": ["x"], "none": []}
    wanted = {
        "messages": SENT[dialect],
        "inner": [{"tools": [TOLD[dialect]]}],
        "temperature": 0,
        "stop": ["x"],
        "none": [],
    }
    before = json.dumps(given)
    assert for_provider(given, dialect) == wanted
    assert json.dumps(given) == before  # the agent's own messages stay


@pytest.mark.parametrize("dialect", SENT)
def test_what_is_written_already_stays(dialect: str) -> None:
    once = for_provider({"messages": ALL, "tools": [TOOL]}, dialect)
    if dialect != "ollama":  # its calls have no ids to put back
        assert for_provider(once, dialect) == once
    assert for_provider({"messages": ALL}, None) == {"messages": ALL}
    assert for_provider({"messages": ALL}, "openai-responses") == {"messages": ALL}


def test_leftovers_of_a_mapping() -> None:
    """`tool_calls` that are null or empty are refused by OpenAI."""
    messages = [{**USER, "tool_calls": []}, {**ASKS, "tool_calls": None}, {**RESULT, "tool_calls": []}, OTHER]
    assert for_provider(messages, "openai-chat")[0] == {"role": "user", "content": "hi"}
    assert for_provider(messages, "openai-chat")[2:] == [
        {"role": "tool", "tool_call_id": "c", "content": "3"},
        {"role": "tool", "tool_call_id": "d", "content": "3"},
    ]


def test_parts_of_a_providers_own_stay() -> None:
    picture = {"role": "user", "content": [HI, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}
    thought = said([{"type": "thinking", "thinking": "hm", "signature": "s"}, CALL])
    assert for_provider([picture], "openai-chat") == [picture]
    assert for_provider([thought], "openai-chat") == [said("", tool_calls=[OPENAI])]
    assert for_provider([USER, thought], "anthropic")[1]["content"] == [thought["content"][0], TOOL_USE]


def test_anthropic_takes_no_empty_text() -> None:
    assert for_provider([USER, said(""), USER], "anthropic") == [{"role": "user", "content": [HI, HI]}]
    assert for_provider([SYSTEM], "anthropic") == [{"role": "user", "content": SYSTEM["content"]}]


# -- tools in text


def call(name: str, arguments: Any, at: int = 1) -> Any:
    return {"type": "tool_call", "id": f"call_4_{at}", "name": name, "arguments": arguments}


TEXTS: list[tuple[str, Any]] = [
    ("It is 3.", said("It is 3.")),
    ("I speak of Action: here", said("I speak of Action: here")),
    ('Action: {"name": "add", "arguments": {"a": 1}}', said([call("add", {"a": 1})])),
    ('I add.\n\nAction: {"name": "add", "arguments": {"a": 1}}\nResult: 9', said([{"type": "text", "text": "I add."}, call("add", {"a": 1})])),
    ('**Action:** {"name": "add"}', said([call("add", {})])),
    ('Action:\n```\n{"name": "add",\n "arguments": {}}\n```', said([call("add", {})])),
    ('Action: {"name": "a", "arguments": {}}\nAction: {"name": "b", "arguments": {}}', said([call("a", {}), call("b", {}, 2)])),
    ("Action: add 1 and 2\nso", said([call("Action", "add 1 and 2")])),
    ("Action: [1]", said([call("Action", "[1]")])),
    ('Action: {"name": 1}', said([call("Action", '{"name": 1}')])),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), TEXTS)
def test_tools_asked_for_in_text(text: str, message: Any) -> None:
    assert from_text(said(text), 4) == message


def test_messages_as_text() -> None:
    rules, user, asks, told, done = as_text(ALL, [TOOL])
    assert (
        rules["role"] == "system"
        and rules["content"].endswith("\n\nbe brief")
        and "- add: Add. Arguments: {}" in rules["content"]
    )
    assert (user["content"], done["content"]) == ("hi", "done")
    assert asks["content"].splitlines()[:2] == ["hi", 'Action: {"name": "add", "arguments": {"a": 1}}']
    assert told == {"role": "user", "content": "Result of add: 3\n\nResult of add: no"}
    assert as_text(ALL, [])[0]["content"] == "be brief"
    assert from_text(said(asks["content"]), 4)["content"][1:] == [call("add", {"a": 1}), call("add", {"a": 1}, 2)]
