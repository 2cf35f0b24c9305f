"""Components and their actions: checked and compiled, used or not, and found by the jobs that name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from composemagic.errors import suggest
from composemagic.language.template import Template
from composemagic.workflow import outputs, schema
from composemagic.workflow.component import Action, Component
from composemagic.workflow.items import Item, article, check_both, is_flat, listed, with_filled
from composemagic.workflow.report import BASE, Report

__all__ = ["Components", "FindComponent"]

FindComponent = Callable[[str], type[Component] | None]

_ACTION_KEYS = ("id", "default", "output")


@dataclass(slots=True)
class Checked:
    """A component after its check; `actions` has None where one cannot be compiled."""

    item: Item
    actions: Sequence[Item]
    compiled: Sequence[Action | None]
    used: bool = False


class Components:
    """The components of a document. `find` gives the class of a type, `known_types` are the types it knows."""

    def __init__(self, report: Report, find: FindComponent, known_types: Iterable[str]) -> None:
        self.report = report
        self.find = find
        self.known_types = tuple(known_types)
        self.all: list[Checked] = []

    # -- for jobs -----------------------------------------------------------------------------------------------------
    def of_job(self, job: Item) -> Checked | None:
        wanted = job.data.get("component")
        if isinstance(wanted, dict):
            return self.check(Item(wanted, (*job.path, "component")))
        if wanted is not None and not isinstance(wanted, str):
            self.report.fault(
                f"`component` is an id or a mapping, this is {schema.kind(wanted)}", (*job.path, "component")
            )
            return None
        if wanted in (None, "__default__"):
            chosen = self.default_component(job)
        else:
            chosen = next((one for one in self.all if (one.item.id or "__component__") == wanted), None)
            if chosen is None:
                known = [one.item.id for one in self.all if one.item.id is not None]
                self.report.fault(f"no component `{wanted}`{suggest(wanted, known)}", (*job.path, "component"))
        if chosen is not None:
            chosen.used = True
        return chosen

    def default_component(self, job: Item) -> Checked | None:
        if len(self.all) < 2:
            return self.all[0] if self.all else None
        chosen = [one for one in self.all if one.item.is_default]
        if len(chosen) == 1:
            return chosen[0]
        if any(one.item.data.get("default") not in (None, True, False) for one in self.all):
            return None  # that mistake is drawn; this one may vanish with it
        known = ", ".join(f"`{one.item.id}`" for one in self.all if one.item.id) or "several without an id"
        self.report.fault(f"the job does not say which component it runs; there are {known}", job.path)
        return None

    def action_of(self, job: Item, component: Checked) -> Action | None:
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

    def say_unused(self) -> None:
        for one in self.all:
            if not one.used:
                name = f"`{one.item.id}`" if one.item.id else "without an id"
                self.report.remarks.append(f"the component {name} is used by no job")

    # -- checked and compiled -----------------------------------------------------------------------------------------
    def check(self, item: Item) -> Checked:
        """Check a component and compile its actions, used or not."""
        wanted = item.data.get("type")
        item = Item(with_filled(self.report, item, schema.Component), item.path)
        written = item.data.get("actions")
        if written is not None and not isinstance(written, list):
            self.report.fault("`actions` is a list or a mapping of ids", (*item.path, "actions"))
        actions = listed(self.report, written if isinstance(written, list) else [], (*item.path, "actions"), "action")
        found = self.type_of(item, wanted)
        if found is None:
            return Checked(item, actions, [None] * len(actions))
        if written == []:
            self.report.fault("a component needs an action", item.path)
        self.check_component(item, actions, found)
        settings = self.fields(item, tuple(schema.Component.model_fields), found)
        instance = found()
        return Checked(item, actions, [self.action(each, item, settings, instance) for each in actions])

    def type_of(self, item: Item, written: Any) -> type[Component] | None:
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
        found = self.find(kind)
        if found is None:
            self.report.fault(schema.no_component_type(kind, self.known_types), (*item.path, "type"))
        return found

    def outdented(self, item: Item, own: dict[str, Any], found: type[Component], of_actions: tuple[str, ...]) -> None:
        """Take an action's keys that stand beside `action:`, one step too far to the left, for what they are."""
        for key in [key for key in own if key in of_actions and key not in found.settings.model_fields]:
            sentence = f"`{key}` belongs to the action: indent it below `action:`"
            self.report.fault(sentence, (*item.path, key), in_key=True)
            del own[key], item.data[key]

    def check_component(self, item: Item, actions: list[Item], found: type[Component]) -> None:
        place = f"{article(found.type)} {found.type}"
        own, general = _split(item.data, schema.Component)
        of_actions = (*found.action.model_fields, "output")
        also = of_actions if is_flat(self.report, item.path, "actions") else ()
        check_both(self.report, item, "action")
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

    def action(self, item: Item, component: Item, settings: Mapping[str, Template], instance: Component) -> Action:
        sources = (*BASE, *instance.sources, *(f"{source}[]" for source in instance.sources))
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

    def streaming(self, action: Item) -> str | None:
        """The key, as the user wrote it, with which an action's body asks for a stream for certain."""
        key = outputs.streaming_key(action.data.get("body"))
        return None if key is None else str(self.report.modern.origin((*action.path, "body", key))[-1])

    def fields(self, item: Item, but: tuple[str, ...], found: type[Component]) -> dict[str, Template]:
        """The compiled settings of a component or an action, by key."""
        compiled = {}
        for key, value in schema.without_extensions(item.data).items():
            if key in but:
                continue
            spell = found.spellings.get(key)
            template = self.report.template(value, (*item.path, key), BASE, texts=key in found.text_fields, spell=spell)
            if template is not None:
                compiled[key] = template
        return compiled


def _split(data: dict[str, Any], model: type[schema.Settings]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that belong to the type of a component, and those that every component or action has."""
    general = {key: value for key, value in data.items() if key in model.model_fields}
    return {key: value for key, value in data.items() if key not in general}, general
