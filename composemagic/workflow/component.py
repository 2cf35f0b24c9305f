"""What a component is: the contract between the engine, which runs actions, and the components, which act.

A component is a class with a `type`, two classes for what its YAML may say, and one async generator.
The engine never imports a component and a component never imports the engine; both know this page.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import get_annotations
from pathlib import Path
from typing import Any, ClassVar, Protocol

from composemagic.language.template import Spell, Template
from composemagic.workflow.inputs import Input

__all__ = [
    "Action",
    "Batch",
    "Call",
    "CallSettings",
    "Component",
    "Context",
    "Described",
    "Settings",
    "ToolName",
    "Value",
    "WorkflowId",
]


class Settings:
    """The base of what a component's or an action's YAML may say: its annotations are the keys, unknown ones are mistakes.

    They are `str`, `int`, `float`, `bool`, `list[...]`, `dict[str, Any]`, `Literal[...]`, another Settings, `Annotated[int,
    range(...)]` or `Any`, each also `| None`. A key without a default is required. Only checked, never filled: the values
    may be templates. Not pydantic: importing it takes a third of the first run of a whole process.
    """

    model_fields: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        cls.model_fields = {**cls.model_fields, **get_annotations(cls)}


SettingsModel = type[Settings]


class CallSettings(Settings):
    """A setting that says which other action of the document is run: checked, compiled and found by the loader.

    A setting annotated with it is no template in `Action.fields` or `Action.settings` but a Call in `Action.calls`, under
    the setting's name. `input` may use the sources that the component's `call_sources` names for it.
    """

    component: Any = None
    action: str | None = None
    input: Any = None
    output: Any = None


class WorkflowId(str):
    """The annotation of a setting that is the id of a workflow of the document: the loader checks that there is one."""

    __slots__ = ()


class ToolName(str):
    """The annotation of a setting that is the id of a workflow of the document, or else the name of a Python function."""

    __slots__ = ()


class Value:
    """What a component yields once, alone, when its answer is one value and not a stream.

    `output` reads it under each of the component's sources, but for those that `sources` gives another value.
    """

    __slots__ = ("sources", "value")

    def __init__(self, value: Any, sources: Mapping[str, Any] | None = None) -> None:
        self.value = value
        self.sources = sources or {}


class Batch(list[Any]):
    """Several chunks that arrived together. Yielding them as one spares a switch of tasks for each."""


@dataclass(frozen=True, slots=True)
class Action:
    """One call a component offers, checked and compiled.

    `fields` are the action's own settings and `settings` the component's, each a compiled template; `output` maps what
    comes back. `calls` are the other actions it runs, by the setting that names them. `per_chunk`: `output` reads
    `response[]`, so a stream is expected.
    """

    id: str
    component: Component
    fields: Mapping[str, Template]
    settings: Mapping[str, Template]
    output: Template | None
    path: tuple[str | int, ...]
    calls: Mapping[str, Call] = field(default_factory=dict)

    @property
    def per_chunk(self) -> bool:
        return self.output is not None and any(hole.reference.per_chunk for hole in self.output.holes)

    def templates(self) -> Iterator[Template]:
        """Every template that a run of the action may fill."""
        yield from (*self.settings.values(), *self.fields.values())
        if self.output is not None:
            yield self.output


@dataclass(frozen=True, slots=True)
class Call:
    """Another component's action: what it is given (null: the caller's own input) and what becomes of its answer."""

    action: Action
    input: Template | None
    output: Template | None


class Described(Protocol):
    """What a component may know of another workflow of its document: enough to offer it as a tool."""

    id: str
    title: str
    description: str

    @property
    def name(self) -> str:
        """How it is called as a tool; empty where it has no `name`."""

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What it asks for."""


