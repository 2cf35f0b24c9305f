"""A run stopped at every line: by an interrupt in the thread that waits, and by a cancel while the loop works.

A tracer counts the lines that a run goes through and strikes at the n-th. CI takes every k-th, from a random first one that a
failure names; COMPOSEMAGIC_SOAK=1 takes them all.
"""

from __future__ import annotations

import asyncio
import dis
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import composemagic
from composemagic import Workflow
from composemagic.engine.events import Interrupted, RunFailed, RunFinished, RunStopped
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from tests.jobs import Boom
from tests.processes import open_files
from tests.servers.faults import FaultServer
from tests.waiting import until

SOAK = os.environ.get("COMPOSEMAGIC_SOAK") == "1"
SECONDS = 6.0  # of strikes for one case, outside a soak; on a slow machine more, for
ENOUGH = 20  # strikes at least
PACKAGE = str(Path(composemagic.__file__).parent)
PATIENCE = 60.0

STREAM = """
component:
  type: http-client
  base_url: {base}
  path: /v1/chat/completions
  body: {{model: m, stream: true}}
  stream_format: json
  output: ${{response[].choices[0].delta.content}}
"""

# two at once, one of them tried again by its component and by the job, a stream that two jobs share, a thread, a value
JOBS = """
workflow:
  output: ${{jobs.end.output}}
  jobs:
    - {{id: first, component: model}}
    - {{id: again, component: unsteady}}
    - {{id: third, component: boom, input: {{times: 2, key: third}}, retry: {{max_attempt_count: 3, delay: 1ms}}}}
    - {{id: each, type: for-each, batch_size: 2, input: [1, 2, 3], do: {{component: give, input: "${{item}}"}}}}
    - {{id: wait, type: delay, duration: 1ms}}
    - {{id: left, input: {{text: "${{jobs.first.output}}"}}}}
    - {{id: right, input: {{text: "${{jobs.first.output}}"}}}}
    - id: end
      depends_on: [wait]
      input: "${{jobs.left.output.text}}|${{jobs.right.output.text}}|${{jobs.again.output}}|${{jobs.third.output}}"
components:
  - {{id: give, default: true, type: echo, value: "${{input}}"}}
  - {{id: boom, type: boom, value: "${{input}}"}}
  - id: model
    type: http-client
    base_url: {base}
    path: /v1/chat/completions
    body: {{model: m, stream: true}}
    stream_format: json
    output: ${{response[].choices[0].delta.content}}
  - id: unsteady
    type: http-client
    endpoint: {again}
    max_retries: 1
    retry_delay: 0.001
    body: {{model: m}}
    output: ${{response.choices[0].message.content}}
"""

ASKS = """
workflow:
  job:
    component: {{type: echo, text: "${{input.text}}"}}
    interrupt: {{before: {{message: "go on?"}}}}
"""


@dataclass(frozen=True)
class Scene:
    """A workflow, how it is run to its end by a caller, and what it gives."""

    yaml: str
    run: Callable[[Workflow, list[Run]], None]
    text: str
    hangs: bool = False
    width: int = 1  # connections at once, which may be kept for the next run


def wait(workflow: Workflow, runs: list[Run]) -> None:
    runs.append(workflow.start(VALUE))
    runs[-1].wait()


def call(workflow: Workflow, runs: list[Run]) -> None:
    """Nobody gets the run before its end."""
    workflow(**VALUE)


def read(workflow: Workflow, runs: list[Run]) -> None:
    runs.append(workflow.start(VALUE))
    for _ in runs[-1]:
        pass


def answer(workflow: Workflow, runs: list[Run]) -> None:
    runs.append(workflow.start(VALUE))
    for event in runs[-1]:
        if isinstance(event, Interrupted):
            runs[-1].answer()


VALUE = {"text": "a b c d"}
WORDS = "w0 w1 w2 w3 w4 "
SCENES = {
    "waits for a stream": Scene(STREAM, wait, WORDS),
    "calls a workflow": Scene(STREAM, call, WORDS),
    "calls a workflow that hangs": Scene(STREAM, call, WORDS, hangs=True),
    "reads the events": Scene(STREAM, read, WORDS),
    "several jobs": Scene(JOBS, wait, f"{WORDS}|{WORDS}|{WORDS}|3", width=2),
    "an interrupt point": Scene(ASKS, answer, "a b c d"),
}


# -- striking ------------------------------------------------------------------------------------------------------------


class Strike:
    """Traces the lines of composemagic on a thread, and acts at the n-th one, once."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.at = at
        self.act = act
        self.lines = 0
        self.place = ""

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            return self if frame.f_code.co_filename.startswith(PACKAGE) else None
        if event == "line" and not leaves_a_block(frame):
            self.lines += 1
            if self.lines == self.at:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                self.act()
        return self


def leaves_a_block(frame: FrameType) -> bool:
    """Whether the frame is about to leave a `with`, where a tracer can raise and a signal cannot: Python looks for signals
    after calls and at jumps back, and the block's end is a call. A lock would stay locked."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] in LEAVING and frame.f_lineno in with_lines(frame.f_code)


LEAVING = {"LOAD_CONST", "SWAP", "PUSH_EXC_INFO", "NOP"}


@cache
def with_lines(code: CodeType) -> frozenset[int]:
    """The lines of a function on which a `with` stands."""
    return frozenset(
        found.positions.lineno
        for found in dis.get_instructions(code)
        if found.opname in ("BEFORE_WITH", "BEFORE_ASYNC_WITH") and found.positions and found.positions.lineno
    )


def interrupt() -> None:
    raise KeyboardInterrupt


