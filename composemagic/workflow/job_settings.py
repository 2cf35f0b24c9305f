"""What a document may say of each kind of job: one Settings model a kind, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from composemagic.workflow.component import Settings

__all__ = [
    "INLINE_TYPES",
    "JOB_TYPES",
    "AccumulateSettings",
    "Case",
    "ComponentSettings",
    "DelaySettings",
    "FanOutSettings",
    "FilterSettings",
    "ForEachSettings",
    "IfCondition",
    "IfSettings",
    "InterruptSettings",
    "JobSettings",
    "LoopSettings",
    "OnErrorSettings",
    "PhaseSettings",
    "PipelineSettings",
    "RandomRouterSettings",
    "RetrySettings",
    "Routing",
    "ScriptSettings",
    "SwitchSettings",
]


class JobSettings(Settings):
    """What every job may say.

    `id` is the name by which other jobs wait for it and read its output; `type` is what it does. `depends_on` are the jobs it
    waits for: all of them, and any of those in a list within. `max_run_count` (25) is how often routes may lead back to it.
    `retry` is how often it is tried in all, or a mapping. `on_error` is `ignore`, or says which job takes over or what is given
    instead. `interrupt` asks a person `before` or `after` it. `hook` runs Python, where Python has allowed it.
    """

    id: str | None = None
    name: str | None = None
    type: str = "component"
    depends_on: Any = None
    max_run_count: Any = None
    retry: Any = None
    on_error: Any = None
    interrupt: Any = None
    hook: Any = None


class RetrySettings(Settings):
    """`retry` in full; a number alone is its `max_attempt_count`.

    `delay` is the time before each attempt but the first, doubled each time where `backoff` is `exponential`, up to `max_delay`.
    """

    max_attempt_count: Any = None
    delay: Any = None
    backoff: Literal["fixed", "exponential"] | None = None
    max_delay: Any = None


class OnErrorSettings(Settings):
    """`on_error` in full; the word `ignore` goes on with null. `output` takes the place of what the job gives, `to` comes next."""

    to: str | None = None
    output: Any = None


class PhaseSettings(Settings):
    """`before` and `after` of `interrupt` and of `hook`."""

    before: Any = None
    after: Any = None


class InterruptSettings(Settings):
    """One interrupt in full; `true` alone always stops, without a message."""

    condition: Any = None
    message: Any = None
    metadata: Any = None


class ScriptSettings(Settings):
    """One hook."""

    script: str


class ComponentSettings(JobSettings):
    """`component`: runs one action.

    `action` is its id, where the component has several; `input` is what the action reads as `${input}`, else the workflow's;
    `output` says what becomes of the answer; `repeat_count` is how often it runs at once.
    """

    component: Any = None
    action: str | None = None
    input: Any = None
    output: Any = None
    repeat_count: Any = None


class IfCondition(Settings):
    """One of `conditions`; the only one may stand on the job itself. `input`: what it compares, the job's without it."""

    input: Any = None
    operator: str | None = None
    value: Any = None
    if_true: str | None = None
    if_false: str | None = None


class IfSettings(JobSettings):
    """`if`: the first condition that says where to go decides."""

    input: Any = None
    conditions: Any = None
    operator: str | None = None
    value: Any = None
    if_true: str | None = None
    if_false: str | None = None
    otherwise: str | None = None


class Case(Settings):
    """One of `cases`; the only one may stand on the job itself."""

    value: Any
    then: str


class SwitchSettings(JobSettings):
    """`switch`: the first case with the input's value decides."""

    input: Any = None
    cases: Any = None
    value: Any = None
    then: str | None = None
    otherwise: str | None = None


class Routing(Settings):
    """One of the `routings` of a random-router."""

    to: str
    weight: Any = None


class RandomRouterSettings(JobSettings):
    """`random-router`: chance decides, or a session's own number."""

    mode: Literal["uniform", "weighted"] = "uniform"
    routings: Any = None
    session: Any = None
    salt: Any = None


class FilterSettings(JobSettings):
    """`filter`: keeps items."""

    input: Any = None
    where: Any = None
    streaming: Any = None
    output: Any = None


class DelaySettings(JobSettings):
    """`delay`: waits."""

    mode: Literal["time-interval", "specific-time"] = "time-interval"
    duration: Any = None
    time: Any = None
    timezone: Any = None
    output: Any = None


class ForEachSettings(JobSettings):
    """`for-each`: runs `do` for every item."""

    input: Any = None
    batch_size: Any = None
    streaming: Any = None
    do: Any
    output: Any = None


class AccumulateSettings(JobSettings):
    """`accumulate`: folds the items with `do`."""

    input: Any = None
    accumulator: Any = None
    do: Any
    output: Any = None


class PipelineSettings(JobSettings):
    """`pipeline`: runs `steps` one after the other."""

    input: Any = None
    steps: Any
    output: Any = None


class FanOutSettings(JobSettings):
    """`fan-out`: gives the input several names."""

    input: Any = None
    output: Any
    buffer_size: Any = None
    spool: Any = None


class LoopSettings(JobSettings):
    """`loop`: runs `do` until a condition holds, or while it does."""

    input: Any = None
    do: Any
    until: Any = None
    max_iteration_count: Any = None
    output: Any = None


# `while` is a word that Python keeps for itself
LoopSettings.__annotations__["while"] = "Any"
LoopSettings.model_fields = {**LoopSettings.model_fields, "while": "Any"}
setattr(LoopSettings, "while", None)

JOB_TYPES: Mapping[str, type[JobSettings]] = {
    "component": ComponentSettings,
    "if": IfSettings,
    "switch": SwitchSettings,
    "random-router": RandomRouterSettings,
    "delay": DelaySettings,
    "filter": FilterSettings,
    "for-each": ForEachSettings,
    "pipeline": PipelineSettings,
    "loop": LoopSettings,
    "accumulate": AccumulateSettings,
    "fan-out": FanOutSettings,
}
# what may stand in `do` and `steps`
INLINE_TYPES = ("component", "loop", "for-each", "accumulate", "pipeline")
