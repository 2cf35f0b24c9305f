"""The job that runs another one again and again, on what that gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from composemagic.errors import RunError
from composemagic.words import say
from composemagic.workflow.job import LoopJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["run_loop"]

_MOST = 100  # iterations


async def run_loop(job: LoopJob, step: Step, given: Any) -> Any:
    """Run the body until the condition holds (or while it does), which is asked after each time; gives the last output.

    In the body `input` is the loop's, `output` what it gave last. Raises RunError beyond `max_iteration_count`.
    """
    most = await step.count(job.max_iteration_count, "max_iteration_count", _MOST)
    output: Any = None
    for iteration in range(most):
        sources = {"input": given, "output": output, "iteration": iteration}
        output = await step.inner(job.do, output if iteration else given, sources)
        if await step.holds(job.condition, {"output": output, "iteration": iteration}) == job.until:
            return output
    raise RunError(
        "max_iteration_count",
        say("the loop `{job}` did not end within {count} iterations (`max_iteration_count`)", job=job.id, count=most),
    )
