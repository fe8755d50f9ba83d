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

`tubelet demo moments` writes films of 2 to 5 minutes with known bouts of four behaviors, several at once, trains a
model to see them at every frame, and a head on its stored features.

examples:
  tubelet demo --out demo
  tubelet demo pretraining --out demo_pretraining
  tubelet demo moments --out demo_moments"""

FILMS, SECONDS = "12,4,4", (120.0, 300.0)
CLIPS = {"train_clips": 2400, "val_clips": 160, "test_clips": 320}


@dataclass(frozen=True, kw_only=True)
class Options:
    what: Annotated[Literal["motions", "pretraining", "moments"], tyro.conf.Positional] = "motions"  # which demo
    out: Path | None = None  # folder for the videos, the runs and the report; by default demo, or demo_WHAT
    train_clips: int = CLIPS["train_clips"]  # videos to train on; a multiple of 8
    val_clips: int = CLIPS["val_clips"]  # held-out videos to choose the best weights by; a multiple of 8
    test_clips: int = CLIPS["test_clips"]  # held-out videos to test on; a multiple of 8
    films: str = FILMS  # moments: films to train on, to choose the best weights by, and to test on
    film_seconds: tuple[float, float] = SECONDS  # moments: shortest and longest film
    epochs: int | None = None  # passes over the training videos; by default those of the recipes
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print the test metrics as JSON on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "demo", DESCRIPTION)
    check(options)
    if options.what == "moments":
        from tubelet.commands.work.demo_moments import run as run_moments

        return compute(run_moments, options, argv)
    if options.what == "pretraining":
        from tubelet.commands.work.demo_pretraining import run as run_pretraining

        return run_pretraining(options, argv)
    from tubelet.commands.work.demo import run

    return compute(run, options, argv)


def check(options: Options) -> None:
    """Raise ConfigError for options of another demo."""
    is_of_films = options.what == "moments"
    others = CLIPS if is_of_films else {"films": FILMS, "film_seconds": SECONDS}
    if idle := [f"--{name.replace('_', '-')}" for name, value in others.items() if getattr(options, name) != value]:
        kind = "is of clips, and `tubelet demo moments` makes films" if is_of_films else "belongs to `demo moments`"
        raise ConfigError(f"{', '.join(idle)}: {kind}; leave it out")
