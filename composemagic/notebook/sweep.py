"""A sweep that can be seen: answers that stream side by side in a notebook, a table everywhere else.

Python without a notebook uses the same object: `for values, run in workflow.sweep(temperature=[0, 1])`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from composemagic.engine.run import Run
from composemagic.notebook.chat import running_shell
from composemagic.sweep import STOP_SECONDS, Trial, Trials

if TYPE_CHECKING:
    from composemagic.api import Workflow
    from composemagic.notebook.sweepbox import SweepBox

__all__ = ["Sweep", "swept"]


class Sweep(Trials):
    """A run for each combination of values; a cell that ends with it begins and shows it. See `Trials` for its results."""

    _box: SweepBox | None = None

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
            self._box = box = SweepBox(self)
            box.show()
            self.begin()
            box.attach()
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
        self._put_away()

    def __str__(self) -> str:
        from composemagic.notebook.grid import text_table

        return text_table(self)


def swept(workflow: Workflow, values: Mapping[str, Any]) -> Sweep:
    """A sweep over the lists among `values`; for an input that takes a list, over a list of lists."""
    takes_list = {one.name for one in workflow.inputs if one.is_list or one.type in ("list", "json")}
    axes = {name: list(value) for name, value in values.items() if _varies(value, takes_list=name in takes_list)}
    return Sweep(workflow, axes, {name: value for name, value in values.items() if name not in axes})


def _varies(value: Any, *, takes_list: bool) -> bool:
    if not isinstance(value, list | tuple | range):
        return False
    return not takes_list or any(isinstance(one, list | tuple) for one in value)
