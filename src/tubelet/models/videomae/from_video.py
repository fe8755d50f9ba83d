"""What a VideoMAE takes from another one's checkpoint, above all from an encoder that was pre-trained.

Source: MCG-NJU/VideoMAE, commit 14ef8d85, ``run_class_finetuning.py``: the norm behind the pre-trained encoder is not
used, and that behind the pooling starts at one and zero.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from tubelet.weights.mapping.rules import Rule

_NORMS = {"tokens": "encoder.norm", "pooled": "fc_norm"}


def changes_of_video(old: nn.Module, new: nn.Module, notes: list[str]) -> tuple[list[Rule], dict[str, str]]:
    """What of the checkpoint is left out: a norm that stands elsewhere in the new model. Another grid is noted."""
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
    return [], {rf"{_NORMS[before.final_norm]}\..*": "norm: it does not stand there in the new model"}


def fresh_of_video(old: nn.Module, new: nn.Module) -> dict[str, str]:
    """The norm that only the new model has: pattern of its names and reason."""
    before: Any = old.config
    after: Any = new.config
    if before.final_norm == after.final_norm:
        return {}
    return {rf"{_NORMS[after.final_norm]}\..*": "norm: starts at one and zero, as in the official fine-tuning"}
