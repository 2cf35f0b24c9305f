"""What providers say: the table's `expect`, error shapes, finish marks, text, tool calls, whole answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composemagic.errors import RunError
from composemagic.transport import providers
from composemagic.transport.providers import (
    DIALECTS,
    ProviderError,
    Watch,
    dialect_of,
    error_message,
    page_words,
    text_of,
)
from tests.conformance.rows import read_rows
from tests.conformance.sse import check_expect, cut, read_provider, row_bytes
from tests.tool_calls import ToolCalls

ROWS = [row for row in read_rows(Path(__file__).parent / "data" / "sse.jsonl") if row.get("expect")]
CHAT, RESPONSES, ANTHROPIC, OLLAMA = (
    DIALECTS[name] for name in ("openai-chat", "openai-responses", "anthropic", "ollama")
)


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_row(row: dict[str, Any]) -> None:
    data = row_bytes(row)
    for chunking in [*row["chunkings"], "fixed:7"]:
        reading = read_provider(row, cut(data, chunking))
        assert not list(check_expect(row["expect"], reading)), chunking


def watched(dialect: providers.Dialect | None, *chunks: object) -> Watch:
    watch = Watch(dialect)
    watch.see(chunks)
    return watch


def said(chunk: object, dialect: providers.Dialect | None = None) -> tuple[str, str] | None:
    """The kind and words of the error a chunk is."""
    try:
        Watch(dialect).see([chunk])
    except ProviderError as error:
        return error.kind, error.message
    return None


def choice(delta: object = None, reason: object = None, index: int = 0, **rest: object) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": reason}], **rest}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "openai-chat"),
        ("/v1/completions", "openai-chat"),
        ("/openai/deployments/gpt/chat/completions?api-version=2025-01-01", "openai-chat"),
        ("/v1/chat/completions/", "openai-chat"),
        ("/v1/responses", "openai-responses"),
        ("/v1/messages", "anthropic"),
        ("/api/chat", "ollama"),
        ("/api/generate", "ollama"),
        ("/v1/embeddings", None),
        ("/responses/123", None),
        ("/mymessages", None),
        ("", None),
        ("/", None),
    ],
)
def test_a_dialect_is_known_by_the_end_of_the_path(path: str, name: str | None) -> None:
    dialect = dialect_of(path)
    assert (dialect.name if dialect else None) == name


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ERRORS: list[tuple[object, str, str]] = [
    ({"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}, "server", "boom"),
    ({"error": "model overloaded"}, "server", "model overloaded"),
    ({"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}, "rate_limit", "slow down"),
    ({"error": {"message": "no key", "type": "invalid_request_error", "code": "invalid_api_key"}}, "auth", "no key"),
    ({"error": {"message": "too long", "type": "invalid_request_error"}}, "bad_request", "too long"),
    ({"error": {"message": "busy", "code": 503}}, "overloaded", "busy"),
    ({"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}, "rate_limit", "quota"),
    ({"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}, "bad_request", "bad"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded", "Overloaded"),
    ({"type": "error", "error": {"type": "authentication_error", "message": "no"}}, "auth", "no"),
    ({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, "rate_limit", "slow"),
    ({"type": "error"}, "server", "error"),
    ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "boom"}}}, "server", "boom"),
    ({"error": {"type": "overloaded_error", "message": ""}}, "overloaded", "overloaded_error"),
    ({"error": {"reason": 7}}, "server", '{"error": {"reason": 7}}'),
    ({"error": True, "message": "boom"}, "server", "boom"),
    ({"error": [{"message": "first"}, {"message": "second"}]}, "server", "first"),
    ({"error": "half \ud83d"}, "server", "half \ufffd"),
]


@pytest.mark.parametrize("dialect", [None, *DIALECTS.values()], ids=lambda dialect: dialect.name if dialect else "none")
@pytest.mark.parametrize(("chunk", "kind", "words"), ERRORS)
def test_an_error_is_known_in_every_dialect(
    dialect: providers.Dialect | None, chunk: object, kind: str, words: str
) -> None:
    assert said(chunk, dialect) == (kind, words)


NO_ERRORS: list[object] = [
    {"error": None},
    {"error": ""},
    {"error": {}},
    {"error": False},
    {"error": None, "choices": [{"delta": {"content": "ok"}}]},
    {"error": "a word", "choices": [{"delta": {"content": "ok"}}]},
    {"error": "a word", "content": "ok"},
    {"error": "a word", "response": "ok", "done": False},
    {"error": "a word", "message": {"content": "ok"}},
    {"type": "ping"},
    {"object": "chat.completion.chunk"},
    {"type": "response.created", "response": {"id": "r", "error": None, "status": "in_progress"}},
    [],
    [{"error": "in a list"}],
    "error",
    7,
    None,
    True,
    {},
]


@pytest.mark.parametrize("dialect", [None, *DIALECTS.values()], ids=lambda dialect: dialect.name if dialect else "none")
@pytest.mark.parametrize("chunk", NO_ERRORS)
def test_no_error_is_seen_where_none_is(dialect: providers.Dialect | None, chunk: object) -> None:
    assert said(chunk, dialect) is None


def test_openrouters_error_stands_beside_a_failed_choice() -> None:
    assert said(choice({"content": ""}, "error", error={"code": 502, "message": "gone"}), CHAT) == ("server", "gone")


def test_the_chunks_before_an_error_are_named_and_seen() -> None:
    watch = Watch(CHAT)
    with pytest.raises(ProviderError) as caught:
        watch.see([choice({"content": "a"}), choice({"content": "b"}, "stop"), {"error": "x"}, choice(None, "late")])
    assert caught.value.index == 2
    assert (watch.finish_reason, watch.model) == ("stop", "m")


def test_a_provider_error_reads_as_a_sentence() -> None:
    error = ProviderError("server", "boom")
    assert str(error) == "compose: The provider sent an error: boom"
    assert isinstance(error, RunError)


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ('{"code":400,"message":"The server had an error"}', "server", "The server had an error"),
        ('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "overloaded", "Overloaded"),
        ("plain words", "server", "plain words"),
        ('"quoted"', "server", "quoted"),
        ('{"half', "server", '{"half'),
        ("[" * 100_000, "server", "[" * 100_000),
        ("", "server", '""'),
        ("7", "server", "7"),
    ],
)
def test_what_the_transport_marks_as_an_error_is_one(words: str, kind: str, message: str) -> None:
    with pytest.raises(ProviderError) as caught:
        Watch(CHAT).fail(words)
    assert (caught.value.kind, caught.value.message) == (kind, message)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"error": "m"}, "m"),
        ([{"error": {"code": 400, "message": "m"}}], "m"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body", "x"], "msg": "field required", "type": "missing"}]}, "field required"),
        ({"statusCode": 401, "message": "Access denied"}, "Access denied"),
        ({"Message": "aws"}, "aws"),
        ({"error": "invalid_grant", "error_description": "long"}, "invalid_grant"),
        (" text \n", "text"),
        ("", None),
        ({}, None),
        ([], None),
        (None, None),
        (404, None),
        ({"code": 404}, None),
        ({"choices": []}, None),
    ],
)
def test_the_words_of_an_error_body(body: object, words: str | None) -> None:
    assert error_message(body) == words


def test_a_deep_error_body_does_not_overflow() -> None:
    body: object = "deep"
    for _ in range(5000):
        body = {"error": [body]}
    assert error_message(body) is None
    assert said(body) == ("server", "an error without words")


# ── finish marks, usage, model ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dialect", "chunks", "finished", "reason"),
    [
        (CHAT, [choice({"content": "a"})], False, None),
        (CHAT, [choice({}, "")], False, None),  # some servers send "" with every chunk
        (CHAT, [choice({}, "stop")], True, "stop"),
        (CHAT, [choice({}, "length"), choice({}, None)], True, "length"),
        (CHAT, [choice({}, "stop", index=1)], False, None),  # another candidate is not ours
        (CHAT, [{"choices": [{"text": "a", "finish_reason": "stop"}]}], True, "stop"),
        (CHAT, [{"choices": "odd"}, {"choices": {"a": 1}}, {"choices": [None]}, {"choices": 7}], False, None),
        (ANTHROPIC, [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}], False, "end_turn"),
        (ANTHROPIC, [{"type": "message_delta", "delta": None}, {"type": "message_stop"}], True, None),
        (ANTHROPIC, [{"type": "message", "content": [], "stop_reason": "max_tokens"}], True, "max_tokens"),
        (
            RESPONSES,
            [{"type": "response.output_text.done"}, {"type": "response.created", "response": None}],
            False,
            None,
        ),
        (RESPONSES, [{"type": "response.completed", "response": {"status": "completed"}}], True, "completed"),
        (RESPONSES, [{"object": "response", "status": "incomplete", "incomplete_details": None}], True, "incomplete"),
        (RESPONSES, [{"object": "response", "status": "in_progress"}], False, None),
        (OLLAMA, [{"response": "a", "done": False}], False, None),
        (OLLAMA, [{"response": "", "done": True}], True, None),
        (OLLAMA, [{"message": {"content": ""}, "done": True, "done_reason": "length"}], True, "length"),
        (None, [], True, None),
    ],
)
def test_finish_marks(
    dialect: providers.Dialect | None, chunks: list[object], finished: bool, reason: str | None
) -> None:
    watch = watched(dialect, *chunks)
    assert (watch.finished, watch.finish_reason) == (finished, reason)


@pytest.mark.parametrize(
    ("dialect", "finished"), [(CHAT, True), (RESPONSES, False), (ANTHROPIC, False), (OLLAMA, False), (None, True)]
)
def test_done_is_a_finish_mark_only_where_it_belongs(dialect: providers.Dialect | None, finished: bool) -> None:
    watch = Watch(dialect)
    watch.done()
    assert watch.finished == finished


@pytest.mark.parametrize(
    ("dialect", "chunks", "usage", "model"),
    [
        (CHAT, [choice({}, usage=None), {"choices": [], "usage": {"total_tokens": 5}}], {"total_tokens": 5}, "m"),
        (
            CHAT,
            [choice({}, usage={"total_tokens": 1}), choice({}, usage={"total_tokens": 2})],
            {"total_tokens": 2},
            "m",
        ),
        (CHAT, [{"choices": [], "model": ""}, {"choices": [], "model": "later"}], None, "later"),
        (
            ANTHROPIC,
            [
                {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}},
                {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 6}},
            ],
            {"input_tokens": 5, "output_tokens": 6},
            "m",
        ),
        (
            RESPONSES,
            [{"type": "response.completed", "response": {"model": "m", "usage": {"input_tokens": 3}}}],
            {"input_tokens": 3},
            "m",
        ),
        (
            OLLAMA,
            [
                {"model": "m", "response": "a"},
                {"done": True, "eval_count": 2, "prompt_eval_count": 1, "eval_duration": 9},
            ],
            {"eval_count": 2, "prompt_eval_count": 1},
            "m",
        ),
        (OLLAMA, [{"done": True}], None, None),
        (None, [{"model": "m", "usage": {"a": 1}}], None, None),
    ],
)
def test_usage_and_model(
    dialect: providers.Dialect | None, chunks: list[object], usage: dict[str, int] | None, model: str | None
) -> None:
    watch = watched(dialect, *chunks)
    assert (watch.usage, watch.model) == (usage, model)


# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dialect", "chunk", "text"),
    [
        (CHAT, choice({"content": "a"}), "a"),
        (CHAT, choice({"content": None, "reasoning_content": "think"}), ""),
        (CHAT, choice({"content": "other"}, index=1), ""),
        (
            CHAT,
            choice({"content": [{"type": "thinking"}, {"type": "text", "text": "a"}, {"type": "text", "text": 1}]}),
            "a",
        ),
        (CHAT, choice(None), ""),
        (CHAT, choice("odd"), ""),
        (CHAT, {"choices": []}, ""),
        (CHAT, {"choices": [{"text": "legacy"}]}, "legacy"),
        (CHAT, {"choices": [{"message": {"content": "whole"}}]}, "whole"),
        (CHAT, [], ""),
        (CHAT, None, ""),
        (RESPONSES, {"type": "response.output_text.delta", "delta": "a"}, "a"),
        (RESPONSES, {"type": "response.output_text.delta", "delta": None}, ""),
        (RESPONSES, {"type": "response.completed", "response": {"object": "response", "output": []}}, ""),
        (
            RESPONSES,
            {
                "object": "response",
                "output": [
                    {"type": "reasoning", "content": None},
                    {"type": "message", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal"}]},
                    None,
                ],
            },
            "a",
        ),
        (ANTHROPIC, {"type": "content_block_start", "content_block": {"type": "text", "text": "a"}}, "a"),
        (ANTHROPIC, {"type": "content_block_start", "content_block": None}, ""),
        (ANTHROPIC, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}, "a"),
        (ANTHROPIC, {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "a"}}, ""),
        (ANTHROPIC, {"type": "message", "content": [{"type": "text", "text": "a"}, {"type": "tool_use"}]}, "a"),
        (OLLAMA, {"message": {"content": "a", "thinking": "b"}}, "a"),
        (OLLAMA, {"response": "a"}, "a"),
        (OLLAMA, {"done": True}, ""),
        (None, {"content": "a"}, ""),
    ],
)
def test_text_of(dialect: providers.Dialect | None, chunk: object, text: str) -> None:
    assert text_of(dialect, chunk) == text


# ── tool calls ──────────────────────────────────────────────────────────────────────────────────────────────────────


def calls(*chunks: object) -> list[dict[str, str]]:
    tools = ToolCalls()
    for chunk in chunks:
        tools.see(chunk)
    return tools.calls


def piece(index: int, arguments: str | None, call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def test_two_calls_that_come_in_pieces() -> None:
    got = calls(
        choice({"tool_calls": [piece(0, "", "c0", "f")]}),
        choice({"tool_calls": [piece(0, '{"a"'), piece(1, None, "c1", "g")]}),
        choice({"tool_calls": [piece(1, "{}"), piece(0, ":1}")]}),
        choice({"content": "x"}),
    )
    assert got == [{"id": "c0", "name": "f", "arguments": '{"a":1}'}, {"id": "c1", "name": "g", "arguments": "{}"}]


def test_whole_calls_have_no_index() -> None:
    whole = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    got = calls({"choices": [{"message": {"tool_calls": [whole, {**whole, "id": "d"}]}}]})
    assert [call["id"] for call in got] == ["c", "d"]


@pytest.mark.parametrize("chunk", [None, [], 7, {}, choice({"tool_calls": "odd"}), choice({"tool_calls": []})])
def test_no_calls(chunk: object) -> None:
    assert calls(chunk) == []


def test_an_odd_piece_is_an_empty_call() -> None:
    assert calls(choice({"tool_calls": [{"function": 7}]})) == [{"id": "", "name": "", "arguments": ""}]


# ── pages, and reasons to stop ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!doctype html><title>502 Bad\n Gateway</title><h1>x</h1>", "502 Bad Gateway"),
        ('<TITLE lang="en">A &amp; B</TITLE>', "A & B"),
        ("<h1>Sign&nbsp;in</h1> <p>please", "Sign in please"),
        ("<style>p {}</style><script>let a\n</script><!-- no --><p>words", "words"),
        ("", ""),
        ("<p><br>", ""),
    ],
)
def test_the_words_of_a_page(page: str, words: str) -> None:
    assert page_words(page) == words


CUT = "the answer was cut at max_tokens; raise it for more"


@pytest.mark.parametrize(
    ("dialect", "chunk", "note"),
    [
        (CHAT, choice({}, "stop"), None),
        (CHAT, choice({}), None),
        (CHAT, choice({}, "length"), CUT),
        (CHAT, choice({}, "content_filter"), "the provider's content filter ended the answer"),
        (CHAT, choice({}, "tool_calls"), "the model asked for a tool instead of answering; `type: agent` runs tools"),
        (ANTHROPIC, {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}, CUT),
        (ANTHROPIC, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, None),
        (ANTHROPIC, {"type": "message_delta", "delta": {"stop_reason": "refusal"}}, "the model refused to answer"),
        (
            RESPONSES,
            {"object": "response", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "the answer was cut at max_output_tokens; raise it for more",
        ),
        (RESPONSES, {"type": "response.completed", "response": {"status": "completed"}}, None),
        (OLLAMA, {"done": True, "done_reason": "length"}, CUT),
    ],
)
def test_why_an_answer_ended(dialect: providers.Dialect, chunk: object, note: str | None) -> None:
    assert watched(dialect, chunk).note == note


# ── anything at all ─────────────────────────────────────────────────────────────────────────────────────────────────

KEYS = st.sampled_from(
    [
        "error",
        "message",
        "choices",
        "delta",
        "content",
        "text",
        "index",
        "finish_reason",
        "usage",
        "model",
        "type",
        "object",
        "response",
        "status",
        "output",
        "done",
        "done_reason",
        "tool_calls",
        "function",
        "arguments",
        "content_block",
        "partial_json",
        "code",
        "detail",
        "incomplete_details",
    ]
)
WORDS = st.sampled_from(["error", "response.failed", "response", "message", "message_delta", "content_block_start",
                         "content_block_delta", "text", "text_delta", "tool_use", "stop", "", "x"])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None)
@given(st.lists(VALUES | st.dictionaries(KEYS, VALUES, max_size=6), max_size=3))
def test_no_chunk_however_odd_breaks_anything(chunks: list[object]) -> None:
    for dialect in (None, *DIALECTS.values()):
        watch, tools = Watch(dialect), ToolCalls()
        try:
            watch.see(chunks)
        except ProviderError as error:
            assert error.message
            assert 0 <= error.index < len(chunks)
        assert watch.finish_reason is None or isinstance(watch.finish_reason, str)
        for chunk in chunks:
            assert isinstance(text_of(dialect, chunk), str)
            tools.see(chunk)
