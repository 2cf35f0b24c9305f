"""Ratios 2 and 3: what a chunk costs through YAML beside a hand-written loop and the openai SDK, and the first delta.

    python -m tests.benchmarks.fetch [--rounds 7] [--chunks 20000]

One replay server on one core, the clients on another. CPU time is user + system of the measured part. The first delta is
measured twice: each client in a process of its own, and all taking turns in one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
YAML = (HERE.parent / "data" / "seed.yml").read_text(encoding="utf-8")
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.7, "stream": True}
FIRSTS = 60


async def by_hand(base: str) -> Callable[[str], Any]:
    """A hand-written httpx loop: bytes, split at blank lines, json.loads."""
    import httpx

    client = httpx.AsyncClient(timeout=60)

    async def ask(knobs: str, first_only: bool = False) -> tuple[float, int]:
        begun = time.perf_counter()
        first, count, buffer = 0.0, 0, b""
        async with client.stream(
            "POST", f"{base}/{knobs}/v1/chat/completions", json=BODY, headers={"authorization": "Bearer sk-x"}
        ) as answer:
            answer.raise_for_status()
            async for data in answer.aiter_bytes():
                buffer += data
                *events, buffer = buffer.split(b"\n\n")
                for event in events:
                    if event == b"data: [DONE]":
                        continue
                    choices = json.loads(event[6:])["choices"]
                    delta = choices[0]["delta"].get("content") if choices else None
                    if delta:
                        first = first or time.perf_counter() - begun
                        count += 1
        return first, count

    return ask


async def through_yaml(base: str) -> Callable[[str], Any]:
    """The same request as the seed workflow, loaded once for each set of knobs."""
    import composemagic
    from composemagic.engine.events import Delta

    os.environ["OPENAI_API_KEY"] = "sk-x"
    loaded: dict[str, Any] = {}

    async def ask(knobs: str, first_only: bool = False) -> tuple[float, int]:
        if knobs not in loaded:
            loaded[knobs] = composemagic.load(YAML.replace("https://api.openai.com", f"{base}/{knobs}"))
        begun = time.perf_counter()
        first, count = 0.0, 0
        async for event in loaded[knobs].stream(prompt="hi"):
            if type(event) is Delta and event.value:
                first = first or time.perf_counter() - begun
                count += 1
        return first, count

    return ask


async def through_openai(base: str) -> Callable[[str], Any]:
    """The openai SDK's asynchronous client."""
    import openai

    clients: dict[str, Any] = {}

    async def ask(knobs: str, first_only: bool = False) -> tuple[float, int]:
        if knobs not in clients:
            clients[knobs] = openai.AsyncOpenAI(api_key="sk-x", base_url=f"{base}/{knobs}/v1")
        begun = time.perf_counter()
        first, count = 0.0, 0
        async for chunk in await clients[knobs].chat.completions.create(**BODY):
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.perf_counter() - begun
                count += 1
        return first, count

    return ask


CLIENTS = {"hand": by_hand, "yaml": through_yaml, "openai": through_openai}


async def alone(name: str, base: str, chunks: int) -> dict[str, float]:
    """CPU microseconds a chunk at full speed, and the median microseconds to the first delta, of one client."""
    ask = await CLIENTS[name](base)
    full = f"n={chunks},burst=65536"
    await ask(full)
    begun = time.process_time()
    _, count = await ask(full)
    cpu = time.process_time() - begun
    assert count == chunks, (name, count)
    times = [(await ask("n=8,burst=65536"))[0] for _ in range(FIRSTS)]
    return {"chunk": cpu / chunks * 1e6, "first": statistics.median(times[10:]) * 1e6}


async def first_deltas(base: str) -> dict[str, float]:
    """The same for all clients in one process, taking turns request by request: what the machine does hits all alike."""
    asks = {name: await make(base) for name, make in CLIENTS.items() if name != "openai" or find_spec("openai")}
    seen: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(FIRSTS):
        for name, ask in asks.items():
            seen[name].append((await ask("n=8,burst=65536"))[0])
    return {name: statistics.median(times[10:]) * 1e6 for name, times in seen.items()}


def pin(core: int) -> list[str]:
    """The command prefix that keeps a process on one core, where the machine has more than one and the tool."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 and Path("/usr/bin/taskset").exists() else []


def main() -> None:
    """Print each round's figures, then the medians and the ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--chunks", type=int, default=20000)
    options.add_argument("--client")
    options.add_argument("--base")
    given = options.parse_args()
    if given.client == "first":
        print(json.dumps(asyncio.run(first_deltas(given.base))))
        return
    if given.client:
        print(json.dumps(asyncio.run(alone(given.client, given.base, given.chunks))))
        return
    from tests.benchmarks.server import replay

    alones: list[dict[str, Any]] = []
    firsts: list[dict[str, float]] = []
    names = [name for name in CLIENTS if name != "openai" or find_spec("openai")]
    with replay(pin(0)) as base:
        for _ in range(given.rounds):
            alones.append({name: child(name, base, given.chunks) for name in names})
            firsts.append(child("first", base, given.chunks))
    for what, key, limits in (
        ("CPU µs a chunk", "chunk", {"hand": 1.25, "openai": 1 / 6}),
        ("µs to the first delta, warm, each in a process of its own", "first", {"hand": 1.25, "openai": 0.5}),
    ):
        report(what, [{name: found[key] for name, found in row.items()} for row in alones], limits)
    report("µs to the first delta, warm, taking turns in one process", firsts, {"hand": 1.25, "openai": 0.5})


def child(what: str, base: str, chunks: int) -> Any:
    """One measurement in a process of its own, away from the server's core."""
    command = [*pin(1), sys.executable, "-m", "tests.benchmarks.fetch", "--client", what, "--base", base]
    done = subprocess.run([*command, "--chunks", str(chunks)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def report(what: str, rounds: list[dict[str, float]], limits: dict[str, float]) -> None:
    """The medians, and the ratios of each round with their limit."""
    print(f"{what}: " + ", ".join(f"{name} {statistics.median(row[name] for row in rounds):.2f}" for name in rounds[0]))
    for other, limit in limits.items():
        if other in rounds[0]:
            ratios = [row["yaml"] / row[other] for row in rounds]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}, limit {limit:.2f}"
            print(f"  yaml / {other}: median {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
