"""A conversation that can be seen: bubbles that stream in a notebook, a transcript everywhere else.

Python without a notebook uses the same object: `chat.say("...")`. What needs widgets is loaded when it is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from composemagic.conversation import Conversation, Turn
from composemagic.text import plain
from composemagic.words import say

if TYPE_CHECKING:
    from composemagic.notebook.chatbox import ChatBox

__all__ = ["Chat", "running_shell"]

_STOP_SECONDS = 2.0


class Chat(Conversation):
    """A conversation over a workflow; a cell that ends with it shows it. See `Conversation` for what it can be asked."""

    _box: ChatBox | None = None

    def show(self) -> None:
        """Display it: to be typed into where somebody can click or sits at a terminal, else what has been said. A former display becomes a copy."""
        from composemagic.notebook.attended import can_click, in_terminal

        shell = running_shell()
        if in_terminal(shell):
            from composemagic.notebook.chatline import converse

            converse(self)
        elif shell is None or getattr(shell, "kernel", None) is None:
            print(self)
        elif can_click(shell):
            from composemagic.notebook.chatbox import ChatBox

            self._put_away()
            self._box = ChatBox(self)
            self._box.show()
        else:
            from IPython.display import display

            display(self._still(), raw=True)

    _ipython_display_ = show

    def close(self) -> None:
        """Stop the answer that is on its way and take the widgets away; what was said stays to be read."""
        self.stop()
        for turn in self.turns[-1:]:
            if turn.run is not None:
                turn.run.wait(_STOP_SECONDS)  # so that what there was of it is in the copy
        self._put_away()

    def _put_away(self) -> None:
        box, self._box = self._box, None
        if box is not None:
            box.close()

    def _began(self, turn: Turn) -> None:
        if self._box is not None:
            self._box.began(turn)

    def _changed(self) -> None:
        if self._box is not None:
            self._box.changed()

    def _still(self) -> dict[str, str]:
        from composemagic.notebook.bubbles import transcript, turn_still, with_mark

        return dict(transcript(self, ((turn, with_mark(turn, turn_still(turn))) for turn in self.turns)))

    def __str__(self) -> str:
        told = super().__str__() or say("Nothing has been said yet.")
        return plain(f"{self.workflow.title}\n\n{told}\n\n{say('Say something with `.say(...)`.')}")


def running_shell() -> Any:
    """The running IPython shell, or None."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    return get_ipython()
