"""`composemagic help`: the language, one screen a topic."""

from __future__ import annotations

import argparse

from composemagic.cli.options import Commands
from composemagic.help import told
from composemagic.words import say

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add(
        "help", _help, say("explain the language: casts, sources, operators, types of components and jobs")
    )
    parser.add_argument(
        "topic", nargs="?", default="", help=say("such as `casts` or `http-client`; without it, all topics")
    )


def _help(options: argparse.Namespace) -> int:
    print(told(options.topic))
    return 0
