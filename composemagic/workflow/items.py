"""The things a document lists - components, actions, workflows, jobs - as written in today's spelling, and where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from composemagic.words import say
from composemagic.workflow import schema
from composemagic.workflow.report import Report

__all__ = ["DEFAULT", "Item", "check_both", "is_flat", "listed", "with_filled"]

Path = tuple[str | int, ...]

DEFAULT = "__default__"  # the name of whichever component, action or workflow is the default one

_PARTS = ("job", "jobs", "action", "actions", "input", "output")  # what is checked by itself
_WORDS = ("name", "title", "description")  # for people: what looks like a reference there is an example
_ALWAYS_NOW = ("driver",)  # what tells which settings there are is never left for later


@dataclass(frozen=True, slots=True)
class Item:
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


def listed(report: Report, found: list[Any], path: Path, what: str) -> list[Item]:
    items = []
    for at, value in enumerate(found):
        if isinstance(value, dict):
            items.append(Item(value, (*path, at)))
        else:
            report.fault(_no_mapping(value, what), (*path, at))
    _check_ids(report, items, what)
    _check_defaults(report, items, what)
    return items


def with_filled(report: Report, item: Item, model: type[schema.Settings]) -> dict[str, Any]:
    """A workflow or component whose plain settings - all but its templates - have their `${env.X}` filled."""
    plain = [key for key in (*model.model_fields, *_ALWAYS_NOW) if key not in _PARTS and key in item.data]
    now = {}
    for key in plain:
        value, path = item.data[key], (*item.path, key)
        if key in _WORDS and isinstance(value, str):
            now[key] = report.filled_words(value, path)
        else:
            now[key] = report.filled(value, path, texts=key not in ("default", "private"))
    return {**item.data, **now}


def check_both(report: Report, item: Item, key: str) -> None:
    report.faults += schema.both(item.data, key, item.path)


def is_flat(report: Report, path: Path, key: str) -> bool:
    """Whether the only job of a workflow, or action of a component, is written on it."""
    modern = report.modern
    return modern.origin((*path, key, 0)) == modern.origin(path)


def _no_mapping(value: Any, what: str) -> str:
    if isinstance(value, list):
        return say("{thing} is a mapping, this is a list; for several, write `{what}s:`", thing=_a(what), what=what)
    if isinstance(value, str) and (found := _TIGHT.match(value)):
        return say("{thing} is a mapping: put a space after the `:` of `{key}`", thing=_a(what), key=found[1])
    return say("{thing} is a mapping, this is {value}", thing=_a(what), value=schema.kind(value))


# a key and its value with no space between them, or another one than YAML's
_TIGHT = re.compile(r"([A-Za-z_][\w-]*):(?!//)(?:[^\s:]|[\u3000\u00a0])")


def _a(what: str) -> str:
    match what:
        case "component":
            return say("a component")
        case "action":
            return say("an action")
        case "workflow":
            return say("a workflow")
        case _:
            return say("a job")


def _twice(what: str, name: str) -> str:
    match what:
        case "component":
            return say("two components are called `{id}`", id=name)
        case "action":
            return say("two actions are called `{id}`", id=name)
        case "workflow":
            return say("two workflows are called `{id}`", id=name)
        case _:
            return say("two jobs are called `{id}`", id=name)


def _as_well(what: str, name: str) -> str:
    match what:
        case "component":
            return say("`{id}` is the id of this component as well", id=name)
        case "action":
            return say("`{id}` is the id of this action as well", id=name)
        case "workflow":
            return say("`{id}` is the id of this workflow as well", id=name)
        case _:
            return say("`{id}` is the id of this job as well", id=name)


def _check_ids(report: Report, items: Iterable[Item], what: str) -> None:
    first: dict[str, Item] = {}
    for item in items:
        if item.id is None:
            continue
        if item.id == DEFAULT:
            report.fault(say("`{name}` is a name that the language keeps for itself", name=item.id), (*item.path, "id"))
        other = first.setdefault(item.id, item)
        if other is not item:
            report.fault(_twice(what, item.id), (*item.path, "id"))
            report.fault(_as_well(what, item.id), (*other.path, "id"))


def _check_defaults(report: Report, items: Iterable[Item], what: str) -> None:
    defaults = [item for item in items if item.is_default] if what != "job" else []
    for item in defaults if len(defaults) > 1 else ():
        report.fault(_several_defaults(what), (*item.path, "default"))


def _several_defaults(what: str) -> str:
    match what:
        case "component":
            return say("only one component can be the default")
        case "action":
            return say("only one action can be the default")
        case _:
            return say("only one workflow can be the default")
