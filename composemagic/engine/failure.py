"""Every failure inside a run as a RunError: a sentence and, where known, the job and the line of YAML."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from composemagic.errors import Mark, RunError
from composemagic.language.casts import CastError
from composemagic.language.findings import MissingVariable, RenderError
from composemagic.language.template import Flaw
from composemagic.words import say

__all__ = ["as_run_error", "unless_stopped"]

Place = Callable[[Flaw], Mark]


def as_run_error(error: BaseException, job: str, place: Place, kind: str = "") -> RunError:
    """What is raised for `error`, which stopped `job`; `kind` is the type of the component that acted, where one did."""
    match error:
        case RunError():
            error.job = error.job or job
            return error
        case MissingVariable():
            return _caused(RunError("missing_variable", _missing(error.name), job=job, mark=_mark(error, place)), error)
        case RenderError():
            return _caused(RunError("input", error.sentence, job=job, mark=_mark(error, place)), error)
        case CastError():
            return _caused(RunError("input", str(error), job=job), error)
        case RecursionError() if not kind:
            return _caused(
                RunError("input", say("a value of the job `{job}` is nested too deep", job=job), job=job), error
            )
    words = f"{type(error).__name__}: {error}".removesuffix(": ")
    if not kind:
        return _caused(
            RunError("internal", say("the job `{job}` broke: {reason}", job=job, reason=words), job=job), error
        )
    sentence = say("the component `{type}` broke: {reason}", type=kind, reason=words)
    return _caused(RunError("internal", sentence, job=job), error)


def unless_stopped(error: BaseException, wrap: Callable[[BaseException], RunError]) -> RunError:
    """The failure as a RunError. Raises what it is where the task itself is being stopped."""
    task = asyncio.current_task()
    if isinstance(error, GeneratorExit) or (
        isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
    ):
        raise error
    return wrap(error)


def _caused(found: RunError, error: BaseException) -> RunError:
    """The cause is kept for developers."""
    found.__cause__ = error
    return found


def _mark(error: RenderError, place: Place) -> Mark:
    reference = error.reference
    return place(Flaw(error.sentence, error.path, reference.start, reference.length))


def _missing(name: str) -> str:
    if any(word in name.split("_") for word in ("KEY", "TOKEN")):
        return say(
            "the environment variable `{name}` is not set. Put `{name}=...` into a `.env` file beside this one, or run "
            "with `--local` (`local=True` in Python) to use the embedded model, without a key",
            name=name,
        )
    return say(
        "the environment variable `{name}` is not set. Put `{name}=...` into a `.env` file beside this one, or give it "
        "with `-e {name}=...`",
        name=name,
    )
