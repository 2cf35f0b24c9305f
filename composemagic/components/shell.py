"""`type: shell`: runs a program of this computer and gives what it wrote.

A YAML file may not do this by itself: Python has to allow it once, with `composemagic.allow("shell")`. The command is a list of
words, given to the program as they are: no shell reads them, so that no input can add a command of its own. A list of such
lists is run one after the other.

    workflow:
      title: Count the words of a text
      job: {component: words, output: "${output.stdout as integer}"}
    component:
      id: words
      type: shell
      action:
        command: [wc, -w]
        stdin: ${input.text as text}
        timeout: 10s

| setting of the action | what it says |
|---|---|
| `command` | the program and its arguments, texts or numbers; or a list of such lists, which gives a list of results |
| `stdin` | what the program reads: a text or bytes; a list or an object is written as JSON. Nothing where nothing is said |
| `env` | variables beside those of this process, on the component for all actions; null takes one away |
| `working_dir` | a folder under that of the document; `base_dir` on the component is where it starts from |
| `timeout` | how long each command may take, in seconds or as a text such as `5m`; then it is stopped and the run fails |
| `streaming` | true: the lines of the standard output come one by one, each with its line end |
| `stream_fragmented` | false: where the stream is collected it becomes a list of lines and not one text |

The result is `{stdout, stderr, exit_code}`, both texts without the blanks at their ends; at most 8 MiB together. An exit code
other than 0 is no error: look at it. When the run is stopped the program is killed, with all that it started itself.
Source of `output`: `result`, for a stream `result[]`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from composemagic.components.given import Given, flag, misfits, seconds
from composemagic.errors import RunError
from composemagic.language.casts import CastError, to_text
from composemagic.words import say
from composemagic.workflow.component import Action, Batch, Component, Context, Settings, SettingsModel, Value
from composemagic.workflow.schema import kind

__all__ = ["Shell"]

LIMIT = 8 * 2**20  # bytes
_AHEAD = 2**18  # bytes that are read before they are wanted
_GRACE = 0.2  # seconds that what a program left running may keep its output open
_OUT, _ERR = 1, 2

Command = Sequence[str]


class ShellSettings(Settings):
    """`env` and `base_dir` serve every action."""

    env: Any = None
    base_dir: str | None = None
    manage: Any = None


class ShellAction(Settings):
    """The table at the top of this page says what each is for. `batch_size` is the peer's: here one follows the other."""

    command: Any
    stdin: Any = None
    env: Any = None
    working_dir: str | None = None
    timeout: Any = None
    streaming: Any = None
    stream_fragmented: Any = None
    batch_size: Any = None


