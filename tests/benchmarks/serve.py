"""The API beside model-compose's own: the first delta, CPU a chunk, many clients at once, readers that do not read.

    python -m tests.benchmarks.serve [--rounds 5] [--chunks 20000] [--peer /tmp/peer/bin/model-compose]

The servers have one core, the client and the model's stand-in the other. CPU time is user + system of the server's process.
The client is a raw socket, so that what is measured is the server. Both run the same workflow, the peer as `composemagic
export` writes it, and take turns request by request. Without the peer's program, ours is measured alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.fetch import pin
from tests.benchmarks.server import replay

ROOT = Path(__file__).parent.parent.parent
SEED = (ROOT / "tests" / "data" / "seed.yml").read_text(encoding="utf-8")
FIRSTS, CLIENTS, SLOW = 100, 200, 64
TICKS = os.sysconf("SC_CLK_TCK")
# the inputs choose what the stand-in does
PATH = "/n=${input.n},delay=${input.delay | 0},burst=${input.burst | 0},text=${input.text | ascii}/v1/chat/completions"
YAML = SEED.replace("https://api.openai.com/v1", "${env.STAND_IN}").replace(
    "path: /chat/completions", f'path: "{PATH}"'
)
MANY = YAML.replace("  port: 8080\n", "  port: 8080\n  max_concurrent_count: 1000\n")


@dataclass(frozen=True)
class Server:
    """A server under test: its process and its port."""

    name: str
    pid: int
    port: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far, user and system, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def memory(self) -> int:
        """Bytes of memory it holds now."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


@dataclass
class Heard:
    """What one client got: seconds to the first delta and to the end, each delta, and how late it was."""

    first: float = 0.0
    total: float = 0.0
    deltas: list[bytes] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


async def ask(port: int, knobs: str, *, is_clock: bool = False, window: int | None = None) -> Heard:
    """Run the workflow and read its stream to the end, without a library between the socket and the clock."""
    begun = time.perf_counter()
    heard = Heard()
    async for data in _deltas(port, knobs):
        now = time.monotonic_ns()
        heard.first = heard.first or time.perf_counter() - begun
        heard.deltas.append(data)
        if is_clock and data.strip():
            heard.late.append((now - int(data)) / 1e6)
    heard.total = time.perf_counter() - begun
    return heard


