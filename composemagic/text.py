"""Text from outside - a model's, a provider's, a document's - made harmless for the place that shows it."""

from __future__ import annotations

import re

__all__ = ["STRAY", "UNFINISHED", "Cleaner", "clean", "has_only_print", "plain"]

_PAYLOAD = r"[^\x00-\x08\x0a-\x1f\x7f-\x9f]{0,1000}"  # bounded, as all: an unclosed one must not swallow text
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])"  # OSC, DCS, SOS, PM, APC of ECMA-48, in seven and in eight bits
_CSI = r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
_ESCAPE = r"\x1b[ -/]{0,8}"
_INVISIBLE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
_SURROGATES = r"[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]"
_HALVES = re.compile(_SURROGATES)
_UNWANTED = re.compile(
    rf"\r\n?|{_SURROGATES}|{_STRING}{_PAYLOAD}(?:\x07|\x1b\\|\x9c)|{_CSI}[@-~]?"
    rf"|{_ESCAPE}[0-~]?|{_INVISIBLE}"
)
UNFINISHED = re.compile(rf"(?:\r|[\ud800-\udbff]|{_STRING}{_PAYLOAD}\x1b?|{_CSI}|{_ESCAPE})\Z")
STRAY = re.compile(_INVISIBLE)
"""`UNFINISHED`: an escape sequence, line end or pair that a stream has cut in two; `STRAY`: one such character."""


def plain(text: str) -> str:
    """The text without what a terminal or a browser would obey instead of show.

    ANSI escape sequences (ECMA-48), control characters except newline and tab, and the Unicode controls of writing
    direction are removed, line ends become newlines, halves of surrogate pairs are joined or replaced by U+FFFD.
    """
    return text if has_only_print(text) else _UNWANTED.sub(_replacement, text)


def has_only_print(text: str) -> bool:
    """Whether a text is made of printable characters (`str.isprintable`) and newlines: there is nothing to remove from it.

    Most texts are, and this is ten times as fast as looking for what would have to go.
    """
    return text.replace("\n", "").isprintable()


def _replacement(match: re.Match[str]) -> str:
    found = match[0]
    if found[0] == "\r":
        return "\n"
    return _mended(match) if "\ud800" <= found[0] <= "\udfff" else ""


def clean(text: str) -> str:
    """The text with every lone surrogate as U+FFFD, and halves that have met joined: it can be encoded as UTF-8.

    JSON may spell half a character (`\\ud83d`), which no terminal, file or kernel message can carry.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _HALVES.sub(_mended, text)
    return text


def _mended(match: re.Match[str]) -> str:
    """Two halves as the character they spell, one as U+FFFD."""
    found = match[0]
    return found.encode("utf-16", "surrogatepass").decode("utf-16") if len(found) == 2 else "\ufffd"


class Cleaner:
    """`plain` for a text that comes in pieces: what all calls give, joined, is `plain` of the whole."""

    _LONGEST = 1100  # characters that a sequence without its end may have before it is let go

    def __init__(self) -> None:
        self._held = ""

    def add(self, delta: str) -> str:
        """The next piece, cleaned; a sequence that is cut in two is held back until its end comes."""
        text = self._held + delta
        cut = UNFINISHED.search(text, max(0, len(text) - self._LONGEST))
        end = cut.start() if cut else len(text)
        self._held = text[end:]
        return plain(text[:end])

    def end(self) -> str:
        """What is still held back."""
        held, self._held = self._held, ""
        return plain(held)
