"""What every kind of parity case shares: reading a case, and comparing every array at the tolerance it states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def compare(case: Path, config: dict[str, Any], seen: Mapping[str, Tensor]) -> None:
    """Every recorded array, none left out, at the tolerance the case states."""
    tolerance = config["tolerance"]["tol"]
    with np.load(case / "output.npz", allow_pickle=False) as reference:
        assert set(reference.files) <= set(seen), f"not computed: {set(reference.files) - set(seen)}"
        for name in reference.files:
            expected = reference[name]
            # Tokens on the grid are [B, T, S, D] in one implementation and [B, T S, D] in the other.
            actual = seen[name].detach().numpy().reshape(expected.shape)
            error = np.abs(actual - expected).max() / max(1.0, np.abs(expected).max())
            assert error <= tolerance, f"{name}: relative error {error:.2e} above {tolerance:.0e}"


def read_arrays(file: Path) -> dict[str, Tensor]:
    """The arrays of an ``.npz`` as tensors."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def random_source(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Random tensors of a manifest's names and shapes, views of one buffer: a real-size model costs no time."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tuple(shape) for name, shape in content["parameters"]}
    largest = max(int(np.prod(shape)) for shape in shapes.values())
    buffer = torch.randn(largest + len(shapes), generator=generator)
    return {name: buffer[i : i + int(np.prod(shape))].view(shape) for i, (name, shape) in enumerate(shapes.items())}


def read_config(case: Path) -> dict[str, Any]:
    return json.loads((case / "config.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]
