"""How mistakes are drawn: the line, the caret under the right characters, the order, the nearest right name."""

from __future__ import annotations

import copy
import pickle
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from composemagic.errors import (
    ComposeError,
    DocumentError,
    InputError,
    Mark,
    Mistake,
    ModelError,
    RunError,
    Source,
    UsageError,
    keys_in,
    masked,
    suggest,
)
from composemagic.transport.providers import ProviderError
from composemagic.transport.sse import EventTooLarge


def cell(text: str, first_line: int = 1) -> Source:
    return Source("this cell", text, first_line)


DRAWN = {
    "plain": (Mark(cell("key: valeu"), 0, 5, 5), "   1 | key: valeu\n            ^^^^^"),
    "one character at least": (Mark(cell("k:"), 0, 2, 0), "   1 | k:\n         ^"),
    "beyond the line": (Mark(cell("ab"), 0, 1, 99), "   1 | ab\n        ^"),
    "beyond the text": (Mark(cell("ab"), 7, 3, 2), "   8 | \n       ^"),
    "a later line": (Mark(cell("a\nb\nc: d\n"), 2, 3, 1), "   3 | c: d\n          ^"),
    "below a %%compose line": (Mark(cell("a: b", first_line=2), 0, 3, 1), "   2 | a: b\n          ^"),
    "a big number": (Mark(cell("a: b", first_line=12345), 0, 3, 1), "12345 | a: b\n           ^"),
    "CRLF": (Mark(cell("a: b\r\nc: d\r\n"), 0, 3, 1), "   1 | a: b\n          ^"),
    "a tab": (Mark(cell("\ta: b"), 0, 1, 1), "   1 |  a: b\n        ^"),
    "wide characters before": (Mark(cell("名前: x"), 0, 4, 1), "   1 | 名前: x\n             ^"),
    "wide characters marked": (Mark(cell("a: 名前"), 0, 3, 2), "   1 | a: 名前\n          ^^^^"),
    "combining characters": (Mark(cell("e\u0301e\u0301: x"), 0, 6, 1), "   1 | e\u0301e\u0301: x\n           ^"),
    "an emoji with a joiner": (Mark(cell("\u200da: x"), 0, 4, 1), "   1 | \u200da: x\n          ^"),
    "what turns the line": (Mark(cell("\u202ea: x"), 0, 4, 1), "   1 | \ufffda: x\n           ^"),
    "what moves the cursor": (Mark(cell("\u2028\x85a: x"), 0, 5, 1), "   1 | \ufffd\ufffda: x\n            ^"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_mark_is_drawn(name: str) -> None:
    mark, drawn = DRAWN[name]
    assert mark.draw() == drawn


def pointed(mark: Mark) -> tuple[str, str]:
    """What stands above the carets, and the whole line as drawn (for lines of narrow characters)."""
    line, carets = mark.draw().split("\n")
    assert len(carets) <= len(line) + 1
    start = len(carets) - len(carets.lstrip())
    return line[start : len(carets)], line[7:]


LONG = "".join(f"<{at:04}>" for at in range(100))  # 600 characters, each place of its own


@pytest.mark.parametrize("column", [0, 6, 42, 54, 300, 540, 546, 594])
def test_of_a_long_line_the_neighbourhood_of_the_mark_is_shown(column: int) -> None:
    above, line = pointed(Mark(cell(LONG), 0, column, 6))
    assert above == LONG[column : column + 6]
    assert len(line) == 100
    assert line.startswith("…") is (column > 47)
    assert line.endswith("…") is (column + 6 < 553)


def test_a_long_mark_shows_its_beginning() -> None:
    above, line = pointed(Mark(cell(LONG), 0, 60, 500))
    assert LONG[60:].startswith(above)
    assert (len(above), len(line)) == (80, 100)


def test_a_line_of_a_hundred_characters_is_not_clipped() -> None:
    assert "…" not in Mark(cell("x" * 100), 0, 99).draw()
    assert pointed(Mark(cell("x" * 100 + "y"), 0, 100))[0] == "y"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # others use the machine as well
@given(st.text(st.characters(exclude_characters="\n\r"), max_size=300), st.data())
def test_the_caret_is_as_wide_as_what_stands_before_it(text: str, data: st.DataObject) -> None:
    column = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(1, 120))
    line, carets = Mark(cell(text), 0, column, length).draw().split("\n")
    assert set(carets) <= {" ", "^"}
    assert carets.endswith("^")
    assert "\t" not in line
    assert not any(unicodedata.category(char) == "Cc" for char in line)
    assert len(line) <= 107


@pytest.mark.parametrize(
    ("start", "end", "place"),
    [
        (0, 2, (0, 0, 2)),
        (3, 5, (1, 0, 2)),
        (4, 99, (1, 1, 3)),
        (4, 4, (1, 1, 1)),
        (9, 9, (2, 0, 1)),
        (9, 12, (2, 0, 2)),
    ],
)
def test_a_mark_between_two_indexes(start: int, end: int, place: tuple[int, int, int]) -> None:
    mark = Mark.between(cell("ab\ncdef\r\ngh"), start, end)
    assert (mark.line, mark.column, mark.length) == place


def test_a_document_error_draws_all_mistakes_in_order() -> None:
    source = cell("a: 1\nb: 2\n", first_line=2)
    error = DocumentError([
        Mistake("the second", Mark(source, 1, 3)),
        Mistake("the first", Mark(source, 0, 3)),
        Mistake("without a place"),
    ])  # fmt: skip
    assert str(error) == (
        "compose: 3 mistakes in this cell\n"
        "  without a place\n"
        "  the first\n   2 | a: 1\n          ^\n"
        "  the second\n   3 | b: 2\n          ^"
    )
    assert [mistake.sentence for mistake in error.mistakes] == ["without a place", "the first", "the second"]


def test_mistakes_on_one_line_share_it() -> None:
    source = cell("a: bb ccc\nd: e\n")
    error = DocumentError([
        Mistake("two", Mark(source, 0, 6, 3)),
        Mistake("one", Mark(source, 0, 3, 2)),
        Mistake("over", Mark(source, 0, 4, 3)),
        Mistake("one", Mark(source, 0, 6, 1)),
        Mistake("three", Mark(source, 1, 3)),
    ])  # fmt: skip
    assert str(error) == (
        "compose: 5 mistakes in this cell\n"
        "  one\n  over\n  two\n   1 | a: bb ccc\n          ^^^^^^\n"
        "  three\n   2 | d: e\n          ^"
    )


def test_on_a_long_line_those_near_each_other_share_what_is_shown() -> None:
    source = cell(LONG)
    error = DocumentError([Mistake(str(column), Mark(source, 0, column, 6)) for column in (60, 72, 300)])
    first, second = str(error).split("\n  300\n")
    sentences, line, carets = first.split("\n")[1:3], *first.split("\n")[3:]
    assert sentences == ["  60", "  72"]
    assert [line[at : at + 6] for at, char in enumerate(carets) if char == "^" and carets[at - 1] == " "] == [
        LONG[60:66],
        LONG[72:78],
    ]
    assert second.split("\n")[0].count("<0050>") == 1


@pytest.mark.parametrize(("count", "shown"), [(7, 7), (8, 7), (40, 7)])
def test_what_is_more_than_a_screen_is_counted(count: int, shown: int) -> None:
    source = cell("\n".join("a: b" for _ in range(count)))
    drawn = str(DocumentError([Mistake(f"m{at}", Mark(source, at, 3)) for at in range(count)])).split("\n")
    assert len(drawn) <= 24
    assert drawn[0] == f"compose: {count} mistakes in this cell"
    assert [line for line in drawn if line.startswith("  m")] == [f"  m{at}" for at in range(shown)]
    assert drawn[-1] == (f"and {count - shown} more" if count > shown else "          ^")


def test_more_than_a_dozen_on_one_line_are_counted() -> None:
    source = cell("a: " + "b" * 30)
    drawn = str(DocumentError([Mistake(f"m{at}", Mark(source, 0, 3 + at)) for at in range(30)])).split("\n")
    assert (len(drawn), drawn[13][:8], drawn[-1]) == (16, "   1 | a", "and 18 more")
    assert len(DocumentError([Mistake(f"m{at}") for at in range(30)]).mistakes) == 30


def test_of_several_files_each_line_has_its_name() -> None:
    one, two = Source("x/a.yml", "a: b", label="a.yml"), Source("x/b.yml", "c: d", 7, label="b.yml")
    error = DocumentError([Mistake("in a", Mark(one, 0, 3)), Mistake("in b", Mark(two, 0, 3))])
    assert str(error) == (
        "compose: 2 mistakes in x/a.yml and x/b.yml\n"
        "  in a\na.yml:1 | a: b\n             ^\n"
        "  in b\nb.yml:7 | c: d\n             ^"
    )
    three = [*error.mistakes, Mistake("in c", Mark(Source("c.yml", "a"), 0, 0))]
    assert str(DocumentError(three)).startswith("compose: 3 mistakes in x/a.yml, x/b.yml and c.yml\n")
    assert str(RunError("x", "no", mark=error.mistakes[1].mark)) == "compose: no\nb.yml:7 | c: d\n             ^"


def test_one_mistake_is_not_mistakes_and_several_sources_are_named() -> None:
    assert str(DocumentError([Mistake("x")])).startswith("compose: 1 mistake\n")
    both = [Mistake("x", Mark(Source(name, "a"), 0, 0)) for name in ("a.yml", "b.yml")]
    assert str(DocumentError(both)).startswith("compose: 2 mistakes in a.yml and b.yml\n")


def test_every_error_is_a_compose_error_and_shows_its_text_instead_of_frames() -> None:
    mark = Mark(cell("a: 1"), 0, 3)
    errors = [
        DocumentError([Mistake("x", mark)]),
        RunError("auth", "no key", job="job-1", mark=mark),
        InputError({"prompt": "`prompt` is missing", "n": "`n`: 3 is no text"}, hint="Give it with -i"),
        ModelError("no model"),
        UsageError("no such option"),
    ]
    for error in errors:
        assert isinstance(error, ComposeError)
        assert error._render_traceback_() == str(error).splitlines()
        assert str(error).startswith("compose: ")
    assert str(errors[1]) == "compose: no key\n   1 | a: 1\n          ^"
    assert str(errors[2]) == "compose: `prompt` is missing; `n`: 3 is no text. Give it with -i"
    assert [getattr(error, "kind", "") for error in errors] == ["", "auth", "input", "model", ""]


@pytest.mark.parametrize(
    ("word", "known", "words"),
    [
        ("inptu", ["input", "env"], "; did you mean `input`?"),
        ("Http_Client", ["http-client"], "; did you mean `http-client`?"),
        ("zzz", ["input"], ""),
        ("x", [], ""),
        ("", ["input"], ""),
    ],
)
def test_the_nearest_right_name(word: str, known: list[str], words: str) -> None:
    assert suggest(word, known) == words


# ── errors that travel: to another process, or copied ──

MARK = Mark(cell("a: 1"), 0, 3)
TRAVELLERS = [
    DocumentError([Mistake("b", MARK), Mistake("a")]),
    RunError("auth", "no key", job="job-1", mark=MARK),
    InputError({"prompt": "`prompt` is missing"}, hint="Give it with -i"),
    ModelError("no model"),
    UsageError("no such option"),
    ProviderError("rate_limit", "slow down", index=3),
    EventTooLarge(5, lines=["x"]),
]


@pytest.mark.parametrize("error", TRAVELLERS, ids=lambda error: type(error).__name__)
def test_an_error_travels_whole(error: ComposeError) -> None:
    error.add_note("a note")
    ways: list[Callable[[ComposeError], ComposeError]] = [
        lambda one: pickle.loads(pickle.dumps(one)),
        copy.deepcopy,
        copy.copy,
    ]
    for way in ways:
        other = way(error)
        assert type(other) is type(error)
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


# ── keys ──

KEYS = {
    "sk-" + "a1B2" * 4: "OPENAI_API_KEY",
    "sk-proj-0123456789_-abcdef": "OPENAI_API_KEY",
    "sk-ant-api03-0123456789abcdef": "ANTHROPIC_API_KEY",
    "sk-or-v1-0123456789abcdef": "OPENROUTER_API_KEY",
    "ghp_" + "a" * 36: "GITHUB_TOKEN",
    "AIza" + "b-_C" * 9: "GEMINI_API_KEY",
    "xai-" + "c" * 80: "XAI_API_KEY",
    "gsk_" + "d" * 52: "GROQ_API_KEY",
    "hf_" + "eF" * 17: "HF_TOKEN",
}
NO_KEYS = [
    "sk-short", "sk-0123456789abcde", "task-0123456789abcdef0", "my_sk-0123456789abcdef0", "hf_transformers_and_so_on", "${env.OPENAI_API_KEY}",
    "AIzawa", "", "sk-SK sk-*******************", "ghp_ aaaaaaaaaaaaaaaaaaaaaaaa",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("around", ["{}", "Bearer {}", '"{}"', "https://h/?key={}&x=1", "名{}，", "{}.", "'{}\\n"])
def test_a_key_is_found_and_covered(key: str, around: str) -> None:
    text = around.format(key)
    (found,) = keys_in(text)
    assert (text[found.start : found.start + found.length], found.variable) == (key, KEYS[key])
    covered = masked(text)
    assert (len(covered), key[8:] in covered) == (len(text), False)
    assert list(keys_in(covered)) == []


@pytest.mark.parametrize("text", NO_KEYS)
def test_what_is_no_key(text: str) -> None:
    assert (list(keys_in(text)), masked(text)) == ([], text)


@pytest.mark.parametrize("key", KEYS)
def test_no_message_shows_a_key(key: str) -> None:
    line = f"{'x' * 90} {key} {'y' * 200}"
    messages = [Mark(cell(line), 0, at, 9).draw() for at in (0, 60, 85, 92, 95, 110, 150, 250)]
    mistake = Mistake(f"unknown `{key}`", Mark(cell(line), 0, 91, len(key)))
    errors = [
        DocumentError([mistake]),
        RunError("x", f"no `{key}`", mark=mistake.mark),
        InputError({"x": f"no `{key}`"}),
        ModelError(key),
        UsageError(f"no `{key}`"),
    ]
    messages += [mistake.draw(), *map(str, errors), *("\n".join(error._render_traceback_()) for error in errors)]
    tail = key[-8:]
    assert [message for message in messages if tail in message] == []
    drawn = Mark(cell(f"a: {key} b"), 0, 3, len(key)).draw().split("\n")
    assert [len(part) for part in drawn] == [7 + len(f"a: {key} b"), 7 + 3 + len(key)]
