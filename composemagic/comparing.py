"""Two runs side by side: what was asked, what was sent, what came, with the differences marked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

from composemagic.engine.run import Run
from composemagic.errors import UsageError
from composemagic.history.past import Past
from composemagic.prices import tokens
from composemagic.text import plain
from composemagic.words import say

__all__ = ["Comparison", "Piece", "Row", "compare"]

_MOST_WORDS = 4_000  # beyond, lines are compared: word by word would take minutes
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_LINE = re.compile(r"[^\n]*\n?")

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


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs have in common and what not.

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
                lines += [f"{head}:", *(f"  {row.name}: {_told(row.first)} → {_told(row.second)}" for row in found)]
        if not self.is_traced:
            lines.append(_untraced())
        if self.is_same_text:
            lines.append(say("both gave the same text"))
        else:
            lines += [f"{say('text')}:", "".join(map(_marked, self.text))]
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
        (_title(first), _title(second)),
        _rows(_inputs(first), _inputs(second)),
        _rows(*(one or {} for one in sent)) if all(one is not None for one in sent) else (),
        _rows(_facts(first), _facts(second)),
        tuple(differences(first.text, second.text)),
        all(one is not None for one in sent),
    )


def _untraced() -> str:
    return say("the requests themselves are compared where both were run with `trace`")


# -- what there is to compare --------------------------------------------------------------------------------------------


def _title(one: Run | Past) -> str:
    return one.workflow if isinstance(one, Past) else one.plan.title or one.plan.id


def _inputs(one: Run | Past) -> dict[str, str]:
    value = one.inputs if isinstance(one, Past) else one.redact.value(one.input)
    return _leaves(value)


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
    mine, other = _WORD.findall(first), _WORD.findall(second)
    if len(mine) + len(other) > 2 * _MOST_WORDS:
        mine, other = _LINE.findall(first), _LINE.findall(second)
    for kind, a, b, c, d in SequenceMatcher(None, mine, other, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Piece("same", "".join(mine[a:b]))
            continue
        if a < b:
            yield Piece("first", "".join(mine[a:b]))
        if c < d:
            yield Piece("second", "".join(other[c:d]))


def _marked(piece: Piece) -> str:
    match piece.kind:
        case "first":
            return f"[-{piece.text}-]"
        case "second":
            return f"{{+{piece.text}+}}"
    return piece.text


def _told(value: str | None) -> str:
    if value is None:
        return say("(none)")
    line = " ".join(value.split())
    return line if len(line) <= 120 else f"{line[:119]}…"
