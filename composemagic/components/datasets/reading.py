"""Files and tables of the notebook -> rows, a batch at a time: no file is held whole that need not be."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from composemagic.components.extras import needed
from composemagic.errors import RunError
from composemagic.language.json_words import json_problem, why_no_json
from composemagic.words import say
from composemagic.workflow.schema import kind

__all__ = ["ENDINGS", "FORMATS", "rows_of_file", "rows_of_table"]

_BATCH = 256  # rows

Row = Any
Read = Callable[[Path, str | None], Iterator[Row]]


def rows_of_file(file: Path, name: str, delimiter: str | None) -> Iterator[Row]:
    """The rows of a file in one of FORMATS, read as they are asked for. Raises RunError, with the line where there is one."""
    try:
        yield from FORMATS[name](file, delimiter)
    except FileNotFoundError:
        raise RunError("input", say("there is no file `{name}`", name=file.name)) from None
    except UnicodeDecodeError:
        raise RunError("input", say("`{name}` is not a text in UTF-8", name=file.name)) from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise RunError("input", say("`{name}` cannot be read: {why}", name=file.name, why=why)) from None


def _csv(file: Path, delimiter: str | None) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.reader(lines, delimiter=delimiter or ",")
        try:
            names = next(table, [])
            for cells in table:
                if cells:  # an empty line
                    yield _named(names, cells, file, table.line_num)
        except csv.Error as error:
            raise _wrong(file, table.line_num, str(error)) from None


def _tsv(file: Path, delimiter: str | None) -> Iterator[Row]:
    return _csv(file, delimiter or "\t")


def _named(names: list[str], cells: list[str], file: Path, line: int) -> Row:
    if len(cells) != len(names):
        why = say("it has {count} of {names} cells", count=len(cells), names=len(names))
        raise _wrong(file, line, why)
    return dict(zip(names, cells, strict=True))


def _json_lines(file: Path, _: str | None) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise _wrong(file, number, why_no_json(error)) from None


def _json(file: Path, _: str | None) -> Iterator[Row]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise _wrong(file, error.lineno, json_problem(error)) from None
    except RecursionError:
        raise _wrong(file, 1, say("it is nested too deep")) from None
    if not isinstance(found, list):
        raise RunError("input", say("`{name}` is a list of rows, this is {kind}", name=file.name, kind=kind(found)))
    yield from found


def _text(file: Path, _: str | None) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig") as lines:
        for line in lines:
            yield {"text": line.rstrip("\n")}


def _parquet(file: Path, _: str | None) -> Iterator[Row]:
    arrow = needed("pyarrow", by="format: parquet", package="pyarrow", extra="data")
    parquet = needed("pyarrow.parquet", by="format: parquet", package="pyarrow", extra="data")
    try:
        with parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_BATCH):
                yield from (_plain(row) for row in batch.to_pylist())
    except arrow.ArrowException as error:
        raise RunError("input", say("`{name}` cannot be read: {why}", name=file.name, why=error)) from None


def _wrong(file: Path, line: int, why: str) -> RunError:
    return RunError("input", say("line {line} of `{name}`: {why}", line=line, name=file.name, why=why))


FORMATS: Mapping[str, Read] = {
    "csv": _csv,
    "tsv": _tsv,
    "jsonl": _json_lines,
    "json": _json,
    "parquet": _parquet,
    "text": _text,
}
ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
}


# -- tables of the notebook ----------------------------------------------------------------------------------------------


def rows_of_table(table: Any, name: str) -> Iterator[Row]:
    """The rows of a list, or of a DataFrame of pandas or polars, or a table of pyarrow. Raises RunError for anything else.

    They are told by what they can do and not by their class: none of these libraries is imported here.
    """
    if isinstance(table, list | tuple):
        return (_plain(row) for row in table)
    if hasattr(table, "iter_rows") and hasattr(table, "columns"):  # polars
        return (_plain(row) for row in table.iter_rows(named=True))
    if hasattr(table, "itertuples") and hasattr(table, "columns"):  # pandas
        names = [str(column) for column in table.columns]
        return (_plain(dict(zip(names, row, strict=True))) for row in table.itertuples(index=False, name=None))
    if hasattr(table, "to_batches"):  # pyarrow
        return (_plain(row) for batch in table.to_batches(max_chunksize=_BATCH) for row in batch.to_pylist())
    if hasattr(table, "__iter__") and not isinstance(table, str | bytes | dict):
        return (_plain(row) for row in table)
    words = say(
        "`{name}` is no table: a list of rows or a DataFrame is wanted, not {kind}", name=name, kind=_class(table)
    )
    raise RunError("input", words)


def _class(value: Any) -> str:
    return type(value).__name__ if not isinstance(value, str | dict) else kind(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it: what tables use for "nothing here" is null, dates are ISO 8601, numbers are Python's own."""
    if value is None or type(value) in (str, bool, int, bytes):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return None if str(value) == "NaT" else value.isoformat()  # which pandas' NaT is an instance of
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist())
    return None if type(value).__name__ == "NAType" else str(value)  # pandas.NA


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows, so many at a time."""
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        yield batch
