"""`--input`: the inputs one by one or as a JSON object, and how to write them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from composemagic.errors import InputError, UsageError
from composemagic.words import say
from composemagic.workflow.written import nested, scalar

if TYPE_CHECKING:
    from composemagic.workflow.inputs import Input

__all__ = ["check", "metadata", "read", "sample"]

_SAMPLES: dict[str, Any] = {"number": 0, "integer": 0, "boolean": True, "list": ["..."], "object": {"...": "..."}}
_PAIR = re.compile(r"[^\s={}\[\]\"]+=")


def read(items: Sequence[str], inputs: Sequence[Input]) -> Any:
    """The input's value, of what each `-i` gives: KEY=VALUE, or a whole JSON object; of several the last one counts.

    Raises UsageError for what is neither, or no object where the workflow asks for names.
    """
    found: dict[str, Any] = {}
    for item in items:
        if _PAIR.match(item):
            key, _, text = item.partition("=")
            found[key] = scalar(key, text, inputs)
            continue
        value = _object(item, inputs)
        if not isinstance(value, dict):
            return _whole(value, is_alone=len(items) == 1, inputs=inputs)
        found |= value
    return nested(found) if any(map(_PAIR.match, items)) else found


def _whole(value: Any, *, is_alone: bool, inputs: Sequence[Input]) -> Any:
    """A value that is no object: the whole input, where no names are asked for. Raises UsageError."""
    if not is_alone or any(one.name for one in inputs):
        sentence = say("--input is not a JSON object; this workflow asks for names.")
        raise UsageError(f"{sentence} {_hint(inputs)}")
    return value


def _object(text: str, inputs: Sequence[Input]) -> Any:
    try:
        # JSON is UTF-8 whatever the terminal's encoding is
        return json.loads(sys.stdin.buffer.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        what, shown = (say("stdin"), "") if text == "-" else ("--input", text)
        raise UsageError(f"{_no_json(what, shown, error)}\n{_hint(inputs)}") from None


def metadata(text: str | None) -> Any:
    """What `--metadata` says. Raises UsageError for what is no JSON."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(_no_json("--metadata", str(text), error)) from None


def check(asked: Sequence[Input], value: dict[str, Any]) -> None:
    """Raise InputError for what is missing, does not fit or has a typo in its name."""
    from composemagic.workflow.inputs import check_values, lacking

    try:
        check_values(asked, value)
    except InputError as error:
        hint = _hint(asked) if lacking(asked, value) else ""
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
    text = json.dumps(sample(inputs), ensure_ascii=False)
    return f"--input {subprocess.list2cmdline([text])}" if sys.platform == "win32" else f"--input '{text}'"


def sample(inputs: Sequence[Input]) -> dict[str, Any]:
    """Values for the inputs that are required, or for the first one where none is."""
    value: dict[str, Any] = {}
    for one in [one for one in inputs if one.required and one.name] or inputs[:1]:
        place = value
        *parents, name = (one.name or "NAME").split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        if name not in place:
            place[name] = _sample(one)
    return value


def _sample(one: Input) -> Any:
    value = one.options[0] if one.options else one.bounds[0] if one.bounds else _SAMPLES.get(one.type, "...")
    return [value] if one.is_list else value
