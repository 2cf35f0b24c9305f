"""Runs in a sqlite file. Several notebooks may use one at once."""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from composemagic.engine.events import Event
from composemagic.errors import UsageError
from composemagic.history.past import Past
from composemagic.history.tape import read, written
from composemagic.words import say

__all__ = ["Store"]

_VERSION = 1
_BUSY_SECONDS = 5.0
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
        self._work: queue.SimpleQueue[tuple[Past, list[tuple[float, Event]]] | threading.Event] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="composemagic-history", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connection()) as base, base:
                version = base.execute("pragma user_version").fetchone()[0]
                if version not in (0, _VERSION) or (version == 0 and _has_tables(base)):
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

    def __iter__(self) -> Iterator[Past]:
        """The runs of the file, the oldest first; what they said is read when it is asked for."""
        with closing(self._connection()) as base:
            rows = base.execute(f"select id, {', '.join(_KEPT)} from runs order by at, id").fetchall()
        for number, (identity, *values) in enumerate(rows, 1):
            yield self._past(number, identity, dict(zip(_KEPT, values, strict=True)))

    def _past(self, number: int, identity: int, values: dict[str, Any]) -> Past:
        for name in _JSON:
            values[name] = None if values[name] is None else json.loads(values[name])
        values["at"] = datetime.fromisoformat(values["at"])
        values["jobs"] = tuple(values["jobs"] or ())
        return Past(number, **values, said=lambda: self._said(identity))

    def _said(self, identity: int) -> list[tuple[float, Event]]:
        with closing(self._connection()) as base:
            found = base.execute("select said from runs where id = ?", (identity,)).fetchone()
        return read(found[0]) if found and found[0] else []

    # -- on its own thread ----------------------------------------------------------------------------------------------
    def _write_all(self) -> None:
        while True:
            work = self._work.get()
            if isinstance(work, threading.Event):
                work.set()
                continue
            try:
                self._write(*work)
            except (OSError, sqlite3.Error) as error:
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
    return json.dumps(value, ensure_ascii=False, default=repr) if name in _JSON else value


def _has_tables(base: sqlite3.Connection) -> bool:
    return bool(base.execute("select 1 from sqlite_master limit 1").fetchone())
