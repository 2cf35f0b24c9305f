"""Sweeps without a notebook: what is varied, how many run at once, what becomes of them, and how they are told."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

import composemagic
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from composemagic.errors import InputError, UsageError
from composemagic.notebook import grid
from composemagic.notebook.pace import Pace
from composemagic.notebook.sweep import Sweep
from composemagic.sweep import Trial, Trials, combinations, parse_axis
from composemagic.words import speak
from tests.conftest import ROOT, Kernel
from tests.test_notebook_kernel import await_output
from tests.waiting import until

SECONDS = 60
Urls = Callable[..., list[str]]
TALK = {
    "workflow": {
        "title": "Talk",
        "job": {
            "component": {
                "type": "echo",
                "action": {
                    "text": "${input.prompt as text} ${input.temperature as number | 0.7}",
                    "delay": "${input.delay as number | 0}",
                },
            }
        },
    }
}


def talk() -> composemagic.Workflow:
    return composemagic.load(json.dumps(TALK))


# -- what is varied, as it is typed

AXES: dict[str, tuple[str, list[Any]]] = {
    "temperature=0,0.7,1.2": ("temperature", [0, 0.7, 1.2]),
    "n=1": ("n", [1]),
    " n = 1 , 2 ": ("n", [1, 2]),
    "on=true, false": ("on", [True, False]),
    "x=null,~": ("x", [None, None]),
    "x=a b,c": ("x", ["a b", "c"]),
    "x=[a, b],[c]": ("x", ["[a, b]", "[c]"]),
    'x="a, b",c': ("x", ["a, b", "c"]),
    "x='a, b',c": ("x", ["a, b", "c"]),
    'x="0",0': ("x", ["0", 0]),
    'x="",a': ("x", ["", "a"]),
    'x="say \\"hi\\"","back\\\\slash"': ("x", ['say "hi"', "back\\slash"]),
    "x='it''s'": ("x", ["it's"]),
    "x=it's, that": ("x", ["it's", "that"]),
    "x=a=b": ("x", ["a=b"]),
    "x=1e-3,0x1f": ("x", [0.001, 31]),
    "x=好,吗": ("x", ["好", "吗"]),
    'x="two\nlines",a': ("x", ["two\nlines", "a"]),
    "a.b=1,2": ("a.b", [1, 2]),
    "prompt=1,true": ("prompt", ["1", "true"]),  # the YAML calls it text
}


@pytest.mark.parametrize("text", AXES)
def test_what_is_varied_is_read(text: str) -> None:
    assert parse_axis(text, talk().inputs) == AXES[text]


BAD_AXES = {
    "x": "what is varied is written NAME=VALUE,VALUE,..., not `x`",
    "=1,2": "what is varied is written NAME=VALUE,VALUE,..., not `=1,2`",
    "x=": "`x=`: a value is missing, or a quote is not closed",
    "x=1,": "`x=1,`: a value is missing",
    "x=,1": "`x=,1`: a value is missing",
    "x=1,,2": "`x=1,,2`: a value is missing",
    'x="a': "a quote is not closed",
    "x='a,b": "a quote is not closed",
    'x="a"b,c': "a quote is not closed",
    f"x={'1' * 400}": "an integer can have at most 300 digits",
}


@pytest.mark.parametrize("text", BAD_AXES)
def test_what_is_varied_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(BAD_AXES[text])):
        parse_axis(text)


def test_the_last_axis_changes_fastest() -> None:
    assert combinations({"a": [1, 2], "b": "xy"}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    assert len(combinations({"a": range(3), "b": range(4), "c": range(5)})) == 60


BAD_SWEEPS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nothing": ({}, {}, "a sweep needs an input to vary"),
    "a typo": ({"temprature": [1]}, {"prompt": "x"}, "does not ask for `temprature`; did you mean `temperature`?"),
    "no list": ({"prompt": "abc"}, {}, "`prompt` is varied over a list of values, as in `prompt=[...]`"),
    "a number": ({"temperature": 1}, {"prompt": "x"}, "`temperature` is varied over a list of values"),
    "a dict": ({"prompt": {"a": 1}}, {}, "`prompt` is varied over a list of values"),
    "an empty list": ({"prompt": []}, {}, "`prompt` is varied over a list of values; this one is empty"),
    "what is missing": ({"temperature": [0, 1]}, {}, "`prompt` is missing"),
    "what does not fit": (
        {"temperature": [0, "hot", "cold"], "prompt": ["a", None]},
        {"delay": "soon"},
        '`delay`: "soon" is no number; `temperature`: "hot" is no number; `temperature`: "cold" is no number; '
        "`prompt` is missing",
    ),
}


@pytest.mark.parametrize("name", BAD_SWEEPS)
def test_what_does_not_fit_is_found_before_anything_runs(name: str) -> None:
    axes, values, sentence = BAD_SWEEPS[name]
    with pytest.raises((UsageError, InputError)) as caught:
        Trials(talk(), axes, values)
    parts = sentence.split("; `")
    assert all(part.strip("`") in str(caught.value) for part in parts), str(caught.value)
    assert str(caught.value).count(";") == sentence.count(";")


@pytest.mark.parametrize("at_once", [0, -1, 1.5, "4", True, None])
def test_how_many_at_once_is_a_whole_number(at_once: Any) -> None:
    with pytest.raises(UsageError, match="`at_once` is a whole number from 1 on"):
        Trials(talk(), {"prompt": ["a"]}, at_once=at_once)


# -- running

MODEL = """
workflow:
  title: A model
  job:
    component:
      type: http-client
      base_url: ${input.url as text}
      action:
        path: /chat/completions
        method: POST
        body: {model: any, messages: [{role: user, content: x}], stream: true}
        stream_format: json
        output: ${response[].choices[0].delta.content}
