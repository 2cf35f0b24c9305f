"""Record and replay: what is answered is kept without secrets, and given again without network, key or model."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import composemagic
from composemagic.api import Workflow
from composemagic.engine.events import Notice, Waiting
from composemagic.engine.run import Run
from composemagic.errors import RunError, UsageError
from composemagic.transport import recording
from composemagic.transport.differences import Difference, differences, nearest, told
from composemagic.transport.recording import Recorder, read
from composemagic.transport.replaying import Embedded, Keyless
from composemagic.words import say, speak
from tests.conformance.faults import KEY, address, document
from tests.conformance.rows import Row, read_rows
from tests.servers.chat import ChatServer
from tests.servers.faults import FaultServer
from tests.test_secret_exits import leaks as leaks_of_the_canary

ROWS = read_rows(Path(__file__).parent / "data" / "faults.jsonl")
TOO_MUCH = {"endless", "huge", "many", "giant-over-limit"}  # more than is worth recording here
FAULTS = {
    row["id"]: row
    for row in ROWS
    if not row["id"].startswith("life-") and row["outcome"] != "cancelled" and row["id"] not in TOO_MUCH
}
CHAT = """
component:
  type: http-client
  base_url: {base}
  path: /v1/chat/completions
  headers: {{Authorization: "Bearer ${{env.FAULTS_API_KEY}}"}}
  body:
    model: ${{input.model | m}}
    temperature: ${{input.temperature as number | 0.7}}
    messages: [{{role: user, content: "${{input.prompt}}"}}]
    stream: true
  stream_format: json
  output: ${{response[].choices[0].delta.content}}
