"""A local model server for tests: `slow_start.py PORT [--healthy-after N] [--healthy-with FILE] [--child-pid-file FILE] [--say WORDS]
[--exit STATUS]`.

Answers JSON at any path with what it was asked and its own process id, an event stream at /v1/chat/completions, and 503 at
/health for the first N looks and until FILE is there. `--exit` ends it at once, `--stubborn` ignores SIGTERM, `--child-pid-file` starts a child that
sleeps.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

looks = 0
options = argparse.Namespace()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        global looks
        looks += self.path == "/health"
        is_well = looks > options.healthy_after and (not options.healthy_with or Path(options.healthy_with).exists())
        self._send(200 if is_well or self.path != "/health" else 503, {"path": self.path, "looks": looks})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
        if self.path.endswith("/chat/completions"):
            self._stream(["Hel", "lo"])
            return
        variables = {name: os.environ.get(name) for name in ("COLOR", "PATH")}
        self._send(
            200, {"path": self.path, "body": body, "pid": os.getpid(), "env": variables, "folder": str(Path.cwd())}
        )

    def _stream(self, pieces: list[str]) -> None:
        chunks = [{"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
        chunks.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        self._reply(200, "text/event-stream", text.encode())

    def _send(self, status: int, value: object) -> None:
        self._reply(status, "application/json", json.dumps(value).encode())

    def _reply(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--healthy-after", type=int, default=0)
    parser.add_argument("--healthy-with")
    parser.add_argument("--child-pid-file")
    parser.add_argument("--say", default="")
    parser.add_argument("--exit", type=int)
    parser.add_argument("--stubborn", action="store_true")
    options = parser.parse_args()
    if options.say:
        print(options.say, file=sys.stderr, flush=True)
    if options.exit is not None:
        sys.exit(options.exit)
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.child_pid_file:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(options.child_pid_file).write_text(str(child.pid))
    ThreadingHTTPServer(("127.0.0.1", options.port), Answers).serve_forever()


if __name__ == "__main__":
    main()
