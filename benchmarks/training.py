"""How fast training goes: steps per second, waiting for data, and the share of the machine's matrix-product rate.

python benchmarks/training.py              ViViT-S FE on the CPU, about eight minutes; --write: into docs/results
python benchmarks/training.py --device cuda   ViViT-B FE in bf16, compiled, and eager; its part of the same file
python benchmarks/training.py --quick      a small model and few steps on the CPU, writes nothing

The data are the demo's motion set, drawn at 128 pixels and prepared (``tubelet data prepare``), read by the loader of a
run: random place in time, random crop of 112 (CPU; the GPU's clips are 256 and 224 pixels, 32 frames). A step is that
of a run: pixels to the device, forward, backward, clipping, AdamW. What loads while the step runs costs nothing unless
the step has to wait for it; that share is given beside the rate.

On the CPU (one thread, fp32) steps stand between measurements of a large matrix product, and time is the CPU time of
the training process (``relative.py``), which leaves the reading processes and everybody else out. One row is of a run,
which keeps the memory that it frees (``tubelet.session.device``), one of the same steps without that. On a GPU time
is that of the clock around the steps, the product is one of bf16 matrices, and MFU is against the processor's published
dense bf16 rate: multiply-adds of forward and backward, recomputation not counted, over those the processor could have
done.
"""

from __future__ import annotations

import dataclasses
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from relative import measure_interleaved
from results import read_result, write_result
from rich.console import Console
from rich.table import Table

from tubelet.data.clips.normalize import normalize
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.data.prepare.config import PrepareConfig
from tubelet.data.prepare.prepare_dataset import prepare
from tubelet.data.synthetic import write_motion_set
from tubelet.models import create_model
from tubelet.protocol import Protocol
from tubelet.session.device import keep_freed_memory
from tubelet.session.processes import SINGLE
from tubelet.session.session import Session
from tubelet.tasks.choose import task_of
from tubelet.training.config import TrainingConfig
from tubelet.training.estimate import count_training_macs
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.optimizer import make_optimizer
from tubelet.training.parallel.micro_batch import gather_micro_batch
from tubelet.training.parallel.parallelize import parallelize
from tubelet.training.setup import TrainingSetup
from tubelet.training.step import TrainStep
from tubelet.types import Batch

# Dense bf16 multiply-adds per second that the makers publish (half of their FLOPS), by a part of the device's name.
PEAKS = {"H200": 494.5e12, "H100": 494.5e12, "A100": 156e12, "L40S": 181e12, "L4": 60.5e12, "V100": 62.5e12}


