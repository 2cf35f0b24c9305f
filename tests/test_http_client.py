"""`type: http-client`: the request as it goes out, what becomes of the answer, and addresses that are never asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

import composemagic
from composemagic.engine.events import Notice
from composemagic.engine.loop import PrivateLoop
from composemagic.engine.run import Run
from composemagic.errors import DocumentError, RunError
from composemagic.transport.address import check_host, is_loopback, shown, spell_in_address, spell_in_path
from composemagic.transport.http import Request, Timeouts, ask
from tests.conftest import EchoServer

STREAM = "text/event-stream"
ALWAYS = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "user-agent": "composemagic",
}


class Net(httpx.AsyncBaseTransport):
    """Answers every request alike, and keeps what was asked."""

    def __init__(self, answer: httpx.Response | None = None) -> None:
        self.answer = answer or httpx.Response(200, json={})
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        fresh = httpx.Response(self.answer.status_code, headers=self.answer.headers, content=self.answer.content)
        fresh.headers.pop("content-length", None)
        return fresh

    @property
    def sent(self) -> httpx.Request:
        (request,) = self.requests
        return request


def indented(yaml: str, by: int = 2) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in yaml.strip("\n").splitlines())


def run_action(yaml: str, net: Net | None = None, env: dict[str, str] | None = None, **values: Any) -> Run:
    """Run one http-client action, its fields written flat, to its end."""
    text = f"component:\n  type: http-client\n{indented(yaml)}"
    run = composemagic.load(text, transport=net or Net(), env=env).start(values)
    assert run.wait(10)
    return run


def sent(yaml: str, env: dict[str, str] | None = None, **values: Any) -> httpx.Request:
    """The request that an action sends."""
    net = Net()
    run_action(yaml, net, env, **values).raise_for_error()
    return net.sent


def refusal(yaml: str, env: dict[str, str] | None = None, **values: Any) -> RunError:
    """The error of an action whose request is never sent."""
    net = Net()
    run = run_action(yaml, net, env, **values)
    assert not net.requests
    assert run.error is not None
    return run.error


# -- addresses -----------------------------------------------------------------------------------------------------------

JOINED = [
    ("http://h/v1", "/x", "http://h/v1/x"),
    ("http://h/v1/", "/x", "http://h/v1/x"),
    ("http://h/v1/", "x", "http://h/v1/x"),
    ("http://h", "x/", "http://h/x/"),
    ("http://h", "/x?a=1&b=2", "http://h/x?a=1&b=2"),
    ("http://h:8000/", "/a b/é", "http://h:8000/a%20b/%C3%A9"),
    ("http://h/", "/a%2Fb%20c", "http://h/a%2Fb%20c"),
    ("https://h/v1", None, "https://h/v1"),
]


@pytest.mark.parametrize(("base", "path", "url"), JOINED)
def test_base_url_and_path(base: str, path: str | None, url: str) -> None:
    assert str(sent(f"base_url: {base}" + (f"\npath: {path}" if path else "")).url) == url


SPELLED = [
    # a value cannot leave its place in the path
    ("/files/${input.v}", "a b.txt", "/files/a%20b.txt"),
    ("/files/${input.v}", "a/b", "/files/a%2Fb"),
    ("/files/${input.v}", "a?b=c", "/files/a%3Fb%3Dc"),
    ("/files/${input.v}", "a#b", "/files/a%23b"),
    ("/files/${input.v}/x", "50%", "/files/50%25/x"),
    ("/files/${input.v}/x", "%2e%2e", "/files/%252e%252e/x"),
    ("/files/${input.v}", "数据", "/files/%E6%95%B0%E6%8D%AE"),
    ("/files/${input.v}", 7, "/files/7"),
    ("/files/${input.v | all files}", None, "/files/all%20files"),
    # nor in the query
    ("/find?q=${input.v}", "a b", "/find?q=a%20b"),
    ("/find?q=${input.v}", "a&b=c+d#e", "/find?q=a%26b%3Dc%2Bd%23e"),
    ("/find?q=${input.v}", "../x", "/find?q=..%2Fx"),
    ("/find?q=${input.v}&n=1", "?", "/find?q=%3F&n=1"),
    # one that begins the path may be several segments, but brings no query
    ("${input.v}", "/users/3", "/users/3"),
    ("/${input.v}", "users/3", "/users/3"),
    ("${input.v}", "users?id=3", "/users%3Fid%3D3"),
    ("${input.v}/all", "a b", "/a%20b/all"),
    # what the author wrote stands
    ("/a%20b/${input.v}", "c", "/a%20b/c"),
]


@pytest.mark.parametrize(("path", "value", "target"), SPELLED)
def test_values_in_a_path_are_encoded(path: str, value: Any, target: str) -> None:
    request = sent(f"base_url: http://h\npath: {json.dumps(path)}", v=value)
    assert request.url.raw_path.decode() == target


ENDPOINTS = [
    ("${input.v}", "http://other/a?b=c", "http://other/a?b=c"),
    ("${input.v}/x", "http://other:1/a", "http://other:1/a/x"),
    ("http://h/${input.v}", "a/b?c", "http://h/a%2Fb%3Fc"),
    ("http://${input.v}/x", "127.0.0.1:11434", "http://127.0.0.1:11434/x"),
    ("http://h:${input.v}/x", 8000, "http://h:8000/x"),
    ("http://h/find?q=${input.v}", "a&b", "http://h/find?q=a%26b"),
]


@pytest.mark.parametrize(("endpoint", "value", "url"), ENDPOINTS)
def test_values_in_an_endpoint(endpoint: str, value: Any, url: str) -> None:
    assert str(sent(f"endpoint: {json.dumps(endpoint)}", v=value).url) == url


def test_base_url_is_a_template() -> None:
    yaml = "base_url: ${env.BASE | http://h/v1}\npath: /x"
    assert str(sent(yaml).url) == "http://h/v1/x"
    assert str(sent(yaml, env={"BASE": "http://127.0.0.1:8000/v1"}).url) == "http://127.0.0.1:8000/v1/x"


@pytest.mark.parametrize("value", ["..", ".", "a/../b"])
def test_a_value_does_not_climb(value: str) -> None:
    assert refusal("base_url: http://h\npath: /a/${input.v}/b", v=value).kind == "request"
    assert refusal("endpoint: http://h/a/${input.v}/b", v=value).kind == "request"


def test_a_value_does_not_become_a_host() -> None:
    for value in ("evil.example/", "user@evil.example", "evil.example?", "evil.example#"):
        net = Net()
        run_action("endpoint: http://${input.v}.example.com/x", net, v=value)
        assert all(request.url.host.endswith(".example.com") for request in net.requests)


REFUSED = [
    ("ftp://h/x", "url", "`ftp://h/x` is no http:// or https:// address"),
    ("file:///etc/passwd", "url", "is no http:// or https:// address"),
    ("localhost:8000/x", "url", "is no http:// or https:// address"),
    ("/v1/x", "url", "is no http:// or https:// address"),
    ("http://", "url", "is no http:// or https:// address"),
    ("http://h:99999/", "url", "a port that does not exist"),
    ("http://h:port/", "url", "is no URL"),
    ("http://xn--a/", "url", "is no URL"),
    ("http://me:secret@h/x?k=secret", "url", "the address of h has a user or a password in it; send them in a header"),
    (
        "http://169.254.169.254/latest/meta-data",
        "address",
        "169.254.169.254 is link-local or a cloud's metadata service",
    ),
    ("http://metadata.google.internal/x", "address", "which composemagic never asks"),
]


@pytest.mark.parametrize(("url", "kind", "words"), REFUSED)
def test_addresses_that_are_never_asked(url: str, kind: str, words: str) -> None:
    error = refusal("endpoint: ${input.url}", url=url)
    assert error.kind == kind
    assert words in error.sentence and "secret" not in error.sentence


HOSTS = [
    "169.254.169.254", "169.254.0.1", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376",
    "169.254.43518", "169.16689662", "fe80::1", "[fe80::1]", "fe80::1%25eth0", "febf::1", "::ffff:169.254.169.254",
    "[::ffff:a9fe:a9fe]", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200",
    "192.0.0.192", "168.63.129.16", "metadata.google.internal", "METADATA.GOOGLE.INTERNAL.", "metadata", "metadata.goog",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_metadata_services_in_every_spelling(host: str) -> None:
    with pytest.raises(RunError, match="never asks"):
        check_host(host)


@pytest.mark.parametrize("host", ["h", "api.openai.com", "127.0.0.1", "::1", "10.0.0.1", "8.8.8.8", "fec0::1", "1"])
def test_other_hosts_are_asked(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("localhost", True), ("localhost:1", True), ("127.0.0.1:80", True), ("127.1", True), ("[::1]:80", True), ("::1", True),
     ("h", False), ("10.0.0.1:1", False), ("localhost.example", False), ("", False)],
)  # fmt: skip
def test_loopback(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it


def test_what_a_message_shows_of_a_url() -> None:
    assert shown("https://me:pw@h:1/a/b?key=k#f") == "https://h:1/a/b"
    assert shown("https://h") == "https://h"
    assert len(shown("http://h/" + "x" * 999)) == 200


def test_spelling_alone() -> None:
    assert spell_in_path("", "/a/") == "" and spell_in_address("", "") == ""
    assert spell_in_address("[::1]:80", "http://") == "[::1]:80"


@pytest.mark.parametrize("host", ["a..b", "x" * 70, ".example.invalid", "nothing.invalid"])
def test_hosts_that_cannot_be_found(host: str) -> None:
    run = composemagic.load(f"component: {{type: http-client, endpoint: 'http://{host}/'}}").start({})
    assert run.wait(10) and run.error is not None
    assert run.error.kind in ("dns", "url"), run.error
    assert host in run.error.sentence


def test_a_proxy_from_the_environment(echo_server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many schools reach the world only through one. Its own loop, because clients look at the environment once."""
    monkeypatch.setenv("HTTP_PROXY", echo_server.url)
    workflow = composemagic.load("component: {type: http-client, endpoint: 'http://nowhere.invalid/echo/x'}")
    loop = PrivateLoop()
    run = Run(workflow._plan, {}, workflow._surroundings, loop=loop)
    assert run.wait(10)
    loop.close()
    assert run.status == "done" and run.output["path"] == "/echo/x"


