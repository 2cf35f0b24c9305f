"""Calling a user's Python function from the private loop: sync, async or a generator, and whose line it was that failed."""

from __future__ import annotations

import asyncio
import inspect
import linecache
import sysconfig
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, TypeVar

from composemagic.components.adopted import Called, way
from composemagic.components.signature import bind, description, json_schema
from composemagic.components.tool import Tool
from composemagic.errors import Mark, RunError, Source
from composemagic.threads import DaemonThread
from composemagic.words import say
from composemagic.workflow.component import Value

__all__ = ["Function", "as_function"]

T = TypeVar("T")

_END: Any = object()
_OURS = str(Path(__file__).parents[1])
_LIBRARIES = tuple(
    {path for name, path in sysconfig.get_paths().items() if name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


class Function:
    """A user's function and how it is called: plain ones on a daemon thread, asynchronous ones on the loop that asks.

    What it gives is a stream where it is a generator of either kind, else one value. A thread cannot be stopped: a plain
    function whose run is cancelled goes on to its end, and its result is dropped.
    """

    def __init__(self, function: Callable[..., Any], name: str = "") -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    async def answers(self, given: Any) -> AsyncGenerator[Any, None]:
        """Call it with a mapping of arguments (or its first one) and yield chunks, or one Value. Raises RunError."""
        arguments = bind(self.function, self.name, given)
        thread = DaemonThread(self.name)
        result: Any = None
        try:
            result = await self._called(arguments, thread)
            if not isinstance(result, AsyncIterator | Generator):
                yield Value(result)
                return
            while (chunk := await self._next(result, thread)) is not _END:
                yield chunk
        finally:
            thread.end()
            if isinstance(result, AsyncGenerator):
                await self.on_its_loop(result.aclose)

    async def call(self, given: Mapping[str, Any]) -> Any:
        """Call it and give its value, a stream as the list of its chunks (as text where all are). Raises RunError."""
        chunks: list[Any] = []
        async for chunk in self.answers(given):
            if isinstance(chunk, Value):
                return chunk.value
            chunks.append(chunk)
        return "".join(chunks) if chunks and all(isinstance(chunk, str) for chunk in chunks) else chunks

    def tool(self) -> Tool:
        """The function as a tool of an agent."""
        return Tool(self.name, description(self.function), json_schema(self.function), self.call)

    # -- where its parts run ---------------------------------------------------------------------------------------------
    async def on_its_loop(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await something asynchronous of the user's on the loop it belongs to: this one."""
        return await work()

    def place(self, file: str) -> str:
        """How a sentence calls a file of the user's."""
        path = Path(file)
        with_folder = path.is_relative_to(Path.cwd())
        return str(path.relative_to(Path.cwd())) if with_folder else path.name

    async def _called(self, arguments: inspect.BoundArguments, thread: DaemonThread) -> Any:
        def call() -> Any:
            return self.function(*arguments.args, **arguments.kwargs)

        if is_asynchronous(self.function):
            return await self._guarded(lambda: self.on_its_loop(lambda: _awaited(call)))
        result = await self._guarded(lambda: thread.do(call))
        # a plain function that gives a coroutine, such as a lambda or a partial
        return await self._guarded(lambda: self.on_its_loop(lambda: result)) if inspect.isawaitable(result) else result

    async def _next(self, chunks: AsyncIterator[Any] | Generator[Any, Any, Any], thread: DaemonThread) -> Any:
        if isinstance(chunks, AsyncIterator):
            source = chunks
            return await self._guarded(lambda: self.on_its_loop(lambda: _awaited(lambda: anext(source, _END))))
        plain = chunks
        thread.at_end = plain.close
        return await self._guarded(lambda: thread.do(lambda: next(plain, _END)))

    async def _guarded(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # SystemExit too: it would end the loop of all runs
            raise self._failure(error) from error

    # -- what it raised --------------------------------------------------------------------------------------------------
    def _failure(self, error: BaseException) -> RunError:
        """The user's exception in one sentence, with the line of theirs that it comes from."""
        words = error.sentence if isinstance(error, RunError) else _words(error)
        found = _last_own_line(error.__traceback__)
        if found is None:
            return RunError("function", say("`{name}` raised {error}", name=self.name, error=words))
        code, line, instruction = found
        place = self.place(code.co_filename)
        sentence = say(
            "`{name}` raised {error} ({place}, line {line})", name=self.name, error=words, place=place, line=line
        )
        return RunError("function", sentence, mark=_mark(code, line, instruction, place))


def as_function(function: Callable[..., Any], name: str = "") -> Called:
    """A user's function, called in the way of this process: in a notebook, on the kernel's loop."""
    return (way() or Function)(function, name)


def is_asynchronous(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a coroutine or an asynchronous generator."""
    own = function if inspect.isroutine(function) else getattr(function, "func", type(function).__call__)
    return inspect.iscoroutinefunction(own) or inspect.isasyncgenfunction(own)


async def _awaited(call: Callable[[], Any]) -> Any:
    """Call here, on the loop that the result belongs to, and await it where that is what it wants."""
    result = call()
    return await result if inspect.isawaitable(result) else result


# -- whose line it was ---------------------------------------------------------------------------------------------------


def _words(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _last_own_line(traceback: TracebackType | None) -> tuple[CodeType, int, int] | None:
    """The innermost frame that is the user's: not ours, not of Python, not of an installed library."""
    found = None
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith((_OURS, "<frozen", *_LIBRARIES)):
            found = code, traceback.tb_lineno, traceback.tb_lasti
        traceback = traceback.tb_next
    return found


def _mark(code: CodeType, line: int, instruction: int, place: str) -> Mark | None:
    """The place in the user's source, where that can still be read."""
    lines = linecache.getlines(code.co_filename)
    if not 0 < line <= len(lines):
        return None
    text = lines[line - 1].rstrip("\r\n")
    column, end = _columns(code, line, instruction, text)
    return Mark(Source(place, "".join(lines)), line - 1, column, max(1, end - column))


def _columns(code: CodeType, line: int, instruction: int, text: str) -> tuple[int, int]:
    """First and last column of what failed, in characters; of the whole line where Python does not know."""
    whole = len(text) - len(text.lstrip()), len(text.rstrip())
    positions = list(code.co_positions())
    first, last, start, end = positions[instruction // 2] if instruction // 2 < len(positions) else (None,) * 4
    if first != line or start is None or end is None:
        return whole
    raw = text.encode()  # Python counts bytes
    if last != line:
        return len(raw[:start].decode(errors="ignore")), whole[1]
    return len(raw[:start].decode(errors="ignore")), len(raw[:end].decode(errors="ignore"))
