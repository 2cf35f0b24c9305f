"""What is tried again, when, and how long a server may ask to be left alone.

Tried again are connections that fail before an answer begins, and the statuses 408, 409, 429 and 5xx: twice, after 0.5 s
doubling to 8 s, a little less at random, so that those who failed together do not come back together. Once an answer has
begun nothing is: the user would pay twice and read the same words twice.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from composemagic.errors import RunError
from composemagic.words import say

__all__ = ["LONGEST", "RequestError", "Retries", "again", "asked_to_wait", "is_worth_it"]

T = TypeVar("T")

LONGEST = 120.0  # seconds a server's wish is honoured
_MOST_DELAY = 8.0
_JITTER = 0.25
_STATUSES = frozenset({408, 409, 429})

Header = Callable[[str], str | None]
Waiting = Callable[[float, str, int, int], None]


@dataclass(frozen=True, slots=True)
class Retries:
    """How many more attempts there are after the first one, and how many seconds before the first of them.

    `is_own`: the component or the action says so itself, and the job's `retry` has nothing to add.
    """

    most: int = 2
    delay: float = 0.5
    is_own: bool = False

    def pause(self, attempt: int) -> float:
        """Seconds before the next attempt, where `attempt` have failed and the server asks for nothing."""
        longest = max(_MOST_DELAY, self.delay)
        doubled = self.delay * 2.0 ** min(attempt - 1, 32)
        return min(longest, doubled) * (1 - _JITTER * random.random())


class RequestError(RunError):
    """A request got no answer, or one that is no success.

    `again`: whether the same request may do better; `after`: seconds the server asks to wait, None where it does not;
    `reason`: the sentence without the provider's own words; `status`: the answer's status, None where there was none;
    `message`: the whole of what was said, as documents may look into it; `is_final`: it was tried again as often as the
    component's own settings say, and nobody else should.
    """

    def __init__(
        self,
        kind: str,
        sentence: str,
        *,
        again: bool = False,
        after: float | None = None,
        reason: str | None = None,
        status: int | None = None,
        message: str | None = None,
    ) -> None:
        super().__init__(kind, sentence)
        self.again = again
        self.after = after
        self.reason = reason or self.sentence
        self.status = status
        self.message = message or self.sentence
        self.is_final = False


async def again(
    attempt: Callable[[], Awaitable[T]], retries: Retries, waiting: Callable[[float, str, int, int], None]
) -> T:
    """What `attempt` gives, tried again as the module says; `waiting` is told of each wait before it begins.

    Raises the last attempt's RequestError. Cancelling ends a wait at once.
    """
    failed = 0
    while True:
        try:
            return await attempt()
        except RequestError as error:
            failed += 1
            error.is_final = retries.is_own
            if not error.again or failed > retries.most:
                raise
            if error.after is not None and error.after > LONGEST:
                raise _too_long(error) from None
            seconds = retries.pause(failed) if error.after is None else error.after
            reason = error.reason
        waiting(seconds, reason, failed, retries.most)
        await asyncio.sleep(seconds)


def is_worth_it(status: int, header: Header) -> bool:
    """Whether an answer of this status may be another one next time; `x-should-retry` knows better."""
    wish = (header("x-should-retry") or "").strip().lower()
    return wish == "true" or (wish != "false" and (status in _STATUSES or status >= 500))


def asked_to_wait(header: Header) -> float | None:
    """Seconds that a server asks to wait: `retry-after-ms`, or `retry-after` as seconds or as a date (RFC 9110, 10.2.3).

    What cannot be read, is negative or no number says nothing.
    """
    milliseconds = _number(header("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    written = header("retry-after")
    found = _number(written)
    return _until(written) if found is None else found


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _until(text: str | None) -> float | None:
    """Seconds until an HTTP date; 0 where it has passed."""
    try:
        then = email.utils.parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return max(0.0, then - time.time())


def _too_long(error: RequestError) -> RequestError:
    sentence = say(
        "{sentence}; it asks to wait {seconds} s, composemagic waits {longest} s at most",
        sentence=error.sentence,
        seconds=f"{error.after:.0f}",
        longest=f"{LONGEST:.0f}",
    )
    found = RequestError(
        error.kind, sentence, after=error.after, reason=error.reason, status=error.status, message=error.message
    )
    found.is_final = error.is_final
    return found
