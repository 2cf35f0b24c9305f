"""Workflows that call themselves for certain, so that no input could end them.

One that calls itself behind a router, for each of some items or in a loop may end; the run then counts how deep it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from composemagic.workflow.graph import grown
from composemagic.workflow.job import ComponentJob, Job, PipelineJob
from composemagic.workflow.plan import Plan

__all__ = ["endless"]

Path = tuple[str | int, ...]


def endless(plans: Mapping[str, Plan]) -> Iterator[tuple[list[str], Path]]:
    """Each circle of workflows that call one another for certain: their ids, and where the first one's call stands."""
    calls = {name: dict(_calls(plan)) for name, plan in plans.items()}
    told: set[str] = set()
    for start in calls:
        circle = _circle(calls, start)
        if circle and told.isdisjoint(circle):
            told.update(circle)
            yield circle, calls[start][circle[1 % len(circle)]]


def _calls(plan: Plan) -> Iterator[tuple[str, Path]]:
    """The workflows that every run of a workflow calls, and where."""
    for job in _certain(plan):
        called = plan.called(job)
        if called is not None:
            path = (*job.action.path, "workflow")
            yield called.id, path if plan.written(path) is not None else job.action.path


def _certain(plan: Plan) -> Iterator[ComponentJob]:
    """The component jobs that run in every run: no router chooses them, nor all that they wait for."""
    graph = plan.graph
    waits = {job.id: [other for group in job.depends_on for other in group] for job in plan.jobs}

    def is_sure(name: str, sure: set[str]) -> bool:
        return name not in graph.routers and (not waits[name] or not sure.isdisjoint(waits[name]))

    sure = grown(waits, graph.after, is_sure)
    for job in plan.jobs:
        if job.id in sure:
            yield from _first(job)


def _first(job: Job) -> Iterator[ComponentJob]:
    if isinstance(job, ComponentJob):
        yield job
    elif isinstance(job, PipelineJob):
        for step in job.steps:
            yield from _first(step)


def _circle(calls: Mapping[str, Mapping[str, Path]], start: str) -> list[str] | None:
    """The way from a workflow back to itself."""
    ways: list[list[str]] = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for called in calls.get(way[-1], ()):
            if called == start:
                return way
            if called not in seen:
                seen.add(called)
                ways.append([*way, called])
    return None
