"""The graph of a workflow's jobs: what references imply, circles, what never starts, what ends it, ways back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composemagic.workflow.graph import Graph, Groups, cycle, grown, implied, never_started
from composemagic.workflow.job import DelayJob, IfJob, OnError
from tests.jobs import load, mistakes

# jobs: (id, what `depends_on` says, what it reads, what it may start); what it waits for in the end
IMPLIED = [
    ("a reference", {"a": ([], [], []), "b": ([], ["a"], [])}, {"a": [], "b": [["a"]]}),
    ("named already", {"a": ([], [], []), "b": ([["a", "c"]], ["a", "c"], []), "c": ([], [], [])}, {"b": [["a", "c"]]}),
    ("oneself", {"a": ([], ["a"], [])}, {"a": []}),
    ("who waits for the reader", {"a": ([], ["b"], []), "b": ([["a"]], [], [])}, {"a": [], "b": [["a"]]}),
    (
        "who waits for one that waits",
        {"a": ([], ["c"], []), "b": ([["a"]], [], []), "c": ([["b"]], [], [])},
        {"a": [], "c": [["b"]]},
    ),
    (
        "a revise loop by references alone",
        {
            "go": ([], [], ["draft"]),
            "draft": ([], ["review"], []),
            "review": ([], ["draft"], []),
            "r": ([], ["review"], ["draft"]),
        },
        {"draft": [], "review": [["draft"]], "r": [["review"]]},
    ),
    ("written later", {"a": ([], ["b"], []), "b": ([], [], [])}, {"a": [["b"]], "b": []}),
    ("unknown", {"a": ([], ["zz"], [])}, {"a": []}),
]


@pytest.mark.parametrize(("jobs", "wanted"), [row[1:] for row in IMPLIED], ids=[row[0] for row in IMPLIED])
def test_what_references_imply(
    jobs: dict[str, tuple[list[list[str]], list[str], list[str]]], wanted: dict[str, list[list[str]]]
) -> None:
    written = {name: tuple(map(tuple, groups)) for name, (groups, _, _) in jobs.items()}
    found = implied(
        written,
        {name: reads for name, (_, reads, _) in jobs.items()},
        {name: set(routes) for name, (_, _, routes) in jobs.items()},
    )
    assert {name: [list(group) for group in found[name]] for name in wanted} == wanted


CYCLES: list[tuple[dict[str, Groups], set[str] | None]] = [
    ({"a": (("b",),), "b": ()}, None),
    ({"a": (("b",),), "b": (("a",),)}, {"a", "b"}),
    ({"a": (("b",),), "b": (("c",),), "c": (("a", "d"),), "d": ()}, {"a", "b", "c"}),
    ({"x": (("a",),), "a": (("b",),), "b": (("a",),)}, {"a", "b"}),
    ({}, None),
]


@pytest.mark.parametrize(("groups", "wanted"), CYCLES)
def test_circles(groups: dict[str, Groups], wanted: set[str] | None) -> None:
    found = cycle(groups)
    assert (None if found is None else set(found)) == wanted


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9), st.data())
def test_a_circle_is_found_where_there_is_one(count: int, data: st.DataObject) -> None:
    """Against a plain reference: what is left when everything without an open dependency is taken away."""
    names = [str(number) for number in range(count)]
    groups = {
        name: tuple((other,) for other in data.draw(st.sets(st.sampled_from(names), max_size=2))) for name in names
    }
    left = dict(groups)
    while free := [name for name, each in left.items() if not any(other in left for (other,) in each)]:
        for name in free:
            del left[name]
    found = cycle(groups)
    assert (found is not None) == bool(left)
    for at, name in enumerate(found or ()):
        assert found is not None and (found[(at + 1) % len(found)],) in groups[name]


def test_a_long_row_of_jobs_needs_no_recursion() -> None:
    row = {str(number): (((str(number - 1),),) if number else ()) for number in range(5000)}
    assert cycle(row) is None
    assert cycle({**row, "0": (("4999",),)}) is not None


@pytest.mark.parametrize(
    ("groups", "routers", "wanted"),
    [
        ({"r": (), "a": ()}, {"a": ("r",)}, []),
        ({"r": (), "a": (("r",),)}, {"a": ("r",)}, []),
        ({"a": (), "r": (("a",),)}, {"a": ("r",)}, ["a"]),
        ({"go": (), "a": (), "r": (("a",),)}, {"a": ("go", "r")}, []),
        ({"a": (), "r": (("a",),), "b": (("r",),)}, {"a": ("r",), "b": ("r",)}, ["a"]),
        ({"r": ()}, {"r": ("r",)}, ["r"]),
        ({"a": (), "ra": (("b",),), "b": (), "rb": (("a",),)}, {"a": ("ra",), "b": ("rb",)}, ["a", "b"]),
        ({"a": (), "x": (), "r": (("a", "x"),)}, {"a": ("r",)}, []),
    ],
)
def test_what_never_starts(groups: dict[str, Groups], routers: dict[str, tuple[str, ...]], wanted: list[str]) -> None:
    assert never_started(groups, routers) == wanted


def test_each_of_a_long_row_is_asked_about_as_often_as_something_before_it_starts() -> None:
    """Also where the row is written backward, and the last one written starts first."""
    names = [str(number) for number in range(300)]
    after = {name: {before} for before, name in pairwise(names)}
    asked: list[str] = []

    def joins(name: str, found: set[str]) -> bool:
        asked.append(name)
        return name == "299" or str(int(name) + 1) in found

    assert grown(names, after, joins) == set(names)
    assert len(asked) < 3 * len(names)


def job(name: str, *depends_on: tuple[str, ...], to: str | None = None) -> DelayJob:
    return DelayJob(id=name, path=(), depends_on=depends_on, on_error=None if to is None else OnError(to))


def test_terminals_and_routers() -> None:
    router = IfJob(id="r", path=(), otherwise="c", depends_on=(("a",),))
    graph = Graph((job("a"), router, job("b", ("a", "c")), job("c"), job("d", to="c")))
    assert graph.terminals == ("b", "d")
    assert graph.routers == {"c": ("r", "d")}
    assert graph.downstream("a") == {"r", "b", "c"}


def test_what_lies_on_the_way_back() -> None:
    graph = Graph(
        (
            job("start"),
            job("draft", ("start",)),
            job("log", ("draft",)),
            job("check", ("draft",)),
            IfJob(id="again", path=(), otherwise="draft", depends_on=(("check",),)),
        )
    )
    assert graph.between("draft", "again") == {"draft", "check", "again"}
    assert graph.between("log", "again") == {"log"}


# -- in documents ----------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("  jobs: [{id: a, depends_on: [b]}, {id: b, depends_on: [a]}]", "these jobs wait for each other: `a` -> `b` -> `a`"),
    ("  jobs: [{id: a, input: '${jobs.b.output}'}, {id: b, input: '${jobs.a.output}'}]", "these jobs wait for each other: `a` -> `b` -> `a`"),
    ("  jobs: [{id: a, depends_on: a}]", "the job `a` waits for itself"),
    ("  jobs: [{id: a, depends_on: [bb]}, {id: b}]", "no job `bb`; did you mean `b`?"),
    ("  jobs: [{id: a, depends_on: [[]]}]", "an empty group of `depends_on` waits for nothing"),
    ("  jobs: [{id: a}, {id: a}]", "two jobs are called `a`"),
    ("  jobs: [{id: __default__}]", "`__default__` is a name that the language keeps for itself"),
    ("  jobs: [{id: a}, {id: r, type: if, input: '${jobs.a.output}', value: 1, if_true: a}]", "the job `a` never starts: only `r` can start it, and that waits for it"),
    ("  jobs: [{id: a}, {id: b, input: '${jobs.__job__.output}'}]", "`__job__` is the only job of a workflow; here there are `a`, `b`"),
    ("  jobs: [{id: a, input: '${jobs.b.output}'}]", "no job `b`"),
]  # fmt: skip


@pytest.mark.parametrize(("jobs", "sentence"), MISTAKES)
def test_mistakes_in_documents(jobs: str, sentence: str) -> None:
    found = mistakes(jobs)
    # which of a circle comes first does not matter
    turned = sentence.replace("`a` -> `b` -> `a`", "`b` -> `a` -> `b`")
    assert sentence in found or turned in found, found


def test_ids_that_are_not_written() -> None:
    workflow = load("  jobs: [{}, {id: job-1}, {}, {input: '${jobs.job-3.output}'}]")
    plan = workflow._plan
    assert [job.id for job in plan.jobs] == ["job-2", "job-1", "job-3", "job-4"]
    assert plan.jobs[3].depends_on == (("job-3",),)
    assert [job.id for job in load("  job: {}")._plan.jobs] == ["job-1"]
