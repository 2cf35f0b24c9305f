"""Bodies in chunks, read past httpcore: every cut, what is no chunk, and what becomes of the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import h11
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composemagic.errors import RunError
from composemagic.server.wire import _Strict
from composemagic.transport import chunked
from composemagic.transport.chunked import Chunked, Dechunker
from composemagic.transport.http import Request, Response, Timeouts, send
from composemagic.transport.inflow import Inflow, StalledError
from composemagic.transport.network import Network
from tests.test_network import serving

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
BODY = b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


def fed(data: bytes, cuts: list[int]) -> tuple[bytes, Dechunker]:
    """What comes of data that are cut at these places."""
    chunks, found = Dechunker(), b""
    places = [0, *sorted(cuts), len(data)]
    for begin, end in pairwise(places):
        if chunks.done or chunks.flaw:
            chunks.rest += data[begin:end]
        else:
            found += chunks.feed(data[begin:end])
    return found, chunks


GOOD = [
    (BODY, b"onetwo", b""),
    (b"0\r\n\r\n", b"", b""),
    (b"000\r\n\r\n", b"", b""),
    (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    (b"00000a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    (b'1;name=value;q="a b"\r\nx\r\n0;last\r\n\r\n', b"x", b""),
    (b"1  \r\nx\r\n0 \r\n\r\n", b"x", b""),  # some servers pad the size
    (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b""),
    (b"1\r\nx\r\n0\r\nx-sum: 1\r\nX-More:\r\n\r\n", b"x", b""),
    (b"1\r\nx\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b"x", b"HTTP/1.1 200 OK\r\n\r\n"),
    (b"1\r\nx\r\n0\r\na: b\r\n\r\nrest", b"x", b"rest"),
]


@pytest.mark.parametrize(("data", "body", "rest"), GOOD)
def test_every_cut(data: bytes, body: bytes, rest: bytes) -> None:
    for cuts in [[], list(range(1, len(data))), *([at] for at in range(1, len(data)))]:
        found, chunks = fed(data, cuts)
        assert (found, chunks.done, chunks.rest, chunks.flaw) == (body, True, rest, None)


BAD = [
    (b"1\nx\r\n0\r\n\r\n", b""),  # a bare line feed ends nothing
    (b"1\r\nx\n0\r\n\r\n", b"x"),
    (b"1\r\nxy\r\n0\r\n\r\n", b"x"),
    (b"1\r\nx\rx\r\n", b"x"),
    (b"-1\r\nx\r\n", b""),
    (b"+1\r\nx\r\n", b""),
    (b" 1\r\nx\r\n", b""),
    (b"0x1\r\nx\r\n", b""),
    (b"1_0\r\nx\r\n", b""),
    (b"\r\n1\r\nx\r\n", b""),
    (b"g\r\nx\r\n", b""),
    (b";a\r\nx\r\n", b""),
    (b"1 1\r\nx\r\n", b""),
    (b"1;a\rb\r\nx\r\n", b""),
    (b"1;a\x00\r\nx\r\n", b""),
    (b"f" * 16 + b"\r\nx\r\n", b""),
    (b"3\r\none\r\nnot a size\r\n", b"one"),  # what is good before it is given
    (b"1\r\nx\r\n0\r\nno header\r\n\r\n", b"x"),
    (b"1\r\nx\r\n0\r\na: b\n\r\n", b"x"),
    (b"1\r\nx\r\n0\r\n folded\r\n\r\n", b"x"),
    (b"1\r\nx\r\n0\r\na: b\x00\r\n\r\n", b"x"),
]


@pytest.mark.parametrize(("data", "body"), BAD)
def test_what_is_no_chunk(data: bytes, body: bytes) -> None:
    for cuts in [[], list(range(1, len(data))), *([at] for at in range(1, len(data)))]:
        found, chunks = fed(data, cuts)
        assert found == body
        assert not chunks.done
        assert str(chunks.flaw).startswith("illegal")


@pytest.mark.parametrize(
    "data", [b"1;" + b"a" * chunked._LONGEST, b"0\r\n" + b"a: b\r\n" * chunked._LONGEST, b"1" * 2**15]
)
@pytest.mark.parametrize("cuts", [[], [1000], list(range(1, 2**14, 999))])
def test_a_line_that_does_not_end(data: bytes, cuts: list[int]) -> None:
    assert str(fed(data, cuts)[1].flaw).startswith("illegal")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_what_h11_makes_of_it(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    found, chunks = fed(data, [cut for cut in cuts if cut < len(data)])
    assert (found, chunks.done, chunks.rest) == (b"".join(pieces), True, b"")
    theirs = h11.Connection(h11.CLIENT)
    theirs.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    theirs.send(h11.EndOfMessage())
    theirs.receive_data(HEAD + data)
    body = b""
    while type(event := theirs.next_event()) is not h11.EndOfMessage:
        body += bytes(event.data) if isinstance(event, h11.Data) else b""
    assert body == found


# -- on a connection -----------------------------------------------------------------------------------------------------


def replying(*answers: list[bytes] | None) -> tuple[Any, list[int]]:
    """A server that gives these answers in turn, each as pieces apart from each other, None hangs up; and its connections.

    Those on which nothing is asked are not counted: a Jupyter server tries the ports of a kernel that died for ever, and the
    system may have given one of them to this server.
    """
    left, connections = list(answers), [0]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = 0
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                asked += 1
                connections[0] += asked == 1
                for piece in left.pop(0) or ():
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.003)  # apart from the next
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            pass
        finally:
            writer.close()

    return talk, connections


async def get(way: Network, port: int, method: str = "GET", *, seen: list[Response] | None = None) -> bytes:
    async with send(way, Request(method, f"http://127.0.0.1:{port}/", {}), Timeouts(30, 30, 60)) as response:
        if seen is not None:
            seen.append(response)
        return await response.body()


ANSWERS: list[
    tuple[list[bytes], bytes, bool, int]
] = [  # the answer, its body, whether it is read here, connections for two
    ([HEAD + BODY], b"onetwo", True, 1),
    ([HEAD, BODY], b"onetwo", True, 1),
    ([HEAD + BODY[:4], BODY[4:]], b"onetwo", True, 1),
    ([HEAD[:-1], HEAD[-1:] + BODY], b"onetwo", True, 1),
    ([HEAD[:-2], HEAD[-2:] + BODY], b"onetwo", True, 1),
    ([HEAD[:-3], HEAD[-3:] + BODY], b"onetwo", True, 1),
    ([HEAD[:9], HEAD[9:], BODY[:-1], BODY[-1:]], b"onetwo", True, 1),
    ([HEAD.replace(b"\r\n", b"\n") + BODY], b"onetwo", True, 1),
    ([HEAD + BODY + b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad"], b"onetwo", True, 2),  # nobody asked for that
    ([HEAD + BODY[:-5], b"0\r\na: b\r\n\r\n"], b"onetwo", True, 1),
    ([HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + BODY], b"onetwo", True, 2),
    ([b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HEAD + BODY], b"onetwo", False, 1),
    ([b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", HEAD, BODY], b"onetwo", False, 1),
    ([b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none", b"two"], b"onetwo", False, 1),
    ([b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b"onetwo", b""], b"onetwo", False, 2),
    ([b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n"], b"", False, 1),
]


@pytest.mark.parametrize(("answer", "body", "is_ours", "count"), ANSWERS)
def test_an_answer_and_its_connection(answer: list[bytes], body: bytes, is_ours: bool, count: int) -> None:
    async def use() -> None:
        talk, connections = replying(answer, answer)
        seen: list[Response] = []
        async with serving(talk) as port:
            way = Network()
            assert await get(way, port, seen=seen) == body
            assert isinstance(seen[0]._pieces(), Chunked) is is_ours
            assert await get(way, port) == body
            await way.aclose()
        assert connections == [count]

    asyncio.run(asyncio.wait_for(use(), 60))


def test_the_answer_to_a_head_request_has_no_body() -> None:
    async def use() -> None:
        talk, connections = replying([HEAD], [HEAD + BODY])
        async with serving(talk) as port:
            way = Network()
            assert await get(way, port, "HEAD") == b""
            assert await get(way, port) == b"onetwo"
            await way.aclose()
        assert connections == [1]

    asyncio.run(asyncio.wait_for(use(), 60))


BROKEN = [
    ([HEAD + b"3\r\none\r\n", b""], "connection_lost"),
    ([HEAD + b"3\r\no", b""], "connection_lost"),
    ([HEAD + b"3\r\none\r\n0\r\n", b""], "connection_lost"),
    ([HEAD, b""], "connection_lost"),
    ([HEAD + b"3\r\none\r\nzzz\r\n"], "protocol"),
    ([HEAD + b"3\r\nonetwo\r\n"], "protocol"),
    ([HEAD + b"3\r\none\r\n0\r\nGET / HTTP/1.1\r\n\r\n"], "protocol"),
]


@pytest.mark.parametrize(("answer", "kind"), BROKEN)
def test_what_breaks_ends_the_connection(answer: list[bytes], kind: str) -> None:
    async def use() -> None:
        talk, connections = replying(answer, [HEAD + BODY])
        async with serving(talk) as port:
            way = Network()
            with pytest.raises(RunError) as caught:
                await get(way, port)
            assert caught.value.kind == kind
            assert await get(way, port) == b"onetwo"
            assert connections == [2]
            await way.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))


def test_who_leaves_early_ends_the_connection() -> None:
    async def use() -> None:
        talk, connections = replying([HEAD + BODY[:-5]], [HEAD + BODY])
        async with serving(talk) as port:
            way = Network()
            async with send(way, Request("GET", f"http://127.0.0.1:{port}/", {}), Timeouts()) as response:
                async for data in response.reads():
                    assert data
                    break
            assert await get(way, port) == b"onetwo"
            assert connections == [2]
            await way.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))


def test_compressed_in_chunks() -> None:
    import gzip

    data = gzip.compress(b"onetwo")
    head = HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")

    async def use() -> None:
        talk, connections = replying(*[[head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)]] * 2)
        async with serving(talk) as port:
            way = Network()
            assert [await get(way, port) for _ in range(2)] == [b"onetwo"] * 2
            await way.aclose()
        assert connections == [1]

    asyncio.run(asyncio.wait_for(use(), 60))


# -- in time -------------------------------------------------------------------------------------------------------------


class Line:
    """A connection whose bytes come when they are let in."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.waiting: asyncio.Future[None] | None = None
        self.left: tuple[bytes, bytes] | None = None

    def come(self, data: bytes) -> None:
        self.parts.append(data)
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self.parts:
            self.waiting = asyncio.get_running_loop().create_future()
            await self.waiting
        return self.parts.pop(0)

    def leave(self, last: bytes, rest: bytes) -> None:
        self.left = (last, rest)

    def give_up(self, failure: Exception) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(failure)


