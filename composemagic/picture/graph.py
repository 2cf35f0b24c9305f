"""How jobs are connected, and how far each is: boxes in layers, the ways between them, a sign and a colour for each status.

A picture of so few boxes is a few kilobytes; a face sends it only when a status changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from composemagic.picture.layers import Laid, Size, laid
from composemagic.picture.svg import ACCENTS, LETTER, escaped, frame, shortened, width_of

__all__ = ["MOST", "Arrow", "Box", "Light", "Net", "graph", "size_of"]

MOST = 20
"""Boxes that a reader takes in at a look."""

_WIDEST = 860  # where the layers are too many to stand side by side, they stand below each other
_NARROW = 44.0
_LONGEST = 22  # letters of a label
_LABEL = 16  # letters beside an arrow
_LINE, _PADDING, _SIGN = 15.0, 7.0, 15.0
_GAP, _GAP_DOWN = 34.0, 26.0
_EDGE = 3.0  # around everything, for lines have a width
_GREEN = "var(--jp-success-color1,#2e7d32)"


class Box(NamedTuple):
    """A job. `note` is what it does, on a line of its own; `chooses`: it decides what comes next; `inside` are the jobs in it."""

    id: str
    note: str = ""
    chooses: bool = False
    inside: Net | None = None


class Arrow(NamedTuple):
    """A way from box to box, by their ids. `routed`: it is taken only if somebody chooses it, drawn with dashes."""

    start: str
    end: str
    label: str = ""
    routed: bool = False


class Net(NamedTuple):
    """Boxes and the arrows between them."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...] = ()


class Light(NamedTuple):
    """How far a job is: a status (see `_LOOKS`), its sign, and words for who reads no signs."""

    status: str
    sign: str
    words: str


# the line, how wide it is, its dashes, what the box is filled with, and how strongly
_LOOKS = {
    "": ("currentColor", 1.0, "", "none", 0.0),
    "waiting": ("currentColor", 0.6, "", "none", 0.0),
    "running": (ACCENTS["good"], 2.5, "", ACCENTS["good"], 0.22),
    "asking": (ACCENTS["other"], 2.5, "", ACCENTS["other"], 0.25),
    "done": (_GREEN, 1.5, "", _GREEN, 0.16),
    "routed": (_GREEN, 1.5, "", _GREEN, 0.16),
    "skipped": ("currentColor", 0.8, "2 3", "none", 0.0),
    "failed": (ACCENTS["bad"], 2.5, "", ACCENTS["bad"], 0.22),
    "stopped": ("currentColor", 1.5, "6 3", "currentColor", 0.1),
}
_FAINT = ("waiting", "skipped")
_STRONG = ("running", "asking", "failed")

Place = tuple[float, float]
Taken = frozenset[tuple[str, str]]


def graph(net: Net, title: str, lights: Mapping[str, Light] | None = None, taken: Taken = frozenset()) -> str:
    """The picture, as SVG text. `lights` are those of the outer boxes, by id; the ways `taken` are drawn thicker."""
    drawing = _drawing(net, bool(lights))
    told = [f"{light.sign} {name}: {light.words}" for name, light in (lights or {}).items()]
    words = "; ".join(told or [_told(arrow) for arrow in net.arrows] or [box.id for box in net.boxes])
    parts = list(_drawn(net, drawing, lights or {}, taken, (_EDGE, _EDGE)))
    width, height = drawing.size
    return frame(title, words, height + 2 * _EDGE, parts, width=width + 2 * _EDGE)


def size_of(net: Net) -> tuple[float, float]:
    """The width and the height of a picture with lights."""
    width, height = _drawing(net, True).size
    return width + 2 * _EDGE, height + 2 * _EDGE


def _told(arrow: Arrow) -> str:
    return f"{arrow.start} → {arrow.end}" + (f" ({arrow.label})" if arrow.label else "")


# -- where things stand --------------------------------------------------------------------------------------------------


class _Drawing(NamedTuple):
    """A net that has been laid out: what is along the layers is across the page, or down it where `is_down`."""

    sizes: tuple[Place, ...]
    laid: Laid
    is_down: bool
    inner: tuple[_Drawing | None, ...]

    @property
    def size(self) -> Place:
        """Its width and its height."""
        return self.on_page(self.laid.size)

    def on_page(self, place: Place) -> Place:
        """A place as x and y."""
        return (place[1], place[0]) if self.is_down else place


@lru_cache(maxsize=64)
def _drawing(net: Net, has_signs: bool) -> _Drawing:
    """The net laid out from left to right, or downwards where that is too wide."""
    inner = tuple(_drawing(box.inside, False) if box.inside else None for box in net.boxes)
    sizes = tuple(_size(box, each, has_signs) for box, each in zip(net.boxes, inner, strict=True))
    number = {box.id: at for at, box in enumerate(net.boxes)}
    rooms = {(number[one.start], number[one.end]): width_of(shortened(one.label, _LABEL)) for one in net.arrows}
    right = _Drawing(sizes, laid([Size(*size) for size in sizes], rooms, _GAP), False, inner)
    if right.size[0] <= _WIDEST:
        return right
    rooms = {edge: LETTER if room else 0.0 for edge, room in rooms.items()}
    down = _Drawing(sizes, laid([Size(height, width) for width, height in sizes], rooms, _GAP_DOWN), True, inner)
    return min(right, down, key=lambda one: one.size[0])


