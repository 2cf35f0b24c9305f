"""Messages and tools as providers write them, for the ones that are recognised by the address a model is asked at.

| | OpenAI chat | Anthropic | Ollama |
|---|---|---|---|
| tool | `{type: function, function: {name, description, parameters}}` | `{name, description, input_schema}` | as OpenAI |
| call | `tool_calls: [{id, type, function: {name, arguments: JSON text}}]` | `{type: tool_use, id, name, input}` | as OpenAI, arguments a mapping |
| result | `{role: tool, tool_call_id, content}` | in a user's message: `{type: tool_result, tool_use_id, content}` | as OpenAI |
| instructions | `{role: system}` | before the first message of the user's | as OpenAI |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from composemagic.components.agent.messages import Message, asked_for, blocks_of, parsed, text_of
from composemagic.components.model.messages import to_openai, tools_to_openai

__all__ = ["KNOWN", "for_provider"]

_READ = frozenset({"text", "tool_call", "tool_result"})
_KEPT = ("role", "content", "name", "tool_calls", "tool_call_id")


def for_provider(value: Any, dialect: str | None) -> Any:
    """What a model's component is given, its messages and tools written for a provider; for none that is known, as it is."""
    shapes = KNOWN.get(dialect or "")
    return value if shapes is None else _written(value, *shapes)


def _written(value: Any, messages: Callable[[Any], Any], tools: Callable[[Any], Any]) -> Any:
    match value:
        case dict():
            return {key: _written(inner, messages, tools) for key, inner in value.items()}
        case list() if _all_have(value, "role"):
            return messages(value)
        case list() if _all_have(value, "name", "parameters"):
            return tools(value)
        case list():
            return [_written(inner, messages, tools) for inner in value]
    return value


def _all_have(items: list[Any], *keys: str) -> bool:
    return bool(items) and all(isinstance(item, Mapping) and all(key in item for key in keys) for item in items)


# -- OpenAI chat ---------------------------------------------------------------------------------------------------------


def _openai(messages: list[Message]) -> list[Message]:
    """https://platform.openai.com/docs/api-reference/chat/create"""
    return [found for one in messages for found in ([one] if _is_their_own(one) else to_openai(_plain(one)))]


def _is_their_own(one: Message) -> bool:
    """Whether a message that is no answer has parts of the provider's own, such as a picture beside the words."""
    return one["role"] != "assistant" and any(block.get("type") not in _READ for block in blocks_of(one))


def _plain(one: Message) -> Message:
    """A message with nothing but what the protocol takes; an empty `tool_calls` is refused there."""
    found = {key: one[key] for key in _KEPT if one.get(key) or key in ("role", "content")}
    blocks = [block for block in blocks_of(one) if block.get("type") in _READ]
    if any(block["type"] != "text" for block in blocks):
        found.pop("tool_calls", None)
    return {**found, "content": blocks} if blocks else {**found, "content": None}


# -- Ollama --------------------------------------------------------------------------------------------------------------


def _ollama(messages: list[Message]) -> list[Message]:
    """https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion"""
    names = {call.id: call.name for one in messages for call in asked_for(one)}
    return [_of_ollama(one, names) for one in _openai(messages)]


def _of_ollama(one: Message, names: Mapping[str, Any]) -> Message:
    found = {**one}
    if "tool_calls" in found:
        found["tool_calls"] = [
            {"function": {**call["function"], "arguments": parsed(call["function"]["arguments"])}}
            for call in found["tool_calls"]
        ]
    if name := names.get(found.pop("tool_call_id", "")):
        found["tool_name"] = name
    return found


# -- Anthropic -----------------------------------------------------------------------------------------------------------


def _anthropic(messages: list[Message]) -> list[Message]:
    """https://docs.anthropic.com/en/api/messages: no `system` among them, results are the user's and stand in one message."""
    found: list[Message] = []
    first = [{"type": "text", "text": text_of(one)} for one in messages if one["role"] == "system"]
    for one in messages:
        if one["role"] == "system":
            continue
        role = "assistant" if one["role"] == "assistant" else "user"
        content = [block for block in map(_for_anthropic, blocks_of(one)) if block.get("text") != ""]
        if role == "user":
            content, first = [*first, *content], []
        if found and found[-1]["role"] == role:
            found[-1]["content"] += content
        elif content:
            found.append({"role": role, "content": content})
    return found or [{"role": "user", "content": first}]


def _for_anthropic(block: Message) -> Message:
    match block.get("type"):
        case "tool_call":
            arguments = parsed(block.get("arguments"))
            given = arguments if isinstance(arguments, dict) else {}
            return {"type": "tool_use", "id": block.get("id"), "name": block.get("name"), "input": given}
        case "tool_result" if "tool_use_id" not in block:
            rest = {key: value for key, value in block.items() if key != "id"}
            return {**rest, "tool_use_id": block.get("id")}
    return block


def _anthropic_tools(tools: Iterable[Message]) -> list[Message]:
    return [{("input_schema" if key == "parameters" else key): value for key, value in tool.items()} for tool in tools]


KNOWN: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "openai-chat": (_openai, tools_to_openai),
    "anthropic": (_anthropic, _anthropic_tools),
    "ollama": (_ollama, tools_to_openai),
}
