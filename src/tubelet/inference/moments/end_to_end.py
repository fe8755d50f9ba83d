"""A backbone and its per-frame head as one model, which training changes together: windows of frames to step logits.

It gives a window the features that ``tubelet.inference.moments.features`` gives the steps of a film: vectors of the
per-frame stage, or the tokens of overlapping clips pooled over space and blended.

    B  windows   C H W  pixels   S  steps of a window   t  frames of a step   T = S t   n  steps of a clip
    D  width of a feature   K  classes
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from tubelet.errors import ConfigError
from tubelet.inference.moments.blend import triangle, window_starts
from tubelet.inference.moments.features import StepFeatures
from tubelet.models.stages import frame_features, model_inputs
from tubelet.nn.head import layer_pattern
from tubelet.types import FrameFeatures

BEHIND_THE_END = -1  # number of a frame that lies behind the end of its film


class PerFrameModel(nn.Module):
    """The backbone and the head.

    Args:
        backbone: that of ``features``.
        features: says which features the head reads, and how many frames a step has.
        window_steps: steps of a training window.

    Raises:
        ConfigError: a window is shorter than a clip whose tokens are pooled.
    """

    takes_frame_numbers = True  # those of frames behind the end of a film are ``BEHIND_THE_END``

    def __init__(self, backbone: nn.Module, head: nn.Module, features: StepFeatures, window_steps: int) -> None:
        super().__init__()
        if window_steps < features.clip_steps:
            raise ConfigError(
                f"per_frame.window_steps={window_steps} is less than the {features.clip_steps} steps of a clip of "
                f"{features.protocol.num_frames} frames, whose tokens are pooled; raise it, or lower "
                "protocol.num_frames"
            )
        self.backbone, self.head = backbone, head
        self.kind, self.frames_per_step, self.clip_steps = features.kind, features.frames_per_step, features.clip_steps
        self.layer_pattern = rf"(?:backbone\.(?:{layer_pattern(backbone)}))|(?:head\.layers\.\d+\.)"

    def forward(
        self, clip: Float[Tensor, "B C T H W"], frame_numbers: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B S K"]:
        """Logits of the steps of windows."""
        num_steps = clip.shape[2] // self.frames_per_step
        is_there = torch.ones(len(clip), num_steps, dtype=torch.bool, device=clip.device)  # B S
        if frame_numbers is not None:
            is_there = frame_numbers[:, :: self.frames_per_step] != BEHIND_THE_END
        vectors = self._of_frames(clip) if self.kind == "frames" else self._of_tokens(clip, is_there.sum(1))  # B S D
        vectors = vectors * is_there[..., None]  # the head takes zeros for what lies behind the end
        logits: Tensor = self.head(FrameFeatures(vectors=vectors))  # B S K
        return logits

    def _of_frames(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B S D"]:
        return frame_features(self.backbone, clip, None).vectors

    def _of_tokens(self, clip: Float[Tensor, "B C T H W"], counts: Int[Tensor, " B"]) -> Float[Tensor, "B S D"]:
        """Of clips that end with the film at the latest, as ``StepFeatures`` lays them: ``counts`` are its steps."""
        model: Any = self.backbone
        num_steps, frames = clip.shape[2] // self.frames_per_step, self.clip_steps * self.frames_per_step
        regular = torch.tensor(window_starts(num_steps, self.clip_steps, max(1, self.clip_steps // 2)))
        last = (counts - self.clip_steps).clamp(min=0)  # B
        starts = torch.minimum(regular.to(last)[:, None], last)  # c B; those of clips behind the end come again
        is_new = torch.cat([starts.new_ones(1, len(clip)), (starts[1:] != starts[:-1]).to(starts)])  # c B
        within = torch.arange(frames, device=clip.device)
        places = [repeat(first[:, None] * self.frames_per_step + within, "b t -> b 1 t 1 1") for first in starts]
        clips = torch.cat([torch.take_along_dim(clip, place, dim=2) for place in places])  # (c B) C t H W
        tokens = model.tokens(*model_inputs(model, clips, None)[:1])  # (c B) n_t n_h n_w D
        pooled = reduce(tokens, "(c b) t h w d -> b (c t) d", "mean", c=len(starts))  # B (c n) D
        steps = starts[..., None] + torch.arange(self.clip_steps, device=clip.device)  # c B n
        weights = is_new[..., None] * triangle(self.clip_steps).to(pooled)  # c B n
        steps, weights = (rearrange(values, "c b n -> b (c n)") for values in (steps, weights))
        total = pooled.new_zeros(len(clip), num_steps).scatter_add(1, steps, weights)  # B S
        where = repeat(steps, "b n -> b n d", d=pooled.shape[2])
        blended = pooled.new_zeros(len(clip), num_steps, pooled.shape[2])
        blended = blended.scatter_add(1, where, pooled * weights[..., None])
        return blended / total.clamp(min=1)[..., None]
