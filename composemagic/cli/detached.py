"""`up -d`: the same command in a process of its own, which has answered before this one ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from composemagic.cli import standing
from composemagic.cli.terminal import FAILED, drawable, tell
from composemagic.text import plain
from composemagic.words import say

__all__ = ["MARK", "start"]

MARK = "COMPOSE_IN_BACKGROUND"
"""The variable that tells the process in the background what it is."""

_LOOK_SECONDS = 0.05
_LAST = 2000  # characters of a log that are shown


def start(command: Sequence[str]) -> int:
    """Start the command in the background and wait until it answers; gives the exit status."""
    folder = Path.cwd()
    if (there := standing.found(folder)) is not None:
        _print(say("this folder is served already"), there)
        return 0
    log = standing.log_file(folder)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    log.unlink(missing_ok=True)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "composemagic", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, MARK: "1", "PYTHONUNBUFFERED": "1"},
            **_apart(),
        )
    try:
        answers = _await(process, folder)
    except BaseException:
        process.terminate()
        raise
    if answers is None:
        tell(plain(log.read_text(encoding="utf-8", errors="replace"))[-_LAST:].strip())
        tell(say("compose: the server did not start"))
        return FAILED
    _print(say("served in the background"), answers)
    return 0


def _apart() -> dict[str, Any]:
    """How a process outlives the terminal that started it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def _await(process: subprocess.Popen[bytes], folder: Path) -> standing.Standing | None:
    """What the process says of itself, once it answers; None where it ends before."""
    while process.poll() is None:
        there = standing.found(folder)
        if there is not None and there.pid == process.pid and _answers(there.url):
            return there
        time.sleep(_LOOK_SECONDS)
    return None


def _answers(url: str) -> bool:
    """Whether a server is at the address; where it wants a token, it is the guard that answers."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=5)
    try:
        connection.request("GET", f"{place.path}/health")
        return connection.getresponse().status > 0
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _print(line: str, there: standing.Standing) -> None:
    end = say("`composemagic down` in this folder stops it. Its log: {file}", file=there.log)
    print(drawable(plain(f"{line}\n{there.text}\n\n{end}"), sys.stdout), flush=True)