# -- headers -------------------------------------------------------------------------------------------------------------

HEADERS = [
    ("X-A: one", "", {"x-a": "one"}),
    ("X-A: one", "x-a: two", {"x-a": "two"}),
    ("X-A: one", "X-B: two", {"x-a": "one", "x-b": "two"}),
    ("X-A: one", "x-a: null", {"x-a": None}),
    ("X-A: one", "x-a: ${input.nothing}", {"x-a": None}),
    ("X-A: 7", "X-B: 0.5\nX-C: true", {"x-a": "7", "x-b": "0.5", "x-c": "true"}),
    ("X-A: ${input.n}", "", {"x-a": "7"}),
    ("X-A: v-${input.n}", "", {"x-a": "v-7"}),
    ("X-A: ${env.NUMBER}", "", {"x-a": "0123"}),
    ("User-Agent: mine", "", {"user-agent": "mine"}),
    ("X-A: '  padded '", "", {"x-a": "padded"}),
]


@pytest.mark.parametrize(("component", "action", "expected"), HEADERS)
def test_headers(component: str, action: str, expected: dict[str, str | None]) -> None:
    nested = (
        f"actions:\n  - endpoint: http://h/\n    headers:\n{indented(action, 6)}" if action else "endpoint: http://h/"
    )
    request = sent(f"headers:\n{indented(component)}{nested}", env={"NUMBER": "0123"}, n=7)
    for name, value in expected.items():
        assert request.headers.get(name) == value
        assert len(request.headers.get_list(name)) == (value is not None)


