"""Recordings: what was answered, one exchange a line of JSON, without secrets.

    {"id": 1, "request": {"method": "POST", "url": "https://...", "body": {...}}, "status": 200,
     "headers": {"content-type": "text/event-stream"}, "answered": 0.21,
     "messages": [[0.25, "data: ...\\n\\n"], [0.27, "data: [DONE]\\n\\n"]], "ended": 0.28}

Times are seconds since the request was sent. `messages` are the pieces of a stream, `body` an answer that came whole; what is
no UTF-8 stands as `{"base64": ...}`. `fault` says what went wrong on the way, `local` which embedded model answered. Of the
request only what it is known by is kept, and no header; of the answer's headers those that mean something for it.
"""

from __future__ import annotations

import base64
import json
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composemagic.errors import RunError, UsageError
from composemagic.transport.exchange import ANSWER_LIMIT, Exchange
from composemagic.words import say

__all__ = ["Recorded", "Recorder", "Recording", "read"]

_HEADERS = ("content-type", "location", "retry-after", "retry-after-ms", "x-should-retry")
_BEGINNING = b'{"id": '
_ABOUT_RATES = ("ratelimit", "x-ratelimit", "anthropic-ratelimit")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One exchange of a recording; times are seconds since the request was sent.

    `status` None: there was no answer but a fault. `fault` has the `kind` and the `sentence` of what went wrong, at `ended`.
    """

    request: Mapping[str, Any]
    status: int | None
    headers: Mapping[str, str]
    answered: float
    pieces: tuple[tuple[float, bytes], ...]
    ended: float
    fault: Mapping[str, Any] | None = None
    local: str | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file holds, and what its user should know of it."""

    name: str
    exchanges: tuple[Recorded, ...]
    notes: tuple[str, ...] = field(default=())


# -- writing -------------------------------------------------------------------------------------------------------------


class Recorder:
    """Adds each exchange to the end of a file, a line at a time.

    Raises UsageError where the file cannot be written, or holds something else, such as a notebook.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            with path.open("ab+") as file:
                file.seek(0)
                if not _is_ours(next((line for line in file if line.strip()), b"")):
                    raise UsageError(say("`{path}` is no recording, so nothing is added to it", path=path))
                file.seek(0)
                self._count = sum(1 for line in file if line.endswith(b"\n"))
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                self._is_broken = file.read(1) not in (b"", b"\n")
        except OSError as error:
            raise UsageError(
                say("the recording `{path}` cannot be written: {reason}", path=path, reason=_reason(error))
            ) from None

    def __call__(self, exchange: Exchange) -> None:
        """Write an exchange that is over. Raises RunError where it cannot be."""
        if not exchange.is_whole:
            limit = ANSWER_LIMIT // 2**20
            raise RunError("recording", say("an answer of more than {limit} MiB is not recorded", limit=limit))
        with self._lock:
            line = json.dumps({"id": self._count + 1, **_facts(exchange)}, ensure_ascii=False)
            data = b"\n" * self._is_broken + line.encode("utf-8", "backslashreplace") + b"\n"
            try:
                self._append(data)
            except OSError as error:
                raise RunError(
                    "recording",
                    say("the recording `{path}` cannot be written: {reason}", path=self.path, reason=_reason(error)),
                ) from None
            self._count, self._is_broken = self._count + 1, False

    def _append(self, data: bytes) -> None:
        """One write at the end: two programs that record into one file do not cut each other's lines."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            while data:
                data = data[os.write(file, data) :]
        finally:
            os.close(file)


def _is_ours(line: bytes) -> bool:
    """Whether a file may be a recording that begins with this line, which may have been cut off while it was written."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith(_BEGINNING[: len(line)])
    return isinstance(found, dict) and "request" in found


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _facts(exchange: Exchange) -> dict[str, Any]:
    since = exchange.at
    facts: dict[str, Any] = {"job": exchange.job, "request": exchange.request}
    if exchange.status is not None and exchange.answered_at is not None:
        facts |= {
            "status": exchange.status,
            "headers": _few(exchange),
            "answered": _round(exchange.answered_at - since),
        }
        rows = exchange.rows()
        if exchange.is_stream:
            facts["messages"] = [[_round(at - since), _written(data)] for at, data in rows]
        elif rows:
            facts["body"] = _written(b"".join(data for _, data in rows))
    facts["ended"] = _round((exchange.ended_at or since) - since)
    if exchange.fault is not None:
        kind, sentence = exchange.fault
        facts["fault"] = {"kind": kind, "sentence": sentence, "again": exchange.again, "after": exchange.after}
    if exchange.is_local and isinstance(exchange.body, dict):
        facts["local"] = exchange.body.get("model")
    return facts


def _few(exchange: Exchange) -> dict[str, str]:
    found = ((name.lower(), value) for name, value in exchange.answer_headers)
    return {name: value for name, value in found if name in _HEADERS or name.startswith(_ABOUT_RATES)}


def _round(seconds: float) -> float:
    return round(max(0.0, seconds), 4)


def _written(data: bytes) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


# -- reading -------------------------------------------------------------------------------------------------------------


def read(path: Path) -> Recording:
    """The recording of a file. Raises UsageError for one that cannot be read, or that holds a line that is no exchange."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise UsageError(say("there is no recording `{path}`", path=path)) from None
    except OSError as error:
        raise UsageError(
            say("the recording `{path}` cannot be read: {reason}", path=path, reason=_reason(error))
        ) from None
    exchanges, notes = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            exchanges.append(_read(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            # somebody was cut off while writing: as the last line, or with others behind it
            notes.append(say("line {number} of {file} is no recording and was skipped", number=number, file=path.name))
    return Recording(path.name, tuple(exchanges), tuple(notes))


def _read(facts: Mapping[str, Any]) -> Recorded:
    request, fault, ended = facts["request"], facts.get("fault"), _seconds(facts.get("ended", 0))
    if not isinstance(request["url"], str) or not ("status" in facts or isinstance(fault, dict)):
        raise ValueError(facts)
    pieces = [(_seconds(at), _data(text)) for at, text in facts.get("messages", ())]
    if facts.get("body") is not None:
        pieces.append((ended, _data(facts["body"])))
    return Recorded(
        {key: request.get(key) for key in ("method", "url", "body")},
        None if facts.get("status") is None else int(facts["status"]),
        {str(name): str(value) for name, value in facts.get("headers", {}).items()},
        _seconds(facts.get("answered", ended)),
        tuple(pieces),
        ended,
        fault if fault is None else {"kind": str(fault["kind"]), "sentence": str(fault["sentence"]), **fault},
        facts.get("local"),
    )


def _seconds(written: Any) -> float:
    """A time that can be waited for: a loop that is told to wait for NaN wakes nobody any more."""
    seconds = float(written)
    if not math.isfinite(seconds):
        raise ValueError(written)
    return max(0.0, seconds)


def _data(written: Any) -> bytes:
    return base64.b64decode(written["base64"]) if isinstance(written, dict) else str(written).encode()
