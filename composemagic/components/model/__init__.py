"""`type: model`: a language model in a GGUF file, run by the embedded engine (llama.cpp: `pip install "composemagic[local]"`).

    components:
      - id: chat
        type: model
        task: chat-completion
        action:
          messages:
            - {role: user, content: "${input.question}"}
          streaming: true
          params: {temperature: 0.7, max_tokens: 200, stop: ["\\n\\n"], seed: 42}
      - id: embed
        type: model
        task: text-embedding
        action: {text: "${input.texts}"}

`task` is `chat-completion` (`messages`, or a `prompt` of the user's), `text-generation` (goes on from a `prompt` as it is) or
`text-embedding` (`text`). `driver` is `llamacpp`. `model` is a GGUF file in the folder of the document, or in composemagic's
cache; without it, the embedded SmolLM2-135M-Instruct, which is fetched once. No other model is fetched.

`result` is text, and `result[]` each piece of it: it streams with `streaming: true`, and where `output` reads `result[]`. A list
of prompts gives a list of texts. With `tools` a chat gives its whole message, `{role, content: [blocks]}`, whose blocks are
text and tool calls. An embedding is a list of floats of length 1 (`normalize: false`: as they come), of a list of texts a
list of such lists; `pooling` is last (what suits the embedded model), mean (what suits most others) or cls; a text has at
most 2,048 tokens.

The model runs in a process of its own that answers on this machine only. Workflows that want the same share it; it ends half
a minute after the last is gone, and when Python ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from composemagic.components.given import Given, flag, holds_template, whole_number
from composemagic.components.http_client import HttpClient
from composemagic.components.model.messages import from_openai, to_openai, tools_to_openai
from composemagic.components.model.params import no_pooling, params_of, wrong_params
from composemagic.components.together import together
from composemagic.errors import RunError
from composemagic.language.template import Template
from composemagic.local import files, serve
from composemagic.threads import DaemonThread
from composemagic.words import listing, say
from composemagic.workflow.component import Action, Component, Context, LocalAddress, Settings, SettingsModel, Value

__all__ = ["Model"]

_TIMEOUT = {"first": 600, "read": 600, "total": 3600}  # seconds: a long prompt on a slow machine
_AT_ONCE = 2  # prompts of a list; the engine has as many places
_BATCH = 32  # texts in one request
# the settings of an action that say what is to be answered, one of them for each task
_TASKS = {"chat-completion": ("messages", "prompt"), "text-generation": ("prompt",), "text-embedding": ("text",)}
_PEERS_DRIVERS = ("huggingface", "unsloth", "vllm", "custom")
_PEERS_TASKS = frozenset({
    "text-to-text", "text-classification", "vision-text-encoding", "text-reranking", "typed-decision", "image-to-text",
    "image-text-to-text", "image-generation", "image-embedding", "video-embedding", "image-text-scoring",
    "video-text-scoring", "image-upscaling", "image-background-removal", "image-segmentation", "depth-estimation",
    "image-edge-detection", "text-to-video", "image-to-video", "video-to-video", "image-to-3d", "talking-head", "lip-sync",
    "object-detection", "object-tracking", "shot-boundary-detection", "face-detection", "face-embedding", "face-tracking",
    "face-swap", "face-emotion-classification", "pose-detection", "pose-tracking", "text-to-speech", "speech-to-text",
    "audio-text-alignment", "voice-activity-detection", "speaker-diarization", "music-generation", "motion-generation",
    "music-source-separation", "music-transcription", "music-beat-tracking", "music-pitch-estimation", "music-embedding",
    "voice-embedding", "translation", "summarization",
})  # fmt: skip
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+")  # a name of the Hugging Face Hub
# model-compose's, for its other drivers
_UNUSED_SETTINGS = (
    "device", "device_mode", "precision", "quantization", "low_cpu_mem_usage", "preload", "on_demand", "runtime_spec",
    "fast_tokenizer", "max_seq_length", "options", "context_length", "n_batch",
)  # fmt: skip


class File(Settings):
    """`path`: the GGUF file."""

    path: str
    provider: Literal["local"] | None = None
    format: Literal["gguf"] | None = None


class ModelSettings(Settings):
    """`task`: what the model is for; `driver`: what runs it, `llamacpp`; `model`: a GGUF file, the embedded model without it;
    `chat_template`: a Jinja template in place of the file's own."""

    task: str
    driver: str | None = None
    model: Any = None
    chat_template: str | None = None
    device: Any = None
    device_mode: Any = None
    precision: Any = None
    quantization: Any = None
    low_cpu_mem_usage: Any = None
    preload: Any = None
    on_demand: Any = None
    runtime_spec: Any = None
    fast_tokenizer: Any = None
    max_seq_length: Any = None
    options: Any = None
    context_length: Any = None
    n_batch: Any = None


class ModelAction(Settings):
    """`messages`: of a chat; `prompt`: a text, or a list of texts; `text`: what is embedded, one or a list; `tools`: what a
    chat may call; `streaming`: give the text piece by piece; `params`: how it is written (temperature, max_tokens, stop ...)."""

    messages: Any = None
    prompt: Any = None
    text: Any = None
    tools: Any = None
    streaming: Any = None
    params: dict[str, Any] | None = None
    max_output_length: Any = None
    stop_sequences: Any = None
    batch_size: Any = None
    max_input_length: Any = None
    min_output_length: Any = None


