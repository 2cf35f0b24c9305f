"""Several files -> one tree, and where each part of it was written.

Objects merge deeply, lists and values are replaced by a later file's, and its null removes what an earlier one gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from composemagic.errors import DocumentError, Mark, Mistake, Source
from composemagic.language.document import MAX_NODES, Document, parse
from composemagic.words import say

__all__ = ["Sources", "Text", "read"]

Path = tuple[str | int, ...]

# keys of which one file writes the singular and another the plural
_TOP = ("component", "workflow", "listener", "gateway", "system", "tracer", "logger")


@dataclass(frozen=True, slots=True)
class Text:
    """A text to load: how messages call it, and the number of its first line where the user sees it."""

    text: str
    name: str
    first_line: int = 1


@dataclass(frozen=True)
class Sources:
    """One tree of several documents, the later ones over the earlier, and where its parts stand. Reads like a Document.

    `notes` say which key of a later file took the place of another's.
    """

    documents: tuple[Document, ...]
    data: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> Source:
        """The last text, which is the cell where there is one."""
        return self.documents[-1].source

    def mark(self, path: Path) -> Mark:
        """The first line of the value at `path`, in the file that gave it."""
        return self._of(path).mark(path)

    def key_mark(self, path: Path) -> Mark:
        """The key that `path` ends in, in the file that gave its value."""
        return self._of(path).key_mark(path)

    def span(self, path: Path, start: int, length: int) -> Mark:
        """Characters of the text at `path`, in the file that gave it."""
        return self._of(path).span(path, start, length)

    def is_quoted(self, path: Path) -> bool:
        """Whether the scalar at `path` was written in quotes."""
        return self._of(path).is_quoted(path)

    def place(self, mistake: Mistake) -> int:
        """Which of the documents a mistake is in, as an index; those without a place come first."""
        sources = [document.source for document in self.documents]
        return sources.index(mistake.mark.source) if mistake.mark else -1

    def _of(self, path: Path) -> Document:
        """The last document that writes the most of a path."""
        return max(reversed(self.documents), key=lambda document: _depth(document.data, path))


def read(texts: Sequence[Text]) -> Sources:
    """Read texts and merge them. Raises DocumentError with the mistakes of all of them, and for a tree that is too large."""
    documents, mistakes = [], []
    labels = _labels([text.name for text in texts])
    for text, label in zip(texts, labels, strict=True):
        try:
            documents.append(_labelled(parse(text.text, text.name, text.first_line), label))
        except DocumentError as error:
            mistakes += [_labelled_mistake(mistake, label) for mistake in error.mistakes]
    if mistakes:
        raise DocumentError(mistakes)
    if len(documents) == 1:
        return Sources((documents[0],), documents[0].data)
    merging = _Merging(documents)
    return Sources(tuple(documents), merging.merged(), tuple(merging.notes))


class _Merging:
    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents
        self.notes: list[str] = []

    def merged(self) -> dict[str, Any]:
        """The tree of all documents. Raises DocumentError where it is larger than one document may be."""
        first, *later = self.documents
        data = first.data
        for document in later:
            data = self.over(data, document.data, (), document)
        if _size(data) > MAX_NODES:
            sentence = say("more than {count} values in all files together", count=f"{MAX_NODES:,}")
            raise DocumentError([Mistake(sentence)])
        return data

    def over(self, below: dict[str, Any], above: dict[str, Any], path: Path, document: Document) -> dict[str, Any]:
        """A mapping of a later file over that of an earlier one; the keys of the earlier one come first."""
        data = dict(below)
        for one, other in _twins(path):
            if one in above and other in data and other not in above:
                self.note(one, other, document, path)
                del data[other]
        for key, value in above.items():
            if value is None and key in below:
                data.pop(key, None)
            elif isinstance(value, dict) and isinstance(below.get(key), dict):
                data[key] = self.over(below[key], value, (*path, key), document)
            else:
                data[key] = value
        return data

    def note(self, key: str, other: str, document: Document, path: Path) -> None:
        line = document.key_mark((*path, key)).number
        self.notes.append(
            say(
                "`{key}` of {file}, line {line}, takes the place of `{other}` of an earlier file",
                key=key,
                file=document.source.name,
                line=line,
                other=other,
            )
        )


def _twins(path: Path) -> Iterable[tuple[str, str]]:
    """The keys that mean the same in a mapping at a path, both ways."""
    match path:
        case ():
            names: tuple[str, ...] = _TOP
        case ("workflow",) | ("workflows", _):
            names = ("job",)
        case ("component",) | ("components", _):
            names = ("action",)
        case ("controller",):
            names = ("adapter",)
        case (*_, "component") if path[0] in ("workflow", "workflows"):
            names = ("action",)  # an inline one
        case _:
            names = ()
    for name in names:
        yield from ((name, f"{name}s"), (f"{name}s", name))


def _depth(data: Any, path: Path) -> int:
    """How many steps of a path a tree has."""
    for depth, step in enumerate(path):
        is_key = isinstance(data, dict) and step in data
        if not is_key and not (isinstance(data, list) and isinstance(step, int) and 0 <= step < len(data)):
            return depth
        data = data[step]
    return len(path)


def _size(data: Any) -> int:
    """Keys and values, as a document counts them."""
    if isinstance(data, dict):
        return 1 + sum(1 + _size(value) for value in data.values())
    return 1 + sum(map(_size, data)) if isinstance(data, list) else 1


def _labels(names: Sequence[str]) -> list[str]:
    """What stands before the line numbers of each text: as much of its name's end as tells it from the others."""
    if len(names) == 1:
        return [""]
    paths = [PurePath(name).parts for name in names]
    for length in range(1, max(map(len, paths)) + 1):
        tails = [str(PurePath(*parts[-length:])) for parts in paths]
        if all(one != other for one, other in pairwise(sorted(tails))):
            return tails
    return list(names)


def _labelled(document: Document, label: str) -> Document:
    return replace(document, source=replace(document.source, label=label)) if label else document


def _labelled_mistake(mistake: Mistake, label: str) -> Mistake:
    if mistake.mark is None or not label:
        return mistake
    return replace(mistake, mark=replace(mistake.mark, source=replace(mistake.mark.source, label=label)))
