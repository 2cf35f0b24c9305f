"""What is found while a document is checked: mistakes and notes, each with its place; templates are compiled here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from composemagic.errors import Mark, Mistake, keys_in, suggest
from composemagic.language.dialects import Modern
from composemagic.language.expression import Name, Reference, references
from composemagic.language.secret import closed, names_in
from composemagic.language.sources import is_gateway
from composemagic.language.template import (
    Findings,
    Flaw,
    Hole,
    RenderError,
    Spell,
    Template,
    compile_template,
    unknown_source,
)
from composemagic.words import say
from composemagic.workflow.literals import cut_brackets, remarks, texts, wide_keys
from composemagic.workflow.merge import Sources
from composemagic.workflow.schema import Fault

__all__ = ["BASE", "Report", "is_inside_component"]

Path = tuple[str | int, ...]

BASE = ("input", "env", "context")  # the sources that are visible everywhere in a workflow
# the fields of the sources that have no others; of a run, components know its id alone (the peer has two of them)
_FIELDS = {"error": ("message", "kind", "sentence"), "step": ("index", "input"), "job": ("input", "output")}
_RUN_FIELDS = ("run_id", "task_id", "session_id", "metadata")
_VARIABLE = re.compile(r"(?<!\$)\$\{\s*env\.[^{}]*\}")


@dataclass(slots=True)
class Report:
    """What is found while a document is checked. `env` fills what is needed now, `remarks` become notes.

    `keys` are the mistakes about keys that stand in the text.
    """

    document: Sources
    modern: Modern
    env: Mapping[str, str]
    findings: Findings = field(default_factory=Findings)
    faults: list[Fault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    keys: list[Mistake] = field(default_factory=list)

    def fault(self, sentence: str, path: Path, *, in_key: bool = False) -> None:
        """Say what is wrong with the value (or the key) at a path."""
        self.faults.append(Fault(sentence, path, in_key))

    def place(self, flaw: Flaw) -> Mark:
        """Where the user wrote what a flaw is about."""
        path = self.modern.origin(flaw.path)
        if flaw.in_key:
            return self.document.key_mark(path)
        if flaw.start is None:
            return self.document.mark(path)
        return self.document.span(path, self.modern.start(flaw.path, flaw.start), flaw.length)

    def written(self, path: Path) -> Any:
        """What stands at a path of the tree in today's spelling, null where nothing does."""
        value: Any = self.modern.data
        for step in path:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def is_quoted(self, path: Path) -> bool:
        return self.document.is_quoted(self.modern.origin(path))

    def mistakes(self) -> list[Mistake]:
        """Everything that is wrong, each once."""
        flaws = [
            *self.findings.flaws,
            *(Flaw(fault.sentence, fault.path, in_key=fault.in_key) for fault in self.faults),
        ]
        found = dict.fromkeys([*self.keys, *(Mistake(flaw.sentence, self.place(flaw)) for flaw in flaws)])
        return sorted(found, key=self.document.place)

    def notes(self) -> tuple[str, ...]:
        """What the user should know; first, in one line, the older spellings that were read."""
        read_as = dict.fromkeys([*(sentence for sentence, _ in self.modern.notes), *self.findings.read_as])
        first = [say("read as: {spellings}", spellings="; ".join(read_as))] if read_as else []
        sentences = (note.sentence for note in self.findings.notes)
        return (*first, *dict.fromkeys((*self.document.notes, *sentences, *self.remarks)))

    def places(self) -> dict[str, Mark]:
        """Where the notes stand that are about one place."""
        return {note.sentence: self.place(note) for note in reversed(self.findings.notes)}

    def template(
        self,
        value: Any,
        path: Path,
        sources: tuple[str, ...],
        *,
        jobs: Sequence[str] = (),
        texts: bool = False,
        spell: Spell | None = None,
    ) -> Template | None:
        """Compile a value that may use the `sources`; null is none. `texts` and `spell` are those of `compile_template`."""
        if value is None:
            return None
        self.look_at_literals(value, path, sources)
        template = compile_template(
            value, path, findings=self.findings, is_quoted=self.is_quoted, texts=texts, spell=spell
        )
        for hole in template.holes:
            self.check_hole(hole, sources, jobs)
        if not is_inside_component(path):
            self.fill_now(value, path, template.holes, texts=texts)
        return template

    def look_at_literals(self, value: Any, path: Path, sources: tuple[str, ...]) -> None:
        """Say of literal text that it may mean something else than was meant."""
        self.findings.notes += remarks(value, path, sources, self.is_quoted)
        self.findings.flaws += cut_brackets(value, path, self.key_mark, self.value_mark)
        self.findings.flaws += wide_keys(value, path, self.key_mark)

    def value_mark(self, path: Path) -> Mark:
        return self.document.mark(self.modern.origin(path))

    def key_mark(self, path: Path) -> Mark:
        return self.document.key_mark(self.modern.origin(path))

    def not_used(self, key: str) -> None:
        """Say of a key of the peer that it changes nothing here."""
        self.remarks.append(say("`{key}` is accepted and not used by composemagic", key=key))

    def check_keys(self) -> None:
        """A provider's key has no place in a document, which is shown, shared and committed."""
        for document in self.document.documents:
            for text, path in texts(document.data, ()):
                for key in keys_in(text):
                    sentence = say(
                        "a key stands in the YAML; put it into `.env` and write `${{env.{variable}}}`",
                        variable=key.variable,
                    )
                    self.keys.append(Mistake(sentence, document.span(path, key.start, key.length)))

    def check_hole(self, hole: Hole, sources: tuple[str, ...], jobs: Sequence[str]) -> None:
        reference = hole.reference
        visible = (*sources, *hole.bound)
        start, length = reference.source_start, len(reference.key)
        sentence = _job_itself(reference, visible, hole.path, jobs) or unknown_source(reference, visible)
        if sentence is None and (sentence := _unknown_field(reference, hole.path, jobs)) and reference.path:
            start, length = _field_place(reference, start + length)
        if sentence is not None:
            self.findings.flaws.append(Flaw(sentence, hole.path, start, length))
        elif is_gateway(reference):
            words = say(
                "`{source}` is not run by composemagic; a run that fills it ends there", source=reference.source
            )
            self.findings.notes.append(Flaw(words, hole.path, reference.source_start, len(reference.key)))

    def fill_now(self, value: Any, path: Path, holes: Sequence[Hole], *, texts: bool) -> None:
        """Find out what `${env.X}` outside of components cannot give, which nothing later would make better.

        One that stands in another's default is left: whether it is needed is known in a run.
        """
        inside: set[int] = set()
        for hole in holes:
            inside.update(map(id, references(hole.reference.default.parts) if hole.reference.default else ()))
            if hole.reference.source == "env" and hole.reference.path and id(hole.reference) not in inside:
                self.fill_one(hole, _at(value, hole.path[len(path) :]), texts=texts)

    def fill_one(self, hole: Hole, text: Any, *, texts: bool) -> None:
        reference = hole.reference
        written = str(text)[reference.start : reference.start + reference.length]
        self.variable(written, hole.path, reference.start, texts=texts)

    def variable(self, written: str, path: Path, start: int, *, texts: bool) -> str:
        """What one `${env.X}`, which stands at `start` of the text at a path, gives as text; what fails is a mistake."""
        findings = Findings()
        template = compile_template(written, findings=findings, texts=texts)
        if findings.flaws:
            return written  # drawn already
        try:
            return str(template.render({"env": self.env}))
        except RenderError as error:
            self.findings.flaws.append(Flaw(error.sentence, path, start, len(written)))
            return written

    def filled_words(self, text: str, path: Path) -> str:
        """A text for people, its `${env.X}` filled: whatever else is in it stands as it is written."""
        return _VARIABLE.sub(lambda found: self.variable(found[0], path, found.start(), texts=True), text)

    def filled(self, value: Any, path: Path, *, texts: bool = False) -> Any:
        """A value that is needed now with its `${env.X}` filled; what fails is a mistake, and becomes null."""
        flaws = self.findings.flaws
        before = len(flaws)
        template = self.template(value, path, ("env",), texts=texts)
        if template is None or len(flaws) > before:
            return None
        try:
            found = template.render({"env": self.env})
        except RenderError as error:
            flaws.append(Flaw(error.sentence, error.path, error.reference.start, error.reference.length))
            return None
        if names := names_in(found):
            flaws.append(Flaw(closed(names), path))
            return None
        return found


