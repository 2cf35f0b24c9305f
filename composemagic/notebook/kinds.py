"""Which field a form has for which input: `FIELDS` is the table of types; here are the fields for choices, lists and objects.

What has no row of its own is typed as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from composemagic.language.secret import is_secret
from composemagic.language.values import to_text
from composemagic.notebook.fields import TEXTS, Area, Field, Line, Number, Secret, Shared, Slider, Whole
from composemagic.notebook.typed import Reader, as_json, as_lines, item, json_value, lines, number, text_line, whole
from composemagic.text import clean, plain
from composemagic.words import say
from composemagic.workflow.inputs import Input

__all__ = ["FIELDS", "FIELDS_OF_FORMATS", "LISTS", "same_kind"]

# -- choices ---------------------------------------------------------------------------------------------------------------


class Tick(Field):
    """Yes or no."""

    kind = widgets.Checkbox

    def make(self) -> Any:
        return self.kind(indent=True, layout=self.shared.wide, **self.around())

    def put(self, value: Any) -> None:
        self.widget.value = to_text(value).strip().lower() in ("true", "yes", "on", "1", "1.0")


class Choice(Field):
    """One of several."""

    kind = widgets.Dropdown

    def make(self) -> Any:
        return self.kind(options=self._options(""), layout=self.shared.wide, **self.around())

    def put(self, value: Any) -> None:
        chosen = "" if value is None else to_text(value)
        chosen = chosen if chosen in self.input.options else ""
        with self.widget.hold_trait_notifications():
            self.widget.options = self._options(chosen)
            self.widget.value = chosen

    def _options(self, chosen: str) -> list[tuple[str, str]]:
        """With an empty one before where nothing is chosen."""
        empty = [] if chosen else [("", "")]
        return [*empty, *((plain(option) or option, option) for option in self.input.options)]


class Choices(Field):
    """Some of several."""

    kind = widgets.SelectMultiple

    def make(self) -> Any:
        options = [(plain(option) or option, option) for option in self.input.options]
        return self.kind(options=options, rows=min(6, len(options)), layout=self.shared.wide, **self.around())

    def put(self, value: Any) -> None:
        given = value if isinstance(value, list | tuple) else [] if value is None else [value]
        self.widget.value = tuple(option for option in self.input.options if option in map(to_text, given))

    def read(self) -> Any:
        return list(self.widget.value) or None

    def hint(self) -> str:
        return say("with Ctrl or ⌘, several")


# -- lists and objects -----------------------------------------------------------------------------------------------------


class Json(Area):
    """A value as JSON."""

    is_heard_while_typed = True

    def put(self, value: Any) -> None:
        self.widget.value = "" if value is None else _as_typed(value)

    def read(self) -> Any:
        if not self.widget.value.strip():
            return None
        value = json_value(self.widget.value)
        return self.widget.value if isinstance(value, str) else value  # a cast reads JSON in a text

    def hint(self) -> str:
        return "JSON"

    def placeholder(self) -> str:
        return '{"name": "value"}' if self.input.type == "object" and not self.input.is_list else ""


def _as_typed(value: Any) -> str:
    """A value as JSON; a text that is JSON already, as a cast takes it, as it stands."""
    if isinstance(value, str):
        try:
            json_value(value)
        except ValueError:
            return as_json(value)
        return clean(value)
    return as_json(value)


class Items(Area):
    """A list, one item a line."""

    is_heard_while_typed = True

    @property
    def _item(self) -> Reader:
        if self.input.type == "list":
            return item
        return {"integer": whole, "number": number, "slider": number}.get(self.input.type, text_line)

    def put(self, value: Any) -> None:
        self.widget.value = "" if value is None else as_lines(value, self._item)

    def read(self) -> Any:
        return lines(self.widget.value, self._item) if self.widget.value.strip() else None

    def hint(self) -> str:
        return say("one a line")

    def placeholder(self) -> str:
        return ""


# -- which field for which input -------------------------------------------------------------------------------------------

_JSON = ("json", "object", "list")

Maker = Callable[[Input, Shared], Field]

FIELDS: Mapping[str, Maker] = {
    "string": Line,
    "text": Area,
    "markdown": Area,
    "integer": Whole,
    "number": Number,
    "boolean": Tick,
    "select": Choice,
    "slider": Slider,
    "json": Json,
    "object": Json,
    "list": Items,
}
LISTS: Mapping[str, Maker] = {"select": Choices, **dict.fromkeys(_JSON, Json)}
FIELDS_OF_FORMATS: Mapping[str | None, Maker] = {"url": Line, "path": Line}


def same_kind(one: Input, shared: Shared) -> Field:
    """The field for an input that holds no file."""
    if one.type in TEXTS and not one.is_list and is_secret(one.name, ""):
        return Secret(one, shared)
    if one.type == "select" and not one.options:
        return (Items if one.is_list else Line)(one, shared)
    if one.is_list:
        return LISTS.get(one.type, Items)(one, shared)
    return FIELDS.get(one.type, Area)(one, shared)
