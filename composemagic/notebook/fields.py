"""A form's fields: each a widget, what stands in it at first, and how it is read; here those for text and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from composemagic.language.values import to_text
from composemagic.notebook.look import RED, SMALL, escaped, preformatted
from composemagic.notebook.settled import Settled
from composemagic.notebook.standin import StandIn
from composemagic.notebook.typed import (
    Reader,
    number,
    shown_number,
    whole,
)
from composemagic.notebook.widget import unpin
from composemagic.text import clean, plain
from composemagic.words import say
from composemagic.workflow.inputs import Input

__all__ = [
    "STYLE",
    "TEXTS",
    "Area",
    "Field",
    "Line",
    "Number",
    "Secret",
    "Shared",
    "Slider",
    "Whole",
    "fields_box",
    "label_of",
]

TEXTS = ("string", "text", "markdown")
_LABEL = "140px"
_TEX = re.compile(r"\$|\\[(\[]")  # JupyterLab would set what stands between them as mathematics
_IGNORED = '<span class="mathjax_ignore tex2jax_ignore">{}</span>'
_INVALID = "compose-invalid"
_FIELDS = "compose-fields"
_ARROW = (  # ipywidgets' own is black in every theme
    "url(\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'%3E"
    "%3Cpath fill='%23bdbdbd' d='M5 6l4 4 4-4 1 1-5 5-5-5z'/%3E%3C/svg%3E\")"
)
_WRAPPED = "white-space:normal;overflow-wrap:anywhere;line-height:1.25"  # or the `*` at its end is cut off
STYLE = (
    f"<style>.{_INVALID} :is(input,textarea,select){{border-color:var(--jp-error-color1,#b00020)!important}}"
    ".compose-below{line-height:1.4}.compose-preview img,.compose-preview video{max-height:96px}"
    ".compose-label{width:140px;margin-right:8px;text-align:right;padding-top:6px}"
    f".{_FIELDS} :is(.widget-text,.widget-dropdown,.widget-hslider){{height:auto;min-height:28px}}"
    f".{_FIELDS} .widget-dropdown>select{{height:28px}}"
    f".{_FIELDS} .widget-inline-hbox>.widget-label:not(.widget-label-basic),.compose-label{{{_WRAPPED};height:auto}}"
    f"[data-jp-theme-light='false'] .{_FIELDS}{{--jp-widgets-dropdown-arrow:{_ARROW}}}</style>"
)


class Shared:
    """The layouts and styles of a form's widgets: each is a message to the page, and one of a kind is enough.

    `settled` knows when what was typed into them has come, `stand_in` what is seen in a saved notebook in their place.
    """

    def __init__(self) -> None:
        self.wide = widgets.Layout(width="min(640px, 98%)")
        self.tall = widgets.Layout(width="min(640px, 98%)", height="96px")
        self.under = widgets.Layout(margin="-1px 2px 3px 150px", width="auto", max_width="min(492px, 98%)")
        self.gone = widgets.Layout(display="none")
        self.plain = widgets.Layout(width="auto", flex="0 0 auto")
        self._styles: dict[Any, Any] = {}
        self.stand_in = StandIn()
        self.settled = Settled(layout=self.plain, style=self.style(widgets.HTML))

    def style(self, kind: Any) -> Any:
        """The style of a class of widgets."""
        of = kind.class_traits()["style"].klass
        if of not in self._styles:
            has_label = "description_width" in of.class_trait_names()
            self._styles[of] = of(**({"description_width": _LABEL} if has_label else {}))
        return self._styles[of]

    def html(self, value: str = "", layout: Any = None) -> Any:
        """A place for words, which is HTML already."""
        return widgets.HTML(value, layout=layout or self.plain, style=self.style(widgets.HTML))

    def close(self) -> None:
        """Take them away, after the widgets."""
        self.settled.close()
        for one in (self.wide, self.tall, self.under, self.gone, self.plain, *self._styles.values()):
            one.close()


def fields_box(rows: Sequence[Any], **layout: Any) -> Any:
    """Fields and what stands with them, below each other, with the look that STYLE gives them."""
    box = widgets.VBox(list(rows), **layout)
    box.add_class(_FIELDS)
    return box


def label_of(one: Input) -> str:
    """What stands beside an input's field."""
    return plain(one.label or one.name or say("the input")) + (" *" if one.required else "")


