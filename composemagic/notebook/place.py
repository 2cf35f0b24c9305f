"""A place below a cell whose content is replaced: a display with an id or, where a page replaces none, a widget."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from composemagic.notebook.attended import in_voila
from composemagic.notebook.widget import widget_bundle

__all__ = ["Place"]


class Place:
    """What stands in it is a MIME bundle. `widget` is None where displays are replaced by their `id`."""

    def __init__(self, layout: Any = None) -> None:
        self.id = f"compose-{uuid.uuid4().hex[:12]}"
        look = {} if layout is None else {"layout": layout}
        self.widget: Any = widgets.Output(**look) if in_voila() else None
        self._is_taken = False

    def show(self, data: Mapping[str, Any] | None = None) -> None:
        """Take the place, with nothing in it yet or with `data`; a widget, which is empty, is displayed by who holds it."""
        self._is_taken = True
        if self.widget is None:
            display(dict(data or {"text/plain": ""}), raw=True, display_id=self.id)

    def put(self, data: Mapping[str, Any]) -> None:
        """Replace what stands there, from any thread; where nothing does yet, display it, on the cell's."""
        is_first, self._is_taken = not self._is_taken, True
        if self.widget is None:
            display(dict(data), raw=True, display_id=self.id, update=not is_first)
            return
        self.widget.outputs = ({"output_type": "display_data", "data": dict(data), "metadata": {}},)
        if is_first:
            display(widget_bundle(self.widget, data.get("text/plain", "")), raw=True)
