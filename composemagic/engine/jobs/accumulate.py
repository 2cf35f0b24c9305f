"""The job that folds items into one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from composemagic.engine.jobs.for_each import items_of
from composemagic.workflow.job import AccumulateJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["run_accumulate"]


async def run_accumulate(job: AccumulateJob, step: Step, given: Any) -> Any:
    """Run the body for each item; what it gives is the next accumulator, and the last one is the output."""
    found = await step.value(job.accumulator)
    async for item in items_of(given):
        found = await step.inner(job.do, item, {"item": item, "accumulator": found}, settles=True)
    return found
