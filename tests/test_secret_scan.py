"""A canary in the environment; notebooks full of faults are executed, the same is asked of a server; then all that was written and
answered is searched for it: notebooks with the state of their widgets, pages, histories, recordings, logs."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter, MarkdownExporter

from composemagic.api import load_all
from composemagic.server.serving import Serving, wanted
from tests.conftest import answering

ROOT = Path(__file__).parent.parent
KEY = "sk-canary-Zq7+Xp/9vTb4RcK8sWd&3"
OTHER = "Canary0PassWordOfTheShop"  # a secret by the variable's name alone


def forms(key: str) -> set[bytes]:
    """How a key may be written; of base64 what does not depend on its neighbours."""
    texts = {
        key,
        quote(key, safe=""),
        quote_plus(key),
        json.dumps(key)[1:-1],
        key.replace("/", "\\/"),
        key.replace("&", "&amp;"),
    }
    texts |= {base64.b64encode(b"x" * before + key.encode()).decode()[4 * bool(before) : -8] for before in range(3)}
    return {text.encode() for text in texts} | {key.encode("utf-16-le")}


SOUGHT = forms(KEY) | forms(OTHER)


class _Faults(BaseHTTPRequestHandler):
    """Every fault repeats the key that it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"] or 0))
        said = self.headers["authorization"] or ""
        key = said.removeprefix("Bearer ")
        name = self.path.strip("/").partition("?")[0]
        getattr(self, "_" + name.replace("-", "_"))(said, key)

    def _send(self, status: int, kind: str, body: bytes, *, promised: int | None = None, **headers: str) -> None:
        self.send_response(status)
        length = len(body) if promised is None else promised
        for header, value in {"content-type": kind, "content-length": str(length), "x-said": KEY, **headers}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _json(self, status: int, value: object) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _events(self, texts: list[str], *, end: bytes = b"data: [DONE]\n\n", more: int = 0) -> None:
        chunks = [{"choices": [{"delta": {"content": text}}]} for text in texts]
        body = b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + end
        self._send(200, "text/event-stream", body, promised=len(body) + more)

    def _refused(self, said: str, key: str) -> None:
        self._json(401, {"error": {"message": f"Incorrect API key provided: {key}"}})

    def _bad(self, said: str, key: str) -> None:
        self._json(400, {"detail": [{"msg": f"header {said}", key: said}]})

    def _page(self, said: str, key: str) -> None:
        self._send(502, "text/html", f"<title>Bad {said}</title><p>{key}".encode())

    def _limited(self, said: str, key: str) -> None:
        headers = {"x-ratelimit-reset-requests": key, "retry-after": "999"}
        self._send(429, "application/json", json.dumps({"error": said}).encode(), **headers)

    def _moved(self, said: str, key: str) -> None:
        self._send(307, "text/plain", b"", location=f"https://evil.example/?k={quote(key)}")

    def _whole(self, said: str, key: str) -> None:
        self._json(200, {"choices": [{"message": {"content": f"You sent {said}"}}], key: [said]})

    def _text(self, said: str, key: str) -> None:
        self._send(200, "text/plain", f"{said} {quote(key)} {base64.b64encode(said.encode()).decode()}".encode())

    def _stream(self, said: str, key: str) -> None:
        self._events(["You ", *said, " and ", base64.b64encode(key.encode()).decode(), key[:9], key[9:], " **done**"])

    def _cut(self, said: str, key: str) -> None:
        self._events(["You sent ", key[:12], key[12:]], end=b"", more=100)

    def _broken(self, said: str, key: str) -> None:
        self._events(["a"], end=f"data: {{{key}\n\n".encode())

    def _failing(self, said: str, key: str) -> None:
        self._events(["a"], end=b'data: {"error": {"message": "no ' + key.encode() + b'"}}\n\n')

    def _html(self, said: str, key: str) -> None:
        self._events([f"<b>{key}</b> | a | {key} |\n", f"```\n{key}\n```\n", f"[x](https://h/?{quote(key)})"])

    def _nothing(self, said: str, key: str) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


FAULTS = sorted(name.removeprefix("_").replace("_", "-") for name in vars(_Faults) if name.startswith("_") and name.removeprefix("_") in (
    "refused", "bad", "page", "limited", "moved", "whole", "text", "stream", "cut", "broken", "failing", "html", "nothing"
))  # fmt: skip
OUTPUTS = {
    "as it is": "",
    "text": "  output: ${response[].choices[0].delta.content}\n",
    "object": "  output: {a: '${response}', b: 'x ${response}'}\n",
}


