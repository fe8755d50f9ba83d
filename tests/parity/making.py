"""What made-up parity cases share: random weights that are nowhere trivial, and the files of a case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def randomize(model: nn.Module) -> nn.Module:
    """The model in eval mode, every parameter and statistic random: attention far from uniform, no norm at 1."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.6, 1.4)
            elif tensor.is_floating_point():
                fan_in = tensor[0].numel() if tensor.ndim > 1 else 9
                tensor.normal_(std=1.5 * fan_in**-0.5)
    return model.eval()


def write_case(folder: Path, config: Mapping[str, Any], **arrays: Tensor | Mapping[str, Tensor]) -> Path:
    """``config.json``, and a ``.npy`` or ``.npz`` of each array or dict of arrays, in ``folder``."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, value in arrays.items():
        if isinstance(value, Tensor):
            np.save(folder / f"{name}.npy", value.detach().numpy())
        else:
            np.savez(folder / f"{name}.npz", **{key: tensor.detach().numpy() for key, tensor in value.items()})  # type: ignore[arg-type]
    return folder
