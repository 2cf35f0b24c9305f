"""The web page in Chromium: what somebody sees, clicks and types."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

import composemagic
from composemagic.api import load_all
from composemagic.engine.loop import private_loop
from composemagic.server.limits import Limits
from composemagic.server.serving import Serving, Wanted
from tests.conftest import EchoServer
from tests.lab import Lab
from tests.servers.faults import FaultServer
from tests.test_markdown import SHOWN
from tests.test_notebook_lab import BAD, FIRE, LINKS

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
POEM = (
    "## A poem\n\n**First** come the words,\n\n```python\nprint('then the code')\n\nprint('and more of it')\n```\n\n"
    "| a | b |\n|--:|:-:|\n| 1 | 2 |\n\nand *then* the end."
)
DOCUMENT: dict[str, Any] = {
    "workflows": [
        {
            "id": "chat",
            "title": "Explain something",
            "default": True,
            "job": {
                "component": {
                    "type": "echo",
                    "action": {
                        "delay": "${input.pace as slider/0,1,0.01 | 0}",
                        "text": "${input.prompt as text @(title Prompt) @(description What to explain)}",
                    },
                }
            },
        },
        {
            "id": "all",
            "title": "Every kind of input",
            "job": {
                "component": {"type": "echo"},
                "input": {
                    "line": "${input.line as string @(title A line)}",
                    "area": "${input.area as text | some words}",
                    "mark": "${input.mark as markdown | x}",
                    "whole": "${input.whole as integer | 3}",
                    "part": "${input.part as number | 0.5}",
                    "slide": "${input.slide as slider/0,2,0.5 | 1}",
                    "yes": "${input.yes as boolean | true}",
                    "pick": "${input.pick as select/a,b,c | b}",
                    "must": "${input.must as select/x,y}",
                    "numbers": "${input.numbers as list | [1]}",
                    "names": "${input.names as string[]}",
                    "thing": "${input.thing as object | {}}",
                    "data": "${input.data as json | null}",
                    "name": "${input.user.name as string | Ada}",
                    "api_key": "${input.api_key as string | sk-none}",
                    "image": "${input.image as image | null}",
                    "sound": "${input.sound as audio;base64 | null}",
                    "film": "${input.film as video;data-uri | null}",
                    "docs": "${input.docs as file[] | []}",
                    "photos": "${input.photos as image[] | []}",
                    "photo": "${input.photo as image;url | null}",
                },
            },
        },
        {
            "id": "report",
            "title": "A report",
            "output": {
                "facts": "${jobs.facts.output as stream/text}",
                "rows": [{"name": "Ada", "year": 1843}],
                "summary": "${jobs.summary.output as stream/text}",
            },
            "jobs": [
                {"id": "facts", "component": {"type": "echo", "action": {"text": "Ada *wrote* it", "delay": 0.05}}},
                {
                    "id": "call",
                    "component": {"type": "http-client", "base_url": "http://127.0.0.1:1", "action": {"path": "/"}},
                    "retry": {"max_attempt_count": 2, "delay": "4s"},
                    "on_error": "ignore",
                },
                {
                    "id": "summary",
                    "depends_on": ["facts", "call"],
                    "input": "x",
                    "component": {"type": "echo", "action": {"text": "all in all", "delay": 0.05}},
                },
            ],
        },
        {
            "id": "letter",
            "title": "A letter",
            "jobs": [
                {
                    "id": "draft",
                    "component": {"type": "echo", "action": {"text": "Dear Ada"}},
                    "interrupt": {"after": {"message": "May it be sent?", "metadata": {"to": ["ada", "bob"]}}},
                },
                {
                    "id": "price",
                    "component": {"type": "echo", "action": {"value": {"amount": 12}}},
                    "interrupt": {"after": True},
                },
                {
                    "id": "send",
                    "depends_on": ["draft", "price"],
                    "input": "${jobs.draft.output}, ${jobs.price.output.amount}",
                    "component": {"type": "echo", "action": {"text": "Sent: ${input}"}},
                },
            ],
        },
        {
            "id": "cut",
            "title": "It breaks in the middle",
            "component": {
                "type": "http-client",
                "base_url": "{{FAULTS}}",
                "action": {
                    "path": "/v1/chat/completions",
                    "method": "POST",
                    "body": {"stream": True},
                    "stream_format": "json",
                    "output": "${response[].choices[0].delta.content}",
                },
            },
        },
        {
            "id": "held",
            "title": "It is held",
            "component": {"type": "held-of-a-test", "prompt": "${input.prompt as text @(title Prompt)}"},
        },
    ]
}
IMAGE = f"<img src=x onerror={FIRE}>"


def echo(job: str, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": job, "component": {"type": "echo", "action": action}, **more}


def hostile(echo_url: str) -> dict[str, Any]:
    """Hostile words in every place of a document that a page shows."""
    markdown = "\n\n".join(source for source, _ in SHOWN.values())
    inputs = f"${{input.a as text | '{IMAGE}' @(title {IMAGE}) @(description <script>{FIRE}</script>)}}"
    inputs += f" ${{input.b as select/<img>,x | <img> @(label {IMAGE})}} ${{input.c as json}}"
    events = [{"model": BAD, "choices": [{"delta": {"content": f"so far {BAD}"}}]}, {"error": {"message": BAD}}]
    action = {"path": "/sse", "method": "POST", "body": {"events": events}, "stream_format": "json"}
    action["output"] = "${response[].choices[0].delta.content}"
    values = {
        BAD: {LINKS: [BAD, LINKS]},
        "rows": [{BAD: LINKS}, {BAD: None}],
        "text": f"{BAD}\n{LINKS}",
        "long": BAD * 30,
    }
    question = {"message": f"{BAD} {LINKS}", "metadata": {BAD: [LINKS, {LINKS: BAD}], "rows": [{BAD: BAD}]}}
    words = {"title": BAD, "description": f"{BAD} {LINKS}"}
    return {
        "workflows": [
            {"id": "form", "title": BAD, "job": echo("a", {"text": inputs})},
            {**words, "id": "text", "job": echo(BAD, {"text": f"{BAD}\n\n{LINKS}\n\n{markdown}", "delay": 0.001})},
            {**words, "id": "tree", "jobs": [echo(BAD, {"value": values}), echo(LINKS, {"value": {"more": 1}})]},
            {**words, "id": "ask", "job": echo(BAD, {"value": {BAD: LINKS}}, interrupt={"after": question})},
            {**words, "id": "error", "component": {"type": "http-client", "base_url": echo_url, "action": action}},
        ]
    }


WATCH = """
window.__bad = [];
document.addEventListener('securitypolicyviolation', (event) => window.__bad.push(`${event.violatedDirective}: ${event.sourceFile} ${event.sample}`));
"""
QUIET = """() => {
    const bad = [...document.querySelectorAll('body *')].filter((node) =>
        ['SCRIPT', 'STYLE', 'IFRAME', 'OBJECT', 'EMBED', 'LINK', 'META', 'BASE'].includes(node.tagName)
        || [...node.attributes].some((one) => /^on|^style$/i.test(one.name) || /^\\s*javascript:/i.test(one.value))
        || (node.tagName === 'IMG' && !/page\\/icon.svg$|^data:image\\/(png|gif);base64,|^blob:/.test(node.src)));
    return [window.__fired ?? 0, window.__bad, bad.map((node) => node.outerHTML.slice(0, 200))];
}"""


class Shown:
    """The page in a browser context of its own: nothing is kept from one test to the next."""

    def __init__(self, lab: Lab, url: str, **how: Any) -> None:
        assert lab._browser is not None
        self.context: BrowserContext = lab._browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **how}
        )
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = url
        self.page.goto(url)
        expect(self.page.locator("body.ready")).to_be_visible()

    def go(self, workflow: str) -> None:
        self.page.goto(f"{self.url}#{workflow}")
        expect(self.page.locator("#picker [aria-current]")).to_have_attribute("data-id", workflow)

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def run(self, status: str = "done") -> None:
        self.page.locator("#run").click()
        self.wait(status)

    def wait(self, status: str = "done") -> None:
        expect(self.page.locator(f"#answer.{status}")).to_be_visible(timeout=60_000)

    def wait_text(self, text: str | re.Pattern[str], place: str = "#answer") -> None:
        expect(self.page.locator(place)).to_contain_text(text, timeout=60_000)

    @property
    def answer(self) -> str:
        return self.page.locator("#answer").inner_text()

    @property
    def output(self) -> str:
        return self.page.locator("#answer .output").inner_text()

    def quiet(self) -> None:
        """Nothing fired, nothing was even tried, no script of ours failed."""
        assert self.page.evaluate(QUIET) == [0, [], []]
        assert self.errors == []
        mine = self.url.split("/?")[0].rstrip("/")
        assert [one for one in self.asked if not one.startswith((mine, "blob:", "data:"))] == []


class Held:
    """A component that streams a text, and its last word when the test lets it go."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

        @composemagic.component("held-of-a-test")
        async def held(prompt: str) -> AsyncIterator[str]:
            *words, last = prompt.split(" ")
            for word in words:
                await asyncio.sleep(0.001)
                yield f"{word} "
            await self._open.wait()
            yield last

        self.undo: Callable[[], None] = held.undo  # type: ignore[attr-defined]

    def let_go(self) -> None:
        private_loop().loop.call_soon_threadsafe(self._open.set)


