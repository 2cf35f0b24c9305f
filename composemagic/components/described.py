"""The language with every component type there is, as JSON Schema."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from composemagic import components
from composemagic.workflow.json_schema import json_schema

__all__ = ["language"]


def language() -> dict[str, Any]:
    """The JSON Schema (draft-07) of a document; component types: built in, registered, or of a package."""
    installed = (point.name for point in entry_points(group=components.GROUP))
    types = {name: found for name in (*components.known(), *installed) if (found := components.find(name))}
    return json_schema(types)
