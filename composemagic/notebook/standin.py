"""What is read where the widgets of a face were: a page keeps them only as long as the kernel knows them.

So another display in the same cell holds a copy as plain HTML: it is what a saved notebook shows. While the widgets live, a
rule of CSS hides it; where they are gone, it hides what Jupyter says about that, which is an error to nobody.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

__all__ = ["StandIn"]

_WHILE_LIVE = (
    ".jp-OutputArea:has(.{live}) .jp-OutputArea-child:has(.{kept}){{display:none}}"
    ":root:has(.{live}) .{kept}{{display:none}}"
    # the widgets need a moment to come
    "@keyframes compose-late{{from,to{{visibility:hidden}}}}.{kept}{{animation:compose-late .5s}}"
)
_ONCE_GONE = (
    # of the outputs of a cell, only a widget is a panel
    ".jp-OutputArea:has(.{kept}):not(:has(.{live}))>.jp-OutputArea-child:has(>.jp-OutputArea-output.lm-Panel)"
    "{{display:none}}"
)


class StandIn:
    """`live` is to be a class of the widget that is displayed, `kept` one of the copy, which comes with the `style`."""

    def __init__(self) -> None:
        name = uuid.uuid4().hex[:12]
        self.live, self.kept = f"compose-live-{name}", f"compose-kept-{name}"

    @property
    def style(self) -> str:
        """The rules for a copy that is not seen while the widgets live."""
        return f"<style>{(_WHILE_LIVE + _ONCE_GONE).format(live=self.live, kept=self.kept)}</style>"

    def copy(self, data: Mapping[str, str], *, is_always_seen: bool = False) -> dict[str, str]:
        """A bundle as the copy; one that `is_always_seen` is none, and hides what was displayed of the widgets as well."""
        name = self.kept.replace("kept", "seen") if is_always_seen else self.kept
        style = f"<style>{_ONCE_GONE.format(live=self.live, kept=name)}</style>" if is_always_seen else self.style
        return {**data, "text/html": f'{style}<div class="{name}">{data["text/html"]}</div>'}
