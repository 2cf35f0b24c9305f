"""What a component may ask of the run it acts in: its side of `workflow.component.Context`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from composemagic.engine.events import Answered, Event, Notice
from composemagic.engine.loop import PrivateLoop, call_on
from composemagic.engine.stream import Stream
from composemagic.errors import Mark
from composemagic.language.casts import Uncollected
from composemagic.language.template import Flaw, Template
from composemagic.transport.secrets import Redactor
from composemagic.workflow.component import LocalAddress
from composemagic.workflow.load import Job, Plan

__all__ = ["Host", "JobContext", "Surroundings"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run needs from outside its document.

    `env`: the variables `${env.X}` may name. `transport`: an httpx transport in place of the network. `local`: a function
    that starts the embedded model where it is not running and gives its address; OpenAI-style requests then go there.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    transport: Any = None
    local: Callable[[Callable[[str], None]], LocalAddress] | None = None


class Host(Protocol):
    """What a context needs of the run it belongs to."""

    id: str
    plan: Plan
    input: Any
    surroundings: Surroundings
    loop: PrivateLoop
    redact: Redactor
    model: str | None
    is_local: bool
    instead_of: str | None
    usage: Mapping[str, Any] | None

    def say(self, event: Event) -> None:
        """Tell the readers."""


class JobContext:
    """One job's view of its run: scopes and templates, notes to the user, what is shared, what is to be closed."""

    def __init__(self, run: Host, job: Job) -> None:
        self._run = run
        self._job = job
        self.run_id = run.id
        self.transport = run.surroundings.transport
        self._outside: dict[str, Any] = {
            "input": run.input,
            "env": run.redact.watch(run.surroundings.env),
            "context": {"run_id": run.id},
        }
        self._scope: dict[str, Any] | None = None
        self._open: list[AsyncGenerator[Any, None]] = []

    def opened(self, source: AsyncGenerator[Any, None]) -> None:
        """Close this when the run ends, however it ends: a connection must not wait for the garbage collector."""
        self._open.append(source)

    async def aclose(self) -> None:
        """Close everything that was opened; what fails in closing spoils nothing."""
        while self._open:
            with contextlib.suppress(Exception):
                await self._open.pop().aclose()

    async def scope(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """The sources an action sees: its input, env, context, and `more`."""
        if self._scope is None:
            given = self._job.input
            value = self._run.input if given is None else await self.render_outside(given, {"jobs": {}})
            self._scope = {**self._outside, "input": value}
        return {**self._scope, **more}

    async def render(self, template: Template | None, more: Mapping[str, Any] | None = None) -> Any:
        """Fill one of the action's templates; streams are collected where a value is wanted."""
        if template is None:
            return None
        if template.constant:
            return template.render({})
        return await _render(template, await self.scope(more or {}))

    async def render_outside(self, template: Template, more: Mapping[str, Any]) -> Any:
        """Fill a template of the job or the workflow, whose `input` is the workflow's."""
        return await _render(template, {**self._outside, **more})

    @property
    def is_shown_raw(self) -> bool:
        """Whether neither the job nor the workflow has an `output`: the action's answer is shown as it is."""
        return self._job.output is None and self._run.plan.output is None

    def place(self, flaw: Flaw) -> Mark:
        """Where the user wrote what a flaw is about."""
        return self._run.plan.place(flaw)

    def note(self, sentence: str, mark: Mark | None = None) -> None:
        """Tell the user something that is no error, and of which place in the document."""
        self._run.say(Notice(sentence, mark))

    def answered_by(self, model: str, *, instead_of: str | None = None, local: bool = False) -> None:
        """Say which model answered; the first word counts."""
        run = self._run
        if run.model is None:
            run.model, run.is_local = run.redact(model), local
            run.instead_of = instead_of and run.redact(instead_of)
            run.say(Answered(run.model, local, run.instead_of))

    def used(self, usage: Mapping[str, Any]) -> None:
        """Keep the provider's token counts."""
        self._run.usage = dict(usage)

    def shared(self, key: object, make: Callable[[], Any]) -> Any:
        """What all runs on this loop share; made on first use."""
        return self._run.loop.shared(key, make)

    @property
    def wants_local(self) -> bool:
        """Whether the run was asked to use the embedded model."""
        return self._run.surroundings.local is not None

    async def local_model(self) -> LocalAddress:
        """Where the embedded model answers, started if need be."""
        start = self._run.surroundings.local
        assert start is not None
        loop = asyncio.get_running_loop()
        return await _on_daemon(loop, lambda: start(lambda line: call_on(loop, self.note, line)))


async def _on_daemon(loop: asyncio.AbstractEventLoop, call: Callable[[], T]) -> T:
    """Call on a thread that a process which ends does not wait for, unlike those of `asyncio.to_thread`."""
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # cancelled: nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def work() -> None:
        try:
            result = call()
        except BaseException as error:
            call_on(loop, settle, None, error)
        else:
            call_on(loop, settle, result, None)

    threading.Thread(target=work, name="composemagic-model", daemon=True).start()
    return await future


async def _render(template: Template, scope: Mapping[str, Any]) -> Any:
    while True:
        try:
            return template.render(scope)
        except Uncollected as wanted:
            stream = wanted.stream
            assert isinstance(stream, Stream)
            await stream.collect()
