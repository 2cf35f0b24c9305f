"""A value that a workflow takes or gives: its name and type, and its JSON Schema (2020-12) for tools, OpenAPI and forms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from composemagic.language.expression import Cast, Name, Segment, parse_path

__all__ = ["Variable", "object_schema", "schema_of"]

Json = dict[str, Any]

_MEDIA = ("image", "audio", "video", "file", "model-3d")
# https://www.iana.org/assignments/media-types: the types that are a kind of file
_WHOLE_MEDIA = {"image": "image/*", "audio": "audio/*", "video": "video/*", "model-3d": "model/*"}
_PLAIN: dict[str, Json] = {
    "string": {"type": "string"},
    "text": {"type": "string"},
    "markdown": {"type": "string", "contentMediaType": "text/markdown"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "slider": {"type": "number"},
    "boolean": {"type": "boolean"},
    "list": {"type": "array"},
    "object": {"type": "object"},
    "base64": {"type": "string", "contentEncoding": "base64"},
    "select": {"type": "string"},
    "stream": {"type": "string"},
}
_FORMATS: dict[str | None, Json] = {
    None: {"contentEncoding": "base64"},  # JSON has no bytes
    "base64": {"contentEncoding": "base64"},
    "url": {"format": "uri"},
    "data-uri": {"format": "uri"},
    "path": {},
}


@dataclass(frozen=True, slots=True)
class Variable:
    """A value with a name and, as far as its YAML says, a type.

    `type` is a cast's name, `options` what `select/...` offers, `bounds` the (min, max[, step]) of a slider, `default` is
    meaningful when `has_default`. `label` and `description` come from `@(...)` annotations. `name` is a dotted path, and
    empty for the whole.
    """

    name: str
    type: str = "string"
    is_list: bool = False
    options: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    default: Any = None
    has_default: bool = False
    label: str | None = None
    description: str | None = None
    cast: Cast | None = field(default=None, repr=False, compare=False)

    def to_json_schema(self) -> Json:
        """The value, as JSON Schema 2020-12."""
        return schema_of(self)


def schema_of(one: Variable) -> Json:
    """One value: its type, options, bounds, default and words. What has no type in JSON is described by its encoding."""
    schema = _typed(one)
    if one.is_list:
        schema = {"type": "array", "items": schema}
    if one.has_default and one.default is None:
        schema = {"anyOf": [schema, {"type": "null"}]} if schema else schema
    if one.has_default and _is_json(one.default):
        schema["default"] = one.default
    words = {"title": one.label, "description": one.description}
    return {**schema, **{key: text for key, text in words.items() if text}}


def object_schema(described: Iterable[tuple[Sequence[Segment] | str, Json, bool]]) -> Json:
    """An object of values by path: the path (`a.b[0]`), the schema, and whether it is required."""
    root: Json = {"type": "object", "properties": {}}
    for path, schema, required in described:
        segments = parse_path(path) if isinstance(path, str) else path
        _put(root, segments, schema, required=required)
    return root


def _typed(one: Variable) -> Json:
    kind, cast = one.type, one.cast
    if kind in _MEDIA:
        return {"type": "string", **_FORMATS.get(cast.format if cast else None, {}), **_media(kind, cast)}
    schema = dict(_PLAIN.get(kind, {}))  # `json` and `any` are anything
    if kind == "stream" and cast is not None and cast.subtype == "json":
        return {}
    if one.options:
        schema["enum"] = list(one.options)
    if one.bounds:
        schema |= {"minimum": one.bounds[0], "maximum": one.bounds[1]}
    return schema


def _media(kind: str, cast: Cast | None) -> Json:
    whole = _WHOLE_MEDIA.get(kind)
    if whole is None or cast is None or cast.subtype is None:
        return {} if whole is None else {"contentMediaType": whole}
    return {"contentMediaType": whole.replace("*", cast.subtype)}


def _put(node: Json, path: Sequence[Segment], schema: Json, *, required: bool) -> None:
    """Put a value's schema into an object's, or into a list's where the path goes on with an index."""
    if not path:
        node.update({**schema, **node})  # what lies below it has said more
        return
    step, rest = path[0], path[1:]
    if isinstance(step, Name):
        node["type"] = "object"
        below = node.setdefault("properties", {}).setdefault(step.name, {})
        if required and step.name not in node.setdefault("required", []):
            node["required"].append(step.name)
    else:
        node["type"] = "array"
        below = node.setdefault("items", {})
    _put(below, rest, schema, required=required)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
