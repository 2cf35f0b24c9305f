"""The output of a run on its way to the readers: streams become deltas, each with its place in the output, values one."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

from composemagic.engine.events import Delta
from composemagic.engine.fill import together
from composemagic.engine.record import Record
from composemagic.engine.stream import LIMIT, Stream, join, size, streams_in, too_large
from composemagic.errors import RunError
from composemagic.language.secret import closed, names_in
from composemagic.language.streams import Chunks
from composemagic.text import clean
from composemagic.transport.secrets import Redactor

__all__ = ["Output", "as_text"]

Path = tuple[str | int, ...]

_REST_SECONDS = 0.001
# a NamedTuple's own constructor costs twice as much, and this one is called for every chunk
_delta = cast("Callable[[Iterable[object]], Delta]", partial(tuple.__new__, Delta))


class Output:
    """What a run gives. `said` is called after each batch of deltas with how many there are, `flush` when somebody waits."""

    def __init__(
        self, record: Record, redact: Redactor, said: Callable[[str, int, bool], bool], flush: Callable[[], None]
    ) -> None:
        self.record = record
        self.redact = redact
        self.encoding: str | None = None
        self.length = 0
        self._said = said
        self._flush = flush
        self._fragmented: dict[Path, bool] = {}
        self._is_stream = False
        self._value: Any = None

    # -- what there is of it ----------------------------------------------------------------------------------------------
    @property
    def is_stream(self) -> bool:
        """Whether the output is a stream, and not a value or an object with streams in it."""
        return self._is_stream

    @property
    def value(self) -> Any:
        """The output so far."""
        if self._is_stream:
            return self._joined((), self.pieces)
        if not self._fragmented:
            return self._value
        by_path: dict[Path, list[Any]] = {path: [] for path in self._fragmented}
        for event in self.record.events:
            if type(event) is Delta and event.path in by_path:
                by_path[event.path].append(event.value)
        return _filled(self._value, {path: self._joined(path, pieces) for path, pieces in by_path.items()})

    def _joined(self, path: Path, pieces: list[Any]) -> Any:
        if not path and self.encoding == "json":
            return [json.loads(piece) for piece in pieces]
        return join(pieces, fragmented=self._fragmented.get(path, True)) if pieces else None

    @property
    def pieces(self) -> list[Any]:
        """The deltas of an output that is one stream or one text."""
        return [event.value for event in self.record.events if type(event) is Delta and not event.path]

    @property
    def text(self) -> str:
        """The output so far as text; JSON deltas and values stand one a line, values as JSON, null is no text."""
        if not self._is_stream:
            return as_text(self.value)
        pieces = self.pieces
        return "\n".join(pieces) if self.encoding == "json" else _lines(pieces)

    # -- giving it ----------------------------------------------------------------------------------------------------------
    async def give(self, answer: Any, job: str) -> None:
        """Say all of the answer, its streams at the same time. Raises what they raise, and RunError beyond the limit."""
        if isinstance(answer, Chunks):
            self.encoding, self._is_stream = answer.encoding, True
            self.record.joins = answer.fragmented and answer.encoding != "json"
            await self._stream(answer, (), job)
            return
        answer = _with_values(answer)
        self.refuse_secrets(answer)
        streams = dict(streams_in(answer))
        self._value = self.redact.value(_whole_characters(answer))
        if streams:
            self.record.apart = {path for path, stream in streams.items() if not stream.fragmented}
            await together(*(self._stream(stream, path, job) for path, stream in streams.items()))
        elif isinstance(self._value, str) and self._value:
            _Pipe(self, (), job, is_whole=True).say([self._value])

    async def _stream(self, stream: Chunks, path: Path, job: str) -> None:
        self._fragmented[path] = stream.fragmented
        pipe = _Pipe(self, path, getattr(stream, "origin", "") or job)
        try:
            async for batch in stream.batches():
                if pipe.say(batch):
                    # the user waits for this one: the loop rests, so that the reader's thread gets the interpreter
                    self._flush()
                    await asyncio.sleep(_REST_SECONDS)
        finally:
            pipe.end()  # also of a stream that breaks: the text so far is kept

    def refuse_secrets(self, value: Any) -> None:
        """Raise RunError where a value that would be shown holds a secret."""
        if self.redact.knows and (names := names_in(value)):
            raise RunError("secret", closed(names))

    def deliver(self, values: list[Any], job: str, path: Path) -> bool:
        """Hand on deltas; whether they are the first to hold more than ""."""
        # a chat's first chunk is often its role, with an empty text
        is_first = self._said(job, len(values), any(value != "" for value in values))
        if self.length > LIMIT:
            raise too_large()
        self.record.stream([_delta((value, job, path)) for value in values])
        return is_first


class _Pipe:
    """One stream's chunks on their way: secrets are taken out, characters in two halves joined."""

    def __init__(self, output: Output, path: Path, job: str, *, is_whole: bool = False) -> None:
        self.output = output
        self.path = path
        self.job = job
        self.half = ""
        joins = output.record.joins and path not in output.record.apart and not is_whole
        self.pieces = output.redact.pieces() if joins else None

    def say(self, batch: list[Any], *, is_end: bool = False) -> bool:
        output = self.output
        try:
            text = "".join(batch)
        except TypeError:
            output.length += size(batch)
            batch = self._opaque(batch)
        else:
            output.length += len(text)
            if output.redact.knows:
                batch = self._redacted(batch, text)
            if self.half or not text.isascii():
                batch = self._with_whole_characters(batch, is_end=is_end)
        return output.deliver(batch, self.job, self.path)

    def end(self) -> None:
        held = "" if self.pieces is None else self.pieces.end()
        if held:
            batch = self._with_whole_characters([held], is_end=True)
            self.output.deliver(batch, self.job, self.path)
        elif self.half:
            self.say([""], is_end=True)

    def _redacted(self, batch: list[str], text: str) -> list[str]:
        """A batch of texts without secrets; joined, since these may be cut, where the pieces are of one text."""
        if self.pieces is None:
            redact = self.output.redact
            return [redact(piece) for piece in batch] if redact.finds(text) else batch
        if self.pieces.is_clear(text):
            return batch
        found = self.pieces.add(text)
        return [found] if found else []

    def _opaque(self, batch: list[Any]) -> list[Any]:
        """A batch of chunks that are not all texts, without secrets."""
        redact = self.output.redact
        if not redact.knows:
            return batch
        self.output.refuse_secrets(batch)
        before = [] if self.pieces is None else [self.pieces.end()]
        return [*filter(None, before), *redact.value(batch)]

    def _with_whole_characters(self, batch: list[str], *, is_end: bool) -> list[str]:
        """Join halves of surrogate pairs that stand in two chunks: JSON may write a character as two escapes."""
        found = []
        for piece in batch:
            whole = self.half + piece
            self.half = whole[-1] if "\ud800" <= whole[-1:] <= "\udbff" and not is_end else ""
            found.append(clean(whole[:-1] if self.half else whole))
        return found


