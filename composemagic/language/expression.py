"""The language inside `${...}`: `source.path[0] as type/subtype | default @(note)`.

One function a rule; each function's docstring is its rule. Positions are characters from the start of the scalar.

    template  = { literal | "$$" | reference }
    reference = "${" ws source path [ ws "as" ws cast ] [ ws "|" default ] { ws annotation } ws "}"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from composemagic.language.nodes import (
    Annotation,
    Cast,
    Default,
    Each,
    Index,
    Name,
    Part,
    Reference,
    Segment,
    Slice,
    references,
    written,
)
from composemagic.words import say

__all__ = [
    "Annotation",
    "Cast",
    "Default",
    "Each",
    "ExpressionError",
    "Index",
    "Name",
    "Part",
    "Reference",
    "Segment",
    "Slice",
    "parse",
    "parse_path",
    "references",
    "written",
]

_SOURCE = re.compile(r"[^\W\d][^\s.\[\]{}|$/;\"'，。；｜｛｝（）]*")
_NAME = re.compile(r"[\w-]+")
_BRACKET = re.compile(
    r"\[(?:(?P<each>\*)|(?P<index>-?\d+)|(?P<start>-?\d+)?:(?P<stop>-?\d+)?|\"(?P<name>[^\"]*)\"|'(?P<single>[^']*)')\]"
)
_TYPE = re.compile(r"[^\s/;\[\]{}|，；｜｝]+")
_SUBTYPE = re.compile(r"(?:[^\s;\[\]{}|]|\[(?:-?\d+|\*)\])+")  # with an index: 2025-08 wrote a path there
_FORMAT = re.compile(r"[^\s{}|]+")
_ATTRIBUTE = re.compile(r"\s*([\w-]+)\s*=")
_ATTRIBUTE_TEXT = re.compile(r"(?:[^\s,\[\]{}$]|\$(?!\{)|[ \t])+")
_DOLLARS = re.compile(r"(\$+)\{")
_ESCAPE = re.compile(r"\\([$@{}|])")
_REFERENCE = re.compile(r"(?<![\\$])(?:\$\$)*\$\{")
_AS = re.compile(r"as(?:\s+|(?=[|}]))")
_BLANK = " \t"
_BRACES = re.compile(r"\$\{\{([^{}|]*)\}\}")
# what a Chinese or Japanese keyboard gives for the language's own characters
_WIDE = dict(zip("，。．；：｜｛｝（）【】［］", ",..;:|{}()[][]", strict=True))
_COMPARISON = re.compile(r"[=!]==?|<>|[<>]=?|(?:in|is|not[ \t]+in)\b")
_WORD_DEFAULT = re.compile(r"\?\?|:-|=|(?:or|default)\b")
_CALCULATION = re.compile(r"[-+*/%(!&]|(?:and|not|if)\b")
_ENDS = re.compile(r"[ \t]*(?:\}|@\()")
MAX_DEPTH = 32


class ExpressionError(Exception):
    """A reference that cannot be read: what was expected, and the characters it is about."""

    def __init__(self, sentence: str, start: int, length: int = 1) -> None:
        self.sentence = sentence
        self.start = start
        self.length = max(1, length)
        super().__init__(sentence)


def parse(text: str) -> tuple[Part, ...]:
    """Split a scalar into literal text and references; neighbouring literals are one.

    template = { literal | "$$" | reference } ; a run of dollars before `{` halves: `$${x}` is the text `${x}`.
    Raises ExpressionError at the first reference that cannot be read.
    """
    if "${" not in text:
        return (text,) if text else ()
    return tuple(_Reader(text).template())


@lru_cache(maxsize=256)  # the names of inputs, looked up for every run
def parse_path(text: str) -> tuple[Segment, ...]:
    """The path `name[0].name` as it stands after a source and its dot. Raises ExpressionError."""
    reader = _Reader(text if text.startswith("[") else f".{text}")
    found = reader.path(0)
    if reader.peek():
        raise ExpressionError(say("`{rest}` cannot stand in a path", rest=reader.text[reader.at :]), reader.at, 1)
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    # -- small steps -------------------------------------------------------------------------------------------------
    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, literal: str) -> bool:
        if not self.text.startswith(literal, self.at):
            return False
        self.at += len(literal)
        return True

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def blanks(self) -> bool:
        start = self.at
        while self.peek() in _BLANK and self.at < len(self.text):
            self.at += 1
        return self.at > start

    # -- rules -------------------------------------------------------------------------------------------------------
    def template(self) -> Iterator[Part]:
        literal: list[str] = []
        while found := _DOLLARS.search(self.text, self.at):
            dollars = len(found[1])
            literal.append(self.text[self.at : found.start()] + "$" * (dollars // 2))
            if dollars % 2 == 0:
                literal.append("{")
                self.at = found.end()
                continue
            self.at = found.end() - 2
            if joined := "".join(literal):
                yield joined
            literal = []
            yield self.reference()
        if joined := "".join(literal) + self.text[self.at :]:
            yield joined

    def reference(self) -> Reference:
        """reference = "${" ws source path [ ws "as" ws cast ] [ ws "|" default ] { ws annotation } ws "}" """
        start = self.at
        self.at += 2
        self.blanks()
        source_start = self.at
        source, per_chunk = self.source(start)
        path_start = self.at
        path = self.path(start)
        path_text = self.text[path_start : self.at].removeprefix(".")
        spaced = self.blanks()
        cast = default = None
        if spaced and (found := self.match(_AS)):
            cast = self.cast(start, found.end())
            self.blanks()
        if self.take("|"):
            if self.peek() == "|":
                raise ExpressionError(say("a default is written with one `|`, as in `${input.x | 5}`"), self.at - 1, 2)
            default = self.default(start)
        annotations = self.annotations(start)
        self.blanks()
        if not self.take("}"):
            raise self.stray(start, spaced=spaced and not cast and not default)
        return Reference(
            source, per_chunk, path, cast, default, annotations, start, self.at - start, source_start, path_text
        )

    def source(self, start: int) -> tuple[str, bool]:
        """source = ( letter | "_" ) { any but space . [ ] { } | $ / ; or a quote } [ "[]" ]"""
        found = self.match(_SOURCE)
        if not found:
            self.check_braces(start)
            raise self.malformed(start, say("a name such as `input` is expected after `${`"))
        return found[0], self.take("[]")

    def path(self, start: int) -> tuple[Segment, ...]:
        """path = { "." name | "[" ( integer | [integer] ":" [integer] | "*" | quoted name ) "]" }"""
        segments: list[Segment] = []
        while True:
            if self.take("."):
                segments.append(self.name(start))
            elif self.peek() == "[":
                segments.append(self.bracket(start))
            else:
                return tuple(segments)

    def name(self, start: int) -> Name:
        """name = one or more letters, digits, "-" or "_" """
        if self.text.startswith("${", self.at):
            raise ExpressionError(say("a reference inside a path is not possible"), self.at, 2)
        found = self.match(_NAME)
        if not found:
            raise self.malformed(start, say("a name is expected after the dot"))
        return Name(found[0])

    def bracket(self, start: int) -> Segment:
        """bracket = "[0]" | "[-1]" | "[1:3]" | "[*]" | '["name"]' | "['name']" """
        found = self.match(_BRACKET)
        if not found:
            if self.text.startswith("[]", self.at):
                words = say("`[]` stands directly after the source, as in `${response[].field}`")
                raise ExpressionError(words, self.at, 2)
            raise self.malformed(start, say('inside `[ ]`: a number, a range `1:3`, `*` or a `"name"`'))
        if found["each"]:
            return Each()
        if found["index"]:
            return Index(_integer(found["index"], found.start()))
        for quotes in ("name", "single"):
            if found[quotes] is not None:
                return Name(found[quotes])
        return Slice(*(_integer(found[side], found.start()) if found[side] else None for side in ("start", "stop")))

    def cast(self, start: int, begin: int) -> Cast:
        """cast = type [ "[]" ] [ "/" subtype [ "[" attributes "]" ] ] [ ";" format ]"""
        kind = self.match(_TYPE)
        if not kind:
            raise self.malformed(start, say("a type such as `text` or `number` is expected after `as`"))
        is_list = self.take("[]")
        subtype = self.match(_SUBTYPE) if self.take("/") else None
        attrs, attr_parts = self.attributes(start)
        form = self.match(_FORMAT) if self.take(";") else None
        names = subtype[0] if subtype else None, form[0] if form else None
        return Cast(kind[0], is_list, names[0], attrs, names[1], begin, self.at - begin, attr_parts)

    def attributes(self, start: int) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[Part, ...], ...]]:
        """attributes = "[" name "=" { text | reference } { "," name "=" { text | reference } } "]" """
        if not self.take("["):
            return (), ()
        attrs: list[tuple[str, str]] = []
        values: list[tuple[Part, ...]] = []
        while not self.take("]"):
            found = self.match(_ATTRIBUTE)
            if not found:
                raise self.malformed(start, say("an attribute is written `[name=value]`"))
            begin = self.at
            value = self.attribute_value(start)
            attrs.append((found[1], self.text[begin : self.at].strip()))
            values.append(value)
            self.take(",")
        has_references = any(isinstance(part, Reference) for value in values for part in value)
        return tuple(attrs), tuple(values) if has_references else ()

    def attribute_value(self, start: int) -> tuple[Part, ...]:
        """What stands between "=" and the next "," or "]", blanks around it left out."""
        self.blanks()
        parts: list[Part] = []
        while True:
            if self.text.startswith("${", self.at):
                parts.append(self.nested())
            elif found := self.match(_ATTRIBUTE_TEXT):
                parts.append(found[0])
            else:
                break
        if self.peek() not in (",", "]"):
            raise self.malformed(start, say("`[` is not closed with `]`"))
        if parts and isinstance(parts[-1], str):
            parts[-1] = parts[-1].rstrip()
        return tuple(parts)

    def default(self, start: int) -> Default:
        """default = ws ( one quoted token | { text | reference } ) up to the first unbalanced "}" or "@(" """
        self.blanks()
        begin = self.at
        quoted = self.quoted_token()
        if quoted is not None:
            return Default((quoted,) if quoted else (), True, begin, self.at - begin)
        parts: list[Part] = []
        literal, depth = "", 0
        while (char := self.peek()) and char != "\n":
            if dollars := self.match(_DOLLARS):
                literal += "$" * (len(dollars[1]) // 2)
                if len(dollars[1]) % 2 == 0:
                    literal += "{"
                    depth += 1
                    continue
                self.at -= 2
                parts += [literal, self.nested()]
                literal = ""
            elif escape := self.match(_ESCAPE):
                literal += escape[1]
            elif self.text.startswith("@(", self.at) or (char == "}" and depth == 0):
                break
            else:
                literal += char
                depth += {"{": 1, "}": -1}.get(char, 0)
                self.at += 1
        if self.peek() not in ("}", "@") or not self.peek():
            raise self.unclosed(start)
        parts.append(literal.rstrip(_BLANK) if self.peek() == "@" else literal)
        return Default(tuple(part for part in parts if part != ""), False, begin, self.at - begin)

    def nested(self) -> Reference:
        """A reference inside a default; not too many inside each other, since each costs a level of the stack."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(say("more than {count} references inside each other", count=MAX_DEPTH), self.at, 2)
        found = self.reference()
        self.depth -= 1
        return found

    def quoted_token(self) -> str | None:
        """quoted token = '"' any but '"' and "${" '"' (or the same with "'"), and nothing else before "}" or "@(" """
        quote = self.peek()
        if quote not in ('"', "'") or not quote:
            return None
        end = self.text.find(quote, self.at + 1)
        inside = self.text[self.at + 1 : end]
        if end < 0 or _REFERENCE.search(inside) or not _ENDS.match(self.text, end + 1):
            return None
        self.at = end + 1
        return _ESCAPE.sub(r"\1", _DOLLARS.sub(lambda found: found[0][len(found[1]) // 2 :], inside))

    def annotations(self, start: int) -> tuple[Annotation, ...]:
        """annotation = "@(" name [ space text ] ")" """
        found: list[Annotation] = []
        while True:
            self.blanks()
            if not self.take("@("):
                return tuple(found)
            end = _closing(self.text, self.at - 1, "(", ")")
            if end is None:
                raise self.malformed(start, say("`@(` is not closed with `)`"))
            name, _, text = self.text[self.at : end].strip().partition(" ")
            if not name:
                raise self.malformed(start, say("an annotation is written `@(description text)`"))
            found.append(Annotation(name, text.strip()))
            self.at = end + 1

    # -- what to say ----------------------------------------------------------------------------------------------
    def whole(self, start: int) -> str | None:
        """The text of the reference that starts here, up to its closing brace on the same line."""
        line = self.text[start:].split("\n", 1)[0]
        end = _closing(line, 1, "{", "}")
        return line[: end + 1] if end is not None else None

    def check_braces(self, start: int) -> None:
        """`${{ x }}` is how others write it."""
        found = _BRACES.match(self.text, start)
        if found and (inner := found[1].strip()):
            words = say("malformed `{whole}`; did you mean `{near}`?", whole=found[0], near=f"${{{inner}}}")
            raise ExpressionError(words, start, len(found[0]))

    def unclosed(self, start: int) -> ExpressionError:
        line = self.text[start:].split("\n", 1)[0]
        if "｝" in line and "}" not in line:
            return self.wide(start + line.index("｝"))
        return ExpressionError(say("`${` is not closed with `}`"), start, 2)

    def malformed(self, start: int, expected: str) -> ExpressionError:
        whole = self.whole(start)
        if whole is None:
            return self.unclosed(start)
        return ExpressionError(
            say("malformed `{whole}`: {expected}", whole=whole, expected=expected), start, len(whole)
        )

    def stray(self, start: int, *, spaced: bool) -> ExpressionError:
        """The sentence for a reference that goes on where it should end."""
        whole = self.whole(start)
        if whole is None:
            return self.unclosed(start)
        rest = self.peek()
        at = self.at + 1 if self.text[self.at : self.at + 2] == "@（" else self.at
        if self.text[at : at + 1] in _WIDE and at < len(self.text):
            return self.wide(at)
        if spaced and rest in (".", "["):
            return ExpressionError(say("malformed `{whole}`; remove the space", whole=whole), start, len(whole))
        if self.text[start : self.at].rstrip().endswith(","):
            return ExpressionError(
                say("malformed `{whole}`; remove the space after the comma", whole=whole), start, len(whole)
            )
        inner = whole[2:-1]
        if rest == "/" and not spaced and re.fullmatch(r"[\w./-]+", inner):
            words = say("malformed path `{path}`; did you mean `{near}`?", path=inner, near=inner.replace("/", "."))
            return ExpressionError(words, start, len(whole))
        if found := _COMPARISON.match(self.text, self.at):
            words = say(
                "malformed `{whole}`: there are no comparisons in `${{}}`; choose with the key `?`", whole=whole
            )
            return ExpressionError(words, self.at, len(found[0]))
        if found := _WORD_DEFAULT.match(self.text, self.at) or re.compile(r"(?<=[\w}]):-(?!\d*\])").search(whole):
            words = say("malformed `{whole}`: a default stands behind `|`, as in `${{input.x | 5}}`", whole=whole)
            at = found.start() if found.string is self.text else start + found.start()
            return ExpressionError(words, at, len(found[0]))
        if self.text.startswith(("As ", "AS "), self.at):
            return ExpressionError(say("malformed `{whole}`: `as` is written small", whole=whole), self.at, 2)
        if (found := _CALCULATION.match(self.text, self.at)) or "(" in self.text[start : self.at]:
            words = say("malformed `{whole}`: `${{...}}` gives a value as it is, it cannot calculate", whole=whole)
            return ExpressionError(words, self.at if found else start, len(found[0] if found else whole))
        words = say("malformed `{whole}`: after the path come `as type`, `| default` or `@(note)`", whole=whole)
        return ExpressionError(words, self.at, 1)

    def wide(self, at: int) -> ExpressionError:
        char = self.text[at]
        words = say("`{written}` is a full-width character; write `{meant}`", written=char, meant=_WIDE[char])
        return ExpressionError(words, at, 1)


def _integer(digits: str, at: int) -> int:
    if len(digits) > 18:
        raise ExpressionError(say("the index {digits}... is too large", digits=digits[:12]), at, len(digits))
    return int(digits)


def _closing(text: str, start: int, opening: str, closing: str) -> int | None:
    """Where the bracket opened at `start` closes, counting nested ones."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] == opening:
            depth += 1
        elif text[at] == closing:
            depth -= 1
            if depth == 0:
                return at
    return None
