"""The last values of this kernel: what was typed into a workflow's form stands in its next one. Neither secrets nor files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from composemagic.workflow.inputs import Input

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["forget", "remember", "remembered"]

_MOST = 100  # workflows
_LONGEST = 100_000  # characters: what is longer was pasted, and is somewhere else as well

_last: OrderedDict[tuple[str, ...], dict[str, tuple[Input, Any]]] = OrderedDict()


def remember(workflow: Workflow, values: Mapping[str, Any]) -> None:
    """Keep the values of a workflow's inputs, by their names, in the place of all that were kept of it."""
    inputs = {one.name: one for one in workflow.inputs}
    _last[_key(workflow)] = {
        name: (inputs[name], value) for name, value in values.items() if len(str(value)) <= _LONGEST
    }
    _last.move_to_end(_key(workflow))
    while len(_last) > _MOST:
        _last.popitem(last=False)


def remembered(workflow: Workflow) -> dict[str, Any]:
    """The last values by input name. An input that the YAML has changed since, be it in its default, has none."""
    known = _last.get(_key(workflow), {})
    return {one.name: known[one.name][1] for one in workflow.inputs if one.name in known and known[one.name][0] == one}


def forget() -> None:
    """Forget all values."""
    _last.clear()


def _key(workflow: Workflow) -> tuple[str, ...]:
    return (workflow.title, *(one.name for one in workflow.inputs))
