"""What a run says, in the order it says it: one small frozen dataclass per kind of event, to be consumed with `match`.

RunStarted first; for every job JobStarted and then one of JobFinished, JobRouted, JobFailed and JobStopped, or JobSkipped
alone; a job that is run again starts again. Interrupted where people are asked, Resumed where they have answered. Notice,
Waiting, Answered and Delta at any time; last one of RunFinished, RunStopped and RunFailed. Times are seconds since the run
started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from composemagic.errors import Mark, RunError
from composemagic.words import say

__all__ = [
    "Answered",
    "Delta",
    "Event",
    "Interrupted",
    "JobFailed",
    "JobFinished",
    "JobRouted",
    "JobSkipped",
    "JobStarted",
    "JobStopped",
    "Notice",
    "Point",
    "Resumed",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "RunStopped",
    "Waiting",
]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run has an id and its input."""

    run_id: str
    title: str
    input: Any


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A job begins."""

    job: str
    at: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know that is no error: an older spelling that was read, an answer that came whole.

    `mark` is the place in the document it is about, where there is one; `str` draws it below the sentence.
    """

    sentence: str
    mark: Mark | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.sentence + (f"\n{self.mark.draw()}" if self.mark else "")


@dataclass(frozen=True, slots=True)
class Answered:
    """Which model answered, as the provider names it; `local`: the embedded one did, `instead_of` the one the YAML names."""

    model: str
    local: bool = False
    instead_of: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What failed is tried again in `seconds`, for the `attempt`-th time of `of`; any later event says that the wait is over."""

    seconds: float
    reason: str
    attempt: int
    of: int
    job: str = ""

    def __str__(self) -> str:
        seconds = f"{self.seconds:.0f}" if self.seconds >= 10 else f"{self.seconds:.1f}".removesuffix(".0")
        return say(
            "{reason}; again in {seconds} s ({attempt} of {of})",
            reason=self.reason,
            seconds=seconds,
            attempt=self.attempt,
            of=self.of,
        )


class Delta(NamedTuple):
    """The piece of output that a chunk became. A NamedTuple: the one event that is made thousands of times.

    `path` is where its stream stands in the output: empty for an output that is a stream, keys and positions otherwise.
    """

    value: Any
    job: str = ""
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class JobFinished:
    """A job is done."""

    job: str
    at: float
    deltas: int


@dataclass(frozen=True, slots=True)
class JobRouted:
    """A job is done, and has chosen which one comes next."""

    job: str
    to: str
    at: float


@dataclass(frozen=True, slots=True)
class JobSkipped:
    """A job will not run: nobody chose it, all that it waits for is skipped, or the run failed before."""

    job: str
    at: float


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A job failed, and with it the run."""

    job: str
    error: RunError
    at: float


@dataclass(frozen=True, slots=True)
class JobStopped:
    """A job that was running has been stopped: another one failed, or the user stopped the run."""

    job: str
    at: float


@dataclass(frozen=True, slots=True)
class Point:
    """Where a run waits for a person's answer.

    `phase` is "before" or "after" the job of `job_id`, or "ask" for a question that a component has; `run_id` is that one
    execution of it. `value` is its input before it and its output after it: what an answer replaces, and null leaves.
    """

    id: str
    job_id: str
    run_id: str
    phase: str
    message: str | None = None
    metadata: Any = None
    value: Any = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Every job that runs waits for an answer; `points` are all that are open. `Run.answer` goes on."""

    points: tuple[Point, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """These points were answered, by their ids; `answers` holds what with, null for "go on as it is"."""

    points: tuple[str, ...]
    at: float
    answers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is done; `output` is all deltas joined, or the value where nothing streamed."""

    output: Any
    at: float
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RunStopped:
    """The user stopped the run; `output` is what there was."""

    output: Any
    at: float


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run failed; `output` is what there was. `error.kind` "truncated": the stream ended without a finish mark."""

    error: RunError
    output: Any
    at: float


Event = (
    RunStarted
    | JobStarted
    | JobFinished
    | JobRouted
    | JobSkipped
    | JobFailed
    | JobStopped
    | Interrupted
    | Resumed
    | Notice
    | Waiting
    | Answered
    | Delta
    | RunFinished
    | RunStopped
    | RunFailed
)
