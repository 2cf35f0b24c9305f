"""A run as messages for the web page: what the one safe renderer makes of its output, and everything else as plain words.

    begin   {task, workflow, title, elapsed}                     what was shown of this run before goes
    text    {streams: [{id, job, label, html, opened, tail, whole}]}
            `html` ends what was opened and is finished; `opened` is behind that: a code block that goes on; `tail` closes
            it and takes the place of the last tail; without `whole` the tail is all there is to see
    head    {status, words, waits, jobs: [{id, status, line}], overview}
    note    {sentence}
    ask     {points: [{id, question, facts, value, hint, text}]}  all that are open; `text` is null where it cannot be changed
    end     {status, words, error, kind, output, nothing, asked, jobs, overview, text}
            `output` is HTML that takes the place of the streams, or null where they are all there is

A page that comes back gets all of it anew: the messages say how things stand and not what has happened, so that a break can
lose nothing. What is finished is sent once, and no more often than the connection takes it: while one message waits to be
read, what comes meanwhile becomes the next. `html`, `opened`, `tail`, `facts`, `value`, `output` and `asked` are HTML of ours without
any `style`, which the page's content policy forbids.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from composemagic.engine.events import Delta, Event, Interrupted, Notice, Point, Resumed, Waiting
from composemagic.engine.record import is_last
from composemagic.engine.run import Run
from composemagic.engine.summary import mark, summary
from composemagic.errors import RunError
from composemagic.notebook import jobs
from composemagic.notebook.look import clipped
from composemagic.notebook.questions import asked_html, editable, facts, fixed, hint, question
from composemagic.notebook.still import nothing
from composemagic.notebook.streams import News, Streams
from composemagic.notebook.tree import tree
from composemagic.notebook.waits import Waits
from composemagic.text import clean, plain
from composemagic.words import say

__all__ = ["NO_JOBS", "Shown", "message", "unbegun", "unstyled"]

NO_JOBS: dict[str, Any] = {"jobs": [], "overview": ""}

_TEXT_SECONDS = 1 / 15
_HEAD_SECONDS = 1 / 2
_HEARTBEAT_SECONDS = 10.0
_WAITS_SECONDS = 1 / 4  # a countdown must not skip a second
_BYTES_PER_SECOND = 2_000_000
_MOST_COPIED = 2_000_000  # characters
_STYLE = re.compile(r' style="([^"]*)"')  # in our HTML a `"` of a text is always `&quot;`
_CLASSES = {"text-align:left": "left", "text-align:center": "center", "text-align:right": "right"}


class Shown:
    """What one page is shown of one run; `about` are the facts of its first message. To be used on the loop that the run's readers are called on."""

    def __init__(self, run: Run, about: Mapping[str, Any]) -> None:
        self._run = run
        self._about = about
        self._streams = Streams()
        self._waits = Waits()
        self._notes: list[str] = []
        self._deltas = 0
        self._asks = False
        self._is_over = False
        self._has_news = asyncio.Event()
        self._text_due = self._head_due = 0.0
        self._sent_at = time.monotonic()
        self._last_head: dict[str, Any] = {}

    async def messages(self) -> AsyncIterator[bytes]:
        """Messages until the run has ended. Leaving early leaves the run alone."""
        leave = self._run.subscribe(self._hear)
        try:
            yield self._message("begin", {**self._about, "elapsed": self._run.elapsed()})
            is_over = False
            while not is_over:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._has_news.wait(), self._head_due - time.monotonic())
                await self._text_may_come()
                self._has_news.clear()
                is_over = self._is_over
                for one in self._news() or self._heartbeat():
                    yield one
            yield self._message("end", self._end())
        finally:
            leave()

    def _hear(self, batch: list[Event]) -> None:
        """Take what the run says, and render nothing: that waits until the page has room for it."""
        for event in batch:
            self._waits.hear(event)
            match event:
                case Delta():
                    self._head_due = self._head_due if self._deltas else 0.0
                    self._deltas += 1
                    self._streams.add(self._run, event)
                case Notice(sentence):
                    self._notes.append(plain(sentence))
                case Interrupted() | Resumed():
                    self._asks, self._head_due = True, 0.0
                case Waiting():
                    self._head_due = 0.0
                case _ if jobs.are_several(self._run):
                    self._head_due = 0.0
        self._is_over = is_last(batch[-1])
        self._has_news.set()

    async def _text_may_come(self) -> None:
        """What a person cannot read that fast is sent together; the end does not wait."""
        while not self._is_over and (left := self._text_due - time.monotonic()) > 0:
            self._has_news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_news.wait(), left)

    def _news(self) -> list[bytes]:
        begun = time.monotonic()
        found = [self._message("note", {"sentence": sentence}) for sentence in self._notes]
        self._notes = []
        if begun >= self._head_due and not self._is_over and (head := self._head()) != self._last_head:
            self._last_head = head
            found.append(self._message("head", head))  # before the text: that stands below its job's line
        if news := self._streams.news():
            found.append(self._message("text", {"streams": [_stream(one) for one in news]}))
        if self._asks:
            self._asks = False
            found.append(self._message("ask", {"points": [_point(self._run, point) for point in _ordered(self._run)]}))
        now = time.monotonic()
        # rendering an unfinished block costs CPU: at most a fifth of the time
        pause = max(_TEXT_SECONDS, sum(map(len, found)) / _BYTES_PER_SECOND, 5 * (now - begun))
        self._text_due = now + pause if found else now
        self._sent_at = now if found else self._sent_at
        return found

    def _message(self, event: str, data: Mapping[str, Any]) -> bytes:
        """A message without the run's secrets, wherever they may have got into its words."""
        return message(event, data, self._run.redact)

    def _heartbeat(self) -> list[bytes]:
        """A comment now and then where there is nothing to say: else nobody would notice that the other side is gone."""
        now = time.monotonic()
        if now - self._sent_at < _HEARTBEAT_SECONDS:
            return []
        self._sent_at = now
        return [b":\n\n"]

    # -- words ---------------------------------------------------------------------------------------------------------
    def _head(self) -> dict[str, Any]:
        waits = self._waits.lines(with_jobs=jobs.are_several(self._run))
        self._head_due = time.monotonic() + (_WAITS_SECONDS if waits else _HEAD_SECONDS)
        return {"status": self._run.status, "words": self._progress(), "waits": waits, **_jobs(self._run)}

    def _progress(self) -> str:
        if self._run.status == "interrupted":
            return say("waits for your answer")
        if self._deltas:
            return say("1 delta") if self._deltas == 1 else say("{count} deltas", count=self._deltas)
        return say("waiting for the first delta")

    def _end(self) -> dict[str, Any]:
        run = self._run
        error = run.error
        return {
            "status": run.status,
            "words": summary(run),
            "error": plain(error.sentence) if error else "",
            "kind": error.kind if error else "",
            "output": self._output(),
            "nothing": nothing(run),
            "asked": unstyled(asked_html(run)),
            "text": plain(run.text[:_MOST_COPIED]),
            **_jobs(run),
        }

    def _output(self) -> str | None:
        """The whole output where it is not one text, which has been sent."""
        value = self._run.output
        texts = self._streams.texts()
        if value is None or () in texts or nothing(self._run):
            return None
        return unstyled(tree(value, texts))


