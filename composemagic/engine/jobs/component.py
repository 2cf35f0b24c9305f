"""The job that runs one action of a component."""

from __future__ import annotations

from typing import Any

from composemagic.engine.answer import act
from composemagic.engine.step import Step
from composemagic.workflow.job import ComponentJob

__all__ = ["run_component"]


async def run_component(job: ComponentJob, step: Step, given: Any) -> Any:
    """Run the job's action and give its answer: a value, or a Stream."""
    return await act(step, job.action, given)
