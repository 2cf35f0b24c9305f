"""`type: model`: what is asked of the engine, and what becomes of its answers; with the real model behind it, and without."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import composemagic
from composemagic import Answered, DocumentError, Notice, Run, RunError
from composemagic.components import model as component
from composemagic.components.model.messages import from_openai, to_openai, tools_to_openai
from composemagic.errors import ModelError
from composemagic.local import files, serve, weights
from composemagic.local.files import Wanted

TOOLS = [{"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {}}}]


def text(task: str, action: str, *, more: str = "") -> str:
    return f"component:\n  type: model\n  task: {task}\n{more}  action:\n    {action}\n"


# -- without a model: what is asked and what is made of the answer


class Engine:
    """Plays the engine: remembers what it is asked and answers in its way."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.wanted: list[Wanted] = []
        self.message: dict[str, Any] = {"role": "assistant", "content": "Hello there"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.headers["authorization"] == "Bearer local-key"
        assert request.headers["connection"] == "close"
        self.bodies.append(body)
        self.paths.append(request.url.path)
        if body.get("stream"):
            return self.streamed(request.url.path)
        if request.url.path.endswith("/embeddings"):
            data = [{"index": at, "embedding": [float(at), float(len(one))]} for at, one in enumerate(body["input"])]
            return httpx.Response(200, json={"data": data[::-1], "usage": {"prompt_tokens": 3}})
        choice = {"message": self.message} if "messages" in body else {"text": f" after {body['prompt']}"}
        return httpx.Response(200, json={"choices": [{**choice, "finish_reason": "stop"}], "model": "tiny"})

    def streamed(self, path: str) -> httpx.Response:
        pieces = ["Hel", "", "lo"]
        made = [{"delta": {"content": piece}} if "chat" in path else {"text": piece} for piece in pieces]
        made[-1]["finish_reason"] = "stop"
        lines = "".join(f"data: {json.dumps({'choices': [one]})}\n\n" for one in made)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=lines + "data: [DONE]\n\n")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = Engine()

    def served(wanted: Wanted, owner: object, progress: Callable[[str], None]) -> Any:
        found.wanted.append(wanted)
        progress("loading")
        return SimpleNamespace(url="http://127.0.0.1:9/v1", key="local-key", name="tiny")

    monkeypatch.setattr(files, "served", served)
    return found


def ran(engine: Engine, yaml: str, value: Any = None, **how: Any) -> Run:
    run = composemagic.load(yaml, transport=httpx.MockTransport(engine), **how).start(value or {})
    assert run.wait(60)
    return run


def output(engine: Engine, yaml: str, value: Any = None, **how: Any) -> Any:
    run = ran(engine, yaml, value, **how)
    assert run.error is None, run.error
    return run.output


