"""`type: http-server`: a real process is started, waited for, spoken to, shared, and ended however its owner ends."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import composemagic
from composemagic import DocumentError, Notice, Run, RunError
from composemagic.components import http_server
from composemagic.components.http_server import process
from tests.conftest import ROOT, free_port
from tests.processes import lives
from tests.waiting import until

SERVER = str(ROOT / "tests/servers/slow_start.py")


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python allows it; what still runs afterwards is ended."""
    undo = composemagic.allow("http-server")
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.05)
    yield
    undo()
    process._end_all()
    process._servers.clear()


@pytest.fixture
def port() -> int:
    return free_port()


def text(port: int, *options: str, more: str = "", action: str = "path: /x\n    body: {a: '${input.a | 1}'}") -> str:
    command = ", ".join(f'"{word}"' for word in (sys.executable, SERVER, str(port), *options))
    return f"component:\n  type: http-server\n  start: [{command}]\n  port: {port}\n{more}  action:\n    {action}\n"


def loaded(tmp_path: Path, *given: Any, **how: Any) -> composemagic.Workflow:
    file = tmp_path / "model-compose.yml"
    file.write_text(text(*given, **how), encoding="utf-8")
    return composemagic.load(file)


def notes(run: Run) -> list[str]:
    return [event.sentence for event in run.events if isinstance(event, Notice)]


# -- started, asked, kept


def test_it_is_started_with_the_first_action_and_kept_for_the_next(tmp_path: Path, port: int) -> None:
    workflow = loaded(tmp_path, port, more="  manage: {env: {COLOR: red, COUNT: 3}}\n  base_path: /api\n")
    first, second = workflow(a="ä"), workflow(a="b")
    assert (first.output["path"], first.output["body"]) == ("/api/x", {"a": "ä"})
    assert first.output["env"]["COLOR"] == "red"
    assert first.output["env"]["PATH"] == os.environ["PATH"]
    assert first.output["folder"] == str(tmp_path)
    assert first.output["pid"] == second.output["pid"]
    assert notes(first) == [f"starting `{sys.executable}` at port {port}"]
    assert notes(second) == []


def test_it_streams_like_an_http_client(tmp_path: Path, port: int) -> None:
    action = "path: /v1/chat/completions\n    body: {model: m, stream: true}\n    output: ${response[].choices[0].delta.content}"
    run = loaded(tmp_path, port, action=action)()
    assert (run.text, run.timing.deltas) == ("Hello", 2)


@pytest.mark.parametrize(
    "place",
    ["  start: {0}\n", "  manage: {{start: {0}}}\n", "  manage: {{scripts: {{start: {0}, install: [pip, x]}}}}\n"],
)
def test_the_command_stands_in_any_of_its_places(tmp_path: Path, port: int, place: str) -> None:
    command = f'["{sys.executable}", "{SERVER}", {port}]'
    file = tmp_path / "model-compose.yml"
    file.write_text(f"component:\n  type: http-server\n  port: {port}\n{place.format(command)}  action: {{path: /x}}\n")
    run = composemagic.load(file)()
    assert run.output["path"] == "/x"
    assert any("`install` of an http-server is not run" in note for note in notes(run)) == ("install" in place)


def test_it_waits_until_the_server_is_healthy(tmp_path: Path, port: int) -> None:
    workflow = loaded(
        tmp_path, port, "--healthy-after", "3", more="  health: {path: /health}\n", action="path: /y\n    method: GET"
    )
    assert workflow().output == {"path": "/y", "looks": 4}


def test_jobs_that_begin_together_share_one_start(tmp_path: Path, port: int) -> None:
    workflow = loaded(tmp_path, port)
    runs = [workflow.start({"a": number}) for number in range(5)]
    outputs = [run.result(60) for run in runs]
    assert [one["body"]["a"] for one in outputs] == [0, 1, 2, 3, 4]
    assert len({one["pid"] for one in outputs}) == 1
    assert sum(len(notes(run)) for run in runs) == 1


def test_the_same_text_loaded_again_uses_the_same_server(tmp_path: Path, port: int) -> None:
    first = loaded(tmp_path, port)
    second = loaded(tmp_path, port)
    assert first().output["pid"] == second().output["pid"]


def test_a_server_that_died_is_started_again(tmp_path: Path, port: int) -> None:
    workflow = loaded(tmp_path, port)
    pid = workflow().output["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: process._servers[port].ended is not None)
    assert workflow().output["pid"] != pid


def test_another_command_for_the_port_takes_its_place(tmp_path: Path, port: int) -> None:
    first = loaded(tmp_path, port)
    pid = first().output["pid"]
    second = loaded(tmp_path, port, more="  manage: {env: {COLOR: blue}}\n")
    output = second().output
    assert output["env"]["COLOR"] == "blue"
    assert output["pid"] != pid
    assert not lives(pid)


# -- it ends


def test_it_ends_with_the_last_workflow_that_owns_it(tmp_path: Path, port: int) -> None:
    first, second = loaded(tmp_path, port), loaded(tmp_path, port)
    pid = first().output["pid"]
    second()
    del first
    gc.collect()
    assert second().output["pid"] == pid
    del second
    until(lambda: gc.collect() >= 0 and not lives(pid))  # it may still be the run's, for a moment


@pytest.mark.parametrize("stubborn", [False, True])
def test_what_the_server_started_ends_with_it(tmp_path: Path, port: int, stubborn: bool) -> None:
    options = ["--child-pid-file", str(tmp_path / "child"), *(["--stubborn"] if stubborn else [])]
    pid = loaded(tmp_path, port, *options)().output["pid"]
    child = int((tmp_path / "child").read_text())
    assert lives(child)
    process._end_all()
    until(lambda: not lives(pid) and not lives(child))


SCRIPT = """
import composemagic, os, sys
composemagic.allow("http-server")
workflow = composemagic.load({file!r})
print(workflow().output["pid"], flush=True)
{end}
"""


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "os._exit(4)", "os.kill(os.getpid(), 9)", "os.fork() or os._exit(0)"]
)
def test_it_ends_with_python_however_that_ends(tmp_path: Path, port: int, end: str) -> None:
    loaded(tmp_path, port)
    script = SCRIPT.format(file=str(tmp_path / "model-compose.yml"), end=end)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    pid = int(done.stdout)
    until(lambda: not lives(pid))


