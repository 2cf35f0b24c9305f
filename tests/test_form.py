"""The form's widgets, without a kernel: what each shows, how it is read, checked, run and reset."""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import pytest

import composemagic
from composemagic.engine.loop import private_loop
from composemagic.errors import InputError, UsageError
from composemagic.notebook.card import card, table
from composemagic.notebook.form import Form
from composemagic.notebook.forms import Forms
from composemagic.notebook.given import nested
from composemagic.notebook.remembered import forget
from composemagic.notebook.used import used
from composemagic.notebook.view import Live, Plain, Still, bundle
from composemagic.notebook.widget import unpin
from composemagic.workflow.inputs import at
from tests.waiting import until

SECONDS = 60


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    forget()
    yield
    forget()


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


# -- what is wrong, beside the fields


def test_all_problems_at_once() -> None:
    made = form("${input.a as text} ${input.b as number}")
    made.fields["b"].widget.value = "x"
    made._run_button.click()
    assert "is no number" in made.fields["b"].problem
    with pytest.raises(InputError):
        made.values()
    made.fields["b"].widget.value = "1"
    made._run_button.click()
    assert (made.fields["a"].problem, made.fields["b"].problem) == ("is missing", "")


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
    field = made.fields["a"]
    assert (field.widget.description, field.widget.tooltip) == ("Customer's name *", "Customer's name *")
    assert ">Whom to write to</div>" in field.below.value
    assert (made.fields["b"].widget.description, made.fields["b"].widget.placeholder) == ("b", "1")
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
    with_tex = form(f"${{input.a as text @(title {bad} $x$)}}").fields["a"].widget
    assert (with_tex.description_allow_html, "<img" in with_tex.description) == (True, False)
    assert "<img" not in card(made.workflow)["text/html"]


def _all(box: Any) -> Iterator[Any]:
    yield box
    for child in getattr(box, "children", ()):
        yield from _all(child)


# -- presets, and what was typed last


def test_a_preset_that_nobody_asks_for_names_the_nearest_input() -> None:
    before = set(_alive())
    with pytest.raises(UsageError, match="does not ask for `promt`; did you mean `prompt`"):
        form("${input.prompt as text}", {"promt": "Hi"})
    assert set(_alive()) == before


def test_a_preset_that_does_not_fit_is_told_before_there_is_a_form() -> None:
    with pytest.raises(InputError, match="warm") as raised:
        form("${input.a as text} ${input.b as number} ${input.c as slider/0,2}", {"b": "warm", "c": 3})
    assert set(raised.value.problems) == {"b", "c"}


def test_the_last_values_stand_in_the_next_form() -> None:
    text = "${input.a as text} ${input.b as number | 5} ${input.api_key as string | x}"
    first = form(text)
    first.fields["a"].widget.value, first.fields["b"].widget.value = "typed", "7"
    first.fields["api_key"].widget.value = "sk-12345678"
    first._run_button.click()
    assert first.run
    first.run.wait(SECONDS)
    again = form(text, {"b": 9})
    assert {name: again.fields[name].widget.value for name in ("a", "b", "api_key")} == {
        "a": "typed", "b": "9", "api_key": "",
    }  # fmt: skip
    again._reset_button.click()
    assert [again.fields[name].widget.value for name in ("a", "b")] == ["", "9"]


def test_a_default_that_has_changed_is_shown_and_not_what_was_typed_over_the_old_one() -> None:
    first = form("${input.a as text} ${input.b as number | 5}", {"a": "x", "b": 6})
    first._run_button.click()
    assert first.run
    first.run.wait(SECONDS)
    again = form("${input.a as text} ${input.b as number | 8}")
    assert (again.fields["a"].widget.value, again.fields["b"].widget.value) == ("x", "8")


def test_a_run_that_was_not_begun_is_not_remembered() -> None:
    made = form("${input.a as text} ${input.b as number}")
    made.fields["a"].widget.value = "typed"
    made._run_button.click()
    assert form("${input.a as text} ${input.b as number}").fields["a"].widget.value == ""


# -- secrets


def test_a_secret_is_never_shown_kept_or_told() -> None:
    secret = "sk-proj-1234567890"
    made = form("${input.a as text} said ${input.api_key as string}", {"a": "x", "api_key": secret})
    field = made.fields["api_key"]
    assert isinstance(field.widget, widgets.Password)
    assert (field.widget.value, field.widget.placeholder) == ("", "given, and not shown")
    typed = "another-secret-1234"
    field.widget.value = typed
    made._run_button.click()
    assert made.run
    assert made.answer
    made.answer.closed.result(SECONDS)
    assert (field.widget.value, made.run.input["api_key"]) == ("", typed)
    assert made.run.text == "x said ***"
    told = used("Letter", made.fields.values(), {"a": "x", "api_key": typed})
    for text in (*told.values(), *bundle(made.run).values(), *(str(child.get_state()) for child in _all(made.box))):
        assert typed not in text
        assert secret not in text
    made._run_button.click()
    assert made.run.input["api_key"] == secret  # what was given stays, unseen


