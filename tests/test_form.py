"""The form's widgets, without a kernel: what each shows, how it is read, checked, run and reset."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import pytest

import composemagic
from composemagic.errors import InputError
from composemagic.notebook.card import card, table
from composemagic.notebook.form import Form
from composemagic.notebook.given import nested
from composemagic.notebook.view import Live, Plain, Still, bundle
from composemagic.notebook.widget import unpin
from composemagic.workflow.inputs import at

SECONDS = 10


def workflow(text: str, **more: str) -> composemagic.Workflow:
    """An echo of a template, so that its holes are the inputs."""
    head = "".join(f"  {key}: {value}\n" for key, value in more.items())
    return composemagic.load(
        f"workflow:\n  title: Letter\n{head}"
        f"  job:\n    component:\n      type: echo\n      action:\n        delay: ${{input.delay as number | 0}}\n"
        f"        text: >-\n          {text}\n"
    )


def form(text: str, values: dict[str, Any] | None = None, **more: str) -> Form:
    return Form(workflow(text, **more), values)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        yield


# -- one widget a type: what the YAML says, the widget, what it holds at first, what is typed, what is read

FIELDS = {
    "string": ("${input.a as string}", widgets.Text, "", "Ada", "Ada"),
    "no type": ("${input.a}", widgets.Text, "", "Ada", "Ada"),
    "a default": ("${input.a as string | Bob}", widgets.Text, "Bob", "Ada", "Ada"),
    "text": ("${input.a as text}", widgets.Textarea, "", "two\nlines", "two\nlines"),
    "integer": ("${input.a as integer | 3}", widgets.Text, "3", " -7 ", -7),
    "number": ("${input.a as number | 0.7}", widgets.Text, "0.7", "1e-3", 0.001),
    "a number that is whole": ("${input.a as number | 1}", widgets.Text, "1", "2", 2.0),
    "boolean": ("${input.a as boolean}", widgets.Checkbox, False, True, True),
    "boolean, on": ("${input.a as boolean | true}", widgets.Checkbox, True, False, False),
    "select": ("${input.a as select/warm,short | short}", widgets.Dropdown, "short", "warm", "warm"),
    "select without a default": ("${input.a as select/warm,short}", widgets.Dropdown, "", "warm", "warm"),
    "json": ("${input.a as json}", widgets.Textarea, "", '{"b": [1]}', {"b": [1]}),
    "a path": ("${input.a.b as integer | 1}", widgets.Text, "1", "2", 2),
}


@pytest.mark.parametrize("case", FIELDS)
def test_a_field_of_each_type(case: str) -> None:
    text, kind, initial, typed, read = FIELDS[case]
    made = form(text)
    [field] = [field for name, field in made.fields.items() if name != "delay"]
    assert type(field.widget) is kind
    assert field.widget.value == initial
    field.widget.value = typed
    value = made.values()[field.input.name]
    assert (value, type(value)) == (read, type(read))


PROBLEMS = {
    "nothing": ("${input.a as text}", "", "is missing"),
    "no number": ("${input.a as number | 1}", "warm", '"warm" is no number'),
    "a comma": ("${input.a as number | 1}", "0,7", '"0,7" is no number'),
    "no whole number": ("${input.a as integer | 1}", "1.5", '"1.5" is no whole number'),
    "no choice": ("${input.a as select/warm,short}", "", "is missing"),
    "no JSON": ("${input.a as json}", "{", "this is no JSON"),
    "a missing number": ("${input.a as number}", " ", "is missing"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_wrong_stands_beside_the_field(case: str) -> None:
    text, typed, words = PROBLEMS[case]
    made = form(text)
    made.fields["a"].widget.value = typed
    made._run_button.click()
    assert words.replace('"', "&quot;") in made.fields["a"].problem.value
    assert "`a`" not in made.fields["a"].problem.value
    assert (made.fields["delay"].problem.value, made.run) == ("", None)
    made._reset_button.click()
    assert made.fields["a"].problem.value == ""


def test_all_problems_at_once() -> None:
    made = form("${input.a as text} ${input.b as number}")
    made.fields["b"].widget.value = "x"
    made._run_button.click()
    assert "is no number" in made.fields["b"].problem.value
    with pytest.raises(InputError):
        made.values()
    made.fields["b"].widget.value = "1"
    made._run_button.click()
    assert ("is missing" in made.fields["a"].problem.value, made.fields["b"].problem.value) == (True, "")


def test_optional_fields_may_be_empty() -> None:
    made = form("${input.a as text} ${input.b as number | 5}")
    made.fields["a"].widget.value = "x"
    for name in ("b", "delay"):
        made.fields[name].widget.value = ""
    assert made.values() == {"a": "x"}


# -- labels and values given before


def test_labels_marks_and_descriptions() -> None:
    made = form(
        "${input.a as string @(title Customer's name) @(description Whom to write to)} ${input.b as integer | 1}",
        description="Short and warm",
    )
    field = made.fields["a"].widget
    assert (field.description, field.placeholder, field.tooltip) == (
        "Customer's name *",
        "Whom to write to",
        "Whom to write to",
    )
    assert made.fields["b"].widget.description == "b"
    heading = made.box.children[0].value
    assert "Letter" in heading
    assert "Short and warm" in heading


def test_values_given_before_prefill_and_stay_after_reset() -> None:
    made = form("${input.a as text} ${input.b.c as integer | 1}", {"a": "given", "b": {"c": 9}})
    assert (made.fields["a"].widget.value, made.fields["b.c"].widget.value) == ("given", "9")
    made.fields["a"].widget.value = "typed"
    made._reset_button.click()
    assert made.fields["a"].widget.value == "given"


def test_hostile_words_are_shown_as_they_are() -> None:
    bad = "<img src=x onerror=alert`1`>"
    made = form(f"${{input.a as text @(title {bad}) @(description {bad})}}", description=f"'{bad}'")
    texts = [child.value for child in _all(made.box) if isinstance(child, widgets.HTML)]
    assert any("&lt;img" in text for text in texts)
    assert not any("<img" in text for text in texts)
    assert not any(getattr(child, "description_allow_html", False) for child in _all(made.box))
    assert made.fields["a"].widget.description == f"{bad} *"
    assert "<img" not in card(made.workflow)["text/html"]


def _all(box: Any) -> Iterator[Any]:
    yield box
    for child in getattr(box, "children", ()):
        yield from _all(child)


# -- running


def test_run_stop_and_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    runs: list[composemagic.Run] = []
    made = Form(workflow("${input.a as text}"), {"a": "word " * 2000, "delay": 0.01}, runs.append)
    assert (made._run_button.disabled, made._stop_button.disabled) == (False, True)
    made._run_button.click()
    assert made.run
    assert made.answer
    assert (made._run_button.disabled, made._stop_button.disabled) == (True, False)
    first = made.run
    made._on_run(None)  # a click that was under way
    assert made.run is first
    made._stop_button.click()
    made.answer.closed.result(SECONDS)
    assert (first.status, made._run_button.disabled, made._stop_button.disabled) == ("stopped", False, True)
    made.fields["a"].widget.value = "short"
    made.fields["delay"].widget.value = ""
    made._run_button.click()
    made.answer.closed.result(SECONDS)
    assert (made.run.text, made.run.input, runs) == ("short", {"a": "short"}, [first, made.run])
    assert "Traceback" not in capsys.readouterr().out


def test_a_path_is_run_as_an_object() -> None:
    made = form("${input.a.b as text} ${input.a.c as text}", {"a": {"b": "one", "c": "two"}})
    made._run_button.click()
    assert made.run
    assert made.run.result(SECONDS) == "one two"


def test_closing_stops_the_run_and_takes_all_widgets_away() -> None:
    before = set(_alive())
    made = form("${input.a as text} ${input.b as select/x,y | y}", {"a": "word " * 2000, "delay": 0.01})
    made._run_button.click()
    assert made.run
    assert made.answer
    made.close()
    made.answer.closed.result(SECONDS)
    assert made.run.status == "stopped"
    assert set(_alive()) - before == set()


def _alive() -> list[str]:
    from ipywidgets.widgets.widget import _instances

    return list(_instances)


# -- what shows a run, without a front end


def test_a_live_view_leaves_no_widget_behind() -> None:
    before = set(_alive())
    run = workflow("${input.a as text}").stream(a="some *words*")
    view = Live("Letter")
    assert len(set(_alive()) - before) <= 8
    view.show()
    view.follow(run)
    run.wait(SECONDS)
    view.finish(run)
    assert view.closed.done()
    assert set(_alive()) == before


def test_a_view_shows_a_run_that_is_over() -> None:
    run = workflow("${input.a as text}").run(a="over")
    view = Live("Letter", stop=False)
    view.follow(run)
    view.closed.result(SECONDS)


def test_what_fails_in_a_view_is_in_its_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("composemagic.notebook.markdown.Growing.html", broken)
    run = workflow("${input.a as text}").stream(a="words")
    view = Live("Letter")
    view.follow(run)
    assert run.result(SECONDS) == "words"
    with pytest.raises(ZeroDivisionError):
        view.finish(run)


def test_the_static_copy_has_text_footer_and_notes_in_this_order() -> None:
    run = workflow("${input.a as text}").run(a="Some **bold** <b>words</b>")
    data = bundle(run)
    assert "<strong>bold</strong>" in data["text/html"]
    assert "<b>" not in data["text/html"]
    assert data["text/plain"].startswith("Some **bold** <b>words</b>\n✓ done")


def test_still_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    for view in (Still(), Plain()):
        view.show()
        run = workflow("${input.a as text}").stream(a="some words")
        view.follow(run)
        run.wait(SECONDS)
        view.finish(run)
    said = capsys.readouterr()
    assert said.out.endswith("some words\n")
    assert "✓ done" in said.err


def test_plain_has_json_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    chat = composemagic.load(
        "workflow:\n  output: ${output as stream/json}\n  job:\n    component:\n      type: echo\n"
        "      action:\n        text: a b\n"
    )
    view, run = Plain(), chat.stream()
    view.follow(run)
    view.finish(run)
    assert capsys.readouterr().out == f"{run.text}\n"


def test_unpin_is_no_error_where_nothing_is_pinned() -> None:
    unpin(widgets.Button())
    unpin(object())


# -- paths and cards

NESTED = {
    "flat": ({"a": 1}, {"a": 1}),
    "a path": ({"a.b": 1, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
    "a path into a given object": ({"a": {"b": 1}, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
    "a path over a value": ({"a": 1, "a.b": 2}, {"a": {"b": 2}}),
    "the whole": ({"": "x"}, "x"),
}


@pytest.mark.parametrize("case", NESTED)
def test_nested(case: str) -> None:
    values, expected = NESTED[case]
    inner = values.get("a")
    assert nested(values) == expected
    assert values.get("a") is inner


def test_at() -> None:
    values = {"a": {"b": 1}, "c.d": 2, "e": 3}
    assert [at(values, name) for name in ("a.b", "c.d", "e", "a.x", "e.f")] == [1, 2, 3, None, None]
    assert at(values, "") == values


def test_a_workflow_as_a_card() -> None:
    chat = workflow("${input.a as text @(description Facts)} ${input.b as number | 0.5}", description="Writes")
    chat.name = "letter"
    assert table(chat).splitlines() == [
        "Letter",
        "  delay                number     0.0",
        "  a                    text       required         Facts",
        "  b                    number     0.5",
    ]
    data = card(chat)
    assert "letter(a=...)" in data["text/plain"]
    for words in ("<b>Letter</b>", "Writes", "Facts", "required", "letter.form()"):
        assert words in data["text/html"]


@pytest.mark.parametrize(
    ("title", "name", "heading"), [("", "", "workflow"), ("", "poem", "poem"), ("A poem", "poem", "A poem")]
)
def test_a_form_without_a_title_is_headed_by_its_name(title: str, name: str, heading: str) -> None:
    head = f"workflow: {{title: {title}}}\n" if title else ""
    asks = composemagic.load(head + "component: {type: echo, action: {text: '${input.a}'}}")
    asks.name = name
    assert f">{heading}</b>" in Form(asks).box.children[0].value
