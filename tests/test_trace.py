"""The trace of a run: each request as it was sent, each message with its time and what became of it; and the pictures of it."""

from __future__ import annotations

import gc
import json
import re
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

import composemagic
from composemagic.engine.events import Delta
from composemagic.engine.run import Run
from composemagic.engine.trace import Row, Span, Trace, clipped_line, message_line, shown_of
from composemagic.language.secret import is_secret
from composemagic.notebook.trace import shown
from composemagic.picture.arrival import Series, arrival
from composemagic.picture.gantt import Bar, Lane, gantt
from composemagic.picture.svg import WIDTH, Scale, escaped, ticks, width_of
from composemagic.transport.exchange import Exchange, Heard, Room, Sent
from composemagic.transport.masking import Mask
from composemagic.transport.secrets import Redactor
from tests.conformance.faults import KEY
from tests.servers.faults import FaultServer
from tests.test_recording import CANARY, CHAT, ECHOES, END, Streaming, delta
from tests.test_secret_exits import leaks

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "]]><!--",
    "&lt;b&gt; &#x41;",
    "</text></svg><iframe src=javascript:alert(1)>",
    "\x1b[31mred\x1b]0;title\x07",
    "a\u202eb\u2066c",
    "\x00\x0b\ufffe",
    "\ud800 half",
    "$\\href{javascript:alert(1)}{x}$",
    "x" * 5000,
    "' onmouseover='alert(1)",
]


def traced(way: httpx.AsyncBaseTransport | None, yaml: str = "", key: str = KEY, **values: Any) -> Run:
    text = yaml or CHAT.format(base="http://127.0.0.1:1")
    workflow = composemagic.load(text, env={"FAULTS_API_KEY": key}, transport=way)
    run = workflow.start(values or {"prompt": "Hello"}, trace=True)
    assert run.wait(60)
    return run


def trace_of(run: Run) -> Trace:
    assert run.trace is not None
    return run.trace


