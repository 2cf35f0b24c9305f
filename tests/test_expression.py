"""`${...}`: text -> parts, and text -> what is wrong with it and where."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from composemagic.language.expression import (
    Cast,
    Each,
    ExpressionError,
    Index,
    Name,
    Reference,
    Slice,
    parse,
    parse_path,
    references,
)

ALL = Each()


def R(key: str, *path: Any, **more: Any) -> dict[str, Any]:
    """A reference as the tables write it: its key, its path, and whatever else it has."""
    return {"key": key, "path": path, **more}


def described(part: str | Reference) -> Any:
    if isinstance(part, str):
        return part
    steps = {Name: lambda one: one.name, Index: lambda one: one.position, Slice: lambda one: slice(one.start, one.stop)}
    path = [ALL if segment == ALL else steps[type(segment)](segment) for segment in part.path]
    more: dict[str, Any] = {}
    if part.cast:
        more["cast"] = str(replace(part.cast, attrs=()))
        if part.cast.attrs:
            more["attrs"] = dict(part.cast.attrs)
    if part.default:
        more["default"] = [described(inner) for inner in part.default.parts]
        if part.default.quoted:
            more["quoted"] = True
    if part.annotations:
        more["notes"] = dict(part.annotations)
    return R(part.key, *path, **more)


PARTS: list[tuple[str, list[Any]]] = [
    # literals
    ("", []),
    ("plain", ["plain"]),
    ("$ {input.x} {input.x} $input.x", ["$ {input.x} {input.x} $input.x"]),
    ("5$ and 3$", ["5$ and 3$"]),
    ("$${x}", ["${x}"]),
    ("a$${x}b", ["a${x}b"]),
    ("$${x} ${y}", ["${x} ", R("y")]),
    ("$$${x}", ["$", R("x")]),
    ("$$$${x}", ["$${x}"]),
    ("\\${x}", ["\\", R("x")]),
    # sources
    ("${input}", [R("input")]),
    ("${ input }", [R("input")]),
    ("${\tinput\t}", [R("input")]),
    ("${_a-b:8080}", [R("_a-b:8080")]),
    ("${名.x}", [R("名", "x")]),
    ("${response[]}", [R("response[]")]),
    ("${response[].choices[0].delta.content}", [R("response[]", "choices", 0, "delta", "content")]),
    # paths
    ("${input.a.b}", [R("input", "a", "b")]),
    ("${input.a-b}", [R("input", "a-b")]),
    ("${input.0}", [R("input", "0")]),
    ("${result[0]}", [R("result", 0)]),
    ("${result[-1].x}", [R("result", -1, "x")]),
    ("${result[1:3]}", [R("result", slice(1, 3))]),
    ("${result[:]}", [R("result", slice(None, None))]),
    ("${result[-2:]}", [R("result", slice(-2, None))]),
    ("${result[*].p}", [R("result", ALL, "p")]),
    ("${input.a[0][1].b[*]}", [R("input", "a", 0, 1, "b", ALL)]),
    ('${input["a b"]}', [R("input", "a b")]),
    ('${input.x["}"]["a.b"]}', [R("input", "x", "}", "a.b")]),
    # casts
    ("${input.x as text}", [R("input", "x", cast="text")]),
    ("${input.x  as   text}", [R("input", "x", cast="text")]),
    ("${input.as as as}", [R("input", "as", cast="as")]),
    ("${input.x as integer[]}", [R("input", "x", cast="integer[]")]),
    ("${input.x as select/a,b}", [R("input", "x", cast="select/a,b")]),
    ("${input.x as object[]/id,user.name}", [R("input", "x", cast="object[]/id,user.name")]),
    (
        "${input.x as audio/pcm[rate=16000, n=1]}",
        [R("input", "x", cast="audio/pcm", attrs={"rate": "16000", "n": "1"})],
    ),
    ("${x as audio/pcm[r=${input.n}]}", [R("x", cast="audio/pcm", attrs={"r": "${input.n}"})]),
    ("${output as text;sse-text}", [R("output", cast="text;sse-text")]),
    ("${output as text/choices[0].delta;sse-json}", [R("output", cast="text/choices[0].delta;sse-json")]),
    # defaults
    ("${input.x | y}", [R("input", "x", default=["y"])]),
    ("${input.x|y}", [R("input", "x", default=["y"])]),
    ("${input.x | }", [R("input", "x", default=[])]),
    ("${input.x | a, b: c # d}", [R("input", "x", default=["a, b: c # d"])]),
    ("${input.x | $5}", [R("input", "x", default=["$5"])]),
    ('${input.x | "a } b"}', [R("input", "x", default=["a } b"], quoted=True)]),
    ("${input.x | 'a'}", [R("input", "x", default=["a"], quoted=True)]),
    ('${input.x | ""}', [R("input", "x", default=[], quoted=True)]),
    ('${input.x | "a" b}', [R("input", "x", default=['"a" b'])]),
    ('${input.x | "${y}"}', [R("input", "x", default=['"', R("y"), '"'])]),
    ('${input.x | {"a": {}}}', [R("input", "x", default=['{"a": {}}'])]),
    ("${input.x | a\\}b\\{c\\|\\@\\$\\n}", [R("input", "x", default=["a}b{c|@$\\n"])]),
    ('${input.x | "\\${y}"}', [R("input", "x", default=["${y}"], quoted=True)]),
    ('${input.x | "$${y}"}', [R("input", "x", default=["${y}"], quoted=True)]),
    ('${input.x | "$$${y}"}', [R("input", "x", default=['"$', R("y"), '"'])]),
    ("${input.x | $${y}}", [R("input", "x", default=["${y}"])]),
    ("${input.x | $$${y}}", [R("input", "x", default=["$", R("y")])]),
    ("${input.x | \\$${y}}", [R("input", "x", default=["$", R("y")])]),
    ("${input.x | ${y}}", [R("input", "x", default=[R("y")])]),
    ("${x as audio/pcm[]}", [R("x", cast="audio/pcm")]),
    ("${x as audio/pcm[a=, b= 1 $5 ]}", [R("x", cast="audio/pcm", attrs={"a": "", "b": "1 $5"})]),
    (
        "${x as audio/pcm[r=${input.n | ${y}}0,b=c]}",
        [R("x", cast="audio/pcm", attrs={"r": "${input.n | ${y}}0", "b": "c"})],
    ),
    ("${input.x | ${y | ${z | 3}}}", [R("input", "x", default=[R("y", default=[R("z", default=["3"])])])]),
    ("${input.x | a ${y} b}", [R("input", "x", default=["a ", R("y"), " b"])]),
    ("${input.x as number | 0.7}", [R("input", "x", cast="number", default=["0.7"])]),
    # annotations
    ("${input.x @(description a (b) c)}", [R("input", "x", notes={"description": "a (b) c"})]),
    ("${input.x @(title A) @(description B)}", [R("input", "x", notes={"title": "A", "description": "B"})]),
    ("${input.x @(description)}", [R("input", "x", notes={"description": ""})]),
    ("${input.x | d @(title A)}", [R("input", "x", default=["d"], notes={"title": "A"})]),
    ('${input.x | "d" @(title A)}', [R("input", "x", default=["d"], quoted=True, notes={"title": "A"})]),
    ("${input.x as text | d @(title A)}", [R("input", "x", cast="text", default=["d"], notes={"title": "A"})]),
    # several
    ("${a}${b}", [R("a"), R("b")]),
    ("x ${a} y\n${b}\n", ["x ", R("a"), " y\n", R("b"), "\n"]),
]


@pytest.mark.parametrize(("text", "parts"), PARTS, ids=lambda value: value if isinstance(value, str) else "")
def test_text_to_parts(text: str, parts: list[Any]) -> None:
    assert [described(part) for part in parse(text)] == parts


# the text, the sentence, and below it the marked characters
ERRORS = [
    ("a ${", "`${` is not closed with `}`", "${"),
    ("${input.x", "`${` is not closed with `}`", "${"),
    ("${input.x | y", "`${` is not closed with `}`", "${"),
    ("${input.x | y\n}", "`${` is not closed with `}`", "${"),
    ("${a} ${b | {}", "`${` is not closed with `}`", "${"),
    ("${}", "malformed `${}`: a name such as `input` is expected after `${`", "${}"),
    ("${ }", "malformed `${ }`: a name such as `input` is expected after `${`", "${ }"),
    ("${1}", "malformed `${1}`: a name such as `input` is expected after `${`", "${1}"),
    ("${.x}", "malformed `${.x}`: a name such as `input` is expected after `${`", "${.x}"),
    ("${input.}", "malformed `${input.}`: a name is expected after the dot", "${input.}"),
    ("x ${input..y} z", "malformed `${input..y}`: a name is expected after the dot", "${input..y}"),
    ("${input .x}", "malformed `${input .x}`; remove the space", "${input .x}"),
    ("${input [0]}", "malformed `${input [0]}`; remove the space", "${input [0]}"),
    ("${input/x}", "malformed path `input/x`; did you mean `input.x`?", "${input/x}"),
    ("${input.a/b}", "malformed path `input.a/b`; did you mean `input.a.b`?", "${input.a/b}"),
    ("${input.${x}}", "a reference inside a path is not possible", "${"),
    ("${input.x[]}", "`[]` stands directly after the source, as in `${response[].field}`", "[]"),
    ("${x[a]}", 'malformed `${x[a]}`: inside `[ ]`: a number, a range `1:3`, `*` or a `"name"`', "${x[a]}"),
    ("${x[" + "9" * 20 + "]}", "the index 999999999999... is too large", "[" + "9" * 19),
    ("${bad ref}", "malformed `${bad ref}`: after the path come `as type`, `| default` or `@(note)`", "r"),
    ("${x as text y}", "malformed `${x as text y}`: after the path come `as type`, `| default` or `@(note)`", "y"),
    ("${x as select/a, b}", "malformed `${x as select/a, b}`; remove the space after the comma", "${x as select/a, b}"),
    ("${x as}", "malformed `${x as}`: a type such as `text` or `number` is expected after `as`", "${x as}"),
    ("${x as }", "malformed `${x as }`: a type such as `text` or `number` is expected after `as`", "${x as }"),
    ("${x as a/b[c=d}", "malformed `${x as a/b[c=d}`: `[` is not closed with `]`", "${x as a/b[c=d}"),
    ("${x as a/b[c]}", "malformed `${x as a/b[c]}`: an attribute is written `[name=value]`", "${x as a/b[c]}"),
    ("${x as a/b[c={}]}", "malformed `${x as a/b[c={}]}`: `[` is not closed with `]`", "${x as a/b[c={}]}"),
    ("${x @()}", "malformed `${x @()}`: an annotation is written `@(description text)`", "${x @()}"),
    ("${x @(note}", "malformed `${x @(note}`: `@(` is not closed with `)`", "${x @(note}"),
    ("${a | " * 40, "more than 32 references inside each other", "${"),
    ("${x \u00a0}", "malformed `${x \u00a0}`: after the path come `as type`, `| default` or `@(note)`", "\u00a0"),
]


@pytest.mark.parametrize(("text", "sentence", "marked"), ERRORS, ids=[row[0][:20] for row in ERRORS])
def test_text_to_error(text: str, sentence: str, marked: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    error = caught.value
    assert (error.sentence, text[error.start : error.start + error.length]) == (sentence, marked)


def test_places_are_counted_from_the_start_of_the_scalar() -> None:
    text = "ab ${ input.x as integer | 5 } cd"
    part = parse(text)[1]
    assert isinstance(part, Reference)
    assert part.cast
    assert part.default
    assert text[part.start : part.start + part.length] == "${ input.x as integer | 5 }"
    assert text[part.source_start :].startswith("input.x")
    assert text[part.cast.start : part.cast.start + part.cast.length] == "integer"
    assert text[part.default.start : part.default.start + part.default.length] == "5 "
    assert part.path_text == "x"


def test_references_come_in_order_each_followed_by_those_of_its_attributes_and_its_default() -> None:
    found = references(parse("${a as t/s[x=${b}] | ${c | ${d}} ${e}} ${f}"))
    assert [reference.source for reference in found] == list("abcdef")


PATHS = {
    "a": (Name("a"),),
    "choices[0].delta.content": (Name("choices"), Index(0), Name("delta"), Name("content")),
    "[*].x": (Each(), Name("x")),
    "[1:]": (Slice(1, None),),
    "['a b'].c[\"d'e\"]['f\"g']": (Name("a b"), Name("c"), Name("d'e"), Name('f"g')),
    "['']": (Name(""),),
}


@pytest.mark.parametrize("text", PATHS)
def test_a_path_by_itself(text: str) -> None:
    assert parse_path(text) == PATHS[text]


@pytest.mark.parametrize("text", ["", ".", "a.", "a b", "a]", "a[", "a[x]", "[]", "${x}", "['a\"]", "['a"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_path(text)


def test_a_cast_is_written_as_it_was_read() -> None:
    cast = Cast("object", is_list=True, subtype="id, name", format="json")
    assert str(cast) == "object[]/id, name;json"
    assert cast.options == ("id", "name")
    assert Cast("text").options == ()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others use the machine as well
@given(
    st.lists(
        st.sampled_from(
            [
                "${",
                "}",
                "$",
                "{",
                "[",
                "]",
                "input",
                ".x",
                "[0]",
                " ",
                "|",
                "as",
                "text",
                '"',
                "\\",
                "@(",
                ")",
                "\n",
                "é",
            ]
        )
    )
)
def test_any_text_is_parsed_or_refused_with_a_place_inside_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        parts = parse(text)
    except ExpressionError as error:
        assert 0 <= error.start < len(text)
        assert error.length >= 1
    else:
        for part in parts:
            if isinstance(part, Reference):
                assert text[part.start : part.start + 2] == "${"
                assert text[part.start + part.length - 1] == "}"


@pytest.mark.parametrize("text", ["${" * 20_000, "${a | " * 20_000, "$" * 50_000 + "{", "${a | {" + "{" * 20_000])
def test_long_nonsense_is_refused_and_not_recursed_into(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        parse(text)
