"""A value below a cell: objects and lists as a tree that folds, lists of flat objects as tables, bytes as what they are.

A page and a saved notebook pay for what is shown, so it is bounded: so many entries, rows and characters; what is left out
is counted, and the run has all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from composemagic.notebook.look import clipped, escaped, folded, preformatted
from composemagic.notebook.media import LARGEST, media, media_text
from composemagic.text import plain
from composemagic.words import say

__all__ = ["at_path", "tree", "value_text"]

Path = tuple[str | int, ...]

_MOST_ENTRIES = 1_000
_MOST_ROWS = 100
_MOST_COLUMNS = 20
_MOST_CHARACTERS = 200_000
_DEEPEST = 24
_OPEN_DEPTH = 3
_OPEN_ENTRIES = 30
_LONG = 2_000  # characters of a text that unfolds
_KEY = 120
_LINE = 400
_SHORT_LIST = 16


def tree(value: Any, texts: Mapping[Path, str] | None = None) -> str:
    """A value as HTML. `texts` are the texts in it, by their places, that are HTML already."""
    return _Tree(texts or {}).node(value, ())


def at_path(value: Any, path: Path) -> Any:
    """What stands at a place in a value; None where nothing does."""
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def value_text(value: Any, most: int = _MOST_CHARACTERS, *, indent: int | None = 2) -> str:
    """A value as text of at most so many characters: as it is, everything else as JSON, bytes as how many they are."""
    if isinstance(value, str):
        text = plain(value)
    elif isinstance(value, bytes):
        return media_text(value)
    else:
        try:
            text = plain(json.dumps(value, ensure_ascii=False, indent=indent, default=_said))
        except (ValueError, TypeError, RecursionError):  # it holds itself, or keys that JSON has not
            text = plain(_represented(value))
    return text if len(text) <= most else f"{text[:most]}… {_more_characters(len(text) - most)}"


class _Tree:
    """One value on its way to HTML, with what may still be shown of it."""

    def __init__(self, texts: Mapping[Path, str]) -> None:
        self.texts = texts
        self.entries = _MOST_ENTRIES
        self.characters = _MOST_CHARACTERS
        self.bytes = 2 * LARGEST

    def node(self, value: Any, path: Path) -> str:
        if path in self.texts:
            return self.texts[path]
        match value:
            case str():
                return self._text(value)
            case bytes():
                self.bytes -= len(value)
                return media(value) if self.bytes >= 0 else f"<code>{escaped(media_text(value))}</code>"
            case dict() | list() | tuple() if len(path) >= _DEEPEST or _is_short(value):
                return _code(value)
            case dict() if value:
                return self._entries(value.items(), len(value), path)
            case list() | tuple() if value:
                columns = _columns(value)
                return self._table(value, columns) if columns else self._entries(enumerate(value), len(value), path)
        return _code(value)

    def _entries(self, items: Iterable[tuple[Any, Any]], count: int, path: Path) -> str:
        shown: list[str] = []
        for key, inner in items:
            if self.entries <= 0:
                shown.append(_dim(say("… and {count} more", count=count - len(shown))))
                break
            self.entries -= 1
            shown.append(self._entry(key, inner, (*path, key)))
        return "".join(shown)

    def _entry(self, key: Any, value: Any, path: Path) -> str:
        label = f"<strong>{escaped(clipped(str(key), _KEY))}</strong>"
        if path in self.texts or _is_long(value):
            count = f' <span class="compose-dim">{len(value)}</span>' if isinstance(value, dict | list | tuple) else ""
            is_open = len(path) <= _OPEN_DEPTH and (isinstance(value, str | bytes) or len(value) <= _OPEN_ENTRIES)
            return folded(label + count, self.node(value, path), is_open=is_open)
        return f"<div>{label}: {self.node(value, path)}</div>"

    def _text(self, value: str) -> str:
        shown = value[: max(0, self.characters)]
        self.characters -= len(shown)
        left = len(value) - len(shown)
        rest = _dim(f"… {_more_characters(left)}") if left else ""
        if len(shown) > _LONG:
            return folded(escaped(clipped(shown)), preformatted(shown)) + rest
        return (preformatted(shown) if "\n" in shown else f"<span>{escaped(shown)}</span>") + rest

    def _table(self, rows: Sequence[Mapping[Any, Any]], columns: Sequence[Any]) -> str:
        shown = rows[: max(1, min(_MOST_ROWS, self.entries // len(columns)))]
        self.entries -= len(shown) * len(columns)
        head = "".join(f"<th>{escaped(clipped(str(column), _KEY))}</th>" for column in columns)
        body = "".join(f"<tr>{''.join(_cell(row, column) for column in columns)}</tr>" for row in shown)
        left = len(rows) - len(shown)
        more = _dim(say("… and {count} more rows", count=left)) if left else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _dim(sentence: str) -> str:
    return f'<div class="compose-dim">{escaped(sentence)}</div>'


def _is_long(value: Any) -> bool:
    """Whether a value needs more than a line."""
    match value:
        case str():
            return "\n" in value
        case bytes():
            return True
        case dict() | list() | tuple():
            return not _is_short(value)
    return False


def _is_short(value: Any) -> bool:
    """Whether an object or a list is empty, or a list of a few numbers: it stands on one line."""
    is_plain = isinstance(value, list | tuple) and len(value) <= _SHORT_LIST and not any(map(_is_inner, value))
    return not value or is_plain


def _is_inner(value: Any) -> bool:
    return not (value is None or isinstance(value, bool | int | float))


def _code(value: Any) -> str:
    """A value on one line, as JSON."""
    return f"<code>{escaped(clipped(value_text(value, _LONG, indent=None), _LINE))}</code>"


def _columns(rows: Sequence[Any]) -> list[Any]:
    """The columns of a list of flat objects; none for any other list."""
    if not all(isinstance(row, dict) and row and all(map(_is_flat, row.values())) for row in rows):
        return []
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns if len(columns) <= _MOST_COLUMNS else []


def _is_flat(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _LONG)


def _cell(row: Mapping[Any, Any], column: Any) -> str:
    value = row.get(column, "")
    return f"<td>{escaped(value if isinstance(value, str) else value_text(value))}</td>"


def _more_characters(count: int) -> str:
    return say("and {count} more characters; the run has all of them", count=count)


def _represented(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return say("a value that is nested too deep to be shown")


def _said(value: Any) -> str:
    """What JSON has no words for."""
    return f"<{media_text(value)}>" if isinstance(value, bytes) else clipped(str(value), _LONG)
