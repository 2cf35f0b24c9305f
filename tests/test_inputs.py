"""Workflow -> what it asks for, and what is wrong with an answer."""

from __future__ import annotations

from typing import Any

import pytest

import composemagic
from composemagic.errors import InputError
from composemagic.language.expression import Cast
from composemagic.language.template import compile_template
from composemagic.workflow.inputs import Input, check_values, infer


def asked(*values: Any) -> list[Input]:
    return list(infer(compile_template(value) for value in values))


def one(value: Any) -> Input:
    (found,) = asked(value)
    return found


TYPES: list[tuple[str, dict[str, Any]]] = [
    ("${input.x}", {"type": "string", "required": True}),
    ("${input.x as text}", {"type": "text", "required": True}),
    ("${input.x as int}", {"type": "integer"}),
    ("${input.x as float}", {"type": "number"}),
    ("${input.x as bool}", {"type": "boolean"}),
    ("${input.x as str}", {"type": "string"}),
    ("${input.x as integer[]}", {"type": "integer", "is_list": True}),
    ("${input.x as select/a,b}", {"type": "select", "options": ("a", "b")}),
    ("${input.x as object/a,b}", {"type": "object", "options": ()}),
    ("${input.x as slider/0,2,0.1 | 0.7}", {"type": "slider", "bounds": (0.0, 2.0, 0.1), "default": 0.7}),
    ("${input.x as stream/text}", {"type": "stream"}),
    ("${input.x as sse-text}", {"type": "stream"}),
    # defaults, in the type of the cast, or the type YAML gives them
    ("${input.x | hi}", {"type": "string", "default": "hi", "required": False}),
    ("${input.x | 5}", {"type": "integer", "default": 5}),
    ("${input.x | 0.7}", {"type": "number", "default": 0.7}),
    ("${input.x | true}", {"type": "boolean", "default": True}),
    ("${input.x | null}", {"type": "string", "default": None, "has_default": True, "required": False}),
    ('${input.x | "5"}', {"type": "string", "default": "5"}),
    ("${input.x as number | 1}", {"type": "number", "default": 1.0}),
    ("${input.x as boolean | yes}", {"type": "boolean", "default": True}),
    ("${input.x as text | null}", {"type": "text", "default": None, "has_default": True, "required": False}),
    ('${input.x as json | {"a": 1}}', {"type": "json", "default": {"a": 1}}),
    ("${input.x as integer[] | [1, 2]}", {"default": [1, 2]}),
    ("${input.x | ${env.Y}}", {"type": "string", "default": None, "has_default": False, "required": False}),
    ("${input.x as integer | five}", {"has_default": False}),
    # notes
    ("${input.x @(title A B) @(description what it is)}", {"label": "A B", "description": "what it is"}),
    ("${input.x @(label A)}", {"label": "A", "description": None}),
    # spreads are lists
    (["...${input.x}"], {"type": "list", "required": False}),  # type: ignore[list-item]
    (["...${input.x | []}"], {"type": "list", "default": [], "required": False}),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("value", "wanted"), TYPES, ids=[str(row[0]) for row in TYPES])
def test_what_an_input_is(value: Any, wanted: dict[str, Any]) -> None:
    found = one(value)
    assert found.name == "x"
    assert {key: getattr(found, key) for key in wanted} == wanted


NAMES: list[tuple[Any, list[str]]] = [
    ({"b": "${input.b}", "a": ["${input.a}"]}, ["b", "a"]),
    ("${input.a.b} ${input.l[0].x} ${input.u[*].n}", ["a.b", "l[0].x", "u[*].n"]),
    ("${input.a} ${input.a}", ["a"]),
    ("${input.a | ${input.b | ${input.c}}}", ["a", "b", "c"]),
    ("${input}", [""]),
    (["${input}", "${input.x}"], ["", "x"]),
    (["${input.x}", "${input}"], ["x"]),
    ("${result.x} ${env.Y} ${response[].z}", []),
    ("no holes", []),
]


@pytest.mark.parametrize(("value", "names"), NAMES, ids=[str(row[0]) for row in NAMES])
def test_names_in_the_order_written(value: Any, names: list[str]) -> None:
    assert [found.name for found in asked(value)] == names


