"""Any YAML value -> a compiled function of the scope that fills its holes.

Compiled once when a workflow is loaded: every `${...}` becomes a closure, so that rendering a chunk parses nothing.
A scalar that is one reference gives the value itself, with its type; anything around it, even one space, makes it text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from composemagic.errors import suggest
from composemagic.language import dialects
from composemagic.language.casts import EMPTY_IS_MISSING, CastError, cast_problem, convert, settled, to_text
from composemagic.language.document import plain_value
from composemagic.language.expression import (
    Cast,
    Default,
    Each,
    ExpressionError,
    Index,
    Name,
    Part,
    Reference,
    Segment,
    Slice,
    parse,
    references,
)

__all__ = ["Findings", "Flaw", "Hole", "MissingVariable", "RenderError", "Template", "compile_template"]

Path = tuple[str | int, ...]
Scope = Mapping[str, Any]
Render = Callable[[Scope], Any]

_LOOKALIKE = re.compile(r"(?<!\$)\$(?:input|env|response|result|output|jobs)\b[.\w]*|\{\{\s*(?:input|env|jobs)\.[^}]*\}\}")
_LATER_OPERATORS = frozenset({"*", "?", "+", "&", "|"})


@dataclass(frozen=True, slots=True)
class Flaw:
    """A mistake (or, among the notes, a remark) and the characters of the scalar at `path` it is about.

    `start` None is the whole value; `in_key` means the mapping key at `path`, not its value.
    """

    sentence: str
    path: Path
    start: int | None = None
    length: int = 1
    in_key: bool = False


@dataclass(slots=True)
class Findings:
    """What compiling a document has found so far."""

    flaws: list[Flaw] = field(default_factory=list)
    notes: list[Flaw] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hole:
    """A reference and the path of the scalar it stands in."""

    reference: Reference
    path: Path


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled YAML value: `render(scope)` fills it; `holes` are its references, those in defaults included.

    `render` raises RenderError for a failing cast, MissingVariable for an unset `${env.X}` without default, and Uncollected
    where a stream has to become a value first.
    """

    render: Render
    holes: tuple[Hole, ...]

    @property
    def constant(self) -> bool:
        """Whether rendering gives the same value in every scope."""
        return not self.holes


class RenderError(Exception):
    """A cast failed at run time: the sentence, and the characters of the scalar at `path`."""

    def __init__(self, sentence: str, path: Path, reference: Reference) -> None:
        self.sentence = sentence
        self.path = path
        self.reference = reference
        super().__init__(sentence)


class MissingVariable(RenderError):  # noqa: N818 - it names what is missing
    """`${env.NAME}` without a default, and no such variable."""

    def __init__(self, name: str, path: Path, reference: Reference) -> None:
        self.name = name
        super().__init__(f"the environment variable `{name}` is not set", path, reference)


def compile_template(
    value: Any,
    path: Path = (),
    *,
    findings: Findings | None = None,
    is_quoted: Callable[[Path], bool] = lambda _: False,
    texts: bool = False,
) -> Template:
    """Compile a YAML value that stands at `path` of its document.

    Mistakes are added to `findings` (the flawed scalar then stays as written). `is_quoted` tells of a path whether its
    scalar was written in quotes: an unquoted `${env.X}` that is a whole scalar takes the type YAML would give the variable's
    text, unless `texts` says that only text is wanted here (headers).
    """
    compiler = _Compiler(findings if findings is not None else Findings(), is_quoted, texts)
    return Template(compiler.value(value, path), tuple(compiler.holes))


