"""What a masked step costs against a training step of the same encoder on all tokens, measured in turn.

Each pair of steps is taken one after the other, so that a slow moment of the machine meets both; the ratio is the
median over the pairs. A step is forward, backward and AdamW. Memory is what autograd keeps, counted with shapes alone.

    python benchmarks/masked_step.py            # ViT-B at 16 x 224 x 224, and Ti on small grids
    python benchmarks/masked_step.py --write    # into docs/results
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from results import write_result
from torch import nn

from tubelet.evaluation.cost import count_macs
from tubelet.models import create_model
from tubelet.nn.masked.autoencoder import PaintingError
from tubelet.training.estimate import count_training_macs, estimate_memory
from tubelet.training.optim.config import OptimizerConfig

TI = {"embed_dim": 192, "depth": 12, "num_heads": 3}
# name: model fields, frames and pixels, clips of a batch, the decoder, most that the ratio may be
CASES: dict[str, tuple[dict[str, Any], tuple[int, int], int, tuple[int, int, int], float]] = {
    "ViT-B/16, 16 x 224 x 224": ({}, (16, 224), 1, (384, 4, 6), 0.28),
    "ViT-Ti/16, 16 x 112 x 112": ({**TI, "image_size": (112, 112)}, (16, 112), 4, (96, 4, 1), 0.5),
    "ViT-Ti/8, 8 x 64 x 64": (
        {**TI, "image_size": (64, 64), "num_frames": 8, "tubelet_size": (2, 8, 8)},
        (8, 64),
        8,
        (96, 4, 1),
        0.5,
    ),
}
MASK_RATIO = 0.9
OPTIM = OptimizerConfig()


def models(fields: dict[str, Any], decoder: tuple[int, int, int]) -> tuple[nn.Module, PaintingError]:
    """The classifier, and the pre-training model of an encoder of the same size."""
    full = create_model("videomae_b16", **{"num_classes": 400, **fields})
    encoder = create_model("videomae_b16", **{"num_classes": 0, **fields})
    autoencoder = encoder.masked_autoencoder(*decoder)
    times, *frame = autoencoder.config.grid
    hidden = int(MASK_RATIO * frame[0] * frame[1]) * times
    return full.train(), PaintingError(autoencoder, hidden, True, (0.5,) * 3, (0.5,) * 3).train()


def step_of(model: nn.Module, clip: torch.Tensor) -> Callable[[], float]:
    """Takes a step, and returns its seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        model(clip).square().mean().backward()
        optimizer.step()
        return time.perf_counter() - began

    return step


def measure(name: str, pairs: int) -> dict[str, Any]:
    fields, (frames, pixels), batch, decoder, most = CASES[name]
    torch.manual_seed(0)
    full, masked = models(fields, decoder)
    shape = (3, frames, pixels, pixels)
    clip = torch.randn(batch, *shape)
    steps = step_of(full, clip), step_of(masked, clip)
    for step in steps:
        step()
    seconds = [[step() for step in steps] for _ in range(pairs)]
    ratios = sorted(b / a for a, b in seconds)
    kept = [
        estimate_memory(
            model, shape, batch_size=batch, accumulation=1, precision="fp32", optim=OPTIM, device=torch.device("cpu")
        ).activations
        for model in (full, masked)
    ]
    return {
        "case": name,
        "pairs": pairs,
        "seconds_full": round(statistics.median(a for a, _ in seconds), 4),
        "seconds_masked": round(statistics.median(b for _, b in seconds), 4),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(ratios[0], 3), round(ratios[-1], 3)],
        "goal": most,
        "training_macs_ratio": round(count_training_macs(masked, shape) / count_training_macs(full, shape), 3),
        "forward_macs_ratio": round(count_macs(masked, shape) / count_macs(full, shape), 3),
        "kept_activations_ratio": round(kept[1] / kept[0], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="steps of each kind, in turn")
    parser.add_argument("--write", action="store_true", help="into docs/results")
    options = parser.parse_args()
    rows = [measure(name, options.pairs) for name in CASES]
    for row in rows:
        print(
            f"{row['case']}: {row['ratio']:.3f} of a full step ({row['ratio_range']}), goal {row['goal']}", flush=True
        )
    content = {"threads": torch.get_num_threads(), "processor": platform.processor() or platform.machine()}
    write_result("masked_step", {**content, "mask_ratio": MASK_RATIO, "rows": rows}, write=options.write)


if __name__ == "__main__":
    main()
