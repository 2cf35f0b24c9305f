"""`type: mcp-client`: tools of real MCP servers, over stdio and over streamable HTTP, made with the official SDK."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import composemagic
from composemagic import DocumentError, RunError
from composemagic.components import mcp_client
from composemagic.components.mcp_client import session
from tests.conftest import ROOT
from tests.processes import lives
from tests.waiting import until

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

SERVER = str(ROOT / "tests/servers/mcp_tools.py")
COMMAND = f'command: ["{sys.executable}", "{SERVER}"]'


@pytest.fixture(autouse=True)
def _allowed() -> Iterator[None]:
    undo = composemagic.allow("mcp-client")
    yield
    undo()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over streamable HTTP."""
    file = tmp_path_factory.mktemp("mcp") / "port"
    running = subprocess.Popen([sys.executable, SERVER, "--port-file", str(file)])
    until(lambda: file.exists() and file.read_text())
    yield f"http://127.0.0.1:{file.read_text()}/mcp"
    running.terminate()
    running.wait(30)


def loaded(
    tmp_path: Path, tool: str, *, server: str = COMMAND, arguments: str = "${input}", more: str = ""
) -> composemagic.Workflow:
    file = tmp_path / "model-compose.yml"
    file.write_text(
        f"component:\n  type: mcp-client\n  {server}\n{more}  action:\n    tool: {tool}\n    arguments: {arguments}\n",
        encoding="utf-8",
    )
    return composemagic.load(file)


def gives(workflow: composemagic.Workflow, value: Any = None) -> Any:
    return workflow.start({} if value is None else value).result(60)


def fails(workflow: composemagic.Workflow, value: Any = None) -> RunError:
    with pytest.raises(RunError) as caught:
        gives(workflow, value)
    return caught.value


# -- tools


@pytest.mark.parametrize("over", ["stdio", "http"])
def test_a_tool_is_called_and_its_parts_are_the_response(tmp_path: Path, url: str, over: str) -> None:
    server = COMMAND if over == "stdio" else f"url: {url}"
    assert gives(loaded(tmp_path, "add", server=server), {"a": 1, "b": 2}) == ["3"]
    assert gives(loaded(tmp_path, "picture", server=server)) == ["iVBORw=="]
    (weather,) = gives(loaded(tmp_path, "weather", server=server), {"city": "Rome"})
    assert json.loads(weather) == {"city": "Rome", "degrees": 21}


def test_the_output_reads_the_response(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, "weather", arguments="{city: '${input.city}'}\n    output: ${response[0] as json}")
    assert [one.name for one in workflow.inputs] == ["city"]
    assert workflow(city="Rome").output == {"city": "Rome", "degrees": 21}


def test_a_template_may_choose_the_tool(tmp_path: Path) -> None:
    assert gives(loaded(tmp_path, "${input.tool}", arguments="{a: 1}"), {"tool": "add"}) == ["2"]


@pytest.mark.parametrize("over", ["stdio", "http"])
def test_the_tools_can_be_listed(tmp_path: Path, url: str, over: str) -> None:
    server = COMMAND if over == "stdio" else f"url: {url}"
    file = tmp_path / "model-compose.yml"
    file.write_text(f"component:\n  type: mcp-client\n  {server}\n  action: {{method: list-tools}}\n")
    tools = {one["name"]: one for one in composemagic.load(file)().output}
    assert tools["add"]["description"] == "Add two numbers."
    assert tools["add"]["parameters"]["required"] == ["a"]
    assert set(tools) >= {"add", "weather", "whoami", "refuse", "picture"}


def test_the_tools_are_tools_of_an_agent(tmp_path: Path) -> None:
    """The shape that functions have as well."""

    async def used() -> tuple[list[str], Any, Any]:
        component = mcp_client.McpClient()
        context: Any = FakeContext(tmp_path)
        action: Any = FakeAction(component, {"command": [sys.executable, SERVER]})
        tools = {tool.name: tool for tool in await component.tools(action, context)}
        sum_, weather = await asyncio.gather(tools["add"].call({"a": 2}), tools["weather"].call({"city": "Oslo"}))
        assert tools["add"].parameters["properties"]["a"]["type"] == "integer"
        mcp_client._close_all(component._sessions)
        return list(tools), sum_, weather

    names, sum_, weather = asyncio.run(used())
    assert "add" in names
    assert (sum_, json.loads(weather)["city"]) == ("3", "Oslo")


