"""What an action's `output` cannot mean: an answer that streams read as one value, chunks and the whole answer at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from composemagic.language.expression import Reference
from composemagic.language.template import Flaw, Template
from composemagic.words import say

__all__ = ["flaws", "streaming_key"]

_FIRST = re.compile(r"^\[[^\]]*\]\.?")
# where a whole answer has its text -> where a chunk has its piece of it (OpenAI's chat and responses, Anthropic)
_PIECES = (
    (re.compile(r"^(choices\[-?\d+\]\.)message\b"), r"\1delta"),
    (re.compile(r"^content\[-?\d+\]\.text$"), "delta.text"),
    (re.compile(r"^output\[-?\d+\]\.content\[-?\d+\]\.text$|^output_text$"), "delta"),
)


def flaws(template: Template, sources: Collection[str], streaming: str | None) -> Iterator[Flaw]:
    """The references of an `output` that would be null for every chunk.

    `sources` are the component's; `streaming` is the key that asks for a stream for certain, such as `stream`, or None.
    """
    is_per_chunk = any(hole.reference.per_chunk for hole in template.holes)
    fallbacks = {id(part) for hole in template.holes for part in _fallbacks(hole.reference)}
    for hole in template.holes:
        reference = hole.reference
        if reference.per_chunk or reference.source not in sources:
            continue
        if is_per_chunk and id(reference) not in fallbacks:  # a default may serve an answer that does not stream
            sentence = say(
                "`output` is filled once for each chunk, where there is no `{source}`; write `${{{piece}}}`",
                source=reference.source,
                piece=_piece(reference),
            )
        elif not is_per_chunk and streaming is not None and reference.path:
            sentence = say(
                "the answer streams: write `${{{piece}}}`, or leave out `{key}: true`",
                piece=_piece(reference),
                key=streaming,
            )
        else:
            continue
        yield Flaw(sentence, hole.path, reference.source_start, len(reference.source + reference.dotted))


def streaming_key(body: Any) -> str | None:
    """The key of a literal body that asks for a stream whatever the input is."""
    if not isinstance(body, Mapping) or "..." in body:
        return None
    return next((key for key in ("stream", "streaming") if body.get(key) is True), None)


def _piece(reference: Reference) -> str:
    """The reference as it reads one chunk."""
    path = _FIRST.sub("", reference.path_text)
    for whole, piece in _PIECES:
        path = whole.sub(piece, path)
    return f"{reference.source}[].{path}" if path and not path.startswith("[") else f"{reference.source}[]{path}"


def _fallbacks(reference: Reference) -> Iterator[Reference]:
    if reference.default is not None:
        yield from (part for part in reference.default.parts if isinstance(part, Reference))
