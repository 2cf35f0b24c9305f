"""Addresses: how values are written into one, and which ones are never asked.

Values are percent-encoded (RFC 3986), so that only a `?`, `#`, `/` or `@` that the author wrote has its meaning. Link-local
addresses and the metadata services of clouds, which give keys to whoever asks, are refused in every spelling that `inet_aton`
reads, and again after a name was resolved.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote

from composemagic.errors import RunError
from composemagic.words import say

__all__ = ["allowed", "check_host", "ip_in", "is_loopback", "shown", "spell_in_address", "spell_in_path"]

_AUTHORITY = re.compile(r"[^/?#]*://[^/?#]*")
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_REFUSED = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local (RFC 3927); AWS, Azure, Google, DigitalOcean, Tencent
        "fe80::/10",  # link-local (RFC 4291)
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "168.63.129.16/32",  # Azure's wire server
    )
)
_NAT64 = ip_network("64:ff9b::/96")


def spell_in_path(value: str, before: str) -> str:
    """A value as it stands in a `path` behind the literal text `before`; one that begins it may have several segments."""
    if "?" not in before:
        _refuse_dots(value)
    return quote(value, safe="" if before.strip("/") else "/")


def spell_in_address(value: str, before: str) -> str:
    """A value as it stands in a whole URL: one that begins it is the URL, one before the path may have a port."""
    if not before:
        return value
    if _AUTHORITY.fullmatch(before):
        return quote(value, safe=":[]")
    if "?" not in before:
        _refuse_dots(value)
    return quote(value, safe="")


def _refuse_dots(value: str) -> None:
    """`..` means the folder above in every spelling, `%2E%2E` too: encoding it would not help."""
    if any(segment in (".", "..") for segment in value.split("/")):
        raise RunError("request", say("a value of `.` or `..` cannot stand in a path"))


def check_host(host: str) -> None:
    """Raise RunError for a host that is never asked."""
    name = host.strip("[]").rstrip(".").lower()
    address = ip_in(name)
    if name in _METADATA_NAMES or (address is not None and _is_refused(address)):
        raise _never_asked(host)


def allowed(host: str, addresses: Sequence[str]) -> list[str]:
    """Those of a host's addresses that may be connected to. Raises RunError where there are only others."""
    found = [one for one in addresses if (address := ip_in(one.partition("%")[0])) is None or not _is_refused(address)]
    if addresses and not found:
        raise _never_asked(host)
    return found


def _is_refused(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _REFUSED)


def _never_asked(host: str) -> RunError:
    return RunError(
        "address", say("{host} is link-local or a cloud's metadata service, which composemagic never asks", host=host)
    )


@lru_cache(maxsize=64)  # a workflow asks the same few hosts again and again
def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = re.sub(r":\d*$", "", host) if host.startswith("[") or host.count(":") < 2 else host
    address = ip_in(name.strip("[]"))
    return address.is_loopback if address is not None else name == "localhost"


def shown(url: str) -> str:
    """The URL as a message may show it: without user, password, query and fragment, at most 200 characters."""
    return re.sub(r"(?<=//)[^/?#]*@|[?#].*", "", url, flags=re.DOTALL)[:200]


def ip_in(name: str) -> IPv4Address | IPv6Address | None:
    """The IP address that is written here, unwrapped where IPv6 holds an IPv4 one; None for a name."""
    try:
        address = ip_address(name)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(name))  # 2852039166, 0xa9fea9fe, 0251.0376.0251.0376, 169.254.43518
        except (OSError, ValueError):
            return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address.sixtofour or _in_nat64(address) or address
    return address


def _in_nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
