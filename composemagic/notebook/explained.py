"""What a run would send, below a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composemagic.notebook.look import FRAME, STYLE, escaped

if TYPE_CHECKING:
    from composemagic.explaining import Explanation

__all__ = ["shown"]


def shown(found: Explanation) -> dict[str, str]:
    """An explanation as `text/html` and `text/plain`."""
    text = str(found)
    return {"text/html": f"{STYLE}{FRAME}<pre>{escaped(text)}</pre></div>", "text/plain": text}
