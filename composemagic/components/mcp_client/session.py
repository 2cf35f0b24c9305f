"""Sessions with MCP servers, kept open between runs: each lives in a task of its own on the private loop."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from composemagic.components.extras import needed
from composemagic.errors import RunError
from composemagic.threads import call_on
from composemagic.transport.address import check_host, shown
from composemagic.transport.quiet import hush, quiet
from composemagic.words import say

__all__ = ["ByCommand", "ByUrl", "Session", "failure", "sdk"]

_LINES = 20  # of what a server printed last
_SAID = 600  # characters of them in a sentence
_READ_SECONDS = 2.0  # at most, until they have been read
_MARK = "\0"


def sdk(module: str) -> Any:
    """A module of the official SDK, imported when it is needed. Raises RunError where it is not installed."""
    found = needed(module, by="mcp-client", package="mcp", extra="mcp")
    hush("mcp", "client")  # it logs what servers say; `client` is how its session calls its logger
    return found


@dataclass(frozen=True)
class ByUrl:
    """A server reached over streamable HTTP."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def name(self) -> str:
        return shown(self.url)

    @asynccontextmanager
    async def connect(self, timeout: float) -> AsyncIterator[Any]:
        """Connect and give the SDK's client. Raises what the SDK raises."""
        mcp, http, way = sdk("mcp"), sdk("httpx2"), sdk("mcp.client.streamable_http")
        url = http.URL(self.url)
        if url.scheme not in ("http", "https") or not url.host:
            raise RunError("url", say("`{url}` is no http:// or https:// address", url=self.name))
        check_host(url.host)
        limits = http.Timeout(timeout, connect=min(5.0, timeout))
        async with (
            http.AsyncClient(headers=dict(self.headers), timeout=limits) as client,
            mcp.Client(way.streamable_http_client(self.url, http_client=client)) as found,
        ):
            yield found

    def last_words(self) -> str:
        """Nothing: only a process of ours prints where we can read it."""
        return ""


class Printed:
    """What a server prints on its stderr: its last lines say why it ended. They are read on a thread."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._pipe: TextIO | None = None
        self._read = threading.Event()

    @contextlib.contextmanager
    def listening(self) -> Iterator[TextIO]:
        """A pipe to print on: it must not fill a cell."""
        self._lines.clear()
        end, begin = os.pipe()
        self._pipe = errors = os.fdopen(begin, "w")
        threading.Thread(target=self._listen, args=(end,), name="composemagic-mcp", daemon=True).start()
        try:
            yield errors
        finally:
            # not until the thread ends: what the server started may print for as long as it likes
            self._catch_up(errors)
            if self._pipe is errors:
                self._pipe = None
            errors.close()

    def last(self) -> list[str]:
        """The last lines that say something, also those that nobody has read yet."""
        if self._pipe is not None:
            self._catch_up(self._pipe)
        return [line.strip() for line in list(self._lines) if line.strip()]

    def _catch_up(self, pipe: TextIO) -> None:
        """Wait until what was printed so far has been read."""
        self._read.clear()
        with contextlib.suppress(OSError):
            pipe.write(f"\n{_MARK}\n")  # behind it
            pipe.flush()
            self._read.wait(_READ_SECONDS)

    def _listen(self, end: int) -> None:
        with os.fdopen(end, encoding="utf-8", errors="replace") as lines:
            while line := lines.readline(2000):
                if line == f"{_MARK}\n":
                    self._read.set()
                else:
                    self._lines.append(line)


@dataclass(frozen=True)
class ByCommand:
    """A server that is started as a process and spoken to over its stdin and stdout; it ends with the session.

    It is given `env` and what the SDK thinks harmless (PATH, HOME, ...), not our whole environment with its keys.
    """

    command: tuple[str, ...]
    folder: str
    env: tuple[tuple[str, str], ...] = field(repr=False)
    _printed: Printed = field(default_factory=Printed, repr=False, compare=False, hash=False)

    @property
    def name(self) -> str:
        return " ".join(Path(word).name for word in self.command[:2])

    @asynccontextmanager
    async def connect(self, timeout: float) -> AsyncIterator[Any]:
        """Start the process and give the SDK's client. Raises what the SDK raises."""
        mcp, way = sdk("mcp"), sdk("mcp.client.stdio")
        command, *arguments = self.command
        what = mcp.StdioServerParameters(command=command, args=arguments, env=dict(self.env), cwd=self.folder)
        with self._printed.listening() as errors:
            async with mcp.Client(way.stdio_client(what, errlog=errors)) as found:
                yield found

    def last_words(self) -> str:
        """The last line it printed: of a traceback the one that tells."""
        lines = self._printed.last()
        return lines[-1][:_SAID] if lines else ""


Server = ByUrl | ByCommand


class Session:
    """A connection to one server, opened with the first `client()` and shared by all who ask until `close`."""

    def __init__(self, server: Server, timeout: float) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.users = 0
        self._timeout = timeout
        self._closing = asyncio.Event()
        self._is_closed = False
        self._opened: asyncio.Future[Any] = self.loop.create_future()
        # a failure that nobody waited for is nobody's
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self._task = self.loop.create_task(self._live(), name="composemagic-mcp")

    @property
    def usable(self) -> bool:
        """Whether it is open, or about to be."""
        return not self._task.done() and not self._is_closed

    async def client(self) -> Any:
        """The SDK's client. Raises RunError where the server cannot be reached."""
        return await asyncio.shield(self._opened)

    def close(self) -> None:
        """Let it end; callable on any thread."""
        self._is_closed = True  # nobody is given it from here on
        call_on(self.loop, self._closing.set)

    async def _live(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(quiet())
                async with asyncio.timeout(self._timeout) as limit:
                    client = await stack.enter_async_context(self.server.connect(self._timeout))
                    limit.reschedule(None)
                self._opened.set_result(client)
                await self._closing.wait()
        except Exception as error:
            if not self._opened.done():
                self._opened.set_exception(failure(error, self.server, self._timeout))
        finally:
            if not self._opened.done():
                self._opened.cancel()


def failure(error: BaseException, server: Server, timeout: float) -> RunError:
    """What went wrong between us and a server, as a sentence."""
    root = _root(error)
    name = server.name
    match root:
        case RunError():
            return root
        case TimeoutError():
            return RunError(
                "timeout",
                say(
                    "the MCP server {name} did not answer within {seconds} s (timeout)",
                    name=name,
                    seconds=f"{timeout:g}",
                ),
            )
        case FileNotFoundError() | PermissionError() | NotADirectoryError():
            return RunError(
                "server", say("`{command}` cannot be started: {reason}", command=name, reason=root.strerror)
            )
    if type(root).__name__ in ("ConnectError", "ConnectTimeout"):
        return RunError("connect", say("Nothing listens at {name}; is the MCP server started?", name=name))
    words = server.last_words() or str(root).strip() or type(root).__name__
    return RunError("server", say("the MCP server {name} cannot be used: {words}", name=name, words=words))


def _root(error: BaseException) -> BaseException:
    """The first of what task groups wrapped into groups of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
