"""A stretch of a film for a model with a per-frame head: which pixels speak for a behavior in a bout.

The logit of a behavior is the mean of its logits over the steps of the stretch, from features of these steps alone:
what the head reads of the steps around them is left out.

    B  clips   C  channels   T, H, W  samples of the stretch   S  steps   D  width of a feature   K  behaviors
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.data.clips.frame_sampling import ClipPlan
from tubelet.data.sources.open_source import Reader
from tubelet.errors import ConfigError, DataError
from tubelet.explain.clip_view import ClipView, view_of_plan
from tubelet.explain.config import ExplainConfig
from tubelet.inference.moments.features import StepFeatures
from tubelet.inference.moments.head_file import HeadRecord, read_head
from tubelet.models.stages import frame_features, model_inputs
from tubelet.nn.video_model import VideoModel
from tubelet.protocol import Protocol
from tubelet.types import FrameFeatures
from tubelet.weights.checkpoint.checkpoint import Record

MAX_SAMPLES = 256  # frames that one explanation is of: all of them go through the model at once
_METHODS = ("occlusion", "integrated_gradients")


class BoutModel(VideoModel):
    """Backbone and per-frame head as a model of the samples of a stretch."""

    takes_frame_numbers = True

    def __init__(self, features: StepFeatures, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head, self.kind = features.model, head, features.kind
        self.num_frames = features.protocol.num_frames

    def forward(self, clip: Float[Tensor, "B C T H W"], frame_numbers: Tensor) -> Float[Tensor, "B K"]:
        if self.kind == "frames":
            vectors = frame_features(self.backbone, clip, frame_numbers).vectors  # B S D
        else:
            clips = rearrange(clip, "b c (n t) h w -> (b n) c t h w", t=self.num_frames)
            numbers = rearrange(frame_numbers, "b (n t) -> (b n) t", t=self.num_frames)
            backbone: VideoModel = self.backbone  # type: ignore[assignment]
            tokens = backbone.tokens(*model_inputs(backbone, clips, numbers)[:1])  # b*n n_t n_h n_w D
            vectors = reduce(tokens, "(b n) t h w d -> b (n t) d", "mean", b=len(clip))
        logits: Tensor = self.head(FrameFeatures(vectors=vectors))  # B S K
        return logits.mean(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bout:
    """What ``explain_view`` takes of a stretch."""

    model: BoutModel
    view: ClipView
    protocol: Protocol  # with the behaviors as labels


def read_bout(
    model: nn.Module, record: Record, folder: Path, reader: Reader, seconds: tuple[float | None, float | None]
) -> Bout:
    """The samples of a stretch of a film, and backbone and head as a model of them.

    Args:
        folder: of the checkpoint, which has a per-frame head.
        seconds: start and end of the stretch, both needed.

    Raises:
        DataError: the stretch is empty, or the film cannot be read.
        ConfigError: start or end is missing, or the stretch is longer than ``MAX_SAMPLES``.
        CheckpointError: the head is damaged.
    """
    start_seconds, end_seconds = seconds
    if start_seconds is None or end_seconds is None:
        raise ConfigError(
            "the model has a per-frame head, and a bout of it is explained: give start_seconds and end_seconds "
            "(--start-seconds, --end-seconds; tubelet moments lists bouts)"
        )
    head, head_record = read_head(folder)
    device = next(model.parameters()).device
    features = StepFeatures(model, record.protocol, device, "fp32", head_record.features)
    grid = features.grid(np.array(reader.timestamps, dtype=np.float64))
    edges = grid.clock.edges
    inside = np.flatnonzero((edges[:-1] < end_seconds - 1e-6) & (edges[1:] > start_seconds + 1e-6))
    if not len(inside):
        end = grid.clock.duration_seconds
        raise DataError(f"no step of the film lies from {start_seconds:g} to {end_seconds:g} s; it lasts {end:.3f} s")
    samples = grid.samples[inside].reshape(-1)
    if features.kind == "tokens":  # whole clips
        rest = -len(samples) % record.protocol.num_frames
        samples = np.append(samples, [samples[-1]] * rest)
    if len(samples) > MAX_SAMPLES:
        raise ConfigError(
            f"the stretch from {start_seconds:g} to {end_seconds:g} s has {len(samples)} samples; explain one of at "
            f"most {MAX_SAMPLES}"
        )
    plan = ClipPlan(indices=tuple(samples.tolist()), seconds_covered=0.0)
    return Bout(
        model=BoutModel(features, head.to(device).eval()).eval(),
        view=view_of_plan(reader, record.protocol, plan),
        protocol=_protocol_of(record.protocol, head_record),
    )


def check_bout_method(config: ExplainConfig) -> ExplainConfig:
    """Occlusion where nothing is asked for. Raises ConfigError for attention, which ends before the head."""
    method = config.method or next(method for method in config.possible_methods if method in _METHODS)
    if method not in _METHODS:
        raise ConfigError(f"{method} does not see the per-frame head; use {' or '.join(_METHODS)}")
    return dataclasses.replace(config, method=method)


def _protocol_of(protocol: Protocol, head: HeadRecord) -> Protocol:
    return dataclasses.replace(protocol, labels={"label": head.labels}, multi_label=not head.one)
