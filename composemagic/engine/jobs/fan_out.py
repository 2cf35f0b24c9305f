"""The job that gives its input several names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from composemagic.engine.jobs.for_each import items_of
from composemagic.language.streams import Chunks
from composemagic.workflow.job import FanOutJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["run_fan_out"]


async def run_fan_out(job: FanOutJob, step: Step, given: Any) -> dict[str, Any]:
    """An object of streams, one for each name; each reader of one goes at its own speed."""
    stream = given if isinstance(given, Chunks) else step.stream(_items(given), fragmented=False)
    return {name: stream.map(list) for name in job.names}


async def _items(given: Any) -> AsyncIterator[list[Any]]:
    async for item in items_of(given):
        yield [item]
