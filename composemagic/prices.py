"""What tokens cost, by a table that the user gives: providers change theirs, so none is built in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from composemagic.errors import UsageError
from composemagic.words import say

__all__ = ["cost", "cost_text", "prices", "set_prices", "tokens"]

_MILLION = 1_000_000
# gpt-4o-2024-08-06, gpt-4-0613, claude-sonnet-4@20250514, llama3:latest; gpt-4o-mini and claude-opus-4-5 are other models
_VERSION = re.compile(r"(?:[-@:](?:\d{4}-\d{2}-\d{2}|\d{3,8}|v\d+(?:[.:]\d+)*|latest))*")
_table: dict[str, tuple[float, float]] = {}


def prices() -> Mapping[str, tuple[float, float]]:
    """The table: by model, what a million tokens of input and of output cost."""
    return dict(_table)


def set_prices(table: Mapping[str, Any]) -> None:
    """Replace the table, such as `{"gpt-4o": {"input": 2.5, "output": 10}}` or `{"gpt-4o": (2.5, 10)}`.

    Prices are those of a million tokens, in whatever currency. A model whose name goes on with a date or a version has the
    price of the longest name that it begins with. Raises UsageError.
    """
    found = {model: _pair(model, price) for model, price in table.items()}
    _table.clear()
    _table.update(found)


def _pair(model: str, price: Any) -> tuple[float, float]:
    if isinstance(price, Mapping) and price.keys() == {"input", "output"}:
        price = (price["input"], price["output"])
    is_pair = isinstance(price, list | tuple) and len(price) == 2
    if not is_pair or not all(_is_price(one) for one in price):
        raise UsageError(
            say(
                "the price of `{model}` is written as {example}: what a million tokens cost",
                model=model,
                example='{"input": 2.5, "output": 10}',
            )
        )
    return float(price[0]), float(price[1])


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def tokens(usage: Mapping[str, Any] | None) -> tuple[int | None, int | None]:
    """The tokens of the input and of the answer, by the names that providers give them.

    Those that a provider had in its cache are tokens of the input: Anthropic counts them apart, others with the rest.
    """
    given = _count(usage, "prompt_tokens", "input_tokens", "prompt_eval_count")
    if given is not None:
        given += (_count(usage, "cache_read_input_tokens") or 0) + (_count(usage, "cache_creation_input_tokens") or 0)
    return given, _count(usage, "completion_tokens", "output_tokens", "eval_count")


def _count(usage: Mapping[str, Any] | None, *names: str) -> int | None:
    found = (usage.get(name) for name in names) if usage else ()
    return next((int(one) for one in found if isinstance(one, int) and not isinstance(one, bool) and one >= 0), None)


def cost(model: str | None, usage: Mapping[str, Any] | None) -> float | None:
    """What an answer cost, as if nothing came out of a provider's cache; None where the model has no price, or nobody counted."""
    given, answered = tokens(usage)
    price = _price_of(model or "")
    if price is None or given is None or answered is None:
        return None
    return (given * price[0] + answered * price[1]) / _MILLION


def cost_text(amount: float) -> str:
    """An amount as people write it, with no exponent: `0.000066`, `0.0125`, `12.5`."""
    return f"{Decimal(f'{amount:.4g}'):f}"


def _price_of(model: str) -> tuple[float, float] | None:
    names = (name for name in _table if model.startswith(name) and _VERSION.fullmatch(model, len(name)))
    best = max(names, key=len, default=None)
    return None if best is None else _table[best]
