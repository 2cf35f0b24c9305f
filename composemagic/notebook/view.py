"""What shows a run below its cell.

Live     a widget while the run goes on, and a static copy in its place at the end: notebook front ends
Still    the static copy only: nbconvert, papermill, wherever nobody sits in front of the kernel
Plain    text on stdout: terminals

Each is used in this order: `show()`, `follow(run)`, `finish(run)`, all on the cell's thread. A run tells its deltas on the
private loop's thread, where this file only sets widget traits and updates displays by their id: `print` or `display` there
would land in other cells. What is pushed is budgeted, because the page pays for every push: at most 16 messages and
200,000 characters a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import sys
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from composemagic.engine.events import Delta, Event, Notice, RunFailed, RunFinished, RunStopped
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from composemagic.engine.summary import summary
from composemagic.notebook.markdown import Growing, render
from composemagic.text import plain

__all__ = ["Live", "Plain", "Still", "View", "bundle", "unpin", "widget_bundle"]

_TEXT_SECONDS = 1 / 12
_HEAD_SECONDS = 1 / 4
_CHARACTERS_PER_SECOND = 200_000
_CLOSE_SECONDS = 2.0
_SPINNER = "◐◓◑◒"
_HEAD_WORDS = 90
_SMALL = "font-size:90%;color:var(--jp-ui-font-color2,#616161)"
_FAINT = "font-size:80%;line-height:1.5;color:var(--jp-ui-font-color2,#616161)"
_RED = "color:var(--jp-error-color1,#b00020)"
_STYLE = (
    "<style>.compose-answer.mathjax_ignore pre{background:var(--jp-cell-editor-background,#f5f5f5);padding:8px 12px;"
    "margin:8px 0 12px;overflow-x:auto;white-space:pre;word-break:normal;border-radius:2px}"
    ".compose-answer.mathjax_ignore pre code{background:none;padding:0;white-space:inherit}"
    ".compose-answer.mathjax_ignore pre.compose-words{background:none;padding:0;white-space:pre-wrap}</style>"
)
# titles, notes and errors may hold `$` as well: no TeX outside the answer either
_FRAME = '<div class="compose-answer mathjax_ignore tex2jax_ignore">'


class View(Protocol):
    """What shows one run."""

    def show(self) -> None:
        """Take the place below the cell, before the run starts."""

    def follow(self, run: Run) -> None:
        """Show what the run says, from its first event on."""

    def finish(self, run: Run) -> None:
        """The run has ended: leave what is to stay."""


class Live:
    """A run in a notebook with widgets: header with Stop, growing text; at the end a static copy under the same display id.

    With `display_id` given, it takes the place of what was displayed under it. `tell_errors` puts a failed run's error into
    the static copy, where no cell raises it. `stop` is false where another Stop button stands nearby. `closed` gets its
    result once the static copy has been sent; its exception is what went wrong in here, never in the run.
    """

    def __init__(
        self, title: str, *, display_id: str | None = None, tell_errors: bool = False, stop: bool = True
    ) -> None:
        self.display_id = display_id or f"compose-{uuid.uuid4().hex[:12]}"
        self.closed: Future[None] = Future()
        self._title = title
        self._is_new = display_id is None
        self._tell_errors = tell_errors
        self._run: Run | None = None
        self._growing = Growing()
        self._values: list[str] = []
        self._deltas = 0
        self._note = ""
        self._failure: Exception | None = None
        self._begun = time.monotonic()
        self._is_stale = False
        self._text_due = 0.0
        self._head_due = self._begun + _HEAD_SECONDS
        self._timer: asyncio.TimerHandle | None = None
        self._build(stop)

    def _build(self, stop: bool) -> None:
        """Few widgets, since each is a message at the beginning and one at the end: all share one layout."""
        import ipywidgets as widgets

        layout = widgets.Layout(width="auto", flex="0 1 auto")
        self._header = row = widgets.HTML(self._headline(), layout=layout)
        self._output = widgets.Output(layout=layout)
        self._widgets = [self._header, self._header.style, self._output, layout]
        if stop:
            button = widgets.Button(description="Stop", icon="stop", layout=layout)
            button.on_click(lambda _: self._run.cancel() if self._run else None)
            unpin(button)
            row = widgets.HBox([button, self._header], layout=layout)
            self._widgets += [button, button.style, row]
        self._box = widgets.VBox([row, self._output], layout=layout)
        self._widgets.append(self._box)

    def show(self) -> None:
        """Display the live widget."""
        from IPython.display import display

        data = widget_bundle(self._box, f"{plain(self._title)} is running ...")
        display(data, raw=True, display_id=self.display_id, **({} if self._is_new else {"update": True}))

    def follow(self, run: Run) -> None:
        """Show what the run says. Everything here then happens on the private loop's thread, and needs no lock."""
        self._run = run
        private_loop().loop.call_soon_threadsafe(run.subscribe, self._receive)

    def finish(self, run: Run) -> None:
        """Wait until the static copy has been sent, at most 2 seconds. Raises what went wrong while showing."""
        with contextlib.suppress(TimeoutError):
            self.closed.result(_CLOSE_SECONDS)

    # -- on the private loop's thread ----------------------------------------------------------------------------------
    def _receive(self, batch: list[Event]) -> None:
        """Take what the run says. A view that fails says so in `closed`; the run must not suffer from it."""
        try:
            self._take(batch)
        except Exception as error:
            self._failure = error
        if _is_last(batch[-1]) and not self.closed.done():
            self._close()

    def _take(self, batch: list[Event]) -> None:
        has_timer = self._is_stale
        for event in batch:
            match event:
                case Delta(value):
                    self._add(value)
                case Notice(sentence) if self._run and sentence not in self._run.plan.notes:
                    self._note = sentence
        if not (has_timer or self._failure or _is_last(batch[-1])):
            self._push_when_due()

    def _add(self, value: Any) -> None:
        if not self._deltas:
            self._head_due = 0.0  # it said that it waits
        self._deltas += 1
        self._is_stale = True
        if isinstance(value, str) and not (self._run and self._run.encoding == "json"):
            self._growing.add(value)
        else:
            self._values.append(_shown(value))

    def _push_when_due(self) -> None:
        """Push what the budget allows, and come back for the rest; the header moves in any case, to show that it runs."""
        now = time.monotonic()
        if self._is_stale and now >= self._text_due:
            self._push_text()
        if now >= self._head_due:
            self._header.value = self._headline()
            self._head_due = now + _HEAD_SECONDS
        due = min(self._head_due, self._text_due) if self._is_stale else self._head_due
        self._come_back(due - time.monotonic())

    def _come_back(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(max(seconds, 0.0), self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self._push_when_due()
        except Exception as error:
            self._failure = error

    def _push_text(self) -> None:
        begun = time.monotonic()
        body = self._body()
        data = {"text/html": f"{_FRAME}{body}</div>", "text/plain": ""}
        self._output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
        self._is_stale = False
        now = time.monotonic()
        # what was there is sent again with every push, and rendering an unfinished block costs CPU: at most a fifth of the time
        self._text_due = begun + max(_TEXT_SECONDS, len(body) / _CHARACTERS_PER_SECOND, 5 * (now - begun))

    def _body(self) -> str:
        return self._growing.html() if not self._values else _preformatted("\n".join(self._values))

    def _headline(self) -> str:
        elapsed = time.monotonic() - self._begun
        frame = _SPINNER[int(elapsed / _HEAD_SECONDS) % len(_SPINNER)]
        count = f"{self._deltas} delta{'s' if self._deltas > 1 else ''}"
        told = count if self._deltas else self._note or "waiting for the first delta"
        words = html.escape(_clipped(f"{elapsed:.0f} s · {told}"))
        title = html.escape(_clipped(self._title))
        return f'{_STYLE}<div style="margin:0 2px">{frame} <b>{title}</b> &nbsp;<span style="{_SMALL}">{words}</span></div>'

    def _close(self) -> None:
        run = self._run
        assert run is not None
        if self._timer is not None:
            self._timer.cancel()
        try:
            body = self._growing.html() if self._deltas and not self._values else None
            _publish(bundle(run, tell_errors=self._tell_errors, body=body), self.display_id)
            for widget in self._widgets:
                widget.close()
        except Exception as error:
            self._failure = error
        if self._failure is None:
            self.closed.set_result(None)
        else:
            self.closed.set_exception(self._failure)


class Still:
    """A run in a kernel that nobody watches: the static copy, sent once from the cell's own thread."""

    def show(self) -> None:
        """Nothing is shown before the end."""

    def follow(self, run: Run) -> None:
        """Nothing is shown before the end."""

    def finish(self, run: Run) -> None:
        """Display the static copy; the cell raises the error."""
        from IPython.display import display

        display(bundle(run, tell_errors=False), raw=True)


class Plain:
    """A run where no widgets are wanted: text streams to stdout, notes and the footer to stderr."""

    def show(self) -> None:
        """Nothing is shown before the first delta."""

    def follow(self, run: Run) -> None:
        """Print what this run says until it ends; an interrupt stops the run and goes on as KeyboardInterrupt."""
        wrote = ""
        try:
            for event in run:
                match event:
                    case Delta(value):
                        is_prose = isinstance(value, str) and run.encoding != "json"
                        wrote = _written(value if is_prose else _shown(value) + "\n")
                    case Notice():
                        print(plain(str(event)), file=sys.stderr)
                    case RunFinished(output) if not wrote and output is not None:
                        wrote = _written(_shown(output))
        finally:
            if wrote and not wrote.endswith("\n"):
                sys.stdout.write("\n")
            sys.stdout.flush()

    def finish(self, run: Run) -> None:
        """Print the footer."""
        print(summary(run), file=sys.stderr)


def unpin(button: Any) -> None:
    """Let the front end's own subshell take a button's clicks, so that they arrive while the main thread waits.

    ipykernel 7 pins a comm to the shell that sent its last message, through a private attribute.
    """
    with contextlib.suppress(AttributeError):
        del button.comm._reply_subshell_id


def widget_bundle(widget: Any, text: str) -> dict[str, Any]:
    """A widget as a front end wants it, and a text for places without widgets."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": view, "text/plain": text}


def bundle(run: Run, *, tell_errors: bool = True, body: str | None = None) -> dict[str, str]:
    """A run as `text/html` and `text/plain`, as it stands in a saved notebook.

    `body` is the answer's HTML where it has been rendered already.
    """
    error = str(run.error) if tell_errors and run.error else ""
    notes = [event for event in run.events if isinstance(event, Notice)]
    text, is_prose, last = run.text, _is_prose(run), summary(run)
    if body is None:
        body = render(text) if is_prose else _preformatted(_pretty(run))
    problem = f'<pre class="compose-words" style="{_RED}">{html.escape(plain(error))}</pre>' if error else ""
    foot = f'<div style="{_SMALL};margin-top:4px">{html.escape(last)}</div>'
    told = "".join(map(_note, notes))
    lines = [plain(text) if is_prose else _pretty(run), plain(error), last, *(plain(str(note)) for note in notes)]
    return {
        "text/html": f"{_STYLE}{_FRAME}{body}{problem}{foot}{told}</div>",
        "text/plain": "\n".join(line for line in lines if line),
    }


def _note(note: Notice) -> str:
    """A note, and below it the line of the document it is about: its caret needs the columns of a terminal."""
    drawn = note.mark.draw() if note.mark else ""
    line = f'<pre class="compose-words" style="{_FAINT}">{html.escape(plain(drawn))}</pre>' if drawn else ""
    return f'<div style="{_FAINT}">{html.escape(plain(note.sentence))}</div>{line}'


def _publish(data: Mapping[str, str], display_id: str) -> None:
    """Replace what is displayed under an id."""
    from IPython.display import display

    display(dict(data), raw=True, display_id=display_id, update=True)


def _is_last(event: Event) -> bool:
    return isinstance(event, RunFinished | RunStopped | RunFailed)


def _is_prose(run: Run) -> bool:
    """Whether the output is text for people, to be read as Markdown."""
    return run.encoding != "json" and (isinstance(run.output, str) or run.output is None)


def _pretty(run: Run) -> str:
    return plain(run.text) if run.encoding == "json" else _shown(run.output)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return plain(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def _written(text: str) -> str:
    """Write to stdout; a terminal shows it at once, a kernel in its own time: it stores an output for every flush."""
    sys.stdout.write(plain(text))
    if sys.stdout.isatty():
        sys.stdout.flush()
    return text


def _preformatted(text: str) -> str:
    return f'<pre class="compose-words">{html.escape(text)}</pre>' if text else ""


def _clipped(text: str) -> str:
    line = " ".join(plain(text).split())
    return line if len(line) <= _HEAD_WORDS else f"{line[: _HEAD_WORDS - 1]}…"
