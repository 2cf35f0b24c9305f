"""Interrupts: when people are asked, what they see, what their answers do. And hooks, which only Python allows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import composemagic
from composemagic import RunError, UsageError
from composemagic.allowance import is_allowed
from composemagic.engine.events import Interrupted, Point, Resumed, RunFinished
from composemagic.engine.interrupts import Interrupts, by_point
from composemagic.engine.run import Run
from composemagic.workflow.component import Context, Value
from tests.jobs import acting, load, output, ran, story


def answered(jobs: str, *answers: Any, value: Any = None, **how: Any) -> tuple[Run, list[Interrupted]]:
    """The run of these jobs, its stops answered in turn (null for all that are left), and the stops."""
    run = load(jobs, **how).start({} if value is None else value)
    left, stops = list(answers), []
    for event in run:
        if isinstance(event, Interrupted):
            assert run.status == "interrupted" and run.points == event.points
            stops.append(event)
            run.answer(left.pop(0) if left else None)
    return run, stops


def points(stop: Interrupted) -> list[tuple[str, str]]:
    return [(point.job_id, point.phase) for point in stop.points]


# the job, the answers, what comes out, what was asked
ASKED: list[tuple[str, list[Any], Any, list[list[tuple[str, str]]]]] = [
    ("{id: a, input: 1, interrupt: {before: true}}", [None], 1, [[("a", "before")]]),
    ("{id: a, input: 1, interrupt: {before: true}}", [{"a": 2}], 2, [[("a", "before")]]),
    ("{id: a, input: 1, interrupt: {after: true}, output: '<${output}>'}", [{"a": 0}], "<0>", [[("a", "after")]]),
    ("{id: a, input: 1, interrupt: {after: true}}", [{"a": False}], False, [[("a", "after")]]),
    ("{id: a, input: 1, interrupt: {before: true, after: true}}", [{"a": 2}, {"a": 3}], 3, [[("a", "before")], [("a", "after")]]),
    ("{id: a, input: 1, interrupt: {before: false}}", [], 1, []),
    ("{id: a, input: 5, interrupt: {before: {condition: {input: '${job.input}', operator: gt, value: 3}}}}", [{"a": 3}], 3, [[("a", "before")]]),
    ("{id: a, input: 2, interrupt: {before: {condition: {input: '${job.input}', operator: gt, value: 3}}}}", [], 2, []),
    ("{id: a, input: 2, interrupt: {after: {condition: {input: '${job.output}', value: 2}}}}", [{"a": 9}], 9, [[("a", "after")]]),
    ("{id: a, type: delay, duration: 0, interrupt: {after: true}}", [{"a": 1}], 1, [[("a", "after")]]),
    ("{id: a, component: words, input: a b c, interrupt: {after: true}}", [None], "a b c", [[("a", "after")]]),
    ("{id: a, type: filter, input: [1, 2], interrupt: {before: true}, where: {input: '${item}', value: 3}}", [{"a": [3, 4]}], [3], [[("a", "before")]]),
    ("{id: a, type: pipeline, input: 1, steps: [{interrupt: {after: true}}, {output: '<${output}>'}]}", [{"a[step:0]": 2}], "<2>", [[("a[step:0]", "after")]]),
    ("{id: a, type: for-each, batch_size: 2, input: [1, 2], do: {interrupt: {before: true}}}", [None], [1, 2], [[("a[do]", "before"), ("a[do]", "before")]]),
    ("{id: a, input: 1, interrupt: {before: true}}, {id: b, input: 2, interrupt: {before: true}}", [None], 2, [[("a", "before"), ("b", "before")]]),
    ("{id: a, input: 1, interrupt: {before: true}}, {id: b, type: delay, duration: 20ms}, {id: c, depends_on: [b], input: 3, interrupt: {before: true}}", [None], 3, [[("a", "before"), ("c", "before")]]),
]  # fmt: skip


@pytest.mark.parametrize(("jobs", "answers", "wanted", "asked"), ASKED)
def test_asking(jobs: str, answers: list[Any], wanted: Any, asked: list[list[tuple[str, str]]]) -> None:
    run, stops = answered(f"  jobs: [{jobs}]", *answers)
    assert run.error is None and run.output == wanted
    assert [points(stop) for stop in stops] == asked


def test_what_people_see() -> None:
    jobs = """
  jobs:
    - id: pay
      input: {amount: 12}
      interrupt:
        after: {message: "pay ${job.input.amount} for ${input.who}?", metadata: {got: "${job.output}", run: "${context.run_id}"}}