def test_the_richest_occurrence_counts() -> None:
    found = one("${input.x} ${input.x as number | 3 @(title T)} ${input.x @(description D)}")
    assert (found.type, found.default, found.label, found.description) == ("number", 3.0, "T", "D")


RICHEST: list[tuple[str, dict[str, Any]]] = [
    ("${input.x} ${input.x as select/a,b}", {"type": "select", "options": ("a", "b")}),
    ("${input.x as select/a,b} ${input.x as text | a}", {"type": "select", "options": ("a", "b"), "default": "a"}),
    ("${input.x as number | 3} ${input.x as slider/0,5}", {"type": "slider", "bounds": (0.0, 5.0), "default": 3.0}),
    ("${input.x as slider/0,5 | 1} ${input.x as slider/0,9 | 2}", {"bounds": (0.0, 5.0), "default": 1.0}),
    ("${input.x | 7} ${input.x as integer}", {"type": "integer", "default": 7, "required": False}),
    ('${input.x | "7"} ${input.x as integer}', {"type": "integer", "default": 7}),
    ("${input.x | seven} ${input.x as integer}", {"type": "integer", "has_default": False, "default": None, "required": False}),
    ("${input.x as select/a,b} ${input.x as integer | 3}", {"type": "select", "has_default": False, "required": False}),
    ("${input.x as select/a,b} ${input.x as integer | 3} ${input.x | b}", {"type": "select", "default": "b"}),
    ("${input.x | y} ${input.x as image}", {"type": "image", "has_default": False, "required": False}),
    ("${input.x | y} ${input.x as image;url}", {"type": "image", "has_default": False, "required": False}),
    ("${input.x as text} ${input.x as integer}", {"type": "text"}),
    ("${input.x as integer} ${input.x as integer[]}", {"type": "integer", "is_list": True}),
    ("${input.x as audio} ${input.x as audio/pcm[sample_rate=16000]}", {"type": "audio"}),
    ("${input.x} ${input.x | null}", {"default": None, "has_default": True, "required": False}),
    ("${input.x as text @(label A)} ${input.x as select/a @(label B) @(description C)}",
     {"type": "select", "label": "A", "description": "C"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), RICHEST)
def test_what_says_the_most_counts(text: str, wanted: dict[str, Any]) -> None:
    found = one(text)
    assert {key: getattr(found, key) for key in wanted} == wanted


def test_attributes_are_kept() -> None:
    cast = one("${input.x as audio} ${input.x as audio/pcm[sample_rate=16000,channels=1];base64}").cast
    assert cast is not None
    assert (dict(cast.attrs), cast.subtype, cast.format) == ({"sample_rate": "16000", "channels": "1"}, "pcm", "base64")


# of a workflow: who asks, and whom its own input hides
WORKFLOWS: dict[str, tuple[str, list[str]]] = {
    "the action": ("workflow: {job: {}}\ncomponent: {type: echo, value: '${input.a}'}", ["a"]),
    "the action, where the input is passed on": (
        "workflow: {job: {input: ' ${input} '}}\ncomponent: {type: echo, value: '${input.a}'}", [""],
    ),
    "passed on as it is": ("workflow: {job: {input: '${input}'}}\ncomponent: {type: echo, value: '${input.a}'}", ["a"]),
    "hidden": ("workflow: {job: {input: {a: '${input.b}'}}}\ncomponent: {type: echo, value: '${input.a}'}", ["b"]),
    "hidden by a constant": ("workflow: {job: {input: {a: 1}}}\ncomponent: {type: echo, value: '${input.a}'}", []),
    "inline": ("workflow: {job: {component: {type: echo, value: '${input.a}'}, input: {a: '${input.b}'}}}", ["b"]),
    "outputs as well": (
        "workflow: {job: {output: '${input.b}'}, output: '${input.c}'}\ncomponent: {type: echo, value: '${input.a}'}",
        ["a", "b", "c"],
    ),
    "an interrupt": (
        "workflow: {job: {interrupt: {before: {message: '${input.b}'}}}}\ncomponent: {type: echo, value: '${input.a}'}",
        ["b", "a"],
    ),
    "a hook's script is no template": (
        "workflow: {job: {hook: {before: {script: \"def hook(input, **_): return '${input.b}'\"}}}}\n"
        "component: {type: echo, value: '${input.a}'}", ["a"],
    ),
    "steps read what their pipeline is given": (
        "workflow: {job: {type: pipeline, input: {t: '${input.a}'}, steps: [{input: '${input.t}'}]}}\n"
        "component: {type: echo, value: '${input.b}'}", ["a"],
    ),
    "each item hides the input": (
        "workflow: {job: {type: for-each, input: '${input.l}', do: {}}}\ncomponent: {type: echo, value: '${input.b}'}", ["l"],
    ),
    "an inner workflow": (
        "workflows: [{id: m, default: true, job: {component: w}}, {id: i, job: {component: e}}]\n"
        "components: [{id: w, type: workflow, workflow: i}, {id: e, type: echo, value: '${input.a as number | 1}'}]", ["a"],
    ),
    "an inner workflow that is given its own": (
        "workflows: [{id: m, default: true, job: {component: w}}, {id: i, job: {component: e}}]\n"
        "components: [{id: w, type: workflow, workflow: i, input: {a: '${input.b}'}}, {id: e, type: echo, value: '${input.a}'}]",
        ["b"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_workflow_asks_for(name: str) -> None:
    text, names = WORKFLOWS[name]
    assert [found.name for found in composemagic.load(text + "\n").inputs] == names


@pytest.mark.parametrize(
    ("text", "required"),
    [
        ("${input.x}", True),
        ("${input.x | 1}", False),
        ("${input.x} ${input.x | 1}", False),
        ("${input.x | 1} ${input.x as text}", False),
        ("${input.y | ${input.x}}", False),
        ("${input.y | ${input.x}} ${input.x}", True),
    ],
)
def test_required_is_what_no_occurrence_has_a_default_for(text: str, required: bool) -> None:
    assert {found.name: found.required for found in asked(text)}["x"] is required


def test_a_whole_input_is_never_required() -> None:
    assert one("${input}").required is False


PROBLEMS: list[tuple[str, Any, str | None]] = [
    ("${input.x}", "a", None),
    ("${input.x}", None, "`x` is missing"),
    ("${input.x}", "", "`x` is missing"),
    ("${input.x}", 0, None),
    ("${input.x}", False, None),
    ("${input.x | a}", None, None),
    ("${input.x | a}", "", None),
    ("${input.x as integer | 3}", "", None),
    ("${input.x as integer | 3}", None, None),
    ("${input.x as integer}", "3", None),
    ("${input.x as integer}", "three", '`x`: "three" is no integer'),
    ("${input.x as boolean}", "maybe", '`x`: "maybe" is no boolean'),
    ("${input.x as select/a,b}", "c", "`x`: `c` is not offered (a, b)"),
    ("${input.x as slider/0,1}", 2, "`x`: 2 is not between 0 and 1"),
    ("${input.x as json}", "[", '`x`: "[" is no JSON (Expecting value: line 1 column 2 (char 1))'),
]


@pytest.mark.parametrize(("text", "value", "problem"), PROBLEMS)
def test_what_is_wrong_with_an_answer(text: str, value: Any, problem: str | None) -> None:
    assert one(text).problem(value) == problem


def test_all_problems_at_once() -> None:
    inputs = asked("${input.a} ${input.b as integer} ${input.c.d} ${input.e | 1}")
    check_values(inputs, {"a": "x", "b": 3, "c": {"d": 1}})
    check_values(inputs, {"a": "x", "b": 3, "c.d": 1})
    with pytest.raises(InputError) as caught:
        check_values(inputs, {"b": "x", "c": 3}, hint="Give it with -i")
    assert caught.value.problems == {"a": "`a` is missing", "b": '`b`: "x" is no integer', "c.d": "`c.d` is missing"}
    assert str(caught.value).endswith("`c.d` is missing. Give it with -i")


@pytest.mark.parametrize("text", ["${input.l[0].x}", "${input.l[*].x}", '${input["a b"]}', "${input.l[0:1]}"])
def test_an_answer_is_found_where_the_path_leads(text: str) -> None:
    check_values(asked(text), {"l": [{"x": 1}], "a b": 2})
    with pytest.raises(InputError, match="is missing"):
        check_values(asked(text), {"l": 3})


NAMES_GIVEN: list[tuple[Any, dict[str, Any], dict[str, str]]] = [
    ("${input.prompt}", {"prompt": "a", "zzz": 1}, {}),
    ("${input.prompt} ${input.temperature | 1}", {"prompt": "a", "temprature": 1}, {"temprature": "temperature"}),
    ("${input.prompt}", {"promt": "a"}, {"promt": "prompt"}),
    ("${input.prompt}", {"prompt": "a", "prompts": 1}, {}),  # what it looks like is given as well
    ("${input.user.name}", {"user": {"name": "a", "nmae": "b"}}, {}),
    ("${input.user.name | x}", {"usre": {"name": "a"}}, {"usre": "user"}),
    ("${input.user.name | x}", {"user.nmae": "a"}, {"user.nmae": "user.name"}),
    ("${input.prompts[0] | x}", {"prompt": ["a"]}, {"prompt": "prompts"}),
    ("${input.prompts[0] | x}", {"prompts": ["a"]}, {}),
    # who takes the whole input may use any name
    (["${input.prompt | x}", "${input}"], {"promt": "a"}, {}),
    (["${input}", "${input.prompt | x}"], {"promt": "a"}, {}),
    ("${input}", {"promt": "a"}, {}),
    ("no inputs", {"promt": "a"}, {}),
]


@pytest.mark.parametrize(("value", "given", "near"), NAMES_GIVEN)
def test_a_name_that_looks_like_a_typo_is_a_problem(value: Any, given: dict[str, Any], near: dict[str, str]) -> None:
    try:
        check_values(asked(value), given)
        problems = {}
    except InputError as error:
        problems = {name: words for name, words in error.problems.items() if not words.endswith("is missing")}
    assert problems == {
        name: f"the workflow does not ask for `{name}`; did you mean `{right}`?" for name, right in near.items()
    }


def test_what_is_missing_is_said_before_what_looks_like_it() -> None:
    with pytest.raises(InputError) as caught:
        check_values(asked("${input.name}"), {"nme": "Ada"}, hint="Write it")
    sentence = "`name` is missing; the workflow does not ask for `nme`; did you mean `name`? Write it"
    assert caught.value.sentence == sentence


def test_a_whole_input_is_what_is_given() -> None:
    check_values(asked("${input}"), {})
    check_values(asked("${input}"), {"anything": 1})
    check_values((), 5)  # type: ignore[arg-type]  # `--input 5`
    check_values(asked("${input}"), ["anything"])  # type: ignore[arg-type]


def test_inputs_compare_by_what_a_face_shows() -> None:
    assert Input("x", cast=Cast("text", start=1)) == Input("x", cast=Cast("text", start=2))


ASKED: dict[str, tuple[str, list[str]]] = {
    "the branches of a condition as they are written": (
        """workflow:
  job:
    input: {"?": {input: "${input.test}", value: 1, if_true: "${input.yes}", if_false: "${input.no}"}}
component: {type: echo}
""",
        ["test", "yes", "no"],
    ),
    "a workflow that is given the whole input by its component": (
        """workflows:
  - {id: main, default: true, job: {component: w}}
  - {id: inner, job: {component: e}}
components:
  - {id: w, type: workflow, action: {workflow: inner, input: "${input}"}}
  - {id: e, type: echo, text: "${input.a} ${input.b as integer}"}
""",
        ["a", "b"],
    ),
    "a workflow that is given some of the input by its component": (
        """workflows:
  - {id: main, default: true, job: {component: w}}
  - {id: inner, job: {component: e}}
components:
  - {id: w, type: workflow, action: {workflow: inner, input: {a: "${input.c}"}}}
  - {id: e, type: echo, text: "${input.a} ${input.b as integer}"}
""",
        ["c"],
    ),
    "an empty input hides what the action asks for": (
        "workflow: {job: {input: {}}}\ncomponent: {type: echo, text: '${input.a}'}\n",
        [],
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_a_document_asks_for_in_its_order(name: str) -> None:
    text, names = ASKED[name]
    assert [one.name for one in composemagic.load(text).inputs] == names


def test_a_quoted_default_is_a_text_of_json_too() -> None:
    text = """workflow: {job: {input: {a: '${input.a as json | "q"}', b: '${input.b as json | "[1]"}'}}}
component: {type: echo, value: '${input}'}
"""
    workflow = composemagic.load(text)
    assert [one.default for one in workflow.inputs] == ["q", [1]]
    assert workflow().output == {"a": "q", "b": [1]}
