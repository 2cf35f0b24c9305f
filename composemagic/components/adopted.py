"""How a user's functions are called in this process. Light to import: a notebook says so when its extension is loaded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Protocol

from composemagic.components.tool import Tool

__all__ = ["Called", "Way", "adopt", "way"]


class Called(Protocol):
    """A user's function, in the hands of who calls it."""

    def answers(self, given: Any) -> AsyncGenerator[Any, None]:
        """Call it with a mapping of arguments (or its first one) and yield chunks, or one Value. Raises RunError."""

    async def call(self, given: Mapping[str, Any]) -> Any:
        """Call it and give its value, a stream as the list of its chunks (as text where all are). Raises RunError."""

    def tool(self) -> Tool:
        """The function as a tool of an agent."""


Way = Callable[[Callable[..., Any], str], Called]

_way: Way | None = None


def adopt(found: Way | None) -> None:
    """Choose it from now on: what makes something to call of a function and its name. None is the plain way."""
    global _way  # noqa: PLW0603 - a process has one kernel
    _way = found


def way() -> Way | None:
    """What was chosen."""
    return _way
