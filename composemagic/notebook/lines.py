"""`%compose WORD ...`: what the line magic does beside running files, one table."""

from __future__ import annotations

import shlex
from importlib import import_module
from typing import Any

from composemagic.errors import UsageError, suggest
from composemagic.words import say

__all__ = ["LINES", "follow", "unknown"]

# word -> what takes the words after it and the shell; by name, so that each is loaded when it is said
LINES = {
    "help": "composemagic.notebook.lines:explained",
    "runs": "composemagic.notebook.runs:told",
    "secrets": "composemagic.notebook.lines:secrets",
    "serve": "composemagic.notebook.serving:serve",
}


def follow(line: str, shell: Any) -> bool:
    """Do what a line says; whether it begins with a word that is known here. Raises UsageError."""
    try:
        word, *words = shlex.split(line) or [""]
    except ValueError as error:
        raise UsageError(say("%compose {line}: {why}", line=line.strip(), why=str(error))) from None
    if word not in LINES:
        return False
    module, _, attribute = LINES[word].partition(":")
    getattr(import_module(module), attribute)(words, shell)
    return True


def unknown(line: str) -> UsageError:
    """What is wrong with a line that neither begins with a known word nor names a file."""
    word = line.split(maxsplit=1)[0] if line.split() else ""
    known = ", ".join(f"`{name}`" for name in LINES)
    near = suggest(word, LINES) if word else ""
    if near:
        return UsageError(say("`%compose` does not know `{word}`{near}", word=word, near=near))
    return UsageError(say("`%compose` knows {known} and `-f FILE`; a workflow stands below `%%compose`", known=known))


def secrets(words: list[str], shell: Any) -> None:
    """Tell what is known of the secrets, or forget one."""
    from composemagic.transport.known import told
    from composemagic.workflow.environment import Environment

    print(told(words, Environment()))


def explained(words: list[str], shell: Any) -> None:
    """Tell what there is to know of a topic."""
    from composemagic.help import told

    print(told(" ".join(words), in_notebook=True))
