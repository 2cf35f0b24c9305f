"""What is found while a document is checked: mistakes and notes, each with its place; templates are compiled here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from composemagic.errors import Mark, Mistake, keys_in, suggest
from composemagic.language.dialects import Modern
from composemagic.language.document import Document
from composemagic.language.expression import Name
from composemagic.language.template import (
    BARE,
    Findings,
    Flaw,
    Hole,
    RenderError,
    Spell,
    Template,
    compile_template,
    unknown_source,
)
from composemagic.workflow.schema import NOT_YET, Fault

__all__ = ["BASE", "Report"]

Path = tuple[str | int, ...]

BASE = ("input", "env", "context")  # the sources that are visible everywhere in a workflow
_CONTEXT_FIELDS = ("run_id",)
_LATER_CONTEXT_FIELDS = ("session_id", "metadata")
_CURLY_QUOTES = re.compile(r"“[^“”]*”|‘[^‘’]*’")
_WIDE_COLON = re.compile(r"[A-Za-z_][\w-]*：", re.ASCII)


@dataclass(slots=True)
class Report:
    """What is found while a document is checked. `env` fills what is needed now, `remarks` become notes.

    `keys` are the mistakes about keys that stand in the text.
    """

    document: Document
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
        return self.document.span(path, flaw.start, flaw.length)

    def is_quoted(self, path: Path) -> bool:
        return self.document.is_quoted(self.modern.origin(path))

    def mistakes(self) -> list[Mistake]:
        """Everything that is wrong, each once."""
        flaws = [
            *self.findings.flaws,
            *(Flaw(fault.sentence, fault.path, in_key=fault.in_key) for fault in self.faults),
        ]
        return list(dict.fromkeys([*self.keys, *(Mistake(flaw.sentence, self.place(flaw)) for flaw in flaws)]))

    def notes(self) -> tuple[str, ...]:
        """What the user should know; first, in one line, the older spellings that were read."""
        read_as = dict.fromkeys([*(sentence for sentence, _ in self.modern.notes), *self.findings.read_as])
        first = [f"read as: {'; '.join(read_as)}"] if read_as else []
        return (*first, *dict.fromkeys(note.sentence for note in self.findings.notes), *dict.fromkeys(self.remarks))

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
        self.note_literals(value, path, sources)
        template = compile_template(
            value, path, findings=self.findings, is_quoted=self.is_quoted, texts=texts, spell=spell
        )
        for hole in template.holes:
            self.check_hole(hole, sources, jobs)
        return template

    def note_literals(self, value: Any, path: Path, sources: tuple[str, ...]) -> None:
        """Say of literal text, and of an empty output, that it may mean something else than was meant."""
        if path[-1:] == ("output",) and isinstance(value, str | dict | list) and (not value or value == "\n"):
            self.note("an `output` is empty, so nothing is given; leave it out to give everything", path)
        for text, here in _texts(value, path):
            found = BARE.fullmatch(text.strip())
            if (
                found
                and found["source"] in sources
                and (found["path"] or (here == path and path[-1] in ("input", "output")))
            ):
                bare = found[0]
                self.note(f"`{bare}` is sent as it is written; a value is written `${{{bare}}}`", here)
            elif _CURLY_QUOTES.fullmatch(text) and not self.is_quoted(here):
                words = f"the quotes of `{text[:40]}` are sent as they are written; YAML's quotes are `\"`"
                self.note(words, here)
            elif (wide := _WIDE_COLON.match(text)) and not self.is_quoted(here):
                self.note(
                    f"`{wide[0]}` is text: it ends with a full-width colon; a key ends with `:` and a space", here
                )

    def note(self, sentence: str, path: Path) -> None:
        self.findings.notes.append(Flaw(sentence, path))

    def check_keys(self) -> None:
        """A provider's key has no place in a document, which is shown, shared and committed."""
        for text, path in _texts(self.document.data, ()):
            for key in keys_in(text):
                sentence = f"a key stands in the YAML; put it into `.env` and write `${{env.{key.variable}}}`"
                self.keys.append(Mistake(sentence, self.document.span(path, key.start, key.length)))

    def check_hole(self, hole: Hole, sources: tuple[str, ...], jobs: Sequence[str]) -> None:
        reference = hole.reference
        sentence = unknown_source(reference, sources)
        if sentence is None and reference.source in ("jobs", "context", "env"):
            first = next((segment.name for segment in reference.path[:1] if isinstance(segment, Name)), None)
            plain = first is not None and (reference.source != "env" or reference.path_text == first)
            sentence = _unknown_name(reference.source, first or "", jobs) if plain else _no_name(reference.source)
        if sentence is not None:
            place = reference.source_start, len(reference.key)
            self.findings.flaws.append(Flaw(sentence, hole.path, *place))

    def filled(self, value: Any, path: Path, *, texts: bool = False) -> Any:
        """A value that is needed now with its `${env.X}` filled; what fails is a mistake, and becomes null."""
        flaws = self.findings.flaws
        before = len(flaws)
        template = self.template(value, path, ("env",), texts=texts)
        if template is None or len(flaws) > before:
            return None
        try:
            return template.render({"env": self.env})
        except RenderError as error:
            flaws.append(Flaw(error.sentence, error.path, error.reference.start, error.reference.length))
            return None


def _texts(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    """Every text in a value, and its path."""
    if isinstance(value, str):
        yield value, path
    elif isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(inner, (*path, step))


def _no_name(source: str) -> str:
    """The sentence for a source of closed fields that stands alone."""
    match source:
        case "jobs":
            return "name the job, as in `${jobs.first.output}`"
        case "context":
            return f"name a field of `context`: {', '.join(f'`{name}`' for name in _CONTEXT_FIELDS)}"
        case _:
            return "name the variable, as in `${env.OPENAI_API_KEY}`"


def _unknown_name(source: str, name: str, jobs: Sequence[str]) -> str | None:
    if source == "jobs" and name not in (*jobs, "__job__"):
        return f"no job `{name}`{suggest(name, jobs)}"
    if source == "context" and name in _LATER_CONTEXT_FIELDS:
        return f"`context.{name}` {NOT_YET}"
    if source == "context" and name not in _CONTEXT_FIELDS:
        return f"`context` has no `{name}`{suggest(name, _CONTEXT_FIELDS)}"
    return None
