"""`workflow` rows of the language: a document run against the echo server, through the same doors as every face."""

from __future__ import annotations

import threading

from composemagic import Workflow, allow
from composemagic.engine.events import (
    Delta,
    Event,
    Interrupted,
    JobFailed,
    JobFinished,
    JobRouted,
    JobStarted,
    RunFailed,
    RunFinished,
    RunStopped,
)
from composemagic.engine.loop import private_loop
from composemagic.engine.run import Run
from tests.conformance import http_rows
from tests.conformance.rows import RefusedError, Row, load_row, written_value

SECONDS = 30


def run(row: Row) -> object:
    """A `workflow` row: run it against the echo server, and give its status and output, and what else the row tells of."""
    if "http" in row:
        return http_rows.run(row)
    workflow = load_row(row, row.get("workflow"))
    assert workflow is not None
    undo = allow("hook", "shell")  # what a row may do it does here
    try:
        heard = Heard(workflow, row)
    finally:
        undo()
    ended, streamed = heard.run, heard.run.is_stream
    if ended.error is not None:
        raise RefusedError("stream" if heard.chunks else "run", ended.error.sentence)
    output: object = written_value(ended.output)
    if streamed:
        output = {"$stream": heard.chunks} | ({"encoding": ended.encoding} if ended.encoding else {})
    found: dict[str, object] = {"status": "completed", "output": output}
    expected = row.get("expected", {})
    if "interrupts" in expected:
        keys = [sorted({key for point in stop for key in point}) for stop in expected["interrupts"]]
        found["interrupts"] = [
            [{key: getattr(point, key) for key in wanted} for point in stop.points]
            for stop, wanted in zip(heard.stops, [*keys, *[["job_id", "phase"]] * len(heard.stops)], strict=False)
        ]
    if "events" in expected:
        found["events"] = [told for event in ended.events if (told := told_of(event)) is not None]
    return found


class Heard:
    """A run of a row from its beginning to its end, its answers given; `chunks` one by one as they came.

    The loop is held back until somebody listens: a run joins the chunks nobody has heard yet.
    """

    def __init__(self, workflow: Workflow, row: Row) -> None:
        self.chunks: list[object] = []
        self.stops: list[Interrupted] = []
        self.answers = list(row.get("answers", ()))
        self._ended = threading.Event()
        gate = threading.Event()
        private_loop().loop.call_soon_threadsafe(gate.wait, 10)
        self.run: Run = workflow.start(
            row.get("input"), session_id=row.get("session_id"), metadata=row.get("metadata"), auto_resume=False
        )
        self.run.subscribe(self.listen)
        gate.set()
        if not self._ended.wait(SECONDS):
            self.run.cancel()
            raise TimeoutError(f"the run did not end within {SECONDS} seconds")
        self.run.wait()

    def listen(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Delta(value, _, ()):
                    self.chunks.append(written_value(value))
                case Interrupted():
                    self.stops.append(event)
                    self.run.answer(self.answers.pop(0) if self.answers else None)
                case RunFinished() | RunFailed() | RunStopped():
                    self._ended.set()


def told_of(event: Event) -> list[str] | None:
    """An event as a row writes it; null for what the peer has no word for."""
    match event:
        case JobStarted(job):
            return ["started", job]
        case JobFinished(job):
            return ["completed", job]
        case JobRouted(job, to):
            return ["routed", job, to]
        case JobFailed(job):
            return ["failed", job]
    return None
