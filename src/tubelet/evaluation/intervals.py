"""Intervals of a share of right answers where videos come in groups: the groups are resampled, not the videos.

Videos of one group (a film, a patient) are right or wrong together, so that an interval over videos would be too
narrow. The cluster bootstrap draws groups with replacement (Davison and Hinkley 1997, section 3.8).

    N  videos   G  groups   R  resampled sets
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tubelet.data.manifest.groups import units_of
from tubelet.data.manifest.manifest import Sample
from tubelet.tasks.video_task import VideoTask

NUM_SAMPLES = 2000  # R
LEVEL = 0.95
SEED = 20_240_607  # of the draws
_MAX_WEIGHTS = 20_000_000  # R * N: fewer sets of a very large split


def group_weights(groups: Sequence[str], num_samples: int = NUM_SAMPLES, seed: int = SEED) -> Float[np.ndarray, "R N"]:
    """How often each video is in each resampled set. The videos of one group are drawn together."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    group_of = np.array([names[group] for group in groups], dtype=np.int64)
    share = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), share, size=num_samples)
    return np.asarray(drawn[:, group_of], dtype=np.float64)


def num_resampled(num_videos: int) -> int:
    """Resampled sets of a split: fewer of a very large one."""
    return max(1, min(NUM_SAMPLES, _MAX_WEIGHTS // num_videos))


def group_figures(task: VideoTask, samples: Sequence[Sample], probs: Float[Tensor, "N K"]) -> dict[str, object]:
    """What ``metrics.json`` holds of groups: ``num_groups``, and by metric the 95 % interval over them.

    Empty where every video is a group of its own. A metric whose value is the same in all groups has no interval,
    because resampling them shows no spread.
    """
    groups = units_of(samples)
    if len(set(groups)) == len(groups):
        return {}
    intervals = {}
    metrics = [metric for metric in task.metrics if metric.is_right_answers and metric.resampled is not None]
    for metric in metrics if len(set(groups)) > 1 else ():
        assert metric.resampled is not None  # just chosen
        weights = group_weights(groups, num_resampled(len(groups)))
        labels = task.targets([sample.labels for sample in samples]).numpy()
        values = metric.resampled(probs.double().numpy(), labels, weights)
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        if low < high:
            intervals[metric.key] = [float(low), float(high)]
    return {"num_groups": len(set(groups)), "intervals": intervals}
