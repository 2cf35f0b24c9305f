"""Ratio 1: what showing a stream costs in a live kernel, beside `with out: print` for every delta.

    python -m tests.benchmarks.show [--rounds 5]

Everything happens in one real kernel. Messages and bytes are those on iopub that a front end has to handle: comm messages,
displays and updates, headers included. CPU is the kernel process's user + system time, all threads: of the cell, less
that of the same workflow run silently, which leaves what showing costs.

A stream with a pause before each delta stands beside prints with such pauses, less the pauses alone: between two of them
the machine does something else, and the same message costs several times as much as in a row of them. What it would be
beside prints without pauses is told as well.

The difference of two runs that cost several times as much is uneven: on a busy machine half the limit up or down. So the
CPU of the calls that show, on the private loop's thread, and of the thread that sends is measured as such, too. It leaves
out what ZeroMQ does, and what a run costs more because it is heard.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import Kernel, replay_server, started_kernel

SEED = (Path(__file__).parent.parent / "data" / "seed.yml").read_text(encoding="utf-8")
SHOWN = ("comm_open", "comm_msg", "comm_close", "display_data", "update_display_data", "stream", "execute_result")
SIZE = 6

SETUP = """
%load_ext composemagic
import os, threading, time, ipywidgets
from IPython.display import display
from composemagic import load
from composemagic.notebook.sweep import Sweep
from composemagic.sweep import Trials
from composemagic.notebook import pace, view, watched
os.environ["OPENAI_API_KEY"] = "sk-benchmark"
spent = 0.0
def time_calls(kind, name):
    step = getattr(kind, name)
    def timed(*given):
        global spent
        begun = time.thread_time()
        try:
            return step(*given)
        finally:
            spent += time.thread_time() - begun
    setattr(kind, name, timed)
for kind, name in (view.Live, "_receive"), (view.Live, "_tick"), (watched.Watched, "_receive"), (pace.Pace, "_tick"):
    time_calls(kind, name)
def shown_and_sent():
    sends = next(thread for thread in threading.enumerate() if thread.name == "IOPub")
    return spent + time.clock_gettime(time.pthread_getcpuclockid(sends.ident))
"""
# without a network, whose cost at this pace is many times that of showing, and as uneven
PACED = json.dumps(
    {"workflow": {"job": {"component": {"type": "echo", "action": {"text": "words " * 2000, "delay": 0.0015}}}}}
)
PACED_SWEEP = json.dumps(
    {"workflow": {"job": {"component": {"type": "echo", "action": {"text": "${input.prompt as text}${input.temperature as number | 0} " + "words " * 2000, "delay": 0.004}}}}}
)  # fmt: skip
# as many streams at once as an output may well have, each from a job of its own
JOBS = 64
MANY = json.dumps(
    {
        "workflow": {
            "output": {f"job{number}": f"${{jobs.job{number}.output as stream/text}}" for number in range(JOBS)},
            "jobs": [
                {"id": f"job{number}", "component": {"type": "echo", "action": {"text": "words " * 50, "delay": 0.03}}}
                for number in range(JOBS)
            ],
        }
    }
)
# Markdown with all that it may have, JSON values, and a row of connected jobs, whose picture lights up
PART = "## A heading\n\nSome *words*, a [link](https://example.org) and `code`.\n\n- an item\n- another\n\n```python\nprint(1)\n```\n\n"
MARKDOWN = json.dumps(
    {"workflow": {"job": {"component": {"type": "echo", "action": {"text": PART * 100, "delay": 0.0015}}}}}
)
VALUES = json.dumps({"workflow": {"output": "${output as stream/json}", "job": json.loads(PACED)["workflow"]["job"]}})
ROW = json.dumps(
    {
        "workflow": {
            "output": "${jobs.job19.output as stream/text}",
            "jobs": [
                {"id": f"job{n}", **({"depends_on": [f"job{n - 1}"]} if n else {}), "component": {"type": "echo", "action": {"text": "words " * 50, "delay": 0.002}}}
                for n in range(20)
            ],
        }
    }
)  # fmt: skip
# so many at once as a sweep may have side by side
CELLS = 12
_SWEPT = "{kind}(load({yaml!r}), {{'temperature': list(range(12))}}, {{'prompt': 'x'}}, at_once={at_once})"
SWEEP = f"sweep = {_SWEPT}; sweep.show(); sweep.wait()".replace("{kind}", "Sweep")
SILENT_SWEEP = (
    f"cpu = time.process_time(); trials = {_SWEPT}; trials.wait(); print(time.process_time() - cpu, 24000)"
).replace("{kind}", "Trials")
SILENT = "cpu = time.process_time(); run = load({yaml!r})({given}); print(time.process_time() - cpu, run.timing.deltas)"
PRINT = """
out = ipywidgets.Output(); display(out)
def printed(count, pause, is_shown=True):
    cpu = time.process_time()
    for number in range(count):
        if pause:
            time.sleep(pause)
        if is_shown:
            with out:
                print("the qu", end="")
    return time.process_time() - cpu
