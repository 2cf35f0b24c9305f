"""datasets: rows of files and of the notebook's tables, whole and as streams."""

from __future__ import annotations

import asyncio
import datetime
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import composemagic
from composemagic import RunError
from composemagic.components import datasets
from composemagic.components.datasets import DatasetAction, Datasets
from composemagic.components.datasets.reading import rows_of_table
from composemagic.language.template import Template, compile_template
from composemagic.workflow.component import Action, Context
from tests.component_examples import documented, example, mistakes

PEOPLE = 'name,age,town\nAnn,30,Ulm\nBob,,Bonn\n\nCid,50,"Köln, am Rhein"\n'
FILES = {
    "people.csv": PEOPLE,
    "bom.csv": "\ufeffa\n1\n",
    "semicolon.csv": "a;b\n1;2\n",
    "people.tsv": "name\tage\nAnn\t30\n",
    "rows.jsonl": '{"n": 1}\n\n{"n": [2]}\n',
    "rows.json": '[{"n": 1}, {"n": null}]',
    "lines.txt": "first\n\nthird",
    "empty.csv": "",
    "header.csv": "a,b\n",
    "many.csv": "n\n" + "".join(f"{n}\n" for n in range(1000)),
    "ragged.csv": "a,b\n1,2\n3\n",
    "broken.jsonl": '{"n": 1}\n{"n": \n',
    "broken.json": '[{"n": 1},\n {"n": }]',
    "object.json": '{"n": 1}',
    "data.bin": "x",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "latin.csv").write_bytes("name\nJosé\n".encode("latin-1"))
    return tmp_path


def rows(folder: Path, settings: str, **values: Any) -> Any:
    document = folder / "model-compose.yml"
    document.write_text(f"component: {{type: datasets, action: {{{settings}}}}}", encoding="utf-8")
    return composemagic.load(document)(**values).output


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("path: people.csv", [
            {"name": "Ann", "age": "30", "town": "Ulm"},
            {"name": "Bob", "age": "", "town": "Bonn"},
            {"name": "Cid", "age": "50", "town": "Köln, am Rhein"},
        ]),
        ("path: bom.csv", [{"a": "1"}]),
        ("path: semicolon.csv, delimiter: ';'", [{"a": "1", "b": "2"}]),
        ("path: people.tsv", [{"name": "Ann", "age": "30"}]),
        ("path: rows.jsonl", [{"n": 1}, {"n": [2]}]),
        ("path: rows.json", [{"n": 1}, {"n": None}]),
        ("path: lines.txt", [{"text": "first"}, {"text": ""}, {"text": "third"}]),
        ("path: lines.txt, format: csv", [{"first": "third"}]),
        ("path: empty.csv", []),
        ("path: header.csv", []),
        ("path: csv, data_files: header.csv", []),
        ("path: people.csv, columns: [town, name], limit: 1", [{"town": "Ulm", "name": "Ann"}]),
        ("path: people.csv, columns: [age], types: {age: integer}", [{"age": 30}, {"age": None}, {"age": 50}]),
        ("path: many.csv, offset: 998", [{"n": "998"}, {"n": "999"}]),
        ("path: many.csv, offset: 5, limit: 2, types: {n: number}", [{"n": 5.0}, {"n": 6.0}]),
        ("path: many.csv, limit: 0", []),
        ("path: many.csv, fraction: 0.001", [{"n": "0"}]),
        ("dataset: [{a: 1, b: 2}, {a: 3, b: 4}], columns: [b]", [{"b": 2}, {"b": 4}]),
        ("dataset: [1, two, null]", [1, "two", None]),
        ("path: people.csv, limit: 1, output: '${result[0].name}'", "Ann"),
    ],
)  # fmt: skip
def test_a_file_gives_its_rows(folder: Path, settings: str, expected: Any) -> None:
    assert rows(folder, settings) == expected


def test_a_stream_gives_the_same_rows(folder: Path) -> None:
    assert rows(folder, "path: many.csv, streaming: true") == rows(folder, "path: many.csv")
    assert rows(folder, "path: people.csv, streaming: true, output: '${result[].name}!'") == "Ann!Bob!Cid!"


