"""What can go wrong, in the user's words.

ComposeError                 the base: notebooks show its text, no frames
├── DocumentError            the YAML has mistakes: a typo in a key, `${inptu.x}`, an unclosed `${`, a bad default
├── RunError                 the YAML is right, this run is not: no key, nothing listens at `base_url`, a bad answer
│   ├── InputError           what was given for `${input...}` is missing or of the wrong type
│   └── ModelError           the embedded model (`--local`) is missing, broken or cannot start
└── UsageError               the magic's first line or the command line: an unknown option, a name that does not exist
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from composemagic.words import listing, say

__all__ = [
    "ComposeError",
    "DocumentError",
    "InputError",
    "Key",
    "Mark",
    "Mistake",
    "ModelError",
    "RunError",
    "Source",
    "UsageError",
    "keys_in",
    "masked",
    "suggest",
]


@dataclass(frozen=True, slots=True)
class Source:
    """A text that marks point into.

    `name` is how a message calls it ("this cell", "model-compose.yml"); `first_line` is the number its first line has
    in the place where the user sees it (2 below a `%%compose` line). `label` stands before the line numbers of one of
    several files.
    """

    name: str
    text: str
    first_line: int = 1
    label: str = ""

    def line(self, index: int) -> str:
        """The line at a 0-based index, without its end; empty beyond the text."""
        lines = self.text.split("\n")
        return lines[index].rstrip("\r") if index < len(lines) else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a source: 0-based line and column and a length, all in characters."""

    source: Source
    line: int
    column: int
    length: int = 1

    @classmethod
    def between(cls, source: Source, start: int, end: int) -> Mark:
        """The characters of the source's text from index `start` to `end`, or to the end of the line."""
        line_start = source.text.rfind("\n", 0, start) + 1
        line_end = source.text.find("\n", start)
        line = source.text[start : min(end, line_end if line_end >= 0 else len(source.text))].rstrip("\r")
        return cls(source, source.text.count("\n", 0, start), start - line_start, max(1, len(line)))

    @property
    def number(self) -> int:
        """The line's number as the user's editor shows it."""
        return self.line + self.source.first_line

    def draw(self) -> str:
        """The line with its number, and carets under the marked characters.

        Of a line of more than 100 characters only those around the mark are shown, and no key is.
        """
        return _drawn([self])


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a document: a sentence and, where there is one, its place."""

    sentence: str
    mark: Mark | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentence", masked(self.sentence))

    def draw(self) -> str:
        """The sentence, indented, and below it the marked line."""
        return _together([self])


class ComposeError(Exception):
    """The base of every error that composemagic raises on purpose; its text is meant to be read by a user."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied by what it holds: `__init__` takes other arguments than `args`."""
        return _restored, (type(self), self.args, vars(self))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback (nbconvert and papermill too)."""
        return str(self).splitlines()


class DocumentError(ComposeError):
    """All mistakes of a document at once, each with its line and a caret.

    Its text is one screen at most: those on the same line share it, and what does not fit is counted.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        sources = list(dict.fromkeys(mistake.mark.source for mistake in mistakes if mistake.mark))
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: _place(mistake, sources)))
        super().__init__(self.mistakes)

    def __str__(self) -> str:
        shown = _shown(self.mistakes)
        left = len(self.mistakes) - sum(map(len, shown))
        more = [say("and {count} more", count=left)] if left else []
        return "\n".join([f"compose: {_head(self.mistakes)}", *map(_together, shown), *more])


class RunError(ComposeError):
    """A run failed.

    `kind` is a word for programs (`auth`, `connect`, `timeout_read`, `truncated`, ...), `sentence` the words for people,
    `job` the id of the job it happened in, `mark` the line of YAML that asked for it, where one is known.
    """

    def __init__(self, kind: str, sentence: str, *, job: str | None = None, mark: Mark | None = None) -> None:
        self.kind = kind
        self.sentence = masked(sentence)
        self.job = job
        self.mark = mark
        super().__init__(self.sentence)

    def __str__(self) -> str:
        return f"compose: {self.sentence}" + (f"\n{self.mark.draw()}" if self.mark else "")


class InputError(RunError):
    """An input is missing, or its value does not fit its type. `problems` maps an input's name to what is wrong with it."""

    def __init__(self, problems: dict[str, str], *, hint: str = "") -> None:
        self.problems = {name: masked(problem) for name, problem in problems.items()}
        sentence = "; ".join(self.problems.values())
        end = " " if sentence.endswith("?") else ". "
        super().__init__("input", sentence + (end + hint if hint else ""))


class ModelError(RunError):
    """The embedded model cannot be found, fetched or started."""

    def __init__(self, sentence: str) -> None:
        super().__init__("model", sentence)


class UsageError(ComposeError):
    """The command was given wrongly: an option, an argument or a name in it. Not a mistake in the YAML."""

    def __str__(self) -> str:
        return f"compose: {masked(str(self.args[0]))}"


class Key(NamedTuple):
    """Where a provider's key stands in a text, and the environment variable that usually holds such a key."""

    start: int
    length: int
    variable: str


def keys_in(text: str) -> Iterator[Key]:
    """What looks like a provider's key: a known prefix and 16 or more characters."""
    for found in _KEY.finditer(text):
        yield Key(found.start(), len(found[0]), _VARIABLES[found[1] or found[2]])


