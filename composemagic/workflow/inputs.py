"""Workflow -> list of Input: what a form, a command line or a tool schema has to ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from composemagic.errors import InputError, suggest
from composemagic.language.casts import EMPTY_IS_MISSING, CastError, convert
from composemagic.language.dialects import modern_cast
from composemagic.language.expression import Cast, Default, Name, Reference, parse_path
from composemagic.language.formats import Unloaded
from composemagic.language.path import finder
from composemagic.language.template import Hole, Template, default_value
from composemagic.words import say
from composemagic.workflow.variable import Variable, object_schema, schema_of

__all__ = ["Input", "at", "check_values", "infer", "input_of", "input_schema", "lacking", "told"]

_ALIASES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
# whose defaults are values of another kind than their text; the rest is read in a run
_CONVERTED = frozenset({"integer", "number", "boolean", "slider", "list", "object", "json", *_ALIASES} - {"str"})
_UNTYPED = {bool: "boolean", int: "integer", float: "number"}


@dataclass(frozen=True, slots=True, repr=False)
class Input(Variable):
    """One value a workflow asks for; its name is empty for a whole `${input}`.

    `is_open`: the whole `${input}` is used as well, so other names than those asked for may be given.
    """

    required: bool = True
    is_open: bool = field(default=False, repr=False, compare=False)

    def __repr__(self) -> str:
        need = ", required" if self.required else f" = {self.default!r}" if self.has_default else ""
        return f"<Input {self.name}: {self.type}{'[]' if self.is_list else ''}{need}>"

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value given for this input, as a sentence, or None."""
        if value is None or (value == "" and (self.required or self.type in EMPTY_IS_MISSING)):
            return say("`{name}` is missing", name=self.name) if self.required else None
        if self.cast is None:
            return None
        try:
            convert(value, self.cast, loaded={})
        except CastError as error:
            return say("`{name}`: {problem}", name=self.name, problem=error)
        except Unloaded:
            return None  # the run loads it
        return None


def infer(templates: Iterable[Template]) -> tuple[Input, ...]:
    """The inputs that some templates ask for, in the order written.

    Of several occurrences of a name the richest counts (one with a type over one without). An input is required where no
    occurrence has a default, unless it stands only inside other references' defaults, or as a list to spread, where null
    adds nothing. The whole `${input}` counts only where it comes first.
    """
    found: dict[str, list[Input]] = {}
    optional: set[str] = set()
    wanted: set[str] = set()
    for template in templates:
        for reference, may_be_null in _input_references(template.holes):
            one = input_of(reference)
            found.setdefault(one.name, []).append(one)
            if reference.default is not None:
                optional.add(one.name)
            elif one.name and not may_be_null:
                wanted.add(one.name)
    is_open = "" in found
    inputs = [
        replace(_richest(many), required=name in wanted - optional, is_open=is_open) for name, many in found.items()
    ]
    return tuple(one for at, one in enumerate(inputs) if one.name or at == 0)


def check_values(inputs: Iterable[Input], values: Mapping[str, Any], *, hint: str = "") -> None:
    """Raise InputError for every required input that is missing, every value that does not fit, every name with a typo.

    A name that is not asked for and looks like none that is, is accepted.
    """
    inputs = tuple(inputs)
    problems = {one.name: problem for one in inputs if (problem := one.problem(at(values, one.name)))}
    problems |= _misspelt(inputs, values)
    if problems:
        raise InputError(problems, hint=hint)


def input_schema(inputs: Iterable[Input]) -> dict[str, Any]:
    """The object that a workflow takes, as JSON Schema 2020-12; a workflow that takes anything whole says so."""
    inputs = tuple(inputs)
    named = [one for one in inputs if one.name]
    whole = next((one for one in inputs if not one.name), None)
    if whole is not None and not named:
        return schema_of(whole) if whole.cast is not None else {}
    return object_schema((one.name, schema_of(one), one.required) for one in named)


def told(one: Input) -> str:
    """An input on one line: name, type, default, description."""
    name = one.name or say("the whole input")
    kind = f"{one.type}[]" if one.is_list else one.type
    if one.required:
        line = say("{name}: {type}, required", name=name, type=kind)
    else:
        line = f"{name}: {kind}" + (f" = {one.default!r}" if one.has_default else "")
    return f"{line} · {one.description}" if one.description else line


