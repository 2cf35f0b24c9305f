"""Ratio 4: what 50,000 chunks need of memory beside what 1,000 need and the text that is kept.

    python -m tests.benchmarks.memory [--rounds 3] [--chunks 50000]

Each figure is of a process of its own, which has run the workflow once before: what Python's allocator gave out at the most
while the run was read, and what was left of it at the end with the run still held; and the growth of the resident set.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

from tests.benchmarks.fetch import YAML, pin

FEW = 1000
LIMIT = 2**20


async def used(base: str, chunks: int, face: str, trace: bool) -> dict[str, float]:
    """Bytes for one run of so many chunks: at the most, at its end, resident, and of its text."""
    import composemagic
    from composemagic.engine.events import Delta

    os.environ["OPENAI_API_KEY"] = "sk-x"
    few = composemagic.load(YAML.replace("https://api.openai.com", f"{base}/n={FEW},burst=65536"))
    workflow = composemagic.load(YAML.replace("https://api.openai.com", f"{base}/n={chunks},burst=65536"))

    async def read(which: Any) -> tuple[Any, int]:
        run, count = which.stream(prompt="hi"), 0
        if face == "events":
            async for event in run:
                count += type(event) is Delta
        else:  # a reader that comes at the end, as a view that was not looked at
            await asyncio.to_thread(run.wait)
        return run, count

    await read(few)
    gc.collect()
    if trace:
        tracemalloc.start()
        tracemalloc.reset_peak()
    before, resident = tracemalloc.get_traced_memory()[0], _resident()
    run, _ = await read(workflow)
    peak = tracemalloc.get_traced_memory()[1]
    gc.collect()
    left, grown = tracemalloc.get_traced_memory()[0], _resident() - resident
    assert run.status == "done", run.error
    assert run.timing.deltas == chunks, run.timing
    return {"peak": peak - before, "left": left - before, "resident": grown, "text": len(run.text.encode())}


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no such place on this system
        return 0


def main() -> None:
    """Print the medians of each way to read, and the growth beside the text."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--chunks", type=int, default=50_000)
    options.add_argument("--base")
    options.add_argument("--face")
    options.add_argument("--trace", action="store_true")
    given = options.parse_args()
    if given.base:
        print(json.dumps(asyncio.run(used(given.base, given.chunks, given.face, given.trace))))
        return
    from tests.benchmarks.server import replay

    with replay(pin(0)) as base:
        for face in ("events", "at the end"):
            few, many = ([_both(base, count, face) for _ in range(given.rounds)] for count in (FEW, given.chunks))
            print(f"{face}: growth from {FEW} to {given.chunks} chunks, KiB beside the text (limit {LIMIT >> 10})")
            for key in ("peak", "left", "resident"):
                grown = [(b[key] - a[key] - (b["text"] - a["text"])) / 1024 for a, b in zip(few, many, strict=True)]
                print(f"  {key}: median {statistics.median(grown):.0f} ({min(grown):.0f} to {max(grown):.0f})")
            print(f"  text: {many[0]['text'] / 1024:.0f} KiB")


def _both(base: str, chunks: int, face: str) -> dict[str, float]:
    """Traced and resident: tracing takes memory itself, so each has a process of its own."""
    traced, plain = (_child(base, chunks, face, *more) for more in (("--trace",), ()))
    return {**traced, "resident": plain["resident"]}


def _child(base: str, chunks: int, face: str, *more: str) -> Any:
    command = [*pin(1), sys.executable, "-m", "tests.benchmarks.memory", "--base", base, "--face", face, *more]
    done = subprocess.run([*command, "--chunks", str(chunks)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
