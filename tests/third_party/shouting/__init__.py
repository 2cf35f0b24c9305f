"""A component type of a package that is not composemagic's: `type: shouting`, found by its entry point."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from composemagic.workflow.component import Action, Component, Context, Settings, Value

__all__ = ["Shouting"]


class ShoutingAction(Settings):
    """`text`: what is said; `times`: how loud."""

    text: Any
    times: int | None = None


class Shouting(Component):
    """Says it louder. Source for `output`: `result`."""

    type: ClassVar[str] = "shouting"
    action: ClassVar[type[Settings]] = ShoutingAction

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        text = str(await context.render(action.fields["text"]))
        times = int(await context.render(action.fields.get("times")) or 1)
        yield Value(text.upper() + "!" * times)
