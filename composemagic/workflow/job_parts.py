"""The parts that jobs of several kinds share, checked and compiled: templates, conditions, numbers, ids, what happens around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from composemagic.errors import suggest
from composemagic.language.conditions import Condition, compile_condition
from composemagic.language.expression import Name, Reference
from composemagic.language.template import Flaw, Hole, Template
from composemagic.words import listing, say
from composemagic.workflow import schema
from composemagic.workflow.duration import DurationError, seconds
from composemagic.workflow.job import Hook, Interrupt, OnError, Retry
from composemagic.workflow.job_settings import (
    InterruptSettings,
    OnErrorSettings,
    PhaseSettings,
    RetrySettings,
    ScriptSettings,
)
from composemagic.workflow.report import BASE, Report

__all__ = ["AROUND", "Parts", "Sources"]

Path = tuple[str | int, ...]
Sources = tuple[str, ...]

AROUND: Sources = (*BASE, "jobs")  # what every template of a job may read


@dataclass(slots=True)
class Parts:
    """Compiles the parts of the jobs of one workflow, whose ids are `ids`."""

    report: Report
    ids: Sequence[str]

    def fault(self, sentence: str, path: Path, *, in_key: bool = False) -> None:
        """Say what is wrong at a path."""
        self.report.fault(sentence, path, in_key=in_key)

    # -- what is filled while the job runs ------------------------------------------------------------------------------
    def template(self, value: Any, path: Path, sources: Sources) -> Template | None:
        """Compile a value that may use the sources; null is none."""
        template = self.report.template(value, path, sources, jobs=self.ids)
        for hole in () if template is None else template.holes:
            self.check_fields(hole, path)
        return template

    def condition(self, value: Any, path: Path, sources: Sources, *, loose: bool = False) -> Condition:
        """Compile a condition that may use the sources."""
        report = self.report
        compiled = compile_condition(value, path, findings=report.findings, is_quoted=report.is_quoted, loose=loose)
        for hole in compiled.holes:
            report.check_hole(hole, sources, self.ids)
            self.check_fields(hole, path)
        report.fill_now(value, path, compiled.holes, texts=False)
        return compiled

    def check_fields(self, hole: Hole, path: Path) -> None:
        """Look at what depends on the place: a job has no output before it ran, and `__job__` is the only one."""
        reference = hole.reference
        first = next(iter(reference.path), None)
        name = first.name if isinstance(first, Name) else None
        if reference.source == "job" and name == "output" and "after" not in path:
            self.flaw(say("`job.output` is known only after the job: `interrupt.after`"), hole, reference)
        if reference.source == "jobs" and name == "__job__" and len(self.ids) > 1:
            self.flaw(
                say(
                    "`__job__` is the only job of a workflow; here there are {jobs}",
                    jobs=listing(f"`{name}`" for name in self.ids),
                ),
                hole,
                reference,
            )

    def flaw(self, sentence: str, hole: Hole, reference: Reference) -> None:
        """Say what is wrong with a reference."""
        length = len(reference.source + reference.dotted)
        self.report.findings.flaws.append(Flaw(sentence, hole.path, reference.source_start, length))

    # -- numbers and words ------------------------------------------------------------------------------------------------
    def number(self, value: Any, path: Path, *, least: int = 1) -> int | None:
        """A whole number that is known now."""
        if value is None:
            return None
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self.fault(
            say(
                "`{key}` is a whole number from {least} on, not {value}",
                key=path[-1],
                least=least,
                value=schema.kind(value),
            ),
            path,
        )
        return None

    def counted(self, value: Any, path: Path, sources: Sources) -> Template | None:
        """A whole number from 1 on that may be a template."""
        if not _is_filled(value) and value is not None:
            self.number(value, path)
        return self.template(value, path, sources)

    def switch(self, value: Any, path: Path, sources: Sources) -> Template | None:
        """True or false, or a template that gives it."""
        if not _is_filled(value) and value not in (None, True, False):
            self.fault(say("`{key}` is true or false, not {value}", key=path[-1], value=schema.kind(value)), path)
        return self.template(value, path, sources)

    def duration(self, value: Any, path: Path) -> float | None:
        """The seconds of a duration that is known now."""
        if value is None:
            return None
        try:
            return seconds(value)
        except DurationError as error:
            self.fault(str(error), path)
            return None

    def job_id(self, value: Any, path: Path) -> str | None:
        """The id of a job of this workflow."""
        if value is None:
            return None
        if not isinstance(value, str) or value not in self.ids:
            shown = value if isinstance(value, str) else schema.kind(value)
            self.fault(say("no job `{name}`{near}", name=shown, near=_near(str(value), self.ids)), path)
            return None
        return value

    def mapping(self, value: Any, model: type[schema.Settings], path: Path, place: str) -> dict[str, Any] | None:
        """The value, if it is what the model wants."""
        faults = list(schema.check(model, value, path, place))
        self.report.faults += faults
        return value if isinstance(value, dict) and not any(fault.path == path for fault in faults) else None

    # -- around a job -----------------------------------------------------------------------------------------------------
    def retry(self, value: Any, path: Path) -> Retry | None:
        """`retry`: how often in all, or a mapping."""
        if value is None or value is False:
            return None
        if not isinstance(value, dict):
            count = self.number(value, path)
            return None if count is None else Retry(count)
        if self.mapping(value, RetrySettings, path, "`retry`") is None:
            return None
        count = self.number(value.get("max_attempt_count", 1), (*path, "max_attempt_count")) or 1
        delay = self.duration(value.get("delay"), (*path, "delay")) or 0.0
        longest = self.duration(value.get("max_delay"), (*path, "max_delay"))
        return Retry(count, delay, value.get("backoff") == "exponential", longest)

    def on_error(self, value: Any, path: Path, sources: Sources) -> OnError | None:
        """`on_error`: the word `ignore`, or a mapping."""
        if value is None:
            return None
        if isinstance(value, str) and value.lower() == "ignore":
            return OnError()
        if isinstance(value, list):
            self.fault(
                say("`on_error` is no list of jobs; write them among the others, and `to` with the id of the first"),
                path,
            )
            return None
        if not isinstance(value, dict):
            self.fault(
                say("`on_error` is `ignore` or a mapping with `to` or `output`, not {value}", value=schema.kind(value)),
                path,
            )
            return None
        if self.mapping(value, OnErrorSettings, path, "`on_error`") is None:
            return None
        to = self.job_id(value.get("to"), (*path, "to"))
        return OnError(to, self.template(value.get("output"), (*path, "output"), (*sources, "error")))

    def interrupts(self, value: Any, path: Path, sources: Sources) -> dict[str, Interrupt | None]:
        """`interrupt`: what stands before and after the job."""
        if value in (None, False):
            return {}
        if not isinstance(value, dict):
            self.fault(
                say("`interrupt` is a mapping with `before` or `after`, not {value}", value=schema.kind(value)), path
            )
            return {}
        self.mapping(value, PhaseSettings, path, "`interrupt`")
        sources = (*sources, "job")
        return {phase: self.interrupt(value.get(phase), (*path, phase), sources) for phase in ("before", "after")}

    def interrupt(self, value: Any, path: Path, sources: Sources) -> Interrupt | None:
        if value in (None, False):
            return None
        if value is True:
            return Interrupt()
        if not isinstance(value, dict):
            self.fault(
                say(
                    "`{key}` is true, or a mapping with `condition`, `message` and `metadata`, not {value}",
                    key=path[-1],
                    value=schema.kind(value),
                ),
                path,
            )
            return None
        self.mapping(value, InterruptSettings, path, say("an interrupt"))
        condition = value.get("condition")
        return Interrupt(
            None if condition is None else self.condition(condition, (*path, "condition"), sources),
            self.template(value.get("message"), (*path, "message"), sources),
            self.template(value.get("metadata"), (*path, "metadata"), sources),
        )

    def hooks(self, value: Any, path: Path) -> dict[str, tuple[Hook, ...]]:
        """`hook`: Python before and after the job. Only compiled here; it runs where Python has allowed it."""
        if value is None:
            return {}
        if self.mapping(value, PhaseSettings, path, "`hook`") is None:
            return {}
        found = {}
        for phase in ("before", "after"):
            written, here = value.get(phase), (*path, phase)
            many = written if isinstance(written, list) else [] if written is None else [written]
            paths = [(*here, at) if isinstance(written, list) else here for at in range(len(many))]
            hooks = [self.hook(each, at) for each, at in zip(many, paths, strict=True)]
            found[phase] = tuple(hook for hook in hooks if hook is not None)
        return found

    def hook(self, value: Any, path: Path) -> Hook | None:
        data = self.mapping(value, ScriptSettings, path, say("a hook"))
        script = data.get("script") if data else None
        if not isinstance(script, str):
            return None
        here = (*path, "script")
        try:
            return Hook(compile(script, "<hook>", "exec"), here)
        except (SyntaxError, ValueError) as error:
            self.fault(_no_python(error), here)
            return None

    def depends_on(self, value: Any, path: Path, own: str) -> tuple[tuple[str, ...], ...]:
        """`depends_on`: an id, or a list of ids and groups of ids."""
        groups = []
        for at, group in enumerate(value if isinstance(value, list) else [] if value is None else [value]):
            here = (*path, at) if isinstance(value, list) else path
            if group == []:
                self.fault(say("an empty group of `depends_on` waits for nothing"), here)
            many = group if isinstance(group, list) else [group]
            paths = [(*here, inner) if isinstance(group, list) else here for inner in range(len(many))]
            found = [self.awaited(name, one, own) for name, one in zip(many, paths, strict=True)]
            groups.append(tuple(dict.fromkeys(name for name in found if name is not None)))
        return tuple(dict.fromkeys(group for group in groups if group))

    def awaited(self, value: Any, path: Path, own: str) -> str | None:
        if value == own:
            self.fault(say("the job `{name}` waits for itself", name=own), path)
            return None
        if value == "__job__" and len(self.ids) == 1:
            value = self.ids[0]
        if isinstance(value, dict | list):
            words = say("`depends_on` is the id of a job or a list of ids, this is {value}", value=schema.kind(value))
            self.fault(words, path)
            return None
        return self.job_id(value, path)


def _is_filled(value: Any) -> bool:
    """Whether a value is known only while the job runs."""
    return isinstance(value, str) and "${" in value


def _near(name: str | None, known: Sequence[str]) -> str:
    return suggest(name, known) if name else ""


def filled(report: Report, data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A job whose plain settings - all that no template may be in - have their `${env.X}` filled."""
    plain = [key for key in _PLAIN if "${" in str(data.get(key))]
    if isinstance(data.get("component"), str) and "${" in data["component"]:
        plain.append("component")
    return {**data, **{key: report.filled(data[key], (*path, key), texts=key in _TEXTS) for key in plain}}


_TEXTS = frozenset({"id", "name", "type", "component", "action", "mode", "if_true", "if_false", "then", "otherwise"})
_PLAIN = (*(_TEXTS - {"component"}), "depends_on", "max_run_count", "retry")


def _no_python(error: SyntaxError | ValueError) -> str:
    reason = getattr(error, "msg", None) or str(error)
    if line := getattr(error, "lineno", None):
        return say("the hook is no Python: {reason} (line {line} of the script)", reason=reason, line=line)
    return say("the hook is no Python: {reason}", reason=reason)
