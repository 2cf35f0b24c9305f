"""The trace of a run: what it sent and received, what it made of that, and when. Times are seconds since the run started."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from composemagic.engine.events import (
    Delta,
    Event,
    JobFailed,
    JobFinished,
    JobRouted,
    JobStarted,
    JobStopped,
    Waiting,
)
from composemagic.errors import RunError
from composemagic.text import clean, plain
from composemagic.transport.exchange import Exchange, Heard
from composemagic.transport.secrets import Redactor
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.transport.tap import Tap

__all__ = ["MOST", "Arrival", "Row", "Span", "Trace", "Wait"]

_LINE = 160  # characters of a message that are shown
_BEGINNING, _BEFORE = 40, 40  # of a long one: its first characters, and those before what was extracted
MOST = 100  # exchanges that are shown
_FIRST, _LAST = 120, 20  # messages that are shown of many


class Arrival(NamedTuple):
    """Deltas that arrived together: when, how many, and their characters."""

    at: float
    deltas: int
    characters: int


class Span(NamedTuple):
    """One execution of a job; `end` None where it is still under way. `status` as in `Run.jobs`."""

    job: str
    start: float
    end: float | None
    status: str


class Wait(NamedTuple):
    """What failed was tried again after so many seconds; `of` times at most."""

    job: str
    at: float
    seconds: float
    reason: str
    attempt: int
    of: int


class Row(NamedTuple):
    """A message, and what `output` made of it: text, JSON, or None where it was nothing."""

    message: Heard
    extracted: str | None


class Traced(Protocol):
    """What a trace needs to know of its run."""

    redact: Redactor
    status: str
    error: RunError | None

    def elapsed(self) -> float:
        """Seconds since the run started."""


class Trace:
    """What went over the wire, message by message, and what became of it.

    `exchanges` are the requests with their answers, retries as exchanges of their own; `jobs` the executions of jobs, `waits`
    what was waited before something was tried again, `arrivals` when deltas came, `deltas` the seconds of each of them.
    `str` of it is a text for people. Secrets are masked everywhere; of answers the first 8 MiB are kept.
    """

    def __init__(self, run: Traced, tap: Tap, title: str) -> None:
        self.title = title
        self.arrivals: list[Arrival] = []
        self.waits: list[Wait] = []
        self.jobs: list[Span] = []
        self._run = run
        self._tap = tap

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The requests and their answers, in the order they were sent."""
        return tuple(self._tap.exchanges)

    @property
    def count(self) -> int:
        """How many requests there were; of more than 5,000 the first are kept."""
        return self._tap.count

    @property
    def deltas(self) -> list[float]:
        """When each delta came."""
        return [one.at for one in self.arrivals for _ in range(one.deltas)]

    @property
    def first_delta(self) -> float | None:
        """When the first delta with text came."""
        return next((one.at for one in self.arrivals if one.characters), None)

    @property
    def total(self) -> float:
        """Seconds until the last thing that is known."""
        ends = [exchange.ended_at or exchange.at for exchange in self.exchanges]
        ends += [span.end or span.start for span in self.jobs] + [wait.at + wait.seconds for wait in self.waits]
        ends += [one.at for one in self.arrivals[-1:]]
        return max(ends, default=0.0)

    @property
    def status(self) -> str:
        """The run's status."""
        return self._run.status

    @property
    def error(self) -> RunError | None:
        """The error of a run that failed."""
        return self._run.error

    # -- while the run goes on -------------------------------------------------------------------------------------------
    def hear(self, batch: list[Event]) -> None:
        """Take what the run says, as it says it."""
        now = self._run.elapsed()
        deltas = [event for event in batch if type(event) is Delta]
        if deltas:
            characters = sum(len(one.value) if isinstance(one.value, str) else 1 for one in deltas)
            self.arrivals.append(Arrival(now, len(deltas), characters))
        for event in batch:
            match event:
                case JobStarted(job, at):
                    self.jobs.append(Span(job, at, None, "running"))
                case JobFinished(job, at):
                    self._ended(job, at, "done")
                case JobRouted(job, _, at):
                    self._ended(job, at, "routed")
                case JobFailed(job, _, at):
                    self._ended(job, at, "failed")
                case JobStopped(job, at):
                    self._ended(job, at, "stopped")
                case Waiting(seconds, reason, attempt, of, job):
                    self.waits.append(Wait(job, now, seconds, reason, attempt, of))

    def _ended(self, job: str, at: float, status: str) -> None:
        for place in range(len(self.jobs) - 1, -1, -1):
            if self.jobs[place].job == job and self.jobs[place].end is None:
                self.jobs[place] = Span(job, self.jobs[place].start, at, status)
                return

    # -- for people --------------------------------------------------------------------------------------------------------
    def rows(self, exchange: Exchange) -> list[Row]:
        """The messages of an exchange with what `output` made of each; without secrets."""
        found = iter(exchange.extracted)
        pieces = self._run.redact.pieces()
        rows = []
        for message in exchange.messages():
            is_chunk = message.text != "[DONE]" and message.event != "error"
            value = next(found, ...) if is_chunk else ...
            shown = None if value in (..., None) else self._shown(value, pieces)
            rows.append(Row(message, shown))
        if rest := pieces.end():
            rows[-1] = Row(rows[-1].message, (rows[-1].extracted or "") + rest)
        return rows

    def _shown(self, value: Any, pieces: Any) -> str:
        if isinstance(value, str):
            return str(pieces.add(value))
        return clean(json.dumps(self._run.redact.value(value), ensure_ascii=False, default=_kind))

    def __str__(self) -> str:
        shown = self.exchanges[:MOST]
        blocks = [plain(self.title), *("\n".join(self._lines(exchange)) for exchange in shown)]
        if len(self.jobs) > 1 or (self.jobs and not shown):
            blocks.insert(1, "\n".join(self._job_lines()))
        if not shown:
            blocks.append(say("no request was sent"))
        if self.count > len(shown):
            blocks.append(say("… {count} more requests", count=self.count - len(shown)))
        if self.error is not None:
            blocks.append(plain(self.error.sentence))
        return "\n\n".join(blocks)

    def __repr__(self) -> str:
        return f"<Trace {self.title!r}: {len(self.exchanges)} exchanges, {len(self.deltas)} deltas>"

    def _job_lines(self) -> Iterator[str]:
        for span in self.jobs:
            end = self.total if span.end is None else span.end
            yield f"[{plain(span.job)}]  {say('{start} s to {end} s', start=f'{span.start:.2f}', end=f'{end:.2f}')}"

    def _lines(self, exchange: Exchange) -> Iterator[str]:
        yield f"→ {_seconds(exchange.at)}  {exchange.method} {plain(exchange.url)}  [{plain(exchange.job)}]"
        yield from (f"    {plain(f'{name}: {value}')}" for name, value in exchange.headers)
        yield from (f"    {line}" for line in body_text(exchange.body).splitlines())
        if exchange.status is not None and exchange.answered_at is not None:
            yield f"← {_seconds(exchange.answered_at)}  {exchange.status} {plain(exchange.media_type)}".rstrip()
        rows = self.rows(exchange)
        for row in shown_of(rows):
            yield f"    {say('… {count} more messages', count=row)}" if isinstance(row, int) else _row_text(row)
        yield f"■ {_seconds(exchange.ended_at or exchange.at)}  {ending(exchange, len(rows))}"


