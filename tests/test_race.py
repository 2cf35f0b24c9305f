"""The same request with and without streaming: when does a reader see the first word?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

import composemagic
from composemagic import racing
from composemagic.api import Workflow
from composemagic.engine.loop import private_loop
from composemagic.notebook.race import race, shown, shown_text
from composemagic.racing import Race
from tests.conformance.faults import KEY, STYLES, YAML
from tests.conftest import Kernel
from tests.servers.faults import FaultServer
from tests.test_recording import CHAT, END, delta
from tests.test_trace import HOSTILE

WORDS = ["Once ", "upon ", "a ", "time"]


class Provider(httpx.AsyncBaseTransport):
    """Answers in either way; a whole answer waits until the stream's first word is out, as it would take longer."""

    def __init__(self, whole: Any = None, ignores: bool = False) -> None:
        self.bodies: list[Any] = []
        self.ignores = ignores  # `stream: false` is not heard
        self.first_is_out = asyncio.Event()
        self.words = WORDS

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread())
        assert int(request.headers["content-length"]) == len(request.content)
        self.bodies.append(body)
        if body.get("stream") or self.ignores:
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self._stream())
        await self.first_is_out.wait()
        await asyncio.sleep(0.3)
        choice = {"message": {"content": "".join(self.words)}, "finish_reason": "stop"}
        return httpx.Response(200, json={"choices": [choice]})

    async def _stream(self) -> AsyncIterator[bytes]:
        for word in self.words:
            yield delta(word).encode()
            self.first_is_out.set()
            await asyncio.sleep(0.02)
        yield END.encode()


def workflow(way: httpx.AsyncBaseTransport, yaml: str = "", **how: Any) -> Workflow:
    text = yaml or CHAT.format(base="http://127.0.0.1:1")
    return composemagic.load(text, env={"FAULTS_API_KEY": KEY}, transport=way, **how)


def run(way: httpx.AsyncBaseTransport, yaml: str = "") -> Race:
    found = racing.start(workflow(way, yaml), {"prompt": "Tell"})
    assert found.wait(60)
    return found


# -- the race itself -----------------------------------------------------------------------------------------------------


def test_who_streams_is_read_first() -> None:
    class Patient(Provider):
        """The whole answer is there a moment after a reader has seen the stream's first word."""

        async def _stream(self) -> AsyncIterator[bytes]:
            yield delta(WORDS[0]).encode()
            await self.first_is_out.wait()
            for word in WORDS[1:]:
                yield delta(word).encode()
            yield END.encode()

    way = Patient()
    found = racing.start(workflow(way), {"prompt": "Tell"})
    next(event for event in found.streaming if isinstance(event, composemagic.Delta) and event.value)
    private_loop().loop.call_soon_threadsafe(way.first_is_out.set)
    assert found.wait(60)
    streaming, whole = found.laps
    assert found.streaming.text == found.whole.text == "Once upon a time"
    assert streaming.first_word < whole.first_word  # type: ignore[operator]
    assert found.whole.trace is not None and len(found.whole.trace.arrivals) == 1
    assert found.is_honest and found.how == "The second request was sent with `stream: false`."
    assert sorted(body["stream"] for body in way.bodies) == [False, True]
    one, other = ({**body, "stream": None} for body in way.bodies)
    assert one == other
    saved = whole.first_word - streaming.first_word  # type: ignore[operator]
    assert found.sentence.endswith(f"after {whole.first_word:.2f} s: {saved:.2f} s later.")
    assert str(found) == f"{found.sentence} {found.how}"


def test_the_trace_shows_the_request_that_went_out() -> None:
    found = run(Provider())
    assert found.whole.trace is not None and found.streaming.trace is not None
    assert found.whole.trace.exchanges[0].body["stream"] is False
    assert found.streaming.trace.exchanges[0].body["stream"] is True


def test_what_belongs_to_streams_only_is_left_out() -> None:
    way = Provider()
    yaml = CHAT.format(base="http://127.0.0.1:1").replace(
        "    stream: true", "    stream: true\n    stream_options: {include_usage: true}"
    )
    run(way, yaml)
    assert sorted("stream_options" in body for body in way.bodies) == [False, True]


def test_a_server_that_streams_all_the_same_is_held_back() -> None:
    found = run(Provider(ignores=True))
    assert not found.is_honest and found.how.startswith("The second stream was held back to its end")
    assert found.whole.text == "Once upon a time" and found.whole.timing.first_delta is not None
    assert found.whole.trace is not None and len(found.whole.trace.arrivals) == 1
    assert found.streaming.trace is not None and len(found.streaming.trace.arrivals) == len(WORDS)


