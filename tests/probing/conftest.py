"""The tiny videos that the tests of probes share with others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support import videos

__all__ = ["videos"]


@pytest.fixture(scope="session")
def two_classes(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of the motion videos, 10 clips."""
    root = tmp_path_factory.mktemp("clips")
    for name in ("left", "growing"):
        for i, file in enumerate(sorted(videos.glob(f"*/{name}/*.mp4"))):
            (root / name).mkdir(exist_ok=True)
            shutil.copy(file, root / name / f"{file.parent.parent.name}{i}.mp4")
    return root
