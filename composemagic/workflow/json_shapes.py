"""The models that check a document, as JSON Schema: each key's kind of value, and what its docstring says of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from composemagic.workflow.component import Settings

__all__ = [
    "NULL",
    "TEMPLATE",
    "Json",
    "Properties",
    "about",
    "any_of",
    "closed",
    "count",
    "either",
    "model",
    "properties",
    "ref",
    "required",
    "several",
    "where",
]

Json = dict[str, Any]
Properties = dict[str, Json]

TEMPLATE: Json = {"type": "string", "pattern": r"\$\{"}
NULL: Json = {"type": "null"}
_NUMBER: Json = {"type": "string", "pattern": r"^\s*[-+]?[0-9][0-9_.eE+-]*\s*$|\$\{"}  # a quoted number is one
_PLAIN: Mapping[Any, tuple[Json, ...]] = {
    str: ({"type": "string"},),
    int: ({"type": "integer"}, _NUMBER),
    float: ({"type": "number"}, _NUMBER),
    bool: ({"type": "boolean"}, TEMPLATE),
    dict: ({"type": "object"}, TEMPLATE),
}


# -- shapes --------------------------------------------------------------------------------------------------------------


def ref(name: str) -> Json:
    """What `definitions` calls so."""
    return {"$ref": f"#/definitions/{name}"}


def any_of(*options: Json) -> Json:
    """One of several; anything at all where one of them is."""
    if {} in options:
        return {}
    return dict(options[0]) if len(options) == 1 else {"anyOf": list(options)}


def count(least: int = 1) -> Json:
    """A whole number, which may be quoted or a template."""
    return any_of({"type": "integer", "minimum": least}, _NUMBER)


def several(one: Json) -> Json:
    """A list, or a mapping of ids."""
    return any_of({"type": "array", "items": one}, {"type": "object", "additionalProperties": one}, NULL)


def closed(text: str, keys: Properties, needed: Iterable[str] = ()) -> Json:
    """A mapping of these keys and the user's own `x-...`."""
    found: Json = {"type": "object", "description": text, "properties": keys}
    if names := list(needed):
        found["required"] = names
    return {**found, "patternProperties": {"^x-": {}}, "additionalProperties": False}


def either(keys: Iterable[str], with_them: Json, without: Json) -> Json:
    """One form where one of the keys stands there, else another."""
    given = {"type": "object", "anyOf": [{"required": [key]} for key in keys]}
    return {"if": given, "then": with_them, "else": without}


def where(key: str, values: Iterable[Any], then: Json, *, or_absent: bool = False) -> Json:
    """What holds where a key has one of these values."""
    test: Json = {"type": "object", "properties": {key: {"enum": list(values)}}}
    return {"if": test if or_absent else {**test, "required": [key]}, "then": then}


# -- models --------------------------------------------------------------------------------------------------------------


def model(kind: type[Settings], parts: Mapping[str, Json] | None = None) -> Json:
    """A mapping as a model describes it; `parts` are keys whose values the annotations do not tell."""
    return closed(about(kind), properties(kind, parts), required(kind))


def properties(kind: type[Settings], parts: Mapping[str, Json] | None = None, owner: type | None = None) -> Properties:
    """The keys of a model. Where its own docstrings say nothing of one, its owner's may."""
    hints = get_type_hints(kind, include_extras=True)
    told = parts or {}
    found = {}
    for key in kind.model_fields:
        text = _said(kind.__mro__, key) or _said((owner,) if owner else (), key)
        value = told[key] if key in told else _value(hints[key])
        found[key] = {"description": text, **value} if text else value
    return found


def required(kind: type[Settings]) -> list[str]:
    """The keys without a default."""
    return [key for key in kind.model_fields if not hasattr(kind, key)]


def about(kind: type) -> str:
    """The first paragraph of a class's own docstring, in one line."""
    return next(iter(_paragraphs(kind)), "")


def _paragraphs(kind: type) -> list[str]:
    """A class's own docstring without its examples, a line for each paragraph."""
    written = _EXAMPLE.sub("", cleandoc(vars(kind).get("__doc__") or ""))
    return [" ".join(each.split()) for each in written.split("\n\n") if each and not each.startswith(" ")]


def _said(kinds: Iterable[type], key: str) -> str:
    """What docstrings say of a key: the clauses that name it."""
    texts = (text for kind in kinds for text in _paragraphs(kind))
    clauses = (clause for text in texts for clause in re.split(r"(?<=[.;])\s+", text) if f"`{key}`" in clause)
    return " ".join(clauses).rstrip(";")


_EXAMPLE = re.compile(r"^```.*?^```\n?", re.MULTILINE | re.DOTALL)


def _value(wanted: Any) -> Json:
    """A key's value, by the key's annotation; a template may stand for anything that is not text already."""
    return any_of(*_options(wanted))


def _options(wanted: Any) -> Iterator[Json]:
    origin = get_origin(wanted)
    if wanted is Any:
        yield {}
    elif wanted is type(None):
        yield NULL
    elif origin in (Union, UnionType):
        for each in get_args(wanted):
            yield from _options(each)
    elif origin is Literal:
        yield from ({"enum": list(get_args(wanted))}, TEMPLATE)
    elif origin is Annotated:
        yield from _within(*get_args(wanted))
    elif origin is list:
        yield from ({"type": "array", "items": _value(get_args(wanted)[0])}, TEMPLATE)
    elif isinstance(wanted, type) and issubclass(wanted, Settings):
        yield from (model(wanted), TEMPLATE)
    elif isinstance(wanted, type) and issubclass(wanted, str):
        yield from _PLAIN[str]
    else:
        yield from _PLAIN.get(origin or wanted, ({},))


def _within(plain: type, limits: range) -> Iterator[Json]:
    number, text = _PLAIN[plain]
    yield from ({**number, "minimum": limits[0], "maximum": limits[-1]}, text)
