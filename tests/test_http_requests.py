"""`type: http-client` at work: files, streams, trying again, turns, completion. Against real servers where bytes matter."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

import composemagic
from composemagic.components.http.body import collected, encoded
from composemagic.components.http.limits import Rate, Turns, rate
from composemagic.engine.events import Notice, Waiting
from composemagic.engine.loop import PrivateLoop
from composemagic.engine.run import Run
from composemagic.engine.stream import Stream
from composemagic.errors import RunError
from composemagic.transport.callbacks import Callbacks
from tests.conftest import EchoServer
from tests.servers.faults import FaultServer
from tests.test_http_client import Net, indented, run_action, sent


def action(base: str, yaml: str, **values: Any) -> Run:
    """Run an action against a server, to its end."""
    text = f"component:\n  type: http-client\n  base_url: {base}\n{indented(yaml)}"
    run = composemagic.load(text).start(values)
    assert run.wait(20)
    return run


class Scripted(httpx.AsyncBaseTransport):
    """Gives one answer after the other, the last one for ever; an exception is raised."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def answer(status: int = 200, body: object = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={} if body is None else body, headers=named)


def waits(run: Run) -> list[Waiting]:
    return [event for event in run.events if isinstance(event, Waiting)]


# -- trying again --------------------------------------------------------------------------------------------------------

