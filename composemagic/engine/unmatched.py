"""What is said where an `output` finds nothing: the sentence, with what is there instead, and the reference it is about.

A path into an answer cannot be checked before the run, and what is not there is null: without these sentences a misspelt
path would be an empty output. Each function gives a Flaw, whose place in the document can be drawn, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from composemagic.errors import suggest
from composemagic.language.expression import Each, Index, Name, Segment, Slice
from composemagic.language.path import finder
from composemagic.language.streams import Chunks
from composemagic.language.template import Flaw, Hole, Template
from composemagic.transport.providers import error_message
from composemagic.words import say

__all__ = ["no_text", "nothing_in_chunks", "nothing_in_value", "shown_raw", "value_of_output", "value_of_stream"]

Path = tuple[Segment, ...]

# where the text stands in a whole answer of a provider -> where in a chunk
_IN_CHUNKS = {"choices[0].message.content": "choices[0].delta.content", "content[0].text": "delta.text"}
_KEYS_SHOWN = 8
_TEXT_SHOWN = 80


def value_of_stream(template: Template, sources: Collection[str], chunk: Any) -> Flaw | None:
    """A path into a component's stream as if it were one value; `chunk` is its first."""
    for hole in template.holes:
        reference = hole.reference
        if reference.source in sources and reference.path and not reference.per_chunk:
            return _flaw(_read_chunks(reference.source, reference.path, chunk), hole)
    return None


def value_of_output(template: Template, scope: Mapping[str, Any]) -> Flaw | None:
    """A path into an output that streams."""
    for hole in template.holes:
        reference = hole.reference
        if reference.source not in ("output", "jobs"):
            continue
        depth = _depth(reference.source)
        before, path = reference.path[:depth], reference.path[depth:]
        if path and isinstance(_find(scope.get(reference.source), before), Chunks):
            whole = f"${{{reference.source}{_spelled(before)}}}"
            return _flaw(
                say("the output is a stream, which has no `{path}`; write `{whole}`", path=_bare(path), whole=whole),
                hole,
            )
    return None


def _depth(source: str) -> int:
    """How many names lead to the value itself: it is `output`, and `jobs.ID.output`."""
    return 2 if source == "jobs" else 0


def _read_chunks(source: str, path: Path, chunk: Any) -> str:
    if isinstance(chunk, str) and not _is_json(chunk):
        return say(
            "the answer is a stream of text, which has no `{path}`; write `${{{source}[]}}`",
            path=_bare(path),
            source=source,
        )
    while path and isinstance(path[0], Index | Each | Slice):
        path = path[1:]
    wanted = _IN_CHUNKS.get(_bare(path), _bare(path))
    each = f"${{{source}[]{'.' if wanted else ''}{wanted}}}"
    if isinstance(chunk, str):
        return say(
            "the answer is a stream; write `{each}` with `stream_format: json`, or ask for none: `stream: false`",
            each=each,
        )
    return say("the answer is a stream; write `{each}`, or ask for none: `stream: false`", each=each)


def no_text(template: Template, sources: Collection[str], value: Any) -> Flaw | None:
    """A path into what can never have one: bytes, or a web page (a log-in, a proxy's error)."""
    is_page = isinstance(value, str) and value.lstrip()[:15].lower().startswith(("<!doctype html", "<html"))
    if not is_page and not isinstance(value, bytes):
        return None
    for hole in template.holes:
        if hole.reference.source in sources and hole.reference.path:
            path = _bare(hole.reference.path)
            if isinstance(value, bytes):
                return _flaw(say("the answer is bytes, which have no `{path}`", path=path), hole)
            start = _start(value)
            return _flaw(
                say("the answer is a web page, which has no `{path}` (it begins: `{start}`)", path=path, start=start),
                hole,
            )
    return None


def nothing_in_value(
    template: Template, scope: Mapping[str, Any], sources: Collection[str], named: Callable[[], str]
) -> Flaw | None:
    """Every path into the sources gave null; `named` says what they hold: the answer, the output."""
    holes = [hole for hole in template.holes if hole.reference.source in sources]
    if any(_find(scope.get(hole.reference.key), hole.reference.path) is not None for hole in holes):
        return None
    for hole in holes:
        reference = hole.reference
        if reference.path and reference.default is None:
            depth, name = _depth(reference.source), named()
            value = _find(scope.get(reference.key), reference.path[:depth])
            written = f"{reference.key}{_spelled(reference.path)}"
            there = _refusal(value, reference.path) or _there(value, reference.path[depth:], name)
            words = say("nothing in {name} matched `{written}`; {there}", name=name, written=written, there=there)
            return _flaw(words, hole)
    return None


