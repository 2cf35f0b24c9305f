"""The one place where secrets are opened, and the one redactor: what a run took from the environment leaves it as `***`."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import operator
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from composemagic.errors import RunError
from composemagic.language.secret import SHOWN, Sealed, Secret, is_secret
from composemagic.words import say

__all__ = ["Pieces", "Redactor", "is_secret", "masked_with", "opened"]

_LEAST = 8  # characters: what is shorter stands in every text by chance
# characters that may be the beginning of a secret. One alone would be held back too often: where a key begins with `s`, every
# twelfth piece of English prose ends in it, and a piece costs twice as much; two end fewer than one in a thousand. So the first
# character of a key may have gone out before its `***`, which says nothing.
_BEGUN = 2
_SCHEME = re.compile(r"(?:Bearer|Basic|Token)\s+", re.IGNORECASE)
_PRINTABLE = re.compile(r"[!-~]+")
_QUOTED = re.compile(r"""['"\\]""")


# -- opening -------------------------------------------------------------------------------------------------------------


def opened(value: Any) -> Any:
    """The value with the text of every Secret in it: for a request, after it is known where that goes.

    Raises RunError for a secret that no provider gives: one with a space, a line break or a letter that is not ASCII.
    """
    match value:
        case Secret():
            return _text(value, None)
        case dict():
            return {key: opened(inner) for key, inner in value.items()}
        case list() | tuple():
            return [opened(inner) for inner in value]
    return value


def masked_with(secret: Secret, instead: str) -> str:
    """What a Secret's text would be with another value in the place of each variable's."""
    return _text(secret, instead)


def _text(secret: Secret, instead: str | None) -> str:
    if secret._how is None:
        return _checked(*secret._parts) if instead is None else instead
    return secret._how(*[_text(part, instead) if isinstance(part, Secret) else part for part in secret._parts])


def _checked(name: str, value: str, origin: Callable[[str], str]) -> str:
    if _PRINTABLE.fullmatch(_SCHEME.sub("", value, count=1)):
        return value
    places = {"name": name, "what": _strange(value)}
    if where := origin(name):
        sentence = say(
            "`{name}` ({origin}) has {what} in it; a key is printable ASCII without spaces", **places, origin=where
        )
    else:
        sentence = say("`{name}` has {what} in it; a key is printable ASCII without spaces", **places)
    raise RunError("secret", sentence)


def _strange(value: str) -> str:
    found = re.search(r"[^!-~]", _SCHEME.sub("", value, count=1))
    if found is None:
        return say("nothing")
    if found[0] in "\r\n":
        return say("a line break")
    return say("a space") if found[0].isspace() else say("a character that is not ASCII")


# -- taking out ------------------------------------------------------------------------------------------------------------


def _spellings(text: str) -> Iterator[str]:
    """How others write a text that they were sent: in an address, in JSON, in HTML, in Python, in base64."""
    yield text
    for written in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield written
        yield re.sub("%..", lambda found: found[0].lower(), written)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text)[1:-1].replace("/", "\\/")
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield repr(text)[1:-1]
    yield from _in_base64(text.encode())


