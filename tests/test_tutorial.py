"""The tutorial notebook, executed whole: every command ends well, and every picture is there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compiling import environment

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
FEWER = {'"high_count": 3000': '"high_count": 300', '"heldout_count": 50': '"heldout_count": 8'}
"""Problems, in place of those it has: every command runs as it does, on less."""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The notebook after a run of few steps, and the directory it worked in."""
    directory = tmp_path_factory.mktemp("tutorial")
    commands = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    changes = {"PATH": commands, "TUTORIAL_STEPS": "4", "TUTORIAL_DIR": str(directory)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment() | changes).items():
            patch.setenv(name, value)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        for old, new in FEWER.items():
            (cell,) = (cell for cell in notebook.cells if old in cell.source)
            cell.source = cell.source.replace(old, new)
        where = {"metadata": {"path": str(ROOT)}}
        nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    return notebook, directory


def pictures(notebook: Any) -> list[str]:
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]


def test_it_ends_with_a_trained_evaluated_and_exported_model(executed: tuple[Any, Path]) -> None:
    notebook, directory = executed
    for run in ("sft", "xcot"):
        record = json.loads((directory / run / "eval" / "results.json").read_text("utf-8"))
        (result,) = record["results"]
        assert set(result["languages"]) == {"en", "de", "sw", "th"}
        assert (directory / run / "eval" / "alignment.json").exists()
    assert (directory / "report" / "report.html").exists()
    assert (directory / "model" / "model.safetensors").exists()
    assert len(pictures(notebook)) == 1 + len(list((directory / "report").glob("*.png")))


def test_what_is_shown_in_the_repository_is_a_whole_run_of_it() -> None:
    shown = nbformat.read(NOTEBOOK, as_version=4)
    counts = [cell["execution_count"] for cell in shown.cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert len(pictures(shown)) >= 5
