"""A few seconds of generated films, and a run on them that takes a moment; for tests of several packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tubelet.data.synthetic_films import write_films
from tubelet.recipe import Recipe, load_recipe
from tubelet.runs.run import run_recipe
from tubelet.session.session import Session

COUNTS = {"train": 2, "val": 1, "test": 2}
# A step is a frame; windows of 24 steps, so that a film has several.
FIELDS: dict[str, Any] = {
    "model": {
        "name": "vivit_ti16x2_fe",
        "tubelet_size": [1, 16, 16],
        "embed_dim": 16,
        "depth": 1,
        "num_heads": 2,
        "temporal_depth": 1,
    },
    "protocol.num_frames": 8,
    "protocol.resize_short_side": 32,
    "protocol.crop_size": [32, 32],
    "per_frame.window_steps": 24,
    "per_frame.num_layers": 2,
    "per_frame.hidden_dim": 8,
    "training.num_epochs": 2,
    "training.batch_size": 4,
}


def film_recipe(labels: Path, **fields: Any) -> Recipe:
    """The shipped recipe on generated films, tiny."""
    chosen = {"data.source": str(labels), **FIELDS, **fields}
    return load_recipe("films/per_frame", [(name, json.dumps(value)) for name, value in chosen.items()])


@pytest.fixture(scope="session")
def film_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``labels.csv`` beside five films of 4 to 5 seconds; not to be changed."""
    return write_films(tmp_path_factory.mktemp("films"), COUNTS, seconds=(4.0, 5.0), size_pixels=32, seed=14)


@pytest.fixture(scope="session")
def film_run(film_labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on them; not to be changed."""
    folder = tmp_path_factory.mktemp("film_run") / "run"
    run_recipe(film_recipe(film_labels), folder, Session())
    return folder
