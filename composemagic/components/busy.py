"""A database in a file, which another program may hold for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from composemagic.errors import RunError
from composemagic.words import say

__all__ = ["when_free"]

T = TypeVar("T")

_PATIENCE = 5.0  # seconds
_LOOK_AGAIN = 0.02


async def when_free(act: Callable[[], T], file: Path, errors: type[Exception]) -> T:
    """What `act` gives; where the file is locked, tried again for 5 s without keeping others on the loop from their work.

    `errors` are those of the database. Raises RunError, of kind `store`, with their reason.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + _PATIENCE
    while True:
        try:
            return act()
        except errors as error:
            if "locked" not in str(error) or loop.time() > end:
                sentence = say("the file `{name}` cannot be used: {why}", name=file.name, why=error)
                raise RunError("store", sentence) from None
        await asyncio.sleep(_LOOK_AGAIN)
