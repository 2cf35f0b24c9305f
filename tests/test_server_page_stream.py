"""What the web page is sent, without a browser: the rendered stream, the forms, the files."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import composemagic
from composemagic.api import load_all
from composemagic.engine.loop import private_loop
from composemagic.notebook.markdown import Growing, render
from composemagic.server.page_forms import form_of, page_words
from composemagic.server.page_stream import Shown, unstyled
from composemagic.server.serving import Serving, Wanted
from composemagic.words import language, say, speak, speaking
from tests.conftest import EchoServer
from tests.test_view import ASKING, FAILING

SECONDS = 60
CANARY = "sk-canary-0123456789-abcdefghij"
ROOT = Path(composemagic.__file__).parent

LONG = "\n\n".join(f"Paragraph {number} says **{number}**.\n\n- one\n- two" for number in range(400))
CODE = "Look:\n\n```python\nprint('a')\n\nprint('b')\n```\n\n| a | b |\n|--:|:-:|\n| 1 | 2 |\n\nThe end."
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def echo(text: str, **more: Any) -> str:
    return json.dumps({"workflow": {"job": {"component": {"type": "echo", "action": {"text": text, **more}}}}})


def shown(document: str, value: Any = None, *, answers: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """Every message about a run, as (event, data). Its questions are answered by their jobs, as it is where nothing is given."""

    async def collect() -> list[tuple[str, Any]]:
        run = composemagic.load(document).start({} if value is None else value)
        found = []
        async for raw in Shown(run, {"task": "t", "workflow": "w", "title": "T"}).messages():
            found.append(parsed(raw))
            if found[-1][0] == "ask" and run.points:
                run.answer({point.id: (answers or {}).get(point.job_id) for point in run.points})
        return found

    return private_loop().submit(collect()).result(SECONDS)


def parsed(raw: bytes) -> tuple[str, Any]:
    """One message as HTML 9.2 has it: two lines and an empty one."""
    event, data, *rest = raw.decode().split("\n")
    assert rest == ["", ""]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def as_the_page_shows(messages: list[tuple[str, Any]]) -> str:
    """What the page makes of the messages of one stream, as answer.js does."""
    frozen = opened = rest = ""
    for event, data in messages:
        for one in data["streams"] if event == "text" else []:
            if one["html"]:
                frozen, opened = frozen + opened + one["html"], ""
            opened += one["opened"]
            rest = opened + one["tail"]
            assert is_balanced(frozen)
            assert is_balanced(rest)
    return frozen + rest


def is_balanced(html: str) -> bool:
    """Whether every element that is opened is closed; a page would close what is not, and then show something else."""
    open_tags: list[str] = []
    for end, name in re.findall(r"<(/?)([a-z0-9]+)[^>]*>", html):
        if name in ("br", "hr", "img"):
            continue
        if not end:
            open_tags.append(name)
        elif not open_tags or open_tags.pop() != name:
            return False
    return not open_tags


def of(messages: list[tuple[str, Any]], event: str) -> list[Any]:
    return [data for kind, data in messages if kind == event]


def whole(text: str) -> str:
    """The same text rendered at once, without the notebook's frame."""
    return unstyled(render(text).split("\n", 1)[1].removesuffix("</div>\n"))


# -- text


@pytest.mark.parametrize("text", [LONG, CODE, "plain", "```\nnever closed\nnor ended", "a\n\n" * 50])
def test_a_stream_is_shown_as_a_whole_text_is(text: str) -> None:
    messages = shown(echo(text))
    assert [event for event, _ in messages][:: len(messages) - 1] == ["begin", "end"]
    assert as_the_page_shows(messages) == whole(text)
    [end] = of(messages, "end")
    assert (end["status"], end["output"], end["text"]) == ("done", None, text)


