"""YAML -> a checked workflow, or all its mistakes. tests/test_mistakes.py draws them."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import composemagic
from composemagic import components
from composemagic.api import load_all
from composemagic.components.echo import Echo
from composemagic.errors import DocumentError, UsageError
from composemagic.workflow import schema
from composemagic.workflow.component import Settings
from composemagic.workflow.load import Loaded
from composemagic.workflow.load import load as load_document

DATA = Path(__file__).parent / "data"
SEED = (DATA / "seed.yml").read_text("utf-8")


def load(text: str, **more: Any) -> Loaded:
    return load_document(text, components.find, known_types=components.known(), name="this text", **more)


# ── mistakes ──


def test_a_mistake_is_drawn_at_its_line_of_the_cell() -> None:
    with pytest.raises(DocumentError) as caught:
        load("component: {type: ecco}", first_line=2)
    assert "\n   2 | component: {type: ecco}" in str(caught.value)


def test_one_mistake_is_said_once_however_many_workflows_meet_it() -> None:
    text = "workflows: [{id: a}, {id: b}]\ncomponent: {type: echo, text: '${inptu}'}\n"
    with pytest.raises(DocumentError, match=r"^compose: 1 mistake in"):
        load(text)


# ── the seed and its usual changes ──


def asked(text: str) -> dict[str, Any]:
    """The inputs by name: their type, and their default where they have one."""
    workflow = composemagic.load(text)
    return {one.name: (one.type, one.default) if one.has_default else one.type for one in workflow.inputs}


USUAL = {"prompt": "text", "temperature": ("number", 0.7)}
HISTORY = "      - role: user\n"
CHANGES: dict[str, tuple[list[tuple[str, str]], dict[str, Any]]] = {
    "as it stands": ([], USUAL),
    "another model": ([("gpt-4o\n    messages", "gpt-4o-mini\n    messages")], USUAL),
    "a model that is asked for": (
        [("model: gpt-4o\n", "model: ${input.model as select/gpt-4o,gpt-4o-mini | gpt-4o}\n")],
        {"model": ("select", "gpt-4o"), **USUAL},
    ),
    "a system message": (
        [(HISTORY, "      - role: system\n        content: ${input.system | You are a helpful assistant.}\n" + HISTORY)],
        {"system": ("string", "You are a helpful assistant."), **USUAL},
    ),
    "max_tokens": (
        [("    streaming", "    max_tokens: ${input.max_tokens as number | 1000}\n    streaming")],
        {**USUAL, "max_tokens": ("number", 1000.0)},
    ),
    "history": ([(HISTORY, "      - ...${input.history}\n" + HISTORY)], {"history": "list", **USUAL}),
    "history with a default": (
        [(HISTORY, "      - ...${input.history as list | []}\n" + HISTORY)],
        {"history": ("list", []), **USUAL},
    ),
    "history with a default and no cast": (
        [(HISTORY, "      - ...${input.history | []}\n" + HISTORY)],
        {"history": ("list", []), **USUAL},
    ),
    "stream": ([("streaming: true", "stream: true")], USUAL),
    "today's cast": ([("text;sse-text", "stream/text")], USUAL),
    "a JSON stream": ([("text;sse-text", "text;sse-json")], USUAL),
    "today's JSON stream": ([("text;sse-text", "stream/json")], USUAL),
    "no streaming": (
        [
            ("    streaming: true\n  stream_format: json\n", ""),
            ("response[].choices[0].delta", "response.choices[0].message"),
            ("output as text;sse-text", "output as text"),
        ],
        USUAL,
    ),
    "without a controller": ([(SEED[: SEED.index("workflow:")], "")], USUAL),
    "without a workflow": ([(SEED[SEED.index("workflow:") : SEED.index("component:")], "")], USUAL),
    "a local server": ([("https://api.openai.com/v1", "http://127.0.0.1:11434/v1")], USUAL),
    "an address from the environment": ([("https://api.openai.com/v1", "${env.OPENAI_BASE_URL | https://api.openai.com/v1}")], USUAL),
    "ports from the environment": ([("port: 8080", "port: ${env.CM_NO_SUCH_PORT | 8080}")], USUAL),
    "CRLF": ([("\n", "\r\n")], USUAL),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_the_seed_and_its_usual_changes_load(name: str) -> None:
    changes, inputs = CHANGES[name]
    text = SEED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    assert asked(text) == inputs


def test_the_seed_says_what_was_read() -> None:
    assert composemagic.load(SEED).notes == (
        "read as: flat `controller` -> `controller.adapter`; an action's fields on the component -> `action`; "
        "`streaming: true` -> `stream: true`; a job's fields on the workflow -> `job`; "
        "`as text;sse-text` -> `as stream/text`",
    )


TODAY = """\
controller:
  adapter:
    type: http-server
    port: 8080
    base_path: /api
  webui:
    driver: gradio
    port: 8081