"""


def outcome(run: Run) -> dict[str, Any]:
    error = run.error
    return {
        "status": run.status, "text": run.text, "usage": run.usage, "model": run.model,
        "error": None if error is None else (error.kind, error.sentence),
    }  # fmt: skip


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def chat(base: str, **how: Any) -> Workflow:
    env = {} if "replay" in how else {"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base}
    return composemagic.load(CHAT.format(base=base), env=env, **how)


# -- every fault, recorded and given again ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], dict[str, Any], str]]:
    """What came of each row when it was recorded, of its replay once the server has gone, and the recording."""
    folder = tmp_path_factory.mktemp("recordings")
    with FaultServer() as server:
        places = {name: address(row, server) for name, row in FAULTS.items()}
        runs = {name: begun(FAULTS[name], base, record=folder / name) for name, base in places.items()}
        recorded = {name: ended(run) for name, run in runs.items()}
    runs = {name: begun(FAULTS[name], base, replay=folder / name, replay_speed=None) for name, base in places.items()}
    return {name: (recorded[name], ended(run), (folder / name).read_text("utf-8")) for name, run in runs.items()}


def begun(row: Row, base: str, **how: Any) -> Run:
    env = {"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base} if "record" in how else {}
    return composemagic.load(document(row, base), env=env, **how).start({"prompt": "Say it."})


def ended(run: Run) -> dict[str, Any]:
    assert run.wait(60)
    return outcome(run)


@pytest.mark.parametrize("name", FAULTS)
def test_a_replay_comes_to_the_same(name: str, twice: dict[str, Any]) -> None:
    recorded, replayed, _ = twice[name]
    assert replayed == recorded


@pytest.mark.parametrize("name", FAULTS)
def test_no_recording_tells_the_key(name: str, twice: dict[str, Any]) -> None:
    text = twice[name][2]
    assert text
    assert KEY not in text and base64.b64encode(KEY.encode()).decode() not in text
    for line in map(json.loads, text.splitlines()):
        assert set(line["request"]) == {"method", "url", "body"}
        assert not {"set-cookie", "www-authenticate", "server"} & set(line.get("headers", ()))


def test_what_is_recorded_of_attempts(twice: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in twice["seq-reset-500-ok"][2].splitlines()]
    assert [line.get("status") for line in lines] == [None, 500, 200]
    assert [line["id"] for line in lines] == [1, 2, 3]
    assert lines[0]["fault"]["kind"] == "connection_lost" and lines[0]["fault"]["again"] is True


def test_a_recording_can_be_read_by_people(twice: dict[str, Any]) -> None:
    (line,) = [json.loads(line) for line in twice["ok"][2].splitlines()]
    assert list(line) == ["id", "job", "request", "status", "headers", "answered", "messages", "ended"]
    assert line["request"]["body"] == {"model": "fault-1", "prompt": "Say it.", "stream": True}
    assert line["headers"] == {"content-type": "text/event-stream; charset=utf-8"}
    times, texts = zip(*line["messages"], strict=True)
    assert list(times) == sorted(times) and times[-1] <= line["ended"]
    assert texts[-1] == "data: [DONE]\n\n" and all(text.startswith("data: {") for text in texts[:-1])


def test_bytes_that_are_no_text_are_kept_as_they_are(faults: FaultServer, tmp_path: Path) -> None:
    base, file = faults.url("bad-utf8").rstrip("/"), tmp_path / "class.jsonl"
    first = ended(chat(base, record=file).start({"prompt": "x"}))
    assert any(isinstance(message[1], dict) for line in lines_of(file) for message in line["messages"])
    assert ended(chat(base, replay=file, replay_speed=None).start({"prompt": "x"})) == first


# -- secrets ---------------------------------------------------------------------------------------------------------------

CANARY = "sk-canary-Zq7+Xp/9vTb4RcK8sWd&3"


class Streaming(httpx.AsyncBaseTransport):
    """Answers with these pieces of a stream, or with what it is given whole."""

    def __init__(self, *pieces: str, kind: str = "text/event-stream", **headers: str) -> None:
        self.pieces, self.headers = pieces, {"content-type": kind, **headers}
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return httpx.Response(200, headers=self.headers, content=self._body())

    async def _body(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece.encode()


def delta(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


END = 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
ECHOES = {
    "in one message": (delta(f"your key is {CANARY}!"), END),
    "cut over two": (delta("your key is " + CANARY[:9]), delta(CANARY[9:] + "!"), END),
    "letter by letter": (*(delta(letter) for letter in CANARY), END),
    "as base64": (delta(base64.b64encode(CANARY.encode()).decode()), END),
    "cut over two reads": (delta(f"k {CANARY}")[:60], delta(f"k {CANARY}")[60:], END),
}


@pytest.mark.parametrize("pieces", ECHOES.values(), ids=list(ECHOES))
def test_a_key_that_the_server_repeats_is_not_recorded(pieces: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    way = Streaming(*pieces, **{"set-cookie": f"session={CANARY}", "x-seen": CANARY})
    workflow = composemagic.load(
        CHAT.format(base="http://127.0.0.1:1"), env={"FAULTS_API_KEY": CANARY}, transport=way, record=file
    )
    run = workflow.run(prompt="Hello")
    assert way.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    text = file.read_text("utf-8")
    assert not leaks_of_the_canary(text) and "***" in text and "cookie" not in text
    (line,) = lines_of(file)
    told_again = "".join(deltas(line["messages"]))
    assert not leaks_of_the_canary(told_again)
    replayed = composemagic.load(CHAT.format(base="http://127.0.0.1:1"), env={}, replay=file, replay_speed=None)
    assert replayed.run(prompt="Hello").text == run.text


def deltas(messages: list[Any]) -> Iterator[str]:
    for _, text in messages:
        for line in text.splitlines():
            if line.startswith("data: {"):
                yield json.loads(line[6:])["choices"][0]["delta"].get("content", "")


def test_keys_in_bodies_and_addresses_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    yaml = """
component:
  type: http-client
  method: POST
  endpoint: http://127.0.0.1:1/find?api_key=${input.key}&q=x
  headers: {X-Api-Key: "${input.key}", Cookie: "id=${input.key}"}
  body: {password: "${input.key}", note: "${input.key} is the word", max_tokens: 5, key: C}
  output: ${response}
