"""Two runs side by side: what was asked, what was sent, what came, with the differences marked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from composemagic.engine.run import Run
from composemagic.errors import UsageError
from composemagic.history.past import Past, without_secrets
from composemagic.history.sequence import runs
from composemagic.prices import tokens
from composemagic.text import plain
from composemagic.words import say

__all__ = ["Comparison", "Piece", "Row", "compare"]

_MOST_WORDS = 4_000  # beyond, lines are compared: word by word would take minutes
# Chinese and Japanese put no spaces between words: each sign is one
_SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_WORD = re.compile(rf"\s+|[{_SIGNS}]|[^\W{_SIGNS}]+|[^\w\s]")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_MOST_LINES = 4_000  # beyond, texts that begin and end in other ways count as other texts
_LONG = 100_000  # characters
_TOLD = 120
_TITLE, _INPUTS = 60, 40  # characters of a head

Kind = Literal["same", "first", "second"]


class Piece(NamedTuple):
    """A piece of text that both have, or only one of them."""

    kind: Kind
    text: str


class Row(NamedTuple):
    """One thing in which the two may differ; None where one lacks it."""

    name: str
    first: str | None
    second: str | None

    @property
    def differs(self) -> bool:
        """Whether it does."""
        return self.first != self.second

    def shown(self, most: int) -> tuple[str | None, str | None]:
        """Both values as lines of at most so many characters: of long ones what stands around the first that differs."""
        first, second = (None if value is None else " ".join(value.split()) for value in (self.first, self.second))
        cut = 0
        if first is not None and second is not None and max(len(first), len(second)) > most:
            start = _common(first, second)
            cut = max(0, min(start - most // 4, max(len(first), len(second)) - most + 1))
        return _clipped(first, cut, most), _clipped(second, cut, most)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs have in common and what not.

    `titles`: what tells them apart: the workflow, the number and the time where it is in the list of runs, other inputs.
    `requests`: what was sent, by the path in the request, where both were run with `trace`; `inputs` what they were given;
    `facts` model, status, seconds, tokens, lengths; `text` the pieces of both texts, in their order.
    """

    titles: tuple[str, str]
    inputs: tuple[Row, ...]
    requests: tuple[Row, ...]
    facts: tuple[Row, ...]
    text: tuple[Piece, ...]
    is_traced: bool

    @property
    def is_same_text(self) -> bool:
        """Whether both gave the same text."""
        return all(piece.kind == "same" for piece in self.text)

    def __str__(self) -> str:
        lines = [" ↔ ".join(map(plain, self.titles))]
        for head, rows in ((say("inputs"), self.inputs), (say("request"), self.requests), (say("run"), self.facts)):
            found = [row for row in rows if row.differs]
            if found:
                lines += [f"{head}:", *(f"  {row.name}: {_told(row)}" for row in found)]
        if not self.is_traced:
            lines.append(_untraced())
        if self.is_same_text:
            lines.append(say("both gave the same text"))
        else:
            lines += [f"{say('text')}:", _all_marked(self.text)]
        return plain("\n".join(lines))


def compare(first: Run | Past, second: Run | Past) -> Comparison:
    """Compare two runs: `print` it, or let a cell end with it. Raises UsageError for what is no run, or is under way."""
    for one in (first, second):
        if not isinstance(one, Run | Past):
            raise UsageError(say("`compare` takes two runs, such as `runs[-1]`, not {value}", value=type(one).__name__))
        if one.status in ("running", "interrupted"):
            raise UsageError(say("a run can be compared when it is over; this one is under way"))
    sent = [_sent(one) for one in (first, second)]
    return Comparison(
        _titles(first, second),
        _rows(_inputs(first), _inputs(second)),
        _rows(*(one or {} for one in sent)) if all(one is not None for one in sent) else (),
        _rows(_facts(first), _facts(second)),
        tuple(differences(first.text, second.text)),
        all(one is not None for one in sent),
    )


def _untraced() -> str:
    return say("the requests themselves are compared where both were run with `trace`")


# -- what there is to compare --------------------------------------------------------------------------------------------


def _titles(first: Run | Past, second: Run | Past) -> tuple[str, str]:
    rows = [row for row in _rows(_inputs(first), _inputs(second)) if row.differs]
    mine = _title(first, {row.name: row.first for row in rows})
    other = _title(second, {row.name: row.second for row in rows})
    if mine != other or first is second:
        return mine, other
    return say("{title}, the first", title=mine), say("{title}, the second", title=other)


def _title(one: Run | Past, inputs: Mapping[str, str | None]) -> str:
    """A run's head: its workflow, its number and time where they are known, and its inputs where they are short."""
    past = one if isinstance(one, Past) else next((past for past in reversed(list(runs)) if past.run is one), None)
    title = past.workflow if past is not None else one.plan.title or one.plan.id  # type: ignore[union-attr]
    parts = [_clipped(" ".join(title.split()), 0, _TITLE) or ""]
    if past is not None:
        parts += [say("no. {number}", number=past.number), past.at.strftime("%H:%M:%S")]
    told = ", ".join(f"{name}={' '.join(value.split())}" for name, value in inputs.items() if value is not None)
    return " · ".join([*parts, *([told] if told and len(told) <= _INPUTS else [])])