workflow:
  title: Chat with OpenAI GPT-4o
  job:
    component: chat
    input: ${input}
    output: ${output as stream/text}
component:
  id: chat
  type: http-client
  base_url: https://api.openai.com/v1
  headers:
    Authorization: Bearer ${env.OPENAI_API_KEY}
    Content-Type: application/json
  action:
    path: /chat/completions
    body:
      model: gpt-4o
      messages:
        - role: user
          content: ${input.prompt as text}
      temperature: ${input.temperature as number | 0.7}
      stream: true
    stream_format: json
    output: ${response[].choices[0].delta.content}
"""


def test_todays_spelling_loads_without_a_note() -> None:
    workflow = composemagic.load(TODAY)
    assert (asked(TODAY), workflow.notes, workflow.title) == (USUAL, (), "Chat with OpenAI GPT-4o")
    assert load(TODAY).plan().variables[0].reference.path_text == "OPENAI_API_KEY"


def test_the_seed_becomes_the_same_as_todays_spelling() -> None:
    env = {"OPENAI_API_KEY": "k"}
    values = {"input": {"prompt": "Hi"}, "env": env}
    both = [load(text).plan().jobs[0].action for text in (SEED, TODAY)]
    bodies = [action.fields["body"].render(values) for action in both]
    assert bodies[0] == bodies[1] == {
        "model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.7, "stream": True,
    }  # fmt: skip
    headers = [{**action.settings, **action.fields}["headers"].render(values) for action in both]
    assert headers[0] == headers[1] == {"Authorization": "Bearer k", "Content-Type": "application/json"}


def test_history_is_spread_before_the_prompt() -> None:
    text = SEED.replace(HISTORY, "      - ...${input.history}\n" + HISTORY)
    body = load(text).plan().jobs[0].action.fields["body"]
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    messages = body.render({"input": {"prompt": "c", "history": history}})["messages"]
    assert messages == [*history, {"role": "user", "content": "c"}]
    assert len(body.render({"input": {"prompt": "c"}})["messages"]) == 1


# ── what loads ──

LOADS: dict[str, str] = {
    "a component": "component: {type: echo}",
    "an empty workflow": "workflow:\ncomponent: {type: echo}",
    "an empty job": "workflow: {job: }\ncomponent: {type: echo}",
    "no jobs": "workflow: {jobs: []}\ncomponent: {type: echo}",
    "null jobs": "workflow: {jobs: }\ncomponent: {type: echo}",
    "an empty action": "component: {type: echo, action: }",
    "an empty controller": "controller:\ncomponent: {type: echo}",
    "empty workflows": "workflows:\ncomponent: {type: echo}",
    "x- keys everywhere": "x-a: 1\nworkflow: {x-b: 1, job: {x-c: 1}}\ncomponent: {type: echo, x-d: '${', action: {x-e: 1}}\ncontroller: {x-f: 1, webui: {x-g: 1}}",
    "the only component by its name": "workflow: {job: {component: __component__}}\ncomponent: {type: echo}",
    "the default by its name": "workflow: {job: {component: __default__, action: __default__}}\ncomponent: {type: echo}",
    "the only job by its name": "workflow: {job: {}, output: '${jobs.__job__.output} ${jobs.job-1.output}'}\ncomponent: {type: echo}",
    "a default among several": "components: [{id: a, type: echo}, {id: b, type: echo, default: true}]",
    "everything as mappings": "workflows: {w: {jobs: {j: {component: c, action: a}}}}\ncomponents: {c: {type: echo, actions: {a: {text: x}}}}",
    "the workflow passes its input on": "workflow: {input: '${input}', job: {}}\ncomponent: {type: echo}",
    "a template where one of a few words stands": "component: {type: http-client, endpoint: 'http://127.0.0.1:1', stream_format: '${input.f | json}'}",
    "an inline component": "workflow: {job: {component: {type: echo, text: hi}}}",
    "no dependencies": "workflow: {job: {depends_on: []}}\ncomponent: {type: echo}",
}  # fmt: skip


@pytest.mark.parametrize("name", LOADS)
def test_what_loads(name: str) -> None:
    workflow = composemagic.load(LOADS[name] + "\n")
    if "http-client" not in LOADS[name]:
        assert workflow.run(prompt="hi").status == "done"


@pytest.mark.parametrize("text", ["{}", "controller: {type: http-server}", "workflows: []", "x-a: 1"])
def test_a_document_without_a_workflow_loads_and_has_none(text: str) -> None:
    assert load(text + "\n").plans == {}
    with pytest.raises(UsageError, match="there is no workflow in this document"):
        composemagic.load(text + "\n")


SEVERAL = "workflows: [{id: chat, job: {}}, {id: sum, title: Sum, job: {}}]\ncomponent: {type: echo}\n"


def test_a_workflow_is_chosen_by_its_id() -> None:
    assert composemagic.load(SEVERAL, "sum").title == "Sum"
    assert load(SEVERAL.replace("title: Sum", "default: true")).plan().id == "sum"
    for name, sentence in {
        None: "which workflow? There are `chat`, `sum`. Name one: `composemagic run chat`, in a cell `-w chat`, "
        'in Python `load(..., "chat")`',
        "caht": "no workflow `caht`; did you mean `chat`?",
    }.items():
        with pytest.raises(UsageError) as caught:
            load(SEVERAL).plan(name)
        assert caught.value.args == (sentence,)


def test_the_only_workflow_that_is_not_private_runs_where_none_is_named() -> None:
    text = (
        "component: {type: echo}\nworkflows:\n  - {id: inner, private: true, jobs: [{}]}\n  - {id: chat, jobs: [{}]}\n"
    )
    loaded = load(text)
    assert loaded.plan().id == "chat"
    assert loaded.plan("inner").is_private
    assert load(text.replace("{id: chat,", "{id: chat, private: true,")).default is None


def test_the_environment_fills_what_is_needed_now() -> None:
    text = (
        "controller: {adapter: {type: http-server, port: '${env.PORT}', base_path: '/${env.BASE | api}'}}\n"
        "workflow: {title: 'Chat with ${env.MODEL}', private: '${env.PRIVATE as boolean}'}\n"
        "component: {type: '${env.KIND}', id: c, action: {value: '${env.LATER}'}}\n"
    )
    loaded = load(text, env={"PORT": "8080", "MODEL": "7", "PRIVATE": "yes", "KIND": "echo"})
    assert loaded.controller == {"adapter": {"type": "http-server", "port": "8080", "base_path": "/api"}}
    assert loaded.plan().title == "Chat with 7"
    assert [hole.reference.path_text for hole in loaded.plan().variables] == ["LATER"]


NOTES: dict[str, tuple[str, list[str]]] = {
    "nothing": ("component: {type: echo}", []),
    "an unused component": ("workflow: {job: {component: a}}\ncomponents: [{id: a, type: echo}, {id: b, type: echo}]",
                            ["the component `b` is used by no job"]),
    "the peer's own": ("tracer: {}\nloggers: []\ncomponent: {type: echo, runtime: docker, max_concurrent_count: 3}",
                       ["`tracer` is accepted and not used by composemagic", "`loggers` is accepted and not used by composemagic",
                        "`runtime` is accepted and not used by composemagic", "`max_concurrent_count` is accepted and not used by composemagic"]),
    "a component type that only the peer runs": (
        "components:\n  - {id: pic, type: image-processor, method: [resize], anything: {goes: '${'}, action: {width: '${w'}}\n  - {id: e, type: echo}\n"
        "workflow: {job: {component: pic}}",
        ["the component type `image-processor` is not run by composemagic; a run that needs it ends there",
         "the component `e` is used by no job"]),
    "a controller of the peer's": (
        "controller: {adapter: {type: queue-subscriber, driver: redis}, queue: {driver: redis}, threaded: true, runtime: docker, name: n}\ncomponent: {type: echo}",
        ["`threaded` is accepted and not used by composemagic", "`queue` is accepted and not used by composemagic",
         "`runtime` is accepted and not used by composemagic",
         "the adapter `queue-subscriber` is accepted and not used by composemagic"]),
    "the default runtime": ("component: {type: echo, runtime: native}", []),
    "look-alikes": ("component: {type: echo, text: 'a $input.x {{input.y}} $${z}'}",
                    ["read as text: `$${` writes a literal `${`",
                     "`$input.x` is sent as it is written; a value is written `${input.x}`",
                     "`{{input.y}}` is sent as it is written; a value is written `${input.y}`"]),
    "a shell's variable": ("component: {type: echo, text: 'Bearer $OPENAI_API_KEY $US $5 a$HOME $Path $FOOt ${env.A|$TEN_4} $$ENV'}",
                           ["`$OPENAI_API_KEY` is sent as it is written; a value is written `${env.OPENAI_API_KEY}`"]),
    "bare references": ("workflow: {output: jobs.job-1.output, job: {component: c, input: {a: input.x, b: input, c: input.txt or so}, output: output}}\n"
                        "component: {id: c, type: echo, action: {value: {a: env.KEY, b: response.json, c: env}, output: 'result[].choices[0].text'}}",
                        [f"`{bare}` is sent as it is written; a value is written `${{{bare}}}`"
                         for bare in ("env.KEY", "result[].choices[0].text", "input.x", "output", "jobs.job-1.output")]),
    "a bare input": ("workflow: {job: {input: input, output: ' output '}}\ncomponent: {type: echo, text: output}",
                     ["`input` is sent as it is written; a value is written `${input}`",
                      "`output` is sent as it is written; a value is written `${output}`"]),
    "quotes of a text processor": ("component:\n  type: echo\n  value: [“hello”, '“hi”', “a” and “b, ‘x’, “]",
                                   ["the quotes of `“hello”` are sent as they are written; YAML's quotes are `\"`",
                                    "the quotes of `‘x’` are sent as they are written; YAML's quotes are `\"`"]),
    "a name in braces": ("component: {type: echo, value: [{input}, {inputs}, {input: , x: }, {input: 1}]}",
                         ["`{input}` is a mapping in YAML; a value is written `${input}`"]),
    "a full-width colon in a text": ("component:\n  type: echo\n  value:\n    - temperature：0.7\n    - 'a：b'\n    - 你：我\n    - a b：c",
                                     ["`temperature：` is text: it ends with a full-width colon; a key ends with `:` and a space"]),
    "an empty output": ("workflow: {job: {output: {}}, output: ''}\ncomponent:\n  type: echo\n  action:\n    output: |\n\n",
                        ["an `output` is empty, so nothing is given; leave it out to give everything"]),
    "an output of nothing at all": ("component: {type: echo, action: {output: }}", []),
    "an old cast": ("component: {type: echo, output: '${result as sse-text} ${result as sse-text}'}",
                    ["read as: an action's fields on the component -> `action`; `as sse-text` -> `as stream/text`"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_notes(name: str) -> None:
    text, notes = NOTES[name]
    found = [
        note
        for note in composemagic.load(text + "\n").notes
        if not note.startswith("read as: an action's fields") or "sse" in note
    ]
    assert found == notes


PEERS = "components: [{id: pic, type: video-mixer, x: 1}, {id: e, type: echo, text: hi}]\n"


def test_a_run_ends_only_where_a_job_needs_what_only_the_peer_runs() -> None:
    assert composemagic.load(PEERS + "workflow: {job: {component: e}}\n")().output == "hi"
    run = composemagic.load(PEERS + "workflow: {job: {component: pic, input: '${input}'}}\n").start({})
    run.wait()
    assert run.error is not None
    assert (run.status, run.error.kind) == ("failed", "foreign")
    assert str(run.error) == (
        "compose: the component type `video-mixer` is not run by composemagic\n"
        "   1 | components: [{id: pic, type: video-mixer, x: 1}, {id: e, type: echo, text: hi}]\n"
        "                                    ^^^^^^^^^^^"
    )


def test_what_only_the_peer_runs_still_asks_for_its_inputs() -> None:
    flat = "component: {type: image-processor, image: '${input.image}', width: '${input.'}\n"
    assert [one.name for one in composemagic.load(flat).inputs] == ["image"]
    text = "component: {type: image-processor, actions: [{id: a, width: '${input.width as integer}'}, {id: b}]}\n"
    workflow = composemagic.load(text + "workflow: {job: {action: a}}\n")
    assert [(one.name, one.type) for one in workflow.inputs] == [("width", "integer")]
    with pytest.raises(DocumentError, match="no action `c`"):
        composemagic.load(text + "workflow: {job: {action: c}}\n")


_NO_SERVER = (
    "asks a server, which composemagic does not speak to; write `driver: memory`, or `driver: sqlite` for a file"
)
_TASKS = "composemagic runs models for the tasks chat-completion, text-generation, text-embedding, not for"
# of the types that run here: what only the peer runs of them, and why it is not run
FOREIGN: dict[str, tuple[str, str]] = {
    "a task": ("type: model, task: speech-to-text, family: whisper, action: {audio: '${input.x}'}", f"{_TASKS} `speech-to-text`"),
    "a driver": ("type: model, task: chat-completion, driver: vllm, action: {messages: '${input.x}'}",
                 "composemagic runs models with `driver: llamacpp`, not `vllm`; a model server is asked with an http-client"),
    "a model of the Hub": ("type: model, task: text-generation, model: org/name-2.5, text: '${input.x}', stream: true",
                           "composemagic fetches no model `org/name-2.5`: `model` is a GGUF file in the workflow's folder, or nothing for the embedded model"),
    "a model of the Hub, in full": ("type: model, task: text-generation, model: {provider: huggingface, repository: a/b}, prompt: '${input.x}'",
                                    "composemagic fetches no model `a/b`: `model` is a GGUF file in the workflow's folder, or nothing for the embedded model"),
    "redis": ("type: key-value-store, driver: redis, url: u, db: 3, action: {method: get, key: '${input.x}'}",
              "`driver: redis` is not run by composemagic; write `driver: memory`, or `driver: sqlite` for a file"),
    "a vector server": ("type: vector-store, driver: milvus, alias: a, action: {method: search, query: '${input.x}'}", f"`driver: milvus` {_NO_SERVER}"),
    "chroma as a server": ("type: vector-store, driver: chroma, mode: server, action: {method: search, query: '${input.x}'}",
                           f"`driver: chroma` {_NO_SERVER}"),
    "a data set of the Hub": ("type: datasets, action: {method: load, provider: huggingface, path: '${input.x}', split: train}",
                              "composemagic loads nothing from the Hugging Face Hub; download the file and write `path: data.parquet`"),
    "a driver of the Hub": ("type: datasets, driver: huggingface, action: {path: '${input.x}'}",
                            "composemagic loads nothing from the Hugging Face Hub; download the file and write `path: data.parquet`"),
    "a method that is a job here": ("type: datasets, action: {method: map, dataset: '${input.x}', template: {}}",
                                    "`method: map` is written as a job of type `for-each`"),
    "a browser": ("type: web-scraper, action: {url: '${input.x}', wait_until: idle}",
                  "`wait_until` needs a browser, which composemagic does not run"),
    "a container": ("type: http-server, runtime: {type: docker, image: nginx}, port: 8090, action: {path: '/${input.x}'}",
                    "`runtime: docker` is not run by composemagic; start the server yourself and ask it with an http-client"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_only_the_peer_runs_of_a_type_loads_and_ends_the_run_that_needs_it(name: str) -> None:
    yaml, why = FOREIGN[name]
    workflow = composemagic.load(f"workflow: {{job: {{component: c}}}}\ncomponent: {{id: c, {yaml}}}\n")
    assert f"{why}; a run that needs it ends there" in workflow.notes
    assert [one.name for one in workflow.inputs] == ["x"]
    run = workflow.start({"x": "hi"})
    run.wait()
    assert run.error is not None
    assert (run.status, run.error.kind, run.error.sentence) == ("failed", "foreign", why)


def test_an_action_runs_beside_one_that_only_the_peer_runs() -> None:
    text = "component: {id: d, type: datasets, actions: [{id: hub, provider: huggingface, path: a/b}, {id: own, variable: rows, limt: 3}]}\n"
    with pytest.raises(DocumentError, match="unknown key `limt` in a datasets action") as caught:
        composemagic.load(text + "workflow: {job: {action: own}}\n")
    assert len(caught.value.mistakes) == 1
    loaded = load(text.replace(", limt: 3", "") + "workflow: {job: {action: own}}\n")
    assert loaded.plan().actions[0].component.type == "datasets"
    assert any(note.startswith("composemagic loads nothing from the Hugging Face Hub") for note in loaded.notes)


def test_a_component_class_of_somebody_else_may_lack_the_question() -> None:
    class Bare:
        type, sources, text_fields, spellings = "bare", ("result",), frozenset(), {}
        call_sources: ClassVar[dict[str, Any]] = {}
        settings, action = Settings, Settings

        @classmethod
        def faults(cls, settings: Any, action: Any) -> list[Any]:
            return []

    assert load_document("component: {type: bare}\n", {"bare": Bare}.get, known_types=["bare"], name="t").plans  # type: ignore[arg-type]


def test_the_public_address_of_a_gateway_is_known_and_ends_the_run_that_fills_it() -> None:
    text = (
        "gateway: {type: http-tunnel, port: 8090}\ncomponent: {type: echo, text: 'at ${gateway:8090.public_url}/x'}\n"
    )
    workflow = composemagic.load(text)
    assert "`gateway:8090` is not run by composemagic; a run that fills it ends there" in workflow.notes
    run = workflow.start({})
    run.wait()
    assert run.error is not None
    assert run.error.sentence == "`gateway:8090` is not run by composemagic; write the public address itself"
    assert composemagic.load(text.replace("public_url}", "public_url | http://me}"))().output == "at http://me/x"


@pytest.mark.parametrize(
    "text",
    [
        "workflow: {id: __default__, job: {}}\ncomponent: {type: echo}\n",
        "component: {id: __default__, type: echo}\n",
        "component: {type: echo, actions: [{id: __default__}]}\n",
        "workflow: {job: {id: __default__}}\ncomponent: {type: echo}\n",
    ],
)
def test_a_name_that_the_language_keeps_for_itself(text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load(text)
    assert [mistake.sentence for mistake in caught.value.mistakes] == [
        "`__default__` is a name that the language keeps for itself"
    ]


def test_words_for_people_may_show_references() -> None:
    words = "'By ${env.CM_AUTHOR | me}: `${input.x}` and `${output}` and `${` and $${env.CM_AUTHOR}'"
    text = f"workflow: {{title: {words}, description: {words}, job: {{}}}}\ncomponent: {{type: echo}}\n"
    plan = load(text, env={"CM_AUTHOR": "Ann"}).plan()
    assert plan.title == plan.description == "By Ann: `${input.x}` and `${output}` and `${` and $${env.CM_AUTHOR}"


COMPONENT_ALONE: dict[str, tuple[str, int]] = {
    "one action": ("component: {type: echo}", 1),
    "several actions": ("component: {type: echo, actions: [{id: a}, {id: b}]}", 0),
    "several, one of them the default": ("component: {type: echo, actions: [{id: a}, {id: b, default: true}]}", 1),
    "several components": ("components: [{id: a, type: echo}, {id: b, type: echo}]", 0),
    "several, one of them the default one": (
        "components: [{id: a, type: echo}, {id: b, type: echo, default: true}]",
        1,
    ),
}


@pytest.mark.parametrize("name", COMPONENT_ALONE)
def test_components_alone_are_a_workflow_where_it_is_clear_what_runs(name: str) -> None:
    text, count = COMPONENT_ALONE[name]
    assert len(load(text).plans) == count


def test_a_condition_may_have_an_input_of_its_own() -> None:
    text = (
        "workflow: {jobs: [{id: r, type: if, conditions: [{input: '${input.a as integer}', operator: gt, value: 3, if_true: big},"
        " {input: '${input.b}', value: x, if_true: named}], otherwise: small},"
        " {id: big, input: b}, {id: named, input: n}, {id: small, input: s}]}\ncomponent: {type: echo, text: '${input}'}\n"
    )
    workflow = composemagic.load(text)
    found = [workflow(**given).output for given in ({"a": 5, "b": "x"}, {"a": 1, "b": "x"}, {"a": 1, "b": "y"})]
    assert found == ["b", "n", "s"]
    assert [(one.name, one.type) for one in workflow.inputs] == [("a", "integer"), ("b", "string")]


def test_a_failed_job_gives_its_stand_in_and_goes_on() -> None:
    text = """workflow:
  jobs:
    - {id: fetch, component: broken, on_error: {to: tidy, output: {status: failed, why: "${error.kind}"}}}
    - {id: tidy, component: e, input: "${jobs.fetch.output.status}: ${jobs.fetch.output.why}"}
