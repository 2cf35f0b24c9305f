"""The widgets of a sweep while it goes on: a heading with Stop, and a card for each combination; at the end a static copy."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from composemagic.engine.events import Event
from composemagic.engine.loop import private_loop
from composemagic.notebook import grid
from composemagic.notebook.grid import Still
from composemagic.notebook.look import STYLE, clipped, escaped
from composemagic.notebook.pace import Pace
from composemagic.notebook.place import Place
from composemagic.notebook.watched import SPINNER, Watched
from composemagic.notebook.widget import close, unpin, widget_bundle
from composemagic.sweep import Trial, Trials
from composemagic.text import plain
from composemagic.threads import call_on
from composemagic.words import say

__all__ = ["SweepBox"]

_LOOK = (
    f"{STYLE}<style>.compose-sweep{{overflow-x:auto}}.compose-sweep>.compose-across{{grid-column:1/-1}}"
    ".compose-sweep>.compose-look{display:none}.compose-sweep>.compose-head{grid-row:1}"
    ".compose-sweep>.widget-html{margin:0;height:auto;min-width:0}.compose-sweep>.compose-stop{justify-self:end}"
    ".compose-sweep>.compose-card{padding:6px 10px;box-sizing:border-box;border-radius:4px;"
    "border:1px solid var(--jp-border-color2,rgba(128,128,128,.4))}"
    ".compose-sweep .mathjax_ignore>p:first-child{margin-top:2px}"
    ".compose-sweep .widget-html-content{line-height:1.5;height:auto;width:100%}</style>"
)
_TAIL = 160
_TOGETHER_SECONDS = 1 / 5  # between pushes of all cards, so that there is soon room for a place of each


@dataclass(eq=False)
class _Shown:
    """One combination: its card and the place of that, what is heard of its run, its static copy once that has ended."""

    trial: Trial
    card: str = ""
    widget: Any = None
    watched: Watched | None = None
    still: Still | None = None
    is_stale: bool = True


class SweepBox:
    """What stands below a cell. Clicks come in any thread, runs are heard on the private loop's."""

    def __init__(self, sweep: Trials) -> None:
        self.sweep = sweep
        self._begun = time.monotonic()
        self._place = Place()
        self._lock = threading.Lock()
        self._is_closed = False
        self._has_cards = grid.has_cards(sweep)
        self._shown = {id(trial): _Shown(trial) for trial in sweep.trials}
        self._build()
        self._pace = Pace(self._push, spent=2 * self._models + 2)
        if self._has_cards:
            self._pace.seconds, self._least = _TOGETHER_SECONDS, self._pace.seconds

    def _build(self) -> None:
        """Few models, since each is a message at the beginning and one at the end: all share one layout, the cards one place.

        A card gets a place of its own, which is replaced without the others', when the messages for that are within the
        budget: a sweep that is over at once has not sent them.
        """
        layout = widgets.Layout(
            width="auto", flex="0 1 auto", grid_template_columns=grid.columns(self.sweep), grid_gap="8px"
        )
        self._head = widgets.HTML(
            grid.heading(self.sweep), layout=layout, _dom_classes=("compose-across", "compose-head")
        )
        same = {"layout": layout, "style": self._head.style}
        look = widgets.HTML(_LOOK, _dom_classes=("compose-look",), **same)
        self._all: Any = widgets.HTML(self._together(), _dom_classes=("compose-across",), **same)
        stop = widgets.Button(
            description=say("Stop all"),
            icon="stop",
            layout=layout,
            _dom_classes=("compose-across", "compose-head", "compose-stop"),
        )
        stop.on_click(lambda _: self.sweep.stop())
        unpin(stop)
        parts = [look, self._head, stop, self._all]
        self.box = widgets.GridBox(parts, layout=layout, _dom_classes=("compose-sweep",))
        self._models = len(parts) + 4

    def show(self) -> None:
        """Display the widgets; their place is the static copy's at the end."""
        title = plain(self.sweep.workflow.title)
        self._place.put(widget_bundle(self.box, say("{title} is running ...", title=title)))

    def attach(self) -> None:
        """Hear what has begun before."""
        for trial in self.sweep.trials:
            if trial.began:
                call_on(private_loop().loop, self.began, trial)

    def close(self) -> None:
        """Put the static copy in the widgets' place."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        call_on(private_loop().loop, self._pace.stop)
        stills = [one.still or grid.trial_still(one.trial) for one in self._shown.values()]
        self._place.put(grid.still(self.sweep, stills))
        close(self.box)

    # -- on the private loop's thread --------------------------------------------------------------------------------------
    def began(self, trial: Trial) -> None:
        """A run has begun."""
        one = self._shown[id(trial)]
        if one.watched is None and trial.run is not None and not self._is_closed:
            one.watched = Watched(trial.run, lambda watched, batch: self._hear(one, watched, batch))
            one.watched.follow()

    def _hear(self, one: _Shown, watched: Watched, batch: list[Event]) -> None:
        if watched.is_over:
            one.still = watched.still()
        one.is_stale = True
        self._pace.soon()

    def _push(self) -> tuple[int, int]:
        if self._is_closed:
            return 0, 0
        spent, size = self._part()
        for one in self._shown.values():
            if self._has_cards and one.still is None and one.watched is not None:
                one.is_stale = one.watched.has_news() or one.is_stale
        stale = [one for one in self._shown.values() if one.is_stale]
        sent = [self._put(self._all, self._together())] if stale and self._all is not None else []
        if self._all is None:
            sent = [self._put(one.widget, self._card(one, in_page=True)) for one in stale]
        self._head.value = grid.heading(self.sweep, self._words())
        return spent + len(sent) + 1, size + sum(sent)

    def _put(self, widget: Any, html: str) -> int:
        """Show HTML; how many bytes that are."""
        widget.value = html
        return _bytes(html)

    def _part(self) -> tuple[int, int]:
        """Give each card a place of its own, if the budget allows that by now.

        How many messages it takes, now and at the end, and how many bytes the cards are.
        """
        messages, size = 2 * len(self._shown) + 1, 0
        if self._all is None or not self._has_cards or not self._pace.has_room(messages):
            return 0, 0
        with self._lock:
            if self._is_closed:
                return 0, 0
            same = {"layout": self._head.layout, "style": self._head.style, "_dom_classes": ("compose-card",)}
            for one in self._shown.values():
                one.widget = widgets.HTML(self._card(one, in_page=True), **same)
                size += _bytes(one.widget.value)
            whole, self._all, self._pace.seconds = self._all, None, self._least
            others = [part for part in self.box.children if part is not whole]
            self.box.children = [*others, *(one.widget for one in self._shown.values())]
            whole.close()
        return messages, size

    def _together(self) -> str:
        """All of them as one piece of HTML: the table, or the cards in their columns."""
        for one in self._shown.values():
            if one.is_stale and self._has_cards:
                one.card = self._card(one)
            one.is_stale = False
        if not self._has_cards:
            return self._rows()
        return grid.side_by_side(self.sweep, [one.card for one in self._shown.values()])

    def _card(self, one: _Shown, *, in_page: bool = False) -> str:
        one.is_stale = False
        if one.still is not None:
            return grid.card(one.trial, one.still["text/html"], slowest=grid.slowest(self.sweep), in_page=in_page)
        if one.watched is None:
            return grid.card(one.trial, grid.trial_still(one.trial)["text/html"], in_page=in_page)
        return grid.card(one.trial, one.watched.html(), words=one.watched.words(), in_page=in_page)

    def _rows(self) -> str:
        return grid.table(self.sweep, [self._row_body(one) for one in self._shown.values()])

    def _row_body(self, one: _Shown) -> str:
        """Of one that goes on, its last words; those that have ended are told by their first ones."""
        run = one.trial.run
        return escaped(clipped(run.text[-_TAIL:], _TAIL)) if run is not None and one.watched and not run.done else ""

    def _words(self) -> str:
        elapsed = time.monotonic() - self._begun
        frame = SPINNER[int(elapsed * 4) % len(SPINNER)]
        return f"{frame} {say('{seconds} s', seconds=f'{elapsed:.0f}')} · {grid.overview(self.sweep)}"


def _bytes(html: str) -> int:
    return len(html.encode("utf-8", "surrogatepass"))
