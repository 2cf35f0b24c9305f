"""The life of a notebook in a real kernel as a machine of states: cells are run, edited, interrupted, clicked, the kernel restarted.

A small model says beside it what each cell must have given; after every step the kernel is asked, silently, whether that is so
and whether anything is left over. `COMPOSEMAGIC_SOAK=1` takes more steps.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conftest import Executed, Kernel, started_kernel

SOAK = os.environ.get("COMPOSEMAGIC_SOAK") == "1"
SECONDS = 60
CELLS = ("one", "two", "three")
ENDLESS = 100_000  # words

# -- a server that says a cell's name and the number of the word, over and over ---------------------------------------------


class Speaker(ThreadingHTTPServer):
    """`open` counts the requests that are being answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Speaking)
        self.open = 0
        self.lock = threading.Lock()

    def count(self, change: int) -> None:
        with self.lock:
            self.open += change

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who is stopped closes in the middle."""


class _Speaking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.count(1)  # type: ignore[attr-defined]
        with suppress(OSError):
            self.send_response(asked["status"])
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for number in range(asked["words"]):
                self._say({"choices": [{"delta": {"content": word(asked["name"], number)}}]})
                if number > 20:
                    time.sleep(0.005)  # it is to be stopped in the middle
            self._say({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self.server.count(-1)  # type: ignore[attr-defined]

    def _say(self, chunk: Any) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def speaking() -> Iterator[Speaker]:
    server = Speaker()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def word(name: str, number: int) -> str:
    return f"{name}:{number} "


def words(name: str, count: int) -> str:
    return "".join(word(name, number) for number in range(count))


# -- the notebook ----------------------------------------------------------------------------------------------------------

KINDS = {  # options, words, the server's status
    "quick": ("", 5, 200),
    "endless": ("", ENDLESS, 200),
    "broken": ("", 5, 500),
    "background": ("--background", ENDLESS, 200),
    "form": ("--form", 5, 200),
    "endless form": ("--form", ENDLESS, 200),
}
START = """
%load_ext composemagic
import gc, json, os, threading, asyncio
from pathlib import Path
import composemagic, composemagic.engine.loop as loops
from tests.processes import open_files

