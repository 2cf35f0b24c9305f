"""What a job gives that chooses which one comes next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """The job that comes next. `output`: what takes the place of a failed one's."""

    to: str
    output: Any = None
