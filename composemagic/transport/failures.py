"""What went wrong on the network, as sentences: httpx's own texts are often empty, and name no setting."""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

import httpcore
import httpx

from composemagic.errors import RunError
from composemagic.text import plain
from composemagic.transport import address
from composemagic.transport.connection import NoTLSError, UnknownHostError, UnreachableError
from composemagic.transport.inflow import StalledError
from composemagic.transport.providers import error_message, page_words
from composemagic.transport.retry import RequestError, asked_to_wait, is_worth_it
from composemagic.words import say

__all__ = ["NETWORK_ERRORS", "Answer", "Asked", "Limits", "failure", "redirect", "status_error"]

NETWORK_ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
    TimeoutError,
    OSError,
    UnicodeError,
)
_WORDS_SHOWN = 300


class Asked(Protocol):
    """What a sentence needs to know of a request."""

    @property
    def host(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def model(self) -> str | None: ...

    @property
    def key_variables(self) -> tuple[str, ...]: ...

    @property
    def size(self) -> int | None:
        """Bytes of the body; None where it is a stream."""

    def redacted(self, text: str) -> str: ...


class Limits(Protocol):
    """How long a request may take, in seconds; `first` None means `read`."""

    @property
    def connect(self) -> float: ...

    @property
    def first(self) -> float | None: ...

    @property
    def read(self) -> float: ...

    @property
    def total(self) -> float: ...


class Answer(Protocol):
    """What a sentence needs to know of an answer."""

    @property
    def status(self) -> int: ...

    @property
    def media_type(self) -> str: ...

    def header(self, name: str) -> str | None: ...

    def headers(self) -> list[tuple[str, str]]: ...

    async def start_of_body(self) -> bytes: ...


def failure(error: Exception, request: Asked, limits: Limits, *, begun: bool) -> RunError:
    """The RunError for what the network did; `begun`: the answer's head was there. Before that, trying again may help."""
    kind, sentence = _failure(error, request, limits, begun=begun)
    return RequestError(kind, sentence, again=not begun and kind in _WORTH_IT)


_WORTH_IT = frozenset({"timeout_connect", "timeout_read", "connect", "connection_lost", "dns"})


def _failure(error: Exception, request: Asked, limits: Limits, *, begun: bool) -> tuple[str, str]:
    host = request.host
    match error:
        case TimeoutError() | httpx.TimeoutException() | httpcore.TimeoutException():
            return _timeout(error, host, limits, begun=begun)
        case httpx.ConnectError() | httpcore.ConnectError():
            return _no_connection(error, host)
        case httpx.ProxyError() | httpcore.ProxyError():
            return "connect", say(
                "The proxy on the way to {host} refused the request; is its address right?", host=host
            )
        case httpx.UnsupportedProtocol() | httpcore.UnsupportedProtocol():
            return "url", say("`{url}` is no http:// or https:// address", url=address.shown(request.url))
        case UnicodeError():
            return "dns", say(
                "Cannot find the host {name}; it is no name that could exist", name=host.partition(":")[0]
            )
        case httpx.DecodingError():
            return "decode", say("{host} sent a body that cannot be decompressed", host=host)
        case httpx.LocalProtocolError() | httpcore.LocalProtocolError():
            # its text repeats the header's value, which may be a key
            return "request", say("a header has characters that cannot be sent, such as a line break in a key")
        case httpx.RemoteProtocolError() | httpcore.RemoteProtocolError() if _is_no_http(str(error)):
            return "protocol", say("{host} does not speak HTTP", host=host)
    return "connection_lost", _lost(request, begun=begun)


def _timeout(error: Exception, host: str, limits: Limits, *, begun: bool) -> tuple[str, str]:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout() | httpcore.ConnectTimeout() | httpcore.PoolTimeout():
            return "timeout_connect", say(
                "{host} did not accept a connection within {seconds} s (timeout.connect)",
                host=host,
                seconds=f"{limits.connect:g}",
            )
        case httpx.WriteTimeout() | httpcore.WriteTimeout():
            return "timeout_read", say(
                "{host} took nothing of the request for {seconds} s (timeout.read)",
                host=host,
                seconds=f"{limits.read:g}",
            )
        case StalledError() | httpx.ReadTimeout() | httpcore.ReadTimeout():
            return "timeout_read", _silence(error, host, limits, begun=begun)
    return "timeout_total", say("Longer than {seconds} s (timeout.total)", seconds=f"{limits.total:g}")


def _silence(error: Exception, host: str, limits: Limits, *, begun: bool) -> str:
    seconds, setting = _patience(limits, is_first=not begun or getattr(error, "is_first", False))
    places = {"host": host, "seconds": f"{seconds:g}", "setting": setting}
    if begun:
        return say("No data from {host} for {seconds} s ({setting})", **places)
    return say("No answer from {host} in {seconds} s ({setting})", **places)


def _patience(limits: Limits, *, is_first: bool) -> tuple[float, str]:
    """How long was waited, and the setting that says so."""
    if is_first and limits.first is not None:
        return limits.first, "timeout.first"
    return limits.read, "timeout.read"


def _is_no_http(words: str) -> bool:
    """Whether h11 could make nothing of what came; its other texts are of connections that ended early."""
    return "illegal" in words or "Receive buffer" in words


def _lost(request: Asked, *, begun: bool) -> str:
    if begun:
        return say("The connection to {host} was lost before the answer was complete", host=request.host)
    if (request.size or 0) > 2**20:
        return say(
            "{host} closed the connection without an answer; is the request of {size} MiB too large for it?",
            host=request.host,
            size=f"{(request.size or 0) / 2**20:.0f}",
        )
    return say("{host} closed the connection without an answer", host=request.host)


def _no_connection(error: Exception, host: str) -> tuple[str, str]:
    reason = str(error)
    low = reason.lower()
    if isinstance(error, UnknownHostError):
        return _no_host(host)
    if isinstance(error, UnreachableError):
        return "connect", say("There is no way to {host}; is the network up, is the address right?", host=host)
    if isinstance(error, NoTLSError):
        return _no_tls(reason, host)
    # in the errors of a proxy and of a user's own transport it stands in their text only
    if "ssl" in low or "certificate" in low or "tls" in low:
        return _no_tls(reason, host)
    if "name" in low or "nodename" in low or "getaddrinfo" in low or "address associated" in low:
        return _no_host(host)
    if address.is_loopback(host):
        return "connect", say("Nothing listens at {host}; is the server started, is the port right?", host=host)
    return "connect", say("Nothing listens at {host}; is the address right?", host=host)


def _no_host(host: str) -> tuple[str, str]:
    name = host.partition(":")[0]
    return "dns", say("Cannot find the host {name}; is the name right, is the network up?", name=name)


def _no_tls(reason: str, host: str) -> tuple[str, str]:
    if "wrong_version_number" in reason.lower() or "wrong version number" in reason.lower():
        return "tls", say("{host} does not speak TLS; did you mean http://{host} ?", host=host)
    found = re.search(r"certificate verify failed: ([^(]*)", reason)
    why = found[1].strip() if found else reason.rpartition("] ")[2].partition(" (")[0]
    if why and ("[" in reason or found):
        return "tls", say("{host} cannot be trusted: {reason}", host=host, reason=why)
    return "tls", say("{host} ended the TLS handshake; does it speak https at this port?", host=host)


# -- answers that are no success -------------------------------------------------------------------------------------------

_KINDS = {401: "auth", 403: "auth", 404: "not_found", 408: "timeout", 409: "conflict", 413: "too_large"}
_KINDS |= {429: "rate_limit", 503: "overloaded", 529: "overloaded"}


def redirect(status: int, request: Asked, *, again_and_again: bool = False) -> RequestError:
    """The sentence for a redirect that is not followed."""
    if again_and_again:
        sentence = say("{host} redirects again and again ({status})", host=request.host, status=status)
    else:
        sentence = say(
            "{host} wants to redirect ({status}); write the final address into the YAML",
            host=request.host,
            status=status,
        )
    return RequestError("redirect", sentence, status=status)


async def status_error(answer: Answer, request: Asked) -> RequestError:
    """The sentence for an answer that is no success, with the provider's own words."""
    status, body = answer.status, await answer.start_of_body()
    words = _words(body, answer.media_type)
    words = " ".join(request.redacted(words).split())[:_WORDS_SHOWN]
    reason = _status_sentence(status, request)
    parts = [f"{reason}: {words}" if words else reason]
    if status == 429 and (limits := _limits_reset(answer.headers())):
        parts.append(say("The limits are reset: {limits}", limits=request.redacted(limits)))
    return RequestError(
        _KINDS.get(status, "server" if status >= 500 else "bad_request"),
        "\n".join(parts),
        again=is_worth_it(status, answer.header),
        after=asked_to_wait(answer.header),
        reason=reason,
        status=status,
        message=_message(status, body, request),
    )


def _message(status: int, body: bytes, request: Asked) -> str:
    """The text that the peer gives as `error.message`, for documents that look into it; without host and query."""
    text = body.decode("utf-8", "replace")
    value = _json(text)
    text = plain(text)  # what a view strips must not hide a key from the redactor
    shown = text if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    path = re.sub(r"^\w+://[^/]*", "", address.shown(request.url))
    return request.redacted(f"Request failed with status {status}\nURL: {path}\nResponse: {shown}")


def _status_sentence(status: int, request: Asked) -> str:
    host, places = request.host, {"host": request.host, "status": status}
    match status:
        case 401 if len(request.key_variables) > 1:
            names = ", ".join(f"${name}" for name in request.key_variables)
            return say("{host} rejected the keys from {names} (401)", host=host, names=names)
        case 401 if request.key_variables:
            return say("{host} rejected the key from {name} (401)", host=host, name=f"${request.key_variables[0]}")
        case 401:
            return say("{host} wants a key (401)", host=host)
        case 403:
            return say("{host} does not allow this (403)", host=host)
        case 404 if request.model:
            return say(
                "{url} or the model {model} was not found (404)", url=address.shown(request.url), model=request.model
            )
        case 404:
            return say("{url} was not found (404)", url=address.shown(request.url))
        case 408:
            return say("{host} timed out (408)", host=host)
        case 413 if request.size is not None:
            return say("The request of {size} bytes is too large for {host} (413)", size=request.size, host=host)
        case 429:
            return say("Rate limited by {host} (429)", host=host)
        case 503 | 529:
            return say("{host} is overloaded ({status})", **places)
    return say("{host} answered with status {status}", **places)


_RESET = re.compile(r"(?:x-|anthropic-)?ratelimit-(?:(?:reset-)?([a-z-]+?)(?:-reset)?|reset)\Z")


def _limits_reset(headers: list[tuple[str, str]]) -> str:
    """When which limit is reset, as the server says: `requests 1s, tokens 6m0s`."""
    found = []
    for name, value in headers:
        low = name.lower()
        if "reset" in low and (match := _RESET.match(low)):
            what = match[1] if match[1] not in (None, "reset") else ""
            found.append(f"{what} {value}".strip()[:60])
    return ", ".join(dict.fromkeys(found[:6]))


def _words(body: bytes, media_type: str) -> str:
    """The provider's words in an error body."""
    text = body.decode("utf-8", "replace")
    if "html" in media_type:
        return plain(page_words(text))
    return plain(error_message(_json(text)) or "")  # what a view strips must not hide a key from the redactor


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text[:_WORDS_SHOWN]
