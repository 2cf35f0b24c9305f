"""What providers say in JSON: where the text stands, when a stream is finished, what is an error, tokens and model.

A dialect is recognised by the end of the URL's path (`dialect_of`) or taken by name (`DIALECTS`):

    dialect           finish mark                                  text
    openai-chat       a `finish_reason`, or `[DONE]`               choices[0]: delta.content, message.content, text
    openai-responses  response.completed, response.incomplete      response.output_text.delta
    anthropic         message_stop                                 content_block_delta with a text_delta
    ollama            "done": true                                 message.content, response

Whole answers (one JSON object instead of a stream) are read by the same functions as chunks.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from composemagic.errors import RunError
from composemagic.text import clean
from composemagic.words import say

__all__ = [
    "DIALECTS",
    "Dialect",
    "ProviderError",
    "Watch",
    "dialect_of",
    "error_message",
    "page_words",
    "text_of",
]

Chunk = dict[str, Any]

# Words in an error's `type` or `code` -> our kind; what is not here is "server".
KINDS = {
    "401": "auth",
    "403": "auth",
    "authentication_error": "auth",
    "invalid_api_key": "auth",
    "permission_denied": "auth",
    "permission_error": "auth",
    "unauthenticated": "auth",
    "429": "rate_limit",
    "insufficient_quota": "rate_limit",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "resource_exhausted": "rate_limit",
    "503": "overloaded",
    "529": "overloaded",
    "engine_overloaded": "overloaded",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "service_unavailable": "overloaded",
    "unavailable": "overloaded",
    "badrequesterror": "bad_request",
    "context_length_exceeded": "bad_request",
    "exceed_context_size_error": "bad_request",
    "invalid_argument": "bad_request",
    "invalid_request_error": "bad_request",
    "model_not_found": "not_found",
    "not_found_error": "not_found",
    "notfounderror": "not_found",
    "request_too_large": "too_large",
    "timeout_error": "timeout",
}


def _filtered() -> str:
    return say("the provider's content filter ended the answer")


def _asked_for_a_tool() -> str:
    return say("the model asked for a tool instead of answering; `type: agent` runs tools")


def _cut_at(setting: str) -> Callable[[], str]:
    return lambda: say("the answer was cut at {setting}; raise it for more", setting=setting)


# What a user should know of the reasons for which an answer ends; the others are the usual end.
NOTES: Mapping[str, Callable[[], str]] = {
    "length": _cut_at("max_tokens"),
    "max_tokens": _cut_at("max_tokens"),
    "max_output_tokens": _cut_at("max_output_tokens"),
    "model_context_window_exceeded": lambda: say("the answer was cut where the model's context window was full"),
    "content_filter": _filtered,
    "refusal": lambda: say("the model refused to answer"),
    "function_call": _asked_for_a_tool,
    "tool_calls": _asked_for_a_tool,
    "tool_use": _asked_for_a_tool,
}

# A non-empty `error` beside one of these is part of an answer, not an error message.
CONTENT_KEYS = frozenset({"choices", "content", "delta", "message", "output", "response"})


class ProviderError(RunError):
    """The provider sent an error in place of an answer, or in the middle of one.

    `message` is what it said, `index` the place of the chunk in the batch that `Watch.see` was given: the chunks before
    it are good. The kind is "server", or better where the error's type says more ("auth", "rate_limit", "overloaded").
    """

    def __init__(self, kind: str, message: str, *, index: int = 0) -> None:
        self.message = message
        self.index = index
        super().__init__(kind, say("The provider sent an error: {words}", words=message))


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one provider's API speaks. `note` writes a chunk's finish mark, usage and model down in a Watch."""

    name: str
    paths: tuple[str, ...]
    text: Callable[[Chunk], object]
    note: Callable[[Watch, Chunk], None]
    done_counts: bool = False  # elsewhere `[DONE]` is what a proxy adds, also after an answer that was cut


def dialect_of(url_path: str) -> Dialect | None:
    """The dialect that a URL's path belongs to; None where no provider's API is recognised."""
    path = url_path.partition("?")[0].rstrip("/")
    return next((dialect for dialect in DIALECTS.values() if path.endswith(dialect.paths)), None)


