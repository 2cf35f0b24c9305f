"""The job that runs one action of a component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from composemagic.workflow.job import ComponentJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["run_component"]


async def run_component(job: ComponentJob, step: Step, given: Any) -> Any:
    """Run the job's action and give its answer: a value, or a Stream."""
    return await step.act(job.action, given)
