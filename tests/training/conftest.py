"""A data set and a recipe small enough to train in a second: eight-frame volumes in two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from tiny_recipe import RECIPE


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """A MedMNIST3D-like file: class 1 is brighter at the end than at the start."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 72), ("val", 10), ("test", 10)):
        labels = np.arange(count)[:, None] % 2
        ramp = np.linspace(-60, 60, 10)[None, :, None, None] * (2 * labels[:, :, None, None] - 1)
        images = 128 + ramp + rng.normal(0, 30, (count, 10, 18, 18))
        arrays |= {f"{split}_images": images.clip(0, 255).astype(np.uint8), f"{split}_labels": labels.astype(np.uint8)}
    file = tmp_path / "volumes.npz"
    np.savez(file, **arrays)
    return file


@pytest.fixture
def recipe_file(tmp_path: Path, volumes: Path) -> Path:
    file = tmp_path / "recipe.yaml"
    data = {"source": str(volumes), "num_workers": 0}
    file.write_text(yaml.safe_dump({**RECIPE, "data": data}), encoding="utf-8")
    return file
