"""A conversation in a terminal: a line is a question, its answer streams below."""

from __future__ import annotations

import sys

from composemagic.conversation import Conversation, spoken
from composemagic.errors import ComposeError
from composemagic.notebook.plain import watch
from composemagic.text import plain
from composemagic.words import say

__all__ = ["converse"]


def converse(chat: Conversation) -> None:
    """Ask for questions and answer them until an empty line, Ctrl-D, or Ctrl-C at the prompt. Ctrl-C stops an answer."""
    _head(chat)
    while question := _question():
        try:
            turn = chat.ask(question)
        except ComposeError as error:
            _tell(str(error))
            return
        assert turn.run is not None
        watch(turn.run, last=spoken)


def _head(chat: Conversation) -> None:
    told = str(Conversation.__str__(chat))
    keys = say("Enter sends, an empty line ends, Ctrl-C stops an answer.")
    lines = [chat.workflow.title, keys, chat.note, *(["", told] if told else [])]
    _tell("\n".join(line for line in lines if line or told))


def _question() -> str:
    try:
        return input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return ""


def _tell(text: str) -> None:
    print(plain(text), file=sys.stderr, flush=True)
