"""How a model writes or embeds: the params of an action, under the names that llama.cpp's protocol has for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from composemagic.components.given import Given, holds_template
from composemagic.errors import suggest
from composemagic.local import serve
from composemagic.words import listing, say

__all__ = ["no_pooling", "params_of", "wrong_params"]

_WRITING = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed", "stop": "stop",
    "stop_sequences": "stop", "max_tokens": "max_tokens", "max_output_length": "max_tokens",
    "repeat_penalty": "repeat_penalty", "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
}  # fmt: skip
_EMBEDDING = ("normalize", "pooling")
# model-compose's, for its other drivers
_UNUSED_PARAMS = (
    "do_sample", "num_return_sequences", "num_beams", "min_output_length", "max_input_length", "batch_size", "length_penalty",
    "early_stopping",
)  # fmt: skip


async def params_of(given: Given) -> dict[str, Any]:
    """The params under the names of the protocol."""
    params = await given.get("params", default={})
    found = {name: value for name, value in params.items() if name in _EMBEDDING and value is not None}
    for key in ("max_output_length", "stop_sequences"):
        value = await given.get(key)
        if value is not None:
            found[_WRITING[key]] = value
    if params.get("do_sample") is False:
        found["temperature"] = 0
    return found | {_WRITING[name]: value for name, value in params.items() if name in _WRITING and value is not None}


def wrong_params(params: Mapping[str, Any], *, embeds: bool) -> Iterable[tuple[Any, ...]]:
    """What is wrong with params that are written in the YAML, and the keys of each."""
    known = _EMBEDDING if embeds else tuple(_WRITING)
    for name in params:
        if name not in known and name not in _UNUSED_PARAMS:
            yield (
                say("unknown key `{key}` in `params`{near}", key=name, near=suggest(name, known)),
                ("params", name),
                True,
            )
    pooling = params.get("pooling")
    if embeds and pooling is not None and not holds_template(pooling) and pooling not in serve.POOLINGS:
        yield no_pooling(pooling), ("params", "pooling")


def no_pooling(value: Any) -> str:
    """The sentence for a pooling that is none."""
    return say("`pooling` is one of {options}, not {value}", options=listing(serve.POOLINGS), value=value)