@dataclass(frozen=True, kw_only=True)
class Options:
    device: Literal["cpu", "cuda"] = "cpu"  # where the model trains
    repetitions: int = 5  # measured groups of steps, after one that is not counted
    quick: bool = False  # a small model and few steps on the CPU; writes nothing
    write: bool = False  # into docs/results; else into runs/results


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained on which clips."""

    model: str
    num_frames: int
    video_pixels: int  # sides of the videos
    crop_pixels: int
    batch_size: int
    steps: int  # of one measured group
    num_videos: int
    num_workers: int
    training: TrainingConfig
    keeps_memory: bool = True  # as a run does on a CPU (``tubelet.session.device``)


CPU = Case(
    model="vivit_s16x2_fe",
    num_frames=16,
    video_pixels=128,
    crop_pixels=112,
    batch_size=16,
    steps=2,
    num_videos=64,
    num_workers=1,
    training=TrainingConfig(batch_size=16),
)
QUICK = dataclasses.replace(CPU, model="vivit_ti16x2_fe", crop_pixels=64, batch_size=2, steps=1, num_videos=8)
GPU = Case(
    model="vivit_b16x2_fe",
    num_frames=32,
    video_pixels=256,
    crop_pixels=224,
    batch_size=32,
    steps=10,
    num_videos=512,
    num_workers=14,
    training=TrainingConfig(batch_size=32, precision="bf16"),
)
CASES = {
    # In this order: what a process keeps it does not learn to give back.
    "cpu": {"fp32, freed memory given back": dataclasses.replace(CPU, keeps_memory=False), "fp32": CPU},
    "cuda": {
        "bf16, compiled": dataclasses.replace(GPU, training=dataclasses.replace(GPU.training, compile=True)),
        "bf16": GPU,
    },
}


class Trainer:
    """Steps of a run over batches that a loader reads."""

    def __init__(self, case: Case, loader: Loader, protocol: Protocol, device: torch.device) -> None:
        torch.manual_seed(0)
        self.loader, self.case, self.device = loader, case, device
        crop = (case.crop_pixels, case.crop_pixels)
        model = create_model(case.model, num_classes=8, num_frames=case.num_frames, image_size=crop).to(device).train()
        self.macs = count_training_macs(model, (3, case.num_frames, *crop)) * case.batch_size  # of one step
        optim, task = OptimizerConfig(), task_of(loader.dataset.manifest)
        setup = TrainingSetup(
            model=model,
            loader=loader,
            prepare=lambda pixels: normalize(pixels.to(device, non_blocking=True), protocol),
            validate=None,
            save=lambda path: None,
            training=case.training,
            optim=optim,
            mix=loader.dataset.augment.mix,
        )
        self.train_step = TrainStep(
            parallelize(model, Session(device=device), "ddp"),
            make_optimizer(model, optim),
            task.objective(loader.dataset.manifest),
            [column.key for column in task.steps],
            setup,
        )
        self.batches, self.step = self._endless(), 0

    def steps(self) -> None:
        """One measured group."""
        for _ in range(self.case.steps):
            batch = next(self.batches)
            self.train_step.take(gather_micro_batch(batch, SINGLE, len(batch.index)), self.step)
            self.step += 1
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _endless(self) -> Iterator[Batch]:
        for epoch in range(10**6):
            yield from self.loader.train_batches(epoch)


def make_trainer(case: Case, device: torch.device, folder: Path, stack: ExitStack) -> Trainer:
    """The data, prepared, and what trains on them."""
    videos, prepared = folder / "videos", folder / "prepared"
    if not prepared.exists():
        write_motion_set(
            videos, {"train": case.num_videos}, size_pixels=case.video_pixels, num_frames=2 * case.num_frames
        )
        prepare(read_manifest(videos), prepared, PrepareConfig(short_side=case.video_pixels))
    crop = (case.crop_pixels, case.crop_pixels)
    protocol = Protocol(num_frames=case.num_frames, frame_stride=1, resize_short_side=case.video_pixels, crop_size=crop)
    dataset = ClipDataset(read_manifest(prepared / "manifest.csv"), protocol, "train")
    loader = stack.enter_context(Loader(dataset, case.batch_size, num_workers=case.num_workers))
    return Trainer(case, loader, protocol, device)


def measure_cpu(trainer: Trainer, repetitions: int) -> dict[str, Any]:
    """Against the matrix product around each group of steps, in CPU time."""
    trainer.steps()  # starts the readers
    waited, began = trainer.loader.wait_seconds, time.monotonic()
    runs = measure_interleaved({trainer.case.model: trainer.steps}, repetitions)[trainer.case.model]
    waited, elapsed = trainer.loader.wait_seconds - waited, time.monotonic() - began
    shares = runs.product_shares(trainer.macs * trainer.case.steps)
    return {
        "steps_per_cpu_second": round(trainer.case.steps / statistics.median(runs.seconds), 3),
        "wait_share": round(waited / elapsed, 4),
        "product_gmacs_per_second": round(statistics.median(runs.product_rates) / 1e9, 1),
        "product_share": round(statistics.median(shares), 4),
        "product_share_range": [round(min(shares), 4), round(max(shares), 4)],
    }


def measure_gpu(trainer: Trainer, repetitions: int) -> dict[str, Any]:
    """Against a product of bf16 matrices and the published rate, by the clock."""
    trainer.steps()  # starts the readers, compiles
    product = gpu_product_rate(trainer.device)
    seconds, waited = [], trainer.loader.wait_seconds
    for _ in range(repetitions):
        began = time.perf_counter()
        trainer.steps()
        seconds.append(time.perf_counter() - began)
    waited = trainer.loader.wait_seconds - waited
    rate = trainer.macs * trainer.case.steps / statistics.median(seconds)
    name = torch.cuda.get_device_name(trainer.device)
    peak = next((peak for part, peak in PEAKS.items() if part in name), None)
    return {
        "gpu": name,
        "steps_per_second": round(trainer.case.steps / statistics.median(seconds), 3),
        "clips_per_second": round(trainer.case.steps * trainer.case.batch_size / statistics.median(seconds), 1),
        "wait_share": round(waited / sum(seconds), 4),
        "product_tmacs_per_second": round(product / 1e12, 1),
        "product_share": round(rate / product, 4),
        "mfu": None if peak is None else round(rate / peak, 4),
        "peak_memory_gib": round(torch.cuda.max_memory_allocated(trainer.device) / 2**30, 2),
    }


def gpu_product_rate(device: torch.device, size: int = 8192, number: int = 20) -> float:
    """Multiply-adds per second of a large bf16 product."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    result = torch.empty_like(left)
    times = []
    for _ in range(number):
        torch.cuda.synchronize()
        began = time.perf_counter()
        torch.mm(left, right, out=result)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return size**3 / statistics.median(times)


def main(options: Options) -> None:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: this part stays as not measured")
    torch.set_num_threads(1)
    device = torch.device(options.device)
    rows: dict[str, Any] = {}
    cases = {"quick": QUICK} if options.quick else CASES[options.device]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, case in cases.items():
            if device.type == "cpu" and case.keeps_memory:
                keep_freed_memory()
            trainer = make_trainer(case, device, Path(folder), stack)
            measure = measure_gpu if device.type == "cuda" else measure_cpu
            facts = {"model": case.model, "batch_size": case.batch_size, "gmacs_per_step": round(trainer.macs / 1e9, 1)}
            clip = f"3x{case.num_frames}x{case.crop_pixels}x{case.crop_pixels}"
            rows[name] = {**facts, "clip": clip, **measure(trainer, 2 if options.quick else options.repetitions)}
    print_table(rows)
    if not options.quick:
        kept = {"cuda": "not measured"} | read_result("training", write=options.write)
        part = {
            "command": " ".join(["python", "benchmarks/training.py", *sys.argv[1:]]),
            "date": date.today().isoformat(),
            "processor": platform.machine(),
            "versions": {name: version(name) for name in ("torch", "timm", "av")},
            "rows": rows,
        }
        write_result("training", {**kept, options.device: part}, write=options.write)


def print_table(rows: dict[str, Any]) -> None:
    for name, row in rows.items():
        table = Table(title=name, show_header=False)
        for key, value in row.items():
            table.add_row(key, str(value))
        Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
