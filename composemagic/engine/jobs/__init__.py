"""Kinds of job, one file each (the routers in one), in one table: job type -> the coroutine that runs such a job.

It gets the job, its Step and its input, and gives what the job gives: a value, one with streams in it, or a Route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from composemagic.engine.jobs.accumulate import run_accumulate
from composemagic.engine.jobs.component import run_component
from composemagic.engine.jobs.delay import run_delay
from composemagic.engine.jobs.fan_out import run_fan_out
from composemagic.engine.jobs.filter import run_filter
from composemagic.engine.jobs.for_each import run_for_each
from composemagic.engine.jobs.loop import run_loop
from composemagic.engine.jobs.pipeline import run_pipeline
from composemagic.engine.jobs.routers import run_if, run_random_router

if TYPE_CHECKING:
    from composemagic.engine.step import Kinds

__all__ = ["JOBS"]

JOBS: Kinds = {
    "component": run_component,
    "if": run_if,
    "switch": run_if,
    "random-router": run_random_router,
    "delay": run_delay,
    "filter": run_filter,
    "for-each": run_for_each,
    "loop": run_loop,
    "pipeline": run_pipeline,
    "accumulate": run_accumulate,
    "fan-out": run_fan_out,
}
