"""tests/data/language.jsonl: every row that this version can run, met exactly or as language_decisions.json says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import conformance
from tests.conformance.responses import SSE, merged, projected
from tests.conformance.rows import DEVIATIONS, LeftError, load_row, read_rows, with_decision

DATA = Path(__file__).parent / "data"
DECISIONS = json.loads((DATA / "language_decisions.json").read_text("utf-8"))
ROWS = [with_decision(row, DECISIONS) for row in read_rows(DATA / "language.jsonl")]


def needs_later(row: dict[str, Any]) -> bool:
    """Whether the loader says, without running anything, that a row is for a later version."""
    try:
        if row["kind"] == "workflow":
            load_row({**row, "yaml": row["yaml"].replace("{{ECHO}}", "http://127.0.0.1:1")}, row.get("workflow"))
        else:
            conformance.RENDERERS[row["kind"]](row)
    except LeftError:
        return True
    except Exception:  # whatever else is wrong with a row, its own test says it
        return False
    return False


IN_SCOPE = [row for row in ROWS if not needs_later(row)]


@pytest.mark.parametrize("row", IN_SCOPE, ids=lambda row: row["id"])
def test_row(row: dict[str, Any]) -> None:
    failures = conformance.check("language", row)
    assert not failures, "\n".join(map(str, failures))


def test_the_scope_does_not_shrink() -> None:
    """More rows come into scope with every version; a row that falls out of it fails here."""
    counts = Counter(row["kind"] for row in IN_SCOPE)
    least = {"render": 205, "schema": 52, "workflow": 82}
    assert {kind: count for kind, count in counts.items() if count < least[kind]} == {}


def test_every_row_is_known() -> None:
    assert len(ROWS) == 419
    assert {row["kind"] for row in ROWS} == set(conformance.RENDERERS)
    assert {row["id"] for row in ROWS} >= set(DECISIONS) | set(DEVIATIONS)


ROW = {"id": "r", "kind": "render", "template": "${input.n as integer}", "sources": {"input": {"n": "7"}}}


@pytest.mark.parametrize(
    ("row", "failing"),
    [
        ({"expected": 7}, False),
        ({"expected": 8}, True),
        ({"expected": "7"}, True),
        ({"expected": True, "sources": {"input": {"n": 1}}}, True),
        ({"error": {"message": "x"}}, True),
        ({"error": {"message": "x"}, "sources": {"input": {"n": "x"}}}, False),
        ({"error": {"message": "x", "stage": "load"}, "sources": {"input": {"n": "x"}}}, True),
        ({"error": {"message": "x", "stage": "run"}, "template": "${"}, False),
        ({"expected": {"$stream": ["a"]}, "template": "${s}", "sources": {"s": {"$stream": ["a", None]}}}, False),
        ({"expected": {"$stream": ["b"]}, "template": "${s}", "sources": {"s": {"$stream": ["a"]}}}, True),
        ({"expected": "ab!", "template": "${s}!", "sources": {"s": {"$stream": ["a", "b"]}}}, False),
        ({"expected": {"$bytes": "YQ=="}, "template": "${b}", "sources": {"b": {"$bytes": "YQ=="}}}, False),
        ({"expected": {"$float": "nan"}, "template": "${f}", "sources": {"f": {"$float": "nan"}}}, False),
    ],
)
def test_the_runner_sees_what_is_wrong(row: dict[str, Any], failing: bool) -> None:
    assert bool(conformance.check("language", {**ROW, **row})) is failing


@pytest.mark.parametrize(
    ("ours", "row", "becomes"),
    [
        ("error at load: x", {"expected": 1}, {"error": {"message": "error at load: x", "stage": "load"}}),
        (
            "error (as the row)",
            {"error": {"stage": "schema"}},
            {"error": {"message": "error (as the row)", "stage": "schema"}},
        ),
        ("error (as the row)", {"error": {}}, {"error": {"message": "error (as the row)", "stage": "stream"}}),
        ({"a": 1}, {"error": {"stage": "load"}}, {"expected": {"a": 1}}),
    ],
)
def test_decisions_win(ours: object, row: dict[str, Any], becomes: dict[str, Any]) -> None:
    assert with_decision({"id": "r", **row}, {"r": {"ours": ours}}) == {"id": "r", **becomes}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def left(row: dict[str, Any]) -> object:
        raise LeftError("for a later version")

    monkeypatch.setitem(conformance.RENDERERS, "workflow", left)
    later = {"id": "later", "kind": "workflow", "yaml": "", "expected": {}}
    good, bad = {**ROW, "id": "good", "expected": 7}, {**ROW, "id": "bad", "expected": 8}
    other = {"id": "other", "kind": "schema", "yaml": "{}", "expected": {"x": {}}}
    table, decisions = tmp_path / "rows.jsonl", tmp_path / "decisions.json"
    table.write_text("\n".join(map(json.dumps, [later, good, bad, other])))
    decisions.write_text("{}")
    command = ["language", str(table), "--decisions", str(decisions), "--kinds"]
    assert conformance.main([*command, "render,workflow"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "FAILED bad"
    assert out[-2:] == ["1 left: they need what is not in this version", "1 passed, 0 by decision, 1 failed"]
    decisions.write_text(json.dumps({"bad": {"ours": 7}}))
    assert conformance.main([*command, "render"]) == 0
    assert capsys.readouterr().out.splitlines() == ["1 passed, 1 by decision, 0 failed"]
    decisions.write_text(json.dumps({"bad": {"ours": 9}}))
    assert conformance.main([*command, "render"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 by decision, 1 failed"
    with pytest.raises(SystemExit) as exit_:
        conformance.main(["language", str(tmp_path / "none.jsonl")])
    assert exit_.value.code == 2


PEER = {
    "responses": [{"status": 200, "content_type": "application/json", "json": {"a": 1}}, {"status": 400, "text": "x"}]
}


@pytest.mark.parametrize(
    ("decision", "first"),
    [
        ({"ours": {"json": {"b": 2}}}, {"status": 200, "content_type": "application/json", "json": {"b": 2}}),
        ({"ours": {"text": "t"}}, {"status": 200, "content_type": SSE, "text": "t"}),
        ({"ours": {"status": 500}, "why": "the number is open"}, {"status": "not 200", "content_type": "application/json"}),
        ({"ours": {"responses": ["as the peer", "as the peer"]}}, PEER["responses"][0]),
        ({"ours": {"responses": ["200 text/plain", "as the peer"]}}, {"status": 200, "content_type": "text/plain"}),
    ],
)  # fmt: skip
def test_decisions_about_answers(decision: dict[str, Any], first: dict[str, Any]) -> None:
    assert merged(PEER, decision) == {"responses": [first, PEER["responses"][1]]}


@pytest.mark.parametrize(
    ("expected", "got", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 1}),
        ({"a": 1}, {"b": 2}, {}),
        ("<task>", "x", "<task>"),
        ("<task>", "", ""),
        ("not 200", 422, "not 200"),
        ("not 200", 200, 200),
        ("a {...} b", "a {1} b", "a {...} b"),
        ("a {...} b", "a 1 b", "a 1 b"),
        ([{"a": "<x>"}], [{"a": "y", "b": 1}], [{"a": "<x>"}]),
        ([1], [1, 2], [1, 2]),
    ],
)
def test_what_a_row_speaks_of(expected: object, got: object, found: object) -> None:
    assert projected(expected, got) == found
