"""Every notebook of ``examples`` runs as it stands, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from notebooks import NOTEBOOKS, run_notebook


@pytest.mark.soak
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_runs_in_an_empty_folder(path: Path, tmp_path: Path) -> None:
    run_notebook(path, tmp_path)
