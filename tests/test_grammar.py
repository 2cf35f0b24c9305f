"""The grammar, and whatever stands in a document: what is printed reads the same, and nothing but our own errors is raised."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from composemagic.engine.stream import Stream
from composemagic.errors import DocumentError
from composemagic.language import document
from composemagic.language.casts import CASTS, CastError
from composemagic.language.conditions import compile_condition
from composemagic.language.expression import (
    Annotation,
    Cast,
    Default,
    Each,
    ExpressionError,
    Index,
    Name,
    Part,
    Reference,
    Slice,
    parse,
    written,
)
from composemagic.language.streams import Uncollected, Wanted
from composemagic.language.template import LOADED, Findings, RenderError, compile_template

# others use the machine as well
QUICK = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))

# ── trees ──

WORDS = st.from_regex(r"[^\W\d][\w-]{0,5}", fullmatch=True)
TEXT = st.text(st.characters(exclude_characters='"\n\r', exclude_categories=("Cs", "Cc")), max_size=8)
QUOTES = st.text(st.characters(exclude_characters="'\n\r", exclude_categories=("Cs", "Cc")), max_size=8)
NUMBERS = st.integers(-(10**6), 10**6)
SEGMENTS = st.one_of(
    st.builds(Name, WORDS | TEXT | QUOTES),
    st.builds(Index, NUMBERS),
    st.builds(Slice, st.none() | NUMBERS, st.none() | NUMBERS),
    st.just(Each()),
)
ATTRIBUTE = st.from_regex(r"[a-z0-9.%]{1,5}", fullmatch=True)


def reference(  # noqa: PLR0917 - as many as a reference has parts
    source: str, per_chunk: bool, path: list[Any], cast: Cast | None, default: Default | None, notes: list[Annotation]
) -> Reference:
    return Reference(source, per_chunk, tuple(path), cast, default, tuple(notes), 0, 0, 0, "")


def cast(
    kind: str, is_list: bool, subtype: str | None, attrs: list[tuple[str, tuple[Part, ...]]], form: str | None
) -> Cast:
    texts = tuple((name, written(parts)) for name, parts in attrs) if subtype else ()
    has_references = any(isinstance(part, Reference) for _, parts in attrs for part in parts)
    parts = tuple(parts for _, parts in attrs) if subtype and has_references else ()
    return Cast(kind, is_list, subtype, texts, form, attr_parts=parts)


def joined(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbouring texts are one, and empty text is none, as the parser gives them."""
    found: list[Part] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        elif part != "":
            found.append(part)
    return tuple(found)


def plain_default(parts: list[Part]) -> Default | None:
    found = joined(parts)
    first, last = (found[0], found[-1]) if found else ("x", "x")
    # blanks at its ends belong to nobody, and what begins with a quote may be a quoted token
    if isinstance(first, str) and first[0] in " \t\"'":
        return None
    if any(isinstance(part, str) and part[-1] == "\\" for part in found):  # it would escape what comes after it
        return None
    return None if isinstance(last, str) and last[-1] in " \t" else Default(found, False, 0, 0)


def references(depth: int = 2) -> st.SearchStrategy[Reference]:
    inner: st.SearchStrategy[Part] = TEXT if depth == 0 else TEXT | references(depth - 1)
    values = st.lists(ATTRIBUTE if depth == 0 else ATTRIBUTE | references(depth - 1), min_size=1, max_size=2)
    casts = st.builds(
        cast,
        st.sampled_from([*CASTS, "unknown"]),
        st.booleans(),
        st.none() | st.from_regex(r"[a-z.,]{1,6}", fullmatch=True),
        st.lists(st.tuples(st.from_regex(r"[a-z]{1,4}", fullmatch=True), values.map(joined)), max_size=2),
        st.none() | st.sampled_from(["base64", "x"]),
    )
    quoted = st.builds(lambda text: Default((text,) if text else (), True, 0, 0), TEXT)
    notes = st.builds(
        Annotation,
        st.from_regex(r"[a-z]{1,5}", fullmatch=True),
        st.from_regex(r"([a-z]( ?[a-z(]*[a-z])?)?", fullmatch=True).filter(lambda text: "(" not in text),
    )
    return st.builds(
        reference,
        WORDS,
        st.booleans(),
        st.lists(SEGMENTS, max_size=4),
        st.none() | casts,
        st.none() | quoted | st.lists(inner, max_size=3).map(plain_default),
        st.lists(notes, max_size=2),
    )


