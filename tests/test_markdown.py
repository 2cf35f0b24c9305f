"""Model text becomes HTML that cannot do anything, and a stream of it the same HTML at bounded cost."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from composemagic.notebook import markdown
from composemagic.notebook.markdown import LIMIT, LINES, Growing, plain, render
from composemagic.text import STRAY
from tests.lab import Lab

HEAD, FOOT = '<div class="mathjax_ignore tex2jax_ignore">\n', "</div>\n"


def body(text: str) -> str:
    html = render(text)
    assert html.startswith(HEAD)
    assert html.endswith(FOOT)
    return html.removeprefix(HEAD).removesuffix(FOOT).strip()


# -- what a text becomes

A = '<a href="{}" rel="noopener noreferrer" target="_blank">{}</a>'

SHOWN = {
    "empty": ("", ""),
    "blank": (" \n\n\t\n", ""),
    "inline": ("*a* **b** ~~c~~ `d`", "<p><em>a</em> <strong>b</strong> <s>c</s> <code>d</code></p>"),
    "heading": ("## Two", "<h2>Two</h2>"),
    "list from 3": ("3. x", '<ol start="3">\n<li>x</li>\n</ol>'),
    "html is text": ("<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>"),
    "html block is text": ("<div onclick=x>\n*a*", "<p>&lt;div onclick=x&gt;\n<em>a</em></p>"),
    "comment is text": ("<!-- x -->", "<p>&lt;!-- x --&gt;</p>"),
    "link": ("[a](https://b.example/?c=1&d=2)", f"<p>{A.format('https://b.example/?c=1&amp;d=2', 'a')}</p>"),
    "link, capitals": ("[a](HTTP://b.example)", f"<p>{A.format('HTTP://b.example', 'a')}</p>"),
    "mail": ("<mailto:a@b.example>", f"<p>{A.format('mailto:a@b.example', 'mailto:a@b.example')}</p>"),
    "bare mail": ("<a@b.example>", f"<p>{A.format('mailto:a@b.example', 'a@b.example')}</p>"),
    "title": ('[a](http://b.example "t\\"<")', None),
    "javascript": ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
    "javascript by entity": ("[a](java&#115;cript:x)", "<p>[a](javascript:x)</p>"),
    "javascript behind tab": ("[a](java&Tab;script:x)", "<p>[a](java\tscript:x)</p>"),
    "javascript autolink": ("<javascript:x>", "<p>&lt;javascript:x&gt;</p>"),
    "data": ("[a](data:text/html,x)", "<p>[a](data:text/html,x)</p>"),
    "data image": ("![a](data:image/png;base64,AA)", "<p>![a](data:image/png;base64,AA)</p>"),
    "file": ("[a](file:///etc/passwd)", "<p>[a](file:///etc/passwd)</p>"),
    "relative": ("[a](../x)", "<p>[a](../x)</p>"),
    "protocol relative": ("[a](//b.example)", "<p>[a](//b.example)</p>"),
    "one slash": ("[a](http:/b.example)", "<p>[a](http:/b.example)</p>"),
    "reference": ("[a]\n\n[a]: http://b.example", f"<p>{A.format('http://b.example', 'a')}</p>"),
    "reference to script": ("[a]\n\n[a]: javascript:x", "<p>[a]</p>\n<p>[a]: javascript:x</p>"),
    "image": ("![*a* b](http://c.example/d.png)", f"<p>{A.format('http://c.example/d.png', 'a b')}</p>"),
    "image without words": ("![](http://c.example)", f"<p>{A.format('http://c.example', 'http://c.example')}</p>"),
    "image in link": ("[![a](http://b.example)](http://c.example)", f"<p>{A.format('http://c.example', 'a')}</p>"),
    "fence": ("```c++\n<b>\n```", '<pre><code class="language-c++">&lt;b&gt;\n</code></pre>'),
    "fence, open": ("~~~\na\n\nb", "<pre><code>a\n\nb</code></pre>"),
    "fence, closed at the end": ("```\na\n```", "<pre><code>a\n</code></pre>"),
    "fence, shut by more": ("```\na\n`````  \nb", "<pre><code>a\n</code></pre>\n<p>b</p>"),
    "fence, indented": ("  ```\n  a\n\tb\n  ```", "<pre><code>a\n  b\n</code></pre>"),
    "fence, odd language": ('```x"onload=y z\na\n```', "<pre><code>a\n</code></pre>"),
    "fence, attributes": ("```py {#id .class data-x=1}\na\n```", '<pre><code class="language-py">a\n</code></pre>'),
    "fence, long language": (f"```{'x' * 31}\n```", "<pre><code></code></pre>"),
    "indented code": ("    <b>", "<pre><code>&lt;b&gt;\n</code></pre>"),
    "math stays text": ("$x^2$ \\\\(y\\\\)", "<p>$x^2$ \\(y\\)</p>"),
    "bidi by entity": ("a&#8238;b&#x2066;c&rlm;d", "<p>abcd</p>"),
    "bidi in a shown address": (
        "<http://b.example/%E2%80%AEx>",
        f"<p>{A.format('http://b.example/%E2%80%AEx', 'http://b.example/x')}</p>",
    ),
    "control by entity": ("a&#27;[1mb&#7;&#0;", "<p>a\ufffd[1mb\ufffd\ufffd</p>"),
    "surrogate by entity": ("&#xD800;", "<p>\ufffd</p>"),
}


@pytest.mark.parametrize(
    ("text", "html"),
    [row for row in SHOWN.values() if row[1] is not None],
    ids=[name for name, row in SHOWN.items() if row[1] is not None],
)
def test_shown(text: str, html: str) -> None:
    assert body(text) == html


def test_a_title_is_escaped() -> None:
    assert 'title="t&quot;&lt;"' in body(SHOWN["title"][0])


def test_a_table_is_aligned_by_style_only() -> None:
    html = body("| a | b |\n|:-:|--:|\n| 1 | `x` |")
    assert '<th style="text-align:center">a</th>' in html
    assert '<td style="text-align:right"><code>x</code></td>' in html


# -- plain

CLEANED = [
    ("a\tb\nc", "a\tb\nc"),
    ("a\r\nb\rc", "a\nb\nc"),
    ("a\x00\x07\x08\x7f\x85b", "ab"),
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b[38;2;1;2;3mred\x9b0m", "red"),
    ("\x1b]8;;http://x\x07link\x1b]8;;\x1b\\", "link"),
    ("\x1b]0;title\x9cx", "x"),
    ("\x1b]never closed", "never closed"),
    ("\x1b]two\nlines\x07", "two\nlines"),
    ("\x1b]" + "x" * 1001 + "\x07", "x" * 1001),
    ("\x1bPq#0\x1b\\a\x1b_b\x1b\\c", "ac"),
    ("\x1b(Ba\x1bMb\x1bc", "ab"),
    ("a\x1b[2", "a"),
    ("a\x1b", "a"),
    ("\x1b\x1b[1mx", "x"),
    ("a\u202eb\u2066c\u2069d\u200ee\u200ff\u061cg", "abcdefg"),
    ("\u200d\ufeff\u4e2d\u6587 \u0627", "\u200d\ufeff\u4e2d\u6587 \u0627"),
    ("\ud83d\ude80", "\U0001f680"),
    ("\ud83d", "\ufffd"),
    ("\ude80\ud83d\ud83d\ude80x", "\ufffd\ufffd\U0001f680x"),
    ("\ud83d\x1b[0m\ude80", "\ufffd\ufffd"),
]


@pytest.mark.parametrize(("text", "cleaned"), CLEANED)
def test_plain(text: str, cleaned: str) -> None:
    assert plain(text) == cleaned


@pytest.mark.parametrize(("text", "cleaned"), CLEANED)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_stream_is_cleaned_alike(text: str, cleaned: str, size: int) -> None:
    assert fed(f"a {text} b", size) == render(f"a {text} b")
    assert fed(f"a {text}", size) == render(f"a {text}") == render(f"a {cleaned}")


@given(st.text(alphabet="\x1b\x9b\x9d\x07\x9c\\[]P;0m\r\n\ud83d\ude80\u202ex", max_size=40))
def test_cleaning_leaves_nothing_and_is_done_once(text: str) -> None:
    cleaned = plain(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", cleaned)
    assert plain(cleaned) == cleaned
    cleaned.encode()  # no half of a surrogate pair is left


# -- nothing but a list of tags and attributes

TAGS = frozenset(
    [
        "a",
        "blockquote",
        "br",
        "code",
        "div",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "s",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
ATTRIBUTES = {
    "href": None,
    "title": None,
    "rel": re.compile("noopener noreferrer"),
    "target": re.compile("_blank"),
    "start": re.compile("[0-9]{1,9}"),
    "style": re.compile("text-align:(left|right|center)"),
    "class": re.compile("language-[A-Za-z0-9+#-]{1,30}|mathjax_ignore tex2jax_ignore"),
}
PLACES = {
    "href": {"a"},
    "title": {"a"},
    "rel": {"a"},
    "target": {"a"},
    "start": {"ol"},
    "style": {"th", "td"},
    "class": {"code", "div"},
}


class Checked(HTMLParser):
    """Reads HTML and refuses what is not on the list; `text` is what a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""
        self.divisions = 0
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert not (tag == "a" and "a" in self.open)
        self.divisions += tag == "div"
        assert self.divisions <= 1
        for name, value in attrs:
            self.check(tag, name, value or "")
        if tag == "a":
            assert {"href", "rel", "target"} <= dict(attrs).keys()
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def check(self, tag: str, name: str, value: str) -> None:
        assert tag in PLACES.get(name, ())
        shape = ATTRIBUTES[name]
        assert shape is None or shape.fullmatch(value)
        assert not re.search("[\x00-\x1f\x7f\u202a-\u202e]", value) or name == "title"
        if name == "href":
            assert urlsplit(value).scheme in ("http", "https", "mailto")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("br", "hr")
        assert attrs == []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", data)
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


