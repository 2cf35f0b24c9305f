"""The OpenAPI document: what it says is what the server does. Strict requests are measured by the schema that it publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from composemagic.api import Workflow, load
from composemagic.server.conforming import problems
from composemagic.server.inputs import check, checked_schema, with_files
from composemagic.server.openapi import document
from composemagic.server.refusals import Refusal
from composemagic.server.tasks import Tasks
from tests.api_server import Api, api

schemathesis = pytest.importorskip("schemathesis")

INPUTS = """
        n: "${input.n as integer}"
        k: "${input.k as number | 0.7}"
        m: "${input.m as select/a,b | b}"
        s: "${input.s as slider/0,1,0.1 | 0.5}"
        b: "${input.b as boolean | false}"
        t: "${input.t as text @(description What it is about)}"
        j: "${input.j as json | {}}"
        l: "${input.l as text[] | []}"
        d: "${input.d.e as text}"
        f: "${input.f as file | null}"
        g: "${input.g as image;base64 | null}"
        u: "${input.u as image;data-uri | null}"
"""
DOCUMENT = f"""
workflows:
  - id: typed
    default: true
    title: Typed
    description: Everything that can be asked for.
    job:
      component: e
      input:{INPUTS}
      output: {{n: "${{output.n}}", t: "${{output.t}}"}}
  - {{id: whole, job: {{component: e, input: "${{input}}"}}}}
  - {{id: streams, job: {{component: w, output: "${{output as stream/text}}"}}}}
  - {{id: ask, jobs: [{{id: j, component: e, interrupt: {{before: true}}}}]}}
  - {{id: "a b/ü", job: {{component: e, input: {{x: "${{input.x}}"}}}}}}
  - {{id: hidden, private: true, job: {{component: e}}}}
components:
  - {{id: e, type: echo}}
  - {{id: w, type: echo, action: {{text: "${{input.prompt as text}}"}}}}
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Api]:
    with api(DOCUMENT) as found:
        yield found


@pytest.fixture(scope="module")
def told(served: Api) -> dict[str, Any]:
    answer = httpx.get(f"{served.url}/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def test_the_document(told: dict[str, Any]) -> None:
    assert told["openapi"] == "3.1.0"
    assert sorted(path.removeprefix("/api") for path in told["paths"]) == [
        "/health", "/openapi.json", "/tasks/{task_id}", "/tasks/{task_id}/cancel", "/tasks/{task_id}/events",
        "/tasks/{task_id}/resume", "/tasks/{task_id}/stream", "/workflows", "/workflows/runs",
        "/workflows/{workflow_id}/schema",
    ]  # fmt: skip
    assert "hidden" not in json.dumps(told)
    schemas = told["components"]["schemas"]
    for name in schemas:
        jsonschema.Draft202012Validator.check_schema(schemas[name])
    assert {"Run.typed", "Run.whole", "Run.a.20b.2f.fc"} <= set(schemas)
    assert schemas["Run.typed"]["description"] == "Everything that can be asked for."
    given = schemas["Run.typed"]["allOf"][1]["anyOf"][0]["properties"]["input"]
    assert given["properties"]["t"] == {"type": "string", "minLength": 1, "description": "What it is about"}
    assert given["properties"]["k"] == {"anyOf": [{"type": "number"}, {"type": "null"}], "default": 0.7}
    assert sorted(given["required"]) == ["d", "n", "t"]


@pytest.mark.parametrize("place", ["a%20b%2F%C3%BC", "a%20b/%C3%BC"])
def test_a_workflow_with_a_slash_in_its_id_has_a_schema(place: str, served: Api) -> None:
    assert httpx.get(f"{served.url}/workflows/{place}/schema").json()["workflow_id"] == "a b/ü"


def test_every_status_it_names_is_described(told: dict[str, Any]) -> None:
    references = [part for part in json.dumps(told).split('"') if part.startswith("#/components/")]
    for reference in references:
        place: Any = told
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def resolved(told: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**told, "$ref": f"#/components/schemas/{name}"})


@pytest.mark.parametrize(
    ("name", "body", "is_described"),
    [
        ("Run.whole", {"workflow_id": "whole", "input": [1]}, True),
        ("Run.whole", {"input": [1]}, False),
        ("Run.typed", {}, True),
        ("Run.typed", {"workflow_id": "__default__"}, True),
        ("Run.typed", {"input": {"n": "1"}}, True),
        ("Run.typed", {"input": {"n": "1"}, "strict": True}, False),
        ("Run.typed", {"strict": True}, False),
        ("Run.typed", {"input": {"n": 1, "t": "x", "d": {"e": "y"}}, "strict": True}, True),
        ("Run.typed", {"wait_for_completion": False, "output_only": True}, False),
        ("Run.typed", {"wait_for_completion": False, "subscribe_task": True}, True),
        ("Run.typed", {"subscribe_task": True}, False),
        ("Run.typed", {"imput": {}}, False),
        ("Run.typed", {"output_only": None}, False),
    ],
)
def test_a_body_is_taken_where_it_is_described(
    served: Api, told: dict[str, Any], name: str, body: dict[str, Any], is_described: bool
) -> None:
    assert resolved(told, name).is_valid(body) is is_described
    answer = httpx.post(f"{served.url}/workflows/runs", json=body)
    taken = answer.status_code not in (400, 422) or (not body.get("strict") and answer.json().get("task_id"))
    assert bool(taken) is (is_described or body == {"input": [1]})  # which the default one takes


