"""What a run has said, numbered from 1, so that a reader whose connection broke goes on where it was.

The latest events are kept one by one; older pieces of one text stand joined, a few hundred as one, under the number of the last.
Belongs to the loop of the run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby

from composemagic.engine.events import Delta, Event

__all__ = ["ForgottenError", "Log", "Numbered"]

Numbered = tuple[int, Event]
Path = tuple[str | int, ...]

_APART = 512  # of the latest events so many, and at most twice as many, stand one by one


class ForgottenError(Exception):
    """The events after this number are not kept one by one any more."""


class Log:
    """The events of one run. `is_one_text` says of a place in the output whether the deltas there may be joined."""

    def __init__(self, is_one_text: Callable[[Path], bool]) -> None:
        self.last = 0
        self._is_one_text = is_one_text
        self._old: list[Numbered] = []
        self._recent: list[Event] = []
        self._places: list[list[int]] = []

    @contextmanager
    def reader(self, place: int) -> Iterator[list[int]]:
        """While this lasts, what comes after the number that it holds can be had, however far the reader lags behind."""
        held = [place]
        self._places.append(held)
        try:
            yield held
        finally:
            self._places = [other for other in self._places if other is not held]

    def add(self, batch: list[Event]) -> None:
        """Add events at the end."""
        self._recent += batch
        self.last += len(batch)
        if len(self._recent) > 2 * _APART:
            self._join(len(self._recent) - _APART)

    def after(self, number: int, most: int | None = None) -> list[Numbered]:
        """The events after a number, 0 for all; of these the first `most`.

        Raises ForgottenError where the number lies inside a joined one.
        """
        first = self.last - len(self._recent) + 1
        if number >= first - 1:
            return self._after(number - first + 1, most)
        at = bisect_right(self._old, number, key=lambda one: one[0])
        if number and (at == 0 or self._old[at - 1][0] != number):
            raise ForgottenError
        old = self._old[at:] if most is None else self._old[at : at + most]
        return old + self._after(0, None if most is None else most - len(old))

    def _after(self, at: int, most: int | None) -> list[Numbered]:
        """Of the recent ones those from a place on."""
        end = len(self._recent) if most is None else at + most
        return list(enumerate(self._recent[at:end], self.last - len(self._recent) + 1 + at))

    def _join(self, count: int) -> None:
        first = self.last - len(self._recent) + 1
        old, self._recent = self._recent[:count], self._recent[count:]
        for text, group in groupby(enumerate(old, first), partial(self._key, sorted(held[0] for held in self._places))):
            several = list(group)
            self._old += several if text is None else [_joined(several)]

    def _key(self, places: list[int], one: Numbered) -> tuple[int, str, Path] | None:
        """What neighbouring pieces of one text have in common: no reader stands between them."""
        number, event = one
        if type(event) is Delta and type(event.value) is str and self._is_one_text(event.path):
            return bisect_left(places, number), event.job, event.path
        return None


def _joined(group: list[Numbered]) -> Numbered:
    number, last = group[-1]
    assert isinstance(last, Delta)
    return number, last._replace(value="".join(_values(group)))


def _values(group: list[Numbered]) -> Iterator[str]:
    return (event.value for _, event in group if isinstance(event, Delta))
