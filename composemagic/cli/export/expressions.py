"""Values of the YAML as expressions of Python, as a person would write them."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from composemagic.errors import UsageError
from composemagic.language.casts import CastError, convert
from composemagic.language.dialects import modern_cast
from composemagic.language.expression import Cast, Each, Index, Name, Part, Reference, Segment, Slice, parse
from composemagic.language.operators import is_operator
from composemagic.language.template import default_value
from composemagic.words import say

__all__ = ["Scope", "Source", "expression", "laid_out", "literal", "name_of", "no_python", "scalar", "typed_default"]

_WIDTH = 100
_TEXTS = ("text", "string", "str", "markdown")
_KEEPS = ("select", "slider", "any", "object", "list")
_NUMBERS = {"integer": "int", "int": "int", "number": "float", "float": "float"}


@dataclass(frozen=True, slots=True)
class Source:
    """What a source of the language is in the script: an expression, or, for a mapping that is known, one for each key.

    `is_text`: it is text for certain. `types` are the types of its fields that are parameters.
    """

    code: str = ""
    keys: Mapping[str, Source] | None = None
    is_text: bool = False
    is_parameter: bool = False


@dataclass(slots=True)
class Scope:
    """The sources that an expression may read. `helpers` are the functions of the script that are needed so far."""

    sources: Mapping[str, Source]
    helpers: set[str] = field(default_factory=set)

    def with_sources(self, **sources: Source) -> Scope:
        """The same with more sources."""
        return Scope({**self.sources, **sources}, self.helpers)


def expression(value: Any, scope: Scope, *, indent: int = 0) -> str:
    """The Python for a value of the YAML, over several lines where it is long. Raises UsageError for what has none."""
    if isinstance(value, str):
        return _scalar(value, scope)
    if isinstance(value, dict):
        return _dict(value, scope, indent)
    if isinstance(value, list):
        items = [_item(each, scope, indent + 4) for each in value]
        return laid_out("[", items, "]", indent)
    return literal(value)


def literal(value: Any) -> str:
    """A plain value in Python's words, texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(value)


def name_of(text: str) -> str:
    """A name for Python of a name of the YAML."""
    found = re.sub(r"\W", "_", text)
    found = f"_{found}" if not found or found[0].isdigit() else found
    return f"{found}_" if keyword.iskeyword(found) else found


def no_python(what: object) -> UsageError:
    """What a script without composemagic cannot say."""
    return UsageError(say("a plain script cannot say `{what}`; run it with composemagic", what=what))


# -- collections -----------------------------------------------------------------------------------------------------------


def _dict(value: Mapping[str, Any], scope: Scope, indent: int) -> str:
    if is_operator(value) or "?" in value:
        raise no_python(next(key for key in value if key in ("?", "+", "&", "*", "|")))
    items = []
    for key, inner in value.items():
        code = expression(inner, scope, indent=indent + 4)
        items.append(f"**({code} or {{}})" if key == "..." else f"{literal(key)}: {code}")
    return laid_out("{", items, "}", indent)


def _item(value: Any, scope: Scope, indent: int) -> str:
    if isinstance(value, str) and value.startswith("...${"):
        return f"*({_scalar(value[3:], scope)} or [])"
    return expression(value, scope, indent=indent)


def laid_out(opening: str, items: Sequence[str], closing: str, indent: int) -> str:
    """Items on one line where they fit, else one below the other."""
    line = f"{opening}{', '.join(items)}{closing}"
    if "\n" not in line and len(line) + indent <= _WIDTH:
        return line
    inner = " " * (indent + 4)
    return f"{opening}\n" + "".join(f"{inner}{item},\n" for item in items) + " " * indent + closing


# -- scalars -----------------------------------------------------------------------------------------------------------------


def _scalar(text: str, scope: Scope) -> str:
    return scalar(text, scope)[0]


def scalar(text: str, scope: Scope) -> tuple[str, bool]:
    """The Python of a text with holes, and whether it is text for certain. Raises UsageError."""
    parts = parse(text)
    if not any(isinstance(part, Reference) for part in parts):
        return literal("".join(map(str, parts))), True
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return _reference(parts[0], scope)
    return _joined(parts, scope), True


