"""What ``explain_truth.py`` measures of one model and one method, clip by clip.

T, H, W  clip   n  clips
"""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import torch
from explain_set import PROTOCOL, explained_clips, view_of
from scipy import stats
from torch import Tensor, nn

from tubelet.data.clips.normalize import to_input
from tubelet.errors import TubeletError
from tubelet.explain.config import ExplainConfig, Method
from tubelet.explain.explain import explain_view
from tubelet.explain.fill import filled
from tubelet.models.stages import model_inputs

BLOCK = (2, 8, 8)  # frames, rows, columns that are deleted and inserted at once
STEPS = 16  # of a deletion or insertion curve
RANDOM_ORDERS = 4  # per clip
NUM_RANDOMIZED = 8  # clips of the randomization check: of those that a method is judged on

Clips = list[tuple[np.ndarray, np.ndarray, int]]


def relevance_of(model: nn.Module, method: Method, clip: np.ndarray, label: int) -> tuple[np.ndarray, float | None]:
    """A map T H W, and of integrated gradients how far its sum is from the difference of the logit, as a share."""
    config = ExplainConfig(method=method, tubelet=BLOCK if method == "occlusion" else None)
    name = PROTOCOL.labels["label"][label]
    found = explain_view(model, view_of(clip), PROTOCOL, config, source="clip", class_name=name)
    gap = found.completeness_gap
    return found.relevance, abs(gap / found.logit_difference) if gap is not None and found.logit_difference else None


def measured(model: nn.Module, method: Method, seed: int, num_clips: int) -> dict[str, Any]:
    """Lists with a value per clip, or why the method has none."""
    clips = explained_clips(seed, num_clips)
    maps, gaps = [], []
    try:
        for clip, _, label in clips:
            relevance, gap = relevance_of(model, method, clip, label)
            maps.append(relevance)
            gaps += [] if gap is None else [gap]
    except TubeletError as error:
        return {"refused": str(error)}
    curves = [
        curves_of(model, clip, label, _order(relevance))
        for (clip, _, label), relevance in zip(clips, maps, strict=True)
    ]
    pairs = [(relevance, tube) for relevance, (_, tube, _) in zip(maps, clips, strict=True)]
    return {
        "concentration": [concentration(*pair) for pair in pairs],
        "pointing_space": [_points(relevance.sum(0), tube.any(0)) for relevance, tube in pairs],
        "pointing_time": [_points(relevance.sum((1, 2)), tube.any((1, 2))) for relevance, tube in pairs],
        "deletion": [deletion for deletion, _ in curves],
        "insertion": [insertion for _, insertion in curves],
        "gaps": gaps,
    } | randomized(model, method, clips[-NUM_RANDOMIZED:], maps[-NUM_RANDOMIZED:])


