"""Equality with the original implementations, case by case, at the tolerance each fixture states."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import torch

from parity.cases import CHECKS, read_config, vivit_from_scenic
from parity.conftest import name_of
from tubelet.weights.scenic import from_scenic


def test_equals_the_original(case: Path) -> None:
    check = next((check for pattern, check in CHECKS if fnmatch.fnmatchcase(name_of(case), pattern)), None)
    assert check is not None, f"no test claims {name_of(case)}: add it to CHECKS or to PENDING"
    check(case, read_config(case))


def test_real_size_checkpoint_maps_strictly_by_name_and_shape(manifest: Path) -> None:
    content = json.loads(manifest.read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = vivit_from_scenic(content["constructor"], content["input_shape"])
        source = {name: torch.empty(shape) for name, shape in content["parameters"]}
        state, report = from_scenic(source, model)
    assert set(state) == set(model.state_dict())
    assert not report.dropped
    assert sum(t.numel() for t in state.values()) == content["total_parameters"]
