"""YAML text -> plain data and the place of every path in it.

The text is YAML 1.2 (core schema) with merge keys. PyYAML's event stream is all that is used of it: libyaml's where it is
installed, else the pure one. Its composer and constructor recurse without bounds, build objects that a tag names, and read
YAML 1.1 (`on` is true, `012` is ten); here the events are counted while they come, so a hostile text is refused before
anything is built from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from composemagic.errors import DocumentError, Mark, Mistake, Source
from composemagic.language.masks import BREAK, FILL, Masked, after_properties, closing, cut_in_flow, references
from composemagic.language.refusals import (
    ESCAPE,
    HALF,
    SURROGATE,
    about_directives,
    about_halves,
    about_tags,
    about_wide_colons,
    check_key,
    check_text,
    explain,
    stray_line,
    token_end,
    wide_colon,
)
from composemagic.words import say

__all__ = ["Document", "parse", "plain_value"]

MAX_DEPTH = 64
MAX_NODES = 20_000  # keys, values and what aliases repeat
MAX_ALIASES = 100
MAX_DIGITS = 300
MAX_MISTAKES = 20
MAX_REREAD = 1024 * 1024  # characters read again, in all, for the sake of unquoted `${...}`

Path = tuple[str | int, ...]
Scalar = str | int | float | bool | None

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse(text: str, name: str = "this document", first_line: int = 1) -> Document:
    """Read one YAML 1.2 document whose top is a mapping.

    `name` is how messages call it, `first_line` the number of its first line in the user's editor. An unquoted `${...}` on
    one line may stand inside flow collections and may hold `: ` and ` #`. Raises DocumentError.
    """
    source = Source(name, text.removeprefix("\ufeff"), first_line)
    check_text(source)
    masked, reread = Masked(source.text), 0
    while True:
        reading = _Reading(source, masked)
        try:
            return reading.document()
        except _StumbleError as stumble:
            at = stumble.at
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            stopped = reading.stumble(error)
            if stopped is None:
                raise reading.refusal(error) from None
            at = stopped
        reread += at + len(text) // 8
        if not masked.hide(at, allowed=reread <= MAX_REREAD):
            raise reading.unreadable_reference(at)


@dataclass(slots=True)
class _Place:
    """Where one value stands, as indexes into the text.

    `style` is "" for a plain scalar, one of `' " | >` for the others, `{` or `[` for a collection, and begins with `*` where
    the value came through an alias or a merge key: then `children` still tell the styles of what is inside, not its place.
    """

    start: int
    end: int
    style: str
    children: dict[str, _Place] | list[_Place] | None = None
    key: tuple[int, int] | None = None

    def child(self, step: str | int) -> _Place | None:
        """The place one step further down, if there is one."""
        if isinstance(self.children, dict):
            return self.children.get(step) if isinstance(step, str) else None
        if isinstance(self.children, list) and isinstance(step, int) and 0 <= step < len(self.children):
            return self.children[step]
        return None

    def repeated(self, at: _Place) -> _Place:
        """The same value where an alias at another place repeats it."""
        return _Place(at.start, at.end, "*" + self.style.lstrip("*"), self.children)


@dataclass(frozen=True)
class Document:
    """YAML text after reading: `data` is dicts with text keys, lists and scalars, all of its own (aliases are copied)."""

    source: Source
    data: dict[str, Any]
    _root: _Place = field(repr=False, compare=False)

    def mark(self, path: Path) -> Mark:
        """The first line of the value at `path`, or of the nearest value above it that stands in the text.

        The length reaches to the end of the value or of the line.
        """
        place, _ = self._nearest(path)
        return self._whole(place)

    def key_mark(self, path: Path) -> Mark:
        """The characters of the key that `path` ends in (without quotes); the value's mark where there is no such key."""
        place, exact = self._nearest(path)
        return Mark.between(self.source, *place.key) if exact and place.key else self._whole(place)

    def span(self, path: Path, start: int, length: int) -> Mark:
        """The mark of the characters `start` to `start + length` of the text at `path`.

        Exact for plain and quoted scalars of one line without escapes and for literal blocks (`|`), there to the end of the
        line at most. For any other scalar it is the whole value: the place cannot be known.
        """
        place, exact = self._nearest(path)
        at = self._offset(place, start) if exact else None
        return self._whole(place) if at is None else Mark.between(self.source, at, at + length)

    def is_quoted(self, path: Path) -> bool:
        """Whether the scalar at `path` was written in quotes or as a block, so that it is text whatever it looks like."""
        place: _Place | None = self._root
        for step in path:
            place = place.child(step) if place else None
        return place is not None and place.style[-1:] in tuple("'\"|>")

    def _nearest(self, path: Path) -> tuple[_Place, bool]:
        place = self._root
        for step in path:
            child = None if place.style.startswith("*") else place.child(step)
            if child is None:
                return place, False
            place = child
        return place, True

    def _whole(self, place: _Place) -> Mark:
        start = self._scalar_start(place)
        if place.style in ("|", ">"):
            lines = re.compile(r"[^\n]*\n(?:[ \t\r]*\n)*[ \t]*").match(self.source.text, start, place.end)
            start = lines.end() if lines and lines.end() < place.end else start
        line = re.compile(r".*\S").match(self.source.text, start)
        return Mark.between(self.source, start, min(place.end, line.end()) if line else place.end)

    def _scalar_start(self, place: _Place) -> int:
        return after_properties(self.source.text, place.start, place.end)

    def _offset(self, place: _Place, offset: int) -> int | None:
        """The index of a character of the decoded scalar, where it can be known."""
        start = self._scalar_start(place)
        written = self.source.text[start : place.end]
        if place.style == "|":
            found = _offset_in_block(written, offset)
        elif place.style in ("", "'", '"'):
            found = _offset_in_line(written, place.style, offset)
        else:
            found = None
        return None if found is None else start + found


