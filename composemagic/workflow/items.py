"""The things a document lists - components, actions, workflows, jobs - as written in today's spelling, and where they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from composemagic.workflow import schema
from composemagic.workflow.report import Report

__all__ = ["Item", "article", "check_both", "is_flat", "listed", "with_filled"]

Path = tuple[str | int, ...]

_PARTS = ("job", "jobs", "action", "actions", "input", "output")  # what is checked by itself


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
    return items


def with_filled(report: Report, item: Item, model: type[schema.Settings]) -> dict[str, Any]:
    """A workflow or component whose plain settings - all but its templates - have their `${env.X}` filled."""
    plain = [key for key in model.model_fields if key not in _PARTS and key in item.data]
    now = {
        key: report.filled(item.data[key], (*item.path, key), texts=key not in ("default", "private")) for key in plain
    }
    return {**item.data, **now}


def check_both(report: Report, item: Item, key: str) -> None:
    if key in item.data and f"{key}s" in item.data:
        report.fault(f"`{key}` and `{key}s` are both given; write one of them", (*item.path, key), in_key=True)


def is_flat(report: Report, path: Path, key: str) -> bool:
    """Whether the only job of a workflow, or action of a component, is written on it."""
    modern = report.modern
    return modern.origin((*path, key, 0)) == modern.origin(path)


def article(word: str) -> str:
    return "an" if word[:1] in "aeiou" or word.startswith("http") else "a"


def _no_mapping(value: Any, what: str) -> str:
    sentence = f"{article(what)} {what} is a mapping, this is {schema.kind(value)}"
    return f"{sentence}; for several, write `{what}s:`" if isinstance(value, list) else sentence


def _check_ids(report: Report, items: Iterable[Item], what: str) -> None:
    first: dict[str, Item] = {}
    for item in items:
        if item.id is None:
            continue
        other = first.setdefault(item.id, item)
        if other is not item:
            report.fault(f"two {what}s are called `{item.id}`", (*item.path, "id"))
            report.fault(f"`{item.id}` is the id of this {what} as well", (*other.path, "id"))
