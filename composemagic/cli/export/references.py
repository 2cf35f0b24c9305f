"""The templates of a document in model-compose's words: its casts, its defaults, its sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from composemagic.errors import UsageError
from composemagic.language.dialects import modern_cast
from composemagic.language.expression import Cast, Each, ExpressionError, Name, Part, Reference, Segment, parse
from composemagic.language.template import default_value
from composemagic.words import say

__all__ = ["Writer", "no_peer"]

_ALIASES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "slider": "number"}
_TYPED = {bool: "boolean", int: "integer", float: "number"}


def no_peer(what: object) -> UsageError:
    """What model-compose cannot say."""
    return UsageError(say("model-compose cannot say `{what}`", what=what))


@dataclass(slots=True)
class Writer:
    """Writes values for the peer, and tells `note` what it reads otherwise."""

    note: Callable[[str], None]

    def value(self, value: Any, *, output: str = "") -> Any:
        """Any value, the templates in it rewritten; `output` is the job whose output the source of that name is."""
        if isinstance(value, str):
            return type(value)(self.text(value, output))
        if isinstance(value, dict):
            return {key: self.value(inner, output=output) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, output=output) for inner in value]
        return value

    def text(self, text: str, output: str = "") -> str:
        """A text with references. Raises UsageError."""
        if "${" not in text:
            return text
        try:
            parts = parse(text)
        except ExpressionError:
            return text  # a word for people: what looks like a reference there is an example
        for part in parts:
            if isinstance(part, str) and "${" in part:
                raise no_peer("$${...}")
        spread = parts[0] == "..." and len(parts) == 2
        return "".join(self.part(part, output, whole=len(parts) == 1 or spread) for part in parts)

    def part(self, part: Part, output: str, *, whole: bool) -> str:
        """A literal, or a reference."""
        return part if isinstance(part, str) else self.reference(part, output, whole=whole)

    def reference(self, one: Reference, output: str, *, whole: bool) -> str:
        """One `${...}`."""
        if one.source == "output" and output and not one.per_chunk:
            path: tuple[Segment, ...] = (Name(output), Name("output"), *one.path)
            one = replace(one, source="jobs", path=path)
        cast = None if one.cast is None else self.cast(one.cast, one)
        default, cast = self.default(one, cast, whole=whole)
        words = [one.key + self.path(one.path, one)]
        if one.source == "env":
            cast = cast if cast in _TYPED.values() else None  # as text, it is what the YAML around it makes of it
        words += [f"as {cast}"] if cast else []
        words += [f"| {default}"] if default is not None else []
        words += [str(note) for note in one.annotations if note.text]
        return f"${{{' '.join(words)}}}"

    def path(self, path: Sequence[Segment], one: Reference) -> str:
        """The steps behind the source."""
        for at, step in enumerate(path):
            if (isinstance(step, Name) and not str(step).startswith(".")) or (isinstance(step, Each) and at == 0):
                raise no_peer(one)
        return "".join(map(str, path))

    def cast(self, cast: Cast, one: Reference) -> str:
        """What stands behind `as`."""
        modern = modern_cast(cast)[0]
        if modern.type == "stream" and modern.attrs:
            raise no_peer(one)
        if modern.type == "slider":
            self.note(say("model-compose has no `slider`: `{name}` is a number without bounds", name=one.path_text))
            modern = replace(modern, subtype=None)
        return str(replace(modern, type=_ALIASES.get(modern.type, modern.type)))

    def default(self, one: Reference, cast: str | None, *, whole: bool) -> tuple[str | None, str | None]:
        """The text behind `|`, None for none, and the cast: the peer gives a default no type of its own."""
        default = one.default
        if default is None:
            return None, cast
        if default.literal is None:
            if not isinstance(default.parts[0], Reference):
                raise no_peer(one)
            return "".join(self.part(part, "", whole=False) for part in default.parts), cast
        text = default.literal
        if cast is None and whole and one.source != "env":
            value = default_value(default, None, whole=True)
            if value is None:
                return None, None  # as where it is missing
            cast = _TYPED.get(type(value))
        elif cast is not None and not default.quoted and text == "null":
            return None, cast
        if text == "":
            self.note(
                say("model-compose has no empty default: `{name}` is null where it is missing", name=one.path_text)
            )
            return None, cast
        if "}" in text or "@(" in text or "${" in text or text != text.lstrip():
            raise no_peer(one)
        return text, cast
