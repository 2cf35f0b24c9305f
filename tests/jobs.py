"""Workflows of several jobs for the tests: loaded from YAML, run to their end, and what they said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar

import composemagic
from composemagic import DocumentError, RunError, Workflow
from composemagic.engine.events import (
    Event,
    JobFailed,
    JobFinished,
    JobRouted,
    JobSkipped,
    JobStarted,
    JobStopped,
)
from composemagic.engine.run import Run
from composemagic.workflow.component import Action, Component, Context, Settings, Value

# what a job does in these tests, by a word: `echo` gives its input back, `boom` fails, `words` streams its input's text, `late`
# ends when what needs no clock, no thread and no network has long ended, however slow the machine is
PARTS = """
components:
  - {id: give, default: true, type: echo, value: "${input}"}
  - {id: words, type: echo, text: "${input}"}
  - {id: boom, type: boom, value: "${input}"}
  - {id: late, type: late}
"""


class BoomSettings(Settings):
    """`value`: what it says; a number of failures before it succeeds where it is a mapping `{times, key}`."""

    value: Any = None


class Boom(Component):
    """Fails, each time, or so many times and then gives the number of the attempt."""

    type: ClassVar[str] = "boom"
    action: ClassVar[Any] = BoomSettings
    seen: ClassVar[dict[str, int]] = {}

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        value = await context.render(action.fields.get("value"))
        if not isinstance(value, dict) or "times" not in value:
            raise RunError("server", f"it broke: {value}")
        count = self.seen[value["key"]] = self.seen.get(value["key"], 0) + 1
        if count <= value["times"]:
            raise RunError("server", f"failure {count}")
        yield Value(count)


class Late(Component):
    """Ends when the loop has turned very often."""

    type: ClassVar[str] = "late"
    action: ClassVar[Any] = Settings

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        await turns(2000)
        yield Value(None)


def load(jobs: str, parts: str = PARTS, **options: Any) -> Workflow:
    """A workflow of these jobs (the YAML below `workflow:`), which may use `PARTS`."""
    undo = [composemagic.register_component(one) for one in (Boom, Late)]
    try:
        return composemagic.load(f"workflow:\n{jobs.strip(chr(10))}\n{parts}", **options)
    finally:
        for each in undo:
            each()


def ran(jobs: str, value: Any = None, parts: str = PARTS, env: Any = None, **how: Any) -> Run:
    """The run of these jobs, at its end."""
    run = load(jobs, parts, env=env).start({} if value is None else value, **how)
    assert run.wait(60), f"it did not end: {run.events}"
    return run


def output(jobs: str, value: Any = None, **how: Any) -> Any:
    """What these jobs give. Raises the run's error."""
    run = ran(jobs, value, **how)
    run.raise_for_error()
    return run.output


def mistakes(jobs: str, parts: str = PARTS) -> list[str]:
    """The sentences of what is wrong with these jobs."""
    try:
        load(jobs, parts)
    except DocumentError as error:
        return [mistake.sentence for mistake in error.mistakes]
    return []


def story(run: Run) -> list[str]:
    """What the run said of its jobs, a word each."""
    return [told for event in run.events if (told := _told(event))]


def _told(event: Event) -> str:
    match event:
        case JobStarted(job):
            return f"{job} started"
        case JobFinished(job):
            return f"{job} done"
        case JobRouted(job, to):
            return f"{job} -> {to}"
        case JobSkipped(job):
            return f"{job} skipped"
        case JobFailed(job):
            return f"{job} failed"
        case JobStopped(job):
            return f"{job} stopped"
    return ""


def acting(act: Callable[[Any, Context], AsyncGenerator[Any, None]], name: str = "acting") -> Callable[[], None]:
    """Register a component type that does what `act` does with its action's `value`; returns what takes it away."""

    class Acting(Component):
        type: ClassVar[str] = name
        action: ClassVar[Any] = BoomSettings

        async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
            async for chunk in act(await context.render(action.fields.get("value")), context):
                yield chunk

    return composemagic.register_component(Acting)


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)
