"""Tiny videos and a checkpoint for them, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from film_runs import film_labels, film_run
from support import checkpoint, videos

__all__ = ["checkpoint", "film_labels", "film_run", "videos"]


@pytest.fixture
def film(videos: Path, tmp_path: Path) -> Path:
    """One second at 10 frames per second."""
    return Path(shutil.copy(videos / "test" / "left" / "0000.mp4", tmp_path / "film.mp4"))
