"""Which job runs when: readiness, routes, skips, ways back, failures and what they leave, retries, outputs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import composemagic
from composemagic import RunError
from composemagic.engine.events import JobFailed, Waiting
from composemagic.engine.schedule import Schedule
from composemagic.workflow.component import Context, Value
from composemagic.workflow.job import Job
from tests.jobs import Boom, acting, load, mistakes, output, ran, story

# jobs, input, output, what is said
STORIES: list[tuple[str, str, Any, Any, list[str]]] = [
    ("in a row", "  jobs: [{id: a, input: 1}, {id: b, input: {n: '${jobs.a.output}'}}]", {}, {"n": 1}, ["a started", "a done", "b started", "b done"]),
    ("side by side", "  jobs: [{id: a, input: {x: 1}}, {id: b, input: {y: 2}}]", {}, {"x": 1, "y": 2}, ["a started", "b started", "a done", "b done"]),
    ("an unchosen branch is skipped", "  jobs: [{id: r, type: if, input: 2, operator: gt, value: 1, if_true: a, if_false: b}, {id: a, input: A}, {id: b, input: B}]", {}, "A", ["r started", "r -> a", "a started", "b skipped", "a done"]),
    ("and what waits for it", "  jobs: [{id: r, type: if, input: 1, value: 1, if_true: a, if_false: b}, {id: a, input: A}, {id: b}, {id: c, depends_on: [b], input: C}]", {}, "A", ["r started", "r -> a", "a started", "b skipped", "c skipped", "a done"]),
    ("an AND of a branch that ran and one that did not", "  jobs: [{id: r, type: if, input: 1, value: 1, if_true: a, if_false: b}, {id: a, input: A}, {id: b}, {id: c, depends_on: [a, b], input: {a: '${jobs.a.output}', b: '${jobs.b.output}'}}]", {}, {"a": "A", "b": None}, ["r started", "r -> a", "a started", "b skipped", "a done", "c started", "c done"]),
    ("nobody is chosen", "  jobs: [{id: r, type: if, input: 1, value: 2, if_true: a}, {id: a}]", {}, None, ["r started", "r done", "a skipped"]),
    ("a chosen target waits for its own", "  jobs: [{id: r, type: if, input: 1, value: 1, if_true: b}, {id: a, depends_on: [r], input: A}, {id: b, depends_on: [a], input: '${jobs.a.output}B'}]", {}, "AB", ["r started", "r -> b", "a started", "a done", "b started", "b done"]),
    ("two routers, one target", "  jobs: [{id: r, type: if, input: 1, value: 2, if_true: t}, {id: s, type: if, input: 1, value: 1, if_true: t}, {id: t, input: T}]", {}, "T", ["r started", "s started", "r done", "s -> t", "t started", "t done"]),
    ("both choose it: it runs once", "  jobs: [{id: r, type: if, input: 1, value: 1, if_true: t}, {id: s, type: if, depends_on: [t2], input: 1, value: 1, if_true: t}, {id: t2, depends_on: [r], component: late}, {id: t, input: T}]", {}, "T", ["r started", "r -> t", "t2 started", "t started", "t done", "t2 done", "s started", "s -> t"]),
    ("on_error to", "  jobs: [{id: a, component: boom, on_error: {to: b}}, {id: b, input: B}]", {}, "B", ["a started", "a -> b", "b started", "b done"]),
    ("on_error to, not needed", "  jobs: [{id: a, input: A, on_error: {to: b}}, {id: b, input: B}]", {}, "A", ["a started", "a done", "b skipped"]),
    ("on_error ignore", "  jobs: [{id: a, component: boom, on_error: ignore}, {id: b, depends_on: [a], input: '${jobs.a.output | gone}'}]", {}, "gone", ["a started", "a done", "b started", "b done"]),
    ("on_error output", "  jobs: [{id: a, component: boom, input: 7, on_error: {output: '${error.kind}: ${error.sentence}'}}]", {}, "server: it broke: 7", ["a started", "a done"]),
    ("a failure stops and skips", "  jobs: [{id: slow, type: delay, duration: 1h}, {id: a, component: boom, input: 7}, {id: b, depends_on: [a]}]", {}, RunError, ["slow started", "a started", "a failed", "slow stopped", "b skipped"]),
    ("an OR group", "  jobs: [{id: slow, component: late}, {id: a, input: A}, {id: b, depends_on: [[slow, a]], input: B}]", {}, "B", ["slow started", "a started", "a done", "b started", "b done", "slow done"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("jobs", "value", "wanted", "told"), [row[1:] for row in STORIES], ids=[row[0] for row in STORIES]
)
def test_stories(jobs: str, value: Any, wanted: Any, told: list[str]) -> None:
    run = ran(jobs, value)
    assert story(run) == told
    if wanted is RunError:
        assert run.status == "failed" and run.error is not None
        assert (run.error.job, run.error.sentence) == ("a", "it broke: 7")
    else:
        assert run.status == "done" and run.output == wanted


REVISE = """
  jobs:
    - {id: go, type: if, input: 1, value: 1, if_true: draft}
    - {id: draft, input: "${jobs.review.output | first}!"}
    - {id: log, depends_on: [draft], input: logged}
    - {id: review, input: "${jobs.draft.output}?"}
    - {id: again, type: if, input: "${jobs.review.output}", operator: match, value: ".*!.*!.*!", if_true: publish, if_false: draft}
    - {id: publish, input: {text: "${jobs.draft.output}"}}
