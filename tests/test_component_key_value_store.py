"""key-value-store: both drivers keep the same, as long as they should."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import composemagic
from composemagic import RunError
from composemagic.components import busy, key_value_store
from composemagic.components.key_value_store import StoreAction, StoreSettings
from tests.component_examples import documented, example, mistakes

ANY_ACTION = "action: {method: '${input.method}', key: '${input.key}', value: '${input.value}', ttl: '${input.ttl}'}"
Ask = Callable[..., Any]


def asking(path: Path, driver: str) -> Ask:
    """A store in a folder, and what asks it: `ask("set", "a", 1)`."""
    document = path / "model-compose.yml"
    document.write_text(f"component: {{type: key-value-store, {driver}, {ANY_ACTION}}}", encoding="utf-8")
    workflow = composemagic.load(document)

    def ask(method: str, key: Any, value: Any = None, ttl: Any = None) -> Any:
        run = workflow.start({"method": method, "key": key, "value": value, "ttl": ttl})
        run.wait()
        run.raise_for_error()
        return run.output

    return ask


@pytest.fixture(params=["driver: memory", "driver: sqlite"], ids=["memory", "sqlite"])
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Ask:
    return asking(tmp_path, request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the stores take for the time, to be moved."""
    now = [1000.0]
    monkeypatch.setattr(key_value_store, "time", lambda: now[0])
    return now


def test_one_key(ask: Ask) -> None:
    assert ask("get", "a") == {"key": "a", "value": None}
    assert ask("exists", "a") == {"key": "a", "exists": False}
    assert ask("delete", "a") == {"key": "a", "deleted": False}
    assert ask("set", "a", {"n": [1]}) == {"key": "a", "success": True}
    assert ask("get", "a") == {"key": "a", "value": {"n": [1]}}
    assert ask("exists", "a") == {"key": "a", "exists": True}
    assert ask("delete", "a") == {"key": "a", "deleted": True}
    assert ask("exists", "a") == {"key": "a", "exists": False}


def test_a_list_of_keys_gives_a_list(ask: Ask) -> None:
    assert ask("set", ["a", "b"], [1, None]) == [{"key": "a", "success": True}, {"key": "b", "success": True}]
    assert ask("get", ["b", "a", "c"]) == [
        {"key": "b", "value": None},
        {"key": "a", "value": 1},
        {"key": "c", "value": None},
    ]
    assert ask("exists", ["b", "c"]) == [{"key": "b", "exists": True}, {"key": "c", "exists": False}]
    assert ask("delete", ["a", "a"]) == [{"key": "a", "deleted": True}, {"key": "a", "deleted": False}]
    assert ask("get", []) == []


@pytest.mark.parametrize(
    "value", ["5", "true", "", "中文", 5, 2.5, True, None, [], {"a": {"b": [None]}}, "[1]", "a\0b"]
)
def test_a_value_comes_back_as_it_was(ask: Ask, value: Any) -> None:
    ask("set", "k", value)
    found = ask("get", "k")["value"]
    assert found == value
    assert type(found) is type(value)


def test_a_key_is_text(ask: Ask) -> None:
    ask("set", 7, "seven")
    assert ask("get", "7") == {"key": "7", "value": "seven"}
    ask("set", "it's; DROP TABLE kv_store", 1)
    assert ask("exists", "7")["exists"]


def test_half_a_character_can_be_in_a_key_and_in_a_value(ask: Ask) -> None:
    ask("set", "a\ud83d", "b\ud83d")
    assert ask("get", "a\ud83d")["key"] == "a\ufffd"
    assert ask("exists", "a\ud83d")["exists"] is True


def test_what_is_given_does_not_change_what_is_kept(ask: Ask) -> None:
    given = {"list": [1]}
    ask("set", "k", given)
    given["list"].append(2)
    ask("get", "k")["value"]["list"].append(3)
    assert ask("get", "k")["value"] == {"list": [1]}