NASTY = st.sampled_from(
    [
        *(
            "\n",
            "\n\n",
            " ",
            "    ",
            "\t",
            "a",
            "b c",
            "1",
            "中文",
            "\\",
            "\r",
            "\x1b[1m",
            "\x1b]8;;",
            "\x07",
            "\x00",
            "\u202e",
        ),
        *(
            "# ",
            "=",
            "===\n",
            "---\n",
            "***\n",
            "- ",
            "+ ",
            "* ",
            "1. ",
            "2) ",
            "> ",
            ">",
            "```",
            "```py\n",
            "~~~",
            "~~~\n",
            "`",
            "``",
        ),
        *(
            "|",
            "|a|b|\n|-|:-:|\n",
            "|-|\n",
            "x|y\n",
            "*",
            "**",
            "_",
            "~~",
            "[",
            "]",
            "(",
            ")",
            "![",
            "](",
            "<",
            ">",
            "&",
            "&#8238;",
        ),
        *(
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<!--",
            "-->",
            "<![CDATA[",
            "<a href='javascript:x'>",
            "</div>",
        ),
        *(
            "[x](javascript:alert(1))",
            "[x](http://a.example)",
            "![x](http://a.example/b.png 'c')",
            '<http://a.example/">',
            "<a@b.c>",
        ),
        *(
            "[x](data:text/html;base64,AA)",
            "[x](java\nscript:x)",
            "[x](vbscript&colon;x)",
            '[x](http://a"onclick="x)',
            "{#id .c data-x=y}",
        ),
        *(
            "$\\href{javascript:x}{y}$",
            "\\begin{align}",
            "&lt;",
            "&quot;",
            '"',
            "'",
            "`<b>`",
            "\ud83d",
            "\ude80",
            "&#0;",
            "&#x1b;",
        ),
    ]
)
TEXTS = st.lists(NASTY, max_size=40).map("".join)
DEFINITION = re.compile(r"\]:")


