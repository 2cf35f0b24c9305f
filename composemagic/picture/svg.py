"""What every picture is made of: the frame, the scale of seconds, lines, boxes and words.

Lines and words take the page's own colour (`currentColor`), accents its theme's where it has one. Nothing is fetched, nothing
runs, and the same values give the same text.
"""

from __future__ import annotations

import hashlib
import html
import unicodedata
from collections.abc import Iterable, Iterator

from composemagic.text import clean, plain
from composemagic.words import say

__all__ = [
    "ACCENTS", "LETTER", "WIDTH", "Scale", "box", "escaped", "frame", "line", "name_of", "shortened", "ticks", "width_of", "words",
]  # fmt: skip

WIDTH = 640
LETTER = 7.9
"""How wide a letter is, about."""
ACCENTS = {
    "good": "var(--jp-brand-color1,#1976d2)",
    "other": "var(--jp-warn-color1,#e07000)",
    "bad": "var(--jp-error-color1,#d32f2f)",
    "dim": "currentColor",
}
_FONT = "font-family:var(--jp-ui-font-family,sans-serif);font-size:12px"
_STEPS = (1.0, 2.0, 5.0, 10.0)
_MOST_TICKS = 7
_LABEL = 100
_THIN, _BROAD = frozenset("fijlrtI.,:;'!|()[] -"), frozenset("mwMW@%…")
_NO_CHARACTERS = dict.fromkeys((0xFFFE, 0xFFFF))


class Scale:
    """Seconds to places between `left` and `right`."""

    def __init__(self, total: float, left: float, right: float) -> None:
        self.total = max(total, 1e-3)
        self.left, self.right = left, right

    def __call__(self, seconds: float) -> float:
        """The place of a moment."""
        share = min(1.0, max(0.0, seconds / self.total))
        return round(self.left + share * (self.right - self.left), 1)


def escaped(text: str, most: int = _LABEL) -> str:
    """A text from outside as one short line that SVG shows and nothing else."""
    found = " ".join(_in_xml(text).split())
    return html.escape(found if len(found) <= most else f"{found[: most - 1]}…")


def _in_xml(text: str) -> str:
    """A text without what XML cannot hold (XML 1.0, 2.2)."""
    return plain(clean(text)).translate(_NO_CHARACTERS)


def name_of(text: str) -> str:
    """A name for what a picture refers to in itself, which no other picture on the page has."""
    return f"compose-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:10]}"


def frame(title: str, description: str, height: float, parts: Iterable[str], *, width: float = WIDTH) -> str:
    """A picture. Screen readers read its title and description in place of it."""
    body = "".join(parts)
    shown, told = html.escape(_in_xml(title)), html.escape(_in_xml(description or title))
    name = name_of(body + title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{name}-t {name}-d" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" style="max-width:100%;height:auto;color:var(--jp-content-font-color1,inherit);{_FONT}">'
        f'<title id="{name}-t">{shown}</title><desc id="{name}-d">{told}</desc>{body}</svg>'
    )


def line(x1: float, y1: float, x2: float, y2: float, *, faint: bool = False, color: str = "dim") -> str:
    """A line; a faint one for a grid."""
    opacity = ' stroke-opacity="0.2"' if faint else ""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" style="stroke:{ACCENTS[color]}"{opacity}/>'


def box(x: float, y: float, width: float, height: float, style: str, *, tip: str = "") -> str:
    """A box at least one unit wide; `tip` is shown where the pointer rests on it."""
    title = f"<title>{escaped(tip, 200)}</title>" if tip else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{max(1.0, round(width, 1)):g}" height="{height:g}" rx="2" style="{style}">{title}</rect>'


def words(x: float, y: float, text: str, *, anchor: str = "start", dim: bool = False, bold: bool = False) -> str:
    """A short text on one line."""
    look = ' fill-opacity="0.7"' if dim else ""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="currentColor"{look}{weight}>{escaped(text)}</text>'


def width_of(text: str) -> float:
    """About how wide a text is, in whichever font the page has."""
    return sum(map(_letter, text))


def _letter(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 12.5
    if letter in _THIN:
        return 4.5
    return 12.0 if letter in _BROAD else LETTER


def shortened(text: str, most: int) -> str:
    """A text of about so many letters' width."""
    line = " ".join(text[: 8 * most].split())
    if width_of(line) <= most * LETTER:
        return line
    while width_of(line) > (most - 1) * LETTER:
        line = line[: -max(1, len(line) - most)]
    return f"{line}…"


def ticks(scale: Scale, top: float, bottom: float) -> Iterator[str]:
    """A grid of seconds, with their numbers below."""
    step = _step(scale.total)
    count = int(scale.total / step + 1e-9)
    for at in range(count + 1):
        x = scale(at * step)
        yield line(x, top, x, bottom, faint=True)
        number = say("{seconds} s", seconds=f"{at * step:g}")
        is_at_the_edge = x + width_of(number) / 2 > WIDTH
        place, anchor = (float(WIDTH), "end") if is_at_the_edge else (x, "middle")
        yield words(place, bottom + 14, number, anchor=anchor, dim=True)


def _step(total: float) -> float:
    """The seconds between two lines of the grid: 1, 2 or 5 of a power of ten."""
    power = 1e-4
    while True:
        for factor in _STEPS:
            if total / (power * factor) <= _MOST_TICKS:
                return round(power * factor, 6)
        power *= 10
