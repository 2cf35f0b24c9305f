"""The replay server for benchmarks, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(__file__).parent.parent / "servers" / "replay.py"


@contextmanager
def replay(prefix: list[str]) -> Iterator[str]:
    """Start it behind a command prefix (`taskset ...`), give its base URL, end it."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        process = subprocess.Popen([*prefix, sys.executable, str(SERVER), "--port", "0", "--port-file", str(port_file)])
        try:
            while not (port_file.exists() and port_file.read_text().strip()):
                if process.poll() is not None:
                    raise RuntimeError("the replay server did not start")
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port_file.read_text().strip()}"
        finally:
            process.terminate()
            process.wait()
