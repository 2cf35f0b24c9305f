"""What a scalar holds that looks like something else than it is: the spellings of other languages, said as remarks.

Such a text is right as it stands, so that nothing is refused here, but for a filter of Jinja's with its brackets.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from composemagic.language.casts import CASTS
from composemagic.language.nodes import Part, Reference, references
from composemagic.language.sources import LOOKALIKE
from composemagic.words import say

__all__ = ["Remark", "remarks"]


class Remark(NamedTuple):
    """A sentence about some characters of a scalar; `is_mistake`: it cannot be meant as it stands."""

    sentence: str
    start: int
    length: int
    is_mistake: bool = False


def remarks(text: str, parts: tuple[Part, ...]) -> Iterator[Remark]:
    """Everything of that kind in a scalar that holds `$` or a brace, after reading."""
    if "$${" in text:
        yield Remark(say("read as text: `$${` writes a literal `${`"), text.index("$${"), 3)
    yield from _other_references(text, parts)
    yield from _late_casts(parts)
    if any(isinstance(part, Reference) for part in parts):
        yield from _filters(text, parts)
        yield from _wide(text, parts)
        yield from _stray_braces(parts)
        yield from _backslashes(text, parts)


def _other_references(text: str, parts: Iterable[Part]) -> Iterator[Remark]:
    """`$input.x` and `{{ input.x }}` outside of references."""
    ends = [part.start + part.length for part in parts if isinstance(part, Reference)]
    starts = [part.start for part in parts if isinstance(part, Reference)]
    for found in LOOKALIKE.finditer(text):
        before = bisect_right(starts, found.start())
        if before and found.start() < ends[before - 1]:
            continue
        wanted = f"env.{found['variable']}" if found["variable"] else found["path"] or found[0].strip("${} ")
        sentence = say(
            "`{written}` is sent as it is written; a value is written `${{{reference}}}`",
            written=found[0],
            reference=wanted,
        )
        yield Remark(sentence, found.start(), len(found[0]))


_LATE_CAST = re.compile(r"[ \t]as[ \t]+([\w-]+)[ \t]*$")


def _late_casts(parts: Iterable[Part]) -> Iterator[Remark]:
    """`${input.x | 5 as number}`, where the type is a part of the default."""
    for part in parts:
        default = part.default if isinstance(part, Reference) and not part.cast else None
        last = default.parts[-1] if default and not default.quoted and default.parts else None
        found = _LATE_CAST.search(last) if isinstance(last, str) else None
        if found and found[1] in CASTS and isinstance(part, Reference):
            words = say("`{text}` is part of the default; a type stands before the `|`", text=found[0].strip())
            yield Remark(words, part.start, part.length)


# the filters of Jinja, Liquid and their like; the first ones no default is called by chance
_ALONE = "capitalize|escape|length|lower|lowercase|strip|to_?json|trim|truncate|upper|uppercase|urlencode|wordcount"
_FILTERS = (
    f"{_ALONE}|default|first|float|int|join|json|last|list|replace|reverse|round|safe|size|slice|sort|split|string"
    "|title|unique"
)
_FILTER = re.compile(rf"(?:{_ALONE})(?=[ \t]*(?:\||$))")
_FILTER_CALL = re.compile(rf"({_FILTERS})\(.*\)[ \t]*(?:\||$)")


def _filters(text: str, parts: Iterable[Part]) -> Iterator[Remark]:
    """`${input.x | upper}` and `${input.x | default('y')}`: what stands after `|` is a default."""
    for reference in references(parts):
        default = reference.default
        if default is None or default.quoted:
            continue
        written = text[default.start : default.start + default.length].strip()
        if found := _FILTER_CALL.match(written):
            sentence = say(
                "`{name}(...)` is a filter of other languages; after `|` stands a default, as in `${{input.x | 5}}`",
                name=found[1],
            )
            yield Remark(sentence, default.start, len(written), is_mistake=True)
        elif (found := _FILTER.match(written)) and not (reference.cast and written in reference.cast.options):
            sentence = say(
                "`{name}` is a default, the text that stands in for a missing value; there are no filters",
                name=found[0],
            )
            yield Remark(sentence, default.start, len(written))


_CURLY = re.compile(r"“[^“”]*”|‘[^‘’]*’")


def _wide(text: str, parts: Iterable[Part]) -> Iterator[Remark]:
    """What a Chinese keyboard gives for the `,` between options and for the quotes of a default."""
    for reference in references(parts):
        cast, default = reference.cast, reference.default
        if cast is not None and cast.type == "select" and len(cast.options) == 1:
            (option,) = cast.options
            if found := re.search(r"\S[ ]?([，、])[ ]?\S", option):
                words = say("`{text}` is one option: `{char}` is a full-width character", text=option, char=found[1])
                yield Remark(words, cast.start, cast.length)
        written = text[default.start : default.start + default.length].strip() if default and not default.quoted else ""
        if default is not None and _CURLY.fullmatch(written):
            words = say("the quotes of `{text}` are part of the default; quotes are `\"` or `'`", text=written[:40])
            yield Remark(words, default.start, default.length)


def _stray_braces(parts: Iterable[Part]) -> Iterator[Remark]:
    """`${input.x}}`, where no brace before it is open."""
    depth, before = 0, None
    for part in parts:
        if isinstance(part, Reference):
            before = part
            continue
        if before is not None and depth == 0 and part.startswith("}"):
            sentence = say("the second `}` after a `${...}` is sent as it is written")
            yield Remark(sentence, before.start + before.length, 1)
        for brace in re.findall(r"[{}]", part):
            depth = depth + 1 if brace == "{" else max(0, depth - 1)


_PATH = re.compile(r"[\w:.%)}\\]")


def _backslashes(text: str, parts: Iterable[Part]) -> Iterator[Remark]:
    r"""`\${input.x}`, which is filled in all the same; `C:\${input.x}` is a folder of Windows."""
    for part in parts:
        at = part.start - 1 if isinstance(part, Reference) else -1
        if at >= 0 and text[at] == "\\" and not _PATH.match(text, at - 1 if at else len(text)):
            sentence = say("`\\` does not keep `${...}` from being filled in; for the text itself write `$${`")
            yield Remark(sentence, at, 3)
