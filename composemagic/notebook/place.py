"""A place below a cell whose content is replaced: a display with an id or, where a page replaces none, a widget."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from composemagic.notebook.attended import in_voila

__all__ = ["Place"]


class Place:
    """What stands in it is a MIME bundle. `widget` is None where displays are replaced by their `id`."""

    def __init__(self, layout: Any) -> None:
        self.id = f"compose-{uuid.uuid4().hex[:12]}"
        self.widget: Any = widgets.Output(layout=layout) if in_voila() else None

    def show(self) -> None:
        """Take the place, which is empty yet; a widget is displayed by who holds it."""
        if self.widget is None:
            display({"text/plain": ""}, raw=True, display_id=self.id)

    def put(self, data: Mapping[str, Any]) -> None:
        """Replace what stands there, from any thread."""
        if self.widget is None:
            display(dict(data), raw=True, display_id=self.id, update=True)
        else:
            self.widget.outputs = ({"output_type": "display_data", "data": dict(data), "metadata": {}},)
