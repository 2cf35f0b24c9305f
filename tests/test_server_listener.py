"""Callbacks: a real service that answers with a receipt and calls back, and a run that waits for it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

import composemagic
from composemagic.api import load_all
from composemagic.errors import DocumentError, UsageError
from composemagic.server.serving import Serving, serve, wanted
from tests.conftest import free_port


class Service(ThreadingHTTPServer):
    """Gives every request a number, and once it has answered sends `callbacks(number, body)` to where the body says."""

    def __init__(self, callbacks: Callable[[str, Any], list[httpx.Request]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.callbacks = callbacks
        self.count = 0
        self.answered: list[httpx.Response] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answers(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.count += 1
        number = f"job-{self.server.count}"
        answer = json.dumps({"task_id": number}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.wfile.flush()
        with httpx.Client(timeout=60) as client:
            self.server.answered += [client.send(one) for one in self.server.callbacks(number, body)]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        pass


LISTENER = """
listener:
  type: http-callback
  port: PORT
  base_path: /hooks
  path: /ready
  identify_by: ${body.task_id}
  status: ${body.status}
  success_when: [done, 200]
  fail_when: failed
  result: ${body.result}
workflow:
  job: {output: "${output.text | nothing}"}
component:
  type: http-client
  action:
    endpoint: SERVICE/start
    body: {prompt: "${input.prompt as text}"}
    completion: {type: callback, wait_for: "${response.task_id}", timeout: 60s}
    output: ${result}
"""
BULK = LISTENER.replace(
    "  identify_by: ${body.task_id}\n  status: ${body.status}", "  bulk: true\n  item: ${body.all}\n  identify_by: ${item.task_id}\n  status: ${body.status}"
)  # fmt: skip


class Bench:
    """A service, the YAML that waits for it, and the API that runs it."""

    def __init__(self, text: str, callbacks: Callable[[str, Any], list[httpx.Request]], stack: ExitStack) -> None:
        self.port = free_port()
        self.service = Service(callbacks)
        stack.callback(self.service.server_close)
        stack.callback(self.service.shutdown)
        text = text.replace("PORT", str(self.port)).replace("SERVICE", self.service.url)
        workflows = load_all(text)
        self.serving: Serving = stack.enter_context(serve(workflows, wanted(workflows[0], port=0, with_page=False)))

    def ask(self, prompt: str) -> httpx.Response:
        return httpx.post(f"{self.serving.url}/workflows/runs", json={"input": {"prompt": prompt}, "output_only": True}, timeout=60)  # fmt: skip

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/ready"


Made = Callable[..., Bench]


@pytest.fixture
def bench() -> Iterator[Made]:
    """Make a bench; `says(number, body)` gives the bodies of the callbacks."""
    with ExitStack() as stack:

        def made(text: str, says: Callable[[str, Any], list[Any]], **options: Any) -> Bench:
            found: list[Bench] = []

            def callbacks(number: str, body: Any) -> list[httpx.Request]:
                return [httpx.Request("POST", found[0].url, **_written(one), **options) for one in says(number, body)]

            found.append(Bench(text, callbacks, stack))
            return found[0]

        yield made


def _written(body: Any) -> dict[str, Any]:
    return {"content": body, "headers": {"content-type": "application/json"}} if isinstance(body, bytes) else {"json": body}  # fmt: skip


def result(number: str, text: str, status: Any = "done") -> dict[str, Any]:
    return {"task_id": number, "status": status, "result": {"text": text}}


def test_a_callback_completes_its_run(bench: Made) -> None:
    made = bench(LISTENER, lambda number, body: [result(number, f"said {body['prompt']}")])
    answers: dict[str, Any] = {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: made.ask(n).json()})) for n in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == {"a": "said a", "b": "said b", "c": "said c"}
    end = time.monotonic() + 60
    while len(made.service.answered) < 3 and time.monotonic() < end:
        time.sleep(0.01)  # a run may have its answer before the service that called back has one
    assert [(one.status_code, one.content) for one in made.service.answered] == [(200, b"")] * 3


def test_a_status_that_ends_nothing_is_passed_over(bench: Made) -> None:
    made = bench(LISTENER, lambda number, _: [result(number, "no", "running"), result("other", "no"), result(number, "yes", 200)])  # fmt: skip
    assert made.ask("x").json() == "yes"


def test_a_status_that_is_a_failure_fails_the_run(bench: Made) -> None:
    made = bench(LISTENER, lambda number, _: [result(number, "no", "failed")])
    answer = made.ask("x")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "the callback for `job-1` says that it failed: the status is `failed`"


def test_a_callback_that_is_sooner_than_the_receipt_is_kept(bench: Made) -> None:
    made = bench(LISTENER, lambda number, _: [])
    httpx.post(made.url, json=result("job-1", "early"))
    assert made.ask("x").json() == "early"


def test_several_in_one(bench: Made) -> None:
    """A service that collects: the third request brings the results of all."""
    seen: list[str] = []

    def says(number: str, body: Any) -> list[Any]:
        seen.append(number)
        own = [{"task_id": one, "status": "done", "result": {"text": one}} for one in seen]
        return [{"all": own}] if len(seen) == 3 else []

    made = bench(BULK, says)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(made.ask("x").json())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == ["job-1", "job-2", "job-3"]


BAD: list[tuple[str, bytes, str]] = [
    (LISTENER, b'{"status": "done"}', "the callback names no id where `identify_by` looks for it"),
    (LISTENER, b"{", "the body is no JSON"),
    (LISTENER, b"[" * 50_000, "the body is no JSON"),
    (BULK, b'{"all": {}}', "`bulk` wants a list of results"),
    (BULK, b'{"all": [{"status": "done"}]}', "the callback names no id where `identify_by` looks for it"),
]


@pytest.mark.parametrize(("text", "body", "sentence"), BAD)
def test_callbacks_that_say_nothing(text: str, body: bytes, sentence: str, bench: Made) -> None:
    made = bench(text, lambda number, _: [])
    answer = httpx.post(made.url, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == sentence


def test_the_guard_stands_before_it(bench: Made) -> None:
    made = bench(LISTENER, lambda number, _: [])
    body = result("job-1", "x")
    assert httpx.post(made.url, json=body, headers={"host": "evil.example"}).status_code == 403
    assert httpx.post(made.url, json=body, headers={"origin": "https://evil.example"}).status_code == 403
    assert httpx.post(made.url, content=b"x", headers={"content-type": "text/plain"}).status_code in (400, 415)
    assert httpx.post(made.url, json={"x": "y" * 2**21}).status_code == 413
    assert httpx.get(made.url).status_code == 405
    assert httpx.post(made.url.replace("ready", "other"), json=body).status_code == 404
    assert httpx.post(f"http://127.0.0.1:{made.port}/api/workflows/runs", json={}).status_code == 404


def test_a_form_and_a_query() -> None:
    port = free_port()
    text = f"""
