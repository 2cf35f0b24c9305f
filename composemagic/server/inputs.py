"""The inputs of a request: what the OpenAPI document says of them, what a strict request is measured by, and files in JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from composemagic.api import Workflow
from composemagic.errors import InputError
from composemagic.language.casts import CastError
from composemagic.language.expression import Name, parse_path
from composemagic.language.formats import Media, decoded
from composemagic.server.conforming import problems
from composemagic.server.refusals import Refusal
from composemagic.workflow.inputs import Input, check_values
from composemagic.workflow.variable import object_schema, schema_of

__all__ = ["check", "checked_schema", "with_files"]

Json = dict[str, Any]

_MEDIA = ("image", "audio", "video", "file", "model-3d")
_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_PATTERNS = {
    "bytes": f"^(?:data:[A-Za-z0-9.+/-]*;base64,)?{_BASE64}$",
    "base64": f"^{_BASE64}$",
    "data-uri": f"^data:[A-Za-z0-9.+/-]*;base64,{_BASE64}$",
    # a name, and no number: most of these are addresses where a server sends for no request
    "url": r"^https?://(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z][A-Za-z0-9-]{0,62}(?::[1-9][0-9]{0,4})?(?:[/?#][^\u0000-\u0020\u007f]*)?$",
}
_NO_TEXT = ["object", "array", "number", "boolean", "null"]


# -- what is asked for ---------------------------------------------------------------------------------------------------


def checked_schema(inputs: Iterable[Input]) -> Json:
    """What a strict request may give, as JSON Schema 2020-12: no other names, no other types, nothing that is missing."""
    inputs = tuple(inputs)
    named = [one for one in inputs if one.name]
    if not named:  # it asks for nothing by name: whatever comes is its input
        return _of_one(inputs[0]) if inputs else {}
    schema = object_schema((one.name, _of_one(one), one.required) for one in named)
    return schema if any(one.is_open for one in inputs) else {**schema, "additionalProperties": False}


def _of_one(one: Input) -> Json:
    """One input; one that may be left out may be null, too."""
    said = schema_of(one)
    words: Json = {key: said[key] for key in ("title", "description", "default") if key in said}
    schema = _each(replace(one, has_default=False, label=None, description=None))
    if one.required or not schema:
        return {**schema, **words}
    return {"anyOf": [schema, {"type": "null"}], **words}


def _each(one: Input) -> Json:
    """A value that is given, without words."""
    schema = schema_of(one)
    return {**schema, "items": _typed(one, schema["items"])} if one.is_list else _typed(one, schema)


def _typed(one: Input, schema: Json) -> Json:
    """The value without what a schema can say and a run cannot take: an empty text, a text that is no JSON, no base64."""
    form = one.cast.format if one.cast else None
    needed = one.required and not one.is_list
    if one.type in _MEDIA or form is not None:
        rest = {key: value for key, value in schema.items() if key not in ("type", "format")}
        pattern = _PATTERNS.get(form or "bytes")
        least = {} if pattern and not needed else {"minLength": 1}
        return {"type": "string", **({"pattern": pattern} if pattern else {}), **least, **rest}
    if one.type == "json":
        return {"type": [kind for kind in _NO_TEXT if kind != "null" or not needed], **schema}
    if not schema and needed:
        return {"anyOf": [{"type": "string", "minLength": 1}, {"type": _NO_TEXT[:-1]}]}
    if schema.get("type") == "string" and needed and "enum" not in schema:
        return {**schema, "minLength": 1}
    return schema


# -- what is given ---------------------------------------------------------------------------------------------------------


def check(workflow: Workflow, value: Any, *, is_text: bool) -> None:
    """Raise Refusal (422) with every input that is missing, unknown or of another type; in a form (`is_text`) all is text."""
    found: dict[str, str] = {}
    schema = checked_schema(workflow.inputs)
    value = {} if value is None and "properties" in schema else value
    if not is_text:
        found = dict(problems(value, schema))
    if isinstance(value, dict):
        try:
            loaded = [one for one in workflow.inputs if one.name and not _is_loaded(one)]
            check_values(loaded, with_files(workflow, value))
        except InputError as error:
            found |= error.problems
    if found:
        raise Refusal(422, "input", "; ".join(found.values()), problems=found)


def _is_loaded(one: Input) -> bool:
    """Whether only a run can say that the value is right: it loads what the value names."""
    return one.cast is not None and one.cast.format in ("url", "path")


def with_files(workflow: Workflow, value: Any) -> Any:
    """The value with bytes for files that JSON holds as base64 or as data URIs; what is neither stays as it is."""
    if not isinstance(value, dict):
        return value
    for one in workflow.inputs:
        if one.name and one.type in _MEDIA and one.cast is not None and one.cast.format is None:
            steps = [step.name for step in parse_path(one.name) if isinstance(step, Name)]
            value = _replaced(value, steps)
    return value


def _replaced(value: Any, steps: list[str]) -> Any:
    if isinstance(value, list) and not steps:
        return [_replaced(item, steps) for item in value]
    if not steps:
        return _bytes(value) if isinstance(value, str) else value
    first, *rest = steps
    if not isinstance(value, dict) or first not in value:
        return value
    return {**value, first: _replaced(value[first], rest)}


def _bytes(text: str) -> Any:
    is_uri = text.startswith("data:")
    try:
        found = Media(decoded(text, "data-uri" if is_uri else "base64", None))
    except CastError:
        return text
    if is_uri:
        found.content_type = text[5:].partition(",")[0].partition(";")[0] or found.content_type
    return found
