"""Streams between jobs: shared, lazy, bounded; and in the output, each at its place."""

from __future__ import annotations

import asyncio
import json
import threading
import tracemalloc
from collections.abc import AsyncGenerator
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

import pytest

import composemagic
from composemagic import RunError
from composemagic.engine.events import Delta, Notice
from composemagic.engine.loop import private_loop
from composemagic.engine.stream import Stream
from composemagic.workflow.component import Action, Batch, Component, Context, Settings, Value
from tests.conftest import answering
from tests.jobs import acting, load, output, ran, story

# -- read by jobs ------------------------------------------------------------------------------------------------------------

READ: list[tuple[str, Any, Any]] = [
    ("one reader, as text", "{id: a, component: words, input: a b}, {id: b, input: '<${jobs.a.output}>'}", "<a b>"),
    ("one reader, in an object", "{id: a, component: words, input: a b}, {id: b, input: {all: '${jobs.a.output}'}}", {"all": "a b"}),
    ("two readers", "{id: a, component: words, input: a b}, {id: b, input: {x: '${jobs.a.output}'}}, {id: c, input: {y: '${jobs.a.output}'}}", {"x": "a b", "y": "a b"}),
    ("a late reader", "{id: a, component: words, input: a b}, {id: b, input: '${jobs.a.output}', output: null}, {id: d, type: delay, depends_on: [b], duration: 1ms}, {id: c, depends_on: [d, a], input: {y: '${jobs.a.output}'}}", {"y": "a b"}),
    ("by its chunks", "{id: a, component: words, input: a b}, {id: b, type: for-each, input: '${jobs.a.output}', do: {output: '<${output}>'}}", "<a>< b>"),
    ("filtered", "{id: a, component: words, input: a b c}, {id: b, type: filter, input: '${jobs.a.output}', where: {input: '${item}', operator: neq, value: ' b'}}", "a c"),
    ("folded", "{id: a, component: words, input: a b c}, {id: b, type: accumulate, accumulator: '', input: '${jobs.a.output}', do: {input: '${item}${accumulator}'}}", " c ba"),
    ("in a condition", "{id: a, component: words, input: a b}, {id: b, type: if, input: '${jobs.a.output}', value: a b, if_true: c}, {id: c, input: yes}", "yes"),
    ("fanned out", "{id: a, component: words, input: a b}, {id: f, type: fan-out, input: '${jobs.a.output}', output: [x, y]}, {id: b, input: {x: '${jobs.f.output.x}'}}, {id: c, input: {y: '${jobs.f.output.y}'}}", {"x": "a b", "y": "a b"}),
    ("through a pipeline", "{id: p, type: pipeline, input: a b, steps: [{component: words}, {component: words, input: '${output}!'}]}", "a b!"),
    ("inside an object, as text", "{id: a, component: words, input: a b, output: {t: '${output}', l: ['${output}']}}, {id: b, input: '<${jobs.a.output}>'}", '<{"t": "a b", "l": ["a b"]}>'),
    ("inside an object, cast", "{id: a, component: words, input: a b, output: {t: '${output}'}}, {id: b, input: '${jobs.a.output as text}'}", '{"t": "a b"}'),
    ("inside an object, compared", "{id: a, component: words, input: a b, output: {t: '${output}'}}, {id: b, type: if, input: '${jobs.a.output}', value: {t: a b}, if_true: c}, {id: c, input: yes}", "yes"),
    ("inside a list, looked for", "{id: a, component: words, input: a b, output: ['${output}']}, {id: b, type: if, input: a b, operator: in, value: '${jobs.a.output}', if_true: c}, {id: c, input: yes}", "yes"),
    ("of several executions, as text", "{id: a, component: words, repeat_count: 2, input: a b}, {id: b, input: '<${jobs.a.output}>'}", '<["a b", "a b"]>'),
    ("all names of a fan-out, as text", "{id: f, type: fan-out, input: [1, 2], output: [x, y]}, {id: b, input: '<${jobs.f.output}>'}", '<{"x": [1, 2], "y": [1, 2]}>'),
    ("none of its chunks, as text", "{id: a, component: words, input: a b}, {id: f, type: filter, input: '${jobs.a.output}', where: {input: '${item}', value: z}}, {id: b, input: ['<${jobs.f.output}>', '${jobs.f.output as text}']}", ["<>", ""]),
    ("no items, as text", "{id: f, type: filter, streaming: true, input: [1], where: {input: '${item}', value: 2}}, {id: b, input: '<${jobs.f.output}>'}", "<[]>"),
    ("not read, but waited for", "{id: a, component: words, input: a b}, {id: b, depends_on: [a], input: B}", "B"),
]  # fmt: skip


