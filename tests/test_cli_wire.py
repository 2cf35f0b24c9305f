"""`composemagic run` with what goes over the wire: explained, traced, recorded, replayed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from composemagic.cli import main

CHAT = """
component:
  type: http-client
  base_url: %s/n=4,delay=0/v1
  action:
    path: /chat/completions
    body: {model: m, stream: true, messages: [{role: user, content: '${input.prompt as text}'}]}
    stream_format: json
    output: ${response[].choices[0].delta.content}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replay: str) -> Path:
    (tmp_path / "model-compose.yml").write_text(CHAT % replay, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_would_be_sent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--explain"]) == 0
    assert '"content": "<prompt>"' in capsys.readouterr().out
    assert main(["run", "--explain", "-i", "prompt=hi"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("POST http://127.0.0.1:") and '"content": "hi"' in said


def test_a_trace_goes_to_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--trace", "-i", "prompt=hi"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("the quick brown fox")
    assert "POST http://127.0.0.1:" in err and "read to its end" in err


def test_record_and_replay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--record", "class.jsonl", "-i", "prompt=hi"]) == 0
    first = capsys.readouterr().out
    [line] = (folder / "class.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["request"]["body"]["model"] == "m"
    assert main(["run", "--replay", "class.jsonl", "--speed", "max", "-i", "prompt=hi"]) == 0
    assert capsys.readouterr().out == first
    assert main(["run", "--replay", "class.jsonl", "-i", "prompt=ho"]) == 1
    assert '`messages[0].content` is "ho", and was "hi" in the recording' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--replay", "none.jsonl"), "none.jsonl"),
        (("--replay", "class.jsonl", "--speed", "0"), "`--speed` is a number above 0, or `max`, not `0`"),
        (("--replay", "class.jsonl", "--speed", "nan"), "`--speed` is a number above 0"),
        (("--record", "a", "--replay", "b"), "`record` or `replay`"),
    ],
)
def test_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert main(["run", "-i", "prompt=x", *arguments]) == 2
    assert sentence in capsys.readouterr().err
