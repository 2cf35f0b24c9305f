"""What a vector store keeps and finds, and what any place that keeps it can do."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from composemagic.components.vector_store.filters import Fits

__all__ = ["Entry", "Hit", "Metric", "Vectors"]

Metric = Literal["cosine", "l2", "ip"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A vector, in 32-bit floats as models give them, and what was said of it."""

    id: str
    vector: array[float]
    document: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """A kept vector that is near. `distance`: 1 - cosine, the Euclidean one, or 1 - the inner product."""

    id: str
    distance: float
    document: str | None
    metadata: Mapping[str, Any]


class Vectors(Protocol):
    """Entries by collection and id."""

    def length(self, collection: str) -> int | None:
        """How many numbers the vectors of a collection have; None for an empty one."""

    def put(self, collection: str, entries: Sequence[Entry]) -> None:
        """Keep entries, in the place of those with the same ids."""

    def get(self, collection: str, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries of those ids that are there."""

    def remove(self, collection: str, ids: Sequence[str] | None, fits: Fits | None) -> int:
        """Forget the entries with these ids (any, for None) that fit; how many they were."""

    def nearest(self, collection: str, query: array[float], count: int, metric: Metric, fits: Fits | None) -> list[Hit]:
        """The nearest entries that fit, at most `count`, the nearest first; of equal ones the older first."""
