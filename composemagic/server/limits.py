"""How much a client may send and how long it may take, and what every answer says."""

from __future__ import annotations

import json
from dataclasses import dataclass

from composemagic.server.refusals import Refusal
from composemagic.words import say

__all__ = ["HEADERS", "Limits", "as_json", "too_large", "too_long", "too_slow"]

# what an answer says where the application does not
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may send, in bytes, and how long, in seconds, it may take.

    `send`: to send a whole request; `unread`: to read what is sent to it; `linger`: what a refused client still sends is
    read so long, or it would not see the answer. `connections`: at once, on one port.
    """

    body: int = 2**20
    header: int = 16 * 2**10
    send: float = 10.0
    unread: float = 30.0
    linger: float = 1.0
    connections: int = 512


def as_json(refusal: Refusal) -> bytes:
    """The body of the answer to what is refused."""
    error = {"kind": refusal.kind, "message": refusal.message}
    said = {"error": error, "kind": refusal.kind, "detail": refusal.message}
    return json.dumps(said, ensure_ascii=False).encode()


def too_large(limit: int) -> Refusal:
    """The refusal of a body, at most `limit` bytes."""
    return Refusal(413, "too_large", say("the body is larger than {limit} KiB", limit=limit // 2**10))


def too_long(limit: int) -> Refusal:
    """The refusal of a head, at most `limit` bytes."""
    return Refusal(431, "too_large", say("the request's head is longer than {limit} KiB", limit=limit // 2**10))


def too_slow(seconds: float) -> Refusal:
    """The refusal of a request that does not come to its end."""
    return Refusal(408, "slow", say("the request was not sent within {seconds} s", seconds=f"{seconds:g}"))
