"""The streams of a run while they come: of its output, each by its job and its place there, and those that jobs give before."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from composemagic.engine.events import Delta
from composemagic.engine.run import Run
from composemagic.engine.schedule import JobState
from composemagic.engine.stream import Stream
from composemagic.notebook.jobs import are_several
from composemagic.notebook.look import escaped, line, preformatted
from composemagic.notebook.markdown import LIMIT, Growing, Step, framed
from composemagic.notebook.tree import at_path, value_text
from composemagic.words import say

__all__ = ["Midway", "News", "Streams", "labelled", "midway_texts"]

Path = tuple[str | int, ...]

_CODE = re.compile("<pre><code[^>]*>")

_MOST_WHOLE = 8  # of more streams nobody reads all: each shows its last line
_TAIL = 160  # characters
_SHOWN = 40_000  # characters of HTML that are finished, of a text while it grows
_PIECES = 50
_PIECE = 2_000  # characters


class News(NamedTuple):
    """What is new in one stream of a job. `is_whole`: the step is about all of it, else the tail has its last words."""

    job: str
    path: Path
    step: Step
    is_whole: bool


class Streams:
    """What streams have given, as HTML: all of each as Markdown; of many at once the last words of each."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, Path], _Text | _Pieces] = {}
        self._of: dict[str, list[Path]] = {}  # the places that a job gives something to
        self._changed: dict[tuple[str, Path], None] = {}
        self._were_whole = True

    def add(self, run: Run, delta: Delta) -> None:
        """Take a delta."""
        value, job, path = delta
        stream = self._all.get((job, path))
        if stream is None:
            # pieces of one text, or values of their own: the output itself tells
            stream = _Text() if isinstance(at_path(run.output, path), str) else _Pieces()
            self._all[job, path] = stream
            self._of.setdefault(job, []).append(path)
        self._changed[job, path] = None
        stream.add(value)

    def html(self, job: str | None = None) -> str:
        """What the streams of a job, or all, have given; of a very long text the end."""
        if job is None:
            return "".join(self._shown(key) for key in self._all)
        return "".join(self._shown((job, path)) for path in self._of.get(job, ()))

    def tells_of(self, job: str) -> bool:
        """Whether a job has given something to the output."""
        return job in self._of

    def _shown(self, key: tuple[str, Path]) -> str:
        stream = self._all[key]
        return labelled(key[1], stream.end() if len(self._all) <= _MOST_WHOLE else stream.tail())

    def news(self) -> list[News]:
        """What has come since the last call, for a page that keeps what it was given."""
        is_whole = len(self._all) <= _MOST_WHOLE
        changed = self._changed if is_whole == self._were_whole else self._all
        found = [News(*key, _step(self._all[key], is_whole=is_whole), is_whole) for key in changed]
        self._changed, self._were_whole = {}, is_whole
        return found

    def texts(self) -> dict[Path, str]:
        """The HTML of each text, by its place."""
        return {path: stream.html() for (_, path), stream in self._all.items() if isinstance(stream, _Text)}


class Midway:
    """What jobs give that is not in the output, or not yet: texts that other jobs are to read. No event tells of them."""

    def __init__(self, run: Run, output: Streams) -> None:
        self._run = run
        self._output = output
        self._of: dict[str, dict[Path, _Source]] = {}
        self._due = 0.0

    def look(self) -> bool:
        """Take what has come since the last look; whether it was anything. It takes a fifth of the time at most."""
        begun = time.monotonic()
        if begun < self._due or not are_several(self._run):
            return False
        untold = [state for state in self._run.jobs.values() if not self._output.tells_of(state.id)]
        grown = [self._grows(state) for state in untold if state.status in ("streaming", "done")]  # each is looked at
        now = time.monotonic()
        self._due = now + 4 * (now - begun)
        return any(grown)

    def beneath(self, job: str) -> str:
        """What stands below a job's line: what it gave to the output, else what it gave to others."""
        found = self._output.html(job) or self.html(job)
        return f'<div class="compose-under">{found}</div>' if found else ""

    def html(self, job: str) -> str:
        """What a job has given; of a very long text the end, of many texts the last words of each."""
        is_whole = sum(map(len, self._of.values())) <= _MOST_WHOLE
        texts = ((path, one.text) for path, one in self._of.get(job, {}).items())
        return "".join(labelled(path, text.end() if is_whole else text.tail()) for path, text in texts)

    def _grows(self, state: JobState) -> bool:
        known = self._of.get(state.id, {})
        found = {}
        for path, stream in _texts_in(state):
            one = known.get(path)
            # a job that runs again begins anew
            found[path] = one if one is not None and one.stream is stream else _Source(self._run, stream)
        self._of[state.id] = found
        grown = [one.grows() for one in found.values()]
        return any(grown)


def midway_texts(run: Run, job: str) -> dict[Path, str]:
    """The texts that a job has given, without secrets, each by its place there."""
    state = run.jobs[job]
    texts = {path: state.redact(stream.so_far) for path, stream in _texts_in(state)}
    return {path: text for path, text in texts.items() if isinstance(text, str) and text}


