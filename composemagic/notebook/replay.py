"""A replayed run below its cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from composemagic.notebook.choice import view_for

if TYPE_CHECKING:
    from composemagic.engine.run import Run
    from composemagic.history.replay import Replay

__all__ = ["show"]


def show(replay: Replay) -> None:
    """Play it where a run would be shown, and wait for its end. An interrupt stops it."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    view = view_for(shell, replay.past.workflow, tell_errors=True)
    view.show()
    run = cast("Run", replay)  # it has what a view asks of a run
    try:
        replay.begin()
        view.follow(run)
        replay.wait()
    except BaseException:
        replay.cancel()
        raise
    finally:
        view.finish(run)
