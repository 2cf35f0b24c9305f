"""The list of runs."""

from __future__ import annotations

import atexit
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from composemagic.engine.record import is_last
from composemagic.errors import UsageError, suggest
from composemagic.history.past import COLUMNS, Past, without_secrets
from composemagic.history.store import Store
from composemagic.history.tape import Tape
from composemagic.words import listing, say

if TYPE_CHECKING:
    from composemagic.engine.events import Event
    from composemagic.engine.run import Run

__all__ = ["Runs", "runs"]

_MOST_RUNS = 1_000
_MOST_BYTES = 64 * 2**20


class Runs(Sequence[Past]):
    """The runs there were, the oldest first: `runs[-1]` is the newest.

    A notebook keeps its own from `%load_ext composemagic` on: the last 1,000, and of large ones 64 MiB in all. With
    `file` they are also in a sqlite file, and those of earlier sessions are here as well.
    """

    def __init__(self, found: Sequence[Past] = ()) -> None:
        self._found = list(found)
        self._store: Store | None = None
        self._lock = threading.Lock()  # cells and clicks begin runs in any thread

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
        return list(self._found)  # old ones go while somebody reads

    # -- looking for some ------------------------------------------------------------------------------------------------------
    def filter(self, test: Callable[[Past], bool] | None = None, **wanted: Any) -> Runs:
        """Those for which a function says yes, and whose columns have these values: `runs.filter(status="failed")`.

        `workflow` also matches the name in the notebook, `model` any of those that answered, `text` any part of the text.
        Raises UsageError for no column.
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
        found = [] if store is None else store.last(_MOST_RUNS)
        with self._lock:
            own = [past for past in self._found if past.run is not None and (store is None or past.file != store.path)]
            self._found = sorted([*found, *own], key=lambda past: past.at)
            for number, past in enumerate(self._found, 1):
                past.number = number
            former, self._store = self._store, store
        if former is not None:
            former.close()

    def flush(self) -> None:
        """Wait until all is in the file."""
        if self._store is not None:
            self._store.flush()

    def keep(self, run: Run, name: str = "") -> None:
        """Keep a run that begins; `name` is its workflow's variable in the notebook."""
        inputs = without_secrets(run)
        title = run.plan.title or name or run.plan.id
        past = Past(0, datetime.now().astimezone(), title, name, inputs, run=run, jobs=tuple(run.jobs))
        tape = Tape()
        past.said = lambda: tape.said
        with self._lock:
            past.number = self._found[-1].number + 1 if self._found else 1
            self._found.append(past)

        def hear(batch: list[Event]) -> None:
            tape.hear(run.elapsed(), batch)
            if is_last(batch[-1]):
                self._ended(past, run, tape)

        run.subscribe(hear)

    def _ended(self, past: Past, run: Run, tape: Tape) -> None:
        """On the private loop: a run is over."""
        past.take(run)
        past.inputs = without_secrets(run)  # it has learnt more of them by now
        tape.told_input(past.inputs)
        past.weigh()
        if self._store is not None:
            past.file = self._store.path
            self._store.add(past, tape.said)
        with self._lock:
            held = sum(one.size for one in self._found)
            while len(self._found) > _MOST_RUNS or (held > _MOST_BYTES and len(self._found) > 1):
                held -= self._found.pop(0).size


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
            if str(value) not in past.text:
                return False
        elif name == "model":
            if value not in (found, *(found or "").split(", ")):
                return False
        elif found != value:
            return False
    return True


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


runs = Runs()  # those of this process
atexit.register(runs.flush)
