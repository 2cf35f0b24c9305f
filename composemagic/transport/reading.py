"""A streamed answer on its way from bytes to chunks, and what the provider says of it: finish mark, errors, `[DONE]`.

The body is an event stream, or lines of JSON where the media type, `stream_format: json-lines` or the provider (Ollama) says
so. Chunks that are good are given before what breaks the stream is raised.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

from composemagic.errors import RunError
from composemagic.transport.http import Request
from composemagic.transport.providers import ProviderError, Watch
from composemagic.transport.sse import EventTooLarge, LineReader, Message, SSEParser
from composemagic.words import say

__all__ = ["FORMATS", "LINES", "UNNAMED", "Incoming", "Reading", "is_stream"]

EVENTS = "text/event-stream"
LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
UNNAMED = frozenset({"", "text/plain"})
FORMATS = ("json", "text", "server-sent-events", "json-lines")
_DRAIN_SECONDS = 0.1
_SHOWN = 80
_EVENT_FIELDS = ("data:", "event:", "id:", "retry:", ":")
_decode = json.JSONDecoder().raw_decode


class Incoming(Protocol):
    """What is read of a Response."""

    @property
    def media_type(self) -> str: ...

    def reads(self) -> AsyncIterator[bytes]: ...

    async def drain(self, seconds: float) -> None: ...


def is_stream(media_type: str, watch: Watch, stream_format: str | None, *, wanted: bool) -> bool:
    """Whether a body is read as a stream: its media type says so, or what was asked for where the type says little.

    `wanted`: chunks are asked for, be it by `stream_format` or by `response[]`.
    """
    if media_type == EVENTS or (stream_format == "json-lines" and "json" in media_type):
        return True
    if media_type in LINES:
        return wanted or watch.dialect is not None
    return stream_format is not None and media_type in UNNAMED


class Reading:
    """Reads one stream. `stream_format` is one of FORMATS or None, which is `text`; `watch` notes what the provider says."""

    def __init__(self, response: Incoming, request: Request, watch: Watch, stream_format: str | None) -> None:
        self._response = response
        self._request = request
        self._watch = watch
        self._format = stream_format
        self._lines_only = self._is_of_lines()
        self._as_json = stream_format == "json" or (self._lines_only and stream_format != "text")
        self._done = False
        self._empty = True
        self._failure: RunError | None = None

    def _is_of_lines(self) -> bool:
        media_type, dialect = self._response.media_type, self._watch.dialect
        if media_type == EVENTS:
            return False
        return self._format == "json-lines" or media_type in LINES or (dialect is not None and dialect.name == "ollama")

    async def chunks(self) -> AsyncGenerator[list[Any], None]:
        """The chunks of each network read that completes some, as `stream_format` wants them.

        Raises RunError, after the chunks before it: the stream breaks, holds an error, or ends without a finish mark.
        """
        self._check_format()
        feed = self._lines() if self._lines_only else self._events()
        async with aclosing(feed):
            try:
                async for found in feed:
                    chunks, failure = self._seen(found)
                    if chunks:
                        self._empty = False
                        yield chunks
                    if failure is not None:
                        raise failure
                    if self._done or self._said_all:
                        break
            except RunError as error:
                # what breaks after the finish mark breaks nothing
                if not self._watch.finished or isinstance(error, ProviderError) or self._watch.dialect is None:
                    raise
        if self._done or self._said_all:
            await self._response.drain(_DRAIN_SECONDS)
        self._judge()

    @property
    def _said_all(self) -> bool:
        """Whether the provider's own last word was heard; OpenAI's finish reason is followed by usage and `[DONE]`."""
        return self._watch.finished and self._watch.dialect is not None and not self._watch.dialect.done_counts

    def _check_format(self) -> None:
        if self._format == "json-lines" and self._response.media_type == EVENTS:
            raise RunError(
                "content_type",
                say(
                    "{host} sent an event stream, not lines of JSON: write `stream_format: json`",
                    host=self._request.host,
                ),
            )
        if self._format == "server-sent-events" and self._lines_only:
            raise RunError(
                "content_type",
                say(
                    "{host} sent lines of JSON, not events: write `stream_format: json-lines`",
                    host=self._request.host,
                ),
            )

    async def _events(self) -> AsyncGenerator[list[Any], None]:
        parser = SSEParser()
        start, found = b"", False
        async for data in self._response.reads():
            start = start or data
            try:
                messages = parser.feed(data)
            except EventTooLarge as error:
                messages, self._failure = error.messages, error
            found = found or bool(messages)
            chunks = self._of_messages(messages)
            if parser.error_field and self._failure is None:
                self._failure = self._told(parser.error_field)
            yield chunks
            if self._done:
                return
        if not found and self._watch.dialect is None and start.lstrip().startswith(b"{"):
            raise RunError(
                "content_type",
                say("{host} sent JSON, not events: write `stream_format: json-lines`", host=self._request.host),
            )

    async def _lines(self) -> AsyncGenerator[list[Any], None]:
        reader = LineReader()
        async for data in self._response.reads():
            try:
                lines = reader.feed(data)
            except EventTooLarge as error:
                lines, self._failure = error.lines, error
            yield self._of_lines(lines)
        yield self._of_lines(reader.close())

    def _of_messages(self, messages: list[Message]) -> list[Any]:
        """Messages as chunks, up to `[DONE]`, which is never one, or up to one that is none."""
        chunks: list[Any] = []
        as_json = self._as_json
        whole = self._format == "server-sent-events"
        for message in messages:
            data = message.data
            if data == "[DONE]":
                self._done = True
                self._watch.done()
                break
            if message.event == "error":
                self._failure = self._told(data)
                break
            if as_json:
                try:
                    chunks.append(_value(data))
                except (ValueError, RecursionError):
                    self._failure = self._malformed(data)
                    break
            else:
                chunks.append(message._asdict() if whole else data)
        return chunks

    def _of_lines(self, lines: list[str]) -> list[Any]:
        if not self._as_json:
            return lines
        chunks: list[Any] = []
        for line in lines:
            try:
                chunks.append(_value(line))
            except (ValueError, RecursionError):
                self._failure = self._malformed(line)
                break
        return chunks

    def _malformed(self, text: str) -> RunError:
        shown = self._request.redacted(text)[:_SHOWN]
        if not self._lines_only:
            return RunError("invalid_json", say("invalid JSON in an event: `{text}`", text=shown))
        if text.startswith(_EVENT_FIELDS):
            sentence = say("this is an event stream, not lines of JSON: write `stream_format: json`")
            return RunError("content_type", sentence)
        return RunError("invalid_json", say("invalid JSON in a line: `{text}`", text=shown))

    def _told(self, words: str) -> RunError:
        """What an `event: error` or an `error:` field says, to be raised after the chunks before it."""
        try:
            self._watch.fail(words)
        except ProviderError as error:
            return error

    def _seen(self, chunks: list[Any]) -> tuple[list[Any], RunError | None]:
        """The good chunks of one read, and what is wrong with the next one."""
        try:
            self._watch.see(chunks if self._as_json else [_parsed(chunk) for chunk in chunks])
        except ProviderError as error:
            return chunks[: error.index], error
        return chunks, self._failure

    def _judge(self) -> None:
        """A stream of a known provider succeeds only with a finish mark."""
        if self._watch.dialect is None or self._watch.finished:
            return
        if self._empty:
            raise RunError("empty", say("the answer is empty: the stream ended before anything came"))
        raise RunError("truncated", say("the stream ended without a finish mark; the answer may be incomplete"))


def _value(text: str) -> Any:
    """What `json.loads` gives, which takes half as long again over a short text. Raises ValueError, RecursionError."""
    try:
        value, end = _decode(text)
    except ValueError:
        return json.loads(text)  # white space may stand before the value
    return value if end == len(text) else json.loads(text)


def _parsed(chunk: Any) -> Any:
    """A chunk of text or of a whole message as JSON, for the provider's marks only; None where it is none."""
    try:
        return json.loads(chunk["data"] if isinstance(chunk, dict) else chunk)
    except (ValueError, RecursionError):
        return None
