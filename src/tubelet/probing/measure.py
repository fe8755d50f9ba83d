"""Nested cross-validation: each fold is the test part once, and its head is chosen on the other folds.

N  clips   K  classes
"""

from __future__ import annotations

import itertools
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
    ReadingSetting,
    Setting,
    Standardization,
    linear_logits,
    neighbor_logits,
    settings_of,
    train_linear,
)
from tubelet.probing.reading import Sequences, by_model, reading_logits, train_reading


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Labeled features of all clips."""

    features: Float[Tensor, "N V D"]
    targets: Float[Tensor, "N K"]  # 1 where a clip has the class
    folds: Int[np.ndarray, " N"]
    loss: Loss
    sequences: Sequences | None = None  # of all clips, also in a part
    rows: Int[Tensor, " N"] | None = None  # of the clips of a part in ``sequences``

    def part(self, rows: Sequence[int] | np.ndarray) -> Clips:
        """Some of the clips."""
        index = torch.as_tensor(np.asarray(rows))
        return Clips(
            features=self.features[index],
            targets=self.targets[index],
            folds=self.folds[np.asarray(rows)],
            loss=self.loss,
            sequences=self.sequences,
            rows=self.index[index],
        )

    @property
    def index(self) -> Int[Tensor, " N"]:
        """The row of each clip in ``sequences``."""
        return torch.arange(len(self.targets)) if self.rows is None else self.rows


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What cross-validation found."""

    logits: Float[Tensor, "N K"]  # of each clip, by a head that has not seen its fold
    chosen: tuple[Setting, ...]  # the head of each fold, in their order
    winner: Setting  # the head that is best over all folds
    losses: dict[Setting, float]  # of every head over all folds


def all_logits(train: Clips, test: Clips, settings: Sequence[Setting]) -> Float[Tensor, "S M K"]:
    """The logits of test clips by every setting, trained on ``train``."""
    standardize = Standardization.of(train.features)
    known, asked = standardize(train.features), standardize(test.features)
    linear = [setting for setting in settings if isinstance(setting, LinearSetting)]
    found: dict[Setting, Float[Tensor, "M K"]] = {}
    if linear:
        logits = linear_logits(asked, *train_linear(known, train.targets, linear, train.loss))
        found |= dict(zip(linear, logits, strict=True))
    for setting in settings:
        if isinstance(setting, NeighborSetting):
            found[setting] = neighbor_logits(known, train.targets, asked, setting.neighbors, train.loss)
    for group in by_model([setting for setting in settings if isinstance(setting, ReadingSetting)]):
        assert train.sequences is not None
        heads, scale = train_reading(train.sequences, train.index, train.targets, group, train.loss)
        for setting, head in zip(group, heads, strict=True):
            found[setting] = reading_logits(train.sequences, test.index, setting, head, scale)
    return torch.stack([found[setting] for setting in settings])


def measure(clips: Clips, config: ProbeConfig) -> Measured:
    """Choose and test a head for every fold.

    The head of a fold is the one with the least loss over the other folds, each of which is held out in turn from the
    rest. The winner is chosen in the same way over all folds. A head that was trained without two folds serves the
    choice for both.
    """
    settings, folds = settings_of(config), sorted(set(clips.folds.tolist()))
    rows = {fold: torch.as_tensor(np.flatnonzero(clips.folds == fold)) for fold in folds}
    tested = torch.zeros(len(settings), *clips.targets.shape)  # of each clip, by heads without its fold
    for fold in folds:
        tested[:, rows[fold]] = _held_out(clips, settings, (fold,))
    inner = {fold: torch.zeros_like(tested) for fold in folds}  # the same, by heads without this fold either
    for one, other in itertools.combinations(folds, 2):
        held = np.isin(clips.folds, (one, other))
        found = torch.zeros_like(tested)
        found[:, torch.as_tensor(held)] = _held_out(clips, settings, (one, other))
        inner[one][:, rows[other]] = found[:, rows[other]]
        inner[other][:, rows[one]] = found[:, rows[one]]
    logits, chosen = torch.zeros_like(clips.targets), list[Setting]()
    for fold in folds:
        others = np.flatnonzero(clips.folds != fold)
        losses = _losses(settings, inner[fold][:, torch.as_tensor(others)], clips.part(others))
        chosen.append(min(losses, key=losses.__getitem__))
        logits[rows[fold]] = tested[settings.index(chosen[-1])][rows[fold]]
    losses = _losses(settings, tested, clips)
    return Measured(logits=logits, chosen=tuple(chosen), winner=min(losses, key=losses.__getitem__), losses=losses)


def _held_out(clips: Clips, settings: Sequence[Setting], held: tuple[int, ...]) -> Float[Tensor, "S M K"]:
    """The logits of the clips of these folds, by heads that were trained on the others."""
    is_held = np.isin(clips.folds, held)
    return all_logits(clips.part(np.flatnonzero(~is_held)), clips.part(np.flatnonzero(is_held)), settings)


def num_passes(num_folds: int) -> int:
    """How often :func:`measure` trains every head."""
    return num_folds + num_folds * (num_folds - 1) // 2


def _losses(settings: Sequence[Setting], logits: Float[Tensor, "S N K"], clips: Clips) -> dict[Setting, float]:
    """The cross entropy of each head.

    On few clips cross entropy tells heads apart that answer alike, and varies less than accuracy.
    """
    return {setting: loss_of(of, clips) for setting, of in zip(settings, logits, strict=True)}


def choose(clips: Clips, settings: Sequence[Setting]) -> Setting:
    """The setting with the least cross entropy over the folds of ``clips``, each held out in turn."""
    found = torch.zeros(len(settings), *clips.targets.shape)
    for fold in sorted(set(clips.folds.tolist())):
        found[:, torch.as_tensor(np.flatnonzero(clips.folds == fold))] = _held_out(clips, settings, (fold,))
    losses = _losses(settings, found, clips)
    return min(losses, key=losses.__getitem__)


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
        if number > training_counts(clips.folds, clips.targets.numpy()).max():
            continue  # every draw would be all clips
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


def training_counts(folds: Int[np.ndarray, " N"], labels: Float[np.ndarray, "N K"]) -> Int[np.ndarray, "F K"]:
    """Clips of each class that the training part of each fold has."""
    return np.stack([labels[folds != fold].sum(0).astype(int) for fold in sorted(set(folds.tolist()))])


def few_shot_notes(
    folds: Int[np.ndarray, " N"], labels: Float[np.ndarray, "N K"], names: Sequence[str], config: ProbeConfig
) -> list[str]:
    """A line for each point of the learning curve that classes have too few clips for."""
    counts, lines = training_counts(folds, labels), []
    for number in config.few_shot:
        fewer = [f"'{name}' {few}" for name, few in zip(names, counts.min(0).tolist(), strict=True) if few < number]
        if number > counts.max():
            lines.append(f"few-shot {number}: left out, no class has more than {counts.max()} training clips")
        elif fewer:
            lines.append(f"few-shot {number}: of some classes all there are in a fold: {', '.join(fewer)}")
    return lines


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
