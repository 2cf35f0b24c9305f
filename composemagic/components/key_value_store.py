"""`type: key-value-store`: keeps values under keys, for a cache, a session, or what one run leaves for the next.

`driver: memory` lives as long as the loaded workflow: every run of it sees the same store, a workflow loaded anew (a cell that
is run again) has an empty one. `driver: sqlite` keeps a file in the folder of the document, which other programs can read.

    workflows:
      - id: remember
        job: {component: notes, action: write}
      - id: recall
        job: {component: notes, action: read, output: "${output.value}"}
    component:
      id: notes
      type: key-value-store
      driver: sqlite
      path: notes.sqlite
      actions:
        - {id: write, method: set, key: "note:${input.name}", value: "${input.note}", ttl: 1d}
        - {id: read, method: get, key: "note:${input.name}"}

| setting of the component | what it says |
|---|---|
| `driver` | memory, which it is where nothing is said, or sqlite |
| `path` | sqlite: the file, `kv-store.sqlite` where nothing is said; `:memory:` is `driver: memory` |
| `table` | sqlite: the table in it, `kv_store` where nothing is said |

| setting of the action | what it says |
|---|---|
| `method` | get, set, delete or exists |
| `key` | a key, or a list of keys, which gives a list of answers |
| `value` | set: anything; a list of as many values for a list of keys |
| `ttl` | set: how long it is kept, in seconds or as a text such as `5m`; for ever where nothing is said |

The answers are `{key, value}` (null for a key that is not there), `{key, success}`, `{key, deleted}` and `{key, exists}`.
A value comes back as it was given; a file holds what JSON can write. Source of `output`: `result`.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from pathlib import Path
from time import time
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from composemagic.components.busy import when_free
from composemagic.components.given import Given, misfits, seconds
from composemagic.errors import RunError, suggest
from composemagic.language.casts import CastError, to_text
from composemagic.text import clean
from composemagic.words import say
from composemagic.workflow.component import Action, Component, Context, Settings, SettingsModel, Value
from composemagic.workflow.schema import kind

__all__ = ["KeyValueStore"]

T = TypeVar("T")

_METHODS = ("get", "set", "delete", "exists")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Store(Protocol):
    """Values by key; a value that has run out is not there."""

    async def use(self, act: Callable[[], T]) -> T:
        """Do one of the things below, when its time has come."""

    def get(self, keys: Sequence[str]) -> list[Any]:
        """The values, None for each that is not there."""

    def set(self, values: Mapping[str, Any], ttl: float | None) -> None:
        """Keep values for so many seconds, None for ever."""

    def delete(self, keys: Sequence[str]) -> list[bool]:
        """Forget values; whether each was there."""

    def exists(self, keys: Sequence[str]) -> list[bool]:
        """Whether each value is there."""


class MemoryStore:
    """A store in this process. What is kept and what is given are copies: nobody changes the store from outside."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, float | None]] = {}

    async def use(self, act: Callable[[], T]) -> T:
        return act()

    def get(self, keys: Sequence[str]) -> list[Any]:
        self._forget()
        return [deepcopy(self._kept[key][0]) if key in self._kept else None for key in keys]

    def set(self, values: Mapping[str, Any], ttl: float | None) -> None:
        self._forget()
        until = None if ttl is None else time() + ttl
        self._kept |= {key: (deepcopy(value), until) for key, value in values.items()}

    def delete(self, keys: Sequence[str]) -> list[bool]:
        self._forget()
        return [self._kept.pop(key, None) is not None for key in keys]

    def exists(self, keys: Sequence[str]) -> list[bool]:
        self._forget()
        return [key in self._kept for key in keys]

    def _forget(self) -> None:
        now = time()
        for key in [key for key, (_, until) in self._kept.items() if until is not None and until <= now]:
            del self._kept[key]