@pytest.fixture(scope="module")
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.undo()


@pytest.fixture(scope="module")
def served(held: Held) -> Iterator[Serving]:
    with FaultServer() as faults:
        text = json.dumps(DOCUMENT).replace("{{FAULTS}}", faults.url("chunk-cut", after=3))
        with Serving(load_all(text), Wanted(port=0, page_port=0, limits=Limits(body=2**18))) as serving:
            yield serving
            serving.stop(0)


Open = Callable[..., Shown]


@pytest.fixture
def open_page(served: Serving, lab: Lab) -> Iterator[Open]:
    opened: list[Shown] = []

    def make(url: str = str(served.page_url), **how: Any) -> Shown:
        opened.append(Shown(lab, url, **how))
        return opened[-1]

    yield make
    for one in opened:
        one.context.close()


def text_of(shown: Shown, key: str) -> str:
    """The value that stands behind a key in the output's tree."""
    [found] = [line for line in shown.output.splitlines() if line.startswith(f"{key}:")]
    return found.partition(": ")[2]


def test_every_input_reaches_the_workflow(open_page: Open) -> None:
    shown = open_page()
    shown.go("all")
    page = shown.page
    shown.page.locator("#run").click()  # what is missing stands beside its field, and nothing is sent
    expect(page.locator(".problem:visible")).to_have_text(
        ["this is missing"] * 3 + ["Something is not right yet; look at the marked fields."]
    )
    expect(shown.field("A line *")).to_be_focused()
    shown.field("A line *").fill("a line with 中文")
    shown.field("area").fill("two\nlines")
    shown.field("mark").fill("*x*")
    shown.field("whole").fill("3.5")
    expect(page.get_by_text('"3.5" is no whole number')).to_be_visible()
    assert shown.field("whole").get_attribute("aria-invalid") == "true"
    shown.field("whole").fill("12345678901234567890")
    shown.field("part").fill("-1e3")
    shown.field("slide").fill("1.5")
    expect(page.locator("output.shown")).to_have_text("1.5")
    shown.field("yes").uncheck()
    shown.field("pick").select_option("c")
    shown.field("must *").select_option("y")
    shown.field("numbers").fill("[1, 2\n, ]")
    expect(page.get_by_text("this is no JSON yet; see line 2, column 3")).to_be_visible()
    shown.field("numbers").fill("[1, 2.5]")
    shown.field("names *").fill('["Ada", "Bob"]')
    shown.field("thing").fill('{"a": {"b": null}}')
    shown.field("data").fill('"just a text"')
    shown.field("user.name").fill("Grace")
    shown.field("photo").fill("")
    assert shown.field("api_key").get_attribute("type") == "password"
    assert shown.field("api_key").input_value() == ""  # its default is not shown
    shown.field("api_key").fill("sk-very-secret-0123456789")
    picture = {"name": "pixel.png", "mimeType": "image/png", "buffer": PIXEL}
    shown.field("image").set_input_files([picture])
    expect(page.locator(".preview img")).to_be_visible()
    shown.field("sound").set_input_files([{"name": "a.wav", "mimeType": "audio/wav", "buffer": b"RIFF\0\0\0\0WAVE"}])
    expect(page.locator(".preview audio")).to_be_visible()
    shown.field("film").set_input_files([{"name": "big.mp4", "mimeType": "video/mp4", "buffer": b"x" * 2**18}])
    expect(page.get_by_text(re.compile(r"this is larger than \d+"))).to_be_visible()
    page.get_by_role("button", name="Remove: big.mp4").click()
    expect(page.get_by_text(re.compile(r"this is larger than \d+"))).to_have_count(0)
    dropped = """(place) => {
        const given = new DataTransfer();
        given.items.add(new File(['GIF89a'], 'dropped.gif', {type: 'image/gif'}));
        place.dispatchEvent(new DragEvent('drop', {dataTransfer: given, bubbles: true, cancelable: true}));
    }"""
    page.locator(".drop", has=shown.field("photos")).evaluate(dropped)
    expect(page.get_by_text("dropped.gif · 6 B")).to_be_visible()
    documents = [{"name": f"{at}.txt", "mimeType": "text/plain", "buffer": b"x" * (at + 5)} for at in range(2)]
    shown.field("docs").set_input_files(documents)
    shown.run()
    texts = {
        "line": "a line with 中文", "mark": "*x*", "whole": "12345678901234567890", "part": "-1000.0", "slide": "1.5",
        "yes": "false", "pick": "c", "must": "y", "numbers": "[1, 2.5]", "data": "just a text", "name": "Grace",
        "photo": "null", "film": "null", "api_key": "sk-very-secret-0123456789",
    }  # fmt: skip
    assert {key: text_of(shown, key) for key in texts} == texts
    assert "two\nlines" in shown.output
    images = page.locator("#answer .output img")
    assert images.first.evaluate("(one) => one.naturalWidth") == 1
    assert images.last.get_attribute("src") == f"data:image/gif;base64,{base64.b64encode(b'GIF89a').decode()}"
    assert page.locator("#answer .output audio").count() == 1
    assert "5 bytes" in shown.output
    assert "6 bytes" in shown.output
    assert shown.field("api_key").input_value() == ""
    kept = page.evaluate("() => JSON.stringify([localStorage, sessionStorage])")
    assert "Grace" in kept
    assert "very-secret" not in kept
    assert "pixel" not in kept
    # what only the server can tell stands beside its field, too
    shown.field("numbers").fill('{"no": "list"}')
    shown.page.locator("#run").click()
    expect(page.locator(".field", has=shown.field("numbers")).locator(".problem")).to_contain_text("is no list")
    shown.quiet()


