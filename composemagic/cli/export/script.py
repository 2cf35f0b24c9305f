"""A workflow of HTTP requests as a script that a person would write with httpx: the inputs are a function's parameters.

One function for each request, the jobs one after the other; a stream comes as it is made. What such a script cannot say is
refused by its name.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from typing import Any

from composemagic.cli.export.calls import TAKEN, Call, call_of, parameters_of
from composemagic.cli.export.expressions import Scope, Source, expression, literal, name_of, no_python
from composemagic.cli.export.helpers import HELPERS, NEEDS
from composemagic.language.dialects import modern_cast
from composemagic.language.expression import Reference, parse
from composemagic.words import say
from composemagic.workflow.job import ComponentJob, Job, passes_input
from composemagic.workflow.plan import Plan

__all__ = ["written"]

_MODULES = ("json", "os", "sys")
# what a run does around a job, and a plain script does not: the field of the job, and its word in YAML
_AROUND = {
    "retry": "retry",
    "on_error": "on_error",
    "before": "interrupt",
    "after": "interrupt",
    "hooks_before": "hook",
    "hooks_after": "hook",
    "repeat_count": "repeat_count",
}


def written(plan: Plan, given: Mapping[str, Any]) -> str:
    """The script; `given` is what it asks when it is started without arguments. Raises UsageError."""
    return _Script(plan, given).text()


class _Script:
    def __init__(self, plan: Plan, given: Mapping[str, Any]) -> None:
        self.plan = plan
        self.given = given
        self.helpers: set[str] = set()
        self.parameters = parameters_of(plan)
        self.scope = Scope({"input": self.parameters.source}, self.helpers)
        terminals = plan.graph.terminals
        if plan.output is None and len(terminals) > 1:
            raise no_python(say("the merged outputs of several last jobs"))
        if not terminals:
            raise no_python("depends_on")
        self.last = terminals[-1]
        self.calls = {job.id: call_of(plan, job, self.scope, self._name(job)) for job in _in_order(plan)}
        self.streams = ""  # how the result comes: "" in one, as "text" or "json", or "any"

    @property
    def is_one(self) -> bool:
        """Whether the workflow is its one request, without anything around it."""
        job = self.plan.jobs[0]
        passes = job.input is None or passes_input(job.input)
        return len(self.plan.jobs) == 1 and passes and not self._shapes()

    def text(self) -> str:
        """The whole of it."""
        calls = [call.text(self._docstring() if self.is_one else "") for call in self.calls.values()]
        if self.is_one:
            call = next(iter(self.calls.values()))
            self.streams = self._pieces_of(call)
        body = calls if self.is_one else [*calls, self._run()]
        self.helpers |= {need for helper in self.helpers for need in NEEDS.get(helper, ())}
        helpers = [HELPERS[name] for name in HELPERS if name in self.helpers]
        code = "\n\n\n".join([*body, *helpers, self._start()])
        modules = [f"import {name}" for name in _MODULES if f"{name}." in code]
        after = ["from urllib.parse import quote"] if "quote(" in code else []
        head = f'"""{self._title()}\n\nMade by `composemagic export`; it needs httpx alone: pip install httpx\n"""\n'
        return (
            "\n".join([head, *modules, *after, *([""] if modules or after else []), "import httpx", "", "", code])
            + "\n"
        )

    def _title(self) -> str:
        words = ": ".join(filter(None, (self.plan.title, self.plan.description))) or self.plan.id
        return " ".join(words.split()).replace("\\", "\\\\").replace('"""', "'''")

    def _docstring(self) -> str:
        return "Yield the answer piece by piece." if self.calls[self.last].streams else "Give the answer."

    def _name(self, job: Job) -> str:
        """What a job's function is called: nothing that Python, the script or its parameters need themselves."""
        if self.is_one:
            return "run"
        name = name_of(job.id)
        inputs = self.parameters.source.keys or {}
        return f"{name}_job" if name in TAKEN or name in inputs or hasattr(builtins, name) else name

    def _shapes(self) -> bool:
        """Whether a template stands between the request's output and the workflow's that changes it."""
        job = self.plan.jobs[0]
        written = (self.plan.written((*job.path, "output")), self.plan.written((*self.plan.path, "output")))
        return any(each is not None and not _passes(each) for each in written)

    def _pieces_of(self, call: Call) -> str:
        if not call.streams:
            return ""
        return "json" if self._stream_kind() == "json" else "text" if call.is_text else "any"

    def _stream_kind(self) -> str:
        """How the last cast to a stream writes the pieces."""
        job = next(job for job in self.plan.jobs if job.id == self.last)
        for value in (self.plan.written((*self.plan.path, "output")), self.plan.written((*job.path, "output"))):
            if isinstance(value, str) and (cast := _cast(value)) and cast.type == "stream":
                return cast.subtype or "text"
        return "text"

    # -- several requests ------------------------------------------------------------------------------------------------
    def _run(self) -> str:
        """The function that calls the others one after the other."""
        lines: list[str] = []
        jobs: dict[str, Source] = {}
        output = self.plan.written((*self.plan.path, "output"))
        for name, call in self.calls.items():
            scope = self.scope.with_sources(jobs=Source(keys=jobs))
            called = call.called(scope)
            is_final = name == self.last and self._gives(output, name)
            template = self.plan.written((*call.job.path, "output"))
            if is_final and call.streams and (template is None or _passes(template)):
                self.streams = self._pieces_of(call)
                lines.append(f"yield from {called}")
                return self._function(lines)
            given = call.collected(called, self.helpers)
            variable = f"{name_of(name)}_output"
            lines.append(f"{variable} = {given}")
            found = Source(variable, is_text=call.is_text)
            if template is not None and not _passes(template):
                inner = scope.with_sources(
                    output=found, jobs=Source(keys={**jobs, name: Source(keys={"output": found})})
                )
                lines.append(f"{variable} = {expression(template, inner, indent=4)}")
                found = Source(variable)
            jobs[name] = Source(keys={"output": found})
        last = jobs[self.last]
        final = self.scope.with_sources(jobs=Source(keys=jobs), output=(last.keys or {})["output"])
        value = expression(output, final, indent=4) if output is not None and not _passes(output) else None
        lines.append(f"return {value or f'{name_of(self.last)}_output'}")
        return self._function(lines)

    def _gives(self, output: Any, name: str) -> bool:
        """Whether the workflow's output is this job's as it is."""
        return output is None or _passes(output) or _passes(output, f"jobs.{name}.output")

    def _function(self, lines: list[str]) -> str:
        doc = "Yield the answer piece by piece." if self.streams else "Give the answer."
        body = "\n".join(f"    {line}" for line in lines)
        return f'def run({self.parameters.declared}):\n    """{doc}"""\n{body}'

    # -- its start -------------------------------------------------------------------------------------------------------
    def _start(self) -> str:
        return 'if __name__ == "__main__":\n' + "\n".join(f"    {line}" for line in self._started())

    def _started(self) -> Iterator[str]:
        named = self.parameters.named
        if self.parameters.declared:
            found = self.given if named else self.given.get("")
            asked = "json.loads(sys.argv[1])"
            if found or not self.parameters.required:
                asked += f" if len(sys.argv) > 1 else {literal(found or ({} if named else None))}"
            yield f"# python FILE '{_sample(self.parameters.required)}'" if named else "# python FILE JSON"
            yield f"inputs = {asked}"
        call = f"run({('**inputs' if named else 'inputs') if self.parameters.declared else ''})"
        if self.streams == "text":
            yield f"for piece in {call}:"
            yield '    print(piece, end="", flush=True)'
            yield "print()"
        elif self.streams == "any":
            yield f"for piece in {call}:"
            yield '    print(piece if isinstance(piece, str) else json.dumps(piece) + "\\n", end="", flush=True)'
        elif self.streams == "json":
            yield f"for piece in {call}:"
            yield "    print(json.dumps(piece, ensure_ascii=False), flush=True)"
        else:
            yield f"result = {call}"
            yield "print(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2))"


