"""An answer that came as one body: its value, and the same as one chunk where a stream was asked for."""

from __future__ import annotations

import json
from typing import Any, Protocol

from composemagic.errors import RunError
from composemagic.transport.http import Request
from composemagic.transport.providers import Dialect, Watch, error_message, page_words, text_of
from composemagic.transport.reading import UNNAMED
from composemagic.words import say

__all__ = ["Head", "read_chunk", "read_value"]

_SHOWN = 120


class Head(Protocol):
    """What is known of a Response beside its body."""

    status: int

    @property
    def media_type(self) -> str: ...

    @property
    def encoding(self) -> str: ...


def read_value(body: bytes, head: Head, request: Request, watch: Watch) -> Any:
    """The value of a body by its media type: JSON, text, bytes, or None for nothing; `watch` has seen it.

    Raises ProviderError where a known provider sent an error, RunError of kind `invalid_json` for broken JSON, `empty` for
    nothing where a provider's answer was asked for.
    """
    value = _decoded(body, head, request, watch.dialect)
    if watch.dialect is not None:
        if value is None:
            raise _empty(request)
        watch.see([value])
    return value


def read_chunk(body: bytes, head: Head, request: Request, watch: Watch) -> Any:
    """The one chunk that a body makes where `output` reads `response[]`.

    Raises as `read_value`, and RunError of kind `content_type` for what is no data (a proxy's page), `empty`, `server`.
    """
    value = read_value(body, head, request, watch)
    if isinstance(value, str | bytes | None) or head.media_type == "text/html":
        raise _no_stream(value, head, request)
    if watch.dialect is None:
        if isinstance(value, dict) and value.get("error"):
            raise RunError("server", _error_sentence(error_message(value), request))
        return value
    if isinstance(value, dict) and not watch.finished and not text_of(watch.dialect, value):
        raise RunError(
            "empty",
            say(
                "{host} sent an answer without text: {answer}",
                host=request.host,
                answer=request.redacted(str(value))[:80],
            ),
        )
    watch.finished = True  # it was valid JSON to its end: nothing has been cut off
    return _as_chunk(value, watch.dialect)


def _decoded(body: bytes, head: Head, request: Request, dialect: Dialect | None) -> Any:
    kind = head.media_type
    if not body and (head.status in (204, 205) or request.method == "HEAD" or not kind):
        return None
    # a known provider answers in JSON, also where it (or a proxy) forgot to say so
    unnamed = dialect is not None and kind in UNNAMED and body.lstrip().startswith((b"{", b"\xef\xbb\xbf{"))
    if unnamed or kind == "application/json" or kind.endswith("+json"):
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RunError(
                "invalid_json", say("{host} sent JSON that cannot be read ({reason})", host=request.host, reason=error)
            ) from None
    if kind.startswith("text/"):
        try:
            return body.decode(head.encoding, "replace")
        except LookupError:
            return body.decode("utf-8", "replace")
    return body


def _no_stream(value: Any, head: Head, request: Request) -> RunError:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    if not text.strip():
        return _empty(request)
    words = page_words(text) if head.media_type == "text/html" else " ".join(text.split())
    words = request.redacted(words)[:_SHOWN]
    if not head.media_type:
        return RunError("content_type", say('{host} sent no content type: "{words}"', host=request.host, words=words))
    return RunError(
        "content_type", say('{host} sent {type}: "{words}"', host=request.host, type=head.media_type, words=words)
    )


def _empty(request: Request) -> RunError:
    return RunError("empty", say("{host} sent an empty answer", host=request.host))


def _error_sentence(words: str | None, request: Request) -> str:
    if words is None:
        return say("{host} sent an error without words", host=request.host)
    return say("{host} sent an error: {words}", host=request.host, words=request.redacted(words))


def _as_chunk(value: Any, dialect: Dialect) -> Any:
    """A whole chat answer in the shape of one chunk, so that a path into `delta` finds its text."""
    if dialect.name != "openai-chat" or not isinstance(value, dict) or not isinstance(value.get("choices"), list):
        return value
    whole = [
        {**choice, "delta": choice.get("message") or {"content": text_of(dialect, value)}}
        for choice in value["choices"]
        if isinstance(choice, dict)
    ]
    return {**value, "choices": whole}
