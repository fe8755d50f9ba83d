"""What a VideoMAE takes from another one's checkpoint, above all from an encoder that was pre-trained.

Source: MCG-NJU/VideoMAE, commit 14ef8d85, ``run_class_finetuning.py``: the norm behind the pre-trained encoder is not
used, and that behind the pooling starts at one and zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tubelet.weights.mapping.rules import Operation, Rule

_STARTS = {
    "weight": Operation("starts at one; the encoder's norm is left out", torch.ones_like),
    "bias": Operation("starts at zero; the encoder's norm is left out", torch.zeros_like),
}


def changes_of_video(old: nn.Module, new: nn.Module, notes: list[str]) -> tuple[list[Rule], dict[str, str]]:
    """What changes between two VideoMAEs: which norm comes behind the blocks, and the grid of the positions."""
    before: Any = old.config
    after: Any = new.config
    if before.grid != after.grid:
        made_for, asked = ("x".join(map(str, grid)) for grid in (before.grid, after.grid))
        notes.append(
            f"positions: computed for {asked}, which the weights were not trained with ({made_for}); leave "
            "model.num_frames and model.image_size at theirs to choose with model.other_grid"
        )
    if before.final_norm == after.final_norm:
        return [], {}
    here, there = ("encoder.norm", "fc_norm") if before.final_norm == "tokens" else ("fc_norm", "encoder.norm")
    notes.append(f"{there} starts fresh, as in the official fine-tuning; {here} is left out")
    return [Rule(f"{there}.{kind}", (f"{here}.{kind}",), start) for kind, start in _STARTS.items()], {}
