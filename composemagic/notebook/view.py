"""What shows a run below its cell: a live widget while it runs, a static copy in the saved notebook afterwards.

A run tells its deltas on the private loop's thread, where this file only sets widget traits and updates displays by their
id: `print` or `display` there would land in other cells. What is pushed is budgeted, because the page pays for every push:
the text again at most 30 times a second and at most 200,000 characters a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

from composemagic.engine.events import Answered, Delta, Event, Notice, RunFailed, RunFinished, RunStopped
from composemagic.engine.run import Run
from composemagic.engine.summary import summary
from composemagic.notebook.markdown import Growing, render
from composemagic.text import plain

__all__ = ["Live", "Plain", "bundle"]

_PUSH_SECONDS = 1 / 30
_CHARACTERS_PER_SECOND = 200_000
_TICK_SECONDS = 0.25
_SPINNER = "◐◓◑◒"
_SMALL = "font-size:90%;color:var(--jp-ui-font-color2,#616161)"
_RED = "color:var(--jp-error-color1,#b00020)"


class Live:
    """A run in a notebook with widgets: header with Stop, growing text; at the end a static copy under the same display id.

    `show()` puts it below the running cell; with `display_id` given, it takes the place of what was displayed under it.
    `closed` is set once the static copy has been sent.
    """

    def __init__(self, title: str, *, display_id: str | None = None, tell_errors: bool = False) -> None:
        self.display_id = display_id or f"compose-{uuid.uuid4().hex[:12]}"
        self.closed = threading.Event()
        self._title = title
        self._is_new = display_id is None
        self._tell_errors = tell_errors
        self._growing = Growing()
        self._lines: list[str] = []
        self._notes: list[str] = []
        self._is_json = False
        self._deltas = 0
        self._last_push = 0.0
        self._cost = 0.0
        self._pending: asyncio.TimerHandle | None = None
        self._begun = time.monotonic()
        self._run: Run | None = None
        self._build()

    def _build(self) -> None:
        import ipywidgets as widgets

        self._header = widgets.HTML(self._headline())
        self._stop = widgets.Button(description="Stop", icon="stop", layout=widgets.Layout(width="80px"))
        self._stop.on_click(lambda _: self._run.cancel() if self._run else None)
        self._output = widgets.Output()
        self._box = widgets.VBox([widgets.HBox([self._stop, self._header]), self._output])
        unpin(self._stop)

    def show(self) -> None:
        """Display the live widget; to be called on the cell's own thread."""
        from IPython.display import display

        display(
            self._widget_bundle(), raw=True, display_id=self.display_id, **({} if self._is_new else {"update": True})
        )

    def follow(self, run: Run) -> None:
        """Show what this run says, from its first event on."""
        self._run = run
        run.subscribe(self._receive)

    def _widget_bundle(self) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        return {"application/vnd.jupyter.widget-view+json": view, "text/plain": f"{plain(self._title)} is running ..."}

    # -- on the private loop's thread ----------------------------------------------------------------------------------
    def _receive(self, batch: list[Event]) -> None:
        for event in batch:
            match event:
                case Delta(value):
                    self._add(value)
                case Notice(sentence):
                    self._notes.append(sentence)
                case Answered():
                    pass
                case RunFinished() | RunStopped() | RunFailed():
                    self._close(event)
                    return
        self._push_when_due()

    def _add(self, value: Any) -> None:
        self._deltas += 1
        if isinstance(value, str):
            self._growing.add(value)
        else:
            self._lines.append(_shown(value))

    def _push_when_due(self) -> None:
        """Push now, or once the budget allows: the same characters sent again count as much as new ones."""
        if self._pending is not None:
            return
        length = len(self._growing.text) + sum(map(len, self._lines))
        # rendering an unfinished block costs CPU too: at most a fifth of the time goes into it
        pause = max(_PUSH_SECONDS, length / _CHARACTERS_PER_SECOND, 4 * self._cost)
        wait = self._last_push + pause - time.monotonic()
        if wait <= 0:
            self._push()
        loop = asyncio.get_running_loop() if _on_a_loop() else None
        if loop is not None:
            self._pending = loop.call_later(max(wait, 0.0) or _TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._pending = None
        if not self.closed.is_set():
            self._push_when_due()

    def _push(self) -> None:
        begun = time.monotonic()
        body = self._growing.html() if self._growing.text else _preformatted("\n".join(self._lines))
        self._output.outputs = (
            {"output_type": "display_data", "data": {"text/html": body, "text/plain": ""}, "metadata": {}},
        )
        self._header.value = self._headline()
        self._last_push = time.monotonic()
        self._cost = self._last_push - begun

    def _headline(self) -> str:
        elapsed = time.monotonic() - self._begun
        frame = _SPINNER[int(elapsed / _TICK_SECONDS) % len(_SPINNER)]
        words = [f"{elapsed:.0f} s", *([f"{self._deltas} deltas"] if self._deltas else []), *self._notes[-1:]]
        return (
            f'{frame} <b>{html.escape(plain(self._title))}</b> <span style="{_SMALL}">'
            f"{html.escape(' · '.join(plain(word) for word in words))}</span>"
        )

    def _close(self, last: Event) -> None:
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        run = self._run
        assert run is not None
        try:
            publish(bundle(run, last, tell_errors=self._tell_errors), self.display_id)
            self._output.outputs = ()  # or the text stands twice
            for widget in (self._stop, self._header, self._output, *self._box.children, self._box):
                widget.close()
        finally:
            self.closed.set()


class Plain:
    """A run where no widgets are wanted: text streams to stdout, notes and the footer to stderr."""

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def show(self) -> None:
        """Nothing is shown before the first delta."""

    def follow(self, run: Run) -> None:
        """Print what this run says until it ends; an interrupt stops the run and goes on as KeyboardInterrupt."""
        wrote = False
        for event in run:
            match event:
                case Delta(value):
                    wrote = True
                    sys.stdout.write(plain(value) if isinstance(value, str) else _shown(value) + "\n")
                    if sys.stdout.isatty():
                        sys.stdout.flush()
                case Notice(sentence) if not self._quiet:
                    print(plain(sentence), file=sys.stderr)
                case RunFinished(output) if not wrote and output is not None:
                    sys.stdout.write(_shown(output))
                    wrote = True
        if wrote:
            sys.stdout.write("\n")
        if not self._quiet:
            print(summary(run), file=sys.stderr)


def unpin(button: Any) -> None:
    """Let the front end's own subshell take a button's clicks, so that they arrive while the main thread waits.

    ipykernel 7 pins a comm to the shell that made it, through a private attribute.
    """
    with contextlib.suppress(AttributeError):
        del button.comm._reply_subshell_id


def publish(data: Mapping[str, str], display_id: str) -> None:
    """Replace what is displayed under an id; callable from any thread."""
    from IPython.display import display

    display(dict(data), raw=True, display_id=display_id, update=True)


def bundle(run: Run, last: Event | None = None, *, tell_errors: bool = True) -> dict[str, str]:
    """A run as `text/html` and `text/plain`, as it stands in a saved notebook."""
    error = run.error if tell_errors else None
    notes = [event.sentence for event in run.events if isinstance(event, Notice)]
    text, is_text = run.text, _is_prose(run)
    head = "".join(f'<div style="{_SMALL}">{html.escape(plain(note))}</div>' for note in notes)
    body = render(text) if is_text else _preformatted(_pretty(run))
    problem = f'<pre style="{_RED}">{html.escape(plain(str(error)))}</pre>' if error else ""
    foot = f'<div style="{_SMALL}">{html.escape(summary(run))}</div>'
    lines = [*notes, plain(text) if is_text else _pretty(run), *([plain(str(error))] if error else []), summary(run)]
    return {"text/html": f"{head}{body}{problem}{foot}", "text/plain": "\n".join(line for line in lines if line)}


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


def _preformatted(text: str) -> str:
    return f'<pre style="white-space:pre-wrap">{html.escape(text)}</pre>' if text else ""


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