class FakeContext:
    """What of a run the tools need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def render(self, template: Any, more: Any = None) -> Any:
        return None if template is None else template.render({})

    def demand(self, what: str) -> None:
        assert what == "mcp-client"

    def file(self, path: str) -> Path:
        return self.folder / path


class FakeAction:
    def __init__(self, component: Any, settings: dict[str, Any]) -> None:
        from composemagic.language.template import compile_template

        self.component, self.fields = component, {}
        self.settings = {key: compile_template(value) for key, value in settings.items()}


# -- the process and its session


def test_the_session_is_shared_by_the_runs_of_a_workflow(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, "whoami", more="  env: {COLOR: red}\n")
    first, second = (json.loads(gives(workflow)[0]) for _ in range(2))
    assert first == second
    assert (first["color"], first["folder"]) == ("red", str(tmp_path))


def test_runs_at_the_same_time_share_it_too(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, "whoami")
    runs = [workflow.start({}) for _ in range(4)]
    assert len({run.result(60)[0] for run in runs}) == 1


def test_our_keys_are_not_given_to_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user-0123456789")
    assert json.loads(gives(loaded(tmp_path, "whoami"))[0])["key"] is None


def test_the_process_ends_with_the_workflow(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, "whoami")
    pid = json.loads(gives(workflow)[0])["pid"]
    assert lives(pid)
    del workflow
    until(lambda: gc.collect() >= 0 and not lives(pid))  # it may still be the run's, for a moment


@pytest.mark.parametrize("end", ["", "os._exit(4)", "os.kill(os.getpid(), 9)"])
def test_the_process_ends_with_python(tmp_path: Path, end: str) -> None:
    loaded(tmp_path, "whoami")
    script = (
        "import composemagic, json, os\ncomposemagic.allow('mcp-client')\n"
        f"workflow = composemagic.load({str(tmp_path / 'model-compose.yml')!r})\n"
        f"print(json.loads(workflow().output[0])['pid'], flush=True)\n{end}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    pid = int(done.stdout)
    until(lambda: not lives(pid))


def test_a_server_that_died_is_started_again_by_the_next_run(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, "whoami")
    pid = json.loads(gives(workflow)[0])["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not lives(pid))
    with pytest.raises(RunError):
        gives(workflow)
    assert json.loads(gives(workflow)[0])["pid"] != pid


def test_stopping_a_run_stops_the_call_and_leaves_the_session(tmp_path: Path) -> None:
    file = tmp_path / "model-compose.yml"
    file.write_text(
        f"component:\n  type: mcp-client\n  {COMMAND}\n  actions:\n"
        "    - {id: wait, default: true, tool: wait, arguments: {seconds: 600}}\n    - {id: who, tool: whoami}\n"
        "workflows:\n  - {id: waits, job: {action: wait}}\n  - {id: who, job: {action: who}}\n"
    )
    who = composemagic.load(file, "who")
    assert gives(who)
    run = composemagic.load(file, "waits").start({})
    run.cancel()
    assert run.wait(30)
    assert run.status == "stopped"
    assert gives(who)


# -- what goes wrong


@pytest.mark.parametrize(
    ("tool", "value", "expected"),
    [
        ("refuse", {"words": "not today"}, "the tool `refuse` failed: "),
        ("refuse", {"words": "not today"}, "not today"),
        ("ad", {}, "the MCP server has no tool `ad`; did you mean `add`?"),
        ("zzz", {}, "the MCP server has no tool `zzz`; it has `add`, `weather`"),
        ("add", {"a": "x"}, "the tool `add` failed: "),
        ("add", {}, "Field required"),
        ("leave", {}, "good bye"),
    ],
)
def test_failures_are_one_sentence(tmp_path: Path, tool: str, value: Any, expected: str) -> None:
    error = fails(loaded(tmp_path, tool), value)
    assert expected in error.sentence
    assert "\n" not in error.sentence
    assert "Traceback" not in error.sentence


def test_its_last_words_are_heard_however_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that reads them does not get its turn before the failure is told."""
    told = threading.Event()
    listen, fail = session.Printed._listen, mcp_client.failure

    def late(printed: session.Printed, end: int) -> None:
        assert told.wait(60)
        listen(printed, end)

    def tell(*about: Any) -> RunError:
        told.set()
        return fail(*about)

    monkeypatch.setattr(session.Printed, "_listen", late)
    monkeypatch.setattr(mcp_client, "failure", tell)
    assert "good bye" in fails(loaded(tmp_path, "leave"), {}).sentence