"""


def test_a_way_back_runs_again_what_lies_between() -> None:
    """`draft` reads what `review` gave last; `log` is not on the way and runs once; `publish` is chosen in the end."""
    run = ran(REVISE)
    assert run.output == {"text": "first!?!?!"}
    assert {name: state.runs for name, state in run.jobs.items()} == {
        "go": 1, "draft": 3, "log": 1, "review": 3, "again": 3, "publish": 1,
    }  # fmt: skip
    assert run.jobs["again"].to == "publish" and run.jobs["again"].status == "routed"


def test_a_branch_that_was_skipped_may_be_chosen_later() -> None:
    jobs = """
  jobs:
    - {id: go, type: if, input: 1, value: 1, if_true: n}
    - {id: n, input: "${jobs.n.output}x"}
    - {id: r, type: switch, input: "${jobs.n.output}", cases: [{value: x, then: left}], otherwise: right}
    - {id: left, input: L}
    - {id: right, input: R}
    - {id: after, depends_on: [right], input: "after ${jobs.right.output}"}
    - {id: back, type: if, input: "${jobs.left.output}", value: L, if_true: n, depends_on: [left]}
"""
    run = ran(jobs, None)
    assert run.error is None and run.output == "after R"
    assert run.jobs["left"].runs == 1 and run.jobs["right"].runs == 1 and run.jobs["n"].runs == 2


def test_max_run_count() -> None:
    jobs = "  jobs: [{id: go, type: if, input: 1, value: 1, if_true: a}, {id: a, max_run_count: 3}, {id: r, type: if, depends_on: [a], input: 1, value: 1, if_true: a}]"
    run = ran(jobs)
    assert run.error is not None and run.error.kind == "max_run_count" and run.error.job == "a"
    assert run.jobs["a"].runs == 3 and story(run)[-1] == "a failed"


MERGES: list[tuple[str, Any]] = [
    ("{id: a, input: {x: 1, y: 1}}, {id: b, input: {y: 2}}", {"x": 1, "y": 2}),
    ("{id: a, type: delay, duration: 20ms, output: {x: 1}}, {id: b, input: {x: 2}}", {"x": 2}),
    ("{id: a, input: {x: 1}}, {id: b, input: text}", "text"),
    ("{id: a, input: text}, {id: b, input: {x: 1}}", {"x": 1}),
    ("{id: a, input: {x: 1}}, {id: b, input: null, output: '${output.nothing}'}", {"x": 1}),
    ("{id: a, input: false}, {id: b, type: delay, duration: 0}", False),
]


@pytest.mark.parametrize(("jobs", "wanted"), MERGES)
def test_terminal_outputs(jobs: str, wanted: Any) -> None:
    assert output(f"  jobs: [{jobs}]") == wanted


def test_the_workflows_output_sees_what_there_would_be_without_it() -> None:
    jobs = "  jobs: [{id: a, input: {x: 1}}, {id: b, input: {y: 2}}]\n  output: {all: '${output}', a: '${jobs.a.output.x}', who: '${context.session_id}'}"
    assert output(jobs, session_id="me") == {"all": {"x": 1, "y": 2}, "a": 1, "who": "me"}


def test_the_facts_of_a_run() -> None:
    jobs = "  job: {input: {s: '${context.session_id}', m: '${context.metadata.a}', r: '${context.run_id}'}}"
    run = ran(jobs, session_id="s-1", metadata={"a": 5})
    assert run.output == {"s": "s-1", "m": 5, "r": run.id}


# -- failures, again and instead -------------------------------------------------------------------------------------------


def test_retries_wait_and_say_so() -> None:
    Boom.seen.clear()
    jobs = "  job: {component: boom, input: {times: 3, key: k}, retry: {max_attempt_count: 4, delay: 10ms, backoff: exponential, max_delay: 15ms}}"
    run = ran(jobs)
    assert run.output == 4
    waits = [event for event in run.events if isinstance(event, Waiting)]
    assert [(event.seconds, event.attempt, event.of, event.reason) for event in waits] == [
        (0.01, 1, 3, "failure 1"), (0.015, 2, 3, "failure 2"), (0.015, 3, 3, "failure 3"),
    ]  # fmt: skip


def test_when_retries_are_used_up() -> None:
    Boom.seen.clear()
    run = ran("  job: {component: boom, input: {times: 9, key: k}, retry: 3}")
    assert run.error is not None and run.error.sentence == "failure 3" and Boom.seen["k"] == 3


def test_a_wait_for_the_next_attempt_can_be_stopped() -> None:
    run = load("  job: {component: boom, retry: {max_attempt_count: 2, delay: 1h}}").start({})
    for event in run:
        if isinstance(event, Waiting):
            run.cancel()
    assert run.status == "stopped" and story(run)[-1] == "job-1 stopped"


def test_what_a_component_knows_of_the_jobs_retry() -> None:
    seen: list[int | None] = []

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        seen.append(context.retries)
        yield Value(1)

    undo = acting(act)
    try:
        for retry in ("", ", retry: 3"):
            ran("  job: {component: {type: acting}" + retry + "}", parts="")
    finally:
        undo()
    assert seen == [None, 2]


def test_what_has_been_tried_often_enough_is_not_tried_again() -> None:
    """A component whose own settings say how often says so of its failure."""
    count = 0

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        nonlocal count
        count += 1
        error = RunError("server", "it broke")
        vars(error)["is_final"] = True
        raise error
        yield

    undo = acting(act)
    try:
        run = ran("  job: {component: {type: acting}, retry: 5, on_error: {output: instead}}", parts="")
    finally:
        undo()
    assert count == 1 and run.output == "instead"


BAD_SETTINGS = [
    ("{retry: 0}", "`retry` is a whole number from 1 on, not 0"),
    ("{retry: {max_attempt_count: yes}}", '`max_attempt_count` is a whole number from 1 on, not "yes"'),
    ("{retry: {delay: soon}}", 'a duration is seconds, or a text such as "500ms", "5s" or "2m", not "soon"'),
    ("{retry: {backof: fixed}}", "unknown key `backof` in `retry`; did you mean `backoff`?"),
    ("{retry: {backoff: linear}}", 'unknown `backoff` "linear"; it is one of fixed, exponential'),
    ("{on_error: ignor}", '`on_error` is `ignore` or a mapping with `to` or `output`, not "ignor"'),
    ("{on_error: {to: nobody}}", "no job `nobody`"),
    ("{on_error: {output: '${error.mesage}'}}", "`error` has no `mesage`; did you mean `message`?"),
    ("{max_run_count: 0}", "`max_run_count` is a whole number from 1 on, not 0"),
    ("{repeat_count: 0}", "`repeat_count` is a whole number from 1 on, not 0"),
    ("{type: parallel}", "unknown job type `parallel`"),
    ("{inptu: 1}", "unknown key `inptu` in a job; did you mean `input`?"),
    ("{interrupt: true}", "`interrupt` is a mapping with `before` or `after`, not true"),
    ("{interrupt: {befor: true}}", "unknown key `befor` in `interrupt`; did you mean `before`?"),
    (
        "{interrupt: {before: {message: '${job.output}'}}}",
        "`job.output` is known only after the job: `interrupt.after`",
    ),
    ("{interrupt: {before: {mesage: a}}}", "unknown key `mesage` in an interrupt; did you mean `message`?"),
    ("{hook: {before: {script: 'def hook('}}}", "the hook is no Python: '(' was never closed (line 1 of the script)"),
    ("{hook: {before: {}}}", "a hook needs `script`"),
    ("{output: '${error.message}'}", "`error` cannot be used here, only `input`, `env`, `context`, `jobs`, `output`"),
]


@pytest.mark.parametrize(("job", "sentence"), BAD_SETTINGS)
def test_mistakes_in_what_every_job_has(job: str, sentence: str) -> None:
    assert sentence in mistakes(f"  job: {job}")


def test_env_in_a_jobs_plain_settings() -> None:
    jobs = "  job: {component: '${env.WHICH}', retry: '${env.TIMES}', input: 5}"
    workflow = load(jobs, env={"WHICH": "give", "TIMES": "2"})
    retry = workflow._plan.jobs[0].retry
    assert workflow().output == 5 and retry is not None and retry.attempts == 2


# -- at the same time --------------------------------------------------------------------------------------------------------


def test_independent_jobs_run_at_the_same_time() -> None:
    """Each waits until all have come: they can only end together."""
    arrived: set[Any] = set()
    everyone = asyncio.Event()

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        arrived.add(value)
        if len(arrived) == 3:
            everyone.set()
        await everyone.wait()
        yield Value(value)

    undo = acting(act)
    try:
        jobs = ", ".join(f"{{id: j{number}, component: {{type: acting, value: {number}}}}}" for number in range(3))
        assert output(f"  jobs: [{jobs}]", parts="") == 2
    finally:
        undo()


def test_repeats_run_at_the_same_time_and_keep_their_order() -> None:
    count = 0
    everyone = asyncio.Event()

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        nonlocal count
        count += 1
        mine = count
        if count == 4:
            everyone.set()
        await everyone.wait()
        yield Value(mine)

    undo = acting(act)
    try:
        assert output("  job: {repeat_count: '${input.n}', component: {type: acting}}", {"n": "4"}, parts="") == [
            1,
            2,
            3,
            4,
        ]
    finally:
        undo()


def test_a_cancel_in_the_middle_of_twenty_jobs_leaves_nothing() -> None:
    """Rows, loops, bodies and streams that wait for ever: after the stop none of it is left on the loop."""
    from tests.test_run import on_loop

    alive = 0
    begun = threading.Semaphore(0)

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        nonlocal alive
        alive += 1
        begun.release()
        try:
            yield "chunk"
            await asyncio.Event().wait()
        finally:
            alive -= 1

    undo = acting(act)
    try:
        plain = [
            f"{{id: p{number}, component: {{type: acting}}, output: '${{output as text}}'}}" for number in range(12)
        ]
        each = [
            f"{{id: e{number}, type: for-each, batch_size: 2, input: [1, 2, 3], do: {{component: {{type: acting}}}}}}"
            for number in range(4)
        ]
        other = [
            "{id: l, type: loop, do: {component: {type: acting}, output: '${output as text}'}, until: {input: 1, value: 1}}",
            "{id: q, type: pipeline, steps: [{component: {type: acting}}, {component: {type: acting, value: '${input}'}}]}",
            "{id: d, type: delay, duration: 1h}",
            "{id: last, depends_on: [p0, e0]}",
        ]
        others = on_loop()  # what other tests keep on the loop
        run = load(f"  jobs: [{', '.join([*plain, *each, *other])}]", parts="component: {type: echo}").start({})
        for _ in range(12 + 8 + 2):
            assert begun.acquire(timeout=30)
        before = len(on_loop() - others)
        run.cancel()
        assert run.wait(30) and run.status == "stopped"
        assert before > 20 and alive == 0 and on_loop() <= others
        assert {state.status for state in run.jobs.values()} == {"stopped", "skipped"}
    finally:
        undo()


def test_a_failure_in_one_body_stops_the_others() -> None:
    stopped: list[Any] = []

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        if value == 2:
            raise RunError("server", "the second one broke")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(value)
            raise
        yield Value(value)

    undo = acting(act)
    try:
        jobs = "  job: {type: for-each, batch_size: 3, input: [1, 2, 3, 4], do: {component: {type: acting, value: '${input}'}}}"
        run = ran(jobs, parts="")
    finally:
        undo()
    assert run.error is not None and run.error.sentence == "the second one broke" and sorted(stopped) == [1, 3]


# -- workflows in workflows --------------------------------------------------------------------------------------------------

TWO = """
workflows:
  - id: main
    default: true
    jobs:
      - {{id: before, component: {{type: echo, value: 1}}}}
      - {{id: outer, depends_on: [before], component: {{type: workflow, workflow: inner, input: {{x: "${{input.x}}"}}}}{more}}}
      - {{id: after, depends_on: [outer], component: {{type: echo, value: "${{input}}"}}, input: {{got: "${{jobs.outer.output}}"}}}}
  - id: inner
    private: true
    jobs:
      - {{id: first, component: {inner}}}
      - {{id: last, component: {{type: echo, value: "<${{input}}>"}}, input: "${{jobs.first.output}}"}}
