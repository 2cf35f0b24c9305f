"""An answer that comes in pieces: its text as it comes, and its tool calls, whose arguments are cut anywhere, at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composemagic.components.agent.messages import Message, answer_of

__all__ = ["Pieces"]


class Pieces:
    """Puts an answer together from what a chat component streams.

    A piece is text, a delta or a whole chunk of OpenAI's, an event of Anthropic's, or a line of Ollama's.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[object, dict[str, Any]] = {}
        self._whole: Any = None
        self._last: object = None

    def see(self, piece: Any) -> str:
        """Take a piece; gives the text in it."""
        text = self._read(piece)
        if text:
            self._text.append(text)
        return text

    def message(self, number: int) -> Message:
        """The answer, as far as it has come. `number` counts the answers of a run."""
        if self._whole is not None and not self._text and not self._calls:
            return answer_of(self._whole, number)
        return answer_of({"content": "".join(self._text), "tool_calls": list(self._calls.values())}, number)

    def _read(self, piece: Any) -> str:
        match piece:
            case str():
                return piece
            case {"choices": [{"delta": dict() as delta, **choice}, *_]}:
                return "" if choice.get("index") else self._delta(delta)  # of several candidates, the first
            case {"type": str(kind)} if kind in _EVENTS:
                return self._event(piece)
            case {"message": dict() as delta, "done": _}:  # Ollama
                return self._delta(delta)
            case {"type": "text_delta", "text": str(text)}:
                return text
            case {"type": "message"} | {"choices": [{"message": dict()}, *_]} | {"content": list()}:
                self._whole = piece
                return ""
            case {"content": _} | {"tool_calls": _}:
                return self._delta(piece)
        return ""

    def _delta(self, delta: Mapping[str, Any]) -> str:
        calls = delta.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                self._add(self._place(call, place), call)
        text = delta.get("content")
        return text if isinstance(text, str) else ""

    def _place(self, call: Mapping[str, Any], place: int) -> object:
        """Which call a piece belongs to. A whole one without an index (Ollama, Gemini) is one of its own."""
        if "index" in call:
            return call["index"]
        function = call.get("function")
        starts = call.get("id") or (isinstance(function, dict) and function.get("name"))
        if starts or self._last is None:
            self._last = ("whole", len(self._calls), place)
        return self._last

    def _add(self, place: object, piece: Mapping[str, Any]) -> None:
        function = piece.get("function")
        inner = function if isinstance(function, dict) else piece
        call = self._calls.setdefault(place, {"id": None, "name": None, "arguments": ""})
        call["id"] = call["id"] or piece.get("id")
        call["name"] = call["name"] or inner.get("name")
        arguments = inner.get("arguments")
        if isinstance(arguments, str) and isinstance(call["arguments"], str):
            call["arguments"] += arguments
        elif arguments is not None:
            call["arguments"] = arguments

    def _event(self, event: Mapping[str, Any]) -> str:
        """https://docs.anthropic.com/en/docs/build-with-claude/streaming#event-types"""
        match event:
            case {"type": "content_block_start", "content_block": {"type": "tool_use", "id": name, "name": tool}}:
                self._add(event.get("index"), {"id": name, "name": tool})
            case {"type": "content_block_start", "content_block": {"type": "text", "text": str(text)}}:
                return text
            case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": str(part)}}:
                self._add(event.get("index"), {"arguments": part})
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(text)}}:
                return text
        return ""


_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
    }
)
