"""`yaml_hostile` rows: a text that must be read or refused in little time and memory, in a process of its own.

`{id, text | gen: [[text, times]...], outcome: refuse | accept | refuse-at-run, value?, env?, max_seconds, max_rss_mb}`. A value is
compared after `${env.X}` is filled. `refuse-at-run`: the document, loaded and run, must end in one of our errors.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.rows import Failure, Row, alike

_CHILD = Path(__file__).with_name("hostile_child.py")
_SECONDS = 60
_ROOT = Path(__file__).parents[2]


def check_hostile(row: Row, *, pure: bool = False) -> Iterator[Failure]:
    """What of a row is not as it says; `pure`: read with PyYAML's own parser and not with libyaml's."""
    got = _measured(row, pure=pure)
    accepted = row["outcome"] == "accept"
    if got.get("unexpected") or got["refused"] is accepted:
        yield Failure("outcome", row["outcome"], got.get("unexpected") or got.get("sentence") or "read")
    elif accepted and "value" in row and not alike(row["value"], got["value"]):
        yield Failure("value", row["value"], got["value"])
    if row["outcome"] == "refuse-at-run":  # the limits are of reading: a run waits for others
        return
    if got["seconds"] > row.get("max_seconds", math.inf):
        yield Failure("seconds", row["max_seconds"], got["seconds"])
    if (got["rss_mb"] or 0) > row.get("max_rss_mb", math.inf):
        yield Failure("rss_mb", row["max_rss_mb"], got["rss_mb"])


def _measured(row: Row, *, pure: bool) -> Row:
    command = [sys.executable, str(_CHILD), *(["pure"] if pure else [])]
    done = subprocess.run(
        command, input=json.dumps(row), capture_output=True, text=True, timeout=_SECONDS, cwd=_ROOT, check=False
    )
    if done.returncode:
        return {
            "unexpected": f"the process ended with {done.returncode}: {done.stderr[-400:]}",
            "seconds": 0,
            "rss_mb": 0,
        }
    found: Row = json.loads(done.stdout)
    return found
