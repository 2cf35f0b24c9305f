"""Runs a conformance table: `python -m tests.conformance KIND FILE.jsonl`.

Prints every failing row (id, chunking, expected, got) and `N passed, M failed` as the last line; for the language
`N passed, D by decision, M failed`, where D are the rows that give what ours gives on purpose. Exit status: 0 all passed, 1
some failed, 2 misuse. Rows of the language that need what is not in this version are counted on the line before.
A kind is one function from a row to its failures, in the table `KINDS` at the end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conformance import faults, hostile, render, schema, sse, workflow
from tests.conformance.rows import (
    DEVIATIONS,
    STAGES,
    Failure,
    LeftError,
    RefusedError,
    Row,
    alike,
    read_rows,
    with_decision,
)


def check(kind: str, row: Row) -> list[Failure]:
    """The failures of one row; an exception in it is one.

    Raises:
        LeftError: the row is for a later version.
    """
    try:
        return list(KINDS[kind](row))
    except LeftError:
        raise
    except Exception as error:  # one broken row must not hide the others
        return [Failure("exception", "none", f"{type(error).__name__}: {error}")]


def check_language(row: Row) -> Iterator[Failure]:
    """One row of any kind against its `expected`, its `error`, or what `with_decision` has put there."""
    wanted = row.get("error")
    try:
        got = RENDERERS[row["kind"]](row)
    except RefusedError as refused:
        if wanted is None:
            yield Failure(row["kind"], row["expected"], f"error at {refused}")
        elif STAGES[refused.stage] > STAGES[wanted.get("stage", "stream")]:
            yield Failure("stage", wanted["stage"], f"error at {refused}")
        return
    if wanted is not None:
        yield Failure(row["kind"], f"error: {wanted.get('message')}", got)
    elif not alike(row["expected"], got):
        yield Failure(row["kind"], row["expected"], got)


RENDERERS: dict[str, Callable[[Row], object]] = {
    "render": render.render,
    "schema": schema.infer,
    "workflow": workflow.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a table and print what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Run a conformance table.")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--decisions", type=Path, help="what ours gives on purpose, by row id (language)")
    parser.add_argument("--kinds", default="", help="only rows of these kinds, such as render,schema (language)")
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.file)
        decisions = json.loads(options.decisions.read_text("utf-8")) if options.decisions else {}
    except (OSError, ValueError) as error:
        parser.error(f"cannot read a table: {error}")  # exits with 2
    kinds = set(filter(None, options.kinds.split(",")))
    rows = [row for row in rows if not kinds or row.get("kind") in kinds]
    if options.kind != "language":
        return report(options.kind, rows)
    return report(options.kind, [with_decision(row, decisions) for row in rows], {**DEVIATIONS, **decisions})


def checked(kind: str, rows: Sequence[Row]) -> Iterator[tuple[Row, list[Failure] | None]]:
    """Each row with its failures, None where it is left; as many rows beside each other as the kind allows."""

    def one(row: Row) -> list[Failure] | None:
        try:
            return check(kind, row)
        except LeftError:
            return None

    if kind not in WIDTHS:
        yield from ((row, one(row)) for row in rows)
        return
    with ThreadPoolExecutor(WIDTHS[kind]) as threads:
        yield from zip(rows, threads.map(one, rows), strict=True)


def report(kind: str, rows: Sequence[Row], decided: Collection[str] | None = None) -> int:
    """Check the rows and print what fails, how many are left for later versions, and the sum.

    `decided` are the ids of rows that are compared with a decision: those that pass are counted apart.
    """
    failed = left = by_decision = 0
    for row, failures in checked(kind, rows):
        if failures is None:
            left += 1
            continue
        failed += bool(failures)
        by_decision += not failures and decided is not None and row["id"] in decided
        if failures:
            print(f"FAILED {row['id']}", *failures, sep="\n")
    if left:
        print(f"{left} left: they need what is not in this version")
    passed = len(rows) - failed - left - by_decision
    print(f"{passed} passed, {f'{by_decision} by decision, ' if decided is not None else ''}{failed} failed")
    return 1 if failed else 0


KINDS: dict[str, Callable[[Row], Iterator[Failure]]] = {
    "sse": sse.check_sse,
    "language": check_language,
    "faults": faults.check_faults,
    "yaml_hostile": hostile.check_hostile,
}
WIDTHS = {"faults": faults.WIDTH}