class _Compiler:
    def __init__(self, findings: Findings, is_quoted: Callable[[Path], bool], texts: bool) -> None:
        self.findings = findings
        self.is_quoted = is_quoted
        self.texts = texts
        self.holes: list[Hole] = []

    def value(self, value: Any, path: Path) -> Render:
        before = len(self.holes)
        if isinstance(value, str):
            return self.scalar(value, path)
        if isinstance(value, dict):
            render = self.mapping(value, path)
        elif isinstance(value, list):
            render = self.list(value, path)
        else:
            return lambda _: value
        spreads = "..." in value if isinstance(value, dict) else False
        return render if len(self.holes) > before or spreads else lambda _: value

    def mapping(self, value: dict[str, Any], path: Path) -> Render:
        items: list[tuple[str, Render]] = []
        for key, inner in value.items():
            here = (*path, key)
            if "${" in key:
                self.flaw("mapping keys are not templates: `${...}` is not filled in here", here, in_key=True)
            if key in _LATER_OPERATORS:
                self.flaw(f'the operator "{key}" is not in this version of composemagic', here, in_key=True)
            items.append((key, self.value(inner, here)))
        if "..." in value:
            return lambda scope: _merged(items, scope, path)
        return lambda scope: {key: render(scope) for key, render in items}

    def list(self, value: list[Any], path: Path) -> Render:
        items = [(self.spread(inner, (*path, at)), at) for at, inner in enumerate(value)]
        if not any(spread for (spread, _), _ in items):
            plain = [render for (_, render), _ in items]
            return lambda scope: [render(scope) for render in plain]
        return lambda scope: _spliced(((spread, render) for (spread, render), _ in items), scope)

    def spread(self, value: Any, path: Path) -> tuple[bool, Render]:
        """A list item: `...${x}` as a whole splices the list x into this one."""
        if not (isinstance(value, str) and value.startswith("...${")):
            return False, self.value(value, path)
        parts = self.parts(value, path)
        if parts is None or len(parts) != 2 or parts[0] != "...":
            return False, self.scalar(value, path) if parts else (lambda _: value)
        reference = parts[1]
        assert isinstance(reference, Reference)
        self.look_at(parts, path)
        inner = self.reference(reference, path, whole=True)

        def items(scope: Scope) -> list[Any]:
            found = settled(inner(scope))
            if found is None:
                return []
            if not isinstance(found, list | tuple):
                raise RenderError(f"`...{{{_written(value, reference)}}}` needs a list to spread", path, reference)
            return list(found)

        return True, items

    def scalar(self, text: str, path: Path) -> Render:
        parts = self.parts(text, path)
        if parts is None:
            return lambda _: text
        self.look_at(parts, path)
        if len(parts) == 1 and isinstance(parts[0], Reference):
            return self.reference(parts[0], path, whole=True)
        return self.text(parts, path)

    def parts(self, text: str, path: Path) -> tuple[Part, ...] | None:
        try:
            parts = parse(text)
        except ExpressionError as error:
            self.findings.flaws.append(Flaw(error.sentence, path, error.start, error.length))
            return None
        if "$${" in text:
            self.note("read as text: `$${` writes a literal `${`", path, text.index("$${"), 3)
        for found in _LOOKALIKE.finditer(text) if "$" in text or "{{" in text else ():
            if not any(isinstance(part, Reference) and _within(found.start(), part) for part in parts):
                wanted = found[0].strip("${} ")
                self.note(f"`{found[0]}` is sent as it is written; a value is written `${{{wanted}}}`", path, *_span(found))
        return parts

    def text(self, parts: Iterable[Part], path: Path) -> Render:
        renders = [
            (lambda _, part=part: part) if isinstance(part, str) else self.as_text(part, path) for part in parts
        ]
        if not renders:
            return lambda _: ""
        return lambda scope: "".join([render(scope) for render in renders])

    def as_text(self, reference: Reference, path: Path) -> Render:
        render = self.reference(reference, path, whole=False)

        def text(scope: Scope) -> str:
            try:
                return to_text(render(scope))
            except CastError as error:
                raise RenderError(str(error), path, reference) from None

        return text

    def look_at(self, parts: tuple[Part, ...], path: Path) -> None:
        self.holes += [Hole(reference, path) for reference in references(parts)]

    def reference(self, reference: Reference, path: Path, *, whole: bool) -> Render:
        cast = self.cast(reference, path)
        get = _lookup(reference, path, typed=whole and not cast and not self.texts and not self.is_quoted(path))
        if reference.default is not None:
            get = self.defaulted(get, reference, reference.default, cast, path, whole=whole)
        return get if cast is None else _converted(get, cast, reference, path)

    def cast(self, reference: Reference, path: Path) -> Cast | None:
        if reference.cast is None:
            return None
        cast, note = dialects.modern_cast(reference.cast)
        if note:
            self.note(note, path, reference.cast.start, reference.cast.length)
        problem = cast_problem(cast)
        if problem:
            self.flaw(problem, path, reference.cast.start, reference.cast.length)
            return None
        return cast

    def defaulted(
        self, get: Render, reference: Reference, default: Default, cast: Cast | None, path: Path, *, whole: bool
    ) -> Render:
        fallback = self.fallback(reference, default, cast, path, whole=whole)
        empty_is_missing = cast is not None and cast.type in EMPTY_IS_MISSING

        def value(scope: Scope) -> Any:
            found = get(scope)
            if found is None or (empty_is_missing and found == ""):
                return fallback(scope)
            return found

        return value

    def fallback(
        self, reference: Reference, default: Default, cast: Cast | None, path: Path, *, whole: bool
    ) -> Render:
        literal = default.literal
        if literal is None:
            if len(default.parts) == 1 and isinstance(default.parts[0], Reference):
                return self.reference(default.parts[0], path, whole=whole)
            return self.text(default.parts, path)
        value = default_value(default, cast, whole=whole)
        if cast is not None and value is not None:
            problem = _default_problem(value, cast)
            if problem:
                sentence = f"{problem}, but it is the default of `{reference.key}{_dotted(reference)}`"
                self.flaw(sentence, path, default.start, default.length)
        return lambda _: value

    def flaw(self, sentence: str, path: Path, start: int | None = None, length: int = 1, in_key: bool = False) -> None:
        self.findings.flaws.append(Flaw(sentence, path, start, length, in_key))

    def note(self, sentence: str, path: Path, start: int | None = None, length: int = 1) -> None:
        self.findings.notes.append(Flaw(sentence, path, start, length))


