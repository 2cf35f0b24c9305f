"""The loop of an agent: ask the model, run the tools that it asks for, tell it the results, until it asks for none.

Yao et al., "ReAct: Synergizing Reasoning and Acting in Language Models" (2022), https://arxiv.org/abs/2210.03629
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from composemagic.components.agent.messages import Message, ToolCall, answer_of, asked_for, result_of, text_of
from composemagic.components.agent.pieces import Pieces
from composemagic.components.agent.plain import as_text, from_text
from composemagic.components.agent.shapes import for_provider
from composemagic.components.agent.tools import Offer
from composemagic.components.together import together
from composemagic.errors import RunError, suggest
from composemagic.language.casts import CastError, Chunks, to_text
from composemagic.language.template import Template, compile_template
from composemagic.transport.providers import dialect_of
from composemagic.words import say
from composemagic.workflow.component import Call, Context

__all__ = ["Model", "conversation"]

_RESULT = compile_template("${result}")
# what a model cannot mend: nobody may answer, Python has not allowed it, or the agent is its own tool without end
_NOT_THE_MODELS = frozenset({"unattended", "not_allowed", "too_deep"})


@dataclass(frozen=True, slots=True)
class Model:
    """A chat component as the agent asks it. `tools` are the schemas it is told; `in_text`: in words, for it knows no tools."""

    call: Call
    context: Context
    tools: Sequence[Mapping[str, Any]]
    in_text: bool = False

    async def answer(self, history: Sequence[Message], number: int) -> AsyncGenerator[str | Message, None]:
        """Its answer to some messages: pieces of text as they come, and the message. Raises RunError.

        `number` counts the answers of a run.
        """
        answer = await self._asked(history)
        if self.in_text or not isinstance(answer, Chunks):
            found = answer_of(await self._whole(answer), number)
            found = from_text(found, number) if self.in_text else found
            yield text_of(found)
            yield found
            return
        pieces = Pieces()
        async with aclosing(answer.batches()) as batches:  # type: ignore[type-var]
            async for batch in batches:
                yield "".join(map(pieces.see, batch))
        yield pieces.message(number)

    async def _asked(self, history: Sequence[Message]) -> Any:
        """What its component answers, with the messages and tools in the way it wants them."""
        messages, tools = deepcopy(list(history)), deepcopy(list(self.tools))
        if self.in_text:
            messages, tools = as_text(messages, tools), []
        more = {"messages": messages, "tools": tools or None}
        given = more if self.call.input is None else await self.context.sealed(self.call.input, more)
        given = for_provider(given, await self._dialect(given))
        return await self.context.call(replace(self.call, input=Template(lambda _: given, ())), more)

    async def _dialect(self, given: Any) -> str | None:
        """How the provider speaks that the component asks, where its address tells."""
        action = self.call.action
        for template in (action.fields.get("endpoint"), action.fields.get("path"), action.settings.get("base_url")):
            if template is not None:
                found = dialect_of(str(await self.context.sealed(template, {"input": given})))
                return None if found is None else found.name
        return None

    async def _whole(self, answer: Any) -> Any:
        """An answer without streams; pieces as the message they make."""
        if not isinstance(answer, Chunks):
            return await self.context.render(_RESULT, {"result": answer})
        pieces = Pieces()
        async with aclosing(answer.batches()) as batches:  # type: ignore[type-var]
            async for batch in batches:
                for piece in batch:
                    pieces.see(piece)
        return pieces.message(0)


async def conversation(
    model: Model, offers: Mapping[str, Offer], begin: Sequence[Message], limit: int, context: Context
) -> AsyncGenerator[str | Message, None]:
    """Every message from the first on, and before each answer of the model the pieces of its text. Raises RunError."""
    history = [*begin]
    for one in begin:
        yield one
    for number in range(1, limit + 1):
        async with aclosing(model.answer(history, number)) as parts:
            async for part in parts:
                yield part
        assert isinstance(part, dict)  # the message is the last
        history.append(part)
        calls = asked_for(part)
        if not calls:
            return
        for result in await _results(calls, offers, context):
            history.append(result)
            yield result
    context.note(
        say(
            "the agent ended after {count} answers, as `max_iteration_count` says, while its model still asked for tools",
            count=limit,
        )
    )


# -- tools ---------------------------------------------------------------------------------------------------------------


async def _results(calls: Sequence[ToolCall], offers: Mapping[str, Offer], context: Context) -> list[Message]:
    """What became of all calls, in their order: all at the same time, and then those that people answer for."""
    outside = [call for call in calls if call.name in offers and offers[call.name].is_outside]
    inside = [call for call in calls if call not in outside]
    found = dict(zip(map(id, inside), await together([_result(call, offers, context) for call in inside]), strict=True))
    if outside:
        found |= zip(map(id, outside), await _from_outside(outside, context), strict=True)
    return [found[id(call)] for call in calls]


async def _result(call: ToolCall, offers: Mapping[str, Offer], context: Context) -> Message:
    """What a tool gives, or in words what is wrong: the model may mend it."""
    try:
        return result_of(call, await _called(call, offers, context))
    except RunError as error:
        if error.kind in _NOT_THE_MODELS:
            raise
        words = error.sentence
    except CastError as error:
        words = str(error)
    except Exception as error:  # a tool is anything
        words = f"{type(error).__name__}: {error}"
    context.note(say("the tool `{name}` failed: {reason}", name=call.name, reason=words))
    return result_of(call, words, is_error=True)


async def _called(call: ToolCall, offers: Mapping[str, Offer], context: Context) -> str:
    if not isinstance(call.arguments, dict):
        raise RunError(
            "tool",
            say(
                "the arguments of `{name}` are no JSON object: {text}",
                name=call.name,
                text=to_text(call.arguments)[:200],
            ),
        )
    offer = offers.get(call.name)
    if offer is None:
        raise RunError("tool", _no_tool(call.name, offers))
    arguments: Mapping[str, Any] = call.arguments
    if offer.question is not None:
        arguments = await _approved(call, offer.question, context)
    return _as_text(await offer.tool.call(arguments))


def _no_tool(name: str, offers: Mapping[str, Offer]) -> str:
    if not offers:
        return say("there is no tool `{name}`, nor any other", name=name)
    near = suggest(name, offers) or say("; there are {names}", names=", ".join(f"`{one}`" for one in offers))
    return say("there is no tool `{name}`{near}", name=name, near=near)


def _as_text(value: Any) -> str:
    return "null" if value is None else to_text(value)


# -- people --------------------------------------------------------------------------------------------------------------


async def _approved(call: ToolCall, question: str, context: Context) -> Mapping[str, Any]:
    """The arguments after a person has seen them: null and true leave them, a mapping takes their place.

    Raises RunError where the person says no: false, or a text that says why.
    """
    answer = await context.ask(question, {"kind": "tool_call", "name": call.name, "arguments": call.arguments})
    if answer is None or answer is True:
        return dict(call.arguments)
    if isinstance(answer, dict):
        return answer
    if answer is False or answer == "":
        raise RunError("declined", say("a person declined the use of `{name}`", name=call.name))
    raise RunError(
        "declined", say("a person declined the use of `{name}`: {words}", name=call.name, words=to_text(answer))
    )


async def _from_outside(calls: Sequence[ToolCall], context: Context) -> list[Message]:
    """The results of tools that whoever runs the workflow answers for, by the ids of the calls."""
    told = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in calls]
    answer = await context.ask(
        say("The agent waits for the results of its tools."), {"kind": "tool_calls", "tool_calls": told}
    )
    if len(calls) == 1 and answer is not None and not (isinstance(answer, dict) and calls[0].id in answer):
        answer = {calls[0].id: answer}
    given = answer if isinstance(answer, dict) else {}
    return [_given(call, given) for call in calls]


def _given(call: ToolCall, given: Mapping[str, Any]) -> Message:
    if given.get(call.id) is None:
        return result_of(call, say("nobody gave a result for `{name}`", name=call.name), is_error=True)
    return result_of(call, _as_text(given[call.id]))
