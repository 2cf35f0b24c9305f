"""What a document may say outside its components: every key, its type, and the sentence for each mistake.

The models describe today's spelling; dialects.py has rewritten everything older before they see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from composemagic.errors import suggest
from composemagic.words import listing, say
from composemagic.workflow.component import Settings

__all__ = [
    "Action",
    "Component",
    "Controller",
    "Fault",
    "Settings",
    "Workflow",
    "action_of",
    "both",
    "check",
    "check_controller",
    "check_top",
    "component_of",
    "hears_callbacks",
    "kind",
    "no_component_type",
    "without_extensions",
]

Path = tuple[str | int, ...]

TOP_KEYS = ("controller", "component", "components", "workflow", "workflows")
# the peer's, which composemagic does not run: accepted, with a note
FOREIGN_TOP_KEYS = tuple(
    name + end for name in ("listener", "gateway", "system", "tracer", "logger") for end in ("", "s")
)

# what the peer serves a document with and composemagic does not
FOREIGN_CONTROLLER_KEYS = ("shutdown_pending_period", "shutdown_timeout", "threaded", "queue")
FOREIGN_ADAPTERS = ("mcp-server", "queue-subscriber")

# the types of the peer's components (0.4.120 and its documentation) that no class of ours runs; a class that is registered
# under one of these names is found first
LATER_COMPONENT_TYPES = (
    "audio-analyzer", "audio-capture", "audio-clipper", "audio-converter", "audio-extractor",
    "audio-feature-extractor", "audio-mixer", "audio-playback", "audio-processor", "audio-segment-detector",
    "audio-silence-detector", "audio-synchronizer", "camera-pose-estimator", "data-queue", "document-loader",
    "file-store", "graph-store", "html-frame-renderer", "image-analyzer", "image-compressor",
    "image-drawing", "image-processor", "json-rpc-client", "mcp-server",
    "media-downloader", "media-inspector", "model-3d-converter", "model-3d-renderer", "model-memory", "model-tokenizer",
    "model-trainer", "morpheme-analyzer", "music-analyzer", "music-pitch-corrector", "music-score-loader",
    "music-score-renderer", "music-segment-detector", "music-synthesizer", "rtmp-publisher", "screen-capture",
    "search-engine", "sentence-splitter", "subtitle-loader", "text-parser",
    "transcript-corrector", "vector-processor", "video-analyzer", "video-capture", "video-clipper",
    "video-converter", "video-encoder", "video-frame-extractor", "video-mixer", "video-playback", "video-processor",
    "video-scene-detector", "web-browser", "websocket-client", "websocket-server",
)  # fmt: skip


Port = Annotated[int, range(1, 65536)]


class Adapter(Settings):
    """`controller.adapter`: where the HTTP API listens."""

    type: str = "http-server"
    host: Any = None
    port: Port | None = None
    base_path: str | None = None
    origins: Any = None
    websocket: Any = None
    max_concurrent_count: int | None = None


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
    max_concurrent_count: int | None = None
    shutdown_pending_period: Any = None
    shutdown_timeout: Any = None
    threaded: Any = None
    runtime: Any = None
    queue: Any = None


class Workflow(Settings):
    """A workflow: its jobs and what they give.

    `title` and `description` tell people what it does; `id` is its name among several, and `default` marks the one that runs
    where none is named; `private`: only other workflows run it. `jobs` are its steps, `job` is its only one; `output` is what
    a run gives, else the outputs of the jobs that no other waits for.
    """

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


class Component(Settings):
    """What every component may say, whatever its type.

    `type` is what it is; `id` is the name by which jobs choose it, and `default` marks the one for jobs that name none;
    `actions` are the calls it offers, `action` is its only one; `runtime` is read and not used.
    """

    id: str | None = None
    name: str | None = None
    type: str
    default: bool = False
    runtime: Any = None
    max_concurrent_count: int | None = None
    action: Any = None
    actions: Any = None


class Action(Settings):
    """What every action may say.

    `id` is the name by which jobs choose it, and `default` marks the one for jobs that name none; `output` says what it gives.
    """

    id: str | None = None
    default: bool = False
    output: Any = None


class Fault(NamedTuple):
    """A mistake at a path; `in_key`: the key is wrong, not its value."""

    sentence: str
    path: Path
    in_key: bool = False


def _word(wanted: type) -> str:
    """How a sentence calls what is wanted."""
    match wanted():
        case bool():
            return say("true or false")
        case str():
            return say("text")
        case int():
            return say("a whole number")
        case float():
            return say("a number")
        case list():
            return say("a list")
        case _:
            return say("a mapping")


# what requests, httpx, curl and their like call it
_OTHER_WORDS = {
    **dict.fromkeys(("data", "json", "payload"), ("body",)),
    **dict.fromkeys(("url", "uri"), ("endpoint", "base_url")),
    "query": ("params",),
    "steps": ("jobs",),
    "needs": ("depends_on",),
    "uses": ("component",),
    **dict.fromkeys(("cmd", "run"), ("command",)),
    "组件": ("component",),
    "工作流": ("workflow",),
    "作业": ("job",),
    "类型": ("type",),
    "标题": ("title",),
    "输入": ("input",),
    "输出": ("output",),
}
# what OpenAI-style requests hold
_BODY_KEYS = ("model", "messages", "prompt", "temperature", "max_tokens", "top_p", "tools", "stream", "streaming")
_BASE_PATH = re.compile(r"/?|/?[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
_PLAIN = (str, bool, int, float, list)
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
        yield Fault(say("{place} is a mapping, this is {what}", place=place, what=kind(data)), path)
        return
    hints = _hints(model)
    meant = ""  # the ends of the sentences for unknown keys, which name what is missed
    for key, value in data.items():
        if key in hints:
            yield from _faults(hints[key], value, (*path, key), place)
        elif not key.startswith("x-"):
            near = _meant(key, [*hints, *also])
            meant += near
            if not near and key in _BODY_KEYS and "body" in (*hints, *also):
                near = say("; it is part of the request: indent it below `body:`")
            yield Fault(
                say("unknown key `{key}` in {place}{near}", key=key, place=place, near=near), (*path, key), True
            )
    for key in hints:
        if key not in data and not hasattr(model, key) and f"`{key}`" not in meant:
            yield Fault(say("{place} needs `{key}`", place=place, key=key), path)


def _meant(key: str, known: list[str]) -> str:
    """The end of the sentence for an unknown key: what other tools call so, else the nearest name."""
    other = next((name for name in _OTHER_WORDS.get(key, ()) if name in known), None)
    return say("; did you mean `{name}`?", name=other) if other else suggest(key, known)


def no_component_type(given: str, known: Iterable[str]) -> str:
    """The sentence for a component's `type` that nobody knows."""
    known = list(known)
    near = suggest(given, known) or suggest(given, LATER_COMPONENT_TYPES)
    if near:
        return say("unknown component type `{type}`{near}", type=given, near=near)
    here = listing(f"`{name}`" for name in known)
    return say("unknown component type `{type}`; here: {known}", type=given, known=here)


