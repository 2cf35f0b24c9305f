"""An MCP server made with the official SDK, over stdio, or over streamable HTTP with `--port-file FILE`.

Tools: `add(a, b)`, `weather(city)` (an object), `whoami()` (the process's id and one variable of its environment), `refuse(words)`,
`picture()` (an image), `leave()` (the process ends in the middle of the call), `wait(seconds)`.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("tools")


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def weather(city: str) -> dict[str, object]:
    """The weather of a city."""
    return {"city": city, "degrees": 21}


@server.tool()
def whoami() -> dict[str, object]:
    """Which process answers, and what it was given."""
    return {"pid": os.getpid(), "color": os.environ.get("COLOR"), "key": os.environ.get("OPENAI_API_KEY"), "folder": str(Path.cwd())}


@server.tool()
def refuse(words: str) -> str:
    """Fail with these words."""
    raise ToolError(words)


@server.tool()
def picture() -> Image:
    """One pixel."""
    return Image(data=b"\x89PNG", format="png")


@server.tool()
def leave() -> str:
    """End the process."""
    print("good bye", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
async def wait(seconds: float) -> str:
    """Answer after some seconds."""
    await anyio.sleep(seconds)
    return "done"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port-file")
    options = parser.parse_args()
    if options.port_file is None:
        server.run("stdio")
        return
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    Path(options.port_file).write_text(str(listening.getsockname()[1]))
    uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()
