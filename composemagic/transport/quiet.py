"""HTTP libraries write the headers of answers into their debug logs, and servers repeat keys there: not inside of our requests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["hush", "quiet"]

_is_quiet: ContextVar[bool] = ContextVar("composemagic_quiet", default=False)


def _may_pass(record: logging.LogRecord) -> bool:
    return not _is_quiet.get()


# a filter holds for the logger that it stands on, and not for those below; `httpx2` is what the MCP SDK asks with
for _client, _core in (("httpx", "httpcore"), ("httpx2", "httpcore2")):
    for _name in (_client, _core, *(f"{_core}.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
        logging.getLogger(_name).addFilter(_may_pass)


def hush(*packages: str) -> None:
    """Have `quiet` hold for all loggers of these packages, too, that there are by now: call it when they are imported."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(tuple(f"{package}." for package in packages)) or name in packages:
            logging.getLogger(name).addFilter(_may_pass)


@contextmanager
def quiet() -> Iterator[None]:
    """What is asked within the block, and by tasks that it starts, is not logged; requests of others are, as ever."""
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)
