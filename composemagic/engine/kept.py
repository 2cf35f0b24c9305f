"""Who hears of each run of this process as it is made: a notebook's list of runs. Nobody does, unless asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["hear_of", "made"]

_hearers: list[Callable[[Any, str], None]] = []


def hear_of(hearer: Callable[[Any, str], None]) -> Callable[[], None]:
    """Call this with each Run from now on, and the name its workflow has, once however often it is said; returns what ends it."""
    if hearer not in _hearers:
        _hearers.append(hearer)
    return lambda: _hearers.remove(hearer) if hearer in _hearers else None


def made(run: Any, name: str) -> None:
    """A run has been made."""
    for hearer in tuple(_hearers):
        hearer(run, name)