def test_own_headers() -> None:
    request = sent("endpoint: http://h:8000/")
    assert request.headers["host"] == "h:8000"
    assert request.headers["user-agent"] == "composemagic"
    assert "gzip" in request.headers["accept-encoding"]
    assert "cookie" not in request.headers and "authorization" not in request.headers


@pytest.mark.parametrize("value", ["a\nb", "a\r\nX-Evil: 1", "a\x00b", "é", "\u202e"])
def test_headers_that_cannot_be_sent(value: str) -> None:
    error = refusal("endpoint: http://h/\nheaders: {Authorization: 'Bearer ${input.key}'}", key=f"sk-12345678{value}")
    assert error.kind == "request"
    assert error.sentence == "the header `Authorization` has characters that cannot be sent, such as a line break"


# -- params --------------------------------------------------------------------------------------------------------------

PARAMS = [
    ("{a: 1, b: x y}", "?a=1&b=x+y"),
    ("{a: true, b: false}", "?a=true&b=false"),
    ("{a: null, b: ''}", "?b="),
    ("{a: [1, 2, null, x]}", "?a=1&a=2&a=x"),
    ("{a: []}", ""),
    ("{}", ""),
    ("{a: '&=#?é'}", "?a=%26%3D%23%3F%C3%A9"),
    ("{a: '${input.list}'}", "?a=1&a=2"),
    ("'${input.object}'", "?k=v"),
    ("{a: 0.5}", "?a=0.5"),
]


@pytest.mark.parametrize(("params", "query"), PARAMS)
def test_params(params: str, query: str) -> None:
    request = sent(f"endpoint: http://h/x\nparams: {params}", list=[1, 2], object={"k": "v"})
    assert request.url.raw_path.decode() == f"/x{query}"


def test_params_join_a_written_query() -> None:
    assert str(sent("endpoint: http://h/x?a=1\nparams: {b: 2}").url) == "http://h/x?a=1&b=2"


def test_params_are_a_mapping() -> None:
    assert (
        refusal("endpoint: http://h/\nparams: '${input.p}'", p="a=1").sentence
        == "`params` is a mapping of names to values"
    )


# -- bodies --------------------------------------------------------------------------------------------------------------

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
BODIES = [
    ("{a: 1, b: [true, null]}", None, JSON, b'{"a": 1, "b": [true, null]}'),
    ("[1, 2]", None, JSON, b"[1, 2]"),
    ("{}", None, JSON, b"{}"),
    ("just text", None, "text/plain; charset=utf-8", b"just text"),
    ("'数据'", None, "text/plain; charset=utf-8", "数据".encode()),
    ("7", None, "text/plain; charset=utf-8", b"7"),
    ("just text", JSON, JSON, b'"just text"'),
    ("{a: é}", "application/json; charset=utf-8", "application/json; charset=utf-8", '{"a": "é"}'.encode()),
    ("{a: 1}", "application/vnd.api+json", "application/vnd.api+json", b'{"a": 1}'),
    ("{a: 1, b: x y, c: null, d: true, e: {f: 1}}", FORM, FORM, b"a=1&b=x+y&d=true&e=%7B%22f%22%3A+1%7D"),
    ("a=1&b=2", FORM, FORM, b"a=1&b=2"),
    ("<x/>", "application/xml", "application/xml", b"<x/>"),
    ("'${input.object}'", None, JSON, b'{"k": "v"}'),
    ("{a: '${input.missing}'}", None, JSON, b'{"a": null}'),
    ("null", None, None, b""),
    ("'${input.missing}'", None, None, b""),
]


