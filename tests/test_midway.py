"""What a job gives to other jobs is seen while it comes, though the output has nothing of it yet."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterator
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import pytest

import composemagic
from composemagic.engine.schedule import JobState
from composemagic.engine.stream import Stream
from composemagic.notebook.still import bundle
from composemagic.notebook.streams import Midway, Streams
from composemagic.notebook.sweep import Sweep
from composemagic.notebook.sweepbox import SweepBox
from composemagic.notebook.view import Live
from composemagic.notebook.watched import Watched
from composemagic.transport.secrets import Redactor
from tests.servers.chat import ChatServer
from tests.test_view import SECONDS, parts, ran, without_tags
from tests.waiting import until

KEY = "sk-0123456789abcdef"
CHAIN = """
workflow:
  jobs:
  - id: draft
    component:
      type: http-client
      base_url: BASE
      action:
        path: /v1/chat/completions
        body: {model: m, stream: true, messages: [{role: user, content: '${input.tone as text | dry}'}]}
        stream_format: json
        output: ${response[].choices[0].delta.content}
  - id: shout
    depends_on: [draft]
    input: ${jobs.draft.output}
    component: {type: echo, action: {text: "${input}!"}}
"""


@pytest.fixture
def chain() -> Iterator[tuple[composemagic.Workflow, threading.Event]]:
    """A workflow whose first job gives two pieces of its answer, and the others when the event is set."""
    with ChatServer() as server:
        server.hold = go_on = threading.Event()
        base = server.plays("draft", {"text": "Ada *wrote* it"})
        yield composemagic.load(CHAIN.replace("BASE", base)), go_on


Held = tuple[composemagic.Workflow, threading.Event]


def test_a_view_shows_what_a_job_gives_to_another(chain: Held) -> None:
    workflow, go_on = chain
    run = workflow.stream()
    view = Live("Letter")
    view.show()
    view.follow(run)

    def shown() -> str:
        return without_tags("".join(part["data"]["text/html"] for part in view._output.outputs))

    until(lambda: "Ada" in shown())
    assert "draft running" in shown()
    go_on.set()
    view.closed.result(SECONDS)
    assert run.result() == "Ada *wrote* it!"


def test_a_part_of_a_face_shows_it_too(chain: Held) -> None:
    workflow, go_on = chain
    watched = Watched(workflow.stream(), lambda *_: None)
    watched.follow()
    until(lambda: watched.has_news() and "Ada" in watched.html())
    go_on.set()
    until(lambda: watched.is_over)
    assert "Ada wrote it!" in without_tags(watched.still()["text/html"])


def test_a_card_of_a_sweep_shows_it_too(chain: Held) -> None:
    workflow, go_on = chain
    sweep = Sweep(workflow, {"tone": ["dry", "warm"]})
    box = SweepBox(sweep)
    sweep.begin()
    until(lambda: all(trial.began for trial in sweep.trials))
    box.attach()
    until(lambda: "".join(one.value for one in parts(box.box, widgets.HTML)).count("Ada") == 2)
    go_on.set()
    assert sweep.wait(SECONDS)
    box.close()


# -- what is left of it at the end

LEFT = """
workflow:
  jobs:
  - id: draft
    component: {type: echo, action: {text: TEXT, delay: 0.001}}
  - id: last
    depends_on: [draft]
    input: ${jobs.draft.output}
    component: LAST
