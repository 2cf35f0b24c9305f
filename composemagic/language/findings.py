"""What compiling a document finds, what it gives, and how filling it can fail: the words its modules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from composemagic.language.expression import Reference
from composemagic.words import say

__all__ = [
    "Compiler",
    "Findings",
    "Flaw",
    "Hole",
    "MissingVariable",
    "Path",
    "Render",
    "RenderError",
    "Scope",
    "Span",
]

Path = tuple[str | int, ...]
Scope = Mapping[str, Any]
Render = Callable[[Scope], Any]


@dataclass(frozen=True, slots=True)
class Flaw:
    """A mistake (or, among the notes, a remark) and the characters of the scalar at `path` it is about.

    `start` None is the whole value; `in_key` means the mapping key at `path`, not its value.
    """

    sentence: str
    path: Path
    start: int | None = None
    length: int = 1
    in_key: bool = False


@dataclass(slots=True)
class Findings:
    """What compiling a document has found so far; `read_as` are the older spellings of casts."""

    flaws: list[Flaw] = field(default_factory=list)
    notes: list[Flaw] = field(default_factory=list)
    read_as: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hole:
    """A reference and the path of the scalar it stands in; `is_spread`: as `...${x}`, where null adds nothing.

    `bound` are the names that an operator around it gives a value, such as `item`: they can be used there, too.
    """

    reference: Reference
    path: Path
    is_spread: bool = False
    bound: tuple[str, ...] = ()


class Span(NamedTuple):
    """Characters of a scalar; `start` None is the whole of it."""

    start: int | None
    length: int


class RenderError(Exception):
    """A template could not be filled: the sentence, and the characters of the value at `path`.

    `reference` is the reference that failed, or a Span where an operator or a condition did.
    """

    def __init__(self, sentence: str, path: Path, reference: Reference | Span = Span(None, 1)) -> None:  # noqa: B008
        self.sentence = sentence
        self.path = path
        self.reference = reference
        super().__init__(sentence)


class MissingVariable(RenderError):  # noqa: N818 - it names what is missing
    """`${env.NAME}` without a default, and no such variable."""

    def __init__(self, name: str, path: Path, reference: Reference) -> None:
        self.name = name
        super().__init__(say("the environment variable `{name}` is not set", name=name), path, reference)


class Compiler(Protocol):
    """What the parts of the compiler ask of it."""

    def value(self, value: Any, path: Path) -> Render:
        """The function that fills any value of the document."""

    def operand(self, value: Any, path: Path) -> Render:
        """The same for a value to work on, however the result will be written."""

    def flaw(
        self, sentence: str, path: Path, start: int | None = None, length: int = 1, *, in_key: bool = False
    ) -> None:
        """Note a mistake."""

    def note(
        self, sentence: str, path: Path, start: int | None = None, length: int = 1, *, in_key: bool = False
    ) -> None:
        """Note a remark."""
