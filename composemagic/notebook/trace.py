"""A trace in a notebook: pictures of when, and every exchange message by message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from composemagic.engine.trace import MOST, Row, Trace, body_text, clipped_line, ending, message_line, shown_of
from composemagic.notebook.look import FAINT, FRAME, RED, SMALL, STYLE, clipped, escaped, folded, preformatted
from composemagic.picture.arrival import Series, arrival
from composemagic.picture.gantt import Bar, Lane, gantt
from composemagic.transport.exchange import Exchange
from composemagic.words import say

__all__ = ["series_of", "shown"]

_LOOK = (
    "<style>.compose-answer .compose-wire{overflow:auto;max-height:22em}.compose-answer .compose-wire table{width:100%;table-layout:auto}"
    ".compose-answer .compose-wire td,.compose-answer .compose-wire th{padding:1px 8px;vertical-align:top;"
    "font-family:var(--jp-code-font-family,monospace);font-size:85%}"
    # long messages wrap, so that what was extracted is seen beside them
    ".compose-answer .compose-wire td{overflow-wrap:anywhere;white-space:normal}"
    ".compose-answer .compose-wire td:first-child{white-space:nowrap}.compose-answer .compose-wire td:last-child{min-width:9em}"
    "</style>"
)
_OPEN = 1  # exchanges whose messages are unfolded
_BODY = 200_000  # characters of all messages that are shown


def shown(trace: Trace) -> dict[str, str]:
    """A trace as `text/html` and `text/plain`."""
    parts = [_head(trace), _pictures(trace), *_exchanges(trace)]
    return {"text/html": f"{STYLE}{_LOOK}{FRAME}{''.join(parts)}</div>", "text/plain": str(trace)}


def _head(trace: Trace) -> str:
    requests = say("1 request") if trace.count == 1 else say("{count} requests", count=trace.count)
    words = [requests, say("{count} deltas", count=len(trace.deltas))]
    if trace.first_delta is not None:
        words.append(say("first delta {seconds} s", seconds=f"{trace.first_delta:.2f}"))
    words.append(say("total {seconds} s", seconds=f"{trace.total:.2f}"))
    error = f'<pre class="compose-words" style="{RED}">{escaped(trace.error.sentence)}</pre>' if trace.error else ""
    title = f"<b>{escaped(clipped(trace.title))}</b>"
    return f'<div style="margin:2px 0">{title} <span style="{SMALL}">{escaped(" · ".join(words))}</span></div>{error}'


# -- pictures ------------------------------------------------------------------------------------------------------------


def _pictures(trace: Trace) -> str:
    found = []
    if any(one.characters for one in trace.arrivals):
        found.append(arrival([series_of(trace, say("this run"))], say("How the text arrived")))
    if trace.jobs:
        found.append(gantt(list(_lanes(trace)), trace.total, say("Jobs, requests and waits over time")))
    return "".join(f'<div style="margin:6px 0">{picture}</div>' for picture in found)


def series_of(trace: Trace, label: str) -> Series:
    """How the run's text arrived."""
    counts = accumulate(one.characters for one in trace.arrivals)
    return Series(label, [(one.at, count) for one, count in zip(trace.arrivals, counts, strict=True)], trace.total)


def _lanes(trace: Trace) -> Iterator[Lane]:
    for job in dict.fromkeys(span.job for span in trace.jobs):
        yield Lane(job, [*_spans(trace, job), *_requests(trace, job), *_waits(trace, job)])


def _spans(trace: Trace, job: str) -> Iterator[Bar]:
    for span in trace.jobs:
        if span.job == job:
            end = trace.total if span.end is None else span.end
            kind = span.status if span.status in ("failed", "stopped") else "job"
            tip = f"{job} · {_times(span.start, end)}"
            yield from (Bar(start, stop, kind, tip) for start, stop in _between(span.start, end, trace, job))


