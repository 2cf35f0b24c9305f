"""The job that waits: for a duration, or until a time."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

from composemagic.errors import RunError
from composemagic.workflow.duration import DurationError, check_zone, moment, seconds
from composemagic.workflow.job import DelayJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["run_delay"]

# clocks are set and daylight saving begins: a long wait looks at the time again
_LONGEST_NAP = 60.0


async def run_delay(job: DelayJob, step: Step, given: Any) -> None:
    """Wait; gives null. Raises RunError for what is no duration and no time."""
    try:
        if job.time is None:
            await asyncio.sleep(seconds(await step.value(job.duration, 0)))
            return
        until = moment(await step.value(job.time), check_zone(await step.value(job.timezone)))
    except DurationError as error:
        raise RunError("input", str(error)) from None
    while (left := (until - datetime.now(until.tzinfo)).total_seconds()) > 0:
        await asyncio.sleep(min(left, _LONGEST_NAP))