def test_a_stream_grows_and_what_is_finished_stays(open_page: Open) -> None:
    shown = open_page()
    page = shown.page
    shown.field("Prompt *").fill(POEM + "\n\nand so on" * 1000)  # longer than all that is done meanwhile takes
    shown.field("pace").fill("0.03")
    shown.field("Prompt *").press("Control+Enter")
    shown.wait_text("A poem")
    assert page.locator("#answer").get_attribute("aria-busy") == "true"
    shown.wait_text("then the code")
    page.locator("#answer h2", has_text="A poem").evaluate("(one) => { one.dataset.seen = 'before'; }")
    shown.wait_text("and more of it")
    shown.wait_text("and then the end")
    assert page.locator("#answer h2", has_text="A poem").get_attribute("data-seen") == "before"
    assert page.locator("#answer td.center").inner_text() == "2"
    assert page.locator("#answer pre code").inner_text() == "print('then the code')\n\nprint('and more of it')\n"
    expect(page.locator("#run")).to_be_disabled()
    page.keyboard.press("Escape")
    shown.wait("stopped")
    assert "Stopped. What came before that is kept; it is not complete." in shown.answer
    assert "■ stopped" in shown.answer
    assert "and then the end" in shown.output
    shown.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("() => navigator.clipboard.readText()").startswith(POEM)
    shown.field("pace").fill("1")
    page.locator("#run").click()
    page.locator("#stop").click()
    shown.wait("stopped")
    expect(page.locator("#run")).to_be_enabled()
    expect(page.locator("#status")).to_contain_text("stopped")  # what a screen reader says
    shown.quiet()


