"""Bodies on their way in: compression within bounds, reading ahead, and what ends a body that does not come."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

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
    ("gzip", gzip.compress(TEXT, mtime=0)),
    ("x-gzip", gzip.compress(TEXT, mtime=0)),
    ("GZIP", gzip.compress(TEXT, mtime=0)),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", raw_deflate(TEXT)),
    ("gzip", zlib.compress(TEXT)),  # named wrongly
    ("deflate, gzip", gzip.compress(zlib.compress(TEXT), mtime=0)),
    ("gzip", gzip.compress(TEXT[:50], mtime=0) + gzip.compress(TEXT[50:], mtime=0)),  # RFC 1952, 2.2: several members
    ("gzip", gzip.compress(TEXT, mtime=0) + b"\x00" * 100),  # padding
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


@pytest.mark.parametrize(
    "data", [b"plain text", b"\x1f\x8bno gzip at all", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20]
)
def test_what_cannot_be_decompressed(data: bytes) -> None:
    with pytest.raises(RunError) as caught:
        opened([data], "gzip")
    assert caught.value.kind == "decode"


def test_what_is_cut() -> None:
    with pytest.raises(RunError, match="the compressed answer of h ended before its end") as caught:
        opened([gzip.compress(TEXT, mtime=0)[:-20]], "gzip")
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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look comes as late as a machine that stops in the middle of these tests needs it to."""
    monkeypatch.setattr(inflow, "_GRACE_SECONDS", 30)


@pytest.mark.usefixtures("patient")
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


# -- to the letter ---------------------------------------------------------------------------------------------------------


class Strict:
    """Gives pieces without waiting, and may not be asked again after its end or its failure."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)
        self.ended = False

    def __aiter__(self) -> Strict:
        return self

    async def __anext__(self) -> bytes:
        assert not self.ended, "asked after its end"
        piece = self.pieces.pop(0) if self.pieces else StopAsyncIteration()
        if isinstance(piece, Exception):
            self.ended = True
            raise piece
        return piece


def flow_of(source: AsyncIterator[bytes], *, first: float = 30, read: float = 30, total: float = 60) -> Inflow:
    return Inflow(source, asyncio.get_running_loop().time() + total, first, read)


def calm(use: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine after which nothing is left: no task, no timer, no failure that nobody hears of."""

    async def watched() -> Any:
        loop, unheard = asyncio.get_running_loop(), list[Any]()
        loop.set_exception_handler(lambda _, context: unheard.append(context))
        result = await asyncio.create_task(use)
        await loop.shutdown_asyncgens()  # a source is its owner's to close
        if closing := [task for task in asyncio.all_tasks() if "athrow" in str(task.get_coro())]:
            await asyncio.wait(closing)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]
        assert unheard == []
        return result

    return asyncio.run(watched())


async def all_of(source: AsyncIterator[bytes]) -> list[bytes]:
    """What is taken until the end, which is said as often as it is asked for."""
    flow, found = flow_of(source), []
    while data := await flow.take():
        found.append(data)
    for _ in range(3):
        await asyncio.sleep(0)  # nothing may be asked for meanwhile
        assert (data, await flow.take()) == (b"", b"")
    await flow.aclose()
    return found


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 6, 50])
def test_the_first_four_come_one_by_one_and_the_rest_together(count: int) -> None:
    pieces = [b"%02d" % number * 100 for number in range(count)]
    together = [b"".join(pieces[4:])] if count > 4 else []
    assert calm(all_of(Strict(*pieces))) == [*pieces[:4], *together]


def test_empty_pieces_are_no_end() -> None:
    pieces = [b"", b"a", b"", b"b", b"c", b"", b"", b"d", b"e", b""]
    assert b"".join(calm(all_of(Strict(*pieces)))) == b"abcde"
    assert b"".join(calm(all_of(Strict(*[b""] * 9, b"x", b"")))) == b"x"


def test_an_empty_piece_wakes_nobody() -> None:
    async def source() -> AsyncIterator[bytes]:
        for piece in (*[b"x"] * 4, b"", b""):
            yield piece
        await asyncio.sleep(0.02)
        yield b"y"

    assert calm(all_of(source())) == [*[b"x"] * 4, b"y"]


@pytest.mark.parametrize("count", [0, 2, 3, 4, 6])
def test_a_failure_comes_after_what_was_read_before_it(count: int) -> None:
    async def use() -> bytes:
        flow, found = flow_of(Strict(*[b"x"] * count, ValueError("broken"))), b""
        with pytest.raises(ValueError, match="broken"):
            while True:
                found += await flow.take()
        await flow.aclose()
        return found

    assert calm(use()) == b"x" * count


def test_what_was_large_does_not_count_any_more() -> None:
    """Room is made by taking: small pieces after a large one come together again."""

    async def use() -> list[int]:
        large = bytes(inflow._READ_AHEAD + 1)
        flow = flow_of(Strict(*[b"x"] * 4, large, large, *[b"y"] * 5, b"z"))
        found = [len(await flow.take()) for _ in range(7)]
        await flow.aclose()
        return found

    large = inflow._READ_AHEAD + 1
    assert calm(use()) == [1, 1, 1, 1, large, large, 6]


async def dripping(*pauses: float) -> AsyncIterator[bytes]:
    for pause in pauses:
        await asyncio.sleep(pause)
        yield b"x"