def _inputs(one: Run | Past) -> dict[str, str]:
    return _leaves(one.inputs if isinstance(one, Past) else without_secrets(one))


def _facts(one: Run | Past) -> dict[str, str]:
    if isinstance(one, Past):
        seconds, first_delta, usage = one.seconds, one.first_delta, one.usage
    else:
        seconds, first_delta, usage = one.timing.total, one.timing.first_delta, one.usage
    told: dict[str, Any] = {
        say("model"): one.model,
        say("status"): one.status,
        say("seconds"): None if seconds is None else f"{seconds:.2f}",
        say("first delta"): None if first_delta is None else f"{first_delta:.2f}",
        say("tokens"): tokens(usage)[1],
        say("characters"): len(one.text),
    }
    return {name: str(value) for name, value in told.items() if value is not None}


def _sent(one: Run | Past) -> dict[str, str] | None:
    """The requests of a run as paths and values; None where it was not traced."""
    run = one.run if isinstance(one, Past) else one
    if run is None or run.trace is None:
        return None
    found: dict[str, str] = {}
    for number, exchange in enumerate(run.trace.exchanges, 1):
        name = f"{number} " if len(run.trace.exchanges) > 1 else ""
        found[f"{name}{exchange.method}"] = exchange.url
        found |= {f"{name}{key}": value for key, value in exchange.headers}
        found |= {f"{name}{path}": value for path, value in _leaves(exchange.body).items()}
    return found


def _leaves(value: Any) -> dict[str, str]:
    """The single values of a nested one, by their paths."""
    return dict(_walk(value, ""))


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from _walk(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for at, one in enumerate(value):
            yield from _walk(one, f"{path}[{at}]")
    elif value is not None or path:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)


def _rows(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Row, ...]:
    names = dict.fromkeys((*first, *second))
    return tuple(Row(name, first.get(name), second.get(name)) for name in names)


# -- texts ---------------------------------------------------------------------------------------------------------------


def differences(first: str, second: str) -> Iterator[Piece]:
    """The pieces of two texts, word by word; of long ones line by line."""
    mine, other = _parts(first, second)
    start = _common(mine, other)
    end = _common(mine[start:][::-1], other[start:][::-1])
    if start:
        yield Piece("same", "".join(mine[:start]))
    yield from _between(mine[start : len(mine) - end], other[start : len(other) - end])
    if end:
        yield Piece("same", "".join(mine[len(mine) - end :]))


def _parts(first: str, second: str) -> tuple[list[str], list[str]]:
    if len(first) + len(second) <= _LONG:
        mine, other = _WORD.findall(first), _WORD.findall(second)
        if len(mine) + len(other) <= 2 * _MOST_WORDS:
            return mine, other
    return _LINE.findall(first), _LINE.findall(second)


def _common(mine: Sequence[str], other: Sequence[str]) -> int:
    """How many parts both begin with."""
    pairs = enumerate(zip(mine, other, strict=False))
    return next((at for at, (one, two) in pairs if one != two), min(len(mine), len(other)))


def _between(mine: list[str], other: list[str]) -> Iterator[Piece]:
    if len(mine) + len(other) > 2 * _MOST_LINES:  # pairs of all would take minutes
        yield from [Piece("first", "".join(mine))] * bool(mine) + [Piece("second", "".join(other))] * bool(other)
        return
    for kind, a, b, c, d in SequenceMatcher(None, mine, other, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Piece("same", "".join(mine[a:b]))
            continue
        if a < b:
            yield Piece("first", "".join(mine[a:b]))
        if c < d:
            yield Piece("second", "".join(other[c:d]))


def _all_marked(pieces: Sequence[Piece]) -> str:
    """The text of both; a space stands between what went and what came for it."""
    marked = [_marked(piece) for piece in pieces[:1]]
    for before, piece in pairwise(pieces):
        marked.append(f"{' ' if before.kind == 'first' and piece.kind == 'second' else ''}{_marked(piece)}")
    return "".join(marked)


def _marked(piece: Piece) -> str:
    match piece.kind:
        case "first":
            return f"[-{piece.text}-]"
        case "second":
            return f"{{+{piece.text}+}}"
    return piece.text


def _told(row: Row) -> str:
    return " → ".join(say("(none)") if value is None else value for value in row.shown(_TOLD))


def _clipped(line: str | None, cut: int, most: int) -> str | None:
    if line is None:
        return None
    kept = f"{'…' if cut else ''}{line[cut:]}"
    return kept if len(kept) <= most else f"{kept[: most - 1]}…"
