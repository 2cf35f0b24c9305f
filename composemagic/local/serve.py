"""The embedded model behind a loopback URL that speaks OpenAI's protocol.

llama.cpp runs in a child process (child.py says why) that ends with this one, however this one ends.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from composemagic.errors import ModelError
from composemagic.local import weights
from composemagic.words import say

__all__ = ["EMBEDDED_TOKENS", "POOLINGS", "LocalModel", "require_llama", "shared"]

# The model's own template puts a system prompt first that makes its answers worse.
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SLOTS = 2  # requests at once; more wait
_CONTEXT = 4096  # tokens of prompt and answer, each request
EMBEDDED_TOKENS = 2048  # of a text that is embedded
POOLINGS = ("mean", "cls", "last")
_TOKENS = 1024  # of an answer whose request names no max_tokens

_CHILD = Path(__file__).with_name("child.py")
_FLAGS: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)}
    if sys.platform == "win32"
    else {"start_new_session": True}
)


class LocalModel:
    """A GGUF file served on 127.0.0.1: to write text or, with a `pooling` of its tokens, to embed texts.

    `template` is a Jinja chat template in place of the file's own. `url` is the base URL (`http://127.0.0.1:PORT/v1`) and `key` the bearer key, once started; `name` is the model id
    that answers carry. Requests may name any model. `start` and `stop` block.
    """

    def __init__(self, path: Path | str, *, pooling: str = "", template: str = "") -> None:
        self.path = Path(path)
        self.pooling = pooling
        self.embedded = self.path.name == weights.FILE
        self.name = f"{weights.NAME} (embedded)" if self.embedded else self.path.stem
        self.template = template or (_CHATML if self.embedded else "")
        self.key = secrets.token_urlsafe(24)
        self.url = ""
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    @property
    def running(self) -> bool:
        """Whether this very process started the server and it still lives."""
        return self._process is not None and self._owner == os.getpid() and self._process.poll() is None

    def start(self) -> None:
        """Load the model and listen; returns when requests are answered. Seconds, more for large models.

        Raises ModelError: xllamacpp is missing, the file cannot be loaded, the port is taken.
        """
        if self.running:
            return
        require_llama()
        port = _port()
        self._process = _launch()
        self._owner = os.getpid()
        try:
            said = _ask(self._process, self._settings(port))
        except BaseException:
            self.stop()
            raise
        if "url" not in said:
            self.stop()
            raise ModelError(self._refusal(said.get("error", "")))
        self.url = f"{said['url']}/v1"

    def stop(self) -> None:
        """End the server at once, whatever it is doing; in a forked child this leaves the parent's server alone."""
        process, self._process, self.url = self._process, None, ""
        if process is None:
            return
        if self._owner == os.getpid():
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                # a broken pipe: what was to be sent to the dead child is of no use
                with contextlib.suppress(OSError):
                    pipe.close()

    def _settings(self, port: int) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "name": self.name,
            "key": self.key,
            "port": port,
            "template": self.template,
            "pooling": self.pooling,
            "slots": _SLOTS,
            "context": EMBEDDED_TOKENS if self.pooling else _CONTEXT,
            "tokens": _TOKENS,
            "threads": max(1, _cores() - 1),
        }

    def _refusal(self, detail: str) -> str:
        if detail.startswith(("ImportError", "ModuleNotFoundError")):
            return say(
                "llama.cpp cannot be loaded ({reason}); reinstall it: `pip install --force-reinstall xllamacpp`",
                reason=detail[:200],
            )
        if not self.path.is_file():
            return say("the model file {path} does not exist", path=self.path)
        if self.path == weights.cached():
            return say(
                "llama.cpp cannot load {path}: it is broken, of an unknown kind, or too large; delete it and run again",
                path=self.path,
            )
        return say(
            "llama.cpp cannot load {path}: it is broken, of an unknown kind, or too large; use another GGUF file",
            path=self.path,
        )


_shared: LocalModel | None = None
_lock = threading.Lock()


def shared(progress: Callable[[str], None]) -> LocalModel:
    """The one running model of this process, started on first use and stopped at exit. Blocks; any thread may call.

    The weights are fetched first where needed; `progress` is told. A change of COMPOSEMAGIC_MODEL takes effect at the
    next call. Raises ModelError.
    """
    global _shared  # noqa: PLW0603
    with _lock:
        require_llama()  # before 89 MB are fetched for nothing
        path = weights.ensure(progress)
        if _shared is not None and _shared.running and _shared.path == path:
            return _shared
        if _shared is not None:
            _shared.stop()
        _shared = _started(path, progress)
        return _shared


def _started(path: Path, progress: Callable[[str], None]) -> LocalModel:
    """A running model; a cached file that cannot be loaded and has the wrong hash is fetched once more."""
    model = LocalModel(path)
    try:
        model.start()
    except ModelError:
        if path != weights.cached() or weights.whole(path):
            raise
        progress(say("the cached model {path} is broken (SHA-256); fetching it again", path=path))
        model = LocalModel(weights.fetch(progress))
        model.start()
    return model


def _stop_shared() -> None:
    if _shared is not None:
        _shared.stop()


def _forget_shared() -> None:
    """In a forked child: the server is the parent's, and a thread of the parent's may hold the lock for ever."""
    global _shared, _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _stop_shared()
    _shared = None


atexit.register(_stop_shared)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_shared)


def require_llama() -> None:
    """Raise ModelError where llama.cpp is not installed."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ModelError(say('the embedded model needs llama.cpp: `pip install "composemagic[local]"`'))


def _launch() -> subprocess.Popen[str]:
    """The child, in a session of its own: an interrupt of the cell or the command must not end it."""
    if not sys.executable:
        raise ModelError(say("the embedded model needs a Python interpreter to run in, and sys.executable names none"))
    # -P: a json.py in the folder of the notebook must not be imported
    command = [sys.executable, "-P", str(_CHILD)]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, encoding="utf-8", **_FLAGS)


def _ask(process: subprocess.Popen[str], settings: dict[str, Any]) -> dict[str, str]:
    """Send the settings (the key too, which must not stand in a command line) and read the one line of answer."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        line = ""
    said: dict[str, str] = json.loads(line) if line else {"error": "the process ended"}
    return said


def _port() -> int:
    """The port to listen on: 0, any free one, unless COMPOSEMAGIC_LOCAL_PORT names one."""
    text = os.environ.get("COMPOSEMAGIC_LOCAL_PORT", "").strip()
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ModelError(say("COMPOSEMAGIC_LOCAL_PORT is `{text}`; it takes a port, 1 to 65535, or nothing", text=text))
    port = int(text)
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ModelError(
                    say(
                        "port {port} for the embedded model is in use; unset COMPOSEMAGIC_LOCAL_PORT or choose another",
                        port=port,
                    )
                ) from None
            raise ModelError(
                say(
                    "port {port} for the embedded model cannot be used: {reason}; unset COMPOSEMAGIC_LOCAL_PORT or choose another",
                    port=port,
                    reason=error.strerror,
                )
            ) from None
    return port


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
