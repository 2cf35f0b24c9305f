"""What `as ...` makes of a value: tables of value, cast and result; streams chunk by chunk."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from composemagic.engine.stream import Stream
from composemagic.language.casts import (
    CASTS,
    EMPTY_IS_MISSING,
    CastError,
    Chunks,
    Uncollected,
    Whole,
    cast_problem,
    convert,
    register_cast,
    settled,
    to_text,
)
from composemagic.language.dialects import modern_cast
from composemagic.language.expression import Cast, Reference, parse
from composemagic.language.secret import Secret


def cast_of(written: str) -> Cast:
    """The cast as a document writes it, in today's spelling."""
    (reference,) = parse(f"${{x as {written}}}")
    assert isinstance(reference, Reference)
    assert reference.cast is not None
    return modern_cast(reference.cast)[0]


NESTED = {"a": 1, "b": {"c": [2]}}

CONVERSIONS: list[tuple[Any, str, Any]] = [
    # null stays null under every cast
    *[(None, name, None) for name in ("text", "integer", "number", "boolean", "json", "list", "integer[]", "stream/text")],
    # text
    ("a", "text", "a"), ("", "text", ""), (3, "text", "3"), (1.0, "text", "1.0"), (0, "string", "0"),
    (True, "text", "true"), (False, "str", "false"), (NESTED, "text", '{"a": 1, "b": {"c": [2]}}'),
    ([1, "é", None, True], "text", '[1, "é", null, true]'), (b"h\xc3\xa9", "text", "hé"), (NESTED, "markdown", '{"a": 1, "b": {"c": [2]}}'),
    # integer
    (3, "integer", 3), (1.9, "integer", 1), (-1.9, "int", -1), ("42", "integer", 42), (" 7 ", "integer", 7),
    ("1_000", "integer", 1000), (True, "integer", 1), (b"5", "integer", 5), ("-3", "integer", -3), ("٣", "integer", 3),
    # number
    (3, "number", 3.0), ("3.14", "number", 3.14), ("1e3", "float", 1000.0), (True, "number", 1.0), (" 2 ", "number", 2.0),
    ("inf", "number", math.inf), (10**30, "number", 1e30),
    # boolean
    *[(value, "boolean", True) for value in (True, 1, 1.0, "true", "TRUE", "yes", "On", "1", "1.0", " yes ", b"true")],
    *[(value, "bool", False) for value in (False, 0, 0.0, "false", "No", "off", "0", "0.0", " no\n")],
    # json
    ('{"a": [1]}', "json", {"a": [1]}), ("null", "json", None), ("42", "json", 42), (b"[1]", "json", [1]), (3, "json", 3),
    (NESTED, "json", NESTED),
    # list, object
    ([1], "list", [1]), ((1, 2), "list", [1, 2]), ("[1, 2]", "list", [1, 2]),
    (NESTED, "object", NESTED), ('{"a": 1}', "object", {"a": 1}), (NESTED, "object/a,b.c", {"a": 1, "c": [2]}),
    (NESTED, "object/a,zz", {"a": 1, "zz": None}), ({"x": {"id": 1}, "y": {"id": 2}}, "object/x.id,y.id", {"id": 2}),
    # elementwise
    (["1", None, 2.5], "integer[]", [1, None, 2]), ([], "number[]", []), ([NESTED], "object[]/a", [{"a": 1}]), (("a", 1), "text[]", ["a", "1"]),
    # select, slider
    ("a", "select/a,b", "a"), (1, "select/1,2", 1), ("zzz", "select", "zzz"), ("b", "select/a,b", "b"),
    ("0.5", "slider/0,2,0.1", 0.5), (2, "slider/0,2", 2.0),
    # base64, any
    ("héllo", "base64", "aMOpbGxv"), (b"\x00\x01\xff", "base64", "AAH/"), (NESTED, "any", NESTED), ("x", "any", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "written", "result"), CONVERSIONS)
def test_conversions(value: Any, written: str, result: Any) -> None:
    got = convert(value, cast_of(written))
    assert (got, type(got)) == (result, type(result))


