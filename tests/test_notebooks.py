"""The notebooks that are shipped execute from top to bottom, as a reader runs them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def executed(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OPENAI_API_KEY", None)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute(env=environment)
    return notebook


def shown(cell: Any) -> str:
    """All text that a cell shows."""
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", ""))
        parts.append(output.get("data", {}).get("text/plain", ""))
        parts.append("\n".join(output.get("traceback", [])))
    return "\n".join(parts)


def the_cell(notebook: Any, word: str) -> Any:
    (found,) = [cell for cell in notebook.cells if cell.cell_type == "code" and word in cell.source]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_saved_clean(path: Path) -> None:
    """Stored outputs are what a reader on the web sees: no widget that is gone, no path of the author's machine."""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            assert str(ROOT) not in str(output)


@pytest.mark.model
def test_hello() -> None:
    notebook = executed(ROOT / "notebooks" / "00-hello.ipynb")
    answer = shown(the_cell(notebook, "%%compose hello"))
    assert "✓ done" in answer
    assert "answered by SmolLM2-135M-Instruct (embedded), not by gpt-4o" in answer
    assert "done - " in shown(the_cell(notebook, "print(answer.status"))
    assert len(shown(the_cell(notebook, "print(run.text)"))) > 40
    assert "max_tokens" in shown(the_cell(notebook, "hello.form()"))
    mistakes = shown(the_cell(notebook, "inptu"))
    assert "compose: 3 mistakes in this cell" in mistakes
    assert "did you mean `stream_format`?" in mistakes
    echoed = the_cell(notebook, "type: echo")
    assert "Hello Ada" in shown(echoed)
    assert "<strong>this text streams word by word</strong>" in str(echoed.outputs)


@pytest.mark.model
def test_classroom(tmp_path: Path) -> None:
    """The lesson: each feature leaves what a reader of the saved notebook sees."""
    lesson = shutil.copy(ROOT / "notebooks" / "10-classroom.ipynb", tmp_path)  # it writes a recording beside itself
    notebook = executed(Path(lesson))
    cells = {
        word: shown(the_cell(notebook, word)) for word in ("story.form(", "temperature=[", "style=[", "story.race(")
    }
    assert "max_tokens" in cells["story.form("]
    assert cells["temperature=["].count("✓") == 3 and cells["style=["].count("✓") == 2
    assert "With streaming the first word is there after" in cells["story.race("]
    trace = shown(the_cell(notebook, "--trace"))
    assert "authorization: Bearer ***" in trace and '"role": "system"' in trace and "⇒" in trace
    assert "POST https://api.openai.com/v1/chat/completions" in shown(the_cell(notebook, "--explain"))
    assert shown(the_cell(notebook, "story.chat(")).count("✓ done") == 2
    recorded, replayed = shown(the_cell(notebook, "--record")), shown(the_cell(notebook, "--speed max"))
    assert recorded.split("✓ done")[0] == replayed.split("✓ done")[0] != ""
    assert "`temperature` is 1.0, and was 0.0 in the recording" in shown(the_cell(notebook, "-i temperature=1"))
    assert shown(the_cell(notebook, "%compose runs")).count("Storyteller") >= 10
    assert "temperature: 0 → 0.8" in shown(the_cell(notebook, "composemagic.compare("))
    assert "✓ done" in shown(the_cell(notebook, "replay(speed=4)"))


@pytest.mark.model
def test_agent() -> None:
    """What the played model asks for is done; what the real one says is its own affair."""
    notebook = executed(ROOT / "notebooks" / "20-agent.ipynb")
    story = shown(the_cell(notebook, 'run.output["messages"]'))
    lines = [line.strip() for line in story.splitlines() if line.strip()]
    assert [line.partition(":")[0] for line in lines] == ["system", "user"] + ["assistant"] * 2 + ["tool"] * 2 + [
        "assistant",
        "tool",
        "assistant",
    ]
    assert "tool: it gave 800" in lines
    assert any(line.startswith("tool: it failed: `rainfall` raised KeyError: 'Atlantis'") for line in lines)
    assert "tool: it gave Dear Ada, it rains 800 mm a year here." in lines
    small = shown(the_cell(notebook, "%%compose small"))
    assert "✓ done" in small and "SmolLM2-135M-Instruct (embedded)" in small


@pytest.mark.model
def test_retrieval() -> None:
    notebook = executed(ROOT / "notebooks" / "30-retrieval.ipynb")
    assert "answer" in shown(the_cell(notebook, "ask.diagram()"))
    assert shown(the_cell(notebook, 'print(run.output["answer"])')).strip()
    pieces = [line for line in shown(the_cell(notebook, "piece['score']")).splitlines() if line]
    scores = [float(line.split()[0]) for line in pieces]
    assert len(pieces) == 2 and scores == sorted(scores, reverse=True) and 0 < scores[0] <= 1
    text = the_cell(notebook, 'text = """').source
    assert all(line.split("  ", 1)[1] in text for line in pieces)