def check_top(data: dict[str, Any]) -> Iterator[Fault]:
    """Unknown top-level keys, and a key that stands there in singular and plural at once."""
    for key in without_extensions(data):
        if key not in TOP_KEYS and key not in FOREIGN_TOP_KEYS:
            near = _meant(key, [*TOP_KEYS])
            yield Fault(say("unknown key `{key}` at the top{near}", key=key, near=near), (key,), in_key=True)
    for singular in ("component", "workflow", *FOREIGN_TOP_KEYS[::2]):
        yield from both(data, singular, ())


def check_controller(data: Any, *, is_flat: bool) -> Iterator[Fault]:
    """The mistakes of `controller`, after dialects.py; the settings of adapters that only the peer has are not checked.

    `is_flat`: its adapter's keys stand on it as the user wrote it.
    """
    path, place = ("controller",), say("the controller")
    also = Adapter.model_fields if is_flat else ()
    if isinstance(data, dict):
        adapters = {key: data[key] for key in ("adapter", "adapters") if key in data}
        data = {key: value for key, value in data.items() if key not in adapters or not _is_foreign(value)}
        yield from both(adapters, "adapter", path)
    yield from check(Controller, data, path, place, also=also)
    yield from _base_paths(data, path)


def _base_paths(data: Any, path: Path) -> Iterator[Fault]:
    """The mistakes of a `base_path`, which stands before the paths of the API."""
    adapters: dict[Path, Any] = {("adapter",): data.get("adapter")} if isinstance(data, dict) else {}
    several = data.get("adapters") if isinstance(data, dict) else None
    adapters |= {("adapters", at): one for at, one in enumerate(several if isinstance(several, list) else ())}
    for place, adapter in adapters.items():
        given = adapter.get("base_path") if isinstance(adapter, dict) else None
        if isinstance(given, str) and not _BASE_PATH.fullmatch(given):
            sentence = say(
                "`base_path` is a path such as `/api`, of letters, digits and `-`, not {value}", value=kind(given)
            )
            yield Fault(sentence, (*path, *place, "base_path"))


