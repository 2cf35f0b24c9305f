"""What shows a run with jobs, objects, waits and questions: real runs, without a front end."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import ipywidgets as widgets
import pytest

import composemagic
from composemagic.engine.asking import meaning
from composemagic.engine.events import Delta, JobFinished, JobStarted, Notice, Point, Waiting
from composemagic.engine.run import Run
from composemagic.notebook.ask import Ask
from composemagic.notebook.jobs import html_lines, overview, text_lines
from composemagic.notebook.lights import Lights
from composemagic.notebook.look import STYLE, clipped
from composemagic.notebook.markdown import render
from composemagic.notebook.media import LARGEST, kind_of, media
from composemagic.notebook.plain import Plain
from composemagic.notebook.still import bundle
from composemagic.notebook.streams import Streams
from composemagic.notebook.tree import tree, value_text
from composemagic.notebook.view import Live
from composemagic.notebook.waits import Waits
from composemagic.words import speaking
from tests.waiting import until

SECONDS = 60
FIRE = "<img src=x onerror=alert(1)>"

PARTS = """
workflow:
  title: Parts
  output:
    first: ${jobs.a.output as stream/text}
    deep: {second: "${jobs.b.output as stream/text}"}
    rows: [{name: Ada, year: 1843}, {name: Grace, year: null}]
  jobs:
  - id: a
    component: {type: echo, action: {text: "some *words* here", delay: 0.01}}
  - id: b
    component: {type: echo, action: {text: "more words", delay: 0.01}}
"""
ASKING = """
workflow:
  jobs:
  - id: draft
    component: {type: echo, action: {text: Dear Ada}}
    interrupt: {after: {message: "May it be sent?", metadata: {to: [ada, bob]}}}
  - id: price
    component: {type: echo, action: {value: {amount: 12}}}
    interrupt: {after: true}
  - id: send
    depends_on: [draft, price]
    input: ${jobs.draft.output}, ${jobs.price.output.amount}
    component: {type: echo, action: {text: "Sent: ${input}"}}
"""
NULL = "workflow:\n  output: ${output.x}\n  job: {component: {type: echo, action: {value: {x: null}}}}\n"
FAILING = """
workflow:
  jobs:
  - id: good
    component: {type: echo, action: {text: fine}}
  - id: bad
    depends_on: [good]
    component: {type: http-client, base_url: "http://127.0.0.1:1", action: {path: /}}
  - id: late
    depends_on: [bad]
    component: {type: echo, action: {text: never}}
"""


def echoing(value: Any, **more: Any) -> str:
    """One job that gives a value (JSON is YAML)."""
    return json.dumps({"workflow": {"job": {"component": {"type": "echo", "action": {"value": value}}, **more}}})


def ran(yaml: str) -> Run:
    """A run that has ended, well or not."""
    run = composemagic.load(yaml).stream()
    assert run.wait(SECONDS)
    return run


def without_tags(page: str) -> str:
    """What a reader sees of HTML, about."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", page))).split())


# -- jobs


def test_a_line_for_each_job_folded_when_all_is_well() -> None:
    data = bundle(ran(PARTS))
    assert "2 jobs: 2 done" in data["text/plain"]
    assert "✓ a" not in data["text/plain"]
    assert re.search(r"<details><summary>2 jobs: 2 done</summary>", data["text/html"])
    assert data["text/html"].index("here") < data["text/html"].index("✓ done") < data["text/html"].index("2 jobs")


def test_the_lines_are_open_after_a_failure() -> None:
    run = ran(FAILING)
    data = bundle(run)
    for words in ("3 jobs: 1 done, 1 skipped, 1 failed", "✓ good: done · ", "✗ bad: failed · ", "– late: skipped\n"):
        assert words in data["text/plain"] + "\n"
    assert "<details open><summary>3 jobs" in data["text/html"]
    assert "Nothing listens" in data["text/html"]
    assert "Nothing listens" not in bundle(run, tell_errors=False)["text/plain"]


def test_one_job_needs_no_line() -> None:
    data = bundle(ran(echoing("only")))
    assert "job" not in data["text/plain"]
    assert "<details" not in data["text/html"]


def test_routes_and_repetitions_are_told() -> None:
    run = ran(
        "workflow:\n  jobs:\n"
        "  - {id: choose, type: if, input: 1, operator: eq, value: 1, if_true: left, if_false: right}\n"
        "  - {id: left, component: {type: echo, action: {value: l}}}\n"
        "  - {id: right, component: {type: echo, action: {value: r}}}\n"
    )
    assert run.status == "done", run.error
    lines = text_lines(run)
    assert re.fullmatch(r"→ choose: chose left · 0\.\d\d s", lines[0])
    assert lines[2] == "– right: skipped"
    assert overview(run) == "3 jobs: 1 done, 1 chose the next, 1 skipped"


