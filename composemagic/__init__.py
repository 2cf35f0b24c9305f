"""Run AI workflows written in YAML: in a notebook cell, from Python, in a terminal.

    %load_ext composemagic          registers the %%compose cell magic
    composemagic.load(text_or_path) gives the same workflow to Python

Importing this package loads neither httpx, yaml, IPython nor ipywidgets: each comes when it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from composemagic.allowance import allow
    from composemagic.api import Workflow, load
    from composemagic.comparing import compare
    from composemagic.components import register as register_component
    from composemagic.components.decorator import component
    from composemagic.engine.events import (
        Answered,
        Delta,
        Interrupted,
        JobFailed,
        JobFinished,
        JobRouted,
        JobSkipped,
        JobStarted,
        JobStopped,
        Notice,
        Point,
        Resumed,
        RunFailed,
        RunFinished,
        RunStarted,
        RunStopped,
        Waiting,
    )
    from composemagic.engine.run import Run
    from composemagic.errors import ComposeError, DocumentError, InputError, ModelError, RunError, UsageError
    from composemagic.history import runs
    from composemagic.language.casts import register_cast
    from composemagic.workflow.inputs import Input

__all__ = [
    "Answered",
    "ComposeError",
    "Delta",
    "DocumentError",
    "Input",
    "InputError",
    "Interrupted",
    "JobFailed",
    "JobFinished",
    "JobRouted",
    "JobSkipped",
    "JobStarted",
    "JobStopped",
    "ModelError",
    "Notice",
    "Point",
    "Resumed",
    "Run",
    "RunError",
    "RunFailed",
    "RunFinished",
    "RunStarted",
    "RunStopped",
    "UsageError",
    "Waiting",
    "Workflow",
    "__version__",
    "allow",
    "compare",
    "component",
    "load",
    "load_ipython_extension",
    "register_cast",
    "register_component",
    "runs",
    "unload_ipython_extension",
]
__version__ = "0.1.0"

_HOMES = {
    "Answered": "composemagic.engine.events",
    "Waiting": "composemagic.engine.events",
    "Resumed": "composemagic.engine.events",
    "Point": "composemagic.engine.events",
    "JobStopped": "composemagic.engine.events",
    "JobSkipped": "composemagic.engine.events",
    "JobRouted": "composemagic.engine.events",
    "JobFailed": "composemagic.engine.events",
    "Interrupted": "composemagic.engine.events",
    "Delta": "composemagic.engine.events",
    "JobFinished": "composemagic.engine.events",
    "JobStarted": "composemagic.engine.events",
    "Notice": "composemagic.engine.events",
    "RunFailed": "composemagic.engine.events",
    "RunFinished": "composemagic.engine.events",
    "RunStarted": "composemagic.engine.events",
    "RunStopped": "composemagic.engine.events",
    "ComposeError": "composemagic.errors",
    "DocumentError": "composemagic.errors",
    "Input": "composemagic.workflow.inputs",
    "InputError": "composemagic.errors",
    "ModelError": "composemagic.errors",
    "Run": "composemagic.engine.run",
    "RunError": "composemagic.errors",
    "UsageError": "composemagic.errors",
    "Workflow": "composemagic.api",
    "allow": "composemagic.allowance",
    "compare": "composemagic.comparing",
    "component": "composemagic.components.decorator",
    "load": "composemagic.api",
    "register_cast": "composemagic.language.casts",
    "register_component": "composemagic.components:register",
    "runs": "composemagic.history",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = getattr(import_module(module), attribute or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext composemagic`: register the magics."""
    from composemagic.notebook.registration import register

    register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext composemagic`: undo all that loading did."""
    from composemagic.notebook.registration import unregister

    unregister(shell)