def message(event: str, data: Mapping[str, Any], redact: Callable[[str], str] = str) -> bytes:
    """One message of an event stream; JSON has no line breaks in it (HTML standard, 9.2)."""
    return f"event: {event}\ndata: {redact(clean(json.dumps(data, ensure_ascii=False)))}\n\n".encode()


def unbegun(error: RunError | None) -> dict[str, Any]:
    """The last message on a run that never began: somebody stopped it, or it could not."""
    status, sentence = ("failed", error.sentence) if error else ("stopped", "")
    return {
        "status": status,
        "words": mark(status),
        "error": plain(sentence),
        "kind": error.kind if error else "",
        "output": None,
        "nothing": "",
        "asked": "",
        "text": "",
        **NO_JOBS,
    }


def unstyled(html: str) -> str:
    """Our HTML without `style`: how a table's cell is aligned becomes a class, all else the page's style sheet says."""
    return _STYLE.sub(lambda found: f' class="{name}"' if (name := _CLASSES.get(found[1])) else "", html)


def _stream(news: News) -> dict[str, Any]:
    label = plain(clipped(" › ".join(map(str, news.path))))
    return {
        "id": json.dumps([news.job, *news.path]),
        "job": news.job,
        "label": label,
        "html": unstyled(news.step.frozen),
        "opened": unstyled(news.step.opened),
        "tail": unstyled(news.step.tail),
        "whole": news.is_whole,
    }


def _jobs(run: Run) -> dict[str, Any]:
    if not jobs.are_several(run):
        return NO_JOBS
    lines = [
        {"id": name, "status": state.status, "line": jobs.text_line(run, name)} for name, state in run.jobs.items()
    ]
    return {"jobs": lines, "overview": plain(jobs.overview(run))}


def _ordered(run: Run) -> list[Point]:
    """The open questions in the order in which the jobs are written."""
    places = {job: place for place, job in enumerate(run.jobs)}
    return sorted(run.points, key=lambda point: places.get(point.job_id, len(places)))


def _point(run: Run, point: Point) -> dict[str, Any]:
    text = editable(run, point)
    return {
        "id": point.id,
        "question": plain(run.redact(question(point))),
        "facts": unstyled(facts(run, point)),
        "value": unstyled(fixed(run, point.value)) if text is None else "",
        "hint": say("This value cannot be changed here.") if text is None else hint(point),
        "text": text,
    }
