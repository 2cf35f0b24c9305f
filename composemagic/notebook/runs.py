"""Runs as a table, and one of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from composemagic.engine.summary import mark
from composemagic.errors import UsageError
from composemagic.notebook.look import FAINT, FRAME, SMALL, STYLE, clipped, escaped
from composemagic.text import plain
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.history import Past, Runs

__all__ = ["shown", "shown_one", "told"]

_MOST = 20
_INPUTS = 48
_TEXT = 60


class Shown(Protocol):
    """What a cell's value is shown as."""

    def __call__(self, value: Any) -> dict[str, str]: ...


def told(words: Sequence[str], shell: Any) -> None:
    """`%compose runs [COUNT] [COLUMN=VALUE ...]`: display the last runs, or the last of those that fit. Raises UsageError."""
    from IPython.display import display

    from composemagic.history import runs
    from composemagic.workflow.environment import pair
    from composemagic.workflow.written import scalar

    most, wanted = _MOST, {}
    for word in words:
        if word.isdigit() and int(word) > 0:
            most = int(word)
        elif "=" in word:
            name, value = pair(word, "%compose runs")
            wanted[name] = scalar(name, value, ())
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
    if not len(runs):
        sentence = say("there are no runs yet")
        return {"text/html": f'{FRAME}<div style="{SMALL}">{escaped(sentence)}</div></div>', "text/plain": sentence}
    heads = [say("no."), say("time"), say("workflow"), say("inputs"), say("model"), say("status"), say("seconds"),
             say("tokens"), say("cost"), say("text")]  # fmt: skip
    rows = [_cells(past) for past in runs[-most:]]
    used = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    rest = say("… and {count} before", count=len(runs) - len(rows)) if len(runs) > len(rows) else ""
    return {
        "text/html": _html([heads[at] for at in used], [[row[at] for at in used] for row in rows], rest),
        "text/plain": _text([heads[at] for at in used], [[row[at] for at in used] for row in rows], rest),
    }


def _cells(past: Past) -> list[str]:
    tokens = "" if past.tokens_out is None else str(past.tokens_out)
    cost = "" if past.cost is None else f"{past.cost:.4g}"
    seconds = "" if past.seconds is None else f"{past.seconds:.2f}"
    words = past.error if past.error and not past.text else past.text
    return [
        str(past.number),
        past.at.strftime("%m-%d %H:%M:%S"),
        clipped(past.workflow, 30),
        clipped(_inputs(past.inputs), _INPUTS),
        clipped(past.model or "", 30),
        mark(past.status),
        seconds,
        tokens,
        cost,
        clipped(words, _TEXT),
    ]


def _inputs(inputs: Any) -> str:
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name}={_value(value)}" for name, value in inputs.items())
    return "" if inputs is None else _value(inputs)


def _value(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, default=lambda one: type(one).__name__)
    )


def _html(heads: Iterable[str], rows: Iterable[Iterable[str]], rest: str) -> str:
    head = "".join(f"<th>{escaped(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
    before = f'<div style="{FAINT}">{escaped(rest)}</div>' if rest else ""
    return f'{STYLE}{FRAME}{before}<table style="{SMALL}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(heads: Sequence[str], rows: Sequence[Sequence[str]], rest: str) -> str:
    wide = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, wide, strict=True)).rstrip() for row in (heads, *rows)
    ]
    return plain("\n".join([*([rest] if rest else []), *lines]))


def shown_one(past: Past) -> dict[str, str]:
    """One run as it stood below its cell, and a line on when it was made."""
    from composemagic.notebook.still import bundle

    past_line = say(
        "run {number}, {at}: {workflow}({inputs})",
        number=past.number,
        at=past.at.strftime("%Y-%m-%d %H:%M:%S"),
        workflow=clipped(past.workflow, 60),
        inputs=clipped(_inputs(past.inputs), 200),
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