async def nothing() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


def flow(line: Line, *, first: float = 30, read: float = 30, total: float = 60) -> Inflow:
    return Inflow(Chunked(line, nothing()), asyncio.get_running_loop().time() + total, first, read)


@pytest.mark.parametrize("pieces", [0, 1, 3, 9])
@pytest.mark.parametrize(
    ("limits", "is_stall"), [({"first": 0.02, "read": 0.02}, True), ({"total": 0.05}, False)], ids=["read", "total"]
)
def test_what_does_not_come(pieces: int, limits: dict[str, float], is_stall: bool) -> None:
    async def use() -> None:
        line = Line()
        body = flow(line, **limits)
        # on a machine that stands still, `total` is over before the last one
        with pytest.raises(TimeoutError) as caught:
            for _ in range(pieces):
                line.come(b"1\r\nx\r\n")
                assert await body.take() == b"x"
            await body.take()
        assert isinstance(caught.value, StalledError) is is_stall
        if isinstance(caught.value, StalledError):
            assert caught.value.is_first is (pieces == 0)
        await body.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))


def test_the_pause_between_two_is_shorter_than_the_first() -> None:
    async def use() -> None:
        line = Line()
        body = flow(line, first=30, read=0.02)
        line.come(b"1\r\nx\r\n")
        assert await body.take() == b"x"
        with pytest.raises(StalledError):
            await body.take()
        await body.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))


