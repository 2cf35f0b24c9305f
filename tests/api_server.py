"""The API on a real socket, for tests: uvicorn on the private loop, as the server itself has it, without its guard."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from composemagic.api import load_all
from composemagic.engine.loop import private_loop
from composemagic.server.app import application
from composemagic.server.clients import Patience
from composemagic.server.tasks import Tasks

__all__ = ["Api", "api"]


@dataclass
class Api:
    """A served API: `url` with its base path, `port`, and its `tasks`, which belong to the private loop."""

    url: str
    port: int
    tasks: Tasks


@contextlib.contextmanager
def api(
    document: str,
    *,
    base_path: str = "/api",
    patience: Patience | None = None,
    env: dict[str, str] | None = None,
    send_buffer: int = 0,
    **limits: Any,
) -> Iterator[Api]:
    """Serve a document's workflows until the block ends. `limits` are those of Tasks; `send_buffer`, in bytes, the kernel's."""
    tasks = Tasks(load_all(document, env=env), **limits)
    app = application(base_path=base_path, tasks=tasks, patience=patience)
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    # asyncio turns Nagle's algorithm off where it can see that it is TCP: a first delta would wait 40 ms for it
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if send_buffer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    loop = private_loop()
    served = loop.submit(server.serve(sockets=[listening]))
    port = listening.getsockname()[1]
    try:
        yield Api(f"http://127.0.0.1:{port}{base_path}", port, tasks)
    finally:
        loop.submit(tasks.close(0)).result(60)
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            served.result(60)
        listening.close()
