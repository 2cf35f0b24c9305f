"""How a chat's widgets look, and what it gives to be copied."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from composemagic.conversation import Conversation
from composemagic.notebook.look import FAINT, SMALL, STYLE, clipped, escaped
from composemagic.words import say

__all__ = ["LOOK", "exports", "instead", "told"]

LOOK = (
    f"{STYLE}<style>.compose-chat{{max-width:820px;padding:2px 4px}}"
    ".compose-chat .widget-html{height:auto;margin:0}.compose-chat .widget-html-content{line-height:1.5;height:auto}"
    ".compose-chat .mathjax_ignore>p:first-child{margin-top:2px}"
    ".compose-chat .compose-asked{justify-content:flex-end;align-items:center}"
    ".compose-chat .compose-asked>.widget-html{flex:0 1 auto;min-width:0;max-width:85%}"
    ".compose-chat .compose-asked button{opacity:.35;background:none;padding:0;width:26px;min-width:26px;flex:none;color:inherit}"
    ".compose-chat .compose-asked:hover button,.compose-chat .compose-asked button:focus{opacity:1}"
    ".compose-chat .compose-entry{align-items:flex-end;flex-wrap:wrap}"
    ".compose-chat .compose-entry .widget-text,.compose-chat .compose-entry .widget-textarea{flex:1 1 260px;min-width:0;width:auto;margin:2px}"
    ".compose-chat .compose-acts{flex-wrap:wrap;align-items:center}</style>"
)


def told(text: str) -> str:
    return f'<span style="{SMALL};margin-left:6px">{escaped(clipped(text, 200))}</span>'


def exports(chat: Conversation) -> list[Any]:
    """The conversation as texts to be copied, each below what it is: two cells, and JSON."""
    load, go_on = chat.to_cells()
    texts = (
        (say("Two notebook cells go on from here, to be copied one by one. The first cell, the workflow:"), load),
        (say("The second cell, in Python, what was said:"), go_on),
        (say("The same as JSON:"), chat.to_json()),
    )
    return [part for label, text in texts for part in _to_copy(label, text)]


def _to_copy(label: str, text: str) -> tuple[Any, Any]:
    head = widgets.HTML(f'<div style="{FAINT}">{escaped(label)}</div>')
    return head, widgets.Textarea(text, layout={"width": "auto", "height": "180px"})


def instead(count: int) -> str:
    """What an edited question does to the one that was there, and to so many after it."""
    if not count:
        return say("What you send takes the place of this question.")
    if count == 1:
        return say("What you send takes the place of this question; the one after it is cut off.")
    return say("What you send takes the place of this question; the {count} after it are cut off.", count=count)
