"""`schema` rows of the language: what a workflow asks for and what it gives."""

from __future__ import annotations

from composemagic.workflow.inputs import Input
from tests.conformance.rows import Row, load_row


def infer(row: Row) -> object:
    """A `schema` row: the inputs of each workflow, and of them what the table knows. Outputs come with a later issue."""
    if not (row.get("expected") or "error" in row):
        load_row(row, None)
        return {}
    names = [name for name in row.get("expected") or {} if name != "__workflow__"] or [None]
    found = {name or "__workflow__": load_row(row, name) for name in names}
    return {
        name: {"input": [described(one) for one in workflow.inputs]} for name, workflow in found.items() if workflow
    }


def described(one: Input) -> Row:
    """An input as the table writes it: only what it has."""
    bounds = dict(zip(("min", "max", "step"), one.bounds, strict=False))
    subtype = one.cast.subtype if one.cast else None
    default = {} if one.default is None else {"default": one.default}
    texts = {"name": one.name, "subtype": subtype, "is_list": one.is_list, "options": list(one.options)}
    return {"type": one.type, **{key: value for key, value in texts.items() if value}, **bounds, **default}
