"""The job that runs another one for every item, a few at a time.

A sliding window: as soon as one body ends the next begins, and never do more than `batch_size` of them run. Results come in
the order of the items.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from composemagic.engine.fill import stop
from composemagic.language.streams import Chunks
from composemagic.workflow.job import ForEachJob

if TYPE_CHECKING:
    from composemagic.engine.step import Step

__all__ = ["items_of", "run_for_each", "window"]

T = TypeVar("T")

# how many results may wait for an earlier one, for each body that runs, where a reader takes them one by one
_AHEAD = 4


async def run_for_each(job: ForEachJob, step: Step, given: Any) -> Any:
    """Of a list a list, of a stream a stream (of a list too where `streaming`); of one value one result."""
    width = await step.count(job.batch_size, "batch_size", 1)
    streaming = await step.flag(job.streaming, "streaming")

    async def body(item: Any) -> Any:
        return await step.inner(job.do, item, {"item": item}, settles=True)

    if isinstance(given, Chunks):
        results = _batches(window(items_of(given), body, width, width * _AHEAD))
        return step.stream(results, fragmented=given.fragmented)
    if not isinstance(given, list):
        return await body(given)
    if streaming:
        return step.stream(_batches(window(items_of(given), body, width, width * _AHEAD)), fragmented=False)
    async with aclosing(window(items_of(given), body, width, len(given))) as results:
        return [result async for result in results]


async def items_of(given: Any) -> AsyncIterator[Any]:
    """The items of a stream or a list, one by one; a value of another kind is the only one."""
    if isinstance(given, Chunks):
        async for batch in given.batches():
            for item in batch:
                yield item
    else:
        for item in given if isinstance(given, list) else [given]:
            yield item


async def _batches(results: AsyncGenerator[Any, None]) -> AsyncIterator[list[Any]]:
    async with aclosing(results):
        async for result in results:
            yield [result]


async def window(
    items: AsyncIterator[Any], body: Callable[[Any], Awaitable[Any]], width: int, ahead: int
) -> AsyncGenerator[Any, None]:
    """What `body` gives for each item, in their order; at most `width` bodies run, at most `ahead` results wait.

    The first failure ends it at once: the bodies that run are stopped, and it is raised.
    """
    running: set[asyncio.Future[Any]] = set()
    queue: asyncio.Queue[asyncio.Future[Any] | None] = asyncio.Queue(max(ahead, width))
    free = asyncio.Semaphore(width)
    broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(error: BaseException) -> None:
        if not broken.done():
            broken.set_exception(error)

    def ended(task: asyncio.Future[Any]) -> None:
        running.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            free.release()
        else:
            fail(error)

    async def feed() -> None:
        try:
            async for item in items:
                await free.acquire()
                task = asyncio.ensure_future(body(item))
                running.add(task)
                task.add_done_callback(ended)
                await queue.put(task)
            await queue.put(None)
        except Exception as error:
            fail(error)

    feeder = asyncio.ensure_future(feed())
    try:
        while (task := await _unless(broken, queue.get())) is not None:
            yield await _unless(broken, task)
    finally:
        await stop([feeder, *running])
        broken.cancel() or broken.exception()


async def _unless(broken: asyncio.Future[None], wanted: Awaitable[T]) -> T:
    """What is wanted, as soon as it is there. Raises what `broken` says as soon as it says so."""
    task = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait((task, broken), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            broken.result()
        return task.result()
    finally:
        if task is not wanted:
            task.cancel()
