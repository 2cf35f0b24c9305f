"""`composemagic schema`: the language as JSON Schema, for editors."""

from __future__ import annotations

import argparse

from composemagic.cli.options import Commands
from composemagic.cli.terminal import print_json
from composemagic.components.described import language
from composemagic.words import say

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    commands.add("schema", _schema, say("print the JSON Schema of the language, for editors"), _example())


def _example() -> str:
    return say(
        """example:
  composemagic schema > compose.schema.json

Then let the first line of your YAML be
  # yaml-language-server: $schema=compose.schema.json
and VS Code (its YAML extension), Neovim, Helix and others complete and check as you type."""
    )


def _schema(options: argparse.Namespace) -> int:
    print_json(language())
    return 0
