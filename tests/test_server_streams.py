"""What streams: pieces as they come, whole characters, an end that says how, clients that leave, do not read, or come again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import composemagic
from composemagic.engine.events import Delta
from composemagic.engine.loop import private_loop
from composemagic.server.clients import Patience
from composemagic.server.events import OutputMessages
from tests.api_server import Api, api
from tests.conftest import EchoServer, replay_server
from tests.event_source import EventSource, Raw, messages, texts
from tests.servers.faults import FaultServer

SECONDS = 60

CHAT = """
  - id: {id}
    type: http-client
    base_url: "{url}"
    action:
      path: /chat/completions
      body: {{model: m, stream: true, messages: [{{role: user, content: "${{input.prompt}}"}}]}}
      stream_format: json
      output: "${{response[].choices[0].delta.content}}"
"""
DOCUMENT = """
workflows:
  - {id: sse, default: true, job: {component: sse, output: "${output as stream/text}"}}
  - {id: json, job: {component: values, output: "${output as stream/json}"}}
  - {id: untyped, job: {component: values}}
  - {id: inside, job: {component: sse, output: {a: "${output}", n: 1}}}
  - {id: words, job: {component: words, output: "${output as stream/text}"}}
  - {id: nothing, job: {component: values, input: {events: []}, output: "${output as stream/text}"}}
  - {id: asks, jobs: [{id: a, component: words, interrupt: {before: true}, output: "${output as stream/text}"}]}
components:
  - id: sse
    type: http-client
    base_url: "{{ECHO}}"
    action: {path: /sse, body: {events: "${input.events}", done: true}, stream_format: json, output: "${response[].d}"}
  - id: values
    type: http-client
    base_url: "{{ECHO}}"
    action: {path: /sse, body: {events: "${input.events}", done: true}, stream_format: json}
  - {id: words, type: echo, action: {text: "${input.text}", delay: "${input.delay | 0}"}}
"""


@pytest.fixture(scope="module")
def served(_echo_thread: EchoServer) -> Iterator[Api]:
    with api(DOCUMENT.replace("{{ECHO}}", _echo_thread.url), patience=Patience(heartbeat=0.2)) as found:
        yield found


@pytest.fixture(scope="module")
def client(served: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=SECONDS) as found:
        yield found


def run(client: httpx.Client, workflow: str, value: Any, **more: Any) -> httpx.Response:
    return client.post("/workflows/runs", json={"workflow_id": workflow, "input": value, **more})


def until(holds: Callable[[], bool], seconds: float = SECONDS) -> float:
    """Wait for a condition; how many seconds it took."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() < start + seconds, "it did not come true"
        time.sleep(0.005)  # between two looks at it
    return time.monotonic() - start


# -- what is sent


@pytest.mark.parametrize("more", [{}, {"output_only": True}, {"output_only": False}])
def test_a_stream_is_answered_as_events(client: httpx.Client, more: dict[str, Any]) -> None:
    answer = run(client, "sse", {"events": [{"d": "hi "}, {"d": "you"}]}, **more)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    head, end = answer.text.split("event: end\ndata: ")
    assert head == "data: hi \n\ndata: you\n\n"
    assert json.loads(end) == {
        "status": "completed",
        "usage": None,
        "model": None,
        "text_length": 6,
        "task_id": answer.headers["x-task-id"],
    }


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (["a\nb"], ["a\nb"]),
        (["\n"], ["\n"]),
        (["a\r\nb", "\rc"], ["a\nb", "\nc"]),
        (["c\r", "\nd"], ["c\n", "d"]),
        (["c\r", "\n", "d"], ["c\n", "d"]),
        (["c\r", "d"], ["c\n", "d"]),
        (["\r", "\n", "\n"], ["\n", "\n"]),
        (["\u2028", "a\u2029b", "\x85", "\x0b\x0c\x1c"], ["\u2028", "a\u2029b", "\x85", "\x0b\x0c\x1c"]),
        (["😀", "👩\u200d👩\u200d👧", "漢字"], ["😀", "👩\u200d👩\u200d👧", "漢字"]),
        ([" two spaces", ":", "data: x", "id: 5\nevent: end"], [" two spaces", ":", "data: x", "id: 5\nevent: end"]),
        (["\ufeffx"], ["\ufeffx"]),
        (["\x00"], ["\x00"]),
    ],
)
def test_pieces_arrive_whole(client: httpx.Client, pieces: list[str], lines: list[str]) -> None:
    answer = run(client, "sse", {"events": [{"d": piece} for piece in pieces]})
    found = messages(answer.content)
    assert texts(found) == lines
    assert found[-1].event == "end"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.sampled_from("a \r\n:\u2028😀\x00") | st.characters(exclude_categories=["Cs"]), max_size=6)))
