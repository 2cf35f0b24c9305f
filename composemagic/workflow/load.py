"""Text -> checked plans. Every mistake of the document is found before anything runs, all at once, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from composemagic.errors import DocumentError, Mark, Mistake, UsageError, suggest
from composemagic.language.dialects import Modern, modernise
from composemagic.language.document import Document, parse
from composemagic.language.expression import Name
from composemagic.language.template import Findings, Flaw, Hole, Template, compile_template, unknown_source
from composemagic.workflow import schema
from composemagic.workflow.component import Action, Component
from composemagic.workflow.inputs import Input, infer
from composemagic.workflow.schema import Fault

__all__ = ["Job", "Loaded", "Plan", "load"]

Path = tuple[str | int, ...]
FindComponent = Callable[[str], type[Component] | None]

_CONTEXT_FIELDS = ("run_id", "session_id", "metadata")
_BASE = ("input", "env", "context")
_COMPONENT_KEYS = ("id", "type", "actions", "default", "name", "runtime", "max_concurrent_count")
_ACTION_KEYS = ("id", "default", "output")


@dataclass(frozen=True, slots=True)
class Job:
    """One step of a plan: an action, what it is given and what becomes of its answer."""

    id: str
    action: Action
    input: Template | None
    output: Template | None


@dataclass(frozen=True)
class Plan:
    """The checked meaning of one workflow."""

    id: str
    title: str
    description: str
    jobs: tuple[Job, ...]
    output: Template | None
    notes: tuple[str, ...]
    place: Callable[[Flaw], Mark] = field(repr=False)

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """What the workflow asks for, in the order written."""
        return infer(self._asking())

    @cached_property
    def variables(self) -> tuple[Hole, ...]:
        """The `${env.X}` without a default that a run needs."""
        holes = (hole for template in self._templates() for hole in template.holes)
        return tuple(hole for hole in holes if hole.reference.source == "env" and hole.reference.default is None)

    def _templates(self) -> Iterator[Template]:
        for job in self.jobs:
            yield from (job.input or _NOTHING, *job.action.settings.values(), *job.action.fields.values())
            yield from (job.action.output or _NOTHING, job.output or _NOTHING)
        yield self.output or _NOTHING

    def _asking(self) -> Iterator[Template]:
        """The templates whose `input` is the workflow's: a job's own input hides its action's."""
        for job in self.jobs:
            if job.input is not None and not _passes_input(job.input):
                yield job.input
            else:
                action = job.action
                yield from (*action.settings.values(), *action.fields.values(), action.output or _NOTHING)
            yield job.output or _NOTHING
        yield self.output or _NOTHING


