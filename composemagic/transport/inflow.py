"""A body on its way in: decompressed within bounds, read ahead, and given up where nothing comes any more.

httpx gives every HTTP chunk by itself, which for a model's stream is every event, and handing each through all floors costs
as much as fetching it. So where it is httpx that reads, and not chunked.py, a task of its own reads on while the last read is
being worked on. The first pieces do without it: they are what the user waits for.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from composemagic.errors import RunError
from composemagic.transport.chunked import Chunked
from composemagic.words import say

__all__ = ["Inflow", "StalledError", "inflated"]

_READ_AHEAD = 2**15  # what is parsed of as much stays in the processor's cache until it has gone through all floors
_ONE_BY_ONE = 4
_PIECE = 2**16  # bytes that are decompressed at once: a bomb goes off piece by piece, into the limits of who reads
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_GRACE_SECONDS = 0.05
_MOST_ENCODINGS = 2
_GZIP = b"\x1f\x8b"


class StalledError(TimeoutError):
    """Nothing came for as long as `read` allows, or, where `is_first`, as `first` does."""

    def __init__(self, *, is_first: bool) -> None:
        self.is_first = is_first
        super().__init__()


class Inflow:
    """Gives a body's bytes: the first pieces one by one, then at each call all that has arrived since.

    A Chunked source itself gives all that has arrived, and needs no task. `deadline` is on the loop's clock; `first` and
    `read` are seconds until the first piece and between two.
    """

    def __init__(self, source: AsyncIterator[bytes], deadline: float, first: float, read: float) -> None:
        self._source = source
        self._deadline = deadline
        self._patience = first
        self._is_first = True
        self._read_limit = read
        self._ones = _ONE_BY_ONE
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_full = False
        self._is_late = False
        self._ended = False
        self._failure: Exception | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._last = 0.0

    async def take(self) -> bytes:
        """Bytes, waiting for the first one; empty at the end.

        Raises what reading raised, StalledError, and TimeoutError at the deadline.
        """
        if isinstance(self._source, Chunked):
            return await self._all(self._source)
        while self._ones:
            data = await self._one()
            if data is None:
                self._ones, self._ended = 0, True
            elif data:
                self._ones -= 1
                self._patience, self._is_first = self._read_limit, False
                return data
        if self._task is None and not self._ended:
            self._start()
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._room.set()
        return data

    async def _all(self, source: Chunked) -> bytes:
        """What a source gives that gives all there is; the watch makes it fail where it is time."""
        self._last, self._is_full = self._loop.time(), False
        if self._last >= self._deadline:
            raise TimeoutError
        if self._timer is None:
            self._is_late = False
            self._watch()
        try:
            data = await anext(source, b"")
        finally:
            self._is_full = True  # as if: who does not ask waits for nothing
        if not data:
            self._ended = True
        elif self._is_first:
            is_sooner = self._read_limit < self._patience
            self._patience, self._is_first = self._read_limit, False
            if is_sooner:
                self._watch_anew()
        return data

    async def _one(self) -> bytes | None:
        until = min(self._deadline, self._loop.time() + self._patience)
        try:
            async with asyncio.timeout_at(None) as limit:
                self._timer = self._loop.call_at(until, self._second_look, limit)
                try:
                    return await anext(self._source, None)
                finally:
                    self._timer.cancel()
        except TimeoutError:
            if until < self._deadline:
                raise StalledError(is_first=self._is_first) from None
            raise

    def _second_look(self, limit: asyncio.Timeout) -> None:
        """It is time; but a machine that has slept wakes up late and with data at the door."""
        self._timer = self._loop.call_later(_GRACE_SECONDS, lambda: limit.reschedule(self._loop.time()))

    def _start(self) -> None:
        self._last = self._loop.time()
        self._task = self._loop.create_task(self._read())
        self._watch()

    async def aclose(self) -> None:
        """Stop reading."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            if not self._task.cancelling():  # once: it must be able to close the connection
                self._task.cancel()
            await asyncio.wait([self._task])

    async def _read(self) -> None:
        now = self._loop.time
        try:
            async for data in self._source:
                self._last = now()
                if data:
                    self._pieces.append(data)
                    self._size += len(data)
                    self._arrived.set()
                if self._size > _READ_AHEAD:
                    await self._until_there_is_room()
        except Exception as error:
            self._failure = self._failure or error
        finally:
            self._ended = True
            self._arrived.set()

    async def _until_there_is_room(self) -> None:
        self._is_full = True
        self._room.clear()
        await self._room.wait()
        self._is_full = False
        self._last = self._loop.time()

    def _watch_anew(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._watch()

    def _watch(self) -> None:
        """End the reading where it is time; one timer for all reads, since setting one for each would cost more than they."""
        now = self._loop.time()
        due = min(self._deadline, (now if self._is_full else self._last) + self._patience)
        if self._ended:
            return
        if now < due:
            self._is_late = False
            self._timer = self._loop.call_at(due, self._watch)
        elif not self._is_late:
            self._is_late = True
            self._timer = self._loop.call_later(_GRACE_SECONDS, self._watch)
        elif now >= self._deadline:
            self._give_up(TimeoutError())
        else:
            self._give_up(StalledError(is_first=self._is_first))

    def _give_up(self, failure: Exception) -> None:
        self._failure = failure
        if isinstance(self._source, Chunked):
            self._timer = None  # where nobody waits now, who asks again is watched again
            self._source.give_up(failure)
        elif self._task is not None:
            self._task.cancel()


# -- compressed ----------------------------------------------------------------------------------------------------------


def inflated(source: AsyncIterator[bytes], content_encoding: str, host: str) -> AsyncIterator[bytes]:
    """The pieces without their Content-Encoding (RFC 9110, 8.4.1): gzip and deflate, at most two of them on top of each other.

    Raises RunError of kind `decode`, also while reading, and `truncated` where the compressed data end early.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    unknown = next((name for name in names if name not in _ENCODINGS), None)
    if unknown is not None or len(names) > _MOST_ENCODINGS:
        raise RunError(
            "decode",
            say(
                "{host} sent a body in the encoding `{name}`, which composemagic does not know",
                host=host,
                name=(unknown or content_encoding)[:40],
            ),
        )
    for _ in names:  # zlib itself sees which of the two it is: servers mix the names up
        source = _inflated(source, host)
    return source


async def _inflated(source: AsyncIterator[bytes], host: str) -> AsyncIterator[bytes]:
    inflater = None
    async for read in source:
        data = read
        # what stands behind the end is another member, or padding, which some servers add
        while data and (inflater is None or not inflater.eof or _is_member(data)):
            if inflater is None or inflater.eof:
                inflater = zlib.decompressobj(_form(data))
            for piece in _pieces(inflater, data, host):
                yield piece
            data = inflater.unused_data
    if inflater is not None and not inflater.eof:
        raise RunError("truncated", say("the compressed answer of {host} ended before its end", host=host))


def _pieces(inflater: Any, data: bytes, host: str) -> Iterator[bytes]:
    """What some compressed bytes hold, a bounded piece at a time."""
    is_more = True
    while is_more and not inflater.eof:
        try:
            piece = inflater.decompress(data, _PIECE)
        except zlib.error:
            raise RunError("decode", say("{host} sent a body that cannot be decompressed", host=host)) from None
        data = inflater.unconsumed_tail
        is_more = bool(data) or len(piece) == _PIECE  # a full piece: there may be more inside
        if piece:
            yield piece


def _is_member(data: bytes) -> bool:
    """Whether gzip goes on here (RFC 1952, 2.2)."""
    return data[:2] == _GZIP[: len(data)]


def _form(data: bytes) -> int:
    """zlib's name of a format: gzip or zlib by their first bytes, else raw deflate, which old servers send."""
    is_zlib = data[0] & 0x0F == 8 and (len(data) < 2 or (data[0] << 8 | data[1]) % 31 == 0)
    return 47 if is_zlib or _is_member(data) else -15