def test_what_a_job_gives_stands_under_its_line() -> None:
    run = ran(PARTS)
    page = without_tags(html_lines(run, lambda job: f"<i>given by {job}</i>"))
    places = [page.index(words) for words in ("✓ a", "given by a", "✓ b", "given by b")]
    assert places == sorted(places)


def test_a_line_that_was_drawn_before_is_drawn_in_another_language() -> None:
    run = ran(PARTS)
    told = []
    for language in ("en", "zh", "en"):
        with speaking(language):
            told.append(without_tags(html_lines(run)))
    assert told[0] == told[2] != told[1]
    assert "done" in told[0] and "完成" in told[1] and "done" not in told[1]


def test_the_static_copy_joins_the_output_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be long: of many JSON values each is read again."""
    run, asked = ran(PARTS), []
    output = Run.output.fget
    assert output is not None
    monkeypatch.setattr(Run, "output", property(lambda self: (asked.append(1), output(self))[1]))
    assert "some *words* here" in bundle(run)["text/plain"]
    assert len(asked) == 1


def test_jobs_that_run_wait_and_are_stopped() -> None:
    run = composemagic.load(
        "workflow:\n  jobs:\n"
        '  - {id: long, component: {type: echo, action: {text: "a b c", delay: 30}}}\n'
        "  - {id: next, depends_on: [long], component: {type: echo, action: {value: x}}}\n"
    ).stream()
    until(lambda: run.jobs["long"].status in ("running", "streaming"))
    assert overview(run) == "2 jobs: 1 waiting, 1 running"
    assert re.fullmatch(r"▶ long: running · \d+ s\n○ next: waiting", "\n".join(text_lines(run)))
    run.cancel()
    run.wait(SECONDS)
    assert overview(run) == "2 jobs: 1 skipped, 1 stopped"
    assert "■ stopped" in bundle(run)["text/plain"]


# -- the picture of the jobs

CHAIN = """
workflow:
  title: Chain
  output: ${jobs.c.output as stream/text}
  jobs:
  - {id: a, component: {type: echo, action: {text: "x y z x y z", delay: 0.1}}}
  - {id: b, depends_on: [a], component: {type: echo, action: {text: "x y", delay: 0.1}}}
  - {id: c, depends_on: [b], component: {type: echo, action: {text: "some words at the end of it all", delay: 0.1}}}
"""


def pictures_of(yaml: str, seen: list[str] | None = None) -> list[str]:
    """The pictures that a live view sends, in order; `seen` has them while they are sent."""
    run, seen = composemagic.load(yaml).stream(), [] if seen is None else seen
    view = Live("Chain", place=lambda _: None)
    made = view._make_room

    def watched(lights: Lights) -> Any:
        picture = made(lights)
        picture.observe(lambda change: seen.append(change["new"]), "value")
        return picture

    view._make_room = watched  # type: ignore[method-assign]
    view.show()
    view.follow(run)
    view.closed.result(SECONDS)
    return seen


def signs(picture: str) -> str:
    return "".join(re.findall(r'fill="currentColor"[^>]*>(.) \w+</text>', picture))


LOOKED_AT = """
workflow:
  output: ${jobs.c.output as stream/text}
  jobs:
  - {id: a, component: {type: looked-at, number: 0}}
  - {id: b, depends_on: [a], component: {type: looked-at, number: 1}}
  - {id: c, depends_on: [b], component: {type: looked-at, number: 2}}
