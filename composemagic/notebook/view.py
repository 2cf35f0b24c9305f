"""What shows a run below its cell.

Live     a widget while the run goes on, and a static copy in its place at the end: notebook front ends
Still    the static copy only: nbconvert, papermill, wherever nobody sits in front of the kernel
Plain    text on stdout: terminals
Quiet    nothing

Each is used in this order: `show()`, `follow(run)`, `finish(run)`, all on the cell's thread. A run tells its deltas on the
private loop's thread, where this file only sets widget traits and updates displays by their id: `print` or `display` there
would land in other cells. What is pushed is budgeted, because the page pays for every push: at most 14 messages and
200,000 bytes a second.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from composemagic.engine.events import Delta, Event, Interrupted, Notice, Point, Resumed, RunStarted, Waiting
from composemagic.engine.loop import private_loop
from composemagic.engine.record import is_last
from composemagic.engine.run import Run
from composemagic.notebook import jobs
from composemagic.notebook.ask import Ask
from composemagic.notebook.lights import Lights
from composemagic.notebook.look import FRAME, SMALL, STYLE, clipped, escaped
from composemagic.notebook.pace import Alarm
from composemagic.notebook.plain import Plain
from composemagic.notebook.still import Still, bundle
from composemagic.notebook.streams import Midway, Streams
from composemagic.notebook.waits import Waits
from composemagic.notebook.widget import unpin, widget_bundle
from composemagic.text import plain
from composemagic.words import say

if TYPE_CHECKING:
    import ipywidgets as widgets

__all__ = ["Live", "Plain", "Quiet", "Still", "View", "bundle"]

_TEXT_SECONDS = 1 / 10
_LINES_SECONDS = 1 / 5  # for the jobs' lines, and the picture of them
_HEAD_SECONDS = 1 / 4
_TOGETHER = 1 / 10  # that the header waits for the text: messages that go together wake the kernel's threads once
_SLACK = 1 / 50  # that what is due waits for the next delta, which wakes the loop in any case
_SECONDS_SHOWN = 1.0  # how often the seconds of jobs that run are shown anew
_SMALL_BODY = 20_000  # characters that are sent for that alone
_BYTES_PER_SECOND = 160_000  # of 200,000: messages have heads, and HTML in JSON has escapes
_PICTURE_BYTES = 20_000  # of them a second, for the picture of the jobs
_SHORT = 0.4  # seconds of a run that is over before anybody could look at a picture
_NARROW = 400  # pixels of a picture that leaves room beside it
_CLOSE_SECONDS = 2.0
_SPINNER = "◐◓◑◒"


class View(Protocol):
    """What shows one run. `attended`: somebody can answer there what the run asks."""

    attended: bool

    def show(self) -> None:
        """Take the place below the cell, before the run starts."""

    def follow(self, run: Run) -> None:
        """Show what the run says, from its first event on."""

    def finish(self, run: Run) -> None:
        """The run has ended: leave what is to stay."""


class Quiet:
    """Nothing of a run; nobody is asked anything."""

    attended = False

    def show(self) -> None:
        """Nothing."""

    def follow(self, run: Run) -> None:
        """Nothing."""

    def finish(self, run: Run) -> None:
        """Nothing."""


class Live:
    """A run in a notebook with widgets: header with Stop, jobs, growing text; at the end a static copy under the same id.

    With `display_id` given, it takes the place of what was displayed under it; `place` puts what it shows somewhere else
    altogether. `tell_errors` puts a failed run's error into
    the static copy, where no cell raises it. `stop` is false where another Stop button stands nearby, `attended` where no
    click arrives while the run goes on. `closed` gets its result once the static copy has been sent; its exception is what
    went wrong in here, never in the run.
    """

    def __init__(
        self,
        title: str,
        *,
        display_id: str | None = None,
        tell_errors: bool = False,
        stop: bool = True,
        attended: bool = True,
        place: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.display_id = display_id or f"compose-{uuid.uuid4().hex[:12]}"
        self.closed: Future[None] = Future()
        self.attended = attended
        self._title = title
        self._is_new = display_id is None
        self._place = place
        self._tell_errors = tell_errors
        self._run: Run | None = None
        self._streams = Streams()
        self._waits = Waits()
        self._ask: Ask | None = None
        self._deltas = 0
        self._note = ""
        self._failure: Exception | None = None
        self._begun = time.monotonic()
        self._heard: list[Event] = []
        self._has_text = False  # that was not pushed yet
        self._has_lines = False  # jobs may have another line
        self._size = 0
        self._due = 0.0  # when there is something to push, at the earliest
        self._text_due = self._lines_due = 0.0
        self._head_pushed, self._head_due = self._begun, self._begun + _HEAD_SECONDS
        self._lights: Lights | None = None
        self._midway: Midway | None = None
        self._picture: widgets.HTML | None = None
        self._picture_due = self._begun + _SHORT
        self._is_moved = False  # a job's status may have changed
        self._alarm = Alarm(self._tick)
        self._build(stop)

    def _build(self, stop: bool) -> None:
        """Few widgets, since each is a message at the beginning and one at the end: all share one layout."""
        import ipywidgets as widgets

        layout = widgets.Layout(width="auto", flex="0 1 auto")
        self._header = row = widgets.HTML(self._headline(), layout=layout)
        self._output = widgets.Output(layout=layout)
        self._widgets = [self._header, self._header.style, self._output, layout]
        if stop:
            stopping = widgets.Button(description=say("Stop"), icon="stop", layout=layout)
            stopping.on_click(lambda _: self._run.cancel() if self._run else None)
            unpin(stopping)
            row = widgets.HBox([stopping, self._header], layout=layout)
            self._widgets += [stopping, stopping.style, row]
        self._box = widgets.VBox([row, self._output], layout=layout)
        self._widgets.append(self._box)

    def show(self) -> None:
        """Display the live widget."""
        from IPython.display import display

        data = widget_bundle(self._box, say("{title} is running ...", title=plain(self._title)))
        if self._place:
            self._place(data)
        else:
            display(data, raw=True, display_id=self.display_id, **({} if self._is_new else {"update": True}))

    def follow(self, run: Run) -> None:
        """Show what the run says. Everything here then happens on the private loop's thread, and needs no lock."""
        self._run, self._midway = run, Midway(run, self._streams)
        private_loop().loop.call_soon_threadsafe(run.subscribe, self._receive)

    def finish(self, run: Run) -> None:
        """Wait until the static copy has been sent, at most 2 seconds. Raises what went wrong while showing."""
        with contextlib.suppress(TimeoutError):
            self.closed.result(_CLOSE_SECONDS)

    # -- on the private loop's thread ----------------------------------------------------------------------------------
    def _receive(self, batch: list[Event]) -> None:
        """Take what the run says. A view that fails says so in `closed`; the run must not suffer from it.

        Deltas only add up while the page cannot take more: they are read all at once, not each of them as it comes.
        """
        self._heard += batch
        if self._has_text and time.monotonic() < self._due and all(type(event) is Delta for event in batch):
            return
        run = self._run
        assert run is not None
        is_over = is_last(batch[-1])
        try:
            self._take(run)
            if not (self._failure or is_over):
                self._push_when_due()
        except Exception as error:
            self._failure = error
        if is_over and not self.closed.done():
            self._close(run)

    def _take(self, run: Run) -> None:
        heard, self._heard = self._heard, []
        for event in heard:
            self._waits.hear(event)
            if type(event) is not Delta:
                self._hear(run, event)
                continue
            if not self._deltas:
                self._head_due = 0.0  # it said that it waits
            self._deltas += 1
            self._has_text = True
            self._streams.add(run, event)

    def _hear(self, run: Run, event: Event) -> None:
        """Take what is no delta."""
        match event:
            case Notice(sentence):
                self._note = self._note if sentence in run.plan.notes else sentence
            case Waiting():
                self._head_soon()
            case Interrupted() if run.points:
                self._ask_people(run, run.points)
            case Resumed(answered) if self._ask:
                self._ask.drop(answered)
                self._has_lines = True
            case RunStarted():
                self._has_lines = jobs.are_several(run)
                self._lights = Lights(run)
            case _:
                self._has_lines = self._has_lines or jobs.are_several(run)
        self._is_moved = self._is_moved or (bool(self._lights) and not isinstance(event, Notice | Waiting))

    def _make_room(self, lights: Lights) -> widgets.HTML:
        """A place for the picture of the jobs: above their lines, a narrow one beside them."""
        import ipywidgets as widgets

        shared = {"layout": self._header.layout}
        picture = widgets.HTML(style=self._header.style, **shared)
        self._widgets.append(picture)
        parts: list[widgets.Widget] = [picture, self._output]
        if lights.width < _NARROW:
            parts = [widgets.HBox(parts, **shared)]
            self._widgets += parts
        head, _, *rest = self._box.children
        self._box.children = [head, *parts, *rest]
        return picture

    def _ask_people(self, run: Run, points: Sequence[Point]) -> None:
        if self._ask is None:
            if self._lights and self._picture is None:  # what is put above a question later would make its field anew
                self._picture = self._make_room(self._lights)
            self._ask = Ask(run)
            self._box.children = [*self._box.children, self._ask.box]
        self._ask.show(points)
        self._has_lines = True
        self._head_soon()

    def _head_soon(self) -> None:
        """The header has something to say, though not more often than the text has."""
        self._head_due = min(self._head_due, self._head_pushed + _TEXT_SECONDS)

    def _push_when_due(self) -> None:
        """Push what the budget allows, and come back for the rest; the header moves in any case, to show that it runs."""
        now = time.monotonic()
        is_head_due = now >= self._head_at()
        if self._midway and now >= self._text_due and self._midway.look():
            self._has_lines = True
        if now >= self._text_at():
            self._push_text()
        if is_head_due:
            self._header.value = self._headline()
            self._head_pushed, self._head_due = now, now + _HEAD_SECONDS
            self._has_lines = self._has_lines or self._has_old_seconds(now)
        if self._is_moved and now >= self._picture_due:
            self._push_picture(now)
        self._due = min(self._head_at(), self._text_at(), self._picture_due if self._is_moved else math.inf)
        self._alarm.at(self._due + _SLACK)

    def _head_at(self) -> float:
        """When the header moves: with the text where that follows at once."""
        text = self._text_at()
        return text if self._head_due <= text <= self._head_due + _TOGETHER else self._head_due

    def _text_at(self) -> float:
        """When what stands below the header may be pushed: a text sooner than lines of which only a word has changed."""
        if self._has_text:
            return self._text_due
        return max(self._text_due, self._lines_due) if self._has_lines else math.inf

    def _has_old_seconds(self, now: float) -> bool:
        """Whether the seconds of jobs that run should be shown anew."""
        several = self._run is not None and jobs.are_several(self._run)
        return several and self._size < _SMALL_BODY and now >= self._text_due + _SECONDS_SHOWN

    def _tick(self) -> None:
        try:
            if self._run is not None:
                self._take(self._run)
            self._push_when_due()
        except Exception as error:
            self._failure = error

    def _push_text(self) -> None:
        begun = time.monotonic()
        body = self._body()
        data = {"text/html": f"{FRAME}{body}</div>", "text/plain": ""}
        self._output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
        self._has_text = self._has_lines = False
        self._size = len(body.encode("utf-8", "surrogatepass"))
        now = time.monotonic()
        # what was there is sent again with every push, and rendering an unfinished block costs CPU: at most a fifth of the time
        rate = _BYTES_PER_SECOND - (_PICTURE_BYTES if self._lights else 0)
        self._text_due = begun + max(_TEXT_SECONDS, self._size / rate, 5 * (now - begun))
        self._lines_due = begun + _LINES_SECONDS

    def _push_picture(self, now: float) -> None:
        self._is_moved = False
        if self._lights and (picture := self._lights.news()):
            self._picture = self._picture or self._make_room(self._lights)
            least = f"min-width:{self._lights.width:g}px" if self._lights.width < _NARROW else ""
            self._picture.value = f'{FRAME}<div style="margin:4px 16px 4px 2px;{least}">{picture}</div></div>'
            self._picture_due = now + max(_LINES_SECONDS, len(picture) / _PICTURE_BYTES)

    def _body(self) -> str:
        run = self._run
        if run is None or self._midway is None or not jobs.are_several(run):
            return self._streams.html()
        return jobs.html_lines(run, self._midway.beneath)

    def _headline(self) -> str:
        elapsed = time.monotonic() - self._begun
        asks = self._run is not None and self._run.status == "interrupted"
        frame = "?" if asks else _SPINNER[int(elapsed / _HEAD_SECONDS) % len(_SPINNER)]
        words = " · ".join([say("{seconds} s", seconds=f"{elapsed:.0f}"), *self._progress(asks=asks)])
        title = escaped(clipped(self._title))
        first = f'{frame} <b>{title}</b> &nbsp;<span style="{SMALL}">{escaped(clipped(words))}</span>'
        several = self._run is not None and jobs.are_several(self._run)
        waits = "".join(f"<div>↻ {escaped(line)}</div>" for line in self._waits.lines(with_jobs=several))
        return f'{STYLE}<div class="compose-head" style="margin:0 2px">{first}{waits}</div>'

    def _progress(self, *, asks: bool) -> list[str]:
        several = self._run is not None and jobs.are_several(self._run)
        told = [jobs.overview(self._run)] if several and self._run else []
        if asks:
            return told or [say("waits for your answer")]
        if self._deltas:
            count = say("1 delta") if self._deltas == 1 else say("{count} deltas", count=self._deltas)
            return [*told, count]
        return told or [self._note or say("waiting for the first delta")]

    def _close(self, run: Run) -> None:
        self._alarm.stop()
        try:
            data = bundle(run, tell_errors=self._tell_errors, texts=self._streams.texts())
            if self._place:
                self._place(data)
            else:
                _publish(data, self.display_id)
            if self._ask:
                self._ask.close()
            for widget in self._widgets:
                widget.close()
        except Exception as error:
            self._failure = error
        if self._failure is None:
            self.closed.set_result(None)
        else:
            self.closed.set_exception(self._failure)


def _publish(data: Mapping[str, str], display_id: str) -> None:
    """Replace what is displayed under an id."""
    from IPython.display import display

    display(dict(data), raw=True, display_id=display_id, update=True)
