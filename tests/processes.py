"""What the system says of processes; for tests on Linux and, as far as it goes, elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["lives", "open_files"]


def lives(pid: int) -> bool:
    """Whether a process still does something; a zombie, for whose end nobody has asked, does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:  # also between the two
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()


def open_files() -> list[str]:
    """What this process has open, as `socket:[1234]`; empty where the system does not say."""
    found = []
    for link in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").exists() else ():
        try:
            found.append(os.readlink(link))
        except OSError:  # closed meanwhile, as that of this very look
            continue
    return found
