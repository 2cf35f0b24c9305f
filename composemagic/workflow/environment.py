"""What `${env.X}` may name: `-e`, the process's environment, `.env` files; of secrets also Colab, the keyring and what was typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from composemagic.errors import UsageError
from composemagic.language.secret import is_secret
from composemagic.words import say

__all__ = ["Environment", "pair", "typed"]

_ROOT_MARKS = (".git", "pyproject.toml")
_KEYRING = "composemagic"  # the service under which the keyring has the variables
_typed: dict[str, str] = {}


class Environment(Mapping[str, str]):
    """Variables by name, looked up when asked for. One that is empty is not set: it hides none that stands further back.

    `overrides` come first, then the process's environment, then `files` (of several the last one counts). Without `files`,
    the `.env` in `folder` is read, else the nearest one above it up to the project's root. What has the name of a secret and
    is in none of these is looked for among Colab's secrets, in the system's keyring (where the package `keyring` is
    installed; service "composemagic") and among what was `typed`. A lookup raises UsageError for a file that cannot be read.
    """

    def __init__(
        self, overrides: Mapping[str, str] | None = None, files: Sequence[str | Path] = (), folder: Path | None = None
    ) -> None:
        self._overrides = dict(overrides or {})
        self._files = [Path(file) for file in files]
        self._folder = folder or Path.cwd()
        self._from_files: dict[str, str] | None = None
        self._places: dict[str, Path] = {}
        self._found: dict[str, tuple[int, str]] = {}
        for file in self._files:
            if not file.is_file():
                raise UsageError(say("there is no env file `{path}`", path=file))

    def __getitem__(self, name: str) -> str:
        for source in (self._overrides, os.environ):
            if value := source.get(name):
                return value
        if (value := self._read().get(name)) is not None:
            return value
        return self._kept(name)[1]

    def _kept(self, name: str) -> tuple[int, str]:
        """Where a secret is kept that stands in no file, and its value; asked for once. Raises KeyError."""
        if name in _typed:
            return 5, _typed[name]
        if name not in self._found and is_secret(name, ""):
            self._found[name] = next(((rank, value) for rank, keeper in _KEEPERS if (value := keeper(name))), (9, ""))
        if name not in self._found or not self._found[name][1]:
            raise KeyError(name)
        return self._found[name]

    def known(self, name: str) -> str | None:
        """A variable's value as far as it is known without asking who keeps secrets."""
        near = next((value for source in (self._overrides, os.environ) if (value := source.get(name))), None)
        return near or self._read().get(name) or _typed.get(name) or self._found.get(name, (9, ""))[1] or None

    def fetch(self, names: Iterable[str]) -> None:
        """Look variables up on the thread of the caller, where that matters: Colab answers a cell's own thread only."""
        if "google.colab" in sys.modules:
            for name in names:
                self.get(name)

    def rank(self, name: str) -> int:
        """How near a variable is: 0 given with `-e`, 1 of the process, 2 of a file, 3 and more of a keeper; 9 where there is none."""
        near = next((at for at, source in enumerate((self._overrides, os.environ)) if source.get(name)), None)
        if near is not None:
            return near
        try:
            return 2 if name in self._read() else self._kept(name)[0]
        except KeyError:
            return 9

    def origin(self, name: str) -> str:
        """Where a variable comes from, in words; empty where there is none."""
        match self.rank(name):
            case 0:
                return say("given with -e")
            case 1:
                return say("from the process's environment")
            case 2:
                return say("from {file}", file=self._places[name])
            case 3:
                return say("from Colab's secrets")
            case 4:
                return say("from the keyring")
            case 5:
                return say("typed in")
        return ""

    def __iter__(self) -> Iterator[str]:
        near = (name for source in (os.environ, self._overrides) for name, value in source.items() if value)
        return iter(dict.fromkeys([*_typed, *self._read(), *near]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _read(self) -> dict[str, str]:
        if self._from_files is None:
            found: dict[str, str] = {}
            for file in self._files or _nearest(self._folder):
                values = _values(file)
                found |= values
                self._places |= dict.fromkeys(values, file)
            self._from_files = found
        return self._from_files


def typed(name: str, value: str) -> None:
    """Know a variable that somebody has typed in, until the process ends."""
    _typed[name] = value


def _of_colab(name: str) -> str | None:
    """A secret of the notebook's user in Google Colab, who may have refused it to this notebook."""
    if "google.colab" not in sys.modules:
        return None
    try:
        found = import_module("google.colab.userdata").get(name)
    except Exception:  # its own classes: no such secret, no access, no answer
        return None
    return str(found) if found else None


def _of_keyring(name: str) -> str | None:
    if find_spec("keyring") is None:
        return None
    try:
        found = import_module("keyring").get_password(_KEYRING, name)
    except Exception:  # no keyring on this system, or it stays locked
        return None
    return str(found) if found else None


_KEEPERS = ((3, _of_colab), (4, _of_keyring))


def pair(item: str, option: str) -> tuple[str, str]:
    """`KEY=VALUE` in two, as a face's option gives it. Raises UsageError, which names the option and not what it was given:
    that may be a key's value.
    """
    key, equals, value = item.partition("=")
    if not key or not equals:
        raise UsageError(say("{option} is written `{option} KEY=VALUE`", option=option))
    return key, value


def _nearest(folder: Path) -> list[Path]:
    for place in (folder, *folder.parents):
        if (place / ".env").is_file():
            return [place / ".env"]
        if any((place / mark).exists() for mark in _ROOT_MARKS):
            break
    return []


def _values(file: Path) -> dict[str, str]:
    from dotenv import dotenv_values  # only who has a file pays for it

    # a key may hold a dollar: what stands in the file is the value
    try:
        values = dotenv_values(file, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(say("the env file `{path}` cannot be read: {reason}", path=file, reason=error)) from None
    # a copied .env.sample has names without values: they are not set
    return {name: value for name, value in values.items() if value}