def test_a_chat_gives_its_text(engine: Engine) -> None:
    run = ran(engine, text("chat-completion", "messages: [{role: user, content: '${input.q}'}]"), {"q": "Hi"})
    assert run.output == "Hello there"
    assert engine.paths == ["/v1/chat/completions"]
    assert engine.bodies == [{"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}]
    assert engine.wanted == [Wanted()]
    assert [event for event in run.events if isinstance(event, Answered)] == [Answered("tiny", True)]
    assert "loading" in [event.sentence for event in run.events if isinstance(event, Notice)]


def test_a_prompt_is_a_chat_of_one_message(engine: Engine) -> None:
    assert output(engine, text("chat-completion", "prompt: Hi")) == "Hello there"
    assert engine.bodies[0]["messages"] == [{"role": "user", "content": "Hi"}]


def test_generation_goes_on_from_a_prompt(engine: Engine) -> None:
    assert output(engine, text("text-generation", "prompt: Once")) == " after Once"
    assert engine.paths == ["/v1/completions"]
    assert engine.bodies == [{"model": "tiny", "prompt": "Once"}]


@pytest.mark.parametrize("task", ["chat-completion", "text-generation"])
@pytest.mark.parametrize("how", ["streaming: true", "streaming: '${input.yes}'", "output: '${result[]}'"])
def test_text_streams_piece_by_piece(engine: Engine, task: str, how: str) -> None:
    run = ran(engine, text(task, f"prompt: Hi\n    {how}"), {"yes": "yes"})
    assert (run.output, run.timing.deltas) == ("Hello", 2)
    assert engine.bodies[0]["stream"] is True


def test_a_list_of_prompts_gives_a_list(engine: Engine) -> None:
    assert output(engine, text("text-generation", "prompt: [a, b, c]")) == [" after a", " after b", " after c"]
    assert output(engine, text("text-generation", "prompt: [a]")) == [" after a"]


def test_the_output_reads_the_result(engine: Engine) -> None:
    assert output(engine, text("chat-completion", "prompt: Hi\n    output: {said: '${result}'}")) == {
        "said": "Hello there"
    }


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        ("temperature: 0.2, top_p: 0.5, top_k: 4, min_p: 0.1, seed: 7", {"temperature": 0.2, "top_p": 0.5, "top_k": 4, "min_p": 0.1, "seed": 7}),
        ("max_tokens: 5, stop: [a, b]", {"max_tokens": 5, "stop": ["a", "b"]}),
        ("max_output_length: 5, stop_sequences: [a]", {"max_tokens": 5, "stop": ["a"]}),
        ("do_sample: false", {"temperature": 0}),
        ("temperature: null, num_beams: 4", {}),
        ("temperature: '${input.t as number}'", {"temperature": 0.9}),
    ],
)  # fmt: skip
def test_params_go_out_under_the_protocols_names(engine: Engine, params: str, sent: dict[str, Any]) -> None:
    output(engine, text("text-generation", f"prompt: x\n    params: {{{params}}}"), {"t": "0.9"})
    assert engine.bodies == [{"model": "tiny", "prompt": "x", **sent}]


def test_lengths_beside_the_params_count_too(engine: Engine) -> None:
    output(engine, text("text-generation", "prompt: x\n    max_output_length: 9\n    stop_sequences: ['.']"))
    assert engine.bodies[0] == {"model": "tiny", "prompt": "x", "max_tokens": 9, "stop": ["."]}


def test_with_tools_a_chat_gives_its_message(engine: Engine) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    engine.message = {"role": "assistant", "content": None, "tool_calls": [call]}
    found = output(
        engine,
        text("chat-completion", "prompt: Rome?\n    tools: '${input.tools}'\n    streaming: true"),
        {"tools": TOOLS},
    )
    block = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Rome"}}
    assert found == {"role": "assistant", "content": [block]}
    assert engine.bodies[0]["tools"] == [{"type": "function", "function": TOOLS[0]}]


def test_a_text_becomes_a_vector_and_a_list_becomes_vectors(engine: Engine) -> None:
    assert output(engine, text("text-embedding", "text: abc")) == [0.0, 3.0]
    assert output(engine, text("text-embedding", "text: [abc]")) == [[0.0, 3.0]]
    assert output(engine, text("text-embedding", "text: '${input.texts}'"), {"texts": ["a", "bb", "ccc"]}) == [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]  # fmt: skip
    assert engine.wanted[0] == Wanted(None, "last")


def test_many_texts_go_out_in_batches(engine: Engine) -> None:
    vectors = output(
        engine, text("text-embedding", "text: '${input.texts}'"), {"texts": ["a" * at for at in range(1, 71)]}
    )
    assert [one[1] for one in vectors] == [float(at) for at in range(1, 71)]
    assert [len(body["input"]) for body in engine.bodies] == [32, 32, 6]
    output(engine, text("text-embedding", "text: [a, b, c]\n    batch_size: 2"))
    assert [len(body["input"]) for body in engine.bodies[3:]] == [2, 1]


def test_pooling_and_normalize(engine: Engine) -> None:
    output(engine, text("text-embedding", "text: a\n    params: {pooling: cls, normalize: false}"))
    assert engine.wanted == [Wanted(None, "cls")]
    assert engine.bodies[0]["embd_normalize"] == -1


