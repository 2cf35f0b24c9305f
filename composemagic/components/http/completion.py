"""Completion: an answer that is only a receipt, and the result that is asked for again and again or sent by a callback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol

from composemagic.components.http.limits import duration
from composemagic.components.http.request import request_of
from composemagic.errors import RunError
from composemagic.language.casts import to_text
from composemagic.language.values import shown
from composemagic.transport.callbacks import Callbacks
from composemagic.transport.http import Request, Response
from composemagic.transport.providers import Watch, dialect_of
from composemagic.transport.retry import LONGEST, RequestError
from composemagic.transport.whole import read_value
from composemagic.words import say
from composemagic.workflow.component import Action, Context, Value

__all__ = ["completed"]

_INTERVAL, _POLLING_TIMEOUT = 5.0, 300.0  # seconds
_NOT_YET = frozenset({404, 409, 425})  # what a server says of a result that is still to come


class Ask(Protocol):
    """Sends a request under the component's limits; `once`: without trying again."""

    def __call__(self, request: Request, *, once: bool = False) -> Awaitable[Response]: ...


async def completed(action: Action, context: Context, request: Request, ask: Ask) -> Value:
    """Send the request, wait for its result, and give both. Raises RunError."""
    async with aclosing(await ask(request)) as response:
        receipt = read_value(await response.body(), response, request, Watch(dialect_of(request.url)))
    kind = await context.render(action.fields["completion.type"])
    timeout = await _seconds(action, context, "timeout", _POLLING_TIMEOUT)
    wait = _polled if kind == "polling" else _called_back
    if kind not in ("polling", "callback"):
        raise RunError(
            "request", say("a completion is of `type: polling` or `type: callback`, not {value}", value=shown(kind))
        )
    try:
        async with asyncio.timeout(timeout) as limit:
            result = await wait(action, context, receipt, ask)
    except TimeoutError:
        if not limit.expired():
            raise
        raise _too_late(kind, timeout) from None
    return Value(result, {"response": receipt, "response[]": receipt})


def _too_late(kind: str, timeout: float) -> RunError:
    if kind == "polling":
        sentence = say("Polling timed out after {seconds} s (completion.timeout)", seconds=f"{timeout:g}")
    else:
        sentence = say("No callback came within {seconds} s (completion.timeout)", seconds=f"{timeout:g}")
    return RunError("timeout_completion", sentence)


async def _seconds(action: Action, context: Context, key: str, otherwise: float) -> float:
    value = await context.render(action.fields.get(f"completion.{key}"))
    return otherwise if value is None else float(duration(value, f"completion.{key}"))


# -- polling -------------------------------------------------------------------------------------------------------------


async def _polled(action: Action, context: Context, receipt: Any, ask: Ask) -> Any:
    interval = await _seconds(action, context, "interval", _INTERVAL)
    by_code = "completion.status" not in action.fields
    wanted = await _values(action, context, "success_when", receipt) or (["2xx"] if by_code else [])
    unwanted = await _values(action, context, "fail_when", receipt)
    pause = interval
    while True:
        await asyncio.sleep(pause)
        more = {"response": receipt, "result": None}
        request = await request_of(action, context, of="completion.", method="GET", more=more)
        code, result, failure = await _poll(request, ask)
        pause = interval if failure is None or failure.after is None else max(interval, min(failure.after, LONGEST))
        if by_code:
            status = code
        elif failure is None:
            more["result"] = more["result[]"] = result
            status = await context.render(action.fields["completion.status"], more)
        else:
            status = None
        if _is_one(status, unwanted, by_code=by_code):
            raise RunError(
                "completion", say("Polling failed: the status `{status}` is one of `fail_when`", status=to_text(status))
            )
        if _is_one(status, wanted, by_code=by_code):
            return result
        if failure is not None and not (failure.again or (by_code and failure.status in _NOT_YET)):
            raise failure


async def _values(action: Action, context: Context, key: str, receipt: Any) -> list[Any]:
    value = await context.render(action.fields.get(f"completion.{key}"), {"response": receipt, "result": None})
    return value if isinstance(value, list) else [] if value is None else [value]


async def _poll(request: Request, ask: Ask) -> tuple[int | None, Any, RequestError | None]:
    """One look: the HTTP status, the value, and why there is none. Polling tries again by itself."""
    try:
        async with aclosing(await ask(request, once=True)) as response:
            return response.status, read_value(await response.body(), response, request, Watch(None)), None
    except RequestError as error:
        return error.status, None, error


def _is_one(status: Any, values: list[Any], *, by_code: bool) -> bool:
    """Whether a status is one of the values, compared as text; an HTTP status also of a class such as `2xx`."""
    if status is None:
        return False
    text = to_text(status)
    named = {to_text(value).strip() if by_code else to_text(value) for value in values}
    return text in named or (by_code and f"{text[:1]}xx" in {name.lower() for name in named})


# -- callback ------------------------------------------------------------------------------------------------------------


async def _called_back(action: Action, context: Context, receipt: Any, ask: Callable[..., Any]) -> Any:
    name = await context.render(action.fields.get("completion.wait_for"), {"response": receipt, "result": None})
    if name is None or to_text(name) == "":
        raise RunError("request", say("`wait_for` is empty: the answer holds no id to wait for"))
    callbacks: Callbacks = context.shared(Callbacks, Callbacks)
    return await callbacks.wait(to_text(name))
