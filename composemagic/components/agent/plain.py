"""Tools for models that know none (`tool_format: text`): described in the instructions, asked for in a line of text.

    model:   I need the sum.
             Action: {"name": "add", "arguments": {"a": 1, "b": 2}}
    agent:   Result of add: 3
    model:   It is 3.

Several `Action:` lines in one answer run at the same time. What a model writes behind them (often a result it makes up) is
dropped. The agent's own messages have the same blocks as with every other model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from composemagic.components.agent.messages import Message, asked_for, blocks_of, text_of

__all__ = ["as_text", "from_text"]

# a prompt for the model, so in the language that small models know best
_RULES = """You can use these tools:
{tools}

To use a tool, write one line and stop there:
Action: {{"name": "<tool>", "arguments": {{<arguments>}}}}
You are then told its result. When you know the answer, write it without such a line."""
_ACTION = re.compile(r"^[ \t>*`]*Action:[*`\s]*", re.MULTILINE)
_JSON = json.JSONDecoder()


def as_text(messages: Iterable[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages with nothing in them but text; the instructions tell of the tools."""
    found = [_of_rules(tools)] if tools else []
    names: dict[Any, str] = {}
    for one in messages:
        names |= {call.id: call.name for call in asked_for(one)}
        role = "user" if one.get("role") == "tool" else str(one.get("role"))
        text = "\n".join(_lines(one, names))
        if found and found[-1]["role"] == role:  # many templates want roles to alternate
            found[-1]["content"] += f"\n\n{text}"
        else:
            found.append({"role": role, "content": text})
    return found


def from_text(answer: Message, number: int) -> Message:
    """An answer with a block for each tool that its text asks for; `number` counts the answers of a run."""
    text = text_of(answer)
    starts = list(_ACTION.finditer(text))
    if not starts:
        return answer
    words = text[: starts[0].start()].strip()
    before = [{"type": "text", "text": words}] if words else []
    calls = [_call(text, start.end(), f"call_{number}_{at}") for at, start in enumerate(starts, 1)]
    return {"role": "assistant", "content": [*before, *calls]}


def _of_rules(tools: Sequence[Mapping[str, Any]]) -> Message:
    lines = [f"- {tool['name']}: {tool.get('description', '')} Arguments: {_arguments(tool)}" for tool in tools]
    return {"role": "system", "content": _RULES.format(tools="\n".join(lines))}


def _arguments(tool: Mapping[str, Any]) -> str:
    return json.dumps(tool["parameters"].get("properties", {}), ensure_ascii=False)


def _lines(one: Message, names: Mapping[Any, str]) -> Iterator[str]:
    for block in blocks_of(one):
        match block.get("type"):
            case "text":
                yield str(block.get("text", ""))
            case "tool_call":
                call = {"name": block.get("name"), "arguments": block.get("arguments")}
                yield f"Action: {json.dumps(call, ensure_ascii=False)}"
            case "tool_result":
                yield f"Result of {names.get(block.get('id'), 'a tool')}: {block.get('content')}"


def _call(text: str, start: int, name: str) -> Message:
    """The call in the JSON at this place; what is none keeps its text, so that the model can be told."""
    try:
        found, _ = _JSON.raw_decode(text, start)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("name"), str):
        return {"type": "tool_call", "id": name, "name": found["name"], "arguments": found.get("arguments", {})}
    line = text[start:].partition("\n")[0]
    return {"type": "tool_call", "id": name, "name": "Action", "arguments": line}
