"""The job that runs one action of a component."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from composemagic.engine.stream import Stream
from composemagic.workflow.component import Action, Batch, Value
from composemagic.workflow.load import Job

if TYPE_CHECKING:
    from composemagic.engine.context import JobContext

__all__ = ["run_component"]


async def run_component(job: Job, context: JobContext) -> Any:
    """Run the job's action and give its answer after the action's `output`: a value, or a Stream.

    Raises RunError from the component; a stream raises it while it is read.
    """
    action = job.action
    answers = _batches(action, context)
    context.opened(answers)
    first = await anext(answers, None)
    sources = action.component.sources
    if isinstance(first, Value):
        return await _map_value(action, context, sources, first.value)
    if action.output is not None and action.per_chunk:
        return Stream(_map_chunks(first, answers, action, context, sources))
    stream = Stream(_from(first, answers))
    if action.output is None:
        return stream
    return await context.render(action.output, dict.fromkeys(sources, stream))


async def _batches(action: Action, context: JobContext) -> AsyncGenerator[Any, None]:
    """What the component yields: its one Value, or lists of the chunks that came together."""
    async with aclosing(action.component.run(action, context)) as answers:
        async for answer in answers:
            yield answer if isinstance(answer, Value | Batch) else [answer]


async def _from(first: list[Any] | None, rest: AsyncIterator[Any]) -> AsyncIterator[list[Any]]:
    batch = first
    while batch is not None:
        yield [chunk for chunk in batch if chunk is not None]
        batch = await anext(rest, None)


async def _map_value(action: Action, context: JobContext, sources: tuple[str, ...], value: Any) -> Any:
    if action.output is None:
        return value
    scope = dict.fromkeys(sources, value) | {f"{source}[]": value for source in sources}
    return await context.render(action.output, scope)


async def _map_chunks(
    first: list[Any] | None, rest: AsyncIterator[Any], action: Action, context: JobContext, sources: tuple[str, ...]
) -> AsyncIterator[list[Any]]:
    """Each chunk through the action's `output`; what gives null is dropped. One scope serves the whole stream."""
    assert action.output is not None
    render = action.output.render
    scope = await context.scope({})
    (source,) = sources
    key = f"{source}[]"
    seen: Any = None
    matched = False
    batch = first
    while batch is not None:
        found = []
        for chunk in batch:
            scope[key] = chunk
            value = render(scope)
            if value is not None:
                found.append(value)
        if found:
            matched = True
            yield found
        elif seen is None and batch:
            seen = batch[0]
        batch = await anext(rest, None)
    if not matched and seen is not None:
        context.note(_nothing_matched(seen))


def _nothing_matched(chunk: Any) -> str:
    """A path into the response cannot be checked before the run; this is what a run that matched nothing says."""
    what = f"its chunks have {_keys(chunk)}" if isinstance(chunk, Mapping) else f"its chunks are {type(chunk).__name__}"
    return f"nothing in the stream matched `output`; {what}"


def _keys(chunk: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}`" for key in list(chunk)[:8]) or "no keys"
