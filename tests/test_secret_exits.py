"""No form of a secret leaves a run: through events, output, errors, logs, Python's representations or the command line."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import AsyncGenerator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import composemagic
from composemagic.engine.run import Run
from composemagic.text import plain
from tests.conftest import answering

KEY = "sk-canary-Zq7+Xp/9vTb4RcK8sWd&3"
FORMS = {
    "plain": KEY,
    "in an address": quote(KEY, safe=""),
    "in an address, small": re.sub("%..", lambda found: found[0].lower(), quote(KEY, safe="")),
    "in a form": quote_plus(KEY),
    "JSON": json.dumps(KEY)[1:-1],
    "JSON with slashes": KEY.replace("/", "\\/"),
    "HTML": KEY.replace("&", "&amp;"),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of more": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(f"{KEY}:x".encode()).decode(),
}
# what must be found nowhere: of base64 the characters that only the key decides
SOUGHT = {KEY, quote(KEY, safe=""), quote_plus(KEY), KEY.replace("/", "\\/"), KEY.replace("&", "&amp;")} | {
    base64.b64encode(b"x" * before + KEY.encode()).decode()[4 * bool(before) : -8] for before in range(3)
}


def leaks(text: str) -> set[str]:
    return {form for form in SOUGHT if form in text}


def everything(run: Run) -> str:
    """All that anybody can get out of a run without a key for it."""
    told = [
        run.text,
        repr(run.output),
        str(run),
        repr(run),
        repr(run.events),
        repr(run.jobs),
        repr(run.points),
        repr(run.error),
    ]
    told += [repr(state.output) for state in run.jobs.values()] + [
        str(run.error),
        repr(vars(run.error)) if run.error else "",
    ]
    told += [
        json.dumps(run.output, default=repr, ensure_ascii=False),
        repr(run.usage),
        repr(run.model),
        repr(run.metadata),
    ]
    told += [
        "".join(
            event.value
            for event in run.events
            if isinstance(event, composemagic.Delta) and isinstance(event.value, str)
        )
    ]
    try:
        run.raise_for_error()
    except composemagic.RunError as error:
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        told += [line for line in lines if __file__ not in line]
    return "\n".join(told)


class Echoing(httpx.AsyncBaseTransport):
    """Answers with what it is told to; a list streams."""

    def __init__(self, answer: Any, status: int = 200, **headers: str) -> None:
        self.answer, self.status, self.headers = answer, status, headers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        if isinstance(self.answer, list):
            return httpx.Response(
                self.status, headers={"content-type": "text/event-stream"}, stream=_Stream(self.answer)
            )
        if isinstance(self.answer, bytes):
            return httpx.Response(self.status, headers=self.headers, content=self.answer)
        return httpx.Response(self.status, headers=self.headers, json=self.answer)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        for text in self.texts:
            chunk = {"choices": [{"delta": {"content": text}}]}
            yield f"data: {json.dumps(chunk)}\n\n".encode()
            await asyncio.sleep(0)
        yield b"data: [DONE]\n\n"


YAML = """
component:
  type: http-client
  endpoint: https://api.openai.com/v1/chat/completions
  max_retries: 0
  headers: {{Authorization: "Bearer ${{env.OPENAI_API_KEY}}"}}
  body: {{model: m, messages: [], stream: {stream}}}
  {output}