"""
    run, (stop,) = answered(jobs, value={"who": "Ann"})
    (point,) = stop.points
    assert (point.message, point.metadata) == ("pay 12 for Ann?", {"got": {"amount": 12}, "run": run.id})
    assert point.value == {"amount": 12} and point.run_id.startswith(f"{run.id}-pay-")
    told = [event for event in run.events if isinstance(event, Interrupted | Resumed | RunFinished)]
    assert [type(event) for event in told] == [Interrupted, Resumed, RunFinished]
    assert isinstance(told[1], Resumed) and told[1].points == (point.id,)


def test_partial_answers() -> None:
    """Who is answered goes on; the rest is asked again when everything waits again."""
    jobs = "  jobs: [{id: a, input: 1, interrupt: {before: true}}, {id: b, input: 2, interrupt: {before: true}}, {id: c, depends_on: [a], input: {a: '${jobs.a.output}', b: '${jobs.b.output}'}}]"
    run, stops = answered(jobs, {"a": 5}, {"b": 6})
    assert run.output == {"a": 5, "b": 6}
    assert [points(stop) for stop in stops] == [[("a", "before"), ("b", "before")], [("b", "before")]]
    assert story(run).index("a done") < story(run).index("b done")


def test_asking_again_on_every_run_of_a_job() -> None:
    jobs = """
  jobs:
    - {id: go, type: if, input: 1, value: 1, if_true: draft}
    - {id: draft, input: "${jobs.draft.output | a}", interrupt: {after: {message: "good?"}}}
    - {id: r, type: if, input: "${jobs.draft.output}", value: good, if_true: end, if_false: draft}
    - {id: end, input: "${jobs.draft.output}!"}
"""
    run, stops = answered(jobs, {"draft": "b"}, {"draft": "good"})
    assert run.output == "good!" and len(stops) == 2
    assert len({stop.points[0].run_id for stop in stops}) == len({stop.points[0].id for stop in stops}) == 2


A, B = Point("p-1", "a", "x-1", "before"), Point("p-2", "b", "x-2", "after")
FORMS: list[tuple[Any, dict[str, Any]]] = [
    (None, {"p-1": None, "p-2": None}),
    ({"p-1": 1}, {"p-1": 1}),
    ({"b": 2}, {"p-2": 2}),
    ({"answer": {"p-1": 1, "p-2": None}}, {"p-1": 1, "p-2": None}),
    ({"answer": None}, {"p-1": None, "p-2": None}),
    ({"job_id": "a", "run_id": "x-1", "answer": {"v": 1}}, {"p-1": {"v": 1}}),
    ({"job_id": "b", "answer": 0}, {"p-2": 0}),
    ({"job_id": "b"}, {"p-2": None}),
    ({}, {}),
]


@pytest.mark.parametrize(("form", "wanted"), FORMS)
def test_forms_of_answers(form: Any, wanted: dict[str, Any]) -> None:
    assert by_point(form, (A, B)) == wanted


@pytest.mark.parametrize("answer", ["yes", 5, ["a"], True])
def test_the_only_open_point_needs_no_name(answer: Any) -> None:
    assert by_point(answer, (A,)) == {"p-1": answer}


NO_ANSWERS: list[tuple[Any, str]] = [
    ({"aa": 1}, "`aa` waits for no answer; did you mean `a`?; these do: `a`, `p-1`, `b`, `p-2`"),
    ({"job_id": "a", "run_id": "x-9", "answer": 1}, "`a` waits for no answer"),
    (5, "answers are a mapping of points to what they are answered, not 5"),
]


@pytest.mark.parametrize(("form", "sentence"), NO_ANSWERS)
def test_what_is_no_answer(form: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        by_point(form, (A, B))
    assert sentence in str(caught.value)


def test_nobody_can_answer_a_call_that_blocks() -> None:
    workflow = load("  job: {interrupt: {before: true}}")
    with pytest.raises(
        RunError, match="the job `job-1` waits for a person's answer, and nobody can give one here"
    ) as caught:
        workflow()
    assert caught.value.kind == "unattended" and caught.value.job == "job-1"


def test_nobody_is_asked_again_after_a_retry_or_instead() -> None:
    workflow = load("  job: {interrupt: {before: true}, retry: 3, on_error: ignore}")
    with pytest.raises(RunError, match="waits for a person's answer"):
        workflow()


def test_going_on_by_itself() -> None:
    jobs = "  jobs: [{id: a, input: 1, interrupt: {before: true, after: true}}]"
    run = ran(jobs, auto_resume=True)
    assert run.output == 1 and not [event for event in run.events if isinstance(event, Interrupted)]


def test_a_stop_while_people_are_asked() -> None:
    run = load("  jobs: [{id: a, interrupt: {before: true}}, {id: b, depends_on: [a]}]").start({})
    for event in run:
        if isinstance(event, Interrupted):
            run.cancel()
    assert run.status == "stopped" and story(run) == ["a started", "a stopped", "b skipped"] and run.points == ()


def test_a_component_asks() -> None:
    """An agent's approval: two questions at once are one batch, each with its own answer."""

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        yield Value(await asyncio.gather(context.ask("first?", {"tool": "x"}), context.ask("second?")))

    undo = acting(act)
    try:
        run, (stop, *more) = answered("  job: {id: a, component: {type: acting}}", {"a": 1}, None, parts="")
    finally:
        undo()
    assert [(point.phase, point.message, point.metadata) for point in stop.points] == [
        ("ask", "first?", {"tool": "x"}), ("ask", "second?", None),
    ]  # fmt: skip
    assert run.output == [1, None] and len(more) == 1


