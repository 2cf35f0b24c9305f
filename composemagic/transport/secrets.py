"""Which variables hold a secret, and the one redactor: what a run took from the environment leaves it as `***`."""

from __future__ import annotations

import contextlib
import json
import re
import traceback
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

__all__ = ["Redactor", "is_secret"]

_LEAST = 8  # characters: what is shorter stands in every text by chance
_NAMES = frozenset({"KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"})
_SCHEME = re.compile(r"(?:Bearer|Basic|Token)\s+", re.IGNORECASE)
_PREFIX = re.compile(
    r"sk-|sk_|pk_live_|rk_live_|gh[opsur]_|github_pat_|glpat-|AIza|AKIA|xox[abeprs]-|hf_|gsk_|r8_|pplx-|nvapi-|xai-|eyJ"
)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable's name (KEY, TOKEN, SECRET, PASSWORD or CREDENTIAL as a whole word) or its value looks like one."""
    words = {word.removesuffix("S") for word in re.split(r"[^A-Z0-9]+", name.upper())}
    return not _NAMES.isdisjoint(words) or _PREFIX.match(_SCHEME.sub("", value, count=1)) is not None


class Redactor:
    """Puts `***` in the place of secrets: of those that were read through the mapping `watch` gives, of 8 characters or more.

    Texts are looked at one by one: a secret that a stream cuts into two pieces slips through, as do the spellings that
    nobody sends (reversed, in base64).
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()
        self._spellings: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def watch(self, env: Mapping[str, str]) -> Mapping[str, str]:
        """The same variables; the secrets among those that are read from now on are known to the redactor."""
        return _Watched(env, self)

    def learn(self, name: str, value: str) -> None:
        """Know the value of a variable, if it looks like a secret."""
        if (name, value) in self._known:
            return
        self._known.add((name, value))
        bare = _SCHEME.sub("", value.strip(), count=1)
        if is_secret(name, value) and len(bare) >= _LEAST:
            # as it is, in an address, in JSON
            self._spellings |= {value.strip(), bare, quote(bare, safe=""), json.dumps(bare)[1:-1]}
            longest_first = sorted(self._spellings, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def finds(self, text: str) -> bool:
        """Whether a secret stands in the text; quick enough for every batch of a stream."""
        for spelling in self._spellings:  # noqa: SIM110 - a generator costs three times as much
            if spelling in text:
                return True
        return False

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub("***", text) if self._pattern else text

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

    def _tells(self, error: BaseException) -> bool:
        try:
            return self.finds(str(error))
        except Exception:  # what cannot be looked at is not kept
            return True

    def _inside(self, value: Any) -> Any:
        match value:
            case str():
                return self(value) if self.finds(value) else value
            case dict():
                return {self._inside(key): self._inside(inner) for key, inner in value.items()}
            case list():
                return [self._inside(inner) for inner in value]
            case tuple() if type(value) is tuple:
                return tuple(self._inside(inner) for inner in value)
        return value


class _Watched(Mapping[str, str]):
    def __init__(self, env: Mapping[str, str], redactor: Redactor) -> None:
        self._env = env
        self._redactor = redactor

    def __getitem__(self, name: str) -> str:
        value = self._env[name]
        if isinstance(value, str):  # who calls from Python may give anything
            self._redactor.learn(name, value)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)
