"""`driver: sqlite`: vectors in a file, compared by the extension sqlite-vec.

Opened with apsw and not with Python's own `sqlite3`, which on many systems was built without the loading of extensions.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from composemagic.components.extras import needed
from composemagic.components.vector_store.entries import Entry, Hit, Metric
from composemagic.components.vector_store.filters import Fits
from composemagic.errors import RunError
from composemagic.words import say

__all__ = ["SqliteVectors"]

_TABLE = (
    "CREATE TABLE IF NOT EXISTS vectors (collection TEXT NOT NULL, id TEXT NOT NULL, vector BLOB NOT NULL, document TEXT, "
    "metadata TEXT NOT NULL, PRIMARY KEY (collection, id))"
)
_PUT = (
    "INSERT INTO vectors VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET vector = excluded.vector, document = excluded.document, metadata = excluded.metadata"
)
_NEAREST = (
    "SELECT id, document, metadata, {distance} AS distance FROM vectors "
    "WHERE collection = :collection AND fits(id, metadata) ORDER BY distance, rowid LIMIT :count"
)
_DISTANCES: Mapping[Metric, str] = {
    "cosine": "coalesce(vec_distance_cosine(vector, :query), 1.0)",  # null for a vector of zeros
    "l2": "vec_distance_L2(vector, :query)",
    # sqlite-vec has no inner product: |a-b|² = |a|² + |b|² - 2ab
    "ip": "1.0 - (pow(vec_distance_L2(vector, :zero), 2) + pow(vec_distance_L2(:query, :zero), 2)"
    " - pow(vec_distance_L2(vector, :query), 2)) / 2",
}


class SqliteVectors:
    """Entries in a file, which is open only while it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._apsw = needed("apsw", by="driver: sqlite", package="apsw", extra="vector")
        self._extension = needed("sqlite_vec", by="driver: sqlite", package="sqlite-vec", extra="vector")
        self.errors: type[Exception] = self._apsw.Error

    def length(self, collection: str) -> int | None:
        with self._open() as file:
            wanted = "SELECT vec_length(vector) FROM vectors WHERE collection = ? LIMIT 1"
            row = file.execute(wanted, (collection,)).fetchone()
        return None if row is None else int(row[0])

    def put(self, collection: str, entries: Sequence[Entry]) -> None:
        rows = [
            (collection, entry.id, entry.vector.tobytes(), entry.document, _written(entry.metadata))
            for entry in entries
        ]
        with self._open() as file:
            file.executemany(_PUT, rows)

    def get(self, collection: str, ids: Sequence[str]) -> dict[str, Entry]:
        wanted = "SELECT vector, document, metadata FROM vectors WHERE collection = ? AND id = ?"
        with self._open() as file:
            rows = {key: file.execute(wanted, (collection, key)).fetchone() for key in ids}
        return {
            key: Entry(key, array("f", row[0]), row[1], json.loads(row[2]))
            for key, row in rows.items()
            if row is not None
        }

    def remove(self, collection: str, ids: Sequence[str] | None, fits: Fits | None) -> int:
        with self._open(fits) as file:
            if ids is None:
                file.execute("DELETE FROM vectors WHERE collection = ? AND fits(id, metadata)", (collection,))
                return int(file.changes())
            delete = "DELETE FROM vectors WHERE collection = ? AND id = ? AND fits(id, metadata)"
            before = file.total_changes()
            file.executemany(delete, [(collection, key) for key in ids])
            return int(file.total_changes() - before)

    def nearest(self, collection: str, query: array[float], count: int, metric: Metric, fits: Fits | None) -> list[Hit]:
        values = {"collection": collection, "query": query.tobytes(), "count": count, "zero": bytes(4 * len(query))}
        with self._open(fits) as file:
            rows = file.execute(_NEAREST.format(distance=_DISTANCES[metric]), values).fetchall()
        return [Hit(key, distance, document, json.loads(metadata)) for key, document, metadata, distance in rows]

    @contextmanager
    def _open(self, fits: Fits | None = None) -> Iterator[Any]:
        """The open file, in a transaction that ends with the block."""
        with closing(self._apsw.Connection(str(self.path))) as file:
            file.enable_load_extension(True)
            file.load_extension(self._extension.loadable_path())
            file.enable_load_extension(False)
            test = (lambda *_: True) if fits is None else lambda key, metadata: fits(key, json.loads(metadata))
            file.create_scalar_function("fits", test, 2)
            file.execute(_TABLE)
            with file:
                yield file


def _written(metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError("input", say("`metadata` cannot be written into a file: {why}", why=error)) from None
