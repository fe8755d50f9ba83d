"""The folder of a feature store (``tubelet features``): how to recognize it, and the file of its rows.

``tubelet.data.features.store`` describes its other files.
"""

from __future__ import annotations

from pathlib import Path

from tubelet.errors import DataError

RECORD, MANIFEST, LAYOUT = "store.json", "manifest.csv", "feature store"


def is_store(path: Path) -> bool:
    """Whether a folder is a feature store, finished or not."""
    return (path / RECORD).is_file()


def finished_manifest(path: Path) -> Path:
    """The manifest file of a store.

    Raises:
        DataError: the store is not finished.
    """
    if not (path / MANIFEST).is_file():
        raise DataError(f"{path}: the feature store is not finished; run the same `tubelet features` command again")
    return path / MANIFEST
