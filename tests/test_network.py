"""Connections: which addresses they go to, what is kept open, how many requests share a pool, and proxies."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import httpx
import pytest

from composemagic.errors import RunError
from composemagic.transport import connection as connections
from composemagic.transport.address import allowed
from composemagic.transport.connection import Backend, UnknownHostError
from composemagic.transport.http import Request, Timeouts, ask, send
from composemagic.transport.network import Network
from tests.servers.faults import FaultServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def serving(
    reply: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    server = await asyncio.start_server(reply, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def alive(reply: bytes = OK, seen: list[bytes] | None = None) -> Callable[..., Any]:
    """Answers every request of a connection alike."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if seen is not None:
                    seen.append(head)
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return talk


@pytest.fixture(scope="module")
def faults() -> Iterator[FaultServer]:
    """One of our own: what other tests keep open at the session's is not ours to count."""
    with FaultServer() as server:
        yield server


async def fetch(way: httpx.AsyncBaseTransport, url: str, content: bytes | None = None) -> bytes:
    async with send(way, Request("GET", url, {}, content), Timeouts(connect=60, read=60, total=60)) as response:
        return await response.body()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[list[str]]]]:
    """What names resolve to, at the first look, at the second, ...; the last answer stays."""
    table: dict[str, list[list[str]]] = {}

    async def getaddrinfo(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = table[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    yield table


# -- addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fe80::1%eth0"],
)
def test_a_name_for_an_address_that_is_never_asked(place: str, names: dict[str, list[list[str]]]) -> None:
    names["innocent.example"] = [[place]]
    with pytest.raises(RunError, match=r"innocent\.example is link-local or a cloud's metadata service") as caught:
        asyncio.run(fetch(Network(), "http://innocent.example/"))
    assert caught.value.kind == "address"


def test_a_name_that_changes_its_mind(names: dict[str, list[list[str]]]) -> None:
    """DNS rebinding: what is connected to is what was looked at; the name is asked once a connection."""

    async def use() -> None:
        async with serving(alive(OK.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nConnection: close"))) as port:
            names["turncoat.example"] = [["127.0.0.1"], ["169.254.169.254"]]
            way = Network()
            assert await fetch(way, f"http://turncoat.example:{port}/") == b"ok"
            with pytest.raises(RunError, match="never asks"):
                await fetch(way, f"http://turncoat.example:{port}/")
            await way.aclose()

    asyncio.run(use())


def test_of_several_addresses_the_others_are_left() -> None:
    assert allowed("h", ["fe80::1%3", "10.0.0.1", "169.254.0.1", "::1"]) == ["10.0.0.1", "::1"]
    assert allowed("h", []) == []
    with pytest.raises(RunError, match="h is link-local"):
        allowed("h", ["fe80::1", "169.254.0.1"])


def test_the_next_address_where_one_does_not_listen(names: dict[str, list[list[str]]]) -> None:
    async def use() -> None:
        async with serving(alive()) as port:
            names["several.example"] = [["127.0.0.9", "127.0.0.8", "127.0.0.1"]]
            assert await fetch(Network(), f"http://several.example:{port}/") == b"ok"
            names["none.example"] = [["127.0.0.9", "127.0.0.8"]]
            with pytest.raises(RunError, match=r"Nothing listens at none\.example"):
                await fetch(Network(), f"http://none.example:{port}/")

    asyncio.run(use())


def test_the_next_address_where_one_is_slow(names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow one, when it comes after all, is hung up."""
    come, aborted = asyncio.Event(), list[str]()
    connected_to = connections._connected_to

    async def slow(place: str, port: int) -> Any:
        if place == "127.0.0.9":
            try:
                await come.wait()
            except asyncio.CancelledError:
                aborted.append(place)
                raise
        return await connected_to(place, port)

    async def use() -> None:
        async with serving(alive()) as port:
            names["slow.example"] = [["127.0.0.9", "127.0.0.1"]]
            assert await fetch(Network(), f"http://slow.example:{port}/") == b"ok"

    monkeypatch.setattr(connections, "_connected_to", slow)
    asyncio.run(use())
    assert aborted == ["127.0.0.9"]


def test_a_name_without_an_address(names: dict[str, list[list[str]]]) -> None:
    with pytest.raises(UnknownHostError):
        asyncio.run(Backend().connect_tcp("nowhere.example", 80, timeout=60))
    with pytest.raises(RunError, match=r"Cannot find the host nowhere\.example"):
        asyncio.run(fetch(Network(), "http://nowhere.example:81/"))


def test_no_way_to_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable(place: str, port: int) -> Any:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(connections, "_connected_to", unreachable)
    with pytest.raises(RunError, match=r"There is no way to 10\.1\.2\.3; is the network up") as caught:
        asyncio.run(fetch(Network(), "http://10.1.2.3/"))
    assert caught.value.kind == "connect"


# -- what is kept --------------------------------------------------------------------------------------------------------


def test_connections_are_kept_to_this_machine(faults: FaultServer) -> None:
    async def use() -> int:
        way = Network()
        for _ in range(3):
            await fetch(way, faults.url("json"))
        (lane,) = way._lanes["loopback"]
        kept = len(lane.way._pool.connections)  # type: ignore[attr-defined]
        await way.aclose()
        return kept

    assert asyncio.run(use()) == 1
    assert faults.wait_idle(60)


def test_connections_to_strangers_are_not(names: dict[str, list[list[str]]]) -> None:
    """Without TLS, whoever is in between could put an answer behind an answer."""

    async def use() -> None:
        seen: list[bytes] = []
        async with serving(alive(seen=seen)) as port:
            names["far.example"] = [["127.0.0.1"]]
            way = Network()
            await fetch(way, f"http://far.example:{port}/")
            (lane,) = way._lanes["http"]
            assert not lane.way._pool.connections  # type: ignore[attr-defined]
            assert b"\r\nconnection: close\r\n" in seen[0].lower()
            await fetch(way, f"http://127.0.0.1:{port}/")
            assert b"\r\nconnection: keep-alive\r\n" in seen[1].lower()

    asyncio.run(use())


def test_a_kept_connection_that_has_ended_is_not_used(faults: FaultServer) -> None:
    async def use() -> None:
        way = Network()
        await fetch(way, faults.url("keepalive-drop"))
        (lane,) = way._lanes["loopback"]
        pool = lane.way._pool  # type: ignore[attr-defined]
        while any(not connection.has_expired() for connection in pool.connections):
            await asyncio.sleep(0.005)  # until the server's goodbye has come
        assert await fetch(way, faults.url("json"))
        await way.aclose()

    asyncio.run(use())


def test_a_refusal_gives_its_connection_back(faults: FaultServer) -> None:
    async def use() -> None:
        way = Network()
        with pytest.raises(RunError):
            await fetch(way, faults.url("status", code=429))
        await asyncio.get_running_loop().run_in_executor(None, faults.wait_idle, 60)
        assert faults.open_now == 0
        await way.aclose()

    asyncio.run(use())


@pytest.mark.parametrize("width", [1, 8, 9, 40])
def test_at_most_eight_requests_share_a_pool(width: int) -> None:
    async def use() -> list[int]:
        async with serving(alive()) as port:
            way = Network()
            request = Request("GET", f"http://127.0.0.1:{port}/", {})
            responses = await asyncio.gather(*[ask(way, request, Timeouts()) for _ in range(width)])
            busy = [lane.busy for lane in way._lanes["loopback"]]
            for response in responses:
                await response.aclose()
            assert [lane.busy for lane in way._lanes["loopback"]] == [0]
            await way.aclose()
            return busy

    busy = asyncio.run(use())
    assert sum(busy) == width and max(busy) <= 8 and len(busy) == -(-width // 8)


def test_one_tls_context_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    create = httpx.create_ssl_context
    monkeypatch.setattr(httpx, "create_ssl_context", lambda: made.append(1) or create())

    async def use() -> None:
        way = Network()
        for name in ("a", "b"):
            way._lane(httpx.URL(f"https://{name}.example/")).busy = 8
        way._lane(httpx.URL("http://127.0.0.1/"))
        assert len(way._lanes["https"]) == 2

    asyncio.run(use())
    assert len(made) == 1


def test_no_tls_context_where_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("a context was made")

    monkeypatch.setattr(httpx, "create_ssl_context", refuse)

    async def use() -> None:
        async with serving(alive()) as port:
            way = Network()
            assert await fetch(way, f"http://127.0.0.1:{port}/") == b"ok"
            await way.aclose()

    asyncio.run(use())


# -- proxies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "url", "kind"),
    [
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://h/", "http://proxy:3128"),
        ({"HTTP_PROXY": "proxy:3128"}, "http://h/", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://h/", "https"),
        ({"ALL_PROXY": "http://proxy:3128"}, "https://h/", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "h"}, "http://h/", "http"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://127.0.0.1/", "loopback"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://localhost/", "https"),
        ({}, "http://h/", "http"),
    ],
)
def test_which_way(env: dict[str, str], url: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        for spelling in (name, name.lower()):
            monkeypatch.delenv(spelling, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert Network()._kind(httpx.URL(url)) == kind


# -- connections themselves ----------------------------------------------------------------------------------------------


def test_an_answer_to_a_request_half_sent(faults: FaultServer) -> None:
    """A server that refuses a long body answers, hangs up, and its answer must not be lost: each time."""

    async def use() -> None:
        way = Network()
        for _ in range(20):
            with pytest.raises(RunError) as caught:
                await fetch(way, faults.url("early-answer"), b"x" * 2**24)
            assert caught.value.kind == "too_large"
        await way.aclose()

    asyncio.run(use())


def test_a_request_goes_out_at_once() -> None:
    """Head and body as one: two would be two packets, and wake the server twice."""
    seen: list[bytes] = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(2**16))
        writer.write(OK)
        writer.close()

    async def use() -> None:
        async with serving(reply) as port:
            way = Network()
            assert await fetch(way, f"http://127.0.0.1:{port}", b"the body") == b"ok"
            await way.aclose()

    asyncio.run(use())
    assert seen[0].endswith(b"\r\n\r\nthe body")


def test_a_head_does_not_wait_for_its_body() -> None:
    """The body's first piece is made only when the server has seen the head; nothing is said twice."""
    got = b""

    async def use() -> None:
        heard = asyncio.Event()

        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            got = await reader.readuntil(b"\r\n\r\n")
            heard.set()
            got += await reader.readuntil(b"0\r\n\r\n")
            writer.write(OK)
            writer.close()

        async def pieces() -> AsyncIterator[bytes]:
            await heard.wait()
            yield b"one"
            yield b"two"

        async with serving(reply) as port:
            way = Network()
            request = Request("POST", f"http://127.0.0.1:{port}", {}, pieces)
            async with send(way, request, Timeouts(connect=60, read=60, total=60)) as response:
                assert await response.body() == b"ok"
            await way.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))
    assert got.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n") and got.count(b"HTTP/1.1") == 1


def test_more_than_is_read_waits(faults: FaultServer) -> None:
    """What nobody takes is left with the server, and comes all the same."""

    async def use() -> int:
        stream = await Backend().connect_tcp("127.0.0.1", faults.ports["main"], timeout=60)
        await stream.write(b"GET /huge;mb=4/v1 HTTP/1.1\r\nHost: h\r\n\r\n", timeout=60)
        wire: Any = stream._wire  # type: ignore[attr-defined]
        while not wire._is_paused:
            await asyncio.sleep(0)
        assert wire._size <= connections._READ_AHEAD + 2**18
        size = 0
        while data := await stream.read(2**16, timeout=60):
            assert len(data) <= 2**16
            size += len(data)
        await stream.aclose()
        return size

    assert asyncio.run(use()) > 4 * 2**20


def test_reading_and_writing_end_in_time(faults: FaultServer) -> None:
    async def use() -> None:
        stream = await Backend().connect_tcp("127.0.0.1", faults.ports["main"], timeout=60)
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(1, timeout=0.01)
        await stream.write(b"POST /no-read;s=5/v1 HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n", timeout=60)
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(b"x" * 2**26, timeout=0.05)
        await stream.aclose()
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"x", timeout=60)
        assert stream.get_extra_info("is_readable")

    asyncio.run(use())


def test_the_end_and_a_reset(faults: FaultServer) -> None:
    async def use() -> None:
        stream = await Backend().connect_tcp("127.0.0.1", faults.ports["accept_close"], timeout=60)
        assert await stream.read(1, timeout=60) == b""
        with pytest.raises(httpcore.ReadError):  # while it connects, or right after
            stream = await Backend().connect_tcp("127.0.0.1", faults.ports["accept_reset"], timeout=60)
            await stream.read(1, timeout=60)

    asyncio.run(use())