def test_the_values_used_are_a_table_in_the_saved_notebook() -> None:
    made = form("${input.a as text @(title Facts)} ${input.b as number | 5}", {"a": "<b>long</b> " * 20})
    data = used("Letter", made.fields.values(), made.values())
    assert data["text/plain"].splitlines()[2].startswith("  Facts = <b>long</b> <b>long</b>")
    assert "<details><summary>Letter with delay = 0, Facts = &lt;b&gt;long" in data["text/html"].replace("0.0", "0")
    assert "<b>" not in data["text/html"]
    short = used("Letter", made.fields.values(), {"b": 5})
    assert "<details" not in short["text/html"]
    assert "Letter with b = 5" in short["text/html"]
    assert used("Letter", made.fields.values(), {})["text/plain"] == "Letter"


# -- keyboard, and looking while typing


def test_enter_in_a_line_runs() -> None:
    made = form("${input.a as string}", {"a": "x"})
    made.fields["a"].widget._handle_custom_msg({"event": "submit"}, [])
    assert made.run
    assert made.run.result(SECONDS) == "x"


def test_what_is_typed_is_looked_at_when_the_typing_rests() -> None:
    made = form("${input.a as json} ${input.b as number}")
    field = made.fields["a"]
    told: queue.Queue[str] = queue.Queue()
    field.below.observe(lambda change: told.put(change["new"]), "value")
    typed = threading.Event()
    # however slow this thread types, there is no rest in it
    private_loop().loop.call_soon_threadsafe(typed.wait, SECONDS)
    for text in ("{", '{"b"', '{"b" 1'):
        field.widget.value = text
    typed.set()
    words = told.get(timeout=SECONDS)
    assert "this is no JSON, line 1: Expecting &#x27;:&#x27; delimiter" in words
    assert 'role="alert"' in words
    assert told.empty()
    field.widget.value = '{"b": 1}'
    assert (field.problem, made.fields["b"].problem) == ("", "")  # mended: it goes at once; what is empty is left alone
    assert "compose-invalid" not in field.widget._dom_classes


# -- tabs


def test_tabs_for_several_workflows() -> None:
    before = set(_alive())
    one, two = workflow("${input.a as text}"), workflow("${input.b as text}")
    two.name = "other"
    tabs = Forms([one, two], [{"a": "given"}])
    assert tabs.box.titles == ("Letter", "Letter")
    assert [list(form.fields) for form in tabs.forms] == [["delay", "a"], ["delay", "b"]]
    assert tabs.forms[0].fields["a"].widget.value == "given"
    with pytest.raises(UsageError, match="no workflow to make a form for"):
        Forms([])
    tabs.close()
    assert set(_alive()) == before


def test_widgets_that_share_what_they_can() -> None:
    """Ten inputs: two widgets each and their HTML labels apart, all else is there once: three know what has come."""
    before = set(_alive())
    text = " ".join(f"${{input.i{at} as {kind}}}" for at, kind in enumerate(["string", "text", "number"] * 3))
    made = form(text)
    assert len(made.fields) == 10
    assert len(set(_alive()) - before) <= 2 * 10 + 25
    made.close()


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
    made._on_run()  # a click that was under way
    assert made.run is first
    made._stop_button.click()
    made.answer.closed.result(SECONDS)
    until(lambda: (made._run_button.disabled, made._stop_button.disabled) == (False, True))  # it hears of it last
    assert first.status == "stopped"
    made.fields["a"].widget.value = "short"
    made.fields["delay"].widget.value = ""
    made._run_button.click()
    made.answer.closed.result(SECONDS)
    assert (made.run.text, made.run.input, runs) == ("short", {"a": "short"}, [first, made.run])
    assert "Traceback" not in capsys.readouterr().out


def test_a_run_that_cannot_start_says_why_and_leaves_the_form_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("there is no such thing")

    made = form("${input.a as text}", {"a": "x"})
    monkeypatch.setattr(made.workflow, "start", refuse)
    made._run_button.click()
    assert "there is no such thing" in made._message.value
    assert (made.run, made._run_button.disabled) == (None, False)
    monkeypatch.undo()
    made._run_button.click()
    assert made._message.value == ""
    assert made.run
    assert made.run.result(SECONDS) == "x"


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
    view.closed.result(SECONDS)
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
    assert isinstance(view.closed.exception(SECONDS), ZeroDivisionError)
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
