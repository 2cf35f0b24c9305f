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


def test_test_lines_outnumber_source_lines() -> None:
    def lines(folder: str) -> int:
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py"))

    servers = sum(
        len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tests" / "servers").glob("*.py")
    )
    assert lines("tests") - servers >= lines("composemagic")