def fed(text: str, size: int) -> str:
    """The HTML of a text that comes in pieces, asked for after each."""
    growing = Growing()
    growing.html()
    for start in range(0, len(text), size):
        growing.add(text[start : start + size])
        growing.html()
    assert growing.text == text
    return growing.html()


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("[a]: javascript:x\n\n[a]")
@example("[x](http://a.example '\"><script>')")
def test_only_what_is_on_the_list(text: str) -> None:
    Checked(render(text))


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.integers(1, 30))
@example("foo\n#bar\n# baz\n", 1)
@example("foo\na|b\n-|-\n\n-|-x\n", 1)
@example("- a\n\n  ```\n  x\n  ```\n\n  b\n- c\n\n\n\n    d\n", 1)
@example("```\nx\n```y\n```\nz\n", 2)
def test_a_stream_ends_with_the_same_html(text: str, size: int) -> None:
    if not DEFINITION.search(text):
        assert fed(text, size) == render(text)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 200), max_size=6))
def test_every_state_of_a_stream_is_safe(text: str, places: list[int]) -> None:
    growing = Growing()
    cuts = sorted({0, len(text), *(place for place in places if place < len(text))})
    for start, end in itertools.pairwise(cuts):
        growing.add(text[start:end])
        Checked(growing.html())


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_blocks_are_what_markdown_it_makes_of_the_whole(text: str) -> None:
    """Cutting into blocks changes nothing."""
    whole = markdown._markdown().render(plain(text))
    ours = Growing()
    ours.add(text)
    if not DEFINITION.search(text):
        seen = Checked(ours.html()).text
        assert squeezed(seen) == squeezed(Checked(STRAY.sub("", whole)).text)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