@pytest.mark.parametrize(
    ("task", "action", "expected"),
    [
        ("text-embedding", "text: ''", "`text` is a text or a list of texts, none of them empty"),
        ("text-embedding", "text: [a, ' ']", "`text` is a text or a list of texts, none of them empty"),
        ("text-embedding", "text: '${input.none}'", "`text` is a text or a list of texts, none of them empty"),
        (
            "text-embedding",
            "text: a\n    params: {pooling: '${input.none | max}'}",
            "`pooling` is one of mean, cls, last, not max",
        ),
        ("text-embedding", "text: {a: 1}", "`text` is a text or a list of texts, none of them empty"),
        ("chat-completion", "prompt: '${input.none}'", "`messages` is empty"),
        ("chat-completion", "messages: [{content: x}]", "a message has a `role` and a `content`"),
        ("chat-completion", "messages: [{role: user, content: [{type: image}]}]", "not a block of type `image`"),
        ("chat-completion", "prompt: a\n    tools: weather", "`tools` is a list of tools"),
        ("text-generation", "prompt: ''", "`prompt` is empty"),
    ],
)
def test_inputs_that_are_none_are_one_sentence(engine: Engine, task: str, action: str, expected: str) -> None:
    run = ran(engine, text(task, action))
    assert run.error is not None
    assert expected in run.error.sentence
    assert engine.bodies == []


def test_a_text_that_is_too_long_for_the_model(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"error": {"code": 500, "message": "input (3001 tokens) is too large to process.", "type": "server_error"}}
    transport = httpx.MockTransport(lambda request: httpx.Response(400, json=words))
    run = composemagic.load(text("text-embedding", "text: a"), transport=transport).start({})
    assert run.wait(60)
    assert run.error is not None
    assert run.error.sentence == "a text to be embedded has more than 2048 tokens; split it first"


def test_it_asks_its_own_model_under_local_too(engine: Engine) -> None:
    assert output(engine, text("chat-completion", "prompt: Hi"), local=True) == "Hello there"


def test_what_other_drivers_know_is_accepted_with_a_note(engine: Engine) -> None:
    run = ran(engine, text("text-generation", "prompt: x", more="  device: cuda\n  precision: float16\n"))
    sentences = [event.sentence for event in run.events if isinstance(event, Notice)]
    assert "`device` is accepted and not used by composemagic" in sentences
    assert "`precision` is accepted and not used by composemagic" in sentences


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("task: poetry", "composemagic runs models for the tasks chat-completion, text-generation, text-embedding, not for `poetry`"),
        ("task: chat-completion\n  driver: mine", "composemagic runs models with `driver: llamacpp`, not `mine`"),
        ("task: chat-completion\n  modle: x.gguf", "unknown key `modle` in a model component; did you mean `model`?"),
        ("task: chat-completion\n  action: {text: x}", "an action of the task chat-completion needs `messages` or `prompt`"),
        ("task: chat-completion\n  action: {prompt: x, messages: []}", "an action of the task chat-completion needs `messages` or `prompt`"),
        ("task: text-generation\n  action: {prompt: x, tools: []}", "`tools` is not for the task text-generation"),
        ("task: text-embedding\n  action: {prompt: x}", "an action of the task text-embedding needs `text`"),
        ("task: text-embedding\n  action: {text: x, params: {temperature: 1}}", "unknown key `temperature` in `params`"),
        ("task: text-embedding\n  action: {text: x, params: {pooling: max}}", "`pooling` is one of mean, cls, last, not max"),
        ("task: text-generation\n  action: {prompt: x, params: {temprature: 1}}", "unknown key `temprature` in `params`; did you mean `temperature`?"),
        ("driver: llamacpp", "a model component needs `task`"),
        ("task: image-generatoin", "composemagic runs models for the tasks chat-completion, text-generation, text-embedding, not for `image-generatoin`"),
        ("task: chat-completion\n  driver: vlm", "composemagic runs models with `driver: llamacpp`, not `vlm`"),
        ("task: chat-completion\n  model: SmolLM3", "composemagic fetches no model `SmolLM3`"),
    ],
)  # fmt: skip
def test_mistakes_are_found_when_the_document_is_loaded(lines: str, expected: str) -> None:
    if "action" not in lines:
        lines += "\n  action: {prompt: x}"
    with pytest.raises(DocumentError) as caught:
        composemagic.load(f"component:\n  type: model\n  {lines}\n")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("task: image-generation", "composemagic runs models for the tasks chat-completion, text-generation, text-embedding, not for `image-generation`"),
        ("task: chat-completion\n  driver: vllm", "composemagic runs models with `driver: llamacpp`, not `vllm`"),
        ("task: chat-completion\n  model: HuggingFaceTB/SmolLM3-3B", "composemagic fetches no model `HuggingFaceTB/SmolLM3-3B`"),
    ],
)  # fmt: skip
def test_what_only_model_compose_runs_loads_and_says_so_in_the_run(engine: Engine, lines: str, expected: str) -> None:
    run = ran(engine, f"component:\n  type: model\n  {lines}\n  action: {{prompt: x}}\n")
    assert run.error is not None
    assert expected in run.error.sentence
    assert engine.wanted == []