# -- it fails


def failure(workflow: composemagic.Workflow, **values: Any) -> RunError:
    with pytest.raises(RunError) as caught:
        workflow(**values)
    return caught.value


def test_yaml_alone_may_not_start_a_process(tmp_path: Path, port: int) -> None:
    undo = composemagic.allow("http-server")
    undo()
    workflow = loaded(tmp_path, port)
    process._servers.clear()
    from composemagic import allowance

    allowance._allowed.discard("http-server")
    error = failure(workflow)
    assert 'composemagic.allow("http-server")' in error.sentence
    assert process._servers == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--say", "no such model", "--exit", "3"], "ended before it answered (exit status 3): no such model"),
        (["--exit", "0"], "ended before it answered (exit status 0)"),
        (["--bad-option"], "error: unrecognized arguments: --bad-option"),
    ],
)
def test_a_server_that_ends_says_why(tmp_path: Path, port: int, options: list[str], expected: str) -> None:
    assert failure(loaded(tmp_path, port, *options)).sentence.endswith(expected)


def test_a_command_that_is_none(tmp_path: Path, port: int) -> None:
    file = tmp_path / "model-compose.yml"
    file.write_text(f"component: {{type: http-server, start: [no-such-program], port: {port}, action: {{path: /}}}}")
    assert failure(composemagic.load(file)).sentence == "`no-such-program` cannot be started: No such file or directory"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, port: int) -> None:
    file = tmp_path / "model-compose.yml"
    command = f'["{sys.executable}", -c, "import time; time.sleep(600)"]'
    file.write_text(
        f"component: {{type: http-server, start: {command}, port: {port}, health: {{timeout: 500ms}}, action: {{path: /}}}}"
    )
    sentence = failure(composemagic.load(file)).sentence
    assert sentence == f"`{sys.executable}` did not answer at port {port} within 0.5 s (health.timeout)"


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        sentence = failure(loaded(tmp_path, taken)).sentence
    assert sentence == f"something else listens at port {taken} already; stop it, or choose another port"


def test_a_folder_outside_is_refused(tmp_path: Path, port: int) -> None:
    assert "outside" in failure(loaded(tmp_path, port, more="  manage: {working_dir: ../..}\n")).sentence


def test_a_run_that_is_stopped_while_it_waits_leaves_the_server_to_the_next(tmp_path: Path, port: int) -> None:
    well = tmp_path / "well"
    workflow = loaded(tmp_path, port, "--healthy-with", str(well), more="  health: {path: /health}\n")
    run = workflow.start({})
    until(lambda: port in process._servers and process._servers[port].started)
    run.cancel()
    assert run.wait(30)
    assert run.status == "stopped"
    well.touch()
    assert workflow().status == "done"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("port: 70000", "`port` is a number from 1 to 65535"),
        ("prot: 80", "unknown key `prot` in an http-server component; did you mean `port`?"),
        ("base_url: http://x", "unknown key `base_url` in an http-server component"),
        ("start: vllm serve x", "`start` is a list"),
        ("manage: {env: [1]}", "`env` is a mapping"),
        ("health: {pth: /}", "unknown key `pth`"),
        ("action: {endpoint: 'http://x/y'}", "an http-server action has a `path`"),
        ("action: {path: /, methd: GET}", "unknown key `methd` in an http-server action; did you mean `method`?"),
    ],
)
def test_mistakes_are_found_when_the_document_is_loaded(line: str, expected: str) -> None:
    lines = {"start": "start: [x]", "action": "action: {path: /}", line.partition(":")[0]: line}
    with pytest.raises(DocumentError) as caught:
        composemagic.load("component:\n  type: http-server\n" + "".join(f"  {each}\n" for each in lines.values()))
    assert expected in str(caught.value)


def test_a_server_needs_its_command() -> None:
    with pytest.raises(DocumentError, match="needs `start`, its command as a list"):
        composemagic.load("component: {type: http-server, action: {path: /}}")


def test_what_an_http_client_may_say_its_server_may_too() -> None:
    client = set(http_server.HttpClient.settings.model_fields) - {"base_url"}
    assert client < set(http_server.HttpServer.settings.model_fields)


def test_the_example_runs(tmp_path: Path, port: int) -> None:
    example = (
        (http_server.__doc__ or "")
        .split("\n\n")[1]
        .replace("8123", str(port))
        .replace("[python,", f'["{sys.executable}",')
    )
    file = tmp_path / "model-compose.yml"
    file.write_text(example.replace("\n    ", "\n")[4:], encoding="utf-8")
    assert "model-compose.yml" in composemagic.load(file)().text
