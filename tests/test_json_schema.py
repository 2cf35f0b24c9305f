"""The JSON Schema for editors says of a document what the loader says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pytest
from jsonschema import Draft7Validator

from composemagic import components
from composemagic.components.described import language
from composemagic.errors import ComposeError, DocumentError
from composemagic.language.document import parse
from composemagic.workflow import load as loading
from composemagic.workflow.component import Component, Settings
from composemagic.workflow.json_schema import json_schema
from composemagic.workflow.schema import LATER_COMPONENT_TYPES
from tests.conftest import ROOT

SCHEMA = language()
VALIDATOR = Draft7Validator(SCHEMA)
LINES = (ROOT / "tests/data/language.jsonl").read_text(encoding="utf-8").splitlines()
DOCUMENTS = {row["id"]: row["yaml"] for row in map(json.loads, LINES) if "yaml" in row}


def load(text: str) -> loading.Loaded:
    return loading.load(text, components.find, known_types=components.known(), name="this text")


def wrong(text: str) -> list[str]:
    """Where the schema finds something wrong in a YAML text."""
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(parse(text, "this text").data)]


def loadable() -> Iterator[str]:
    for name, text in DOCUMENTS.items():
        try:
            load(text)
        except ComposeError:
            continue
        yield name


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_reference_leads_somewhere() -> None:
    wanted = {value for key, value in walk(SCHEMA) if key == "$ref"}
    assert {name.removeprefix("#/definitions/") for name in wanted} == set(SCHEMA["definitions"])


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def test_what_loads_is_valid() -> None:
    names = list(loadable())
    assert len(names) > 100
    assert {name: found for name in names if (found := wrong(DOCUMENTS[name]))} == {}


# -- typos ---------------------------------------------------------------------------------------------------------------

TYPOS = {
    "at the top": ["workfow: {job: {}}", "componet: {type: echo}", "controler: {}", "contoller: {port: 8080}"],
    "the controller": ["controller: {prot: 8080}", "controller: {adapter: {type: http-server, base_pth: /api}}",
                       "controller: {type: http-server, webiu: {port: 80}}", "controller: {webui: {drvier: gradio}}"],
    "a workflow": ["workflow: {titel: T, job: {}}", "workflow: {desciption: T}", "workflows: [{id: a, jbos: []}]",
                   "workflow: {jobs: [{}], ouput: x}", "workflow: {inptu: {}, component: c}", "workflows: {a: {ttle: T}}"],
    "a job": ["workflow: {job: {componnt: c}}", "workflow: {jobs: [{actoin: a}]}", "workflow: {job: {imput: {}}}",
              "workflow: {jobs: {a: {ouptut: x}}}", "workflow: {job: {dependson: []}}", "workflow: {job: {max_runs: 3}}"],
    "a component": ["component: {type: echo, actoin: {text: hi}}", "component: {type: echo, txt: hi}",
                    "component: {type: http-client, base_ulr: http://x, action: {path: /y}}",
                    "component: {type: http-client, base_url: http://x, header: {}, action: {path: /y}}",
                    "component: {type: http-client, endpiont: http://x}", "component: {type: echo, titel: T}"],
    "an action": ["component: {type: echo, action: {text: hi, ouput: x}}", "component: {type: echo, action: {texts: hi}}",
                  "component: {type: http-client, base_url: http://x, action: {path: /y, stream_fromat: json}}",
                  "component: {type: http-client, action: {endpoint: http://x, bdy: {}}}",
                  "component: {type: http-client, actions: [{id: a, endpoint: http://x, parms: {}}]}",
                  "component: {type: http-client, actions: {a: {endpoint: http://x, mehtod: GET}}}",
                  "component: {type: http-client, actoins: [{endpoint: http://x}]}"],
    "an inline component": ["workflow: {job: {component: {type: echo, tect: hi}}}",
                            "workflow: {job: {component: {type: echo, action: {vlaue: hi}}}}"],
    "a job of a kind": ["{type: if, input: 1, oprator: gt, if_true: a}", "{type: if, input: 1, conditions: [{if_ture: a}]}",
                        "{type: switch, input: 1, cases: [{valeu: 1, then: a}]}", "{type: switch, input: 1, otherwize: a}",
                        "{type: random-router, routings: [{to: a, wieght: 1}]}", "{type: random-router, salz: x, routings: []}",
                        "{type: for-each, itmes: [], do: {}}", "{type: for-each, input: [], do: {compnent: c}}",
                        "{type: loop, untill: {}, do: {}}", "{type: loop, until: {operater: eq}, do: {}}",
                        "{type: loop, until: {all: [{inptu: 1}]}, do: {}}", "{type: delay, duraton: 1s}",
                        "{type: filter, input: [], were: {}}", "{type: filter, input: [], where: {vlaue: 1}}",
                        "{type: accumulate, acumulator: 0, do: {}}", "{type: fan-out, output: [x], bufer_size: 3}",
                        "{type: pipeline, stpes: []}", "{type: pipeline, steps: [{actoin: x}]}"],
    "around a job": ["{retry: {max_attempts: 3}}", "{on_error: {outptu: x}}", "{interrupt: {befor: true}}",
                     "{interrupt: {before: {mesage: x}}}", "{hook: {befor: {script: x}}}", "{hook: {after: {scrpt: x}}}"],
}  # fmt: skip


@pytest.mark.parametrize("text", [pytest.param(text, id=text) for texts in TYPOS.values() for text in texts])
def test_a_typo_is_refused_by_both(text: str) -> None:
    if text.startswith("{"):
        text = f"component: {{type: echo}}\nworkflow: {{jobs: [{text}, {{id: a}}]}}"
    with pytest.raises(DocumentError) as caught:
        load(text)
    assert [mistake for mistake in caught.value.mistakes if mistake.sentence.startswith("unknown key")]
    assert wrong(text)


# -- values --------------------------------------------------------------------------------------------------------------

JOB = "component: {type: echo}\nworkflow:\n  job: "
RIGHT = [
    "controller: {port: '8080'}\ncomponent: {type: echo}",
    "controller: {port: '${env.PORT | 8080}'}\ncomponent: {type: echo}",
    "controller:\ncomponent: {type: echo}",
    "component: {type: echo, x-mine: 1}\nx-mine: [1]\nworkflow: {x-mine: 1, job: {x-mine: 1}}",
    "component: {type: echo, action: }",
    "components: {a: {type: echo, text: hi}, b: {type: echo, action: {text: hi}}}\nworkflow: {component: a}",
    "component: {type: echo}\nworkflow:",
    "component: {type: echo}\nworkflow: {job: }",
    "component: {type: http-client, endpoint: 'http://x', stream_format: '${input.format | json}'}",
    "tracer: {anything: 1}\ncomponent: {type: echo}",
    f"{JOB}{{type: action, retry: 3, max_run_count: '2', depends_on: []}}",
    f"{JOB}{{type: component, on_error: Ignore, interrupt: {{before: true, after: {{message: hi}}}}, hook: {{before: []}}}}",
    f"{JOB}{{retry: {{max_attempt_count: 2, backoff: exponential, delay: 1s}}, interrupt: false, on_error: {{output: x}}}}",
    f"{JOB}{{type: filter, input: [1], when: {{input: '${{item}}', operator: gt, value: 1}}}}",
    f"{JOB}{{type: filter, output: {{a: 1}}}}",
    f"{JOB}{{type: for-each, input: [1], batch_size: '${{input.n}}', do: {{type: loop, do: {{}}, while: {{not: {{input: 1}}}}}}}}",
    f"{JOB}{{type: pipeline, steps: [{{}}, {{type: component, component: {{type: echo, text: hi}}}}]}}",
    "component: {type: echo}\nworkflow: {jobs: [{type: random-router, routings: [{target: a}]}, {id: a}]}",
    "component: {type: echo}\nworkflow: {jobs: [{type: if, conditions: {operator: eq, if_true: a}}, {id: a}]}",
    "component: {type: echo}\nworkflow: {jobs: [{on_error: {target: a}}, {id: a}]}",
    "component: {type: http-client, endpoint: 'http://x', response_type: json}",
    "controller: {type: mcp-server, whatever: 1}\ncomponent: {type: echo}",
    "controller: {adapter: {type: mcp-server, whatever: 1}}\ncomponent: {type: echo}",
]
WRONG = [
    "component: {type: echoo}",
    "component: {text: hi}",
    "component: {type: http-client, endpoint: http://x, stream_format: yaml}",
    "component: {type: http-client, endpoint: http://x, headers: [a]}",
    "controller: {port: 99999}\ncomponent: {type: echo}",
    "controller: {port: many}\ncomponent: {type: echo}",
    "component: {type: echo, default: 'yes'}",
    "component: [{type: echo}]",
    "components: {type: echo}",
    "component: {type: echo}\ncomponents: [{type: echo}]",
    "workflow: {title: [T]}\ncomponent: {type: echo}",
    "workflow: {job: {type: compnent}}\ncomponent: {type: echo}",
    "workflow: {job: {component: 3}}\ncomponent: {type: echo}",
    "component: {type: echo, action: {text: hi}, text: ho}",
    f"{JOB}{{retry: often}}",
    f"{JOB}{{on_error: carry on}}",
    f"{JOB}{{type: loop, do: {{}}, until: done}}",
    f"{JOB}{{type: for-each, input: [1]}}",
    f"{JOB}{{type: for-each, do: {{type: switch}}}}",
    f"{JOB}{{type: random-router, routings: []}}",
    f"{JOB}{{type: filter, where: {{input: 1, operator: ge}}}}",
    f"{JOB}{{interrupt: [before]}}",
    f"{JOB}{{max_run_count: 0}}",
    "controller: {adapter: 3}\ncomponent: {type: echo}",
    "controller: 3\ncomponent: {type: echo}",
]


@pytest.mark.parametrize("text", RIGHT)
def test_right(text: str) -> None:
    load(text)
    assert wrong(text) == []


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text: str) -> None:
    with pytest.raises(DocumentError):
        load(text)
    assert wrong(text)


@pytest.mark.parametrize("kind", [name for name in LATER_COMPONENT_TYPES if name not in components.known()])
def test_a_type_that_is_known_by_name_only_is_free(kind: str) -> None:
    assert wrong(f"component: {{type: {kind}, whatever: [1], action: {{anything: 1}}}}") == []


@pytest.mark.parametrize(
    "text",
    [
        "component: {type: '${env.X}', whatever: 1}",
        "workflow: {default: '${env.X}', private: '${env.X}'}",
        "controller: {adapter: {port: '${env.X}'}, webui: '${env.X}'}",
        "component: {type: http-client, headers: '${env.X}', actions: [{endpoint: x, stream_format: '${input.x}'}]}",
        "workflow: {job: {type: for-each, batch_size: '${input.x}', streaming: '${input.x}', do: {}}}",
    ],
)
def test_a_template_stands_where_a_value_does(text: str) -> None:
    assert wrong(text) == []


# -- what an editor shows ------------------------------------------------------------------------------------------------


def test_every_type_and_its_keys_are_there() -> None:
    for kind in components.known():
        found = components.find(kind)
        assert found is not None
        keys = SCHEMA["definitions"][f"action.{kind}"]["properties"]
        assert set(keys) >= {*found.action.model_fields, "output", "id"}
        nested, flat = (SCHEMA["definitions"][f"component.{kind}"][branch]["properties"] for branch in ("then", "else"))
        assert set(nested) >= {*found.settings.model_fields, "action", "actions", "id", "type"}
        assert set(flat) >= {*found.settings.model_fields, *found.action.model_fields, "output", "type"}


def test_keys_say_what_they_are() -> None:
    keys = SCHEMA["definitions"]["action.echo"]["properties"]
    assert keys["delay"]["description"] == "`delay`: seconds before each word"
    formats = SCHEMA["definitions"]["action.http-client"]["properties"]["stream_format"]["anyOf"]
    assert formats[0] == {"enum": ["json", "text", "server-sent-events", "json-lines"]}
    kinds = SCHEMA["definitions"]["component"]["properties"]["type"]["anyOf"]
    described = {one["const"]: one["description"] for one in kinds if "const" in one}
    assert list(described) == components.known()
    assert all(described.values())


class LampSettings(Settings):
    """`room`: where it stands."""

    room: str


class LampAction(Settings):
    """`colour`: red or green. `level` is its brightness; `times` how often, `on` for how many seconds."""

    colour: Literal["red", "green"]
    level: int | None = None
    times: list[int] | None = None
    on: float = 1
    off: bool = False


class Lamp(Component):
    """Gives light."""

    type: ClassVar[str] = "lamp"
    settings: ClassVar[type[Settings]] = LampSettings
    action: ClassVar[type[Settings]] = LampAction


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("{type: lamp, room: hall, action: {colour: red, level: 3, times: [1, 2], on: 1.5, off: true}}", True),
        ("{type: lamp, room: hall, action: {colour: '${input.c}', level: '3', times: '${input.t}', off: '${input.o}'}}", True),
        ("{type: lamp, room: hall, colour: red, level: null}", True),
        ("{type: lamp, action: {colour: red}}", False),
        ("{type: lamp, room: hall, action: {level: 1}}", False),
        ("{type: lamp, room: hall, action: {colour: blue}}", False),
        ("{type: lamp, room: hall, action: {colour: red, level: 1.5}}", False),
        ("{type: lamp, room: hall, action: {colour: red, level: bright}}", False),
        ("{type: lamp, room: hall, action: {colour: red, times: [1, x]}}", False),
        ("{type: lamp, room: hall, action: {colour: red, on: true}}", False),
        ("{type: lamp, room: hall, action: {colour: red, off: 1}}", False),
    ],
)  # fmt: skip
def test_a_type_of_ones_own(text: str, right: bool) -> None:
    undo = components.register(Lamp)
    try:
        validator = Draft7Validator(language())
        assert validator.is_valid(parse(f"component: {text}", "this text").data) is right
    finally:
        undo()


def test_a_clause_stands_with_its_key() -> None:
    made = json_schema({"lamp": Lamp})["definitions"]["action.lamp"]
    about = {key: value.get("description") for key, value in made["properties"].items()}
    assert about["colour"] == "`colour`: red or green."
    assert about["times"] == about["on"] == "`times` how often, `on` for how many seconds."
    assert made["required"] == ["colour"]