def bare(part: Part) -> Part:
    """The same without the places."""
    if isinstance(part, str):
        return part
    kind, default = part.cast, part.default
    if kind:
        kind = replace(kind, start=0, length=0, attr_parts=tuple(tuple(map(bare, value)) for value in kind.attr_parts))
    if default:
        default = replace(default, start=0, length=0, parts=tuple(map(bare, default.parts)))
    return replace(part, cast=kind, default=default, start=0, length=0, source_start=0, path_text="")


@settings(QUICK, max_examples=1500)
@example([reference("a", False, [Name("b c"), Name("")], None, Default(("}",), True, 0, 0), [])])
@example(["$", reference("a", True, [], None, Default(("\\a",), False, 0, 0), [Annotation("b", "")]), "$${"])
@example([reference("a", False, [], None, Default(("\xa0",), False, 0, 0), [Annotation("b", "")])])
@given(st.lists(TEXT | references(), max_size=4))
def test_what_is_written_reads_the_same(parts: list[Part]) -> None:
    wanted = joined(parts)
    text = written(wanted)
    found = parse(text)
    assert tuple(map(bare, found)) == wanted
    assert written(found) == text
    for part in found:
        if isinstance(part, Reference):
            assert text[part.start : part.start + part.length] == str(part)


# ── any text, any value, any document ──

PIECES = st.lists(
    st.sampled_from(["${", "}", "$", "{", "[", "]", "input", ".x", "[0]", "[*]", "[1:]", '["a"]', "['a']", " ", "|", "as ", "text", "integer[]", "/a,b", ";base64", '"', "'", "\\", "@(", ")", "...", "5", "null", "=", "é", "\n", "s"]),
    max_size=14,
).map("".join)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | PIECES
KEYS = st.sampled_from(["*", "?", "+", "&", "|", "...", "input", "where", "operator", "value", "if_true", "if_false", "all", "any", "not", "a", "${k}"])  # fmt: skip
GOOD = st.sampled_from(["${input.x}", "${input.l}", "...${input.l}", "${s}", "${input.o}", "${item}", "${index}", "${input.l as text[]}", "${s as stream/json}", "${input.l | []}", "eq", "in", "match", "gt"])  # fmt: skip
VALUES = st.recursive(
    SCALARS | GOOD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=14
)
WISE = st.recursive(
    GOOD | st.integers(0, 3),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.fixed_dictionaries({"*": inner}, optional={"a": inner, "b": inner, "?": inner}),
        st.fixed_dictionaries({"*": st.fixed_dictionaries({"input": inner, "where": st.fixed_dictionaries({"input": inner}, optional={"operator": GOOD, "value": inner})})}, optional={"a": inner}),
        st.fixed_dictionaries({"|": inner, "a": inner}),
        st.fixed_dictionaries({"&": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)}),
        st.fixed_dictionaries({"+": inner}),
        st.fixed_dictionaries({"?": st.fixed_dictionaries({"input": inner, "value": inner}, optional={"if_true": inner, "if_false": inner})}),
    ),
    max_leaves=12,
)  # fmt: skip


async def one_by_one() -> AsyncIterator[list[Any]]:
    for chunk in ("a", "b"):
        yield [chunk]


async def read(value: Any) -> Any:
    """Read every stream inside a value to its end."""
    if isinstance(value, Stream):
        return [chunk async for batch in value.batches() for chunk in batch]
    if isinstance(value, dict):
        return {key: await read(inner) for key, inner in value.items()}
    return [await read(inner) for inner in value] if isinstance(value, list) else value


async def filled(template: Any) -> Any:
    scope = {
        "input": {"x": 1, "l": [1, "b", None], "o": {"x": [2]}},
        "env": {"A": "9" * 400},
        "s": Stream(one_by_one()),
        LOADED: {},
    }
    for _ in range(20):
        try:
            return await read(template(scope))
        except Uncollected as wanted:
            await wanted.stream.collect()  # type: ignore[attr-defined]
        except Wanted as wanted:
            wanted.keep(b"1")  # type: ignore[attr-defined]
    return None


