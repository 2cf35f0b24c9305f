"""Who sits in front of the kernel: whether widgets can be clicked there, and whether a display can be replaced later."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["can_click", "in_voila"]


def in_voila() -> bool:
    """Whether Voilà shows this kernel's notebook: it shows what cells display once, and afterwards hears widgets only."""
    return "VOILA_BASE_URL" in os.environ  # in the environment of its kernels


def can_click(shell: Any) -> bool:
    """Whether widgets that `shell` shows can be clicked.

    nbconvert, papermill and nbclient say that they take no input; so does Voilà, and there people click.
    """
    kernel = getattr(shell, "kernel", None)
    return kernel is not None and (bool(getattr(kernel, "_allow_stdin", True)) or in_voila())
