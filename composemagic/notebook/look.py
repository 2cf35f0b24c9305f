"""How things look below a cell: the few styles, and text made harmless for HTML.

No copy button stands beside a text: only a script could fill the clipboard, and no output of ours has one; front ends copy a
cell's output by their own menus (JupyterLab: "Copy Output to Clipboard"), and `answer.text` is the text in Python.
"""

from __future__ import annotations

import html
import re

from composemagic.text import plain
from composemagic.words import say

__all__ = [
    "FAINT",
    "FRAME",
    "RED",
    "SMALL",
    "STYLE",
    "clipped",
    "escaped",
    "folded",
    "line",
    "preformatted",
    "shortened",
]

SMALL = "font-size:90%;color:var(--jp-ui-font-color2,#616161)"
FAINT = "font-size:80%;line-height:1.5;color:var(--jp-ui-font-color2,#616161)"
RED = "color:var(--jp-error-color1,#b00020)"
_ANSWER = ".compose-answer.mathjax_ignore"
_FADE = "#000 calc(100% - 4em),transparent"
STYLE = (
    f"<style>{_ANSWER} pre{{font-family:var(--jp-code-font-family,monospace);"
    "background:var(--jp-cell-editor-background,#f5f5f5);padding:8px 12px;"
    "margin:8px 0 12px;overflow-x:auto;white-space:pre;word-break:normal;border-radius:2px}"
    f"{_ANSWER} pre code{{background:none;padding:0;white-space:inherit}}"
    f"{_ANSWER} pre.compose-words{{background:none;padding:0;margin:2px 0;white-space:pre-wrap}}"
    f".widget-html-content {_ANSWER}{{line-height:1.5;white-space:normal}}{_ANSWER} summary{{cursor:pointer}}{_ANSWER} details>div,{_ANSWER} .compose-under{{margin-left:18px}}"
    f"{_ANSWER} .compose-job{{line-height:1.6}}{_ANSWER} .compose-dim{{color:var(--jp-ui-font-color2,#616161)}}"
    f"{_ANSWER} .compose-long{{display:flex;flex-direction:column}}{_ANSWER} .compose-long>details{{order:2}}"
    f"{_ANSWER} .compose-long>details:not([open])+div{{max-height:30em;overflow:hidden;"
    f"-webkit-mask-image:linear-gradient({_FADE});mask-image:linear-gradient({_FADE})}}"
    f"{_ANSWER} .compose-graph{{display:flex;flex-wrap:wrap;gap:4px 24px;align-items:flex-start;margin:4px 0}}"
    f"{_ANSWER} td,{_ANSWER} th{{text-align:left}}</style>"
)
# titles, notes, keys and errors may hold `$` as well: no TeX outside the answer either
FRAME = '<div class="compose-answer mathjax_ignore tex2jax_ignore">'

_LINE = 90
_LONG, _HIGH = 4_000, 60  # characters, and lines, of a text that is not folded
_CODE = re.compile(r"<pre>.*?</pre>", re.DOTALL)
_ENDS = re.compile(r"</(?:p|li|tr|h[1-6])>|<br")


def escaped(text: object) -> str:
    """A text from outside as HTML that shows it and nothing else."""
    return html.escape(plain(str(text)))


def clipped(text: str, most: int = _LINE) -> str:
    """A text as one line of at most so many characters."""
    words = " ".join(plain(text[: 8 * most]).split())
    return words if len(words) <= most and len(text) <= 8 * most else f"{words[: most - 1]}…"


def line(text: str, most: int = _LINE) -> str:
    """A text from outside as one line of HTML, of at most so many characters."""
    return html.escape(clipped(text, most))


def preformatted(text: str) -> str:
    """A text as it stands, with its line ends."""
    return f'<pre class="compose-words">{escaped(text)}</pre>' if text else ""


def folded(head: str, body: str, *, is_open: bool = False) -> str:
    """HTML that unfolds below a line of HTML."""
    return f"<details{' open' if is_open else ''}><summary>{head}</summary><div>{body}</div></details>"


def shortened(page: str, text: str) -> str:
    """A text's HTML, folded to its beginning where it is long, over 4,000 characters or about 60 lines.

    All of it is in the page once, for who searches it, and stands unfolded where styles are taken away.
    """
    if len(text) <= _LONG and len(_ENDS.findall(page)) + sum(code.count("\n") for code in _CODE.findall(page)) <= _HIGH:
        return page
    words = escaped(say("show all {count} characters", count=f"{len(text):,}"))
    fold = f'<details><summary class="compose-dim">{words}</summary></details>'
    return f'<div class="compose-long">{fold}<div>{page}</div></div>'
