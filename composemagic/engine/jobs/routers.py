"""The jobs that choose which one comes next: if, switch, random-router."""

from __future__ import annotations

import hashlib
import math
import random
from typing import TYPE_CHECKING, Any

from composemagic.engine.route import Route
from composemagic.errors import RunError
from composemagic.language.casts import to_text
from composemagic.language.values import shown
from composemagic.words import say
from composemagic.workflow.job import IfJob, RandomRouterJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["run_if", "run_random_router"]


async def run_if(job: IfJob, step: Step, given: Any) -> Route | None:
    """The first condition (or case) that chooses a job decides, else `otherwise`; null where there is none."""
    for branch in job.branches:
        to = branch.if_true if await step.holds(branch.condition, {"job": {"input": given}}) else branch.if_false
        if to is not None:
            return Route(to)
    return None if job.otherwise is None else Route(job.otherwise)


async def run_random_router(job: RandomRouterJob, step: Step, given: Any) -> Route:
    """By chance; with a session, always the same way for the same session and salt. Raises RunError."""
    weights = [(to, await _weight(weight, step) if job.weighted else 1.0) for to, weight in job.routings]
    weights = [(to, weight) for to, weight in weights if weight > 0]
    if not weights:
        raise RunError("input", say("the random-router `{job}` has no routing with a weight above 0", job=job.id))
    session = await step.value(job.session)
    if session is None:
        return Route(random.choices([to for to, _ in weights], [weight for _, weight in weights])[0])
    salt = to_text(await step.value(job.salt))
    return Route(min(weights, key=lambda one: _draw(salt, to_text(session), one[0]) / one[1])[0])


def _draw(salt: str, session: str, target: str) -> float:
    """An exponentially distributed number that the three always give: the least one over its weight is a weighted choice."""
    digest = hashlib.sha256(f"{salt}\0{session}\0{target}".encode()).digest()
    return -math.log((int.from_bytes(digest[:8], "big") + 1) / (2**64 + 1))


async def _weight(template: Any, step: Step) -> float:
    value = await step.value(template, 0)
    try:
        weight = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise RunError("input", say("`weight` is a number from 0 on, not {value}", value=shown(value)))
    return weight