def _sample(names: list[str]) -> str:
    return literal(dict.fromkeys(names, "..."))


def _in_order(plan: Plan) -> Iterator[ComponentJob]:
    """The jobs, each behind those it waits for. Raises UsageError for one that sends no request."""
    done: set[str] = set()
    left = list(plan.jobs)
    while left:
        ready = [job for job in left if all(name in done for group in job.depends_on for name in group)]
        if not ready:
            raise no_python("depends_on")
        for job in ready[:1]:
            left.remove(job)
            done.add(job.id)
            yield _plain(job)


def _plain(job: Job) -> ComponentJob:
    if not isinstance(job, ComponentJob):
        raise no_python(f"type: {job.kind}")
    for field, word in _AROUND.items():
        if getattr(job, field):
            raise no_python(word)
    if job.action.component.type != "http-client":
        raise no_python(f"type: {job.action.component.type}")
    return job


def _cast(text: str) -> Any:
    """The cast of a text that is one reference, in today's spelling."""
    parts = parse(text)
    if len(parts) == 1 and isinstance(parts[0], Reference) and parts[0].cast is not None:
        return modern_cast(parts[0].cast)[0]
    return None


def _passes(value: Any, source: str = "output") -> bool:
    """Whether a template is a source as it is, or as a stream of its pieces."""
    parts = parse(value) if isinstance(value, str) else ()
    if len(parts) != 1 or not isinstance(parts[0], Reference):
        return False
    found = parts[0]
    cast = None if found.cast is None else modern_cast(found.cast)[0]
    is_plain = cast is None or (cast.type == "stream" and not cast.attrs)
    return f"{found.source}{found.dotted}" == source and is_plain and found.default is None