"""
    way = Streaming(json.dumps({"you": "open-sesame-99"}), kind="application/json")
    composemagic.load(yaml, transport=way, record=file).run(key="open-sesame-99")
    (line,) = lines_of(file)
    assert "open-sesame-99" not in file.read_text("utf-8")
    assert line["request"]["url"] == "http://127.0.0.1:1/find?api_key=***&q=x"
    assert line["request"]["body"] == {"password": "***", "note": "*** is the word", "max_tokens": 5, "key": "C"}
    assert json.loads(line["body"]) == {"you": "***"}


# -- no network, no key ------------------------------------------------------------------------------------------------------


def test_a_lesson_works_without_a_key(faults: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAULTS_API_KEY", raising=False)
    base, file = faults.url("ok").rstrip("/"), tmp_path / "class.jsonl"
    chat(base, record=file).run(prompt="Hello")
    assert chat(base).unset_variables() == () and composemagic.load(CHAT.format(base=base)).unset_variables()
    faults.reset()
    replayed = chat(base, replay=file, replay_speed=None)
    assert replayed.unset_variables() == ()
    assert replayed.run(prompt="Hello").text == "w0 w1 w2 w3 w4 "
    assert not faults.hits("ok")


def test_only_secrets_may_be_missing() -> None:
    env = Keyless({"MODEL": "m", "MY_KEY": "mine"})
    assert (env["MODEL"], env["MY_KEY"]) == ("m", "mine") and "A_TOKEN" in env and env["A_TOKEN"]
    assert "HOST" not in env and sorted(env) == ["MODEL", "MY_KEY"] and len(env) == 2
    with pytest.raises(KeyError):
        env["HOST"]


def test_nobody_is_asked_where_a_key_may_go(tmp_path: Path) -> None:
    """What was allowed where it was recorded need not be allowed again where nothing is sent."""
    yaml = CHAT.format(base="https://elsewhere.example")
    request = {"model": "m", "temperature": 0.7, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    file = tmp_path / "class.jsonl"
    file.write_text(
        json.dumps(
            {
                "request": {
                    "method": "POST", "url": "https://elsewhere.example/v1/chat/completions", "body": request
                },
                "status": 200, "headers": {"content-type": "text/event-stream"},
                "messages": [[9000.0, delta("Hello")], [9000.5, END]], "ended": 9001,
            }
        )
    )  # fmt: skip
    key = {"FAULTS_API_KEY": KEY}
    with pytest.raises(RunError, match="may not be sent"):
        composemagic.load(yaml, env=key).run(prompt="Hi")
    # at once: the recording says that it took two hours and a half
    assert composemagic.load(yaml, env=key, replay=file, replay_speed=None).run(prompt="Hi").text == "Hello"
    assert composemagic.load(yaml, env=key, replay=file, replay_speed=1e6).run(prompt="Hi").text == "Hello"


def test_an_mcp_server_is_not_recorded(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    file.write_text("")
    yaml = "component: {type: mcp-client, url: 'http://127.0.0.1:1/mcp', tool: add, output: '${response}'}"
    with pytest.raises(RunError, match="is not recorded, and a replay asks nobody") as caught:
        composemagic.load(yaml, replay=file).run()
    assert caught.value.kind == "replay"


# -- requests that were recorded several times, or never ---------------------------------------------------------------------


def test_the_same_request_gets_its_answers_in_turn(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    for word in ("one", "two"):
        way = Streaming(delta(word), END)
        composemagic.load(CHAT.format(base="http://127.0.0.1:1"), env={"FAULTS_API_KEY": KEY}, transport=way, record=file).run(prompt="Hi")  # fmt: skip
    assert [line["id"] for line in lines_of(file)] == [1, 2]
    replayed = chat("http://127.0.0.1:1", replay=file, replay_speed=None)
    assert [replayed.run(prompt="Hi").text for _ in range(4)] == ["one", "two", "two", "two"]


def test_a_changed_request_is_told_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    way = Streaming(delta("x"), END)
    composemagic.load(CHAT.format(base="http://127.0.0.1:1"), env={"FAULTS_API_KEY": KEY}, transport=way, record=file).run(prompt="Hi")  # fmt: skip
    replayed = chat("http://127.0.0.1:1", replay=file)
    with pytest.raises(RunError) as caught:
        replayed.run(prompt="Hi", temperature=1.2)
    assert caught.value.kind == "replay"
    assert caught.value.sentence == (
        "no recording in class.jsonl fits this request: `temperature` is 1.2, and was 0.7 in the recording"
    )
    assert not isinstance(caught.value.__cause__, httpx.HTTPError)


def test_an_empty_recording_says_so(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    file.write_text("")
    with pytest.raises(RunError, match=r"class\.jsonl holds no recording"):
        chat("http://127.0.0.1:1", replay=file).run(prompt="Hi")


BODY = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
    "n": 1,
}
REQUEST = {"method": "POST", "url": "https://h/v1", "body": BODY}
LONG = "word " * 40
SHOWN = '{"model": "m", "messages": [{"role": "system", "content": "B…'


def changed(**more: Any) -> dict[str, Any]:
    return {**REQUEST, **more}


def body(**more: Any) -> dict[str, Any]:
    return {**REQUEST, "body": {**BODY, **more}}


DIFFERENT = {
    "nothing": (REQUEST, ""),
    "model": (body(model="gpt"), '`model` is "gpt", and was "m" in the recording'),
    "a message": (
        body(messages=[BODY["messages"][0], {"role": "user", "content": "Bye"}]),  # type: ignore[index]
        '`messages[1].content` is "Bye", and was "Hi" in the recording',
    ),
    "a message more": (
        body(messages=[*BODY["messages"], {"role": "user"}]),  # type: ignore[misc]
        '`messages[2]` is {"role": "user"}, and the recording has none',
    ),
    "a message less": (
        body(messages=BODY["messages"][:1]),  # type: ignore[index]
        '`messages[1]` is missing, and was {"role": "user", "content": "Hi"} in the recording',
    ),
    "a key more": (body(top_p=0.5), "`top_p` is 0.5, and the recording has none"),
    "true is no 1": (body(n=True), "`n` is true, and was 1 in the recording"),
    "but 1.0 is": (body(n=1.0), ""),
    "null is a value": (body(stop=None), "`stop` is null, and the recording has none"),
    "the address": (changed(url="https://h/v2"), 'the URL is "https://h/v2", and was "https://h/v1" in the recording'),
    "the method": (changed(method="GET"), 'the method is "GET", and was "POST" in the recording'),
    "no body": (changed(body=None), f"the body is missing, and was {SHOWN} in the recording"),
    "another kind of body": (changed(body="text"), f'the body is "text", and was {SHOWN} in the recording'),
    "four things": (
        body(model="x", n=2, a=1, b=2),
        '`model` is "x", and was "m" in the recording; `n` is 2, and was 1 in the recording; `a` is 1, and the recording has '
        "none; and 1 more",
    ),
    "hostile": (body(model="\x1b[31m\u202e"), '`model` is "\\u001b[31m", and was "m" in the recording'),
}  # fmt: skip


@pytest.mark.parametrize(("actual", "words"), DIFFERENT.values(), ids=list(DIFFERENT))
def test_what_differs(actual: dict[str, Any], words: str) -> None:
    found = told(differences(REQUEST, actual))
    assert found == words


def test_of_long_texts_the_place_that_differs_is_shown() -> None:
    found = told([Difference("prompt", f"{LONG}ends here{LONG}", f"{LONG}goes on{LONG}")])
    assert "goes onword" in found and "ends hereword" in found
    assert len(found) < 250 and found.count("…") == 4


def test_the_nearest_recording_is_compared() -> None:
    others = [changed(url="https://h/v2"), body(model="x", n=3), body(model="x"), changed(body=None)]
    assert nearest(others, REQUEST) == [Difference("model", "x", "m")]
    assert [one.path for one in nearest([changed(url="https://other")], REQUEST)] == ["the URL"]


# -- more than one request -----------------------------------------------------------------------------------------------------

MANY = """
workflow:
  jobs:
    - id: all
      type: for-each
      input: ${{input.words}}
      batch_size: 4
      do:
        component: ask
        input: {{prompt: "${{item}}"}}
