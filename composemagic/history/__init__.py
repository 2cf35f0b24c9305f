"""The runs there were: in this process, and in a file where one is named.

tape      what a run said, and when
past      one run that was made, as a line of a table and as something to look at again
store     a sqlite file
sequence  the list of them
replay    a run as it happened
"""

from __future__ import annotations

from composemagic.history.past import Past
from composemagic.history.replay import Replay
from composemagic.history.sequence import Runs, runs

__all__ = ["Past", "Replay", "Runs", "runs"]