"""


def of_two(inner: str, more: str = "") -> Any:
    undo = composemagic.register_component(Boom)
    try:
        run = composemagic.load(TWO.format(inner=inner, more=more)).start({"x": "a b"})
    finally:
        undo()
    assert run.wait(10)
    return run


def test_a_workflow_inside_another() -> None:
    run = of_two("{type: echo, value: '${input.x}'}")
    assert run.output == {"got": "<a b>"}
    assert [word for word in story(run) if "first" in word or "last" in word] == []
    assert of_two("{type: echo, text: '${input.x}'}").output == {"got": "<a b>"}


def test_a_failure_inside_is_the_outer_jobs() -> None:
    run = of_two("{type: boom, value: 7}")
    assert run.error is not None and (run.error.job, run.error.sentence) == ("outer", "it broke: 7")
    assert story(run)[2:] == ["outer started", "outer failed", "after skipped"] and run.jobs["outer"].error is run.error
    assert of_two("{type: boom, value: 7}", ", on_error: {output: none}").output == {"got": "none"}


def test_workflows_that_call_each_other_end() -> None:
    yaml = """
workflows:
  - id: main
    jobs:
      - {id: r, type: if, input: "${input.n}", operator: gt, value: 0, if_true: down, if_false: end}
      - {id: down, component: {type: workflow, workflow: main, input: {n: "${input.n}"}}, input: {n: 1}}
      - {id: end, component: {type: echo, value: bottom}}
