"""YAML text -> data, places and refusals; every table is read with libyaml's events and with the pure parser's."""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from composemagic.errors import DocumentError, Mark
from composemagic.language import document
from composemagic.language.document import parse, plain_value
from tests.conformance.hostile import check_hostile

LOADERS = {"libyaml": getattr(yaml, "CSafeLoader", None), "pure": yaml.SafeLoader}
LOADERS = {name: loader for name, loader in LOADERS.items() if loader}
HOSTILE = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "yaml_hostile.jsonl").read_text().splitlines()
]


@pytest.fixture(params=LOADERS, autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(document, "_LOADER", LOADERS[request.param])
    return str(request.param)


def marked(mark: Mark) -> tuple[int, str]:
    """The line's number and the marked characters."""
    return mark.number, mark.source.line(mark.line)[mark.column : mark.column + mark.length]


# ── text -> data ──

SCALARS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "nULL": "nULL", "none": "none",
    "true": True, "False": False, "TRUE": True, "on": "on", "off": "off", "yes": "yes", "no": "no", "y": "y",
    "0": 0, "12": 12, "012": 12, "-7": -7, "+3": 3, "0o17": 15, "0x1f": 31, "0b11": "0b11", "-0x1": "-0x1",
    "1_000": "1_000", "12:30": "12:30", "1:2:3": "1:2:3", "2024-01-01": "2024-01-01", "1.2.3": "1.2.3",
    "1.5": 1.5, ".5": 0.5, "5.": 5.0, "1e3": 1000.0, "-1.5E-2": -0.015, "e3": "e3", ".": ".", "+": "+", "-.": "-.",
    ".inf": math.inf, "-.INF": -math.inf, "+.Inf": math.inf, "inf": "inf", "nan": "nan",
    "'12'": "12", '"true"': "true", "''": "", "١٢": "١٢", "9" * 300: int("9" * 300),
    "=": "=", "${input.x}": "${input.x}", "=1": "=1",
    "!!str 12": "12", "!!int 12": 12, "!!float 1": 1.0, "!!bool true": True, "!!null ''": None, "!!int '12'": 12,
    "!!seq []": [], "!!map {}": {}, "!<tag:yaml.org,2002:str> 1": "1", "&a 1": 1,
}  # fmt: skip


@pytest.mark.parametrize("written", SCALARS)
def test_scalars_mean_what_yaml_1_2_says(written: str) -> None:
    value = parse(f"k: {written}\n").data["k"]
    assert (value, type(value)) == (SCALARS[written], type(SCALARS[written]))


def test_not_a_number() -> None:
    assert math.isnan(parse("k: .NaN").data["k"])


def test_plain_value_refuses_long_integers() -> None:
    assert plain_value("12") == 12
    with pytest.raises(ValueError, match="at most 300 digits"):
        plain_value("-" + "9" * 300)


