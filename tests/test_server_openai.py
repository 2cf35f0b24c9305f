"""The door for OpenAI's clients: the openai SDK itself as the client, workflows over real servers behind the door."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from starlette.applications import Starlette

import composemagic
from composemagic.api import load_all
from composemagic.engine.loop import private_loop
from composemagic.server.openai import routes
from composemagic.server.openai.errors import Misasked
from composemagic.server.openai.request import is_chat, values_of
from composemagic.server.serving import serve as serve_workflows
from composemagic.server.serving import wanted
from composemagic.server.tasks import Tasks
from tests.conftest import ROOT, EchoServer, replay_server
from tests.servers.replay import DEFAULTS, deltas
from tests.waiting import until

SEED = (ROOT / "tests/data/seed.yml").read_text(encoding="utf-8")
HI = [{"role": "user", "content": "hi"}]


def words(count: int, **knobs: Any) -> str:
    return "".join(deltas({**DEFAULTS, "n": count, **knobs}, None))  # type: ignore[no-untyped-call]  # what replay.py answers


@cache
def sdk() -> openai.OpenAI:
    """One for all: each takes a moment to make."""
    return openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9/v1")


@dataclass
class Door:
    """A server with the routes alone: its address, and clients for it."""

    url: str
    tasks: Tasks

    def client(self, **options: Any) -> openai.OpenAI:
        return sdk().with_options(base_url=f"{self.url}/v1", **options)

    def ask(self, **options: Any) -> Any:
        return self.client().chat.completions.create(**{"model": "workflow", "messages": HI, **options})

    def post(self, body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=60)


@contextmanager
def served(yaml: str, **options: Any) -> Iterator[Door]:
    tasks = Tasks(load_all(yaml), **options)
    listening = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=routes(tasks))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    ended = private_loop().submit(server.serve(sockets=[listening]))
    try:
        yield Door(f"http://127.0.0.1:{listening.getsockname()[1]}", tasks)
    finally:
        server.should_exit = True
        ended.result(60)


Serve = Callable[..., Door]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a YAML until the test's end."""
    with ExitStack() as stack:
        yield lambda yaml, **options: stack.enter_context(served(yaml, **options))


@pytest.fixture(scope="module")
def replay() -> Iterator[str]:
    """One of our own: requests of other tests are not counted."""
    with replay_server() as url:
        yield url


def stats(replay: str) -> Any:
    """What the model's server has counted."""
    return httpx.get(f"{replay}/stats", timeout=60).json()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-server")


def seed(replay: str, knobs: str = "n=40") -> str:
    return SEED.replace("https://api.openai.com", f"{replay}/{knobs}")


def echo(text: str, more: str = "") -> str:
    """A workflow that gives a value made of its inputs."""
    return f"{more}component: {{type: echo, action: {{value: {text}}}}}"


def of_events(echo_server: EchoServer, *events: Any, output: str = "${response[].choices[0].delta.content}") -> str:
    """A workflow over a server that answers these messages."""
    return f"""
workflow: {{job: {{output: "${{output as stream/text}}"}}}}
component:
  type: http-client
  base_url: {echo_server.url}
  action:
    path: /sse/v1/chat/completions
    body: {{events: {json.dumps(list(events))}, prompt: "${{input.prompt}}", stream: true}}
    stream_format: json
    output: {output}
"""


def piece(text: str = "", reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason}], **more}


def text_of(chunks: Any) -> str:
    return "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)


# -- which input a field of the request goes to


USER = {"role": "user", "content": "now"}
SYSTEM = {"role": "system", "content": "be brief"}
BEFORE = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
TALK = [SYSTEM, *BEFORE, USER]
PICTURE = "data:image/png;base64,iVBORw0KGgo="
LOOK = {"role": "user", "content": [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": PICTURE}}, {"type": "text", "text": "is it"}]}  # fmt: skip
FAR = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}]}
SAID = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]}

