"""What the language asks of a stream, and what it makes of several: one after the other, or side by side.

The streams themselves belong to the engine. Everything here is lazy: an operand is read when somebody reads the result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

__all__ = ["Chunks", "Uncollected", "Wanted", "Whole", "beside", "chained", "flattened", "holds_chunks", "settled"]

Convert = Callable[[list[Any]], list[Any]]


class Wanted(Exception):  # noqa: N818 - a request to the engine, not an error
    """Raised while rendering where something has to be there first.

    Rendering has no side effects, so whoever renders gets it and renders again in the same scope. There are two:
    Uncollected, and Unloaded (`composemagic.language.formats`).
    """


class Uncollected(Wanted):
    """A value is wanted, and a stream that nobody has collected yet is met: `stream` has to be collected."""

    def __init__(self, stream: Chunks) -> None:
        self.stream = stream
        super().__init__("a stream has to be collected first")


class Chunks:  # no ABC: whether a value is a stream is asked of every value, which takes an ABC ten times as long
    """What the language asks of a stream.

    `fragmented`: the chunks are pieces of one value (text joins), not values of their own. `encoding` is "text" or "json"
    once `as stream/...` chose how chunks are written.
    """

    fragmented: bool = True
    encoding: str | None = None

    @property
    @abstractmethod
    def collected(self) -> bool:
        """Whether `value` is there."""

    @property
    @abstractmethod
    def value(self) -> Any:
        """All chunks as one value: text where they are fragments of text, else a list."""

    @abstractmethod
    def batches(self) -> AsyncIterator[list[Any]]:
        """The chunks, as lists of those that arrived together."""

    @abstractmethod
    def map(self, convert: Convert, *, encoding: str | None = None) -> Chunks:
        """A stream whose batches are the converted batches of this one.

        `convert` may raise Wanted: it is then called again with the same batch, when what it wants is there. It has no
        side effects before it returns.
        """

    @abstractmethod
    def derived(self, source: AsyncIterator[list[Any]], *, fragmented: bool) -> Chunks:
        """A stream of the same kind whose batches come from `source`; it is started when it is first read."""


class Whole(Chunks):
    """A stream of one chunk, made of a value that was there all along."""

    def __init__(self, value: Any, encoding: str | None) -> None:
        self._value = value
        self.encoding = encoding

    @property
    def collected(self) -> bool:
        return True

    @property
    def value(self) -> Any:
        return self._value

    async def batches(self) -> AsyncIterator[list[Any]]:
        yield [self._value]

    def map(self, convert: Convert, *, encoding: str | None = None) -> Chunks:
        return _Several(convert([self._value]), self.fragmented, encoding)

    def derived(self, source: AsyncIterator[list[Any]], *, fragmented: bool) -> Chunks:
        return _Several(_without_waiting(source), fragmented, None)


class _Several(Whole):
    """A stream of some chunks that were there all along."""

    def __init__(self, chunks: list[Any], fragmented: bool, encoding: str | None) -> None:
        is_text = fragmented and bool(chunks) and all(isinstance(chunk, str) for chunk in chunks)
        super().__init__("".join(chunks) if is_text else chunks, encoding)
        self.fragmented = fragmented
        self._chunks = chunks

    async def batches(self) -> AsyncIterator[list[Any]]:
        yield self._chunks

    def map(self, convert: Convert, *, encoding: str | None = None) -> Chunks:
        return _Several(convert(self._chunks), self.fragmented, encoding)


def _without_waiting(source: AsyncIterator[list[Any]]) -> list[Any]:
    """All chunks of a source that reads nothing but values that are there, so that it never waits."""

    async def read() -> list[Any]:
        return [chunk async for batch in source for chunk in batch]

    reading = read()
    try:
        reading.send(None)
    except StopIteration as done:
        return list(done.value)
    raise AssertionError("a value that is there is not waited for")  # pragma: no cover - see the docstring


def settled(value: Any) -> Any:
    """The value with what its streams collected in their places; raises Uncollected where that has not happened."""
    if isinstance(value, Chunks):
        if not value.collected:
            raise Uncollected(value)
        return value.value
    if not holds_chunks(value):
        return value
    if isinstance(value, dict):
        return {key: settled(inner) for key, inner in value.items()}
    return [settled(inner) for inner in value]


def holds_chunks(value: Any) -> bool:
    """Whether a value is a stream or has one in it."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return isinstance(value, Chunks)
    return any(holds_chunks(inner) for inner in value if not isinstance(inner, str))


def chained(parts: Sequence[Any]) -> Chunks:
    """Streams and values one after the other as one stream of fragments; a list adds its items, null adds nothing."""
    return _maker(parts).derived(_chained(parts), fragmented=True)


def flattened(stream: Chunks) -> Chunks:
    """The chunks of a stream as one value in pieces; a chunk that is a list adds its items."""
    return stream.derived(_flattened(stream), fragmented=True)


def beside(columns: Mapping[str, Any]) -> Chunks:
    """Streams and lists side by side: a stream of objects, as long as the shortest."""
    streams = [column for column in columns.values() if isinstance(column, Chunks)]
    return _maker(streams).derived(_beside(columns), fragmented=any(stream.fragmented for stream in streams))


def _maker(operands: Sequence[Any]) -> Chunks:
    """The operand that can make the result: one that is still being read, if there is one."""
    streams = [operand for operand in operands if isinstance(operand, Chunks)]
    return next((stream for stream in streams if not isinstance(stream, Whole)), streams[0])


async def _chained(parts: Sequence[Any]) -> AsyncIterator[list[Any]]:
    for part in parts:
        if isinstance(part, Chunks):
            async for batch in part.batches():
                if pieces := [chunk for chunk in batch if chunk is not None]:
                    yield pieces
        elif items := _items(part):
            yield items


async def _flattened(stream: Chunks) -> AsyncIterator[list[Any]]:
    async for batch in stream.batches():
        if items := [item for chunk in batch for item in _items(chunk)]:
            yield items


def _items(part: Any) -> list[Any]:
    if isinstance(part, list | tuple):
        return list(part)
    return [] if part is None else [part]


async def _beside(columns: Mapping[str, Any]) -> AsyncIterator[list[Any]]:
    rows = [_one_by_one(column) for column in columns.values()]
    try:
        while True:
            row = {}
            for name, items in zip(columns, rows, strict=True):
                try:
                    row[name] = await anext(items)
                except StopAsyncIteration:
                    return
            yield [row]
    finally:
        for items in rows:
            await items.aclose()


async def _one_by_one(column: Any) -> AsyncGenerator[Any, None]:
    if isinstance(column, Chunks):
        async for batch in column.batches():
            for chunk in batch:
                yield chunk
    else:
        for item in column:
            yield item