class Shell(Component):
    """Runs programs. Source for `output`: `result`."""

    type: ClassVar[str] = "shell"
    text_fields: ClassVar[frozenset[str]] = frozenset({"command", "env", "base_dir", "working_dir"})
    settings: ClassVar[SettingsModel] = ShellSettings
    action: ClassVar[SettingsModel] = ShellAction

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        checks = {"command": _commands, "timeout": seconds, "streaming": flag, "stream_fragmented": flag}
        yield from misfits(action, checks)

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Yield one Value, a result or a list of results; or the lines of the standard output as a stream."""
        context.demand("shell")
        given = Given(action, context)
        if "manage" in action.settings:
            context.note(say("`manage` is not run by composemagic; do once in a cell what it should install"))
        commands = await given.get("command", _commands)
        if commands is None:
            raise RunError("input", say("`command` is null: there is nothing to run"))
        way = await _way(given, context)
        if await given.get("streaming", flag, False):
            for command in commands:
                async with aclosing(_lines(command, way, context)) as batches:
                    async for lines in batches:
                        yield Batch(lines)
            return
        results = [await _result(command, way) for command in commands]
        yield Value(results if _is_many(await given.get("command")) else results[0])


@dataclass(frozen=True, slots=True)
class Way:
    """How commands are run: where, with which variables, what they read, and how many seconds each may take."""

    folder: Path
    env: Mapping[str, str]
    stdin: bytes | None
    timeout: float | None


async def _way(given: Given, context: Context) -> Way:
    base, place = await given.get("base_dir", default="."), await given.get("working_dir", default=".")
    folder = context.file(str(Path(str(base), str(place))))
    if not _is_folder(folder):
        raise RunError("input", say("there is no folder `{folder}` to run the command in", folder=folder))
    own = await given.merged("env")
    words = {_word(name, "env"): None if value is None else _word(value, "env") for name, value in own.items()}
    env = {name: value for name, value in {**os.environ, **words}.items() if value is not None}
    stdin = await given.get("stdin")
    content = stdin if isinstance(stdin, bytes | None) else to_text(stdin).encode(errors="replace")
    return Way(folder, env, content, await given.get("timeout", seconds))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for any file
        return False


_SHELL = re.compile(r"[|&;<>$`*]")  # what only a shell understands


def _commands(value: Any, key: str) -> list[Command]:
    """The commands of a setting, each a list of words. Raises RunError."""
    if isinstance(value, str):
        with suppress(ValueError):
            parts = ["sh", "-c", value] if _SHELL.search(value) else shlex.split(value)
            words = json.dumps(parts, ensure_ascii=False)
            raise RunError(
                "input", say("`{key}` is a list of words, not one text: write {words}", key=key, words=words)
            )
    commands = value if _is_many(value) else [value]
    if not all(isinstance(command, list) and command for command in commands):
        sentence = say("`{key}` is a list of words, or a list of such lists, not {kind}", key=key, kind=kind(value))
        raise RunError("input", sentence)
    return [[_word(word, key) for word in command] for command in commands]


def _is_many(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def _word(value: Any, key: str) -> str:
    if value is None or isinstance(value, dict | list):
        raise RunError("input", say("`{key}` has {kind} where a text belongs", key=key, kind=kind(value)))
    try:
        word = to_text(value)
    except CastError as error:
        raise RunError("input", say("`{key}`: {why}", key=key, why=error)) from None
    if "\0" in word:
        raise RunError("input", say("`{key}` has a null character, which no program can be given", key=key))
    return word


# -- running -------------------------------------------------------------------------------------------------------------


async def _result(command: Command, way: Way) -> Mapping[str, Any]:
    async with _started(command, way, LIMIT) as program:
        while not program.is_over:
            await program.news()
            if program.size > LIMIT:
                raise _too_much(command)
        texts = [program.take(fd).decode(errors="replace").strip() for fd in (_OUT, _ERR)]
        return {"stdout": texts[0], "stderr": texts[1], "exit_code": program.exit_code}


async def _lines(command: Command, way: Way, context: Context) -> AsyncGenerator[list[str], None]:
    """The lines of the standard output as they come; the last words on the error output are a note where it failed."""
    begun, words = b"", b""
    async with _started(command, way, _AHEAD) as program:
        while not program.is_over or program.size:
            if not program.size:
                await program.news()
            *lines, begun = (begun + program.take(_OUT)).split(b"\n")
            words = (words + program.take(_ERR))[-1000:]
            if len(begun) > LIMIT:
                raise _too_much(command)
            if lines:
                yield [f"{line.decode(errors='replace')}\n" for line in lines]
        if begun:
            yield [begun.decode(errors="replace")]
        if program.exit_code:
            last = words.decode(errors="replace").strip().rpartition("\n")[2]
            context.note(
                say(
                    "`{program}` ended with exit code {code}: {words}",
                    program=command[0],
                    code=program.exit_code,
                    words=last,
                )
            )


def _too_much(command: Command) -> RunError:
    sentence = say("`{program}` wrote more than {limit} MiB and was stopped", program=command[0], limit=LIMIT // 2**20)
    return RunError("too_large", sentence)


class _Program(asyncio.SubprocessProtocol):
    """A program that runs: what it wrote and nobody took yet, and whether it is over.

    Beyond `room` bytes that nobody took the program has to wait.
    A protocol and not asyncio's `Process`, whose `wait` on some versions of Python also waits for what the program started in
    the background and that keeps its output open.
    """

    def __init__(self, command: Command, timeout: float | None, room: int) -> None:
        self._command = command
        self._timeout = timeout
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._pieces: dict[int, list[bytes]] = {_OUT: [], _ERR: []}
        self._open = {_OUT, _ERR}
        self._changed = asyncio.Event()
        self._heard = 0
        self.ended = asyncio.Event()
        self.size = 0
        self.transport: asyncio.SubprocessTransport

    @property
    def is_over(self) -> bool:
        """Whether it has ended and everything it wrote is here."""
        return self.ended.is_set() and not self._open

    @property
    def exit_code(self) -> int | None:
        """Its exit code; negative for the signal that ended it."""
        return self.transport.get_returncode()

    async def news(self) -> None:
        """Wait for more output, or the end. Raises RunError when the time is over."""
        self._changed.clear()
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._changed.wait()
        except TimeoutError:
            sentence = say(
                "`{program}` took longer than {seconds} s (timeout) and was stopped",
                program=self._command[0],
                seconds=f"{self._timeout:g}",
            )
            raise RunError("timeout_total", sentence) from None

    def take(self, fd: int) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._pieces[fd])
        self._pieces[fd].clear()
        self.size -= len(data)
        if self.size < self._room:
            self._each_pipe("resume_reading")
        return data

    def kill(self) -> None:
        """End it and all that it started. Only while it runs: afterwards its number may be another's."""
        if self.exit_code is None:
            with suppress(ProcessLookupError, PermissionError):
                if hasattr(os, "killpg"):
                    os.killpg(self.transport.get_pid(), signal.SIGKILL)
                else:
                    self.transport.kill()

    # -- what asyncio tells -------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._pieces[fd].append(data)
        self.size += len(data)
        self._heard += 1
        if self.size > self._room:
            self._each_pipe("pause_reading")
        self._changed.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        self._changed.set()

    def process_exited(self) -> None:
        self.ended.set()
        self._changed.set()
        self._loop.call_later(_GRACE, self._let_go, self._heard)

    def _let_go(self, heard: int) -> None:
        """Wait no longer for an output that another program keeps open, unless it still says something."""
        if heard != self._heard or self.size > self._room:
            self._loop.call_later(_GRACE, self._let_go, self._heard)
            return
        self._each_pipe("close")

    def _each_pipe(self, act: str) -> None:
        for fd in self._open:
            pipe = self.transport.get_pipe_transport(fd)
            if pipe is not None:
                getattr(pipe, act)()


