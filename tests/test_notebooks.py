"""Every notebook runs from top to bottom on phantoms, in a folder of its own, and is kept without outputs."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 120  # for one cell, on a busy machine


def executed(path: Path, folder: Path) -> Any:
    """The notebook with its outputs, run in `folder`."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def text_of(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_leaves_nothing_beside_itself(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two pytest workers share two cores
    before = {p: p.stat().st_mtime_ns for p in FOLDER.parent.iterdir()}, sorted(FOLDER.rglob("*"))
    notebook = executed(path, tmp_path)
    assert ({p: p.stat().st_mtime_ns for p in FOLDER.parent.iterdir()}, sorted(FOLDER.rglob("*"))) == before
    assert "Traceback" not in text_of(notebook)
