"""A stream of chunks that several readers can share and that collects itself where a value is wanted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

from composemagic.errors import RunError
from composemagic.language.streams import Chunks, Uncollected, Wanted, holds_chunks, settled
from composemagic.words import say

__all__ = ["LIMIT", "Stream", "join", "settle", "size", "so_far", "streams_in", "too_large"]

Get = Callable[[Wanted], Awaitable[None]]
Wrap = Callable[[BaseException], BaseException]

LIMIT = 8 * 2**20  # characters
_LOOSE_CHUNKS = 1024
_FAIR = 2**18  # bytes
_OBJECT, _BATCH = 48, 4096  # what a chunk and a batch cost beside the characters: in bytes, and in time as bytes would


class Stream(Chunks):
    """Chunks from an asynchronous source of batches, read by each reader at its own speed.

    Every reader sees every chunk from the first one on, also one that comes late; what all present readers have passed is
    kept joined, a thousand chunks as one. Beyond 8 Mi characters the start is forgotten, and who comes later is refused;
    who is so far ahead of another reader waits for it. `origin` is the job whose action it is. Belongs to one event loop.
    """

    def __init__(
        self,
        source: AsyncIterator[list[Any]],
        *,
        fragmented: bool = True,
        encoding: str | None = None,
        origin: str = "",
        wrap: Wrap | None = None,
        get: Get | None = None,
        behind: Any = None,
    ) -> None:
        self.fragmented = fragmented
        self.encoding = encoding
        self.origin = origin
        self._wrap = wrap
        self._get = get
        self._behind = behind
        self._source = source
        self._kept: list[list[Any]] = []
        self._weights: list[int] = []
        self._weight = 0
        self._forgot = False
        self._joined = 0  # how many of `_kept` are joined already
        self._loose = 0  # how many chunks the others have
        self._most_loose = (
            _LOOSE_CHUNKS  # so many are joined; twice as many as could not be, or each chunk would try again
        )
        self._readers: list[list[int]] = []
        self._ended = False
        self._failure: BaseException | None = None
        self._value: Any = None
        self._collected = False
        self._turn = asyncio.Lock()
        self._unbroken = 0  # bytes, about
        self._moved: asyncio.Event | None = None
        self._fetching: asyncio.Future[None] | None = None
        self._on_end: list[Callable[[BaseException | None], None]] = []

    @property
    def collected(self) -> bool:
        return self._collected

    @property
    def value(self) -> Any:
        return self._value

    @property
    def ended(self) -> bool:
        """Whether its source has no more, or failed."""
        return self._ended

    @property
    def failure(self) -> BaseException | None:
        """What its source failed with."""
        return self._failure

    @property
    def so_far(self) -> Any:
        """What has been read, as one value, as far as it is kept. Callable from any thread."""
        if self._collected:
            return self._value
        chunks = [chunk for batch in tuple(self._kept) for chunk in batch]
        return join(chunks, fragmented=self.fragmented) if chunks else None

    def when_ended(self, call: Callable[[BaseException | None], None]) -> None:
        """Call with the failure, or None, as soon as the source has ended; at once if it has."""
        if self._ended:
            call(self._failure)
        else:
            self._on_end.append(call)

    def batches(self) -> AsyncGenerator[list[Any], None]:
        """Every batch from the start. Raises what the source raised, after the chunks before it."""
        return self._read(0)

    async def _read(self, start: int) -> AsyncGenerator[list[Any], None]:
        """Every batch from a place in what is kept."""
        if self._forgot and start == 0:
            raise RunError(
                "too_late",
                say(
                    "the stream is longer than {limit} MiB and its start is gone; read it in a job that starts with it",
                    limit=LIMIT // 2**20,
                ),
            )
        place = [start]
        self._readers.append(place)
        try:
            while True:
                while place[0] < len(self._kept):
                    batch = self._kept[place[0]]
                    place[0] += 1
                    if self._moved is not None:
                        self._moved.set()
                    yield batch
                if self._ended:
                    if self._failure is not None:
                        raise self._failure
                    return
                await self._pull(place)
        finally:
            # by what it is: two readers at the same place are equal
            self._readers = [reader for reader in self._readers if reader is not place]
            if self._moved is not None:
                self._moved.set()

    async def collect(self) -> Any:
        """Read to the end and give all chunks as one value: joined text, or a list. Raises RunError beyond 8 Mi characters."""
        if not self._collected:
            chunks: list[Any] = []
            length = 0
            async for batch in self.batches():
                chunks += batch
                length += size(batch)
                if length > LIMIT:
                    raise too_large()
            self._value = join(chunks, fragmented=self.fragmented)
            self._collected = True
        return self._value

    async def drain(self, go_on: asyncio.Event | None = None) -> None:
        """Read to the end for no one. Until `go_on` is set it forgets nothing, and rests while as much is kept as may be."""
        while not self._ended:
            async with aclosing(self._read(len(self._kept))) as batches:
                async for _ in batches:
                    if go_on is not None and not go_on.is_set() and self._weight > LIMIT * 3 // 4:
                        break
            if go_on is not None and not self._ended:
                await go_on.wait()
        if self._failure is not None:
            raise self._failure

    def map(self, convert: Callable[[list[Any]], list[Any]], *, encoding: str | None = None) -> Stream:
        async def converted() -> AsyncIterator[list[Any]]:
            async for batch in self.batches():
                try:
                    found = convert(batch)
                except Wanted as wanted:
                    found = await self._converted(convert, batch, wanted)
                if found:
                    yield found

        return self._like(converted(), self.fragmented, encoding)

    async def _converted(
        self, convert: Callable[[list[Any]], list[Any]], batch: list[Any], wanted: Wanted
    ) -> list[Any]:
        while True:
            if self._get is not None:
                await self._get(wanted)
            elif isinstance(wanted, Uncollected) and isinstance(wanted.stream, Stream):
                await wanted.stream.collect()
            else:
                raise wanted
            try:
                return convert(batch)
            except Wanted as another:
                wanted = another

    def derived(self, source: AsyncIterator[list[Any]], *, fragmented: bool) -> Stream:
        return self._like(source, fragmented, None)

    def _like(self, source: AsyncIterator[list[Any]], fragmented: bool, encoding: str | None) -> Stream:
        return Stream(source, fragmented=fragmented, encoding=encoding, origin=self.origin, get=self._get)

    async def aclose(self) -> None:
        """End it where it is: the source is closed."""
        if self._fetching is not None:
            self._fetching.cancel()
            with contextlib.suppress(BaseException):
                await self._fetching
        for source in (self._source, self._behind):  # one that was never read does not close what it reads
            close = getattr(source, "aclose", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    await close()

    # -- reading the source ---------------------------------------------------------------------------------------------
    async def _pull(self, place: list[int]) -> None:
        """Let one reader at a time fetch the next batch for all."""
        async with self._turn:
            if self._fetching is not None:  # of a reader that has left
                await asyncio.shield(self._fetching)
            if place[0] < len(self._kept) or self._ended:
                return
            if self._unbroken > _FAIR:
                self._unbroken = 0
                await asyncio.sleep(0)  # a source that never waits would let no one else begin
            if len(self._readers) == 1:
                await self._fetch()
                return
            await self._wait_for_slower()
            # a reader that is stopped must not take the source along
            self._fetching = asyncio.ensure_future(self._fetch())
            await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            self._keep(await anext(self._source))
        except StopAsyncIteration:
            self._end(None)
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                # the source ends with the reader that is stopped in it: no end that others may take for one
                self._end(RunError("stopped", say("the stream was stopped by another of its readers")))
                raise
            if isinstance(error, GeneratorExit):
                raise
            self._end(error if self._wrap is None else self._wrap(error))
        finally:
            self._fetching = None
        if self._loose > self._most_loose:
            self._compact()
            self._most_loose = max(_LOOSE_CHUNKS, 2 * self._loose)

    def _end(self, failure: BaseException | None) -> None:
        self._ended, self._failure = True, failure
        calls, self._on_end = self._on_end, []
        for call in calls:
            call(failure)

    def _keep(self, batch: list[Any]) -> None:
        weight = size(batch) + _OBJECT * len(batch)
        self._kept.append(batch)
        self._weights.append(weight)
        self._weight += weight
        self._unbroken += weight + _BATCH
        self._loose += len(batch)
        if self._weight > LIMIT or (self._forgot and self._loose > self._most_loose):
            self._forget()
            self._most_loose = max(_LOOSE_CHUNKS, 2 * self._loose)

    async def _wait_for_slower(self) -> None:
        """Wait while another reader is too far behind."""
        while self._weight > LIMIT and len(self._readers) > 1:
            self._forget()
            if self._weight <= LIMIT:
                return
            self._moved = asyncio.Event()
            await self._moved.wait()
            self._moved = None

    def _forget(self) -> None:
        """Drop what every reader has passed."""
        end = min((place[0] for place in self._readers), default=len(self._kept))
        if end == 0:
            return
        self._forgot = True
        self._weight -= sum(self._weights[:end])
        self._loose -= sum(map(len, self._kept[self._joined : end]))
        del self._kept[:end], self._weights[:end]
        self._joined = max(0, self._joined - end)
        for place in self._readers:
            place[0] -= end

    def _compact(self) -> None:
        """Join the loose batches every reader has passed into one; a late reader gets them as one."""
        begin, end = self._joined, min((place[0] for place in self._readers), default=len(self._kept))
        if end <= begin:
            return
        chunks = [chunk for batch in self._kept[begin:end] for chunk in batch]
        self._loose -= len(chunks)
        if self.fragmented and all(type(chunk) is str for chunk in chunks):
            chunks = ["".join(chunks)]
        weight = size(chunks) + _OBJECT * len(chunks)
        self._weight += weight - sum(self._weights[begin:end])
        self._kept[begin:end], self._weights[begin:end] = [chunks], [weight]
        self._joined += 1
        for place in self._readers:
            place[0] -= end - begin - 1


def too_large() -> RunError:
    return RunError("too_large", say("the output is longer than {limit} MiB; the run was ended", limit=LIMIT // 2**20))


def size(batch: list[Any]) -> int:
    """About how many characters the chunks hold."""
    try:
        return len("".join(batch))
    except TypeError:
        return sum(map(_weight, batch))


def _weight(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return 2 + sum(_weight(key) + _weight(inner) for key, inner in value.items())
    if isinstance(value, list):
        return 2 + sum(map(_weight, value))
    return 8


def join(chunks: list[Any], *, fragmented: bool) -> Any:
    """All chunks as one value: fragments join to text only if every chunk is text, others stay a list."""
    if fragmented and chunks and all(isinstance(chunk, str) for chunk in chunks):
        return "".join(chunks)
    return chunks


def streams_in(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Chunks]]:
    """Every stream in a value, and where."""
    if isinstance(value, Chunks):
        yield path, value
    elif isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from streams_in(inner, (*path, step))


def so_far(value: Any) -> Any:
    """The value with what its streams have given."""
    if isinstance(value, Stream):
        return value.so_far
    if isinstance(value, Chunks):
        return value.value
    if isinstance(value, dict):
        return {key: so_far(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [so_far(inner) for inner in value]
    return value


async def settle(value: Any) -> Any:
    """The value with every stream inside it collected, all at the same time; without one, the value itself."""
    if isinstance(value, Stream):
        return await value.collect()
    if not holds_chunks(value):
        return value
    streams = {id(stream): stream for _, stream in streams_in(value) if isinstance(stream, Stream)}
    await asyncio.gather(*(stream.collect() for stream in streams.values()))
    return settled(value)
