"""Options of `%%compose` that run nothing, and the language of its messages, in a real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Kernel, started_kernel

ECHO = """\
workflow:
  title: Echo
  jobs:
    - {id: first, input: {text: "${input.text}"}}
    - {id: second, depends_on: [first]}
component:
  type: echo
  action:
    value: ${input.text as text}
"""
TREE = "Echo\n├── first · echo\n└── second · echo · after first"


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    with started_kernel() as kernel:
        yield kernel


@pytest.fixture
def notebook(shared: Kernel) -> Kernel:
    shared.execute("%reload_ext composemagic\n%config ComposeMagics.language = None\n%reset -f")
    shared.execute("import os; os.environ['LANGUAGE'] = 'en'")
    return shared


def test_a_diagram_runs_nothing(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose echo --diagram\n{ECHO}")
    [output] = done.outputs
    assert output["output_type"] == "display_data"
    assert sorted(output["data"]) == ["text/html", "text/plain", "text/vnd.mermaid"]
    assert output["data"]["text/plain"] == TREE
    assert output["data"]["text/vnd.mermaid"].startswith("flowchart TD\n    n1[")
    assert notebook.execute("echo.title").text == "'Echo'"


def test_a_diagram_is_a_cells_value(notebook: Kernel) -> None:
    notebook.execute(f"%%compose echo --check\n{ECHO}")
    [output] = notebook.execute("echo.diagram()").outputs
    assert output["data"]["text/plain"] == TREE
    assert notebook.execute("print(echo.diagram())").streams["stdout"].startswith("flowchart TD\n")


def test_both_a_check_and_a_diagram(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose --check --diagram\n{ECHO}")
    assert done.streams["stdout"].startswith("no mistakes: Echo\n  text: text, required\n")
    assert done.text == TREE


def test_no_diagram_of_mistakes(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose --diagram\n{ECHO.replace('depends_on', 'depend_on')}")
    assert done.error is not None
    assert "did you mean `depends_on`?" in done.error[2]


def test_a_cell_completes_a_file(notebook: Kernel, tmp_path: Path) -> None:
    file = tmp_path / "base.yml"
    file.write_text(ECHO, encoding="utf-8")
    done = notebook.execute(f"%%compose --check -f {file}\nworkflow:\n  title: Mine")
    assert done.streams["stdout"].startswith("no mistakes: Mine\n")
    done = notebook.execute(f"%%compose --check -f {file}\nworkflow:\n  titel: Mine")
    assert done.error is not None
    assert "did you mean `title`?" in done.error[2]
    assert "3 |   titel: Mine" in done.error[2]


def test_a_value_in_the_place_of_a_variable_is_not_shown(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose --check -e hunter2\n{ECHO}")
    assert done.error is not None
    assert done.error[2] == "compose: -e is written `-e KEY=VALUE`"


CHINESE = "from composemagic.languages import zh\nzh.SENTENCES['no mistakes: {title}'] = '没有错误：{title}'"


def test_messages_in_another_language(notebook: Kernel) -> None:
    notebook.execute(CHINESE)
    check = f"%%compose --check\n{ECHO}"
    assert notebook.execute(check).streams["stdout"].startswith("no mistakes: Echo\n")
    assert notebook.execute("%config ComposeMagics.language = 'zh'").error is None
    assert notebook.execute(check).streams["stdout"].startswith("没有错误：Echo\n")
    notebook.execute("%config ComposeMagics.language = 'en'\nos.environ['LANGUAGE'] = 'zh_CN'")
    assert notebook.execute(check).streams["stdout"].startswith("no mistakes: Echo\n")
    notebook.execute("import os\nos.environ['LANGUAGE'] = 'zh_CN'\n%config ComposeMagics.language = None")
    assert notebook.execute(check).streams["stdout"].startswith("没有错误：Echo\n")


def test_a_language_that_is_not_spoken(notebook: Kernel) -> None:
    done = notebook.execute("%config ComposeMagics.language = 'de'")
    assert "de" in (done.error[1] if done.error else done.streams["stderr"] + done.streams["stdout"])
    assert notebook.execute(f"%%compose --check\n{ECHO}").streams["stdout"].startswith("no mistakes")
    notebook.execute("%config ComposeMagics.language = None")  # IPython keeps even what was refused


def test_a_list_of_what_is_allowed_counts_as_a_whole(notebook: Kernel) -> None:
    setting = "get_ipython().magics_manager.registry['ComposeMagics'].allow"
    is_allowed = f"from composemagic.allowance import is_allowed\nis_allowed('shell'), {setting}"
    wrong = "%config ComposeMagics.allow = ['shell', 'A_KEY=ftp://x']"
    for _ in range(2):  # the same line is refused again
        assert "no host that a secret can go to" in notebook.execute(wrong).streams["stderr"]
        assert notebook.execute(is_allowed).text == "(False, [])"
    for listed in (["shell"], ["shell", "hook"]):
        notebook.execute(f"%config ComposeMagics.allow = {listed}")
        assert notebook.execute(is_allowed).text == f"(True, {listed})"
    notebook.execute(wrong)
    assert notebook.execute(is_allowed).text == "(True, ['shell', 'hook'])"
    notebook.execute("%config ComposeMagics.allow = []")
    assert notebook.execute(is_allowed).text == "(False, [])"


def test_unloading_undoes_the_prices(notebook: Kernel) -> None:
    prices = "from composemagic.prices import prices; len(prices())"
    notebook.execute("%config ComposeMagics.prices = {'m': (1, 2)}")
    assert notebook.execute(prices).text == "1"
    notebook.execute("%unload_ext composemagic")
    assert notebook.execute(prices).text == "0"
    notebook.execute("%load_ext composemagic\n%config ComposeMagics.language = 'en'")


def test_unloading_undoes_the_language(notebook: Kernel) -> None:
    notebook.execute("%config ComposeMagics.language = 'zh'\n%unload_ext composemagic")
    assert notebook.execute("from composemagic.words import language; language()").text == "'en'"


@pytest.mark.parametrize("body", ["", "\n", "\n# nothing to change\n\n"])
@pytest.mark.parametrize("magic", ["%%compose echo", "%compose echo"])
def test_a_file_needs_no_cell(notebook: Kernel, tmp_path: Path, magic: str, body: str) -> None:
    file = tmp_path / "base.yml"
    file.write_text(ECHO, encoding="utf-8")
    done = notebook.execute(f"{magic} -f {file} --diagram{body}")
    assert done.error is None and done.text == TREE
    done = notebook.execute(f"{magic} -f {file} -i text=hi -o answer{body}")
    assert done.error is None
    assert notebook.execute("print(answer.output, echo.title)").streams["stdout"] == "hi Echo\n"


def test_a_cell_without_a_file_and_a_body_is_empty(notebook: Kernel) -> None:
    assert "this cell is empty" in str(notebook.execute("%%compose --check\n# nothing").error)
    said = str(notebook.execute("%compose echo").error)
    assert "and `-f FILE`; a workflow stands below `%%compose`" in said


@pytest.mark.parametrize(
    ("cast", "text", "expected"),
    [
        ("", "3", 3),
        ("", "2.5", 2.5),
        ("", "true", True),
        ("", "yes", "yes"),
        ("", "3 apples", "3 apples"),
        (" | warm", "7", 7),
        (" as text", "3", "3"),
        (" as select/1,2", "1", "1"),
        (" as integer", "3", 3),
        (" as list", "[1, 2]", [1, 2]),
        (" as text[]", '["a", "b"]', ["a", "b"]),
        (" as integer[]", "[1, 2]", [1, 2]),
        (" as object[]", '[{"name": "Ada"}]', [{"name": "Ada"}]),
        (" as text", "[1, 2]", "[1, 2]"),
    ],
)
def test_a_value_on_the_line_is_a_scalar_of_yaml(notebook: Kernel, cast: str, text: str, expected: object) -> None:
    cell = f"component:\n  type: echo\n  action:\n    value: ${{input.n{cast}}}"
    assert notebook.execute(f"%%compose -i n='{text}' -o answer\n{cell}").error is None
    assert notebook.execute("answer.output").text == repr(expected)


@pytest.mark.parametrize("text", ["5", "[1", '{"a": 1}', "a"])
def test_what_is_no_list_is_told(notebook: Kernel, text: str) -> None:
    cell = "component:\n  type: echo\n  action:\n    value: ${input.n as object[]}"
    assert "is no list" in str(notebook.execute(f"%%compose -i n='{text}'\n{cell}").error)


def test_an_input_is_varied_once(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose --sweep text=a,b --sweep text=c\n{ECHO}")
    assert "`--sweep text=...` stands there twice; its values stand in one: `--sweep text=A,B,...`" in str(done.error)


def test_inputs_from_variables_of_their_names(notebook: Kernel) -> None:
    notebook.execute("text, title = 'from a variable', 'no input of this'")
    done = notebook.execute(f"%%compose --vars -o run\n{ECHO}")
    assert done.error is None
    assert notebook.execute("run.text").text == "'from a variable'"
    notebook.execute(f"%%compose --vars -i text=said -o run\n{ECHO}")
    assert notebook.execute("run.text").text == "'said'"


@pytest.mark.parametrize("line", ["answer <<", "echo answer <<", "answer << --quiet"])
def test_an_arrow_names_the_run(notebook: Kernel, line: str) -> None:
    done = notebook.execute(f"%%compose {line} -i text=hi\n{ECHO}")
    assert done.error is None
    assert notebook.execute("answer.text, 'echo' in globals()").text == f"('hi', {line.startswith('echo')})"


@pytest.mark.parametrize("line", ["<<", "9x <<"])
def test_an_arrow_needs_a_name(notebook: Kernel, line: str) -> None:
    done = notebook.execute(f"%%compose {line}\n{ECHO}")
    assert done.error is not None and "`" in done.error[2]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('-i text="Say "hello" to me"', "quotes inside quotes are lost; write them as in -i prompt="),
        ('-i text="Hi there', 'a quote is not closed in `%%compose -i text="Hi there`'),
        ("--sweep text=a, b, c", "no spaces after the commas: `--sweep text=a,...`"),
    ],
)
def test_what_students_type(notebook: Kernel, line: str, sentence: str) -> None:
    done = notebook.execute(f"%%compose {line}\n{ECHO}")
    assert done.error is not None and sentence in done.error[2]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("""-i text='Say "hello" to me'""", 'Say "hello" to me'),
        ('-i text="Say \\"hello\\" to me"', 'Say "hello" to me'),
        ('-i text="it is" --quiet', "it is"),
        ('-i text=""', ""),
        ("""-i text='["Ada", "Alan"]'""", '["Ada", "Alan"]'),
    ],
)
def test_quotes_that_are_kept(notebook: Kernel, line: str, text: str) -> None:
    assert notebook.execute(f"%%compose {line} -o run --check\n{ECHO}").error is None


def test_a_quiet_cell_shows_nothing_and_keeps_its_run(notebook: Kernel) -> None:
    done = notebook.execute(f"%%compose --quiet -i text=hi -o run\n{ECHO}")
    assert (done.error, done.outputs) == (None, [])
    assert notebook.execute("run.status, run.text").text == "('done', 'hi')"
    done = notebook.execute("%%compose --quiet\ncomponent: {type: shell, action: {command: [echo]}}")
    assert done.error is not None  # an error is never quiet


GATED = "import threading\ngate = threading.Event()\ndef held():\n    assert gate.wait(60)\n    return 'at last'"


def test_a_run_in_the_background_lets_other_cells_run(notebook: Kernel) -> None:
    notebook.execute(GATED)
    done = notebook.execute("%%compose --background -o run\ncomponent: {type: function, function: held}")
    assert done.error is None and done.outputs  # its view stands there
    assert notebook.execute("run.status").text == "'running'"
    assert notebook.execute("gate.set(); run.wait(); run.text").text == "'at last'"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("secret", "`%compose` does not know `secret`; did you mean `secrets`?"),
        ("nothing like it", "`%compose` knows `help`, "),
        ("", "`%compose` knows `help`, "),
        ("secrets 'open", "%compose secrets 'open: No closing quotation"),
    ],
)
def test_a_line_that_is_not_known(notebook: Kernel, line: str, sentence: str) -> None:
    done = notebook.execute(f"%compose {line}")
    assert done.error is not None and sentence in done.error[2]


def test_help_in_a_cell(notebook: Kernel) -> None:
    said = notebook.execute("%compose help casts").streams["stdout"]
    assert said.startswith("A cast says what a value is to be")
    assert "for-each" in notebook.execute("%compose help").streams["stdout"]


def tab(notebook: Kernel, code: str) -> list[str]:
    """What the Tab key offers where `|` stands."""
    at = code.index("|")
    answer = notebook.client.complete(code[:at] + code[at + 1 :], at, reply=True, timeout=60)
    return list(answer["content"]["matches"])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("%%compose --chec|", ["--check"]),
        ("%%compose -i |\ncomponent: {type: echo, text: '${input.who} ${input.mood}'}", ["who=", "mood="]),
        ("%%compose -w |\nworkflows:\n  - id: sum\n  - id: ask", ["sum", "ask"]),
        ("%%compose -e |\ncomponent: {type: echo, text: '${env.KEY}'}", ["KEY="]),
        ("%%compose chat\ncomponent:\n  type: http-c|", ["http-client"]),
        ("%%compose chat\ncomponent:\n  type: echo\n  text: ${input.x as inte|", ["integer"]),
        ("%compose hel|", ["help"]),
    ],
)
def test_the_tab_key(notebook: Kernel, code: str, words: list[str]) -> None:
    assert tab(notebook, code) == words


def test_the_tab_key_leaves_python_alone(notebook: Kernel) -> None:
    assert "os" in tab(notebook, "import o|")
    notebook.execute("%unload_ext composemagic")
    assert "component: " not in tab(notebook, "%%compose\ncompo|")
