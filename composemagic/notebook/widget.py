"""What every widget here needs: to be shown, to hear clicks while a cell runs, to be taken away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

__all__ = ["button", "close", "heard", "unpin", "widget_bundle"]


def button(label: str, icon: str, clicked: Callable[[Any], None], *, style: str = "", width: str = "90px") -> Any:
    """A button whose clicks arrive while a cell runs. Its label is shown as it is."""
    import ipywidgets as widgets

    made = widgets.Button(description=label, icon=icon, button_style=style, layout=widgets.Layout(width=width))
    made.on_click(clicked)
    unpin(made)
    return made


def unpin(widget: Any) -> None:
    """Let the front end's own subshell take what a widget hears, so that it arrives while the main thread waits.

    ipykernel 7 pins a comm to the shell that sent its last message, through a private attribute.
    """
    with contextlib.suppress(AttributeError):
        del widget.comm._reply_subshell_id


def heard(field: Any) -> Any:
    """The field, whose changes arrive while a cell runs: the echo of each pins it again.

    A change that comes to the main shell then gets no `idle`, and the page holds back the next one for ever.
    """
    unpin(field)
    field.observe(lambda _: unpin(field), "value")
    return field


def widget_bundle(widget: Any, text: str) -> dict[str, Any]:
    """A widget as a front end wants it, and a text for places without widgets."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": view, "text/plain": text}


def close(widget: Any) -> None:
    """Close a widget and what it is made of: each is kept in the kernel and in the page otherwise."""
    for child in getattr(widget, "children", ()):
        close(child)
    for part in (getattr(widget, "style", None), getattr(widget, "layout", None), widget):
        if part is not None:
            part.close()