class Watch:
    """What a stream of chunks says about itself.

    `finish_reason`, `usage` and `model` are the provider's own words, None until it has said them.
    Without a dialect every stream counts as finished; errors are recognised all the same. `offers_tools`: the request did.
    """

    __slots__ = ("_note", "dialect", "finish_reason", "finished", "model", "offers_tools", "usage")

    def __init__(self, dialect: Dialect | None, *, offers_tools: bool = False) -> None:
        self.dialect = dialect
        self.offers_tools = offers_tools
        self.finished = dialect is None
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.model: str | None = None
        self._note = dialect.note if dialect else _note_error

    def see(self, chunks: Sequence[object]) -> None:
        """Take note of the parsed chunks of one read, in their order.

        Raises:
            ProviderError: one of them is an error; its `index` says which, the ones before it have been seen.
        """
        note = self._note
        index = 0
        try:
            for index, chunk in enumerate(chunks):  # noqa: B007
                if type(chunk) is dict:  # json gives no subclasses
                    note(self, chunk)
        except ProviderError as error:
            error.index = index
            raise

    @property
    def note(self) -> str | None:
        """A sentence for the user, where the answer ended for another reason than that all was said."""
        note = NOTES.get(self.finish_reason or "")
        if note is _asked_for_a_tool and self.offers_tools:
            return None  # who offers tools knows what to do with the answer
        return None if note is None else note()

    def done(self) -> None:
        """The stream said `[DONE]`."""
        if self.dialect is None or self.dialect.done_counts:
            self.finished = True

    def fail(self, words: str) -> NoReturn:
        """Raise what came in an `event: error` or in an `error:` field (llama.cpp): JSON, or plain text.

        Raises:
            ProviderError: always.
        """
        try:
            body = json.loads(words)
        except (ValueError, RecursionError):
            body = words
        raise _error(body)


def text_of(dialect: Dialect | None, chunk: object) -> str:
    """The text of the answer in a chunk, or in a whole answer; empty where there is none."""
    if dialect is None or not isinstance(chunk, dict):
        return ""
    text = dialect.text(chunk)
    return text if isinstance(text, str) else _joined(text)


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def error_message(body: object) -> str | None:
    """The provider's words in an error body; None where it holds none.

    Knows `{"error": {"message"}}`, `{"error": "text"}`, `{"message"}` (vLLM, Azure), `{"detail"}` (FastAPI), a list
    with such an object (Google), `{"response": {"error"}}` (Responses) and plain text.
    """
    return _words(body, depth=6)


def page_words(page: str) -> str:
    """What an HTML page in place of an answer says, such as a proxy's: its title, else its words without the tags."""
    title = re.search(r"<title[^>]*>([^<]*)", page, re.IGNORECASE)
    words = title[1] if title else re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", " ", page)
    return " ".join(html.unescape(words).split())


WORD_KEYS = ("error", "message", "detail", "msg", "Message", "error_description", "errors", "response", "type", "code")


def _words(body: object, depth: int) -> str | None:
    if isinstance(body, str):
        return clean(body.strip()) or None
    if isinstance(body, dict):
        body = [body[key] for key in WORD_KEYS if key in body]
    if not isinstance(body, list) or not depth:
        return None
    return next((words for part in body if (words := _words(part, depth - 1))), None)


def _find_error(chunk: Chunk) -> None:
    """Raise the error that a chunk is, if it is one."""
    error = chunk.get("error")
    if error and (CONTENT_KEYS.isdisjoint(chunk) or _is_failure_all_the_same(chunk)):
        raise _error(chunk)
    if chunk.get("object") == "error" or chunk.get("type") in ("error", "response.failed"):
        raise _error(chunk)


def _is_failure_all_the_same(chunk: Chunk) -> bool:
    """OpenRouter puts an error beside a choice with `finish_reason: error`; a `message` of text is an error's words."""
    return _choice(chunk).get("finish_reason") == "error" or isinstance(chunk.get("message"), str)


def _error(body: object) -> ProviderError:
    return ProviderError(_kind(body), error_message(body) or _shown(body))


def _shown(body: object) -> str:
    try:
        return clean(json.dumps(body, ensure_ascii=False)[:200])
    except (RecursionError, ValueError):  # nested as deep as the parser allowed, but not the writer
        return say("an error without words")


def _kind(body: object) -> str:
    if not isinstance(body, dict):
        return "server"
    inner = body.get("error") or _dict(body.get("response")).get("error") or body
    words = (_dict(inner).get(key) for key in ("code", "type", "status"))
    return next((KINDS[word] for word in (str(word).lower() for word in words) if word in KINDS), "server")


# ── dialects ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _note_error(watch: Watch, chunk: Chunk) -> None:
    """For a server whose API is not recognised."""
    _find_error(chunk)


def _note_chat(watch: Watch, chunk: Chunk) -> None:
    """One call a token: an ordinary chunk costs a handful of look-ups."""
    choices = chunk.get("choices")
    if not choices or "error" in chunk:
        _find_error(chunk)
    if choices:
        try:
            reason = choices[0].get("finish_reason")
        except (AttributeError, KeyError, TypeError):  # choices are no list of objects
            reason = None
        if reason and not choices[0].get("index"):  # some servers send "" with every chunk
            watch.finished = True
            watch.finish_reason = reason if isinstance(reason, str) else str(reason)
    if "usage" in chunk:
        _note_usage(watch, chunk["usage"])
    if watch.model is None:
        _note_model(watch, chunk)


