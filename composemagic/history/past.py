"""One run that was made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composemagic.engine.events import Event
from composemagic.language.secret import SHOWN, is_secret
from composemagic.prices import cost, tokens

if TYPE_CHECKING:
    from composemagic.engine.run import Run
    from composemagic.history.replay import Replay

__all__ = ["COLUMNS", "Past", "without_secrets"]

COLUMNS = (
    "number", "at", "workflow", "inputs", "model", "status", "seconds", "first_delta", "deltas", "tokens_in", "tokens_out",
    "cost", "text",
)  # fmt: skip

_TRACED = 200  # bytes that each message takes in a trace beside its text
_KEY = re.compile("[!-~]{8,}")
_DEEPEST = 60


@dataclass(slots=True)
class Past:
    """A run that was made, here or in an earlier session; without secrets.

    `number` counts from 1; `at` is when it began, in local time; `workflow` its title; `inputs` what it was given; `status`,
    `usage`, `text`, `output` and `error` (the sentence, or None) as of the Run; `model` all models that answered; `seconds` until its end and
    `first_delta` until the first piece of text. `run` is the Run itself while this process has it, `file` where it is
    kept, and `size` about how many bytes are held for it.
    """

    number: int
    at: datetime
    workflow: str
    name: str
    inputs: Any
    status: str = "running"
    model: str | None = None
    usage: Mapping[str, Any] | None = None
    seconds: float | None = None
    first_delta: float | None = None
    deltas: int = 0
    text: str = ""
    output: Any = None
    error: str | None = None
    kind: str | None = None
    encoding: str | None = None
    jobs: tuple[str, ...] = ()
    run: Run | None = field(default=None, repr=False)
    file: Path | None = field(default=None, repr=False)
    size: int = field(default=0, repr=False)
    said: Callable[[], list[tuple[float, Event]]] = field(default=list, repr=False)

    @property
    def tokens_in(self) -> int | None:
        """The tokens of the question, where somebody counted."""
        return tokens(self.usage)[0]

    @property
    def tokens_out(self) -> int | None:
        """The tokens of the answer, where somebody counted."""
        return tokens(self.usage)[1]

    @property
    def cost(self) -> float | None:
        """What it cost by the table of prices, in its currency; None where that is not known."""
        return cost(self.model, self.usage)

    def take(self, run: Run) -> None:
        """Take over what is known of the run by now."""
        self.status, self.model, self.usage = run.status, ", ".join(run.models) or None, run.usage
        self.seconds, self.first_delta = run.timing.total, run.timing.first_delta
        self.deltas, self.encoding, self.jobs = run.timing.deltas, run.encoding, tuple(run.jobs)
        self.text, self.output = run.text, run.output
        if run.error is not None:
            self.error, self.kind = run.redact(run.error.sentence), run.error.kind

    def weigh(self) -> None:
        """Work out its size: texts and files given and got, and what was traced."""
        own = 0 if isinstance(self.output, str) else _size(self.output)  # else it is the text
        self.size = len(self.text) + _size(self.inputs) + own
        if self.run is not None and self.run.trace is not None:
            self.size += sum(one.kept for one in self.run.trace.exchanges) + _TRACED * self.deltas

    def row(self) -> dict[str, Any]:
        """It as a row of a table: by name, what COLUMNS lists."""
        return {name: getattr(self, name) for name in COLUMNS}

    def replay(self, speed: float | None = 1.0) -> Replay:
        """The run once more as it happened: in its own time, `speed` times as fast, or at once with None.

        Nothing is sent anywhere. A cell that ends with it shows it; it can be read like a Run. Raises UsageError.
        """
        from composemagic.history.replay import Replay

        return Replay(self, speed)

    def __str__(self) -> str:
        return self.text


def without_secrets(run: Run) -> Any:
    """What a run was given; what is called a secret is none of a list's business, and deep inside what looks like one, too."""
    found = run.redact.value(run.input)
    if not isinstance(found, Mapping):
        return _public(found, "")
    return {
        name: SHOWN if value and is_secret(str(name), "") else _public(value, str(name))
        for name, value in found.items()
    }


def _public(value: Any, name: str, depth: int = 0) -> Any:
    match value:
        case Mapping() if depth < _DEEPEST:
            return {key: _public(inner, str(key), depth + 1) for key, inner in value.items()}
        case list() if depth < _DEEPEST:
            return [_public(inner, name, depth + 1) for inner in value]
        case str() if _KEY.fullmatch(value) and is_secret(name, ""):  # {key: "a", value: 1} is no secret
            return SHOWN
    return value


def _size(value: Any, depth: int = 0) -> int:
    match value:
        case str() | bytes():
            return len(value)
        case Mapping() if depth < _DEEPEST:
            return sum(_size(inner, depth + 1) for inner in value.values())
        case list() | tuple() if depth < _DEEPEST:
            return sum(_size(inner, depth + 1) for inner in value)
    return 0
