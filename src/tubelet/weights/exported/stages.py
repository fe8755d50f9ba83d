"""A model in two files, as a stream needs it: every frame goes through the one once, every window through the other.

    model.frames.onnx   clip [B, C, T, H, W] -> vectors [B, n, D], and tokens [B, n, N, D] of each layer that is read
    model.time.onnx     vectors, "position" [B, n] where the model reads frame numbers, tokens -> logits [B, K]

B  videos   C  channels   T, H, W  clip   n  vectors of a clip   K  classes
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.errors import CheckpointError, TubeletError
from tubelet.types import FrameFeatures
from tubelet.weights.exported.module import ExportedModel, Run, check_clip, check_frames, check_pictures
from tubelet.weights.exported.record import ExportRecord

RunOutputs = Callable[[list[np.ndarray[Any, Any]]], Sequence[np.ndarray[Any, Any]]]  # inputs -> all outputs
STAGES = ("frames", "time")


class ExportedStages(ExportedModel):
    """A model of two files, with the two stages that the checkpoint has. It runs on the CPU.

    Args:
        path: of one of them, for messages.
        exported: what that file says of itself.
        run_frames: computes what the per-frame stage gives.
        run_time: computes logits ``[B, K]`` of it.
    """

    def __init__(self, path: Path, exported: ExportRecord, run_frames: RunOutputs, run_time: Run) -> None:
        super().__init__(path, exported, run_time)
        self.run_frames = run_frames

    @property
    def frames_per_feature(self) -> int:
        """Frames that make one vector."""
        assert self.exported.stage is not None
        return self.exported.stage.frames_per_feature

    def forward(
        self, clip: Float[Tensor, "B C T H W"] | FrameFeatures, position: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B K"]:
        """Raises TubeletError for a clip that the files do not take."""
        if isinstance(clip, FrameFeatures):
            return self.encode_time(clip)
        check_clip(self.exported.clips, clip, self.path)
        return self.encode_time(self.encode_frames(clip, position))

    @torch.inference_mode()
    def encode_frames(
        self, clip: Float[Tensor, "B C T H W"], position: Int[Tensor, "B T"] | None = None
    ) -> FrameFeatures:
        """The per-frame stage, of any number of frames that make whole vectors."""
        taken = self.exported.clips
        check_pictures(taken, clip, self.path)
        if clip.shape[2] % self.frames_per_feature:
            raise TubeletError(
                f"{self.path}: makes vectors of {self.frames_per_feature} frames each, got {clip.shape[2]} frames"
            )
        if position is None and taken.frame_numbers is not None:
            position = (torch.arange(clip.shape[2]) * taken.frame_numbers).expand(clip.shape[0], -1)
        found = self.run_frames([clip.float().cpu().contiguous().numpy()])
        vectors, *tokens = (torch.from_numpy(np.asarray(x, np.float32)).to(clip.device) for x in found)
        return FrameFeatures(vectors=vectors, position=position, tokens=tuple(tokens))

    @torch.inference_mode()
    def encode_time(self, features: FrameFeatures) -> Float[Tensor, "B K"]:
        """The temporal stage. Videos of several lengths go through it one by one."""
        if features.valid is not None:
            lengths = features.valid.sum(1).tolist()
            return torch.cat([self.encode_time(_row(features, i, n)) for i, n in enumerate(lengths)])
        check_frames(self.exported.clips, features.vectors.shape[1] * self.frames_per_feature, self.path)
        inputs = [features.vectors.float(), *(tokens.float() for tokens in features.tokens)]
        if self.takes_frame_numbers:
            assert features.position is not None
            inputs.insert(1, features.position.long())
        logits = self.run([each.cpu().contiguous().numpy() for each in inputs])
        return torch.from_numpy(logits.astype(np.float32, copy=False)).to(features.vectors.device)  # B K


def _row(features: FrameFeatures, i: int, length: int) -> FrameFeatures:
    """One video alone, without what pads it."""
    position = None if features.position is None else features.position[i : i + 1, :length]
    tokens = tuple(layer[i : i + 1, :length] for layer in features.tokens)
    return dataclasses.replace(
        features, vectors=features.vectors[i : i + 1, :length], position=position, tokens=tokens, valid=None
    )


def stage_paths(path: Path) -> dict[str, Path]:
    """The names of the two files in place of ``path``: of ``model.onnx``, ``model.frames.onnx`` and so on."""
    return {name: path.with_name(f"{path.stem}.{name}{path.suffix}") for name in STAGES}


def partners(path: Path, record: ExportRecord) -> dict[str, Path]:
    """Both files, by stage, of one of them.

    Raises:
        CheckpointError: it has another name than it was written under, or the other one is missing.
    """
    assert record.stage is not None
    end = f".{record.stage.name}{path.suffix}"
    if not path.name.endswith(end):
        raise CheckpointError(f"{path}: is one of two files; keep their names, which end in {end} here")
    files = stage_paths(path.with_name(f"{path.name.removesuffix(end)}{path.suffix}"))
    for file in files.values():
        if not file.is_file():
            raise CheckpointError(f"{path}: is one of two files, and {file.name} is missing; keep both in one folder")
    return files


def pair_sha256(frames: str, time: str) -> str:
    """The digest of a pair, of the digests of its files."""
    return hashlib.sha256(f"{frames} {time}".encode()).hexdigest()


def check_pair(frames: ExportRecord, time: ExportRecord, path: Path) -> None:
    """Raise CheckpointError where two files are not of one export."""
    stages = (frames.stage, time.stage)
    is_pair = tuple(stage.name if stage else "" for stage in stages) == STAGES
    own = pair_sha256(frames.weights_sha256 or "", time.weights_sha256 or "")
    if not is_pair or any(stage is None or stage.pair_sha256 != own for stage in stages):
        raise CheckpointError(f"{path}: the file beside it is of another export; export the checkpoint again")