def test_who_is_slow_to_ask_is_not_a_server_that_stalls() -> None:
    async def use() -> None:
        line = Line()
        body = flow(line, first=0.02, read=0.02)
        for _ in range(3):
            line.come(b"1\r\nx\r\n")
            await asyncio.sleep(0.15)
            assert await body.take() == b"x"
        line.come(b"0\r\n\r\nrest")
        assert [await body.take(), await body.take()] == [b"", b""]
        assert line.left == (b"0\r\n\r\n", b"rest")
        await body.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))


def test_who_asks_after_the_deadline_does_not_wait() -> None:
    async def use() -> None:
        line = Line()
        body = flow(line)
        line.come(b"1\r\nx\r\n")
        assert await body.take() == b"x"
        body._deadline = asyncio.get_running_loop().time() + 0.02
        body._watch_anew()
        await asyncio.sleep(0.2)
        with pytest.raises(TimeoutError) as caught:
            await body.take()
        assert not isinstance(caught.value, StalledError)
        await body.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))


def test_what_comes_just_as_it_is_given_up_is_taken() -> None:
    async def use() -> None:
        line = Line()
        body = flow(line, read=0.3)
        for _ in range(2):
            taking = asyncio.create_task(body.take())
            await asyncio.sleep(0)
            line.come(b"1\r\nx\r\n")
            body._give_up(StalledError(is_first=False))  # in the same turn of the loop
            assert await taking == b"x"
        with pytest.raises(StalledError):  # and the watch goes on
            await body.take()
        await body.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))