@pytest.mark.parametrize(("jobs", "wanted"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_what_a_reader_gets(jobs: str, wanted: Any) -> None:
    run = ran(f"  jobs: [{jobs}]")
    run.raise_for_error()
    assert run.output == wanted
    assert {state.status for state in run.jobs.values()} <= {"done", "routed"}


def test_who_reads_starts_with_the_stream_and_who_only_waits_after_it() -> None:
    """The first reader takes a chunk before the stream has ended: it opens the gate for the rest of it."""
    gate = asyncio.Event()

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        if value == "stream":
            yield "first"
            await gate.wait()
            yield " last"
        else:
            gate.set()
            yield Value(value)

    jobs = """
  jobs:
    - {id: a, component: {type: acting, value: stream}}
    - {id: waits, depends_on: [a], input: {w: 1}}
    - {id: reads, type: for-each, input: "${jobs.a.output}", do: {component: {type: acting, value: "${input}"}}, output: {r: "${output}"}}
"""
    undo = acting(act)
    try:
        run = ran(jobs)
    finally:
        undo()
    assert run.output == {"w": 1, "r": "first last"}
    assert story(run).index("reads started") < story(run).index("a done") < story(run).index("waits started")


def test_a_stream_that_breaks_fails_its_own_job() -> None:
    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        yield "first"
        raise RunError("server", "the line broke")

    undo = acting(act)
    try:
        jobs = "  jobs: [{id: a, component: {type: acting}}, {id: b, input: '${jobs.a.output}', on_error: ignore}, {id: c, depends_on: [b]}]"
        run = ran(jobs, parts="component: {type: echo}")
        ignored = ran(
            "  jobs: [{id: a, component: {type: acting}, on_error: ignore}, {id: b, input: '${jobs.a.output}!'}]",
            parts="component: {type: echo, value: '${input}'}",
        )
        instead = ran(
            "  job: {id: a, component: {type: acting}, on_error: {output: '${error.sentence}'}}",
            parts="component: {type: echo}",
        )
    finally:
        undo()
    assert run.error is not None and (run.error.job, run.error.sentence) == ("a", "the line broke")
    assert story(run) == ["a started", "b started", "a failed", "b stopped", "c skipped"]
    assert ignored.output == "first!" and any("which is ignored" in str(event) for event in ignored.events)
    assert instead.output == "the line broke"


def test_a_path_into_a_stream_is_null_for_a_reader() -> None:
    assert (
        output("  jobs: [{id: a, component: words, input: a b}, {id: b, input: '${jobs.a.output.text | none}'}]")
        == "none"
    )


def test_what_a_job_gave_so_far() -> None:
    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        yield "half"
        await asyncio.Event().wait()

    undo = acting(act)
    try:
        run = load(
            "  job: {id: a, component: {type: acting}, output: {x: '${output}'}}", parts="component: {type: echo}"
        ).start({})
        for event in run:
            if isinstance(event, Delta):
                assert run.jobs["a"].status == "streaming" and run.jobs["a"].output == {"x": "half"}
                run.cancel()
    finally:
        undo()
    assert run.status == "stopped" and run.output == {"x": "half"} and run.jobs["a"].output == {"x": "half"}
    assert run.text == '{"x": "half"}'


class Pieces(Settings):
    """As the settings of a component that may stream values of their own."""

    stream_fragmented: Any = None


@pytest.mark.parametrize(
    ("fragmented", "wanted"), [("true", [1, 3]), ("false", [1, None, 3]), ("${input.f}", [1, None, 3])]
)
@pytest.mark.parametrize("wrapped", ["${output}", "{all: '${output}'}"])
def test_nulls_stay_where_chunks_are_values(fragmented: str, wanted: list[Any], wrapped: str) -> None:
    class Three(Component):
        type: ClassVar[str] = "three"
        action: ClassVar[Any] = Pieces

        async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
            yield Batch([{"d": 1}, {"x": 2}, {"d": 3}])

    yaml = f"workflow:\n  job: {{output: {wrapped}}}\ncomponent:\n  type: three\n  stream_fragmented: {fragmented}\n  output: ${{result[].d}}\n"
    undo = composemagic.register_component(Three)
    try:
        found = composemagic.load(yaml)(f="false").output
    finally:
        undo()
    assert found == (wanted if wrapped == "${output}" else {"all": wanted})


# -- in the output -----------------------------------------------------------------------------------------------------------


def deltas(run: Any) -> dict[tuple[str | int, ...], list[Any]]:
    found: dict[tuple[str | int, ...], list[Any]] = {}
    for event in run.events:
        if isinstance(event, Delta):
            found.setdefault((event.job, *event.path), []).append(event.value)
    return {
        path: ["".join(pieces)] if all(isinstance(piece, str) for piece in pieces) else pieces
        for path, pieces in found.items()
    }


def test_streams_inside_an_output_are_told_each_at_its_place() -> None:
    jobs = """
  jobs:
    - {id: a, component: words, input: a b}
    - {id: b, component: words, input: c d}
  output: {first: "${jobs.a.output}", more: ["${jobs.b.output}", 5], n: 1}
"""
    run = ran(jobs)
    assert run.output == {"first": "a b", "more": ["c d", 5], "n": 1}
    assert deltas(run) == {("a", "first"): ["a b"], ("b", "more", 0): ["c d"]}
    assert not run.is_stream and run.timing.first_delta is not None


def test_they_are_told_while_the_others_wait() -> None:
    """Each stream waits for the other one's first chunk to be told: one after the other they would never end."""
    gates = {"x": asyncio.Event(), "y": asyncio.Event()}

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        yield f"{value}1"
        await gates[value].wait()
        yield f"{value}2"

    undo = acting(act)
    try:
        jobs = "  jobs: [{id: x, component: {type: acting, value: x}}, {id: y, component: {type: acting, value: y}}]\n  output: {x: '${jobs.x.output}', y: '${jobs.y.output}'}"
        run = load(jobs, parts="component: {type: echo}").start({})
        for event in run:
            if isinstance(event, Delta):
                other = {"x": "y", "y": "x"}[str(event.path[0])]
                private_loop().loop.call_soon_threadsafe(gates[other].set)
    finally:
        undo()
    assert run.output == {"x": "x1x2", "y": "y1y2"}


def test_a_bare_stream_of_several_terminals_is_the_last_one() -> None:
    run = ran("  jobs: [{id: a, component: words, input: a b}, {id: b, component: words, input: c d}]")
    assert run.output == "c d" and run.is_stream and deltas(run) == {("b",): ["c d"]}
    assert run.jobs["a"].output == "a b" and run.jobs["a"].status == "done"


def test_an_object_with_streams_of_several_jobs_is_merged() -> None:
    run = ran("  jobs: [{id: a, component: words, input: a b, output: {x: '${output}'}}, {id: b, input: {y: 1}}]")
    assert run.output == {"x": "a b", "y": 1} and deltas(run) == {("a", "x"): ["a b"]}


def test_pieces_of_values_are_not_joined() -> None:
    run = ran(
        "  job: {type: for-each, streaming: true, input: [a, b, c], do: {}, output: {all: '${output}', one: '${input.x}'}}",
        {"x": 1},
    )
    assert run.output == {"all": ["a", "b", "c"], "one": 1}
    assert [event.value for event in run.events if isinstance(event, Delta)] == ["a", "b", "c"]


def test_a_path_into_another_jobs_stream_in_the_workflows_output() -> None:
    run = ran("  jobs: [{id: a, component: words, input: a b}]\n  output: {x: '${jobs.a.output.text}'}")
    assert (
        run.error is not None
        and run.error.sentence == "the output is a stream, which has no `text`; write `${jobs.a.output}`"
    )


# -- bounds ------------------------------------------------------------------------------------------------------------------


def test_a_stream_read_by_two_jobs_of_different_speed() -> None:
    """40 MB go by, of which a quarter at most is kept: the fast reader waits for the slow one, which loses nothing."""
    count, piece = 2500, "x" * 16384
    made = 0
    ahead: list[int] = []

    async def act(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        nonlocal made
        for made in range(1, count + 1):  # noqa: B007 - the slow reader looks at it
            yield piece

    seen = {"fast": 0, "slow": 0}

    async def read(value: Any, context: Context) -> AsyncGenerator[Any, None]:
        who, text = value
        seen[who] += len(text)
        if who == "slow":
            ahead.append(made * len(piece) - seen["slow"])
            await asyncio.sleep(0)
        yield Value(None)

    jobs = """
  jobs:
    - {id: s, component: {type: acting}}
    - {id: fast, type: accumulate, input: "${jobs.s.output}", do: {component: {type: reading, value: [fast, "${input}"]}}}
    - {id: slow, type: accumulate, input: "${jobs.s.output}", do: {type: pipeline, steps: [{}, {}, {component: {type: reading, value: [slow, "${input}"]}}]}}
"""
    undo, undo_too = acting(act), acting(read, "reading")
    tracemalloc.start()
    try:
        run = ran(jobs, parts="component: {type: echo, value: '${input}'}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        undo()
        undo_too()
    run.raise_for_error()
    assert seen == {"fast": count * len(piece), "slow": count * len(piece)}
    assert max(ahead) <= 9 * 2**20 and peak < 24 * 2**20, (max(ahead), peak)


# -- requests ----------------------------------------------------------------------------------------------------------------

ASKING = """
workflow:
  job:
    type: for-each
    batch_size: ${{input.width}}
    input: ${{input.items}}
    do: {{input: "${{item}}", output: "${{output}}"}}
component:
  type: http-client
  action:
    endpoint: "{base}/v1/chat/completions"
    body: {{model: m, messages: [{{role: user, content: "${{input as text}}"}}], stream: true}}
    stream_format: json
    output: ${{response[].choices[0].delta.content}}
"""


class Counting(BaseHTTPRequestHandler):
    """Counts the requests that are open at once; the first are answered when so many are there as are wanted."""

    wbufsize = 2**16  # head and body in one packet
    wanted, now, most = 0, 0, 0
    lock: threading.Lock
    are_there: threading.Event

    def do_POST(self) -> None:
        kind = type(self)
        self.rfile.read(int(self.headers["content-length"]))
        with kind.lock:
            kind.now += 1
            kind.most = max(kind.most, kind.now)
            if kind.now == kind.wanted:
                kind.are_there.set()
        assert kind.are_there.wait(30)
        with kind.lock:
            kind.now -= 1  # before its end: who hears that may ask the next one at once
        chunks = [{"choices": [{"delta": {"content": word}}]} for word in ("one ", "two")]
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("width", [1, 4, 16])
def test_the_servers_own_count_of_requests_at_once(width: int) -> None:
    """64 items: the server, not this side, says how many requests were open at the same time."""
    about = {"wanted": width, "lock": threading.Lock(), "are_there": threading.Event()}
    counting = type("Counting", (Counting,), about)
    with answering(counting) as url:
        run = composemagic.load(ASKING.format(base=url)).start({"items": list(range(64)), "width": width})
        assert run.wait(60)
    run.raise_for_error()
    assert run.output == ["one two"] * 64
    assert (counting.most, counting.now) == (width, 0)


def test_notes_tell_nothing_twice() -> None:
    run = ran("  jobs: [{id: a, component: words, input: a b}, {id: b, input: '${jobs.a.output}'}]")
    notes = [event.sentence for event in run.events if isinstance(event, Notice)]
    assert len(notes) == len(set(notes))


def test_what_a_slow_reader_leaves_loose_is_not_gone_through_for_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pump runs far ahead of a reader: as long as that has not passed them, its chunks cannot be joined."""
    tried = 0
    join_them = Stream._compact

    def compact(stream: Stream) -> None:
        nonlocal tried
        tried += 1
        join_them(stream)

    async def source() -> AsyncGenerator[list[Any], None]:
        for _ in range(30_000):
            yield ["x"]

    async def read() -> int:
        stream = Stream(source())
        slow = stream.batches()
        await anext(slow)
        await stream.drain()
        return sum([len("".join(batch)) async for batch in slow])

    monkeypatch.setattr(Stream, "_compact", compact)
    assert asyncio.run(read()) == 29_999
    assert 0 < tried < 10