class SqliteStore:
    """A store in a file. It is open only while it is used: nothing is left to close, other programs may use it in between."""

    def __init__(self, path: Path, table: str) -> None:
        self.path = path
        self.table = table

    async def use(self, act: Callable[[], T]) -> T:
        return await when_free(act, self.path, sqlite3.Error)

    def get(self, keys: Sequence[str]) -> list[Any]:
        with self._open() as file:
            found = [self._value(file, key) for key in keys]
        return [None if text is None else _read(text) for text in found]

    def set(self, values: Mapping[str, Any], ttl: float | None) -> None:
        until = None if ttl is None else time() + ttl
        rows = [(key, _written(value), until) for key, value in values.items()]
        with self._open() as file:
            file.execute(f"DELETE FROM {self.table} WHERE expires_at <= ?", (time(),))
            file.executemany(f"INSERT OR REPLACE INTO {self.table} (key, value, expires_at) VALUES (?, ?, ?)", rows)

    def delete(self, keys: Sequence[str]) -> list[bool]:
        with self._open() as file:
            return [self._delete(file, key) for key in keys]

    def exists(self, keys: Sequence[str]) -> list[bool]:
        with self._open() as file:
            return [self._value(file, key) is not None for key in keys]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The open file, in a transaction that ends with the block."""
        with closing(sqlite3.connect(self.path, timeout=0)) as file, file:
            file.execute(
                f"CREATE TABLE IF NOT EXISTS {self.table} (key TEXT PRIMARY KEY, value TEXT NOT NULL, expires_at REAL)"
            )
            yield file

    def _value(self, file: sqlite3.Connection, key: str) -> str | None:
        wanted = f"SELECT value FROM {self.table} WHERE key = ? AND (expires_at IS NULL OR expires_at > ?)"
        row = file.execute(wanted, (key, time())).fetchone()
        return None if row is None else str(row[0])

    def _delete(self, file: sqlite3.Connection, key: str) -> bool:
        was_there = self._value(file, key) is not None
        file.execute(f"DELETE FROM {self.table} WHERE key = ?", (key,))
        return was_there


def _written(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError("input", say("`value` cannot be written into a file: {why}", why=error)) from None


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # another program's: texts without quotes
        return text


# -- the component -------------------------------------------------------------------------------------------------------


class StoreSettings(Settings):
    """The table at the top of this page says what each is for; those in the last two lines are for `driver: redis`."""

    driver: Literal["memory", "sqlite", "redis"] | None = None
    path: str | None = None
    table: str | None = None
    url: Any = None
    host: Any = None
    port: Any = None
    secure: Any = None
    database: Any = None
    password: Any = None


class StoreAction(Settings):
    """The table at the top of this page says what each is for. `batch_size` is the peer's: here all keys go at once."""

    method: Literal["get", "set", "delete", "exists"]
    key: Any
    value: Any = None
    ttl: Any = None
    batch_size: Any = None


class KeyValueStore(Component):
    """Keeps values under keys. Source for `output`: `result`."""

    type: ClassVar[str] = "key-value-store"
    settings: ClassVar[SettingsModel] = StoreSettings
    action: ClassVar[SettingsModel] = StoreAction

    def __init__(self) -> None:
        self._memory = MemoryStore()

    @classmethod
    def not_run(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
        """The driver that asks a server."""
        return _no_redis() if settings.get("driver") == "redis" else None

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        yield from misfits(settings, {"table": _table})
        yield from misfits(action, {"ttl": seconds})
        if action.get("method") == "set":
            if "value" not in action:
                yield say("`method: set` needs `value`"), "method"
        elif action.get("method") in _METHODS:
            for key in ("value", "ttl"):
                if key in action:
                    yield say("`{key}` belongs to `method: set`", key=key), key, True

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Yield one Value: the answer, or a list of answers for a list of keys."""
        given = Given(action, context)
        store = await self._store(given, context)
        method = str(await given.get("method"))
        key = await given.get("key")
        keys = [_key(each) for each in (key if isinstance(key, list) else [key])]
        if method == "set":
            value, ttl = await given.get("value"), await given.get("ttl", seconds)
            values = _paired(keys, value, is_list=isinstance(key, list))
            await store.use(lambda: store.set(values, ttl))
            answers = [{"key": each, "success": True} for each in keys]
        else:
            word, ask = _asking(store, method)
            found = await store.use(lambda: ask(keys))
            answers = [{"key": each, word: one} for each, one in zip(keys, found, strict=True)]
        yield Value(answers if isinstance(key, list) else answers[0])

    async def _store(self, given: Given, context: Context) -> Store:
        driver, path = await given.get("driver", default="memory"), await given.get("path", default="kv-store.sqlite")
        if driver == "redis":
            raise RunError("driver", _no_redis())
        if driver == "memory" or path == ":memory:":
            return self._memory
        if driver != "sqlite":
            raise RunError("driver", say("`driver` is memory or sqlite, not {given}", given=kind(driver)))
        return SqliteStore(context.file(str(path)), await given.get("table", _table, "kv_store"))


def _asking(store: Store, method: str) -> tuple[str, Any]:
    """The word of the answer, and what asks the store for it."""
    match method:
        case "get":
            return "value", store.get
        case "delete":
            return "deleted", store.delete
        case "exists":
            return "exists", store.exists
    near = suggest(method, _METHODS)
    raise RunError(
        "input", say("`method` is get, set, delete or exists, not {given}{near}", given=kind(method), near=near)
    )


def _key(value: Any) -> str:
    if value is None or isinstance(value, dict | list):
        raise RunError("input", say("`key` is a text or a list of texts, this is {kind}", kind=kind(value)))
    try:
        return clean(to_text(value))  # a file can hold no half of a character
    except CastError as error:
        raise RunError("input", say("`{key}`: {why}", key="key", why=error)) from None


def _paired(keys: Sequence[str], value: Any, *, is_list: bool) -> Mapping[str, Any]:
    if not is_list:
        return {keys[0]: value}
    if not isinstance(value, list) or len(value) != len(keys):
        sentence = say("`key` is a list of {count}: `value` is a list of as many", count=len(keys))
        raise RunError("input", sentence)
    return dict(zip(keys, value, strict=True))


def _table(value: Any, key: str) -> str:
    if not isinstance(value, str) or not _TABLE.fullmatch(value):
        raise RunError(
            "input", say("`{key}` is a name of letters, digits and `_`, not {given}", key=key, given=kind(value))
        )
    return value


def _no_redis() -> str:
    return say("`driver: redis` is not run by composemagic; write `driver: memory`, or `driver: sqlite` for a file")
