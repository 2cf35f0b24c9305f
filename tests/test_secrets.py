"""The redactor: which variables are secret, and what becomes of them in texts and exceptions."""

from __future__ import annotations

import base64
import json
import re
import traceback
from typing import NamedTuple
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composemagic.errors import RunError
from composemagic.language.formats import Media
from composemagic.language.secret import SHOWN
from composemagic.transport.secrets import Redactor, is_secret, opened

SECRETS = [
    ("OPENAI_API_KEY", "abc", True),
    ("KEY", "abc", True),
    ("my-token", "abc", True),
    ("API_KEYS", "abc", True),
    ("DB_PASSWORD", "abc", True),
    ("GOOGLE_CREDENTIALS", "abc", True),
    ("Client_Secret", "abc", True),
    ("apiKey", "abc", True),
    ("OPENAI.API.KEY", "abc", True),
    ("MONKEY", "abc", False),
    ("MAX_TOKENS", "4096", False),
    ("MAX_TOKENS", "sk-0123", True),
    ("KEYS", "abc", True),
    ("HONKEYTONK", "abc", False),
    ("Monkeys", "abc", False),
    ("KEYBOARD", "abc", False),
    ("TOKENIZER_PATH", "abc", False),
    ("MODEL", "gpt-4o", False),
    ("PORT", "8080", False),
    ("BASE_URL", "https://sk-example.org", False),
    ("X", "sk-proj-1", True),
    ("X", "ghp_1", True),
    ("X", "Bearer sk-1", True),
    ("X", "AIzaSy", True),
    ("X", "", False),
    # 20 characters or more without order
    ("X", "q7Zp2LmX9vTb4RcK8sWd", True),
    ("X", "q7Zp2LmX9vTb4RcK8sW", False),
    ("X", "Token q7Zp2LmX9vTb4RcK8sWd", True),
    ("X", "9f86d081884c7d659a2feaa0c55ad015", True),
    ("X", "9F86D081884C7D659A2FEAA0C55AD015", True),
    ("X", "dGhpcyBpcyBhIHRlc3Q+/3Zp2LmX9vTb4RcK8sWd==", True),
    ("X", "550e8400-e29b-41d4-a716-446655440000", False),
    ("X", "aaaaaaaaaaaaaaaaaaaa1111", False),
    ("X", "12345678901234567890", False),
    ("X", "a1b2c3d4e5f6-g7h8i9j0", False),
    ("X", "abcdefghijklmnopqrstuvwxyz", False),
    # what carries no secret is free
    ("MODEL", "meta-llama/Llama-3.3-70B-Instruct-Turbo", False),
    ("MODEL", "claude-3-5-sonnet-20241022", False),
    ("MODEL", "accounts/fireworks/models/llama-v3p1-405b-instruct", False),
    ("MODEL", "Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", False),
    ("BASE_URL", "https://q7Zp2LmX9vTb4RcK8sWd.example.org/v1", False),
    ("DATA", "/home/ada/projects/2026-course/data/table1.csv", False),
    ("HOST", "ec2-12-34-56-78.compute-1.amazonaws.com", False),
    ("GREETING", "What a lovely day 1234567890 it is", False),
]


