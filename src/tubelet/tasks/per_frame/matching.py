"""Bouts that were found beside those that are there: which are the same by intersection over union (IoU) in time.

Pairs are matched from the best IoU on, each bout once, as detection in time is scored (ActivityNet, Caba Heilbron et
al. 2015); without a ranking of confidence, F1 takes the place of average precision (Farha and Gall 2019, F1@k).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tubelet.tasks.per_frame.targets import Span


def overlaps(found: Sequence[Span], true: Sequence[Span]) -> Float[np.ndarray, "F T"]:
    """IoU of each found bout with each true one."""
    if not found or not true:
        return np.zeros((len(found), len(true)))
    a, b = np.array(found)[:, None], np.array(true)[None]
    common = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    union = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    return np.clip(common, 0, None) / np.maximum(union, 1e-12)


def matched(found: Sequence[Span], true: Sequence[Span], least_iou: float) -> list[tuple[int, int]]:
    """Pairs (found, true) with at least this IoU, the best first."""
    iou, pairs = overlaps(found, true), []
    while iou.size and iou.max() >= least_iou:
        place = np.unravel_index(int(iou.argmax()), iou.shape)
        pairs.append((int(place[0]), int(place[1])))
        iou[place[0], :], iou[:, place[1]] = -1.0, -1.0
    return pairs


def boundary_pairs(found: Sequence[Span], true: Sequence[Span], least_iou: float) -> list[tuple[float, float]]:
    """The starts and the stops of each matched pair, found and true, in seconds."""
    pairs = matched(found, true, least_iou)
    return [(found[f][side], true[t][side]) for f, t in pairs for side in (0, 1)]
