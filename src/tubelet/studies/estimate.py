"""How long a comparison takes, before it begins: a few steps of each arm on its own clips, times what it will run.

Reading, training steps and validations are counted; clips that are generated, the times taken at the end and what other
work on the machine costs are not. A grid that grows, because a best value lies at its edge, comes on top.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch.nn.functional as F

from tubelet import config
from tubelet.data.clips.normalize import to_input
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.manifest import Manifest
from tubelet.files import write_atomically
from tubelet.models.stages import model_inputs
from tubelet.recipe import Recipe
from tubelet.runs.data import read_run_data
from tubelet.runs.initialization import first_model
from tubelet.runs.masked_pretraining.model import first_pretraining
from tubelet.runs.masked_pretraining.run import training_loader
from tubelet.session.progress import duration
from tubelet.session.session import Session
from tubelet.studies.jobs import Job
from tubelet.training.optim.optimizer import make_optimizer
from tubelet.types import Batch

T = TypeVar("T")

FILE = "estimate.json"
_STEPS = 2  # the first warms up
_FORWARD = 1 / 3  # of a training step: a pass without gradients


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is expected of a comparison."""

    num_runs: int
    num_processes: int  # that make runs at once
    seconds: float  # of all of it
    arms: dict[str, float]  # seconds of one run, by "ARM on DATASET"; of arms that are tuned, of their final run

    @property
    def text(self) -> str:
        """In words."""
        at_once = f"{self.num_processes} at a time" if self.num_processes > 1 else "one at a time"
        return f"{self.num_runs} runs, {at_once}, take about {duration(self.seconds)} if nothing else runs here"


def read_estimate(out: Path) -> Estimate | None:
    """That of a comparison that has begun in ``out``. None means that it has none."""
    if not (out / FILE).is_file():
        return None
    return config.from_dict(Estimate, json.loads((out / FILE).read_text(encoding="utf-8")))


def estimate(jobs: Sequence[Job], num_processes: int, out: Path, session: Session) -> Estimate:
    """Measure steps of every kind of job, and write what follows into ``out``."""
    measured, arms, total = dict[str, float](), dict[str, float](), 0.0
    for job in jobs:
        name = f"{job.arm} on {job.dataset}"
        if name not in measured:
            session.check_signals()
            measured[name] = _seconds(job, out, Session(device=session.device))
        total += measured[name]
        arms[name] = round(measured[name], 1)
    found = Estimate(
        num_runs=len(jobs), num_processes=num_processes, seconds=round(total / num_processes, 1), arms=arms
    )
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / FILE, json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    return found


def _seconds(job: Job, out: Path, session: Session) -> float:
    """Of one run."""
    recipe = job.recipe
    if recipe.init is not None and Path(recipe.init.source).is_relative_to(out.absolute()):
        recipe = dataclasses.replace(recipe, init=None, lora=None)  # a start is still to be trained
    manifest = read_run_data(recipe, None, job.like)
    read, step = _clip_seconds(recipe, manifest, session)
    rows = {split: len(manifest.split(split)) for split in manifest.splits}
    training = recipe.training
    validations = training.num_epochs / training.validate_every_epochs
    looked_at = validations * rows.get("val", 0)
    if job.is_tested:
        looked_at += rows.get("test", 0) * sum((recipe.protocol.num_views, *job.test_views))
    return training.num_epochs * rows["train"] * (read + step) + looked_at * (read + _FORWARD * step)


def _clip_seconds(recipe: Recipe, manifest: Manifest, session: Session) -> tuple[float, float]:
    """Of reading a training clip, and of a training step over its clips."""
    if recipe.masked_pretraining is not None:
        model = first_pretraining(recipe, session)
        protocol, network = model.first.protocol, model.error
        loader = training_loader(model, manifest, session)
    else:
        first = first_model(recipe, manifest, session)
        protocol, network = first.protocol, first.model  # type: ignore[assignment]
        data = make_dataset(manifest.split("train"), protocol, "train", recipe.augment, recipe.seed)
        loader = Loader(data, recipe.training.batch_size, seed=recipe.seed, num_workers=0)
    network.to(session.device).train()
    optimizer = make_optimizer(network, recipe.optim)

    def step(batch: Batch) -> None:
        pixels = to_input(batch.clips.to(session.device), protocol)
        labels = batch.labels.to(session.device)
        optimizer.zero_grad(set_to_none=True)
        if recipe.masked_pretraining is not None:
            network(pixels, labels).mean().backward()
        else:
            logits = network(*model_inputs(network, pixels, batch.frame_numbers))
            F.cross_entropy(logits.float(), labels.flatten()[: len(logits)].clamp(min=0)).backward()
        optimizer.step()

    seconds = []
    with loader:
        batches = loader.train_batches(0)
        for _ in range(_STEPS):
            reading, batch = _timed(partial(next, batches, None))
            if batch is None:
                break
            seconds = [(reading / len(batch.labels), _timed(partial(step, batch))[0] / len(batch.labels))]
    return seconds[-1]


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
