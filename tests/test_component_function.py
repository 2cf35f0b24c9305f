"""`type: function` and `@composemagic.component`: a user's Python functions in a workflow, called, streamed and blamed rightly."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

import composemagic
from composemagic import DocumentError, Run, RunError, UsageError
from composemagic.components import calling, decorator, function
from composemagic.components.calling import as_function
from composemagic.components.signature import description, json_schema, parameters

HERE = Path(__file__).name


def ran(called: Callable[..., Any], value: Any = None, *, more: str = "", name: str = "given") -> Run:
    """The run of a workflow of one job that calls a function, with an input as it is."""
    yaml = f"component:\n  type: function\n  function: {name}\n{more}"
    run = composemagic.load(yaml, functions={name: called}).start(value)
    assert run.wait(60)
    return run


def output(called: Callable[..., Any], value: Any = None, **how: Any) -> Any:
    run = ran(called, value, **how)
    assert run.error is None, run.error
    return run.output


def sentence(called: Callable[..., Any], value: Any = None, **how: Any) -> str:
    run = ran(called, value, **how)
    assert run.error is not None
    return run.error.sentence


# -- what is called, and with what


def double(number: int) -> int:
    return number * 2


async def adouble(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


def greet(name: str, greeting: str = "Hello", *, end: str = "!") -> str:
    return f"{greeting} {name}{end}"


def given_all(**everything: Any) -> dict[str, Any]:
    return everything


def first_only(first: Any, /, second: int = 5) -> list[Any]:
    return [first, second]


class Scale:
    """Something that can be called and is no function."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, number: int) -> int:
        return number * self.by

    async def later(self, number: int) -> int:
        return number * self.by


@pytest.mark.parametrize(
    ("called", "value", "expected"),
    [
        (double, {"number": 4}, 8),
        (adouble, {"number": 4}, 8),
        (double, 4, 8),  # what is no mapping is the first argument
        (double, [1], [1, 1]),
        (greet, {"name": "Ada"}, "Hello Ada!"),
        (greet, {"name": "Ada", "end": "?", "greeting": "Who is"}, "Who is Ada?"),
        (greet, "Ada", "Hello Ada!"),
        (given_all, {"a": 1, "b": [2]}, {"a": 1, "b": [2]}),
        (given_all, None, {}),
        (first_only, {"first": 1}, [1, 5]),
        (first_only, {"second": 2, "first": 1}, [1, 2]),
        (lambda: "nothing", None, "nothing"),
        (lambda: "nothing", {}, "nothing"),
        (lambda: None, {}, None),
        (lambda number, *_: adouble(number), {"number": 3}, 6),  # a plain function that gives a coroutine
        (functools.partial(greet, greeting="Good day"), {"name": "Ada"}, "Good day Ada!"),
        (functools.partial(adouble), {"number": 3}, 6),
        (Scale(3), {"number": 4}, 12),
        (Scale(3).later, {"number": 4}, 12),
        (len, "four", 4),
        (dict, {"a": 1}, {"a": 1}),
    ],
)
def test_the_input_is_the_arguments(called: Callable[..., Any], value: Any, expected: Any) -> None:
    assert output(called, value) == expected


@pytest.mark.parametrize(
    ("called", "value", "expected"),
    [
        (double, {}, "`given` needs `number`"),
        (double, None, "`given` needs `number`"),
        (double, {"nubmer": 1}, "`given` takes no `nubmer`; did you mean `number`?"),
        (double, {"number": 1, "x": 2}, "`given` takes no `x`; it takes `number`"),
        (lambda: 1, {"x": 2}, "`given` takes no `x`; it takes no arguments"),
        (lambda: 1, 5, "`given` takes no arguments"),
        (lambda a, b, c=1: a, {}, "`given` needs `a`, `b`"),
        (first_only, {"second": 1}, "`given` needs `first`"),
    ],
)
def test_wrong_arguments_are_one_sentence(called: Callable[..., Any], value: Any, expected: str) -> None:
    assert sentence(called, value) == expected


def test_the_actions_input_maps_the_arguments() -> None:
    more = "  input: {name: '${input.who}', end: '...'}\n  output: 'It said: ${result}'\n"
    assert output(greet, {"who": "Ada"}, more=more) == "It said: Hello Ada..."