# -- streams

ANSWER = "# Title\n\nWords *and* more\nwords.\n\n- one\n- two\n\n  ```py\n  x = 1\n  ```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nThe code:\n```py\nprint('<b>')\n\n\ny\n```\nEnd.\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
def test_an_answer(size: int) -> None:
    assert fed(ANSWER, size) == render(ANSWER)


def test_finished_blocks_are_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    blocks = markdown._blocks

    def counted(text: str, known: Mapping[str, Any]) -> Iterator[markdown._Block]:
        read.append(len(text))
        return blocks(text, known)

    monkeypatch.setattr(markdown, "_blocks", counted)
    growing = Growing()
    for _ in range(300):
        growing.add("Some words in a paragraph.\n\n")
        growing.html()
    assert max(read) < 200
    assert sum(read) <= 2 * 300 * 28  # each block when it comes and when the next one does: not once more as the tail


def test_nothing_is_read_when_nothing_came(monkeypatch: pytest.MonkeyPatch) -> None:
    growing = Growing()
    growing.add("some words")
    first = growing.html()
    monkeypatch.setattr(markdown, "_blocks", lambda text, known: pytest.fail("read again"))
    assert growing.html() == first


def test_a_definition_above_its_use_counts_when_its_block_is_finished() -> None:
    text = "[a]: http://b.example\n\nwords\n\nmore words\n\nsee [a]\n"
    assert fed(text, 1) == render(text)
    assert 'href="http://b.example"' in render(text)


def test_the_first_definition_wins_in_a_stream_too() -> None:
    text = "[a]: http://first.example\n\nwords\n\n[a]: http://second.example\n\n[a]\n"
    assert fed(text, 1) == render(text)
    assert "second" not in render(text)


def test_a_definition_below_its_use_counts_in_a_whole_text_only() -> None:
    text = "see [a]\n\nwords\n\n[a]: http://b.example\n"
    assert "href" in render(text)
    assert "href" not in fed(text, 1)


def test_half_a_character_waits_for_the_other_half() -> None:
    growing = Growing()
    growing.add("rocket \ud83d")
    assert "\ufffd" in growing.html()
    growing.add("\ude80")
    assert "\U0001f680" in growing.html()
    assert "\ufffd" not in growing.html()


def test_text_is_what_came() -> None:
    growing = Growing()
    assert growing.text == ""
    growing.add("a\x1b")
    assert growing.text == "a\x1b"
    growing.html()
    growing.add("[1mb")
    growing.add("")
    growing.add("\r\n")
    assert growing.text == "a\x1b[1mb\r\n"
    assert growing.text == "a\x1b[1mb\r\n"
    assert growing.html() == render("ab\n")


# -- bounds

