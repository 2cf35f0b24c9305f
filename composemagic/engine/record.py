"""What a run has said, kept for late readers and handed on to present ones.

Events are added and readers are called on the run's loop only, so that neither needs a lock; a look at `events` from
another thread does. `Inbox` is where a reader with a thread or a loop of its own takes them from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from itertools import groupby

from composemagic.engine.events import Delta, Event, RunFailed, RunFinished, RunStopped

__all__ = ["Inbox", "Reader", "Record", "is_last"]

Reader = Callable[[list[Event]], None]
Path = tuple[str | int, ...]

_KEPT_APART = 512
_LAG = 4096
_PIECE = 65536


class Record:
    """The events of one run. `joins`: neighbouring pieces of text may be kept, and handed to who lags, as one.

    `apart` are the places in the output whose pieces are values of their own.
    """

    def __init__(self) -> None:
        self.joins = True
        self.apart: set[tuple[str | int, ...]] = set()
        self._said: list[Event] = []
        self._recent: list[Delta] = []
        self._waiting: list[Event] = []
        self._readers: list[Reader] = []
        self._has_past = False
        self._lock = threading.Lock()

    @property
    def events(self) -> list[Event]:
        """All there were so far. Callable from any thread."""
        with self._lock:
            return [*self._said, *self._recent]

    def say(self, event: Event) -> None:
        """Add an event that stays as it is."""
        with self._lock:
            self._keep_recent()
            self._said.append(event)
        self._waiting.append(event)

    def stream(self, deltas: list[Delta]) -> None:
        """Add deltas."""
        with self._lock:
            self._recent += deltas
            if len(self._recent) > _KEPT_APART:
                self._keep_recent()
        self._waiting += deltas

    def flush(self, complain: Callable[[Exception], None]) -> None:
        """Hand what is new to the readers. One that raises is told to `complain` and called no more."""
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        self._has_past = True
        for reader in tuple(self._readers):
            self._hand(reader, batch, complain)

    def attach(self, reader: Reader, complain: Callable[[Exception], None]) -> None:
        """Hand a reader all there was, and from now on what comes.

        Where none of it has been handed on yet, it waits as it did: waking a reader's thread would hold up the request.
        """
        if not self._readers and not self._has_past:
            self._readers.append(reader)
            return
        self.flush(complain)
        self._readers.append(reader)
        if past := self.events:
            self._hand(reader, past, complain)

    def detach(self, reader: Reader) -> None:
        """Call a reader no more."""
        if reader in self._readers:
            self._readers.remove(reader)

    def _hand(self, reader: Reader, batch: list[Event], complain: Callable[[Exception], None]) -> None:
        try:
            reader(batch)
        except Exception as error:
            self.detach(reader)
            complain(error)

    def _keep_recent(self) -> None:
        if not self._recent:
            return
        recent, self._recent = self._recent, []
        self._said += joined(recent, self.apart) if self.joins else recent


class Inbox:
    """Events on their way to a reader that takes them when it can, from another thread.

    One that lags more than 4,096 events behind gets neighbouring pieces of text as one: waiting must not cost an object
    a chunk.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._events: list[Event] = []
        self._limit = _LAG
        self._lock = threading.Lock()

    def put(self, batch: list[Event]) -> None:
        """Add events at the end."""
        with self._lock:
            self._events += batch
            if len(self._events) > self._limit and self._record.joins:
                self._events = joined(self._events, self._record.apart)
                self._limit = _LAG + 2 * len(self._events)  # what cannot be joined is not looked at for every batch

    def take(self) -> list[Event]:
        """All that is there."""
        with self._lock:
            events, self._events, self._limit = self._events, [], _LAG
        return events


def joined(events: Iterable[Event], apart: Collection[Path] = ()) -> list[Event]:
    """The events with neighbouring pieces of one text as one; not at the places `apart`."""
    found: list[Event] = []
    for text, group in groupby(events, _text_of_piece):
        if text is None or text[1] in apart:
            found += group
        else:
            found.append(Delta("".join([event.value for event in group if isinstance(event, Delta)]), *text))
    return found


def _text_of_piece(event: Event) -> tuple[str, Path] | None:
    """What neighbouring pieces of one text have in common; a piece that is long by now is not copied again."""
    if type(event) is Delta and type(event.value) is str and len(event.value) < _PIECE:
        return event.job, event.path
    return None


def is_last(event: Event) -> bool:
    """Whether nothing comes after this event."""
    return isinstance(event, RunFinished | RunFailed | RunStopped)
