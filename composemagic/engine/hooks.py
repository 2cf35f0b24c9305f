"""Hooks: Python that a document brings along, run around a job where Python has allowed it."""

from __future__ import annotations

import inspect
from typing import Any

from composemagic.errors import RunError
from composemagic.threads import on_daemon
from composemagic.words import say
from composemagic.workflow.job import Hook

__all__ = ["run_hook"]


async def run_hook(hook: Hook, *values: Any, **about: Any) -> Any:
    """Call the script's `hook` with the input (and the output), and what it is told of where it stands.

    A plain function runs on a thread of its own. Raises RunError with the line of the script that failed.
    """
    space: dict[str, Any] = {"__name__": "hook"}
    try:
        await on_daemon(lambda: exec(hook.code, space))
        function = space.get("hook")
        if not callable(function):
            raise RunError("hook", say("the script defines no function `hook`"))
        if inspect.iscoroutinefunction(function):
            return await function(*values, **about)
        found = await on_daemon(lambda: function(*values, **about))
        return await found if inspect.isawaitable(found) else found
    except RunError:
        raise
    except Exception as raised:
        error = raised.__cause__ if isinstance(raised.__cause__, StopIteration) else raised
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise RunError(
            "hook",
            say(
                "the hook of `{job}` failed in line {line} of its script: {reason}",
                job=about.get("job_id"),
                line=_line(error),
                reason=reason,
            ),
        ) from error


def _line(error: BaseException) -> int:
    """The line of the script that raised."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<hook>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
