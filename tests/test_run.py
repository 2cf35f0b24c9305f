"""Run: what it says and to whom, how it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest

import composemagic
from composemagic import InputError, ModelError, RunError, UsageError, Workflow
from composemagic.components import GROUP, find
from composemagic.engine.events import (
    Answered,
    Delta,
    Event,
    JobFinished,
    JobStarted,
    Notice,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
)
from composemagic.engine.host import Surroundings
from composemagic.engine.loop import PrivateLoop, private_loop
from composemagic.engine.record import Inbox, Record
from composemagic.engine.run import Run
from composemagic.notebook.view import bundle
from composemagic.transport.providers import ProviderError
from composemagic.workflow.component import Action, Batch, Component, Context, Settings, Value
from tests.conftest import EchoServer, replay_server
from tests.servers.faults import FaultServer

ROOT = Path(__file__).resolve().parent.parent
Act = Callable[[Context], AsyncGenerator[Any, None]]


def component(act: Act) -> type[Any]:
    """A component type `scripted` that does what `act` does."""

    class Scripted(Component):
        type: ClassVar[str] = "scripted"

        def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
            return act(context)

    return Scripted


def scripted(act: Act, yaml: str = "component: {type: scripted}", **options: Any) -> Workflow:
    """A workflow whose component does what `act` does."""
    undo = composemagic.register_component(component(act))
    try:
        return composemagic.load(yaml, **options)
    finally:
        undo()


def says(*chunks: Any) -> Act:
    """Yields these."""

    async def act(_: Context) -> AsyncGenerator[Any, None]:
        for chunk in chunks:
            yield chunk

    return act


class Gate:
    """What a component waits for and a test opens."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        private_loop().loop.call_soon_threadsafe(self._open.set)


def gated(gate: Gate, before: Iterable[Any] = (), after: Iterable[Any] = ()) -> Act:
    async def act(_: Context) -> AsyncGenerator[Any, None]:
        for chunk in before:
            yield chunk
        await gate.wait()
        for chunk in after:
            yield chunk

    return act


def text_of(events: Iterable[Event]) -> str:
    return "".join(event.value for event in events if isinstance(event, Delta))


