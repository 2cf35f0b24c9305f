"""`--local`: OpenAI-style requests of any workflow go to the embedded model, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

import composemagic
from composemagic import Answered, Notice

SEED = (Path(__file__).parent / "data" / "seed.yml").read_text(encoding="utf-8")
STREAM = b'data: {"model":"tiny","choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """The requests that go out; a model named `tiny` is there, and no key is set."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(
        "composemagic.local.serve.shared",
        lambda progress: SimpleNamespace(url="http://127.0.0.1:9/v1", key="local-key", name="tiny"),
    )
    return []


def answering(sent: list[httpx.Request]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=STREAM)

    return httpx.MockTransport(answer)


def test_the_seed_goes_to_the_embedded_model_without_a_key(sent: list[httpx.Request]) -> None:
    run = composemagic.load(SEED, transport=answering(sent), local=True).run(prompt="Hello")
    (request,) = sent
    body = json.loads(request.content)
    assert str(request.url) == "http://127.0.0.1:9/v1/chat/completions"
    assert (run.text, run.model, run.is_local, run.instead_of) == ("Hi", "tiny", True, "gpt-4o")
    assert (body["model"], body["stream"], body["temperature"]) == ("tiny", True, 0.7)
    assert body["messages"] == [{"role": "user", "content": "Hello"}]


def test_no_key_of_the_users_is_sent_there(sent: list[httpx.Request]) -> None:
    workflow = composemagic.load(SEED, transport=answering(sent), env={"OPENAI_API_KEY": "sk-of-the-user-0123456789"})
    workflow.run(prompt="Hello", local=True)
    (request,) = sent
    assert request.headers["authorization"] == "Bearer local-key"
    assert "sk-of-the-user" not in f"{request.headers} {request.url} {request.content!r}"


def test_each_request_has_a_connection_of_its_own(sent: list[httpx.Request]) -> None:
    """llama.cpp closes idle connections without a word: one that was kept failed 1 request in 40."""
    composemagic.load(SEED, transport=answering(sent), local=True).run(prompt="Hello")
    assert sent[0].headers["connection"] == "close"


def test_it_is_said_which_model_answers(sent: list[httpx.Request]) -> None:
    run = composemagic.load(SEED, transport=answering(sent), local=True).run(prompt="Hello")
    assert [event for event in run if isinstance(event, Answered)] == [Answered("tiny", True, "gpt-4o")]


def test_another_request_goes_to_its_own_address_and_says_so(sent: list[httpx.Request]) -> None:
    other = "component: {type: http-client, action: {endpoint: 'http://127.0.0.1:8/other', output: '${response[]}'}}"
    run = composemagic.load(other, transport=answering(sent), local=True).run()
    assert str(sent[0].url) == "http://127.0.0.1:8/other"
    notes = [event.sentence for event in run if isinstance(event, Notice)]
    assert any("`--local` serves OpenAI-style chat requests" in note for note in notes)
    assert run.is_local is False


def test_without_local_the_missing_key_is_named_with_both_ways_out(sent: list[httpx.Request]) -> None:
    with pytest.raises(composemagic.RunError) as caught:
        composemagic.load(SEED, transport=answering(sent)).run(prompt="Hello")
    assert caught.value.kind == "missing_variable"
    assert "`.env`" in caught.value.sentence
    assert "`--local`" in caught.value.sentence
    assert sent == []
