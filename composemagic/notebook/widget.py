"""What every widget here needs: to be shown, to hear clicks while a cell runs, to be taken away."""

from __future__ import annotations

import asyncio
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
    """The field, of which every change arrives while a cell runs, not only the first.

    A page has one change of a field on its way, and sends the next one when the kernel's `idle` for it has come. The echo of
    a change pins the field again, and for what comes to the main shell while a cell awaits there is no `idle`.
    """

    def hear(message: Any) -> None:
        field._handle_msg(message)
        unpin(field)
        if _is_beside_a_cell():
            _say_idle()

    unpin(field)
    field.observe(lambda _: unpin(field), "value")  # of a change by code, too
    field.comm.on_msg(hear)
    return field


def _say_idle() -> None:
    """Say for the message at hand what ipykernel leaves out.

    Since 7.4 it takes messages of widgets during an awaited cell, without a status. They come this way from front ends that
    know no subshells, and from others before these are there.
    """
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is not None:
        idle = {"execution_state": "idle"}
        kernel.session.send(kernel.iopub_socket, "status", idle, parent=kernel.get_parent("shell"))


def _is_beside_a_cell() -> bool:
    """Whether ipykernel takes this message while a cell awaits: only its own task knows."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return False
    frame = getattr(task and task.get_coro(), "cr_frame", None)
    return frame is not None and frame.f_locals.get("concurrent") is True


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
