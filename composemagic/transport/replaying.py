"""Replay: a recording in the place of the network. Nothing goes out; what was not recorded is an error that says what differs."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from composemagic.errors import RunError
from composemagic.language.secret import is_secret
from composemagic.transport.differences import nearest, told
from composemagic.transport.exchange import EMBEDDED, Exchange
from composemagic.transport.recording import Recorded, Recording
from composemagic.transport.retry import RequestError
from composemagic.words import say

__all__ = ["Embedded", "Keyless", "Replay"]

_KEY = "composemagic-replay-needs-no-key"


class Replay(httpx.AsyncBaseTransport):
    """Answers from a recording, `speed` times as fast as it was, or at once where that is None.

    A request that was recorded several times gets its answers in their order, and then the last one again.
    """

    def __init__(self, recording: Recording, speed: float | None = 1.0) -> None:
        self.recording = recording
        self._speed = speed
        self._known: dict[str, list[Recorded]] = {}
        self._given: dict[str, int] = {}
        for one in recording.exchanges:
            self._known.setdefault(_known_by(one.request), []).append(one)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The recorded answer. Raises RunError of kind `replay` where there is none, and the fault where that was recorded."""
        begun = asyncio.get_running_loop().time()
        await request.aread()
        exchange: Exchange = request.extensions["exchange"]
        found = self._next(exchange.request)
        if found.status is None:
            await self.until(begun, found.ended)
            raise _fault(found)
        await self.until(begun, found.answered)
        headers = [(name.encode(), value.encode("utf-8", "replace")) for name, value in found.headers.items()]
        return httpx.Response(found.status, headers=headers, stream=_Played(found, self, begun))

    def _next(self, request: Mapping[str, Any]) -> Recorded:
        key = _known_by(request)
        if key not in self._known:
            raise RunError("replay", self._unknown(request))
        at = self._given.get(key, 0)
        self._given[key] = at + 1
        return self._known[key][min(at, len(self._known[key]) - 1)]

    def _unknown(self, request: Mapping[str, Any]) -> str:
        file = self.recording.name
        if not self.recording.exchanges:
            return say("{file} holds no recording", file=file)
        known = [one.request for one in self.recording.exchanges]
        if any(_is_the_other_way(one, request) for one in known) and not any(
            _is_embedded(one) is _is_embedded(request) for one in known
        ):
            if _is_embedded(request):
                return say("{file} was recorded without `--local` (`local=True`): replay it without, too", file=file)
            return say(
                "{file} was recorded with the embedded model: replay it with `--local` (`local=True`)", file=file
            )
        found = nearest(known, request)
        return say("no recording in {file} fits this request: {differences}", file=file, differences=told(found))

    async def until(self, begun: float, seconds: float) -> None:
        """Wait until so many seconds of the recording have passed."""
        if self._speed is None:
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(begun + seconds / self._speed - asyncio.get_running_loop().time())


class _Played(httpx.AsyncByteStream):
    """A recorded answer's body."""

    def __init__(self, found: Recorded, replay: Replay, begun: float) -> None:
        self._found = found
        self._replay = replay
        self._begun = begun

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at, data in self._found.pieces:
            await self._replay.until(self._begun, at)
            yield data
        await self._replay.until(self._begun, self._found.ended)
        if self._found.fault is not None:
            raise _fault(self._found)

    async def aclose(self) -> None:
        """Nothing is open."""


def _fault(found: Recorded) -> RunError:
    fault = found.fault or {}
    after = fault.get("after")
    return RequestError(
        fault["kind"],
        fault["sentence"],
        again=bool(fault.get("again")),
        after=after if isinstance(after, int | float) and math.isfinite(after) else None,
    )


def _is_embedded(request: Mapping[str, Any]) -> bool:
    return str(request.get("url")).startswith(f"{EMBEDDED}/")


def _is_the_other_way(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two requests ask for the same, one of them the embedded model and the other one somebody else."""
    if not _is_embedded(one):
        one, other = other, one
    asked = str(one.get("url")).removeprefix(EMBEDDED)
    address = str(other.get("url")).partition("?")[0].rstrip("/")
    return _is_embedded(one) and not _is_embedded(other) and address.endswith(asked)


def _known_by(request: Mapping[str, Any]) -> str:
    return json.dumps([_one_spelling(request.get(key)) for key in ("method", "url", "body")], sort_keys=True)


def _one_spelling(value: Any) -> Any:
    """JSON has one number where Python has 1 and 1.0."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {str(key): _one_spelling(inner) for key, inner in value.items()}
        case list():
            return [_one_spelling(inner) for inner in value]
    return value


# -- what else is needed where nothing goes out ------------------------------------------------------------------------------


class Keyless(Mapping[str, str]):
    """Variables with something in the place of each secret that is not set: none is sent anywhere."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def __getitem__(self, name: str) -> str:
        try:
            return self._env[name]
        except KeyError:
            if is_secret(name, ""):
                return _KEY
            raise

    def __contains__(self, name: object) -> bool:
        return name in self._env or (isinstance(name, str) and is_secret(name, ""))

    def origin(self, name: str) -> str:
        """Where a variable comes from, in words; empty where there is none."""
        return str(getattr(self._env, "origin", lambda _: "")(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


@dataclass(slots=True)
class Embedded:
    """The embedded model's address in a recording, in which it answered."""

    name: str
    url: str = EMBEDDED
    key: str = _KEY

    @classmethod
    def of(cls, recording: Recording) -> Embedded:
        """The address, under the name of the model that was recorded."""
        return cls(next((one.local for one in recording.exchanges if one.local), ""))
