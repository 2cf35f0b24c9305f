"""One line on how a run went, the same in a cell, a form and a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composemagic.engine.run import Run
from composemagic.text import plain
from composemagic.words import say

__all__ = ["summary"]


def summary(run: Run) -> str:
    """Status, first delta, total, deltas, tokens, and the model that answered, in the user's language."""
    timing = run.timing
    words = [_mark(run.status)]
    if run.status in ("stopped", "truncated", "failed") and run.text:
        words.append(say("the text so far is kept"))
    if timing.first_delta is not None and timing.deltas > 1:
        words.append(say("first delta {seconds} s", seconds=f"{timing.first_delta:.2f}"))
    if timing.total is not None:
        words.append(say("total {seconds} s", seconds=f"{timing.total:.2f}"))
    if timing.deltas > 1:
        words.append(say("{count} deltas", count=timing.deltas))
    if tokens := _tokens(run.usage):
        words.append(say("{count} tokens", count=tokens))
    if run.model:
        words.append(plain(_answered(run.model, run.instead_of)))
    return " · ".join(words)


def _mark(status: str) -> str:
    match status:
        case "done":
            return say("✓ done")
        case "stopped":
            return say("■ stopped")
        case "truncated":
            return say("✗ incomplete")
        case "failed":
            return say("✗ failed")
        case "interrupted":
            return say("? waits for an answer")
    return say("… running")


def _answered(model: str, instead_of: str | None) -> str:
    if instead_of:
        return say("answered by {model}, not by {other}", model=model, other=instead_of)
    return say("answered by {model}", model=model)


def _tokens(usage: Mapping[str, Any] | None) -> int | None:
    """The answer's tokens, by the names the providers give them."""
    for name in ("completion_tokens", "output_tokens", "eval_count"):
        if usage and isinstance(usage.get(name), int):
            return int(usage[name])
    return None
