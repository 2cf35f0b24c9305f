"""What users read, in their language.

The English sentence stands where it is said, with named places for what changes; it is also the key of its translation. A
language is one file in `composemagic/languages/`, a table from English sentences to its own; what a table lacks is said in
English. (The way of GNU gettext, without its compiled catalogues.)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from string import Formatter

__all__ = ["LANGUAGES", "described", "language", "listing", "say", "speak", "speaking"]

LANGUAGES = ("en", "zh")

_everywhere: str | None = None
_here: ContextVar[str | None] = ContextVar("language", default=None)


def say(sentence: str, /, **places: object) -> str:
    """A sentence in the user's language, with its `{places}` filled.

    A place's value is shown as `str` gives it; a part of a sentence that is made by `say` is in the same language already.
    Braces that are meant as braces are doubled where there are places, as for `str.format`.
    """
    found = _table(language()).get(sentence)
    if found is None:
        return sentence.format_map(places) if places else sentence
    return _spaced(found, places) if places else found


def described(text: str) -> str:
    """The description of a type or a setting, which is English where it is written, in the user's language.

    What a package of somebody else's describes stays as it is.
    """
    return text if language() == "en" else _descriptions(language()).get(text, text)


def listing(names: Iterable[object]) -> str:
    """Names one after the other, with what the user's language has between them."""
    return say(", ").join(map(str, names))


def _spaced(sentence: str, places: Mapping[str, object]) -> str:
    """Fill a translation's places, with a space between a Chinese character and a value that begins or ends in other letters."""
    words = ""
    for literal, place, _, _ in Formatter().parse(sentence):
        words += _beside(words, literal)
        if place is not None:
            words += _beside(words, str(places[place]))
    return words


def _is_quoting(words: str) -> bool:
    """Whether a backtick is open: what stands in a pair of them is shown as it is."""
    return words.count("`") % 2 == 1


def _beside(before: str, after: str) -> str:
    """`after`, with a space before it where one is needed between the two."""
    if _is_quoting(before):
        return after
    last, first = before[-1:], after[:1]
    pair = (_is_chinese(last), _is_chinese(first))
    other = first if pair[0] else last
    return f" {after}" if any(pair) and not all(pair) and (other.isalnum() or other in _LATIN) and other else after


def _is_chinese(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff"


_LATIN = frozenset("`\"'$%&*+-/<=>@()[]{}#.")


def speak(name: str | None) -> None:
    """Choose the language of this process, one of LANGUAGES, or None for the locale's. Raises ValueError."""
    global _everywhere  # noqa: PLW0603 - one user, one language
    _everywhere = _known(name)


def _known(name: str | None) -> str | None:
    if name is not None and name not in LANGUAGES:
        raise ValueError(f"language is one of {', '.join(LANGUAGES)}, not {name!r}")
    return name


@contextmanager
def speaking(name: str | None) -> Iterator[None]:
    """Speak one of LANGUAGES in here and in the tasks that begin in here, such as a run; None changes nothing.

    A server speaks to many people at once. Raises ValueError.
    """
    before = _here.set(_known(name) or _here.get())
    try:
        yield
    finally:
        _here.reset(before)


def language() -> str:
    """The language spoken now: what `speaking` or `speak` chose, else the locale's where it is known, else English."""
    return _here.get() or _everywhere or _of_locale()


def _of_locale() -> str:
    for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(variable):
            first = value.split(":")[0].replace("-", "_").split("_")[0].split(".")[0].lower()
            return first if first in LANGUAGES else "en"
    return "en"


@cache
def _descriptions(name: str) -> Mapping[str, str]:
    found: Mapping[str, str] = import_module(f"composemagic.languages.{name}_settings").DESCRIPTIONS
    return found


@cache
def _table(name: str) -> Mapping[str, str]:
    if name == "en":
        return {}
    sentences: Mapping[str, str] = import_module(f"composemagic.languages.{name}").SENTENCES
    return sentences
