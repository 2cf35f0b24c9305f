"""Two runs side by side, with the differences marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composemagic.notebook.look import FAINT, FRAME, SMALL, STYLE, clipped, escaped, folded
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.comparing import Comparison, Row

__all__ = ["shown"]

_CELL = 400
_HEAD = 160
# colours with enough contrast on white and on dark, and a sign beside for who sees none
_GONE = "background:rgba(229,83,75,.25);text-decoration:line-through"
_CAME = "background:rgba(46,160,67,.25);text-decoration:none"
_GAP = ";margin-left:.3em"  # between what went and what came for it
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.5"


def shown(found: Comparison) -> dict[str, str]:
    """A comparison as `text/html` and `text/plain`."""
    first, second = (escaped(clipped(title, _HEAD)) for title in found.titles)
    rows = [
        *_rows(say("inputs"), found.inputs),
        *_rows(say("request"), found.requests),
        *_rows(say("run"), found.facts),
    ]
    head = f"<thead><tr><th></th><th></th><th>{first}</th><th>{second}</th></tr></thead>"
    table = f'<table style="{SMALL}">{head}<tbody>{"".join(rows)}</tbody></table>' if rows else ""
    same = [row for row in (*found.inputs, *found.requests, *found.facts) if not row.differs]
    more = folded(escaped(say("{count} the same", count=len(same))), _same(same)) if same else ""
    note = (
        "" if found.is_traced else escaped(say("the requests themselves are compared where both were run with `trace`"))
    )
    below = f'<div style="{FAINT}">{more}{note}</div>'
    return {
        "text/html": f"{STYLE}{FRAME}{table}{_text(found)}{below}</div>",
        "text/plain": str(found),
    }


def _rows(kind: str, rows: tuple[Row, ...]) -> list[str]:
    return [
        f"<tr><td>{escaped(kind)}</td><td>{escaped(clipped(row.name, 60))}</td>{_cell(first, _GONE)}{_cell(second, _CAME)}</tr>"
        for row in rows
        if row.differs
        for first, second in [row.shown(_CELL)]
    ]


def _cell(value: str | None, look: str) -> str:
    if value is None:
        return "<td>–</td>"
    return f'<td><span style="{look.replace("line-through", "none")}">{escaped(clipped(value, _CELL))}</span></td>'


def _same(rows: list[Row]) -> str:
    return "".join(f"<div>{escaped(row.name)}: {escaped(clipped(row.first or '', _CELL))}</div>" for row in rows)


def _text(found: Comparison) -> str:
    if found.is_same_text:
        return f'<div style="{SMALL}">{escaped(say("both gave the same text"))}</div>'
    marks = {"first": ("del", f' style="{_GONE}"'), "second": ("ins", f' style="{_CAME}"'), "same": ("span", "")}
    pieces = before = ""
    for kind, text in found.text:
        tag, look = marks[kind]
        if (before, kind) == ("first", "second"):
            look = f' style="{_CAME}{_GAP}"'
        pieces += f"<{tag}{look}>{escaped(text)}</{tag}>"
        before = kind
    return f'<div style="{_TEXT}">{pieces}</div>'
