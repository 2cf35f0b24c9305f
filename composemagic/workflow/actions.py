"""Components and their actions: checked and compiled, used or not, and found by the jobs that name them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from composemagic.errors import suggest
from composemagic.language.template import Template
from composemagic.words import listing, say
from composemagic.workflow import schema, streaming
from composemagic.workflow.component import Action, Call, CallSettings, Component
from composemagic.workflow.foreign import Foreign, foreign, foreign_action, note_of
from composemagic.workflow.items import DEFAULT, Item, check_both, is_flat, listed, with_filled
from composemagic.workflow.links import Links, keys_of
from composemagic.workflow.report import BASE, Report

__all__ = ["Components", "FindComponent"]

Path = tuple[str | int, ...]
FindComponent = Callable[[str], type[Component] | None]

_ACTION_KEYS = ("id", "default", "output")
# what some type has visible somewhere; `jobs` none has
_OF_ANY_TYPE = (*BASE, "response", "result", "response[]", "result[]", "output", "item", "index", "messages", "tools")


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
        self.links = Links(report)
        self.all: list[Checked] = []

    # -- for jobs -----------------------------------------------------------------------------------------------------
    def of_job(self, job: Item) -> Checked | None:
        wanted = job.data.get("component")
        if isinstance(wanted, dict):
            return self.check(Item(wanted, (*job.path, "component")))
        if wanted is not None and not isinstance(wanted, str):
            sentence = say("`component` is an id or a mapping, this is {value}", value=schema.kind(wanted))
            self.report.fault(sentence, (*job.path, "component"))
            return None
        if wanted in (None, DEFAULT):
            chosen = self.default_component(job)
        else:
            chosen = next((one for one in self.all if (one.item.id or "__component__") == wanted), None)
            if chosen is None:
                known = [one.item.id for one in self.all if one.item.id is not None]
                sentence = say("no component `{id}`{near}", id=wanted, near=suggest(wanted, known))
                self.report.fault(sentence, (*job.path, "component"))
        if chosen is not None:
            chosen.used = True
        return chosen

    def default_component(self, job: Item) -> Checked | None:
        if len(self.all) < 2:
            return self.all[0] if self.all else None
        chosen = [one for one in self.all if one.item.is_default]
        if chosen:
            return chosen[0]  # that there is another one is drawn
        if any(one.item.data.get("default") not in (None, True, False) for one in self.all):
            return None  # that mistake is drawn; this one may vanish with it
        known = listing(f"`{one.item.id}`" for one in self.all if one.item.id)
        if known:
            sentence = say("the job does not say which component it runs; there are {known}", known=known)
        else:
            sentence = say("the job does not say which component it runs; there are several without an id")
        self.report.fault(sentence, job.path)
        return None

    def action_of(self, job: Item, component: Checked) -> Action | None:
        wanted, ids = job.data.get("action"), [action.id or "__action__" for action in component.actions]
        if isinstance(wanted, str) and wanted != DEFAULT:
            if wanted in ids:
                return component.compiled[ids.index(wanted)]
            sentence = say("no action `{id}`{near}", id=wanted, near=suggest(wanted, ids))
            self.report.fault(sentence, (*job.path, "action"))
            return None
        if len(ids) < 2:
            return component.compiled[0] if ids else None
        chosen = [at for at, action in enumerate(component.actions) if action.is_default]
        if chosen:
            return component.compiled[chosen[0]]  # that there is another one is drawn
        name = component.item.id or component.item.data.get("type")
        sentence = say("component `{id}` has {count} actions and no default; say `action:`", id=name, count=len(ids))
        self.report.fault(sentence, job.path)
        return None

    def say_unused(self) -> None:
        for one in self.all:
            if not one.used:
                name = one.item.id
                self.report.remarks.append(
                    say("the component `{id}` is used by no job", id=name)
                    if name
                    else say("a component without an id is used by no job")
                )

    # -- checked and compiled -----------------------------------------------------------------------------------------
    def check(self, item: Item) -> Checked:
        """Check a component and compile its actions, used or not."""
        wanted = item.data.get("type")
        item = Item(with_filled(self.report, item, schema.Component), item.path)
        written = item.data.get("actions")
        if written is not None and not isinstance(written, list):
            self.report.fault(say("`{key}` is a list or a mapping of ids", key="actions"), (*item.path, "actions"))
        actions = listed(self.report, written if isinstance(written, list) else [], (*item.path, "actions"), "action")
        found = self.type_of(item, wanted)
        if found is None:
            self.look_at_expressions(item)
            return Checked(item, actions, [None] * len(actions))
        if not actions and issubclass(found, Foreign):
            actions = [Item({}, item.path)]
        elif written == []:
            self.report.fault(say("a component needs an action"), item.path)
        foreign = [self.foreign(each, item, found) for each in actions]
        own = [each for each, other in zip(actions, foreign, strict=True) if other is None]
        if actions and not own:
            return Checked(item, actions, foreign)
        compiled = iter(self.own(own, item, found))
        return Checked(item, actions, [other or next(compiled) for other in foreign])

    def look_at_expressions(self, item: Item) -> None:
        """What is wrong in the expressions of a component of no known type, whatever sources that would have."""
        for key, value in schema.without_extensions(item.data).items():
            if key not in schema.Component.model_fields or key in ("action", "actions"):
                self.report.template(value, (*item.path, key), _OF_ANY_TYPE)

    def own(self, actions: list[Item], item: Item, found: type[Component]) -> list[Action]:
        """The actions that are run here, checked together with their component."""
        self.check_component(item, actions, found)
        general = tuple(key for key in schema.Component.model_fields if key not in found.settings.model_fields)
        settings = self.fields(item, (*general, *keys_of(found.settings, CallSettings)), found)
        calls = self.links.note(item, found.settings, found)
        instance = found()
        return [self.action(each, item, settings, calls, instance) for each in actions]

    def foreign(self, action: Item, item: Item, found: type[Component]) -> Action | None:
        """An action that only the peer runs: known, its settings unchecked. None for one that is run here."""
        not_run = getattr(found, "not_run", None)  # a class of somebody else may lack it
        sentence = not_run(item.data, action.data) if not_run else None
        if sentence is None:
            return None
        self.report.remarks.append(note_of(sentence))
        mark = self.report.document.mark(self.report.modern.origin((*item.path, "type")))
        return foreign_action(action, item, found.type, sentence, mark)

    def type_of(self, item: Item, written: Any) -> type[Component] | None:
        kind = item.data.get("type")
        if kind is None and written is not None:
            return None  # its `${env.X}` cannot be filled, which is drawn
        if kind is None:
            near = next((key for key in item.data if isinstance(key, str) and suggest(key, ("type",))), None)
            if near is not None:
                place, meant = say("a component"), suggest(near, ("type",))
                words = say("unknown key `{key}` in {place}{near}", key=near, place=place, near=meant)
                self.report.fault(words, (*item.path, near), in_key=True)
                return None
            self.report.fault(say("a component needs `type`, such as `type: http-client`"), item.path)
            return None
        if not isinstance(kind, str):
            sentence = say("`type` is text, such as `http-client`, this is {value}", value=schema.kind(kind))
            self.report.fault(sentence, (*item.path, "type"))
            return None
        found = self.find(kind)
        if found is None and kind in schema.LATER_COMPONENT_TYPES:
            return foreign(kind)
        if found is None:
            self.report.fault(schema.no_component_type(kind, self.known_types), (*item.path, "type"))
        return found

    def outdented(self, item: Item, own: dict[str, Any], found: type[Component], of_actions: tuple[str, ...]) -> None:
        """Take an action's keys that stand beside `action:`, one step too far to the left, for what they are."""
        for key in [key for key in own if key in of_actions and key not in found.settings.model_fields]:
            sentence = say("`{key}` belongs to the action: indent it below `action:`", key=key)
            self.report.fault(sentence, (*item.path, key), in_key=True)
            del own[key], item.data[key]

    def check_component(self, item: Item, actions: list[Item], found: type[Component]) -> None:
        here, of_action = schema.component_of(found.type), schema.action_of(found.type)
        own, general = _split(item.data, schema.Component)
        faults, before = self.report.faults, len(self.report.faults)
        of_actions = (*found.action.model_fields, "output")
        also = of_actions if is_flat(self.report, item.path, "actions") else ()
        check_both(self.report, item, "action")
        if not also:
            self.outdented(item, own, found, of_actions)
        self.report.faults += schema.check(schema.Component, general, item.path, here)
        self.report.faults += schema.check(found.settings, own, item.path, here, also=also)
        for key in ("runtime", "max_concurrent_count"):
            if item.data.get(key) not in (None, "native") and key not in found.settings.model_fields:
                self.report.not_used(key)
        of_component = _places(faults[before:])
        for action in actions:
            fields, general = _split(action.data, schema.Action)
            before = len(faults)
            self.report.faults += schema.check(schema.Action, general, action.path, of_action)
            self.report.faults += schema.check(found.action, fields, action.path, of_action)
            self.check_values(item, action, own, found, _places(faults[before:]) | of_component)

    def check_values(
        self, item: Item, action: Item, own: dict[str, Any], found: type[Component], told: Collection[Path]
    ) -> None:
        """What the models cannot see; where they say something of a value (`told`) that is enough."""
        for sentence, about, *in_key in found.faults(own, action.data):
            where = about if isinstance(about, tuple) else (about,) if about else ()
            if where[:1] == ("..",):
                path = (*item.path, *where[1:])
            elif where and where[0] not in action.data and where[0] in own:
                path = (*item.path, *where)
            else:
                path = (*action.path, *where)
            if not where or path not in told:
                self.report.fault(sentence, path, in_key=any(in_key))

    def link(self, workflows: Collection[str]) -> None:
        """Find the other actions that components run, and the workflows; `workflows` are the ids of all of them."""
        self.links.check_workflows(workflows)
        while self.links.calls:  # an inline component may have calls of its own
            pending = self.links.calls.pop(0)
            call = self.call(pending.item, pending.owner.call_sources.get(pending.key, ()))
            if call is not None:
                pending.calls[pending.key] = call

    def call(self, item: Item, more: tuple[str, ...]) -> Call | None:
        """Another action that a component runs; its input may read `more` besides."""
        component = self.of_job(item)
        action = self.action_of(item, component) if component else None
        given = self.report.template(item.data.get("input"), (*item.path, "input"), (*BASE, *more))
        output = self.report.template(item.data.get("output"), (*item.path, "output"), (*BASE, *more, "output"))
        return None if action is None else Call(action, given, output)

    def action(
        self,
        item: Item,
        component: Item,
        settings: Mapping[str, Template],
        calls: dict[str, Call],
        instance: Component,
    ) -> Action:
        sources = (*BASE, *instance.sources, *(f"{source}[]" for source in instance.sources))
        own = type(instance)
        fields = self.fields(item, (*_ACTION_KEYS, *keys_of(own.action, CallSettings)), own)
        own_calls = self.links.note(item, own.action, own)
        output = self.report.template(item.data.get("output"), (*item.path, "output"), sources)
        if output is not None:
            self.report.findings.flaws += streaming.flaws(output, instance.sources, self.streaming(item))
        return Action(
            id=item.id or component.id or instance.type,
            component=instance,
            fields=fields,
            settings=settings,
            output=output,
            path=item.path,
            calls=ChainMap(own_calls, calls),
        )

    def streaming(self, action: Item) -> str | None:
        """The key, as the user wrote it, with which an action's body asks for a stream for certain."""
        key = streaming.streaming_key(action.data.get("body"))
        return None if key is None else str(self.report.modern.origin((*action.path, "body", key))[-1])

    def fields(self, item: Item, but: tuple[str, ...], found: type[Component]) -> dict[str, Template]:
        """The compiled settings of a component or an action, by key."""
        compiled = {}
        for keys, value, sources in _settings(item, but, found):
            name = ".".join(keys)
            spell = found.spellings.get(name)
            template = self.report.template(
                value, (*item.path, *keys), sources, texts=name in found.text_fields, spell=spell
            )
            if template is not None:
                compiled[name] = template
        return compiled


def _settings(
    item: Item, but: tuple[str, ...], found: type[Component]
) -> Iterator[tuple[tuple[str, ...], Any, tuple[str, ...]]]:
    """Each setting to be compiled: its keys, its value and the sources it may read."""
    nested: Mapping[str, tuple[str, ...]] = getattr(found, "nested", {})
    for key, value in schema.without_extensions(item.data).items():
        if key in but:
            continue
        if key in nested and isinstance(value, dict):
            yield from (((key, inner), one, (*BASE, *nested[key])) for inner, one in value.items())
        else:
            yield (key,), value, BASE


def _split(data: dict[str, Any], model: type[schema.Settings]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that belong to the type of a component, and those that every component or action has."""
    general = {key: value for key, value in data.items() if key in model.model_fields}
    return {key: value for key, value in data.items() if key not in general}, general


def _places(faults: Iterable[schema.Fault]) -> set[Path]:
    """The paths of some mistakes, and of what they stand in."""
    return {fault.path[:end] for fault in faults for end in range(1, len(fault.path) + 1)}