TEXTS: list[tuple[str, dict[str, Any]]] = [
    ("on: 1\n1: a\ntrue: b\n~: c\n1.0: d\n012: e\n", {"on": 1, "1": "a", "true": "b", "~": "c", "1.0": "d", "012": "e"}),
    ("'a b': 1\n\"\": 2\n? c\n: 3\n? d\n", {"a b": 1, "": 2, "c": 3, "d": None}),
    ("{a: 1, b, 'c': [x, y: 2]}", {"a": 1, "b": None, "c": ["x", {"y": 2}]}),
    ("\ufeffa: 1\n", {"a": 1}),
    ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
    ("a: 1\r\nb: |\r\n  x\r\n  y\r\n", {"a": 1, "b": "x\ny\n"}),
    ("a: |\n  x\n   y\n\nb: >-\n  x\n  y\n", {"a": "x\n y\n", "b": "x y"}),
    ('a: "\\u00e9\\x41\\n\\0\\/"', {"a": "éA\n\0/"}),
    ('a: "\\ud83d\\ude00 \\\\ud83d\\\\ude00"', {"a": "😀 \\ud83d\\ude00"}),
    ("a: \\ud83d\\ude00\nb: '\\ud83d\\ude00'\nc: |\n  \\ud83d\\ude00", {"a": "\\ud83d\\ude00", "b": "\\ud83d\\ude00", "c": "\\ud83d\\ude00"}),
    ("&k a: *k", {"a": "a"}),
    ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
    ("h: &h {a: 1}\nx: *h\ny: {<<: *h, b: 2}\n", {"h": {"a": 1}, "x": {"a": 1}, "y": {"a": 1, "b": 2}}),
    ("h: &h {a: 1, b: 1}\ni: &i {b: 2, c: 2}\ny: {<<: [*h, *i], c: 3}", {"h": {"a": 1, "b": 1}, "i": {"b": 2, "c": 2}, "y": {"a": 1, "b": 1, "c": 3}}),
    ("y: {a: 1, <<: {a: 2, b: 3}}\nz: {'<<': 4}", {"y": {"a": 1, "b": 3}, "z": {"<<": 4}}),
    ("h: &h {a: 1}\nl: &l [*h, {b: 2}]\ny: {<<: *l}", {"h": {"a": 1}, "l": [{"a": 1}, {"b": 2}], "y": {"a": 1, "b": 2}}),
    ("h: &h {a: 1}\ni: &i {<<: *h, b: 2}\nj: {<<: *i}", {"h": {"a": 1}, "i": {"a": 1, "b": 2}, "j": {"a": 1, "b": 2}}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "data"), TEXTS)
def test_text_to_data(text: str, data: dict[str, Any]) -> None:
    assert parse(text).data == data


def test_aliases_are_copies() -> None:
    data = parse("a: &a {l: [1]}\nb: *a\nc: {<<: *a}").data
    data["b"]["l"].append(2)
    assert data["a"] == data["c"] == {"l": [1]}


# ── unquoted references ──

