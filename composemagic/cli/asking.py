"""Where a run asks people: each open point as a question in the terminal."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from composemagic.cli.terminal import tell
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.engine.events import Point

__all__ = ["answers", "somebody_is_there"]

_LONGEST = 400  # characters of a value that is shown


def somebody_is_there() -> bool:
    """Whether a person sees the questions and can type the answers."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def answers(points: Sequence[Point]) -> dict[str, Any] | None:
    """Ask for each point, and give the answers by the points' ids; None where the person wants to stop (Ctrl-C, Ctrl-D).

    An empty line is null: go on as it is. What is JSON is meant as such, anything else is text.
    """
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # or reading would just go on
    try:
        return {point.id: _answer(point) for point in points}
    except (EOFError, KeyboardInterrupt):
        tell("")
        return None
    finally:
        signal.signal(signal.SIGINT, former)


def _answer(point: Point) -> Any:
    tell(_question(point))
    if point.value is not None:
        tell(f"  {_short(point.value)}")
    tell(_hint(point))
    line = input().strip()
    if not line:
        return None
    try:
        return json.loads(line)
    except ValueError:
        return line


def _question(point: Point) -> str:
    if point.message:
        return say("? {job}: {message}", job=point.job_id, message=point.message)
    if point.phase == "after":
        return say("? {job} is done", job=point.job_id)
    return say("? {job} is about to run", job=point.job_id)


def _hint(point: Point) -> str:
    match point.phase:
        case "before":
            return say("  Enter goes on; text or JSON takes the place of its input; Ctrl-C stops the run")
        case "after":
            return say("  Enter goes on; text or JSON takes the place of its output; Ctrl-C stops the run")
        case _:
            return say("  Enter goes on without an answer; Ctrl-C stops the run")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