"""


@pytest.fixture
def urls(replay: str) -> Urls:
    """The model's addresses, one for each way in which it is to behave."""
    return lambda *knobs: [f"{replay}/{one}/v1" for one in knobs]


@pytest.fixture
def model() -> composemagic.Workflow:
    return composemagic.load(MODEL)


class Crowd(httpx.AsyncBaseTransport):
    """A model that answers nobody before so many have asked; `peak` is how many it had at once."""

    def __init__(self, at_once: int) -> None:
        self.at_once, self.active, self.peak = at_once, 0, 0
        self._all_there = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.active += 1
        self.peak = max(self.peak, self.active)
        if self.active == self.at_once:
            self._all_there.set()
        await self._all_there.wait()
        count = int(request.url.path.split("/")[1])
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self._words(count))

    async def _words(self, count: int) -> AsyncIterator[bytes]:
        for number in range(count):
            yield f'data: {{"choices": [{{"delta": {{"content": "{number} "}}}}]}}\n\n'.encode()
            await asyncio.sleep(0.001)
        yield b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        self.active -= 1


@pytest.mark.parametrize("at_once", [1, 3])
def test_so_many_run_at_once(at_once: int) -> None:
    kept: list[Run] = []
    model = composemagic.load(MODEL, transport=(crowd := Crowd(at_once)))
    addresses = [f"http://127.0.0.1:1/{count}" for count in range(20, 28)]
    trials = Trials(model, {"url": addresses}, keep=kept.append, at_once=at_once)
    assert (trials.runs, trials.done, len(trials)) == ([], False, 8)
    assert trials.wait(SECONDS)
    assert crowd.peak == at_once
    assert [run.timing.deltas for run in trials.runs] == list(range(20, 28))
    assert kept == trials.runs == [run for _, run in trials]
    assert trials.done


def test_the_time_of_a_run_is_its_own(model: composemagic.Workflow, urls: Urls) -> None:
    """And not the time it waited for its turn."""
    trials = Trials(model, {"url": urls("n=100,delay=10", "n=1")}, at_once=1)
    assert trials.wait(SECONDS)
    slow, fast = (run.timing for run in trials.runs)
    assert slow.total and fast.total and fast.total < slow.total


