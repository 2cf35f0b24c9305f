"""A race in a notebook: the same request with and without streaming, side by side, with a clock over each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from composemagic import racing
from composemagic.engine.events import Event
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from composemagic.notebook.attended import can_click
from composemagic.notebook.look import FRAME, SMALL, STYLE, escaped
from composemagic.notebook.pace import Pace
from composemagic.notebook.place import Place
from composemagic.notebook.still import output_text
from composemagic.notebook.trace import series_of
from composemagic.notebook.watched import Watched
from composemagic.notebook.widget import button, close, widget_bundle
from composemagic.picture.arrival import arrival
from composemagic.racing import Race
from composemagic.text import plain
from composemagic.threads import call_on
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["RaceBox", "race", "shown"]

_COLUMN = (
    "flex:1 1 200px;min-width:0;border:1px solid var(--jp-border-color2,rgba(128,128,128,.4));border-radius:4px;"
    "padding:6px 10px;margin:4px"
)
_CLOCK = "font-size:130%;font-variant-numeric:tabular-nums"
_STOP_SECONDS = 2.0
_WIDGETS = 14  # models of a box: each is a message at the beginning and one at the end


def race(
    workflow: Workflow, values: Mapping[str, Any] | None = None, keep: Callable[[Run], None] | None = None
) -> RaceBox:
    """Start both at once and give what shows them; a cell that ends with it does. Raises InputError.

    `keep` is called with both runs.
    """
    found = racing.start(workflow, values or {})
    if keep is not None:
        for run in found.runs:
            keep(run)
    return RaceBox(found, workflow.title)


class RaceBox:
    """The two runs side by side while they go on, and a static copy at their end. `race` has the times and the sentence."""

    def __init__(self, found: Race, title: str) -> None:
        self.race = found
        self.title = title
        self._lock = threading.Lock()
        self._is_closed = False
        self._box: Any = None
        self._watched: list[Watched] = []
        self._ended: set[int] = set()

    def __str__(self) -> str:
        return f"{plain(self.title)}\n{shown_text(self.race)}"

    __repr__ = __str__

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until both have ended, at most `timeout` seconds each; whether they have."""
        return self.race.wait(timeout)

    def show(self) -> None:
        """Display both as they go on; where nobody can click, or all is over, what came of them."""
        shell = get_ipython()
        if getattr(shell, "kernel", None) is None:
            self.wait()
            print(self)
        elif self.race.done or not can_click(shell):
            self._show_still()
        else:
            self._show_live()

    _ipython_display_ = show

    def close(self) -> None:
        """Stop both, and put the static copy in the widgets' place."""
        self.race.cancel()
        self._finish()

    def _show_still(self) -> None:
        try:
            self.wait()
        except BaseException:  # an interrupt as well leaves what there is
            self.race.cancel()
            self.race.wait(_STOP_SECONDS)
            raise
        finally:
            display(shown(self.race, self.title), raw=True)

    # -- live --------------------------------------------------------------------------------------------------------------
    def _show_live(self) -> None:
        if self._box is not None:  # shown again: what there is by now
            display(shown(self.race, self.title), raw=True)
            return
        self._place = Place()
        layout = widgets.Layout(width="auto", flex="0 1 auto")
        self._head = widgets.HTML(self._heading(), layout=layout)
        self._body = widgets.HTML("", layout=layout, style=self._head.style)
        self._stop = button(say("Stop"), "stop", lambda _: self.race.cancel())
        self._box = widgets.VBox([self._head, self._stop, self._body], layout=layout)
        self._place.put(widget_bundle(self._box, say("{title} is running ...", title=plain(self.title))))
        self._pace = Pace(self._push, spent=_WIDGETS)
        self._watched = [Watched(run, self._hear) for run in self.race.runs]
        for one in self._watched:
            one.follow()

    def _heading(self) -> str:
        return f"{STYLE}<b>{escaped(self.title)}</b>"

    def _hear(self, watched: Watched, batch: list[Event]) -> None:
        if watched.is_over:
            self._ended.add(id(watched))
        if len(self._ended) == len(self._watched):
            private_loop().loop.call_soon(self._finish_when_done)
        else:
            self._pace.soon()

    def _finish_when_done(self) -> None:
        """The runs say their last word before they count as done."""
        if self.race.done:
            self._finish()
        else:
            private_loop().loop.call_soon(self._finish_when_done)

    def _push(self) -> tuple[int, int]:
        if self._is_closed:
            return 0, 0
        bodies = [one.html() for one in self._watched]
        html = columns(self.race, bodies)
        self._body.value = html
        return 1, len(html.encode("utf-8", "surrogatepass"))

    def _finish(self) -> None:
        with self._lock:
            if self._is_closed or self._box is None:
                return
            self._is_closed = True
        call_on(private_loop().loop, self._pace.stop)
        stills = [one.still()["text/html"] for one in self._watched]
        self._place.put(shown(self.race, self.title, stills))
        close(self._box)


# -- as text -------------------------------------------------------------------------------------------------------------


def shown(found: Race, title: str, bodies: list[str] | None = None) -> dict[str, str]:
    """A race as `text/html` and `text/plain`; `bodies` are the two texts where they are HTML already."""
    texts = bodies or [f"<pre>{escaped(output_text(run))}</pre>" for run in found.runs]
    traces = [run.trace for run in found.runs]
    series = [series_of(one, name) for one, name in zip(traces, _names(), strict=True) if one is not None]
    picture = arrival(series, say("How the text arrived, with and without streaming"))
    head = (
        f'<b>{escaped(title)}</b><div>{escaped(found.sentence)} <span style="{SMALL}">{escaped(found.how)}</span></div>'
    )
    return {
        "text/html": f"{STYLE}{FRAME}{head}{columns(found, texts)}<div>{picture}</div></div>",
        "text/plain": f"{plain(title)}\n{shown_text(found)}",
    }


def shown_text(found: Race) -> str:
    """A race as lines of text."""
    lines = [f"{name}: {_times(run)}" for name, run in zip(_names(), found.runs, strict=True)]
    return "\n".join([*lines, plain(str(found))])


def columns(found: Race, bodies: list[str]) -> str:
    """The two beside each other, with a clock over each."""
    cells = "".join(
        f'<div style="{_COLUMN}"><div><b>{escaped(name)}</b> <span style="{_CLOCK}">{escaped(_clock(run))}</span></div>'
        f'<div style="{SMALL}">{escaped(_times(run))}</div>{body}</div>'
        for name, run, body in zip(_names(), found.runs, bodies, strict=True)
    )
    return f'<div style="display:flex;flex-wrap:wrap">{cells}</div>'


def _names() -> tuple[str, str]:
    return say("streaming"), say("not streaming")


def _clock(run: Run) -> str:
    """Seconds so far, or in all."""
    seconds = run.elapsed() if run.timing.total is None else run.timing.total
    return say("{seconds} s", seconds=f"{seconds:.1f}")


def _times(run: Run) -> str:
    lap = racing.lap(run)
    if lap.first_word is None:
        return say("no word yet") if not run.done else say("no word came")
    first = say("first word after {seconds} s", seconds=f"{lap.first_word:.2f}")
    if lap.total is None:
        return first
    return " · ".join([first, say("total {seconds} s", seconds=f"{lap.total:.2f}")])
