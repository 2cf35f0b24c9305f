"""What users hold in their hands: `load` and `Workflow`. Cells, terminals and servers use the same two."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composemagic import components
from composemagic.engine.host import Surroundings
from composemagic.engine.kept import made
from composemagic.engine.run import Run
from composemagic.errors import Mark, UsageError
from composemagic.faces import Faces, serve_all
from composemagic.language.secret import Sealed, is_secret
from composemagic.language.template import Flaw
from composemagic.recordings import wired
from composemagic.words import say
from composemagic.workflow import load as loading
from composemagic.workflow.environment import Environment
from composemagic.workflow.inputs import Input, check_values, input_schema
from composemagic.workflow.merge import Text
from composemagic.workflow.outputs import Output, output_schema
from composemagic.yaml_files import read, says, texts_of

if TYPE_CHECKING:
    from composemagic.workflow.diagram import Diagram

__all__ = ["DEFAULT_FILES", "Workflow", "examine", "load", "load_all", "load_text", "serve_all"]

_LONGEST = 40  # characters of a value that a sentence repeats
DEFAULT_FILES = ("model-compose.yml", "model-compose.yaml", "compose.yml", "compose.yaml")


class Workflow(Faces):
    """A checked workflow, ready to run.

    Call it with its inputs: `chat(prompt="Hi")` waits and gives the Run; `await chat.arun(...)` does the same in async code;
    `chat.stream(...)` gives the Run at once, to be read with `for` or `async for`. `inputs` says what it asks for.
    `local=True` (here or in one call) sends OpenAI-style requests to the embedded model.
    """

    def __init__(self, plan: loading.Plan, surroundings: Surroundings, *, local: bool = False, name: str = "") -> None:
        self._plan = plan
        self._surroundings = surroundings
        self._local = local
        self.name = name

    @property
    def plan(self) -> loading.Plan:
        """What loading gave, for who shows it."""
        return self._plan

    @property
    def surroundings(self) -> Surroundings:
        """What its runs need from outside the YAML."""
        return self._surroundings

    def around(self, surroundings: Surroundings, *, local: bool | None = None) -> Workflow:
        """The same workflow with other surroundings, and on the embedded model or not."""
        return Workflow(self._plan, surroundings, local=self._local if local is None else local, name=self.name)

    @property
    def id(self) -> str:
        """The id the YAML gives, else the one that it is given where there is none."""
        return self._plan.id

    @property
    def is_local(self) -> bool:
        """Whether its OpenAI-style requests go to the embedded model."""
        return self._local

    @property
    def is_private(self) -> bool:
        """Whether only other workflows run it, and who names it."""
        return self._plan.is_private

    @property
    def is_default(self) -> bool:
        """Whether it is the one that runs where none is named."""
        return self._plan.id == self._plan.default_id

    @property
    def title(self) -> str:
        """The title the YAML gives, else the name that it has in the notebook, else its id."""
        return self._plan.title or self.name or self._plan.id

    @property
    def description(self) -> str:
        """The description the YAML gives."""
        return self._plan.description

    @property
    def document(self) -> dict[str, Any]:
        """What the whole YAML says, as data in today's spelling."""
        return dict(self._plan.written(()) or {})

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the workflow asks for, in the order written."""
        return self._plan.inputs

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What the workflow gives, as far as its YAML says."""
        return self._plan.outputs

    def input_schema(self) -> dict[str, Any]:
        """What the workflow takes, as a JSON Schema (2020-12) object: for tools, OpenAPI and forms."""
        return input_schema(self.inputs)

    def output_schema(self) -> dict[str, Any]:
        """What the workflow gives, as JSON Schema (2020-12); `{}` where its YAML does not say."""
        return output_schema(self.outputs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was read as something newer, and what is not used."""
        return self._plan.notes

    def unset_variables(self) -> tuple[str, ...]:
        """The environment variables without a default that a run needs and that are not set."""
        names = dict.fromkeys(hole.reference.path_text for hole in self._plan.variables)
        return tuple(name for name in names if name not in self._surroundings.env)

    def check(self, values: Mapping[str, Any], *, hint: str = "") -> None:
        """Raise InputError that names every required input that is missing and every value that does not fit."""
        check_values(self.inputs, values, hint=hint)

    def start(
        self,
        value: Any,
        *,
        local: bool | None = None,
        session_id: str | None = None,
        metadata: Any = None,
        attended: bool = True,
        auto_resume: bool = False,
        consents: bool = False,
        begins: bool = True,
        task_id: str | None = None,
        trace: bool = False,
    ) -> Run:
        """Start a run with an input value as it is (an object, for nearly every workflow) and give it at once.

        `session_id` and `metadata` are what the YAML reads as `${context.session_id}` and `${context.metadata}`. Where the
        run asks people, it waits for `Run.answer`; without `attended` it fails there, with `auto_resume` it goes on. With
        `consents` it asks in the same way whether a secret may go to a host that is not known as its own; else it fails there.
        Without `begins` it waits for `Run.begin`. `task_id` is the run's id where the caller has one for it. With `trace` it
        keeps what goes over the wire: see `Run.trace`.
        """
        return self._run(
            value,
            local,
            session_id=session_id,
            metadata=metadata,
            attended=attended,
            auto_resume=auto_resume,
            consents=consents,
            begins=begins,
            task_id=task_id,
            trace=trace,
        )

    def rehearsed(self, value: Any, held: Callable[[str, str], Awaitable[None]]) -> Run:
        """Start a run in which nothing is sent and nothing acts: what is about to waits in `held`, or on its way out.

        For who wants to see what would happen (`explain`); it ends when it is cancelled.
        """
        from composemagic.transport.nowhere import Nowhere  # only who rehearses pays for it
        from composemagic.transport.replaying import Embedded, Keyless

        around = self._surroundings
        around = replace(
            around, env=Keyless(around.env), transport=Nowhere(), held=held, record=None, offline=Embedded("embedded")
        )
        if self._local:
            around = replace(around, local=_embedded)  # is asked for its address only
        return Run(self._plan, value, around, auto_resume=True, attended=False, trace=True)

    def _run(self, value: Any, local: bool | None, **options: Any) -> Run:
        surroundings = self._surroundings
        if self._local if local is None else local:
            surroundings = replace(surroundings, local=_embedded)
        elif isinstance(surroundings.env, Environment):
            surroundings.env.fetch(hole.reference.path_text for hole in self._plan.variables)
        # a run that has begun is given at once: an interrupt on a line between would leave one that nobody can stop
        return Run(self._plan, value, surroundings, first=self._made, **options)

    def _made(self, run: Run) -> None:
        """Tell who hears of runs, and call the trace what a view calls the run."""
        if run.trace is not None:
            run.trace.title = self.title
        made(run, self.name)

    def stream(self, /, *unnamed: Any, local: bool | None = None, **values: Any) -> Run:
        """Start a run and give it at once; iterate over it for its events. Raises InputError.

        An input called `local` is given with `start`: here the word is an option.
        """
        self._refuse(unnamed)
        return self._checked(values, local, attended=True)

    def run(self, /, *unnamed: Any, local: bool | None = None, **values: Any) -> Run:
        """Run to the end and give the Run. Raises InputError and RunError; an interrupt stops the run.

        A workflow that asks people fails where it asks: nobody can answer while this waits.
        """
        self._refuse(unnamed)
        run = self._checked(values, local, attended=False, begins=False)
        try:
            run.begin()  # in here: an interrupt before the wait must stop it, too
            run.wait()
        except BaseException:
            run.cancel()
            raise
        run.raise_for_error()
        return run

    __call__ = run

    async def arun(self, /, *unnamed: Any, local: bool | None = None, **values: Any) -> Run:
        """Run to the end without blocking the caller's loop. Raises InputError and RunError; cancelling stops the run."""
        self._refuse(unnamed)
        run = self._checked(values, local, attended=False)
        await run.finished()
        run.raise_for_error()
        return run

    def _checked(self, values: dict[str, Any], local: bool | None, **options: Any) -> Run:
        self._check_local(local)
        self.check(values)
        return self._run(values, local, **options)

    def _refuse(self, unnamed: tuple[Any, ...]) -> None:
        """Raise UsageError for values without a name, with a call that has the names."""
        if not unnamed:
            return
        name = self.name or "workflow"
        asked = [one.name for one in self.inputs if one.name.isidentifier()]
        if not asked:
            raise UsageError(
                say("this workflow asks for no inputs by name; give it a value with `{name}.start(...)`", name=name)
            )
        call = ", ".join(f"{key}=..." for key in asked[len(unnamed) :])
        given = ", ".join(f"{key}={_shown(key, value)}" for key, value in zip(asked, unnamed, strict=False))
        call = f"{name}({', '.join(filter(None, (given, call)))})"
        raise UsageError(say("inputs are given by name: `{call}`", call=call))

    def _check_local(self, local: object) -> None:
        if local is not None and any(one.name == "local" for one in self.inputs):
            raise UsageError(
                say(
                    "`local` is the option that asks for the embedded model; give the input of that name with "
                    '`start({"local": ...})`'
                )
            )
        if local not in (None, True, False):
            raise UsageError(say("`local` is True or False, not {value}", value=repr(local)))

    def trace(self, /, *unnamed: Any, **values: Any) -> Any:
        """Run to the end and give the Trace: what was sent, each message that came, and when. Raises InputError.

        The trace of a run that fails holds its error, which is not raised.
        """
        self._refuse(unnamed)
        self.check(values)
        run = self._run(values, None, attended=False, begins=False, trace=True)
        try:
            run.begin()
            run.wait()
        except BaseException:
            run.cancel()
            raise
        return run.trace

    def diagram(self) -> Diagram:
        """How its jobs connect: a picture in JupyterLab, `str(...)` as Mermaid text, `.tree` as plain text."""
        from composemagic.workflow.diagram import diagram

        return diagram(self._plan)

    def __repr__(self) -> str:
        asks = ", ".join(f"{one.name}: {one.type}" for one in self.inputs)
        return f"<Workflow {self.title!r} ({asks})>"


def load(
    source: str | Path | Sequence[str | Path],
    workflow: str | None = None,
    *,
    transport: Any = None,
    local: bool = False,
    env: Mapping[str, str] | None = None,
    env_files: Sequence[str | Path] = (),
    functions: Mapping[str, Callable[..., Any]] | None = None,
    record: str | Path | None = None,
    replay: str | Path | None = None,
    replay_speed: float | None = 1.0,
) -> Workflow:
    """Load a workflow from YAML text, from a file's path, or from a list of these, the later ones over the earlier.

    `workflow` chooses one by id where there are several. `transport` is an httpx transport that replaces the network, so
    that tests run offline. `local` sends OpenAI-style requests to the embedded model. `env` goes before the process's
    environment, `env_files` (else the nearest `.env`) behind it. `functions` are those that `type: function` may name,
    before those of the notebook or the script. `record` is a file to which every answer is added, without secrets; `replay`
    one from which they are taken instead of the network, `replay_speed` times as fast as they came, or at once with None.
    Raises DocumentError with all mistakes of the YAML, and UsageError for a file or a workflow id that does not exist.
    """
    _check_transport(transport)
    texts, folder = texts_of(source)
    environment = Environment(env, env_files, folder)
    plan = _loaded(texts, environment).plan(workflow)
    surroundings = Surroundings(environment, transport, folder=folder, functions=functions or {})
    return Workflow(*wired(plan, surroundings, record, replay, replay_speed), local=local)


def load_all(
    source: str | Path | Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    env_files: Sequence[str | Path] = (),
) -> list[Workflow]:
    """Every workflow of a text, of a file, or of several over each other. Raises DocumentError and UsageError."""
    texts, folder = texts_of(source)
    environment = Environment(env, env_files, folder)
    return [
        Workflow(plan, Surroundings(environment, folder=folder)) for plan in _loaded(texts, environment).plans.values()
    ]


def examine(
    source: str | Path | Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    env_files: Sequence[str | Path] = (),
) -> tuple[loading.Loaded, dict[str, Mark]]:
    """What a document says, and where it asks for environment variables that are not set.

    Raises DocumentError and UsageError.
    """
    texts, folder = texts_of(source)
    environment = Environment(env, env_files, folder)
    loaded = _loaded(texts, environment)
    unset: dict[str, Mark] = {}
    for plan in loaded.plans.values():
        for hole in plan.variables:
            reference = hole.reference
            if reference.path_text not in environment and reference.path_text not in unset:
                unset[reference.path_text] = plan.place(Flaw("", hole.path, reference.start, reference.length))
    return loaded, unset


def load_text(
    text: str,
    name: str,
    workflow: str | None = None,
    *,
    first_line: int = 1,
    transport: Any = None,
    local: bool = False,
    env: Mapping[str, str] | None = None,
    env_files: Sequence[str | Path] = (),
    folder: Path | None = None,
    files: Sequence[str | Path] = (),
    record: str | Path | None = None,
    replay: str | Path | None = None,
    replay_speed: float | None = 1.0,
) -> Workflow:
    """Load YAML text that a message calls `name` and whose first line has the number `first_line` where the user sees it.

    `files` are the paths of earlier ones, which the text completes and changes; with them it may be empty.
    """
    _check_transport(transport)
    environment = Environment(env, env_files, folder)
    before = [Text(read(Path(file)), str(file)) for file in files]
    texts = before if before and not says(text) else [*before, Text(text, name, first_line)]
    plan = _loaded(texts, environment).plan(workflow)
    surroundings = Surroundings(environment, transport, folder=folder)
    return Workflow(*wired(plan, surroundings, record, replay, replay_speed), local=local)


def _loaded(texts: Sequence[Text], env: Mapping[str, str]) -> loading.Loaded:
    *before, last = texts
    return loading.load(
        last.text,
        components.find,
        known_types=components.known(),
        name=last.name,
        first_line=last.first_line,
        env=Sealed(env),
        before=before,
    )


def _check_transport(transport: object) -> None:
    if transport is not None and not hasattr(transport, "handle_async_request"):
        kind = type(transport).__name__
        raise UsageError(
            say("`transport` is an asynchronous one, such as httpx.MockTransport, not {value}", value=kind)
        )


def _shown(name: str, value: Any) -> str:
    """A value in a call, where it is short and no secret."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST and not is_secret(name, str(value)) else "..."


def _embedded(progress: Callable[[str], None]) -> Any:
    """Start the embedded model; imported here because only `--local` needs it."""
    from composemagic.local.serve import shared

    return shared(progress)
