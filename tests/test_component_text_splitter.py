"""text-splitter: where texts are cut and how the pieces are put together again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

import pytest

import composemagic
from composemagic import RunError
from composemagic.components import text_splitter
from composemagic.components.text_splitter import LANGUAGES, SEPARATORS, SplitterAction, split
from tests.component_examples import documented, example, mistakes

LINES = "One. Two three.\n\nFour five six seven.\nEight.\n\n\n\nNine"

# what langchain-text-splitters 1.1.3 gives (RecursiveCharacterTextSplitter(separators, chunk_size, chunk_overlap).split_text)
RECORDED: list[tuple[str, Sequence[str], int, int, list[str]]] = [
    ("", SEPARATORS, 10, 0, []),
    ("ab cd ef", SEPARATORS, 5, 0, ["ab cd", "ef"]),
    ("ab cd ef", SEPARATORS, 5, 3, ["ab cd", "ef"]),
    ("abcdefghij", SEPARATORS, 4, 2, ["abcd", "cdef", "efgh", "ghij"]),
    ("abcdefghij", [" "], 4, 2, ["abcdefghij"]),
    ("a-b-c-d", ["-", ""], 3, 0, ["a-b", "-c", "-d"]),
    ("x" * 3 + "\n\n" + "y" * 3, SEPARATORS, 3, 3, ["xxx", "yy", "yyy"]),
    ("a  b   c", [" ", ""], 4, 1, ["a  b", "c"]),
    ("中文 分词 测试", SEPARATORS, 5, 2, ["中文 分词", "测试"]),
    ("class A:\n    x\nclass B:\n    y\ndef f():\n    z\n", LANGUAGES["python"], 18, 4, ["class A:\n    x", "class B:\n    y", "def f():\n    z"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "separators", "size", "overlap", "chunks"), RECORDED)
def test_the_chunks_are_those_of_langchain(
    text: str, separators: Sequence[str], size: int, overlap: int, chunks: list[str]
) -> None:
    assert list(split(text, separators, size, overlap)) == chunks


def test_what_holds_for_every_text() -> None:
    """300 texts by chance: no character but blanks is lost or comes out of its order, and no chunk is too long."""
    chance = random.Random(7)
    for _ in range(300):
        text = "".join(chance.choice("ab.\n 中") for _ in range(chance.randrange(120)))
        size = chance.randrange(1, 30)
        chunks = list(split(text, SEPARATORS, size, 0))
        assert "".join("".join(chunks).split()) == "".join(text.split())
        assert all(0 < len(chunk) <= size for chunk in chunks)
        for chunk in split(text, SEPARATORS, size, chance.randrange(size + 1)):
            assert chunk in text


def test_neighbours_share_whole_pieces_up_to_the_overlap() -> None:
    chunks = list(split("one two three four five six", SEPARATORS, 13, 5))
    assert chunks == ["one two three", "four five", "five six"]
    assert list(split("one two three four five six", SEPARATORS, 13, 6)) == [
        "one two three",
        "three four",
        "four five",
        "five six",
    ]


def test_a_long_text_is_cut_lazily() -> None:
    chunks = split("word " * 100_000, SEPARATORS, 1000, 200)
    assert len(next(chunks)) <= 1000


def test_every_language_has_separators() -> None:
    """The setting's names are those of the table; `""` is last, so that no chunk is ever too long."""
    names = get_args(get_args(get_type_hints(SplitterAction)["language"])[0])
    assert sorted(names) == sorted(LANGUAGES)
    assert len(names) == 20
    assert all(separators[-1] == "" for separators in LANGUAGES.values())


@pytest.mark.parametrize(
    ("language", "text", "first"),
    [
        ("python", "import x\n\ndef f():\n    pass\n\nclass A:\n    pass\n", "import x\n\ndef f():\n    pass"),
        ("markdown", "# T\nintroduction\n\nmore of it\n## A\ntext a\n", "# T\nintroduction\n\nmore of it"),
        ("html", "<html><body><div>one two</div><div>three</div></body>", "<html>"),
        ("latex", "pre\n\\chapter{One}\ntext text text\n\\section{Two}\nmore", "pre"),
        ("sql", "SELECT a, b, c, d\nFROM b\nWHERE c > d\n", "SELECT a, b, c, d"),
    ],
)
def test_a_language_is_cut_at_its_own_parts(language: str, text: str, first: str) -> None:
    assert next(split(text, LANGUAGES[language], 30, 0)) == first


# -- as a component ------------------------------------------------------------------------------------------------------


def run(settings: str, **values: Any) -> Any:
    """The output of a text splitter; its inputs may be null or empty, which a form would not let through."""
    started = composemagic.load(f"component: {{type: text-splitter, action: {{{settings}}}}}").start(values)
    started.wait()
    started.raise_for_error()
    return started.output


