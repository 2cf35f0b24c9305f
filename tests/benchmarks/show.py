"""Ratio 1: what showing a stream costs in a live kernel, beside `with out: print` for every delta.

    python -m tests.benchmarks.show [--rounds 5]

Everything happens in one real kernel. Messages and bytes are those on iopub that a front end has to handle: comm messages,
displays and updates, headers included. CPU is the kernel process's user + system time, all threads: of the cell, less
that of the same workflow run silently, which leaves what showing costs.
"""

from __future__ import annotations

import argparse
import json
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
import os, time, ipywidgets
from IPython.display import display
from composemagic import load
from composemagic.notebook.sweep import Sweep
from composemagic.sweep import Trials
os.environ["OPENAI_API_KEY"] = "sk-benchmark"
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
cpu = time.process_time()
for number in range({count}):
    with out:
        print("the qu", end="")
print("\\n", time.process_time() - cpu, {count})
"""


@dataclass
class Cost:
    """One stream: what a front end gets, in messages and bytes, and what the kernel spends, in CPU seconds."""

    messages: int
    size: int
    cpu: float
    seconds: float
    text: str = ""


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
    yaml: str = ""  # of a workflow without a network
    at_once: int = 0  # of a sweep

    def once(self, kernel: Kernel, base: str) -> None:
        """One more round."""
        yaml = self.yaml or _yaml(base, self.knobs)
        if self.at_once:
            places = {"yaml": yaml, "at_once": self.at_once}
            self.shown.append(measured(kernel, SWEEP.format(**places)))
            self.silent.append(measured(kernel, SILENT_SWEEP.format(**places)))
            return
        option, given = ("-i prompt=x", "prompt='x'") if self.knobs else ("", "")
        self.shown.append(measured(kernel, f"%%compose {option}\n{yaml}\n"))
        self.silent.append(measured(kernel, SILENT.format(yaml=yaml + "\n", given=given)))

    def of_shown(self, name: str) -> float:
        """The median of a figure of the streams that were shown."""
        return statistics.median(getattr(cost, name) for cost in self.shown)

    @property
    def showing(self) -> float:
        """The median of the CPU seconds for showing, a delta."""
        pairs = zip(self.shown, self.silent, strict=True)
        return max(0.0, statistics.median(shown.cpu - silent.cpu for shown, silent in pairs)) / self.count


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
    written = Rounds("2,000 deltas of Markdown, one about every 2 ms", "", 2000, [], [], MARKDOWN)
    values = Rounds("2,000 JSON values, one about every 2 ms", "", 2000, [], [], VALUES)
    row = Rounds("20 jobs one after the other, 50 deltas each, with their picture", "", 1000, [], [], ROW)
    sweep = Rounds(f"a sweep of {CELLS} with 2,000 deltas each, at full speed, 4 at once", "n=2000", 2000 * CELLS, [], [], at_once=4)  # fmt: skip
    slow = Rounds(f"a sweep of {CELLS} with 2,000 deltas each, all at once, one about every 5 ms", "", 2000 * CELLS, [], [], PACED_SWEEP, CELLS)  # fmt: skip
    with replay_server() as base, started_kernel() as kernel:
        assert kernel.execute(SETUP).status == "ok"
        Rounds("", "n=50", 50, [], []).once(kernel, base)  # warm
        printing = []
        for _ in range(rounds):
            printing.append(_print_cpu(kernel, PRINT.format(count=2000)))
            for kind in (fast, more, paced, written, values, many, row, sweep, slow):
                kind.once(kernel, base)
    print(f"with out: print: {statistics.median(printing) * 1e6:.1f} µs of CPU a delta")
    for kind in (fast, more, paced, written, values, many, row, sweep, slow):
        _tell(report, kind, statistics.median(printing))
    print("twice the deltas, at full speed")
    for name, words in (("messages", "messages"), ("size", "bytes"), ("cpu", "CPU")):
        pairs = zip(more.shown, fast.shown, strict=True)
        report.line(words, statistics.median(getattr(two, name) / getattr(one, name) for two, one in pairs), 2)
    return report.is_good


def _tell(report: Report, kind: Rounds, printing: float) -> None:
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
    report.line("20 x CPU for showing / CPU of `with out: print`", 20 * kind.showing / printing, 1)


def main() -> None:
    """Print the figures and their limits; exit status 1 where one is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    sys.exit(0 if run(parser.parse_args().rounds) else 1)


if __name__ == "__main__":
    main()
