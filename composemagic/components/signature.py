"""A Python function's signature, annotations and docstring, read as a schema: what it takes, and what each thing is for."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from composemagic.errors import RunError, suggest
from composemagic.words import listing, say

__all__ = ["Parameter", "bind", "description", "json_schema", "parameters"]

_ANY = inspect.Parameter.empty
_BY_NAME = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}
# where a docstring turns from prose to a list: Google's and numpy's headings, Sphinx's fields
_HEADING = re.compile(
    r"^[ \t]*(?:Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?)[ \t]*:?[ \t]*$", re.MULTILINE
)
_FIELD = re.compile(r"^[ \t]*:\w+", re.MULTILINE)
_UNDERLINE = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)
# `name: words`, `name (type): words`, `:param type name: words`, and numpy's `name : type` with the words below
_ITEM = re.compile(
    r"^(?P<indent>[ \t]*)(?::param[ \t]+(?:[^:\n]*[ \t])?)?\*{0,2}(?P<name>\w+)[ \t]*(?:\([^)\n]*\))?[ \t]*:[ \t]*(?P<words>.*(?:\n(?P=indent)[ \t]+\S.*)*)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing a function takes: the JSON Schema of its type, its default where it has one, what its docstring says of it."""

    name: str
    schema: Mapping[str, Any]
    required: bool
    default: Any = None
    description: str = ""


def parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """What a function takes by name; `*args` and `**kwargs` are none of these."""
    hints, said = _hints(function), _said(function)
    found = []
    for one in _signature(function).parameters.values():
        if one.kind in _BY_NAME:
            schema, words = _schema(hints.get(one.name, _ANY))
            required = one.default is _ANY
            default = None if required else one.default
            found.append(Parameter(one.name, schema, required, default, words or said.get(one.name, "")))
    return tuple(found)


def description(function: Callable[..., Any]) -> str:
    """The prose of a function's docstring, before its lists of parameters and results."""
    text = inspect.getdoc(function) or ""
    return text[: _end_of_prose(text)].strip()


def json_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of an object that holds a function's arguments by name."""
    found = parameters(function)
    takes_more = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in _signature(function).parameters.values())
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {one.name: _described(one) for one in found},
        "required": [one.name for one in found if one.required],
        "additionalProperties": takes_more,
    }
    return schema


def bind(function: Callable[..., Any], name: str, given: Any) -> inspect.BoundArguments:
    """What a function is called with: a mapping by name; anything else as its first argument, and null as none.

    Raises RunError in one sentence for what is missing and what is unexpected.
    """
    signature = _signature(function)
    if given is None:
        given = {}
    elif not isinstance(given, Mapping):
        first = next(iter(signature.parameters), None)
        if first is None:
            raise RunError("input", say("`{name}` takes no arguments", name=name))
        given = {first: given}
    if signature.parameters.keys() != given.keys():
        _check(signature, name, given)
    return _bound(signature, name, given)


def _bound(signature: inspect.Signature, name: str, given: Mapping[str, Any]) -> inspect.BoundArguments:
    kinds = {one.name: one.kind for one in signature.parameters.values()}
    first = [given[key] for key, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_ONLY and key in given]
    rest = {key: value for key, value in given.items() if kinds.get(key) is not inspect.Parameter.POSITIONAL_ONLY}
    try:
        return signature.bind(*first, **rest)
    except TypeError as error:  # a positional-only one that is left out before another
        raise RunError("input", say("`{name}` cannot be called so: {reason}", name=name, reason=error)) from None


def _check(signature: inspect.Signature, name: str, given: Mapping[str, Any]) -> None:
    known = [one.name for one in signature.parameters.values() if one.kind in _BY_NAME]
    takes_more = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values())
    unknown = [key for key in given if key not in known]
    missing = [key for key in known if key not in given and signature.parameters[key].default is _ANY]
    if unknown and not takes_more:
        near = suggest(str(unknown[0]), [key for key in known if key not in given]) or _takes(known)
        raise RunError("input", say("`{name}` takes no `{key}`{near}", name=name, key=unknown[0], near=near))
    if missing:
        names = listing(f"`{key}`" for key in missing)
        raise RunError("input", say("`{name}` needs {names}", name=name, names=names))


def _takes(known: Sequence[str]) -> str:
    if not known:
        return say("; it takes no arguments")
    return say("; it takes {names}", names=listing(f"`{key}`" for key in known))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # written in C, without one
        return inspect.Signature([inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)])


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, those written as text too; where one names what is not there, none."""
    target = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    target = inspect.unwrap(target)
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except Exception:  # an annotation is any expression
        return {}


def _described(one: Parameter) -> dict[str, Any]:
    schema = dict(one.schema)
    if one.description:
        schema["description"] = one.description
    if not one.required and isinstance(one.default, str | int | float | bool | list | dict):
        schema["default"] = one.default
    return schema


def _schema(kind: Any) -> tuple[dict[str, Any], str]:
    """The JSON Schema of an annotation and, of an `Annotated[..., "words"]`, the words."""
    if get_origin(kind) is Annotated:
        inner, *extras = get_args(kind)
        return _schema(inner)[0], next((extra for extra in extras if isinstance(extra, str)), "")
    return _of_type(kind), ""


def _of_type(kind: Any) -> dict[str, Any]:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inside)}
    if origin in (Union, types.UnionType):
        options = [_of_type(one) for one in inside if one is not type(None)]
        return options[0] if len(options) == 1 else {"anyOf": options}
    plain = origin or kind
    if plain in (list, tuple, set, frozenset) or (isinstance(plain, type) and issubclass(plain, Sequence) and inside):
        items = _of_type(inside[0]) if inside else {}
        return {"type": "array", "items": items} if items else {"type": "array"}
    if isinstance(plain, type) and issubclass(plain, Mapping):
        return {"type": "object"}
    return {"type": _TYPES[plain]} if plain in _TYPES else {}


def _said(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each parameter, in Google's, numpy's or Sphinx's way."""
    text = inspect.getdoc(function) or ""
    lists = text[_end_of_prose(text) :]
    is_numpy = _UNDERLINE.search(lists) is not None
    said: dict[str, str] = {}
    for item in _ITEM.finditer(_HEADING.sub("", lists)):
        # numpy has the type behind the colon and the words below it
        words = item["words"].partition("\n")[2] if is_numpy else item["words"]
        said.setdefault(item["name"], " ".join(words.split()))
    return said


def _end_of_prose(text: str) -> int:
    starts = [found.start() for pattern in (_HEADING, _FIELD) if (found := pattern.search(text))]
    return min(starts, default=len(text))