def test_shuffled_rows_are_the_same_for_the_same_seed(folder: Path) -> None:
    ordered = rows(folder, "path: many.csv")
    one, again, other = (rows(folder, f"path: many.csv, shuffle: true, seed: {seed}") for seed in (1, 1, 2))
    assert one == again
    assert one not in (ordered, other)
    assert sorted(one, key=lambda row: int(row["n"])) == ordered
    assert rows(folder, "path: many.csv, shuffle: true, seed: 1, offset: 3, limit: 2") == one[3:5]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("path: nobody.csv", "there is no file `nobody.csv`"),
        ("path: ragged.csv", "line 3 of `ragged.csv`: it has 1 of 2 cells"),
        ("path: latin.csv", "`latin.csv` is not a text in UTF-8"),
        ("path: broken.jsonl", "line 2 of `broken.jsonl`: Expecting value: line 2 column 1 (char 7)"),
        ("path: broken.json", "line 2 of `broken.json`: Expecting value"),
        ("path: object.json", "`object.json` is a list of rows, this is a mapping"),
        ("path: people.csv, columns: [nme]", "there is no column `nme`; did you mean `name`?"),
        ("path: people.csv, types: {name: integer}", 'column `name`: "Ann" is no integer'),
        ("dataset: '${input.x}', columns: [a]", 'a row without columns, "text": `columns` picks none from it'),
        ("path: '${input.file}'", "what is in `data.bin`? say `format`, one of csv, tsv, jsonl, json, parquet, text"),
        ("path: '${input.file}', format: '${input.word}'", 'unknown `format` "csvv"; did you mean `csv`?'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(folder: Path, settings: str, sentence: str) -> None:
    values = {"x": ["text"], "file": "data.bin", "word": "csvv"}
    with pytest.raises(RunError) as caught:
        rows(folder, settings, **{name: value for name, value in values.items() if f"input.{name}" in settings})
    assert caught.value.sentence == sentence


def test_the_rows_before_a_broken_one_are_streamed(folder: Path) -> None:
    document = folder / "model-compose.yml"
    document.write_text("component: {type: datasets, action: {path: '${input.f}', streaming: true}}", encoding="utf-8")
    run = composemagic.load(document).start({"f": "ragged.csv"})
    run.wait()
    assert isinstance(run.error, RunError)
    assert run.error.sentence.startswith("line 3 of `ragged.csv`")


def test_a_file_outside_the_folder_is_refused(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    with pytest.raises(RunError):
        rows(inner, "path: ../people.csv")


# -- much --------------------------------------------------------------------------------------------------------------


def acting(folder: Path, fields: Mapping[str, Any]) -> tuple[Action, Context]:
    """An action and what it may ask, without an engine that keeps what it has read."""

    async def render(template: Template | None, more: Any = None) -> Any:
        return None if template is None else template.render({})

    context = SimpleNamespace(render=render, file=lambda path: folder / path)
    compiled = {name: compile_template(value) for name, value in fields.items()}
    return Action("a", Datasets(), compiled, {}, None, ()), cast("Context", context)


def test_a_long_file_is_streamed_with_flat_memory(tmp_path: Path) -> None:
    """100,000 rows, 10 MB: never more than a few hundred are there."""
    with (tmp_path / "long.csv").open("w", encoding="utf-8") as file:
        file.write("n,text\n")
        file.writelines(f"{n},{'x' * 90}\n" for n in range(100_000))
    action, context = acting(tmp_path, {"path": "long.csv", "streaming": True, "types": {"n": "integer"}})

    async def read() -> tuple[int, int]:
        count = total = 0
        async for batch in action.component.run(action, context):
            count += len(batch)
            total += sum(row["n"] for row in batch)
        return count, total

    tracemalloc.start()
    found = asyncio.run(read())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == (100_000, sum(range(100_000)))
    assert peak < 2 * 2**20


def test_no_more_is_read_than_wanted(tmp_path: Path) -> None:
    """The broken line behind the last wanted row is never met."""
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\nbroken\n', encoding="utf-8")
    assert rows(tmp_path, "path: rows.jsonl, limit: 2") == [{"n": 1}, {"n": 2}]


# -- tables of the notebook --------------------------------------------------------------------------------------------


def test_a_table_of_pandas_gives_plain_values() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {
            "whole": [1, 2],
            "number": [1.5, None],
            "day": pandas.to_datetime(["2024-01-02", None]),
            "text": ["中", None],
            "flag": [True, False],
            "list": [[1], {"a": 2}],
        }
    )
    found = list(rows_of_table(table, "table"))
    assert found == [
        {"whole": 1, "number": 1.5, "day": "2024-01-02T00:00:00", "text": "中", "flag": True, "list": [1]},
        {"whole": 2, "number": None, "day": None, "text": None, "flag": False, "list": {"a": 2}},
    ]
    assert [type(value) for value in found[0].values()] == [int, float, str, str, bool, list]


def test_a_table_of_pyarrow_and_a_parquet_file(folder: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"n": list(range(700)), "day": [datetime.date(2024, 1, 2)] * 700})
    assert len(list(rows_of_table(table, "table"))) == 700
    parquet.write_table(table, folder / "table.parquet")
    assert rows(folder, "path: table.parquet, offset: 698") == [
        {"n": 698, "day": "2024-01-02"},
        {"n": 699, "day": "2024-01-02"},
    ]
    (folder / "broken.parquet").write_text("no parquet", encoding="utf-8")
    with pytest.raises(RunError, match=r"`broken\.parquet` cannot be read: "):
        rows(folder, "path: broken.parquet")


