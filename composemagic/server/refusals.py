"""Why a request is refused, and which status says what became of a run."""

from __future__ import annotations

from collections.abc import Mapping

from composemagic.errors import RunError

__all__ = ["Refusal", "status_of"]

# what the workflow's own document or this server is to blame for is 500
# a document's mistakes are found before it is served: what cannot be asked in a run is, as a rule, what was filled in
_STATUSES = {"input": 422, "request": 422, "url": 422, "address": 422, "stopped": 409} | dict.fromkeys(
    (
        "auth", "conflict", "connect", "connection_lost", "content_type", "decode", "dns", "empty", "invalid_json",
        "not_found", "overloaded", "protocol", "rate_limit", "redirect", "server", "tls", "too_large", "truncated",
    ),
    502,
)  # fmt: skip


class Refusal(Exception):  # noqa: N818 - named for what happened
    """A request that is not done: an HTTP status, a kind for programs, a sentence for people.

    `problems` maps inputs to what is wrong with each.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        problems: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = dict(headers or {})
        self.problems = problems
        super().__init__(message)


def status_of(error: RunError) -> int:
    """The status of an answer about a run that failed: 422 its input or what was made of it, 504 a timeout, 502 who was asked, else 500."""
    if error.kind.startswith("timeout"):
        return 504
    return _STATUSES.get(error.kind, 500)
