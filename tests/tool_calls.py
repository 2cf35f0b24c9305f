"""Puts the pieces of tool calls together, for the rows of data/sse.jsonl that say what the calls are."""

from __future__ import annotations

from typing import Any


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
        choice = _dict(next(iter(_list(chunk.get("choices"))), None))
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


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