async def _deltas(port: int, knobs: str) -> AsyncIterator[bytes]:
    """The data of each default message of the answer; HTTP's chunks are taken apart by hand."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request(port, knobs))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n", 1)[0], head + await reader.read(2000)
    rest = b""
    while size := int(await reader.readline(), 16):
        rest += (await reader.readexactly(size + 2))[:-2]
        *messages, rest = rest.split(b"\n\n")
        for message in messages:
            lines = message.split(b"\n")
            if any(line.startswith(b"event:") for line in lines):
                assert b"event: end" in lines, message
                continue
            for line in lines:
                if line.startswith(b"data: "):
                    yield line[6:]
    writer.close()


def _request(port: int, knobs: str) -> bytes:
    chosen = dict(knob.split("=") for knob in knobs.split(","))
    body = json.dumps({"input": {"prompt": "hi", **chosen}, "output_only": True}).encode()
    head = f"POST /api/workflows/runs HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


# -- the servers -------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def started(name: str, command: list[str], port: int, folder: Path, env: dict[str, str]) -> Iterator[Server]:
    """A server as a process of its own on the first core, until it answers."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([*pin(0), *command], cwd=folder, env=env, stdout=log, stderr=log)
        try:
            while not _answers(port):
                if process.poll() is not None:
                    raise RuntimeError(f"{name} did not start:\n{(folder / f'{name}.log').read_text()[-2000:]}")
                time.sleep(0.05)
            yield Server(name, process.pid, port)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def servers(base: str, peer: str | None, yaml: str) -> Iterator[list[Server]]:
    """Ours, and the peer's where its program is there."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = {**os.environ, "STAND_IN": base, "OPENAI_API_KEY": "sk-x", "PYTHONPATH": str(ROOT)}
        file, ours = folder / "compose.yml", [sys.executable, "-m", "composemagic"]
        port = free_port()
        file.write_text(yaml, encoding="utf-8")
        command = [*ours, "up", "-f", str(file), "--port", str(port), "--ui", "none"]
        found = [stack.enter_context(started("ours", command, port, folder, env))]
        if peer is not None:
            exported = folder / "model-compose.yml"
            export = [*ours, "export", "-f", str(file), "--as", "model-compose", "-o", str(exported)]
            subprocess.run(export, env=env, check=True)
            other = free_port()
            text = exported.read_text().replace("port: 8080", f"port: {other}").partition("  webui:")
            rest = text[2].partition("\nworkflow:")
            exported.write_text(f"{text[0]}workflow:{rest[2]}" if text[1] else text[0])
            env.pop("PYTHONPATH")
            found.append(stack.enter_context(started("peer", [peer, "-f", str(exported), "up"], other, folder, env)))
        yield found


# -- what is measured --------------------------------------------------------------------------------------------------------


async def paired(several: list[Server], rounds: int, chunks: int) -> None:
    """First delta and CPU a chunk, request by request in turns."""
    for server in several:
        await ask(server.port, "n=2000,burst=65536")  # warm
    firsts: dict[str, list[float]] = {server.name: [] for server in several}
    before = {server.name: server.cpu for server in several}
    for _ in range(FIRSTS):
        for server in several:
            firsts[server.name].append((await ask(server.port, "n=8,burst=65536")).first * 1e6)
    report("µs to the first delta, warm", firsts)
    report(
        "CPU µs a request with 8 chunks",
        {server.name: [(server.cpu - before[server.name]) / FIRSTS * 1e6] for server in several},
    )
    for what, knobs, count in (
        ("CPU µs a chunk at full speed", f"n={chunks},burst=65536", chunks),
        ("CPU µs a chunk at 2 ms each", "n=1000,delay=2", 1000),
    ):
        costs: dict[str, list[float]] = {server.name: [] for server in several}
        for _ in range(rounds):
            for server in several:
                before = server.cpu
                heard = await ask(server.port, knobs)
                text = sum(map(len, heard.deltas))
                assert text == 6 * count, (server.name, text)  # what was read is all there was
                costs[server.name].append((server.cpu - before) / count * 1e6)
        report(what, costs)


async def many(server: Server, count: int) -> None:
    """So many clients at once, each with a chunk every 5 ms: nothing lost, and how late each chunk is."""
    before, begun = server.cpu, time.perf_counter()
    heard = await asyncio.gather(*(ask(server.port, "n=200,delay=5,text=clock", is_clock=True) for _ in range(count)))
    seconds = time.perf_counter() - begun
    lost = sum(200 - len(b"".join(one.deltas).split()) for one in heard)
    late = sorted(delay for one in heard for delay in one.late)
    p50, p99, most = (late[int(len(late) * part)] for part in (0.5, 0.99, 0.9999))
    cpu = (server.cpu - before) / len(late) * 1e6
    print(
        f"{server.name}: {count} clients, a chunk every 5 ms: {lost} lost; late p50 {p50:.1f} ms, p99 {p99:.1f} ms, ",
        end="",
    )
    print(
        f"most {most:.1f} ms; {len(late) / seconds:.0f} chunks/s, CPU {cpu:.1f} µs a chunk, {seconds:.1f} s for 1.0 s"
    )


def unread(server: Server, count: int) -> None:
    """So many clients that ask for 100,000 chunks each and read a little: what the server holds for them."""
    before = server.memory
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.connect(("127.0.0.1", server.port))
        client.sendall(_request(server.port, "n=100000,burst=65536"))
        clients.append(client)
    most = 0
    for _ in range(40):
        time.sleep(0.2)
        most = max(most, server.memory)
        for client in clients:
            client.recv(256)
    for client in clients:
        client.close()
    print(
        f"{server.name}: {count} readers that hardly read: {(most - before) / count / 1024:.0f} KiB each ({before / 2**20:.0f} -> {most / 2**20:.0f} MiB)"
    )


def report(what: str, found: dict[str, list[float]]) -> None:
    """The medians, and the ratio of the two."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(f"{what}: " + ", ".join(f"{name} {value:.1f}" for name, value in medians.items()))
    if len(found) == 2:
        ratios = [ours / other for ours, other in zip(*found.values(), strict=True)]
        print(
            f"  ours / peer: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), limit 1"
        )


def main() -> None:
    """Print all figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--chunks", type=int, default=20000)
    options.add_argument("--clients", type=int, default=CLIENTS)
    options.add_argument("--peer", default=shutil.which("model-compose", path="/tmp/peer/bin"))
    given = options.parse_args()
    if pin(1):
        os.sched_setaffinity(0, {1})
    with replay(pin(1)) as base:
        with servers(base, given.peer, YAML) as several:
            asyncio.run(paired(several, given.rounds, given.chunks))
        with servers(base, given.peer, MANY) as several:
            for server in several:
                asyncio.run(many(server, given.clients))
            for server in several:
                unread(server, SLOW)


if __name__ == "__main__":
    main()
