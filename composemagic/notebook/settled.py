"""What a click asks for is done once everything that was typed before it has come.

A page has one change of a field on its way. What is typed before the kernel's `idle` for that change came back is held back
(the message throttle of ipywidgets' `WidgetModel`), while a click goes out at once: it would be done with what stood in the
field before. So the kernel asks the page after a click. The question is a change of a widget, and a link in the page
(`jsdlink`) answers it by changing another. The page reads the question after that `idle`, which sends what it held back,
and so before the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from typing import Any

import ipywidgets as widgets

from composemagic.notebook.widget import close, heard, unpin

__all__ = ["Settled"]

_PATIENCE = 5.0  # seconds; a page that does not answer in this time is gone, or too far away to be waited for


class Settled:
    """A page that is asked. Where none has answered so far, nothing is waited for. `look`: a layout and a style to share."""

    def __init__(self, **look: Any) -> None:
        self._question = widgets.HTML("1", **look)
        self._answer = heard(widgets.HTML("0", layout=self._question.layout, style=self._question.style))
        self._answer.observe(self._on_answer, "value")
        # a link sets its target when it is made, too: a page has answered before anybody clicks there
        self._link = widgets.jsdlink((self._question, "value"), (self._answer, "value"))
        # clicks and answers come in the main thread or in a subshell's, changing from one to the next
        self._lock = threading.Lock()
        self._asked, self._answered = 1, 0
        self._waiting: dict[int, _Click] = {}

    def after(self, act: Callable[[Any], None]) -> Callable[[Any], None]:
        """What a button is to call: it calls `act` with that button when all has come."""
        return lambda button: self.then(lambda: act(button), button)

    def then(self, act: Callable[[], None], button: Any = None) -> None:
        """Call `act` when all has come, on a thread that hears clicks or on its own. Acts keep their order.

        `button` is disabled until then; what presses it once more meanwhile is the same click.
        """
        with self._lock:
            if button is not None and any(one.button is button for one in self._waiting.values()):
                return
            waits = bool(self._waiting) or self._answered == self._asked
            self._asked = number = self._asked + 1
            if waits:
                self._waiting[number] = _Click(act, button, lambda: self._do(number))
            self._question.value = str(number)
        if not waits:
            act()

    def close(self) -> None:
        """Wait for nothing more."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for click in waiting.values():
            click.release()
        for one in (self._link, self._answer, self._question):
            close(one)

    def _on_answer(self, change: Any) -> None:
        number = int(change["new"])
        with self._lock:
            self._answered = max(self._answered, number)
        self._do(number)

    def _do(self, number: int) -> None:
        """Do what was asked for until a question."""
        with self._lock:
            due = [self._waiting.pop(one) for one in sorted(self._waiting) if one <= number]
        with ExitStack() as acts:  # one that fails does not take those behind it along
            for click in reversed(due):
                acts.callback(click.act)
                acts.callback(click.release)


class _Click:
    """What is to be done, and the button that is disabled until then. `late` is called when no answer comes."""

    def __init__(self, act: Callable[[], None], button: Any, late: Callable[[], None]) -> None:
        self.act = act
        self.button = button
        self._is_pressed = button is not None and not button.disabled
        if self._is_pressed:
            button.disabled = True
            unpin(button)
        # the thread of a click may end with its page; its context says to which message it belongs
        self._timer = threading.Timer(_PATIENCE, copy_context().run, (late,))
        self._timer.daemon = True
        self._timer.start()

    def release(self) -> None:
        """Leave the button as it was."""
        self._timer.cancel()
        if self._is_pressed:
            self.button.disabled = False
            unpin(self.button)