"""
LASTS = {
    "well": "{type: echo, action: {value: 1}}",
    "failed": '{type: http-client, base_url: "http://127.0.0.1:1", action: {path: /}}',
}


@pytest.mark.parametrize("last", LASTS)
def test_what_was_read_below_a_job_stays_in_the_static_copy(last: str) -> None:
    run = ran(LEFT.replace("TEXT", '"Ada *wrote* <b>it</b>"').replace("LAST", LASTS[last]))
    page = bundle(run)["text/html"]
    assert "Ada <em>wrote</em> &lt;b&gt;it&lt;/b&gt;" in page
    assert ("<details open" in page) == (last == "failed")


def test_what_the_output_has_stands_there_once() -> None:
    run = ran(LEFT.replace("TEXT", "Ada").replace("LAST", '{type: echo, action: {text: "seen once", delay: 0.001}}'))
    assert bundle(run)["text/html"].count("seen once") == 1


@pytest.mark.parametrize("jobs", [1, 4])
def test_of_very_long_texts_the_beginning_stays(jobs: int) -> None:
    most = 20_000 // jobs  # of all of them together
    draft = {"component": {"type": "echo", "action": {"text": "x" * most + " the end", "delay": 0.0001}}}
    drafts = [{"id": f"draft{number}", **draft} for number in range(jobs)]
    last = {"id": "last", "depends_on": [one["id"] for one in drafts], "component": {"type": "echo", "value": 1}}
    page = bundle(ran(json.dumps({"workflow": {"jobs": [*drafts, last]}})))["text/html"]
    assert page.count("… 8 characters more in `.jobs[") == jobs
    assert "the end" not in page


# -- by hand: a stream that is read a piece at a time


class Hand:
    """A run of one job, of which a piece more is read at each call of `gives`."""

    def __init__(self, *pieces: Any, redact: Redactor | None = None, inside: Any = None) -> None:
        self._loop = asyncio.new_event_loop()
        self.state = JobState("draft", "streaming")
        self.restart(*pieces, inside=inside)
        self.output = Streams()
        run: Any = SimpleNamespace(jobs={"draft": self.state, "last": JobState("last")}, redact=redact or Redactor())
        self.midway = Midway(run, self.output)

    def restart(self, *pieces: Any, inside: Any = None) -> None:
        async def source() -> AsyncGenerator[list[Any]]:
            for piece in pieces:
                yield [piece]

        self.stream = Stream(source())
        self.state.value = self.stream if inside is None else {inside: self.stream}
        self._reader = self.stream.batches()

    def reads(self) -> None:
        """Read a piece more."""

        async def read() -> None:
            async for _ in self._reader:
                return

        self._loop.run_until_complete(read())

    def gives(self) -> str:
        """Read a piece more, look, and give what is seen."""
        self.reads()
        self.midway._due = 0.0  # as if the last look were long ago
        self.midway.look()
        return without_tags(self.midway.html("draft"))


def test_it_grows_by_what_is_new() -> None:
    hand = Hand("Ada ", "wrote", " it")
    assert [hand.gives() for _ in range(4)] == ["Ada", "Ada wrote", "Ada wrote it", "Ada wrote it"]
    assert not hand.midway.look()


def test_a_stream_in_an_object_has_its_place() -> None:
    assert Hand("Ada", inside="name").gives() == "name Ada"


def test_what_is_only_passed_on_stands_below_the_job_that_gave_it() -> None:
    hand = Hand("Ada")
    hand.stream.origin = "another"
    assert hand.gives() == ""


def test_a_large_answer_is_not_searched() -> None:
    """Thousands of vectors between two jobs held the engine's loop at every look."""
    hand = Hand("Ada", inside="deep")
    hand.state.value = [hand.state.value, Unread()]
    assert hand.gives() == ""


class Unread(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("read")


def test_looks_take_a_fifth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand("one ", "two ", "three")
    now = 100.0
    monkeypatch.setattr("composemagic.notebook.streams.time", SimpleNamespace(monotonic=lambda: now))

    def slowly(state: JobState) -> bool:
        nonlocal now
        now += 1
        return Midway._grows(hand.midway, state)

    monkeypatch.setattr(hand.midway, "_grows", slowly)
    hand.reads()
    assert hand.midway.look()
    hand.reads()
    now += 3.9
    assert not hand.midway.look()
    now += 0.2
    assert hand.midway.look()


def test_the_name_of_a_place_is_no_secret() -> None:
    redact = Redactor()
    redact.learn("OPENAI_API_KEY", KEY)
    hand = Hand("Ada", inside=KEY)
    hand.state.redact = redact.gathered
    assert KEY not in hand.gives()


def test_what_a_job_gave_before_goes_when_it_gives_something_else() -> None:
    hand = Hand("one")
    assert hand.gives() == "one"
    hand.state.value, hand.state.status = 5, "done"
    hand.midway.look()
    assert hand.midway.html("draft") == ""


def test_what_is_no_text_is_not_shown() -> None:
    assert Hand({"a": 1}).gives() == Hand(b"ab").gives() == ""


def test_a_job_that_runs_again_begins_anew() -> None:
    hand = Hand("one")
    assert hand.gives() == "one"
    hand.restart("two", "!")
    assert [hand.gives(), hand.gives()] == ["two", "two!"]


@pytest.mark.parametrize("status", ["waiting", "running", "failed", "skipped", "stopped"])
def test_what_no_longer_holds_is_not_looked_at(status: str) -> None:
    hand = Hand("one")
    hand.state.status = status
    assert hand.gives() == ""


def test_what_the_output_tells_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand("one")
    monkeypatch.setattr(hand.output, "tells_of", lambda job: True)
    assert hand.gives() == ""


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_no_secret_is_seen_wherever_it_is_cut(cut: int) -> None:
    redact = Redactor()
    redact.learn("OPENAI_API_KEY", KEY)
    hand = Hand("The key ", KEY[:cut], KEY[cut:], " is it", redact=redact)
    seen = [hand.gives() for _ in range(5)]
    assert not any(KEY[:2] in one or KEY[-4:] in one for one in seen)
    assert seen[-1].endswith("is it")
