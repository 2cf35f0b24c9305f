"""What a document may say outside its components: every key, its type, and the sentence for each mistake.

The models describe today's spelling; dialects.py has rewritten everything older before they see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from composemagic.errors import suggest
from composemagic.workflow.component import Settings

__all__ = [
    "Action",
    "Component",
    "Controller",
    "Fault",
    "Job",
    "Settings",
    "Workflow",
    "check",
    "check_top",
    "kind",
    "no_component_type",
    "no_job_type",
    "without_extensions",
]

Path = tuple[str | int, ...]

TOP_KEYS = ("controller", "component", "components", "workflow", "workflows")
# the peer's, which composemagic does not run: accepted, with a note
FOREIGN_TOP_KEYS = tuple(
    name + end for name in ("listener", "gateway", "system", "tracer", "logger") for end in ("", "s")
)

# the peer's, which later versions of composemagic will run
LATER_JOB_TYPES = (
    "if", "switch", "random-router", "delay", "filter", "for-each", "pipeline", "loop", "accumulate", "fan-out",
)  # fmt: skip
LATER_COMPONENT_TYPES = (
    "http-server", "mcp-client", "mcp-server", "model", "model-trainer", "datasets", "shell", "workflow", "agent",
    "text-splitter", "vector-store", "key-value-store", "image-processor", "web-browser", "web-scraper",
)  # fmt: skip
LATER_ACTION_KEYS = ("completion", "max_retries", "retry_delay")
LATER_KEYS = frozenset({*LATER_ACTION_KEYS, "rate_limit", "retry", "on_error", "interrupt", "hook", "repeat_count"})
NOT_YET = "is not in this version of composemagic"


Port = Annotated[int, range(1, 65536)]


class Adapter(Settings):
    """`controller.adapter`: where the HTTP API listens."""

    type: str = "http-server"
    host: Any = None
    port: Port | None = None
    base_path: str | None = None
    origins: Any = None
    websocket: Any = None
    max_concurrent_count: Any = None


class WebUI(Settings):
    """`controller.webui`: where the web page listens."""

    driver: str = "gradio"
    host: Any = None
    port: Port | None = None
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
    """One of `workflows`; `output` is a template, `jobs` are checked one by one (dialects.py makes a list of `job`)."""

    id: str | None = None
    name: str | None = None
    title: str | None = None
    description: str | None = None
    default: bool = False
    private: bool = False
    job: Any = None
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


class Component(Settings):
    """What every component may say, whatever its type."""

    id: str | None = None
    name: str | None = None
    type: str
    default: bool = False
    runtime: Any = None
    max_concurrent_count: Any = None
    action: Any = None
    actions: Any = None


class Action(Settings):
    """What every action may say; `output` is a template."""

    id: str | None = None
    default: bool = False
    output: Any = None


class Fault(NamedTuple):
    """A mistake at a path; `in_key`: the key is wrong, not its value."""

    sentence: str
    path: Path
    in_key: bool = False


_WORDS: Mapping[type, str] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a mapping",
}  # fmt: skip


# what requests, httpx, curl and their like call it
_OTHER_WORDS = {
    **dict.fromkeys(("data", "json", "payload"), ("body",)),
    **dict.fromkeys(("url", "uri"), ("endpoint", "base_url")),
    "query": ("params",),
}
_known: dict[type[Settings], Mapping[str, Any]] = {}


def _hints(model: type[Settings]) -> Mapping[str, Any]:
    """The keys of a model and what each takes."""
    if model not in _known:
        hints = get_type_hints(model, include_extras=True)
        _known[model] = {key: hints[key] for key in model.model_fields}
    return _known[model]


def check(model: type[Settings], data: Any, path: Path, place: str, *, also: Iterable[str] = ()) -> Iterator[Fault]:
    """Every way in which `data` is not what the model wants.

    `place` is how a sentence calls it ("a job"); `also` are keys that are right there in another spelling of the language,
    to be suggested for an unknown one.
    """
    if not isinstance(data, dict):
        yield Fault(f"{place} is a mapping, this is {kind(data)}", path)
        return
    hints = _hints(model)
    for key, value in data.items():
        if key in hints:
            yield from _faults(hints[key], value, (*path, key), place)
        elif key in LATER_KEYS:
            yield Fault(f"`{key}` {NOT_YET}", (*path, key), True)
        elif not key.startswith("x-"):
            yield Fault(f"unknown key `{key}` in {place}{_meant(key, [*hints, *also])}", (*path, key), True)
    for key in hints:
        if key not in data and not hasattr(model, key):
            yield Fault(f"{place} needs `{key}`", path)


def _meant(key: str, known: list[str]) -> str:
    """The end of the sentence for an unknown key: what other tools call so, else the nearest name."""
    other = next((name for name in _OTHER_WORDS.get(key, ()) if name in known), None)
    return f"; did you mean `{other}`?" if other else suggest(key, known)


def no_job_type(given: Any) -> str:
    """The sentence for a job's `type` that cannot be run."""
    if given in LATER_JOB_TYPES:
        return f"the job type `{given}` {NOT_YET}"
    return f"unknown job type {kind(given)}{suggest(str(given), ('component', *LATER_JOB_TYPES))}"