def test_one_that_fails_does_not_stop_the_others(model: composemagic.Workflow, urls: Urls) -> None:
    trials = Trials(model, {"url": urls("n=3", "status=401", "n=4,drop=2", "n=5")}, at_once=2)
    rows = trials.to_rows()
    assert [row["status"] for row in rows] == ["done", "failed", rows[2]["status"], "done"]
    assert rows[2]["status"] in ("failed", "truncated")
    assert [bool(row["error"]) for row in rows] == [False, True, True, False]
    assert rows[2]["answer"] == "the quick br"
    assert rows[0]["characters"] == len(rows[0]["answer"]) == 18


def test_rows_say_what_became_of_each(model: composemagic.Workflow, urls: Urls) -> None:
    [row] = Trials(model, {"url": urls("n=3,usage=1")}).to_rows()
    assert list(row) == [
        "url", "status", "answer", "first_delta", "total", "characters", "tokens", "model", "error",
    ]  # fmt: skip
    assert 0 < row["first_delta"] <= row["total"]
    assert (row["tokens"], row["model"], row["error"]) == (3, "any", None)
    frame = Trials(talk(), {"prompt": ["a", "b"], "temperature": [0, 1]}).to_pandas()
    assert frame["answer"].tolist() == ["a 0", "a 1", "b 0", "b 1"] or frame["answer"].tolist() == ["a 0.0", "a 1.0", "b 0.0", "b 1.0"]  # fmt: skip
    assert frame.groupby("temperature")["characters"].count().tolist() == [2, 2]


def test_an_input_that_is_called_as_a_column_keeps_its_value() -> None:
    workflow = composemagic.load(json.dumps({"workflow": {"job": {"component": {"type": "echo", "action": {"text": "${input.model}"}}}}}))  # fmt: skip
    [row] = Trials(workflow, {"model": ["gpt"]}).to_rows()
    assert (row["input.model"], row["model"], row["answer"]) == ("gpt", None, "gpt")


def test_without_pandas_the_rows_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=re.escape("pandas is not installed; `to_rows()` gives the same")):
        Trials(talk(), {"prompt": ["a"]}).to_pandas()


def slow(count: int, at_once: int) -> Trials:
    words = "words " * 1000
    return Trials(talk(), {"prompt": [f"{number} {words}" for number in range(count)]}, {"delay": 0.2}, at_once=at_once)


def test_stop_ends_all_and_begins_none() -> None:
    trials = slow(5, 2).begin()
    until(lambda: sum(bool(run.text) for run in trials.runs) == 2)
    assert not trials.wait(0.01)
    trials.stop()
    assert trials.wait(SECONDS)
    assert [trial.status for trial in trials.trials] == ["stopped"] * 5
    assert [trial.began for trial in trials.trials] == [True, True, False, False, False]
    rows = trials.to_rows()
    assert all(row["answer"] for row in rows[:2])
    assert [row["total"] is None for row in rows] == [False, False, True, True, True]


def test_what_is_stopped_before_it_began_never_begins() -> None:
    trials = slow(2, 1)
    trials.stop()
    assert trials.wait(SECONDS)
    assert [trial.status for trial in trials.trials] == ["stopped"] * 2
    assert trials.begin().done


