"""Why a text is no JSON, in the user's language: the few sentences that the standard library has for it."""

from __future__ import annotations

from collections.abc import Callable
from json import JSONDecodeError

from composemagic.words import say

__all__ = ["json_problem", "why_no_json"]


def why_no_json(error: Exception) -> str:
    """What reading JSON raised, in words: with its place where it has one, else the kind of error."""
    if not isinstance(error, JSONDecodeError):
        return type(error).__name__
    return say(
        "{problem}: line {line} column {column} (char {position})",
        problem=json_problem(error),
        line=error.lineno,
        column=error.colno,
        position=error.pos,
    )


def json_problem(error: JSONDecodeError) -> str:
    """What is wrong, without its place."""
    return next((words() for start, words in _SENTENCES if error.msg.startswith(start)), error.msg)


# how the sentences of `json.decoder` and its C twin begin (CPython 3.11 to 3.14), and ours
_SENTENCES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("Expecting value", lambda: say("Expecting value")),
    ("Expecting property name", lambda: say("Expecting property name enclosed in double quotes")),
    ("Expecting ':'", lambda: say("Expecting ':' delimiter")),
    ("Expecting ','", lambda: say("Expecting ',' delimiter")),
    ("Extra data", lambda: say("Extra data")),
    ("Unterminated string", lambda: say("Unterminated string starting at")),
    ("Invalid control character", lambda: say("Invalid control character at")),
    ("Invalid \\escape", lambda: say("Invalid \\escape")),
    ("Invalid \\uXXXX", lambda: say("Invalid \\uXXXX escape")),
    ("Illegal trailing comma", lambda: say("Illegal trailing comma before the end")),
)
