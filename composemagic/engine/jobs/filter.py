"""The job that keeps the items for which a condition holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from composemagic.language.streams import Chunks
from composemagic.workflow.job import FilterJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["run_filter"]


async def run_filter(job: FilterJob, step: Step, given: Any) -> Any:
    """Of a list a list, of a stream a stream (of a list too where `streaming`); of one value the value or null."""
    if isinstance(given, Chunks):
        return step.stream(_kept(job, step, given.batches()), fragmented=given.fragmented)
    if not isinstance(given, list):
        return given if await _keeps(job, step, given, 0) else None
    if await step.flag(job.streaming, "streaming"):
        return step.stream(_kept(job, step, _one_by_one(given)), fragmented=False)
    return [item async for batch in _kept(job, step, _one_by_one(given)) for item in batch]


async def _kept(job: FilterJob, step: Step, batches: AsyncIterator[list[Any]]) -> AsyncIterator[list[Any]]:
    index = 0
    async for batch in batches:
        kept = []
        for item in batch:
            if await _keeps(job, step, item, index):
                kept.append(item)
            index += 1
        if kept:
            yield kept


async def _keeps(job: FilterJob, step: Step, item: Any, index: int) -> bool:
    return job.where is None or await step.holds(job.where, {"item": item, "index": index})


async def _one_by_one(items: list[Any]) -> AsyncIterator[list[Any]]:
    for item in items:
        yield [item]
