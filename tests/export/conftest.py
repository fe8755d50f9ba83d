"""Fixtures of the tests of exported files."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported_models import export, tiny


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the tiny ViViT in two sizes; not to be changed."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export(*tiny("vivit"), path, sizes=((16, 16), (24, 32)))
    return path
