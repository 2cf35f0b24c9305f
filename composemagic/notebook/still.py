"""The static copy of a run: what stands in a saved notebook, in nbconvert's pages, and where a run is a cell's value."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from composemagic.engine.events import Delta, Notice
from composemagic.engine.run import Run
from composemagic.engine.summary import summary
from composemagic.notebook import jobs
from composemagic.notebook.lights import Lights
from composemagic.notebook.look import (
    FAINT,
    FRAME,
    RED,
    SMALL,
    STYLE,
    clipped,
    escaped,
    folded,
    preformatted,
    shortened,
)
from composemagic.notebook.markdown import render
from composemagic.notebook.questions import asked_html, asked_text
from composemagic.notebook.streams import labelled, midway_texts
from composemagic.notebook.tree import at_path, tree, value_text
from composemagic.text import plain
from composemagic.words import say

__all__ = ["Still", "bundle", "nothing", "output_text"]

Path = tuple[str | int, ...]

_FEW_NOTES = 3
_MOST_GIVEN = 20_000  # characters of what jobs gave to others


class Still:
    """A run in a kernel that nobody watches: the static copy, sent once from the cell's own thread."""

    attended = False

    def show(self) -> None:
        """Nothing is shown before the end."""

    def follow(self, run: Run) -> None:
        """Nothing is shown before the end."""

    def finish(self, run: Run) -> None:
        """Display the static copy; the cell raises the error."""
        from IPython.display import display

        display(bundle(run, tell_errors=False), raw=True)


def bundle(run: Run, *, tell_errors: bool = True, texts: Mapping[Path, str] | None = None) -> dict[str, str]:
    """A run as `text/html` and `text/plain`, the output first, all else below it.

    `texts` are those of the output's streams, by their places in it, that are HTML already.
    """
    error = plain(str(run.error)) if tell_errors and run.error else ""
    events = run.events
    notes = [event for event in events if isinstance(event, Notice)]
    last = summary(run)
    problem = f'<pre class="compose-words" style="{RED}">{escaped(error)}</pre>' if error else ""
    foot = f'<div style="{SMALL};margin-top:4px">{escaped(last)}</div>'
    told = {event.job for event in events if type(event) is Delta}
    below = [problem, foot, _jobs_html(run, told), asked_html(run), _notes_html(notes, is_open=not run.text)]
    value = run.output  # once: it is joined from all there was
    empty = _nothing(run, value)
    lines = [
        empty or _output_text(run, value),
        error,
        last,
        *_jobs_text(run),
        *asked_text(run),
        *(plain(str(note)) for note in notes),
    ]
    return {
        "text/html": f"{STYLE}{FRAME}{_dim(empty) or _output_html(run, value, texts)}{''.join(below)}</div>",
        "text/plain": "\n".join(line for line in lines if line),
    }


# -- the output --------------------------------------------------------------------------------------------------------


def _dim(sentence: str) -> str:
    return f'<div style="{SMALL}">{escaped(sentence)}</div>' if sentence else ""


def _output_html(run: Run, value: Any, texts: Mapping[Path, str] | None) -> str:
    return "" if value is None else tree(value, _texts(value, _places(run), texts or {}))


def output_text(run: Run) -> str:
    """The output as text for people."""
    return _output_text(run, run.output)


def _output_text(run: Run, value: Any) -> str:
    if value is None:
        return ""
    return plain(run.text) if isinstance(value, str) or run.encoding == "json" else value_text(value)


def nothing(run: Run) -> str:
    """The sentence on a run that is done and gave nothing; empty for any other."""
    return _nothing(run, run.output)


def _nothing(run: Run, value: Any) -> str:
    is_empty = value is None or (isinstance(value, str | bytes) and not value)
    if run.status != "done" or not is_empty:
        return ""
    if run.is_stream:
        return say("The output is an empty stream.")
    return say("The output is null.") if value is None else say("The output is empty.")


def _places(run: Run) -> list[Path]:
    """Where texts stand that have come as such; a whole output that is a text is one."""
    return list(dict.fromkeys(event.path for event in run.events if type(event) is Delta))


def _texts(value: Any, places: Iterable[Path], known: Mapping[Path, str]) -> dict[Path, str]:
    """The texts at these places as HTML: they are for people, and read as Markdown."""
    found = {path: at_path(value, path) for path in places}
    return {
        path: shortened(known.get(path) or render(text), text) for path, text in found.items() if isinstance(text, str)
    }


# -- what stands below it ------------------------------------------------------------------------------------------------


def _jobs_html(run: Run, told: Container[str]) -> str:
    """The jobs' lines, and below each what it gave to others, which was read while it came; not of those that are told of."""
    if not jobs.are_several(run):
        return ""
    given = _given(run, told)
    lines = jobs.html_lines(run, lambda job: given.get(job, ""))
    body = _beside(Lights(run).svg(), lines)
    lines = folded(escaped(jobs.overview(run)), body, is_open=not jobs.went_well(run))
    return f'<div style="{SMALL}">{lines}</div>'


def _given(run: Run, told: Container[str]) -> dict[str, str]:
    """What jobs gave to others, as HTML by the job: so much of each that all of them together stay readable."""
    found = [(job, midway_texts(run, job)) for job in run.jobs if job not in told]
    most = _MOST_GIVEN // max(1, sum(len(texts) for _, texts in found))
    return {job: "".join(_given_text(job, path, text, most) for path, text in texts.items()) for job, texts in found}


def _given_text(job: str, path: Path, text: str, most: int) -> str:
    page = shortened(render(text[:most]), text[:most])
    if (more := len(text) - most) > 0:
        rest = say("… {count} characters more in `.jobs[{job}].output`", count=f"{more:,}", job=repr(clipped(job)))
        page += f'<div class="compose-dim">{escaped(rest)}</div>'
    return f'<div class="compose-under">{labelled(path, page)}</div>'


def _beside(picture: str, lines: str) -> str:
    """The picture of the jobs, and their lines below it, or beside it where there is room."""
    if not picture:
        return lines
    return f'<div class="compose-graph">{picture}<div>{lines}</div></div>'


def _jobs_text(run: Run) -> list[str]:
    if not jobs.are_several(run):
        return []
    return [jobs.overview(run), *([] if jobs.went_well(run) else [f"  {line}" for line in jobs.text_lines(run)])]


def _notes_html(notes: list[Notice], *, is_open: bool) -> str:
    """Notes, each folded to its sentence; many of them folded to how many they are."""
    if not notes:
        return ""
    body = "".join(_note(note, is_open=is_open) for note in notes)
    if len(notes) > _FEW_NOTES:
        body = folded(escaped(say("{count} notes", count=len(notes))), body, is_open=is_open)
    return f'<div style="{FAINT}">{body}</div>'


def _note(note: Notice, *, is_open: bool) -> str:
    """A note, and below it the line of the document it is about: its caret needs the columns of a terminal."""
    if note.mark is None:
        return f"<div>{escaped(note.sentence)}</div>"
    return folded(escaped(note.sentence), preformatted(note.mark.draw()), is_open=is_open)
