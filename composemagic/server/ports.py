"""Ports: a socket that is bound before anything is promised, and uvicorn behind it on the private loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import Any

import uvicorn

from composemagic.errors import UsageError
from composemagic.server.limits import Limits
from composemagic.server.wire import wire
from composemagic.words import say

__all__ = ["Port", "bound", "first_of"]

_BACKLOG = 1024
_LEAVE_SECONDS = 1.0


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address of this computer; port 0 is any that is free.

    Raises UsageError, with what to do, where the port is taken or may not be had.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = found[0]
        return _listening(family, place)
    except socket.gaierror:
        raise UsageError(say("this computer has no address `{host}`", host=host)) from None
    except (OSError, OverflowError) as error:
        raise UsageError(_why(host, port, error)) from None


def _listening(family: int, place: Any) -> socket.socket:
    # asyncio turns Nagle's algorithm off where a socket says that it is TCP: else a delta may wait 40 ms for the next one
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows it would let two programs have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _why(host: str, port: int, error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return say(
                "port {port} is taken by another program; stop that one, or choose another port: `--port N`, in Python "
                "`port=N`, 0 for any that is free",
                port=port,
            )
        case errno.EACCES:
            return say("port {port} may not be used by you; choose one above 1023", port=port)
        case errno.EADDRNOTAVAIL:
            return say("this computer has no address `{host}`", host=host)
    return say("nothing can listen at {host}:{port}: {why}", host=host, port=port, why=str(error).lower())


def first_of(host: str, port: int) -> socket.socket:
    """The same, or any free port where this one cannot be had."""
    try:
        return bound(host, port)
    except UsageError:
        return bound(host, 0)


class Port:
    """An ASGI application behind a socket. All but the constructor belongs to the loop that serves."""

    def __init__(self, app: Any, listener: socket.socket, limits: Limits) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            http=wire(limits),  # type: ignore[arg-type]
            loop="none",
            lifespan="off",
            ws="none",
            log_config=None,
            server_header=False,
            proxy_headers=False,  # anybody can send them
            backlog=_BACKLOG,
            h11_max_incomplete_event_size=limits.header,
        )
        self._server = uvicorn.Server(config)
        self._served: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._server.server_state.connections)

    async def open(self) -> None:
        """Begin to serve; returns when requests are answered."""
        self._served = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started and not self._served.done():
            await asyncio.sleep(0.001)
        if self._served.done():
            self._served.result()

    async def close(self) -> None:
        """Take no more connections, let answers that are under way be sent, and after a second end the others."""
        self._server.should_exit = True
        if self._served is None:
            self._listener.close()
            return
        _, pending = await asyncio.wait([self._served], timeout=_LEAVE_SECONDS)
        if pending:
            self._server.force_exit = True
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            await asyncio.wait(pending, timeout=_LEAVE_SECONDS)
        with contextlib.suppress(asyncio.CancelledError):
            self._served.cancel()
