"""What literal text in a document looks like and is not: said as remarks, since it is right as it stands.

One thing is a mistake: round brackets that a comma of YAML's own cuts in two, as in a pasted `{'size': (512, 512)}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from composemagic.errors import Mark
from composemagic.language.template import BARE, Flaw
from composemagic.words import say

__all__ = ["cut_brackets", "remarks", "texts", "wide_keys"]

Path = tuple[str | int, ...]

_CURLY_QUOTES = re.compile(r"“[^“”]*”|‘[^‘’]*’")
_WIDE_COMMA = re.compile(r"[!-~]+(?:，[ ]?[!-~]+)+")
_WIDE_COLON = re.compile(r"[A-Za-z_][\w-]*：", re.ASCII)
_OPENED = re.compile(r"\([^()]*")
_SHUT = re.compile(r"[^()]*\)")
_LONGEST_TUPLE = 2_000  # characters


def texts(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    """Every text in a value, and its path."""
    if isinstance(value, str):
        yield value, path
    elif isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts(inner, (*path, step))


def remarks(value: Any, path: Path, sources: tuple[str, ...], is_quoted: Callable[[Path], bool]) -> Iterator[Flaw]:
    """Literal text, and an empty output, that may mean something else than was meant."""
    if path[-1:] == ("output",) and isinstance(value, str | dict | list) and (not value or value == "\n"):
        yield Flaw(say("an `output` is empty, so nothing is given; leave it out to give everything"), path)
    for text, here in texts(value, path):
        if sentence := _bare(text, here, path, sources) or (not is_quoted(here) and _plain(text)):
            yield Flaw(sentence, here)


def _bare(text: str, here: Path, path: Path, sources: tuple[str, ...]) -> str | None:
    """The sentence for a reference that lacks its `${}`."""
    found = BARE.fullmatch(text.strip())
    if found is None or found["source"] not in sources:
        return None
    if not found["path"] and (here != path or path[-1] not in ("input", "output")):
        return None
    written = {"written": found[0], "wanted": found[0]}
    return say("`{written}` is sent as it is written; a value is written `${{{wanted}}}`", **written)


def _plain(text: str) -> str | None:
    """The sentence for a text without quotes that somebody took for another kind of value."""
    if _CURLY_QUOTES.fullmatch(text):
        return say("the quotes of `{text}` are sent as they are written; YAML's quotes are `\"`", text=text[:40])
    if text == "None":
        return say("`None` is text in YAML; for nothing write `null`")
    if text.startswith("(") and _is_tuple(text):
        return say("`{text}` is text in YAML; a list is written `[1, 2]`", text=text[:40])
    if _WIDE_COMMA.fullmatch(text):
        return say("`{text}` is one text: `，` is a full-width comma", text=text[:40])
    if wide := _WIDE_COLON.match(text):
        return say("`{text}` is text: it ends with a full-width colon; a key ends with `:` and a space", text=wide[0])
    return None


def wide_keys(value: Any, path: Path, key_mark: Callable[[Path], Mark]) -> Iterator[Flaw]:
    """The keys without quotes and without a value that are a key, a full-width colon and a value."""
    if not isinstance(value, dict | list):
        return
    for step, one in value.items() if isinstance(value, dict) else enumerate(value):
        here = (*path, step)
        if one is None and isinstance(step, str) and _WIDE_COLON.match(step):
            mark = key_mark(here)
            if not {'"', "'"} & set(mark.source.line(mark.line)[max(0, mark.column - 1) : mark.column + 1]):
                yield Flaw(
                    say("`：` is a full-width colon; in YAML a key ends with `:` and a space"), here, in_key=True
                )
        yield from wide_keys(one, here, key_mark)


def _is_tuple(text: str) -> bool:
    """Whether a text is a tuple of Python's, of literals."""
    from ast import literal_eval  # only for a text in round brackets

    if "\\" in text or len(text) > _LONGEST_TUPLE:  # Python warns of an unknown escape
        return False
    try:
        return isinstance(literal_eval(text), tuple)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def cut_brackets(
    value: Any, path: Path, key_mark: Callable[[Path], Mark], mark: Callable[[Path], Mark]
) -> Iterator[Flaw]:
    """The texts that open a round bracket which another item, or a key without a value, of the same line closes."""
    if not isinstance(value, dict | list):
        return
    place = key_mark if isinstance(value, dict) else mark
    opened: tuple[str, Path] | None = None
    for step, one in value.items() if isinstance(value, dict) else enumerate(value):
        here = (*path, step)
        if isinstance(one, str) and _OPENED.fullmatch(one):
            opened = one, here
        elif opened and _shuts(step, one):
            if place(here).line == mark(opened[1]).line:
                words = say(
                    "a `,` cuts the brackets of `{text}`; a list is written `[1, 2]`, a text in quotes",
                    text=opened[0][:40],
                )
                yield Flaw(words, opened[1])
            opened = None
        else:
            yield from cut_brackets(one, here, key_mark, mark)


def _shuts(step: str | int, value: Any) -> bool:
    last = step if isinstance(step, str) and value is None else value if isinstance(step, int) else None
    return isinstance(last, str) and _SHUT.fullmatch(last) is not None
