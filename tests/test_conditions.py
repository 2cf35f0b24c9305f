"""Conditions by themselves, as jobs compile them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from composemagic.language.comparison import COMPARISONS
from composemagic.language.conditions import Condition, compile_condition
from composemagic.language.streams import Uncollected, Whole
from composemagic.language.template import Findings, MissingVariable, RenderError

SCOPE: dict[str, Any] = {"input": {"n": 3, "s": "3", "list": [1, 2]}, "env": {"PORT": "80"}}


def compiled(value: Any, **more: Any) -> Condition:
    findings = Findings()
    condition = compile_condition(value, findings=findings, **more)
    assert (findings.flaws, findings.notes) == ([], [])
    return condition


# left, operator, right, whether it holds strictly, whether loosely
LOOSE: list[tuple[Any, str, Any, bool, bool]] = [
    (5, "eq", "5", False, True), ("5", "eq", 5, False, True), ("5.0", "eq", 5, False, True), (" 5 ", "eq", 5, False, True), ("5", "neq", 5, True, False),
    ("five", "eq", 5, False, False), ("", "eq", 0, False, False), ("0x10", "eq", 16, False, True), ("9" * 400, "eq", 5, False, False),
    (True, "eq", "true", False, False), (True, "eq", "1", False, False), ("1", "eq", True, False, False), (True, "eq", 1, True, True),
    ("5", "eq", "5.0", False, False), ("10", "lt", "9", True, True), (None, "eq", "null", False, False), ([5], "eq", ["5"], False, False),
    ("5", "in", [1, 5], False, True), (5, "in", ["5"], False, True), (5, "not-in", ["5"], True, False), (True, "in", ["1"], False, False),
    ("5", "in", "15", True, True), ("5", "not-in", "15", False, False), ("a", "in", {"a": 1}, True, True), ("ab", "starts-with", "a", True, True),
    ("ab", "match", "a", True, True),
]  # fmt: skip


@pytest.mark.parametrize(("left", "operator", "right", "strict", "loose"), LOOSE)
def test_only_a_loose_condition_compares_numbers_with_text(
    left: Any, operator: str, right: Any, strict: bool, loose: bool
) -> None:
    value = {"input": left, "operator": operator, "value": right}
    assert compiled(value).test(SCOPE) is strict
    assert compiled(value, loose=True).test(SCOPE) is loose


@pytest.mark.parametrize(("left", "right"), [("5", 10), (5, "10"), ("9.5", 10)])
def test_what_has_no_order_has_one_loosely(left: Any, right: Any) -> None:
    value = {"input": left, "operator": "lt", "value": right}
    assert compiled(value, loose=True).test(SCOPE)
    with pytest.raises(RenderError):
        compiled(value).test(SCOPE)


def test_groups_are_loose_inside() -> None:
    value = {"not": {"all": [{"any": [{"input": "${input.s}", "value": 3}]}]}}
    assert compiled(value).test(SCOPE)
    assert not compiled(value, loose=True).test(SCOPE)


def test_groups_ask_no_more_than_they_need() -> None:
    broken = {"input": None, "operator": "gt", "value": 1}
    assert compiled({"any": [{"input": 1, "value": 1}, broken]}).test(SCOPE)
    assert not compiled({"all": [{"input": 1, "value": 2}, broken]}).test(SCOPE)


def test_every_comparison_has_a_name_and_is_reached() -> None:
    assert list(COMPARISONS) == [
        "eq", "neq", "gt", "gte", "lt", "lte", "in", "not-in", "starts-with", "ends-with", "match",
    ]  # fmt: skip


def test_the_references_are_its_holes() -> None:
    value = {
        "all": [
            {"input": "${input.n}", "value": "${env.PORT}"},
            {"not": {"input": {"*": "${input.list}", "v": "${item}"}}},
        ]
    }
    found = [(hole.reference.key + hole.reference.dotted, hole.path) for hole in compiled(value).holes]
    assert found == [
        ("input.n", ("all", 0, "input")),
        ("env.PORT", ("all", 0, "value")),
        ("input.list", ("all", 1, "not", "input", "*")),
    ]


def test_an_unquoted_variable_has_the_type_yaml_gives_it() -> None:
    value = {"input": "${env.PORT}", "value": 80}
    assert compiled(value).test(SCOPE)
    assert not compiled(value, is_quoted=lambda path: path == ("input",)).test(SCOPE)


def test_the_place_of_a_failure() -> None:
    value = {"any": [{"not": {"input": "${input.n}", "operator": "lt", "value": "x"}}]}
    with pytest.raises(RenderError) as caught:
        compile_condition(value, ("jobs", 0)).test(SCOPE)
    assert (caught.value.sentence, caught.value.path) == (
        '`lt` cannot compare 3 with "x"',
        ("jobs", 0, "any", 0, "not"),
    )
    assert caught.value.reference.start is None


def test_what_rendering_raises_it_raises() -> None:
    with pytest.raises(MissingVariable):
        compiled({"input": "${env.NOPE}"}, beside=()).test(SCOPE)

    class Far(Whole):
        collected = False  # type: ignore[assignment]

    with pytest.raises(Uncollected):
        compiled({"input": "${input}", "value": 1}).test({"input": Far("x", None)})


FINDINGS: list[tuple[Any, list[str], list[str]]] = [
    ({"input": 1, "value": 1, "to": "x"}, [], []),
    ({"input": 1, "values": 1}, ["unknown key `values` in a condition; did you mean `value`?"], []),
    ({"value": 1}, [], ["a condition without `input` compares null"]),
    ({}, [], ["a condition without `input` compares null"]),
    ({"all": [], "any": [], "input": 1, "to": 1}, [], ["`any` is not read, since `all` stands beside it", "`input` is not read, since `all` stands beside it"]),
    ({"not": {"input": 1}, "operator": "eq"}, [], ["`operator` is not read, since `not` stands beside it"]),
    ({"not": {"input": 1, "to": 1}}, ["unknown key `to` in a condition"], []),
    ("x", ['a condition is a mapping such as `{input: ${input.n}, operator: gt, value: 3}`, this is "x"'], []),
    (None, ["a condition is a mapping such as `{input: ${input.n}, operator: gt, value: 3}`, this is null"], []),
    ({"any": None}, ["`any` is a list of conditions, this is null"], []),
    ({"input": "${x"}, ["`${` is not closed with `}`"], []),
    ({"input": "a", "operator": "match", "value": "["}, ['"[" is no regular expression (unterminated character set)'], []),
    ({"input": "a", "operator": None}, ["unknown operator null; there are `eq`, `neq`, `gt`, `gte`, `lt`, `lte`, `in`, `not-in`, `starts-with`, `ends-with`, `match`"], []),
]  # fmt: skip


@pytest.mark.parametrize(("value", "flaws", "notes"), FINDINGS, ids=[str(row[0]) for row in FINDINGS])
def test_what_is_found_while_compiling(value: Any, flaws: list[str], notes: list[str]) -> None:
    findings = Findings()
    condition = compile_condition(value, ("if",), findings=findings, beside=("to",))
    assert ([flaw.sentence for flaw in findings.flaws], [note.sentence for note in findings.notes]) == (flaws, notes)
    assert all(flaw.path[0] == "if" for flaw in (*findings.flaws, *findings.notes))
    with contextlib.suppress(RenderError):  # and nothing else
        condition.test({"x": 1})
