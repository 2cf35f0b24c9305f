"""What the API takes and answers where nothing streams: bodies in three forms, statuses, workflows, people, secrets."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from composemagic.errors import RunError
from composemagic.language.formats import Media
from composemagic.server.answers import file_answer, json_answer
from composemagic.server.app import application
from composemagic.server.refusals import Refusal, status_of
from composemagic.server.requests import nested_form
from tests.api_server import Api, api
from tests.conftest import EchoServer

FORM = {"content-type": "application/x-www-form-urlencoded"}
PARTS = {"content-type": "multipart/form-data; boundary=B"}
NAMED = 'Content-Disposition: form-data; name="input[x]"'
SECRET = "sk-canary-0123456789abcdef0123"
DOCUMENT = """
workflows:
  - id: mirror
    default: true
    title: Mirror
    description: Gives back what it gets.
    job: {component: e, input: "${input}"}
  - id: typed
    job:
      component: e
      input:
        n: "${input.n as integer | 2 @(description How many)}"
        m: "${input.m as select/a,b | b}"
        s: "${input.s as slider/0,1,0.1 | 0.5}"
        t: "${input.t as text}"
      output: "${output}"
  - id: media
    job: {component: e, input: "${input.picture as image}"}
  - id: hidden
    private: true
    job: {component: e, input: "${input}"}
  - id: facts
    job: {component: e, input: {session: "${context.session_id}", facts: "${context.metadata.a}", task: "${context.task_id}"}}
  - id: fetch
    job: {component: fetch, input: {at: "${input.at}"}}
  - id: ask
    jobs:
      - {id: a, component: e, input: "${input.x}", interrupt: {before: {message: "Sure?", metadata: {k: 1}}}}
      - {id: b, component: e, input: {a: "${jobs.a.output}"}}
  - id: failing
    job: {component: f}
  - id: silent
    job: {component: slow}
  - id: reset
    job: {component: gone}
  - id: leaky
    job: {component: k}
components:
  - {id: e, type: echo}
  - {id: fetch, type: http-client, action: {endpoint: "${input.at}", method: GET, max_retries: 0}}
  - {id: f, type: http-client, endpoint: "{{ECHO}}/status/401", method: GET}
  - {id: slow, type: http-client, endpoint: "{{ECHO}}/slow/20000/x", method: GET, timeout: {total: 0.2}, max_retries: 0}
  - {id: gone, type: http-client, endpoint: "http://127.0.0.1:1/", method: GET, max_retries: 0}
  - {id: k, type: http-client, endpoint: "{{ECHO}}/echo", method: GET, headers: {authorization: "Bearer ${env.CANARY_API_KEY}"}}
