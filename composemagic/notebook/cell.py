"""A `%%compose` cell that has been read: its workflow, the values it gives, and the ways in which it can be shown."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from composemagic.errors import UsageError
from composemagic.text import plain
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.engine.run import Run

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
    from composemagic.workflow.inputs import told  # with all of the language behind it: `%load_ext` must stay light

    workflow = cell.workflow
    lines = [say("no mistakes: {title}", title=workflow.title)]
    lines += [f"  {told(one)}" for one in workflow.inputs]
    lines += [f"  {note}" for note in workflow.notes]
    lines += ["  " + say("not set: ${name}", name=name) for name in workflow.unset_variables()]
    print(plain("\n".join(lines)))


def _diagram(cell: Cell) -> None:
    from IPython.display import display

    display(cell.workflow.diagram())


def _explain(cell: Cell) -> None:
    from IPython.display import display

    from composemagic.explaining import explain

    display(explain(cell.workflow, cell.values))


_TELLS: Mapping[str, Callable[[Cell], None]] = {"check": _check, "diagram": _diagram, "explain": _explain}


# -- instead of a run: what is clicked -----------------------------------------------------------------------------------


def face(cell: Cell, name: str) -> Face:
    """The face of this name, over the cell's workflow."""
    return _FACES[name](cell)


def wanted(options: argparse.Namespace) -> str | None:
    """The face that the options ask for. Raises UsageError for several, and for what only a run can be."""
    names = [name for name in _FACES if getattr(options, name)]
    others = [name for name in _OF_A_RUN if getattr(options, name)] if names else []
    if len(names) + len(others) > 1:
        first, second, *_ = names + others
        raise UsageError(say("`--{first}` and `--{second}` exclude each other", first=first, second=second))
    return names[0] if names else None


def _form(cell: Cell) -> Face:
    from composemagic.notebook.form import Form

    return Form(cell.workflow, cell.values, keep=cell.keep)


def _chat(cell: Cell) -> Face:
    from composemagic.notebook.chat import Chat

    return Chat(cell.workflow, cell.values, keep=cell.keep)


def _sweep(cell: Cell) -> Face:
    from composemagic.notebook.sweep import Sweep
    from composemagic.sweep import parse_axis

    axes: dict[str, list[Any]] = {}
    for text in cell.options.sweep:
        name, values = parse_axis(text, cell.workflow.inputs)
        if name in axes:
            raise UsageError(
                say(
                    "`--sweep {name}=...` stands there twice; its values stand in one: `--sweep {name}=A,B,...`",
                    name=name,
                )
            )
        axes[name] = values
    return Sweep(cell.workflow, axes, cell.values, keep=cell.keep)


def _race(cell: Cell) -> Face:
    from composemagic.notebook.race import race

    return race(cell.workflow, cell.values, cell.keep)


_OF_A_RUN = ("trace", "background", "quiet")
_FACES: Mapping[str, Callable[[Cell], Face]] = {"form": _form, "chat": _chat, "sweep": _sweep, "race": _race}
