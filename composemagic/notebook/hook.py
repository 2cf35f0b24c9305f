"""How a `%%compose` cell becomes an awaited one in a kernel, so that Stop works while it runs."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

__all__ = ["awaitify"]

_CALL = "get_ipython().run_cell_magic('compose', "
_AWAITED = "await get_ipython().magics_manager.registry['ComposeMagics'].acompose("


def awaitify(lines: list[str]) -> list[str]:
    """Turn a translated `%%compose` cell into an awaited one: Stop then works while it runs.

    Inside another cell magic (`%%time`, `%%capture`) and in `get_ipython().run_cell(...)` it stays as it is, since there
    nothing can be awaited.
    """
    if not lines or not lines[0].startswith(_CALL) or _is_called_synchronously():
        return lines
    shell = get_ipython()
    magics = shell.magics_manager.registry.get("ComposeMagics") if shell else None
    if magics is None or not magics.awaited or magics.display == "plain" or not shell.autoawait:
        return lines
    return [_AWAITED + lines[0][len(_CALL) :], *lines[1:]]


def get_ipython() -> Any:
    """The running shell, or None."""
    from IPython.core.getipython import get_ipython as current

    return current()


def _is_called_synchronously() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("run_cell_magic", "run_cell"):
            return True
        frame = frame.f_back
    return False
