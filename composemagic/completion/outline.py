"""The keys of a text that is no YAML yet, by indentation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Entry", "Place", "entries", "place"]

_DASH = re.compile(r"-(?:\s+|$)")
_KEY = re.compile(r"""(?P<quote>["']?)(?P<key>[\w.?*+&|-]+)(?P=quote)\s*:(?:\s+|$)(?P<value>.*)$""")
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_INSIDE = re.compile(r"""["'][^"']*["']|\$\{[^{}]*\}|[\[\]{},]|[^\s\[\]{},"'$:]+|:(?=\s|$)|.""")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with what stands behind it, or, with `key` None, the `-` of a list's item; `indent` is its column."""

    line: int
    indent: int
    key: str | None
    value: str = ""


@dataclass(slots=True)
class Place:
    """Where the cursor stands.

    `path`: the keys above, None for a list's item. `beside`: for the mapping at each step of the path and last for the
    cursor's own, the other keys with their plain values. `key`: whose value is being typed; None: a key is.
    """

    path: list[str | None]
    beside: list[dict[str, str]]
    key: str | None = None
    typed: str = ""


def entries(lines: Sequence[str]) -> list[Entry]:
    """The keys and items of lines, in their order; `- key: value` is both."""
    return [entry for number, line in enumerate(lines) for entry in _of_line(number, line)]


def _of_line(number: int, line: str) -> Iterator[Entry]:
    line = _COMMENT.sub("", line.expandtabs())
    indent = len(line) - len(line.lstrip())
    while found := _DASH.match(line, indent):
        yield Entry(number, indent, None)
        indent = found.end()
    if found := _KEY.match(line, indent):
        yield Entry(number, indent, found["key"], found["value"].strip().strip("\"'"))


def place(lines: Sequence[str], number: int, column: int) -> Place:
    """Where a cursor stands that is before `column` of line `number`."""
    before = lines[number][:column].expandtabs()
    others = entries([line if at != number else "" for at, line in enumerate(lines)])
    mine = list(_of_line(number, before))
    indent = mine[-1].indent if mine and mine[-1].key else _column(before)
    items = [entry for entry in mine if entry.key is None]
    found = _above([entry for entry in others if entry.line < number] + items, others, number, indent)
    if mine and mine[-1].key:
        return _in_value(found, mine[-1].key, before[before.index(":", indent) + 1 :].lstrip())
    text = before[indent:]
    return _in_flow(found, text) if text[:1] in ("{", "[") else _with(found, text)


def _column(before: str) -> int:
    """Where a key begins that is being typed, behind the dashes."""
    indent = len(before) - len(before.lstrip())
    while found := _DASH.match(before, indent):
        indent = found.end()
    return indent


def _above(above: list[Entry], others: list[Entry], number: int, indent: int) -> Place:
    """The path of the keys above a column, and the keys beside each of them."""
    path: list[str | None] = []
    beside = [_beside(above, others, number, indent)]
    is_item = False
    for entry in reversed(above):
        if entry.indent < indent or (is_item and entry.key is not None and entry.indent <= indent):
            path.append(entry.key)
            indent, is_item = entry.indent, entry.key is None
            beside.append({} if is_item else _beside(above, others, entry.line, indent))
    return Place(path[::-1], beside[::-1])


def _beside(above: list[Entry], others: list[Entry], number: int, indent: int) -> dict[str, str]:
    """The keys of one mapping: those of the same column up and down to the first that stands further left."""
    found: dict[str, str] = {}
    for side in (reversed(above), [entry for entry in others if entry.line > number]):
        for entry in side:
            if entry.indent < indent:
                break
            if entry.indent == indent and entry.key is not None:
                found.setdefault(entry.key, entry.value)
    return found


def _in_value(found: Place, key: str, text: str) -> Place:
    if text[:1] in ("{", "["):
        return _in_flow(Place([*found.path, key], [*found.beside, {}]), text)
    found.key, found.typed = key, text
    return found


def _with(found: Place, text: str) -> Place:
    found.typed = text
    return found


@dataclass(slots=True)
class _Level:
    """An open bracket of the cursor's line."""

    is_list: bool
    key: str | None = None
    word: str = ""
    has_colon: bool = False
    keys: dict[str, str] = field(default_factory=dict)

    def end_pair(self) -> None:
        if self.has_colon and self.key:
            self.keys[self.key] = self.word
        self.key, self.word, self.has_colon = None, "", False


def _in_flow(found: Place, text: str) -> Place:
    """The place inside `{a: {b: ` of one line."""
    levels: list[_Level] = []
    for token in _INSIDE.findall(text):
        if token in ("{", "["):
            levels.append(_Level(token == "["))
        elif token in ("}", "]"):
            levels.pop()
            if not levels:
                return found
        elif levels:
            _take(levels[-1], token)
    path, beside = list(found.path), found.beside[:-1]
    for level in levels[:-1]:
        path.append(None if level.is_list else level.key)
        beside.append(level.keys if level.key is None else {**level.keys, level.key: ""})
    last = levels[-1]
    if last.is_list:
        return Place([*path, None], [*beside, {}, {}], None, last.word)
    return Place(path, [*beside, last.keys], last.key if last.has_colon else None, last.word)


def _take(level: _Level, token: str) -> None:
    if token == ",":
        level.end_pair()
    elif token == ":" and not level.is_list and not level.has_colon:
        level.key, level.word, level.has_colon = level.word.strip("\"'"), "", True
    elif token.strip():
        level.word += token
    elif level.word and not level.has_colon:
        level.word = ""
