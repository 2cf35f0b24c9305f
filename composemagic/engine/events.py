"""What a run says, in the order it says it: one small frozen dataclass per kind of event, to be consumed with `match`.

RunStarted, then for the job JobStarted, any number of Notice, Answered and Delta, JobFinished; last one of RunFinished,
RunStopped and RunFailed. Times are seconds since the run started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from composemagic.errors import Mark, RunError

__all__ = [
    "Answered",
    "Delta",
    "Event",
    "JobFinished",
    "JobStarted",
    "Notice",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "RunStopped",
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


class Delta(NamedTuple):
    """The piece of output that a chunk became. A NamedTuple: the one event that is made thousands of times."""

    value: Any
    job: str = ""


@dataclass(frozen=True, slots=True)
class JobFinished:
    """A job is done."""

    job: str
    at: float
    deltas: int


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


Event = RunStarted | JobStarted | Notice | Answered | Delta | JobFinished | RunFinished | RunStopped | RunFailed