def _note_responses(watch: Watch, chunk: Chunk) -> None:
    kind = chunk.get("type")
    if kind == "response.output_text.delta":
        return
    _find_error(chunk)
    answer = _dict(chunk if chunk.get("object") == "response" else chunk.get("response"))
    _note_usage(watch, answer.get("usage"))
    _note_model(watch, answer)
    status = answer.get("status")
    if status == "failed":
        raise _error(answer)
    whole = kind is None and status in ("completed", "incomplete")
    if whole or kind in ("response.completed", "response.incomplete"):
        watch.finished = True
        reason = _dict(answer.get("incomplete_details")).get("reason") or status
        watch.finish_reason = reason if isinstance(reason, str) else None


def _note_anthropic(watch: Watch, chunk: Chunk) -> None:
    match chunk.get("type"):
        case "content_block_delta":
            return
        case "message_start":
            answer = _dict(chunk.get("message"))
            _note_usage(watch, answer.get("usage"))
            _note_model(watch, answer)
        case "message_delta":
            _note_usage(watch, chunk.get("usage"))
            _note_reason(watch, _dict(chunk.get("delta")).get("stop_reason"))
        case "message_stop":
            watch.finished = True
        case "message":  # a whole answer
            _note_usage(watch, chunk.get("usage"))
            _note_model(watch, chunk)
            _note_reason(watch, chunk.get("stop_reason"))
            watch.finished = watch.finish_reason is not None
        case _:
            _find_error(chunk)


def _note_ollama(watch: Watch, chunk: Chunk) -> None:
    _find_error(chunk)
    if watch.model is None:
        _note_model(watch, chunk)
    if chunk.get("done") is True:
        watch.finished = True
        _note_reason(watch, chunk.get("done_reason"))
        _note_usage(watch, {key: chunk[key] for key in ("prompt_eval_count", "eval_count") if key in chunk})


def _note_usage(watch: Watch, usage: object) -> None:
    """Later figures replace earlier ones; Anthropic sends the input's first and the output's last."""
    if isinstance(usage, dict) and usage:
        watch.usage = {**(watch.usage or {}), **usage}


def _note_model(watch: Watch, chunk: Chunk) -> None:
    model = chunk.get("model")
    if isinstance(model, str) and model:
        watch.model = model


def _note_reason(watch: Watch, reason: object) -> None:
    if isinstance(reason, str) and reason:
        watch.finish_reason = reason


def _text_chat(chunk: Chunk) -> object:
    choice = _choice(chunk)
    if choice.get("index"):  # another candidate (n > 1): its words must not be mixed in
        return ""
    return (_dict(choice.get("delta")) or _dict(choice.get("message"))).get("content") or choice.get("text")


def _text_responses(chunk: Chunk) -> object:
    if chunk.get("type") == "response.output_text.delta":
        return chunk.get("delta")
    if chunk.get("object") != "response":  # response.completed repeats the text inside: it has been said
        return ""
    return [part for item in _list(chunk.get("output")) for part in _list(_dict(item).get("content"))]


def _text_anthropic(chunk: Chunk) -> object:
    match chunk.get("type"):
        case "content_block_delta":
            delta = _dict(chunk.get("delta"))
            return delta.get("text") if delta.get("type") == "text_delta" else ""
        case "content_block_start":
            return [chunk.get("content_block")]
        case "message":
            return chunk.get("content")
    return ""


def _text_ollama(chunk: Chunk) -> object:
    return _dict(chunk.get("message")).get("content") or chunk.get("response")


def _joined(parts: object) -> str:
    """The text in a list of content parts; thinking, tool calls and pictures are not text of the answer."""
    texts = (_dict(part).get("text") for part in _list(parts) if _dict(part).get("type") in ("text", "output_text"))
    return "".join(text for text in texts if isinstance(text, str))


def _choice(chunk: Chunk) -> Chunk:
    return _dict(next(iter(_list(chunk.get("choices"))), None))


def _dict(value: object) -> Chunk:
    """The value where it is an object, else an empty one: a provider's odd chunk must not become an AttributeError."""
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("openai-chat", ("/chat/completions", "/completions"), _text_chat, _note_chat, done_counts=True),
        Dialect("openai-responses", ("/responses",), _text_responses, _note_responses),
        Dialect("anthropic", ("/messages",), _text_anthropic, _note_anthropic),
        Dialect("ollama", ("/api/chat", "/api/generate"), _text_ollama, _note_ollama),
    )
}
