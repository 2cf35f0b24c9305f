"""What users read: every sentence is said in words that a table can hold, and Chinese has them all."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

import composemagic
from composemagic.cli import main
from composemagic.errors import DocumentError
from composemagic.languages import zh
from composemagic.words import LANGUAGES, language, say, speak

PACKAGE = Path(composemagic.__file__).parent
LOCALE = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in LOCALE:
        monkeypatch.delenv(variable, raising=False)
    speak(None)
    yield
    speak(None)


# ── the sentences in the source ──


def calls() -> Iterator[tuple[str, ast.Call]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}:{node.col_offset}", node


CALLS = dict(calls())
SENTENCES = {
    call.args[0].value: place
    for place, call in CALLS.items()
    if len(call.args) == 1 and isinstance(call.args[0], ast.Constant)
}


def places(sentence: str, *, filled: bool) -> list[str]:
    """The named places of a sentence; none where nothing is filled in, since its braces are only braces then."""
    return sorted(name for _, name, _, _ in Formatter().parse(sentence) if name is not None) if filled else []


def test_there_are_many_sentences() -> None:
    assert len(SENTENCES) > 700


def test_every_sentence_is_a_literal() -> None:
    odd = [
        place
        for place, call in CALLS.items()
        if len(call.args) != 1 or not isinstance(call.args[0], ast.Constant) or not isinstance(call.args[0].value, str)
    ]
    assert not odd, "`say` takes a literal text, so that it can be looked up: " + ", ".join(odd)


@pytest.mark.parametrize("place", CALLS)
def test_a_sentence_has_the_places_that_it_is_given(place: str) -> None:
    call = CALLS[place]
    sentence = call.args[0].value  # type: ignore[attr-defined]
    given = [keyword.arg for keyword in call.keywords]
    if None in given:  # `**places`
        given = []
        assert places(sentence, filled=True)
    else:
        assert sorted(set(places(sentence, filled=bool(given)))) == sorted(str(name) for name in given)


@pytest.mark.parametrize("name", ["RunError", "UsageError", "ModelError", "Mistake", "Flaw", "Fault"])
def test_no_error_is_made_of_words_that_are_not_said(name: str) -> None:
    """An English sentence that is written where it is raised would stay English."""
    odd = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                odd += [f"{file.name}:{arg.lineno}" for arg in node.args if is_sentence(arg)]
    assert not odd


def is_sentence(node: ast.expr) -> bool:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return bool(re.search(r"[a-z]+ [a-z]+", " ".join(texts)))


# ── Chinese ──


def test_chinese_has_every_sentence() -> None:
    missing = {place: sentence for sentence, place in SENTENCES.items() if sentence not in zh.SENTENCES}
    assert missing == {}


def test_chinese_has_no_sentence_that_nobody_says() -> None:
    left = sorted(set(zh.SENTENCES) - set(SENTENCES))
    assert left == []


@pytest.mark.parametrize("sentence", zh.SENTENCES)
def test_a_translation_has_the_same_places(sentence: str) -> None:
    filled = any(call.keywords for call in CALLS.values() if getattr(call.args[0], "value", None) == sentence)
    translated = zh.SENTENCES[sentence]
    assert places(translated, filled=filled) == places(sentence, filled=filled)


KEPT = re.compile(r"`[^`{}]+`")  # a word of the language, without a place in it


@pytest.mark.parametrize("sentence", [sentence for sentence in zh.SENTENCES if KEPT.search(sentence)])
def test_the_words_of_the_language_are_not_translated(sentence: str) -> None:
    words = [word for word in KEPT.findall(sentence) if re.fullmatch(r"`[a-z_]+:?`", word)]
    assert not [word for word in words if word not in zh.SENTENCES[sentence]]


def test_chinese_is_written_with_chinese_punctuation() -> None:
    """No Latin comma, semicolon or bracket beside a Chinese character, outside of code."""
    code = re.compile(r"`[^`]*`|\"[^\"]*\"")
    odd = [
        text
        for text in map(str, zh.SENTENCES.values())
        if re.search(r"[一-鿿][,;()!]|[,;()!][一-鿿]", code.sub("", text))
    ]
    assert not odd


def test_a_language_is_read_only_when_it_is_spoken() -> None:
    code = (
        "import sys, composemagic, composemagic.words as words, composemagic.errors\n"
        "words.say('{count} mistakes', count=2)\n"
        "assert 'composemagic.languages.zh' not in sys.modules\n"
        "words.speak('zh')\n"
        "assert words.say('{count} mistakes', count=2) == '2 个错误'\n"
        "assert 'composemagic.languages.zh' in sys.modules\n"
    )
    environment = {"PYTHONPATH": str(PACKAGE.parent), "LANG": "C"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)


# ── how a sentence is said ──


def test_a_sentence_without_places_is_said_as_it_stands() -> None:
    assert say("`${` is not closed with `}`") == "`${` is not closed with `}`"
    speak("zh")
    assert say("`${` is not closed with `}`") == "`${` 没有用 `}` 闭合"


def test_what_a_table_lacks_is_said_in_english() -> None:
    speak("zh")
    assert say("a sentence of a plugin about {thing}", thing="x") == "a sentence of a plugin about x"


@pytest.mark.parametrize("spoken", LANGUAGES)
@pytest.mark.parametrize("value", ["{key}", "${input.x}", "{{near}}", "{", "}", "%s", "{0}", "{near.__class__}"])
def test_a_value_is_never_filled_again(spoken: str, value: str) -> None:
    speak(spoken)
    assert f"`{value}`" in say("unknown key `{key}` in {place}{near}", key=value, place="x", near="")


def test_doubled_braces_are_braces_where_there_are_places() -> None:
    expected = {
        "en": "`x` is sent as it is written; a value is written `${x}`",
        "zh": "`x` 会原样发送；引用值要写成 `${x}`",
    }
    for spoken, words in expected.items():
        speak(spoken)
        assert (
            say(
                "`{written}` is sent as it is written; a value is written `${{{reference}}}`",
                written="x",
                reference="x",
            )
            == words
        )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("`hook`", "`hook` 应是映射，这里是 5"),
        ("http-client 组件", "http-client 组件应是映射，这里是 5"),
        ("控制器", "控制器应是映射，这里是 5"),
        ("", "应是映射，这里是 5"),
    ],
)
def test_a_space_stands_between_chinese_and_other_letters(place: str, expected: str) -> None:
    speak("zh")
    assert say("{place} is a mapping, this is {what}", place=place, what=5) == expected


def test_what_is_said_inside_of_a_sentence_is_in_the_same_language() -> None:
    speak("zh")
    with pytest.raises(DocumentError) as caught:
        composemagic.load("component: {type: echo, txt: 5}\nworkflow: {title: [a]}\n")
    assert str(caught.value) == (
        "compose: 这段文本中有 2 个错误\n"
        "  echo 组件中有未知的键 `txt`；是不是想写 `text`？\n"
        "   1 | component: {type: echo, txt: 5}\n"
        "                               ^^^\n"
        "  `title` 应是文本，这里是列表\n"
        "   2 | workflow: {title: [a]}\n"
        "                         ^^^"
    )


# ── which language ──


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ({}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "POSIX"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh"}, "zh"),
        ({"LANG": "zh-Hans"}, "zh"),
        ({"LANG": "ZH_cn"}, "zh"),
        ({"LANG": "zh.UTF-8"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "zh"),
        ({"LC_MESSAGES": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LANGUAGE": "zh_CN:en", "LC_ALL": "en_US.UTF-8"}, "zh"),
        ({"LANGUAGE": "en:zh_CN", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_CTYPE": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "en"),
    ],
)
def test_the_language_follows_the_locale(
    locale: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in locale.items():
        monkeypatch.setenv(variable, value)
    assert language() == expected


def test_what_is_chosen_goes_before_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    speak("en")
    assert language() == "en"
    speak(None)
    assert language() == "zh"


@pytest.mark.parametrize("name", ["de", "", "chinese", "zh_CN", "../zh"])
def test_a_language_that_nobody_speaks_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"language is one of en, zh, not {name!r}")):
        speak(name)
    assert language() == "en"


def test_the_command_line_speaks_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "chat.yml"
    file.write_text("component: {type: ecco}\n", "utf-8")
    assert main(["--language", "zh", "validate", str(file)]) == 1
    shown: Any = capsys.readouterr()
    assert f"{file} 中有 1 个错误" in shown.out + shown.err
    assert "未知的组件类型 `ecco`；是不是想写 `echo`？" in shown.out + shown.err


@pytest.mark.parametrize("command", [[], ["run"], ["export"], ["diagram"]])
def test_its_help_is_chinese(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--language", "zh", *command, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"用法： {' '.join(['composemagic', *command])} ")
    assert "显示这份帮助并退出" in shown and "选项:" in shown
    assert not re.search(r"usage:|options:|arguments:|show |[一-鿿]\.\n", shown)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["run", "-f"], "compose: `-f/--file` 后面需要一个值；请看"),
        (["export"], "compose: 缺少必需的参数：--as；请看"),
        (["export", "--as", "java"], "compose: `--as` 的值 'java' 无效（可选："),
    ],
)
def test_a_wrong_command_line_is_told_in_chinese(
    line: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--language", "zh", *line]) == 2
    assert capsys.readouterr().err.startswith(expected)


def test_the_kernel_speaks_chinese() -> None:
    """`%config ComposeMagics.language`, set and taken back, in the shell that a kernel runs."""
    pytest.importorskip("IPython")
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_line_magic('load_ext', 'composemagic')\n"
        "cell = 'component: {type: ecco}'\n"
        "for name in ('\"zh\"', 'None'):\n"
        "    shell.run_cell(f'%config ComposeMagics.language = {name}')\n"
        "    shell.run_cell(f'%%compose --check\\n{cell}')\n"
    )
    environment = {
        "PYTHONPATH": str(PACKAGE.parent),
        "LANG": "C.UTF-8",
        "PYTHONIOENCODING": "utf-8",
        "HOME": "/nowhere",
    }
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, timeout=120, check=True, encoding="utf-8"
    )
    said = ran.stdout + ran.stderr
    assert "未知的组件类型 `ecco`；是不是想写 `echo`？" in said
    assert "unknown component type `ecco`; did you mean `echo`?" in said
    assert said.index("未知的组件类型") < said.index("unknown component type")