def hears_callbacks(listener: Any) -> bool:
    """Whether one of the document's listeners is of the type that `composemagic up` runs."""
    several = listener if isinstance(listener, list) else [listener]
    return any(isinstance(one, dict) and one.get("type") == "http-callback" for one in several)


def _is_foreign(adapter: Any) -> bool:
    if isinstance(adapter, list):
        return any(map(_is_foreign, adapter))
    return isinstance(adapter, dict) and adapter.get("type") in FOREIGN_ADAPTERS


def both(data: dict[str, Any], singular: str, path: Path) -> Iterator[Fault]:
    """The mistake of a key that stands in a mapping in singular and plural at once."""
    if singular in data and f"{singular}s" in data:
        sentence = say(
            "`{one}` and `{several}` are both given; write one of them", one=singular, several=f"{singular}s"
        )
        yield Fault(sentence, (*path, singular), in_key=True)


def component_of(kind: str) -> str:
    """How a sentence calls a component of a type."""
    return say("an {type} component", type=kind) if _is_vowel(kind) else say("a {type} component", type=kind)


def action_of(kind: str) -> str:
    """How a sentence calls an action of a component type."""
    return say("an {type} action", type=kind) if _is_vowel(kind) else say("a {type} action", type=kind)


def _is_vowel(word: str) -> bool:
    return word[:1] in ("a", "e", "i", "o", "u") or word.startswith(("http", "mcp"))


def without_extensions(data: dict[str, Any]) -> dict[str, Any]:
    """The mapping without its `x-...` keys, which are the user's own."""
    return {key: value for key, value in data.items() if not key.startswith("x-")}


def _faults(wanted: Any, value: Any, path: Path, place: str) -> Iterator[Fault]:
    """What is wrong with a key's value, by the key's annotation."""
    origin = get_origin(wanted)
    if origin in (Union, UnionType):
        if value is not None:
            kinds = get_args(wanted)
            short = Any in kinds and not isinstance(value, dict)  # such as `timeout: 5s`
            yield from _faults(Any if short else kinds[0], value, path, place)
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
    plain = get_origin(wanted) or next((one for one in _PLAIN if issubclass(wanted, one)), dict)
    if not _is(plain, value):
        yield Fault(_other(path[-1], plain, value), path)
    elif plain is list:
        for at, item in enumerate(value):
            yield from _faults(get_args(wanted)[0], item, (*path, at), place)


def _outside(wanted: type, limits: range, value: Any, path: Path) -> Iterator[Fault]:
    if not _is(wanted, value):
        yield Fault(_other(path[-1], wanted, value), path)
    elif int(value) not in limits:
        sentence = say(
            "`{key}` is a number from {low} to {high}, not {value}",
            key=path[-1],
            low=limits[0],
            high=limits[-1],
            value=value,
        )
        yield Fault(sentence, path)


def _unlisted(options: tuple[str, ...], value: Any, path: Path) -> Iterator[Fault]:
    if value not in options and not (isinstance(value, str) and "${" in value):
        near = suggest(str(value), options) or say("; it is one of {options}", options=listing(options))
        yield Fault(say("unknown `{key}` {value}{near}", key=path[-1], value=kind(value), near=near), path)


def _is(wanted: type, value: Any) -> bool:
    """Whether a value is of a type as YAML writers mean it: a quoted number is one, true is not."""
    if wanted in (int, float) and not isinstance(value, bool):
        try:
            return bool(wanted(value) == float(value))
        except (TypeError, ValueError, OverflowError):
            return False
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _other(key: object, wanted: type, value: Any) -> str:
    """The sentence for a value of another kind than its key takes."""
    if wanted is not bool:
        return say("`{key}` is {wanted}, this is {value}", key=key, wanted=_word(wanted), value=kind(value))
    mend = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}.get(
        str(value).lower()
    )
    if mend is None:
        return say("`{key}` is true or false, not {value}", key=key, value=kind(value))
    return say("`{key}` is true or false, not {value}; write `{mend}`", key=key, value=kind(value), mend=mend)


def kind(value: Any) -> str:
    """How a sentence calls a value that is wrong."""
    match value:
        case None:
            return say("empty")
        case bool():
            return "true" if value else "false"
        case dict():
            return say("a mapping")
        case list():
            return say("a list")
        case str():
            return f'"{value[:40]}"'
        case _:
            return str(value)
