"""The way of a run's requests: the network, or what stands in its place, and a tap on it where somebody watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from composemagic.engine.loop import PrivateLoop
from composemagic.transport.secrets import Redactor

if TYPE_CHECKING:
    from composemagic.transport.tap import Tap

__all__ = ["Wire"]


class Wire:
    """The way of one run's requests. Without `trace`, `hear` or `offline` nothing is watched, and nothing costs anything.

    `transport` takes the network's place, `hear` is called with each exchange that is over; `offline`: the transport answers
    from a recording, for which requests are compared without their secrets.
    """

    def __init__(
        self,
        loop: PrivateLoop,
        transport: Any,
        redact: Redactor,
        elapsed: Callable[[], float],
        *,
        trace: bool,
        hear: Callable[[Any], None] | None,
        offline: bool,
    ) -> None:
        self.is_traced = trace
        self.is_offline = offline
        self.tap: Tap | None = None
        self._loop = loop
        self._transport = transport
        if trace or hear is not None or offline:
            from composemagic.transport.tap import Tap  # only who watches pays for it

            self.tap = Tap(self.network, redact, elapsed, hear, keeps=trace)

    def line(self, job: str) -> Any:
        """The transport of one action's requests; None for the network's own."""
        return self._transport if self.tap is None else self.tap.line(job)

    def network(self) -> Any:
        """What sends: the loop's network, unless a transport stands in its place."""
        from composemagic.transport.http import new_client  # only who sends pays for it

        return self._loop.shared("http", new_client) if self._transport is None else self._transport

    def lives_at(self, address: str) -> None:
        """A model on this machine answers at this base URL, whose port is another one each time."""
        if self.tap is not None:
            self.tap.places.add(address)