listener:
  type: http-callback
  port: {port}
  callbacks:
    - {{path: /form, identify_by: "${{query.id}}", result: "${{body.text}}"}}
    - {{path: get, method: get, result: "${{query.text}}"}}
workflows:
  - {{id: form, job: {{component: c, input: {{id: one}}}}}}
  - {{id: any, job: {{component: c, input: {{id: __callback__}}}}}}
component:
  id: c
  type: http-client
  action:
    endpoint: http://127.0.0.1:{port}/form?id=none
    headers: {{Content-Type: application/x-www-form-urlencoded}}
    body: {{text: x}}
    completion: {{type: callback, wait_for: "${{input.id}}", timeout: 60s}}
    output: ${{result}}
"""
    workflows = load_all(text)
    with serve(workflows, wanted(workflows[0], port=0, with_page=False)) as serving:
        assert str(port) in repr(serving)
        httpx.post(f"http://127.0.0.1:{port}/form?id=one", data={"text": "of a form"}).raise_for_status()
        httpx.get(f"http://127.0.0.1:{port}/get?text=of%20a%20query").raise_for_status()
        for name, expected in (("form", "of a form"), ("any", "of a query")):
            answer = httpx.post(
                f"{serving.url}/workflows/runs", json={"workflow_id": name, "output_only": True}, timeout=60
            )
            assert answer.json() == expected
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/get")


ECHO = "component: {type: echo, action: {text: x}}\n"
MISTAKES: list[tuple[str, str]] = [
    ("listener: {type: http-callbak, path: /a}", "a listener is of `type: http-callback`, not \"http-callbak\""),
    ("listener: {path: /a}", "a listener is of `type: http-callback`, not empty"),
    ("listener: x", "a listener is a mapping, this is \"x\""),
    ("listener: {type: http-callback}", "a callback needs `path`"),
    ("listener: {type: http-callback, path: /a, pth: 1}", "unknown key `pth` in a listener; did you mean `path`?"),
    ("listener: {type: http-callback, callbacks: [{path: /a, identify: x}]}", "unknown key `identify` in a callback; did you mean `identify_by`?"),
    ("listener: {type: http-callback, path: /a, port: 99999}", "`port` is a number from 1 to 65535, not 99999"),
    ("listener: {type: http-callback, path: /a, method: POTS}", "unknown method `POTS`; it is one of GET, POST, PUT, DELETE, PATCH"),
    ("listener: {type: http-callback, path: /a, status: '${body.s}'}", "`status` needs `success_when`: the values that end the waiting"),
    ("listener: {type: http-callback, path: /a, result: '${bdy.s}'}", "unknown source `bdy`; did you mean `body`?"),
    ("listener: {type: http-callback, path: /a, result: '${body.s as nubmer}'}", "unknown type `nubmer`; did you mean `number`?"),
    ("listener: {type: http-callback, path: /a, port: '${env.NO_SUCH_PORT}'}", "the environment variable `NO_SUCH_PORT` is not set"),
    ("listeners: [{type: http-callback, path: /a}, {type: other}]", "a listener is of `type: http-callback`, not \"other\""),
]  # fmt: skip


@pytest.mark.parametrize(("listener", "sentence"), MISTAKES)
def test_mistakes_are_drawn(listener: str, sentence: str) -> None:
    workflows = load_all(ECHO + listener)
    with pytest.raises(DocumentError) as error:
        serve(workflows, wanted(workflows[0], port=0, with_page=False))
    drawn = str(error.value)
    assert sentence in drawn
    assert "   2 | listener" in drawn
    assert "^" in drawn


def test_a_port_that_is_taken_leaves_none_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        workflows = load_all(ECHO + f"listener: {{type: http-callback, path: /a, port: {port}}}")
        api = free_port()
        with pytest.raises(UsageError, match=f"port {port} is taken"):
            serve(workflows, wanted(workflows[0], port=api, with_page=False))
        socket.create_server(("127.0.0.1", api)).close()


def test_elsewhere_it_is_a_note() -> None:
    text = ECHO + "listener: {type: http-callback, path: /a, port: 8090}"
    assert "`listener` is heard where the workflow is served, as by `composemagic up`" in composemagic.load(text).notes
    text = ECHO + "listener: {type: http-trigger, path: /a}"
    assert "`listener` is accepted and not used by composemagic" in composemagic.load(text).notes