components:
  - {id: broken, type: image-processor}
  - {id: e, type: echo, text: "${input}"}
"""
    run = composemagic.load(text)()
    assert (run.status, run.output) == ("done", "failed: foreign")


def test_a_mistake_in_an_older_interrupt_is_drawn_where_it_was_written() -> None:
    text = """workflow:
  job:
    input: {command: ls}
    interrupt:
      after:
        message: "${output} of ${input.command} ${nope.x}"
component: {type: echo}
"""
    with pytest.raises(DocumentError) as caught:
        load(text)
    (mistake,) = caught.value.mistakes
    assert mistake.mark is not None
    line = text.splitlines()[mistake.mark.number - 1]
    assert line[mistake.mark.column :][: mistake.mark.length] == "nope"


def test_an_older_interrupt_shows_what_the_job_gave() -> None:
    text = """workflow:
  job:
    input: {command: "ls ${input.folder}"}
    interrupt:
      before: {message: "Run ${input.command} in ${input.folder}?"}
      after: {metadata: {result: "${output}"}}
component: {type: echo, text: "ran ${input.command}"}
"""
    workflow = composemagic.load(text)
    assert [one.name for one in workflow.inputs] == ["folder"]
    assert any("an interrupt's `output` and `input` -> `job.output` and `job.input`" in note for note in workflow.notes)


def test_the_keys_of_a_fan_out_that_only_the_peer_uses() -> None:
    text = "workflow: {job: {type: fan-out, input: '${input.x}', output: [a, b], spool: true, buffer_size: 4}}\ncomponent: {type: echo}\n"
    workflow = composemagic.load(text)
    assert "`spool` is accepted and not used by composemagic" in workflow.notes
    assert workflow(x="hi").output == {"a": ["hi"], "b": ["hi"]}


def test_the_peers_name_of_a_run() -> None:
    text = "workflow: {job: {input: '${context.task_id}', output: ['${output}', '${context.run_id}']}}\ncomponent: {type: echo, text: '${input} ${context.task_id}'}\n"
    run = composemagic.load(text)()
    assert run.output == [f"{run.id} {run.id}", run.id]


@pytest.mark.parametrize("kind", schema.LATER_COMPONENT_TYPES)
def test_a_type_that_only_the_peer_runs_loads(kind: str) -> None:
    assert components.find(kind) is None, "what we run is no more the peer's alone"
    notes = composemagic.load(f"component: {{type: {kind}, whatever: 1}}\n").notes
    assert notes[-1].startswith(f"the component type `{kind}` is not run by composemagic")


def test_a_class_of_ones_own_may_take_the_place_of_a_type_of_the_peers() -> None:
    class Images(Echo):
        """Ours."""

        type: ClassVar[str] = "image-processor"

    undo = components.register(Images)
    try:
        workflow = composemagic.load("component: {type: image-processor, text: hi}\n")
        assert (workflow().output, [note for note in workflow.notes if "known and not run" in note]) == ("hi", [])
    finally:
        undo()


def test_a_type_from_the_environment_takes_an_actions_fields_on_the_component() -> None:
    loaded = load("component: {type: '${env.KIND}', text: hi}\n", env={"KIND": "echo"})
    assert set(loaded.plan().jobs[0].action.fields) == {"text"}


class Strict(Settings):
    """Settings of a package's own: one is needed, one has bounds."""

    voice: str
    speed: Annotated[int, range(1, 4)] = 1


