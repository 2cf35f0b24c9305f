"""A run that is watched in a part of a face: what it has said so far, as HTML, and at the end its static copy."""

from __future__ import annotations

import time
from collections.abc import Callable

from composemagic.engine.events import Delta, Event, Interrupted, Notice, Resumed
from composemagic.engine.loop import private_loop
from composemagic.engine.record import is_last
from composemagic.engine.run import Run
from composemagic.notebook import jobs
from composemagic.notebook.look import FRAME, STYLE, clipped, escaped
from composemagic.notebook.still import bundle
from composemagic.notebook.streams import Midway, Streams
from composemagic.notebook.waits import Waits
from composemagic.threads import call_on
from composemagic.words import say

__all__ = ["SPINNER", "Watched", "opened_points"]

SPINNER = "◐◓◑◒"
_BEAT = 1 / 4


class Watched:
    """One run. `heard` is called with each batch of events after it was taken, on the private loop's thread.

    `is_over`: its last event was among them. `deltas` counts.
    """

    def __init__(self, run: Run, heard: Callable[[Watched, list[Event]], None]) -> None:
        self.run = run
        self.deltas = 0
        self.is_over = False
        self._is_stale = True
        self.failure: Exception | None = None
        self._heard = heard
        self._streams = Streams()
        self._midway = Midway(run, self._streams)
        self._waits = Waits()
        self._note = ""

    def follow(self) -> None:
        """Hear all that the run says."""
        call_on(private_loop().loop, self.run.subscribe, self._receive)

    def _receive(self, batch: list[Event]) -> None:
        try:
            for event in batch:
                self._take(event)
        except Exception as error:  # what is shown must not hurt what runs
            self.failure = error
        self._is_stale = True
        self.is_over = is_last(batch[-1])
        self._heard(self, batch)

    def _take(self, event: Event) -> None:
        self._waits.hear(event)
        match event:
            case Delta():
                self.deltas += 1
                self._streams.add(self.run, event)
            case Notice(sentence):
                self._note = self._note if sentence in self.run.plan.notes else sentence

    def has_news(self) -> bool:
        """Whether there is more than `html` gave last; to be asked on the private loop's thread."""
        self._is_stale = self._is_stale or self._midway.look()
        return self._is_stale

    @property
    def asks(self) -> bool:
        """Whether it waits for a person."""
        return self.run.status == "interrupted"

    def html(self) -> str:
        """What it has given so far."""
        self._midway.look()
        self._is_stale = False
        body = jobs.html_lines(self.run, self._midway.beneath) if jobs.are_several(self.run) else self._streams.html()
        lines = self._waits.lines(with_jobs=jobs.are_several(self.run))
        return f"{FRAME}{body}{''.join(f'<div>↻ {escaped(line)}</div>' for line in lines)}</div>"

    def words(self) -> str:
        """How far it is, as one line of text that moves."""
        elapsed = self.run.elapsed()
        frame = "?" if self.asks else SPINNER[int(time.monotonic() / _BEAT) % len(SPINNER)]
        return f"{frame} {' · '.join([say('{seconds} s', seconds=f'{elapsed:.0f}'), self._progress()])}"

    def _progress(self) -> str:
        if self.asks:
            return say("waits for your answer")
        if self.deltas:
            return say("1 delta") if self.deltas == 1 else say("{count} deltas", count=self.deltas)
        return clipped(self._note) or say("waiting for the first delta")

    def still(self) -> dict[str, str]:
        """The static copy, as `text/html` without the styles, and `text/plain`."""
        data = bundle(self.run, texts=self._streams.texts())
        return {**data, "text/html": data["text/html"].removeprefix(STYLE)}


def opened_points(batch: list[Event]) -> bool:
    """Whether people are asked, or have answered, in a batch of events."""
    return any(isinstance(event, Interrupted | Resumed) for event in batch)
