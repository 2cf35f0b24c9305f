"""`composemagic secrets`: which secrets there are, where each comes from and may go; `forget` takes an answer back."""

from __future__ import annotations

import argparse
import sys

from composemagic.cli.options import Commands
from composemagic.cli.terminal import drawable
from composemagic.words import say

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    text = say("list the secret variables, where each comes from and where it may go; never a value")
    command = commands.add("secrets", _secrets, text, _example())
    command.add_argument("words", nargs="*", metavar=say("forget NAME [HOST]"), help=say("ask again where NAME may go"))
    text = say("read variables from FILE instead of .env")
    command.add_argument("--env-file", action="append", default=[], metavar="FILE", help=text)


def _example() -> str:
    return say(
        """example:
  composemagic secrets
  composemagic secrets forget SHOP_API_KEY https://shop.example"""
    )


def _secrets(options: argparse.Namespace) -> int:
    from composemagic.transport.known import told
    from composemagic.workflow.environment import Environment

    print(drawable(told(options.words, Environment(files=options.env_file)), sys.stdout))
    return 0
