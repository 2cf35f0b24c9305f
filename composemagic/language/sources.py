"""The sources there are, and what to say of a name that is none, or of one that lacks its `${}`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from composemagic.errors import suggest
from composemagic.language.nodes import Reference
from composemagic.words import listing, say

__all__ = ["BARE", "LOOKALIKE", "SOURCES", "is_gateway", "unknown_source"]

LOOKALIKE = re.compile(
    r"(?<!\$)\$(?:input|env|response|result|output|jobs)\b[.\w]*|\{\{\s*(?:input|env|jobs)\.[^}]*\}\}"
    r"|(?<!\w)(?:\$[(\[<｛]|[%#＄￥]?[{｛]|[$＄￥] ?[{｛]|<)(?P<path>(?:input|env|jobs|response|result)[.。][\w.-]+)[)\]>}｝]"
    r"|(?<![\w$])\$(?P<variable>[A-Z][A-Z0-9_]{2,})(?!\w)"  # as a shell would fill it in
)
# a reference that lacks its `${}`, if `source` is one
BARE = re.compile(r"(?P<source>[a-z]+)(?P<path>(?:\[\])?(?:\.[\w-]+|\[(?:-?\d+|\*|-?\d*:-?\d*)\])*)")

# what is easily taken for another
_OTHER_SOURCES: dict[str, frozenset[str]] = {
    "job": frozenset(("jobs",)),
    "response": frozenset(("result", "output")),
    "result": frozenset(("response", "output")),
}
# every source there is somewhere
SOURCES = frozenset((
    "input", "env", "context", "jobs", "job", "output", "response", "result", "item", "index", "accumulator", "iteration",
    "step", "error", "messages", "tools",
))  # fmt: skip

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{2,}")


def unknown_source(reference: Reference, allowed: Iterable[str]) -> str | None:
    """The sentence for a reference whose source is not visible where it stands, or None."""
    names = list(allowed)
    key = reference.key
    if key in names or is_gateway(reference):
        return None
    if reference.per_chunk and reference.source in names:
        return say("`{key}` has no chunks here; write `{source}`", key=key, source=reference.source)
    if other := _OTHER_SOURCES.get(reference.source, frozenset()).intersection(names):
        return say("`{key}` cannot be used here; did you mean `{name}`?", key=key, name=min(other))
    known = listing(f"`{name}`" for name in names)
    if reference.source in SOURCES:
        return say("`{key}` cannot be used here, only {known}", key=key, known=known)
    if near := suggest(reference.source, [name for name in names if not name.endswith("[]")]):
        return say("unknown source `{key}`{near}", key=key, near=near)
    if field := _field(reference, names):
        return say("unknown source `{key}`; did you mean `{field}`?", key=key, field=field)
    return say("unknown source `{key}`; here you can use {known}", key=key, known=known)


def is_gateway(reference: Reference) -> bool:
    """Whether a reference reads what the peer opens to the world, as in `${gateway:8080.public_url}`."""
    return reference.source.startswith("gateway:")


def _field(reference: Reference, names: list[str]) -> str | None:
    """The variable or the input that a single name may be meant for."""
    last = reference.path_text.rpartition(".")[2]
    if reference.path and "env" in names and _VARIABLE.fullmatch(last):
        return f"env.{last}"  # as in `${secrets.KEY}`
    if reference.path or reference.per_chunk:
        return None
    if "env" in names and _VARIABLE.fullmatch(reference.source):
        return f"env.{reference.source}"  # an input would ask for a key in a field that shows it
    return f"input.{reference.source}" if "input" in names else None