"""


def test_the_jobs_light_up_and_only_news_is_sent() -> None:
    """Each job goes on until a picture has shown it."""
    seen: list[str] = []

    @composemagic.component("looked-at")
    async def looked_at(number: int) -> AsyncIterator[str]:
        while not any(signs(picture)[number] == "▶" for picture in seen):
            await asyncio.sleep(0.01)
            yield "x "

    try:
        pictures_of(LOOKED_AT, seen)
    finally:
        looked_at.undo()  # type: ignore[attr-defined]
    assert [signs(picture) for picture in seen] == ["▶○○", "✓▶○", "✓✓▶"]


def test_what_needs_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = "workflow:\n  job: {component: {type: echo, action: {text: a b c d e f g, delay: 0.1}}}\n"
    assert pictures_of(alone) == []
    assert pictures_of(PARTS) == []  # jobs that are not connected
    monkeypatch.setattr("composemagic.notebook.view._SHORT", 600)
    assert pictures_of(CHAIN.replace("0.1", "0.001")) == []  # over sooner than that


def test_more_than_twenty_jobs_have_their_lines_only() -> None:
    for count, pictures in ((20, 1), (21, 0)):
        jobs = [{"id": f"j{n}", "component": {"type": "echo", "action": {"text": "x"}}} for n in range(count)]
        jobs[1]["depends_on"] = ["j0"]
        assert bundle(ran(json.dumps({"workflow": {"jobs": jobs}})))["text/html"].count("<svg") == pictures


def test_the_picture_stands_with_the_lines_in_the_static_copy() -> None:
    page = bundle(ran(FAILING))["text/html"]
    assert signs(page) == "✓✗–"
    assert page.index("3 jobs") < page.index("<svg") < page.index("✗ <b>bad</b>")
    assert "good: done; ✗ bad: failed; – late: skipped" in page
    page = bundle(ran(CHAIN.replace("0.1", "0")))["text/html"]
    assert re.search(r"<details><summary>3 jobs: 3 done</summary><div><div class=.compose-graph.><svg", page)


def test_a_picture_tells_who_asks() -> None:
    run = composemagic.load(ASKING).stream()
    until(lambda: run.status == "interrupted")
    assert signs(Lights(run).svg()) == "??○"
    run.cancel()
    run.wait(SECONDS)
    assert signs(Lights(run).svg()) == "■■–"


def test_ways_that_were_taken() -> None:
    run = ran(
        "workflow:\n  jobs:\n"
        "  - {id: choose, type: if, input: 1, operator: eq, value: 1, if_true: left, if_false: right}\n"
        "  - {id: left, component: {type: echo, action: {value: l}}}\n"
        "  - {id: right, component: {type: echo, action: {value: r}}}\n"
    )
    ways = re.findall(r'opacity="(0\.\d+)"><path', Lights(run).svg())
    assert ways == ["0.9", "0.45"]


# -- values: what is shown, and in which words

TREES = {
    "a text": ("plain", "plain"),
    "lines": ("one\ntwo", '<pre class="compose-words">one\ntwo</pre>'),
    "a number": (1.5, "<code>1.5</code>"),
    "null inside": ({"a": None}, "<strong>a</strong>: <code>null</code>"),
    "true": (True, "<code>true</code>"),
    "an empty object": ({}, "<code>{}</code>"),
    "an empty list": ({"a": []}, "<strong>a</strong>: <code>[]</code>"),
    "a few numbers": ({"a": [1, 2]}, "<strong>a</strong>: <code>[1, 2]</code>"),
    "an object in one": ({"a": {"b": "c"}}, "<strong>b</strong>: <span>c</span>"),
    "a list of texts": (["x"], "<strong>0</strong>: <span>x</span>"),
    "a table": ([{"n": "Ada", "y": 1}, {"n": "Bob"}], "<td>Bob</td><td></td>"),
    "null in a table": ([{"n": None}], "<td>null</td>"),
    "no table: an object inside": ([{"n": {"m": 1}}], "<summary><strong>n</strong>"),
    "no table: not only objects": ([{"n": 1}, 2], "<strong>1</strong>: <code>2</code>"),
    "hostile key": ({FIRE: 1}, html.escape(FIRE)),
    "hostile text": ({"a": FIRE}, html.escape(FIRE)),
    "hostile column": ([{FIRE: FIRE}], f"<th>{html.escape(FIRE)}</th>"),
    "direction marks": ({"a": "x\u202ey"}, "<span>xy</span>"),
    "bytes": ({"a": b"12"}, "<code>2 bytes</code>"),
    "a picture, unfolded": ({"a": b"x" * 99}, "<details open><summary><strong>a</strong>"),
    "a key that is no text": ({1: 2}, "<strong>1</strong>: <code>2</code>"),
    "something else": ({"a": object}, "class"),
}


@pytest.mark.parametrize("case", TREES)
def test_a_value_as_html(case: str) -> None:
    value, expected = TREES[case]
    page = tree(value)
    assert expected in page
    assert "<img" not in page


def test_texts_that_are_html_already_stand_at_their_places() -> None:
    page = tree({"a": {"b": "raw"}, "c": "raw"}, {("a", "b"): "<em>made</em>"})
    assert page.count("<em>made</em>") == 1
    assert page.count("raw") == 1


LARGE: dict[str, tuple[Any, str]] = {
    "entries": ({f"k{number}": "v" for number in range(5000)}, "… and 4000 more"),
    "rows": ([{"a": number} for number in range(5000)], "… and 4900 more rows"),
    "many wide tables": ([[{"a": 1, "b": 2}] * 90] * 50, "more"),
    "characters": ({"a": "x" * 300_000}, "more characters; the run has all of them"),
    "many texts": ({f"k{number}": "x" * 1900 for number in range(900)}, "more characters"),
    "a long key": ({"k" * 100_000: 1}, "…"),
    "numbers": (list(range(100_000)), "… and 99000 more"),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_large_value_is_cut_and_what_is_left_out_is_told(case: str) -> None:
    value, words = LARGE[case]
    page = tree(value)
    assert words in page
    assert len(page) < 400_000
    assert len(value_text(value)) < 210_000


def test_a_deep_value_and_one_that_holds_itself() -> None:
    deep: Any = "end"
    for _ in range(3000):
        deep = {"a": deep}
    itself: list[Any] = [1]
    itself.append(itself)
    for value in (deep, itself):
        assert len(tree(value)) < 400_000
        assert value_text(value)


TEXTS = {
    "a text": ("a\x1b[31mb", "ab"),
    "an object": ({"ä": [1]}, '{\n  "ä": [\n    1\n  ]\n}'),
    "bytes": (b"\x89PNG\r\n\x1a\n", "image/png, 8 bytes"),
    "bytes inside": ({"a": b"123"}, '{\n  "a": "<3 bytes>"\n}'),
    "keys that JSON has not": ({(1, 2): 3}, "{(1, 2): 3}"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_value_as_text(case: str) -> None:
    value, expected = TEXTS[case]
    assert value_text(value) == expected


KINDS = {
    b"\x89PNG\r\n\x1a\n....": ("image/png", "<img "),
    b"\xff\xd8\xff\xe0....": ("image/jpeg", "<img "),
    b"GIF89a....": ("image/gif", "<img "),
    b"RIFF....WEBPVP8 ": ("image/webp", "<img "),
    b"RIFF....WAVEfmt ": ("audio/wav", "<audio controls "),
    b"ID3......": ("audio/mpeg", "<audio controls "),
    b"OggS\0...": ("audio/ogg", "<audio controls "),
    b"....ftypisom": ("video/mp4", "<video controls "),
    b"<svg onload=x>": ("", "<code>"),
    b"<script>x</script>": ("", "<code>"),
}


@pytest.mark.parametrize("data", KINDS)
def test_bytes_are_what_they_are(data: bytes) -> None:
    kind, tag = KINDS[data]
    assert kind_of(data) == kind
    page = media(data)
    assert page.startswith(tag)
    assert ("base64," in page) is bool(kind)


def test_media_say_their_type_and_are_bounded() -> None:
    run = ran(
        "workflow:\n  output: ${output as image/png;base64}\n"
        "  job: {component: {type: echo, action: {value: aGVsbG8=}}}\n"
    )
    assert run.status == "done", run.error
    assert 'src="data:image/png;base64,aGVsbG8="' in bundle(run)["text/html"]
    assert "image/png, 5 bytes" in bundle(run)["text/plain"]
    assert "base64" not in media(b"\x89PNG\r\n\x1a\n" + bytes(LARGEST))
    picture = b"\x89PNG\r\n\x1a\n" + bytes(LARGEST - 8)
    assert tree([{"a": picture}] * 4).count("base64,") == 2


# -- the output of a run

NOTHING = {
    "null": (NULL, "The output is null."),
    "an empty text": (echoing(""), "The output is empty."),
    "text": (echoing("words"), ""),
    "zero": (echoing(0), ""),
    "false": (echoing(False), ""),
}


@pytest.mark.parametrize("case", NOTHING)
def test_an_output_of_nothing_is_said(case: str) -> None:
    yaml, sentence = NOTHING[case]
    data = bundle(ran(yaml))
    assert (data["text/plain"].startswith(sentence)) if sentence else ("The output" not in data["text/plain"])
    assert ("The output" in data["text/html"]) is bool(sentence)


def test_streams_inside_an_object_are_read_as_markdown_and_all_else_as_values() -> None:
    run = ran(PARTS)
    data = bundle(run)
    assert "some <em>words</em> here" in data["text/html"]
    assert "<td>Ada</td><td>1843</td>" in data["text/html"]
    assert json.loads(data["text/plain"].split("\n✓ done")[0]) == run.output


def test_a_text_that_is_no_stream_of_people_stays_as_it_is_in_an_object() -> None:
    assert "*words*" in bundle(ran(echoing({"a": "some *words*"})))["text/html"]


def test_json_lines_are_a_tree_of_their_values() -> None:
    run = ran("workflow:\n  output: ${output as stream/json}\n  job: {component: {type: echo, action: {text: a b}}}\n")
    data = bundle(run)
    assert "<strong>1</strong>: <span> b</span>" in data["text/html"]
    assert data["text/plain"].startswith('"a"\n" b"\n')


LONG_TEXTS = {
    # a text, whether it is folded to its beginning
    "short": ("word " * 700, False),
    "many characters": ("word " * 900, True),
    "many lines of code": ("```\n" + "x\n" * 70 + "```\n", True),
    "few lines of code": ("```\n" + "x\n" * 50 + "```\n", False),
    "many items": ("- a\n" * 70, True),
    "many paragraphs": ("a\n\n" * 70, True),
    "lines of one paragraph": ("a\n" * 70, False),
}


@pytest.mark.parametrize("case", LONG_TEXTS)
def test_a_long_text_is_folded_to_its_beginning_and_nothing_is_lost(case: str) -> None:
    text, is_folded = LONG_TEXTS[case]
    run = ran(json.dumps({"workflow": {"job": {"component": {"type": "echo", "action": {"text": text}}}}}))
    data = bundle(run)
    assert (f"show all {len(text):,} characters" in data["text/html"]) is is_folded
    assert data["text/html"].count(render(text)) == 1
    assert data["text/plain"].startswith(run.text)
    if is_folded:
        assert without_tags(data["text/html"]).startswith("show all")  # CSS puts it behind
        assert bundle(ran(echoing({"a": 1})))["text/html"].count("compose-long") == STYLE.count("compose-long")


def noted(*notes: Notice) -> Run:
    run = ran(echoing("words"))
    run._record._said[1:1] = notes
    return run


def test_few_notes_show_their_sentences_and_many_their_number() -> None:
    page = bundle(noted(Notice("one"), Notice(FIRE)))["text/html"]
    assert "<div>one</div>" in page
    assert html.escape(FIRE) in page
    assert "notes" not in page
    page = bundle(noted(*(Notice(f"note {number}") for number in range(9))))["text/html"]
    assert "<details><summary>9 notes</summary>" in page


# -- streams while they come


def streams_of(yaml: str) -> tuple[Run, Streams]:
    run, streams = ran(yaml), Streams()
    for event in run.events:
        if isinstance(event, Delta):
            streams.add(run, event)
    return run, streams


def test_each_stream_stands_under_its_key_and_with_its_job() -> None:
    run, streams = streams_of(PARTS)
    assert "some <em>words</em> here" in streams.html("a")
    assert "more" not in streams.html("a")
    assert "<b>deep › second</b>" in streams.html("b")
    assert streams.html() == streams.html("a") + streams.html("b")
    assert set(streams.texts()) == {("first",), ("deep", "second")}
    assert bundle(run, texts=streams.texts()) == bundle(run)


def many(count: int, text: str) -> str:
    jobs = [{"id": f"j{n}", "component": {"type": "echo", "action": {"text": text}}} for n in range(count)]
    output = {f"k{n}": f"${{jobs.j{n}.output as stream/text}}" for n in range(count)}
    return json.dumps({"workflow": {"output": output, "jobs": jobs}})


def test_of_many_streams_the_last_words_are_shown() -> None:
    _, streams = streams_of(many(12, "word " * 200 + FIRE))
    page = streams.html()
    assert len(page) < 12 * 600
    assert page.count(f"word {html.escape(FIRE)}") == 12
    assert "<img" not in page
    assert page.count("…word") + page.count("…ord") + page.count("…rd") + page.count("…d") + page.count("… word") == 12
    assert len(streams.texts()[("k3",)]) > 1000


@pytest.mark.parametrize("taken", [0, 1, 100, 500])
@pytest.mark.parametrize(
    "pieces", [["a"] * 160, ["a"] * 161, ["word "] * 200, ["x" * 1000, "y"], ["", "z", ""], ["a" * 159, "", "bc"]]
)
def test_the_last_words_are_those_of_all_the_pieces(pieces: list[str], taken: int) -> None:
    """Whether some of them have been rendered before or not."""
    run, streams = ran(echoing("x")), Streams()
    for number, piece in enumerate(pieces):
        streams.add(run, Delta(piece))
        if number == taken:
            streams.html()
    text = "".join(pieces)
    assert streams._all["", ()].tail() == "…" * (len(text) > 160) + " ".join(text[-160:].split())


def test_pieces_that_are_values_stand_one_a_line_the_last_ones() -> None:
    _, streams = streams_of(
        "workflow:\n  output: ${output as stream/json}\n"
        f"  job: {{component: {{type: echo, action: {{text: '{'w ' * 79}w'}}}}}}\n"
    )
    page = without_tags(streams.html())
    assert page.count(' w"') == 50
    assert "… 30 before" in page
    assert streams.texts() == {}


def grown(text: str, step: int, every: int) -> tuple[list[str], Streams]:
    """A text that comes in pieces, and what is shown of it every so many of them."""
    run, streams, shown = ran(echoing("x")), Streams(), []
    for number, place in enumerate(range(0, len(text), step)):
        streams.add(run, Delta(text[place : place + step]))
        if number % every == every - 1:
            shown.append(streams.html())
    return [*shown, streams.html()], streams


ENDLESS = {
    "paragraphs": "".join(f"Some *words* of part {number}.\n\n" for number in range(3000)),
    "code": "```python\n" + "".join(f"print({number} < 1)\n" for number in range(16000)),
    "code that ends": "```\n" + "x\n" * 60_000 + "```\n" + "Words.\n\n" * 20 + "```js\n" + "y\n" * 60_000,
    "one long line": "word " * 50_000,
    "lazy lines of a quote": "> a\n" + "b\n" * 40_000,
    "items": "- a\n" * 17_000,
}


@pytest.mark.parametrize("case", ENDLESS)
def test_of_a_very_long_text_the_end_is_shown_while_it_grows(case: str) -> None:
    text = ENDLESS[case]
    shown, streams = grown(text, 2_000, 16)
    assert max(map(len, shown)) < 400_000
    assert sum(map(len, shown)) < 25 * 100_000
    assert "… all of it is shown at the end" in shown[-1]
    for page in shown:
        for tag in ("pre", "code", "p", "div", "blockquote", "ul", "em"):
            assert len(re.findall(f"<{tag}[ >]", page)) == page.count(f"</{tag}>"), tag
    assert without_tags(shown[-1]).endswith(" ".join(text[-40:].replace("- ", "").split()[-3:]))
    assert streams.texts()[()] == render(text)


def test_a_text_that_is_not_so_long_is_shown_whole() -> None:
    text = ENDLESS["code that ends"][:30_000] + "```\nand *more*\n"
    shown, _ = grown(text, 50, 3)
    assert shown[-1] == render(text)


# -- waiting before it is tried again


def test_a_wait_counts_down_and_goes() -> None:
    now = 100.0
    waits = Waits(lambda: now)
    waits.hear(Waiting(2.0, "Rate limited", 1, 2, "a"))
    assert waits.lines(with_jobs=False) == ["Rate limited; again in 2 s (1 of 2)"]
    now += 1.2
    assert waits.lines(with_jobs=True) == ["a: Rate limited; again in 1 s (1 of 2)"]
    now += 1
    assert waits.lines(with_jobs=True) == []


def test_a_wait_is_over_with_the_next_event_of_its_job() -> None:
    waits = Waits(lambda: 0.0)
    waits.hear(Waiting(9.0, "Busy", 1, 2, "a"))
    waits.hear(Delta("x", "b"))
    waits.hear(JobStarted("b", 1.0))
    assert len(waits.lines(with_jobs=True)) == 1
    waits.hear(JobFinished("a", 1.0, 0))
    assert waits.lines(with_jobs=True) == []


def test_many_waits_are_counted_and_hostile_words_are_one_line() -> None:
    waits = Waits(lambda: 0.0)
    for number in range(9):
        waits.hear(Waiting(9.0, f"Busy\n{'x' * 900}", 1, 2, f"job{number}"))
    lines = waits.lines(with_jobs=True)
    assert len(lines) == 4
    assert lines[3] == "and 6 more wait"
    assert all("\n" not in line and len(line) <= 200 for line in lines)


# -- questions


@pytest.fixture
def asked() -> Iterator[tuple[Run, Ask]]:
    run = composemagic.load(ASKING).stream()
    until(lambda: len(run.points) == 2 and run.status == "interrupted")
    ask = Ask(run)
    ask.show(run.points)
    yield run, ask
    run.cancel()
    run.wait(SECONDS)


def parts(box: Any, kind: Any) -> list[Any]:
    """What a reader sees of this kind."""
    if box.layout.display == "none":
        return []
    found = [box] if isinstance(box, kind) else []
    return found + [part for child in getattr(box, "children", ()) for part in parts(child, kind)]


def buttons(ask: Ask) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in parts(ask.box, widgets.Button):
        found.setdefault(one.description, []).append(one)
    return found


def test_a_box_for_each_question_in_the_order_of_the_jobs(asked: tuple[Run, Ask]) -> None:
    _, ask = asked
    page = "".join(one.value for one in parts(ask.box, widgets.HTML))
    assert page.index("draft: May it be sent?") < page.index("price is done. Go on with its output?")
    assert "<strong>to</strong>" in page
    assert [area.value for area in parts(ask.box, widgets.Textarea)] == ["Dear Ada", '{\n  "amount": 12\n}']
    assert {label: len(found) for label, found in buttons(ask).items()} == {"Go on": 2, "Go on everywhere (2)": 1}


def test_answers_one_by_one(asked: tuple[Run, Ask]) -> None:
    run, ask = asked
    text, number = parts(ask.box, widgets.Textarea)
    text.value = "Dear Bob"
    buttons(ask)["Go on"][0].click()
    until(lambda: len(run.points) == 1)
    ask.show(run.points)
    assert number in parts(ask.box, widgets.Textarea)
    assert list(buttons(ask)) == ["Go on"]
    number.value = "{"
    buttons(ask)["Go on"][0].click()
    assert any("this is no JSON" in one.value for one in parts(ask.box, widgets.HTML))
    assert run.points
    number.value = '{"amount": 99}'
    buttons(ask)["Go on"][0].click()
    assert run.result(SECONDS) == "Sent: Dear Bob, 99"
    told = bundle(run)
    assert "? draft: May it be sent? → answered: Dear Bob" in told["text/plain"]
    assert '→ answered: {"amount": 99}' in told["text/plain"]
    assert "2 questions to a person" in told["text/html"]


def test_what_someone_types_into_stays_where_it_is(asked: tuple[Run, Ask]) -> None:
    """A page makes anew all that stands behind a change in a list: the field there would lose the keyboard."""
    run, ask = asked
    draft, price = sorted(run.points, key=lambda point: point.job_id)
    before = ask._list.children
    run.answer({draft.id: "Dear Bob"})
    ask.drop([draft.id])
    assert ask._list.children == before
    assert before[0].children == ()  # nothing is kept of what is answered
    assert [area.value for area in parts(ask.box, widgets.Textarea)] == ['{\n  "amount": 12\n}']
    ask.show([point("x", id="later"), price])  # whatever its place among the jobs
    assert ask._list.children[:2] == before
    assert [area.value for area in parts(ask.box, widgets.Textarea)] == ['{\n  "amount": 12\n}', "x"]
    ask.drop(["later"])
    assert ask._list.children == before
    ask.drop([price.id])
    assert ask._list.children == ()


def test_the_picture_has_its_place_before_a_question_stands_below(monkeypatch: pytest.MonkeyPatch) -> None:
    run = composemagic.load(ASKING).stream()
    view = Live("Letter")
    view.show()
    view.follow(run)
    until(lambda: view._ask is not None)
    asks = view._ask
    assert asks is not None
    placed = view._box.children
    until(lambda: view._picture is not None and "<svg" in view._picture.value)
    assert view._box.children == placed
    assert placed[-1] is asks.box
    run.cancel()
    view.closed.result(SECONDS)


def test_all_at_once_and_what_was_not_changed_stays(asked: tuple[Run, Ask]) -> None:
    run, ask = asked
    everywhere = buttons(ask)["Go on everywhere (2)"][0]
    everywhere.click()
    everywhere.click()  # a second click finds nothing open
    assert run.result(SECONDS) == "Sent: Dear Ada, 12"
    assert bundle(run)["text/plain"].count("→ went on as it was") == 2
    ask.show(())
    assert parts(ask.box, widgets.Textarea) == []


def test_of_many_questions_the_first_are_shown_and_all_can_go_on() -> None:
    job = {"id": "many", "component": {"type": "echo", "action": {"value": "x"}}, "repeat_count": 30}
    run = composemagic.load(json.dumps({"workflow": {"jobs": [{**job, "interrupt": {"after": True}}]}})).stream()
    until(lambda: len(run.points) == 30 and run.status == "interrupted")
    ask = Ask(run)
    ask.show(run.points)
    assert {label: len(found) for label, found in buttons(ask).items()} == {"Go on": 8, "Go on everywhere (30)": 1}
    parts(ask.box, widgets.Textarea)[0].value = "changed"
    second = run.points[1].id
    run.answer({second: None})
    ask.drop([second])
    assert [area.value for area in parts(ask.box, widgets.Textarea)] == ["changed", *["x"] * 7]
    buttons(ask)["Go on everywhere (29)"][0].click()
    assert run.result(SECONDS) == ["changed", *["x"] * 29]
    ask.close()


def test_a_question_that_nobody_answered_is_told() -> None:
    run = composemagic.load(ASKING).stream()
    until(lambda: run.status == "interrupted")
    assert bundle(run)["text/plain"].splitlines()[0] == "? waits for an answer"
    assert "2 waiting for an answer" in bundle(run)["text/plain"]
    assert bundle(run)["text/plain"].count("→ not answered yet") == 2
    run.cancel()
    run.wait(SECONDS)
    assert bundle(run)["text/plain"].count("→ not answered\n") == 1  # and the last line


def test_a_question_of_a_stopped_run_is_not_answered_in_what_is_left() -> None:
    run = composemagic.load(ASKING).stream()
    left: list[Any] = []
    view = Live("Letter", place=left.append)
    view.follow(run)
    until(lambda: run.status == "interrupted")
    run.cancel()
    view.closed.result(SECONDS)
    assert left[-1]["text/plain"].count("→ not answered") == 2
    assert "yet" not in left[-1]["text/plain"] + left[-1]["text/html"]


def test_closing_leaves_no_widget_behind() -> None:
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    run = composemagic.load(ASKING).stream()
    view = Live("Letter")
    view.show()
    view.follow(run)
    until(lambda: view._ask is not None and len(buttons(view._ask)) == 2)
    run.answer()
    view.closed.result(SECONDS)
    assert run.text == "Sent: Dear Ada, 12"
    assert set(_instances) <= before  # where other tests have left some, those may have gone meanwhile


def point(value: Any, **more: Any) -> Point:
    return Point(
        more.pop("id", "p"),
        "job",
        "r",
        more.pop("phase", "after"),
        more.pop("message", None),
        more.pop("metadata", None),
        value,
    )


ANSWERS: dict[str, tuple[Any, str | None, str | None, Any]] = {
    # value, what the editor holds, what is typed instead (None: nothing), the answer
    "a text": ("x", "x", None, None),
    "a changed text": ("x", "x", "1", "1"),
    "a number": (1, "1", "2", 2),
    "null": (None, "", None, None),
    "a text for null": (None, "", "yes", "yes"),
    "JSON for null": (None, "", "[1]", [1]),
    "an emptied text": ("x", "x", "", ""),
    "false": (True, "true", "false", False),
    "bytes": (b"x", None, None, None),
    "bytes inside": ({"a": b"x"}, None, None, None),
    "too long": ("x" * 100_001, None, None, None),
    "direction marks": ("a\u202eb", "ab", None, None),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_what_an_editor_holds_and_what_it_answers(case: str) -> None:
    value, held, written, answer = ANSWERS[case]
    ask = Ask(ran(echoing("x")))
    ask.show([point(value)])
    areas = parts(ask.box, widgets.Textarea)
    assert [area.value for area in areas] == ([] if held is None else [held])
    if written is not None:
        areas[0].value = written
    assert ask._forms["p"].read() == {"p": answer}
    ask.close()


def test_a_secret_is_neither_shown_nor_edited() -> None:
    secret = "sk-test-0123456789abcdef"
    yaml = echoing({"key": "${env.OPENAI_API_KEY}"}, interrupt={"after": {"metadata": ["${env.OPENAI_API_KEY}"]}})
    undo = composemagic.allow("OPENAI_API_KEY", "echo")
    run = composemagic.load(yaml, env={"OPENAI_API_KEY": secret}).stream()
    until(lambda: run.status == "interrupted")
    ask = Ask(run)
    ask.show(run.points)
    assert parts(ask.box, widgets.Textarea) == []
    assert secret not in "".join(one.value for one in parts(ask.box, widgets.HTML))
    assert secret not in "".join(bundle(run).values())
    run.answer({run.points[0].id: secret})
    run.wait(SECONDS)
    assert secret not in "".join(bundle(run).values())
    assert secret not in repr(run.events) + repr(run.jobs["job-1"].output) + repr(run.output) + repr(run.points)
    undo()
    ask.close()


def test_hostile_questions_are_shown_as_they_are() -> None:
    ask = Ask(ran(echoing("x")))
    ask.show([point({FIRE: FIRE}, message=FIRE, metadata={FIRE: [FIRE]}), point(b"x", message=FIRE, id="q")])
    pages = "".join(one.value for one in parts(ask.box, widgets.HTML))
    assert pages.count(html.escape(FIRE)) >= 3
    assert "<img" not in pages
    ask.close()


@pytest.mark.parametrize(
    ("line", "meant"), [("", None), ("  ", None), ("yes", "yes"), ("1", 1), ('{"a": 1}', {"a": 1})]
)
def test_a_typed_line(line: str, meant: Any) -> None:
    assert meaning(line) == meant


# -- plain text


def told(yaml: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    view, run = Plain(), composemagic.load(yaml).stream()
    view.follow(run)
    view.finish(run)
    said = capsys.readouterr()
    return said.out, said.err


def test_plain_has_the_answer_on_stdout_and_the_jobs_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = told(PARTS, capsys)
    assert json.loads(out)["deep"] == {"second": "more words"}
    assert re.search(r"^✓ a: done · 0\.\d\d s$", err, re.MULTILINE)


def test_plain_says_that_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = told(NULL, capsys)
    assert (out, "The output is null." in err) == ("", True)


def test_plain_asks_and_answers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    typed_lines = {"draft": "Dear Bob", "price": ""}
    asked: list[str] = []

    def typing(prompt: str) -> str:
        err = capsys.readouterr().err
        asked.append(err)
        return next(line for job, line in typed_lines.items() if f"? {job}" in err)

    monkeypatch.setattr("builtins.input", typing)
    out, _ = told(ASKING, capsys)
    assert out == "Sent: Dear Bob, 12\n"
    [draft] = [words for words in asked if "? draft" in words]
    assert 'May it be sent?\n  {"to": ["ada", "bob"]}\n  Dear Ada\n  Enter goes on;' in draft


def test_plain_stops_where_the_input_ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    assert "■ stopped" in told(ASKING, capsys)[1]


def test_plain_is_attended_where_stdin_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (True, False):
        monkeypatch.setattr("sys.stdin", type("In", (), {"isatty": lambda _, it=is_terminal: it})())
        assert Plain().attended is is_terminal
    monkeypatch.setattr("sys.stdin", None)
    assert Plain().attended is False


def test_clipped() -> None:
    assert clipped("a \n b") == "a b"
    assert clipped("x" * 200) == "x" * 89 + "…"
    assert clipped(" " * 5000 + "x", 10) == "…"