def names_of(events: Iterable[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def on_loop() -> set[asyncio.Task[Any]]:
    """What lives on the private loop; all that was scheduled there before has happened then."""

    async def tasks() -> set[asyncio.Task[Any]]:
        return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    return private_loop().submit(tasks()).result(60)


@pytest.fixture
def own_tasks() -> Callable[[], set[asyncio.Task[Any]]]:
    """What lives there since the test began: what other tests keep there is not ours."""
    others = on_loop()
    return lambda: on_loop() - others


def python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


# -- reading -------------------------------------------------------------------------------------------------------------


def test_the_order_of_events() -> None:
    run = scripted(says("a", "b")).start({"x": 1})
    found = list(run)
    assert names_of(found) == ["RunStarted", "JobStarted", "Delta", "Delta", "JobFinished", "RunFinished"]
    assert found[0] == RunStarted(run.id, "", {"x": 1})
    assert found[-1] == RunFinished("ab", run.timing.total or 0, None)
    assert run.status == "done" and run.done and run.output == "ab" and str(run) == "ab"


def test_async_reading() -> None:
    async def read() -> list[Event]:
        return [event async for event in scripted(says("a", Batch(["b", "c"]))).stream()]

    found = asyncio.run(read())
    assert text_of(found) == "abc" and isinstance(found[-1], RunFinished)


def test_a_run_that_was_read_to_its_end_is_done() -> None:
    for _ in range(20):
        run = scripted(says("a")).start({})
        list(run)
        assert run.done


def test_events_of_a_finished_run_can_be_read_again_and_again() -> None:
    run = scripted(says("a", "b"))()
    first, second = list(run), list(run)
    assert first == second == list(run.events)
    assert text_of(first) == "ab"

    async def read() -> list[Event]:
        return [event async for event in run]

    assert asyncio.run(read()) == first


def test_a_late_reader_gets_everything_from_the_start() -> None:
    gate = Gate()
    run = scripted(gated(gate, ["a", "b"], ["c"])).start({})
    assert gate.reached.wait(60)
    late = iter(run)
    early = [next(late), next(late)]
    assert names_of(early) == ["RunStarted", "JobStarted"]
    gate.open()
    rest = list(late)
    assert text_of(rest) == "abc" and isinstance(rest[-1], RunFinished)


def test_several_readers_at_once_see_the_same() -> None:
    gate = Gate()
    pieces = [f"{number} " for number in range(2000)]
    run = scripted(gated(gate, pieces[:1000], pieces[1000:])).start({})
    found: dict[int, list[Event]] = {}

    def read(number: int) -> None:
        found[number] = list(run)

    async def read_async() -> list[list[Event]]:
        async def one() -> list[Event]:
            return [event async for event in run]

        return await asyncio.gather(one(), one(), one())

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    gate.open()
    also = asyncio.run(read_async())
    for thread in threads:
        thread.join(60)
    for events in [*found.values(), *also]:
        assert text_of(events) == "".join(pieces)
        assert names_of(events).count("RunStarted") == names_of(events).count("RunFinished") == 1


def test_a_reader_that_comes_between_saying_and_handing_gets_nothing_twice() -> None:
    """What was said in this turn of the loop waits to be handed on; a new reader is told of it as the past, once."""
    given: list[Event] = []
    runs: list[Run] = []

    async def act(_: Context) -> AsyncGenerator[Any, None]:
        yield "a"
        runs[0].subscribe(given.extend)
        yield "b"
        runs[0].subscribe(lambda batch: None)
        yield "c"

    runs.append(scripted(act).start({}))
    assert runs[0].wait(60)
    on_loop()
    assert text_of(given) == "abc"
    assert names_of(given).count("JobStarted") == 1 and isinstance(given[-1], RunFinished)


def test_what_nobody_has_heard_yet_comes_with_what_comes_next() -> None:
    """Waking the first reader for the beginning alone would hold up the request; who comes later hears the past at once."""

    def fails(error: Exception) -> None:
        raise error

    record = Record()
    begun, started, delta = RunStarted("r", "t", {}), JobStarted("a", 0.0), Delta("x", "a")
    batches: dict[str, list[list[Event]]] = {"first": [], "second": [], "third": []}
    record.say(begun)
    record.attach(batches["first"].append, fails)
    assert batches["first"] == []
    record.say(started)
    record.attach(batches["second"].append, fails)
    record.stream([delta])
    record.flush(fails)
    record.attach(batches["third"].append, fails)
    assert batches == {
        "first": [[begun, started], [delta]],
        "second": [[begun, started], [delta]],
        "third": [[begun, started, delta]],
    }


def test_what_was_handed_on_while_nobody_listened_is_past() -> None:
    record = Record()
    begun, started = RunStarted("r", "t", {}), JobStarted("a", 0.0)
    record.say(begun)
    record.flush(pytest.fail)
    record.say(started)
    batches: list[list[Event]] = []
    record.attach(batches.append, pytest.fail)
    assert batches == [[begun, started]]


def test_it_is_past_also_where_pieces_were_joined_since() -> None:
    """What is kept is fewer events by then, and may be as many as wait."""
    record = Record()
    begun, started, joined = RunStarted("r", "t", {}), JobStarted("a", 0.0), Delta("xy", "a")
    record.say(begun)
    record.flush(pytest.fail)
    record.stream([Delta("x", "a"), Delta("y", "a")])
    record.say(started)
    batches: list[list[Event]] = []
    record.attach(batches.append, pytest.fail)
    record.flush(pytest.fail)
    assert batches == [[begun, joined, started]]


def test_readers_that_come_at_any_moment_get_everything_once() -> None:
    async def act(_: Context) -> AsyncGenerator[Any, None]:
        for number in range(3000):
            yield f"{number} "
            if number % 10 == 0:
                await asyncio.sleep(0)
            if number == 1500:
                await gate.wait()

    gate = Gate()
    run = scripted(act).start({})
    found: list[list[Event]] = []
    while not run.done:
        events: list[Event] = []
        found.append(events)
        run.subscribe(events.extend)
        if len(found) > 5:
            gate.open()
        time.sleep(0.0005)  # lets the loop's thread go on
    expected = "".join(f"{number} " for number in range(3000))
    on_loop()
    assert len(found) > 5
    for events in found:
        assert text_of(events) == expected
        assert names_of(events).count("RunFinished") == 1


def test_who_leaves_is_called_no_more() -> None:
    gate = Gate()
    run = scripted(gated(gate, ["a"], ["b"])).start({})
    events: list[Event] = []
    leave = run.subscribe(events.extend)
    assert gate.reached.wait(60)
    leave()
    leave()
    gate.open()
    assert run.wait(60)
    assert text_of(events) in ("", "a") and "RunFinished" not in names_of(events)


@pytest.mark.parametrize("when", ["while it runs", "when it is over"])
def test_a_reader_that_raises_spoils_nothing(when: str, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: list[Event]) -> None:
        raise ValueError("a reader's own mistake")

    gate = Gate()
    run = scripted(gated(gate, ["a"], ["b"])).start({})
    if when == "while it runs":
        assert gate.reached.wait(60)
        run.subscribe(broken)
        gate.open()
    else:
        gate.open()
        assert run.wait(60)
        run.subscribe(broken)
    assert text_of(run) == "ab"
    assert "a reader of run-" in caplog.text


def test_a_reader_that_breaks_off_leaves_the_run_alone() -> None:
    gate = Gate()
    run = scripted(gated(gate, ["a"], ["b"])).start({})
    for event in run:
        if isinstance(event, Delta):
            break
    gate.open()
    assert run.wait(60) and run.text == "ab"


def test_a_reader_that_lags_gets_the_exact_text_in_few_pieces() -> None:
    pieces = [f"{number:06} " for number in range(20_000)]
    run = scripted(says(*(Batch(pieces[at : at + 50]) for at in range(0, 20_000, 50)))).start({})
    reader = iter(run)
    first = next(reader)
    assert run.wait(60)
    rest = list(reader)
    assert text_of([first, *rest]) == "".join(pieces)
    assert len(rest) < 6000
    assert run.timing.deltas == 20_000


def test_json_pieces_are_never_joined_for_a_reader_that_lags() -> None:
    yaml = "workflow: {output: '${output as stream/json}'}\ncomponent: {type: scripted}"
    run = scripted(says(Batch([{"n": number} for number in range(10_000)])), yaml).start({})
    assert run.wait(60)
    assert [json.loads(event.value)["n"] for event in run if isinstance(event, Delta)] == list(range(10_000))
    assert run.output == [{"n": number} for number in range(10_000)]


def test_the_inbox_is_not_looked_through_for_every_batch() -> None:
    """Values that cannot be joined would cost the square of their number."""
    inbox = Inbox(Record())
    begun = time.process_time()
    for number in range(40_000):
        inbox.put([Delta({"n": number})])
    assert time.process_time() - begun < 10  # of CPU; the square would take minutes
    assert len(inbox.take()) == 40_000 and inbox.take() == []


# -- the end -------------------------------------------------------------------------------------------------------------


def test_wait_with_a_timeout() -> None:
    gate = Gate()
    run = scripted(gated(gate)).start({})
    assert run.wait(0.01) is False
    assert run.wait(0) is False
    with pytest.raises(TimeoutError, match=r"within 0\.01 seconds"):
        run.result(0.01)
    gate.open()
    assert run.wait(60) is True
    assert run.wait(0) is True


def test_result() -> None:
    assert scripted(says("a", "b")).start({}).result(60) == "ab"

    async def broken(_: Context) -> AsyncGenerator[Any, None]:
        yield "a"
        raise RunError("auth", "no key, no answer")

    run = scripted(broken).start({})
    with pytest.raises(RunError, match="no key, no answer"):
        run.result(60)
    assert run.status == "failed" and run.text == "a" and run.output == "a"
    assert run.error is not None and run.error.job == "job-1"


def test_truncated_is_a_status_of_its_own() -> None:
    async def cut(_: Context) -> AsyncGenerator[Any, None]:
        yield "a"
        raise RunError("truncated", "the stream ended early")

    run = scripted(cut).start({})
    last = list(run)[-1]
    assert run.status == "truncated" and isinstance(last, RunFailed) and last.output == "a"


def test_cancel_before_the_first_step() -> None:
    async def never(_: Context) -> AsyncGenerator[Any, None]:
        raise AssertionError("the component was called")
        yield

    workflow = scripted(never)
    blocked, go = threading.Event(), threading.Event()
    private_loop().loop.call_soon_threadsafe(lambda: (blocked.set(), go.wait(60)))
    assert blocked.wait(60)
    run = workflow.start({})
    run.cancel()
    go.set()
    assert run.wait(60)
    assert run.status == "stopped" and run.error is None and run.output is None and run.text == ""
    assert names_of(run) == ["RunStopped"]


def test_cancel_mid_stream_keeps_the_text_and_closes_the_component(
    own_tasks: Callable[[], set[asyncio.Task[Any]]],
) -> None:
    gate, closed = Gate(), threading.Event()

    async def act(_: Context) -> AsyncGenerator[Any, None]:
        try:
            yield "kept "
            await gate.wait()
        finally:
            closed.set()

    run = scripted(act).start({})
    assert gate.reached.wait(60)
    for _ in range(3):
        run.cancel()
    assert run.wait(60) and closed.is_set()
    assert run.status == "stopped" and run.text == "kept "
    last = list(run)[-1]
    assert isinstance(last, RunStopped) and last.output == "kept "
    assert not own_tasks()


def test_cancel_after_the_end_changes_nothing() -> None:
    run = scripted(says("a"))()
    events = run.events
    run.cancel()
    run.cancel()
    on_loop()
    assert run.status == "done" and run.events == events


def test_a_component_that_breaks_while_it_is_stopped_does_not_matter(
    own_tasks: Callable[[], set[asyncio.Task[Any]]],
) -> None:
    gate = Gate()

    async def act(_: Context) -> AsyncGenerator[Any, None]:
        try:
            yield "a"
            await gate.wait()
        finally:
            raise ValueError("in closing")

    run = scripted(act).start({})
    assert gate.reached.wait(60)
    run.cancel()
    assert run.wait(60) and run.status == "stopped"
    assert run.text == "a" and not own_tasks()


def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    async def act(_: Context) -> AsyncGenerator[Any, None]:
        yield "a"
        raise asyncio.CancelledError

    run = scripted(act).start({})
    assert run.wait(60) and run.status == "failed"
    assert run.error is not None and run.error.kind == "internal"


def interrupt_when(ready: Callable[[], object]) -> None:
    """Send a real SIGINT to the main thread, from another one, once this is true."""

    def interrupt() -> None:
        end = time.monotonic() + 60
        while not ready() and time.monotonic() < end:
            time.sleep(0.001)  # between two looks at the condition
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()


def test_an_interrupt_in_wait_stops_the_run() -> None:
    class Telling(threading.Event):
        waited = False

        def wait(self, timeout: float | None = None) -> bool:
            self.waited = True
            return super().wait(timeout)

    gate = Gate()
    run = scripted(gated(gate, ["a"])).start({})
    assert gate.reached.wait(60)
    run._ended = ended = Telling()
    with pytest.raises(KeyboardInterrupt):
        interrupt_when(lambda: ended.waited)
        run.wait(60)
    assert run.done and run.status == "stopped" and run.text == "a"


def test_an_interrupt_in_a_loop_stops_the_run() -> None:
    gate = Gate()
    run = scripted(gated(gate, ["a"])).start({})
    assert gate.reached.wait(60)
    with pytest.raises(KeyboardInterrupt):
        interrupt_when(lambda: run._record._readers)  # the main thread is inside `list` by then
        list(run)
    assert run.done and run.status == "stopped" and run.text == "a"


def test_cancelling_who_waits_stops_the_run() -> None:
    gate = Gate()
    run = scripted(gated(gate, ["a"])).start({})

    async def main(waiting: Callable[[], Any]) -> None:
        task = asyncio.ensure_future(waiting())
        assert await asyncio.to_thread(gate.reached.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main(run.finished))
    assert run.wait(60) and run.status == "stopped"


def test_finished_gives_the_run() -> None:
    async def main() -> None:
        run = scripted(says("a")).start({})
        run.subscribe(lambda batch: time.sleep(0.05))  # a reader that is told of the end after the one that waits
        assert await run.finished() is run
        assert run.done and run.wait(0)
        assert await run.finished() is run

    asyncio.run(main())


# -- what a component may break ------------------------------------------------------------------------------------------

BREAKS = [
    ValueError("a bad number"),
    KeyError("name"),
    Exception(),
    OSError(28, "No space left on device"),
    RecursionError("too deep"),
    MemoryError(),
    AssertionError("never"),
    StopIteration(),
    StopAsyncIteration(),
    SystemExit(3),
    KeyboardInterrupt(),
    ExceptionGroup("several", [ValueError("one")]),
]


@pytest.mark.parametrize("error", BREAKS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("before", [[], ["a"]], ids=["at once", "mid-stream"])
def test_whatever_breaks_in_a_component_is_told_in_a_sentence(error: BaseException, before: list[str]) -> None:
    async def act(_: Context) -> AsyncGenerator[Any, None]:
        for chunk in before:
            yield chunk
        raise error

    run = scripted(act).start({})
    assert run.wait(60) and run.status == "failed"
    found = run.error
    assert found is not None and found.kind == "internal" and found.job == "job-1"
    assert "the component `scripted` broke: " in found.sentence and not found.sentence.endswith(": ")
    assert found.__cause__ is not None and found.__cause__.__traceback__ is not None  # for developers
    assert error in (found.__cause__, found.__cause__.__cause__)
    assert run.text == "".join(before)
    assert scripted(says("the loop lives"))().text == "the loop lives"


def test_a_yield_of_nothing_at_all() -> None:
    run = scripted(says())()
    assert run.status == "done" and run.output is None and run.text == ""


# -- outputs -------------------------------------------------------------------------------------------------------------

VALUES = [
    ("text", "text"),
    ("", ""),
    (7, "7"),
    (0.5, "0.5"),
    (True, "true"),
    (None, ""),
    ({"a": [1, {"b": "é"}]}, '{"a": [1, {"b": "é"}]}'),
    ([1, "2", None], '[1, "2", null]'),
    (b"bytes", "bytes"),
    (b"\xff\x00", "\ufffd\x00"),
    ({(1, 2): "a tuple is no key of JSON"}, "{(1, 2): 'a tuple is no key of JSON'}"),
]


@pytest.mark.parametrize(("value", "text"), VALUES, ids=repr)
def test_an_output_that_is_one_value(value: Any, text: str) -> None:
    run = scripted(says(Value(value)))()
    assert run.output == value and type(run.output) is type(value)
    assert run.text == text
    assert isinstance(run.events[-1], RunFinished) and run.events[-1].output == value


STREAMS = [
    ("${output}", ["a", "b"], "ab", "ab"),
    ("${output as text}", ["a", "b"], "ab", "ab"),
    ("${output as stream/text}", ["a", "b"], "ab", "ab"),
    ("got: ${output}", ["a", "b"], "got: ab", "got: ab"),
    ("${output}", [{"n": 1}, {"n": 2}], [{"n": 1}, {"n": 2}], '{"n":1}\n{"n":2}'),
    ("${output as stream/json}", [{"n": 1}, 2], [{"n": 1}, 2], '{"n":1}\n2'),
    ("${output as stream/json}", ["a", "b"], ["a", "b"], '"a"\n"b"'),
    ("${output}", [1, "a", None, True], [1, "a", True], "1\na\ntrue"),
]


@pytest.mark.parametrize(("output", "chunks", "value", "text"), STREAMS, ids=str)
def test_an_output_that_streams(output: str, chunks: list[Any], value: Any, text: str) -> None:
    yaml = f"workflow: {{output: {json.dumps(output)}}}\ncomponent: {{type: scripted}}"
    run = scripted(says(*chunks), yaml)()
    assert run.output == value
    assert run.text.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("kind", ["text", "json"])
def test_the_encoding_of_a_stream(kind: str) -> None:
    yaml = f"workflow: {{output: '${{output as stream/{kind}}}'}}\ncomponent: {{type: scripted}}"
    run = scripted(says("a", "b"), yaml)()
    assert run.encoding == kind
    assert scripted(says("a"))().encoding is None


def test_streams_inside_an_object_are_collected() -> None:
    yaml = "workflow: {output: {a: '${output}', in: {list: ['${output}', 1]}}}\ncomponent: {type: scripted}"
    assert scripted(says("x", "y"), yaml)().output == {"a": "xy", "in": {"list": ["xy", 1]}}


def test_one_stream_read_twice_in_one_output() -> None:
    yaml = """
workflow: {output: {a: "${output}", b: "${output as text}", c: "<${output}>", d: "${output}"}}
component: {type: scripted}
"""
    assert scripted(says("x", "y"), yaml)().output == {"a": "xy", "b": "xy", "c": "<xy>", "d": "xy"}


def test_a_character_whose_halves_come_in_two_chunks() -> None:
    run = scripted(says("a\ud83d", "\ude80b", Batch(["\ud83d", "\ude80"]), "\ud83d", "c\ud83d"))()
    assert run.text == run.output == "a\U0001f680b\U0001f680\ufffdc\ufffd"
    run.text.encode()
    assert scripted(says(Value({"k\ud83d": ["\ude80"]})))().output == {"k\ufffd": ["\ufffd"]}


def test_the_limit_of_an_output() -> None:
    run = scripted(says(*(["x" * 2**20] * 9))).start({})
    assert run.wait(60) and run.status == "failed"
    assert run.error is not None and run.error.kind == "too_large" and "8 MiB" in run.error.sentence
    assert run.text == "x" * 2**23


def test_notices_and_models() -> None:
    async def act(context: Context) -> AsyncGenerator[Any, None]:
        context.note("something to know")
        context.answered_by("m-1")
        context.answered_by("m-2")
        context.used({"completion_tokens": 3})
        yield "a"

    run = scripted(act)()
    assert Notice("something to know") in run.events and Answered("m-1") in run.events
    assert run.model == "m-1" and run.usage == {"completion_tokens": 3}
    assert isinstance(run.events[-1], RunFinished) and run.events[-1].usage == {"completion_tokens": 3}


def test_an_empty_chunk_is_no_first_delta() -> None:
    gate = Gate()
    run = scripted(gated(gate, [""], ["a"])).start({})
    assert gate.reached.wait(60)
    assert run.timing.first_delta is None
    gate.open()
    assert run.wait(60) and run.timing.first_delta is not None
    assert run.timing.deltas == 2 and run.timing.total is not None


def test_job_finished_counts_the_deltas() -> None:
    events = scripted(says("a", Batch(["b", "c"])))().events
    assert [event.deltas for event in events if isinstance(event, JobFinished)] == [3]
    assert [event.job for event in events if isinstance(event, JobStarted)] == ["job-1"]


# -- around it -----------------------------------------------------------------------------------------------------------


def test_two_runs_at_once() -> None:
    gate = Gate()
    workflow = scripted(gated(gate, ["a"], ["b"]))
    one, other = workflow.start({"n": 1}), workflow.start({"n": 2})
    assert one.id != other.id
    gate.open()
    assert one.wait(60) and other.wait(60)
    assert one.text == other.text == "ab"
    assert one.input == {"n": 1} and other.input == {"n": 2}


def test_from_inside_a_running_loop() -> None:
    workflow = scripted(says("a", "b"))

    async def main() -> tuple[str, str]:
        return workflow().text, (await workflow.arun()).text

    assert asyncio.run(main()) == ("ab", "ab")
    assert asyncio.run(main()) == ("ab", "ab")


def test_nothing_is_left_after_a_stop(own_tasks: Callable[[], set[asyncio.Task[Any]]]) -> None:
    with FaultServer() as faults:  # its own: connections of other tests are not counted
        threads = set(threading.enumerate())
        workflow = composemagic.load(HTTP.format(base=faults.url("stall-mid")))
        for _ in range(5):
            run = workflow.start({})
            for event in run:
                if isinstance(event, Delta) and event.value:
                    break
            run.cancel()
            assert run.wait(60) and run.status == "stopped"
        assert faults.wait_idle(60)
    assert not own_tasks()
    assert {thread.name for thread in set(threading.enumerate()) - threads} <= {"composemagic-loop"}


HTTP = """
component:
  type: http-client
  base_url: {base}
  path: /v1/chat/completions
  body: {{stream: true}}
  stream_format: json
  output: ${{response[].choices[0].delta.content}}
"""


def test_two_runs_share_a_connection() -> None:
    """A connection that is not given back costs the next run a handshake."""
    with replay_server() as replay:  # its own: requests of other tests are not counted
        workflow = composemagic.load(HTTP.format(base=f"{replay}/n=50"))
        before = stats(replay)
        assert len(workflow().text) == len(workflow().text) == 300
        after = stats(replay)
    assert after["requests"] - before["requests"] == 2
    assert after["connections"] - before["connections"] - 1 <= 1  # the look at the figures is one itself


def stats(replay: str) -> dict[str, int]:
    found: dict[str, int] = httpx.get(f"{replay}/stats", timeout=60).json()
    return found


def test_memory_does_not_grow_with_the_chunks(replay: str) -> None:
    """Beside the text, at most 1 MiB from 1,000 to 50,000 chunks; nobody reads while it runs, and one reads late."""

    def cost(chunks: int) -> tuple[int, int]:
        workflow = composemagic.load(HTTP.format(base=f"{replay}/n={chunks},burst=65536"))
        tracemalloc.start()
        try:
            run = workflow.start({})
            reader = iter(run)
            next(reader)
            assert run.wait(60)
            assert text_of(reader) == run.text and len(run.text) == 6 * chunks
            kept, peak = tracemalloc.get_traced_memory()
            return kept - len(run.text), peak
        finally:
            tracemalloc.stop()

    cost(100)
    few, many = cost(1000), cost(50_000)
    assert many[0] - few[0] < 2**20
    # at its highest the text stands in the stream, in the record, with the reader that lags, and joined
    assert many[1] - few[1] < 2**20 + 4 * 300_000


FORK = """
import os, composemagic
workflow = composemagic.load("component: {type: echo, text: a b}")
assert workflow().text == "a b"
child = os.fork()
if child == 0:
    print("child", workflow().text, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("parent", workflow().text)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork_both_go_on() -> None:
    done = python(FORK)
    assert done.stdout.splitlines() == ["child a b", "parent a b"], done.stderr
    assert done.returncode == 0


EXIT = """
import composemagic
run = composemagic.load("component: {type: echo, text: a b, delay: 600}").start({})
next(iter(run))
print("end")
"""


def test_a_process_that_ends_does_not_wait_for_its_runs() -> None:
    done = python(EXIT)  # which has 60 seconds
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)


def test_a_loop_that_is_closed_ends_its_runs() -> None:
    loop = PrivateLoop()
    plan = scripted(gated(Gate(), ["a"]))
    run = Run(plan._plan, {}, plan._surroundings, loop=loop)
    for event in run:
        if isinstance(event, Delta):
            break
    loop.close()
    assert run.wait(60) and run.status == "stopped" and not loop.alive
    run.cancel()
    loop.close()
    assert text_of(run) == "a"


def test_what_is_shared_is_closed_with_the_loop() -> None:
    closed = threading.Event()

    class Thing:
        async def aclose(self) -> None:
            closed.set()

    loop = PrivateLoop()

    async def use() -> tuple[Any, Any]:
        return loop.shared("thing", Thing), loop.shared("thing", Thing)

    one, other = loop.submit(use()).result(60)
    assert one is other
    loop.close()
    assert closed.is_set()


# -- components from elsewhere -------------------------------------------------------------------------------------------


def test_registering_and_undoing() -> None:
    mine, yours = component(says("mine")), component(says("yours"))
    assert find("scripted") is None
    undo_mine = composemagic.register_component(mine)
    undo_yours = composemagic.register_component(yours)
    assert find("scripted") is yours
    undo_yours()
    assert find("scripted") is mine
    undo_mine()
    assert find("scripted") is None


def test_a_class_that_is_no_component() -> None:
    class Half:
        type = "half"

        async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
            yield 1

    with pytest.raises(UsageError, match=r"the component class Half lacks `sources`, .*; derive it from Component"):
        composemagic.register_component(Half)  # type: ignore[arg-type]


def test_a_registered_type_goes_before_a_built_in_one() -> None:
    class Quiet(component(says("quiet"))):  # type: ignore[misc]
        type: ClassVar[str] = "echo"

    undo = composemagic.register_component(Quiet)
    workflow = composemagic.load("component: {type: echo}")
    undo()
    assert workflow().text == "quiet"
    assert composemagic.load("component: {type: echo, text: loud}")().text == "loud"


def test_an_installed_package_adds_a_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shouting.py").write_text(
        "from composemagic.components.echo import Echo\n"
        "class Shout(Echo):\n"
        "    type = 'shout'\n"
        "    async def run(self, action, context):\n"
        "        async for word in super().run(action, context):\n"
        "            yield word.upper()\n",
        encoding="utf-8",
    )
    info = tmp_path / "shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nshout = shouting:Shout\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert composemagic.load("component: {type: shout, text: hello there}")().text == "HELLO THERE"


def test_an_installed_package_that_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nsnap = no_such_module:Snap\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="the component type `snap` of broken cannot be loaded: No module named"):
        composemagic.load("component: {type: snap}")


ECHOES = [
    ("text: one two  three", "one two  three", ["one", " two", "  three"]),
    ("text: '  a b '", "  a b ", ["  a", " b", " "]),
    ("text: ' '", " ", [" "]),
    ("text: ''", "", []),
    ("text: '${input.name}!'", "Ada!", ["Ada!"]),
    ("text: 12", "12", ["12"]),
    ("text: '${input.missing}'", "", []),
    ("value: '${input}'", {"name": "Ada"}, []),
    ("value: [1, '${input.name}']", [1, "Ada"], []),
    ("delay: 0", {"name": "Ada"}, []),
]


@pytest.mark.parametrize(("yaml", "value", "deltas"), ECHOES)
def test_echo(yaml: str, value: Any, deltas: list[str]) -> None:
    run = composemagic.load(f"component:\n  type: echo\n  {yaml}\n").start({"name": "Ada"}, begins=False)
    batches: list[Event] = []
    run.subscribe(batches.extend)
    run.begin()
    assert run.wait(60)
    on_loop()
    assert [event.value for event in batches if isinstance(event, Delta)] == deltas
    assert run.output == value


@pytest.mark.parametrize(
    ("delay", "told"), [("soon", '"soon"'), (float("inf"), "inf"), (10**400, "so large an integer")]
)
def test_echo_wants_a_delay_in_seconds(delay: Any, told: str) -> None:
    run = composemagic.load("component: {type: echo, text: a, delay: '${input.d}'}").start({"d": delay})
    assert run.wait(60) and run.error is not None
    assert run.error.sentence == f"`delay` is a number of seconds, not {told}"


def test_a_transport_in_place_of_the_network() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        words = "".join(
            f'data: {{"choices": [{{"delta": {{"content": "{word} "}}}}]}}\n\n' for word in asked["prompt"].split()
        )
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=words + "data: [DONE]\n\n")

    yaml = HTTP.format(base="https://nowhere.invalid").replace(
        "{stream: true}", "{stream: true, prompt: '${input.prompt}'}"
    )
    workflow = composemagic.load(yaml, transport=httpx.MockTransport(answer))
    assert workflow(prompt="no network at all").text == "no network at all "


def test_a_transport_that_streams() -> None:
    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for word in ("one ", "two"):
                yield b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % word.encode()
                await asyncio.sleep(0)
            yield b"data: [DONE]\n\n"

    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Slow())

    run = composemagic.load(HTTP.format(base="https://nowhere.invalid"), transport=httpx.MockTransport(answer))()
    assert run.text == "one two"


def test_a_value_from_a_server(echo_server: EchoServer) -> None:
    yaml = f"component: {{type: http-client, endpoint: '{echo_server.url}/slow/1/x', output: '${{response.v}}'}}"
    assert composemagic.load(yaml)().output == "x"


# -- an output that matches nothing is never silent ------------------------------------------------------------------------


def notices(run: Run) -> list[Notice]:
    """What the run itself had to say, beside the notes on its document."""
    return [event for event in run.events if isinstance(event, Notice) and event.sentence not in run.plan.notes]


CHUNKS: list[dict[str, Any]] = [
    {"choices": [{"delta": {"role": "assistant"}}]},
    {"choices": [{"delta": {"content": "a"}}]},
]

NO_VALUE = [
    (
        "${result.choices[0].message.content}",
        "${result[].choices[0].delta.content}",
        "result.choices[0].message.content",
    ),
    ("${result.choices[0].delta.content}", "${result[].choices[0].delta.content}", "result.choices[0].delta.content"),
    (
        "${result[0].choices[0].delta.content}",
        "${result[].choices[0].delta.content}",
        "result[0].choices[0].delta.content",
    ),
    ("${result[*].n}", "${result[].n}", "result[*].n"),
    ("${result.content[0].text}", "${result[].delta.text}", "result.content[0].text"),
    ("a ${result.x | y}", "${result[].x}", "result.x | y"),
    ("{text: '${result.x}'}", "${result[].x}", "result.x"),
]


@pytest.mark.parametrize(("output", "wanted", "marked"), NO_VALUE)
def test_a_path_into_a_stream_as_if_it_were_a_value(output: str, wanted: str, marked: str) -> None:
    closed = threading.Event()

    async def act(_: Context) -> AsyncGenerator[Any, None]:
        try:
            for chunk in CHUNKS:
                yield chunk
        finally:
            closed.set()

    run = scripted(act, f"component:\n  type: scripted\n  output: {output}\n").start({})
    assert run.wait(60) and run.status == "failed" and closed.is_set()
    assert run.error is not None and run.error.kind == "output" and f"`{wanted}`" in run.error.sentence
    assert "`stream: false`" in run.error.sentence
    mark = run.error.mark
    assert mark is not None
    assert mark.source.line(mark.line)[mark.column :].startswith("${" + marked)


def test_a_path_into_a_stream_of_text() -> None:
    run = composemagic.load("component: {type: echo, text: a b, output: '${result.x}'}").start({})
    assert run.wait(60) and run.error is not None
    assert run.error.sentence == "the answer is a stream of text, which has no `x`; write `${result[]}`"


AFTER = [
    ("job: {output: '${output.text}'}", "`${output}`"),
    ("job: {output: '${jobs.job-1.output.text}'}", "`${jobs.job-1.output}`"),
    ("job: {}, output: '${output.text}'", "`${output}`"),
    ("job: {}, output: '${jobs.job-1.output.a.b}'", "`${jobs.job-1.output}`"),
    ("job: {}, output: '${jobs.__job__.output[0]}'", "`${jobs.__job__.output}`"),
    ("output: '${output.text}'", "`${output}`"),
]


@pytest.mark.parametrize(("workflow", "wanted"), AFTER)
def test_a_path_into_an_output_that_streams(workflow: str, wanted: str) -> None:
    run = scripted(says("a", "b"), f"workflow: {{{workflow}}}\ncomponent: {{type: scripted}}").start({})
    assert run.wait(60) and run.status == "failed" and run.error is not None
    assert run.error.kind == "output" and run.error.sentence.endswith(f"write {wanted}")
    assert run.error.mark is not None and run.error.mark.line == 0


JOBS = [
    "output: '${jobs.job-1.output}'",
    "output: '${jobs.__job__.output}'",
    "job: {output: '${jobs.job-1.output}'}",
    "job: {output: '${jobs.__job__.output}'}",
    "job: {output: '${output}'}, output: '${jobs.job-1.output}'",
]


@pytest.mark.parametrize("workflow", JOBS)
def test_a_job_is_known_by_its_id_in_every_output(workflow: str) -> None:
    run = scripted(says("a", "b"), f"workflow: {{{workflow}}}\ncomponent: {{type: scripted}}")()
    assert run.output == "ab" and run.timing.deltas == 2


ANSWER = {"choices": [{"message": {"role": "assistant", "content": None}}], "usage": {"n": 1}}
VALUES_LOST = [
    ("${result.mesage}", {"message": 1}, "`result.mesage`; the answer has `message`; did you mean `message`?"),
    ("${result.choices[0].mesage.content}", ANSWER, "; `choices[0]` has `message`; did you mean `message`?"),
    ("${result.choices[1].message}", ANSWER, "; `choices` has 1 item"),
    ("${result.choices[0].message.content}", ANSWER, "; `choices[0].message.content` is null"),
    ("${result.usage.n.deep}", ANSWER, "; `usage.n` is a number"),
    ("${result[].a}", ANSWER, "; the answer has `choices`, `usage`"),
    ("got ${result.a}", ANSWER, "; the answer has `choices`, `usage`"),
    ("{x: '${result.a}', y: '${result.b}', z: 1}", ANSWER, "; the answer has `choices`, `usage`"),
    ("${result.a}", [], "; the answer is a list"),
    ("${result.a}", None, "; the answer is empty"),
    ("${result.a}", '{"a": 1}', '; the answer is text: `{"a": 1}`'),
    ("${result.a}", {}, "; the answer has no keys"),
    ("${result.a}", {"error": {"message": "bad luck", "code": 7}}, "; the answer is an error: bad luck"),
    ("${result.error.words}", {"error": {"message": "bad luck"}}, "; `error` has `message`"),
]


@pytest.mark.parametrize(("output", "value", "words"), VALUES_LOST)
def test_an_output_that_matches_nothing_in_a_value(output: str, value: Any, words: str) -> None:
    run = scripted(says(Value(value)), f"component:\n  type: scripted\n  output: {output}\n")()
    (notice,) = notices(run)
    assert words in notice.sentence and notice.sentence.startswith("nothing in the answer matched `")
    assert notice.mark is not None and "^" * 8 in str(notice) and str(notice).startswith(notice.sentence)


@pytest.mark.parametrize("value", ["<!DOCTYPE html><title>Log in</title>", "  <html>", b"\x89PNG"])
def test_a_path_into_what_can_have_none(value: Any) -> None:
    run = scripted(says(Value(value)), "component:\n  type: scripted\n  output: ${result.a.b}\n").start({})
    assert run.wait(60) and run.error is not None and run.error.kind == "output" and run.error.mark is not None
    assert run.error.sentence.startswith(
        "the answer is bytes" if isinstance(value, bytes) else "the answer is a web page"
    )


MATCHED = [
    ("${result.a}", {"a": 0}, 0),
    ("${result.a | none}", {"b": 1}, "none"),
    ("{a: '${result.a}', b: '${result.b}'}", {"a": 1}, {"a": 1, "b": None}),
    ("${result}", None, None),
    ("${result}", "<html>", "<html>"),
]


@pytest.mark.parametrize(("output", "value", "expected"), MATCHED)
def test_what_matches_is_not_talked_about(output: str, value: Any, expected: Any) -> None:
    run = scripted(says(Value(value)), f"component:\n  type: scripted\n  output: {output}\n")()
    assert run.output == expected and not notices(run)


STREAMS_LOST = [
    ("${result[].choices[0].delta.contnt}", CHUNKS[1:], "; `choices[0].delta` has `content`; did you mean `content`?"),
    ("${result[].chioces}", CHUNKS, "; its chunks have `choices`; did you mean `choices`?"),
    ("${result[].a}", [{}], "; its chunks have no keys"),
    ("${result[].a}", ["x"], "; its chunks are text"),
    ("${result[].a}", [{"error": "x", "b": 1}], "; its chunks have `error`, `b`"),
]


@pytest.mark.parametrize(("output", "chunks", "words"), STREAMS_LOST)
def test_an_output_that_matches_nothing_in_a_stream(output: str, chunks: list[Any], words: str) -> None:
    run = scripted(says(*chunks), f"component:\n  type: scripted\n  output: {output}\n")()
    (notice,) = notices(run)
    assert notice.sentence == f"nothing in the stream matched `output`{words}"
    assert notice.mark is not None and notice.mark.draw() in str(notice)


def test_an_output_that_matches_nothing_after_the_job() -> None:
    yaml = "workflow:\n  output: ${output.txet}\ncomponent: {type: scripted}\n"
    run = scripted(says(Value({"text": "a"})), yaml)()
    (notice,) = notices(run)
    assert notice.sentence == "nothing in the output matched `output.txet`; the output has `text`; did you mean `text`?"


def test_chunks_that_are_shown_as_they_came() -> None:
    run = scripted(says(*CHUNKS))()
    (notice,) = notices(run)
    assert notice.sentence == (
        "the answer streams as JSON chunks; for its text alone add `output: ${result[].choices[0].delta.content}`"
    )
    run = scripted(says({"n": 1}))()
    assert [notice.sentence for notice in notices(run)] == [
        "the answer streams as JSON chunks; for a part of each add `output: ${result[].…}`"
    ]
    asked = scripted(says({"n": 1}), "workflow: {output: '${output as stream/json}'}\ncomponent: {type: scripted}")()
    assert not notices(asked)


def test_a_mark_is_drawn_in_a_notebook_and_below_the_sentence_elsewhere() -> None:
    run = scripted(says(Value({"b": 1})), "component:\n  type: scripted\n  output: ${result.a}\n")()
    shown = bundle(run)
    drawn = "   3 |   output: ${result.a}\n                 ^^^^^^^^^^^"
    assert shown["text/plain"].endswith(f"the answer has `b`\n{drawn}")
    before, _, after = shown["text/html"].partition("the answer has `b`</summary>")
    assert before and after.startswith('<div><pre class="compose-words"') and drawn in after


FRAGMENTED = [("false", ["one", "two"]), ("'false'", ["one", "two"]), ("${input.no}", "onetwo"), ("true", "onetwo")]


@pytest.mark.parametrize(("fragmented", "value"), FRAGMENTED)
@pytest.mark.parametrize("output", ["${output}", "${output as text[]}", "${output as stream/text}"])
def test_chunks_that_are_values_of_their_own(fragmented: str, value: Any, output: str) -> None:
    body = 'data: {"d": "one"}\n\ndata: {"d": "two"}\n\n'
    headers = {"content-type": "text/event-stream"}
    yaml = f"""
workflow: {{job: {{output: "{output}"}}}}
component:
  type: http-client
  action:
    endpoint: https://nowhere.invalid
    body: {{}}
    stream_format: json
    stream_fragmented: {fragmented}
    output: ${{response[].d}}
"""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, text=body))
    assert composemagic.load(yaml, transport=transport)(no=True).output == value
    broken = composemagic.load(
        yaml.replace(f"fragmented: {fragmented}", "fragmented: maybe"), transport=transport
    ).start({})
    assert broken.wait(60) and broken.error is not None
    assert broken.error.sentence == '`stream_fragmented`: "maybe" is no boolean'


# -- what a component promises -------------------------------------------------------------------------------------------


def test_a_component_of_two_sources() -> None:
    class Two(component(says({"n": 1}, {"n": 2}))):  # type: ignore[misc]
        sources: ClassVar[tuple[str, ...]] = ("a", "b")

    undo = composemagic.register_component(Two)
    try:
        workflows = [composemagic.load(f"component: {{type: scripted, output: '{output}'}}") for output in
                     ("${a[].n}", "${b[].n}", "${a[].n}${b[].n}")]  # fmt: skip
    finally:
        undo()
    assert [workflow().output for workflow in workflows] == [[1, 2], [1, 2], "1122"]


def broken_promise(act: Any) -> RunError:
    run = scripted(act).start({})
    assert run.wait(60) and run.status == "failed" and run.error is not None and run.error.kind == "internal"
    return run.error


def test_promises_that_a_component_breaks() -> None:
    async def coroutine(_: Context) -> Any:
        return 1

    assert broken_promise(coroutine).sentence == (
        "the component `scripted` breaks its contract: `run` is no asynchronous generator but gives a coroutine"
    )
    assert "gives a list" in broken_promise(lambda _: [1]).sentence
    late = "the component `scripted` breaks its contract: it yields a Value after chunks"
    assert broken_promise(says("a", Value(1))).sentence == late
    assert broken_promise(says("a", Batch(["b"]), Value(1))).sentence == late


# -- limits --------------------------------------------------------------------------------------------------------------

BEYOND = [
    ("${output}", "x"),
    ("{answer: '${output}'}", "x"),
    ("${output as text}", "x"),
    ("<${output}>", "x"),
    ("${output}", {"a": ["x"]}),
    ("{answer: '${output}'}", {"x": 1}),
    ("${output as stream/json}", "x"),
]


@pytest.mark.parametrize(("output", "chunk"), BEYOND, ids=str)
def test_the_limit_holds_for_every_kind_of_output(output: str, chunk: Any) -> None:
    given = 0

    async def act(_: Context) -> AsyncGenerator[Any, None]:
        nonlocal given
        for _ in range(40):
            given += 1
            yield json.loads(json.dumps(chunk).replace("x", "x" * 2**20))

    run = scripted(act, f"workflow:\n  output: {output}\ncomponent: {{type: scripted}}\n").start({})
    assert run.wait(60) and run.error is not None and run.error.kind == "too_large" and "8 MiB" in run.error.sentence
    assert given < 12


# -- keys ----------------------------------------------------------------------------------------------------------------

KEY = "sk-secret-0123456789"
KEYED = "component: {type: scripted, output: '${result}', note: '${env.MY_API_KEY} ${env.PLACE} ${env.ODD | x}'}"


def keyed(act: Act) -> Run:
    """A finished run that has taken the key from the environment."""

    class Scripted(component(act)):  # type: ignore[misc]
        action: ClassVar[Any] = type("Noted", (Settings,), {"__annotations__": {"note": Any}, "note": None})

        async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
            await context.sealed(action.fields["note"])
            async for answer in act(context):
                yield answer

    undo = composemagic.register_component(Scripted)
    try:
        env = {"MY_API_KEY": KEY, "PLACE": "Jeju-Island", "ODD": "ghp_0123456789abcdef"}
        run = composemagic.load(KEYED, env=env).start({})
    finally:
        undo()
    assert run.wait(60)
    return run


def failing(error: BaseException) -> Act:
    async def act(_: Context) -> AsyncGenerator[Any, None]:
        yield "a"
        raise error

    return act


@pytest.mark.parametrize(
    "error",
    [
        RunError("server", f"you said {KEY}"),
        ValueError(f"you said {KEY}"),
        ProviderError("auth", f"wrong key {KEY}"),
        InputError({"x": f"`{KEY}` is no number"}),
        ModelError(f"no {KEY} here, and no ghp_0123456789abcdef"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_error_tells_a_key(error: BaseException) -> None:
    try:
        raise KeyError(KEY)
    except KeyError:
        error.__cause__ = ValueError(f"because of {KEY}")
        run = keyed(failing(error))
    assert run.error is not None and "***" in run.error.sentence
    try:
        run.raise_for_error()
    except RunError as raised:
        shown = "".join(traceback.TracebackException.from_exception(raised, capture_locals=True).format())
        told = [str(raised), repr(raised), repr(vars(raised)), repr(raised.args), *map(repr, run.events)]
    frames = shown.split("test_run.py", 1)[0]  # this test's own locals hold the key
    assert KEY not in frames and KEY not in "".join(told) and "ghp_0" not in "".join(told)


def test_no_note_model_or_delta_tells_a_key() -> None:
    async def act(context: Context) -> AsyncGenerator[Any, None]:
        context.note(f"note {KEY} in Jeju-Island")
        context.answered_by(f"m {KEY}", instead_of=KEY)
        yield f"text {KEY} and "
        yield Batch(["more ", KEY, "!"])

    run = keyed(act)
    assert KEY not in "".join(map(repr, run.events))
    assert Notice("note *** in Jeju-Island") in run.events and Answered("m ***", False, "***") in run.events
    assert run.output == "text *** and more ***!" and run.model == "m ***" and run.instead_of == "***"
    assert keyed(says(Value(f"it is {KEY}"))).output == "it is ***"


def test_no_drawn_keys_tell_a_key() -> None:
    yaml = KEYED.replace("'${result}'", "'${result.x}'")
    assert yaml != KEYED
    run = keyed(says(Value({KEY: 1})))
    assert run.output == {"***": 1}


def test_an_error_is_raised_again_without_growing() -> None:
    run = scripted(failing(RunError("server", "it broke"))).start({})
    assert run.wait(60)
    lengths = set()
    for _ in range(5):
        with pytest.raises(RunError) as caught:
            run.raise_for_error()
        assert caught.value is run.error and caught.value.__context__ is None
        lengths.add(len(caught.tb and traceback.extract_tb(caught.tb)))
    assert len(lengths) == 1


# -- readers and threads -------------------------------------------------------------------------------------------------


def test_a_reader_that_is_cancelled_leaves_the_run_to_the_others() -> None:
    gate = Gate()
    run = scripted(gated(gate, ["a"], ["b"])).start({})

    async def main() -> None:
        async def read() -> None:
            async for _ in run:
                pass

        task = asyncio.create_task(read())
        assert await asyncio.to_thread(gate.reached.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        events = aiter(run)
        with pytest.raises(TimeoutError):
            while True:
                await asyncio.wait_for(anext(events), 0.05)

    asyncio.run(main())
    assert not run.done
    gate.open()
    assert run.wait(60) and run.status == "done" and run.text == "ab"


SLOW_START = """
import threading, time, composemagic
from composemagic.engine.host import Surroundings
from composemagic.engine.run import Run
from composemagic.components.echo import Echo
started = threading.Event()
def start(progress):
    started.set()
    time.sleep(600)
class Local(Echo):
    type = "local"
    async def run(self, action, context):
        await context.local_model()
        yield "never"
composemagic.register_component(Local)
run = Run(composemagic.load("component: {type: local}")._plan, {}, Surroundings(local=start))
assert started.wait(60)
run.cancel()
assert run.wait(60)
print(run.status)
"""


def test_a_process_does_not_wait_for_a_model_that_starts() -> None:
    done = python(SLOW_START)  # which has 60 seconds
    assert (done.stdout, done.stderr) == ("stopped\n", "")


def test_starting_the_model() -> None:
    def start(progress: Callable[[str], None]) -> Any:
        progress("starting")
        if fails:
            raise ModelError("no model here")
        return SimpleNamespace(url="http://here", key="k", name="m")

    async def act(context: Context) -> AsyncGenerator[Any, None]:
        yield (await context.local_model()).name

    workflow = scripted(act)
    for fails in (False, True):
        run = Run(workflow._plan, {}, Surroundings(local=start))
        assert run.wait(60) and Notice("starting") in run.events
        assert (run.error.sentence if run.error else run.text) == ("no model here" if fails else "m")


def test_a_closed_loop_leaves_nothing_open() -> None:
    code = (
        "import composemagic; from composemagic.engine.loop import private_loop\n"
        "composemagic.load('component: {type: echo, text: a}')(); loop = private_loop(); loop.close(); loop.close()\n"
        "assert loop.loop.is_closed(); del loop\n"
        "print(composemagic.load('component: {type: echo, text: b}')().text)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("b\n", "", 0)


# -- what is given to `load` and `run` ------------------------------------------------------------------------------------

ASKS = "component: {type: echo, text: '${input.self} ${input.values | v} ${input.workflow | w}'}"


def test_inputs_may_have_any_name() -> None:
    assert composemagic.load(ASKS)(self="s", workflow="x").text == "s v x"
    assert composemagic.load(ASKS).stream(self="s").result(60) == "s v w"
    assert asyncio.run(composemagic.load(ASKS).arun(self="s")).text == "s v w"


def test_an_input_called_local() -> None:
    workflow = composemagic.load("component: {type: echo, text: 'in ${input.local}'}")
    for given in ("Seoul", True):
        with pytest.raises(UsageError, match=r"`local` .* `start\(\{\"local\": \.\.\.\}\)`"):
            workflow(local=given)  # type: ignore[arg-type]
    assert workflow.start({"local": "Seoul"}).result(60) == "in Seoul"
    with pytest.raises(UsageError, match="`local` is True or False, not 'Seoul'"):
        composemagic.load("component: {type: echo, text: a}")(local="Seoul")  # type: ignore[arg-type]


NO_SOURCES: list[tuple[Any, str]] = [
    (None, "`load` takes YAML text or the path of a file, not None"),
    (b"component:", "`load` takes YAML text or the path of a file, not bytes"),
    ({}, "`load` takes YAML text or the path of a file, not dict"),
    ("chat.txt", "there is no file `chat.txt`"),
    ("no/such/chat.json", "there is no file `no/such/chat.json`"),
    (Path("nothing.yml"), "there is no file `nothing.yml`"),
]


@pytest.mark.parametrize(("source", "sentence"), NO_SOURCES)
def test_what_cannot_be_loaded(source: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        composemagic.load(source)
    assert str(caught.value) == f"compose: {sentence}"


def test_a_file_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "chat.txt").write_text("component: {type: echo, text: a}")
    assert composemagic.load(str(tmp_path / "chat.txt"))().text == "a"


def test_what_is_said_between_is_heard_each_time() -> None:
    """A note waits for company, but not for the next delta or the end: here each waits for the reader of the one before."""
    heard = [asyncio.Event() for _ in range(3)]

    async def act(context: Context) -> AsyncGenerator[Any, None]:
        for event in heard:
            context.note("one more")
            await event.wait()
        yield "end"

    count = 0
    run = scripted(act).stream()
    for event in run:
        if isinstance(event, Notice):
            private_loop().loop.call_soon_threadsafe(heard[count].set)
            count += 1
    assert (count, run.text) == (3, "end")


def test_a_transport_that_is_not_asynchronous() -> None:
    with pytest.raises(UsageError, match=r"`transport` is an asynchronous one, .*, not HTTPTransport"):
        composemagic.load("component: {type: echo}", transport=httpx.HTTPTransport())


PER_CHUNK_CASTS = [
    ("${result[].a as stream/json}", ["x", "y"], "json", '"x"\n"y"'),
    ("${result[].a as stream/text}", "xy", "text", "xy"),
    ("${result[].a as sse-text}", "xy", "text", "xy"),
    ("${result[].a as text}", "xy", None, "xy"),
    ('{x: "${result[].a as stream/text}"}', [{"x": "x"}, {"x": ""}, {"x": "y"}, {"x": None}], None, None),
]


@pytest.mark.parametrize(("output", "value", "encoding", "text"), PER_CHUNK_CASTS)
def test_a_cast_to_a_stream_around_each_chunk_is_one_of_the_whole_stream(
    output: str, value: Any, encoding: str | None, text: str | None
) -> None:
    chunks = Batch([{"a": "x"}, {"a": ""}, {"a": "y"}, {}])
    run = scripted(says(chunks), f"component:\n  type: scripted\n  output: {output}\n")()
    assert (run.output, run.encoding) == (value, encoding)
    assert text is None or run.text == text