def faulty(faults: FaultServer, name: str, **knobs: Any) -> Run:
    base = faults.url(name, **knobs).rstrip("/")
    workflow = composemagic.load(CHAT.format(base=base), env={"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base})
    run = workflow.start({"prompt": "Hello"}, trace=True)
    assert run.wait(60)
    return run


# -- what went over the wire ---------------------------------------------------------------------------------------------


def test_a_request_as_it_was_sent(faults: FaultServer) -> None:
    run = faulty(faults, "ok")
    (exchange,) = trace_of(run).exchanges
    (hit,) = faults.hits("ok")
    assert exchange.method == hit["method"] == "POST" and exchange.url.endswith("/v1/chat/completions")
    assert exchange.body == json.loads(hit["body"])
    sent = {name.lower(): value for name, value in exchange.headers}
    assert sent.pop("authorization") == "Bearer ***" and hit["headers"]["authorization"] == f"Bearer {KEY}"
    assert sent == {name: hit["headers"][name] for name in sent}
    assert exchange.job == "job-1" and exchange.status == 200 and exchange.media_type == "text/event-stream"


def test_each_message_has_its_time_and_what_was_extracted(faults: FaultServer) -> None:
    run = faulty(faults, "ok", gap=0.02)
    trace = trace_of(run)
    (exchange,) = trace.exchanges
    rows = trace.rows(exchange)
    assert [row.extracted for row in rows] == ["", "w0 ", "w1 ", "w2 ", "w3 ", "w4 ", None, None]
    assert rows[-1].message.text == "[DONE]" and json.loads(rows[1].message.text)["choices"]
    times = [row.message.at for row in rows]
    assert times == sorted(times) and exchange.at <= exchange.answered_at <= times[0]  # type: ignore[operator]
    assert times[-1] <= exchange.ended_at <= trace.total <= run.timing.total  # type: ignore[operator]
    assert exchange.received == sum(len(data) for _, data in exchange.rows()) and exchange.end == "end"
    assert len(trace.deltas) == run.timing.deltas == 6
    assert trace.first_delta is not None and trace.deltas == sorted(trace.deltas)


def test_a_trace_changes_nothing_of_the_run(faults: FaultServer) -> None:
    base = faults.url("ok").rstrip("/")
    workflow = composemagic.load(CHAT.format(base=base), env={"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base})
    with_trace, without = (workflow.start({"prompt": "x"}, trace=on) for on in (True, False))
    for run in (with_trace, without):
        assert run.wait(60)
    said = [[type(event).__name__ for event in run.events if type(event) is not Delta] for run in (with_trace, without)]
    assert said[0] == said[1] and with_trace.text == without.text and without.trace is None


def test_attempts_are_exchanges_of_their_own(faults: FaultServer) -> None:
    trace = trace_of(faulty(faults, "seq", id="trace", steps="reset,500,ok"))
    first, second, third = trace.exchanges
    assert first.end == "fault" and first.fault is not None and first.fault[0] == "connection_lost"
    assert (second.status, third.status) == (500, 200) and first.status is None
    assert [wait.attempt for wait in trace.waits] == [1, 2] and trace.waits[0].job == "job-1"
    assert first.ended_at <= trace.waits[0].at <= second.at  # type: ignore[operator]
    assert [exchange.number for exchange in trace.exchanges] == [1, 2, 3]


ENDS = [
    ("stall-mid", {}, "fault", "No data from"),
    ("reset-mid", {}, "fault", "lost"),
    ("gzip-cut", {}, "fault", "ended before its end"),
    ("status", {"code": 400}, "end", "read to its end"),
    ("head-stall", {"wait": 3}, "fault", "timeout.first"),
    ("done-hang", {}, "left", "no more of it was wanted"),
    ("gzip", {}, "end", "8 messages"),
    ("json", {}, "end", "1 message ·"),
    ("redirect", {}, "end", "read to its end"),
]


@pytest.mark.parametrize(("name", "knobs", "end", "words"), ENDS, ids=[one[0] for one in ENDS])
def test_how_an_exchange_ends(name: str, knobs: Any, end: str, words: str, faults: FaultServer) -> None:
    base = faults.url(name, **knobs).rstrip("/")
    # patient, lest another one is taken for one that stalls
    patience = {"stall-mid": "{first: 60, read: 1}", "head-stall": "{first: 0.3}"}.get(name, "{first: 60, read: 60}")
    yaml = CHAT.format(base=base) + f"  timeout: {patience}\n  max_retries: 0\n"
    workflow = composemagic.load(yaml, env={"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base})
    run = workflow.start({"prompt": "Hello"}, trace=True)
    assert run.wait(60)
    trace = trace_of(run)
    assert trace.exchanges[-1].end == end
    assert words in str(trace) and KEY not in str(trace)
    assert run.error is None or str(trace).endswith(run.error.sentence.splitlines()[-1])


def test_of_a_stopped_run_there_is_what_came(faults: FaultServer) -> None:
    base = faults.url("stall-mid").rstrip("/")
    workflow = composemagic.load(CHAT.format(base=base), env={"FAULTS_API_KEY": KEY, "FAULTS_BASE_URL": base})
    run = workflow.start({"prompt": "x"}, trace=True)
    under_way = ""
    for _ in run:
        if run.text == "w0 w1 w2 " and not under_way:
            under_way = str(run.trace)
            run.cancel()
    assert "under way" in under_way
    (exchange,) = trace_of(run).exchanges
    assert exchange.end == "stopped" and len(exchange.messages()) == 4
    assert trace_of(run).jobs[-1].status == "stopped"


def test_a_workflow_gives_its_trace_also_where_it_fails() -> None:
    workflow = composemagic.load(
        CHAT.format(base="http://127.0.0.1:1"), env={"FAULTS_API_KEY": KEY}, transport=Refusing()
    )
    trace = workflow.trace(prompt="Hello")
    assert trace.status == "failed" and trace.error.kind == "auth" and len(trace.exchanges) == 1
    with pytest.raises(composemagic.InputError):
        workflow.trace()


class Refusing(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"error": {"message": f"no: {request.headers['authorization']}"}})


def test_what_is_not_json_and_what_is_not_text() -> None:
    yaml = "component: {type: http-client, endpoint: 'http://127.0.0.1:1/x', method: GET, output: '${response}'}"
    trace = trace_of(traced(Streaming("plain words", kind="text/plain"), yaml, x=1))
    (row,) = trace.rows(trace.exchanges[0])
    assert (row.message.text, row.extracted) == ("plain words", "plain words")
    lines = "component: {type: http-client, endpoint: 'http://127.0.0.1:1/x', stream_format: json-lines, output: '${response[].n}'}"
    trace = trace_of(traced(Streaming('{"n": 1}\n{"n"', ': 2}\n{"n": null}', kind="application/x-ndjson"), lines, x=1))
    assert [row.extracted for row in trace.rows(trace.exchanges[0])] == ["1", "2", None]


def test_events_have_their_names() -> None:
    way = Streaming("event: ping\ndata: {}\n\n", delta("x"), END)
    assert "ping: {}" in str(traced(way).trace)


def test_jobs_and_their_requests_are_told_apart() -> None:
    yaml = """
workflow:
  jobs:
    - {id: one, component: ask}
    - {id: two, component: ask, depends_on: [one]}
components:
  - {id: ask, type: http-client, endpoint: "http://127.0.0.1:1/x", body: {a: 1}, output: "${response}"}
"""
    trace = trace_of(traced(Streaming('{"ok": 1}', kind="application/json"), yaml, x=1))
    assert [(span.job, span.status) for span in trace.jobs] == [("one", "done"), ("two", "done")]
    assert [exchange.job for exchange in trace.exchanges] == ["one", "two"]
    jobs = re.findall(r"^\[(\w+)\]  [\d.]+ s to [\d.]+ s$", str(trace), re.MULTILINE)
    assert jobs == ["one", "two"]


def test_without_a_request_there_is_when_its_jobs_ran() -> None:
    trace = str(trace_of(traced(None, "component: {type: echo, text: Hi}", x=1)))
    assert re.search(r"\n\n\[job-1\]  0.00 s to \d\.\d\d s\n\nno request was sent", trace)


# -- bounds --------------------------------------------------------------------------------------------------------------


def test_of_much_only_the_first_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.transport.tap.KEPT", 2_000)
    run = traced(Streaming(*(delta("x" * 100) for _ in range(50)), END))
    (exchange,) = trace_of(run).exchanges
    assert len(run.text) == 5_000 and exchange.received > 5_000
    assert exchange.kept <= 2_000 and not exchange.is_whole and "not all of them kept" in str(run.trace)
    assert len(trace_of(run).deltas) == 50


def test_of_many_messages_the_first_and_the_last_are_shown() -> None:
    rows = trace_of(run := traced(Streaming(*(delta(f"{n} ") for n in range(500)), END))).rows(
        trace_of(run).exchanges[0]
    )
    some = shown_of(rows)
    assert len(rows) == 502 and len(some) == 141 and some[120] == 362
    assert "… 362 more messages" in str(run.trace)


def test_a_long_event_in_small_reads_is_one_row() -> None:
    exchange = Exchange(
        1, "j", {"method": "GET", "url": "u", "headers": []}, at=0, mask=Mask(Redactor(), []), room=Room(10**8)
    )
    exchange.answered(200, [("content-type", "text/event-stream")], 0.1)
    data = b"data: " + b"x" * 100_000 + b"\r\n\r\ndata: y\r\rdata: z\n\n: end\n"
    for at in range(0, len(data), 17):
        exchange.hear(data[at : at + 17], at / 1e6)
    exchange.over("end", 1.0)
    assert [len(message.text) for message in exchange.messages()] == [100_000, 1, 1]
    assert b"".join(piece for _, piece in exchange.rows()) == data and len(exchange.rows()) == 4


def test_a_trace_goes_with_its_run(faults: FaultServer) -> None:
    run = faulty(faults, "ok")
    trace = weakref.ref(trace_of(run))
    del run
    end = time.monotonic() + 60
    while trace() is not None:  # the loop's thread may not have let go of it yet
        assert time.monotonic() < end
        gc.collect()


# -- secrets and hostile texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", ECHOES.values(), ids=list(ECHOES))
def test_no_trace_tells_a_key(pieces: tuple[str, ...]) -> None:
    run = traced(Streaming(*pieces, **{"set-cookie": CANARY, "x-seen": CANARY}), key=CANARY)
    trace = trace_of(run)
    data = shown(trace)
    told = [str(trace), repr(trace), data["text/html"], data["text/plain"], repr(trace.exchanges[0].messages())]
    told.append("".join(row.extracted or "" for row in trace.rows(trace.exchanges[0])))
    assert not leaks("\n".join(told)) and "***" in str(trace)


def test_a_key_is_masked_while_it_is_under_way() -> None:
    class Half(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            async def body() -> AsyncIterator[bytes]:
                yield delta(f"first {CANARY}").encode()
                seen.append(str(run.trace) + shown(trace_of(run))["text/html"])
                yield END.encode()

            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body())

    seen: list[str] = []
    workflow = composemagic.load(
        CHAT.format(base="http://127.0.0.1:1"), env={"FAULTS_API_KEY": CANARY}, transport=Half()
    )
    run = workflow.start({"prompt": "Hello"}, trace=True, begins=False)
    run.begin()
    assert run.wait(60) and "under way" in seen[0] and not leaks(seen[0])


HEADERS = [
    ("Authorization", "Bearer abc", "Bearer ***"),
    ("authorization", "Basic dXNlcjpwYXNz", "Basic ***"),
    ("X-Api-Key", "short", "***"),
    ("Cookie", "id=1; token=2", "***"),
    ("api-key", "123 456", "***"),
    ("Content-Type", "text/plain", "text/plain"),
    ("x-ratelimit-remaining-tokens", "149984", "149984"),
    ("x-amz-security-token", "abc", "***"),
    ("X-Note", "sk-abcdefghijklmnopqrstuvwx", "sk-" + "*" * 24),
]


@pytest.mark.parametrize(("name", "value", "kept"), HEADERS)
def test_headers_are_masked_by_their_names(name: str, value: str, kept: str) -> None:
    assert Mask(Redactor(), []).header(name, value) == kept


CUT = {
    "text": [f"data: {letter}\n\n" for letter in CANARY],
    "lines of JSON": [json.dumps({"a": {"b": [letter]}}) + "\n" for letter in CANARY],
    "deep": [f"data: {'[' * 900}1{']' * 900}\n\n", *(delta(letter) for letter in CANARY)],
    "events": [f"event: x\nid: 1\ndata: {json.dumps({'a': letter})}\n\n" for letter in CANARY],
    "the bytes": [*CANARY],
}


@pytest.mark.parametrize("texts", CUT.values(), ids=list(CUT))
def test_what_several_pieces_tell_together_is_masked(texts: list[str]) -> None:
    redact = Redactor()
    redact.learn("A_KEY", CANARY)
    found = Mask(redact, []).rows([(float(at), text.encode()) for at, text in enumerate(["data: before\n\n", *texts])])
    assert [at for at, _ in found] == [float(at) for at in range(len(texts) + 1)] and found[0][1] == b"data: before\n\n"
    told = b"".join(data for _, data in found[1:]).decode()
    assert not leaks(told) and not leaks("".join(letters_of(told)))
    assert sum(b"***" in data for _, data in found) == 1


SPELT = "".join(f"\\u{ord(letter):04x}" for letter in CANARY)
ESCAPED = {
    "as .NET writes a plus": 'data: {"a": "' + CANARY.replace("+", "\\u002B") + '"}\n\n',
    "each character": f'data: {{"a": ["x {SPELT} y"]}}\n\n',
    "a text alone": f'data: "{SPELT}"\n\n',
    "over lines of data": f'event: x\ndata: {{"a":\ndata: "{SPELT}"}}\n\n',
    "over lines that end in CR": f'event: x\rdata: {{"a":\rdata: "{SPELT}"}}\r\r',
    "a line of JSON": f'{{"a": "{SPELT}"}}\n',
    "a whole answer": f'{{\n  "error": {{\n    "message": "your key is {SPELT}"\n  }}\n}}\n',
    "beside one that is plain": f'{{"a": "{CANARY}", "b": "{SPELT}"}}\n',
}


@pytest.mark.parametrize("text", ESCAPED.values(), ids=list(ESCAPED))
def test_a_key_that_json_spells_in_another_way_is_masked(text: str) -> None:
    redact = Redactor()
    redact.learn("A_KEY", CANARY)
    (found,) = Mask(redact, []).rows([(0.0, text.encode())])
    assert b"***" in found[1] and SPELT[:20].encode() not in found[1] and b"u002B" not in found[1]
    assert not leaks(found[1].decode())


def letters_of(told: str) -> Iterator[str]:
    """What stands in the messages, whatever is around it."""
    for line in told.splitlines():
        text = line.removeprefix("data: ")
        if text.startswith("{"):
            yield from re.findall(r'"(?:b|a|content)": ?\[?"([^"]*)"', text)
        elif not text.startswith(("event:", "id:", "[")):
            yield text


def test_addresses_and_values_are_masked_by_names_of_keys() -> None:
    mask = Mask(Redactor(), [("X-Api-Key", "open-sesame-99")])
    assert (
        mask.url("http://h/p?key=12345678&q=key&max_tokens=12345678") == "http://h/p?key=***&q=key&max_tokens=12345678"
    )
    assert mask.value({"token": "12345678", "tokens": "12345678", "a": ["open-sesame-99", 5, None, True]}) == {
        "token": "***", "tokens": "12345678", "a": ["***", 5, None, True],
    }  # fmt: skip
    assert mask.data(b"\xffopen-sesame-99\x00") == b"\xff***\x00"
    assert is_secret("KEY", "")  # what the mask goes by


def test_hostile_texts_are_shown_and_do_nothing() -> None:
    way = Streaming(*(delta(text) for text in HOSTILE), END)
    run = traced(way, prompt="".join(HOSTILE))
    data = shown(trace_of(run))
    markup = re.sub(r"<style>.*?</style>", "", data["text/html"], flags=re.DOTALL)
    tags = set(re.findall(r"<(\w+)", markup))
    assert tags <= {
        "div", "span", "b", "pre", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "svg", "title", "desc", "line",
        "text", "path", "circle", "rect", "defs", "pattern",
    }  # fmt: skip
    assert not re.search(r"\son\w+\s*=\s*[\"']?\w", re.sub(r">[^<]*<", "><", markup)) and "javascript:" not in re.sub(r">[^<]*<", "><", markup)  # fmt: skip
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", data["text/html"] + data["text/plain"]
    )


def test_a_line_is_clipped() -> None:
    assert clipped_line("a\nb\tc") == "a↵b c"
    assert len(clipped_line("x" * 1000)) == 160 and clipped_line("x" * 1000).endswith("…")


@pytest.mark.parametrize(
    ("extracted", "spelt"),
    [
        ("hi there ", '"hi there "'),
        ("o", '"o"'),  # not that of "object"
        ('say "hi"\n', '"say \\"hi\\"\\n"'),
        ("中文", '"中文"'),
        ("中文", '"\\u4e2d\\u6587"'),
        ("word " * 90, f'"{"word " * 90}"'),
        ("plain text", "plain text"),
    ],
)
def test_of_a_long_message_one_sees_what_was_extracted(extracted: str, spelt: str) -> None:
    text = f'{{"id":"chatcmpl-{"0" * 90}","object":"chat.completion.chunk","choices":[{{"delta":{{"content":{spelt}}},"usage":null}}],"x":"{"y" * 300}"}}'
    shown = message_line(Row(Heard(0.1, text), extracted))
    assert shown.startswith('{"id":"chatcmpl-') and f'"content":{spelt}'[:80] in shown and len(shown) == 160
    assert message_line(Row(Heard(0.1, text), None)) == clipped_line(text)
    assert message_line(Row(Heard(0.1, text), "not there")) == clipped_line(text)
    assert message_line(Row(Heard(0.1, "short", "delta"), "short")) == "delta: short"


# -- pictures ------------------------------------------------------------------------------------------------------------


def parsed(picture: str) -> ElementTree.Element:
    """The picture, which has to be well-formed, and say what it is to those who do not see it."""
    root = ElementTree.fromstring(picture)
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    title, described = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and title.text and described is not None and described.text
    assert root.get("aria-labelledby") == f"{title.get('id')} {described.get('id')}"
    assert not list(root.iter(f"{SVG}script")) and "url(http" not in picture
    names = [name for one in root.iter() for name in one.keys()]  # noqa: SIM118
    assert not [name for name in names if name.startswith("on") or "href" in name]
    return root


def texts(root: ElementTree.Element) -> list[str]:
    return [one.text or "" for one in root.iter(f"{SVG}text")]


ONE = Series("streaming", [(0.5, 4), (1.0, 10)], 2.0)
OTHER = Series("not streaming", [(1.9, 10)], 1.9)


def test_how_a_text_arrives() -> None:
    root = parsed(arrival([ONE, OTHER], "How it arrives"))
    found = texts(root)
    assert "streaming: first word after 0.50 s, 10 characters in 2.00 s" in found
    assert "not streaming: first word after 1.90 s, 10 characters in 1.90 s" in found
    assert {"0 s", "0.5 s", "1 s", "1.5 s", "2 s", "10", "0"} <= set(found)
    curves = [one for one in root.iter(f"{SVG}path") if "H" in (one.get("d") or "")]
    assert len(curves) == 2 and "stroke-dasharray" in (curves[1].get("style") or "")  # not by colour alone
    described = root.find(f"{SVG}desc")
    assert described is not None and "first word after 0.50 s" in (described.text or "")


def test_a_text_that_never_came() -> None:
    assert "a: nothing came in 3.00 s" in texts(parsed(arrival([Series("a", [], 3.0)], "x")))
    parsed(arrival([], "nothing"))
    parsed(arrival([Series("a", [(0.0, 0)], 0.0)], "no time"))


def test_many_points_are_drawn_as_few() -> None:
    series = Series("a", [(at / 1000, at) for at in range(100_000)], 100.0)
    picture = arrival([series], "many")
    assert len(picture) < 12_000 and "99,999" in picture


LANES = [
    Lane("idea", [Bar(0.0, 1.0, "job", "idea"), Bar(0.1, 0.9, "request", "POST")]),
    Lane("research", [Bar(0.0, 0.2, "job"), Bar(0.2, 0.7, "wait", "Rate limited"), Bar(0.7, 1.5, "failed")]),
    Lane("write", [Bar(1.0, 1.2, "stopped")]),
]


def test_jobs_over_time() -> None:
    root = parsed(gantt(LANES, 1.5, "Jobs"))
    assert {"idea", "research", "write", "job", "failed", "stopped", "request", "wait before another try"} <= set(
        texts(root)
    )
    (pattern,) = root.iter(f"{SVG}pattern")
    hatched = [one for one in root.iter(f"{SVG}rect") if f"url(#{pattern.get('id')})" in (one.get("style") or "")]
    assert len(hatched) == 2  # the wait, and its place in the legend
    wait = hatched[0]
    idea = next(one for one in root.iter(f"{SVG}rect") if (one.findtext(f"{SVG}title") or "") == "idea")
    scale = Scale(1.5, 150, 626)
    assert float(wait.get("x") or 0) == scale(0.2) and float(idea.get("width") or 0) == pytest.approx(scale(1.0) - 150)
    assert wait.findtext(f"{SVG}title") == "Rate limited"


def test_pictures_are_the_same_each_time_and_have_names_of_their_own() -> None:
    assert gantt(LANES, 1.5, "Jobs") == gantt(LANES, 1.5, "Jobs") and arrival([ONE], "a") == arrival([ONE], "a")
    names = [set(re.findall(r'id="([^"]+)"', gantt(LANES, total, "Jobs"))) for total in (1.5, 1.6)]
    assert not names[0] & names[1]


def test_pictures_follow_the_theme() -> None:
    for picture in (gantt(LANES, 1.5, "Jobs"), arrival([ONE, OTHER], "a")):
        assert "currentColor" in picture and "var(--jp-" in picture
        assert not re.search(
            r"(?<![,(])#[0-9a-f]{3,6}\b(?!\))|black|white", re.sub(r"url\(#[^)]*\)|compose-\w+", "", picture)
        )
        assert all(
            found.endswith(")") and "," in found for found in re.findall(r"var\([^)]*\)", picture)
        )  # with fallbacks


@pytest.mark.parametrize("text", HOSTILE)
def test_pictures_of_hostile_texts(text: str) -> None:
    for picture in (
        gantt([Lane(text, [Bar(0, 1, "job", text)])], 1, f"a {text}"),
        arrival([Series(text, [(0, 1)], 1)], f"a {text}"),
    ):
        root = parsed(picture)
        assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {
            "svg", "title", "desc", "rect", "line", "text", "path", "circle", "defs", "pattern",
        }  # fmt: skip


def test_many_jobs_fit() -> None:
    lanes = [Lane(f"job {number}", [Bar(number, number + 1, "job")]) for number in range(64)]
    assert len([text for text in texts(parsed(gantt(lanes, 64, "Jobs"))) if text.startswith("job ")]) == 40


@pytest.mark.parametrize(
    ("total", "expected"),
    [(0.0, ["0 s", "0.0002 s", "0.0004 s", "0.0006 s", "0.0008 s", "0.001 s"]), (3.4, ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s", "3 s"]), (600, ["0 s", "100 s", "200 s", "300 s", "400 s", "500 s", "600 s"])],
)  # fmt: skip
def test_the_grid_has_round_numbers(total: float, expected: list[str]) -> None:
    drawn = "".join(ticks(Scale(total, 0, 100), 0, 10))
    assert re.findall(r">([^<>]+)</text>", drawn) == expected
    assert escaped("<&>" * 40).count("&lt;") == 33


@pytest.mark.parametrize("total", [0.0, 3.4, 60, 7e-3])
def test_what_is_written_stays_inside(total: float) -> None:
    label = "翻译成中文然后总结并且润色最后发布出去"
    kinds = ("job", "failed", "stopped", "wait", "request")
    picture = parsed(gantt([Lane(label, [Bar(0, total, kind) for kind in kinds])], total, "Jobs"))
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        wide = width_of(text.text or "")
        left = float(text.attrib["x"]) - wide * {"start": 0, "middle": 0.5, "end": 1}[text.attrib["text-anchor"]]
        assert left >= 0 and left + wide <= WIDTH, text.text


def test_a_trace_in_a_page() -> None:
    run = traced(Streaming(delta("Hello "), delta("you"), END))
    data = shown(trace_of(run))
    assert data["text/html"].count("<svg") == 2 and data["text/plain"] == str(run.trace)
    assert (
        "“Hello ”" in data["text/html"]
        and "Bearer ***" in data["text/html"]
        and "the request as sent" in data["text/html"]
    )
    for picture in re.findall(r"<svg.*?</svg>", data["text/html"], re.DOTALL):
        parsed(picture)


def test_waits_are_cut_out_of_their_job() -> None:
    from composemagic.engine.trace import Wait
    from composemagic.notebook.trace import _between

    trace = trace_of(traced(Streaming(delta("x"), END)))
    trace.waits = [
        Wait("a", 1.0, 0.5, "busy", 1, 2),
        Wait("b", 1.2, 1.0, "busy", 1, 2),
        Wait("a", 2.0, 9.0, "busy", 2, 2),
    ]
    span = Span("a", 0.5, 3.0, "done")
    assert list(_between(span.start, 3.0, trace, "a")) == [(0.5, 1.0), (1.5, 2.0)]


MANY = """
workflow:
  jobs:
    - {id: all, type: for-each, input: "${input.numbers}", batch_size: 8, do: {component: ask, input: "${item}"}}
components:
  - {id: ask, type: http-client, endpoint: "http://127.0.0.1:1/x", body: {n: "${input}"}, output: "${response.ok}"}
"""


def test_of_many_requests_the_first_are_shown_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.transport.tap._MOST", 150)
    trace = trace_of(traced(Streaming('{"ok": 1}', kind="application/json"), MANY, numbers=list(range(300))))
    assert (trace.count, len(trace.exchanges)) == (300, 150)
    assert str(trace).endswith("… 200 more requests") and "300 requests" in shown(trace)["text/html"]


def test_what_is_recorded_need_not_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.transport.tap.KEPT", 100)
    file = tmp_path / "class.jsonl"
    workflow = composemagic.load(
        MANY, transport=Streaming('{"ok": "' + "x" * 60 + '"}', kind="application/json"), record=file
    )
    run = workflow.start({"numbers": [1, 2, 3]}, trace=True)
    assert run.wait(60)
    assert [exchange.is_whole for exchange in trace_of(run).exchanges] == [True, False, False]
    assert len(file.read_text("utf-8").splitlines()) == 3


# -- the tap itself ------------------------------------------------------------------------------------------------------


def exchange_of(kind: str, *pieces: bytes) -> Exchange:
    """An exchange that got these pieces, a tenth of a second apart."""
    facts = {"method": "GET", "url": "http://h/", "headers": []}
    found = Exchange(1, "job", facts, at=0.0, mask=Mask(Redactor(), []), room=Room(10_000))
    found.answered(200, [("Content-Type", kind)], 0.05)
    for number, piece in enumerate(pieces, 1):
        found.hear(piece, number / 10)
    found.over("end", 9.0)
    return found


SPLITS: list[tuple[str, str, list[bytes], list[tuple[float, str]]]] = [
    ("LF", "text/event-stream", [b"data: a\n\nda", b"ta: b\n\n"], [(0.1, "a"), (0.2, "b")]),
    ("CRLF over two reads", "text/event-stream", [b"data: a\r\n\r", b"\ndata: b\r\n\r\n"], [(0.1, "a"), (0.2, "b")]),
    ("CR", "text/event-stream", [b"data: a\r\rdata: b\r\r"], [(0.1, "a"), (0.1, "b")]),
    ("comments are none", "text/event-stream", [b": hi\n\n", b"data: a\n\n"], [(0.2, "a")]),
    ("an event without its end is none", "text/event-stream", [b"data: a\n\n", b"data: b"], [(0.1, "a")]),
    ("half a character", "text/event-stream", ["data: é".encode()[:7], "é\n\n".encode()[1:]], [(0.2, "é")]),
    ("parameters of the type", "Text/Event-Stream; charset=utf-8", [b"data: a\n\n"], [(0.1, "a")]),
    ("no type, but events", "", [b"data: a\n\n"], [(0.1, "a")]),
    ("text/plain, but events", "text/plain", [b"event: x\ndata: a\n\n"], [(0.1, "a")]),
    ("text/plain that is text", "text/plain", [b"some ", b"text\n\nmore"], [(0.2, "some text\n\nmore")]),
    ("lines of JSON", "application/x-ndjson", [b'{"a"', b": 1}\n{}\n{", b"}"], [(0.2, '{"a": 1}'), (0.2, "{}"), (0.3, "{}")]),
    ("a whole answer", "application/json", [b'{"a":\n\n', b"1}"], [(0.2, '{"a":\n\n1}')]),
    ("nothing", "text/event-stream", [], []),
    ("nothing whole", "application/json", [], []),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "pieces", "messages"), [row[1:] for row in SPLITS], ids=[row[0] for row in SPLITS])
def test_how_bytes_become_messages(kind: str, pieces: list[bytes], messages: list[tuple[float, str]]) -> None:
    found = exchange_of(kind, *pieces)
    assert [(one.at, one.text) for one in found.messages()] == messages
    assert b"".join(data for _, data in found.rows()) == b"".join(pieces)  # however it is cut, nothing is lost
    assert found.received == sum(map(len, pieces)) and found.is_whole


def test_what_does_not_fit_is_counted() -> None:
    found = exchange_of("text/event-stream", b"data: a\n\n", b"x" * 20_000, b"data: b\n\n")
    assert found.received == 20_018 and not found.is_whole
    assert [one.text for one in found.messages()] == ["a"]  # no hole: what comes behind it is not kept either
    found.forget()
    assert (found.messages(), found.received) == ([], 20_018)


BODIES: list[tuple[str, bytes, Any]] = [
    ("application/json", b'{"a": [1, "x"]}', {"a": [1, "x"]}),
    ("text/plain", b"5", "5"),
    ("application/json", b"{broken", "{broken"),
    ("", b"", None),
    ("application/x-www-form-urlencoded", b"a=1&b=2", "a=1&b=2"),
]


@pytest.mark.parametrize(("kind", "data", "written"), BODIES, ids=str)
def test_a_body_as_it_is_written(kind: str, data: bytes, written: Any) -> None:
    sent = Sent()
    for at in range(0, len(data), 3):
        sent.add(data[at : at + 3])
    assert sent.written(kind, Mask(Redactor(), [])) == written and sent.size == len(data)


def test_long_and_strange_bodies_are_told_by_their_hash() -> None:
    mask = Mask(Redactor(), [])
    picture, other = ({"image": "data:image/png;base64," + letter * 9_000, "n": 1} for letter in "AB")
    found = []
    for value in (picture, other):
        sent = Sent()
        sent.add(json.dumps(value).encode())
        found.append(sent.written("application/json", mask))
    assert all(len(one["image"]) < 300 and one["n"] == 1 for one in found) and found[0] != found[1]
    binary = Sent()
    binary.add(b"\xff\x00" * 10)
    assert binary.written("image/png", mask) == {"bytes": 20, "sha256": binary.hashed()["sha256"]}
    parts = []
    for boundary in ("x1", "y2"):
        sent = Sent()
        sent.add(f"--{boundary}\r\n\r\nhello\r\n--{boundary}--\r\n".encode())
        parts.append(sent.written(f'multipart/form-data; boundary="{boundary}"', mask))
    assert parts[0] == parts[1] and set(parts[0]) == {"bytes", "sha256"}


def test_a_shared_room_is_given_once() -> None:
    room = Room(10)
    assert room.take(6) and not room.take(6) and room.take(4) and not room.take(1) and room.take(0)