def test_a_missing_pyarrow_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RunError) as caught:
        rows(folder, "path: table.parquet")
    assert caught.value.sentence == '`format: parquet` needs pyarrow: pip install "composemagic[data]"'


def test_a_variable_of_the_notebook_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("__main__.my_rows", [{"a": 1}, {"a": 2}], raising=False)
    assert rows(folder, "variable: my_rows, limit: 1") == [{"a": 1}]
    monkeypatch.setattr("__main__.my_rows", 5)
    with pytest.raises(RunError) as caught:
        rows(folder, "variable: my_rows")
    assert caught.value.sentence == "`my_rows` is no table: a list of rows or a DataFrame is wanted, not int"
    monkeypatch.delattr("__main__.my_rows")
    with pytest.raises(RunError, match="my_rows"):
        rows(folder, "variable: my_rows")


@pytest.mark.parametrize(
    ("yaml", "sentences"),
    [
        ("action: {limit: 5}", ["a datasets action needs `path`, `variable` or `dataset`"]),
        ("action: {path: a.csv, variable: df}", ["an action has `path` or `variable`, not both"]),
        ("action: {path: a.csv, colums: [a]}", ["unknown key `colums` in a datasets action; did you mean `columns`?"]),
        ("action: {path: a.csv, columns: a}", ['`columns` is a list of names, this is "a"']),
        ("action: {path: a.csv, types: {a: intger}}", ['unknown type "intger"; did you mean `integer`?']),
        ("action: {path: a.csv, limit: -1, fraction: 2}", [
            "`limit` is a whole number from 0 on, not -1", "`fraction` is a number above 0 and up to 1, not 2",
        ]),
        ("action: {path: a.xls}", ["what is in `a.xls`? say `format`, one of csv, tsv, jsonl, json, parquet, text"]),
        ("action: {path: a.csv, format: cvs}", ['unknown `format` "cvs"; did you mean `csv`?']),
    ],
)  # fmt: skip
def test_mistakes_are_found_when_it_is_loaded(yaml: str, sentences: list[str]) -> None:
    assert mistakes(f"component: {{type: datasets, {yaml}}}") == sentences


def test_the_example_of_the_docstring_runs(folder: Path) -> None:
    document = folder / "model-compose.yml"
    document.write_text(example(datasets), encoding="utf-8")
    assert composemagic.load(document)().output == [{"name": "Bob", "age": None}, {"name": "Cid", "age": 50}]


def test_the_docstring_names_every_setting() -> None:
    assert documented(datasets) == set(DatasetAction.model_fields) - {"method", "data_files", "stream_fragmented"}
