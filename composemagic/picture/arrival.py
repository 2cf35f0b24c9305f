"""How a text arrives: its characters over time, for one run or several beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from composemagic.picture.svg import ACCENTS, WIDTH, Scale, escaped, frame, line, ticks, words
from composemagic.words import say

__all__ = ["Series", "arrival"]

_TOP, _HEIGHT, _LEFT, _RIGHT = 22, 130, 46, WIDTH - 14
_MOST = 300  # points that are drawn
_LOOKS = (("good", ""), ("other", "6 3"), ("dim", "2 3"))


class Series(NamedTuple):
    """How one text arrived: seconds and the characters there were by then, rising; `end` is when nothing more came."""

    label: str
    points: Sequence[tuple[float, int]]
    end: float

    @property
    def first(self) -> float | None:
        """When the first character came."""
        return next((at for at, count in self.points if count), None)


def arrival(series: Sequence[Series], title: str) -> str:
    """The picture, as SVG text."""
    total = max((one.end for one in series), default=0.0)
    most = max((count for one in series for _, count in one.points), default=0)
    scale = Scale(total, _LEFT, _RIGHT)
    bottom = _TOP + _HEIGHT
    parts = [
        *ticks(scale, _TOP, bottom),
        *_height(most),
        line(_LEFT, bottom, _RIGHT, bottom),
        line(_LEFT, _TOP, _LEFT, bottom),
    ]
    for number, one in enumerate(series):
        parts += _drawn(one, number, most, scale)
    return frame(title, _told(series), bottom + 22 + 16 * len(series), [*parts, *_legend(series, bottom + 34)])


def _height(most: int) -> Iterator[str]:
    yield words(_LEFT - 5, _TOP + 4, f"{most:,}", anchor="end", dim=True)
    yield words(_LEFT - 5, _TOP + _HEIGHT, "0", anchor="end", dim=True)
    yield words(_LEFT, _TOP - 9, say("characters"), dim=True)


def _drawn(one: Series, number: int, most: int, scale: Scale) -> Iterator[str]:
    color, dashes = _LOOKS[number % len(_LOOKS)]
    stroke = ACCENTS[color]

    def y(count: int) -> float:
        return round(_TOP + _HEIGHT * (1 - count / max(most, 1)), 1)

    path = [f"M{scale(0):g} {y(0):g}"]
    last = 0
    for at, count in _thinned(one.points):
        path.append(f"H{scale(at):g}V{y(count):g}")
        last = count
    path.append(f"H{scale(one.end):g}")
    dash = f";stroke-dasharray:{dashes}" if dashes else ""
    yield f'<path d="{"".join(path)}" style="fill:none;stroke:{stroke};stroke-width:2{dash}"/>'
    if one.first is not None:
        tip = escaped(say("first word after {seconds} s", seconds=f"{one.first:.2f}"), 200)
        yield f'<circle cx="{scale(one.first):g}" cy="{y(0):g}" r="4" style="fill:{stroke}"><title>{tip}</title></circle>'
    yield f'<circle cx="{scale(one.end):g}" cy="{y(last):g}" r="2.5" style="fill:{stroke}"/>'


def _thinned(points: Sequence[tuple[float, int]]) -> Sequence[tuple[float, int]]:
    """As many points as can be seen; the first and the last stay."""
    if len(points) <= _MOST:
        return points
    step = (len(points) - 1) / (_MOST - 1)
    return [points[round(at * step)] for at in range(_MOST)]


def _legend(series: Sequence[Series], y: float) -> Iterator[str]:
    for number, one in enumerate(series):
        color, dashes = _LOOKS[number % len(_LOOKS)]
        dash = f";stroke-dasharray:{dashes}" if dashes else ""
        at = y + 16 * number
        yield f'<path d="M{_LEFT} {at - 4:g}h24" style="stroke:{ACCENTS[color]};stroke-width:2{dash}"/>'
        yield words(_LEFT + 30, at, _sentence(one))


def _told(series: Sequence[Series]) -> str:
    return " ".join(_sentence(one) for one in series)


def _sentence(one: Series) -> str:
    characters = f"{max((count for _, count in one.points), default=0):,}"
    end = f"{one.end:.2f}"
    if one.first is None:
        return say("{label}: nothing came in {end} s", label=one.label, end=end)
    first = f"{one.first:.2f}"
    return say(
        "{label}: first word after {first} s, {count} characters in {end} s",
        label=one.label,
        first=first,
        count=characters,
        end=end,
    )
