"""Text -> checked plans. Every mistake of the document is found before anything runs, all at once, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from composemagic.errors import DocumentError, suggest
from composemagic.language.dialects import modernise
from composemagic.language.document import Document, parse
from composemagic.language.template import RenderError, Template, compile_template
from composemagic.workflow import outputs, schema
from composemagic.workflow.component import Action, Component
from composemagic.workflow.plan import Job, Loaded, Plan
from composemagic.workflow.report import Report

__all__ = ["Job", "Loaded", "Plan", "load"]

Path = tuple[str | int, ...]
FindComponent = Callable[[str], type[Component] | None]

_BASE = ("input", "env", "context")
_ACTION_KEYS = ("id", "default", "output")
_PARTS = ("job", "jobs", "action", "actions", "input", "output")  # what is checked by itself


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
    return _Loading(document, find_component, tuple(known_types), env or {}).load()


@dataclass(frozen=True, slots=True)
class _Item:
    """A component, an action, a workflow or a job as written (in today's spelling), and where it stands."""

    data: dict[str, Any]
    path: Path

    @property
    def id(self) -> str | None:
        found = self.data.get("id")
        return None if found is None else str(found)

    @property
    def is_default(self) -> bool:
        return self.data.get("default") is True


@dataclass(slots=True)
class _Checked:
    """A component after its check; `actions` has None where one cannot be compiled."""

    item: _Item
    actions: Sequence[_Item]
    compiled: Sequence[Action | None]
    used: bool = False


class _Loading:
    def __init__(
        self, document: Document, find_component: FindComponent, known_types: tuple[str, ...], env: Mapping[str, str]
    ) -> None:
        self.find_component = find_component
        self.known_types = known_types
        self.env = env
        self.report = Report(document, modernise(document.data, self.action_keys), env)
        self.data = self.report.modern.data
        self.components: list[_Checked] = []

    def load(self) -> Loaded:
        self.report.check_keys()
        self.check_top()
        self.components = [self.component(item) for item in self.items("component")]
        workflows = self.workflows()
        plans = [plan for item in workflows if (plan := self.plan(item)) is not None]
        self.say_unused()
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

    # -- the top ------------------------------------------------------------------------------------------------------
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

    def items(self, what: str) -> list[_Item]:
        """The document's components or workflows: what is no mapping, and what shares its id, is a mistake."""
        key = f"{what}s"
        found = self.data.get(key) or []
        if not isinstance(found, list):
            self.report.fault(f"`{key}` is a list or a mapping of ids", (key,))
            return []
        return self.listed(found, (key,), what)

    def workflows(self) -> list[_Item]:
        """The document's workflows, their settings filled; a document of a component alone has one that runs it."""
        items = [_Item(self.with_filled(item, schema.Workflow), item.path) for item in self.items("workflow")]
        if not items and ("component" in self.written or "components" in self.written):
            items = [_Item({"jobs": [{}]}, ("workflows", 0))]
        for item in items if len(items) > 1 else ():
            if item.id is None:
                self.report.fault("a workflow among several needs an `id`", item.path)
        if items and not self.data.get("components") and not any(map(_has_inline, items)):
            self.report.fault("the document has no component; add one under `component:`", ())
        return items

    def listed(self, found: list[Any], path: Path, what: str) -> list[_Item]:
        items = []
        for at, value in enumerate(found):
            if isinstance(value, dict):
                items.append(_Item(value, (*path, at)))
            else:
                self.report.fault(self.no_mapping(value, what), (*path, at))
        self.check_ids(items, what)
        return items

    def no_mapping(self, value: Any, what: str) -> str:
        sentence = f"{_article(what)} {what} is a mapping, this is {schema.kind(value)}"
        return f"{sentence}; for several, write `{what}s:`" if isinstance(value, list) else sentence

    def check_ids(self, items: Iterable[_Item], what: str) -> None:
        first: dict[str, _Item] = {}
        for item in items:
            if item.id is None:
                continue
            other = first.setdefault(item.id, item)
            if other is not item:
                self.report.fault(f"two {what}s are called `{item.id}`", (*item.path, "id"))
                self.report.fault(f"`{item.id}` is the id of this {what} as well", (*other.path, "id"))

    # -- workflows ----------------------------------------------------------------------------------------------------
    def plan(self, item: _Item) -> Plan | None:
        workflow, path = item.data, item.path
        is_flat = self.is_flat(path, "jobs")
        also = schema.Job.model_fields if is_flat else ()
        self.check_both(item, "job")
        self.report.faults += schema.check(schema.Workflow, workflow, path, "a workflow", also=also)
        if not is_flat and workflow.get("input") not in (None, "${input}"):
            self.report.fault("`input` stands on a job, not on a workflow that has jobs", (*path, "input"), in_key=True)
        written = workflow.get("jobs")
        if not isinstance(written, list):
            return None
        jobs = self.listed([{} if job is None else job for job in written], (*path, "jobs"), "job")
        if len(jobs) > 1:
            self.report.fault(f"a workflow of several jobs {schema.NOT_YET}", jobs[1].path)
        if not jobs:
            return None
        ids = [job.id or f"job-{at}" for at, job in enumerate(jobs, 1)]
        planned = self.job(jobs[0], ids)
        output = self.report.template(workflow.get("output"), (*path, "output"), (*_BASE, "jobs", "output"), jobs=ids)
        if planned is None:
            return None
        title = workflow.get("title") or workflow.get("name") or item.id or ""
        description = str(workflow.get("description") or "")
        return Plan(item.id or "workflow", str(title), description, (planned,), output, (), self.report.place)

    def check_both(self, item: _Item, key: str) -> None:
        if key in item.data and f"{key}s" in item.data:
            self.report.fault(f"`{key}` and `{key}s` are both given; write one of them", (*item.path, key), in_key=True)

    def is_flat(self, path: Path, key: str) -> bool:
        """Whether the only job of a workflow, or action of a component, is written on it."""
        modern = self.report.modern
        return modern.origin((*path, key, 0)) == modern.origin(path)

    # -- jobs ---------------------------------------------------------------------------------------------------------
    def job(self, item: _Item, ids: list[str]) -> Job | None:
        job, path = item.data, item.path
        if job.get("type", "component") != "component":
            self.report.fault(schema.no_job_type(job["type"]), (*path, "type"))
            return None
        self.report.faults += schema.check(schema.Job, job, path, "a job")
        self.check_dependencies(item, ids)
        given = self.report.template(job.get("input"), (*path, "input"), (*_BASE, "jobs"), jobs=ids)
        output = self.report.template(job.get("output"), (*path, "output"), (*_BASE, "jobs", "output"), jobs=ids)
        component = self.component_of(item)
        action = self.action_of(item, component) if component else None
        return Job(ids[0], action, given, output) if action else None

    def check_dependencies(self, item: _Item, ids: list[str]) -> None:
        written = item.data.get("depends_on")
        groups = written if isinstance(written, list) else [] if written is None else [written]
        for at, group in enumerate(groups):
            path = (*item.path, "depends_on", at) if isinstance(written, list) else (*item.path, "depends_on")
            if group == []:
                self.report.fault("an empty group of `depends_on` waits for nothing", path)
            for name in group if isinstance(group, list) else [group]:
                if name == ids[0]:
                    self.report.fault(f"the job `{name}` waits for itself", path)
                elif name not in ids:
                    self.report.fault(f"no job `{name}`{suggest(str(name), ids)}", path)

    def component_of(self, job: _Item) -> _Checked | None:
        wanted = job.data.get("component")
        if isinstance(wanted, dict):
            return self.component(_Item(wanted, (*job.path, "component")))
        if wanted is not None and not isinstance(wanted, str):
            self.report.fault(
                f"`component` is an id or a mapping, this is {schema.kind(wanted)}", (*job.path, "component")
            )
            return None
        if wanted in (None, "__default__"):
            chosen = self.default_component(job)
        else:
            chosen = next((one for one in self.components if (one.item.id or "__component__") == wanted), None)
            if chosen is None:
                known = [one.item.id for one in self.components if one.item.id is not None]
                self.report.fault(f"no component `{wanted}`{suggest(wanted, known)}", (*job.path, "component"))
        if chosen is not None:
            chosen.used = True
        return chosen

    def default_component(self, job: _Item) -> _Checked | None:
        if len(self.components) < 2:
            return self.components[0] if self.components else None
        chosen = [one for one in self.components if one.item.is_default]
        if len(chosen) == 1:
            return chosen[0]
        if any(one.item.data.get("default") not in (None, True, False) for one in self.components):
            return None  # that mistake is drawn; this one may vanish with it
        known = ", ".join(f"`{one.item.id}`" for one in self.components if one.item.id) or "several without an id"
        self.report.fault(f"the job does not say which component it runs; there are {known}", job.path)
        return None

    def action_of(self, job: _Item, component: _Checked) -> Action | None:
        wanted, ids = job.data.get("action"), [action.id or "__action__" for action in component.actions]
        if isinstance(wanted, str) and wanted != "__default__":
            if wanted in ids:
                return component.compiled[ids.index(wanted)]
            self.report.fault(f"no action `{wanted}`{suggest(wanted, ids)}", (*job.path, "action"))
            return None
        if len(ids) < 2:
            return component.compiled[0] if ids else None
        chosen = [at for at, action in enumerate(component.actions) if action.is_default]
        if len(chosen) == 1:
            return component.compiled[chosen[0]]
        name = component.item.id or component.item.data.get("type")
        self.report.fault(f"component `{name}` has {len(ids)} actions and no default; say `action:`", job.path)
        return None

    # -- components ---------------------------------------------------------------------------------------------------
    def component(self, item: _Item) -> _Checked:
        """Check a component and compile its actions, used or not."""
        wanted = item.data.get("type")
        item = _Item(self.with_filled(item, schema.Component), item.path)
        written = item.data.get("actions")
        if written is not None and not isinstance(written, list):
            self.report.fault("`actions` is a list or a mapping of ids", (*item.path, "actions"))
        actions = self.listed(written if isinstance(written, list) else [], (*item.path, "actions"), "action")
        found = self.type_of(item, wanted)
        if found is None:
            return _Checked(item, actions, [None] * len(actions))
        if written == []:
            self.report.fault("a component needs an action", item.path)
        self.check_component(item, actions, found)
        settings = self.fields(item, tuple(schema.Component.model_fields), found)
        instance = found()
        return _Checked(item, actions, [self.action(each, item, settings, instance) for each in actions])

    def type_of(self, item: _Item, written: Any) -> type[Component] | None:
        kind = item.data.get("type")
        if kind is None and written is not None:
            return None  # its `${env.X}` cannot be filled, which is drawn
        if kind is None:
            self.report.fault("a component needs `type`, such as `type: http-client`", item.path)
            return None
        if not isinstance(kind, str):
            self.report.fault(
                f"`type` is text, such as `http-client`, this is {schema.kind(kind)}", (*item.path, "type")
            )
            return None
        found = self.find_component(kind)
        if found is None:
            self.report.fault(schema.no_component_type(kind, self.known_types), (*item.path, "type"))
        return found

    def outdented(self, item: _Item, own: dict[str, Any], found: type[Component], of_actions: tuple[str, ...]) -> None:
        """Take an action's keys that stand beside `action:`, one step too far to the left, for what they are."""
        for key in [key for key in own if key in of_actions and key not in found.settings.model_fields]:
            sentence = f"`{key}` belongs to the action: indent it below `action:`"
            self.report.fault(sentence, (*item.path, key), in_key=True)
            del own[key], item.data[key]

    def check_component(self, item: _Item, actions: list[_Item], found: type[Component]) -> None:
        place = f"{_article(found.type)} {found.type}"
        own, general = _split(item.data, schema.Component)
        of_actions = (*found.action.model_fields, "output")
        also = of_actions if self.is_flat(item.path, "actions") else ()
        self.check_both(item, "action")
        if not also:
            self.outdented(item, own, found, of_actions)
        self.report.faults += schema.check(schema.Component, general, item.path, f"{place} component")
        self.report.faults += schema.check(found.settings, own, item.path, f"{place} component", also=also)
        for key in ("runtime", "max_concurrent_count"):
            if item.data.get(key) not in (None, "native"):
                self.report.remarks.append(f"`{key}` is accepted and not used by composemagic")
        for action in actions:
            fields, general = _split(action.data, schema.Action)
            self.report.faults += schema.check(schema.Action, general, action.path, f"{place} action")
            self.report.faults += schema.check(found.action, fields, action.path, f"{place} action")
            for sentence, about in found.faults(own, action.data):
                self.report.fault(sentence, (*action.path, about) if about else action.path)

    def action(self, item: _Item, component: _Item, settings: Mapping[str, Template], instance: Component) -> Action:
        sources = (*_BASE, *instance.sources, *(f"{source}[]" for source in instance.sources))
        fields = self.fields(item, _ACTION_KEYS, type(instance))
        output = self.report.template(item.data.get("output"), (*item.path, "output"), sources)
        if output is not None:
            self.report.findings.flaws += outputs.flaws(output, instance.sources, self.streaming(item))
        return Action(
            id=item.id or component.id or instance.type,
            component=instance,
            fields=fields,
            settings=settings,
            output=output,
            path=item.path,
        )

    def streaming(self, action: _Item) -> str | None:
        """The key, as the user wrote it, with which an action's body asks for a stream for certain."""
        key = outputs.streaming_key(action.data.get("body"))
        return None if key is None else str(self.report.modern.origin((*action.path, "body", key))[-1])

    def fields(self, item: _Item, but: tuple[str, ...], found: type[Component]) -> dict[str, Template]:
        """The compiled settings of a component or an action, by key."""
        compiled = {}
        for key, value in schema.without_extensions(item.data).items():
            if key in but:
                continue
            spell = found.spellings.get(key)
            template = self.report.template(
                value, (*item.path, key), _BASE, texts=key in found.text_fields, spell=spell
            )
            if template is not None:
                compiled[key] = template
        return compiled

    def with_filled(self, item: _Item, model: type[schema.Settings]) -> dict[str, Any]:
        """A workflow or component whose plain settings - all but its templates - have their `${env.X}` filled."""
        plain = [key for key in model.model_fields if key not in _PARTS and key in item.data]
        now = {
            key: self.report.filled(item.data[key], (*item.path, key), texts=key not in ("default", "private"))
            for key in plain
        }
        return {**item.data, **now}

    def say_unused(self) -> None:
        for one in self.components:
            if not one.used:
                name = f"`{one.item.id}`" if one.item.id else "without an id"
                self.report.remarks.append(f"the component {name} is used by no job")


def _default(workflows: list[_Item], named: Mapping[str, Plan]) -> str | None:
    if len(named) == 1:
        return next(iter(named))
    chosen = [item.id or "workflow" for item in workflows if item.is_default]
    return chosen[0] if len(chosen) == 1 else None


def _split(data: dict[str, Any], model: type[schema.Settings]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that belong to the type of a component, and those that every component or action has."""
    general = {key: value for key, value in data.items() if key in model.model_fields}
    return {key: value for key, value in data.items() if key not in general}, general


def _has_inline(workflow: _Item) -> bool:
    jobs = workflow.data.get("jobs")
    return isinstance(jobs, list) and any(
        isinstance(job, dict) and isinstance(job.get("component"), dict) for job in jobs
    )


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" or word.startswith("http") else "a"
