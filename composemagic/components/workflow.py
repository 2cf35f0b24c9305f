"""`type: workflow`: another workflow of the same document, run as a part of this one.

    workflows:
      - id: main
        default: true
        jobs:
          - id: twice
            component:
              type: workflow
              workflow: greet
              input: {name: "${input.name}"}
              output: "${output} (said by another workflow)"
      - id: greet
        private: true
        job:
          component: {type: echo, value: "Hello ${input.name}"}

`workflow` is its id (without it, the document's default one), `input` what it is given (without it, this action's whole
input). Its output is the source `output`, a stream where it streams, and `output[]` each chunk of that. It runs in the same
run: Stop stops it, its failure is this run's failure. Workflows may call each other, themselves too, to a depth of 16.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

from composemagic.language.casts import Chunks
from composemagic.language.template import compile_template
from composemagic.workflow.component import (
    Action,
    Batch,
    Component,
    Context,
    Settings,
    SettingsModel,
    Value,
    WorkflowId,
)
from composemagic.workflow.items import DEFAULT

__all__ = ["WorkflowComponent"]

_INPUT = compile_template("${input}")


class WorkflowAction(Settings):
    """`workflow`: the id of a workflow of this document; `input`: what it is given, the action's whole input where absent."""

    workflow: WorkflowId | None = None
    input: Any = None


class WorkflowComponent(Component):
    """Runs another workflow. Source for `output`: `output`, and `output[]` for each chunk of a stream."""

    type: ClassVar[str] = "workflow"
    sources: ClassVar[tuple[str, ...]] = ("output",)
    text_fields: ClassVar[frozenset[str]] = frozenset({"workflow"})
    action: ClassVar[SettingsModel] = WorkflowAction

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Run it and yield its output: one Value, or the chunks of its stream. Raises RunError."""
        name = await context.render(action.fields.get("workflow")) or DEFAULT
        given = await context.sealed(action.fields.get("input", _INPUT))
        output = await context.run_workflow(str(name), given)
        if not isinstance(output, Chunks):
            yield Value(output)
            return
        async with aclosing(output.batches()) as batches:  # type: ignore[type-var]
            async for batch in batches:
                yield Batch(batch)
