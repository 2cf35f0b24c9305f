"""`composemagic diagram`: a workflow as a tree in the terminal, or as Mermaid."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from composemagic.cli.options import Commands, add_file_options, files
from composemagic.cli.terminal import drawable
from composemagic.errors import UsageError
from composemagic.words import say
from composemagic.workflow.environment import pair

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    command = commands.add("diagram", _diagram, say("show how the jobs of a workflow connect"))
    option = command.add_argument
    option("path", nargs="?", metavar="FILE", type=Path, help=say("the YAML, like -f FILE"))
    text = say("the id of the workflow, where there are several; else all are shown")
    option("-w", "--workflow", metavar="ID", help=text)
    text = say("as Mermaid text, for Markdown pages; else as a tree")
    option("--mermaid", action="store_true", help=text)
    add_file_options(command)


def _diagram(options: argparse.Namespace) -> int:
    from composemagic.api import load, load_all

    if options.path and options.file:
        raise UsageError(say("the file is given twice, once with -f"))
    source = files([options.path] if options.path else options.file)
    env = dict(pair(item, "-e") for item in options.env)
    if options.workflow is None:
        found = load_all(source, env=env, env_files=options.env_file)
    else:
        found = [load(source, options.workflow, env=env, env_files=options.env_file)]
    shown = [str(one.diagram()) if options.mermaid else one.diagram().tree for one in found]
    print(drawable("\n\n".join(text.rstrip("\n") for text in shown), sys.stdout))
    return 0