@pytest.mark.parametrize(("name", "value", "secret"), SECRETS)
def test_what_is_secret(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret


TEXTS = [
    ("abcdefgh", "it is abcdefgh!", "it is ***!"),
    ("abcdefg", "it is abcdefg!", "it is abcdefg!"),
    ("a/b+c d?ef", "/x/a%2Fb%2Bc%20d%3Fef and a/b+c d?ef", "/x/*** and ***"),
    ("a/b+c d?ef", "a%2fb%2bc%20d%3fef a/b%2Bc%20d%3Fef a%2Fb%2Bc+d%3Fef", "*** *** ***"),
    ('abc"defgh', '{"x": "abc\\"defgh"}', '{"x": "***"}'),
    ("abc/defgh", '{"x": "abc\\/defgh"}', '{"x": "***"}'),
    ('ab"c/defgh', '{"x": "ab\\"c/defgh", "y": "ab\\"c\\/defgh"}', '{"x": "***", "y": "***"}'),
    ("abc<&>'defgh", "abc&lt;&amp;&gt;&#x27;defgh abc&lt;&amp;&gt;'defgh", "*** ***"),
    ("abc'defgh", repr(["abc'defgh"]), '["***"]'),
    ("ab'c\"defgh", repr(["ab'c\"defgh"]), "['***']"),
    ("Bearer abcdefgh", "abcdefgh and Bearer abcdefgh", "*** and ***"),
    ("Bearer Token abcdefgh", "abcdefgh and Token abcdefgh", "abcdefgh and ***"),
    (
        "abcdefg",
        base64.b64encode(b"abcdefg").decode(),
        base64.b64encode(b"abcdefg").decode(),
    ),  # too short in any spelling
    ("abcdefgh\n", "abcdefgh", "***"),
    ("a.c.e.g.", "abcdefgh a.c.e.g.", "abcdefgh ***"),
    ("", "nothing", "nothing"),
]


@pytest.mark.parametrize(("value", "text", "shown"), TEXTS)
def test_texts(value: str, text: str, shown: str) -> None:
    redact = Redactor()
    env = redact.watch({"A_KEY": value, "OTHER_KEY": "never-read", "MODEL": "m"})
    assert redact(text) == text and not redact.finds(text) and not redact.knows
    assert repr(env["A_KEY"]) == ("***" if value else "''") and env["MODEL"] == "m" and env.get("NOTHING") is None
    assert list(env) == ["A_KEY", "OTHER_KEY", "MODEL"] and len(env) == 3 and "A_KEY" in env and "B" not in env
    assert redact(text) == shown and redact.finds(text) is (text != shown) and redact.knows is bool(value)
    assert redact("never-read") == "never-read"


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "user12:"])
@pytest.mark.parametrize("after", ["", "x", "xy", "xyz"])
def test_base64_wherever_the_secret_stands_in_the_text(before: str, after: str) -> None:
    redact, key = Redactor(), "q?Zp>LmX~9vTb4RcK8sWd"
    redact.learn("A_KEY", key)
    data = f"{before}{key}{after}".encode()
    for written in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        # what is left are the characters that the neighbours decide, too
        first, end = -(-len(before) * 8 // 6), (len(before) + len(key)) * 8 // 6
        assert redact(f"Basic {written}!") == f"Basic {written[:first]}***{written[end:]}!"


def test_values_of_any_shape() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    value = {"abcdefgh": ["abcdefgh", b"<abcdefgh>", 1, None, {"x": ("abcdefgh", True)}]}
    assert redact.value(value) == {"***": ["***", b"<***>", 1, None, {"x": ("***", True)}]}
    untouched = {"a": [1, "b"]}
    assert redact.value(untouched) is untouched
    assert redact.value(b"\xff\x00abcdefgh\xfe") == b"\xff\x00***\xfe"
    picture = Media(b"abcdefgh")
    picture.content_type = "image/png"
    found = redact.value(picture)
    assert found == b"***" and type(found) is Media and found.content_type == "image/png"


def test_where_nothing_is_known_all_passes() -> None:
    redact = Redactor()
    for name, value in (("MODEL", "gpt-4o-mini"), ("A_KEY", "short")):
        redact.learn(name, value)
    redact.learn_all({"PORT": "12345678", "BASE_URL": "https://llm.example"})
    value = {"a": ["gpt-4o-mini", "short", b"12345678"]}
    assert redact.value(value) is value and redact.closed(value) is value and redact.gathered(value) == value
    assert redact.begun("s") == 0 and not redact.finds("short") and list(redact.spans("short")) == []
    assert pieces(redact, ["sho", "rt"]) == ["sho", "rt", ""]
    found = redact.pieces()
    assert (found.add("sho"), found.add("rt"), found.end()) == ("sho", "rt", "")


def test_what_holds_none_stays_the_object_it_is() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    picture = Media(b"\xff\x00")
    picture.content_type = "image/png"
    found = redact.value({"key": "abcdefgh", "picture": picture, "text": "plain"})
    assert found["key"] == "***" and found["picture"] is picture and found["text"] == "plain"


class Sealed(tuple[str, ...]):
    """One that cannot be made anew of its values."""

    def __new__(cls, *values: str) -> Sealed:
        return super().__new__(cls, values)


class Stern(Sealed):
    """One that says so."""

    def __new__(cls, *values: str) -> Stern:
        if len(values) != 2:
            raise ValueError("two")
        return tuple.__new__(cls, values)


class Pair(NamedTuple):
    name: str
    key: str


def test_other_collections() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    assert redact.value([Pair("a", "abcdefgh")]) == [Pair("a", "***")]
    assert type(redact.value(Pair("a", "abcdefgh"))) is Pair
    innocent = Sealed("a", "b")
    assert redact.value(["abcdefgh", innocent, ("a",)])[1] is innocent
    assert redact.value(Sealed("a", "abcdefgh")) == redact.value(Stern("a", "abcdefgh")) == ("a", "***")
    redact.learn("B_KEY", "ijklmnop")
    assert redact.value([{"abcdefgh", "ijklmnop"}]) == [{"***"}]
    assert redact.value([{"abcdefgh", 1}, frozenset({"abcdefgh"})]) == [{"***", 1}, frozenset({"***"})]


def test_what_streams_have_given_so_far_may_end_within_a_secret() -> None:
    redact = split_redactor()
    most = "sk-canary-0123456789/+"
    assert redact.gathered(f"x {most}") == "x ***" and redact.gathered("x sk-") == "x sk-"
    assert redact.gathered({"a": f"x {most}", "b": [f"y {most}", 1], most: b"z"}) == {
        "a": "x ***",
        "b": ["y ***", 1],
        most: b"z",
    }
    assert redact.gathered(["x", None, {"a": "sk-canary-0123456789/+x"}]) == ["x", None, {"a": "***"}]
    assert redact.gathered(b"sk-canary-0123456789/+x") == b"***"


def test_a_value_to_be_looked_at() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    plain = {"a": ["x", b"y"], "n": 1}
    assert redact.closed(plain) is plain
    found = redact.closed({**plain, "abcdefgh": 2, "k": ["<abcdefgh>"]})
    assert repr(found) == "{'a': ['x', b'y'], 'n': 1, '***': 2, 'k': [***]}"
    with pytest.raises(RunError, match="`` has nothing in it"):
        opened(found["k"])


QUOTED = ["abc'defgh", 'abc"defgh', "abc\\defgh", "a'b\"c\\d'efgh"]


@pytest.mark.parametrize("key", QUOTED)
def test_keys_with_quotes_in_values_of_any_shape(key: str) -> None:
    redact = Redactor()
    redact.learn("A_PASSWORD", key)
    for text in (f'it\'s "{key}"', json.dumps({"k": key}), repr([key]), f"{key}'"):
        assert key not in str(redact.value([{"x": text}])[0]["x"]) and "***" in redact.value([{"x": text}])[0]["x"]
    assert (
        repr(redact.closed({"a": [key, 1, None, key.encode()], "b": ("x", 2)}))
        == "{'a': [***, 1, None, ***], 'b': ('x', 2)}"
    )


# -- in pieces -----------------------------------------------------------------------------------------------------------

SPLIT = "before sk-canary-0123456789/+x after, sk-canary-01 and sk-canary-0123456789/+x"
SHOWN_SPLIT = "before *** after, sk-canary-01 and ***"


def pieces(redact: Redactor, texts: list[str]) -> list[str]:
    found = redact.pieces()
    given = [text if found.is_clear(text) else found.add(text) for text in texts]
    return [*given, found.end()]


def split_redactor() -> Redactor:
    redact = Redactor()
    redact.learn("A_KEY", "sk-canary-0123456789/+x")
    return redact


def without_first(given: str) -> str:
    """The first character of a key may have gone out before it could be known that one begins."""
    return given.replace("s***", "***")


@pytest.mark.parametrize("size", range(1, 40))
def test_a_secret_cut_by_a_stream(size: int) -> None:
    texts = [SPLIT[at : at + size] for at in range(0, len(SPLIT), size)]
    given = "".join(pieces(split_redactor(), texts))
    assert without_first(given) == SHOWN_SPLIT


@pytest.mark.parametrize("cut", range(len(SPLIT)))
def test_a_secret_cut_once_anywhere(cut: int) -> None:
    given = "".join(pieces(split_redactor(), [SPLIT[:cut], "", SPLIT[cut:]]))
    assert without_first(given) == SHOWN_SPLIT


def test_what_only_looks_like_the_beginning_is_let_go() -> None:
    redact = split_redactor()
    assert pieces(redact, ["a sk-can", "dle", " is", " sk-"]) == ["a ", "sk-candle", " is", " ", "sk-"]
    assert pieces(redact, ["a tas", "k is", "s", "k", "y"]) == [
        "a tas",
        "k is",
        "s",
        "",
        "ky",
        "",
    ]  # two are held, one is not
    assert pieces(redact, ["a sk-cana", "ry"]) == ["a ", "", "sk-canary"]
    assert pieces(redact, ["plain", " text"]) == ["plain", " text", ""]


def test_a_secret_that_ends_as_it_begins() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "ab-0123456-ab")
    assert pieces(redact, ["x ab-0123456-ab", "c"]) == ["x ***", "c", ""]
    assert pieces(redact, ["x ab-0123456-ab", "-0123456-ab"]) == ["x ***", "-0123456-", "ab"]


