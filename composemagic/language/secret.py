"""Text that is secret: templates carry it unopened, and wherever it turns up it shows as `***`.

What a secret says is read in one place only, `composemagic.transport.secrets`, when a request goes out to where it may go.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from composemagic.words import say

__all__ = ["SHOWN", "Sealed", "Secret", "closed", "encoded", "is_secret", "join", "made", "names_in", "secrets_in"]

SHOWN = "***"

# TOKENS are counted, as in MAX_TOKENS
_NAMES = frozenset(
    {"KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"} | {"KEYS", "SECRETS", "PASSWORDS", "CREDENTIALS"}
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # of API_KEY, api-key, apiKey and Api.Key
_SCHEME = re.compile(r"(?:Bearer|Basic|Token)\s+", re.IGNORECASE)
_PREFIX = re.compile(
    r"sk-|sk_|pk_live_|rk_live_|gh[opsur]_|github_pat_|glpat-|AIza|AKIA|xox[abeprs]-|hf_|gsk_|r8_|pplx-|nvapi-|xai-|eyJ"
)
_RANDOM = re.compile(r"[A-Za-z0-9+/=_.~-]{20,}")
_RUN = re.compile(r"[A-Za-z0-9]+")
_LONGEST_WORD = 16  # letters and digits in a row: a model's name, a path and a UUID have shorter words
_PLAIN = (str, int, float, bytes)
_BITS, _BITS_HEX = 3.5, 3.0  # of entropy a character


class Secret:
    """A text that is carried and not read: `str`, `repr` and `format` give `***`, and it cannot be pickled or measured.

    It is the value of a variable, or a text that was made of others with one such among them.
    """

    __slots__ = ("_how", "_parts")

    def __init__(self, how: Callable[..., str] | None, *parts: Any) -> None:
        self._how = how
        self._parts = parts

    @classmethod
    def of(cls, name: str, value: str, origin: Callable[[str], str] | None = None) -> Secret:
        """The value of a variable; `origin` says in words where that came from."""
        return cls(None, name, value, origin or _nowhere)

    @property
    def names(self) -> tuple[str, ...]:
        """The variables it is made of, each once."""
        if self._how is None:
            return (self._parts[0],)
        return tuple(dict.fromkeys(name for part in self._parts if isinstance(part, Secret) for name in part.names))

    def __repr__(self) -> str:
        return SHOWN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return SHOWN

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(say("a secret is not written anywhere, neither pickled nor sent to another process"))


def _nowhere(name: str) -> str:
    return ""


def made(how: Callable[..., str], *parts: Any) -> Any:
    """The text that `how` makes of some texts; with a Secret among them a Secret, of which it is made when that is opened."""
    return Secret(how, *parts) if Secret in map(type, parts) else how(*parts)


def join(parts: list[Any]) -> Any:
    """Texts as one; a Secret where one of them is."""
    try:
        return "".join(parts)
    except TypeError:
        return made(_joined, *parts)


def _joined(*parts: str) -> str:
    return "".join(parts)


def encoded(secret: Secret) -> Secret:
    """The same in base64, as `Authorization: Basic` wants it."""
    return Secret(_base64, secret)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secrets_in(value: Any) -> list[Secret]:
    """Every Secret in a value, however deep in objects and lists."""
    found: list[Secret] = []
    _gather([value], found)
    return found


def _gather(values: Iterable[Any], found: list[Secret]) -> None:
    for value in values:
        if value is None or isinstance(value, _PLAIN):
            continue  # most values: whether one is a Mapping takes longer to find out
        if isinstance(value, Secret):
            found.append(value)
        elif isinstance(value, list | tuple):
            _gather(value, found)
        elif isinstance(value, Mapping):
            _gather(value.values(), found)


def names_in(value: Any) -> tuple[str, ...]:
    """The variables of every Secret in a value, each once."""
    return tuple(dict.fromkeys([name for secret in secrets_in(value) for name in secret.names]))


def closed(names: tuple[str, ...]) -> str:
    """The sentence for a secret where its text would be needed."""
    return say(
        "`{names}` is a secret: it can be sent in a header of a request to its own host, and is not shown or read elsewhere",
        names=", ".join(f"env.{name}" for name in names),
    )


class Sealed(Mapping[str, Any]):
    """Variables of which those that look like secrets are given as Secret. `told` is called with each of these: name, value."""

    def __init__(self, env: Mapping[str, Any], told: Callable[[str, str], None] | None = None) -> None:
        self._env = env
        self._told = told
        self._made: dict[str, tuple[str, Any]] = {}

    def __getitem__(self, name: str) -> Any:
        value = self._env[name]
        if not isinstance(value, str):  # who calls from Python may give anything
            return value
        known = self._made.get(name)
        if known is None or known[0] != value:
            known = self._made[name] = value, self._sealed(name, value)
        return known[1]

    def _sealed(self, name: str, value: str) -> Any:
        if not value or not is_secret(name, value):
            return value
        if self._told is not None:
            self._told(name, value)
        return Secret.of(name, value, getattr(self._env, "origin", _nowhere))

    def __contains__(self, name: object) -> bool:
        return name in self._env

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a secret.

    By name, where KEY, TOKEN, SECRET, PASSWORD or CREDENTIAL (or several, but for TOKENS) is a whole word of it; by value, where that begins like a
    provider's key, or is 20 or more characters without order.
    """
    if not _NAMES.isdisjoint(map(str.upper, _WORDS.findall(name))):
        return True
    value = _SCHEME.sub("", value.strip(), count=1)
    return _PREFIX.match(value) is not None or _is_random(value)


def _is_random(value: str) -> bool:
    if _RANDOM.fullmatch(value) is None:
        return False
    word = max(_RUN.findall(value), key=len, default="")
    if len(word) < _LONGEST_WORD or word.isalpha() or word.isdigit():
        return False
    is_hex = re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", word) is not None
    return _entropy(word) >= (_BITS_HEX if is_hex else _BITS)


def _entropy(text: str) -> float:
    """Bits a character, by how often each one stands in the text (Shannon)."""
    size = len(text)
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values())
