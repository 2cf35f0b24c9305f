"""What people type into a form's fields, as values: numbers, JSON, and lists with one item a line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from composemagic.language.json_words import json_problem
from composemagic.language.values import to_text
from composemagic.notebook.look import clipped
from composemagic.words import say

__all__ = [
    "Reader",
    "as_json",
    "as_lines",
    "item",
    "json_value",
    "lines",
    "number",
    "shown_number",
    "text_line",
    "whole",
]

Reader = Callable[[str], Any]

_SHOWN = 40  # characters that a sentence repeats
_BEFORE = 30  # characters that stand before the place of a mistake


def number(text: str) -> float:
    """A number. Raises ValueError with a sentence."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(say('"{text}" is no number', text=text.strip()[:_SHOWN]))
    return found


def whole(text: str) -> int:
    """A whole number. Raises ValueError with a sentence."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(say('"{text}" is no whole number', text=text.strip()[:_SHOWN])) from None


def shown_number(value: Any) -> str:
    """A number as people write it: without the digits that only the machine has."""
    return f"{value:.15g}" if isinstance(value, float) else to_text(value)


def json_value(text: str) -> Any:
    """JSON. Raises ValueError: a sentence with the line, below it the place in that line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        sentence = say("this is no JSON, line {line}: {problem}", line=error.lineno, problem=json_problem(error))
        raise ValueError(f"{sentence}\n{_place(error)}") from None
    except (ValueError, RecursionError) as error:  # too many digits, too deep
        raise ValueError(say("this is no JSON ({reason})", reason=type(error).__name__)) from None


def _place(error: json.JSONDecodeError) -> str:
    """The line of a mistake, or what is around it in a long one, with a caret below."""
    line, at = error.doc.split("\n")[error.lineno - 1].replace("\t", " "), error.colno - 1
    start = max(0, at - _BEFORE)
    return f"{line[start : at + _BEFORE]}\n{' ' * (at - start)}^"


def text_line(line: str) -> str:
    """A line as it stands."""
    return line


def item(line: str) -> Any:
    """What a line of an untyped list says: a number, true, false, null or quoted text as JSON has them, else its text."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return line


def lines(text: str, read: Reader) -> list[Any]:
    """A list with one item a line, blank lines aside; or a list in JSON. Raises ValueError with a sentence."""
    if (stripped := text.strip()).startswith("[") and stripped.endswith("]"):
        found: list[Any] = json_value(stripped)
        return found
    values, problems = [], []
    for at, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append(read(line.strip()))
        except ValueError as error:
            problems.append(say("line {line}: {problem}", line=at, problem=error))
    if problems:
        raise ValueError(problems[0])
    return values


def as_lines(value: Any, read: Reader) -> str:
    """A value as text that `lines` reads as the same: one item a line where that is possible, else JSON."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return as_json(value)
    text = "\n".join(map(shown_number, value))
    try:
        is_same = as_json(lines(text, read)) == as_json(list(value))
    except ValueError:
        is_same = False
    return text if is_same else as_json(value)


def as_json(value: Any) -> str:
    """A value as text to be changed; what JSON cannot say, as a text in it."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=lambda one: clipped(str(one)))
