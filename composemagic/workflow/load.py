"""Text -> checked plans. Every mistake of the document is found before anything runs, all at once, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from composemagic.errors import DocumentError
from composemagic.language.dialects import Keys, modernise
from composemagic.language.template import RenderError, compile_template
from composemagic.words import say
from composemagic.workflow import schema
from composemagic.workflow.actions import Components, FindComponent
from composemagic.workflow.items import Item, check_both, is_flat, listed, with_filled
from composemagic.workflow.job_settings import ComponentSettings
from composemagic.workflow.jobs import Jobs
from composemagic.workflow.merge import Sources, Text, read
from composemagic.workflow.plan import Job, Loaded, Plan
from composemagic.workflow.recursion import endless
from composemagic.workflow.report import BASE, Report
from composemagic.workflow.ungiven import ungiven

__all__ = ["Job", "Loaded", "Plan", "Text", "load"]

Path = tuple[str | int, ...]


def load(
    text: str,
    find_component: FindComponent,
    *,
    known_types: Iterable[str],
    name: str,
    first_line: int = 1,
    env: Mapping[str, str] | None = None,
    before: Sequence[Text] = (),
) -> Loaded:
    """Check and compile a document. Raises DocumentError with all its mistakes.

    `env` fills `${env.X}` outside of components now; a component's own are filled when they are needed. `before` are
    earlier files, which this text completes and changes.
    """
    document = read((*before, Text(text, name, first_line)))
    return _Loading(document, find_component, known_types, env or {}).load()


class _Loading:
    def __init__(
        self, document: Sources, find_component: FindComponent, known_types: Iterable[str], env: Mapping[str, str]
    ) -> None:
        self.find_component = find_component
        self.env = env
        self.report = Report(document, modernise(document.data, self.keys), env)
        self.data = self.report.modern.data
        self.components = Components(self.report, find_component, known_types)

    def load(self) -> Loaded:
        self.report.check_keys()
        self.check_top()
        self.components.all += [self.components.check(item) for item in self.items("component")]
        workflows = self.workflows()
        plans = [plan for item in workflows if (plan := self.plan(item)) is not None]
        self.components.link([item.id or "workflow" for item in workflows])
        self.components.say_unused()
        if mistakes := self.report.mistakes():
            raise DocumentError(mistakes)
        named = {plan.id: plan for plan in plans}
        controller = self.data.get("controller") or {}
        loaded = Loaded(self.report.document, named, _default(workflows, named), (), controller)
        self.check_recursion(loaded)
        self.report.findings.notes += ungiven(loaded.plans)
        notes = self.report.notes()
        named = {name: replace(plan, notes=notes) for name, plan in named.items()}
        return replace(loaded, plans=named, notes=notes, places=self.report.places())

    def check_recursion(self, loaded: Loaded) -> None:
        for circle, path in endless(loaded.plans):
            way = " -> ".join(f"`{name}`" for name in (*circle, circle[0]))
            self.report.fault(
                say("the workflow `{id}` calls itself, without end", id=circle[0])
                if len(circle) == 1
                else say("these workflows call each other without end: {way}", way=way),
                path,
            )
        if mistakes := self.report.mistakes():
            raise DocumentError(mistakes)

    @property
    def written(self) -> dict[str, Any]:
        """The tree in the user's own spelling."""
        return self.report.document.data

    def keys(self, kind: Any) -> Keys:
        """What the YAML of a component type may say."""
        if isinstance(kind, str) and "${" in kind:
            try:
                kind = compile_template(kind, texts=True).render({"env": self.env})
            except RenderError:
                return Keys()  # the mistake is drawn when the component is checked
        found = self.find_component(kind) if isinstance(kind, str) else None
        if found is None:
            return Keys()
        settings = found.settings.model_fields
        return Keys(settings, {*found.action.model_fields, "output"} - set(settings))

    def check_top(self) -> None:
        self.report.faults += schema.check_top(self.written)
        self.check_singles()
        if self.data.get("controller") is not None:
            controller = self.report.filled(self.data["controller"], ("controller",))
            self.data["controller"] = controller
            if controller is not None:
                written = self.written["controller"]
                is_flat = isinstance(written, dict) and {"adapter", "adapters"}.isdisjoint(written)
                self.report.faults += schema.check_controller(controller, is_flat=is_flat)
                self.note_foreign(schema.FOREIGN_CONTROLLER_KEYS, controller)
                self.note_adapters(controller)
        self.note_foreign(schema.FOREIGN_TOP_KEYS, self.data)

    def note_foreign(self, keys: Iterable[str], data: Any) -> None:
        for key in keys:
            if isinstance(data, dict) and key in data:
                if key.startswith("listener") and schema.hears_callbacks(data[key]):
                    self.report.remarks.append(
                        say("`{key}` is heard where the workflow is served, as by `composemagic up`", key=key)
                    )
                else:
                    self.report.not_used(key)

    def note_adapters(self, controller: Any) -> None:
        """Say of what else serves a document that composemagic does not, and of where it would run."""
        if not isinstance(controller, dict):
            return
        if controller.get("runtime") not in (None, "native"):
            self.report.not_used("runtime")
        several = controller.get("adapters")
        for adapter in (controller.get("adapter"), *(several if isinstance(several, list) else ())):
            kind = adapter.get("type") if isinstance(adapter, dict) else None
            if kind in schema.FOREIGN_ADAPTERS:
                self.report.remarks.append(
                    say("the adapter `{type}` is accepted and not used by composemagic", type=kind)
                )

    def check_singles(self) -> None:
        for path in self.report.modern.singles:
            name = str(path[-1])
            sentence = say("`{key}` holds several; did you mean `{one}`?", key=name, one=name[:-1])
            self.report.faults.append(schema.Fault(sentence, path, in_key=True))
        self.report.faults += [schema.Fault(*mistake) for mistake in self.report.modern.mistakes]

    def items(self, what: str) -> list[Item]:
        """The document's components or workflows: what is no mapping, and what shares its id, is a mistake."""
        key = f"{what}s"
        found = self.data.get(key) or []
        if not isinstance(found, list):
            self.report.fault(say("`{key}` is a list or a mapping of ids", key=key), (key,))
            return []
        return listed(self.report, found, (key,), what)

    def workflows(self) -> list[Item]:
        """The document's workflows, their settings filled; a document of a component alone has one that runs it."""
        items = [Item(with_filled(self.report, item, schema.Workflow), item.path) for item in self.items("workflow")]
        if not items and self.has_one_way():
            items = [Item({"jobs": [{}]}, ("workflows", 0))]
        for item in items if len(items) > 1 else ():
            if item.id is None:
                self.report.fault(say("a workflow among several needs an `id`"), item.path)
        if not self.data.get("components") and any(_needs_component(item.data.get("jobs")) for item in items):
            self.report.fault(say("the document has no component; add one under `component:`"), ())
        return items

    def has_one_way(self) -> bool:
        """Whether the document has components, and it is clear which action of which one a job without names runs."""
        several = self.components.all
        if not several:
            return "component" in self.written or "components" in self.written
        ways = several if len(several) == 1 else [one for one in several if one.item.is_default]
        actions = ways[0].actions if len(ways) == 1 else []
        return len(actions) == 1 or sum(action.is_default for action in actions) == 1

    def plan(self, item: Item) -> Plan | None:
        workflow, path = item.data, item.path
        has_one = is_flat(self.report, path, "jobs")
        also = ComponentSettings.model_fields if has_one else ()
        check_both(self.report, item, "job")
        self.report.faults += schema.check(schema.Workflow, workflow, path, say("a workflow"), also=also)
        if not has_one and workflow.get("input") not in (None, "${input}"):
            sentence = say("`input` stands on a job, not on a workflow that has jobs")
            self.report.fault(sentence, (*path, "input"), in_key=True)
        written = workflow.get("jobs")
        if not isinstance(written, list):
            return None
        jobs = listed(self.report, [{} if job is None else job for job in written], (*path, "jobs"), "job")
        if not jobs:
            return None
        several = Jobs(self.report, self.components, jobs)
        planned = several.all()
        sources = (*BASE, "jobs", "output")
        output = self.report.template(workflow.get("output"), (*path, "output"), sources, jobs=several.ids)
        if planned is None:
            return None
        title = workflow.get("title") or workflow.get("name") or item.id or ""
        description = str(workflow.get("description") or "")
        return Plan(
            item.id or "workflow",
            str(title),
            description,
            planned,
            output,
            (),
            self.report.place,
            path=path,
            written=self.report.written,
            is_private=workflow.get("private") is True,
        )


def _default(workflows: list[Item], named: Mapping[str, Plan]) -> str | None:
    """The id of the workflow that runs where none is named: the only one that is not private, or the one that says so."""
    public = [plan.id for plan in named.values() if not plan.is_private] or list(named)
    if len(public) == 1:
        return public[0]
    chosen = [item.id or "workflow" for item in workflows if item.is_default]
    return chosen[0] if len(chosen) == 1 else None


def _needs_component(jobs: Any) -> bool:
    """Whether one of some jobs, those inside of others included, runs a component and names none of its own."""
    for job in jobs if isinstance(jobs, list) else ():
        if job is None:
            return True
        if isinstance(job, dict):
            is_open = job.get("type", "component") == "component" and not isinstance(job.get("component"), dict)
            if is_open or ("do" in job and _needs_component([job["do"]])) or _needs_component(job.get("steps")):
                return True
    return False
