"""What an explanation costs, in forward passes of the same model: measured interleaved, for one model of each family.

python benchmarks/explain_cost.py            goes on where it was; --write: into docs/results

A backward pass is forward and backward with the parameters' gradients off, for the clip alone. Integrated gradients
and attention are whole explanations; theirs includes the forward pass that finds the class. Each round runs everything
once, and a ratio is the median over rounds. Memory: the growth of what the process holds at its peak, of integrated
gradients with few and with many steps, both more than one chunk, in processes of their own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro
from results import read_result, write_result
from torch import nn

from tubelet.data.clips.resize_crop import Geometry
from tubelet.errors import TubeletError
from tubelet.explain.clip_view import ClipView
from tubelet.explain.config import ExplainConfig
from tubelet.explain.explain import explain_view
from tubelet.explain.integrated_gradients import without_parameter_gradients
from tubelet.models import create_model
from tubelet.protocol import Protocol

_SMALL: dict[str, Any] = {"num_frames": 8, "image_size": (96, 96), "num_classes": 10}
MODELS: dict[str, dict[str, Any]] = {
    "vivit_ti16x2_joint": {},
    "vivit_ti16x2_fe": {},
    "vivit_ti16x2_fsa": {},
    "vivit_ti16x2_fdp": {},
    "timesformer_ti16_divided": {},
    "uniformerv2_ti16": {},
    "uniformerv2_ti16_ssv2": {},
    "vtn_deit_ti16": {},
    "videomae_s16": {},
}
STEPS = 8  # of integrated gradients
MEMORY_STEPS = (48, 192)  # both above what one backward pass takes at once, 45 clips of this size


@dataclass(frozen=True, kw_only=True)
class Options:
    models: tuple[str, ...] = tuple(MODELS)  # which
    rounds: int = 5  # of everything
    memory_of: int | None = None  # measure the memory of so many steps and print it; what the benchmark calls itself
    write: bool = False  # put the result into docs/results


def made(name: str) -> tuple[nn.Module, ClipView, Protocol]:
    torch.manual_seed(0)
    model = create_model(name, **{**_SMALL, **MODELS[name]}).eval()
    frames, side = _SMALL["num_frames"], _SMALL["image_size"][0]
    pixels = torch.randint(0, 256, (3, frames, side, side), dtype=torch.uint8)
    labels = {"label": tuple(f"class {i}" for i in range(_SMALL["num_classes"]))}
    protocol = Protocol(num_frames=frames, crop_size=(side, side), resize_short_side=side, labels=labels)
    view = ClipView(
        pixels=pixels,
        indices=tuple(range(frames)),
        seconds=tuple(i / 25 for i in range(frames)),
        until=tuple((i + 1) / 25 for i in range(frames)),
        frame_numbers=torch.arange(frames),
        geometry=Geometry(box=(0, 0, side, side), resized=(side, side), crops=((0, 0),), crop_size=(side, side)),
        crop=0,
        notes=(),
    )
    return model, view, protocol


def ratios(name: str, rounds: int) -> dict[str, float]:
    """Medians over rounds, in forward passes."""
    model, view, protocol = made(name)
    clip = view.pixels[None].float() / 255  # 1 C T H W

    def forward() -> None:
        with torch.no_grad():
            model(clip)

    def backward() -> None:
        pixels = clip.clone().requires_grad_()
        with without_parameter_gradients(model):
            torch.autograd.grad(model(pixels)[:, 0].sum(), pixels)

    def explained(**how: Any) -> Callable[[], None]:
        def run() -> None:
            explain_view(model, view, protocol, ExplainConfig(**how), source="clip")

        return run

    jobs = {
        "forward": forward,
        "backward": backward,
        f"integrated_gradients_{STEPS}": explained(method="integrated_gradients", num_steps=STEPS),
    }
    for method in ("attention_rollout", "gradient_attention"):
        try:
            explained(method=method)()
        except TubeletError:  # attention that does not compose
            continue
        jobs[method] = explained(method=method)
    seconds: dict[str, list[float]] = {job: [] for job in jobs}
    for _ in range(rounds + 1):
        for job, run in jobs.items():
            began = time.process_time()
            run()
            seconds[job].append(time.process_time() - began)
    base = np.array(seconds.pop("forward")[1:])
    found = {job: float(np.median(np.array(each[1:]) / base)) for job, each in seconds.items()}
    found["integrated_gradients_per_step"] = found[f"integrated_gradients_{STEPS}"] / STEPS
    return found


def peak_mib(steps: int) -> float:
    """Growth of the process's peak while a clip is explained with so many steps."""
    model, view, protocol = made("vivit_ti16x2_joint")
    explain_view(model, view, protocol, ExplainConfig(method="integrated_gradients", num_steps=1), source="clip")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    explain_view(model, view, protocol, ExplainConfig(method="integrated_gradients", num_steps=steps), source="clip")
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main(options: Options) -> None:
    torch.set_num_threads(1)
    if options.memory_of is not None:
        print(peak_mib(options.memory_of))
        return
    earlier = read_result("explain_cost", write=options.write)
    result: dict[str, Any] = {"rounds": options.rounds, "models": {}, "memory_mib": {}}
    if earlier.get("rounds") == options.rounds:
        result["models"] = earlier["models"]
    for name in options.models:
        if name in result["models"]:
            continue
        result["models"][name] = ratios(name, options.rounds)
        write_result("explain_cost", result, write=options.write)
        print(name, {job: round(value, 2) for job, value in result["models"][name].items()}, flush=True)
    for steps in MEMORY_STEPS:
        command = [sys.executable, __file__, "--memory-of", str(steps)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        result["memory_mib"][f"{steps} steps"] = float(said)
    result["load_average"] = os.getloadavg()[0]
    print(result["memory_mib"], flush=True)
    write_result("explain_cost", result, write=options.write)


if __name__ == "__main__":
    main(tyro.cli(Options))
