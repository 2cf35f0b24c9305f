"""`type: workflow`: another workflow of the document as a component, its streams, its failures and how deep it may go."""

from __future__ import annotations

from typing import Any

import pytest

import composemagic
from composemagic import DocumentError, Run
from composemagic.components import workflow as component
from composemagic.engine.events import Interrupted

GREET = """
  - id: greet
    private: true
    job:
      component: {type: echo, text: "Hello ${input.name}"}
"""


def text(action: str, other: str = GREET, output: str = "") -> str:
    return f"workflows:\n  - id: main\n    default: true\n{output}    job:\n      component:\n        type: workflow\n        {action}\n{other}"


def ran(yaml: str, value: Any = None) -> Run:
    run = composemagic.load(yaml).start({} if value is None else value)
    assert run.wait(60)
    return run


def output(yaml: str, value: Any = None) -> Any:
    run = ran(yaml, value)
    assert run.error is None, run.error
    return run.output


def test_it_is_given_this_actions_input() -> None:
    assert output(text("workflow: greet"), {"name": "Ada"}) == "Hello Ada"


def test_its_input_may_be_mapped() -> None:
    assert output(text("action: {workflow: greet, input: {name: '${input.who}'}}"), {"who": "Ada"}) == "Hello Ada"


def test_its_output_is_the_source_output() -> None:
    yaml = text("workflow: greet\n        output: {said: '${output}', by: greet}")
    assert output(yaml, {"name": "Ada"}) == {"said": "Hello Ada", "by": "greet"}


def test_a_value_comes_back_as_it_is() -> None:
    other = "  - id: other\n    job: {component: {type: echo, value: {a: [1, null, true]}}}\n"
    assert output(text("workflow: other", other)) == {"a": [1, None, True]}


def test_its_stream_streams_through() -> None:
    run = ran(text("workflow: greet"), {"name": "Ada"})
    assert (run.text, run.timing.deltas) == ("Hello Ada", 2)


def test_each_chunk_of_it_can_be_mapped() -> None:
    assert output(text("workflow: greet\n        output: '<${output[]}>'"), {"name": "Ada"}) == "<Hello>< Ada>"


def test_it_asks_for_what_the_other_asks_for() -> None:
    asked = composemagic.load(text("action: {workflow: greet, input: {name: '${input.who | Ada}'}}")).inputs
    assert [(one.name, one.required) for one in asked] == [("who", False)]


def test_the_others_own_output_counts() -> None:
    other = "  - id: other\n    output: {all: '${output}'}\n    job: {component: {type: echo, text: a b}}\n"
    assert output(text("workflow: other", other)) == {"all": "a b"}


def test_a_failure_in_it_is_this_runs_failure() -> None:
    other = "  - id: other\n    job: {component: {type: echo, text: x, delay: soon}}\n"
    run = ran(text("workflow: other", other))
    assert run.status == "failed"
    assert run.error is not None
    assert "`delay` is a number of seconds" in run.error.sentence


def test_stopping_the_run_stops_it() -> None:
    other = "  - id: other\n    job: {component: {type: echo, text: one two, delay: 600}}\n"
    run = composemagic.load(text("workflow: other", other)).start({})
    run.cancel()
    assert run.wait(30)
    assert run.status == "stopped"


def test_recursion_ends_at_a_depth() -> None:
    """Workflows that call themselves under a condition go 16 deep; what calls itself in any case is a mistake of the document."""
    called: list[int] = []

    def deeper(depth: int) -> dict[str, int]:
        called.append(depth)
        return {"depth": depth + 1}

    yaml = """
    workflows:
      - id: main
        jobs:
          - {id: count, component: {type: function, function: deeper, input: {depth: "${input.depth as integer}"}}}
          - {id: more, type: if, depends_on: [count], input: "${jobs.count.output.depth}", operator: lt, value: 1000, if_true: again}
          - {id: again, component: {type: workflow, workflow: main}, input: "${jobs.count.output}"}
    """
    run = composemagic.load(yaml, functions={"deeper": deeper}).start({"depth": 0})
    assert run.wait(60)
    assert run.error is not None
    assert "16" in run.error.sentence
    assert called == list(range(len(called)))
    assert len(called) in (16, 17)


def test_the_default_workflow_by_that_name_is_found_to_call_itself() -> None:
    yaml = "workflow: {id: m, job: {component: {type: workflow, workflow: __default__}}}"
    with pytest.raises(DocumentError, match="the workflow `m` calls itself, without end"):
        composemagic.load(yaml)


def test_executions_in_two_calls_of_it_have_names_of_their_own() -> None:
    """Else a person's answer could not say which of them it is for, nor the run which of them waits."""
    yaml = """
    workflows:
      - {id: main, default: true, jobs: [{id: j, type: for-each, batch_size: 2, input: [1, 2], do: {component: other}}]}
      - {id: ask, jobs: [{id: a, component: give, interrupt: {before: true}}]}
    components:
      - {id: other, type: workflow, action: {workflow: ask}}
      - {id: give, type: echo}
    """
    run = composemagic.load(yaml).start({})
    stops = 0
    for event in run:
        if isinstance(event, Interrupted):
            stops += 1
            by_value = {point.value: point for point in event.points}
            assert len({point.run_id for point in event.points}) == len(by_value) == 2
            run.answer({by_value[1].id: "one", by_value[2].id: "two"})
    assert (run.output, stops) == (["one", "two"], 1)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("workflow: gret", "gret"),
        ("worfklow: greet", "unknown key `worfklow` in a workflow component; did you mean `workflow`?"),
        ("workflow: greet\n        output: ${result}", "`result` cannot be used here"),
    ],
)
def test_mistakes_are_found_when_the_document_is_loaded(action: str, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        composemagic.load(text(action))
    assert expected in str(caught.value)


def test_the_example_runs() -> None:
    example = "\n".join(line[4:] for line in (component.__doc__ or "").split("\n\n")[1].splitlines())
    assert output(example, {"name": "Ada"}) == "Hello Ada (said by another workflow)"
