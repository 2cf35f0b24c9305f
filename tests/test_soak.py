"""Many runs in one kernel, and streams that never end: memory, connections and threads stay where they were."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Kernel, started_kernel
from tests.servers.faults import FaultServer
from tests.test_notebook_kernel import seed, value

SOAK = os.environ.get("COMPOSEMAGIC_SOAK") == "1"
RUNS = 200 if SOAK else 40
WARM = 10  # what is imported and grown with the first runs stays

LOOK = """
import gc, os, threading, asyncio
from pathlib import Path
import composemagic.engine.loop as loops
from tests.processes import open_files

def look():
    gc.collect()
    return {
        "rss": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "sockets": sum(end.startswith("socket:") for end in open_files()),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks(loops.private_loop().loop)),
    }

def peak():
    # not getrusage: its figure begins with the parent's, and the parent is a test run
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024
"""


@pytest.fixture
def notebook() -> Iterator[Kernel]:
    with started_kernel() as kernel:
        done = kernel.execute(
            f"%load_ext composemagic\nimport os; os.environ['OPENAI_API_KEY'] = 'sk-test-0123'\n{LOOK}"
        )
        assert done.error is None, done.error
        yield kernel


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_many_runs_leave_a_kernel_as_it_was(notebook: Kernel, replay: str) -> None:
    before = None
    for number in range(WARM + RUNS):
        if number == WARM:
            before = value(notebook, "look()")
        # every fourth ends in an error, every fourth in the middle of its text
        knobs = ("n=400", "n=400,burst=4096", "status=401", "n=400,drop=200")[number % 4]
        done = notebook.execute(f"%%compose -i prompt=x -o answer\n{seed(replay, knobs)}")
        assert (done.error is None) == (number % 4 < 2), done.error
    counted = ("sockets", "threads", "tasks")
    end = time.monotonic() + 60
    while (after := value(notebook, "look()")) and any(after[key] > before[key] for key in counted):
        assert time.monotonic() < end, (before, after)  # what closes does so in its own time
    print("before", before, "after", after)
    assert after["rss"] - before["rss"] <= 10


# what a server sends without an end, or as one piece, and the kinds of error that end it
FLOODS = {
    "endless": ({"mb": 64}, {"too_large", "connection_lost"}),
    "giant": ({"mb": 40}, {"too_large"}),
    "huge": ({"mb": 64}, {"too_large"}),
    "gzip-bomb": ({"mb": 256}, {"too_large"}),
}


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_in_a_sentence_and_not_in_the_memory(name: str, notebook: Kernel, faults: FaultServer) -> None:
    arguments, kinds = FLOODS[name]
    done = notebook.execute(f"%%compose -i prompt=x -o answer\n{seed(faults.url('ok'), 'n=2')}".replace("/n=2", ""))
    assert done.error is None, done.error
    before = value(notebook, "look()")
    cell = f"%%compose -i prompt=x -o answer\n{seed(faults.url(name, **arguments), '')}"
    done = notebook.execute(cell, timeout=120)
    assert done.error is not None and len(done.error[2].splitlines()) <= 3, done
    kind, at_most = value(notebook, "[answer.error.kind, peak()]")
    assert kind in kinds
    print(name, "peak", at_most - before["rss"], "MiB")
    assert at_most - before["rss"] < 150