QUICK = "endpoint: http://h/x\nretry_delay: 1ms\n"
AGAIN = [
    ([answer(429), answer()], 2, None),
    ([answer(503), answer(500), answer()], 3, None),
    ([answer(408), answer(409), answer()], 3, None),
    ([answer(500)], 3, "server"),
    ([answer(529)], 3, "overloaded"),
    ([httpx.ConnectError("refused"), answer()], 2, None),
    ([httpx.ReadError(""), httpx.RemoteProtocolError("Server disconnected"), answer()], 3, None),
    ([httpx.ConnectTimeout("")], 3, "timeout_connect"),
    ([answer(400)], 1, "bad_request"),
    ([answer(401)], 1, "auth"),
    ([answer(404)], 1, "not_found"),
    ([answer(501)], 3, "server"),
    ([answer(302)], 1, "redirect"),
    ([httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: x (_ssl.c:1)")], 1, "tls"),
    ([httpx.RemoteProtocolError("illegal status line")], 1, "protocol"),
    ([answer(500, x_should_retry="false")], 1, "server"),
    ([answer(400, x_should_retry="true"), answer()], 2, None),
    ([answer(429, retry_after_ms="1"), answer()], 2, None),
    ([answer(429, retry_after="0"), answer()], 2, None),
    ([answer(429, retry_after="121")], 1, "rate_limit"),
    ([answer(503, retry_after="Wed, 21 Oct 2099 07:28:00 GMT")], 1, "overloaded"),
    ([answer(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), answer()], 2, None),
]


@pytest.mark.parametrize(("answers", "attempts", "kind"), AGAIN, ids=str)
def test_what_is_tried_again(answers: list[Any], attempts: int, kind: str | None) -> None:
    net = Scripted(*answers)
    run = run_action(QUICK, net)  # type: ignore[arg-type]
    assert len(net.requests) == attempts
    assert (run.error.kind if run.error else None) == kind, run.error
    assert [(wait.attempt, wait.of) for wait in waits(run)] == [(at, 2) for at in range(1, attempts)]


def test_the_wait_is_told_before_it_begins() -> None:
    run = run_action("endpoint: http://h/x?k=secret", Scripted(answer(429, retry_after_ms="20"), answer()))  # type: ignore[arg-type]
    (wait,) = waits(run)
    assert (wait.seconds, wait.reason) == (0.02, "Rate limited by h (429)")
    assert str(Waiting(2.0, "Rate limited by h (429)", 1, 2)) == "Rate limited by h (429); again in 2 s (1 of 2)"
    assert str(Waiting(0.5, "X", 2, 3)) == "X; again in 0.5 s (2 of 3)"


def test_a_wait_that_is_too_long_is_said() -> None:
    run = run_action("endpoint: http://h/", Scripted(answer(429, {"error": "slow down"}, retry_after="3600")))  # type: ignore[arg-type]
    assert run.error is not None
    assert run.error.sentence == (
        "Rate limited by h (429): slow down; it asks to wait 3600 s, composemagic waits 120 s at most"
    )


def test_the_last_line_of_429_says_when_the_limits_are_reset() -> None:
    headers = {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-limit-tokens": "60"}
    limited = httpx.Response(429, json={"error": "too fast"}, headers=headers)
    run = run_action("endpoint: http://h/\nmax_retries: 0", Scripted(limited))  # type: ignore[arg-type]
    assert run.error is not None
    assert run.error.sentence.splitlines() == [
        "Rate limited by h (429): too fast",
        "The limits are reset: requests 1s, tokens 6m0s",
    ]


@pytest.mark.parametrize(
    ("component", "of_action", "attempts"),
    [("", "", 3), ("max_retries: 1", "", 2), ("max_retries: 0", "", 1), ("", "max_retries: 0", 1),
     ("max_retries: 0", "max_retries: 4", 5), ("max_retries: 4", "max_retries: '${input.none}'", 5)],
)  # fmt: skip
def test_the_innermost_number_counts(component: str, of_action: str, attempts: int) -> None:
    net = Scripted(answer(500))
    nested = f"actions:\n  - endpoint: http://h/\n    retry_delay: 1ms\n{indented(of_action, 4)}"
    assert run_action(f"{component}\n{nested}".strip(), net).status == "failed"  # type: ignore[arg-type]
    assert len(net.requests) == attempts


@pytest.mark.parametrize(
    ("own", "attempts"), [("", 3), ("max_retries: 1", 2), ("max_retries: 0", 1)], ids=["job", "action", "action-never"]
)
def test_retries_of_job_and_action_do_not_multiply(own: str, attempts: int) -> None:
    net = Scripted(answer(500))
    yaml = f"""
workflow: {{job: {{component: c, retry: {{max_attempt_count: 3, delay: 1ms}}}}}}
component:
  id: c
  type: http-client
  endpoint: http://h/
  {own}
"""
    run = composemagic.load(yaml, transport=net).start({})
    assert run.wait(10) and run.status == "failed"
    assert len(net.requests) == attempts


def test_what_on_error_sees() -> None:
    limited = httpx.Response(429, json={"code": "é"})
    yaml = """
workflow: {job: {component: c, on_error: {output: "${error.message}"}}}
component: {id: c, type: http-client, endpoint: "http://h/a/b?key=1", max_retries: 0}
"""
    run = composemagic.load(yaml, transport=Scripted(limited)).start({})
    assert run.wait(10)
    assert run.output == 'Request failed with status 429\nURL: /a/b\nResponse: {\n  "code": "é"\n}'


def test_nothing_is_tried_again_once_an_answer_has_begun(faults: FaultServer) -> None:
    run = action(faults.url("seq", id="mid", steps="reset-mid,ok"), "path: /v1\nretry_delay: 1ms\nstream_format: text")
    assert run.error is not None and run.error.kind == "connection_lost"
    assert len(faults.hits("seq")) == 1 and not waits(run)


def test_a_stop_ends_a_wait_at_once(faults: FaultServer) -> None:
    text = f"component: {{type: http-client, endpoint: '{faults.url('status', code=429, ra=100)}'}}"
    run = composemagic.load(text).start({})
    for event in run:
        if isinstance(event, Waiting):
            run.cancel()
    assert run.status == "stopped" and len(faults.hits("status")) == 1


# -- multipart -----------------------------------------------------------------------------------------------------------


def parts(request: httpx.Request) -> list[tuple[str | None, str | None, str, bytes]]:
    """Name, file name, type and content of each part, as Python's own reader of MIME sees them."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.content, policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        found.append((name, part.get_filename(), part.get_content_type(), part.get_payload(decode=True)))
    return found


MULTIPART = "headers: {Content-Type: multipart/form-data}\n"


def test_a_form_with_parts() -> None:
    body = "{a: x y, n: 7, flag: true, none: null, list: [1, two], object: {k: é}, raw: '${input.raw}'}"
    request = sent(f"endpoint: http://h/\n{MULTIPART}body: {body}", raw=b"\x00\xff")
    assert parts(request) == [
        ("a", None, "text/plain", b"x y"),
        ("n", None, "text/plain", b"7"),
        ("flag", None, "text/plain", b"true"),
        ("list", None, "text/plain", b"1"),
        ("list", None, "text/plain", b"two"),
        ("object", None, "text/plain", '{"k": "é"}'.encode()),
        ("raw", "raw.bin", "application/octet-stream", b"\x00\xff"),
    ]


def test_bytes_in_a_body_make_it_multipart() -> None:
    request = sent("endpoint: http://h/\nbody: {title: cat, picture: '${input.p}'}", p=b"PNG")
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert parts(request)[1] == ("picture", "picture.bin", "application/octet-stream", b"PNG")


def test_a_name_does_not_end_its_header() -> None:
    request = sent(f"endpoint: http://h/\n{MULTIPART}body: '${{input.b}}'", b={'a"; x="\r\nX-Evil: 1': b"1"})
    assert b"\r\nX-Evil" not in request.content
    assert b'name="a%22; x=%22%0D%0AX-Evil: 1"' in request.content


def test_a_file_of_the_folder(tmp_path: Any, echo_server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.png").write_bytes(b"\x89PNG")
    (tmp_path / "w.yml").write_text(
        f"component:\n  type: http-client\n  endpoint: {echo_server.url}/echo/x\n  {MULTIPART}"
        "  body: {picture: {file: cat.png}, other: {file: cat.png, filename: dog.txt, content_type: text/x-dog}}\n"
    )
    run = composemagic.load(tmp_path / "w.yml").run()
    assert 'filename="cat.png"\r\nContent-Type: image/png\r\n' in run.output["body"]
    assert 'filename="dog.txt"\r\nContent-Type: text/x-dog\r\n' in run.output["body"]
    (tmp_path / "w.yml").write_text((tmp_path / "w.yml").read_text().replace("cat.png", "../cat.png"))
    with pytest.raises(RunError):
        composemagic.load(tmp_path / "w.yml").run()


# -- streamed bodies -----------------------------------------------------------------------------------------------------


def stream(*chunks: object, fragmented: bool = True) -> Stream:
    async def batches() -> AsyncIterator[list[Any]]:
        for chunk in chunks:
            yield [chunk]

    return Stream(batches(), fragmented=fragmented)


STREAMED = [
    # the Content-Type that is given, the chunks -> the header and the body; whether it goes out in pieces
    (None, ["a", "é"], "text/plain; charset=utf-8", "aé".encode(), True),
    (None, [b"\x00", b"\xff"], "application/octet-stream", b"\x00\xff", True),
    (None, [{"a": 1}, {"a": 2}], "application/json", b'[{"a": 1}, {"a": 2}]', False),
    ("text/csv", ["a,", "b"], "text/csv", b"a,b", True),
    ("application/x-ndjson", [{"a": 1}, {"a": 2}], "application/x-ndjson", b'{"a": 1}\n{"a": 2}\n', True),
    ("application/json", ["a", "b"], "application/json", b'"ab"', False),
    ("application/x-www-form-urlencoded", ["a=", "1"], "application/x-www-form-urlencoded", b"a=1", False),
]


@pytest.mark.parametrize(("given", "chunks", "kind", "content", "in_pieces"), STREAMED)
def test_a_stream_as_a_body(given: str | None, chunks: list[Any], kind: str, content: bytes, in_pieces: bool) -> None:
    headers = {"Content-Type": given} if given else {}

    async def body() -> tuple[Any, list[bytes]]:
        made = await encoded(stream(*chunks), headers, None)  # type: ignore[arg-type]
        # twice: a request that is tried again begins anew
        return made, [b"".join([piece async for piece in made()]) for _ in range(2)] if callable(made) else [made] * 2

    made, sent_twice = asyncio.run(body())
    assert callable(made) is in_pieces
    assert sent_twice == [content, content]
    assert list(headers.values()) == [kind]


def test_streams_inside_a_value_are_collected() -> None:
    value = {
        "text": stream("a", "b"),
        "list": [stream({"k": 1}), stream(b"x", b"y")],
        "each": stream("a", fragmented=False),
    }
    assert asyncio.run(collected(value)) == {"text": "ab", "list": [[{"k": 1}], b"xy"], "each": ["a"]}


def test_a_stream_of_one_job_is_the_body_of_the_next(echo_server: EchoServer) -> None:
    """Over the wire, in chunks: the server sees no Content-Length."""
    yaml = f"""
components:
  - {{id: words, type: echo, action: {{text: "one two three"}}}}
  - id: send
    type: http-client
    endpoint: {echo_server.url}/echo/x
    headers: {{x-kind: raw}}
    body: ${{input.words}}
workflow:
  jobs:
    - {{id: a, component: words}}
    - {{id: b, component: send, input: {{words: "${{jobs.a.output}}"}}}}
"""
    output = composemagic.load(yaml).run().output
    assert output["body"] == "one two three"
    assert output["headers"]["content-type"] == "text/plain; charset=utf-8"


# -- methods and answers over the wire -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET", "DELETE"])
def test_methods_over_the_wire(method: str, echo_server: EchoServer) -> None:
    run = action(echo_server.url, f"path: /empty\nmethod: {method}")
    assert run.status == "done" and run.output is None


def test_a_head_has_no_body() -> None:
    net = Net(httpx.Response(200, headers={"content-type": "application/json", "content-length": "99"}))
    assert run_action("endpoint: http://h/\nmethod: HEAD", net).status == "done"


def test_nothing_where_a_providers_answer_was_asked_for() -> None:
    run = run_action("endpoint: http://h/v1/chat/completions", Net(httpx.Response(204)))
    assert run.error is not None and run.error.kind == "empty"


def test_bytes_are_bytes(echo_server: EchoServer) -> None:
    assert action(echo_server.url, "path: /bytes").output == b"\x00\x01\xff"


def test_a_list_in_a_form_repeats_its_name() -> None:
    form = "headers: {Content-Type: application/x-www-form-urlencoded}\n"
    assert sent(f"endpoint: http://h/\n{form}body: {{a: [1, x], b: [null]}}").content == b"a=1&a=x"


def test_params_stand_before_a_fragment() -> None:
    assert sent("endpoint: http://h/x#part\nparams: {a: {b: 1}}").url.raw_path == b"/x?a=%7B%22b%22%3A+1%7D"


# -- turns ---------------------------------------------------------------------------------------------------------------

RATES = [
    ("50/s", Rate(50, 1)), ("100/min", Rate(100, 60)), (" 10 / 2s ", Rate(10, 2)), ("1/500ms", Rate(1, 0.5)),
    ("1000/Hour", Rate(1000, 3600)), ("5/d", Rate(5, 86400)), ({"requests": 5}, Rate(5, 1)),
    ({"requests": "5", "period": "1m", "burst": 2, "interval": "100ms"}, Rate(5, 60, 2, 0.1)),
    ({"requests": 5, "burst": None, "interval": 0}, Rate(5)),
]  # fmt: skip


@pytest.mark.parametrize(("written", "found"), RATES)
def test_rates(written: Any, found: Rate) -> None:
    assert rate(written, "rate_limit") == found


def moments(rate: Rate, count: int, now: float = 100.0) -> list[float]:
    """When each of so many requests may go out that are all asked for at once, in seconds from now."""

    async def take() -> list[float]:
        turns = Turns()
        return [round(turns._take(rate, now) - now, 6) for _ in range(count)]

    return asyncio.run(take())


PACES = [
    (Rate(2, 1), [0, 0, 1, 1, 2]),
    (Rate(1, 0.5), [0, 0.5, 1]),
    (Rate(10, 1, interval=0.25), [0, 0.25, 0.5]),
    (Rate(2, 1, burst=1), [0, 0.5, 1, 1.5]),
    (Rate(4, 1, burst=2), [0, 0, 0.25, 0.5, 1.0]),
    (Rate(4, 1, burst=2, interval=0.3), [0, 0.3, 0.6]),
]


@pytest.mark.parametrize(("rate", "seconds"), PACES, ids=str)
def test_paces(rate: Rate, seconds: list[float]) -> None:
    assert moments(rate, len(seconds)) == seconds


def test_no_window_holds_more_than_the_rate() -> None:
    found = moments(Rate(5, 1, burst=3, interval=0.05), 60)
    assert all(later - sooner >= 1 - 1e-9 for sooner, later in zip(found, found[5:], strict=False))


def test_a_rate_holds_for_requests_that_are_tried_again_too() -> None:
    net = Scripted(answer(500), answer(500), answer())
    run = run_action("endpoint: http://h/\nretry_delay: 1ms\nrate_limit: 1/50ms", net)  # type: ignore[arg-type]
    assert run.status == "done" and len(net.requests) == 3
    assert run.timing.total is not None and run.timing.total >= 0.1


def test_a_long_wait_for_a_turn_is_said() -> None:
    async def pace() -> list[str]:
        turns, notes = Turns(), list[str]()
        await turns.pace(Rate(1, 30), notes.append)
        waiting = asyncio.create_task(turns.pace(Rate(1, 30), notes.append))
        while not notes:
            await asyncio.sleep(0)
        waiting.cancel()
        return notes

    assert asyncio.run(pace()) == ["`rate_limit` holds the next request back for 30.0 s"]


class Busy(httpx.AsyncBaseTransport):
    """Counts how many requests it has at once; none is answered before so many were there together."""

    def __init__(self, wanted: int) -> None:
        self.now = self.most = 0
        self.wanted = wanted
        self.are_there = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.most >= self.wanted:
            self.are_there.set()
        await self.are_there.wait()
        for _ in range(20):  # time for one too many
            await asyncio.sleep(0)
        self.now -= 1
        return httpx.Response(200, json={})


@pytest.mark.parametrize(("count", "most"), [(1, 1), (3, 3), (0, 12), ("2", 2)])
def test_so_many_at_once(count: object, most: int) -> None:
    """One component serves all runs of a loaded document."""
    net = Busy(most)
    text = f"component: {{type: http-client, endpoint: 'http://h/', max_concurrent_count: {json.dumps(count)}}}"
    workflow, loop = composemagic.load(text, transport=net), PrivateLoop()
    runs = [Run(workflow._plan, {"n": 2}, workflow._surroundings, loop=loop) for _ in range(12)]
    assert all(run.wait(10) and run.status == "done" for run in runs), [run.error for run in runs]
    loop.close()
    assert net.most == most


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_stream_from_the_only_place_into_it(kind: str, faults: FaultServer) -> None:
    """The second request waits for the first one's end, and the first one's stream for the second to read it."""
    text = f"""
component:
  id: c
  type: http-client
  max_concurrent_count: 1
  actions:
    - id: read
      endpoint: {faults.url("ok")}/v1/chat/completions
      stream_format: json
      output: ${{response[].choices[0].delta.content}}
    - id: send
      endpoint: {faults.url("echo")}
      headers: {{Content-Type: {kind}}}
      body: ${{input.words}}
      output: ${{response.body}}
workflow:
  jobs:
    - {{id: a, component: c, action: read}}
    - {{id: b, component: c, action: send, input: {{words: "${{jobs.a.output}}"}}}}
"""
    run = composemagic.load(text).start({})
    assert run.wait(20) and run.status == "done", run.error
    assert run.output.strip('"') == "w0 w1 w2 w3 w4 "


def test_who_leaves_the_queue_gives_up_the_turn() -> None:
    async def use() -> int:
        turns, order = Turns(), list[int]()

        async def one(number: int, hold: asyncio.Event) -> None:
            async with turns.place(1):
                order.append(number)
                await hold.wait()

        hold, free = asyncio.Event(), asyncio.Event()
        free.set()
        first = asyncio.create_task(one(1, hold))
        await asyncio.sleep(0)
        others = [asyncio.create_task(one(number, free)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        others[0].cancel()
        hold.set()
        others[1].cancel()
        await asyncio.gather(first, *others, return_exceptions=True)
        assert order == [1, 4]
        return turns._busy

    assert asyncio.run(asyncio.wait_for(use(), 10)) == 0


# -- completion ----------------------------------------------------------------------------------------------------------

POLL = """
path: /mirror
headers: {Content-Type: application/json}
body: {id: KEY}
completion:
  type: polling
  path: /poll/${response.id}/2
  status: ${result.status}
  success_when: done
  interval: 1ms
"""
COMPLETIONS: list[tuple[str, Callable[[str], str], Any]] = [
    ("plain", lambda yaml: yaml, {"status": "done", "value": 42}),
    ("output", lambda yaml: yaml + "output: {v: '${result.value}', id: '${response.id}'}", {"v": 42, "id": "output"}),
    ("whole", lambda yaml: yaml + "output: '${result}'", {"status": "done", "value": 42}),
    ("list", lambda yaml: yaml.replace("done", "[ready, done]"), {"status": "done", "value": 42}),
    ("number", lambda yaml: yaml.replace("${result.status}", "${result.value}").replace("done", "42"),
     {"status": "done", "value": 42}),
    ("code", lambda yaml: yaml.replace("/poll/", "/pollcode/").replace("  status: ${result.status}\n", "")
     .replace("  success_when: done\n", ""), {"value": 7}),
    ("code2", lambda yaml: yaml.replace("/poll/", "/pollcode/").replace("  status: ${result.status}\n", "")
     .replace("done", "[200]"), {"value": 7}),
    ("busy", lambda yaml: yaml.replace("/poll/", "/flaky/").replace("${result.status}", "${result.attempt}")
     .replace("done", "3"), {"attempt": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "change", "output"), COMPLETIONS, ids=[row[0] for row in COMPLETIONS])
def test_polling(key: str, change: Callable[[str], str], output: Any, echo_server: EchoServer) -> None:
    run = action(echo_server.url, change(POLL).replace("KEY", key))
    assert run.status == "done", run.error
    assert run.output == output


FAILURES: list[tuple[str, Callable[[str], str], str, str]] = [
    ("fail", lambda yaml: yaml + "  fail_when: [running]", "completion", "Polling failed: the status `running` is one of"),
    ("late", lambda yaml: yaml.replace("/2", "/9999") + "  timeout: 50ms", "timeout_completion",
     "Polling timed out after 0.05 s (completion.timeout)"),
    ("code", lambda yaml: yaml.replace("/poll/", "/pollcode/").replace("  status: ${result.status}\n", "")
     .replace("done", "2xx") + "  fail_when: 404", "completion", "the status `404` is one of `fail_when`"),
    ("other", lambda yaml: yaml.replace("/poll/${response.id}/2", "/status/401").replace("  status: ${result.status}\n", "")
     .replace("done", "2xx"), "auth", "wants a key (401)"),
    ("lost", lambda yaml: yaml.replace("/poll/${response.id}/2", "/status/404"), "not_found", "was not found (404)"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "change", "kind", "words"), FAILURES, ids=[row[0] for row in FAILURES])
def test_polling_that_fails(
    key: str, change: Callable[[str], str], kind: str, words: str, echo_server: EchoServer
) -> None:
    run = action(echo_server.url, change(POLL).replace("KEY", f"fails-{key}"))
    assert run.error is not None and run.error.kind == kind, run.error
    assert words in run.error.sentence


def test_what_a_poll_sends() -> None:
    net = Scripted(answer(body={"id": "a/b?c"}), answer(body={"s": "ok"}))
    yaml = """
base_url: http://h/v1
headers: {Authorization: Bearer k}
path: /jobs
body: {x: 1}
completion:
  type: polling
  path: /jobs/${response.id}
  headers: {X-Two: "2"}
  params: {verbose: true}
  status: ${result.s}
  success_when: ok
  interval: 1ms
"""
    assert run_action(yaml, net).status == "done"  # type: ignore[arg-type]
    first, poll = net.requests
    assert (first.method, poll.method, str(poll.url)) == ("POST", "GET", "http://h/v1/jobs/a%2Fb%3Fc?verbose=true")
    assert (poll.headers["authorization"], poll.headers["x-two"], poll.content) == ("Bearer k", "2", b"")
    assert "content-type" not in poll.headers


CALLBACK = "endpoint: http://h/\ncompletion: {type: callback, wait_for: '${response.id}'%s}\noutput: ${result.v}"


@pytest.mark.parametrize("is_early", [False, True])
def test_a_callback(is_early: bool) -> None:
    """Also one that comes before its run has begun to wait."""
    loop = PrivateLoop()
    workflow = composemagic.load(
        f"component:\n  type: http-client\n{indented(CALLBACK % '')}", transport=Scripted(answer(body={"id": 7}))
    )

    async def tell() -> bool:
        callbacks: Callbacks = loop.shared(Callbacks, Callbacks)
        while not is_early and "7" not in callbacks._waiting:
            await asyncio.sleep(0)
        return callbacks.complete("7", {"v": "called"})

    told = loop.submit(tell()) if is_early else None
    assert told is None or told.result(10) is False
    run = Run(workflow._plan, {}, workflow._surroundings, loop=loop)
    if not is_early:
        assert loop.submit(tell()).result(10) is True
    assert run.wait(10)
    loop.close()
    assert run.output == "called", run.error


@pytest.mark.parametrize(
    ("more", "body", "kind", "sentence"),
    [(", timeout: 10ms", {"id": "x1"}, "timeout_completion", "No callback came within 0.01 s (completion.timeout)"),
     ("", {}, "request", "`wait_for` is empty: the answer holds no id to wait for")],
)  # fmt: skip
def test_a_callback_that_does_not_come(more: str, body: Any, kind: str, sentence: str) -> None:
    run = run_action(CALLBACK % more, Scripted(answer(body=body)))  # type: ignore[arg-type]
    assert run.error is not None and (run.error.kind, run.error.sentence) == (kind, sentence)


def test_callbacks() -> None:
    async def use() -> None:
        callbacks = Callbacks()
        both = [asyncio.create_task(callbacks.wait("a")) for _ in range(2)]
        left = asyncio.create_task(callbacks.wait("b"))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        assert callbacks.complete("a", 1) and await asyncio.gather(*both) == [1, 1]
        assert not callbacks._waiting
        for number in range(300):
            assert not callbacks.complete(f"early-{number}", number)
        assert len(callbacks._early) == 256
        assert await callbacks.wait("early-299") == 299
        callbacks.complete("bad", RunError("completion", "it failed over there"))
        with pytest.raises(RunError, match="it failed over there"):
            await callbacks.wait("bad")

    asyncio.run(asyncio.wait_for(use(), 10))


@pytest.mark.parametrize(
    ("size", "kept"),
    [(2**20, 7), (2**21, 3), (2**22, 1), (2**23, 0)],  # of 20, beside what each costs itself
)
@pytest.mark.parametrize("of", [str, bytes, list, dict])
def test_early_callbacks_are_bounded_together(of: type, size: int, kept: int) -> None:
    values: dict[type, Any] = {str: "x" * size, bytes: bytes(size), list: [["x" * size]], dict: {"x" * size: 1}}

    async def use() -> None:
        callbacks = Callbacks()
        for number in range(20):
            callbacks.complete(f"early-{number}", values[of])
        assert list(callbacks._early) == [f"early-{number}" for number in range(20 - kept, 20)]  # the oldest go
        for _ in range(20):
            callbacks.complete("again", values[of])  # in the place of the last one
        assert len(callbacks._early) == kept
        for name in list(callbacks._early):
            await callbacks.wait(name)
        assert (callbacks._size, callbacks._sizes) == (0, {})
        callbacks.complete("small", 1)
        assert await callbacks.wait("small") == 1

    asyncio.run(asyncio.wait_for(use(), 10))


# -- over the wire -------------------------------------------------------------------------------------------------------


def test_httpx_logs_nothing(echo_server: EchoServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert action(echo_server.url, "path: /echo/x?token=secret").status == "done"
    # what a task of another test may say meanwhile is not httpx's
    assert not [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))]


def test_notes_of_tools_are_for_those_who_offer_none() -> None:
    said = {"choices": [{"message": {"content": None, "tool_calls": [{}]}, "finish_reason": "tool_calls"}]}
    for body, count in (("{model: m}", 1), ("{model: m, tools: [{}]}", 0)):
        run = run_action(f"endpoint: http://h/v1/chat/completions\nbody: {body}", Scripted(answer(body=said)))  # type: ignore[arg-type]
        assert sum(isinstance(event, Notice) and "tool" in event.sentence for event in run.events) == count


def test_many_at_once_over_the_wire(echo_server: EchoServer) -> None:
    workflow = composemagic.load(f"component: {{type: http-client, endpoint: '{echo_server.url}/slow/20/x'}}")
    runs = [workflow.start({}) for _ in range(40)]
    assert all(run.wait(60) and run.output == {"v": "x"} for run in runs)
