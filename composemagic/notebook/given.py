"""The input values that a cell's first line gives: `-i KEY=VALUE`, `-i KEY=$VAR`, `-i VAR`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from composemagic.errors import UsageError
from composemagic.words import say
from composemagic.workflow.environment import pair
from composemagic.workflow.written import nested, scalar

if TYPE_CHECKING:
    from composemagic.workflow.inputs import Input

__all__ = ["given", "nested"]


def given(
    items: Iterable[str], inputs: Iterable[Input], variables: Mapping[str, Any], *, named: bool = False
) -> dict[str, Any]:
    """The values by input name, the last one said counts. Raises UsageError.

    A value is a YAML scalar, except for an input that the YAML calls text, which takes it as it stands; `$VAR` is one of
    `variables`, and an item without `=` names a variable that holds a dict of values. With `named`, an input that no item
    gives takes the variable of its own name.
    """
    inputs = tuple(inputs)
    values: dict[str, Any] = {}
    if named:
        values = {one.name: variables[one.name] for one in inputs if one.name in variables}
    for item in items:
        if "=" not in item:
            values.update(_mapping(item, variables))
            continue
        key, value = pair(item, "-i")
        if value.startswith("$") and value[1:].isidentifier():
            values[key] = _variable(value[1:], variables)
        else:
            values[key] = scalar(key, value, inputs)
    return values


def _mapping(name: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
    value = _variable(name, variables)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise UsageError(
            say(
                "`-i {name}`: the variable holds no dict of inputs; write `-i KEY=VALUE` or `-i KEY=${name}`",
                name=name,
            )
        )
    return value


def _variable(name: str, variables: Mapping[str, Any]) -> Any:
    if name not in variables:
        raise UsageError(say("there is no variable `{name}` in the notebook", name=name))
    return variables[name]
