"""A run as OpenAI's API answers: one `chat.completion`, or a stream of `chat.completion.chunk`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from composemagic.engine.events import Delta, Event, Notice, RunFailed, RunFinished, RunStopped
from composemagic.engine.run import Run
from composemagic.errors import RunError
from composemagic.server.openai.errors import body_of
from composemagic.transport.providers import NOTES
from composemagic.words import say

__all__ = ["Chunks", "completion", "message", "stopped"]

DONE = b"data: [DONE]\n\n"
# a provider's reason for the end of its answer -> OpenAI's word for it; the usual end is `stop`
_REASONS = {
    "length": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
# the names that providers give to the tokens of the question and of the answer
_ASKED = ("prompt_tokens", "input_tokens", "prompt_eval_count")
_ANSWERED = ("completion_tokens", "output_tokens", "eval_count")


def completion(run: Run, name: str, model: str) -> dict[str, Any]:
    """The answer of a run that is done. Raises RunError for one that is no text."""
    content = text_of(run.output) if not run.is_stream else run.text
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, "refusal": None},
        "finish_reason": _reason(run.events),
        "logprobs": None,
    }
    answer: dict[str, Any] = {
        "id": name,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
    }
    usage = usage_of(run.usage)
    return answer if usage is None else {**answer, "usage": usage}


class Chunks:
    """The messages of a stream, made from the events of a run one after the other.

    `name` is the completion's id, `model` the workflow's; with `counts` the last chunk but `[DONE]` has the usage.
    `said`: at least one piece of the answer is out. `error` is what it ended with.
    """

    def __init__(self, run: Run, name: str, model: str, *, counts: bool = False) -> None:
        self._run = run
        self._counts = counts
        self._head = {"id": name, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
        piece = json.dumps(self._choice({"content": ""}))
        # the pieces differ in their text alone, and there are thousands
        self._before, self._after = (f"data: {piece}\n\n").rsplit('""', 1)
        self._was_text = True
        self._reasons: list[Event] = []
        self.said = self.ended = False
        self.error: RunError | None = None

    def of(self, events: Iterable[Event]) -> bytes:
        """The bytes that some events become; empty where a reader of the answer hears nothing of them."""
        return b"".join(piece for event in events for piece in self._of(event))

    def _of(self, event: Event) -> Iterator[bytes]:
        if type(event) is Delta:
            if not event.path and event.value != "":
                yield from self._piece(self._as_text(event.value))
        elif isinstance(event, Notice):
            self._reasons.append(event)
        elif isinstance(event, RunFinished):
            yield from self._end(event)
        elif isinstance(event, RunFailed):
            yield self.broken(event.error)
        elif isinstance(event, RunStopped):
            yield self.broken(stopped())

    def _as_text(self, value: Any) -> str:
        """A delta as text; one that is no text, or JSON of its own, stands on its own line."""
        is_text = isinstance(value, str) and self._run.encoding != "json"
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        break_ = "\n" if self.said and not (is_text and self._was_text) else ""
        self._was_text = is_text
        return break_ + text

    def _piece(self, text: str) -> Iterator[bytes]:
        if not self.said:
            self.said = True
            yield message(self._choice({"role": "assistant", "content": "", "refusal": None}))
        yield f"{self._before}{json.dumps(text)}{self._after}".encode()

    def _end(self, event: RunFinished) -> Iterator[bytes]:
        self.ended = True
        try:
            rest = "" if self.said else text_of(event.output)
        except RunError as error:
            yield self.broken(error)
            return
        yield from self._piece(rest) if rest or not self.said else ()
        yield message(self._choice({}, _reason(self._reasons)))
        usage = usage_of(event.usage)
        if self._counts and usage is not None:
            yield message({**self._head, "choices": [], "usage": usage})
        yield DONE

    def broken(self, error: RunError) -> bytes:
        """The last message of a stream that has no good end: OpenAI's client raises it."""
        self.ended, self.error = True, error
        return message(body_of(error))

    def _choice(self, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "finish_reason": reason, "logprobs": None, "delta": delta}
        usage = {"usage": None} if self._counts else {}
        return {**self._head, **usage, "choices": [choice]}


def message(value: Mapping[str, Any]) -> bytes:
    """One message of the stream."""
    return f"data: {json.dumps(value)}\n\n".encode()


def stopped() -> RunError:
    """What a client is told of a run that somebody else stopped."""
    return RunError("stopped", say("the run was stopped"))


def text_of(output: Any) -> str:
    """A whole output as text: JSON where it is none. Raises RunError for bytes."""
    if isinstance(output, bytes):
        raise RunError("output", say("the workflow gives {count} bytes, and a chat takes text", count=len(output)))
    if output is None or isinstance(output, str):
        return output or ""
    return json.dumps(output, ensure_ascii=False, default=str)


def usage_of(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The tokens by OpenAI's names; None where no provider counted them."""
    asked, answered = _count(usage, _ASKED), _count(usage, _ANSWERED)
    if asked is None and answered is None:
        return None
    asked, answered = asked or 0, answered or 0
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _count(usage: Mapping[str, Any] | None, names: Iterable[str]) -> int | None:
    counts = ((usage or {}).get(name) for name in names)
    return next((count for count in counts if type(count) is int), None)


def _reason(events: Iterable[Event]) -> str:
    """Why the answer ended, as far as the run was told: it knows it as a sentence."""
    sentences = {event.sentence for event in events if isinstance(event, Notice)}
    return next((word for reason, word in _REASONS.items() if NOTES[reason]() in sentences), "stop")
