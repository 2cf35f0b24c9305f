"""An agent's messages, whatever the model's provider calls them.

A message is `{role, content}`. Its content is text, or a list of blocks: `{type: text, text}`, `{type: tool_call, id, name,
arguments}` and `{type: tool_result, id, content[, is_error]}`. What a model answers is kept as it is where it has this shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from composemagic.language.casts import to_text

__all__ = ["Message", "ToolCall", "answer_of", "asked_for", "blocks_of", "message", "result_of", "text_of"]

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model asks for: a tool's name and its arguments, which are no mapping where the model wrote no JSON object."""

    id: str
    name: str
    arguments: Any


def message(role: str, text: str) -> Message:
    """A message of text."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def result_of(call: ToolCall, content: str, *, is_error: bool = False) -> Message:
    """What became of a tool call, as a message for the model."""
    block = {"type": "tool_result", "id": call.id, "content": content}
    return {"role": "tool", "content": [{**block, "is_error": True} if is_error else block]}


def blocks_of(one: Mapping[str, Any]) -> list[Message]:
    """The content of a message as blocks."""
    content = one.get("content")
    if isinstance(content, list):
        return [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return [] if content in (None, "") else [{"type": "text", "text": to_text(content)}]


def text_of(one: Mapping[str, Any]) -> str:
    """What a message says in words."""
    return "\n".join(str(block["text"]) for block in blocks_of(one) if block.get("type") == "text" and "text" in block)


def asked_for(one: Mapping[str, Any]) -> list[ToolCall]:
    """The tools that a message asks for, in its order."""
    return [
        ToolCall(str(block.get("id")), str(block.get("name")), parsed(block.get("arguments")))
        for block in blocks_of(one)
        if block.get("type") == "tool_call"
    ]


def parsed(arguments: Any) -> Any:
    """Arguments, which most providers write as a text of JSON; a text that is none stays one, nothing is no arguments."""
    if arguments in (None, ""):
        return {}
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return arguments


# -- what models answer --------------------------------------------------------------------------------------------------


def answer_of(value: Any, number: int) -> Message:
    """The message in what a chat component gave: text, content, a message or a whole answer, of any provider that is known.

    `number` counts the answers of a run: it makes the ids of calls that come without one.
    """
    match value:
        case {"choices": [{"message": dict() as inner}, *_]} | {"message": dict() as inner}:
            found = _normal(inner)
        case {"type": "message", "content": list(content)}:  # Anthropic's whole answer
            found = _of_content(content)
        case {"content": _} | {"tool_calls": _} | {"role": _}:
            found = _normal(value)
        case list() if value and all(isinstance(block, dict) and "type" in block for block in value):
            found = _of_content(value)
        case _:
            found = {"role": "assistant", "content": "" if value is None else to_text(value)}
    return _with_ids(found, number)


def _of_content(content: list[Message]) -> Message:
    """Anthropic's content blocks; where they are nothing but text, that text."""
    found = _normal({"role": "assistant", "content": content})
    is_text = all(block.get("type") == "text" for block in found["content"])
    return {**found, "content": "".join(block.get("text", "") for block in found["content"])} if is_text else found


def _normal(given: Message) -> Message:
    """A provider's message with a block for each tool that it asks for; one without stays as it is."""
    found = {"role": "assistant", **given}
    calls = found.pop("tool_calls", None)
    if isinstance(found.get("content"), list):
        found["content"] = [_block(block) for block in blocks_of(found)]
    if isinstance(calls, list) and calls:
        found["content"] = [*blocks_of(found), *map(_call, filter(_is_mapping, calls))]
    elif found.get("content") is None:
        found["content"] = ""
    return found


def _block(block: Message) -> Message:
    if block.get("type") == "tool_use":  # Anthropic's
        return {"type": "tool_call", "id": block.get("id"), "name": block.get("name"), "arguments": block.get("input")}
    return block


def _call(call: Mapping[str, Any]) -> Message:
    """A tool call of OpenAI's or Ollama's, or one whose name and arguments stand on itself."""
    function = call.get("function")
    inner = function if isinstance(function, dict) else call
    arguments = parsed(inner.get("arguments"))
    return {"type": "tool_call", "id": call.get("id"), "name": inner.get("name"), "arguments": arguments}


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _with_ids(found: Message, number: int) -> Message:
    """Ollama and small servers give their calls no ids; results need them."""
    if not isinstance(found["content"], list):
        return found
    return {**found, "content": list(_numbered(found["content"], number))}


def _numbered(blocks: list[Message], number: int) -> Iterator[Message]:
    for at, block in enumerate(blocks, 1):
        lacks = block.get("type") == "tool_call" and not block.get("id")
        yield {**block, "id": f"call_{number}_{at}"} if lacks else block