"""


def ran(answer: Any, output: str = "", status: int = 200, **headers: str) -> Run:
    yaml = YAML.format(
        output=f"output: {output}" if output else "", stream="true" if isinstance(answer, list) else "false"
    )
    workflow = composemagic.load(yaml, transport=Echoing(answer, status, **headers), env={"OPENAI_API_KEY": KEY})
    run = workflow.start({})
    assert run.wait(60)
    return run


TEXT = "${response[].choices[0].delta.content}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
def test_a_stream_that_repeats_the_key(form: str, size: int) -> None:
    text = f"You sent {FORMS[form]}, did you not? Again: {FORMS[form]}"
    run = ran([text[at : at + size] for at in range(0, len(text), size)], TEXT)
    assert run.status == "done", run.error
    assert "***" in run.text and not leaks(everything(run)), leaks(everything(run))
    assert run.text.startswith("You sent ") and ", did you not? Again: " in run.text


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_key_cut_anywhere(cut: int) -> None:
    run = ran(["a ", KEY[:cut], KEY[cut:], " b"], TEXT)
    assert not leaks(everything(run)) and run.text.startswith("a ") and run.text.endswith("*** b")


class Cut(Echoing):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Cut(self.answer))


class _Cut(httpx.AsyncByteStream):
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        for text in self.texts:
            yield f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n".encode()
        raise httpx.ReadError("gone")


@pytest.mark.parametrize(
    ("text", "shown"), [(KEY[:10], KEY[:10]), (KEY[:-1], "***"), (KEY, "***"), ("word sk-", "word sk-")]
)
def test_a_stream_that_is_cut_keeps_its_text(text: str, shown: str) -> None:
    yaml = YAML.format(output=f"output: {TEXT}", stream="true")
    run = composemagic.load(yaml, transport=Cut(["so far ", text]), env={"OPENAI_API_KEY": KEY}).start({})
    assert run.wait(60) and run.status == "failed" and run.text == f"so far {shown}"
    assert not leaks(everything(run)) and KEY[:-1] not in everything(run)


class Wide(Echoing):
    """Its error has a character between each two, which no view shows."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, content=f"bad key {KEY}".encode("utf-16-le"), headers={"content-type": "text/plain"})


def test_an_error_with_what_no_view_shows_between_the_letters() -> None:
    run = composemagic.load(
        YAML.format(output="", stream="false"), transport=Wide([]), env={"OPENAI_API_KEY": KEY}
    ).start({})
    assert run.wait(60) and run.error is not None
    assert not leaks(plain(everything(run))) and "***" in run.error.sentence


OUTPUTS = [
    "", "${response}", "${response.a}", "x ${response.a}", "{deep: [{a: '${response.a}'}]}", "${response as text}", "${response as json}",
    "${response.a as base64}", "${response as stream/json}", "${response.a as text[]}", "{'*': '${response.l}', v: '${item}'}", "${response.l}",
]  # fmt: skip


