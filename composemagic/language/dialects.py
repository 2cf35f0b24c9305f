"""Every older spelling of the language -> today's, each with a note to the user.

`modernise` rewrites the tree of a document before anything is checked; it keeps for every moved path where it came from, so
that mistakes are still drawn at the line the user wrote. `modern_cast` does the same for what stands after `as`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from composemagic.language.expression import Cast

__all__ = ["Modern", "modern_cast", "modernise"]

Path = tuple[str | int, ...]
ActionKeys = Callable[[Any], Collection[str]]

# 2025-08 `as text;sse-text` · 2026-05 `as sse-text` · 2026-06 `as event-stream/text` · today `as stream/text`
_STREAM_FORMATS = {"sse-text": "text", "sse-json": "json"}

_STREAM_CAST = re.compile(r"\bas\s+(?:stream|event-stream|sse-)|;sse-")
_ADAPTER_KEYS = ("type", "host", "port", "base_path", "origins", "max_concurrent_count")
# what tells the fields of one from several by id: the value would be no mapping
_MARKS = {
    "workflow": ("title", "description", "job", "jobs", "output"),
    "component": ("type",),
    "job": ("component", "action", "input", "output", "type"),
    "action": ("path", "endpoint", "method", "output", "text"),
}
_JOB_KEYS = ("component", "action", "input", "output")
_ONLY_A_JOBS = frozenset(_JOB_KEYS) - {"output"}  # a workflow has an `output` of its own


@dataclass(slots=True)
class Modern:
    """A document's tree in today's spelling, the notes on what was read, and where moved paths came from.

    `streams`: somewhere in it an output is cast to a stream. `singles` are the places of plural keys that hold a single
    thing without an id, such as `components` over `type: ...`, which were read as the singular.
    """

    data: dict[str, Any]
    streams: bool = False
    notes: list[tuple[str, Path]] = field(default_factory=list)
    origins: dict[Path, Path] = field(default_factory=dict)
    singles: list[Path] = field(default_factory=list)

    def origin(self, path: Path) -> Path:
        """The path in the user's own document of a path in `data`."""
        for end in range(len(path), 0, -1):
            found = self.origins.get(path[:end])
            if found is not None:
                return found + path[end:]
        return path


def modern_cast(cast: Cast) -> tuple[Cast, str | None]:
    """A cast in today's spelling, and the note on what was read where it was older."""
    kind = None
    modern = cast
    if cast.format in _STREAM_FORMATS and cast.subtype and cast.format == "sse-json":
        # 2025-08-01: the subtype is a path into the JSON of each raw chunk
        encoding = "json" if cast.type == "json" else "text"
        modern = replace(cast, type="stream", subtype=encoding, format=None, attrs=(("path", cast.subtype),))
        kind = f"each chunk's `{cast.subtype}`, as `stream/{encoding}`"
    elif cast.format in _STREAM_FORMATS:
        modern = replace(cast, type="stream", subtype=_STREAM_FORMATS[cast.format], format=None)
    elif cast.type in _STREAM_FORMATS:
        modern = replace(cast, type="stream", subtype=_STREAM_FORMATS[cast.type])
    elif cast.type == "event-stream":
        modern = replace(cast, type="stream")
    return modern, None if modern is cast else f"`as {cast}` -> {kind or f'`as {modern}`'}"


def modernise(data: dict[str, Any], action_keys: ActionKeys) -> Modern:
    """Rewrite a document's tree into today's spelling; `data` itself is left as it is.

    `action_keys` gives the keys that belong to an action of a component type; where they stand on the component, they are
    its one action's.
    """
    modern = Modern(dict(data), streams=_streams(data))
    _flat_controller(modern)
    for singular, plural in (("workflow", "workflows"), ("component", "components")):
        _plural(modern, modern.data, (), singular, plural)
    for at, component in enumerate(_mappings(modern.data.get("components"))):
        _component(modern, component, ("components", at), action_keys)
    for at, workflow in enumerate(_mappings(modern.data.get("workflows"))):
        _workflow(modern, workflow, ("workflows", at), action_keys)
    return modern


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """The mappings of a list, copied in place so that rewriting them leaves the original alone."""
    if not isinstance(value, list):
        return
    for at, item in enumerate(value):
        if isinstance(item, dict):
            value[at] = dict(item)
            yield value[at]
        else:
            yield {}


