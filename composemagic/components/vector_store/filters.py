"""`filter`: which of the kept vectors are meant, by what is said of them in their metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from composemagic.errors import RunError, suggest
from composemagic.language.comparison import COMPARISONS
from composemagic.words import listing, say
from composemagic.workflow.schema import kind

__all__ = ["Fits", "fitting"]

# an id and the metadata that is kept with it -> whether it is meant
Fits = Callable[[str, Mapping[str, Any]], bool]

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    name: COMPARISONS[name] for name in ("eq", "neq", "gt", "gte", "lt", "lte", "in", "not-in")
}
_LISTS = ("in", "not-in")


def fitting(given: Any, key: str) -> Fits | None:
    """The test that a filter means: every condition holds. None for none. Raises RunError.

    A filter is a mapping, `{field: value}` or `{field: {operator: value}}`, or a list of `{field, operator, value}`. A field
    that is not there is null; what has no order is neither more nor less. The field `id` is the vector's own.
    """
    conditions = list(_conditions(given, key))
    if not conditions:
        return None

    def fits(own_id: str, metadata: Mapping[str, Any]) -> bool:
        fields = {"id": own_id, **metadata}
        return all(_holds(fields.get(field), name, value) for field, name, value in conditions)

    return fits


def _conditions(given: Any, key: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(given, dict):
        for field, wanted in given.items():
            for name, value in wanted.items() if isinstance(wanted, dict) else [("eq", wanted)]:
                yield field, _operator(name, value), value
    elif isinstance(given, list) and all(
        isinstance(each, dict) and {"field", "value"} <= each.keys() for each in given
    ):
        for each in given:
            yield str(each["field"]), _operator(each.get("operator", "eq"), each["value"]), each["value"]
    elif given is not None:
        sentence = say(
            "`{key}` is a mapping such as `{{year: {{gte: 2020}}}}`, this is {kind}", key=key, kind=kind(given)
        )
        raise RunError("input", sentence)


def _operator(name: Any, value: Any) -> str:
    if name not in OPERATORS:
        near = suggest(str(name), OPERATORS) or say("; it is one of {names}", names=listing(OPERATORS))
        raise RunError("input", say("unknown operator `{name}` in a filter{near}", name=name, near=near))
    # a template that will give a list is text until then
    if name in _LISTS and not isinstance(value, list) and not (isinstance(value, str) and "${" in value):
        raise RunError("input", say("`{name}` needs a list to look in, this is {kind}", name=name, kind=kind(value)))
    return str(name)


def _holds(found: Any, name: str, wanted: Any) -> bool:
    try:
        return bool(OPERATORS[name](found, wanted))
    except TypeError:
        return False
