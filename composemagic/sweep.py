"""One workflow with many values: a run for each combination, so many of them at once."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from composemagic.engine.loop import pause, private_loop
from composemagic.engine.run import Run
from composemagic.engine.summary import tokens_of
from composemagic.errors import InputError, UsageError, suggest
from composemagic.words import say
from composemagic.workflow.written import nested, scalar

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.workflow.inputs import Input

__all__ = ["AT_ONCE", "Trial", "Trials", "combinations", "parse_axis", "written"]

AT_ONCE = 4
"""Runs at once where nobody says how many: a comparison must not trip over a provider's limits."""

_POLL_SECONDS = 0.05
STOP_SECONDS = 2.0
_SHOWN = 40  # characters of a value in a sentence
_PIECE = re.compile(
    r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|\[[^\[\]]*\]|\{[^{}]*\}|[^,"'\s][^,]*)\s*(,|\Z)""", re.DOTALL
)


# -- what is varied --------------------------------------------------------------------------------------------------------


def parse_axis(text: str, inputs: Iterable[Input] = ()) -> tuple[str, list[Any]]:
    """`temperature=0,0.7,1.2` as ("temperature", [0, 0.7, 1.2]). Raises UsageError.

    Values are YAML scalars with commas between them, or JSON in brackets; one in quotes is text, whatever commas are in it, and so is every one
    of an input that the YAML calls text, where `inputs` say so.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    if not name or not equals:
        raise UsageError(say("what is varied is written NAME=VALUE,VALUE,..., not `{text}`", text=text))
    return name, [_value(name, piece, inputs) for piece in _pieces(text, rest)]


def _pieces(text: str, rest: str) -> Iterator[str]:
    """What stands between the commas."""
    place, comma = 0, ","
    while comma:
        found = _PIECE.match(rest, place)
        if found is None:
            raise UsageError(
                say('`{text}`: a value is missing, or a quote is not closed; an empty text is written ""', text=text)
            )
        comma, place = found[2], found.end()
        yield found[1].rstrip()


def _value(name: str, piece: str, inputs: Iterable[Input]) -> Any:
    if piece[0] == '"':
        return re.sub(r"\\(.)", r"\1", piece[1:-1])
    return piece[1:-1].replace("''", "'") if piece[0] == "'" else scalar(name, piece, inputs)


def combinations(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the axes' values, the last axis changing fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def written(value: Any) -> str:
    """A value as a caption has it: texts as they are."""
    return value if isinstance(value, str) else repr(value)


def _checked_axes(workflow: Workflow, axes: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The axes as lists. Raises UsageError for what is no list, is empty, or is nothing that the workflow asks for."""
    if not axes:
        raise UsageError(say("a sweep needs an input to vary, as in `sweep(temperature=[0, 0.7, 1.2])`"))
    asked = [one.name for one in workflow.inputs]
    is_open = any(one.is_open for one in workflow.inputs)
    found = {}
    for name, values in axes.items():
        if name not in asked and not is_open:
            near = suggest(name, asked)
            raise UsageError(say("the workflow does not ask for `{name}`{near}", name=name, near=near))
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise UsageError(say("`{name}` is varied over a list of values, as in `{name}=[...]`", name=name))
        found[name] = list(values)
        if not found[name]:
            raise UsageError(say("`{name}` is varied over a list of values; this one is empty", name=name))
    return found


# -- the runs --------------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Trial:
    """One combination of values and its run, which is None before the sweep begins. `began`: its turn has come."""

    values: Mapping[str, Any]
    run: Run | None = None
    began: bool = False

    @property
    def status(self) -> str:
        """As of a Run, and "waiting" before its turn has come."""
        if self.run is None or not (self.began or self.run.done):
            return "waiting"
        return self.run.status

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.run is not None and self.run.done


class Trials:
    """A run of the workflow for each combination of the axes' values, at most `at_once` at the same time.

    `axes` maps an input to a list of values, `values` gives the other inputs. Nothing runs before `begin`, which `wait`,
    `arun`, a loop over it and all that gives results call. A run that fails does not stop the others. `keep` is called with
    every Run. Raises InputError with everything that does not fit and everything that is missing, and UsageError.
    """

    def __init__(
        self,
        workflow: Workflow,
        axes: Mapping[str, Sequence[Any]],
        values: Mapping[str, Any] | None = None,
        keep: Callable[[Run], Any] | None = None,
        *,
        at_once: int = AT_ONCE,
    ) -> None:
        self.workflow = workflow
        self.axes = _checked_axes(workflow, axes)
        self.values = {name: value for name, value in (values or {}).items() if name not in self.axes}
        self.at_once = _checked_width(at_once)
        self.trials = [Trial(combination) for combination in combinations(self.axes)]
        self._keep = keep
        self._ended = threading.Event()
        self._has_begun = self._is_stopped = False
        self._lock = threading.Lock()
        self._check()

    def _check(self) -> None:
        """Raise InputError for every value that does not fit, each once, before anything runs."""
        problems: dict[str, str] = {}
        for trial in self.trials:
            try:
                self.workflow.check({**self.values, **trial.values})
            except InputError as error:
                problems |= {_at(name, trial): problem for name, problem in error.problems.items()}
        if problems:
            raise InputError(problems)

    # -- running -----------------------------------------------------------------------------------------------------------
    def begin(self) -> Self:
        """Begin, once; the runs live on the private loop. A run that asks people fails: nobody could tell which one asks."""
        with self._lock:
            if not self._has_begun:
                for trial in self.trials:  # here and not when their turn comes: some keys are told to this thread only
                    trial.run = self.workflow.start(
                        nested({**self.values, **trial.values}), attended=False, begins=False
                    )
                self._has_begun = True
                private_loop().submit(self._work())
                if self._keep is not None:
                    list(map(self._keep, self.runs))
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Begin and block until all have ended, at most `timeout` seconds; whether they have. An interrupt stops all."""
        end = None if timeout is None else time.monotonic() + timeout
        try:
            self.begin()  # in here: an interrupt before the wait must stop all, too
            while not self._ended.wait(_POLL_SECONDS):
                pause()
                if end is not None and time.monotonic() >= end:
                    return False
        except BaseException:
            self.stop()
            self._ended.wait(STOP_SECONDS)
            raise
        return True

    async def arun(self) -> Self:
        """The same without blocking the caller's loop; cancelling stops all."""
        try:
            self.begin()
            while not self._ended.is_set():
                await asyncio.sleep(_POLL_SECONDS)  # an interrupt does not wake an idle loop: it is seen when it turns
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop what runs, and let nothing more begin; what there is stays. Callable from any thread."""
        self._is_stopped = True
        self.begin()  # so that each has a run that says that it was stopped
        for run in self.runs:
            run.cancel()

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        return self._ended.is_set()

    async def _work(self) -> None:
        gate = asyncio.Semaphore(self.at_once)
        try:
            await asyncio.gather(*(self._one(trial, gate) for trial in self.trials))
        finally:
            try:
                self._over()
            finally:
                self._ended.set()

    async def _one(self, trial: Trial, gate: asyncio.Semaphore) -> None:
        run = trial.run
        assert run is not None
        async with gate:
            if self._is_stopped:
                run.cancel()
            else:
                trial.began = True
                self._began(trial, run)
                run.begin()
            await run.finished()

    def _began(self, trial: Trial, run: Run) -> None:
        """A run has begun; on the private loop's thread."""

    def _over(self) -> None:
        """All have ended; on the private loop's thread."""

    # -- results -----------------------------------------------------------------------------------------------------------
    @property
    def runs(self) -> list[Run]:
        """The runs, in the order of the combinations; empty before it begins."""
        return [trial.run for trial in self.trials if trial.run is not None]

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Run]]:
        """(values, Run) of each combination, once all have ended."""
        self.wait()
        return iter([(dict(trial.values), trial.run) for trial in self.trials if trial.run is not None])

    def __len__(self) -> int:
        return len(self.trials)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dict a combination, once all have ended: the values, then what became of it.

        `status`, `answer` (text), `first_delta` and `total` (seconds), `characters`, `tokens`, `model` and `error`; None
        where there is none. An input with one of these names is called `input.NAME`.
        """
        self.wait()
        return [self._row(trial) for trial in self.trials]

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame. Raises UsageError where pandas is not installed."""
        try:
            import pandas  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise UsageError(say("pandas is not installed; `to_rows()` gives the same as a list of dicts")) from None
        return pandas.DataFrame(self.to_rows())

    def _row(self, trial: Trial) -> dict[str, Any]:
        run = trial.run
        assert run is not None
        found: dict[str, Any] = {
            "status": trial.status,
            "answer": run.text,
            "first_delta": run.timing.first_delta,
            "total": run.timing.total if trial.began else None,
            "characters": len(run.text),
            "tokens": tokens_of(run.usage),
            "model": run.model,
            "error": run.error.sentence if run.error else None,
        }
        return {f"input.{name}" if name in found else name: value for name, value in trial.values.items()} | found

    def __repr__(self) -> str:
        over = sum(trial.is_over for trial in self.trials)
        return f"<{type(self).__name__} of {self.workflow.title!r} over {', '.join(self.axes)}: {over} of {len(self)} done>"


def _at(name: str, trial: Trial) -> str:
    """What a problem is kept under: an axis's value, or an input that all combinations share."""
    return f"{name}={_short(trial.values[name])}" if name in trial.values else name


def _checked_width(at_once: Any) -> int:
    if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
        raise UsageError(say("`at_once` is a whole number from 1 on, not {value}", value=repr(at_once)))
    return at_once


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