REFUSALS: list[tuple[Any, str, str]] = [
    ("3.14", "integer", '"3.14" is no integer'),
    ("1e3", "integer", '"1e3" is no integer'),
    ("", "integer", '"" is no integer'),
    ([], "integer", "a list is no integer"),
    (math.nan, "integer", "nan is no integer"),
    (math.inf, "integer", "inf is no integer"),
    ("x" * 50, "number", f'"{"x" * 40}..." is no number'),
    ("", "number", '"" is no number'),
    ({}, "number", "an object is no number"),
    (10**400, "number", "so large an integer is no number"),
    (10**5000, "text", "so large an integer cannot be written as text"),
    (-(10**5000), "boolean", "so large an integer is no boolean"),
    ([10**5000], "text", "a list cannot be written as JSON"),
    ("maybe", "boolean", '"maybe" is no boolean'),
    ("", "boolean", '"" is no boolean'),
    (2, "boolean", "2 is no boolean"),
    ([], "boolean", "a list is no boolean"),
    (
        "{oops",
        "json",
        '"{oops" is no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))',
    ),
    ("", "json", '"" is no JSON (Expecting value: line 1 column 1 (char 0))'),
    ("[" * 100_000, "json", f'"{"[" * 40}..." is no JSON (RecursionError)'),
    (NESTED, "list", "an object is no list"),
    ("{}", "list", '"{}" is no list'),
    ([], "object", "a list is no object"),
    (3, "integer[]", "3 is no list"),
    ("[1]", "integer[]", '"[1]" is no list'),
    (["a"], "integer[]", '"a" is no integer'),
    ("zzz", "select/a,b", "`zzz` is not offered (a, b)"),
    (3, "slider/0,2", "3 is not between 0 and 2"),
    ("nan", "slider/0,2", '"nan" is not between 0 and 2'),
    (b"\x00", "integer", "bytes is no integer"),
    (3, "base64", "3 is neither text nor bytes"),
    (b"\xff", "text", "the bytes are not UTF-8 text"),
    (b"\xff", "boolean", "the bytes are not UTF-8 text"),
    ({"a": math.nan}, "text", "NaN and Infinity cannot be written as JSON"),
    ({"a": b"x"}, "text", "an object cannot be written as JSON"),
]


@pytest.mark.parametrize(
    ("value", "written", "sentence"), REFUSALS, ids=[f"{row[1]}: {row[2][:30]}" for row in REFUSALS]
)
def test_refusals(value: Any, written: str, sentence: str) -> None:
    with pytest.raises(CastError) as caught:
        convert(value, cast_of(written))
    assert str(caught.value) == sentence


PROBLEMS = {
    "text": None, "stream": None, "stream/json": None, "integer[]": None, "select": None, "slider/0,1": None,
    "nubmer": "unknown type `nubmer`; did you mean `number`?",
    "Text": "unknown type `Text`; did you mean `text`?",
    "date": "unknown type `date`",
    "stream/xml": "a stream is `stream/text` or `stream/json`, not `stream/xml`",
    "slider": "a slider is written `slider/min,max` or `slider/min,max,step`",
    "slider/1,0": "a slider is written `slider/min,max` or `slider/min,max,step`",
    "slider/0,1,0": "a slider is written `slider/min,max` or `slider/min,max,step`",
    "slider/nan,1": "a slider is written `slider/min,max` or `slider/min,max,step`",
    "slider/0,inf": "a slider is written `slider/min,max` or `slider/min,max,step`",
    "slider/a,b": "a slider is written `slider/min,max` or `slider/min,max,step`",
    "text;gzip": "unknown format `;gzip`",
    "image": None, "model-3d/glb": None, "text;base64": None, "file;url": None, "object/users[0].name,a": None,
    "text;base46": "unknown format `;base46`; did you mean `base64`?",
    "stream[]": "a stream is one: write `stream`, without `[]`",
    "object/a..b": "`a..b` is no path to a field, such as `user.name`",
    "object/a,": "`` is no path to a field, such as `user.name`",
    "text/a.b[0];sse-json": None,
    "text/a..b;sse-json": "`a..b` is no path into a chunk, such as `choices[0].delta.content`",
}  # fmt: skip


@pytest.mark.parametrize("written", PROBLEMS)
def test_what_is_wrong_with_a_cast_as_written(written: str) -> None:
    assert cast_problem(cast_of(written)) == PROBLEMS[written]


def test_what_reads_as_missing_is_a_cast() -> None:
    assert set(CASTS) >= EMPTY_IS_MISSING


# ── streams ──


def stream(*chunks: Any, fragmented: bool = True) -> Stream:
    async def source() -> AsyncIterator[list[Any]]:
        for chunk in chunks:
            yield [chunk]

    return Stream(source(), fragmented=fragmented)


def read(value: Any) -> list[Any]:
    assert isinstance(value, Chunks)

    async def all_of_it() -> list[Any]:
        return [chunk async for batch in value.batches() for chunk in batch]

    return asyncio.run(all_of_it())


