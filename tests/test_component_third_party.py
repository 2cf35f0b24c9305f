"""A package of somebody else's brings a component type by its entry point: installed in a folder of its own, and used."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "tests/third_party"
USE = """
import composemagic
print(composemagic.load('component: {type: shouting, text: "${input.text}", times: 3}')(text="hello").output)
try:
    composemagic.load("component: {type: shouting, text: x, times: often, tmes: 1}")
except composemagic.DocumentError as error:
    print(*(mistake.sentence for mistake in error.mistakes), sep="\\n")
"""
SAID = [
    "HELLO!!!",
    '`times` is a whole number, this is "often"',
    "unknown key `tmes` in a shouting component; did you mean `times`?",
]


@pytest.fixture(params=["pip", "by hand"])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder that has the package as an installer leaves it; no network is asked."""
    target = tmp_path / "site"
    if request.param == "by hand":
        return _by_hand(target)
    if importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None:
        pytest.skip("neither pip nor hatchling is here to build with")
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--target", str(target), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def _by_hand(target: Path) -> Path:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(PACKAGE / "shouting", target / "shouting")
    info = target / "composemagic_shouting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]["composemagic.components"]
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[composemagic.components]\n{lines}")
    return target


def use(path: str, code: str = USE) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_it_is_found_checked_and_run(installed: Path) -> None:
    done = use(os.pathsep.join([str(ROOT), str(installed)]))
    assert (done.stdout.splitlines(), done.stderr) == (SAID, "")


def test_without_it_the_type_is_unknown() -> None:
    done = use(str(ROOT), "import composemagic; composemagic.load('component: {type: shouting, text: x}')")
    assert "unknown component type `shouting`" in done.stderr


def test_one_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    target = _by_hand(tmp_path / "site")
    (target / "shouting/__init__.py").write_text("raise RuntimeError('out of voice')")
    done = use(os.pathsep.join([str(ROOT), str(target)]))
    assert "the component type `shouting` of composemagic-shouting cannot be loaded: out of voice" in done.stderr


def test_it_is_as_short_as_it_says() -> None:
    lines = (PACKAGE / "shouting/__init__.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 32
