"""What an agent can be given as a tool, whatever stands behind it: a workflow, a Python function, a tool of an MCP server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Tool"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A name, what it is for, the JSON Schema of an object of its arguments, and the call.

    `call` takes the arguments by name and gives a value; it raises RunError.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[Mapping[str, Any]], Awaitable[Any]] = field(repr=False)
