"""Events as server-sent messages (html.spec.whatwg.org, 9.2): the output of a run, and everything it says.

Text goes out as lines of `data:`; line ends, CR and CRLF among them, become LF. Everything else is JSON on one line. U+2028 and
U+0085 are ordinary characters in both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from composemagic.engine.events import (
    Answered,
    Delta,
    Event,
    Interrupted,
    JobFailed,
    JobFinished,
    JobRouted,
    JobSkipped,
    JobStarted,
    JobStopped,
    Notice,
    Resumed,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    Waiting,
)
from composemagic.server.answers import failure, json_text, point
from composemagic.server.log import Numbered
from composemagic.server.tasks import Task
from composemagic.words import say

__all__ = ["HEARTBEAT", "EventMessages", "Messages", "OutputMessages", "Raw", "message"]

HEARTBEAT = b":\n\n"
QUEUE = 2**18  # bytes that are written at a time: what a client that does not read keeps of our memory

_JOBS: dict[type, str] = {
    JobStarted: "running",
    JobFinished: "done",
    JobRouted: "routed",
    JobSkipped: "skipped",
    JobFailed: "failed",
    JobStopped: "stopped",
}


def message(event: str, data: str, number: int | None = None) -> str:
    """One message with JSON in it."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {event}\ndata: {data}\n\n"


class Messages(ABC):
    """Makes bytes of a task's events, for one reader. `broken` is set by an end that must not look like one."""

    media_type = "text/event-stream; charset=utf-8"
    heartbeat = HEARTBEAT
    broken = False

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def written(self, events: list[Numbered]) -> bytes:
        """The bytes of some events, in their order."""

    def unbegun(self) -> bytes:
        """What a reader is told of a run that never began; its number keeps an EventSource from coming again and again."""
        return message("error", json_text(_error(self.task)), 1).encode()

    def forgotten(self) -> bytes:
        """What a reader is told who wants to go on where nothing is kept any more."""
        told = {
            "kind": "forgotten",
            "message": say("What came after this message is not kept any more; read from the start."),
        }
        return message("error", json_text({**told, "task_id": self.task.id})).encode()


class OutputMessages(Messages):
    """The output: default messages, then `end` or `error`. With `ids` a reader can go on after a break."""

    def __init__(self, task: Task, *, ids: bool = True) -> None:
        super().__init__(task)
        self._ids = ids
        self._after_cr = False

    def written(self, events: list[Numbered]) -> bytes:
        parts: list[str] = []
        for number, event in events:
            if type(event) is Delta:
                if not event.path and self.task.streams:
                    self._say(parts, number, event.value)
            elif told := self._other(number, event):
                parts.append(told)
        return "".join(parts).encode()

    def _say(self, parts: list[str], number: int, value: Any) -> None:
        text = value if type(value) is str else json_text(value, self.task)
        if "\n" in text or "\r" in text or self._after_cr:
            if self._after_cr and text == "\n":  # the other half of a CRLF that was cut in two
                self._after_cr = False
                return
            text = self._in_lines(text)
        parts.append(f"id: {number}\ndata: {text}\n\n" if self._ids else f"data: {text}\n\n")

    def _in_lines(self, text: str) -> str:
        """A text of several lines, as lines of data."""
        whole = text[1:] if self._after_cr and text.startswith("\n") else text
        self._after_cr = text.endswith("\r")
        return whole.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")

    def _other(self, number: int, event: Event) -> str:
        task = self.task
        shown = number if self._ids else None
        match event:
            case RunFinished() if task.run is not None:
                return self._whole(number) + message("end", json_text(_end(task), task), shown)
            case RunFailed() | RunStopped():
                return message("error", json_text(_error(task), task), shown)
            case Interrupted(points):
                return message("interrupted", json_text({"points": [point(one) for one in points]}, task), shown)
            case Resumed(names):
                return message("resumed", json_text({"points": list(names)}, task), shown)
        return ""

    def _whole(self, number: int) -> str:
        """The output of a run that did not stream, as one message."""
        run = self.task.run
        if run is None or run.is_stream or run.output is None:
            return ""
        parts: list[str] = []
        ids, self._ids = self._ids, False  # the number is that of the end: after a break both come again
        self._say(parts, number, run.output)
        self._ids = ids
        return "".join(parts)


class EventMessages(Messages):
    """Everything a run says, each with its name and as JSON."""

    def written(self, events: list[Numbered]) -> bytes:
        return "".join(self._messages(events)).encode()

    def _messages(self, events: list[Numbered]) -> Iterable[str]:
        for number, event in events:
            name, told = told_of(event, self.task)
            yield message(name, json_text(told, self.task), number)


def told_of(event: Event, task: Task) -> tuple[str, dict[str, Any]]:
    """An event's name and what it says."""
    match event:
        case Delta(value, job, path):
            return "delta", {"value": value, "job": job, "path": path}
        case RunStarted():
            told = {"task_id": task.id, "workflow_id": task.workflow_id, "title": task.workflow.title}
            return "started", told
        case Notice(sentence):
            return "notice", {"sentence": sentence}
        case Answered(model, local, instead_of):
            return "answered", {"model": model, "local": local, "instead_of": instead_of}
        case Waiting(seconds, reason, attempt, of, job):
            return "waiting", {"seconds": seconds, "reason": reason, "attempt": attempt, "of": of, "job": job}
        case Interrupted(points):
            return "interrupted", {"points": [{**point(one), "value": one.value} for one in points]}
        case Resumed(names):
            return "resumed", {"points": list(names)}
        case RunFinished(output, at):
            return "end", {**_end(task), "output": output, "seconds": at}
        case RunFailed(_, output, at) | RunStopped(output, at):
            return "error", {**_error(task), "output": output, "seconds": at}
    return "job", _job(event)


def _job(event: Any) -> dict[str, Any]:
    told = {"job": event.job, "status": _JOBS[type(event)], "at": event.at}
    return {**told, "to": event.to} if isinstance(event, JobRouted) else told


def _end(task: Task) -> dict[str, Any]:
    assert task.run is not None
    run = task.run
    usage = None if run.usage is None else dict(run.usage)
    told = {"status": task.status, "usage": usage, "model": run.model, "text_length": len(run.text)}
    return {**told, "task_id": task.id}


def _error(task: Task) -> dict[str, Any]:
    error = failure(task)
    assert error is not None
    return {"kind": error.kind, "message": error.sentence, "task_id": task.id}


class Raw(Messages):
    """The bytes of an output that is a stream of bytes. One that breaks has no end."""

    media_type = "application/octet-stream"
    heartbeat = b""

    def written(self, events: list[Numbered]) -> bytes:
        parts: list[bytes] = []
        for _, event in events:
            if isinstance(event, RunFailed | RunStopped):
                self.broken = True
            elif type(event) is Delta and not event.path:
                parts.append(self._bytes(event.value))
        return b"".join(parts)

    def forgotten(self) -> bytes:
        self.broken = True
        return b""

    def _bytes(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        return (value if isinstance(value, str) else json_text(value, self.task)).encode()