def test_what_is_finished_is_sent_once() -> None:
    messages = shown(echo(LONG[:5000], delay=0.001))
    texts = [one for data in of(messages, "text") for one in data["streams"]]
    assert len(texts) > 3  # it grew
    assert len({one["id"] for one in texts}) == 1
    sent = sum(len(one["html"]) + len(one["opened"]) for one in texts)
    all_of_it = len(whole(LONG[:5000]))
    assert sent <= all_of_it
    # the tail is what may still change; how much that is depends on how much comes at once
    assert sum(len(one["tail"]) for one in texts) < all_of_it * len(texts) / 3


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_steps_make_what_html_makes(size: int) -> None:
    growing, opened, frozen = Growing(), "", ""
    for start in range(0, len(CODE), size):
        growing.add(CODE[start : start + size])
        step = growing.step()
        if step.frozen:
            frozen, opened = frozen + opened + step.frozen, ""
        opened += step.opened
        assert is_balanced(frozen)
        assert is_balanced(opened + step.tail)
    assert unstyled(frozen + opened + step.tail) == whole(CODE)
    assert growing.html() == render(CODE)  # both ways from one text


def test_the_page_needs_no_style() -> None:
    found = unstyled(render(CODE))
    assert '<th class="right">a</th>' in found
    assert '<td class="center">2</td>' in found
    quoted = render('x style="text-align:right" y')
    assert unstyled(quoted) == quoted
    for html in (
        found,
        *(
            data["output"]
            for data in of(
                shown(
                    f"component: {{type: echo, action: {{value: {PIXEL}}}}}\nworkflow: {{output: '${{output as image;base64}}'}}"
                ),
                "end",
            )
        ),
    ):
        assert "style=" not in html


def test_an_image_is_shown() -> None:
    document = (
        f"component: {{type: echo, action: {{value: {PIXEL}}}}}\nworkflow: {{output: '${{output as image;base64}}'}}"
    )
    [end] = of(shown(document), "end")
    assert end["output"].startswith('<img alt="')
    assert PIXEL in end["output"]


def test_many_streams_show_their_last_words() -> None:
    jobs = [
        {"id": f"j{at}", "component": {"type": "echo", "action": {"text": "one two three", "delay": 0.01}}}
        for at in range(10)
    ]
    output = {f"k{at}": f"${{jobs.j{at}.output as stream/text}}" for at in range(10)}
    messages = shown(json.dumps({"workflow": {"jobs": jobs, "output": output}}))
    last = of(messages, "text")[-1]["streams"]
    assert {one["whole"] for one in last} == {False}
    [end] = of(messages, "end")
    assert end["output"].count("one two three") == 10
    assert len(end["jobs"]) == 10
    assert end["overview"] == "10 jobs: 10 done"


# -- the rest of a run


def test_a_value_is_a_tree() -> None:
    [end] = of(shown('component: {type: echo, action: {value: {rows: [{a: 1}, {a: 2}], "<b>": "<i>"}}}'), "end")
    assert "<td>2</td>" in end["output"]
    assert "&lt;b&gt;" in end["output"]
    assert json.loads(end["text"]) == {"rows": [{"a": 1}, {"a": 2}], "<b>": "<i>"}


def test_a_secret_that_got_into_the_words_is_masked(echo_server: EchoServer) -> None:
    """The echo server repeats the header that it was sent; so does this page's title, which stands for any word of it."""
    action = {"path": "/echo", "headers": {"Authorization": "Bearer ${env.SHOP_API_KEY}"}}
    component = {"type": "http-client", "base_url": echo_server.url, "action": action}

    async def collect() -> list[bytes]:
        run = composemagic.load(json.dumps({"component": component}), env={"SHOP_API_KEY": CANARY}).start({})
        await run.finished()
        return [raw async for raw in Shown(run, {"title": CANARY}).messages()]

    told = b"".join(private_loop().submit(collect()).result(SECONDS)).decode()
    assert CANARY not in told
    assert '"title": "***"' in told


def test_null_is_said() -> None:
    [end] = of(shown("workflow: {output: '${output.x}'}\ncomponent: {type: echo, action: {value: {x: null}}}"), "end")
    assert (end["output"], end["nothing"]) == (None, "The output is null.")


def test_a_failed_run_says_why() -> None:
    messages = shown(FAILING)
    [end] = of(messages, "end")
    assert (end["status"], end["kind"]) == ("failed", "connect")
    assert end["error"].startswith("Nothing listens at 127.0.0.1:1")
    assert " | " not in end["error"]  # no line of the document
    assert [(one["id"], one["status"]) for one in end["jobs"]] == [
        ("good", "done"),
        ("bad", "failed"),
        ("late", "skipped"),
    ]
    assert of(messages, "head")[-1]["jobs"][0]["line"].startswith("✓ good: done")


