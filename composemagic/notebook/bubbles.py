"""A conversation as HTML and as text: what is asked on the right, what is answered on the left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from composemagic.conversation import Conversation, Turn
from composemagic.notebook.look import FAINT, FRAME, SMALL, STYLE, clipped, escaped
from composemagic.notebook.markdown import render
from composemagic.notebook.still import bundle
from composemagic.text import plain
from composemagic.words import say

__all__ = ["answer", "head", "question", "transcript", "turn_still", "with_mark"]

Still = Mapping[str, str]

# inline: the styles that matter must be there where a page takes `<style>` away
_ASKED = (
    "display:inline-block;max-width:{width};max-height:320px;overflow:auto;box-sizing:border-box;padding:6px 12px;"
    "border-radius:14px 14px 3px 14px;text-align:left;line-height:1.45;white-space:pre-wrap;overflow-wrap:anywhere;"
    "background:var(--jp-layout-color2,rgba(128,128,128,.18));color:var(--jp-ui-font-color1,inherit)"
)
_ANSWERED = (
    "margin:4px 0 12px;padding:2px 0 2px 12px;border-left:3px solid {color};max-width:96%;"
    "overflow-wrap:anywhere;line-height:1.5"
)
_WELL, _BROKEN = "var(--jp-brand-color2,#64b5f6)", "var(--jp-warn-color1,#f57c00)"


def question(turn: Turn, width: str = "85%") -> str:
    """A turn's question: text, as it was typed, on the right of what it stands in."""
    label = escaped(say("You"))
    style = _ASKED.format(width=width)
    return f'<div style="text-align:right"><div style="{style}" role="group" aria-label="{label}">{escaped(turn.question)}</div></div>'


def answer(body: str, *, is_well: bool = True) -> str:
    """An answer's bubble around HTML."""
    style = _ANSWERED.format(color=_WELL if is_well else _BROKEN)
    return f'<div style="{style}" role="group" aria-label="{escaped(say("Answer"))}">{body}</div>'


def head(chat: Conversation) -> str:
    """What stands above a conversation: title, description, and what should be known of it."""
    title = f'<b style="font-size:110%">{escaped(clipped(chat.workflow.title))}</b>'
    description = escaped(clipped(chat.workflow.description, 300))
    before = "".join(
        f"<div>{escaped(one.get('role', ''))}: {escaped(clipped(str(one.get('content', '')), 300))}</div>"
        for one in chat.before
    )
    note = f"<div>{escaped(chat.note)}</div>" if chat.note and len(chat.turns) > 1 else ""
    below = f'<div style="{SMALL}">{description}</div><div style="{FAINT}">{before}{note}</div>'
    return f"{FRAME}{title}{below}</div>"


def turn_still(turn: Turn) -> Still:
    """A finished turn's answer as `text/html` and `text/plain`."""
    if turn.run is not None:
        data = bundle(turn.run)
        return {**data, "text/html": data["text/html"].removeprefix(STYLE)}
    html = f"{FRAME}{render(turn.answer)}<div style='{SMALL}'>{escaped(say('restored'))}</div></div>"
    return {"text/html": html, "text/plain": plain(turn.answer)}


def with_mark(turn: Turn, still: Still) -> Still:
    """The same, with the sentence on an answer that nobody is told of."""
    if turn.answer or not turn.is_over:
        return still
    words = say("There is no answer, so the next question goes without this turn.")
    html = f'{still["text/html"]}<div style="{FAINT}">{escaped(words)}</div>'
    return {"text/html": html, "text/plain": f"{still['text/plain']}\n{words}"}


def transcript(chat: Conversation, stills: Iterable[tuple[Turn, Still]], *, style: str = "", name: str = "") -> Still:
    """A whole conversation, as it stands in a saved notebook. `name` is a class for it."""
    turns = list(stills)
    html = "".join(question(turn) + answer(still["text/html"], is_well=turn.status == "done") for turn, still in turns)
    lines = [plain(chat.workflow.title)]
    for turn, still in turns:
        lines += [f"{say('You')}: {plain(turn.question)}", plain(still["text/plain"]), ""]
    if not turns:
        lines += [say("Nothing has been said yet."), say("Say something with `.say(...)`.")]
        html = f'<div style="{SMALL}">{"<br>".join(map(escaped, lines[1:]))}</div>'
    return {
        "text/html": f'{STYLE}{style}<div class="{name}">{head(chat)}{html}</div>',
        "text/plain": "\n".join(lines).rstrip(),
    }