def masked(text: str) -> str:
    """The text with `*` over each key in it but its prefix; as long as before."""
    return _KEY.sub(lambda found: (found[1] or found[2]).ljust(len(found[0]), "*"), text)


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest right word, or nothing when none is near."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6) or difflib.get_close_matches(
        word.lower().replace("_", "-"), names, n=1, cutoff=0.6
    )
    wide = _WIDE.search(word)
    if wide is not None and any(part.strip() in names for part in _WIDE.split(word)[1:]):
        return say("; `{char}` is a full-width character", char=wide[0])
    if wide is not None and word[: wide.start()].strip() in names:
        name = word[: wide.start()].strip()
        return say("; did you mean `{name}`? `{char}` is a full-width character", name=name, char=wide[0])
    return say("; did you mean `{name}`?", name=near[0]) if near else ""


_WIDE = re.compile("[，、：；。．]")


def _restored(kind: type[ComposeError], args: tuple[Any, ...], state: dict[str, Any]) -> ComposeError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


# the longest prefix first
_VARIABLES = {
    "sk-ant-": "ANTHROPIC_API_KEY", "sk-or-": "OPENROUTER_API_KEY", "sk-": "OPENAI_API_KEY", "AIza": "GEMINI_API_KEY",
    "xai-": "XAI_API_KEY", "gsk_": "GROQ_API_KEY", "hf_": "HF_TOKEN", "ghp_": "GITHUB_TOKEN",
}  # fmt: skip
# only where `-` and `_` are part of the key: `hf_some_snake_case_name` is none
_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:(sk-(?:ant-|or-)?|AIza)[A-Za-z0-9_-]{16,}|(ghp_|xai-|gsk_|hf_)[A-Za-z0-9]{16,})"
)


# -- drawing -----------------------------------------------------------------------------------------------------------


def _place(mistake: Mistake, sources: list[Source]) -> tuple[int, int, int]:
    mark = mistake.mark
    return (sources.index(mark.source), mark.line, mark.column) if mark else (-1, -1, -1)


def _head(mistakes: Sequence[Mistake]) -> str:
    """How many there are, and where."""
    names = list(dict.fromkeys(mistake.mark.source.name for mistake in mistakes if mistake.mark))
    count, where = len(mistakes), "".join(names[-1:])
    if len(names) > 1:
        where = say("{several} and {last}", several=listing(names[:-1]), last=names[-1])
    match (count, where):
        case (1, ""):
            return say("1 mistake")
        case (1, _):
            return say("1 mistake in {where}", where=where)
        case (_, ""):
            return say("{count} mistakes", count=count)
        case _:
            return say("{count} mistakes in {where}", count=count, where=where)


def _shown(mistakes: Sequence[Mistake]) -> list[list[Mistake]]:
    """The first mistakes, as many as fit on a screen, those together that share a drawn line."""
    shown: list[list[Mistake]] = []
    lines = 0
    for group in _by_line(mistakes[:_MOST_MISTAKES]):
        shown.append(group)
        lines += _together(shown[-1]).count("\n") + 1
        if lines > _MOST_LINES and len(shown) > 1:
            return shown[:-1]
    return shown


def _by_line(mistakes: Iterable[Mistake]) -> Iterator[list[Mistake]]:
    """Those together that are drawn with one line: they stand on it, and where it is long, near each other."""
    group: list[Mistake] = []
    for mistake in mistakes:
        if group and not _share(group[0].mark, mistake.mark):
            yield group
            group = []
        group.append(mistake)
    if group:
        yield group


def _share(first: Mark | None, later: Mark | None) -> bool:
    if first is None or later is None or (first.source, first.line) != (later.source, later.line):
        return False
    is_short = len(first.source.line(first.line)) <= _WINDOW
    return is_short or later.column + later.length - first.column <= _WINDOW - 20


def _together(mistakes: Sequence[Mistake]) -> str:
    """The sentences of mistakes on one line, indented, and below them the line."""
    sentences = list(dict.fromkeys(f"  {mistake.sentence}" for mistake in mistakes))
    marks = [mistake.mark for mistake in mistakes if mistake.mark]
    return "\n".join([*sentences, _drawn(marks)] if marks else sentences)


def _drawn(marks: Sequence[Mark]) -> str:
    """A line with its number, and carets under the characters of each mark; of a long line what is around them."""
    first, end = marks[0], max(mark.column + mark.length for mark in marks)
    text, column, length = _window(masked(first.source.line(first.line)), first.column, end - first.column)
    text = text.translate(_VISIBLE)
    spots = sorted((mark.column - first.column + column, min(mark.length, length)) for mark in marks)
    head = f"{first.source.label}:{first.number} | " if first.source.label else f"{first.number:4} | "
    carets = ""
    for start, size in spots:
        before = _width(head) + _width(text[:start])
        under = max(1, _width(text[start : start + size]))
        carets = carets.ljust(before) + "^" * max(0, before + under - max(before, len(carets)))
    return f"{head}{text}\n{carets}"


_MOST_MISTAKES = 12
_MOST_LINES = 22  # and the head, and the count of the rest


def _window(text: str, column: int, length: int) -> tuple[str, int, int]:
    """About 100 characters of a long line around the mark, `…` where it goes on, and where the mark stands in them."""
    if len(text) <= _WINDOW:
        return text, column, length
    length = min(length, _WINDOW - 20)
    start = max(0, min(column - (_WINDOW - length) // 2, len(text) - _WINDOW))
    end = start + _WINDOW
    shown = ("…" if start else text[:1]) + text[start + 1 : end - 1] + ("…" if end < len(text) else text[-1:])
    return shown, column - start, length


_WINDOW = 100
# one character for each, so that columns stay true: tabs, line ends that are none to us, and what turns a line's direction
_VISIBLE = {ord("\t"): " "} | dict.fromkeys(
    (
        *range(9),
        *range(10, 32),
        *range(0x7F, 0xA0),
        0x61C,
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    ),
    "\ufffd",
)


def _width(text: str) -> int:
    """Columns a terminal gives the text: wide East Asian characters take two, marks and joiners none."""
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