def lacking(inputs: Iterable[Input], values: Mapping[str, Any]) -> tuple[Input, ...]:
    """The required inputs that have no value."""
    return tuple(one for one in inputs if one.required and at(values, one.name) in (None, ""))


def at(values: Mapping[str, Any], name: str) -> Any:
    """The value of an input, whose name may be a path; null where there is none. All values for the empty name."""
    if name in values:
        return values[name]
    return finder(parse_path(name))(values) if name else values


def _misspelt(inputs: tuple[Input, ...], values: Mapping[str, Any]) -> dict[str, str]:
    """The given names that nobody asks for and that look like one that is asked for and not given."""
    if not inputs or any(one.is_open for one in inputs):
        return {}  # the values may be no mapping at all
    if {one.name for one in inputs}.issuperset(values):
        return {}
    asked = {one.name: None for one in inputs} | {_root(one.name): None for one in inputs}
    left = [name for name in asked if name not in values]
    return {
        name: say("the workflow does not ask for `{name}`{near}", name=name, near=near)
        for name in values
        if name not in asked and (near := suggest(name, left))
    }


def _root(name: str) -> str:
    """The field of the input that a path begins with."""
    first = parse_path(name)[:1] if name else ()
    return next((segment.name for segment in first if isinstance(segment, Name)), name)


def _input_references(holes: tuple[Hole, ...]) -> Iterator[tuple[Reference, bool]]:
    """The references to `input`, and whether null will do: inside another's default, and where a list is spread."""
    fallbacks: set[int] = set()
    for hole in holes:
        parts = hole.reference.default.parts if hole.reference.default else ()
        fallbacks.update(id(part) for part in parts if isinstance(part, Reference))
        if hole.reference.source == "input":
            yield hole.reference, hole.is_spread or id(hole.reference) in fallbacks


def input_of(reference: Reference) -> Input:
    """What one reference says of the value it reads."""
    cast = modern_cast(reference.cast)[0] if reference.cast else None
    has_default, default, kind = _default(reference.default, cast)
    notes = {note.name: note.text for note in reference.annotations}
    return Input(
        name=reference.path_text,
        type=_ALIASES.get(cast.type, cast.type) if cast else kind,
        is_list=bool(cast and cast.is_list),
        options=cast.options if cast and cast.type == "select" else (),
        bounds=tuple(float(number) for number in cast.options) if cast and cast.type == "slider" else (),
        default=default,
        has_default=has_default,
        label=notes.get("title") or notes.get("label"),
        description=notes.get("description"),
        cast=cast,
    )


def _default(default: Default | None, cast: Cast | None) -> tuple[bool, Any, str]:
    """Whether there is a default that is known before the run, its value, and the type it gives an untyped input."""
    if default is None or default.literal is None:
        return False, None, "string"
    value = default_value(default, cast, whole=True)
    if cast is not None and value is not None and (cast.is_list or cast.type in _CONVERTED):
        try:
            value = convert(value, cast)
        except CastError:
            return False, None, "string"  # the loader has drawn this mistake
    return True, value, _UNTYPED.get(type(value), "string")


def _richest(occurrences: list[Input]) -> Input:
    best = max(occurrences, key=_richness)
    fitting = (_in_type(one, best) for one in (best, *occurrences) if one.has_default)
    has_default, default = next((found for found in fitting if found is not None), (False, None))
    return replace(
        best,
        default=default,
        has_default=has_default,
        label=next((one.label for one in occurrences if one.label), None),
        description=next((one.description for one in occurrences if one.description), None),
    )


def _richness(one: Input) -> tuple[bool, int, bool]:
    """A type says more than none, one with options, bounds or attributes more than a plain one, and then a default."""
    cast = one.cast
    if cast is None:
        return False, 0, one.has_default
    says = (cast.is_list, bool(cast.subtype), bool(cast.attrs), bool(cast.format))
    return True, sum(says), one.has_default


def _in_type(one: Input, shown: Input) -> tuple[bool, Any] | None:
    """The default of an occurrence in the type that is shown; None where it is none of this type."""
    cast = shown.cast
    if one.cast == cast or cast is None or one.default is None:
        return True, one.default
    try:
        value = convert(one.default, cast)
    except (CastError, Unloaded):
        return None
    return True, value if cast.is_list or cast.type in _CONVERTED else one.default
