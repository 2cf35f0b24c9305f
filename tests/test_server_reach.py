"""Where a request may send a server: only to public addresses, unless the YAML itself has the address."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

import composemagic
from composemagic import RunError
from composemagic.components.http_server import process
from composemagic.server.serving import for_others
from composemagic.transport import connection, reach
from tests.conftest import ROOT, EchoServer, free_port

pytest.importorskip("lxml")
pytest.importorskip("uvicorn")

FETCH = """
component:
  type: http-client
  action: {endpoint: "%s", method: GET}
"""


def ran(text: str, served: bool = True, env: dict[str, str] | None = None, **values: Any) -> Any:
    """The output of a run as a server starts it, or the sentence and kind of its failure."""
    workflow = composemagic.load(text, env=env)
    if served:
        workflow = for_others(workflow)
    try:
        return workflow(**values).output
    except RunError as error:
        assert error.kind == "address", error
        return error.sentence


def is_refused(answer: Any) -> bool:
    return isinstance(answer, str) and "address of this computer or its network" in answer


# -- an endpoint, what a request fills in, whether it may go there; {here} is the host and port of a server on this computer

ADDRESSES: dict[str, tuple[str, dict[str, str], bool]] = {
    "written": ("http://{here}/text/x", {}, True),
    "written, with a path that is filled in": ("http://{here}/text/${{input.a}}", {"a": "x"}, True),
    "written as a default": ("${{input.url | http://{here}/text/x}}", {}, True),
    "what is written, sent again": ("${{input.url | http://{here}/text/x}}", {"url": "http://{here}/text/y"}, True),
    "of the environment": ("${{env.PLACE}}/text/x", {}, True),
    "the whole address": ("${{input.url}}", {"url": "http://{here}/text/x"}, False),
    "by its name": ("${{input.url}}", {"url": "http://localhost:{port}/text/x"}, False),
    "by its name with a dot": ("${{input.url}}", {"url": "http://localhost.:{port}/text/x"}, False),
    "in one number": ("${{input.url}}", {"url": "http://2130706433:{port}/text/x"}, False),
    "in short": ("${{input.url}}", {"url": "http://127.1:{port}/text/x"}, False),
    "as IPv6": ("${{input.url}}", {"url": "http://[::1]:{port}/text/x"}, False),
    "inside of IPv6": ("${{input.url}}", {"url": "http://[::ffff:127.0.0.1]:{port}/text/x"}, False),
    "all addresses": ("${{input.url}}", {"url": "http://0.0.0.0:{port}/text/x"}, False),
    "a neighbour": ("${{input.url}}", {"url": "http://192.168.1.1/"}, False),
    "a neighbour in a company": ("${{input.url}}", {"url": "https://10.0.0.1/"}, False),
    "another address of this computer": ("${{input.url | http://{here}/}}", {"url": "http://127.0.0.2:{port}/"}, False),
    "a name that leads here": ("${{input.url}}", {"url": "http://evil.example:{port}/text/x"}, False),
    "the host": ("http://${{input.host}}/text/x", {"host": "{here}"}, False),
    "the port": ("http://127.0.0.1:${{input.port}}/text/x", {"port": "{port}"}, False),
    "the end of the port": ("http://127.0.0.1:1${{input.port}}/text/x", {"port": "2"}, False),
    "the end of the name": ("http://local${{input.name}}/text/x", {"name": "host:{port}"}, False),
    "behind the environment's": ("${{env.SCHEME}}${{input.rest}}", {"rest": "{here}/text/x"}, False),
}


@pytest.fixture
def here(echo_server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Host and port of a server on this computer; `evil.example` is a name of it."""
    resolved = connection._addresses

    async def addresses(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "evil.example" else await resolved(host, port)

    monkeypatch.setattr(connection, "_addresses", addresses)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return echo_server.url.removeprefix("http://")


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_in_a_server(name: str, here: str) -> None:
    endpoint, values, may = ADDRESSES[name]
    places = {"here": here, "port": here.rpartition(":")[2]}
    values = {key: value.format(**places) for key, value in values.items()}
    env = {"PLACE": f"http://{here}", "SCHEME": "http://"}
    answer = ran(FETCH % endpoint.format(**places), env=env, **values)
    assert is_refused(answer) != may, answer
    assert not may or answer in ("x", "y")


def test_in_a_cell_and_a_terminal_all_of_them_may(here: str) -> None:
    assert ran(FETCH % "${input.url}", served=False, url=f"http://{here}/text/x") == "x"
    assert ran(FETCH % "${input.url}", served=False, url=f"http://evil.example:{here.rpartition(':')[2]}/text/x") == "x"


def test_a_connection_that_stands_already_is_not_lent(here: str) -> None:
    """The CLI's or a notebook's own connection to this computer is kept open; a request does not get it."""
    assert ran(FETCH % f"http://{here}/text/x") == "x"
    assert is_refused(ran(FETCH % "${input.url}", url=f"http://{here}/text/x"))


def test_what_a_job_writes_for_its_action_is_written(here: str) -> None:
    text = f"""
workflow: {{job: {{component: c, input: {{url: "http://{here}/text/x", more: "${{input.a as integer}}"}}}}}}
component: {{id: c, type: http-client, action: {{endpoint: "${{input.url}}", method: GET}}}}
"""
    assert ran(text, a=1) == "x"
    assert is_refused(ran(text.replace(f'"http://{here}/text/x"', '"${input.u}"'), a=1, u=f"http://{here}/text/x"))


def test_what_another_job_has_found_is_not_written(here: str) -> None:
    text = f"""
workflow:
  jobs:
    - {{id: find, component: echo}}
    - {{id: fetch, component: c, input: {{url: "${{jobs.find.output}}"}}}}
components:
  - {{id: echo, type: echo, text: "http://{here}/text/${{input.a}}"}}
  - {{id: c, type: http-client, action: {{endpoint: "${{input.url}}", method: GET}}}}
"""
    assert is_refused(ran(text, a="x"))


def test_an_address_that_a_cast_loads(here: str) -> None:
    text = 'component: {type: echo, text: "${input.picture as image;url}"}'
    assert is_refused(ran(text, picture=f"http://{here}/text/x"))


def test_a_file_that_a_cast_loads() -> None:
    text = 'component: {type: echo, text: "${input.picture as image;path}"}'
    with pytest.raises(RunError) as caught:
        for_others(composemagic.load(text))(picture=".env")
    assert caught.value.kind == "not_allowed" and "which a server does for no request" in caught.value.sentence


def test_a_page_that_is_scraped(here: str) -> None:
    text = 'component: {type: web-scraper, action: {url: "%s", selector: p}}'
    assert is_refused(ran(text % "${input.url}", url=f"http://{here}/text/x"))
    assert not is_refused(ran(text % f"http://{here}/text/x"))
    listed = (
        f"component: {{type: web-scraper, action: {{url: ['http://{here}/text/x', '${{input.url}}'], selector: p}}}}"
    )
    assert is_refused(ran(listed, url="http://127.0.0.2/"))


def test_an_mcp_server(here: str) -> None:
    pytest.importorskip("mcp")
    text = 'component: {type: mcp-client, url: "${input.url}", action: {tool: x}}'
    assert "which a request cannot fill in" in ran(text, url=f"http://{here}/mcp")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.org", True), ("1.1.1.1", True), ("2606:4700::1", True), ("[2606:4700::1]", True),
        ("localhost", False), ("LOCALHOST.", False), ("a.localhost", False), ("127.0.0.1", False), ("::1", False),
        ("0.0.0.0", False), ("::", False), ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.0.1", False),
        ("100.64.0.1", False), ("169.254.1.1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("224.0.0.1", False),
        ("240.0.0.1", False), ("255.255.255.255", False), ("::ffff:10.0.0.1", False), ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False), ("0x7f.1", False), ("017700000001", False),
    ],
)  # fmt: skip
def test_what_is_public(host: str, expected: bool) -> None:
    assert reach.is_public(host) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("http://a/x", "http://A:80/y?z", True),
        ("https://a", "https://a:443", True),
        ("http://a", "https://a", False),
        ("http://a:1", "http://a:2", False),
        ("http://a", "http://b", False),
        ("http://a:99999", "http://a:99999", False),
        ("None", "None", False),
        ("", "", False),
        ("ftp://a", "ftp://a", False),
    ],
)
def test_one_origin(one: str, other: str, expected: bool) -> None:
    assert reach.same_origin(one, other) is expected


def test_a_server_that_the_document_starts() -> None:
    """Its address is this computer's, and nobody's input."""
    undo = composemagic.allow("http-server")
    try:
        port = free_port()
        command = json.dumps([sys.executable, str(ROOT / "tests/servers/slow_start.py"), str(port)])
        text = f"component: {{type: http-server, start: {command}, port: {port}, action: {{path: /x, body: {{a: 1}}}}}}"
        workflow = for_others(composemagic.load(text))
        assert workflow().output is not None
    finally:
        undo()
        process._end_all()
        process._servers.clear()
