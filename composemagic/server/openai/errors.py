"""Errors as OpenAI's API writes them: `{"error": {"message", "type", "param", "code"}}`, and the status of each kind.

https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

from typing import Any

from composemagic.errors import RunError
from composemagic.server import refusals
from composemagic.server.refusals import Refusal
from composemagic.text import plain

__all__ = ["Misasked", "body_of", "refused", "status_of"]

# the words of OpenAI's `type` by status; every other one is the server's
_TYPES = {429: "rate_limit_error", 504: "timeout_error", **dict.fromkeys((400, 401, 403, 404, 413, 415), "invalid_request_error")}  # fmt: skip


class Misasked(Refusal):
    """A chat request that no run can come of: `param` is the field that is meant."""

    def __init__(self, sentence: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(status, code or "invalid_request", sentence)
        self.param = param


def refused(error: Refusal) -> dict[str, Any]:
    """A refusal as JSON."""
    return _body(error.message, error.status, getattr(error, "param", None), error.kind)


def status_of(error: RunError) -> int:
    """The status of a run that failed. Where its input is wrong or its provider is busy, the client's own words for it."""
    return {"input": 400, "unattended": 400, "rate_limit": 429}.get(error.kind) or refusals.status_of(error)


def body_of(error: RunError) -> dict[str, Any]:
    """The error of a run that failed, as JSON; its code is our kind of error."""
    return _body(plain(error.sentence), status_of(error), None, error.kind)


def _body(message: str, status: int, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": _TYPES.get(status, "server_error"), "param": param, "code": code}}
