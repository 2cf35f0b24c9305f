"""What tests ask for by name: a real JupyterLab, a real kernel, and the servers that play the models."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.servers.echo import Echo
from tests.servers.faults import FaultServer

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient
    from jupyter_client.manager import KernelManager

    from tests.lab import Lab

ROOT = Path(__file__).resolve().parent.parent
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# how long an example takes is the machine's affair; the rest stays, which in CI is hypothesis' own profile for it
hypothesis.settings.register_profile(
    "here", hypothesis.settings.default, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: of two workers none should begin the longest when the other is done."""
    slow = {item.path for item in items if item.get_closest_marker("browser") or item.get_closest_marker("model")}
    items.sort(key=lambda item: item.path not in slow)


# -- servers


@pytest.fixture(scope="session")
def replay() -> Iterator[str]:
    """The address of tests/servers/replay.py, which answers like a model, in a process of its own."""
    with replay_server() as url:
        yield url


@contextlib.contextmanager
def replay_server() -> Iterator[str]:
    """The same for programs that are no tests."""
    folder = tempfile.TemporaryDirectory()
    port_file = Path(folder.name) / "port"
    command = [sys.executable, str(ROOT / "tests/servers/replay.py"), "--port", "0", "--port-file", str(port_file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _await_file(port_file, process)
        yield f"http://127.0.0.1:{port_file.read_text()}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        folder.cleanup()


@pytest.fixture(scope="session")
def _fault_server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def faults(_fault_server: FaultServer) -> FaultServer:
    """tests/servers/faults.py, one for the session, with an empty log: `faults.url("stall-mid", after=3)`."""
    _fault_server.reset()
    return _fault_server


@dataclass(frozen=True)
class EchoServer:
    """tests/servers/echo.py on a thread of its own. `reset()` clears its counters."""

    url: str
    echo: Echo

    def reset(self) -> None:
        self.echo.reset()


@pytest.fixture(scope="session")
def _echo_thread() -> Iterator[EchoServer]:
    loop, echo = asyncio.new_event_loop(), Echo()
    thread = threading.Thread(target=loop.run_forever, name="echo", daemon=True)
    thread.start()
    try:
        yield EchoServer(asyncio.run_coroutine_threadsafe(echo.start(0), loop).result(60), echo)
        asyncio.run_coroutine_threadsafe(_end(echo), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def echo_server(_echo_thread: EchoServer) -> EchoServer:
    """The echo server, one for the session, its counters cleared."""
    _echo_thread.reset()
    return _echo_thread


async def _end(echo: Echo) -> None:
    await echo.stop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextlib.contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a loopback server that answers with a handler of the standard library's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    """A port for a server that is told its port, outside those that the system itself gives away meanwhile; so is the next one."""
    while True:
        port = random.randrange(20_000, 30_000, 2)  # below Linux's ip_local_port_range, and IANA's 49152
        with socket.socket() as probe, socket.socket() as beside, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            beside.bind(("127.0.0.1", port + 1))
            return port


def await_reading(pid: int, seconds: float = 60) -> None:
    """Wait until a program waits for what is typed: a Ctrl-C between its question and that is lost, in C's own reading."""
    end = time.monotonic() + seconds
    while not _waits(Path("/proc") / str(pid)):
        assert time.monotonic() < end, "it does not wait"
        time.sleep(0.01)  # between two looks at the condition


def _waits(process: Path) -> bool:
    """Whether the main thread waits, and not for another one: for the terminal, then."""
    if not process.exists():  # not on Linux
        return True
    state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    return state == "S" and "futex" not in (process / "wchan").read_text()


def _await_file(path: Path, process: subprocess.Popen[bytes], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not path.exists():
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        assert time.monotonic() < end, f"waited {timeout} s for {path}"
        time.sleep(0.01)  # between two looks at the condition


# -- kernel


@dataclass
class Executed:
    """What one execution sent back. `streams` maps stdout and stderr to their text, `error` is (name, message, trace)."""

    status: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    streams: dict[str, str] = field(default_factory=lambda: {"stdout": "", "stderr": ""})
    error: tuple[str, str, str] | None = None

    @property
    def text(self) -> str:
        """The text/plain of the last output that has one."""
        data = [output["data"] for output in self.outputs if "text/plain" in output.get("data", {})]
        return str(data[-1]["text/plain"]) if data else ""


class Kernel:
    """A real ipykernel of this Python, with this checkout on its path."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def execute(self, code: str, timeout: float = 60, **how: Any) -> Executed:
        """Run a cell and collect what it sends until it is idle; TimeoutError after so many seconds."""
        return self.collect(self.submit(code, **how), timeout)

    def submit(self, code: str, *, cell: str | None = None, allow_stdin: bool = True) -> str:
        """Send a cell without waiting; the message id is for `collect`.

        `cell` is the id that JupyterLab sends along; without `allow_stdin` nobody sits in front, as in nbclient.
        """
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": True,
        }
        metadata = {"cellId": cell} if cell else {}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def collect(self, message_id: str, timeout: float = 60) -> Executed:
        """Wait for a cell that was sent; TimeoutError after so many seconds."""
        done, end = Executed(), time.monotonic() + timeout
        while True:
            message = self._next(end, timeout, done)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            _note(done, kind, content)
        reply = self._reply(message_id, end)
        done.status = reply["content"]["status"]
        return done

    def interrupt(self) -> None:
        """What the ■ button does."""
        self.manager.interrupt_kernel()

    def _next(self, end: float, timeout: float, done: Executed) -> dict[str, Any]:
        try:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"the cell was not done within {timeout} s; so far: {done}") from None
        return message

    def _reply(self, message_id: str, end: float) -> dict[str, Any]:
        while True:
            reply: dict[str, Any] = self.client.get_shell_msg(timeout=max(1.0, end - time.monotonic()))
            if reply["parent_header"].get("msg_id") == message_id:
                return reply


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A kernel for one test: `kernel.execute("1 + 1").text == "2"`."""
    with started_kernel() as started:
        yield started


@contextlib.contextmanager
def started_kernel(*before: Path) -> Iterator[Kernel]:
    """The same for programs that are no tests, and for fixtures of another scope. `before`: folders that come first on its path."""
    from jupyter_client.manager import KernelManager

    # by files: of ports that are found free, another program may have taken one by the time that the kernel has begun
    folder = tempfile.TemporaryDirectory(prefix="kernel-", ignore_cleanup_errors=True)
    place = str(Path(folder.name) / "connection.json")
    manager = KernelManager(
        kernel_name="python3", connection_file=place, transport="ipc" if os.name == "posix" else "tcp"
    )
    # The kernelspec's `python` may be another one than ours.
    spec = manager.kernel_spec
    assert spec is not None, "ipykernel is not installed"
    spec.argv[0] = sys.executable
    path = os.pathsep.join(filter(None, [*map(str, before), str(ROOT), os.environ.get("PYTHONPATH")]))
    manager.start_kernel(env={**os.environ, "PYTHONPATH": path})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=180)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.context.destroy(linger=0)
        folder.cleanup()


def _note(done: Executed, kind: str, content: dict[str, Any]) -> None:
    if kind == "stream":
        done.streams[content["name"]] += content["text"]
    elif kind == "error":
        done.error = (content["ename"], content["evalue"], _ANSI.sub("", "\n".join(content["traceback"])))
    if kind in ("stream", "error", "display_data", "execute_result", "update_display_data"):
        done.outputs.append({"output_type": kind, **content})


# -- browser


@pytest.fixture(scope="session")
def _lab_session() -> Iterator[Lab]:
    from tests.lab import CHROMIUM, Lab

    if not Path(CHROMIUM).exists() and not os.environ.get("CI"):
        pytest.skip(f"no Chromium at {CHROMIUM}; say where one is with COMPOSEMAGIC_CHROMIUM")
    with Lab() as session:
        yield session


@pytest.fixture(autouse=True)
def _no_running_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Playwright's synchronous API parks its event loop in this thread, marked as running for as long as a browser is open.

    Tests that do not use the browser would not be able to call `asyncio.run`: the mark is taken off while they run.
    """
    running = asyncio._get_running_loop()
    if running is None or "lab" in request.fixturenames:
        yield
        return
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)


@pytest.fixture
def lab(_lab_session: Lab) -> Iterator[Lab]:
    """JupyterLab in Chromium, one for the session; each test opens its own notebook, whose kernel ends with it."""
    yield _lab_session
    _lab_session.shut()
