"""`Secret`: carried by templates and casts, shown as `***`, refused in one sentence where its text would be needed."""

from __future__ import annotations

import ast
import copy
import json
import operator
import pickle
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

import composemagic
from composemagic.errors import RunError
from composemagic.language.conditions import compile_condition
from composemagic.language.findings import RenderError
from composemagic.language.secret import Sealed, Secret, join, made, names_in
from composemagic.language.template import compile_template
from composemagic.transport.secrets import masked_with, opened
from composemagic.workflow.component import Action, Context, Value

KEY = "sk-canary-0123456789abcdef"
ROOT = Path(composemagic.__file__).parent


def secret(name: str = "A_KEY", value: str = KEY, origin: str = "") -> Secret:
    return Secret.of(name, value, lambda _: origin)


# -- what Python can do with it ----------------------------------------------------------------------------------------

WAYS: list[Callable[[Secret], Any]] = [
    str, repr, ascii, "{}".format, "{:>40}".format, "{!r}".format, lambda one: f"{one}", lambda one: "%s" % one,  # noqa: UP031

    lambda one: json.dumps(one, default=str), lambda one: json.dumps({"a": [one]}, default=repr), lambda one: str([one, {1: one}]),
    list, tuple, iter, len, bytes, int, float, bytearray, sorted, dict, vars, json.dumps, pickle.dumps, reversed,
    lambda one: one[0], lambda one: one[:], lambda one: one + "x", lambda one: "x" + one, lambda one: "".join([one]),
    lambda one: KEY in one, lambda one: one in KEY, lambda one: one == KEY, KEY.__eq__, lambda one: one != KEY,
    lambda one: one < KEY, lambda one: one >= KEY, lambda one: one * 2, lambda one: one.encode(), lambda one: one.startswith("sk"),
    operator.index, lambda one: {KEY: 1}[one], lambda one: hash(one) == hash(KEY), memoryview, bool,
    lambda one: one.__dict__, lambda one: repr(copy.copy(one)), lambda one: repr(copy.deepcopy({"a": one})), dir,
    lambda one: one.__reduce__(), lambda one: one.__getstate__() and None, lambda one: type(one).__name__,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made_of", ["itself", "with text"])
def test_nothing_gives_its_text(way: Callable[[Secret], Any], made_of: str) -> None:
    one = secret() if made_of == "itself" else join(["Bearer ", secret()])
    assert isinstance(one, Secret)
    try:
        found = way(one)
    except Exception as error:
        assert KEY not in str(error)
    else:
        assert found is not len(KEY)
        assert found is not True or way is bool or found == (one != KEY)  # it is never equal to its text
        assert KEY not in repr(found) and "canary" not in str(found)


def test_two_with_the_same_text_cannot_be_told_apart_by_comparing() -> None:
    assert secret() != secret() and len({secret(), secret()}) == 2
    one = secret()
    assert copy.deepcopy(one) is one and copy.copy(one) is one


def test_it_is_opened_in_one_place_only() -> None:
    allowed = {ROOT / "language" / "secret.py", ROOT / "transport" / "secrets.py"}
    for file in set(ROOT.rglob("*.py")) - allowed:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
                assert is_own or node.attr not in ("_how", "_parts"), f"{file}:{node.lineno}"


def test_opening() -> None:
    text = join(["Bearer ", secret("A_KEY", "abc"), "/", secret("B_KEY", "def")])
    assert text.names == ("A_KEY", "B_KEY") and opened(text) == "Bearer abc/def"
    assert opened({"a": [text, 1, None], "b": "x"}) == {"a": ["Bearer abc/def", 1, None], "b": "x"}
    assert opened(made(str.upper, text)) == "BEARER ABC/DEF" and made(str.upper, "x") == "X"
    assert masked_with(text, "?") == "Bearer ?/?" and names_in([{"a": text}, secret("C_KEY")]) == (
        "A_KEY",
        "B_KEY",
        "C_KEY",
    )


STRANGE = [
    ("sk-abc\n", "a line break"),
    ("sk-abc\r\nX-Evil: 1", "a line break"),
    ("sk-abc def", "a space"),
    (" sk-abc", "a space"),
    ("sk-abc\t", "a space"),
    ("sk-abc\u00a0", "a space"),
    ("sk-ключ", "a character that is not ASCII"),
    ("sk-abc\x00", "a character that is not ASCII"),
    ("Bearer sk-a b", "a space"),
    ("Bearer \t", "nothing"),  # only the scheme
    ("Bearer Token sk-abc", "a space"),
]


@pytest.mark.parametrize(("value", "what"), STRANGE)
def test_a_key_that_no_provider_gives(value: str, what: str) -> None:
    sentence = f"`A_KEY` (given with -e) has {what} in it; a key is printable ASCII without spaces"
    with pytest.raises(RunError) as caught:
        opened(secret("A_KEY", value, "given with -e"))
    assert (caught.value.sentence, caught.value.kind) == (sentence, "secret")
    with pytest.raises(RunError) as caught:
        opened(secret("A_KEY", value))
    assert caught.value.sentence == sentence.replace(" (given with -e)", "")
    yaml = "component: {type: http-client, endpoint: 'http://127.0.0.1:1/', headers: {X: '${env.A_KEY}'}}"
    run = composemagic.load(yaml, env={"A_KEY": value}).start({})
    assert run.wait(60) and run.error is not None and run.error.sentence == sentence


def test_a_key_with_its_scheme() -> None:
    assert opened(secret("A_TOKEN", "Bearer sk-abc")) == "Bearer sk-abc"


# -- templates ---------------------------------------------------------------------------------------------------------

SCOPE = {
    "env": Sealed({"A_KEY": KEY, "B_KEY": "0123", "MODEL": "m", "N": "7"}),
    "input": {"key": secret(), "x": None, "list": ["a", secret()]},
}

CARRIED = [
    ("${env.A_KEY}", KEY),
    ("${input.key}", KEY),
    ("${env.B_KEY}", "0123"),
    ("Bearer ${env.A_KEY}", f"Bearer {KEY}"),
    ("${env.MODEL}:${env.A_KEY}:${env.N}", f"m:{KEY}:7"),
    ("${input.x | ${env.A_KEY}}", KEY),
    ("${env.NOT_THERE | Bearer ${env.A_KEY}}", f"Bearer {KEY}"),
    ("${env.A_KEY | nothing}", KEY),
    ("${env.A_KEY as text}", KEY),
    ("${env.A_KEY as string}", KEY),
    ("${env.A_KEY as markdown}", KEY),
    ("${env.A_KEY as any}", KEY),
    ("${env.B_KEY as base64}", "MDEyMw=="),
    ("Basic ${env.B_KEY as base64}", "Basic MDEyMw=="),
    ({"+": ["Bearer ", "${env.A_KEY}"]}, f"Bearer {KEY}"),
    ({"+": ["${env.A_KEY}", " x"]}, f"{KEY} x"),
    ({"?": {"input": 1, "value": 1, "if_true": "${env.A_KEY}"}}, KEY),
]


@pytest.mark.parametrize(("template", "text"), CARRIED, ids=str)
def test_templates_carry_it(template: Any, text: str) -> None:
    found = compile_template(template).render(SCOPE)
    assert isinstance(found, Secret) and opened(found) == text


def test_collections_carry_it() -> None:
    found = compile_template({"a": ["x", "${env.A_KEY}"], "b": {"c": "k=${env.A_KEY}"}, "...": "${input}"}).render(
        SCOPE
    )
    assert repr(found) == "{'a': ['x', ***], 'b': {'c': ***}, 'key': ***, 'x': None, 'list': ['a', ***]}"
    assert opened(found)["b"] == {"c": f"k={KEY}"}
    assert compile_template("${input.key.deeper}").render(SCOPE) is None
    items = compile_template({"*": "${input.list}", "v": "${item}"}).render(SCOPE)
    assert repr(items) == "[{'v': 'a'}, {'v': ***}]"
    assert repr(compile_template("${input.list as text[]}").render(SCOPE)) == "['a', ***]"


CLOSED = "is a secret: it can be sent in a header of a request to its own host, and is not shown or read elsewhere"
REFUSED = [
    *(
        f"${{env.A_KEY as {cast}}}"
        for cast in ("integer", "number", "boolean", "json", "list", "object", "select/a,b", "slider/1,2")
    ),
    *(
        f"${{env.A_KEY as {cast}}}"
        for cast in ("stream", "stream/text", "stream/json", "image", "image;base64", "file;url", "text;base64")
    ),
    "all of it: ${input}",
    "the list: ${input.list}",
    "${input as text}",
]


@pytest.mark.parametrize("template", REFUSED)
def test_what_would_need_its_text_is_refused(template: str) -> None:
    with pytest.raises(RenderError, match=CLOSED) as caught:
        compile_template(template).render(SCOPE)
    assert "`env.A_KEY`" in caught.value.sentence and KEY not in str(caught.value)


SHAPES = [
    "${env.A_KEY as text[]}",
    {"*": "${env.A_KEY}"},
    ["...${env.A_KEY}"],
    {"...": "${env.A_KEY}"},
    {"+": [["a"], "${env.A_KEY}"]},
]


@pytest.mark.parametrize("template", SHAPES, ids=str)
def test_where_something_else_is_needed(template: Any) -> None:
    with pytest.raises(RenderError) as caught:
        compile_template(template).render(SCOPE)
    assert KEY not in caught.value.sentence and "secret" in caught.value.sentence


CONDITIONS: list[tuple[dict[str, Any], bool | None]] = [
    ({"input": "${env.A_KEY}", "operator": "neq", "value": None}, True),
    ({"input": "${env.A_KEY}", "operator": "eq", "value": None}, False),
    ({"input": None, "operator": "eq", "value": "${env.A_KEY}"}, False),
    ({"input": "${env.NOT_THERE | null}", "value": None}, True),
    ({"input": "${env.A_KEY}", "value": KEY}, None),
    ({"input": "${env.A_KEY}", "operator": "neq", "value": "x"}, None),
    ({"input": "${env.A_KEY}", "operator": "starts-with", "value": "sk-"}, None),
    ({"input": "${env.A_KEY}", "operator": "match", "value": "sk-c.*"}, None),
    ({"input": "${env.A_KEY}", "operator": "in", "value": [KEY]}, None),
    ({"input": "sk-", "operator": "in", "value": "${env.A_KEY}"}, None),
    ({"input": "${env.A_KEY}", "operator": "gt", "value": "sk-b"}, None),
    ({"input": "${env.B_KEY}", "operator": "gt", "value": 100}, None),
    ({"input": "Bearer ${env.A_KEY}", "value": "x"}, None),
    ({"input": "${env.A_KEY}", "operator": "gt", "value": None}, None),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS, ids=str)
@pytest.mark.parametrize("loose", [True, False])
def test_a_condition_asks_only_whether_it_is_there(condition: dict[str, Any], holds: bool | None, loose: bool) -> None:
    test = compile_condition(condition, loose=loose).test
    if holds is not None:
        assert test(SCOPE) is holds
        return
    with pytest.raises(RenderError, match=CLOSED) as caught:
        test(SCOPE)
    assert KEY not in caught.value.sentence


# -- where a document wants to show it -----------------------------------------------------------------------------------

SHOWN = [
    "workflow: {output: '${env.A_KEY}'}\ncomponent: {type: echo, value: 1}",
    "workflow: {output: 'it is ${env.A_KEY}'}\ncomponent: {type: echo, value: 1}",
    "workflow: {output: {a: [{b: '${env.A_KEY}'}]}}\ncomponent: {type: echo, value: 1}",
    "workflow: {job: {output: '${env.A_KEY}'}}\ncomponent: {type: echo, value: 1}",
    "component: {type: echo, value: 1, output: '${env.A_KEY}'}",
    "component: {type: echo, text: 'a b c', output: '${result[]} ${env.A_KEY}'}",
    "component: {type: echo, text: 'a b c', output: {a: '${env.A_KEY}', b: '${result[]}'}}",
]


@pytest.mark.parametrize("yaml", SHOWN)
def test_no_output_shows_it(yaml: str) -> None:
    run = composemagic.load(yaml, env={"A_KEY": KEY}).start({})
    assert run.wait(60) and run.status == "failed" and run.error is not None
    assert CLOSED in run.error.sentence
    assert KEY not in repr(run.events) + run.text + repr(run.output) + str(run.error) + repr(run.jobs) + repr(run)


GIVEN = [
    "component: {type: echo, value: '${env.A_KEY}'}",
    "component: {type: echo, text: 'x ${env.A_KEY}'}",
    "workflow: {job: {input: {a: ['${env.A_KEY}']}}}\ncomponent: {type: echo}",
    "component: {type: shell, command: ['echo', '${env.A_KEY}']}",
    "component: {type: shell, command: ['env'], env: {X: '${env.A_KEY}'}}",
    "component: {type: function, function: f, input: {a: '${env.A_KEY}'}}",
]


def _keeping(seen: list[Any]) -> Callable[[Any], None]:
    def f(a: Any) -> None:
        seen.append(a)

    return f


@pytest.mark.parametrize("yaml", GIVEN)
def test_no_component_is_given_it(yaml: str) -> None:
    seen: list[Any] = []
    undo = composemagic.allow("shell")
    try:
        workflow = composemagic.load(yaml, env={"A_KEY": KEY}, functions={"f": _keeping(seen)})
    except composemagic.DocumentError as error:
        pytest.fail(str(error))
    run = workflow.start({})
    assert run.wait(60) and run.status == "failed" and run.error is not None
    undo()
    kind = workflow._plan.jobs[0].action.component.type
    assert run.error.kind == "not_allowed"
    assert f'composemagic.allow("A_KEY", "{kind}")' in run.error.sentence and not seen
    assert KEY not in repr(run.events) + str(run.error)


def test_a_component_type_may_be_allowed() -> None:
    seen: list[Any] = []
    yaml = "component: {type: function, function: f, input: {a: 'x ${env.A_KEY}'}}"
    workflow = composemagic.load(yaml, env={"A_KEY": KEY, "B_KEY": KEY}, functions={"f": lambda a: seen.append(a) or a})
    undo = composemagic.allow("A_KEY", "function")
    run = workflow.start({})
    assert run.wait(60) and run.status == "done", run.error
    undo()
    assert seen == [f"x {KEY}"] and run.output == "x ***"


def test_a_program_that_prints_all_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has what this process has; nothing in the document names the key."""
    monkeypatch.setenv("SOME_API_KEY", KEY)
    undo = composemagic.allow("shell")
    run = composemagic.load("component: {type: shell, command: [env]}").start({})
    assert run.wait(60)
    undo()
    assert run.status == "done" and "SOME_API_KEY=***" in repr(run.output) and KEY not in repr(run.output)


MISTAKES = [
    "workflow: {job: {input: {n: '${env.A_KEY as integer}'}}}\ncomponent: {type: echo}",
    "workflow: {job: {component: {type: '${env.A_KEY}'}}}",
    "workflow: {job: {repeat_count: '${env.A_KEY as integer}'}}\ncomponent: {type: echo}",
    "workflow: {id: '${env.A_KEY}', job: {}}\ncomponent: {type: echo}",
]


@pytest.mark.parametrize("yaml", MISTAKES)
def test_a_mistake_does_not_show_it(yaml: str) -> None:
    with pytest.raises(composemagic.DocumentError) as caught:
        composemagic.load(yaml, env={"A_KEY": KEY})
    assert "is a secret" in str(caught.value) and KEY not in str(caught.value) and "canary" not in str(caught.value)


def test_a_title_does_not_show_it() -> None:
    workflow = composemagic.load(
        "workflow: {title: 'my ${env.A_KEY}', job: {}}\ncomponent: {type: echo}", env={"A_KEY": KEY}
    )
    assert KEY not in workflow.title + repr(workflow)


def test_numbers_with_the_name_of_a_count_stay_numbers() -> None:
    yaml = "component:\n  type: echo\n  value: {max_tokens: ${env.MAX_TOKENS}, n: '${env.MAX_TOKENS as integer}'}\n"
    assert composemagic.load(yaml, env={"MAX_TOKENS": "500"})().output == {"max_tokens": 500, "n": 500}


def test_another_workflow_is_given_it_closed() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"ok": True})

    yaml = """
workflows:
  - {id: outer, default: true, job: {component: inner-one}}
  - {id: inner, job: {component: web}}
components:
  - {id: inner-one, type: workflow, workflow: inner, input: {auth: "Bearer ${env.OPENAI_API_KEY}"}}
  - {id: web, type: http-client, endpoint: "https://api.openai.com/v1", headers: {Authorization: "${input.auth}"}}
"""
    workflow = composemagic.load(yaml, transport=httpx.MockTransport(answer), env={"OPENAI_API_KEY": KEY})
    run = workflow.start({})
    assert run.wait(60) and run.status == "done", run.error
    assert asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_component_of_a_package_asks_for_its_request_to_be_opened() -> None:
    seen: list[Any] = []

    class Telling:
        type: ClassVar[str] = "telling"
        sources: ClassVar[tuple[str, ...]] = ("result",)
        call_sources: ClassVar[dict[str, Any]] = {}
        nested: ClassVar[dict[str, Any]] = {}
        text_fields: ClassVar[frozenset[str]] = frozenset()
        spellings: ClassVar[dict[str, Any]] = {}

        class settings(composemagic.workflow.component.Settings):  # noqa: N801
            pass

        class action(composemagic.workflow.component.Settings):  # noqa: N801
            headers: Any = None

        @classmethod
        def faults(cls, settings: Any, action: Any) -> tuple[()]:
            return ()

        @classmethod
        def not_run(cls, settings: Any, action: Any) -> None:
            return None

        async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
            headers = await context.sealed(action.fields["headers"])
            seen.append(repr(headers))
            seen.append(await context.open("https://api.openai.com/v1", headers))
            yield Value("done")

    undo = composemagic.register_component(Telling)  # type: ignore[arg-type]
    yaml = "component: {type: telling, headers: {a: '${env.OPENAI_API_KEY}', b: x}}"
    run = composemagic.load(yaml, env={"OPENAI_API_KEY": KEY}).start({})
    assert run.wait(60) and run.status == "done", run.error
    undo()
    assert seen == ["{'a': ***, 'b': 'x'}", ("https://api.openai.com/v1", {"a": KEY, "b": "x"}, None)]