print("\\n", printed({count}, {pause}) - ({pause} and printed({count}, {pause}, False)), {count})
"""


@dataclass
class Cost:
    """One stream: what a front end gets, in messages and bytes, and what the kernel spends, in CPU seconds."""

    messages: int
    size: int
    cpu: float
    seconds: float
    text: str = ""
    calls: float = 0.0  # CPU seconds of the calls that show, and of the thread that sends


def measured(kernel: Kernel, code: str) -> Cost:
    """Run a cell and count what it sends until it is idle."""
    before = _cpu(kernel)
    begun = time.monotonic()
    sent = kernel.submit(code)
    messages, size, text = 0, 0, ""
    for message in _until_idle(kernel, sent):
        if message["msg_type"] in SHOWN:
            messages += 1
            parts = {key: message[key] for key in ("header", "parent_header", "metadata", "content")}
            size += len(json.dumps(parts, ensure_ascii=False, default=str).encode())
            text = message["content"].get("data", {}).get("text/plain", text)
    seconds = time.monotonic() - begun
    return Cost(messages, size, _cpu(kernel) - before, seconds, text)


def _until_idle(kernel: Kernel, sent: str) -> Iterator[dict[str, Any]]:
    while True:
        message = kernel.client.get_iopub_msg(timeout=120)
        yield message
        is_mine = message["parent_header"].get("msg_id") == sent
        if is_mine and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    kernel.client.get_shell_msg(timeout=10)


def _cpu(kernel: Kernel) -> float:
    return float(kernel.execute("import time; print(time.process_time())").streams["stdout"])


def _measured(kernel: Kernel, code: str) -> Cost:
    """The same, and what was spent in the calls that show; after `SETUP`."""
    before = float(kernel.execute("print(shown_and_sent())").streams["stdout"])
    cost = measured(kernel, code)
    cost.calls = float(kernel.execute("print(shown_and_sent())").streams["stdout"]) - before
    return cost


def _print_cpu(kernel: Kernel, code: str) -> float:
    """CPU seconds that a cell printed first, per delta, which it printed second."""
    seconds, deltas = kernel.execute(code, timeout=300).streams["stdout"].split()[-2:]
    return float(seconds) / float(deltas)


def _yaml(base: str, knobs: str) -> str:
    return SEED.replace("https://api.openai.com/v1", f"{base}/{knobs},size={SIZE}/v1")


@dataclass
class Rounds:
    """One kind of stream, shown and run silently in turns, so that a change of the machine's speed meets both."""

    name: str
    knobs: str
    count: int
    shown: list[Cost]
    silent: list[Cost]
    yaml: str = ""  # of a workflow without a network, which pauses before each delta
    at_once: int = 0  # of a sweep

    def once(self, kernel: Kernel, base: str) -> None:
        """One more round."""
        yaml = self.yaml or _yaml(base, self.knobs)
        if self.at_once:
            places = {"yaml": yaml, "at_once": self.at_once}
            self.shown.append(_measured(kernel, SWEEP.format(**places)))
            self.silent.append(_measured(kernel, SILENT_SWEEP.format(**places)))
            return
        option, given = ("-i prompt=x", "prompt='x'") if self.knobs else ("", "")
        self.shown.append(_measured(kernel, f"%%compose {option}\n{yaml}\n"))
        self.silent.append(_measured(kernel, SILENT.format(yaml=yaml + "\n", given=given)))

    def of_shown(self, name: str) -> float:
        """The median of a figure of the streams that were shown."""
        return statistics.median(getattr(cost, name) for cost in self.shown)

    @property
    def showing(self) -> float:
        """The median of the CPU seconds for showing, a delta."""
        return self._more("cpu")

    @property
    def calls(self) -> float:
        """The same of the calls that show and the thread that sends."""
        return self._more("calls")

    def _more(self, name: str) -> float:
        pairs = zip(self.shown, self.silent, strict=True)
        return (
            max(0.0, statistics.median(getattr(one, name) - getattr(other, name) for one, other in pairs)) / self.count
        )


