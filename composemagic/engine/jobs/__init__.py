"""Kinds of job, one file each, in one table: job type -> the coroutine that runs such a job.

This version has one kind: `component`.
"""

from composemagic.engine.jobs.component import run_component

__all__ = ["JOBS"]

JOBS = {"component": run_component}