@pytest.mark.parametrize(("body", "given", "kind", "content"), BODIES)
def test_bodies(body: str, given: str | None, kind: str | None, content: bytes) -> None:
    headers = f"\nheaders: {{content-type: {json.dumps(given)}}}" if given else ""
    request = sent(f"endpoint: http://h/\nbody: {body}{headers}", object={"k": "v"})
    assert request.content == content
    assert request.headers.get("content-type") == kind


def test_a_body_of_bytes() -> None:
    request = sent("endpoint: http://h/\nbody: ${input.b}", b=b"\x00\xff")
    assert (request.content, request.headers["content-type"]) == (b"\x00\xff", "application/octet-stream")


UNSENT = [
    ({"x": float("nan")}, None, "NaN and Infinity cannot be written as JSON"),
    ({"x": "\ud83d"}, None, "the body has half a surrogate pair, which is no text"),
    ({"x": {1, 2}}, None, "the body cannot be written as JSON"),
    ({"x": {"y": b"\xff"}}, None, "the body cannot be written as JSON"),
    ({"x": b"\xff"}, "application/x-www-form-urlencoded", "bytes that are no text cannot be a field of a form"),
    ({"x": "\ud83d"}, "application/x-www-form-urlencoded", "the body has half a surrogate pair, which is no text"),
    ({"x": 1}, "text/plain", "an object cannot be sent as text/plain"),
    ([1], "application/xml", "a list cannot be sent as application/xml"),
    ("\ud83d", None, "the body has half a surrogate pair, which is no text"),
]


@pytest.mark.parametrize(("body", "kind", "sentence"), UNSENT, ids=str)
def test_bodies_that_cannot_be_sent(body: Any, kind: str | None, sentence: str) -> None:
    headers = f"\nheaders: {{Content-Type: {kind}}}" if kind else ""
    error = refusal(f"endpoint: http://h/\nbody: ${{input.body}}{headers}", body=body)
    assert error.kind == "request" and error.sentence.startswith(sentence)


# -- methods and times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "post", "Put", "DELETE", "patch", "HEAD", "options"])
def test_methods(method: str) -> None:
    assert sent(f"endpoint: http://h/\nmethod: {method}").method == method.upper()


def test_the_method_is_post_where_none_is_written() -> None:
    assert sent("endpoint: http://h/").method == "POST"


def test_an_unknown_method() -> None:
    with pytest.raises(DocumentError, match="unknown method `FETCH`"):
        composemagic.load("component: {type: http-client, endpoint: 'http://h/', method: FETCH}")
    assert refusal("endpoint: http://h/\nmethod: ${input.m}", m="FETCH").sentence.startswith("unknown method `FETCH`")


DEFAULTS = Timeouts()
TIMEOUTS = [
    ("", "", DEFAULTS),
    ("timeout: 5", "", Timeouts(total=5)),
    ("timeout: 5s", "", Timeouts(total=5)),
    ("timeout: 500ms", "", Timeouts(total=0.5)),
    ("timeout: 2m", "", Timeouts(total=120)),
    ("timeout: 1h", "", Timeouts(total=3600)),
    ("timeout: {read: 1, connect: 2s}", "", Timeouts(connect=2, read=1)),
    ("timeout: {read: 1, total: 9}", "timeout: {read: 2}", Timeouts(read=2, total=9)),
    ("timeout: {first: 30s}", "timeout: {total: '01:30'}", Timeouts(first=30, total=90)),
    ("timeout: {read: '${input.none}'}", "", DEFAULTS),
    ("timeout: 5", "timeout: 7s", Timeouts(total=7)),
    ("timeout: ${env.SECONDS}", "", Timeouts(total=8)),
]


@pytest.mark.parametrize(("component", "action", "expected"), TIMEOUTS)
def test_timeouts(component: str, action: str, expected: Timeouts, monkeypatch: pytest.MonkeyPatch) -> None:
    from composemagic.components import http_client

    used: list[Timeouts] = []
    ask = http_client.ask
    monkeypatch.setattr(http_client, "ask", lambda *given: used.append(given[2]) or ask(*given))  # type: ignore[func-returns-value]
    sent(f"{component}\nactions:\n  - endpoint: http://h/\n{indented(action, 4)}", env={"SECONDS": "8"})
    assert used == [expected]