def is_inside_component(path: Path) -> bool:
    """Whether a path in today's tree is a component's, where `${env.X}` waits until it is needed."""
    if path[:1] == ("components",):
        return True
    for step in path[:-1]:
        if step in ("component", "input", "output"):
            return step == "component"
    return False


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _job_itself(reference: Reference, visible: Sequence[str], path: Path, jobs: Sequence[str]) -> str | None:
    """The sentence for a job that is named without `jobs`, or where none can be."""
    if reference.source == "jobs" and "jobs" not in visible and is_inside_component(path):
        return say("`jobs` is visible in jobs, not inside of a component; hand the value over with the job's `input`")
    if reference.source in jobs and reference.source not in visible and "jobs" in visible:
        return say("unknown source `{key}`; did you mean `{field}`?", key=reference.key, field=f"jobs.{reference.key}")
    return None


def _field_place(reference: Reference, end: int) -> tuple[int, int]:
    """Where the step of a reference's path stands that is not there; its source ends at `end`."""
    first, text = reference.path[0], reference.path_text
    if (
        reference.source == "env"
        and len(reference.path) > 1
        and isinstance(first, Name)
        and text.startswith(first.name)
    ):
        rest = text[len(first.name) :].removeprefix(".")
        return end + 1 + len(text) - len(rest), len(rest)
    dotted = isinstance(first, Name) and reference.path_text.startswith(first.name)
    return (end + 1, len(first.name)) if isinstance(first, Name) and dotted else (end, len(reference.path_text))


