"""Reads or runs one `yaml_hostile` row (JSON on stdin) and prints what came of it: a process of its own, and a small one."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from composemagic.errors import ComposeError, DocumentError
from composemagic.language import document

Row = dict[str, Any]

_STATUS = Path("/proc/self/status")  # the peak of a process is read from Linux's /proc


def text_of(row: Row) -> str:
    """The row's text, put together from its parts."""
    return str(row["text"]) if "text" in row else "".join(part * times for part, times in row["gen"])


def _measure(row: Row) -> Row:
    """Read or run the row in this process: what came of it, the seconds it took and the process's peak in MiB."""
    text = text_of(row)
    found: Row = {"refused": False}
    act = _run if row["outcome"] == "refuse-at-run" else _read
    begin = time.perf_counter()
    try:
        found["value"] = act(text, row)
    except ComposeError as error:
        found |= {"refused": True, "sentence": str(error)}
        if act is _read and not isinstance(error, DocumentError):
            found["unexpected"] = type(error).__name__
    except Exception as error:
        found["unexpected"] = f"{type(error).__name__}: {error}"
    return {**found, "seconds": time.perf_counter() - begin, "rss_mb": _peak()}


def _read(text: str, row: Row) -> object:
    data = document.parse(text).data
    if "env" not in row and "${" not in text:
        return data if "value" in row else None
    from composemagic.language.template import compile_template  # only here: what is measured of reading is reading

    return compile_template(data).render({"env": row.get("env", {})})


def _run(text: str, row: Row) -> object:
    from composemagic import load  # a run needs more than what is measured of reading

    return repr(load(text, env=row.get("env", {})).run())


def _peak() -> int | None:
    # not getrusage: its figure begins with the parent's, and the parent may be a test run
    if not _STATUS.exists():
        return None
    (peak,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) // 1024


if __name__ == "__main__":
    if "pure" in sys.argv:
        document._LOADER = yaml.SafeLoader
    print(json.dumps(_measure(json.load(sys.stdin))))
