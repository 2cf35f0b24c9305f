"""Which inputs of a workflow a conversation uses, and what it puts there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from composemagic.errors import UsageError
from composemagic.words import listing, say
from composemagic.workflow.inputs import Input

__all__ = ["Message", "Way", "content_of", "transcript", "way_of"]

Message = dict[str, Any]

_HISTORIES = ("messages", "history", "chat_history", "conversation")
_QUESTIONS = ("prompt", "question", "message", "query", "text", "input", "content")
_TEXTS = ("string", "text", "markdown")


@dataclass(frozen=True, slots=True)
class Way:
    """Which inputs a conversation uses.

    `question` takes what is asked; without it, it is the last message of `history`. `history` takes what was said before;
    without it, that is written into the question. `as_text`: what goes into `history` is one text.
    """

    question: str | None
    history: str | None
    as_text: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that nobody fills in by hand."""
        return tuple(name for name in (self.question, self.history) if name is not None)

    def filled(self, before: Sequence[Message], question: str) -> dict[str, Any]:
        """The values of these inputs."""
        asked = {"role": "user", "content": question}
        if self.history is None:
            return {str(self.question): transcript([*before, asked]) if before else question}
        told = [*before] if self.question is not None else [*before, asked]
        found: dict[str, Any] = {self.history: transcript(told) if self.as_text else told}
        return found if self.question is None else found | {self.question: question}


def way_of(inputs: Iterable[Input], given: Iterable[str] = ()) -> Way:
    """How a conversation is led over these inputs, of which those `given` have a value already. Raises UsageError."""
    inputs = tuple(inputs)
    asked = [one for one in inputs if one.name] or list(inputs)
    history = _called(_HISTORIES, asked)
    others = [one for one in asked if one is not history and _is_text(one)]
    question = _called(_QUESTIONS, others)
    if question is None and (history is None or _last_word(history) != "messages"):
        question = _only_one(others, set(given))
    if question is None and history is None:
        raise UsageError(_no_place(asked))
    as_text = history is not None and history.cast is not None and _is_text(history)
    return Way(None if question is None else question.name, None if history is None else history.name, as_text)


def _called(names: Sequence[str], inputs: Sequence[Input]) -> Input | None:
    """The input with the first of these names that there is."""
    found = [one for name in names for one in inputs if _last_word(one) == name]
    return found[0] if found else None


def _last_word(one: Input) -> str:
    return one.name.rpartition(".")[2].lower()


def _is_text(one: Input) -> bool:
    return one.type in _TEXTS and not one.is_list


def _only_one(inputs: Sequence[Input], given: set[str]) -> Input | None:
    """The one text that is asked for and not given: of those that must be given, else of all."""
    left = [one for one in inputs if one.name not in given]
    for found in ([one for one in left if one.required], left):
        if len(found) == 1:
            return found[0]
    return None


def _no_place(asked: Sequence[Input]) -> str:
    texts = [one.name for one in asked if _is_text(one) and one.name]
    if len(texts) < 2:
        return say("this workflow asks for no text, so there is nothing to say to it")
    others = ", ".join(f"{name}=..." for name in texts[1:] if name.isidentifier())
    return say(
        "any of {names} could be the question; give the others a value, as in `chat({others})`, or call it `prompt`",
        names=listing(f"`{name}`" for name in texts),
        others=others,
    )


def transcript(messages: Sequence[Message]) -> str:
    """Messages as a text that people and models can read."""
    return "\n\n".join(f"{_speaker(one)}: {content_of(one)}" for one in messages)


def _speaker(one: Mapping[str, Any]) -> str:
    match one.get("role"):
        case "user":
            return say("User")
        case "assistant":
            return say("Assistant")
    return str(one.get("role") or say("Note"))


def content_of(one: Mapping[str, Any]) -> str:
    """A message's text; a content may be a list of blocks."""
    content = one.get("content")
    if isinstance(content, list):
        texts = (block.get("text") if isinstance(block, Mapping) else block for block in content)
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""