components:
  - id: ask
    type: http-client
    base_url: {base}
    path: /v1/chat/completions
    body: {{model: m, messages: [{{role: user, content: "${{input.prompt}}"}}]}}
    output: ${{response.choices[0].message.content}}
"""
POLL = """
component:
  type: http-client
  base_url: http://127.0.0.1:1
  path: /paint
  body: {prompt: "${input.prompt}"}
  completion: {type: polling, path: "/paint/${response.id}", status: "${result.state}", success_when: done, interval: 10ms}
  output: ${result.url}
"""


class Answering(httpx.AsyncBaseTransport):
    """Answers what a function says of the body and of how often it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.count = answer, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        self.count += 1
        return httpx.Response(200, json=self.answer(json.loads(content or b"null"), self.count))


def test_a_for_each_finds_each_of_its_answers(tmp_path: Path) -> None:
    file, words = tmp_path / "class.jsonl", [f"word {number}" for number in range(12)]

    def answer(body: Any, count: int) -> Any:
        return {"choices": [{"message": {"content": body["messages"][0]["content"].upper()}, "finish_reason": "stop"}]}

    yaml = MANY.format(base="http://127.0.0.1:1")
    first = composemagic.load(yaml, transport=Answering(answer), record=file).run(words=words)
    again = composemagic.load(yaml, replay=file, replay_speed=None).run(words=words)
    assert first.output == again.output == [word.upper() for word in words]


