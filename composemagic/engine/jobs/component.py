"""The job that runs one action of a component."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from composemagic.engine.stream import Stream
from composemagic.engine.unmatched import no_text, nothing_in_chunks, nothing_in_value, shown_raw, value_of_stream
from composemagic.errors import RunError
from composemagic.language.casts import CastError, convert
from composemagic.language.expression import Cast
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
    fragmented = await _fragmented(action, context)
    answers = _batches(action, context)
    context.opened(answers)
    first = await anext(answers, None)
    if isinstance(first, Value):
        return await _map_value(action, context, first.value)
    output, sources = action.output, action.component.sources
    chunk = first[0] if first else None
    if output is None:
        if context.is_shown_raw and (sentence := shown_raw(sources[0], chunk)):
            context.note(sentence)
        return Stream(_from(first, answers), fragmented=fragmented)
    if flaw := value_of_stream(output, sources, chunk):
        raise RunError("output", flaw.sentence, mark=context.place(flaw))
    if action.per_chunk:
        return Stream(_map_chunks(first, answers, action, context), fragmented=fragmented)
    return await context.render(output, dict.fromkeys(sources, Stream(_from(first, answers), fragmented=fragmented)))


async def _fragmented(action: Action, context: JobContext) -> bool:
    """Whether the chunks are pieces of one value, as the action's `stream_fragmented` says."""
    template = action.fields.get("stream_fragmented")
    if template is None:
        return True
    try:
        return convert(await context.render(template), Cast("boolean")) is not False
    except CastError as error:
        raise RunError("input", f"`stream_fragmented`: {error}") from None


async def _batches(action: Action, context: JobContext) -> AsyncGenerator[Any, None]:
    """What the component yields: its one Value, or lists of the chunks that came together."""
    is_late = False
    async with aclosing(_started(action, context)) as answers:
        async for answer in answers:
            if isinstance(answer, Value) and is_late:
                raise _breach(action, "it yields a Value after chunks")
            yield answer if isinstance(answer, Value | Batch) else [answer]
            is_late = True


def _started(action: Action, context: JobContext) -> AsyncGenerator[Any, None]:
    answers: object = action.component.run(action, context)
    if isinstance(answers, AsyncGenerator):
        return answers
    if inspect.iscoroutine(answers):
        answers.close()  # or Python warns that nobody awaited it
    raise _breach(action, f"`run` is no asynchronous generator but gives a {type(answers).__name__}")


def _breach(action: Action, words: str) -> RunError:
    return RunError("internal", f"the component `{action.component.type}` breaks its contract: {words}")


async def _from(first: list[Any] | None, rest: AsyncIterator[Any]) -> AsyncIterator[list[Any]]:
    batch = first
    while batch is not None:
        yield [chunk for chunk in batch if chunk is not None]
        batch = await anext(rest, None)


async def _map_value(action: Action, context: JobContext, value: Any) -> Any:
    output, sources = action.output, action.component.sources
    if output is None:
        return value
    if flaw := no_text(output, sources, value):
        raise RunError("output", flaw.sentence, mark=context.place(flaw))
    scope = dict.fromkeys(sources, value) | {f"{source}[]": value for source in sources}
    if flaw := nothing_in_value(output, scope, sources, "the answer"):
        context.note(flaw.sentence, context.place(flaw))
    return await context.render(output, scope)


async def _map_chunks(
    first: list[Any] | None, rest: AsyncIterator[Any], action: Action, context: JobContext
) -> AsyncIterator[list[Any]]:
    """Each chunk through the action's `output`; what gives null is dropped. One scope serves the whole stream."""
    assert action.output is not None
    render, sources = action.output.render, action.component.sources
    scope = await context.scope({})
    key, *others = [f"{source}[]" for source in sources]
    seen: Any = None
    matched = False
    batch = first
    while batch is not None:
        found = []
        for chunk in batch:
            scope[key] = chunk
            for other in others:
                scope[other] = chunk
            value = render(scope)
            if value is not None:
                found.append(value)
        if found:
            matched = True
            yield found
        elif seen is None and batch:
            seen = batch[0]
        batch = await anext(rest, None)
    if not matched and seen is not None and (flaw := nothing_in_chunks(action.output, sources, seen)):
        context.note(flaw.sentence, context.place(flaw))
