"""Packages that only one component type needs: imported when it runs, and named when they are not installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from composemagic.errors import RunError
from composemagic.words import say

__all__ = ["needed"]


def needed(module: str, *, by: str, package: str, extra: str) -> Any:
    """The module. Raises RunError, of kind `missing`, with the line that installs it.

    `by` is who needs it, as the YAML spells it; `package` is its name on PyPI, `extra` ours that brings it.
    """
    try:
        return import_module(module)
    except ImportError:
        sentence = say(
            '`{by}` needs {package}: pip install "composemagic[{extra}]"', by=by, package=package, extra=extra
        )
        raise RunError("missing", sentence) from None