def test_a_workflow_inside_asks() -> None:
    yaml = """
workflows:
  - {id: main, default: true, jobs: [{id: outer, component: {type: workflow, workflow: inner, input: 1}}]}
  - {id: inner, jobs: [{id: ask, interrupt: {after: {message: "ok?"}}, component: {type: echo}}]}
"""
    run = composemagic.load(yaml).start({})
    for event in run:
        if isinstance(event, Interrupted):
            assert points(event) == [("ask", "after")]
            run.answer({"ask": 2})
    assert run.output == 2 and story(run) == ["outer started", "outer done"]


# -- hooks -------------------------------------------------------------------------------------------------------------------

HOOKED = """
  job:
    id: a
    input: {v: 1}
    hook:
      before: {script: "def hook(input, **k):\\n    input['b'] = k['phase']\\n    return input\\n"}
      after: [{script: "async def hook(input, output, **k):\\n    output['saw'] = input['b']\\n    output['job'] = k['job_id']\\n    return output\\n"}]
    output: {all: "${output}"}
"""


def test_hooks_are_refused_until_python_allows_them() -> None:
    run = ran(HOOKED)
    assert run.error is not None and run.error.kind == "not_allowed"
    assert run.error.sentence.endswith(
        'If you trust this one, write in Python: composemagic.allow("hook"), or in a terminal: --allow hook'
    )
    assert run.error.mark is not None and "script" in run.error.mark.source.line(run.error.mark.line)
    undo = composemagic.allow("hook")
    try:
        assert is_allowed("hook") and not is_allowed("shell")
        assert output(HOOKED) == {"all": {"v": 1, "b": "before", "saw": "before", "job": "a"}}
    finally:
        undo()
    assert not is_allowed("hook") and ran(HOOKED).status == "failed"


HOOKS_FAIL = [
    ("1 / 0", "the hook of `a` failed in line 1 of its script: ZeroDivisionError: division by zero"),
    ("x = 1", "the script defines no function `hook`"),
    ("def hook(*v, **k):\\n  raise KeyError(3)", "the hook of `a` failed in line 2 of its script: KeyError: 3"),
    ("def hook(*v, **k):\\n  return next(iter(()))", "the hook of `a` failed in line 2 of its script: StopIteration"),
]


@pytest.mark.parametrize(("script", "sentence"), HOOKS_FAIL)
def test_hooks_that_fail(script: str, sentence: str) -> None:
    undo = composemagic.allow("hook")
    try:
        run = ran(f'  job: {{id: a, hook: {{after: {{script: "{script}"}}}}}}')
    finally:
        undo()
    assert run.error is not None and (run.error.kind, run.error.sentence) == ("hook", sentence)


def test_a_hook_that_blocks_does_not_hold_up_the_loop() -> None:
    gate = threading.Event()
    composemagic_gate = (
        "import tests.test_jobs_people as t\\ndef hook(*v, **k):\\n  t.GATES[-1].wait(60)\\n  return 'late'"
    )
    GATES.append(gate)
    undo = composemagic.allow("hook")
    try:
        run = load(f'  job: {{id: a, hook: {{after: {{script: "{composemagic_gate}"}}}}}}').start({})
        assert output("  job: {input: 1}") == 1
        assert not run.done
        gate.set()
        assert run.result(60) == "late"
    finally:
        undo()


GATES: list[threading.Event] = []


def test_what_cannot_be_allowed() -> None:
    with pytest.raises(UsageError, match=r"`allow` knows `shell`, `hook`, .*not `shel`; did you mean `shell`"):
        composemagic.allow("shel")


def test_a_point_that_is_answered_before_it_is_asked_is_told_first() -> None:
    asked: list[tuple[str, ...]] = []

    async def answer_at_once() -> Any:
        points = Interrupts("run-1", lambda points: asked.append(tuple(point.job_id for point in points)))
        asking = asyncio.ensure_future(points.ask("x-1", "a", "before", message=None, metadata=None, value=1))
        await asyncio.sleep(0)
        assert points.answer({points.points[0].id: 2})
        return await asking

    assert asyncio.run(answer_at_once()) == 2
    assert asked == [("a",)]
