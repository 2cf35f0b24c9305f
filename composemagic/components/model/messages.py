"""Chat messages and tools: as workflows and agents write them, and as OpenAI's protocol, which llama.cpp speaks, has them.

A workflow's message is `{role, content}`, its content text or a list of blocks: `{type: text, text}`, `{type: tool_call, id,
name, arguments}`, `{type: tool_result, id, content}`. OpenAI's own messages are taken as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from composemagic.errors import RunError
from composemagic.words import say

__all__ = ["from_openai", "to_openai", "tools_to_openai"]

Message = dict[str, Any]


def to_openai(messages: Any) -> list[Message]:
    """Messages for the protocol: one, several, or a text of the user's. Raises RunError for what is none."""
    several = messages if isinstance(messages, list) else [messages]
    return [found for one in several for found in _messages(one)]


def tools_to_openai(tools: Any) -> list[Message]:
    """Tools for the protocol, from `{name, description, parameters}` or OpenAI's own. Raises RunError."""
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise RunError("input", say("`tools` is a list of tools, each with a name, a description and parameters"))
    return [dict(tool) if "function" in tool else {"type": "function", "function": dict(tool)} for tool in tools]


def from_openai(message: Mapping[str, Any]) -> Message:
    """The model's message as a workflow's, with a block for each tool it calls."""
    content: list[Message] = []
    if text := message.get("content"):
        content.append({"type": "text", "text": text})
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        content.append(
            {"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": _arguments(function)}
        )
    return {"role": "assistant", "content": content}


def _messages(message: Any) -> Iterator[Message]:
    if isinstance(message, str):
        message = {"role": "user", "content": message}
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise RunError("input", say("a message has a `role` and a `content`"))
    content = message.get("content")
    if not isinstance(content, list):
        yield {**message, "content": "" if content is None else content if isinstance(content, str) else _json(content)}
        return
    blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in content]
    yield from (_result(block) for block in blocks if _kind(block) == "tool_result")
    texts = [str(block.get("text", "")) for block in blocks if _kind(block) == "text"]
    calls = [_call(block) for block in blocks if _kind(block) == "tool_call"]
    if texts or calls:
        yield {**message, "content": "\n".join(texts), **({"tool_calls": calls} if calls else {})}


def _kind(block: Any) -> str:
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind not in ("text", "tool_call", "tool_result"):
        raise RunError(
            "input", say("the embedded engine reads messages of text, not a block of type `{kind}`", kind=kind)
        )
    return str(kind)


def _call(block: Mapping[str, Any]) -> Message:
    function = {"name": block.get("name"), "arguments": _json(block.get("arguments") or {})}
    return {"id": block.get("id"), "type": "function", "function": function}


def _result(block: Mapping[str, Any]) -> Message:
    content = block.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part) for part in content)
    name = block.get("id") or block.get("tool_call_id")
    return {"role": "tool", "tool_call_id": name, "content": content if isinstance(content, str) else _json(content)}


def _arguments(function: Mapping[str, Any]) -> Any:
    """A tool's arguments: OpenAI writes them as a text of JSON; what is none stays text."""
    text = function.get("arguments")
    try:
        return json.loads(text) if isinstance(text, str) else text or {}
    except ValueError:
        return text


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