def shown_of(rows: Sequence[Row]) -> list[Row | int]:
    """The rows to show: of many the first and the last, and between them how many are left out."""
    if len(rows) <= _FIRST + _LAST:
        return [*rows]
    return [*rows[:_FIRST], len(rows) - _FIRST - _LAST, *rows[-_LAST:]]


def ending(exchange: Exchange, messages: int) -> str:
    """How an exchange ended, and how much came."""
    words = [_how(exchange)]
    if exchange.status is not None:
        count = say("1 message") if messages == 1 else say("{count} messages", count=messages)
        words += [count, say("{count} bytes", count=f"{exchange.received:,}")]
    if not exchange.is_whole:
        words.append(say("not all of them kept"))
    return " · ".join(words)


def _how(exchange: Exchange) -> str:
    match exchange.end:
        case "end":
            return say("read to its end")
        case "left":
            return say("no more of it was wanted")
        case "stopped":
            return say("stopped")
        case "fault" if exchange.fault is not None:
            return plain(exchange.fault[1])
    return say("under way")


def body_text(body: Any) -> str:
    """A body as it was sent, for people: JSON indented."""
    if body is None:
        return ""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, indent=2)
    return plain(clean(text))


def clipped_line(text: str, most: int = _LINE) -> str:
    """A text on one line, clipped."""
    line = plain(clean(text[: 4 * most])).replace("\n", "↵").replace("\t", " ")
    return line if len(line) <= most and len(text) <= 4 * most else f"{line[: most - 1]}…"


def message_line(row: Row) -> str:
    """A message on one line; of a long one its beginning, and what stands around the text that was taken out of it."""
    text = f"{row.message.event}: {row.message.text}" if row.message.event else row.message.text
    start = _place_of(row.extracted or "", text) - _BEFORE
    if len(text) <= _LINE or start <= _BEGINNING:
        return clipped_line(text)
    return f"{clipped_line(text[:_BEGINNING])}…{clipped_line(text[start:], _LINE - _BEGINNING - 1)}"


def _place_of(extracted: str, text: str) -> int:
    """Where an extracted text stands in its message, as JSON spells it or as it is; -1 where it does not."""
    spellings = (json.dumps(extracted, ensure_ascii=False)[1:-1], json.dumps(extracted)[1:-1], extracted)
    # `"o"` and not the o of `"object"`; of two the later one: a key comes before its value
    quoted = (text.rfind(f'"{one}"') for one in spellings[:2])
    found = (*quoted, text.find(extracted)) if extracted else ()
    return next((place for place in found if place >= 0), -1)


def _row_text(row: Row) -> str:
    made = "" if row.extracted is None else f"  ⇒ {clipped_line(json.dumps(row.extracted, ensure_ascii=False))}"
    return f"    {_seconds(row.message.at)}  {message_line(row)}{made}"


def _seconds(at: float) -> str:
    return say("{seconds} s", seconds=f"{at:.3f}")


def _kind(value: Any) -> str:
    return f"<{type(value).__name__}>"
