"""A form in a terminal: the inputs asked for one by one, then the run."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from composemagic.engine.run import Run
from composemagic.errors import UsageError
from composemagic.language.secret import is_secret
from composemagic.notebook.given import nested
from composemagic.notebook.look import clipped
from composemagic.notebook.plain import watch
from composemagic.text import plain
from composemagic.words import say
from composemagic.workflow.inputs import Input, at
from composemagic.workflow.written import scalar

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["fill_in"]


def fill_in(workflow: Workflow, values: Mapping[str, Any], keep: Callable[[Run], None] | None = None) -> Run | None:
    """Ask for each input and run; gives the run, or None where Ctrl-D or Ctrl-C ended the asking. The run's error is told.

    Enter takes what stands in brackets: what `values` have, else the default. `keep` is called with the run.
    """
    _tell(workflow.title, workflow.description, say("Enter takes what stands in brackets; Ctrl-D ends."))
    asked = [one for one in workflow.inputs if one.name or len(workflow.inputs) == 1]
    try:
        found = {one.name: _asked(one, at(values, one.name)) for one in asked}
    except (EOFError, KeyboardInterrupt):
        _tell("", say("nothing was run"))
        return None
    return _run(workflow, {name: value for name, value in found.items() if value is not None}, keep)


def _run(workflow: Workflow, values: dict[str, Any], keep: Callable[[Run], None] | None) -> Run:
    workflow.check(values)
    run = workflow.start(nested(values), consents=True, begins=False)
    for name, value in values.items():
        if isinstance(value, str) and is_secret(name, value):
            run.redact.learn(name, value)
    if keep is not None:
        keep(run)
    run.begin()
    watch(run)
    return run


def _asked(one: Input, preset: Any) -> Any:
    """What is typed for an input; asked again while it does not fit."""
    first = one.default if preset in (None, "") else preset
    while True:
        text = _typed(one, first)
        try:
            value = scalar(one.name, text, [one]) if text else first
        except UsageError as error:
            _tell(str(error))
            continue
        problem = one.problem(value)
        if not problem:
            return value
        _tell(problem)


def _typed(one: Input, first: Any) -> str:
    name = one.name or say("the whole input")
    if is_secret(one.name, ""):
        return getpass.getpass(say("{name} (not shown): ", name=name)).strip()
    if one.description:
        _tell(f"  {one.description}")
    of = " / ".join(map(str, one.options)) if one.options else f"{one.type}{'[]' if one.is_list else ''}"
    shown = (
        ""
        if first is None
        else f" [{clipped(first if isinstance(first, str) else json.dumps(first, ensure_ascii=False, default=str))}]"
    )
    return input(plain(f"{name} ({of}){shown}: ")).strip()


def _tell(*lines: str) -> None:
    print(plain("\n".join(line for line in lines if line)), file=sys.stderr, flush=True)