# -- messages


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Hi", [{"role": "user", "content": "Hi"}]),
        ({"role": "user", "content": "Hi"}, [{"role": "user", "content": "Hi"}]),
        ([{"role": "assistant", "content": None}], [{"role": "assistant", "content": ""}]),
        ([{"role": "user", "content": {"a": 1}}], [{"role": "user", "content": '{"a": 1}'}]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}],
            [{"role": "user", "content": "a\nb"}],
        ),
        (
            [{"role": "assistant", "content": [{"type": "tool_call", "id": "1", "name": "f", "arguments": {"x": 1}}]}],
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
                }
            ],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "id": "1", "content": [{"type": "text", "text": "21"}]}],
                }
            ],
            [{"role": "tool", "tool_call_id": "1", "content": "21"}],
        ),
        (
            [{"role": "tool", "content": [{"type": "tool_result", "tool_call_id": "1", "content": {"a": 2}}]}],
            [{"role": "tool", "tool_call_id": "1", "content": '{"a": 2}'}],
        ),
        (
            [{"role": "tool", "tool_call_id": "1", "content": "x"}],
            [{"role": "tool", "tool_call_id": "1", "content": "x"}],
        ),
    ],
)
def test_messages_for_the_protocol(given: Any, expected: Any) -> None:
    assert to_openai(given) == expected


def test_tools_in_either_shape() -> None:
    own = {"type": "function", "function": {"name": "f"}}
    assert tools_to_openai([TOOLS[0], own]) == [{"type": "function", "function": TOOLS[0]}, own]


def test_messages_from_the_protocol() -> None:
    message = {"content": "I look.", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{broken"}}]}
    assert from_openai(message) == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_call", "id": "1", "name": "f", "arguments": "{broken"},
        ],
    }
    assert from_openai({"content": ""}) == {"role": "assistant", "content": []}


# -- which file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMPOSEMAGIC_HOME", str(tmp_path / "home"))
    folder = weights.cached().parent
    folder.mkdir(parents=True)
    return folder


def below(folder: Path) -> Callable[[str], Path]:
    return lambda name: folder / name


def test_a_file_of_the_folder_or_of_the_cache(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "own.gguf").write_bytes(b"GGUF1")
    (cache / "cached.gguf").write_bytes(b"GGUF2")
    assert files.file_of("own.gguf", below(tmp_path)) == tmp_path / "own.gguf"
    assert files.file_of("cached.gguf", below(tmp_path)) == cache / "cached.gguf"
    assert files.file_of(str(cache / "cached.gguf"), below(tmp_path)) == cache / "cached.gguf"
    assert files.file_of(None, below(tmp_path)) is None
    assert files.file_of(weights.NAME, below(tmp_path)) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("no.gguf", "there is no model file `no.gguf`"), ("text.gguf", "`text.gguf` is not a GGUF file")],
)
def test_a_file_that_is_none(tmp_path: Path, cache: Path, name: str, expected: str) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ModelError, match=expected):
        files.file_of(name, below(tmp_path))


