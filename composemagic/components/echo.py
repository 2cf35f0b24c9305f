"""`type: echo`: a component that answers with what it is given. For offline lessons, demos and tests of workflows.

`text` streams word by word, with `delay` seconds before each; `value` is given back as it is; with neither, the input is.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, ClassVar

from composemagic.errors import RunError
from composemagic.language.casts import to_text
from composemagic.language.template import Spell, compile_template
from composemagic.language.values import shown
from composemagic.words import say
from composemagic.workflow.component import Action, Context, Settings, SettingsModel, Value

__all__ = ["Echo"]

_INPUT = compile_template("${input}")


class EchoSettings(Settings):
    """An echo component has no settings of its own."""


class EchoAction(Settings):
    """`text`: text to stream; `delay`: seconds before each word; `value`: anything, given back whole."""

    text: Any = None
    value: Any = None
    delay: Any = None


class Echo:
    """Answers with its own action. Source for `output`: `result`."""

    type: ClassVar[str] = "echo"
    sources: ClassVar[tuple[str, ...]] = ("result",)
    text_fields: ClassVar[frozenset[str]] = frozenset()
    spellings: ClassVar[Mapping[str, Spell]] = {}
    settings: ClassVar[SettingsModel] = EchoSettings
    action: ClassVar[SettingsModel] = EchoAction

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[str, str | None]]:
        if "text" in action and "value" in action:
            yield say("an echo action has `text`, which streams, or `value`, which does not, not both"), "value"

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Yield the words of `text`, or one Value."""
        if "text" not in action.fields:
            yield Value(await context.render(action.fields.get("value", _INPUT)))
            return
        text = to_text(await context.render(action.fields["text"]))
        if not text:
            yield Value("")
        delay = _seconds(await context.render(action.fields.get("delay")))
        for word in re.findall(r"\s*\S+|\s+", text):
            await asyncio.sleep(delay)
            yield word


def _seconds(value: Any) -> float:
    try:
        found = float(value or 0)
        if math.isfinite(found):
            return max(0.0, found)
    except (TypeError, ValueError, OverflowError):
        pass
    raise RunError("input", say("`delay` is a number of seconds, not {value}", value=shown(value)))
