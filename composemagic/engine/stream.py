"""A stream of chunks that several readers can share and that collects itself where a value is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from composemagic.errors import RunError
from composemagic.language.casts import Chunks

__all__ = ["LIMIT", "Stream", "join", "settle", "size", "too_large"]

LIMIT = 8 * 2**20  # characters
_LOOSE_CHUNKS = 1024


class Stream(Chunks):
    """Chunks from an asynchronous source of batches, read at the pace of the fastest reader.

    Every reader sees every chunk from the first one; what all present readers have passed is kept joined, a thousand
    chunks as one, so that text costs its characters and not an object a chunk. Beyond 8 Mi characters it fails with a
    RunError. Belongs to one event loop.
    """

    def __init__(
        self, source: AsyncIterator[list[Any]], *, fragmented: bool = True, encoding: str | None = None
    ) -> None:
        self.fragmented = fragmented
        self.encoding = encoding
        self._source = source
        self._kept: list[list[Any]] = []
        self._joined = 0  # how many of `_kept` are joined already
        self._loose = 0  # how many chunks the others have
        self._size = 0
        self._readers: list[list[int]] = []
        self._ended = False
        self._failure: BaseException | None = None
        self._value: Any = None
        self._collected = False
        self._turn = asyncio.Lock()

    @property
    def collected(self) -> bool:
        return self._collected

    @property
    def value(self) -> Any:
        return self._value

    async def batches(self) -> AsyncIterator[list[Any]]:
        """Every batch from the start. Raises what the source raised, after the chunks before it."""
        place = [0]
        self._readers.append(place)
        try:
            while True:
                while place[0] < len(self._kept):
                    batch = self._kept[place[0]]
                    place[0] += 1
                    yield batch
                if self._ended:
                    if self._failure is not None:
                        raise self._failure
                    return
                await self._pull(place)
        finally:
            self._readers.remove(place)

    async def collect(self) -> Any:
        """Read to the end and give all chunks as one value: joined text, or a list."""
        if not self._collected:
            chunks = [chunk async for batch in self.batches() for chunk in batch]
            self._value = join(chunks, fragmented=self.fragmented)
            self._collected = True
        return self._value

    def map(self, convert: Callable[[list[Any]], list[Any]], *, encoding: str | None = None) -> Stream:
        async def converted() -> AsyncIterator[list[Any]]:
            async for batch in self.batches():
                if found := convert(batch):
                    yield found

        return Stream(converted(), fragmented=self.fragmented, encoding=encoding)

    async def _pull(self, place: list[int]) -> None:
        """Let one reader at a time fetch the next batch for all."""
        async with self._turn:
            if place[0] >= len(self._kept) and not self._ended:
                await self._fetch()

    async def _fetch(self) -> None:
        try:
            batch = await anext(self._source)
            self._size += size(batch)
            if self._size > LIMIT:
                raise too_large()
            self._kept.append(batch)
            self._loose += len(batch)
        except StopAsyncIteration:
            self._ended = True
        except Exception as error:
            self._ended, self._failure = True, error
        except (
            BaseException
        ):  # the source ends with the reader that is stopped in it: no end that others may take for one
            self._ended, self._failure = True, RunError("stopped", "the stream was stopped by another of its readers")
            raise
        if self._loose > _LOOSE_CHUNKS:
            self._compact()

    def _compact(self) -> None:
        """Join the loose batches every reader has passed into one; a late reader gets them as one."""
        begin, end = self._joined, min((place[0] for place in self._readers), default=len(self._kept))
        if end <= begin:
            return
        chunks = [chunk for batch in self._kept[begin:end] for chunk in batch]
        if self.fragmented and all(type(chunk) is str for chunk in chunks):
            chunks = ["".join(chunks)]
        self._kept[begin:end] = [chunks]
        self._joined += 1
        self._loose = sum(map(len, self._kept[self._joined :]))
        for place in self._readers:
            place[0] -= end - begin - 1


def too_large() -> RunError:
    return RunError("too_large", f"the output is longer than {LIMIT // 2**20} MiB; the run was ended")


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


async def settle(value: Any) -> Any:
    """The value with every stream inside it collected."""
    if isinstance(value, Stream):
        return await value.collect()
    if isinstance(value, Chunks):
        return value.value
    if isinstance(value, dict):
        return {key: await settle(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [await settle(inner) for inner in value]
    return value