def test_a_stream_that_breaks_keeps_its_text(open_page: Open) -> None:
    shown = open_page()
    shown.go("cut")
    shown.run("failed")
    assert "This did not work" in shown.answer
    assert "connection_lost" in shown.answer
    assert "it is not complete" in shown.answer
    assert shown.output.strip() == "w0 w1 w2"
    expect(shown.page.locator("#answer .error")).to_have_attribute("role", "alert")
    shown.quiet()


def test_jobs_values_and_waits(open_page: Open) -> None:
    shown = open_page()
    shown.go("report")
    shown.page.locator("#run").click()
    shown.wait_text(re.compile(r"again in [1-4] s \(1 of 1\)"))
    shown.wait_text(re.compile("✓ facts: done.*▶ call: running.*○ summary: waiting", re.DOTALL))
    shown.wait()
    assert "again in" not in shown.answer
    assert shown.page.locator("#answer td").all_inner_texts() == ["Ada", "1843"]
    assert "✓ facts" not in shown.answer  # folded
    shown.page.get_by_text("3 jobs: 3 done").click()
    assert "✓ facts: done" in shown.answer
    assert shown.output.count("Ada wrote it") == 1
    shown.quiet()


def test_questions_are_answered(open_page: Open) -> None:
    shown = open_page()
    page = shown.page
    shown.go("letter")
    page.locator("#run").click()
    expect(page.locator(".question")).to_have_count(2)
    first, second = page.get_by_label("Its output, which you may change:").all()
    assert first.input_value() == "Dear Ada"
    second.fill("{")
    first.fill("Dear Bob")
    page.get_by_role("button", name="Go on", exact=True).first.click()
    expect(page.locator(".question")).to_have_count(1)
    assert page.locator(".question textarea").input_value() == "{"  # what was typed stays
    page.get_by_role("button", name="Go on", exact=True).click()
    expect(page.locator(".question .problem")).to_contain_text("this is no JSON")
    page.locator(".question textarea").fill('{"amount": 5}')
    page.locator(".question textarea").press("Control+Enter")
    shown.wait()
    assert shown.output == "Sent: Dear Bob, 5"
    assert "→ answered: Dear Bob" in shown.answer
    page.locator("#run").click()
    page.get_by_role("button", name="Go on everywhere (2)").click()
    shown.wait()
    assert shown.output == "Sent: Dear Ada, 12"
    shown.quiet()


