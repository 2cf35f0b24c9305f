"""What the Tab key offers: `|` is the cursor, in texts that are no YAML yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from composemagic.completion import suggestions
from composemagic.completion.suggestions import ids
from composemagic.components.described import language
from composemagic.notebook.complete import matcher

VARIABLES = ["HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL"]


def offered(text: str) -> tuple[str, list[str]]:
    at = text.index("|")
    text, before = text[:at] + text[at + 1 :], text[:at]
    found = suggestions(text, before.count("\n"), at - (before.rfind("\n") + 1), language, VARIABLES)
    return found.typed, [word.text for word in found.words]


HTTP = "component:\n  type: http-client\n"
JOBS = "workflow:\n  jobs:\n    - id: first\n    - {id: second, type: delay}\n"
PARTS = "components:\n  - id: gpt\n    type: http-client\n    actions:\n      - id: chat\n      - id: embed\n"

EXACT = [
    # keys
    ("comp|", ["component: ", "components: "]),
    ("component:\n  ty|", ["type: "]),
    (f"{HTTP}  str|", ["stream_format: ", "stream_fragmented: "]),
    (f"{HTTP}  action:\n    metho|", ["method: "]),
    (f"{HTTP}  actions:\n    - id: a\n      stream_fo|", ["stream_format: "]),
    (f"{HTTP}  actions:\n  - id: a\n    stream_fo|", ["stream_format: "]),
    ("component: {type: http-client, stream_fo|", ["stream_format: "]),
    ("component: {type: http-client, stream_fo|}", ["stream_format: "]),
    ("component: {type: http-client, action: {stream_fo|}}", ["stream_format: "]),
    ("component:\n  stream_fo|\n  type: http-client", ["stream_format: "]),  # the type may stand below
    (f"{JOBS}    - on_error:\n        t|", ["to: "]),  # the older `target` is read, not taught
    (f"{JOBS}    - id: third\n      type: for-each\n      do: {{com|", ["component: "]),
    ("controller:\n  adapter:\n    po|", ["port: "]),
    ("workflow:\n  tit|", ["title: "]),
    ("workflow:\n  title: x\n  tit|", []),  # is there
    # values
    ("component:\n  type: htt|", ["http-client", "http-server"]),
    ("component: {type: ec|}", ["echo"]),
    ("component: {type: htm|}", []),  # known by name only: nobody is led there
    (f"{JOBS}    - type: fi|", ["filter"]),
    (f"{JOBS}    - {{id: third, type: fi|}}", ["filter"]),
    (f"{JOBS}    - depends_on: |", ["first", "second"]),
    (f"{JOBS}    - depends_on: [f|", ["first"]),
    (f"{JOBS}    - depends_on:\n        - s|", ["second"]),
    (f"{JOBS}    - id: third\n      depends_on: |", ["first", "second"]),  # not on itself
    ("workflow:\n  jobs:\n    one:\n      type: if\n      otherwise: |\n    two:\n      type: delay", ["one", "two"]),
    (f"{PARTS}workflow:\n  job:\n    component: |", ["gpt"]),
    (f"{PARTS}workflow:\n  job:\n    component: gpt\n    action: |", ["chat", "embed"]),
    ("workflow:\n  default: |", ["true", "false"]),
    # in ${...}
    (f"{HTTP}  path: /${{inp|", ["input"]),
    (f"{HTTP}  path: /${{input.x as inte|", ["integer"]),
    (f"{HTTP}  path: /${{input.x as inte|}}", ["integer"]),
    (f"{HTTP}  path: /${{input.who}}/${{input.|}}", ["who"]),
    (f"{HTTP}  path: /${{env.OPENAI|", ["OPENAI_API_KEY", "OPENAI_BASE_URL"]),
    (f"{JOBS}  output: ${{jobs.|", ["first", "second"]),
    (f"{JOBS}  output: ${{jobs.first.|", ["output"]),
    (f"{JOBS}  output: ${{context.se|", ["session_id"]),
    (f"{HTTP}  path: /${{input.x | 0.7}} ${{res|".replace("x | 0.7", "x"), ["response", "response[]", "result"]),
    (f"{HTTP}  body: {{a: '${{input.x}}', b: '${{response.|", []),  # nobody knows what answers hold
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), EXACT, ids=[text.split("\n")[-1][:60] for text, _ in EXACT])
def test_exactly_these(text: str, words: list[str]) -> None:
    assert offered(text)[1] == words


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("comp|", "comp"),
        (f"{HTTP}  action: {{me|", "me"),
        (f"{HTTP}  path: ${{input.x as in|", "in"),
        (f"{HTTP}  |", ""),
    ],
)
def test_what_the_word_takes_the_place_of(text: str, typed: str) -> None:
    assert offered(text)[0] == typed


def test_each_component_type_that_runs_is_offered_with_what_it_is() -> None:
    found = suggestions("component:\n  type: ", 1, 8, language)
    assert {"http-client", "model", "agent", "echo"} <= {word.text for word in found.words}
    assert all(word.about for word in found.words)


@pytest.mark.parametrize(
    "text",
    ["|", "- |", "- - |", "]|", "{|", "{{{|", "}|{", "a: }|", "a: [}|", "\t|", "a:\n\t b: |", "a: 'it|", "a: |-\n", "? |",
     "&a |", "a: *|", "${|", "${${|", "${ as |", "workflow:\n jobs:\n- |", "component: {type: [|", "'|", "a: b: c|"],
)  # fmt: skip
def test_no_text_is_too_broken(text: str) -> None:
    offered(text)


def test_the_language_is_not_loaded_for_what_does_not_need_it() -> None:
    def never() -> dict[str, object]:
        raise AssertionError

    assert suggestions("a: ${env.H", 0, 10, never, VARIABLES).words[0].text == "HOME"


LARGE = 250 * 1024  # characters: what a document may have


def filled(before: str, unit: str, after: str) -> str:
    return f"{before}{unit * ((LARGE - len(before) - len(after)) // len(unit))}{after}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (filled("jobs:\n", "  - id: a\n", "  - to: |"), ["a"]),
        (filled("jobs:\n", "  - {id: a}\n", "  - to: |"), ["a"]),
        (filled("jobs: [", "{id: a}, ", "]\nworkflow:\n  jobs:\n    - to: |"), ["a"]),
        (filled("component: {type: x, data: ", "A", "==|"), []),
        (filled("image: ", "A", "==|"), []),
        (filled("{", "${ ", "{|"), []),
        (filled("x: a", " ", "|"), []),
    ],
    ids=["list", "flow", "one line", "base64 in flow", "base64", "expressions", "spaces"],
)
def test_no_text_is_too_large(text: str, words: list[str]) -> None:
    """Each took minutes where every id, or every character, was looked for from the start again."""
    assert offered(text)[1] == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jobs:\n- id: a\n- id: b\nother:\n- id: c\n", ["a", "b"]),  # in the column of its key
        ("workflow:\n  jobs:\n    one:\n      type: x\n    two: {type: y}\ntitle: z\n", ["one", "two"]),
        (
            "jobs:\n  - id: a\n    component: {id: p}\n  - {id: b, component: {id: q}}\ncomponents: [{id: r}]\n",
            ["a", "b"],
        ),
        ("job: {id: a}\njobs: [{id: b}, {id: c}]\n", ["a", "b", "c"]),
        ("jobs:\n  - - id: a\n", ["a"]),
        ("id: a\njobs:\n", []),
    ],
)
def test_the_ids_of_jobs(text: str, expected: list[str]) -> None:
    assert sorted(ids(text, "job")) == expected


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "composemagic")
    shell.user_ns["alpha"] = "a variable"
    yield shell
    shell.run_line_magic("unload_ext", "composemagic")
    InteractiveShell.clear_instance()


def completed(shell: InteractiveShell, text: str) -> list[str]:
    """What IPython, with all who answer in it, offers at `|`."""
    at = text.index("|")
    with provisionalcompleter():
        return [one.text for one in shell.Completer.completions(text.replace("|", ""), at)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%%compose -f |", ["folder/", "mine.yml", "yours.yaml"]),
        ("%%compose --file m|", ["mine.yml"]),
        ("%%compose -f folder/|", ["folder/inner.yml"]),
        ("%compose -f y|", ["yours.yaml"]),
        ("%%compose --record |", ["class.jsonl", "folder/"]),
        ("%%compose --env-file .e|", [".env"]),
        ("%%compose --speed |", ["max"]),
        ("%compose help ca|", ["casts"]),
        ("%compose help http-c|", ["http-client"]),
        ("%compose runs st|", ["status="]),
        ("%compose runs 5 fi|", ["first_delta="]),
        ("%compose secrets |", ["forget"]),
        ("%compose se|", ["secrets", "serve"]),
        ("%compose -f mine.yml --che|", ["--check"]),
        ("%%compose\ncomponent: {type: echo, text: al|", []),  # what Python would offer is no YAML
        ("%%compose\nworkflow:\n  job:\n    component: |", []),
        ("%%compose -i x=$alp|", ["alpha"]),
        ("alp|", ["alpha"]),
    ],
)
def test_what_a_shell_offers(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("mine.yml", "yours.yaml", "class.jsonl", ".env", ".hidden.yml", "folder/inner.yml"):
        (tmp_path / name).touch()
    assert completed(shell, text) == words


@pytest.mark.parametrize(
    "line", ["%%compose|", "|%%compose", "%%comp|ose", "  %%compose|", "%%compose -|", "%compose|", "|"]
)
def test_the_cursor_may_stand_anywhere_on_the_first_line(shell: InteractiveShell, line: str) -> None:
    context = SimpleNamespace(full_text=line.replace("|", ""), cursor_line=0, cursor_position=line.index("|"))
    assert "completions" in matcher(shell)(context)
