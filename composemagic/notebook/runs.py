"""Runs as a table, and one of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from composemagic.engine.summary import mark
from composemagic.errors import UsageError
from composemagic.history.tape import as_json
from composemagic.notebook.look import FAINT, FRAME, SMALL, STYLE, clipped, escaped
from composemagic.prices import cost_text
from composemagic.terminal import columns
from composemagic.text import plain
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.history import Past, Runs

__all__ = ["shown", "shown_one", "told"]

_MOST = 20
_INPUTS, _VALUES = 72, (24, 16, 8)  # columns of the screen: of all inputs, of each where there are few, more, many
_TEXT = 60
# columns that hold words: `text=5` looks for the sign and not for the number
_WORDS = frozenset({"workflow", "name", "model", "status", "text", "error", "kind"})


class Shown(Protocol):
    """What a cell's value is shown as."""

    def __call__(self, value: Any) -> dict[str, str]: ...


def told(words: Sequence[str], shell: Any) -> None:
    """`%compose runs [COUNT] [COLUMN=VALUE ...]`: display the last runs, or the last of those that fit. Raises UsageError."""
    from IPython.display import display

    from composemagic.history import runs
    from composemagic.workflow.environment import pair
    from composemagic.workflow.written import scalar

    most, wanted = _MOST, dict[str, Any]()
    for word in words:
        if word.isdecimal() and int(word) > 0:
            most = int(word)
        elif "=" in word:
            name, value = pair(word, "%compose runs")
            wanted[name] = value if name in _WORDS else scalar(name, value, ())
        else:
            raise UsageError(
                say("`%compose runs` takes a number of runs and COLUMN=VALUE, not `{word}`", word=clipped(word, 40))
            )
    found = runs.filter(**wanted) if wanted else runs
    display(_bundle(found, most), raw=True)


def shown(runs: Runs) -> dict[str, str]:
    """The last runs as `text/html` and `text/plain`."""
    return _bundle(runs, _MOST)


def _bundle(runs: Runs, most: int) -> dict[str, str]:
    from composemagic.history import runs as all_runs

    if not len(runs):
        sentence = say("no run fits") if len(all_runs) else say("there are no runs yet")
        return {"text/html": f'{FRAME}<div style="{SMALL}">{escaped(sentence)}</div></div>', "text/plain": sentence}
    heads = [say("no."), say("time"), say("workflow"), say("inputs"), say("model"), say("status"), say("seconds"),
             say("tokens"), say("cost"), say("text")]  # fmt: skip
    rows = [_cells(past) for past in runs[-most:]]
    used = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    rest = say("… and {count} before", count=len(runs) - len(rows)) if len(runs) > len(rows) else ""
    cells, how = [[row[at] for at in used] for row in rows], _how(runs[-1], all_runs)
    return {
        "text/html": _html([heads[at] for at in used], cells, rest, how),
        "text/plain": _text([heads[at] for at in used], cells, rest, how),
    }


def _how(past: Past, runs: Runs) -> str:
    """What to write for a row, told of the last one: numbers follow each other, and old runs give way at the front."""
    place = past.number - runs[0].number if len(runs) else -1
    if not 0 <= place < len(runs) or runs[place] is not past:
        return ""
    return say("no. {number} is `composemagic.runs[{place}]`", number=past.number, place=place)


def _cells(past: Past) -> list[str]:
    tokens = "" if past.tokens_out is None else str(past.tokens_out)
    cost = "" if past.cost is None else cost_text(past.cost)
    seconds = "" if past.seconds is None else f"{past.seconds:.2f}"
    words = past.error if past.error and not past.text else past.text
    return [
        str(past.number),
        past.at.strftime("%m-%d %H:%M:%S"),
        clipped(past.workflow, 30),
        _inputs(past.inputs),
        clipped(past.model or "", 30),
        mark(past.status),
        seconds,
        tokens,
        cost,
        clipped(words, _TEXT),
    ]


def _inputs(inputs: Any) -> str:
    """The inputs on a line; each is clipped by itself, for the last of them may be what tells two runs apart."""
    told = ""
    for most in _VALUES:
        told = _joined(inputs, most)
        if columns(told) <= _INPUTS:
            break
    return _fitting(told, _INPUTS)


def _joined(inputs: Any, most: int | None = None) -> str:
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name}={_fitting(_value(value), most)}" for name, value in inputs.items())
    return "" if inputs is None else _fitting(_value(inputs), most and _INPUTS)


def _fitting(text: str, most: int | None) -> str:
    """A text as one line of at most so many columns of a screen."""
    if most is None:
        return text
    words = clipped(text, most)
    while columns(words) > most:
        words = f"{words.removesuffix('…')[:-1]}…"
    return words


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=lambda one: type(one).__name__)
    except (TypeError, ValueError, RecursionError):  # keys that are no texts, a value that holds itself
        return as_json(value)


def _html(heads: Iterable[str], rows: Iterable[Iterable[str]], rest: str, how: str) -> str:
    head = "".join(f"<th>{escaped(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
    before, after = (f'<div style="{FAINT}">{escaped(one)}</div>' if one else "" for one in (rest, how))
    table = f'<table style="{SMALL}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f"{STYLE}{FRAME}{before}{table}{after}</div>"


def _text(heads: Sequence[str], rows: Sequence[Sequence[str]], rest: str, how: str) -> str:
    wide = [max(columns(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = [
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, wide, strict=True)).rstrip()
        for row in (heads, *rows)
    ]
    return plain("\n".join(filter(None, [rest, *lines, how])))


def shown_one(past: Past) -> dict[str, str]:
    """One run as it stood below its cell, and a line on when it was made."""
    from composemagic.notebook.still import bundle

    past_line = say(
        "run {number}, {at}: {workflow}({inputs})",
        number=past.number,
        at=past.at.strftime("%Y-%m-%d %H:%M:%S"),
        workflow=clipped(past.workflow, 60),
        inputs=clipped(_joined(past.inputs), 200),
    )
    if past.status in ("running", "interrupted"):
        below = {"text/html": "", "text/plain": mark(past.status)}
    else:
        replay = past.replay(None)
        replay.begin()
        replay.wait(10)
        below = bundle(replay)  # type: ignore[arg-type]  # it has what a view asks of a run
    head = f'<div style="{FAINT}">{escaped(past_line)}</div>'
    return {
        "text/html": f"{STYLE}{FRAME}{head}</div>{below['text/html']}",
        "text/plain": f"{plain(past_line)}\n{below['text/plain']}",
    }