def test_a_reload_picks_the_run_up_again(open_page: Open, held: Held) -> None:
    shown = open_page()
    page = shown.page
    shown.go("held")
    shown.field("Prompt *").fill("begin " + "more " * 60 + "end")
    page.locator("#run").click()
    shown.wait_text("more more")
    page.reload()
    shown.wait_text("begin more more")
    expect(page.locator("#stop")).to_be_enabled()
    assert shown.field("Prompt *").input_value().startswith("begin more")
    page.locator("#language").select_option("zh")  # in the middle of the run: it is told anew
    expect(page.locator("#stop")).to_have_text("停止")
    held.let_go()
    shown.wait()
    assert "✓ 完成" in shown.answer
    assert shown.output == "begin " + "more " * 60 + "end"
    expect(page.locator("#history summary")).to_contain_text("(1)")
    page.reload()  # it has ended: it is shown, and not remembered twice
    shown.wait()
    expect(page.locator("#history summary")).to_contain_text("(1)")
    page.evaluate("() => sessionStorage.setItem('composemagic.running', '{\"task\": \"none\"}')")
    page.reload()
    shown.wait_text("服务器已经不记得这次运行了")
    expect(page.locator("#run")).to_be_enabled()
    shown.quiet()


def test_earlier_runs_are_kept_in_this_browser(open_page: Open) -> None:
    shown = open_page()
    page = shown.page
    for words in ("the **first**", "the second"):
        shown.field("Prompt *").fill(words)
        shown.run()
        expect(page.locator("#answer .output")).to_have_text(words.replace("*", ""))
    shown.go("report")
    page.reload()
    page.locator("#history summary").click()
    expect(page.locator(".entry")).to_have_count(2)
    page.locator(".entry", has_text="first").click()
    expect(page.locator("#answer .output strong")).to_have_text("first")
    assert shown.field("Prompt *").input_value() == "the **first**"
    assert page.url.endswith("#chat")
    assert "This is an earlier answer." in shown.answer
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator("#history")).to_be_hidden()
    assert page.evaluate("() => localStorage.getItem('composemagic.history')") is None
    for broken in ("{", "[1, null]", '[{"text": 1}]'):  # somebody else's, or of another version
        page.evaluate("(text) => localStorage.setItem('composemagic.history', text)", broken)
        page.reload()
        expect(page.locator("body.ready")).to_be_visible()
    shown.quiet()


