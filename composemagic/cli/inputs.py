"""`--input`: the inputs as one JSON object, and how to write it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from composemagic.errors import InputError, UsageError
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.workflow.inputs import Input

__all__ = ["check", "metadata", "read"]

_SAMPLES = {"number": 0, "integer": 0, "boolean": True}


def read(text: str | None, inputs: Sequence[Input]) -> Any:
    """The input's value. Raises UsageError for what is no JSON, or no object where the workflow asks for names."""
    if text is None:
        return {}
    try:
        # JSON is UTF-8 whatever the terminal's encoding is
        value = json.loads(sys.stdin.buffer.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        what, shown = (say("stdin"), "") if text == "-" else ("--input", text)
        raise UsageError(f"{_no_json(what, shown, error)}\n{_hint(inputs)}") from None
    if not isinstance(value, dict) and any(one.name for one in inputs):
        sentence = say("--input is not a JSON object; this workflow asks for names.")
        raise UsageError(f"{sentence} {_hint(inputs)}")
    return value


def metadata(text: str | None) -> Any:
    """What `--metadata` says. Raises UsageError for what is no JSON."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(_no_json("--metadata", str(text), error)) from None


def check(workflow: Workflow, value: dict[str, Any]) -> None:
    """Raise InputError for what is missing, does not fit or has a typo in its name."""
    from composemagic.workflow.inputs import lacking

    try:
        workflow.check(value)
    except InputError as error:
        hint = _hint(workflow.inputs) if lacking(workflow.inputs, value) else ""
        raise InputError(error.problems, hint=hint) from None


def _no_json(what: str, text: str, error: Exception) -> str:
    """The sentence for what cannot be read; a place in it is the character's number."""
    shown = f": {text[:80]}" if text else ""
    if isinstance(error, json.JSONDecodeError):
        return say("{what} is not JSON (character {number}){shown}", what=what, number=error.pos + 1, shown=shown)
    return say("{what} is not JSON{shown}", what=what, shown=shown)


def _hint(inputs: Sequence[Input]) -> str:
    return say("Write it as {example}", example=_example(inputs))


def _example(inputs: Sequence[Input]) -> str:
    """How --input is written for these inputs, quoted for the user's shell."""
    value: dict[str, Any] = {}
    for one in [one for one in inputs if one.required and one.name] or inputs[:1]:
        place = value
        *parents, name = (one.name or "NAME").split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        if name not in place:
            place[name] = _SAMPLES.get(one.type, "...")
    text = json.dumps(value, ensure_ascii=False)
    return f"--input {subprocess.list2cmdline([text])}" if sys.platform == "win32" else f"--input '{text}'"
