"""`schema` rows of the language: what a workflow asks for and what it gives."""

from __future__ import annotations

from composemagic.workflow.inputs import Input
from composemagic.workflow.outputs import Output
from tests.conformance.rows import Row, load_row


def infer(row: Row) -> object:
    """A `schema` row: the inputs and the outputs of each workflow."""
    if not (row.get("expected") or "error" in row):
        load_row(row, None)
        return {}
    names = [name for name in row.get("expected") or {} if name != "__workflow__"] or [None]
    found = {name or "__workflow__": load_row(row, name) for name in names}
    return {
        name: {
            "input": [described(one) for one in workflow.inputs],
            "output": [described(one) for one in workflow.outputs],
        }
        for name, workflow in found.items()
        if workflow
    }


def described(one: Input | Output) -> Row:
    """An input or output as the table writes it: only what it has. (What the table has no words for is left out: `required`,
    labels and descriptions.)"""
    if isinstance(one, Output) and one.repeat_count is not None:
        inner = [described(each) for each in one.variables]
        return {"name": one.name, "variables": inner, "repeat_count": one.repeat_count}
    cast = one.cast
    bounds = dict(zip(("min", "max", "step"), one.bounds, strict=False))
    default = {} if one.default is None else {"default": one.default}
    attrs = {name: value for name, value in cast.attrs if name != "path"} if cast else {}
    texts = {
        "name": one.name,
        "subtype": cast.subtype if cast else None,
        "is_list": one.is_list,
        "attrs": attrs,
        "format": cast.format if cast else None,
        "options": list(one.options),
    }
    return {"type": one.type, **{key: value for key, value in texts.items() if value}, **bounds, **default}