def test_several_workflows_and_back(open_page: Open) -> None:
    shown = open_page()
    page = shown.page
    shown.field("Prompt *").fill("half a sen")
    page.locator("#picker").get_by_text("A report").click()
    expect(page.locator("#title")).to_have_text("A report")
    assert page.title() == "A report · composemagic"
    page.go_back()
    expect(page.locator("#title")).to_have_text("Explain something")
    assert shown.field("Prompt *").input_value() == "half a sen"
    shown.go("all")
    shown.field("thing").fill('{"half": ')
    shown.field("area").fill("")
    shown.field("api_key").fill("sk-half-typed")
    page.locator("#language").select_option("zh")
    expect(page.locator("#run")).to_have_text("运行")
    typed = [shown.field(name).input_value() for name in ("thing", "area", "pick", "api_key")]
    assert typed == ['{"half": ', "", "b", ""]
    page.locator("#reset").click()
    assert shown.field("area").input_value() == "some words"
    page.goto(f"{shown.url}#%E0%A4%A")  # typed by somebody
    expect(page.locator("#title")).to_have_text("Explain something")


def test_chinese(open_page: Open) -> None:
    shown = open_page(locale="zh-CN")
    page = shown.page
    assert page.locator("html").get_attribute("lang") == "zh"
    expect(page.locator("#run")).to_have_text("运行")
    shown.page.locator("#run").click()
    expect(page.locator("#problem")).to_contain_text("请看标出的字段")
    shown.go("cut")
    shown.run("failed")
    assert "没有成功" in shown.answer
    assert re.search(
        "[一-鿿]", page.locator("#answer .error p").first.inner_text()
    )  # a run that begins here speaks Chinese
    page.locator("#language").select_option("en")
    expect(page.locator("#run")).to_have_text("Run")
    page.reload()
    expect(page.locator("#run")).to_have_text("Run")  # remembered


def test_a_phone(open_page: Open) -> None:
    shown = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, color_scheme="dark")
    page = shown.page
    wide = (
        "| " + " | ".join(["a wide cell"] * 12) + " |\n|" + "--|" * 12 + "\n\n" + "`" + "x" * 300 + "`\n\n" + "y" * 300
    )
    shown.field("Prompt *").fill(f"{wide}\n\n```\n{'z' * 300}\n```\n")
    shown.run()
    for workflow in ("chat", "letter", "all"):
        shown.go(workflow)
        if workflow == "letter":
            page.locator("#run").click()
            expect(page.locator(".question")).to_have_count(2)
        assert page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]") == [360, 360]
        small = "(all) => all.map((one) => one.getBoundingClientRect()).filter((one) => one.width && one.height < 38).length"
        touched = "button:visible, select:visible, textarea:visible, input:not([type=checkbox]):visible, #picker a"
        assert page.locator(touched).evaluate_all(small) == 0
    assert page.locator("body").evaluate("(one) => getComputedStyle(one).backgroundColor") == "rgb(18, 22, 28)"


