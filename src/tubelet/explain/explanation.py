"""The relevance of the pixels of a clip for one class, its course over time, and the tubes where most of it lies."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tubelet.explain.clip_view import ClipView
from tubelet.explain.config import ExplainConfig, Method
from tubelet.types import Grid

NUM_TUBES = 5

# What a value of the map is, by method.
MEANING: dict[Method, str] = {
    "occlusion": "drop of the class's log-probability where the tubelet of the pixel is hidden",
    "integrated_gradients": "share of the pixel in the difference of the class's logit between clip and fill",
    "attention_rollout": "attention that reaches what the classifier reads, per token; the same for every class",
    "gradient_attention": "attention times the positive gradient of the class's logit, per token",
}


@dataclass(frozen=True, kw_only=True)
class Tube:
    """A block of a clip in seconds and in pixels of the source's decoded frames; ends are excluded.

    It ends when the clip's next frame is shown. A short clip that loops has blocks across its seam: they last from
    the earliest of their frames to the end of the latest.
    """

    start_seconds: float
    end_seconds: float
    top: float
    left: float
    bottom: float
    right: float
    relevance: float  # mean of its pixels


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a method says of one clip and one class."""

    source: str
    head: str
    label: str  # the class that is explained
    prob: float  # of the class, of this view alone
    config: ExplainConfig  # with the defaults filled in
    method: Method
    tested: str  # how the method did where the cause is known, on models of this class
    relevance: Float[np.ndarray, "T H W"]  # raw, on the pixels of the clip
    tubelet: Grid  # frames, rows and columns in which tubes are cut
    view: ClipView
    completeness_gap: float | None = None  # integrated gradients: sum of the relevance less the difference of logits
    logit_difference: float | None = None  # integrated gradients: of the clip less the fill

    @property
    def time_curve(self) -> Float[np.ndarray, " T"]:
        """Mean relevance of every frame."""
        return self.relevance.mean((1, 2))

    def in_source(self) -> Float[np.ndarray, "T H0 W0"]:
        """The map on the decoded frames of the source; NaN where the model was shown nothing."""
        return self.view.to_source(self.relevance)

    def in_volume(self, num_slices: int) -> Float[np.ndarray, "N H0 W0"]:
        """The map on every slice of a volume: that of the nearest slice which the model was shown.

        NaN where it was shown nothing, and before the first and behind the last of those slices.
        """
        shown = np.array(self.view.indices)
        slices = np.arange(num_slices)
        nearest = np.abs(slices[:, None] - shown).argmin(1)
        values = self.in_source()[nearest]
        values[(slices < shown.min()) | (slices > shown.max())] = np.nan
        return values

    def top_tubes(self, num: int = NUM_TUBES) -> list[Tube]:
        """The tubelets with the largest mean relevance, best first."""
        size = self.relevance.shape
        corners = itertools.product(*(range(0, n, step) for n, step in zip(size, self.tubelet, strict=True)))
        tubes = [self._tube((t, top, left)) for t, top, left in corners]
        return sorted(tubes, key=lambda tube: -tube.relevance)[:num]

    def _tube(self, corner: Grid) -> Tube:
        ends = [min(n, at + step) for n, at, step in zip(self.relevance.shape, corner, self.tubelet, strict=True)]
        block = self.relevance[tuple(slice(at, end) for at, end in zip(corner, ends, strict=True))]
        top, left, bottom, right = self.view.box_in_source(corner[1], corner[2], ends[1], ends[2])
        frames = slice(corner[0], ends[0])
        return Tube(
            start_seconds=min(self.view.seconds[frames]),
            end_seconds=max(self.view.until[frames]),
            top=top,
            left=left,
            bottom=bottom,
            right=right,
            relevance=float(block.mean()),
        )

    def summary(self) -> dict[str, Any]:
        """What is said beside the map: for JSON."""
        return {
            "source": self.source,
            "head": self.head,
            "label": self.label,
            "prob": self.prob,
            "method": self.method,
            "meaning": MEANING[self.method],
            "tested": self.tested,
            "fill": self.config.fill,
            "num_steps": self.config.num_steps,
            "tubelet": list(self.tubelet),
            "logit_difference": self.logit_difference,
            "completeness_gap": self.completeness_gap,
            "seconds": list(self.view.seconds),
            "time_curve": self.time_curve.tolist(),
            "top_tubes": [vars(tube) for tube in self.top_tubes()],
            "notes": list(self.view.notes),
        }
