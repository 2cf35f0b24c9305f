"""A notebook with every face, saved and opened again in JupyterLab, with another kernel and with none: all can be read.

With COMPOSEMAGIC_SHOTS=folder in the environment, pictures of what is seen are put there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.test_everywhere import ASK, FOX
from tests.waiting import until

pytestmark = pytest.mark.browser

TABLE = "prompt text required"
# what is done, what is clicked then, what it waits for, and what is read afterwards
CELLS: list[tuple[str, str, str, list[str]]] = [
    ("%load_ext composemagic\n%config ComposeMagics.language = 'en'", "", "", []),
    ("%%compose talk --form\n{ask}", "", "Reset", ["Ask", TABLE, "talk(prompt=...)"]),
    ("talk.form(prompt='for once')", "Run", "✓ done", ["Ask with temperature = 0.7, prompt = for once", FOX, "✓ done"]),
    ("from composemagic.notebook.forms import Forms\nForms([talk, talk])", "", "Reset", [TABLE, TABLE]),
    ("chat = talk.chat(); chat", "", "Send", ["Nothing has been said yet."]),
    ("said = talk.chat(); said", "", "Send", ["Who?", FOX, "✓ done"]),
    ("said.say('Who?').status", "", "done", ["'done'"]),
    ("%%compose --sweep temperature=0,1 -i prompt=x\n{ask}", "", "2 done", ["2 combinations: 2 done", FOX, FOX]),
    ("%%compose --race -i prompt=x\n{ask}", "", "With streaming", ["With streaming the first word", FOX, FOX]),
    ("%%compose --trace -i prompt=x\n{ask}", "", "1 request", [FOX, "✓ done", "1 request"]),
    ("%%compose --background -i prompt=x\n{ask}", "", "✓ done", [FOX, "✓ done"]),
    (
        "import composemagic\ncomposemagic.compare(composemagic.runs[0], composemagic.runs[1])",
        "",
        "both gave",
        ["for once", "both gave the same text"],
    ),
    ("composemagic.runs", "", "Who?", ["prompt=for once", FOX]),
]
# what is not hidden of each cell's outputs, and what looks as if it could be clicked there
SEEN = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map((cell) => {
    const area = cell.querySelector('.jp-Cell-outputArea'), parts = [...area.querySelectorAll('button, input, textarea, select, .widget-tab')];
    return [area.innerText, parts.filter((one) => one.checkVisibility()).length];
})"""
OPEN_WITHOUT_KERNEL = """async ([path]) => {
    const app = window.jupyterapp;
    await app.commands.execute('docmanager:open', {path, factory: 'Notebook', kernelPreference: {shouldStart: false, canStart: false}});
}"""


def shot(lab: Lab, name: str) -> None:
    if folder := os.environ.get("COMPOSEMAGIC_SHOTS"):
        Path(folder).mkdir(exist_ok=True)
        for index in range(len(CELLS)):
            if lab.outputs(index):
                lab._output(index).screenshot(path=Path(folder) / f"{name}-{index}.png")


def read(lab: Lab, name: str) -> None:
    """Wait until nothing dead is seen and all is read."""
    until(lambda: not _lacks(lab), told=lambda: _lacks(lab))
    shot(lab, name)


def _lacks(lab: Lab) -> list[tuple[str, str]]:
    """The cells of which something dead is seen or not all is read, and what is."""
    found = []
    for (source, _, _, words), (text, parts) in zip(CELLS, lab.eval(SEEN), strict=True):
        read = re.search(".*".join(map(re.escape, words)), re.sub(r"\s+", " ", text))
        if parts or read is None or "widget" in text.lower():
            found.append((source, text))
    return found


def test_all_is_read_without_the_kernel_that_made_it(lab: Lab, replay: str) -> None:
    ask = ASK % (replay, "n=20,delay=2")
    lab.open([source.replace("{ask}", ask) for source, *_ in CELLS], "every-face.ipynb")
    for index, (_, button, words, _) in enumerate(CELLS):
        lab.run(index)
        if button:
            lab.click(index, button)
        if words:
            lab.wait_text(index, words)
    assert lab.eval(SEEN)[1][1] > 3  # the form can be clicked
    assert TABLE not in re.sub(r"\s+", " ", lab.eval(SEEN)[1][0])
    lab.save()
    lab.reopen()
    read(lab, "another-kernel")
    lab._launch("notebook:close-and-shutdown")
    lab.page.locator(".jp-Dialog .jp-mod-accept").click()
    lab.wait_for("() => !document.querySelector('.jp-Notebook')", "the notebook to be closed")
    lab.eval(OPEN_WITHOUT_KERNEL, ["every-face.ipynb"])
    lab.wait_for(
        "() => document.querySelectorAll('.jp-OutputArea-output').length > 12", "the notebook to be open again"
    )
    assert lab.eval("() => window.jupyterapp.shell.currentWidget.context.sessionContext.session") is None
    read(lab, "no-kernel")
