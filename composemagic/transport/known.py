"""Which secrets there are, where each comes from and where it may go: names and hosts, never a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from composemagic.allowance import destination, granted, take_back
from composemagic.errors import UsageError
from composemagic.language.secret import is_secret
from composemagic.transport import remembered
from composemagic.transport.binding import own_hosts
from composemagic.words import say

__all__ = ["Known", "known", "lines", "told"]


class Known(NamedTuple):
    """A secret's name, where it comes from in words (empty: it is not set), and where it may go."""

    name: str
    origin: str
    hosts: tuple[str, ...]


def known(env: Mapping[str, Any]) -> list[Known]:
    """The secrets among some variables, and those about which something is remembered or allowed, by name."""
    names = {name for name in env if is_secret(name, str(env[name]))}
    names |= {one.name for one in remembered.answers()} | {name for name, _, _ in granted()}
    origin = getattr(env, "origin", lambda name: "")
    return [Known(name, origin(name), tuple(_hosts(name, env))) for name in sorted(names)]


def _hosts(name: str, env: Mapping[str, Any]) -> Iterator[str]:
    yield from dict.fromkeys(own_hosts(name, env))
    for one in remembered.answers():
        if one.name == name:
            yield say("{where} (you said yes)", where=_where(one.origin, one.place))
    for found, where, place in granted():
        if found == name:
            yield say("{where} (allowed here)", where=_where(where, place))


def _where(origin: str, place: str) -> str:
    return origin if place == "header" else f"{origin} [{place}]"


def lines(secrets: list[Known]) -> str:
    """The secrets as a text: a line for each, and one for each host."""
    if not secrets:
        return say("no variable here looks like a secret")
    found = []
    for secret in secrets:
        found.append(f"{secret.name}  {secret.origin or say('not set')}")
        found += [f"  → {host}" for host in secret.hosts or (say("no host is known as its own: it is asked for"),)]
    return "\n".join(found)


def told(words: Sequence[str], env: Mapping[str, Any]) -> str:
    """What `secrets` and `secrets forget NAME [HOST]` say. Raises UsageError for other words."""
    match words:
        case []:
            return lines(known(env))
        case ["forget", name]:
            return _forgotten(name, None)
        case ["forget", name, host]:
            return _forgotten(name, destination(host))
    raise UsageError(say("write `secrets`, `secrets forget NAME` or `secrets forget NAME HOST`"))


def _forgotten(name: str, where: str | None) -> str:
    """Take back what was said about a secret, or about it and one host."""
    try:
        count = remembered.forget(name, where)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(say("`{file}` cannot be written: {reason}", file=remembered.file(), reason=reason)) from None
    allowed = any(one == name and where in (None, host) for one, host, _ in granted())
    take_back(name, where)
    if not count and not allowed:
        return say("nothing was remembered about `{name}`", name=name)
    return say("forgotten: where `{name}` may go is asked again", name=name)
