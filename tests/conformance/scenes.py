"""`faults` rows that need a process of their own: of a notebook's life, of clocks and sleep, of memory.

`python -m tests.conformance.scenes` is that process: it reads a YAML and a prompt from standard input and says, as one line of
JSON, what the run came to.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.conformance import faults as rows
from tests.conformance.rows import Failure, Row
from tests.servers.faults import FaultServer

ROOT = Path(__file__).resolve().parent.parent.parent
STARTED = "started"
DAY = 86400.0
PATIENCE = 180.0  # seconds until a process has started; a machine with other work


# -- in the parent -------------------------------------------------------------------------------------------------------


def in_a_process(row: Row, faults: FaultServer, *, jump: float = 0.0, sleep: float = 0.0) -> rows.Told:
    """What the row's run comes to in a process of its own, whose clock jumps after the first delta, or which sleeps then."""
    begun = time.monotonic()
    with _child(row, faults, jump) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps([rows.document(row, rows.address(row, faults)), rows.prompt(row)]))
        child.stdin.close()
        if sleep:
            child.stdout.readline()
            child.send_signal(signal.SIGSTOP)
            time.sleep(sleep)  # the sleep of the machine: what is tested is how one wakes from it
            child.send_signal(signal.SIGCONT)
        lines = child.stdout.read().splitlines()
    told: rows.Told = json.loads(lines[-1]) if lines else {"status": "the process died"}
    told["seconds"] = time.monotonic() - begun
    return told | rows.asked(row, faults, told) if "waits" in told else told


def _child(row: Row, faults: FaultServer, jump: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.conformance.scenes", str(row["max_seconds"]), str(jump)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    killer = threading.Timer(PATIENCE + row["max_seconds"], child.kill)
    killer.daemon = True
    killer.start()
    return child


def _clock(days: float) -> Callable[[Row, FaultServer], Iterator[Failure]]:
    """The clock on the wall is set, by a person or over the network; ours must not be that one."""

    def scene(row: Row, faults: FaultServer) -> Iterator[Failure]:
        slow = {**row, "args": {"n": 5, "gap": 0.05}}
        yield from rows.compared(row, in_a_process(slow, faults, jump=days * DAY))

    return scene


def _sleep(row: Row, faults: FaultServer) -> Iterator[Failure]:
    """Longer than `timeout.read`; what came meanwhile is at the door. Either it is read, or the connection was lost."""
    slow = {**row, "args": {"n": 5, "gap": 0.1}}
    told = in_a_process(slow, faults, sleep=1.5)
    lost = {**row, "outcome": "error", "error_kind": "connection_lost"}
    yield from rows.compared(row if told["status"] == "done" else lost, told)


# -- in a kernel ---------------------------------------------------------------------------------------------------------

CELL = """%%compose
{document}
"""


def _ended(end: Callable[[Any], None]) -> Callable[[Row, FaultServer], Iterator[Failure]]:
    """A kernel that ends in the middle of a run takes its connections along."""

    def scene(row: Row, faults: FaultServer) -> Iterator[Failure]:
        from tests.conftest import started_kernel

        open_before = faults.open_now  # connections that this process keeps for a next request
        with started_kernel() as kernel:
            kernel.submit(_run_code(row, faults))
            if not _until(lambda: bool(faults.hits(row["path"])), PATIENCE):
                yield Failure("kernel", "a request", "none")
                return
            end(kernel)
            if not _until(lambda: faults.open_now <= open_before, row["max_seconds"] + rows.GRACE):
                yield Failure("server_sockets_open", 0, faults.open_now - open_before)

    return scene


def _deleted(row: Row, faults: FaultServer) -> Iterator[Failure]:
    """A cell that is gone: its output has no place any more, its widgets' comms are closed. The next cell runs."""
    from tests.conftest import started_kernel

    slow = {**row, "args": {"n": 10, "gap": 0.05}}
    with started_kernel() as kernel:
        assert kernel.execute("%load_ext composemagic").status == "ok"
        document = rows.document(slow, rows.address(slow, faults)).replace("${env.FAULTS_API_KEY}", "x")
        cell = kernel.submit(CELL.format(document=document.replace("${input.prompt}", "hi")))
        if not _until(lambda: bool(faults.hits(row["path"])), PATIENCE):
            yield Failure("kernel", "a request", "none")
            return
        close_comms = (
            "import comm\nfor one in list(comm.get_comm_manager().comms.values()): one.handle_close({'content': {}})"
        )
        kernel.submit(close_comms)
        told = kernel.collect(cell)
        if told.status != "ok" or told.streams["stderr"]:
            yield Failure("log", "no error", [told.status, told.streams["stderr"], told.error])
        if kernel.execute("1 + 1").text != "2":
            yield Failure("kernel", "the next cell runs", "it does not")


def _run_code(row: Row, faults: FaultServer) -> str:
    document = rows.document(row, rows.address(row, faults))
    started = f"composemagic.load({document!r}, env={{'FAULTS_API_KEY': {rows.KEY!r}}}).start({{'prompt': 'hi'}})"
    return f"import composemagic\nrun = {started}\nrun.wait()"


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)  # between two looks at the condition
    return True


SCENES: dict[str, Callable[[Row, FaultServer], Iterator[Failure]]] = {
    "life-clock-jump-forward": _clock(1),
    "life-clock-jump-back": _clock(-1),
    "life-laptop-sleep": _sleep,
    "life-kernel-restart": _ended(lambda kernel: kernel.manager.restart_kernel(now=False)),
    "life-kernel-shutdown": _ended(lambda kernel: kernel.manager.shutdown_kernel(now=False)),
    "life-cell-deleted": _deleted,
}


# -- in the process ------------------------------------------------------------------------------------------------------

NOWHERE = "component: {type: http-client, endpoint: 'http://127.0.0.1:1/', max_retries: 0}"


def main() -> None:
    """Run what standard input says and print what it came to; `started` once there is text."""
    import composemagic
    from composemagic.engine.events import Delta

    seconds, jump = float(sys.argv[1]), float(sys.argv[2])
    document, prompt = json.loads(sys.stdin.read())
    workflow = composemagic.load(document, env={"FAULTS_API_KEY": rows.KEY})
    composemagic.load(NOWHERE).start({}).wait(10)  # imports what a first run imports
    before = _rss()
    run = workflow.start({"prompt": prompt})
    for event in run:
        if isinstance(event, Delta) and event.value:
            print(STARTED, flush=True)
            time.time = partial(_shifted, time.time, jump)
            break
    if not run.wait(seconds):
        run.cancel()
    told = rows.summary(run)
    told["shown"] = [shown for shown in told["shown"] if rows.KEY in shown]
    print(json.dumps({**told, "rss_mb": _rss() - before, "usage": told["usage"] and dict(told["usage"])}))


def _shifted(clock: Callable[[], float], jump: float) -> float:
    return clock() + jump


def _rss() -> float:
    """The most memory the process has had so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    main()
