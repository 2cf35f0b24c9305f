"""What may stand before the cursor: keys and values by the JSON Schema of the language, and what stands in `${...}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from composemagic.completion.outline import Entry, Place, entries, place
from composemagic.completion.shape import keys, values
from composemagic.language.casts import CASTS
from composemagic.language.sources import SOURCES

__all__ = ["Suggestion", "Suggestions", "ids", "input_names", "suggestions"]


class Suggestion(NamedTuple):
    """A word that fits; `kind` is "key", "value", "cast", "source", "input", "job" or "variable"."""

    text: str
    kind: str
    about: str = ""


class Suggestions(NamedTuple):
    """Words for the `typed` characters before the cursor."""

    typed: str
    words: tuple[Suggestion, ...]


_INPUT = re.compile(r"\$\{\s*input\.([A-Za-z_][\w-]*)")
_OPEN = re.compile(r"\$\{(?P<inside>[^{}]*)$")
_CAST = re.compile(r"\sas\s+(?P<typed>[\w-]*)$")
_BEHIND = re.compile(r"(?:^|[\s|])(?P<typed>[\w.-]*)$")
# keys whose value is the id of a job, wherever they stand
_JOB_KEYS = frozenset(("to", "target", "then", "otherwise", "if_true", "if_false", "depends_on"))
_CONTEXT = ("run_id", "task_id", "session_id", "metadata")
_USUAL = ("input", "env", "jobs", "output", "response", "response[]", "result", "context")


def suggestions(
    text: str, line: int, column: int, language: Callable[[], Mapping[str, Any]], variables: Iterable[str] = ()
) -> Suggestions:
    """What fits before a `column` of a `line` of a text, both counted from 0.

    `language` gives the JSON Schema of documents, and is only called where it is needed; `variables` are the names of the
    environment's.
    """
    lines = text.split("\n")
    before = lines[line][:column]
    if found := _OPEN.search(before):
        return _in_expression(found["inside"], text, lines, variables)
    here = place(lines, line, column)
    word = _last_word(here.typed)
    if here.key is None and here.path[-1:] == [None] and here.path[-2:-1] == ["depends_on"]:
        return _fitting(word, (Suggestion(name, "job") for name in _ids(lines, "job")))
    if here.key is None:
        known = keys(language(), here.path, here.beside)
        return _fitting(
            word, (Suggestion(f"{name}: ", "key", about) for name, about in known.items() if not _is_old(about))
        )
    return _fitting(word, _of_key(here, lines, language))


def _last_word(text: str) -> str:
    at = len(text)
    while at and (text[at - 1].isalnum() or text[at - 1] in "_.-"):
        at -= 1
    return text[at:]


def _is_old(about: str) -> bool:
    """Whether a key is of an older spelling, which is read and need not be taught."""
    return about.startswith(("Older;", "Read, and not used"))


def _of_key(here: Place, lines: Sequence[str], language: Callable[[], Mapping[str, Any]]) -> list[Suggestion]:
    assert here.key is not None
    if here.key == "component":
        return [Suggestion(name, "value") for name in _ids(lines, "component")]
    if here.key in _JOB_KEYS:
        return [Suggestion(name, "job") for name in _ids(lines, "job") if name != here.beside[-1].get("id")]
    if here.key == "action" and "component" in here.beside[-1]:
        return [Suggestion(name, "value") for name in _ids(lines, "action")]
    known = values(language(), here.path, here.beside, here.key)
    # types that are known by name only are read, not run: no one wants to be led there
    return [Suggestion(name, "value", about) for name, about in known.items() if about or here.key != "type"]


# -- inside `${` ---------------------------------------------------------------------------------------------------------


def _in_expression(inside: str, text: str, lines: Sequence[str], variables: Iterable[str]) -> Suggestions:
    if found := _CAST.search(inside):
        return _fitting(found["typed"], (Suggestion(name, "cast") for name in CASTS))
    found = _BEHIND.search(inside)
    typed = found["typed"] if found else ""
    source, dot, name = typed.rpartition(".")
    if not dot:
        rest = sorted(SOURCES.difference(_USUAL))
        return _fitting(typed, (Suggestion(one, "source") for one in (*_USUAL, *rest)))
    if source == "env":
        return _fitting(name, (Suggestion(one, "variable") for one in sorted(variables)))
    if source == "input":
        names = [one for one in input_names(text) if one != name or text.count(f"input.{name}") > 1]
        return _fitting(name, (Suggestion(one, "input") for one in names))
    if source == "jobs":
        return _fitting(name, (Suggestion(one, "job") for one in _ids(lines, "job")))
    if source.startswith("jobs."):
        return _fitting(name, [Suggestion("output", "source")])
    if source == "context":
        return _fitting(name, (Suggestion(one, "source") for one in _CONTEXT))
    return Suggestions(name, ())


def input_names(text: str) -> list[str]:
    """The inputs that a text reads, in the order written."""
    return list(dict.fromkeys(_INPUT.findall(text)))


# -- ids -----------------------------------------------------------------------------------------------------------------


def ids(text: str, kind: str) -> list[str]:
    """The ids of the jobs, components, actions or workflows that a text has, in the order written."""
    return _ids(text.split("\n"), kind)


def _ids(lines: Sequence[str], kind: str) -> list[str]:
    known = entries(lines)
    named, mapped = [], []
    for entry, parent, owner in _with_owners(known):
        if entry.key == "id" and entry.value and owner in (kind, f"{kind}s"):
            named.append(entry.value)
        if entry.key and parent == f"{kind}s":
            mapped.append(entry.key)
    return list(dict.fromkeys([*named, *mapped, *_inline(lines, known, kind)]))


def _with_owners(known: Iterable[Entry]) -> Iterator[tuple[Entry, str | None, str | None]]:
    """Each entry with the key right above it, where it is no list's item, and with the nearest key above it."""
    above: list[Entry] = []
    for entry in known:
        while above and not _holds(above[-1], entry):
            above.pop()
        parent = above[-1].key if above else None
        yield entry, parent, parent or next((one.key for one in reversed(above) if one.key), None)
        above.append(entry)