@pytest.mark.parametrize("quick", [0, 4])  # one by one, and in the task
def test_a_drip_is_no_stall(quick: int) -> None:
    """Each pause is shorter than `read` and longer than the second look; all together are longer."""
    source = dripping(*[0.0] * quick, *[0.12] * 4)

    async def use() -> int:
        flow, count = flow_of(source, read=0.4), 0
        while data := await flow.take():
            count += len(data)
        await flow.aclose()
        return count

    assert calm(use()) == quick + 4


def test_the_pause_counts_from_when_there_was_room_again() -> None:
    async def source(pause: float) -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x"
        yield bytes(2**17)
        await asyncio.sleep(pause)
        yield b"y"

    async def use(read: float, pause: float) -> bytes:
        flow = flow_of(source(pause), read=read)
        for _ in range(4):
            await flow.take()
        await asyncio.sleep(0)
        flow._start() if flow._task is None else None
        await asyncio.sleep(0.5)  # the reader's time
        found = b""
        while data := await flow.take():
            found += data
        await flow.aclose()
        return found

    assert calm(use(0.4, 0.12)).endswith(b"y")
    with pytest.raises(StalledError):
        calm(use(0.01, 30))


def test_an_end_that_is_fetched_late_is_an_end() -> None:
    async def use() -> list[bytes]:
        flow = flow_of(Strict(*[b"x"] * 6), read=0.01)
        found = [await flow.take() for _ in range(5)]
        await asyncio.sleep(0.2)  # it has ended: nothing is waited for
        found.append(await flow.take())
        await flow.aclose()
        return found

    assert calm(use()) == [b"x"] * 4 + [b"xx", b""]


def test_the_first_bytes_may_come_behind_empty_pieces() -> None:
    async def source() -> AsyncIterator[bytes]:
        for piece in (b"", b"", b"", b"", b"", b"x"):
            yield piece
        await asyncio.sleep(30)

    async def use() -> bool:
        flow = flow_of(source(), first=30, read=0.01)
        assert await flow.take() == b"x"
        with pytest.raises(StalledError) as caught:
            await flow.take()
        await flow.aclose()
        return caught.value.is_first

    assert calm(use()) is False


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("before", [0, 2, 6])
def test_the_second_look_gives_what_was_late_a_moment(before: int) -> None:
    """The time is over and has been seen; what comes right after is taken, every time."""

    async def use() -> list[bytes]:
        slow = Slow()
        flow = flow_of(aiter(slow), first=0.01, read=0.01)
        for number in range(before):
            slow.queue.put_nowait(b"%d" % number)
            await flow.take()
        found = []
        for word in (b"late", b"later"):
            waiting = asyncio.create_task(flow.take())
            for _ in range(5):
                await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            end = loop.time() + 0.03
            while loop.time() < end:
                pass  # the process does not run; its clock does
            for _ in range(4):
                await asyncio.sleep(0)  # the time that is over is seen
            slow.queue.put_nowait(word)
            found.append(await waiting)
        await flow.aclose()
        return found

    assert calm(use()) == [b"late", b"later"]


@pytest.mark.parametrize("count", [0, 2, 6])
def test_closing_leaves_nothing_and_lets_the_source_clean_up(count: int) -> None:
    cleaned = []

    async def source() -> AsyncIterator[bytes]:
        try:
            for _ in range(count):
                yield b"x"
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.02)
            cleaned.append(True)

    async def use() -> None:
        flow = flow_of(source())
        left = count
        while left:
            left -= len(await flow.take())
        reading = flow._task is not None
        both = [asyncio.create_task(flow.aclose()) for _ in range(2)]
        await asyncio.sleep(0.005)
        both.append(asyncio.create_task(flow.aclose()))  # a second one does not disturb the first
        await asyncio.gather(*both)
        assert flow._task is None or flow._task.done()
        assert len(cleaned) == reading

    calm(use())


def test_who_stalls_may_fail_in_its_own_way() -> None:
    async def source() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x"
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise OSError("closed") from None

    async def use() -> None:
        flow = flow_of(source(), read=0.01)
        with pytest.raises(StalledError):
            while True:
                await flow.take()
        await flow.aclose()

    calm(use())


def stored(text: bytes, first: int) -> bytes:
    """A block of raw deflate (RFC 1951, 3.2.4) whose first byte has padding in it, as zlib itself would not write it."""
    size = len(text).to_bytes(2, "little")
    return bytes([first]) + size + bytes(255 - byte for byte in size) + text


LIKE_ZLIB = [  # raw data that begin with zlib's number of the method, but not with its check; and the other way round
    (b"abcde", stored(b"abcde", 0x08) + raw_deflate(b"")),
    (b"x" * 21, stored(b"x" * 21, 0x09)),
]


@pytest.mark.parametrize("size", [2, 3, 100])
@pytest.mark.parametrize(("text", "data"), LIKE_ZLIB)
def test_raw_data_that_begin_like_zlibs(text: bytes, data: bytes, size: int) -> None:
    assert opened(cut(data, size), "deflate") == text


@pytest.mark.parametrize("more", [0, 1, 2, 100, 257, 258, 259, 1000, 2**16, 2**16 + 1])
def test_what_stands_inside_when_all_has_been_read(more: int) -> None:
    for squeeze in (raw_deflate, zlib.compress, gzip.compress):
        text = bytes(inflow._PIECE + more)
        for size in (1, 10**6):
            if squeeze is not raw_deflate or size > 1:
                assert opened(cut(squeeze(text), size), "deflate") == text
