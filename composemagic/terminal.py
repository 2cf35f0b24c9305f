"""Markdown for a terminal with colours, as it is being written.

What has been put on the screen stays there: no cursor is moved. So a text goes out up to the first mark that may still turn
into something - `*`, a backtick, `[` - and from there once that is known, at the latest at the end of the line. A table's
lines wait for its end, because they are aligned. What stands between the marks is read by markdown-it, as on a page; what
a line begins with is read here.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from composemagic.text import Cleaner, plain

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["Prose", "columns", "has_colours"]

Piece = tuple[str, frozenset[str]]

_SGR = {"strong": "1", "dim": "2", "em": "3", "link": "4", "s": "9", "code": "36"}  # ECMA-48, 8.3.117
_HELD = 240  # characters that wait for the other end of a mark
_TRIES = 6  # places that may be that end
_MARKS = 1_000
_ROWS = 200  # lines that wait for the end of a table
_INDENT = "    "

_ACTIVE = re.compile(
    r"\*+(?=[^\s*]|$)|(?<!\w)_+(?=[^\s_]|$)|_$|(?<!~)~(?:~(?=\S|$)|$)|`|!?\[|!$"
    r"|<(?=https?:|mailto:|[a-z]{0,6}$)|\\(?=[!-/:-@\[-`{-~]|$)|&(?=#?\w{0,31}(?:;|$))"
)
_MARK = re.compile(r"[\[\]!*_~<`&\\]")
_CLOSERS = {"[": ")", "!": ")", "<": ">"}  # the others are their own
_NO_LINK = re.compile(r"!?\[[^\[\]]*\](?=[^(])|!$")
_BEGUN = re.compile(r"[\s>#*+_~`-]*(?:\d{1,9}[.)]?\s*)?|\s*(?:`{3}|~{3}|\|).*")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(?=\S)")
_RULE = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)$")
_BULLET = re.compile(r"(\s*)[-*+][ \t]+(?=\S)")
_NUMBER = re.compile(r"\s*\d{1,9}[.)][ \t]+(?=\S)")
_QUOTE = re.compile(r" {0,3}>[ \t]?")
_ROW = re.compile(r"\s*\|.*")
_DIVIDER = re.compile(r"\s*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_PLAIN: frozenset[str] = frozenset()
_ASCII = str.maketrans({"•": "-", "│": "|", "─": "-", "┼": "+"})


def has_colours(stream: Any) -> bool:
    """Whether a stream is a terminal that shows colours, and its user wants them: no-color.org, TERM."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return False
    term = os.environ.get("TERM", "")
    if sys.platform == "win32" and not term:
        return "WT_SESSION" in os.environ  # the old console shows the codes
    return term not in ("", "dumb")


