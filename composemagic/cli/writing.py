"""`-o FILE`: a file that is written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from composemagic.errors import UsageError
from composemagic.words import say

__all__ = ["refuse_unwritable", "write_whole"]


def refuse_unwritable(output: Path | None) -> None:
    """Raise UsageError for an output file that cannot be written: before a run is paid for, not after."""
    if output is None:
        return
    if output.is_dir():
        raise UsageError(say("-o names a folder, `{folder}`; name a file in it", folder=output))
    if not output.parent.is_dir():
        raise UsageError(say("-o {file}: there is no folder `{folder}`", file=output, folder=output.parent))
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise UsageError(say("-o {file}: permission denied", file=output))


def write_whole(output: Path, data: bytes) -> None:
    """Write a file. Who reads it meanwhile, and who is left with it after a full disk, has the old one. Raises UsageError."""
    try:
        if _can_be_replaced(output):
            _replace(output.resolve(), data)
        else:
            output.write_bytes(data)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(say("-o {file}: {why}", file=output, why=why)) from None


def _can_be_replaced(output: Path) -> bool:
    """Whether another file may take its place: /dev/stdout is no file, and a folder may be read-only."""
    is_plain = not output.exists() or output.is_file()
    return is_plain and os.access(output.resolve().parent, os.W_OK)


def _replace(output: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        new.chmod(_mode(output))
        new.replace(output)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _mode(output: Path) -> int:
    """The permissions of the file that is there, else those of any new one."""
    with suppress(OSError):
        return stat.S_IMODE(output.stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
