"""Connections over asyncio, below httpcore's HTTP.

Our own, for three reasons: the address is looked at after the name is resolved, and it is that address which is connected to
(a name that is resolved twice may give another one the second time); what a server says before it drops a request half sent is
still read; and the first byte comes sooner.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any, cast

import httpcore

from composemagic.transport import address, reach

__all__ = ["Backend", "NoTLSError", "Stream", "UnknownHostError", "UnreachableError", "opened"]

_READ_AHEAD = 2**18
_WRITTEN_AT_ONCE = 2**18
_HELD_BACK = 2**14
_MOST_LEFT = 4  # reads of 64 KiB
_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305, 8
_END_OF_HEAD = re.compile(rb"\n\r?\n")  # as h11 has it, which takes bare line feeds


# the connections that were opened for the request which is being sent in this context
opened: ContextVar[list[httpcore.AsyncNetworkStream] | None] = ContextVar("opened", default=None)


class UnknownHostError(httpcore.ConnectError):
    """A name that has no address."""


class UnreachableError(httpcore.ConnectError):
    """There is no way to the address: no network, or none that leads there."""


class NoTLSError(httpcore.ConnectError):
    """The other side does not speak TLS, or cannot be trusted; the text is the TLS library's."""


class Backend(httpcore.AsyncNetworkBackend):
    """Connections over asyncio, never to link-local addresses nor to a cloud's metadata service."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve the name, look at the addresses, connect to one of them. Raises RunError, httpcore.ConnectError."""
        try:
            async with asyncio.timeout(timeout):
                addresses = address.allowed(host, await _addresses(host, port))
                reach.check(host, addresses)
                stream = await _connected(addresses, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout from None
        except socket.gaierror as error:
            raise UnknownHostError(str(error)) from None
        except (ConnectionResetError, ConnectionAbortedError) as error:
            raise httpcore.ReadError(str(error)) from None  # somebody listens, and hangs up at once
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                raise UnreachableError(str(error)) from None
            raise httpcore.ConnectError(str(error)) from None
        if (streams := opened.get()) is not None:
            streams.append(stream)
        return stream

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _addresses(host: str, port: int) -> list[str]:
    """The addresses of a host, in the system's order of preference (RFC 6724)."""
    try:
        return [str(ip_address(host.strip("[]")))]
    except ValueError:
        pass
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


async def _connected(addresses: list[str], port: int) -> Stream:
    """A connection to one of the addresses; the next one is tried where one fails or is slow (RFC 8305)."""
    if len(addresses) == 1:
        return await _connected_to(addresses[0], port)
    left = deque(addresses)
    tasks: set[asyncio.Task[Stream]] = set()
    failure: BaseException = OSError("no address")
    try:
        while left or tasks:
            if left:
                tasks.add(asyncio.create_task(_connected_to(left.popleft(), port)))
            pause = _NEXT_ADDRESS_SECONDS if left else None
            done, tasks = await asyncio.wait(tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                failure = task.exception() or failure
                if task.exception() is None:
                    tasks |= done - {task}
                    return task.result()
        raise failure
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_hang_up)


def _hang_up(task: asyncio.Task[Stream]) -> None:
    """A connection that came too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


async def _connected_to(place: str, port: int) -> Stream:
    loop = asyncio.get_running_loop()
    transport, wire = await loop.create_connection(_Wire, place, port)
    return Stream(transport, wire)


class Stream(httpcore.AsyncNetworkStream):
    """One connection, as httpcore wants it."""

    def __init__(self, transport: asyncio.Transport, wire: _Wire) -> None:
        self._transport = transport
        self._wire = wire
        self._held = b""
        self._before = b""  # the last bytes of a head, whose end may be cut in two
        self._is_in_head = True
        self._last = b""
        self.is_at_body = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, at most so many bytes; empty at the end. Raises httpcore.ReadError, ReadTimeout.

        The head of an answer comes by itself, after which `is_at_body`: whoever reads on has the body from its start.
        """
        self.is_at_body = False
        if self._last:
            data, self._last = self._last, b""
            return data
        wire = self._wire
        if self._held:
            self._send_held()
        if not wire.parts and not wire.ended:
            await self._until_something_came(timeout)
        if wire.parts:
            data = wire.take(max_bytes)
            return self._head_of(data) if self._is_in_head else data
        if wire.failure is not None:
            raise httpcore.ReadError(str(wire.failure))
        return b""

    async def _until_something_came(self, timeout: float | None) -> None:
        if timeout is None:
            await self._wire.until_something_came()
            return
        try:
            async with asyncio.timeout(timeout):
                await self._wire.until_something_came()
        except TimeoutError:
            raise httpcore.ReadTimeout from None

    def _head_of(self, data: bytes) -> bytes:
        """As much as belongs to the head."""
        known = self._before + data
        end = _END_OF_HEAD.search(known)
        if end is None:
            self._before = known[-2:]
            return data
        size = end.end() - len(self._before)
        self._wire.put_back(data[size:])
        self._is_in_head, self.is_at_body = False, True
        return data[:size]

    def leave(self, last: bytes, rest: bytes) -> None:
        """Give `last` to who reads next, and nothing more; with a `rest` the connection is not used again."""
        self._last = last
        self._wire.put_back(rest)

    def give_up(self, failure: Exception) -> None:
        """Raise this in who waits for something to come."""
        self._wire.give_up(failure)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes, as fast as the other side takes them. Raises httpcore.WriteError, WriteTimeout.

        The first few wait for the next, until the loop's next turn: a request's head and body go out as one.
        """
        if not buffer:
            return
        self._before, self._is_in_head = b"", True  # of the answer to this
        if not self._held and len(buffer) < _HELD_BACK and not self._is_gone:
            self._held = bytes(buffer)
            asyncio.get_running_loop().call_soon(self._send_held)
            return
        if len(buffer) < _HELD_BACK:
            buffer, self._held = self._held + buffer, b""
        else:
            self._send_held()
        for begin in range(0, len(buffer), _WRITTEN_AT_ONCE):
            if begin:
                await asyncio.sleep(0)  # a server that refuses says so before it hangs up: hear it out
            if self._is_gone:
                raise httpcore.WriteError("the connection was lost")
            self._transport.write(buffer[begin : begin + _WRITTEN_AT_ONCE])
            if self._wire.is_full:
                try:
                    async with asyncio.timeout(timeout):
                        await self._wire.until_there_is_room()
                except TimeoutError:
                    raise httpcore.WriteTimeout from None

    def _send_held(self) -> None:
        held, self._held = self._held, b""
        if held and not self._is_gone:  # else who reads or writes next hears of it
            self._transport.write(held)

    @property
    def _is_gone(self) -> bool:
        return self._wire.lost or self._transport.is_closing()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """The same connection under TLS. Raises NoTLSError, httpcore.ConnectTimeout."""
        self._send_held()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                found = await loop.start_tls(self._transport, self._wire, ssl_context, server_hostname=server_hostname)
        except TimeoutError:
            self._transport.abort()
            raise httpcore.ConnectTimeout from None
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise NoTLSError(str(error)) from None
        except OSError as error:
            raise NoTLSError(str(error) or "closed") from None
        except BaseException:
            self._transport.abort()
            raise
        if found is None:
            raise NoTLSError("closed")
        self._transport = self._wire.transport = found
        return self

    def abort(self) -> None:
        """Close without a word."""
        self._transport.abort()

    async def aclose(self) -> None:
        self._transport.abort()
        await asyncio.sleep(0)  # the socket is closed in the next turn of the loop

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks: whether an idle connection has ended or holds what nobody asked for, and its ends."""
        if info == "is_readable":
            return self._wire.ended or bool(self._wire.parts)
        name = {"server_addr": "peername", "client_addr": "sockname"}.get(info, info)
        return self._transport.get_extra_info(name)


class _Wire(asyncio.Protocol):
    """What has come over a connection and was not taken yet; kept also where the connection breaks."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.ended = False
        self.lost = False
        self.failure: Exception | None = None
        self.is_full = False
        self.transport: asyncio.Transport | None = None
        self._size = 0
        self._is_paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        self._size += len(data)
        if self._size > _READ_AHEAD and self.transport is not None and not self._is_paused:
            self.transport.pause_reading()
            self._is_paused = True
        _wake(self._reader)

    def eof_received(self) -> bool:
        self.ended = True
        _wake(self._reader)
        return True  # what we still have to say may be said; TLS does not know half a connection

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.parts += _left_in(self.transport)
        self.ended = self.lost = True
        self.failure = exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        _wake(self._writer)

    def take(self, most: int) -> bytes:
        """All that has come, at most so many bytes."""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        if len(data) > most:
            self.parts.append(data[most:])
            data = data[:most]
        self._size -= len(data)
        if self._is_paused and self._size < _READ_AHEAD // 2 and self.transport is not None and not self.lost:
            self.transport.resume_reading()
            self._is_paused = False
        return data

    def put_back(self, data: bytes) -> None:
        """What was taken and is not wanted yet."""
        if data:
            self.parts.insert(0, data)
            self._size += len(data)

    def give_up(self, failure: Exception) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_exception(failure)

    async def until_something_came(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    async def until_there_is_room(self) -> None:
        while self.is_full and not self.lost:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None


def _left_in(transport: asyncio.Transport | None) -> list[bytes]:
    """What has arrived on a connection that broke while something was sent: asyncio would not read it any more.

    A server that refuses a long request answers, hangs up, and is not heard by who is still busy sending.
    """
    open_socket = None if transport is None else transport.get_extra_info("socket")
    if transport is None or open_socket is None or transport.get_extra_info("ssl_object") is not None:
        return []
    try:
        beside = socket.socket(fileno=open_socket.fileno())
    except (OSError, ValueError):  # it is closed by now
        return []
    parts: list[bytes] = []
    try:
        beside.setblocking(False)
        while len(parts) < _MOST_LEFT and (data := beside.recv(2**16)):
            parts.append(data)
    except OSError:
        pass
    finally:
        beside.detach()  # asyncio closes it
    return parts


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
