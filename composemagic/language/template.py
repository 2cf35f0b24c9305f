"""Any YAML value -> a compiled function of the scope that fills its holes.

Compiled once when a workflow is loaded: every `${...}` becomes a closure, so that rendering a chunk parses nothing.
A scalar that is one reference gives the value itself, with its type; anything around it, even one space, makes it text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from composemagic.errors import suggest
from composemagic.language import dialects
from composemagic.language.casts import EMPTY_IS_MISSING, CastError, cast_problem, convert, settled, shown, to_text
from composemagic.language.document import plain_value
from composemagic.language.expression import Cast, Default, ExpressionError, Part, Reference, parse, references
from composemagic.language.path import finder

__all__ = [
    "BARE",
    "Findings",
    "Flaw",
    "Hole",
    "MissingVariable",
    "RenderError",
    "Spell",
    "Template",
    "compile_template",
]

Path = tuple[str | int, ...]
Scope = Mapping[str, Any]
Render = Callable[[Scope], Any]
Spell = Callable[[str, str], str]

_LOOKALIKE = re.compile(
    r"(?<!\$)\$(?:input|env|response|result|output|jobs)\b[.\w]*|\{\{\s*(?:input|env|jobs)\.[^}]*\}\}"
    r"|(?<![\w$])\$(?P<variable>[A-Z][A-Z0-9_]{2,})(?!\w)"  # as a shell would fill it in
)
# a reference that lacks its `${}`, if `source` is one
BARE = re.compile(r"(?P<source>[a-z]+)(?P<path>(?:\[\])?(?:\.[\w-]+|\[(?:-?\d+|\*|-?\d*:-?\d*)\])*)")
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
    """What compiling a document has found so far; `read_as` are the older spellings of casts."""

    flaws: list[Flaw] = field(default_factory=list)
    notes: list[Flaw] = field(default_factory=list)
    read_as: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hole:
    """A reference and the path of the scalar it stands in; `is_spread`: as `...${x}`, where null adds nothing."""

    reference: Reference
    path: Path
    is_spread: bool = False


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
    spell: Spell | None = None,
) -> Template:
    """Compile a YAML value that stands at `path` of its document.

    Mistakes are added to `findings` (the flawed scalar then stays as written). `is_quoted` tells of a path whether its
    scalar was written in quotes: an unquoted `${env.X}` that is a whole scalar takes the type YAML would give the variable's
    text, unless `texts` says that only text is wanted here (headers). `spell` writes each value into its text, and
    is told the literal text before it (an address encodes values).
    """
    compiler = _Compiler(findings if findings is not None else Findings(), is_quoted, texts, spell)
    return Template(compiler.value(value, path), tuple(compiler.holes))


class _Compiler:
    def __init__(self, findings: Findings, is_quoted: Callable[[Path], bool], texts: bool, spell: Spell | None) -> None:
        self.findings = findings
        self.is_quoted = is_quoted
        self.texts = texts
        self.spell = spell
        self.holes: list[Hole] = []

    def value(self, value: Any, path: Path) -> Render:
        """Collections are built anew each time, constant ones too: who gets a value may change it."""
        if isinstance(value, str):
            return self.scalar(value, path)
        if isinstance(value, dict):
            return self.mapping(value, path)
        if isinstance(value, list):
            return self.list(value, path)
        return lambda _: value

    def mapping(self, value: dict[str, Any], path: Path) -> Render:
        items: list[tuple[str, Render]] = []
        for key, inner in value.items():
            here = (*path, key)
            if "${" in key:
                self.flaw("mapping keys are not templates: `${...}` is not filled in here", here, in_key=True)
            if key in _LATER_OPERATORS:
                self.flaw(f'the operator "{key}" is not in this version of composemagic', here, in_key=True)
            if inner is None and len(value) == 1:
                self.look_at_braces(key, here)
            items.append((key, self.merge(inner, here) if key == "..." else self.value(inner, here)))
        if "..." in value:
            return lambda scope: _merged(items, scope)
        return lambda scope: {key: render(scope) for key, render in items}

    def look_at_braces(self, key: str, path: Path) -> None:
        """`{input.x}` is no reference to YAML; a single name, `{input}`, may well be meant as it is."""
        found = BARE.fullmatch(key)
        if found is None or found["source"] not in _SOURCES:
            return
        sentence = f"`{{{key}}}` is a mapping in YAML; a value is written `${{{key}}}`"
        if found["path"]:
            self.flaw(sentence, path, in_key=True)
        elif key in ("input", "output", "response", "result"):
            self.note(sentence, path)

    def merge(self, value: Any, path: Path) -> Render:
        """The value of the key `...`: an object whose fields are merged in at this place; null adds nothing."""
        before, flaws = len(self.holes), len(self.findings.flaws)
        render = self.value(value, path)
        reference = _sole(value, self.holes[before:])
        if value is None or isinstance(value, dict):
            return render
        if reference is None:
            if len(self.findings.flaws) == flaws:
                self.flaw('"..." merges an object, and this can never be one', path)
            return lambda _: None

        def fields(scope: Scope) -> Any:
            found = settled(render(scope))
            if found is not None and not isinstance(found, Mapping):
                raise RenderError(f'"..." needs an object to merge, this is {shown(found)}', path, reference)
            return found

        return fields

    def list(self, value: list[Any], path: Path) -> Render:
        items = [self.item(inner, (*path, at)) for at, inner in enumerate(value)]
        if not any(spreads for spreads, _ in items):
            plain = [render for _, render in items]
            return lambda scope: [render(scope) for render in plain]
        return lambda scope: _spliced(items, scope)

    def item(self, value: Any, path: Path) -> tuple[bool, Render]:
        """A list item and whether it is `...${x}`, which splices the list x into this one."""
        if isinstance(value, str) and value.startswith("...${"):
            parts = self.parts(value, path)
            if parts is None or len(parts) != 2 or not isinstance(parts[1], Reference):
                return False, self.filled(value, parts, path)
            return True, self.spread(value, parts[1], path)
        return False, self.value(value, path)

    def spread(self, text: str, reference: Reference, path: Path) -> Render:
        if reference.cast is None:
            reference = replace(reference, cast=Cast("list"))  # so that the default `[]` and a form's text are lists
        self.look_at((reference,), path, is_spread=True)
        render = self.reference(reference, path, whole=True)

        def items(scope: Scope) -> list[Any]:
            try:
                found = settled(render(scope))
            except RenderError as error:
                raise RenderError(f"`{text}` needs a list to spread; {error.sentence}", path, reference) from None
            if found is not None and not isinstance(found, list | tuple):
                raise RenderError(f"`{text}` needs a list to spread, this is {shown(found)}", path, reference)
            return list(found or ())

        return items

    def scalar(self, text: str, path: Path) -> Render:
        if "$" not in text and "{{" not in text:
            return _literal(text)
        return self.filled(text, self.parts(text, path), path)

    def filled(self, text: str, parts: tuple[Part, ...] | None, path: Path) -> Render:
        if parts is None:
            return _literal(text)
        self.look_at(parts, path)
        if self.spell is not None:
            return self.spelled(parts, path, self.spell)
        if len(parts) == 1 and isinstance(parts[0], Reference):
            return self.reference(parts[0], path, whole=True)
        return self.text(parts, path)

    def spelled(self, parts: tuple[Part, ...], path: Path, spell: Spell) -> Render:
        renders: list[Render] = []
        before = ""
        for part in parts:
            if isinstance(part, str):
                before += part
                renders.append(_literal(part))
            else:
                renders.append(_spelled(self.as_text(part, path), spell, before))
        return lambda scope: "".join([render(scope) for render in renders])

    def parts(self, text: str, path: Path) -> tuple[Part, ...] | None:
        try:
            parts = parse(text)
        except ExpressionError as error:
            self.findings.flaws.append(Flaw(error.sentence, path, error.start, error.length))
            return None
        if "$${" in text:
            self.note("read as text: `$${` writes a literal `${`", path, text.index("$${"), 3)
        self.note_lookalikes(text, parts, path)
        return parts

    def note_lookalikes(self, text: str, parts: tuple[Part, ...], path: Path) -> None:
        """Say of `$input.x` and `{{ input.x }}` outside of references that they are no references."""
        ends = [part.start + part.length for part in parts if isinstance(part, Reference)]
        starts = [part.start for part in parts if isinstance(part, Reference)]
        for found in _LOOKALIKE.finditer(text):
            before = bisect_right(starts, found.start())
            if before and found.start() < ends[before - 1]:
                continue
            wanted = f"env.{found['variable']}" if found["variable"] else found[0].strip("${} ")
            sentence = f"`{found[0]}` is sent as it is written; a value is written `${{{wanted}}}`"
            self.note(sentence, path, found.start(), len(found[0]))

    def text(self, parts: Iterable[Part], path: Path) -> Render:
        renders = [_literal(part) if isinstance(part, str) else self.as_text(part, path) for part in parts]
        return lambda scope: "".join([render(scope) for render in renders])

    def as_text(self, reference: Reference, path: Path) -> Render:
        render = self.reference(reference, path, whole=False)

        def text(scope: Scope) -> str:
            try:
                return to_text(render(scope))
            except CastError as error:
                raise RenderError(str(error), path, reference) from None

        return text

    def look_at(self, parts: tuple[Part, ...], path: Path, *, is_spread: bool = False) -> None:
        self.holes += [Hole(reference, path, is_spread and reference in parts) for reference in references(parts)]

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
            self.findings.read_as.append(note)
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

    def fallback(self, reference: Reference, default: Default, cast: Cast | None, path: Path, *, whole: bool) -> Render:
        literal = default.literal
        if literal is None:
            if len(default.parts) == 1 and isinstance(default.parts[0], Reference):
                return self.reference(default.parts[0], path, whole=whole)
            return self.text(default.parts, path)
        value = default_value(default, cast, whole=whole)
        if cast is not None and value is not None:
            problem = _default_problem(value, cast)
            if problem:
                sentence = f"{problem}, but it is the default of `{reference.key}{reference.dotted}`"
                self.flaw(sentence, path, default.start, default.length)
        return (lambda _: deepcopy(value)) if isinstance(value, list) else lambda _: value

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
    known = ", ".join(f"`{name}`" for name in names)
    if reference.source in _SOURCES:
        return f"`{reference.key}` cannot be used here, only {known}"
    near = suggest(reference.source, [name for name in names if not name.endswith("[]")])
    if not near and "env" in names and not reference.path and _VARIABLE.fullmatch(reference.key):
        near = f"; did you mean `env.{reference.source}`?"  # an input would ask for a key in a field that shows it
    if not near and "input" in names and not reference.path and not reference.per_chunk:
        near = f"; did you mean `input.{reference.source}`?"
    return f"unknown source `{reference.key}`{near or f'; here you can use {known}'}"


_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{2,}")

# every source there is somewhere
_SOURCES = frozenset((
    "input", "env", "context", "jobs", "job", "output", "response", "result", "item", "index", "accumulator", "iteration",
    "step", "error", "messages", "tools",
))  # fmt: skip


# -- closures ------------------------------------------------------------------------------------------------------


def _literal(text: str) -> Render:
    return lambda _: text


def _spelled(render: Render, spell: Spell, before: str) -> Render:
    return lambda scope: spell(render(scope), before)


def _lookup(reference: Reference, path: Path, *, typed: bool) -> Render:
    if reference.source == "env":
        return _variable(reference, path, typed=typed)
    key = reference.key
    if not reference.path:
        return lambda scope: scope.get(key)
    find = finder(reference.path)
    return lambda scope: find(scope.get(key))


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
            raise RenderError(f"`{reference.key}{reference.dotted}`: {error}", path, reference) from None

    return value


def _sole(value: Any, holes: list[Hole]) -> Reference | None:
    """The reference that a scalar consists of, if it does."""
    if not isinstance(value, str) or not holes:
        return None
    reference = holes[0].reference
    return reference if (reference.start, reference.length) == (0, len(value)) else None


def _merged(items: Iterable[tuple[str, Render]], scope: Scope) -> dict[str, Any]:
    """An object whose key `...` holds objects to merge at that place; a later key wins."""
    merged: dict[str, Any] = {}
    for key, render in items:
        merged.update((render(scope) or {}) if key == "..." else {key: render(scope)})
    return merged


def _spliced(items: Iterable[tuple[bool, Render]], scope: Scope) -> list[Any]:
    result: list[Any] = []
    for spread, render in items:
        value = render(scope)
        result.extend(value) if spread else result.append(value)
    return result