class Report:
    """Lines of figures, and whether all were within their limits."""

    def __init__(self) -> None:
        self.is_good = True

    def line(self, name: str, value: float, limit: float) -> None:
        """Print one figure beside its limit."""
        good = value <= limit
        self.is_good &= good
        print(f"  {name:<58} {value:>10.2f}   limit {limit:>10.2f}   {'ok' if good else 'TOO MUCH'}")


def run(rounds: int) -> bool:
    """Measure everything; whether all figures are within their limits."""
    report = Report()
    fast = Rounds("2,000 deltas at full speed", "n=2000", 2000, [], [])
    more = Rounds("4,000 deltas at full speed", "n=4000", 4000, [], [])
    paced = Rounds("2,000 deltas, one about every 2 ms", "", 2000, [], [], PACED)
    many = Rounds(f"{JOBS} jobs at once, 50 deltas each", "", JOBS * 50, [], [], MANY)
    parts = len(re.findall(r"\s*\S+|\s+", PART * 100))
    written = Rounds(f"{parts:,} deltas of Markdown, one about every 2 ms", "", parts, [], [], MARKDOWN)
    values = Rounds("2,000 JSON values, one about every 2 ms", "", 2000, [], [], VALUES)
    row = Rounds("20 jobs one after the other, 50 deltas each, with their picture", "", 1000, [], [], ROW)
    sweep = Rounds(f"a sweep of {CELLS} with 2,000 deltas each, at full speed, 4 at once", "n=2000", 2000 * CELLS, [], [], at_once=4)  # fmt: skip
    slow = Rounds(f"a sweep of {CELLS} with 2,000 deltas each, all at once, one about every 5 ms", "", 2000 * CELLS, [], [], PACED_SWEEP, CELLS)  # fmt: skip
    with replay_server() as base, started_kernel() as kernel:
        assert kernel.execute(SETUP).status == "ok"
        Rounds("", "n=50", 50, [], []).once(kernel, base)  # warm
        printing, slowly = [], []
        for _ in range(rounds):
            printing.append(_print_cpu(kernel, PRINT.format(count=2000, pause=0)))
            slowly.append(_print_cpu(kernel, PRINT.format(count=1000, pause=0.0015)))
            for kind in (fast, more, paced, written, values, many, row, sweep, slow):
                kind.once(kernel, base)
    at_once, paused = statistics.median(printing), statistics.median(slowly)
    print(
        f"with out: print: {at_once * 1e6:.1f} µs of CPU a delta; {paused * 1e6:.1f} with a pause of 1.5 ms before each"
    )
    for kind in (fast, more, paced, written, values, many, row, sweep, slow):
        _tell(report, kind, at_once, paused)
    print("twice the deltas, at full speed")
    for name, words in (("messages", "messages"), ("size", "bytes"), ("cpu", "CPU")):
        pairs = zip(more.shown, fast.shown, strict=True)
        report.line(words, statistics.median(getattr(two, name) / getattr(one, name) for two, one in pairs), 2)
    return report.is_good


def _tell(report: Report, kind: Rounds, at_once: float, paused: float) -> None:
    messages, size, seconds = (kind.of_shown(name) for name in ("messages", "size", "seconds"))
    text = SIZE * kind.count
    print(
        f"{kind.name}: {seconds:.2f} s, {messages:g} messages, {size:g} bytes for {text} of text; "
        f"{kind.of_shown('cpu') / kind.count * 1e6:.1f} µs of CPU a delta, {kind.showing * 1e6:.1f} of them for showing"
    )
    report.line("messages", messages, 20 + 30 * seconds)
    if "full" in kind.name:
        report.line("bytes / text", size / text, 8)
    else:
        report.line("bytes a second", size / seconds, 200_000)
    beside = paused if kind.yaml else at_once
    print(f"  {'the calls that show and the thread that sends alone':<58} {20 * kind.calls / beside:>10.2f}")
    if not kind.yaml:
        report.line("20 x CPU for showing / CPU of `with out: print`", 20 * kind.showing / at_once, 1)
        return
    report.line("20 x CPU for showing / CPU of `with out: print`, paced", 20 * kind.showing / paused, 1)
    print(f"  {'the same beside prints without pauses':<58} {20 * kind.showing / at_once:>10.2f}")


def main() -> None:
    """Print the figures and their limits; exit status 1 where one is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    sys.exit(0 if run(parser.parse_args().rounds) else 1)


if __name__ == "__main__":
    main()
