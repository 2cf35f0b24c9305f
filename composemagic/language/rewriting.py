"""How a document's tree is rewritten: where each part of it came from, what was read, and what a rule is given to work on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

__all__ = ["PUT_IN", "Keys", "Modern", "Rule", "Spot"]

Path = tuple[str | int, ...]

PUT_IN = "job."  # what an older spelling of some texts lacks


class Keys(NamedTuple):
    """What the YAML of a component type may say today, on the component and in an action."""

    settings: Collection[str] = ()
    action: Collection[str] = ("output",)


@dataclass(slots=True)
class Modern:
    """A document's tree in today's spelling, the notes on what was read, and where moved paths came from.

    `streams`: somewhere in it an output is cast to a stream. `singles` are the places of plural keys that hold a single
    thing without an id, such as `components` over `type: ...`, which were read as the singular. `longer` are the texts in which
    `job.` was put in, and at which characters of the user's text. `mistakes` are what an older
    spelling can say and today's cannot.
    """

    data: dict[str, Any]
    streams: bool = False
    notes: list[tuple[str, Path]] = field(default_factory=list)
    origins: dict[Path, Path] = field(default_factory=dict)
    singles: list[Path] = field(default_factory=list)
    longer: dict[Path, list[int]] = field(default_factory=dict)
    mistakes: list[tuple[str, Path]] = field(default_factory=list)

    def origin(self, path: Path) -> Path:
        """The path in the user's own document of a path in `data`."""
        for end in range(len(path), 0, -1):
            found = self.origins.get(path[:end])
            if found is not None:
                return found + path[end:]
        return path

    def start(self, path: Path, start: int) -> int:
        """The character of the user's own text that became this one of the text at a path."""
        for put_in in self.longer.get(path, ()):
            if start > put_in:
                start = max(put_in, start - len(PUT_IN))
        return start


@dataclass(frozen=True, slots=True)
class Spot:
    """A mapping of the tree that is being rewritten, its path in today's spelling, and what it is part of.

    `keys` are those of the component type it belongs to.
    """

    modern: Modern
    data: dict[str, Any]
    path: Path = ()
    above: Spot | None = None
    keys: Keys = Keys()  # noqa: RUF009 - a tuple of tuples

    def note(self, sentence: str) -> None:
        self.modern.notes.append((sentence, self.path))

    def came(self, path: Path, *origin: str | int) -> None:
        """Remember that what stands at `path` below was written at `origin` below."""
        self.modern.origins[(*self.path, *path)] = (*self.modern.origin(self.path), *origin)

    def rename(self, old: str, new: str) -> bool:
        """Give a key its name of today, in its place; false where there is no such key, or both stand there."""
        if old not in self.data or new in self.data:
            return False
        items = [(new if key == old else key, value) for key, value in self.data.items()]
        self.data.clear()
        self.data.update(items)
        self.came((new,), old)
        return True

    def inner(self, key: str) -> Iterator[Spot]:
        """The mappings of a list below, copied in place so that rewriting them leaves the user's tree alone."""
        found = self.data.get(key)
        if isinstance(found, list):
            self.data[key] = found = list(found)
            for at, value in enumerate(found):
                if isinstance(value, dict):
                    found[at] = dict(value)
                    yield self.below(found[at], key, at)

    def one(self, key: str) -> Iterator[Spot]:
        """The mapping below a key, copied likewise, if it is one."""
        found = self.data.get(key)
        if isinstance(found, dict):
            self.data[key] = dict(found)
            yield self.below(self.data[key], key)

    def below(self, data: dict[str, Any], *steps: str | int) -> Spot:
        return replace(self, data=data, path=(*self.path, *steps), above=self)


class Rule(NamedTuple):
    """An older spelling: since when it was written (`docs`: only in the peer's documentation), where it stands - in a
    document, workflow, job, component or action - and what rewrites it."""

    since: str
    where: str
    rewrite: Callable[[Spot], None]