REFERENCES: list[tuple[str, dict[str, Any]]] = [
    ("{a: ${input.x}, b: [${input.y as text}]}", {"a": "${input.x}", "b": ["${input.y as text}"]}),
    ("prompt: ${input.x | a: b}", {"prompt": "${input.x | a: b}"}),
    ("prompt: ${input.x | a: b: c} and ${y | d: e}", {"prompt": "${input.x | a: b: c} and ${y | d: e}"}),
    ("prompt: ${input.color | #fff} # white", {"prompt": "${input.color | #fff}"}),
    ("prompt: ${input.x} # ${input.y}", {"prompt": "${input.x}"}),
    ("l:\n- ${x | a: b}\n- ${y}: ${z | c: d}", {"l": ["${x | a: b}", {"${y}": "${z | c: d}"}]}),
    ("a:\n  ${x | b: c}\nd: 1", {"a": "${x | b: c}", "d": 1}),
    ("a: one\n  ${x | b: c}\nd: 1", {"a": "one ${x | b: c}", "d": 1}),
    ("a: {b: x ${c} y${d}${e}, f: $${g}}", {"a": {"b": "x ${c} y${d}${e}", "f": "$${g}"}}),
    ('a: {b: ${x | "q}, "}, c: [1, "${d | \\"e\\"}"]}', {"a": {"b": '${x | "q}, "}', "c": [1, '${d | "e"}']}}),
    ("a: [${x | 'b, }'}, '${y | ''z''}', ${w | it's}]", {"a": ["${x | 'b, }'}", "${y | 'z'}", "${w | it's}"]}),
    ("a: ['q', ${x | 'b}'}]", {"a": ["q", "${x | 'b}'}"]}),
    ("a: [${x | {\"k\": 1}}, ${y | \\}}, ${z | ${w | 1}}]", {"a": ['${x | {"k": 1}}', "${y | \\}}", "${z | ${w | 1}}"]}),
    ("a: &r [${x}, &s ${y}, !!str ${z}]\nb: *r", {"a": ["${x}", "${y}", "${z}"], "b": ["${x}", "${y}", "${z}"]}),
    ("a: [${x}]\nb: | # ${c}\n  ${d}\ne: >\n  ${f} \"\n# ${g}\n", {"a": ["${x}"], "b": "${d}\n", "e": '${f} "\n'}),
    ("a: [${x}, # ${y\n &b # ${c}\n ${d}]", {"a": ["${x}", "${d}"]}),
    ('a: {k: ${x}, "b\\u0041${c}": "\\ud83d\\ude00${d}\\n"}', {"a": {"k": "${x}", "bA${c}": "😀${d}\n"}}),
    ("a: {${x}: 1, ${y | \\ud83d\\ude00}: 2}", {"a": {"${x}": 1, "${y | \\ud83d\\ude00}": 2}}),
    ("a: ${x # no end\nb: $${x # no } reference", {"a": "${x", "b": "$${x"}),
    ("a: ${x\n  | b}", {"a": "${x | b}"}),
    ("p: '\ue000 ${x}'", {"p": "\ue000 ${x}"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "data"), REFERENCES)
def test_unquoted_references(text: str, data: dict[str, Any]) -> None:
    assert parse(text).data == data


def test_places_stay_true_beside_unquoted_references() -> None:
    read = parse('a: {b: x ${c | "d"} y, e: "f"}')
    assert marked(read.mark(("a", "b"))) == (1, 'x ${c | "d"} y')
    assert marked(read.span(("a", "b"), 4, 1)) == (1, "c")
    assert marked(read.key_mark(("a", "e"))) == (1, "e")


def test_simple_references_cost_one_more_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    events = yaml.parse

    def counted(*args: Any, **options: Any) -> Iterator[Any]:
        nonlocal count
        count += 1
        return events(*args, **options)

    monkeypatch.setattr(yaml, "parse", counted)
    parse("".join(f"k{number}: {{a: ${{input.x | {number}}}}}\n" for number in range(200)))
    assert count == 2


LONG_LINES = [
    "a: " + "${" * 120_000,
    "a: [" + "${" * 120_000,
    "a: [${x | " + '"' * 100_000,
    "a: " + "$" * 250_000 + "{",
]


@pytest.mark.parametrize("text", LONG_LINES, ids=range(4))
def test_a_line_full_of_references_takes_no_squared_time(text: str) -> None:
    begin = time.perf_counter()
    try:
        parse(text)
    except DocumentError as error:
        assert "`${` is not closed" in str(error)
    assert time.perf_counter() - begin < 5


def test_reading_again_is_bounded() -> None:
    text = "".join(f"k{number}: [${{x | '{number}'}}]\n" for number in range(8000))
    begin = time.perf_counter()
    with pytest.raises(DocumentError, match="put quotes around the value"):
        parse(text)
    assert time.perf_counter() - begin < 30


# ── text -> the error as it is drawn ──

ERRORS: list[tuple[str, str]] = [
    ("", "  this cell is empty"),
    ("# only\n", "  this cell is empty"),
    ("---\n", "  this cell is empty"),
    (
        "\n```yaml\na: 1\n```\n",
        "  this line came along when the YAML was copied; delete it, and the ``` at the end\n   2 | ```yaml\n       ^^^^^^^",
    ),
    (
        "%%compose chat --local\na: 1\n",
        "  this line came along when the YAML was copied; delete it\n   1 | %%compose chat --local\n"
        "       ^^^^^^^^^^^^^^^^^^^^^^",
    ),
    ("x: 1" + " " * 262_144, "  this cell is larger than 256 KiB"),
    ("é" * 131_073, "  this cell is larger than 256 KiB"),
    ("- a\n- b", "  a document begins with a key such as `component:`, this is a list\n   1 | - a\n       ^"),
    ("hello", "  a document begins with a key such as `component:`, this is a single value\n   1 | hello\n       ^^^^^"),
    ("a: 1\n---\nb: 2\n", "  only one YAML document fits here\n   2 | ---\n       ^^^"),
    ("%FOO\n---\na: 1", "  YAML directives (lines that start with `%`) are not used here; for text, put quotes around it\n   1 | %FOO\n       ^^^^"),
    ("a:\n\tb: 1", "  a tab cannot indent YAML; use spaces\n   2 |  b: 1\n       ^"),
    ("a: |\n\tb", "  a tab cannot indent YAML; use spaces\n   2 |  b\n       ^"),
    ("a: b\n\tc: d", "  a tab cannot indent YAML; use spaces\n   2 |  c: d\n       ^"),
    ("a: [1, 2\nb: 3", "  the list that starts here is not closed\n   1 | a: [1, 2\n          ^"),
    ("a: [1,", "  the list that starts here is not closed\n   1 | a: [1,\n          ^"),
    ("a: &x {b: 1\n", "  the mapping that starts here is not closed\n   1 | a: &x {b: 1\n             ^"),
    ("a: [b: {c]", "  the mapping that starts here is not closed\n   1 | a: [b: {c]\n              ^"),
    ('a: [\n "x"\n "y"\n]', '  a `,` is missing before this\n   3 |  "y"\n        ^^^'),
    ("a: [1, , 2]", "  a value is missing before `,`\n   1 | a: [1, , 2]\n              ^"),
    ("a: {b: c: d}", "  a `:` cannot stand here; put quotes around the text, or mend the indentation\n   1 | a: {b: c: d}\n               ^"),
    ("a: b: c", "  the text holds a `: `; put quotes around the whole text\n   1 | a: b: c\n          ^^^^"),
    ("a: 'x\n", "  the quote that starts here is not closed\n   1 | a: 'x\n          ^"),
    ('a: "x\n---\n', '  the quote that starts here is not closed\n   1 | a: "x\n          ^'),
    ('a: "\\d"', '  `\\d` means nothing in double quotes; write `\\\\` for a backslash, or use single quotes\n   1 | a: "\\d"\n           ^^'),
    (
        'a: "\\xZZ"',
        '  `\\x` means nothing in double quotes; write `\\\\` for a backslash, or use single quotes\n'
        '   1 | a: "\\xZZ"\n           ^^',
    ),
    ('a: "\\uD800"', '  half of a surrogate pair is no character\n   1 | a: "\\uD800"\n           ^^^^^^'),
    ('a: "\\U00110000"', '  this stands for no character\n   1 | a: "\\U00110000"\n           ^^^^^^^^^^'),
    ('a: "x \\ud83d"', '  half of a surrogate pair is no character\n   1 | a: "x \\ud83d"\n             ^^^^^^'),
    ("a: '\ud83d'", "  half of a surrogate pair is no character\n   1 | a: '�'\n           ^"),
    ("a: \x1b[31m", "  the character U+001B cannot stand in YAML\n   1 | a: �[31m\n          ^"),
    ("a: 1\nb\nc: 2", "  a `: ` is missing after this key\n   2 | b\n       ^"),
    ("a:\n  b: 1\n c: 2", "  the indentation of this line fits no line above it\n   3 |  c: 2\n        ^^^^"),
    ("a:\n  - 1\n  b: 2", "  this line does not continue the list above it; an item begins with `- `\n   3 |   b: 2\n         ^^^^"),
    ("a: - b", "  a list item cannot start here; put its `-` on a new line\n   1 | a: - b\n          ^"),
    ("a: ? b", "  a `?` cannot stand here; put quotes around the text\n   1 | a: ? b\n          ^"),
    ("a: @x", "  `@` cannot begin a value; put quotes around it\n   1 | a: @x\n          ^"),
    ("a: `x`", "  a backtick cannot begin a value; put quotes around it\n   1 | a: `x`\n          ^"),
    ("a: **b** c", "  `*` begins an alias in YAML; for text, put quotes around it\n   1 | a: **b** c\n          ^^^^^"),
    ("a: &", "  `&` begins an anchor in YAML; for text, put quotes around it\n   1 | a: &\n          ^"),
    ("a: *b", "  no `&b` stands above this alias; for text, put quotes around it\n   1 | a: *b\n          ^^"),
    ("a: &a [*a]", "  `*a` stands inside `&a`, so it would contain itself\n   1 | a: &a [*a]\n              ^^"),
    ("a: | x\n  b", "  only a comment can follow `|` or `>` on its line\n   1 | a: | x\n            ^"),
    ("a: |0\n x", "  the indentation after `|` or `>` is a digit from 1 to 9\n   1 | a: |0\n           ^"),
    ("a: ]", "  a value is missing before `]`\n   1 | a: ]\n          ^"),
    ("a: 1\n...\nb", "  this cannot follow what stands before it\n   3 | b\n       ^"),
    (
        "a: 'it's'",
        "  the quotes end before this; put them around the whole text, with `''` for a quote in it\n"
        "   1 | a: 'it's'\n              ^^",
    ),
    ("a: !foo bar", "  tags such as `!name` are not used here; for text, put quotes around it\n   1 | a: !foo bar\n          ^^^^^^^^"),
    ("a: !e!x 1", "  tags such as `!name` are not used here; for text, put quotes around it\n   1 | a: !e!x 1\n          ^^^^"),
    ("a: !!set {b}", "  tags such as `!name` are not used here; for text, put quotes around it\n   1 | a: !!set {b}\n          ^^^^^"),
    ("a: !!int x", "  this is not what its tag `!!int` says\n   1 | a: !!int x\n          ^^^^^^^"),
    ("? [a]\n: b", "  a key must be text, this is a list\n   1 | ? [a]\n         ^"),
    ("a: &x b\n*x : c", "  a key must be text, this is an alias\n   2 | *x : c\n       ^^"),
    ("{{a: b}: c}", "  a key must be text, this is a mapping\n   1 | {{a: b}: c}\n        ^"),
    ("!!int 1: b", "  a key is always text; a tag cannot stand before it\n   1 | !!int 1: b\n       ^^^^^^^"),
    ("?\n: b", "  a key is missing here\n   1 | ?\n        ^"),
    ("<<: 3", "  `<<` takes a mapping or a list of mappings\n   1 | <<: 3\n           ^"),
    ("a: -" + "1" * 300, "  an integer can have at most 300 digits\n   1 | a: -" + "1" * 95 + "…\n          " + "^" * 80),
    ("a: [${x, b]", "  `${` is not closed with `}` on its line\n   1 | a: [${x, b]\n           ^^"),
    ("p: '\ue000'\na: [${x}]", "  put quotes around the value that holds this `${...}`\n   2 | a: [${x}]\n           ^^"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "drawn"), ERRORS)
def test_text_to_error(text: str, drawn: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text, "this cell")
    head, _, body = str(caught.value).partition("\n")
    assert head.startswith("compose: 1 mistake")
    assert body == drawn


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("component：echo\n", "`：` is a full-width colon; in YAML a key ends with `:` and a space"),
        ("a:\n  b：1\n  c: 2\n", "`：` is a full-width colon; in YAML a key ends with `:` and a space"),
        ("a: {{input.x}}\n", "`{{input.x}}` is not filled in; a value is written `${input.x}`"),
    ],
)
def test_what_other_keyboards_and_languages_write(text: str, sentence: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    assert [mistake.sentence for mistake in caught.value.mistakes] == [sentence]


def test_a_key_written_twice_has_both_places() -> None:
    text = "job:\n  prompt: a\n  b: 1\n  'prompt': b\n  prompt: c\n"
    with pytest.raises(DocumentError) as caught:
        parse(text, "this cell", first_line=3)
    assert str(caught.value) == textwrap.dedent("""\
        compose: 3 mistakes in this cell
          `prompt` is written here first
           4 |   prompt: a
                 ^^^^^^
          `prompt` is written twice; first on line 4
           6 |   'prompt': b
                  ^^^^^^
          `prompt` is written twice; first on line 4
           7 |   prompt: c
                 ^^^^^^""")


def test_all_mistakes_that_can_be_read_past_come_at_once_but_not_thousands() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("a: !x 1\nb: 2\nb: 3\nc: !!int d\ne: [")
    assert len(caught.value.mistakes) == 5
    with pytest.raises(DocumentError) as caught:
        parse("a: 1\n" * 20_000)
    assert len(caught.value.mistakes) <= 21


BOUNDS: list[tuple[str, str, str]] = [
    ("depth", "a: " + "[" * 63 + "]" * 63, ""),
    ("depth+1", "a: " + "[" * 64 + "]" * 64, "more than 64 levels deep"),
    ("depth, unclosed", "a: " + "[" * 200_000, "more than 64 levels deep"),
    ("depth, block", "- " * 10 + "\n", "begins with a key"),
    ("depth, mappings", "".join(f"{' ' * level}a:\n" for level in range(70)), "more than 64 levels deep"),
    ("depth by alias", "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 24 + "*a" + "]" * 24, "more than 64 levels deep"),
    ("depth by alias, just", "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 23 + "*a" + "]" * 23, ""),
    ("nodes", "a: [" + "1," * 19_997 + "]", ""),
    ("nodes+1", "a: [" + "1," * 19_998 + "]", "more than 20,000 values"),
    ("nodes by alias", "a: &a [" + "1," * 999 + "]\nb: [" + "*a," * 20 + "]", "more than 20,000 values"),
    ("nodes by merge", "a: &a {" + "".join(f"k{n}, " for n in range(600)) + "}\nb: {<<: [" + "*a," * 20 + "]}", "more than 20,000 values"),
    ("aliases", "a: &a 1\nb: [" + "*a," * 100 + "]", ""),
    ("aliases+1", "a: &a 1\nb: [" + "*a," * 101 + "]", "more than 100 aliases"),
    ("size", "a: 1 #".ljust(262_144, "x"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "refusal"), [row[1:] for row in BOUNDS], ids=[row[0] for row in BOUNDS])
def test_bounds(text: str, refusal: str) -> None:
    if not refusal:
        parse(text)
        return
    with pytest.raises(DocumentError, match=refusal):
        parse(text)


# ── path -> mark ──

MARKED = """\
title: Chat  # a comment
'quoted key': 'it is'
"escaped": "a\\tb"
two: 'it''s'
literal: |  # comment

  first ${a}
    second ${b}

  third
kept: |2
    x
folded: >
  one
  two
plain: one
  two
items:
  - a
  - b: ${c}
    d: &anchor !!str  e
  - *anchor
flow: {x: [1, 22], y: }
base: &base {u: "1", v: {w: 2}}
copy: *base
merged:
  <<: *base
  own: 3
lines: &l
  - 1
inline: {<<: {q: 'r'}}
"""

MARKS: list[tuple[tuple[str | int, ...], tuple[int, str], tuple[int, str]]] = [
    ((), (1, "title: Chat  # a comment"), (1, "title: Chat  # a comment")),
    (("title",), (1, "Chat"), (1, "title")),
    (("quoted key",), (2, "'it is'"), (2, "quoted key")),
    (("literal",), (7, "first ${a}"), (5, "literal")),
    (("folded",), (14, "one"), (13, "folded")),
    (("plain",), (16, "one"), (16, "plain")),
    (("items",), (19, "- a"), (18, "items")),
    (("items", 0), (19, "a"), (19, "a")),
    (("items", 1), (20, "b: ${c}"), (20, "b: ${c}")),
    (("items", 1, "d"), (21, "e"), (21, "d")),
    (("items", 2), (22, "*anchor"), (22, "*anchor")),
    (("items", 9), (19, "- a"), (19, "- a")),
    (("flow",), (23, "{x: [1, 22], y: }"), (23, "flow")),
    (("flow", "x"), (23, "[1, 22]"), (23, "x")),
    (("flow", "x", 1), (23, "22"), (23, "22")),
    (("copy",), (25, "*base"), (25, "copy")),
    (("copy", "v", "w"), (25, "*base"), (25, "*base")),
    (("merged", "u"), (27, "*base"), (27, "*base")),
    (("merged", "v", "w"), (27, "*base"), (27, "*base")),
    (("merged", "own"), (28, "3"), (28, "own")),
    (("inline", "q"), (31, "'r'"), (31, "q")),
    (("title", "no", "such"), (1, "Chat"), (1, "Chat")),
    (("lines",), (30, "- 1"), (29, "lines")),
    ((0,), (1, "title: Chat  # a comment"), (1, "title: Chat  # a comment")),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "key"), MARKS)
def test_path_to_mark(path: tuple[str | int, ...], value: tuple[int, str], key: tuple[int, str]) -> None:
    read = parse(MARKED)
    assert marked(read.mark(path)) == value
    assert marked(read.key_mark(path)) == key


SPANS: list[tuple[tuple[str | int, ...], str, tuple[int, str]]] = [
    (("title",), "hat", (1, "hat")),
    (("quoted key",), "is", (2, "is")),
    (("escaped",), "b", (3, '"a\\tb"')),
    (("two",), "s", (4, "'it''s'")),
    (("literal",), "a}", (7, "a}")),
    (("literal",), "b}", (8, "b}")),
    (("literal",), "third", (10, "third")),
    (("kept",), "x", (12, "x")),
    (("folded",), "two", (14, "one")),
    (("plain",), "two", (16, "one")),
    (("items", 1, "b"), "c", (20, "c")),
    (("items", 1, "d"), "e", (21, "e")),
    (("items", 2), "e", (22, "*anchor")),
]


@pytest.mark.parametrize(("path", "part", "found"), SPANS)
def test_span_of_a_part(path: tuple[str | int, ...], part: str, found: tuple[int, str]) -> None:
    read = parse(MARKED)
    value: Any = read.data
    for step in path:
        value = value[step]
    assert marked(read.span(path, value.rindex(part), len(part))) == found


def test_span_outside_the_value_is_the_whole_value() -> None:
    read = parse("a: bc\nd: |\n  e\nf: [g]\r\nh: |\r\n  ij\r\n  kl\r\n")
    assert marked(read.span(("a",), 9, 1)) == marked(read.span(("a",), -1, 1)) == (1, "bc")
    assert marked(read.span(("d",), 9, 1)) == (3, "e")
    assert marked(read.span(("d",), 0, 99)) == (3, "e")
    assert marked(read.span(("f",), 0, 1)) == (4, "[g]")
    assert marked(read.span(("no",), 0, 1)) == (1, "a: bc")
    assert marked(read.span(("h",), 4, 1)) == (7, "l")


def test_quoted_or_plain() -> None:
    read = parse(MARKED)
    quoted = [
        ("quoted key",),
        ("escaped",),
        ("literal",),
        ("folded",),
        ("base", "u"),
        ("copy", "u"),
        ("merged", "u"),
        ("inline", "q"),
    ]
    plain = [("title",), ("items", 1, "b"), ("items", 2), ("flow",), ("copy", "v", "w"), ("no",), ("merged", "own"), ()]
    assert [path for path in quoted if not read.is_quoted(path)] == []
    assert [path for path in plain if read.is_quoted(path)] == []


def test_a_null_that_is_not_written_has_a_place() -> None:
    mark = parse("a:\nb: 1\n").mark(("a",))
    assert (mark.number, mark.length) == (1, 1)


# ── hostile texts ──


@pytest.mark.parametrize("row", HOSTILE, ids=[row["id"] for row in HOSTILE])
def test_hostile(row: dict[str, Any], loader: str) -> None:
    if loader == "pure" and row["outcome"] == "refuse-at-run":
        return  # which parser read it makes no difference to a run
    failures = list(check_hostile(row, pure=loader == "pure"))
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a: [" + "1," * 19_997 + "]", "outcome": "accept"},
        {"text": "a: " + "[" * 200_000, "outcome": "refuse"},
        {"text": "a: ${env.A}\n", "env": {"A": "- b: c"}, "outcome": "accept", "value": {"a": "- b: c"}},
        {"text": "a: ${env.A | 2}\n", "outcome": "accept", "value": {"a": 2}},
    ],
    ids=["many", "deep", "env", "default"],
)
def test_hostile_texts_of_our_own(row: dict[str, Any], loader: str) -> None:
    assert list(check_hostile({**row, "max_seconds": 5, "max_rss_mb": 64}, pure=loader == "pure")) == []