def test_an_interrupt_of_who_waits_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = slow(3, 1)
    monkeypatch.setattr("composemagic.sweep.pause", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trials.wait()
    assert trials.done
    assert {trial.status for trial in trials.trials} == {"stopped"}


def test_from_asynchronous_code() -> None:
    async def run() -> list[str]:
        trials = await Trials(talk(), {"prompt": ["a", "b"]}, {"temperature": 1}).arun()
        return [run.text[:1] for run in trials.runs]

    assert asyncio.run(run()) == ["a", "b"]

    async def cancelled() -> Trials:
        trials = slow(3, 2)
        task = asyncio.ensure_future(trials.arun())
        while not trials.runs:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return trials

    trials = asyncio.run(cancelled())
    assert trials.wait(SECONDS)
    assert {trial.status for trial in trials.trials} == {"stopped"}


def test_beginning_twice_runs_once() -> None:
    heard: list[Run] = []
    trials = Trials(talk(), {"prompt": ["a", "b"]}, keep=heard.append)
    trials.begin().begin()
    assert trials.wait(SECONDS)
    assert trials.wait(SECONDS)
    assert len(heard) == 2
    assert repr(trials) == "<Trials of 'Talk' over prompt: 2 of 2 done>"


def test_a_run_that_would_ask_somebody_fails_alone() -> None:
    asking = json.loads(json.dumps(TALK))
    asking["workflow"]["job"]["interrupt"] = {"before": {"message": "Sure?"}}
    trials = Trials(composemagic.load(json.dumps(asking)), {"prompt": ["a"]})
    [row] = trials.to_rows()
    assert row["status"] == "failed"
    assert "Sure?" in row["error"] or "nobody" in row["error"] or row["error"]


# -- how it is told


@pytest.fixture
def _chinese() -> Iterator[None]:
    speak("zh")
    yield
    speak(None)


def test_a_table_of_text() -> None:
    sweep = Sweep(talk(), {"temperature": [0, 1], "prompt": ["a", "中文 <b>"]})
    assert "4 combinations: 4 waiting" in str(sweep)
    assert sweep.wait(SECONDS)
    title, head, *rows = str(sweep).splitlines()
    assert title == "Talk · 4 combinations: 4 done"
    assert head.split() == ["temperature", "prompt", "first", "delta", "total", "characters", "tokens", "answer"]
    assert len(rows) == 4
    assert rows[1].startswith("0            中文 <b>  ✓  ")
    assert rows[0].index("✓") == rows[1].index("✓") + 2  # two characters that are two columns wide each


def test_a_table_of_text_tells_failures(model: composemagic.Workflow, urls: Urls) -> None:
    sweep = Sweep(model, {"url": urls("n=3", "status=401")})
    assert sweep.wait(SECONDS)
    lines = str(sweep).splitlines()
    assert lines[0] == "A model · 2 combinations: 1 done, 1 failed"
    assert "✗" in lines[3]
    assert lines[4].startswith("url = http") and "✗ failed" in lines[4]


LAYOUTS = {
    "one axis": ({"prompt": ["a", "b"]}, True, "repeat(auto-fill, minmax(min(240px, 100%), 1fr))"),
    "two axes": ({"prompt": ["a", "b"], "temperature": [0, 1, 2]}, True, "repeat(3, minmax(200px, 1fr))"),
    "two axes, the last one long": ({"temperature": [0], "prompt": list("abcdefgh")}, True, "repeat(auto-fill"),
    "three axes": ({"prompt": ["a"], "temperature": [0], "delay": [0]}, False, ""),
    "many": ({"prompt": [str(n) for n in range(25)]}, False, ""),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_cards_side_by_side_or_a_table(name: str) -> None:
    axes, has_cards, columns = LAYOUTS[name]
    sweep = Sweep(talk(), axes, {"prompt": "x"})
    assert sweep.wait(SECONDS)
    html = grid.still(sweep, [grid.trial_still(trial) for trial in sweep.trials])["text/html"]
    assert grid.has_cards(sweep) is has_cards
    assert ("<table>" in html) is not has_cards
    if has_cards:
        assert grid.columns(sweep).startswith(columns)
        assert f"grid-template-columns:{grid.columns(sweep)}" in html
    assert html.count("✓ done") == len(sweep)


def test_hostile_values_and_answers_are_text() -> None:
    bad = '<img src=x onerror="fire()">"\'\x1b[31m\u202e'
    for axes in ({"prompt": [bad, "a"]}, {"prompt": [bad], "temperature": [0], "delay": [0]}):
        sweep = Sweep(talk(), axes)
        assert sweep.wait(SECONDS)
        copy = grid.still(sweep, [grid.trial_still(trial) for trial in sweep.trials])
        assert "<img" not in copy["text/html"]
        assert "&lt;img" in copy["text/html"]
        assert not re.search("[\x1b\u202e]", "".join(copy.values()))


def test_the_bar_is_beside_the_slowest() -> None:
    sweep = Sweep(talk(), {"prompt": ["a"], "delay": [0, 1]})
    assert sweep.wait(SECONDS)
    html = grid.still(sweep, [grid.trial_still(trial) for trial in sweep.trials])["text/html"]
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%;background-color", html)]
    fast, slowest = sum(widths[:2]), sum(widths[2:])
    assert fast < slowest
    assert slowest == pytest.approx(100, abs=0.1)


@pytest.mark.usefixtures("_chinese")
def test_it_is_told_in_chinese() -> None:
    sweep = Sweep(talk(), {"prompt": ["a", "b"]})
    assert sweep.wait(SECONDS)
    title, head, *_ = str(sweep).splitlines()
    assert title == "Talk · 2 个组合：2 个完成"
    assert head.split()[0] == "prompt"
    assert "回答" in head and "answer" not in head


def test_one_that_waits_and_one_that_was_stopped_before_its_turn() -> None:
    sweep = Sweep(talk(), {"prompt": ["a"]})
    assert grid.trial_still(sweep.trials[0])["text/plain"] == "○ waiting"
    sweep.stop()
    assert sweep.wait(SECONDS)
    assert grid.trial_still(sweep.trials[0])["text/plain"] == "■ stopped before its turn"
    assert Trial({}).status == "waiting"


def test_the_sweep_of_a_terminal_needs_no_notebook() -> None:
    code = (
        "import sys, composemagic\n"
        "from composemagic.notebook.sweep import Sweep\n"
        f"w = composemagic.load({json.dumps(json.dumps(TALK))})\n"
        "print([(values['prompt'], run.text) for values, run in Sweep(w, {'prompt': ['a', 'b']}, {'temperature': 2})])\n"
        "assert not {'IPython', 'ipywidgets', 'pandas'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[('a', 'a 2")


# -- where nobody can click

NOBODY = f"""
import json, composemagic
from composemagic.notebook.chat import Chat
from composemagic.notebook.sweep import Sweep
talk = composemagic.load({json.dumps(TALK)!r})
"""


TELLING = """
from composemagic.sweep import Trials
begin = Trials.begin
def told(self):
    begin(self)
    print("it has begun", flush=True)
    return self
Trials.begin = told
"""


def test_where_nobody_can_click_all_is_run_and_the_copy_is_left(kernel: Kernel) -> None:
    def outputs(code: str) -> list[dict[str, Any]]:
        done = kernel.collect(kernel.submit(code, allow_stdin=False))
        assert done.error is None, done.error
        assert not [one for one in done.outputs if "application/vnd.jupyter.widget-view+json" in one.get("data", {})]
        return done.outputs

    outputs(NOBODY)
    [copy] = outputs("talk.sweep(prompt=['a', 'b'], temperature=[0, 1])")
    assert copy["data"]["text/plain"].startswith("Talk · 4 combinations: 4 done")
    assert copy["data"]["text/html"].count("✓ done") == 4
    [copy] = outputs("chat = talk.chat(temperature=0)\nchat.say('hello')\nchat")
    assert "You: hello\nhello 0" in copy["data"]["text/plain"]
    sent = kernel.submit(
        f"{TELLING}\ntalk.sweep(prompt=['word ' * 900, 'b'], delay=0.05, at_once=1)", allow_stdin=False
    )
    await_output(kernel, sent, "it has begun")
    kernel.interrupt()
    done = kernel.collect(sent)
    assert done.error is None or done.error[0] == "KeyboardInterrupt"
    assert "Talk · 2 combinations: 2 stopped" in done.text


# -- the budget of all that is shown


def test_pushes_stay_within_messages_and_bytes() -> None:
    """With all parts of a face stale at any time: what has been sent never goes beyond 20 + 30 a second."""
    sent: list[tuple[float, int, int]] = []
    over = threading.Event()
    begun = time.monotonic()

    def push() -> tuple[int, int]:
        sent.append((time.monotonic() - begun, 13, 20_000))
        if len(sent) == 3:
            over.set()
        return 13, 20_000

    async def run() -> Pace:
        pace = Pace(push, spent=42)

        async def press() -> None:
            while not over.is_set():
                pace.soon()
                await asyncio.sleep(0.001)

        await press()
        pace.stop()
        return pace

    private_loop().submit(run()).result(SECONDS)
    messages = 42
    for at, count, _ in sent:
        messages += count
        assert messages <= 20 + 30 * at + 42 + 13 - 20  # the first push does not wait for what making the face took
    for (before, _, size), (after, _, _) in itertools.pairwise(sent):
        assert after - before >= size / 200_000


def test_a_push_that_fails_is_the_last_one() -> None:
    pushed: list[int] = []

    def push() -> tuple[int, int]:
        pushed.append(1)
        raise ValueError("no widget")

    async def run() -> Pace:
        pace = Pace(push)
        pace.soon()
        while not pushed:
            await asyncio.sleep(0.001)
        pace.soon()
        await asyncio.sleep(0)
        return pace

    pace = private_loop().submit(run()).result(SECONDS)
    assert (len(pushed), str(pace.failure)) == (1, "no widget")


# -- as a workflow is asked for it

SWEPT: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a list is varied": ("${input.a} ${input.b}", {"a": [1, 2], "b": "x"}, {"a": [1, 2]}, {"b": "x"}),
    "a tuple and a range": ("${input.a} ${input.b}", {"a": (1,), "b": range(2)}, {"a": [1], "b": [0, 1]}, {}),
    "a list for an input that is one": ("${input.a as integer[]} ${input.b}", {"a": [1], "b": [2]}, {"b": [2]}, {"a": [1]}),
    "lists for an input that is one": ("${input.a as integer[]}", {"a": [[1], [2, 3]]}, {"a": [[1], [2, 3]]}, {}),
    "messages are one value": (
        "${input.messages} ${input.b}",
        {"messages": [{"role": "user", "content": "x"}], "b": [1]},
        {"b": [1]},
        {"messages": [{"role": "user", "content": "x"}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SWEPT)
def test_the_lists_among_the_values_are_varied(name: str) -> None:
    text, values, axes, rest = SWEPT[name]
    workflow = composemagic.load(json.dumps({"workflow": {"job": {"component": {"type": "echo", "action": {"text": text}}}}}))  # fmt: skip
    sweep = workflow.sweep(**values, at_once=7)
    assert (sweep.axes, sweep.values, sweep.at_once) == (axes, rest, 7)


def test_an_input_may_be_called_at_once() -> None:
    workflow = composemagic.load("component: {type: echo, text: '${input.at_once as integer}'}")
    sweep = workflow.sweep(at_once=[1, 2])
    assert (sweep.axes, sweep.at_once) == ({"at_once": [1, 2]}, 4)


def test_an_interrupt_while_they_begin_stops_all() -> None:
    def interrupted(run: Run) -> None:
        raise KeyboardInterrupt

    yaml = "workflow: {job: {type: delay, duration: '${input.seconds}s'}}\ncomponent: {type: echo}"
    trials = Trials(composemagic.load(yaml), {"seconds": [500, 600, 700]}, keep=interrupted)
    with pytest.raises(KeyboardInterrupt):
        trials.wait()
    assert trials.wait(60) and [run.status for run in trials.runs] == ["stopped"] * 3
