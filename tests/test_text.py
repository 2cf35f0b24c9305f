"""Text from outside made harmless: what goes, what stays, and that the cuts of a stream make no difference."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from composemagic.text import _UNWANTED, STRAY, Cleaner, _replacement, clean, has_only_print, plain

ROWS = {
    "words": ("Hello, 世界 🙂\n\ttab", "Hello, 世界 🙂\n\ttab"),
    "colours": ("\x1b[1;31mred\x1b[0m", "red"),
    "the screen is not cleared": ("a\x1b[2J\x1b[Hb", "ab"),
    "a title": ("\x1b]0;pwned\x07text", "text"),
    "a title, ended by ST": ("\x1b]0;pwned\x1b\\text", "text"),
    "a link": ("\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
    "eight-bit CSI": ("\x9b31mred", "red"),
    "eight-bit OSC": ("\x9d0;pwned\x9ctext", "text"),
    "a device control string": ("\x1bP1$r0m\x1b\\text", "text"),
    "an unclosed title hides nothing": ("\x1b]0;all the rest", "0;all the rest"),
    "an unclosed title ends with its line": ("\x1b]0;one\ntwo\x07", "0;one\ntwo"),
    "a charset": ("\x1b(0lqqk", "lqqk"),
    "reset": ("\x1bcgone?", "gone?"),
    "a lone escape at the end": ("text\x1b", "text"),
    "an unfinished sequence": ("text\x1b[31", "text"),
    "a sequence that no letter ends": ("\x1b[31é", "é"),
    "bells and backspaces": ("pass\x08\x08\x08\x08word\x07", "password"),
    "line ends": ("a\r\nb\rc\n", "a\nb\nc\n"),
    "overwriting a line": ("safe\revil", "safe\nevil"),
    "writing direction": ("admin\u202etxt.exe", "admintxt.exe"),
    "isolates": ("\u2066a\u2069", "a"),
    "joiners stay, emoji need them": ("👩\u200d🔬", "👩\u200d🔬"),
    "a split pair": ("\ud83d\ude42", "🙂"),
    "half a pair": ("a\ud83db", "a\ufffdb"),
    "the other half": ("a\ude42b", "a\ufffdb"),
    "nothing": ("", ""),
}

_pieces = st.lists(
    st.one_of(
        st.text(max_size=4),
        st.sampled_from(
            [
                "\x1b",
                "[",
                "]",
                "\\",
                "\r",
                "\n",
                "\x07",
                "\x9b",
                "\x9c",
                "\x9d",
                "31",
                "m",
                ";",
                "\ud83d",
                "\ude42",
                "a",
                "P",
                " ",
            ]
        ),
        st.sampled_from(["\x1b]0;" + "x" * 998, "x" * 999, "\x1b[" + "0" * 1200]),
    ),
    max_size=12,
)


@pytest.mark.parametrize(("text", "wanted"), ROWS.values(), ids=ROWS)
def test_plain(text: str, wanted: str) -> None:
    assert plain(text) == wanted


@pytest.mark.parametrize("text", [text for text, _ in ROWS.values()], ids=ROWS)
def test_a_cleaner_gives_the_same_at_every_cut(text: str) -> None:
    for at in range(len(text) + 1):
        cleaner = Cleaner()
        assert cleaner.add(text[:at]) + cleaner.add(text[at:]) + cleaner.end() == plain(text), at
    cleaner = Cleaner()
    assert "".join(map(cleaner.add, text)) + cleaner.end() == plain(text)


def test_a_cleaner_holds_back_only_what_may_be_a_sequence() -> None:
    cleaner = Cleaner()
    assert cleaner.add("one \x1b[3") == "one "
    assert cleaner.add("1mtwo") == "two"
    assert cleaner.add("three\r") == "three"
    assert cleaner.end() == "\n"
    assert cleaner.end() == ""


def test_a_cleaner_lets_go_of_a_sequence_that_never_ends() -> None:
    cleaner = Cleaner()
    shown = "".join(cleaner.add(delta) for delta in ["\x1b]0;", *["words "] * 400])
    assert len(shown) > 1000


@given(_pieces)
@example(["\x1b]0;" + "x" * 998, "\x1b", "\\"])
@example(["\x1b]", "x" * 999, "x", "\x07"])
def test_cuts_make_no_difference(pieces: list[str]) -> None:
    cleaner = Cleaner()
    assert "".join(map(cleaner.add, pieces)) + cleaner.end() == plain("".join(pieces))


@given(_pieces)
@example(["\x85"])
@example(["\u00ad", "\u3000", "\t", "é\n中"])
def test_what_has_only_print_has_nothing_to_obey(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert plain(text) == _UNWANTED.sub(_replacement, text)
    assert not has_only_print(text) or plain(text) == text


@given(_pieces)
def test_nothing_to_obey_is_left(pieces: list[str]) -> None:
    shown = plain("".join(pieces))
    assert not STRAY.search(shown)
    assert shown.encode("utf-8") is not None
    assert plain(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain", "plain"),
        ("é🚀", "é🚀"),
        ("a\ud83d", "a\ufffd"),
        ("\ude80b", "\ufffdb"),
        ("\ud83d\ude80", "🚀"),
        ("\ud83dx\ud83d\ud83d\ude80é", "\ufffdx\ufffd🚀é"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=20))
def test_clean_text_can_always_be_encoded(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    clean(text).encode()
    assert plain(clean(text)) == plain(text)
