"""What stands behind `up -d`: a file for each folder that says what is served there, locked for as long as it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

__all__ = ["Standing", "found", "holding", "log_file", "say_there", "state_file"]

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """A server that was started in a folder: its process, its API's address, what it says of itself, and its log.

    `text` may hold the token that opens the page.
    """

    pid: int
    url: str
    text: str
    log: str


def state_file(folder: Path) -> Path:
    """Where a server that is started in this folder says so."""
    return _home() / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.json"


def log_file(folder: Path) -> Path:
    """What such a server prints when nobody watches it."""
    return state_file(folder).with_suffix(".log")


def found(folder: Path) -> Standing | None:
    """The server of a folder; None where there is none, or where it ended without a word."""
    try:
        with state_file(folder).open(encoding="utf-8") as file:
            if not _is_held(file):
                return None
            standing = Standing(**json.load(file))
            return standing if _listens(standing) else None
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def holding(folder: Path) -> Iterator[IO[str]]:
    """The folder's file, locked while this process serves; `say_there` writes into it. Raises OSError where another has it."""
    path = state_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    number = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(number, "r+", encoding="utf-8") as file:
        _lock(file)
        file.truncate(0)
        try:
            yield file
        finally:
            with contextlib.suppress(OSError):  # in one step: who looks finds all of it or nothing
                path.unlink()


def say_there(file: IO[str], standing: Standing) -> None:
    """Write down what is served."""
    file.seek(0)
    file.truncate(0)
    json.dump(asdict(standing), file)
    file.flush()


def _home() -> Path:
    """The platform's folder for what programs remember of their state (XDG base directory specification)."""
    if sys.platform == "win32":
        place = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        place = Path.home() / "Library" / "Application Support"
    else:
        configured = Path(os.environ.get("XDG_STATE_HOME") or "")
        place = configured if configured.is_absolute() else Path.home() / ".local" / "state"
    return place / "composemagic"


if sys.platform == "win32":

    def _lock(file: IO[str]) -> None:
        """Windows has no lock that others may read through: there it counts whether somebody listens."""

    def _is_held(file: IO[str]) -> bool:
        return True

    def _listens(standing: Standing) -> bool:
        place = urlsplit(standing.url)
        with contextlib.suppress(OSError), socket.create_connection((place.hostname, place.port), timeout=2):
            return True
        return False

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        for _ in range(_TRIES):
            with contextlib.suppress(BlockingIOError):  # who looks whether it is held holds it for a moment
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.01)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_held(file: IO[str]) -> bool:
        """Whether a living process holds the file: the system lets go of a dead one's, whoever has its number now."""
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
        return False

    def _listens(standing: Standing) -> bool:
        return True
