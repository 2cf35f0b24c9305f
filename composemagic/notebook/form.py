"""A form for a workflow's inputs: a widget for each, checked before the run, with Run, Stop and Reset below."""

from __future__ import annotations

import html
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.display import display

from composemagic.engine.run import Run
from composemagic.errors import ComposeError, InputError
from composemagic.language.json_words import why_no_json
from composemagic.notebook.card import table
from composemagic.notebook.given import nested
from composemagic.notebook.view import Live
from composemagic.notebook.widget import button, close, unpin, widget_bundle
from composemagic.text import plain
from composemagic.words import say
from composemagic.workflow.inputs import Input, at

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["Form"]

_WIDE = {"width": "min(640px, 95%)"}
_TALL = {"width": "min(640px, 95%)", "height": "96px"}
_LABELS = {"description_width": "140px"}
_BESIDE = "margin:-4px 0 4px 148px"  # under a field, behind its label


@dataclass(slots=True)
class Field:
    """One input's widget, how its value is read, and the place for what is wrong with it."""

    input: Input
    widget: Any
    read: Callable[[], Any]
    problem: Any
    initial: Any


class Form:
    """The widgets of a form, prefilled with `values`.

    `fields` by input name; `run` is the last Run it started, `answer` what shows it. `keep` is called with every Run it starts. A cell that ends with a form shows it.
    """

    def __init__(
        self, workflow: Workflow, values: Mapping[str, Any] | None = None, keep: Callable[[Run], None] | None = None
    ) -> None:
        self.workflow = workflow
        self.run: Run | None = None
        self.answer: Live | None = None
        given = values or {}
        self.fields = {
            one.name: _field(one, _first_value(one, given))
            for one in workflow.inputs
            if one.name or len(workflow.inputs) == 1
        }
        self._keep = keep
        self._answer_id = f"compose-{uuid.uuid4().hex[:12]}"
        # clicks come in the main thread or in a subshell's, changing from click to click
        self._lock = threading.Lock()
        self._run_button = button(say("Run"), "play", self._on_run, style="primary")
        self._stop_button = button(say("Stop"), "stop", self._on_stop)
        self._reset_button = button(say("Reset"), "undo", self._on_reset)
        self._message = widgets.HTML()
        rows = [widgets.VBox([field.widget, field.problem]) for field in self.fields.values()]
        buttons = widgets.HBox([self._run_button, self._stop_button, self._reset_button, self._message])
        self.box = widgets.VBox([widgets.HTML(self._heading()), *rows, buttons])
        self._busy(False)

    def show(self) -> None:
        """Display the form, and below it the place for the answers."""
        display(widget_bundle(self.box, table(self.workflow)), raw=True)
        display({"text/plain": ""}, raw=True, display_id=self._answer_id)

    _ipython_display_ = show

    def close(self) -> None:
        """Stop the run and take the widgets away."""
        if self.run is not None:
            self.run.cancel()
        close(self.box)

    def values(self) -> dict[str, Any]:
        """What the fields hold; empty optional ones are left out. Raises InputError for a value that cannot be read."""
        found: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name, field in self.fields.items():
            try:
                value = field.read()
            except ValueError as error:
                problems[name] = f"`{name}`: {error}"
                continue
            if value is not None and (value != "" or field.input.required):
                found[name] = value
        if problems:
            raise InputError(problems)
        return found

    # -- clicks ---------------------------------------------------------------------------------------------------------
    def _on_run(self, _: Any) -> None:
        with self._lock:
            if self.run is not None and not self.run.done:
                return
            values = self._checked()
            if values is not None:
                self._start(nested(values))

    def _start(self, values: Any) -> None:
        self.answer = view = Live(self.workflow.title, display_id=self._answer_id, tell_errors=True, stop=False)
        view.show()
        self._busy(True)
        view.closed.add_done_callback(lambda _: self._busy(False))
        self.run = run = self.workflow.start(values, consents=True)
        if self._keep:
            self._keep(run)
        view.follow(run)

    def _checked(self) -> dict[str, Any] | None:
        """The values to run with; None after the messages beside the fields were set."""
        problems: Mapping[str, str] = {}
        sentence, values = "", None
        try:
            values = self.values()
            self.workflow.check(nested(values))
        except InputError as error:
            problems, values = error.problems, None
        except ComposeError as error:
            sentence, values = str(error), None
        self._show_problems(problems)
        self._message.value = _red(sentence)
        return values

    def _on_stop(self, _: Any) -> None:
        if self.run is not None:
            self.run.cancel()

    def _on_reset(self, _: Any) -> None:
        for field in self.fields.values():
            field.widget.value = field.initial
        self._show_problems({})

    def _busy(self, busy: bool) -> None:
        self._run_button.disabled = busy
        self._stop_button.disabled = not busy
        for one in (self._run_button, self._stop_button):
            unpin(one)  # every message pins it again

    def _show_problems(self, problems: Mapping[str, str]) -> None:
        for name, field in self.fields.items():
            words = problems.get(name, "").removeprefix(f"`{name}`").lstrip(": ")
            field.problem.value = _red(words, _BESIDE)

    def _heading(self) -> str:
        description = html.escape(plain(self.workflow.description))
        title = f'<b style="font-size:110%">{html.escape(plain(self.workflow.title))}</b>'
        return title + (f'<div style="margin-bottom:4px">{description}</div>' if description else "")