"""
    run = composemagic.load(yaml).start({"n": 1})
    assert run.wait(10) and run.error is not None
    assert (
        run.error.kind == "too_deep"
        and run.error.sentence == "workflows call each other more than 16 deep: `main` is the last"
    )


def test_no_event_of_a_failed_job_tells_a_key() -> None:
    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        raise RunError("auth", f"the key {value} is wrong")
        yield

    undo, disallow = acting(act), composemagic.allow("A_KEY", "acting")
    try:
        run = ran(
            "  jobs: [{id: a, component: {type: acting, value: '${env.A_KEY}'}}, {id: b}]",
            parts="component: {type: echo}",
            env={"A_KEY": "canary-in-a-coal-mine"},
        )
    finally:
        undo()
        disallow()
    (failed,) = [event for event in run.events if isinstance(event, JobFailed)]
    assert failed.error.sentence == "the key *** is wrong" and "canary" not in str(run.events)


def test_a_job_is_looked_at_when_what_it_waits_for_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not each time any job ends: of hundreds that would be tens of thousands of looks."""
    looks: list[str] = []
    verdict = Schedule._verdict

    def counted(schedule: Schedule, job: Job) -> str:
        looks.append(job.id)
        return verdict(schedule, job)

    monkeypatch.setattr(Schedule, "_verdict", counted)
    rows = [f"    - {{id: j{at}, input: '${{jobs.j{at - 1}.output}}'}}" for at in range(199, 0, -1)]
    run = ran("  jobs:\n" + "\n".join([*rows, "    - {id: j0, input: first}"]))
    assert run.output == "first"
    assert len(looks) < 3 * 200
