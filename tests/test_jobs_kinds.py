"""Each kind of job: what it gives, and the mistakes of its YAML."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composemagic.engine.jobs.routers import _draw
from composemagic.workflow.component import Context, Value
from composemagic.workflow.duration import DurationError, check_zone, moment, seconds
from tests.jobs import acting, mistakes, output, ran, story

# -- what they give --------------------------------------------------------------------------------------------------------

WITH_TARGETS = ", {id: a, input: A}, {id: b, input: B}, {id: c, input: C}]"
ROUTED: list[tuple[str, Any, Any]] = [
    ("type: if, input: '${input.n as integer}', operator: gt, value: 5, if_true: a, if_false: b", {"n": "9"}, "A"),
    ("type: if, input: '${input.n}', operator: gt, value: 5, if_true: a, if_false: b", {"n": "9"}, "A"),
    ("type: if, input: '${input.n}', operator: gt, value: '${input.than}', if_true: a, if_false: b", {"n": 3, "than": "4"}, "B"),
    ("type: if, input: true, value: 1, if_true: a, if_false: b", {}, "A"),
    ("type: if, input: true, value: '1', if_true: a, if_false: b", {}, "B"),
    ("type: if, conditions: [{operator: gt, value: 80, if_true: a}, {operator: gt, value: 60, if_true: b}], otherwise: c", 70, "B"),
    ("type: if, conditions: [{operator: gt, value: 80, if_true: a, if_false: c}, {operator: gt, value: 60, if_true: b}]", 70, "C"),
    ("type: if, conditions: [{operator: lt, value: 80}, {operator: gt, value: 60, if_true: b}], otherwise: c", 70, "B"),
    ("type: if, conditions: {value: 1, if_true: a}, otherwise: c", 2, "C"),
    ("type: if, input: '${input.missing}', if_true: a, value: null, otherwise: c", {}, "A"),
    ("type: if, input: abc, operator: match, value: 'a.c', if_true: b", {}, "B"),
    ("type: if, input: x, operator: in, value: [x, y], if_true: b", {}, "B"),
    ("type: switch, input: '${input.t}', cases: [{value: x, then: a}, {value: y, then: b}], otherwise: c", {"t": "y"}, "B"),
    ("type: switch, input: '${input.t}', cases: [{value: 1, then: a}, {value: '2', then: b}], otherwise: c", {"t": 2}, "B"),
    ("type: switch, input: '${input.t}', cases: [{value: 1, then: a}, {value: '2', then: b}], otherwise: c", {"t": "1"}, "A"),
    ("type: switch, cases: [{value: '${input.k}', then: a}], input: z, otherwise: c", {"k": "z"}, "A"),
    ("type: switch, input: q, value: q, then: b", {}, "B"),
    ("type: switch, input: null, cases: [{value: x, then: a}], otherwise: c", {"t": "y"}, "C"),
    ("type: random-router, mode: weighted, routings: [{to: a, weight: 0}, {to: b, weight: '${input.w}'}]", {"w": "0.5"}, "B"),
    ("type: random-router, routings: [{to: c}]", {}, "C"),
]  # fmt: skip


@pytest.mark.parametrize(("router", "value", "wanted"), ROUTED)
def test_routers(router: str, value: Any, wanted: str) -> None:
    run = ran(f"  jobs: [{{id: r, {router}}}{WITH_TARGETS}", value)
    run.raise_for_error()
    # the targets that the router does not name start by themselves: they are written before it is looked at
    assert run.jobs["r"].to == wanted.lower()


VALUES: list[tuple[str, Any, Any]] = [
    # filter
    ("{type: filter, input: '${input}', where: {input: '${item.n}', operator: gte, value: 2}}", [{"n": 1}, {"n": 2}], [{"n": 2}]),
    ("{type: filter, where: {input: '${index}', operator: lt, value: 2}}", [9, 8, 7], [9, 8]),
    ("{type: filter, where: {all: [{input: '${item}', operator: gt, value: 1}, {not: {input: '${item}', value: 3}}]}}", [1, 2, 3], [2]),
    ("{type: filter, input: '${input}'}", [1, 2], [1, 2]),
    ("{type: filter, where: {input: '${item}', value: 5}}", 5, 5),
    ("{type: filter, where: {input: '${item}', value: 5}}", 6, None),
    ("{type: filter, where: {input: '${item}', value: 5}, output: {kept: '${output}'}}", [5, 6], {"kept": [5]}),
    ("{type: filter, streaming: true, where: {input: '${item}', operator: gt, value: 1}}", [1, 2, 3], [2, 3]),
    # delay
    ("{type: delay, duration: 1ms}", {}, None),
    ("{type: delay, duration: '${input.d}', output: {x: '${input.d}'}}", {"d": "1ms"}, {"x": "1ms"}),
    ("{type: delay, mode: specific-time, time: '2020-01-01T00:00:00Z', output: done}", {}, "done"),
    ("{type: delay, mode: specific-time, time: '2020-01-01', timezone: Asia/Shanghai, output: done}", {}, "done"),
    # for-each
    ("{type: for-each, input: '${input}', do: {input: {x: '${item}', of: '${input[0]}'}}}", [1, 2], [{"x": 1, "of": 1}, {"x": 2, "of": 1}]),
    ("{type: for-each, do: {}}", [1, [2], None], [1, [2], None]),
    ("{type: for-each, do: {}}", [], []),
    ("{type: for-each, input: '${input.missing}', do: {}}", {}, None),
    ("{type: for-each, do: {output: '<${output}>'}}", "one", "<one>"),
    ("{type: for-each, batch_size: '${input.n}', input: [1, 2, 3], do: {input: '${item}'}, output: {all: '${output}'}}", {"n": "2"}, {"all": [1, 2, 3]}),
    ("{type: for-each, streaming: true, do: {}}", [{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
    ("{type: for-each, streaming: true, do: {}, output: {all: '${output}'}}", ["a", "b"], {"all": ["a", "b"]}),
    ("{type: for-each, input: [[1, 2], [3]], do: {type: for-each, do: {input: '${item}', output: 'v${output}'}}}", {}, [["v1", "v2"], ["v3"]]),
    ("{type: for-each, input: [a, b], do: {component: words, input: '${item}!'}}", {}, ["a!", "b!"]),
    ("{type: for-each, input: [1, 2], do: {component: boom, input: '${item}', on_error: {output: 'no ${item}'}}}", {}, ["no 1", "no 2"]),
    ("{type: for-each, input: [1, 2], on_error: {output: none}, do: {component: boom, input: '${item}'}}", {}, "none"),
    # loop
    ("{type: loop, input: x, do: {input: '${input}${output}'}, until: {input: '${output}', operator: match, value: xxx}}", {}, "xxx"),
    ("{type: loop, do: {input: '${iteration}'}, while: {input: '${output}', operator: lt, value: 3}}", {}, 3),
    ("{type: loop, input: 5, do: {}, until: {input: 1, value: 1}}", {}, 5),
    ("{type: loop, input: 5, do: {output: '${output}.'}, until: {input: '${iteration}', value: 2}}", {}, "5..."),
    ("{type: loop, input: 0, do: {type: pipeline, steps: [{input: '${input}'}, {input: {n: '${output}'}}]}, until: {input: '${output.n}', value: 0}}", {}, {"n": 0}),
    # pipeline
    ("{type: pipeline, input: a, steps: [{}, {input: '${output}${input}'}, {output: '${output}.'}]}", {}, "aa."),
    ("{type: pipeline, input: a, steps: [{input: '${step.index}${step.input}'}, {input: '${step.index}${step.input}'}]}", {}, "10a"),
    ("{type: pipeline, steps: [{input: '${input.x}'}]}", {"x": 3}, 3),
    ("{type: pipeline, input: [1, 2], steps: [{type: for-each, do: {output: '${output}!'}}, {type: accumulate, accumulator: '', do: {input: '${accumulator}${item}'}}]}", {}, "1!2!"),
    # accumulate
    ("{type: accumulate, input: [a, b], accumulator: '', do: {input: '${accumulator}${item}'}}", {}, "ab"),
    ("{type: accumulate, input: [], accumulator: {n: 0}, do: {}}", {}, {"n": 0}),
    ("{type: accumulate, input: 7, do: {input: {was: '${accumulator}', item: '${item}'}}}", {}, {"was": None, "item": 7}),
    ("{type: accumulate, input: [1, 2], accumulator: '', do: {component: words, input: '${accumulator} ${item}'}, output: '${output}!'}", {}, " 1 2!"),
    # fan-out
    ("{type: fan-out, input: '${input}', output: [x, y]}", [1, 2], {"x": [1, 2], "y": [1, 2]}),
    ("{type: fan-out, input: one, output: [x]}", {}, {"x": ["one"]}),
    # component
    ("{repeat_count: 3, input: 1}", {}, [1, 1, 1]),
    ("{repeat_count: '${input.k}', input: 1, output: '${output}!'}", {"k": "2"}, ["1!", "1!"]),
    ("{repeat_count: '${input.k}', input: 1}", {"k": 0}, 1),
    ("{repeat_count: 2, component: words, input: a b}", {}, ["a b", "a b"]),
]  # fmt: skip


@pytest.mark.parametrize(("job", "value", "wanted"), VALUES)
def test_what_a_job_gives(job: str, value: Any, wanted: Any) -> None:
    assert output(f"  job: {job}", value) == wanted


FAILURES: list[tuple[str, Any, str]] = [
    ("{type: loop, input: 1, max_iteration_count: 3, do: {}, until: {input: 1, value: 2}}", {}, "the loop `job-1` did not end within 3 iterations (`max_iteration_count`)"),
    ("{type: filter, where: {input: '${item}', operator: gt, value: 1}}", ["a"], '`gt` cannot compare "a" with 1'),
    ("{type: delay, duration: '${input.d}'}", {"d": "later"}, 'a duration is seconds, or a text such as "500ms", "5s" or "2m", not "later"'),
    ("{type: delay, mode: specific-time, time: '${input.t}'}", {"t": "noon"}, 'a time is written "2030-01-31T09:00:00", or "09:00" for the next one, not "noon"'),
    ("{type: delay, duration: '${input.d}'}", {"d": {"s": 1}}, 'a duration is seconds, or a text such as "500ms", "5s" or "2m", not an object'),
    ("{type: delay, mode: specific-time, time: '${input.t}'}", {"t": None}, 'a time is written "2030-01-31T09:00:00", or "09:00" for the next one, not null'),
    ("{type: for-each, batch_size: '${input.n}', input: [1], do: {}}", {"n": "many"}, '`batch_size`: "many" is no integer'),
    ("{repeat_count: '${input.n}'}", {"n": "many"}, '`repeat_count`: "many" is no integer'),
    ("{type: for-each, streaming: '${input.s}', input: [1], do: {}}", {"s": "maybe"}, '`streaming`: "maybe" is no boolean'),
    ("{type: for-each, input: [1, 2], do: {component: boom, input: '${item}'}}", {}, "it broke: 1"),
    ("{type: pipeline, input: 1, steps: [{}, {component: boom}]}", {}, "it broke: 1"),
]  # fmt: skip


def test_what_is_nested_too_deep_is_one_sentence() -> None:
    value: list[Any] = []
    for _ in range(2000):
        value = [value]
    run = ran("  job: {type: filter, where: {input: '${item}', value: 1}}", value)
    assert run.error is not None and run.error.sentence == "a value of the job `job-1` is nested too deep"
    assert run.status == "failed"


@pytest.mark.parametrize(("job", "value", "sentence"), FAILURES)
def test_what_fails(job: str, value: Any, sentence: str) -> None:
    run = ran(f"  job: {job}", value)
    assert run.error is not None and (run.error.sentence, run.error.job) == (sentence, "job-1")


MISTAKES = [
    ("{type: if, input: 1}", "this job needs `conditions`"),
    ("{type: if, conditions: 5}", "`conditions` is a list, this is 5"),
    ("{type: if, conditions: [{operatr: eq}]}", "unknown key `operatr` in a condition; did you mean `operator`?"),
    ("{type: if, conditions: [{operator: equals, value: 1}]}", "unknown operator `equals`; did you mean `eq`?"),
    ("{type: if, conditions: [{value: 1, if_true: x}]}", "no job `x`"),
    ("{type: if, value: 1, conditions: [{value: 1}]}", "`conditions` is given, so this belongs into one of them"),
    ("{type: if, value: 1, output: x}", "unknown key `output` in an `if` job"),
    ("{type: switch, cases: [{value: 1}]}", "a case needs `then`"),
    ("{type: random-router}", "a random-router needs `routings`, a list with at least one `to`"),
    ("{type: random-router, routings: [{weight: 1}]}", "a routing needs `to`"),
    ("{type: random-router, mode: weightd, routings: [{to: job-1}]}", 'unknown `mode` "weightd"; did you mean `weighted`?'),
    ("{type: random-router, mode: weighted, routings: [{to: job-1}]}", "a routing of a weighted router needs `weight`"),
    ("{type: random-router, routings: [{to: job-1, weight: -1}]}", "`weight` is a number from 0 on, not -1"),
    ("{type: filter, where: {input: '${itm}'}}", "unknown source `itm`; did you mean `item`?"),
    ("{type: filter, where: 5}", "a condition is a mapping such as `{input: ${input.n}, operator: gt, value: 3}`, this is 5"),
    ("{type: filter, streaming: maybe}", '`streaming` is true or false, not "maybe"'),
    ("{type: delay}", "this delay needs `duration`"),
    ("{type: delay, mode: specific-time}", "this delay needs `time`"),
    ("{type: delay, mode: specific-time, time: '09:00', timezone: Moon/Sea}", "unknown time zone `Moon/Sea`; they are called like `Europe/Berlin`"),
    ("{type: delay, time: '09:00', duration: 1}", "`time` is for the mode `specific-time`"),
    ("{type: delay, duration: '-1s'}", 'a duration is seconds, or a text such as "500ms", "5s" or "2m", not "-1s"'),
    ("{type: for-each}", "a `for-each` job needs `do`"),
    ("{type: for-each, do: 5}", "a job in `do` is a mapping, this is 5"),
    ("{type: for-each, do: {type: if}}", "a job of the type `if` cannot stand inside another; there it is one of `component`, `loop`, `for-each`, `accumulate`, `pipeline`"),
    ("{type: for-each, do: {depends_on: [x]}}", "a job in `do` waits for no other; `depends_on` stands on the outer job"),
    ("{type: for-each, do: {on_error: {to: x}}}", "a job in `do` cannot go on to another; `to` stands on the outer job"),
    ("{type: for-each, do: {component: nobody}}", "no component `nobody`"),
    ("{type: for-each, batch_size: 0, do: {}}", "`batch_size` is a whole number from 1 on, not 0"),
    ("{type: for-each, do: {input: '${index}'}}", "`index` cannot be used here, only `input`, `env`, `context`, `jobs`, `item`"),
    ("{type: accumulate, do: {input: '${index | none}'}}", "`index` cannot be used here, only `input`, `env`, `context`, `jobs`, `item`, `accumulator`"),
    ("{type: loop, do: {}}", "a loop needs `until` or `while`"),
    ("{type: loop, do: {}, until: {input: 1, value: 1}, while: {input: 1, value: 1}}", "a loop has `until` or `while`, not both"),
    ("{type: pipeline}", "a `pipeline` job needs `steps`"),
    ("{type: pipeline, steps: {}}", "`steps` is a list of jobs, this is a mapping"),
    ("{type: pipeline, steps: [{input: '${step.number}'}]}", "`step` has no `number`"),
    ("{type: fan-out, input: 1}", "a `fan-out` job needs `output`"),
    ("{type: fan-out, input: 1, output: x}", "the `output` of a fan-out is a list of names"),
    ("{type: fan-out, input: 1, output: [x, x]}", "two outputs are called `x`"),
]  # fmt: skip


@pytest.mark.parametrize(("job", "sentence"), MISTAKES)
def test_mistakes(job: str, sentence: str) -> None:
    assert sentence in mistakes(f"  job: {job}")


# -- the window ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 3, 7])
@pytest.mark.parametrize("streaming", [False, True])
def test_the_window_slides(width: int, streaming: bool) -> None:
    """Never more than so many bodies at once, and always so many while there is work: the first one waits for all others."""
    running, most, done = 0, 0, 0
    others_done = asyncio.Event()

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        if value == 0 and width > 1:
            await others_done.wait()
        else:
            await asyncio.sleep(0)
        done += 1
        if done == min(10, width * 4):
            others_done.set()
        running -= 1
        yield Value(value)

    undo = acting(act)
    try:
        job = f"{{type: for-each, streaming: {str(streaming).lower()}, batch_size: {width}, do: {{component: {{type: acting, value: '${{input}}'}}}}}}"
        assert output(f"  job: {job}", list(range(12)), parts="") == list(range(12))
    finally:
        undo()
    assert most == width


# -- routers by chance -------------------------------------------------------------------------------------------------------


def routed(count: int, routings: str, **how: Any) -> Counter[str | None]:
    jobs = f"  jobs: [{{id: r, type: random-router, {routings}}}, {{id: a}}, {{id: b}}, {{id: c}}]"
    return Counter(ran(jobs, session_id=f"user-{number}" if how else None).jobs["r"].to for number in range(count))


def test_every_way_is_taken() -> None:
    assert set(routed(60, "routings: [{to: a}, {to: b}, {to: c}]")) == {"a", "b", "c"}


def test_weights_of_sessions() -> None:
    """The draw is the same for the same session and salt, and over many sessions each way has its share."""

    def choice(session: str, salt: str, weights: dict[str, float]) -> str:
        return min(weights, key=lambda target: _draw(salt, session, target) / weights[target])

    weights = {"a": 1.0, "b": 3.0, "c": 1.0}
    count = Counter(choice(f"s{number}", "salt", weights) for number in range(5000))
    for target, weight in weights.items():
        expected = 5000 * weight / 5
        assert abs(count[target] - expected) < 5 * math.sqrt(expected)
    jobs = "  jobs: [{id: r, type: random-router, session: '${context.session_id}', salt: s1, mode: weighted, routings: [{to: a, weight: 1}, {to: b, weight: 3}, {to: c, weight: 1}]}, {id: a}, {id: b}, {id: c}]"
    for session in ("alice", "bob", "carol"):
        assert {ran(jobs, session_id=session).jobs["r"].to for _ in range(3)} == {choice(session, "s1", weights)}


# -- durations and times -----------------------------------------------------------------------------------------------------

DURATIONS: list[tuple[Any, float | None]] = [
    (5, 5), (0.5, 0.5), (0, 0), ("5", 5), (" 5s ", 5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1d", 86400), ("1.5s", 1.5), (".5s", 0.5),
    ("01:30", 90), ("1:00:00", 3600), ("5 s", 5), ("", None), ("soon", None), ("-1s", None), (-1, None), (True, None), (None, None),
    ([], None), ("1e3", None), (math.inf, None), (math.nan, None), ("5x", None), ("٥s", None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "wanted"), DURATIONS)
def test_durations(value: Any, wanted: float | None) -> None:
    if wanted is None:
        with pytest.raises(DurationError, match="a duration is seconds, or a text such as"):
            seconds(value)
    else:
        assert seconds(value) == wanted


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_sentence(text: str) -> None:
    with contextlib.suppress(DurationError):
        assert seconds(text) >= 0


def test_times() -> None:
    shanghai = check_zone("Asia/Shanghai")
    assert moment("2030-01-31T09:00:00", shanghai).astimezone(UTC) == datetime(2030, 1, 31, 1, tzinfo=UTC)
    assert moment("2030-01-31T09:00:00Z", shanghai) == datetime(2030, 1, 31, 9, tzinfo=UTC)
    assert moment("2030-01-31T09:00:00+02:00", None) == datetime(2030, 1, 31, 7, tzinfo=UTC)
    assert moment("2030-01-31 09:00", None).tzinfo is not None
    now = datetime.now(UTC)
    for text in ("09:00", "9:00", "23:59:59"):
        assert timedelta(0) <= moment(text, UTC) - now <= timedelta(days=1)
    for bad in ("25:00", "9", "tomorrow", "", None, 5):
        with pytest.raises(DurationError, match="a time is written"):
            moment(bad, None)


def test_a_delay_until_a_time_can_be_stopped() -> None:
    run = ran("  jobs: [{id: d, type: delay, mode: specific-time, time: '2099-01-01'}, {id: b, component: boom}]")
    assert story(run) == ["d started", "b started", "b failed", "d stopped"]