def test_the_quick_way_is_for_what_needs_no_look() -> None:
    found = split_redactor().pieces()
    assert found.is_clear("plain") is True and found.is_clear("a sk") is False
    assert found.add("a sk") == "a " and found.is_clear("plain") is False  # something is held
    assert found.add("plain") == "skplain" and found.is_clear("plain") is True


def test_after_its_end_a_text_begins_anew() -> None:
    """A value that is no text stands between two texts."""
    found = split_redactor().pieces()
    assert (found.add("x sk-canary-012345"), found.end(), found.add("y"), found.end()) == ("x ", "***", "y", "")
    assert (found.add("x sk-can"), found.end(), found.add("y"), found.end()) == ("x ", "sk-can", "y", "")


ENDS = [
    ("x sk-canary-0", "x sk-canary-0"),  # not more than half
    ("x sk-canary-01", "x ***"),
    ("x sk-canary-0123456789/+", "x ***"),
    ("x sk-canary-0123456789/+x", "x ***"),
    ("x sk-canary-01234567 ", "x sk-canary-01234567 "),
]


def test_half_of_a_secret_is_not_most_of_it() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    assert (pieces(redact, ["x abcd"]), pieces(redact, ["x abcde"])) == (["x ", "abcd"], ["x ", "***"])


@pytest.mark.parametrize(("text", "shown"), ENDS)
def test_most_of_a_secret_at_the_end_of_a_stream_that_was_cut_off(text: str, shown: str) -> None:
    for size in (1, 3, 100):
        given = "".join(pieces(split_redactor(), [text[at : at + size] for at in range(0, len(text), size)]))
        assert without_first(given) == shown


