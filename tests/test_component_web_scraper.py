"""web-scraper: parts of pages, from a server on loopback and from text."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

import composemagic
from composemagic import RunError
from composemagic.components import web_scraper
from composemagic.components.web_scraper import ScraperAction
from tests.component_examples import documented, example, mistakes, notes

PAGE = """<!doctype html><html><head><title>Talks</title><style>p {color: red}</style></head>
<body class="all"><h1>Con<b>fer</b>ence <i>2026</i></h1><!-- a comment -->by the lake
<ul>
  <li class="talk"><h2>Streams</h2><span class="speaker">Ann</span> <a href="/a">go</a> <time data-minutes="30">early</time></li>
  <li class="talk"><h2>Tools</h2><span class="speaker">Bob</span> <a href="/b">go</a> <a href="/c">video</a></li>
</ul><script>var hidden = 1</script><p>H<sub>2</sub>O</p><p>中文</p></body></html>"""
FEED = '<?xml version="1.0"?><rss><channel><item><title>One</title><link>http://x/1</link></item></channel></rss>'
PAGES = {
    "/talks": ("text/html; charset=utf-8", PAGE.encode()),
    "/latin": ("text/html; charset=iso-8859-1", "<p>José</p>".encode("latin-1")),
    "/meta": ("text/html", '<meta charset="gbk"><p>中文</p>'.encode("gbk")),
    "/bare": ("text/html", "<p>中文</p>".encode()),
    "/odd": ("text/html; charset=utf8mb4", "<p>中文</p>".encode()),
    "/old": ("text/html", "<p>José</p>".encode("latin-1")),
    "/feed": ("application/rss+xml", FEED.encode()),
    "/pdf": ("application/pdf", b"%PDF"),
    "/empty": ("text/html", b""),
}  # fmt: skip


class Site(BaseHTTPRequestHandler):
    """Answers with PAGES, and at /headers with what it was sent."""

    def do_GET(self) -> None:
        if self.path == "/headers":
            body = "".join(f"<p>{name.lower()}: {value}</p>" for name, value in self.headers.items())
            self.answer(200, "text/html", body.encode())
        elif self.path in PAGES:
            self.answer(200, *PAGES[self.path])
        else:
            self.answer(404, "text/html", f"<title>none at {self.path}</title>".encode())

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Not to the terminal."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def scraped(settings: str, **values: Any) -> Any:
    """What is taken out of PAGE."""
    return run(f"html: '${{input.html}}', {settings}", html=PAGE, **values).output


def run(settings: str, component: str = "", **values: Any) -> composemagic.Run:
    started = composemagic.load(f"component: {{type: web-scraper, {component} action: {{{settings}}}}}").start(values)
    started.wait()
    started.raise_for_error()
    return started


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("extract_mode: text", "Conference 2026 by the lake Streams Ann go early Tools Bob go video H2O 中文"),
        ("selector: h1", "Conference 2026"),
        ("selector: h2", "Streams"),
        ("selector: h2, multiple: true", ["Streams", "Tools"]),
        ("selector: title", "Talks"),
        ("selector: script", "var hidden = 1"),
        ("selector: 'li:nth-child(2) a[href$=c]'", "video"),
        ("selector: 'H2, SPAN.speaker', multiple: true", ["Streams", "Ann", "Tools", "Bob"]),
        ("selector: a, extract_mode: attribute, attribute: href, multiple: true", ["/a", "/b", "/c"]),
        ("selector: time, attribute: data-minutes", "30"),
        ("selector: h2, attribute: href", None),
        ("selector: h1, extract_mode: html", "<h1>Con<b>fer</b>ence <i>2026</i></h1>"),
        ("selector: sub, extract_mode: html", "<sub>2</sub>"),
        ("selector: h3", None),
        ("selector: h3, multiple: true", []),
        ("selector: [h1, h2]", ["Conference 2026", "Streams"]),
        ("selector: {head: h1, talks: h2}, multiple: true", {"head": ["Conference 2026"], "talks": ["Streams", "Tools"]}),
        ("xpath: '//h2'", "Streams"),
        ("xpath: '//h2/text()', multiple: true", ["Streams", "Tools"]),
        ("xpath: '//a/@href', multiple: true", ["/a", "/b", "/c"]),
        ("xpath: 'count(//a)'", 3),
        ("xpath: 'count(//a) > 2'", True),
        ("xpath: 'number(//h2)'", None),
        ("xpath: 'normalize-space(//h1)'", "Conference 2026"),
        ("xpath: '//a[contains(@href, \"c\")]', extract_mode: html", '<a href="/c">video</a>'),
        ("selector: p, output: '${result} is wet'", "H2O is wet"),
    ],
)  # fmt: skip
def test_a_selector_takes_its_part(settings: str, expected: Any) -> None:
    assert scraped(settings) == expected


def test_fields_are_looked_for_inside_each_element() -> None:
    fields = "fields: {title: h2, links: {selector: a, attribute: href, multiple: true}, minutes: {xpath: 'number(.//time/@data-minutes)'}}"
    assert scraped(f"selector: li.talk, multiple: true, {fields}") == [
        {"title": "Streams", "links": ["/a"], "minutes": 30},
        {"title": "Tools", "links": ["/b", "/c"], "minutes": None},
    ]
    assert scraped(f"selector: li.talk, {fields}") == {"title": "Streams", "links": ["/a"], "minutes": 30}
    assert scraped(f"selector: li.none, {fields}") is None
    assert scraped(f"selector: li.none, multiple: true, {fields}") == []
    assert scraped("xpath: 'count(//a)', multiple: true, fields: {page: title}") == []
    assert scraped("fields: {page: title, first: h2}") == {"page": "Talks", "first": "Streams"}
    assert scraped("fields: '${input.wanted}'", wanted={"page": "title"}) == {"page": "Talks"}


def test_what_matches_nothing_is_told_once() -> None:
    done = run("html: '${input.h}', selector: li, multiple: true, fields: {a: b, c: .speakr}", h=PAGE)
    assert [note for note in notes(done) if "matched" in note] == [
        "`b` matched nothing on the page", "`.speakr` matched nothing on the page",
    ]  # fmt: skip


def test_several_pages_give_several_results(site: str) -> None:
    assert run("html: '${input.h}', selector: p", h=["<p>a</p>", "<b>no</b>"]).output == ["a", None]
    urls = [f"{site}/talks", f"{site}/bare"]
    assert run("url: '${input.u}', selector: p", u=urls).output == ["H2O", "中文"]
    assert run(f"url: [{site}/talks, '${{input.u}}'], selector: p", u=urls[1]).output == ["H2O", "中文"]


@pytest.mark.parametrize(
    ("path", "text"),
    [("/latin", "José"), ("/meta", "中文"), ("/bare", "中文"), ("/old", "José"), ("/odd", "中文"), ("/talks", "H2O")],
)
def test_a_page_is_read_in_its_own_charset(site: str, path: str, text: str) -> None:
    assert run("url: '${input.u}', selector: p", u=site + path).output == text


def test_a_feed_is_read_as_xml(site: str) -> None:
    yaml = "url: '${input.u}', selector: item, multiple: true, fields: {title: title, link: link}"
    assert run(yaml, u=f"{site}/feed").output == [{"title": "One", "link": "http://x/1"}]


def test_an_xml_page_reads_no_file(tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret words", encoding="utf-8")
    evil = f'<!DOCTYPE x [<!ENTITY file SYSTEM "file://{secret}">]><rss><title>a &file; b</title></rss>'
    monkeypatch.setitem(PAGES, "/evil", ("application/xml", evil.encode()))
    assert "secret" not in str(run("url: '${input.u}', selector: title", u=f"{site}/evil").output)


def test_headers_and_cookies_are_sent(site: str) -> None:
    sent = run(
        "url: '${input.u}', selector: p, multiple: true, headers: {X-One: 1, Accept-Language: de}, cookies: {b: 2, c: null}",
        "headers: {X-One: 0, X-Two: two}, cookies: {a: 1},",
        u=f"{site}/headers",
    ).output
    for line in ("x-one: 1", "x-two: two", "accept-language: de", "cookie: a=1; b=2"):
        assert line in sent


def test_a_value_in_the_address_is_encoded(site: str) -> None:
    with pytest.raises(RunError) as caught:
        run(f"url: '{site}/${{input.name}}'", name="a b/c?d")
    assert "/a%20b%2Fc%3Fd" in caught.value.sentence


def test_the_transport_of_the_workflow_is_used() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, html=f"<p>{request.url.path}</p>"))
    yaml = "component: {type: web-scraper, action: {url: 'https://example.com/x', selector: p}}"
    assert composemagic.load(yaml, transport=transport)().output == "/x"


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ("url: '{site}/pdf'", "output", "sent application/pdf, which is no web page"),
        ("url: '{site}/none'", "not_found", "none at /none"),
        ("url: 'http://169.254.169.254/latest'", "address", "never asks"),
        ("url: 'ftp://example.com'", "url", "is no http:// or https:// address"),
        ("url: '${{input.x}}'", "input", "`url` is null: there is no page to fetch"),
        ("html: '${{input.x}}', url: null", "input", "`url` is null: there is no page to fetch"),
        ("url: '{site}/talks', selector: '${{input.s}}'", "input", "`p[` is no CSS selector: "),
        ("url: '{site}/talks', xpath: '${{input.s}}'", "input", "`p[` is no XPath expression: "),
        ("url: '{site}/talks', xpath: 'nofunction(//p)'", "input", "`nofunction(//p)` is no XPath expression: "),
        ("url: '{site}/talks', timeout: '${{input.s}}'", "input", "`timeout`: a duration is seconds"),
    ],
)  # fmt: skip
def test_what_cannot_be_scraped_is_one_sentence(site: str, settings: str, kind: str, words: str) -> None:
    with pytest.raises(RunError) as caught:
        run(settings.format(site=site), s="p[", x=None)
    assert caught.value.kind == kind
    assert words in caught.value.sentence


def test_half_a_character_is_in_no_page() -> None:
    assert run("html: '${input.h}', selector: p", h="<p>a\ud83d</p>").output == "a\ufffd"


def test_an_empty_page_has_nothing(site: str) -> None:
    assert run("url: '${input.u}', selector: p", u=f"{site}/empty").output is None
    assert run("html: '${input.h}'", h="   ").output == ""


@pytest.mark.parametrize(("module", "package"), [("lxml.etree", "lxml"), ("cssselect", "cssselect")])
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RunError) as caught:
        scraped("selector: p")
    assert caught.value.sentence == f'`web-scraper` needs {package}: pip install "composemagic[scrape]"'


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        ("selector: p", ["a web-scraper action needs `url` or `html`"]),
        ("url: a, html: b", ["an action has `url` or `html`, not both"]),
        ("url: a, selecter: p", ["unknown key `selecter` in a web-scraper action; did you mean `selector`?"]),
        ("url: a, selector: p, xpath: //p", ["an action has `selector` or `xpath`, not both"]),
        ("url: a, selector: p, extract_mode: attribute", ["`extract_mode: attribute` needs `attribute`, the name of one"]),
        ("url: a, extract_mode: txt", ['unknown `extract_mode` "txt"; did you mean `text`?']),
        ("url: a, selector: 'p[', timeout: soon", [
            "`p[` is no CSS selector: Expected ident or '*', got <EOF at 2>",
            '`timeout`: a duration is seconds, or a text such as "500ms", "5s" or "2m", not "soon"',
        ]),
        ("url: a, selector: [p, 5]", ["`selector` is a text, this is 5"]),
        ("url: a, xpath: '//a['", ["`//a[` is no XPath expression: Invalid expression"]),
        ("url: a, fields: {a: {selctor: p}}", ["unknown key `selctor` in the field `a`; did you mean `selector`?"]),
        ("url: a, fields: [a]", ["`fields` is a mapping of names to selectors, this is a list"]),
        ("url: a, enable_javascript: false, multiple: often", ['`multiple` is true or false, not "often"']),
    ],
)  # fmt: skip
def test_mistakes_are_found_when_it_is_loaded(settings: str, sentences: list[str]) -> None:
    assert mistakes(f"component: {{type: web-scraper, action: {{{settings}}}}}") == sentences


def test_the_example_of_the_docstring_runs(site: str) -> None:
    assert composemagic.load(example(web_scraper))(url=f"{site}/talks").output == [
        {"title": "Streams", "speaker": "Ann", "link": "/a", "minutes": 30},
        {"title": "Tools", "speaker": "Bob", "link": "/b", "minutes": None},
    ]


def test_the_docstring_names_every_setting() -> None:
    of_the_peer = {"enable_javascript", "wait_for", "wait_until", "submit", "batch_size"}
    assert documented(web_scraper) == set(ScraperAction.model_fields) - of_the_peer
