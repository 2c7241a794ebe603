"""The notebooks run from top to bottom, shortened."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

from tests import tiny

NOTEBOOKS = sorted((tiny.ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    environment = tiny.environment() | {
        "JAXMATTE_QUICK": "1",
        "JAXMATTE_WORKDIR": str(tmp_path / "run"),
        "MPLBACKEND": "agg",
    }
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tiny.ROOT / "notebooks")}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    shown = "".join(str(cell.get("outputs", "")) for cell in notebook.cells)
    assert "not run: needs " in shown  # the paper's own data
    assert (tmp_path / "run/checkpoints/4").is_dir()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_without_outputs_or_paths(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    assert str(pathlib.Path.home()) + "/" not in path.read_text()