def plain_value(text: str) -> Scalar:
    """What a plain scalar means by the core schema of YAML 1.2 (10.3.2): `012` is 12, `on` and `12:30` are text.

    Raises ValueError for an integer of more than 300 digits.
    """
    if text[:1] not in _TYPED:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(say("an integer can have at most {count} digits", count=MAX_DIGITS))
        return int(text, {"o": 8, "x": 16}.get(text[1:2], 10))
    return float(text) if _FLOAT.fullmatch(text) else text


_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_TYPED = frozenset(("", *"~nNtTfF+-.0123456789"))
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


# ── reading the events ──


class _StumbleError(Exception):
    """A plain scalar ended inside the `${...}` that starts at `at`."""

    def __init__(self, at: int) -> None:
        self.at = at


@dataclass(slots=True)
class _Anchor:
    """What `&name` stands before; `size` counts its nodes, aliases expanded."""

    value: Any
    place: _Place
    size: int
    height: int


class _Reading:
    """One pass over the events of a text."""

    def __init__(self, source: Source, masked: Masked) -> None:
        self.source = source
        self.masked = masked
        self.events: Iterator[Any] = yaml.parse(masked.text, Loader=_LOADER)
        self.mistakes: list[Mistake] = []
        self.anchors: dict[str, _Anchor | None] = {}  # None: its value is not complete yet
        self.opened: list[int] = []  # the starts of the collections we are in
        self.nodes = 0
        self.aliases = 0
        self.seen = 0  # the end of the latest token that became part of the data

    def document(self) -> Document:
        """Read all; raise what is wrong, everything at once as far as it can be read."""
        next(self.events)
        start = next(self.events)
        if type(start) is yaml.StreamEndEvent:
            raise DocumentError([Mistake(say("{name} is empty", name=self.source.name))])
        self.check_directives(start.end_mark.index)
        top = next(self.events)
        self.check_top(top)
        data, root = self.node(top, 1)
        next(self.events)
        more = next(self.events)
        if type(more) is not yaml.StreamEndEvent:
            raise self.stop(say("only one YAML document fits here"), more.start_mark.index, more.end_mark.index)
        if self.mistakes:
            raise DocumentError(self.mistakes)
        return Document(self.source, data, root)

    def check_directives(self, end: int) -> None:
        found = _DIRECTIVE.search(self.source.text, 0, end)
        if found:
            raise self.stop(about_directives(), *found.span())

    def check_top(self, event: Any) -> None:
        if type(event) is yaml.MappingStartEvent:
            return
        if type(event) is yaml.ScalarEvent and event.value == "" and not event.style:
            raise DocumentError([Mistake(say("{name} is empty", name=self.source.name))])
        if wide := wide_colon(self.source.text, event.start_mark.index):
            raise self.stop(about_wide_colons(), *wide)
        is_list = type(event) is yaml.SequenceStartEvent
        start = event.start_mark.index
        if not is_list and (found := stray_line(self.source.text, start, event.end_mark.index)):
            raise self.stop(*found)
        words = say("a document begins with a key such as `component:`, this is a single value")
        if is_list:
            words = say("a document begins with a key such as `component:`, this is a list")
        end = start + 1 if is_list else event.end_mark.index
        raise self.stop(words, start, end)

    def node(self, event: Any, depth: int) -> tuple[Any, _Place]:
        """The value and the place of the node that begins with `event`."""
        before = self.nodes
        self.count(1, event)
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self.alias(event, depth)
        anchor = event.anchor
        if anchor:
            self.anchors[anchor] = None
        found = self.scalar(event) if kind is yaml.ScalarEvent else self.collection(event, depth)
        if anchor:
            self.anchors[anchor] = _Anchor(found[0], found[1], self.nodes - before, _height(found[0]))
        return found

    def count(self, nodes: int, event: Any) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            sentence = say("more than {count} values, with what aliases repeat", count=f"{MAX_NODES:,}")
            raise self.stop(sentence, event.start_mark.index, event.end_mark.index)

    def alias(self, event: Any, depth: int) -> tuple[Any, _Place]:
        place = _Place(event.start_mark.index, event.end_mark.index, "*")
        span = (place.start, place.end)
        name = event.anchor
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.stop(say("more than {count} aliases such as `*{name}`", count=MAX_ALIASES, name=name), *span)
        if name not in self.anchors:
            sentence = say("no `&{name}` stands above this alias; for text, put quotes around it", name=name)
            raise self.stop(sentence, *span)
        anchor = self.anchors[name]
        if anchor is None:
            raise self.stop(say("`*{name}` stands inside `&{name}`, so it would contain itself", name=name), *span)
        self.count(anchor.size - 1, event)
        if depth + anchor.height > MAX_DEPTH + 1:
            raise self.stop(_too_deep(), *span)
        return _copy(anchor.value), anchor.place.repeated(place)

    def scalar(self, event: Any) -> tuple[Scalar, _Place]:
        place, value = self.text(event)
        if event.tag:
            return self.tagged(event, value), place
        if place.style:
            return value, place
        try:
            return plain_value(value), place
        except ValueError as error:
            self.mistake(str(error), place.start, place.end)
            return value, place

    def text(self, event: Any) -> tuple[_Place, str]:
        """A scalar as text, and its place."""
        start, end, value, style = event.start_mark.index, event.end_mark.index, event.value, event.style or ""
        self.seen = end
        if self.masked.spans and FILL in value:
            value = self.masked.restore(value, start, end, style)
        if not style and "${" in value:
            self.check_closed(start, end)
        elif style == '"' and not value.isascii():
            self.check_surrogates(value, start, end)
        return _Place(start, end, style), value

    def check_closed(self, start: int, end: int) -> None:
        """A plain scalar that a `: ` or ` #` cut in the middle of a reference has to be read again."""
        for at, stop in references(self.masked.text, start, end):
            if stop > end:
                raise _StumbleError(at)

    def check_surrogates(self, value: str, start: int, end: int) -> None:
        # libyaml refuses these escapes by itself
        if SURROGATE.search(value):
            escapes = ESCAPE.finditer(self.masked.text, start, end)
            half = next((escape.span() for escape in escapes if HALF.match(escape[0])), (start, end))
            self.mistake(about_halves(), *half)

    def tagged(self, event: Any, value: str) -> Scalar:
        convert = _TAGS.get(event.tag)
        try:
            if convert is not None:
                return convert(value)
        except ValueError:
            sentence = say("this is not what its tag `!!{tag}` says", tag=event.tag.rpartition(":")[2])
        else:
            sentence = about_tags()
        self.mistake(sentence, event.start_mark.index, event.end_mark.index)
        return value

    def collection(self, event: Any, depth: int) -> tuple[Any, _Place]:
        start = event.start_mark.index
        if depth > MAX_DEPTH:
            raise self.stop(_too_deep(), start, start + 1)
        is_map = type(event) is yaml.MappingStartEvent
        self.seen = max(self.seen, event.end_mark.index) if event.flow_style else self.seen
        if event.tag and event.tag != _CORE + ("map" if is_map else "seq"):
            self.mistake(about_tags(), start, token_end(self.source.text, start))
        self.opened.append(after_properties(self.source.text, start, len(self.source.text)))
        found = self.mapping(start, depth) if is_map else self.sequence(start, depth)
        self.opened.pop()
        return found

    def until(self, last: Any) -> Iterator[Any]:
        """The events before the next one of a type."""
        while type(event := next(self.events)) is not last:
            yield event
        self.seen = event.end_mark.index

    def sequence(self, start: int, depth: int) -> tuple[list[Any], _Place]:
        data: list[Any] = []
        places: list[_Place] = []
        for event in self.until(yaml.SequenceEndEvent):
            value, place = self.node(event, depth + 1)
            data.append(value)
            places.append(place)
        return data, _Place(start, self.seen, "[", places)

    def mapping(self, start: int, depth: int) -> tuple[dict[str, Any], _Place]:
        data: dict[str, Any] = {}
        places: dict[str, _Place] = {}
        merges = False
        for event in self.until(yaml.MappingEndEvent):
            key, span = self.key(event)
            value, place = self.node(next(self.events), depth + 1)
            if key in places:
                self.twice(key, places[key].key, span)
                continue
            place.key = span
            data[key] = value
            places[key] = place
            merges = merges or (key == "<<" and not event.style)
        if merges:
            data = self.merged(data, places)
        return data, _Place(start, self.seen, "{", places)

    def key(self, event: Any) -> tuple[str, tuple[int, int]]:
        """A key as written, and its span without quotes."""
        self.count(1, event)
        start, end = event.start_mark.index, event.end_mark.index
        if type(event) is not yaml.ScalarEvent:
            braces = _BRACES.match(self.source.text, start - 1) if start else None
            if braces:
                sentence = say(
                    "`{written}` is not filled in; a value is written `${{{name}}}`", written=braces[0], name=braces[1]
                )
                raise self.stop(sentence, *braces.span())
            raise self.stop(_no_key(type(event)), start, max(end, start + 1))
        place, key = self.text(event)
        if event.tag and event.tag != _CORE + "str":
            self.mistake(say("a key is always text; a tag cannot stand before it"), start, end)
        if event.anchor:
            self.anchors[event.anchor] = _Anchor(key, place, 1, 0)
        if not key and not place.style:
            self.mistake(say("a key is missing here"), start, start + 1)
        start = after_properties(self.source.text, start, end)
        if not place.style and (found := check_key(self.source.text, start, key)):
            raise self.stop(*found)
        return key, (start + 1, end - 1) if place.style in ("'", '"') else (start, end)

    def twice(self, key: str, first: tuple[int, int] | None, second: tuple[int, int]) -> None:
        mark = Mark.between(self.source, *(first or second))
        self.mistake(say("`{key}` is written twice; first on line {line}", key=_short(key), line=mark.number), *second)
        here = Mistake(say("`{key}` is written here first", key=_short(key)), mark)
        if here not in self.mistakes:
            self.mistakes.append(here)

    def merged(self, data: dict[str, Any], places: dict[str, _Place]) -> dict[str, Any]:
        """Fill in what `<<` brings (YAML 1.1, https://yaml.org/type/merge.html): own keys win, then the earlier mapping."""
        value, at = data.pop("<<"), places.pop("<<")
        values, spots = (value, at.children) if isinstance(value, list) else ([value], [at])
        brought: dict[str, Any] = {}
        for each, spot in zip(values, spots or (), strict=True):
            if not isinstance(each, dict) or not isinstance(spot, _Place):
                self.mistake(say("`<<` takes a mapping or a list of mappings"), at.start, at.end)
                break
            alias = at if at.style.startswith("*") else spot
            for key in each.keys() - brought.keys() if brought else each:
                place = spot.child(key) or spot
                places.setdefault(key, place.repeated(alias) if alias.style.startswith("*") else place)
            brought = {**each, **brought}
        return {**brought, **data}

    def mistake(self, sentence: str, start: int, end: int) -> None:
        """Note what is wrong and read on; a text with too many mistakes is not read further."""
        self.mistakes.append(Mistake(sentence, Mark.between(self.source, start, end)))
        if len(self.mistakes) >= MAX_MISTAKES:
            raise DocumentError(self.mistakes)

    def stop(self, sentence: str, start: int, end: int) -> DocumentError:
        """What is wrong so far and what makes reading on impossible."""
        return DocumentError([*self.mistakes, Mistake(sentence, Mark.between(self.source, start, end))])

    def refusal(self, error: Exception) -> DocumentError:
        """The parser's complaint in our words."""
        return self.stop(*explain(error, self.masked.text, self.opened, self.seen))

    def stumble(self, error: Exception) -> int | None:
        """The index of the `${` that the parser could not read past, where that is why it stopped."""
        if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
            return None
        text, at = self.masked.text, error.problem_mark.index
        if at and text.startswith("${", at - 1):
            return at - 1
        if str(error.problem).startswith("mapping values are not allowed"):
            start = max(text.rfind("\n", 0, at) + 1, self.seen)
            return next((begin for begin, end in references(text, start, at) if end > at), None)
        depth = sum(text.startswith(("[", "{"), start) for start in self.opened)
        return cut_in_flow(text, self.seen, at, depth)

    def unreadable_reference(self, at: int) -> DocumentError:
        if closing(self.masked.text, at) is None:
            return self.stop(say("`${` is not closed with `}` on its line"), at, at + 2)
        return self.stop(say("put quotes around the value that holds this `${...}`"), at, at + 2)


