"""The chat workflow in every spelling the language has had: each gives the same, and says what was read."""

from __future__ import annotations

from pathlib import Path

import pytest

import composemagic
from composemagic.engine.events import Delta
from tests.conformance.rows import with_echo

FOLDER = Path(__file__).parent / "data" / "spellings"

CONTROLLER = "flat `controller` -> `controller.adapter`"
ACTION = "an action's fields on the component -> `action`"
JOB = "a job's fields on the workflow -> `job`"
STREAMING = "`streaming: true` -> `stream: true`"
RESPONSE_TYPE = "`response_type` -> the type that the answer itself names"

READ_AS: dict[str, list[str]] = {
    "01-2025-08-01-raw-sse": [
        CONTROLLER,
        ACTION,
        JOB,
        "`as text/choices[0].delta.content;sse-json` -> each chunk's `choices[0].delta.content`, as `stream/text`",
    ],
    "02-2025-08-sse-text": [CONTROLLER, ACTION, JOB, "`as text;sse-text` -> `as stream/text`"],
    "03-2025-09-streaming-true": [CONTROLLER, ACTION, STREAMING, JOB, "`as text;sse-text` -> `as stream/text`"],
    "04-mappings-of-ids": [
        "`workflows` as a mapping -> a list with ids",
        "`components` as a mapping -> a list with ids",
        ACTION,
        "`jobs` as a mapping -> a list with ids",
        "`as text;sse-text` -> `as stream/text`",
    ],
    "05-actions-by-id": [
        CONTROLLER,
        "`actions` as a mapping -> a list with ids",
        JOB,
        "`as text;sse-text` -> `as stream/text`",
    ],
    "06-2026-04-lists": [STREAMING, "`as text;sse-text` -> `as stream/text`"],
    "07-2026-05-sse-text-type": ["`as sse-text` -> `as stream/text`"],
    "08-2026-06-event-stream": ["`as event-stream/text` -> `as stream/text`"],
    "09-today": [],
    "10-inline-component": [JOB, ACTION, "`as event-stream/text` -> `as stream/text`"],
    "11-docs-response-type": [
        RESPONSE_TYPE,
        "a job's `type: action` -> `type: component`",
        "`as sse-text` -> `as stream/text`",
    ],
    "12-docs-inline-streaming": [
        CONTROLLER,
        "`jobs` as a mapping -> a list with ids",
        "`actions` as a mapping -> a list with ids",
        RESPONSE_TYPE,
        STREAMING,
        "`as event-stream` -> `as stream`",
    ],
}


def test_every_spelling_has_its_file() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yml")) == list(READ_AS)
    assert len(READ_AS) == 12


@pytest.mark.parametrize("name", READ_AS)
def test_a_spelling_means_what_it_always_meant(name: str) -> None:
    workflow = composemagic.load(with_echo((FOLDER / f"{name}.yml").read_text("utf-8")))
    assert workflow.title == "Chat"
    assert [(one.name, one.type, one.required) for one in workflow.inputs] == [("prompt", "text", True)]
    assert [one.type for one in workflow.outputs] == ["stream"]
    run = workflow.run(prompt="the quick fox")
    deltas = [event.value for event in run.events if isinstance(event, Delta)]
    assert (run.status, run.text, run.encoding, "".join(deltas)) == ("done", "the quick fox ", "text", "the quick fox ")


@pytest.mark.parametrize("name", READ_AS)
def test_a_spelling_is_said(name: str) -> None:
    notes = composemagic.load(with_echo((FOLDER / f"{name}.yml").read_text("utf-8"))).notes
    assert notes == ((f"read as: {'; '.join(READ_AS[name])}",) if READ_AS[name] else ())