def _texts_in(state: JobState) -> Iterator[tuple[Path, Stream]]:
    """A job's own streams where one looks for them: its answer, or the answer's keys. An answer may be very large."""
    value = state.value
    places = {(): value} if not isinstance(value, dict) else {(state.redact(key),): one for key, one in value.items()}
    for path, stream in places.items():
        is_text = isinstance(stream, Stream) and stream.encoding in (None, "text")
        if is_text and stream.origin in ("", state.id):  # what it only passes on stands below another job
            yield path, stream


class _Source:
    """A stream that is looked at from time to time, and what of it was text, without secrets."""

    def __init__(self, run: Run, stream: Stream) -> None:
        self.stream = stream
        self.text = _Text()
        self._pieces = run.redact.pieces()
        self._taken = 0  # characters
        self._is_over = False

    def grows(self) -> bool:
        """Take what is new; whether there was something."""
        if self._is_over:
            return False
        self._is_over = self.stream.ended
        value = self.stream.so_far
        if not isinstance(value, str):
            return False
        self._taken = min(self._taken, len(value))  # of 8 Mi characters the start is forgotten
        fresh = value[self._taken :]
        self._taken += len(fresh)
        shown = self._pieces.add(fresh) + (self._pieces.end() if self._is_over else "")
        if shown:
            self.text.add(shown)
        return bool(shown)


class _Text:
    """One text."""

    def __init__(self) -> None:
        self._growing = Growing()
        self._fresh: list[str] = []
        self._before = ""  # the last characters of what was taken
        # finished HTML, each piece with the code block that it goes on with
        self._last: deque[tuple[str, str]] = deque()
        self._code = ""
        self._is_cut = False

    def add(self, value: Any) -> None:
        self._fresh.append(value if isinstance(value, str) else value_text(value))

    def html(self) -> str:
        """All of it."""
        self._growing.add(self._taken())
        return self._growing.html()

    def step(self) -> Step:
        self._growing.add(self._taken())
        return self._growing.step()

    def end(self) -> str:
        """All of it, of a long text the end: that is what grows, and everything shown is sent again and again."""
        text = self._taken()
        for place in range(0, max(1, len(text)), LIMIT):
            self._growing.add(text[place : place + LIMIT])
            step = self._growing.step()
            self._keep(step)
        dim = (
            f'<div class="compose-dim">{escaped(say("… all of it is shown at the end"))}</div>' if self._is_cut else ""
        )
        begun = self._last[0][0] if self._is_cut else ""
        return dim + framed(f"{begun}{''.join(html for _, html in self._last)}{step.tail}")

    def _keep(self, step: Step) -> None:
        """Keep what is finished, as far as it is still shown."""
        if not (step.frozen or step.opened):
            return
        self._last.append((self._code, step.frozen + step.opened))
        begun = _CODE.match(step.opened)
        self._code = begun[0] if begun else self._code if step.opened else ""
        size = sum(len(html) for _, html in self._last)
        while size - len(self._last[0][1]) > _SHOWN:
            size -= len(self._last.popleft()[1])
            self._is_cut = True

    def _taken(self) -> str:
        text, self._fresh = "".join(self._fresh), []
        self._before = (self._before + text[-_TAIL - 1 :])[-_TAIL - 1 :]
        return text

    def tail(self) -> str:
        """The last words; what they are the end of is not taken."""
        last, missing = [], _TAIL
        for text in reversed(self._fresh):
            last.append(text)
            missing -= len(text)
            if missing < 0:
                break
        end = (self._before + "".join(reversed(last)))[-_TAIL - 1 :]
        return f"{'…' if len(end) > _TAIL else ''}{line(end[-_TAIL:], _TAIL)}"


class _Pieces:
    """Values of their own: the last ones are shown."""

    def __init__(self) -> None:
        self._last: deque[Any] = deque(maxlen=_PIECES)
        self._count = 0
        self._bytes = 0

    def add(self, value: Any) -> None:
        self._count += 1
        if isinstance(value, bytes):
            self._bytes += len(value)
        else:
            self._last.append(value)

    def html(self) -> str:
        if self._bytes:
            return f"<div>{escaped(say('{count} bytes so far', count=f'{self._bytes:,}'))}</div>"
        before = self._count - len(self._last)
        head = f'<div class="compose-dim">{escaped(say("… {count} before", count=before))}</div>' if before else ""
        return head + preformatted("\n".join(value_text(value, _PIECE) for value in self._last))

    end = html

    def step(self) -> Step:
        return Step("", "", self.html())

    def tail(self) -> str:
        if self._bytes or not self._last:
            return self.html()
        return line(value_text(self._last[-1], _PIECE), _TAIL)


def _step(stream: _Text | _Pieces, *, is_whole: bool) -> Step:
    return stream.step() if is_whole else Step("", "", stream.tail())


def labelled(path: Path, body: str) -> str:
    """HTML of a stream below the name of its place."""
    label = f"<b>{line(' › '.join(map(str, path)))}</b>" if path else ""
    return f'<div class="compose-under">{label} {body}</div>' if path else body
