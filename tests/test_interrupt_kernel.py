"""■ in a real kernel, wherever a cell may be: the kernel is free again at once, and nothing goes on behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from composemagic.engine.loop import private_loop
from tests.conftest import Kernel, started_kernel
from tests.servers.faults import FaultServer
from tests.test_notebook_kernel import await_output, value

HTTP = """\
component:
  type: http-client
  base_url: {url}
  path: /v1/chat/completions
  body: {{stream: true}}
  stream_format: json
  output: ${{response[].choices[0].delta.content}}
"""
JOB = "workflow:\n  jobs:\n    - {first}\n    - {job}\n{parts}"
GIVE = "{id: first, component: give, input: begun}"
PARTS = "components:\n  - {id: give, default: true, type: echo, value: '${input}'}\n"

# where the cell is, what it holds, and what tells that it is there
PLACES = {
    "connecting": HTTP,
    "waiting for headers": HTTP,
    "before the first byte": HTTP,
    "streaming": HTTP,
    "between two attempts": HTTP,
    "in a delay": JOB.format(first=GIVE, job="{id: job, type: delay, duration: 60s, depends_on: [first]}", parts=PARTS),
    "in a function": JOB.format(
        first=GIVE,
        job="{id: job, component: nap, depends_on: [first]}",
        parts=PARTS + "  - {id: nap, type: function, function: nap}\n",
    ),
    "in a program": JOB.format(
        first=GIVE,
        job="{id: job, component: nap, depends_on: [first]}",
        parts=PARTS + "  - {id: nap, type: shell, action: {command: [sh, -c, 'touch MARK; exec sleep 60']}}\n",
    ),
    "at an interrupt point": JOB.format(
        first=GIVE, job="{id: job, input: 1, interrupt: {before: {message: go on}}, depends_on: [first]}", parts=PARTS
    ),
}
PATIENCE = 25.0  # seconds; what is interrupted would go on for longer: servers end what they hold after 30
FAULTS = {"waiting for headers": "head-stall", "before the first byte": "stall-first", "streaming": "stall-mid"}


@pytest.fixture(scope="module")
def notebook() -> Iterator[Kernel]:
    private_loop().close()  # other tests' connections to the server that is shared are not counted
    with started_kernel() as kernel:
        done = kernel.execute(
            "%load_ext composemagic\nimport time, composemagic, asyncio, threading\ncomposemagic.allow('shell')\n"
            "import composemagic.engine.loop as loops\n"
            "def nap():\n    time.sleep(3)\n"
        )
        assert done.error is None, done.error
        yield kernel


def url(place: str, faults: FaultServer) -> str:
    if place == "connecting":
        return f"https://127.0.0.1:{faults.ports['tls_stall']}"
    if place == "between two attempts":
        return faults.url("status", code=429, ra=100)
    return faults.url(FAULTS[place])


def is_there(place: str, mark: Path, kernel: Kernel, sent: str, faults: FaultServer) -> None:
    """Wait until the cell is where it is to be interrupted."""
    if place in ("streaming", "between two attempts"):
        await_output(kernel, sent, "w0 w1 w2" if place == "streaming" else "again in")
        return
    await_output(kernel, sent, "display_id")
    end = time.monotonic() + PATIENCE
    while not (mark.exists() if place == "in a program" else place not in FAULTS or faults.hits(FAULTS[place])):
        assert time.monotonic() < end, "it did not get there"
        time.sleep(0.01)  # between two looks at the condition


@pytest.mark.parametrize(("place", "display"), [*((place, "auto") for place in PLACES), ("streaming", "plain")])
def test_an_interrupt_frees_the_kernel(
    place: str, display: str, notebook: Kernel, faults: FaultServer, tmp_path: Path
) -> None:
    notebook.execute(f"%config ComposeMagics.display = {display!r}")
    mark = tmp_path / "mark"
    cell = PLACES[place].replace("MARK", str(mark))
    if PLACES[place] is HTTP:
        cell = cell.format(url=url(place, faults))
    sent = notebook.submit(f"%%compose -o answer\n{cell}")
    is_there(place, mark, notebook, sent, faults)
    notebook.interrupt()
    done = notebook.collect(sent, timeout=PATIENCE)
    assert done.error is not None and done.error[0] == "KeyboardInterrupt", done
    assert done.error[2].splitlines()[-1].startswith("compose: interrupted; ")
    assert "Traceback" not in done.error[2]
    assert notebook.execute("print('next')", timeout=PATIENCE).streams["stdout"] == "next\n"
    assert value(notebook, "answer.status") == "stopped"
    assert value(notebook, "len(asyncio.all_tasks(loops.private_loop().loop))") == 0
    assert faults.wait_idle(PATIENCE)