def test_a_file_outside_the_folder_is_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "own.gguf").write_bytes(b"GGUF")
    document = tmp_path / "docs" / "model-compose.yml"
    document.write_text(text("text-generation", "prompt: x", more="  model: ../own.gguf\n"))
    with pytest.raises(RunError, match="outside"):
        composemagic.load(document)()


# -- with the real model


@pytest.fixture
def ended() -> Iterator[None]:
    """What these tests start of their own ends with them."""
    yield
    files._stop_all()
    files._models.clear()


@pytest.mark.model
def test_the_embedded_model_answers(ended: None) -> None:
    run = composemagic.load(
        text("chat-completion", "prompt: Capital of France?\n    params: {temperature: 0, max_tokens: 20}")
    )()
    assert run.status == "done"
    assert run.text
    assert run.model == "SmolLM2-135M-Instruct (embedded)"
    assert run.is_local


@pytest.mark.model
def test_the_embedded_model_streams_and_stops(ended: None) -> None:
    workflow = composemagic.load(
        text(
            "text-generation",
            "prompt: Once upon a time\n    streaming: true\n    params: {max_tokens: 1000, temperature: 0}",
        )
    )
    run = workflow.start({})
    for event in run:
        if isinstance(event, composemagic.Delta):
            run.cancel()
            break
    assert run.wait(60)
    assert (run.status, bool(run.text)) == ("stopped", True)


@pytest.mark.model
def test_the_embedded_model_embeds(ended: None) -> None:
    texts = ["The cat sits on the mat.", "A kitten is lying on a rug.", "Interest rates rose by two percent."]
    vectors = composemagic.load(text("text-embedding", "text: '${input.texts}'")).start({"texts": texts}).result(120)
    assert {len(vector) for vector in vectors} == {576}
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-3 for vector in vectors)

    def near(one: list[float], other: list[float]) -> float:
        return sum(x * y for x, y in zip(one, other, strict=True))

    assert near(vectors[0], vectors[1]) > near(vectors[0], vectors[2]), "what is alike is near"
    alone = composemagic.load(text("text-embedding", "text: '${input.text}'")).start({"text": texts[0]}).result(120)
    assert near(alone, vectors[0]) > 0.99


@pytest.mark.model
def test_a_text_too_long_for_the_real_one(ended: None) -> None:
    run = composemagic.load(text("text-embedding", "text: '${input.text}'")).start({"text": "word " * 3000})
    assert run.wait(120)
    assert run.error is not None
    assert run.error.sentence == "a text to be embedded has more than 2048 tokens; split it first"


@pytest.mark.model
def test_a_gguf_file_of_ones_own_ends_with_its_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: None
) -> None:
    monkeypatch.setattr(files, "GRACE_SECONDS", 0.05)
    (tmp_path / "own.gguf").symlink_to(weights.ensure(print))
    monkeypatch.setattr(Path, "resolve", Path.absolute)  # the test's own link must pass for a file
    document = tmp_path / "model-compose.yml"
    document.write_text(
        text("text-generation", "prompt: One two three\n    params: {max_tokens: 3}", more="  model: own.gguf\n")
    )
    workflow = composemagic.load(document)
    run = workflow()
    assert (run.status, run.model) == ("done", "own")
    (owned,) = files._models.values()
    assert owned.model.running
    del workflow, run
    end = time.monotonic() + 30
    while owned.model.running:
        gc.collect()
        assert time.monotonic() < end
        time.sleep(0.02)  # between two looks at the condition


@pytest.mark.model
def test_the_examples_run(tmp_path: Path, ended: None) -> None:
    example = "\n".join(line[4:] for line in (component.__doc__ or "").split("\n\n")[1].splitlines())
    jobs = "workflows: [{id: ask, job: {component: chat}}, {id: vectors, job: {component: embed}}]\n"
    assert composemagic.load(example + "\n" + jobs, "ask")(question="Who are you?").text
    assert len(composemagic.load(example + "\n" + jobs, "vectors").start({"texts": ["a", "b"]}).result(120)) == 2


def test_the_poolings_are_the_engines() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    assert all(hasattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{name.upper()}") for name in serve.POOLINGS)