def _size(box: Box, inner: _Drawing | None, has_signs: bool) -> Place:
    words = max(width_of(shortened(line, _LONGEST)) for line in _lines(box))
    width = max(_NARROW, words + 2 * _PADDING + (_SIGN if has_signs else 0.0))
    height = _LINE * len(_lines(box)) + 2 * _PADDING - 3
    if inner is None:
        return round(width, 1), height
    return round(max(width, inner.size[0] + 2 * _PADDING), 1), height + inner.size[1] + _PADDING


def _lines(box: Box) -> list[str]:
    return [line for line in (box.id, box.note) if line]


# -- what is drawn -------------------------------------------------------------------------------------------------------


def _drawn(net: Net, drawing: _Drawing, lights: Mapping[str, Light], taken: Taken, corner: Place) -> Iterator[str]:
    left, top = corner
    for arrow, way in zip(net.arrows, drawing.laid.ways, strict=True):
        points = [(x + left, y + top) for x, y in map(drawing.on_page, way.points)]
        path = _straight(points) if way.is_back else _curved(points, drawing.is_down)
        yield _arrow(arrow, path, points[-1], drawing.is_down, is_taken=(arrow.start, arrow.end) in taken)
        if arrow.label:
            yield _label(arrow.label, points[2:4] if way.is_back else points[-2:], drawing.is_down)
    for box, size, place, inner in zip(net.boxes, drawing.sizes, drawing.laid.places, drawing.inner, strict=True):
        x, y = drawing.on_page(place)
        yield _box(box, lights.get(box.id), (x + left, y + top), size)
        if box.inside and inner:
            below = y + top + size[1] - inner.size[1] - _PADDING
            yield from _drawn(box.inside, inner, {}, frozenset(), (x + left + (size[0] - inner.size[0]) / 2, below))


def _box(box: Box, light: Light | None, corner: Place, size: Place) -> str:
    x, y = corner
    stroke, line, dashes, fill, strength = _LOOKS[light.status if light else ""]
    dashed = f";stroke-dasharray:{dashes}" if dashes else ""
    filled = f"fill:{fill};fill-opacity:{strength:g}" if strength else "fill:none"
    tip = ": ".join(part for part in (box.id, light.words if light else box.note) if part)
    words = [_lit(box, light, corner)] if light else list(_middled(box, corner, size))
    return (
        f'<g><title>{escaped(tip, 200)}</title><rect x="{x:g}" y="{y:g}" width="{size[0]:g}" height="{size[1]:g}" '
        f'rx="{12 if box.chooses else 3}" pointer-events="all" style="stroke:{stroke};stroke-width:{line:g}{dashed};{filled}"/>'
        f"{''.join(words)}</g>"
    )


def _lit(box: Box, light: Light, corner: Place) -> str:
    """The sign and the name of a job whose status is shown."""
    look = ' fill-opacity="0.6"' if light.status in _FAINT else ""
    weight = ' font-weight="bold"' if light.status in _STRONG else ""
    text = escaped(f"{light.sign} {shortened(box.id, _LONGEST)}")
    return f'<text x="{corner[0] + _PADDING:g}" y="{corner[1] + 18:g}" fill="currentColor"{look}{weight}>{text}</text>'


def _middled(box: Box, corner: Place, size: Place) -> Iterator[str]:
    """The name of a job, and below it what it does."""
    x = corner[0] + size[0] / 2
    for number, line in enumerate(_lines(box)):
        look = ' fill-opacity="0.75"' if number else ' font-weight="bold"'
        text = escaped(shortened(line, _LONGEST))
        yield f'<text x="{x:g}" y="{corner[1] + 18 + _LINE * number:g}" text-anchor="middle" fill="currentColor"{look}>{text}</text>'


def _arrow(arrow: Arrow, path: str, end: Place, is_down: bool, *, is_taken: bool) -> str:
    head = f"M{end[0]:g} {end[1]:g}" + ("l-3.5 -7h7z" if is_down else "l-7 -3.5v7z")
    line = f"fill:none;stroke-width:{2 if is_taken else 1.2:g}" + (";stroke-dasharray:5 3" if arrow.routed else "")
    return (
        f'<g stroke="currentColor" fill="currentColor" opacity="{0.9 if is_taken else 0.45:g}">'
        f'<path d="{path}" style="{line}"/><path d="{head}" stroke="none"/></g>'
    )


def _straight(points: Sequence[Place]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _curved(points: Sequence[Place], is_down: bool) -> str:
    """A way that leaves and enters each layer straight on."""
    path = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        if is_down:
            middle = round((y + to_y) / 2, 1)
            path.append(f"C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}")
        else:
            middle = round((x + to_x) / 2, 1)
            path.append(f"C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}")
    return "".join(path)


def _label(text: str, points: Sequence[Place], is_down: bool) -> str:
    """What is said beside a stretch of an arrow: its last, since several may leave from one place."""
    (x, y), (to_x, to_y) = points
    at = (
        (to_x + 5, (y + to_y) / 2 if to_y < y else to_y - 10)
        if is_down
        else ((x + to_x) / 2, to_y + 13 if y < to_y else to_y - 5)
    )
    anchor = "start" if is_down else "middle"
    return (
        f'<text x="{at[0]:g}" y="{at[1]:g}" text-anchor="{anchor}" fill="currentColor" fill-opacity="0.75" font-size="11">'
        f"{escaped(shortened(text, _LABEL))}</text>"
    )
