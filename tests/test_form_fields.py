"""A form's fields, without a kernel: what the YAML says, the widget, what stands in it at first, what is typed, what is read."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as widgets
import pytest

import composemagic
from composemagic.language.casts import CASTS
from composemagic.language.formats import Media
from composemagic.notebook.fields import Field
from composemagic.notebook.form import Form
from composemagic.notebook.kinds import FIELDS
from composemagic.notebook.remembered import forget
from composemagic.notebook.typed import as_lines, item, json_value, lines, number, shown_number, text_line, whole
from composemagic.notebook.uploads import MOST, Upload, size

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WAV = b"RIFF\x24\0\0\0WAVEfmt "


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    forget()
    yield
    forget()


def form(cast: str, value: Any = None, name: str = "a") -> Form:
    """The form of a workflow with one input."""
    text = (
        f"component:\n  type: echo\n  action:\n    value:\n      x: ${{input.{name}{f' as {cast}' if cast else ''}}}\n"
    )
    return Form(composemagic.load(text), None if value is None else {name: value})


def field(cast: str, value: Any = None, name: str = "a") -> Field:
    return form(cast, value, name).fields[name]


def chosen(name: str, content: bytes, kind: str = "") -> dict[str, Any]:
    """A file as the browser sends it."""
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return {"name": name, "type": kind, "size": len(content), "content": memoryview(content), "last_modified": when}


# as ... | widget | at first | typed | read
FIELDS_OF = {
    "string": ("string", widgets.Text, "", "Ada", "Ada"),
    "no type": ("", widgets.Text, "", "Ada", "Ada"),
    "a default": ("string | Bob", widgets.Text, "Bob", "Ada", "Ada"),
    "str": ("str", widgets.Text, "", "Ada", "Ada"),
    "spaces stay": ("string", widgets.Text, "", " Ada ", " Ada "),
    "text": ("text", widgets.Textarea, "", "two\nlines", "two\nlines"),
    "markdown": ("markdown", widgets.Textarea, "", "*two*", "*two*"),
    "integer": ("integer | 3", widgets.Text, "3", " -7 ", -7),
    "int": ("int", widgets.Text, "", "12345678901234567890", 12345678901234567890),
    "number": ("number | 0.7", widgets.Text, "0.7", "1e-3", 0.001),
    "a number that is whole": ("number | 1", widgets.Text, "1", "2", 2.0),
    "a number with a tail": ("number | 0.1", widgets.Text, "0.1", "0.30000000000000004", 0.30000000000000004),
    "slider": ("slider/0,2 | 0.7", widgets.FloatSlider, 0.7, 1.5, 1.5),
    "slider without a default": ("slider/1,10", widgets.FloatSlider, 1.0, 2.5, 2.5),
    "boolean": ("boolean", widgets.Checkbox, False, True, True),
    "boolean, on": ("boolean | true", widgets.Checkbox, True, False, False),
    "bool": ("bool | yes", widgets.Checkbox, True, False, False),
    "select": ("select/warm,short | short", widgets.Dropdown, "short", "warm", "warm"),
    "select without a default": ("select/warm,short", widgets.Dropdown, "", "warm", "warm"),
    "select without options": ("select", widgets.Text, "", "anything", "anything"),
    "json": ("json", widgets.Textarea, "", '{"b": [1]}', {"b": [1]}),
    "a text in JSON": ("json", widgets.Textarea, "", '"x"', '"x"'),
    "object": ('object | {"a": 1}', widgets.Textarea, '{\n  "a": 1\n}', '{"b": null}', {"b": None}),
    "any": ("any", widgets.Textarea, "", "x", "x"),
    "base64": ("base64", widgets.Textarea, "", "x", "x"),
    # lists: one a line
    "list": ('list | ["a", 1]', widgets.Textarea, "a\n1", 'Ada\n42\n\n "42"\ntrue', ["Ada", 42, "42", True]),
    "list as JSON": ("list", widgets.Textarea, "", '[1,\n {"a": 2}]', [1, {"a": 2}]),
    "a default that lines cannot say": (
        'text[] | ["two\\nlines"]', widgets.Textarea, '[\n  "two\\nlines"\n]', "one\ntwo", ["one", "two"]
    ),
    "text[]": ("text[]", widgets.Textarea, "", "one\n\n two, three \n42", ["one", "two, three", "42"]),
    "string[] as JSON": ("string[]", widgets.Textarea, "", '["a\\nb"]', ["a\nb"]),
    "a line that begins with a bracket": ("text[]", widgets.Textarea, "", "[draft] one\ntwo", ["[draft] one", "two"]),
    "integer[]": ("integer[] | [1, 2]", widgets.Textarea, "1\n2", "3\n-4", [3, -4]),
    "number[]": ("number[] | [0.5]", widgets.Textarea, "0.5", "3\n1e2", [3.0, 100.0]),
    "boolean[]": ("boolean[]", widgets.Textarea, "", "yes\nno", ["yes", "no"]),
    "json[]": ("json[]", widgets.Textarea, "", "[1, {}]", [1, {}]),
    "an empty list": ('text[] | ["a"]', widgets.Textarea, "a", "[]", []),
    "select[]": ('select[]/red,green,blue | ["red"]', widgets.SelectMultiple, ("red",), ("red", "blue"), ["red", "blue"]),
    "select[] without options": ("select[]", widgets.Textarea, "", "a\nb", ["a", "b"]),
    # where a file is
    "url": ("image;url", widgets.Text, "", "https://example.org/a.png", "https://example.org/a.png"),
    "path": ("file;path", widgets.Text, "", "notes.txt", "notes.txt"),
}  # fmt: skip


@pytest.mark.parametrize("case", FIELDS_OF)
def test_a_field_of_each_type(case: str) -> None:
    cast, kind, initial, typed, read = FIELDS_OF[case]
    made = form(cast)
    one = made.fields["a"]
    assert type(one.widget) is kind
    assert one.widget.value == initial
    one.widget.value = typed
    value = made.values()["a"]
    assert (value, type(value)) == (read, type(read))
    assert one.wrong() == ""
    one.reset()
    assert one.widget.value == initial


def test_every_cast_has_a_field() -> None:
    """What nobody thought of is typed as text, and that is written here."""
    as_text = {"base64", "any", "stream"}
    files = {"file", "image", "audio", "video", "model-3d"}
    aliases = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
    assert {aliases.get(name, name) for name in CASTS} == {*FIELDS, *as_text, *files}
    for name in files:
        assert isinstance(field(name), Upload)


# as ... | typed | what is said beside the field
PROBLEMS = {
    "nothing": ("text", "", "is missing"),
    "no number": ("number | 1", "warm", '"warm" is no number'),
    "a comma": ("number | 1", "0,7", '"0,7" is no number'),
    "no finite number": ("number | 1", "nan", '"nan" is no number'),
    "no whole number": ("integer | 1", "1.5", '"1.5" is no whole number'),
    "no choice": ("select/warm,short", "", "is missing"),
    "a missing number": ("number", " ", "is missing"),
    "no JSON": ("json", "{", "this is no JSON, line 1: Expecting property name enclosed in double quotes\n{\n ^"),
    "the line and the place": (
        "object", '{"a": 1,\n "b" 2}', "this is no JSON, line 2: Expecting ':' delimiter\n \"b\" 2}\n     ^"
    ),
    "a long line": ("json", f"[{'1, ' * 40}x]", f"this is no JSON, line 1: Expecting value\n{'1, ' * 10}x]\n{' ' * 30}^"),
    "JSON, but no object": ("object", "[1]", "a list is no object"),
    "a line that is no number": ("number[]", "1\nx\n3", 'line 2: "x" is no number'),
    "a line that is no whole number": ("integer[]", "\n1.5", 'line 2: "1.5" is no whole number'),
    "a line that is not offered": ("boolean[]", "maybe", '"maybe" is no boolean'),
    "a list in JSON that is none": ("text[]", "[1,\n,]", "this is no JSON, line 2: Expecting value\n,]\n^"),
    "no choices": ("select[]/a,b", (), "is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_wrong_stands_beside_the_field(case: str) -> None:
    cast, typed, words = PROBLEMS[case]
    made = form(cast)
    one = made.fields["a"]
    one.widget.value = typed
    assert one.wrong() == ("" if words == "is missing" else words)  # while typing, nothing is missing yet
    made._run_button.click()
    assert (one.problem, made.run) == (words, None)
    assert 'role="alert"' in one.below.value
    assert "`a`" not in one.below.value
    assert "compose-invalid" in one.widget._dom_classes
    made._reset_button.click()
    assert (one.problem, "compose-invalid" in one.widget._dom_classes) == ("", False)


# -- words around the fields


def test_what_an_empty_field_shows_and_what_helps_below() -> None:
    found = {
        cast: (field(cast).widget.placeholder, field(cast).hint())
        for cast in ("number", "number | 2", "text[]", "json")
    }
    assert found == {
        "number": ("number", ""),
        "number | 2": ("2", ""),
        "text[]": ("", "one a line"),
        "json": ("", "JSON"),
    }
    assert field("slider/0,2").hint() == "0 to 2"
    assert field("select[]/a,b").hint() == "with Ctrl or ⌘, several"


SLIDERS = {"0,2": (0.01, ".2f"), "0,1": (0.01, ".2f"), "1,10": (0.1, ".1f"), "0,100": (1.0, ".0f"), "0,1,0.25": (0.25, ".2f"), "0.5,20,1": (1.0, ".1f")}  # fmt: skip


@pytest.mark.parametrize("bounds", SLIDERS)
def test_a_slider_has_steps_that_people_count_in(bounds: str) -> None:
    slider = field(f"slider/{bounds}").widget
    assert (round(slider.step, 9), slider.readout_format) == SLIDERS[bounds]


LABELS = {
    "plain": ("Customer's name", "Customer's name *", False),
    "TeX": ("$a$ <b>", '<span class="mathjax_ignore tex2jax_ignore">$a$ &lt;b&gt; *</span>', True),
    "TeX in brackets": ("\\(a\\)", '<span class="mathjax_ignore tex2jax_ignore">\\(a\\) *</span>', True),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_label_is_shown_as_it_is(case: str) -> None:
    words, description, as_html = LABELS[case]
    widget = field(f"text @(title {words})").widget
    assert (widget.description, widget.description_allow_html) == (description, as_html)
    assert widget.tooltip == f"{words} *"


SECRETS = {"api_key": True, "apiToken": True, "password": True, "key": True, "max_tokens": False, "keyboard": False}


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_called_a_secret_is_typed_unseen(name: str) -> None:
    assert (type(field("string", name=name).widget) is widgets.Password) is SECRETS[name]
    assert type(field("integer", name=name).widget) is widgets.Text


@pytest.mark.parametrize(
    ("value", "shown"), [('{"a": 1}', '{"a": 1}'), ({"a": 1}, '{\n  "a": 1\n}'), ([1], "[\n  1\n]")]
)
def test_json_that_is_given_as_text_or_as_a_value(value: Any, shown: str) -> None:
    made = form("json", value)
    assert made.fields["a"].widget.value == shown
    made._run_button.click()
    assert made.run
    assert made.run.result(10) == {"x": {"a": 1} if value != [1] else [1]}


# -- files

# as ... | accepted | several | chosen | read
UPLOADS: dict[str, tuple[str, str, bool, list[tuple[str, bytes, str]], Callable[[Any], bool]]] = {
    "image": ("image", "image/*", False, [("a.png", PNG, "image/png")], lambda one: one == PNG and one.content_type == "image/png"),
    "image/png": ("image/png", "image/png", False, [("a.png", PNG, "")], lambda one: one.content_type == "image/png"),
    "base64": ("image;base64", "image/*", False, [("a.png", PNG, "")], lambda one: base64.b64decode(one) == PNG),
    "data-uri": ("image;data-uri", "image/*", False, [("a.png", PNG, "")], lambda one: one.startswith("data:image/png;base64,iVBOR")),
    "audio[]": ("audio[]", "audio/*", True, [("a.wav", WAV, ""), ("b.wav", WAV, "audio/wav")], lambda found: found == [WAV, WAV]),
    "file": ("file", "", False, [("a.txt", b"text", "")], lambda one: one == b"text" and type(one) is Media),
    "file[]": ("file[]", "", True, [("a", b"1", ""), ("b", b"2", "")], lambda found: found == [b"1", b"2"]),
    "video": ("video", "video/*", False, [("a.mp4", b"0", "video/mp4")], lambda one: one == b"0"),
    "model-3d": ("model-3d", ".glb,.gltf,.obj,.stl,.ply,.usdz", False, [("a.glb", b"glTF", "")], lambda one: one == b"glTF"),
}  # fmt: skip


@pytest.mark.parametrize("case", UPLOADS)
def test_files(case: str) -> None:
    cast, accepted, several, files, is_right = UPLOADS[case]
    made = form(cast)
    one = made.fields["a"]
    assert (one.widget.accept, one.widget.multiple, one.widget.tooltip) == (accepted, several, "a *")
    made._run_button.click()
    assert one.problem == "is missing"
    one.widget.value = tuple(chosen(*file) for file in files)
    assert is_right(made.values()["a"])
    made._run_button.click()
    assert (one.problem, made.run is None) == ("", False)
    one.reset()
    assert (one.widget.value, one.read()) == ((), None)


def test_a_picture_is_shown_small_and_a_sound_has_a_player() -> None:
    picture, sound = field("image"), field("file[]")
    picture.widget.value = (chosen("<b>.png", PNG, "image/png"),)
    picture.tell("")
    assert "&lt;b&gt;.png, 70 bytes" in picture.below.value
    assert '<img alt="image/png, 70 bytes" style="max-width:100%" src="data:image/png;base64,' in picture.below.value
    sound.widget.value = (chosen("a.wav", WAV), chosen("b.txt", b"<script>"))
    sound.tell("")
    assert sound.below.value.count("<audio controls") == 1
    assert "<script" not in sound.below.value


def test_pictures_are_shown_as_far_as_a_page_is_given_them() -> None:
    one = field("image[]")
    large = PNG + bytes(3 * 2**20)
    one.widget.value = tuple(chosen(f"{at}.png", large) for at in range(3))
    one.tell("")
    assert (one.below.value.count("<img"), one.below.value.count("3.15 MB")) == (1, 3)


@pytest.mark.parametrize(
    ("cast", "words"), [("image", "no picture: a.txt"), ("audio", "no sound: a.txt"), ("video", "no film: a.txt")]
)
def test_a_file_of_another_type_is_told_at_once(cast: str, words: str) -> None:
    made = form(cast)
    one = made.fields["a"]
    one.widget.value = (chosen("a.txt", b"text", "text/plain"),)
    assert one.wrong() == words
    made._run_button.click()
    assert (one.problem, made.run) == (words, None)


def test_bytes_that_were_given_are_used_until_a_file_is_chosen() -> None:
    made = form("image", PNG)
    assert made.values() == {"a": PNG}
    made.fields["a"].widget.value = (chosen("b.png", PNG + b"x"),)
    assert made.values() == {"a": PNG + b"x"}
    made._reset_button.click()
    assert made.values() == {"a": PNG}


def test_sizes() -> None:
    assert [size(count) for count in (70, 1_500, 999_999, 10_000_000)] == ["70 bytes", "1.50 kB", "1000 kB", "10 MB"]
    assert field("file").hint() == "up to 10 MB"
    assert MOST < 10 * 2**20  # what Jupyter's servers take in one message


# -- what is typed, as values

LINES = {
    "texts": ("a\n\n b ", text_line, ["a", "b"]),
    "numbers": ("1\n2.5", number, [1.0, 2.5]),
    "whole": ("1\n2", whole, [1, 2]),
    "items": ('1\n1.5\nnull\n"1"\n{"a": 1}\nno', item, [1, 1.5, None, "1", {"a": 1}, "no"]),
    "JSON": ("[1, 2]", text_line, [1, 2]),
    "nothing": (" \n ", text_line, []),
}


@pytest.mark.parametrize("case", LINES)
def test_lines(case: str) -> None:
    text, read, values = LINES[case]
    assert lines(text, read) == values


ROUND = [
    ["a", "b"],
    [" a"],
    ["a\nb"],
    [""],
    ["[x]"],
    ["1"],
    [1],
    [1.5, 2.0],
    [True],
    [None],
    [{"a": [1]}],
    [],
    ["\u2028"],
]


@pytest.mark.parametrize("value", ROUND, ids=repr)
@pytest.mark.parametrize("read", [text_line, item], ids=["texts", "items"])
def test_a_list_that_is_shown_is_read_as_the_same(value: list[Any], read: Callable[[str], Any]) -> None:
    found = lines(as_lines(value, read), read)
    assert (found, [type(one) for one in found]) == (value, [type(one) for one in value])


def test_numbers_as_people_write_them() -> None:
    assert [shown_number(one) for one in (1.0, 0.1, 1e22, 3, "x")] == ["1", "0.1", "1e+22", "3", "x"]


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5_000])
def test_json_that_is_too_much_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="this is no JSON"):
        json_value(text)


@pytest.mark.parametrize("cast", ["image;url", "file;path"])
def test_a_value_that_a_run_has_to_load_is_no_problem_before_it(cast: str) -> None:
    """The form's check, and every call's: what an address leads to is known when the run has loaded it."""
    made = form(cast, "https://example.org/a.png")
    made.workflow.check({"a": "https://example.org/a.png"})
    made._run_button.click()
    assert made.run is not None
    made.run.cancel()
