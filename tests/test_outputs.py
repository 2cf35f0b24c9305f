"""Workflow -> what it gives; and what it takes and gives as JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

import composemagic
from composemagic import Workflow
from composemagic.workflow.outputs import Output

ECHO = "component: {id: c, type: echo, value: 1}\n"


def gives(text: str, name: str | None = None) -> list[Any]:
    return [shown(one) for one in composemagic.load(text + "\n", name).outputs]


def shown(one: Output) -> Any:
    """An output as the table writes it: `name: type`, `[]` for a list; a group as its name, count and variables."""
    if one.repeat_count is not None:
        return (one.name, one.repeat_count, [shown(each) for each in one.variables])
    return f"{one.name}: {one.type}{'[]' if one.is_list else ''}"


# an output of the workflow, what it gives
TEMPLATES: list[tuple[str, list[str]]] = [
    ("${output.x}", [": string"]),
    ("${output.x as integer}", [": integer"]),
    ("${output as int}", [": integer"]),
    ("${output as text;sse-text}", [": stream"]),
    ("Hello ${output.x as number} and ${output.y}", [": number"]),
    ("{a: '${output.a as number}', b: {c: '${output.b}', d: ['${output.d as json}']}}", ["a: number", "b.c: string", "b.d[0]: json"]),
    ("['${output.a}', 1, '${output.b as boolean}']", ["[0]: string", "[2]: boolean"]),
    ("['...${output.a as list}']", ["[0]: list"]),
    ("{a: 1, b: text}", [": any"]),
    ("{}", [": any"]),
    ("{a: '${env.CM_X | 1}', b: '${input.b}'}", ["b: string"]),
    ("{a: '${env.CM_X | 1} ${input.b as integer}'}", ["a: integer"]),
    ('{"...": "${output}", k: "${input.k}"}', ["k: string"]),
    ('{r: {"*": "${output.l as object[]/id}", id: "${item.id}"}}', ["r: object[]"]),
    ('{r: {"*": {input: "${output.l}", where: {input: "${item.a as boolean}", value: true}}}}', ["r: string[]"]),
    ('{r: {"*": [1, 2]}}', ["r: any[]"]),
    ('{"*": "${output.l as json}"}', [": json[]"]),
    ('{r: {"?": {input: "${output.f as boolean}", value: true, if_true: "${output.g as integer}"}}}', ["r: integer"]),
    ('{r: {"?": [{input: 1, value: 2, if_false: "${output.g as number}"}]}}', ["r: number"]),
    ('{r: {"?": {input: 1, value: 2, if_true: {a: "${output.g}"}}}}', ["r: object"]),
    ('{r: {"?": {input: "${output.f}", value: 2, if_true: yes}}}', ["r: any"]),
    ('{r: {"+": ["${output.a as text}", "${output.b as json}"]}}', ["r: text"]),
    ('{r: {"+": ["a", "${output.b as json}"]}}', ["r: json"]),
    ('{r: {"&": {a: "${output.a as list}", b: "${output.b}"}}}', ["r: object[]"]),
    ('{r: {"|": "${output.a as json}", x: "${item.x}"}}', ["r: json"]),
    # of a name the first; without a name only where it comes first
    ('{a: {b: "${output.a as integer}"}, "a.b": "${output.b as text}"}', ["a.b: integer"]),
]  # fmt: skip


@pytest.mark.parametrize(("template", "wanted"), TEMPLATES)
def test_what_a_template_gives(template: str, wanted: list[str]) -> None:
    written = json.dumps(template) if template[0] not in "{[" else template
    assert gives(f"workflow: {{job: {{}}, output: {written}}}\n{ECHO}") == wanted


# the jobs and components, what they give
WORKFLOWS: dict[str, tuple[str, list[Any]]] = {
    "nothing is said": (f"workflow: {{job: {{}}}}\n{ECHO}", [": any"]),
    "the action's": ("component: {type: echo, output: {m: '${result.m as text}'}}", ["m: text"]),
    "the job's": ("workflow: {job: {output: '${output.x as number}'}}\n" + ECHO, [": number"]),
    "the job passes on": (
        "workflow: {job: {output: '${output}'}}\ncomponent: {type: echo, output: '${result as json}'}", [": json"],
    ),
    "the workflow passes on": (
        "workflow: {output: '${output}', job: {}}\ncomponent: {type: echo, output: {a: '${result as json}'}}", ["a: json"],
    ),
    "the workflow's": (
        "workflow: {output: {o: '${output.x}'}, job: {output: {j: '${output.x}'}}}\n" + ECHO, ["o: string"],
    ),
    "all last jobs": (
        "workflow: {jobs: [{id: a, output: {x: '${output as text}'}}, {id: b, output: {y: '${output}'}},"
        " {id: c, depends_on: [a], output: {z: '${output as integer}'}}]}\n" + ECHO, ["y: string", "z: integer"],
    ),
    "a reference makes a job none of the last": (
        "workflow: {jobs: [{id: a, output: {x: '${output}'}}, {id: b, input: '${jobs.a.output}', output: {y: '${output}'}}]}\n" + ECHO,
        ["y: string"],
    ),
    "both ways of a router": (
        "workflow: {jobs: [{id: r, type: if, input: 1, value: 1, if_true: a, if_false: b},"
        " {id: a, output: {x: '${output as text}'}}, {id: b, output: {y: '${output as json}'}}]}\n" + ECHO,
        ["x: text", "y: json"],
    ),
    "several at once": (
        "workflow: {jobs: [{id: j, name: Draw, repeat_count: 3, output: '${output as text}'}]}\n" + ECHO,
        [("Draw", 3, [": text"])],
    ),
    "several of nothing": ("workflow: {jobs: [{id: j, repeat_count: 2}]}\n" + ECHO, [("j", 2, [])]),
    "several constants": ("workflow: {jobs: [{id: j, repeat_count: 2, output: 7}]}\n" + ECHO, [("j", 2, [])]),
    "a constant": ("workflow: {jobs: [{id: j, output: 7}]}\ncomponent: {type: echo, output: {a: '${result}'}}\n", [": any"]),
    "once is no group": ("workflow: {jobs: [{id: j, repeat_count: 1, output: '${output.a}'}]}\n" + ECHO, [": string"]),
    "as many as asked for": (
        "workflow: {jobs: [{id: j, repeat_count: '${input.n}', output: {x: '${output}'}}]}\n" + ECHO, ["x: string"],
    ),
    "for each": (
        "workflow: {job: {id: f, type: for-each, input: '${input.l}', do: {output: {x: '${output as json}'}}}}\n" + ECHO,
        [("f", 0, ["x: json"])],
    ),
    "for each with an output of its own": (
        "workflow: {job: {type: for-each, input: [1], do: {}, output: {all: '${output as json}'}}}\n" + ECHO, ["all: json"],
    ),
    "the last step of a pipeline": (
        "workflow: {job: {type: pipeline, input: 1, steps: [{output: {a: '${output}'}}, {output: {b: '${output}'}}]}}\n" + ECHO,
        ["b: string"],
    ),
    "a loop's body": (
        "workflow: {job: {type: loop, do: {output: {a: '${output}'}}, until: {input: 1, value: 1}}}\n" + ECHO, ["a: string"],
    ),
    "what a fold leaves": (
        "workflow: {job: {type: accumulate, input: [1], do: {output: '${output as number}'}}}\n" + ECHO, [": number"],
    ),
    "a delay": ("workflow: {job: {type: delay, duration: 1, output: '${input.x as integer}'}}", [": integer"]),
    "a filter": ("workflow: {job: {type: filter, input: [1]}}", [": any"]),
    "a fan-out": ("workflow: {job: {type: fan-out, input: '${input}', output: [a, b]}}", [": any"]),
    "an inner workflow": (
        "workflows: [{id: m, default: true, job: {component: w}}, {id: i, job: {component: c, output: {a: '${output as json}'}}}]\n"
        "components: [{id: w, type: workflow, workflow: i}, {id: c, type: echo}]", ["a: json"],
    ),
    "an inner workflow whose output is read": (
        "workflows: [{id: m, default: true, job: {component: w}}, {id: i, job: {component: c}}]\n"
        "components: [{id: w, type: workflow, action: {workflow: i, output: {b: '${output.x as text}'}}}, {id: c, type: echo}]",
        ["b: text"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_workflow_gives(name: str) -> None:
    text, wanted = WORKFLOWS[name]
    assert gives(text) == wanted


def test_what_is_said_of_an_output_is_kept() -> None:
    text = (
        "workflow: {job: {}, output: {k: '${output.k as select/a,b | a @(title Kind) @(description which)}'}}\n" + ECHO
    )
    (found,) = composemagic.load(text).outputs
    assert (found.options, found.default, found.label, found.description) == (("a", "b"), "a", "Kind", "which")


# ── JSON Schema ──

# the references in an action, what its workflow takes
TAKES: list[tuple[str, dict[str, Any]]] = [
    ("${input.a}", {"properties": {"a": {"type": "string"}}, "required": ["a"]}),
    ("${input.a as text | hi}", {"properties": {"a": {"type": "string", "default": "hi"}}}),
    ("${input.a as integer | 5}", {"properties": {"a": {"type": "integer", "default": 5}}}),
    ("${input.a | 0.7}", {"properties": {"a": {"type": "number", "default": 0.7}}}),
    ("${input.a as boolean | yes}", {"properties": {"a": {"type": "boolean", "default": True}}}),
    ("${input.a as select/x,y | x}", {"properties": {"a": {"type": "string", "enum": ["x", "y"], "default": "x"}}}),
    (
        "${input.a as slider/0,2,0.1 | 1}",
        {"properties": {"a": {"type": "number", "minimum": 0.0, "maximum": 2.0, "default": 1.0}}},
    ),
    (
        "${input.a as text | null}",
        {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}}},
    ),
    ("${input.a as json | null}", {"properties": {"a": {"default": None}}}),
    ("${input.a as integer[]}", {"properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "required": ["a"]}),
    ("${input.a as list | [1]}", {"properties": {"a": {"type": "array", "default": [1]}}}),
    ('${input.a as object | {"b": 1}}', {"properties": {"a": {"type": "object", "default": {"b": 1}}}}),
    ("${input.a as json}", {"properties": {"a": {}}, "required": ["a"]}),
    ("${input.a as markdown}", {"properties": {"a": {"type": "string", "contentMediaType": "text/markdown"}}, "required": ["a"]}),
    ("${input.a as image}", {"properties": {"a": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}}, "required": ["a"]}),
    ("${input.a as image/png;base64}", {"properties": {"a": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}}, "required": ["a"]}),
    ("${input.a as audio;url}", {"properties": {"a": {"type": "string", "format": "uri", "contentMediaType": "audio/*"}}, "required": ["a"]}),
    ("${input.a as file;path}", {"properties": {"a": {"type": "string"}}, "required": ["a"]}),
    ("${input.a as base64}", {"properties": {"a": {"type": "string", "contentEncoding": "base64"}}, "required": ["a"]}),
    ("${input.a as number | nan}", {"properties": {"a": {"type": "number"}}}),
    (
        "${input.a @(title A) @(description what it is)}",
        {"properties": {"a": {"type": "string", "title": "A", "description": "what it is"}}, "required": ["a"]},
    ),
    (
        "${input.u.name} ${input.u.age as integer | 1} ${input.u.tags[0]}",
        {
            "properties": {
                "u": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "age": {"type": "integer", "default": 1},
                        "tags": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["name", "tags"],
                }
            },
            "required": ["u"],
        },
    ),
    (
        "${input.l[*].n as number} ${input.l as json}",
        {
            "properties": {"l": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}}},
            "required": ["l"],
        },
    ),
    ('${input["a b"]}', {"properties": {"a b": {"type": "string"}}, "required": ["a b"]}),
    ("${input} ${input.a | 1}", {"properties": {"a": {"type": "integer", "default": 1}}}),
    ("nothing", {"properties": {}}),
]  # fmt: skip


def asking(text: str) -> Workflow:
    return composemagic.load(f"component:\n  type: echo\n  value: {json.dumps(text)}\n")


@pytest.mark.parametrize(("text", "wanted"), TAKES)
def test_what_a_workflow_takes_as_json_schema(text: str, wanted: dict[str, Any]) -> None:
    found = asking(text.replace("| 1}", "| 1}")).input_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    json.dumps(found, allow_nan=False)
    assert found == {"type": "object", **wanted}


def test_a_workflow_that_takes_anything_takes_no_object() -> None:
    assert asking("${input}").input_schema() == {}
    assert asking("${input as integer}").input_schema() == {"type": "integer"}


def test_values_that_fit_are_the_schemas_as_well() -> None:
    workflow = asking("${input.n as integer | 3} ${input.s as select/a,b} ${input.t as slider/0,1 | 0.5}")
    check = jsonschema.Draft202012Validator(workflow.input_schema())
    for good in ({"s": "a"}, {"s": "b", "n": 1, "t": 1}):
        workflow.check(good)
        assert check.is_valid(good)
    for bad in ({}, {"s": "c"}, {"s": "a", "t": 2}, {"s": "a", "n": "x"}):
        assert not check.is_valid(bad)
        with pytest.raises(composemagic.InputError):
            workflow.check(bad)


def test_one_input_as_json_schema() -> None:
    (found,) = asking("${input.s as select/a,b | a}").inputs
    assert found.to_json_schema() == {"type": "string", "enum": ["a", "b"], "default": "a"}


# the workflow's output, what it gives
GIVES: list[tuple[str, dict[str, Any]]] = [
    ("${output as number}", {"type": "number"}),
    ("${output as json}", {}),
    ("1", {}),
    ("${output as stream/text}", {"type": "string"}),
    (
        "{a: {b: '${output.a as integer}'}, c: '${output.c as text[]}'}",
        {
            "type": "object",
            "properties": {
                "a": {"type": "object", "properties": {"b": {"type": "integer"}}},
                "c": {"type": "array", "items": {"type": "string"}},
            },
        },
    ),
    ("['${output.a}', '${output.b}']", {"type": "array"}),
]


@pytest.mark.parametrize(("template", "wanted"), GIVES)
def test_what_a_workflow_gives_as_json_schema(template: str, wanted: dict[str, Any]) -> None:
    written = json.dumps(template) if template[0] not in "{[" else template
    found = composemagic.load(f"workflow: {{job: {{}}, output: {written}}}\n{ECHO}").output_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    assert found == wanted


def test_many_of_the_same_are_a_list() -> None:
    one = composemagic.load("workflow: {jobs: [{id: j, repeat_count: 3, output: '${output as text}'}]}\n" + ECHO)
    assert one.output_schema() == {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 3}
    each = composemagic.load(
        "workflow: {job: {type: for-each, input: [1], do: {output: {a: '${output as integer}'}}}}\n" + ECHO
    )
    items = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert each.output_schema() == {"type": "array", "items": items}
