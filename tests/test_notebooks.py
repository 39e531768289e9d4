"""Every notebook runs from top to bottom on phantoms, in a folder of its own, and is kept without outputs."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 120  # for one cell, on a busy machine

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@notebooks
def test_a_notebook_is_kept_without_outputs_and_opens_with_prose(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))


@notebooks
def test_a_notebook_runs_shows_pictures_and_leaves_nothing_beside_itself(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two pytest workers share two cores
    before = sorted(FOLDER.rglob("*"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [kind for cell in code_cells(notebook) for output in cell.outputs for kind in output.get("data", {})]
    assert {"image/png", "text/html"} <= set(shown)
    assert sorted(FOLDER.rglob("*")) == before
