"""A scalar with `${...}` -> a compiled function of the scope that fills it.

A scalar that is one reference gives the value itself, with its type; anything around it, even one space, makes it text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from json import dumps
from typing import Any

from composemagic.language import dialects
from composemagic.language.casts import EMPTY_IS_MISSING, FORMATLESS, CastError, cast_problem, convert, to_text
from composemagic.language.document import plain_value
from composemagic.language.expression import ExpressionError, parse
from composemagic.language.findings import Findings, Flaw, Hole, MissingVariable, Path, Render, RenderError, Scope
from composemagic.language.formats import LOADED, Unloaded
from composemagic.language.lookalikes import remarks
from composemagic.language.nodes import Cast, Default, Part, Reference, references
from composemagic.language.path import finder
from composemagic.language.secret import Secret, join, made
from composemagic.language.sources import is_gateway
from composemagic.language.streams import Chunks
from composemagic.language.values import joined_bytes
from composemagic.words import say

__all__ = ["ScalarCompiler", "Spell", "default_value", "whole_reference"]

Spell = Callable[[str, str], str]

_LIST = Cast("any", is_list=True)

_MARKS = re.compile(r"[$＄￥{｛<]")


class ScalarCompiler:
    """Compiles scalars, and gathers on the way what it finds and which references there are.

    `is_quoted`, `texts`, `spell` and `skip_decode` are those of `compile_template`. References to the names that are bound at
    the moment, such as `item` inside a map, are nobody's business outside and no holes.
    """

    def __init__(
        self,
        findings: Findings,
        is_quoted: Callable[[Path], bool],
        *,
        texts: bool = False,
        spell: Spell | None = None,
        skip_decode: bool = False,
    ) -> None:
        self.findings = findings
        self.is_quoted = is_quoted
        self.texts = texts
        self.spell = spell
        self.skip_decode = skip_decode
        self.holes: list[Hole] = []
        self.bound: tuple[str, ...] = ()
        self.wants_value = False

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Compile what a value is wanted of: every stream is collected where it is first met.

        It has to be there: a stream that is made of another one while rendering is a new one each time, and would never be
        found collected when it is rendered again.
        """
        outside = self.wants_value
        self.wants_value = True
        yield
        self.wants_value = outside

    @contextmanager
    def binding(self, *names: str) -> Iterator[None]:
        """Compile what stands inside an operator that gives these names a value."""
        outside = self.bound
        self.bound = (*outside, *names)
        yield
        self.bound = outside

    def scalar(self, text: str, path: Path) -> Render:
        if not _MARKS.search(text):
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
        return lambda scope: join([render(scope) for render in renders])

    def parts(self, text: str, path: Path) -> tuple[Part, ...] | None:
        try:
            parts = parse(text)
        except ExpressionError as error:
            self.findings.flaws.append(Flaw(error.sentence, path, error.start, error.length))
            return None
        for remark in remarks(text, parts):
            say_it = self.flaw if remark.is_mistake else self.note
            say_it(remark.sentence, path, remark.start, remark.length)
        return parts

    def text(self, parts: Iterable[Part], path: Path) -> Render:
        renders = [_literal(part) if isinstance(part, str) else self.as_text(part, path) for part in parts]
        return lambda scope: join([render(scope) for render in renders])

    def as_text(self, reference: Reference, path: Path) -> Render:
        render = self.reference(reference, path, whole=False)

        def text(scope: Scope) -> Any:
            found = render(scope)
            if isinstance(found, Secret):
                return found
            try:
                return to_text(found)
            except CastError as error:
                raise RenderError(str(error), path, reference) from None

        return text

    def look_at(self, parts: tuple[Part, ...], path: Path, *, is_spread: bool = False) -> None:
        for reference in references(parts):
            if reference.key not in self.bound:
                self.holes.append(Hole(reference, path, is_spread and reference in parts, self.bound))

    def reference(self, reference: Reference, path: Path, *, whole: bool, as_list: bool = False) -> Render:
        """The function that gives a reference's value; `as_list`: a list is wanted, also of a default without a cast."""
        cast = self.cast(reference, path)
        get = _lookup(reference, path, typed=whole and not cast and not self.texts and not self.is_quoted(path))
        if reference.default is not None:
            fallback = self.fallback(
                reference, reference.default, cast or (_LIST if as_list else None), path, whole=whole
            )
            get = _defaulted(get, fallback, empty_is_missing=cast is not None and cast.type in EMPTY_IS_MISSING)
        if self.wants_value or (cast is not None and not whole):
            get = _collected(get, as_list=as_list or (cast is not None and cast.is_list))
        return get if cast is None else self.converted(get, cast, reference, path)

    def cast(self, reference: Reference, path: Path) -> Cast | None:
        if reference.cast is None:
            return None
        cast, note = dialects.modern_cast(reference.cast)
        if note:
            self.findings.read_as.append(note)
        if cast.attrs != reference.cast.attrs:  # an older spelling's
            cast = replace(cast, attr_parts=())
        place = reference.cast.start, reference.cast.length
        problem = cast_problem(cast)
        if problem:
            self.flaw(problem, path, *place)
            return None
        if cast.format is not None and cast.type in FORMATLESS:
            words = say("`;{format}` says nothing of the type `{type}`", format=cast.format, type=cast.type)
            self.note(words, path, *place)
        return cast

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
                name = f"{reference.key}{reference.dotted}"
                sentence = say("{problem}, but it is the default of `{reference}`", problem=problem, reference=name)
                self.flaw(sentence, path, default.start, default.length)
        return (lambda _: deepcopy(value)) if isinstance(value, list) else lambda _: value

    def converted(self, get: Render, cast: Cast, reference: Reference, path: Path) -> Render:
        skip_decode, loads = self.skip_decode, cast.format in ("url", "path")
        attrs = self.attributes(cast, path)

        def value(scope: Scope) -> Any:
            found = get(scope)
            if found is None:
                return None
            filled = cast if attrs is None else replace(cast, attrs=attrs(scope))
            try:
                return convert(found, filled, loaded=scope.get(LOADED) if loads else None, skip_decode=skip_decode)
            except CastError as error:
                name = f"{reference.key}{reference.dotted}"
                sentence = say("`{reference}`: {problem}", reference=name, problem=error)
                raise RenderError(sentence, path, reference) from None

        return value

    def attributes(self, cast: Cast, path: Path) -> Render | None:
        """The function that fills a cast's attributes; None where no reference stands in them."""
        if not cast.attr_parts:
            return None
        names = [name for name, _ in cast.attrs]
        values = [self.text(parts, path) for parts in cast.attr_parts]
        return lambda scope: tuple(zip(names, [value(scope) for value in values], strict=True))

    def flaw(
        self, sentence: str, path: Path, start: int | None = None, length: int = 1, *, in_key: bool = False
    ) -> None:
        self.findings.flaws.append(Flaw(sentence, path, start, length, in_key))

    def note(
        self, sentence: str, path: Path, start: int | None = None, length: int = 1, *, in_key: bool = False
    ) -> None:
        self.findings.notes.append(Flaw(sentence, path, start, length, in_key))


