"""How good a model is on a split: every video through the one prediction path, counted exactly once."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.data.loader import Loader
from tubelet.data.manifest import Sample
from tubelet.errors import DataError
from tubelet.evaluation.metrics import Metrics, compute_metrics
from tubelet.files import write_atomically
from tubelet.inference.views import predict_views
from tubelet.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics with what they are worth nothing without: how many videos, which views, what failed."""

    metrics: Metrics
    samples: tuple[Sample, ...]  # the videos that were read, in manifest order
    probs: Float[Tensor, "N K"]
    failed: tuple[str, ...]  # one line per video that could not be read
    views: str  # temporal x spatial, for example 4x3
    averaging: str
    split: str
    data_fingerprint: str

    @property
    def summary(self) -> str:
        """One line that never separates an accuracy from its protocol."""
        m = self.metrics
        auroc = "" if m.auroc is None else f", AUROC {m.auroc:.3f}"
        return (
            f"{self.split}: top-1 {m.top1:.1%}, top-{m.top5_k} {m.top5:.1%}, mean class {m.mean_class:.1%}{auroc} "
            f"({m.num_videos} videos, {self.views} views, {len(self.failed)} failed; "
            f"always '{m.majority_label}' gives {m.majority_baseline:.1%})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return {
            "split": self.split,
            "num_failed": len(self.failed),
            "failed": list(self.failed),
            "views": self.views,
            "averaging": self.averaging,
            "data_fingerprint": self.data_fingerprint,
            **self.metrics.to_dict(),
        }


def evaluate(
    model: nn.Module,
    loader: Loader,
    protocol: Protocol,
    *,
    split: str,
    device: torch.device,
    precision: Literal["fp32", "bf16"] = "fp32",
    train_class_counts: Sequence[int] | None = None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Metrics of ``model`` (in eval mode, on ``device``) on the videos of a loader in views mode.

    Videos that cannot be read are left out of the metrics, counted and named.

    Raises:
        DataError: no video of the split could be read.
    """
    manifest = loader.dataset.manifest
    probs, labels, samples, failed = [], [], [], list[str]()
    for batch in loader.eval_batches():
        read = batch.weight > 0
        failed += batch.failures
        if read.any():
            probs.append(predict_views(model, batch.clips[read], protocol, device=device, precision=precision))
            labels.append(batch.labels[read])
            samples += [manifest.samples[i] for i, ok in zip(batch.index, read.tolist(), strict=True) if ok]
        on_batch(len(samples) + len(failed), len(manifest))
    if not probs:
        raise DataError(f"none of the {len(manifest)} videos of split '{split}' could be read: {'; '.join(failed[:4])}")
    (names,) = protocol.labels.values()
    scores = torch.cat(probs)
    return Evaluation(
        metrics=compute_metrics(scores, torch.cat(labels), names, train_class_counts=train_class_counts),
        samples=tuple(samples),
        probs=scores,
        failed=tuple(failed),
        views=protocol.views_text,
        averaging=protocol.averaging,
        split=split,
        data_fingerprint=manifest.fingerprint,
    )


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """``metrics.json`` and ``scores.csv`` (one row per video, one column per class) in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = evaluation.metrics.labels
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "start_seconds", "end_seconds", "label", "predicted", *names])
    for sample, row in zip(evaluation.samples, evaluation.probs.tolist(), strict=True):
        path = sample.path if sample.entry is None else f"{sample.path}:{sample.entry}"
        best = max(range(len(row)), key=row.__getitem__)
        bounds = ["" if x is None else x for x in (sample.start_seconds, sample.end_seconds)]
        writer.writerow([path, *bounds, names[sample.labels[0]], names[best], *(f"{p:.6g}" for p in row)])
    write_atomically(folder / "scores.csv", text.getvalue())
    content = json.dumps(evaluation.to_dict(), indent=2, ensure_ascii=False)
    write_atomically(folder / "metrics.json", content + "\n")
