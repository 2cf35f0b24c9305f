"""How the jobs of a workflow depend on each other: what waits for what, who may start whom, which of them end it.

An edge runs from a job to one that comes after it. Pure functions of ids; nothing here knows what a job does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from composemagic.workflow.job import Job, Router

__all__ = ["Graph", "cycle", "grown", "implied", "never_started"]

Groups = tuple[tuple[str, ...], ...]
Edges = Mapping[str, set[str]]


@dataclass(frozen=True)
class Graph:
    """The jobs of one workflow, in the order written."""

    jobs: tuple[Job, ...]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the jobs."""
        return tuple(job.id for job in self.jobs)

    @cached_property
    def order(self) -> Mapping[str, int]:
        """The place of each job, from 0."""
        return {job.id: at for at, job in enumerate(self.jobs)}

    @cached_property
    def routers(self) -> Mapping[str, tuple[str, ...]]:
        """The jobs that never start by themselves, and by which each is started."""
        found: dict[str, list[str]] = {}
        for job in self.jobs:
            for to in dict.fromkeys(job.routes()):
                found.setdefault(to, []).append(job.id)
        return {to: tuple(by) for to, by in found.items()}

    @cached_property
    def terminals(self) -> tuple[str, ...]:
        """The jobs that no other job waits for; routers, which have no output, are none."""
        awaited = {name for job in self.jobs for group in job.depends_on for name in group}
        return tuple(job.id for job in self.jobs if job.id not in awaited and not isinstance(job, Router))

    @cached_property
    def after(self) -> Edges:
        """By job, what may come next: the jobs that wait for it, and those that it may start."""
        edges: dict[str, set[str]] = {name: set() for name in self.ids}
        for job in self.jobs:
            edges[job.id].update(job.routes())
            for group in job.depends_on:
                for name in group:
                    edges[name].add(job.id)
        return edges

    @cached_property
    def readers(self) -> Mapping[str, frozenset[str]]:
        """By job, the jobs that refer to its output."""
        found: dict[str, set[str]] = {name: set() for name in self.ids}
        for job in self.jobs:
            for name in referred(job):
                found.get(name, set()).add(job.id)
        return {name: frozenset(readers) for name, readers in found.items()}

    def downstream(self, name: str) -> set[str]:
        """Everything that may come after a job."""
        return _reach(self.after, name)

    def between(self, target: str, router: str) -> set[str]:
        """The jobs on a way from the target back to the router, both included."""
        ways = {name for name in self.downstream(target) if router in self.downstream(name)}
        return {target, router, *ways} if router in self.downstream(target) or router == target else {target}


def referred(job: Job) -> tuple[str, ...]:
    """The ids that a job's templates read the outputs of, in the order met."""
    found: dict[str, None] = {}
    for hole in job.holes():
        reference = hole.reference
        if reference.source == "jobs" and reference.path:
            found[getattr(reference.path[0], "name", "")] = None
    return tuple(found)


def implied(written: Mapping[str, Groups], references: Mapping[str, Sequence[str]], routes: Edges) -> dict[str, Groups]:
    """The groups of every job with those that its references imply.

    A reference to a job that `depends_on` names nowhere is a dependency on it, unless that job comes after the reader
    itself: in a loop it reads the last value, or null. What comes after is told by `depends_on`; where a routing leads
    back to the reader, by references as well, if the job that is read is written later.
    """
    order = {name: at for at, name in enumerate(written)}
    explicit = _edges(written)
    wanted = [
        (reader, name)
        for reader, ids in references.items()
        for name in ids
        if name in order and name != reader and not any(name in group for group in written[reader])
    ]
    free = [(reader, name) for reader, name in wanted if name not in _reach(explicit, reader)]
    forward: dict[str, set[str]] = {name: set() for name in order}
    for reader, name in free:
        if order[name] < order[reader]:
            forward[name].add(reader)
    ways = {name: explicit[name] | forward[name] | set(routes.get(name, ())) & set(order) for name in order}
    found = dict(written)
    for reader, name in free:
        leads_back = order[name] > order[reader] and name in _reach(ways, reader) and reader in _reach(ways, name)
        if not leads_back:
            found[reader] = (*found[reader], (name,))
    return found


def cycle(groups: Mapping[str, Groups]) -> list[str] | None:
    """Jobs that wait for each other: each for the one before it, the first for the last. None where there are none."""
    waits = {name: [other for group in each for other in group] for name, each in groups.items()}
    done: set[str] = set()
    for start in waits:
        if found := _circle(waits, start, done):
            return found
    return None


def never_started(groups: Mapping[str, Groups], routers: Mapping[str, Sequence[str]]) -> list[str]:
    """The routing targets that cannot start, because whoever may start them waits for them."""
    after = _edges(groups)
    for target, by in routers.items():
        for router in by:
            after.setdefault(router, set()).add(target)

    def can_start(name: str, started: set[str]) -> bool:
        is_free = name not in routers or not started.isdisjoint(routers[name])
        return is_free and all(not started.isdisjoint(group) for group in groups[name])

    started = grown(groups, after, can_start)
    left = [target for target in groups if target in routers and target not in started]
    # what only follows from another one that cannot start is not told
    return [target for target in left if not _reach(after, target).isdisjoint(routers[target])] or left[:1]


def grown(names: Iterable[str], after: Edges, joins: Callable[[str, set[str]], bool]) -> set[str]:
    """Those of the names that join a growing set; each is asked again when one that it comes after has joined."""
    found: set[str] = set()
    ahead = deque(names)
    while ahead:
        name = ahead.popleft()
        if name not in found and joins(name, found):
            found.add(name)
            ahead.extend(after.get(name, ()))
    return found


def _edges(groups: Mapping[str, Groups]) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {name: set() for name in groups}
    for name, each in groups.items():
        for other in (other for group in each for other in group):
            edges.setdefault(other, set()).add(name)
    return edges


def _reach(edges: Edges, start: str) -> set[str]:
    """What can be reached from a job in one step or more."""
    found: set[str] = set()
    ahead = list(edges.get(start, ()))
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += edges.get(name, ())
    return found


def _circle(waits: Mapping[str, Sequence[str]], start: str, done: set[str]) -> list[str] | None:
    """A circle that can be reached from `start`; `done` are the jobs that lead to none. Without recursion: rows may be long."""
    way: dict[str, None] = {}
    ahead: list[Iterator[str]] = [iter([start])]
    while ahead:
        name = next(ahead[-1], None)
        if name is None:
            ahead.pop()
            if way:
                done.add(way.popitem()[0])
        elif name in way:
            ids = list(way)
            return ids[ids.index(name) :]
        elif name not in done and name in waits:
            way[name] = None
            ahead.append(iter(waits[name]))
    return None
