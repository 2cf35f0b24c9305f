"""What a JSON Schema says of one place, given what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["keys", "values"]

Json = Mapping[str, Any]


def keys(schema: Json, path: Sequence[str | None], beside: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The keys that may stand in the mapping at a path, each with what is said of it."""
    found: dict[str, str] = {}
    for node in _at(schema, path, beside):
        for name, what in node.get("properties", {}).items():
            found[name] = found.get(name) or what.get("description", "")
    return {name: about for name, about in found.items() if name not in beside[-1]}


def values(schema: Json, path: Sequence[str | None], beside: Sequence[Mapping[str, str]], key: str) -> dict[str, str]:
    """The values that a key may have, as far as they can be counted, each with what is said of it."""
    found: dict[str, str] = {}
    for node in _at(schema, path, beside):
        for one in _alternatives(schema, node.get("properties", {}).get(key, {}), {}):
            about = one.get("description", "")
            for value in [one["const"]] if "const" in one else one.get("enum", ()):
                found.setdefault(_spelt(value), about)
            if one.get("type") == "boolean":
                found |= {"true": "", "false": ""}
    return found


def _spelt(value: object) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _at(schema: Json, path: Sequence[str | None], beside: Sequence[Mapping[str, str]]) -> Iterator[Json]:
    """All that is said of the mapping at a path."""
    nodes = [*_alternatives(schema, schema, beside[0])]
    for step, others in zip(path, beside[1:], strict=True):
        inner = [found for node in nodes for found in _below(node, step)]
        nodes = [one for node in inner for one in _alternatives(schema, node, others)]
    yield from nodes


def _below(node: Json, step: str | None) -> Iterator[Json]:
    if step is None:
        if "items" in node:
            yield node["items"]
    elif step in node.get("properties", {}):
        yield node["properties"][step]
    elif isinstance(node.get("additionalProperties"), Mapping):
        yield node["additionalProperties"]


def _alternatives(schema: Json, node: Json, beside: Mapping[str, str]) -> Iterator[Json]:
    """A schema and all that it may be in its place; a condition is decided by the keys that are there."""
    if reference := node.get("$ref"):
        yield from _alternatives(schema, schema["definitions"][reference.rpartition("/")[2]], beside)
        return
    yield node
    for word in ("anyOf", "oneOf", "allOf"):
        for one in node.get(word, ()):
            yield from _alternatives(schema, one, beside)
    if "if" in node:
        branch = node.get("then" if _holds(node["if"], beside) else "else")
        if branch is not None:
            yield from _alternatives(schema, branch, beside)


def _holds(condition: Json, beside: Mapping[str, str]) -> bool:
    if any(name not in beside for name in condition.get("required", ())):
        return False
    if "anyOf" in condition and not any(_holds(one, beside) for one in condition["anyOf"]):
        return False
    named = condition.get("properties", {})
    return all(beside[name] in what.get("enum", (beside[name],)) for name, what in named.items() if name in beside)