def _in_base64(data: bytes) -> Iterator[str]:
    """The characters that stand for a text wherever it begins among others: what its neighbours decide is left out."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        first = (0, 2, 3)[before]
        core = whole[first : (before + len(data)) * 8 // 6]
        yield core
        yield core.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")


class Redactor:
    """Puts `***` in the place of secrets: of those that were read through the mapping `watch` gives, of 8 characters or more.

    They are found as they are and as addresses, JSON, HTML and base64 write them; `Pieces` finds those that a stream cuts.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._texts: tuple[str, ...] = ()
        self._spellings: tuple[str, ...] = ()
        self._beginnings: dict[str, tuple[str, ...]] = {}
        self._pattern: re.Pattern[str] | None = None
        self.knows = False

    def watch(self, env: Mapping[str, str]) -> Mapping[str, Any]:
        """The same variables, secrets among them closed; those that are read from now on are known to the redactor."""
        return Sealed(env, self._learn)

    def learn(self, name: str, value: str) -> None:
        """Know the value of a variable, if it looks like a secret."""
        if is_secret(name, value):
            self._learn(name, value)

    def learn_all(self, env: Mapping[str, str]) -> None:
        """Know every secret there is."""
        for name, value in env.items():
            self.learn(name, value)

    def _learn(self, name: str, value: str) -> None:
        self.knows = True
        if (name, value) in self._known:
            return
        self._known.add((name, value))
        texts = {value.strip(), _SCHEME.sub("", value.strip(), count=1)}
        self._texts = tuple(sorted({*self._texts, *(text for text in texts if len(text) >= _LEAST)}))
        if self._texts:
            self._spellings, self._pattern, self._beginnings = _sought(self._texts)

    def finds(self, text: str) -> bool:
        """Whether a secret stands in the text; quick enough for every batch of a stream."""
        for spelling in self._spellings:  # noqa: SIM110 - a generator costs three times as much
            if spelling in text:
                return True
        return False

    def begun(self, text: str) -> int:
        """How many characters at the end of a text may be the beginning of a secret: the most there can be, or 0."""
        beginnings = self._beginnings.get(text[-1:])
        if beginnings is None or not text.endswith(beginnings):
            return 0
        return max(len(one) for one in beginnings if text.endswith(one))

    def is_most(self, beginning: str) -> bool:
        """Whether a beginning is more than half of a secret."""
        return any(spelling.startswith(beginning) for spelling in self._spellings if len(beginning) * 2 > len(spelling))

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(SHOWN, text) if self._pattern else text

    def pieces(self) -> Pieces:
        """The same for a text that comes in pieces."""
        return Pieces(self)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets stand in a text."""
        if self._pattern is not None:
            yield from (found.span() for found in self._pattern.finditer(text))

    def value(self, value: Any) -> Any:
        """A value without secrets, however deep: texts, bytes, keys."""
        return self._inside(value) if self._spellings and self._may_hold(value) else value

    def gathered(self, value: Any) -> Any:
        """The same for what streams have given so far, which may end within a secret."""
        match value:
            case str():
                found = self.pieces()
                return found.add(value) + found.end() if self._spellings else value
            case dict():
                return {key: self.gathered(inner) for key, inner in self.value(value).items()}
            case list():
                return [self.gathered(inner) for inner in self.value(value)]
        return self.value(value)

    def _may_hold(self, value: Any) -> bool:
        """Whether a closer look is worth it."""
        match value:
            case str():
                return self.finds(value)
            case bytes():
                return self.finds(value.decode("latin-1"))
        # one look at all of it; a key with a quote or a backslash stands there in too many ways
        return any(map(_QUOTED.search, self._texts)) or self._tells(value, repr)

    def scrub(self, error: BaseException) -> None:
        """Take the secrets out of an exception and of those that led to it, in place: out of texts and frames' variables.

        What still tells one then, from inside an object, is forgotten as a cause.
        """
        self._scrub(error, set())

    def _scrub(self, error: BaseException, seen: set[int]) -> None:
        seen.add(id(error))
        with contextlib.suppress(Exception):  # anybody's class: it may refuse
            error.args = self._inside(error.args)
            fields = getattr(error, "__dict__", {})
            fields.update({name: self._inside(value) for name, value in fields.items()})
        traceback.clear_frames(error.__traceback__)
        for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
            self._scrub(one, seen)
        for link in ("__cause__", "__context__"):
            led = getattr(error, link)
            if led is not None and id(led) not in seen:
                self._scrub(led, seen)
            if led is not None and self._tells(led):
                setattr(error, link, None)

    def _tells(self, thing: Any, shown: Callable[[Any], str] = str) -> bool:
        try:
            return self.finds(shown(thing))
        except Exception:  # what cannot be looked at is not kept
            return True

    def closed(self, value: Any) -> Any:
        """A value to be looked at, and not to be taken up again: each text or bytes that tell a secret are one."""
        if not self._spellings or not self._may_hold(value):
            return value
        match value:
            case dict():
                return {self(str(key)): self.closed(inner) for key, inner in value.items()}
            case list():
                return [self.closed(inner) for inner in value]
            case str() | bytes():
                return Secret(None, "", "", str)
        return value

    def _inside(self, value: Any) -> Any:
        match value:
            case str():
                return self(value) if self.finds(value) else value
            case bytes():
                return self._in_bytes(value)
            case dict():
                return {self._inside(key): self._inside(inner) for key, inner in value.items()}
            case list():
                return [self._inside(inner) for inner in value]
            case tuple() | set() | frozenset():
                inside = [self._inside(inner) for inner in value]
                return value if all(map(operator.is_, inside, value)) else _like(value, inside)
        return value

    def _in_bytes(self, data: bytes) -> bytes:
        """Secrets are ASCII, and Latin-1 gives every byte a character and takes it back."""
        text = data.decode("latin-1")
        if not self.finds(text):
            return data
        kept = type(data)(self(text).encode("latin-1"))
        if hasattr(data, "__dict__"):  # a picture's content type
            vars(kept).update(vars(data))
        return kept


def _like(value: Any, inside: list[Any]) -> Any:
    """A tuple, named or not, or a set of the same type with other values; a plain tuple where the type has its own ways."""
    try:
        made = getattr(value, "_make", type(value))(inside)
    except Exception:
        return tuple(inside)
    return made if len(made) == len(inside) or isinstance(value, set | frozenset) else tuple(inside)


@lru_cache(maxsize=8)  # every run of a workflow has the same keys
def _sought(texts: tuple[str, ...]) -> tuple[tuple[str, ...], re.Pattern[str], dict[str, tuple[str, ...]]]:
    """What is looked for, the longest first; the same as one pattern; and how each begins."""
    found = {spelling for text in texts for spelling in _spellings(text) if len(spelling) >= _LEAST}
    spellings = tuple(sorted(found, key=len, reverse=True))
    return spellings, re.compile("|".join(map(re.escape, spellings))), _by_last(spellings)


def _by_last(spellings: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The beginnings of all spellings, of 2 characters or more, by their last one: few are left to compare."""
    found: dict[str, set[str]] = {}
    for spelling in spellings:
        for end in range(_BEGUN, len(spelling)):
            found.setdefault(spelling[end - 1], set()).add(spelling[:end])
    return {last: tuple(beginnings) for last, beginnings in found.items()}


