"""The list of runs."""

from __future__ import annotations

import atexit
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from composemagic.engine.record import is_last
from composemagic.errors import UsageError, suggest
from composemagic.history.past import COLUMNS, Past
from composemagic.history.store import Store
from composemagic.history.tape import Tape
from composemagic.language.secret import is_secret
from composemagic.words import listing, say

if TYPE_CHECKING:
    from composemagic.engine.events import Event
    from composemagic.engine.run import Run

__all__ = ["Runs", "runs"]

_MOST_RUNS = 1_000
_MOST_CHARACTERS = 64 * 2**20


class Runs(Sequence[Past]):
    """The runs there were, the oldest first: `runs[-1]` is the newest.

    A notebook keeps its own from `%load_ext composemagic` on: the last 1,000, and of long ones 64 Mi characters in all. With
    `file` they are also in a sqlite file, and those of earlier sessions are here as well.
    """

    def __init__(self, found: Sequence[Past] = ()) -> None:
        self._found = list(found)
        self._characters = 0
        self._store: Store | None = None

    # -- a sequence --------------------------------------------------------------------------------------------------------
    @overload
    def __getitem__(self, place: int) -> Past: ...
    @overload
    def __getitem__(self, place: slice) -> Runs: ...
    def __getitem__(self, place: int | slice) -> Past | Runs:
        if isinstance(place, slice):
            return Runs(self._now()[place])
        found = self._now()
        if not -len(found) <= place < len(found):
            raise IndexError(
                say("there are no runs yet") if not found else say("there are only {count} runs", count=len(found))
            )
        return found[place]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Past]:
        return iter(self._now())

    def _now(self) -> list[Past]:
        """The runs, with what is known of those that are under way."""
        for past in self._found[-64:]:
            if past.status in ("running", "interrupted") and past.run is not None:
                past.take(past.run)
        return self._found

    # -- looking for some ------------------------------------------------------------------------------------------------------
    def filter(self, test: Callable[[Past], bool] | None = None, **wanted: Any) -> Runs:
        """Those for which a function says yes, and whose columns have these values: `runs.filter(status="failed")`.

        `workflow` also matches the name in the notebook, `text` any part of the text. Raises UsageError for no column.
        """
        for name in wanted.keys() - {*COLUMNS, "error", "kind", "name"}:
            raise UsageError(_no_column(name))
        return Runs([past for past in self if (test is None or test(past)) and _fits(past, wanted)])

    def rows(self) -> list[dict[str, Any]]:
        """All as rows of a table, by column."""
        return [past.row() for past in self]

    def to_pandas(self) -> Any:
        """All as a pandas DataFrame. Raises UsageError where pandas is not installed."""
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise UsageError(say("`to_pandas` needs pandas: pip install pandas")) from None
        return pandas.DataFrame(self.rows(), columns=list(COLUMNS)).set_index("number")

    # -- keeping them ------------------------------------------------------------------------------------------------------------
    def file(self, path: str | Path | None) -> None:
        """Keep the runs from now on in a sqlite file as well, and show those it has; None: in no file. Raises UsageError."""
        self.flush()
        store = None if path is None else Store(Path(path).expanduser().resolve(), _warn)
        own = [past for past in self._found if past.run is not None]
        self._found = [*(store or ()), *own]
        for number, past in enumerate(self._found, 1):
            past.number = number
        self._store = store

    def flush(self) -> None:
        """Wait until all is in the file."""
        if self._store is not None:
            self._store.flush()

    def keep(self, run: Run, name: str = "") -> None:
        """Keep a run that begins; `name` is its workflow's variable in the notebook."""
        inputs = _without_secrets(run)
        title = run.plan.title or name or run.plan.id
        number = self._found[-1].number + 1 if self._found else 1
        past = Past(number, datetime.now().astimezone(), title, name, inputs, run=run, jobs=tuple(run.jobs))
        tape = Tape()
        past.said = lambda: tape.said
        self._found.append(past)

        def hear(batch: list[Event]) -> None:
            tape.hear(run.elapsed(), batch)
            if is_last(batch[-1]):
                self._ended(past, run, tape)

        run.subscribe(hear)

    def _ended(self, past: Past, run: Run, tape: Tape) -> None:
        """On the private loop: a run is over."""
        past.take(run)
        past.inputs = _without_secrets(run)  # it has learnt more of them by now
        if self._store is not None:
            self._store.add(past, tape.said)
        self._characters += len(past.text)
        while len(self._found) > _MOST_RUNS or (self._characters > _MOST_CHARACTERS and len(self._found) > 1):
            self._characters -= len(self._found.pop(0).text)


def _without_secrets(run: Run) -> Any:
    """What a run was given; what is called a secret is none of a list's business."""
    found = run.redact.value(run.input)
    if not isinstance(found, Mapping):
        return found
    return {name: "***" if value and is_secret(str(name), "") else value for name, value in found.items()}


def _no_column(name: str) -> str:
    if near := suggest(name, COLUMNS):
        return say("runs have no column `{name}`{near}", name=name, near=near)
    known = listing(f"`{one}`" for one in COLUMNS)
    return say("runs have no column `{name}`; they have {known}", name=name, known=known)


def _fits(past: Past, wanted: dict[str, Any]) -> bool:
    for name, value in wanted.items():
        found = getattr(past, name)
        if name == "workflow":
            if value not in (found, past.name):
                return False
        elif name == "text":
            if value not in past.text:
                return False
        elif found != value:
            return False
    return True


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


runs = Runs()  # those of this process
atexit.register(runs.flush)
