"""How a user's functions are called in this process. Light to import: a notebook says so when its extension is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composemagic.components.calling import Function

__all__ = ["Way", "adopt", "way"]

Way = Callable[[Callable[..., Any], str], "Function"]

_way: Way | None = None


def adopt(found: Way | None) -> None:
    """Choose it from now on: what makes a Function of a function and its name. None is the plain way."""
    global _way  # noqa: PLW0603 - a process has one kernel
    _way = found


def way() -> Way | None:
    """What was chosen."""
    return _way
