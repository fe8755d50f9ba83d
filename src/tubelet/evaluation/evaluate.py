"""Evaluates a model on a split. Every video goes through the one prediction path and counts exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.data.layouts.rows import some
from tubelet.data.loading.config import FAILURE_BUDGET
from tubelet.data.loading.loader import Loader
from tubelet.data.loading.video_notes import VideoNotes
from tubelet.data.manifest.failure_budget import UNREADABLE, FailureBudget
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import DataError, ScoresNotFinite
from tubelet.evaluation.intervals import group_figures
from tubelet.evaluation.measured_split import MeasuredSplit
from tubelet.evaluation.scored_videos import ScoredVideos, merged
from tubelet.evaluation.scores import scores_csv
from tubelet.files import write_atomically
from tubelet.inference.view_averaging import VideoScores, joined, predict_views
from tubelet.protocol import UNCALIBRATED, Calibration, Protocol
from tubelet.session.session import Session
from tubelet.tasks.choose import task_for
from tubelet.tasks.video_task import VideoTask
from tubelet.types import Batch, Mode, Precision

METRICS = "metrics.json"


@dataclass(frozen=True, kw_only=True)
class Evaluation(MeasuredSplit):
    """The metrics of a model on the videos of a split, with their scores."""

    task: VideoTask
    scores: VideoScores  # of these videos
    labels: Tensor  # as in ``Batch``
    calibration: Calibration  # that the probabilities come of
    scored: str | None = None  # which rows of the data, in one line; None where the caller knows
    seen: tuple[str, ...] | None = None  # videos that the model was trained on; None where that was not looked at
    rejection: Mapping[str, Any] = field(default_factory=dict)  # (``tubelet.evaluation.rejection``)

    @property
    def calibrated(self) -> dict[str, Any]:
        """The temperatures, and loss and calibration error without and with them; empty where none was learned."""
        if not self.calibration.num_videos:
            return {}
        before = self.task.measure(self.scores.uncalibrated, self.labels)
        compared = [key for key in ("loss", "calibration_error") if key in self.metrics]
        temperatures = self.calibration.temperatures or (1.0,) * len(self.task.labels)
        return {
            "temperatures": dict(zip(self.task.labels, temperatures, strict=True)),
            "num_validation_videos": self.calibration.num_videos,
            "before": {key: before[key] for key in compared},
            "after": {key: self.metrics[key] for key in compared},
        }

    @property
    def probs(self) -> Float[Tensor, "N K"]:
        """Probabilities of the videos, calibrated."""
        return self.scores.probs

    @property
    def seen_text(self) -> str:
        """Which videos the model was trained on, for the summary."""
        return f", {len(self.seen)} of them SEEN IN TRAINING ({some(self.seen)})" if self.seen else ""

    @property
    def rejection_text(self) -> str:
        """What rejection makes of the videos, in one line."""
        (best, value), *_ = self.rejection["kept"].items()
        title, kept = self.task.entry(best).title, "not defined" if value is None else f"{value:.1%}"
        areas = ", ".join(f"{kind} {area:.3f}" for kind, area in self.rejection["auroc"].items())
        return (
            f"'none of these' for {self.rejection['num_rejected']} of {len(self.samples)} videos, {title} {kept} of "
            f"the others; AUROC against {areas} (score {self.rejection['score']})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return {
            **self.conditions,
            **({} if self.scored is None else {"scored": self.scored}),
            **({} if self.seen is None else {"num_seen": len(self.seen), "seen": list(self.seen)}),
            **self.metrics,
            **({"calibration": self.calibrated} if self.calibrated else {}),
            **({"rejection": dict(self.rejection)} if self.rejection else {}),
        }


Score = Callable[[Batch, Tensor], VideoScores]  # of the videos of a batch that were read


def scorer(
    model: nn.Module,
    protocol: Protocol,
    device: torch.device,
    precision: Precision = "fp32",
    mode: Mode = "end_to_end",
    calibration: Calibration = UNCALIBRATED,
) -> Score:
    """What scores batches. Arguments are those of ``evaluate``."""

    def score(batch: Batch, read: Tensor) -> VideoScores:
        numbers = batch.frame_numbers[read]
        return predict_views(
            model,
            batch.clips[read],
            protocol,
            device=device,
            precision=precision,
            frame_numbers=numbers,
            mode=mode,
            calibration=calibration,
        )

    return score


def evaluate(
    model: nn.Module,
    loader: Loader,
    protocol: Protocol,
    session: Session,
    *,
    split: str,
    precision: Precision = "fp32",
    mode: Mode = "end_to_end",
    calibration: Calibration = UNCALIBRATED,
    train: Manifest | None = None,
    failure_budget: float = FAILURE_BUDGET,
    out: Path | None = None,
) -> Evaluation:
    """Metrics of ``model`` (in eval mode, on the session's device) on the videos of a loader in views mode.

    Videos that cannot be read are left out of the metrics, counted and named.

    Args:
        model: maps clips to logits, of all heads side by side.
        loader: reads the split in order.
        protocol: says how pixels become input and how views are averaged.
        session: computes, notes each video that cannot be read, and reports how many videos are done. Of several
            processes, each has a loader of its own rows, and each gets the metrics of the whole split.
        split: its name, for messages and results.
        precision: bf16 computes under autocast.
        calibration: of the checkpoint; the default leaves probabilities as they are.
        mode: how clips go through a model with a per-frame stage (``tubelet.inference.view_averaging``).
        train: the training split, whose most frequent class is the majority baseline. None means that it is that of
            this split.
        failure_budget: share of the videos that may be unreadable (``tubelet.data.manifest.failure_budget``).
        out: folder for ``unreadable.csv``, which lists them. None means that no file is written.

    Raises:
        Stopped: a signal asked this process to stop.
        ScoresNotFinite: the model gives NaN.
        DataError: no video of the split could be read, or more could not than the failure budget allows; or the
            data have other heads or classes than the protocol.
    """
    manifest = loader.dataset.manifest
    check_labels(manifest, protocol)
    file = None if out is None else out / UNREADABLE
    budget = FailureBudget(manifest, failure_budget, f"videos of split '{split}'", file=file)

    def count(lines: dict[int, str]) -> None:
        for line in budget.add(lines).values():
            session.progress.note(f"not used: {line}")
        budget.check()

    notes = VideoNotes(loader.dataset.name, (len(manifest), f"videos of split '{split}'"), session)
    score = scorer(model, protocol, session.device, precision, mode, calibration)
    parts = session.processes.gather(_score_own(loader, score, count, notes, session))
    notes.end()
    count({row: line for part in parts for row, line in part.failed.items()})
    return measured(
        merged(parts), manifest, protocol, split=split, precision=precision, calibration=calibration, train=train
    )


def measured(
    whole: ScoredVideos,
    manifest: Manifest,
    protocol: Protocol,
    *,
    split: str,
    precision: Precision,
    calibration: Calibration,
    train: Manifest | None,
) -> Evaluation:
    """The metrics of scored videos. Arguments and errors are those of ``evaluate``."""
    if whole.scores is None:
        lines = "; ".join(list(whole.failed.values())[:4])
        raise DataError(f"none of the {len(manifest)} videos of split '{split}' could be read: {lines}")
    if num_wrong := int((~whole.scores.probs.isfinite()).any(dim=1).sum()):
        raise ScoresNotFinite(
            f"{num_wrong} of {len(whole.rows)} videos of split '{split}' have scores that are not finite; the weights "
            "of the model are damaged, or its training diverged"
        )
    task, samples = task_for(protocol, manifest), tuple(manifest.samples[row] for row in whole.rows)
    return Evaluation(
        task=task,
        metrics=task.measure(whole.scores.probs, whole.labels, train)
        | group_figures(task, samples, whole.scores.probs),
        samples=samples,
        scores=whole.scores,
        labels=whole.labels,
        calibration=calibration,
        failed=tuple(whole.failed.values()),
        views=protocol.views_text,
        averaging=protocol.averaging,
        precision=precision,
        split=split,
        data_fingerprint=manifest.fingerprint,
    )


def _score_own(
    loader: Loader,
    score: Score,
    count: Callable[[dict[int, str]], None],
    notes: VideoNotes,
    session: Session,
) -> ScoredVideos:
    """The rows of this process, in order."""
    rows, failed = list[int](), dict[int, str]()
    scores, labels = list[VideoScores](), []
    for batch in loader.eval_batches():
        read = batch.weight > 0
        lines = iter(batch.failures)
        new = {row: next(lines) for row, ok in zip(batch.index, read.tolist(), strict=True) if not ok}
        failed |= new
        count(new)
        notes.add_batch(batch)
        if read.any():
            scores.append(score(batch, read))
            labels.append(batch.labels[read])
            rows += [row for row, ok in zip(batch.index, read.tolist(), strict=True) if ok]
        session.advance(len(rows) + len(failed), loader.num_eval_videos, "evaluating")
    return ScoredVideos(
        rows=tuple(rows),
        scores=joined(scores) if scores else None,
        labels=torch.cat(labels) if labels else torch.empty(0),
        failed=failed,
    )


def check_labels(manifest: Manifest, protocol: Protocol) -> None:
    """Class indices of the data mean those of the model only where both have the same classes in the same order."""
    if manifest.is_numeric != bool(protocol.number_scales):
        kinds = ("numbers", "classes") if manifest.is_numeric else ("classes", "numbers")
        raise DataError(f"the labels of the data are {kinds[0]}, and the model gives {kinds[1]} (manifest.numbers)")
    if manifest.is_numeric:
        if tuple(manifest.class_names) != tuple(protocol.labels):
            raise DataError(
                f"the data have the numbers {', '.join(manifest.class_names)}, and the model gives "
                f"{', '.join(protocol.labels)}, in this order; name them with --label-column"
            )
        return
    ours, theirs = tuple(manifest.class_names.values()), tuple(protocol.labels.values())
    if ours != theirs or manifest.multi_label != protocol.multi_label:
        data, model = (
            ", ".join(f"{head} ({len(names)} classes)" for head, names in labels.items())
            + (", several labels per video" if several else "")
            for labels, several in (
                (manifest.class_names, manifest.multi_label),
                (protocol.labels, protocol.multi_label),
            )
        )
        raise DataError(f"the labels of the data, {data}, are not those of the model, in its order: {model}")


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """``metrics.json`` and ``scores.csv`` (``tubelet.evaluation.scores``) in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "scores.csv", scores_csv(evaluation.samples, evaluation.probs, evaluation.task))
    content = json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False)
    write_atomically(folder / METRICS, content + "\n")