# how the notebook's runs are shown, and in which shapes
DISPLAYS = {"auto": list(OUTPUTS.values()), "widget": list(OUTPUTS.values()), "plain": [OUTPUTS["text"]]}
EVERY_XMODE = """
for mode in ("Context", "Verbose", "Plain", "Minimal"):
    get_ipython().run_line_magic("xmode", mode)
    try:
        run.raise_for_error()
    except Exception:
        get_ipython().showtraceback()
"""


def yaml(base: str, fault: str, output: str, name: str = "CANARY_API_KEY") -> str:
    stream = "true" if "delta" in output else "false"
    return (
        f"component:\n  type: http-client\n  endpoint: {base}/{fault}\n  max_retries: 0\n  timeout: {{read: 5s}}\n"
        f'  headers: {{Authorization: "Bearer ${{env.{name}}}"}}\n  body: {{model: m, stream: {stream}}}\n{output}'
    )


def cells(base: str, display: str, log: Path) -> list[str]:
    found = [
        f"import logging; logging.basicConfig(filename={str(log)!r}, level=logging.DEBUG)\n%load_ext composemagic\n%xmode Verbose",
        f"%config ComposeMagics.display = {display!r}\n%config ComposeMagics.history = 'runs.sqlite'",
        "%compose secrets",
    ]
    for fault in FAULTS:
        for output in DISPLAYS[display]:
            found += [f"%%compose flow -o run --record tape.jsonl\n{yaml(base, fault, output)}", EVERY_XMODE]
        found.append("print(run.events, run.jobs, run.points); run")
        found.append("flow()")
        found.append("trace = flow.trace(); print(repr(trace)); trace")
        found.append("print(repr(run.output), run.text)\nrun.raise_for_error()")
    found += [
        f"%%compose\n{yaml('https://llm.example', 'x', '')}",
        f"%%compose\n{yaml(base, 'whole', '', 'STRANGE_KEY')}",
        f"%%compose\n{yaml(base, 'whole?k=${env.CANARY_API_KEY}', '')}",
        f"%%compose\n{yaml(base, 'refused', '', 'SHOP_PASSWORD')}",
        "%%compose\nworkflow: {output: '${env.CANARY_API_KEY}'}\ncomponent: {type: echo, value: 1}",
        "%%compose\nworkflow: {job: {input: {n: '${env.CANARY_API_KEY as integer}'}}}\ncomponent: {type: echo}",
        "%%compose\ncomponent: {type: echo, text: 'x ${env.SHOP_PASSWORD}'}",
        "import composemagic\nundo = composemagic.allow('CANARY_API_KEY', 'function')\ndef fails(a):\n    raise ValueError('cannot do ' + a)",
        "%%compose\ncomponent: {type: function, function: fails, input: {a: '${env.CANARY_API_KEY}'}}",
        "%tb",
        "import composemagic\nundo = composemagic.allow('shell')",
        "%%compose\ncomponent: {type: shell, command: [env]}",
        "%%compose\ncomponent: {type: shell, command: [sh, -c, 'env >&2; exit 3']}",
        "import asyncio, traceback\ntry:\n    flow()\nexcept Exception as error:\n    traceback.print_exc(); print(vars(error))",
        "%compose secrets forget CANARY_API_KEY",
        f"%%compose --explain\n{yaml(base, 'stream', OUTPUTS['text'])}",
        f"%%compose --trace --replay tape.jsonl\n{yaml(base, 'stream', OUTPUTS['text'])}",
        "%compose runs",
        "composemagic.runs[0]",
        "import time\nfor past in composemagic.runs: print(past, list(past.events) if hasattr(past, 'events') else vars(past))",
    ]
    return found


def hits_in(folder: Path) -> list[tuple[str, bytes]]:
    """The forms of a key that stand in files. What sqlite cuts at the ends of its pages is searched whole."""
    for file in folder.rglob("*.sqlite"):
        with closing(sqlite3.connect(file)) as base:
            file.with_suffix(".sql").write_text("\n".join(base.iterdump()), encoding="utf-8")
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [(file.name, form) for file in files for form in SOUGHT if form in file.read_bytes()]


