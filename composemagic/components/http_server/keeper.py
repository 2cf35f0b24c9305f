"""The process between composemagic and a server: it starts the server and ends it when its own stdin ends.

A script of its own, run by path, with nothing but the standard library. Stdin ends however the parent ends, killed too, which
no handler in the parent could promise. The first line of stdin says what to start; each line of stdout is one JSON object:
`{"pid"}` or `{"error"}`, and later `{"ended", "said"}`, its exit status and the last it printed.
"""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any

_GRACE_SECONDS = 3.0  # between asking and killing
_LINES = 40  # of what the server printed last
_LINE = 2000  # bytes of one


def main() -> None:
    """Start the server and stay until it has ended."""
    settings = json.loads(sys.stdin.readline())
    try:
        process = _started(settings)
    except (OSError, ValueError) as error:
        _say({"error": getattr(error, "strerror", None) or str(error)})
        return
    _say({"pid": process.pid})
    said: collections.deque[bytes] = collections.deque(maxlen=_LINES)
    assert process.stdout is not None
    reader = threading.Thread(target=_drain, args=(process.stdout, said), daemon=True)
    reader.start()
    threading.Thread(target=_end_with_stdin, args=(process,), daemon=True).start()
    status = process.wait()
    _end_group(process, kill=True)  # what it left behind
    reader.join(1.0)
    _say({"ended": status, "said": b"".join(said).decode("utf-8", "replace")})


def _started(settings: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        settings["command"],
        cwd=settings["folder"],
        env={**os.environ, **settings["env"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=os.name == "posix",
    )


def _drain(pipe: IO[bytes], said: collections.deque[bytes]) -> None:
    while line := pipe.readline(_LINE):
        said.append(line)


def _end_with_stdin(process: subprocess.Popen[bytes]) -> None:
    while sys.stdin.readline():
        pass
    _end_group(process, kill=False)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _end_group(process, kill=True)


def _end_group(process: subprocess.Popen[bytes], *, kill: bool) -> None:
    """End the server and all that it started."""
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        else:
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    except (ProcessLookupError, PermissionError):
        return


def _say(words: dict[str, Any]) -> None:
    try:
        print(json.dumps(words), flush=True)
    except OSError:  # nobody listens any more
        return


if __name__ == "__main__":
    main()
