"""Every older spelling of the language -> today's: the tree, the note, and where a moved path came from."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from composemagic import load
from composemagic.errors import DocumentError
from composemagic.language.dialects import RULES, Keys, modern_cast, modernise
from composemagic.language.expression import Reference, parse

ACTION_KEYS = {"path", "endpoint", "method", "headers", "body", "stream_format", "output", "text"}


def action_keys(kind: Any) -> Keys:
    match kind:
        case "http-client":
            return Keys({"base_url", "headers"}, ACTION_KEYS - {"headers"})
        case "model":
            return Keys({"task", "model"}, {"text", "prompt", "streaming", "output"})
        case "echo":
            return Keys((), {"text", "output"})
        case "agent":
            return Keys({"model", "instructions", "tools"}, {"prompt", "output"})
    return Keys()


# old, today's, the notes
TREES: dict[str, tuple[str, str, list[str]]] = {
    "flat controller": (
        "controller: {type: http-server, port: 8080, base_path: /api, webui: {driver: gradio, port: 8081}, name: n}",
        "controller: {adapter: {type: http-server, port: 8080, base_path: /api}, webui: {driver: gradio, port: 8081}, name: n}",
        ["flat `controller` -> `controller.adapter`"],
    ),
    "today's controller": (
        "controller: {adapter: {type: http-server}, port: 1}",
        "controller: {adapter: {type: http-server}, port: 1}",
        [],
    ),
    "a controller of the web page alone": ("controller: {webui: {port: 1}}", "controller: {webui: {port: 1}}", []),
    "an action's fields on the component": (
        "component: {id: c, type: http-client, base_url: b, headers: {}, path: /p, body: {a: 1}, output: o}",
        "components: [{id: c, type: http-client, base_url: b, headers: {}, actions: [{path: /p, body: {a: 1}, output: o}]}]",
        ["an action's fields on the component -> `action`"],
    ),
    "one action": (
        "component: {type: http-client, action: {path: /p}}",
        "components: [{type: http-client, actions: [{path: /p}]}]",
        [],
    ),
    "no action": ("component: {type: echo}", "components: [{type: echo, actions: [{}]}]", []),
    "actions as a mapping": (
        "component: {type: echo, actions: {a: {text: x}, b: {text: y}}}",
        "components: [{type: echo, actions: [{id: a, text: x}, {id: b, text: y}]}]",
        ["`actions` as a mapping -> a list with ids"],
    ),
    "components as a mapping": (
        "components: {a: {type: echo, text: x}, b: {type: echo, action: {text: y}}}",
        "components: [{id: a, type: echo, actions: [{text: x}]}, {id: b, type: echo, actions: [{text: y}]}]",
        ["`components` as a mapping -> a list with ids", "an action's fields on the component -> `action`"],
    ),
    "workflows as a mapping": (
        "workflows: {w: {job: {input: 1}}}",
        "workflows: [{id: w, jobs: [{input: 1}]}]",
        ["`workflows` as a mapping -> a list with ids"],
    ),
    "jobs as a mapping": (
        "workflow: {jobs: {j: {component: c}}}",
        "workflows: [{jobs: [{id: j, component: c}]}]",
        ["`jobs` as a mapping -> a list with ids"],
    ),
    "an id inside the body wins": (
        "components: {a: {id: other, type: echo, action: {}}}",
        "components: [{id: other, type: echo, actions: [{}]}]",
        ["`components` as a mapping -> a list with ids"],
    ),
    "a job's fields on the workflow": (
        "workflow: {title: T, component: c, action: a, input: i, output: o}",
        "workflows: [{title: T, jobs: [{component: c, action: a, input: i, output: o}]}]",
        ["a job's fields on the workflow -> `job`"],
    ),
    "an empty job": ("workflow: {title: T, job: {}}", "workflows: [{title: T, jobs: [{}]}]", []),
    "no job": ("workflow: {title: T}", "workflows: [{title: T, jobs: [{}]}]", []),
    "nothing": ("workflow:", "workflows: [{jobs: [{}]}]", []),
    "an inline component with an action's fields": (
        "workflow: {component: {type: http-client, endpoint: e}}",
        "workflows: [{jobs: [{component: {type: http-client, actions: [{endpoint: e}]}}]}]",
        ["a job's fields on the workflow -> `job`", "an action's fields on the component -> `action`"],
    ),
    "streaming: true": (
        "component: {type: http-client, action: {body: {model: m, streaming: true, n: 1}, stream_format: json}}",
        "components: [{type: http-client, actions: [{body: {model: m, stream: true, n: 1}, stream_format: json}]}]",
        ["`streaming: true` -> `stream: true`"],
    ),
    "streaming: true where the output reads chunks": (
        "component: {type: http-client, action: {body: {streaming: true}, output: '${response[].x}'}}",
        "components: [{type: http-client, actions: [{body: {stream: true}, output: '${response[].x}'}]}]",
        ["`streaming: true` -> `stream: true`"],
    ),
    "streaming: true where the workflow's output is a stream": (
        "{workflow: {job: {output: '${output as text;sse-text}'}}, component: {type: http-client, action: {body: {streaming: true}}}}",
        "{workflows: [{jobs: [{output: '${output as text;sse-text}'}]}], components: [{type: http-client, actions: [{body: {stream: true}}]}]}",
        ["`streaming: true` -> `stream: true`"],
    ),
    "streaming: true where nothing streams": (
        "component: {type: http-client, action: {body: {streaming: true}}}",
        "components: [{type: http-client, actions: [{body: {streaming: true}}]}]",
        [],
    ),
    "streaming beside stream": (
        "component: {type: http-client, action: {body: {streaming: true, stream: false}, stream_format: json}}",
        "components: [{type: http-client, actions: [{body: {streaming: true, stream: false}, stream_format: json}]}]",
        [],
    ),
    "streaming: false": (
        "component: {type: http-client, action: {body: {streaming: false}, stream_format: json}}",
        "components: [{type: http-client, actions: [{body: {streaming: false}, stream_format: json}]}]",
        [],
    ),
    "a controller of a kind that only the peer has": (
        "controller: {type: queue-subscriber, driver: redis, url: u, workflows: [a], name: n, webui: {port: 1}}",
        "controller: {adapter: {type: queue-subscriber, driver: redis, url: u, workflows: [a]}, name: n, webui: {port: 1}}",
        ["flat `controller` -> `controller.adapter`"],
    ),
    "a job's first name": (
        "workflow: {job: {type: action, component: c}}",
        "workflows: [{jobs: [{type: component, component: c}]}]",
        ["a job's `type: action` -> `type: component`"],
    ),
    "a filter with only an output": (
        "workflow: {jobs: [{id: f, type: filter, output: {a: 1}}]}",
        "workflows: [{jobs: [{id: f, type: filter, output: {a: 1}, input: []}]}]",
        ["a filter job with only `output` -> one with `input: []`"],
    ),
    "a filter's when": (
        "workflow: {job: {type: filter, input: i, when: {input: a, value: 1}, output: o}}",
        "workflows: [{jobs: [{type: filter, input: i, where: {input: a, value: 1}, output: o}]}]",
        ["a filter's `when` -> `where`"],
    ),
    "a filter with where and when": (
        "workflow: {job: {type: filter, input: i, when: a, where: b}}",
        "workflows: [{jobs: [{type: filter, input: i, when: a, where: b}]}]",
        [],
    ),
    "when elsewhere": ("workflow: {job: {when: a}}", "workflows: [{jobs: [{when: a}]}]", []),
    "a router's targets": (
        "workflow: {jobs: [{type: random-router, routings: [{target: a, weight: 1}, {to: b}]}, {id: a, on_error: {target: b}}]}",
        "workflows: [{jobs: [{type: random-router, routings: [{to: a, weight: 1}, {to: b}]}, {id: a, on_error: {to: b}}]}]",
        ["a route's `target` -> `to`"] * 2,
    ),
    "a route with both": (
        "workflow: {job: {routings: [{target: a, to: b}]}}",
        "workflows: [{jobs: [{routings: [{target: a, to: b}]}]}]",
        [],
    ),
    "an agent of the docs": (
        "component: {type: agent, tools: [t], action: {model: {component: m}, system_prompt: s, user_prompt: u}}",
        "components: [{type: agent, tools: [t], model: {component: m}, instructions: s, actions: [{prompt: u}]}]",
        [
            "an agent's `user_prompt` -> `prompt`",
            "an agent action's `model` -> the component's `model`",
            "an agent's `system_prompt` -> `instructions`",
        ],
    ),
    "an agent's fields on the component": (
        "component: {type: agent, model: m, system_prompt: s, user_prompt: u}",
        "components: [{type: agent, model: m, instructions: s, actions: [{prompt: u}]}]",
        [
            "an action's fields on the component -> `action`",
            "an agent's `user_prompt` -> `prompt`",
            "an agent's `system_prompt` -> `instructions`",
        ],
    ),
    "two actions of an agent that agree": (
        "component: {type: agent, actions: [{id: a, model: m, prompt: x}, {id: b, model: m, prompt: y}]}",
        "components: [{type: agent, model: m, actions: [{id: a, prompt: x}, {id: b, prompt: y}]}]",
        ["an agent action's `model` -> the component's `model`"] * 2,
    ),
    "the words of an agent in another component": (
        "component: {type: echo, action: {model: m, system_prompt: s, user_prompt: u}}",
        "components: [{type: echo, actions: [{model: m, system_prompt: s, user_prompt: u}]}]",
        [],
    ),
    "a text-generation of 2025-08": (
        "component: {type: model, task: text-generation, text: t, stream: true}",
        "components: [{type: model, task: text-generation, actions: [{prompt: t, streaming: true}]}]",
        [
            "an action's fields on the component -> `action`",
            "a text-generation's `text` -> `prompt`",
            "a model's `stream` -> `streaming`",
        ],
    ),
    "the text of an embedding": (
        "component: {type: model, task: text-embedding, action: {text: t}}",
        "components: [{type: model, task: text-embedding, actions: [{text: t}]}]",
        [],
    ),
    "an interrupt of 2026-02": (
        "workflow: {job: {input: {command: c}, interrupt: {before: {message: 'Run ${input.command} in ${input.folder}?'},"
        " after: {message: done, metadata: {found: ['${output.lines[0]} ${ output }', 5]}}}}}",
        "workflows: [{jobs: [{input: {command: c}, interrupt: {before: {message: 'Run ${job.input.command} in ${input.folder}?'},"
        " after: {message: done, metadata: {found: ['${job.output.lines[0]} ${ job.output }', 5]}}}}]}]",
        ["an interrupt's `output` and `input` -> `job.output` and `job.input`"],
    ),
    "an interrupt that reads the workflow's input": (
        "workflow: {job: {input: {command: c}, interrupt: {before: {message: 'Run ${input.command}? $${output}'}, after: true}}}",
        "workflows: [{jobs: [{input: {command: c}, interrupt: {before: {message: 'Run ${input.command}? $${output}'}, after: true}}]}]",
        [],
    ),
    "a random-router of the user guide": (
        "workflow: {job: {type: random-router, routes: [{id: a, weight: 50}, {id: b, weight: 50}]}}",
        "workflows: [{jobs: [{type: random-router, routings: [{to: a, weight: 50}, {to: b, weight: 50}], mode: weighted}]}]",
        ["a random-router's `routes` with an `id` -> `routings` with `to`"],
    ),
    "a random-router of the user guide, without weights": (
        "workflow: {job: {type: random-router, mode: uniform, routes: [{id: a}, {id: b}]}}",
        "workflows: [{jobs: [{type: random-router, mode: uniform, routings: [{to: a}, {to: b}]}]}]",
        ["a random-router's `routes` with an `id` -> `routings` with `to`"],
    ),
    "response_type": (
        "component: {type: http-client, action: {path: p, response_type: json}}",
        "components: [{type: http-client, actions: [{path: p}]}]",
        ["`response_type` -> the type that the answer itself names"],
    ),
    "response_type on the component": (
        "component: {type: http-client, path: p, response_type: json}",
        "components: [{type: http-client, actions: [{path: p}]}]",
        ["an action's fields on the component -> `action`", "`response_type` -> the type that the answer itself names"],
    ),
    "inside of other jobs": (
        "workflow: {job: {type: pipeline, steps: [{component: {type: echo, text: a}},"
        " {type: for-each, do: {type: action, component: {type: http-client, path: p, response_type: json}}}]}}",
        "workflows: [{jobs: [{type: pipeline, steps: [{component: {type: echo, actions: [{text: a}]}},"
        " {type: for-each, do: {type: component, component: {type: http-client, actions: [{path: p}]}}}]}]}]",
        [
            "an action's fields on the component -> `action`",
            "a job's `type: action` -> `type: component`",
            "an action's fields on the component -> `action`",
            "`response_type` -> the type that the answer itself names",
        ],
    ),
    "inside of an agent's model": (
        "component: {type: agent, model: {component: {type: http-client, path: p, response_type: json}}}",
        "components: [{type: agent, actions: [{}], model: {component: {type: http-client, actions: [{path: p}]}}}]",
        ["an action's fields on the component -> `action`", "`response_type` -> the type that the answer itself names"],
    ),
    "a component of a type nobody knows": (
        "component: {type: what, path: /p, output: o}",
        "components: [{type: what, path: /p, actions: [{output: o}]}]",
        ["an action's fields on the component -> `action`"],
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_old_trees_are_read_as_todays(name: str) -> None:
    old, today, notes = TREES[name]
    data = yaml.safe_load(old)
    before = copy.deepcopy(data)
    modern = modernise(data, action_keys)
    assert data == before, "the user's own tree is left as it is"
    assert modern.data == {"workflows": [], **yaml.safe_load(today)} or modern.data == yaml.safe_load(today)
    assert [sentence for sentence, _ in modern.notes] == notes


@pytest.mark.parametrize("name", TREES)
def test_todays_trees_stay(name: str) -> None:
    _, today, _ = TREES[name]
    data = yaml.safe_load(today)
    modern = modernise(data, action_keys)
    assert (modern.data, modern.notes) == (data, [])


# old tree, a path in today's tree, the path it came from
ORIGINS: list[tuple[str, tuple[Any, ...], tuple[Any, ...]]] = [
    ("controller: {port: 1}", ("controller", "adapter", "port"), ("controller", "port")),
    ("component: {type: echo, text: x}", ("components", 0, "actions", 0, "text"), ("component", "text")),
    ("component: {type: echo, text: x}", ("components", 0, "type"), ("component", "type")),
    ("component: {type: echo, action: {text: [x]}}", ("components", 0, "actions", 0, "text", 0), ("component", "action", "text", 0)),
    ("components: {c: {type: echo, text: x}}", ("components", 0, "actions", 0, "text"), ("components", "c", "text")),
    ("components: [{type: echo, text: x}]", ("components", 0, "actions", 0, "text"), ("components", 0, "text")),
    ("workflow: {output: o}", ("workflows", 0, "jobs", 0, "output"), ("workflow", "output")),
    ("workflow: {title: t}", ("workflows", 0, "title"), ("workflow", "title")),
    ("workflow: {job: {output: o}}", ("workflows", 0, "jobs", 0, "output"), ("workflow", "job", "output")),
    ("workflows: {w: {jobs: {j: {input: i}}}}", ("workflows", 0, "jobs", 0, "input"), ("workflows", "w", "jobs", "j", "input")),
    (
        "workflow: {component: {type: http-client, endpoint: e}}",
        ("workflows", 0, "jobs", 0, "component", "actions", 0, "endpoint"),
        ("workflow", "component", "endpoint"),
    ),
    (
        "component: {type: http-client, body: {streaming: true}, stream_format: json}",
        ("components", 0, "actions", 0, "body", "stream"),
        ("component", "body", "streaming"),
    ),
    ("workflow: {job: {type: filter, when: {value: 1}}}", ("workflows", 0, "jobs", 0, "where", "value"), ("workflow", "job", "when", "value")),
    ("workflow: {job: {type: random-router, routes: [{id: a}]}}", ("workflows", 0, "jobs", 0, "routings", 0, "to"), ("workflow", "job", "routes", 0, "id")),
    ("workflow: {job: {interrupt: {after: {message: '${output}'}}}}", ("workflows", 0, "jobs", 0, "interrupt", "after", "message"), ("workflow", "job", "interrupt", "after", "message")),
    ("component: {type: model, task: text-generation, text: t}", ("components", 0, "actions", 0, "prompt"), ("component", "text")),
    ("workflow: {job: {routings: [{}, {target: a}]}}", ("workflows", 0, "jobs", 0, "routings", 1, "to"), ("workflow", "job", "routings", 1, "target")),
    ("component: {type: agent, action: {model: {action: a}}}", ("components", 0, "model", "action"), ("component", "action", "model", "action")),
    ("component: {type: agent, actions: [{}, {system_prompt: a}]}", ("components", 0, "instructions"), ("component", "actions", 1, "system_prompt")),
    (
        "workflow: {job: {type: loop, do: {component: {type: echo, text: x}}}}",
        ("workflows", 0, "jobs", 0, "do", "component", "actions", 0, "text"),
        ("workflow", "job", "do", "component", "text"),
    ),
    ("x: 1", ("x",), ("x",)),
]  # fmt: skip


@pytest.mark.parametrize(("old", "today", "origin"), ORIGINS)
def test_a_moved_path_knows_where_it_came_from(old: str, today: tuple[Any, ...], origin: tuple[Any, ...]) -> None:
    assert modernise(yaml.safe_load(old), action_keys).origin(today) == origin


CASTS = {
    "text;sse-text": ("stream/text", "`as text;sse-text` -> `as stream/text`"),
    "text;sse-json": ("stream/json", "`as text;sse-json` -> `as stream/json`"),
    "json;sse-json": ("stream/json", "`as json;sse-json` -> `as stream/json`"),
    "sse-text": ("stream/text", "`as sse-text` -> `as stream/text`"),
    "sse-json": ("stream/json", "`as sse-json` -> `as stream/json`"),
    "event-stream/text": ("stream/text", "`as event-stream/text` -> `as stream/text`"),
    "event-stream/json": ("stream/json", "`as event-stream/json` -> `as stream/json`"),
    "event-stream": ("stream", "`as event-stream` -> `as stream`"),
    "text/choices[0].delta.content;sse-json": (
        "stream/text[path=choices[0].delta.content]",
        "`as text/choices[0].delta.content;sse-json` -> each chunk's `choices[0].delta.content`, as `stream/text`",
    ),
    "stream/text": ("stream/text", None),
    "text": ("text", None),
    "text;base64": ("text;base64", None),
}


@pytest.mark.parametrize("old", CASTS)
def test_old_casts_are_read_as_todays(old: str) -> None:
    (reference,) = parse(f"${{output as {old}}}")
    assert isinstance(reference, Reference)
    assert reference.cast is not None
    cast, note = modern_cast(reference.cast)
    assert (str(cast), note) == CASTS[old]


def test_what_todays_agent_cannot_say_is_a_mistake() -> None:
    data = yaml.safe_load("component: {type: agent, actions: [{model: {component: a}}, {model: {component: b}}]}")
    modern = modernise(data, action_keys)
    assert modern.data["components"][0]["model"] == {"component": "a"}
    sentence = "`model` is the same for all actions of an agent; write an agent of its own for this one"
    assert modern.mistakes == [(sentence, ("components", 0, "actions", 1, "model"))]


def test_a_key_that_a_type_has_today_is_not_an_older_one() -> None:
    def own(kind: Any) -> Keys:
        return Keys({"system_prompt"}, {"response_type", "output"})

    data = yaml.safe_load("component: {type: own, response_type: a, system_prompt: b}")
    modern = modernise(data, own)
    assert modern.data == {"components": [{"type": "own", "system_prompt": "b", "actions": [{"response_type": "a"}]}]}


def test_the_table_of_rules_says_since_when_and_where() -> None:
    assert {rule.where for rule in RULES} == {"document", "workflow", "job", "component", "action"}
    assert all(rule.since in ("first", "docs") or rule.since.startswith("202") for rule in RULES)


def test_the_path_of_2025_08_01_is_kept() -> None:
    (reference,) = parse("${output as text/a[0].b;sse-json}")
    assert isinstance(reference, Reference)
    assert reference.cast is not None
    assert modern_cast(reference.cast)[0].attrs == (("path", "a[0].b"),)


# a mistake in an old spelling is drawn where the user wrote it
DRAWN = {
    "controller: {type: http-server, port: none}\ncomponent: {type: echo}\n":
        "  `port` is a whole number, this is \"none\"\n"
        "   1 | controller: {type: http-server, port: none}\n"
        "                                             ^^^^",
    "component:\n  type: http-client\n  endpoint: http://h\n  body: {a: [1, '${inptu.x}']}\n":
        "  unknown source `inptu`; did you mean `input`?\n"
        "   4 |   body: {a: [1, '${inptu.x}']}\n"
        "                          ^^^^^",
    "component:\n  type: http-client\n  endpoint: http://h\n  body:\n    streaming: true\n    \"*\": 1\n  stream_format: jsn\n":
        "  a list is needed here, this is 1\n"
        "   6 |     \"*\": 1\n"
        "                ^\n"
        "  unknown `stream_format` \"jsn\"; did you mean `json`?\n"
        "   7 |   stream_format: jsn\n"
        "                        ^^^",
    "workflow:\n  output: ${output as txt;sse-text}\n  input: ${inptu}\ncomponent: {type: echo}\n":
        "  unknown source `inptu`; did you mean `input`?\n"
        "   3 |   input: ${inptu}\n"
        "                  ^^^^^",
    "workflow: {component: {type: http-client, endpoint: e, methd: GET}}\n":
        "  unknown key `methd` in an http-client component; did you mean `method`?\n"
        "   1 | workflow: {component: {type: http-client, endpoint: e, methd: GET}}\n"
        "                                                              ^^^^^",
    "components:\n  c:\n    type: echo\n    txt: hi\n":
        "  unknown key `txt` in an echo component; did you mean `text`?\n"
        "   4 |     txt: hi\n"
        "           ^^^",
}  # fmt: skip


@pytest.mark.parametrize("text", DRAWN)
def test_mistakes_are_drawn_where_the_user_wrote_them(text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load(text)
    assert str(caught.value).partition("\n")[2] == DRAWN[text]
