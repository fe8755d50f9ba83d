"""VTN's claim measured anew: one pass over 250 frames against 3-D networks tested on 30 views, on one CPU thread.

python benchmarks/headline.py                                      three minutes on an idle core; writes the results
python benchmarks/headline.py --networks r2plus1d_18 swin3d_s      other networks of torchvision
python benchmarks/headline.py --quick                              small clips, in seconds, writes nothing

The paper (arXiv 2102.00719) says 16.1 times faster training, 5.1 times faster inference and 1.5 times fewer GFLOPs.
Here, for each network:

    gmacs      multiply-adds of 30 views over those of VTN's one pass over 250 frames
    inference  time of one view times 30, over VTN's: FRAMES_TIMED frames through its backbone, scaled to 250, and the
               temporal encoder over all 250. Videos are not decoded.
    training   time of a step on one clip over VTN's step on its clip of 16 frames: forward and backward, no optimizer

Time is CPU time in turns, each run between two measurements of one matrix product (``relative.py``). What differs from
the paper stands in ``DIFFERENCES`` and in the results.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import tyro
from relative import Runs, measure_interleaved
from results import write_result
from rich.console import Console
from rich.table import Table
from torch import nn

from models import circumstances
from tubelet.evaluation.cost import count_macs
from tubelet.models import create_model, model_config

VTN, FRAMES, TRAINING_FRAMES, NUM_VIEWS, FRAMES_TIMED = "vtn_vit_b16", 250, 16, 30, 10
PAPER = {"training": 16.1, "inference": 5.1, "gmacs": 1.5}
DIFFERENCES = (
    "the paper's baseline is a SlowFast network, which torchvision does not have; its 213 GFLOPs a view, which would "
    "make the 1.5, lie between swin3d_s and swin3d_b",
    "the paper's times are those of GPUs with decoding and loading, over the whole validation set; these of one CPU "
    "thread without decoding",
    "the paper's training time is epochs times time per epoch, 25 epochs against the baseline's longer schedule (about "
    "200 by second hand, 8 times as many); here it is one step on one clip of each, without the number of epochs",
    "the paper's 4218 GMACs of VTN leave the products inside attention out, which are counted here",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure VTN's headline."""

    networks: tuple[str, ...] = ("r3d_18", "mvit_v2_s", "swin3d_t", "swin3d_b")  # of torchvision
    not_trained: tuple[str, ...] = ("swin3d_b",)  # whose step is not timed: this one takes about 10 GB
    repetitions: int = 2  # counted runs of each in inference, after one that is not
    training_repetitions: int = 1  # counted training steps of each, after one that is not
    quick: bool = False  # two frames and few pixels, for networks that take such clips; writes nothing
    write: bool = False  # into docs/results; else into runs/results


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A model and the clip that it sees at once."""

    model: nn.Module
    shape: tuple[int, int, int, int]

    def step(self) -> None:
        self.model.train().zero_grad(set_to_none=True)
        F.cross_entropy(self.model(torch.randn(1, *self.shape)), torch.tensor([1])).backward()

    def infer(self) -> None:
        with torch.inference_mode():
            self.model.eval()(torch.randn(1, *self.shape))


def network(name: str, quick: bool) -> Contestant:
    """A network of torchvision on the clip that torchvision trained it on."""
    full = f"torchvision/{name}"
    config = model_config(full, {"num_frames": 4, "image_size": [32, 32]} if quick else {})
    model = create_model(full, num_frames=config.num_frames, image_size=config.image_size)
    return Contestant(model=model, shape=(3, config.num_frames, *config.image_size))


class OnePass:
    """VTN over 250 frames; its backbone is timed on a few of them, for it takes each by itself."""

    def __init__(self, quick: bool) -> None:
        self.pixels = 32 if quick else 224
        self.model: Any = create_model(VTN, image_size=(self.pixels, self.pixels))
        self.frames = torch.randn(1, 3, FRAMES_TIMED, self.pixels, self.pixels)
        with torch.inference_mode():
            one = self.model.eval().encode_frames(self.frames[:, :, :1])
        self.features = type(one)(vectors=one.vectors.expand(1, FRAMES, -1).contiguous())
        self.trained = Contestant(model=self.model, shape=(3, TRAINING_FRAMES, self.pixels, self.pixels))

    def macs(self) -> int:
        return count_macs(self.model, (3, FRAMES, self.pixels, self.pixels))

    def backbone(self) -> None:
        with torch.inference_mode():
            self.model.eval().encode_frames(self.frames)

    def encoder(self) -> None:
        with torch.inference_mode():
            self.model.eval().encode_time(self.features)


def compare(options: Options) -> dict[str, Any]:
    """Every ratio of every network over VTN."""
    vtn, rivals = OnePass(options.quick), {name: network(name, options.quick) for name in options.networks}
    infer: dict[str, Callable[[], object]] = {"backbone": vtn.backbone, "encoder": vtn.encoder}
    infer |= {name: rival.infer for name, rival in rivals.items()}
    inference = measure_interleaved(infer, options.repetitions)
    steps: dict[str, Callable[[], object]] = {VTN: vtn.trained.step}
    steps |= {name: rival.step for name, rival in rivals.items() if name not in options.not_trained}
    training = measure_interleaved(steps, options.training_repetitions)
    one_pass = _cost(inference["backbone"]) * FRAMES / FRAMES_TIMED + _cost(inference["encoder"])
    macs, step = vtn.macs(), _cost(training[VTN])
    rows = {}
    for name, rival in rivals.items():
        view = count_macs(rival.model, rival.shape)
        rows[name] = {
            "clip": "x".join(map(str, rival.shape[1:])),
            "gmacs_per_view": round(view / 1e9, 2),
            "cpu_seconds_per_view": _seconds(inference[name]),
            "cpu_seconds_per_step": _seconds(training[name]) if name in training else None,
            "over_vtn": {
                "gmacs": round(NUM_VIEWS * view / macs, 2),
                "inference": round(NUM_VIEWS * _cost(inference[name]) / one_pass, 2),
                "training": round(_cost(training[name]) / step, 2) if name in training else None,
            },
        }
    own = {
        "model": VTN,
        "gmacs": round(macs / 1e9, 1),
        "cpu_seconds": round(
            _seconds(inference["backbone"]) * FRAMES / FRAMES_TIMED + _seconds(inference["encoder"]), 1
        ),
        "cpu_seconds_of_the_encoder": _seconds(inference["encoder"]),
        "cpu_seconds_per_step": _seconds(training[VTN]),
    }
    return {"vtn": own, "num_views": NUM_VIEWS, "paper": PAPER, "networks": rows, "differences": DIFFERENCES}


def _cost(runs: Runs) -> float:
    """Multiply-adds that the matrix product would have done in the time of a run."""
    return statistics.median(runs.costs)


def _seconds(runs: Runs) -> float:
    return round(statistics.median(runs.seconds), 3)


def main(options: Options) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    result = compare(options)
    table = Table(title=f"{NUM_VIEWS} views over one pass of {VTN} over {FRAMES} frames")
    for column in ("network", *PAPER):
        table.add_column(column, justify="left" if column == "network" else "right")
    table.add_row("paper's baseline", *map(str, PAPER.values()))
    for name, row in result["networks"].items():
        table.add_row(name, *(str(row["over_vtn"][part] or "") for part in PAPER))
    Console().print(table)
    if not options.quick:
        told = circumstances((3, FRAMES, 224, 224))
        for other in ("clip", "huggingface_attention"):
            told.pop(other)
        told |= {"command": told["command"].replace("models.py", "headline.py")}
        told["versions"] = {name: known for name, known in told["versions"].items() if name != "transformers"}
        write_result("headline", {**told, **result}, write=options.write)


if __name__ == "__main__":
    main(tyro.cli(Options))