def test_any_text_comes_through(pieces: list[str]) -> None:
    """However it is cut; only its line ends become LF."""
    task = SimpleNamespace(streams=True)
    found = OutputMessages(task).written([(at, Delta(piece)) for at, piece in enumerate(pieces, 1)])  # type: ignore[arg-type]
    assert "".join(texts(messages(found))) == "".join(pieces).replace("\r\n", "\n").replace("\r", "\n")


def test_json_is_sent_exactly(client: httpx.Client) -> None:
    values = [{"a": "x\ny\u2028"}, [1, None], "text\r", 0.5, {"ü": "😀"}]
    found = messages(run(client, "json", {"events": [json.dumps(one) for one in values]}).content)
    assert [json.loads(text) for text in texts(found)] == values
    assert texts(found)[0] == '{"a": "x\\ny\u2028"}'


def test_a_stream_of_no_type_is_text_or_json(client: httpx.Client) -> None:
    found = messages(run(client, "untyped", {"events": ['"a"', '{"b": 1}', "[2]"]}).content)
    assert texts(found) == ["a", '{"b":1}', "[2]"]


def test_a_stream_without_pieces_has_an_end(client: httpx.Client) -> None:
    (end,) = messages(run(client, "nothing", {"events": []}).content)
    assert (end.event, json.loads(end.data)["text_length"]) == ("end", 0)


def test_a_stream_inside_an_object_is_collected(client: httpx.Client) -> None:
    answer = run(client, "inside", {"events": [{"d": "a"}, {"d": "b"}]}, output_only=True)
    assert answer.json() == {"a": "ab", "n": 1}


def test_who_asks_for_events_gets_ids(client: httpx.Client) -> None:
    body = {"workflow_id": "words", "input": {"text": "a b c"}}
    answer = client.post("/workflows/runs", json=body, headers={"accept": "text/event-stream, */*;q=0.1"})
    numbers = [int(message.id) for message in messages(answer.content)]
    assert len(numbers) == 4 and numbers == sorted(set(numbers))
    task = answer.headers["x-task-id"]
    again = client.get(f"/tasks/{task}/stream", headers={"last-event-id": str(numbers[0])})
    assert texts(messages(again.content)) == [" b", " c"]


@pytest.fixture(scope="module")
def octets() -> Iterator[Api]:
    """A component that streams bytes, with a break in the end if that is asked for."""

    @composemagic.component("octets-of-a-test")
    def octets(count: int, breaks: Any = None) -> Iterator[bytes]:
        for at in range(count):
            yield bytes([at, 0xFF])
        if breaks:
            raise ValueError("broken")

    document = """
    workflow: {job: {component: o, input: "${input}"}}
    component: {id: o, type: octets-of-a-test, count: "${input.n as integer}", breaks: "${input.b}"}
    """
    with api(document) as found:
        yield found
    octets.undo()  # type: ignore[attr-defined]


def test_bytes_stay_bytes(octets: Api) -> None:
    answer = httpx.post(f"{octets.url}/workflows/runs", json={"input": {"n": 3}})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == b"\x00\xff\x01\xff\x02\xff"
    task = f"{octets.url}/tasks/{answer.headers['x-task-id']}"
    assert httpx.get(task, params={"output_only": "true"}).content == answer.content
    assert httpx.get(task).json()["output"] == ["AP8=", "Af8=", "Av8="]
    assert texts(messages(httpx.get(f"{task}/stream").content)) == ['"AP8="', '"Af8="', '"Av8="']


def test_bytes_that_break_have_no_end(octets: Api) -> None:
    raw = Raw(octets.port, "/api/workflows/runs", {"input": {"n": 3, "b": True}})
    with pytest.raises(EOFError):
        raw.read()
    raw.close()
    assert b"application/octet-stream" in raw.head


# -- as it comes


def test_every_piece_comes_as_it_is_made(served: Api) -> None:
    """The first pieces are here while the run still waits before the next one."""
    body = {"workflow_id": "words", "input": {"text": "a b c d", "delay": 0.15}}
    raw, begun = Raw(served.port, "/api/workflows/runs", body), time.monotonic()
    came = [(time.monotonic() - begun, data) for data in raw.reads()]
    pieces = [
        (at, data) for at, data in came if data.startswith(b"data: ") or (b"\ndata: " in data and b"event" not in data)
    ]
    assert len(pieces) == 4  # a write of its own for each: nothing waited for the next
    assert b"transfer-encoding: chunked" in raw.head.lower()
    raw.close()


