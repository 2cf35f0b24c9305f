"""How a workflow shows itself as a cell's value: its title, what it asks for, and how it is called."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from composemagic.text import plain
from composemagic.words import say
from composemagic.workflow.inputs import Input

if TYPE_CHECKING:
    from composemagic.api import Workflow

__all__ = ["below", "card", "table"]

_DIM = "color:var(--jp-ui-font-color2,#616161)"


def card(workflow: Workflow) -> dict[str, str]:
    """A workflow as `text/html` and `text/plain`."""
    title, description = _escaped(workflow.title), _escaped(workflow.description)
    head = f"<b>{title}</b>" + (f"<div>{description}</div>" if description else "")
    rows = [_columns(), *map(_row, workflow.inputs)] if workflow.inputs else []
    body = "".join(_html_row(row, "td" if index else "th") for index, row in enumerate(rows))
    call = f'<div style="{_DIM}"><code>{_escaped(_call(workflow))}</code></div>'
    return {
        "text/html": f'<div class="mathjax_ignore tex2jax_ignore">{head}<table>{body}</table>{call}</div>',
        "text/plain": f"{table(workflow)}\n  {plain(_call(workflow))}",
    }


def table(workflow: Workflow) -> str:
    """The title and the inputs as lines of text."""
    lines = [plain(workflow.title)]
    for one in workflow.inputs:
        name, kind, default, description = _row(one)
        lines.append(f"  {name:<20} {kind:<10} {default:<16} {description}".rstrip())
    return "\n".join(lines)


def below(title: str) -> str:
    """What stands in a form's place where there are no widgets."""
    return say("{title}: a form; its inputs and its answer stand below", title=plain(title))


def _row(one: Input) -> tuple[str, str, str, str]:
    default = say("required") if one.required else _short(one.default) if one.has_default else say("optional")
    kind = f"{one.type}[]" if one.is_list else one.type
    return plain(one.name or say("the input")), kind, default, plain(one.description or one.label or "")


def _columns() -> tuple[str, str, str, str]:
    return say("input"), say("type"), say("default"), say("description")


def _short(value: Any) -> str:
    text = plain(repr(value))
    return text if len(text) <= 60 else f"{text[:59]}…"


def _html_row(cells: Sequence[str], tag: str) -> str:
    inner = "".join(f'<{tag} style="text-align:left">{html.escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{inner}</tr>"


def _call(workflow: Workflow) -> str:
    """The call with the inputs it cannot do without."""
    required = ", ".join(f"{one.name}=..." for one in workflow.inputs if one.required and one.name.isidentifier())
    name = workflow.name or "workflow"
    return f"{name}({required})   {name}.form()"


def _escaped(text: str) -> str:
    return html.escape(plain(text))
