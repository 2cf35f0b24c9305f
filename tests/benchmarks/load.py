"""Ratios 5 and 6: what `%load_ext` costs, what the first run of a whole process costs, and parse and check.

    python -m tests.benchmarks.load [--rounds 11]

Every measurement is a process of its own on one core, the server is on the other, and the sides take turns: a ratio
is the median of the rounds' ratios of CPU time (user and system). Compiled bytecode lies ready for both sides, as
pip leaves it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.fetch import BODY, pin
from tests.benchmarks.server import replay

ROOT = Path(__file__).parent.parent.parent
SEED = ROOT / "tests" / "data" / "seed.yml"
HEAVY = ("httpx", "yaml", "pydantic", "ipywidgets")

# Both run in a plain IPython shell, so that what IPython brings counts for neither.
_IN_SHELL = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
begun = time.process_time()
{work}
seconds = time.process_time() - begun
loaded = [name for name in {heavy} if name in sys.modules]
print(json.dumps([seconds, loaded]))
"""
LOAD_EXT = "shell.run_line_magic('load_ext', 'composemagic')"
IMPORTS = "import httpx, yaml, pydantic, ipywidgets; pydantic.BaseModel"

YAML_RUN = """
import composemagic
text = open({seed!r}, encoding="utf-8").read().replace("https://api.openai.com", {base!r})
workflow = composemagic.load(text, env={{"OPENAI_API_KEY": "sk-x"}})
print(workflow.run(prompt="hi").text)
"""
HAND_ASYNC = """
import asyncio, json, httpx

async def main():
    text = []
    async with httpx.AsyncClient(timeout=60) as client:
        headers = {{"authorization": "Bearer sk-x"}}
        async with client.stream("POST", {base!r} + "/v1/chat/completions", json={body!r}, headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    for choice in json.loads(line[6:])["choices"]:
                        text.append(choice["delta"].get("content") or "")
    print("".join(text))

asyncio.run(main())
"""
HAND_SYNC = """
import json, httpx

text = []
headers = {{"authorization": "Bearer sk-x"}}
with httpx.stream("POST", {base!r} + "/v1/chat/completions", json={body!r}, headers=headers, timeout=60) as answer:
    answer.raise_for_status()
    for line in answer.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            for choice in json.loads(line[6:])["choices"]:
                text.append(choice["delta"].get("content") or "")
print("".join(text))
"""
PARSE = """
import json, time
from composemagic.api import load
import composemagic.components.http_client
text = open({seed!r}, encoding="utf-8").read()
times = []
for _ in range(200):
    begun = time.perf_counter()
    load(text)
    times.append(time.perf_counter() - begun)
print(json.dumps(times))
"""


def main() -> None:
    """Print the figures of ratios 5 and 6."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=11)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory() as cache:
        environment = _environment(cache)
        load_ext(rounds, environment)
        whole_process(rounds, environment)
        parse_and_check(rounds, environment)


def load_ext(rounds: int, environment: dict[str, str]) -> None:
    """Ratio 5, first half: `%load_ext composemagic` beside the four imports that it must not make."""
    ours, theirs, loaded = [], [], []
    for at in range(rounds + 1):
        own, loaded = json.loads(_output(_IN_SHELL.format(work=LOAD_EXT, heavy=HEAVY), environment))
        other, all_four = json.loads(_output(_IN_SHELL.format(work=IMPORTS, heavy=HEAVY), environment))
        assert len(all_four) == len(HEAVY)
        if at:  # the first round compiles
            ours.append(own * 1e3)
            theirs.append(other * 1e3)
    print(f"%load_ext composemagic imports {', '.join(loaded) or 'none'} of {', '.join(HEAVY)}")
    print(f"CPU ms: %load_ext {statistics.median(ours):.1f}, importing the four {statistics.median(theirs):.1f}")
    _ratio("%load_ext / the four", ours, theirs, 0.2)


def whole_process(rounds: int, environment: dict[str, str]) -> None:
    """Ratio 5, second half: from nothing to the last word, with an empty process at each start."""
    with replay(pin(0)) as base:
        codes = {
            "yaml": YAML_RUN.format(seed=str(SEED), base=base),
            "httpx, async": HAND_ASYNC.format(base=base, body=BODY),
            "httpx, sync": HAND_SYNC.format(base=base, body=BODY),
        }
        answers = {name: _output(code, environment) for name, code in codes.items()}
        assert len(set(answers.values())) == 1, answers
        times: dict[str, list[float]] = {name: [] for name in codes}
        for _ in range(rounds):
            for name, code in codes.items():
                begun = _children_cpu()
                _output(code, environment)
                times[name].append((_children_cpu() - begun) * 1e3)
    print(
        "CPU ms of a whole process: " + ", ".join(f"{name} {statistics.median(row):.0f}" for name, row in times.items())
    )
    _ratio("yaml / httpx, async", times["yaml"], times["httpx, async"], 1.5)
    _ratio("yaml / httpx, sync", times["yaml"], times["httpx, sync"], None)


def parse_and_check(rounds: int, environment: dict[str, str]) -> None:
    """Ratio 6: text to checked workflow, the first time (which builds what is built once, imports aside) and warm."""
    firsts, warms = [], []
    for _ in range(min(rounds, 5)):
        first, *more = json.loads(_output(PARSE.format(seed=str(SEED)), environment))
        firsts.append(first * 1e3)
        warms.append(statistics.median(more) * 1e3)
    warm = statistics.median(warms)
    print(f"ms to parse and check the seed: first {statistics.median(firsts):.2f}, warm {warm:.2f} (limit 3)")


def _environment(cache: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": cache, "PYTHONPATH": str(ROOT)}


def _output(code: str, environment: dict[str, str]) -> str:
    command = [*pin(1), sys.executable, "-c", code]
    with tempfile.TemporaryDirectory() as elsewhere:
        return subprocess.run(
            command, env=environment, cwd=elsewhere, stdout=subprocess.PIPE, text=True, check=True, timeout=120
        ).stdout


def _children_cpu() -> float:
    """Seconds of user and system time of the processes that have ended, which other load on the machine hardly changes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ratio(name: str, ours: list[float], theirs: list[float], limit: float | None) -> None:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    wanted = "" if limit is None else f", limit {limit:g}"
    print(f"  {name}: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}{wanted})")


if __name__ == "__main__":
    main()
