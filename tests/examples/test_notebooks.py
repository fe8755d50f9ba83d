"""A notebook runs as it stands, in an empty folder; all of them in ``tests/soak/test_all_notebooks.py``."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from notebooks import NOTEBOOKS, run_notebook


@pytest.mark.parametrize("name", ["own_model"])
def test_a_notebook_runs_in_an_empty_folder(name: str, tmp_path: Path) -> None:
    run_notebook(NOTEBOOKS / f"{name}.ipynb", tmp_path)


def test_notebooks_hold_no_outputs_and_the_documentation_names_each() -> None:
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert len(paths) >= 8
    page = (NOTEBOOKS.parent / "docs/library.md").read_text(encoding="utf-8")
    for path in paths:
        assert f"examples/{path.name}" in page, path.name
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path.name  # they would hold paths and figures of one machine
            assert cell.get("execution_count") is None, path.name
