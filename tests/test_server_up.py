"""`composemagic up` and `down` as processes, `Workflow.serve` and `%compose serve`, and what a document's controller says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("uvicorn")

import composemagic
from composemagic import UsageError
from composemagic.cli import main, standing
from composemagic.languages import zh
from composemagic.notebook import serving as magic
from composemagic.server import serving as room
from composemagic.server.ports import bound
from composemagic.server.serving import Serving
from composemagic.workflow.controller import Controller, controller_of
from tests.conftest import ROOT, FaultServer, free_port, started_kernel
from tests.waiting import until

CHAT = """
workflow: {title: Chat, output: "${output as stream/text}"}
component: {type: echo, text: "You said: ${input.prompt as text}"}
"""
TWO = """
workflows:
  - {id: loud, title: Loud, job: {component: shop, input: {a: "${input.a}"}}}
  - {id: calm, title: Calm, default: true, job: {component: echo, input: {text: "${input.b as select/x,y}"}}}
  - {id: hidden, private: true, job: {component: echo}}
components:
  - {id: echo, type: echo, text: "${input.text}"}
  - {id: shop, type: http-client, base_url: https://shop.example, headers: {X-Key: "${env.SHOP_API_KEY}"}, action: {path: /, body: "${input}"}}
"""


# ── the controller, in every dialect ──

SAYS: dict[str, tuple[str, Controller]] = {
    "nothing": ("{}", Controller()),
    "flat": (
        "{name: n, type: http-server, host: 0.0.0.0, port: 9000, base_path: /x/, webui: {driver: gradio, port: 9001}}",
        Controller("n", "0.0.0.0", 9000, "/x", 9001, "gradio"),
    ),
    "an adapter": (
        "{adapter: {type: http-server, port: 9000, base_path: api}, webui: {port: '9001'}}",
        Controller(port=9000, base_path="/api", page_port=9001, page_driver="gradio"),
    ),
    "adapters": (
        "{adapters: [{type: mcp-server, port: 1}, {type: http-server, port: 9000}], max_concurrent_count: 3}",
        Controller(port=9000, at_once=3),
    ),
    "only others": ("{adapter: {type: mcp-server, port: 1}}", Controller()),
    "the root": ("{port: 9000, base_path: /}", Controller(port=9000, base_path="")),
    "at once": ("{type: http-server, max_concurrent_count: 5}", Controller(at_once=5)),
    "no limit": ("{adapter: {type: http-server, max_concurrent_count: 0}}", Controller()),
    "the environment": ("{port: '${env.SOME_PORT | 9000}', base_path: '${env.BASE}'}", Controller(port=9000, base_path="/b")),
}  # fmt: skip


@pytest.mark.parametrize("name", SAYS)
def test_what_a_controller_says(name: str) -> None:
    written, expected = SAYS[name]
    workflow = composemagic.load(f"controller: {written}\n{CHAT}", env={"BASE": "b"})
    found = controller_of(workflow.document.get("controller"))
    assert (found.page_driver or "gradio") == "gradio"
    assert found == expected or found == Controller(**{**as_dict(expected), "page_driver": found.page_driver})


def as_dict(controller: Controller) -> dict[str, Any]:
    return {name: getattr(controller, name) for name in Controller.__slots__}


@pytest.mark.parametrize("written", ["http://x/y", "/a b", "/{x}", "/a?b", "/a/../b", "//evil.example"])
def test_a_base_path_that_is_none(written: str) -> None:
    with pytest.raises(composemagic.DocumentError) as caught:
        composemagic.load(f"controller: {{port: 9000, base_path: '{written}'}}\n{CHAT}")
    assert "`base_path` is a path such as `/api`" in str(caught.value) and "   1 | controller" in str(caught.value)


# ── Workflow.serve ──


@pytest.fixture
def chat() -> composemagic.Workflow:
    return composemagic.load(CHAT)


@contextmanager
def serving(workflow: composemagic.Workflow, **asked: Any) -> Iterator[Serving]:
    with workflow.serve(**{"port": 0, **asked}) as found:
        yield found


def post(found: Serving, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {found.token}"} if found.token else {}
    return httpx.post(f"{found.url}/workflows/runs", json={"input": {"prompt": "Hi"}}, headers=headers, **options)


def test_a_workflow_is_served(chat: composemagic.Workflow) -> None:
    with serving(chat) as found:
        assert found.url == f"http://localhost:{found.port}/api"
        assert found.page_url == f"http://localhost:{found.page_port}/"
        answer = post(found)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert (
            "".join(re.findall(r"^data: (.*)\n\n", answer.text.partition("event:")[0], re.MULTILINE)) == "You said: Hi"
        )
        assert "event: end" in answer.text
        for place in (f"http://localhost:{found.port}", found.url, f"http://localhost:{found.page_port}/api"):
            assert httpx.get(f"{place}/health").json() == {"status": "ok"}
        page = httpx.get(found.page_url)
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert httpx.get(f"{found.url}/nothing").json()["kind"] == "not_found"
        assert httpx.get(f"{found.url}/health", headers={"Host": "evil.example"}).status_code == 403
    assert not found.is_running and found.wait(0)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{found.url}/health")


def test_it_shows_its_addresses(chat: composemagic.Workflow) -> None:
    with serving(chat, token="a+b/c-token=") as found:
        assert repr(found) == f"API:  {found.url}\nPage: {found.page_url}"
        assert f'<a href="http://localhost:{found.page_port}/?token=a%2Bb%2Fc-token%3D"' in found._repr_html_()
        assert found.page_url is not None and httpx.get(found.page_url).status_code == 200
        assert 'rel="noopener noreferrer"' in found._repr_html_()
    assert repr(found) == found._repr_html_() == "not served any more"


def test_a_token_of_its_own(chat: composemagic.Workflow) -> None:
    with serving(chat, token=True) as one, serving(chat, token=True) as other:
        assert one.token and other.token and one.token != other.token and len(one.token) >= 32
        assert httpx.get(f"{one.url}/health").status_code == 401
        assert post(one).status_code == 200
        with httpx.Client() as browser:
            assert browser.get(f"http://localhost:{one.page_port}/").status_code == 401
            assert one.page_url is not None
            assert browser.get(one.page_url).status_code == 200
            assert "index" in browser.get(f"http://localhost:{one.page_port}/").text or browser.cookies
            assert browser.get(f"http://localhost:{one.page_port}/api/workflows").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "127.1", "::1", "::", "[::]", "0.0.0.0"])
def test_the_address_it_shows_leads_to_it(host: str, chat: composemagic.Workflow) -> None:
    try:
        bound(host, 0).close()
    except UsageError:
        pytest.skip("this computer does not have that address")
    with serving(chat, host=host, token="a-token-of-mine") as found:
        assert post(found).status_code == 200
        assert found.page_url is not None and httpx.get(found.page_url).status_code == 200


def test_without_a_page(chat: composemagic.Workflow) -> None:
    with serving(chat, page=False) as found:
        assert (found.page_url, found.page_port, repr(found)) == (None, None, f"API:  {found.url}")
        assert found._repr_html_().count("<a ") == 1


def test_the_documents_own_ports() -> None:
    port, page_port = free_port(), free_port()
    text = f"controller: {{port: {port}, base_path: /v7, webui: {{port: {page_port}}}}}\n{CHAT}"
    with composemagic.load(text).serve() as found:
        assert (found.port, found.page_port, found.url) == (port, page_port, f"http://localhost:{port}/v7")
        assert post(found).status_code == 200
        assert httpx.get(f"http://localhost:{port}/health").status_code == 404  # the document names the path


def test_a_default_port_gives_way_and_a_chosen_one_does_not(chat: composemagic.Workflow) -> None:
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with composemagic.load(f"controller: {{port: {port}}}\n{CHAT}").serve() as found:
            assert found.port != port
        with pytest.raises(UsageError) as caught:
            chat.serve(port=port)
        assert f"port {port} is taken by another program" in str(caught.value) and "0 for any" in str(caught.value)


def test_a_page_that_finds_no_port_leaves_the_apis_free(chat: composemagic.Workflow) -> None:
    port = free_port()
    with bound("127.0.0.1", port + 1), pytest.raises(UsageError):
        chat.serve(port=port)
    bound("127.0.0.1", port).close()


def test_a_cell_that_is_run_again_is_not_in_its_own_way(chat: composemagic.Workflow) -> None:
    port = free_port()
    first = chat.serve(port=port)
    with composemagic.load(CHAT).serve(port=port) as second:
        assert (first.is_running, second.is_running, second.port) == (False, True, port)
    document = f"controller: {{port: {port}}}\n"
    with composemagic.load(document + CHAT).serve() as one:
        with composemagic.load(document + CHAT.replace("Chat", "Other")).serve() as other:
            assert one.is_running and other.port != one.port
        with composemagic.load(document + CHAT).serve() as again:
            assert again.port == port and not one.is_running


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"host": "0.0.0.0"}, "`0.0.0.0` can be reached from other computers, so a token is needed"),
        ({"host": "192.0.2.1", "token": True}, "this computer has no address `192.0.2.1`"),
        ({"host": "no.such.host.invalid", "token": True}, "this computer has no address `no.such.host.invalid`"),
        ({"port": 70000}, "a port is a number from 0 to 65535, not 70000"),
        ({"port": 65535}, "a port is a number from 0 to 65535, not 65536"),
        ({"token": "short"}, "a token is 8 or more letters"),
        ({"token": ""}, "a token is 8 or more letters"),
        ({"token": "with-a-$(sign)"}, "a token is 8 or more letters"),
        ({"token": "with a space in it"}, "a token is 8 or more letters"),
        ({"hosts": ["a b"]}, "`a b` is no host name"),
    ],
)
def test_what_cannot_be_served(asked: dict[str, Any], said: str, chat: composemagic.Workflow) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        chat.serve(**asked)


def test_other_computers_need_the_token_and_a_name(chat: composemagic.Workflow) -> None:
    with serving(chat, host="0.0.0.0", token=True, hosts=["lab.example:80"]) as found:
        place = f"http://127.0.0.1:{found.port}/api/health"
        bearer = {"Authorization": f"Bearer {found.token}"}
        assert httpx.get(place).status_code == 401
        assert httpx.get(place, headers=bearer).status_code == 200
        assert httpx.get(place, headers={**bearer, "Host": "lab.example"}).status_code == 200
        assert httpx.get(place, headers={**bearer, "Host": "evil.example"}).status_code == 403


def test_a_document_does_not_open_the_computer() -> None:
    with composemagic.load(f"controller: {{host: 0.0.0.0, port: {free_port()}}}\n{CHAT}").serve() as found:
        assert found._asked.host == "127.0.0.1"


def test_two_workflows_of_one_id(chat: composemagic.Workflow) -> None:
    with pytest.raises(UsageError, match="two workflows have the id `workflow`"):
        room.of_workflows([chat, composemagic.load(CHAT)], port=0)


def stalled(faults: FaultServer) -> str:
    """A workflow whose answer stops in the middle."""
    return f"""
workflow: {{title: Slow, output: "${{output as stream/text}}"}}
component:
  type: http-client
  base_url: {faults.url("stall-mid", after=3)}
  action: {{path: /v1/chat/completions, body: {{stream: true}}, stream_format: json, output: "${{response[].choices[0].delta.content}}"}}
"""


def test_a_stream_under_way_ends_with_an_event(faults: FaultServer) -> None:
    found = composemagic.load(stalled(faults)).serve(port=0)
    with httpx.stream("POST", f"{found.url}/workflows/runs", json={"input": {}}, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        stopping = threading.Thread(target=found.stop, args=(0.2,))
        stopping.start()
        rest = "\n".join(lines)
    stopping.join(60)
    assert 'event: error\ndata: {"kind":"stopped"' in rest.replace('": "', '":"').replace('", "', '","')


def test_while_it_stops_nothing_new_begins(faults: FaultServer) -> None:
    found = composemagic.load(stalled(faults)).serve(port=0)
    with httpx.stream("POST", f"{found.url}/workflows/runs", json={"input": {}}, timeout=60) as answer:
        pieces = answer.iter_bytes()  # which hangs up when it is forgotten
        assert next(pieces)
        stopping = threading.Thread(target=found.stop, args=(10,))
        stopping.start()
        until(lambda: found._tasks._closing)
        refused = post(found)
        assert (refused.status_code, refused.json()["kind"]) == (503, "closing")
    stopping.join(60)
    assert not found.is_running


# ── up and down, as processes ──


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a workflow in it, and a place of its own for what programs remember."""
    (tmp_path / "compose.yml").write_text(CHAT, "utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("LANGUAGE", "en")
    monkeypatch.delenv("SHOP_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Up:
    """`composemagic up ...` in a process; `text` is what it says when it serves."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "composemagic", "up", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        assert self.process.stdout is not None
        self.text = ""
        while "Ctrl-C" not in self.text and (line := self.process.stdout.readline()):
            self.text += line

    def address(self, word: str) -> str:
        found = re.search(rf"{word}[:：] *(\S+)", self.text)
        assert found is not None, self.text
        return found[1]

    def end(self, *signals: int, patience: float = 20) -> tuple[int, str]:
        """The status and what is said on stderr, after these signals."""
        for number in signals:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=patience)
        return self.process.returncode, said


@pytest.fixture
def up() -> Iterator[Any]:
    started: list[Up] = []

    def start(*words: str) -> Up:
        started.append(Up(*words))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def test_what_up_says_works_as_it_stands(folder: Path, up: Any) -> None:
    """The line that is shown is run by a shell."""
    one = up("--port", "0", "--token")
    (line,) = re.findall(r"^  (curl .*)$", one.text, re.MULTILINE)
    done = subprocess.run(line, shell=True, capture_output=True, encoding="utf-8", check=True, timeout=60)
    assert "data: You" in done.stdout and "event: end" in done.stdout
    assert httpx.get(f"{one.address('API')}/workflows").status_code == 401
    assert httpx.get(one.address("Page")).status_code == 200
    status, said = one.end(signal.SIGINT)
    assert (status, said.splitlines()) == (
        0,
        ["stopping: what runs has a few seconds to end; Ctrl-C leaves at once", "■ stopped"],
    )


def test_several_workflows_and_what_they_miss_in_chinese(folder: Path, up: Any) -> None:
    (folder / "two.yml").write_text(TWO, "utf-8")
    one = up("-f", "two.yml", "--port", "0", "--ui", "none", "--language", "zh")
    assert one.text.startswith("Calm、Loud：正在提供服务\n") and "网页" not in one.text
    missing = zh.SENTENCES["Not set, and runs that need it will fail: {names}"].format(names="$SHOP_API_KEY")
    hint = zh.SENTENCES["With --local the embedded model answers in place of OpenAI-style services; no key needed."]
    assert f"\n\n{missing}\n{hint}\n" in one.text
    assert """-d '{"input": {"b": "x"}}'""" in one.text
    assert one.text.splitlines()[-1] == zh.SENTENCES["Ctrl-C stops it."]
    assert [each["workflow_id"] for each in httpx.get(f"{one.address('API')}/workflows").json()] == ["calm", "loud"]
    status, said = one.end(signal.SIGTERM)
    assert status == 0 and said.endswith("■ 已停止\n")


def test_a_second_interrupt_leaves_at_once(folder: Path, up: Any, faults: FaultServer) -> None:
    (folder / "compose.yml").write_text(stalled(faults), "utf-8")
    one = up("--port", "0", "--ui", "none")
    with httpx.stream("POST", f"{one.address('API')}/workflows/runs", json={"input": {}}, timeout=60) as answer:
        pieces = answer.iter_bytes()  # which hangs up when it is forgotten
        assert next(pieces)
        one.process.send_signal(signal.SIGINT)
        assert "stopping" in one.process.stderr.readline()
        assert one.process.poll() is None  # it waits for the run
        assert one.end(signal.SIGINT) == (130, "")


def test_in_the_background_until_down(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also where one was killed before: its file is left, and whoever has its process's number now is left alone."""
    file = standing.state_file(folder)
    file.parent.mkdir(parents=True, mode=0o700)
    file.write_text(json.dumps({"pid": os.getpid(), "url": "http://localhost:1", "text": "", "log": ""}), "utf-8")
    file.chmod(0o600)
    assert standing.found(folder) is None
    assert main(["down"]) == 0  # and this process lives
    assert capfd.readouterr().err == "nothing is served in the background for this folder\n"
    words = ["up", "-d", "--port", "0", "--token", "--ui", "none"]
    try:
        assert main(words) == 0
        said = capfd.readouterr().out
        assert said.startswith("served in the background\nChat: served\n  API:  http://localhost:")
        (line,) = re.findall(r"^  curl .*$", said, re.MULTILINE)
        url, bearer = re.findall(r"http:\S+", line)[0], re.findall(r"Bearer (\S+)\"", line)[0]
        assert httpx.post(url, json={"input": {}}, headers={"Authorization": f"Bearer {bearer}"}).status_code == 200
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert standing.log_file(folder).stat().st_mode & 0o777 == 0o600
        assert main(words) == 0
        again = capfd.readouterr().out
        assert again.startswith("this folder is served already\nChat: served\n")
        assert again.partition("\n")[2] == said.partition("\n")[2]
    finally:
        status = main(["down"])
    assert (status, capfd.readouterr().err) == (0, "■ stopped\n")
    assert standing.found(folder) is None and not file.exists()


def test_a_server_that_is_killed_holds_nothing(folder: Path, up: Any) -> None:
    script = "import sys; from pathlib import Path; from composemagic.cli import standing\n"
    script += "with standing.holding(Path.cwd()) as file:\n"
    script += "    standing.say_there(file, standing.Standing(7, 'http://localhost:1', 'text', 'log')); print(flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    assert standing.found(folder) == standing.Standing(7, "http://localhost:1", "text", "log")
    with pytest.raises(OSError), standing.holding(folder):
        raise AssertionError("two have it")
    process.kill()
    process.communicate()
    assert standing.found(folder) is None
    with standing.holding(folder) as file:
        assert file.read() == ""


def test_a_start_in_the_background_that_fails_is_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with bound("127.0.0.1", 0) as taken:
        status = main(["up", "-d", "--ui", "none", "--port", str(taken.getsockname()[1])])
    said = capfd.readouterr().err
    assert status == 1 and "is taken by another program" in said
    assert said.endswith("compose: the server did not start\n") and standing.found(folder) is None


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--host", "0.0.0.0"], 2, "so a token is needed: `--token`"),
        (["nobody"], 2, "no workflow `nobody`; there is `workflow`"),
        (["workflw"], 2, "no workflow `workflw`; did you mean `workflow`?"),
        (["compose.yml"], 2, "for a file write `-f compose.yml`"),
        (["-f", "wrong.yml"], 1, "unknown component type `ecco`; did you mean `echo`?"),
        (["-f", "hidden.yml"], 2, "there is no workflow in this document"),
        (["--ui", "gradio"], 2, "invalid choice: 'gradio'"),
        (["--port", "x"], 2, "invalid int value"),
        (["--token", "x"], 2, "a token is 8 or more letters"),
        (["--prot", "1"], 2, "did you mean `--port`?"),
    ],
)
def test_a_command_that_is_wrong(
    words: list[str], status: int, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "wrong.yml").write_text("component: {type: ecco}", "utf-8")
    (folder / "hidden.yml").write_text("workflow: {private: true}\ncomponent: {type: echo}", "utf-8")
    for more in ([], ["-d"]):
        assert main(["up", *words, *more]) == status
        assert said in capsys.readouterr().err


# ── %compose serve ──


class Shell:
    def __init__(self, **variables: Any) -> None:
        self.user_ns = variables


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chta"], "this notebook has no workflow `chta`; did you mean `chat`?"),
        ([], "which workflow? There are `chat`, `other`: `%compose serve NAME`"),
        (["chat", "--prot", "1"], "`%compose serve NAME`, with -f FILE"),
        (["-f", "nowhere.yml"], "there is no file `nowhere.yml`"),
        (["-f", "compose.yml", "nobody"], "no workflow `nobody`; there is `workflow`"),
        (["chat", "--host", "0.0.0.0"], "so a token is needed"),
    ],
)
def test_a_line_that_is_wrong(words: list[str], said: str, folder: Path, chat: composemagic.Workflow) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        magic.serve(words, Shell(chat=chat, other=composemagic.load(CHAT), x=1))


