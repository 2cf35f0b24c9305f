"""Jobs: checked and compiled."""

from __future__ import annotations

from composemagic.errors import suggest
from composemagic.workflow import schema
from composemagic.workflow.actions import Components
from composemagic.workflow.items import Item
from composemagic.workflow.plan import Job
from composemagic.workflow.report import BASE, Report

__all__ = ["Jobs"]


class Jobs:
    """The jobs of one workflow; `ids` are those of all of them."""

    def __init__(self, report: Report, components: Components, ids: list[str]) -> None:
        self.report = report
        self.components = components
        self.ids = ids

    def job(self, item: Item) -> Job | None:
        job, path = item.data, item.path
        if job.get("type", "component") != "component":
            self.report.fault(schema.no_job_type(job["type"]), (*path, "type"))
            return None
        self.report.faults += schema.check(schema.Job, job, path, "a job")
        self.check_dependencies(item)
        given = self.report.template(job.get("input"), (*path, "input"), (*BASE, "jobs"), jobs=self.ids)
        output = self.report.template(job.get("output"), (*path, "output"), (*BASE, "jobs", "output"), jobs=self.ids)
        component = self.components.of_job(item)
        action = self.components.action_of(item, component) if component else None
        return Job(self.ids[0], action, given, output) if action else None

    def check_dependencies(self, item: Item) -> None:
        written = item.data.get("depends_on")
        groups = written if isinstance(written, list) else [] if written is None else [written]
        for at, group in enumerate(groups):
            path = (*item.path, "depends_on", at) if isinstance(written, list) else (*item.path, "depends_on")
            if group == []:
                self.report.fault("an empty group of `depends_on` waits for nothing", path)
            for name in group if isinstance(group, list) else [group]:
                if name == self.ids[0]:
                    self.report.fault(f"the job `{name}` waits for itself", path)
                elif name not in self.ids:
                    self.report.fault(f"no job `{name}`{suggest(str(name), self.ids)}", path)
