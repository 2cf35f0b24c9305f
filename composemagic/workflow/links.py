"""What a component's settings name elsewhere in the document: other actions that it runs, and workflows.

They are found when everything has been checked: what they name may be written later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from composemagic.errors import suggest
from composemagic.language.findings import Flaw
from composemagic.words import say
from composemagic.workflow.component import Call, CallSettings, Component, Settings, ToolName, WorkflowId
from composemagic.workflow.items import DEFAULT, Item
from composemagic.workflow.report import Report

__all__ = ["Links", "Pending", "keys_of"]

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Pending:
    """A call that is to be found: the mapping it goes to, its setting, what is written there, and whose it is."""

    calls: dict[str, Call]
    key: str
    item: Item
    owner: type[Component]


@dataclass(slots=True)
class Links:
    """What is still to be found. `calls` and `workflows` are in the order met."""

    report: Report
    calls: list[Pending] = field(default_factory=list)
    workflows: list[tuple[str, Path]] = field(default_factory=list)
    tools: list[tuple[str, Path]] = field(default_factory=list)

    def note(self, item: Item, model: type[Settings], owner: type[Component]) -> dict[str, Call]:
        """Note what an action's or a component's settings name; the mapping given is filled when it is found."""
        found: dict[str, Call] = {}
        for key in keys_of(model, CallSettings):
            if isinstance(value := item.data.get(key), dict):
                self.calls.append(Pending(found, key, Item(value, (*item.path, key)), owner))
        for key in keys_of(model, WorkflowId):
            self.workflows += _texts(item.data.get(key), (*item.path, key))
        for key in keys_of(model, ToolName):
            self.tools += _texts(item.data.get(key), (*item.path, key))
        return found

    def check_workflows(self, known: Collection[str]) -> None:
        """Say which workflows there are not; a template is known only in a run."""
        for name, path in self.workflows:
            if name not in known and name != DEFAULT and "${" not in name:
                self.report.fault(say("no workflow `{name}`{near}", name=name, near=suggest(name, known)), path)
        for name, path in self.tools:
            near = suggest(name, known)
            if near and name not in known and "${" not in name:
                words = say(
                    "`{name}` is no workflow of this document, so a run looks for a Python function of that name{near}",
                    name=name,
                    near=near,
                )
                self.report.findings.notes.append(Flaw(words, path))


def keys_of(model: type[Settings], wanted: type) -> tuple[str, ...]:
    """The settings of a model that are annotated with this type, or with a list or an alternative of it."""
    if (model, wanted) not in _known:
        hints = get_type_hints(model, include_extras=True)
        _known[model, wanted] = tuple(key for key in model.model_fields if wanted in _parts(hints[key]))
    return _known[model, wanted]


_known: dict[tuple[type[Settings], type], tuple[str, ...]] = {}


def _parts(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, UnionType, list):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _texts(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    for at, each in enumerate(value) if isinstance(value, list) else ((None, value),):
        if isinstance(each, str):
            yield each, path if at is None else (*path, at)