def nothing_in_chunks(template: Template, sources: Collection[str], chunk: Any) -> Flaw | None:
    """No chunk of a whole stream gave anything; `chunk` is the first."""
    for hole in template.holes:
        if hole.reference.per_chunk and hole.reference.source in sources:
            there = _there(chunk, hole.reference.path, None)
            return _flaw(say("nothing in the stream matched `output`; {there}", there=there), hole)
    return None


def shown_raw(source: str, chunk: Any) -> str | None:
    """What to say of chunks that nobody maps: JSON as it came is rarely what is wanted."""
    if isinstance(chunk, str):
        if _is_json(chunk):
            return say(
                "the answer streams as JSON text; add `stream_format: json` and `output: ${{{source}[].…}}`",
                source=source,
            )
        return None
    if not isinstance(chunk, Mapping):
        return None
    if isinstance(chunk.get("choices"), list):
        wanted = f"${{{source}[].choices[0].delta.content}}"
        return say("the answer streams as JSON chunks; for its text alone add `output: {wanted}`", wanted=wanted)
    return say("the answer streams as JSON chunks; for a part of each add `output: ${{{source}[].…}}`", source=source)


def _flaw(sentence: str, hole: Hole) -> Flaw:
    return Flaw(sentence, hole.path, hole.reference.start, hole.reference.length)


def _find(value: Any, path: Path) -> Any:
    return finder(path)(value)


def _refusal(value: Any, path: Path) -> str | None:
    """What a server says that answers with an error where another would have used the status."""
    if not isinstance(value, Mapping) or not value.get("error") or path[0] == Name("error"):
        return None
    words = error_message(value)
    return words and say("the answer is an error: {words}", words=_start(words))


def _there(value: Any, path: Path, name: str | None) -> str:
    """What stands where a path finds nothing more: the keys of that step. `name` is what is looked at, None for chunks."""
    steps = [Index(0) if isinstance(segment, Each) else segment for segment in path]
    at = 0
    while at < len(steps) and (inner := _find(value, (steps[at],))) is not None:
        value, at = inner, at + 1
    step = steps[at] if at < len(steps) else None
    if isinstance(step, Name) and isinstance(value, Mapping) and step.name in value:
        return say("`{path}` is null", path=_bare(path[: at + 1]))
    whole = not at and name is not None
    name = f"`{_bare(path[:at])}`" if at else name
    if isinstance(value, Mapping) and isinstance(step, Name):
        return _has(name, _keys(value) + suggest(step.name, map(str, value)))
    if isinstance(value, list) and isinstance(step, Index):
        return _has(name, say("1 item") if len(value) == 1 else say("{count} items", count=len(value)))
    found = _kind(value, whole=whole)
    if name is None:
        return say("its chunks are {found}", found=found)
    return say("{name} is {found}", name=name, found=found)


def _has(name: str | None, found: str) -> str:
    if name is None:
        return say("its chunks have {found}", found=found)
    return say("{name} has {found}", name=name, found=found)


def _kind(value: Any, *, whole: bool) -> str:
    match value:
        case None:
            return say("empty")
        case str() if _is_json(value) and not whole:
            return say("text that looks like JSON; add `stream_format: json`")
        case str():
            return say("text: `{start}`", start=_start(value)) if whole and value.strip() else say("text")
        case bytes():
            return say("bytes")
        case bool():
            return say("a boolean")
        case int() | float():
            return say("a number")
        case Mapping():
            return say("an object")
    return say("a list") if isinstance(value, Sequence) else f"a {type(value).__name__}"


def _keys(value: Mapping[Any, Any]) -> str:
    return ", ".join(f"`{key}`" for key in list(value)[:_KEYS_SHOWN]) or say("no keys")


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] == "{"


def _start(text: str) -> str:
    words = " ".join(text[:1000].split())
    return words if len(words) <= _TEXT_SHOWN else f"{words[:_TEXT_SHOWN]}…"


def _spelled(path: Sequence[Segment]) -> str:
    """A path as it is written behind a source."""
    return "".join(map(_segment, path))


def _bare(path: Sequence[Segment]) -> str:
    return _spelled(path).removeprefix(".")


def _segment(segment: Segment) -> str:
    match segment:
        case Name(name):
            return f".{name}" if name.replace("_", "a").replace("-", "a").isalnum() else f'["{name}"]'
        case Index(position):
            return f"[{position}]"
        case Slice(start, stop):
            return f"[{'' if start is None else start}:{'' if stop is None else stop}]"
    return "[*]"
