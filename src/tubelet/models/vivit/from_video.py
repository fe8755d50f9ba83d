"""What another model takes from a ViViT's checkpoint: a ViViT of its kind with other sizes, or any as an image model.

The tubelet kernel is resampled so that a clip in which nothing moves keeps its tokens.

Source: google-research/scenic, commit 4a38d475, ``projects/vivit/model_utils.py``.
Deviation: a Model 2 with fewer temporal blocks than the checkpoint takes the first of them; the original, whose
configurations for EPIC-Kitchens and Something-Something V2 have 4 and start from one of Kinetics, which has 24, fails
at the first that is too many.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.vivit.config import FactorizedEncoderConfig, ViViTConfig
from tubelet.models.vivit.from_image import prefix_of
from tubelet.models.vivit.model import ViViTAveragePool, ViViTJoint
from tubelet.types import Grid
from tubelet.weights.mapping.image_model import ImageFacts, ImageModel
from tubelet.weights.mapping.resample import adapt_channels, resample_frames, resample_patch
from tubelet.weights.mapping.rules import Operation, Rule


def as_image(model: nn.Module) -> ImageModel | None:
    """A Model 1 or average pool that was made for one frame, under timm's names; None for any other model."""
    config: Any = model.config
    if not (isinstance(model, ViViTJoint | ViViTAveragePool) and config.grid[0] == config.tubelet_size[0] == 1):
        return None
    encoder, tensors = prefix_of(model), {}
    for name, tensor in model.state_dict().items():
        timms = (
            name.removeprefix(encoder).replace("tokenizer.", "patch_embed.").replace("pre_logits.0.", "pre_logits.fc.")
        )
        tensors[timms.replace("pos_embed.table", "pos_embed")] = tensor
    kernel = tensors["patch_embed.proj.weight"]
    tensors["patch_embed.proj.weight"] = kernel.squeeze(2) if kernel.ndim == 5 else kernel
    tensors["pos_embed"] = tensors["pos_embed"][None]
    if "cls_token" in tensors:
        tensors["cls_token"] = tensors["cls_token"][None, None]
    known = {name: getattr(config, name) for name in ("num_heads", "activation", "norm_eps", "image_size")}
    return ImageModel(tensors=tensors, name=type(model).__name__, facts=ImageFacts(**known, grid=config.grid[1:]))


def changes_of_video(old: nn.Module, new: nn.Module, notes: list[str]) -> tuple[list[Rule], dict[str, str]]:
    """What changes between two ViViTs of one kind: kernels of other tubelets and channels, fewer temporal blocks.

    Raises:
        CheckpointError: the new Model 2 has more temporal blocks.
    """
    before: Any = old.config
    after: Any = new.config
    return _kernel_rules(before, after, notes), _surplus_blocks(before, after, notes)


def _surplus_blocks(old: ViViTConfig, new: ViViTConfig, notes: list[str]) -> dict[str, str]:
    """Pattern and reason for temporal blocks of a Model 2 that the new one has no place for."""
    if not (isinstance(old, FactorizedEncoderConfig) and isinstance(new, FactorizedEncoderConfig)):
        return {}
    before, after = old.temporal_depth, new.temporal_depth
    if after > before:
        raise CheckpointError(
            f"the checkpoint has {before} temporal blocks, the model to train {after}: set model.temporal_depth to "
            f"{before} or less"
        )
    if after == before:
        return {}
    notes.append(f"temporal blocks: the first {after} of {before} are taken")
    names = "|".join(map(str, range(after, before)))
    return {rf"temporal_encoder\.blocks\.({names})\..*": f"the model has {after} temporal blocks"}


def _kernel_rules(old: ViViTConfig, new: ViViTConfig, notes: list[str]) -> list[Rule]:
    if old.tubelet_size == new.tubelet_size and old.in_channels == new.in_channels:
        return []
    if old.tubelet_size != new.tubelet_size:
        notes.append(f"tubelets: {_text(old.tubelet_size)} resampled to {_text(new.tubelet_size)}")
    if old.in_channels != new.in_channels:
        notes.append(f"channels: {old.in_channels} resampled to {new.in_channels}")
    num_frames, height, width = new.tubelet_size

    def forward(kernel: Tensor) -> Tensor:
        kernel = resample_patch(adapt_channels(kernel, new.in_channels), (height, width))
        return kernel if kernel.ndim == 4 else resample_frames(kernel, num_frames)

    name = "tokenizer.proj.weight"
    return [Rule(name, (name,), Operation("resampled kernel", forward))]


def _text(size: Grid) -> str:
    return "x".join(map(str, size))
