"""The job that runs others one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from composemagic.workflow.job import PipelineJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["run_pipeline"]


async def run_pipeline(job: PipelineJob, step: Step, given: Any) -> Any:
    """Each step on the output of the one before. In a step `input` is the pipeline's, `output` what came before."""
    output: Any = None
    for index, inner in enumerate(job.steps):
        before = output if index else given
        sources = {"input": given, "output": output, "step": {"input": before, "index": index}}
        output = await step.inner(inner, before, sources)
    return output
