"""Where the boxes of a graph stand and which way its arrows take: in layers, each behind those that lead to it.

The way of Sugiyama, Tagawa and Toda (1981): arrows that close a circle are set aside, a box stands one layer behind the last
one that leads to it, an arrow over several layers keeps a place free in each, and the boxes of a layer are sorted by the
middle of what they are connected to. Pure functions of sizes; the same graph always gives the same picture.

Everything is measured `along` the way that the layers follow each other, and `across` it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Laid", "Size", "Way", "laid"]

_SWEEPS = 6
_APART = 12.0  # between two boxes of a layer
_LANE = 16.0  # between two arrows that lead back
_TURN = 9.0  # from a box to where an arrow that leads back turns
_FREE = 6.0  # kept for an arrow that passes

Edge = tuple[int, int]
Place = tuple[float, float]


class Size(NamedTuple):
    """How long something is along the layers, and across them."""

    along: float
    across: float


class Way(NamedTuple):
    """The points that an arrow passes from box to box; one that leads back has corners there."""

    points: tuple[Place, ...]
    is_back: bool


class Laid(NamedTuple):
    """Where each box begins, the way of each arrow, and the size of it all."""

    places: tuple[Place, ...]
    ways: tuple[Way, ...]
    size: Size


def laid(sizes: Sequence[Size], edges: Mapping[Edge, float], gap: float) -> Laid:
    """Lay boxes of these sizes out, which `edges` connect by their numbers.

    `gap` is left between two layers, and before what an edge leads to as much more as `edges` says of it.
    """
    back = _back(len(sizes), edges)
    ahead = [edge for edge in edges if edge not in back]
    layers = _layers(len(sizes), ahead)
    chains, every = _chains(ahead, layers, sizes)
    rows = _rows(layers, chains)
    near = _neighbours(chains.values(), len(every))
    for sweep in range(_SWEEPS):
        _sort(rows, near, forward=sweep % 2 == 0)
    across = _across(rows, every, near)
    gaps = [
        gap + max((edges[edge] for edge in ahead if layers[edge[1]] == number), default=0.0)
        for number in range(1, len(rows))
    ]
    starts, ends = _along(rows, every, gaps)
    layer = {node: number for number, row in enumerate(rows) for node in row}
    places = [(starts[layer[node]], across[node]) for node in range(len(every))]
    width = max((across[node] + every[node].across for node in range(len(every))), default=0.0)
    lanes = {edge: width + _LANE * number for number, edge in enumerate(sorted(back), 1)}
    ways = tuple(
        Way(_around(edge, places, every, ends[layer[edge[0]]], lanes[edge]), True)
        if edge in back
        else Way(tuple(_through(chains[edge], places, every, [ends[layer[node]] for node in chains[edge]])), False)
        for edge in edges
    )
    size = Size(max(ends, default=0.0), width + (_LANE * (len(back) + 0.5) if back else 0.0))
    return Laid(tuple(places[: len(sizes)]), ways, size)


# -- layers --------------------------------------------------------------------------------------------------------------


def _back(count: int, edges: Iterable[Edge]) -> set[Edge]:
    """The edges that close a circle, followed from the first box on."""
    after: dict[int, list[int]] = {node: [] for node in range(count)}
    for one, other in edges:
        after[one].append(other)
    found: set[Edge] = set()
    is_on_way: dict[int, bool] = {}

    def follow(node: int) -> None:
        is_on_way[node] = True
        for other in after[node]:
            if other not in is_on_way:
                follow(other)
            elif is_on_way[other]:
                found.add((node, other))
        is_on_way[node] = False

    for node in range(count):
        if node not in is_on_way:
            follow(node)
    return found


def _layers(count: int, edges: Sequence[Edge]) -> list[int]:
    """The layer of each box: one behind the last that leads to it."""
    layers = [0] * count
    for _ in range(count):  # as often as the longest way may have boxes
        for one, other in edges:
            layers[other] = max(layers[other], layers[one] + 1)
    return layers


def _chains(
    edges: Iterable[Edge], layers: Sequence[int], sizes: Sequence[Size]
) -> tuple[dict[Edge, list[int]], list[Size]]:
    """By edge, its boxes and between them the places that it keeps free; and the sizes of all."""
    every, chains = list(sizes), {}
    for one, other in edges:
        kept = range(len(every), len(every) + layers[other] - layers[one] - 1)
        every += [Size(0.0, _FREE)] * len(kept)
        chains[one, other] = [one, *kept, other]
    return chains, every


def _rows(layers: Sequence[int], chains: Mapping[Edge, Sequence[int]]) -> list[list[int]]:
    """What stands in each layer, as it was given."""
    rows: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
    for node, layer in enumerate(layers):
        rows[layer].append(node)
    for (one, _), chain in chains.items():
        for layer, node in enumerate(chain[1:-1], layers[one] + 1):
            rows[layer].append(node)
    return rows


# -- places --------------------------------------------------------------------------------------------------------------

Near = tuple[list[list[int]], list[list[int]]]


def _neighbours(chains: Iterable[Sequence[int]], count: int) -> Near:
    """What stands right before each, and right behind."""
    before: list[list[int]] = [[] for _ in range(count)]
    behind: list[list[int]] = [[] for _ in range(count)]
    for chain in chains:
        for one, other in pairwise(chain):
            behind[one].append(other)
            before[other].append(one)
    return before, behind


def _sort(rows: list[list[int]], near: Near, *, forward: bool) -> None:
    """Sort each layer by the middle of what is connected to it in the one before, or behind."""
    beside = near[0] if forward else near[1]
    for row in rows if forward else reversed(rows):
        order = {node: at for each in rows for at, node in enumerate(each)}
        row.sort(key=lambda node: (_mean([order[other] for other in beside[node]], order[node]), order[node]))


def _across(rows: Sequence[Sequence[int]], sizes: Sequence[Size], near: Near) -> list[float]:
    """Where each begins across the layers: in the middle of what it is connected to, as far as there is room."""
    middles = [0.0] * len(sizes)
    for row in rows:
        _spread(row, sizes, middles)
    for sweep in range(_SWEEPS):
        beside = near[sweep % 2]
        for row in rows if sweep % 2 == 0 else reversed(rows):
            for node in row:
                middles[node] = _mean([middles[other] for other in beside[node]], middles[node])
            _spread(row, sizes, middles)
    starts = [middle - size.across / 2 for middle, size in zip(middles, sizes, strict=True)]
    first = min(starts, default=0.0)
    return [round(start - first, 1) for start in starts]


def _spread(row: Sequence[int], sizes: Sequence[Size], middles: list[float]) -> None:
    """Move the boxes of a layer apart where they stand in each other's way, as little as can be on the whole."""
    wanted = [middles[node] for node in row]
    for before, node in pairwise(row):
        room = (sizes[before].across + sizes[node].across) / 2 + _APART
        middles[node] = max(middles[node], middles[before] + room)
    moved = _mean([middles[node] - want for node, want in zip(row, wanted, strict=True)], 0.0)
    for node in row:
        middles[node] -= moved


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _along(
    rows: Sequence[Sequence[int]], sizes: Sequence[Size], gaps: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Where each layer begins and ends."""
    starts, ends = [], []
    at = 0.0
    for row, gap in zip(rows, [*gaps, 0.0], strict=False):
        starts.append(at)
        ends.append(round(at + max(sizes[node].along for node in row), 1))
        at = ends[-1] + gap
    return starts, ends


# -- ways ----------------------------------------------------------------------------------------------------------------


def _through(
    chain: Sequence[int], places: Sequence[Place], sizes: Sequence[Size], ends: Sequence[float]
) -> Iterator[Place]:
    """From box to box, straight through the layers between."""
    for number, node in enumerate(chain):
        along, middle = places[node][0], _middle(node, places, sizes)
        if number > 0:
            yield along, middle
        if number == 0:
            yield along + sizes[node].along, middle
        elif number < len(chain) - 1:
            yield ends[number], middle


def _around(edge: Edge, places: Sequence[Place], sizes: Sequence[Size], end: float, lane: float) -> tuple[Place, ...]:
    """Back to an earlier box: beside everything."""
    one, other = edge
    out, into = end + _TURN, places[other][0] - _TURN
    start, goal = _middle(one, places, sizes), _middle(other, places, sizes)
    return (
        (places[one][0] + sizes[one].along, start),
        (out, start),
        (out, lane),
        (into, lane),
        (into, goal),
        (places[other][0], goal),
    )


def _middle(node: int, places: Sequence[Place], sizes: Sequence[Size]) -> float:
    return places[node][1] + sizes[node].across / 2
