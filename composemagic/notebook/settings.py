"""The inputs of a workflow that a face asks for beside its main one: a few fields that unfold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from composemagic.errors import InputError
from composemagic.notebook.fields import STYLE, Shared, fields_box
from composemagic.notebook.uploads import field
from composemagic.notebook.widget import close, heard
from composemagic.words import say
from composemagic.workflow.inputs import at

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["Settings"]


class Settings:
    """The fields of all inputs but those `without`, filled with `values`, else defaults; `box` is None where there are none."""

    def __init__(self, workflow: Workflow, without: Collection[str], values: Mapping[str, Any]) -> None:
        asked = [one for one in workflow.inputs if one.name and one.name not in without]
        self._shared = Shared() if asked else None
        self.fields = {one.name: field(one, self._shared) for one in asked if self._shared is not None}
        for name, each in self.fields.items():
            given = at(values, name)
            each.initial = each.input.default if given is None else given
            each.reset()
            heard(each.widget)
        self.box = self._folded() if self.fields else None

    def _folded(self) -> Any:
        """Open from the start where something must be filled in."""
        lacks = any(each.input.required and each.initial in (None, "") for each in self.fields.values())
        rows = [row for each in self.fields.values() for row in each.rows]
        inner = fields_box([widgets.HTML(STYLE), *rows])
        return widgets.Accordion([inner], titles=(say("Settings"),), selected_index=0 if lacks else None)

    def values(self) -> dict[str, Any]:
        """What the fields hold, None for empty ones. Raises InputError."""
        found: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for name, each in self.fields.items():
            try:
                value = each.read()
            except ValueError as error:
                problems[name] = f"`{name}`: {error}"
                continue
            found[name] = None if value == "" else value
        if problems:
            raise InputError(problems)
        return found

    def taken(self) -> None:
        """The values have been used: secrets are hidden, and kept for the next time."""
        for each in self.fields.values():
            if each.is_secret:
                each.put(each.read())

    def tell(self, problems: Mapping[str, str]) -> list[str]:
        """Put what is wrong beside the fields; the sentences that belong to none of them."""
        for name, each in self.fields.items():
            words = each.without_name(problems.get(name, ""))
            if words != each.problem:
                each.tell(words)
        if self.box is not None and problems.keys() & self.fields.keys():
            self.box.selected_index = 0
        return [words for name, words in problems.items() if name not in self.fields]

    def close(self) -> None:
        """Take the fields away."""
        if self.box is not None and self._shared is not None:
            close(self.box)
            self._shared.close()
