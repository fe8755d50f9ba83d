"""All figures of the films of a split, by the keys of ``metrics.json``."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from tubelet.tasks.metric import mean_of
from tubelet.tasks.per_frame.rules import BoutRule
from tubelet.tasks.per_frame.scores import (
    IOUS,
    Figure,
    SplitScores,
    average_precisions,
    binary_counts,
    f1,
    frame_f1,
    kappa,
    resampled,
)
from tubelet.tasks.per_frame.targets import UNLABELED, seen_classes

_SETS, _SEED, _MOST_VALUES = 1000, 20_240_607, 20_000_000  # resampled sets of films, and values of all of them


def bout_key(iou: float) -> str:
    """``bout_f1_50`` for 0.5."""
    return f"bout_f1_{round(100 * iou)}"


def figures_of(scores: SplitScores) -> dict[str, Figure]:
    """Each figure as a function of how often every film counts."""
    matches = {iou: scores.bout_counts(iou) for iou in IOUS}

    def frame_map(weights: Float[np.ndarray, " F"]) -> float | None:
        (precisions,) = average_precisions(scores, [weights])
        return mean_of(precisions)

    def of_counts(weights: Float[np.ndarray, " F"]) -> Float[np.ndarray, "C 4"]:
        return np.einsum("f,fck->ck", weights, scores.counts)

    def bout_f1(weights: Float[np.ndarray, " F"], iou: float) -> float | None:
        return mean_of(f1(*np.einsum("f,fck->kc", weights, matches[iou])))

    def boundary(weights: Float[np.ndarray, " F"]) -> float | None:
        errors = [e for times, of_film in zip(weights, scores.errors, strict=True) for e in of_film * int(times)]
        return float(np.median(errors)) if errors else None

    return {
        "frame_mean_average_precision": frame_map,
        "macro_f1": lambda weights: mean_of(frame_f1(of_counts(weights))),
        **{bout_key(iou): partial(bout_f1, iou=iou) for iou in IOUS},
        "boundary_error_seconds": boundary,
        "kappa": lambda weights: kappa(of_counts(weights)),
    }


def intervals(scores: SplitScores) -> dict[str, list[float]]:
    """The 95 % interval of each figure by resampling films."""
    num_steps = sum(map(len, scores.seen))
    figures = figures_of(scores)
    few = max(20, min(_SETS, _MOST_VALUES // max(1, num_steps * len(scores.judged))))
    slow = {"frame_mean_average_precision": figures.pop("frame_mean_average_precision")}
    return resampled(slow, len(scores.films), few, _SEED) | resampled(figures, len(scores.films), _SETS, _SEED)


def measure(scores: SplitScores, *, with_intervals: bool) -> dict[str, Any]:
    """Every figure, as plain data."""
    everyone = np.ones(len(scores.films))
    (precisions,) = average_precisions(scores, [everyone])
    values: dict[str, Any] = {name: figure(everyone) for name, figure in figures_of(scores).items()}
    error, names = values["boundary_error_seconds"], scores.judged
    num_steps = sum(map(len, scores.seen))
    shares = np.concatenate(scores.seen).mean(axis=0)
    changes = [film.shift_change for film in scores.films if film.shift_change is not None]
    return {
        "labels": list(names),
        "num_videos": len(scores.films),
        "num_steps": num_steps,
        **values,
        "per_class": dict(zip(names, precisions, strict=True)),
        "class_counts": {name: sum(len(film[c]) for film in scores.true) for c, name in enumerate(names)},
        "frame_f1": dict(zip(names, frame_f1(scores.counts.sum(axis=0)), strict=True)),
        "bout_f1": {
            str(iou): dict(zip(names, f1(*scores.bout_counts(iou).sum(axis=0).T), strict=True)) for iou in IOUS
        },
        "boundary_error_steps": None if error is None else error / scores.step_seconds,
        "boundary_error_frames": float(np.median(scores.frame_errors)) if scores.frame_errors else None,
        "step_seconds": scores.step_seconds,
        "bouts": bout_summary(scores),
        "loss": log_loss(scores),
        "prevalence_baseline": float(shares[shares > 0].mean()) if (shares > 0).any() else 0.0,
        "shift_change": mean_of(changes),
        "rules": rules_by_name(scores.names[scores.first :], scores.rules[scores.first :]),
        "observers": agreement(scores),
        "intervals": intervals(scores) if with_intervals else {},
    }


def bout_summary(scores: SplitScores) -> dict[str, dict[str, int | float]]:
    """Number and seconds of the bouts that are there and that were found, and the bias of both, by behavior."""
    summary: dict[str, dict[str, int | float]] = {}
    for c, name in enumerate(scores.judged):
        true = [span for film in scores.true for span in film[c]]
        found = [span for film in scores.found for span in film[c]]
        seconds, found_seconds = (float(sum(stop - start for start, stop in spans)) for spans in (true, found))
        summary[name] = {
            "num_true": len(true),
            "num_found": len(found),
            "num_bias": len(found) - len(true),
            "seconds_true": seconds,
            "seconds_found": found_seconds,
            "seconds_bias": found_seconds - seconds,
        }
    return summary


def log_loss(scores: SplitScores) -> float:
    """Mean over labeled steps, as training has it: cross entropy, or that of each behavior averaged."""
    if scores.one:
        chosen = [f.probs[np.arange(len(f.codes)), np.maximum(f.codes, 0)][f.codes != UNLABELED] for f in scores.films]
        values = np.concatenate(chosen)
    else:
        probs, seen = np.concatenate(scores.probs), np.concatenate(scores.seen)
        values = np.where(seen, probs, 1 - probs)
    return float(-np.log(np.clip(values, np.finfo(np.float32).eps / 2, None)).mean())


def agreement(scores: SplitScores) -> dict[str, Any]:
    """How far further observers agree with the first: kappa and F1 of steps; empty where there is no other."""
    counts = []
    for film in scores.films:
        first = seen_classes(film.codes, len(scores.names), one=scores.one)[:, scores.first :]
        for other in film.others:
            both = (film.codes != UNLABELED) & (other != UNLABELED)
            second = seen_classes(other, len(scores.names), one=scores.one)[:, scores.first :]
            counts.append(binary_counts(second[both], first[both]))
    if not counts:
        return {}
    total = np.sum(counts, axis=0)
    return {"num_films": len(counts), "kappa": kappa(total), "macro_f1": mean_of(frame_f1(total))}


def rules_by_name(names: tuple[str, ...], rules: tuple[BoutRule, ...]) -> dict[str, dict[str, float]]:
    """The rules as plain data."""
    return {name: dict(vars(rule)) for name, rule in zip(names, rules, strict=True)}