def random_orders(model: nn.Module, seed: int, num_clips: int) -> dict[str, list[float]]:
    """Deletion and insertion in random order: per clip the mean of ``RANDOM_ORDERS``."""
    found = []
    for i, (clip, _, label) in enumerate(explained_clips(seed, num_clips)):
        rng = np.random.default_rng((seed, i))
        num = int(np.prod([n // b for n, b in zip(clip.shape[:3], BLOCK, strict=True)]))
        orders = [curves_of(model, clip, label, rng.permutation(num)) for _ in range(RANDOM_ORDERS)]
        found.append(np.mean(orders, axis=0))
    return {"deletion": [float(pair[0]) for pair in found], "insertion": [float(pair[1]) for pair in found]}


def concentration(relevance: np.ndarray, tube: np.ndarray) -> float:
    """Share of the positive relevance inside the tube over its share of the volume; 1 where there is none."""
    positive = relevance.clip(min=0)
    total = positive.sum()
    return float(positive[tube].sum() / total / tube.mean()) if total else 1.0


@torch.no_grad()
def curves_of(model: nn.Module, clip: np.ndarray, label: int, order: np.ndarray) -> tuple[float, float]:
    """Area under the curve of the log-odds of the class while blocks are deleted, and while they are inserted.

    Source: Petsiuk, Das and Saenko, "RISE" (BMVC 2018, arXiv 1806.07421) section 4. Deviation: log-odds, where theirs
    is the probability, which a sure model holds at one until little is left.
    """
    pixels = to_input(view_of(clip).pixels, PROTOCOL, torch.device("cpu"))  # C T H W
    empty, rank = filled(pixels, "mean"), np.empty(len(order))
    rank[order] = np.arange(len(order))
    grid = [n // b for n, b in zip(pixels.shape[1:], BLOCK, strict=True)]
    where = torch.from_numpy(rank.reshape(grid))
    for axis, size in enumerate(BLOCK):
        where = where.repeat_interleave(size, axis)  # T H W, after how many blocks a pixel goes
    gone = where < torch.linspace(0, len(order), STEPS + 1).view(-1, 1, 1, 1)  # steps T H W
    areas = []
    for hidden in (gone, ~gone):
        shown = torch.where(hidden[:, None], empty, pixels)  # steps C T H W
        numbers = torch.arange(pixels.shape[1]).expand(len(shown), -1)
        logits = model(*model_inputs(model, shown, numbers))
        odds = logits[:, label] - logits[:, 1 - label]
        areas.append(float((odds[1:] + odds[:-1]).mean() / 2))
    return areas[0], areas[1]


def randomized(model: nn.Module, method: Method, clips: Clips, maps: list[np.ndarray]) -> dict[str, Any]:
    """Rank correlation of a map with that of the same model, layers shuffled from the top down.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018, arXiv 1810.03292) section 3. Deviation: the
    values of every tensor change places, which keeps their scale and leaves no layer at zero.
    """
    other, layers = copy.deepcopy(model), layers_from_top(model)
    generator = torch.Generator().manual_seed(0)
    levels = sorted({1, -(-len(layers) // 3), -(-2 * len(layers) // 3), len(layers)})
    correlations, done, last = {}, 0, list[float]()
    for level in levels:
        for name in (name for layer in layers[done:level] for name in layer):
            _shuffle(other.get_parameter(name), generator)
        done = level
        found = [relevance_of(other, method, clip, label)[0] for clip, _, label in clips]
        correlations[f"{level} of {len(layers)}"] = [_alike(a, b) for a, b in zip(maps, found, strict=True)]
        last = [concentration(relevance, tube) for relevance, (_, tube, _) in zip(found, clips, strict=True)]
    return {"randomized": correlations, "concentration_of_shuffled": last}


def layers_from_top(model: nn.Module) -> list[list[str]]:
    """Names of parameters by layer, in the reverse of the order in which the model defines them."""
    layers: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        numbered = re.match(r"(.*?\.\d+)\.", name)
        layers.setdefault(numbered.group(1) if numbered else name.rpartition(".")[0] or name, []).append(name)
    return list(layers.values())[::-1]


def _shuffle(parameter: Tensor, generator: torch.Generator) -> None:
    with torch.no_grad():
        order = torch.randperm(parameter.numel(), generator=generator)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _alike(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation; 0 where one of them is the same everywhere."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first.ravel(), second.ravel()).statistic)


def _points(values: np.ndarray, inside: np.ndarray) -> float:
    """Share of the largest values that lie inside: several are as large where a token covers several pixels."""
    return float(inside[values == values.max()].mean())


def _order(relevance: np.ndarray) -> np.ndarray:
    """Numbers of the blocks, the most relevant first."""
    (n_t, t), (n_h, h), (n_w, w) = ((n // b, b) for n, b in zip(relevance.shape, BLOCK, strict=True))
    means = relevance.reshape(n_t, t, n_h, h, n_w, w).mean((1, 3, 5))
    return np.argsort(-means.ravel(), kind="stable")
