"""Unquoted `${...}` in YAML: what ends them early, and how they are hidden while the text is read.

YAML ends a plain scalar at `{` in a flow collection, and at `: ` and ` #` anywhere. Where that hits a `${...}`, the
reference is hidden behind as many private-use characters, the text is read again, and what they hide is put back into the
value: all places stay true. A text that YAML reads without stumbling is never touched.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

__all__ = ["BREAK", "FILL", "Masked", "after_properties", "closing", "cut_in_flow", "references"]

FILL = "\ue000"
BREAK = "\n\r\x85\u2028\u2029"
_LINE = re.compile(rf"[^{BREAK}]*")
_START = re.compile(r"(?<!\$)(?:\$\$)*\$\{")
_PIECE = re.compile(rf"""[|\[][ \t]*(?:"[^"{BREAK}]*"|'[^'{BREAK}]*')(?=[ \t]*[\]}}@])|\\[{{}}]|[{{}}{BREAK}]""")
_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | [,\[\]{}] | [-?:](?=\s) | [:](?=[,\[\]{}"']) | [&*!][^\s,\[\]{}]*
    | "(?:[^"\\]|\\.)*+" | '(?:[^']|'')*+' | (?P<plain>[^\s"'|>](?:[^\s,\[\]{}:]|:(?![\s,\[\]{}])|[ \t]+(?![\s\#]))*+)""",
    re.VERBOSE | re.DOTALL,
)
_MEANS_MORE = re.compile(r"""["'\\]|:\s|\s#""")  # what quotes, escapes, keys and comments are made of
_PAIR = re.compile(r"(?<!\\)(?:\\\\)*(\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2}))")


def closing(text: str, start: int) -> int | None:
    """The index after the `}` that closes the `${` at `start` on its line."""
    depth = 0
    for piece in _PIECE.finditer(text, start):
        if piece[0] in BREAK:
            return None
        depth += {"{": 1, "}": -1}.get(piece[0], 0)
        if not depth:
            return piece.end()
    return None


def references(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The closed references that start between two indexes; none after one that is not closed on the same line.

    So every character is looked at once, also in a line of a hundred thousand `${`.
    """
    while found := _START.search(text, start, stop):
        at = found.end() - 2
        end = closing(text, at)
        if end is not None:
            yield at, end
        start = end or _LINE.match(text, at).end()  # type: ignore[union-attr]


def cut_in_flow(text: str, start: int, stop: int, depth: int) -> int | None:
    """The first `${` that ends a plain scalar in a flow collection; `start` is between two tokens.

    The parser looks ahead as far as a key could reach, so it may complain of what follows in the line before it comes to the
    `{` itself: in `[${input.x | 'b}'}]` of a quote that is not closed.
    """
    while start < stop and (token := _TOKEN.match(text, start)):
        start = token.end()
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if token["plain"] and depth and text.startswith("${", start - 1):
            return start - 1
        if not depth and (token["plain"] or token[0] in ("]", "}")):
            return None
    return None


class Masked:
    """A text in which some references are hidden."""

    def __init__(self, text: str) -> None:
        self.original = text
        self.text = text
        self.spans: list[tuple[int, int, str]] = []  # start, end, what it means in double quotes
        self.possible = FILL not in text
        self.stumbled = False
        if self.possible and "\\u" in text:
            # JSON writes characters beyond U+FFFF as two escapes, which YAML parsers refuse or leave apart
            self.show([(*pair.span(1), _character(pair[2], pair[3])) for pair in _PAIR.finditer(text)])

    def hide(self, at: int, *, allowed: bool) -> bool:
        """Hide the reference at an index, for which the parser stumbled; False if that cannot be done.

        The first time all others are hidden that mean the same to YAML wherever they stand, also in quotes, blocks and
        comments, so that a document is read twice and not once for each of them.
        """
        end = closing(self.original, at)
        if end is None or not self.possible or not allowed:
            return False
        hidden = [span for span in self.spans if span[1] <= at or span[0] >= end]
        if not self.stumbled:
            self.stumbled = True
            for begin, stop in references(self.original, 0, len(self.original)):
                inside = self.original[begin:stop]
                if (stop <= at or begin >= end) and not _MEANS_MORE.search(inside):
                    hidden.append((begin, stop, inside))
        self.show([*hidden, (at, end, self.original[at:end])])
        return True

    def show(self, spans: list[tuple[int, int, str]]) -> None:
        self.spans = sorted(spans)
        parts, done = [], 0
        for start, end, _ in self.spans:
            parts += [self.original[done:start], FILL * (end - start)]
            done = end
        self.text = "".join([*parts, self.original[done:]])

    def restore(self, value: str, start: int, end: int, style: str) -> str:
        """Put back what is hidden in the decoded scalar that stands between two indexes."""
        begin = after_properties(self.original, start, end)
        if style in ("|", ">"):
            begin = self.original.find("\n", begin) + 1  # a comment may follow the indicator
        parts, done = [], 0
        for first, last, meaning in self.spans[bisect_left(self.spans, (begin, 0, "")) :]:
            if first >= end:
                break
            at = value.find(FILL, done)
            if (
                at < 0
            ):  # pragma: no cover - what is hidden in a scalar always shows in its value; or nothing is put back
                break
            parts += [value[done:at], meaning if style == '"' else self.original[first:last]]
            done = at + last - first
        return "".join([*parts, value[done:]])


def _character(high: str, low: str) -> str:
    return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)


_PROPERTIES = re.compile(r"(?:[!&][^\s]*|#[^\n]*|\s+)*")


def after_properties(text: str, start: int, end: int) -> int:
    """Where a node itself begins, after its tag and anchor."""
    if text[start : start + 1] not in ("!", "&"):
        return start
    found = _PROPERTIES.match(text, start, end)
    return found.end() if found else start
