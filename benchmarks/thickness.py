"""How far three numbers go on AdrenalMNIST3D: a logistic regression, in seconds. --write: into docs/results.

python benchmarks/thickness.py

A volume is a silhouette, and what tells the classes apart is how thick it is: the numbers are its voxels, and those
that are left when one and two layers of its surface are taken off. A network on these volumes is to be measured
against this as well as against other networks.
"""

from __future__ import annotations

import sys
from datetime import date
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from results import write_result
from scipy.ndimage import binary_erosion

from tubelet.recipe import load_recipe
from tubelet.tasks.single_label import compute_metrics

RECIPE = "adrenalmnist3d/vivit_ti_joint"  # names the data
LAYERS = 2  # taken off


def counts(volume: NDArray[np.uint8]) -> list[int]:
    """Voxels of the silhouette, and of what each erosion (by the six neighbors) leaves."""
    shape = volume > 127
    found = [int(shape.sum())]
    for _ in range(LAYERS):
        shape = binary_erosion(shape)
        found.append(int(shape.sum()))
    return found


def fit(features: torch.Tensor, labels: torch.Tensor) -> torch.nn.Linear:
    """Logistic regression to the end, all weights from zero."""
    layer = torch.nn.Linear(features.shape[1], 2).double()
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(layer(features), labels)
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return layer


def main() -> None:
    source = load_recipe(RECIPE).data
    with np.load(source.path, allow_pickle=False) as data:
        splits = {
            name: (
                torch.tensor([counts(volume) for volume in data[f"{name}_images"]], dtype=torch.float64),
                torch.tensor(data[f"{name}_labels"][:, 0], dtype=torch.int64),
            )
            for name in ("train", "val", "test")
        }
    mean, std = splits["train"][0].mean(dim=0), splits["train"][0].std(dim=0)
    layer = fit((splits["train"][0] - mean) / std, splits["train"][1])
    class_counts = splits["train"][1].bincount().tolist()
    rows: dict[str, Any] = {}
    for name, (features, labels) in splits.items():
        probs = layer((features - mean) / std).softmax(dim=1)
        metrics = compute_metrics(probs, labels, ("normal", "hyperplasia"), train_class_counts=class_counts)
        rows[name] = {"auroc": metrics["auroc"], "top1": metrics["top1"], "loss": metrics["loss"]}
        print(f"{name}: AUROC {metrics['auroc']:.3f}, accuracy {metrics['top1']:.3f}")
    content = {
        "command": "python benchmarks/thickness.py",
        "date": date.today().isoformat(),
        "features": ["voxels", *(f"voxels after {i + 1} erosions" for i in range(LAYERS))],
        "rows": rows,
    }
    write_result("thickness", content, write=sys.argv[1:] == ["--write"])


if __name__ == "__main__":
    main()
