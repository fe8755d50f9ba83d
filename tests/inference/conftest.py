"""Tiny videos and a checkpoint for them, made once; sources are connected to again without long pauses."""

from __future__ import annotations

import pytest

from film_runs import film_labels, film_run
from support import checkpoint, videos
from tubelet.inference import live

__all__ = ["checkpoint", "film_labels", "film_run", "videos"]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_FIRST_PAUSE_SECONDS", 0.05)
