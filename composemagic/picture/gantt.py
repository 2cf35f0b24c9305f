"""What was done when: a lane for each job, with its requests, and its waits hatched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from composemagic.picture.svg import ACCENTS, WIDTH, Scale, box, frame, line, name_of, shortened, ticks, width_of, words
from composemagic.words import say

__all__ = ["Bar", "Lane", "gantt"]

_LANE, _BAR, _THIN = 30, 14, 5
_TOP, _LEFT, _RIGHT = 10, 150, WIDTH - 14
_MOST = 40  # lanes that are drawn
_NAME = 17  # letters of a lane's name beside it


class Bar(NamedTuple):
    """A stretch of time. `kind`: "job", "failed" or "stopped" for what was done, "request" for one, "wait" for a pause before
    something is tried again; `tip` says more."""

    start: float
    end: float
    kind: str
    tip: str = ""


class Lane(NamedTuple):
    """A job and its bars."""

    label: str
    bars: Sequence[Bar]


def gantt(lanes: Sequence[Lane], total: float, title: str) -> str:
    """The picture, as SVG text."""
    shown = lanes[:_MOST]
    scale = Scale(total, _LEFT, _RIGHT)
    bottom = _TOP + _LANE * len(shown)
    # of the same values always the same, and of no other picture
    hatch = name_of(f"{title}{total}{lanes}")
    parts = [_pattern(hatch), *ticks(scale, _TOP, bottom), line(_LEFT, bottom, _RIGHT, bottom)]
    for number, lane in enumerate(shown):
        parts += _lane(lane, _TOP + _LANE * number, scale, hatch)
    height = bottom + 40
    return frame(title, _told(lanes), height, [*parts, *_legend(lanes, height - 8, hatch)])


def _pattern(name: str) -> str:
    lines = f'<path d="M0 6L6 0" style="stroke:{ACCENTS["other"]};stroke-width:1.5"/>'
    return f'<defs><pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse">{lines}</pattern></defs>'


def _lane(lane: Lane, y: float, scale: Scale, hatch: str) -> Iterator[str]:
    yield words(_LEFT - 8, y + 14, shortened(lane.label, _NAME), anchor="end")
    for bar in lane.bars:
        x, end = scale(bar.start), scale(bar.end)
        if bar.kind == "request":
            yield box(x, y + 4 + _BAR + 2, end - x, _THIN, "fill:currentColor;fill-opacity:0.45", tip=bar.tip)
        else:
            yield box(x, y + 4, end - x, _BAR, _look(bar.kind, hatch), tip=bar.tip)


def _look(kind: str, hatch: str) -> str:
    match kind:
        case "wait":
            return f"fill:url(#{hatch});stroke:{ACCENTS['other']}"
        case "failed":
            return f"fill:{ACCENTS['bad']};fill-opacity:0.75"
        case "stopped":
            return "fill:currentColor;fill-opacity:0.25;stroke:currentColor;stroke-dasharray:3 2"
    return f"fill:{ACCENTS['good']};fill-opacity:0.75"


def _legend(lanes: Sequence[Lane], y: float, hatch: str) -> Iterator[str]:
    kinds = {bar.kind for lane in lanes for bar in lane.bars}
    x = float(_LEFT)
    for kind in ("job", "failed", "stopped", "wait", "request"):
        if kind in kinds:
            name = _name(kind)
            look = "fill:currentColor;fill-opacity:0.45" if kind == "request" else _look(kind, hatch)
            yield box(x, y - 8, 14, _THIN if kind == "request" else 9, look)
            yield words(x + 19, y, name, dim=True)
            x += 39 + width_of(name)


def _name(kind: str) -> str:
    match kind:
        case "failed":
            return say("failed")
        case "stopped":
            return say("stopped")
        case "wait":
            return say("wait before another try")
        case "request":
            return say("request")
    return say("job")


def _told(lanes: Sequence[Lane]) -> str:
    """The same in words."""
    return " ".join(_of_lane(lane) for lane in lanes)


def _of_lane(lane: Lane) -> str:
    done = [bar for bar in lane.bars if bar.kind not in ("request", "wait")]
    requests, waits = (sum(bar.kind == kind for bar in lane.bars) for kind in ("request", "wait"))
    times = [f"{bar.start:.2f}–{bar.end:.2f}" for bar in done]
    return say(
        "{job}: from and to seconds {times}; {requests} requests, {waits} waits.",
        job=lane.label,
        times=", ".join(times) or "–",
        requests=requests,
        waits=waits,
    )
