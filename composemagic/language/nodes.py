"""What stands inside `${...}` after reading, and how it is written again: `parse(written(parts))` gives the same parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

__all__ = [
    "Annotation",
    "Cast",
    "Default",
    "Each",
    "Index",
    "Name",
    "Part",
    "Reference",
    "Segment",
    "Slice",
    "references",
    "written",
]

_PLAIN_NAME = re.compile(r"[\w-]+")
_DOLLARS = re.compile(r"\$+(?=\{)")
_MEANS_MORE = re.compile(r"[{}|]|\$(?=\{)|@(?=\()")


class Name(NamedTuple):
    """`.name`, `["name"]` or `['name']`: a field of an object."""

    name: str

    def __str__(self) -> str:
        if _PLAIN_NAME.fullmatch(self.name):
            return f".{self.name}"
        quote = "'" if '"' in self.name else '"'
        return f"[{quote}{self.name}{quote}]"


class Index(NamedTuple):
    """`[0]` or `[-1]`: an item of a list."""

    position: int

    def __str__(self) -> str:
        return f"[{self.position}]"


class Slice(NamedTuple):
    """`[1:3]`: a part of a list."""

    start: int | None
    stop: int | None

    def __str__(self) -> str:
        return f"[{'' if self.start is None else self.start}:{'' if self.stop is None else self.stop}]"


class Each(NamedTuple):
    """`[*]`: the rest of the path, for each item of a list."""

    def __str__(self) -> str:
        return "[*]"


Segment = Name | Index | Slice | Each


@dataclass(frozen=True, slots=True)
class Cast:
    """`type[]/subtype[attr=value];format` after `as`.

    `attrs` are the attributes' names and their text as it is written; `attr_parts` are their values after reading where a
    reference stands in one of them, else empty.
    """

    type: str
    is_list: bool = False
    subtype: str | None = None
    attrs: tuple[tuple[str, str], ...] = ()
    format: str | None = None
    start: int = 0
    length: int = 0
    attr_parts: tuple[tuple[Part, ...], ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The subtype's comma-separated parts, as `select/a,b` and `slider/0,2,0.1` write them."""
        return tuple(part.strip() for part in self.subtype.split(",")) if self.subtype else ()

    def __str__(self) -> str:
        attrs = ",".join(f"{name}={value}" for name, value in self.attrs)
        return (
            self.type
            + ("[]" if self.is_list else "")
            + (f"/{self.subtype}" if self.subtype else "")
            + (f"[{attrs}]" if attrs else "")
            + (f";{self.format}" if self.format else "")
        )


@dataclass(frozen=True, slots=True)
class Default:
    """What stands after `|`: literal text and references. `quoted`: it was one quoted token, so it is text."""

    parts: tuple[Part, ...]
    quoted: bool
    start: int
    length: int

    @property
    def literal(self) -> str | None:
        """The default's text where no reference takes part in it, else None."""
        if any(isinstance(part, Reference) for part in self.parts):
            return None
        return "".join(str(part) for part in self.parts)

    def __str__(self) -> str:
        text = "".join(_written(self.parts, _escaped, r"\$"))
        quote = "'" if '"' in text else '"'
        return f"{quote}{text}{quote}" if self.quoted else text


class Annotation(NamedTuple):
    """`@(name text)`."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"@({self.name} {self.text})" if self.text else f"@({self.name})"


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${...}`. `source` is its first name; with `[]` directly after it (`response[]`) `per_chunk` is true."""

    source: str
    per_chunk: bool
    path: tuple[Segment, ...]
    cast: Cast | None
    default: Default | None
    annotations: tuple[Annotation, ...]
    start: int
    length: int
    source_start: int
    path_text: str

    @property
    def key(self) -> str:
        """The name under which a scope holds the source."""
        return f"{self.source}[]" if self.per_chunk else self.source

    @property
    def dotted(self) -> str:
        """The path with the dot that parts it from the source."""
        return f".{self.path_text}" if self.path_text and not self.path_text.startswith("[") else self.path_text

    def __str__(self) -> str:
        after = [f"as {self.cast}"] if self.cast else []
        after += [f"| {self.default}"] if self.default else []
        after += map(str, self.annotations)
        return f"${{{' '.join([self.key + ''.join(map(str, self.path)), *after])}}}"


Part = str | Reference


def references(parts: Iterable[Part]) -> Iterator[Reference]:
    """Every reference in a parsed scalar, each followed by those inside its attributes and its default."""
    for part in parts:
        if isinstance(part, Reference):
            yield part
            for inner in part.cast.attr_parts if part.cast else ():
                yield from references(inner)
            if part.default:
                yield from references(part.default.parts)


def written(parts: Iterable[Part]) -> str:
    """The scalar that reads as these parts."""
    return "".join(_written(parts, lambda text: _DOLLARS.sub(r"\g<0>\g<0>", text), "$$"))


def _written(parts: Iterable[Part], escaped: Callable[[str], str], dollar: str) -> Iterator[str]:
    """Each part as it is written; `dollar` is a dollar that stands before a reference."""
    found = tuple(parts)
    for part, after in zip_longest(found, found[1:]):
        if isinstance(part, Reference):
            yield str(part)
        elif isinstance(after, Reference):
            plain = part.rstrip("$")
            yield escaped(plain) + dollar * (len(part) - len(plain))
        else:
            yield escaped(part)


def _escaped(text: str) -> str:
    return _MEANS_MORE.sub(r"\\\g<0>", text)
