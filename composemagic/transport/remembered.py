"""Which secret variables may go where, as the user has answered: kept in their configuration, names and hosts only."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["Answer", "answers", "file", "forget", "has", "remember"]

_lock = threading.Lock()


class Answer(NamedTuple):
    """A variable, an origin it may go to, and the place in requests."""

    name: str
    origin: str
    place: str


def file() -> Path:
    """Where the answers are kept: in the platform's folder for configuration."""
    return _folder() / "composemagic" / "secrets.json"


def _folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    configured = Path(os.environ.get("XDG_CONFIG_HOME") or "")
    return configured if configured.is_absolute() else Path.home() / ".config"  # XDG base directory specification


def answers() -> tuple[Answer, ...]:
    """All that is remembered; a file that cannot be read, or that others may write, says nothing."""
    try:
        path = file()
        if os.name == "posix" and path.stat().st_mode & 0o022:
            return ()
        found = json.loads(path.read_text(encoding="utf-8"))["allowed"]
        return tuple(Answer(str(one["name"]), str(one["origin"]), str(one["place"])) for one in found)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return ()


def has(name: str, origin: str, place: str) -> bool:
    """Whether somebody has said yes to this."""
    return Answer(name, origin, place) in answers()


def remember(name: str, origin: str, place: str) -> None:
    """Keep a yes. A folder that cannot be written is no reason to end a run: it is asked again."""
    with _lock, contextlib.suppress(OSError, RuntimeError):
        _write(dict.fromkeys((*answers(), Answer(name, origin, place))))


def forget(name: str, origin: str | None = None) -> int:
    """Take back what was said about a variable, or about it and one origin; how many answers those were.

    Raises OSError where the file cannot be written.
    """
    with _lock:
        known = answers()
        kept = [one for one in known if one.name != name or (origin is not None and one.origin != origin)]
        if len(kept) < len(known):
            _write(kept)
        return len(known) - len(kept)


def _write(kept: Iterable[Answer]) -> None:
    """Only for the user's eyes, and never half: another process may read it at the same time."""
    path = file()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": 1, "allowed": [one._asdict() for one in kept]}, indent=1) + "\n"
    number, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # which nobody else may read, mode 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as draft:
            draft.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