def test_every_field_has_a_name_for_a_screen_reader(open_page: Open) -> None:
    shown = open_page()
    shown.go("all")
    script = """() => [...document.querySelectorAll('input, select, textarea, button')].filter((one) =>
        !(one.labels?.length && one.labels[0].textContent.trim()) && !one.textContent.trim() && !one.ariaLabel).length"""
    assert shown.page.evaluate(script) == 0
    assert shown.field("A line *").get_attribute("aria-required") == "true"
    told = shown.field("A line *").get_attribute("aria-describedby")
    assert shown.page.locator(f"#{told}").get_attribute("role") == "alert"


def test_hostile_text_fires_nowhere(open_page: Open, echo_server: EchoServer) -> None:
    text = json.dumps(hostile(echo_server.url))
    with Serving(load_all(text), Wanted(port=0, page_port=0)) as serving:
        shown = open_page(str(serving.page_url))
        page = shown.page
        for index in range(5):  # all titles, and the first form
            expect(page.locator("#picker a").nth(index)).to_contain_text("<script>")
        expect(page.locator("#fields")).to_contain_text(IMAGE)
        expect(page.locator("#fields")).to_contain_text(f"<script>{FIRE}</script>")
        shown.field("c *").fill(json.dumps(BAD))
        shown.quiet()
        for workflow, status in (("form", "done"), ("text", "done"), ("tree", "done"), ("error", "failed")):
            shown.go(workflow)
            shown.run(status)
            assert page.evaluate(QUIET) == [0, [], []]
        shown.wait_text("so far <img")
        assert shown.answer.count("<iframe") >= 2  # in the text and in the provider's words
        shown.go("ask")
        page.locator("#run").click()
        expect(page.locator(".question")).to_contain_text("<iframe")
        shown.quiet()
        page.locator(".question textarea").fill(json.dumps({BAD: BAD}))
        page.get_by_role("button", name="Go on", exact=True).click()
        shown.wait()
        assert "→ answered" in shown.answer
        for status in page.locator("details").all():
            status.evaluate("(one) => { one.open = true; }")
        expect(page.locator(".entry")).to_have_count(5)
        for entry in page.locator(".entry").all():
            entry.click()
            shown.wait_text("This is an earlier answer.")
            shown.wait_text(re.compile("<img|<i"))
            shown.quiet()
        poison = {
            "workflow": "text",
            "title": BAD,
            "values": {BAD: BAD, "__proto__": BAD},
            "text": BAD,
            "words": BAD,
            "status": BAD,
        }
        page.evaluate(
            "(poison) => localStorage.setItem('composemagic.history', JSON.stringify([{...poison, isText: true, at: 1},"
            " {...poison, isText: false, text: JSON.stringify({[poison.text]: poison.text}), at: poison.text}]))",
            poison,
        )
        page.evaluate(
            "(poison) => sessionStorage.setItem('composemagic.running', JSON.stringify({...poison, task: poison.text}))",
            poison,
        )
        page.reload()
        shown.wait_text("does not know this run")
        page.locator("#history summary").click()
        for entry in page.locator(".entry").all():
            entry.click()
            shown.wait_text("<iframe")
            shown.quiet()


def test_a_token_opens_the_page(lab: Lab, open_page: Open) -> None:
    [workflow] = load_all("component: {type: echo, action: {text: 'behind a token: ${input.x as string}'}}")
    with Serving([workflow], Wanted(port=0, page_port=0, token="a-token-of-this-test")) as serving:
        shown = open_page(str(serving.page_url))
        shown.field("x *").fill("hello")
        shown.run()
        assert shown.output == "behind a token: hello"
        expect(shown.page.locator("#picker")).to_be_hidden()  # there is one workflow
        assert "a-token" not in shown.page.url