def test_polling_is_replayed_step_by_step(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    steps = [{"id": "7"}, {"state": "busy"}, {"state": "busy"}, {"state": "done", "url": "http://x/cat.png"}]
    way = Answering(lambda _, count: steps[count - 1])
    first = composemagic.load(POLL, transport=way, record=file).run(prompt="a cat")
    again = composemagic.load(POLL, replay=file, replay_speed=None).run(prompt="a cat")
    assert first.output == again.output == "http://x/cat.png"
    assert len(lines_of(file)) == 4


def test_a_recorded_500_is_tried_again(faults: FaultServer, tmp_path: Path) -> None:
    base, file = faults.url("seq", id="rec", steps="500,ok").rstrip("/"), tmp_path / "class.jsonl"
    first = chat(base, record=file).run(prompt="x")
    again = chat(base, replay=file, replay_speed=None).run(prompt="x")
    for run in (first, again):
        assert [type(event) for event in run.events].count(Waiting) == 1
        assert run.text == "w0 w1 w2 w3 w4 "


def test_parts_are_the_same_though_their_boundary_is_not(tmp_path: Path) -> None:
    yaml = """
component:
  type: http-client
  endpoint: http://127.0.0.1:1/up
  headers: {Content-Type: multipart/form-data}
  body: {title: "${input.title}", n: 3}
  output: ${response.ok}
"""
    file = tmp_path / "class.jsonl"
    way = Streaming('{"ok": true}', kind="application/json")
    composemagic.load(yaml, transport=way, record=file).run(title="Cat")
    assert set(lines_of(file)[0]["request"]["body"]) == {"bytes", "sha256"}
    replayed = composemagic.load(yaml, replay=file, replay_speed=None)
    assert replayed.run(title="Cat").output is True
    with pytest.raises(RunError, match="`sha256` is"):
        replayed.run(title="Dog")


def test_a_body_that_streams_out_is_recorded_whole(faults: FaultServer, tmp_path: Path) -> None:
    yaml = """
workflow:
  jobs:
    - {id: one, component: ask, input: {prompt: x}}
    - {id: two, component: put, input: "${jobs.one.output}", depends_on: [one]}
components:
  - {id: ask, type: http-client, endpoint: "BASE/v1/chat/completions", body: {stream: true}, stream_format: json,
     output: "${response[].choices[0].delta.content}"}
  - {id: put, type: http-client, endpoint: "ECHO/up", body: "${input}", headers: {Content-Type: text/plain},
     output: "${response.body}"}
""".replace("BASE", faults.url("ok").rstrip("/")).replace("ECHO", faults.url("echo").rstrip("/"))
    file = tmp_path / "class.jsonl"
    first = composemagic.load(yaml, record=file).run()
    assert [line["request"]["body"] for line in lines_of(file)][-1] == "w0 w1 w2 w3 w4 "
    assert composemagic.load(yaml, replay=file, replay_speed=None).run().output == first.output == "w0 w1 w2 w3 w4 "


# -- models on this machine --------------------------------------------------------------------------------------------------


def test_the_embedded_model_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its port is another one each time, and in a replay it does not start."""
    yaml = CHAT.format(base="https://api.openai.com").replace("FAULTS_", "OPENAI_").replace("/v1/chat", "/chat")
    file = tmp_path / "class.jsonl"
    with ChatServer() as server:
        model = Embedded("Small (embedded)", f"{server.plays('small', {'text': 'Hello there'})}/v1", "the-key-of-now")
        monkeypatch.setattr("composemagic.api._embedded", lambda progress: model)
        first = composemagic.load(yaml, local=True, record=file).run(prompt="Hi")
    (line,) = lines_of(file)
    assert (
        line["local"] == "Small (embedded)" and line["request"]["url"] == "http://embedded.invalid/v1/chat/completions"
    )

    def start(progress: Any) -> Any:
        raise AssertionError("the model was started")

    monkeypatch.setattr("composemagic.api._embedded", start)
    again = composemagic.load(yaml, local=True, replay=file, replay_speed=None).run(prompt="Hi")
    assert again.text == first.text == "Hello there" and again.is_local and again.model == "Small (embedded)"
    elsewhere = composemagic.load(yaml, replay=file, replay_speed=None)
    with pytest.raises(
        RunError, match=r"^compose: class\.jsonl was recorded with the embedded model: replay it with `--local` "
    ):
        elsewhere.run(prompt="Hi")
    others = tmp_path / "others.jsonl"
    record = Streaming(delta("x"), END)
    composemagic.load(yaml, env={"OPENAI_API_KEY": KEY}, transport=record, record=others).run(prompt="Hi")
    with pytest.raises(
        RunError, match=r"^compose: others\.jsonl was recorded without `--local` \(`local=True`\): replay it without"
    ):
        composemagic.load(yaml, local=True, replay=others, replay_speed=None).run(prompt="Hi")


@pytest.mark.parametrize(
    ("recorded", "yaml"),
    [
        (
            "http://embedded.invalid/v1/chat/completions",
            "component: {type: http-client, endpoint: 'http://127.0.0.1:1/weather'}",
        ),
        ("http://127.0.0.1:1/weather", "component: {type: model, task: text-generation, prompt: Hi}"),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_local_or_not_is_no_reason_where_something_else_is_asked(
    tmp_path: Path, recorded: str, yaml: str, local: bool
) -> None:
    file = tmp_path / "class.jsonl"
    file.write_text(json.dumps({"request": {"method": "POST", "url": recorded, "body": {}}, "status": 200}))
    with pytest.raises(RunError, match=r"no recording in class\.jsonl fits this request"):
        composemagic.load(yaml, local=local, replay=file, replay_speed=None).run()


def test_a_model_component_is_not_started_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = "component: {type: model, task: text-generation, prompt: '${input.prompt}', output: '${result}'}"
    file = tmp_path / "class.jsonl"
    with ChatServer() as server:
        model = Embedded("Small", f"{server.plays('small', {'text': 'Once'})}/v1", "k")
        monkeypatch.setattr("composemagic.components.model.files.served", lambda *_: model)
        way = Answering(lambda *_: {"choices": [{"text": "Once", "finish_reason": "stop"}]})
        first = composemagic.load(yaml, record=file, transport=way).run(prompt="Tell")
    monkeypatch.setattr("composemagic.components.model.files.served", lambda *_: 1 / 0)
    again = composemagic.load(yaml, replay=file, replay_speed=None).run(prompt="Tell")
    assert again.output == first.output == "Once"


# -- the file ------------------------------------------------------------------------------------------------------------------


def test_a_broken_line_is_skipped_with_a_note(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    way = Streaming(delta("x"), END)
    how = {"env": {"FAULTS_API_KEY": KEY}, "transport": way}
    yaml = CHAT.format(base="http://127.0.0.1:1")
    composemagic.load(yaml, record=file, **how).run(prompt="Hi")  # type: ignore[arg-type]
    with file.open("a") as end:
        end.write('{"id": 2, "request": {"meth')  # cut off while it was written
    replayed = chat("http://127.0.0.1:1", replay=file, replay_speed=None)
    assert replayed.notes[1:] == ("line 2 of class.jsonl is no recording and was skipped",)
    run = replayed.run(prompt="Hi")
    assert [event.sentence for event in run.events if isinstance(event, Notice)] == list(replayed.notes)
    composemagic.load(yaml, record=file, **how).run(prompt="Again")  # type: ignore[arg-type]
    assert chat("http://127.0.0.1:1", replay=file, replay_speed=None).run(prompt="Again").text == "x"


@pytest.mark.parametrize(
    "line",
    ["[]", "5", "{}", '{"request": {}}', '{"request": {"url": 5}, "status": 200}', '{"request": {"url": "x"}}',
     '{"request": {"url": "x"}, "status": "no"}', '{"request": {"url": "x"}, "status": 200, "messages": [5]}',
     '{"request": {"url": "x"}, "status": 200, "body": {"base64": "é"}}', '{"request": {"url": "x"}, "fault": {}}', "[" * 5000],
    ids=str,
)  # fmt: skip
def test_lines_that_are_no_recording(line: str, tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    file.write_text(f"{line}\n\n")
    found = read(file)
    assert (found.exchanges, len(found.notes)) == ((), 1)


def test_several_who_record_into_one_file_do_not_cut_each_other(faults: FaultServer, tmp_path: Path) -> None:
    base, file = faults.url("ok", n=50, gap=0).rstrip("/"), tmp_path / "class.jsonl"
    workflows = [chat(base, record=file) for _ in range(4)]
    threads = [threading.Thread(target=lambda one=one: [one.run(prompt=str(n)) for n in range(5)]) for one in workflows]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines_of(file)) == 20
    assert not read(file).notes


def test_a_run_that_was_stopped_is_not_recorded(faults: FaultServer, tmp_path: Path) -> None:
    base, file = faults.url("stall-mid").rstrip("/"), tmp_path / "class.jsonl"
    run = chat(base, record=file).start({"prompt": "x"})
    for _ in run:
        if run.text == "w0 w1 w2 ":
            run.cancel()
    assert run.status == "stopped" and lines_of(file) == []


def test_a_file_that_cannot_be_written_spoils_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    way = Streaming(delta("x"), END)
    workflow = composemagic.load(
        CHAT.format(base="http://127.0.0.1:1"),
        env={"FAULTS_API_KEY": KEY},
        transport=way,
        record=folder / "class.jsonl",
    )
    (folder / "class.jsonl").unlink()
    folder.rmdir()
    run = workflow.run(prompt="Hi")
    assert run.text == "x"
    assert any("class.jsonl` cannot be written: no such file" in str(event) for event in run.events)


def test_too_large_an_answer_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.transport.tap.ANSWER_LIMIT", 100)
    file = tmp_path / "class.jsonl"
    way = Streaming(delta("x" * 80), END)
    workflow = composemagic.load(
        CHAT.format(base="http://127.0.0.1:1"), env={"FAULTS_API_KEY": KEY}, transport=way, record=file
    )
    run = workflow.run(prompt="Hi")
    assert run.text == "x" * 80 and lines_of(file) == []
    assert any("is not recorded" in str(event) for event in run.events)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"record": "a", "replay": "b"}, "`record` or `replay`"),
    ({"replay": "nothing.jsonl"}, "there is no recording `nothing.jsonl`"),
    ({"replay": "."}, "the recording `.` cannot be read: is a directory"),
    ({"record": "nowhere/class.jsonl"}, "the recording `nowhere/class.jsonl` cannot be written: no such file"),
    ({"record": 5}, "`record` is the path of a file, not 5"),
    ({"replay": " "}, "`replay` is the path of a file, not ' '"),
    ({"replay": "there.jsonl", "replay_speed": 0}, "`replay_speed` is a number above 0, or None for at once, not 0"),
    ({"replay": "there.jsonl", "replay_speed": True}, "`replay_speed` is a number above 0"),
    ({"replay": "there.jsonl", "replay_speed": float("inf")}, "`replay_speed` is a number above 0"),
    ({"replay": "there.jsonl", "transport": Streaming()}, "`transport` or `replay`"),
]


@pytest.mark.parametrize(("how", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_options_that_cannot_be(
    how: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.jsonl").touch()
    with pytest.raises(UsageError) as caught:
        composemagic.load("component: {type: echo, text: x}", **how)
    assert words in str(caught.value)


def test_who_neither_records_nor_traces_has_no_tap(faults: FaultServer) -> None:
    run = chat(faults.url("ok").rstrip("/")).run(prompt="x")
    assert run.wire.tap is None and run.wire.line("job") is None and run.trace is None


@pytest.mark.parametrize(
    "held",
    [
        b'{\n "cells": []\n}\n',
        b"my notes",
        b"component: {type: echo}\n",
        b'"a request"\n',
        b"[" * 99_999,
        b"\x00\xff\n",
        b"\n\nx",
        b'{"id": 1, "prompt": "What is new?"}\n{"id": 2, "prompt": "And today?"}\n',
    ],
)
def test_nothing_is_added_to_a_file_that_holds_something_else(tmp_path: Path, held: bytes) -> None:
    file = tmp_path / "lesson.ipynb"
    file.write_bytes(held)
    with pytest.raises(UsageError, match="is no recording, so nothing is added to it"):
        composemagic.load("component: {type: echo, text: x}", record=file)
    assert file.read_bytes() == held


@pytest.mark.parametrize(
    "held", [b"", b"\n\n", b'{"id"', b'{"id": 7, "req', b'{"request": {"url": "x"}, "fault": {}}\n']
)
def test_a_recording_that_is_new_or_was_cut_off_or_edited_goes_on(tmp_path: Path, held: bytes) -> None:
    file = tmp_path / "class.jsonl"
    file.write_bytes(held)
    assert Recorder(file).path == file


def test_a_recorder_counts_on(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    file.write_bytes(b'{"id": 1, "request": {}}\n{"id": 2, "request": {}}\n')
    assert Recorder(file)._count == 2
    assert recording.Recording("x", ()).notes == ()


def test_a_replay_can_be_stopped_while_it_waits(tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    way = Streaming(delta("x"), END)
    composemagic.load(CHAT.format(base="http://127.0.0.1:1"), env={"FAULTS_API_KEY": KEY}, transport=way, record=file).run(prompt="Hi")  # fmt: skip
    (line,) = lines_of(file)
    line |= {"messages": [[0.0, delta("x")], [9000.0, END]], "ended": 9000.0}
    file.write_text(json.dumps(line))
    run = chat("http://127.0.0.1:1", replay=file).start({"prompt": "Hi"})

    async def stop_at_the_first_word() -> None:
        async for _ in run:
            if run.text == "x":
                run.cancel()

    asyncio.run(stop_at_the_first_word())
    assert (run.status, run.text) == ("stopped", "x")


BY_HAND: dict[str, tuple[str, Any, str]] = {
    "an end that is no number": ("ended", float("nan"), "skipped"),
    "a time that is no number": ("answered", float("nan"), "skipped"),
    "a piece that never comes": ("messages", [[float("inf"), END]], "skipped"),
    "a number too large": ("ended", 10**400, "skipped"),
    "a time before the start": ("ended", -5, "done"),
    "letters that are not ASCII": ("headers", {"content-type": "text/event-stream", "x-ratelimit-é": "café"}, "done"),
    "a line end in a header": ("headers", {"content-type": "text/event-stream", "x-ratelimit": "a\nb"}, "done"),
    "another spelling of a number": ("request", {"temperature": 1.0}, "done"),
}


@pytest.mark.parametrize(("key", "value", "outcome"), BY_HAND.values(), ids=list(BY_HAND))
def test_a_recording_that_was_edited_by_hand(key: str, value: Any, outcome: str, tmp_path: Path) -> None:
    """Whatever stands there is replayed or skipped; the loop of all runs must not wait for NaN."""
    file, way = tmp_path / "class.jsonl", Streaming(delta("x"), END)
    how: dict[str, Any] = {"env": {"FAULTS_API_KEY": KEY}, "transport": way, "record": file}
    composemagic.load(CHAT.format(base="http://127.0.0.1:1"), **how).run(prompt="Hi", temperature=1)
    (line,) = lines_of(file)
    if key == "request":
        line["request"]["body"] |= value
    else:
        line[key] = value
    file.write_text(json.dumps(line))
    run = chat("http://127.0.0.1:1", replay=file, replay_speed=100).start({"prompt": "Hi", "temperature": 1})
    assert run.wait(60)
    if outcome == "done":
        assert (run.status, run.text) == ("done", "x")
    else:
        assert str(run.error).endswith("class.jsonl holds no recording")
        assert any("line 1 of class.jsonl is no recording" in str(event) for event in run.events)


def test_a_header_in_latin_1_is_replayed(tmp_path: Path) -> None:
    class Latin(Streaming):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            answer.headers = httpx.Headers([*answer.headers.raw, (b"x-ratelimit-plan", b"caf\xe9")])
            return answer

    file, way = tmp_path / "class.jsonl", Latin(delta("x"), END)
    how: dict[str, Any] = {"env": {"FAULTS_API_KEY": KEY}, "transport": way, "record": file}
    composemagic.load(CHAT.format(base="http://127.0.0.1:1"), **how).run(prompt="Hi")
    assert lines_of(file)[0]["headers"]["x-ratelimit-plan"] == "café"
    assert chat("http://127.0.0.1:1", replay=file, replay_speed=None).run(prompt="Hi").text == "x"


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_readme_says_what_is_said(readme: str) -> None:
    speak("zh" if "zh" in readme else "en")
    try:
        found = told([Difference("temperature", 0.7, 1.2)])
        words = say("no recording in {file} fits this request: {differences}", file="class.jsonl", differences=found)
    finally:
        speak(None)
    assert f"> {words}\n" in (Path(__file__).parent.parent / readme).read_text("utf-8")


def test_a_deep_body_is_known_by_its_hash(tmp_path: Path) -> None:
    deep = "[" * 600 + "]" * 600
    yaml = (
        "component: {type: http-client, endpoint: 'http://127.0.0.1:1/x', body: '${input.a}', output: '${response.ok}'}"
    )
    file = tmp_path / "class.jsonl"
    way = Streaming('{"ok": 1}', kind="application/json")
    composemagic.load(yaml, transport=way, record=file).run(a=deep)
    assert set(lines_of(file)[0]["request"]["body"]) == {"bytes", "sha256"}
    assert composemagic.load(yaml, replay=file, replay_speed=None).run(a=deep).output == 1