_NOTHING = Template(lambda _: None, ())


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked document: its plans by id, which of them is the default, and what the user should know."""

    document: Document
    plans: Mapping[str, Plan]
    default: str | None
    notes: tuple[str, ...]
    controller: Mapping[str, Any]

    def plan(self, name: str | None = None) -> Plan:
        """The plan of a workflow id, or the default one. Raises UsageError."""
        if name is None:
            name = self.default
        if name is None:
            raise UsageError(f"which workflow? There are {', '.join(f'`{known}`' for known in self.plans)}")
        if name not in self.plans:
            known = ", ".join(f"`{known}`" for known in self.plans)
            raise UsageError(f"no workflow `{name}`{suggest(name, self.plans)}; there is {known}")
        return self.plans[name]


def load(
    text: str, find_component: FindComponent, *, known_types: Iterable[str], name: str, first_line: int = 1
) -> Loaded:
    """Check and compile a document. Raises DocumentError with all its mistakes."""
    document = parse(text, name, first_line)
    return _Loading(document, find_component, tuple(known_types)).load()


class _Loading:
    def __init__(self, document: Document, find_component: FindComponent, known_types: tuple[str, ...]) -> None:
        self.document = document
        self.find_component = find_component
        self.known_types = known_types
        self.modern: Modern = modernise(document.data, self.action_keys)
        self.findings = Findings()
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.read_as: list[str] = []
        self.used: set[int] = set()

    def load(self) -> Loaded:
        data = self.modern.data
        self.faults += schema.check_top(self.document.data)
        if "controller" in data:
            self.faults += schema.check(schema.Controller, data["controller"], ("controller",), "the controller")
        components = self.items("components", "a component")
        workflows = self.items("workflows", "a workflow") or [({}, ("workflows", 0))]
        if not components and not any(isinstance(_inline(job), dict) for job in self.all_jobs(workflows)):
            self.faults.append(Fault("the document has no component; add one under `component:`", ()))
        self.say_what_was_read(data)
        plans = [self.plan(workflow, path, components) for workflow, path in workflows]
        for at, (component, path) in enumerate(components):
            if at not in self.used:
                self.unused(component, path)
        self.refuse()
        named = {plan.id: plan for plan in plans if plan is not None}
        return Loaded(
            self.document, named, self.default(workflows, named), tuple(self.notes), data.get("controller") or {}
        )

    def action_keys(self, kind: Any) -> set[str]:
        found = self.find_component(kind) if isinstance(kind, str) else None
        if found is None:
            return {"output"}
        return {*found.action.model_fields, "output"} - set(found.settings.model_fields)

    # -- what the user is told --------------------------------------------------------------------------------------
    def refuse(self) -> None:
        mistakes = [Mistake(flaw.sentence, self.place(flaw)) for flaw in self.findings.flaws]
        mistakes += [Mistake(fault.sentence, self.place(Flaw(fault.sentence, fault.path, in_key=fault.in_key)))
                     for fault in self.faults]  # fmt: skip
        if mistakes:
            raise DocumentError(list(dict.fromkeys(mistakes)))

    def place(self, flaw: Flaw) -> Mark:
        path = self.modern.origin(flaw.path)
        if flaw.in_key:
            return self.document.key_mark(path)
        if flaw.start is None:
            return self.document.mark(path)
        return self.document.span(path, flaw.start, flaw.length)

    def say_what_was_read(self, data: dict[str, Any]) -> None:
        self.read_as += [sentence for sentence, _ in self.modern.notes]
        for key in schema.FOREIGN_TOP_KEYS:
            if key in data:
                self.notes.append(f"`{key}` is accepted and not used by composemagic")

    def all_notes(self, start: int) -> tuple[str, ...]:
        casts = [note.sentence for note in self.findings.notes[start:] if " -> " in note.sentence]
        rest = [note.sentence for note in self.findings.notes[start:] if " -> " not in note.sentence]
        read_as = list(dict.fromkeys([*self.read_as, *casts]))
        return tuple(([f"read as: {'; '.join(read_as)}"] if read_as else []) + rest + self.notes)

    # -- workflows ----------------------------------------------------------------------------------------------------
    def items(self, key: str, place: str) -> list[tuple[dict[str, Any], Path]]:
        found = self.modern.data.get(key, [])
        if not isinstance(found, list):
            self.faults.append(Fault(f"`{key}` is a list or a mapping of ids", (key,)))
            return []
        for at, item in enumerate(found):
            if not isinstance(item, dict):
                self.faults.append(Fault(f"{place} is a mapping", (key, at)))
        return [(item, (key, at)) for at, item in enumerate(found) if isinstance(item, dict)]

    def all_jobs(self, workflows: list[tuple[dict[str, Any], Path]]) -> Iterator[Any]:
        for workflow, _ in workflows:
            yield from workflow.get("jobs") or ()

    def plan(self, workflow: dict[str, Any], path: Path, components: list[tuple[dict[str, Any], Path]]) -> Plan | None:
        is_flat = self.modern.origin((*path, "jobs", 0)) == self.modern.origin(path)
        jobs_keys = schema.Job.model_fields if is_flat else ()
        self.faults += schema.check(schema.Workflow, workflow, path, "a workflow", also=jobs_keys)
        start = len(self.findings.notes)
        jobs = workflow.get("jobs") or [{}]
        if not isinstance(jobs, list):
            return None
        if len(jobs) > 1:
            sentence = "a workflow of several jobs is not in this version of composemagic"
            self.faults.append(Fault(sentence, (*path, "jobs", 1)))
        ids = [str(job.get("id") or f"job-{at + 1}") if isinstance(job, dict) else "" for at, job in enumerate(jobs)]
        planned = self.job(jobs[0], (*path, "jobs", 0), ids, components)
        output = self.template(workflow.get("output"), (*path, "output"), (*_BASE, "jobs", "output"), ids)
        if planned is None:
            return None
        title = workflow.get("title") or workflow.get("name") or workflow.get("id") or ""
        name = str(workflow.get("id") or "workflow")
        return Plan(
            name, str(title), str(workflow.get("description") or ""), (planned,), output, self.all_notes(start), self.place
        )

    def default(self, workflows: list[tuple[dict[str, Any], Path]], named: Mapping[str, Plan]) -> str | None:
        if len(named) == 1:
            return next(iter(named))
        chosen = [workflow.get("id") for workflow, _ in workflows if workflow.get("default") is True]
        return str(chosen[0]) if len(chosen) == 1 else None

    # -- jobs -----------------------------------------------------------------------------------------------------------
    def job(
        self, job: Any, path: Path, ids: list[str], components: list[tuple[dict[str, Any], Path]]
    ) -> Job | None:
        job = {} if job is None else job
        if isinstance(job, dict) and job.get("type", "component") != "component":
            sentence = f"the job type `{job['type']}` is not in this version of composemagic"
            self.faults.append(Fault(sentence, (*path, "type")))
            return None
        self.faults += schema.check(schema.Job, job, path, "a job")
        if not isinstance(job, dict):
            return None
        given = self.template(job.get("input"), (*path, "input"), (*_BASE, "jobs"), ids)
        output = self.template(job.get("output"), (*path, "output"), (*_BASE, "jobs", "output"), ids)
        chosen = self.component_of(job, path, components)
        action = self.action_of(job, path, *chosen) if chosen else None
        return Job(ids[0], action, given, output) if action else None

    def component_of(
        self, job: dict[str, Any], path: Path, components: list[tuple[dict[str, Any], Path]]
    ) -> tuple[dict[str, Any], Path] | None:
        wanted = job.get("component")
        if isinstance(wanted, dict):
            return wanted, (*path, "component")
        if isinstance(wanted, str) and wanted != "__default__":
            return self.named_component(wanted, path, components)
        if not components:
            return None
        chosen = [at for at, (component, _) in enumerate(components) if component.get("default") is True]
        if len(components) > 1 and len(chosen) != 1:
            known = ", ".join(f"`{component.get('id')}`" for component, _ in components)
            self.faults.append(Fault(f"the job does not say which component it runs; there are {known}", path))
            return None
        at = chosen[0] if chosen else 0
        self.used.add(at)
        return components[at]

    def named_component(
        self, wanted: str, path: Path, components: list[tuple[dict[str, Any], Path]]
    ) -> tuple[dict[str, Any], Path] | None:
        for at, (component, place) in enumerate(components):
            if component.get("id", "__component__") == wanted:
                self.used.add(at)
                return component, place
        known = [str(component["id"]) for component, _ in components if "id" in component]
        self.faults.append(Fault(f"no component `{wanted}`{suggest(wanted, known)}", (*path, "component")))
        return None

    # -- components -----------------------------------------------------------------------------------------------------
    def unused(self, component: dict[str, Any], path: Path) -> None:
        self.notes.append(f"the component `{component.get('id', 'without id')}` is used by no job")
        if isinstance(component.get("type"), str) and self.find_component(component["type"]):
            self.check_component(component, path)

    def check_component(self, component: dict[str, Any], path: Path) -> type[Component] | None:
        kind = component.get("type")
        if not isinstance(kind, str):
            self.faults.append(Fault("a component needs `type`, such as `type: http-client`", path))
            return None
        found = self.find_component(kind)
        if found is None:
            near = suggest(kind, self.known_types) or f"; here: {', '.join(f'`{name}`' for name in self.known_types)}"
            self.faults.append(Fault(f"unknown component type `{kind}`{near}", (*path, "type")))
            return None
        place = f"{_article(kind)} {kind}"
        own = {key: value for key, value in component.items() if key not in _COMPONENT_KEYS}
        is_flat = self.modern.origin((*path, "actions", 0)) == self.modern.origin(path)
        flat = (*found.action.model_fields, "output") if is_flat else ()
        self.faults += schema.check(found.settings, own, path, f"{place} component", also=flat)
        for at, action in enumerate(component["actions"]):
            if isinstance(action, dict):
                fields = {key: value for key, value in action.items() if key not in _ACTION_KEYS}
                where = (*path, "actions", at)
                self.faults += schema.check(found.action, fields, where, f"{place} action")
                self.faults += [
                    Fault(sentence, (*where, key) if key else where) for sentence, key in found.faults(own, action)
                ]
            else:
                self.faults.append(Fault("an action is a mapping", (*path, "actions", at)))
        return found

    def action_of(self, job: dict[str, Any], path: Path, component: dict[str, Any], place: Path) -> Action | None:
        found = self.check_component(component, place)
        actions = [action for action in component["actions"] if isinstance(action, dict)]
        if found is None or not actions:
            return None
        at = self.choose(job.get("action"), actions, component, path)
        if at is None:
            return None
        action, where = actions[at], (*place, "actions", at)
        sources = (*_BASE, *found.sources, *(f"{source}[]" for source in found.sources))
        return Action(
            id=str(action.get("id") or component.get("id") or component["type"]),
            component=found(),
            fields=self.fields(action, _ACTION_KEYS, where, found),
            settings=self.fields(component, _COMPONENT_KEYS, place, found),
            output=self.template(action.get("output"), (*where, "output"), sources, []),
            path=where,
        )

    def choose(
        self, wanted: Any, actions: list[dict[str, Any]], component: dict[str, Any], path: Path
    ) -> int | None:
        ids = [str(action.get("id", "")) for action in actions]
        if isinstance(wanted, str) and wanted != "__default__":
            if wanted in ids:
                return ids.index(wanted)
            self.faults.append(Fault(f"no action `{wanted}`{suggest(wanted, ids)}", (*path, "action")))
            return None
        chosen = [at for at, action in enumerate(actions) if action.get("default") is True]
        if len(actions) > 1 and len(chosen) != 1:
            name = component.get("id", component["type"])
            self.faults.append(
                Fault(f"component `{name}` has {len(actions)} actions and no default; say `action:`", path)
            )
            return None
        return chosen[0] if chosen else 0

    def fields(
        self, data: dict[str, Any], but: tuple[str, ...], path: Path, found: type[Component]
    ) -> dict[str, Template]:
        own = schema.without_extensions(data)
        return {
            key: template
            for key, value in own.items()
            if key not in but
            and (template := self.template(value, (*path, key), _BASE, [], texts=key in found.text_fields)) is not None
        }

    # -- templates ------------------------------------------------------------------------------------------------------
    def template(
        self, value: Any, path: Path, sources: Iterable[str], jobs: list[str], *, texts: bool = False
    ) -> Template | None:
        if value is None:
            return None
        quoted: Callable[[Path], bool] = lambda where: self.document.is_quoted(self.modern.origin(where))  # noqa: E731
        template = compile_template(value, path, findings=self.findings, is_quoted=quoted, texts=texts)
        for hole in template.holes:
            self.look_at(hole, tuple(sources), jobs)
        return template

    def look_at(self, hole: Hole, sources: tuple[str, ...], jobs: list[str]) -> None:
        reference = hole.reference
        sentence = unknown_source(reference, sources)
        if sentence:
            self.flaw(hole, sentence)
            return
        first = next((segment.name for segment in reference.path[:1] if isinstance(segment, Name)), None)
        if reference.source == "jobs" and first not in jobs and first != "__job__":
            self.flaw(hole, f"no job `{first}`{suggest(first or '', jobs)}")
        if reference.source == "context" and first not in _CONTEXT_FIELDS:
            self.flaw(hole, f"`context` has no `{first}`{suggest(first or '', _CONTEXT_FIELDS)}")
        if reference.source == "env" and first is None:
            self.flaw(hole, "name the variable, as in `${env.OPENAI_API_KEY}`")

    def flaw(self, hole: Hole, sentence: str) -> None:
        reference = hole.reference
        self.findings.flaws.append(Flaw(sentence, hole.path, reference.source_start, len(reference.key)))


def _passes_input(template: Template) -> bool:
    """Whether a job's input is just `${input}`."""
    if len(template.holes) != 1:
        return False
    reference = template.holes[0].reference
    if reference.source != "input" or reference.path or reference.cast:
        return False
    marker = object()
    return template.render({"input": marker}) is marker


def _inline(job: Any) -> Any:
    return job.get("component") if isinstance(job, dict) else None


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" or word.startswith("http") else "a"
