"""The house's tools are clean: ruff and mypy --strict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("tool", [["ruff", "check", "."], ["mypy"]], ids=lambda tool: tool[0])
def test_clean(tool: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def lines(folder: Path, *patterns: str, without: str = "") -> int:
    files = [path for pattern in patterns for path in folder.rglob(pattern) if without not in path.parts]
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def test_test_lines_outnumber_source_lines() -> None:
    """The YAML tables are tests; the servers in tests/ are none, and a table of translated words is no code."""
    tables = lines(ROOT / "tests" / "language", "*.yml") + lines(ROOT / "tests" / "data" / "spellings", "*.yml")
    tests = lines(ROOT / "tests", "*.py", without="servers") + tables
    assert tests >= lines(ROOT / "composemagic", "*.py", without="languages") > 0
