"""The forms of several workflows, one a tab."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import display

from composemagic.engine.run import Run
from composemagic.errors import UsageError
from composemagic.notebook.attended import can_click
from composemagic.notebook.card import below, card
from composemagic.notebook.fields import Shared
from composemagic.notebook.form import Form
from composemagic.notebook.look import clipped
from composemagic.notebook.widget import widget_bundle
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["Forms"]

_TITLE = 30


class Forms:
    """A form for each workflow behind a tab of its own; `forms` are these, in this order.

    `values` has the presets of each form, in the same order. Answers stand below, each under the line that says of which
    workflow it is and with which values. Raises UsageError and InputError as a form does, and UsageError for no workflow.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow],
        values: Iterable[Mapping[str, Any] | None] = (),
        keep: Callable[[Run], None] | None = None,
    ) -> None:
        workflows = list(workflows)
        if not workflows:
            raise UsageError(say("there is no workflow to make a form for"))
        titles = [one.title for one in workflows]
        self._shared = Shared()
        pairs = zip_longest(workflows, islice(values, len(workflows)))
        self.forms = [Form(one, preset, keep, shared=self._shared) for one, preset in pairs]
        boxes = [form.box for form in self.forms]
        self.box = widgets.Tab(boxes, titles=[clipped(title, _TITLE) for title in titles], layout=self._shared.plain)

    def show(self) -> None:
        """Display the tabs, and below them the places for the answers; where nobody can click, what they would ask."""
        if not can_click(get_ipython()):
            for form in self.forms:
                display(card(form.workflow), raw=True)
            return
        self.box.add_class(self._shared.stand_in.live)
        titles = ", ".join(form.workflow.title for form in self.forms)
        display(widget_bundle(self.box, below(titles)), raw=True)
        for form in self.forms:
            form.show_places()

    _ipython_display_ = show

    def close(self) -> None:
        """Stop all runs and take the widgets away."""
        for form in self.forms:
            form.close()
        self.box.close()
