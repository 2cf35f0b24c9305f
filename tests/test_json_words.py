"""Why a text is no JSON: the standard library's few sentences, in the user's language."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from composemagic.language.json_words import why_no_json
from composemagic.words import speak


@pytest.fixture(autouse=True)
def spoken() -> Iterator[None]:
    speak("en")
    yield
    speak(None)


def raised(text: str) -> Exception:
    with pytest.raises((ValueError, RecursionError)) as caught:
        json.loads(text)
    return caught.value


# a text, how the English sentence begins, the Chinese one
ROWS = [
    ("", "Expecting value: line 1 column 1 (char 0)", "这里缺少一个值：第 1 行第 1 列（字符 0）"),
    (
        "{a}",
        "Expecting property name enclosed in double quotes: line 1",
        "这里应是双引号中的键名：第 1 行第 2 列（字符 1）",
    ),
    ('{"a"\n1}', "Expecting ':' delimiter: line 2 column 1 (char 5)", "这里应是 ':'：第 2 行第 1 列（字符 5）"),
    ("[1 2]", "Expecting ',' delimiter: line 1 column 4 (char 3)", "这里应是 ','：第 1 行第 4 列（字符 3）"),
    ("1 2", "Extra data: line 1 column 3 (char 2)", "值的后面还有多余的内容：第 1 行第 3 列（字符 2）"),
    ('"a', "Unterminated string starting at: line 1", "从这里开始的字符串没有结束：第 1 行第 1 列（字符 0）"),
    ('"\x01"', "Invalid control character at: line 1", "这里有不允许的控制字符：第 1 行第 2 列（字符 1）"),
    (r'"\q"', r"Invalid \escape: line 1", "反斜杠转义写法不对：第 1 行第 2 列（字符 1）"),
    (r'"\u12"', r"Invalid \uXXXX escape: line 1", r"\uXXXX 转义写法不对：第 1 行第 4 列（字符 3）"),
]


@pytest.mark.parametrize(("text", "english", "chinese"), ROWS, ids=[row[1][:30] for row in ROWS])
def test_why_a_text_is_no_json(text: str, english: str, chinese: str) -> None:
    error = raised(text)
    assert why_no_json(error).startswith(english)
    speak("zh")
    said, _, place = why_no_json(error).rpartition("：")
    wanted, _, where = chinese.rpartition("：")
    assert said == wanted
    assert place == where or "uXXXX" in said  # which of its characters is named has changed between versions


def test_a_trailing_comma_which_only_newer_versions_name() -> None:
    error = json.JSONDecodeError("Illegal trailing comma before end of object", '{"a": 1,}', 7)
    assert why_no_json(error) == "Illegal trailing comma before the end: line 1 column 8 (char 7)"
    speak("zh")
    assert why_no_json(error) == "结尾之前多了一个逗号：第 1 行第 8 列（字符 7）"


def test_what_a_later_version_may_say_is_shown_as_it_is() -> None:
    error = json.JSONDecodeError("Something new", "x\ny", 2)
    assert why_no_json(error) == "Something new: line 2 column 1 (char 2)"


def test_an_error_without_a_place_is_named() -> None:
    assert why_no_json(raised("[" * 100_000)) == "RecursionError"
    assert why_no_json(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")) == "UnicodeDecodeError"