def test_a_notebook_without_a_workflow() -> None:
    with pytest.raises(UsageError, match="this notebook has no workflow yet"):
        magic.serve([], Shell(_=composemagic.load(CHAT)))


def test_a_notebook_serves(folder: Path) -> None:
    """In a real kernel: at once, beside other cells, again, and until the kernel ends."""
    with started_kernel() as kernel:
        first = f"import composemagic; chat = composemagic.load({CHAT!r}); ip = get_ipython()\n"
        first += "from composemagic.notebook.serving import serve; serve(['chat', '--port', '0'], ip)"
        done = kernel.execute(first)
        shown = done.outputs[0]["data"]
        (url,) = re.findall(r"API: +(\S+)", shown["text/plain"])
        assert f'<a href="{url}/workflows"' in shown["text/html"]
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        port = int(re.findall(r":(\d+)/", url)[0])
        again = kernel.execute(f"serving = chat.serve(port={port}); serving")
        assert f"API:  {url}" in again.text
        assert kernel.execute("chat(prompt='cell').output").text == "'You said: cell'"
        (line,) = kernel.execute("serve(['-f', 'compose.yml', '--port', '0'], ip)").outputs
        (other,) = re.findall(r"API: +(\S+)", line["data"]["text/plain"])
        assert httpx.get(f"{other}/health").status_code == 200
        assert kernel.execute("serve(['stop'], ip)").streams["stdout"] == "not served any more\n"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{other}/health")
        assert kernel.execute("serve(['stop'], ip)").streams["stdout"] == "nothing is served\n"
        assert httpx.get(f"{url}/health").status_code == 200
        kernel.client.shutdown()
        until(lambda: not kernel.manager.is_alive())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_the_process_ends_with_an_event(faults: FaultServer, folder: Path) -> None:
    """A script that serves and comes to its end stops what runs, and says so to who listens."""
    script = f"import composemagic; s = composemagic.load({stalled(faults)!r}).serve(port=0); print(s.url, flush=True); input()"
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with httpx.stream("POST", f"{url}/workflows/runs", json={"input": {}}, timeout=60) as answer:
        pieces = answer.iter_text()
        next(pieces)
        process.communicate("\n", timeout=60)
        assert "event: error" in "".join(pieces)
    assert process.returncode == 0
