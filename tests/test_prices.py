"""What tokens cost, by the user's table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from composemagic.errors import UsageError
from composemagic.prices import cost, prices, set_prices, tokens


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    set_prices({"gpt-4o": {"input": 2.5, "output": 10}, "gpt-4o-mini": (0.15, 0.6), "free": [0, 0]})
    yield
    set_prices({})


USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500}


@pytest.mark.parametrize(
    ("model", "usage", "expected"),
    [
        ("gpt-4o", USAGE, 0.0075),
        ("gpt-4o-2024-08-06", USAGE, 0.0075),  # a version of it
        ("gpt-4o-mini", USAGE, 0.00045),  # its own price, not that of the name it begins with
        ("gpt-4o-mini-2024-07-18", USAGE, 0.00045),
        ("gpt-4omni", USAGE, None),  # another word
        ("gpt-4", USAGE, None),
        ("gpt-4o-audio-preview", USAGE, None),  # another model, and not at that price
        ("gpt-4o-realtime-2025-06-03", USAGE, None),
        ("gpt-4o:latest", USAGE, 0.0075),
        ("gpt-4o@20240806", USAGE, 0.0075),
        ("gpt-4o-20240806-v1:0", USAGE, 0.0075),
        ("free", USAGE, 0.0),
        ("free-5-20251101", USAGE, None),  # as claude-opus-4-5 is no claude-opus-4
        ("free:70b", USAGE, None),
        ("gpt-4o, gpt-4o-mini", USAGE, None),  # both answered
        (
            "gpt-4o",
            {
                "input_tokens": 100,
                "cache_read_input_tokens": 800,
                "cache_creation_input_tokens": 100,
                "output_tokens": 500,
            },
            0.0075,
        ),
        ("gpt-4o", {**USAGE, "prompt_tokens_details": {"cached_tokens": 900}}, 0.0075),
        ("gpt-4o", {"prompt_tokens": -1, "completion_tokens": 5}, None),
        ("gpt-4o", {"input_tokens": 1_000, "output_tokens": 500}, 0.0075),
        ("gpt-4o", {"prompt_eval_count": 1_000, "eval_count": 500}, 0.0075),
        ("gpt-4o", {"completion_tokens": 500}, None),
        ("gpt-4o", {}, None),
        ("gpt-4o", None, None),
        (None, USAGE, None),
    ],
)
def test_what_an_answer_cost(model: str | None, usage: dict[str, int] | None, expected: float | None) -> None:
    found = cost(model, usage)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_the_table_is_replaced() -> None:
    assert prices()["gpt-4o-mini"] == (0.15, 0.6)
    set_prices({"a": (1, 2)})
    assert prices() == {"a": (1.0, 2.0)}


@pytest.mark.parametrize(
    "price",
    [1, "2", {"input": 1}, {"in": 1, "out": 2}, (1,), (1, 2, 3), (1, "2"), (True, 1), (-1, 0), (1, float("inf")), None],
)
def test_a_price_that_is_none(price: Any) -> None:
    with pytest.raises(UsageError, match="the price of `m` is written as"):
        set_prices({"m": price})
    assert "gpt-4o" in prices()  # nothing was replaced


def test_tokens_that_are_no_numbers_do_not_count() -> None:
    assert tokens({"prompt_tokens": "many", "completion_tokens": True}) == (None, None)
