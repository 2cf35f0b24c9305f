"""Where a run asks people: each open point as a question in the terminal."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from getpass import getpass
from typing import TYPE_CHECKING, Any

from composemagic.cli.terminal import tell
from composemagic.engine.asking import choices, meaning, question, wanted
from composemagic.language.secret import is_secret
from composemagic.words import say
from composemagic.workflow.environment import typed

if TYPE_CHECKING:
    from composemagic.engine.events import Point

__all__ = ["answers", "keys", "somebody_is_there"]

_LONGEST = 400  # characters of a value that is shown


def somebody_is_there() -> bool:
    """Whether a person sees the questions and can type the answers."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def keys(unset: Sequence[str]) -> None:
    """Ask for the secrets among variables that are not set, unseen, after a sentence that says why. Enter leaves one out."""
    secrets = [name for name in unset if is_secret(name, "")]
    if secrets:
        tell(wanted(secrets))
    for name in secrets:
        try:
            value = getpass(say("{name} (not shown; Enter to leave it out): ", name=name))
        except EOFError:
            return
        if value:
            typed(name, value)


def answers(points: Sequence[Point]) -> dict[str, Any] | None:
    """Ask for each point, and give the answers by the points' ids; None where the person wants to stop (Ctrl-C, Ctrl-D).

    An empty line is null: go on as it is. What is JSON is meant as such, anything else is text.
    """
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # or reading would just go on
    try:
        return {point.id: _answer(point) for point in points}
    except (EOFError, KeyboardInterrupt):
        tell("")
        return None
    finally:
        signal.signal(signal.SIGINT, former)


def _answer(point: Point) -> Any:
    tell(f"? {question(point)}")
    for value in (point.metadata, point.value):
        if value is not None:
            tell(f"  {_short(value)}")
    tell(f"  {choices(point)}")
    return meaning(input().strip())


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