def whole_reference(text: str) -> Reference | None:
    """The reference that a scalar consists of, if it does."""
    try:
        parts = parse(text)
    except ExpressionError:
        return None
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Reference) else None


def default_value(default: Default, cast: Cast | None, *, whole: bool) -> Any:
    """What a default without references stands for, before its cast.

    A quoted one is its text, also as JSON. `null` is null under every cast; without a cast an unquoted default that is a whole scalar has the type YAML reads in
    it; a list type reads JSON; the rest is text.
    """
    literal = default.literal or ""
    if default.quoted:
        is_text = cast is not None and cast.type == "json" and _default_problem(literal, cast) is not None
        return dumps(literal) if is_text else literal  # JSON writes a text in quotes, too
    plain = literal.strip()
    if cast is None:
        typed = _typed(plain) if whole and plain else plain
        return literal if isinstance(typed, str) else typed
    if plain == "null":
        return None
    if cast.is_list:
        try:
            return convert(plain, Cast("json"))
        except CastError:
            return literal
    return plain if cast.type in EMPTY_IS_MISSING else literal


def _typed(text: str) -> Any:
    try:
        return plain_value(text)
    except ValueError:  # more digits than a number of a document can have
        return text


def _default_problem(value: Any, cast: Cast) -> str | None:
    try:
        convert(value, cast, loaded={})
    except CastError as error:
        return str(error)
    except Unloaded:  # whether it can be loaded shows when it is
        return None
    return None


def _literal(text: str) -> Render:
    return lambda _: text


def _spelled(render: Render, spell: Spell, before: str) -> Render:
    return lambda scope: made(lambda text: spell(text, before), render(scope))


def _lookup(reference: Reference, path: Path, *, typed: bool) -> Render:
    if reference.source == "env":
        return _variable(reference, path, typed=typed)
    if is_gateway(reference):
        return _gateway(reference, path)
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
        return _typed(value) if typed and isinstance(value, str) and value.strip() else value

    return get


def _gateway(reference: Reference, path: Path) -> Render:
    """What the peer opens to the world is not there, unless a scope has it."""
    source, find, needed = reference.source, finder(reference.path), reference.default is None

    def get(scope: Scope) -> Any:
        if needed and source not in scope:
            sentence = say("`{source}` is not run by composemagic; write the public address itself", source=source)
            raise RenderError(sentence, path, reference)
        return find(scope.get(source))

    return get


def _collected(get: Render, *, as_list: bool) -> Render:
    def value(scope: Scope) -> Any:
        found = get(scope)
        if not isinstance(found, Chunks):
            return found
        found = joined_bytes(found)
        return [found] if as_list and not isinstance(found, list) else found

    return value


def _defaulted(get: Render, fallback: Render, *, empty_is_missing: bool) -> Render:
    def value(scope: Scope) -> Any:
        found = get(scope)
        if found is None or (empty_is_missing and found == ""):
            return fallback(scope)
        return found

    return value
