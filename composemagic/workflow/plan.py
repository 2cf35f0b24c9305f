"""What loading gives: the checked meaning of a document, ready to be run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from composemagic.errors import Mark, UsageError, suggest
from composemagic.language.document import Document
from composemagic.language.template import Flaw, Hole, Template
from composemagic.workflow.component import Action
from composemagic.workflow.inputs import Input, infer

__all__ = ["Job", "Loaded", "Plan"]


@dataclass(frozen=True, slots=True)
class Job:
    """One step of a plan: an action, what it is given and what becomes of its answer."""

    id: str
    action: Action
    input: Template | None
    output: Template | None

    def asking(self) -> Iterator[Template]:
        """The templates whose `input` is the workflow's: a job's own input hides its action's."""
        if self.input is not None and not _passes_input(self.input):
            yield self.input
        else:
            yield from self.action.templates()
        if self.output is not None:
            yield self.output

    def templates(self) -> Iterator[Template]:
        """Every template that a run of the job may fill."""
        yield from (template for template in (self.input, self.output) if template is not None)
        yield from self.action.templates()


@dataclass(frozen=True)
class Plan:
    """The checked meaning of one workflow. `notes` are what the user should know of the document it stands in."""

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
        return infer([*(template for job in self.jobs for template in job.asking()), *self._own()])

    @cached_property
    def variables(self) -> tuple[Hole, ...]:
        """The `${env.X}` without a default that a run needs."""
        templates = [*(template for job in self.jobs for template in job.templates()), *self._own()]
        holes = (hole for template in templates for hole in template.holes)
        return tuple(hole for hole in holes if hole.reference.source == "env" and hole.reference.default is None)

    def _own(self) -> tuple[Template, ...]:
        return () if self.output is None else (self.output,)


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
        name = self.default if name is None else name
        if not self.plans:
            raise UsageError("there is no workflow in this document")
        known = ", ".join(f"`{each}`" for each in self.plans)
        if name is None:
            raise UsageError(f"which workflow? There are {known}")
        if name not in self.plans:
            raise UsageError(f"no workflow `{name}`{suggest(name, self.plans)}; there is {known}")
        return self.plans[name]


def _passes_input(template: Template) -> bool:
    """Whether a job's input is just `${input}`."""
    if len(template.holes) != 1:
        return False
    reference = template.holes[0].reference
    if reference.source != "input" or reference.path or reference.cast:
        return False
    marker = object()
    return template.render({"input": marker}) is marker