def _red(sentence: str, style: str = "") -> str:
    if not sentence:
        return ""
    return f'<div style="color:var(--jp-error-color1,#b00020);{style}">{html.escape(plain(sentence))}</div>'


# -- one widget a type ---------------------------------------------------------------------------------------------------


def _first_value(one: Input, given: Mapping[str, Any]) -> Any:
    """What stands in an input's field at first: what was given, else the default."""
    value = at(given, one.name) if one.name or "" in given else None
    return one.default if value is None else value


def _field(one: Input, value: Any) -> Field:
    made_by = _json if one.is_list else _WIDGETS.get(one.type, _text_area)
    widget, read = made_by(one, value)
    return Field(one, widget, read, widgets.HTML(), widget.value)


def _common(one: Input, layout: Mapping[str, str] = _WIDE) -> dict[str, Any]:
    label = plain(one.label or one.name or say("the input")) + (" *" if one.required else "")
    return {
        "description": label,
        "tooltip": plain(one.description or one.name),
        "style": _LABELS,
        "layout": widgets.Layout(**layout),
    }


def _placeholder(one: Input) -> str:
    return plain(one.description or "") or ("" if one.type in ("string", "text", "markdown") else one.type)


def _line(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    widget = widgets.Text(value="" if value is None else str(value), placeholder=_placeholder(one), **_common(one))
    return widget, lambda: widget.value


def _text_area(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    text = "" if value is None else str(value)
    widget = widgets.Textarea(value=text, placeholder=_placeholder(one), **_common(one, _TALL))
    return widget, lambda: widget.value


def _number(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    """A line of text and not a number box: it may be empty, and what is no number gets our sentence beside it."""
    widget, _ = _line(one, f"{value:.15g}" if isinstance(value, float) else value)
    is_whole = one.type == "integer"

    def read() -> Any:
        text = widget.value.strip()
        if not text:
            return None
        try:
            return int(text) if is_whole else float(text)
        except ValueError:
            words = (
                say('"{text}" is no whole number', text=text[:40])
                if is_whole
                else say('"{text}" is no number', text=text[:40])
            )
            raise ValueError(words) from None

    return widget, read


def _boolean(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    widget = widgets.Checkbox(value=bool(value), indent=True, **_common(one))
    return widget, lambda: widget.value


def _select(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    options = list(one.options)
    chosen = value if value in options else None
    if chosen is None:
        options = ["", *options]
    widget = widgets.Dropdown(options=options, value=chosen or options[0], **_common(one))
    return widget, lambda: widget.value


def _slider(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    low, high, *step = one.bounds
    widget = widgets.FloatSlider(
        value=low if value is None else value,
        min=low,
        max=high,
        step=step[0] if step else (high - low) / 100,
        **_common(one),
    )
    return widget, lambda: widget.value


def _json(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    text = "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)
    widget = widgets.Textarea(value=text, placeholder="JSON", **_common(one, _TALL))

    def read() -> Any:
        if not widget.value.strip():
            return None
        try:
            return json.loads(widget.value)
        except ValueError as error:
            raise ValueError(say("this is no JSON ({reason})", reason=why_no_json(error))) from None

    return widget, read


_WIDGETS: dict[str, Callable[[Input, Any], tuple[Any, Callable[[], Any]]]] = {
    "string": _line,
    "text": _text_area,
    "markdown": _text_area,
    "integer": _number,
    "number": _number,
    "boolean": _boolean,
    "select": _select,
    "slider": _slider,
    "json": _json,
    "list": _json,
    "object": _json,
}
