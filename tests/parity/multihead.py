"""Several heads against scenic's: the loss is the mean of theirs, an action's score the product of their softmaxes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from parity.compare import read_arrays
from tubelet.data.clips.mixing import Mixture
from tubelet.tasks.actions import action_scores, best_actions, by_head
from tubelet.tasks.multi_head import MeanCrossEntropy, MultiHead, action_metrics
from tubelet.tasks.single_label import compute_metrics


def check_multihead(case: Path, config: dict[str, Any]) -> None:
    """Every recorded array: ``joint_top<k>_per_example``, ``<head>_top<k>_per_example`` and losses."""
    given, expected = read_arrays(case / "input.npz"), read_arrays(case / "output.npz")
    labels = torch.stack([part.argmax(-1) for part in by_head(given["one_hot"], config["class_splits"])], dim=1)
    probs = MultiHead(labels=_class_names(config)).probs(given["logits"])
    assert expected, "nothing was recorded"
    for name, recorded in expected.items():
        if found := re.fullmatch(r"(.+)_top(\d+)_per_example", name):
            _check_top(found[1], int(found[2]), config, probs, labels, given["batch_mask"], recorded)
        else:
            loss = _loss(name, config, given["logits"], labels, given["batch_mask"])
            tolerance = {key: config["tolerance"][key] for key in ("rtol", "atol")}
            torch.testing.assert_close(loss, recorded.reshape(()), **tolerance, msg=lambda text, n=name: f"{n}: {text}")
    if not config["label_smoothing"]:  # then the loss of evaluation is that of training
        read = given["batch_mask"] > 0
        loss = _metrics(config, probs[read], labels[read], k=1)["loss"]
        assert loss == pytest.approx(expected["loss"].item(), rel=config["tolerance"]["rtol"])


def _check_top(
    head: str, k: int, config: dict[str, Any], probs: Tensor, labels: Tensor, mask: Tensor, recorded: Tensor
) -> None:
    """Which videos have the true class, or for ``joint`` the true action, among the k best; the metrics agree."""
    read = mask > 0  # evaluation leaves the rest out
    if head == "joint":
        right = (best_actions(probs.double(), config["class_splits"], k)[1] == labels[:, None]).all(-1)
        metrics: Any = _metrics(config, probs[read], labels[read], k)
    else:
        i, names = config["split_names"].index(head), _class_names(config)[head]
        part = by_head(probs, config["class_splits"])[i]
        right = part.argsort(dim=-1, descending=True, stable=True)[:, :k] == labels[:, i, None]
        metrics = compute_metrics(part[read], labels[read, i], names, k)
    assert (right.any(1) & read).int().tolist() == recorded.flatten().tolist(), f"{head}, top {k}"
    share = recorded.flatten()[read].double().mean().item()
    assert metrics["top5"] == pytest.approx(share)  # the name stands for the k best
    assert k > 1 or metrics["top1"] == pytest.approx(share)


def _loss(name: str, config: dict[str, Any], logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """The loss of the labels, or of labels mixed as the case says: each row's with those of its row from the end."""
    share = 1.0
    if name != "loss":
        stated = re.search(rf"{name} uses ([\d.]+)\*labels\+[\d.]+\*labels reversed", config.get("mixup", ""))
        assert stated, f"not computed: {name} (mixup: {config.get('mixup')!r})"
        share = float(stated[1])
    objective = MeanCrossEntropy(
        head_sizes=tuple(config["class_splits"]), label_smoothing=config["label_smoothing"] or 0.0
    )
    mixture = Mixture(partner=torch.arange(len(logits)).flip(0), share=share)
    shares = objective.shares(labels, mask)
    parts = [objective(logits, *target)[0] for target in mixture.labels(labels, shares, slice(None))]
    return torch.stack(parts).sum()


def _metrics(config: dict[str, Any], probs: Tensor, labels: Tensor, k: int) -> Any:
    names = _class_names(config)
    parts = zip(names, by_head(probs, config["class_splits"]), strict=True)
    heads = {head: compute_metrics(part, labels[:, i], names[head], k) for i, (head, part) in enumerate(parts)}
    return action_metrics(action_scores(probs, labels, list(names.values()), heads, k))


def _class_names(config: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    heads = zip(config["split_names"], config["class_splits"], strict=True)
    return {head: tuple(map(str, range(size))) for head, size in heads}
