"""Which view shows a run here: by who sits in front of the kernel, and by what the user has set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from composemagic.notebook.attended import can_click, in_voila
from composemagic.notebook.view import Live, Plain, Quiet, Still, View

__all__ = ["view_for"]


def view_for(shell: Any, title: str, *, in_background: bool = False, tell_errors: bool = False) -> View:
    """The view for a run of this title; one `in_background` goes on while other cells run.

    `tell_errors`: no cell raises the run's error. A view that only shows the end shows it in any case.
    """
    kernel = getattr(shell, "kernel", None)
    magics = shell.magics_manager.registry.get("ComposeMagics") if shell is not None else None
    display = getattr(magics, "display", "auto")
    if display == "plain" or (display == "auto" and kernel is None):
        return Quiet() if in_background else Plain()  # what is printed later would land in another cell
    if display == "auto" and not can_click(shell):
        return Still()
    # before ipykernel 7 no click arrives while a cell runs; subshells changed that, and this private name says so
    hears = in_background or bool(getattr(kernel, "_supports_kernel_subshells", False))
    place = _place() if in_background and in_voila() else None
    return Live(
        title, tell_errors=tell_errors or in_background, stop=hears, attended=hears and can_click(shell), place=place
    )


def _place() -> Callable[[Mapping[str, Any]], None]:
    """Where to put what changes after the cell has ended."""
    from composemagic.notebook.place import Place

    return Place().put