NO_SETTINGS: list[tuple[str, object, str]] = [
    ("timeout", "soon", '`timeout`: a duration is seconds, or a text such as "500ms", "5s" or "2m", not "soon"'),
    ("timeout", -1, '`timeout`: a duration is seconds, or a text such as "500ms", "5s" or "2m", not -1'),
    ("timeout", "nan", '`timeout`: a duration is seconds, or a text such as "500ms", "5s" or "2m", not "nan"'),
    ("timeout", 0, "`timeout` is more than 0 seconds"),
    ("timeout", True, '`timeout`: a duration is seconds, or a text such as "500ms", "5s" or "2m", not true'),
    ("timeout", {"read": 0}, "`timeout.read` is more than 0 seconds"),
    ("max_retries", -1, "`max_retries` is a whole number from 0 on, not -1"),
    ("max_retries", "often", '`max_retries` is a whole number from 0 on, not "often"'),
    (
        "retry_delay",
        "later",
        '`retry_delay`: a duration is seconds, or a text such as "500ms", "5s" or "2m", not "later"',
    ),
    ("rate_limit", "fast", '`rate_limit` is a text such as "50/s" or "100/min", or a mapping with requests, '),
    ("rate_limit", "0/s", "`rate_limit` is a whole number from 1 on"),
    ("rate_limit", "5/fortnight", "`rate_limit` is a text such as"),
    ("rate_limit", 5, "`rate_limit` is a text such as"),
    ("rate_limit", {"requests": 0}, "`rate_limit.requests` is a whole number from 1 on"),
    ("rate_limit", {"requests": 1, "period": 0}, "`rate_limit.period` is more than 0 seconds"),
]


@pytest.mark.parametrize(("key", "value", "sentence"), NO_SETTINGS)
def test_settings_that_are_none(key: str, value: object, sentence: str) -> None:
    """Seen when the document is loaded where they are written, else when the request is made."""
    with pytest.raises(DocumentError) as caught:
        sent(f"endpoint: http://h/\n{key}: {json.dumps(value)}")
    (mistake,) = caught.value.mistakes
    assert mistake.sentence.startswith(sentence)
    assert mistake.mark is not None and mistake.mark.number == 4
    error = refusal(f"endpoint: http://h/\n{key}: '${{input.v}}'", v=value)
    assert error.sentence.startswith(sentence)


def test_a_mistake_of_the_component_is_said_once() -> None:
    yaml = "component:\n  type: http-client\n  base_url: http://h\n  rate_limit: 5\n  actions: [{id: a, path: /}, {id: b, path: /}]\n"
    with pytest.raises(DocumentError) as caught:
        composemagic.load(f"{yaml}workflow: {{job: {{action: a}}}}\n")
    (mistake,) = caught.value.mistakes
    assert (
        mistake.sentence.startswith("`rate_limit` is a text") and mistake.mark is not None and mistake.mark.number == 4
    )


UNKNOWN = [
    ("timeout: {write: 1}", "unknown key `write` in an http-client"),
    ("timeout: {frist: 1}", "did you mean `first`?"),
    ("rate_limit: {requests: 1, per: s}", "did you mean `period`?"),
    ("rate_limit: {period: 1}", "needs `requests`"),
    ("max_retrys: 1", "did you mean `max_retries`?"),
    ("retries: 1", "unknown key `retries`"),
    ("method: PSOT", "unknown method `PSOT`; did you mean `POST`?"),
    ("completion: {type: polling, path: /x}", "`path` needs the component's `base_url`"),
    ("completion: {type: poling, endpoint: 'http://h/'}", "did you mean `polling`?"),
    ("completion: {endpoint: 'http://h/'}", "needs `type`"),
    ("completion: {type: polling, endpoint: 'http://h/', sucess_when: x}", "did you mean `success_when`?"),
    (
        "completion: {type: polling, endpoint: 'http://h/', wait_for: x}",
        "a completion of `type: polling` has no `wait_for`",
    ),
    ("completion: {type: polling, endpoint: 'http://h/', interval: often}", "`interval`: a duration is seconds"),
    ("completion: {type: polling, endpoint: 'http://h/', status: '${result.s}'}", "`status` needs `success_when`"),
    ("completion: {type: polling, endpoint: 'http://h/', method: GTE}", "unknown method `GTE`; did you mean `GET`?"),
    (
        "completion: {type: polling, endpoint: 'http://h/${rsponse.id}'}",
        "unknown source `rsponse`; did you mean `response`?",
    ),
    ("completion: {type: polling}", "a polling completion needs `endpoint`"),
    ("completion: {type: callback}", "a callback needs `wait_for`"),
    ("completion: {type: callback, wait_for: x, interval: 1}", "a completion of `type: callback` has no `interval`"),
    ("output: '${result.x}'", "`result` is what a `completion` gives; without one, write `response`"),
    ("params: {x: '${response.id}'}", "`response`"),
]


@pytest.mark.parametrize(("yaml", "words"), UNKNOWN)
def test_mistakes_have_a_place(yaml: str, words: str) -> None:
    with pytest.raises(DocumentError) as caught:
        composemagic.load(f"component:\n  type: http-client\n  endpoint: http://h/x\n  {yaml}\n")
    mistake = next(one for one in caught.value.mistakes if words in one.sentence)
    assert mistake.mark is not None and mistake.mark.number == 4


# -- answers -------------------------------------------------------------------------------------------------------------