def _filled(value: Any, found: dict[Path, Any], path: Path = ()) -> Any:
    """The value with what the streams at these paths have given."""
    if path in found:
        return found[path]
    if isinstance(value, dict):
        return {key: _filled(inner, found, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, found, (*path, at)) for at, inner in enumerate(value)]
    return None if isinstance(value, Chunks) else value


def _with_values(value: Any) -> Any:
    """The value with what is no stream but a value that was cast to one as that value."""
    if isinstance(value, Chunks) and not isinstance(value, Stream):
        return value.value
    if isinstance(value, dict):
        return {key: _with_values(inner) for key, inner in value.items()}
    return [_with_values(inner) for inner in value] if isinstance(value, list) else value


def _whole_characters(value: Any) -> Any:
    """A value whose texts can all be encoded as UTF-8."""
    match value:
        case str():
            return clean(value)
        case dict():
            return {_whole_characters(key): _whole_characters(inner) for key, inner in value.items()}
        case list():
            return [_whole_characters(inner) for inner in value]
    return value


def _lines(pieces: list[Any]) -> str:
    """Pieces of text as they follow each other, and every other value on a line of its own."""
    lines: list[str] = []
    for is_text, group in itertools.groupby(pieces, lambda piece: isinstance(piece, str)):
        texts = map(as_text, group)
        lines += ["".join(texts)] if is_text else texts
    return "\n".join(lines)


def as_text(value: Any) -> str:
    """A value as text: as it is, null as nothing, the rest as JSON."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bytes():
            return value.decode("utf-8", "replace")
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except TypeError:  # keys that JSON has no word for, out of a function of the user's
        return repr(value)
