"""Any YAML value -> a compiled function of the scope that fills its holes, operators included.

Compiled once when a workflow is loaded: every `${...}` becomes a closure, so that rendering a chunk parses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from composemagic.language.findings import Findings, Flaw, Hole, MissingVariable, Path, Render, RenderError, Scope
from composemagic.language.formats import LOADED
from composemagic.language.nodes import Cast, Part, Reference
from composemagic.language.operators import OPERATORS, compile_choice, compile_operator, is_operator
from composemagic.language.scalars import ScalarCompiler, Spell, default_value, whole_reference
from composemagic.language.sources import BARE, SOURCES, unknown_source
from composemagic.language.values import shown
from composemagic.words import say

__all__ = [
    "BARE",
    "LOADED",
    "Findings",
    "Flaw",
    "Hole",
    "MissingVariable",
    "RenderError",
    "Spell",
    "Template",
    "compile_template",
    "default_value",
    "start_compiler",
    "unknown_source",
]

Fields = Callable[[Scope], dict[str, Any]]

_BARE_SPREAD = re.compile(r"\.\.\.([A-Za-z_][\w.-]*)")
# of the types in CASTS; what is registered may give anything
_NO_LISTS = frozenset((
    "text", "string", "str", "markdown", "integer", "int", "number", "float", "boolean", "bool", "object", "slider",
    "base64", "stream", "file", "image", "audio", "video", "model-3d",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled YAML value: `render(scope)` fills it; `holes` are its references, those in defaults included.

    `render` raises RenderError where a cast or an operator fails, MissingVariable for an unset `${env.X}` without default,
    and Wanted where a stream has to become a value, or a file or an address has to be loaded, first. What `;url` and
    `;path` load is kept in the scope, in the mapping at the key LOADED; where there is none, they fail.
    """

    render: Render
    holes: tuple[Hole, ...]

    @property
    def constant(self) -> bool:
        """Whether rendering gives the same value in every scope."""
        return not self.holes


def compile_template(
    value: Any,
    path: Path = (),
    *,
    findings: Findings | None = None,
    is_quoted: Callable[[Path], bool] = lambda _: False,
    texts: bool = False,
    spell: Spell | None = None,
    skip_decode: bool = False,
) -> Template:
    """Compile a YAML value that stands at `path` of its document.

    Mistakes are added to `findings` (the flawed scalar then stays as written). `is_quoted` tells of a path whether its
    scalar was written in quotes: an unquoted `${env.X}` that is a whole scalar takes the type YAML would give the variable's
    text, unless `texts` says that only text is wanted here (headers). `spell` writes each value into its text, and
    is told the literal text before it (an address encodes values). With `skip_decode` (a terminal job's output) text in a
    format that carries its own content, such as `;base64`, is passed on as it is.
    """
    compiler = start_compiler(findings, is_quoted, texts=texts, spell=spell, skip_decode=skip_decode)
    return Template(compiler.value(value, path), tuple(compiler.holes))


def start_compiler(
    findings: Findings | None,
    is_quoted: Callable[[Path], bool],
    *,
    texts: bool = False,
    spell: Spell | None = None,
    skip_decode: bool = False,
) -> _Compiler:
    """A compiler by itself, for what holds templates without being one."""
    found = findings if findings is not None else Findings()
    return _Compiler(found, is_quoted, texts=texts, spell=spell, skip_decode=skip_decode)


