"""`driver: memory`: vectors in this process, compared one by one."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from heapq import nsmallest
from operator import mul

from composemagic.components.vector_store.entries import Entry, Hit, Metric
from composemagic.components.vector_store.filters import Fits

__all__ = ["MemoryVectors"]


class MemoryVectors:
    """Entries in dictionaries. What is kept and what is given are copies."""

    def __init__(self) -> None:
        self._collections: dict[str, dict[str, Entry]] = {}
        self._lengths: dict[tuple[str, str], float] = {}  # of each vector, which a cosine asks for every time

    def length(self, collection: str) -> int | None:
        entries = self._collections.get(collection)
        return len(next(iter(entries.values())).vector) if entries else None

    def put(self, collection: str, entries: Sequence[Entry]) -> None:
        kept = self._collections.setdefault(collection, {})
        kept |= {entry.id: replace(entry, metadata=deepcopy(entry.metadata)) for entry in entries}
        self._lengths |= {(collection, entry.id): math.hypot(*entry.vector) for entry in entries}

    def get(self, collection: str, ids: Sequence[str]) -> dict[str, Entry]:
        kept = self._collections.get(collection, {})
        return {key: kept[key] for key in ids if key in kept}

    def remove(self, collection: str, ids: Sequence[str] | None, fits: Fits | None) -> int:
        kept = self._collections.get(collection, {})
        chosen = list(kept.values()) if ids is None else list(self.get(collection, ids).values())
        leaving = [entry.id for entry in chosen if fits is None or fits(entry.id, entry.metadata)]
        for key in leaving:
            del kept[key], self._lengths[collection, key]
        return len(leaving)

    def nearest(self, collection: str, query: array[float], count: int, metric: Metric, fits: Fits | None) -> list[Hit]:
        distance = self._distance(collection, query, metric)
        entries = self._collections.get(collection, {}).values()
        found = ((distance(each), each) for each in entries if fits is None or fits(each.id, each.metadata))
        near = nsmallest(count, found, key=lambda pair: pair[0])
        return [Hit(each.id, apart, each.document, deepcopy(each.metadata)) for apart, each in near]

    def _distance(self, collection: str, query: array[float], metric: Metric) -> Callable[[Entry], float]:
        if metric == "l2":
            return lambda entry: math.dist(query, entry.vector)
        if metric == "ip":
            return lambda entry: 1.0 - _product(query, entry.vector)
        length = math.hypot(*query)

        def cosine(entry: Entry) -> float:
            lengths = length * self._lengths[collection, entry.id]
            return 1.0 - _product(query, entry.vector) / lengths if lengths else 1.0

        return cosine


def _product(one: array[float], other: array[float]) -> float:
    return float(sum(map(mul, one, other)))
