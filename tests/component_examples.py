"""The YAML in the docstrings of component types, as a user would copy it."""

from __future__ import annotations

import re
import textwrap
from types import ModuleType

import pytest

import composemagic

_BLOCK = re.compile(r"(?:^(?: {4}.*)?\n)+", re.MULTILINE)


def example(module: ModuleType) -> str:
    """The one example of a module's docstring: what is indented by four columns and begins with a workflow."""
    blocks = [textwrap.dedent(block).strip() for block in _BLOCK.findall(module.__doc__ or "")]
    (found,) = [block for block in blocks if block.startswith("workflow")]
    return f"{found}\n"


def mistakes(yaml: str) -> list[str]:
    """The sentences of all mistakes in a document, in the order of their places."""
    with pytest.raises(composemagic.DocumentError) as caught:
        composemagic.load(yaml)
    return [mistake.sentence for mistake in caught.value.mistakes]


def notes(run: composemagic.Run) -> list[str]:
    """What a run told the user that is no error."""
    return [event.sentence for event in run if isinstance(event, composemagic.Notice)]


def documented(module: ModuleType) -> set[str]:
    """The settings that the tables of a module's docstring name."""
    rows = re.findall(r"^\| (`[^|]*) \|", module.__doc__ or "", re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}
