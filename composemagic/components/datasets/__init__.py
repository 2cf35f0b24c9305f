"""`type: datasets`: the rows of a table, from a file beside the document or from the notebook.

    workflow:
      title: Three rows of a table
      job: {component: table, output: "${output}"}
    component:
      id: table
      type: datasets
      action:
        path: people.csv
        columns: [name, age]
        types: {age: integer}
        offset: 1
        limit: 3

| setting of the action | what it says |
|---|---|
| `path` | a file under the folder of the document: CSV, TSV, JSON lines, JSON (a list), Parquet, or text (a row is a line) |
| `format` | csv, tsv, jsonl, json, parquet or text, where the file's ending does not say it |
| `delimiter` | csv: the character between two cells |
| `variable` | in place of `path`: the name of a list or a DataFrame (pandas, polars, pyarrow) of the notebook |
| `dataset` | in place of `path`: the rows themselves, such as `${input.rows}` |
| `columns` | the columns that are wanted, in this order |
| `types` | what becomes of a column's values, as a cast writes it: `{age: integer}`; an empty cell is then null |
| `shuffle`, `seed` | rows in random order; with a seed, in the same order each time |
| `offset`, `limit` | how many rows are left out first, and how many are given at most; after shuffling |
| `fraction` | how much of the rows is given, 0.1 is the first tenth; after shuffling |
| `streaming` | true: the rows come as a stream, read as they are wanted |

A row is an object. The cells of a CSV file are texts; use `types` for numbers. A file is read from its start to the last row
that is wanted and never held whole, but for JSON, and where `shuffle` or `fraction` has to know all rows.
`method: load` and `driver: local` may be written, and, as the peer has it, the format as `path` with the file as `data_files`.
A parquet file needs `pip install "composemagic[data]"`. Source of `output`: `result`, for a stream `result[]`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from typing import Any, ClassVar, Literal

from composemagic.components.datasets.reading import ENDINGS, FORMATS, batches, rows_of_file, rows_of_table
from composemagic.components.given import Given, flag, holds_template, misfits, whole_number
from composemagic.errors import RunError, suggest
from composemagic.language.casts import CASTS, CastError, convert, shown
from composemagic.language.expression import Cast
from composemagic.words import listing, say
from composemagic.workflow.component import Action, Batch, Component, Context, Settings, SettingsModel, Value
from composemagic.workflow.schema import kind

__all__ = ["Datasets"]

_SOURCES = ("path", "variable", "dataset")


class DatasetSettings(Settings):
    """`driver` is local, which it is where nothing is said."""

    driver: Literal["local", "huggingface"] | None = None


class DatasetAction(Settings):
    """The table at the top of this page says what each is for."""

    method: Literal["load", "select", "map", "filter", "concat"] | None = None
    path: str | None = None
    data_files: str | None = None
    format: Literal["csv", "tsv", "jsonl", "json", "parquet", "text"] | None = None
    delimiter: str | None = None
    variable: str | None = None
    dataset: Any = None
    columns: Any = None
    types: Any = None
    shuffle: Any = None
    seed: Any = None
    offset: Any = None
    limit: Any = None
    fraction: Any = None
    streaming: Any = None
    stream_fragmented: Any = None


class Datasets(Component):
    """Gives the rows of a table. Source for `output`: `result`."""

    type: ClassVar[str] = "datasets"
    settings: ClassVar[SettingsModel] = DatasetSettings
    action: ClassVar[SettingsModel] = DatasetAction

    @classmethod
    def not_run(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
        """The methods that are jobs and operators here, and what is fetched from the Hub."""
        driver = action.get("provider") or settings.get("driver")
        is_fetched = driver == "huggingface" and not action.get("data_files")
        return _instead(action.get("method")) or (_no_hub() if is_fetched else None)

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        named = [key for key in _SOURCES if action.get(key) is not None]
        if not named:
            yield say("a datasets action needs `path`, `variable` or `dataset`"), None
        for key in named[1:]:
            yield say("an action has `{one}` or `{other}`, not both", one=named[0], other=key), key
        path = action.get("data_files") or action.get("path")
        if isinstance(path, str) and not holds_template([path, action.get("format")]):
            yield from _unread(action, path)
        checks = {
            "columns": _names,
            "types": _types,
            "shuffle": flag,
            "seed": whole_number(0),
            "offset": whole_number(0),
            "limit": whole_number(0),
            "fraction": _fraction,
            "streaming": flag,
        }
        yield from misfits(action, checks)

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Yield one Value, a list of rows; or the rows as a stream."""
        given = Given(action, context)
        rows = await _chosen(await _rows(given, context), given)
        if await given.get("streaming", flag, False):
            for batch in batches(rows):
                yield Batch(batch)
            return
        found: list[Any] = []
        for batch in batches(rows):
            found += batch
            await asyncio.sleep(0)  # others on the loop have their turn
        yield Value(found)


