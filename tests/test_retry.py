"""What is tried again and when, without a network: the server's wishes in all their spellings, pauses, and the last word."""

from __future__ import annotations

import asyncio
import email.utils
import time

import pytest

from composemagic.errors import RunError
from composemagic.transport import retry
from composemagic.transport.retry import RequestError, Retries, again, asked_to_wait, is_worth_it


def wish(**headers: str) -> float | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked_to_wait(named.get)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "2"}, 2),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "0"}, 0),
        ({"retry_after_ms": "300"}, 0.3),
        ({"retry_after_ms": "300", "retry_after": "9"}, 0.3),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry_after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_what_a_server_asks(headers: dict[str, str], seconds: float | None) -> None:
    assert wish(**headers) == seconds


def test_a_date_to_come() -> None:
    found = wish(retry_after=email.utils.formatdate(time.time() + 100, usegmt=True))
    assert found is not None and 90 < found <= 100


@pytest.mark.parametrize(
    ("status", "header", "worth"),
    [(408, None, True), (409, None, True), (429, None, True), (500, None, True), (529, None, True), (400, None, False),
     (401, None, False), (404, None, False), (413, None, False), (302, None, False), (499, None, False), (500, "false", False),
     (400, "true", True), (500, "maybe", True), (400, " TRUE ", True)],
)  # fmt: skip
def test_what_is_worth_it(status: int, header: str | None, worth: bool) -> None:
    assert is_worth_it(status, {"x-should-retry": header}.get) is worth


@pytest.mark.parametrize(
    ("retries", "most"),
    [(Retries(), [0.5, 1, 2, 4, 8, 8]), (Retries(delay=3), [3, 6, 8, 8]), (Retries(delay=20), [20, 20])],
    ids=str,
)
def test_pauses_double_and_are_shaken(retries: Retries, most: list[float]) -> None:
    for attempt, seconds in enumerate(most, 1):
        found = {retries.pause(attempt) for _ in range(50)}
        assert all(0.75 * seconds <= one <= seconds for one in found) and len(found) > 1
    assert retries.pause(10**6) <= max(8, retries.delay)


def tried(failures: list[BaseException], retries: Retries) -> tuple[int, list[tuple[float, str, int, int]]]:
    """How often it was tried, and the waits; the pauses are not slept."""
    count, waits = 0, list[tuple[float, str, int, int]]()

    async def attempt() -> str:
        nonlocal count
        count += 1
        if failures:
            raise failures.pop(0)
        return "done"

    assert asyncio.run(again(attempt, retries, lambda *wait: waits.append(wait))) == "done"
    return count, waits


def test_again() -> None:
    first = RequestError("rate_limit", "h is busy (429): words", again=True, after=0, reason="h is busy (429)")
    count, waits = tried([first, RequestError("server", "h broke", again=True)], Retries(delay=1e-9))
    assert count == 3
    assert waits[0] == (0, "h is busy (429)", 1, 2)
    assert waits[1][1:] == ("h broke", 2, 2)


def test_the_pause_is_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(retry.asyncio, "sleep", sleep)
    failures: list[BaseException] = [
        RequestError("rate_limit", "busy", again=True, after=retry.LONGEST),  # as long as anybody waits
        RequestError("server", "h broke", again=True),
    ]
    count, waits = tried(failures, Retries())
    assert count == 3 and slept == [wait[0] for wait in waits]
    assert slept[0] == 120 and 0.75 <= slept[1] <= 1


def test_what_an_error_is_where_nothing_is_said() -> None:
    error = RequestError("server", "h broke")
    assert (error.again, error.after, error.status, error.is_final) == (False, None, None, False)
    assert error.reason == error.message == error.sentence == "h broke"
    assert Retries() == Retries(most=2, delay=0.5, is_own=False)


@pytest.mark.parametrize(
    "error", [RequestError("auth", "no key"), RunError("request", "no URL"), ValueError("other")], ids=str
)
def test_not_again(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        tried([error], Retries())
    assert caught.value is error


@pytest.mark.parametrize("is_own", [False, True])
def test_the_last_failure_is_raised(is_own: bool) -> None:
    failures: list[BaseException] = [RequestError("server", f"failure {at}", again=True) for at in range(3)]
    with pytest.raises(RequestError, match="failure 1") as caught:
        tried(failures, Retries(most=1, delay=1e-9, is_own=is_own))
    assert caught.value.is_final is is_own


@pytest.mark.parametrize("is_own", [False, True])
def test_longer_than_anybody_waits(is_own: bool) -> None:
    error = RequestError("rate_limit", "busy", again=True, after=retry.LONGEST + 1, status=429, message="all of it")
    with pytest.raises(RequestError, match=r"busy; it asks to wait 121 s, composemagic waits 120 s at most") as caught:
        tried([error], Retries(is_own=is_own))
    assert (caught.value.status, caught.value.message, caught.value.is_final) == (429, "all of it", is_own)
    assert (caught.value.after, caught.value.again) == (121, False)