class Prose:
    """Markdown that comes in pieces, as text and colours. What all calls give, joined, is what the screen is to have.

    `columns` is how wide the screen is; `encoding` what it can show, where that is less than UTF-8.
    """

    def __init__(self, columns: int = 0, encoding: str | None = "utf-8") -> None:
        self._columns = columns or shutil.get_terminal_size().columns
        self._encoding = encoding or "utf-8"
        self._cleaner = Cleaner()
        self._held = ""  # of the line that has not ended
        self._is_begun = False  # whether some of that line is out
        self._style = _PLAIN  # of the line's text
        self._fence = ""
        self._rows: list[str] = []

    def add(self, delta: str) -> str:
        """The next piece of the text: what can be shown of it by now."""
        self._held += self._cleaner.add(delta)
        *lines, self._held = self._held.split("\n")
        out = [self._line(line) for line in lines]
        return self._drawn("".join(out) + self._growing())

    def end(self) -> str:
        """What is still held back."""
        self._held += self._cleaner.end()
        line, self._held = self._held, ""
        out = (self._line(line) if line else "") + self._table()
        return self._drawn(out[:-1] if line else out)

    # -- lines -----------------------------------------------------------------------------------------------------------
    def _line(self, line: str) -> str:
        """The rest of a line that has ended, with its end."""
        if self._is_begun:
            self._is_begun = False
            return self._inline(line, self._style) + "\n"
        if self._fence:
            return self._code(line)
        if _ROW.fullmatch(line) and len(self._rows) < _ROWS:
            self._rows.append(line)
            return ""
        return self._table() + self._whole(line) + "\n"

    def _whole(self, line: str) -> str:
        if found := _FENCE.match(line):
            self._fence = found[1]
            language = found[2].strip()
            return _styled([(_INDENT + language, frozenset({"dim"}))]) if language else ""
        if _RULE.match(line):
            return _styled([("─" * min(self._columns, 40), frozenset({"dim"}))])
        head, rest = self._begin(line)
        return head + self._inline(rest, self._style)

    def _begin(self, line: str) -> tuple[str, str]:
        """What a line begins with as it is shown, and the rest of the line; its style from here on."""
        self._style = _PLAIN
        if found := _HEADING.match(line):
            self._style = frozenset({"strong"} if len(found[1]) > 1 else {"strong", "link"})
            return "", line[found.end() :]
        head = ""
        while found := _QUOTE.match(line):
            head, line = head + _styled([("│ ", frozenset({"dim"}))]), line[found.end() :]
        if found := _BULLET.match(line):
            return f"{head}{found[1]}• ", line[found.end() :]
        if found := _NUMBER.match(line):
            return head + found[0], line[found.end() :]
        indent = len(line) - len(line.lstrip())
        return head + line[:indent], line[indent:]

    def _growing(self) -> str:
        """What can be shown of a line that has not ended."""
        if self._fence or not self._held or (self._rows and not self._is_begun):
            return ""
        head = ""
        if not self._is_begun:
            if _BEGUN.fullmatch(self._held):
                return ""
            head, self._held = self._begin(self._held)
            self._is_begun = True
        ready, self._held = _settled(self._held)
        return head + self._inline(ready, self._style)

    def _code(self, line: str) -> str:
        if re.fullmatch(rf"\s*{re.escape(self._fence[0])}{{{len(self._fence)},}}\s*", line):
            self._fence = ""
            return "\n"
        return f"{_INDENT}{line}\n" if line else "\n"

    # -- tables ------------------------------------------------------------------------------------------------------------
    def _table(self) -> str:
        """The lines that looked like a table's, aligned if they are one that fits the screen."""
        rows, self._rows = self._rows, []
        if len(rows) < 2 or not _DIVIDER.fullmatch(rows[1]):
            return "".join(f"{self._inline(row, _PLAIN)}\n" for row in rows)
        head, rest = frozenset({"strong"}), rows[2:]
        cells = [
            [_pieces(cell, style) for cell in _cells(row)]
            for row, style in [(rows[0], head), *((one, _PLAIN) for one in rest)]
        ]
        count = len(cells[0])
        cells = [[*row[:count], *[[] for _ in range(count - len(row))]] for row in cells]
        wide = [max(_width(row[at]) for row in cells) for at in range(count)]
        if sum(wide) + 3 * count > self._columns:
            return "".join(f"{self._inline(row, _PLAIN)}\n" for row in rows)
        lines = [
            " │ ".join(_padded(cell, width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in cells
        ]
        lines.insert(1, "─┼─".join("─" * width for width in wide))
        return "".join(f"{line}\n" for line in lines)

    # -- what a line consists of ---------------------------------------------------------------------------------------------
    def _inline(self, text: str, style: frozenset[str]) -> str:
        return _styled(_pieces(text, style))

    def _drawn(self, text: str) -> str:
        """With ASCII signs where the screen's encoding lacks ours."""
        if text.isascii():
            return text
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            return text.translate(_ASCII)
        return text


def _settled(text: str) -> tuple[str, str]:
    """The start of a line that nothing which comes later changes, and the rest."""
    done = len(text) if _is_noise(text) else 0
    while found := _ACTIVE.search(text, done):
        end = _span(text, found.start())
        if end is None:
            if len(text) - found.start() <= _HELD:
                return text[: found.start()], text[found.start() :]
            end = found.end()  # nobody writes so much between two marks
        done = end
    return text, ""


def _span(text: str, start: int) -> int | None:
    """Where what begins with a mark ends; None while that is not known."""
    if found := _NO_LINK.match(text, start):
        return found.end() if found[0] != "!" else None
    if text[start] == "\\":
        return start + 2 if len(text) > start + 1 else None
    if text[start] == "&":
        return text.find(";", start) + 1 or None
    closer = _CLOSERS.get(text[start], text[start])
    at = start
    for _ in range(_TRIES):
        at = text.find(closer, at + 1, start + _HELD)
        if at < 0:
            return None
        # a mark that goes on; one that opens another (CommonMark 0.31, 6.2)
        goes_on = closer in "*_`~" and text[at + 1 : at + 2] in ("", closer)
        opens = closer in "*_~" and text[at - 1].isspace()
        if not goes_on and not opens and _is_whole(text[start : at + 1]):
            return at + 1
    return None


def _is_whole(text: str) -> bool:
    return not any(token.type == "text" and _ACTIVE.search(token.content) for token in _parsed(text))


def _pieces(text: str, style: frozenset[str]) -> list[Piece]:
    """A text without line ends as pieces, each in one style."""
    return list(_walked(_parsed(text), style))


def _walked(tokens: Sequence[Token], style: frozenset[str]) -> Iterator[Piece]:
    styles, addresses = [style], []
    for token in tokens:
        kind = token.type.removesuffix("_open").removesuffix("_close")
        if token.nesting == 1:
            styles.append(styles[-1] | {kind})
            addresses.append((str(token.attrs.get("href", "")), token.info))
        elif token.nesting == -1:
            styles.pop()
            address, info = addresses.pop()
            if address and info != "auto":
                yield f" ({plain(address)})", styles[-1] | {"dim"}
        elif token.type == "image":
            yield plain(token.content or str(token.attrs["src"])), styles[-1] | {"link"}
            yield f" ({plain(str(token.attrs['src']))})", styles[-1] | {"dim"}
        else:
            # an entity (`&#27;`) brings back what was removed from the text
            yield plain(token.content), styles[-1] | ({"code"} if token.type == "code_inline" else set())


def _is_noise(text: str) -> bool:
    """Whether there are so many marks in a line that nobody has written them: each that has no other end is costly."""
    return len(text) > _MARKS and len(_MARK.findall(text)) > _MARKS


def _parsed(text: str) -> Sequence[Token]:
    from markdown_it.token import Token  # only who shows Markdown pays for it

    if _is_noise(text):
        return [Token("text", "", 0, content=text)]
    [token] = _markdown().parseInline(text)
    return token.children or []


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).disable(["html_inline", "newline"]).enable("strikethrough")


def _styled(pieces: Iterable[Piece]) -> str:
    """Pieces with the codes of their styles around each: whatever ends the text, no colour stays on."""
    return "".join(
        f"\x1b[{';'.join(_SGR[one] for one in _SGR if one in style)}m{text}\x1b[0m" if style and text else text
        for text, style in pieces
    )


def _cells(row: str) -> list[str]:
    inner = row.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def _padded(cell: list[Piece], width: int) -> str:
    return _styled(cell) + " " * (width - _width(cell))


def _width(cell: Iterable[Piece]) -> int:
    """Columns of the screen; UAX 11."""
    return sum(columns(text) for text, _ in cell)


def columns(text: str) -> int:
    """How many columns of a screen a text takes; UAX 11."""
    return sum(map(_columns_of, text))


def _columns_of(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
