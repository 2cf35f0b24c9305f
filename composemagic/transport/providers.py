"""What providers say in JSON: where the text stands, when a stream is finished, what is an error, tokens and model.

A dialect is recognised by the end of the URL's path (`dialect_of`) or taken by name (`DIALECTS`):

    dialect           finish mark                                  text
    openai-chat       a `finish_reason`, or `[DONE]`               choices[0]: delta.content, message.content, text
    openai-responses  response.completed, response.incomplete      response.output_text.delta
    anthropic         message_stop                                 content_block_delta with a text_delta
    ollama            "done": true                                 message.content, response

Whole answers (the server was asked for a stream and sent one JSON object) are read by the same functions as chunks.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from composemagic.errors import RunError

__all__ = [
    "DIALECTS",
    "Dialect",
    "ProviderError",
    "ToolCalls",
    "Watch",
    "clean",
    "dialect_of",
    "error_message",
    "read_answer",
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
        super().__init__(kind, f"The provider sent an error: {message}")


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
    Without a dialect every stream counts as finished; errors are recognised all the same.
    """

    __slots__ = ("_note", "dialect", "finish_reason", "finished", "model", "usage")

    def __init__(self, dialect: Dialect | None) -> None:
        self.dialect = dialect
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


def clean(text: str) -> str:
    """The text with every lone surrogate as U+FFFD, and halves that have met joined: it can be encoded as UTF-8.

    JSON may spell half a character (`\\ud83d`), which no terminal, file or kernel message can carry.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def error_message(body: object) -> str | None:
    """The provider's words in an error body; None where it holds none.

    Knows `{"error": {"message"}}`, `{"error": "text"}`, `{"message"}` (vLLM, Azure), `{"detail"}` (FastAPI), a list
    with such an object (Google), `{"response": {"error"}}` (Responses) and plain text.
    """
    return _words(body, depth=6)


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
        return "an error without words"


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


# ── tool calls and whole answers ────────────────────────────────────────────────────────────────────────────────────


class ToolCalls:
    """Puts the pieces of tool calls together.

    `calls` is a list of `{"id", "name", "arguments"}`, the arguments as JSON text. Knows openai-chat and the streams of
    anthropic.
    """

    def __init__(self) -> None:
        self._calls: dict[object, dict[str, str]] = {}

    @property
    def calls(self) -> list[dict[str, str]]:
        """The calls so far, in the order in which they began."""
        return list(self._calls.values())

    def see(self, chunk: object) -> None:
        """Take the pieces of calls out of one chunk."""
        chunk = _dict(chunk)
        choice = _choice(chunk)
        pieces = (_dict(choice.get("delta")) or _dict(choice.get("message"))).get("tool_calls")
        for place, piece in enumerate(map(_dict, _list(pieces))):
            function = _dict(piece.get("function"))
            self._add(piece.get("index", place), piece.get("id"), function.get("name"), function.get("arguments"))
        block, delta = _dict(chunk.get("content_block")), _dict(chunk.get("delta"))
        if block.get("type") == "tool_use":
            self._add(chunk.get("index"), block.get("id"), block.get("name"), "")
        elif delta.get("type") == "input_json_delta":
            self._add(chunk.get("index"), None, None, delta.get("partial_json"))

    def _add(self, key: object, call_id: object, name: object, arguments: object) -> None:
        call = self._calls.setdefault(str(key), {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or (call_id if isinstance(call_id, str) else "")
        call["name"] = call["name"] or (name if isinstance(name, str) else "")
        call["arguments"] += arguments if isinstance(arguments, str) else ""


def read_answer(dialect: Dialect | None, content_type: str, body: bytes) -> tuple[object, Watch]:
    """A whole answer where a stream was asked for: its JSON value, and a Watch that has seen it.

    Raises:
        ProviderError: the body is an error message.
        RunError: kind "content_type", the body is something else (a proxy's HTML page); "invalid_json", it is broken.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    unnamed = media_type in ("", "text/plain") and body.lstrip().startswith(b"{")
    if not (unnamed or media_type == "application/json" or media_type.endswith("+json")):
        raise RunError("content_type", f"The server sent {media_type or 'no content type'}: '{_gist(body)}'")
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise RunError("invalid_json", f"The server's answer is not valid JSON ({error}): '{_gist(body)}'") from None
    watch = Watch(dialect)
    watch.see([value])
    watch.finished = True  # it was valid JSON to its end: nothing has been cut off
    return value, watch


def _gist(body: bytes) -> str:
    """What a page says, in at most 80 characters: its title, else its first words without tags."""
    text = body[:4096].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    words = " ".join(html.unescape(title[1] if title else re.sub(r"<[^>]*>", " ", text)).split())
    return words if len(words) <= 80 else words[:79] + "…"
