"""Templates and conditions filled: what they want first - a stream collected, a file or an address loaded - is got for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from composemagic.engine.stream import Stream
from composemagic.errors import RunError
from composemagic.language.formats import Unloaded
from composemagic.language.streams import Uncollected, Wanted
from composemagic.words import say

__all__ = ["Load", "fill", "getter", "stop", "together"]

T = TypeVar("T")
Load = Callable[[str, str], Awaitable[bytes]]


async def fill(render: Callable[[Mapping[str, Any]], T], scope: Mapping[str, Any], load: Load) -> T:
    """What `render` gives in the scope. Raises RunError, and what rendering raises."""
    while True:
        try:
            return render(scope)
        except Wanted as wanted:
            await _get(wanted, load)


def getter(load: Load) -> Callable[[Wanted], Awaitable[None]]:
    """The function that gets what a template wants first."""
    return lambda wanted: _get(wanted, load)


async def _get(wanted: Wanted, load: Load) -> None:
    match wanted:
        case Uncollected(stream=Stream() as stream):
            await stream.collect()
        case Unloaded():
            wanted.keep(await load(wanted.format, wanted.address))
        case _:
            raise RunError("internal", say("a template wants what nobody can get: {what}", what=str(wanted)))


async def together(*works: Awaitable[T]) -> list[T]:
    """What all of them give, all at the same time. The first failure stops the others and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION) if tasks else ((), ())
        for task in done:
            task.result()
        return [task.result() for task in tasks]
    finally:
        await stop(tasks)


async def stop(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel what still runs and wait until it has ended; how it ended does not matter.

    Each is cancelled once, also where who waits here is cancelled meanwhile: it must be able to clear up.
    """
    for task in tasks:
        if not (isinstance(task, asyncio.Task) and task.cancelling()):
            task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen: asyncio would complain of one that nobody asked for
