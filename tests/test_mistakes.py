"""Every mistake that can be made in a document, as it is drawn. tests/language/mistakes/*.yml has them, by cause.

A row is `{name, given, error}`, or in notes.yml `{name, given, notes}`; `zh` is the same in Chinese. `given` is a list where
several files are read over each other. What is drawn stands there verbatim: a sentence that is not worth reading is seen at once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import composemagic
from composemagic.errors import DocumentError
from composemagic.words import speak

FOLDER = Path(__file__).parent / "language" / "mistakes"
TABLES: dict[str, list[dict[str, Any]]] = {
    file.stem: yaml.safe_load(file.read_text("utf-8")) for file in sorted(FOLDER.glob("*.yml"))
}
NOTES = {row["name"]: row for row in TABLES["notes"]}
ERRORS = {f"{cause}: {row['name']}": row for cause, rows in TABLES.items() if cause != "notes" for row in rows}
CHINESE = {name: row for name, row in ERRORS.items() if "zh" in row}
ALONE = {name: row for name, row in ERRORS.items() if re.match(r"compose: 1 mistake\b", row["error"])}
LINES_OF_A_SCREEN = 24
UNSET = ("CM_UNSET", "CM_UNSET_TITLE", "CM_NO_SUCH", "CM_NO_SUCH_NAME", "CM_NO_SUCH_PORT", "CM_NO_SUCH_TYPE")


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # no `.env` of whoever runs this
    for variable in UNSET:
        monkeypatch.delenv(variable, raising=False)
    speak("en")
    yield
    speak(None)


def load(given: str | list[str]) -> composemagic.Workflow:
    texts = [given] if isinstance(given, str) else given
    ended = [f"{text}\n" for text in texts]
    return composemagic.load(ended[0] if len(ended) == 1 else ended)


def drawn(given: str | list[str]) -> str:
    with pytest.raises(DocumentError) as caught:
        load(given)
    return str(caught.value)


# ── the rows ──


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_drawn(name: str) -> None:
    assert drawn(ERRORS[name]["given"]) == ERRORS[name]["error"]


@pytest.mark.parametrize("name", CHINESE)
def test_a_mistake_is_drawn_in_chinese(name: str) -> None:
    speak("zh")
    assert drawn(CHINESE[name]["given"]) == CHINESE[name]["zh"]


@pytest.mark.parametrize("name", NOTES)
def test_what_is_no_mistake_is_noted(name: str) -> None:
    assert list(load(NOTES[name]["given"]).notes) == NOTES[name]["notes"]


@pytest.mark.parametrize("name", [name for name, row in NOTES.items() if "zh" in row])
def test_a_note_in_chinese(name: str) -> None:
    speak("zh")
    assert list(load(NOTES[name]["given"]).notes) == NOTES[name]["zh"]


# what looks like a mistake of the tables and is none
RIGHT = {
    "a key in quotes that holds a full-width colon": "component: {type: echo, action: {value: {'text：a': null}}}\n",
    "a full-width comma in one of several options": (
        "component: {type: echo, action: {value: '${input.x as select/你好，世界,再见}'}}\n"
    ),
    "a case among the options": (
        "workflow: {jobs: [{id: a, type: switch, input: '${input.m as select/b,c}', cases: [{value: b, then: d}]},"
        " {id: d, component: {type: echo, action: {text: hi}}}]}\n"
    ),
    "an input that another job gives": (
        "workflow: {jobs: [{id: a, component: one, input: {x: 1}}, {id: b, component: one, input: {y: 1}, depends_on: a}]}\n"
        "components: [{id: one, type: echo, action: {value: ['${input.x}', '${input.y}']}}]\n"
    ),
    "an input that may be missing": (
        "workflow: {job: {component: one, input: {x: 1}}}\n"
        "components: [{id: one, type: echo, action: {value: ['${input.y | 1}', '...${input.z}', '${input.x | ${input.w}}',"
        " {'?': {input: '${input.v}', value: 1, if_true: 2}}]}}]\n"
    ),
    "an input that is merged": (
        "workflow: {job: {component: one, input: {x: 1, ...: '${input}'}}}\n"
        "components: [{id: one, type: echo, action: {value: '${input.y}'}}]\n"
    ),
    "an input that a hook may give": (
        "workflow: {job: {component: one, input: {x: 1}, hook: {before: {script: 'pass'}}}}\n"
        "components: [{id: one, type: echo, action: {value: '${input.y}'}}]\n"
    ),
    "an input that is not written out": (
        "workflow: {jobs: [{id: a, component: one, input: '${input.all}'}, {id: b, component: one, depends_on: a}]}\n"
        "components: [{id: one, type: echo, action: {value: '${input.y}'}}]\n"
    ),
    "a colon in a text on a line of its own": "component:\n  type: echo\n  action:\n    text:\n      python:3.12\n",
    "an address on a line of its own": "component:\n  type: echo\n  action:\n    text:\n      http://localhost:1/x\n",
    "keys that begin with a dash or a bracket": (
        "component:\n  type: echo\n  action:\n    value:\n      -n: 5\n      【标题】: 内容\n      “a b”: c\n"
    ),
    "a Chinese comma in an option": "component: {type: echo, action: {value: '${input.x as select/你好，世界,再见 | 再见}'}}\n",
    "Chinese punctuation in a text": (
        "component:\n  type: echo\n  action:\n    text: 他说：“你好，世界！”（${input.x}）【完】\n"
    ),
    "Chinese punctuation in a flow": "component: {type: echo, action: {value: [你好，世界, 【公告】]}}\n",
    "a paragraph that begins with full-width spaces": (
        "component:\n  type: echo\n  action:\n    text: |\n      第一段\n      　　第二段：＝＃\n      // no comment\n      x = 1\n"
    ),
    "comparisons and code in a text": (
        "component:\n  type: echo\n  action:\n    text: |\n      if (a < b || c) { return {x: 1} } else $(date) <b>bold</b> {name}\n"
    ),
    "a bar in a quoted default": "component: {type: echo, action: {value: '${input.x | \"|\"}'}}\n",
    "Chinese punctuation in a default": "component: {type: echo, action: {value: '${input.x | 你好，世界：（一）}'}}\n",
    "a default with a shell's sign in it": "component: {type: echo, action: {value: '${input.x | a:-b}'}}\n",
    "an index behind the start": "component: {type: echo, action: {value: '${input.x[:-1]} ${input.x[-3:-1]}'}}\n",
    "a filter's name as an option": "component: {type: echo, action: {value: '${input.x as select/upper,lower | upper}'}}\n",
    "filters' names that may well be defaults": (
        "component: {type: echo, action: {value: '${input.x | default} ${input.y | \"upper\"} ${input.z | upper case}'}}\n"
    ),
    "braces that are closed where they were opened": (
        "component: {type: echo, action: {value: ['{${input.x}}', '{\"a\": {\"b\": ${input.x}}}', '}${input.x}']}}\n"
    ),
    "folders of Windows": (
        "component: {type: echo, action: {value: ['C:\\${input.x}', 'D:\\logs\\${input.x}', '%TEMP%\\${input.x}\\${input.y}']}}\n"
    ),
    "three dots": "component: {type: echo, action: {value: [..., '... and so on', ...more to come]}}\n",
    "round brackets": (
        "component:\n  type: echo\n  action:\n    value:\n      - (1)\n      - (see a, b)\n      - '(1, 2)'\n      - ('\\d', 1)\n"
        "      - (not closed\n      - not opened)\n      - [(a), (b), 'c)', (d]\n      - (1, [2)\n"
    ),
    "parts to join that a run knows": (
        "component: {type: echo, action: {value: {'+': [Dear, '${input.x}', [a], {'?': {input: 1, value: 1, if_true: b}}]}}}\n"
    ),
    "a name in single quotes": "component: {type: echo, action: {value: \"${input['a b'].c} ${input.d['e']}\"}}\n",
    "params that are a value": (
        "component: {type: http-client, action: {endpoint: 'http://localhost:1', params: '${input.params}'}}\n"
    ),
    "what is looked in": (
        "component: {type: echo, action: {value: {'?': {any: [{input: 1, operator: in, value: [1]}, {input: a, operator: match,"
        " value: {'+': [a, b]}}], if_true: a}}}}\n"
    ),
    "the word None in quotes": "component: {type: echo, action: {value: ['None', \"1，2\"]}}\n",
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_only_looks_like_a_mistake_is_none(name: str) -> None:
    assert not [note for note in load(RIGHT[name]).notes if not note.startswith("read as")]


LONG = 100_000
HOSTILE = {
    "a word": "a: {" + "b" * LONG + " c: d}",
    "words": "a: {" + "b " * LONG + ": d}",
    "blanks in braces": "component: {type: echo, text: '${{" + " " * LONG + "'}",
    "blanks before a colon": "a: b" + " " * LONG + "c: d",
    "dashes": "a: b\n" + "- " * 60 + "-" * LONG + "\n c: d",
    "equals": "a\n" + "b" * LONG + "\n" + " " * LONG + "=",
    "wide commas": "a: [" + "b ， " * (LONG // 4) + "}",
    "brackets": "component: {type: echo, value: [" + "(a, " * 9_000 + "b)]}",
    "filters": "component: {type: echo, text: '${a | replace(" + ") " * (LONG // 4) + "}'}",
    "backslashes": "component: {type: echo, text: '" + "\\\\${a} }" * (LONG // 16) + "'}",
    "lookalikes": "component: {type: echo, text: '" + "{input." * (LONG // 8) + "'}",
    "a default that begins as a type": "component: {type: echo, txt: '${input.x | " + " as " * (LONG // 4) + "}'}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_long_to_explain(name: str) -> None:
    """What is looked for grows with the text, not with its square: else this ends in the test's time-out."""
    with pytest.raises(DocumentError):
        composemagic.load(HOSTILE[name] + "\nx: y\nworkflow: 5\n")


