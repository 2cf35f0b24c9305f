"""vector-store: both drivers find the same, by the same measures."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import composemagic
from composemagic import RunError
from composemagic.components import vector_store
from composemagic.components.vector_store import VectorAction, VectorSettings
from composemagic.components.vector_store.filters import fitting
from tests.component_examples import documented, example, mistakes, notes

KEYS = [key for key in VectorAction.model_fields if key not in ("id_field", "vector_field", "batch_size")]
ANY_ACTION = "action: {" + ", ".join(f"{key}: '${{input.{key}}}'" for key in KEYS) + "}"
Ask = Callable[..., Any]


def asking(folder: Path, driver: str) -> Ask:
    """A store in a folder, and what asks it: `ask("search", query=[1, 0])`."""
    document = folder / "model-compose.yml"
    document.write_text(f"component: {{type: vector-store, {driver}, {ANY_ACTION}}}", encoding="utf-8")
    workflow = composemagic.load(document)

    def ask(method: str, **values: Any) -> Any:
        run = workflow.start({"method": method, **values})
        run.wait()
        run.raise_for_error()
        return run.output

    return ask


@pytest.fixture(params=["driver: memory", "driver: sqlite"], ids=["memory", "sqlite"])
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Ask:
    return asking(tmp_path, request.param)


@pytest.fixture
def books(ask: Ask) -> Ask:
    """Four books on two axes."""
    ask(
        "insert",
        vector=[[1, 0], [0, 2], [1, 1], [-1, 0]],
        vector_id=["east", "north", "between", "west"],
        document=["sunrise", "snow", "both", "sunset"],
        metadata=[
            {"year": 1990, "tags": "a"},
            {"year": 2000, "tags": "b"},
            {"year": 2010, "tags": "a"},
            {"year": None, "tags": "c"},
        ],
    )
    return ask


def ids(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["id"] for hit in hits]


def test_the_nearest_come_first(books: Ask) -> None:
    hits = books("search", query=[3, 0])
    assert ids(hits) == ["east", "between", "north", "west"]
    assert [hit["score"] for hit in hits] == pytest.approx([1, math.sqrt(0.5), 0, -1], abs=1e-6)
    assert [hit["distance"] for hit in hits] == pytest.approx([0, 1 - math.sqrt(0.5), 1, 2], abs=1e-6)
    assert hits[0]["document"] == "sunrise"
    assert hits[0]["metadata"] == {"year": 1990, "tags": "a"}
    assert hits[3]["metadata"] == {"tags": "c"}


@pytest.mark.parametrize(
    ("metric", "order", "scores"),
    [
        ("COSINE", ["between", "north", "east", "west"], [1, math.sqrt(0.5), math.sqrt(0.5), -math.sqrt(0.5)]),
        ("L2", ["between", "east", "north", "west"], [1, 0.5, 1 / (1 + math.sqrt(2)), 1 / (1 + math.sqrt(5))]),
        ("ip", ["north", "between", "east", "west"], [2, 2, 1, -1]),
    ],
)
def test_each_metric_has_its_own_order(books: Ask, metric: str, order: list[str], scores: list[float]) -> None:
    hits = books("search", query=[1, 1], metric_type=metric)
    assert [hit["score"] for hit in hits] == pytest.approx(scores, abs=1e-6)
    assert sorted(ids(hits)) == sorted(order)
    assert ids(hits)[-1] == order[-1]


def test_both_drivers_agree_with_a_plain_search(tmp_path: Path) -> None:
    """200 vectors by chance: the ten nearest by a sum written out here, by each driver and each metric."""
    chance = random.Random(3)
    rows = [[chance.uniform(-1, 1) for _ in range(8)] for _ in range(200)]
    query = [chance.uniform(-1, 1) for _ in range(8)]

    def inner(row: list[float]) -> float:
        return sum(a * b for a, b in zip(query, row, strict=True))

    measures: dict[str, Callable[[list[float]], float]] = {
        "COSINE": lambda row: -inner(row) / math.hypot(*row),
        "L2": lambda row: math.dist(query, row),
        "IP": lambda row: -inner(row),
    }
    for driver in ("driver: memory", "driver: sqlite"):
        ask = asking(tmp_path, driver)
        ask("insert", vector=rows, vector_id=[str(at) for at in range(200)])
        for metric, measure in measures.items():
            nearest = sorted(range(200), key=lambda at: measure(rows[at]))[:10]
            assert ids(ask("search", query=query, metric_type=metric)) == [str(at) for at in nearest], (driver, metric)


def test_half_a_character_can_be_in_an_id_and_in_the_metadata(ask: Ask) -> None:
    assert ask("insert", vector=[1, 0], vector_id="a\ud83d", metadata={"b": "c\ud83d"})["ids"] == ["a\ufffd"]
    (hit,) = ask("search", query=[1, 0])
    assert hit["id"] == "a\ufffd"
    assert ask("delete", vector_id="a\ud83d")["affected_rows"] == 1


def test_top_k_and_several_queries(books: Ask) -> None:
    assert ids(books("search", query=[1, 0], top_k=1)) == ["east"]
    assert [ids(hits) for hits in books("search", query=[[1, 0], [0, 1]], top_k=1)] == [["east"], ["north"]]
    assert books("search", query=[]) == []
    assert ids(books("search", query=[[1, 0]], top_k="2")[0]) == ["east", "between"]


def test_output_fields_choose_from_the_metadata(books: Ask) -> None:
    assert books("search", query=[1, 0], top_k=1, output_fields=["year"])[0]["metadata"] == {"year": 1990}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"tags": "a"}, ["east", "between"]),
        ({"year": {"gte": 2000}}, ["north", "between"]),
        ({"year": {"gt": 1990, "lt": 2010}}, ["north"]),
        ({"year": {"lte": 2000}, "tags": "a"}, ["east"]),
        ({"tags": {"in": ["b", "c"]}}, ["north", "west"]),
        ({"tags": {"not-in": ["a"]}}, ["north", "west"]),
        ({"tags": {"neq": "a"}}, ["north", "west"]),
        ({"year": None}, ["west"]),
        ({"year": {"gt": "1990"}}, []),
        ({"id": {"neq": "east"}}, ["north", "between", "west"]),
        ([{"field": "year", "operator": "eq", "value": 2010}], ["between"]),
        ([{"field": "year", "value": 2010}, {"field": "tags", "value": "b"}], []),
        ({}, ["east", "north", "between", "west"]),
    ],
)
def test_a_filter_chooses_by_metadata(books: Ask, given: Any, found: list[str]) -> None:
    assert sorted(ids(books("search", query=[1, 1], filter=given))) == sorted(found)


def test_a_filter_comes_before_the_count(books: Ask) -> None:
    assert ids(books("search", query=[-1, 0], top_k=1, filter={"tags": "a"})) == ["between"]


def test_ids_are_made_where_there_are_none(ask: Ask) -> None:
    one = ask("insert", vector=[1, 2])
    assert one["affected_rows"] == 1
    two = ask("insert", vector=[[1, 2], [3, 4]], document="the same", metadata={"k": 1})
    assert len({*one["ids"], *two["ids"]}) == 3
    hits = ask("search", query=[3, 4], metric_type="L2")
    assert [hit["document"] for hit in hits] == ["the same", None, "the same"], "of equal ones the older first"
    assert ask("insert", vector=[]) == {"ids": [], "affected_rows": 0}


def test_the_same_id_replaces(books: Ask) -> None:
    assert books("insert", vector=[0, -1], vector_id="east") == {"ids": ["east"], "affected_rows": 1}
    hits = books("search", query=[0, -1])
    assert len(hits) == 4
    assert (hits[0]["id"], hits[0]["document"], hits[0]["metadata"]) == ("east", None, {})


def test_update_merges(books: Ask) -> None:
    changed = books("update", vector_id="east", metadata={"year": 1991, "tags": None, "new": [1]})
    assert changed == {"affected_rows": 1}
    (hit,) = books("search", query=[1, 0], top_k=1)
    assert (hit["document"], hit["metadata"]) == ("sunrise", {"year": 1991, "new": [1]})
    books("update", vector_id=["east", "north"], vector=[[0, -3], [0, -4]], document=["x", "y"])
    assert sorted(hit["document"] for hit in books("search", query=[0, -1], top_k=2)) == ["x", "y"]


def test_update_inserts_what_is_not_there_unless_told_not_to(books: Ask) -> None:
    assert books("update", vector_id="new", vector=[5, 5], insert_if_not_exist=False) == {"affected_rows": 0}
    assert books("update", vector_id="new", vector=[5, 5]) == {"affected_rows": 1}
    assert len(books("search", query=[1, 1])) == 5
    with pytest.raises(RunError, match="there is no vector `other` yet, and no `vector` to insert"):
        books("update", vector_id="other", metadata={"a": 1})


def test_delete_by_id_and_by_filter(books: Ask) -> None:
    assert books("delete", vector_id=["east", "nobody"]) == {"affected_rows": 1}
    assert books("delete", vector_id="north", filter={"tags": "a"}) == {"affected_rows": 0}
    assert books("delete", filter={"tags": {"in": ["a", "b"]}}) == {"affected_rows": 2}
    assert ids(books("search", query=[1, 1])) == ["west"]
    assert books("delete") == {"affected_rows": 0}, "what should say which is null: that is not everything"
    assert books("delete", filter={}) == {"affected_rows": 0}


def test_collections_are_apart(ask: Ask) -> None:
    ask("insert", vector=[1, 0], vector_id="a", collection="one")
    ask("insert", vector=[1, 0, 0], vector_id="a", collection="two")
    assert ids(ask("search", query=[1, 0], collection="one")) == ["a"]
    assert ask("search", query=[1, 0], collection="three") == []
    ask("delete", vector_id="a", collection="one")
    assert ask("search", query=[1, 0], collection="one") == []
    assert ids(ask("search", query=[1, 0, 0], collection="two")) == ["a"]


def test_a_vector_of_zeros_is_near_to_nothing(ask: Ask) -> None:
    ask("insert", vector=[[0, 0], [1, 0]], vector_id=["zero", "one"])
    assert [(hit["id"], hit["score"]) for hit in ask("search", query=[1, 0])] == [("one", 1.0), ("zero", 0.0)]


@pytest.mark.parametrize(
    ("method", "values", "sentence"),
    [
        ("insert", {"vector": [1, 2, 3]}, "the vectors of `default` have 2 numbers, this one has 3; do they come from the same model?"),
        ("search", {"query": [1]}, "the vectors of `default` have 2 numbers, this one has 1; do they come from the same model?"),
        ("insert", {"vector": [[1, 2], [1]], "collection": "new"}, "the vectors of `new` have 2 numbers, this one has 1; do they come from the same model?"),
        ("search", {"query": "snow"}, '`query` is a list of numbers, or a list of such lists, not "snow" (an embedding model makes one of a text)'),
        ("search", {}, "`query` is null: there is no vector to search for"),
        ("search", {"query": [1, 2], "top_k": 0}, "`top_k` is a whole number from 1 on, not 0"),
        ("search", {"query": [1, 2], "metric_type": "hamming"}, '`metric_type` is COSINE, L2 or IP, not "hamming"'),
        ("search", {"query": [1, 2], "filter": {"a": {"gtt": 1}}}, "unknown operator `gtt` in a filter; did you mean `gt`?"),
        ("search", {"query": [1, 2], "filter": "year"}, '`filter` is a mapping such as `{year: {gte: 2020}}`, this is "year"'),
        ("search", {"query": [float("nan"), 2]}, "`query` is a list of numbers, or a list of such lists, not a list"),
        ("insert", {"vector": [[1, 2]], "vector_id": ["a", "b"]}, "`vector_id` has 2 items where 1 are wanted"),
        ("insert", {"vector": [[1, 2]], "document": ["a", "b"]}, "`document` has 2 items where 1 are wanted"),
        ("insert", {"vector": [1, 2], "metadata": "x"}, '`metadata` is a mapping or a list of mappings, not "x"'),
        ("find", {}, '`method` is insert, update, search or delete, not "find"'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(books: Ask, method: str, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RunError) as caught:
        books(method, **values)
    assert caught.value.sentence == sentence
    assert len(books("search", query=[1, 1])) == 4


def test_memory_belongs_to_the_loaded_workflow_and_a_file_to_all(tmp_path: Path) -> None:
    asking(tmp_path, "driver: memory")("insert", vector=[1, 0])
    assert asking(tmp_path, "driver: memory")("search", query=[1, 0]) == []
    asking(tmp_path, "driver: sqlite, path: v.sqlite")("insert", vector=[1, 0], vector_id="a", metadata={"t": "中"})
    (hit,) = asking(tmp_path, "driver: sqlite, path: v.sqlite")("search", query=[1, 0])
    assert (hit["id"], hit["metadata"]) == ("a", {"t": "中"})


def test_a_local_driver_of_the_peer_is_memory_with_a_note(tmp_path: Path) -> None:
    document = tmp_path / "model-compose.yml"
    document.write_text(
        "component: {type: vector-store, driver: chroma, storage_dir: ./chroma, "
        "action: {method: insert, collection: c, vector: [1, 2], vector_id: a}}",
        encoding="utf-8",
    )
    run = composemagic.load(document)()
    assert run.output == {"ids": ["a"], "affected_rows": 1}
    assert "`driver: chroma` is kept in memory here; `driver: sqlite` keeps it in a file" in notes(run)


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlite_vec", None)
    with pytest.raises(RunError) as caught:
        asking(tmp_path, "driver: sqlite")("search", query=[1])
    assert caught.value.sentence == '`driver: sqlite` needs sqlite-vec: pip install "composemagic[vector]"'


def test_a_broken_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "v.sqlite").write_text("no database " * 1000, encoding="utf-8")
    with pytest.raises(RunError, match=r"the file `v\.sqlite` cannot be used: "):
        asking(tmp_path, "driver: sqlite, path: v.sqlite")("search", query=[1])


@pytest.mark.parametrize(
    ("yaml", "sentences"),
    [
        ("driver: memroy, action: {method: delete, vector_id: a}", ['unknown `driver` "memroy"; did you mean `memory`?']),
        ("action: {method: search}", ["`method: search` needs `query`"]),
        ("action: {method: delete}", ["`method: delete` needs `vector_id` or `filter`"]),
        ("action: {method: insert, vector: [1], top_k: 3}", ["`top_k` belongs to `method: search`"]),
        ("action: {method: search, query: text}", [
            '`query` is a list of numbers, or a list of such lists, not "text" (an embedding model makes one of a text)',
        ]),
        ("action: {method: search, query: [1], filter: {year: {gte: 1, less: 2}}}", [
            "unknown operator `less` in a filter; it is one of eq, neq, gt, gte, lt, lte, in, not-in",
        ]),
        ("action: {method: search, query: [1], filter: {year: {in: 1990}}}", ["`in` needs a list to look in, this is 1990"]),
        ("action: {method: search, query: [1], metric_type: cos}", ['`metric_type` is COSINE, L2 or IP, not "cos"']),
    ],
)  # fmt: skip
def test_mistakes_are_found_when_it_is_loaded(yaml: str, sentences: list[str]) -> None:
    assert mistakes(f"component: {{type: vector-store, {yaml}}}") == sentences


def test_a_filter_of_nothing_is_none() -> None:
    assert fitting(None, "filter") is None
    assert fitting({}, "filter") is None


def test_the_example_of_the_docstring_runs(tmp_path: Path) -> None:
    document = tmp_path / "model-compose.yml"
    document.write_text(example(vector_store), encoding="utf-8")
    composemagic.load(document, "index")(vectors=[[1, 0], [0, 1]], texts=["Moby Dick", "Hamlet"])
    assert composemagic.load(document, "ask")(vector=[0.1, 0.9]).output == "Hamlet"


def test_the_docstring_names_every_setting() -> None:
    assert documented(vector_store) == {"driver", "path", *VectorSettings.model_fields} - {
        "mode", "storage_dir", "endpoint", "protocol", "host", "port", "tenant", "database", "timeout", "index_path", "dimension",
    } | set(KEYS)  # fmt: skip