class Pieces:
    """Takes secrets out of a text that comes in pieces, wherever these are cut.

    What may be the beginning of a secret - 2 characters or more of one - is held back until it is known; `end` lets it go.
    """

    __slots__ = ("_before", "_held", "_redact")

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact
        self._before = ""  # what has been given and may still begin a secret: one character is not held back
        self._held = ""

    def is_clear(self, text: str) -> bool:
        """Whether a piece can pass as it is; it is remembered where it does."""
        if self._held:
            return False
        seen = self._before + text
        if self._redact.finds(seen) or self._redact.begun(seen):
            return False
        self._before = seen[1 - _BEGUN :]
        return True

    def add(self, text: str) -> str:
        """What can be given of the text so far."""
        seen = self._before + self._held + text
        return self._give(seen, len(seen) - self._redact.begun(seen))

    def end(self) -> str:
        """What is still held back: no beginning any more, unless it is most of a secret that the stream has cut off."""
        seen = self._before + self._held
        length = self._redact.begun(seen)
        if not self._redact.is_most(seen[len(seen) - length :]):
            return self._give(seen, len(seen))
        given = self._give(seen, len(seen) - length) + SHOWN
        self._held = self._before = ""
        return given

    def _give(self, seen: str, cut: int) -> str:
        """What is new up to `cut`, where something may begin; the characters before have been given already."""
        given, at, new = [], 0, len(self._before)
        for start, end in self._redact.spans(seen):
            if start >= cut:
                break  # a longer one may begin here, of which this is a part
            given += [seen[max(at, new) : max(start, new)], SHOWN]
            at = end
        if at > cut:
            cut = len(seen) - self._redact.begun(seen[at:])
        cut = max(cut, new)
        given.append(seen[max(at, new) : cut])
        self._held, self._before = seen[cut:], seen[max(at, cut + 1 - _BEGUN) : cut]
        return "".join(given)
