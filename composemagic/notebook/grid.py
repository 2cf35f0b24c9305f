"""A sweep as HTML and as text: a card for each combination side by side, or a table where those would be too many."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from composemagic.engine.summary import summary, tokens_of
from composemagic.notebook.jobs import counted
from composemagic.notebook.look import FRAME, RED, SMALL, STYLE, clipped, escaped, folded
from composemagic.notebook.still import bundle
from composemagic.sweep import Trial, Trials
from composemagic.text import plain
from composemagic.words import listing, say

__all__ = [
    "caption",
    "card",
    "columns",
    "has_cards",
    "heading",
    "overview",
    "side_by_side",
    "slowest",
    "still",
    "table",
    "text_table",
    "trial_still",
]

Still = Mapping[str, str]

_MOST_CARDS = 24
_MOST_COLUMNS = 6
_CAPTION = 80
_ANSWER = 60
_MARKS = {
    "waiting": "○", "running": "▶", "interrupted": "?", "done": "✓", "stopped": "■", "truncated": "✗", "failed": "✗",
}  # fmt: skip
_CARD = (
    "border:1px solid var(--jp-border-color2,rgba(128,128,128,.4));border-radius:4px;padding:6px 10px;min-width:0;"
    "box-sizing:border-box;overflow-wrap:anywhere"
)
_BODY = "max-height:340px;overflow:auto"
_CELL = "text-align:left;vertical-align:top;padding:3px 10px 3px 0;white-space:normal"
_AS_A_JOB = {"interrupted": "running", "truncated": "failed"}  # how they are counted


# -- one combination -------------------------------------------------------------------------------------------------------


def caption(trial: Trial) -> str:
    """Its values as one line of text."""
    return " · ".join(f"{plain(name)} = {clipped(_said(value), _CAPTION)}" for name, value in trial.values.items())


def _said(value: object) -> str:
    return plain(value if isinstance(value, str) else repr(value))


def trial_still(trial: Trial) -> Still:
    """What a combination gave, as `text/html` without styles, and `text/plain`."""
    if trial.run is None or not trial.began:
        words = say("■ stopped before its turn") if trial.is_over else say("○ waiting")
        return {"text/html": f'<div style="{SMALL}">{escaped(words)}</div>', "text/plain": words}
    data = bundle(trial.run)
    return {**data, "text/html": data["text/html"].removeprefix(STYLE)}


def card(trial: Trial, body: str, *, words: str = "", slowest: float | None = None, in_page: bool = False) -> str:
    """A combination's card around HTML; `words` say how far it is, `slowest` is the longest total in seconds."""
    run = trial.run
    if run is not None and run.done and trial.began:
        words = say("{count} characters", count=f"{len(run.text):,}")
    told = f'<div style="{SMALL}">{escaped(words)}</div>' if words else ""
    style = _CARD if not in_page else "overflow-wrap:anywhere"
    mark = f"<span{_look(trial)}>{_MARKS[trial.status]} <b>{escaped(caption(trial))}</b></span>"
    return (
        f'<div style="{style}">{mark}{told}{_bar(trial, slowest)}<div style="{_BODY}" tabindex="0">{body}</div></div>'
    )


def _look(trial: Trial) -> str:
    return f' style="{RED}"' if trial.status in ("failed", "truncated") else ""


def _bar(trial: Trial, slowest: float | None) -> str:
    """How long it took beside the slowest one: first the wait for the first delta, then the rest."""
    run = trial.run
    if run is None or not trial.began or not slowest or run.timing.total is None:
        return ""
    total, first = run.timing.total, run.timing.first_delta
    wait = total if first is None else first
    parts = ((wait, "var(--jp-border-color1,#9e9e9e)"), (total - wait, "var(--jp-brand-color1,#1976d2)"))
    inner = "".join(
        f'<div style="width:{100 * seconds / slowest:.2f}%;background-color:{color};height:4px"></div>'
        for seconds, color in parts
    )
    words = say("{seconds} s", seconds=f"{total:.2f}")
    return f'<div title="{escaped(words)}" style="display:flex;margin:3px 0;background-color:rgba(128,128,128,.15)">{inner}</div>'


# -- all of them -----------------------------------------------------------------------------------------------------------


def has_cards(trials: Trials) -> bool:
    """Whether each combination gets a card, side by side; else each is a row of a table."""
    return len(trials) <= _MOST_CARDS and len(trials.axes) <= 2


def columns(trials: Trials) -> str:
    """The cards' columns for CSS: the last axis of two goes to the right."""
    last = len([*trials.axes.values()][-1])
    if len(trials.axes) > 1 and last <= _MOST_COLUMNS:
        return f"repeat({last}, minmax(200px, 1fr))"
    return "repeat(auto-fill, minmax(min(240px, 100%), 1fr))"