def _holds(above: Entry, entry: Entry) -> bool:
    """Whether one entry may stand in another; an item may stand in the column of the key whose list it is in."""
    if above.indent == entry.indent:
        return entry.key is None and above.key is not None
    return above.indent < entry.indent


_INLINE_ID = re.compile(r"\{\s*id:\s*(?P<id>[\w-]+)")
_INLINE_KEY = re.compile(r"\b(?P<key>\w+)\s*:\s*(?=[\[{])")


def _inline(lines: Sequence[str], known: Iterable[Entry], kind: str) -> Iterator[str]:
    """Ids in `{id: a, ...}` of one line, below the key of their kind."""
    rest, above = iter(known), list[Entry]()
    following = next(rest, None)
    for number, line in enumerate(lines):
        while following is not None and following.line < number:
            if following.key:
                while above and above[-1].indent >= following.indent:
                    above.pop()
                above.append(following)
            following = next(rest, None)
        yield from (name for owner, name in _in_line(line, above) if owner in (kind, f"{kind}s"))


def _in_line(line: str, above: Sequence[Entry]) -> Iterator[tuple[str | None, str]]:
    """The ids in `{id: a, ...}` of a line, each with the key that it stands below; `above` are those of the lines before."""
    found = list(_INLINE_ID.finditer(line))
    if not found:
        return
    indent = len(line) - len(line.lstrip(" -"))
    owner = next((one.key for one in reversed(above) if one.indent < indent), None)
    keys = [(one.end(), one["key"]) for one in _INLINE_KEY.finditer(line)][::-1]
    for one in found:
        while keys and keys[-1][0] <= one.start():
            owner = keys.pop()[1]
        yield owner, one["id"]


def _fitting(typed: str, words: Iterable[Suggestion]) -> Suggestions:
    """The words that begin with what was typed."""
    return Suggestions(typed, tuple(word for word in words if word.text.lower().startswith(typed.lower())))
