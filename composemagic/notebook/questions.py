"""What a run asks people, in words: a point's question, how an answer is read, and afterwards what was answered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from composemagic.engine import asking
from composemagic.engine.events import Interrupted, Point, Resumed
from composemagic.engine.run import Run
from composemagic.errors import UsageError
from composemagic.notebook.look import FAINT, clipped, escaped, folded, preformatted
from composemagic.notebook.tree import tree, value_text
from composemagic.text import plain
from composemagic.words import say

__all__ = [
    "asked_html",
    "asked_text",
    "editable",
    "edited",
    "facts",
    "fixed",
    "hint",
    "question",
    "still_open",
]

_LONGEST = 100_000  # characters that are edited below a cell
_SHORT = 200


def question(point: Point) -> str:
    """What a point asks, as a sentence with its job."""
    return asking.question(replace(point, job_id=clipped(point.job_id)))


def hint(point: Point) -> str:
    """What the text is that stands to be changed below a question."""
    match point.phase:
        case "before":
            return say("Its input, which you may change:")
        case "after":
            return say("Its output, which you may change:")
    if asking.is_tool_call(point):
        return say(
            "Empty lets the tool run; `false`, or a text that the model is told as the reason, refuses it; "
            "a JSON object takes the place of its arguments:"
        )
    return say("Your answer:")


def editable(run: Run, point: Point) -> str | None:
    """A point's value as text to be changed; None for one that no text can say, that is too long or holds a secret."""
    value = point.value
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    except (ValueError, TypeError, RecursionError):
        return None
    return None if len(text) > _LONGEST or run.redact.finds(text) else plain(text)


def edited(run: Run, point: Point, text: str) -> Any:
    """The answer that a changed text means: None where it has not changed. Raises ValueError with a sentence."""
    if text == editable(run, point):
        return None
    if isinstance(point.value, str):
        return text
    if point.value is None:
        return asking.meaning(text)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(say("this is no JSON ({reason})", reason=error)) from None


def still_open(run: Run, answers: dict[str, Any]) -> dict[str, Any]:
    """Those of the answers whose points still wait. Raises UsageError where none does."""
    waiting = {point.id for point in run.points}
    found = {name: value for name, value in answers.items() if name in waiting}
    if not found:
        raise UsageError(say("the run does not wait for an answer any more"))
    return found


def facts(run: Run, point: Point) -> str:
    """What comes with a question, as HTML."""
    return "" if point.metadata is None else f'<div class="compose-under">{fixed(run, point.metadata)}</div>'


def fixed(run: Run, value: Any) -> str:
    """A value that is only to be looked at, as HTML, without secrets."""
    text = value_text(value)
    return preformatted(run.redact(text)) if run.redact.finds(text) else tree(value)


def asked_html(run: Run) -> str:
    """What was asked and answered, folded."""
    asked = _asked(run)
    if not asked:
        return ""
    lines = "".join(
        f"<div>{escaped(question(point))}</div>{facts(run, point)}<div class='compose-under'>{escaped(outcome)}</div>"
        for point, outcome in asked
    )
    head = say("1 question to a person") if len(asked) == 1 else say("{count} questions to a person", count=len(asked))
    return f'<div style="{FAINT}">{folded(escaped(head), lines, is_open=len(asked) <= 3)}</div>'


def asked_text(run: Run) -> list[str]:
    """The same as lines of text."""
    return [plain(f"? {question(point)} {outcome}") for point, outcome in _asked(run)]


def _asked(run: Run) -> list[tuple[Point, str]]:
    """Each point, in the order asked, and what has become of it."""
    points: dict[str, Point] = {}
    outcomes: dict[str, str] = {}
    for event in run.events:
        match event:
            case Interrupted(asked):
                points |= {point.id: point for point in asked}
            case Resumed(answered, answers=answers):
                outcomes |= {name: _outcome(run, answers.get(name)) for name in answered}
    # a run that tells its last event is not `done` yet
    is_open = run.status in ("running", "interrupted")
    missing = say("→ not answered yet") if is_open else say("→ not answered")
    return [(point, outcomes.get(name, missing)) for name, point in points.items()]


def _outcome(run: Run, answer: Any) -> str:
    if answer is None:
        return say("→ went on as it was")
    return say("→ answered: {value}", value=clipped(run.redact(value_text(answer, indent=None)), _SHORT))