def test_all_that_has_come_is_given_at_once() -> None:
    async def use() -> None:
        line = Line()
        body = flow(line)
        line.come(b"".join(b"1\r\nx\r\n" for _ in range(500)))
        assert await body.take() == b"x" * 500
        await body.aclose()

    asyncio.run(asyncio.wait_for(use(), 60))


# -- the other way ---------------------------------------------------------------------------------------------------------

SENT: list[tuple[bytes, list[tuple[bytes, bytes]], list[bytes]]] = [
    (b"GET", [(b"content-type", b"text/event-stream")], [b"one", b"", b"two" * 99]),
    (b"GET", [(b"content-length", b"6")], [b"one", b"two"]),
    (b"GET", [(b"transfer-encoding", b"chunked")], [b"one", b"two"]),
    (b"HEAD", [(b"content-type", b"text/event-stream")], [b""]),
]


@pytest.mark.parametrize(("method", "headers", "pieces"), SENT)
def test_our_server_sends_what_h11_would(
    method: bytes, headers: list[tuple[bytes, bytes]], pieces: list[bytes]
) -> None:
    sent = []
    for connection in (_Strict(2**16), h11.Connection(h11.SERVER)):
        out = b""
        for _ in range(2):  # the second request of a connection like the first
            connection.receive_data(b"%b / HTTP/1.1\r\nhost: h\r\n\r\n" % method)
            while type(connection.next_event()) is not h11.EndOfMessage:
                pass
            events = [
                h11.Response(status_code=200, headers=headers, reason=b"OK"),
                *(h11.Data(data=one) for one in pieces),
            ]
            out += b"".join(connection.send(event) or b"" for event in [*events, h11.EndOfMessage()])
            connection.start_next_cycle()
        sent.append(out)
    assert sent[0] == sent[1]


def test_the_fake_transports_of_tests_are_read_as_ever() -> None:
    async def use() -> bytes:
        way = httpx.MockTransport(lambda request: httpx.Response(200, content=b"onetwo"))
        async with send(way, Request("GET", "http://h/", {}), Timeouts()) as response:
            return await response.body()

    assert asyncio.run(use()) == b"onetwo"
