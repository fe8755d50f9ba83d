"""What every kind of parity case shares: reading a case, and comparing every array at the tolerance it states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def compare(case: Path, config: Mapping[str, Any], seen: Mapping[str, Tensor]) -> None:
    """Every recorded array, none left out, at the tolerance the case states."""
    with np.load(case / "output.npz", allow_pickle=False) as reference:
        assert reference.files, "nothing was recorded"
        assert set(reference.files) <= set(seen), f"not computed: {set(reference.files) - set(seen)}"
        for name in reference.files:
            expected, actual = reference[name], seen[name].detach().numpy()
            assert (actual.shape[:1], actual.shape[-1:]) == (expected.shape[:1], expected.shape[-1:]), name
            # Tokens on the grid are [B, T, S, D] in one implementation and [B, T S, D] in the other.
            error = np.abs(actual.reshape(expected.shape) - expected)
            excess = error - bound(config["tolerance"], name, expected)
            assert (excess <= 0).all(), f"{name}: off by {error.max():.2e}, {excess.max():.1e} more than allowed"


def bound(tolerance: Mapping[str, Any], name: str, expected: np.ndarray) -> Any:
    """The largest difference that a case allows for an array, in the rule that its ``tolerance`` states."""
    largest = np.abs(expected).max()
    if "tol" in tolerance:
        return tolerance["tol"] * max(1.0, largest)
    if "logits_atol" in tolerance:
        return tolerance["logits_atol"] if name == "logits" else _of_largest(tolerance) * largest
    return tolerance["atol"] + tolerance["rtol"] * np.abs(expected)


def _of_largest(tolerance: Mapping[str, Any]) -> float:
    return float(tolerance["intermediates_max_abs_over_tensor_max"])


def assert_equal(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The same names and bits."""
    assert actual.keys() == expected.keys(), f"names differ: {actual.keys() ^ expected.keys()}"
    differ = [name for name, tensor in expected.items() if not actual[name].equal(tensor)]
    assert not differ, f"values differ: {differ}"


def read_arrays(file: Path) -> dict[str, Tensor]:
    """The arrays of an ``.npz`` as tensors."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def read_input(case: Path) -> Tensor:
    return torch.from_numpy(np.load(case / "input.npy", allow_pickle=False))


def pair(size: int | list[int]) -> tuple[int, int]:
    """Height and width from one number for both, or from two."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def random_source(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Random tensors of a manifest's names and shapes, views of one buffer: a real-size model costs no time."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tuple(shape) for name, shape in content["parameters"]}
    largest = max(int(np.prod(shape)) for shape in shapes.values())
    buffer = torch.randn(largest + len(shapes), generator=generator)
    return {name: buffer[i : i + int(np.prod(shape))].view(shape) for i, (name, shape) in enumerate(shapes.items())}


def read_config(case: Path) -> dict[str, Any]:
    return json.loads((case / "config.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]