class Say(Echo):
    """A component of a package's own."""

    type: ClassVar[str] = "say"
    settings: ClassVar[type[Settings]] = Strict


def test_a_component_of_ones_own_has_its_mistakes_drawn() -> None:
    undo = components.register(Say)
    try:
        with pytest.raises(DocumentError) as caught:
            load("component:\n  type: say\n  speed: 7\n  speeed: 2\n")
    finally:
        undo()
    assert str(caught.value) == (
        "compose: 3 mistakes in this text\n"
        "  a say component needs `voice`\n   2 |   type: say\n         ^^^^^^^^^\n"
        "  `speed` is a number from 1 to 3, not 7\n   3 |   speed: 7\n                ^\n"
        "  unknown key `speeed` in a say component; did you mean `speed`?\n   4 |   speeed: 2\n         ^^^^^^"
    )


def test_every_load_is_fresh() -> None:
    one, two = composemagic.load(SEED), composemagic.load(SEED)
    assert one._plan is not two._plan
    assert one._plan.jobs[0].action.component is not two._plan.jobs[0].action.component


def test_what_a_run_gives_can_be_changed_without_changing_the_next_one() -> None:
    workflow = composemagic.load("component: {type: echo, value: {a: {b: [1]}}}\n")
    workflow.run().output["a"]["b"].append(2)
    assert workflow.run().output == {"a": {"b": [1]}}