@pytest.mark.parametrize("form", ["plain", "in an address", "base64 of more"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_whole_answer_that_repeats_the_key(output: str, form: str) -> None:
    found = FORMS[form]
    run = ran({"a": f"<{found}>", found: 1, "l": [found, {"x": f"y{found}"}]}, output)
    assert not leaks(everything(run)), leaks(everything(run))


@pytest.mark.parametrize(
    "output",
    [
        "{a: '${response[].choices[0].delta.content}'}",
        "${response[]}",
        "${response[] as stream/json}",
        "${response[].choices}",
    ],
)
def test_a_stream_in_other_shapes(output: str) -> None:
    run = ran(["a ", KEY, " b"], output)
    assert run.status == "done" and not leaks(everything(run)), leaks(everything(run))


def test_counts_of_tokens() -> None:
    answer = {
        "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
        "usage": {"total_tokens": 1, "of": KEY},
    }
    run = ran(answer, "${response.choices[0].message.content}")
    assert run.output == "x" and run.usage == {"total_tokens": 1, "of": "***"} and not leaks(everything(run))


def test_bytes() -> None:
    run = ran(b"\x89PNG " + KEY.encode() + b"\xff", "", **{"content-type": "image/png"})
    assert bytes(run.output) == b"\x89PNG ***\xff" and not leaks(everything(run))


FAULTS = [
    (status, form)
    for status in (400, 401, 403, 404, 418, 429, 500, 503)
    for form in ("plain", "JSON", "base64 of more")
]


@pytest.mark.parametrize(("status", "form"), FAULTS)
def test_an_error_that_repeats_the_key(status: int, form: str) -> None:
    words = f"the key {FORMS[form]} is wrong"
    for answer in (
        {"error": {"message": words}},
        {"error": words},
        {"detail": words},
        f"<title>{words}</title>".encode(),
        words.encode(),
    ):
        run = ran(answer, "", status, **({"content-type": "text/html"} if isinstance(answer, bytes) else {}))
        assert run.status == "failed" and not leaks(everything(run)), leaks(everything(run))
    run = ran(
        {"error": {"message": words}},
        "",
        status,
        **{"x-ratelimit-reset-requests": KEY, "location": f"https://x/{KEY}", "retry-after": KEY},
    )
    assert run.status == "failed" and not leaks(everything(run))


def test_an_error_in_a_stream_and_what_ignores_it() -> None:
    for on_error in ("", "on_error: {output: {said: '${error.message}', so: '${error.sentence}'}}"):
        yaml = YAML.format(output="", stream="false") + f"workflow: {{job: {{{on_error}}}}}\n"
        transport = Echoing({"error": {"message": f"wrong key {KEY}"}}, 400)
        run = composemagic.load(yaml, transport=transport, env={"OPENAI_API_KEY": KEY}).start({})
        assert run.wait(60) and not leaks(everything(run)), leaks(everything(run))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_form_gets_out_however_it_is_cut(data: st.DataObject) -> None:
    words = st.text(st.sampled_from(list('sk-canary Zq7é\U0001f600\n{}"')), max_size=8)
    parts = data.draw(st.lists(st.one_of(st.sampled_from(list(FORMS.values())), words), min_size=1, max_size=6))
    text = "|".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=10)))
    run = ran([text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)], TEXT)
    assert not leaks(everything(run)), leaks(everything(run))
    if not any(form in text for form in FORMS.values()):
        assert run.text == text


# -- what the run was given ---------------------------------------------------------------------------------------------------

NAMING = [
    "headers: {Authorization: 'Bearer ${env.MY_API_KEY}'}",
    "headers: {Authorization: '${env.OTHER | Bearer ${env.MY_API_KEY | none}}'}",  # only in a default, and with one
    "headers: {X: '${env.MODEL}'}\n---\nworkflows: [{id: other, job: {input: {a: '${env.MY_API_KEY}'}}}]",  # of the document
]


class _Stubborn:
    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize("naming", NAMING, ids=["named", "in a default", "in another workflow"])
def test_the_input_is_told_without_the_keys_of_the_document(naming: str) -> None:
    action, _, more = naming.partition("\n---\n")
    yaml = f"component: {{type: http-client, endpoint: 'http://127.0.0.1:9/', max_retries: 0, {action}}}\n"
    yaml += more or "workflow: {job: {}}"
    if more:
        yaml = yaml.replace("[{", "[{id: first, default: true, job: {}}, {")
    env = {"MY_API_KEY": KEY, "MODEL": "m", "UNUSED_PASSWORD": "only-a-word"}
    stubborn = _Stubborn()
    given = {"prompt": f"is {quote(KEY, safe='')} a key? {KEY}", "of": [KEY, 7, "only-a-word"], "thing": stubborn}
    run = composemagic.load(yaml, env=env).start(given)
    assert run.wait(60)
    (started,) = (event for event in run.events if isinstance(event, composemagic.RunStarted))
    assert started.input == {"prompt": "is *** a key? ***", "of": ["***", 7, "only-a-word"], "thing": stubborn}
    assert run.input is given and given["of"] == [KEY, 7, "only-a-word"]  # the run itself has what it was given


def test_an_input_without_keys_is_told_as_it_is() -> None:
    given = {"prompt": "x", "n": 1}
    run = composemagic.load(document("http://127.0.0.1:9"), env={"MY_API_KEY": KEY}).start(given)
    assert run.wait(60) and isinstance(run.events[0], composemagic.RunStarted) and run.events[0].input is given


# -- what is asked of people --------------------------------------------------------------------------------------------------