def test_the_longer_of_two_is_waited_for() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    redact.learn("B_KEY", "abcdefgh-and-more")
    assert "".join(pieces(redact, ["x abcdefgh", "-and-", "more y"])) == "x *** y"
    assert "".join(pieces(redact, ["x abcdefgh", "-and-", "less y"])) == "x ***-and-less y"
    assert "".join(pieces(redact, ["x abcdefgh"])) == "x ***"


KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


@settings(max_examples=300, deadline=None)
@given(key=KEYS, before=st.text(max_size=12), after=st.text(max_size=12), data=st.data())
def test_no_form_of_a_secret_gets_out(key: str, before: str, after: str, data: st.DataObject) -> None:
    redact = Redactor()
    redact.learn("A_KEY", key)
    forms = [
        key,
        quote(key, safe=""),
        quote(key),
        quote_plus(key),
        json.dumps(key)[1:-1],
        base64.b64encode(key.encode()).decode(),
    ]
    form = data.draw(st.sampled_from(forms))
    text = before + form + after
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    texts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    given_text = "".join(pieces(redact, texts))
    bare = re.sub(r"^(?:Bearer|Basic|Token)\s+", "", key, flags=re.IGNORECASE)
    for known in {bare, quote(bare, safe=""), json.dumps(bare)[1:-1], base64.b64encode(bare.encode()).decode()}:
        assert len(bare) < 8 or known not in given_text or known not in text or known in SHOWN


