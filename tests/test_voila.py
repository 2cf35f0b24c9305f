"""`up --ui voila`: the notebook's form as a page, in a process of its own; what it refuses, and that it ends."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from composemagic.errors import DocumentError, UsageError
from composemagic.notebook.attended import can_click, in_voila
from composemagic.server import voila
from composemagic.server.voila import Voila
from composemagic.server.voila_child import _settings
from tests.conftest import ROOT
from tests.lab import Lab

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
LETTER = """\
workflows:
  letter:
    title: Write a letter
    output:
      letter: ${output as stream/text}
      picture: ${input.picture as image | null}
    job:
      component:
        type: echo
        action:
          delay: ${input.delay as number | 0}
          text: "${input.name as string @(title Customer's name)}: ${input.facts as text}"
  short:
    title: A short one
    job: {component: {type: echo, action: {text: "${input.word as string}"}}}
  inner:
    private: true
    job: {component: {type: echo, action: {text: x}}}
"""


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    path = tmp_path / "letter.yml"
    path.write_text(LETTER)
    return path


def test_what_is_refused_before_anything_starts(letter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="can be reached by others: give a `--token`"):
        Voila([letter], host="0.0.0.0")
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("component: {type: ecko}")
    with pytest.raises(DocumentError, match="ecko"):
        Voila([wrong])
    with pytest.raises(UsageError, match="no file"):
        Voila([tmp_path / "nothing.yml"])
    assert Voila([letter], host="0.0.0.0", token="a-long-token").titles == ("Write a letter", "A short one")
    monkeypatch.setattr(voila, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "composemagic\[ui\]"'):
        Voila([letter])


def test_a_port_that_is_taken(letter: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(UsageError, match="port"):
        Voila([letter], port=listener.getsockname()[1]).__enter__()


def test_the_settings_of_the_guard() -> None:
    given = {"notebook": "x", "host": "127.0.0.1", "port": 1, "token": "t", "theme": "dark", "is_open": False}
    settings = _settings(given)
    assert settings["Voila"]["ip"] == "127.0.0.1"
    assert settings["Voila"]["token"] == "t"
    assert settings["Voila"]["tornado_settings"]["allow_remote_access"] is False
    assert "token" not in _settings({**given, "token": ""})["Voila"]
    policy = settings["Voila"]["tornado_settings"]["headers"]["Content-Security-Policy"]
    assert "https:" not in policy


def test_where_somebody_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        _allow_stdin = False

    class Shell:
        kernel = Kernel()

    monkeypatch.delenv("VOILA_BASE_URL", raising=False)
    assert (can_click(None), can_click(Shell()), in_voila()) == (False, False, False)
    monkeypatch.setenv("VOILA_BASE_URL", "/")
    assert (can_click(Shell()), in_voila()) == (True, True)


def status(url: str, host: str, path: str = "/") -> int:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.browser
def test_a_form_in_voila_runs_streams_stops_and_takes_a_file(lab: Lab, letter: Path) -> None:
    with Voila([letter], port=0) as served:
        process = served._process
        assert process
        assert status(served.url, "evil.example") == 403
        assert status(served.url, "localhost", "/voila/files/workflow.ipynb") in (403, 404)
        page = lab._context.new_page()
        asked: list[str] = []
        page.on("response", lambda answer: asked.append(answer.url))
        page.goto(served.url, timeout=60_000)
        name = page.get_by_label("Customer's name *")
        name.fill("Ada", timeout=60_000)
        page.get_by_label("facts *").fill("word " * 500)
        page.get_by_label("delay").fill("0.02")
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose a file").click()
        chooser.value.set_files([{"name": "dot.png", "mimeType": "image/png", "buffer": PNG}])
        page.get_by_text("dot.png, 70 bytes").wait_for()
        page.get_by_role("button", name="Run").first.click()
        page.get_by_text("Ada: word word").first.wait_for()
        page.get_by_role("button", name="Stop").first.click()
        page.get_by_text("■ stopped").wait_for()
        page.get_by_role("tab", name="A short one").click()
        page.get_by_label("word *").fill("hello")
        page.get_by_label("word *").press("Enter")
        page.get_by_text("A short one with word = hello").wait_for()
        page.get_by_text("✓ done").wait_for()
        assert "page(" not in page.content()  # no source is shown
        assert {urlsplit(url).hostname for url in asked if url.startswith("http")} == {"127.0.0.1"}
        page.close()
    assert process.poll() is not None
    assert not served._process


ASK = """
workflow: {title: Talk}
component:
  type: http-client
  base_url: %s/n=%d,delay=%d/v1
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


@pytest.mark.browser
def test_other_faces_in_voila_end_where_they_stand(
    lab: Lab, letter: Path, replay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of Voilà takes no update of a display once its cells have run: what a click changes is a widget's."""
    endless = ASK % (replay, 50_000, 50)
    cells = [
        "%load_ext composemagic\n%config ComposeMagics.language = 'en'",
        f"%%compose talk -i prompt=x\n{ASK % (replay, 20, 2)}",
        "chat = talk.chat(); chat",
        f"%%compose --sweep t=0,1 -i prompt=x\n{endless}",
        f"%%compose --race -i prompt=x\n{endless}",
        f"%%compose --background -i prompt=x\n{endless}",
    ]
    one = voila._notebook
    sources = [{**one(cell)["cells"][0], "id": f"cell-{place}"} for place, cell in enumerate(cells)]
    monkeypatch.setattr(voila, "_notebook", lambda _: {**one(""), "cells": sources})
    with Voila([letter], port=0) as served:
        page = lab._context.new_page()
        page.goto(served.url, timeout=60_000)
        line, chat = page.get_by_placeholder("Your question; Enter sends it"), page.locator(".compose-chat")
        for count, question in enumerate(("first", "second")):
            line.fill(question, timeout=60_000)
            line.press("Enter")
            chat.get_by_text("✓ done").nth(count).wait_for()
        assert chat.get_by_label("You").all_inner_texts() == ["first", "second"]
        page.get_by_role("button", name="Stop all").click()
        page.get_by_text("2 combinations: 2 stopped").wait_for()
        stops = page.get_by_role("button", name="Stop", disabled=False)
        stops.first.click()
        page.get_by_text("The race was not run to its end.").wait_for()
        stops.first.click()
        stops.first.wait_for(state="detached")
        shot(page, "voila")
        assert page.get_by_text("■ stopped").count() >= 3
        assert page.get_by_text("the quick brown").count() >= 6
        page.close()


def shot(page: Any, name: str) -> None:
    if folder := os.environ.get("COMPOSEMAGIC_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_voila_ends_with_who_started_it(letter: Path) -> None:
    words = [sys.executable, "-m", "composemagic", "up", "-f", str(letter), "--ui", "voila", "--port", "0"]
    process = subprocess.Popen(
        words,
        cwd=letter.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LANGUAGE": "en"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    said = [line.strip() for line in iter(process.stdout.readline, "Ctrl-C stops it.\n")]
    assert said[0] == "Write a letter, A short one: served"
    assert any(re.fullmatch(r"Page: http://127\.0\.0\.1:\d+/", line) for line in said)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.stdout.close()
    end = time.monotonic() + 30
    while Path(f"/proc/{children[0]}").exists() and time.monotonic() < end:
        time.sleep(0.05)  # between two looks at the condition
    assert not Path(f"/proc/{children[0]}").exists()


def test_the_notebook_is_one_cell() -> None:
    [cell] = voila._notebook("x = 1")["cells"]
    assert json.dumps(cell["source"]) == '"x = 1"'
