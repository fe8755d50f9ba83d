"""What ``torchrun`` starts in ``test_distributed.py``: several small trainings by one process group, to start few.

torchrun --standalone --nproc-per-node N distributed_workers.py compare|kill FOLDER
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import tubelet.training.step as step_file
from tubelet.data.clips.augment_config import MixConfig
from tubelet.data.clips.normalize import normalize
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError, TubeletError
from tubelet.models import create_model
from tubelet.protocol import Protocol
from tubelet.session.processes import open_processes
from tubelet.session.session import Session
from tubelet.training.config import Strategy, TrainingConfig
from tubelet.training.engine import fit
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.setup import TrainingSetup
from tubelet.training.state.storage import explaining_storage

CLASSES, NUM_VIDEOS, BATCH_SIZE = ("a", "b", "c"), 21, 7  # 3 steps per epoch; of two processes one has 4 rows, one 3
CPU = torch.device("cpu")
PROTOCOL = Protocol(
    num_frames=2,
    frame_stride=1,
    resize_short_side=10,
    crop_size=(8, 8),
    num_channels=1,
    mean=(0.5,),
    std=(0.5,),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training; the name is that of its folder."""

    name: str
    strategy: Strategy = "ddp"
    dtype: torch.dtype = torch.float64
    num_epochs: int = 17  # 51 steps
    accumulation: int = 1
    mix: MixConfig = field(default_factory=MixConfig)
    drop_rate: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    checkpoint_every_steps: int = 1000


CASES = (
    Case(name="ddp64"),
    Case(name="fsdp64", strategy="fsdp"),
    Case(name="ddp32", dtype=torch.float32, num_epochs=2),
    Case(name="fsdp32", strategy="fsdp", dtype=torch.float32, num_epochs=2),
    Case(name="ddp-bf16", dtype=torch.float32, num_epochs=2, precision="bf16", gradient_checkpointing=True),
    Case(
        name="fsdp-bf16",
        strategy="fsdp",
        dtype=torch.float32,
        num_epochs=2,
        precision="bf16",
        gradient_checkpointing=True,
    ),
    Case(name="ddp-mixed", num_epochs=2, accumulation=2, mix=MixConfig(mixup=1.0, partner="reversed")),
    Case(name="fsdp-mixed", strategy="fsdp", num_epochs=2, accumulation=3, mix=MixConfig(mixup=1.0, cutmix=1.0)),
)
# Dropout and stochastic depth draw in every step: a run that goes on must draw what it would have drawn.
RESUMED = (
    Case(name="ddp", num_epochs=4, drop_rate=0.3, checkpoint_every_steps=2),
    Case(name="fsdp", strategy="fsdp", num_epochs=4, drop_rate=0.3, checkpoint_every_steps=2),
)
KILLED_AT = tuple(random.Random(2026).sample(range(1, 11), 2))  # the step of each of RESUMED


def write_videos(root: Path) -> Path:
    """Volumes of three classes; two files are no volumes."""
    for i in range(NUM_VIDEOS):
        file = root / CLASSES[i % 3] / f"{i}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        volume = np.random.default_rng(i).integers(0, 256, (4, 10, 10), dtype=np.uint8)
        np.save(file, volume)
    for name in ("a/0.npy", "b/7.npy"):
        (root / name).write_bytes(b"not a volume")
    return root


def train(case: Case, root: Path, run: Path, session: Session) -> None:
    """Train in ``run``, going on from what is there; ``last/weights.pt`` are the weights in the end."""
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    options: dict[str, Any] = {"num_frames": 2, "image_size": (8, 8), "tubelet_size": (1, 4, 4), "in_channels": 1}
    model = create_model(
        "vivit_ti16x2_fe",
        num_classes=len(CLASSES),
        embed_dim=16,
        depth=2,
        temporal_depth=1,
        num_heads=2,
        drop_rate=case.drop_rate,
        drop_path_rate=case.drop_rate,
        **options,
    ).to(case.dtype)
    dataset = ClipDataset(read_manifest(root, ManifestConfig(val_fraction=0.0, test_fraction=0.0)), PROTOCOL, "train")

    def save(path: Path) -> None:
        path.mkdir(exist_ok=True)
        torch.save(model.state_dict(), path / "weights.pt")

    setup = TrainingSetup(
        model=model,
        loader=Loader(dataset, BATCH_SIZE, rank=session.processes.rank, num_processes=session.processes.size),
        prepare=lambda pixels: normalize(pixels, PROTOCOL).to(case.dtype),
        validate=None,
        save=save,
        training=TrainingConfig(
            num_epochs=case.num_epochs,
            batch_size=BATCH_SIZE,
            accumulation=case.accumulation,
            strategy=case.strategy if session.processes.has_group else "ddp",
            precision=case.precision,
            gradient_checkpointing=case.gradient_checkpointing,
            checkpoint_every_steps=case.checkpoint_every_steps,
        ),
        optim=OptimizerConfig(lr=0.003, warmup_epochs=1.0, weight_decay=0.05),
        seed=3,
        mix=case.mix,
        failure_budget=0.2,
    )
    fit(setup, run, session)


def compare(folder: Path, session: Session) -> None:
    for case in (*CASES, *RESUMED):
        train(case, folder / "videos", folder / case.name, session)
    fill(folder, session)
    raise ConfigError("every process meets this error")


def fill(folder: Path, session: Session) -> None:
    """Process 1 cannot write its shards of a second session; each process leaves the line that it ends with."""
    run = folder / "full"
    case = Case(name="full", strategy="fsdp", num_epochs=1)
    train(case, folder / "videos", run, session)
    session.processes.on_main(lambda: None)  # as between runs: process 0 writes the state last
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if session.processes.rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        with explaining_storage(run):
            train(replace(case, num_epochs=2), folder / "videos", run, session)
    except TubeletError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        (folder / f"full-{session.processes.rank}.txt").write_text(str(error), encoding="utf-8")


def kill(folder: Path, session: Session) -> None:
    """After k restarts, process 1 is killed in the middle of case k, if there is one."""
    restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    original = step_file.step_seed

    def step_seed(seed: int, step: int) -> int:
        if running == restarts < len(RESUMED) and step == KILLED_AT[running] and session.processes.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(seed, step)

    step_file.step_seed = step_seed
    for running, case in enumerate(RESUMED):  # noqa: B007  # step_seed reads it
        train(case, folder / "videos", folder / f"killed-{case.name}", session)


def main() -> int:
    what, folder = sys.argv[1], Path(sys.argv[2])
    try:
        with open_processes(CPU) as processes:
            {"compare": compare, "kill": kill}[what](folder, Session(processes=processes))
    except TubeletError as error:
        print(f"tubelet: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
