"""The options of `%%compose` that show something other than a run, in a real kernel against a server that answers like a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Executed, Kernel, started_kernel

WIDGET = "application/vnd.jupyter.widget-view+json"
CHAT = """
workflow: {title: Talk}
component:
  type: http-client
  base_url: %s/n=5,delay=0/v1
  action:
    path: /chat/completions
    body:
      model: m
      stream: true
      temperature: ${input.t as number | 0.7}
      messages: [{role: user, content: '${input.prompt as text}'}]
    stream_format: json
    output: ${response[].choices[0].delta.content}
"""


@pytest.fixture(scope="module")
def yaml(replay: str) -> str:
    return CHAT % replay


@pytest.fixture(scope="module")
def notebook(yaml: str) -> Iterator[Kernel]:
    with started_kernel() as kernel:
        kernel.execute("%load_ext composemagic\n%config ComposeMagics.language = 'en'")
        kernel.execute(f"%%compose talk --check\n{yaml}")
        yield kernel


def shows(done: Executed) -> str:
    """The text of all that a cell displayed."""
    assert done.error is None, done.error
    return "\n".join(output["data"].get("text/plain", "") for output in done.outputs if "data" in output)


@pytest.mark.parametrize("option", ["--chat", "--sweep t=0,1 -i prompt=x", "--race -i prompt=x", "--form"])
def test_a_face_takes_the_place_of_the_run(notebook: Kernel, yaml: str, option: str) -> None:
    done = notebook.execute(f"%%compose talk {option}\n{yaml}", cell=option)
    assert done.error is None
    assert WIDGET in done.outputs[0]["data"]
    notebook.execute(f"%%compose talk --check\n{yaml}", cell=option)  # running the cell again takes it away


@pytest.mark.parametrize(
    "call", ["talk.chat(t=0)", "talk.sweep(t=[0, 1], prompt='x')", "talk.race(prompt='x')", "talk.form(prompt='x')"]
)
def test_the_same_from_python(notebook: Kernel, call: str) -> None:
    done = notebook.execute(call)
    assert done.error is None
    assert WIDGET in done.outputs[0]["data"]


@pytest.mark.parametrize("option", ["--sweep t=0,1 -i prompt=x", "--race -i prompt=x"])
def test_where_nobody_clicks_the_end_is_left(notebook: Kernel, yaml: str, option: str) -> None:
    done = notebook.execute(f"%%compose talk {option}\n{yaml}", allow_stdin=False)
    assert all(WIDGET not in output["data"] for output in done.outputs)
    assert "the quick brown fox" in "".join(output["data"]["text/html"] for output in done.outputs)


def test_two_faces_exclude_each_other(notebook: Kernel, yaml: str) -> None:
    done = notebook.execute(f"%%compose --form --chat\n{yaml}")
    assert done.error is not None and "`--form` and `--chat` exclude each other" in done.error[2]


@pytest.mark.parametrize("option", ["--trace", "--background", "--quiet"])
@pytest.mark.parametrize("face", ["--form", "--chat", "--race", "--sweep t=0,1"])
def test_what_only_a_run_can_be_is_no_option_of_a_face(notebook: Kernel, yaml: str, face: str, option: str) -> None:
    done = notebook.execute(f"%%compose {face} {option} -i prompt=x\n{yaml}")
    assert (
        done.error is not None and f"`{face.split(maxsplit=1)[0]}` and `{option}` exclude each other" in done.error[2]
    )


def test_plain_text_in_the_background_says_where_it_will_be(notebook: Kernel, yaml: str) -> None:
    notebook.execute("%config ComposeMagics.display = 'plain'")
    try:
        said = "runs on in the background; `composemagic.runs[-1]` shows it\n"
        done = notebook.execute(f"%%compose --background -o run -i prompt=x\n{yaml}")
        assert done.streams["stdout"] == said
        done = notebook.execute("import composemagic\nrun.wait()\ncomposemagic.runs[-1].run is run")
        assert done.text == "True" and done.streams == {"stdout": "", "stderr": ""}
    finally:
        notebook.execute("%config ComposeMagics.display = 'auto'")


def test_a_workflow_and_its_run_have_two_names(notebook: Kernel, yaml: str) -> None:
    done = notebook.execute(f"%%compose answer -i prompt=x -o answer\n{yaml}")
    assert done.error is not None and "`answer` cannot be both the workflow and its run" in done.error[2]


def test_a_trace_stands_below_the_answer(notebook: Kernel, yaml: str) -> None:
    done = notebook.execute(f"%%compose --trace -i prompt=hello -o run\n{yaml}")
    assert "POST" in shows(done) and '"content": "hello"' in shows(done)
    assert notebook.execute("len(run.trace.exchanges)").text == "1"


def test_what_would_be_sent(notebook: Kernel, yaml: str) -> None:
    done = notebook.execute(f"%%compose --explain\n{yaml}")
    assert "/chat/completions" in shows(done) and '"content": "<prompt>"' in shows(done)
    assert '"temperature": 0.2' in shows(notebook.execute("talk.explain(t=0.2)"))


def test_record_and_replay(notebook: Kernel, yaml: str, tmp_path: Path) -> None:
    file = tmp_path / "class.jsonl"
    notebook.execute(f"%%compose --record {file} -i prompt=hello -o first\n{yaml}")
    [line] = file.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["status"] == 200
    done = notebook.execute(f"%%compose --replay {file} --speed max -i prompt=hello -o second\n{yaml}")
    assert done.error is None
    assert notebook.execute("first.text == second.text != ''").text == "True"
    assert "played from a recording" in shows(done) and "answered by" not in shows(done)
    done = notebook.execute(f"%%compose --replay {file} -i prompt=other\n{yaml}")
    assert done.error is not None
    assert '`messages[0].content` is "other", and was "hello" in the recording' in done.error[2]


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_a_speed_that_is_none(notebook: Kernel, yaml: str, speed: str) -> None:
    done = notebook.execute(f"%%compose --speed={speed} -i prompt=x\n{yaml}")
    assert done.error is not None and "`--speed` is a number above 0, or `max`" in done.error[2]


def test_a_question_mark_tells_the_inputs(notebook: Kernel, yaml: str) -> None:
    reply = notebook.client.inspect("talk", 4, reply=True, timeout=60)
    told = reply["content"]["data"]["text/plain"]
    assert "prompt" in told and "0.7" in told and "required" in told
