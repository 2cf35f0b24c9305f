"""`type: agent`: a model that uses tools until it knows the answer (ReAct), over any chat component.

    workflows:
      - id: main
        default: true
        job:
          component: assistant
          input: {question: "${input.question as text}"}
          output: ${output[-1].content as text}
      - id: add
        private: true
        name: add_up
        description: Add two numbers.
        job:
          component: {type: function, function: add}
          input: {a: "${input.a as number @(description The first)}", b: "${input.b as number}"}
    components:
      - id: assistant
        type: agent
        instructions: You are brief, and good at sums.
        tools: [add]
        max_iteration_count: 8
        model:
          component: chat
          input: {messages: "${messages}", tools: "${tools}"}
        action:
          prompt: ${input.question}
      - id: chat
        type: http-client
        base_url: https://api.openai.com/v1
        action:
          path: /chat/completions
          headers: {Authorization: "Bearer ${env.OPENAI_API_KEY}"}
          body: {model: gpt-4o, messages: "${input.messages}", tools: "${input.tools}"}
          output: ${response.choices[0].message}

| setting of the component | what it says |
|---|---|
| `model` | `component`, `action`, `input` and `output` of the chat component; `input` reads `messages` and `tools`, which it is given where nothing is said |
| `instructions` | the system message |
| `tools` | a list of what the model may use, see below |
| `max_iteration_count` | how often the model is asked at most, 32 where nothing is said; also on the action |
| `tool_format` | `native`, which it is where nothing is said, or `text`: for models that know no tools, which ask for one in a line of text |

| setting of the action | what it says |
|---|---|
| `prompt` | the user's message |
| `streaming` | true: the text that the model writes, as it comes; `messages`: each message when it is whole |

**Messages.** `result` is the list of all messages: `{role, content}`, content being text or a list of `{type: text, text}`,
`{type: tool_call, id, name, arguments}` and `{type: tool_result, id, content, is_error}`. `${messages}` has this shape, and
`${tools}` is a list of `{name, description, parameters}`, or null. Where the component's address ends as that of OpenAI chat,
Anthropic's messages or Ollama, both are written as that provider wants them; elsewhere they are passed on as they are. The
model may answer with text, with a message or a whole answer of one of these providers, or with a stream of its pieces.

**Tools.** A text in `tools` is the id of a workflow, or else the name of a Python function. A mapping has one of `workflow: ID`,
`function: NAME`, `mcp: {url | command, headers, env, ...}` (all tools of that server) and `parameters` (a JSON Schema, with
`name` and `description`: whoever runs the workflow answers for it). A workflow's inputs are its arguments, its `name` (else its
id) and `description` are what the model is told. Tools of one answer run at the same time. What fails is told to the model.

**People.** A tool that is a workflow may have an `interrupt` in its jobs. With `interrupt: true` (or `{message: ...}`) on a
tool, a person sees each call before it runs: null or true lets it run, a mapping replaces the arguments, false or a text
declines it. A tool with `parameters` waits for an answer `{call id: result}`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Literal

from composemagic.components.agent.loop import Model, conversation
from composemagic.components.agent.messages import Message, message
from composemagic.components.agent.tools import ToolSettings, misfits, offers
from composemagic.components.given import Given, whole_number
from composemagic.components.given import misfits as misfits_in
from composemagic.components.mcp_client import McpClient
from composemagic.errors import RunError
from composemagic.language.casts import CastError, convert, shown
from composemagic.language.expression import Cast
from composemagic.words import say
from composemagic.workflow.component import (
    Action,
    CallSettings,
    Component,
    Context,
    Settings,
    SettingsModel,
    ToolName,
    Value,
)

__all__ = ["Agent"]

_ROUNDS = 32


class AgentSettings(Settings):
    """`model`: the chat component that is asked; `instructions`: the system message; `tools`: what the model may use: workflows,
    Python functions, MCP servers; `max_iteration_count`: how often the model is asked at most, 32; `tool_format`: `text` for models
    that know no tools."""

    model: CallSettings
    instructions: str | None = None
    tools: list[ToolSettings | ToolName | Any] | None = None
    max_iteration_count: Any = None
    tool_format: Literal["native", "text"] | None = None


class AgentAction(Settings):
    """`prompt`: the user's message; `streaming`: true for the text as it comes, `messages` for each message when it is whole;
    `max_iteration_count`: in place of the component's."""

    prompt: str | None = None
    streaming: Any = None
    max_iteration_count: Any = None


def _streaming(value: Any, key: str) -> str:
    if value == "messages":
        return "messages"
    try:
        return "text" if convert(value, Cast("boolean")) else ""
    except CastError:
        sentence = say("`{key}` is true, false or messages, not {value}", key=key, value=shown(value))
        raise RunError("input", sentence) from None


_CHECKS = {"max_iteration_count": whole_number(1), "streaming": _streaming}


class Agent(Component):
    """A model that uses tools until it knows the answer. Source for `output`: `result`, the messages, and `result[]` for each
    of them, or for each piece of text where it streams."""

    type: ClassVar[str] = "agent"
    call_sources: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": ("messages", "tools")}
    text_fields: ClassVar[frozenset[str]] = frozenset({"instructions", "prompt"})
    settings: ClassVar[SettingsModel] = AgentSettings
    action: ClassVar[SettingsModel] = AgentAction

    def __init__(self) -> None:
        self._servers = McpClient()

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        yield from misfits_in(action, _CHECKS)
        for sentence, key in misfits_in(settings, _CHECKS):
            yield sentence, ("..", key)
        for sentence, path in misfits(settings.get("tools")):
            yield sentence, ("..", *path)

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Ask and act until the model needs no more tools; yield the messages, or what streams. Raises RunError."""
        given = Given(action, context)
        call = action.calls["model"]
        if call.action.component is self:
            raise RunError("input", say("the agent's `model` is the agent itself; name a chat component"))
        found = await offers(await given.get("tools", default=[]), action, context, self._servers)
        schemas = [offer.schema for offer in found.values()]
        model = Model(call, context, schemas, in_text=await given.get("tool_format") == "text")
        limit = await given.get("max_iteration_count", whole_number(1), _ROUNDS)
        mode = await given.get("streaming", _streaming, "messages" if action.per_chunk else "")
        async with aclosing(conversation(model, found, await _begin(given), limit, context)) as parts:
            async for chunk in _streamed(parts, mode):
                yield chunk


async def _begin(given: Given) -> list[Message]:
    texts = {"system": await given.get("instructions"), "user": await given.get("prompt")}
    return [message(role, convert(text, Cast("text"))) for role, text in texts.items() if text is not None]


async def _streamed(parts: AsyncGenerator[str | Message, None], mode: str) -> AsyncGenerator[Any, None]:
    """What a conversation yields: each message, the text of all answers with a blank line between them, or all as one value."""
    messages: list[Message] = []
    gap, has_text = "", False
    async for part in parts:
        if isinstance(part, dict):
            messages.append(part)
            gap = "\n\n" if has_text else ""
            if mode == "messages":
                yield part
        elif part and mode == "text":
            yield f"{gap}{part}"
            gap, has_text = "", True
    if not mode:
        yield Value(messages)
