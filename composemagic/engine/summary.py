"""One line on how a run went, the same in a cell, a form and a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composemagic.engine.run import Run
from composemagic.text import plain

__all__ = ["summary"]

_MARKS = {
    "done": "✓ done",
    "stopped": "■ stopped",
    "truncated": "✗ incomplete",
    "failed": "✗ failed",
    "running": "… running",
    "interrupted": "? waits for an answer",
}


def summary(run: Run) -> str:
    """Status, first delta, total, deltas, tokens, and the model that answered."""
    timing = run.timing
    words = [_MARKS[run.status]]
    if run.status in ("stopped", "truncated", "failed") and run.text:
        words.append("the text so far is kept")
    if timing.first_delta is not None and timing.deltas > 1:
        words.append(f"first delta {timing.first_delta:.2f} s")
    if timing.total is not None:
        words.append(f"total {timing.total:.2f} s")
    if timing.deltas > 1:
        words.append(f"{timing.deltas} deltas")
    if tokens := _tokens(run.usage):
        words.append(f"{tokens} tokens")
    if run.model:
        instead = f", not by {run.instead_of}" if run.instead_of else ""
        words.append(plain(f"answered by {run.model}{instead}"))
    return " · ".join(words)


def _tokens(usage: Mapping[str, Any] | None) -> int | None:
    """The answer's tokens, by the names the providers give them."""
    for name in ("completion_tokens", "output_tokens", "eval_count"):
        if usage and isinstance(usage.get(name), int):
            return int(usage[name])
    return None