def test_questions_are_asked_and_told() -> None:
    messages = shown(ASKING, answers={"draft": "Dear Bob"})
    first = of(messages, "ask")[0]["points"]
    assert [one["question"] for one in first] in (
        ["draft: May it be sent?"],
        ["draft: May it be sent?", "price is done. Go on with its output?"],
        ["price is done. Go on with its output?"],
    )
    asked = [one for data in of(messages, "ask") for one in data["points"]]
    [draft] = {one["id"]: one for one in asked if one["question"].startswith("draft")}.values()
    assert (draft["text"], draft["hint"]) == ("Dear Ada", "Its output, which you may change:")
    assert "<strong>to</strong>" in draft["facts"]
    [end] = of(messages, "end")
    assert "→ answered: Dear Bob" in end["asked"]
    assert "style=" not in end["asked"]


def test_notes_are_told_once() -> None:
    messages = shown("controller: {type: http-server}\ncomponent: {type: echo, action: {text: x}}")
    sentences = [data["sentence"] for data in of(messages, "note")]
    assert sentences
    assert len(set(sentences)) == len(sentences)


def test_a_page_that_leaves_leaves_the_run_alone() -> None:
    async def leave() -> Any:
        run = composemagic.load(echo("one two three four", delay=0.02)).start({})
        messages = Shown(run, {}).messages()
        await anext(messages)
        await messages.aclose()
        return run

    run = private_loop().submit(leave()).result(SECONDS)
    assert run.wait(SECONDS)
    assert (run.status, run.text) == ("done", "one two three four")


def test_half_a_character_can_be_sent() -> None:
    assert as_the_page_shows(shown(echo("${input.x}"), {"x": "a \ud83d b"})) == "<p>a � b</p>\n"


# -- forms

FORMS = """
workflow:
  job:
    component: {type: echo}
    input:
    - ${input.api_key as string | sk-none} ${input.user.name} ${input.level as slider/0,10}
    - ${input.pick as select/a,b | b} ${input.on as boolean | true} ${input.n as integer | 3} ${input.x as number | 0.1}
    - ${input.list as list | [1]}
    - ${input.page as image;url}
    - ${input.photo as image/png}
    - ${input.scan as file;base64}
    - ${input.many as file[]}
    - ${input.tags as string[] | ["a"]}
    - ${input.note as text | hello @(title A note) @(description Any words)}
"""


def fields() -> dict[str, dict[str, Any]]:
    [workflow] = load_all(FORMS)
    return {one["name"]: one for one in form_of(workflow, "w")["fields"]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("api_key", {"secret": True, "initial": "", "kind": "line"}),
        ("user.name", {"path": ["user", "name"], "required": True, "kind": "line", "initial": ""}),
        ("level", {"kind": "slider", "bounds": [0, 10, 0.1], "initial": ""}),
        ("pick", {"kind": "select", "options": ["a", "b"], "initial": "b", "required": False}),
        ("on", {"kind": "boolean", "initial": True}),
        ("n", {"kind": "integer", "initial": "3"}),
        ("x", {"kind": "number", "initial": "0.1"}),
        ("list", {"kind": "json", "initial": "[\n  1\n]"}),
        ("page", {"kind": "line"}),
        ("photo", {"kind": "files", "accept": "image/png", "many": False, "encoding": ""}),
        ("scan", {"kind": "files", "accept": "", "encoding": "base64"}),
        ("many", {"kind": "files", "many": True}),
        ("tags", {"kind": "json", "type": "string[]"}),
        ("note", {"kind": "text", "label": "A note", "description": "Any words", "initial": "hello"}),
    ],
)
def test_what_a_field_is(name: str, expected: dict[str, Any]) -> None:
    found = fields()[name]
    assert {key: found[key] for key in expected} == expected


def test_the_whole_input_is_one_field() -> None:
    [workflow] = load_all("component: {type: echo, action: {value: '${input}'}}")
    [field] = form_of(workflow, "w")["fields"]
    assert (field["path"], field["label"]) == ([], "the input")


# -- words


