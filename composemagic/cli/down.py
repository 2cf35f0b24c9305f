"""`composemagic down`: the end of what `up -d` has started in this folder."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from pathlib import Path

from composemagic.cli import standing
from composemagic.cli.options import Commands
from composemagic.cli.terminal import FAILED, tell
from composemagic.words import say

__all__ = ["add"]

_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.05


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    commands.add("down", _down, say("end the server that `up -d` has started in this folder"))


def _down(options: argparse.Namespace) -> int:
    folder = Path.cwd()
    there = standing.found(folder)
    if there is None:
        tell(say("nothing is served in the background for this folder"))
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(there.pid, signal.SIGTERM)
    end = time.monotonic() + _PATIENCE_SECONDS
    while standing.found(folder) is not None:
        if time.monotonic() > end:
            tell(say("the server (process {pid}) does not end; its log is {file}", pid=there.pid, file=there.log))
            return FAILED
        time.sleep(_LOOK_SECONDS)
    tell(say("■ stopped"))
    return 0
