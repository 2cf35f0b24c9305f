"""httpcore writes the headers of answers into its debug log, and servers repeat keys there: not inside of our requests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["quiet"]

_is_quiet: ContextVar[bool] = ContextVar("composemagic_quiet", default=False)


def _may_pass(record: logging.LogRecord) -> bool:
    return not _is_quiet.get()


# a filter holds for the logger that it stands on, and not for those below
for _name in (
    "httpx",
    "httpcore",
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
):
    logging.getLogger(_name).addFilter(_may_pass)


@contextmanager
def quiet() -> Iterator[None]:
    """What is asked within the block is not logged; requests of others are, as ever."""
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)
