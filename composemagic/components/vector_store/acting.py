"""What the methods of a vector store do."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, TypeVar, cast
from uuid import uuid4

from composemagic.components.busy import when_free
from composemagic.components.given import Given, flag, whole_number
from composemagic.components.vector_store.entries import Entry, Hit, Metric, Vectors
from composemagic.components.vector_store.filters import fitting
from composemagic.components.vector_store.sqlite import SqliteVectors
from composemagic.errors import RunError
from composemagic.language.casts import to_text
from composemagic.text import clean
from composemagic.words import say
from composemagic.workflow.schema import kind

__all__ = ["Acting", "metric", "vectors"]

T = TypeVar("T")


class Acting:
    """One action on a store."""

    def __init__(self, given: Given, store: Vectors) -> None:
        self._given = given
        self._store = store

    async def answer(self) -> Any:
        """Do what `method` says and give its answer. Raises RunError."""
        method = await self._given.get("method")
        collection = str(await self._given.get("collection", default="default"))
        match method:
            case "insert":
                return await self._insert(collection)
            case "update":
                return await self._update(collection)
            case "search":
                return await self._search(collection)
            case "delete":
                return await self._delete(collection)
        raise RunError("input", say("`method` is insert, update, search or delete, not {given}", given=kind(method)))

    async def _insert(self, collection: str) -> Mapping[str, Any]:
        rows = await self._given.get("vector", vectors, [])
        ids = await self._ids() or [uuid4().hex for _ in rows]
        _check_count("vector_id", len(ids), len(rows))
        documents, metadata = await self._said(len(rows))
        entries = [Entry(*each) for each in zip(ids, rows, documents, map(_without_nulls, metadata), strict=True)]
        await self._put(collection, entries)
        return {"ids": ids, "affected_rows": len(ids)}

    async def _update(self, collection: str) -> Mapping[str, Any]:
        ids = await self._ids()
        rows = await self._given.get("vector", vectors)
        if rows is not None:
            _check_count("vector", len(rows), len(ids))
        documents, metadata = await self._said(len(ids))
        inserts = await self._given.get("insert_if_not_exist", flag, True)
        kept = await self._use(lambda: self._store.get(collection, ids))
        changes = zip(ids, rows or [None] * len(ids), documents, metadata, strict=True)
        entries = [_changed(kept.get(key), key, *new) for key, *new in changes if inserts or key in kept]
        await self._put(collection, entries)
        return {"affected_rows": len(entries)}

    async def _search(self, collection: str) -> Any:
        queries = await self._given.get("query", vectors)
        if queries is None:
            raise RunError("input", say("`query` is null: there is no vector to search for"))
        count = await self._given.get("top_k", whole_number(1), 10)
        measure = await self._given.get("metric_type", metric, "cosine")
        fits = await self._given.get("filter", fitting)
        wanted = await self._given.get("output_fields", _names)
        await self._check_length(collection, queries)
        answers = []
        for query in queries:
            hits = await self._use(lambda query=query: self._store.nearest(collection, query, count, measure, fits))  # type: ignore[misc]
            answers.append([_shown(hit, measure, wanted) for hit in hits])
        return answers if _is_many(await self._given.get("query")) else answers[0]

    async def _delete(self, collection: str) -> Mapping[str, Any]:
        ids = await self._ids()
        fits = await self._given.get("filter", fitting)
        if ids is None and fits is None:
            return {"affected_rows": 0}  # what should be said is null: that is not "everything"
        return {"affected_rows": await self._use(lambda: self._store.remove(collection, ids, fits))}

    # -- parts --------------------------------------------------------------------------------------------------------
    async def _use(self, act: Callable[[], T]) -> T:
        if isinstance(self._store, SqliteVectors):
            return await when_free(act, self._store.path, self._store.errors)
        return act()

    async def _put(self, collection: str, entries: Sequence[Entry]) -> None:
        await self._check_length(collection, [entry.vector for entry in entries])
        await self._use(lambda: self._store.put(collection, entries))

    async def _check_length(self, collection: str, rows: Sequence[array[float]]) -> None:
        """All vectors of a collection have as many numbers as the first one."""
        kept = await self._use(lambda: self._store.length(collection))
        for row in rows:
            kept = kept or len(row)
            if len(row) != kept:
                sentence = say(
                    "the vectors of `{name}` have {kept} numbers, this one has {count}; do they come from the same model?",
                    name=collection,
                    kept=kept,
                    count=len(row),
                )
                raise RunError("input", sentence)

    async def _ids(self) -> Any:
        given = await self._given.get("vector_id")
        if given is None:
            return None
        return [clean(to_text(each)) for each in (given if isinstance(given, list) else [given])]

    async def _said(self, count: int) -> tuple[Sequence[str | None], Sequence[Mapping[str, Any]]]:
        """The document and the metadata of each vector."""
        document, metadata = await self._given.get("document"), await self._given.get("metadata", default={})
        documents = document if isinstance(document, list) else [document] * count
        each = metadata if isinstance(metadata, list) else [metadata] * count
        _check_count("document", len(documents), count)
        _check_count("metadata", len(each), count)
        if wrong := next((one for one in each if not isinstance(one, dict | None)), None):
            raise RunError("input", say("`metadata` is a mapping or a list of mappings, not {kind}", kind=kind(wrong)))
        return [None if one is None else to_text(one) for one in documents], [one or {} for one in each]


def _changed(
    old: Entry | None, key: str, vector: array[float] | None, document: str | None, metadata: Mapping[str, Any]
) -> Entry:
    """The entry with what is new in it; what is null in the metadata leaves it."""
    if old is None:
        if vector is None:
            raise RunError("input", say("there is no vector `{id}` yet, and no `vector` to insert", id=key))
        return Entry(key, vector, document, _without_nulls(metadata))
    merged = _without_nulls({**old.metadata, **metadata})
    return Entry(key, vector or old.vector, old.document if document is None else document, merged)


def _check_count(key: str, count: int, wanted: int) -> None:
    if count != wanted:
        raise RunError(
            "input", say("`{key}` has {count} items where {wanted} are wanted", key=key, count=count, wanted=wanted)
        )


def _without_nulls(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in metadata.items() if value is not None}


def _shown(hit: Hit, measure: Metric, wanted: Sequence[str] | None) -> Mapping[str, Any]:
    score = 1.0 / (1.0 + hit.distance) if measure == "l2" else 1.0 - hit.distance
    metadata = {name: value for name, value in hit.metadata.items() if wanted is None or name in wanted}
    return {"id": hit.id, "score": score, "distance": hit.distance, "document": hit.document, "metadata": metadata}


def vectors(value: Any, key: str) -> list[array[float]]:
    """The vectors of a setting: a list of numbers is one, a list of lists is many. Raises RunError."""
    rows = value if _is_many(value) else [value]
    try:
        found = [array("f", row) for row in rows if isinstance(row, list) and row and all(map(isfinite, row))]
    except (TypeError, OverflowError):
        found = []
    if len(found) != len(rows):
        hint = say(" (an embedding model makes one of a text)") if isinstance(value, str) else ""
        raise RunError(
            "input",
            say(
                "`{key}` is a list of numbers, or a list of such lists, not {kind}{hint}",
                key=key,
                kind=kind(value),
                hint=hint,
            ),
        )
    return found


def _is_many(value: Any) -> bool:
    return isinstance(value, list) and (not value or isinstance(value[0], list))


def metric(value: Any, key: str) -> Metric:
    """How vectors are compared. Raises RunError."""
    name = str(value).lower()
    if name not in ("cosine", "l2", "ip"):
        raise RunError("input", say("`{key}` is COSINE, L2 or IP, not {given}", key=key, given=kind(value)))
    return cast("Metric", name)


def _names(value: Any, key: str) -> Sequence[str]:
    if not isinstance(value, list):
        raise RunError("input", say("`{key}` is a list of names, this is {kind}", key=key, kind=kind(value)))
    return value