ANSWERS = [
    (200, "application/json", b'{"a": [1, null]}', {"a": [1, None]}),
    (201, "application/json; charset=utf-8", b'"x"', "x"),
    (200, "application/vnd.api+json", b'{"a": 1}', {"a": 1}),
    (200, "APPLICATION/JSON", b"7", 7),
    (200, "text/plain", "é".encode(), "é"),
    (200, "text/plain; charset=iso-8859-1", b"\xe9", "é"),
    (200, "text/plain; charset=no-such", b"x\xff", "x\ufffd"),
    (200, "text/html", b"<p>", "<p>"),
    (200, "image/png", b"\x89PNG", b"\x89PNG"),
    (200, "", b"\x00", b"\x00"),
    (200, "", b"", None),
    (204, "", b"", None),
    (204, "application/json", b"", None),
    (200, "application/json", b'{"error": null, "v": 1}', {"error": None, "v": 1}),
]


@pytest.mark.parametrize(("status", "kind", "content", "value"), ANSWERS)
def test_answers(status: int, kind: str, content: bytes, value: Any) -> None:
    headers = {"content-type": kind} if kind else {}
    run = run_action("endpoint: http://h/x", Net(httpx.Response(status, headers=headers, content=content)))
    assert run.status == "done" and run.output == value


def test_the_output_of_a_value() -> None:
    net = Net(httpx.Response(200, json={"items": [{"id": 1}, {"id": 2}]}))
    assert run_action("endpoint: http://h/\noutput: {ids: '${response.items[*].id}'}", net).output == {"ids": [1, 2]}


PROBLEMS = [
    (400, JSON, {"error": {"message": "bad model"}}, "bad_request", "h answered with status 400: bad model"),
    (
        400,
        "application/problem+json",
        {"title": "no", "detail": "why"},
        "bad_request",
        "h answered with status 400: why",
    ),
    (401, JSON, {"error": "who?"}, "auth", "h wants a key (401): who?"),
    (403, JSON, {}, "auth", "h does not allow this (403)"),
    (404, JSON, {"message": "no page"}, "not_found", "http://h/x was not found (404): no page"),
    (418, "text/plain", b"a teapot", "bad_request", "h answered with status 418: a teapot"),
    (500, "text/html", b"<title>Sorry &amp; so</title>", "server", "h answered with status 500: Sorry & so"),
    (503, JSON, {"detail": "later"}, "overloaded", "h is overloaded (503): later"),
    (301, "text/plain", b"", "redirect", "h wants to redirect (301); write the final address into the YAML"),
]


@pytest.mark.parametrize(("status", "kind", "body", "error", "sentence"), PROBLEMS)
def test_answers_that_are_problems(status: int, kind: str, body: Any, error: str, sentence: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    net = Net(httpx.Response(status, headers={"content-type": kind}, content=content))
    run = run_action("endpoint: http://h/x?secret=1\nmax_retries: 0", net)
    assert run.error is not None
    assert (run.error.kind, run.error.sentence) == (error, sentence)


def test_a_rejected_key_is_named_and_not_shown() -> None:
    key = "sk-" + "abcdefgh" * 50
    words = {"error": {"message": "x" * 280 + f" wrong: {key}"}}
    net = Net(httpx.Response(401, json=words))
    yaml = "endpoint: http://h/\nheaders: {Authorization: 'Bearer ${env.MY_API_KEY}'}"
    undo = composemagic.allow("MY_API_KEY", "http://h")
    run = run_action(yaml, net, {"MY_API_KEY": key})
    undo()
    assert run.error is not None
    assert run.error.sentence.startswith("h rejected the key from $MY_API_KEY (401): xxx")
    assert "sk-abc" not in run.error.sentence


# -- streams -------------------------------------------------------------------------------------------------------------

EVENTS = b'data: {"v": "a"}\n\nevent: e\nid: 7\ndata: {"v": "b"}\n\ndata: [DONE]\n\n'
FORMATS = [
    ("json", STREAM, EVENTS, "${response[].v}", ["a", "b"]),
    ("text", STREAM, EVENTS, "${response[]}", ['{"v": "a"}', '{"v": "b"}']),
    ("server-sent-events", STREAM, EVENTS, "${response[].id}", ["", "7"]),
    ("json-lines", "application/x-ndjson", b'{"v": "a"}\n\n{"v": "b"}', "${response[].v}", ["a", "b"]),
    ("json-lines", JSON, b'{"v": "a"}\n{"v": "b"}\n', "${response[].v}", ["a", "b"]),
    ("json", "text/plain", EVENTS, "${response[].v}", ["a", "b"]),
    ("json", "", EVENTS, "${response[].v}", ["a", "b"]),
]


@pytest.mark.parametrize(("name", "kind", "content", "output", "values"), FORMATS)
def test_stream_formats(name: str, kind: str, content: bytes, output: str, values: list[str]) -> None:
    net = Net(httpx.Response(200, headers={"content-type": kind} if kind else {}, content=content))
    run = run_action(f"endpoint: http://h/x\nstream_format: {name}\noutput: {json.dumps(output)}", net)
    assert run.status == "done", run.error
    assert run.text == "".join(values)
    noted = [event.sentence for event in run.events if isinstance(event, Notice) and "event stream" in event.sentence]
    assert bool(noted) == (kind in ("", "text/plain"))


def test_a_stream_without_output_gives_its_chunks() -> None:
    net = Net(httpx.Response(200, headers={"content-type": STREAM}, content=EVENTS))
    assert run_action("endpoint: http://h/x\nstream_format: json", net).output == [{"v": "a"}, {"v": "b"}]


def test_a_stream_that_matched_nothing_says_what_there_was() -> None:
    net = Net(httpx.Response(200, headers={"content-type": STREAM}, content=EVENTS))
    run = run_action("endpoint: http://h/x\nstream_format: json\noutput: ${response[].w}", net)
    assert Notice("nothing in the stream matched `output`; its chunks have `v`") in run.events


def notes(run: Run) -> list[str]:
    """What the run was told, beside how its short spelling was read."""
    found = [event.sentence for event in run.events if isinstance(event, Notice)]
    return [sentence for sentence in found if not sentence.startswith("read as:")]


def streaming(content: bytes, kind: str = STREAM) -> Net:
    return Net(httpx.Response(200, headers={"content-type": kind} if kind else {}, content=content))


def chat(reason: str = "stop", content: object = "ab", name: str = "delta") -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, name: {"content": content}, "finish_reason": reason}]}


