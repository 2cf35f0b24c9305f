"""What users hold in their hands: `load` and `Workflow`. Cells, terminals and servers use the same two."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from composemagic import components
from composemagic.engine.context import Surroundings
from composemagic.engine.run import Run
from composemagic.errors import UsageError
from composemagic.workflow import load as loading
from composemagic.workflow.environment import Environment
from composemagic.workflow.inputs import Input, check_values

__all__ = ["DEFAULT_FILES", "Workflow", "load", "load_all", "load_text"]

# one line without a space after a colon, which no workflow can be, with an ending as files have
_FILE = re.compile(r"(?!.*:\s)[^\n{}\[\]]*\.\w+\s*")
DEFAULT_FILES = ("model-compose.yml", "model-compose.yaml", "compose.yml", "compose.yaml")

# the notebook's faces of a workflow, by name and not by import: Python without a notebook must not load them
_FACES = {"form": "composemagic.notebook.form:Form"}


class Workflow:
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
    def title(self) -> str:
        """The title the YAML gives, else its id."""
        return self._plan.title or self._plan.id

    @property
    def description(self) -> str:
        """The description the YAML gives."""
        return self._plan.description

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the workflow asks for, in the order written."""
        return self._plan.inputs

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

    def start(self, value: Any, *, local: bool | None = None) -> Run:
        """Start a run with an input value as it is (an object, for nearly every workflow) and give it at once."""
        surroundings = self._surroundings
        if self._local if local is None else local:
            surroundings = replace(surroundings, local=_embedded)
        return Run(self._plan, value, surroundings)

    def stream(self, /, *, local: bool | None = None, **values: Any) -> Run:
        """Start a run and give it at once; iterate over it for its events. Raises InputError.

        An input called `local` is given with `start`: here the word is an option.
        """
        self._check_local(local)
        self.check(values)
        return self.start(values, local=local)

    def run(self, /, *, local: bool | None = None, **values: Any) -> Run:
        """Run to the end and give the Run. Raises InputError and RunError; an interrupt stops the run."""
        run = self.stream(local=local, **values)
        run.wait()
        run.raise_for_error()
        return run

    __call__ = run

    async def arun(self, /, *, local: bool | None = None, **values: Any) -> Run:
        """Run to the end without blocking the caller's loop. Raises InputError and RunError; cancelling stops the run."""
        run = self.stream(local=local, **values)
        await run.finished()
        run.raise_for_error()
        return run

    def _check_local(self, local: object) -> None:
        if local is not None and any(one.name == "local" for one in self.inputs):
            raise UsageError(
                "`local` is the option that asks for the embedded model; give the input of that name with "
                '`start({"local": ...})`'
            )
        if local not in (None, True, False):
            raise UsageError(f"`local` is True or False, not {local!r}")

    def form(self) -> Any:
        """A form for the inputs; a notebook cell that ends with it shows it."""
        module, _, attribute = _FACES["form"].partition(":")
        return getattr(import_module(module), attribute)(self)

    def __repr__(self) -> str:
        asks = ", ".join(f"{one.name}: {one.type}" for one in self.inputs)
        return f"<Workflow {self.title!r} ({asks})>"


def load(
    source: str | Path,
    workflow: str | None = None,
    *,
    transport: Any = None,
    local: bool = False,
    env: Mapping[str, str] | None = None,
    env_files: Sequence[str | Path] = (),
) -> Workflow:
    """Load a workflow from YAML text, or from a file's path.

    `workflow` chooses one by id where there are several. `transport` is an httpx transport that replaces the network, so
    that tests run offline. `local` sends OpenAI-style requests to the embedded model. `env` goes before the process's
    environment, `env_files` (else the nearest `.env`) behind it.
    Raises DocumentError with all mistakes of the YAML, and UsageError for a file or a workflow id that does not exist.
    """
    path = _path_of(source)
    if path is not None:
        return load_text(
            _read(path),
            str(path),
            workflow,
            transport=transport,
            local=local,
            env=env,
            env_files=env_files,
            folder=path.parent,
        )
    return load_text(str(source), "this text", workflow, transport=transport, local=local, env=env, env_files=env_files)


def load_all(
    path: Path, *, env: Mapping[str, str] | None = None, env_files: Sequence[str | Path] = ()
) -> list[Workflow]:
    """Every workflow of a file. Raises DocumentError and UsageError."""
    environment = Environment(env, env_files, path.parent)
    loaded = _loaded(_read(path), str(path), 1, environment)
    return [Workflow(plan, Surroundings(environment)) for plan in loaded.plans.values()]


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
) -> Workflow:
    """Load YAML text that a message calls `name` and whose first line has the number `first_line` where the user sees it."""
    _check_transport(transport)
    environment = Environment(env, env_files, folder)
    plan = _loaded(text, name, first_line, environment).plan(workflow)
    return Workflow(plan, Surroundings(environment, transport), local=local)


def _loaded(text: str, name: str, first_line: int, env: Mapping[str, str]) -> loading.Loaded:
    known = components.known()
    return loading.load(text, components.find, known_types=known, name=name, first_line=first_line, env=env)


def _path_of(source: object) -> Path | None:
    """The file that a source names, or None for a text. Raises UsageError for what is neither."""
    if isinstance(source, str):
        is_file = _FILE.fullmatch(source) or ("\n" not in source and source.strip().endswith((".yml", ".yaml")))
        return Path(source.strip()) if is_file else None
    if isinstance(source, os.PathLike):
        return Path(source)
    given = "None" if source is None else type(source).__name__
    raise UsageError(f"`load` takes YAML text or the path of a file, not {given}")


def _check_transport(transport: object) -> None:
    if transport is not None and not hasattr(transport, "handle_async_request"):
        kind = type(transport).__name__
        raise UsageError(f"`transport` is an asynchronous one, such as httpx.MockTransport, not {kind}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no file `{path}`") from None
    except IsADirectoryError:
        raise UsageError(f"`{path}` is a folder; name the YAML file in it") from None
    except UnicodeDecodeError:
        raise UsageError(f"`{path}` is not a text in UTF-8") from None
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {(error.strerror or str(error)).lower()}") from None


def _embedded(progress: Callable[[str], None]) -> Any:
    """Start the embedded model; imported here because only `--local` needs it."""
    from composemagic.local.serve import shared

    return shared(progress)
