"""What the README says is true, in both languages: what is in the code is in it, and what is in it runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import composemagic
from composemagic import components, errors
from composemagic.api import load_text
from composemagic.cli import _parsers
from composemagic.cli.options import parsed
from composemagic.faces import Faces
from composemagic.language.casts import CASTS
from composemagic.language.comparison import COMPARISONS
from composemagic.language.formats import FORMATS
from composemagic.language.operators import OPERATORS
from composemagic.language.sources import SOURCES
from composemagic.notebook.magic import ComposeMagics
from composemagic.words import language, say, speak
from composemagic.workflow import schema
from composemagic.workflow.job_settings import JOB_TYPES, JobSettings

ROOT = Path(__file__).parent.parent
TEXTS = {
    "en": (ROOT / "README.md").read_text(encoding="utf-8"),
    "zh": (ROOT / "README.zh-CN.md").read_text(encoding="utf-8"),
}
ENGLISH = TEXTS["en"]
BOTH = pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=TEXTS)
def spoken(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each README, while its language is spoken."""
    speak(request.param)
    yield TEXTS[request.param]
    speak(None)


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(text) if name == language]


def cells(text: str) -> list[str]:
    return [body for body in blocks(text, "") if body.startswith("%%compose")]


def yaml_of(cell: str) -> str:
    return cell.partition("\n")[2]


def the_cell(word: str) -> str:
    (found,) = [cell for cell in cells(ENGLISH) if word in cell.partition("\n")[0]]
    return found


def the_python(word: str) -> str:
    (found,) = [body for body in blocks(ENGLISH, "python") if word in body]
    return found


def quotes(text: str) -> list[str]:
    """What is quoted below a block, as one text each."""
    return [quote.replace("\n> ", "\n") for quote in re.findall(r"^> (.*(?:\n>.*)*)", text, re.MULTILINE)]


# -- both languages


def test_both_languages_show_the_same_code() -> None:
    """Comments may differ, everything that is typed may not."""

    def typed(text: str) -> list[str]:
        bodies = [body for name, body in FENCE.findall(text) if not body.startswith("compose: ")]
        return ["\n".join(line.split("  #")[0].rstrip() for line in body.splitlines()) for body in bodies]

    assert typed(TEXTS["zh"]) == typed(ENGLISH)


def test_both_languages_have_the_same_sections_and_tables() -> None:
    def outline(text: str) -> Iterator[object]:
        for line in FENCE.sub("", text).splitlines():
            if line.startswith("|"):
                yield named(line.split(" | ")[0])
            elif line.startswith(("#", ">", "<")):
                yield re.split("[ >]", line)[0]

    assert list(outline(TEXTS["zh"])) == list(outline(ENGLISH))


@BOTH
def test_links_lead_somewhere(text: str) -> None:
    prose = FENCE.sub("", text)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        is_there = target[1:] in anchors if target.startswith("#") else (ROOT / target).exists()
        assert target.startswith("https://") or is_there, target


# -- what is shown runs


def test_the_cells_have_no_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {}
    exec(the_python("composemagic.component("), namespace)
    try:
        for cell in cells(ENGLISH):
            workflow = composemagic.load(yaml_of(cell))
            assert workflow.notes == (), cell
            asked = re.findall(r"-i (\w+)=", cell.partition("\n")[0])
            is_form = "--form" in cell.partition("\n")[0]
            assert is_form or {one.name for one in workflow.inputs if one.required} <= set(asked)
    finally:
        namespace["shout"].undo()