class Context(Protocol):
    """What a component may ask of the run it acts in."""

    run_id: str

    async def render(self, template: Template | None, more: Mapping[str, Any] | None = None) -> Any:
        """Fill a template from the action's input and the sources in `more`; None for none.

        Streams are collected where a value is wanted.
        """

    async def sealed(self, template: Template | None, more: Mapping[str, Any] | None = None) -> Any:
        """The same as `render`, which refuses secrets: here they stay in the value, closed, for `open`."""

    async def open(self, url: Any, headers: Mapping[str, Any], body: Any = None) -> tuple[str, dict[str, Any], Any]:
        """The parts of a request with the texts of the secrets in them, which may be what `sealed` gave.

        Raises RunError for a secret that may not go there; a person may be asked first.
        """

    def authored(self, template: Template | None) -> Any:
        """What a template gives where the run's input is empty: the document's own words. None where it gives nothing."""

    async def call(self, call: Call, more: Mapping[str, Any]) -> Any:
        """Run another component's action, its input filled with `more` as sources besides `input`.

        Gives what its output gives: a value, or a stream (Chunks) that is read with `batches()`. Raises RunError.
        """

    def workflow(self, name: str) -> Described:
        """Another workflow of the document, private ones too. Raises RunError."""

    async def run_workflow(self, name: str, value: Any) -> Any:
        """Run another workflow as part of this run and give its output: a value, or a stream (Chunks).

        Raises RunError: where it fails, and where workflows call each other more than 16 deep.
        """

    async def ask(self, message: str, metadata: Mapping[str, Any] | None = None) -> Any:
        """Interrupt the run until a person answers; null means go on as it is. Raises RunError where nobody can answer."""

    def demand(self, what: str) -> None:
        """Raise RunError unless Python has allowed `what` (`shell`, `hook`, `http-server`): never YAML itself."""

    def file(self, path: str) -> Path:
        """A file under the folder of the document, links resolved. Raises RunError for one outside of it."""

    def function(self, name: str) -> Callable[..., Any]:
        """The Python function of a name that the user gave or the notebook has. Raises RunError."""

    def variable(self, name: str) -> Any:
        """What the notebook has under a name, such as a table. Raises RunError for a name it does not have."""

    def note(self, sentence: str) -> None:
        """Tell the user something that is no error."""

    def waiting(self, seconds: float, reason: str, attempt: int, of: int) -> None:
        """Tell the user that the same thing is tried again in so many seconds, for the `attempt`-th time of `of`, and why."""

    @property
    def retries(self) -> int | None:
        """How often the job's own `retry` tries again, None where it has none: a component then follows its own habit."""

    def answered_by(self, model: str, *, instead_of: str | None = None, local: bool = False) -> None:
        """Say which model answered; `local`: the embedded one, `instead_of` the model that was asked for."""

    def used(self, usage: Mapping[str, Any]) -> None:
        """Say how many tokens the provider counted."""

    @property
    def transport(self) -> Any:
        """The httpx transport that replaces the network, or None."""

    def shared(self, key: object, make: Callable[[], Any]) -> Any:
        """What all runs share, such as a pool of connections: made once, and its `aclose` awaited when the loop ends."""

    @property
    def wants_local(self) -> bool:
        """Whether the run was asked to use the embedded model (`--local`)."""

    async def local_model(self) -> LocalAddress:
        """Where the embedded model answers; it is started where it is not running. Raises ModelError.

        In a replay, the address under which models on this machine were recorded.
        """

    def lives_at(self, address: str) -> None:
        """Say that a model on this machine answers at this base URL, whose port is another one each time."""

    @property
    def is_offline(self) -> bool:
        """Whether the run's answers come from a recording, so that nothing may go out."""


class LocalAddress(Protocol):
    """The embedded model's server."""

    url: str
    key: str
    name: str


class Component(Protocol):
    """Something that acts. One instance serves every run of a loaded workflow.

    `type` is its name in YAML, `sources` what its `output` may read, `call_sources` what the inputs of its calls may read
    beside the action's own, by setting; `nested` are settings whose own keys are compiled one by one, each in `Action.fields`
    under a name such as `completion.path`, and the sources these may read besides; `text_fields` the settings that are text even where an
    environment variable looks like a number, `spellings` how the values inside some of them are written (a value and the
    literal text before it -> text); `settings` and `action` are the models of its YAML.
    """

    type: ClassVar[str]
    sources: ClassVar[tuple[str, ...]] = ("result",)
    call_sources: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    nested: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    text_fields: ClassVar[frozenset[str]] = frozenset()
    spellings: ClassVar[Mapping[str, Spell]] = {}
    settings: ClassVar[SettingsModel] = Settings
    action: ClassVar[SettingsModel] = Settings

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        """What the models cannot see: a sentence and the action's key it is about (or the path of keys, or None), for each
        mistake. A path that begins with ".." is of the component's keys; True as a third item: the key is wrong, not its value.
        """
        return ()

    @classmethod
    def not_run(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
        """Why an action that the peer runs is not run here, as a sentence, or None.

        Such an action loads with that as a note, unchecked, and a run that needs it ends with it.
        """
        return None

    def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Act: yield chunks (one by one or as a Batch), or one Value. Raises RunError."""
