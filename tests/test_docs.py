"""What the README says is true, in both languages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import composemagic
from composemagic import components, errors
from composemagic.cli import _parsers
from composemagic.language.casts import CASTS

ROOT = Path(__file__).parent.parent
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
BOTH = pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(text) if name == language]


def cells(text: str) -> list[str]:
    return [body for body in blocks(text, "") if body.startswith("%%compose")]


def test_both_languages_show_the_same_code() -> None:
    """Comments may differ, everything that is typed may not."""

    def typed(text: str) -> list[str]:
        bodies = [body for name, body in FENCE.findall(text) if name in ("", "sh", "python")]
        return ["\n".join(line.split("  #")[0].rstrip() for line in body.splitlines()) for body in bodies]

    assert typed(CHINESE) == typed(ENGLISH)


@BOTH
def test_the_cells_have_no_mistakes(text: str) -> None:
    assert cells(text)
    for cell in cells(text):
        workflow = composemagic.load(cell.partition("\n")[2])
        assert [one.name for one in workflow.inputs if one.required] == ["prompt"]


@BOTH
def test_the_drawn_mistakes_are_what_is_drawn(text: str) -> None:
    """The README's cell with the three typos in it gives the README's answer, word for word."""
    from composemagic.api import load_text

    (drawn,) = [body for body in blocks(text, "") if body.startswith("compose: ")]
    yaml = cells(text)[0].partition("\n")[2]
    wrong = (
        yaml.replace("input.prompt", "inptu.prompt")
        .replace("| 0.7", "| warm")
        .replace("stream_format", "stream_fromat")
    )
    with pytest.raises(composemagic.DocumentError) as caught:
        load_text(wrong, "this cell", first_line=2)
    assert str(caught.value) == drawn.rstrip()


@BOTH
def test_the_offline_example_runs(text: str, tmp_path: Path) -> None:
    (example,) = [body for body in blocks(text, "python") if "MockTransport" in body]
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.model
@BOTH
def test_the_python_examples_run(text: str, tmp_path: Path) -> None:
    waiting, streaming = [body for body in blocks(text, "python") if "model-compose.yml" in body]
    (tmp_path / "model-compose.yml").write_text(cells(text)[0].partition("\n")[2], encoding="utf-8")
    for example, shown in ((waiting, "SmolLM2-135M-Instruct (embedded)"), (streaming, " ")):
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert shown in done.stdout


@BOTH
def test_everything_a_user_can_name_is_there(text: str) -> None:
    wanted = [*components.known(), *(name for name in CASTS if name not in ("str", "int", "float", "bool", "stream"))]
    wanted += [name for name in errors.__all__ if name.endswith("Error")]
    for kind in components.known():
        found = components.find(kind)
        assert found is not None
        wanted += [*found.settings.model_fields, *found.action.model_fields]
    missing = [name for name in wanted if f"`{name}" not in text]
    assert missing == []


@BOTH
def test_every_option_of_the_magic_is_there(text: str) -> None:
    source = (ROOT / "composemagic" / "notebook" / "magic.py").read_text(encoding="utf-8")
    options = re.findall(r"@argument\(\s*(?:\"-(\w)\", )?\"(--[\w-]+)\"", source)
    assert len(options) >= 8
    missing = [long for short, long in options if f"`{long}" not in text and f"`-{short} " not in text]
    assert missing == []


@BOTH
def test_every_command_and_its_options_are_there(text: str) -> None:
    commands = _parsers()[1]
    assert set(commands) >= {"run", "validate", "quickstart"}
    assert [name for name in commands if f"composemagic {name}" not in text] == []
    options = {option for parser in commands.values() for option in re.findall(r"--[a-z-]+", parser.format_help())}
    assert [option for option in sorted(options - {"--help"}) if option not in text] == []


def test_ci_runs_the_test_command_of_the_readme() -> None:
    (command,) = [body.strip() for body in blocks(ENGLISH, "sh") if "pytest" in body]
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_environment_variables_are_in_the_sample() -> None:
    sample = (ROOT / ".env.sample").read_text(encoding="utf-8")
    used = set()
    for path in (ROOT / "composemagic").rglob("*.py"):
        used |= set(re.findall(r"\"(COMPOSEMAGIC_[A-Z_]+)\"", path.read_text(encoding="utf-8")))
    assert used
    assert {name for name in used if name not in sample} == set()
    assert {name for name in used if name not in ENGLISH} == set()


def test_links_lead_somewhere() -> None:
    for text in (ENGLISH, CHINESE):
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_first_notebook_shows_what_the_readme_shows() -> None:
    notebook = json.loads((ROOT / "notebooks" / "00-hello.ipynb").read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert any(source.startswith("%load_ext composemagic") for source in sources)
    assert any(source.startswith("%%compose hello") and "--local" in source for source in sources)
