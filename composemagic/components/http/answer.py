"""What comes back: a stream as chunks, anything else as one value, and what the provider says of its own answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from composemagic.errors import RunError
from composemagic.language.values import shown
from composemagic.transport.http import Request, Response
from composemagic.transport.providers import Watch
from composemagic.transport.reading import FORMATS, LINES, UNNAMED, Reading, is_stream
from composemagic.transport.whole import read_chunk, read_value
from composemagic.words import listing, say
from composemagic.workflow.component import Action, Batch, Context, Value

__all__ = ["answered", "report"]


async def answered(
    response: Response, request: Request, watch: Watch, action: Action, context: Context
) -> AsyncGenerator[Value | Batch, None]:
    """The chunks of a stream, or the one value or chunk of a whole body."""
    stream_format = await _stream_format(action, context)
    wanted = stream_format is not None or action.per_chunk
    if not is_stream(response.media_type, watch, stream_format, wanted=wanted):
        yield await _whole(response, request, watch, action, context)
        return
    if stream_format is None:
        stream_format = _default_format(response, watch, action, context)
    if response.media_type in UNNAMED:
        unnamed = say("the server named no content type for its event stream")
        context.note(
            say("the server named {type} for its event stream", type=response.media_type)
            if response.media_type
            else unnamed
        )
    async with aclosing(Reading(response, request, watch, stream_format).chunks()) as reads:
        async for chunks in reads:
            if watch.model is not None:
                context.answered_by(watch.model)
            yield Batch(chunks)
    report(watch, context)


async def _whole(response: Response, request: Request, watch: Watch, action: Action, context: Context) -> Value | Batch:
    body = await response.body()
    if action.per_chunk:
        answer: Value | Batch = Batch([read_chunk(body, response, request, watch)])
        context.note(say("the server answered without streaming"))
    else:
        answer = Value(read_value(body, response, request, watch))
    report(watch, context)  # now: after a Value nobody asks for more
    return answer


async def _stream_format(action: Action, context: Context) -> str | None:
    name = await context.render(action.fields.get("stream_format"))
    if name is not None and name not in FORMATS:
        raise RunError(
            "request", say("`stream_format` is one of {known}, not {value}", known=listing(FORMATS), value=shown(name))
        )
    return None if name is None else str(name)


def _default_format(response: Response, watch: Watch, action: Action, context: Context) -> str | None:
    """Where no `stream_format` is written: json, if `output` reads a path into the chunks of a provider that is known."""
    holes = action.output.holes if action.output is not None else ()
    if not any(hole.reference.per_chunk and hole.reference.path for hole in holes):
        return None
    if watch.dialect is None and response.media_type not in LINES:
        context.note(
            say(
                "the chunks of this stream are text, which has no paths; where they are JSON, add `stream_format: json`"
            )
        )
        return None
    return "json"


def report(watch: Watch, context: Context) -> None:
    """What the provider said of its own answer."""
    if watch.model is not None:
        context.answered_by(watch.model)
    if watch.usage:
        context.used(watch.usage)
    if watch.note:
        context.note(watch.note)
