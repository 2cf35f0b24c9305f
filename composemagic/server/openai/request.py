"""A chat request in OpenAI's words -> the values of a workflow's inputs.

An input called `messages` takes the messages as they are. Else the last user message is the prompt: the input called
`prompt`, `message`, `question`, `query` or `text`, or the only text that is required whatever its name, or the whole
`${input}`. `system` or `system_prompt` takes the system message, `history` the turns before; an image goes to an image
input, sound to an audio input, a file to a file input. Every other field of the request, such as `temperature`, goes to the
input of its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from composemagic.errors import InputError
from composemagic.language.casts import CastError
from composemagic.language.formats import decoded
from composemagic.server.openai.errors import Misasked
from composemagic.words import listing, say
from composemagic.workflow.inputs import Input, check_values

__all__ = ["is_chat", "values_of"]

Message = Mapping[str, Any]
Part = Mapping[str, Any]

_PROMPTS = ("prompt", "user_prompt", "message", "question", "query", "text", "input")
_SYSTEMS = ("system", "system_prompt", "system_message", "instructions")
_HISTORIES = ("history", "chat_history")
_SYSTEM_ROLES = ("system", "developer")
_TEXTS = ("string", "text", "markdown")
_WHOLE_KINDS = ("list", "object", "json", "any", "string", "text")  # what messages can be given as
# what says how to answer, and not what to ask
_OF_THE_DOOR = frozenset({"model", "messages", "stream", "stream_options"})
_SAME = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}
# OpenAI's kinds of content parts that are no text: the key of what they hold, its field, and the type of input they go to
_MEDIA = {
    "image_url": ("url", "image"),
    "input_audio": ("data", "audio"),
    "file": ("file_data", "file"),
}


def is_chat(inputs: Sequence[Input]) -> bool:
    """Whether a workflow with these inputs can be asked by a chat."""
    return _messages_input(inputs) is not None or _prompt_input(inputs) is not None


def values_of(body: Mapping[str, Any], inputs: Sequence[Input]) -> Any:
    """What a workflow with these inputs is given. Raises Misasked for what it cannot be asked."""
    messages = _messages(body)
    _refuse_unmeant(body, inputs)
    values = _parameters(body, inputs)
    system = next(_named(inputs, _SYSTEMS), None)
    if system is not None:
        if said := _system(messages):
            values[system.name] = said
        messages = [message for message in messages if message["role"] not in _SYSTEM_ROLES]
    whole = _messages_input(inputs)
    if whole is not None:
        values[whole.name] = [dict(message) for message in messages]
        values.update({one.name: _last_words(messages) for one in _named(inputs, _PROMPTS) if one.required})
    else:
        values.update(_of_last(messages, inputs))
    _check(values, inputs)
    return values[""] if list(values) == [""] else values


# -- the inputs ------------------------------------------------------------------------------------------------------------


def _messages_input(inputs: Sequence[Input]) -> Input | None:
    return next((one for one in inputs if one.name == "messages" and (one.is_list or one.type in _WHOLE_KINDS)), None)


def _prompt_input(inputs: Sequence[Input]) -> Input | None:
    """The input that takes what the user says: by its name, else the only text that is required, else the whole input."""
    texts = [one for one in inputs if one.type in _TEXTS and not one.is_list]
    named = next(_named(texts, _PROMPTS), None)
    if named is not None:
        return named
    required = [one for one in texts if one.required and one.name not in (*_SYSTEMS, *_HISTORIES, "")]
    if len(required) == 1 and "." not in required[0].name:
        return required[0]
    return inputs[0] if len(inputs) == 1 and not inputs[0].name else None


def _named(inputs: Iterable[Input], names: Iterable[str]) -> Iterator[Input]:
    """The inputs of these names, in the order of the names."""
    by_name = {one.name: one for one in inputs}
    return (by_name[name] for name in names if name in by_name)


# -- the request -----------------------------------------------------------------------------------------------------------


def _messages(body: Mapping[str, Any]) -> list[Message]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, Mapping) for one in messages):
        raise Misasked(say("`messages` is a list of messages, each with `role` and `content`"), param="messages")
    for at, message in enumerate(messages):
        if not isinstance(message.get("role"), str):
            raise Misasked(say("the message {number} has no `role`", number=at + 1), param=f"messages[{at}].role")
    return messages


def _refuse_unmeant(body: Mapping[str, Any], inputs: Sequence[Input]) -> None:
    """Say of what would change the answer, and that no workflow does, that it is not done."""
    asked = {one.name for one in inputs}
    if body.get("n") not in (None, 1) and "n" not in asked:
        raise Misasked(say("a workflow gives one answer: `n` is 1"), param="n", code="unsupported_value")
    for key in ("tools", "functions"):
        if body.get(key) and key not in asked and body.get("tool_choice") != "none":
            sentence = say("a workflow has its own tools: it takes no `{key}` from a request", key=key)
            raise Misasked(sentence, param=key, code="unsupported_parameter")
    form = body.get("response_format")
    if isinstance(form, Mapping) and form.get("type") not in (None, "text") and "response_format" not in asked:
        sentence = say("the workflow says itself what it gives: `response_format` is `text`")
        raise Misasked(sentence, param="response_format", code="unsupported_value")


def _parameters(body: Mapping[str, Any], inputs: Sequence[Input]) -> dict[str, Any]:
    """The fields of the request that are inputs by their own names, or by the one they had before."""
    asked = {one.name for one in inputs} - _OF_THE_DOOR
    given = {key: value for key, value in body.items() if value is not None and key not in _OF_THE_DOOR}
    given = {**{_SAME[key]: given[key] for key in _SAME if key in given}, **given}
    return {key: value for key, value in given.items() if key in asked}


def _last_words(messages: list[Message]) -> str:
    return next((_text(message) for message in reversed(messages) if message["role"] == "user"), "")


def _of_last(messages: list[Message], inputs: Sequence[Input]) -> dict[str, Any]:
    """The last user message as the prompt and what belongs to it, and the turns before where the workflow takes them."""
    prompt = _prompt_input(inputs)
    last = next((at for at in reversed(range(len(messages))) if messages[at]["role"] == "user"), None)
    if prompt is None or last is None:
        raise Misasked(say("there is no message of the role `user`"), param="messages")
    text, media = _content(messages[last], f"messages[{last}].content")
    values: dict[str, Any] = {prompt.name: text} if text or prompt.required else {}
    history = next(_named(inputs, _HISTORIES), None)
    if history is not None:
        values[history.name] = _turns(messages[:last], history)
    for kind, given in media.items():
        values.update(_media_values(kind, given, inputs, f"messages[{last}].content"))
    return values


def _turns(messages: list[Message], history: Input) -> Any:
    """The turns before the last message: as messages, or as text where the workflow wants that."""
    if history.cast is not None and history.type in _TEXTS and not history.is_list:
        return "\n\n".join(f"{message['role']}: {_text(message)}" for message in messages)
    return [dict(message) for message in messages]


def _system(messages: list[Message]) -> str:
    return "\n\n".join(_text(message) for message in messages if message["role"] in _SYSTEM_ROLES)


# -- what a message holds --------------------------------------------------------------------------------------------------


def _text(message: Message) -> str:
    return "\n".join(_texts(message.get("content")))


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]


def _content(message: Message, place: str) -> tuple[str, dict[str, list[str]]]:
    """The text of a message, and what else it holds by the type of input it goes to."""
    content = message.get("content")
    if not isinstance(content, str | list) or not all(
        isinstance(p, Mapping) for p in content if not isinstance(p, str)
    ):
        raise Misasked(say("`content` is text or a list of parts"), param=place)
    media: dict[str, list[str]] = {}
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping) and str(part.get("type")) in _MEDIA:
            kind, address = _medium(part, place)
            media.setdefault(kind, []).append(address)
    return _text(message), media


def _medium(part: Part, place: str) -> tuple[str, str]:
    """The type of input that a part goes to, and its address: a `data:` URI, or one of the web."""
    name = str(part["type"])
    field, kind = _MEDIA[name]
    held = part.get(name)
    value = held.get(field) if isinstance(held, Mapping) else None
    if not isinstance(value, str):
        raise Misasked(say("a part of `type: {type}` needs `{field}`", type=name, field=f"{name}.{field}"), param=place)
    if kind == "audio" and not value.startswith("data:"):
        form = held.get("format") if isinstance(held, Mapping) else None
        value = f"data:audio/{form or 'wav'};base64,{value}"
    return kind, value


def _media_values(kind: str, given: list[str], inputs: Sequence[Input], place: str) -> dict[str, Any]:
    """The media by the inputs that take them; a list takes all that are left. Raises Misasked for what nobody takes."""
    values: dict[str, Any] = {}
    left = list(given)
    for one in inputs:
        if one.type == kind and left:
            count = len(left) if one.is_list else 1
            taken = [_as_wanted(address, one, place) for address in left[:count]]
            values[one.name] = taken if one.is_list else taken[0]
            left = left[count:]
    if left:
        sentence = say("this workflow takes {count} of `{type}`, not {given}", count=len(given) - len(left), type=kind, given=len(given))  # fmt: skip
        raise Misasked(sentence, param=place, code="unsupported_value")
    return values


def _as_wanted(address: str, one: Input, place: str) -> Any:
    """A medium as the input's cast reads it. An address of the web is only for a workflow that says `;url` itself."""
    form = one.cast.format if one.cast else None
    if not address.startswith("data:"):
        if form == "url":
            return address
        raise Misasked(say("this workflow takes `{name}` as a `data:` URL", name=one.name), param=place)
    if form == "data-uri":
        return address
    if form == "base64":
        return address.partition(",")[2]
    if form is not None:
        raise Misasked(say("this workflow takes `{name}` as `{format}`", name=one.name, format=form), param=place)
    try:
        return decoded(address, "data-uri", None)
    except CastError as error:
        raise Misasked(f"`{one.name}`: {error}", param=place) from None


def _check(values: Mapping[str, Any], inputs: Sequence[Input]) -> None:
    """Raise Misasked for a required input that no field of the request gives, and for a value that does not fit."""
    try:
        check_values(inputs, values)
    except InputError as error:
        names = list(error.problems)
        sentence = say(
            "{problems}; a field of the request gives an input by its name, such as {names}",
            problems=error.sentence,
            names=listing(f"`{name}`" for name in names),
        )
        raise Misasked(sentence, param=names[0], code="invalid_input") from None