"""


@pytest.fixture(scope="module")
def served(_echo_thread: EchoServer) -> Iterator[Api]:
    document = DOCUMENT.replace("{{ECHO}}", _echo_thread.url)
    with api(document, env={"CANARY_API_KEY": SECRET}) as found:
        yield found


@pytest.fixture(scope="module")
def client(served: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=60) as found:
        yield found


def run(client: httpx.Client, workflow: str | None = None, value: Any = None, **more: Any) -> httpx.Response:
    body = {"workflow_id": workflow, "input": value, **more}
    return client.post("/workflows/runs", json={key: each for key, each in body.items() if each is not None})


# -- bodies


@pytest.mark.parametrize(
    ("how", "output"),
    [
        ({"json": {"input": {"x": [1, None, {"y": "é"}]}}}, {"x": [1, None, {"y": "é"}]}),
        ({"json": {"input": "text"}}, "text"),
        ({"json": {}}, {}),
        ({"json": {"input": None, "workflow_id": None, "session_id": None}}, {}),
        ({"data": {"input[x]": "9", "input[a][]": ["1", "2"], "input[b][c]": "d"}}, {"x": "9", "a": ["1", "2"], "b": {"c": "d"}}),
        ({"data": {"input": '{"x": 1, "y": 2}', "input[y]": "3"}}, {"x": 1, "y": "3"}),
        ({"data": {"input": "plain { text"}}, "plain { text"),
        ({"data": {"input": "{no json"}}, "{no json"),
        ({"files": {"input[x]": (None, "text")}}, {"x": "text"}),
        ({"files": {"input[f]": ("a.txt", b"\x00\x01", "image/png")}}, {"f": "AAE="}),
        ({"content": '{"input": {"x": 1}}', "headers": {"content-type": "Application/JSON; charset=utf-8"}}, {"x": 1}),
        # as `curl -d` sends it, which escapes nothing
        ({"content": "input[x]=你好 ü&input[y]=", "headers": FORM}, {"x": "你好 ü", "y": ""}),
        ({"content": "input%5Bx%5D=%E4%BD%A0+a%2Bb;c", "headers": FORM}, {"x": "你 a+b;c"}),
        ({"content": "\r\n".join(["--B", NAMED, "", "--B no end", "--B--", ""]), "headers": PARTS}, {"x": "--B no end"}),
    ],
)  # fmt: skip
def test_bodies(client: httpx.Client, how: dict[str, Any], output: Any) -> None:
    answer = client.post("/workflows/runs", **how)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told == {
        "task_id": answer.headers["x-task-id"],
        "status": "completed",
        "workflow_id": "mirror",
        "output": output,
    }


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"content": "{}"}, "Missing or empty Content-Type header."),
        ({"content": "{}", "headers": {"content-type": "text/plain"}}, "Unsupported Content-Type: text/plain"),
        ({"content": "{", "headers": {"content-type": "application/json"}}, "Expecting property name"),
        ({"content": b'{"input": "\xff"}', "headers": {"content-type": "application/json"}}, "UTF-8"),
        ({"content": '{"input": NaN}', "headers": {"content-type": "application/json"}}, "Expecting value"),
        ({"content": '{"input": ' + "[" * 101 + "]" * 101 + "}", "headers": {"content-type": "application/json"}}, "100"),
        ({"content": "[" * 100000, "headers": {"content-type": "application/json"}}, "100"),
        ({"content": "[1]", "headers": {"content-type": "application/json"}}, "a JSON object is wanted, not a list"),
        ({"content": "x", "headers": {"content-type": "multipart/form-data"}}, "oundary"),
        ({"json": {"imput": {}}}, "unknown field `imput`; did you mean `input`?"),
        ({"json": {"prompt": "Hi"}}, "inputs stand below `input`"),
        ({"json": {"output_only": "true"}}, "`output_only` is true or false"),
        ({"json": {"output_only": None}}, "`output_only` is true or false"),
        ({"data": {"output_only": "maybe"}}, "`output_only` is true or false"),
        ({"json": {"workflow_id": 7}}, "`workflow_id` is a text"),
        ({"json": {"session_id": {}}}, "`session_id` is a text"),
        ({"json": {"output_only": True, "wait_for_completion": False}}, "output_only=true requires"),
        ({"json": {"subscribe_task": True}}, "subscribe_task=true requires"),
        ({"json": {"callback_url": "http://169.254.169.254/"}}, "sends nothing to an address that a request names"),
        ({"json": {"callback_headers": {}}}, "sends nothing to an address that a request names"),
        ({"data": {"input[": "x"}}, "the field name `input[` cannot be read"),
        ({"data": {"input[x]": "1", "input[x][y]": "2"}}, "is a value and has fields of its own"),
        ({"content": b"input[x]=\xff", "headers": FORM}, "not written in UTF-8"),
        ({"content": "input[x]=%ff", "headers": FORM}, "not written in UTF-8"),
        ({"content": "a&" * 1001, "headers": FORM}, "more than 1000 fields"),
        ({"content": "", "headers": PARTS}, "does not come to its end"),
        ({"content": "\r\n".join(["--B", NAMED, "", "x", "--B", ""]), "headers": PARTS}, "does not come to its end"),
        ({"content": '{"input": 1e999}', "headers": {"content-type": "application/json"}}, "a number in it is too large"),
        ({"content": '{"input": %s}' % ("9" * 5000), "headers": {"content-type": "application/json"}}, "a number in it is too large"),
        ({"content": b"\x1f\x8b", "headers": {"content-type": "application/json", "content-encoding": "gzip"}}, "not as `gzip`"),
    ],
)  # fmt: skip
def test_refused_with_400(client: httpx.Client, how: dict[str, Any], words: str) -> None:
    answer = client.post("/workflows/runs", **how)
    told = answer.json()
    assert answer.status_code == 400
    assert words in told["detail"]
    assert told["kind"] and "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([("a", "1"), ("b[c]", "2"), ("b[d][e]", "3")], {"a": "1", "b": {"c": "2", "d": {"e": "3"}}}),
        ([("a[]", "1"), ("a[]", "2")], {"a": ["1", "2"]}),
        ([("a", "1"), ("a", "2"), ("a", "3")], {"a": ["1", "2", "3"]}),
        ([("a[b][]", "1")], {"a": {"b": ["1"]}}),
        ([("a b[c.d]", "1")], {"a b": {"c.d": "1"}}),
        ([], {}),
    ],
)
def test_nested_names(pairs: list[tuple[str, str]], found: object) -> None:
    assert nested_form(pairs) == found


@pytest.mark.parametrize(
    "pairs",
    [
        [("", "x")],
        [("[a]", "x")],
        [("a]", "x")],
        [("a[b", "x")],
        [("a[][b]", "x")],
        [("a" + "[b]" * 20, "x")],
        [("a[b]", "1"), ("a", "2")],
        [("a[b]", "1"), ("a[]", "2")],
        [("a", "1"), ("a[b]", "2")],
    ],
)
def test_names_that_cannot_be(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(Refusal):
        nested_form(pairs)


def test_files_are_what_media_inputs_take(client: httpx.Client) -> None:
    picture = b"\x89PNG\r\n"
    sent = client.post(
        "/workflows/runs", data={"workflow_id": "media"}, files={"input[picture]": ("a", picture, "image/png")}
    )
    in_json = run(client, "media", {"picture": "iVBORw0K"})
    as_uri = run(client, "media", {"picture": "data:image/png;base64,iVBORw0K"}, strict=True)
    for answer in (sent, in_json, as_uri):
        assert (answer.status_code, answer.content) == (200, picture), answer.text
        assert answer.headers["cache-control"] == "no-cache"
    assert run(client, "media", {"picture": "no base64!"}).status_code == 422


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("image/png", "image/png"),
        ("AUDIO/ogg", "audio/ogg"),
        ("image/svg+xml", "application/octet-stream"),
        ("text/html", "application/octet-stream"),
        ("image/x; charset=y", "application/octet-stream"),
        ("图", "application/octet-stream"),
    ],
)
def test_files_go_out_as_nothing_that_a_browser_runs(kind: str, shown: str) -> None:
    data = Media(b"x")
    data.content_type = kind
    assert file_answer(data, {}).headers["content-type"] == shown
    assert file_answer(b"x", {}).headers["content-type"] == "application/octet-stream"


# -- what comes back


def test_output_only_and_facts(client: httpx.Client) -> None:
    answer = run(client, "facts", {}, session_id="s-1", metadata={"a": [1]}, output_only=True)
    assert answer.json() == {"session": "s-1", "facts": [1], "task": answer.headers["x-task-id"]}


@pytest.mark.parametrize(
    ("workflow", "value", "status", "kind"),
    [
        ("typed", {"n": "abc"}, 422, "input"),
        ("typed", {"m": "c"}, 422, "input"),
        ("failing", {}, 502, "auth"),
        ("reset", {}, 502, "connect"),
        ("silent", {}, 504, "timeout_total"),
    ],
)
def test_a_failed_run_is_not_200(client: httpx.Client, workflow: str, value: Any, status: int, kind: str) -> None:
    answer = run(client, workflow, value)
    told = answer.json()
    assert answer.status_code == status
    assert (told["status"], told["kind"], told["workflow_id"]) == ("failed", kind, workflow)
    assert told["error"] == told["detail"] and "\n" not in told["detail"]
    alone = run(client, workflow, value, output_only=True)
    assert (alone.status_code, alone.json()["kind"]) == (status, kind)
    state = client.get(f"/tasks/{told['task_id']}")
    assert (state.status_code, state.json()["status"], state.json()["kind"]) == (200, "failed", kind)
    assert client.get(f"/tasks/{told['task_id']}", params={"output_only": "true"}).status_code == status


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("input", 422),
        ("timeout", 504),
        ("timeout_read", 504),
        ("rate_limit", 502),
        ("truncated", 502),
        ("stopped", 409),
        ("internal", 500),
        ("url", 422),
        ("address", 422),
        ("request", 422),
        ("not_allowed", 500),
        ("missing_variable", 500),
    ],
)
def test_statuses(kind: str, status: int) -> None:
    assert status_of(RunError(kind, "x")) == status


def test_what_json_cannot_write_is_said() -> None:
    answer = json_answer({"x": float("inf")})
    assert answer.status_code == 500
    assert json.loads(answer.body)["detail"] == "The output cannot be written as JSON."


def test_what_a_request_gives_is_not_the_servers_fault(client: httpx.Client) -> None:
    for value in ("http://a b/", "http://127.0.0.1:1/", "x", 5, "http://x:0/"):
        answer = run(client, "fetch", {"at": value})
        assert answer.status_code in (422, 502), answer.text


def test_a_multipart_body_that_cannot_be_read_is_not_logged(
    client: httpx.Client, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert client.post("/workflows/runs", content="garbage--B--", headers=PARTS).status_code == 400
    assert "".join(capfd.readouterr()) == ""


def test_lone_surrogates_do_not_break_the_answer(client: httpx.Client) -> None:
    answer = client.post(
        "/workflows/runs", content=b'{"input": "a\\ud83d"}', headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["output"]) == (200, "a\ufffd")


# -- strict


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ({"t": "x"}, []),
        ({"t": "x", "n": None, "m": "a", "s": 0.3}, []),
        (None, ["t"]),
        ({}, ["t"]),
        ({"t": ""}, ["t"]),
        ({"t": 5}, ["t"]),
        ({"t": "x", "n": "5"}, ["n"]),
        ({"t": "x", "n": 1.5, "m": "c", "s": 7}, ["m", "n", "s"]),
        ({"t": "x", "other": 1}, ["other"]),
        ([], ["input"]),
    ],
)
def test_strict_inputs(client: httpx.Client, value: Any, problems: list[str]) -> None:
    answer = client.post("/workflows/runs", json={"workflow_id": "typed", "input": value, "strict": True})
    assert answer.status_code == (422 if problems else 200), answer.text
    assert sorted(answer.json().get("problems", {})) == problems


def test_without_strict_a_missing_input_is_null(client: httpx.Client) -> None:
    assert run(client, "typed", {}, output_only=True).json() == {"n": 2, "m": "b", "s": 0.5, "t": None}


def test_strict_forms_are_checked_as_texts(client: httpx.Client) -> None:
    good = client.post(
        "/workflows/runs", data={"workflow_id": "typed", "strict": "yes", "input[t]": "x", "input[n]": "3"}
    )
    bad = client.post("/workflows/runs", data={"workflow_id": "typed", "strict": "1", "input[n]": "x"})
    assert (good.status_code, good.json()["output"]["n"]) == (200, 3)
    assert (bad.status_code, sorted(bad.json()["problems"])) == (422, ["n", "t"])


# -- workflows


def test_workflows_and_schemas(client: httpx.Client) -> None:
    several = client.get("/workflows").json()
    assert several[0] == {"workflow_id": "mirror", "title": "Mirror", "default": True}
    assert [one["workflow_id"] for one in several[1:3]] == ["typed", "media"]
    assert "hidden" not in json.dumps(several)
    schemas = client.get("/workflows", params={"include_schema": "true"}).json()
    assert [one["workflow_id"] for one in schemas] == [one["workflow_id"] for one in several]
    schema = client.get("/workflows/typed/schema").json()
    assert schema == schemas[1]
    assert schema["input"] == [
        {"name": "n", "type": "integer", "is_list": False, "default": 2, "description": "How many", "required": False},
        {"name": "m", "type": "select", "is_list": False, "subtype": "a,b", "options": ["a", "b"], "default": "b", "required": False},
        {"name": "s", "type": "slider", "is_list": False, "subtype": "0,1,0.1", "bounds": {"min": 0, "max": 1, "step": 0.1}, "default": 0.5, "required": False},
        {"name": "t", "type": "text", "is_list": False, "required": True},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/workflows/none/schema", 404, "Workflow not found."),
        ("GET", "/workflows/hidden/schema", 404, "Workflow not found."),
        ("GET", "/tasks/none", 404, "Task 'none' not found."),
        ("GET", "/tasks/none/stream", 404, "Task 'none' not found."),
        ("GET", "/tasks/none/events", 404, "Task 'none' not found."),
        ("POST", "/tasks/none/cancel", 404, "Task 'none' not found."),
        ("GET", "/none", 404, "Not Found"),
        ("GET", "/workflows/", 404, "Not Found"),
        ("PUT", "/workflows/runs", 405, "Method Not Allowed"),
        ("GET", "/workflows?include_schema=perhaps", 400, "Invalid request body"),
    ],
)
def test_what_is_not_there(client: httpx.Client, method: str, path: str, status: int, detail: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize("name", ["none", "hidden", "../x", "💥"])
def test_unknown_and_private_workflows_are_404(client: httpx.Client, name: str) -> None:
    answer = run(client, name)
    assert (answer.status_code, answer.json()["detail"]) == (404, f"Workflow '{name}' not found.")


def test_without_a_default_one_has_to_be_named() -> None:
    two = "workflows: [{id: a, job: {component: e}}, {id: b, job: {component: e}}]\ncomponent: {id: e, type: echo}"
    with api(two, base_path="") as served, httpx.Client(base_url=served.url) as client:
        assert run(client).json()["detail"] == "Workflow '__default__' not found."
        assert run(client, "b", {"x": 1}).json()["output"] == {"x": 1}
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/api/health").status_code == 404


def test_what_breaks_is_one_sentence() -> None:
    async def boom(request: Request) -> Response:
        raise RuntimeError("inner words")

    async def asked() -> httpx.Response:
        app = application(more=[Route("/boom", boom)])
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/boom")

    answer = asyncio.run(asked())
    assert (answer.status_code, answer.json()["kind"]) == (500, "internal")
    assert "inner words" not in answer.text


# -- tasks


def test_a_finished_task_can_be_asked_as_often_as_one_likes(client: httpx.Client) -> None:
    started = run(client, "mirror", {"x": 1}, wait_for_completion=False)
    name = started.json()["task_id"]
    assert started.json() == {"task_id": name, "status": "pending", "workflow_id": "mirror"}
    list(client.get(f"/tasks/{name}/events").iter_lines())  # until its end
    for _ in range(3):
        assert client.get(f"/tasks/{name}").json()["output"] == {"x": 1}
        assert client.get(f"/tasks/{name}", params={"output_only": "1"}).json() == {"x": 1}
        assert client.get(f"/tasks/{name}/events").text == client.get(f"/tasks/{name}/events").text
    ended = client.post(f"/tasks/{name}/cancel")
    assert (ended.status_code, ended.json()["kind"]) == (409, "ended")


def test_people_are_asked_over_http(client: httpx.Client) -> None:
    asked = run(client, "ask", {"x": "old"})
    task = asked.json()["task_id"]
    (point,) = asked.json()["interrupt"]
    assert (asked.status_code, asked.json()["status"]) == (200, "interrupted")
    assert {key: point[key] for key in ("job_id", "phase", "message", "metadata")} == {
        "job_id": "a", "phase": "before", "message": "Sure?", "metadata": {"k": 1},
    }  # fmt: skip
    assert client.get(f"/tasks/{task}", params={"output_only": "true"}).status_code == 202
    assert client.get(f"/tasks/{task}").json()["interrupt"] == [point]
    wrong = client.post(f"/tasks/{task}/resume", json={"answer": {"nobody": 1}})
    assert (wrong.status_code, wrong.json()["kind"]) == (400, "answer")
    assert client.post(f"/tasks/{task}/resume", content="x").status_code == 400
    resumed = client.post(f"/tasks/{task}/resume", json={"answer": {point["id"]: "new"}})
    assert (resumed.status_code, resumed.json()["status"]) == (200, "processing")
    events = client.get(f"/tasks/{task}/events").text
    assert events.index("event: interrupted") < events.index("event: resumed") < events.index("event: end")
    assert client.get(f"/tasks/{task}").json()["output"] == {"a": "new"}
    again = client.post(f"/tasks/{task}/resume", json={"answer": {}})
    assert (again.status_code, again.json()["kind"]) == (409, "not_interrupted")
    assert client.post("/tasks/none/resume", json={}).status_code == 404


def test_the_older_form_of_an_answer(client: httpx.Client) -> None:
    asked = run(client, "ask", {"x": "old"}, output_only=True)
    assert asked.status_code == 202
    (point,) = asked.json()["interrupt"]
    body = {"job_id": "a", "run_id": point["run_id"], "answer": None}
    assert client.post(f"/tasks/{asked.json()['task_id']}/resume", json=body).status_code == 200
    client.get(f"/tasks/{asked.json()['task_id']}/stream")
    assert client.get(f"/tasks/{asked.json()['task_id']}").json()["output"] == {"a": "old"}


def test_a_parked_task_can_be_cancelled(client: httpx.Client) -> None:
    task = run(client, "ask", {"x": 1}).json()["task_id"]
    cancelled = client.post(f"/tasks/{task}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"], cancelled.json()["kind"]) == (
        200,
        "cancelled",
        "stopped",
    )
    alone = client.get(f"/tasks/{task}", params={"output_only": "true"})
    assert (alone.status_code, alone.json()["detail"]) == (409, "The run was stopped.")


def test_no_answer_tells_a_secret(client: httpx.Client) -> None:
    """The upstream sends the header back; what is shown of it is `***`, in every answer."""
    answer = run(client, "leaky")
    assert answer.status_code == 200 and "***" in answer.text
    task = answer.json()["task_id"]
    texts = [client.get(f"/tasks/{task}{end}").text for end in ("", "/events", "/stream", "?output_only=true")]
    texts += [answer.text, client.get("/openapi.json").text, client.get("/workflows?include_schema=true").text]
    assert all("***" in text for text in texts[:5])
    assert not [text for text in texts if SECRET in text]
