"""The help texts: what they say is what the language does."""

from __future__ import annotations

import re

import pytest

from composemagic.cli import main
from composemagic.components.described import language
from composemagic.errors import UsageError
from composemagic.help import told, topics
from composemagic.language.casts import CASTS, register_cast
from composemagic.language.comparison import COMPARISONS
from composemagic.languages.zh_settings import DESCRIPTIONS
from composemagic.notebook.lines import LINES
from composemagic.terminal import columns
from composemagic.words import speaking
from composemagic.workflow.job_settings import JOB_TYPES

COMPONENTS = [
    name.removeprefix("component.") for name in language()["definitions"] if name.startswith("component.")
]  # fmt: skip


def test_the_overview_names_every_topic() -> None:
    assert all(f"  {topic} " in told() for topic in topics())


def test_the_overview_names_what_can_be_written_where_it_is_read() -> None:
    in_terminal, in_notebook = told(), told(in_notebook=True)
    assert "as in `composemagic help http-client`" in in_terminal and "%compose" not in in_terminal
    assert "as in `%compose help http-client`" in in_notebook
    assert [word for word in LINES if f"%compose {word}" not in in_notebook] == []
    assert told("casts", in_notebook=True) == told("casts")


def test_every_cast_is_told_of() -> None:
    text = told("casts")
    assert [name for name in CASTS if f"as {name} " not in text and f"`{name}`" not in text] == []


def test_the_examples_of_casts_are_worked_out() -> None:
    text = " ".join(told("casts").split())
    assert '`${input as integer}` of "42" gives 42' in text
    assert '`${input as boolean}` of "yes" gives true' in text
    assert '`${input as select/cat,dog | cat}` gives "cat"' in text


def test_a_cast_of_your_own_is_told_of() -> None:
    undo = register_cast("shout", lambda value, cast: str(value).upper())
    assert "as shout" in told("casts")
    undo()
    assert "as shout" not in told("casts")


def test_every_operator_of_conditions_is_told_of() -> None:
    assert all(f"`{name}`" in told("conditions") for name in COMPARISONS)


@pytest.mark.parametrize("name", [*COMPONENTS, *JOB_TYPES])
def test_each_type_has_a_page_with_its_settings(name: str) -> None:
    page = told(name)
    assert page.startswith(f"{name} (")
    assert "settings:" in page and "  id" in page


KEPT = re.compile(r"`[^`]+`")


@pytest.mark.parametrize("name", [*COMPONENTS, *JOB_TYPES])
def test_each_page_is_chinese_for_who_speaks_it(name: str) -> None:
    """What the YAML calls things stays; no sentence of English does."""
    with speaking("zh"):
        page = told(name)
    words = re.findall(r"[a-z]{2,}(?: [a-z]{2,})+", re.sub(r"`[^`]+`|(?m:^  [a-z_, ]+$)|(?m:^  [a-z_, ]+  )", "", page))
    assert words == []
    lines = page.split("\n")
    assert [line for line in lines if columns(line) > 100 or line != line.rstrip() or line.endswith("（")] == []


def test_no_description_is_of_something_else() -> None:
    """Each stands in a page, and keeps the names of the language."""
    with speaking("en"):
        pages = " ".join(" ".join(map(told, [*COMPONENTS, *JOB_TYPES])).split())
    assert [text for text in DESCRIPTIONS if text not in pages] == []
    assert {
        text for text, chinese in DESCRIPTIONS.items() if sorted(KEPT.findall(text)) != sorted(KEPT.findall(chinese))
    } == set()


def test_types_are_listed() -> None:
    assert all(f"  {name}" in told("components") for name in COMPONENTS)
    assert all(f"  {name}" in told("jobs") for name in JOB_TYPES)


def test_older_spellings_are_not_taught() -> None:
    assert "response_type" not in told("http-client")


@pytest.mark.parametrize("topic", ["", *topics(), "http-client", "agent", "for-each"])
def test_lines_fit_a_terminal(topic: str) -> None:
    assert [line for line in told(topic, in_notebook=True).split("\n") if len(line) > 100] == []


@pytest.mark.parametrize(
    ("topic", "near"), [("cast", "did you mean `casts`?"), ("http-clien", "`http-client`"), ("xyzzy", "there is for")]
)
def test_an_unknown_topic(topic: str, near: str) -> None:
    with pytest.raises(UsageError, match="there is no help for") as caught:
        told(topic)
    assert near in str(caught.value)


def test_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "casts"]) == 0
    assert capsys.readouterr().out == told("casts") + "\n"
    assert main(["help"]) == 0
    assert capsys.readouterr().out == told() + "\n"
    assert main(["help", "cats"]) == 2
    assert "did you mean `casts`?" in capsys.readouterr().err
