"""One line on how a run went, the same in a cell, a form and a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composemagic.engine.run import Run
from composemagic.prices import cost, cost_text, tokens
from composemagic.text import plain
from composemagic.words import say

__all__ = ["mark", "summary", "tokens_of"]


def summary(run: Run) -> str:
    """Status, first delta, total, deltas, tokens, cost where a price is known, and the model that answered, in the user's language."""
    timing = run.timing
    words = [mark(run.status)]
    if run.status in ("stopped", "truncated", "failed") and run.text:
        words.append(say("the text so far is kept"))
    if timing.first_delta is not None and timing.deltas > 1:
        words.append(say("first delta {seconds} s", seconds=f"{timing.first_delta:.2f}"))
    if timing.total is not None:
        words.append(say("total {seconds} s", seconds=f"{timing.total:.2f}"))
    if timing.deltas > 1:
        words.append(say("{count} deltas", count=timing.deltas))
    if answered := tokens_of(run.usage):
        words.append(say("{count} tokens", count=answered))
    if len(run.models) < 2 and (price := cost(run.model, run.usage)) is not None:  # the tokens are those of all
        words.append(say("cost {amount}", amount=cost_text(price)))
    if run.is_played:
        words.append(say("played from a recording"))
    elif run.model:
        words.append(plain(_answered(run.model, run.instead_of)))
    return " · ".join(words)


def mark(status: str) -> str:
    """A run's status in a word, with its sign."""
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


def tokens_of(usage: Mapping[str, Any] | None) -> int | None:
    """The answer's tokens, where the provider counted."""
    return tokens(usage)[1]