@settings(max_examples=200, deadline=None)
@given(text=st.text("sk-canry01 ", max_size=60), cuts=st.sets(st.integers(0, 60), max_size=8))
def test_what_holds_no_secret_is_given_whole(text: str, cuts: set[int]) -> None:
    redact = split_redactor()
    places = sorted(cut for cut in cuts if cut <= len(text))
    texts = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    assert "".join(pieces(redact, texts)) == text


def test_the_longer_secret_wins() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    redact.learn("B_KEY", "abcdefgh-and-more")
    assert redact("abcdefgh-and-more abcdefgh") == "*** ***"


class StubbornError(Exception):
    def __str__(self) -> str:
        return "still abcdefgh"


def test_exceptions() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")

    def fail(value: str) -> None:
        raise ValueError(f"bad {value}", ("abcdefgh", ["abcdefgh"], {"abcdefgh": 1}))

    try:
        try:
            fail("abcdefgh")
        except ValueError as cause:
            error = RuntimeError("abcdefgh")
            error.words = ["abcdefgh"]  # type: ignore[attr-defined]
            error.add_note("abcdefgh was noted")
            raise error from cause
    except RuntimeError as found:
        found.__context__ = StubbornError()
        redact.scrub(found)
        assert found.__context__ is None and str(found) == "***"
        shown = traceback.TracebackException.from_exception(found, capture_locals=True)
        assert shown.__cause__ is not None and "abcdefgh" not in "".join(shown.__cause__.format_exception_only())
        frames = shown.__cause__.stack
        assert [frame.name for frame in frames][-1] == "fail" and not frames[-1].locals
        assert vars(found) == {"words": ["***"], "__notes__": ["*** was noted"]}


class StubbornerError(Exception):
    def __str__(self) -> str:
        raise ValueError("abcdefgh")

    def __setattr__(self, name: str, value: object) -> None:
        raise ValueError("abcdefgh")


def test_exceptions_that_refuse_and_groups() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    group = ExceptionGroup("several", [ValueError("abcdefgh")])
    group.__context__ = StubbornerError("abcdefgh")
    redact.scrub(group)
    assert str(group.exceptions[0]) == "***" and group.__context__ is None
    redact.scrub(StubbornerError("abcdefgh"))


def test_exceptions_in_a_circle() -> None:
    redact = Redactor()
    redact.learn("A_KEY", "abcdefgh")
    one, other = ValueError("abcdefgh"), ValueError("abcdefgh")
    one.__cause__, other.__cause__ = other, one
    redact.scrub(one)
    assert str(one) == str(other) == "***"