def test_speaking_is_for_one_task_and_what_begins_in_it() -> None:
    async def say_it(name: str | None) -> list[str]:
        with speaking(name):
            await asyncio.sleep(0)
            inner = asyncio.create_task(asyncio.to_thread(say, "Run"))
        return [await inner, say("Run")]

    async def all_of() -> Any:
        return await asyncio.gather(say_it("zh"), say_it("en"), say_it(None))

    speak("en")
    try:
        assert asyncio.run(all_of()) == [["运行", "Run"], ["Run", "Run"], ["Run", "Run"]]
    finally:
        speak(None)
    with pytest.raises(ValueError, match="language is one of en, zh"), speaking("de"):
        pass
    with speaking("zh"), speaking(None):
        assert language() == "zh"


def test_every_word_the_page_says_is_there() -> None:
    scripts = "".join(path.read_text("utf-8") for path in (ROOT / "server" / "page").glob("*.js"))
    said = set(re.findall(r"\bsay\(\s*\"(\w+)\"", scripts))
    known = page_words()
    assert said <= set(known)
    assert {name for name in known if f'"{name}"' not in scripts} == set()
    with speaking("zh"):
        assert {name for name in known if page_words()[name] == known[name]} == set()


# -- over HTTP


SERVED = """
workflows:
- id: chat
  title: Chat
  job: {component: {type: echo, action: {text: "${input.x as string}", delay: "${input.delay as number | 0}"}}}
- id: ask
  default: true
  jobs:
  - id: draft
    component: {type: echo, action: {text: Dear Ada}}
    interrupt: {after: {message: "May it be sent?"}}
  - id: price
    component: {type: echo, action: {value: {amount: 12}}}
    interrupt: {after: true}
  - id: send
    depends_on: [draft, price]
    input: ${jobs.draft.output}, ${jobs.price.output.amount}
    component: {type: echo, action: {text: "Sent: ${input}"}}
- {id: hidden, private: true, job: {component: {type: echo, action: {text: x}}}}
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    with Serving(load_all(SERVED), Wanted(port=0, page_port=0, at_once=1)) as serving:
        yield serving


@pytest.fixture(scope="module")
def client(served: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=str(served.page_url), timeout=SECONDS) as found:
        yield found


def test_the_page_is_strict_and_kept_by_its_etag(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert not re.search(
        r"<script(?! type=\"module\" src=\"page/page.js\")|<style| style=| on\w+=|https?://", answer.text
    )
    assert '<meta name="compose-base" content="/api">' in answer.text
    again = client.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", sorted((ROOT / "server" / "page").iterdir()), ids=lambda path: path.name)
def test_the_files_are_served_and_fetch_nothing_from_elsewhere(path: Path, client: httpx.Client) -> None:
    answer = client.get(f"/page/{path.name}")
    assert answer.status_code == (404 if path.name == "index.html" else 200)
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(|eval\(|new Function|document\.write|outerHTML", text)
    if path.name != "dom.js":
        assert not re.search(r"innerHTML|insertAdjacentHTML|createContextualFragment", text)


@pytest.mark.parametrize(
    "name", ["../page.py", "..%2fpage.py", "nothing.js", "index.html", "%2e%2e/page.py", "page.py"]
)
def test_no_other_file_is_served(name: str, client: httpx.Client) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_the_forms_come_in_the_language_asked_for(client: httpx.Client) -> None:
    english, chinese = (client.get("/api/page", params={"language": name}).json() for name in ("en", "zh"))
    assert [one["id"] for one in english["workflows"]] == ["chat", "ask"]  # the private one is not shown
    assert english["default"] == "ask"
    assert (english["language"], english["words"]["run"]) == ("en", "Run")
    assert (chinese["language"], chinese["words"]["run"]) == ("zh", "运行")
    assert client.get("/api/page", params={"language": "xx"}).json()["language"] == language()


def start(client: httpx.Client, workflow: str, **given: Any) -> str:
    body = {"workflow_id": workflow, "wait_for_completion": False, "input": given}
    return str(client.post("/api/workflows/runs", json=body).json()["task_id"])


def test_a_task_that_waits_for_its_turn_says_so_and_can_be_stopped(client: httpx.Client) -> None:
    first, second = start(client, "chat", x="a " * 400, delay=5), start(client, "chat", x="b")
    with client.stream("GET", f"/api/tasks/{second}/page", params={"language": "zh"}) as stream:
        lines = stream.iter_lines()
        assert [next(lines) for _ in range(4)][3] == "event: head"
        assert json.loads(next(lines).removeprefix("data: "))["words"] == "正在排队"
        client.post(f"/api/tasks/{second}/cancel", json={})
        [end] = [line for line in lines if '"status"' in line]
    assert json.loads(end.removeprefix("data: "))["status"] == "stopped"
    client.post(f"/api/tasks/{first}/cancel", json={})
    with client.stream("GET", f"/api/tasks/{first}/page") as stream:  # what has ended is shown as it was
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "\nevent: end\n" in "".join(stream.iter_text())


def test_answers_are_read_and_refused(client: httpx.Client) -> None:
    task = start(client, "ask")
    points: dict[str, Any] = {}
    with client.stream("GET", f"/api/tasks/{task}/page") as stream:
        lines = stream.iter_lines()
        while len(points) < 2:
            if next(lines) == "event: ask":
                points = {
                    one["question"][:5]: one["id"] for one in json.loads(next(lines).removeprefix("data: "))["points"]
                }
        address = f"/api/tasks/{task}/page/answer"
        refused = client.post(address, json={"answers": {points["price"]: "{", points["draft"]: None}})
        assert refused.status_code == 422
        assert list(refused.json()["problems"]) == [points["price"]]
        assert client.post(address, json={"answers": {"nobody": "x"}}).status_code == 409
        assert client.post(address, json={"answers": "x"}).status_code == 400
        assert client.post(address, json=[1]).status_code == 400
        deep = client.post(address, json={"answers": {points["price"]: "[" * 100_000}})
        assert (deep.status_code, deep.json()["detail"]) == (422, "it is nested too deep")
        told = {points["price"]: '{"amount": 5}', points["draft"]: "Dear Bob"}
        assert client.post(address, json={"answers": told}).status_code == 200
        rest = "".join(f"{line}\n" for line in lines)
    assert "Sent: Dear Bob, 5" in rest
    assert client.post(address, json={"answers": told}).status_code == 409


@pytest.mark.parametrize("method, path", [("GET", "/api/tasks/none/page"), ("POST", "/api/tasks/none/page/answer")])
def test_a_task_that_nobody_knows(method: str, path: str, client: httpx.Client) -> None:
    answer = client.request(method, path, json={"answers": {}} if method == "POST" else None)
    assert answer.status_code == 404
    assert answer.json()["kind"] == "not_found"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("# Hi\n<script>x</script>", "<h1>Hi</h1>"),
        ({"<b>": 1}, "&lt;b&gt;"),
        (None, "null"),
        ("x" * 100_000, "x" * 30_000),
    ],
)
def test_an_earlier_answer_is_rendered_again(value: Any, expected: str, client: httpx.Client) -> None:
    html = client.post("/api/page/rendered", json={"value": value}).json()["html"]
    assert expected in html
    assert "<script" not in html
    assert len(html) < 61_000


def test_the_files_are_in_the_wheel() -> None:
    builders = pytest.importorskip("hatchling.builders.wheel")
    packed = {one.distribution_path for one in builders.WheelBuilder(str(ROOT.parent)).recurse_included_files()}
    wanted = {f"composemagic/server/page/{path.name}" for path in (ROOT / "server" / "page").iterdir()}
    assert len(wanted) > 7
    assert wanted <= packed


def test_a_page_that_waits_hears_little_and_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that waits for a person says so once; then there is a comment now and then."""
    monkeypatch.setattr("composemagic.server.page_stream._HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("composemagic.server.page_stream._HEAD_SECONDS", 0.01)

    async def listen() -> list[bytes]:
        run = composemagic.load(
            "component: {type: echo, action: {text: x}}\nworkflow: {job: {interrupt: {before: true}}}"
        )
        found = []
        async for raw in Shown(going := run.start({}), {}).messages():
            found.append(raw)
            if found.count(b":\n\n") == 3 and going.points:
                going.answer()
        return found

    messages = private_loop().submit(listen()).result(SECONDS)
    heads = [parsed(raw)[1]["words"] for raw in messages if raw.startswith(b"event: head")]
    assert heads.count("waits for your answer") == 1