# ── what holds for every row ──


def columns(text: str) -> int:
    """How many columns a terminal gives a text."""
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


@pytest.mark.parametrize("name", ERRORS)
def test_a_sentence_is_there_and_ends_without_a_blank(name: str) -> None:
    row = ERRORS[name]
    for words in (row["error"], row.get("zh", row["error"])):
        head, *lines = words.split("\n")
        assert re.fullmatch(r"compose: \S.*\S", head)
        assert lines
        assert lines[0].strip()
        assert all(line == line.rstrip() or " | " in line for line in lines)


@pytest.mark.parametrize("name", ERRORS)
def test_all_mistakes_fit_on_a_screen(name: str) -> None:
    assert ERRORS[name]["error"].count("\n") < LINES_OF_A_SCREEN


LINE = re.compile(r"(?P<head>(?:.*:| *)\d+ \| )(?P<text>.*)")


def under_carets(words: str) -> list[str]:
    """The text above each run of carets, by the columns of a terminal."""
    found, line = [], None
    for row in words.split("\n")[1:]:
        if line and row and set(row) <= {" ", "^"}:
            text = line["head"] + line["text"]
            for carets in re.finditer(r"\^+", row):
                found.append(
                    "".join(char for at, char in enumerate(text) if carets.start() <= columns(text[:at]) < carets.end())
                )
        line = LINE.fullmatch(row)
    return found


