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
from composemagic.notebook.view import Live, unpin
from composemagic.text import plain
from composemagic.workflow.inputs import Input

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["Form", "show"]

_WIDE = widgets.Layout(width="min(640px, 95%)")
_TALL = widgets.Layout(width="min(640px, 95%)", height="96px")
_LABELS = {"description_width": "140px"}


def show(
    workflow: Workflow, values: Mapping[str, Any] | None = None, keep: Callable[[Run], None] = lambda _: None
) -> Form:
    """Display a form for a workflow, prefilled with `values`; `keep` is called with every Run it starts."""
    form = Form(workflow, values or {}, keep)
    form.show()
    return form


@dataclass(slots=True)
class Field:
    """One input's widget, how its value is read, and the place for what is wrong with it."""

    input: Input
    widget: Any
    read: Callable[[], Any]
    problem: Any
    initial: Any


class Form:
    """The widgets of a form. `fields` by input name; `run` is the last Run it started."""

    def __init__(self, workflow: Workflow, values: Mapping[str, Any], keep: Callable[[Run], None]) -> None:
        self.workflow = workflow
        self.run: Run | None = None
        self.fields = {one.name: _field(one, values.get(one.name, one.default)) for one in workflow.inputs}
        self._keep = keep
        self._answer_id = f"compose-{uuid.uuid4().hex[:12]}"
        # clicks come in the main thread or in a subshell's, changing from click to click
        self._lock = threading.Lock()
        self._run_button = _button("Run", "play", self._on_run, style="primary")
        self._stop_button = _button("Stop", "stop", self._on_stop)
        self._reset_button = _button("Reset", "undo", self._on_reset)
        self._stop_button.disabled = True
        self._message = widgets.HTML()
        rows = [widgets.VBox([field.widget, field.problem]) for field in self.fields.values()]
        buttons = widgets.HBox([self._run_button, self._stop_button, self._reset_button, self._message])
        self.box = widgets.VBox([widgets.HTML(self._heading()), *rows, buttons])

    def show(self) -> None:
        """Display the form, and below it the place for the answers."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": self._table()}, raw=True)
        display({"text/plain": ""}, raw=True, display_id=self._answer_id)

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
            self._say("")
            values = self._checked()
            if values is None:
                return
            self._busy(True)
            view = Live(self.workflow.title, display_id=self._answer_id, tell_errors=True)
            view.show()
            self.run = run = self.workflow.start(_nested(values))
            self._keep(run)
            view.follow(run)
            run.subscribe(lambda batch: self._busy(False) if run.done or _ended(batch) else None)

    def _checked(self) -> dict[str, Any] | None:
        """The values to run with; None after the messages beside the fields were set."""
        try:
            values = self.values()
            self.workflow.check(values)
        except InputError as error:
            self._show_problems(error.problems)
            return None
        except ComposeError as error:
            self._say(str(error))
            return None
        self._show_problems({})
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

    def _show_problems(self, problems: Mapping[str, str]) -> None:
        for name, field in self.fields.items():
            field.problem.value = _red(problems[name]) if name in problems else ""

    def _say(self, sentence: str) -> None:
        self._message.value = _red(sentence)

    # -- what stands on it ------------------------------------------------------------------------------------------------
    def _heading(self) -> str:
        description = html.escape(plain(self.workflow.description))
        return f"<b>{html.escape(plain(self.workflow.title))}</b>" + (f"<br>{description}" if description else "")

    def _table(self) -> str:
        """The form for places without widgets."""
        lines = [plain(self.workflow.title)]
        for one in self.workflow.inputs:
            default = "required" if one.required else f"default {one.default!r}" if one.has_default else "optional"
            lines.append(f"  {one.name:<20} {one.type:<10} {default}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self._table()}


def _ended(batch: list[Any]) -> bool:
    return type(batch[-1]).__name__ in ("RunFinished", "RunFailed", "RunStopped")


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`: an input's name may be a path."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        place = found
        for step in parents:
            place = place.setdefault(step, {})
        place[last] = value
    return found


def _button(label: str, icon: str, clicked: Callable[[Any], None], style: str = "") -> Any:
    button = widgets.Button(description=label, icon=icon, button_style=style, layout=widgets.Layout(width="90px"))
    button.on_click(clicked)
    unpin(button)
    return button


def _red(sentence: str) -> str:
    return f'<span style="color:var(--jp-error-color1,#b00020)">{html.escape(plain(sentence))}</span>' if sentence else ""


# -- one widget a type ---------------------------------------------------------------------------------------------------


def _field(one: Input, value: Any) -> Field:
    widget, read = _WIDGETS.get(one.type, _text_area)(one, value)
    return Field(one, widget, read, widgets.HTML(), widget.value)


def _common(one: Input) -> dict[str, Any]:
    label = plain(one.label or one.name or "input") + (" *" if one.required else "")
    return {
        "description": label,
        "tooltip": plain(one.description or one.name),
        "style": _LABELS,
        "layout": _WIDE,
    }


def _placeholder(one: Input) -> str:
    return plain(one.description or "") or one.type


def _line(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    widget = widgets.Text(value="" if value is None else str(value), placeholder=_placeholder(one), **_common(one))
    return widget, lambda: widget.value


def _text_area(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    text = "" if value is None else str(value)
    widget = widgets.Textarea(value=text, placeholder=_placeholder(one), **{**_common(one), "layout": _TALL})
    return widget, lambda: widget.value


def _number(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    """A line of text and not a number box: it may be empty, and what is no number gets our sentence beside it."""
    widget, _ = _line(one, value)
    kind, name = (int, "whole number") if one.type == "integer" else (float, "number")

    def read() -> Any:
        text = widget.value.strip()
        if not text:
            return None
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f'"{text[:40]}" is no {name}') from None

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
        value=low if value is None else value, min=low, max=high, step=step[0] if step else (high - low) / 100, **_common(one)
    )
    return widget, lambda: widget.value


def _json(one: Input, value: Any) -> tuple[Any, Callable[[], Any]]:
    text = "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)
    widget = widgets.Textarea(value=text, placeholder="JSON", **{**_common(one), "layout": _TALL})

    def read() -> Any:
        if not widget.value.strip():
            return None
        try:
            return json.loads(widget.value)
        except ValueError as error:
            raise ValueError(f"this is no JSON ({error})") from None

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
