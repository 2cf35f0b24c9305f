"""Bodies on their way in: compression within bounds, reading ahead, and what ends a body that does not come."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Iterable

import pytest

from composemagic.errors import RunError
from composemagic.transport import inflow
from composemagic.transport.inflow import Inflow, StalledError, inflated

TEXT = b"The quick brown fox. " * 5000


def raw_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


async def given(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def opened(pieces: Iterable[bytes], encoding: str) -> bytes:
    async def read() -> bytes:
        found = b""
        async for piece in inflated(given(pieces), encoding, "h"):
            assert 0 < len(piece) <= inflow._PIECE or encoding in ("", "identity")
            found += piece
        return found

    return asyncio.run(read())


ENCODED = [
    ("gzip", gzip.compress(TEXT)),
    ("x-gzip", gzip.compress(TEXT)),
    ("GZIP", gzip.compress(TEXT)),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", raw_deflate(TEXT)),
    ("gzip", zlib.compress(TEXT)),  # named wrongly
    ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    ("gzip", gzip.compress(TEXT[:50]) + gzip.compress(TEXT[50:])),  # RFC 1952, 2.2: several members
    ("gzip", gzip.compress(TEXT) + b"\x00" * 100),  # padding
    ("identity", TEXT),
    ("", TEXT),
]


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
@pytest.mark.parametrize(("encoding", "data"), ENCODED)
def test_compressed(encoding: str, data: bytes, size: int) -> None:
    if size == 1 and not encoding:
        pytest.skip("nothing to do")
    assert opened(cut(data, size), encoding) == TEXT


@pytest.mark.parametrize("encoding", ["br", "x-odd", "gzip, br", "gzip, gzip, gzip"])
def test_encodings_that_are_not_known(encoding: str) -> None:
    with pytest.raises(RunError, match="h sent a body in the encoding") as caught:
        opened([b"x"], encoding)
    assert caught.value.kind == "decode"


@pytest.mark.parametrize("data", [b"plain text", b"\x1f\x8bno gzip at all", gzip.compress(b"")[:10] + b"\xff" * 20])
def test_what_cannot_be_decompressed(data: bytes) -> None:
    with pytest.raises(RunError) as caught:
        opened([data], "gzip")
    assert caught.value.kind == "decode"


def test_what_is_cut() -> None:
    with pytest.raises(RunError, match="the compressed answer of h ended before its end") as caught:
        opened([gzip.compress(TEXT)[:-20]], "gzip")
    assert caught.value.kind == "truncated"


def test_nothing_at_all() -> None:
    assert opened([], "gzip") == b""


def test_a_bomb_goes_off_piece_by_piece() -> None:
    """1 MB that holds 1 GiB, from which somebody takes 1 MiB: nothing else is made."""
    bomb = zlib.compressobj(9, wbits=31)
    data = b"".join(bomb.compress(bytes(2**20)) for _ in range(64)) + bomb.flush()

    async def take() -> int:
        pieces = inflated(given([data]), "gzip", "h")
        return sum([len(await anext(pieces)) for _ in range(16)])

    assert asyncio.run(take()) == 2**20


# -- in time -------------------------------------------------------------------------------------------------------------


class Slow:
    """Pieces that come when they are let in."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self.queue.get()) is not None:
            yield piece


async def taken(pieces: int, *, first: float = 30, read: float = 30, total: float = 60) -> list[bytes]:
    """So many pieces, then nothing more, for ever."""
    slow = Slow()
    flow = Inflow(aiter(slow), asyncio.get_running_loop().time() + total, first, read)
    found = []
    try:
        for number in range(pieces):
            slow.queue.put_nowait(b"%d" % number)
            found.append(await flow.take())
        await flow.take()
    finally:
        await flow.aclose()
    return found


@pytest.mark.parametrize("pieces", [1, 3, 4, 5, 9])  # the first four are read in another way
def test_a_stall(pieces: int) -> None:
    with pytest.raises(StalledError) as caught:
        asyncio.run(asyncio.wait_for(taken(pieces, read=0.01), 20))
    assert not caught.value.is_first


def test_a_stall_before_the_first_byte() -> None:
    with pytest.raises(StalledError) as caught:
        asyncio.run(asyncio.wait_for(taken(0, first=0.01), 20))
    assert caught.value.is_first


@pytest.mark.parametrize("pieces", [0, 2, 6])
def test_the_deadline(pieces: int) -> None:
    with pytest.raises(TimeoutError) as caught:
        asyncio.run(asyncio.wait_for(taken(pieces, total=0.05), 20))
    assert not isinstance(caught.value, StalledError)


def test_a_late_look_finds_what_has_come() -> None:
    """A machine that has slept: the time is over and the data are there, in the same turn of the loop."""

    async def sleep(before: int) -> bytes:
        slow = Slow()
        flow = Inflow(aiter(slow), asyncio.get_running_loop().time() + 60, 0.01, 0.01)
        for number in range(before):
            slow.queue.put_nowait(b"%d" % number)
            await flow.take()
        waiting = asyncio.create_task(flow.take())
        for _ in range(5):
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.03
        while loop.time() < end:
            pass  # the process does not run; its clock does
        slow.queue.put_nowait(b"late")
        found = await waiting
        await flow.aclose()
        return found

    for before in (0, 2, 6):
        assert asyncio.run(asyncio.wait_for(sleep(before), 20)) == b"late"


def test_reading_ahead_is_bounded() -> None:
    made = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield bytes(2**16)

    async def use() -> int:
        flow = Inflow(endless(), asyncio.get_running_loop().time() + 60, 30, 30)
        for _ in range(5):
            await flow.take()
        for _ in range(100):
            await asyncio.sleep(0)
        ahead = made
        await flow.aclose()
        return ahead

    assert asyncio.run(asyncio.wait_for(use(), 20)) < 8  # of 64 KiB: four by themselves, one ahead, one on its way


def test_who_is_slow_to_take_is_not_a_server_that_stalls() -> None:
    async def use() -> bytes:
        flow = Inflow(given([bytes(2**17)] * 6 + [b"end"]), asyncio.get_running_loop().time() + 60, 0.01, 0.01)
        for _ in range(5):
            await flow.take()
        await asyncio.sleep(0.2)  # longer than `read`: the reader's time, not the server's
        rest = b""
        while data := await flow.take():
            rest += data
        await flow.aclose()
        return rest

    assert asyncio.run(asyncio.wait_for(use(), 20)).endswith(b"end")
