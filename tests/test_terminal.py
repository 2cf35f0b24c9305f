"""Markdown in a terminal: what stands on the screen, however the text came in pieces."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composemagic.terminal import Prose, has_colours
from composemagic.text import plain

NAMES = {"1": "b", "2": "dim", "3": "i", "4": "u", "9": "s", "36": "code"}


def shown(text: str, size: int = 0, **how: Any) -> str:
    """What a screen gets, in pieces of so many characters."""
    prose = Prose(**{"columns": 60, **how})
    pieces = [text[at : at + size] for at in range(0, len(text), size)] if size else [text]
    return "".join(map(prose.add, pieces)) + prose.end()


def marked(screen: str) -> str:
    """The same with its colours as words, runs of one style joined: `<b>bold</b>`."""
    found, last = "", ""
    for match in re.finditer(r"\x1b\[([\d;]+)m([^\x1b]*)\x1b\[0m|([^\x1b]+)", screen):
        style = " ".join(NAMES[code] for code in match[1].split(";")) if match[1] else ""
        if style != last:
            found += (f"</{last}>" if last else "") + (f"<{style}>" if style else "")
        found, last = found + (match[2] or match[3] or ""), style
    return found + (f"</{last}>" if last else "")


def bare(screen: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", screen)


ROWS = {
    "plain text": ("Just text.", "Just text."),
    "bold and italic": ("a **b c** and *d* _e_.", "a <b>b c</b> and <i>d</i> <i>e</i>."),
    "both": ("***x*** y", "<b i>x</b i> y"),
    "code": ("use `x*y*` or ``a`b``.", "use <code>x*y*</code> or <code>a`b</code>."),
    "code in bold": ("**a `b` c**", "<b>a </b><b code>b</b code><b> c</b>"),
    "struck": ("~~no~~ ~5 a~b~", "<s>no</s> ~5 a~b~"),
    "no marks": ("2 * 3 = 6, a*b, snake_case_name, 5 ** 2, R&D, a < b", "2 * 3 = 6, a*b, snake_case_name, 5 ** 2, R&D, a < b"),
    "escaped": (r"\*not\* C:\dir", r"*not* C:\dir"),
    "not closed": ("**never\nclosed**", "**never\nclosed**"),
    "a link": ("see [the *page*](https://e.org/a_b_c).", "see <u>the </u><i u>page</i u><dim> (https://e.org/a_b_c)</dim>."),
    "no link": ("a[0] and [1], [ ] todo [x](javascript:alert(1))", "a[0] and [1], [ ] todo [x](javascript:alert(1))"),
    "a bare link": ("<https://e.org> <b>", "<u>https://e.org</u> <b>"),
    "an image": ("![a cat](https://e.org/c.png)", "<u>a cat</u><dim> (https://e.org/c.png)</dim>"),
    "headings": ("# One\n## Two *x*\n#hash\n", "<b u>One</b u>\n<b>Two </b><b i>x</b i>\n#hash\n"),
    "lists": ("- a\n* **b**\n  + c\n12. d\n-e", "• a\n• <b>b</b>\n  • c\n12. d\n-e"),
    "a quotation": ("> a\n> > *b*", "<dim>│ </dim>a\n<dim>│ │ </dim><i>b</i>"),
    "a rule": ("---\n***", f"<dim>{'─' * 40}</dim>\n<dim>{'─' * 40}</dim>"),
    "code lines": ("```python\nx = *a*\n\n  # b\n```\n**c**", "<dim>    python</dim>\n    x = *a*\n\n      # b\n\n<b>c</b>"),
    "other fences": ("~~~\n```\n~~~\nx", "\n    ```\n\nx"),
    "code without an end": ("```\nx", "\n    x"),
    "a table": (
        "| a | b |\n|---|:-:|\n| **1** | 中文 |\n| long one |\n\nx",
        "<b>a</b>        │ <b>b</b>\n─────────┼─────\n<b>1</b>        │ 中文\nlong one │\n\nx",
    ),
    "a bar in a cell": ("|a|b|\n|-|-|\n|x\\|y|`z`|", "<b>a</b>   │ <b>b</b>\n────┼──\nx|y │ <code>z</code>"),
    "a table that is too wide": (f"| {'x' * 50} | {'y' * 50} |\n|---|---|\n", f"| {'x' * 50} | {'y' * 50} |\n|---|---|\n"),
    "bars without a table": ("| a | b\n**c**", "| a | b\n<b>c</b>"),
    "an entity": ("&amp; &#27;[31m &copy;", "& \ufffd[31m ©"),
    "Chinese": ("**重点**：`码`", "<b>重点</b>：<code>码</code>"),
}  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("case", ROWS)
def test_what_stands_on_the_screen(case: str, size: int) -> None:
    text, expected = ROWS[case]
    joined = marked(shown(text, size)).replace("</dim><dim>", "")
    assert joined == expected


@pytest.mark.parametrize(
    "hostile", ["\x1b[31mred\x1b[0m", "\x1b]0;title\x07x", "\x9b2Jx", "\x07\x08x", "\u202ex", "a\rb"]
)
def test_what_a_terminal_would_obey_is_taken_out(hostile: str) -> None:
    for text in (
        hostile,
        f"**{hostile}**",
        f"[{hostile}](https://e.org)",
        f"```\n{hostile}\n```",
        f"|{hostile}|\n|-|\n",
    ):
        for size in (0, 1):
            rest = bare(shown(text, size))
            assert rest == plain(rest)
            assert "title" not in rest


@pytest.mark.parametrize("entity", ["&#27;[2J", "&#x1b;]0;t&#7;", "&#x9b;2J", "&#8238;x"])
def test_entities_bring_nothing_back(entity: str) -> None:
    rest = bare(shown(f"a {entity} [x](https://e.org/{entity})"))
    assert rest == plain(rest)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab *_`~[]()!<>\\&;#-|>1.\n\x1b中"), max_size=60), st.integers(1, 9))
def test_no_text_is_lost_and_no_code_stays_on(text: str, size: int) -> None:
    screen = shown(text, size)
    assert screen.count("\x1b") == 2 * screen.count("\x1b[0m")
    rest = bare(screen)
    assert [char for char in rest if char.isalnum()] == [char for char in plain(text) if char.isalnum()]
    assert rest == plain(rest)


def test_words_do_not_wait_for_the_end_of_their_line() -> None:
    prose = Prose(60)
    assert prose.add("The quick ") == "The quick "
    assert prose.add("brown **fo") == "brown "
    assert prose.add("x** jumps") == "\x1b[1mfox\x1b[0m jumps"
    assert prose.add(" 2 * 3") == " 2 * 3"
    assert prose.end() == ""


def test_a_mark_without_another_does_not_hold_the_text_for_ever() -> None:
    prose = Prose(60)
    assert prose.add("a **b ") == "a "
    assert len(prose.add("word " * 100)) > 400


def test_a_table_waits_for_its_end() -> None:
    prose = Prose(60)
    assert prose.add("| a | b |\n|---|---|\n| 1 |") == ""
    assert bare(prose.add(" 2 |\n\n")).splitlines() == ["a │ b", "──┼──", "1 │ 2", ""]


def test_what_is_said_between_ends_what_is_held_back() -> None:
    prose = Prose(60)
    assert prose.add("a **b") == "a "
    assert prose.end() == "**b"
    assert prose.end() == ""
    assert prose.add(" c\n- d") == " c\n• d"


def test_signs_that_an_encoding_lacks_are_ascii() -> None:
    assert bare(shown("- a\n> b\n\n|a|b|\n|-|-|\n", encoding="ascii")) == "- a\n| b\n\na | b\n--+--\n"


@pytest.mark.parametrize(
    "big", ["*", "*a ", "[a", "a*", "a`", "&amp;", "_a ", "[a](b) ", "|", "> ", "\\", "|a\n", "a)*("]
)
def test_a_long_line_of_marks_takes_no_longer_than_it_should(big: str) -> None:
    text = big * 20_000
    assert shown(text)
    assert shown(text[:20_000], 7)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
    ],
)
def test_where_there_are_colours(environ: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "NO_COLOR", "WT_SESSION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert has_colours(Screen()) is expected
    assert not has_colours(io.StringIO())
