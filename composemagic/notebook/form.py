"""A form for a workflow's inputs: a field for each, checked while typing and before the run, with Run, Stop and Reset below."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from composemagic.engine.run import Run
from composemagic.errors import ComposeError, InputError, UsageError, suggest
from composemagic.language.secret import is_secret
from composemagic.notebook.attended import can_click, in_terminal
from composemagic.notebook.card import below, card
from composemagic.notebook.fields import STYLE, Shared, fields_box
from composemagic.notebook.formline import fill_in
from composemagic.notebook.given import nested
from composemagic.notebook.look import RED, escaped
from composemagic.notebook.pause import Pause
from composemagic.notebook.place import Place
from composemagic.notebook.remembered import remember, remembered
from composemagic.notebook.uploads import field
from composemagic.notebook.used import used
from composemagic.notebook.view import Live
from composemagic.notebook.widget import button, close, heard, unpin, widget_bundle
from composemagic.words import say
from composemagic.workflow.inputs import Input, at

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["Form"]

_TYPING_SECONDS = 0.4  # without a key, then what has been typed is looked at


class Form:
    """The widgets of a form, prefilled with `values`, else with what was typed last in this kernel, else with the defaults.

    `fields` by input name; `run` is the last Run it started, `answer` what shows it. `keep` is called with every Run it
    starts. A cell that ends with a form shows it. Raises UsageError for a value that the workflow does not ask for, and
    InputError for one that does not fit.
    """

    def __init__(
        self,
        workflow: Workflow,
        values: Mapping[str, Any] | None = None,
        keep: Callable[[Run], None] | None = None,
        *,
        shared: Shared | None = None,
    ) -> None:
        asked = [one for one in workflow.inputs if one.name or len(workflow.inputs) == 1]
        given = _fitting(workflow, asked, values or {})
        self.workflow = workflow
        self.run: Run | None = None
        self.answer: Live | None = None
        self._shared = shared or Shared()
        self._keep = keep
        self._places = self._values_place, self._answer_place = Place(self._shared.plain), Place(self._shared.plain)
        # clicks come in the main thread or in a subshell's, changing from click to click
        self._lock = threading.Lock()
        self.fields = {one.name: field(one, self._shared) for one in asked}
        self._fill(given)
        self._build()
        self._busy(False)

    def _fill(self, given: Mapping[str, Any]) -> None:
        """Put the first values in their places: a preset goes before what was typed last, and that before a default."""
        last = remembered(self.workflow)
        for name, one in self.fields.items():
            preset = given.get(name)
            one.initial = one.input.default if preset is None else preset
            one.reset()
            if preset is None and one.is_kept and name in last:
                one.put(last[name])

    def _build(self) -> None:
        settled = self._shared.settled
        self._run_button = button(say("Run"), "play", settled.after(self._on_run), style="primary")
        self._stop_button = button(say("Stop"), "stop", self._on_stop)
        self._reset_button = button(say("Reset"), "undo", settled.after(self._on_reset))
        self._message = self._shared.html()
        self._typed: dict[str, None] = {}
        self._pause = Pause(_TYPING_SECONDS, self._look)
        for name, one in self.fields.items():
            heard(one.widget).observe(lambda _, name=name: self._on_typed(name), "value")
            if isinstance(one.widget, widgets.Text):
                one.widget.on_msg(self._on_key)
        rows = [row for one in self.fields.values() for row in one.rows]
        layout = self._shared.plain
        buttons = [self._run_button, self._stop_button, self._reset_button, self._message]
        heading = self._shared.html(self._heading())
        answers = [place.widget for place in self._places if place.widget is not None]
        self.box = fields_box([heading, *rows, widgets.HBox(buttons, layout=layout), *answers], layout=layout)

    def show(self) -> None:
        """Display the form, and below it the place for the answers; at a terminal ask line by line; elsewhere tell what it
        would ask.
        """
        if in_terminal(get_ipython()):
            self.run = fill_in(self.workflow, self.values(), self._keep)
            return
        if not can_click(get_ipython()):
            display(card(self.workflow), raw=True)
            return
        self.box.add_class(self._shared.stand_in.live)
        display(widget_bundle(self.box, below(self.workflow.title)), raw=True)
        self.show_places()

    _ipython_display_ = show

    def show_places(self) -> None:
        """Display the places that the values of a run and its answer will take; before that, what the form asks stands there."""
        self._values_place.show(self._shared.stand_in.copy(card(self.workflow)))
        self._answer_place.show()

    def close(self) -> None:
        """Stop the run and take the widgets away."""
        if self.run is not None:
            self.run.cancel()
        self._pause.drop()
        close(self.box)
        self._shared.close()

    def values(self) -> dict[str, Any]:
        """What the fields hold; empty optional ones are left out. Raises InputError for a value that cannot be read."""
        found: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name, one in self.fields.items():
            try:
                value = one.read()
            except ValueError as error:
                problems[name] = f"`{name}`: {error}"
                continue
            if value is not None and (value != "" or one.input.required):
                found[name] = value
        if problems:
            raise InputError(problems)
        return found

    # -- while typing ----------------------------------------------------------------------------------------------------
    def _on_typed(self, name: str) -> None:
        """What has been typed is looked at when the typing rests; a mistake that is mended goes away at once."""
        one = self.fields[name]
        self._typed[name] = None
        if one.problem and not one.wrong():
            one.tell("")
        self._pause.begin()

    def _look(self) -> None:
        """Say what is wrong with what has been typed; on the private loop's thread."""
        while self._typed:
            name, _ = self._typed.popitem()
            one = self.fields[name]
            one.tell(one.wrong())

    def _on_key(self, _: Any, content: Any, __: Any) -> None:
        """Enter in a line runs: the page says that it was pressed, and then what was typed until then."""
        if content.get("event") == "submit":
            self._shared.settled.then(self._on_run, self._run_button)

    # -- clicks ----------------------------------------------------------------------------------------------------------
    def _on_run(self, _: Any = None) -> None:
        with self._lock:
            if self.run is not None and not self.run.done:
                return
            values = self._checked()
            if values is not None:
                self._start(values)

    def _start(self, values: dict[str, Any]) -> None:
        try:
            run = self.workflow.start(nested(values), consents=True, begins=False)
        except ComposeError as error:
            self._say(str(error))
            return
        self.run = run
        self._tell_values(values)
        remember(self.workflow, {name: value for name, value in values.items() if self._may_keep(name, value)})
        self._hand_over(run, values)
        self.answer = view = Live(self.workflow.title, place=self._answer_place.put, tell_errors=True, stop=False)
        view.show()
        self._busy(True)
        view.closed.add_done_callback(lambda _: self._busy(False) if self.run is run else None)
        if self._keep:
            self._keep(run)
        view.follow(run)
        run.begin()

    def _tell_values(self, values: dict[str, Any]) -> None:
        """Say above the answer with which values it was asked for."""
        told = used(self.workflow.title, self.fields.values(), values)
        self._values_place.put(self._shared.stand_in.copy(told, is_always_seen=True))

    def _hand_over(self, run: Run, values: Mapping[str, Any]) -> None:
        """Empty the fields that keep nothing, and tell the run what it must not tell."""
        for name, one in self.fields.items():
            if one.is_secret and name in values:
                run.redact.learn(name, values[name])
            one.done()

    def _may_keep(self, name: str, value: Any) -> bool:
        return self.fields[name].is_kept and not (isinstance(value, str) and is_secret(name, value))

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
        self._show_problems(problems, sentence)
        return values

    def _on_stop(self, _: Any) -> None:
        if self.run is not None:
            self.run.cancel()

    def _on_reset(self, _: Any) -> None:
        for one in self.fields.values():
            one.reset()
        self._say("")

    def _busy(self, busy: bool) -> None:
        self._run_button.disabled = busy
        self._stop_button.disabled = not busy
        fields = (one.widget for one in self.fields.values())
        for one in (self._run_button, self._stop_button, self._reset_button, *fields):
            unpin(one)  # every message pins it again

    def _show_problems(self, problems: Mapping[str, str], sentence: str) -> None:
        """Say what is wrong beside the fields, and go to the first of them."""
        bad = []
        for name, one in self.fields.items():
            words = one.without_name(problems.get(name, ""))
            if words or one.problem:
                one.tell(words)
            bad += [one.widget] if words else []
        others = [words for name, words in problems.items() if name not in self.fields]
        self._say("\n".join(filter(None, [sentence, *others])))
        for first in bad[:1]:
            first.focus()
            unpin(first)

    def _say(self, sentence: str) -> None:
        words = f'<div role="alert" style="{RED}">{escaped(sentence)}</div>' if sentence else ""
        if self._message.value != words:
            self._message.value = words

    def _heading(self) -> str:
        description = escaped(self.workflow.description)
        title = f'<b style="font-size:110%">{escaped(self.workflow.title)}</b>'
        below = f'<div style="margin-bottom:4px">{description}</div>' if description else ""
        return f'{STYLE}<div class="mathjax_ignore tex2jax_ignore">{title}{below}</div>'


def _fitting(workflow: Workflow, asked: list[Input], values: Mapping[str, Any]) -> dict[str, Any]:
    """The presets by input name. Raises UsageError and InputError."""
    found = {one.name: at(values, one.name) for one in asked if one.name or "" in values}
    names = [one.name for one in asked]
    known = {*names, *(name.split(".")[0].split("[")[0] for name in names)}
    for name in values if "" not in names else ():
        if name not in known:
            near = suggest(name, names)
            raise UsageError(say("the workflow does not ask for `{name}`{near}", name=name, near=near))
    problems = {one.name: one.problem(found[one.name]) for one in asked if _says(found.get(one.name))}
    if wrong := {name: problem for name, problem in problems.items() if problem}:
        raise InputError(wrong)
    return found


def _says(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value)
