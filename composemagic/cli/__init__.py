"""A run in a terminal: `composemagic run`, `validate`, `diagram`, `schema`, `secrets` and `quickstart`, one file each."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from composemagic.cli import diagram, down, export, quickstart, run, schema, secrets, topics, up, validate
from composemagic.cli.options import Commands, Parser, parsed, spoken
from composemagic.cli.terminal import FAILED, INTERRUPTED, USAGE, fit, is_reader_gone, leave, open_missing, tell
from composemagic.errors import ComposeError, InputError, UsageError
from composemagic.words import say, speak

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status: 0 done, 1 failed or incomplete, 2 used wrongly.

    A command that is interrupted ends the process here, with 130: no thread that waits for a name server or a download
    may hold the terminal.
    """
    open_missing()
    fit(sys.stdout)
    try:
        status = _command(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tell(say("■ stopped"))
        status = INTERRUPTED
    except (UsageError, InputError) as error:
        tell(str(error))
        status = USAGE
    except ComposeError as error:
        tell(str(error))
        status = FAILED
    except OSError as error:
        if not is_reader_gone(error):
            tell(_unwritable(error))
        # or Python would try once more at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILED
    if status == INTERRUPTED:
        leave(status)
    return status


def _command(arguments: list[str]) -> int:
    if (language := spoken(arguments)) is not None:
        speak(language)
    options = parsed(arguments, *_parsers())
    status: int = options.command(options)
    return status


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the whole command line, and those of the commands by name."""
    commands = Commands()
    for module in (run, up, down, validate, diagram, export, schema, secrets, quickstart, topics):
        module.add(commands)
    return commands.parser, commands.all


def _unwritable(error: OSError) -> str:
    why = (error.strerror or str(error)).lower()
    if error.filename:
        return say("compose: `{file}` cannot be written: {why}", file=error.filename, why=why)
    return say("compose: the output cannot be written: {why}", why=why)
