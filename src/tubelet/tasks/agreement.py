"""How far another computation of a model may answer otherwise: what low precision is allowed, by task.

N  videos    K  classes of all heads together
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_SHARE = 0.99  # of videos with the same first label: the upper end of the interval must reach it
FEW_VIDEOS = 30  # below, an interval or a mean over ranks says little, and no clear difference is allowed
CLEAR_MARGIN = 0.1  # of probability
MAP_POINTS = 0.005  # mean average precision may move by half a point
_NORMAL_95 = 1.959964  # two-sided quantile


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the answers of two computations of one model compare, and why they are not the same, if they are not."""

    num_videos: int
    num_equal: int  # with the same first label
    largest_margin: float  # among the others: the first probability less that of the other's label
    refusal: str = ""  # what differs by more than the task allows, and how much that is; empty means nothing
    map_change: float | None = None  # by how much mean average precision differs; None where the task has none

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share of equal first labels."""
        return wilson(self.num_equal, self.num_videos)


def wilson(equal: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    z, share = _NORMAL_95, equal / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def first_label_refusal(equal: int, total: int, margin: float) -> str:
    """Why so few equal first labels are not allowed; empty where they are."""
    lowest, highest = wilson(equal, total)
    where = f"{equal} of {total} videos get the label of torch"
    if total < FEW_VIDEOS and margin > CLEAR_MARGIN:
        return (
            f"{where}, and one of the others is off by {margin:.2f} of probability (fewer than {FEW_VIDEOS} videos "
            f"allow {CLEAR_MARGIN}); use fp32, or more videos"
        )
    if total >= FEW_VIDEOS and highest < LEAST_SHARE:
        return f"{where} (95 % interval {lowest:.3f} to {highest:.3f}), where {LEAST_SHARE} is asked for; use fp32"
    return ""