def _joined(parts: Sequence[Part], scope: Scope) -> str:
    """Text with values in it, as an f-string."""
    pieces = []
    for part in parts:
        if isinstance(part, Reference):
            code, is_text = _reference(part, scope)
            if not is_text:
                scope.helpers.add("as_text")
                code = f"as_text({code})"
            if "'" in code or "\\" in code:  # before Python 3.12 an f-string holds no quote of its own kind
                raise no_python(part)
            pieces.append("{" + code.replace('"', "'") + "}")
        else:
            pieces.append(literal(part)[1:-1].replace("{", "{{").replace("}", "}}"))
    return f'f"{"".join(pieces)}"'


def _reference(reference: Reference, scope: Scope) -> tuple[str, bool]:
    """The Python of a reference, and whether it is text for certain."""
    if reference.source == "env":
        return _cast(_variable(reference), reference.cast, reference, scope, is_text=True, is_parameter=False)
    source = scope.sources.get(reference.key) or scope.sources.get(reference.source)
    if source is None:
        raise no_python(reference)
    found, path = source, list(reference.path)
    while path and found.keys is not None and isinstance(step := path[0], Name):
        found = found.keys.get(step.name, Source("None"))
        path.pop(0)
    if found.keys is not None:
        if path:
            raise no_python(reference)
        return "{" + ", ".join(f"{literal(key)}: {inner.code}" for key, inner in found.keys.items()) + "}", False
    code = _at(found.code, path, scope) if path else found.code
    is_parameter = found.is_parameter and not path
    default = reference.default
    if default is not None and not is_parameter:
        code = _or_default(code, reference, scope)
    is_text = found.is_text and not path
    return _cast(code, reference.cast, reference, scope, is_text=is_text, is_parameter=is_parameter)


def _variable(reference: Reference) -> str:
    name = literal(reference.path_text)
    if reference.default is None:
        return f"os.environ[{name}]"
    if reference.default.literal is None:
        raise no_python(reference)
    return f"os.environ.get({name}) or {literal(reference.default.literal)}"


def _or_default(code: str, reference: Reference, scope: Scope) -> str:
    assert reference.default is not None
    if reference.default.literal is None:
        raise no_python(reference)
    value = default_value(reference.default, reference.cast, whole=True)
    scope.helpers.add("or_else")
    return code if value is None else f"or_else({code}, {literal(value)})"


def _at(code: str, path: Sequence[Segment], scope: Scope) -> str:
    """The value at a path, None where there is none."""
    plain: list[Segment] = []
    for at, segment in enumerate(path):
        rest = path[at + 1 :]
        if isinstance(segment, Each):
            inner = _at("item", rest, scope) if rest else "item"
            return f"[{inner} for item in {_steps(code, plain, scope)} or []]"
        if isinstance(segment, Slice):
            if rest:
                return "None"  # behind a slice there is nothing
            start, stop = ("" if end is None else end for end in (segment.start, segment.stop))
            return f"({_steps(code, plain, scope)} or [])[{start}:{stop}]"
        plain.append(segment)
    return _steps(code, plain, scope)


def _steps(code: str, path: Sequence[Segment], scope: Scope) -> str:
    if not path:
        return code
    scope.helpers.add("value_at")
    steps = [literal(step.name) if isinstance(step, Name) else str(step.position) for step in path if isinstance(step, Name | Index)]  # fmt: skip
    return f"value_at({', '.join([code, *steps])})"


Coded = tuple[str, bool]


def _cast(
    code: str, cast: Cast | None, reference: Reference, scope: Scope, *, is_text: bool, is_parameter: bool
) -> Coded:
    """The code with what `as ...` does to it. A parameter is taken as its caller gives it."""
    if cast is None:
        return code, is_text
    cast = modern_cast(cast)[0]
    if cast.is_list or cast.attrs or cast.format:
        raise no_python(reference)
    if cast.type in _TEXTS:
        if not (is_text or is_parameter):
            scope.helpers.add("as_text")
            code = f"as_text({code})"
        return code, True
    if cast.type in _NUMBERS:
        return (code if is_parameter else f"{_NUMBERS[cast.type]}({code})"), False
    if cast.type in _KEEPS and (is_parameter or cast.type == "any") and not (cast.type == "object" and cast.subtype):
        return code, cast.type == "select"
    if cast.type in ("boolean", "bool", "json") and is_parameter:
        return code, False
    if cast.type == "json":
        scope.helpers.add("parsed_json")
        return f"parsed_json({code})", False
    raise no_python(reference)


def typed_default(value: Any, cast: Cast | None) -> Any:
    """An input's default as its parameter has it."""
    if cast is None or value is None:
        return value
    try:
        return convert(value, cast)
    except CastError:
        return value
