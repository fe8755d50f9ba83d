"""A model that another runtime computes, as a module of torch: a clip in, logits out.

B  videos   C  channels   T, H, W  clip in frames and pixels   K  classes
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tubelet.errors import CheckpointError, ConfigError, TubeletError
from tubelet.types import Device, Precision
from tubelet.weights.exported.record import ExportRecord, TakenClips

Run = Callable[[list[np.ndarray[Any, Any]]], np.ndarray[Any, Any]]  # inputs of the file -> its logits


class ExportedModel(nn.Module):
    """The model of an exported file. It has no parameters, computes on the CPU and gives logits alone.

    Args:
        path: of the file, for messages.
        exported: what the file says of itself.
        run: computes logits ``[B, K]`` of the file's inputs: the clip in float32, and frame numbers in int64 where the
            file takes them.
    """

    def __init__(self, path: Path, exported: ExportRecord, run: Run) -> None:
        super().__init__()
        self.path, self.exported, self.run = path, exported, run

    @property
    def takes_frame_numbers(self) -> bool:
        """Whether ``forward`` reads which frames of the source those of the clip are."""
        return self.exported.clips.frame_numbers is not None

    @torch.inference_mode()
    def forward(
        self, clip: Float[Tensor, "B C T H W"], position: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B K"]:
        """Raises TubeletError for a clip that the file does not take."""
        taken = self.exported.clips
        check_clip(taken, clip, self.path)
        inputs = [clip.float().cpu().contiguous().numpy()]
        if taken.frame_numbers is not None:
            if position is None:
                position = (torch.arange(clip.shape[2]) * taken.frame_numbers).expand(clip.shape[0], -1)
            inputs.append(position.long().cpu().contiguous().numpy())
        return torch.from_numpy(self.run(inputs).astype(np.float32, copy=False)).to(clip.device)  # B K

    def forward_features(self, *inputs: Any) -> Any:
        """Raises CheckpointError: the file has no tokens and no embedding."""
        raise CheckpointError(
            f"{self.path}: gives logits alone; take embeddings and tokens from the checkpoint that it was made from"
        )

    tokens = forward_head = forward_features


def check_clip(taken: TakenClips, clip: Tensor, where: object) -> None:
    """Raise TubeletError for a clip ``[B, C, T, H, W]`` that a file does not take."""
    check_pictures(taken, clip, where)
    check_frames(taken, clip.shape[2], where)


def check_pictures(taken: TakenClips, clip: Tensor, where: object) -> None:
    """``check_clip``, whatever the number of frames is."""
    if clip.ndim != 5:
        raise TubeletError(f"{where}: takes clips of pixels, got an array of shape {tuple(clip.shape)}")
    _, channels, _, *size = clip.shape
    if channels != taken.num_channels:
        raise TubeletError(f"{where}: takes clips of {taken.num_channels} channels, got {channels}")
    if tuple(size) not in taken.sizes:
        known = ", ".join(f"{h}x{w}" for h, w in taken.sizes)
        raise TubeletError(
            f"{where}: was exported for {known} pixels, got {size[0]}x{size[1]}; export it again with "
            f"--size {size[0]}x{size[1]}"
        )


def check_frames(taken: TakenClips, frames: int, where: object) -> None:
    """Raise TubeletError for a number of frames that a file does not take."""
    if taken.num_frames is not None and frames != taken.num_frames:
        raise TubeletError(
            f"{where}: was exported for {taken.num_frames} frames alone, got {frames}; export it again with "
            f"--frames {frames}"
        )
    if frames < taken.min_frames or frames % taken.frame_step:
        raise TubeletError(
            f"{where}: takes multiples of {taken.frame_step} frames from {taken.min_frames} on, got {frames}"
        )


def check_placement(model: ExportedModel, device: Device, precision: Precision | None) -> None:
    """Raise ConfigError where a device or precision is asked for that the file does not compute in."""
    if device not in ("auto", "cpu"):
        raise ConfigError(f"{model.path}: computes on the CPU, not on {device}; leave the device out")
    if precision is not None:
        raise ConfigError(
            f"{model.path}: computes in {model.exported.precision}, which was chosen when it was exported; leave "
            f"precision {precision} out"
        )


def imported(package: str, extra: str) -> Any:
    """A package of an extra.

    Raises:
        CheckpointError: it is not installed; the line says how to.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise CheckpointError(
            f"this needs {package}, which is not installed ({error}): pip install 'tubelet[{extra}]'"
        ) from None
