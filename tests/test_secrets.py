"""The redactor: which variables are secret, and what becomes of them in texts and exceptions."""

from __future__ import annotations

import traceback

import pytest

from composemagic.transport.secrets import Redactor, is_secret

SECRETS = [
    ("OPENAI_API_KEY", "abc", True),
    ("KEY", "abc", True),
    ("my-token", "abc", True),
    ("API_KEYS", "abc", True),
    ("DB_PASSWORD", "abc", True),
    ("GOOGLE_CREDENTIALS", "abc", True),
    ("Client_Secret", "abc", True),
    ("MONKEY", "abc", False),
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
]


@pytest.mark.parametrize(("name", "value", "secret"), SECRETS)
def test_what_is_secret(name: str, value: str, secret: bool) -> None:
    assert is_secret(name, value) is secret


TEXTS = [
    ("abcdefgh", "it is abcdefgh!", "it is ***!"),
    ("abcdefg", "it is abcdefg!", "it is abcdefg!"),
    ("a/b+c d?ef", "/x/a%2Fb%2Bc%20d%3Fef and a/b+c d?ef", "/x/*** and ***"),
    ('abc"defgh', '{"x": "abc\\"defgh"}', '{"x": "***"}'),
    ("Bearer abcdefgh", "abcdefgh and Bearer abcdefgh", "*** and ***"),
    ("abcdefgh\n", "abcdefgh", "***"),
    ("a.c.e.g.", "abcdefgh a.c.e.g.", "abcdefgh ***"),
    ("", "nothing", "nothing"),
]


@pytest.mark.parametrize(("value", "text", "shown"), TEXTS)
def test_texts(value: str, text: str, shown: str) -> None:
    redact = Redactor()
    env = redact.watch({"A_KEY": value, "OTHER_KEY": "never-read"})
    assert redact(text) == text and not redact.finds(text)
    assert (
        env["A_KEY"] == value and env.get("NOTHING") is None and list(env) == ["A_KEY", "OTHER_KEY"] and len(env) == 2
    )
    assert redact(text) == shown and redact.finds(text) is (text != shown)
    assert redact("never-read") == "never-read"


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