@settings(QUICK, max_examples=1000)
@example({"*": "${s}", "a": "${s} ${item}"})
@example({"*": {"input": "${s}", "where": {"input": "${s}", "value": "ab"}}, "a": "${item}"})
@example("${env.A}")
@example("${input.x as integer | " + "9" * 5000 + "}")
@given(VALUES | WISE)
def test_any_value_compiles_and_is_filled_or_says_why_not(value: Any) -> None:
    findings = Findings()
    template = compile_template(value, findings=findings)
    assert all(flaw.sentence for flaw in (*findings.flaws, *findings.notes))
    with contextlib.suppress(RenderError, CastError):
        asyncio.run(filled(template.render))


@settings(QUICK, max_examples=300)
@given(VALUES, st.booleans())
def test_any_condition_compiles_and_is_tested_or_says_why_not(value: Any, loose: bool) -> None:
    condition = compile_condition(value, loose=loose, findings=Findings())
    with contextlib.suppress(RenderError, CastError):
        asyncio.run(filled(condition.test))


@QUICK
@given(PIECES)
def test_any_text_is_parsed_or_refused_with_a_place_inside_it(text: str) -> None:
    try:
        found = parse(text)
    except ExpressionError as error:
        assert 0 <= error.start < len(text)
        assert error.length >= 1
    else:
        assert tuple(map(bare, parse(written(found)))) == tuple(map(bare, found))


YAML = st.lists(
    st.sampled_from(["a", "b", ": ", ":", "- ", "\n", "  ", "    ", "{", "}", "[", "]", ", ", "${", "}", "'", '"', "#", "&a ", "*a", "!!str ", "!x", "|", ">", "|\n", "<<", "? ", "\t", "%", "---", "...", "@", "`", "\\", "é", "：", "\u2028", "\x00", "input.x", "12", "null", "~"]),
    max_size=20,
).map("".join)  # fmt: skip


@settings(QUICK, max_examples=1000)
@given(YAML | YAML.map(lambda text: f"a: {text}\n") | st.text(max_size=30).map(lambda text: f"k:\n  - {text}\n"))
def test_any_document_is_read_or_refused_and_what_is_read_compiles(text: str) -> None:
    try:
        found = document.parse(text)
    except DocumentError as error:
        assert str(error)
        return
    findings = Findings()
    template = compile_template(found.data, findings=findings, is_quoted=found.is_quoted)
    for flaw in (*findings.flaws, *findings.notes):
        mark = found.key_mark(flaw.path) if flaw.in_key else found.span(flaw.path, flaw.start or 0, flaw.length)
        assert mark.number >= 1
    with contextlib.suppress(RenderError, CastError):
        asyncio.run(filled(template.render))


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["$", reference("x", False, [], None, None, [])], "$$${x}"),
        ([reference("x", False, [], None, Default(("a$", reference("y", False, [], None, None, [])), False, 0, 0), [])], "${x | a\\$${y}}"),
        (["a $$"], "a $$"),
        (["${x}"], "$${x}"),
        ([reference("x", True, [Name("a"), Name("b c"), Index(-1), Slice(None, 2), Each()], None, None, [])], '${x[].a["b c"][-1][:2][*]}'),
        ([reference("x", False, [Name('a"b'), Name("c'd")], None, None, [])], """${x['a"b']["c'd"]}"""),
        ([reference("x", False, [], Cast("object", True, "a,b", (("q", "1"),), "json"), Default(("a}b",), False, 0, 0), [])], "${x as object[]/a,b[q=1];json | a\\}b}"),
        ([reference("x", False, [], None, Default(('say "hi"',), True, 0, 0), [Annotation("title", "T")])], "${x | 'say \"hi\"' @(title T)}"),
        ([reference("x", False, [], None, Default((), False, 0, 0), [Annotation("title", "")])], "${x |  @(title)}"),
    ],
)  # fmt: skip
def test_how_it_is_written(parts: list[Part], text: str) -> None:
    assert written(parts) == text
    assert tuple(map(bare, parse(text))) == tuple(parts)