def heading(trials: Trials, words: str = "") -> str:
    """What stands above: the title, how many there are and what has become of them."""
    title = f"<b>{escaped(clipped(trials.workflow.title))}</b>"
    return f'{FRAME}{title} &nbsp;<span style="{SMALL}">{escaped(words or overview(trials))}</span></div>'


def overview(trials: Trials) -> str:
    """How many combinations there are, and in which status."""
    counts = Counter(trial.status for trial in trials.trials)
    told = [counted(_AS_A_JOB.get(status, status), counts[status]) for status in _MARKS if counts[status]]
    if len(trials) == 1:
        return say("1 combination: {told}", told=told[0])
    return say("{count} combinations: {told}", count=len(trials), told=listing(told))


def still(trials: Trials, stills: Sequence[Still]) -> dict[str, str]:
    """The static copy of all, which stands in a saved notebook."""
    if has_cards(trials):
        slow = slowest(trials)
        pairs = zip(trials.trials, stills, strict=True)
        body = side_by_side(trials, [card(trial, one["text/html"], slowest=slow) for trial, one in pairs])
    else:
        body = table(trials, [one["text/html"] for one in stills])
    return {"text/html": f"{STYLE}{heading(trials)}{body}", "text/plain": text_table(trials)}


def side_by_side(trials: Trials, cards: Sequence[str]) -> str:
    """Cards in columns."""
    grid = f"display:grid;gap:8px;grid-template-columns:{columns(trials)}"
    return f'<div style="overflow-x:auto"><div style="{grid}">{"".join(cards)}</div></div>'


def slowest(trials: Trials) -> float | None:
    """The longest total of those that have ended, in seconds."""
    totals = [one.run.timing.total for one in trials.trials if one.run is not None and one.began]
    return max((total for total in totals if total is not None), default=None)


def table(trials: Trials, bodies: Sequence[str]) -> str:
    """A row for each combination; `bodies` are HTML, folded below the first words of those that have ended."""
    head = "".join(f'<th style="{_CELL}">{escaped(clipped(name))}</th>' for name in (*trials.axes, *_head()))
    rows = "".join(_row(trial, body) for trial, body in zip(trials.trials, bodies, strict=True))
    return f'<div style="overflow-x:auto">{FRAME}<table><tr>{head}</tr>{rows}</table></div></div>'


def _row(trial: Trial, body: str) -> str:
    cells = [escaped(clipped(_said(value), _CAPTION)) for value in trial.values.values()]
    told = [f"<span{_look(trial)}>{escaped(word)}</span>" for word in _figures(trial)]
    words = escaped(_answer(trial, _CAPTION))
    answer = folded(words or "…", body) if body and trial.is_over and trial.began else body or words
    inner = "".join(f'<td style="{_CELL}">{cell}</td>' for cell in (*cells, *told, answer))
    return f"<tr>{inner}</tr>"


def _head() -> tuple[str, ...]:
    return "", say("first delta"), say("total"), say("characters"), say("tokens"), say("answer")


def _figures(trial: Trial) -> tuple[str, ...]:
    """Status, first delta, total, characters, tokens."""
    run = trial.run
    if run is None or not trial.began:
        return _MARKS[trial.status], "", "", "", ""
    seconds = (run.timing.first_delta, run.timing.total)
    told = ("" if one is None else say("{seconds} s", seconds=f"{one:.2f}") for one in seconds)
    tokens = tokens_of(run.usage)
    return _MARKS[trial.status], *told, f"{len(run.text):,}", "" if tokens is None else f"{tokens:,}"


def _answer(trial: Trial, most: int) -> str:
    """The first words of an answer, or why there is none."""
    run = trial.run
    if run is None or not trial.began:
        return ""
    return clipped(run.text if run.text or run.error is None else run.error.sentence, most)


def text_table(trials: Trials) -> str:
    """All combinations as lines of text, in columns."""
    rows = [[*map(plain, trials.axes), *_head()]]
    for trial in trials.trials:
        values = [clipped(_said(value), _ANSWER // 2) for value in trial.values.values()]
        rows.append([*values, *_figures(trial), _answer(trial, _ANSWER)])
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_filled(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    failed = [
        f"{caption(trial)}: {summary(trial.run)}"
        for trial in trials.trials
        if trial.run is not None and trial.status in ("failed", "truncated")
    ]
    return "\n".join([f"{plain(trials.workflow.title)} · {overview(trials)}", *lines, *failed])


def _width(text: str) -> int:
    """Columns of a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _filled(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
