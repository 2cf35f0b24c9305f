"""Runs in a sqlite file. Several notebooks may use one at once."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from composemagic.engine.events import Event
from composemagic.errors import UsageError
from composemagic.history.past import Past
from composemagic.history.tape import as_json, of_json, read, written
from composemagic.text import clean
from composemagic.words import say

__all__ = ["Store"]

_VERSION = 1
_BUSY_SECONDS = 5.0
_LONGEST_INPUT = 2**18  # characters or bytes of one value that a run was given
_SHOWN = 200
_DEEPEST = 60
_TABLE = """
create table if not exists runs (
    id integer primary key, at text not null, workflow text not null, name text not null, inputs text, status text not null,
    model text, usage text, seconds real, first_delta real, deltas integer, text text, output text, error text, kind text,
    encoding text, jobs text, said text
)
"""
_KEPT = (
    "at", "workflow", "name", "inputs", "status", "model", "usage", "seconds", "first_delta", "deltas", "text", "output",
    "error", "kind", "encoding", "jobs",
)  # fmt: skip
_JSON = frozenset({"inputs", "usage", "output", "jobs"})


class Store:
    """One file. Runs are written in the order they end, on a thread of its own, so that no run waits for a disk.

    Raises UsageError for a file that cannot be opened, or is another program's.
    """

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        self.path = path
        self._complain = complain
        self._open()
        self._work: queue.SimpleQueue[tuple[Past, list[tuple[float, Event]]] | threading.Event | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._write_all, name="composemagic-history", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connection()) as base, base:
                version = base.execute("pragma user_version").fetchone()[0]
                if version not in (0, _VERSION) or _has_other_tables(base):
                    raise UsageError(say("`{path}` is a sqlite file, but not of composemagic's runs", path=self.path))
                base.execute(_TABLE)
                base.execute(f"pragma user_version = {_VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                say("the runs cannot be kept in `{path}`: {reason}", path=self.path, reason=str(error))
            ) from None

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_BUSY_SECONDS)

    def add(self, past: Past, said: list[tuple[float, Event]]) -> None:
        """Write a run that has ended, soon."""
        self._work.put((past, said))

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until all is written; whether it is."""
        done = threading.Event()
        self._work.put(done)
        return done.wait(seconds)

    def close(self) -> None:
        """Write what is there, and nothing more."""
        self._work.put(None)

    def last(self, most: int) -> list[Past]:
        """The last runs of the file, the oldest first; what they said is read when it is asked for. Raises UsageError."""
        names = ", ".join(_KEPT)
        rows = self._read(f"select id, {names} from runs order by julianday(at) desc, id desc limit ?", most)
        return [
            self._past(number, identity, dict(zip(_KEPT, values, strict=True)))
            for number, (identity, *values) in enumerate(reversed(rows), 1)
        ]

    def _read(self, query: str, value: int) -> list[Any]:
        try:
            with closing(self._connection()) as base:
                return base.execute(query, (value,)).fetchall()
        except sqlite3.Error as error:
            raise UsageError(
                say("the runs cannot be read from `{path}`: {reason}", path=self.path, reason=str(error))
            ) from None

    def _past(self, number: int, identity: int, values: dict[str, Any]) -> Past:
        for name in _JSON:
            values[name] = None if values[name] is None else of_json(values[name])
        values["at"] = datetime.fromisoformat(values["at"])
        values["jobs"] = tuple(values["jobs"] or ())
        found = Past(number, **values, file=self.path, said=lambda: self._said(identity))
        found.weigh()
        return found

    def _said(self, identity: int) -> list[tuple[float, Event]]:
        found = self._read("select said from runs where id = ?", identity)
        return read(found[0][0]) if found and found[0][0] else []

    # -- on its own thread ----------------------------------------------------------------------------------------------
    def _write_all(self) -> None:
        while True:
            work = self._work.get()
            if work is None:
                return
            if isinstance(work, threading.Event):
                work.set()
                continue
            try:
                self._write(*work)
            except Exception as error:  # anybody's value: what is wrong with one run must not lose those after it
                self._complain(
                    say("a run could not be written into `{path}`: {reason}", path=self.path, reason=str(error))
                )

    def _write(self, past: Past, said: list[tuple[float, Event]]) -> None:
        values = [_column(name, getattr(past, name)) for name in _KEPT]
        marks = ", ".join("?" * (len(_KEPT) + 1))
        with closing(self._connection()) as base, base:
            base.execute(f"insert into runs ({', '.join(_KEPT)}, said) values ({marks})", [*values, written(said)])


def _column(name: str, value: Any) -> Any:
    if name == "at":
        return value.isoformat()
    if name == "inputs":
        value = _clipped(value)
    if name in _JSON:
        return as_json(value)
    return clean(value) if isinstance(value, str) else value


def _clipped(value: Any, depth: int = 0) -> Any:
    """Inputs without what is too long for a list of runs: a picture, a book."""
    match value:
        case str() | bytes() if len(value) > _LONGEST_INPUT:
            words = value[:_SHOWN] if isinstance(value, str) else ""
            return f"{words}… ({len(value):,})"
        case Mapping() if depth < _DEEPEST:
            return {key: _clipped(inner, depth + 1) for key, inner in value.items()}
        case list() if depth < _DEEPEST:
            return [_clipped(inner, depth + 1) for inner in value]
    return value


def _has_other_tables(base: sqlite3.Connection) -> bool:
    """Whether there are tables, and ours is not among them: other programs count their versions as well."""
    found = {name for (name,) in base.execute("select name from sqlite_master where type = 'table'")}
    columns = {name for _, name, *_ in base.execute("pragma table_info(runs)")}
    return bool(found) and not columns.issuperset({"id", "said", *_KEPT})
