"""Speed of UniFormerV2 and TimeSformer on one CPU thread: the share of a fp32 matrix product's rate, beside a peer.

python benchmarks/families.py                              every model in fp32, bf16 and training; writes the results
python benchmarks/families.py --models uniformerv2_b16     one model; the others keep their place in the file
python benchmarks/families.py --parts inference --quick    small clips, in seconds, writes nothing

Inference is one clip in fp32; bf16 is the same under autocast, against the same fp32 product. A training step is
forward and backward of one clip without an optimizer, and counts as three times the multiply-adds of its forward pass.

The peer is the same function with the same weights, its runs taken in turn with ours: HuggingFace's TimeSformer, and
for UniFormerV2 the layout and layers of its original (``plain_uniformerv2.py``). It tells what the share is a matter
of: of the model's code, or of the machine, whose memory feeds normalization, softmax and activation more or less fast
compared with its matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from huggingface_timesformer import timesformer_twin
from plain_uniformerv2 import plain_twin
from relative import Runs, measure_interleaved, speedup
from results import read_result, write_result
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from models import LOGIT_TOLERANCE, circumstances, row
from tubelet.evaluation.cost import ClipShape, count_macs
from tubelet.models import create_model, model_config

Part = Literal["inference", "bf16", "training"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure models on one thread."""

    models: tuple[str, ...] = (  # names of `tubelet models`
        *("uniformerv2_b16", "uniformerv2_b16_ssv2", "timesformer_b16_divided"),
    )
    parts: tuple[Part, ...] = ("inference", "bf16", "training")  # what to measure
    repetitions: int = 7  # counted runs of each
    quick: bool = False  # clips of 4 x 64 x 64, to try the benchmark out; writes nothing
    write: bool = False  # into docs/results; else into runs/results


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A model and the one clip that it sees, in its own layout."""

    model: nn.Module
    clip: Tensor
    logits: Callable[[Any], Tensor]  # of what the model gives

    def infer(self) -> Tensor:
        with torch.inference_mode():
            return self.logits(self.model.eval()(self.clip))

    def infer_bf16(self) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.infer()

    def train(self) -> None:
        self.model.train().zero_grad()
        F.cross_entropy(self.logits(self.model(self.clip)), torch.tensor([1])).backward()

    def run(self, part: Part) -> Callable[[], object]:
        return {"inference": self.infer, "bf16": self.infer_bf16, "training": self.train}[part]


def made(name: str, quick: bool) -> tuple[Contestant, Contestant, str, ClipShape]:
    """A model whose every part counts (some start at zero), its peer with the name of it, and the shape of the clip.

    Raises:
        SystemExit: the two disagree, which would make their speeds incomparable.
    """
    fields: dict[str, Any] = {"num_frames": 4, "image_size": [64, 64]} if quick else {}
    if name.startswith("timesformer"):
        fields["drop_path_rate"] = 0.0  # HuggingFace's takes no other
    config = model_config(name, fields)
    model = create_model(name, **fields)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    shape = (config.in_channels, config.num_frames, *config.image_size)
    clip = torch.randn(1, *shape)
    ours = Contestant(model=model, clip=clip, logits=lambda given: given)
    if name.startswith("timesformer"):
        clip_of_theirs = clip.transpose(1, 2).contiguous()  # B T C H W
        peer = Contestant(model=timesformer_twin(model), clip=clip_of_theirs, logits=lambda given: given.logits)
        peer_name = "TimesformerForVideoClassification"
    else:
        peer = Contestant(model=plain_twin(model), clip=clip, logits=lambda given: given)
        peer_name = "UniFormerV2 as its original computes it"
    difference = (ours.infer() - peer.infer()).abs().max().item()
    if difference > LOGIT_TOLERANCE:
        raise SystemExit(
            f"{name}: logits differ by {difference:.1e}, more than {LOGIT_TOLERANCE:.0e}: nothing measured"
        )
    return ours, peer, peer_name, shape


def measure(name: str, parts: tuple[Part, ...], repetitions: int, quick: bool) -> dict[str, Any]:
    ours, peer, peer_name, shape = made(name, quick)
    macs = count_macs(ours.model, shape)
    both = {"ours": ours, "peer": peer}
    runs = measure_interleaved({f"{part} {who}": c.run(part) for part in parts for who, c in both.items()}, repetitions)
    results = {}
    for part in parts:
        work = macs * (3 if part == "training" else 1)
        mine, theirs = runs[f"{part} ours"], runs[f"{part} peer"]
        results[part] = {**_circumstances(shape), **row(mine, work), "peer": _peer(peer_name, mine, theirs, work)}
    return results


def _peer(name: str, ours: Runs, peer: Runs, macs: int) -> dict[str, Any]:
    return {"name": name, **row(peer, macs), "speedup_over_it": round(speedup(ours, peer), 3)}


def _circumstances(shape: ClipShape) -> dict[str, Any]:
    known = circumstances(shape)
    known.pop("huggingface_attention")  # TimeSformer has one implementation of attention there
    return {**known, "command": known["command"].replace("models.py", Path(__file__).name, 1)}


def print_table(results: dict[str, dict[str, Any]]) -> None:
    table = Table(title="share of the fp32 matrix product's rate; the peer's, and how many times its speed")
    for column in ("model", "part", "share", "peer's share", "speed over it"):
        table.add_column(column, justify="left" if column in ("model", "part") else "right")
    for name, result in results.items():
        for part, numbers in result.items():
            peer = numbers["peer"]
            shares = (f"{each['product_share']:.1%}" for each in (numbers, peer))
            table.add_row(name, part, *shares, f"{peer['speedup_over_it']:.2f}")
    Console().print(table)


def main(options: Options) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {name: measure(name, options.parts, options.repetitions, options.quick) for name in options.models}
    print_table(results)
    if not options.quick:
        kept = read_result("families", write=options.write)
        merged = {**kept, **{name: {**kept.get(name, {}), **result} for name, result in results.items()}}
        write_result("families", merged, write=options.write)


if __name__ == "__main__":
    main(tyro.cli(Options))
