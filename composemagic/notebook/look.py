"""How things look below a cell: the few styles, and text made harmless for HTML."""

from __future__ import annotations

import html

from composemagic.text import plain

__all__ = ["FAINT", "FRAME", "RED", "SMALL", "STYLE", "clipped", "escaped", "folded", "preformatted"]

SMALL = "font-size:90%;color:var(--jp-ui-font-color2,#616161)"
FAINT = "font-size:80%;line-height:1.5;color:var(--jp-ui-font-color2,#616161)"
RED = "color:var(--jp-error-color1,#b00020)"
_ANSWER = ".compose-answer.mathjax_ignore"
STYLE = (
    f"<style>{_ANSWER} pre{{background:var(--jp-cell-editor-background,#f5f5f5);padding:8px 12px;"
    "margin:8px 0 12px;overflow-x:auto;white-space:pre;word-break:normal;border-radius:2px}"
    f"{_ANSWER} pre code{{background:none;padding:0;white-space:inherit}}"
    f"{_ANSWER} pre.compose-words{{background:none;padding:0;margin:2px 0;white-space:pre-wrap}}"
    f".widget-html-content {_ANSWER}{{line-height:1.5;white-space:normal}}{_ANSWER} summary{{cursor:pointer}}{_ANSWER} details>div,{_ANSWER} .compose-under{{margin-left:18px}}"
    f"{_ANSWER} .compose-job{{line-height:1.6}}{_ANSWER} .compose-dim{{color:var(--jp-ui-font-color2,#616161)}}"
    f"{_ANSWER} td,{_ANSWER} th{{text-align:left}}</style>"
)
# titles, notes, keys and errors may hold `$` as well: no TeX outside the answer either
FRAME = '<div class="compose-answer mathjax_ignore tex2jax_ignore">'

_LINE = 90


def escaped(text: object) -> str:
    """A text from outside as HTML that shows it and nothing else."""
    return html.escape(plain(str(text)))


def clipped(text: str, most: int = _LINE) -> str:
    """A text as one line of at most so many characters."""
    line = " ".join(plain(text[: 8 * most]).split())
    return line if len(line) <= most and len(text) <= 8 * most else f"{line[: most - 1]}…"


def preformatted(text: str) -> str:
    """A text as it stands, with its line ends."""
    return f'<pre class="compose-words">{escaped(text)}</pre>' if text else ""


def folded(head: str, body: str, *, is_open: bool = False) -> str:
    """HTML that unfolds below a line of HTML."""
    return f"<details{' open' if is_open else ''}><summary>{head}</summary><div>{body}</div></details>"