def _flat_controller(modern: Modern) -> None:
    controller = modern.data.get("controller")
    if not isinstance(controller, dict) or "adapter" in controller or "adapters" in controller:
        return
    flat = {key: controller[key] for key in _ADAPTER_KEYS if key in controller}
    if not flat:
        return
    rest = {key: value for key, value in controller.items() if key not in flat}
    modern.data["controller"] = {"adapter": flat, **rest}
    for key in flat:
        modern.origins["controller", "adapter", key] = ("controller", key)
    modern.notes.append(("flat `controller` -> `controller.adapter`", ("controller",)))


def _plural(modern: Modern, holder: dict[str, Any], path: Path, singular: str, plural: str) -> None:
    """`job: {...}` -> `jobs: [...]`; `jobs: {id: {...}}` -> `jobs: [{id: ..., ...}]`."""
    if singular in holder and plural not in holder:
        value = holder.pop(singular)
        holder[plural] = [{} if value is None else value]
        modern.origins[*path, plural, 0] = (*modern.origin(path), singular)
        modern.origins[*path, plural] = (*modern.origin(path), singular)
        return
    named = holder.get(plural)
    if isinstance(named, list):
        holder[plural] = list(named)
    if not isinstance(named, dict):
        return
    if any(key in named and isinstance(named[key], str | int | list) for key in _MARKS[singular]):
        holder[plural] = [named]
        modern.origins[*path, plural, 0] = (*modern.origin(path), plural)
        modern.singles.append((*modern.origin(path), plural))
        return
    holder[plural] = [{"id": key, **body} if isinstance(body, dict) else body for key, body in named.items()]
    for at, key in enumerate(named):
        modern.origins[*path, plural, at] = (*modern.origin(path), plural, key)
    modern.notes.append((f"`{plural}` as a mapping -> a list with ids", (*path, plural)))


def _component(modern: Modern, component: dict[str, Any], path: Path, action_keys: ActionKeys) -> None:
    _plural(modern, component, path, "action", "actions")
    if "actions" not in component:
        keys = action_keys(component.get("type"))
        flat = {key: component[key] for key in component if key in keys}
        for key in flat:
            del component[key]
            modern.origins[*path, "actions", 0, key] = (*modern.origin(path), key)
        modern.origins[*path, "actions", 0] = modern.origin(path)
        component["actions"] = [flat]
        if flat:
            modern.notes.append(("an action's fields on the component -> `action`", path))
    for at, action in enumerate(_mappings(component["actions"])):
        _streaming_body(modern, action, (*path, "actions", at))


def _workflow(modern: Modern, workflow: dict[str, Any], path: Path, action_keys: ActionKeys) -> None:
    _plural(modern, workflow, path, "job", "jobs")
    if not workflow.get("jobs"):
        is_flat = not _ONLY_A_JOBS.isdisjoint(workflow)
        flat = {key: workflow.pop(key) for key in _JOB_KEYS if is_flat and key in workflow}
        workflow["jobs"] = [flat]
        modern.origins[*path, "jobs", 0] = modern.origin(path)
        if flat:
            modern.notes.append(("a job's fields on the workflow -> `job`", path))
    for at, job in enumerate(_mappings(workflow["jobs"])):
        inline = job.get("component")
        if isinstance(inline, dict):
            job["component"] = dict(inline)
            _component(modern, job["component"], (*path, "jobs", at, "component"), action_keys)


def _streaming_body(modern: Modern, action: dict[str, Any], path: Path) -> None:
    """2025-09 .. 2026-02: `streaming: true` in a body meant the provider's `stream: true`."""
    body = action.get("body")
    if not isinstance(body, dict) or body.get("streaming") is not True or "stream" in body:
        return
    if not (modern.streams or "stream_format" in action or "[]" in str(action.get("output", ""))):
        return
    action["body"] = {("stream" if key == "streaming" else key): value for key, value in body.items()}
    modern.origins[*path, "body", "stream"] = (*modern.origin((*path, "body")), "streaming")
    modern.notes.append(("`streaming: true` -> `stream: true`", (*path, "body", "stream")))


def _streams(data: dict[str, Any]) -> bool:
    outputs = [holder["output"] for key in ("workflow", "workflows") for holder in _holders(data.get(key))]
    return any(_STREAM_CAST.search(str(output)) for output in outputs)


def _holders(value: Any) -> Iterator[dict[str, Any]]:
    """The mappings among workflows and their jobs, in any spelling, that have an `output`."""
    if isinstance(value, dict) and "output" in value:
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _holders(each)