@pytest.mark.parametrize(
    ("row", "failing"),
    [
        ({"text": "a: 1", "outcome": "accept", "value": {"a": 2}}, ["value"]),
        ({"text": "a: 1", "outcome": "refuse"}, ["outcome"]),
        ({"text": "- a", "outcome": "accept", "value": {}}, ["outcome"]),
        ({"text": "a: 1", "outcome": "accept", "max_seconds": 0, "max_rss_mb": 1}, ["seconds", "rss_mb"]),
        ({"text": "component: {type: echo, text: hi}", "outcome": "refuse-at-run"}, ["outcome"]),
        ({"outcome": "accept"}, ["outcome"]),  # no text: the process breaks
    ],
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
def test_the_runner_sees_what_is_wrong(row: dict[str, Any], failing: list[str], loader: str) -> None:
    assert [failure.where for failure in check_hostile(row, pure=loader == "pure")] == failing


# ── any value, any text ──

CHARACTERS = st.characters(exclude_categories=("Cs",))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(CHARACTERS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(CHARACTERS, max_size=8), inner, max_size=4),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(st.text(CHARACTERS, max_size=8).filter(lambda key: key != "<<"), VALUES, max_size=4)
HURRIED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

PIECES = [*" \n\t-:?,[]{}#&*!|>'\"%@`~$.0aé\x85\u2028\r", "\n  ", ": ", " #", "${x}", "${x | a: b}", "${", "- ", "a: ", "b: ", "<<: ",
          "&a ", "*a", "!!str ", "|\n  ", ">\n  ", "\\u00e9", "\\ud83d", "\\ude00", "\ue000", "...", "---", "\ufeff", "\0"]  # fmt: skip


@HURRIED
@given(MAPPINGS, st.booleans())
@example({"a": {"<<": 1}, "😀": "\\😀\\ud83d"}, True)
def test_json_is_yaml(data: dict[str, Any], indented: bool) -> None:
    assert parse(json.dumps(data, indent=2 if indented else None)).data == data


@HURRIED
@given(MAPPINGS, st.booleans())
def test_what_pyyaml_writes_is_read_back(data: dict[str, Any], flow: bool) -> None:
    # what YAML 1.1 leaves unquoted and 1.2 reads otherwise, `012` or `1e3`, PyYAML quotes only if it means something to 1.1
    text = yaml.dump(data, default_style='"', default_flow_style=flow, Dumper=_OnlyText)
    assert parse(text).data == data


class _OnlyText(yaml.SafeDumper):
    """Quotes text only: a quoted number would need a tag."""

    def choose_scalar_style(self) -> str:
        return '"' if self.event.tag.endswith(":str") else ""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_OnlyText.add_representer(
    float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", json.dumps(value))
)


def places(place: Any) -> Any:
    """Everything a document knows of its text, for comparison."""
    children = place.children
    below = {key: places(child) for key, child in children.items()} if isinstance(children, dict) else children
    return place.start, place.style, place.key, list(map(places, below)) if isinstance(below, list) else below


def outcome(text: str, name: str) -> Any:
    document._LOADER = LOADERS[name]
    try:
        read = parse(text)
    except DocumentError as error:
        str(error)
        return "refused"
    marks = [read.mark((key,)) for key in read.data]
    return repr(read.data), places(read._root), [(mark.line, mark.column, mark.length) for mark in marks]


@settings(HURRIED, max_examples=1000)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(max_size=30))
@example("a: [${x | 'q}'}]")
@example("&- &a: ")
@example("a: {b: &c\n}")
def test_garbage_is_read_alike_by_both_parsers_or_refused(text: str) -> None:
    before = document._LOADER
    try:
        found = [outcome(text, name) for name in LOADERS]
    finally:
        document._LOADER = before
    read = [each for each in found if each != "refused"]
    assert all(each == read[0] for each in read)
