"""The guard: what a request may be, as tables; real sockets where bytes matter, plain ASGI where a rule does."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from composemagic.engine.loop import private_loop
from composemagic.server.guard import Guard
from composemagic.server.limits import Limits
from composemagic.server.ports import Port, bound

# patient where a slow machine must not be taken for a slow client; hasty where a client is slow on purpose
LIMITS = Limits(send=60, linger=2, unread=60, connections=16)
HASTY = Limits(send=1, linger=2, unread=0.6, connections=16)
TOKEN = "a-token-of-the-test"
END = b"\r\n\r\n"
SECRET = "what-the-app-knows"


class App:
    """Answers what it was sent; `/wait` answers when the client has gone, `/flood` sends without end."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gone = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        body = (await receive())["body"]
        if scope["path"] == "/fail":
            raise ValueError(SECRET)
        headers = [(b"content-type", b"text/plain"), (b"access-control-allow-origin", b"*")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/half":
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ValueError(SECRET)
        if scope["path"] == "/whole":
            await send({"type": "http.response.body", "body": b"whole"})
            raise ValueError(SECRET)
        if scope["path"] == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone += 1
        if scope["path"] == "/flood":
            await self.flood(send, receive)
        await send({"type": "http.response.body", "body": b"seen " + body})

    async def flood(self, send: Any, receive: Any) -> None:
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
            await asyncio.sleep(0)
        self.gone += 1


class Served:
    """The app behind the guard on real ports of the private loop: one as an API's, one as a page's with a token."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.app = App()
        sockets = [bound("127.0.0.1", 0) for _ in range(2)]
        self.port, self.page_port = (one.getsockname()[1] for one in sockets)
        guards = [
            Guard(self.app, hosts=["lab.example"], limits=limits),
            Guard(self.app, token=TOKEN, is_page=True, limits=limits),
        ]
        self.ports = [Port(guard, one, limits) for guard, one in zip(guards, sockets, strict=True)]
        for port in self.ports:
            private_loop().submit(port.open()).result(60)

    def close(self) -> None:
        for port in self.ports:
            private_loop().submit(port.close()).result(60)

    def connect(self, *, page: bool = False) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.page_port if page else self.port), timeout=60)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def ask(self, *parts: bytes, page: bool = False) -> bytes:
        """What comes back for bytes that are sent, until the server hangs up."""
        with self.connect(page=page) as client:
            for part in parts:
                try:
                    client.sendall(part)
                except OSError:  # it has answered, and hung up
                    break
            return rest_of(client)

    def until(self, condition: Any) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.005)  # between two looks


def rest_of(client: socket.socket) -> bytes:
    found = b""
    while True:
        try:
            data = client.recv(2**16)
        except ConnectionResetError:
            return found
        if not data:
            return found
        found += data


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    found = Served()
    yield found
    found.close()


@pytest.fixture(scope="module")
def hasty() -> Iterator[Served]:
    """The same with little patience."""
    found = Served(HASTY)
    yield found
    found.close()


def head(first: str = "POST /x HTTP/1.1", *lines: str, host: str | None = "localhost", close: bool = True) -> bytes:
    several = [
        first,
        *([f"Host: {host}"] if host is not None else []),
        *lines,
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join(several).encode("latin-1") + END


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def told(answer: bytes) -> dict[str, Any]:
    """The answer's JSON, which has the one form of all refusals."""
    lines, _, body = answer.partition(END)
    assert b"content-type: application/json" in lines.lower(), answer
    found: dict[str, Any] = json.loads(body)
    assert found["detail"] == found["error"]["message"] != ""
    return found["error"]


# ── attacks, as bytes ──

JSON = "Content-Type: application/json"
SIZED = (JSON, "Content-Length: 2")
CHUNKED = (JSON, "Transfer-Encoding: chunked")
NEXT = head("GET /smuggled HTTP/1.1")
BIG = b"x" * (2**20 + 1)

# name: what is sent, the status and kind it is answered with
ATTACKS: dict[str, tuple[list[bytes], int, str]] = {
    # names: DNS rebinding comes with a name of the attacker's
    "a stranger's host": ([head(host="evil.example")], 403, "host"),
    "a stranger's host with our port": ([head(host="evil.example:8080")], 403, "host"),
    "a name that begins like ours": ([head(host="localhost.evil.example")], 403, "host"),
    "a name that ends like ours": ([head(host="evil-localhost")], 403, "host"),
    "our name as a user": ([head(host="localhost@evil.example")], 403, "host"),
    "another address": ([head(host="192.168.1.7:8080")], 403, "host"),
    "this computer in one number": ([head(host="2130706433")], 403, "host"),
    "all addresses": ([head(host="0.0.0.0:8080")], 403, "host"),
    "a port that is none": ([head(host="localhost:80x")], 403, "host"),
    "an empty host": ([head(host="")], 403, "host"),
    "no host": ([head(host=None)], 400, "request"),
    "no host in HTTP/1.0": ([head("POST /x HTTP/1.0", host=None)], 400, "host"),
    "two hosts": ([head("POST /x HTTP/1.1", "Host: evil.example")], 400, "request"),
    "a host in the request line": ([head("GET http://evil.example/ HTTP/1.1")], 400, "request"),
    "a tunnel": ([head("CONNECT evil.example:443 HTTP/1.1")], 400, "request"),
    # origins
    "a foreign page": ([head("POST /x HTTP/1.1", "Origin: https://evil.example", *SIZED) + b"{}"], 403, "origin"),
    "a page without an origin": ([head("POST /x HTTP/1.1", "Origin: null", *SIZED) + b"{}"], 403, "origin"),
    "an empty origin": ([head("POST /x HTTP/1.1", "Origin:", *SIZED) + b"{}"], 403, "origin"),
    "our name, another port": ([head("POST /x HTTP/1.1", "Origin: http://localhost:1", *SIZED) + b"{}"], 403, "origin"),
    "our name, another scheme": ([head("POST /x HTTP/1.1", "Origin: ftp://localhost")], 403, "origin"),
    "our origin with a tail": ([head("POST /x HTTP/1.1", "Origin: http://localhost/x")], 403, "origin"),
    "our origin behind a user": ([head("POST /x HTTP/1.1", "Origin: http://a@localhost")], 403, "origin"),
    "an origin with a port that is none": ([head("POST /x HTTP/1.1", "Origin: http://localhost:99999")], 403, "origin"),
    "two origins": ([head("POST /x HTTP/1.1", "Origin: http://localhost", "Origin: http://localhost")], 400, "request"),
    "a browser says cross-site": ([head("GET /x HTTP/1.1", "Sec-Fetch-Site: cross-site")], 403, "origin"),
    "a browser says same-site": ([head("GET /x HTTP/1.1", "Sec-Fetch-Site: same-site")], 403, "origin"),
    "a link to what is not the page": (
        [head("GET / HTTP/1.1", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")], 403, "origin",
    ),
    "a preflight": ([head("OPTIONS /x HTTP/1.1", "Origin: https://evil.example", "Access-Control-Request-Method: POST")], 403, "origin"),
    # content types
    "text as a page can send it": ([head("POST /x HTTP/1.1", "Content-Type: text/plain", "Content-Length: 2") + b"{}"], 400, "content_type"),
    "a body of no type": ([head("POST /x HTTP/1.1", "Content-Length: 2") + b"{}"], 400, "content_type"),
    "JSON and more": ([head("POST /x HTTP/1.1", "Content-Type: application/jsonx", "Content-Length: 2") + b"{}"], 400, "content_type"),
    "text, and nothing in it": ([head("POST /x HTTP/1.1", "Content-Type: text/plain", "Content-Length: 0")], 400, "content_type"),
    "two types": ([head("POST /x HTTP/1.1", *SIZED, "Content-Type: text/plain") + b"{}"], 400, "request"),
    # sizes
    "a long body": ([head("POST /x HTTP/1.1", JSON, f"Content-Length: {len(BIG)}"), BIG], 413, "too_large"),
    "a long body that is only promised": ([head("POST /x HTTP/1.1", JSON, f"Content-Length: {2**40}")], 413, "too_large"),
    "a long body, waited for": ([head("POST /x HTTP/1.1", JSON, "Content-Length: 9999999", "Expect: 100-continue")], 413, "too_large"),
    "a long body in chunks": ([head("POST /x HTTP/1.1", *CHUNKED), b"%x\r\n%s\r\n0\r\n\r\n" % (len(BIG), BIG)], 413, "too_large"),
    "a body in many chunks": ([head("POST /x HTTP/1.1", *CHUNKED), b"1000\r\n%s\r\n" % bytes(4096) * 300], 413, "too_large"),
    "a long header": ([head("GET /x HTTP/1.1", "X-Long: " + "x" * 17_000)], 431, "too_large"),
    "many headers": ([head("GET /x HTTP/1.1", *(f"X-{n}: x" for n in range(3000)))], 431, "too_large"),
    "a long path": ([head(f"GET /{'x' * 17_000} HTTP/1.1")], 431, "too_large"),
    "a header without end": ([b"GET / HTTP/1.1\r\nX: ", b"x" * 20_000], 431, "too_large"),
    # slowness
    "a head that never ends": ([b"GET /x HTTP/1.1\r\nHost: localhost\r\n"], 408, "slow"),
    "one byte": ([b"P"], 408, "slow"),
    "a body that never comes": ([head("POST /x HTTP/1.1", *SIZED)], 408, "slow"),
    "a body that never ends": ([head("POST /x HTTP/1.1", *SIZED) + b"{"], 408, "slow"),
    "chunks that never end": ([head("POST /x HTTP/1.1", *CHUNKED) + b"1\r\n{\r\n"], 408, "slow"),
    # request smuggling: where does the request end?
    "a length beside chunks": ([head("POST /x HTTP/1.1", *CHUNKED, "Content-Length: 4") + b"0\r\n\r\n" + NEXT], 400, "request"),
    "chunks beside a length": ([head("POST /x HTTP/1.1", *SIZED, "Transfer-Encoding: chunked") + b"0\r\n\r\n" + NEXT], 400, "request"),
    "two lengths": ([head("POST /x HTTP/1.1", *SIZED, "Content-Length: 40") + b"{}" + NEXT], 400, "request"),
    "the same length twice": ([head("POST /x HTTP/1.1", *SIZED, "Content-Length: 2") + b"{}" + NEXT], 400, "request"),
    "two lengths in one": ([head("POST /x HTTP/1.1", JSON, "Content-Length: 2, 2") + b"{}" + NEXT], 400, "request"),
    "a length with a sign": ([head("POST /x HTTP/1.1", JSON, "Content-Length: +2") + b"{}"], 400, "request"),
    "a negative length": ([head("POST /x HTTP/1.1", JSON, "Content-Length: -2") + b"{}"], 400, "request"),
    "a length of many digits": ([head("POST /x HTTP/1.1", JSON, f"Content-Length: {'0' * 30}2") + b"{}"], 400, "request"),
    "an unknown coding": ([head("POST /x HTTP/1.1", JSON, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"], 400, "request"),
    "a disguised coding": ([head("POST /x HTTP/1.1", JSON, "Transfer-Encoding: xchunked") + b"0\r\n\r\n"], 400, "request"),
    "a coding twice": ([head("POST /x HTTP/1.1", *CHUNKED, "Transfer-Encoding: chunked") + b"0\r\n\r\n"], 400, "request"),
    "chunks in HTTP/1.0": ([head("POST /x HTTP/1.0", *CHUNKED) + b"0\r\n\r\n"], 400, "request"),
    "a blank before the colon": ([head("POST /x HTTP/1.1", *SIZED, "Transfer-Encoding : chunked") + b"{}"], 400, "request"),
    "a control sign in a name": ([head("POST /x HTTP/1.1", *SIZED, "Transfer-Encoding\x0b: chunked") + b"{}"], 400, "request"),
    "a control sign in a value": ([head("POST /x HTTP/1.1", JSON, "Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n"], 400, "request"),
    "a folded line": ([head("POST /x HTTP/1.1", *SIZED, "X: a", " b") + b"{}"], 400, "request"),
    "a folded coding": ([head("POST /x HTTP/1.1", JSON, "Transfer-Encoding:", " chunked") + b"0\r\n\r\n"], 400, "request"),
    "line feeds alone": ([head("POST /x HTTP/1.1", *SIZED).replace(b"\r\n", b"\n") + b"{}"], 400, "request"),
    "one line feed alone": ([b"GET /x HTTP/1.1\nHost: localhost" + END], 400, "request"),
    "an end of line feeds": ([b"GET /x HTTP/1.1\r\nHost: localhost\n\n" + NEXT], 400, "request"),
    "a carriage return alone": ([head("GET /x HTTP/1.1", "X: a\rTransfer-Encoding: chunked")], 400, "request"),
    "a NUL": ([head("GET /x HTTP/1.1", "X: \x00")], 400, "request"),
    "no size of a chunk": ([head("POST /x HTTP/1.1", *CHUNKED) + b"\r\n{}\r\n0\r\n\r\n"], 400, "request"),
    "a size of a chunk with 0x": ([head("POST /x HTTP/1.1", *CHUNKED) + b"0x2\r\n{}\r\n0\r\n\r\n"], 400, "request"),
    "a size of a chunk with a sign": ([head("POST /x HTTP/1.1", *CHUNKED) + b"-2\r\n{}\r\n0\r\n\r\n"], 400, "request"),
    "a size of a chunk too long": ([head("POST /x HTTP/1.1", *CHUNKED) + b"f" * 40 + b"\r\n{}"], 400, "request"),
    "a chunk longer than it says": ([head("POST /x HTTP/1.1", *CHUNKED) + b"1\r\n{}\r\n0\r\n\r\n"], 400, "request"),
    "two blanks in the first line": ([head("GET  /x HTTP/1.1")], 400, "request"),
    "HTTP/2 without asking": ([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], 400, "request"),
    "HTTP/0.9": ([b"GET /x\r\n\r\n"], 400, "request"),
    "an empty line first": ([b"\r\n" + head("GET /x HTTP/1.1")], 400, "request"),
    "TLS": ([bytes.fromhex("16030100a5010000a10303") + bytes(160)], 400, "request"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused(name: str, served: Served, hasty: Served) -> None:
    parts, expected, kind = ATTACKS[name]
    attacked = hasty if kind == "slow" else served
    attacked.app.seen.clear()
    answer = attacked.ask(*parts)
    assert (status(answer), told(answer)["kind"]) == (expected, kind), answer
    assert len(re.findall(rb"HTTP/1.1 \d+ ", answer)) == 1  # nothing behind it is answered
    assert attacked.app.seen == []
    assert b"access-control" not in answer.lower()
    assert b"x-content-type-options: nosniff" in answer.lower()
    assert re.search(rb"connection: close", answer, re.IGNORECASE)


def test_there_are_many_attacks() -> None:
    assert len(ATTACKS) > 60


# ── what is let through ──

WELCOME: dict[str, bytes] = {
    "a plain request": head("GET /x HTTP/1.1"),
    "HTTP/1.0": head("GET /x HTTP/1.0"),
    "a name with a port": head("GET /x HTTP/1.1", host="localhost:8080"),
    "a name in capitals": head("GET /x HTTP/1.1", host="LocalHost"),
    "this computer": head("GET /x HTTP/1.1", host="127.0.0.1:9000"),
    "this computer in IPv6": head("GET /x HTTP/1.1", host="[::1]:8080"),
    "a name that is listed": head("GET /x HTTP/1.1", host="lab.example"),
    "our own page": head("POST /x HTTP/1.1", "Origin: http://localhost:8080", *SIZED, host="localhost:8080") + b"{}",
    "our own page on port 80": head("GET /x HTTP/1.1", "Origin: http://localhost", host="localhost:80"),
    "our own page behind TLS": head("GET /x HTTP/1.1", "Origin: https://lab.example", host="lab.example"),
    "a browser's own request": head("GET /x HTTP/1.1", "Sec-Fetch-Site: same-origin"),
    "an address that is typed": head("GET /x HTTP/1.1", "Sec-Fetch-Site: none"),
    "JSON": head("POST /x HTTP/1.1", "content-type: Application/JSON; charset=utf-8", "Content-Length: 2") + b"{}",
    "a form": head("POST /x HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3") + b"a=b",
    "a form of parts": head("POST /x HTTP/1.1", "Content-Type: multipart/form-data; boundary=x", "Content-Length: 0"),
    "no body and no type": head("POST /x HTTP/1.1", "Content-Length: 0"),
    "a type without a body": head("GET /x HTTP/1.1", "Content-Type: text/plain"),
    "chunks": head("POST /x HTTP/1.1", *CHUNKED) + b"1\r\n{\r\n1;a=b\r\n}\r\n0\r\nX-Trailer: x\r\n\r\n",
    "the longest body": head("POST /x HTTP/1.1", JSON, f"Content-Length: {2**20}") + b"x" * 2**20,
    "a long head": head("GET /x HTTP/1.1", "X: " + "x" * 16_000),
    "marks beyond ASCII": head("GET /x HTTP/1.1", "X: \xe9\t\xff"),
}  # fmt: skip


@pytest.mark.parametrize("name", WELCOME)
def test_what_is_right_is_answered(name: str, served: Served) -> None:
    served.app.seen.clear()
    answer = served.ask(WELCOME[name])
    assert (status(answer), served.app.seen) == (200, ["/x"]), answer[:500]


def test_an_answer_says_how_browsers_treat_it(served: Served) -> None:
    lines, _, body = served.ask(WELCOME["JSON"]).partition(END)
    found = dict(line.lower().split(b": ", 1) for line in lines.split(b"\r\n")[1:])
    assert found[b"x-content-type-options"] == b"nosniff"
    assert found[b"content-security-policy"].startswith(b"default-src 'self';")
    assert found[b"referrer-policy"] == b"no-referrer"
    assert found[b"cache-control"] == b"no-store"
    assert found[b"cross-origin-resource-policy"] == b"same-origin"
    assert not [name for name in found if name.startswith(b"access-control")] and b"server" not in found
    assert b"seen {}" in body


# ── one connection, several requests ──


def test_a_connection_is_used_again(served: Served) -> None:
    served.app.seen.clear()
    answer = served.ask(head("GET /one HTTP/1.1", close=False) + head("GET /two HTTP/1.1"))
    assert (len(re.findall(rb"HTTP/1.1 200 ", answer)), served.app.seen) == (2, ["/one", "/two"])


def test_what_stands_behind_chunks_is_no_request(served: Served) -> None:
    """Whatever another program takes for the end of these chunks, nothing is read after them."""
    served.app.seen.clear()
    for tail in (b"0\r\n\r\n", b"0\r\n\n", b"0;a\rb\r\n\r\n"):
        answer = served.ask(head("POST /x HTTP/1.1", *CHUNKED, close=False) + tail + NEXT)
        assert len(re.findall(rb"HTTP/1.1 \d+ ", answer)) == 1 and b"connection: close" in answer.lower()
    assert "/smuggled" not in served.app.seen


def test_the_second_request_has_its_own_time(hasty: Served) -> None:
    with hasty.connect() as client:
        for _ in range(2):
            client.sendall(head("GET /x HTTP/1.1", close=False))
            answer = b""
            while b"\r\n0\r\n" not in answer:
                answer += client.recv(2**16)
            assert status(answer) == 200
        client.sendall(b"GET /")
        answer = rest_of(client)
        assert (status(answer), told(answer)["kind"]) == (408, "slow")


def test_an_answer_may_take_longer_than_a_request(hasty: Served) -> None:
    with hasty.connect() as client:
        client.sendall(head("GET /wait HTTP/1.1"))
        client.settimeout(HASTY.send * 2)
        with pytest.raises(TimeoutError):
            while True:
                assert client.recv(2**16) != b""


# ── those who hold a connection ──


def test_a_connection_that_says_nothing_is_closed_without_a_word(hasty: Served) -> None:
    assert hasty.ask() == b""


def test_who_hangs_up_is_heard_of(served: Served) -> None:
    before = served.app.gone
    with served.connect() as client:
        client.sendall(head("GET /wait HTTP/1.1"))
        assert client.recv(100)
    served.until(lambda: served.app.gone == before + 1)


def test_who_hangs_up_in_the_middle_of_a_body_starts_nothing(served: Served) -> None:
    served.until(lambda: served.ports[0].connections == 0)
    served.app.seen.clear()
    with served.connect() as client:
        client.sendall(head("POST /x HTTP/1.1", *SIZED) + b"{")
        served.until(lambda: served.ports[0].connections == 1)
    served.until(lambda: served.ports[0].connections == 0)
    assert served.app.seen == []


def test_who_does_not_read_is_cut_off(hasty: Served) -> None:
    hasty.until(lambda: hasty.ports[0].connections == 0)
    before = hasty.app.gone
    clients = []
    for _ in range(8):
        clients.append(hasty.connect())
        clients[-1].sendall(head("GET /flood HTTP/1.1"))
    hasty.until(lambda: hasty.app.gone == before + 8)
    hasty.until(lambda: hasty.ports[0].connections == 0)
    for client in clients:
        client.close()


def test_64_slow_readers_do_not_fill_the_memory() -> None:
    """What waits for each of them is bounded, however much the application has to say."""
    app, limits = App(), replace(LIMITS, connections=100)
    listener = bound("127.0.0.1", 0)
    port = Port(Guard(app, limits=limits), listener, limits)
    private_loop().submit(port.open()).result(60)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(64)]
    for client in clients:
        client.sendall(head("GET /flood HTTP/1.1"))
    wires = port._server.server_state.connections
    end = time.monotonic() + 60
    while len(wires) < 64 or not all(wire.flow.write_paused for wire in list(wires)):
        assert time.monotonic() < end
        time.sleep(0.01)  # between two looks
    waiting = [wire.transport.get_write_buffer_size() for wire in list(wires)]
    assert 0 < max(waiting) <= 3 * 2**16  # uvicorn's 64 KiB, and the piece that went over it
    for client in clients:
        client.close()
    private_loop().submit(port.close()).result(60)


def test_there_are_only_so_many_connections(served: Served) -> None:
    served.until(lambda: served.ports[0].connections == 0)  # those of the test before
    clients = [served.connect() for _ in range(LIMITS.connections)]
    served.until(lambda: served.ports[0].connections == LIMITS.connections)
    assert served.ask(head("GET /x HTTP/1.1")) == b""
    for client in clients:
        client.close()
    served.until(lambda: served.ports[0].connections == 0)
    assert status(served.ask(head("GET /x HTTP/1.1"))) == 200


# ── an application that fails ──


def test_a_failure_is_told_without_its_text(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    answer = served.ask(head("GET /fail HTTP/1.1"))
    assert (status(answer), told(answer)["kind"]) == (500, "internal")
    (record,) = [one for one in caplog.records if one.name == "composemagic.server"]
    assert "ValueError in the server" in record.getMessage() and "test_server_guard.py" in record.getMessage()
    assert SECRET not in caplog.text and SECRET.encode() not in answer and b"ValueError" not in answer


def test_a_failure_behind_a_whole_answer_leaves_the_connection(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """As starlette does it: it answers with 500 and raises the error again."""
    answer = served.ask(head("GET /whole HTTP/1.1", close=False) + head("GET /x HTTP/1.1"))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert "ValueError in the server" in caplog.text and SECRET not in caplog.text


def test_half_an_answer_breaks_off(served: Served) -> None:
    answer = served.ask(head("GET /half HTTP/1.1"))
    assert b"half" in answer and not answer.endswith(b"0\r\n\r\n")


# ── the token ──


def page(first: str, *lines: str, body: bytes = b"") -> bytes:
    return head(first, *lines) + body


def entered(served: Served) -> str:
    """The cookie for the token."""
    answer = served.ask(page(f"GET /?token={TOKEN} HTTP/1.1"), page=True)
    found = re.search(rb"set-cookie: ([^;\r]*); Path=/; HttpOnly; SameSite=Strict\r", answer, re.IGNORECASE)
    assert found is not None, answer
    return found[1].decode()


def test_the_token_is_brought_once(served: Served) -> None:
    served.app.seen.clear()
    answer = served.ask(page(f"GET /?a=%22%3E%3Cb&token={TOKEN}&c= HTTP/1.1"), page=True)
    assert status(answer) == 200 and served.app.seen == []
    assert TOKEN.encode() not in answer  # the address loses it, and the cookie is another
    assert b'content="0;url=/?a=%22%3E%3Cb&amp;c="' in answer
    cookie = entered(served)
    assert cookie.startswith(f"composemagic-{served.page_port}=")
    answer = served.ask(page("GET /x HTTP/1.1", "Cookie: other=1", f"Cookie: a=b; {cookie}; c=d"), page=True)
    assert status(answer) == 200


def test_a_link_opens_the_page(served: Served) -> None:
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    assert status(served.ask(page(f"GET /?token={TOKEN} HTTP/1.1", *link), page=True)) == 200
    assert status(served.ask(page("GET / HTTP/1.1", *link, f"Cookie: {entered(served)}"), page=True)) == 200


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((f"Authorization: Bearer {TOKEN}",), 200),
        ((f"authorization: bearer  {TOKEN}",), 200),
        (("Authorization: Bearer wrong",), 401),
        (("Authorization: Bearer",), 401),
        (("Authorization: Bearer \xe9",), 401),
        ((f"Authorization: Basic {TOKEN}",), 401),
        ((f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}"), 400),
        ((), 401),
        (("Cookie: composemagic-1=x",), 401),
        ((f"Cookie: composemagic-{{port}}={TOKEN}",), 401),
        (("Cookie: composemagic-{port}",), 401),
    ],
)
def test_who_has_the_token_gets_in(lines: tuple[str, ...], expected: int, served: Served) -> None:
    lines = tuple(line.replace("{port}", str(served.page_port)) for line in lines)
    answer = served.ask(page("POST /x HTTP/1.1", *lines, *SIZED, body=b"{}"), page=True)
    assert status(answer) == expected
    assert expected != 401 or (told(answer)["kind"] == "token" and b"www-authenticate: bearer" in answer.lower())


@pytest.mark.parametrize(
    "first",
    [
        "GET /?token=wrong HTTP/1.1", "GET /?token= HTTP/1.1", f"GET /x?token={TOKEN} HTTP/1.1",
        f"POST /?token={TOKEN} HTTP/1.1", "GET / HTTP/1.1", f"GET /#token={TOKEN} HTTP/1.1",
    ],
)  # fmt: skip
def test_the_token_in_an_address_opens_the_page_only(first: str, served: Served) -> None:
    assert status(served.ask(page(first), page=True)) == 401


def test_a_cookie_of_another_site_starts_nothing(served: Served) -> None:
    cookie = f"Cookie: {entered(served)}"
    for line in ("Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
        assert status(served.ask(page("POST /x HTTP/1.1", cookie, line, *SIZED, body=b"{}"), page=True)) == 403


def test_the_api_takes_no_cookie() -> None:
    """EventSource needs one, programs do not."""
    scope = asgi(headers=[(b"host", b"localhost"), (b"cookie", b"composemagic-8080=x")])
    assert answered(Guard(nothing, token=TOKEN), scope)[0]["status"] == 401


# ── the guard by itself: it stands before any ASGI application, behind any server ──


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


def asgi(**more: Any) -> dict[str, Any]:
    scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": [(b"host", b"localhost")]}
    return {**scope, "server": ("127.0.0.1", 8080), **more}


def answered(guard: Guard, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the guard sends for a request; a body's messages are followed by nothing."""
    sent: list[dict[str, Any]] = []
    left = [*messages]

    async def receive() -> dict[str, Any]:
        return left.pop(0) if left else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent


def test_no_websocket_is_opened() -> None:
    assert answered(Guard(nothing), asgi(type="websocket")) == [{"type": "websocket.close", "code": 1008}]


def test_the_servers_own_events_go_through() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    answered(Guard(app), {"type": "lifespan"})
    assert seen == ["lifespan"]


HUGE = [(b"host", b"localhost"), (b"x", b"x" * 17_000)]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"headers": HUGE}, 431),
        ({"raw_path": b"/" + b"x" * 17_000}, 431),
        ({"query_string": b"x" * 17_000}, 431),
        ({"path": "http://localhost/"}, 400),
        ({"path": "*"}, 400),
        ({"headers": []}, 400),
        ({"headers": [(b"host", b"10.0.0.7")], "server": ("10.0.0.7", 1)}, 204),
        ({"headers": [(b"host", b"[fe80::1]:80")], "server": ("fe80::1%eth0", 1)}, 204),
        ({"headers": [(b"host", b"10.0.0.7")], "server": ("10.0.0.8", 1)}, 403),
        ({"headers": [(b"host", b"10.0.0.7")], "server": None}, 403),
        ({"headers": [(b"host", b"mine")], "server": ("mine", None)}, 403),
        ({"headers": [(b"host", b"a b"), (b"origin", b"http://a b")]}, 403),
        ({"headers": [(b"host", b"localhost"), (b"origin", b"http://local host")]}, 403),
        ({"headers": [(b"host", b"localhost"), (b"content-length", b"many")]}, 400),
    ],
)
def test_the_guard_by_itself(scope: dict[str, Any], expected: int) -> None:
    assert answered(Guard(nothing), asgi(**scope), {"type": "http.disconnect"})[0]["status"] == expected


def test_a_name_of_the_server_may_be_an_address_in_brackets() -> None:
    scope = asgi(headers=[(b"host", b"[2001:DB8::1]:80")])
    assert answered(Guard(nothing, hosts=["[2001:db8::1]"]), scope)[0]["status"] == 204


def test_a_body_that_takes_too_long_is_refused_also_behind_another_server() -> None:
    limits = replace(LIMITS, send=0.05, linger=0.05)
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    part = {"type": "http.request", "body": b"{", "more_body": True}
    assert answered(Guard(nothing, limits=limits), asgi(headers=headers), part)[0]["status"] == 408


def test_the_application_gets_the_body_as_one_and_hears_the_end() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([await receive(), await receive()])

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"2")]
    parts = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.request", "body": b"}"}]
    answered(Guard(app), asgi(headers=headers), *parts, {"type": "http.disconnect"})
    assert seen == [{"type": "http.request", "body": b"{}", "more_body": False}, {"type": "http.disconnect"}]
