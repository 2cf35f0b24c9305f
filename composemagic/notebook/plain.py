"""A run where no widgets are wanted: the text on stdout, everything else on stderr, questions typed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from composemagic.engine.asking import choices, meaning
from composemagic.engine.events import (
    Delta,
    Event,
    Interrupted,
    JobFailed,
    JobFinished,
    JobRouted,
    JobSkipped,
    JobStopped,
    Notice,
    Point,
    RunFailed,
    RunFinished,
    RunStopped,
    Waiting,
)
from composemagic.engine.record import is_last
from composemagic.engine.run import Run
from composemagic.engine.summary import summary
from composemagic.errors import UsageError
from composemagic.notebook import jobs
from composemagic.notebook.attended import can_type
from composemagic.notebook.look import clipped
from composemagic.notebook.questions import question, still_open
from composemagic.notebook.still import nothing, output_text
from composemagic.notebook.tree import value_text
from composemagic.terminal import Prose, has_colours
from composemagic.text import plain

__all__ = ["Plain", "tell_end", "watch"]

_SHORT = 400  # characters of a value that is asked about
_STOP_SECONDS = 2.0


class Plain:
    """A run in a terminal. Text streams, as Markdown where there are colours; an object with streams in it is printed when it
    is whole. `last` gives the text of a run that has not streamed any.
    """

    def __init__(self, last: Callable[[Run], str] | None = None) -> None:
        self.attended = can_type(_shell())
        self._text = last or output_text
        self._prose = Prose(encoding=sys.stdout.encoding) if _is_colourful() else None
        self._has_streamed = False
        self._wrote = ""
        self._held: list[str] = []

    def show(self) -> None:
        """Nothing is shown before the first delta."""

    def follow(self, run: Run) -> None:
        """Print what this run says until it ends; an interrupt stops the run and goes on as KeyboardInterrupt."""
        try:
            for event in run:
                self._say(run, event)
        finally:
            self._end_line()
            sys.stdout.flush()
            for line in self._held:
                self._tell(line)

    def finish(self, run: Run) -> None:
        """Print the footer."""
        print(summary(run), file=sys.stderr)

    def _say(self, run: Run, event: Event) -> None:
        match event:
            case Delta(value, path=()):
                self._has_streamed = True
                if isinstance(value, str) and run.encoding != "json":
                    self._write_prose(value)
                else:
                    self._write(value_text(value) + "\n")
            case Notice() | Waiting():
                self._tell(str(event))
            case JobFinished(job) | JobRouted(job) | JobSkipped(job) | JobFailed(job) | JobStopped(job):
                if jobs.are_several(run):
                    self._tell_later(jobs.text_line(run, job))
            case Interrupted(points):
                self._ask(run, points)
            case RunFinished() | RunStopped() | RunFailed():
                self._last(run)

    def _last(self, run: Run) -> None:
        """What has not been streamed."""
        if sentence := nothing(run):
            self._tell(sentence)
        elif not self._has_streamed:
            self._write(self._text(run))

    def _ask(self, run: Run, points: Sequence[Point]) -> None:
        """Ask for each point. Who ends the input stops the run; an interrupt does, too, as everywhere."""
        answers: dict[str, Any] = {}
        try:
            for point in points:
                self._tell(f"? {question(point)}")
                for value in (point.metadata, point.value):
                    if value is not None:
                        self._tell(f"  {clipped(run.redact(value_text(value, indent=None)), _SHORT)}")
                self._tell(f"  {choices(point)}")
                answers[point.id] = meaning(input("> "))
        except EOFError:
            run.cancel()
        else:
            with contextlib.suppress(UsageError):  # it was answered elsewhere
                run.answer(still_open(run, answers))

    def _tell_later(self, line: str) -> None:
        """Say how a job went, not in the middle of the text."""
        if self._has_streamed:
            self._held.append(line)
        else:
            self._tell(line)

    def _tell(self, line: str) -> None:
        if sys.stdout.isatty():  # elsewhere the two are apart, and the text stays as it is
            self._end_line()
        print(plain(line), file=sys.stderr, flush=True)

    def _write_prose(self, text: str) -> None:
        if self._prose is None:
            self._write(text)
        else:
            self._put(self._prose.add(text))

    def _write(self, text: str) -> None:
        self._put(plain(text))

    def _put(self, text: str) -> None:
        """Write to stdout; a terminal shows it at once, a kernel in its own time: it stores an output for every flush."""
        sys.stdout.write(text)
        if sys.stdout.isatty():
            sys.stdout.flush()
        self._wrote = text or self._wrote

    def _end_line(self) -> None:
        if self._prose is not None:
            self._put(self._prose.end())
        if self._wrote and not self._wrote.endswith("\n"):
            self._put("\n")


def watch(run: Run, last: Callable[[Run], str] | None = None) -> None:
    """Print a run that no cell waits for, to its end. An interrupt stops the run, and its error is told: neither is raised."""
    view = Plain(last)
    try:
        view.follow(run)
    except KeyboardInterrupt:
        run.cancel()
        run.wait(_STOP_SECONDS)
    view.finish(run)
    if run.error is not None:
        print(plain(str(run.error)), file=sys.stderr)


def tell_end(run: Run, title: str) -> None:
    """Say on a line how a run that no cell waits for has ended; in a terminal, which shows a line above its prompt."""

    def hear(batch: list[Event]) -> None:
        if is_last(batch[-1]):
            error = "" if run.error is None else f"\n{run.error}"
            print(plain(f"{title}: {summary(run)}{error}"), file=sys.stderr, flush=True)

    run.subscribe(hear)


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _is_colourful() -> bool:
    """Whether stdout is a terminal with colours; `ipython --colors=nocolor` wants none."""
    wants_none = str(getattr(_shell(), "colors", "")).lower() == "nocolor"
    return not wants_none and has_colours(sys.stdout)
