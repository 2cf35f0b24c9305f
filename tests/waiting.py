"""Waiting for what another thread, process or server makes true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["until"]

_BETWEEN = 0.005  # seconds between two looks


def until(
    condition: Callable[[], Any], seconds: float = 60, told: Callable[[], object] = lambda: "it did not come about"
) -> None:
    """Wait until a condition holds; AssertionError with what `told` gives after `seconds`, which are many: machines are slow."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(_BETWEEN)