def test_what_outlives_the_server_and_still_can_print_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends on the private loop, where all runs wait; a program that the server started may have its stderr, too."""
    monkeypatch.setattr(session, "_READ_SECONDS", 3600.0)
    printed = session.Printed()
    heard: list[list[str]] = []

    def listen() -> None:
        with printed.listening() as errors:
            left.append(os.dup(errors.fileno()))
            os.write(left[0], b"no model")
        heard.append(printed.last())

    left: list[int] = []
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    thread.join(20)
    os.close(left[0])
    assert heard == [["no model"]]


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("command: [no-such-program]", "`no-such-program` cannot be started: No such file or directory"),
        (f'command: ["{sys.executable}", "-c", "raise SystemExit(\'no model\')"]', "cannot be used: no model"),
        ("url: http://127.0.0.1:9/mcp", "Nothing listens at http://127.0.0.1:9/mcp; is the MCP server started?"),
        ("url: ftp://127.0.0.1/mcp", "`ftp://127.0.0.1/mcp` is no http:// or https:// address"),
        ("url: http://169.254.169.254/mcp", "which composemagic never asks"),
    ],
)
def test_a_server_that_cannot_be_reached(tmp_path: Path, server: str, expected: str) -> None:
    assert expected in fails(loaded(tmp_path, "add", server=server), {"a": 1}).sentence


def test_an_address_that_is_no_mcp_server(tmp_path: Path, echo_server: Any) -> None:
    sentence = fails(loaded(tmp_path, "add", server=f"url: {echo_server.url}/nothing"), {"a": 1}).sentence
    assert f"the MCP server {echo_server.url}/nothing cannot be used" in sentence


def test_a_call_that_takes_too_long(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, "wait", arguments="{seconds: 600}\n    timeout: 3s")
    assert "did not answer within 3 s (timeout)" in fails(workflow).sentence


def test_yaml_alone_may_not_start_a_process(tmp_path: Path) -> None:
    from composemagic import allowance

    allowance._allowed.discard("mcp-client")
    assert 'composemagic.allow("mcp-client")' in fails(loaded(tmp_path, "add"), {"a": 1}).sentence


def test_a_running_server_needs_no_permission(tmp_path: Path, url: str) -> None:
    from composemagic import allowance

    allowance._allowed.discard("mcp-client")
    assert gives(loaded(tmp_path, "add", server=f"url: {url}"), {"a": 1}) == ["2"]


def test_without_the_sdk_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert (
        fails(loaded(tmp_path, "add"), {"a": 1}).sentence == '`mcp-client` needs mcp: pip install "composemagic[mcp]"'
    )


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        (
            "{type: mcp-client, tool: x}",
            "an mcp-client has `url`, where a server answers, or `command`, which starts one",
        ),
        ("{type: mcp-client, url: 'http://x', command: [x], action: {tool: x}}", "an mcp-client has `url`"),
        ("{type: mcp-client, url: 'http://x', action: {arguments: {}}}", "an mcp-client action needs `tool`"),
        ("{type: mcp-client, url: 'http://x', action: {tool: x, arguments: [1]}}", "`arguments` is a mapping"),
        ("{type: mcp-client, url: 'http://x', action: {tool: x, argumens: {}}}", "did you mean `arguments`?"),
        (
            "{type: mcp-client, url: 'http://x', action: {method: list-tools, tool: x}}",
            "`method: list-tools` calls no tool",
        ),
        ("{type: mcp-client, url: 'http://x', action: {method: list-tool}}", "did you mean `list-tools`?"),
        ("{type: mcp-client, command: python x.py, action: {tool: x}}", "`command` is a list"),
    ],
)
def test_mistakes_are_found_when_the_document_is_loaded(yaml: str, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        composemagic.load(f"component: {yaml}")
    assert expected in str(caught.value)


def test_the_example_runs(tmp_path: Path) -> None:
    example = (
        (mcp_client.__doc__ or "").split("\n\n")[1].replace("[python, weather.py]", f'["{sys.executable}", "{SERVER}"]')
    )
    file = tmp_path / "model-compose.yml"
    file.write_text("\n".join(line[4:] for line in example.splitlines()), encoding="utf-8")
    assert json.loads(composemagic.load(file)(city="Rome").text)["city"] == "Rome"
