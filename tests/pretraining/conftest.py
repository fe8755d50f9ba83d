"""Labeled clips of which footage is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import motion_videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return motion_videos(tmp_path_factory.mktemp("labeled") / "videos")