async def _whole(start: Coroutine[Any, Any, tuple[asyncio.BaseTransport, _Program]]) -> Any:
    """Start a program to the end of its start: asyncio, cancelled in the middle, ends the program and not what it started."""
    starting = asyncio.ensure_future(start)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError, ValueError):
            await _end(*await starting)
        raise


async def _end(transport: asyncio.BaseTransport, program: _Program) -> None:
    program.kill()
    try:
        await program.ended.wait()
    finally:
        transport.close()


@asynccontextmanager
async def _started(command: Command, way: Way, room: int) -> AsyncIterator[_Program]:
    """A running program, which has ended when the block has. Raises RunError where it cannot be started."""
    loop = asyncio.get_running_loop()
    try:
        transport, program = await _whole(
            loop.subprocess_exec(
                lambda: _Program(command, way.timeout, room),
                *command,
                cwd=way.folder,
                env=way.env,
                stdin=asyncio.subprocess.DEVNULL if way.stdin is None else asyncio.subprocess.PIPE,
                start_new_session=True,  # a group of its own, to be ended together
            )
        )
    except (OSError, ValueError) as error:  # a ValueError is about a variable's name
        raise RunError("input", _no_start(command, error)) from None
    try:
        if way.stdin is not None:
            pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
            pipe.write(way.stdin)
            pipe.write_eof()
        yield program
    finally:
        await _end(transport, program)


def _no_start(command: Command, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return say("there is no program `{program}` on this computer", program=command[0])
    why = (getattr(error, "strerror", None) or str(error)).lower()
    return say("`{program}` cannot be started: {why}", program=command[0], why=why)