_CORE = "tag:yaml.org,2002:"
_DIRECTIVE = re.compile(r"^%(?!YAML[ \t]+1\.[0-9]+[ \t]*(?:#.*)?\r?$).*", re.MULTILINE)


_BRACES = re.compile(r"\{\{[ \t]*([A-Za-z][\w.\[\]*-]*)[ \t]*\}\}")


def _too_deep() -> str:
    return say("more than {count} levels deep", count=MAX_DEPTH)


def _no_key(event: type) -> str:
    if event is yaml.AliasEvent:
        return say("a key must be text, this is an alias")
    if event is yaml.SequenceStartEvent:
        return say("a key must be text, this is a list")
    return say("a key must be text, this is a mapping")


def _as(*kinds: type) -> Callable[[str], Scalar]:
    def convert(text: str) -> Scalar:
        value = plain_value(text)
        if type(value) not in kinds:
            raise ValueError(text)
        return value

    return convert


_TAGS: dict[str, Callable[[str], Scalar]] = {
    _CORE + "str": str,
    _CORE + "int": _as(int),
    _CORE + "float": lambda text: float(_as(int, float)(text) or 0),
    _CORE + "bool": _as(bool),
    _CORE + "null": _as(type(None)),
}


def _height(value: Any) -> int:
    """Levels of collections in a value: 0 for a scalar."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_height, value), default=0) if isinstance(value, list) else 0


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


# ── places ──


def _offset_in_line(written: str, quote: str, offset: int) -> int | None:
    inside = written[1:-1] if quote else written
    escape = {"'": "''", '"': "\\"}.get(quote)
    if (escape and escape in inside) or not 0 <= offset <= len(inside) or any(char in inside for char in BREAK):
        return None
    return offset + len(quote)


def _offset_in_block(written: str, offset: int) -> int | None:
    """In a literal block every line is as written, but for the indentation, which the first line that is not empty sets."""
    header, _, body = written.replace("\r\n", " \n").partition("\n")
    first = re.search(r"^ *(?=[^ \n])", body, re.MULTILINE)
    if not first or offset < 0 or re.search(r"^\|[-+]?[0-9]", header) or any(char in body for char in BREAK[1:]):
        return None
    indent, at = len(first[0]), len(header) + 1
    for line in body.split("\n"):
        length = max(0, len(line) - ("\r\n" in written and line.endswith(" ")) - indent)
        if offset <= length:
            return at + min(indent, len(line)) + offset
        offset -= length + 1
        at += len(line) + 1
    return None