def look(thoroughly):
    if thoroughly:
        gc.collect()
    runs = {name: globals()[name] for name in ("one", "two", "three") if name in globals()}
    return json.dumps({
        "runs": {name: [run.status, run.text, run.error and run.error.kind] for name, run in runs.items()},
        "tasks": len(asyncio.all_tasks(loops.private_loop().loop)),
        "sockets": sum(end.startswith("socket:") for end in open_files()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    })
"""


@dataclass
class Cell:
    """What stands in a cell, and what it has started last: `given` is the name of that text, None where nothing was started."""

    id: str
    kind: str = "quick"
    version: int = 0
    given: str | None = None
    ended: str = ""  # the status that its run must have, "" where it runs
    buttons: dict[str, str] = field(default_factory=dict)  # of its form: the ids of their comms
    form: tuple[str, str] | None = None  # the kind and the text's name of the form that is shown

    @property
    def name(self) -> str:
        return f"{self.id}{self.version}"

    @property
    def live(self) -> bool:
        return self.given is not None and not self.ended

    def text(self, port: int) -> str:
        options, count, status = KINDS[self.kind]
        return (
            f"%%compose {options} -o {self.id}\n"
            f"workflow: {{title: '{self.name}', job: {{}}}}\n"
            "component:\n  type: http-client\n  max_retries: 0\n"
            f"  endpoint: http://127.0.0.1:{port}/\n"
            f"  body: {{name: {self.name}, words: '${{input.words as integer | {count}}}', status: {status}}}\n"
            "  stream_format: json\n  output: ${response[].choices[0].delta.content}\n"
        )


@dataclass
class Sent:
    """An execution: of which cell, which kind and which text it had then, for it may have been edited since."""

    cell: Cell
    kind: str
    name: str
    id: str


class Notebook(Kernel):
    """A kernel that is watched. `buttons` are those that each execution has opened, by its id: their comms by what stands on
    them; `before` is what `look` finds where nothing runs."""

    buttons: dict[str, dict[str, str]]
    before: dict[str, Any]
    is_clean = True  # nothing that failed has left anything

    def _next(self, end: float, timeout: float, done: Executed) -> dict[str, Any]:
        message = super()._next(end, timeout, done)
        content = message["content"]
        state = content.get("data", {}).get("state", {}) if message["msg_type"] == "comm_open" else {}
        if state.get("_model_name") == "ButtonModel":
            of_cell = self.buttons.setdefault(message["parent_header"]["msg_id"], {})
            of_cell[state["description"]] = content["comm_id"]
        return message

    def look(self, thoroughly: bool = True) -> dict[str, Any]:
        """What `look` finds, asked without a trace in the notebook; `thoroughly` after the garbage has been collected."""
        sent = self.client.execute(
            "", silent=True, store_history=False, user_expressions={"seen": f"look({thoroughly})"}
        )
        reply = self._reply(sent, time.monotonic() + SECONDS)
        self._is_idle(sent)  # an interrupt that comes before that would hit this
        seen = reply["content"]["user_expressions"]["seen"]
        assert seen["status"] == "ok", seen
        found: dict[str, Any] = json.loads(eval(seen["data"]["text/plain"]))
        return found

    def click(self, button: str) -> None:
        """Click, and wait until the kernel has heard it."""
        content = {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
        message = self.client.session.msg("comm_msg", content)
        self.client.shell_channel.send(message)
        self._is_idle(str(message["header"]["msg_id"]))

    def _is_idle(self, sent: str) -> None:
        """Wait until the kernel has done what it was sent."""
        end, done = time.monotonic() + SECONDS, Executed()
        while True:
            heard = self._next(end, SECONDS, done)
            is_ours = heard["parent_header"].get("msg_id") == sent
            if is_ours and heard["msg_type"] == "status" and heard["content"]["execution_state"] == "idle":
                return

    def hears(self, sent: str, text: str) -> None:
        """Wait until a cell that runs has shown a text."""
        end, done = time.monotonic() + SECONDS, Executed()
        while True:
            message = self._next(end, SECONDS, done)
            if message["parent_header"].get("msg_id") == sent and text in json.dumps(message["content"]):
                return


class Life(RuleBasedStateMachine):
    """Three cells of one notebook. `running` is the execution in which the kernel is, `queued` are those that wait for it."""

    def __init__(self, notebook: Notebook, speaker: Speaker) -> None:
        super().__init__()
        self.notebook, self.speaker = notebook, speaker
        self.cells = {name: Cell(name) for name in CELLS}
        self.running: Sent | None = None
        self.queued: list[Sent] = []

    @initialize(may_restart=st.sampled_from([False, False, True]))
    def begin(self, may_restart: bool) -> None:
        self.may_restart = may_restart
        if not self.notebook.is_clean:
            restart(self.notebook)
        self.notebook.is_clean = False

    # -- what a user does -------------------------------------------------------------------------------------------------
    @rule(name=st.sampled_from(CELLS), kind=st.sampled_from(sorted(KINDS)))
    def edit(self, name: str, kind: str) -> None:
        """Nothing happens before the cell is run: what it has started goes on as it was."""
        cell = self.cells[name]
        cell.kind, cell.version = kind, cell.version + 1

    @precondition(lambda self: self.running is None)
    @rule(name=st.sampled_from(CELLS), kind=st.none() | st.sampled_from(sorted(KINDS)))
    def execute(self, name: str, kind: str | None) -> None:
        """Run a cell, as it was or edited; what it has started before is stopped."""
        if kind is not None:
            self.edit(name, kind)
        cell = self.cells[name]
        sent = self._submit(cell)
        if sent.kind == "endless":
            self._begun(sent)
            cell.given, cell.ended = sent.name, ""
            self.running = sent
            self.notebook.hears(sent.id, word(sent.name, 3))
        else:
            self._shown(sent, self.notebook.collect(sent.id, SECONDS))

    @precondition(lambda self: self.running is not None)
    @rule(name=st.sampled_from(CELLS))
    def execute_another_meanwhile(self, name: str) -> None:
        """It waits for its turn."""
        cell = self.cells[name]
        busy = [sent.cell for sent in (self.running, *self.queued) if sent is not None]
        if cell.kind != "endless" and cell not in busy:
            self.queued.append(self._submit(cell))

    @rule()
    def interrupt(self) -> None:
        """The ■ button; where no cell runs it does nothing, and what runs behind the cells goes on."""
        self.notebook.interrupt()
        if self.running is not None:
            self._interrupted(self.running)

    @precondition(lambda self: self._forms())
    @rule(data=st.data(), button=st.sampled_from(["Run", "Stop"]))
    def click(self, data: Any, button: str) -> None:
        """Also while another cell runs. Stop where nothing runs, and Run where it does, are nothing."""
        cell = data.draw(st.sampled_from(self._forms()))
        kind, name = cell.form
        is_live = cell.given == name and cell.live
        self.notebook.click(cell.buttons[button])
        if button == "Run" and not is_live:
            cell.given, cell.ended = name, "" if kind == "endless form" else "done"
            if cell.ended and self.running is None:
                self._eventually(lambda seen: self._is_right(cell, seen))
        elif button == "Stop" and is_live:
            cell.ended = "stopped"

    @precondition(lambda self: self.may_restart)
    @rule()
    def restart(self) -> None:
        """The kernel forgets all; the servers hear of it by their connections."""
        self.may_restart = False
        restart(self.notebook)
        self.running, self.queued = None, []
        for cell in self.cells.values():
            cell.given, cell.ended, cell.form, cell.buttons = None, "", None, {}

    # -- what must come of it -----------------------------------------------------------------------------------------------
    def _forms(self) -> list[Cell]:
        """The cells with a form that will stay: one that waits for its turn takes the place of its form at any moment."""
        waiting = [sent.cell for sent in self.queued]
        return [cell for cell in self.cells.values() if cell.form and cell not in waiting]

    def _submit(self, cell: Cell) -> Sent:
        return Sent(cell, cell.kind, cell.name, self.notebook.submit(cell.text(self.speaker.server_port), cell=cell.id))

    def _begun(self, sent: Sent) -> None:
        """An execution stops what its cell has started before, and takes its form away."""
        cell = sent.cell
        cell.ended, cell.form, cell.buttons = cell.ended or "stopped", None, {}

    def _shown(self, sent: Sent, done: Executed) -> None:
        """What an execution that ends by itself must have shown."""
        self._begun(sent)
        cell, shown = sent.cell, json.dumps(done.outputs)
        assert (done.error is None) == (sent.kind != "broken"), done
        if "form" in sent.kind:
            cell.form, cell.buttons = (sent.kind, sent.name), self.notebook.buttons[sent.id]
            assert "widget-view" in shown and set(cell.buttons) >= {"Run", "Stop"}, done
            return
        cell.given = sent.name
        cell.ended = {"quick": "done", "broken": "failed", "background": ""}[sent.kind]
        assert sent.kind != "quick" or words(sent.name, 5) in shown, done
        assert done.error is None or "500" in done.error[2], done
        told = set(re.findall(r"(\w+):\d+ ", shown)) & {f"{one}{number}" for one in CELLS for number in range(99)}
        assert told <= {sent.name}, done  # nothing of an older text, or of another cell's

    def _interrupted(self, sent: Sent) -> None:
        done = self.notebook.collect(sent.id, SECONDS)
        assert done.error is not None and done.error[0] == "KeyboardInterrupt", done
        assert "the text so far is kept" in done.error[2] and "Traceback" not in done.error[2], done
        assert words(sent.name, 3) in json.dumps(done.outputs), done
        sent.cell.ended = "stopped"
        self.running, queued, self.queued = None, self.queued, []
        for other in queued:
            done = self.notebook.collect(other.id, SECONDS)
            if done.status != "aborted":  # a kernel drops what has been sent before the interrupt
                self._shown(other, done)

    def _is_right(self, cell: Cell, seen: dict[str, Any]) -> bool:
        status, text, kind = seen["runs"].get(cell.id, ["", "", None])
        match cell.given:
            case None:
                return status == ""
            case name if cell.ended == "done":
                return [status, text] == ["done", words(name, 5)]
            case name if cell.ended == "failed":
                return [status, text, kind] == ["failed", "", "server"]
            case name:
                whole = words(name, text.count(" "))
                return [status, text] == [cell.ended or "running", whole]

    def _eventually(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        end = time.monotonic() + SECONDS
        thoroughly = False  # it takes a tenth of a second, and mostly all is well
        while not holds(seen := self.notebook.look(thoroughly)):
            assert time.monotonic() < end, _shortened([seen, self.notebook.before, self.cells])
            time.sleep(0.01)  # between two looks at the condition
            thoroughly = True

    @invariant()
    def the_kernel_is_alive(self) -> None:
        assert self.notebook.manager.is_alive()

    @invariant()
    def every_cell_has_given_its_last_text_and_nothing_is_left(self) -> None:
        if self.running is not None:  # the kernel answers nobody
            return
        cells = self.cells.values()
        live = sum(cell.live for cell in cells)
        before = self.notebook.before

        def holds(seen: dict[str, Any]) -> bool:
            return (
                all(self._is_right(cell, seen) for cell in cells)
                and self.speaker.open == live
                and (live > 0 or {**seen, "runs": 0} == {**before, "runs": 0})
            )

        self._eventually(holds)

    def teardown(self) -> None:
        """The next machine finds the same kernel, and an empty notebook."""
        if sys.exc_info()[0] is not None:
            return
        if self.running is not None:
            self.interrupt()
        for cell in self.cells.values():
            cell.ended = cell.ended or "stopped"
            done = self.notebook.execute(f"%%compose\n{GONE}", cell=cell.id)
            assert done.error is None, done.error
        self.every_cell_has_given_its_last_text_and_nothing_is_left()
        assert self.notebook.execute("%reset -f\n" + START).error is None
        self.notebook.is_clean = True


def _shortened(value: object) -> str:
    return re.sub(r"(\w+:0 )(?:\w+:\d+ )*(\w+:\d+)", r"\1... \2", repr(value))


GONE = "component: {type: echo, text: gone}\n"  # takes the place of what a cell held


def restart(notebook: Notebook) -> None:
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=180)
    warm(notebook)


def warm(notebook: Notebook) -> None:
    """What the first form and the first run bring with them stays: modules, threads, the loop."""
    notebook.buttons = {}
    assert notebook.execute(START).error is None
    with speaking() as speaker:
        for kind in ("quick", "form"):
            done = notebook.execute(Cell("one", kind).text(speaker.server_port), cell="warm")
            assert done.error is None, done.error
    assert notebook.execute(f"%%compose\n{GONE}", cell="warm").error is None
    notebook.execute("del one")
    notebook.before = notebook.look()


@pytest.mark.soak
@pytest.mark.timeout(3600 if SOAK else 300)
def test_a_notebook_lives_as_the_model_says() -> None:
    numbers = itertools.count()
    with started_kernel() as kernel, speaking() as speaker:
        notebook = Notebook(kernel.manager, kernel.client)
        warm(notebook)

        def life() -> Life:
            next(numbers)
            return Life(notebook, speaker)

        phases = list(Phase) if SOAK else [Phase.explicit, Phase.reuse, Phase.generate]  # shrinking takes minutes
        run_state_machine_as_test(
            life,
            settings=settings(
                max_examples=200 if SOAK else 8,
                stateful_step_count=30 if SOAK else 12,
                deadline=None,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            ),
        )
    assert next(numbers) >= 8
