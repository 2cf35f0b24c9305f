"""Text -> checked plans. Every mistake of the document is found before anything runs, all at once, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from composemagic.errors import DocumentError
from composemagic.language.dialects import modernise
from composemagic.language.document import Document, parse
from composemagic.language.template import RenderError, compile_template
from composemagic.workflow import schema
from composemagic.workflow.actions import Components, FindComponent
from composemagic.workflow.items import Item, check_both, is_flat, listed, with_filled
from composemagic.workflow.jobs import Jobs
from composemagic.workflow.plan import Job, Loaded, Plan
from composemagic.workflow.report import BASE, Report

__all__ = ["Job", "Loaded", "Plan", "load"]

Path = tuple[str | int, ...]


def load(
    text: str,
    find_component: FindComponent,
    *,
    known_types: Iterable[str],
    name: str,
    first_line: int = 1,
    env: Mapping[str, str] | None = None,
) -> Loaded:
    """Check and compile a document. Raises DocumentError with all its mistakes.

    `env` fills `${env.X}` outside of jobs and components' settings: in titles, ports and types, which are needed now.
    """
    document = parse(text, name, first_line)
    return _Loading(document, find_component, known_types, env or {}).load()


class _Loading:
    def __init__(
        self, document: Document, find_component: FindComponent, known_types: Iterable[str], env: Mapping[str, str]
    ) -> None:
        self.find_component = find_component
        self.env = env
        self.report = Report(document, modernise(document.data, self.action_keys), env)
        self.data = self.report.modern.data
        self.components = Components(self.report, find_component, known_types)

    def load(self) -> Loaded:
        self.report.check_keys()
        self.check_top()
        self.components.all += [self.components.check(item) for item in self.items("component")]
        workflows = self.workflows()
        plans = [plan for item in workflows if (plan := self.plan(item)) is not None]
        self.components.say_unused()
        if mistakes := self.report.mistakes():
            raise DocumentError(mistakes)
        notes = self.report.notes()
        named = {plan.id: replace(plan, notes=notes) for plan in plans}
        return Loaded(self.report.document, named, _default(workflows, named), notes, self.data.get("controller") or {})

    @property
    def written(self) -> dict[str, Any]:
        """The tree in the user's own spelling."""
        return self.report.document.data

    def action_keys(self, kind: Any) -> set[str]:
        if isinstance(kind, str) and "${" in kind:
            try:
                kind = compile_template(kind, texts=True).render({"env": self.env})
            except RenderError:
                return {"output"}  # the mistake is drawn when the component is checked
        found = self.find_component(kind) if isinstance(kind, str) else None
        if found is None:
            return {"output"}
        return {*found.action.model_fields, *schema.LATER_ACTION_KEYS, "output"} - set(found.settings.model_fields)

    def check_top(self) -> None:
        self.report.faults += schema.check_top(self.written)
        self.check_singles()
        if self.data.get("controller") is not None:
            controller = self.report.filled(self.data["controller"], ("controller",))
            self.data["controller"] = controller
            if controller is not None:
                self.report.faults += schema.check(schema.Controller, controller, ("controller",), "the controller")
        for key in schema.FOREIGN_TOP_KEYS:
            if key in self.data:
                self.report.remarks.append(f"`{key}` is accepted and not used by composemagic")

    def check_singles(self) -> None:
        for path in self.report.modern.singles:
            name = str(path[-1])
            sentence = f"`{name}` holds several; did you mean `{name[:-1]}`?"
            self.report.faults.append(schema.Fault(sentence, path, in_key=True))

    def items(self, what: str) -> list[Item]:
        """The document's components or workflows: what is no mapping, and what shares its id, is a mistake."""
        key = f"{what}s"
        found = self.data.get(key) or []
        if not isinstance(found, list):
            self.report.fault(f"`{key}` is a list or a mapping of ids", (key,))
            return []
        return listed(self.report, found, (key,), what)

    def workflows(self) -> list[Item]:
        """The document's workflows, their settings filled; a document of a component alone has one that runs it."""
        items = [Item(with_filled(self.report, item, schema.Workflow), item.path) for item in self.items("workflow")]
        if not items and ("component" in self.written or "components" in self.written):
            items = [Item({"jobs": [{}]}, ("workflows", 0))]
        for item in items if len(items) > 1 else ():
            if item.id is None:
                self.report.fault("a workflow among several needs an `id`", item.path)
        if items and not self.data.get("components") and not any(map(_has_inline, items)):
            self.report.fault("the document has no component; add one under `component:`", ())
        return items

    def plan(self, item: Item) -> Plan | None:
        workflow, path = item.data, item.path
        has_one = is_flat(self.report, path, "jobs")
        also = schema.Job.model_fields if has_one else ()
        check_both(self.report, item, "job")
        self.report.faults += schema.check(schema.Workflow, workflow, path, "a workflow", also=also)
        if not has_one and workflow.get("input") not in (None, "${input}"):
            self.report.fault("`input` stands on a job, not on a workflow that has jobs", (*path, "input"), in_key=True)
        written = workflow.get("jobs")
        if not isinstance(written, list):
            return None
        jobs = listed(self.report, [{} if job is None else job for job in written], (*path, "jobs"), "job")
        if len(jobs) > 1:
            self.report.fault(f"a workflow of several jobs {schema.NOT_YET}", jobs[1].path)
        if not jobs:
            return None
        ids = [job.id or f"job-{at}" for at, job in enumerate(jobs, 1)]
        planned = Jobs(self.report, self.components, ids).job(jobs[0])
        output = self.report.template(workflow.get("output"), (*path, "output"), (*BASE, "jobs", "output"), jobs=ids)
        if planned is None:
            return None
        title = workflow.get("title") or workflow.get("name") or item.id or ""
        description = str(workflow.get("description") or "")
        return Plan(item.id or "workflow", str(title), description, (planned,), output, (), self.report.place)


def _default(workflows: list[Item], named: Mapping[str, Plan]) -> str | None:
    if len(named) == 1:
        return next(iter(named))
    chosen = [item.id or "workflow" for item in workflows if item.is_default]
    return chosen[0] if len(chosen) == 1 else None


def _has_inline(workflow: Item) -> bool:
    jobs = workflow.data.get("jobs")
    return isinstance(jobs, list) and any(
        isinstance(job, dict) and isinstance(job.get("component"), dict) for job in jobs
    )
