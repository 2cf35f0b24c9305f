"""The jobs of a run as a picture that lights up: where they are connected, and few enough to be seen at a look."""

from __future__ import annotations

from composemagic.engine.run import Run
from composemagic.notebook import jobs
from composemagic.picture.graph import MOST, Light, Net, graph, size_of
from composemagic.words import say
from composemagic.workflow.diagram import diagram, net
from composemagic.workflow.plan import Plan

__all__ = ["Lights"]


class Lights:
    """The picture of one run. Without connected jobs, or with more than 20, there is none: the jobs' lines tell all."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._net = _connected(run.plan)
        self._shown: dict[str, Light] = {}

    def __bool__(self) -> bool:
        return self._net is not None

    @property
    def width(self) -> float:
        """How wide the picture is, in pixels."""
        return size_of(self._net)[0] if self._net else 0.0

    def news(self) -> str:
        """The picture as SVG if a job's status has changed since the last call, else nothing."""
        lights = jobs.lights(self._run) if self else {}
        if lights == self._shown:
            return ""
        self._shown = lights
        return self.svg()

    def svg(self) -> str:
        """The picture as SVG; empty where there is none."""
        if self._net is None:
            return ""
        run = self._run
        lights = jobs.lights(run)
        taken = {(one, other) for one, other, *_ in self._net.arrows if _is_taken(run, one, other)}
        return graph(self._net, say("How far the jobs are"), lights, frozenset(taken))


def _connected(plan: Plan) -> Net | None:
    if not 1 < len(plan.jobs) <= MOST:
        return None
    found = net(diagram(plan).nodes, with_details=False)
    return found if found.arrows else None


def _is_taken(run: Run, one: str, other: str) -> bool:
    """Whether a job has led to another one."""
    before, after = run.jobs[one], run.jobs[other]
    if before.status == "routed":
        return before.to == other
    return before.status == "done" and after.started_at is not None
