"""Several heads against scenic's: the loss is the mean of theirs, an action's score the product of their softmaxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parity.compare import read_arrays
from tubelet.data.clips.mixing import Mixture
from tubelet.tasks.actions import best_actions, by_head
from tubelet.tasks.multi_head import MeanCrossEntropy, MultiHead


def check_multihead(case: Path, config: dict[str, Any]) -> None:
    given, expected = read_arrays(case / "input.npz"), read_arrays(case / "output.npz")
    sizes, heads = tuple(config["class_splits"]), config["split_names"]
    logits, weight = given["logits"], given["batch_mask"]
    labels = torch.stack([part.argmax(-1) for part in by_head(given["one_hot"], sizes)], dim=1)
    names = {head: tuple(map(str, range(size))) for head, size in zip(heads, sizes, strict=True)}
    task = MultiHead(labels=names)
    probs = task.probs(logits)

    right = best_actions(probs.double(), sizes, 5)[1] == labels[:, None]
    hits = right.all(-1) & (weight > 0)[:, None]
    equal = {"joint_top1_per_example": hits[:, 0], "joint_top5_per_example": hits.any(1)}
    for i, (head, part) in enumerate(zip(heads, by_head(probs, sizes), strict=True)):
        equal[f"{head}_top1_per_example"] = (part.argmax(-1) == labels[:, i]) & (weight > 0)
    for name, seen in equal.items():
        assert seen.int().tolist() == expected[name].flatten().tolist(), name

    read = weight > 0  # what evaluation makes of it: the unread videos left out
    metrics = task.measure(probs[read], labels[read])
    assert metrics["top1"] == expected["joint_top1_per_example"][read].double().mean().item()
    assert metrics["top5"] == expected["joint_top5_per_example"][read].double().mean().item()

    objective = MeanCrossEntropy(head_sizes=sizes, label_smoothing=config["label_smoothing"] or 0.0)
    # The fixture mixes the label of each row with that of the row at the same place from the other end.
    for name, share in (("loss", 1.0), ("loss_mixup_labels", 0.7)):
        mixture = Mixture(partner=torch.arange(len(logits)).flip(0), share=share)
        shares, every = objective.shares(labels, weight), slice(None)
        loss = sum((objective(logits, *target)[0] for target in mixture.labels(labels, shares, every)), Tensor([0.0]))
        torch.testing.assert_close(loss[0], expected[name].reshape(()), **config["tolerance"])
    if not config["label_smoothing"]:  # then the loss of evaluation is that of training
        assert abs(metrics["loss"] - expected["loss"].item()) < 1e-5
