"""Nested cross-validation: each fold is the test part once, and its head is chosen on the other folds.

N  clips   K  classes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tubelet.probing.config import ProbeConfig
from tubelet.probing.heads import (
    LinearSetting,
    Loss,
    NeighborSetting,
    Setting,
    Standardization,
    linear_logits,
    neighbor_logits,
    settings_of,
    train_linear,
)


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Labeled features of all clips."""

    features: Float[Tensor, "N V D"]
    targets: Float[Tensor, "N K"]  # 1 where a clip has the class
    folds: Int[np.ndarray, " N"]
    loss: Loss

    def part(self, rows: Sequence[int] | np.ndarray) -> Clips:
        """Some of the clips."""
        index = torch.as_tensor(np.asarray(rows))
        return Clips(
            features=self.features[index],
            targets=self.targets[index],
            folds=self.folds[np.asarray(rows)],
            loss=self.loss,
        )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What cross-validation found."""

    logits: Float[Tensor, "N K"]  # of each clip, by a head that has not seen its fold
    chosen: tuple[Setting, ...]  # the head of each fold, in their order
    winner: Setting  # the head that is best over all folds, for the checkpoint


def all_logits(train: Clips, test: Clips, settings: Sequence[Setting]) -> Float[Tensor, "S M K"]:
    """The logits of test clips by every setting, trained on ``train``."""
    standardize = Standardization.of(train.features)
    known, asked = standardize(train.features), standardize(test.features)
    linear = [setting for setting in settings if isinstance(setting, LinearSetting)]
    of_linear = iter(())
    if linear:
        of_linear = iter(linear_logits(asked, *train_linear(known, train.targets, linear, train.loss)))
    found = [
        neighbor_logits(known, train.targets, asked, setting.neighbors, train.loss)
        if isinstance(setting, NeighborSetting)
        else next(of_linear)
        for setting in settings
    ]
    return torch.stack(found)


def measure(clips: Clips, config: ProbeConfig) -> Measured:
    """Choose and test a head for every fold.

    The head of a fold is the one with the least loss over the other folds, each of which is held out in turn from the
    rest. The winner is chosen in the same way over all folds.
    """
    settings, folds = settings_of(config), sorted(set(clips.folds.tolist()))
    logits = torch.zeros_like(clips.targets)
    chosen = list[Setting]()
    for fold in folds:
        train, test = np.flatnonzero(clips.folds != fold), np.flatnonzero(clips.folds == fold)
        setting = choose(clips.part(train), settings)
        logits[torch.as_tensor(test)] = all_logits(clips.part(train), clips.part(test), [setting])[0]
        chosen.append(setting)
    winner = choose(clips, settings)
    return Measured(logits=logits, chosen=tuple(chosen), winner=winner)


def choose(clips: Clips, settings: Sequence[Setting]) -> Setting:
    """The setting with the least cross entropy over the folds of ``clips``, each held out in turn.

    On few clips cross entropy tells heads apart that answer alike, and varies less than accuracy.
    """
    found = torch.zeros(len(settings), *clips.targets.shape)
    for fold in sorted(set(clips.folds.tolist())):
        train, held = np.flatnonzero(clips.folds != fold), np.flatnonzero(clips.folds == fold)
        found[:, torch.as_tensor(held)] = all_logits(clips.part(train), clips.part(held), settings)
    losses = [loss_of(logits, clips) for logits in found]
    return settings[losses.index(min(losses))]


def score(logits: Float[Tensor, "N K"], clips: Clips) -> float:
    """Accuracy; where clips may have several labels, the mean over folds of the mean average precision of the classes
    that a fold has."""
    if clips.loss == "softmax":
        return float((logits.argmax(-1) == clips.targets.argmax(-1)).double().mean())
    of_folds = []
    for fold in np.unique(clips.folds):
        rows = torch.as_tensor(np.flatnonzero(clips.folds == fold))
        scores, targets = logits[rows], clips.targets[rows]
        known = [k for k in range(targets.shape[1]) if targets[:, k].any()]
        of_folds += [np.mean([_average_precision(scores[:, k], targets[:, k]) for k in known])] if known else []
    return float(np.mean(of_folds))


def loss_of(logits: Float[Tensor, "N K"], clips: Clips) -> float:
    """Cross entropy of the true class or classes."""
    if clips.loss == "softmax":
        return float(-(logits.log_softmax(-1) * clips.targets).sum(-1).mean())
    return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, clips.targets))


def _average_precision(scores: Float[Tensor, " N"], targets: Float[Tensor, " N"]) -> float:
    ordered = targets[scores.argsort(descending=True)]
    precision = ordered.cumsum(0) / torch.arange(1, len(ordered) + 1)
    return float((precision * ordered).sum() / ordered.sum())


def few_shot(clips: Clips, chosen: Sequence[Setting], config: ProbeConfig) -> dict[int, dict[str, float]]:
    """Score with so many training clips per class: mean and standard deviation over draws, each over all folds.

    Args:
        chosen: the head of each fold, which was chosen on all clips of the other folds and on none of its own.
    """
    curve = {}
    for number in config.few_shot:
        scores = []
        for draw in range(config.num_draws):
            rng, logits = np.random.default_rng([config.seed, number, draw]), torch.zeros_like(clips.targets)
            for fold, setting in zip(sorted(set(clips.folds.tolist())), chosen, strict=True):
                train, test = np.flatnonzero(clips.folds != fold), np.flatnonzero(clips.folds == fold)
                some = _drawn(clips, train, number, rng)
                logits[torch.as_tensor(test)] = all_logits(clips.part(some), clips.part(test), [setting])[0]
            scores.append(score(logits, clips))
        sd = float(np.std(scores, ddof=1)) if config.num_draws > 1 else 0.0
        curve[number] = {"mean": float(np.mean(scores)), "sd": sd}
    return curve


def _drawn(clips: Clips, train: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """So many training clips of each class, all where there are fewer."""
    found: dict[int, None] = {}
    for k in range(clips.targets.shape[1]):
        rows = train[clips.targets[torch.as_tensor(train), k].numpy() > 0]
        found |= dict.fromkeys(rng.permutation(rows)[:number].tolist())
    return np.array(sorted(found))


def most_chosen(chosen: Sequence[str]) -> str:
    """The head that most folds chose, with how many."""
    name, count = Counter(chosen).most_common(1)[0]
    return f"{name} ({count} of {len(chosen)} folds)"
