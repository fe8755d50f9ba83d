"""What the arms cost: parameters, multiply-adds, and times from a pass of its own, one arm at a time in turn.

The models are those of the runs (first weights, adapters, frozen parts, precision, gradient checkpointing), and a step
is one on a whole batch; ``accumulation``, ``compile``, mixing and averaged weights are not in the times.

The runs of a comparison share the machine with each other, so their times say little. Here nothing else of the
comparison runs, and the arms take turns (a few training steps and one pass without gradients each, round after round),
so that a machine that slows down slows all of them. The clips are real, already read and normalized: the times are of
the model alone. Peak memory is that of a fresh process for each arm, with Python and torch in it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tubelet import config
from tubelet.data.clips.normalize import to_input
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.evaluation.cost import count_macs, count_parameters, peak_memory_bytes
from tubelet.files import write_atomically
from tubelet.models.stages import model_inputs
from tubelet.recipe import Recipe
from tubelet.runs.initialization import first_model
from tubelet.session.device import autocast
from tubelet.session.session import Session
from tubelet.studies.jobs import Job
from tubelet.training.gradient_checkpointing import checkpoint_blocks
from tubelet.training.optim.optimizer import make_optimizer

FILE = "timing.json"
ROUNDS = 9
STEPS = 2  # training steps of an arm in a round


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one arm costs."""

    num_parameters: int
    gmacs: float  # of one view
    step_seconds: float  # of one training step, median over the rounds
    step_spread: tuple[float, float]  # its quartiles
    clip_seconds: float  # of one clip without gradients, in batches as in training, median over the rounds
    batch_size: int  # clips of a step
    peak_bytes: int | None  # of a process that takes training steps; None means not known on this platform


def measure_costs(
    jobs: Mapping[str, Job],
    out: Path,
    session: Session,
    *,
    num_threads: int,
) -> dict[str, Cost]:
    """The cost of each named run's recipe, measured now, or read from ``out`` where the same recipes were measured.

    Args:
        jobs: one run of each arm.
        session: computes, reports how many rounds are done, and is asked between rounds whether to stop.
    """
    keys = {name: job.key for name, job in jobs.items()}
    asked = {"keys": keys, "machine": _machine(session.device), "num_threads": num_threads}
    known = _read(out / FILE, asked)
    if known is not None:
        return known
    threads = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        costs = _measure(jobs, session, num_threads)
    finally:
        torch.set_num_threads(threads)
    write_atomically(out / FILE, json.dumps(asked | {"costs": config.to_dict(costs)}, indent=2) + "\n")
    return costs


def _read(file: Path, asked: Mapping[str, object]) -> dict[str, Cost] | None:
    if not file.is_file():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    if any(content.get(name) != value for name, value in asked.items()):
        return None
    return {name: config.from_dict(Cost, cost) for name, cost in content["costs"].items()}


def _machine(device: torch.device) -> str:
    """What the times are of: a comparison that was copied elsewhere takes its own."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{kind} of {platform.node()}, {os.cpu_count()} logical CPUs"


def _measure(jobs: Mapping[str, Job], session: Session, num_threads: int) -> dict[str, Cost]:
    session.progress.note(f"all runs are done; taking times, {len(jobs)} arms in turn")
    report = partial(session.advance, total=ROUNDS + 2, text="taking times")
    report(0)
    arms = {name: _Arm(job.recipe, session.device) for name, job in jobs.items()}
    for position in range(ROUNDS + 1):  # the first is for warming up
        for arm in arms.values():
            arm.take_turn(is_counted=position > 0)
        report(position + 1)
    peaks = {name: _peak_bytes(job.recipe, session.device, num_threads) for name, job in jobs.items()}
    report(ROUNDS + 2)
    return {name: dataclasses.replace(arm.cost(), peak_bytes=peaks[name]) for name, arm in arms.items()}


class _Arm:
    """A fresh model with a batch of its training clips."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        manifest = read_manifest(recipe.data.path, recipe.data.manifest)
        first = first_model(recipe, manifest, Session(device=device))
        self.model, self.frozen, protocol = first.model, first.frozen, first.protocol
        if recipe.training.gradient_checkpointing:
            checkpoint_blocks(self.model)
        self.model.to(device)
        data = make_dataset(manifest.split("train"), protocol, "train", recipe.augment, recipe.seed)
        with Loader(data, recipe.training.batch_size, seed=recipe.seed, num_workers=0) as loader:
            batch = next(iter(loader.train_batches(0)))
        pixels = to_input(batch.clips.to(device), protocol)
        self.inputs: Sequence[Tensor] = model_inputs(self.model, pixels, batch.frame_numbers)
        self.labels = batch.labels.to(device)
        self.optimizer = make_optimizer(self.model, recipe.optim)
        self.device, self.shape = device, (protocol.num_channels, protocol.num_frames, *protocol.crop_size)
        self.precision = recipe.training.precision
        self.step_seconds: list[float] = []
        self.clip_seconds: list[float] = []

    def take_turn(self, *, is_counted: bool) -> None:
        seconds = self._timed(self.steps) / STEPS
        clip_seconds = self._timed(self.look) / len(self.labels)
        if is_counted:
            self.step_seconds.append(seconds)
            self.clip_seconds.append(clip_seconds)

    def steps(self) -> None:
        for _ in range(STEPS):
            self.step()

    def step(self) -> None:
        """One training step with a cross entropy, which costs nothing beside the model."""
        self.model.train()
        for module in self.frozen:
            module.eval()
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            logits = self.model(*self.inputs)
        F.cross_entropy(logits.float(), self.labels.flatten()[: len(logits)].clamp(min=0)).backward()
        self.optimizer.step()

    def look(self) -> None:
        self.model.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            self.model(*self.inputs)

    def cost(self) -> Cost:
        low, middle, high = statistics.quantiles(self.step_seconds, n=4)
        return Cost(
            num_parameters=count_parameters(self.model),
            gmacs=count_macs(self.model, self.shape) / 1e9,
            step_seconds=middle,
            step_spread=(low, high),
            clip_seconds=statistics.median(self.clip_seconds),
            batch_size=len(self.labels),
            peak_bytes=None,
        )

    def _timed(self, work: Callable[[], object]) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start


def _peak_bytes(recipe: Recipe, device: torch.device, num_threads: int) -> int | None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_take_steps, recipe, device, num_threads).result()
        except BrokenProcessPool:  # killed: for memory, or by the signal that this process is asked about next
            return None


def _take_steps(recipe: Recipe, device: torch.device, num_threads: int) -> int | None:
    torch.set_num_threads(num_threads)
    arm = _Arm(recipe, device)
    arm.steps()
    return peak_memory_bytes(device)
