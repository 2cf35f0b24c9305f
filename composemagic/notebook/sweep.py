"""A sweep that can be seen: answers that stream side by side in a notebook, a table everywhere else.

Python without a notebook uses the same object: `for values, run in workflow.sweep(temperature=[0, 1])`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from composemagic.engine.run import Run
from composemagic.notebook.chat import running_shell
from composemagic.sweep import AT_ONCE, STOP_SECONDS, Trial, Trials

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.notebook.sweepbox import SweepBox

__all__ = ["Sweep", "swept"]


class Sweep(Trials):
    """A run for each combination of values; a cell that ends with it begins and shows it. See `Trials` for its results."""

    _box: SweepBox | None = None
    _is_over = False

    def show(self) -> None:
        """Begin and display it: live where somebody can click, else once all have ended."""
        from composemagic.notebook.attended import can_click

        shell = running_shell()
        if shell is None or getattr(shell, "kernel", None) is None:
            self.wait()
            print(self)
        elif can_click(shell) and not self.done:
            from composemagic.notebook.sweepbox import SweepBox

            self._put_away()
            box = SweepBox(self)
            box.show()
            self._box = box  # not before: what ends meanwhile is put away on a thread that belongs to no cell
            self.begin()
            box.attach()
            if self._is_over:  # before there was a box
                self._put_away()
        else:
            self._show_still()

    _ipython_display_ = show

    def close(self) -> None:
        """Stop what runs; its copy takes the place of the widgets."""
        if self._has_begun and not self.done:
            self.stop()
            self._ended.wait(STOP_SECONDS)
        self._put_away()

    def _show_still(self) -> None:
        from IPython.display import display

        from composemagic.notebook.grid import still, trial_still

        try:
            self.wait()
        finally:  # an interrupt as well leaves what there is
            display(still(self, [trial_still(trial) for trial in self.trials]), raw=True)

    def _put_away(self) -> None:
        box, self._box = self._box, None
        if box is not None:
            box.close()

    def _began(self, trial: Trial, run: Run) -> None:
        if self._box is not None:
            self._box.began(trial)

    def _over(self) -> None:
        self._is_over = True
        self._put_away()

    def __str__(self) -> str:
        from composemagic.notebook.grid import text_table

        return text_table(self)


def swept(workflow: Workflow, values: Mapping[str, Any]) -> Sweep:
    """A sweep over the lists among `values`; for an input that takes a list, over a list of lists.

    Messages are a list as well, and one value. `at_once` is how many run at the same time, unless it is an input's name.
    """
    takes_list = {one.name for one in workflow.inputs if one.is_list or one.type in ("list", "json")}
    is_asked = any(one.name == "at_once" for one in workflow.inputs)
    at_once = AT_ONCE if is_asked else values.get("at_once", AT_ONCE)
    given = {name: value for name, value in values.items() if is_asked or name != "at_once"}
    axes = {name: list(value) for name, value in given.items() if _varies(value, takes_list=name in takes_list)}
    rest = {name: value for name, value in given.items() if name not in axes}
    return Sweep(workflow, axes, rest, at_once=at_once)


def _varies(value: Any, *, takes_list: bool) -> bool:
    if not isinstance(value, list | tuple | range):
        return False
    if value and all(isinstance(one, Mapping) and "role" in one for one in value):
        return False
    return not takes_list or any(isinstance(one, list | tuple) for one in value)
