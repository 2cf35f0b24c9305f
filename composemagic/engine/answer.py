"""What an action answers: the chunks or the value of its component, through the action's `output`."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from composemagic.engine.context import ActionContext
from composemagic.engine.failure import unless_stopped
from composemagic.engine.step import Step
from composemagic.engine.unmatched import no_text, nothing_in_chunks, nothing_in_value, shown_raw, value_of_stream
from composemagic.errors import RunError
from composemagic.language.casts import CastError, convert
from composemagic.language.dialects import modern_cast
from composemagic.language.expression import Cast
from composemagic.language.streams import Chunks, Wanted, settled
from composemagic.language.template import Template
from composemagic.words import say
from composemagic.workflow.component import Action, Batch, Value

__all__ = ["act"]


async def act(step: Step, action: Action, given: Any) -> Any:
    """Run an action for a job and give its answer: a value, or a Stream. Raises RunError."""
    context = ActionContext(step, action, given, act)
    try:
        return await _answer(action, context)
    except BaseException as error:
        failure = unless_stopped(error, context.wrapped)
    raise failure


async def _answer(action: Action, context: ActionContext) -> Any:
    """What an action gives after its `output`: a value, or a Stream.

    Raises RunError from the component; a stream raises it while it is read.
    """
    fragmented = await _fragmented(action, context)
    answers = _batches(action, context)
    try:
        first = await anext(answers, None)
    except BaseException:
        await answers.aclose()
        raise
    if isinstance(first, Value):
        await answers.aclose()  # a connection must not wait for the run's end
        return await _map_value(action, context, first)
    output, sources = action.output, action.component.sources
    chunk = first[0] if first else None
    if output is not None and (flaw := value_of_stream(output, sources, chunk)):
        await answers.aclose()
        raise RunError("output", flaw.sentence, mark=context.place(flaw))
    if output is not None and action.per_chunk:
        chunks = _map_chunks(first, answers, action, context, keeps_null=not fragmented)
        stream = context.stream(chunks, fragmented=fragmented, behind=answers)
        stream.encoding = await _encoding(action, context, chunk)
        return stream
    chunks = _from(first, answers, keeps_null=not fragmented)
    stream = context.stream(chunks, fragmented=fragmented, behind=answers)
    if output is not None:
        return await context.fill(output, dict.fromkeys(sources, stream))
    if context.is_shown_raw and (sentence := shown_raw(sources[0], chunk)):
        context.note(sentence)
    return stream


async def _encoding(action: Action, context: ActionContext, chunk: Any) -> str | None:
    """What `as stream/...` around what is read of each chunk makes of the whole stream."""
    assert action.output is not None
    if not _casts_to_stream(action.output):
        return None
    of_one = await context.fill(action.output, context.scope(_of_chunk(action, chunk)))
    return of_one.encoding if isinstance(of_one, Chunks) else None


def _casts_to_stream(output: Template) -> bool:
    casts = [cast for hole in output.holes if (cast := hole.reference.cast) is not None]
    return any(modern_cast(cast)[0].type == "stream" for cast in casts)


def _of_chunk(action: Action, chunk: Any) -> dict[str, Any]:
    return {f"{source}[]": chunk for source in action.component.sources}


async def _fragmented(action: Action, context: ActionContext) -> bool:
    """Whether the chunks are pieces of one value, as the action's `stream_fragmented` says."""
    template = action.fields.get("stream_fragmented")
    if template is None:
        return True
    try:
        return convert(await context.render(template), Cast("boolean")) is not False
    except CastError as error:
        raise RunError("input", f"`stream_fragmented`: {error}") from None


async def _batches(action: Action, context: ActionContext) -> AsyncGenerator[Any, None]:
    """What the component yields: its one Value, or lists of the chunks that came together."""
    is_late = False
    async with aclosing(_started(action, context)) as answers:
        async for found in answers:
            if isinstance(found, Value) and is_late:
                raise _breach(action, say("it yields a Value after chunks"))
            yield found if isinstance(found, Value | Batch) else [found]
            is_late = True


def _started(action: Action, context: ActionContext) -> AsyncGenerator[Any, None]:
    answers: object = context.held(action.component.type) or action.component.run(action, context)
    if isinstance(answers, AsyncGenerator):
        return answers
    if inspect.iscoroutine(answers):
        answers.close()  # or Python warns that nobody awaited it
    raise _breach(action, say("`run` is no asynchronous generator but gives a {type}", type=type(answers).__name__))


def _breach(action: Action, words: str) -> RunError:
    return RunError(
        "internal",
        say("the component `{type}` breaks its contract: {reason}", type=action.component.type, reason=words),
    )


async def _from(
    first: list[Any] | None, rest: AsyncGenerator[Any, None], *, keeps_null: bool
) -> AsyncIterator[list[Any]]:
    async with aclosing(rest):
        batch = first
        while batch is not None:
            yield batch if keeps_null else [chunk for chunk in batch if chunk is not None]
            batch = await anext(rest, None)


async def _map_value(action: Action, context: ActionContext, answer: Value) -> Any:
    output, sources, value = action.output, action.component.sources, answer.value
    if output is None:
        return value
    if flaw := no_text(output, sources, value):
        raise RunError("output", flaw.sentence, mark=context.place(flaw))
    scope = dict.fromkeys(sources, value) | {f"{source}[]": value for source in sources} | {**answer.sources}
    if flaw := nothing_in_value(output, scope, sources, lambda: say("the answer")):
        context.note(flaw.sentence, context.place(flaw))
    return context.noted(await context.fill(output, scope))


async def _map_chunks(
    first: list[Any] | None,
    rest: AsyncGenerator[Any, None],
    action: Action,
    context: ActionContext,
    *,
    keeps_null: bool,
) -> AsyncIterator[list[Any]]:
    """Each chunk through the action's `output`; null is no piece of a value. One scope serves the whole stream."""
    assert action.output is not None
    render, sources = context.noting(action.output.render), action.component.sources
    scope = context.scope({})
    key, *others = [f"{source}[]" for source in sources]
    is_stream_each = _casts_to_stream(action.output)
    seen: Any = None
    matched = False
    batch = first
    async with aclosing(rest):
        while batch is not None:
            found: list[Any] = []
            for chunk in batch:
                scope[key] = chunk
                for other in others:
                    scope[other] = chunk
                try:
                    value = render(scope)
                except Wanted:
                    value = await context.fill(action.output, scope)
                except Exception:  # what came together with it and before it is good
                    if found:
                        yield found
                    raise
                if is_stream_each:
                    value = settled(value) or None  # such a stream has no empty pieces
                if value is not None:
                    matched = True
                    found.append(value)
                elif keeps_null:
                    found.append(value)
            if seen is None and batch:
                seen = batch[0]
            if found:
                yield found
            batch = await anext(rest, None)
    if not matched and seen is not None and (flaw := nothing_in_chunks(action.output, sources, seen)):
        context.note(flaw.sentence, context.place(flaw))