MANY = 10_000
BOMBS = {
    "quotes": ">" * MANY,
    "quotes, apart": "> " * MANY,
    "quotes, lazy": ">" * MANY + "a\n" + "b\n" * MANY,
    "lists": "- " * MANY,
    "numbers": "1. " * MANY,
    "steps": "".join(" " * n * 2 + "- a\n" for n in range(150)),
    "brackets": "[" * MANY,
    "images": "![" * MANY,
    "links": "[a](" * MANY,
    "closed brackets": "[" * MANY + "]" * MANY,
    "stars": "*" * MANY + "a" + "*" * MANY,
    "stars apart": "*a **b " * MANY,
    "strikes": "~~a" * MANY,
    "ticks": "".join("`" * n + " " for n in range(1, 200)),
    "angles": "<a " * MANY,
    "entities": "&#" * MANY,
    "backslashes": "\\" * MANY,
    "lines": "\n" * MANY,
    "blanks": "a" + " " * MANY + "b",
    "definitions": "".join(f"[{n}]: x\n" for n in range(MANY // 4)),
    "open definition": "[a\n" * MANY,
    "short rows": "|a" * 1000 + "|\n" + "|-" * 1000 + "|\n" + "|\n" * 60,
    "short rows, again": ("|a" * 200 + "|\n" + "|-" * 200 + "|\n" + "|\n" * 300) * 5,
    "escapes": "\x1b]" * MANY,
    "long escapes": ("\x1b]" + "x" * 1000) * 50,
    "openers": "\x9d" * MANY,
    "fences": "```\n" * MANY,
    "mixed": "> - 1. " * MANY,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_stays_small_and_quick(name: str) -> None:
    text = BOMBS[name]
    started = time.process_time()
    html = render(text)
    assert time.process_time() - started < 10
    assert len(html) < 30 * len(text) + 1000
    Checked(html)


@pytest.mark.parametrize("name", ["quotes", "lists", "mixed"])
def test_what_is_nested_too_deep_is_shown_as_written(name: str) -> None:
    text = BOMBS[name] + "the end"
    assert "the end" in Checked(render(text)).text
    assert "<pre>" in render(text)


def test_a_deep_list_is_still_a_list() -> None:
    text = "".join(" " * n * 2 + f"- level {n}\n" for n in range(10))
    assert render(text).count("<ul>") == 10


def test_a_table_may_leave_out_cells_but_not_many() -> None:
    assert render("|a|b|\n|-|-|\n|x|\n").count("<td>") == 2
    assert "<table>" not in render(BOMBS["short rows"])


MEGABYTE = 1_000_000
QUARTER = MEGABYTE // 4
LONG = {
    "one fence": "```python\n" + "print('hello')\n" * (MEGABYTE // 15),
    "one line in a fence": "```\n" + "x" * MEGABYTE,
    "one line": "hello *you* " * (QUARTER // 12),
    "one paragraph": "some words that make up a line of text\n" * (QUARTER // 39),
    "one list": "- an item of a list\n\n" * (QUARTER // 21),
    "one quote": "> a line that is quoted\n" * (QUARTER // 24),
    "one definition after another": "[a]: http://b.example/some/path\n" * (QUARTER // 32),
}


@pytest.mark.parametrize("name", LONG)
def test_one_endless_block_stays_in_proportion(name: str) -> None:
    """Pieces of 10 characters, shown after every 1,000 of them in the fences of 1 MB, every 250 in the others."""
    text, growing = LONG[name], Growing()
    started = time.process_time()
    for number, start in enumerate(range(0, len(text), 10)):
        growing.add(text[start : start + 10])
        if number % (len(text) // 1000) == 0:
            growing.html()
    html = growing.html()
    assert time.process_time() - started < 30  # a few seconds; were it quadratic, minutes
    assert html == render(text)
    assert growing.text == text


@pytest.mark.parametrize("end", ["", "Some", "Some words", "> Some", "- ", "x" * 2 * LIMIT])
def test_what_is_finished_is_told_once_wherever_the_text_stops(end: str) -> None:
    growing = Growing()
    for _ in range(4):
        growing.add("Some words of a part.\n\n" * (LIMIT // 23) + "More ")
        assert len(growing.step().tail) < 200
    growing.add(f"\n\nA part.\n\n{end}")
    assert len(growing.step().tail) < 200 + len(end)


@pytest.mark.parametrize("pieces", [1, 7, 600])
def test_very_many_lines_are_shown_as_written_from_there_on(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 2_000
    assert count < LINES
    monkeypatch.setattr(markdown, "LINES", count)
    text = "*a*\n\n" * count
    growing = Growing()
    for place in range(0, len(text), len(text) // pieces):
        growing.add(text[place : place + len(text) // pieces])
        if pieces < 100:
            growing.html()
    page = growing.html()
    assert page == render(text)
    assert page.count("<em>a</em>") < count
    assert page.count("<em>a</em>") + page.count("*a*") == count


@pytest.mark.parametrize("text", ["word " * LIMIT, "words\n" * LIMIT, "a\n\n- b\n\n" + "  c d e\n\n" * LIMIT])
def test_a_block_beyond_the_limit_loses_no_words(text: str) -> None:
    words = Checked(render(text)).text.split()
    assert words == text.replace("- ", "").split()


# -- in the browser


@pytest.mark.browser
def test_jupyterlab_does_not_typeset_model_text(lab: Lab) -> None:
    """It typesets other text/html outputs: the second cell shows that it was there and had its chance."""
    math = "$x^2$ $$y$$ $\\href{javascript:alert(1)}{z}$"
    shown = "from IPython.display import HTML\nfrom composemagic.notebook.markdown import render\n"
    lab.open([f"{shown}HTML(render({math!r}))", f"HTML({math!r})"])
    lab.run_all()
    lab.wait_for("() => document.querySelectorAll('mjx-container').length >= 3", "MathJax to typeset the second cell")
    assert "mjx-container" not in lab.dom_html(0)
    assert "$x^2$ $$y$$ $\\href{javascript:alert(1)}{z}$" in lab.dom_text(0)
