"""The input values that a cell's first line gives: `-i KEY=VALUE`, `-i KEY=$VAR`, `-i VAR`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from composemagic.errors import UsageError

if TYPE_CHECKING:
    from composemagic.workflow.inputs import Input

__all__ = ["at", "given", "nested", "pair"]

_TEXTS = ("string", "text", "markdown", "select")


def given(items: Iterable[str], inputs: Iterable[Input], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The values by input name, the last one said counts. Raises UsageError.

    A value is a YAML scalar, except for an input of text, which takes it as it stands; `$VAR` is one of `variables`, and an
    item without `=` names a variable that holds a dict of values.
    """
    texts = {one.name for one in inputs if one.type in _TEXTS}
    values: dict[str, Any] = {}
    for item in items:
        if "=" not in item:
            values.update(_mapping(item, variables))
            continue
        key, value = pair(item, "-i")
        if value.startswith("$") and value[1:].isidentifier():
            values[key] = _variable(value[1:], variables)
        else:
            values[key] = value if key in texts else _scalar(value, key)
    return values


def nested(values: Mapping[str, Any]) -> Any:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`: an input's name may be a path. `{"": x}` is x: the input is a whole `${input}`."""
    if list(values) == [""]:
        return values[""]
    found: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        place = found
        for step in parents:
            inner = place.get(step)
            place[step] = inner = dict(inner) if isinstance(inner, Mapping) else {}
            place = inner
        place[last] = value
    return found


def at(values: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """The value of an input whose name may be a path; `default` where there is none."""
    if name in values:
        return values[name]
    found: Any = values
    for step in name.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return default
        found = found[step]
    return found


def pair(item: str, option: str) -> tuple[str, str]:
    """`KEY=VALUE` in two. Raises UsageError, which names the option."""
    key, equals, value = item.partition("=")
    if not equals or not key:
        raise UsageError(f"`{option} {item}` is written `{option} KEY=VALUE`")
    return key, value


def _mapping(name: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
    value = _variable(name, variables)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"`-i {name}`: the variable holds no dict of inputs; write `-i KEY=VALUE` or `-i KEY=${name}`")
    return value


def _variable(name: str, variables: Mapping[str, Any]) -> Any:
    if name not in variables:
        raise UsageError(f"there is no variable `{name}` in the notebook")
    return variables[name]


def _scalar(text: str, key: str) -> Any:
    from composemagic.language.document import plain_value

    try:
        return plain_value(text)
    except ValueError as error:
        raise UsageError(f"`-i {key}={text}`: {error}") from None
