"""Keys that a workflow needs and nobody has set: asked for below the cell, unseen, kept until the kernel ends."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Any

from composemagic.engine.asking import wanted
from composemagic.language.secret import is_secret
from composemagic.words import say
from composemagic.workflow.environment import typed

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["ask_for_keys"]


def ask_for_keys(workflow: Workflow, shell: Any) -> None:
    """Ask for the secrets that are not set, where somebody can type; who leaves one empty is told by the run."""
    if not _can_type(shell):
        return
    secrets = [name for name in workflow.unset_variables() if is_secret(name, "")]
    if secrets:
        print(f"compose: {wanted(secrets)}", flush=True)
    for name in secrets:
        try:
            # by the module: ipykernel puts its own in while a cell runs
            value = getpass.getpass(say("{name} (not shown; Enter to leave it out): ", name=name))
        except (EOFError, NotImplementedError):  # ipykernel's own error, where the front end takes no input after all
            return
        if value:
            typed(name, value)


def _can_type(shell: Any) -> bool:
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return sys.stdin is not None and sys.stdin.isatty()
    return bool(getattr(kernel, "_allow_stdin", False))
