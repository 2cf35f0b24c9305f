"""What may stand before the cursor: keys and values by the JSON Schema of the language, and what stands in `${...}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
_WORD = re.compile(r"[\w.-]*$")
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
    typed = _WORD.search(here.typed or "")
    word = typed[0] if typed else ""
    if here.key is None and here.path[-1:] == [None] and here.path[-2:-1] == ["depends_on"]:
        return _fitting(word, (Suggestion(name, "job") for name in _ids(lines, "job")))
    if here.key is None:
        known = keys(language(), here.path, here.beside)
        return _fitting(
            word, (Suggestion(f"{name}: ", "key", about) for name, about in known.items() if not _is_old(about))
        )
    return _fitting(word, _of_key(here, lines, language))


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
    named = [_id(entry, known, lines, kind) for entry in known if entry.key == "id" and entry.value]
    mapped = [entry.key or "" for entry in known if _parent(known, entry) == f"{kind}s" and entry.key]
    inline = [name for at, line in enumerate(lines) for name in _inline(at, line, known, kind)]
    return list(dict.fromkeys(name for name in (*named, *mapped, *inline) if name))


def _id(entry: Entry, known: Sequence[Entry], lines: Sequence[str], kind: str) -> str:
    above = place(lines, entry.line, entry.indent).path
    owner = next((key for key in reversed(above) if key is not None), None)
    return entry.value if owner in (kind, f"{kind}s") else ""


def _parent(known: Sequence[Entry], entry: Entry) -> str | None:
    """The key right above an entry, where it is no list's item."""
    for other in reversed(known[: known.index(entry)]):
        if other.indent < entry.indent:
            return other.key
    return None


_INLINE_ID = re.compile(r"\{\s*id:\s*(?P<id>[\w-]+)")


def _inline(number: int, line: str, known: Sequence[Entry], kind: str) -> Iterable[str]:
    """Ids in `{id: a, ...}` of one line, below the key of their kind."""
    for found in _INLINE_ID.finditer(line):
        above = [key for key in _above(line[: found.start()], number, known) if key is not None]
        if above and above[-1] in (kind, f"{kind}s"):
            yield found["id"]


def _above(before: str, number: int, known: Sequence[Entry]) -> list[str | None]:
    inside = re.findall(r"(\w+)\s*:\s*(?=[\[{]|$)", before)
    if inside:
        return list(inside)
    indent = len(before) - len(before.lstrip(" -"))
    owner = [entry.key for entry in known if entry.line < number and entry.indent < indent and entry.key]
    return [owner[-1]] if owner else []


def _fitting(typed: str, words: Iterable[Suggestion]) -> Suggestions:
    """The words that begin with what was typed."""
    return Suggestions(typed, tuple(word for word in words if word.text.lower().startswith(typed.lower())))