def test_the_cells_that_need_no_model_give_what_is_shown(spoken: str, tmp_path: Path) -> None:
    """In an IPython of its own, one after the other as a reader runs them."""
    typed = ["%load_ext composemagic", the_cell("greet"), the_python("composemagic.component("), the_cell("-i text=")]
    script = "from IPython.core.interactiveshell import InteractiveShell\nshell = InteractiveShell.instance()\n"
    script += "".join(f"shell.run_cell({cell!r}).raise_error()\nprint('--')\n" for cell in typed)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "LANGUAGE": language(), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, greeted, _, shouted, _ = done.stdout.split("--\n")
    jobs, greetings = next(quote for quote in quotes(spoken) if "tone" in quote).split("\n>\n")
    said_of_jobs = re.sub(r" · [\d.]+ \w+$", "", done.stderr, flags=re.MULTILINE).splitlines()
    assert [line for line in jobs.split("<br>") if line not in said_of_jobs] == []
    assert json.loads(greeted) == json.loads(greetings)
    assert shouted.strip() in quotes(spoken)


def test_the_form_asks_for_what_the_words_beside_it_say() -> None:
    poem = composemagic.load(yaml_of(the_cell("--form")))
    assert [(one.name, one.type) for one in poem.inputs] == [
        ("mood", "select"),
        ("subject", "text"),
        ("lines", "integer"),
    ]
    assert poem(subject="rain").output == "A happy poem about rain in 4 lines."


def test_the_agent_uses_its_tool() -> None:
    namespace: dict[str, Any] = {}
    exec(the_python("composemagic.component("), namespace)
    namespace["shout"].undo()
    wanted = {"name": "count", "arguments": '{"text": "the quick brown fox", "least": 4}'}
    asks = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": wanted}]}
    answers = iter([asks, {"role": "assistant", "content": "Two."}])
    requests: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(json.loads(request.content))
        return httpx.Response(200, json={"choices": [{"message": next(answers), "finish_reason": "stop"}]})

    agent = composemagic.load(
        yaml_of(the_cell("assistant")),
        transport=httpx.MockTransport(answer),
        env={"OPENAI_API_KEY": "none"},
        functions={"count": namespace["count"]},
    )
    assert agent(question="How many?").output == "Two."
    assert requests[-1]["messages"][-1]["content"] == "2"


def test_the_python_examples_that_need_no_model_run() -> None:
    for example in blocks(ENGLISH, "python"):
        if "model-compose.yml" in example:
            continue
        namespace: dict[str, Any] = {}
        exec(example, namespace)
        for undo in (namespace.get("undo"), getattr(namespace.get("shout"), "undo", None)):
            if undo is not None:
                undo()


@pytest.mark.model
def test_the_python_examples_run_on_the_embedded_model(tmp_path: Path) -> None:
    waiting, streaming = [body for body in blocks(ENGLISH, "python") if "model-compose.yml" in body]
    (tmp_path / "model-compose.yml").write_text(yaml_of(the_cell("chat")), encoding="utf-8")
    # what the model says is its own: one word, or many
    for example, shown in ((waiting, r"SmolLM2-135M-Instruct \(embedded\)"), (streaming, r"\w\w")):
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(shown, done.stdout)


def test_the_drawn_mistakes_are_what_is_drawn(spoken: str) -> None:
    """The README's cell with the three typos in it gives the README's answer, word for word."""
    (drawn,) = [body for body in blocks(spoken, "") if body.startswith("compose: ")]
    wrong = (
        yaml_of(the_cell("chat"))
        .replace("input.prompt", "inptu.prompt")
        .replace("| 0.7", "| warm")
        .replace("stream_format", "stream_fromat")
    )
    with pytest.raises(composemagic.DocumentError) as caught:
        load_text(wrong, say("this cell"), first_line=2)
    assert str(caught.value) == drawn.rstrip()


@BOTH
def test_the_commands_are_read_by_the_command_line(text: str) -> None:
    lines = [line.split("  #")[0] for body in blocks(text, "sh") for line in body.splitlines()]
    commands = [part for line in lines for part in line.split("&&") if part.split()[0] == "composemagic"]
    assert len(commands) >= 8
    for command in commands:
        words = shlex.split(command.partition(">")[0])
        assert parsed(words[1:], *_parsers()).command


