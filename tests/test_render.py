"""What templates become in their sources: a table beside the one made by running the peer, derived from the language page."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.conformance.render import render
from tests.conformance.rows import RefusedError, alike


class Error(NamedTuple):
    """The row is refused, at "load" or at "run", with this sentence."""

    stage: str
    sentence: str


INPUT: dict[str, Any] = {
    "name": "Ada", "n": 3, "f": 1.5, "z": 0, "empty": "", "nul": None, "t": True, "fa": False, "list": [10, 20, 30], "strs": ["1", "2"],
    "mixed": [1, None, "3"], "none": [], "s_list": "[1, 2]", "obj": {"a": 1, "b": {"c": 2}}, "b64": "aGVsbG8=", "a b": 7,
    "users": [{"id": 1, "name": "a", "xs": [1, 2]}, {"id": 2, "name": "b", "xs": []}, {"id": 3}], "op": "gt", "uri": "data:image/png;base64,iVBORw==",
}  # fmt: skip


def S(*chunks: Any, fragmented: bool = False, **more: Any) -> dict[str, Any]:
    """A stream, as the tables write it."""
    return {"$stream": list(chunks), **(more or {"fragmented": fragmented})}


SOURCES: dict[str, Any] = {
    "input": INPUT, "s": S("a", "b", "c"), "pieces": S("Hel", "lo", fragmented=True), "rows": S({"v": 1}, {"v": 2}, {"v": 3}), "lists": S([1, 2], [3]),
    "numbers": S(1, 2, 3), "nothing": S(), "hollow": S([], [1]), "gaps": S("a", None, "b"), "bytes": S({"$bytes": "aGU="}, {"$bytes": "bGxv"}, fragmented=True), "raw": {"$bytes": "w6k="},
    "index": 99, "result": [{"v": 1}, {"v": 2}],
}  # fmt: skip

IF = {"input": "${input.n}", "value": 3}
NO = {"input": "${input.n}", "value": 4}


def where(**leaf: Any) -> dict[str, Any]:
    """The users whose id meets a condition, by id."""
    return {"*": {"input": "${input.users}", "where": {"input": "${item.id}", **leaf}}, "id": "${item.id}"}


def ids(*found: int) -> list[dict[str, int]]:
    return [{"id": one} for one in found]


def test(left: Any, operator: str | None, right: Any) -> dict[str, Any]:
    """Whether a comparison holds."""
    chosen = {} if operator is None else {"operator": operator}
    return {"?": {"input": left, **chosen, "value": right, "if_true": True, "if_false": False}}


test.__test__ = False  # type: ignore[attr-defined]

MAP = [
    ({"*": "${input.list}"}, [10, 20, 30]),
    ({"*": "${input.nul}"}, []),
    ({"*": None}, []),
    ({"*": "${input.list}", "v": 1}, [{"v": 1}] * 3),
    ({"*": "${input.list}", "v": "${item}", "i": "${index}"}, [{"v": 10, "i": 0}, {"v": 20, "i": 1}, {"v": 30, "i": 2}]),
    ({"*": "${input.list}", "v": "#${index}: ${item}"}, [{"v": "#0: 10"}, {"v": "#1: 20"}, {"v": "#2: 30"}]),
    ({"*": "${input.users[*].name}", "v": "${item | none}"}, [{"v": "a"}, {"v": "b"}, {"v": "none"}]),
    ({"*": "${input.list[1:]}", "v": "${item}", "i": "${index}"}, [{"v": 20, "i": 0}, {"v": 30, "i": 1}]),
    ({"*": "${input.users}", "...": "${item}", "x": 1}, [{"x": 1, **user} for user in INPUT["users"]]),
    ({"*": "${input.users}", "...": "${item.nope}", "id": "${item.id}"}, ids(1, 2, 3)),
    ({"*": [1, "${input.n}"], "v": "${item}"}, [{"v": 1}, {"v": 3}]),
    ({"*": ["...${input.list}", 1], "v": "${item}"}, [{"v": 10}, {"v": 20}, {"v": 30}, {"v": 1}]),
    ({"*": "${input.s_list as list}", "v": "${item}"}, [{"v": 1}, {"v": 2}]),
    ({"*": "${input.strs as integer[]}", "v": "${item}"}, [{"v": 1}, {"v": 2}]),
    ({"*": "${input.nope | ${input.strs}}", "v": "${item}"}, [{"v": "1"}, {"v": "2"}]),
    ({"*": "${input.nope | []}", "v": "${item}"}, []),
    ({"*": "${input.nope | [1]}", "v": "${item}"}, [{"v": 1}]),
    ({"*": "${input.users}", "n": "${item.name as text | ?}", "of": "${input.name}"}, [{"n": "a", "of": "Ada"}, {"n": "b", "of": "Ada"}, {"n": "?", "of": "Ada"}]),
    ({"*": "${input.users}", "xs": {"*": "${item.xs}", "v": "${item}", "i": "${index}"}, "i": "${index}"}, [
        {"xs": [{"v": 1, "i": 0}, {"v": 2, "i": 1}], "i": 0}, {"xs": [], "i": 1}, {"xs": [], "i": 2},
    ]),
    ({"*": {"*": "${input.list}", "v": "${item}"}, "w": "${item.v}"}, [{"w": 10}, {"w": 20}, {"w": 30}]),
    ({"*": {"input": {"*": "${input.list}", "v": "${item}"}}, "w": "${item.v}"}, [{"w": 10}, {"w": 20}, {"w": 30}]),
    ({"*": {"+": ["${input.strs}", "${input.list}"]}, "w": "${item}"}, [{"w": one} for one in ["1", "2", 10, 20, 30]]),
    ({"*": {"input": "${input.list}"}, "v": "${item}"}, [{"v": 10}, {"v": 20}, {"v": 30}]),
    ({"*": {"input": None, "where": IF}, "v": 1}, []),
    ({"m": {"*": "${input.list}", "+": "${item}"}}, {"m": [{"+": 10}, {"+": 20}, {"+": 30}]}),
    ({"a": "${index}", "m": {"*": "${input.strs}", "i": "${index}"}, "z": "${index}"}, {"a": 99, "m": [{"i": 0}, {"i": 1}], "z": 99}),
    ({"*": "${input.name}"}, Error("run", '"*" needs a list, this is "Ada"')),
    ({"*": "${input.s_list}"}, Error("run", '"*" needs a list, this is "[1, 2]"')),
    ({"*": "${input.t}", "v": 1}, Error("run", '"*" needs a list, this is true')),
    ({"*": {"input": "${input.obj}"}}, Error("run", '"*" needs a list, this is an object')),
    ({"*": 5}, Error("load", "a list is needed here, this is 5")),
    ({"*": "abc"}, Error("load", "a list is needed here, and text can never be one")),
    ({"*": "${input.list} "}, Error("load", "a list is needed here, and text can never be one")),
    ({"*": {"a": 1}}, Error("load", "a list is needed here, this is an object")),
    ({"*": {"where": IF}}, Error("load", '"*" needs `input`, the list it goes over')),
    ({"*": {"input": [], "were": IF}}, Error("load", '"*" takes `input` and `where`, not `were`')),
    ({"*": "${input.list", "v": 1}, Error("load", "`${` is not closed with `}`")),
    ({"*": "${input.nope | 5}"}, Error("load", "5 is no list, but it is the default of `input.nope`")),
    ({"*": "${input.list}", "v": "${itm}"}, Error("load", "unknown source `itm`; did you mean `item`?")),
    ({"*": "${item}", "v": 1}, Error("load", "`item` cannot be used here, only `input`, `s`, `pieces`, `rows`, `lists`, `numbers`, `nothing`, `hollow`, `gaps`, `bytes`, `raw`, `index`, `result`, `env`")),
    ({"*": "${input.strs}", "v": "${item as boolean}"}, Error("run", '`item`: "2" is no boolean')),
]  # fmt: skip

WHERE = [
    (where(value=2), ids(2)),
    (where(operator="eq", value="2"), []),
    (where(operator="neq", value=2), ids(1, 3)),
    (where(operator="gt", value=1.5), ids(2, 3)),
    (where(operator="lt", value=2), ids(1)),
    (where(operator="lte", value=2), ids(1, 2)),
    (where(operator="in", value=[1, 3]), ids(1, 3)),
    (where(operator="in", value="${input.list}"), []),
    (where(operator="not-in", value=[1, 3]), ids(2)),
    ({"*": {"input": "${input.users}", "where": {"input": "${index}", "operator": "gte", "value": 1}}, "i": "${index}"}, [{"i": 1}, {"i": 2}]),
    ({"*": {"input": "${input.users}", "where": {"input": "${item.name}", "value": None}}, "id": "${item.id}"}, ids(3)),
    ({"*": {"input": "${input.users}", "where": {"input": "${item.name}"}}, "id": "${item.id}"}, ids(3)),
    ({"*": {"input": "${input.users}", "where": {"all": []}}, "id": "${item.id}"}, ids(1, 2, 3)),
    ({"*": {"input": "${input.users}", "where": {"any": []}}, "id": "${item.id}"}, []),
    ({"*": {"input": "${input.users}", "where": {"not": {"any": []}}}, "id": "${item.id}"}, ids(1, 2, 3)),
    ({"*": {"input": "${input.users}", "where": {"not": {"all": [
        {"any": [{"input": "${item.id}", "value": 1}, {"input": "${item.id}", "value": 2}]}, {"not": {"input": "${item.name}", "value": "b"}},
    ]}}}, "id": "${item.id}"}, ids(2, 3)),
    ({"*": {"input": "${input.users}", "where": {"all": [{"input": "${item.id}", "value": 1}], "any": []}}, "id": "${item.id}"}, ids(1)),
    ({"*": {"input": "${input.users}", "where": {"any": [{"input": "${item.id}", "value": 1}], "not": IF}}, "id": "${item.id}"}, ids(1)),
    ({"*": {"input": "${input.users}", "where": {"not": {"input": "${item.id}", "value": 1}, "input": 1, "value": 2}}, "id": "${item.id}"}, ids(2, 3)),
    (where(operator="gt", value=None), Error("run", "`gt` cannot compare 1 with null")),
    (where(operator="gt", value="1"), Error("run", '`gt` cannot compare 1 with "1"')),
    ({"*": {"input": "${input.users}", "where": {"input": "${item.name}", "operator": "lt", "value": "b"}}}, Error("run", '`lt` cannot compare null with "b"')),
    ({"*": {"input": "${input.list}", "where": "${item}"}}, Error("load", 'a condition is a mapping such as `{input: ${input.n}, operator: gt, value: 3}`, this is "${item}"')),
    ({"*": {"input": "${input.list}", "where": {"all": IF}}}, Error("load", "`all` is a list of conditions, this is an object")),
    ({"*": {"input": "${input.list}", "where": {"all": [1]}}}, Error("load", "a condition is a mapping such as `{input: ${input.n}, operator: gt, value: 3}`, this is 1")),
    ({"*": {"input": "${input.list}", "where": {"not": []}}}, Error("load", "a condition is a mapping such as `{input: ${input.n}, operator: gt, value: 3}`, this is a list")),
    ({"*": {"input": "${input.list}", "where": {"inputs": 1}}}, Error("load", "unknown key `inputs` in a condition; did you mean `input`?")),
    ({"*": {"input": "${input.list}", "where": {**IF, "if_true": 1}}}, Error("load", "unknown key `if_true` in a condition")),
]  # fmt: skip

COMPARE = [
    (test(1, None, 1), True), (test(1, "eq", 1.0), True), (test(True, "eq", 1), True), (test("5", "eq", 5), False), (test(None, "eq", None), True),
    (test([1], "eq", [1]), True), (test({"a": 1}, "eq", {"a": 1.0}), True), (test("a", "neq", "b"), True), (test("b", "gt", "a"), True),
    (test("10", "lt", "9"), True), (test(2, "gte", 2), True), (test([1, 2], "lt", [1, 3]), True), (test(True, "gt", 0), True), (test("b", "in", "abc"), True),
    (test("x", "in", ["x"]), True), (test("a", "in", {"a": 1}), True), (test(1, "not-in", []), True), (test("", "in", ""), True), (test("Ada", "starts-with", "Ad"), True),
    (test("Ada", "starts-with", "ad"), False), (test("Ada", "ends-with", "da"), True), (test("Ada", "match", "A.a"), True), (test("xAda", "match", "Ada"), False),
    (test("Ada!", "match", "Ada$"), False), (test("${input.name}", "match", "(?i)ADA"), True), (test("${pieces}", "eq", "Hello"), True), (test("${s}", "eq", ["a", "b", "c"]), True),
    (test(1, "in", "123"), Error("run", '`in` cannot compare 1 with "123"')), (test(1, "in", 5), Error("load", "`in` needs a list, a text or an object to look in, this is 5")), (test(1, "in", "${input.n}"), Error("run", "`in` needs a list, a text or an object to look in, this is 3")),
    (test(1, "not-in", None), Error("run", "`in` needs a list, a text or an object to look in, this is null")), (test([1], "in", {"a": 1}), Error("run", "`in` cannot compare a list with an object")),
    (test(5, "starts-with", "5"), Error("run", "`starts-with` compares texts, this is 5")), (test("5", "ends-with", 5), Error("load", "`ends-with` compares texts, this is 5")), (test("5", "ends-with", "${input.n}"), Error("run", "`ends-with` compares texts, this is 3")),
    (test(None, "match", "x"), Error("run", "`match` compares texts, this is null")), (test("a", "match", "("), Error("load", '"(" is no regular expression (missing ), unterminated subpattern)')),
    (test("a", "match", "${input.name}("), Error("run", '"Ada(" is no regular expression (missing ), unterminated subpattern)')), (test(1, "lt", "a"), Error("run", '`lt` cannot compare 1 with "a"')),
    (test({}, "gt", {}), Error("run", "`gt` cannot compare an object with an object")), (test(1, "==", 1), Error("load", "unknown operator `==`; did you mean `eq`?")),
    (test(1, "startswith", 1), Error("load", "unknown operator `startswith`; did you mean `starts-with`?")), (test(1, "not_in", 1), Error("load", "unknown operator `not_in`; did you mean `not-in`?")),
    (test(1, "zzz", 1), Error("load", "unknown operator `zzz`; there are `eq`, `neq`, `gt`, `gte`, `lt`, `lte`, `in`, `not-in`, `starts-with`, `ends-with`, `match`")),
    ({"?": {"input": 1, "operator": ["eq"], "value": 1, "if_true": 1}}, Error("load", "unknown operator a list; there are `eq`, `neq`, `gt`, `gte`, `lt`, `lte`, `in`, `not-in`, `starts-with`, `ends-with`, `match`")),
]  # fmt: skip

CHOOSE = [
    ({"?": {**IF, "if_true": "yes"}}, "yes"), ({"?": {**NO, "if_true": "yes"}}, None), ({"?": {**NO, "if_false": "no"}}, "no"), ({"?": {**IF, "if_false": "no"}}, None),
    ({"?": {**NO, "if_true": 1, "if_false": None}}, None), ({"?": {**IF, "if_true": "${input.list}"}}, [10, 20, 30]), ({"?": {**IF, "if_true": {"n": "${input.n}"}}}, {"n": 3}),
    ({"?": [{**NO, "if_true": 1}, {**IF, "if_true": 2}, {**IF, "if_true": 3}]}, 2), ({"?": [{**NO, "if_true": 1, "if_false": 0}, {**IF, "if_true": 2}]}, 0),
    ({"?": [{**NO, "if_true": 1, "if_false": None}, {**IF, "if_true": 2}]}, None), ({"?": [{**NO, "if_true": 1}]}, None), ({"?": []}, None), ({"?": IF}, None),
    ({"?": {"all": [IF, {"not": NO}], "if_true": "both"}}, "both"), ({"?": {"any": [NO, NO], "if_true": 1, "if_false": "neither"}}, "neither"),
    ({"?": {**IF, "if_true": "ok", "if_false": "${input.name as integer}"}}, "ok"), ({"?": {**IF, "if_true": "${input.name as integer}"}}, Error("run", '`input.name`: "Ada" is no integer')),
    ([{"?": {**NO, "if_true": 1}}, 2], [None, 2]), ({"a": {"?": {**NO, "if_true": 1}}}, {"a": None}),
    ({"a": 1, "?": {**IF, "if_true": {"b": 2}}, "c": 3}, {"a": 1, "b": 2, "c": 3}), ({"a": 1, "?": {**IF, "if_true": {"a": 2}}}, {"a": 2}),
    ({"?": {**IF, "if_true": {"a": 2}}, "a": 1}, {"a": 1}), ({"a": 1, "?": {**NO, "if_true": {"b": 2}}}, {"a": 1}), ({"a": 1, "?": {**IF, "if_true": None}}, {"a": 1}),
    ({"a": 1, "?": {**NO, "if_true": {"b": 2}, "if_false": {"c": 3}}}, {"a": 1, "c": 3}), ({"a": 1, "?": [{**NO, "if_true": 1}, {**IF, "if_true": "${input.obj}"}]}, {"a": 1, "b": {"c": 2}}),
    ({"...": "${input.obj}", "?": {**IF, "if_true": {"a": 5}}}, {"a": 5, "b": {"c": 2}}), ({"a": 1, "?": {**IF, "if_true": "${input.list}"}}, Error("run", '"?" beside other keys needs an object, this is a list')),
    ({"a": 1, "?": {**IF, "if_true": 0}}, Error("run", '"?" beside other keys needs an object, this is 0')), ({"?": 3}, Error("load", "a condition is a mapping such as `{input: ${input.n}, operator: gt, value: 3}`, this is 3")),
    ({"?": {**IF, "if_treu": 1}}, Error("load", "unknown key `if_treu` in a condition; did you mean `if_true`?")), ({"?": [[IF]]}, Error("load", "a condition is a mapping such as `{input: ${input.n}, operator: gt, value: 3}`, this is a list")),
    ({"?": {**IF, "if_true": "${"}}, Error("load", "`${` is not closed with `}`")),
]  # fmt: skip

JOIN = [
    ({"+": ["a", "b"]}, "ab"), ({"+": ["a", None, "${input.nope}", "b"]}, "ab"), ({"+": []}, None), ({"+": None}, None), ({"+": "${input.nope}"}, None), ({"+": "${input.strs}"}, "12"),
    ({"+": "${input.none}"}, None), ({"+": ["${input.name}", " ", "${input.n as text}"]}, "Ada 3"), ({"+": ["${input.list}", [1], "${input.none}"]}, [10, 20, 30, 1]),
    ({"+": [[], []]}, []), ({"+": [{}, {"a": 1}]}, {"a": 1}), ({"+": ["${input.obj}", {"b": 0}]}, {"a": 1, "b": 0}), ({"+": ["...${input.strs}", "!"]}, "12!"), ({"+": [""]}, ""),
    ({"+": {"*": "${input.users}", "v": "${item.id}"}}, {"v": 3}), ({"+": "${input.nope | [\"a\", \"b\"]}"}, "ab"), ({"+": [["a"], ["b"]], "c": 1}, {"+": [["a"], ["b"]], "c": 1}),
    ("${input.obj['a']}", 1), ("${input['a b']}", 7), ("${input.obj['b'].c} ${input.obj['b']['none']}", "2 "),
    ({"+": [1, 2]}, Error("load", "`+` joins texts, lists or objects, this is 1")), ({"+": [True]}, Error("load", "`+` joins texts, lists or objects, this is true")),
    ({"+": ["a", 1]}, Error("load", "`+` cannot join text and 1")), ({"+": ["a", ["b"]]}, Error("load", "`+` cannot join text and a list")), ({"+": [["a"], "b"]}, Error("load", "`+` cannot join a list and text")),
    ({"+": [{}, []]}, Error("load", "`+` cannot join an object and a list")), ({"+": [[], {}]}, Error("load", "`+` cannot join a list and an object")), ({"+": ["${input.n}", 2]}, Error("run", "`+` joins texts, lists or objects, this is 3")),
    ({"+": ["a", "${input.n}"]}, Error("run", "`+` cannot join text and 3")), ({"+": [["a"], "${input.name}"]}, Error("run", "`+` cannot join a list and text")), ({"+": ["${input.obj}", []]}, Error("run", "`+` cannot join an object and a list")),
    ({"+": "${input.n}"}, Error("run", '"+" needs a list, this is 3')),
    ({"+": "${input.obj}"}, Error("run", '"+" needs a list, this is an object')), ({"+": "ab"}, Error("load", "a list is needed here, and text can never be one")), ({"+": {"a": 1}}, Error("load", "a list is needed here, this is an object")),
]  # fmt: skip

ZIP_SPLIT = [
    ({"&": {"a": "${input.list}", "b": "${input.strs}"}}, [{"a": 10, "b": "1"}, {"a": 20, "b": "2"}]), ({"&": {"a": [1]}}, [{"a": 1}]), ({"&": {"a": "${input.nope}", "b": [1]}}, []),
    ({"&": {"a": [], "b": [1]}}, []), ({"&": {"a": {"*": "${input.strs}", "v": "${item}"}, "b": [0]}}, [{"a": {"v": "1"}, "b": 0}]), ({"&": {"a": [1]}, "b": 2}, {"&": {"a": [1]}, "b": 2}),
    ({"&": {"a": "${input.nope | [7]}"}}, [{"a": 7}]), ({"&": {"a": "${input.n}"}}, Error("run", '"&" needs a list, this is 3')), ({"&": {"a": "x"}}, Error("load", "a list is needed here, and text can never be one")),
    ({"&": []}, Error("load", '"&" takes an object of lists, such as `{a: ${input.a}, b: ${input.b}}`')), ({"&": "${input.obj}"}, Error("load", '"&" takes an object of lists, such as `{a: ${input.a}, b: ${input.b}}`')),
    ({"|": "${input.users}", "ids": "${item.id}", "names": "${item.name | -}"}, {"ids": [1, 2, 3], "names": ["a", "b", "-"]}), ({"|": "${input.nope}", "a": "${item}", "b": 1}, {"a": [], "b": []}),
    ({"|": [1, 2], "a": "${item}", "b": {"i": "${index}"}, "c": "x"}, {"a": [1, 2], "b": [{"i": 0}, {"i": 1}], "c": ["x", "x"]}), ({"|": "${input.mixed}", "a": "${item}"}, {"a": [1, None, "3"]}),
    ({"|": "${input.users}", "n": {"?": {"input": "${item.name}", "value": None, "if_true": "?", "if_false": "${item.name}"}}}, {"n": ["a", "b", "?"]}),
    ({"|": {"&": {"a": [1, 2], "b": [3, 4]}}, "a": "${item.a}", "b": "${item.b}"}, {"a": [1, 2], "b": [3, 4]}), ({"&": {"a": [1, 2]}, "|": [5], "x": "${item}"}, {"&": [{"a": [1, 2]}], "x": [5]}),
    ({"|": "${input.n}", "a": 1}, Error("run", '"|" needs a list, this is 3')), ({"|": "${input.list}"}, Error("load", '"|" needs at least one field beside it, such as `names: ${item.name}`')),
    ({"|": [], "...": {}}, Error("load", '"..." cannot stand beside "|"')), ({"|": [], "a": 1, "?": IF}, Error("load", '"?" cannot stand beside "|"')),
]  # fmt: skip

STREAMS = [
    ({"*": "${s}"}, S("a", "b", "c")), ({"*": "${pieces}"}, S("Hel", "lo", fragmented=True)), ({"*": "${s}", "v": "${item}", "i": "${index}"}, S({"v": "a", "i": 0}, {"v": "b", "i": 1}, {"v": "c", "i": 2})),
    ({"*": "${pieces}", "v": "${item}"}, S({"v": "Hel"}, {"v": "lo"}, fragmented=True)), ({"*": {"input": "${rows}", "where": {"input": "${item.v}", "operator": "gt", "value": 1}}, "v": "${item.v}", "i": "${index}"}, S({"v": 2, "i": 1}, {"v": 3, "i": 2})),
    ({"*": "${s}", "v": "${pieces} ${item}"}, S({"v": "Hello a"}, {"v": "Hello b"}, {"v": "Hello c"})), ({"*": {"*": "${s}", "v": "${item}"}, "w": "${item.v}"}, S({"w": "a"}, {"w": "b"}, {"w": "c"})),
    ({"+": ["<", "${s}", None, [1, 2], ">"]}, S("<", "a", "b", "c", 1, 2, ">", fragmented=True)), ({"+": ["${s}", "${pieces}"]}, S("a", "b", "c", "Hel", "lo", fragmented=True)), ({"+": "${pieces}"}, S("Hel", "lo", fragmented=True)),
    ({"+": ["${lists}"]}, S([1, 2], [3], fragmented=True)), ({"+": "${lists}"}, S(1, 2, 3, fragmented=True)), ({"+": "${hollow}"}, S(1, fragmented=True)), ({"+": [[], "${s}", []]}, S("a", "b", "c", fragmented=True)), ({"+": ["${nothing}"]}, S(fragmented=True)), ({"+": ["...${s}", "!"]}, "abc!"),
    ({"+": ["a", "${input.name as stream/text}"]}, S("a", "Ada", fragmented=True)), ({"+": "${input.name as stream/text}"}, S("Ada", fragmented=True)), ({"*": {"*": "${input.name as stream/text}", "v": "${item}"}, "w": "${item.v}"}, S({"w": "Ada"}, fragmented=True)), ({"*": "${input.name as stream/text}", "v": "${item}"}, S({"v": "Ada"}, fragmented=True)),
    ({"&": {"a": "${s}", "b": "${numbers}"}}, S({"a": "a", "b": 1}, {"a": "b", "b": 2}, {"a": "c", "b": 3})), ({"&": {"a": "${input.strs}", "b": "${s}"}}, S({"a": "1", "b": "a"}, {"a": "2", "b": "b"})), ({"&": {"a": "${s}", "b": None}}, []),
    ({"&": {"a": "${pieces}", "b": "${input.list}"}}, S({"a": "Hel", "b": 10}, {"a": "lo", "b": 20}, fragmented=True)), ({"&": {"a": "${input.n as stream/text}", "b": [5, 6]}}, S({"a": "3", "b": 5}, fragmented=True)), ({"&": {"a": "${s}", "b": "${s}"}}, S({"a": "a", "b": "a"}, {"a": "b", "b": "b"}, {"a": "c", "b": "c"})),
    ({"+": {"|": "${rows}", "v": "${item.v}"}}, Error("run", '"+" needs a list, this is an object')), ({"|": "${rows}", "v": "${item.v}", "i": "${index}"}, {"v": S(1, 2, 3), "i": S(0, 1, 2)}), ({"|": "${pieces}", "v": {"?": {"input": "${index}", "value": 1, "if_true": "${item}"}}}, {"v": S("lo", fragmented=True)}), ({"|": "${s}", "v": "${item.x}"}, {"v": S(None, None, None)}),
    ({"a": ["${s}"]}, {"a": [S("a", "b", "c")]}), ("${rows.v}", None), ("${rows[0]}", None), ({"a": "${pieces as text}!"}, {"a": "Hello!"}),
    ("${gaps}", S("a", None, "b")), ("${gaps as stream/json}", S('"a"', '"b"', encoding="json")), ("${gaps as text[]}", S("a", None, "b")), ({"+": ["<", "${gaps}"]}, S("<", "a", "b", fragmented=True)), ({"+": "${gaps}"}, S("a", "b", fragmented=True)),
    ({"*": "${gaps}", "v": "${item | -}", "i": "${index}"}, S({"v": "a", "i": 0}, {"v": "-", "i": 1}, {"v": "b", "i": 2})), ({"|": "${gaps}", "v": "${item}"}, {"v": S("a", None, "b")}), ({"&": {"a": "${gaps}", "b": "${numbers}"}}, S({"a": "a", "b": 1}, {"a": None, "b": 2}, {"a": "b", "b": 3})),
    ("${s as stream/json}", S('"a"', '"b"', '"c"', encoding="json")), ("${numbers as stream}", S("1", "2", "3", encoding="text")), ("${numbers as text[]}", S("1", "2", "3")), ("${bytes as text}", "hello"), ("${bytes as base64}", "aGVsbG8="), ("x${bytes}", "xhello"),
    ("${bytes as file}", S({"$bytes": "aGU="}, {"$bytes": "bGxv"}, fragmented=True)), ("${pieces as integer}", Error("run", '`pieces`: "Hello" is no integer')), ("${numbers as text}", "[1, 2, 3]"), ({"*": "${s}", "v": "${item as integer}"}, Error("run", '`item`: "a" is no integer')),
    ({"*": {"input": "${s}", "where": {"input": "${item}", "operator": "gt", "value": 1}}}, Error("run", '`gt` cannot compare "a" with 1')), ({"...": "${s}"}, Error("run", '"..." needs an object to merge, this is a stream')),
    # what is made of a stream where a value is wanted is made of its value
    ("x ${s as stream/text}", 'x ["a", "b", "c"]'), ("x ${pieces as stream/json}", 'x "Hello"'), ("x ${numbers as integer[]}", "x [1, 2, 3]"), ("x ${pieces as text[]}", 'x ["Hello"]'), ("x ${bytes as file}", "x hello"),
    (["...${numbers as text[]}"], ["1", "2", "3"]), (["...${pieces as text[]}", "!"], ["Hello", "!"]), (test({"+": ["<", "${pieces}", ">"]}, "eq", "<Hello>"), True), (test({"+": "${pieces}"}, "eq", "Hello"), True),
    (test({"*": "${rows}", "w": "${item.v}"}, "eq", [{"w": 1}, {"w": 2}, {"w": 3}]), True), (test({"|": "${rows}", "w": "${item.v}"}, "eq", {"w": [1, 2, 3]}), True), (test({"&": {"a": "${s}", "b": "${numbers}"}}, "neq", []), True),
    (test({"a": ["${s}"]}, "eq", {"a": [["a", "b", "c"]]}), True), (test({"?": {**IF, "if_true": "${pieces}"}}, "eq", "Hello"), True), (test("${input.nope | ${pieces}}", "eq", "Hello"), True), (test(1, "in", "${numbers}"), True), (test("${bytes}", "eq", "${bytes}"), True),
    ({"*": {"input": "${rows}", "where": {"input": {"+": ["${pieces}"]}, "value": "Hello"}}, "v": "${item.v} ${pieces as stream/text}"}, S({"v": "1 Hello"}, {"v": "2 Hello"}, {"v": "3 Hello"})),
]  # fmt: skip

CASTS = [
    ("${input.b64 as text;base64}", "hello"), ("${input.b64 as file;base64}", {"$bytes": "aGVsbG8="}), ("${input.b64 as base64;base64}", "aGVsbG8="), ("${input.strs as text[];base64}", Error("run", '`input.strs`: "1" is no base64')),
    ("${input.name as text;base64}", Error("run", '`input.name`: "Ada" is no base64')), ("${input.uri as image/png;data-uri}", {"$bytes": "iVBORw=="}), ("${input.nope as integer;base64 | NDI=}", 42), ("${input.nope as json;data-uri | data:,[1]}", [1]),
    ("${input.n as file;base64}", Error("run", "`input.n`: `file` needs bytes, or text with a format such as `;base64`; this is 3")), ("${raw as image}", {"$bytes": "w6k="}), ("${raw as text}", "é"), ("${raw as video/mp4}", {"$bytes": "w6k="}), ("${raw as audio/pcm[rate=${input.n}]}", {"$bytes": "w6k="}),
    ("${input.name as url}", Error("load", "unknown type `url`")), ("${input.name as text;url}", Error("run", '`input.name`: "Ada" is no address that begins with http:// or https://')), ("${input.name as select/Ada,Bob;base64}", "Ada"),
    ("${input.users as object[]/id}", ids(1, 2, 3)), ("${input.obj as object/b.c,a}", {"c": 2, "a": 1}), ("${input as object/users[1].name,n}", {"name": "b", "n": 3}), ("${input.list as object}", Error("run", "`input.list`: a list is no object")),
    ("${input.empty as select/a,b | b}", "b"), ("${input.empty as slider/0,5 | 2}", 2.0), ("${input.empty as bool | on}", True), ("${input.empty as json | 1}", Error("run", '`input.empty`: "" is no JSON (Expecting value: line 1 column 1 (char 0))')),
    ("${input.empty as text | x}", ""), ("${input.nope as select | anything}", "anything"), ("${input.t as integer}", 1), ("${input.f as int}", 1), ("${input.n as float}", 3.0), ("${input.t as str}", "true"), ("${input.nul as stream/text}", None),
    ("${input.nope as slider/0,5}", None), ("${input.nope as slider/0,5 | 7}", Error("load", '"7" is not between 0 and 5, but it is the default of `input.nope`')), ("${input.n as stream/text}", S("3", encoding="text")), ("${input.obj as stream/json}", S('{"a": 1, "b": {"c": 2}}', encoding="json")),
]  # fmt: skip

DEFAULTS = [
    ("${input.nope | x }", "x "), ("${input.nope |   x}", "x"), ("${input.nope | 5 }", 5), ("${input.nope as text | 5 }", "5 "), ("${input.nope|}", ""), ("${input.nope | 'x y'}", "x y"), ("${input.nope | \"a}b\"}", "a}b"), ("${input.nope | \"it's\"}", "it's"),
    ("${input.nope | ~}", None), ("${input.nope | None}", "None"), ("${input.nope | no}", "no"), ("${input.nope | 1e3}", 1000.0), ("${input.nope | 012}", 12), ("${input.nope | 12:30}", "12:30"), ("${input.nope | 1_000}", "1_000"), ("${input.nope | -5}", -5),
    ("a${input.nope | null}", "anull"), ("a${input.nope as text | null}", "a"), ("${input.nope as integer | null}", None), ("${input.nope as text | \"null\"}", "null"), ("a${input.nope | 0.70}", "a0.70"), ("a${input.nope | \"0.70\"}", "a0.70"), ("${input.nope | 'a\\|b'}", "a|b"),
    ("${input.nope | {x}}", "{x}"), ("${input.nope | {\"a\": {\"b\": 1}}}", '{"a": {"b": 1}}'), ("${input.nope as json | {\"a\": [1]}}", {"a": [1]}), ("${input.nope | \\$\\@\\{\\}\\|}", "$@{}|"), ("${input.nope | \\n}", "\\n"), ("${input.nope | a\\\\b}", "a\\\\b"),
    ("${input.nope | a | b}", "a | b"), ("${input.nope | x as integer}", "x as integer"), ("${input.nope | @home}", "@home"), ("${input.nope | x @(description y)}", "x"), ("${input.nope | ${input.nope2 as integer | 7}}", 7), ("${input.nope as text | ${input.obj}}", '{"a": 1, "b": {"c": 2}}'),
    ("${input.nope | a${input.n}b${input.t}}", "a3btrue"), ("${input.nope | ${input.nul}}", None), ("${input.z | 5}", 0), ("${input.fa | x}", False), ("${input.none | x}", []), ("${input.users[9].name | nobody}", "nobody"), ("${input.name.first | x}", "x"),
    ("${input.nope as integer | \"5\"}", 5), ("${input.nope as integer | }", Error("load", '"" is no integer, but it is the default of `input.nope`')), ("${input.nope as integer | ${input.name}}", Error("run", '`input.nope`: "Ada" is no integer')), ("${input.nope as boolean | maybe}", Error("load", '"maybe" is no boolean, but it is the default of `input.nope`')),
    ("${input.nope | " + "9" * 301 + "}", "9" * 301), ('${input["a b"]}', 7), ('${input["nope"] | x}', "x"), ("$${input.n}$", "${input.n}$"), ("$$$${input.n}", "$${input.n}"), ("$$$${", "$${"), ("a$$b", "a$$b"), ("5$ ${input.n}$", "5$ 3$"),
    (["...${input.nope | [1]}"], [1]), (["...${input.nope | null}", 1], [1]), (["...${input.nope | x}"], Error("load", '"x" is no JSON (Expecting value: line 1 column 1 (char 0)), but it is the default of `input.nope`')),
]  # fmt: skip

ROWS = [*MAP, *WHERE, *COMPARE, *CHOOSE, *JOIN, *ZIP_SPLIT, *STREAMS, *CASTS, *DEFAULTS]


@pytest.mark.parametrize(("template", "expected"), ROWS, ids=[str(row[0])[:70] for row in ROWS])
def test_row(template: Any, expected: Any) -> None:
    row = {"id": "", "template": template, "sources": SOURCES}
    if isinstance(expected, Error):
        with pytest.raises(RefusedError) as caught:
            render(row)
        assert (caught.value.stage, str(caught.value)) == (expected.stage, f"{expected.stage}: {expected.sentence}")
        return
    got = render(row)
    assert alike(expected, got), got
