"""A small form below a cell for each point where its run waits for a person."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from composemagic.engine.events import Point
from composemagic.engine.run import Run
from composemagic.errors import UsageError
from composemagic.notebook.look import FRAME, RED, escaped
from composemagic.notebook.questions import editable, edited, facts, fixed, hint, question, still_open
from composemagic.notebook.settled import Settled
from composemagic.notebook.widget import button, close, heard
from composemagic.words import say

__all__ = ["Ask"]

_BORDER = "1px solid var(--jp-border-color1, #bdbdbd)"
_MOST_LINES = 12
_MOST_FORMS = 8  # each is a dozen messages to the page; the next one comes when one is answered


class Ask:
    """The questions of a run that are open, each answered by itself; `box` is the widget.

    Points come and go on the private loop's thread; clicks come on any thread, and only ask the run to go on.
    """

    def __init__(self, run: Run) -> None:
        import ipywidgets as widgets

        self._run = run
        self._points: dict[str, Point] = {}
        self._forms: dict[str, _PointForm] = {}
        self._settled = Settled()
        self._all = button("", "forward", self._settled.after(self._on_all), width="auto")
        self._all.layout.align_self = "flex-start"
        self._list = widgets.VBox()
        self.box = widgets.VBox([self._list, self._all])

    def show(self, points: Sequence[Point]) -> None:
        """Ask what is open now, in the order in which the jobs are written; what is inside a job comes last.

        What is being typed for a point that stays open stays, and its form stays where it is: what is new goes below. A page
        makes all that stands behind a change in a list anew, and who types there would type into nothing. So of what has been
        answered an empty box is left while anything open stands below it.
        """
        places = {job: place for place, job in enumerate(self._run.jobs)}
        ordered = sorted(points, key=lambda point: places.get(point.job_id, len(places)))
        self._points = {point.id: point for point in ordered}
        fresh = [point for name, point in self._points.items() if name not in self._forms]
        for point in fresh[: _MOST_FORMS - len(self._open())]:
            self._forms[point.id] = _PointForm(self._run, point, self._answer, self._settled)
        below = self._below_all_open()
        self._list.children = [form.box for form in self._forms.values()]
        self._all.description = say("Go on everywhere ({count})", count=len(self._points))
        self._all.layout.display = None if len(self._open()) > 1 else "none"
        for form in below:
            close(form.box)
        for name, form in self._forms.items():
            if name not in self._points:
                form.empty()

    def _open(self) -> list[_PointForm]:
        return [form for name, form in list(self._forms.items()) if name in self._points]

    def _below_all_open(self) -> list[_PointForm]:
        """Take out what is answered and has nothing open below it."""
        found = []
        for name in reversed(list(self._forms)):
            if name in self._points:
                break
            found.append(self._forms.pop(name))
        return found

    def drop(self, answered: Sequence[str]) -> None:
        """These are answered."""
        self.show([point for name, point in self._points.items() if name not in answered])

    def close(self) -> None:
        """Take everything away."""
        self.show(())
        self._settled.close()
        close(self.box)

    def _on_all(self, _: Any) -> None:
        answers = [form.read() for form in self._open()]
        if None not in answers:
            unseen = dict.fromkeys(self._points)
            self._answer(unseen | {point: value for found in answers if found for point, value in found.items()})

    def _answer(self, answers: dict[str, Any]) -> None:
        with contextlib.suppress(UsageError):  # somebody else was quicker
            self._run.answer(still_open(self._run, answers))


class _PointForm:
    """One point: its question, what comes with it, its value to be changed, and a button."""

    def __init__(self, run: Run, point: Point, answer: Callable[[dict[str, Any]], None], settled: Settled) -> None:
        import ipywidgets as widgets

        self._run = run
        self._point = point
        self._answer = answer
        self._editor = _editor(editable(run, point))
        self._button = button(say("Go on"), "play", settled.after(self._on_click), style="primary")
        self._problem = widgets.HTML()
        parts = [widgets.HTML(_told(run, point)), self._editor, widgets.HBox([self._button, self._problem])]
        layout = widgets.Layout(border=_BORDER, padding="6px 10px", margin="4px 0", width="min(680px, 97%)")
        self.box = widgets.VBox([part for part in parts if part is not None], layout=layout)

    def empty(self) -> None:
        """Leave only the box, which is not seen."""
        parts, self.box.children = self.box.children, ()
        if parts:
            self.box.layout.display = "none"
            for part in parts:
                close(part)

    def read(self) -> dict[str, Any] | None:
        """The answer by the point's id; None after the message beside the button was set."""
        try:
            found = None if self._editor is None else edited(self._run, self._point, self._editor.value)
        except ValueError as error:
            self._problem.value = f'<div style="{RED}">{escaped(error)}</div>'
            return None
        self._problem.value = ""
        return {self._point.id: found}

    def _on_click(self, _: Any) -> None:
        found = self.read()
        if found is not None:
            self._button.disabled = True
            self._answer(found)


def _editor(text: str | None) -> Any:
    if text is None:
        return None
    import ipywidgets as widgets

    lines = min(_MOST_LINES, max(2, text.count("\n") + 1 + len(text) // 80))
    return heard(widgets.Textarea(value=text, rows=lines, layout=widgets.Layout(width="auto", height="auto")))


def _told(run: Run, point: Point) -> str:
    is_fixed = editable(run, point) is None
    value = fixed(run, point.value) if is_fixed else ""
    hint = f'<div class="compose-dim">{escaped(_hint(point, is_fixed=is_fixed))}</div>'
    return f"{FRAME}<b>{escaped(question(point))}</b>{facts(run, point)}{value}{hint}</div>"


def _hint(point: Point, *, is_fixed: bool) -> str:
    if is_fixed:
        return say("This value cannot be changed here; `run.answer(...)` can replace it.")
    return hint(point)