def test_the_example_of_the_docstring_runs() -> None:
    chunks = composemagic.load(example(text_splitter))(text="The quick brown fox jumps over the lazy dog. " * 3).output
    assert chunks[0] == "The quick brown fox jumps over the lazy"
    assert chunks[1].startswith("the lazy dog.")


def test_the_docstring_names_every_setting() -> None:
    assert documented(text_splitter) == set(SplitterAction.model_fields)


@pytest.mark.parametrize(
    ("settings", "text", "output"),
    [
        ("text: '${input.t}'", "short", ["short"]),
        ("text: '${input.t}'", "", []),
        ("text: '${input.t}'", None, None),
        ("text: '${input.t}'", 12, ["12"]),
        (
            "text: '${input.t}', chunk_size: 5, chunk_overlap: 0",
            ["ab cd ef", "x", None],
            [["ab cd", "ef"], ["x"], None],
        ),
        ("text: '${input.t}', chunk_size: '5', chunk_overlap: 0, separators: ['-']", "ab-cd-ef", ["ab-cd", "-ef"]),
        (
            "text: '${input.t}', chunk_size: 8, chunk_overlap: 0, language: markdown",
            "a\n## b\n## c",
            ["a\n## b", "## c"],
        ),
        ("text: '${input.t}', output: '${result[0]}'", "first", "first"),
    ],
)
def test_texts_give_lists(settings: str, text: Any, output: Any) -> None:
    assert run(settings, t=text) == output


def test_a_stream_gives_the_chunks_one_by_one() -> None:
    yaml = "text: '${input.t}', chunk_size: 5, chunk_overlap: 0, streaming: true, stream_fragmented: false"
    assert run(yaml, t=["ab cd ef", "x"]) == ["ab cd", "ef", "x"]
    mapped = run(f"{yaml}, output: '<${{result[]}}>'", t="ab cd ef")
    assert mapped == ["<ab cd>", "<ef>"]


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        ("chunk_size: 500", ["a text-splitter action needs `text`"]),
        ("text: x, chunksize: 5", ["unknown key `chunksize` in a text-splitter action; did you mean `chunk_size`?"]),
        ("text: x, language: pyton", ['unknown `language` "pyton"; did you mean `python`?']),
        ("text: x, language: python, separators: [a]", ["an action has `separators` or `language`, not both"]),
        ("text: x, separators: a", ['`separators` is a list of texts, such as ["\\n\\n", " "]']),
        ("text: x, chunk_size: 0", ["`chunk_size` is a whole number from 1 on, not 0"]),
        ("text: x, chunk_size: big, chunk_overlap: -1", [
            '`chunk_size` is a whole number from 1 on, not "big"', "`chunk_overlap` is a whole number from 0 on, not -1",
        ]),
        ("text: x, streaming: often", ['`streaming` is true or false, not "often"']),
        ("text: x, chunk_size: 100", [
            "`chunk_overlap`, 200 where nothing is said, is at most `chunk_size`: 200 is more than 100",
        ]),
    ],
)  # fmt: skip
def test_mistakes_are_found_when_it_is_loaded(settings: str, sentences: list[str]) -> None:
    assert mistakes(f"component: {{type: text-splitter, action: {{{settings}}}}}") == sentences


def test_the_caret_stands_under_what_is_wrong() -> None:
    with pytest.raises(composemagic.DocumentError) as caught:
        composemagic.load("component:\n  type: text-splitter\n  action:\n    text: x\n    chunk_size: 100\n")
    assert str(caught.value).endswith("   5 |     chunk_size: 100\n                       ^^^")


@pytest.mark.parametrize(
    ("settings", "values", "sentence"),
    [
        ("text: '${input.t}'", {"t": {"a": 1}}, "`text` is a text or a list of texts, not a mapping"),
        ("text: x, chunk_size: '${input.n}'", {"n": "many"}, '`chunk_size` is a whole number from 1 on, not "many"'),
        ("text: x, chunk_size: '${input.n}'", {"n": 7}, "`chunk_overlap`, 200 where nothing is said, is at most `chunk_size`: 200 is more than 7"),
        ("text: x, language: '${input.l}'", {"l": "pythn"}, 'unknown `language` "pythn"; did you mean `python`?'),
        ("text: x, separators: '${input.s}'", {"s": [1]}, '`separators` is a list of texts, such as ["\\n\\n", " "]'),
    ],
)  # fmt: skip
def test_what_a_template_gives_is_checked_in_the_run(settings: str, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RunError) as caught:
        run(settings, **values)
    assert caught.value.sentence == sentence
