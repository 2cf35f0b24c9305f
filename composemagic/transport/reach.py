"""Where a run may send that somebody outside has asked for.

Who runs a workflow in a cell or a terminal may send to this computer and its network. Who only fills in a form of a server may
not: an address that their input leads to is a public one, whatever name it hides behind. What the document's own words give
without the input is the author's choice, and goes anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import urlsplit

from composemagic.errors import RunError
from composemagic.transport.address import ip_in
from composemagic.words import say

__all__ = ["check", "confine", "free", "is_confined", "is_public", "same_origin"]

_confined: ContextVar[bool] = ContextVar("confined", default=False)
_PORTS = {"http": 80, "https": 443}


def confine() -> None:
    """From here on, in this task and those that it starts, only public addresses are connected to."""
    _confined.set(True)


def is_confined() -> bool:
    """Whether only public addresses are connected to here."""
    return _confined.get()


@contextmanager
def free(listed: bool) -> Iterator[None]:
    """For an address that the document itself names (`listed`), nothing is confined in here."""
    before = _confined.set(_confined.get() and not listed)
    try:
        yield
    finally:
        _confined.reset(before)


def check(host: str, addresses: Sequence[str] = ()) -> None:
    """Raise RunError, where this is confined, for a host that is no public one: written so, or resolved to such an address."""
    if _confined.get() and not all(is_public(one) for one in (host, *addresses)):
        raise RunError(
            "address",
            say(
                "{host} is an address of this computer or its network; what a request fills in may not lead there, only an "
                "address that the YAML itself has",
                host=host,
            ),
        )


def is_public(host: str) -> bool:
    """Whether an IP address, in any spelling, is one of the whole internet; a name is, but for `localhost`."""
    name = host.strip("[]").rstrip(".").lower().partition("%")[0]
    address = ip_in(name)
    if address is None:
        return name != "localhost" and not name.endswith(".localhost")
    return address.is_global and not address.is_multicast


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have one scheme, host and port."""
    first, second = _origin(one), _origin(other)
    return first is not None and first == second


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme.lower())
    except ValueError:
        return None
    return (parts.scheme.lower(), parts.hostname, port) if parts.hostname and port else None