class Model(Component):
    """Runs a language model on this machine. Source for `output`: `result`, and `result[]` for each piece of text."""

    type: ClassVar[str] = "model"
    text_fields: ClassVar[frozenset[str]] = frozenset({"chat_template"})
    settings: ClassVar[SettingsModel] = ModelSettings
    action: ClassVar[SettingsModel] = ModelAction

    def __init__(self) -> None:
        self._client = HttpClient()

    @classmethod
    def not_run(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> str | None:
        """The peer's other tasks and drivers, and the models it fetches."""
        task, driver, model = (settings.get(key) for key in ("task", "driver", "model"))
        if isinstance(task, str) and task in _PEERS_TASKS:
            return _no_task(task)
        if driver in _PEERS_DRIVERS:
            return _no_driver(driver)
        name = model.get("repository") or model.get("path") if isinstance(model, Mapping) else model
        is_fetched = isinstance(model, Mapping) and (model.get("provider") or "local") != "local"
        is_named = isinstance(name, str) and _REPOSITORY.fullmatch(name) and not name.lower().endswith(".gguf")
        return _not_a_file(str(name)) if is_fetched or is_named else None

    @classmethod
    def faults(cls, settings: Mapping[str, Any], action: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
        task, driver = str(settings.get("task")), settings.get("driver")
        if task not in _TASKS and "task" in settings:
            yield _no_task(task), "task"
        if driver not in (None, "llamacpp"):
            yield _no_driver(driver), "driver"
        wanted = _TASKS.get(task)
        if wanted and sum(key in action for key in wanted) != 1:
            keys = say("`messages` or `prompt`") if len(wanted) > 1 else f"`{wanted[0]}`"
            yield say("an action of the task {task} needs {keys}", task=task, keys=keys), None
        for key in ("messages", "prompt", "text", "tools"):
            if wanted and key in action and key not in (*wanted, *(["tools"] if task == "chat-completion" else [])):
                yield say("`{key}` is not for the task {task}", key=key, task=task), key, True
        params = action.get("params")
        yield from wrong_params(params if isinstance(params, dict) else {}, embeds=task == "text-embedding")
        model = settings.get("model")
        if (
            isinstance(model, str)
            and not model.lower().endswith(".gguf")
            and not holds_template(model)
            and model != _EMBEDDED
        ):
            yield _not_a_file(model), "model"

    async def run(self, action: Action, context: Context) -> AsyncGenerator[Any, None]:
        """Run the model and yield one Value, or pieces of text. Raises RunError."""
        given = Given(action, context)
        task = await given.get("task")
        _tell_unused(action, context)
        params = await params_of(given)
        server = await self._served(given, task, params.pop("pooling", None), context)
        context.answered_by(server.name, local=True)
        engine = _Engine(self._client, server, action, context)
        if task == "text-embedding":
            yield Value(
                await _embedded(
                    engine, await given.get("text"), params, await given.get("batch_size", whole_number(1), _BATCH)
                )
            )
            return
        bodies = await _bodies(task, given, params)
        streams = await given.get("streaming", flag, action.per_chunk)
        if streams and len(bodies) == 1 and "tools" not in bodies[0]:
            async with aclosing(engine.pieces(_path(task), bodies[0])) as pieces:
                async for piece in pieces:
                    yield piece
            return
        answers = await _all(engine, task, bodies)
        yield Value(answers if isinstance(await given.get("prompt"), list) else answers[0])

    async def _served(self, given: Given, task: str, pooling: str | None, context: Context) -> LocalAddress:
        """The running model that the settings name; started on a thread, since it takes seconds."""
        if context.is_offline:
            return await context.local_model()
        name = await given.get("model")
        name = name.get("path") if isinstance(name, dict) else name
        template = await given.get("chat_template", default="")
        path = files.file_of(None if name in (None, _EMBEDDED) else str(name), lambda text: Path(context.file(text)))
        if task == "text-embedding":
            # measured: of a model that writes, only the last token has seen the whole text; its mean does not even tell a
            # cat from interest rates. Models made to embed are made for the mean.
            pooling = pooling or ("last" if path is None else "mean")
            if pooling not in serve.POOLINGS:
                raise RunError("input", no_pooling(pooling))
        wanted = files.Wanted(path, pooling or "", str(template))
        loop = asyncio.get_running_loop()
        thread = DaemonThread("model")
        try:
            found = await thread.do(lambda: files.served(wanted, self, lambda line: _note(loop, context, line)))
        finally:
            thread.end()
        context.lives_at(found.url)
        return found


_EMBEDDED = "SmolLM2-135M-Instruct"


class _Engine:
    """The running model, spoken to in OpenAI's protocol by the http-client."""

    def __init__(self, client: HttpClient, server: LocalAddress, action: Action, context: Context) -> None:
        self._client = client
        self._server = server
        self._action = action
        self._context = _OwnAddress(context)

    async def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """The whole answer to a request."""
        async with aclosing(self._sent(path, body)) as answers:
            answer = await anext(answers)
            return answer.value if isinstance(answer, Value) else answer[0]

    async def pieces(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        """The text of a streamed answer, piece by piece."""
        async with aclosing(self._sent(path, {**body, "stream": True}, stream_format="json")) as answers:
            async for answer in answers:
                for chunk in [answer.value] if isinstance(answer, Value) else answer:
                    if text := _text(chunk, "delta"):
                        yield text

    def _sent(self, path: str, body: Mapping[str, Any], **more: Any) -> AsyncGenerator[Any, None]:
        # llama.cpp closes idle connections without saying so: a kept one may be gone when the next request takes it
        headers = {"authorization": f"Bearer {self._server.key}", "connection": "close"}
        fields = {
            "endpoint": f"{self._server.url}/{path}", "headers": headers, "timeout": _TIMEOUT,
            "body": {"model": self._server.name, **body}, **more,
        }  # fmt: skip
        constants = {key: Template(_giving(value), ()) for key, value in fields.items()}
        request = replace(
            self._action, component=cast("Component", self._client), fields=constants, settings={}, output=None
        )
        return self._client.run(request, self._context)


class _OwnAddress:
    """A context whose requests go to the address they name: that is an embedded model already."""

    wants_local = False

    def __init__(self, context: Context) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _giving(value: Any) -> Any:
    return lambda scope: value


# -- requests ------------------------------------------------------------------------------------------------------------


def _path(task: str) -> str:
    return "chat/completions" if task == "chat-completion" else "completions"


async def _bodies(task: str, given: Given, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The body of each request: one, or one for each of a list of prompts."""
    prompt = await given.get("prompt")
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if task == "text-generation":
        return [{**params, "prompt": _needed(one, "prompt")} for one in prompts]
    tools = await given.get("tools")
    more = {} if tools is None else {"tools": tools_to_openai(tools)}
    messages = await given.get("messages")
    several = [messages] if messages is not None else prompts
    return [{**params, **more, "messages": to_openai(_needed(one, "messages"))} for one in several]


def _needed(value: Any, key: str) -> Any:
    if value in (None, "", []):
        raise RunError("input", say("`{key}` is empty", key=key))
    return value


async def _all(engine: _Engine, task: str, bodies: list[dict[str, Any]]) -> list[Any]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def answer(body: dict[str, Any]) -> Any:
        async with places:
            found = await engine.ask(_path(task), body)
        if "tools" in body:
            return from_openai(found["choices"][0].get("message") or {})
        return _text(found, "message")

    return await together(answer(body) for body in bodies)


async def _embedded(engine: _Engine, texts: Any, params: Mapping[str, Any], batch: int) -> Any:
    """The vector of a text, or the vectors of a list of texts."""
    several = texts if isinstance(texts, list) else [texts]
    for one in several:
        if not isinstance(one, str) or not one.strip():
            raise RunError("input", say("`text` is a text or a list of texts, none of them empty"))
    vectors: list[Any] = []
    for start in range(0, len(several), batch):
        body: dict[str, Any] = {"input": several[start : start + batch], "encoding_format": "float"}
        if params.get("normalize") is False:
            body["embd_normalize"] = -1
        try:
            found = await engine.ask("embeddings", body)
        except RunError as error:
            raise _too_long(error) from None
        vectors += [one["embedding"] for one in sorted(found["data"], key=lambda one: one["index"])]
    return vectors if isinstance(texts, list) else vectors[0]


def _too_long(error: RunError) -> RunError:
    if "too large to process" not in error.sentence and "exceed" not in error.sentence:
        return error
    sentence = say("a text to be embedded has more than {count} tokens; split it first", count=serve.EMBEDDED_TOKENS)
    return RunError("input", sentence)


def _text(answer: Any, part: str) -> str:
    """The text in an answer or a chunk of either path; in a chat, that of its message or its delta."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    first = choices[0] if choices else {}
    return str((first.get(part) or {}).get("content") or first.get("text") or "")


# -- what is not run here ------------------------------------------------------------------------------------------------


def _no_task(task: Any) -> str:
    tasks = listing(_TASKS)
    return say("composemagic runs models for the tasks {tasks}, not for `{task}`", tasks=tasks, task=task)


def _no_driver(driver: Any) -> str:
    return say(
        "composemagic runs models with `driver: llamacpp`, not `{driver}`; a model server is asked with an http-client",
        driver=driver,
    )


def _not_a_file(name: str) -> str:
    return say(
        "composemagic fetches no model `{name}`: `model` is a GGUF file in the workflow's folder, or nothing for the embedded model",
        name=name,
    )


def _tell_unused(action: Action, context: Context) -> None:
    for key in _UNUSED_SETTINGS:
        if key in action.settings:
            context.note(say("`{key}` is accepted and not used by composemagic", key=key))


def _note(loop: asyncio.AbstractEventLoop, context: Context, line: str) -> None:
    """Tell on the loop what a thread says; a loop that is closed by now has no one left to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(context.note, line)
