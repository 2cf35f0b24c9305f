"""A tap on the wire of one run: each request and its answer, as they pass. Who asked for none has none.

It stands between who sends and the way to the network, as a transport around a transport; nothing else knows that it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import httpx

from composemagic.errors import RunError
from composemagic.transport.exchange import ANSWER_LIMIT, EMBEDDED, Exchange, Room
from composemagic.transport.inflow import inflated
from composemagic.transport.masking import Mask
from composemagic.transport.secrets import Redactor

__all__ = ["KEPT", "Line", "Tap"]

KEPT = 8 * 2**20  # bytes of bodies that are kept of one run to be looked at; of what comes later only counts
_MOST = 5_000  # exchanges that are kept of one run


class Tap:
    """Notes what passes. `network` gives the way to the network, `elapsed` the seconds since the run started.

    `hear` is called with each exchange that is over; of those that are kept to be looked at
    (`keeps`) there are KEPT bytes together. `count` is how many there were.
    `places` are the addresses of models on this machine.
    """

    def __init__(
        self,
        network: Callable[[], httpx.AsyncBaseTransport],
        redact: Redactor,
        elapsed: Callable[[], float],
        hear: Callable[[Exchange], None] | None = None,
        *,
        keeps: bool = True,
    ) -> None:
        self.network = network
        self.elapsed = elapsed
        self.exchanges: list[Exchange] = []
        self.places: set[str] = set()
        self._redact = redact
        self._hear = hear
        self._keeps = keeps
        self._kept = Room(KEPT)
        self.count = 0

    def line(self, job: str) -> Line:
        """The way for the requests of one action of a job."""
        return Line(self, job)

    def begin(self, job: str, request: httpx.Request) -> Exchange:
        """A request goes out."""
        self.count += 1
        url, headers = str(request.url), [(name, value) for name, value in request.headers.items() if name != "host"]
        place = next((place for place in self.places if url.startswith(f"{place}/")), None)
        facts = {
            "method": request.method,
            "url": url if place is None else EMBEDDED + url.removeprefix(place),
            "headers": headers,
        }
        found = Exchange(
            self.count,
            job,
            facts,
            at=self.elapsed(),
            mask=Mask(self._redact, headers),
            room=self._kept if self._hear is None else Room(ANSWER_LIMIT),
        )
        found.is_local = found.url.startswith(f"{EMBEDDED}/")
        if self._keeps and len(self.exchanges) < _MOST:
            self.exchanges.append(found)
        return found

    def end(self, exchange: Exchange, how: str) -> None:
        """An exchange is over: "end", "left" or "stopped"."""
        if not exchange.end:
            exchange.over(how, self.elapsed())
            self._tell(exchange)

    def failed(self, exchange: Exchange, error: RunError) -> None:
        """An exchange has failed."""
        if exchange.end in ("", "stopped"):
            exchange.failed(error, self.elapsed())
            self._tell(exchange)

    def _tell(self, exchange: Exchange) -> None:
        if self._hear is None:
            return
        if exchange.end != "stopped":
            self._hear(exchange)
        if not self._kept.take(exchange.kept):
            exchange.forget()


class Line(httpx.AsyncBaseTransport):
    """The way of one action's requests. `last` is the exchange that is under way, or was."""

    def __init__(self, tap: Tap, job: str) -> None:
        self._tap = tap
        self._job = job
        self.last: Exchange | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on. Raises what the way raises."""
        tap = self._tap
        exchange = self.last = tap.begin(self._job, request)
        _listen(request, exchange)
        request.extensions["exchange"] = exchange
        request.extensions["failed"] = lambda error: tap.failed(exchange, error)
        try:
            answer = await tap.network().handle_async_request(request)
        except RunError as error:
            tap.failed(exchange, error)
            raise
        except asyncio.CancelledError:
            exchange.over("stopped", tap.elapsed())  # or a time limit is over: who set it says so
            raise
        exchange.answered(answer.status_code, list(answer.headers.multi_items()), tap.elapsed())
        if isinstance(answer.stream, httpx.AsyncByteStream):
            answer.stream = _Heard(answer, exchange, tap, request.url.netloc.decode("ascii", "replace"))
            answer.headers.pop("content-encoding", None)  # it is undone here
        answer.extensions["failed"] = request.extensions["failed"]
        return answer

    def noted(self, value: Any) -> None:
        """What `output` made of the next message."""
        if self.last is not None and self.last.is_whole:
            self.last.extracted.append(value)


def _listen(request: httpx.Request, exchange: Exchange) -> None:
    """Note the body: at once where it is there, else on its way out."""
    try:
        exchange.sent.add(request.content)
    except httpx.RequestNotRead:
        request.stream = _Told(cast("httpx.AsyncByteStream", request.stream), exchange)


class _Told(httpx.AsyncByteStream):
    """A body on its way out."""

    def __init__(self, stream: httpx.AsyncByteStream, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            self._exchange.sent.add(data)
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Heard(httpx.AsyncByteStream):
    """A body on its way in, decompressed."""

    def __init__(self, answer: httpx.Response, exchange: Exchange, tap: Tap, host: str) -> None:
        self._stream = cast("httpx.AsyncByteStream", answer.stream)
        self._encoding = answer.headers.get("content-encoding")
        self._exchange = exchange
        self._tap = tap
        self._host = host
        self._pieces: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            if self._pieces is None:
                pieces = aiter(self._stream)
                self._pieces = inflated(pieces, self._encoding, self._host) if self._encoding else pieces
            data = await anext(self._pieces)
        except StopAsyncIteration:
            self._tap.end(self._exchange, "end")
            raise
        except RunError as error:
            self._tap.failed(self._exchange, error)
            raise
        self._exchange.hear(data, self._tap.elapsed())
        return data

    async def aclose(self) -> None:
        task = asyncio.current_task()
        is_stopped = task is not None and task.cancelling()
        self._tap.end(self._exchange, "stopped" if is_stopped else "left")
        await self._stream.aclose()