GIVEN: list[tuple[str, dict[str, Any], Any]] = [
    ("{a: '${input.prompt as text}'}", {"messages": TALK}, {"prompt": "now"}),
    ("{a: '${input.question}'}", {"messages": TALK}, {"question": "now"}),
    ("{a: '${input.topic}', b: '${input.tone | kind}'}", {"messages": [USER]}, {"topic": "now"}),
    ("{a: '${input.topic}', b: '${input.tone | kind}'}", {"messages": [USER], "tone": "dry"}, {"topic": "now", "tone": "dry"}),
    ("'${input}'", {"messages": [USER]}, "now"),
    ("{a: '${input.prompt}', b: '${input.system}'}", {"messages": TALK}, {"prompt": "now", "system": "be brief"}),
    ("{a: '${input.prompt}', b: '${input.system_prompt | none}'}", {"messages": [USER]}, {"prompt": "now"}),
    ("{a: '${input.prompt}', b: '${input.history}'}", {"messages": TALK}, {"prompt": "now", "history": [SYSTEM, *BEFORE]}),
    ("{a: '${input.prompt}', b: '${input.history as text}'}", {"messages": [*BEFORE, USER]}, {"prompt": "now", "history": "user: a\n\nassistant: b"}),
    ("{a: '${input.prompt}', b: '${input.history | []}', c: '${input.system}'}", {"messages": TALK}, {"prompt": "now", "history": BEFORE, "system": "be brief"}),
    ("{a: '${input.messages}'}", {"messages": TALK}, {"messages": TALK}),
    ("{a: '${input.messages as list}', b: '${input.prompt | x}'}", {"messages": TALK}, {"messages": TALK}),
    ("{a: '${input.messages as list}', b: '${input.prompt}'}", {"messages": TALK}, {"messages": TALK, "prompt": "now"}),
    ("{a: '${input.messages as object[]}', b: '${input.system}'}", {"messages": TALK}, {"messages": [*BEFORE, USER], "system": "be brief"}),
    ("{a: '${input.prompt}', t: '${input.temperature as number | 1}', p: '${input.top_p as number | 1}'}", {"messages": [USER], "temperature": 0, "stop": ["x"], "user": "u"}, {"prompt": "now", "temperature": 0}),
    ("{a: '${input.prompt}', m: '${input.max_tokens as integer | 9}'}", {"messages": [USER], "max_completion_tokens": 5}, {"prompt": "now", "max_tokens": 5}),
    ("{a: '${input.prompt}', m: '${input.max_tokens as integer | 9}'}", {"messages": [USER], "max_completion_tokens": 5, "max_tokens": 6}, {"prompt": "now", "max_tokens": 6}),
    ("{a: '${input.prompt}', m: '${input.model | x}', s: '${input.stream | x}'}", {"messages": [USER], "model": "workflow", "stream": True}, {"prompt": "now"}),
    ("{a: '${input.prompt}', t: '${input.tools}'}", {"messages": [USER], "tools": [{"type": "function"}]}, {"prompt": "now", "tools": [{"type": "function"}]}),
    ("{a: '${input.prompt}'}", {"messages": [USER], "tools": [], "n": 1, "response_format": {"type": "text"}, "seed": 3}, {"prompt": "now"}),
    ("{a: '${input.prompt}', i: '${input.picture as image}'}", {"messages": [LOOK]}, {"prompt": "what\nis it", "picture": b"\x89PNG\r\n\x1a\n"}),
    ("{a: '${input.prompt}', i: '${input.picture as image;base64}'}", {"messages": [LOOK]}, {"prompt": "what\nis it", "picture": "iVBORw0KGgo="}),
    ("{a: '${input.prompt}', i: '${input.picture as image;data-uri}'}", {"messages": [LOOK]}, {"prompt": "what\nis it", "picture": PICTURE}),
    ("{a: '${input.prompt}', i: '${input.pictures as image[];data-uri}'}", {"messages": [LOOK]}, {"prompt": "what\nis it", "pictures": [PICTURE]}),
    ("{a: '${input.prompt | x}', i: '${input.picture as image;url}'}", {"messages": [FAR]}, {"picture": "https://a.example/x.png"}),
    ("{a: '${input.prompt | x}', i: '${input.sound as audio}'}", {"messages": [SAID]}, {"sound": b"RIFF"}),
    ("{a: '${input.prompt}'}", {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}, {"prompt": "a\nb"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "body", "expected"), GIVEN)
def test_what_goes_where(value: str, body: dict[str, Any], expected: Any) -> None:
    inputs = composemagic.load(echo(value)).inputs
    assert is_chat(inputs)
    assert values_of(body, inputs) == expected


P = "{a: '${input.prompt}', k: '${input.key as integer | 1}'}"
NOT_GIVEN: list[tuple[str, dict[str, Any], str | None, str]] = [
    (P, {}, "messages", "`messages` is a list of messages, each with `role` and `content`"),
    (P, {"messages": []}, "messages", "`messages` is a list of messages, each with `role` and `content`"),
    (P, {"messages": "hi"}, "messages", "`messages` is a list of messages, each with `role` and `content`"),
    (P, {"messages": [{"content": "x"}]}, "messages[0].role", "the message 1 has no `role`"),
    (P, {"messages": [SYSTEM]}, "messages", "there is no message of the role `user`"),
    (P, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "`content` is text or a list of parts"),
    (P, {"messages": [{"role": "user", "content": ["x", 5]}]}, "messages[0].content", "`content` is text or a list of parts"),
    (P, {"messages": [{"role": "user", "content": [{"type": ["x"]}, {"type": {}}]}]}, "prompt", "`prompt` is missing"),
    (P, {"messages": [LOOK]}, "messages[0].content", "this workflow takes 0 of `image`, not 1"),
    (P, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "a part of `type: image_url` needs `image_url.url`"),
    ("{a: '${input.prompt}', i: '${input.picture as image}'}", {"messages": [FAR]}, "messages[0].content", "this workflow takes `picture` as a `data:` URL"),
    (P, {"messages": [USER], "n": 2}, "n", "a workflow gives one answer: `n` is 1"),
    (P, {"messages": [USER], "tools": [{}]}, "tools", "a workflow has its own tools: it takes no `tools` from a request"),
    (P, {"messages": [USER], "response_format": {"type": "json_object"}}, "response_format", "the workflow says itself what it gives: `response_format` is `text`"),
    (P, {"messages": [USER], "key": "x"}, "key", "`key`: "),
    ("{a: '${input.prompt}', b: '${input.style}'}", {"messages": [USER]}, "style", "`style` is missing; a field of the request gives an input by its name, such as `style`"),
    ("{a: '${input.messages}', b: '${input.style}'}", {"messages": [USER]}, "style", "`style` is missing; "),
]  # fmt: skip


@pytest.mark.parametrize(("value", "body", "param", "sentence"), NOT_GIVEN)
def test_what_cannot_be_asked(value: str, body: dict[str, Any], param: str, sentence: str) -> None:
    inputs = composemagic.load(echo(value)).inputs
    with pytest.raises(Misasked) as found:
        values_of(body, inputs)
    assert (found.value.status, found.value.param) == (400, param)
    assert found.value.message.startswith(sentence)


@pytest.mark.parametrize("value", ["{a: 1}", "{a: '${input.a}', b: '${input.b}'}", "{n: '${input.n as integer}'}"])
def test_what_no_chat_can_ask(value: str) -> None:
    assert not is_chat(composemagic.load(echo(value)).inputs)


# -- the SDK


def test_the_sdk(serve: Serve, replay: str) -> None:
    door = serve(seed(replay))
    answer = door.ask(temperature=0.2)
    assert answer.choices[0].message.content == words(40)
    assert (answer.choices[0].message.role, answer.choices[0].finish_reason) == ("assistant", "stop")
    assert (answer.object, answer.model) == ("chat.completion", "workflow")
    assert abs(answer.created - time.time()) < 600

    chunks = list(door.ask(stream=True))
    assert text_of(chunks) == words(40)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) == 42  # the role, the pieces as they came, the reason
    assert [one.choices[0].finish_reason for one in chunks if one.choices[0].finish_reason] == ["stop"]
    assert {one.object for one in chunks} == {"chat.completion.chunk"}
    assert len({(one.id, one.created, one.model) for one in chunks}) == 1
    assert chunks[0].id != answer.id


