"""Features of the time steps of a film, in bounded memory, for every model.

A model with a per-frame stage gives a vector per frame or tubelet. Of the others the tokens of overlapping clips are
pooled over space, and what clips say of the same step is blended. The grid of samples is the film's own: from its first
frame on, every ``frame_stride``-th frame or ``target_fps`` times a second.

    N  frames of the film   S  steps   t  samples of a step   D  width of a feature   C h w  pixels that enter the model
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from tubelet.data.clips.fixed_rate import fixed_rate_indices
from tubelet.data.clips.frame_sampling import ClipPlan
from tubelet.data.clips.normalize import normalize
from tubelet.data.clips.resize_crop import view_geometry
from tubelet.data.loading.read_views import read_crops
from tubelet.data.sources.open_source import Reader
from tubelet.errors import ConfigError
from tubelet.inference.moments.blend import blend, starts_within, window_starts
from tubelet.models.stages import frame_features, model_inputs
from tubelet.protocol import Protocol
from tubelet.session.device import autocast
from tubelet.tasks.per_frame.config import FeatureKind
from tubelet.tasks.per_frame.targets import FilmClock
from tubelet.types import Precision

SAMPLES_AT_ONCE = 64  # frames that are decoded and go through a per-frame stage together


@dataclass(frozen=True, kw_only=True)
class StepGrid:
    """The samples of a film and its clock."""

    samples: Int[np.ndarray, "S t"]  # frames that enter the model for each step
    clock: FilmClock


class StepFeatures:
    """The features that a model gives for the steps of films.

    Args:
        model: in eval mode on ``device``.
        kind: "frames" is the per-frame stage, "tokens" those of clips; "auto" the first where the model has it.

    Raises:
        ConfigError: the model has no such stage, or its protocol spreads the frames of a clip over a whole video.
    """

    def __init__(
        self,
        model: nn.Module,
        protocol: Protocol,
        device: torch.device,
        precision: Precision = "fp32",
        kind: FeatureKind = "auto",
    ) -> None:
        if protocol.sampling != "dense":
            raise ConfigError(
                f"steps of films need a protocol that samples densely, got {protocol.sampling}: set "
                "protocol.sampling=dense with protocol.target_fps or protocol.frame_stride"
            )
        shared: int | None = getattr(model, "frames_per_feature", None)
        if kind == "frames" and shared is None:
            raise ConfigError(f"{type(model).__name__} has no per-frame stage; set per_frame.features=tokens")
        self.model, self.protocol, self.device, self.precision = model, protocol, device, precision
        self.kind: Literal["frames", "tokens"] = "frames" if kind != "tokens" and shared is not None else "tokens"
        probe = torch.zeros(1, protocol.num_channels, protocol.num_frames, *protocol.crop_size, dtype=torch.uint8)
        steps, self.width = self._encode(probe[0], np.arange(protocol.num_frames)).shape
        self.frames_per_step = shared if self.kind == "frames" and shared else protocol.num_frames // steps
        self.clip_steps = 1 if self.kind == "frames" else steps

    def grid(self, timestamps: NDArray[np.float64]) -> StepGrid:
        """The steps of a film whose frames appear at these seconds. The last step may repeat the last sample."""
        protocol, count = self.protocol, len(timestamps)
        if protocol.target_fps is not None:
            frames = fixed_rate_indices(timestamps, 1 / protocol.target_fps, protocol.frame_at_time)
        else:
            frames = np.arange(0, count, protocol.frame_stride or 1)
        missing = -len(frames) % self.frames_per_step
        samples = np.append(frames, [frames[-1]] * missing).astype(np.int64).reshape(-1, self.frames_per_step)
        times = timestamps - timestamps[0]
        spacing = float(np.median(np.diff(times))) if count > 1 else 1.0
        clock = FilmClock(
            timestamps=times,
            duration_seconds=float(times[-1]) + spacing,
            first_frames=np.ascontiguousarray(samples[:, 0]),
            rule=protocol.frame_at_time,
        )
        return StepGrid(samples=samples, clock=clock)

    @torch.inference_mode()
    def vectors(self, reader: Reader, grid: StepGrid, first: int, stop: int) -> Iterator[Float[Tensor, "n D"]]:
        """The features of steps ``first`` to ``stop`` (excluded), in order and in parts, on the CPU."""
        if self.kind == "frames":
            at_once = max(1, SAMPLES_AT_ONCE // self.frames_per_step)
            for start in range(first, stop, at_once):
                frames = grid.samples[start : min(start + at_once, stop)].reshape(-1)
                yield self._encode(self._read(reader, frames), frames)
            return
        yield from blend(self._clips(reader, grid, first, stop), first, stop)

    def _clips(
        self, reader: Reader, grid: StepGrid, first: int, stop: int
    ) -> Iterator[tuple[int, Float[Tensor, "n D"]]]:
        count = len(grid.samples)
        starts = window_starts(count, self.clip_steps, max(1, self.clip_steps // 2))
        for start in starts_within(starts, self.clip_steps, first, stop):
            steps = np.minimum(np.arange(start, start + self.clip_steps), count - 1)  # a short film holds its last step
            frames = grid.samples[steps].reshape(-1)
            yield start, self._encode(self._read(reader, frames), frames)[: count - start]

    def _read(self, reader: Reader, frames: Int[np.ndarray, " n"]) -> UInt8[Tensor, "C n h w"]:
        geometry = view_geometry(reader.height, reader.width, dataclasses.replace(self.protocol, num_spatial_crops=1))
        plan = ClipPlan(indices=tuple(frames.tolist()), seconds_covered=0.0)
        (pixels,), (rows,) = read_crops(reader, [plan], geometry, may_round=False)
        return pixels[rows].transpose(0, 1)

    @torch.inference_mode()
    def _encode(self, pixels: UInt8[Tensor, "C n h w"], frames: Int[np.ndarray, " n"]) -> Float[Tensor, "s D"]:
        clip = normalize(pixels.to(self.device), self.protocol)[None]  # 1 C n h w
        numbers = torch.from_numpy(frames - frames.min())[None]  # 1 n
        model: Any = self.model
        with autocast(self.device, self.precision):
            if self.kind == "frames":
                return frame_features(model, clip, numbers).vectors[0].float().cpu()
            tokens = model.tokens(*model_inputs(model, clip, numbers)[:1])  # 1 n_t n_h n_w D
        return reduce(tokens[0].float(), "t h w d -> t d", "mean").cpu()