def test_silence_is_broken_by_heartbeats(faults: FaultServer) -> None:
    """Comments, which no reader of events sees, after a piece that none follows."""
    chat = CHAT.format(id="c", url=faults.url("stall-mid", after=1))
    document = f'workflow: {{job: {{component: c, output: "${{output as stream/text}}"}}}}\ncomponents:{chat}'
    with api(document, patience=Patience(heartbeat=0.2)) as served:
        raw = Raw(served.port, "/api/workflows/runs", {"input": {"prompt": "hi"}})
        data = raw.until(b":\n\n") + raw.until(b":\n\n")
        raw.close()
    assert texts(messages(data)) == ["w0 "]


def test_pieces_that_come_together_are_one_write(served: Api) -> None:
    together = "\n\ndata: ".join(
        json.dumps({"d": str(at)}) for at in range(500)
    )  # 500 events that the model sends at once
    body = {"workflow_id": "sse", "input": {"events": [together]}}
    raw = Raw(served.port, "/api/workflows/runs", body)
    writes = list(raw.reads())
    raw.close()
    assert len(texts(messages(b"".join(writes)))) == 500
    assert len(writes) < 20


# -- how it ends


@pytest.mark.parametrize("path", ["chunk-cut", "error-mid", "stall-mid", "eof-clean"])
def test_a_stream_that_breaks_says_so(faults: FaultServer, path: str) -> None:
    chat = CHAT.format(id="c", url=faults.url(path, after=3))
    patience = 2 if path == "stall-mid" else 60  # of the others none is to be taken for one that stalls
    chat = chat.replace("    action:", f"    timeout: {{read: {patience}}}\n    max_retries: 0\n    action:")
    document = f'workflow: {{job: {{component: c, output: "${{output as stream/text}}"}}}}\ncomponents:{chat}'
    with api(document) as served, httpx.Client(base_url=served.url, timeout=SECONDS) as client:
        answer = client.post("/workflows/runs", json={"input": {"prompt": "hi"}})
        found = messages(answer.content)
        told = json.loads(found[-1].data)
        assert (answer.status_code, found[-1].event) == (200, "error")
        assert told["message"] and "Traceback" not in told["message"]
        assert texts(found), "the text so far is kept"
        state = client.get(f"/tasks/{answer.headers['x-task-id']}").json()
        assert (state["status"], state["output"]) == ("failed", "".join(texts(found)))
        assert (told["kind"], told["message"]) == (state["kind"], state["error"])


# -- clients that leave, or do not read


@pytest.fixture(scope="module")
def replay() -> Iterator[str]:
    """One of our own: requests of other tests are not counted."""
    with replay_server() as url:
        yield url


@pytest.fixture(scope="module")
def slow(replay: str) -> Iterator[Api]:
    """Answers that would take minutes, and one that is larger than every buffer."""
    chat = CHAT.format(id="long", url=f"{replay}/n=3000,delay=20/v1")
    chat += CHAT.format(id="late", url=f"{replay}/first=60000/v1")
    chat += CHAT.format(id="much", url=f"{replay}/n=4000,delay=1,size=3000/v1")
    names = ["long", "late", "much"]
    jobs = "".join(
        f'\n  - {{id: {name}, job: {{component: {name}, output: "${{output as stream/text}}"}}}}' for name in names
    )
    with api(
        f"workflows:{jobs}\ncomponents:{chat}", patience=Patience(unread=0.6), send_buffer=2**16, at_once=2, waiting=2
    ) as found:
        yield found


def aborted(url: str) -> tuple[int, int]:
    """How many requests the model's server has under way, and how many were broken off."""
    counts = httpx.get(f"{url}/stats", timeout=SECONDS).json()
    return counts["active"], counts["aborted"]


@pytest.mark.parametrize("workflow", ["long", "late"])
def test_who_leaves_stops_the_run(slow: Api, replay: str, workflow: str) -> None:
    """By the count of the server that was asked: while pieces come, and while it is still silent."""
    until(lambda: aborted(replay)[0] == 0)
    _, before = aborted(replay)
    raw = Raw(slow.port, "/api/workflows/runs", {"workflow_id": workflow, "input": {"prompt": "x"}})
    if workflow == "long":
        raw.until(b"data: ")
    until(lambda: aborted(replay)[0] == 1)
    raw.close()
    until(lambda: aborted(replay) == (0, before + 1))