# -- strict


@pytest.fixture(scope="module")
def typed() -> Workflow:
    return load(DOCUMENT, "typed")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 2)
    | st.sampled_from(["", "a", "b", "5", "eA==", "data:;base64,eA=="])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("nktde"), inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.fixed_dictionaries(
    {"n": st.integers(-3, 3) | VALUES, "t": st.just("x") | VALUES, "d": st.just({"e": "y"}) | VALUES},
    optional=dict.fromkeys("kmsbjlfgux", VALUES),
)  # fmt: skip


@pytest.fixture(scope="module")
def standard(typed: Workflow) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(checked_schema(typed.inputs))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OBJECTS | VALUES)
def test_our_reading_of_the_schema_is_the_standard_one(standard: jsonschema.Draft202012Validator, value: Any) -> None:
    assert (not list(problems(value, standard.schema))) is standard.is_valid(value)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OBJECTS)
def test_what_the_schema_takes_the_workflow_takes(
    typed: Workflow, standard: jsonschema.Draft202012Validator, value: Any
) -> None:
    is_valid = standard.is_valid(value)
    try:
        check(typed, value, is_text=False)
    except Refusal as refused:
        assert not is_valid, refused.problems
        assert refused.status == 422 and refused.problems
        return
    assert is_valid


CASTS = ["text", "string", "markdown", "base64", "image", "file", "audio;base64", "video;data-uri", "image;url", "file[]",
         "text[]", "json", "any", "object", "list", "integer", "boolean", "select/a,b", "slider/0,1"]  # fmt: skip


@pytest.mark.parametrize("value", ["", [], [""], {}, None, "data:;base64,"], ids=json.dumps)
@pytest.mark.parametrize("cast", CASTS)
def test_nothing_as_the_value_of_what_is_required(cast: str, value: Any) -> None:
    workflow = load(f'component: {{type: echo, value: "${{input.x as {cast}}}"}}')
    is_valid = jsonschema.Draft202012Validator(checked_schema(workflow.inputs)).is_valid({"x": value})
    try:
        check(workflow, {"x": value}, is_text=False)
    except Refusal as refused:
        assert not is_valid, refused.problems
    else:
        assert is_valid


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"f": "eA=="}, b"x"),
        ({"f": "data:text/plain;base64,eA=="}, b"x"),
        ({"f": "no base64!"}, "no base64!"),
        ({"f": None}, None),
        ({"f": {"x": 1}}, {"x": 1}),
    ],
)
def test_files_in_json(typed: Workflow, value: dict[str, Any], found: Any) -> None:
    assert with_files(typed, value)["f"] == found


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("https://example.com", True),
        ("http://a.163.com:8080/图.png", True),
        ("https://h/?q=%20#x", True),
        ("http://a b/", False),
        ("http://a/\x01", False),
        ("http://x:0/", False),
        ("http://me@h/", False),
        ("http://127.0.0.1/", False),
        ("http://2130706433", False),
        ("http://[::1]/", False),
        ("ftp://h/", False),
        ("", False),
    ],
)
def test_an_address_that_the_schema_takes_is_one(address: str, fits: bool) -> None:
    schema = checked_schema(load('component: {type: echo, value: "${input.u as image;url}"}').inputs)
    assert (not any(problems({"u": address}, schema))) is fits
    assert jsonschema.Draft202012Validator(schema).is_valid({"u": address}) is fits


def test_files_deeper_down_and_in_lists() -> None:
    deep = load('workflow: {job: {input: {x: "${input.a.f as image[]}"}}}\ncomponent: {type: echo}')
    given = {"a": {"f": ["eA==", "data:image/png;base64,eQ=="], "g": 1}}
    found = with_files(deep, given)
    assert found == {"a": {"f": [b"x", b"y"], "g": 1}}
    assert found["a"]["f"][1].content_type == "image/png"
    assert given["a"]["f"][0] == "eA==", "what was given stays as it is"
    assert with_files(deep, "text") == "text"
    assert with_files(deep, {"a": 5}) == {"a": 5}


def test_a_server_without_workflows() -> None:
    told = document(Tasks([]), "")
    assert told["components"]["schemas"]["NoRun"] == {"not": {}}
    assert "/workflows/runs" in told["paths"]


# -- schemathesis: a small budget; a large one is `schemathesis run http://localhost:8080/api/openapi.json`


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_schemathesis_finds_nothing(served: Api, mode: Any) -> None:
    """What is described is taken, what is not is refused, and every answer is one that is described."""
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 9  # all but the document itself
    for operation in operations:
        # nothing that could be wrong in it
        if mode is schemathesis.GenerationMode.NEGATIVE and not (operation.body or len(operation.query)):
            continue

        @settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def holds(case: Any) -> None:
            case.call_and_validate()

        holds()