def struck_while_waiting(scene: Scene, workflow: Workflow, at: int) -> tuple[Strike, list[Run]]:
    """Run the scene, with an interrupt at the n-th line of the thread that runs it."""
    strike, runs = Strike(at, interrupt), list[Run]()
    sys.settrace(strike)
    try:
        scene.run(workflow, runs)
    except KeyboardInterrupt:
        for run in runs:  # where the caller has it and does not wait, it is the caller's to stop
            run.cancel()
    finally:
        sys.settrace(None)
    return strike, runs


def struck_on_the_loop(scene: Scene, workflow: Workflow, at: int) -> tuple[Strike, list[Run]]:
    """Run the scene, cancelled at the n-th line of the loop's thread."""
    runs: list[Run] = []
    strike = Strike(at, lambda: runs[-1].cancel() if runs else None)
    on_loop(sys.settrace, strike)
    try:
        scene.run(workflow, runs)
    finally:
        on_loop(sys.settrace, None)
    return strike, runs


def on_loop(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call gives on the loop's thread."""

    async def there() -> Any:
        return call(*arguments)

    return private_loop().submit(there()).result(PATIENCE)


# -- what must be so afterwards ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _connections_end() -> Iterator[None]:
    """Tasks and connections that other tests have left are not counted here, and those from here not left to others."""
    private_loop().close()
    yield
    private_loop().close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """Every run that is made, also those that nobody was given."""
    runs: list[Run] = []
    make = Run.__init__

    def noted(run: Run, *arguments: Any, **options: Any) -> None:
        make(run, *arguments, **options)
        runs.append(run)

    monkeypatch.setattr(Run, "__init__", noted)
    undo = composemagic.register_component(Boom)
    yield runs
    undo()


def load(scene: Scene, faults: FaultServer, *, hangs: bool = False) -> Workflow:
    again = faults.url("seq", id="i", steps="503,json") + "/v1/chat/completions"
    base = faults.url("stall-mid") if hangs else faults.url("ok", gap=0)
    return composemagic.load(scene.yaml.format(base=base, again=again))


def fresh(faults: FaultServer, made: list[Run]) -> None:
    """Nobody has asked anything yet."""
    faults.reset()
    Boom.seen.clear()
    made.clear()


def tasks() -> list[str]:
    return on_loop(lambda: [str(task) for task in asyncio.all_tasks() - {asyncio.current_task()}])


def descriptors() -> int:
    """How many sockets this process has open."""
    return sum(end.startswith("socket:") for end in open_files())


def check(scene: Scene, made: list[Run], faults: FaultServer, *, hangs: bool = False) -> None:
    """Each run has ended as a run ends, and nothing of it is left but connections for the next one."""
    for run in made:
        if run._task is None and not run.done:  # it had not begun, and nobody has it
            continue
        assert run.wait(PATIENCE), f"still {run.status}"
        assert run.status in ("stopped", "done"), (run.status, run.error)
        last = [event for event in run.events if isinstance(event, RunFinished | RunStopped | RunFailed)]
        assert last == [run.events[-1]]
        assert scene.text.startswith(run.text), run.text
        assert run.status == "stopped" or run.text == scene.text
        assert run.status == "stopped" or not hangs
        assert not {state.status for state in run.jobs.values()} & {"running", "streaming"}
    until(lambda: not tasks(), told=tasks)
    until(lambda: faults.open_now <= scene.width, told=lambda: f"{faults.open_now} connections are open")


Struck = Callable[[Scene, Workflow, int], tuple[Strike, list[Run]]]
CASES = [(name, struck_while_waiting) for name in SCENES] + [
    (name, struck_on_the_loop) for name, scene in SCENES.items() if scene.run not in (call, read)
]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "struck"), CASES, ids=[f"{name}, {struck.__name__}" for name, struck in CASES])
def test_a_strike_at_every_line(name: str, struck: Struck, faults: FaultServer, made: list[Run]) -> None:
    scene = SCENES[name]
    workflow = load(scene, faults)
    for _ in range(2):  # what is imported and opened with the first run stays
        fresh(faults, made)
        calm, _ = struck(scene, workflow, 0)
        check(scene, made, faults)
    threads, before = threading.active_count(), descriptors() + 2 * scene.width  # both ends are in this process
    assert [run.status for run in made] == ["done"]
    struck_workflow = load(scene, faults, hangs=scene.hangs)
    begun, met, strikes = time.monotonic(), 0, strike_places(calm.lines)
    for at in strikes:
        if not SOAK and met > ENOUGH and time.monotonic() - begun > SECONDS:
            break
        fresh(faults, made)
        strike, _ = struck(scene, struck_workflow, at)
        try:
            check(scene, made, faults, hangs=scene.hangs)
        except AssertionError as error:
            raise AssertionError(f"struck at line {at} of {calm.lines}, {strike.place}") from error
        met += bool(strike.place)
    print(f"{name}, {struck.__name__}: {met} strikes in {calm.lines} lines")
    assert met > ENOUGH
    fresh(faults, made)
    struck(scene, workflow, 0)
    assert [(run.status, run.text) for run in made] == [("done", scene.text)]
    made.clear()
    gc.collect()
    until(lambda: threading.active_count() <= threads, told=threading.enumerate)
    until(lambda: descriptors() <= before, told=lambda: f"{descriptors()} sockets instead of {before}")


def strike_places(lines: int) -> list[int]:
    """All lines of a run; in an order that leaves out none where time is short, and another one each time."""
    places = list(range(1, lines + 1))
    if not SOAK:
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        random.Random(seed).shuffle(places)
    return places