@pytest.mark.parametrize("name", [name for name in ALONE if "^" in ALONE[name]["error"]])
def test_carets_stand_under_words_of_the_text(name: str) -> None:
    """Not under the number of the line, not behind its end, and not under blanks around a word."""
    (word,) = under_carets(ALONE[name]["error"])
    given = ALONE[name]["given"]
    texts = [given] if isinstance(given, str) else given
    assert word == word.strip() or not word.strip(), word
    if word:
        assert any(
            word in line.replace("\t", " ") or "***" in word or "\ufffd" in word
            for text in texts
            for line in text.split("\n")
        )


NAMED = re.compile(
    r"^  (?:unknown (?:key|source|type|component type|job type|method) |no (?:job|component|action|workflow) )`(?P<word>[^`]+)`"
)


# where the place inside of a scalar cannot be known, the whole of it is marked
WHOLE = (
    "all-at-once: a mistake that an alias repeats",
    "drawing: a folded scalar is marked from its first line",
    "drawing: an escaped scalar is marked whole",
)


@pytest.mark.parametrize("name", [name for name in ALONE if name not in WHOLE])
def test_carets_stand_under_the_word_that_the_sentence_names(name: str) -> None:
    found = NAMED.search(ALONE[name]["error"].split("\n")[1])
    if found and not isinstance(ALONE[name]["given"], list):
        assert under_carets(ALONE[name]["error"]) == [found["word"]]


@pytest.mark.parametrize("name", CHINESE)
def test_carets_stand_under_the_same_words_in_chinese(name: str) -> None:
    assert under_carets(CHINESE[name]["zh"]) == under_carets(CHINESE[name]["error"])


# ── the tables ──


@pytest.mark.parametrize("cause", TABLES)
def test_the_rows_of_a_table_are_each_their_own(cause: str) -> None:
    rows = TABLES[cause]
    assert len({row["name"] for row in rows}) == len(rows)
    assert len({str(row["given"]) for row in rows}) == len(rows)
    wanted = {"notes"} if cause == "notes" else {"error"}
    assert all({"name", "given", *wanted} <= set(row) <= {"name", "given", *wanted, "zh"} for row in rows)


def test_there_are_as_many_as_were_promised() -> None:
    assert len(ERRORS) >= 400
    assert len(NOTES) >= 30
    assert all(row["notes"] for row in NOTES.values())
    assert len(CHINESE) >= 25


PROMISED = ("keys", "sources", "casts", "defaults", "expressions", "operators", "yaml", "jobs", "components", "secrets")


@pytest.mark.parametrize("cause", [*PROMISED, "chinese-keyboard", "several-files", "streams", "environment", "notes"])
def test_every_cause_has_its_table(cause: str) -> None:
    assert len(TABLES[cause]) >= 5