def event(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


OPENAI = "endpoint: http://h/v1/chat/completions\n"
OLLAMA = "endpoint: http://h/api/chat\n"
CONTENT, MESSAGE = "output: ${response[].choices[0].delta.content}", "output: ${response[].message.content}"
LINES = b'{"message": {"content": "a"}, "done": false}\n{"message": {"content": "b"}, "done": true}\n'


@pytest.mark.parametrize(
    ("yaml", "kind", "content", "text"),
    [
        (OPENAI + CONTENT, STREAM, event(chat()), "ab"),
        (OPENAI + CONTENT + "\nstream_format: null", STREAM, event(chat()), "ab"),
        (OPENAI + "output: 'said: ${response[].choices[0].delta.content}'", STREAM, event(chat()), "said: ab"),
        (OLLAMA + MESSAGE, "application/x-ndjson", LINES, "ab"),
        (OLLAMA + MESSAGE + "\nstream_format: json", "application/x-ndjson", LINES, "ab"),
        (OLLAMA + MESSAGE + "\nstream_format: json-lines", "application/x-ndjson", LINES, "ab"),
        ("endpoint: http://h/x\n" + MESSAGE, "application/x-ndjson", LINES, "ab"),
        ("endpoint: http://h/x\n" + MESSAGE + "\nstream_format: json", "application/x-ndjson", LINES, "ab"),
        ("endpoint: http://h/x\n" + MESSAGE + "\nstream_format: json", "application/jsonl", LINES, "ab"),
        (OPENAI + "output: ${response[]}", STREAM, b"data: a\n\ndata: [DONE]\n\n", "a"),
        # a provider that forgets to say that it answers in JSON
        (
            OPENAI + "output: ${response.choices[0].message.content}",
            "",
            json.dumps(chat(name="message")).encode(),
            "ab",
        ),
        (OPENAI + CONTENT, "text/plain", json.dumps(chat(name="message")).encode(), "ab"),
    ],
)
def test_json_where_paths_are_read(yaml: str, kind: str, content: bytes, text: str) -> None:
    run = run_action(yaml, streaming(content, kind))
    assert run.status == "done", run.error
    assert run.text == text


def test_ollama_streams_where_nothing_is_asked_for() -> None:
    run = run_action(OLLAMA.strip(), streaming(LINES, "application/x-ndjson"))
    assert run.status == "done" and run.output == [json.loads(line) for line in LINES.splitlines()]


def test_paths_into_the_text_of_a_stranger() -> None:
    run = run_action("endpoint: http://h/x\noutput: ${response[].v}", streaming(EVENTS))
    assert any("add `stream_format: json`" in note for note in notes(run))
    with pytest.raises(DocumentError, match="the chunks are text, which has no paths: write `stream_format: json`"):
        composemagic.load(f"component:\n  type: http-client\n{indented(OPENAI + CONTENT)}  stream_format: text\n")


@pytest.mark.parametrize("name", ["xml", "JSON", 7])
def test_a_stream_format_that_is_none(name: object) -> None:
    run = run_action("endpoint: http://h/x\nstream_format: ${input.f}", streaming(EVENTS), f=name)
    assert run.error is not None and run.error.sentence.startswith("`stream_format` is one of json, text, ")


WRONG = [
    ("json-lines", STREAM, EVENTS, "h sent an event stream, not lines of JSON: write `stream_format: json`"),
    ("json-lines", "text/plain", EVENTS, "this is an event stream, not lines of JSON: write `stream_format: json`"),
    ("json", "text/plain", b'{"v": 1}\n{"v": 2}\n', "h sent JSON, not events: write `stream_format: json-lines`"),
]


@pytest.mark.parametrize(("name", "kind", "content", "sentence"), WRONG)
def test_the_wrong_stream_format(name: str, kind: str, content: bytes, sentence: str) -> None:
    run = run_action(
        f"endpoint: http://h/x\nstream_format: {name}\noutput: ${{response[].v}}", streaming(content, kind)
    )
    assert run.error is not None and run.error.sentence == sentence


REASONS = [
    ("stop", None),
    ("length", "the answer was cut at max_tokens; raise it for more"),
    ("content_filter", "the provider's content filter ended the answer"),
    ("tool_calls", "the model asked for a tool instead of answering; `type: agent` runs tools"),
]


@pytest.mark.parametrize(("reason", "note"), REASONS)
def test_an_answer_that_is_not_all(reason: str, note: str | None) -> None:
    wanted = [note] if note else []
    run = run_action(OPENAI + CONTENT, streaming(event(chat(reason))))
    assert (run.text, notes(run)) == ("ab", wanted)
    whole = json.dumps(chat(reason, name="message")).encode()
    run = run_action(OPENAI + "output: ${response.choices[0].message.content}", streaming(whole, JSON))
    assert (run.text, notes(run)) == ("ab", wanted)


def test_what_a_stream_said_before_it_broke() -> None:
    """Also where the failure comes in the same read: the text, the usage, the reason."""
    late = event({"choices": [], "usage": {"total_tokens": 5}})
    run = run_action(OPENAI + CONTENT, streaming(event(chat("length")) + late + event({"error": "boom"})))
    assert run.error is not None and run.error.kind == "server"
    assert (run.text, run.usage) == ("ab", {"total_tokens": 5})
    assert notes(run) == ["the answer was cut at max_tokens; raise it for more"]
    run = run_action(OPENAI + CONTENT, streaming(event(chat("")) + b"error: boom\n\n"))
    assert run.error is not None and "h sent an error: boom" in run.error.sentence
    assert run.text == "ab"


def test_white_space_before_the_json_of_an_event() -> None:
    assert run_action("endpoint: http://h/x\nstream_format: json\noutput: ${response[].v}",
                      streaming(b'data:   {"v": "a"} \n\n')).text == "a"  # fmt: skip


# -- a transport of the user's ---------------------------------------------------------------------------------------------


def test_a_users_transport_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called as it is: no client is made for it, nothing is kept of it, and it is not closed."""

    class Counted(Net):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a client was made")

    monkeypatch.setattr(httpx.AsyncClient, "__init__", refuse)
    loop = PrivateLoop()
    nets = [Counted() for _ in range(20)]
    for net in nets:
        workflow = composemagic.load("component: {type: http-client, endpoint: 'http://h/'}", transport=net)
        run = Run(workflow._plan, {}, workflow._surroundings, loop=loop)
        assert run.wait(10) and run.status == "done", run.error
    loop.close()
    assert [(len(net.requests), net.closed) for net in nets] == [(1, 0)] * 20


def test_a_request_does_not_show_its_headers() -> None:
    request = Request("POST", "http://h/", {"authorization": "Bearer sk-12345678", "x-mine": "hidden"})
    assert "sk-1" not in repr(request) and "hidden" not in repr(request)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "other"},
        {"content-length": "4"},
        {"Transfer-Encoding": "chunked"},
        {"ACCEPT": "a/b", "Accept-Encoding": "x", "User-Agent": "me", "connection": "close", "X-A": "1"},
    ],
)
@pytest.mark.parametrize("url", ["http://127.0.0.1:81/a?b=c", "https://ä.example/", "https://[2001:db8::1]:444/"])
def test_the_head_is_what_httpx_makes_of_it(method: str, headers: dict[str, str], url: str) -> None:
    """A transport of the user's sees an ordinary request: Host first, the length last, where nobody wrote them."""
    net = Net()
    asyncio.run(ask(net, Request(method, url, headers, b"body"), Timeouts()))
    own = {name.lower() for name in headers}
    more = [(name, value) for name, value in ALWAYS.items() if name not in own]
    plain = httpx.Request(method, url, headers=[*more, *headers.items()], content=b"body")
    assert net.sent.headers.raw == plain.headers.raw
    assert (net.sent.method, net.sent.url, net.sent.content) == (method, plain.url, b"body")


# -- over the wire -------------------------------------------------------------------------------------------------------


def test_through_a_real_server(echo_server: EchoServer) -> None:
    yaml = f"""
component:
  type: http-client
  base_url: {echo_server.url}/echo/
  path: /${{input.name}}/x?q=${{input.q}}
  headers: {{X-Number: 7}}
  params: {{p: true}}
  body: {{a: "${{input.q}}"}}
"""
    assert composemagic.load(yaml)(name="a/b", q="1&2").output == {
        "method": "POST",
        "path": "/echo/a/b/x",
        "query": {"q": "1&2", "p": "true"},
        "headers": {"content-type": "application/json", "x-number": "7"},
        "body": {"a": "1&2"},
    }


def test_an_empty_answer_of_a_real_server(echo_server: EchoServer) -> None:
    assert composemagic.load(f"component: {{type: http-client, endpoint: '{echo_server.url}/empty'}}")().output is None


def test_its_page_begins_with_an_example_that_loads() -> None:
    import textwrap

    from composemagic.components import http_client

    example = (http_client.__doc__ or "").split("\n\n")[1]
    workflow = composemagic.load(textwrap.dedent(example))
    assert [one.name for one in workflow.inputs] == ["prompt"] and workflow.notes == ()