def test_who_leaves_the_queue_has_no_run(slow: Api, replay: str) -> None:
    body = {"workflow_id": "late", "input": {"prompt": "x"}}
    until(lambda: aborted(replay)[0] == 0)
    running = [Raw(slow.port, "/api/workflows/runs", body) for _ in range(2)]
    until(lambda: aborted(replay)[0] == 2)
    before = httpx.get(f"{replay}/stats", timeout=SECONDS).json()["requests"]
    waiting = [Raw(slow.port, "/api/workflows/runs", body) for _ in range(2)]
    until(lambda: on_loop(lambda: len(slow.tasks._queue)) == 2)
    refused = httpx.post(f"{slow.url}/workflows/runs", json=body, timeout=SECONDS)
    assert (refused.status_code, refused.json()["kind"]) == (429, "busy")
    assert int(refused.headers["retry-after"]) >= 1
    for raw in waiting:
        raw.close()
    until(lambda: on_loop(lambda: len(slow.tasks._queue)) == 0)
    for raw in running:
        raw.close()
    until(lambda: aborted(replay)[0] == 0)
    assert (
        httpx.get(f"{replay}/stats", timeout=SECONDS).json()["requests"] - before <= 10
    )  # those of this test for the counts themselves


def test_who_does_not_read_stops_the_run(slow: Api, replay: str) -> None:
    body = {"workflow_id": "much", "input": {"prompt": "x"}}
    until(lambda: on_loop(lambda: slow.tasks.running) == 0)  # those of the tests before
    raw = Raw(slow.port, "/api/workflows/runs", body, receive_buffer=4096)
    until(lambda: on_loop(lambda: slow.tasks.running) == 1)
    task = on_loop(lambda: next(iter(slow.tasks._running)))
    until(lambda: task.ended)
    raw.close()
    assert task.status == "cancelled"


def on_loop(call: Callable[[], Any]) -> Any:
    async def called() -> Any:
        return call()

    return private_loop().submit(called()).result(60)


def test_a_mere_reader_may_leave(client: httpx.Client, served: Api) -> None:
    started = run(client, "words", {"text": "a b c d e f", "delay": 0.05}, wait_for_completion=False)
    task = started.json()["task_id"]
    for path in ("stream", "events"):
        raw = Raw(served.port, f"/api/tasks/{task}/{path}")
        raw.until(b"data: ")
        raw.close()
    assert texts(messages(client.get(f"/tasks/{task}/stream").content)) == ["a", " b", " c", " d", " e", " f"]
    assert client.get(f"/tasks/{task}").json()["status"] == "completed"


def test_a_cancelled_run_ends_its_readers(client: httpx.Client, served: Api) -> None:
    body = {"workflow_id": "words", "input": {"text": "a b c d", "delay": 600}}
    task = client.post("/workflows/runs", json={**body, "wait_for_completion": False}).json()["task_id"]
    raw = Raw(served.port, f"/api/tasks/{task}/events")
    raw.until(b"event: job")
    assert client.post(f"/tasks/{task}/cancel").json()["status"] == "cancelled"
    last = messages(raw.read())[-1]
    assert (last.event, json.loads(last.data)["kind"]) == ("error", "stopped")
    raw.close()


def test_a_run_that_never_began_is_told_to_its_readers(slow: Api) -> None:
    body = {"workflow_id": "late", "input": {"prompt": "x"}, "wait_for_completion": False}
    until(lambda: on_loop(lambda: slow.tasks.running) == 0)  # those of the tests before
    tasks = [httpx.post(f"{slow.url}/workflows/runs", json=body).json()["task_id"] for _ in range(3)]
    assert httpx.get(f"{slow.url}/tasks/{tasks[2]}").json()["status"] == "pending"
    assert httpx.get(f"{slow.url}/tasks/{tasks[2]}?output_only=true").status_code == 202
    raw = Raw(slow.port, f"/api/tasks/{tasks[2]}/stream")
    for task in reversed(tasks):
        assert httpx.post(f"{slow.url}/tasks/{task}/cancel").json()["status"] == "cancelled"
    (told,) = messages(raw.read())
    raw.close()
    assert (told.event, json.loads(told.data)["kind"]) == ("error", "stopped")
    # an EventSource comes again with it, and stops
    again = httpx.get(f"{slow.url}/tasks/{tasks[2]}/stream", headers={"last-event-id": told.id})
    assert again.status_code == 204


# -- coming again