def _unknown_field(reference: Reference, path: Path, jobs: Sequence[str]) -> str | None:
    """The sentence for a source with closed fields that is read without one, or with one that it has not."""
    source = reference.source
    if source not in ("jobs", "context", "env", *_FIELDS):
        return None
    first = next((segment.name for segment in reference.path[:1] if isinstance(segment, Name)), None)
    if first is None or (source == "env" and not reference.path_text.startswith(first)):
        return _no_name(source)
    if source == "env" and len(reference.path) > 1:
        rest = reference.path_text[len(first) :].removeprefix(".")
        return say("the variable `{name}` is text and has no `{rest}`", name=first, rest=rest)
    if source == "jobs" and first not in (*jobs, "__job__"):
        near = suggest(first, jobs)
        return say("no job `{job}`{near}", job=first, near=near)
    fields = _fields(source, path)
    if source == "context" and first in _RUN_FIELDS and first not in fields:
        return say("`context.{field}` is visible in jobs, not inside of a component", field=first)
    if source not in ("jobs", "env") and first not in fields:
        return say("`{source}` has no `{field}`{near}", source=source, field=first, near=suggest(first, fields))
    return None


def _fields(source: str, path: Path) -> tuple[str, ...]:
    if source == "context":
        return _RUN_FIELDS[:2] if is_inside_component(path) else _RUN_FIELDS
    return _FIELDS.get(source, ())


def _no_name(source: str) -> str | None:
    """The sentence for a source of closed fields that stands alone."""
    match source:
        case "jobs":
            return say("name the job, as in `${jobs.first.output}`")
        case "context":
            return say("name a field of `context`, as in `${context.run_id}`")
        case "env":
            return say("name the variable, as in `${env.OPENAI_API_KEY}`")
        case _:
            return None