# -- what there is is named


@BOTH
def test_everything_a_user_can_name_is_there(text: str) -> None:
    wanted = [name for name in CASTS if name not in ("str", "int", "float", "bool", "stream")]
    wanted += [name for name in errors.__all__ if name.endswith("Error")]
    wanted += [*SOURCES - {"messages", "tools"}, *(f";{name}" for name in FORMATS), *COMPARISONS]
    missing = [name for name in wanted if f"`{name}" not in text]
    missing += [name for name in OPERATORS if f'{{"{name.replace("|", chr(92) + "|")}": ' not in text]
    assert missing == []


# what `%load_ext` and `--version` are for
HIDDEN = {"__version__", "load_ipython_extension", "unload_ipython_extension"}
# what Python programs seldom need and editors show: there a docstring is enough
SELDOM = {
    *("run", "start", "check", "unset_variables", "name", "title", "description", "notes"),
    *(
        "wait",
        "finished",
        "raise_for_error",
        "say",
        "load",
        "opened",
        "closed",
        "elapsed",
        "encoding",
        "is_stream",
        "begin",
    ),
    *(
        "id",
        "plan",
        "is_private",
        "is_default",
        "is_one_text",
        "surroundings",
        "around",
        "rehearsed",
        "is_played",
        "is_local",
        "document",
        "getdoc",
    ),
}


@BOTH
def test_every_public_name_is_there(text: str) -> None:
    wanted = [name for name in composemagic.__all__ if name not in HIDDEN]
    assert [name for name in wanted if not re.search(rf"(`|composemagic[. ]){name}\b", text)] == []
    for owner, variables in ((composemagic.Workflow, "chat"), (Faces, "chat"), (composemagic.Run, "run|answer")):
        names = {name for name in vars(owner) if not name.startswith("_")} - SELDOM
        assert [name for name in names if not re.search(rf"\b({variables})\.{name}\b", text)] == []


@BOTH
def test_every_option_of_the_magic_is_there(text: str) -> None:
    source = (ROOT / "composemagic" / "notebook" / "options.py").read_text(encoding="utf-8")
    options = re.findall(r"\bargument\(\s*(?:\"-(\w)\", )?\"(--[\w-]+)\"", source)
    assert len(options) >= 10
    missing = [long for short, long in options if f"`{long}" not in text and f"`-{short} " not in text]
    missing += [name for name in ComposeMagics.class_own_traits(config=True) if f"`{name}" not in text]
    missing += [name for name in ComposeMagics.magics["line"] if f"`%{name} " not in text]
    assert missing == []


@BOTH
def test_every_command_and_its_options_are_there(text: str) -> None:
    commands = _parsers()[1]
    assert [name for name in commands if f"composemagic {name}" not in text] == []
    options = {option for parser in commands.values() for option in re.findall(r"--[a-z-]+", parser.format_help())}
    assert [option for option in sorted(options - {"--help"}) if option not in text] == []


@BOTH
def test_every_extra_is_there(text: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    installed = {name for found in re.findall(r"\.\[([a-z,]+)\]", text) for name in found.split(",")}
    assert installed == extras
    assert set(re.findall(r"`\[([a-z]+)\]`", text)) <= extras


def test_ci_runs_the_test_command_of_the_readme() -> None:
    (command,) = [body.strip() for body in blocks(ENGLISH, "sh") if "pytest" in body]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_environment_variables_are_in_the_sample() -> None:
    sample = (ROOT / ".env.sample").read_text(encoding="utf-8")
    used = set()
    for path in (ROOT / "composemagic").rglob("*.py"):
        used |= set(re.findall(r"\"(COMPOSEMAGIC_[A-Z_]+)\"", path.read_text(encoding="utf-8")))
    assert used
    assert {name for name in used if name not in sample} == set()
    assert {name for name in used if name not in ENGLISH} == set()


# -- the tables of types


def rows_of(text: str, word: str) -> list[list[str]]:
    """The rows of the one table that has a word in it."""
    (table,) = [table for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE) if word in table]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def fields(kind: str) -> set[str]:
    """The keys of a kind of job, or of a type of component, beside those that all have."""
    if kind in JOB_TYPES:
        return set(JOB_TYPES[kind].model_fields) - set(JobSettings.model_fields)
    found = components.find(kind)
    assert found is not None
    return {*found.settings.model_fields, *found.action.model_fields}


