"""What those who act in a run need of it, and what a run needs from outside its document."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from composemagic.allowance import is_allowed, refusal
from composemagic.engine.events import Event
from composemagic.engine.interrupts import Interrupts
from composemagic.engine.loop import PrivateLoop
from composemagic.engine.wire import Wire
from composemagic.errors import RunError
from composemagic.language.template import Flaw
from composemagic.transport.secrets import Redactor
from composemagic.words import say
from composemagic.workflow.component import LocalAddress
from composemagic.workflow.plan import Plan

__all__ = ["Host", "Surroundings", "demand", "file_under"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run needs from outside its document.

    `env`: the variables `${env.X}` may name. `transport`: an httpx transport in place of the network. `local`: a function
    that starts the embedded model where it is not running and gives its address; OpenAI-style requests then go there.
    `allowed`: the dangerous things that Python has allowed this workflow, beside those it has allowed all of them.
    `served`: the run is asked for from outside, so what its input fills in must not lead to addresses of this network.
    `folder`: where the document's files are. `functions`: those of the user, by name, before those of the notebook.
    `record`: what hears of every exchange on the wire. `offline`: `transport` answers from a recording and
    nothing goes out; it is the address under which models on this machine were recorded.
    `held`: nothing is to act. What is about to waits in it, with its job and its component's type, and never comes back.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    transport: Any = None
    local: Callable[[Callable[[str], None]], LocalAddress] | None = None
    allowed: frozenset[str] = frozenset()
    folder: Path | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    served: bool = False
    record: Callable[[Any], None] | None = None
    offline: LocalAddress | None = None
    held: Callable[[str, str], Awaitable[None]] | None = None


class Host(Protocol):
    """What those who act need of the run they act in."""

    id: str
    plan: Plan
    surroundings: Surroundings
    loop: PrivateLoop
    redact: Redactor
    interrupts: Interrupts
    attended: bool
    consents: bool
    auto_resume: bool
    model: str | None
    models: list[str]
    is_local: bool
    instead_of: str | None
    usage: Mapping[str, Any] | None
    wire: Wire

    def say(self, event: Event) -> None:
        """Tell the readers."""

    def elapsed(self) -> float:
        """Seconds since the run started."""

    def opened(self, thing: Any) -> None:
        """Close this when the run ends, however it ends: a connection must not wait for the garbage collector."""

    def closed(self, thing: Any) -> None:
        """This has been closed."""

    async def load(self, form: str, address: str) -> bytes:
        """The bytes of a file or of an address. Raises RunError."""


def demand(host: Host, what: str, path: tuple[str | int, ...]) -> None:
    """Raise RunError unless Python has allowed what the document asks for at this path."""
    host.redact.learn_all(os.environ)  # a program can print them
    if what not in host.surroundings.allowed and not is_allowed(what):
        raise RunError("not_allowed", refusal(what), mark=host.plan.place(Flaw("", path)))


def file_under(folder: Path | None, path: str) -> Path:
    """A path below a folder (the working directory where there is none), links resolved. Raises RunError."""
    root = (folder or Path.cwd()).resolve()
    try:
        found = (root / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError("file", say("`{path}` cannot be read: {reason}", path=path, reason=str(error))) from None
    if not found.is_relative_to(root):
        raise RunError(
            "file",
            say(
                "the file `{path}` lies outside of the document's folder `{folder}`, where a document may not read or write",
                path=path,
                folder=root,
            ),
        )
    return found
