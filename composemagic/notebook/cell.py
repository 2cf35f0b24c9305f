"""A `%%compose` cell that has been read: its workflow, the values it gives, and the ways in which it can be shown."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from composemagic.errors import UsageError
from composemagic.text import plain
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.engine.run import Run
    from composemagic.workflow.inputs import Input

__all__ = ["Cell", "Face", "face", "tells"]


class Face(Protocol):
    """What stands below a cell and is clicked. It takes over all of the cell's runs."""

    def show(self) -> None:
        """Display it."""

    def close(self) -> None:
        """Stop what runs and take the widgets away."""


@dataclass(slots=True)
class Cell:
    """`values` are by input name; `keep` is to be called with every Run that is started."""

    workflow: Workflow
    values: dict[str, Any]
    options: argparse.Namespace
    keep: Callable[[Run], None]


# -- instead of a run: what is told --------------------------------------------------------------------------------------


def tells(cell: Cell) -> bool:
    """Tell what the options ask about a cell that is not to run; whether they ask for anything."""
    asked = [tell for name, tell in _TELLS.items() if getattr(cell.options, name)]
    for tell in asked:
        tell(cell)
    return bool(asked)


def _check(cell: Cell) -> None:
    workflow = cell.workflow
    lines = [say("no mistakes: {title}", title=workflow.title)]
    lines += [f"  {_asked(one)}" for one in workflow.inputs]
    lines += [f"  {note}" for note in workflow.notes]
    lines += ["  " + say("not set: ${name}", name=name) for name in workflow.unset_variables()]
    print(plain("\n".join(lines)))


def _asked(one: Input) -> str:
    name = one.name or say("the whole input")
    kind = f"{one.type}[]" if one.is_list else one.type
    if one.required:
        return say("{name}: {type}, required", name=name, type=kind)
    return f"{name}: {kind}" + (f" = {one.default!r}" if one.has_default else "")


def _diagram(cell: Cell) -> None:
    from IPython.display import display

    display(cell.workflow.diagram())


_TELLS: Mapping[str, Callable[[Cell], None]] = {"check": _check, "diagram": _diagram}


# -- instead of a run: what is clicked -----------------------------------------------------------------------------------

# by name: a face is loaded when it is asked for
_FACES = {"form": "composemagic.notebook.form:Form"}


def face(cell: Cell, name: str) -> Face:
    """The face of this name, over the cell's workflow."""
    module, _, attribute = _FACES[name].partition(":")
    made: Face = getattr(import_module(module), attribute)(cell.workflow, cell.values, keep=cell.keep)
    return made


def wanted(options: argparse.Namespace) -> str | None:
    """The face that the options ask for. Raises UsageError for several."""
    names = [name for name in _FACES if getattr(options, name)]
    if len(names) > 1:
        first, second, *_ = names
        raise UsageError(say("`--{first}` and `--{second}` exclude each other", first=first, second=second))
    return names[0] if names else None