# what of a type that is run here only model-compose runs
NOT_RUN = [
    ("model", "task: chat-completion, driver: vllm, action: {prompt: Hi}"),
    ("model", "task: translation, action: {text: Hi}"),
    ("model", "task: chat-completion, model: Qwen/Qwen3-0.6B, action: {prompt: Hi}"),
    ("http-server", "start: [ollama, serve], runtime: docker, action: {path: /}"),
    ("datasets", "driver: huggingface, action: {path: squad}"),
    ("datasets", "action: {method: select, path: a.csv}"),
    ("datasets", "action: {method: map, path: a.csv}"),
    ("datasets", "action: {method: filter, path: a.csv}"),
    ("datasets", "action: {method: concat, path: a.csv}"),
    ("vector-store", "driver: milvus, action: {method: search, query: [1]}"),
    ("key-value-store", "driver: redis, action: {method: get, key: a}"),
    ("web-scraper", "action: {url: 'http://127.0.0.1', submit: {form: f}}"),
]


def said(kind: str, yaml: str) -> str:
    """The sentence of a run that needs what is not run here. The document loads, with that as a note."""
    workflow = composemagic.load(f"component: {{type: {kind}, {yaml}}}")
    run = workflow.start({})
    assert run.wait(30)
    assert run.error is not None
    assert run.error.kind == "foreign"
    assert any(note.startswith(run.error.sentence) for note in workflow.notes)
    return run.error.sentence


@BOTH
def test_every_type_of_component_is_in_the_short_table(text: str) -> None:
    rows = rows_of(text, "`[scrape]`")
    assert sorted(row[0] for row in rows) == sorted(f"`{kind}`" for kind in components.BUILT_IN)


def test_the_table_has_every_kind_of_job_and_type_of_component_once_with_its_settings(spoken: str) -> None:
    every_job, every_component, *rows = sorted(rows_of(spoken, "`audio-mixer`"), key=lambda row: "`" in row[0])
    assert set(named(every_job[2])) == set(JobSettings.model_fields)
    assert set(named(every_component[2])) == {*schema.Component.model_fields, *schema.Action.model_fields}
    kinds = [kind for row in rows for kind in named(row[0])]
    assert sorted(kinds) == sorted([*JOB_TYPES, *components.BUILT_IN, *schema.LATER_COMPONENT_TYPES])
    for names, _, settings in rows:
        for kind in named(names):
            if kind not in schema.LATER_COMPONENT_TYPES:
                assert set(named(settings)) == fields(kind), kind


def test_the_table_says_what_a_run_says(spoken: str) -> None:
    """The sentences of the table are those that a user gets, all of them, in the README's language."""
    for names, here, _ in rows_of(spoken, "`audio-mixer`"):
        first, *_ = named(names) or [""]
        if first in schema.LATER_COMPONENT_TYPES:
            expected = [said(first, "whatever: 1")]
        else:
            expected = [said(kind, yaml) for kind, yaml in NOT_RUN if kind == first]
        assert re.findall("“(.*?)”", here) == expected, names


def test_the_first_notebook_shows_what_the_readme_shows() -> None:
    notebook = json.loads((ROOT / "notebooks" / "00-hello.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert any(source.startswith("%load_ext composemagic") for source in sources)
    assert any(source.startswith("%%compose hello") and "--local" in source for source in sources)
