"""Speed of the ViViT models on one CPU thread in fp32: against HuggingFace's ViViT, and against a matrix product.

python benchmarks/models.py                      inference and training: about ten minutes, writes the results
python benchmarks/models.py --parts inference    one part; the other keeps its place in the file
python benchmarks/models.py --quick              small models on a small clip, in seconds, writes nothing
"""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from huggingface_vivit import ATTENTION, huggingface_twin
from relative import PRODUCT, Runs, measure_interleaved, speedup
from results import read_result, write_result
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from tubelet.evaluation.cost import ClipShape, count_macs
from tubelet.models import create_model

LOGIT_TOLERANCE = 1e-4  # largest absolute difference between the two implementations
HUGGINGFACE = "VivitForVideoClassification"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure ViViT models on one thread."""

    parts: tuple[Literal["inference", "training"], ...] = ("inference", "training")  # what to measure
    repetitions: int = 7  # counted forward passes of each model
    training_repetitions: int = 3  # counted training steps of each model
    quick: bool = False  # ViViT-Ti on 8 x 64 x 64, to try the benchmark out; writes nothing
    write: bool = False  # into docs/results; else into runs/results


class Contest:
    """The models that are compared, with weights that make their logits tell them apart, and the clip they see."""

    def __init__(self, size: Literal["ti", "b"], clip_shape: ClipShape) -> None:
        _, num_frames, height, width = clip_shape
        fields = {"num_frames": num_frames, "image_size": (height, width)}
        self.clip_shape = clip_shape
        self.joint_name, self.fe_name = f"vivit_{size}16x2_joint", f"vivit_{size}16x2_fe"
        self.joint, self.fe = create_model(self.joint_name, **fields), create_model(self.fe_name, **fields)
        for model in (self.joint, self.fe):
            nn.init.normal_(model.get_parameter("head.weight"), std=0.02)  # starts at zero, as would every logit
        self.huggingface = huggingface_twin(self.joint)
        self.clip = torch.randn(1, *clip_shape)
        self.huggingface_clip = self.clip.transpose(1, 2).contiguous()  # B T C H W, the layout it is made for

    def logits(self) -> dict[str, Callable[[], Tensor]]:
        """The forward pass of every model over its clip."""
        return {
            self.joint_name: lambda: self.joint(self.clip),
            HUGGINGFACE: lambda: self.huggingface(self.huggingface_clip).logits,
            self.fe_name: lambda: self.fe(self.clip),
        }

    def training_steps(self) -> dict[str, Callable[[], None]]:
        """Forward and backward of one clip, without an optimizer, for the two models that are the same function."""
        target = torch.tensor([1])

        def step(model: nn.Module, logits: Callable[[], Tensor]) -> Callable[[], None]:
            def run() -> None:
                model.zero_grad()
                F.cross_entropy(logits(), target).backward()

            return run

        logits, models = self.logits(), {self.joint_name: self.joint, HUGGINGFACE: self.huggingface}
        return {name: step(model.train(), logits[name]) for name, model in models.items()}


def measure_inference(contest: Contest, repetitions: int) -> dict[str, Any]:
    """Forward passes of both of our models and HuggingFace's.

    Raises:
        SystemExit: the two implementations of Model 1 disagree, which would make their speeds incomparable.
    """
    for model in (contest.joint, contest.fe, contest.huggingface):
        model.eval()
    joint_macs = count_macs(contest.joint, contest.clip_shape)  # the same function has as many at HuggingFace
    macs = {
        contest.joint_name: joint_macs,
        HUGGINGFACE: joint_macs,
        contest.fe_name: count_macs(contest.fe, contest.clip_shape),
    }
    with torch.inference_mode():
        logits = contest.logits()
        difference = (logits[contest.joint_name]() - logits[HUGGINGFACE]()).abs().max().item()
        if difference > LOGIT_TOLERANCE:
            raise SystemExit(f"logits differ by {difference:.1e}, more than {LOGIT_TOLERANCE:.0e}: nothing measured")
        runs = measure_interleaved(logits, repetitions)
    return {
        "largest_logit_difference": difference,
        "speedup_over_huggingface": round(speedup(runs[contest.joint_name], runs[HUGGINGFACE]), 3),
        "rows": {name: row(run, macs[name]) for name, run in runs.items()},
    }


def measure_training(contest: Contest, repetitions: int) -> dict[str, Any]:
    """Forward and backward of Model 1 in both implementations."""
    runs = measure_interleaved(contest.training_steps(), repetitions)
    return {
        "speedup_over_huggingface": round(speedup(runs[contest.joint_name], runs[HUGGINGFACE]), 3),
        "rows": {name: row(run) for name, run in runs.items()},
    }


def row(runs: Runs, macs: int | None = None) -> dict[str, Any]:
    """One model's numbers; the share of the matrix product's rate where its multiply-adds are known."""
    numbers: dict[str, Any] = {
        "repetitions": len(runs.seconds),
        "median_cpu_seconds": round(statistics.median(runs.seconds), 3),
        "product_gmacs_per_second": round(statistics.median(runs.product_rates) / 1e9, 2),
    }
    if macs is not None:
        shares = runs.product_shares(macs)
        numbers["gmacs"] = round(macs / 1e9, 2)
        numbers["product_share"] = round(statistics.median(shares), 4)
        numbers["product_share_range"] = [round(min(shares), 4), round(max(shares), 4)]
    return numbers


def circumstances(clip_shape: ClipShape) -> dict[str, Any]:
    """What a reader needs to judge the numbers or to repeat them."""
    return {
        "command": f"python benchmarks/models.py {' '.join(sys.argv[1:])}".strip(),
        "date": date.today().isoformat(),
        "cpu": f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "clip": "x".join(map(str, (1, *clip_shape))),
        "dtype": "float32",
        "huggingface_attention": ATTENTION,
        "matrix_product": f"{PRODUCT[0]}x{PRODUCT[1]} by {PRODUCT[1]}x{PRODUCT[2]}",
    }


def cpu_model() -> str:
    """The name the operating system gives the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def print_table(part: str, result: dict[str, Any]) -> None:
    """The rows of one part, with the ratio to HuggingFace in the title."""
    table = Table(title=f"{part}: {result['speedup_over_huggingface']:.2f} times HuggingFace's speed")
    for column in ("model", "GMACs", "CPU seconds", "share of the product"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, numbers in result["rows"].items():
        gmacs, share = numbers.get("gmacs"), numbers.get("product_share")
        cells = (f"{gmacs:.2f}", f"{share:.1%}") if share is not None else ("", "")
        table.add_row(name, cells[0], f"{numbers['median_cpu_seconds']:.3f}", cells[1])
    Console().print(table)


def main(options: Options) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    contest = Contest("ti", (3, 8, 64, 64)) if options.quick else Contest("b", (3, 32, 224, 224))
    results = {}
    if "inference" in options.parts:
        results["inference"] = measure_inference(contest, options.repetitions)
    if "training" in options.parts:
        results["training"] = measure_training(contest, options.training_repetitions)
    for part, result in results.items():
        print_table(part, result)
    if not options.quick:
        told = {part: {**circumstances(contest.clip_shape), **result} for part, result in results.items()}
        kept = read_result("models", write=options.write)  # of the parts that were not measured now
        write_result("models", {**kept, **told}, write=options.write)


if __name__ == "__main__":
    main(tyro.cli(Options))
