"""What the web page asks for: the fields of each workflow's form, and the words that stand on the page itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from composemagic.language.secret import is_secret
from composemagic.text import plain
from composemagic.words import say
from composemagic.workflow.inputs import Input

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["form_of", "page_words"]

_MEDIA = {"image": "image/*", "audio": "audio/*", "video": "video/*", "file": "", "model-3d": ".glb,.gltf,.obj,.stl"}
_KINDS = {
    "string": "line", "integer": "integer", "number": "number", "boolean": "boolean", "select": "select",
    "slider": "slider", "json": "json", "list": "json", "object": "json",
}  # fmt: skip


def form_of(workflow: Workflow, name: str) -> dict[str, Any]:
    """A workflow's title, description and fields as JSON; `name` is its id."""
    inputs = workflow.inputs
    return {
        "id": name,
        "title": plain(workflow.title),
        "description": plain(workflow.description or ""),
        "fields": [_field(one) for one in inputs if one.name or len(inputs) == 1],
    }


def _field(one: Input) -> dict[str, Any]:
    kind, encoding = _kind(one)
    secret = is_secret(one.name, "")
    return {
        "name": one.name,
        "path": one.name.split(".") if one.name else [],
        "kind": kind,
        "type": f"{one.type}[]" if one.is_list else one.type,
        "encoding": encoding,
        "accept": _accepted(one) if kind == "files" else "",
        "many": one.is_list,
        "secret": secret,
        "required": one.required,
        "label": plain(one.label or one.name or say("the input")),
        "description": plain(one.description or ""),
        "options": [plain(option) for option in one.options],
        "bounds": _bounds(one.bounds),
        "initial": "" if secret or not one.has_default else _initial(one.default, kind),
    }


def _kind(one: Input) -> tuple[str, str]:
    """How an input is asked for, and of files how they are sent: as they are, or as text in a JSON value."""
    if one.type in _MEDIA:
        form = one.cast.format if one.cast else None
        # an address and a path are text; the file that a path leads to is on the server
        return ("line", "") if form in ("url", "path") and not one.is_list else ("files", form or "")
    if one.is_list:
        return "json", ""
    return _KINDS.get(one.type, "text"), ""


def _accepted(one: Input) -> str:
    """What a browser's file dialog offers first (HTML, `accept`)."""
    subtype = one.cast.subtype if one.cast else None
    kinds = _MEDIA[one.type]
    return f"{one.type}/{subtype}" if subtype and kinds.endswith("/*") and subtype.isalnum() else kinds


def _bounds(bounds: Sequence[float]) -> list[float]:
    """The least, the greatest and the step of a slider."""
    if not bounds:
        return []
    low, high, *step = bounds
    return [low, high, step[0] if step else (high - low) / 100]


def _initial(value: Any, kind: str) -> Any:
    """What stands in a field at first: a truth for a box, a text for all others."""
    if kind == "boolean":
        return bool(value)
    if value is None or kind == "files":
        return ""
    if kind == "json" or isinstance(value, Mapping | list | bool):
        return plain(json.dumps(value, ensure_ascii=False, indent=2, default=str))
    return f"{value:.15g}" if isinstance(value, float) else plain(str(value))


def page_words() -> dict[str, str]:
    """The words of the page, in the language that is spoken. Places in braces are filled in the browser."""
    return {
        "run": say("Run"),
        "stop": say("Stop"),
        "reset": say("Reset"),
        "go_on": say("Go on"),
        "go_on_all": say("Go on everywhere"),
        "copy": say("Copy"),
        "copied": say("Copied"),
        "workflows": say("Workflows"),
        "answer": say("Answer"),
        "question": say("Question"),
        "language": say("Language"),
        "history": say("Earlier runs"),
        "history_where": say("Kept in this browser only, without files and secrets."),
        "clear": say("Clear all"),
        "earlier": say("This is an earlier answer."),
        "nothing_yet": say("The answer appears here."),
        "no_workflows": say("There is no workflow to run here."),
        "no_inputs": say("This workflow asks for nothing."),
        "required": say("required"),
        "choose": say("Choose …"),
        "pick_file": say("Choose a file"),
        "pick_files": say("Choose files"),
        "drop": say("or drop it here"),
        "remove": say("Remove"),
        "most": say("at most {size}"),
        "too_large": say("this is larger than {size}"),
        "missing": say("this is missing"),
        "no_integer": say('"{text}" is no whole number'),
        "no_number": say('"{text}" is no number'),
        "no_json_at": say("this is no JSON yet; see line {line}, column {column}"),
        "look_above": say("Something is not right yet; look at the marked fields."),
        "starting": say("starting"),
        "seconds": say("{seconds} s"),
        "one_note": say("1 note"),
        "many_notes": say("{count} notes"),
        "failed": say("This did not work"),
        "partial": say("What came before that is kept below; it is not complete."),
        "stopped": say("Stopped. What came before that is kept; it is not complete."),
        "unreachable": say("The server does not answer. Is it still running?"),
        "reconnecting": say("The connection was lost; trying again."),
        "forgotten": say("The server does not know this run any more."),
        "keys": say("Ctrl+Enter runs, Esc stops"),
        "keys_mac": say("⌘+Enter runs, Esc stops"),
    }