@pytest.mark.parametrize("style", STYLES)
def test_every_kind_of_provider(style: str, faults: FaultServer) -> None:
    path, stream_format, output = STYLES[style]
    name = "auto" if style == "openai" else "ok"  # which does not hear `stream: false`
    base = faults.url(name, style=style, gap=0.02).rstrip("/")
    yaml = YAML.format(base=base, path=path, wait=60, total=60, stream_format=stream_format, output=output)
    found = racing.start(composemagic.load(yaml, env={"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base}), {"prompt": "x"})
    assert found.wait(60)
    assert found.streaming.text == found.whole.text == "w0 w1 w2 w3 w4 "
    assert found.is_honest == (style == "openai")
    asked = [json.loads(hit["body"])["stream"] for hit in faults.hits(name)]
    assert sorted(asked) == ([False, True] if style in ("openai", "ndjson") else [True, True])


def test_where_nothing_streams_the_two_are_the_same() -> None:
    found = run(Provider(), "component: {type: echo, text: '${input.prompt}'}")
    assert found.how == "Nothing streams here: the two requests are the same."
    assert not found.is_honest and found.laps[0].first_word is not None


def test_a_race_that_breaks_says_why() -> None:
    class Refusing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(400, json={"error": {"message": "no such model"}})

    found = run(Refusing())
    assert "no such model" in found.sentence and found.laps[0].first_word is None


def test_a_race_can_be_stopped(faults: FaultServer) -> None:
    base = faults.url("stall-mid").rstrip("/")
    found = racing.start(composemagic.load(CHAT.format(base=base), env={"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base}), {"prompt": "x"})  # fmt: skip
    for _ in found.streaming:
        if found.streaming.text:
            assert found.sentence == "The race goes on."
            break
    found.cancel()
    assert found.wait(60) and [one.status for one in found.runs] == ["stopped", "stopped"]
    assert found.sentence == "The race was not run to its end."


def test_an_empty_answer_has_no_first_word() -> None:
    class Silent(Provider):
        async def _stream(self) -> AsyncIterator[bytes]:
            self.first_is_out.set()
            yield END.encode()

    way = Silent()
    way.words = [""]
    found = racing.start(workflow(way), {"prompt": "x"})
    assert found.wait(60)
    assert found.laps[0].first_word is None and "no word" in shown_text(found)


def test_inputs_are_checked_before_anything_runs() -> None:
    way = Provider()
    with pytest.raises(composemagic.InputError):
        racing.start(workflow(way), {})
    assert not way.bodies


def test_a_race_can_be_recorded_and_replayed(tmp_path: Path) -> None:
    """In a replay both take the stream that was recorded, and the second one is held back."""
    file = tmp_path / "class.jsonl"
    workflow(Provider(), record=file).run(prompt="Tell")
    replayed = composemagic.load(CHAT.format(base="http://127.0.0.1:1"), env={}, replay=file, replay_speed=10)
    found = racing.start(replayed, {"prompt": "Tell"})
    assert found.wait(60) and found.whole.text == found.streaming.text == "Once upon a time"
    assert not found.is_honest and found.how.startswith("The second stream was held back")
    assert found.whole.trace is not None and len(found.whole.trace.arrivals) == 1


# -- in a notebook -------------------------------------------------------------------------------------------------------


def test_the_static_copy() -> None:
    found = run(Provider())
    data = shown(found, "A story")
    assert data["text/plain"].splitlines()[0] == "A story" and found.sentence in data["text/plain"]
    assert data["text/html"].count("Once upon a time") == 2 and "<script" not in data["text/html"]
    picture = data["text/html"][data["text/html"].index("<svg") : data["text/html"].index("</svg>") + 6]
    texts = [one.text or "" for one in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert any(text.startswith("streaming: first word") for text in texts)
    assert any(text.startswith("not streaming: first word") for text in texts)


def test_hostile_texts_in_a_race() -> None:
    way = Provider()
    way.words = HOSTILE[:7]
    html = shown(run(way), HOSTILE[0])["text/html"]
    assert "<script" not in html and "<img" not in html and "<iframe" not in html and "\x1b" not in html


def test_without_a_kernel_it_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    box = race(workflow(Provider()), {"prompt": "Tell"})
    box.show()
    assert "With streaming the first word is there after" in capsys.readouterr().out
    box.close()


SETUP = """
import asyncio, json, composemagic
from tests.test_race import Provider, workflow
from composemagic.notebook.race import race
chat = workflow(Provider())
"""


def test_in_a_kernel_the_widgets_give_way_to_a_static_copy(kernel: Kernel) -> None:
    assert kernel.execute(SETUP).status == "ok"
    live = kernel.execute("box = race(chat, {'prompt': 'Tell'})\nbox")
    assert any("application/vnd.jupyter.widget-view+json" in one.get("data", {}) for one in live.outputs)
    ended = kernel.execute(
        "import time\nbox.wait(60)\nwhile box._box.comm is not None: time.sleep(0.01)\n"
        "print(len(box._body._trait_values.get('value', '')) < 20_000)\nbox"
    )
    assert ended.streams["stdout"].split() == ["True"]
    assert "Once upon a time" in ended.outputs[-1]["data"]["text/html"]
    nobody = kernel.execute("race(workflow(Provider()), {'prompt': 'Tell'})", allow_stdin=False)
    (output,) = [one for one in nobody.outputs if "data" in one]
    assert set(output["data"]) == {"text/html", "text/plain"} and "later." in output["data"]["text/plain"]
