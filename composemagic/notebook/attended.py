"""Who sits in front of the kernel: whether widgets can be clicked there, and whether a display can be replaced later."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["can_click", "can_fill_in", "can_type", "in_terminal", "in_voila", "lets_go_on"]


def in_voila() -> bool:
    """Whether Voilà shows this kernel's notebook: it shows what cells display once, and afterwards hears widgets only."""
    return "VOILA_BASE_URL" in os.environ  # in the environment of its kernels


def can_click(shell: Any) -> bool:
    """Whether widgets that `shell` shows can be clicked.

    nbconvert, papermill and nbclient say that they take no input; so does Voilà, and there people click.
    """
    kernel = getattr(shell, "kernel", None)
    return kernel is not None and (bool(getattr(kernel, "_allow_stdin", True)) or in_voila())


def can_fill_in(shell: Any) -> bool:
    """Whether a form can be filled in: by clicks, or line by line."""
    return can_click(shell) or in_terminal(shell)


def lets_go_on(shell: Any) -> bool:
    """Whether a run can go on in the background of later cells; IPython that runs a script ends with it, and takes it along."""
    return can_click(shell) or (in_terminal(shell) and bool(getattr(getattr(shell, "parent", None), "interact", True)))


def can_type(shell: Any) -> bool:
    """Whether somebody can type an answer: in a terminal, or into a front end that says it takes input."""
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        return bool(getattr(kernel, "_allow_stdin", True))
    return sys.stdin is not None and sys.stdin.isatty()


def in_terminal(shell: Any) -> bool:
    """Whether a person sits at a terminal, to be asked line by line; `shell` is None outside of IPython."""
    return getattr(shell, "kernel", None) is None and can_type(shell) and sys.stdout.isatty()
