"""The form in a real JupyterLab: every type, with the keyboard alone, with hostile words, saved and opened again."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from playwright.sync_api import Locator

from tests.lab import Lab

pytestmark = pytest.mark.browser

LOAD = "%load_ext composemagic"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WAV = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\x04\0\0\0\x80\x80\x80\x80"

EVERY = """\
%%compose every -o answer --form -i note="a preset"
workflow:
  title: Every type
  job:
    component:
      type: echo
      action:
        delay: ${input.delay as number | 0}
        value:
          name: ${input.name as string @(title Customer's name) @(description Whom to write to)}
          note: ${input.note as string}
          count: ${input.count as integer | 3}
          warm: ${input.warm as slider/0,2 | 0.7}
          polite: ${input.polite as boolean}
          tone: ${input.tone as select/warm,short | warm}
          tags: ${input.tags as text[] | []}
          extra: ${input.extra as object}
          colours: ${input.colours as select[]/red,green | ["red"]}
          picture: ${input.picture as image}
          sounds: ${input.sounds as audio[]}
          key: ${input.api_key as string}
"""
FOCUSED = """() => {
    const at = document.activeElement;
    const label = at.labels?.[0]?.innerText ?? at.closest('.widget-inline-hbox')?.querySelector('label')?.innerText;
    return (label || at.innerText).trim().split(' (')[0];
}"""


def output(lab: Lab, index: int) -> Locator:
    cells = lab.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
    return cells.nth(index).locator(".jp-Cell-outputWrapper")


def choose(lab: Lab, button: str, *files: tuple[str, str, bytes]) -> None:
    """Choose files in the browser's own dialogue."""
    with lab.page.expect_file_chooser() as chooser:
        output(lab, 1).get_by_role("button", name=button).click()
    chooser.value.set_files([{"name": name, "mimeType": kind, "buffer": data} for name, kind, data in files])


def saved(lab: Lab) -> list[dict[str, Any]]:
    """What the form's cell displays, as it is saved."""
    displays = [one["data"] for one in lab.save()["cells"][1]["outputs"]]
    return [{kind: "".join(text) for kind, text in data.items()} for data in displays]


def test_every_type_is_filled_with_the_keyboard_alone_and_its_values_are_saved(lab: Lab) -> None:
    lab.open([LOAD, EVERY, "print(sorted(answer.input), answer.input['count'], answer.input['tags'])"], "every.ipynb")
    lab.run(0)
    lab.run(1)
    lab.wait_text(1, "Whom to write to")
    press, keyboard = lab.page.keyboard.press, lab.page.keyboard
    output(lab, 1).locator("input").first.focus()

    def seen(*, back: bool = False) -> str:
        press("Shift+Tab" if back else "Tab")
        return str(lab.eval(FOCUSED))

    # every field in the order written, each by its label
    order = [seen() for _ in range(16)]
    assert order == [
        "Customer's name *", "note *", "count", "warm", "warm", "polite *", "tone", "tags", "extra *", "colours",
        "Choose a file", "Choose files", "api_key *", "Run", "Reset", order[-1],
    ]  # fmt: skip

    # nothing is filled in: Enter in a line runs, each field says what it lacks, and the first of them is gone to
    output(lab, 1).locator("input").first.focus()
    press("Enter")
    lab.wait_text(1, "is missing")
    lab.wait_for(f'() => ({FOCUSED})() === "Customer\'s name *"', "the first wrong field to have the keyboard")
    assert lab.dom_text(1).count("is missing") == 5
    assert output(lab, 1).get_by_role("alert").count() == 5

    keyboard.type("Ada")
    assert [seen(), seen()] == ["note *", "count"]
    keyboard.type("three")
    seen()
    lab.wait_text(1, '"three" is no whole number')  # as soon as the field is left
    seen(back=True)
    press("Control+a")
    keyboard.type("4")
    seen(), press("ArrowRight"), seen(), seen(), press("Space"), seen(), press("s")
    assert seen() == "tags"
    keyboard.type("one\ntwo")
    seen()
    keyboard.type('{"a": 1,\n"b" 2}')
    lab.wait_text(1, "this is no JSON, line 2: Expecting ':' delimiter")
    press("Control+a")
    keyboard.type('{"b": 2}')
    lab.wait_for("() => !document.body.innerText.includes('is no JSON')", "the message to go when it is mended")
    choose(lab, "Choose a file", ("grey.png", "image/png", PNG))
    lab.wait_text(1, "grey.png, 70 bytes")
    choose(lab, "Choose files", ("a.wav", "audio/wav", WAV), ("b.txt", "text/plain", b"x"))
    lab.wait_text(1, "no sound: b.txt")
    choose(lab, "Choose files", ("a.wav", "audio/wav", WAV), ("b.wav", "audio/wav", WAV))
    lab.wait_text(1, "b.wav, 48 bytes")
    assert output(lab, 1).locator(".compose-preview img").count() == 1
    assert output(lab, 1).locator(".compose-preview audio").count() == 2
    output(lab, 1).locator("input[type=password]").focus()
    keyboard.type("sk-typed-0123456789")
    press("Enter")
    lab.wait_text(1, "✓ done")
    lab.wait_for("() => document.querySelector('input[type=password]').value === ''", "the secret to be cleared")

    lab.run(2)
    names = [
        "api_key",
        "colours",
        "count",
        "delay",
        "extra",
        "name",
        "note",
        "picture",
        "polite",
        "sounds",
        "tags",
        "tone",
        "warm",
    ]
    assert lab.dom_text(2) == f"{names} 4 ['one', 'two']"
    form, used, answer = saved(lab)
    assert "application/vnd.jupyter.widget-view+json" in form
    assert form["text/plain"] == "Every type: a form; its inputs and its answer stand below"
    lines = used["text/plain"].splitlines()
    for line in ("  Customer's name = Ada", "  note = a preset", "  count = 4", "  warm = 0.71", "  polite = true", "  tone = short",
                 '  tags = ["one", "two"]', '  extra = {"b": 2}', "  picture = grey.png (70 bytes)", "  api_key = ***"):  # fmt: skip
        assert line in lines
    assert "Every type with delay = 0.0" in used["text/html"] or "Every type with delay = 0," in used["text/html"]
    assert "✓ done" in answer["text/plain"]
    assert "sk-typed" not in (lab.work / "every.ipynb").read_text()

    # without its kernel, the notebook still says what was asked with which values
    lab.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    try:
        lab.reopen()
        lab.wait_text(1, "Every type with delay")
        assert "✓ done" in lab.dom_text(1)
    finally:
        lab.command("apputils:change-theme", {"theme": "JupyterLab Light"})


FIRE = "window.__fired=1"
IMAGE = f"<img src=x onerror={FIRE}>"
TEX = f"$\\\\href{{javascript:{FIRE}}}{{c}}$"


LONG = """\
%%compose long --form
component:
  type: echo
  action:
    value:
      text: ${input.a_very_long_label_that_does_not_fit_beside_its_field as string}
      area: ${input.another_very_long_label_that_does_not_fit as text}
      file: ${input.a_file_whose_label_is_long_as_well_and_longer as image}
      tone: ${input.tone as select/warm,short}
"""
# the end of each label, and whether all of it is seen within its row
WHOLE = """() => [...document.querySelectorAll('.compose-fields')].at(-1) && [
    ...[...document.querySelectorAll('.compose-fields')].at(-1).querySelectorAll('.widget-inline-hbox>.widget-label, .compose-label'),
].filter((label) => label.innerText.trim()).map((label) => {
    const words = document.createRange();
    words.selectNodeContents(label);
    const [text, shown, row] = [words, label, label.closest('.widget-inline-hbox, .widget-hbox')].map((one) => one.getBoundingClientRect());
    const within = text.right <= shown.right + 1 && text.bottom <= shown.bottom + 1 && shown.bottom <= row.bottom + 2;
    return [label.innerText.trim().slice(-2), within && text.left >= shown.left - 1];
})"""
ARROW = "() => getComputedStyle([...document.querySelectorAll('.compose-fields select')].at(-1)).backgroundImage"


def test_a_long_label_keeps_its_star_and_an_arrow_is_seen_in_the_dark(lab: Lab) -> None:
    lab.open([LOAD, LONG], "long-labels.ipynb")
    lab.run(0)
    lab.run(1)
    lab.wait_for("() => document.querySelectorAll('.compose-fields select').length", "the form")
    assert lab.eval(WHOLE) == [[" *", True]] * 4
    heights = "() => [...document.querySelectorAll('.compose-fields :is(input[type=text], select)')].map((one) => one.offsetHeight)"
    assert len(set(lab.eval(heights))) == 1
    light = lab.eval(ARROW)
    lab.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    try:
        lab.wait_for("() => document.body.dataset.jpThemeLight === 'false'", "the dark")
        assert "bdbdbd" in lab.eval(ARROW) and "bdbdbd" not in light
    finally:
        lab.command("apputils:change-theme", {"theme": "JupyterLab Light"})


def test_hostile_words_fire_nowhere(lab: Lab) -> None:
    inputs = " ".join(
        [
            f"${{input.a as text | '{IMAGE}' @(title {IMAGE}) @(description {IMAGE})}}",
            f"${{input.b as select/{IMAGE.replace(' ', '').replace('=', '')},x @(label $x$ {IMAGE})}}",
            f"${{input.c as json | '{IMAGE}' @(description {IMAGE})}}",
            f"${{input.d as boolean @(label {IMAGE} $y$)}}",
            f"${{input.e as image;base64 | '' @(label {IMAGE})}}",
            f"${{input.f as number @(label $z$ {IMAGE})}}",
        ]
    )
    document = {
        "workflow": {
            "title": f"{IMAGE} {TEX}",
            "description": IMAGE,
            "job": {"component": {"type": "echo", "action": {"text": inputs}}},
        }
    }
    lab.open([LOAD, f"%%compose bad --form\n{json.dumps(document)}", "bad.form(f=1)"], "bad-form.ipynb")
    lab.eval("() => { window.__fired = 0; }")
    lab.run(0)
    lab.run(1)
    lab.wait_text(1, "Reset")
    lab.fill(1, f"$z$ {IMAGE} *", IMAGE)
    lab.wait_text(1, "is no number")
    choose(
        lab,
        "Choose a file",
        (f"{IMAGE.replace('/', '')}.png", "image/png", PNG),
    )
    lab.wait_text(1, "70 bytes")
    lab.fill(1, f"$z$ {IMAGE} *", "1")
    output(lab, 1).locator("select").select_option("x")
    choose(lab, "Choose a file", ("<b>.txt", "text/html", IMAGE.encode()))
    lab.wait_text(1, "no picture: <b>.txt")
    lab.click(1, "Run")
    lab.wait_text(1, "no picture: <b>.txt")
    lab.click(1, "Reset")
    lab.wait_for("() => !document.body.innerText.includes('no picture')", "Reset")
    lab.fill(1, f"$z$ {IMAGE} *", "1")
    output(lab, 1).locator("select").select_option("x")
    lab.click(1, "Run")
    lab.wait_text(1, "total")
    quiet = """() => {
        const count = (found) => [...document.querySelectorAll('.jp-OutputArea')].flatMap((at) => [...at.querySelectorAll(found)]).length;
        return [window.__fired, count('img[src=x], script, a[href^=javascript]'),
            count('.widget-inline-hbox:not(.widget-checkbox) mjx-container')];
    }"""  # a checkbox has no way to show its `$`: its mathematics is harmless
    assert lab.eval(quiet) == [0, 0, 0]
    lab.save()
    lab.reopen()
    lab.wait_text(1, "total")
    assert lab.eval("() => [window.__fired ?? 0, document.querySelectorAll('.jp-OutputArea img[src=x]').length]") == [
        0,
        0,
    ]