def test_a_document_of_ten_thousand_values_loads() -> None:
    lines = "\n".join(f"    - {{n: '${{input.n{at % 50} as integer | {at}}}'}}" for at in range(3_000))
    workflow = composemagic.load(f"component:\n  type: echo\n  value:\n{lines}\n")
    assert len(workflow.inputs) == 50
    assert len(workflow.run().output) == 3_000


# ── whatever is written ──

SEEDS: list[Any] = [yaml.safe_load(text) for text in (SEED, TODAY, SEVERAL)]
ODD = st.sampled_from([
    None, True, False, 0, -1, 2.5, 10**30, float("nan"), "", " ", "text", "${", "${input.x}", "${env.X}", "${response[].x}", "...${input.l}",
    "${input.x as nubmer | 1}", "${input.x | ${", "$${", "\u202e名\u0301\t\x85", "echo", "http-client", "__default__", [], {}, [None], [[]], [{}], {"": None},
    {"...": 1}, {"*": "${input}"}, {"type": "echo"}, {"id": 5}, ["a", {"b": []}], "filter", "for-each", "random-router", "agent", "workflow",
    "image-processor", "queue-subscriber", {"type": "pipeline", "steps": [{}, {"do": 1}]}, [{"target": "a"}, {"to": 1}], {"?": {"if_true": "${x}"}},
])  # fmt: skip
KEYS = st.sampled_from([
    "type", "id", "default", "job", "jobs", "action", "actions", "component", "components", "workflow", "workflows", "input", "output", "body",
    "headers", "path", "endpoint", "method", "stream_format", "depends_on", "adapter", "controller", "webui", "port", "text", "value", "runtime",
    "...", "x-y", "${k}", "", "tracer", "retry", "streaming", "do", "steps", "routings", "when", "where", "on_error", "repeat_count", "name",
    "response_type", "system_prompt", "model", "interrupt", "until", "*", "?", "+", "target", "driver", "adapters",
])  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A good document with subtrees deleted, doubled, moved or replaced by odd values."""
    document: Any = copy.deepcopy(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from([path for path in places(document) if path] or [()]))
        if not path:
            break
        holder = document
        for step in path[:-1]:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "delete", "add", "double", "wrap"])):
            case "replace":
                holder[path[-1]] = copy.deepcopy(draw(ODD))
            case "delete":
                del holder[path[-1]]
            case "add" if isinstance(holder, dict):
                holder[draw(KEYS)] = copy.deepcopy(draw(ODD))
            case "double" if isinstance(holder, dict):
                holder[draw(KEYS)] = copy.deepcopy(holder[path[-1]])
            case "wrap":
                holder[path[-1]] = [holder[path[-1]], copy.deepcopy(holder[path[-1]])]
            case _:
                holder.insert(0, copy.deepcopy(draw(ODD)))
    return document


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mutated(), st.booleans())
def test_whatever_a_document_says_it_loads_or_its_mistakes_are_drawn(document: Any, flow: bool) -> None:
    text = yaml.safe_dump(document, allow_unicode=True, default_flow_style=flow, sort_keys=False)
    try:
        loaded = load(text, env={"X": "1"})
    except DocumentError as error:
        assert str(error).startswith("compose: ")
        assert all(mistake.sentence for mistake in error.mistakes)
    else:
        for plan in loaded.plans.values():
            assert all(one.name or at == 0 for at, one in enumerate(plan.inputs))
            assert isinstance(plan.variables, tuple)
            assert plan.outputs


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mutated(), mutated())
def test_whatever_two_files_say_they_load_or_their_mistakes_are_drawn(one: Any, two: Any) -> None:
    texts = [yaml.safe_dump(each, allow_unicode=True, sort_keys=False) for each in (one, two)]
    try:
        for workflow in load_all(texts, env={"X": "1"}):
            json.dumps([workflow.input_schema(), workflow.output_schema()], allow_nan=False)
            assert workflow.outputs
    except DocumentError as error:
        assert len(str(error).splitlines()) <= 24 + len(error.mistakes[0].draw().splitlines())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, len(SEED)),
    st.integers(0, 12),
    st.sampled_from(
        ["", "${", "}", "${input.", ": ", "- ", "\t", "\n", '"', "[", "{", "&a ", "*a", "|\n", "é名", "as", "| "]
    ),
)
def test_whatever_is_typed_into_the_seed_it_loads_or_its_mistakes_are_drawn(at: int, length: int, typed: str) -> None:
    text = SEED[:at] + typed + SEED[at + length :]
    try:
        load(text)
    except DocumentError as error:
        assert all(mistake.draw() for mistake in error.mistakes)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (("one two",), 'inputs are given by name: `workflow(text="one two", n=...)`'),
        (("x", 3), 'inputs are given by name: `workflow(text="x", n=3)`'),
        (("x", 3, 4), 'inputs are given by name: `workflow(text="x", n=3)`'),
        (("x" * 100,), "inputs are given by name: `workflow(text=..., n=...)`"),
    ],
)
@pytest.mark.parametrize("way", ["run", "stream", "__call__", "arun"])
def test_inputs_have_names(way: str, value: tuple[object, ...], sentence: str) -> None:
    asks = composemagic.load('component: {type: echo, action: {text: "${input.text} ${input.n as integer}"}}')
    with pytest.raises(UsageError) as caught:
        made = getattr(asks, way)(*value)
        asyncio.run(made)
    assert caught.value.args == (sentence,)


def test_a_value_without_a_name_where_none_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"asks for no inputs by name.*`workflow.start\(...\)`"):
        composemagic.load("component: {type: echo, action: {text: hi}}")("one")