def test_the_asynchronous_sdk(serve: Serve, replay: str) -> None:
    door = serve(seed(replay, "n=30,text=wide"))

    async def ask() -> tuple[str, list[str]]:
        async with openai.AsyncOpenAI(api_key="none", base_url=f"{door.url}/v1") as client:
            whole = await client.chat.completions.create(model="workflow", messages=HI)  # type: ignore[call-overload]
            several = await asyncio.gather(*(collect(client) for _ in range(4)))
            return whole.choices[0].message.content, several

    async def collect(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model="workflow", messages=HI, stream=True)  # type: ignore[call-overload]
        return "".join([one.choices[0].delta.content or "" async for one in stream])

    text, several = asyncio.run(ask())
    assert several == [text] * 4 == [words(30, text="wide")] * 4


def test_a_stream_comes_as_it_is_made(serve: Serve, replay: str) -> None:
    """The first piece is there while the upstream still writes."""
    door = serve(seed(replay, "n=4000,delay=20"))
    stream = door.ask(stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    assert stats(replay)["active"] >= 1
    stream.close()


TWO = """
workflows:
  - {id: story, title: Story, job: {component: say}}
  - {id: sum, job: {component: add}}
  - {id: inner, private: true, job: {component: say}}
components:
  - {id: say, type: echo, action: {text: "Once ${input.prompt}"}}
  - {id: add, type: echo, action: {value: {a: "${input.a}", b: "${input.b}"}}}
"""


def test_models(serve: Serve) -> None:
    door = serve(TWO)
    client = door.client()
    assert [one.id for one in client.models.list()] == ["story"]
    assert client.models.retrieve("story").owned_by == "composemagic"
    for name, sentence in (
        ("gpt-4o", "there is no model `gpt-4o`; there is `story`"),
        ("sum", "the workflow `sum` asks for no prompt; there is `story`"),
        ("inner", "there is no model `inner`; there is `story`"),
        ("a/b", "there is no model `a/b`; there is `story`"),
    ):
        for ask in (lambda name=name: client.models.retrieve(name), lambda name=name: door.ask(model=name)):
            with pytest.raises(openai.NotFoundError) as error:
                ask()
            assert error.value.code == "model_not_found"
            assert error.value.message.endswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "Invalid request body: "),
        (b"[]", "Invalid request body: a JSON object is wanted"),
        (b'{"a": NaN}', "Invalid request body: "),
        (b"[" * 100_000, "Invalid request body: "),
        (b'{"messages": []}', "`model` is missing: the id of a workflow; there is `story`"),
        (b'{"model": "story", "stream": "yes", "messages": []}', "`stream` is true or false"),
        (b'{"model": "story", "stream_options": 1, "messages": []}', "`stream_options` is an object"),
    ],
)
def test_bodies_that_are_no_question(content: bytes, sentence: str, serve: Serve) -> None:
    door = serve(TWO)
    answer = httpx.post(
        f"{door.url}/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(sentence)
    assert answer.json()["error"]["type"] == "invalid_request_error"


# -- what the run gives


OUTPUTS: list[tuple[str, str]] = [
    ("{a: 'é ${input.prompt}', b: [1, true, null]}", '{"a": "é hi", "b": [1, true, null]}'),
    ("['${input.prompt}']", '["hi"]'),
    ("'${input.prompt | x}'", "hi"),
    ("'${input.none_of | null}'", ""),
]


@pytest.mark.parametrize(("value", "text"), OUTPUTS)
def test_an_output_that_is_no_stream(value: str, text: str, serve: Serve) -> None:
    door = serve(echo(value, 'workflow: {job: {input: {prompt: "${input.prompt}"}}}\n'))
    assert door.ask().choices[0].message.content == text
    chunks = list(door.ask(stream=True))
    assert text_of(chunks) == text
    assert (chunks[0].choices[0].delta.role, chunks[-1].choices[0].finish_reason) == ("assistant", "stop")


def test_lines_of_json(serve: Serve, replay: str) -> None:
    door = serve(seed(replay, "n=3").replace("text;sse-text", "stream/json"))
    text = "\n".join(json.dumps(one) for one in deltas({**DEFAULTS, "n": 3}, None))  # type: ignore[no-untyped-call]
    assert door.ask().choices[0].message.content == text
    assert text_of(door.ask(stream=True)) == text


def test_bytes_are_no_text(serve: Serve, echo_server: EchoServer) -> None:
    door = serve(
        f"component: {{type: http-client, action: {{endpoint: '{echo_server.url}/bytes', body: '${{input.prompt}}'}}}}"
    )
    for is_stream in (False, True):
        with pytest.raises(openai.APIStatusError, match="the workflow gives 3 bytes, and a chat takes text") as error:
            door.ask(stream=is_stream)
        assert error.value.status_code == 500


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop")],
)
def test_the_reason_and_the_tokens(reason: str, finish: str, serve: Serve, echo_server: EchoServer) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    door = serve(of_events(echo_server, piece("a"), piece("b", reason), {"choices": [], "usage": usage}, "[DONE]"))
    answer = door.ask()
    assert answer.choices[0].finish_reason == finish
    assert answer.usage.to_dict() == usage
    chunks = list(door.ask(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.to_dict() == usage
    assert [one.usage for one in chunks[:-1]] == [None] * 4
    assert chunks[-2].choices[0].finish_reason == finish
    assert all(one.usage is None and one.choices for one in door.ask(stream=True))


def test_characters_that_break_lines(serve: Serve, echo_server: EchoServer) -> None:
    text = ["a\nb\r\nc", "\u2028\u2029\u0085", "\U0001f642", "\0", "data: [DONE]\n\n"]
    door = serve(of_events(echo_server, *map(piece, text), piece("", "stop"), "[DONE]"))
    expected = "a\nb\r\nc\u2028\u2029\u0085\U0001f642\0data: [DONE]\n\n"
    assert text_of(door.ask(stream=True)) == expected
    assert door.ask().choices[0].message.content == expected


# -- what goes wrong


def test_an_upstream_that_refuses_is_asked_once(serve: Serve, replay: str) -> None:
    """Neither by the run, for a 401, nor by the client, which tries every 5xx again if it is not told otherwise."""
    door = serve(seed(replay, "status=401"))
    for is_stream in (False, True):
        before = stats(replay)["requests"]
        with pytest.raises(openai.InternalServerError) as error:
            door.ask(stream=is_stream)
        assert error.value.status_code == 502
        assert error.value.code == "auth"
        assert "rejected the key" in str(error.value)
        assert "sk-of-the-server" not in str(error.value)
        assert stats(replay)["requests"] == before + 1


def test_a_stream_that_breaks_raises(serve: Serve, replay: str) -> None:
    door = serve(seed(replay, "n=20,error=5,delay=1"))
    found = []
    with pytest.raises(openai.APIError) as error:
        found += [one.choices[0].delta.content or "" for one in iter_into(door.ask(stream=True), found)]
    assert "".join(found) == words(5)
    assert error.value.code == "server"
    assert "sent an error" in error.value.message
    raw = door.post({"model": "workflow", "messages": HI, "stream": True}).text
    assert raw.count('{"error"') == 1
    assert "[DONE]" not in raw


def iter_into(stream: Any, found: list[str]) -> Iterator[Any]:
    for one in stream:
        found.append(one.choices[0].delta.content or "")
        yield from ()


def test_a_stream_that_breaks_late_gives_all_before(serve: Serve, replay: str) -> None:
    """More than is written at a time stands before the error, which is known by then."""
    count = 5000
    door = serve(seed(replay, f"n={2 * count},error={count},burst=65536"))
    raw = door.post({"model": "workflow", "messages": HI, "stream": True})
    messages = [json.loads(line[6:]) for line in raw.text.split("\n") if line.startswith("data: {")]
    assert messages[-1]["error"]["code"] == "server"
    pieces = [one["choices"][0]["delta"].get("content", "") for one in messages[:-1]]
    assert "".join(pieces) == words(count)


def test_a_stream_without_an_end_raises(serve: Serve, replay: str) -> None:
    door = serve(seed(replay, "n=20,drop=5,delay=1"))
    with pytest.raises(openai.APIError) as error:
        list(door.ask(stream=True))
    assert error.value.code in ("truncated", "connection_lost")
    with pytest.raises(openai.InternalServerError):
        door.ask()


def test_who_asks_a_person_cannot_be_asked_by_a_chat(serve: Serve) -> None:
    door = serve(
        'workflow: {job: {input: {a: "${input.prompt}"}, interrupt: {before: true}}}\n'
        "component: {type: echo, action: {text: '${input.a}'}}"
    )
    for is_stream in (False, True):
        with pytest.raises(openai.BadRequestError) as error:
            door.ask(stream=is_stream)
        assert error.value.code == "unattended"
    assert door.tasks.running == 0


@pytest.mark.parametrize("is_stream", [False, True])
def test_who_leaves_stops_the_run(is_stream: bool, serve: Serve, replay: str) -> None:
    door = serve(seed(replay, "n=4000,delay=20"))
    until(lambda: stats(replay)["active"] == 0)  # what the tests before have stopped
    before = stats(replay)["aborted"]
    with socket.create_connection(tuple(door.url.removeprefix("http://").split(":"))) as client:  # type: ignore[arg-type]
        body = json.dumps({"model": "workflow", "messages": HI, "stream": is_stream})
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        until(lambda: stats(replay)["active"] == 1)
        assert not is_stream or client.recv(100)
    until(lambda: stats(replay)["aborted"] == before + 1)
    until(lambda: door.tasks.running == 0)


def test_too_many_are_told_to_come_again(serve: Serve, replay: str) -> None:
    door = serve(seed(replay, "n=4000,delay=20"), at_once=1, waiting=0)
    stream = door.ask(stream=True)
    with pytest.raises(openai.RateLimitError) as error:
        door.client(max_retries=0).chat.completions.create(model="workflow", messages=HI)  # type: ignore[call-overload]
    assert int(error.value.response.headers["retry-after"]) >= 1
    assert "x-should-retry" not in error.value.response.headers
    stream.close()


def test_who_waits_for_a_turn_gets_one(serve: Serve, replay: str) -> None:
    door = serve(seed(replay, "n=20,delay=2"), at_once=1, waiting=8)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(text_of(door.ask(stream=True)))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [words(20)] * 5


def test_who_reads_slowly_gets_all(serve: Serve, replay: str) -> None:
    """A reader far behind gets all, no character twice and none lost."""
    count = 20_000
    door = serve(seed(replay, f"n={count},burst=65536"))
    with httpx.stream("POST", f"{door.url}/v1/chat/completions", json={"model": "workflow", "messages": HI, "stream": True}, timeout=60) as answer:  # fmt: skip
        lines = answer.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["choices"]
        until(lambda: door.tasks.running == 0)
        messages = [line.removeprefix("data: ") for line in lines if line]
    assert messages[-1] == "[DONE]"
    pieces = [json.loads(one)["choices"][0]["delta"].get("content", "") for one in messages[:-1]]
    assert "".join(pieces) == words(count)


def test_a_stream_that_is_silent_says_that_it_is_alive(
    serve: Serve, replay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("composemagic.server.openai.reply._BEAT", 0.05)
    door = serve(seed(replay, "n=2,first=300,status=200"))
    raw = door.post({"model": "workflow", "messages": HI, "stream": True})
    assert raw.status_code == 200
    assert raw.text.startswith(":\n\n")
    assert text_of(door.ask(stream=True)) == words(2)
    late = serve(seed(replay, "n=2,first=300,error=0"))
    with pytest.raises(openai.APIError, match="sent an error"):
        list(late.ask(stream=True))


# -- behind the guard


def test_the_token_is_the_key(replay: str) -> None:
    workflows = load_all(seed(replay, "n=5"))
    with serve_workflows(workflows, wanted(workflows[0], port=0, with_page=False, token="a-token-of-ours")) as serving:
        for root in (f"http://127.0.0.1:{serving.port}", serving.url):
            client = sdk().with_options(base_url=f"{root}/v1", api_key="a-token-of-ours")
            stream = client.chat.completions.create(model="workflow", messages=HI, stream=True)  # type: ignore[call-overload]
            assert text_of(stream) == words(5)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="another").models.list()
        foreign = httpx.get(f"{serving.url}/v1/models", headers={"origin": "https://evil.example"})
        assert foreign.status_code in (401, 403)
