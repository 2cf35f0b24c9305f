"""How a chat's widgets look, and what it gives to be copied."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from composemagic.conversation import Conversation
from composemagic.notebook.look import FAINT, SMALL, STYLE, clipped, escaped
from composemagic.words import say

__all__ = ["HIDE", "LOOK", "exports", "told"]

HIDE = (
    "<style>.jp-OutputArea:has(.{live}) .jp-OutputArea-child:has(.{still}){{display:none}}"
    ":root:has(.{live}) .{still}{{display:none}}"
    # where the widget is gone, Jupyter says that it cannot be found: the copy stands there instead
    ".jp-OutputArea-child:has(+ .jp-OutputArea-child .{still}):not(:has(.{live})){{display:none}}</style>"
)
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
    """The conversation as text, to be copied: as cells, and as JSON."""
    layout = {"width": "auto", "height": "180px"}
    label = f'<div style="{FAINT}">{escaped(say("Two notebook cells that go on from here, and the same as JSON, to be copied:"))}</div>'
    cells = widgets.Textarea("\n\n".join(chat.to_cells()), layout=layout)
    return [widgets.HTML(label), cells, widgets.Textarea(chat.to_json(), layout=layout)]
