"""What libraries log of our requests, at their most talkative: nothing that a server could have repeated a key in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

import composemagic
from composemagic.transport.quiet import hush, quiet
from tests.conftest import answering

KEY = "sk-canary-Zq7+Xp/9vTb4RcK8sWd&3"


@contextmanager
def heard() -> Iterator[list[logging.LogRecord]]:
    """All that is logged in the meantime, from DEBUG on."""
    records: list[logging.LogRecord] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    root, ear = logging.getLogger(), Ear()
    before = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        root.removeHandler(ear)
        root.setLevel(before)


def names(records: list[logging.LogRecord]) -> list[str]:
    return [record.name for record in records if record.name != "asyncio"]


class _Repeating(BaseHTTPRequestHandler):
    """An MCP server that says in every answer, and in its headers, what key it was sent; `broken` is a tool of its own kind."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said, number = self.headers["authorization"], asked.get("id")
        assert said == f"Bearer {KEY}"
        if number is None:
            return self._send(202, b"")
        parameters = asked.get("params", {})
        result: Any = None
        match asked["method"]:
            case "initialize":
                about = {"name": said, "version": "1"}
                version = parameters["protocolVersion"]
                result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
            case "tools/list":
                tools = [
                    {"name": name, "description": said, "inputSchema": {"type": "object"}} for name in ("say", "broken")
                ]
                result = {"tools": tools}
            case "tools/call" if parameters["name"] == "say":
                result = {"content": [{"type": "text", "text": said}]}
            case "tools/call" if parameters["name"] == "broken":
                return self._send(200, f'{{"jsonrpc": "2.0", "id": {number}, "{KEY}'.encode())
        error = {"code": -32601, "message": f"no {asked['method']} for {said}"}
        outcome = {"error": error} if result is None else {"result": result}
        return self._send(200, json.dumps({"jsonrpc": "2.0", "id": number, **outcome}).encode())

    def do_GET(self) -> None:
        self._send(405, b"")

    def do_DELETE(self) -> None:
        self._send(405, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        for name in ("x-said", "mcp-session-id"):
            self.send_header(name, KEY)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("tool", "said"),
    [("say", "['Bearer ***']"), ("none", "has no tool `none`"), ("broken", "parse")],
)
def test_the_mcp_sdk_does_not_log_what_a_server_repeats(tool: str, said: str) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    with answering(_Repeating) as url, heard() as records:
        yaml = (
            f"component: {{type: mcp-client, url: '{url}/mcp', tool: {tool}, timeout: 20s,"
            " headers: {Authorization: 'Bearer ${env.MY_API_KEY}'}}"
        )
        run = composemagic.load(yaml, env={"MY_API_KEY": KEY}).start({})
        assert run.wait(60)
    assert said in f"{run.output} {run.error}"
    assert KEY not in repr(run.events) + str(run.error)
    assert names(records) == []


class _Plain(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_requests_of_others_are_logged_as_ever() -> None:
    with answering(_Plain) as url:

        async def ask() -> None:
            async with httpx.AsyncClient() as client:
                await client.get(url)

        async def both() -> None:
            other = asyncio.create_task(ask())
            with quiet():
                await asyncio.create_task(ask())  # a task of ours
            await other

        with heard() as records:
            asyncio.run(both())
            httpx.get(url)
    assert names(records).count("httpx") == 2 and "httpcore.http11" in names(records)


def test_a_package_that_is_hushed_is_quiet_only_in_between() -> None:
    for name in ("noisy", "noisy.inner", "noisyother"):
        logging.getLogger(name)
    hush("noisy")
    with heard() as records:
        for _ in range(2):
            with quiet():
                for name in ("noisy", "noisy.inner", "noisyother"):
                    logging.getLogger(name).error("words")
            logging.getLogger("noisy.inner").error("words")
    assert names(records) == ["noisyother", "noisy.inner"] * 2
