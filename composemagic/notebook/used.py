"""The values that a form's run was given, as a small table that stays in the saved notebook: the form itself does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from composemagic.language.secret import SHOWN, is_secret
from composemagic.notebook.fields import Field
from composemagic.notebook.look import FAINT, FRAME, STYLE, clipped, escaped, folded, preformatted
from composemagic.notebook.tree import value_text
from composemagic.notebook.uploads import Upload
from composemagic.text import plain
from composemagic.words import say

__all__ = ["used"]

_MOST = 2_000  # characters of a value
_FEW = 30
_LINE = 100

Row = tuple[str, str]


def used(title: str, fields: Iterable[Field], values: Mapping[str, Any]) -> dict[str, str]:
    """The values by input name as `text/html` and `text/plain`: one line that unfolds where they need more."""
    rows = [(_name(field), _shown(field, values[field.input.name])) for field in fields if field.input.name in values]
    head = ", ".join(f"{name} = {clipped(text, _FEW)}" for name, text in rows)
    line = clipped(say("{title} with {values}", title=title, values=head) if head else title, _LINE)
    lines = [plain(title), *(f"  {name} = {_indented(text)}" for name, text in rows)]
    return {
        "text/html": f'{STYLE}{FRAME}<div style="{FAINT}">{_html(line, rows)}</div></div>',
        "text/plain": "\n".join(lines),
    }


def _html(line: str, rows: list[Row]) -> str:
    if not line.endswith("…") and all(len(text) <= _FEW and "\n" not in text for _, text in rows):
        return escaped(line)
    body = "".join(f"<tr><th>{escaped(name)}</th><td>{preformatted(text)}</td></tr>" for name, text in rows)
    return folded(escaped(line), f"<table>{body}</table>")


def _name(field: Field) -> str:
    return plain(field.input.label or field.input.name or say("the input"))


def _shown(field: Field, value: Any) -> str:
    """A value as text; a secret is not shown, and of a file only what it is called and how large it is."""
    if isinstance(field, Upload):
        return field.names() or value_text(value, _MOST, indent=None)
    text = value_text(value, _MOST, indent=None)
    return SHOWN if field.is_secret or is_secret(field.input.name, text) else text


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
