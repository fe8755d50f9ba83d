"""Runs a notebook of ``examples`` as a reader would, from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "examples"


def run_notebook(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs. A cell that raises ends it with the error."""
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(book, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return client.execute()
