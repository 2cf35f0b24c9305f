"""Any YAML value -> what it becomes in a scope; what is wrong with it, and what is worth a note."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from composemagic.engine.stream import Stream
from composemagic.errors import RunError
from composemagic.language.casts import Uncollected
from composemagic.language.secret import Sealed
from composemagic.language.template import (
    Findings,
    MissingVariable,
    RenderError,
    compile_template,
    unknown_source,
)
from composemagic.transport.secrets import opened

SCOPE: dict[str, Any] = {
    "input": {
        "name": "Ada", "n": 3, "f": 1.5, "t": True, "empty": "", "nul": None, "list": [10, 20], "obj": {"a": 1, "b": {"c": 2}},
        "users": [{"name": "a"}, {"name": "b"}, {}], "text": "[1, 2]", "bytes": b"h\xc3\xa9", "bad": b"\xff",
    },
    "result": [{"v": 1}, {"v": 2}],
    "response[]": {"choices": [{"delta": {"content": "tok"}}]},
    "env": {"N": "8080", "YES": "true", "ON": "on", "KEY": "0123", "BLANK": "", "SPACES": "  ", "HOST": "h.example"},
}  # fmt: skip


def rendered(value: Any, **more: Any) -> Any:
    findings = Findings()
    template = compile_template(value, findings=findings, **more)
    assert findings.flaws == []
    return template.render(SCOPE)


RENDERS: list[tuple[Any, Any]] = [
    # what has no holes stays
    (None, None), (True, True), (3, 3), ("", ""), ("a", "a"), ([], []), ({}, {}), ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    # a whole scalar keeps its type, anything around it makes text
    ("${input.n}", 3), ("${input.t}", True), ("${input.obj}", {"a": 1, "b": {"c": 2}}), ("${input.nul}", None), ("${input.nope.x}", None),
    (" ${input.n}", " 3"), ("${input.n}\n", "3\n"), ("${input.n}${input.t}", "3true"), ("${input.nope}${input.n}", "3"),
    ("[${input.nul}]", "[]"), ("o=${input.obj}", 'o={"a": 1, "b": {"c": 2}}'), ("l=${input.list}", "l=[10, 20]"), ("b=${input.bytes}", "b=hé"),
    # paths: what is not there is null
    ("${input.list[-1]}", 20), ("${input.list[5]}", None), ("${input.list[-3]}", None), ("${input.list[0:1]}", [10]), ("${input.list.x}", None),
    ("${input.users[*].name}", ["a", "b", None]), ("${input.obj[*]}", None), ("${input.obj[0]}", None), ("${input.name[0]}", None),
    ("${input.name[0:1]}", None), ("${input.users[1:][0].name}", "b"), ("${result[1].v}", 2), ("${result[*].v}", [1, 2]),
    ('${input["obj"]["b"]["c"]}', 2), ("${response[].choices[0].delta.content}", "tok"), ("${response[].choices[1].delta.content}", None),
    ("${input.users[*].name[0]}", [None, None, None]), ("${input.users[0:2][*].name}", ["a", "b"]),
    # defaults: for null and missing only
    ("${input.nope | x}", "x"), ("${input.nul | x}", "x"), ("${input.empty | x}", ""), ("${input.n | x}", 3), ("Hi ${input.nope | you}!", "Hi you!"),
    ("${input.nope | 0.7}", 0.7), ("${input.nope | 5}", 5), ("${input.nope | true}", True), ("${input.nope | null}", None), ("${input.nope | no}", "no"),
    ("${input.nope | }", ""), ("x${input.nope | 0.70}", "x0.70"), ('${input.nope | "0.7"}', "0.7"), ('${input.nope | "null"}', "null"),
    ("${input.nope as text | 0.70}", "0.70"), ("${input.nope as number | 1}", 1.0), ("${input.empty as integer | 5}", 5),
    ("${input.empty as boolean | yes}", True), ("${input.empty as select/a,b | a}", "a"), ("${input.empty as text | x}", ""),
    ("${input.nope as text | null}", None), ("${input.nope as integer[] | [1, 2]}", [1, 2]), ("${input.nope as list | []}", []),
    ('${input.nope as json | {"a": {}}}', {"a": {}}), ("${input.nope as object | {}}", {}),
    ("${input.nope | ${input.n}}", 3), ("${input.nope | ${input.none | ${input.list}}}", [10, 20]), ("${input.nope | ${input.name}!}", "Ada!"),
    ("${input.nope as text | ${input.n}}", "3"), ("${input.n as text}", "3"), ("${input.text as json}", [1, 2]),
    # the dollar
    ("$${input.n}", "${input.n}"), ("$$${input.n}", "$3"), ("cost: 5$", "cost: 5$"), ("$input.n {input.n} {{input.n}}", "$input.n {input.n} {{input.n}}"),
    # merging objects
    ({"...": "${input.obj}", "z": 9}, {"a": 1, "b": {"c": 2}, "z": 9}), ({"a": 0, "...": "${input.obj}"}, {"a": 1, "b": {"c": 2}}),
    ({"...": "${input.obj}", "a": 0}, {"a": 0, "b": {"c": 2}}), ({"...": {"x": "${input.n}"}, "y": 1}, {"x": 3, "y": 1}),
    ({"...": "${input.nope}", "y": 1}, {"y": 1}), ({"...": None}, {}), ({"...": "${input.nope as object | {}}", "y": 1}, {"y": 1}),
    ({"l": [{"...": {"x": 1}}]}, {"l": [{"x": 1}]}),
    # spreading lists
    (["a", "...${input.list}", "b"], ["a", 10, 20, "b"]), (["...${input.nope}"], []), (["...${input.list}", "...${input.list}"], [10, 20, 10, 20]),
    (["...${input.text as list}"], [1, 2]), (["...${input.text}"], [1, 2]), (["...${input.nope | []}", 1], [1]),
    (["...${input.nope as list | []}", 1], [1]), (["...${input.nope | ${input.list}}"], [10, 20]), (["...${input.nope | [1, 2]}"], [1, 2]),
    (["...${input.users[*].name}"], ["a", "b", None]), (["...${input.nope | null}"], []), ([["...${input.list}"]], [[10, 20]]),
    (["... ${input.n}"], ["... 3"]), (["...${input.n} "], ["...3 "]), ("...${input.n}", "...3"),
    # env: the type YAML would give it, where it is the whole of an unquoted scalar
    ("${env.N}", 8080), ("${env.YES}", True), ("${env.ON}", "on"), ("${env.KEY}", 123), ("${env.BLANK}", ""), ("${env.SPACES}", "  "),
    ("${env.N as text}", "8080"), ("${env.N as integer}", 8080), ("http://${env.HOST}:${env.N}", "http://h.example:8080"),
    ("${env.NOPE | 1}", 1), ("${env.NOPE | ${env.N}}", 8080), ("${input.nope | ${env.N}}", 8080), ("${env.NOPE as text | x}", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "result"), RENDERS, ids=[str(row[0])[:60] for row in RENDERS])
def test_renders(value: Any, result: Any) -> None:
    got = rendered(value)
    assert (got, type(got)) == (result, type(result))


@pytest.mark.parametrize(
    ("value", "result"),
    [("${env.N}", "8080"), ("${env.KEY}", "0123"), ("${env.N as integer}", 8080), ("${env.NOPE | 1}", 1)],
)
def test_a_quoted_variable_and_one_where_only_text_is_wanted_stay_text(value: str, result: Any) -> None:
    assert rendered(value, is_quoted=lambda path: path == ()) == result
    assert rendered([value], texts=True) == [result]
    assert rendered([value], is_quoted=lambda path: path == (0,)) == [result]


# the value, the sentence and the marked characters
FAILURES: list[tuple[Any, str, str]] = [
    ("${input.name as integer}", '`input.name`: "Ada" is no integer', "${input.name as integer}"),
    ("x ${result as integer}", "`result`: a list is no integer", "${result as integer}"),
    ("${result[0] as integer}", "`result[0]`: an object is no integer", "${result[0] as integer}"),
    ("${input.empty as integer}", '`input.empty`: "" is no integer', "${input.empty as integer}"),
    ("b ${input.bad}", "the bytes are not UTF-8 text", "${input.bad}"),
    ("${env.NOPE}", "the environment variable `NOPE` is not set", "${env.NOPE}"),
    ("Bearer ${env.NOPE}", "the environment variable `NOPE` is not set", "${env.NOPE}"),
    ("${input.nope | ${env.NOPE}}", "the environment variable `NOPE` is not set", "${env.NOPE}"),
    ("...${input.n}", "`...${input.n}` needs a list to spread; `input.n`: 3 is no list", "${input.n}"),
    ("...${input.name}", "`...${input.name}` needs a list to spread; `input.name`: \"Ada\" is no JSON (Expecting value: line 1 column 1 (char 0))", "${input.name}"),
    ("...${input.n as any}", "`...${input.n as any}` needs a list to spread, this is 3", "${input.n as any}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence", "marked"), FAILURES, ids=[row[0] for row in FAILURES])
def test_what_fails_when_it_is_filled(text: str, sentence: str, marked: str) -> None:
    value = [text] if text.startswith("...") else text
    with pytest.raises(RenderError) as caught:
        rendered(value)
    error = caught.value
    assert error.sentence == str(error) == sentence
    assert error.path == ((0,) if isinstance(value, list) else ())
    assert text[error.reference.start : error.reference.start + error.reference.length] == marked


def test_only_an_object_can_be_merged() -> None:
    with pytest.raises(RenderError) as caught:
        rendered({"k": {"...": "${input.list}"}})
    assert (caught.value.sentence, caught.value.path) == (
        '"..." needs an object to merge, this is a list',
        ("k", "..."),
    )


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(MissingVariable) as caught:
        rendered("${env.OPENAI_API_KEY}")
    assert caught.value.name == "OPENAI_API_KEY"


# the value, and each sentence with its path and its marked characters (None: the whole value or key)
FLAWS: list[tuple[Any, list[tuple[str, tuple[Any, ...], str | None]]]] = [
    ("${input.x", [("`${` is not closed with `}`", (), "${")]),
    ({"a": ["${x as nubmer}"]}, [("unknown type `nubmer`; did you mean `number`?", ("a", 0), "nubmer")]),
    ("${x as text;gzip}", [("unknown format `;gzip`", (), "text;gzip")]),
    ("${x as integer | five}", [('"five" is no integer, but it is the default of `x`', (), "five")]),
    ("${x.a as json | nope}", [('"nope" is no JSON (Expecting value: line 1 column 1 (char 0)), but it is the default of `x.a`', (), "nope")]),
    ("${x as integer[] | a}", [('"a" is no list, but it is the default of `x`', (), "a")]),
    ("${x as integer[] | 5}", [("5 is no list, but it is the default of `x`", (), "5")]),
    ("${x as select/a,b | c}", [("`c` is not offered (a, b), but it is the default of `x`", (), "c")]),
    ("${x as slider/0,1 | 7}", [('"7" is not between 0 and 1, but it is the default of `x`', (), "7")]),
    ("${x as integer | ${y as integer | z}}", [('"z" is no integer, but it is the default of `y`', (), "z")]),
    (["...${x | 5}"], [('"5" is no list, but it is the default of `x`', (0,), "5")]),
    ({"${x}": 1}, [("mapping keys are not templates: `${...}` is not filled in here", ("${x}",), None)]),
    ({"a": {"input.x": None}}, [("`{input.x}` is a mapping in YAML; a value is written `${input.x}`", ("a", "input.x"), None)]),
    ({"&": 1}, [('"&" takes an object of lists, such as `{a: ${input.a}, b: ${input.b}}`', ("&",), None)]),
    ({"...": [1]}, [('"..." merges an object, and this can never be one', ("...",), None)]),
    ({"...": "x ${x}"}, [('"..." merges an object, and this can never be one', ("...",), None)]),
    ({"...": "${x"}, [("`${` is not closed with `}`", ("...",), "${")]),
    ({"...": 3}, [('"..." merges an object, and this can never be one', ("...",), None)]),
    (["${", "${a as b}", "${x}"], [("`${` is not closed with `}`", (0,), "${"), ("unknown type `b`", (1,), "b")]),
    (["...${"], [("`${` is not closed with `}`", (0,), "${")]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "wanted"), FLAWS, ids=[str(row[0])[:60] for row in FLAWS])
def test_what_is_wrong_is_found_while_compiling(
    value: Any, wanted: list[tuple[str, tuple[Any, ...], str | None]]
) -> None:
    findings = Findings()
    template = compile_template(value, findings=findings)
    got = []
    for flaw in findings.flaws:
        scalar = value
        for step in () if flaw.in_key or flaw.start is None else flaw.path:
            scalar = scalar[step]
        got.append(
            (flaw.sentence, flaw.path, None if flaw.start is None else scalar[flaw.start : flaw.start + flaw.length])
        )
    assert got == wanted
    with contextlib.suppress(RenderError):  # and nothing else
        template.render({"x": {}, "env": {}})


NOTES: list[tuple[Any, list[str]]] = [
    ("${input.x} costs $5 {x} {{x}}", []),
    ("$input.x", ["`$input.x` is sent as it is written; a value is written `${input.x}`"]),
    ("a {{ input.x }} ${input.y}", ["`{{ input.x }}` is sent as it is written; a value is written `${input.x}`"]),
    ("${input.x | $env.Y}", []),
    ({"a": {"input": None}, "b": {"env": None}, "c": {"tools": None}}, ["`{input}` is a mapping in YAML; a value is written `${input}`"]),
    ({"a": 1, "+": ["x"]}, ["`+` stands beside other keys, so it is a key like these"]),
    ("$${x}", ["read as text: `$${` writes a literal `${`"]),
    ("$output ${x} $jobs.a", [
        "`$output` is sent as it is written; a value is written `${output}`",
        "`$jobs.a` is sent as it is written; a value is written `${jobs.a}`",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "notes"), NOTES, ids=[str(row[0]) for row in NOTES])
def test_what_is_worth_a_note(value: Any, notes: list[str]) -> None:
    findings = Findings()
    compile_template(value, findings=findings)
    assert ([note.sentence for note in findings.notes], findings.flaws) == (notes, [])


def test_each_value_is_spelled_into_its_text_and_what_operators_work_on_is_not() -> None:
    def spell(value: str, before: str) -> str:
        return f"<{before}|{value}>"

    assert rendered("/a/${input.n}?q=${input.name}", spell=spell) == "/a/</a/|3>?q=</a/?q=|Ada>"
    assert rendered("${input.name}", spell=spell) == "<|Ada>"
    chosen = {"?": {"input": "${input.name}", "value": "Ada", "if_true": "/${input.n}", "if_false": "/no"}}
    assert rendered(chosen, spell=spell) == "/</|3>"
    assert rendered({"*": "${input.list}", "v": "${item}"}, spell=spell) == [{"v": "<|10>"}, {"v": "<|20>"}]


def test_a_number_too_long_for_a_document_stays_text() -> None:
    template = compile_template("${env.LONG}")
    assert template.render({"env": {"LONG": "9" * 301}}) == "9" * 301


def test_the_attributes_of_an_older_cast_are_its_own() -> None:
    template = compile_template("${x as text/a[q=${y},r=1];sse-json}")
    assert template.render({"x": '{"a": "hi"}'}).value == "hi"


def test_older_casts_are_read_and_said() -> None:
    findings = Findings()
    compile_template(["${x as text;sse-text}", "${x as stream/text}"], findings=findings)
    assert (findings.read_as, findings.flaws) == (["`as text;sse-text` -> `as stream/text`"], [])


SOURCES: list[tuple[str, tuple[str, ...], str | None]] = [
    ("${input.x}", ("input",), None),
    ("${response[].x}", ("response", "response[]"), None),
    ("${inptu.x}", ("input", "env"), "unknown source `inptu`; did you mean `input`?"),
    ("${prompt}", ("input", "env"), "unknown source `prompt`; did you mean `input.prompt`?"),
    ("${OPENAI_API_KEY}", ("input", "env"), "unknown source `OPENAI_API_KEY`; did you mean `env.OPENAI_API_KEY`?"),
    ("${PORT}", ("env",), "unknown source `PORT`; did you mean `env.PORT`?"),
    ("${INPUT.x}", ("input", "env"), "unknown source `INPUT`; did you mean `input`?"),
    ("${KEY.x}", ("input", "env"), "unknown source `KEY`; here you can use `input`, `env`"),
    ("${X}", ("input", "env"), "unknown source `X`; did you mean `input.X`?"),
    ("${API_KEY}", ("input",), "unknown source `API_KEY`; did you mean `input.API_KEY`?"),
    ("${prompt}", ("item", "env"), "unknown source `prompt`; here you can use `item`, `env`"),
    ("${chat.prompt}", ("input", "env"), "unknown source `chat`; here you can use `input`, `env`"),
    ("${chunk[]}", ("input", "env"), "unknown source `chunk[]`; here you can use `input`, `env`"),
    ("${response.x}", ("input", "env"), "`response` cannot be used here, only `input`, `env`"),
    ("${output}", ("input",), "`output` cannot be used here, only `input`"),
    ("${input[].x}", ("input",), "`input[]` has no chunks here; write `input`"),
    ("${respnse[].x}", ("response", "response[]"), "unknown source `respnse[]`; did you mean `response`?"),
]


@pytest.mark.parametrize(("text", "allowed", "sentence"), SOURCES)
def test_sources_by_place(text: str, allowed: tuple[str, ...], sentence: str | None) -> None:
    (hole,) = compile_template(text).holes
    assert unknown_source(hole.reference, allowed) == sentence


def test_holes_are_in_the_order_written_with_those_of_defaults() -> None:
    template = compile_template({"a": "${x | ${y}}", "b": ["${z} ${env.K}"], "c": 1})
    found = [(hole.reference.source, hole.path) for hole in template.holes]
    assert found == [("x", ("a",)), ("y", ("a",)), ("z", ("b", 0)), ("env", ("b", 0))]
    assert not template.constant
    assert compile_template({"a": [1, "x"]}).constant


@pytest.mark.parametrize(
    "value",
    [{"a": {"b": [1]}}, [[1]], {"a": "${input.nope as json[] | [[1]]}"}, {"a": "${input.nope as list | [[1]]}"}],
)
def test_who_gets_a_value_may_change_it(value: Any) -> None:
    template = compile_template(value)

    def spoil(inner: Any) -> None:
        for each in inner.values() if isinstance(inner, dict) else inner:
            if isinstance(each, dict | list):
                spoil(each)
        inner.clear()

    first = template.render(SCOPE)
    kept = repr(first)
    spoil(first)
    assert repr(template.render(SCOPE)) == kept


# ── streams ──


def stream(*chunks: Any) -> Stream:
    async def source() -> AsyncIterator[list[Any]]:
        for chunk in chunks:
            yield [chunk]

    return Stream(source())


@pytest.mark.parametrize(
    ("value", "chunks", "result"),
    [
        ("${s}!", ("a", "b"), "ab!"),
        ("${s as text}", ("a", "b"), "ab"),
        ("${s as integer}", ("4", "2"), 42),
        ("x ${s as json}", ("[1,", "2]"), "x [1, 2]"),
        (["...${s}", 3], (1, 2), [1, 2, 3]),
        ({"...": "${s as json}", "b": 2}, ('{"a": ', "1}"), {"a": 1, "b": 2}),
        ("${s.x}", ("a",), None),
        ("${s[0]}", ("a",), None),
        ("${s[*]}", ("a",), None),
    ],
)
def test_a_stream_is_asked_for_where_a_value_is_wanted(value: Any, chunks: tuple[Any, ...], result: Any) -> None:
    template, scope = compile_template(value), {"s": stream(*chunks)}
    try:
        got = template.render(scope)
    except Uncollected as wanted:
        assert wanted.stream is scope["s"]
        asyncio.run(scope["s"].collect())
        got = template.render(scope)
    assert got == result


def test_a_stream_by_itself_stays_one() -> None:
    chunks = stream("a")
    scope = {"s": chunks}
    assert compile_template("${s}").render(scope) is chunks
    assert compile_template({"a": ["${s | x}"]}).render(scope) == {"a": [chunks]}


# ── size ──


def test_ten_thousand_values_compile_and_render_at_once() -> None:
    value = [{"role": "user", "content": f"${{input.m{at} as text | x}} and more"} for at in range(5_000)]
    started = time.perf_counter()
    template = compile_template(value)
    assert len(template.render({"input": {}})) == 5_000
    assert time.perf_counter() - started < 5  # it takes a fiftieth of that; a square would take hours
    assert len(template.holes) == 5_000


@pytest.mark.parametrize(
    "text", ["${a} $input " * 8_000, '${a | "b"}' * 12_000, "$$" * 50_000 + "{", "{{ input.x " * 12_000]
)
def test_a_long_scalar_costs_its_length(text: str) -> None:
    started = time.perf_counter()
    compile_template(text)
    assert time.perf_counter() - started < 5


def test_a_chunk_parses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    render = compile_template({"text": "${response[].choices[0].delta.content as text | -}"}).render
    monkeypatch.setattr("composemagic.language.scalars.parse", None)
    assert render(SCOPE) == {"text": "tok"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["${input.x}", "...${input.l}", "${", "$${", "${a | ${b}}"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(["...", "*", "${k}"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others use the machine as well
@example({"...": "${"})
@given(VALUES)
def test_every_value_compiles_and_renders_or_says_why_not(value: Any) -> None:
    findings = Findings()
    template = compile_template(value, findings=findings)
    try:
        got = template.render({"input": {"x": 1, "l": [1]}, "env": {}})
    except RenderError as error:
        assert error.sentence
    else:
        is_plain = not any(sign in repr(value) for sign in ("...", "$$", "'*'", "'?'", "'+'", "'&'", "'|'"))
        if not findings.flaws and template.constant and is_plain:
            assert got == value


def test_a_variable_that_python_gave_may_be_of_any_type() -> None:
    env = Sealed({"N": 5, "LIST": [1, 2]})
    template = compile_template({"n": "${env.N}", "text": "n=${env.N}", "list": "${env.LIST}"})
    assert template.render({"env": env}) == {"n": 5, "text": "n=5", "list": [1, 2]}


def test_a_secret_of_a_plain_mapping_came_from_nowhere() -> None:
    found = compile_template("${env.A_KEY}").render({"env": Sealed({"A_KEY": "two words"})})
    with pytest.raises(RunError, match=r"`A_KEY` has a space in it; a key is printable ASCII"):
        opened(found)
