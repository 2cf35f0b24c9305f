"""Streams and whole bodies as the http-client reads them: formats, what breaks them, what is kept, what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from composemagic.errors import RunError
from composemagic.transport import reading as streams
from composemagic.transport import sse
from composemagic.transport.http import Request
from composemagic.transport.providers import DIALECTS, ProviderError, Watch, text_of
from composemagic.transport.reading import EVENTS, Reading, is_stream
from composemagic.transport.whole import read_chunk, read_value
from tests.conformance.sse import Answer

KEY = "sk-0123456789abcdef"
CHAT, RESPONSES, OLLAMA = (DIALECTS[name] for name in ("openai-chat", "openai-responses", "ollama"))
NDJSON = "application/x-ndjson"


def request(path: str = "/x") -> Request:
    return Request("POST", f"http://h{path}", {"Authorization": f"Bearer {KEY}"})


def read(
    pieces: Sequence[bytes], stream_format: str | None = "json", media_type: str = EVENTS, dialect: Any = None
) -> tuple[list[Any], RunError | None]:
    """All chunks of a stream, and what it ended in."""
    found: list[Any] = []

    async def run() -> None:
        async for chunks in Reading(Answer(pieces, media_type), request(), Watch(dialect), stream_format).chunks():
            assert chunks, "an empty read is not given"
            found.extend(chunks)

    try:
        asyncio.run(run())
    except RunError as error:
        return found, error
    return found, None


def event(value: object, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(value)}\n\n".encode()


MESSAGE = {"event": "message", "data": '{"v": 1}', "id": "", "retry": None}


@pytest.mark.parametrize(
    ("stream_format", "media_type", "body", "chunks"),
    [
        ("json", EVENTS, b'data: {"v": 1}\n\n', [{"v": 1}]),
        ("text", EVENTS, b'data: {"v": 1}\n\n', ['{"v": 1}']),
        (None, EVENTS, b'data: {"v": 1}\n\n', ['{"v": 1}']),
        ("server-sent-events", EVENTS, b'data: {"v": 1}\n\n', [MESSAGE]),
        ("json", EVENTS, b"data: 1\n\ndata: [DONE]\n\ndata: 2\n\n", [1]),
        ("json", EVENTS, b'data:  {"v": 1} \n\n', [{"v": 1}]),
        ("json-lines", NDJSON, b'{"v": 1}\n2', [{"v": 1}, 2]),
        ("json", NDJSON, b'{"v": 1}\n2', [{"v": 1}, 2]),
        (None, NDJSON, b'{"v": 1}\n2', [{"v": 1}, 2]),
        ("text", NDJSON, b'{"v": 1}\n2', ['{"v": 1}', "2"]),
        ("json", "application/jsonl", b'{"v": 1}\n', [{"v": 1}]),
        ("json-lines", "application/json", b'{"v": 1}\n', [{"v": 1}]),
        ("json-lines", "", b'{"v": 1}\n', [{"v": 1}]),
        ("json", "", b'data: {"v": 1}\n\n', [{"v": 1}]),
        ("json", "", b"", []),
        ("json", EVENTS, b": ping\n\n", []),
    ],
)
def test_formats(stream_format: str | None, media_type: str, body: bytes, chunks: list[Any]) -> None:
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        assert read(pieces, stream_format, media_type) == (chunks, None)


GOOD = event({"v": 1})


@pytest.fixture
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and events of at most 100 bytes."""
    monkeypatch.setattr(streams, "SSEParser", lambda: sse.SSEParser(100))
    monkeypatch.setattr(streams, "LineReader", lambda: sse.LineReader(100))


