"""The jobs of one workflow: each checked and compiled, then all together: who waits for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from composemagic.errors import suggest
from composemagic.language.formats import ENCODED
from composemagic.language.template import Hole, compile_template
from composemagic.words import listing, say
from composemagic.workflow import schema
from composemagic.workflow.actions import Components
from composemagic.workflow.graph import Graph, cycle, implied, never_started, referred
from composemagic.workflow.items import Item
from composemagic.workflow.job import Job
from composemagic.workflow.job_kinds import BUILDERS, Making
from composemagic.workflow.job_parts import AROUND, Parts, Sources, filled
from composemagic.workflow.job_settings import INLINE_TYPES, JOB_TYPES
from composemagic.workflow.report import Report

__all__ = ["Jobs", "named"]

Path = tuple[str | int, ...]

_RESERVED = ("__default__", "__workflow__", "__component__", "__action__")


def named(report: Report, items: Sequence[Item]) -> list[Item]:
    """The jobs with their plain settings filled, each with an id: its own, or `job-N` after its place among all."""
    found = [Item(filled(report, item.data, item.path), item.path) for item in items]
    taken = {item.id for item in found if item.id is not None}
    for at, item in enumerate(found):
        if item.id is not None:
            continue
        number = at + 1
        while f"job-{number}" in taken:
            number += 1
        taken.add(f"job-{number}")
        found[at] = Item({**item.data, "id": f"job-{number}"}, item.path)
    return found


class Jobs:
    """Compiles the jobs of one workflow."""

    def __init__(self, report: Report, components: Components, items: Sequence[Item]) -> None:
        self.report = report
        self.components = components
        self.items = named(report, items)
        self.ids = [str(item.id) for item in self.items]
        self.parts = Parts(report, self.ids)

    def all(self) -> tuple[Job, ...] | None:
        """The jobs in the order written, with what their references imply; None where one has mistakes."""
        faults = len(self.report.faults)
        jobs = [self.job(item) for item in self.items]
        found = tuple(job for job in jobs if job is not None)
        if len(found) < len(jobs) or len(self.report.faults) > faults or len(set(self.ids)) < len(self.ids):
            return None
        return self.connected(found)

    def job(self, item: Item) -> Job | None:
        """A job of the workflow itself."""
        if item.id in _RESERVED:
            self.report.fault(
                say("`{name}` is a name that the language keeps for itself", name=item.id), (*item.path, "id")
            )
        depends_on = self.parts.depends_on(item.data.get("depends_on"), (*item.path, "depends_on"), str(item.id))
        return self.made(item, str(item.id), AROUND, depends_on, tuple(JOB_TYPES))

    def inline(self, data: Any, path: Path, key: str, sources: Sources, outer: str) -> Job | None:
        """A job in `do` or `steps` of another one."""
        if data is None and key not in (self.report.written(path[:-1]) or {}):
            return None  # said already: the key is missing
        if not isinstance(data, dict):
            self.report.fault(
                say("a job in `{key}` is a mapping, this is {value}", key=key, value=schema.kind(data)), path
            )
            return None
        item = Item(filled(self.report, data, path), path)
        if data.get("depends_on") is not None:
            self.report.fault(
                say("a job in `{key}` waits for no other; `depends_on` stands on the outer job", key=key),
                (*path, "depends_on"),
                in_key=True,
            )
        on_error = data.get("on_error")
        if isinstance(on_error, dict) and on_error.get("to") is not None:
            self.report.fault(
                say("a job in `{key}` cannot go on to another; `to` stands on the outer job", key=key),
                (*path, "on_error", "to"),
                in_key=True,
            )
            item = Item({**item.data, "on_error": {**on_error, "to": None}}, path)
        tag = f"step:{path[-1]}" if key == "steps" else key
        return self.made(item, f"{outer}[{tag}]", sources, (), INLINE_TYPES)

    def made(
        self, item: Item, name: str, sources: Sources, depends_on: tuple[tuple[str, ...], ...], types: Sequence[str]
    ) -> Job | None:
        kind = item.data.get("type") or "component"
        if kind not in types:
            is_component = isinstance(kind, str) and self.components.find(kind) is not None
            words = _component_type(kind) if is_component else _no_type(kind, types)
            self.report.fault(words, (*item.path, "type"))
            return None
        self.report.faults += schema.check(JOB_TYPES[kind], item.data, item.path, _place(kind))
        parts, data, path = self.parts, item.data, item.path
        interrupts = parts.interrupts(data.get("interrupt"), (*path, "interrupt"), sources)
        hooks = parts.hooks(data.get("hook"), (*path, "hook"))
        common = {
            "id": name,
            "path": path,
            "name": data.get("name"),
            "depends_on": depends_on,
            "max_run_count": parts.number(data.get("max_run_count"), (*path, "max_run_count")) or 25,
            "retry": parts.retry(data.get("retry"), (*path, "retry")),
            "on_error": parts.on_error(data.get("on_error"), (*path, "on_error"), sources),
            "before": interrupts.get("before"),
            "after": interrupts.get("after"),
            "hooks_before": hooks.get("before", ()),
            "hooks_after": hooks.get("after", ()),
        }

        def inline(data: Any, path: Path, key: str, sources: Sources) -> Job | None:
            return self.inline(data, path, key, sources, name)

        return BUILDERS[kind](Making(item, sources, common, parts, self.components, inline))

    # -- all together -----------------------------------------------------------------------------------------------------
    def connected(self, jobs: tuple[Job, ...]) -> tuple[Job, ...] | None:
        """The jobs with the dependencies that their references imply; circles are mistakes."""
        written = {job.id: job.depends_on for job in jobs}
        only = {"__job__": self.ids[0]} if len(self.ids) == 1 else {}
        references = {job.id: [only.get(name, name) for name in referred(job)] for job in jobs}
        groups = implied(written, references, {job.id: set(job.routes()) for job in jobs})
        by_id = {job.id: job for job in jobs}
        if circle := cycle(groups):
            way = " -> ".join(f"`{name}`" for name in reversed([*circle, circle[0]]))
            self.report.fault(say("these jobs wait for each other: {way}", way=way), by_id[circle[0]].path)
            return None
        found = tuple(replace(job, depends_on=groups[job.id]) for job in jobs)
        graph = Graph(found)
        routers = graph.routers
        for name in never_started(groups, routers):
            by = listing(f"`{router}`" for router in routers[name])
            self.report.fault(
                say(
                    "the job `{name}` never starts: only {routers} can start it, and that waits for it",
                    name=name,
                    routers=by,
                ),
                by_id[name].path,
            )
        return tuple(self.ending(job) if job.id in graph.terminals else job for job in found)

    def ending(self, job: Job) -> Job:
        """A job that ends the workflow: media in its output that carry their own content are passed on as they are."""
        template = job.output
        if template is None or not any(_carries_content(hole) for hole in template.holes):
            return job
        written = next(item.data["output"] for item in self.items if item.id == job.id)
        path = (*job.path, "output")
        output = compile_template(written, path, is_quoted=self.report.is_quoted, skip_decode=True)
        return replace(job, output=output)


def _carries_content(hole: Hole) -> bool:
    cast = hole.reference.cast
    return cast is not None and cast.format in ENCODED


def _place(kind: str) -> str:
    if kind == "component":
        return say("a job")
    return say("an `{kind}` job", kind=kind) if kind[0] in "aeiou" else say("a `{kind}` job", kind=kind)


def _component_type(kind: str) -> str:
    return say("`{kind}` is the type of a component; a job names one with `component:`", kind=kind)


def _no_type(kind: Any, types: Sequence[str]) -> str:
    if isinstance(kind, str) and kind in JOB_TYPES:
        known = listing(f"`{name}`" for name in types)
        return say(
            "a job of the type `{kind}` cannot stand inside another; there it is one of {known}", kind=kind, known=known
        )
    shown = f"`{kind}`" if isinstance(kind, str) else schema.kind(kind)
    near = suggest(str(kind), types)
    return say("unknown job type {kind}{near}", kind=shown, near=near)
