"""What a run waits for before it tries again, as lines that count down and go when the wait is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from composemagic.engine.events import Event, Waiting
from composemagic.notebook.look import clipped
from composemagic.words import say

__all__ = ["Waits"]

_MOST = 3


class Waits:
    """The waits of a run's jobs. A job's own next event ends its wait, and so does its time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._open: dict[str, tuple[Waiting, float]] = {}

    def hear(self, event: Event) -> None:
        """Take an event of the run."""
        if isinstance(event, Waiting):
            self._open[event.job] = (event, self._now() + event.seconds)
        elif self._open:
            self._open.pop(getattr(event, "job", ""), None)

    def lines(self, *, with_jobs: bool) -> list[str]:
        """A line for each wait that is not over, the seconds that are left in it."""
        now = self._now()
        self._open = {job: (wait, until) for job, (wait, until) in self._open.items() if until > now}
        lines = [_line(wait, until - now, with_job=with_jobs) for wait, until in self._open.values()]
        more = [say("and {count} more wait", count=len(lines) - _MOST)] if len(lines) > _MOST else []
        return lines[:_MOST] + more


def _line(wait: Waiting, left: float, *, with_job: bool) -> str:
    text = str(replace(wait, seconds=float(math.ceil(left))))  # a countdown ends at 1
    return clipped(say("{job}: {line}", job=wait.job, line=text) if with_job and wait.job else text, 200)