def test_several_actions_may_call_several_functions() -> None:
    yaml = """
    component:
      type: function
      actions:
        - {id: twice, function: double, input: {number: "${input.n as integer}"}}
        - {id: greet, function: greet, input: {name: "${input.who}"}}
    workflow: {job: {action: greet}}
    """
    workflow = composemagic.load(yaml, functions={"double": double, "greet": greet})
    assert [one.name for one in workflow.inputs] == ["who"]
    assert workflow(who="Ada").output == "Hello Ada!"


def test_a_stream_is_given_as_what_it_holds() -> None:
    yaml = """
    workflow:
      jobs:
        - {id: say, component: {type: echo, text: one two three}}
        - {id: count, component: {type: function, function: given_all, input: {text: "${input.text}"}}, input: {text: "${jobs.say.output}"}}
    """
    assert composemagic.load(yaml, functions={"given_all": given_all})().output == {"text": "one two three"}


def test_a_function_that_is_not_there_is_named_with_the_nearest() -> None:
    run = ran(double, {"number": 1}, name="double", more="  input: {number: 1}\n")
    assert run.output == 2
    run = composemagic.load("component: {type: function, function: dubble}", functions={"double": double}).start({})
    assert run.wait(60)
    assert run.error is not None
    assert run.error.sentence == "there is no Python function `dubble`; did you mean `double`?"


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        (
            "component: {type: function, input: {a: 1}}",
            "a function component needs `function`, the name of a Python function",
        ),
        ("component: {type: function, function: '${input.f}'}", "`function` is the name of a Python function"),
        (
            "component: {type: function, function: os.system}",
            '`function` is the name of a Python function, not "os.system"',
        ),
        (
            "component: {type: function, function: f, inptu: 1}",
            "unknown key `inptu` in a function component; did you mean `input`?",
        ),
        (
            "component: {type: function, function: f, output: '${response}'}",
            "`response` cannot be used here; did you mean `result`?",
        ),
    ],
)
def test_mistakes_are_found_when_the_document_is_loaded(yaml: str, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        composemagic.load(yaml)
    assert expected in str(caught.value)


SCRIPT = """
import composemagic
from os import getcwd

def own(): return "mine"
class Made:
    def __call__(self): return "made"
made = Made()
short = lambda: "short"

for name in ("own", "made", "short", "getcwd", "nothing", "composemagic", "__builtins__"):
    run = composemagic.load(f"component: {{type: function, function: {name}}}").start({})
    run.wait()
    print(run.output or run.error.sentence)
print(composemagic.load("component: {type: function, function: getcwd}", functions={"getcwd": getcwd})().output)
"""


def test_a_script_lends_what_it_wrote_and_not_what_it_imported(tmp_path: Path) -> None:
    """Else a document could call `system` of a notebook that has imported it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    *lent, imported, nothing, module, builtins, given = done.stdout.splitlines()
    assert lent == ["mine", "made", "short"]
    assert "`getcwd` is imported from posix" in imported or "`getcwd` is imported from nt" in imported
    assert nothing.startswith("there is no Python function `nothing`")
    assert "`composemagic` is no Python function but of the type module" in module
    assert "`__builtins__` is no Python function" in builtins
    assert given == str(tmp_path)


# -- streams


def words(text: str) -> Iterator[str]:
    yield from re.findall(r"\S+\s*", text)


async def awords(text: str) -> AsyncIterator[str]:
    for word in words(text):
        await asyncio.sleep(0)
        yield word


@pytest.mark.parametrize("called", [words, awords, lambda text, *_: words(text), lambda text, *_: awords(text)])
def test_a_generator_streams(called: Callable[..., Any]) -> None:
    run = ran(called, {"text": "one two three"})
    assert (run.output, run.timing.deltas) == ("one two three", 3)


@pytest.mark.parametrize("called", [words, awords])
def test_each_chunk_can_be_mapped(called: Callable[..., Any]) -> None:
    assert output(called, {"text": "one two"}, more="  output: '<${result[]}>'\n") == "<one ><two>"


def test_other_things_than_text_stream_too() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)

    assert output(numbers) == [0, 1, 2]


def test_a_generator_stays_on_its_thread_and_is_closed_there() -> None:
    threads: list[threading.Thread] = []

    def generator() -> Iterator[int]:
        try:
            for number in range(3):
                threads.append(threading.current_thread())
                yield number
        finally:
            threads.append(threading.current_thread())

    assert output(generator) == [0, 1, 2]
    assert len(set(threads)) == 1
    assert threads[0].daemon


@pytest.mark.parametrize("is_async", [False, True])
def test_a_run_that_is_stopped_closes_the_generator(is_async: bool) -> None:
    began, closed = threading.Event(), threading.Event()

    def endless() -> Iterator[str]:
        try:
            while True:
                began.set()
                yield "more "
        finally:
            closed.set()

    async def aendless() -> AsyncIterator[str]:
        for word in (source := endless()):
            await asyncio.sleep(0)
            try:
                yield word
            except GeneratorExit:
                source.close()
                raise

    yaml = "component: {type: function, function: endless}"
    run = composemagic.load(yaml, functions={"endless": aendless if is_async else endless}).start({})
    assert began.wait(30)
    run.cancel()
    assert run.wait(30)
    assert run.status == "stopped"
    assert closed.wait(30)


def test_a_plain_function_does_not_hold_up_the_others() -> None:
    """It runs on a thread of its own, a daemon: the loop of all runs is free meanwhile."""
    go, kind = threading.Event(), []

    def waits() -> str:
        kind.append(threading.current_thread().daemon)
        assert go.wait(30)
        return "done"

    slow = composemagic.load("component: {type: function, function: waits}", functions={"waits": waits}).start({})
    assert composemagic.load("component: {type: echo, value: quick}")().output == "quick"
    assert not slow.done
    go.set()
    assert (slow.result(30), kind) == ("done", [True])


def test_an_exit_in_a_function_ends_the_run_and_no_more() -> None:
    def leaves() -> None:
        raise SystemExit(3)

    async def aleaves() -> None:
        raise SystemExit(3)

    assert "raised SystemExit: 3" in sentence(leaves)
    assert "raised SystemExit: 3" in sentence(aleaves)
    assert output(double, 2) == 4


# -- whose line it was


def broken(number: int) -> float:
    return inner(number) + 1


def inner(number: int) -> float:
    return 1 / number


async def abroken(number: int) -> float:
    await asyncio.sleep(0)
    return inner(number)


def broken_in_the_library(number: int) -> Any:
    return re.compile("(" * number)


def breaks_off() -> Iterator[str]:
    yield "one "
    raise ValueError("no more")


def line_of(text: str) -> int:
    return next(
        at for at, line in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1) if text in line
    )


@pytest.mark.parametrize(
    ("called", "value", "error", "at", "marked"),
    [
        (broken, 0, "ZeroDivisionError: division by zero", "return 1 / number", "1 / number"),
        (abroken, 0, "ZeroDivisionError: division by zero", "return 1 / number", "1 / number"),
        (
            broken_in_the_library,
            2,
            "missing ), unterminated subpattern",
            'return re.compile("(" *',
            're.compile("(" * number)',
        ),
        (breaks_off, None, "ValueError: no more", 'raise ValueError("no more")', 'raise ValueError("no more")'),
    ],
)
def test_an_error_shows_the_users_own_line(called: Any, value: Any, error: str, at: str, marked: str) -> None:
    run = ran(called, value)
    assert run.error is not None
    assert run.error.kind == "function"
    assert error in run.error.sentence
    assert run.error.sentence.endswith(f"{HERE}, line {line_of(at)})")
    mark = run.error.mark
    assert mark is not None
    assert mark.source.line(mark.line)[mark.column : mark.column + mark.length] == marked
    drawn = str(run.error).splitlines()
    assert "^" in drawn[-1]
    assert not any("calling.py" in line for line in drawn)
    assert isinstance(run.error.__cause__, Exception), "for developers"


def test_what_streamed_before_the_error_is_kept() -> None:
    run = ran(breaks_off)
    assert (run.status, run.text) == ("failed", "one ")


def test_a_function_written_in_c_has_no_line() -> None:
    assert sentence(len, {"obj": 5}) == "`given` raised TypeError: object of type 'int' has no len()"


def test_columns_count_characters_and_not_bytes() -> None:
    def wide() -> None:
        text = "äöü 你好"; text.nothing  # fmt: skip  # noqa: E702

    run = ran(wide)
    assert run.error is not None
    assert run.error.mark is not None
    mark = run.error.mark
    assert mark.source.line(mark.line)[mark.column : mark.column + mark.length] == "text.nothing"


def test_source_that_is_gone_leaves_the_sentence() -> None:
    space: dict[str, Any] = {}
    exec("def made():\n    raise KeyError('k')", space)
    run = ran(space["made"])
    assert run.error is not None
    assert (run.error.sentence, run.error.mark) == ("`given` raised KeyError: 'k' (<string>, line 2)", None)


def test_a_workflow_in_a_function_fails_with_its_own_sentence() -> None:
    failing = composemagic.load("component: {type: echo, text: x, delay: soon}")

    def calls() -> Any:
        return failing()

    assert "`given` raised `delay` is a number of seconds" in sentence(calls)


# -- what is known of a function


def documented(
    city: str, days: int = 3, units: Literal["c", "f"] = "c", *, near: list[float] | None = None
) -> dict[str, float]:
    """How warm it will be.

    It asks the weather service.

    Args:
        city: the name of a city,
            in any language
        days (int): how many
        near: degrees of latitude and longitude

    Returns:
        days: warmth
    """
    return {}


def numpy_like(city, days=3):
    """How warm it will be.

    Parameters
    ----------
    city : str
        The name of a city,
        in any language.
    days : int, optional
        How many.

    Returns
    -------
    dict
    """


def sphinx_like(city, days=3):
    """How warm it will be.

    :param city: the name
    :param int days: how many
    :returns: warmth
    """


def annotated(
    city: Annotated[str, "the name"], flag: bool, anything: object, more: dict[str, int], either: int | str
) -> None: ...


def test_a_signature_is_a_json_schema() -> None:
    assert json_schema(documented) == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "the name of a city, in any language"},
            "days": {"type": "integer", "description": "how many", "default": 3},
            "units": {"enum": ["c", "f"], "default": "c"},
            "near": {"type": "array", "items": {"type": "number"}, "description": "degrees of latitude and longitude"},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert description(documented) == "How warm it will be.\n\nIt asks the weather service."


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        (numpy_like, {"city": "The name of a city, in any language.", "days": "How many."}),
        (sphinx_like, {"city": "the name", "days": "how many"}),
        (annotated, {"city": "the name", "flag": "", "anything": "", "more": "", "either": ""}),
        (double, {"number": ""}),
    ],
)
def test_docstrings_say_what_parameters_are_for(called: Callable[..., Any], expected: dict[str, str]) -> None:
    assert {one.name: one.description for one in parameters(called)} == expected


def test_annotations_of_every_kind() -> None:
    kinds = {one.name: dict(one.schema) for one in parameters(annotated)}
    assert kinds == {
        "city": {"type": "string"},
        "flag": {"type": "boolean"},
        "anything": {},
        "more": {"type": "object"},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    }
    assert json_schema(given_all)["additionalProperties"] is True


def test_an_annotation_that_cannot_be_read_is_none() -> None:
    space: dict[str, Any] = {}
    exec("def odd(a: 'Nowhere', b: 5 = 1): pass", space)
    assert [(one.name, dict(one.schema), one.required) for one in parameters(space["odd"])] == [
        ("a", {}, True),
        ("b", {}, False),
    ]


def test_a_function_is_a_tool() -> None:
    tool = as_function(documented).tool()
    assert (tool.name, tool.description) == ("documented", "How warm it will be.\n\nIt asks the weather service.")
    assert tool.parameters == json_schema(documented)
    assert asyncio.run(as_function(adouble).tool().call({"number": 4})) == 8
    assert asyncio.run(as_function(words).tool().call({"text": "a b"})) == "a b"
    with pytest.raises(RunError, match="takes no `n`"):
        asyncio.run(as_function(double).tool().call({"n": 4}))


# -- a component type of one's own


@pytest.fixture
def shout() -> Iterator[Any]:
    @composemagic.component("shout")
    def shout(text: str, times: int = 1, loud: bool = True, style: Literal["plain", "odd"] = "plain") -> str:
        """Say it louder."""
        return (text.upper() if loud else text) + "!" * times

    yield shout
    shout.undo()


SHOUT = "component:\n  type: shout\n  text: ${input.text}\n"


def test_a_decorated_function_is_a_type(shout: Any) -> None:
    workflow = composemagic.load(SHOUT + "  times: 3\n")
    assert [one.name for one in workflow.inputs] == ["text"]
    assert workflow(text="hello").output == "HELLO!!!"
    assert shout("hi") == "HI!", "it is still the function it was"


@pytest.mark.parametrize(
    ("line", "expected", "caret"),
    [
        ("  tims: 3", "unknown key `tims` in a shout component; did you mean `times`?", "tims"),
        ("  times: often", '`times` is a whole number, this is "often"', "often"),
        ("  times: 1.5", "`times` is a whole number, this is 1.5", "1.5"),
        ("  times: true", "`times` is a whole number, this is true", "true"),
        ("  loud: [1]", "`loud` is true or false, this is a list", "[1]"),
        ("  style: even", '`style` is one of plain, odd, this is "even"', "even"),
        ("  output: ${response}", "`response` cannot be used here; did you mean `result`?", "response"),
    ],
)
def test_unknown_and_unfit_settings_are_mistakes_with_carets(shout: Any, line: str, expected: str, caret: str) -> None:
    with pytest.raises(DocumentError) as caught:
        composemagic.load(SHOUT + line + "\n")
    (mistake,) = caught.value.mistakes
    assert expected in mistake.sentence
    assert mistake.mark is not None
    assert mistake.mark.source.line(mistake.mark.line)[mistake.mark.column :].startswith(caret)


def test_a_required_parameter_is_a_required_key(shout: Any) -> None:
    with pytest.raises(DocumentError, match="needs `text`"):
        composemagic.load("component: {type: shout, times: 2}")


@pytest.mark.parametrize("times", ["${input.n}", "${input.n as integer}", "null"])
def test_templates_and_null_are_checked_in_the_run(shout: Any, times: str) -> None:
    assert composemagic.load(SHOUT + f"  loud: ${{input.loud}}\n  style: odd\n  times: {times if times != 'null' else 2}\n").start(
        {"text": "a", "n": 2, "loud": False}
    ).result(30) == "a!!"  # fmt: skip


def test_running_the_cell_again_replaces_the_type(shout: Any) -> None:
    before = composemagic.load(SHOUT)

    @composemagic.component("shout")
    def whisper(text: str) -> str:
        return text.lower()

    try:
        assert composemagic.load(SHOUT)(text="Ada").output == "ada"
        assert before(text="Ada").output == "ADA!", "what is loaded stays what it was"
        shout.undo()
        assert composemagic.load(SHOUT)(text="Ada").output == "ada", "an old version's undo undoes nothing newer"
    finally:
        whisper.undo()  # type: ignore[attr-defined]
    with pytest.raises(DocumentError, match="unknown component type `shout`"):
        composemagic.load(SHOUT)
    whisper.undo()  # type: ignore[attr-defined]  # a second time is nothing


def test_a_generator_and_an_async_function_can_be_types() -> None:
    made = [composemagic.component("words")(words), composemagic.component("later")(adouble)]
    try:
        assert composemagic.load("component: {type: words, text: '${input.text}'}")(text="a b").timing.deltas == 2
        assert composemagic.load("component: {type: later, number: 4}")().output == 8
    finally:
        for one in made:
            one.undo()  # type: ignore[attr-defined]


def test_an_error_in_a_decorated_function_shows_its_line(shout: Any) -> None:
    made = composemagic.component("broken")(broken)
    try:
        with pytest.raises(
            RunError, match=rf"`broken` raised ZeroDivisionError: .* \(.*{HERE}, line {line_of('return 1 / number')}\)"
        ):
            composemagic.load("component: {type: broken, number: 0}")()
    finally:
        made.undo()  # type: ignore[attr-defined]


def test_a_parameter_may_be_called_name() -> None:
    made = composemagic.component("greet")(greet)
    try:
        assert (
            composemagic.load("component: {type: greet, name: '${input.who}', end: '?'}")(who="Ada").output
            == "Hello Ada?"
        )
        assert composemagic.load("component: {type: greet, action: {name: Ada}}")().output == "Hello Ada!"
        with pytest.raises(DocumentError, match="needs `name`"):
            composemagic.load("component: {type: greet, end: '?'}")
    finally:
        made.undo()  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", ["output", "id", "type", "actions"])
def test_a_parameter_cannot_have_the_name_of_a_key_of_all(key: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def odd({key}): pass", space)
    with pytest.raises(UsageError, match=f"`{key}` of a component type needs another name"):
        composemagic.component("odd")(space["odd"])


def test_a_type_needs_a_name() -> None:
    with pytest.raises(UsageError, match="needs a name"):
        composemagic.component(double)  # type: ignore[arg-type]


# -- the docstrings' examples


def test_the_examples_run() -> None:
    for module in (function, decorator):
        code = (module.__doc__ or "").split("\n\n", 1)[1].split("\n\n")
        example = "\n\n".join(part for part in code if part.startswith("    "))
        space: dict[str, Any] = {"composemagic": composemagic}
        exec("\n".join(line[4:] for line in example.splitlines()), space)
        if module is function:
            assert space["chat"](text="one three five seven").output == 3
        else:
            assert space["shout"]("hello", 3) == "HELLO!!!"
            space["shout"].undo()


def test_libraries_are_not_the_users() -> None:
    assert all(Path(path).is_dir() for path in calling._LIBRARIES)
