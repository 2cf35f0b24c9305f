"""What a run would send, worked out without sending it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import composemagic
from composemagic.engine.loop import private_loop
from composemagic.explaining import Explanation
from tests.conftest import ROOT

SEED = (ROOT / "tests/data/seed.yml").read_text(encoding="utf-8")
KEY = "sk-canary0123456789abcdefABCDEF"
STEPS = """
workflow:
  jobs:
    - {id: ask, component: chat, input: {q: '${input.q as text}'}}
    - {id: shout, component: loud, input: {text: '${jobs.ask.output}'}}
    - {id: note, component: say}
    - {id: files, component: sh}
    - {id: pick, type: if, input: '${input.q}', operator: eq, value: x, if_true: yes, if_false: no}
    - {id: 'yes', component: say}
    - {id: 'no', component: say}
components:
  - {id: chat, type: http-client, action: {endpoint: 'http://127.0.0.1:9/ask', body: {q: '${input.q}'}}}
  - {id: loud, type: http-client, action: {endpoint: 'http://127.0.0.1:9/shout', body: {t: '${input.text}'}}}
  - {id: say, type: echo, text: hi}
  - {id: sh, type: shell, action: {command: [touch, touched]}}
"""


def explained(yaml: str, **values: Any) -> Explanation:
    found: Explanation = composemagic.load(
        yaml.replace("if_true: yes, if_false: no", "if_true: 'yes', if_false: 'no'")
    ).explain(**values)
    return found


def test_the_request_of_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = explained(SEED, prompt="Hello")
    [request] = found.exchanges
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/chat/completions")
    assert dict(request.headers)["authorization"] == "Bearer ***"
    assert request.body["messages"][-1] == {"role": "user", "content": "Hello"}
    assert (request.body["temperature"], request.body["stream"]) == (0.7, True)
    text = str(found)
    assert text.startswith("POST https://api.openai.com/v1/chat/completions\n")
    assert '"content": "Hello"' in text and KEY not in text


def test_without_a_key_and_without_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = explained(SEED)
    assert found.exchanges[0].body["messages"][-1]["content"] == "<prompt>"
    assert found.assumed == ("prompt",)
    assert "`prompt`" in str(found).splitlines()[-1]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("${input.n as integer}", 0),
        ("${input.n as number}", 0),
        ("${input.n as boolean}", False),
        ("${input.n as select/a,b}", "a"),
        ("${input.n as slider/2,9,1}", 2),
        ("${input.n as list}", ["<n>"]),
        ("${input.n as object}", {}),
        ("${input.n as text}", "<n>"),
    ],
)
def test_an_input_that_is_missing_has_a_value_of_its_type(written: str, sent: Any) -> None:
    found = explained(f"component: {{type: http-client, endpoint: 'http://127.0.0.1:9/', body: {{n: '{written}'}}}}")
    assert found.exchanges[0].body == {"n": sent} and found.assumed == ("n",)


def test_each_job_says_what_it_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    undo = composemagic.allow("shell")
    found = explained(STEPS, q="x")
    undo()
    jobs = {would.job: would for would in found.jobs}
    assert jobs["ask"].exchanges[0].body == {"q": "x"}
    assert jobs["shout"].after == ("ask",) and not jobs["shout"].exchanges
    assert jobs["files"].acts == "shell"
    assert jobs["no"].status == "skipped"
    assert not (tmp_path / "touched").exists()
    text = str(found)
    assert "shout:\n  waits for the answer of `ask`" in text
    assert "files:\n  would run `shell`, which is not tried here" in text
    assert "no:\n  would be skipped" in text and "note:\n  sends nothing" in text


def test_a_hook_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    yaml = """
workflow:
  job:
    component: c
    hook: {before: {script: "open('touched', 'w')\\ndef hook(input, **about): return input"}}
component: {id: c, type: http-client, action: {endpoint: 'http://127.0.0.1:9/'}}
"""
    undo = composemagic.allow("hook")
    try:
        found = explained(yaml)
    finally:
        undo()
    assert found.jobs[0].acts == "hook" and not found.exchanges
    assert not (tmp_path / "touched").exists()


def test_a_key_that_may_not_go_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = explained(SEED.replace("https://api.openai.com", "https://elsewhere.example"), prompt="x")
    assert "would fail: `OPENAI_API_KEY` is a secret" in str(found)
    assert not found.exchanges


def test_with_the_embedded_model_nothing_starts() -> None:
    workflow = composemagic.load(SEED, local=True)
    [request] = workflow.explain(prompt="x").exchanges
    assert request.is_local and request.url.endswith("/chat/completions")


def tasks() -> set[str]:
    """The names of what runs on the private loop; other tests' sessions may be kept there."""
    loop = private_loop().loop

    async def names() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    return asyncio.run_coroutine_threadsafe(names(), loop).result(10)


def test_nothing_is_left_running() -> None:
    before = tasks()
    explained(STEPS, q="x")
    assert tasks() - before == set()


def test_a_delay_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("composemagic.explaining._PATIENCE_SECONDS", 0.2)
    found = explained("workflow: {job: {type: delay, duration: 1h}}\ncomponent: {type: echo}")
    assert str(found) == "goes on longer than is waited for here"