CHUNK = '{"choices": [{"delta": {"content": "hi"}}]}'
STREAMS: list[tuple[Any, str, str, list[Any]]] = [
    (("a", None, "", "b"), "stream/text", "text", ["a", "b"]),
    ((1, True, {"k": "v"}, b"x"), "stream", "text", ["1", "true", '{"k": "v"}', "x"]),
    (("a", None, "", 1, {"k": "é"}), "stream/json", "json", ['"a"', "1", '{"k": "é"}']),
    (("the ", "fox"), "text;sse-text", "text", ["the ", "fox"]),
    (("the ",), "sse-json", "json", ['"the "']),
    (
        (CHUNK, {"choices": [{"delta": {"content": "!"}}]}),
        "text/choices[0].delta.content;sse-json",
        "text",
        ["hi", "!"],
    ),
    (('{"choices": []}', CHUNK, b'{"choices": 1}', ""), "text/choices[0].delta.content;sse-json", "text", ["hi"]),
    ((CHUNK,), "json/choices[0].delta;sse-json", "json", ['{"content": "hi"}']),
]


@pytest.mark.parametrize(("chunks", "written", "encoding", "result"), STREAMS)
def test_streams(chunks: tuple[Any, ...], written: str, encoding: str, result: list[Any]) -> None:
    got = convert(stream(*chunks), cast_of(written))
    assert (got.encoding, read(got)) == (encoding, result)


WHOLES: list[tuple[Any, str, list[Any]]] = [
    ("abc", "stream/text", ["abc"]), ([1, 2], "stream/json", ["[1, 2]"]), (3, "stream", ["3"]), ("", "stream/text", [""]),
    (CHUNK, "text/choices[0].delta.content;sse-json", ["hi"]), ("{}", "text/a;sse-json", [""]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "written", "result"), WHOLES)
def test_a_value_is_a_stream_of_one_chunk(value: Any, written: str, result: list[Any]) -> None:
    got = convert(value, cast_of(written))
    assert read(got) == result
    assert got.collected
    assert settled(got) == result[0]
    assert read(got.map(lambda chunks: [chunk + "!" for chunk in chunks])) == [result[0] + "!"]


def test_a_chunk_that_is_no_json_is_refused() -> None:
    with pytest.raises(CastError, match='"oops" is no JSON'):
        read(convert(stream("oops"), cast_of("text/a;sse-json")))


def test_each_chunk_converts() -> None:
    assert read(convert(stream("1", 2.5), cast_of("integer[]"))) == [1, 2]


@pytest.mark.parametrize("written", ["text", "integer", "json", "list", "base64", "any", "select/a,b"])
def test_a_stream_has_to_be_collected_where_a_value_is_wanted(written: str) -> None:
    chunks = stream("1", "2")
    with pytest.raises(Uncollected) as caught:
        convert(chunks, cast_of(written))
    assert caught.value.stream is chunks


def test_once_it_is_collected_it_is_its_value() -> None:
    chunks = stream("1", "2")
    asyncio.run(chunks.collect())
    assert convert(chunks, cast_of("integer")) == 12
    assert to_text(chunks) == "12"
    assert settled(Whole(3, None)) == 3


# ── register_cast ──


def test_a_cast_of_ones_own() -> None:
    undo = register_cast("shout", lambda value, cast: str(value).upper() + (cast.subtype or ""))
    try:
        assert cast_problem(cast_of("shout")) is None
        assert convert("a", cast_of("shout/!")) == "A!"
        assert convert(["a"], cast_of("shout[]")) == ["A"]
        with pytest.raises(ValueError, match="the cast `shout` exists already"):
            register_cast("shout", lambda value, cast: value)
    finally:
        undo()
    assert cast_problem(cast_of("shout")) == "unknown type `shout`"


# ── whatever comes ──

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others use the machine as well
@given(
    VALUES, st.sampled_from([*CASTS, "integer[]", "object/a,b.c", "select/a,b", "slider/0,1", "text/a[0].b;sse-json"])
)
def test_every_value_converts_or_is_refused_with_a_sentence(value: Any, written: str) -> None:
    cast = cast_of(written)
    try:
        convert(value, cast)
    except CastError as error:
        assert str(error)
        assert len(str(error)) < 20_000


def test_a_stream_inside_of_an_object_is_its_value_in_json() -> None:
    assert to_text({"a": Whole("x", "text"), "b": [Whole('{"c": 1}', "json")]}) == '{"a": "x", "b": ["{\\"c\\": 1}"]}'


def test_a_secret_is_no_text_by_itself() -> None:
    with pytest.raises(CastError, match=r"`env\.A_KEY` is a secret"):
        to_text(Secret.of("A_KEY", "0123"))