class _Compiler(ScalarCompiler):
    """Compiles collections, and finds the mappings among them that are operators."""

    def value(self, value: Any, path: Path) -> Render:
        """Collections are built anew each time, constant ones too: who gets a value may change it."""
        if isinstance(value, str):
            return self.scalar(value, path)
        if isinstance(value, dict):
            return compile_operator(value, path, self) or self.fields(value, path)
        if isinstance(value, list):
            return self.list(value, path)
        return lambda _: value

    def fields(self, value: dict[str, Any], path: Path) -> Fields:
        """A plain object; `...` and `?` add fields at their place, and a later key wins."""
        items = [(key, self.field(key, inner, (*path, key), len(value) == 1)) for key, inner in value.items()]
        if "..." in value or "?" in value:
            return lambda scope: _merged(items, scope)
        return lambda scope: {key: render(scope) for key, render in items}

    def field(self, key: str, value: Any, path: Path, is_only: bool) -> Render:
        if key == "...":
            return self.merge(value, path)
        if key == "?":
            return self.choice_of_fields(value, path)
        if "${" in key:
            self.flaw(say("mapping keys are not templates: `${...}` is not filled in here"), path, in_key=True)
        if key in OPERATORS:
            self.note(say("`{key}` stands beside other keys, so it is a key like these", key=key), path, in_key=True)
        if value is None and is_only:
            self.look_at_braces(key, path)
        return self.value(value, path)

    def look_at_braces(self, key: str, path: Path) -> None:
        """`{input.x}` is no reference to YAML; a single name, `{input}`, may well be meant as it is."""
        found = BARE.fullmatch(key)
        if found is None or found["source"] not in SOURCES:
            return
        sentence = say("`{{{key}}}` is a mapping in YAML; a value is written `${{{key}}}`", key=key)
        if found["path"]:
            self.flaw(sentence, path, in_key=True)
        elif key in ("input", "output", "response", "result"):
            self.note(sentence, path)

    def merge(self, value: Any, path: Path) -> Render:
        """The value of the key `...`: an object whose fields are merged in at this place; null adds nothing."""
        flaws = len(self.findings.flaws)
        render = self.value(value, path)
        if value is None:
            return render
        reference = whole_reference(value) if isinstance(value, str) else None
        if reference is None and not isinstance(value, dict):
            if len(self.findings.flaws) == flaws:
                self.flaw(say('"..." merges an object, and this can never be one'), path)
            return _null

        def fields(scope: Scope) -> Any:
            found = render(scope)
            if found is not None and not isinstance(found, Mapping):
                sentence = say('"..." needs an object to merge, this is {value}', value=shown(found))
                raise RenderError(sentence, path, *([reference] if reference else []))
            return found

        return fields

    def choice_of_fields(self, value: Any, path: Path) -> Render:
        """`?` beside other keys: the fields of the object it chooses; null adds nothing."""
        render = compile_choice(value, path, self)

        def fields(scope: Scope) -> Any:
            found = render(scope)
            if found is not None and not isinstance(found, Mapping):
                sentence = say('"?" beside other keys needs an object, this is {value}', value=shown(found))
                raise RenderError(sentence, path)
            return found

        return fields

    @contextmanager
    def unspelled(self) -> Iterator[None]:
        """Compile what is worked on, and not yet how the result is written."""
        texts, spell = self.texts, self.spell
        self.texts, self.spell = False, None
        yield
        self.texts, self.spell = texts, spell

    def operand(self, value: Any, path: Path) -> Render:
        """What a condition compares: a value, with every stream in it collected."""
        with self.unspelled(), self.collecting():
            return self.value(value, path)

    def items(self, value: Any, path: Path) -> Render:
        """What an operator goes over: a list with holes, or what gives a list. An untyped default is read as a list."""
        with self.unspelled():
            if isinstance(value, str):
                return self.items_of_text(value, path)
            if value is None or isinstance(value, list) or is_operator(value):
                return self.value(value, path)
        self.flaw(say("a list is needed here, this is {value}", value=shown(value)), path)
        return _null

    def items_of_text(self, text: str, path: Path) -> Render:
        parts = self.parts(text, path)
        if parts is None:
            return _null
        self.look_at(parts, path)
        if len(parts) != 1 or not isinstance(parts[0], Reference):
            self.flaw(say("a list is needed here, and text can never be one"), path)
            return _null
        return self.reference(parts[0], path, whole=True, as_list=True)

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
                self.look_at_spread(value, parts or (), path)
                return False, self.filled(value, parts, path)
            return True, self.spread(value, parts[1], path)
        if isinstance(value, str) and (found := _BARE_SPREAD.fullmatch(value)):
            words = say(
                "`{text}` is sent as it is written; a list's items are spread with `...${{{name}}}`",
                text=value,
                name=found[1],
            )
            self.note(words, path)
        return False, self.value(value, path)

    def look_at_spread(self, text: str, parts: tuple[Part, ...], path: Path) -> None:
        """`...${x}` with more behind it is text, and can hardly be meant so."""
        if len(parts) < 3:
            return
        if isinstance(parts[2], str) and parts[2].strip(" ,") == "..." and len(parts) > 3:
            self.flaw(say("two lists are spread in one item; write an item for each"), path)
        else:
            self.note(say("`{text}` is text: only a whole item `...${{...}}` spreads a list", text=text[:40]), path)

    def spread(self, text: str, reference: Reference, path: Path) -> Render:
        cast = reference.cast
        if cast is not None and not cast.is_list and cast.type in _NO_LISTS:
            mend = "list" if cast.type == "stream" else f"{cast.type}[]"
            words = say(
                "`...` spreads a list, and `as {type}` never gives one; write `as {mend}`", type=cast.type, mend=mend
            )
            self.flaw(words, path, cast.start, cast.length)
        if reference.cast is None:
            reference = replace(reference, cast=Cast("list"))  # so that the default `[]` and a form's text are lists
        self.look_at((reference,), path, is_spread=True)
        with self.collecting():
            render = self.reference(reference, path, whole=True, as_list=True)

        def items(scope: Scope) -> list[Any]:
            try:
                found = render(scope)
            except RenderError as error:
                problem = error.sentence
                sentence = say("`{spread}` needs a list to spread; {problem}", spread=text, problem=problem)
                raise RenderError(sentence, path, reference) from None
            if found is not None and not isinstance(found, list | tuple):
                sentence = say("`{spread}` needs a list to spread, this is {value}", spread=text, value=shown(found))
                raise RenderError(sentence, path, reference)
            return list(found or ())

        return items


def _null(_: Scope) -> None:
    return None


def _merged(items: Iterable[tuple[str, Render]], scope: Scope) -> dict[str, Any]:
    """An object whose keys `...` and `?` hold objects to merge at that place; a later key wins."""
    merged: dict[str, Any] = {}
    for key, render in items:
        merged.update((render(scope) or {}) if key in ("...", "?") else {key: render(scope)})
    return merged


def _spliced(items: Iterable[tuple[bool, Render]], scope: Scope) -> list[Any]:
    result: list[Any] = []
    for spread, render in items:
        value = render(scope)
        result.extend(value) if spread else result.append(value)
    return result
