"""`composemagic validate`: every mistake of a document, without running it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composemagic.cli.options import Commands, add_file_options, files
from composemagic.cli.terminal import FAILED, print_json, tell
from composemagic.errors import DocumentError, Mark, UsageError
from composemagic.text import plain
from composemagic.words import say
from composemagic.workflow.environment import pair

if TYPE_CHECKING:
    from composemagic.workflow.plan import Loaded

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add the command to the command line."""
    text = say("look for mistakes in YAML files without running them")
    command = commands.add("validate", _validate, text, _example())
    text = say("YAML files, each looked at by itself; those of -f are merged")
    command.add_argument("files", nargs="*", metavar="FILE", type=Path, help=text)
    text = say("as JSON, for editors and CI: a list of file, line, column, end_column, severity and message")
    command.add_argument("--json", action="store_true", help=text)
    add_file_options(command)


def _example() -> str:
    return say(
        """Exit status: 0 no mistakes, 1 mistakes, 2 used wrongly. In JSON lines and columns count from 1, columns in
characters, and end_column is the one behind the last; severity is error or warning."""
    )


def _validate(options: argparse.Namespace) -> int:
    if options.files and options.file:
        raise UsageError(say("name the files with -f, which merges them, or without, each by itself; not both"))
    env = dict(pair(item, "-e") for item in options.env)
    looked = [_look(each, env, options.env_file) for each in options.files or [files(options.file)]]
    if options.json:
        print_json([item for one in looked for item in one.items()])
    else:
        for one in looked:
            one.show(with_name=len(looked) > 1)
    return FAILED if any(one.error for one in looked) else 0


@dataclass(frozen=True, slots=True)
class _Looked:
    """A document that was looked at: its mistakes, or what is in it, and the variables it asks for that are not set.

    `name` is its file's, of several the last one's.
    """

    name: str
    loaded: Loaded | None = None
    unset: Mapping[str, Mark] = field(default_factory=dict)
    error: DocumentError | None = None

    def show(self, *, with_name: bool) -> None:
        """The mistakes on stderr, or one line and below it what the user should know."""
        if self.error is not None:
            tell(str(self.error))
            return
        line = say("ok: {workflows}, {components}, {inputs}", **self.counts())
        lines = [f"{self.name}: {line}" if with_name else line, *(f"  {plain(note)}" for note, _ in self.notes())]
        print("\n".join(lines), flush=True)  # or the mistakes of a later file, on stderr, come before it

    def counts(self) -> dict[str, str]:
        """How much is in the document, in words."""
        assert self.loaded is not None
        workflows = len(self.loaded.plans)
        components = _components(self.loaded.document.data)
        inputs = len({one.name for plan in self.loaded.plans.values() for one in plan.inputs})
        return {
            "workflows": say("1 workflow") if workflows == 1 else say("{count} workflows", count=workflows),
            "components": say("1 component") if components == 1 else say("{count} components", count=components),
            "inputs": say("1 input") if inputs == 1 else say("{count} inputs", count=inputs),
        }

    def notes(self) -> Iterator[tuple[str, Mark | None]]:
        """What the user should know of a document without mistakes, and where it stands."""
        if self.loaded is not None:
            yield from ((note, self.loaded.places.get(note)) for note in self.loaded.notes)
        for name, mark in self.unset.items():
            yield say("not set: ${name}", name=name), mark

    def items(self) -> Iterator[dict[str, Any]]:
        """The mistakes and notes for programs. What has no place stands at the beginning of the file."""
        for mistake in self.error.mistakes if self.error else ():
            yield _item(self.name, mistake.mark, "error", mistake.sentence)
        for note, mark in self.notes():
            yield _item(self.name, mark, "warning", note)


def _look(source: Path | list[Path], env: Mapping[str, str], env_files: Sequence[str]) -> _Looked:
    """Load a file, or several as one. Raises UsageError for one that cannot be read."""
    from composemagic.api import examine

    name = str(source[-1] if isinstance(source, list) else source)
    try:
        loaded, unset = examine(source, env=env, env_files=env_files)
    except DocumentError as error:
        return _Looked(name, error=error)
    return _Looked(name, loaded, unset)


def _components(data: Mapping[str, Any]) -> int:
    """How many components a document has, those of single jobs too."""
    several = data.get("components") or ()
    return ("component" in data) + len(several) + sum(_inline(data.get(key)) for key in ("workflow", "workflows"))


def _inline(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_inline, value))
    if not isinstance(value, dict):
        return 0
    parts = (inner for key, inner in value.items() if key not in ("component", "input", "output"))
    return isinstance(value.get("component"), dict) + sum(map(_inline, parts))


def _item(file: str, mark: Mark | None, severity: str, message: str) -> dict[str, Any]:
    line, start, length = (mark.number, mark.column + 1, mark.length) if mark else (1, 1, 0)
    return {
        "file": mark.source.name if mark else file,
        "line": line,
        "column": start,
        "end_column": start + length,
        "severity": severity,
        "message": plain(message),
    }
