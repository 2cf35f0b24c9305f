"""`type: vector-store`: keeps vectors with what they stand for, and finds the nearest ones to a question's vector.

`driver: memory` lives as long as the loaded workflow; a workflow loaded anew (a cell that is run again) has an empty one.
`driver: sqlite` keeps a file in the folder of the document, compared by the extension sqlite-vec (`pip install
"composemagic[vector]"`).

    workflows:
      - id: index
        job: {component: shelf, action: add}
      - id: ask
        job: {component: shelf, action: find, output: "${output[0].document}"}
    component:
      id: shelf
      type: vector-store
      driver: sqlite
      path: shelf.sqlite
      actions:
        - id: add
          method: insert
          collection: books
          vector: ${input.vectors as list}
          document: ${input.texts as list}
          metadata: {language: en}
        - id: find
          method: search
          collection: books
          query: ${input.vector as list}
          top_k: 3
          filter: {language: {in: [en, zh]}}

| setting of the component | what it says |
|---|---|
| `driver` | memory, which it is where nothing is said, or sqlite; chroma and faiss are read as memory, with a note |
| `path` | sqlite: the file, `vector-store.sqlite` where nothing is said |

| setting of the action | what it says |
|---|---|
| `method` | insert, update, search or delete |
| `collection` | a name for vectors that belong together, `default` where nothing is said; also on the component |
| `vector` | insert, update: a list of numbers, or a list of such lists |
| `vector_id` | one id, or a list of as many; insert makes them where there are none, and replaces a vector that has the same |
| `document` | insert, update: the text that the vector stands for, or a list of texts |
| `metadata` | insert, update: a mapping for all, or a list of mappings; update merges it, null takes a field away |
| `insert_if_not_exist` | update: whether an id that is not there is inserted (true where nothing is said) |
| `query` | search: a vector, or a list of vectors, which gives a list of answers |
| `top_k` | search: how many at most, 10 where nothing is said |
| `metric_type` | search: COSINE, which it is where nothing is said, L2 or IP (inner product) |
| `filter` | search, delete: `{field: value}` or `{field: {operator: value}}`, all of which hold; operators are `eq`, `neq`, `gt`, `gte`, `lt`, `lte`, `in`, `not-in` |
| `output_fields` | search: the fields of the metadata that are wanted |

A search gives a list, the nearest first: `{id, score, distance, document, metadata}`. `score` is the cosine, 1 / (1 + distance)
for L2, the inner product for IP. Insert gives `{ids, affected_rows}`, update and delete `{affected_rows}`. Every comparison is
exact: all vectors of a collection are looked at, which for 10,000 takes memory a fifth of a second and sqlite a thirtieth.
Source of `output`: `result`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, ClassVar, Literal

from composemagic.components.given import Given, flag, misfits, whole_number
from composemagic.components.vector_store.acting import Acting, metric, vectors
from composemagic.components.vector_store.entries import Vectors
from composemagic.components.vector_store.filters import fitting
from composemagic.components.vector_store.memory import MemoryVectors
from composemagic.components.vector_store.sqlite import SqliteVectors
from composemagic.errors import RunError
from composemagic.words import say
from composemagic.workflow.component import Action, Component, Context, Settings, SettingsModel, Value
from composemagic.workflow.schema import kind

__all__ = ["VectorStore"]

_SERVERS = ("milvus", "qdrant", "pinecone")
_IN_PROCESS = ("chroma", "faiss")
_NEEDED = {"insert": "vector", "update": "vector_id", "search": "query"}
_OWN = {
    "insert": ("vector", "vector_id", "document", "metadata"),
    "update": ("vector", "vector_id", "document", "metadata", "insert_if_not_exist"),
    "search": ("query", "top_k", "metric_type", "filter", "output_fields"),
    "delete": ("vector_id", "filter"),
}


class VectorSettings(Settings):
    """`driver`, `path` and `collection`; the others are for stores of the peer that are a program of their own."""

    driver: Literal["memory", "sqlite", "chroma", "faiss", "milvus", "qdrant", "pinecone"] | None = None
    path: str | None = None
    collection: str | None = None
    mode: Any = None
    storage_dir: Any = None
    endpoint: Any = None
    protocol: Any = None
    host: Any = None
    port: Any = None
    tenant: Any = None
    database: Any = None
    timeout: Any = None
    index_path: Any = None
    dimension: Any = None


class VectorAction(Settings):
    """The table at the top of this page says what each is for; the last three are the peer's and change nothing here."""

    method: Literal["insert", "update", "search", "delete"]
    collection: str | None = None
    vector: Any = None
    vector_id: Any = None
    document: Any = None
    metadata: Any = None
    insert_if_not_exist: Any = None
    query: Any = None
    top_k: Any = None
    metric_type: Any = None
    filter: Any = None
    output_fields: Any = None
    id_field: Any = None
    vector_field: Any = None
    batch_size: Any = None


class VectorStore(Component):
    """Keeps vectors and finds near ones. Source for `output`: `result`."""

    type: ClassVar[str] = "vector-store"
    settings: ClassVar[SettingsModel] = VectorSettings
    action: ClassVar[SettingsModel] = VectorAction

    def __init__(self) -> None:
        self._memory = MemoryVectors()

    @classmethod
    def not_run(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
        """The drivers that ask a server."""
        server = _server(settings)
        return None if server is None else _no_server(server)

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        checks = {
            "vector": vectors,
            "query": vectors,
            "top_k": whole_number(1),
            "metric_type": metric,
            "filter": fitting,
            "insert_if_not_exist": flag,
        }
        yield from misfits(action, checks)
        method = action.get("method")
        if method not in _OWN:
            return
        if needed := _NEEDED.get(method):
            if needed not in action:
                yield say("`method: {method}` needs `{key}`", method=method, key=needed), "method"
        elif "vector_id" not in action and "filter" not in action:
            yield say("`method: delete` needs `vector_id` or `filter`"), "method"
        others = {key: other for other, keys in _OWN.items() for key in keys}
        for key, other in others.items():
            if key in action and key not in _OWN[method]:
                yield say("`{key}` belongs to `method: {other}`", key=key, other=other), key, True

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Yield one Value, as the method gives it."""
        given = Given(action, context)
        store = await self._vectors(given, context)
        yield Value(await Acting(given, store).answer())

    async def _vectors(self, given: Given, context: Context) -> Vectors:
        names = ("driver", "mode", "host", "endpoint")
        settings = {name: await given.get(name) for name in names}
        driver = settings["driver"] or "memory"
        if server := _server(settings):
            raise RunError("driver", _no_server(server))
        if driver in _IN_PROCESS:
            context.note(
                say("`driver: {driver}` is kept in memory here; `driver: sqlite` keeps it in a file", driver=driver)
            )
        elif driver == "sqlite":
            return SqliteVectors(context.file(str(await given.get("path", default="vector-store.sqlite"))))
        elif driver != "memory":
            raise RunError("driver", say("`driver` is memory or sqlite, not {given}", given=kind(driver)))
        return self._memory


def _server(settings: Mapping[str, Any]) -> str | None:
    """The driver, where it is a server that somebody else runs."""
    driver = settings.get("driver")
    is_reached = settings.get("mode") == "server" or bool(settings.get("host") or settings.get("endpoint"))
    return str(driver) if driver in _SERVERS or (driver in _IN_PROCESS and is_reached) else None


def _no_server(driver: str) -> str:
    return say(
        "`driver: {driver}` asks a server, which composemagic does not speak to; "
        "write `driver: memory`, or `driver: sqlite` for a file",
        driver=driver,
    )