def test_a_question_does_not_show_it() -> None:
    yaml = (
        YAML.format(output="", stream="false")
        + "workflow: {job: {interrupt: {after: {message: 'see ${job.output.a}', metadata: '${job.output}'}}}}\n"
    )
    run = composemagic.load(yaml, transport=Echoing({"a": KEY, "b": 1}), env={"OPENAI_API_KEY": KEY}).start({})
    for event in run:
        if isinstance(event, composemagic.Interrupted):
            (point,) = event.points
            assert (
                repr(point.value) == "{'a': ***, 'b': 1}"
                and point.message == "see ***"
                and point.metadata == {"a": "***", "b": 1}
            )
            run.answer({point.id: {"mine": KEY}})
    assert run.status == "done" and run.output == {"mine": "***"} and not leaks(everything(run))


# -- logs and real servers -----------------------------------------------------------------------------------------------------


class _Answering(BaseHTTPRequestHandler):
    """Repeats what it is asked, in a header, too."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"] or 0))
        body = json.dumps({"error": {"message": f"{self.headers['authorization']} at {self.path}"}}).encode()
        self.send_response(401)
        for name, value in (("content-type", "application/json"), ("content-length", str(len(body))), ("x-said", KEY)):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def document(base: str) -> str:
    return f"component: {{type: http-client, endpoint: '{base}/v1', max_retries: 0, headers: {{Authorization: 'Bearer ${{env.MY_API_KEY}}'}}, body: {{a: 1}}}}\n"


def test_no_log_tells_it() -> None:
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with answering(_Answering) as base:
            run = composemagic.load(document(base), env={"MY_API_KEY": KEY}).start({})
            assert run.wait(60)
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert run.status == "failed" and run.error is not None and run.error.kind == "auth"
    assert not leaks(heard.getvalue())
    assert not leaks(everything(run))


def command(*words: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(composemagic.__file__).parent.parent),
        "XDG_CONFIG_HOME": str(folder / "c"),
        **env,
    }
    return subprocess.run(
        [sys.executable, "-m", "composemagic", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_line_does_not_tell_it(tmp_path: Path) -> None:
    with answering(_Answering) as base:
        (tmp_path / "compose.yml").write_text(document(base))
        (tmp_path / "out.yml").write_text(
            "workflow: {output: 'x ${env.MY_API_KEY}'}\ncomponent: {type: echo, value: 1}\n"
        )
        (tmp_path / "far.yml").write_text(document("https://llm.example"))
        (tmp_path / "cast.yml").write_text(
            "workflow: {job: {input: {n: '${env.MY_API_KEY as integer}'}}}\ncomponent: {type: echo}\n"
        )
        (tmp_path / ".env").write_text(f"MY_API_KEY={KEY}\n")
        told = {
            name: command("run", "-f", name, "-o", "answer.txt", folder=tmp_path)
            for name in ("compose.yml", "out.yml", "far.yml", "cast.yml")
        }
        told["secrets"] = command("secrets", folder=tmp_path)
        told["validate"] = command("validate", "-f", "compose.yml", folder=tmp_path)
        told["strange"] = command("run", "-f", "compose.yml", folder=tmp_path, MY_API_KEY=f"{KEY}\n")
    for name, done in told.items():
        assert not leaks(done.stdout + done.stderr), name
        assert "Traceback" not in done.stderr, done.stderr
    assert "rejected the key from $MY_API_KEY (401)" in told["compose.yml"].stderr
    assert "is a secret" in told["out.yml"].stderr and "is a secret" in told["cast.yml"].stderr
    assert "--allow MY_API_KEY=https://llm.example" in told["far.yml"].stderr
    assert (
        "has a line break in it" in told["strange"].stderr
        and "from the process's environment" in told["strange"].stderr
    )
    assert "MY_API_KEY  from " in told["secrets"].stdout and ".env" in told["secrets"].stdout
    assert not (tmp_path / "answer.txt").exists()
