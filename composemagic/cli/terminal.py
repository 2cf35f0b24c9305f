"""What a terminal, a pipe or a file gets: the output on stdout, all else on stderr; and what its Ctrl-C means."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from composemagic.terminal import Prose, has_colours
from composemagic.text import Cleaner, plain
from composemagic.words import say

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "USAGE",
    "Screen",
    "drawable",
    "fit",
    "interrupt_calls",
    "is_reader_gone",
    "leave",
    "open_missing",
    "print_json",
    "ready_model",
    "tell",
]

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_PLAINER = str.maketrans(
    {"✓": "*", "■": "*", "✗": "*", "·": "-", "…": "...", "→": "->", "├": "|", "└": "`", "│": "|", "─": "-"}
)


class Screen:
    """The output on stdout as it comes, all else on stderr. On a terminal, and in one file, each stands on lines of its own."""

    def __init__(self) -> None:
        # a terminal obeys what it is sent; a pipe or a file gets the text as it is
        self._cleaner = Cleaner() if sys.stdout.isatty() else None
        self._prose = Prose(encoding=sys.stdout.encoding) if has_colours(sys.stdout) else None
        self._is_one_file = _is_one_file()
        self._is_line_open = False

    @property
    def for_people(self) -> bool:
        return self._cleaner is not None

    def write(self, text: str) -> None:
        self._put(self._cleaner.add(text) if self._cleaner else text)

    def write_prose(self, text: str) -> None:
        """Text for people, which reads as Markdown: on a terminal with colours it looks like it."""
        if self._prose is None:
            self.write(text)
        else:
            self._put(self._prose.add(text))

    def write_bytes(self, data: bytes) -> None:
        if self.for_people:
            count = len(data)
            self.tell(say("{count} bytes that are no text; write them to a file with -o FILE", count=count))
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()

    def tell(self, line: str) -> None:
        self.end()
        tell(line)

    def end(self) -> None:
        """End the line, where a person would see the next one begin in its middle."""
        if self._prose:
            self._put(self._prose.end())
        if self._cleaner:
            self._put(self._cleaner.end())
        if self._cleaner or self._is_one_file:
            self._put("\n" if self._is_line_open else "")

    def _put(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._is_line_open = not text.endswith("\n")


def _is_one_file() -> bool:
    """Whether stdout and stderr go to one place, as after `> log 2>&1`."""
    try:
        out, err = os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or no files at all
        return False
    return out.st_ino != 0 and os.path.samestat(out, err)  # for Windows all pipes and consoles are number 0


def tell(line: str) -> None:
    """A line on stderr, without what a terminal would obey and what its encoding lacks."""
    # where nobody hears it, nobody can be told so
    with suppress(OSError):
        print(drawable(plain(line), sys.stderr), file=sys.stderr, flush=True)


def drawable(text: str, stream: TextIO) -> str:
    """The text, its signs as ASCII where the stream's encoding lacks one."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return text.translate(_PLAINER)
    return text


def print_json(value: Any) -> None:
    """A value for programs on stdout. What its encoding lacks is written as JSON escapes it."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, indent=2, ensure_ascii=not is_utf8))


def ready_model() -> None:
    """Fetch and start the embedded model here, on the main thread, where an interrupt ends the download too."""
    from composemagic.local.serve import shared

    width = 0

    def progress(line: str) -> None:
        nonlocal width
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{plain(line).ljust(width)}")
            sys.stderr.flush()
            width = len(line)
        else:
            tell(line)

    try:
        shared(progress)
    finally:
        if width:
            tell("")


def open_missing() -> None:
    """A program that is started with a closed stream (`>&-`, pythonw) has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - it stays open


def fit(stream: Any) -> None:
    """No character may end a run: what the encoding lacks is escaped. Line ends in a file stay as they are."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace", newline=None if stream.isatty() else "\n")


@contextmanager
def interrupt_calls(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C within the block calls `stop`, which cuts nothing off in its middle; the next one interrupts."""
    former = signal.getsignal(signal.SIGINT)
    if former is signal.SIG_IGN:
        # started in the background of a script: an interrupt is meant for others
        yield
        return

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def is_reader_gone(error: OSError) -> bool:
    """Whether nobody reads stdout any more (`| head`); Windows calls it an invalid argument."""
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == 22)


def leave(status: int) -> NoReturn:
    """End the process now, whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)
