"""`workflow` rows of the language: a document run against the echo server."""

from __future__ import annotations

import threading

from composemagic import Workflow
from composemagic.engine.events import Delta, Event, RunFailed, RunFinished, RunStopped
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from tests.conformance.rows import LeftError, RefusedError, Row, load_row, written_value

OTHER_FACES = {"http", "answers", "events", "start_components"}  # rows that drive more than one run to its end


def run(row: Row) -> object:
    """A `workflow` row: run it against the echo server, and give its status and output."""
    if needs := sorted(OTHER_FACES & row.keys()):
        raise LeftError(f"{needs[0]}: another face, or another kind of job")
    workflow = load_row(row, row.get("workflow"))
    assert workflow is not None
    ended, chunks = run_to_the_end(workflow, row.get("input"))
    if ended.error is not None:
        raise RefusedError("stream" if chunks else "run", ended.error.sentence)
    if chunks is None:
        return {"status": "completed", "output": written_value(ended.output)}
    stream = {"$stream": [written_value(chunk) for chunk in chunks]}
    return {"status": "completed", "output": stream | ({"encoding": ended.encoding} if ended.encoding else {})}


def run_to_the_end(workflow: Workflow, value: object) -> tuple[Run, list[object] | None]:
    """The run, and its chunks where it streamed.

    The loop is held back until somebody listens: a run joins the chunks nobody has heard yet.
    """
    gate, ended, chunks = threading.Event(), threading.Event(), []

    def listen(events: list[Event]) -> None:
        chunks.extend(event.value for event in events if isinstance(event, Delta))
        if isinstance(events[-1], RunFinished | RunFailed | RunStopped):
            ended.set()

    private_loop().loop.call_soon_threadsafe(gate.wait, 10)
    running = workflow.start(value)
    running.subscribe(listen)
    gate.set()
    if not ended.wait(30):
        running.cancel()
        raise TimeoutError("the run did not end within 30 seconds")
    running.wait()
    last = running.events[-1]
    streamed = isinstance(last, RunFinished) and bool(chunks) and not running._has_value  # no public word for it
    return running, chunks if streamed or (running.error is not None and chunks) else None
