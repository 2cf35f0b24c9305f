"""Whether a value is what a JSON Schema says: the part of 2020-12 that the inputs of workflows are described with.

A strict request is measured against the very schema that the OpenAPI document publishes, so that neither says more than the other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from composemagic.language.values import shown
from composemagic.words import listing, say

__all__ = ["problems"]

Schema = Mapping[str, Any]


def problems(value: Any, schema: Schema, name: str = "") -> Iterator[tuple[str, str]]:
    """What does not fit, as the dotted name of the value and a sentence."""
    if "anyOf" in schema and all(any(problems(value, one, name)) for one in schema["anyOf"]):
        yield from problems(value, schema["anyOf"][0], name)
        return
    kinds = _kinds(schema)
    if kinds and not any(_is(value, kind) for kind in kinds):
        name, wanted = name or "input", listing(_WORDS[kind]() for kind in kinds)
        yield name, say("`{name}`: {wanted} is wanted, not {value}", name=name, wanted=wanted, value=shown(value))
        return
    match value:
        case dict():
            yield from _in_object(value, schema, name)
        case list():
            for at, item in enumerate(value):
                yield from problems(item, schema.get("items", {}), f"{name}[{at}]")
        case str():
            yield from _in_text(value, schema, name)
        case int() | float() if not isinstance(value, bool):
            yield from _in_number(value, schema, name)


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "number": (int, float), "null": (type(None),),
}  # fmt: skip
_WORDS = {
    "object": lambda: say("an object"),
    "array": lambda: say("a list"),
    "string": lambda: say("a text"),
    "boolean": lambda: say("true or false"),
    "number": lambda: say("a number"),
    "integer": lambda: say("a whole number"),
    "null": lambda: say("null"),
}


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":  # 1.0 is one
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _TYPES[kind])


def _in_object(value: dict[str, Any], schema: Schema, name: str) -> Iterator[tuple[str, str]]:
    known = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield _below(name, key), say("`{name}` is missing", name=_below(name, key))
    for key, inner in value.items():
        if key in known:
            yield from problems(inner, known[key], _below(name, key))
        elif schema.get("additionalProperties") is False:
            yield (
                _below(name, key),
                say("the workflow does not ask for `{name}`{near}", name=_below(name, key), near=""),
            )


def _below(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _in_text(value: str, schema: Schema, name: str) -> Iterator[tuple[str, str]]:
    if "enum" in schema and value not in schema["enum"]:
        offered = listing(f"`{one}`" for one in schema["enum"])
        yield (
            name,
            say(
                "`{name}`: {value} is not offered; these are: {offered}", name=name, value=shown(value), offered=offered
            ),
        )
    elif len(value) < schema.get("minLength", 0):
        yield name, say("`{name}` is missing", name=name)
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        yield name, say("`{name}`: {value} is not written as this input is", name=name, value=shown(value))


def _in_number(value: float, schema: Schema, name: str) -> Iterator[tuple[str, str]]:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if not least <= value <= most:
        places = {"name": name, "value": shown(value), "least": f"{least:g}", "most": f"{most:g}"}
        yield name, say("`{name}`: {value} is not between {least} and {most}", **places)