class Field:
    """One input: `widget` is what is typed into, `rows` what is laid out, `problem` what is wrong with it.

    `initial` is what Reset puts there; `is_kept`: the next form of this kernel may remember what was typed; `is_secret`: it is
    shown nowhere.
    """

    is_kept = True
    is_secret = False
    kind: Any = widgets.Text

    def __init__(self, one: Input, shared: Shared) -> None:
        self.input = one
        self.initial: Any = None
        self.problem = ""
        self.shared = shared
        self.widget = self.make()
        self.below = shared.html(layout=shared.under)
        self.rows = [self.laid_out(), self.below]
        self.tell("")

    # -- what a kind of field decides
    def make(self) -> Any:
        """The widget, still empty. What stands in it is heard when it is left: once, and before a click on Run."""
        words = {"placeholder": self.placeholder(), "continuous_update": False}
        return self.kind(layout=self.shared.wide, **words, **self.around())

    def laid_out(self) -> Any:
        """The widget with its label."""
        return self.widget

    def put(self, value: Any) -> None:
        """Show a value that fits the input; None empties the field as far as it can be empty."""
        self.widget.value = clean(to_text(value))

    def read(self) -> Any:
        """The value, None where there is none. Raises ValueError with a sentence."""
        return self.widget.value

    def hint(self) -> str:
        """How it is to be filled, if that needs words."""
        return ""

    def done(self) -> None:
        """Its value has been taken for a run."""

    # -- what all have
    def reset(self) -> None:
        """Show what stood there at first, without a problem."""
        self.put(self.initial)
        self.tell("")

    def wrong(self) -> str:
        """What is wrong with what stands there; nothing is wrong with nothing."""
        try:
            value = self.read()
        except ValueError as error:
            return str(error)
        if value is None or value == "":
            return ""
        return self.without_name(self.input.problem(value) or "")

    def without_name(self, sentence: str) -> str:
        """A sentence about this input, as it is said beside its field."""
        return sentence.removeprefix(f"`{self.input.name}`").lstrip(": ")

    def tell(self, problem: str) -> None:
        """Say below the field what is wrong with it; nothing, where nothing is."""
        self.problem = problem
        help_ = " · ".join(filter(None, [plain(self.input.description or ""), self.hint()]))
        parts = [f'<div style="{SMALL}">{escaped(help_)}</div>' if help_ else "", self.shown(), _alert(problem)]
        words = "".join(parts)
        self.below.value = f'<div class="compose-below mathjax_ignore tex2jax_ignore">{words}</div>' if words else ""
        self.below.layout = self.shared.under if words else self.shared.gone
        (self.widget.add_class if problem else self.widget.remove_class)(_INVALID)
        unpin(self.widget)

    def shown(self) -> str:
        """What the field holds, as HTML, where the widget does not show it."""
        return ""

    def placeholder(self) -> str:
        """What an empty field shows: its default, or what it wants."""
        if self.input.has_default and self.input.default not in (None, ""):
            return plain(shown_number(self.input.default))[:200]
        return "" if self.input.type in TEXTS else self.input.type

    def around(self) -> dict[str, Any]:
        """What every widget is told: its label, and the style all share."""
        label = label_of(self.input)
        if not _TEX.search(label) or self.kind is widgets.Checkbox:  # a checkbox has the label's source as its tooltip
            return {"description": label, "tooltip": label, "style": self.shared.style(self.kind)}
        words = {"description": _IGNORED.format(escaped(label)), "description_allow_html": True}
        return {**words, "tooltip": label, "style": self.shared.style(self.kind)}


def _alert(problem: str) -> str:
    """A problem as HTML that screen readers say at once: its sentence, and below it the place it is about."""
    sentence, _, place = problem.partition("\n")
    drawn = preformatted(place).replace("<pre ", '<pre style="margin:0" ') if place else ""
    return f'<div role="alert" style="{RED}">{escaped(sentence)}{drawn}</div>' if problem else ""


# -- text and numbers ------------------------------------------------------------------------------------------------------


class Line(Field):
    """Text on a line."""


class Area(Field):
    """Text of several lines."""

    kind = widgets.Textarea
    is_heard_while_typed = False

    def make(self) -> Any:
        words = {"placeholder": self.placeholder(), "continuous_update": self.is_heard_while_typed}
        return self.kind(layout=self.shared.tall, **words, **self.around())


class Secret(Field):
    """A line that nobody sees: never filled in, emptied when a run has taken it. A value given before stays in the kernel."""

    is_kept = False
    is_secret = True
    kind = widgets.Password
    _given: Any = None

    def placeholder(self) -> str:
        return ""

    def put(self, value: Any) -> None:
        self._given = value
        self.widget.value = ""
        self.widget.placeholder = "" if value in (None, "") else say("given, and not shown")

    def read(self) -> Any:
        return self.widget.value or self._given

    def done(self) -> None:
        self.widget.value = ""


class Number(Field):
    """A line of text and not a number box: it may be empty, and what is no number gets our sentence beside it."""

    _read: Reader = staticmethod(number)

    def put(self, value: Any) -> None:
        self.widget.value = "" if value is None else shown_number(value)

    def read(self) -> Any:
        text = self.widget.value.strip()
        return self._read(text) if text else None


class Whole(Number):
    """The same for whole numbers."""

    _read = staticmethod(whole)


class Slider(Field):
    """A number between bounds."""

    kind = widgets.FloatSlider

    def make(self) -> Any:
        low, high, *given = self.input.bounds
        step = given[0] if given else 10.0 ** math.floor(math.log10((high - low) / 50))
        digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
        digits = max(digits, *(_decimals(value) for value in (low, step)))
        bounds = {"min": low, "max": high, "step": step, "readout_format": f".{digits}f"}
        return self.kind(layout=self.shared.wide, **bounds, **self.around())

    def put(self, value: Any) -> None:
        self.widget.value = self.input.bounds[0] if value is None else number(to_text(value))

    def hint(self) -> str:
        low, high = map(shown_number, self.input.bounds[:2])
        return say("{low} to {high}", low=low, high=high)


def _decimals(value: float) -> int:
    """How many digits a number has after its point, at most 6."""
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])