def test_a_value_runs_out(ask: Ask, clock: list[float]) -> None:
    ask("set", "short", 1, "2m")
    ask("set", "long", 2)
    clock[0] += 119.9
    assert ask("get", "short")["value"] == 1
    clock[0] += 0.1
    assert ask("get", ["short", "long"]) == [{"key": "short", "value": None}, {"key": "long", "value": 2}]
    assert ask("exists", "short")["exists"] is False
    assert ask("delete", "short")["deleted"] is False


def test_a_value_that_is_set_again_has_a_new_time(ask: Ask, clock: list[float]) -> None:
    ask("set", "k", 1, 10)
    ask("set", "k", 2)
    clock[0] += 1000
    assert ask("get", "k")["value"] == 2


def test_memory_belongs_to_the_loaded_workflow(tmp_path: Path) -> None:
    one, other = (asking(tmp_path, "driver: memory") for _ in range(2))
    one("set", "k", 1)
    assert one("exists", "k")["exists"]
    assert not other("exists", "k")["exists"]


def test_a_file_is_for_all(tmp_path: Path) -> None:
    asking(tmp_path, "driver: sqlite, path: data.sqlite, table: mine")("set", "k", "v")
    assert asking(tmp_path, "driver: sqlite, path: data.sqlite, table: mine")("get", "k")["value"] == "v"
    assert asking(tmp_path, "driver: sqlite, path: data.sqlite")("get", "k")["value"] is None
    with closing(sqlite3.connect(tmp_path / "data.sqlite")) as file:
        assert file.execute("SELECT key, value, expires_at FROM mine").fetchall() == [("k", json.dumps("v"), None)]


def test_a_file_of_model_compose_is_read(tmp_path: Path) -> None:
    """Its texts stand there without quotes, and its table has no constraint."""
    with closing(sqlite3.connect(tmp_path / "kv-store.sqlite")) as file, file:
        file.execute("CREATE TABLE kv_store (key TEXT PRIMARY KEY, value TEXT, expires_at REAL)")
        file.executemany("INSERT INTO kv_store VALUES (?, ?, NULL)", [("a", "plain text"), ("b", '{"n": 1}')])
    ask = asking(tmp_path, "driver: sqlite")
    assert [one["value"] for one in ask("get", ["a", "b"])] == ["plain text", {"n": 1}]


def test_what_has_run_out_leaves_the_file(tmp_path: Path, clock: list[float]) -> None:
    ask = asking(tmp_path, "driver: sqlite")
    ask("set", "k", 1, 5)
    clock[0] += 6
    ask("set", "other", 1)
    with closing(sqlite3.connect(tmp_path / "kv-store.sqlite")) as file:
        assert file.execute("SELECT key FROM kv_store").fetchall() == [("other",)]


