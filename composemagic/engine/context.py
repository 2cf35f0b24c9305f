"""What a component may ask of the run it acts in: the engine's side of `workflow.component.Context`."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from composemagic.allowance import is_granted
from composemagic.engine.consent import not_given, opened_for
from composemagic.engine.events import Answered, Notice, Waiting
from composemagic.engine.failure import as_run_error
from composemagic.engine.fill import fill
from composemagic.engine.host import demand, file_under
from composemagic.engine.step import Step
from composemagic.engine.stream import Stream, settle
from composemagic.errors import Mark, RunError, suggest
from composemagic.language.formats import LOADED
from composemagic.language.secret import names_in
from composemagic.language.template import Flaw, Template
from composemagic.threads import call_on, on_daemon
from composemagic.transport.secrets import opened
from composemagic.words import say
from composemagic.workflow.component import Action, Call, Described, LocalAddress

__all__ = ["ActionContext"]

Act = Callable[[Step, Action, Any], Awaitable[Any]]
# what does nothing but work out values, or sends requests, which stop on their way: may act in a run in which nothing is to
_HARMLESS = frozenset({"agent", "echo", "http-client", "text-splitter", "web-scraper", "workflow"})


class ActionContext:
    """One action's view of its run. `given` is its input; what it opens is closed with the run."""

    def __init__(self, step: Step, action: Action, given: Any, act: Act) -> None:
        frame = step.frame
        self._step = step
        self._act = act
        self._host = host = frame.host
        self._action = action
        self.run_id = host.id
        self.transport = host.wire.line(step.top)
        self._scope = {
            "input": given,
            "env": frame.env,
            "context": {"run_id": host.id, "task_id": host.id},
            LOADED: frame.loaded,
        }

    # -- templates ------------------------------------------------------------------------------------------------------
    def scope(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """The sources an action sees: its input, env, context, and `more`."""
        return {**self._scope, **more}

    async def render(self, template: Template | None, more: Mapping[str, Any] | None = None) -> Any:
        """Fill one of the action's templates; streams are collected."""
        if template is None:
            return None
        if template.constant:
            return template.render({})
        found = await settle(await self.fill(template, more or {}))
        return self._plain(found) if self._host.redact.knows else found

    async def sealed(self, template: Template | None, more: Mapping[str, Any] | None = None) -> Any:
        """The same with secrets in it, closed."""
        if template is None or template.constant:
            return None if template is None else template.render({})
        return await settle(await self.fill(template, more or {}))

    async def open(self, url: Any, headers: Mapping[str, Any], body: Any = None) -> tuple[str, dict[str, Any], Any]:
        """The parts of a request with the texts of their secrets. Raises RunError for one that may not go there."""
        return await opened_for(self._step, self._action.path, url, headers, body)

    def authored(self, template: Template | None) -> Any:
        """What a template gives where the run's input is empty: the document's own words. None where it gives nothing."""
        scope = {**self._scope, "input": None, "jobs": {}, LOADED: {}}
        given = getattr(self._step.job, "input", None)
        if given is not None:
            with suppress(Exception):  # what cannot be filled in says nothing
                scope["input"] = given.render(scope)
        with suppress(Exception):
            return None if template is None else opened(template.render(scope))
        return None

    def _plain(self, value: Any) -> Any:
        """A value for a component that does not say where it goes: a secret needs Python's word for that."""
        names = names_in(value)
        kind = self._action.component.type
        for name in names:
            if not is_granted(name, kind, "header"):
                mark = self._host.plan.place(Flaw("", self._action.path))
                raise RunError("not_allowed", not_given(name, kind), mark=mark)
        return opened(value) if names else value

    async def fill(self, template: Template, more: Mapping[str, Any]) -> Any:
        """Fill a template; a stream that nothing wants as a value stays one."""
        return await fill(template.render, {**self._scope, **more}, self._host.load)

    def held(self, kind: str) -> AsyncGenerator[Any, None] | None:
        """What takes the place of a component that may not act in this run; None where it may."""
        hold = self._host.surroundings.held
        if hold is None or kind in _HARMLESS:
            return None
        return _held(hold(self._step.top, kind))

    # -- other actions and workflows ------------------------------------------------------------------------------------
    async def call(self, call: Call, more: Mapping[str, Any]) -> Any:
        """Run another component's action and give what its output gives. Raises RunError."""
        given = self._scope["input"] if call.input is None else await self.fill(call.input, more)
        answer = await self._act(self._step, call.action, given)
        return answer if call.output is None else await self.fill(call.output, {"output": answer})

    def workflow(self, name: str) -> Described:
        """Another workflow of the document. Raises RunError."""
        return cast("Described", self._step.frame.sibling(name))

    async def run_workflow(self, name: str, value: Any) -> Any:
        """Run another workflow as part of this run and give its output. Raises RunError."""
        with self._host.interrupts.resting(self._step.id):
            return await self._step.run_workflow(name, value)

    # -- people and permission ------------------------------------------------------------------------------------------
    async def ask(self, message: str, metadata: Mapping[str, Any] | None = None) -> Any:
        """Interrupt the run until a person answers; null means go on as it is. Raises RunError where nobody can."""
        return await self._step.ask("ask", message, metadata, None)

    def demand(self, what: str) -> None:
        """Raise RunError unless Python has allowed this."""
        demand(self._host, what, self._action.path)

    def file(self, path: str) -> Path:
        """A file under the folder of the document, links resolved. Raises RunError for one outside of it."""
        return file_under(self._host.surroundings.folder, path)

    def function(self, name: str) -> Callable[..., Any]:
        """The Python function of a name. Raises RunError."""
        found = self._named(name, say("there is no Python function `{name}`", name=name))
        if not callable(found):
            raise RunError(
                "function",
                say("`{name}` is no Python function but of the type {type}", name=name, type=type(found).__name__),
            )
        module = getattr(found, "__module__", None)
        if name not in self._host.surroundings.functions and module != "__main__":
            # a document must not reach what the notebook has only imported, such as `system`, nor IPython's own `open`
            raise RunError(
                "function",
                say(
                    "`{name}` is imported from {module}; a document may call what is written here: give others to "
                    "`load(functions=...)`",
                    name=name,
                    module=module,
                ),
            )
        return cast("Callable[..., Any]", found)

    def variable(self, name: str) -> Any:
        """What the notebook has under a name. Raises RunError."""
        return self._named(name, say("there is no Python variable `{name}`", name=name))

    def _named(self, name: str, sentence: str) -> Any:
        """What was given to `load`, or else the notebook (or the script) has under a name."""
        given = self._host.surroundings.functions
        here = vars(sys.modules["__main__"])
        if name in given or name in here:
            return given.get(name, here.get(name))
        raise RunError("function", sentence + suggest(name, [*given, *(other for other in here if other[0] != "_")]))

    # -- what it says ----------------------------------------------------------------------------------------------------
    @property
    def is_shown_raw(self) -> bool:
        """Whether neither the job nor the workflow has an `output`: the action's answer is shown as it is."""
        return self._step.is_shown_raw

    def place(self, flaw: Flaw) -> Mark:
        """Where the user wrote what a flaw is about."""
        return self._host.plan.place(flaw)

    def note(self, sentence: str, mark: Mark | None = None) -> None:
        """Tell the user something that is no error, and of which place in the document."""
        self._host.say(Notice(sentence, mark))

    def waiting(self, seconds: float, reason: str, attempt: int, of: int) -> None:
        """Tell the user that what failed is tried again, when and why."""
        self._host.say(Waiting(seconds, self._host.redact(reason), attempt, of, self._step.job.id))

    @property
    def retries(self) -> int | None:
        """How often the job's own `retry` tries again; None where it has none."""
        retry = self._step.job.retry
        return None if retry is None else retry.attempts - 1

    def answered_by(self, model: str, *, instead_of: str | None = None, local: bool = False) -> None:
        """Say which model answered; the first word counts."""
        host = self._host
        if (name := host.redact(model)) not in host.models:
            host.models.append(name)
        if host.model is None:
            host.model, host.is_local = name, local
            host.instead_of = instead_of and host.redact(instead_of)
            host.say(Answered(host.model, local, host.instead_of))

    def used(self, usage: Mapping[str, Any]) -> None:
        """Keep the provider's token counts; those of several answers are added."""
        before = self._host.usage
        usage = self._host.redact.value(dict(usage))
        self._host.usage = usage if before is None else _sum(before, usage)

    # -- what it is lent ---------------------------------------------------------------------------------------------------
    def shared(self, key: object, make: Callable[[], Any]) -> Any:
        """What all runs on this loop share; made on first use."""
        return self._host.loop.shared(key, make)

    @property
    def wants_local(self) -> bool:
        """Whether the run was asked to use the embedded model."""
        return self._host.surroundings.local is not None

    async def local_model(self) -> LocalAddress:
        """Where the embedded model answers, started if need be."""
        if (recorded := self._host.surroundings.offline) is not None:
            return recorded
        start, loop = self._host.surroundings.local, self._host.loop.loop
        assert start is not None
        found: LocalAddress = await on_daemon(lambda: start(lambda line: call_on(loop, self.note, line)))
        self.lives_at(found.url)
        return found

    def lives_at(self, address: str) -> None:
        """A model on this machine answers at this base URL, whose port is another one each time."""
        self._host.wire.lives_at(address)

    @property
    def is_offline(self) -> bool:
        """Whether the run's answers come from a recording, so that nothing may go out."""
        return self._host.surroundings.offline is not None

    def noting(self, render: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What fills `output` for each chunk; where somebody traces the run, one that also tells what it made of each."""
        if not self._host.wire.is_traced:
            return render
        note = self.transport.noted

        def noted(scope: Any) -> Any:
            try:
                value = render(scope)
            except BaseException:
                note(...)
                raise
            note(value)
            return value

        return noted

    def noted(self, value: Any) -> Any:
        """What `output` made of a whole answer; told where somebody traces the run."""
        if self._host.wire.is_traced:
            self.transport.noted(value)
        return value

    # -- for the engine ----------------------------------------------------------------------------------------------------
    def stream(self, source: Any, *, fragmented: bool, behind: Any) -> Stream:
        """A stream of what the action gives, closed with the run, and what is behind it; its failures are this job's."""
        return self._step.stream(source, fragmented=fragmented, wrap=self.wrapped, behind=behind)

    def wrapped(self, error: BaseException) -> RunError:
        """A failure of the action, as a RunError."""
        return as_run_error(error, self._step.top, self.place, self._action.component.type)


def _sum(before: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """Two counts by name; what is no number counts as the later one says."""
    both = {
        name: count for name, count in usage.items() if isinstance(count, int) and isinstance(before.get(name), int)
    }
    return {**before, **usage, **{name: before[name] + count for name, count in both.items()}}


async def _held(waiting: Awaitable[None]) -> AsyncGenerator[Any, None]:
    await waiting
    yield None  # never
