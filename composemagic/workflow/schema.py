"""What a document may say outside its components: every key, its type, and the sentence for each mistake.

The models describe today's spelling; dialects.py has rewritten everything older before they see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from composemagic.errors import suggest
from composemagic.workflow.component import Settings

__all__ = ["Controller", "Fault", "Job", "Workflow", "check", "check_top", "without_extensions"]

Path = tuple[str | int, ...]

TOP_KEYS = ("controller", "component", "components", "workflow", "workflows")
# the peer's, which composemagic does not run: accepted, with a note
FOREIGN_TOP_KEYS = tuple(
    name + end for name in ("listener", "gateway", "system", "tracer", "logger") for end in ("", "s")
)
FOREIGN_KEYS = frozenset({"runtime", "queue", "websocket", "origins", "threaded", "max_concurrent_count"})


class Adapter(Settings):
    """`controller.adapter`: where the HTTP API listens."""

    type: str = "http-server"
    host: Any = None
    port: int | None = Field(default=None, ge=1, le=65535)
    base_path: str | None = None
    origins: Any = None
    websocket: Any = None
    max_concurrent_count: Any = None


class WebUI(Settings):
    """`controller.webui`: where the web page listens."""

    driver: str = "gradio"
    host: Any = None
    port: int | None = Field(default=None, ge=1, le=65535)
    command: Any = None
    static_dir: Any = None
    server_dir: Any = None


class Controller(Settings):
    """`controller`: how the workflows are served by `composemagic up`."""

    name: str | None = None
    adapter: Adapter | None = None
    adapters: list[Adapter] | None = None
    webui: WebUI | None = None
    max_concurrent_count: Any = None
    shutdown_pending_period: Any = None
    shutdown_timeout: Any = None
    threaded: Any = None
    runtime: Any = None
    queue: Any = None


class Workflow(Settings):
    """One of `workflows`; `output` is a template, `jobs` are checked one by one."""

    id: str | None = None
    name: str | None = None
    title: str | None = None
    description: str | None = None
    default: bool = False
    private: bool = False
    jobs: list[Any] | None = None
    output: Any = None
    input: Any = None


class Job(Settings):
    """A job that runs a component's action."""

    id: str | None = None
    name: str | None = None
    type: str = "component"
    component: Any = None
    action: str | None = None
    input: Any = None
    output: Any = None
    depends_on: Any = None
    max_run_count: Any = None


class Fault(NamedTuple):
    """A mistake at a path; `in_key`: the key is wrong, not its value."""

    sentence: str
    path: Path
    in_key: bool = False


_WORDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def check(
    model: type[BaseModel], data: Any, path: Path, place: str, *, also: Iterable[str] = ()
) -> Iterator[Fault]:
    """Every way in which `data` is not what the model wants.

    `place` is how a sentence calls it ("a job"); `also` are keys that are right there in another spelling of the language,
    to be suggested for an unknown one.
    """
    if not isinstance(data, dict):
        yield Fault(f"{place} is a mapping, this is {_kind(data)}", path)
        return
    try:
        model.model_validate(without_extensions(data))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            yield _fault(problem, model, path, place, tuple(also))


def check_top(data: dict[str, Any]) -> Iterator[Fault]:
    """Unknown top-level keys, and a key that stands there in singular and plural at once."""
    for key in without_extensions(data):
        if key not in TOP_KEYS and key not in FOREIGN_TOP_KEYS:
            yield Fault(f"unknown key `{key}` at the top{suggest(key, TOP_KEYS)}", (key,), in_key=True)
    for singular in ("component", "workflow"):
        if singular in data and f"{singular}s" in data:
            yield Fault(f"`{singular}` and `{singular}s` are both given; write one of them", (singular,), in_key=True)


def without_extensions(data: dict[str, Any]) -> dict[str, Any]:
    """The mapping without its `x-...` keys, which are the user's own."""
    return {key: value for key, value in data.items() if not key.startswith("x-")}


def _fault(problem: Any, model: type[BaseModel], path: Path, place: str, also: tuple[str, ...]) -> Fault:
    where: Path = (*path, *problem["loc"])
    key, kind, given = str(where[-1]), problem["type"], problem["input"]
    if kind == "extra_forbidden":
        known = [*_fields(model, problem["loc"][:-1]), *also]
        return Fault(f"unknown key `{key}` in {place}{suggest(key, known)}", where, True)
    if kind == "missing":
        return Fault(f"{place} needs `{key}`", path)
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        near = suggest(str(given), options) or f"; it is one of {', '.join(options)}"
        return Fault(f"unknown `{key}` {_kind(given)}{near}", where)
    if kind in ("greater_than_equal", "less_than_equal") and key == "port":
        return Fault(f"`port` is a number from 1 to 65535, not {given}", where)
    if kind in ("bool_type", "bool_parsing"):
        mend = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(str(given).lower())
        return Fault(f"`{key}` is true or false, not {_kind(given)}" + (f"; write `{mend}`" if mend else ""), where)
    if kind in _WORDS:
        return Fault(f"`{key}` is {_WORDS[kind]}, this is {_kind(given)}", where)
    return Fault(f"`{key}`: {problem['msg'].removeprefix('Value error, ')}", where)


def _fields(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The keys that the (nested) model at `loc` knows."""
    for step in loc:
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        for found in (annotation, *getattr(annotation, "__args__", ())):
            if isinstance(found, type) and issubclass(found, BaseModel):
                model = found
    return list(model.model_fields)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f'"{value[:40]}"'
        case _:
            return str(value)
