"""`.name[0][1:3][*]` behind a source -> a function that finds its value. What is not there is null, never an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from composemagic.language.expression import Each, Index, Name, Segment, Slice

__all__ = ["Find", "finder"]

Find = Callable[[Any], Any]


def finder(segments: tuple[Segment, ...]) -> Find:
    """The function that walks a path from a value: mappings by name, lists by position, `[*]` over a list's items."""
    steps = [segment[0] for segment in segments if isinstance(segment, Name | Index)]
    if len(steps) == len(segments):
        return _steps(tuple(steps))
    first, rest = segments[0], finder(segments[1:])
    if isinstance(first, Each):
        return lambda value: [rest(item) for item in value] if isinstance(value, list | tuple) else None
    if isinstance(first, Slice):
        start, stop = first
        return lambda value: rest(value[start:stop]) if isinstance(value, list | tuple) else None
    step = first[0]
    return lambda value: rest(_step(value, step))


def _steps(steps: tuple[Any, ...]) -> Find:
    """Names and positions only: the usual path, and the one that runs for every chunk."""

    def find(value: Any) -> Any:
        for step in steps:
            # exact types first: JSON gives nothing else
            if type(value) is dict:
                value = value.get(step)
            elif type(value) is list and type(step) is int:
                value = value[step] if -len(value) <= step < len(value) else None
            else:
                value = _step(value, step)
        return value

    return find


def _step(value: Any, step: str | int) -> Any:
    if isinstance(step, int):
        inside = isinstance(value, list | tuple) and -len(value) <= step < len(value)
        return value[step] if inside else None
    return value.get(step) if isinstance(value, Mapping) else None