@pytest.mark.parametrize("path", ["stream", "events"])
def test_an_event_source_loses_nothing(client: httpx.Client, served: Api, path: str) -> None:
    """Its connection breaks after every second message; it comes again until it is told that there is no more."""
    text = " ".join(map(str, range(40)))
    started = run(client, "words", {"text": text, "delay": 0.002}, wait_for_completion=False)
    source = EventSource(f"{served.url}/tasks/{started.json()['task_id']}/{path}", breaks=lambda count: count == 2)
    found = list(source)
    numbers = [int(message.id) for message in found]
    assert source.connections > 10
    assert numbers == sorted(set(numbers))
    deltas = (
        texts(found) if path == "stream" else [json.loads(one.data)["value"] for one in found if one.event == "delta"]
    )
    assert "".join(deltas) == text
    assert found[-1].event == "end"


def test_what_is_forgotten_is_said(client: httpx.Client) -> None:
    """The latest pieces can be had one by one; older ones only all together."""
    events = [{"d": f"{at} "} for at in range(3000)]
    answer = run(client, "sse", {"events": events})
    whole = "".join(texts(messages(answer.content)))
    path = f"/tasks/{answer.headers['x-task-id']}/stream"
    early = messages(client.get(path, headers={"last-event-id": "100"}).content)
    assert (early[0].event, json.loads(early[0].data)["kind"]) == ("error", "forgotten")
    everything = messages(client.get(path).content)
    assert "".join(texts(everything)) == whole and len(everything) < 1500
    late = messages(client.get(path, headers={"last-event-id": everything[-3].id}).content)
    assert late == everything[-2:]
    assert client.get(path, headers={"last-event-id": everything[-1].id}).status_code == 204


def test_a_number_that_no_message_has_yet(client: httpx.Client) -> None:
    """A reader that would wait for the number after it would miss everything, the end too."""
    started = run(client, "words", {"text": "a b c d", "delay": 600}, wait_for_completion=False)
    task = started.json()["task_id"]
    path = f"/tasks/{task}/stream"
    answer = client.get(path, headers={"last-event-id": "999"})
    assert (answer.status_code, answer.json()["kind"]) == (409, "last_event_id")
    assert "999" in answer.json()["detail"]
    client.post(f"/tasks/{task}/cancel")
    assert messages(client.get(path).content)[-1].event == "error"


@pytest.mark.parametrize("name", ["x", "-1", "1" * 16, "١"])
def test_what_is_no_message_number(client: httpx.Client, name: str) -> None:
    task = run(client, "words", {"text": "a"}).headers["x-task-id"]
    answer = client.get(f"/tasks/{task}/stream", params={"last_event_id": name})
    assert (answer.status_code, answer.json()["kind"]) == (400, "last_event_id")


# -- everything that a run says


def test_all_events(client: httpx.Client, served: Api) -> None:
    asked = run(client, "asks", {"text": "a b"}, wait_for_completion=False).json()["task_id"]
    raw = Raw(served.port, f"/api/tasks/{asked}/events")
    first = messages(raw.until(b"event: interrupted"))
    (point,) = json.loads(first[-1].data)["points"]
    assert (point["job_id"], point["phase"], point["value"]) == ("a", "before", {"text": "a b"})
    client.post(f"/tasks/{asked}/resume", json={"answer": {point["id"]: None}})
    found = first + messages(raw.read())
    raw.close()
    told = [(message.event, json.loads(message.data)) for message in found]
    assert [name for name, _ in told] == [
        "started", "job", "interrupted", "resumed", "delta", "delta", "job", "end",
    ]  # fmt: skip
    assert told[0][1] == {"task_id": asked, "workflow_id": "asks", "title": "asks"}
    assert [told[at][1]["status"] for at in (1, 6)] == ["running", "done"]
    assert told[3][1] == {"points": [point["id"]]}
    assert told[5][1] == {"value": " b", "job": "a", "path": []}
    assert told[7][1]["output"] == "a b" and told[7][1]["seconds"] > 0


def test_waits_answers_and_notices_are_told(replay: str) -> None:
    chat = CHAT.format(id="c", url=f"{replay}/n=2,status=503,fails=1,usage=1/v1")
    document = f'workflow: {{job: {{component: c, output: "${{output as sse-text}}"}}}}\ncomponents:{chat}'
    with api(document) as served, httpx.Client(base_url=served.url, timeout=SECONDS) as client:
        task = client.post("/workflows/runs", json={"input": {"prompt": "x"}}).headers["x-task-id"]
        told = {one.event: json.loads(one.data) for one in messages(client.get(f"/tasks/{task}/events").content)}
    assert "stream/text" in told["notice"]["sentence"]
    assert (told["waiting"]["attempt"], told["waiting"]["of"]) == (1, 2)
    assert told["answered"] == {"model": told["answered"]["model"], "local": False, "instead_of": None}
    assert told["end"]["usage"]["completion_tokens"] == 2
