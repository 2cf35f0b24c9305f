"""The servers that workflows of this process have started: one a port, shared by those that say the same of it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from composemagic.errors import RunError
from composemagic.threads import DaemonThread
from composemagic.words import say

__all__ = ["Launch", "serving"]

_KEEPER = Path(__file__).with_name("keeper.py")
_PAUSE_SECONDS = 0.1  # between two looks whether it answers
_STOP_SECONDS = 6.0
GRACE_SECONDS = 30.0  # a cell that is run again wants the same server a moment later
_SAID = 600  # characters of what a server printed last, in a sentence
_FLAGS: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)}
    if sys.platform == "win32"
    else {"start_new_session": True}
)

Answers = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Launch:
    """What is started: a command, the folder and the environment it runs in, the port it will listen on."""

    command: tuple[str, ...]
    folder: str
    env: tuple[tuple[str, str], ...] = field(repr=False)
    port: int


class _Server:
    """A server's process. `owners` are the components it runs for; with the last of them it ends."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.owners: weakref.WeakSet[Any] = weakref.WeakSet()
        self.requests = 0  # that are being answered
        self.answers = False
        self.turn = asyncio.Lock()
        self.ended: dict[str, Any] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._pid = os.getpid()
        self._starting = threading.Lock()

    @property
    def started(self) -> bool:
        return self._keeper is not None and self.ended is None

    def start(self) -> None:
        """Start the process, unless it runs. Raises RunError: the port is taken, the command cannot be started."""
        with self._starting:  # a run that is stopped in here leaves its thread behind
            if not self.started:
                self._start()

    def _start(self) -> None:
        _check_port(self.launch.port)
        self.ended, self.answers = None, False
        command = [sys.executable, "-P", str(_KEEPER)]  # -P: a json.py in the user's folder must not be imported
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        # unbuffered: a buffer has a lock, which a fork may find held for ever
        keeper = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, bufsize=0, **_FLAGS)
        assert keeper.stdin is not None
        settings = {"command": self.launch.command, "folder": self.launch.folder, "env": dict(self.launch.env)}
        _write(keeper.stdin, json.dumps(settings).encode() + b"\n")
        said = _said(keeper) or {"error": ""}
        if "error" in said:
            _close(keeper)
            raise RunError(
                "server",
                say("`{command}` cannot be started: {reason}", command=self.launch.command[0], reason=said["error"]),
            )
        self._keeper = keeper
        threading.Thread(target=self._watch, args=(keeper,), name="composemagic-server", daemon=True).start()

    def _watch(self, keeper: subprocess.Popen[bytes]) -> None:
        ended = _said(keeper)
        if keeper is self._keeper:
            self.ended = ended or {"ended": None, "said": ""}
            self.answers = False

    def ask_to_end(self) -> None:
        """Let the process end; waits for nothing."""
        if self._keeper is not None and self._keeper.stdin is not None and self._pid == os.getpid():
            with contextlib.suppress(OSError, ValueError):
                self._keeper.stdin.close()

    def end(self) -> None:
        """End the process and wait for it, seconds at most."""
        self.ask_to_end()
        keeper, self._keeper, self.answers = self._keeper, None, False
        if keeper is not None and self._pid == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.wait(_STOP_SECONDS)
            _close(keeper)

    def forget(self) -> None:
        """In a forked child: let go of the pipe, which would keep the parent's server alive."""
        if self._keeper is not None and self._keeper.stdin is not None and not self._keeper.stdin.closed:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._keeper.stdin.fileno())
            os.close(nothing)

    def why_it_ended(self) -> RunError:
        ended = self.ended or {}
        words = " ".join(str(ended.get("said", "")).split())[-_SAID:]
        name, status = self.launch.command[0], ended.get("ended")
        if words:
            return RunError(
                "server",
                say(
                    "`{command}` ended before it answered (exit status {status}): {words}",
                    command=name,
                    status=status,
                    words=words,
                ),
            )
        return RunError(
            "server", say("`{command}` ended before it answered (exit status {status})", command=name, status=status)
        )