async def _rows(given: Given, context: Context) -> Iterator[Any]:
    """All rows of what was named."""
    dataset, variable = await given.get("dataset"), await given.get("variable")
    if dataset is not None:
        return rows_of_table(dataset, "dataset")
    if variable is not None:
        return rows_of_table(context.variable(str(variable)), str(variable))
    path, files = await given.get("path"), await given.get("data_files")
    if path is None and files is None:
        raise RunError("input", say("`path` is null: there is no file to read"))
    if await given.get("driver") == "huggingface" and files is None:
        raise RunError("driver", _no_hub())
    name = str(path if files is None else files)
    own_format = _format(name, await given.get("format") or (path if files is not None else None))
    return rows_of_file(context.file(name), own_format, await given.get("delimiter", _delimiter))


def _format(path: str, said: Any) -> str:
    """The name of a file's format: as it is said, else by the file's ending. Raises RunError."""
    found = ENDINGS.get(PurePath(path).suffix.lower()) if said is None else said
    if found not in FORMATS:
        names = listing(FORMATS)
        if said is None:
            sentence = say("what is in `{path}`? say `format`, one of {names}", path=path, names=names)
        else:
            near = suggest(str(said), FORMATS) or say("; it is one of {names}", names=names)
            sentence = say("unknown `format` {given}{near}", given=kind(said), near=near)
        raise RunError("input", sentence)
    return str(found)


def _unread(action: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the format of the file that an action names."""
    if action.get("format") is not None:
        return  # looked at by the model
    try:
        _format(path, None if action.get("data_files") is None else action.get("path"))
    except RunError as error:
        yield error.sentence, "path"


def _instead(method: Any) -> str | None:
    """What to write for a method of the peer that is something else here."""
    match method:
        case "select":
            return say("`method: select` is written as `method: load` with `columns`, `offset` and `limit`")
        case "map":
            return say("`method: map` is written as a job of type `for-each`")
        case "filter":
            return say("`method: filter` is written as a job of type `filter`")
        case "concat":
            return say("`method: concat` is written with the operator `+` in an `output`")
        case _:
            return None


def _no_hub() -> str:
    return say("composemagic loads nothing from the Hugging Face Hub; download the file and write `path: data.parquet`")


# -- which rows, and what of them ----------------------------------------------------------------------------------------


async def _chosen(rows: Iterator[Any], given: Given) -> Iterator[Any]:
    """The wanted part of the rows, lazily where it can be."""
    offset, limit = await given.get("offset", whole_number(0), 0), await given.get("limit", whole_number(0))
    fraction = await given.get("fraction", _fraction)
    if await given.get("shuffle", flag, False):
        every = list(rows)
        random.Random(await given.get("seed", whole_number(0))).shuffle(every)
        rows = iter(every)
    if fraction is not None:
        every = list(rows)
        rows = islice(every, max(1, int(len(every) * fraction)))
    part = islice(rows, offset, None if limit is None else offset + limit)
    columns, types = await given.get("columns", _names), await given.get("types", _types, {})
    return (_typed(_picked(row, columns), types) for row in part)


def _picked(row: Any, columns: Sequence[str] | None) -> Any:
    if columns is None:
        return row
    if not isinstance(row, dict):
        raise RunError("input", say("a row without columns, {row}: `columns` picks none from it", row=kind(row)))
    for name in columns:
        if name not in row:
            raise RunError("input", say("there is no column `{name}`{near}", name=name, near=suggest(name, row)))
    return {name: row[name] for name in columns}


def _typed(row: Any, types: Mapping[str, Callable[[Any], Any]]) -> Any:
    for name in types if isinstance(row, dict) else ():
        if name in row:
            try:
                row[name] = None if row[name] == "" else types[name](row[name])
            except CastError as error:
                raise RunError("input", say("column `{name}`: {why}", name=name, why=error)) from None
    return row


def _types(value: Any, key: str) -> Mapping[str, Callable[[Any], Any]]:
    if not isinstance(value, dict):
        raise RunError(
            "input", say("`{key}` is a mapping such as `{{age: integer}}`, not {kind}", key=key, kind=kind(value))
        )
    return {name: _conversion(cast) for name, cast in value.items()}


def _conversion(name: Any) -> Callable[[Any], Any]:
    if name not in CASTS:
        raise RunError("input", say("unknown type {name}{near}", name=kind(name), near=suggest(str(name), CASTS)))
    return lambda cell: convert(cell, Cast(str(name)))


def _names(value: Any, key: str) -> Sequence[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise RunError("input", say("`{key}` is a list of names, this is {kind}", key=key, kind=kind(value)))
    return value


def _delimiter(value: Any, key: str) -> str:
    if not isinstance(value, str) or len(value) != 1:
        raise RunError("input", say("`{key}` is one character, not {given}", key=key, given=kind(value)))
    return value


def _fraction(value: Any, key: str) -> float:
    try:
        found = float(convert(value, Cast("number")))
    except CastError:
        found = 0.0
    if isinstance(value, bool) or not 0 < found <= 1:
        raise RunError(
            "input", say("`{key}` is a number above 0 and up to 1, not {given}", key=key, given=shown(value))
        )
    return found
