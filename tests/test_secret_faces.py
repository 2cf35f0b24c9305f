"""Secrets in the faces: where they come from, the list of them, the flag, the questions in a terminal and a notebook."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import composemagic
from composemagic.allowance import granted, parsed, take_back
from composemagic.cli import main
from composemagic.errors import UsageError
from composemagic.transport import remembered
from composemagic.transport.known import known, lines, told
from composemagic.workflow import environment
from composemagic.workflow.environment import Environment, typed

KEY = "sk-canary-0123456789abcdef"
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(environment, "_typed", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    for name in list(os.environ):
        if name.endswith(("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_BASE_URL")):
            monkeypatch.delenv(name)
    yield tmp_path


# -- where they come from --------------------------------------------------------------------------------------------------


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A package of that name which knows one key, and what it was asked."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "keyring.py").write_text(
        "asked = []\n"
        "def get_password(service, name):\n"
        "    asked.append((service, name))\n"
        "    if name == 'LOCKED_KEY':\n"
        "        raise RuntimeError('locked')\n"
        "    return {'RING_KEY': 'of-the-ring', 'BOTH_KEY': 'ring', 'MODEL': 'm'}.get(name)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    module = import_module("keyring")
    del sys.modules["keyring"]
    monkeypatch.setitem(sys.modules, "keyring", module)  # and gone with the test
    found: list[tuple[str, str]] = module.asked
    return found


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Colab's module, whose user has let this notebook see two secrets, and what it was asked."""
    asked: list[str] = []

    def get(name: str) -> str:
        asked.append(name)
        if name == "SHUT_KEY":
            raise PermissionError("Notebook does not have access to secret")
        return {"LAB_KEY": "of-colab", "BOTH_KEY": "colab"}[name]

    userdata = ModuleType("google.colab.userdata")
    vars(userdata)["get"] = get
    for name, module in {
        "google": ModuleType("google"),
        "google.colab": ModuleType("google.colab"),
        "google.colab.userdata": userdata,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return asked


def test_the_keyring_is_asked_last_and_once(keyring: list[tuple[str, str]], home: Path) -> None:
    env = Environment({"GIVEN_KEY": "given"}, folder=home)
    assert (env["RING_KEY"], env["RING_KEY"], env["GIVEN_KEY"]) == ("of-the-ring", "of-the-ring", "given")
    assert keyring == [("composemagic", "RING_KEY")]
    assert env.origin("RING_KEY") == "from the keyring" and env.rank("RING_KEY") == 4
    assert "MODEL" not in env and "LOCKED_KEY" not in env and env.get("NO_KEY") is None
    assert keyring[1:] == [("composemagic", "LOCKED_KEY"), ("composemagic", "NO_KEY")]


def test_colab_before_the_keyring(colab: list[str], keyring: list[tuple[str, str]], home: Path) -> None:
    (home / ".env").write_text("FILE_KEY=file\n")
    env = Environment(folder=home)
    assert (env["FILE_KEY"], env["LAB_KEY"], env["BOTH_KEY"], env["RING_KEY"]) == (
        "file",
        "of-colab",
        "colab",
        "of-the-ring",
    )
    assert "FILE_KEY" not in colab and env.origin("LAB_KEY") == "from Colab's secrets" and "SHUT_KEY" not in env


def test_colab_is_asked_on_the_thread_of_the_caller(colab: list[str]) -> None:
    yaml = "component: {type: http-client, endpoint: 'http://127.0.0.1:9/', max_retries: 0, headers: {A: '${env.LAB_KEY}'}}"
    workflow = composemagic.load(yaml)
    assert colab == []
    workflow.start({}, local=True, begins=False).cancel()  # begun, it would itself ask for what its own host gets
    assert colab == []
    run = workflow.start({})
    assert colab == ["LAB_KEY"] and run.wait(60)
    assert colab == ["LAB_KEY"] and run.error is not None and run.error.kind == "connect"


def test_without_them_nothing_is_found(home: Path) -> None:
    env = Environment(folder=home)
    with pytest.raises(KeyError):
        env["RING_KEY"]
    assert (env.rank("RING_KEY"), env.origin("RING_KEY")) == (9, "")


def test_what_was_typed_is_known_until_the_process_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed("SOME_KEY", "abc")
    assert Environment(folder=home)["SOME_KEY"] == "abc" and Environment(folder=home).origin("SOME_KEY") == "typed in"
    monkeypatch.setenv("SOME_KEY", "process")
    assert Environment(folder=home)["SOME_KEY"] == "process"


def test_origins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text("A_KEY=1\nB_KEY=1\nC_KEY=1\n")
    monkeypatch.setenv("B_KEY", "2")
    env = Environment({"C_KEY": "3"}, folder=home)
    assert [env.origin(name) for name in ("A_KEY", "B_KEY", "C_KEY")] == [
        f"from {home / '.env'}",
        "from the process's environment",
        "given with -e",
    ]
    assert [env.rank(name) for name in ("A_KEY", "B_KEY", "C_KEY")] == [2, 1, 0]


# -- the list ------------------------------------------------------------------------------------------------------------


def test_the_list(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text(f"OPENAI_API_KEY={KEY}\nMODEL=gpt-4o\nSHOP_TOKEN={KEY}\nODD=ghp_{KEY}\n")
    monkeypatch.setenv("SHOP_API_KEY", KEY)
    monkeypatch.setenv("SHOP_BASE_URL", "https://shop.example/v1")
    remembered.remember("SHOP_TOKEN", "https://a.example", "header")
    remembered.remember("GONE_KEY", "https://b.example", "query")
    undo = composemagic.allow("ODD", "https://c.example", place="body")
    try:
        env = Environment(folder=home)
        mine = [
            one
            for one in known(env)
            if one.name in ("OPENAI_API_KEY", "SHOP_TOKEN", "ODD", "SHOP_API_KEY", "GONE_KEY", "MODEL")
        ]
        text = lines(mine)
    finally:
        undo()
    assert text.splitlines() == [
        "GONE_KEY  not set",
        "  → https://b.example [query] (you said yes)",
        f"ODD  from {home / '.env'}",
        "  → https://c.example [body] (allowed here)",
        f"OPENAI_API_KEY  from {home / '.env'}",
        "  → https://api.openai.com",
        "  → https://us.api.openai.com",
        "  → https://eu.api.openai.com",
        "SHOP_API_KEY  from the process's environment",
        "  → https://shop.example",
        f"SHOP_TOKEN  from {home / '.env'}",
        "  → https://a.example (you said yes)",
    ]
    assert KEY not in told([], env)
    assert "X_KEY  given with -e\n  → no host is known as its own: it is asked for" in told(
        [], Environment({"X_KEY": KEY}, folder=home)
    )
    assert lines([]) == "no variable here looks like a secret"


def test_forgetting() -> None:
    remembered.remember("A_KEY", "https://a.example", "header")
    remembered.remember("A_KEY", "https://b.example", "header")
    composemagic.allow("A_KEY", "https://c.example")
    assert told(["forget", "A_KEY", "a.example"], {}) == "forgotten: where `A_KEY` may go is asked again"
    assert [one.origin for one in remembered.answers()] == ["https://b.example"] and granted()
    assert told(["forget", "A_KEY"], {}) == "forgotten: where `A_KEY` may go is asked again"
    assert not remembered.answers() and not granted()
    assert told(["forget", "A_KEY"], {}) == "nothing was remembered about `A_KEY`"
    for words in (["forget"], ["forgt", "A_KEY"], ["forget", "A", "b", "c"], ["x"]):
        with pytest.raises(UsageError, match="write `secrets`"):
            told(words, {})


def test_the_command(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / ".env").write_text(f"SHOP_API_KEY={KEY}\n")
    (home / "other.env").write_text(f"OTHER_API_KEY={KEY}\n")
    assert main(["secrets"]) == 0
    out = capsys.readouterr().out
    assert f"SHOP_API_KEY  from {home / '.env'}" in out and KEY not in out
    assert main(["secrets", "--env-file", "other.env"]) == 0
    assert "OTHER_API_KEY  from other.env" in capsys.readouterr().out
    assert main(["secrets", "forget", "SHOP_API_KEY"]) == 0
    assert capsys.readouterr().out == "nothing was remembered about `SHOP_API_KEY`\n"
    assert main(["secrets", "forget"]) == 2 and "write `secrets`" in capsys.readouterr().err
    assert main(["secrets", "forget", "A_KEY", "ftp://x"]) == 2


# -- the flag ------------------------------------------------------------------------------------------------------------

ITEMS = [
    ("shell", (("shell",), "header")),
    ("A_KEY=https://h", (("A_KEY", "https://h"), "header")),
    ("A_KEY=https://h:8443=body", (("A_KEY", "https://h:8443"), "body")),
    ("A_KEY=shell", (("A_KEY", "shell"), "header")),
]


@pytest.mark.parametrize(("item", "words"), ITEMS)
def test_what_the_flag_writes(item: str, words: Any) -> None:
    assert parsed(item) == words


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"got {self.headers['authorization'] == f'Bearer {KEY}'}".encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def elsewhere(home: Path) -> Iterator[str]:
    """A server that answers under this machine's name for itself by network, which is no loopback; a document that asks it."""
    server = ThreadingHTTPServer(("0.0.0.0", 0), _Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://{own_address()}:{server.server_port}"
    (home / "compose.yml").write_text(
        f"component: {{type: http-client, method: GET, endpoint: '{base}/', max_retries: 0, headers: {{Authorization: 'Bearer ${{env.FAR_API_KEY}}'}}}}\n"
    )
    yield base
    server.shutdown()
    server.server_close()


def own_address() -> str:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            found: str = probe.getsockname()[0]
        except OSError:
            found = "127.0.0.1"
    if found.startswith("127."):
        pytest.skip("this machine has no other address than loopback")
    return found


def test_a_real_host_gets_it_only_with_the_flag(
    elsewhere: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    words = ["run", "-e", f"FAR_API_KEY={KEY}"]
    assert main(words) == 1
    done = capsys.readouterr()
    assert f"--allow FAR_API_KEY={elsewhere}" in done.err and KEY not in done.err + done.out and not done.out
    assert main([*words, "--allow", f"FAR_API_KEY={elsewhere}"]) == 0
    assert capsys.readouterr().out == "got True"
    take_back("FAR_API_KEY")
    assert main([*words, "-e", f"FAR_BASE_URL={elsewhere}/v1"]) == 0
    assert capsys.readouterr().out == "got True"
    for wrong in ("FAR_API_KEY", "FAR_API_KEY=ftp://x", f"FAR_API_KEY={elsewhere}=cookie", "shel"):
        assert main([*words, "--allow", wrong]) == 2, wrong
    assert main(words) == 1 and not remembered.file().exists()


@pytest.mark.skipif(sys.platform == "win32", reason="pexpect")
def test_a_terminal_is_asked_once(elsewhere: str, home: Path) -> None:
    import pexpect

    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(home / "config"),
        "no_proxy": "*",
        "LANG": "C.UTF-8",
    }

    def start() -> Any:
        return pexpect.spawn(
            sys.executable, ["-m", "composemagic", "run"], cwd=str(home), env=environ, encoding="utf-8", timeout=60
        )  # type: ignore[arg-type]

    terminal = start()
    terminal.expect_exact("this needs `FAR_API_KEY`, which is not set")
    terminal.expect_exact("FAR_API_KEY (not shown; Enter to leave it out): ")
    terminal.sendline(KEY)
    terminal.expect_exact("May the secret `FAR_API_KEY` be sent to")
    terminal.expect_exact("Enter goes on")
    terminal.sendline("no")
    terminal.expect_exact("may not be sent to")
    terminal.expect(pexpect.EOF)
    assert not remembered.file().exists()
    terminal = start()
    terminal.expect_exact("Enter to leave it out): ")
    terminal.sendline(KEY)
    terminal.expect_exact("Enter goes on")
    terminal.sendline("yes")
    terminal.expect_exact("got True")
    terminal.expect(pexpect.EOF)
    environ["FAR_API_KEY"] = KEY
    terminal = start()
    terminal.expect_exact("got True")
    terminal.expect(pexpect.EOF)
    assert "May the secret" not in (terminal.before or "")
    assert KEY not in remembered.file().read_text()
    del environ["FAR_API_KEY"]
    terminal = start()
    terminal.expect_exact("Enter to leave it out): ")
    terminal.sendline("")
    terminal.expect_exact("the environment variable `FAR_API_KEY` is not set")
    terminal.expect(pexpect.EOF)


# -- the notebook --------------------------------------------------------------------------------------------------------


def test_a_key_is_typed_below_the_cell(kernel: Any) -> None:
    kernel.execute("%load_ext composemagic")
    cell = "%%compose -o run\ncomponent: {type: http-client, endpoint: 'http://127.0.0.1:9/', max_retries: 0, headers: {A: '${env.TYPED_API_KEY}'}}"
    for answer, sentence in (("", "`TYPED_API_KEY` is not set"), (KEY, "Nothing listens at 127.0.0.1:9")):
        sent = kernel.submit(cell)
        asked = kernel.client.get_stdin_msg(timeout=60)["content"]
        assert asked["password"] and asked["prompt"].startswith("TYPED_API_KEY (not shown")
        kernel.client.input(answer)
        done = kernel.collect(sent)
        assert "`TYPED_API_KEY`, which is not set" in done.streams["stdout"] and "`.env`" in done.streams["stdout"]
        assert sentence in str(done.error) and KEY not in str(done)
    done = kernel.execute(cell)  # and is not asked for again
    assert "Nothing listens" in str(done.error)
    done = kernel.execute("%compose secrets")
    assert "TYPED_API_KEY  typed in" in done.streams["stdout"] and KEY not in str(done)


def test_the_line_magic_and_the_setting(kernel: Any, home: Path) -> None:
    setup = f"import os; os.environ['XDG_CONFIG_HOME'] = {str(home / 'config')!r}; os.environ['FAR_API_KEY'] = {KEY!r}\n%load_ext composemagic"
    assert kernel.execute(setup).error is None
    done = kernel.execute("%compose secrets")
    said = done.streams["stdout"]
    assert "FAR_API_KEY  from the process's environment" in said and KEY not in said
    done = kernel.execute("%compose secrets forget FAR_API_KEY")
    assert done.streams["stdout"] == "nothing was remembered about `FAR_API_KEY`\n"
    done = kernel.execute("%compose")
    assert done.error is not None and "a workflow stands below `%%compose`" in str(done.error)
    cell = "%%compose\ncomponent: {type: http-client, endpoint: 'http://far.invalid/', max_retries: 0, headers: {A: '${env.FAR_API_KEY}'}}"
    done = kernel.execute(cell, allow_stdin=False)
    assert 'composemagic.allow("FAR_API_KEY", "http://far.invalid")' in str(done.error)
    kernel.execute("%config ComposeMagics.allow = ['FAR_API_KEY=http://far.invalid']")
    assert "Cannot find the host far.invalid" in str(kernel.execute(cell, allow_stdin=False).error)
    kernel.execute("%config ComposeMagics.allow = []")
    assert "may not be sent" in str(kernel.execute(cell, allow_stdin=False).error)