def _between(start: float, end: float, trace: Trace, job: str) -> Iterator[tuple[float, float]]:
    """The parts of a stretch in which the job did not wait before another try."""
    for wait in trace.waits:
        if wait.job == job and start <= wait.at < end:
            yield start, wait.at
            start = min(end, wait.at + wait.seconds)
    if start < end:
        yield start, end


def _requests(trace: Trace, job: str) -> Iterator[Bar]:
    for exchange in trace.exchanges:
        if exchange.job == job:
            end = trace.total if exchange.ended_at is None else exchange.ended_at
            answer = "" if exchange.status is None else f" · {exchange.status}"
            yield Bar(
                exchange.at, end, "request", f"{exchange.method} {exchange.url}{answer} · {_times(exchange.at, end)}"
            )


def _waits(trace: Trace, job: str) -> Iterator[Bar]:
    for wait in trace.waits:
        if wait.job == job:
            yield Bar(wait.at, wait.at + wait.seconds, "wait", wait.reason)


def _times(start: float, end: float) -> str:
    return say("{start} s to {end} s", start=f"{start:.2f}", end=f"{end:.2f}")


# -- exchanges -----------------------------------------------------------------------------------------------------------


def _exchanges(trace: Trace) -> Iterator[str]:
    room = _BODY
    for exchange in trace.exchanges[:MOST]:
        html = _exchange(trace, exchange, is_open=exchange.number <= _OPEN, room=room)
        room -= len(html)
        yield html
    if trace.count > MOST:
        yield f'<div style="{SMALL}">{escaped(say("… {count} more requests", count=trace.count - MOST))}</div>'
    if not trace.exchanges:
        yield f'<div style="{SMALL}">{escaped(say("no request was sent"))}</div>'


def _exchange(trace: Trace, exchange: Exchange, *, is_open: bool, room: int) -> str:
    head = f"<b>{escaped(exchange.method)} {escaped(clipped(exchange.url))}</b>"
    status = "" if exchange.status is None else f" → {exchange.status}"
    dim = f'<span class="compose-dim">{escaped(status)} · {escaped(clipped(exchange.job))} · {escaped(_second(exchange.at))}</span>'
    rows = trace.rows(exchange)
    sent = folded(escaped(say("the request as sent")), _sent(exchange), is_open=False)
    answer = folded(escaped(say("the answer's headers")), _headers(exchange.answer_headers)) if exchange.status else ""
    foot = f'<div style="{FAINT}">{escaped(_second(exchange.ended_at or exchange.at))} {escaped(ending(exchange, len(rows)))}</div>'
    return folded(f"{head} {dim}", f"{sent}{answer}{_table(rows, room)}{foot}", is_open=is_open)


def _sent(exchange: Exchange) -> str:
    return _headers(exchange.headers) + preformatted(body_text(exchange.body))


def _headers(headers: Iterable[tuple[str, str]]) -> str:
    return preformatted("\n".join(f"{name}: {clipped_line(value)}" for name, value in headers))


def _table(rows: list[Row], room: int) -> str:
    """Each message with its time, and what was extracted from it."""
    if not rows:
        return ""
    if room <= 0:
        return f'<div style="{SMALL}">{escaped(say("… {count} more messages", count=len(rows)))}</div>'
    names = (say("second"), say("message as received"), say("extracted"))
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in names)
    lines = "".join(_line(row) for row in shown_of(rows))
    return f'<div class="compose-wire" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _line(row: Row | int) -> str:
    if isinstance(row, int):
        words = escaped(say("… {count} more messages", count=row))
        return f'<tr><td colspan="3" class="compose-dim">{words}</td></tr>'
    cells = [
        f"{row.message.at:.3f}",
        message_line(row),
        "" if row.extracted is None else f"“{clipped_line(row.extracted)}”",
    ]
    return f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in cells)}</tr>"


def _second(at: float) -> str:
    return say("{seconds} s", seconds=f"{at:.3f}")