_servers: dict[int, _Server] = {}
_lock = threading.Lock()  # held while a server ends: never to be taken on the loop
_counting = threading.Lock()


@asynccontextmanager
async def serving(
    launch: Launch, owner: object, answers: Answers, timeout: float, tell: Callable[[], None]
) -> AsyncIterator[None]:
    """Have the server run and answer for as long as the block lasts, and longer: it ends with the last of its owners.

    `answers` looks whether it does, `timeout` is how many seconds it may take to start, `tell` is called where it has to be
    started. Raises RunError.
    """
    server = await _off_loop(lambda: _claimed(launch, owner))
    with _counting:  # here and not on that thread: a run that is stopped meanwhile does not come back to take it off
        server.requests += 1
    try:
        async with server.turn:
            if not server.started:
                tell()
                await _off_loop(server.start)
            if not server.answers:
                await _until_it_answers(server, answers, timeout)
        yield
    finally:
        with _counting:
            server.requests -= 1


def _claimed(launch: Launch, owner: object) -> _Server:
    """The server of a port. One that another text of the workflow started there is ended, unless it is in use."""
    with _lock:
        server = _servers.get(launch.port)
        if server is not None and server.launch != launch:
            if server.requests:
                raise RunError(
                    "server",
                    say(
                        "port {port} serves `{command}` for another workflow",
                        port=launch.port,
                        command=server.launch.command[0],
                    ),
                )
            server.end()
            server = None
        if server is None:
            server = _servers[launch.port] = _Server(launch)
        if owner not in server.owners:
            server.owners.add(owner)
            weakref.finalize(owner, _without_owner, server).atexit = False
        return server


def _without_owner(server: _Server) -> None:
    """One of its components is gone: called wherever Python happens to notice, so nothing here waits or locks."""
    timer = threading.Timer(GRACE_SECONDS, _end_unowned, (server,))
    timer.daemon = True
    timer.start()


def _end_unowned(server: _Server) -> None:
    with _lock:
        if not server.owners:
            server.end()


async def _until_it_answers(server: _Server, answers: Answers, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            while not await answers():
                if server.ended is not None:
                    raise server.why_it_ended()
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        raise RunError(
            "server",
            say(
                "`{command}` did not answer at port {port} within {seconds} s (health.timeout)",
                command=server.launch.command[0], port=server.launch.port, seconds=f"{timeout:g}",
            ),
        ) from None  # fmt: skip
    if server.ended is not None:
        raise server.why_it_ended()
    server.answers = True


async def _off_loop(call: Callable[[], Any]) -> Any:
    thread = DaemonThread("server")
    try:
        return await thread.do(call)
    finally:
        thread.end()


def _check_port(port: int) -> None:
    """Raise RunError where something else listens already: its answers would be taken for the server's."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise RunError(
                "server",
                say("something else listens at port {port} already; stop it, or choose another port", port=port),
            )


def _write(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError):  # it has ended: what it said tells why
        while data:
            data = data[pipe.write(data) :]


def _said(keeper: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    """The next line of the keeper's, or None at its end."""
    assert keeper.stdout is not None
    line = b""
    with contextlib.suppress(OSError, ValueError):
        while not line.endswith(b"\n"):
            data = os.read(keeper.stdout.fileno(), 2**16)
            if not data:
                break
            line += data
    if not line.strip():
        return None
    found: dict[str, Any] = json.loads(line)
    return found


def _close(keeper: subprocess.Popen[bytes]) -> None:
    for pipe in (keeper.stdin, keeper.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError, ValueError):
                pipe.close()


def _end_all() -> None:
    for server in _servers.values():
        server.ask_to_end()
    for server in _servers.values():
        server.end()


def _forget_all() -> None:
    """In the child of a fork: the servers are the parent's, and a lock that was held there is held by no one."""
    global _lock, _counting
    _lock, _counting = threading.Lock(), threading.Lock()
    for server in _servers.values():
        server.forget()
    _servers.clear()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
