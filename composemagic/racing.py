"""The same request with and without streaming, side by side: when does a reader see the first word?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from composemagic.words import say
from composemagic.workflow.written import nested

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.transport.unstreamed import Unstreamed

__all__ = ["Lap", "Race", "start"]

_SAME = 0.005  # seconds that nobody sees


@dataclass(frozen=True, slots=True)
class Lap:
    """One of the two: seconds until the first word and until the end; None where there was none yet."""

    first_word: float | None
    total: float | None


class Race:
    """Two runs of one workflow with the same input: `streaming` as it is, `whole` without streaming.

    `is_honest`: the second request itself went out with `stream: false`; else its stream was held back to its end.
    """

    def __init__(self, streaming: Run, whole: Run, way: Unstreamed) -> None:
        self.streaming = streaming
        self.whole = whole
        self._way = way

    @property
    def runs(self) -> tuple[Run, Run]:
        """Both."""
        return self.streaming, self.whole

    @property
    def done(self) -> bool:
        """Whether both have ended."""
        return self.streaming.done and self.whole.done

    @property
    def is_honest(self) -> bool:
        """Whether the second request itself asked for no stream."""
        return self._way.turned_off > 0 and self._way.held_back == 0

    @property
    def laps(self) -> tuple[Lap, Lap]:
        """The times of both."""
        return lap(self.streaming), lap(self.whole)

    def cancel(self) -> None:
        """Stop both."""
        for run in self.runs:
            run.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until both have ended, at most `timeout` seconds each; whether they have."""
        return all(run.wait(timeout) for run in self.runs)

    @property
    def how(self) -> str:
        """How the second one was kept from streaming, as a sentence."""
        if self.is_honest:
            return say("The second request was sent with `stream: false`.")
        if self._way.held_back:
            return say(
                "The second stream was held back to its end: this service has no whole answer of the same shape."
            )
        return say("Nothing streams here: the two requests are the same.")

    @property
    def sentence(self) -> str:
        """What came of it."""
        (one, other) = self.laps
        broken = next((run for run in self.runs if run.status in ("failed", "truncated", "stopped")), None)
        if broken is not None:
            return say("The race was not run to its end.") if broken.error is None else broken.error.sentence
        if one.first_word is None or other.first_word is None:
            return say("There was no word to wait for.") if self.done else say("The race goes on.")
        first, late, saved = one.first_word, other.first_word, other.first_word - one.first_word
        if saved < _SAME:
            return say(
                "With streaming the first word is there after {first} s, without it after {late} s: no sooner.",
                first=f"{first:.2f}",
                late=f"{late:.2f}",
            )
        return say(
            "With streaming the first word is there after {first} s, without it after {late} s: {saved} s later.",
            first=f"{first:.2f}",
            late=f"{late:.2f}",
            saved=f"{saved:.2f}",
        )

    def __str__(self) -> str:
        return f"{self.sentence} {self.how}" if self.done else self.sentence

    __repr__ = __str__


def start(workflow: Workflow, values: Mapping[str, Any]) -> Race:
    """Start both at the same time. Raises InputError."""
    from composemagic.transport.http import new_client  # only who races pays for it
    from composemagic.transport.unstreamed import Unstreamed

    given_values = nested(values)
    workflow.check(given_values)
    around = workflow.surroundings
    given = around.transport
    network = partial(private_loop().shared, "http", new_client) if given is None else lambda: given
    way = Unstreamed(network, turns_off=around.offline is None)
    other = workflow.around(replace(around, transport=way))
    streaming, whole = (one.start(given_values, attended=False, begins=False, trace=True) for one in (workflow, other))
    streaming.begin()
    whole.begin()
    return Race(streaming, whole, way)


def lap(run: Run) -> Lap:
    """The times of a run: the first word of one that gave a value at once comes with its end."""
    timing = run.timing
    first = timing.first_delta
    if first is None and run.done and run.status == "done" and run.output not in (None, "", []):
        first = timing.total
    return Lap(first, timing.total)