def no_component_type(given: str, known: Iterable[str]) -> str:
    """The sentence for a component's `type` that cannot be run."""
    if given in LATER_COMPONENT_TYPES:
        return f"the component type `{given}` {NOT_YET}"
    near = suggest(given, known) or f"; here: {', '.join(f'`{name}`' for name in known)}"
    return f"unknown component type `{given}`{near}"


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


def _faults(wanted: Any, value: Any, path: Path, place: str) -> Iterator[Fault]:
    """What is wrong with a key's value, by the key's annotation."""
    origin = get_origin(wanted)
    if origin in (Union, UnionType):
        if value is not None:
            yield from _faults(get_args(wanted)[0], value, path, place)
    elif origin is Literal:
        yield from _unlisted(get_args(wanted), value, path)
    elif origin is Annotated:
        number, limits = get_args(wanted)
        yield from _outside(number, limits, value, path)
    elif isinstance(wanted, type) and issubclass(wanted, Settings) and isinstance(value, dict):
        yield from check(wanted, value, path, place)
    elif wanted is not Any:
        yield from _other_kind(wanted, value, path, place)


def _other_kind(wanted: Any, value: Any, path: Path, place: str) -> Iterator[Fault]:
    plain = get_origin(wanted) or (wanted if wanted in _WORDS else dict)
    if not _is(plain, value):
        yield Fault(f"`{path[-1]}` is {_WORDS[plain]}, {_instead(plain, value)}", path)
    elif plain is list:
        for at, item in enumerate(value):
            yield from _faults(get_args(wanted)[0], item, (*path, at), place)


def _outside(wanted: type, limits: range, value: Any, path: Path) -> Iterator[Fault]:
    if not _is(wanted, value):
        yield Fault(f"`{path[-1]}` is {_WORDS[wanted]}, {_instead(wanted, value)}", path)
    elif int(value) not in limits:
        yield Fault(f"`{path[-1]}` is a number from {limits[0]} to {limits[-1]}, not {value}", path)


def _unlisted(options: tuple[str, ...], value: Any, path: Path) -> Iterator[Fault]:
    if value not in options and not (isinstance(value, str) and "${" in value):
        near = suggest(str(value), options) or f"; it is one of {', '.join(options)}"
        yield Fault(f"unknown `{path[-1]}` {kind(value)}{near}", path)


def _is(wanted: type, value: Any) -> bool:
    """Whether a value is of a type as YAML writers mean it: a quoted number is one, true is not."""
    if wanted in (int, float) and not isinstance(value, bool):
        try:
            return bool(wanted(value) == float(value))
        except (TypeError, ValueError, OverflowError):
            return False
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _instead(wanted: type, value: Any) -> str:
    if wanted is not bool:
        return f"this is {kind(value)}"
    mend = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(str(value).lower())
    return f"not {kind(value)}" + (f"; write `{mend}`" if mend else "")


def kind(value: Any) -> str:
    """How a sentence calls a value that is wrong."""
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
