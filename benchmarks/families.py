"""Speed of UniFormerV2 and its like on one CPU thread: the share of a fp32 matrix product's rate that a model reaches.

python benchmarks/families.py                              every model in fp32, bf16 and training; writes the results
python benchmarks/families.py --models uniformerv2_b16     one model; the others keep their place in the file
python benchmarks/families.py --parts inference --quick    small clips, in seconds, writes nothing

Inference is one clip in fp32; bf16 is the same under autocast, against the same fp32 product. A training step is
forward and backward of one clip without an optimizer, and counts as three times the multiply-adds of its forward pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from relative import measure_interleaved
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from models import RESULTS, circumstances, row
from tubelet.evaluation.cost import ClipShape, count_macs
from tubelet.files import write_atomically
from tubelet.models import create_model, model_config

Part = Literal["inference", "bf16", "training"]
FILE = RESULTS.with_name("families.json")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure models on one thread and write docs/results/families.json."""

    models: tuple[str, ...] = (  # names of `tubelet models`
        *("uniformerv2_b16", "uniformerv2_b16_ssv2", "timesformer_b16_divided"),
    )
    parts: tuple[Part, ...] = ("inference", "bf16", "training")  # what to measure
    repetitions: int = 7  # counted runs of each
    quick: bool = False  # clips of 4 x 64 x 64, to try the benchmark out; writes nothing


def made(name: str, quick: bool) -> tuple[nn.Module, ClipShape]:
    """A model whose every part counts (some start at zero), and the clip that it is made for."""
    fields = {"num_frames": 4, "image_size": [64, 64]} if quick else {}
    config = model_config(name, fields)
    model = create_model(name, **fields)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model, (config.in_channels, config.num_frames, *config.image_size)


def measure(name: str, parts: tuple[Part, ...], repetitions: int, quick: bool) -> dict[str, Any]:
    model, shape = made(name, quick)
    clip, target, macs = torch.randn(1, *shape), torch.tensor([1]), count_macs(model, shape)

    def infer() -> Tensor:
        with torch.inference_mode():
            return model.eval()(clip)

    def infer_bf16() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return infer()

    def train() -> None:
        model.train().zero_grad()
        F.cross_entropy(model(clip), target).backward()

    every: dict[Part, tuple[Callable[[], object], int]] = {
        "inference": (infer, macs),
        "bf16": (infer_bf16, macs),
        "training": (train, 3 * macs),
    }
    runs = measure_interleaved({part: every[part][0] for part in parts}, repetitions)
    return {part: {**circumstances(shape), **row(runs[part], every[part][1])} for part in parts}


def main(options: Options) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {name: measure(name, options.parts, options.repetitions, options.quick) for name in options.models}
    table = Table(title="share of the fp32 matrix product's rate")
    for column in ("model", *options.parts):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, result in results.items():
        table.add_row(name, *(f"{result[part]['product_share']:.1%}" for part in options.parts))
    Console().print(table)
    if not options.quick:
        kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
        merged = {**kept, **{name: {**kept.get(name, {}), **result} for name, result in results.items()}}
        write_atomically(FILE, json.dumps(merged, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
