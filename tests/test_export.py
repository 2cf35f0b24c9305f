"""`export`: the curl call and the script are run and compared with the run itself; the YAML is loaded again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import composemagic
from composemagic.api import examine
from composemagic.cli import main
from composemagic.errors import ComposeError
from tests.conftest import ROOT, EchoServer

SEED = (ROOT / "tests/data/seed.yml").read_text(encoding="utf-8")
KEY = "sk-" + "a1B2" * 6
BASH = shutil.which("bash")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("PLAIN", "value")
    return tmp_path


Export = Callable[..., str]


@pytest.fixture
def export(folder: Path, capsys: pytest.CaptureFixture[str]) -> Export:
    """Export a YAML, and give what was written; the notes follow it behind a line of `--`."""

    def exported(form: str, text: str, *more: str, status: int = 0) -> str:
        (folder / "compose.yml").write_text(text, encoding="utf-8")
        assert main(["export", "--as", form, *more]) == status
        out, err = capsys.readouterr()
        assert KEY not in out + err
        return err if status else out + (f"--\n{err}" if err else "")

    return exported


def http(action: str, *, base: str = "https://api.openai.com/v1", more: str = "") -> str:
    return f"component: {{type: http-client, base_url: '{base}', {more} action: {{{action}}}}}"


# -- curl


def test_the_seed_as_curl(export: Export) -> None:
    assert export("curl", SEED, "-i", 'prompt=It\'s "5" $HOME', "-i", "temperature=1") == (
        r"""curl -N https://api.openai.com/v1/chat/completions \
  -H "Authorization: Bearer $OPENAI_API_KEY" \
  -H 'Content-Type: application/json' \
  --data-raw '{
  "model": "gpt-4o",
  "messages": [
    {
      "role": "user",
      "content": "It'"'"'s \"5\" $HOME"
    }
  ],
  "temperature": 1.0,
  "stream": true
}'
"""
    )


PRINTS = "curl() { printf '%s\\0' \"$@\"; }\n"


def words(command: str, **env: str) -> list[str]:
    """What bash gives curl."""
    done = subprocess.run(
        [str(BASH), "-c", PRINTS + command], env={**os.environ, **env}, capture_output=True, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


HEADERS = "headers: {Authorization: 'Bearer ${env.OPENAI_API_KEY}'}"
CURLS: list[tuple[str, list[str]]] = [
    ("path: /a, method: get", ["https://api.openai.com/v1/a"]),
    ("path: '/a b?q=1', params: {x: [1, true, 'ä&']}, method: GET", ["https://api.openai.com/v1/a%20b?q=1&x=1&x=true&x=%C3%A4%26"]),
    ("path: /a", ["-X", "POST", "https://api.openai.com/v1/a"]),
    ("path: /a, method: head", ["--head", "https://api.openai.com/v1/a"]),
    ("path: /a, method: delete, body: x", ["-X", "DELETE", "https://api.openai.com/v1/a", "-H", "content-type: text/plain; charset=utf-8", "--data-raw", "x"]),
    ("path: /a, method: GET, headers: {X: '', Y: 5}", ["https://api.openai.com/v1/a", "-H", "X;", "-H", "Y: 5"]),
    (f"path: /a, method: GET, {HEADERS}", ["https://api.openai.com/v1/a", "-H", f"Authorization: Bearer {KEY}"]),
    ("path: /a, method: GET, headers: {X-Key: '$${env.OPENAI_API_KEY} ${env.OPENAI_API_KEY}`id`'}", ["https://api.openai.com/v1/a", "-H", f"X-Key: ${{env.OPENAI_API_KEY}} {KEY}`id`"]),
    ("path: /a, method: GET, headers: {X-Key: '${env.OPENAI_API_KEY}_x'}", ["https://api.openai.com/v1/a", "-H", f"X-Key: {KEY}_x"]),
    ("path: '/a/${env.OPENAI_API_KEY}', method: GET", [f"https://api.openai.com/v1/a/{KEY}"]),
    ("path: '/a?x[]=1', method: GET", ["-g", "https://api.openai.com/v1/a?x[]=1"]),
    ("path: '/a/${env.NOT_SET_HERE}', method: GET", ["https://api.openai.com/v1/a/"]),
    ("path: '/a/${env.NOT_SET_HERE | b}', method: GET", ["https://api.openai.com/v1/a/b"]),
    ("path: '/a/${env.PLAIN}', method: GET", ["https://api.openai.com/v1/a/value"]),
    ("path: /a, body: {k: '${env.OPENAI_API_KEY}', t: 'it''s $(id) `id` ! \\'}", ["https://api.openai.com/v1/a", "-H", "content-type: application/json", "--data-raw", json.dumps({"k": KEY, "t": "it's $(id) `id` ! \\"}, indent=2)]),
    ("path: /f, headers: {Content-Type: application/x-www-form-urlencoded}, body: {a: 'x y', b: [1, 2]}", ["https://api.openai.com/v1/f", "-H", "Content-Type: application/x-www-form-urlencoded", "--data-raw", "a=x+y&b=1&b=2"]),
    ("path: /a, body: {stream: true}, output: '${response[].a}'", ["-N", "https://api.openai.com/v1/a", "-H", "content-type: application/json", "--data-raw", '{\n  "stream": true\n}']),
]  # fmt: skip


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize(("action", "expected"), CURLS)
def test_what_the_shell_makes_of_it(action: str, expected: list[str], export: Export) -> None:
    assert words(export("curl", http(action))) == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_gets_what_the_run_gets(export: Export, replay: str, folder: Path) -> None:
    text = SEED.replace("https://api.openai.com", f"{replay}/n=30,text=echo")
    prompt = 'it\'s "5"\n$HOME `id` \\ 🙂'
    command = export("curl", text, "-i", json.dumps({"prompt": prompt}))
    done = subprocess.run([str(BASH), "-c", command], capture_output=True, check=True)
    chunks = [json.loads(line[6:]) for line in done.stdout.decode().split("\n") if line.startswith("data: {")]
    given = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert given == composemagic.load(text)(prompt=prompt).text
    assert prompt[:5] in given


JOBS = "workflow: {jobs: [{id: a, component: c}, {id: b, component: c}]}\n"
NO_CURL: list[tuple[str, str]] = [
    (JOBS + "component: {id: c, type: echo, action: {text: x}}", "a curl call is one request, and this workflow has 2 jobs; try --as python"),
    ("component: {type: echo, action: {text: x}}", "only an http-client sends a request that curl can send, not `type: echo`"),
    ("workflow: {job: {type: delay, duration: 1s}}\ncomponent: {type: echo, action: {text: x}}", "a curl call is one request, and the job `job-1` is of `type: delay`"),
    (http("path: /a, completion: {type: callback, wait_for: x}"), "a curl call is one request, and `completion` waits for the result of another"),
    (http("path: /a, headers: {Content-Type: multipart/form-data}, body: {f: {file: x.png}}"), "the body sends the file `x.png`; write that call by hand, with curl's -F"),
    (http("path: /a, headers: {X: 'Basic ${env.OPENAI_API_KEY as base64}'}"), "a variable of the shell cannot be cast: `${env.OPENAI_API_KEY as base64}`"),
    (http("path: /a, body: '${input.x as image;base64}'"), "the body holds bytes, which cannot stand in a command; write that call by hand"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), NO_CURL)
def test_what_is_no_curl_call(text: str, sentence: str, export: Export) -> None:
    assert sentence in export("curl", text, "-i", "x=/w==", status=2)


def test_inputs_are_asked_for(export: Export) -> None:
    err = export("curl", SEED, status=2)
    assert err.splitlines()[0].endswith("""`prompt` is missing. Write it as --input '{"prompt": "..."}'""")


# -- python


@pytest.fixture
def run_script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a script as if it were started with these arguments, and give what it prints."""

    def ran(text: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["script.py", *arguments])
        exec(compile(text, "script.py", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return ran


Ran = Callable[..., str]


def test_a_script_is_a_program_of_its_own(export: Export, replay: str) -> None:
    text = export("python", SEED.replace("https://api.openai.com", f"{replay}/n=5"))
    done = subprocess.run([sys.executable, "-c", text, '{"prompt": "hi"}'], capture_output=True, text=True, check=True)
    assert (
        done.stdout
        == composemagic.load(SEED.replace("https://api.openai.com", f"{replay}/n=5"))(prompt="hi").text + "\n"
    )


def test_the_seed_as_python(export: Export) -> None:
    text = export("python", SEED)
    assert text.startswith('"""Chat with OpenAI GPT-4o: Generate streaming text responses using OpenAI\'s GPT-4o\n')
    assert (
        '''
def run(prompt, temperature=0.7):
    """Yield the answer piece by piece."""
    with httpx.stream(
        "POST",
        "https://api.openai.com/v1/chat/completions",
        headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
        json={
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": prompt}],
            "temperature": temperature,
            "stream": True,
        },
        timeout=httpx.Timeout(60, connect=5),
    ) as response:
        check_status(response)
        for chunk in json_chunks(response):
            piece = value_at(chunk, "choices", 0, "delta", "content")
            if piece is not None:
                yield piece
'''
        in text
    )
    assert "    inputs = json.loads(sys.argv[1])\n    for piece in run(**inputs):\n" in text
    assert "composemagic" not in text.replace("`composemagic export`", "")


@pytest.mark.parametrize("knobs", ["n=30,text=wide", "n=30,eol=crlf,multi=1,ping=3", "n=30,cut=7,text=quoted,usage=1"])
def test_the_script_gives_what_the_run_gives(knobs: str, export: Export, replay: str, run_script: Ran) -> None:
    text = SEED.replace("https://api.openai.com", f"{replay}/{knobs}")
    expected = composemagic.load(text)(prompt="hi").text
    assert run_script(export("python", text), '{"prompt": "hi", "temperature": 0.1}') == expected + "\n"
    assert run_script(export("python", text, "-i", "prompt=hi")) == expected + "\n"


def test_a_script_is_told_why_it_failed(export: Export, replay: str, run_script: Ran) -> None:
    for knobs, sentence in (("status=401", "127.0.0.1 answered 401: "), ("n=5,error=2", "127.0.0.1 sent an error: ")):
        text = export("python", SEED.replace("https://api.openai.com", f"{replay}/{knobs}"), "-i", "prompt=hi")
        with pytest.raises(RuntimeError, match=sentence):
            run_script(text)


# each against the echo server, which answers what it was asked: the script's request is the run's
SCRIPTS: list[tuple[str, dict[str, Any]]] = [
    ("path: '/echo/${input.id}/x', params: {q: '${input.q | none}', no: '${input.no | null}', l: [1, 2]}, method: GET", {"id": "a b/ü?"}),
    ("path: /echo, body: {a: '${input.a as text}', b: 'say ${input.a} and ${input.n | 3}', n: '${input.n as integer | 3}', t: true, z: null}", {"a": 'it\'s "x" {y}\n'}),
    ("path: /echo, body: {n: '${input.n as number | 0.5}', deep: '${input.user.name}', all: '${input.user}'}", {"user": {"name": "Ann"}}),
    ("path: /echo, body: {'...': '${input.more | null}', list: [1, '...${input.items}', 3]}", {"items": [2], "more": {"x": 1}}),
    ("path: /echo, headers: {X-Number: 5, X-Text: '${input.t}-${env.PLAIN}', X-None: null}, method: put, body: 'plain ${input.t}'", {"t": "v"}),
    ("path: /echo, headers: {Content-Type: application/x-www-form-urlencoded}, body: {a: '${input.a}', no: '${input.no | null}'}", {"a": "x&y"}),
    ("path: /echo, headers: {Content-Type: application/vnd.api+json}, body: []", {}),
    ("path: /echo, body: '${input.whole}', headers: {Content-Type: application/json}", {"whole": {"a": [1]}}),
    ("path: /echo, body: {a: '${input.a}'}, output: '${response.body.a} and ${response.body.none} and ${response.query}'", {"a": "x"}),
    ("path: /echo, body: {l: [{v: 1}, {v: 2}, {}]}, output: {all: '${response.body.l[*].v}', last: '${response.body.l[-1].v | 9}', some: '${response.body.l[1:]}', n: '${response.body.l[0].v as number}'}", {}),
    ("path: '/text/hi ${input.a}', method: get", {"a": "ä"}),
    ("path: /empty, method: get", {}),
    ("path: /jsonl, method: get, stream_format: json-lines, output: '${response[].a}'", {}),
    ("path: /sse, body: {events: [one, two three], done: true, stream: true}, stream_format: text", {}),
    ("path: /sse, body: {events: [{a: 1}, {b: 2}], stream: true}, stream_format: json, output: '${response[].a}'", {}),
]  # fmt: skip


@pytest.mark.parametrize(("action", "given"), SCRIPTS)
def test_the_script_asks_what_the_run_asks(
    action: str,
    given: dict[str, Any],
    export: Export,
    echo_server: EchoServer,
    run_script: Ran,
) -> None:
    text = http(action, base=echo_server.url, more="timeout: 20s,")
    run = composemagic.load(text).start(given)
    run.wait()
    assert run.error is None
    printed = run_script(export("python", text), *([json.dumps(given)] if given else []))
    assert shown(printed) == shown(as_printed(run))


def as_printed(run: composemagic.Run) -> str:
    if run.is_stream:
        return run.text
    return run.output if isinstance(run.output, str) else json.dumps(run.output)


def shown(text: str) -> Any:
    """What was printed, as JSON where it is; the names of headers come with their case."""
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


SEVERAL = """
workflow:
  title: Two steps
  jobs:
    - id: draft
      component: model
      input: {text: "Draft: ${input.topic}"}
    - id: polish
      component: model
      input: {text: "Polish in a ${input.tone | dry} tone: ${jobs.draft.output}"}
      output: ${output as stream/text}
components:
  - id: model
    type: http-client
    base_url: BASE
    action:
      path: /chat/completions
      body: {model: m, messages: [{role: user, content: "${input.text as text}"}], stream: true}
      stream_format: json
      output: ${response[].choices[0].delta.content}
"""
SHAPED = """
workflow:
  jobs:
    - id: first
      component: {type: http-client, action: {endpoint: "BASE/echo", body: {a: "${input.a}"}, output: "${response.body}"}}
      output: {got: "${output.a}"}
    - id: second
      component: {type: http-client, action: {endpoint: "BASE/echo", body: "${input}", headers: {Content-Type: application/json}, output: "${response.body}"}}
      input: ${jobs.first.output}
  output: {both: ["${jobs.first.output.got}", "${jobs.second.output}"], end: "${output.got}"}
"""


def test_several_jobs_one_after_the_other(
    export: Export, replay: str, echo_server: EchoServer, run_script: Ran
) -> None:
    text = SEVERAL.replace("BASE", f"{replay}/n=40,text=echo/v1")
    script = export("python", text)
    assert 'def run(topic, tone="dry"):\n' in script
    assert '    draft_output = "".join(draft(text=f"Draft: {topic}"))\n' in script
    assert '    yield from polish(text=f"Polish in a {tone} tone: {draft_output}")\n' in script
    assert run_script(script, '{"topic": "tea"}') == composemagic.load(text)(topic="tea").text + "\n"
    text = SHAPED.replace("BASE", echo_server.url)
    assert json.loads(run_script(export("python", text), '{"a": "x"}')) == composemagic.load(text)(a="x").output


ODD = """
workflow:
  title: 'Say "hi" \\ three \"\"\" quotes'
  jobs:
    - id: list
      component: {type: http-client, action: {endpoint: "BASE/echo", body: {a: "${input.os}", b: "${input.class}"}, output: "${response.body}"}}
      input: {os: "${input.a}", class: 'q"uo''te {b}\n'}
    - id: a
      component: {type: http-client, action: {endpoint: "BASE/echo", body: {all: "${input.x}", "k\\"": 1}, output: "${response.body.all}"}}
      input: {x: "${jobs.list.output}"}
"""


def test_names_that_python_has_for_something_else(export: Export, echo_server: EchoServer, run_script: Ran) -> None:
    text = ODD.replace("BASE", echo_server.url)
    assert json.loads(run_script(export("python", text), '{"a": "x"}')) == composemagic.load(text)(a="x").output


NO_SCRIPT: list[tuple[str, str]] = [
    ("component: {type: echo, action: {text: x}}", "a plain script cannot say `type: echo`; run it with composemagic"),
    ("workflow: {job: {type: delay, duration: 1s}}\ncomponent: {type: echo, action: {text: x}}", "`type: delay`"),
    ("workflow: {job: {retry: 3}}\n" + http("path: /a"), "`retry`"),
    ("workflow: {job: {on_error: ignore}}\n" + http("path: /a"), "`on_error`"),
    ("workflow: {job: {interrupt: {before: true}}}\n" + http("path: /a"), "`interrupt`"),
    ("workflow: {job: {repeat_count: 2}}\n" + http("path: /a"), "`repeat_count`"),
    ("workflow: {jobs: [{id: a}, {id: b}]}\n" + http("path: /a"), "`the merged outputs of several last jobs`"),
    (http("path: /a, completion: {type: callback, wait_for: x}"), "`completion`"),
    (http("path: /a, method: OPTIONS"), "`method: OPTIONS`"),
    (http("path: /a, body: {stream: true}, stream_format: server-sent-events, output: '${response[].data}'"), "`stream_format: server-sent-events`"),
    (http("path: /a, headers: {Content-Type: multipart/form-data}, body: {a: x}"), "`body: multipart/form-data`"),
    (http("path: /a, body: {i: '${input.i as image;base64}'}"), "`${input.i as image;base64}`"),
    (http("path: /a, body: {'*': '${input.l}', a: 1}"), "`*`"),
    (http("path: /a, body: {c: {'?': {input: 1, value: 1, if_true: 2}}}"), "`?`"),
    (http("path: /a, body: {a: '${context.run_id}'}"), "`${context.run_id}`"),
    (http("path: /a, body: {a: '${input.json}'}"), "an input called `json` cannot be a parameter of a script; give it another name"),
    (http("path: /a, body: {a: '${input.class}'}"), "an input called `class` cannot be a parameter of a script; give it another name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), NO_SCRIPT)
def test_what_no_plain_script_can_say(text: str, sentence: str, export: Export) -> None:
    assert sentence in export("python", text, status=2)


# -- model-compose


def test_the_seed_for_model_compose(export: Export) -> None:
    """`/tmp/peer/bin/model-compose validate` (0.4.120) says that this is valid; so it says of 186 of the 187 below, where
    a variable that is not set is all that it misses."""
    assert export("model-compose", SEED) == (ROOT / "tests/data/seed_exported.yml").read_text()


ACTION = "type: http-client, base_url: 'http://h', action: "
PEER: list[tuple[str, dict[str, Any], str]] = [
    ("path: /a, body: {x: '${input.x | 0.5}', y: '${input.y | 5}', z: '${input.z | true}'}", {"body": {"x": "${input.x as number | 0.5}", "y": "${input.y as integer | 5}", "z": "${input.z as boolean | true}"}}, ""),
    ("path: /a, body: {x: '${input.x | \"a b\"}', y: '${input.y | null}', z: 'n ${input.z | 5}'}", {"body": {"x": "${input.x | a b}", "y": "${input.y}", "z": "n ${input.z | 5}"}}, ""),
    ("path: /a, body: {x: '${input.x as int | 5}', y: '${input.y as bool}', z: '${input.z as str}'}", {"body": {"x": "${input.x as integer | 5}", "y": "${input.y as boolean}", "z": "${input.z as string}"}}, ""),
    ("path: /a, body: {x: '${input.x as slider/0,1 | 0.5 @(title X)}'}", {"body": {"x": "${input.x as number | 0.5 @(title X)}"}}, "model-compose has no `slider`: `x` is a number without bounds\n"),
    ("path: /a, body: {x: '${input.x | \"\"}'}", {"body": {"x": "${input.x}"}}, "model-compose has no empty default: `x` is null where it is missing\n"),
    ("path: /a, body: {x: '${input.x | ${input.y | ${env.A | b}}}'}", {"body": {"x": "${input.x | ${input.y | ${env.A | b}}}"}}, ""),
    ("path: /a?b=1, method: get", {"endpoint": "http://h/a?b=1", "method": "GET"}, ""),
    ("path: /a, method: get, params: {t: true, n: 1}, headers: {X: 5}", {"path": "/a", "method": "GET", "params": {"t": "true", "n": 1}, "headers": {"X": "5"}}, ""),
    ("path: /a, timeout: 5s, max_retries: 1", {"path": "/a"}, "model-compose has no `timeout`, `max_retries` for requests: left out\n"),
    ("path: /a, output: '${response.x as event-stream/text}'", {"output": "${response.x as stream/text}"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("action", "expected", "note"), PEER)
def test_what_the_peer_reads(action: str, expected: dict[str, Any], note: str, export: Export) -> None:
    text, _, notes = export("model-compose", f"component: {{{ACTION}{{{action}}}}}").partition("--\n")
    found = yaml.safe_load(text)["component"]["action"]
    assert {key: found[key] for key in expected} == expected
    if "body" in expected:
        assert found["headers"] == {"Content-Type": "application/json"}
    assert notes == note
    assert not {"timeout", "max_retries"} & found.keys()


def test_jobs_for_the_peer(export: Export) -> None:
    text = export(
        "model-compose",
        """
workflow:
  title: ${env.TITLE | "a: b"}
  jobs:
    - component: c
    - {component: c, input: {t: "${jobs.job-1.output}"}}
  output: ${output as text}
component:
  id: c
  type: http-client
  base_url: http://${input.host | h}/v1
  headers: {X: "${input.x | 1}", Authorization: "Bearer ${env.K_KEY | none}"}
  action: {path: /a, body: "${input.t | x}"}
""",
    )
    found = yaml.safe_load(text)
    assert found["workflow"]["jobs"][1]["depends_on"] == ["job-1"]
    assert found["workflow"]["output"] == "${jobs.job-2.output as text}"
    assert "base_url" not in found["component"]
    assert found["component"]["action"]["endpoint"] == "http://${input.host | h}/v1/a"
    assert found["component"]["action"]["headers"]["X"] == "${input.x as integer | 1}"
    assert found["controller"]["adapter"] == {"type": "http-server", "port": 8080, "base_path": "/api"}
    # filled in before the YAML is parsed: without quotes, what a variable holds could become YAML
    assert 'title: "${env.TITLE | a: b}"' in text
    assert 'Authorization: "Bearer ${env.K_KEY | none}"' in text


NO_PEER: list[tuple[str, str]] = [
    ("component: {type: echo, action: {text: x}}", "model-compose cannot say `type: echo`"),
    (http("path: /a, method: HEAD"), "model-compose cannot say `method: HEAD`"),
    (http("path: /a, body: {stream: true}, stream_format: json-lines"), "model-compose cannot say `stream_format: json-lines`"),
    (http("path: /a, body: {a: '$${x}'}"), "model-compose cannot say `$${...}`"),
    (http("path: /a, body: {a: '${input[\"a b\"]}'}"), 'model-compose cannot say `${input["a b"]}`'),
    (http("path: /a, body: {a: '${input.x | \"}\"}'}"), "model-compose cannot say"),
    (http("path: /a, body: {a: '${input.x | a ${input.y}}'}"), "model-compose cannot say"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), NO_PEER)
def test_what_the_peer_cannot_say(text: str, sentence: str, export: Export) -> None:
    assert sentence in export("model-compose", text, status=2)


ROWS = [
    row
    for line in (ROOT / "tests/data/language.jsonl").read_text(encoding="utf-8").splitlines()
    if isinstance((row := json.loads(line)).get("yaml"), str)
]


def test_what_is_exported_means_the_same() -> None:
    """Loaded, exported and loaded again: the same inputs, the same jobs in the same order, and exported again the same text."""
    from composemagic.cli.export import peer

    count = 0
    for row in ROWS:
        env = {name: str(value) for name, value in (row.get("env") or {}).items()}
        try:
            loaded, _ = examine(row["yaml"].replace("{{ECHO}}", "http://127.0.0.1:9"), env=env)
            text, notes = peer.written(loaded)
        except ComposeError:
            continue  # a mistake, or what the peer cannot say
        again, _ = examine(text, env=env)
        count += 1
        assert peer.written(again)[0] == text, row["id"]
        for plan, other in zip(loaded.plans.values(), again.plans.values(), strict=True):
            assert [(job.id, job.depends_on, job.kind) for job in plan.jobs] == [
                (job.id, job.depends_on, job.kind) for job in other.jobs
            ]
            if not notes:
                assert [asked(one) for one in plan.inputs] == [asked(one) for one in other.inputs], row["id"]
    assert count > 180


def asked(one: Any) -> Any:
    return (one.name, one.type, one.is_list, one.has_default, one.default, one.label, one.description)


# -- the command


def test_o_writes_the_file(export: Export, folder: Path) -> None:
    assert export("python", SEED, "-o", "chat.py") == ""
    assert (folder / "chat.py").read_text().startswith('"""Chat with OpenAI')


@pytest.mark.parametrize("form", ["curl", "python", "model-compose"])
def test_no_key_is_written(form: str, export: Export) -> None:
    """The fixture looks for it; here it comes by -e and by a file, too."""
    assert "OPENAI_API_KEY" in export(form, SEED, "-i", "prompt=x", "-e", f"OPENAI_API_KEY={KEY}")
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\nOTHER_TOKEN={KEY}")
    text = http(
        "path: /a, headers: {X: '${env.OTHER_TOKEN}', Y: '${env.OPENAI_API_KEY}'}, body: {a: '${input.prompt}'}"
    )
    assert "OTHER_TOKEN" in export(form, text, "-i", "prompt=x")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "the following arguments are required: --as"),
        (("--as", "java"), "invalid choice: 'java'"),
        (("--as", "curl", "-i", "promt=x"), "`prompt`"),
        (("--as", "curl", "-f", "none.yml"), "there is no file `none.yml`"),
        (("--as", "curl", "other"), "no workflow `other`"),
        (("--as", "python", "-o", "."), "-o names a folder"),
    ],
)
def test_a_wrong_command(
    arguments: tuple[str, ...], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "compose.yml").write_text(SEED)
    assert main(["export", *arguments]) == 2
    assert sentence in capsys.readouterr().err