@pytest.mark.parametrize("display", DISPLAYS)
def test_nothing_that_is_written_holds_a_key(display: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(_Faults) as base:
        sources = cells(base, display, tmp_path / "log.txt")
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CANARY_API_KEY": KEY,
            "SHOP_PASSWORD": OTHER,
            "STRANGE_KEY": f"{KEY}\r\nX-Evil: 1",
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "HOME": str(tmp_path / "home"),
        }
        client = NotebookClient(
            notebook,
            timeout=120,
            allow_errors=True,
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
            ipython_hist_file=str(tmp_path / "history.sqlite"),
        )
        client.execute(env=environment)
    nbformat.write(notebook, tmp_path / "done.ipynb")
    for exporter, name in ((HTMLExporter(), "done.html"), (MarkdownExporter(), "done.md")):
        (tmp_path / name).write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")
    shown = json.dumps(notebook["cells"])
    assert shown.count("***") > len(FAULTS) * 3, "the faults have not repeated the key"
    assert "Bearer ***" in shown and "rejected the key from" in shown and "has a line break in it" in shown
    if display == "widget":  # what a front end saves of them
        states = notebook["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
        assert any("***" in json.dumps(state) for state in states.values())
    hits = hits_in(tmp_path)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    texts = {file.name: file.read_text(encoding="utf-8", errors="replace") for file in files}
    with capsys.disabled():
        size = sum(file.stat().st_size for file in files)
        print(
            f"\n  canary scan, shown as {display}: {len(sources)} cells, {len(files)} files, {size} bytes, {len(hits)} hits"
        )
    assert not hits
    assert {"done.ipynb", "done.html", "done.md", "history.sqlite", "log.txt"} <= texts.keys()
    assert texts["tape.jsonl"].count("***") > len(FAULTS) and texts["runs.sql"].count("***") > len(FAULTS)


# -- a server ------------------------------------------------------------------------------------------------------------------


def workflows(base: str) -> str:
    """Every fault in every shape as a workflow of its own."""
    jobs, components = [], []
    for fault in FAULTS:
        for number, output in enumerate(OUTPUTS.values()):
            name = f"{fault}-{number}"
            jobs.append(f"  - {{id: {name}, job: {{component: {name}}}}}\n")
            _, _, action = yaml(base, fault, output).partition("component:\n")
            components.append(f"  - id: {name}\n" + "".join(f"  {line}\n" for line in action.splitlines()))
    return f"workflows:\n{''.join(jobs)}components:\n{''.join(components)}"


@contextmanager
def serving(document: str) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """The API and the page of a server, as `composemagic up` has them."""
    found = load_all(document, env={"CANARY_API_KEY": KEY})
    with (
        Serving(found, wanted(found[0], port=0)) as server,
        httpx.Client(base_url=server.url, timeout=60) as api,
        httpx.Client(base_url=str(server.page_url), timeout=60) as page,
    ):
        yield api, page


def asked_of(api: httpx.Client, page: httpx.Client, name: str) -> Iterator[httpx.Response]:
    """All that the server can be asked about a run, in each of the ways to start one; of the other shapes in one way."""
    ways: list[dict[str, bool]] = [{}, {"output_only": True}, {"wait_for_completion": False}]
    for how in ways if name.endswith("-1") else ways[:1]:
        accept = "text/event-stream" if "output_only" in how else "application/json"
        begun = api.post("/workflows/runs", json={"workflow_id": name, **how}, headers={"accept": accept})
        yield begun
        if task := begun.headers.get("x-task-id"):
            yield from (api.get(f"/tasks/{task}{path}") for path in ("/stream", "/events", "", "?output_only=true"))
            yield page.get(f"/api/tasks/{task}/page")
    for stream in (False, True):
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        yield api.post("/v1/chat/completions", json=body)
    yield api.get(f"/workflows/{name}/schema")


def test_no_answer_of_a_server_holds_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard = io.StringIO()
    ear, root = logging.StreamHandler(heard), logging.getLogger()
    before = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        with answering(_Faults) as base, serving(workflows(base)) as (api, page):
            listed = api.get("/workflows").json()
            names = [one["workflow_id"] for one in listed]
            assert len(names) == len(FAULTS) * len(OUTPUTS)
            answers = [api.get("/openapi.json"), api.get("/v1/models"), page.get("/"), page.get("/api/page")]
            answers += [answer for name in names for answer in asked_of(api, page, name)]
    finally:
        root.removeHandler(ear)
        root.setLevel(before)
    told = [f"{answer.status_code} {answer.headers!r}\n".encode() + answer.content for answer in answers]
    (tmp_path / "told").write_bytes(b"\n".join(told))
    (tmp_path / "log").write_text(heard.getvalue(), encoding="utf-8")
    hits = hits_in(tmp_path)
    with capsys.disabled():
        print(f"\n  canary scan, server: {len(told)} answers, {sum(map(len, told))} bytes, {len(hits)} hits")
    assert not hits
    assert sum(b"***" in one for one in told) > len(FAULTS) * 4, "the faults have not repeated the key"