def test_memory_of_sqlite_is_memory(tmp_path: Path) -> None:
    ask = asking(tmp_path, "driver: sqlite, path: ':memory:'")
    ask("set", "k", 1)
    assert ask("get", "k")["value"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model-compose.yml"]


def test_a_file_that_another_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "_PATIENCE", 60)
    ask = asking(tmp_path, "driver: sqlite")
    ask("set", "k", 1)
    with closing(sqlite3.connect(tmp_path / "kv-store.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answers: list[Any] = []
        waiting = threading.Thread(target=lambda: answers.append(ask("set", "k", 2)))
        waiting.start()
        assert asking(tmp_path, "driver: memory")("exists", "k") == {"key": "k", "exists": False}  # the loop is free
        assert answers == []
        other.execute("COMMIT")
    waiting.join(60)
    assert answers == [{"key": "k", "success": True}]
    assert ask("get", "k")["value"] == 2


def test_a_file_that_stays_locked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "_PATIENCE", 0.05)
    ask = asking(tmp_path, "driver: sqlite")
    ask("set", "k", 1)
    with closing(sqlite3.connect(tmp_path / "kv-store.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RunError) as caught:
            ask("get", "k")
    assert caught.value.sentence == "the file `kv-store.sqlite` cannot be used: database is locked"


@pytest.mark.parametrize(
    ("driver", "values", "sentence"),
    [
        ("driver: memory", ("get", {"a": 1}), "`key` is a text or a list of texts, this is a mapping"),
        ("driver: memory", ("get", b"\xff"), "`key`: the bytes are not UTF-8 text"),
        ("driver: memory", ("get", None), "`key` is a text or a list of texts, this is empty"),
        ("driver: memory", ("sett", "k"), '`method` is get, set, delete or exists, not "sett"; did you mean `set`?'),
        ("driver: memory", ("set", ["a", "b"], [1]), "`key` is a list of 2: `value` is a list of as many"),
        ("driver: memory", ("set", "k", 1, 0), "`ttl` is more than 0 seconds"),
        ("driver: sqlite", ("set", "k", b"x"), "`value` cannot be written into a file: Object of type bytes is not JSON serializable"),
        ("driver: sqlite, path: broken.txt", ("get", "k"), "the file `broken.txt` cannot be used: file is not a database"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(tmp_path: Path, driver: str, values: tuple[Any, ...], sentence: str) -> None:
    (tmp_path / "broken.txt").write_text("no database " * 1000, encoding="utf-8")
    with pytest.raises(RunError) as caught:
        asking(tmp_path, driver)(*values)
    assert caught.value.sentence == sentence


def test_a_failing_write_leaves_what_was_there(tmp_path: Path) -> None:
    ask = asking(tmp_path, "driver: sqlite")
    ask("set", "a", 1)
    with pytest.raises(RunError):
        ask("set", ["a", "b"], [2, b"bytes"])
    assert ask("get", "a")["value"] == 1


def test_a_file_outside_the_folder_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(RunError):
        asking(inner, "driver: sqlite, path: ../data.sqlite")("get", "k")
    assert not (tmp_path / "data.sqlite").exists()


@pytest.mark.parametrize(
    ("yaml", "sentences"),
    [
        ("action: {method: get, key: a}, drivr: memory", ["unknown key `drivr` in a key-value-store component; did you mean `driver`?"]),
        ("action: {method: get, key: a}, driver: sqllite", ['unknown `driver` "sqllite"; did you mean `sqlite`?']),
        ("action: {method: get, key: a}, driver: sqlite, table: 'a b'", ['`table` is a name of letters, digits and `_`, not "a b"']),
        ("action: {key: a}", ["a key-value-store action needs `method`"]),
        ("action: {method: set, key: a}", ["`method: set` needs `value`"]),
        ("action: {method: set, key: a, value: 1, ttl: soon}", [
            '`ttl`: a duration is seconds, or a text such as "500ms", "5s" or "2m", not "soon"',
        ]),
        ("action: {method: get, key: a, ttl: 5}", ["`ttl` belongs to `method: set`"]),
        ("action: {method: put, key: a}", ['unknown `method` "put"; it is one of get, set, delete, exists']),
    ],
)  # fmt: skip
def test_mistakes_are_found_when_it_is_loaded(yaml: str, sentences: list[str]) -> None:
    assert mistakes(f"component: {{type: key-value-store, {yaml}}}") == sentences


def test_the_example_of_the_docstring_runs(tmp_path: Path) -> None:
    document = tmp_path / "model-compose.yml"
    document.write_text(example(key_value_store), encoding="utf-8")
    composemagic.load(document, "remember")(name="monday", note="bring the books")
    assert composemagic.load(document, "recall")(name="monday").output == "bring the books"


def test_the_docstring_names_every_setting() -> None:
    own = {*StoreSettings.model_fields, *StoreAction.model_fields}
    of_the_peer = {"url", "host", "port", "secure", "database", "password", "batch_size"}
    assert documented(key_value_store) == own - of_the_peer