@pytest.mark.parametrize(
    ("body", "stream_format", "media_type", "kept", "kind", "words"),
    [
        (GOOD + b"data: {half\n\n", "json", EVENTS, 1, "invalid_json", "invalid JSON in an event: `{half`"),
        (GOOD + b"data: 1 2\n\n", "json", EVENTS, 1, "invalid_json", "`1 2`"),
        (GOOD + event({"error": "boom"}), "json", EVENTS, 1, "server", "boom"),
        (GOOD + event({"error": "boom"}), "text", EVENTS, 1, "server", "boom"),
        (GOOD + event({"error": "boom"}), "server-sent-events", EVENTS, 1, "server", "boom"),
        (GOOD + b"event: error\ndata: plain\n\n" + GOOD, "json", EVENTS, 1, "server", "plain"),
        (GOOD + b"error: {\"message\": \"boom\"}\n\n", "json", EVENTS, 1, "server", "boom"),
        (GOOD + b"data: " + b"x" * 200, "json", EVENTS, 1, "too_large", "longer than 100 bytes"),
        (b'{"v": 1}\n' + b"x" * 200, "json-lines", NDJSON, 1, "too_large", "longer than 100 bytes"),
        (b'{"v": 1}\n{half\n3\n', "json-lines", NDJSON, 1, "invalid_json", "invalid JSON in a line: `{half`"),
        (b'{"v": 1}\n{"error": "boom"}\n', "json-lines", NDJSON, 1, "server", "boom"),
        (b'{"v": 1}\n{"error": "boom"}\n', "text", NDJSON, 1, "server", "boom"),
        (GOOD, "json-lines", EVENTS, 0, "content_type", "h sent an event stream, not lines of JSON: write `stream_format: json`"),
        (GOOD, "json-lines", "", 0, "content_type", "this is an event stream, not lines of JSON: write `stream_format: json`"),
        (b'{"v": 1}\n', "json", "", 0, "content_type", "h sent JSON, not events: write `stream_format: json-lines`"),
        (b'{"v": 1}\n', "server-sent-events", NDJSON, 0, "content_type", "not events: write `stream_format: json-lines`"),
        (b"data: " + b"{" * 70 + KEY.encode() + b"\n\n", "json", EVENTS, 0, "invalid_json", "{***"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_small_limits")
def test_what_breaks_a_stream(  # noqa: PLR0917 - a row of the table
    body: bytes, stream_format: str, media_type: str, kept: int, kind: str, words: str
) -> None:
    chunks, error = read([body], stream_format, media_type)
    assert len(chunks) == kept
    assert error is not None and error.kind == kind and words in error.sentence
    assert "sk-0" not in error.sentence


def chunk(content: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([event(chunk("a"))], "truncated"),
        ([event(chunk("a", "stop"))], None),
        ([event(chunk("a")), b"data: [DONE]\n\n"], None),
        ([], "empty"),
        ([b": ping\n\n"], "empty"),
        ([event(chunk("a", "stop")), b"data: {half\n\n"], None),  # what breaks after the finish mark breaks nothing
        ([event(chunk("a", "stop")), event({"error": "late"})], "server"),
        ([event(chunk("a")), b"data: {half\n\n"], "invalid_json"),
    ],
)
def test_a_known_provider_has_a_finish_mark(pieces: list[bytes], kind: str | None) -> None:
    error = read(pieces, dialect=CHAT)[1]
    assert (error.kind if error else None) == kind


def test_ollama_forgets_what_it_sends() -> None:
    body = b'{"message": {"content": "a"}}\n{"done": true}\n'
    assert len(read([body], "json", "text/plain", OLLAMA)[0]) == 2


@pytest.mark.parametrize(
    ("media_type", "dialect", "stream_format", "wanted", "stream"),
    [
        (EVENTS, None, None, False, True),
        (NDJSON, None, None, False, False),  # `${response as base64}` is of the bytes
        (NDJSON, None, None, True, True),
        (NDJSON, None, "json", True, True),
        (NDJSON, OLLAMA, None, False, True),
        ("application/json", OLLAMA, None, True, False),
        ("application/json", None, "json", True, False),
        ("application/json", None, "json-lines", True, True),
        ("", None, None, True, False),
        ("text/plain", None, "json", True, True),
        ("text/html", CHAT, "json", True, False),
    ],
)
def test_what_is_a_stream(media_type: str, dialect: Any, stream_format: str | None, wanted: bool, stream: bool) -> None:
    assert is_stream(media_type, Watch(dialect), stream_format, wanted=wanted) is stream


# ── whole answers ───────────────────────────────────────────────────────────────────────────────────────────────────

WHOLE = {"model": "m", "choices": [{"message": {"content": "é"}, "finish_reason": None}]}


@pytest.mark.parametrize("media_type", ["application/json", "application/x+json", "", "text/plain"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_whole_answer_is_read(media_type: str, mark: bytes) -> None:
    body = mark + json.dumps(WHOLE, ensure_ascii=False).encode()
    for function in (read_value, read_chunk):
        watch = Watch(CHAT)
        value = function(body, Answer([], media_type), request(), watch)
        assert text_of(CHAT, value) == "é"
        assert watch.model == "m"
    assert watch.finished and value["choices"][0]["delta"] == {"content": "é"}


@pytest.mark.parametrize(
    ("media_type", "body", "dialect", "kind", "words"),
    [
        ("application/json", b'{"error":{"message":"boom","type":"api_error"}}', RESPONSES, "server", "boom"),
        ("application/json", b'{"error":{"message":"boom"}}', None, "server", "h sent an error: boom"),
        ("application/json", b'{"error": 7}', None, "server", "h sent an error without words"),
        (
            "application/json",
            b'{"object":"response","status":"failed","error":{"message":"b"}}',
            RESPONSES,
            "server",
            "b",
        ),
        ("application/json", b'{"choices"', CHAT, "invalid_json", "JSON that cannot be read"),
        ("application/json", b"[" * 100_000, CHAT, "invalid_json", "JSON that cannot be read"),
        ("application/json", b'{"choices": []}', CHAT, "empty", "an answer without text"),
        ("application/json", b"null", CHAT, "empty", "h sent an empty answer"),
        (
            "text/html",
            b"<title>502 Bad\n Gateway</title>",
            RESPONSES,
            "content_type",
            'h sent text/html: "502 Bad Gateway"',
        ),
        ("text/html", b"<h1>Sign&nbsp;in</h1> <p>please", None, "content_type", '"Sign in please"'),
        ("text/plain", b"upstream <gone>", RESPONSES, "content_type", '"upstream <gone>"'),
        ("text/plain", b"no: " + KEY.encode(), CHAT, "content_type", '"no: ***"'),
        ("", b"\xff\xfe", RESPONSES, "content_type", "no content type"),
        ("image/png", b"x" * 5000, RESPONSES, "content_type", "h sent image/png"),
        ("application/json", b"", CHAT, "invalid_json", "JSON"),
        ("", b"", CHAT, "empty", "h sent an empty answer"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(
    media_type: str, body: bytes, dialect: Any, kind: str, words: str
) -> None:
    with pytest.raises(RunError) as caught:
        read_chunk(body, Answer([], media_type), request(), Watch(dialect))
    assert caught.value.kind == kind
    assert words in (caught.value.message if isinstance(caught.value, ProviderError) else caught.value.sentence)
    assert len(str(caught.value)) < 300