def default_value(default: Default, cast: Cast | None, *, whole: bool) -> Any:
    """What a default without references stands for, before its cast.

    `null` is null under every cast; without a cast an unquoted default that is a whole scalar has the type YAML reads in
    it; a list or object type reads JSON; the rest is text.
    """
    literal = default.literal or ""
    if default.quoted:
        return literal
    plain = literal.strip()
    if plain == "null":
        return None
    if cast is None:
        return plain_value(plain) if whole and plain else literal
    if cast.is_list:
        try:
            return convert(plain, Cast("json"))
        except CastError:
            return literal
    return plain if cast.type in EMPTY_IS_MISSING else literal


def _default_problem(value: Any, cast: Cast) -> str | None:
    try:
        convert(value, cast)
    except CastError as error:
        return str(error)
    return None


def unknown_source(reference: Reference, allowed: Iterable[str]) -> str | None:
    """The sentence for a reference whose source is not visible where it stands, or None."""
    names = list(allowed)
    if reference.key in names:
        return None
    if reference.per_chunk and reference.source in names:
        return f"`{reference.key}` has no chunks here; write `{reference.source}`"
    near = suggest(reference.source, [name for name in names if not name.endswith("[]")])
    if not near:
        near = f"; here you can use {', '.join(f'`{name}`' for name in names)}"
    return f"unknown source `{reference.key}`{near}"


# -- closures ------------------------------------------------------------------------------------------------------


def _lookup(reference: Reference, path: Path, *, typed: bool) -> Render:
    if reference.source == "env":
        return _variable(reference, path, typed=typed)
    key = reference.key
    if not reference.path:
        return lambda scope: scope.get(key)
    if all(isinstance(segment, Name | Index) for segment in reference.path):
        return _simple_path(key, tuple(_step(segment) for segment in reference.path))
    walk = _path(reference.path)
    return lambda scope: walk(scope.get(key))


def _step(segment: Segment) -> str | int:
    match segment:
        case Name(name):
            return name
        case Index(position):
            return position
    raise TypeError(segment)


def _simple_path(key: str, steps: tuple[Any, ...]) -> Render:
    def get(scope: Scope) -> Any:
        value = scope.get(key)
        for step in steps:
            # exact types first: this runs for every chunk, and JSON gives nothing else
            if type(value) is dict:
                value = value.get(step)
            elif type(value) is list and type(step) is int:
                value = value[step] if -len(value) <= step < len(value) else None
            else:
                value = _field_or_item(value, step)
        return value

    return get


def _field_or_item(value: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return _item(value, step)
    return value.get(step) if isinstance(value, Mapping) else None


def _path(segments: tuple[Segment, ...]) -> Callable[[Any], Any]:
    if not segments:
        return lambda value: value
    first, rest = segments[0], _path(segments[1:])
    match first:
        case Each():
            return lambda value: [rest(item) for item in value] if isinstance(value, list | tuple) else None
        case Slice(start, stop):
            return lambda value: rest(value[start:stop]) if isinstance(value, list | tuple) else None
        case Name(name):
            return lambda value: rest(value.get(name)) if isinstance(value, Mapping) else None
        case Index(position):
            return lambda value: rest(_item(value, position))


def _item(value: Any, position: int) -> Any:
    inside = isinstance(value, list | tuple) and -len(value) <= position < len(value)
    return value[position] if inside else None


def _variable(reference: Reference, path: Path, *, typed: bool) -> Render:
    name = reference.path_text
    needed = reference.default is None

    def get(scope: Scope) -> Any:
        value = scope["env"].get(name)
        if value is None:
            if needed:
                raise MissingVariable(name, path, reference)
            return None
        return plain_value(value) if typed and value.strip() else value

    return get


def _converted(get: Render, cast: Cast, reference: Reference, path: Path) -> Render:
    def value(scope: Scope) -> Any:
        found = get(scope)
        if found is None:
            return None
        try:
            return convert(found, cast)
        except CastError as error:
            raise RenderError(f"`{reference.key}{_dotted(reference)}`: {error}", path, reference) from None

    return value


def _merged(items: list[tuple[str, Render]], scope: Scope, path: Path) -> dict[str, Any]:
    """An object whose key `...` holds objects to merge at that place; a later key wins."""
    merged: dict[str, Any] = {}
    for key, render in items:
        value = render(scope)
        if key != "...":
            merged[key] = value
            continue
        value = settled(value)
        if value is not None and not isinstance(value, Mapping):
            raise CastError('"..." needs an object to merge')
        merged.update(value or {})
    return merged


def _spliced(items: Iterable[tuple[bool, Render]], scope: Scope) -> list[Any]:
    result: list[Any] = []
    for spread, render in items:
        value = render(scope)
        result.extend(value) if spread else result.append(value)
    return result


def _dotted(reference: Reference) -> str:
    text = reference.path_text
    return f".{text}" if text and not text.startswith("[") else text


def _written(text: str, reference: Reference) -> str:
    return text[reference.start + 2 : reference.start + reference.length - 1]


def _within(at: int, part: Reference) -> bool:
    return part.start <= at < part.start + part.length


def _span(found: re.Match[str]) -> tuple[int, int]:
    return found.start(), found.end() - found.start()
